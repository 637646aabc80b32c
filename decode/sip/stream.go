package sip

import (
	"bytes"

	"github.com/twtrace/twtrace/internal/wire"
)

// Looks tells whether b begins like a SIP message: "SIP/2.0 NNN", or a method
// token, a URI and "SIP/2.0" in one line. Ports do not matter, nor does what
// follows the start line. CRLF keep-alives before it are passed over. Binary
// protocols fail at their first byte.
func Looks(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	if tokenChar[b[0]] == 0 {
		if b[0] != '\r' && b[0] != '\n' {
			return false
		}
		b = b[skipEmpty(b):]
	}
	return looksLine(b)
}

func looksLine(b []byte) bool {
	if len(b) < 11 {
		return false
	}
	if isVersion(b) {
		if !isBlank(b[7]) || !isDigit(b[8]) || !isDigit(b[9]) || !isDigit(b[10]) {
			return false
		}
		end := b[11:]
		return len(end) == 0 || isBlank(end[0]) || end[0] == '\n' || end[0] == '\r' && (len(end) == 1 || end[1] == '\n')
	}
	n := tokenLen(b[:min(len(b), maxMethod)])
	if n == 0 || n == len(b) || !isBlank(b[n]) {
		return false
	}
	b = b[:min(len(b), maxStartLine)]
	line, next, _ := scanLine(b, 0)
	if next < 0 {
		return false
	}
	_, bad := parseStart(line)
	return bad == ""
}

// Frame finds the first message in b, the unread bytes of a stream. With ok, n
// is its length with the CRLF keep-alives before it, and Parse(b[:n]) succeeds.
// Without ok and err, more bytes are needed, and the first n of b are
// keep-alives that may be dropped. err says that b does not begin with SIP, or
// with more of it than MaxHeaderBytes and MaxBodyBytes allow: Resync finds
// where to go on.
//
// A message without a usable Content-Length has no body, since RFC 3261, 18.3
// demands the header here; of several the first counts, as in Parse.
func Frame(b []byte) (n int, ok bool, err error) {
	skip := skipEmpty(b)
	if skip == len(b) {
		return skip, false, nil
	}
	line, next, _ := scanLine(b[:min(len(b), skip+maxStartLine)], skip)
	if next < 0 {
		if bad := badPrefix(line); bad != "" {
			return 0, false, &wire.Error{Proto: "sip", Field: "start line", Off: int64(skip), Msg: bad}
		}
		return skip, false, nil
	}
	if _, bad := parseStart(line); bad != "" {
		return 0, false, &wire.Error{Proto: "sip", Field: "start line", Off: int64(skip), Msg: bad}
	}
	length, have := 0, false
	for {
		if next-skip > MaxHeaderBytes {
			return 0, false, &wire.Error{Proto: "sip", Field: "header", Off: int64(next), Msg: "want an empty line within 65536 bytes, found none"}
		}
		off := next
		line, next, _ = scanLine(b, off)
		if next < 0 {
			if len(b)-skip > MaxHeaderBytes {
				return 0, false, &wire.Error{Proto: "sip", Field: "header", Off: int64(off), Msg: "want an empty line within 65536 bytes, found none"}
			}
			return skip, false, nil
		}
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if have || colon < 0 || isBlank(line[0]) || headerID(trim(line[:colon])) != HeaderContentLength {
			continue
		}
		have = true
		value := trim(line[colon+1:])
		pieces := 0
		if len(value) > 0 {
			pieces = 1
		}
		for next < len(b) && isBlank(b[next]) && next-skip <= MaxHeaderBytes {
			var more []byte
			more, next, _ = scanLine(b, next)
			if next < 0 {
				break
			}
			if more = trim(more); len(more) > 0 {
				value = more
				pieces++
			}
		}
		if next < 0 {
			if len(b)-skip > MaxHeaderBytes {
				return 0, false, &wire.Error{Proto: "sip", Field: "header", Off: int64(off), Msg: "want an empty line within 65536 bytes, found none"}
			}
			return skip, false, nil
		}
		// Pieces are joined with a space, so more than one make no number.
		if v, number := contentLength(value); number && pieces == 1 {
			length = v
		}
	}
	if length > MaxBodyBytes {
		return 0, false, &wire.Error{Proto: "sip", Field: "Content-Length", Off: int64(skip), Msg: "want at most 1048576 bytes of body, found more"}
	}
	if len(b)-next < length {
		return skip, false, nil
	}
	return next + length, true, nil
}

// badPrefix says why the beginning of a line cannot grow into a start line.
func badPrefix(line []byte) string {
	n := tokenLen(line)
	switch {
	case len(line) >= maxStartLine:
		return "want a start line within 8192 bytes, found no line end"
	case n > maxMethod:
		return "want a method, found too long a word"
	case n == len(line) || n > 0 && isBlank(line[n]):
		return ""
	case n == 3 && line[3] == '/' && len(line) < len("SIP/2.0") && equalFold(line[:3], "SIP"):
		return ""
	case isVersion(line):
		return ""
	}
	return "want a method or SIP/2.0, found something else"
}

// Resync returns the offset of the next plausible start line behind the first
// byte of b, or -1. A response is found anywhere, a request at the start of a
// line. After -1 all up to the last line end in b may be dropped.
func Resync(b []byte) int {
	version := []byte("SIP/2.0")
	for off := 0; ; {
		i := bytes.Index(b[off:], version)
		if i < 0 {
			return -1
		}
		at := off + i
		off = at + len(version)
		if at > 0 && looksLine(b[at:min(len(b), at+13)]) {
			return at
		}
		// The line end must follow, so every line is looked at once.
		end := off
		for end < len(b) && isBlank(b[end]) {
			end++
		}
		if end < len(b) && b[end] == '\r' {
			end++
		}
		if end == len(b) || b[end] != '\n' {
			off = max(off, min(end, len(b)))
			continue
		}
		start := 1 + bytes.LastIndexByte(b[:at], '\n')
		if start > 0 && looksLine(b[start:end+1]) {
			return start
		}
		off = end
	}
}
