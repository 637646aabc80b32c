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
// to a quote, a backslash or a control character (RFC 8259 7).
func plainLen(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, slash := w^ones*'"', w^ones*'\\'
		// Only a byte that is sought borrows from the next: the lowest bit set is exact.
		if m := ((quote - ones) | (slash - ones) | (w - ones*' ')) &^ w & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' '; i++ {
	}
	return i
}

// isText tells whether b is ASCII without control characters below a space.
func isText(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 32; b = b[32:] {
		w, x, y, z := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		if (w|(w-ones*' ')|x|(x-ones*' ')|y|(y-ones*' ')|z|(z-ones*' '))&highs != 0 {
			return false
		}
	}
	for ; len(b) >= 8; b = b[8:] {
		if w := binary.LittleEndian.Uint64(b); (w|(w-ones*' '))&highs != 0 {
			return false
		}
	}
	for _, c := range b {
		if c < ' ' || c >= utf8.RuneSelf {
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

// skipString is the index after the string that begins at b[i], -1 when there
// is none.
func skipString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	i++
	if n := bytes.IndexByte(b[i:], '"'); n >= 0 {
		if s := b[i : i+n]; bytes.IndexByte(s, '\\') < 0 && isText(s) {
			return i + n + 1
		}
	}
	for {
		if i += plainLen(b[i:]); i >= len(b) {
			return -1
		}
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			if i+1 >= len(b) {
				return -1
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
			return -1
		default:
			return -1
		}
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

// skipValue is the index after the value that begins at b[i], within depth
// containers; -1 when there is none, or it is nested too deep.
func skipValue(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		if depth == maxDepth {
			return -1
		}
	default:
		return skipScalar(b, i)
	}
	if b[i] == '{' {
		for first := true; ; first = false {
			var key []byte
			if key, i = nextMember(b, i, first); key == nil {
				return i
			}
			if i = skipValue(b, i, depth+1); i < 0 {
				return -1
			}
		}
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == ']' {
		return i + 1
	}
	for {
		if i = skipValue(b, i, depth+1); i < 0 {
			return -1
		}
		if i = skipSpace(b, i); i >= len(b) {
			return -1
		}
		switch b[i] {
		case ',':
			i = skipSpace(b, i+1)
		case ']':
			return i + 1
		default:
			return -1
		}
	}
}

// skipKnown is skipValue where b is known to be JSON.
func skipKnown(b []byte, i int) int {
	switch b[i] {
	case '"':
		return stringEnd(b, i) + 1
	case '{', '[':
		return containerEnd(b, i)
	}
	return skipScalar(b, i)
}

// nextMember passes, from the brace of an object or the end of a member's
// value on, to the next member: key with its quotes, and the index where its
// value begins. At the end of the object, key is nil and the index is after
// it; -1 where there is neither.
func nextMember(b []byte, i int, first bool) (key []byte, value int) {
	if first {
		i++
	}
	if i = skipSpace(b, i); i >= len(b) {
		return nil, -1
	}
	if b[i] == '}' {
		return nil, i + 1
	}
	if !first {
		if b[i] != ',' {
			return nil, -1
		}
		i = skipSpace(b, i+1)
	}
	end := skipString(b, i)
	if end < 0 {
		return nil, -1
	}
	if value = skipSpace(b, end); value >= len(b) || b[value] != ':' {
		return nil, -1
	}
	return b[i:end], skipSpace(b, value+1)
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
		k := plainLen(s)
		buf = appendValid(buf, s[:k])
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
		k := plainLen(s)
		n += validLen(s[:k])
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

func isPlain(s []byte) bool { return bytes.IndexByte(s, '\\') < 0 && (isText(s) || utf8.Valid(s)) }

// member is one of an object, the value as it is written.
type member struct{ key, value []byte }

// keys are the members of a JSON object, taken one after another, so that those
// that are left are the ones not known. Of a repeated key the last counts.
type keys []member

// manyKeys is from how many on repeated keys are found by a map.
const manyKeys = 64

// members appends the members of the object that b begins with to k; end is the
// index after it, -1 when it is none. They alias b. known tells that b is JSON.
func members(b []byte, k keys, known bool) (_ keys, end int) {
	var index map[string]int
	i := 0
	for first := true; ; first = false {
		key, value := nextMember(b, i, first)
		if key == nil {
			return k, value
		}
		if known {
			i = skipKnown(b, value)
		} else if i = skipValue(b, value, 1); i < 0 {
			return k, -1
		}
		m := member{unquote(key, nil), b[value:i:i]}
		at := -1
		if index == nil {
			at = k.index(m.key)
		} else if j, ok := index[string(m.key)]; ok {
			at = j
		}
		if at >= 0 {
			k[at] = m
		} else {
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
	}
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
func (k keys) get(name string) []byte {
	for i := range k {
		if string(k[i].key) == name {
			return k[i].value
		}
	}
	return nil
}

func (k *keys) take(name string) []byte {
	s := *k
	for i := range s {
		if string(s[i].key) == name {
			v := s[i].value
			s[i] = s[len(s)-1]
			*k = s[:len(s)-1]
			return v
		}
	}
	return nil
}

// object takes a member that is an object, its members appended to buf; nil
// when there is none.
func (k *keys) object(name string, buf keys) keys {
	if v := k.get(name); len(v) > 0 && v[0] == '{' {
		k.take(name)
		o, _ := members(v, buf, true)
		return o
	}
	return nil
}

// text is a member as text: a string's value, or a number or literal as it is
// written; "" for an object, an array, null or none.
func (k *keys) text(name string) string { return string(plain(k.take(name), nil)) }

// plain is the text of a value as in text. It aliases v, or buf when v needs it.
func plain(v, buf []byte) []byte {
	if len(v) == 0 || v[0] == '{' || v[0] == '[' || v[0] == 'n' {
		return nil
	}
	if v[0] != '"' {
		return v
	}
	return unquote(v, buf)
}

// number is a member as a whole number, also one in a string; 0 for none.
func (k *keys) number(name string) int {
	v := k.take(name)
	if v == nil {
		return 0
	}
	f, err := strconv.ParseFloat(string(plain(v, nil)), 64)
	if err != nil || f != f || f < -1e9 || f > 1e9 {
		return 0
	}
	return int(f)
}

// size is how long a member is: the characters of a string, the bytes of
// another value as written.
func size(v []byte) int {
	if len(v) == 0 || v[0] == 'n' {
		return 0
	}
	if v[0] == '"' {
		return unquotedLen(v)
	}
	return len(v)
}

// limit cuts a short text that a hostile sender made long.
func limit(s string) string {
	if len(s) > 256 {
		return strings.ToValidUTF8(s[:256], "")
	}
	return s
}
