// Package http2 reads the requests and responses of an HTTP/2 connection from
// its two byte streams, which may begin in the middle and have gaps.
//
// Sources: RFC 9113 sections 3.4 (preface), 4 (frames), 6 (frame types), 8
// (messages, CONNECT); RFC 7541 (HPACK; its strings and tables by
// golang.org/x/net/http2/hpack); RFC 8441 (WebSocket by extended CONNECT).
//
// Units: offsets are bytes from the start of the direction's stream, lost bytes
// counted. Frames of other streams lie between a message's Off and End.
//
// Aliasing: a Message owns its strings. Its Body is valid until the next Next,
// that of TunnelData until the next Next, Feed or Lost.
//
// Gaps: a gap within the payload of one DATA frame costs those bytes only. Any
// other is followed by a search for frame headers, and what HPACK's dynamic
// table held before it is not known any more. Fields that refer to it are left
// out and counted (Message.Unknown, Partial); a field that is shown is right.
// The same holds for a connection that is seen from its middle on.
//
// Bounds: 256 KiB of a header block, 256 fields and 64 KiB of them kept, 1 MiB
// of a body (Conn.MaxBody) and 16 MiB of all bodies at once, 1,024 open
// messages a direction: the oldest is then given as it is.
//
// Secrets: values of credential fields and queries are given as they are.
//
// Not handled: priorities, flow control, settings other than by their place;
// the request of an h2c upgrade, which is HTTP/1.1; content codings.
//
// What may enter: further frame types that carry messages.
package http2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/twtrace/twtrace/internal/wire"
	"golang.org/x/net/http2/hpack"
)

// preface starts the stream of a client, RFC 9113, 3.4.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	maxBlock    = 256 << 10
	maxHeaders  = 256
	maxFields   = 64 << 10 // bytes of names and values kept in a message
	maxOpen     = 1024
	maxBodies   = 16 << 20
	defaultBody = 1 << 20
	maxSearch   = 32 << 10
	maxTable    = 1 << 20 // of an HPACK dynamic table
)

// Looks tells whether b begins with the preface of a client. Its first line is
// enough.
func Looks(b []byte) bool {
	n := min(len(b), len(preface))
	return n >= len("PRI * HTTP/2.0\r\n") && string(b[:n]) == preface[:n]
}

// Header is one field; its name is in lower case.
type Header struct{ Name, Value string }

// Tunnel tells what a Message is.
type Tunnel uint8

const (
	// NoTunnel is a request or response.
	NoTunnel Tunnel = iota
	// TunnelOpen is the head of a CONNECT request, or of the successful
	// response to one: what follows on the stream are bytes of Protocol.
	TunnelOpen
	// TunnelData has the next bytes of such a stream in Body.
	TunnelData
	// TunnelGap tells that bytes are missing in it; Lost is how many, 0 unknown.
	TunnelGap
	// TunnelClose ends it.
	TunnelClose
)

func (t Tunnel) String() string {
	switch t {
	case NoTunnel:
		return "none"
	case TunnelOpen:
		return "open"
	case TunnelData:
		return "data"
	case TunnelGap:
		return "gap"
	case TunnelClose:
		return "close"
	}
	return "tunnel " + strconv.Itoa(int(t))
}

// Message is one request or response, or a piece of a tunnel.
type Message struct {
	Client   bool // came from the client
	Request  bool // a request; one that the server promises has Client false
	StreamID uint32
	Tunnel   Tunnel

	// Pseudo-header fields, RFC 9113, 8.3 and RFC 8441, 4. "" and 0 when absent
	// or not known.
	Method, Scheme, Authority, Target, Protocol string
	Status                                      int

	Headers   []Header
	Malformed int  // fields beyond the bounds, or that are none
	Unknown   int  // fields that refer to what was not seen
	Partial   bool // Unknown > 0, or the head was not seen whole

	// The values of some fields; "" when absent.
	ContentType, ContentEncoding, Date string

	Body    []byte // the first bytes, content coding kept
	BodyLen int64  // bytes of body, lost ones included when their number is known
	Lost    int64  // bytes of it that a gap swallowed

	// Truncated tells that the message did not come to its end, or that bytes
	// of it may be missing.
	Truncated bool
	Reset     bool   // RST_STREAM ended it
	ErrorCode uint32 // of RST_STREAM, RFC 9113, 7

	Off     int64 // of the frame with the head
	HeadEnd int64 // after the head
	End     int64 // after the last frame
}

// Get is the value of the first field with this name in lower case, or "".
func (m *Message) Get(name string) string {
	for _, h := range m.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// Spare has buffers of bodies for the connections that share it: large bodies
// come one after another. It serves one goroutine.
type Spare struct{ free [][]byte }

const maxFree = 8 // buffers of at most twice the usual MaxBody

func (s *Spare) get() (b []byte) {
	if s != nil && len(s.free) > 0 {
		n := len(s.free) - 1
		b, s.free = s.free[n], s.free[:n]
	}
	return b
}

func (s *Spare) put(b []byte) {
	if s != nil && len(s.free) < maxFree && cap(b) > 0 && cap(b) <= 2*defaultBody {
		s.free = append(s.free, b[:0])
	}
}

// Conn reads both directions of a connection. The zero value is ready, at the
// start of both streams. For a connection that is seen from its middle on call
// Lost with 0 for both directions first.
//
// The caller feeds bytes in the order of their capture, calls Next after each
// Feed until it has neither a message nor an error, and Finish and Next at the
// end.
type Conn struct {
	// MaxBody is how many bytes of a body are kept; 0 means 1 MiB.
	MaxBody int
	Spare   *Spare // may be nil

	Skipped int64 // bytes passed over while searching
	Orphans int64 // bytes of bodies whose head was not seen
	Resets  int64 // RST_STREAM frames
	Evicted int64 // messages given early, because too many were open

	sides   [2]side // from the server, from the client
	ready   []Message
	given   int               // of ready
	body    []byte            // of the message that was given last
	tunnels map[uint32]string // streams with a CONNECT request, their protocol
	maxID   uint32            // highest stream seen
}

type state uint8

const (
	atStart state = iota
	atFrame
	inData // of a DATA frame, remain bytes, the last pad of them padding
	inSkip // remain bytes of a frame that does not matter
	searching
)

// side is one direction.
type side struct {
	client bool
	buf    []byte
	pos    int   // of the first unread byte in buf
	off    int64 // stream offset of buf[pos]
	state  state
	closed bool

	f      frame
	remain int
	pad    int

	open     bool // a header block goes on in CONTINUATION
	block    []byte
	blockOff int64
	blockEnd bool   // END_STREAM
	blockID  uint32 // the stream it is for
	promised bool   // by PUSH_PROMISE
	id       uint32 // the stream its frames are on

	table   *hpack.Decoder
	partial bool // entries of the table are not known
	field   hpack.HeaderField
	emitted bool

	halves map[uint32]*half
	order  []uint32 // halves from old to new; some have ended
	kept   int      // bytes of bodies in halves
}

// half is a message that is not yet at its end.
type half struct {
	m      Message
	broken bool // bytes of its body are missing
}

// frame is a frame header, RFC 9113, 4.1.
type frame struct {
	length int
	typ    byte
	flags  byte
	id     uint32
}

const frameHeader = 9

// Frame types and flags, RFC 9113, 6.
const (
	typeData         = 0
	typeHeaders      = 1
	typePriority     = 2
	typeRST          = 3
	typeSettings     = 4
	typePush         = 5
	typePing         = 6
	typeGoAway       = 7
	typeWindowUpdate = 8
	typeContinuation = 9
	typePriorityUpd  = 16 // RFC 9218, 7.1

	flagEndStream  = 0x1 // ACK in SETTINGS and PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

func parseFrame(b []byte) frame {
	return frame{int(b[0])<<16 | int(b[1])<<8 | int(b[2]), b[3], b[4], binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1)}
}

func (c *Conn) side(client bool) *side {
	s := &c.sides[0]
	if client {
		s = &c.sides[1]
	}
	s.client = client
	if s.halves == nil {
		s.halves = map[uint32]*half{}
		s.forget(false)
	}
	return s
}

// forget starts HPACK's table anew: empty, or with entries that are not known.
func (s *side) forget(partial bool) {
	s.partial = partial
	size := uint32(4096) // RFC 9113, 6.5.2
	if partial {
		// The real size is not known. A larger table keeps entries that the
		// real one has dropped, which no sender refers to.
		size = 64 << 10
	}
	s.table = hpack.NewDecoder(size, func(f hpack.HeaderField) { s.field, s.emitted = f, true })
	s.table.SetAllowedMaxDynamicTableSize(maxTable)
}

// Feed appends the next bytes of a direction, which are copied.
func (c *Conn) Feed(client bool, b []byte) {
	s := c.side(client)
	n := copy(s.buf, s.buf[s.pos:])
	s.buf = append(s.buf[:n], b...)
	s.pos = 0
}

// Offset is the stream offset of the first byte of a direction that is not yet
// read.
func (c *Conn) Offset(client bool) int64 { return c.side(client).off }

func (s *side) advance(n int) {
	s.pos += n
	s.off += int64(n)
}

// Lost tells that n bytes of a direction are missing after those fed; 0 when
// it is not known how many.
func (c *Conn) Lost(client bool, n int64) {
	s := c.side(client)
	if s.state == searching {
		c.Skipped += int64(len(s.buf) - s.pos)
	}
	s.advance(len(s.buf) - s.pos)
	s.off += n
	if n > 0 && (s.state == inData || s.state == inSkip) && n <= int64(s.remain) {
		if h := s.halves[s.f.id]; h != nil && s.state == inData {
			body := max(0, min(n, int64(s.remain-s.pad)))
			h.m.BodyLen += body
			c.pierce(s, h, body)
		}
		s.remain -= int(n)
		s.pad = min(s.pad, s.remain)
		return
	}
	c.lose(s)
}

// pierce notes that n bytes are missing in a half, 0 when not known how many.
func (c *Conn) pierce(s *side, h *half, n int64) {
	h.broken = true
	h.m.Lost += n
	h.m.Truncated = true
	if h.m.Tunnel == TunnelOpen {
		c.ready = append(c.ready, Message{Client: s.client, StreamID: h.m.StreamID, Tunnel: TunnelGap, Protocol: h.m.Protocol, Lost: n, Off: s.off - n, End: s.off})
	}
}

// lose gives up the place in a stream and searches for another.
func (c *Conn) lose(s *side) {
	s.state, s.open = searching, false
	s.forget(true)
	for _, id := range slices.Sorted(maps.Keys(s.halves)) {
		c.pierce(s, s.halves[id], 0)
	}
}

// Finish tells that both streams have ended. Next then gives the messages that
// had no end.
func (c *Conn) Finish() {
	for _, client := range [...]bool{true, false} {
		s := c.side(client)
		if s.closed {
			continue
		}
		s.closed = true
		for _, id := range slices.Sorted(maps.Keys(s.halves)) {
			c.end(s, s.halves[id], true)
		}
	}
}

// Next gives the next message. Without one and without an error it needs more
// bytes. After an error it goes on with what can be used, so that the caller
// may go on too.
func (c *Conn) Next(m *Message) (ok bool, err error) {
	c.Spare.put(c.body)
	c.body = nil
	for {
		if c.given < len(c.ready) {
			if *m = c.ready[c.given]; m.Tunnel == NoTunnel {
				c.body = m.Body
			}
			c.ready[c.given] = Message{}
			if c.given++; c.given == len(c.ready) {
				c.ready, c.given = c.ready[:0], 0
			}
			return true, nil
		}
		more, err := c.step(c.side(true))
		if !more && err == nil && len(c.ready) == 0 {
			more, err = c.step(c.side(false))
		}
		if err != nil || !more && len(c.ready) == 0 {
			return false, err
		}
	}
}

func (s *side) fail(field, format string, args ...any) error {
	return &wire.Error{Proto: "http2", Field: field, Off: s.off, Msg: fmt.Sprintf(format, args...)}
}

// step makes one transition; more is false when bytes are missing for it.
func (c *Conn) step(s *side) (more bool, err error) {
	unread := s.buf[s.pos:]
	switch s.state {
	case searching:
		return c.search(s), nil

	case atStart:
		if s.client {
			n := min(len(unread), len(preface))
			if string(unread[:n]) != preface[:n] {
				err = s.fail("preface", "want the connection preface, have something else")
				c.lose(s)
				return true, err
			}
			if n < len(preface) {
				return false, nil
			}
			s.advance(n)
			s.state = atFrame
			return true, nil
		}
		if len(unread) < frameHeader {
			return false, nil
		}
		if f := parseFrame(unread); f.typ != typeSettings || f.id != 0 || f.flags != 0 || f.length%6 != 0 {
			err = s.fail("preface", "want a SETTINGS frame first, have type %d of %d bytes on stream %d", f.typ, f.length, f.id)
			c.lose(s)
			return true, err
		}
		s.state = atFrame
		return true, nil

	case atFrame:
		return c.frame(s)

	case inSkip:
		n := min(s.remain, len(unread))
		s.advance(n)
		if s.remain -= n; s.remain > 0 {
			return false, nil
		}
		s.state = atFrame
		return true, nil

	case inData:
		n := min(s.remain, len(unread))
		body := unread[:max(0, min(n, s.remain-s.pad))]
		h := s.halves[s.f.id]
		switch {
		case h == nil:
			c.Orphans += int64(len(body))
		case h.m.Tunnel == TunnelOpen && len(body) > 0:
			c.ready = append(c.ready, Message{Client: s.client, StreamID: s.f.id, Tunnel: TunnelData, Protocol: h.m.Protocol,
				Body: body[:len(body):len(body)], BodyLen: int64(len(body)), Off: s.off, End: s.off + int64(len(body))})
		case h.m.Tunnel == NoTunnel:
			c.keep(s, h, body)
		}
		s.advance(n)
		if s.remain -= n; s.remain > 0 {
			return n > 0, nil
		}
		s.state = atFrame
		if h != nil && s.f.flags&flagEndStream != 0 {
			c.end(s, h, false)
		}
		return true, nil
	}
	return false, nil
}

func (c *Conn) keep(s *side, h *half, b []byte) {
	h.m.BodyLen += int64(len(b))
	if h.broken {
		return // what follows a hole is not put next to what precedes it
	}
	limit := c.MaxBody
	if limit == 0 {
		limit = defaultBody
	}
	n := max(0, min(len(b), limit-len(h.m.Body), maxBodies-s.kept))
	if n > 0 && h.m.Body == nil {
		h.m.Body = c.Spare.get()
	}
	if have := len(h.m.Body); n > cap(h.m.Body)-have {
		h.m.Body = slices.Grow(h.m.Body, max(n, min(have, limit-have))) // append alone would copy a long body often
	}
	h.m.Body = append(h.m.Body, b[:n]...)
	s.kept += n
}

// frame reads a frame header, and the payload of those that must be whole.
func (c *Conn) frame(s *side) (more bool, err error) {
	unread := s.buf[s.pos:]
	if len(unread) < frameHeader {
		return false, nil
	}
	f := parseFrame(unread)
	if s.open && (f.typ != typeContinuation || f.id != s.id) {
		// RFC 9113, 6.10. What the block would have put in the table is lost.
		err = s.fail("frame", "want CONTINUATION on stream %d, have type %d on stream %d", s.id, f.typ, f.id)
		s.open = false
		s.forget(true)
		return true, err // the frame is read again
	}
	if wrong := f.wrong(); wrong != "" {
		err = s.fail("frame", "%s", wrong)
		if f.typ == typeHeaders || f.typ == typePush || f.typ == typeContinuation {
			s.forget(true)
		}
		c.skip(s, f)
		return true, err
	}
	if f.id < 1<<30 {
		c.maxID = max(c.maxID, f.id)
	}
	switch f.typ {
	case typeData:
		pad := 0
		if f.flags&flagPadded != 0 {
			if len(unread) < frameHeader+1 {
				return false, nil
			}
			if pad = int(unread[frameHeader]); pad >= f.length {
				err = s.fail("padding", "want less than %d bytes, have %d", f.length, pad)
				c.skip(s, f)
				return true, err
			}
		}
		s.f, s.remain, s.pad, s.state = f, f.length, pad, inData
		s.advance(frameHeader)
		if f.flags&flagPadded != 0 {
			s.advance(1)
			s.remain--
		}
		return true, nil

	case typeHeaders, typePush, typeContinuation, typeRST:
		if f.length > maxBlock {
			err = s.fail("frame", "want at most %d bytes of header block, have %d", maxBlock, f.length)
			s.open = false
			s.forget(true)
			c.skip(s, f)
			return true, err
		}
		if len(unread) < frameHeader+f.length {
			return false, nil
		}
		payload := unread[frameHeader : frameHeader+f.length]
		switch f.typ {
		case typeRST:
			s.advance(frameHeader + f.length)
			c.reset(f.id, binary.BigEndian.Uint32(payload))
			return true, nil
		case typeContinuation:
			if !s.open {
				err = s.fail("frame", "want no CONTINUATION without HEADERS, have one on stream %d", f.id)
				s.forget(true)
				c.skip(s, f)
				return true, err
			}
		default:
			s.id, s.blockID, s.blockOff, s.promised = f.id, f.id, s.off, f.typ == typePush
			s.blockEnd = f.typ == typeHeaders && f.flags&flagEndStream != 0
			s.block = s.block[:0]
			s.open = true
			if payload, err = s.strip(f, payload); err != nil {
				s.open = false
				s.forget(true)
				c.skip(s, f)
				return true, err
			}
		}
		if len(s.block)+len(payload) > maxBlock {
			err = s.fail("frame", "want at most %d bytes of header block, have %d", maxBlock, len(s.block)+len(payload))
			s.open = false
			s.forget(true)
			c.skip(s, f)
			return true, err
		}
		s.block = append(s.block, payload...)
		s.advance(frameHeader + f.length)
		if f.flags&flagEndHeaders != 0 {
			s.open = false
			c.head(s)
		}
		return true, nil
	}
	c.skip(s, f)
	return true, nil
}

func (c *Conn) skip(s *side, f frame) {
	s.advance(frameHeader)
	s.f, s.remain, s.state = f, f.length, inSkip
}

// wrong says what RFC 9113 forbids in a frame header, "" when nothing.
func (f *frame) wrong() string {
	switch f.typ {
	case typeData, typeHeaders, typePriority, typeRST, typePush, typeContinuation:
		if f.id == 0 {
			return fmt.Sprintf("want a stream for type %d, have 0", f.typ)
		}
	case typeSettings, typePing, typeGoAway:
		if f.id != 0 {
			return fmt.Sprintf("want stream 0 for type %d, have %d", f.typ, f.id)
		}
	}
	least := 0
	switch f.typ {
	case typePriority:
		least = 5
	case typeRST, typeWindowUpdate:
		least = 4
	case typePing:
		least = 8
	case typeSettings:
		if f.length%6 != 0 {
			return fmt.Sprintf("want settings of 6 bytes each, have %d", f.length)
		}
		return ""
	case typeGoAway:
		if f.length < 8 {
			return fmt.Sprintf("want 8 bytes of GOAWAY, have %d", f.length)
		}
		return ""
	default:
		if f.flags&flagPadded != 0 && f.length == 0 && (f.typ == typeData || f.typ == typeHeaders || f.typ == typePush) {
			return "want a pad length, have an empty frame"
		}
		return ""
	}
	if f.length != least {
		return fmt.Sprintf("want %d bytes for type %d, have %d", least, f.typ, f.length)
	}
	return ""
}

// strip takes padding, priority and promised stream from the payload of HEADERS
// or PUSH_PROMISE, RFC 9113, 6.2 and 6.6.
func (s *side) strip(f frame, payload []byte) ([]byte, error) {
	r := wire.NewCursor("http2", payload)
	pad := 0
	if f.flags&flagPadded != 0 {
		pad = int(r.U8("pad length"))
	}
	if f.typ == typePush {
		s.blockID = r.U32("promised stream") & (1<<31 - 1)
	} else if f.flags&flagPriority != 0 {
		r.Skip("priority", 5)
	}
	rest := r.Bytes("header block", r.Len()-pad)
	if err := r.Err(); err != nil {
		return nil, s.fail("headers", "want padding, priority and fields in %d bytes: %v", f.length, err)
	}
	return rest, nil
}

// search passes over bytes up to a frame header that another follows.
func (c *Conn) search(s *side) (found bool) {
	unread := s.buf[s.pos:]
	hold := len(unread)
	for i := range unread {
		b := unread[i:]
		if len(b) < frameHeader {
			hold = min(hold, i)
			break
		}
		if !c.plausible(b) {
			continue
		}
		next := frameHeader + parseFrame(b).length
		switch {
		case len(b) == next, len(b) >= next+frameHeader && c.plausible(b[next:]):
			c.Skipped += int64(i)
			s.advance(i)
			s.state = atFrame
			return true
		case len(b) < next+frameHeader:
			hold = min(hold, i)
		}
	}
	hold = max(hold, len(unread)-maxSearch)
	c.Skipped += int64(hold)
	s.advance(hold)
	return false
}

// flags that a frame type has, RFC 9113, 6.
var flags = [...]byte{typeData: 0x9, typeHeaders: 0x2d, typeSettings: 0x1, typePush: 0xc, typePing: 0x1, typeContinuation: 0x4, typePriorityUpd: 0}

// plausible tells whether a connection like this one would have a frame with
// this header.
func (c *Conn) plausible(b []byte) bool {
	f := parseFrame(b)
	limit := c.maxID + 2000
	if c.maxID == 0 {
		limit = 1 << 20
	}
	longest := 16 << 10 // RFC 9113, 4.2: unless agreed otherwise, which body senders do
	if f.typ == typeData {
		longest = 1 << 20
	}
	return (f.typ <= typeContinuation || f.typ == typePriorityUpd) && b[5]&0x80 == 0 && f.flags&^flags[f.typ] == 0 &&
		f.length <= longest && f.id <= limit && f.wrong() == ""
}

// head takes a whole header block.
func (c *Conn) head(s *side) {
	h := s.halves[s.blockID]
	if h != nil {
		// Trailers, RFC 9113, 8.1: they do not describe the message.
		var m Message
		s.fields(&m)
		h.m.Unknown += m.Unknown
		h.m.Malformed += m.Malformed
		if s.blockEnd {
			c.end(s, h, false)
		}
		return
	}
	h = &half{m: Message{Client: s.client, Request: s.client || s.promised, StreamID: s.blockID, Off: s.blockOff, HeadEnd: s.off, Headers: make([]Header, 0, 16)}}
	m := &h.m
	s.fields(m)
	m.Partial = m.Unknown > 0
	m.End = s.off
	switch {
	case s.promised, !m.Request && m.Status >= 100 && m.Status < 200 && !s.blockEnd:
		// An interim response is followed by another, a promise by its response.
		c.ready = append(c.ready, *m)
		return
	case s.blockEnd:
		c.ready = append(c.ready, *m)
		return
	case m.Request && m.Method == "CONNECT" && len(c.tunnels) < maxOpen: // RFC 9113, 8.5
		if c.tunnels == nil {
			c.tunnels = map[uint32]string{}
		}
		c.tunnels[m.StreamID] = m.Protocol
		m.Tunnel = TunnelOpen
	case !m.Request && m.Status/100 == 2:
		if protocol, ok := c.tunnels[m.StreamID]; ok {
			m.Tunnel, m.Protocol = TunnelOpen, protocol
		}
	}
	if m.Tunnel == TunnelOpen {
		c.ready = append(c.ready, *m)
	}
	if len(s.halves) >= maxOpen {
		c.evict(s)
	}
	s.halves[m.StreamID] = h
	if s.order = append(s.order, m.StreamID); len(s.order) > 4*maxOpen {
		s.order = slices.DeleteFunc(s.order, func(id uint32) bool { return s.halves[id] == nil })
		slices.Sort(s.order)
		s.order = slices.Compact(s.order)
	}
}

// evict gives the oldest open message as it is.
func (c *Conn) evict(s *side) {
	for len(s.order) > 0 {
		id := s.order[0]
		s.order = s.order[1:]
		if h := s.halves[id]; h != nil {
			c.Evicted++
			c.end(s, h, true)
			return
		}
	}
}

// end ends a half.
func (c *Conn) end(s *side, h *half, cut bool) {
	h.m.End = s.off
	if cut {
		h.m.Truncated = true
	}
	s.kept -= len(h.m.Body)
	delete(s.halves, h.m.StreamID)
	if h.m.Tunnel != TunnelOpen {
		c.ready = append(c.ready, h.m)
		return
	}
	other := &c.sides[1]
	if s.client {
		other = &c.sides[0]
	}
	if o := other.halves[h.m.StreamID]; o == nil {
		delete(c.tunnels, h.m.StreamID)
	}
	c.ready = append(c.ready, Message{Client: s.client, StreamID: h.m.StreamID, Tunnel: TunnelClose, Protocol: h.m.Protocol,
		Truncated: h.m.Truncated, Reset: h.m.Reset, ErrorCode: h.m.ErrorCode, Off: s.off, End: s.off})
}

// reset ends a stream, both halves of it, RFC 9113, 6.4.
func (c *Conn) reset(id, code uint32) {
	c.Resets++
	for _, client := range [...]bool{true, false} {
		s := c.side(client)
		if h := s.halves[id]; h != nil {
			h.m.Reset, h.m.ErrorCode = true, code
			c.end(s, h, true)
		}
	}
	delete(c.tunnels, id)
}

// fields decodes the block into m.
func (s *side) fields(m *Message) {
	kept := 0
	for b := s.block; len(b) > 0; {
		n := representation(b)
		if n == 0 {
			// The rest cannot be told apart, nor what it put in the table.
			m.Malformed++
			s.forget(true)
			return
		}
		f, known, err := s.decode(b[:n])
		b = b[n:]
		switch {
		case err != nil:
			m.Malformed++
		case !known:
			m.Unknown++
		case f.Name == "": // a table size update, or no field
		case len(m.Headers) >= maxHeaders || kept+len(f.Name)+len(f.Value) > maxFields:
			m.Malformed++
		default:
			kept += len(f.Name) + len(f.Value)
			m.add(f)
		}
	}
}

// unseen stands for a field name that is not known; no sender may use it (RFC
// 9113, 8.2.1).
const unseen = "\x00"

// decode decodes one representation. A reference to a part of the table that
// was not seen gives no field; known is false then.
func (s *side) decode(b []byte) (f hpack.HeaderField, known bool, err error) {
	s.emitted, s.field = false, hpack.HeaderField{}
	_, err = s.table.Write(b)
	if e := s.table.Close(); err == nil { // a new block, so that several size updates are allowed
		err = e
	}
	if err == nil {
		if b[0] == 0x20 {
			s.partial = false // a size of 0 empties the table
		}
		return s.field, s.field.Name != unseen, nil
	}
	var index hpack.DecodingError
	if !errors.As(err, &index) || !isIndexError(index.Err) {
		// A string that is none. An entry of the table is then missing.
		s.forget(true)
		return hpack.HeaderField{}, true, err
	}
	if b[0]&0xc0 != 0x40 {
		return hpack.HeaderField{}, false, s.unlessPartial(err)
	}
	// A literal that goes in the table under a name that is not known: put it
	// there, so that later references count right.
	_, n := integer(b, 6)
	err = s.unlessPartial(err)
	if _, e := s.table.Write(append([]byte{0x40, 1, unseen[0]}, b[n:]...)); e != nil {
		s.forget(true)
	}
	if e := s.table.Close(); e != nil {
		s.forget(true)
	}
	return hpack.HeaderField{}, false, err
}

func isIndexError(err error) bool {
	_, ok := err.(hpack.InvalidIndexError)
	return ok
}

// unlessPartial is err in a table that is known whole: a reference beyond its
// end is then an error of the sender.
func (s *side) unlessPartial(err error) error {
	if s.partial {
		return nil
	}
	return err
}

// representation is the length of the first representation of a field in b,
// RFC 7541, 6, 0 when b ends within it.
func representation(b []byte) int {
	var index uint64
	n := 0
	switch {
	case b[0]&0x80 != 0: // indexed field
		_, n = integer(b, 7)
		return n
	case b[0]&0xe0 == 0x20: // table size update
		_, n = integer(b, 5)
		return n
	case b[0]&0xc0 == 0x40: // literal that goes in the table
		index, n = integer(b, 6)
	default: // literal that does not
		index, n = integer(b, 4)
	}
	strs := 1
	if index == 0 {
		strs = 2
	}
	for ; n > 0 && strs > 0; strs-- {
		if n >= len(b) {
			return 0
		}
		length, size := integer(b[n:], 7)
		if size == 0 || length > uint64(len(b)-n-size) {
			return 0
		}
		n += size + int(length)
	}
	return n
}

// integer reads an integer with a prefix of bits bits, RFC 7541, 5.1. n is 0
// when b ends within it or it is longer than 32 bits.
func integer(b []byte, bits uint) (v uint64, n int) {
	mask := uint64(1)<<bits - 1
	if v = uint64(b[0]) & mask; v < mask {
		return v, 1
	}
	for i := 1; i < min(len(b), 6); i++ {
		v += uint64(b[i]&0x7f) << (7 * (i - 1))
		if b[i]&0x80 == 0 {
			return v, i + 1
		}
	}
	return 0, 0
}

// add takes a field.
func (m *Message) add(f hpack.HeaderField) {
	name, value := text(f.Name), text(f.Value)
	if !strings.HasPrefix(name, ":") {
		m.Headers = append(m.Headers, Header{name, value})
		switch name {
		case "content-type":
			m.ContentType = first(m.ContentType, value)
		case "content-encoding":
			m.ContentEncoding = first(m.ContentEncoding, value)
		case "date":
			m.Date = first(m.Date, value)
		case "host": // RFC 9113, 8.3.1: instead of :authority, or the same
			if m.Request {
				m.Authority = first(m.Authority, value)
			}
		}
		return
	}
	switch {
	case name == ":status" && !m.Request:
		status, err := strconv.ParseUint(value, 10, 10)
		if err != nil || len(value) != 3 {
			m.Malformed++
			return
		}
		m.Status = int(status)
	case name == ":method" && m.Request:
		m.Method = first(m.Method, value)
	case name == ":scheme" && m.Request:
		m.Scheme = first(m.Scheme, value)
	case name == ":authority" && m.Request:
		m.Authority = value
	case name == ":path" && m.Request:
		m.Target = first(m.Target, value)
	case name == ":protocol" && m.Request:
		m.Protocol = first(m.Protocol, value)
	default:
		m.Malformed++
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// text makes a string that prints: what is no printable UTF-8 becomes U+FFFD.
func text(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}
