package rates

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/combin"

	"github.com/twtrace/twtrace/sessions"
)

func floats(x ...float64) []float64 { return x }

// changeOf compares two samples of one metric.
func changeOf(old, new []float64) Change {
	var r Change
	r.compare(old, new)
	return r
}

// The largest U that is significant at 5 %, two-sided, as any printed table of
// the Mann-Whitney test has it.
func TestUCriticalValues(t *testing.T) {
	for _, c := range []struct{ n, m, u int }{{4, 4, 0}, {5, 5, 2}, {6, 6, 5}, {7, 7, 8}, {8, 8, 13}, {10, 10, 23}, {5, 8, 6}, {20, 20, 127}, {3, 5, 0}} {
		old, new := withU(c.n, c.m, c.u)
		if p := uTest(old, new, int64(2*c.u)); p > 0.05 {
			t.Errorf("n=%d m=%d U=%d: p %.4f, the table says at most 5 %%", c.n, c.m, c.u, p)
		}
		old, new = withU(c.n, c.m, c.u+1)
		if p := uTest(old, new, int64(2*c.u+2)); p <= 0.05 {
			t.Errorf("n=%d m=%d U=%d: p %.4f, the table says more than 5 %%", c.n, c.m, c.u+1, p)
		}
	}
	if p := leastP(3, 3); math.Abs(p-0.1) > 1e-12 {
		t.Errorf("3 and 3 samples: least p %v, want 2/20", p)
	}
	if p := leastP(4, 4); math.Abs(p-2.0/70) > 1e-12 {
		t.Errorf("4 and 4 samples: least p %v, want 2/70", p)
	}
	if n := samplesFor(1); n != 4 {
		t.Errorf("%d samples for one row, want 4", n)
	}
	if n := samplesFor(2); n != 5 { // 2 * 2/70 > 5 %, 2 * 2/252 is not
		t.Errorf("%d samples for two rows, want 5", n)
	}
}

// withU makes samples without ties in which u pairs have new above old.
func withU(n, m, u int) (old, new []float64) {
	for i := range n {
		old = append(old, float64(i+1))
	}
	for range m {
		above := min(u, n)
		u -= above
		new = append(new, float64(above)+0.5+0.001*float64(len(new)))
	}
	slices.Sort(new)
	return old, new
}

// The exact test against every way of labeling the samples, ties or none.
func TestExactIsPermutation(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		n, m := 1+r.IntN(5), 1+r.IntN(5)
		all := make([]float64, n+m)
		for i := range all {
			all[i] = float64(r.IntN(6))
		}
		u := func(pick []int) (twice int64) {
			in := map[int]bool{}
			for _, k := range pick {
				in[k] = true
			}
			for _, k := range pick {
				for i := range all {
					switch {
					case in[i]:
					case all[k] > all[i]:
						twice += 2
					case all[k] == all[i]:
						twice++
					}
				}
			}
			return twice
		}
		pick := make([]int, m)
		for i := range pick {
			pick[i] = n + i
		}
		seen := u(pick)
		var low, high, total float64
		for _, c := range combin.Combinations(n+m, m) {
			total++
			if x := u(c); x <= seen {
				low++
				if x == seen {
					high++
				}
			} else {
				high++
			}
		}
		want := min(1, 2*min(low, high)/total)
		old, new := slices.Clone(all[:n]), slices.Clone(all[n:])
		slices.Sort(old)
		slices.Sort(new)
		if got := uTest(old, new, seen); math.Abs(got-want) > 1e-12 {
			t.Fatalf("%v and %v: p %v, all labelings give %v", old, new, got, want)
		}
	}
}

// Where both exist, the normal law is near the exact one.
func TestNormalIsNearExact(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		var old, new []float64
		for range 26 {
			old, new = append(old, r.NormFloat64()), append(new, r.NormFloat64()+0.4)
		}
		large := changeOf(old, new).P.V
		small := changeOf(old[:25], new[:25])
		d := math.Abs(float64(wins(old[:25], new[:25]))-312.5) - 0.5
		z := math.Erfc(max(0, d) / math.Sqrt(25.0*25*51/12) / math.Sqrt2)
		if math.Abs(small.P.V-z) > 0.01 {
			t.Errorf("exact p %v, normal %v", small.P.V, z)
		}
		if large < 0 || large > 1 {
			t.Errorf("p %v", large)
		}
	}
}

func wins(old, new []float64) (n int) {
	for _, y := range new {
		for _, x := range old {
			if y > x {
				n++
			}
		}
	}
	return n
}

// Shift, interval and delta against the definition, all differences written down.
func TestShiftIsTheMedianOfDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		n, m := 1+r.IntN(12), 1+r.IntN(12)
		var old, new, all []float64
		for range n {
			old = append(old, math.Round(20*r.NormFloat64())/4)
		}
		for range m {
			new = append(new, math.Round(20*r.NormFloat64())/4+1)
		}
		for _, y := range new {
			for _, x := range old {
				all = append(all, y-x)
			}
		}
		slices.Sort(all)
		c := changeOf(old, new)
		if want := (all[(len(all)-1)/2] + all[len(all)/2]) / 2; c.Shift.V != want {
			t.Fatalf("%v and %v: shift %v, want %v", old, new, c.Shift.V, want)
		}
		slices.Sort(old)
		slices.Sort(new)
		for k := range all {
			if got := difference(old, new, int64(k+1)); got != all[k] {
				t.Fatalf("%v and %v: difference %d is %v, want %v", old, new, k+1, got, all[k])
			}
		}
		sum := 0.0
		for _, d := range all {
			if d > 0 {
				sum++
			} else if d < 0 {
				sum--
			}
		}
		if want := sum / float64(len(all)); c.Delta.V != want {
			t.Fatalf("%v and %v: delta %v, want %v", old, new, c.Delta.V, want)
		}
	}
	// Ranks of the interval: U(0.025) as in the same tables, counted from 1.
	for _, c := range []struct {
		n, m int
		k    int64
	}{{3, 3, 0}, {4, 4, 1}, {5, 5, 3}, {6, 6, 6}, {8, 8, 14}, {10, 10, 24}, {20, 20, 128}} {
		if k := intervalRank(c.n, c.m); k != c.k {
			t.Errorf("n=%d m=%d: interval rank %d, want %d", c.n, c.m, k, c.k)
		}
	}
}

// The interval covers the true shift in 95 % of samples or a little more.
func TestShiftIntervalCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{5, 12, 40} {
		covered, wrong := 0, 0
		const runs = 600
		for range runs {
			var old, new []float64
			for range n {
				old, new = append(old, r.ExpFloat64()), append(new, r.ExpFloat64()+0.7)
			}
			if c := changeOf(old, new); c.ShiftLow.V <= 0.7 && 0.7 <= c.ShiftHigh.V {
				covered++
			}
			for i := range new {
				new[i] -= 0.7
			}
			if changeOf(old, new).P.V <= 0.05 {
				wrong++
			}
		}
		if covered < runs*92/100 || covered > runs*99/100 {
			t.Errorf("n=%d: the interval covers in %d of %d", n, covered, runs)
		}
		if wrong > runs*8/100 {
			t.Errorf("n=%d: no difference, but %d of %d are called one", n, wrong, runs)
		}
	}
}

func TestHolm(t *testing.T) {
	row := func(p float64) Change {
		return Change{Metric: "observed_per_s", OldN: 9, NewN: 9, P: some(p), Shift: some(1)}
	}
	// Holm's own order: 4 p1, 3 p2, 2 p3, p4, never falling.
	rows := []Change{row(0.03), row(0.001), row(0.04), row(0.012)}
	holm(rows)
	for i, want := range []float64{0.06, 0.004, 0.06, 0.036} {
		if math.Abs(rows[i].PHolm.V-want) > 1e-12 {
			t.Errorf("row %d: %v, want %v", i, rows[i].PHolm.V, want)
		}
	}
	for i, want := range []string{"~", "better", "~", "better"} {
		if rows[i].Result != want {
			t.Errorf("row %d: %q, want %q", i, rows[i].Result, want)
		}
	}
	// What could never be significant does not weigh on the others.
	few := row(0.1)
	few.OldN, few.NewN = 3, 3
	rows = []Change{row(0.04), few, few}
	holm(rows)
	if rows[0].PHolm.V != 0.04 || rows[0].Result != "better" || rows[1].PHolm.Known || rows[1].Result != "~" || rows[1].Note != "need >= 4 samples to detect a difference at 5 %" {
		t.Errorf("%+v", rows)
	}
	// Too few for the number of rows.
	four := row(0.03)
	four.OldN, four.NewN = 4, 4
	rows = []Change{four, four}
	holm(rows)
	if rows[0].Result != "~" || rows[0].Note != "need >= 5 samples to detect a difference at 5 % among 2 rows" {
		t.Errorf("%+v", rows[0])
	}
}

func TestDirection(t *testing.T) {
	low, high := floats(1, 2, 3, 4, 5), floats(11, 12, 13, 14, 15)
	for name, better := range map[string]bool{"observed_per_s": true, "sustained_per_s": true, "mos": true, "wait_p50_s": false, "post_dial_delay_ms": false, "lost_pct": false} {
		up, down := changeOf(low, high), changeOf(high, low)
		up.Metric, down.Metric = name, name
		rows := []Change{up, down}
		holm(rows)
		want := []string{"worse", "better"}
		if better {
			want = []string{"better", "worse"}
		}
		if rows[0].Result != want[0] || rows[1].Result != want[1] {
			t.Errorf("%s: more is %s, less is %s", name, rows[0].Result, rows[1].Result)
		}
	}
	c := changeOf(low, high)
	if c.ChangePct.V != 100*10.0/3 || c.Delta.V != 1 || c.Shift.V != 10 || math.Abs(c.P.V-2.0/252) > 1e-12 {
		t.Errorf("%+v", c)
	}
}

// Three messages runs a side, 1/s and then 0.9/s: the group's verdict is that of
// all of its runs, of their sums where these are known.
func TestComparison(t *testing.T) {
	at := func(rate float64, shift int) []sessions.Message {
		ms := steady(100)
		for i := range ms {
			ms[i].SentAt = at(math.Floor(float64(i)/rate + 0.1*float64(shift)))
		}
		return ms
	}
	c := Options{}.NewComparison()
	for i := range 5 {
		for which, rate := range []float64{1, 0.9} {
			ms := at(rate+0.0005*float64(i), i)
			exp := fmt.Sprintf("m%d", i)
			rows := Compute(nil, nil, table(ms), Options{})
			rows[0].Experiment = exp
			streams := []sessions.Stream{{LostPct: some(float64(2*which) + 0.1*float64(i)), MOS: some(4)}}
			if which == 0 {
				c.Old(rows, nil, streams, 0)
			} else {
				c.New(rows, nil, streams, 0)
			}
		}
	}
	got := c.Changes()
	want := []string{"observed_per_s worse meets below", "sustained_per_s worse meets below", "wait_p50_s worse  ", "lost_pct worse  ", "mos ~  "}
	if len(got) != len(want) {
		t.Fatalf("%d rows: %+v", len(got), got)
	}
	for i, r := range got {
		if s := r.Metric + " " + r.Result + " " + r.OldVerdict + " " + r.NewVerdict; s != want[i] {
			t.Errorf("%q, want %q: %+v", s, want[i], r)
		}
		if r.OldN != 5 || r.NewN != 5 || r.Kind != "messages" || r.X != known(20) || r.ExpectedPerS.V != 1 {
			t.Errorf("%+v", r)
		}
	}
	if got[4].Note != "all samples are equal" {
		t.Errorf("%+v", got[4])
	}
	// Runs that one by one say nothing may do so together, and rows whose sums
	// are lost fall back on what they agree in.
	s := side{rows: []Rate{{Verdict: "below", SustainedVerdict: undetermined}, {Verdict: "below", SustainedVerdict: undetermined}}}
	if v, u := s.verdicts(0); v != "below" || u != undetermined {
		t.Errorf("verdicts %q %q", v, u)
	}
	s = side{rows: []Rate{{Verdict: "below"}, {Verdict: "meets"}}}
	if v, _ := s.verdicts(0); v != "mixed" {
		t.Errorf("verdict %q", v)
	}
}

func TestOneSided(t *testing.T) {
	c := Options{}.NewComparison()
	ms := steady(100)
	c.New(Compute(nil, nil, table(ms), Options{}), nil, nil, 0)
	for _, r := range c.Changes() {
		if r.Old.Known || r.OldN != 0 || r.NewN != 1 || r.Result != "" || r.Note != "no value in OLD" || r.P.Known {
			t.Errorf("%+v", r)
		}
	}
	if rows := (Options{}).NewComparison().Changes(); len(rows) != 0 {
		t.Errorf("%+v", rows)
	}
}

// Large samples: no quadratic step.
func BenchmarkChange(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	old, new := make([]float64, 100_000), make([]float64, 100_000)
	for i := range old {
		old[i], new[i] = r.NormFloat64(), r.NormFloat64()+0.01
	}
	b.ReportAllocs()
	for b.Loop() {
		changeOf(old, new)
	}
}
