package sip

import "bytes"

// Address is a name-addr or addr-spec with its header parameters, the value of
// From, To, Contact, Route and others (RFC 3261, 20.10 and 25.1).
type Address struct {
	Raw     []byte
	Display []byte // without quotes, with its escapes: see AppendDisplay
	URI     []byte // without angle brackets
	User    []byte // without password; the number of a tel URI, RFC 3966
	Host    []byte // an IPv6 address without brackets; nil for schemes other than sip and sips
	Port    int    // 0 when absent
	Params  []byte // header parameters, behind the first semicolon
	Tag     []byte
	Warn    string // what was tolerated, empty if nothing
}

// Param returns the value of a header parameter, nil when it is absent.
func (a *Address) Param(name string) []byte { return param(a.Params, name) }

// AppendDisplay appends the display name to dst, its escapes resolved.
func (a *Address) AppendDisplay(dst []byte) []byte {
	for i := 0; i < len(a.Display); i++ {
		if a.Display[i] == '\\' && i+1 < len(a.Display) {
			i++
		}
		dst = append(dst, a.Display[i])
	}
	return dst
}

// ParseAddress reads one address; of a list, cut it first (Message.Values).
// Everything returned aliases b.
func ParseAddress(b []byte) Address {
	b = trim(b)
	a := Address{Raw: b}
	open := -1
	if len(b) > 0 && b[0] == '"' {
		n := quotedLen(b)
		if n > 0 {
			a.Display = b[1 : n-1]
			if i := bytes.IndexByte(b[n:], '<'); i >= 0 {
				open = n + i
				if len(trim(b[n:open])) > 0 {
					a.Warn = "text between display name and address"
				}
			}
		} else {
			a.Warn = "display name without its closing quote"
			open = bytes.IndexByte(b, '<')
			if open >= 0 {
				a.Display = trim(b[1:open])
			}
		}
	} else if open = bytes.IndexByte(b, '<'); open > 0 {
		a.Display = trim(b[:open])
		if !isDisplay(a.Display) {
			a.Warn = "display name with special characters and without quotes"
		}
	}
	rest := b
	if open >= 0 {
		uri, after := cutByte(b[open+1:], '>')
		if len(uri) == len(b)-open-1 {
			a.Warn = "address without its closing angle bracket"
		}
		a.URI = trim(uri)
		if len(a.URI) != len(uri) {
			a.Warn = "white space between angle bracket and address"
		}
		rest = trim(after)
		if len(rest) > 0 && rest[0] != ';' {
			a.Warn = "text behind the address"
		}
		_, a.Params = cutByte(rest, ';')
	} else {
		var uri []byte
		// Without angle brackets parameters belong to the header (RFC 3261, 20.10).
		uri, a.Params = cutByte(b, ';')
		a.URI = trim(uri)
		if bytes.IndexByte(a.URI, '?') >= 0 || bytes.IndexByte(a.URI, ',') >= 0 {
			a.Warn = "address with question mark or comma and without angle brackets"
		}
	}
	for p := a.Params; p != nil; {
		var name, value []byte
		name, value, p = nextParam(p)
		if len(name) == 0 {
			a.Warn = "empty parameter"
		}
		if a.Tag == nil && equalFold(name, "tag") {
			a.Tag = value
		}
	}
	u := parseURI(a.URI)
	a.User, a.Host, a.Port = u.user, u.host, u.port
	if a.Warn == "" {
		a.Warn = u.warn
	}
	return a
}

// isDisplay tells whether b is *(token LWS).
func isDisplay(b []byte) bool {
	for _, c := range b {
		if tokenChar[c] == 0 && !isBlank(c) {
			return false
		}
	}
	return true
}

type uri struct {
	user, host []byte
	port       int
	headers    bool // has a "?" part
	warn       string
}

// parseURI reads sip, sips and tel URIs. A URI without a scheme is read as sip.
func parseURI(b []byte) (u uri) {
	if len(b) >= 2 && b[0] == '<' && b[len(b)-1] == '>' {
		b = b[1 : len(b)-1]
	}
	if len(b) == 0 {
		u.warn = "no address"
		return u
	}
	if len(b) == 1 && b[0] == '*' {
		return u
	}
	colon := bytes.IndexByte(b, ':')
	if colon < 0 {
		colon = 0
	}
	switch scheme := b[:colon]; {
	case equalFold(scheme, "sip"), equalFold(scheme, "sips"):
		b = b[colon+1:]
	case equalFold(scheme, "tel"):
		u.user, _ = cutByte(b[colon+1:], ';')
		return u
	case colon > 0 && isScheme(b, colon):
		return u
	default:
		u.warn = "address without a scheme"
	}
	if at := bytes.IndexByte(b, '@'); at >= 0 {
		u.user, _ = cutByte(b[:at], ':')
		b = b[at+1:]
	}
	end := len(b)
	for i, c := range b {
		if c == ';' || c == '?' {
			end = i
			break
		}
	}
	u.headers = bytes.IndexByte(b[end:], '?') >= 0
	var ok bool
	if u.host, u.port, ok = hostPort(b[:end]); !ok && u.warn == "" {
		u.warn = "host and port not understood"
	}
	return u
}

// isScheme tells a scheme from a host or user before the first colon of a URI
// that has none, such as "10.0.0.1:5060" or "alice:secret@host".
func isScheme(b []byte, colon int) bool {
	if isDigit(b[0]) || tokenLen(b[:colon]) != colon || bytes.IndexByte(b, '@') > 0 {
		return false
	}
	return colon+1 == len(b) || !isDigit(b[colon+1]) || bytes.IndexByte(b[:colon], '.') < 0
}

// hostPort reads host[:port] with white space around each part, which Via
// allows. Port is 0 when absent or out of range.
func hostPort(b []byte) (host []byte, port int, ok bool) {
	b = trim(b)
	var after []byte
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return nil, 0, false
		}
		host, after = b[1:end], trim(b[end+1:])
		if len(after) == 0 {
			return host, 0, true
		}
		if after[0] != ':' {
			return host, 0, false
		}
		after = after[1:]
	} else {
		colon := bytes.IndexByte(b, ':')
		if colon < 0 {
			return b, 0, len(b) > 0
		}
		if bytes.IndexByte(b[colon+1:], ':') >= 0 {
			return b, 0, false // an IPv6 address without its brackets
		}
		host, after = trim(b[:colon]), b[colon+1:]
	}
	after = trim(after)
	n, used := number(after)
	if used == 0 || used != len(after) || n > 65535 {
		return host, 0, false
	}
	return host, int(n), len(host) > 0
}

// Via is one Via value (RFC 3261, 20.42).
type Via struct {
	Transport []byte // "UDP", "TCP", ... as written
	Host      []byte // an IPv6 address without brackets
	Port      int    // 0 when absent
	Branch    []byte
	Received  []byte
	RPort     int    // RFC 3581: -1 absent, 0 without a value
	Warn      string // what was tolerated, empty if nothing
}

// ParseVia reads the first Via value in b. Everything returned aliases b.
func ParseVia(b []byte) Via {
	v := Via{RPort: -1}
	b, _ = cutTop(b, ',')
	sent, params := cutTop(b, ';')
	// SENT-PROTOCOL = name SLASH version SLASH transport, with space around the slashes.
	name, rest := cutByte(sent, '/')
	version, rest := cutByte(rest, '/')
	rest = trim(rest)
	n := tokenLen(rest)
	v.Transport = rest[:n]
	var ok bool
	v.Host, v.Port, ok = hostPort(rest[n:])
	if !ok || n == 0 || !equalFold(trim(name), "SIP") || len(trim(version)) == 0 {
		v.Warn = "Via not understood"
	}
	for p := params; p != nil; {
		var name, value []byte
		name, value, p = nextParam(p)
		switch {
		case len(name) == 0:
			v.Warn = "empty parameter"
		case v.Branch == nil && equalFold(name, "branch"):
			v.Branch = value
		case v.Received == nil && equalFold(name, "received"):
			v.Received = value
			if len(value) > 1 && value[0] == '[' && value[len(value)-1] == ']' {
				v.Received = value[1 : len(value)-1] // RFC 5118, 4.5
			}
		case v.RPort < 0 && equalFold(name, "rport"):
			v.RPort = 0
			if n, used := number(value); used > 0 && used == len(value) && n <= 65535 {
				v.RPort = int(n)
			}
		}
	}
	return v
}

// ReasonHeader is one value of the Reason header (RFC 3326), which says why a
// request was sent: Q.850;cause=16;text="Normal call clearing".
type ReasonHeader struct {
	Protocol []byte // "Q.850", "SIP", ...
	Cause    int    // -1 when absent or not a number
	Text     []byte // without quotes, with its escapes
}

// ParseReason reads the first Reason value in b. It aliases b.
func ParseReason(b []byte) ReasonHeader {
	b, _ = cutTop(b, ',')
	protocol, params := cutTop(b, ';')
	r := ReasonHeader{Protocol: trim(protocol), Cause: -1, Text: unquote(param(params, "text"))}
	if v := param(params, "cause"); len(v) > 0 {
		if n, used := number(v); used == len(v) && n < 1<<31 {
			r.Cause = int(n)
		}
	}
	return r
}
