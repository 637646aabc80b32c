// Package sip reads SIP messages, RFC 3261, as they are found on the wire.
//
// One tolerant parser serves datagrams, streams and WebSocket frames: it takes
// every message from which a start line can be read, and records what it had
// to tolerate as Warnings with the section that says otherwise. Frame cuts a
// byte stream into messages, Looks tells SIP from other content without
// regard to ports, and Elide prints a message without its secrets.
//
// Sources: RFC 3261 (7 and 25.1 syntax, 18.3 framing, 19.1 URIs, 20 headers),
// RFC 3966 (tel URIs), RFC 3326 (Reason), RFC 3581 (rport), RFC 5626 (CRLF
// keep-alives), RFC 4475 (the torture messages, all of them in the tests).
//
// Units: every offset and length is in bytes of the input given to Parse.
//
// Ownership: all []byte of a Message alias the input, except the Value of a
// folded header, which lives in a buffer of the Message. Both are valid until
// the input changes or the Message is parsed into again; copy what you keep.
//
// Not handled: percent-decoding of URIs, the meaning of Date, Expires, Contact
// and credentials, Content-Encoding (a compressed body stays compressed),
// bare CR as a line end, and SigComp (RFC 3320).
//
// Only what can be said of one message by itself may enter this room;
// transactions, dialogs and calls are the business of the sessions package.
package sip

import (
	"bytes"
	"math"

	"github.com/twtrace/twtrace/internal/wire"
)

// Limits of what is taken for SIP. A UDP datagram cannot exceed the first; the
// second is far above any body seen, and bounds what a stream must buffer.
const (
	MaxHeaderBytes = 64 << 10
	MaxBodyBytes   = 1 << 20

	maxStartLine = 8 << 10
	maxMethod    = 64
	maxWarnings  = 64
)

// Method is a request method. New methods may be added.
type Method uint8

// Methods of RFC 3261, 3262 (PRACK), 3311 (UPDATE), 3515 (REFER), 6665
// (SUBSCRIBE, NOTIFY), 3428 (MESSAGE), 6086 (INFO) and 3903 (PUBLISH). Method
// names are case-sensitive (RFC 3261, 7.1): "invite" is Unknown.
const (
	Unknown Method = iota
	INVITE
	ACK
	BYE
	CANCEL
	OPTIONS
	REGISTER
	PRACK
	UPDATE
	REFER
	SUBSCRIBE
	NOTIFY
	MESSAGE
	INFO
	PUBLISH
)

var methodNames = [...]string{"unknown", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER",
	"PRACK", "UPDATE", "REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "INFO", "PUBLISH"}

func (m Method) String() string {
	if int(m) < len(methodNames) {
		return methodNames[m]
	}
	return methodNames[Unknown]
}

func methodOf(b []byte) Method {
	for i := INVITE; int(i) < len(methodNames); i++ {
		if string(b) == methodNames[i] {
			return i
		}
	}
	return Unknown
}

// Warning is a deviation that the parser tolerated.
type Warning struct {
	Off  int    // byte offset in the input
	RFC  string // number and section, for example "3261 7.3.1"
	Text string
}

// Header is one header field line, in the order of the message.
type Header struct {
	ID    HeaderID
	Off   int    // byte offset of the name in the input
	Name  []byte // as written
	Value []byte // trimmed; unfolded when it was folded
}

// Message is one SIP request or response. The zero value is ready for Parse,
// and a used one keeps its buffers, so that parsing into it again does not
// allocate.
type Message struct {
	Request    bool
	Method     Method // of a request; Unknown in a response
	MethodText []byte // as written
	RequestURI []byte // as written
	Status     int    // of a response
	Reason     []byte // may be empty
	Version    []byte // "SIP/2.0"

	Headers []Header
	Body    []byte
	Rest    []byte // bytes after the message

	CallID        []byte
	CSeq          uint32 // math.MaxUint32 when the number is out of range
	CSeqMethod    Method
	CSeqText      []byte // the method in CSeq as written
	Via           Via    // the topmost
	Branch        []byte // of the topmost Via
	From, To      Address
	ContentType   []byte // with its parameters
	ContentLength int    // -1 when absent or not a number

	Off       int // where the start line begins, behind CRLF keep-alives
	HeaderLen int // start line, headers and the empty line
	Len       int // HeaderLen and len(Body); Off+Len bytes were used

	Warnings []Warning // the first 64

	fold []byte // unfolded header values
}

func (m *Message) reset() {
	*m = Message{Headers: m.Headers[:0], Warnings: m.Warnings[:0], fold: m.fold[:0], ContentLength: -1, Via: Via{RPort: -1}}
}

func (m *Message) warn(off int, rfc, text string) {
	if len(m.Warnings) < maxWarnings {
		m.Warnings = append(m.Warnings, Warning{off, rfc, text})
	}
}

// Get returns the value of the first header with the ID, nil if there is none.
func (m *Message) Get(id HeaderID) []byte {
	for i := range m.Headers {
		if m.Headers[i].ID == id {
			return m.Headers[i].Value
		}
	}
	return nil
}

// GetName returns the value of the first header with the name, in any case.
// Known headers are found in their compact form too.
func (m *Message) GetName(name string) []byte {
	if id := headerID([]byte(name)); id != HeaderUnknown {
		return m.Get(id)
	}
	for i := range m.Headers {
		if equalFold(m.Headers[i].Name, name) {
			return m.Headers[i].Value
		}
	}
	return nil
}

// Values calls yield with each comma-separated value of all headers with the
// ID, in order, until yield returns false. It is for headers that are lists
// (Via, Route, Contact, Allow, Supported, Reason ...; RFC 3261, 7.3.1); others,
// such as Date and Authorization, have commas of their own.
func (m *Message) Values(id HeaderID, yield func([]byte) bool) {
	for i := range m.Headers {
		if m.Headers[i].ID != id {
			continue
		}
		for rest := m.Headers[i].Value; len(rest) > 0; {
			var v []byte
			v, rest = cutTop(rest, ',')
			if v = trim(v); len(v) > 0 && !yield(v) {
				return
			}
		}
	}
}

// startLine is a Request-Line or a Status-Line (RFC 3261, 7.1 and 7.2).
type startLine struct {
	request              bool
	method, uri, version []byte
	status               int
	reason               []byte
	odd                  string // a tolerated deviation
}

// parseStart reads a line without its line end; bad says why it is not a start
// line, empty if it is one.
func parseStart(line []byte) (s startLine, bad string) {
	if len(line) == 0 || tokenChar[line[0]] == 0 {
		return s, "want a method or SIP/2.0, found something else"
	}
	if isVersion(line) {
		return parseStatus(line)
	}
	n := tokenLen(line)
	if n > maxMethod {
		return s, "want a method, found too long a word"
	}
	if n == len(line) || !isBlank(line[n]) {
		return s, "want a method and a space"
	}
	s.request = true
	s.method = line[:n]
	rest := line[n+1:]
	trimmed := trim(rest)
	// The version is the last word: a space inside the URI is tolerated.
	i := len(trimmed)
	for i > 0 && !isBlank(trimmed[i-1]) {
		i--
	}
	s.version = trimmed[i:]
	if !isVersion(s.version) || len(s.version) != len("SIP/2.0") {
		return s, "want SIP/2.0 at the end of the request line"
	}
	s.uri = trim(trimmed[:i])
	if len(s.uri) == 0 {
		return s, "want a Request-URI between method and version"
	}
	if len(s.uri)+1+len(s.version) != len(rest) {
		s.odd = "more white space in the request line than one space between its parts"
	}
	if bytes.IndexByte(s.uri, ' ') >= 0 || bytes.IndexByte(s.uri, '\t') >= 0 {
		s.odd = "white space in the Request-URI"
	} else if s.uri[0] == '<' {
		s.odd = "Request-URI in angle brackets"
	}
	return s, ""
}

func parseStatus(line []byte) (s startLine, bad string) {
	s.version = line[:len("SIP/2.0")]
	rest := trim(line[len(s.version):])
	n := 0
	for n < len(rest) && isDigit(rest[n]) {
		n++
	}
	if n != 3 || n < len(rest) && !isBlank(rest[n]) || !isBlank(line[len(s.version)]) {
		return s, "want a status of three digits"
	}
	s.status = int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
	s.reason = trim(rest[3:])
	switch {
	case s.status < 100 || s.status > 699:
		s.odd = "status outside 100 to 699"
	case len(rest) == 3 && !isBlank(line[len(line)-1]):
		s.odd = "no space and reason phrase after the status"
	}
	return s, ""
}

// isVersion tells whether b begins with SIP/d.d in any case.
func isVersion(b []byte) bool {
	return len(b) >= 7 && b[3] == '/' && b[5] == '.' && isDigit(b[4]) && isDigit(b[6]) &&
		b[0]|0x20 == 's' && b[1]|0x20 == 'i' && b[2]|0x20 == 'p'
}

// skipEmpty counts the CR and LF before a message (RFC 3261, 7.5; RFC 5626, 3.5.1).
func skipEmpty(b []byte) int {
	i := 0
	for i < len(b) && (b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// scanLine returns the line at off without CRLF or LF and the offset of the
// next line; next is -1 when the input ends before the line does.
func scanLine(b []byte, off int) (line []byte, next int, lf bool) {
	n := bytes.IndexByte(b[off:], '\n')
	if n < 0 {
		return b[off:], -1, false
	}
	end := off + n
	if n > 0 && b[end-1] == '\r' {
		return b[off : end-1], end + 1, false
	}
	return b[off:end], end + 1, true
}

// Parse reads the message in b, one datagram or one message that Frame cut.
// Content-Length limits the body and what follows it is left in Rest; without
// it the body is all the rest. An error means that b has no SIP start line or
// too long a header section; then the fields read so far are left in m.
func Parse(b []byte, m *Message) error {
	m.reset()
	m.Off = skipEmpty(b)
	if m.Off == len(b) {
		return &wire.Error{Proto: "sip", Field: "start line", Off: int64(m.Off), Msg: "want a message, found none"}
	}
	line, next, lf := scanLine(b, m.Off)
	s, bad := parseStart(line)
	if bad != "" {
		return &wire.Error{Proto: "sip", Field: "start line", Off: int64(m.Off), Msg: bad}
	}
	m.Request, m.MethodText, m.RequestURI, m.Version = s.request, s.method, s.uri, s.version
	m.Status, m.Reason = s.status, s.reason
	if s.odd != "" {
		m.warn(m.Off, "3261 25.1", s.odd)
	}
	if string(m.Version) != "SIP/2.0" {
		m.warn(m.Off, "3261 7.1", "version is not SIP/2.0")
	}
	if m.Request {
		m.Method = methodOf(m.MethodText)
		if u := parseURI(m.RequestURI); u.headers {
			m.warn(m.Off, "3261 19.1.1", "header fields in the Request-URI")
		}
	}

	var seen uint64 // bit per singleHeader
	viaOff := -1
	end := next
	for end >= 0 {
		if end-m.Off > MaxHeaderBytes {
			m.HeaderLen, m.Len = end-m.Off, end-m.Off
			return &wire.Error{Proto: "sip", Field: "header", Off: int64(end), Msg: "want an empty line within 65536 bytes, found none"}
		}
		off := end
		if off == len(b) {
			end = -1
			break
		}
		var l bool
		line, end, l = scanLine(b, off)
		lf = lf || l
		if len(line) == 0 {
			break
		}
		if isBlank(line[0]) {
			// Only behind the start line: every other continuation is read below.
			m.warn(off, "3261 7.3.1", "continuation line without a header")
			continue
		}
		colon := bytes.IndexByte(line, ':')
		folded := end >= 0 && end < len(b) && isBlank(b[end])
		var value []byte
		if colon >= 0 {
			value = trim(line[colon+1:])
		}
		if folded {
			mark := len(m.fold)
			m.fold = append(m.fold, value...)
			for folded {
				if end-m.Off > MaxHeaderBytes {
					break
				}
				var more []byte
				more, end, l = scanLine(b, end)
				lf = lf || l
				if more = trim(more); len(more) > 0 {
					if len(m.fold) > mark {
						m.fold = append(m.fold, ' ')
					}
					m.fold = append(m.fold, more...)
				}
				folded = end >= 0 && end < len(b) && isBlank(b[end])
			}
			if len(m.fold) > mark { // else value stays empty, which is not nil
				value = m.fold[mark:len(m.fold):len(m.fold)]
			}
		}
		if colon < 0 {
			m.warn(off, "3261 7.3.1", "header line without a colon, left out")
			continue
		}
		name := trim(line[:colon])
		if len(name) == 0 || tokenLen(name) != len(name) {
			m.warn(off, "3261 25.1", "header name is not a token")
		}
		h := Header{ID: headerID(name), Off: off, Name: name, Value: value}
		m.Headers = append(m.Headers, h)
		if h.ID == HeaderUnknown {
			continue
		}
		if bit := uint64(1) << (h.ID & 63); h.ID < singleHeaders {
			if seen&bit != 0 {
				m.warn(off, "3261 7.3.1", "header that may occur once is repeated; the first one is used")
				continue
			}
			seen |= bit
		}
		switch h.ID {
		case HeaderCallID:
			m.CallID = value
		case HeaderCSeq:
			m.parseCSeq(value, off)
		case HeaderFrom:
			m.From = ParseAddress(value)
			m.warnAddress(&m.From, off)
			if len(m.From.Tag) == 0 {
				m.warn(off, "3261 8.1.1.3", "From without a tag")
			}
		case HeaderTo:
			m.To = ParseAddress(value)
			m.warnAddress(&m.To, off)
		case HeaderVia:
			if viaOff < 0 {
				viaOff = off
				m.Via = ParseVia(value)
				m.Branch = m.Via.Branch
				if m.Via.Warn != "" {
					m.warn(off, "3261 25.1", m.Via.Warn)
				}
				if string(m.Branch) == "z9hG4bK" {
					m.warn(off, "3261 8.1.1.7", "branch is the magic cookie and nothing more")
				}
			}
		case HeaderContentType:
			m.ContentType = value
		case HeaderContentLength:
			n, ok := contentLength(value)
			if !ok {
				m.warn(off, "3261 20.14", "Content-Length is not a number, not used")
				break
			}
			m.ContentLength = n
		case HeaderDate:
			if !bytes.HasSuffix(value, []byte("GMT")) {
				m.warn(off, "3261 20.17", "Date is not in GMT")
			}
		}
	}
	if lf {
		m.warn(m.Off, "3261 7", "line ends in LF without CR")
	}
	if end < 0 {
		m.warn(len(b), "3261 7", "input ends before the empty line after the headers")
		end = len(b)
	}
	m.warnMissing(seen, viaOff)
	m.setBody(b, end)
	return nil
}

func (m *Message) setBody(b []byte, end int) {
	m.HeaderLen = end - m.Off
	body := b[end:]
	switch {
	case m.ContentLength < 0:
		if t := m.Via.Transport; equalFold(t, "TCP") || equalFold(t, "TLS") || equalFold(t, "SCTP") || equalFold(t, "TLS-SCTP") {
			m.warn(m.Off, "3261 18.3", "no Content-Length over a stream transport")
		}
	case m.ContentLength > len(body):
		m.warn(end, "3261 18.3", "Content-Length beyond the end of the input, body is what is there")
	default:
		body = body[:m.ContentLength]
	}
	m.Body = body[:len(body):len(body)]
	m.Len = m.HeaderLen + len(body)
	m.Rest = b[m.Off+m.Len:]
}

func (m *Message) warnAddress(a *Address, off int) {
	if a.Warn != "" {
		m.warn(off, "3261 25.1", a.Warn)
	}
}

// warnMissing reports absent headers that every message must have (RFC 3261,
// 8.1.1). Max-Forwards is left out: RFC 3261 itself takes requests without it (16.3).
func (m *Message) warnMissing(seen uint64, viaOff int) {
	if seen&(1<<HeaderCallID) == 0 {
		m.warn(m.Off, "3261 8.1.1", "no Call-ID")
	}
	if seen&(1<<HeaderCSeq) == 0 {
		m.warn(m.Off, "3261 8.1.1", "no CSeq")
	}
	if seen&(1<<HeaderFrom) == 0 {
		m.warn(m.Off, "3261 8.1.1", "no From")
	}
	if seen&(1<<HeaderTo) == 0 {
		m.warn(m.Off, "3261 8.1.1", "no To")
	}
	if viaOff < 0 {
		m.warn(m.Off, "3261 8.1.1", "no Via")
	}
}

func (m *Message) parseCSeq(v []byte, off int) {
	n, used := number(v)
	text := trim(v[used:])
	m.CSeqText = text[:tokenLen(text)]
	m.CSeqMethod = methodOf(m.CSeqText)
	m.CSeq = uint32(min(n, math.MaxUint32))
	switch {
	case used == 0:
		m.warn(off, "3261 20.16", "CSeq without a number")
	case n >= 1<<31:
		m.warn(off, "3261 8.1.1.5", "CSeq number is not less than 2**31")
	}
	if len(text) == 0 || len(m.CSeqText) != len(text) {
		m.warn(off, "3261 20.16", "CSeq without one method name")
	} else if m.Request && !bytes.Equal(m.CSeqText, m.MethodText) {
		m.warn(off, "3261 8.1.1.5", "method in CSeq is not that of the request")
	}
}

// number reads the digits at the start of b; used is their count. A value too
// large stays at 2**62.
func number(b []byte) (n int64, used int) {
	for used < len(b) && isDigit(b[used]) {
		if n < 1<<58 {
			n = n*10 + int64(b[used]-'0')
		} else {
			n = 1 << 62
		}
		used++
	}
	return n, used
}

func contentLength(v []byte) (int, bool) {
	n, used := number(v)
	if used == 0 || used != len(v) {
		return 0, false
	}
	return int(min(n, math.MaxInt32)), true
}

// SDP returns the session description in the body: the body itself, or the
// first application/sdp part of a multipart body (RFC 2046, 5.1); nil if there
// is none. It aliases the input.
func (m *Message) SDP() []byte {
	typ, params := cutByte(m.ContentType, ';')
	typ = trim(typ)
	switch {
	case len(m.Body) == 0:
		return nil
	case equalFold(typ, "application/sdp"):
		return m.Body
	case len(typ) == 0 && bytes.HasPrefix(m.Body, []byte("v=0")):
		return m.Body
	case len(typ) < 10 || !equalFold(typ[:10], "multipart/"):
		return nil
	}
	boundary := unquote(param(params, "boundary"))
	if len(boundary) == 0 {
		return nil
	}
	isPart := false // behind a delimiter of a part, before its body
	sdp, sdpType := -1, false
	for off := 0; off >= 0 && off < len(m.Body); {
		line, next, _ := scanLine(m.Body, off)
		switch {
		case len(line) >= 2+len(boundary) && line[0] == '-' && line[1] == '-' && bytes.HasPrefix(line[2:], boundary):
			if sdp >= 0 {
				return bytes.TrimSuffix(bytes.TrimSuffix(m.Body[sdp:off], []byte("\n")), []byte("\r"))
			}
			isPart, sdpType = true, false
		case isPart && len(line) == 0:
			isPart = false
			if sdpType {
				sdp = max(next, 0)
			}
		case isPart:
			name, value := cutByte(line, ':')
			if headerID(trim(name)) == HeaderContentType {
				typ, _ := cutByte(value, ';')
				sdpType = equalFold(trim(typ), "application/sdp")
			}
		}
		off = next
	}
	if sdp > 0 {
		return m.Body[sdp:] // the closing delimiter was cut off
	}
	return nil
}
