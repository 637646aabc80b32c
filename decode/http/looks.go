package http

import "bytes"

type answer uint8

const (
	no answer = iota
	maybe
	yes
)

// The methods that may start a stream or end a search: RFC 9110, 9.3, RFC
// 5789, and those of WebDAV (RFC 4918, 9) that begin like no other text.
var methods = [...]string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PROPFIND ", "PROPPATCH ", "REPORT "}

// Looks tells whether b begins with an HTTP/1 request line of a known method,
// or with a status line. A request line longer than 1,000 bytes need not have
// ended: access tokens in targets get that long.
func Looks(b []byte) bool {
	switch start(b) {
	case yes:
		return true
	case maybe:
		return len(b) > 1000
	}
	return false
}

// start tells whether b begins with a plausible start line, or may when it
// goes on.
func start(b []byte) answer {
	if len(b) == 0 {
		return maybe
	}
	const status = "HTTP/1."
	if b[0] == 'H' {
		if n := min(len(b), len(status)); string(b[:n]) == status[:n] {
			return statusLine(b)
		}
	}
	for _, m := range methods {
		if b[0] != m[0] {
			continue
		}
		n := min(len(b), len(m))
		if string(b[:n]) != m[:n] {
			continue
		}
		if len(b) <= len(m) {
			return maybe
		}
		return requestLine(b[len(m):], m == "CONNECT ")
	}
	return no
}

// statusLine judges b that begins with as much of "HTTP/1." as there is.
func statusLine(b []byte) answer {
	const form = "HTTP/1.0 000"
	for i := len("HTTP/1."); i < min(len(b), len(form)); i++ {
		if form[i] == '0' && (b[i] < '0' || b[i] > '9') || form[i] == ' ' && b[i] != ' ' {
			return no
		}
	}
	if len(b) > 9 && (b[9] < '1' || b[9] > '5') { // RFC 9110, 15: five classes
		return no
	}
	if len(b) <= len(form) {
		return maybe
	}
	if c := b[len(form)]; c != ' ' && c != '\r' && c != '\n' {
		return no
	}
	return yes
}

// requestLine judges what follows a method and its space.
func requestLine(b []byte, connect bool) answer {
	b = b[:min(len(b), maxSearch)]
	line, _, ended := bytes.Cut(b, []byte{'\n'})
	if ended {
		line = bytes.TrimRight(line, "\r \t")
		if i := bytes.LastIndexByte(line, ' '); i > 0 && isVersion(line[i+1:]) && b[0] > ' ' {
			return yes
		}
		return no
	}
	if len(b) == maxSearch {
		return no
	}
	// An unfinished target must begin as one (RFC 9112, 3.2), which SIP, RTSP
	// and prose do not.
	const http = "http"
	n := min(len(b), len(http))
	if b[0] != '/' && b[0] != '*' && string(b[:n]) != http[:n] && !connect {
		return no
	}
	for _, c := range line {
		if c < ' ' && c != '\r' || c == 0x7f {
			return no
		}
	}
	return maybe
}
