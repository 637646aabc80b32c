// Package ws reads WebSocket messages from one direction of a byte stream that
// may begin in the middle and have gaps.
//
// Sources: RFC 6455 sections 1.3 (accept key), 5.2 to 5.5 (frames, masking,
// fragments, control frames), 7.4 (close codes); RFC 7692 section 7
// (permessage-deflate).
//
// Units: offsets are bytes from the start of the stream, lost bytes counted.
//
// Aliasing: Event.Data belongs to the Parser until its next Next, Feed, Lost
// or Finish. Feed copies what it is given.
//
// Gaps: a gap within the payload of one frame costs the end of its message
// only. Any other is followed by a search for a place where several frames in
// a row make sense, so up to a few messages may be passed over after it
// (Skipped). A gap also loses the window that compressed messages with context
// takeover refer to. The window is then built anew from what follows: a message
// that refers to bytes before the gap gives its data up to that reference and
// is counted (ContextLost); what is given is right.
//
// Bounds: 1 MiB of a message as sent (Parser.MaxMessage); 4 MiB of an inflated
// one, and not more than 64 KiB + 256 times its size as sent. What is beyond is
// cut, and the event says so.
//
// Not handled: extensions other than permessage-deflate (their messages are an
// error), the validity of UTF-8, and the upgrade itself, which is HTTP.
//
// What may enter: the framing of other subprotocol-independent extensions.
package ws

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	maxMessage = 1 << 20
	maxSearch  = 16 << 10 // bytes held while searching after a gap
	maxControl = 125      // RFC 6455, 5.5
)

// Opcode is the kind of a message, RFC 6455, 11.8.
type Opcode uint8

const (
	continuation Opcode = 0 // of frames only; as an Event's Opcode, one that is not known

	Text   Opcode = 1
	Binary Opcode = 2
	Close  Opcode = 8
	Ping   Opcode = 9
	Pong   Opcode = 10
)

func (o Opcode) String() string {
	switch o {
	case Text:
		return "text"
	case Binary:
		return "binary"
	case Close:
		return "close"
	case Ping:
		return "ping"
	case Pong:
		return "pong"
	}
	return "opcode " + strconv.Itoa(int(o))
}

// Extensions is what Sec-WebSocket-Extensions negotiated.
type Extensions struct {
	Deflate bool // permessage-deflate

	// RFC 7692, 7.1.1: the sender starts each message with an empty window.
	ServerNoContextTakeover, ClientNoContextTakeover bool

	// RFC 7692, 7.1.2: log2 of the window; 15 unless given.
	ServerMaxWindowBits, ClientMaxWindowBits int

	Others int // extensions that are not known here

	// Unknown tells that the upgrade was not seen: a reserved bit 1 is then
	// taken for permessage-deflate. The caller sets it.
	Unknown bool
}

// ParseExtensions reads the field value of Sec-WebSocket-Extensions (RFC 6455,
// 9.1). What counts is the server's answer. Of several permessage-deflate
// elements, which a client may offer, the first is taken.
func ParseExtensions(header string) Extensions {
	e := Extensions{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}
	for element := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(element, ";")
		switch name = strings.ToLower(strings.TrimSpace(name)); {
		case name == "":
			continue
		case name != "permessage-deflate":
			e.Others++
			continue
		case e.Deflate:
			continue
		}
		e.Deflate = true
		for param := range strings.SplitSeq(params, ";") {
			key, value, _ := strings.Cut(param, "=")
			bits, err := strconv.Atoi(strings.Trim(value, " \t\""))
			valid := err == nil && bits >= 8 && bits <= 15
			switch strings.ToLower(strings.TrimSpace(key)) {
			case "server_no_context_takeover":
				e.ServerNoContextTakeover = true
			case "client_no_context_takeover":
				e.ClientNoContextTakeover = true
			case "server_max_window_bits":
				if valid {
					e.ServerMaxWindowBits = bits
				}
			case "client_max_window_bits":
				if valid {
					e.ClientMaxWindowBits = bits
				}
			}
		}
	}
	return e
}

// Accept is the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key, RFC
// 6455, 4.2.2.
func Accept(key string) string {
	sum := sha1.Sum([]byte(strings.TrimSpace(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Event is a message: a text or binary one put together from its frames, or a
// control frame, which may come between them.
type Event struct {
	Opcode Opcode // 0 when the frame that tells it was lost
	Final  bool   // its last frame came whole

	// Data is the payload, unmasked and inflated; of a close frame the reason.
	Data []byte

	Off, End int64 // of its first frame's first byte, and after its last byte
	Frames   int
	Payload  int64 // bytes of payload as sent, lost ones not counted

	Compressed  bool
	Masked      bool
	Truncated   bool // Data is not all of it
	ContextLost bool // Data ends where it refers to what a gap swallowed

	CloseCode int // of a close frame; 1005 (RFC 6455, 7.4.1) when it has none
}

type state uint8

const (
	atHeader state = iota
	inPayload
	searching
)

// Parser reads one direction of a connection after its upgrade. With Client
// and Extensions set it is ready, at the start of the frames. For a stream
// that begins in the middle call Lost(0) first.
//
// The caller feeds bytes in order, calls Next after each Feed until it has
// neither an event nor an error, and Finish and Next at the end.
type Parser struct {
	Client     bool // the direction from the client, whose frames are masked
	Extensions Extensions
	MaxMessage int // bytes kept of a message as sent; 0 means 1 MiB

	Skipped     int64 // bytes passed over while searching
	ContextLost int64 // messages that refer to what a gap swallowed
	Truncated   int64 // text and binary messages that were cut by a gap or a bound

	buf    []byte
	pos    int   // of the first unread byte in buf
	off    int64 // stream offset of buf[pos]
	state  state
	gap    int64 // stream offset after the last gap
	gapped bool  // what precedes the unread bytes is not known

	frame   frame
	start   int64 // of the frame at hand
	remain  uint64
	maskPos int

	m       Event // the message being assembled; Frames is 0 when there is none
	broken  bool  // bytes of it are missing
	data    []byte
	control [maxControl]byte
	size    int // bytes in control

	inflate inflater
	closed  bool
	ready   bool // m is to be given by Next, cut
}

// frame is a frame header, RFC 6455, 5.2.
type frame struct {
	opcode Opcode
	fin    bool
	rsv    byte // three bits, RSV1 is 4
	masked bool
	mask   [4]byte
	length uint64
	size   int // of the header
}

// parseFrame reads a frame header. ok is false when b ends within it; f has
// what is known of it then.
func parseFrame(b []byte) (f frame, ok bool) {
	if len(b) == 0 {
		return f, false
	}
	f.fin, f.rsv, f.opcode = b[0]&0x80 != 0, b[0]>>4&7, Opcode(b[0]&15)
	if len(b) == 1 {
		return f, false
	}
	f.masked, f.length, f.size = b[1]&0x80 != 0, uint64(b[1]&0x7f), 2
	switch f.length {
	case 126:
		if len(b) < 4 {
			return f, false
		}
		f.length, f.size = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return f, false
		}
		f.length, f.size = binary.BigEndian.Uint64(b[2:]), 10
	}
	if f.masked {
		if len(b) < f.size+4 {
			return f, false
		}
		copy(f.mask[:], b[f.size:])
		f.size += 4
	}
	return f, true
}

func (f *frame) isControl() bool { return f.opcode&8 != 0 }

// wrong says what RFC 6455 forbids in a header, "" when nothing.
func (p *Parser) wrong(f *frame) string {
	switch {
	case f.opcode > Binary && f.opcode < Close || f.opcode > Pong:
		return fmt.Sprintf("want a known opcode, have %d", f.opcode)
	case f.length>>63 != 0:
		return fmt.Sprintf("want a length below 2^63, have %d", f.length)
	case f.isControl() && (!f.fin || f.length > maxControl):
		return fmt.Sprintf("want a control frame whole and of at most %d bytes, have %d, final %t", maxControl, f.length, f.fin)
	case f.rsv == 0:
		return ""
	case f.rsv == 4 && (f.opcode == Text || f.opcode == Binary) && (p.Extensions.Deflate || p.Extensions.Unknown):
		return "" // RFC 7692, 6: on the first frame of a message only
	}
	return fmt.Sprintf("want no reserved bits, have %03b", f.rsv)
}

// Feed appends the stream's next bytes, which are copied.
func (p *Parser) Feed(b []byte) {
	n := copy(p.buf, p.buf[p.pos:])
	p.buf = append(p.buf[:n], b...)
	p.pos = 0
}

// Lost tells that n bytes are missing after those fed; 0 when it is not known
// how many.
func (p *Parser) Lost(n int64) {
	if p.state == searching {
		p.Skipped += int64(len(p.buf) - p.pos)
	}
	p.advance(len(p.buf) - p.pos)
	p.off += n
	p.gap, p.gapped = p.off, true
	if p.state == inPayload && n > 0 && uint64(n) <= p.remain {
		p.remain -= uint64(n)
		p.maskPos = (p.maskPos + int(n&3)) & 3
		if p.frame.isControl() {
			p.size = -1
		} else {
			p.broken = true
		}
		return
	}
	p.abandon()
}

// abandon ends the message at hand, cut, and searches for another frame.
func (p *Parser) abandon() {
	p.state = searching
	p.cut()
}

func (p *Parser) cut() {
	if p.m.Frames > 0 {
		p.broken, p.ready = true, true
	} else {
		p.inflate.lose()
	}
}

// Finish tells that the stream has ended. The next Next gives a message that
// was cut.
func (p *Parser) Finish() {
	if !p.closed {
		p.closed = true
		p.cut()
	}
}

// Offset is the stream offset of the first byte that is not yet read.
func (p *Parser) Offset() int64 { return p.off }

func (p *Parser) advance(n int) {
	p.pos += n
	p.off += int64(n)
}

// Next gives the next message. Without one and without an error it needs more
// bytes. After an error it goes on with what can be used, so that the caller
// may go on too.
func (p *Parser) Next(e *Event) (ok bool, err error) {
	for {
		if p.ready {
			p.ready = false
			p.give(e, false)
			return true, nil
		}
		switch p.state {
		case searching:
			if !p.search() {
				return false, nil
			}
			p.state = atHeader
		case atHeader:
			f, ok := parseFrame(p.buf[p.pos:])
			if !ok {
				return false, nil
			}
			if err := p.begin(f); err != nil {
				return false, err
			}
		case inPayload:
			p.payload()
			if p.remain > 0 {
				return false, nil
			}
			p.state = atHeader
			if p.end(e) {
				return true, nil
			}
		}
	}
}

func (p *Parser) fail(field, format string, args ...any) error {
	return &wire.Error{Proto: "ws", Field: field, Off: p.off, Msg: fmt.Sprintf(format, args...)}
}

// begin takes a frame header.
func (p *Parser) begin(f frame) (err error) {
	if wrong := p.wrong(&f); wrong != "" {
		// The frame's length cannot be trusted either.
		err = p.fail("header", "%s", wrong)
		p.advance(1)
		p.Skipped++
		p.gapped = true
		p.abandon()
		return err
	}
	switch {
	case f.isControl():
		p.size = 0
	case f.opcode == continuation && p.m.Frames == 0:
		// The first frame is missing: after a gap that is no error.
		if !p.gapped {
			err = p.fail("opcode", "want the first frame of a message, have a continuation")
		}
		p.m = Event{Off: p.off, Masked: f.masked}
		p.broken = true
	case f.opcode != continuation && p.m.Frames > 0:
		err = p.fail("opcode", "want a continuation, have another %s message", f.opcode)
		p.cut()
		return err // the header is read again, with no message at hand
	case f.opcode != continuation:
		p.m = Event{Opcode: f.opcode, Off: p.off, Compressed: f.rsv == 4, Masked: f.masked}
	}
	if !f.isControl() {
		p.m.Frames++
	}
	p.frame, p.start, p.remain, p.maskPos = f, p.off, f.length, 0
	p.advance(f.size)
	p.state = inPayload
	return err
}

// payload takes as much of the frame's payload as there is.
func (p *Parser) payload() {
	n := int(min(p.remain, uint64(len(p.buf)-p.pos)))
	b := p.buf[p.pos : p.pos+n]
	if p.frame.masked {
		unmask(b, p.frame.mask, p.maskPos)
		p.maskPos = (p.maskPos + n) & 3
	}
	p.remain -= uint64(n)
	p.advance(n)
	if p.frame.isControl() {
		if p.size >= 0 {
			p.size += copy(p.control[p.size:], b)
		}
		return
	}
	limit := p.MaxMessage
	if limit == 0 {
		limit = maxMessage
	}
	p.m.Payload += int64(n)
	p.m.End = p.off
	if p.broken {
		return // what follows a hole is not put next to what precedes it
	}
	if room := limit - len(p.data); n > room {
		b, p.broken = b[:room], true
	}
	p.data = append(p.data, b...)
}

// end ends a frame and tells whether that gives an event.
func (p *Parser) end(e *Event) bool {
	if p.frame.isControl() {
		*e = Event{Opcode: p.frame.opcode, Final: true, Off: p.start, End: p.off, Frames: 1, Masked: p.frame.masked, Payload: int64(max(p.size, 0))}
		if p.size < 0 {
			e.Truncated = true
			return true
		}
		e.Data = p.control[:p.size]
		if e.Opcode == Close { // RFC 6455, 5.5.1
			e.CloseCode = 1005
			if len(e.Data) >= 2 {
				e.CloseCode = int(binary.BigEndian.Uint16(e.Data))
				e.Data = e.Data[2:]
			}
		}
		return true
	}
	p.m.End = p.off
	if !p.frame.fin {
		return false
	}
	p.give(e, true)
	return true
}

// give ends the message at hand.
func (p *Parser) give(e *Event, final bool) {
	*e = p.m
	e.Final, e.Truncated, e.Data = final, p.broken, p.data
	if e.Compressed {
		fresh := p.Extensions.ServerNoContextTakeover
		if p.Client {
			fresh = p.Extensions.ClientNoContextTakeover
		}
		var whole bool
		e.Data, whole, e.ContextLost = p.inflate.message(p.data, fresh, !p.broken)
		if !whole {
			e.Truncated = true
		}
		if e.ContextLost {
			p.ContextLost++
		}
	}
	if !final || e.Opcode == continuation {
		p.inflate.lose() // compressed bytes may be among those that are missing
	}
	if e.Truncated {
		p.Truncated++
	}
	p.m, p.broken, p.data = Event{}, false, p.data[:0]
	if cap(p.data) > 2*maxMessage {
		p.data = nil
	}
}

// unmask undoes RFC 6455, 5.3, in place; pos is that of b[0] in the payload.
func unmask(b []byte, mask [4]byte, pos int) {
	var key [8]byte
	for i := range key {
		key[i] = mask[(pos+i)&3]
	}
	k := binary.LittleEndian.Uint64(key[:])
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
	}
	for i := range b {
		b[i] ^= key[i]
	}
}

// search passes over bytes up to a place where frames follow one another.
func (p *Parser) search() (found bool) {
	unread := p.buf[p.pos:]
	hold := len(unread)
	for i := range unread {
		switch p.judge(unread[i:], p.off+int64(i) == p.gap) {
		case yes:
			p.Skipped += int64(i)
			p.advance(i)
			return true
		case maybe:
			hold = min(hold, i)
		}
	}
	hold = max(hold, len(unread)-maxSearch)
	p.Skipped += int64(hold)
	p.advance(hold)
	return false
}

type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// judge tells whether a frame begins at b[0], by evidence in bits: a header
// that makes sense is seen in random bytes once in about 2^6, a byte of text
// once in 2, a frame that ends where the stream does, or right after a gap,
// where records begin, is no accident. 24 bits are enough.
func (p *Parser) judge(b []byte, first bool) answer {
	evidence := 0
	if first {
		evidence = 10
	}
	for range 8 {
		if len(b) == 0 {
			evidence += 8
		}
		if evidence >= 24 {
			return yes
		}
		f, ok := parseFrame(b)
		if !ok {
			if p.wrong(&f) != "" || len(b) > 1 && f.masked != p.Client {
				return no
			}
			return maybe
		}
		if !p.plausible(&f) {
			return no
		}
		evidence += 6
		body := b[f.size:]
		whole := f.length <= uint64(len(body))
		if whole {
			body = body[:f.length]
		}
		if f.rsv == 0 && (f.opcode == Text || f.isControl()) || f.opcode == continuation && !p.Extensions.Deflate {
			bits, ok := p.text(&f, body, whole)
			if !ok {
				return no
			}
			evidence += bits
		}
		if evidence >= 24 {
			return yes
		}
		if !whole {
			if f.length > maxSearch {
				return no
			}
			return maybe
		}
		b = b[f.size+int(f.length):]
	}
	return maybe
}

// plausible tells whether a header is one that this direction would send.
func (p *Parser) plausible(f *frame) bool {
	return p.wrong(f) == "" && f.masked == p.Client && f.length < 1<<31 &&
		(f.size == 2 || f.length >= 126 || f.masked && f.size == 6) && // RFC 6455, 5.2: the shortest form
		(f.opcode != Close || f.length != 1)
}

// text is how much the payload of a text or control frame speaks for a frame;
// ok is false when it speaks against it.
func (p *Parser) text(f *frame, body []byte, whole bool) (bits int, ok bool) {
	var plain [64]byte
	n := copy(plain[:], body)
	if f.masked {
		unmask(plain[:n], f.mask, 0)
	}
	b := plain[:n]
	whole = whole && n == len(body)
	switch f.opcode {
	case Close:
		if len(b) < 2 {
			return 0, true
		}
		if code := binary.BigEndian.Uint16(b); code < 1000 || code > 4999 {
			return 0, false
		}
		b, bits = b[2:], 4
	case Ping, Pong:
		return 0, true // any bytes
	case continuation:
		// It may begin within a character, and be of a binary message.
		for len(b) > 0 && !utf8.RuneStart(b[0]) {
			b = b[1:]
		}
		if !isText(b, whole && f.fin) {
			return 0, true
		}
		return min(len(b), 32), true
	}
	if !isText(b, whole && f.fin) {
		return 0, false
	}
	return bits + min(len(b), 32), true
}

// isText tells whether b is UTF-8 without control characters other than white
// space. When it is not whole it may end within a character.
func isText(b []byte, whole bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !whole && !utf8.FullRune(b)
		}
		if r < ' ' && !bytes.ContainsRune([]byte("\t\n\r\f"), r) || r == 0x7f {
			return false
		}
		b = b[n:]
	}
	return true
}
