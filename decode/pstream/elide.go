package pstream

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Elide appends the message as it was decoded to dst, as lines "path: value",
// an SDP as lines below its path, at most max bytes. Tokens, JWTs wherever they
// stand, ICE passwords, SDES keys, DTMF digits and the content of messages are
// replaced by what was there and how long it was. What Decode refused is not
// shown at all.
func (m *Message) Elide(dst []byte, max int) []byte {
	if m.scratch == nil || len(m.scratch.tree.values) == 0 {
		return dst
	}
	e := &m.scratch.elider
	e.out, e.most = dst, len(dst)+max
	whole := e.value(&m.scratch.tree, 0, nil, "")
	out := e.out
	e.out = nil
	if whole {
		out = bytes.TrimSuffix(out, []byte{'\n'})
	}
	return cut(out, len(dst), max)
}

// cut cuts what was appended to b after start to at most max bytes, whole
// characters.
func cut(b []byte, start, max int) []byte {
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

// elider writes the values of a tree as lines.
type elider struct {
	out  []byte
	most int    // what out may be long; a line may go beyond it
	path []byte // of the containers at hand
	buf  []byte // a string that had escapes
	buf2 []byte // one without secrets
}

// begin writes the start of a line.
func (e *elider) begin(key []byte) {
	e.out = append(e.out, e.path...)
	if len(key) > 0 {
		if len(e.path) > 0 {
			e.out = append(e.out, '.')
		}
		e.out = append(e.out, key...)
	}
	if len(e.path) > 0 || len(key) > 0 {
		e.out = append(e.out, ':', ' ')
	}
}

// says is what a string says, valid until the next.
func (e *elider) says(quoted []byte, plain bool) []byte {
	if plain {
		return quoted[1 : len(quoted)-1]
	}
	if cap(e.buf) < len(quoted) {
		e.buf = make([]byte, 0, len(quoted))
	}
	return unquote(quoted, e.buf[:0]) // it may alias the text, which is no memory to write to
}

// value writes the n-th value; kind is the secret that its key names. It is
// false when there was more than may be written.
func (e *elider) value(t *tree, n int, key []byte, kind string) bool {
	v := &t.values[n]
	c := t.text[v.at]
	if kind != "" && !(c == '{' && kind == "token") {
		e.hide(t, v, key, kind)
		return true
	}
	switch c {
	case '{', '[':
		was := len(e.path)
		if len(key) > 0 {
			if was > 0 {
				e.path = append(e.path, '.')
			}
			e.path = append(e.path, key...)
		}
		whole := e.container(t, n, kind == "token")
		e.path = e.path[:was]
		return whole
	case '"':
		e.begin(key) // which may lie where the string comes to lie
		if s := e.says(t.text[v.at:v.end], v.plain); isSimple(s) {
			e.out = append(append(e.out, s...), '\n')
		} else {
			e.out = append(appendLines(e.out, e.scrub(s)), '\n')
		}
	default:
		e.begin(key)
		e.out = append(append(e.out, t.text[v.at:min(v.end, v.at+40)]...), '\n')
	}
	return true
}

// container writes what is within the n-th value; token tells that it is a
// token that the server has read.
func (e *elider) container(t *tree, n int, token bool) bool {
	object := t.text[t.values[n].at] == '{'
	i := 0
	for at := n + 1; at < int(t.values[n].next); at, i = int(t.values[at].next), i+1 {
		if len(e.out) > e.most {
			return false
		}
		v := &t.values[at]
		if !object {
			var digits [20]byte
			if !e.value(t, at, strconv.AppendInt(digits[:0], int64(i), 10), "") {
				return false
			}
			continue
		}
		s := e.says(t.text[v.name:v.nameEnd], v.plainName)
		name, kind := s, ""
		if !isFrequent(s) {
			name = keyName(s)
			kind = secretKey(name)
		}
		switch {
		case !token:
			if !e.value(t, at, name, kind) {
				return false
			}
		case public(s): // "identity" of a token is none itself
			m := member{raw: t.text[v.at:v.end], plain: v.plain}
			e.begin(name)
			e.out = append(appendLines(e.out, e.scrub(m.text(nil))), '\n')
		default:
			e.hide(t, v, name, "token")
		}
	}
	return true
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
func (e *elider) hide(t *tree, v *value, key []byte, kind string) {
	e.begin(key)
	n := size(t.text[v.at:v.end], v.plain)
	if kind == "token" && t.text[v.at] == '"' && n >= 3 && hasPrefix(e.says(t.text[v.at:v.end], v.plain), "eyJ") {
		kind = "JWT"
	}
	e.out = append(e.out, '[')
	switch {
	case n == 0:
		e.out = append(append(e.out, "no "...), kind...)
	case kind == "digits" && n == 1:
		e.out = append(e.out, "1 digit"...)
	case kind == "digits":
		e.out = append(strconv.AppendInt(e.out, int64(n), 10), " digits"...)
	default:
		e.out = append(append(e.out, kind...), ", "...)
		e.out = append(strconv.AppendInt(e.out, int64(n), 10), " bytes"...)
	}
	e.out = append(e.out, ']', '\n')
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
func (e *elider) scrub(s []byte) []byte {
	b, found := appendScrubbed(e.buf2[:0], s)
	if !found {
		return s
	}
	e.buf2 = b
	return b
}

// marks are the bytes at which a secret may be told.
var marks = [256]bool{'e': true, 'k': true, ':': true, '=': true, '%': true}

// signs are the bytes that say of a whole text whether a secret may be told in
// it: a JWT has "eyJ", all others a sign after their name.
var signs = [256]bool{'J': true, ':': true, '=': true, '%': true}

// isSimple tells whether a text is shown as it is: nothing in it may be a
// secret, and all of it prints.
func isSimple(s []byte) bool {
	for i, c := range s {
		if c < ' ' || c >= 0x7f || signs[c] && (c != 'J' || i >= 2 && s[i-1] == 'y' && s[i-2] == 'e') {
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
