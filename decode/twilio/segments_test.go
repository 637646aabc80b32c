package twilio

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// gsmDefault is table 6.2.1 of 3GPP TS 23.038 by position, 0x00 to 0x7f; ESC at
// 0x1b is no character.
const gsmDefault = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"

// gsmExtension is table 6.2.1.1.
const gsmExtension = "\f^{}\\[~]|€"

func TestAlphabet(t *testing.T) {
	if n := utf8.RuneCountInString(gsmDefault); n != 128 {
		t.Fatalf("the test's table has %d characters", n)
	}
	for r := rune(0); r < 0x30000; r++ {
		if r >= 0xd800 && r < 0xe000 {
			continue
		}
		b := Segments([]byte(strings.Repeat(string(r), 80)))
		one := strings.ContainsRune(gsmDefault, r) && r != 0x1b
		two := strings.ContainsRune(gsmExtension, r)
		switch {
		case one || two:
			// 80 of one septet and 80 of two fit; 81 of two do not.
			more := Segments([]byte(strings.Repeat(string(r), 81)))
			want := int64(1)
			if two {
				want = 2
			}
			if b.UCS2 || b.Offender != 0 || b.SegmentsGSM != 1 || more.SegmentsGSM != want {
				t.Errorf("%U: %+v, 81 of them %d segments", r, b, more.SegmentsGSM)
			}
		case r > 0xffff:
			if !b.UCS2 || b.Offender != r || b.SegmentsGSM != 3 { // 160 units: 66 + 66 + 28, no pair split
				t.Errorf("%U: %+v", r, b)
			}
		default:
			if !b.UCS2 || b.Offender != r || b.SegmentsGSM != 2 {
				t.Errorf("%U: %+v", r, b)
			}
		}
		if b.Chars != 80 || b.Bytes != int64(80*utf8.RuneLen(r)) {
			t.Errorf("%U: %+v", r, b)
		}
	}
}

func TestSegments(t *testing.T) {
	rep := strings.Repeat
	for _, c := range []struct {
		name, text string
		want, toll int64
	}{
		{"empty", "", 0, 0},
		{"160", rep("a", 160), 1, 1},
		{"161", rep("a", 161), 2, 2},
		{"304", rep("a", 304), 2, 2}, {"305", rep("a", 305), 2, 3}, {"306", rep("a", 306), 2, 3}, {"307", rep("a", 307), 3, 3},
		{"1600", rep("a", 1600), 11, 11},
		{"UCS-2 70", rep("ж", 70), 1, 1}, {"UCS-2 71", rep("ж", 71), 2, 2}, {"UCS-2 132", rep("ж", 132), 2, 2}, {"UCS-2 133", rep("ж", 133), 2, 3},
		{"UCS-2 134", rep("ж", 134), 2, 3}, {"UCS-2 135", rep("ж", 135), 3, 3},
		{"160 with one stranger", rep("a", 159) + "`", 3, 3},
		{"surrogates 35", rep("💩", 35), 1, 1}, {"surrogates 36", rep("💩", 36), 2, 2},
		{"surrogates 66", rep("💩", 66), 2, 2}, // 33 pairs of 67 units, one unit left over
		{"surrogates 67", rep("💩", 67), 3, 3}, // 134 units would be 2 segments if pairs could be split
		{"extension 80", rep("€", 80), 1, 1}, {"extension 81", rep("€", 81), 2, 2},
		{"extension at the edge", rep("a", 152) + "{" + rep("a", 152), 3, 3}, // 306 septets would be 2 segments if the pair could be split
		{"extension at the edge, full", rep("a", 152) + "{" + rep("a", 151), 2, 3},
		{"CRLF", rep("\r\n", 80), 1, 1}, {"CRLF 81", rep("\r\n", 81), 2, 2},
	} {
		b, toll := Segments([]byte(c.text)), SegmentsToll([]byte(c.text))
		if b.SegmentsGSM != c.want || toll.SegmentsGSM != c.toll {
			t.Errorf("%s: %d, toll-free %d; want %d, %d", c.name, b.SegmentsGSM, toll.SegmentsGSM, c.want, c.toll)
		}
		other := c.toll
		if c.toll == c.want {
			other = 0
		}
		if both, toll := segmentsBoth([]byte(c.text)); both != b || toll != other {
			t.Errorf("%s: %+v, toll-free %d; want %+v, %d", c.name, both, toll, b, other)
		}
	}
	if b := Segments([]byte("a\xffb")); !b.UCS2 || b.Offender != utf8.RuneError || b.Chars != 3 || b.Bytes != 3 {
		t.Errorf("invalid UTF-8: %+v", b)
	}
	if b := Segments([]byte(TrialPrefix + "hi")); !b.TrialPrefix || b.Chars != 40 || len(TrialPrefix) != 38 {
		t.Errorf("trial: %+v", b)
	}
	if b := Segments([]byte("hi " + TrialPrefix)); b.TrialPrefix {
		t.Errorf("trial text inside: %+v", b)
	}
}

// The study's rule counts too few exactly where GSM text of n septets needs
// another segment of 153.
func TestSegments160(t *testing.T) {
	under := [][2]int64{{307, 320}, {460, 480}, {613, 640}, {766, 800}, {919, 960}, {1072, 1120}, {1225, 1280}, {1378, 1440}, {1531, 1600}}
	for n := int64(0); n <= 1600; n++ {
		differs := false
		for _, u := range under {
			differs = differs || n >= u[0] && n <= u[1]
		}
		gsm, study := Segments([]byte(strings.Repeat("a", int(n)))).SegmentsGSM, Segments160(n)
		if differs && gsm != study+1 || !differs && gsm != study {
			t.Errorf("%d: GSM %d, study %d", n, gsm, study)
		}
	}
}

func FuzzSegments(f *testing.F) {
	for _, s := range []string{"", "hello", strings.Repeat("a{", 100), strings.Repeat("💩", 40), "\xff\xfe", TrialPrefix, "é`ç€", "\U0010ffff\ud7ff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 2000 {
			body = body[:2000]
		}
		whole := Segments(body)
		if whole.Bytes != int64(len(body)) || whole.Chars != int64(utf8.RuneCount(body)) || !whole.UCS2 && whole.Offender != 0 {
			t.Fatalf("%+v", whole)
		}
		// A character takes at most two units, so at least half of 66 of them
		// go into each segment but the last.
		if max := whole.Chars/33 + 1; whole.SegmentsGSM > max || whole.SegmentsGSM == 0 != (len(body) == 0) {
			t.Fatalf("%+v", whole)
		}
		if toll := SegmentsToll(body); toll.SegmentsGSM < whole.SegmentsGSM {
			t.Fatalf("toll-free %+v, else %+v", toll, whole)
		}
		// The count grows with the text, by at most the jump to UCS-2.
		last := int64(0)
		for i := 0; i <= len(body); {
			b := Segments(body[:i])
			if b.SegmentsGSM < last {
				t.Fatalf("%d bytes need %d segments, fewer bytes %d", i, b.SegmentsGSM, last)
			}
			last = b.SegmentsGSM
			if i == len(body) {
				break
			}
			_, n := utf8.DecodeRune(body[i:])
			i += n
		}
		if last != whole.SegmentsGSM {
			t.Fatalf("%d, then %d", last, whole.SegmentsGSM)
		}
	})
}

func BenchmarkSegments(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"text=gsm7", strings.Repeat("Lab message {x} ", 100)}, {"text=ucs2", strings.Repeat("Лаб 💩 ", 100)}} {
		b.Run(c.name, func(b *testing.B) {
			body := []byte(c.text)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				Segments(body)
			}
		})
	}
}
