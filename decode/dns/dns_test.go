package dns

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	// example.com A, and an answer through an alias and with both addresses.
	query    = "1234 0100 0001 0000 0000 0000 07 6578616d706c65 03 636f6d 00 0001 0001"
	response = `1234 8180 0001 0003 0000 0000 07 6578416d706c45 03 636f6d 00 0001 0001
		c00c 0005 0001 00000e10 0006 03 777777 c00c
		c029 0001 0001 0000003c 0004 c0000201
		c029 001c 0001 0000003c 0010 20010db8000000000000000000000001`
	// The name example of RFC 1035, 4.1.4: F.ISI.ARPA at 20, FOO.F.ISI.ARPA at
	// 40, ARPA at 64, the root at 92; here as questions one after another.
	rfcNames = `0000 8000 0000 0000 0000 0000 0000000000000000
		01 46 03 495349 04 41525041 00 0000000000000000
		03 464f4f c014 00000000000000000000000000000000 0000
		c01a 0000000000000000000000000000000000000000000000000000 00`
)

func TestDecode(t *testing.T) {
	var m Message
	b := unhex(t, response)
	if err := Decode(b, &m); err != nil {
		t.Fatal(err)
	}
	if m.ID != 0x1234 || !m.Response || m.Opcode != 0 || m.Rcode != 0 || m.Truncated || m.Name != "example.com" || m.Type != 1 || m.TypeText != "A" {
		t.Errorf("%+v", m)
	}
	want := []Answer{
		{Name: "example.com", Type: 5, TypeText: "CNAME", TTL: 3600, Target: "www.example.com"},
		{Name: "www.example.com", Type: 1, TypeText: "A", TTL: 60, Addr: netip.MustParseAddr("192.0.2.1")},
		{Name: "www.example.com", Type: 28, TypeText: "AAAA", TTL: 60, Addr: netip.MustParseAddr("2001:db8::1")},
	}
	if !slices.Equal(m.Answers, want) {
		t.Errorf("have %+v\nwant %+v", m.Answers, want)
	}
	if err := Decode(unhex(t, query), &m); err != nil || m.Response || m.Name != "example.com" || m.Answers != nil {
		t.Errorf("query is %+v, %v", m, err)
	}
}

func TestCutKeepsAnswers(t *testing.T) {
	b := unhex(t, response)
	ends := []int{29, 47, 63, 91} // of the question and of each answer
	if ends[3] != len(b) {
		t.Fatalf("the vector has %d bytes", len(b))
	}
	for n := 29; n <= len(b); n++ {
		want := 0
		for want < 3 && n >= ends[want+1] {
			want++
		}
		var m Message
		err := Decode(b[:n], &m)
		if len(m.Answers) != want || (err == nil) != (n == len(b)) || m.Name != "example.com" {
			t.Errorf("%d bytes: %d answers, want %d, error %v", n, len(m.Answers), want, err)
		}
		var we *wire.Error
		if err != nil && (!errors.As(err, &we) || we.Off < 29) {
			t.Errorf("%d bytes: error is %v", n, err)
		}
	}
}

func TestNames(t *testing.T) {
	b := unhex(t, rfcNames)
	for _, tt := range []struct {
		off  int
		want string
		end  int
	}{{20, "f.isi.arpa", 32}, {40, "foo.f.isi.arpa", 46}, {64, "arpa", 66}, {92, ".", 93}} {
		c := wire.NewCursor("dns", b)
		c.Skip("", tt.off)
		if got := name(&c, b); got != tt.want || c.Err() != nil || c.Off() != tt.end {
			t.Errorf("name at %d is %q up to %d (%v), want %q up to %d", tt.off, got, c.Off(), c.Err(), tt.want, tt.end)
		}
	}
	label63 := "3f" + strings.Repeat("61", 63)
	for _, tt := range []struct{ what, hex, want string }{
		{"escapes", "05 612e625c63 04 0020ff41 00", `a\.b\\c.\000\032\255a`},
		{"255 octets", label63 + label63 + label63 + "3d" + strings.Repeat("62", 61) + "00",
			strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61)},
		{"256 octets", label63 + label63 + label63 + "3e" + strings.Repeat("62", 62) + "00", ""},
		{"pointer to itself", "c000", ""},
		{"pointer forward", "c002 0161 00", ""},
		{"pointer beyond the end", "c0ff", ""},
		{"loop within a name", "01 61 c000", ""},
		{"reserved label type", "40 00", ""},
		{"label over the end", "05 6162", ""},
		{"half a pointer", "01 61 c0", ""},
		{"no end", "01 61", ""},
	} {
		b := unhex(t, tt.hex)
		c := wire.NewCursor("dns", b)
		if got := name(&c, b); got != tt.want || (c.Err() == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", tt.what, got, c.Err())
		}
	}
}

func TestTypes(t *testing.T) {
	// One answer each, to a question for the root.
	head := "0001 8180 0001 0001 0000 0000 00 0001 0001 " // 17 bytes
	tests := []struct {
		name, record string
		target       string
		port         uint16
		fails        bool
	}{
		{"NS", "00 0002 0001 00000001 0005 03 6e7331 00", "ns1", 0, false},
		{"PTR", "00 000c 0001 00000001 0005 03 6e7331 00", "ns1", 0, false},
		{"MX", "00 000f 0001 00000001 0007 000a 03 6e7331 00", "ns1", 0, false},
		{"SRV", "00 0021 0001 00000001 000b 0001 0002 13c4 03 6e7331 00", "ns1", 5060, false},
		{"SRV with the multicast class bit", "00 0021 8001 00000001 000b 0001 0002 13c4 03 6e7331 00", "ns1", 5060, false},
		{"NAPTR", "00 0023 0001 00000001 0015 0032 0032 01 73 07 5349502b443254 00 04 5f736970 00", "_sip", 0, false},
		{"HTTPS", "00 0041 0001 00000001 000d 0001 00 0001 0006 02 6832 02 6833", ".", 0, false},
		{"DNAME", "00 0027 0001 00000001 0005 03 6e7331 00", "ns1", 0, false},
		{"TXT", "00 0010 0001 00000001 0004 03 616263", "", 0, false},
		{"TYPE65534", "00 fffe 0001 00000001 0000", "", 0, false},
		{"A of class CH", "00 0001 0003 00000001 0002 0102", "", 0, false},
		{"A of 3 bytes", "00 0001 0001 00000001 0003 010203", "", 0, true},
		{"AAAA of 4 bytes", "00 001c 0001 00000001 0004 01020304", "", 0, true},
		{"CNAME beyond its data", "00 0005 0001 00000001 0003 03 6e73 3100", "", 0, true},
		{"NAPTR beyond its data", "00 0023 0001 00000001 0006 0032 0032 ff 73", "", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			err := Decode(unhex(t, head+tt.record), &m)
			if (err != nil) != tt.fails {
				t.Fatalf("error is %v", err)
			}
			if tt.fails {
				if len(m.Answers) != 0 {
					t.Errorf("answers are %+v", m.Answers)
				}
				return
			}
			if len(m.Answers) != 1 || m.Answers[0].Target != tt.target || m.Answers[0].Port != tt.port || m.Answers[0].Addr.IsValid() {
				t.Fatalf("answers are %+v", m.Answers)
			}
			if kind := m.Answers[0].TypeText; !strings.HasPrefix(tt.name, kind) {
				t.Errorf("type is %s", kind)
			}
		})
	}
}

func TestManyAnswers(t *testing.T) {
	b := unhex(t, "0001 8180 0000 ffff 0000 0000"+strings.Repeat("00 0001 0001 00000001 0004 01020304", 2000))
	var m Message
	if err := Decode(b, &m); err == nil || len(m.Answers) != 1024 {
		t.Errorf("%d answers, error %v", len(m.Answers), err)
	}
}

func TestRcode(t *testing.T) {
	var m Message
	if err := Decode(unhex(t, "0001 8183 0000 0000 0000 0000"), &m); err != nil || m.Rcode != 3 || RcodeText(m.Rcode) != "NXDOMAIN" || RcodeText(15) != "RCODE15" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestLooks(t *testing.T) {
	tests := []struct {
		name, hex string
		want      bool
	}{
		{"query", query, true},
		{"response", response, true},
		{"response cut after the question", response[:101], true},
		{"query for the root's servers", "0001 0000 0001 0000 0000 0000 00 0002 0001", true},
		{"multicast response", "0000 8400 0000 0001 0000 0000 01 61 00 0001 8001 00000078 0004 c0000201", true},
		{"multicast query, unicast response asked", "0000 0000 0002 0000 0000 0000 01 61 00 000c 8001 01 62 00 000c 0001", true},
		{"query with EDNS", "1234 0120 0001 0000 0000 0001 01 61 00 0001 0001 00 0029 1000 00000000 0000", true},
		{"bytes after a query", query + "00", false},
		{"eleven bytes", "1234 0100 0001 0000 0000 00", false},
		{"no question, no answer", "1234 8180 0000 0000 0000 0000 00 0001 0001", false},
		{"status query", strings.Replace(query, "0100", "1100", 1), false},
		{"Z bit", strings.Replace(query, "0100", "0140", 1), false},
		{"query with a response code", strings.Replace(query, "0100", "0103", 1), false},
		{"class 7", query[:len(query)-1] + "7", false},
		{"type 0", strings.Replace(query, "00 0001 0001", "00 0000 0001", 1), false},
		{"NetBIOS name query", strings.Replace(query, "00 0001 0001", "00 0020 0001", 1), false},
		{"RTP", "8000 0001 000000a0 deadbeef" + strings.Repeat("d5", 160), false},
		{"STUN", "0001 0000 2112a442 000102030405060708090a0b", false},
		{"zeros", strings.Repeat("00", 100), false},
	}
	for _, tt := range tests {
		if got := Looks(unhex(t, tt.hex)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestFrame(t *testing.T) {
	q := unhex(t, query)
	stream := append([]byte{0, byte(len(q))}, q...)
	for n := range len(stream) {
		if msg, took, err := Frame(stream[:n]); msg != nil || took != 0 || err != nil {
			t.Errorf("%d bytes: %x, %d, %v", n, msg, took, err)
		}
	}
	msg, n, err := Frame(append(stream, 1, 2, 3))
	if !bytes.Equal(msg, q) || n != len(stream) || err != nil {
		t.Errorf("%x, %d, %v", msg, n, err)
	}
	for _, s := range []string{"0000", "000b 0102030405060708090a0b"} {
		if _, n, err := Frame(unhex(t, s)); err == nil || n != 0 {
			t.Errorf("%s: %d, %v", s, n, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{query, response, rfcNames, "0000 8400 0000 0001 0000 0000 01 61 00 0001 8001 00000078 0004 c0000201",
		"0001 8180 0001 0001 0000 0000 00 0001 0001 00 0023 0001 00000001 0015 0032 0032 01 73 07 5349502b443254 00 04 5f736970 00"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		var m Message
		err := Decode(b, &m)
		if Looks(b) && m.Opcode != 0 {
			t.Fatal("looks like a standard query and is none")
		}
		if len(m.Answers) > maxAnswers {
			t.Fatalf("%d answers", len(m.Answers))
		}
		check := func(s string) {
			if len(s) > 4*maxName || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || 'A' <= r && r <= 'Z' }) {
				t.Fatalf("name %q", s)
			}
		}
		check(m.Name)
		for _, a := range m.Answers {
			check(a.Name)
			check(a.Target)
			if a.TypeText == "" || a.Name == "" {
				t.Fatalf("%+v", a)
			}
		}
		if err != nil && err.Error() == "" {
			t.Fatal("error without text")
		}
		if msg, n, err := Frame(b); err == nil && (n > len(b) || n != 0 && n != len(msg)+2) {
			t.Fatalf("frame of %d", n)
		}
		if !bytes.Equal(whole, b) {
			t.Fatal("input was changed")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	p := unhex(b, response)
	var m Message
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if !Looks(p) || Decode(p, &m) != nil {
			b.Fatal("refused")
		}
	}
}
