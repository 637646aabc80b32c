// Package http reads HTTP/1.0 and HTTP/1.1 messages from one direction of a
// byte stream that may begin in the middle and have gaps.
//
// Sources: RFC 9112 sections 2 to 7 (messages, body length, chunks), RFC 9110
// sections 5.6.7 (dates), 7.8 (upgrade), 8.4 (content codings), 9.3.6 (CONNECT).
//
// Units: offsets are bytes from the start of the stream, lost bytes counted.
//
// Aliasing: a Message owns its strings and Body. Rest aliases the Parser's
// buffer until the next Feed.
//
// Text: bytes of a header that are not printable ASCII or UTF-8 become U+FFFD.
//
// Bounds: 64 KiB of head, 256 fields kept, 1 MiB of body kept (Parser.MaxBody);
// what is beyond is counted or skipped.
//
// Not handled: HTTP/2 and later, transfer codings other than chunked (the body
// stays coded), multipart, content codings other than gzip, deflate, br and
// zstd, several codings of one body, and HTTP/0.9. Pairing requests with
// responses is the caller's: only Requested tells a response's Parser what was
// asked.
package http

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	maxHead      = 64 << 10
	maxHeaders   = 256
	maxFolds     = 256 // folded lines that are kept in one head
	maxChunkLine = 4 << 10
	maxSearch    = 8 << 10 // longest start line that is waited for after a gap
	maxPending   = 1 << 12 // requests without a response yet
	defaultBody  = 1 << 20
)

// Header is one field line, the value without outer white space.
type Header struct{ Name, Value string }

// Message is one request or response.
type Message struct {
	Request bool
	Method  string // of a request
	Target  string // of a request
	Status  int    // of a response
	Reason  string // of a response
	Version string // "HTTP/1.0" or "HTTP/1.1"

	Headers   []Header
	Malformed int // field lines that are none, and fields beyond 256

	// The values of some fields; "" when absent.
	Host, ContentType, ContentEncoding, Date, Upgrade string

	Body    []byte // the first bytes, chunks put together, content coding kept
	BodyLen int64  // bytes of body on the wire without chunk framing, lost ones included
	Lost    int64  // bytes of the body that a gap swallowed

	// Truncated tells that the message did not come to its end: a gap, a
	// malformed chunk, or the end of the stream.
	Truncated bool

	Off     int64 // of the start line
	HeadEnd int64 // of the first byte after the head
	End     int64 // of the first byte after the message
}

// Get is the value of the first field with this name in any case, or "".
func (m *Message) Get(name string) string {
	for _, h := range m.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// DateUnix is the Date field in seconds since 1970 UTC. ok is false when there
// is none or it has none of the three forms of RFC 9110, 5.6.7.
func (m *Message) DateUnix() (seconds int64, ok bool) {
	for _, layout := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
		if t, err := time.Parse(layout, m.Date); err == nil {
			return t.Unix(), true
		}
	}
	return 0, false
}

type state uint8

const (
	atStart state = iota
	inHead
	inBody       // remaining bytes of a Content-Length
	untilClose   // a response without length
	atChunk      // a chunk-size line
	inChunk      // remaining bytes of a chunk
	afterChunk   // the line end after chunk data
	inTrailers   //
	searching    // for a start line, after a gap or an error
	maybeUpgrade // after a request that asks for another protocol
	upgraded     // the rest is not HTTP
)

// Parser reads one direction of a connection. The zero value is ready, at the
// start of the stream.
//
// The caller feeds bytes in order, calls Next after each Feed until it has
// neither a message nor an error, and Finish and Next at the end. Memory is
// bounded as long as it does.
type Parser struct {
	// MaxBody is how many bytes of a body are kept; 0 means 1 MiB.
	MaxBody int

	// Skipped counts bytes that were passed over while searching.
	Skipped int64

	buf    []byte
	pos    int   // of the first unread byte in buf
	scan   int   // buf has no line end between pos and scan
	off    int64 // stream offset of buf[pos]
	state  state
	closed bool

	m       Message
	remain  int64
	folds   int
	head    int // bytes of head or trailers so far
	length  int64
	chunked bool
	coding  bool // a Transfer-Encoding that does not end in chunked
	upgrade bool // Connection: upgrade
	pending []request
	done    *Message // a message that Lost or Finish ended
}

// request is what matters of a request for the length of its response.
type request uint8

const (
	anyRequest request = iota
	headRequest
	connectRequest
)

// Requested tells a Parser of responses the method of the next request in the
// other direction, so that it knows that a response to HEAD has no body and
// that CONNECT ends HTTP. Responses take them in order; a response for which
// none was told counts as one to GET.
func (p *Parser) Requested(method string) {
	r := anyRequest
	switch method {
	case "HEAD":
		r = headRequest
	case "CONNECT":
		r = connectRequest
	}
	if len(p.pending) == maxPending {
		p.pending = append(p.pending[:0], p.pending[1:]...)
	}
	p.pending = append(p.pending, r)
}

// Feed appends the stream's next bytes, which are copied.
func (p *Parser) Feed(b []byte) {
	p.scan -= p.pos
	n := copy(p.buf, p.buf[p.pos:])
	p.buf = append(p.buf[:n], b...)
	p.pos = 0
}

// Lost tells that n bytes are missing after those fed; 0 when it is not known
// how many. Bytes that belong to a body of known length are skipped; in any
// other place the message ends truncated and the next start line is searched.
func (p *Parser) Lost(n int64) {
	// What is still unread before the gap goes first: the caller has called
	// Next until it gave nothing, so this is an incomplete line at most.
	if p.state == searching {
		p.Skipped += int64(len(p.buf) - p.pos)
	}
	p.advance(len(p.buf) - p.pos)
	p.off += n
	p.pending = p.pending[:0] // responses may be among what is lost
	switch {
	case p.state == upgraded || p.state == maybeUpgrade:
		p.state = upgraded
		return
	case n > 0 && (p.state == inBody || p.state == inChunk) && n <= p.remain:
		p.remain -= n
		p.lostBody(n)
		return
	case p.state == untilClose:
		p.lostBody(n)
		return
	case p.state == inBody && n > 0:
		p.lostBody(p.remain)
	}
	p.abandon()
}

func (p *Parser) lostBody(n int64) {
	p.m.BodyLen += n
	p.m.Lost += n
	p.m.Truncated = true
}

// abandon ends the message at hand and searches for another.
func (p *Parser) abandon() {
	if p.state != atStart && p.state != searching {
		p.m.Truncated = true
		p.finish()
	}
	p.state = searching
}

// finish puts the message at hand aside for Next.
func (p *Parser) finish() {
	if p.m.HeadEnd == 0 {
		p.m.HeadEnd = p.off
	}
	p.m.End = p.off
	m := p.m
	p.done = &m
	p.m = Message{}
}

// Finish tells that the stream has ended. The next Next gives a message that
// had no other end, or was cut.
func (p *Parser) Finish() {
	if p.closed {
		return
	}
	p.closed = true
	switch p.state {
	case atStart, searching, upgraded, maybeUpgrade:
	case untilClose:
		p.finish()
		p.state = atStart
	default:
		p.abandon()
	}
}

// Upgraded tells that the rest of the stream is not HTTP: after 101, after a
// successful CONNECT, or after a request for either that is followed by
// something else than HTTP.
func (p *Parser) Upgraded() bool { return p.state == upgraded }

// Rest takes all unread bytes after an upgrade.
func (p *Parser) Rest() []byte {
	if p.state != upgraded {
		return nil
	}
	b := p.buf[p.pos:len(p.buf):len(p.buf)]
	p.advance(len(b))
	return b
}

// Offset is the stream offset of the first byte that is not yet read.
func (p *Parser) Offset() int64 { return p.off }

func (p *Parser) advance(n int) {
	p.pos += n
	p.off += int64(n)
	p.scan = max(p.scan, p.pos)
}

// line takes the next line without its end. A lone LF ends a line as well
// (RFC 9112, 2.2).
func (p *Parser) line() ([]byte, bool) {
	i := bytes.IndexByte(p.buf[p.scan:], '\n')
	if i < 0 {
		p.scan = len(p.buf)
		return nil, false
	}
	l := p.buf[p.pos : p.scan+i]
	p.advance(len(l) + 1)
	return bytes.TrimSuffix(l, []byte{'\r'}), true
}

// Next gives the next whole message. Without one and without an error it needs
// more bytes. After an error it goes on with what can be used, so that the
// caller may go on too.
func (p *Parser) Next(m *Message) (ok bool, err error) {
	for {
		if p.done != nil {
			*m = *p.done
			p.done = nil
			return true, nil
		}
		more, err := p.step()
		if err != nil || !more && p.done == nil {
			return false, err
		}
	}
}

func (p *Parser) fail(field string, off int64, format string, args ...any) error {
	p.abandon()
	return &wire.Error{Proto: "http", Field: field, Off: off, Msg: fmt.Sprintf(format, args...)}
}

// step makes one transition; more is false when bytes are missing for it.
func (p *Parser) step() (more bool, err error) {
	unread := p.buf[p.pos:]
	switch p.state {
	case searching:
		return p.search(), nil

	case maybeUpgrade:
		switch start(unread) {
		case no:
			p.state = upgraded
		case yes:
			p.state = atStart
			return true, nil
		case maybe:
			if len(unread) > maxSearch {
				p.state = upgraded
			}
		}
		return false, nil

	case upgraded:
		return false, nil

	case atStart:
		off := p.off
		l, ok := p.line()
		if !ok {
			if len(unread) > maxHead {
				return false, p.fail("start line", off, "want a line end within %d bytes", maxHead)
			}
			return false, nil
		}
		if len(l) == 0 { // RFC 9112, 2.2: empty lines before a request are ignored
			return true, nil
		}
		p.m = Message{Off: off}
		p.head, p.folds, p.length, p.chunked, p.coding, p.upgrade = len(l), 0, -1, false, false, false
		if !p.m.startLine(l) {
			// Go back, so that a start line within what was read is found.
			p.pos, p.scan, p.off = p.pos-int(p.off-off), p.pos-int(p.off-off), off
			p.advance(1)
			p.Skipped++
			return false, p.fail("start line", off, "want a request or status line, have %.40q", l)
		}
		p.state = inHead
		return true, nil

	case inHead, inTrailers:
		off := p.off
		l, ok := p.line()
		if !ok {
			if p.head+len(unread) > maxHead {
				return false, p.fail("head", off, "want at most %d bytes", maxHead)
			}
			return false, nil
		}
		if p.head += len(l) + 2; p.head > maxHead {
			return false, p.fail("head", off, "want at most %d bytes", maxHead)
		}
		if len(l) > 0 {
			return true, p.field(l, off)
		}
		if p.state == inTrailers {
			p.complete()
			return true, nil
		}
		return true, p.body()

	case inBody, inChunk:
		n := int(min(p.remain, int64(len(unread))))
		p.keep(unread[:n])
		p.remain -= int64(n)
		if p.remain > 0 {
			return false, nil
		}
		if p.state == inChunk {
			p.state = afterChunk
		} else {
			p.complete()
		}
		return true, nil

	case untilClose:
		p.keep(unread)
		return false, nil

	case atChunk, afterChunk:
		off := p.off
		l, ok := p.line()
		if !ok {
			if len(unread) > maxChunkLine {
				return false, p.fail("chunk", off, "want a line end within %d bytes", maxChunkLine)
			}
			return false, nil
		}
		if p.state == afterChunk {
			if len(l) > 0 {
				return false, p.fail("chunk", off, "want a line end after chunk data, have %.20q", l)
			}
			p.state = atChunk
			return true, nil
		}
		size, _, _ := bytes.Cut(l, []byte{';'}) // RFC 9112, 7.1.1: extensions
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 62)
		if err != nil {
			return false, p.fail("chunk", off, "want a chunk size, have %.20q", l)
		}
		p.remain, p.state = int64(n), inChunk
		if n == 0 {
			p.state, p.head = inTrailers, 0
		}
		return true, nil
	}
	return false, nil
}

func (p *Parser) keep(b []byte) {
	limit := p.MaxBody
	if limit == 0 {
		limit = defaultBody
	}
	have := len(p.m.Body)
	if n := min(limit-have, len(b)); n > 0 {
		if n > cap(p.m.Body)-have {
			p.m.Body = slices.Grow(p.m.Body, max(n, min(have, limit-have))) // append alone would copy a long body often
		}
		p.m.Body = append(p.m.Body, b[:n]...)
	}
	p.m.BodyLen += int64(len(b))
	p.advance(len(b))
}

// complete ends a message that is whole.
func (p *Parser) complete() {
	next := atStart
	if p.m.Request && (p.m.Method == "CONNECT" || p.upgrade && p.m.Upgrade != "") {
		next = maybeUpgrade
	}
	p.finish()
	p.state = next
}

// search passes over bytes up to a plausible start line.
func (p *Parser) search() (found bool) {
	unread := p.buf[p.pos:]
	for i := range unread {
		switch start(unread[i:]) {
		case yes:
			p.Skipped += int64(i)
			p.advance(i)
			p.state = atStart
			p.scan = p.pos
			return true
		case maybe:
			if len(unread)-i <= maxSearch {
				p.Skipped += int64(i)
				p.advance(i)
				return false
			}
		}
	}
	p.Skipped += int64(len(unread))
	p.advance(len(unread))
	return false
}

// startLine reads a request line or status line, RFC 9112, 3 and 4.
func (m *Message) startLine(l []byte) bool {
	l = bytes.TrimRight(l, " \t")
	if bytes.HasPrefix(l, []byte("HTTP/")) {
		version, rest, _ := bytes.Cut(l, []byte{' '})
		if !isVersion(version) || len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' {
			return false
		}
		status, err := strconv.ParseUint(string(rest[:3]), 10, 16)
		if err != nil || status < 100 {
			return false
		}
		m.Status, m.Version = int(status), string(version)
		if len(rest) > 4 {
			m.Reason = text(rest[4:])
		}
		return true
	}
	method, rest, ok := bytes.Cut(l, []byte{' '})
	i := bytes.LastIndexByte(rest, ' ')
	if !ok || i < 0 || !isToken(method) || !isVersion(rest[i+1:]) {
		return false
	}
	target := bytes.TrimSpace(rest[:i])
	if len(target) == 0 {
		return false
	}
	m.Request, m.Method, m.Target, m.Version = true, string(method), text(target), string(rest[i+1:])
	return true
}

func isVersion(b []byte) bool {
	return len(b) == 8 && string(b[:7]) == "HTTP/1." && b[7] >= '0' && b[7] <= '9'
}

// isToken tells whether b is a token, RFC 9110, 5.6.2.
func isToken(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return len(b) > 0
}

// field reads one field line, RFC 9112, 5, of the head or of trailers.
func (p *Parser) field(l []byte, off int64) error {
	m := &p.m
	if l[0] == ' ' || l[0] == '\t' { // RFC 9112, 5.2: obsolete folding
		if n := len(m.Headers); n > 0 && p.folds < maxFolds {
			p.folds++
			m.Headers[n-1].Value += " " + text(bytes.TrimSpace(l))
		} else {
			m.Malformed++
		}
		return nil
	}
	name, value, ok := bytes.Cut(l, []byte{':'})
	name = bytes.TrimRight(name, " \t")
	if !ok || !isToken(name) {
		m.Malformed++
		return nil
	}
	h := Header{string(name), text(bytes.TrimSpace(value))}
	if len(m.Headers) < maxHeaders {
		m.Headers = append(m.Headers, h)
	} else {
		m.Malformed++
	}
	if p.state == inTrailers {
		return nil // RFC 9110, 6.5.1: trailers do not frame or describe
	}
	switch strings.ToLower(h.Name) {
	case "host":
		m.Host = first(m.Host, h.Value)
	case "content-type":
		m.ContentType = first(m.ContentType, h.Value)
	case "content-encoding":
		m.ContentEncoding = first(m.ContentEncoding, h.Value)
	case "date":
		m.Date = first(m.Date, h.Value)
	case "upgrade":
		m.Upgrade = first(m.Upgrade, h.Value)
	case "connection":
		for v := range strings.SplitSeq(h.Value, ",") {
			if strings.EqualFold(strings.TrimSpace(v), "upgrade") {
				p.upgrade = true
			}
		}
	case "transfer-encoding":
		last := strings.TrimSpace(h.Value[strings.LastIndexByte(h.Value, ',')+1:])
		p.chunked = strings.EqualFold(last, "chunked")
		p.coding = !p.chunked && !strings.EqualFold(last, "identity") // RFC 2616, 3.6
	case "content-length":
		// RFC 9110, 8.6: the same number several times is one number.
		for v := range strings.SplitSeq(h.Value, ",") {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 62)
			if err != nil || p.length >= 0 && p.length != int64(n) {
				return p.fail("content-length", off, "want one number, have %.40q", h.Value)
			}
			p.length = int64(n)
		}
	}
	return nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// body decides what follows the head, by RFC 9112, 6.3.
func (p *Parser) body() error {
	m := &p.m
	m.HeadEnd = p.off
	if !m.Request {
		asked := anyRequest
		if len(p.pending) > 0 {
			asked = p.pending[0]
			if m.Status >= 200 || m.Status == 101 {
				p.pending = append(p.pending[:0], p.pending[1:]...)
			}
		}
		switch {
		case m.Status == 101, asked == connectRequest && m.Status/100 == 2:
			p.finish()
			p.state = upgraded
			return nil
		case m.Status < 200, m.Status == 204, m.Status == 304, asked == headRequest:
			p.complete()
			return nil
		}
	}
	switch {
	case p.chunked:
		p.state = atChunk
	case p.coding && m.Request:
		return p.fail("transfer-encoding", m.Off, "want chunked last in a request, have %.40q", m.Get("Transfer-Encoding"))
	case p.coding:
		p.state = untilClose
	case p.length >= 0:
		p.remain, p.state = p.length, inBody
	case m.Request:
		p.complete()
	default:
		p.state = untilClose
	}
	return nil
}

// text makes a string that prints: what is no printable UTF-8 becomes U+FFFD.
func text(b []byte) string {
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return strings.Map(func(r rune) rune {
				if r != '\t' && !unicode.IsPrint(r) {
					return utf8.RuneError
				}
				return r
			}, string(b))
		}
	}
	return string(b)
}
