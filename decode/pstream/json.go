package pstream

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// plainLen is how many bytes of b may stand in a JSON string as they are: up
// to a quote, a backslash or a control character (RFC 8259 7). ascii tells that
// no other is in them.
func plainLen(b []byte) (n int, ascii bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	all, i := uint64(0), 0
	for ; i+128 <= len(b); i += 128 {
		if c := b[i : i+128]; bytes.IndexByte(c, '\\') >= 0 || bytes.IndexByte(c, '"') >= 0 || !isText(c) {
			break
		}
	}
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^ones*'"', w^ones*'\\'
		// Only a byte that is sought borrows from the next: the lowest bit set is exact.
		if m := ((quote - ones) | (slash - ones) | (w - ones*' ')) &^ w & highs; m != 0 {
			k := bits.TrailingZeros64(m) &^ 7
			return i + k>>3, (all|w&(1<<k-1))&highs == 0
		}
		all |= w
	}
	for ; i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' '; i++ {
		all |= uint64(b[i])
	}
	return i, all&highs == 0
}

// isText tells whether b, of a multiple of 32 bytes, is ASCII without control
// characters below a space.
func isText(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 32; b = b[32:] {
		w, x, y, z := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		if (w|(w-ones*' ')|x|(x-ones*' ')|y|(y-ones*' ')|z|(z-ones*' '))&highs != 0 {
			return false
		}
	}
	return true
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skipString is the index after the string whose first quote is b[i], -1 when
// it is none. plain tells that it says what is written between its quotes, in
// ASCII.
func skipString(b []byte, i int) (end int, plain bool) {
	plain = true
	for i++; ; {
		n, ascii := plainLen(b[i:])
		plain = plain && ascii
		if i += n; i >= len(b) {
			return -1, false
		}
		switch b[i] {
		case '"':
			return i + 1, plain
		case '\\':
			plain = false
			if i+1 >= len(b) {
				return -1, false
			}
			switch b[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
				continue
			case 'u':
				if hex4(b[i+2:]) >= 0 {
					i += 6
					continue
				}
			}
		}
		return -1, false
	}
}

// hex4 is the number of four hexadecimal digits, -1 when b does not begin so.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	r := rune(0)
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// skipScalar is the index after the number or literal that begins at b[i], -1
// when there is none.
func skipScalar(b []byte, i int) int {
	switch b[i] {
	case 't':
		return skipWord(b, i, "true")
	case 'f':
		return skipWord(b, i, "false")
	case 'n':
		return skipWord(b, i, "null")
	case '-':
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if i = skipDigits(b, i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = skipDigits(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return skipDigits(b, i)
	}
	return i
}

func skipWord(b []byte, i int, word string) int {
	if bytes.HasPrefix(b[i:], []byte(word)) {
		return i + len(word)
	}
	return -1
}

func skipDigits(b []byte, i int) int {
	start := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// value is where one of the values of a text stands.
type value struct {
	name, nameEnd    int32 // of a member, with the quotes; 0 of other values
	at, end          int32
	next             int32 // number of the value after it and those within it
	plainName, plain bool  // as in skipString
}

// tree is a JSON text (RFC 8259) and its values, each followed by those within
// it. One pass over the text finds them; what reads them need not look for
// their ends again.
type tree struct {
	text   []byte
	values []value
}

// scan reads a text that is one value. It is false when it is none, or nested
// too deep; then there are no values.
func (t *tree) scan(text []byte) bool {
	t.text, t.values = text, t.values[:0]
	if i := t.value(skipSpace(text, 0), value{}, 0); i < 0 || skipSpace(text, i) != len(text) {
		t.values = t.values[:0]
		return false
	}
	return true
}

// value adds the value at text[i], of which v has the name, and those within
// it. It returns the index after it, -1 when it is none.
func (t *tree) value(i int, v value, depth int) int {
	if i >= len(t.text) {
		return -1
	}
	n := len(t.values)
	v.at = int32(i)
	switch t.text[i] {
	case '{', '[':
		t.values = append(t.values, v) // before what is in it
		i = t.container(i, depth)
		t.values[n].end, t.values[n].next = int32(i), int32(len(t.values))
		return i
	case '"':
		i, v.plain = skipString(t.text, i)
	default:
		i = skipScalar(t.text, i)
	}
	v.end, v.next = int32(i), int32(n+1)
	t.values = append(t.values, v)
	return i
}

func (t *tree) container(i, depth int) int {
	if depth == maxDepth {
		return -1
	}
	b, open := t.text, t.text[i]
	if i = skipSpace(b, i+1); i < len(b) && b[i] == open+2 { // '{' + 2 is '}', '[' + 2 is ']'
		return i + 1
	}
	for {
		var v value
		if open == '{' {
			if i >= len(b) || b[i] != '"' {
				return -1
			}
			end, plain := skipString(b, i)
			if end < 0 {
				return -1
			}
			v.name, v.nameEnd, v.plainName = int32(i), int32(end), plain
			if i = skipSpace(b, end); i >= len(b) || b[i] != ':' {
				return -1
			}
			i = skipSpace(b, i+1)
		}
		if i = t.value(i, v, depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case open + 2:
			return i + 1
		default:
			return -1
		}
	}
}

// char is the next character of what stands between a string's quotes, and
// its size there. Bytes that are no UTF-8 and halves of surrogate pairs are
// U+FFFD.
func char(b []byte) (r rune, size int) {
	if b[0] != '\\' {
		if b[0] < utf8.RuneSelf {
			return rune(b[0]), 1
		}
		return utf8.DecodeRune(b)
	}
	switch b[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r = hex4(b[2:])
		if utf16.IsSurrogate(r) {
			if len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
				if pair := utf16.DecodeRune(r, hex4(b[8:])); pair != utf8.RuneError {
					return pair, 12
				}
			}
			return utf8.RuneError, 6
		}
		return r, 6
	}
	return rune(b[1]), 2
}

// unquote is what a string says, quoted as it is given. It aliases the string
// or, where it cannot, buf, to which it is appended then.
func unquote(quoted, buf []byte) []byte {
	s := quoted[1 : len(quoted)-1]
	if isPlain(s) {
		return s
	}
	n := len(buf)
	for len(s) > 0 {
		k, ascii := plainLen(s)
		if ascii {
			buf = append(buf, s[:k]...)
		} else {
			buf = appendValid(buf, s[:k])
		}
		if s = s[k:]; len(s) > 0 {
			r, size := char(s)
			buf, s = utf8.AppendRune(buf, r), s[size:]
		}
	}
	return buf[n:]
}

// unquotedLen is the size of what a string says.
func unquotedLen(quoted []byte) int {
	s := quoted[1 : len(quoted)-1]
	if isPlain(s) {
		return len(s)
	}
	n := 0
	for len(s) > 0 {
		k, ascii := plainLen(s)
		if ascii {
			n += k
		} else {
			n += validLen(s[:k])
		}
		if s = s[k:]; len(s) > 0 {
			r, size := char(s)
			n, s = n+utf8.RuneLen(r), s[size:]
		}
	}
	return n
}

// appendValid appends s, U+FFFD for each byte that is no UTF-8.
func appendValid(dst, s []byte) []byte {
	if utf8.Valid(s) {
		return append(dst, s...)
	}
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		dst, s = utf8.AppendRune(dst, r), s[size:]
	}
	return dst
}

// validLen is how much appendValid appends.
func validLen(s []byte) int {
	if utf8.Valid(s) {
		return len(s)
	}
	n := 0
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		n, s = n+utf8.RuneLen(r), s[size:]
	}
	return n
}

func isPlain(s []byte) bool { return bytes.IndexByte(s, '\\') < 0 && utf8.Valid(s) }

// member is one of an object: what its name says, its value as it is written,
// and the value's number in the tree.
type member struct {
	key, raw []byte
	plain    bool // as in skipString
	number   int
}

// keys are the members of a JSON object, taken one after another, so that those
// that are left are the ones not known. Of a repeated key the last counts.
type keys []member

// manyKeys is from how many on repeated keys are found by a map.
const manyKeys = 64

// members appends the members of the n-th value, an object, to k. They alias
// the text.
func (t *tree) members(n int, k keys) keys {
	var index map[string]int
	for i := n + 1; i < int(t.values[n].next); i = int(t.values[i].next) {
		v := &t.values[i]
		m := member{t.text[v.name+1 : v.nameEnd-1], t.text[v.at:v.end:v.end], v.plain, i}
		if !v.plainName {
			m.key = unquote(t.text[v.name:v.nameEnd], nil)
		}
		at := -1
		if index == nil {
			at = k.index(m.key)
		} else if j, ok := index[string(m.key)]; ok {
			at = j
		}
		if at >= 0 {
			k[at] = m
			continue
		}
		k = append(k, m)
		if index != nil {
			index[string(m.key)] = len(k) - 1
		} else if len(k) == manyKeys {
			index = make(map[string]int, 2*manyKeys)
			for j := range k {
				index[string(k[j].key)] = j
			}
		}
	}
	return k
}

func (k keys) index(name []byte) int {
	for i := range k {
		if bytes.Equal(k[i].key, name) {
			return i
		}
	}
	return -1
}

// get is a member, nil when there is none.
func (k keys) get(name string) *member {
	for i := range k {
		if string(k[i].key) == name {
			return &k[i]
		}
	}
	return nil
}

// take takes a member; it has no value when there is none.
func (k *keys) take(name string) (m member) {
	s := *k
	for i := range s {
		if string(s[i].key) == name {
			m, s[i] = s[i], s[len(s)-1]
			*k = s[:len(s)-1]
			return m
		}
	}
	return m
}

// object takes a member that is an object, its members appended to buf; nil
// when there is none.
func (k *keys) object(t *tree, name string, buf keys) keys {
	if v := k.get(name); v != nil && v.raw[0] == '{' {
		return t.members(k.take(name).number, buf)
	}
	return nil
}

// text is a member as text: a string's value, or a number or literal as it is
// written; "" for an object, an array, null or none.
func (k *keys) text(name string) string {
	m := k.take(name)
	return string(m.text(nil))
}

// text is the text of a value as in keys.text. It aliases the value, or buf
// when it needs it.
func (m *member) text(buf []byte) []byte {
	switch v := m.raw; {
	case len(v) == 0 || v[0] == '{' || v[0] == '[' || v[0] == 'n':
		return nil
	case m.plain:
		return v[1 : len(v)-1]
	case v[0] == '"':
		return unquote(v, buf)
	default:
		return v
	}
}

// number is a member as a whole number, also one in a string; 0 for none.
func (k *keys) number(name string) int {
	m := k.take(name)
	if len(m.raw) == 0 {
		return 0
	}
	f, err := strconv.ParseFloat(string(m.text(nil)), 64)
	if err != nil || f != f || f < -1e9 || f > 1e9 {
		return 0
	}
	return int(f)
}

// size is how long a member is: the characters of a string, the bytes of
// another value as written; 0 for null or none.
func (k *keys) size(name string) int {
	m := k.take(name)
	return size(m.raw, m.plain)
}

func size(raw []byte, plain bool) int {
	switch {
	case len(raw) == 0 || raw[0] == 'n':
		return 0
	case plain:
		return len(raw) - 2
	case raw[0] == '"':
		return unquotedLen(raw)
	}
	return len(raw)
}

// limit cuts a short text that a hostile sender made long.
func limit(s string) string {
	if len(s) > 256 {
		return strings.ToValidUTF8(s[:256], "")
	}
	return s
}
