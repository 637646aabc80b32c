package sessions

import (
	"math"
	"strings"
	"testing"
)

// RFC 3611 4.7.2 gives this example, with Gmin 16: a burst of 12 packets with
// density 0.33, gaps of 52 (23 and 29) with density 0.04.
const rfc3611 = "11110111111111111111111X111X1011110111111111111111111X1111111111"

func pattern(p string) *stream {
	s := &stream{figures: &figures{}}
	for i, c := range p {
		if c == '1' {
			s.sequence(uint16(i))
			s.packets++
		}
	}
	return s
}

func TestBursts(t *testing.T) {
	long := strings.Repeat("1", 600)
	for _, test := range []struct {
		name, packets                       string
		lost, runs, longest, inPkts, inLost int64
	}{
		{"RFC 3611", rfc3611, 6, 6, 1, 12, 4},
		{"RFC 3611 beyond the window", long + rfc3611 + long, 6, 6, 1, 12, 4},
		{"none", long, 0, 0, 0, 0, 0},
		{"single", long + "0" + long, 1, 1, 1, 0, 0},
		{"two with 16 between", long + "01111111111111111" + "0" + long, 2, 2, 1, 0, 0},
		{"two with 15 between", long + "0111111111111111" + "0" + long, 2, 2, 1, 17, 2},
		{"a run", long + "00000" + long, 5, 1, 5, 5, 5},
		{"a run longer than the window", long + strings.Repeat("0", 700) + long, 700, 1, 700, 700, 700},
		{"a run over the edge of the window", "1" + strings.Repeat("0", 513) + "101", 514, 2, 513, 515, 514},
	} {
		b := pattern(test.packets)
		got := b.losses()
		if got.lost != test.lost || got.runs != test.runs || got.longest != test.longest || got.inPkts != test.inPkts || got.inLost != test.inLost {
			t.Errorf("%s: lost %d in %d runs, longest %d; bursts %d of %d; want %+v", test.name, got.lost, got.runs, got.longest, got.inLost, got.inPkts, test)
		}
		if lost := b.expected() - b.packets; lost != got.lost {
			t.Errorf("%s: %d lost, the stream says %d", test.name, got.lost, lost)
		}
	}
}

// What comes late but within the window was not lost.
func TestBurstsCorrected(t *testing.T) {
	s := &stream{figures: &figures{}}
	send := func(from, to int) {
		for i := from; i < to; i++ {
			if s.sequence(uint16(i)) {
				s.packets++
			}
		}
	}
	send(0, 300)
	send(305, 700) // 300 to 304 come now
	send(300, 305)
	send(700, 1500)
	if b := s.losses(); b.lost != 0 || b.inPkts != 0 {
		t.Errorf("lost %d, %d in bursts", b.lost, b.inPkts)
	}
	// a sender that begins anew ends what was before
	send(1502, 1505)
	send(30000, 30100)
	if b := s.losses(); b.lost != 2 || b.inPkts != 2 {
		t.Errorf("lost %d, %d in bursts; want 2, 2", b.lost, b.inPkts)
	}
}

func TestBurstRatio(t *testing.T) {
	for _, test := range []struct {
		b    bursts
		n    int64
		want float64
	}{
		{bursts{}, 100, 1},
		{bursts{lost: 10, runs: 10}, 1000, 1},            // not below 1
		{bursts{lost: 10, runs: 5}, 1000, 2 * (1 - .01)}, // G.107: mean run over 1/(1-p)
		{bursts{lost: 10, runs: 1}, 1000, 8},             // ends of the permitted ranges
		{bursts{lost: 200, runs: 10}, 1000, 2},
		{bursts{lost: 100, runs: 1}, 100, 1}, // nothing came: no ratio
	} {
		if got := test.b.ratio(test.n); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%+v of %d: %v, want %v", test.b, test.n, got, test.want)
		}
	}
}

// G.107: all parameters at their default give R 93.2 and MOS 4.41; annex B
// and G.109 pair R with MOS, and 4.5 is the upper end.
func TestEModel(t *testing.T) {
	m := emodel{ie: 0, bpl: 4.3}
	if r := m.r(0, 1, 0); r != 93.2 {
		t.Errorf("default R %v", r)
	}
	for _, test := range []struct{ r, mos float64 }{
		{93.2, 4.41}, {90, 4.34}, {80, 4.03}, {70, 3.60}, {60, 3.10}, {50, 2.58}, {0, 1}, {-5, 1}, {3, 1}, {100, 4.5}, {120, 4.5},
	} {
		if got := mosOf(test.r); math.Abs(got-test.mos) > 0.01 {
			t.Errorf("R %v: MOS %v, want %v", test.r, got, test.mos)
		}
	}
	// Ie,eff by hand: at Ppl = Bpl and BurstR 1 it is halfway from Ie to 95
	for _, codec := range []string{"PCMU", "G729", "G723", "GSM-EFR", "iLBC"} {
		ie, bpl, _, ok := impairments(codec, false)
		m := emodel{ie: ie, bpl: bpl}
		if got, want := m.r(bpl, 1, 0), math.Max(0, 93.2-(ie+95)/2); !ok || math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: R %v at a loss of Bpl, want %v", codec, got, want)
		}
	}
	// G.114 gives 150 ms as hardly noticed and 400 ms as the end of what is
	// acceptable (R 50 and 70 are G.109's ends of poor and low)
	for _, test := range []struct{ d, low, high float64 }{{150, 88, 92}, {250, 78, 83}, {400, 55, 70}} {
		m := emodel{bpl: 4.3, delay: test.d}
		if r := m.r(0, 1, 0); r < test.low || r > test.high {
			t.Errorf("R %v at %v ms, want %v to %v", r, test.d, test.low, test.high)
		}
	}
	if _, _, _, ok := impairments("VP8", true); ok {
		t.Error("a video codec is rated")
	}
}

// TWILIO.md D has one example: rtt 100, jitter 5, no loss: R 91.768, MOS 4.38.
func TestSDKScore(t *testing.T) {
	for _, test := range []struct{ rtt, jitter, loss, want float64 }{
		{100, 5, 0, 4.38},
		{0, 0, 0, 4.43},  // latency 10: R 94.518
		{2000, 0, 0, 1},  // latency above 1000: R 0
		{0, 0, 50, 1},    // more than R/2.5 lost: R 0
		{0, 0, 37, 0.99}, // R 94.518-92.5 is held at 6.52
	} {
		got := sdkMOS(test.rtt, test.jitter, test.loss)
		if !got.Known || math.Abs(got.V-test.want) > 0.012 {
			t.Errorf("%+v: %v", test, got)
		}
	}
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1)} {
		if sdkMOS(bad, 1, 1).Known || sdkMOS(1, bad, 1).Known || sdkMOS(1, 1, bad).Known {
			t.Errorf("%v is taken for a metric", bad)
		}
	}
}

// ITU-T G.711 tables 1a and 2a: the first values and the last, at 16 bits; a
// square wave at the end is 0 dBov.
func TestG711(t *testing.T) {
	for _, test := range []struct {
		b    byte
		want uint32
	}{{0xFF, 0}, {0x7F, 0}, {0xFE, 8}, {0x80, 32124}, {0x00, 32124}, {0xEF, 132}, {0xF0, 120}} {
		if got := muLawSample(test.b); got != test.want {
			t.Errorf("mu-law %#x: %d, want %d", test.b, got, test.want)
		}
	}
	for _, test := range []struct {
		b    byte
		want uint32
	}{{0xD5, 8}, {0x55, 8}, {0xAA, 32256}, {0x2A, 32256}, {0xD4, 24}, {0xC5, 264}} {
		if got := aLawSample(test.b); got != test.want {
			t.Errorf("A-law %#x: %d, want %d", test.b, got, test.want)
		}
	}
}

// A sine of known level: its mean square is half its peak's. What energy finds
// of it agrees within what few samples and G.711's rounding allow.
func TestEnergyOfATone(t *testing.T) {
	for _, law := range []struct {
		table    *[256]uint32
		sample   func(byte) uint32
		overload float64
	}{{&muLawPower, muLawSample, muLawOverload}, {&aLawPower, aLawSample, aLawOverload}} {
		for _, hz := range []float64{300, 440, 1000, 1004, 2100, 697, 1633} {
			for _, dbov := range []float64{-10, -20, -30, -45} {
				peak := law.overload * math.Sqrt2 * math.Pow(10, dbov/20)
				payload := make([]byte, 160)
				for i := range payload {
					payload[i] = nearest(law.sample, math.Abs(peak*math.Sin(2*math.Pi*hz*float64(i)/8000+0.3)))
				}
				sum, n := energy(law.table, payload)
				got := 10 * math.Log10(float64(sum)/float64(n)/law.overload/law.overload)
				if math.Abs(got-dbov) > 1.5 {
					t.Errorf("%v Hz at %v dBov: %.2f", hz, dbov, got)
				}
			}
		}
	}
}

// nearest is the byte whose magnitude is closest.
func nearest(sample func(byte) uint32, v float64) (best byte) {
	for b := range 256 {
		if math.Abs(float64(sample(byte(b)))-v) < math.Abs(float64(sample(best))-v) {
			best = byte(b)
		}
	}
	return best
}

func TestDrift(t *testing.T) {
	var d drift
	if d.ppm(8000).Known {
		t.Error("a line through nothing")
	}
	for i := range 100 {
		x := float64(i) * 0.2
		jitter := float64(i*7%11-5) * 8 // ticks, of no trend
		d.add(x, x*8000*(1+50e-6)+jitter)
	}
	if got := d.ppm(8000); !got.Known || math.Abs(got.V-50) > 30 {
		t.Errorf("%v ppm, want 50", got)
	}
}
