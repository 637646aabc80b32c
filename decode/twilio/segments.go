package twilio

import (
	"bytes"
	"unicode/utf8"
)

// TrialPrefix is what Twilio puts before the body of every message of a trial
// account; it is part of the body in the resource and is counted.
const TrialPrefix = "Sent from your Twilio trial account - "

// Body is what is known of a message's text. The text itself is not kept.
type Body struct {
	Known bool
	Chars int64 // code points
	Bytes int64 // of UTF-8
	UCS2  bool  // a character outside GSM 7-bit makes the whole text UCS-2
	// SegmentsGSM is the number of segments by GSM 03.38; 0 for an empty text.
	SegmentsGSM int64
	Offender    rune // with UCS2, the first code point that is not GSM 7-bit
	TrialPrefix bool
}

// The capacity of a segment, in septets and in UTF-16 code units: 140 octets,
// less the 6 octets of the concatenation header when there are several (3GPP TS
// 23.040, 9.2.3.24.1). Toll-free numbers lose one unit more (Twilio,
// "toll-free SMS to the US and Canada").
type capacity struct{ gsm, gsmMulti, ucs2, ucs2Multi int64 }

func plainSMS() capacity    { return capacity{160, 153, 70, 67} }
func tollFreeSMS() capacity { return capacity{160, 152, 70, 66} }

// Segments counts body, which is UTF-8; a byte that is not counts as U+FFFD.
//
// A text that fits is one segment of 160 septets or 70 UTF-16 units; longer
// ones are cut at 153 or 67. Neither an extension pair nor a surrogate pair is
// split, so the count may exceed the quotient. Grapheme clusters are split.
func Segments(body []byte) Body {
	b, units := measure(body)
	b.SegmentsGSM = plainSMS().segments(body, b, units)
	return b
}

// SegmentsToll counts as Segments does for a toll-free sender in the United
// States and Canada: 152 and 66 in a concatenated message.
func SegmentsToll(body []byte) Body {
	b, units := measure(body)
	b.SegmentsGSM = tollFreeSMS().segments(body, b, units)
	return b
}

// segmentsBoth is Segments, and what a toll-free sender needs where that is
// another number; else 0.
func segmentsBoth(body []byte) (b Body, toll int64) {
	b, units := measure(body)
	b.SegmentsGSM = plainSMS().segments(body, b, units)
	if b.SegmentsGSM > 1 { // a single segment holds the same
		if toll = tollFreeSMS().segments(body, b, units); toll == b.SegmentsGSM {
			toll = 0
		}
	}
	return b, toll
}

// Segments160 is the rule of the study: one segment for each 160 bytes begun.
func Segments160(bytes int64) int64 { return (bytes + 159) / 160 }

// measure finds all that is known of a text but its segments, and how many
// septets or UTF-16 units it has.
func measure(body []byte) (b Body, units int64) {
	b = Body{Known: true, Bytes: int64(len(body)), TrialPrefix: bytes.HasPrefix(body, []byte(TrialPrefix))}
	for i := 0; i < len(body); {
		if c := body[i]; c < utf8.RuneSelf && gsmASCII[c] > 0 {
			units += int64(gsmASCII[c])
			b.Chars++
			i++
			continue
		}
		r, n := utf8.DecodeRune(body[i:])
		cost := gsmHigh(r)
		if cost == 0 {
			b.UCS2, b.Offender = true, r
			break
		}
		units += int64(cost)
		b.Chars++
		i += n
	}
	if b.UCS2 {
		b.Chars, units = 0, 0
		for i := 0; i < len(body); {
			r, n := utf8.DecodeRune(body[i:])
			units += ucs2Units(r)
			b.Chars++
			i += n
		}
	}
	return b, units
}

func ucs2Units(r rune) int64 {
	if r > 0xffff {
		return 2
	}
	return 1
}

// segments is how many a text that was measured needs.
func (c capacity) segments(body []byte, b Body, units int64) int64 {
	single, multi := c.gsm, c.gsmMulti
	if b.UCS2 {
		single, multi = c.ucs2, c.ucs2Multi
	}
	switch {
	case units == 0:
		return 0
	case units <= single:
		return 1
	}
	// A character of two units is not split: a segment may keep one empty.
	least, most := (units+multi-1)/multi, (units+multi-2)/(multi-1)
	if units == b.Chars || least == most {
		return least
	}
	full, room := int64(0), int64(0) // segments closed, units used in the open one
	for i := 0; i < len(body); {
		cost := int64(1)
		if c := body[i]; c < utf8.RuneSelf {
			if !b.UCS2 {
				cost = int64(gsmASCII[c])
			}
			i++
		} else {
			r, n := utf8.DecodeRune(body[i:])
			cost = int64(gsmHigh(r))
			if b.UCS2 {
				cost = ucs2Units(r)
			}
			i += n
		}
		if room+cost > multi {
			full++
			room = 0
		}
		room += cost
	}
	return full + 1
}

// gsmASCII is the number of septets of each ASCII character in the GSM 7-bit
// default alphabet (3GPP TS 23.038, 6.2.1) and its extension table (6.2.1.1); 0
// where there is none. Form feed is in the extension, the grave accent and the
// other control characters are nowhere. ESC itself is no character.
var gsmASCII = [utf8.RuneSelf]uint8{
	'\n': 1, '\f': 2, '\r': 1,
	' ': 1, '!': 1, '"': 1, '#': 1, '$': 1, '%': 1, '&': 1, '\'': 1, '(': 1, ')': 1, '*': 1, '+': 1, ',': 1, '-': 1, '.': 1, '/': 1,
	'0': 1, '1': 1, '2': 1, '3': 1, '4': 1, '5': 1, '6': 1, '7': 1, '8': 1, '9': 1, ':': 1, ';': 1, '<': 1, '=': 1, '>': 1, '?': 1,
	'@': 1, 'A': 1, 'B': 1, 'C': 1, 'D': 1, 'E': 1, 'F': 1, 'G': 1, 'H': 1, 'I': 1, 'J': 1, 'K': 1, 'L': 1, 'M': 1, 'N': 1, 'O': 1,
	'P': 1, 'Q': 1, 'R': 1, 'S': 1, 'T': 1, 'U': 1, 'V': 1, 'W': 1, 'X': 1, 'Y': 1, 'Z': 1, '[': 2, '\\': 2, ']': 2, '^': 2, '_': 1,
	'a': 1, 'b': 1, 'c': 1, 'd': 1, 'e': 1, 'f': 1, 'g': 1, 'h': 1, 'i': 1, 'j': 1, 'k': 1, 'l': 1, 'm': 1, 'n': 1, 'o': 1,
	'p': 1, 'q': 1, 'r': 1, 's': 1, 't': 1, 'u': 1, 'v': 1, 'w': 1, 'x': 1, 'y': 1, 'z': 1, '{': 2, '|': 2, '}': 2, '~': 2,
}

// gsmHigh is the same beyond ASCII. The alphabet has the capital C with
// cedilla only; Unicode's own mapping table turns it into the small one, the
// standard and Twilio do not.
func gsmHigh(r rune) uint8 {
	switch r {
	case '€':
		return 2
	case '£', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', 'Ø', 'ø', 'Å', 'å',
		'Δ', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', 'Æ', 'æ', 'ß', 'É',
		'¤', '¡', 'Ä', 'Ö', 'Ñ', 'Ü', '§', '¿', 'ä', 'ö', 'ñ', 'ü', 'à':
		return 1
	}
	return 0
}
