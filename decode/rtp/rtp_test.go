package rtp

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The fields are placed by the diagram of RFC 3550, 5.1.
const plain = "80 e0 fffe 0001e240 deadbeef"

func TestDecode(t *testing.T) {
	tests := []struct {
		name, hex string
		missing   int // bytes cut by the snap length
		want      Header
		payload   string
		ext       string
		noExt     bool
	}{
		{"plain", plain + "0102", 0, Header{HeaderLen: 12}, "0102", "", true},
		{"empty payload", plain, 0, Header{HeaderLen: 12}, "", "", true},
		{"padding", "a0 e0 fffe 0001e240 deadbeef 01 020002 03", 0,
			Header{HeaderLen: 12, Padding: true, PaddingLen: 3}, "0102", "", true},
		{"only padding", "a0 e0 fffe 0001e240 deadbeef 000003", 0,
			Header{HeaderLen: 12, Padding: true, PaddingLen: 3}, "", "", true},
		{"padding count zero", "a0 e0 fffe 0001e240 deadbeef 0100", 0,
			Header{HeaderLen: 12, Padding: true, Malformed: true}, "0100", "", true},
		{"padding longer than payload", "a0 e0 fffe 0001e240 deadbeef 0103", 0,
			Header{HeaderLen: 12, Padding: true, Malformed: true}, "0103", "", true},
		{"padding with nothing after the header", "a0 e0 fffe 0001e240 deadbeef", 0,
			Header{HeaderLen: 12, Padding: true, Malformed: true}, "", "", true},
		{"padding is not judged when cut", "a0 e0 fffe 0001e240 deadbeef 0103", 5,
			Header{HeaderLen: 12, Padding: true}, "0103", "", true},
		{"two sources", "82 e0 fffe 0001e240 deadbeef 00000001 00000002 55", 0,
			Header{HeaderLen: 20, CSRCs: 2}, "55", "", true},
		{"sources missing", "82 e0 fffe 0001e240 deadbeef 00000001", 0,
			Header{HeaderLen: 20, CSRCs: 2, Malformed: true}, "", "", true},
		{"sources cut", "82 e0 fffe 0001e240 deadbeef 00000001", 100,
			Header{HeaderLen: 20, CSRCs: 2}, "", "", true},
		{"extension", "90 e0 fffe 0001e240 deadbeef bede 0001 10ff0000 77", 0,
			Header{HeaderLen: 20, Extension: true, ExtProfile: 0xbede}, "77", "10ff0000", false},
		{"extension of no words", "90 e0 fffe 0001e240 deadbeef abcd 0000 77", 0,
			Header{HeaderLen: 16, Extension: true, ExtProfile: 0xabcd}, "77", "", false},
		{"extension beyond the end", "90 e0 fffe 0001e240 deadbeef bede 0002 10ff0000 77", 0,
			Header{HeaderLen: 24, Extension: true, ExtProfile: 0xbede, Malformed: true}, "", "", true},
		{"extension cut", "90 e0 fffe 0001e240 deadbeef bede 0002 10ff0000 77", 50,
			Header{HeaderLen: 24, Extension: true, ExtProfile: 0xbede}, "", "", true},
		{"extension header missing", "90 e0 fffe 0001e240 deadbeef bede", 0,
			Header{HeaderLen: 12, Extension: true, Malformed: true}, "", "", true},
		{"source, extension and padding", "b1 e0 fffe 0001e240 deadbeef 00000009 1000 0001 01020304 aabb 0002", 0,
			Header{HeaderLen: 24, CSRCs: 1, Extension: true, Padding: true, PaddingLen: 2, ExtProfile: 0x1000}, "aabb", "01020304", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.hex)
			// Stale content shows that every field is written.
			h := Header{Malformed: true, ExtProfile: 9, PaddingLen: 9, HeaderLen: 9, CSRCs: 9, Extension: true,
				Padding: true, Ext: []byte{9}, Payload: []byte{9}}
			if !Decode(b, len(b)+tt.missing, &h) {
				t.Fatal("fixed header refused")
			}
			if h.PayloadType != 96 || !h.Marker || h.Seq != 0xfffe || h.Timestamp != 123456 || h.SSRC != 0xdeadbeef {
				t.Errorf("fixed header is %+v", h)
			}
			w := tt.want
			if h.CSRCs != w.CSRCs || h.HeaderLen != w.HeaderLen || h.PaddingLen != w.PaddingLen || h.Padding != w.Padding ||
				h.Extension != w.Extension || h.ExtProfile != w.ExtProfile || h.Malformed != w.Malformed {
				t.Errorf("have %+v\nwant %+v", h, w)
			}
			if hex.EncodeToString(h.Payload) != tt.payload {
				t.Errorf("payload is %x, want %s", h.Payload, tt.payload)
			}
			if hex.EncodeToString(h.Ext) != tt.ext || (h.Ext == nil) != tt.noExt {
				t.Errorf("extension is %x (nil %v), want %s", h.Ext, h.Ext == nil, tt.ext)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := unhex(t, plain)
	h := Header{Seq: 7}
	for n := range len(whole) {
		if Decode(whole[:n], 100, &h) || h.Seq != 7 {
			t.Errorf("%d bytes accepted", n)
		}
	}
	for _, first := range []byte{0x00, 0x40, 0xc0} {
		whole[0] = first
		if Decode(whole, 12, &h) || Looks(whole) {
			t.Errorf("version %d accepted", first>>6)
		}
	}
}

func TestPayloadLen(t *testing.T) {
	b := unhex(t, plain+"0102")
	var h Header
	Decode(b, 172, &h)
	if h.PayloadLen(172) != 160 {
		t.Errorf("20 ms of G.711 cut by the snap length count as %d bytes, want 160", h.PayloadLen(172))
	}
	if h.PayloadLen(3) != 0 {
		t.Errorf("payload of a 3-byte packet is %d bytes", h.PayloadLen(3))
	}
}

func TestLooksLeavesRTCPAlone(t *testing.T) {
	b := unhex(t, plain)
	for second := range 256 {
		b[1] = byte(second)
		// RFC 5761, 4: RTCP packet types 192 to 223 are payload types 64 to 95
		// with the marker; without it those are not to be used either.
		pt := second % 128
		if want := pt < 64 || pt > 95; Looks(b) != want {
			t.Errorf("second byte %d: looks like RTP: %v", second, Looks(b))
		}
	}
	if Looks(b[:11]) {
		t.Error("11 bytes look like RTP")
	}
}

func TestElements(t *testing.T) {
	type el struct {
		id   uint8
		data string
	}
	tests := []struct {
		name    string
		profile uint16
		ext     string
		want    []el
	}{
		// RFC 8285, 4.2: two elements of one and two bytes, padding between and after.
		{"one-byte form", 0xbede, "10 aa 00 00 21 bbcc 00", []el{{1, "aa"}, {2, "bbcc"}}},
		{"one-byte, 16 bytes", 0xbede, "3f 000102030405060708090a0b0c0d0e0f 000000", []el{{3, "000102030405060708090a0b0c0d0e0f"}}},
		{"identifier 15 ends it", 0xbede, "10 aa f0 00 20 bb 00", []el{{1, "aa"}}},
		{"identifier 0 with a length ends it", 0xbede, "10 aa 01 0000 20 bb", []el{{1, "aa"}}},
		{"runs over the end", 0xbede, "10 aa 23 bb", []el{{1, "aa"}}},
		// RFC 8285, 4.3: an element may have no data.
		{"two-byte form", 0x1000, "01 00 02 01 bb 00 ff 04 01020304 00", []el{{1, ""}, {2, "bb"}, {255, "01020304"}}},
		{"two-byte form with application bits", 0x100f, "02 01 bb 00", []el{{2, "bb"}}},
		{"two-byte, length missing", 0x1000, "02 01 bb 05", []el{{2, "bb"}}},
		{"two-byte, runs over the end", 0x1000, "02 05 bbcc", nil},
		{"another profile", 0x1010, "10 aa 0000", nil},
		{"padding only", 0xbede, "00000000", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []el
			rest := unhex(t, tt.ext)
			for {
				id, data, next, ok := NextElement(tt.profile, rest)
				if !ok {
					break
				}
				got = append(got, el{id, hex.EncodeToString(data)})
				rest = next
			}
			if len(got) != len(tt.want) {
				t.Fatalf("have %v, want %v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("element %d is %v, want %v", i, got[i], tt.want[i])
				}
			}
			h := Header{ExtProfile: tt.profile, Ext: unhex(t, tt.ext)}
			for _, w := range tt.want {
				if data, ok := h.Element(w.id); !ok || hex.EncodeToString(data) != w.data {
					t.Errorf("Element(%d) = %x, %v", w.id, data, ok)
				}
			}
			if _, ok := h.Element(99); ok {
				t.Error("element 99 found")
			}
		})
	}
}

func TestAudioLevel(t *testing.T) {
	tests := []struct {
		b     byte
		dbov  int
		voice bool
	}{{0x00, 0, false}, {0x80, 0, true}, {0x7f, -127, false}, {0x9e, -30, true}}
	for _, tt := range tests {
		if dbov, voice, ok := AudioLevel([]byte{tt.b}); dbov != tt.dbov || voice != tt.voice || !ok {
			t.Errorf("%#x: %d dBov, voice %v, %v", tt.b, dbov, voice, ok)
		}
	}
	if _, _, ok := AudioLevel(nil); ok {
		t.Error("an empty element has a level")
	}
}

func TestEvent(t *testing.T) {
	tests := []struct {
		hex   string
		want  Event
		text  string
		digit byte
	}{
		// RFC 4733, 2.5.2.2 example: digit 9 at 7 dB below, 200 ms at 8 kHz, ended.
		{"09 87 0640", Event{9, true, 7, 1600}, "9", '9'},
		{"01 0a 0320", Event{1, false, 10, 800}, "1", '1'},
		{"0a 3f ffff", Event{10, false, 63, 65535}, "*", '*'},
		{"0b 40 0000", Event{11, false, 0, 0}, "#", '#'}, // the reserved bit is ignored
		{"0f 00 0001", Event{15, false, 0, 1}, "D", 'D'},
		{"10 00 0001", Event{16, false, 0, 1}, "flash", 0},
		{"42 00 0001 00", Event{66, false, 0, 1}, "event 66", 0},
	}
	for _, tt := range tests {
		var e Event
		if !DecodeEvent(unhex(t, tt.hex), &e) || e != tt.want || e.String() != tt.text || e.Digit() != tt.digit {
			t.Errorf("%s: %+v %q", tt.hex, e, e)
		}
	}
	e := Event{Code: 3}
	if DecodeEvent([]byte{1, 2, 3}, &e) || e.Code != 3 {
		t.Error("three bytes accepted as event")
	}
}

func TestDiff(t *testing.T) {
	for _, tt := range []struct {
		a, b uint16
		want int
	}{{1, 0, 1}, {0, 1, -1}, {0, 65535, 1}, {65535, 0, -1}, {32767, 0, 32767}, {32768, 0, -32768}, {5, 5, 0}, {2, 65530, 8}} {
		if got := SeqDiff(tt.a, tt.b); got != tt.want {
			t.Errorf("SeqDiff(%d, %d) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b uint32
		want int64
	}{{160, 0, 160}, {0, 160, -160}, {100, 0xffffffff - 59, 160}, {0xffffffff, 0, -1}, {1 << 31, 0, -1 << 31}} {
		if got := TimestampDiff(tt.a, tt.b); got != tt.want {
			t.Errorf("TimestampDiff(%d, %d) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	b := unhex(t, "b1 e0 fffe 0001e240 deadbeef 00000009 bede 0001 10ff0000 aabb 0002")
	var h Header
	var sum int
	if n := testing.AllocsPerRun(100, func() {
		if Looks(b) && Decode(b, len(b), &h) {
			data, _ := h.Element(1)
			sum += len(data)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if sum == 0 {
		t.Error("nothing was decoded")
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{plain + "0102", "b1 e0 fffe 0001e240 deadbeef 00000009 bede 0001 10ff0000 aabb 0002",
		"90 e0 fffe 0001e240 deadbeef 1000 0002 01000201bb000000 09870640", "8f00"} {
		f.Add(unhex(f, s), 40)
	}
	f.Fuzz(func(t *testing.T, b []byte, wireLen int) {
		whole := bytes.Clone(b)
		var h Header
		ok := Decode(b, wireLen, &h)
		if Looks(b) && !ok {
			t.Fatal("looks like RTP and does not decode")
		}
		if !ok {
			return
		}
		if h.Payload != nil && h.HeaderLen+len(h.Payload)+h.PaddingLen != len(b) {
			t.Fatalf("%d + %d + %d bytes of %d", h.HeaderLen, len(h.Payload), h.PaddingLen, len(b))
		}
		if h.Malformed && wireLen > len(b) {
			t.Fatal("a cut packet is called malformed")
		}
		rest, steps := h.Ext, 0
		for {
			id, data, next, ok := NextElement(h.ExtProfile, rest)
			if !ok {
				break
			}
			AudioLevel(data)
			h.Element(id)
			if len(next) >= len(rest) {
				t.Fatal("the walk does not advance")
			}
			rest = next
			steps++
		}
		h.Element(200)
		h.PayloadLen(wireLen)
		var e Event
		if DecodeEvent(h.Payload, &e) && e.String() == "" {
			t.Fatal("event without text")
		}
		if !bytes.Equal(whole, b) {
			t.Fatal("input was changed")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, bb := range []struct{ name, head string }{
		{"packet=plain", "80 00 fffe 0001e240 deadbeef"},
		{"packet=extension", "90 6f fffe 0001e240 deadbeef bede 0001 10ff0000"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p := append(unhex(b, bb.head), make([]byte, 160)...)
			var h Header
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if !Looks(p) || !Decode(p, len(p), &h) {
					b.Fatal("refused")
				}
			}
		})
	}
}
