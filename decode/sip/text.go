package sip

import "bytes"

// tokenChar marks the characters of a token (RFC 3261, 25.1) with 1.
var tokenChar = [256]uint8{
	'!': 1, '%': 1, '\'': 1, '*': 1, '+': 1, '-': 1, '.': 1, '_': 1, '`': 1, '~': 1,
	'0': 1, '1': 1, '2': 1, '3': 1, '4': 1, '5': 1, '6': 1, '7': 1, '8': 1, '9': 1,
	'A': 1, 'B': 1, 'C': 1, 'D': 1, 'E': 1, 'F': 1, 'G': 1, 'H': 1, 'I': 1, 'J': 1, 'K': 1, 'L': 1, 'M': 1,
	'N': 1, 'O': 1, 'P': 1, 'Q': 1, 'R': 1, 'S': 1, 'T': 1, 'U': 1, 'V': 1, 'W': 1, 'X': 1, 'Y': 1, 'Z': 1,
	'a': 1, 'b': 1, 'c': 1, 'd': 1, 'e': 1, 'f': 1, 'g': 1, 'h': 1, 'i': 1, 'j': 1, 'k': 1, 'l': 1, 'm': 1,
	'n': 1, 'o': 1, 'p': 1, 'q': 1, 'r': 1, 's': 1, 't': 1, 'u': 1, 'v': 1, 'w': 1, 'x': 1, 'y': 1, 'z': 1,
}

func tokenLen(b []byte) int {
	for i, c := range b {
		if tokenChar[c] == 0 {
			return i
		}
	}
	return len(b)
}

func isDigit(c byte) bool { return c-'0' < 10 }
func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// trim removes blanks, and the CR and LF that a bad line end may leave.
func trim(b []byte) []byte {
	for len(b) > 0 && (isBlank(b[0]) || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	for len(b) > 0 && (isBlank(b[len(b)-1]) || b[len(b)-1] == '\r' || b[len(b)-1] == '\n') {
		b = b[:len(b)-1]
	}
	return b
}

func lower(c byte) byte {
	if c-'A' < 26 {
		return c + 'a' - 'A'
	}
	return c
}

// equalFold compares in ASCII, as RFC 3261, 7.3.1 does.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if b[i] != s[i] && lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func cutByte(b []byte, sep byte) (before, after []byte) {
	if i := bytes.IndexByte(b, sep); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// quotedLen is the length of the quoted-string that b begins with, its quotes
// included; 0 if it does not end.
func quotedLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// cutTop cuts at the first sep that is in no quoted-string and between no
// angle brackets. A quote that does not end runs to the end of b, so that the
// work stays linear.
func cutTop(b []byte, sep byte) (before, after []byte) {
	at := bytes.IndexByte(b, sep)
	if at < 0 {
		return b, nil
	}
	if bytes.IndexByte(b[:at], '"') < 0 && bytes.IndexByte(b[:at], '<') < 0 {
		return b[:at], b[at+1:]
	}
	angle := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == sep && !angle:
			return b[:i], b[i+1:]
		case c == '"':
			n := quotedLen(b[i:])
			if n == 0 {
				return b, nil
			}
			i += n - 1
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		}
	}
	return b, nil
}

// nextParam reads one ";name=value" behind its semicolon.
func nextParam(b []byte) (name, value, rest []byte) {
	p, rest := cutTop(b, ';')
	name, value = cutByte(p, '=')
	return trim(name), trim(value), rest
}

// param finds a parameter by name in "name=value;name;..."; nil when absent.
func param(b []byte, name string) []byte {
	for len(b) > 0 {
		var n, v []byte
		if n, v, b = nextParam(b); equalFold(n, name) {
			return v
		}
	}
	return nil
}

// unquote removes the quotes around a quoted-string; escapes stay.
func unquote(b []byte) []byte {
	if len(b) >= 2 && b[0] == '"' && b[len(b)-1] == '"' {
		return b[1 : len(b)-1]
	}
	return b
}
