package rtcp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

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

// The packets below follow the diagrams of RFC 3550, 6.4 to 6.7, RFC 3611, 4.7
// and RFC 4585, 6; NTP and LSR values are those of RFC 3550, figure 2.
const (
	sr = `81 c8 000c 00000001 b44db705 20000000 0000a000 00000064 00003e80
		00000002 40 ffffff 0001fffe 00000010 b7058000 00054000`
	rr   = `81 c9 0007 00000002 00000001 ff 7fffff 00000005 00000001 b7052000 00054000`
	sdes = `82 ca 0008 00000001 02 03 426f62 01 05 6140622e63 00000000 00000002 01 03 784079 00 0000`
	bye  = `82 cb 0004 00000001 00000002 05 6c65617665 0000`
	app  = `83 cc 0003 00000001 6e616d65 01020304`
	nack = `81 cd 0003 00000001 00000002 00070001`
	pli  = `81 ce 0002 00000001 00000002`
	remb = `8f ce 0005 00000001 00000000 52454d42 01 0b dc 00 00000002`
	xr   = `80 cf 000d 00000001 04 00 0002 0102030405060708
		07 00 0008 00000002 0d 02 20 05 00fa 1388 0064 0078 eb bf 3c 10 5d 7f 2c 2b 4b 00 003c 0078 00f0`
)

func decode(t *testing.T, s string) *Compound {
	t.Helper()
	var c Compound
	if err := Decode(unhex(t, s), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestCompound(t *testing.T) {
	b := unhex(t, sr+rr+sdes+bye+app+nack+pli+remb+xr)
	var c Compound
	if !Looks(b) {
		t.Error("does not look like RTCP")
	}
	// Twice, because the second time everything is used again.
	for range 2 {
		if err := Decode(b, &c); err != nil {
			t.Fatal(err)
		}
	}
	if c.FirstType != TypeSR || c.FirstSSRC != 1 || c.Packets != 9 || len(c.Damaged) != 0 || c.Trailing != 0 {
		t.Fatalf("%+v", c)
	}
	if len(c.SRs) != 1 || len(c.RRs) != 1 || len(c.Sources) != 2 || len(c.Byes) != 1 || len(c.Apps) != 1 ||
		len(c.Feedback) != 3 || len(c.VoIP) != 1 || c.Unread != 1 {
		t.Fatalf("%+v", c)
	}
	s := c.SRs[0]
	if s.SSRC != 1 || s.NTP != 0xb44db70520000000 || s.RTPTime != 40960 || s.Packets != 100 || s.Octets != 16000 {
		t.Errorf("SR is %+v", s)
	}
	if want := (ReportBlock{2, 64, -1, 0x1fffe, 16, 0xb7058000, 0x54000}); !slices.Equal(s.Reports, []ReportBlock{want}) {
		t.Errorf("SR reports %+v, want %+v", s.Reports, want)
	}
	if MiddleNTP(s.NTP) != 0xb7052000 {
		t.Errorf("middle of the NTP time is %#x", MiddleNTP(s.NTP))
	}
	if want := (ReportBlock{1, 255, 0x7fffff, 5, 1, 0xb7052000, 0x54000}); c.RRs[0].SSRC != 2 || !slices.Equal(c.RRs[0].Reports, []ReportBlock{want}) {
		t.Errorf("RR is %+v", c.RRs[0])
	}
	if c.Sources[0].SSRC != 1 || string(c.Sources[0].CNAME) != "a@b.c" || c.Sources[1].SSRC != 2 || string(c.Sources[1].CNAME) != "x@y" {
		t.Errorf("SDES is %+v", c.Sources)
	}
	if !slices.Equal(c.Byes[0].SSRCs, []uint32{1, 2}) || string(c.Byes[0].Reason) != "leave" {
		t.Errorf("BYE is %+v", c.Byes[0])
	}
	if a := c.Apps[0]; a.SSRC != 1 || a.Subtype != 3 || string(a.Name[:]) != "name" || !bytes.Equal(a.Data, []byte{1, 2, 3, 4}) {
		t.Errorf("APP is %+v", a)
	}
	want := []Feedback{{FeedbackNACK, 1, 1, 2}, {FeedbackPLI, 1, 1, 2}, {FeedbackREMB, 15, 1, 0}}
	if !slices.Equal(c.Feedback, want) {
		t.Errorf("feedback is %v, want %v", c.Feedback, want)
	}
	voip := VoIPMetrics{Reporter: 1, SSRC: 2, LossRate: 13, DiscardRate: 2, BurstDensity: 32, GapDensity: 5,
		BurstDuration: 250, GapDuration: 5000, RoundTripDelay: 100, EndSystemDelay: 120, SignalLevel: -21, NoiseLevel: -65,
		RERL: 60, Gmin: 16, RFactor: 93, ExternalRFactor: 127, MOSLQ: 44, MOSCQ: 43, RXConfig: 0x4b,
		JBNominal: 60, JBMaximum: 120, JBAbsMax: 240}
	if c.VoIP[0] != voip {
		t.Errorf("VoIP metrics are\n%+v, want\n%+v", c.VoIP[0], voip)
	}
}

func TestDamage(t *testing.T) {
	tests := []struct {
		name, hex string
		off       int
		typ       Type
		check     func(*Compound) bool
	}{
		{"report count too high keeps the reports there are", "82" + sr[2:] + pli, 0, TypeSR,
			func(c *Compound) bool { return len(c.SRs[0].Reports) == 1 && len(c.Feedback) == 1 }},
		{"bad packet between good ones", rr + "80 c8 0001 00000001" + pli, 32, TypeSR,
			func(c *Compound) bool { return len(c.RRs) == 1 && len(c.SRs) == 0 && len(c.Feedback) == 1 }},
		{"cut in the second packet", pli + rr[:len(rr)-9], 12, TypeRR,
			func(c *Compound) bool { return len(c.Feedback) == 1 && len(c.RRs) == 1 && len(c.RRs[0].Reports) == 0 }},
		{"SDES item over the end", "81 ca 0002 00000001 01 09 6162" + pli, 0, TypeSDES,
			func(c *Compound) bool {
				return c.Sources[0].SSRC == 1 && c.Sources[0].CNAME == nil && len(c.Feedback) == 1
			}},
		{"SDES without end", "81 ca 0002 00000001 01 02 6162" + pli, 0, TypeSDES,
			func(c *Compound) bool { return string(c.Sources[0].CNAME) == "ab" && len(c.Feedback) == 1 }},
		{"BYE reason over the end", "81 cb 0002 00000001 09 616263" + pli, 0, TypeBYE,
			func(c *Compound) bool { return c.Byes[0].SSRCs[0] == 1 && len(c.Feedback) == 1 }},
		{"XR block over the end", "80 cf 0002 00000001 07 00 0008" + pli, 0, TypeXR,
			func(c *Compound) bool { return len(c.VoIP) == 0 && len(c.Feedback) == 1 }},
		{"padding too long", "a0 c9 0002 00000001 000000 0c" + pli, 0, TypeRR,
			func(c *Compound) bool { return c.RRs[0].SSRC == 1 && len(c.Feedback) == 1 }},
		{"APP without name", "80 cc 0001 00000001" + pli, 0, TypeAPP,
			func(c *Compound) bool { return len(c.Apps) == 0 && len(c.Feedback) == 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := decode(t, tt.hex)
			if len(c.Damaged) != 1 || c.Damaged[0].Off != tt.off || c.Damaged[0].Type != tt.typ || c.Damaged[0].Msg == "" {
				t.Fatalf("damage is %+v", c.Damaged)
			}
			if !tt.check(c) {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestWhole(t *testing.T) {
	tests := []struct {
		name, hex string
		check     func(*Compound) bool
	}{
		{"empty RR", "80 c9 0001 00000007", func(c *Compound) bool { return c.RRs[0].SSRC == 7 && len(c.RRs[0].Reports) == 0 }},
		{"padded last packet", "80 c9 0001 00000007 a0 cb 0001 00000004",
			func(c *Compound) bool { return len(c.Byes) == 1 && c.Byes[0].Reason == nil }},
		{"BYE of nobody", "80 cb 0000", func(c *Compound) bool { return len(c.Byes) == 1 && c.FirstSSRC == 0 }},
		{"chunk of two sources and four padding bytes", "82 ca 0005 00000001 01 02 6162 00000000 00000002 00000000",
			func(c *Compound) bool { return len(c.Sources) == 2 && string(c.Sources[0].CNAME) == "ab" }},
		{"unknown type 210", "80 d2 0001 00000001" + pli, func(c *Compound) bool { return c.Unread == 1 && len(c.Feedback) == 1 }},
		{"profile extension after the reports", "80 c9 0002 00000007 deadbeef", func(c *Compound) bool { return len(c.RRs) == 1 }},
		{"SRTCP index and tag", "80 c9 0001 00000007 0000000180 01020304050607080910",
			func(c *Compound) bool { return len(c.RRs) == 1 && c.Trailing == 15 }},
		{"three bytes too many", pli + "818181", func(c *Compound) bool { return c.Trailing == 3 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := decode(t, tt.hex)
			if len(c.Damaged) != 0 || !tt.check(c) {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	var c Compound
	for _, s := range []string{"", "80c900", "40c90001 00000001", "80bf0001 00000001", "80e00001 00000001"} {
		err := Decode(unhex(t, s), &c)
		var we *wire.Error
		if !errors.As(err, &we) || we.Proto != "rtcp" {
			t.Errorf("%q: error is %v", s, err)
		}
		if Looks(unhex(t, s)) {
			t.Errorf("%q looks like RTCP", s)
		}
	}
}

func TestLooks(t *testing.T) {
	tests := []struct {
		name, hex string
		want      bool
	}{
		{"SR", sr, true},
		{"RR only", rr, true},
		{"reduced-size feedback, RFC 5506", pli, true},
		{"SR cut by the snap length", sr[:40], true},
		{"SR shorter than its count of 31", "9f c8 0006 00000001", false},
		{"RR with a length no datagram has", "81 c9 ffff 00000001", false},
		{"feedback of 8 bytes", "81 ce 0001 00000001", false},
		{"SRTCP", "80 c9 0001 00000007 ff1e2d3c 80000001 01020304050607080910", true},
		{"type 192", "80 c0 0001 00000001", true},
		{"type 223", "80 df 0001 00000001", true},
		{"RTP with marker and payload type 96", "80 e0 0001 00000001 00000001", false},
	}
	for _, tt := range tests {
		if got := Looks(unhex(t, tt.hex)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestFeedbackKinds(t *testing.T) {
	tests := []struct {
		typ  Type
		fmt  byte
		want string
	}{
		{TypeRTPFB, 1, "NACK"}, {TypeRTPFB, 3, "TMMBR"}, {TypeRTPFB, 4, "TMMBN"}, {TypeRTPFB, 11, "CCFB"}, {TypeRTPFB, 15, "TWCC"},
		{TypeRTPFB, 2, "other"}, {TypePSFB, 1, "PLI"}, {TypePSFB, 2, "SLI"}, {TypePSFB, 3, "RPSI"}, {TypePSFB, 4, "FIR"},
		{TypePSFB, 15, "AFB"}, {TypePSFB, 9, "other"},
	}
	for _, tt := range tests {
		c := decode(t, hex.EncodeToString([]byte{0x80 | tt.fmt, byte(tt.typ), 0, 2, 0, 0, 0, 1, 0, 0, 0, 2}))
		if got := c.Feedback[0].Kind.String(); got != tt.want {
			t.Errorf("%v format %d is %s, want %s", tt.typ, tt.fmt, got, tt.want)
		}
	}
}

func TestUnixNano(t *testing.T) {
	date := func(s string) int64 {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixNano()
	}
	tests := []struct {
		ntp  uint64
		want string
	}{
		// RFC 5905, figure 4 gives the seconds of the first three dates.
		{2208988800 << 32, "1970-01-01T00:00:00Z"},
		{2272060800 << 32, "1972-01-01T00:00:00Z"},
		{3155587200 << 32, "1999-12-31T00:00:00Z"},
		{3155587200<<32 | 1<<31, "1999-12-31T00:00:00.5Z"},
		{1 << 63, "1968-01-20T03:14:08Z"},                               // first second with the highest bit, RFC 4330, 3
		{0xffffffff << 32, "2036-02-07T06:28:15Z"},                      // last second of era 0
		{0xffffffff80000000, "2036-02-07T06:28:15.5Z"},                  //
		{1 << 31, "2036-02-07T06:28:16.5Z"},                             // seconds are 0: era 1
		{1 << 32, "2036-02-07T06:28:17Z"},                               //
		{0x7fffffff << 32, "2104-02-26T09:42:23Z"},                      // last second of era 1's half
		{3155587200<<32 | 4294967, "1999-12-31T00:00:00.001Z"},          // 0.001 s is 4294967.296
		{3155587200<<32 | 0xffffffff, "1999-12-31T00:00:01Z"},           // 233 ps below is nearer to the second
		{3155587200<<32 | 4, "1999-12-31T00:00:00.000000001Z"},          // 0.93 ns
		{3155587200<<32 | 0xfffffffb, "1999-12-31T00:00:00.999999999Z"}, // 1.16 ns below
	}
	for _, tt := range tests {
		if got := UnixNano(tt.ntp); got != date(tt.want) {
			t.Errorf("%#x is %s, want %s", tt.ntp, time.Unix(0, got).UTC().Format(time.RFC3339Nano), tt.want)
		}
	}
	if UnixNano(0) != 0 {
		t.Error("no time has a time")
	}
}

func TestNoAllocation(t *testing.T) {
	b := unhex(t, sr+rr+sdes+bye+app+nack+pli+remb+xr+"81 cb 0001 00000001 05"+"8f")
	var c Compound
	if n := testing.AllocsPerRun(100, func() {
		if !Looks(b) || Decode(b, &c) != nil {
			t.Error("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{sr, rr, sdes, bye, app, nack, remb, xr, sr + sdes, "80 c9 0001 00000007 80000001 0102", "a0 c9 0000 a0 cb 0001 00000004"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := bytes.Clone(b)
		var c Compound
		err := Decode(b, &c)
		if Looks(b) && err != nil {
			t.Fatalf("looks like RTCP: %v", err)
		}
		if !bytes.Equal(whole, b) {
			t.Fatal("input was changed")
		}
		if err != nil {
			return
		}
		if c.Packets == 0 || c.Packets > len(b)/4 || c.Trailing < 0 || c.Trailing >= len(b) {
			t.Fatalf("%d packets, %d trailing bytes of %d", c.Packets, c.Trailing, len(b))
		}
		for _, d := range c.Damaged {
			if d.Off < 0 || d.Off+4 > len(b) || Type(b[d.Off+1]) != d.Type {
				t.Fatalf("damage at %d of %d", d.Off, len(b))
			}
		}
		for _, r := range c.SRs {
			if n := UnixNano(r.NTP); r.NTP != 0 && MiddleNTP(r.NTP)>>16 != uint32(uint16(r.NTP>>32)) {
				t.Fatal(n)
			}
			for _, b := range r.Reports {
				if b.CumulativeLost < -1<<23 || b.CumulativeLost >= 1<<23 {
					t.Fatalf("%d lost", b.CumulativeLost)
				}
			}
		}
		for _, fb := range c.Feedback {
			if fb.Kind == FeedbackBad || fb.Kind.String() == "unknown" {
				t.Fatal("feedback without kind")
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, bb := range []struct{ name, hex string }{{"packet=sr+sdes", sr + sdes}, {"packet=rr", rr}} {
		b.Run(bb.name, func(b *testing.B) {
			p := unhex(b, bb.hex)
			var c Compound
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if !Looks(p) || Decode(p, &c) != nil {
					b.Fatal("refused")
				}
			}
			if binary.BigEndian.Uint32(p[4:]) != c.FirstSSRC {
				b.Fatal("wrong SSRC")
			}
		})
	}
}
