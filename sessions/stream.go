package sessions

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"sort"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/sdp"
)

// stream is one RTP source on one direction of a flow while it is read.
// It keeps O(1) state: nothing is stored per packet.
type stream struct {
	flow      *decode.Flow
	ssrc      uint32
	dir       uint8
	encrypted bool
	version   uint32 // of dst when last looked at
	id        uint32
	file      int32 // and frame of the first packet
	frame     int64
	first     Time // of any packet
	packets   int64

	src *mediaEnd // nil when SDP had not named it
	dst *mediaEnd

	call    *dialog
	reports *ssrcReports // what RTCP said; nil when it said nothing

	*figures // until its row is made
}

// figures are what is counted and measured of a stream.
type figures struct {
	last         Time // of any packet
	prev         Time // arrival of the packet before, for delta
	duplicates   int64
	reordered    int64
	bytes        int64
	expectedDone int64 // expected of finished sequence spans (after jumps)
	spans        int64
	events       int64 // telephone events begun
	opened       int64 // packets that were authenticated and decrypted

	baseSeq, maxSeq int64 // extended sequence numbers of this span
	badSeq          int64 // RFC 3550 A.1: the number that would confirm a jump
	window          [seqWindow / 64]uint64

	timestamp uint32 // of the packet before
	eventTS   uint32
	tsSpan    int64 // extended timestamp advance from the first packet
	tsStepMin uint32

	typeCount uint8
	types     [4]uint8 // payload types in order of appearance
	clockType int16    // payload type that clock belongs to; -1 none
	eventType int16    // payload type of telephone-event; -1 none
	clock     int64    // of the last payload type; 0 unknown
	codec     string

	deltaMax  float64
	jitter    float64 // ms
	jitterSum float64
	jitterMax float64
	jitterN   int64

	digits    []byte // of telephone events, where they may be shown
	intervals []interval
	room      *seconds // for more of them

	loss  *bursts // of numbers that left the window; nil while none was lost
	drift drift
	sound sound
}

const (
	seqWindow   = 512  // sequence numbers remembered for duplicates
	maxDropout  = 3000 // RFC 3550 A.1
	maxMisorder = 100  // RFC 3550 A.1
)

// pos is where the first packet is.
func (s *stream) pos() decode.Pos { return decode.Pos{File: s.file, Frame: s.frame, First: s.frame} }

func (s *stream) seen(ext int64) bool { return s.window[ext/64%(seqWindow/64)]>>(ext%64)&1 == 1 }
func (s *stream) mark(ext int64)      { s.window[ext/64%(seqWindow/64)] |= 1 << (ext % 64) }

// lose takes n numbers from i on, all lost.
func (s *stream) lose(i, n int64) {
	if s.loss == nil {
		s.loss = &bursts{}
	}
	s.loss.lose(i, n)
}

// advance clears the window between the highest number so far and ext. A
// number that leaves it unseen is lost for good.
func (s *stream) advance(ext int64) {
	for i := s.maxSeq + 1; i <= min(ext, s.maxSeq+seqWindow); i++ {
		w, bit := &s.window[i/64%(seqWindow/64)], uint64(1)<<(i%64)
		if *w&bit == 0 && i-seqWindow >= s.baseSeq {
			s.lose(i-seqWindow, 1)
		}
		*w &^= bit
	}
	if n := ext - s.maxSeq - seqWindow; n > 0 {
		s.lose(s.maxSeq+1, n) // they never were in it
	}
	s.maxSeq = ext
}

// sequence places a sequence number (RFC 3550 A.1) and tells whether the
// packet is a new one. Extended numbers start one cycle up, so that a packet
// from before the first one stays positive.
func (s *stream) sequence(seq uint16) (fresh bool) {
	if s.packets == 0 {
		s.restart(seq)
		return true
	}
	diff := rtp.SeqDiff(seq, uint16(s.maxSeq))
	ext := s.maxSeq + int64(diff)
	switch {
	case diff > 0 && diff < maxDropout:
		s.advance(ext)
	case diff <= 0 && -diff < seqWindow && ext > 0:
		if s.seen(ext) {
			s.duplicates++
			return false
		}
		if ext < s.baseSeq {
			s.baseSeq = ext
		}
		s.reordered++
	default:
		// a jump: believed when the next packet follows it
		if int64(seq) != s.badSeq {
			s.badSeq = int64(seq+1) & 0xFFFF
			if diff < 0 && diff > -maxDropout {
				s.reordered++ // beyond the window, yet too near for a new beginning
			}
			s.expectedDone++ // one packet of its own
			return true
		}
		s.expectedDone += s.maxSeq - s.baseSeq + 1
		if b := s.losses(); b != (bursts{}) {
			s.loss = &b
		}
		s.spans++
		s.restart(seq)
		return true
	}
	s.badSeq = -1
	s.mark(ext)
	return true
}

func (s *stream) restart(seq uint16) {
	s.window = [seqWindow / 64]uint64{}
	s.baseSeq = int64(seq) + 1<<16
	s.maxSeq = s.baseSeq
	s.badSeq = -1
	s.mark(s.maxSeq)
}

func (s *stream) expected() int64 { return s.expectedDone + s.maxSeq - s.baseSeq + 1 }

// add takes one packet. The figures are Wireshark's: delta and jitter run over
// packets in order of arrival, jitter as RFC 3550 6.4.1 in milliseconds. The
// pause before a marked packet, the first of a talk spurt, is no delta, and
// telephone events, which share a timestamp, have no jitter.
func (s *stream) add(h *rtp.Header, now Time, size int, opened bool) {
	s.payloadType(h.PayloadType)
	event := int16(h.PayloadType) == s.eventType
	if event && (s.events == 0 || h.Timestamp != s.eventTS) {
		s.events++ // all packets of one event bear its first timestamp (RFC 4733 2.2)
		s.eventTS = h.Timestamp
	}
	second := s.interval(now - now%1e9)
	var step int32
	if s.packets > 0 {
		delta := float64(now-s.prev) / 1e6
		if !h.Marker {
			if delta > s.deltaMax { // math.Max costs a call
				s.deltaMax = delta
			}
			if delta > second.deltaMax {
				second.deltaMax = delta
			}
		}
		step = int32(h.Timestamp - s.timestamp)
		if s.clock > 0 && !event {
			d := math.Abs(delta - float64(step)*1e3/float64(s.clock))
			s.jitter += (d - s.jitter) / 16
			s.jitterSum += s.jitter
			s.jitterN++
			if s.jitter > s.jitterMax {
				s.jitterMax = s.jitter
			}
			second.jitter = s.jitter
		}
		s.tsSpan += int64(step)
		if h.Seq%driftEvery == 0 && s.clock > 0 && !event {
			s.drift.add(float64(now-s.first)*1e-9, float64(s.tsSpan))
		}
		if step > 0 && s.maxSeq&0xFFFF == int64(h.Seq-1) {
			if s.tsStepMin == 0 || uint32(step) < s.tsStepMin {
				s.tsStepMin = uint32(step)
			}
		}
	} else {
		s.first = now
	}
	s.sound.hear(h, step, opened, size)
	s.timestamp = h.Timestamp
	s.prev = now
	if now > s.last {
		s.last = now
	}
	s.bytes += int64(size)
	before := s.maxSeq
	switch fresh := s.sequence(h.Seq); {
	case fresh:
		s.packets++
		second.packets++
		if missed := s.maxSeq - before - 1; s.packets > 1 && missed > 0 && missed < maxDropout {
			second.lost += missed
		} else if s.maxSeq == before && second.lost > 0 {
			second.lost-- // it came late
		}
	case event && len(h.Payload) > 1 && h.Payload[1]&0x80 != 0:
		// the end of an event is sent three times (RFC 4733 2.5.1.4), by some
		// under one number: the sender's redundancy, no copy made on the way
		s.duplicates--
		s.packets++
		second.packets++
	}
}

// interval is one second of a stream: a row of table stream_intervals without
// what all of them share.
type interval struct {
	at            Time
	packets, lost int64
	jitter        float64 // unknown: negative
	deltaMax      float64 // unknown: -Inf
}

// interval is the second that begins at a time, mostly the latest one.
func (s *stream) interval(at Time) *interval {
	n := len(s.intervals)
	if n > 0 && s.intervals[n-1].at == at {
		return &s.intervals[n-1]
	}
	// A clock that steps back finds its second again if it is near; what is not
	// is joined at the end, so that a disordered file costs no moves.
	for i := n - 2; i >= 0 && i >= n-8; i-- {
		if s.intervals[i].at == at {
			return &s.intervals[i]
		}
	}
	if s.room.left == 0 {
		s.room.lost++
		return &s.room.other
	}
	s.room.left--
	s.intervals = append(s.intervals, interval{at: at, jitter: -1, deltaMax: math.Inf(-1)})
	return &s.intervals[n]
}

// seconds is how many more intervals all streams together may have. Beyond, the
// packets of a new second count in their stream, but in no interval.
type seconds struct {
	left  int
	lost  int64    // packets in no interval
	other interval // takes them
}

// joinIntervals puts the seconds in order of time, each one once.
func (s *stream) joinIntervals() {
	byTime := func(a, b interval) int { return cmp.Compare(a.at, b.at) }
	if slices.IsSortedFunc(s.intervals, byTime) {
		return // strictly: equal ones are found when they are near
	}
	slices.SortStableFunc(s.intervals, byTime)
	out := s.intervals[:1]
	for _, sec := range s.intervals[1:] {
		last := &out[len(out)-1]
		if last.at != sec.at {
			out = append(out, sec)
			continue
		}
		last.packets += sec.packets
		last.lost += sec.lost
		if sec.jitter >= 0 {
			last.jitter = sec.jitter
		}
		last.deltaMax = max(last.deltaMax, sec.deltaMax)
	}
	s.intervals = out
}

// row is the second of a stream as a row, rated by m unless that is nil.
func (s *interval) row(stream uint32, m *emodel) StreamInterval {
	r := StreamInterval{StreamID: stream, At: s.at, Packets: s.packets, Lost: s.lost}
	if s.jitter >= 0 {
		r.JitterMS = decode.Some(s.jitter)
	}
	if !math.IsInf(s.deltaMax, -1) {
		r.DeltaMaxMS = decode.Some(s.deltaMax)
	}
	if n := s.packets + s.lost; m != nil && n >= minScoredSecond {
		r.MOS = decode.Some(mosOf(m.r(100*float64(s.lost)/float64(n), 1, r.JitterMS.V)))
	}
	return r
}

func (s *stream) payloadType(pt uint8) {
	if int16(pt) == s.clockType {
		return
	}
	known := false
	for _, t := range s.types[:s.typeCount] {
		known = known || t == pt
	}
	if !known && int(s.typeCount) < len(s.types) {
		s.types[s.typeCount] = pt
		s.typeCount++
	}
	name, clock := s.codecOf(pt)
	s.clockType = int16(pt)
	s.sound.kind, s.sound.element = soundOf(name), s.levelElement()
	s.sound.secure = s.flow.Apps[decode.AppDTLS] > 0 || s.dst.secure || s.src != nil && s.src.secure
	if name == "telephone-event" {
		s.eventType = int16(pt)
	}
	if isAuxiliary(name) && s.typeCount > 1 {
		return // an event or comfort noise packet does not change the stream's codec
	}
	if s.clock != clock {
		s.clock, s.drift = clock, drift{}
	}
	if s.codec == "" || isAuxiliary(s.codec) {
		s.codec = name
	}
}

func isAuxiliary(codec string) bool { return codec == "telephone-event" || codec == "CN" }

// codecOf is the encoding of a payload type by the latest SDP of the receiver's
// address, else of the sender's (a browser's own address may be in none, and
// both sides are to use one number: RFC 3264 5.1), else by RFC 3551's static
// table.
func (s *stream) codecOf(pt uint8) (string, int64) {
	for _, end := range [...]*mediaEnd{s.dst, s.src} {
		if end == nil {
			continue
		}
		for i := len(end.bindings) - 1; i >= 0 && i > len(end.bindings)-8; i-- {
			for _, c := range end.bindings[i].codecs {
				if c.PT == int(pt) && c.ClockHz > 0 {
					return c.Name, int64(c.ClockHz)
				}
			}
		}
	}
	if name, hz, ok := sdp.StaticCodec(int(pt)); ok {
		return name, int64(hz)
	}
	return "", 0
}

// levelElement is the header extension element of the audio level (RFC 6464)
// by the latest SDP of either end, 0 when there is none.
func (s *stream) levelElement() uint8 {
	for _, end := range [...]*mediaEnd{s.dst, s.src} {
		if end != nil && len(end.bindings) > 0 {
			if id := end.bindings[len(end.bindings)-1].level; id != 0 {
				return id
			}
		}
	}
	return 0
}

// levelOf is the element that a medium maps to the audio level.
func levelOf(md *sdp.Media) uint8 {
	for _, e := range md.ExtMap {
		if e.URI == "urn:ietf:params:rtp-hdrext:ssrc-audio-level" && e.ID > 0 && e.ID < 256 {
			return uint8(e.ID)
		}
	}
	return 0
}

// mediaEnd is a transport address that SDP gave for media.
type mediaEnd struct {
	version  uint32
	secure   bool // some binding is
	bindings []binding
}

// binding says that a call offered an address for media from a moment on.
type binding struct {
	call   *dialog
	at     Time
	codecs []sdp.Codec
	secure bool
	caller bool  // side that receives there
	level  uint8 // header extension element of the audio level, 0 none
}

// streamSet is what the two directions of one flow carry.
type streamSet struct {
	last    [2]*stream
	all     [2][]*stream
	bySSRC  [2]map[uint32]*stream // the latest of each source, once they are many
	evicted [2]int32              // sources given up
}

const (
	maxSources  = 64      // sources of one direction that are followed at once
	probation   = 5       // packets in sequence that make a stream without SDP
	giveUpAfter = 256     // sources given up before a direction is no RTP at all
	maxStreams  = 1 << 16 // sources of one direction that are ever kept

	notAStream     = "not a stream"
	tooManySources = "too many sources"
)

// addRTP takes one packet of a flow.
func (b *Builder) addRTP(ev *decode.Event) {
	id := ev.Flow.ID
	for uint32(len(b.streams)) <= id {
		b.streams = append(b.streams, streamSet{})
	}
	set := &b.streams[id]
	h := ev.RTP
	s := set.last[ev.Dir]
	if s == nil || s.ssrc != h.SSRC {
		var why string
		if s, why = b.findStream(set, ev); s == nil {
			b.ledger.Out(decode.LayerRTP, why, 1, int64(ev.WireLen))
			return
		}
		set.last[ev.Dir] = s
	}
	if s.dst.version != s.version {
		if s = b.reviewStream(set, s, ev); s == nil {
			return
		}
	}
	if ev.Decrypted {
		s.opened++
	}
	events := s.events
	s.add(h, ev.Time, ev.WireLen, ev.Decrypted)
	if b.ShowDTMF && s.events > events {
		s.digit(h)
	}
}

// findStream finds the source of a packet, or follows a new one; nil with the
// reason when it may not.
func (b *Builder) findStream(set *streamSet, ev *decode.Event) (s *stream, why string) {
	list := set.all[ev.Dir]
	if index := set.bySSRC[ev.Dir]; index != nil {
		if s := index[ev.RTP.SSRC]; s != nil {
			return s, ""
		}
	} else {
		for i := len(list) - 1; i >= 0; i-- {
			if list[i].ssrc == ev.RTP.SSRC {
				return list[i], ""
			}
		}
	}
	if set.evicted[ev.Dir] >= giveUpAfter {
		if end := b.ends[ev.Dst()]; end == nil || len(end.bindings) == 0 {
			return nil, notAStream
		}
	}
	if len(list) >= maxSources {
		// give up the oldest source that never became a stream; those before the
		// latest maxSources have become one
		for i := len(list) - maxSources; i < len(list); i++ {
			if s := list[i]; s.packets < probation && len(s.dst.bindings) == 0 {
				b.ledger.Out(decode.LayerRTP, notAStream, s.packets+s.duplicates, s.bytes)
				list = slices.Delete(list, i, i+1)
				set.all[ev.Dir] = list
				set.evicted[ev.Dir]++
				b.sources--
				if set.bySSRC[ev.Dir][s.ssrc] == s {
					delete(set.bySSRC[ev.Dir], s.ssrc)
				}
				if set.last[ev.Dir] == s {
					set.last[ev.Dir] = nil
				}
				break
			}
		}
	}
	if len(list) >= maxStreams || b.sources >= b.limit.sources {
		b.capped("packets of further RTP sources")
		return nil, tooManySources
	}
	return b.newStream(set, ev), ""
}

func (b *Builder) newStream(set *streamSet, ev *decode.Event) *stream {
	dst := ev.Dst()
	s := &stream{flow: ev.Flow, dir: ev.Dir, ssrc: ev.RTP.SSRC, file: ev.Pos.File, frame: ev.Pos.Frame, src: b.ends[ev.Src()], dst: b.mediaEnd(dst),
		figures: &figures{clockType: -1, eventType: -1, room: b.seconds}}
	b.sources++
	s.version = s.dst.version
	list := append(set.all[ev.Dir], s)
	set.all[ev.Dir] = list
	if set.bySSRC[ev.Dir] == nil && len(list) >= maxSources {
		set.bySSRC[ev.Dir] = map[uint32]*stream{}
		for _, o := range list {
			set.bySSRC[ev.Dir][o.ssrc] = o
		}
	}
	if set.bySSRC[ev.Dir] != nil {
		set.bySSRC[ev.Dir][s.ssrc] = s
	}
	return s
}

// reviewStream is called when SDP spoke of a stream's address since its last
// packet: codecs may be known now, and when a new call took the address over
// and the numbers do not go on, the source begins anew.
func (b *Builder) reviewStream(set *streamSet, s *stream, ev *decode.Event) *stream {
	s.version = s.dst.version
	s.clockType = -1
	s.src = b.ends[s.flow.End(s.dir)]
	if s.packets == 0 {
		return s
	}
	diff := rtp.SeqDiff(ev.RTP.Seq, uint16(s.maxSeq))
	pause := ev.Time.Sub(s.last) // a packet that was overtaken is not late by much
	goesOn := diff > 0 && diff < maxMisorder && pause < 5e9 || diff <= 0 && diff > -maxMisorder && pause < 5e8
	newCall := false
	for i := len(s.dst.bindings) - 1; i >= 0 && s.dst.bindings[i].at > s.last; i-- {
		if bd := s.dst.bindings[i]; bd.call.firstAt > s.last {
			newCall = true
		}
	}
	switch {
	case !newCall || goesOn:
	case b.sources >= b.limit.sources:
		b.capped("RTP sources that began anew")
	default:
		s = b.newStream(set, ev)
		set.last[ev.Dir] = s
	}
	return s
}

// mediaEnd finds or makes the record of a transport address.
func (b *Builder) mediaEnd(a netip.AddrPort) *mediaEnd {
	e := b.ends[a]
	if e == nil {
		e = &mediaEnd{}
		b.ends[a] = e
	}
	return e
}

// isStream tells a real stream from UDP payloads that only look like RTP: SDP
// gave one of its ends, or its numbers go on as a stream's do.
func (b *Builder) isStream(s *stream) bool {
	if len(s.dst.bindings) > 0 {
		return true
	}
	if src := b.ends[s.flow.End(s.dir)]; src != nil && len(src.bindings) > 0 {
		return true
	}
	if s.packets < probation {
		return false
	}
	// mostly in sequence, few payload types, and time stamps that move
	return s.spans*20 <= s.packets && s.expected() <= 4*s.packets+maxDropout && s.typeCount <= 3 && s.tsSpan != 0
}

// allStreams are the streams that are real, in order of first packet.
func (b *Builder) allStreams() []*stream {
	var out []*stream
	for i := range b.streams {
		for dir := 0; dir < 2; dir++ {
			for _, s := range b.streams[i].all[dir] {
				n := s.packets + s.duplicates
				if b.isStream(s) || b.boundByRTCP(s) {
					b.ledger.Out(decode.LayerRTP, decode.ReasonUsed, n, s.bytes)
					out = append(out, s)
				} else {
					b.ledger.Out(decode.LayerRTP, notAStream, n, s.bytes)
				}
			}
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, c := out[i], out[j]
		if a.first != c.first {
			return a.first < c.first
		}
		if a.file != c.file {
			return a.file < c.file
		}
		return a.frame < c.frame
	})
	return out
}

func (b *Builder) boundByRTCP(s *stream) bool {
	return s.packets >= 2 && b.rtcpSenders[s.ssrc] && s.spans == 0
}

// bindStreams gives each stream its call: by the address that SDP offered and
// by time. Where many calls share one address (a media gateway with one port),
// the call without a stream in that direction whose media began closest to the
// stream wins.
func (b *Builder) bindStreams(list []*stream) {
	var late []*stream
	for _, s := range list {
		if ice := b.setups[s.flow.ID]; ice != nil && ice.call != nil {
			s.call = ice.call
		} else if c := b.bestCall(s, false); c != nil {
			s.call = c
		} else {
			late = append(late, s)
		}
	}
	for _, s := range late {
		s.call = b.bestCall(s, true)
	}
}

const mediaSlack = 2e9 // ns by which media may precede the offer or outlast the BYE

func (b *Builder) bestCall(s *stream, again bool) *dialog {
	ends := [2]*mediaEnd{s.dst, b.ends[s.flow.End(s.dir)]}
	for k, end := range ends {
		if end == nil {
			continue
		}
		var best *dialog
		var bestSide bool
		bestScore := int64(math.MaxInt64)
		for i := len(end.bindings) - 1; i >= 0; i-- {
			bd := &end.bindings[i]
			if bd.at > s.first+mediaSlack {
				continue
			}
			if s.first-bd.at > 24*3600*1e9 || len(end.bindings)-i > 1<<14 {
				break
			}
			c := bd.call
			if over := c.overAt(); over != 0 && s.first > over+mediaSlack {
				continue
			}
			side := bd.caller != (k == 1) // side that receives this stream
			if !again && c.taken[index(side)] {
				continue
			}
			from := bd.at
			if c.answered > from {
				from = c.answered
			}
			score := int64(s.first - from)
			if score < 0 {
				score = -score
			}
			if score < bestScore {
				best, bestScore, bestSide = c, score, side
			}
		}
		if best != nil {
			best.taken[index(bestSide)] = true
			return best
		}
	}
	return nil
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// streamRow is a stream as a row of table streams, without its call.
func (b *Builder) streamRow(s *stream) Stream {
	src, dst := s.flow.End(s.dir), s.flow.End(1-s.dir)
	r := Stream{
		StreamID: s.id, FlowID: s.flow.ID,
		Src: b.addr(src.Addr()), SrcPort: uint32(src.Port()), Dst: b.addr(dst.Addr()), DstPort: uint32(dst.Port()),
		SSRC: s.ssrc, Codec: s.codec, Encrypted: s.encrypted, Decrypted: 2*s.opened > s.packets,
		FirstAt: s.first, LastAt: s.last, Packets: s.packets, Expected: s.expected(),
		Duplicates: s.duplicates, Reordered: s.reordered, DTMFCount: s.events, DTMFDigits: string(s.digits),
		File: b.files[s.file], FirstFrame: s.frame,
	}
	for _, t := range s.types[:s.typeCount] {
		r.PayloadTypes = append(r.PayloadTypes, int64(t))
	}
	if r.Lost = r.Expected - r.Packets; r.Lost < 0 {
		r.Lost = 0
	}
	if r.Expected > 0 {
		r.LostPct = decode.Some(100 * float64(r.Lost) / float64(r.Expected))
	}
	if s.packets > 1 {
		r.DeltaMaxMS = decode.Some(s.deltaMax)
	}
	if s.jitterN > 0 {
		r.JitterMeanMS = decode.Some(s.jitterSum / float64(s.jitterN))
		r.JitterMaxMS = decode.Some(s.jitterMax)
	}
	if s.clock > 0 {
		r.ClockHz = decode.Some(s.clock)
		if s.tsStepMin > 0 {
			r.PtimeMS = decode.Some(float64(s.tsStepMin) * 1e3 / float64(s.clock))
		}
		if s.last.Sub(s.first) > 10e9 && s.spans == 0 {
			r.ClockDriftPPM = s.drift.ppm(s.clock)
		}
	}
	if said := s.reports; said != nil {
		if said.lostN > 0 {
			r.RTCPFractionLost = decode.Some(said.lost / float64(said.lostN))
		}
		if said.jitterN > 0 && s.clock > 0 {
			r.RTCPJitterMS = decode.Some(said.jitter / float64(said.jitterN) * 1e3 / float64(s.clock))
		}
		if said.rttN > 0 {
			r.RTCPRTTms = decode.Some(said.rtt / float64(said.rttN))
		}
	}
	return r
}
