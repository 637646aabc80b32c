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
		return appendCut(dst, []byte("heartbeat"), max)
	}
	if check(text) != nil {
		text = text[:min(len(text), maxText)]
	}
	w := walker{in: text, max: max}
	for w.space(); w.pos < len(w.in) && len(w.out) <= max; w.space() {
		if !w.value("", 0) {
			w.line("", "["+strconv.Itoa(len(text)-w.bad)+" bytes that are not JSON]")
			break
		}
	}
	return appendCut(dst, w.out, max)
}

// appendCut appends at most max bytes of s, whole characters.
func appendCut(dst, s []byte, max int) []byte {
	if s = bytes.TrimSuffix(s, []byte{'\n'}); len(s) <= max {
		return append(dst, s...)
	}
	const more = "…"
	n := max - len(more)
	if n < 0 {
		return dst
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return append(append(dst, s[:n]...), more...)
}

type walker struct {
	in   []byte
	pos  int
	bad  int // where the first value that is none begins
	out  []byte
	max  int
	path []byte
}

func (w *walker) space() {
	for w.pos < len(w.in) && (w.in[w.pos] == ' ' || w.in[w.pos] == '\t' || w.in[w.pos] == '\n' || w.in[w.pos] == '\r') {
		w.pos++
	}
}

func (w *walker) line(key, value string) {
	w.out = append(w.out, w.path...)
	if key != "" {
		if len(w.path) > 0 {
			w.out = append(w.out, '.')
		}
		w.out = append(w.out, key...)
	}
	if len(w.path) > 0 || key != "" {
		w.out = append(w.out, ':', ' ')
	}
	w.out = append(append(w.out, value...), '\n')
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
	for w.pos++; w.pos < len(w.in); w.pos++ {
		switch w.in[w.pos] {
		case '\\':
			w.pos++
		case '"':
			w.pos++
			return w.in[start:w.pos]
		}
	}
	return nil
}

// value writes the next value.
func (w *walker) value(key string, depth int) bool {
	w.space()
	w.bad = w.pos
	if w.pos == len(w.in) || depth > maxDepth {
		return false
	}
	kind := secretKey(key)
	c := w.in[w.pos]
	if kind != "" && !(c == '{' && kind == "token") {
		raw := w.raw()
		if raw == nil {
			return false
		}
		w.line(key, hidden(kind, raw))
		return true
	}
	switch c {
	case '{', '[':
		return w.container(key, depth, c)
	case '"':
		raw := w.str()
		var s string
		if raw == nil || json.Unmarshal(raw, &s) != nil {
			return false
		}
		w.line(key, lines(Scrub(s)))
		return true
	}
	raw := w.raw()
	if !json.Valid(raw) {
		return false
	}
	w.line(key, string(raw[:min(len(raw), 40)]))
	return true
}

func (w *walker) container(key string, depth int, open byte) bool {
	n := len(w.path)
	if key != "" {
		if n > 0 {
			w.path = append(w.path, '.')
		}
		w.path = append(w.path, key...)
	}
	defer func() { w.path = w.path[:n] }()
	w.pos++
	within := secretKey(key) == "token"
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
		if w.pos == len(w.in) || len(w.out) > w.max {
			return w.pos < len(w.in)
		}
		name := strconv.Itoa(i)
		if open == '{' {
			if w.in[w.pos] != '"' {
				return false
			}
			raw := w.str()
			var s string
			if raw == nil || json.Unmarshal(raw, &s) != nil {
				return false
			}
			if w.space(); w.pos == len(w.in) || w.in[w.pos] != ':' {
				return false
			}
			w.pos++
			name = strings.ReplaceAll(lines(Scrub(limit(s))), "\n", " ")
			if within && !public(s) {
				raw := w.raw()
				if raw == nil {
					return false
				}
				w.line(name, hidden("token", raw))
				continue
			}
			if within { // "identity" of a token is none itself
				if raw := w.raw(); raw == nil || !json.Valid(raw) {
					return false
				} else {
					w.line(name, lines(Scrub(plain(raw))))
				}
				continue
			}
		}
		if !w.value(name, depth+1) {
			return false
		}
	}
}

// public tells whether a member of a token that the server has read is none
// of its secrets.
func public(name string) bool {
	switch strings.ToLower(name) {
	case "identity", "ttl", "accountsid":
		return true
	}
	return false
}

// secretKey is what kind of secret a key holds, "" for none.
func secretKey(key string) string {
	switch key = strings.ToLower(key); key {
	case "content":
		return "content"
	case "dtmf", "digit", "digits":
		return "digits"
	case "reconnect":
		return "reconnect token"
	case "auth", "authorization", "cookie", "pwd", "credential", "credentials", "ice-pwd", "icepwd", "inline", "key", "body":
		return "secret"
	}
	for _, s := range [...]string{"token", "jwt"} {
		if strings.Contains(key, s) {
			return "token"
		}
	}
	for _, s := range [...]string{"secret", "passw", "passphrase", "signature", "apikey", "api-key", "api_key"} {
		if strings.Contains(key, s) {
			return "secret"
		}
	}
	return ""
}

func hidden(kind string, raw []byte) string {
	n := size(raw)
	switch {
	case n == 0:
		return "[no " + kind + "]"
	case kind == "digits" && n == 1:
		return "[1 digit]"
	case kind == "digits":
		return "[" + strconv.Itoa(n) + " digits]"
	case kind == "token" && strings.HasPrefix(plain(raw), "eyJ"):
		kind = "JWT"
	}
	return "[" + kind + ", " + strconv.Itoa(n) + " bytes]"
}

// lines makes a text of several lines a block of indented lines, without
// characters that do not print.
func lines(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\r':
			return -1
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, s)
	s = strings.TrimSuffix(s, "\n")
	if !strings.Contains(s, "\n") {
		return s
	}
	return "\n  " + strings.ReplaceAll(s, "\n", "\n  ")
}

// Scrub is a text without the secrets that are known by their surroundings:
// JWTs, the values of names like token in queries, parameters and JSON, ICE
// passwords, and SDP keys.
func Scrub(s string) string {
	var b strings.Builder
	done := 0
	hide := func(from, to int, kind string) {
		b.WriteString(s[done:from])
		b.WriteString("[" + kind + ", " + strconv.Itoa(to-from) + " bytes]")
		done = to
	}
	for i := 0; i < len(s); i++ {
		if i < done {
			continue
		}
		switch c := s[i]; {
		case c == 'e' && strings.HasPrefix(s[i:], "eyJ"):
			to := i
			for to < len(s) && isToken(s[to]) {
				to++
			}
			if to-i >= 10 {
				hide(i, to, "JWT")
			}
		case c == 'k' && strings.HasPrefix(s[i:], "k=") && (i == 0 || s[i-1] == '\n'): // RFC 4566, 5.12
			hide(i+2, until(s, i+2, "\r\n"), "key")
		case c == ':' || c == '=' || c == '%' && (strings.HasPrefix(s[i:], "%3D") || strings.HasPrefix(s[i:], "%3d") || strings.HasPrefix(s[i:], "%3A") || strings.HasPrefix(s[i:], "%3a")):
			// The name before, the value after, either in quotes.
			name := s[done:i]
			name = strings.TrimRight(name[max(0, len(name)-64):], " \"'\\")
			name = name[strings.LastIndexFunc(name, func(r rune) bool { return !isName(r) })+1:]
			kind := secretKey(name)
			if kind == "" || name == "" {
				continue
			}
			from := i + 1
			if c == '%' {
				from = i + 3
			}
			for from < len(s) && (s[from] == ' ' || s[from] == '"' || s[from] == '\'' || s[from] == '\\') {
				from++
			}
			if from < len(s) && (s[from] == '{' || s[from] == '[') {
				continue // its members have their own names
			}
			if to := until(s, from, "&;, \t\r\n\"'<>}\\"); to > from {
				hide(from, to, kind)
			}
		}
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

func until(s string, from int, stops string) int {
	if n := strings.IndexAny(s[from:], stops); n >= 0 {
		return from + n
	}
	return len(s)
}

func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.=+/~", c) >= 0
}

func isName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
}
