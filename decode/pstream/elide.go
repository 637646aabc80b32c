package pstream

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Elide appends the message in text to dst as lines "path: value", an SDP as
// lines below its path, at most max bytes. Tokens, JWTs wherever they stand,
// ICE passwords, SDES keys, DTMF digits and the content of messages are
// replaced by what was there and how long it was. What is no JSON is not
// shown at all.
func Elide(dst, text []byte, max int) []byte {
	if IsHeartbeat(text) {
		return appendCut(append(dst, "heartbeat"...), len(dst), max)
	}
	var path [128]byte
	w := walker{in: text[:min(len(text), maxText)], out: dst, start: len(dst), max: max, path: path[:0]}
	for w.space(); w.pos < len(w.in) && w.size() <= max; w.space() {
		if !w.value(nil, "", 0) {
			w.begin(nil)
			w.out = append(w.out, '[')
			w.out = strconv.AppendInt(w.out, int64(len(w.in)-w.bad), 10)
			w.out = append(w.out, " bytes that are not JSON]\n"...)
			break
		}
	}
	return appendCut(w.out, w.start, max)
}

// appendCut cuts what was appended to b after start to at most max bytes,
// whole characters.
func appendCut(b []byte, start, max int) []byte {
	if len(b) > start {
		b = bytes.TrimSuffix(b, []byte{'\n'})
	}
	if len(b)-start <= max {
		return b
	}
	const more = "…"
	n := start + max - len(more)
	if n < start {
		return b[:start]
	}
	for n > start && !utf8.RuneStart(b[n]) {
		n--
	}
	return append(b[:n], more...)
}

type walker struct {
	in    []byte
	pos   int
	bad   int // where the first value that is none begins
	out   []byte
	start int // of this text in out
	max   int
	path  []byte // of the containers at hand
	buf   []byte // an unquoted string
	buf2  []byte // one without secrets
}

func (w *walker) size() int { return len(w.out) - w.start }

func (w *walker) space() { w.pos = skipSpace(w.in, w.pos) }

// begin writes the start of a line.
func (w *walker) begin(key []byte) {
	w.out = append(w.out, w.path...)
	if len(key) > 0 {
		if len(w.path) > 0 {
			w.out = append(w.out, '.')
		}
		w.out = append(w.out, key...)
	}
	if len(w.path) > 0 || len(key) > 0 {
		w.out = append(w.out, ':', ' ')
	}
}

// raw passes over the next value and gives it as it is written; nil when there
// is none. It checks only what it needs to find the end.
func (w *walker) raw() []byte {
	w.space()
	start, depth := w.pos, 0
	w.bad = start
	for w.pos < len(w.in) {
		switch c := w.in[w.pos]; c {
		case '"':
			if w.str() == nil {
				return nil
			}
		case '{', '[':
			depth++
			w.pos++
		case '}', ']':
			if depth--; depth < 0 {
				return nil
			}
			w.pos++
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return nil
			}
			w.pos++
			continue
		default:
			n := w.pos
			for w.pos < len(w.in) && strings.IndexByte("+-.0123456789Eaeflnrstu", w.in[w.pos]) >= 0 {
				w.pos++
			}
			if w.pos == n {
				return nil
			}
		}
		if depth == 0 {
			return w.in[start:w.pos]
		}
	}
	return nil
}

// str passes over a string and gives it with its quotes, nil without its end.
func (w *walker) str() []byte {
	start := w.pos
	end := stringEnd(w.in, start)
	if end >= len(w.in) {
		w.pos = len(w.in)
		return nil
	}
	w.pos = end + 1
	return w.in[start:w.pos]
}

// text passes over a string and gives what it says; ok is false when it is
// none. It is valid until the next.
func (w *walker) text() (s []byte, ok bool) {
	start := w.pos + 1
	if n := bytes.IndexByte(w.in[start:], '"'); n >= 0 {
		if s := w.in[start : start+n]; bytes.IndexByte(s, '\\') < 0 && isText(s) {
			w.pos = start + n + 1
			return s, true
		}
	}
	raw := w.str()
	if raw == nil || skipString(raw, 0) != len(raw) {
		return nil, false
	}
	if cap(w.buf) < len(raw) {
		w.buf = make([]byte, 0, len(raw))
	}
	return unquote(raw, w.buf[:0]), true // it may alias the input, which is no memory to write to
}

// value writes the next value; kind is the secret that its key names.
func (w *walker) value(key []byte, kind string, depth int) bool {
	w.space()
	w.bad = w.pos
	if w.pos == len(w.in) || depth > maxDepth {
		return false
	}
	c := w.in[w.pos]
	if kind != "" && !(c == '{' && kind == "token") {
		raw := w.raw()
		if raw == nil {
			return false
		}
		w.hide(key, kind, raw)
		return true
	}
	switch c {
	case '{', '[':
		n := len(w.path)
		if len(key) > 0 {
			if n > 0 {
				w.path = append(w.path, '.')
			}
			w.path = append(w.path, key...)
		}
		ok := w.container(kind == "token", depth, c)
		w.path = w.path[:n]
		return ok
	case '"':
		n := len(w.out)
		w.begin(key) // which may lie in the buffer that the value needs
		s, ok := w.text()
		if !ok {
			w.out = w.out[:n]
			return false
		}
		if isSimple(s) {
			w.out = append(append(w.out, s...), '\n')
		} else {
			w.out = append(appendLines(w.out, w.scrub(s)), '\n')
		}
		return true
	}
	raw := w.raw()
	if len(raw) == 0 || skipScalar(raw, 0) != len(raw) {
		return false
	}
	w.begin(key)
	w.out = append(append(w.out, raw[:min(len(raw), 40)]...), '\n')
	return true
}

func (w *walker) container(token bool, depth int, open byte) bool {
	w.pos++
	for i := 0; ; i++ {
		w.space()
		w.bad = w.pos
		if w.pos == len(w.in) {
			return false
		}
		if c := w.in[w.pos]; c == open+2 { // '{' + 2 is '}', '[' + 2 is ']'
			w.pos++
			return true
		} else if i > 0 {
			if c != ',' {
				return false
			}
			w.pos++
			w.space()
			w.bad = w.pos
		}
		if w.pos == len(w.in) || w.size() > w.max {
			return w.pos < len(w.in)
		}
		if open == '[' {
			var digits [20]byte
			if !w.value(strconv.AppendInt(digits[:0], int64(i), 10), "", depth+1) {
				return false
			}
			continue
		}
		if w.in[w.pos] != '"' {
			return false
		}
		s, ok := w.text()
		if !ok {
			return false
		}
		if w.space(); w.pos == len(w.in) || w.in[w.pos] != ':' {
			return false
		}
		w.pos++
		name, kind := s, ""
		if !isFrequent(s) {
			name = keyName(s)
			kind = secretKey(name)
		}
		if !token {
			if !w.value(name, kind, depth+1) {
				return false
			}
			continue
		}
		shown := public(s)
		raw := w.raw()
		if raw == nil || shown && !json.Valid(raw) {
			return false
		}
		if !shown {
			w.hide(name, "token", raw)
			continue
		}
		// "identity" of a token is none itself
		w.begin(name)
		w.out = append(appendLines(w.out, w.scrub(plain(raw, nil))), '\n')
	}
}

// isFrequent tells the most frequent keys, none of which holds a secret.
func isFrequent(key []byte) bool {
	switch string(key) {
	case "type", "version", "payload", "callsid", "sdp", "contenttype", "messagetype", "voiceeventsid", "error", "message", "region", "gateway", "edge", "home":
		return true
	}
	return false
}

// keyName is a key as it is shown.
func keyName(key []byte) []byte {
	simple := len(key) <= 256
	for i, c := range key {
		if !isName(c) || c == 'e' && bytes.HasPrefix(key[i:], []byte("eyJ")) {
			simple = false
			break
		}
	}
	if simple {
		return key
	}
	return bytes.ReplaceAll(appendLines(nil, []byte(Scrub(limit(string(key))))), []byte{'\n'}, []byte{' '})
}

// public tells whether a member of a token that the server has read is none
// of its secrets.
func public(name []byte) bool {
	switch strings.ToLower(string(name)) {
	case "identity", "ttl", "accountsid":
		return true
	}
	return false
}

// secretKey is what kind of secret a key holds, "" for none.
func secretKey(key []byte) string {
	var buf [64]byte
	if len(key) > len(buf) {
		return secretKind(bytes.ToLower(key))
	}
	lower := buf[:len(key)]
	for i, c := range key {
		if c >= utf8.RuneSelf {
			return secretKind(bytes.ToLower(key))
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return secretKind(lower)
}

// secretKind is secretKey of a key in lower case.
func secretKind(key []byte) string {
	if len(key) < len("key") { // none is shorter
		return ""
	}
	switch string(key) {
	case "content":
		return "content"
	case "dtmf", "digit", "digits":
		return "digits"
	case "reconnect":
		return "reconnect token"
	case "auth", "authorization", "cookie", "pwd", "credential", "credentials", "ice-pwd", "icepwd", "inline", "key", "body":
		return "secret"
	}
	kind := ""
	for i, c := range key {
		switch rest := key[i:]; c {
		case 't', 'j':
			if hasPrefix(rest, "token") || hasPrefix(rest, "jwt") {
				return "token"
			}
		case 's', 'p', 'a':
			if hasPrefix(rest, "secret") || hasPrefix(rest, "passw") || hasPrefix(rest, "passphrase") || hasPrefix(rest, "signature") ||
				hasPrefix(rest, "apikey") || hasPrefix(rest, "api-key") || hasPrefix(rest, "api_key") {
				kind = "secret"
			}
		}
	}
	return kind
}

func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }

// hide writes a line that tells of a secret only its kind and size.
func (w *walker) hide(key []byte, kind string, raw []byte) {
	w.begin(key)
	n := 0
	switch {
	case raw[0] != '"':
		n = size(raw)
	case skipString(raw, 0) == len(raw):
		if n = unquotedLen(raw); kind == "token" && n >= 3 && w.isJWT(raw) {
			kind = "JWT"
		}
	}
	w.out = append(w.out, '[')
	switch {
	case n == 0:
		w.out = append(append(w.out, "no "...), kind...)
	case kind == "digits" && n == 1:
		w.out = append(w.out, "1 digit"...)
	case kind == "digits":
		w.out = append(strconv.AppendInt(w.out, int64(n), 10), " digits"...)
	default:
		w.out = append(append(w.out, kind...), ", "...)
		w.out = append(strconv.AppendInt(w.out, int64(n), 10), " bytes"...)
	}
	w.out = append(w.out, ']', '\n')
}

func (w *walker) isJWT(quoted []byte) bool {
	s := unquote(quoted, w.buf[:0])
	return hasPrefix(s, "eyJ")
}

// appendLines appends a text, one of several lines as a block of indented
// lines, without characters that do not print.
func appendLines(dst, s []byte) []byte {
	s = bytes.TrimSuffix(bytes.TrimRight(s, "\r"), []byte{'\n'})
	const indent = "\n  "
	if bytes.IndexByte(s, '\n') >= 0 {
		dst = append(dst, indent...)
	}
	for i := 0; i < len(s); {
		n := i
		for n < len(s) && s[n] >= ' ' && s[n] < 0x7f {
			n++
		}
		if dst = append(dst, s[i:n]...); n == len(s) {
			break
		}
		switch c := s[n]; {
		case c == '\n':
			dst = append(dst, indent...)
		case c == '\r':
		case c < utf8.RuneSelf:
			dst = append(dst, "\uFFFD"...)
		default:
			r, size := utf8.DecodeRune(s[n:])
			if !unicode.IsPrint(r) {
				r = utf8.RuneError
			}
			dst = utf8.AppendRune(dst, r)
			n += size - 1
		}
		i = n + 1
	}
	return dst
}

// Scrub is a text without the secrets that are known by their surroundings:
// JWTs, the values of names like token in queries, parameters and JSON, ICE
// passwords, and SDP keys.
func Scrub(s string) string {
	b, found := appendScrubbed(nil, []byte(s))
	if !found {
		return s
	}
	return string(b)
}

// scrub is Scrub of s, valid until the next; it may be s.
func (w *walker) scrub(s []byte) []byte {
	b, found := appendScrubbed(w.buf2[:0], s)
	if !found {
		return s
	}
	w.buf2 = b
	return b
}

// marks are the bytes at which a secret may be told.
var marks = [256]bool{'e': true, 'k': true, ':': true, '=': true, '%': true}

// isSimple tells whether a text is shown as it is: nothing in it may be a
// secret, and all of it prints.
func isSimple(s []byte) bool {
	for i, c := range s {
		if c < ' ' || c >= 0x7f || marks[c] && (c != 'e' || hasPrefix(s[i:], "eyJ")) && (c != 'k' || i == 0) {
			return false
		}
	}
	return true
}

// appendScrubbed appends s without its secrets to dst; nothing when found is
// false, there are none then.
func appendScrubbed(dst, s []byte) (b []byte, found bool) {
	done := 0
	hide := func(from, to int, kind string) {
		dst = append(append(append(append(dst, s[done:from]...), '['), kind...), ", "...)
		dst = append(strconv.AppendInt(dst, int64(to-from), 10), " bytes]"...)
		done = to
	}
scan:
	for i := 0; i < len(s); i++ {
		for !marks[s[i]] {
			if i++; i == len(s) {
				break scan
			}
		}
		width := 1
		switch s[i] {
		case 'e':
			if !hasPrefix(s[i:], "eyJ") {
				continue
			}
			to := i
			for to < len(s) && isToken(s[to]) {
				to++
			}
			if to-i >= 10 {
				hide(i, to, "JWT")
				i = to - 1
			}
			continue
		case 'k': // RFC 4566, 5.12
			if hasPrefix(s[i:], "k=") && (i == 0 || s[i-1] == '\n') {
				hide(i+2, until(s, i+2, "\r\n"), "key")
				i = done - 1
			}
			continue
		case ':', '=':
		case '%':
			if i+2 >= len(s) || s[i+1] != '3' || s[i+2]|0x20 != 'd' && s[i+2]|0x20 != 'a' {
				continue
			}
			width = 3
		default:
			continue
		}
		// The name before, the value after, either in quotes.
		end := i
		first := max(done, end-64)
		for end > first && (s[end-1] == ' ' || s[end-1] == '"' || s[end-1] == '\'' || s[end-1] == '\\') {
			end--
		}
		start := end
		for start > first && isName(s[start-1]) {
			start--
		}
		kind := ""
		if end-start >= 3 {
			kind = secretKey(s[start:end])
		}
		if kind == "" {
			continue
		}
		from := i + width
		for from < len(s) && (s[from] == ' ' || s[from] == '"' || s[from] == '\'' || s[from] == '\\') {
			from++
		}
		if from < len(s) && (s[from] == '{' || s[from] == '[') {
			continue // its members have their own names
		}
		if to := until(s, from, "&;, \t\r\n\"'<>}\\"); to > from {
			hide(from, to, kind)
			i = to - 1
		}
	}
	if done == 0 {
		return dst, false
	}
	return append(dst, s[done:]...), true
}

func until(s []byte, from int, stops string) int {
	if n := bytes.IndexAny(s[from:], stops); n >= 0 {
		return from + n
	}
	return len(s)
}

func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.=+/~", c) >= 0
}

func isName(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}
