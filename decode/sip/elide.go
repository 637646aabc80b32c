package sip

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

const ellipsis = "…"

// Elide appends m to dst as text for people, one line a header and line feeds
// as line ends, and at most max bytes of it. The text is valid UTF-8 without
// control characters. What could open a door is replaced by an ellipsis:
// credentials and challenges but for the parameters of harmless, X-Twilio-Token
// and X-Twilio-Signature, passwords in URIs of the known address headers, and
// in SDP the keys of a=crypto, a=key-mgmt and k=, and a=ice-pwd. A body that is
// not SDP is given by its length and type only, since it may be a message text
// or dialled digits.
func Elide(dst []byte, m *Message, max int) []byte {
	e := elider{dst: dst, start: len(dst), max: max}
	if m.Request {
		e.text(m.MethodText)
		e.str(" ")
		e.address(m.RequestURI)
		e.str(" ")
		e.text(m.Version)
	} else {
		e.text(m.Version)
		e.str(" ")
		e.dst = strconv.AppendInt(e.dst, int64(m.Status), 10)
		if len(m.Reason) > 0 {
			e.str(" ")
			e.text(m.Reason)
		}
	}
	e.str("\n")
	for i := range m.Headers {
		if e.full() {
			break
		}
		h := &m.Headers[i]
		e.text(h.Name)
		e.str(": ")
		switch h.ID {
		case HeaderAuthorization, HeaderProxyAuthorization, HeaderWWWAuthenticate, HeaderProxyAuthenticate:
			e.credentials(h.Value, true)
		case HeaderAuthenticationInfo, HeaderProxyAuthenticationInfo:
			e.credentials(h.Value, false)
		case HeaderXTwilioToken, HeaderXTwilioSignature:
			e.str(ellipsis)
		case HeaderFrom, HeaderTo, HeaderContact, HeaderRoute, HeaderRecordRoute, HeaderReferTo, HeaderReferredBy,
			HeaderPAssertedIdentity, HeaderPPreferredIdentity, HeaderRemotePartyID, HeaderDiversion, HeaderHistoryInfo,
			HeaderReplyTo, HeaderPath, HeaderServiceRoute:
			e.address(h.Value)
		default:
			e.text(h.Value)
		}
		e.str("\n")
	}
	if len(m.Body) > 0 && !e.full() {
		e.str("\n")
		e.body(m)
	}
	return e.done()
}

type elider struct {
	dst        []byte
	start, max int
}

func (e *elider) full() bool { return len(e.dst)-e.start > e.max }

func (e *elider) str(s string) { e.dst = append(e.dst, s...) }

// text appends b as UTF-8: bytes that are none, and control characters, become U+FFFD.
func (e *elider) text(b []byte) {
	for len(b) > 0 && !e.full() {
		if n := plain(b[:min(len(b), e.max+1)]); n > 0 {
			e.dst = append(e.dst, b[:n]...)
			b = b[n:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			r = utf8.RuneError
		}
		e.dst = utf8.AppendRune(e.dst, r)
		b = b[n:]
	}
}

// plain is how many bytes b begins with that are printable ASCII.
func plain(b []byte) (n int) {
	const ones = 0x0101010101010101
	for ; n+8 <= len(b); n += 8 {
		// The high bit of a byte shows what is above 0x7e or, borrowed, below 0x20.
		x := binary.LittleEndian.Uint64(b[n:])
		if (x|(x+ones)|(x-' '*ones))&(0x80*ones) != 0 {
			break
		}
	}
	for n < len(b) && ' ' <= b[n] && b[n] <= '~' {
		n++
	}
	return n
}

// done cuts the text to max bytes, with an ellipsis where it was cut.
func (e *elider) done() []byte {
	if !e.full() {
		return e.dst
	}
	end := e.start + max(e.max-len(ellipsis), 0)
	for end > e.start && !utf8.RuneStart(e.dst[end]) {
		end--
	}
	e.dst = e.dst[:end]
	if e.max >= len(ellipsis) {
		e.str(ellipsis)
	}
	return e.dst
}

// harmless parameters of credentials and challenges (RFC 3261, 25.1; RFC 7616)
// are the only ones that are shown.
var harmless = [...]string{"username", "realm", "algorithm", "uri", "qop", "nc", "stale", "domain"}

// credentials shows the scheme and the harmless parameters.
func (e *elider) credentials(v []byte, scheme bool) {
	if scheme {
		n := tokenLen(v)
		e.text(v[:n])
		v = trim(v[n:])
		e.str(" ")
	}
	for first := true; len(v) > 0 && !e.full(); first = false {
		var p []byte
		p, v = cutTop(v, ',')
		if !first {
			e.str(", ")
		}
		name, value := cutByte(p, '=')
		name = trim(name)
		if len(value) == 0 || tokenLen(name) != len(name) {
			e.str(ellipsis) // such as the one word of a Basic or Bearer scheme
			continue
		}
		shown := false
		for _, h := range harmless {
			shown = shown || equalFold(name, h)
		}
		switch {
		case shown:
			e.text(name)
			e.str("=")
			e.text(trim(value))
		case len(name) <= maxMethod && len(trim(value)) > 0 && trim(value)[0] != '=':
			e.text(name)
			e.str("=" + ellipsis)
		default:
			e.str(ellipsis) // base64 with its padding
		}
	}
}

// address shows v without the password of "sip:user:password@host"
// (RFC 3261, 19.1.1).
func (e *elider) address(v []byte) {
	for len(v) > 0 && !e.full() {
		at := bytes.IndexByte(v, '@')
		if at < 0 {
			break
		}
		// The userinfo begins behind "sip:", "sips:" or the scheme of what is taken for one.
		start := 1 + bytes.LastIndexAny(v[:at], "<> \",\t")
		user := v[start:at]
		scheme := bytes.IndexByte(user, ':')
		password := -1
		if scheme >= 0 {
			switch {
			case equalFold(user[:scheme], "sip"), equalFold(user[:scheme], "sips"):
				if i := bytes.IndexByte(user[scheme+1:], ':'); i >= 0 {
					password = scheme + 1 + i
				}
			case bytes.IndexByte(user, ';') < 0:
				password = scheme
			}
		}
		if password >= 0 {
			e.text(v[:start+password+1])
			e.str(ellipsis)
		} else {
			e.text(v[:at])
		}
		e.str("@")
		v = v[at+1:]
	}
	e.text(v)
}

func (e *elider) body(m *Message) {
	typ, _ := cutByte(m.ContentType, ';')
	typ = trim(typ)
	if len(typ) == 0 {
		typ = []byte("unknown type")
	}
	sdp := m.SDP()
	if sdp == nil || len(sdp) != len(m.Body) {
		e.str("[")
		e.dst = strconv.AppendInt(e.dst, int64(len(m.Body)), 10)
		e.str(" bytes of ")
		e.text(typ)
		e.str("]\n")
	}
	for len(sdp) > 0 && !e.full() {
		// A bare CR ends a line too: no key may hide behind one.
		line := sdp
		if i := bytes.IndexAny(sdp, "\r\n"); i >= 0 {
			line, sdp = sdp[:i], sdp[i+1:]
		} else {
			sdp = nil
		}
		if line = trim(line); len(line) == 0 {
			continue
		}
		e.sdpLine(line)
		e.str("\n")
	}
}

func (e *elider) sdpLine(line []byte) {
	typ, value := cutByte(line, '=')
	typ, value = trim(typ), trim(value)
	if len(typ) != 1 {
		e.str(ellipsis) // not SDP: it could be anything
		return
	}
	e.text(typ)
	e.str("=")
	if lower(typ[0]) == 'k' {
		e.str(ellipsis)
		return
	}
	attr, rest := cutByte(value, ':')
	attr = trim(attr)
	switch {
	case lower(typ[0]) != 'a':
		e.text(value)
	case equalFold(attr, "crypto"): // RFC 4568, 9.1: tag, suite, keys
		e.text(attr)
		e.str(":")
		rest = trim(rest)
		for range 2 {
			word, after := cutByte(rest, ' ')
			if tokenLen(word) != len(word) {
				break // not the form of the RFC
			}
			e.text(word)
			e.str(" ")
			rest = trim(after)
		}
		e.str("inline:" + ellipsis)
	case equalFold(attr, "ice-pwd"), equalFold(attr, "key-mgmt"): // RFC 8839, 5.4; RFC 4567, 3.1
		e.text(attr)
		e.str(":" + ellipsis)
	default:
		e.text(value)
	}
}
