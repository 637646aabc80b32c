// Package tcp puts the segments of one TCP connection (RFC 9293), in the order
// in which they were captured, back into its two byte streams.
//
// A capture is not a receiver: segments may come shuffled, twice, cut by the
// snap length, or not at all, and the capture may start in the middle. Every
// byte of a stream is given once, in order; bytes that never come are given as
// a gap of known length, so that the bytes after it keep their place. Where
// segments overlap the bytes that were captured first win.
//
// Sequence numbers are compared as RFC 1982 does, by signed difference, so the
// wrap at 2^32 is no special place. Times are nanoseconds, lengths bytes.
// Chunk.Data aliases the segment's payload or a buffer of the connection and
// is valid during the call only.
//
// Not handled: urgent data (given as any other bytes), and PAWS: timestamps
// are not looked at. No link or IP header may enter the room.
package tcp

import (
	"math"
	"slices"
	"sort"
)

// Flags of a segment, at their place in the TCP header (RFC 9293, 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Bounds of what one direction may hold back.
const (
	maxBuffered = 4 << 20 // bytes
	maxBlocks   = 8192    // segments: keeping them sorted costs a move of all of them
	blockCost   = 128     // added to each segment's bytes against a Budget
)

// A hole becomes a gap once the peer has acknowledged it (it got the bytes, so
// the capture lost them) and one of these has passed as well, in case the file
// is out of order.
const (
	gapSegments = 8
	gapTime     = 1e9
)

// Without a SYN the first data of a direction is held back until that much of
// the connection has been seen: in a file that is out of order earlier bytes
// may still come. Files shuffled in groups of five need four more segments.
const (
	holdSegments = 4
	holdTime     = 200e6
	holdBytes    = 64 << 10
)

// A hole that is filled sooner than this was segments out of order: a sender
// takes longer to notice a loss (Wireshark draws the line there too).
const lateTime = 3e6

// far is a sequence distance that no window reaches backwards, and no outage
// of a capture forwards.
const (
	farBehind = 16 << 20
	farAhead  = 1 << 30
	farCount  = 3 // segments in a row that make it another connection
	farReset  = 1 << 20
	young     = 16 // segments within which a SYN may come late in an out-of-order file

	maxSegment = 1 << 24 // offload makes segments of up to 512 KiB
)

// A Chunk is the next bytes of one direction.
type Chunk struct {
	Data []byte // never empty; valid during the call only

	Frame, Time int64 // of the segment that carried the bytes

	// DoneFrame and DoneTime are of the segment whose arrival made the bytes
	// available in order: a later one than Frame where a hole before them had
	// to be filled first. A hole that turned into a Gap delays nothing:
	// the receiver had those bytes, only the capture did not.
	DoneFrame, DoneTime int64

	// Since is not 0 when the bytes came late: they filled a hole that had
	// stood open for lateTime or more, or had to wait for such a one. Their
	// first copy was sent after Since: it did not come, or was of no use yet.
	Since int64

	// Retransmitted: an earlier-captured segment had part of the same range,
	// or the bytes filled a hole late.
	Retransmitted bool
}

// Handler takes the streams of a connection. Directions are 0 and 1, as given
// to Segment.
type Handler interface {
	Data(dir int, c *Chunk)
	// Gap says that n bytes are missing, after which the stream goes on. frame
	// and time are of the segment that follows the gap.
	Gap(dir int, n int64, frame, time int64)
	// Close ends one direction, by its FIN or by a reset from either side.
	Close(dir int, rst bool, frame, time int64)
}

// Budget bounds what all connections that share it hold back together. It
// also keeps their free buffers. A Budget serves one goroutine.
type Budget struct {
	Max, Used int64
	free      [][]byte
}

const (
	bufferSize = 2048 // of the buffers that are kept for reuse
	maxFree    = 256
)

func (b *Budget) get(data []byte) []byte {
	if b != nil && len(b.free) > 0 && len(data) <= bufferSize {
		buf := b.free[len(b.free)-1]
		b.free = b.free[:len(b.free)-1]
		return append(buf, data...)
	}
	return append(make([]byte, 0, max(len(data), min(bufferSize, 2*len(data)))), data...)
}

func (b *Budget) put(buf []byte) {
	if b != nil && cap(buf) >= bufferSize && cap(buf) <= 2*bufferSize && len(b.free) < maxFree {
		b.free = append(b.free, buf[:0])
	}
}

// Result says what a segment was, as bits.
type Result uint16

// Bits of Result. New ones may be added.
const (
	// NewConn: the segment belongs to another connection on the same ports
	// and was not used. Flush this Conn and give it to a fresh one.
	NewConn        Result = 1 << iota
	Retransmission        // carried only bytes seen before (or was a repeated SYN)
	Overlap               // carried some bytes seen before, and new ones
	OutOfOrder            // came with a hole before it
	Filled                // filled a hole, or part of one
	KeepAlive             // RFC 9293, 3.8.4: the byte before the next one, or none there
	Syn                   // SYN without ACK
	SynAck
	Fin
	Rst
	Cut        // the snap length cut its payload
	Early      // carried bytes from before the place where the stream had to begin
	Stray      // sequence number out of any window; not used
	AfterClose // carried bytes after the FIN or a reset; not used
)

// RFC 1982: how far a is ahead of b.
func ahead(a, b uint32) int64 { return int64(int32(a - b)) }

// stamp identifies a segment: its number within the connection, and the
// caller's frame and time.
type stamp struct {
	ord         int64
	frame, time int64
}

// block is a span that came before its time. Of its n bytes data was captured;
// the others are missing at its end.
type block struct {
	seq   uint32
	n     int64
	data  []byte
	at    stamp
	retr  bool
	count int64 // the direction's segments when it came
}

type half struct {
	state state
	next  uint32 // sequence number of the next byte to give
	start uint32 // of the first byte given

	isn     uint32
	syn     bool // isn is known from a SYN
	synAt   stamp
	synVary bool // the SYN was sent again later: no round trip can be told
	fin     bool
	finSeq  uint32 // the sequence number after the last byte
	finAt   stamp
	finRst  bool // it was a reset
	acked   bool
	ack     uint32 // highest acknowledgment for this direction's bytes, by the peer

	holdAt  stamp  // when waiting for a start began
	idle    bool   // a segment without data was seen before any data
	idleSeq uint32 // its sequence number

	given  int64 // time of the last bytes given, or of the SYN
	opened int64 // when the hole before blocks was seen first

	blocks       []block // sorted by sequence, disjoint
	bytes        int64   // captured bytes in blocks
	count        int64   // segments of this direction
	far          int     // stray segments in a row
	firstAck     uint32  // earliest segment with only an acknowledgment, for the round trip
	firstAckTime int64
	firstAckSeen bool
}

type state uint8

const (
	unseen state = iota
	held         // data came, the start is not sure yet
	open
	closed
)

// Conn is one connection. The zero value, or one with a Budget, is ready.
// It holds no memory while nothing is out of order.
type Conn struct {
	Budget *Budget // may be nil: then only the bounds of one direction hold

	Retransmissions int64 // segments that carried only bytes seen before
	Gaps            int64
	GapBytes        int64
	EarlyBytes      int64 // bytes from before the start of a stream, refused
	Buffered        int64 // captured bytes held back at present

	halves   [2]half
	segments int64
	last     stamp
	reset    bool
	resetAt  stamp
	chunk    Chunk
}

// Segment takes the next captured segment of direction dir (0 or 1). payload is
// what was captured of wireLen bytes of data. frame and timeNs are handed on.
func (c *Conn) Segment(h Handler, dir int, seq, ack uint32, flags uint8, payload []byte, wireLen int, frame, timeNs int64) Result {
	wireLen = max(wireLen, len(payload))
	if wireLen > maxSegment {
		return Stray
	}
	me, peer := &c.halves[dir], &c.halves[1-dir]
	var r Result
	data := seq // sequence number of the first data byte
	if flags&SYN != 0 {
		data++
		r |= Syn
		if flags&ACK != 0 {
			r ^= Syn | SynAck
		}
		if flags&RST == 0 && c.other(me, seq) {
			return r | NewConn
		}
	} else if flags&RST != 0 {
		if x := ahead(seq, me.next); me.state >= open && (x < -farReset || x > farReset) {
			return r | Rst | Stray
		}
	} else if wireLen > 0 && c.stray(me, data, int64(wireLen)) {
		if me.far++; me.far >= farCount || c.over() {
			return r | NewConn
		}
		return r | Stray
	}
	me.far = 0
	c.segments++
	me.count++
	at := stamp{c.segments, frame, timeNs}
	c.last = at
	if wireLen > len(payload) {
		r |= Cut
	}

	if flags&SYN != 0 {
		r |= c.onSYN(me, seq, at)
		if flags&ACK != 0 && peer.state < open {
			// What the SYN/ACK acknowledges is where the other side begins.
			c.anchor(peer, ack)
		}
	} else if me.state == unseen && wireLen == 0 && flags&(FIN|RST) == 0 {
		me.idle, me.idleSeq = true, data
	}
	if flags&ACK != 0 {
		if !peer.acked || ahead(ack, peer.ack) > 0 {
			peer.acked, peer.ack = true, ack
		}
		if flags&SYN == 0 && c.segments < 64 && (!me.firstAckSeen || timeNs < me.firstAckTime) {
			me.firstAck, me.firstAckTime, me.firstAckSeen = ack, timeNs, true
		}
	}

	if wireLen > 0 {
		r |= c.onData(h, dir, data, payload, int64(wireLen), at)
	} else if me.state == open && ahead(data, me.next) == -1 && flags&(SYN|FIN|RST) == 0 {
		r |= KeepAlive
	}
	if flags&FIN != 0 {
		r |= Fin
		end := data + uint32(wireLen)
		if me.state != closed && (!me.fin || me.finRst && ahead(me.finSeq, end) >= 0) {
			// A reset that came before in the file was after it in sequence.
			me.fin, me.finRst, me.finSeq, me.finAt = true, false, end, at
			me.hold(at)
		}
	}
	if flags&RST != 0 {
		r |= Rst
		c.onRST(me, data+uint32(wireLen), at)
		me.hold(at)
	}

	if flags&SYN != 0 {
		c.merge(h)
	}
	if me.waits() || peer.waits() {
		begun := false
		for d := range c.halves {
			x := &c.halves[d]
			if x.waits() && (c.segments-x.holdAt.ord >= holdSegments || timeNs-x.holdAt.time >= holdTime || x.bytes >= holdBytes) {
				c.begin(x)
				begun = true
			}
		}
		if begun {
			c.merge(h)
		}
	}
	for d := range c.halves {
		if x := &c.halves[d]; x.state == open && (len(x.blocks) > 0 || x.fin) {
			c.settle(h, d, at)
		}
	}
	return r
}

// other says whether a SYN with this sequence number opens another connection
// than the one that this half belongs to.
func (c *Conn) other(me *half, seq uint32) bool {
	switch {
	case me.syn:
		return seq != me.isn
	case me.state == unseen:
		return c.segments > young
	case me.state == held:
		// Late in an out-of-order file, or a new connection altogether.
		for i := range me.blocks {
			if n := ahead(me.blocks[i].seq, seq); n <= 0 || n > farBehind {
				return true
			}
		}
		return false
	}
	n := ahead(me.start, seq+1)
	return n != 0 && (n < 0 || n > farBehind || c.segments > young || c.over())
}

// over says whether both directions have ended.
func (c *Conn) over() bool {
	return c.reset || c.halves[0].state == closed && c.halves[1].state == closed
}

// stray says whether data is out of any window.
func (c *Conn) stray(me *half, seq uint32, n int64) bool {
	switch {
	case me.state >= open:
		x := ahead(seq, me.next)
		return x+n < -farBehind || x > farAhead
	case me.state == held:
		x := ahead(seq, me.blocks[0].seq)
		return x < -farBehind || x > farBehind
	}
	return false
}

// waits says whether a direction has bytes or an end but no start yet.
func (me *half) waits() bool { return me.state == held || me.state == unseen && me.fin }

// hold notes when the waiting for a start began.
func (me *half) hold(at stamp) {
	if me.state == unseen && me.holdAt.ord == 0 {
		me.holdAt = at
	}
}

func (c *Conn) onSYN(me *half, seq uint32, at stamp) Result {
	if me.syn {
		if at.time-me.synAt.time >= 200e6 {
			// Karn: which of the two was answered cannot be told.
			// A copy by a second capture point comes sooner.
			me.synVary = true
		}
		c.Retransmissions++
		return Retransmission
	}
	me.syn, me.isn, me.synAt = true, seq, at
	if me.given == 0 {
		me.given = at.time // no byte of the stream was sent before it
	}
	if me.state < open {
		c.anchor(me, seq+1)
	}
	return 0
}

// onRST ends this direction where the reset stands in the sequence, and the
// other one at Flush, or by its own FIN, so that data that comes late in an
// out-of-order file still finds its place.
func (c *Conn) onRST(me *half, seq uint32, at stamp) {
	if !c.reset {
		c.reset, c.resetAt = true, at
	}
	if me.state == closed || me.fin {
		return
	}
	last := seq // where this direction's bytes end, as far as is known
	switch me.state {
	case open:
		last = me.next
	case held:
		b := &me.blocks[len(me.blocks)-1]
		last = b.seq + uint32(b.n)
	}
	if x := ahead(seq, last); x < 0 || x > farReset {
		seq = last
	}
	me.fin, me.finRst, me.finSeq, me.finAt = true, true, seq, at
}

// anchor fixes where a direction begins.
func (c *Conn) anchor(me *half, seq uint32) {
	me.state, me.next, me.start = open, seq, seq
	// Held blocks from before that place (repeated, or of another life).
	n := 0
	for n < len(me.blocks) && ahead(me.blocks[n].seq, seq) < 0 {
		n++
	}
	for ; n > 0; n-- {
		b := c.pop(me)
		if over := ahead(b.seq+uint32(b.n), seq); over > 0 {
			skip := b.n - over
			b.seq, b.n = seq, over
			b.data = b.data[min(skip, int64(len(b.data))):]
			c.push(me, 0, b)
			break
		}
		c.EarlyBytes += b.n
		c.Budget.put(b.data)
	}
}

func (c *Conn) onData(h Handler, dir int, seq uint32, payload []byte, n int64, at stamp) Result {
	me := &c.halves[dir]
	switch me.state {
	case closed:
		if ahead(seq+uint32(n), me.next) <= 0 {
			c.Retransmissions++
			return Retransmission
		}
		return AfterClose
	case unseen:
		if me.idle && seq == me.idleSeq && me.count > holdSegments {
			c.anchor(me, seq) // an empty segment stood there long ago
			break
		}
		me.hold(at)
		me.state = held
		fallthrough
	case held:
		r := c.store(h, dir, seq, payload, n, at)
		if r&(Retransmission|Overlap) == 0 {
			r = 0 // of order nothing is known yet
		}
		return r
	}
	if me.fin {
		if over := ahead(seq+uint32(n), me.finSeq); over > 0 {
			if n -= over; n <= 0 {
				return AfterClose
			}
			payload = payload[:min(n, int64(len(payload)))]
		}
	}

	off := ahead(seq, me.next)
	end := off + n
	switch {
	case end <= 0:
		if n == 1 && end == 0 {
			return KeepAlive
		}
		if early := ahead(me.start, seq); early > 0 {
			c.EarlyBytes += min(n, early)
			return Early
		}
		c.Retransmissions++
		return Retransmission
	case off > 0:
		return c.store(h, dir, seq, payload, n, at) &^ Filled
	}
	var r Result
	if off < 0 {
		r |= Overlap
		if early := ahead(me.start, seq); early > 0 {
			c.EarlyBytes += early
			r |= Early
		}
		payload = payload[min(-off, int64(len(payload))):]
		n = end
	}
	if len(me.blocks) > 0 {
		r |= Filled
	}
	// In order. Of what is buffered, the blocks within this segment came
	// first and win.
	for n > 0 {
		take := n
		if len(me.blocks) > 0 {
			take = min(take, ahead(me.blocks[0].seq, me.next))
		}
		if take > 0 {
			c.give(h, dir, payload[:min(take, int64(len(payload)))], take, at, at, r != 0)
			payload = payload[min(take, int64(len(payload))):]
			n -= take
		}
		if n > 0 {
			r |= Overlap
			b := c.pop(me)
			c.give(h, dir, b.data, b.n, b.at, at, b.retr)
			c.Budget.put(b.data)
			payload = payload[min(b.n, int64(len(payload))):]
			n -= b.n
		}
	}
	c.drain(h, dir, at)
	return r
}

// give hands n bytes on, of which data was captured, and a gap for the others.
func (c *Conn) give(h Handler, dir int, data []byte, n int64, at, done stamp, retr bool) {
	me := &c.halves[dir]
	me.next += uint32(n)
	if len(data) > 0 {
		if done.ord < at.ord {
			done = at
		}
		c.chunk = Chunk{Data: data, Frame: at.frame, Time: at.time, DoneFrame: done.frame, DoneTime: done.time, Retransmitted: retr}
		switch {
		case done.time-at.time >= lateTime:
			c.chunk.Since = at.time
		case len(me.blocks) > 0 && at.ord > me.blocks[0].at.ord && at.time-me.opened >= lateTime:
			c.chunk.Since = me.given
		}
		me.given = done.time
		h.Data(dir, &c.chunk)
		c.chunk.Data = nil
	}
	if missing := n - int64(len(data)); missing > 0 {
		c.Gaps++
		c.GapBytes += missing
		h.Gap(dir, missing, at.frame, at.time)
	}
}

// drain gives the blocks that have become next.
func (c *Conn) drain(h Handler, dir int, done stamp) {
	me := &c.halves[dir]
	for len(me.blocks) > 0 && me.blocks[0].seq == me.next {
		b := c.pop(me)
		if b.at.ord > done.ord {
			done = b.at
		}
		c.give(h, dir, b.data, b.n, b.at, done, b.retr)
		c.Budget.put(b.data)
	}
}

// store keeps a copy of the spans of a segment that no block covers.
func (c *Conn) store(h Handler, dir int, seq uint32, payload []byte, n int64, at stamp) Result {
	me := &c.halves[dir]
	r := OutOfOrder
	if me.state == open {
		cost := int64(len(payload)) + blockCost
		share := c.Budget != nil && c.Budget.Used+cost > c.Budget.Max
		if share {
			c.flush(h, 1-dir)
		}
		if share || me.bytes+int64(len(payload)) > maxBuffered || len(me.blocks) >= maxBlocks {
			// The holes so far are given up, and the one before this
			// segment too, unless it is now next.
			c.flush(h, dir)
			if ahead(seq, me.next) <= 0 {
				return r | c.onData(h, dir, seq, payload, n, at)
			}
			c.skip(h, dir, seq, at)
			c.give(h, dir, payload, n, at, at, false)
			return r
		}
	}
	i := sort.Search(len(me.blocks), func(i int) bool {
		b := &me.blocks[i]
		return ahead(b.seq+uint32(b.n), seq) > 0
	})
	covered, stored := false, false
	for n > 0 {
		take := n
		if i < len(me.blocks) {
			b := &me.blocks[i]
			if lead := ahead(b.seq, seq); lead <= 0 {
				skip := min(n, b.n+lead)
				covered = true
				seq += uint32(skip)
				n -= skip
				payload = payload[min(skip, int64(len(payload))):]
				i++
				continue
			} else if lead < take {
				take = lead
			}
		}
		have := min(take, int64(len(payload)))
		c.push(me, i, block{seq: seq, n: take, data: c.Budget.get(payload[:have]), at: at, retr: covered || i < len(me.blocks), count: me.count})
		stored = true
		i++
		seq += uint32(take)
		n -= take
		payload = payload[have:]
	}
	switch {
	case !stored:
		c.Retransmissions++
		return Retransmission
	case covered:
		r |= Overlap
	}
	return r
}

func (c *Conn) push(me *half, i int, b block) {
	if len(me.blocks) == 0 {
		me.opened = b.at.time
	}
	me.blocks = slices.Insert(me.blocks, i, b)
	c.account(me, &b, 1)
}

func (c *Conn) pop(me *half) block {
	b := me.blocks[0]
	me.blocks[0].data = nil
	me.blocks = me.blocks[1:]
	if len(me.blocks) == 0 {
		me.blocks = nil
	}
	c.account(me, &b, -1)
	return b
}

func (c *Conn) account(me *half, b *block, sign int64) {
	n := int64(len(b.data)) * sign
	me.bytes += n
	c.Buffered += n
	if c.Budget != nil {
		c.Budget.Used += n + blockCost*sign
	}
}

// skip declares the bytes up to seq missing.
func (c *Conn) skip(h Handler, dir int, seq uint32, at stamp) {
	me := &c.halves[dir]
	n := ahead(seq, me.next)
	if n <= 0 {
		return
	}
	me.next = seq
	c.Gaps++
	c.GapBytes += n
	h.Gap(dir, n, at.frame, at.time)
}

// settle turns holes that will not be filled into gaps, and closes a direction
// whose end is reached.
func (c *Conn) settle(h Handler, dir int, now stamp) {
	me, peer := &c.halves[dir], &c.halves[1-dir]
	for len(me.blocks) > 0 && !me.ended() {
		b := &me.blocks[0]
		// Without any segment of the peer nothing tells that it got the bytes.
		got := me.acked && ahead(me.ack, b.seq) >= 0 || peer.count == 0
		late := me.count-b.count >= gapSegments || now.time-b.at.time >= gapTime
		ended := me.fin && now.time-me.finAt.time >= gapTime
		if !(got && late || ended) {
			return
		}
		at := b.at
		c.skip(h, dir, b.seq, at)
		c.drain(h, dir, stamp{})
	}
	if !me.fin {
		return
	}
	if !me.ended() {
		got := me.acked && ahead(me.ack, me.finSeq) >= 0 || peer.count == 0
		if !(got && now.ord-me.finAt.ord >= gapSegments || now.time-me.finAt.time >= gapTime) {
			return
		}
		c.skip(h, dir, me.finSeq, me.finAt)
	}
	c.close(h, dir, me.finRst, me.finAt)
}

// ended says whether all bytes before the FIN or reset have been given.
func (me *half) ended() bool { return me.fin && ahead(me.finSeq, me.next) <= 0 }

func (c *Conn) close(h Handler, dir int, rst bool, at stamp) {
	me := &c.halves[dir]
	me.state = closed
	for len(me.blocks) > 0 { // bytes beyond the end
		b := c.pop(me)
		c.Budget.put(b.data)
	}
	h.Close(dir, rst, at.frame, at.time)
}

// begin ends the waiting of a direction: it starts at the lowest byte seen.
func (c *Conn) begin(me *half) {
	switch {
	case me.state == held:
		c.anchor(me, me.blocks[0].seq)
	case me.waits():
		c.anchor(me, me.finSeq)
	}
}

// merge gives the blocks that are next, of both directions in the order in
// which they became so.
func (c *Conn) merge(h Handler) {
	var done [2]stamp
	for {
		dir := -1
		best := int64(math.MaxInt64)
		for d := range c.halves {
			me := &c.halves[d]
			if me.state != open || len(me.blocks) == 0 || me.blocks[0].seq != me.next {
				continue
			}
			if ord := max(done[d].ord, me.blocks[0].at.ord); ord < best {
				dir, best = d, ord
			}
		}
		if dir < 0 {
			return
		}
		me := &c.halves[dir]
		b := c.pop(me)
		if b.at.ord > done[dir].ord {
			done[dir] = b.at
		}
		c.give(h, dir, b.data, b.n, b.at, done[dir], b.retr)
		c.Budget.put(b.data)
	}
}

// flush gives all blocks of one direction, holes as gaps.
func (c *Conn) flush(h Handler, dir int) {
	me := &c.halves[dir]
	if me.state != open {
		return
	}
	for len(me.blocks) > 0 && (!me.fin || ahead(me.finSeq, me.blocks[0].seq) > 0) {
		at := me.blocks[0].at
		c.skip(h, dir, me.blocks[0].seq, at)
		c.drain(h, dir, stamp{})
	}
}

// Flush gives everything that is held back, with the holes as gaps, and closes
// what a FIN or a reset has ended. Call it at the end of the capture, or to
// drop the connection.
func (c *Conn) Flush(h Handler) {
	c.begin(&c.halves[0])
	c.begin(&c.halves[1])
	c.merge(h)
	for d := range c.halves {
		me := &c.halves[d]
		c.flush(h, d)
		if me.state == open && me.fin {
			c.skip(h, d, me.finSeq, me.finAt)
			c.close(h, d, me.finRst, me.finAt)
		}
	}
	if c.reset {
		for d := range c.halves {
			if c.halves[d].state == open {
				c.close(h, d, true, c.resetAt)
			}
		}
	}
}

// RTT is the time from SYN over SYN/ACK to the acknowledgment of that, as seen
// at the capture point: the sum of the round trips to both sides. It is not
// known when one of the three is missing, or a SYN was sent twice.
func (c *Conn) RTT() (ns int64, ok bool) {
	for d := range c.halves {
		a, b := &c.halves[d], &c.halves[1-d]
		if !a.syn || !b.syn || a.synVary || b.synVary || !a.firstAckSeen || a.firstAck != b.isn+1 {
			continue
		}
		if a.synAt.time <= b.synAt.time && b.synAt.time <= a.firstAckTime {
			return a.firstAckTime - a.synAt.time, true
		}
	}
	return 0, false
}
