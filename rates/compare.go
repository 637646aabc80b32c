package rates

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/stat/combin"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/sessions"
)

// Change is one row of a comparison of two sets of experiments: a metric of one
// group. A group is what is measured alike: kind, x and expected rate.
type Change struct {
	Kind         string // calls, messages; capture: no queue was seen
	X            sessions.Int
	ExpectedPerS sessions.Float // items a second

	Metric string // a column of table rates, calls or streams
	Unit   string
	Sample string // what one sample is: run, call or stream
	OldN   int
	NewN   int

	Old, New  sessions.Float // medians
	ChangePct sessions.Float // of the medians, in % of the old one

	// Hodges-Lehmann: the median of all differences new less old, with the 95 %
	// interval that belongs to the U test (Hollander, Wolfe and Chicken,
	// Nonparametric Statistical Methods, 3rd ed., 4.2 and 4.3).
	Shift, ShiftLow, ShiftHigh sessions.Float
	Delta                      sessions.Float // Cliff's delta: P(new > old) - P(new < old)

	P     sessions.Float // Mann-Whitney U test, two-sided
	PHolm sessions.Float // the same after Holm's correction over all tested rows; null when not tested

	Result                 string // better, worse, ~ or "" when a side is missing
	OldVerdict, NewVerdict string // of the runs of a side together; rows of rates only
	Note                   string

	equal bool // every sample of both sides is the same
}

// level is that of every test and interval of a comparison.
const level = 0.05

// metric says where the samples of a row come from.
type metric struct {
	name, unit, sample string
	lessIsWorse        bool
}

const (
	metricObserved = iota
	metricSustained
	metricWait
	metricSetup
	metricLoss
	metricMOS
	metricCount
)

// metrics are in the order of the rows of a group.
var metrics = [metricCount]metric{
	metricObserved:  {"observed_per_s", "1/s", "run", true},
	metricSustained: {"sustained_per_s", "1/s", "run", true},
	metricWait:      {"wait_p50_s", "s", "run", false},
	metricSetup:     {"post_dial_delay_ms", "ms", "call", false},
	metricLoss:      {"lost_pct", "pct", "stream", false},
	metricMOS:       {"mos", "", "stream", true},
}

type groupOf struct {
	kind     string
	x        sessions.Int
	expected sessions.Float
}

type side struct {
	samples [metricCount][]float64
	rows    []Rate
	tol     float64 // percent, of the last run; 0 unknown
}

// Comparison collects the rows of two sets of experiments, OLD and NEW, one
// experiment a time, and compares them in Changes.
type Comparison struct {
	opt    Options
	groups map[groupOf]*[2]side
}

// NewComparison begins one; o gives the promise and the tolerance of the
// verdict over several runs.
func (o Options) NewComparison() *Comparison {
	return &Comparison{opt: o, groups: map[groupOf]*[2]side{}}
}

// Old takes an experiment of the old set: its rows of tables rates, calls and
// streams, and the tolerance that it was analysed with, in percent, 0 when that
// is not known. Nothing of the slices is kept.
func (c *Comparison) Old(r []Rate, calls []sessions.Call, streams []sessions.Stream, tolerancePct float64) {
	c.add(0, r, calls, streams, tolerancePct)
}

// New takes an experiment of the new set, like Old.
func (c *Comparison) New(r []Rate, calls []sessions.Call, streams []sessions.Stream, tolerancePct float64) {
	c.add(1, r, calls, streams, tolerancePct)
}

func (c *Comparison) group(k groupOf) *[2]side {
	g := c.groups[k]
	if g == nil {
		g = &[2]side{}
		c.groups[k] = g
	}
	return g
}

func (c *Comparison) add(which int, rows []Rate, calls []sessions.Call, streams []sessions.Stream, tolerancePct float64) {
	media := groupOf{kind: "capture"} // where calls and streams belong
	for i := range rows {
		r := &rows[i]
		k := groupOf{r.Kind, r.X, alikeExpected(r)}
		if media.kind != "calls" {
			media = k // the calls' group when there is one, else the first
		}
		s := &c.group(k)[which]
		s.rows = append(s.rows, *r)
		s.tol = tolerancePct
		s.add(metricObserved, r.ObservedPerS)
		s.add(metricSustained, r.SustainedPerS)
		s.add(metricWait, r.WaitP50S)
	}
	if len(calls) == 0 && len(streams) == 0 {
		return
	}
	s := &c.group(media)[which]
	for i := range calls {
		s.add(metricSetup, calls[i].PostDialDelayMS)
	}
	for i := range streams {
		s.add(metricLoss, streams[i].LostPct)
		s.add(metricMOS, streams[i].MOS)
	}
}

func (s *side) add(m int, v sessions.Float) {
	if v.Known && !math.IsNaN(v.V) && !math.IsInf(v.V, 0) {
		s.samples[m] = append(s.samples[m], v.V)
	}
}

// verdicts are the realised and the sustained one of all runs of a side taken
// together; where that is undetermined, what all of them say.
func (s *side) verdicts(tolerancePct float64) (realised, sustained string) {
	switch len(s.rows) {
	case 0:
		return "", ""
	case 1:
		return s.rows[0].Verdict, s.rows[0].SustainedVerdict
	}
	opt := Options{GuaranteePerS: s.rows[0].GuaranteePerS, TolerancePct: cmp.Or(s.tol, tolerancePct)}
	alike := !slices.ContainsFunc(s.rows, func(r Rate) bool { return r.GuaranteePerS != opt.GuaranteePerS })
	if r, ok := CombineRuns(s.rows, opt); ok && alike && r.Repeats == int64(len(s.rows)) {
		realised = r.Verdict
		if r.SustainedPerS.Known {
			sustained = r.SustainedVerdict
		}
	}
	if realised == "" || realised == undetermined {
		realised = cmp.Or(unanimous(s.rows, func(r *Rate) string { return r.Verdict }), realised)
	}
	if sustained == "" {
		sustained = unanimous(s.rows, func(r *Rate) string { return r.SustainedVerdict })
	}
	return cmp.Or(realised, "mixed"), cmp.Or(sustained, "mixed")
}

// unanimous is what all rows say; "" when they differ.
func unanimous(rows []Rate, of func(*Rate) string) string {
	for i := range rows {
		if of(&rows[i]) != of(&rows[0]) {
			return ""
		}
	}
	return of(&rows[0])
}

// alikeExpected is what runs that measured the same are expected to show: with
// mixed sizes it differs in the last digits.
func alikeExpected(r *Rate) sessions.Float {
	if !r.ExpectedPerS.Known {
		return sessions.Float{}
	}
	return sessions.Float{V: significant(r.ExpectedPerS.V), Known: true}
}

// significant is x to four digits.
func significant(x float64) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(x, 'e', 3, 64), 64)
	if err != nil {
		return x
	}
	return v
}

// Changes are the rows, in order of kind, x and expected rate. A row is tested
// when its numbers of samples allow a p of 5 % at all and not all of them are
// equal; rows that could never show a difference are not part of Holm's family,
// since that is known without looking at which side a sample is of (Tarone 1990).
func (c *Comparison) Changes() []Change {
	keys := make([]groupOf, 0, len(c.groups))
	for k := range c.groups {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b groupOf) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), compareOpt(a.x, b.x), compareOpt(b.expected, a.expected))
	})
	var out []Change
	for _, k := range keys {
		g := c.groups[k]
		oldR, oldS := g[0].verdicts(c.opt.TolerancePct)
		newR, newS := g[1].verdicts(c.opt.TolerancePct)
		for m := range metrics {
			old, new := g[0].samples[m], g[1].samples[m]
			if len(old)+len(new) == 0 {
				continue
			}
			r := Change{Kind: k.kind, X: k.x, ExpectedPerS: k.expected, Metric: metrics[m].name, Unit: metrics[m].unit, Sample: metrics[m].sample}
			r.compare(old, new)
			switch m {
			case metricObserved:
				r.OldVerdict, r.NewVerdict = oldR, newR
			case metricSustained:
				r.OldVerdict, r.NewVerdict = oldS, newS
			}
			out = append(out, r)
		}
	}
	holm(out)
	return out
}

// compareOpt puts what is unknown last.
func compareOpt[T cmp.Ordered](a, b decode.Opt[T]) int {
	if a.Known != b.Known {
		if a.Known {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.V, b.V)
}

// holm corrects the p of all tested rows (Holm 1979) and decides.
func holm(rows []Change) {
	var tested []int
	for i := range rows {
		if r := &rows[i]; r.P.Known && !r.equal && leastP(r.OldN, r.NewN) <= level {
			tested = append(tested, i)
		}
	}
	slices.SortStableFunc(tested, func(a, b int) int { return cmp.Compare(rows[a].P.V, rows[b].P.V) })
	least := 0.0
	for i, k := range tested {
		least = max(least, min(1, float64(len(tested)-i)*rows[k].P.V))
		rows[k].PHolm = some(least)
	}
	for i := range rows {
		r := &rows[i]
		switch {
		case r.OldN == 0 || r.NewN == 0:
			continue
		case r.equal && leastP(r.OldN, r.NewN) <= level:
			r.Result, r.Note = "~", "all samples are equal"
			continue
		case !r.PHolm.Known:
			r.Result, r.Note = "~", "need >= 4 samples to detect a difference at 5 %"
			continue
		case r.PHolm.V > level:
			r.Result = "~"
			if leastP(r.OldN, r.NewN)*float64(len(tested)) > level {
				r.Note = "need >= " + strconv.Itoa(samplesFor(len(tested))) + " samples to detect a difference at 5 % among " + strconv.Itoa(len(tested)) + " rows"
			}
			continue
		}
		// The direction is that of the shift; with ties in the middle it is 0 and
		// delta has it.
		up := r.Shift.V > 0 || r.Shift.V == 0 && r.Delta.V > 0
		r.Result = "better"
		if up != lessIsWorse(r.Metric) {
			r.Result = "worse"
		}
	}
}

func lessIsWorse(name string) bool {
	for i := range metrics {
		if metrics[i].name == name {
			return metrics[i].lessIsWorse
		}
	}
	return false
}

// compare fills in what two samples say.
func (r *Change) compare(old, new []float64) {
	old, new = slices.Clone(old), slices.Clone(new)
	slices.Sort(old)
	slices.Sort(new)
	n, m := len(old), len(new)
	r.OldN, r.NewN = n, m
	if n > 0 {
		r.Old = some(quantile(old, 50))
	}
	if m > 0 {
		r.New = some(quantile(new, 50))
	}
	if n == 0 || m == 0 {
		r.Note = "no value in NEW"
		if n == 0 {
			r.Note = "no value in OLD"
		}
		return
	}
	if r.Old.V != 0 {
		r.ChangePct = some(100 * (r.New.V - r.Old.V) / math.Abs(r.Old.V))
	}
	r.equal = min(old[0], new[0]) == max(old[n-1], new[m-1])
	pairs := int64(n) * int64(m)
	greater, equal := int64(0), int64(0)
	for _, v := range new {
		lo, _ := slices.BinarySearch(old, v)
		hi := lo
		if lo < n && old[lo] == v {
			hi, _ = slices.BinarySearch(old, math.Nextafter(v, math.Inf(1)))
		}
		greater += int64(lo)
		equal += int64(hi - lo)
	}
	less := pairs - greater - equal
	r.Delta = some(float64(greater-less) / float64(pairs))
	r.P = some(uTest(old, new, 2*greater+equal))
	r.Shift = some((difference(old, new, (pairs+1)/2) + difference(old, new, pairs/2+1)) / 2)
	if k := intervalRank(n, m); k >= 1 {
		r.ShiftLow, r.ShiftHigh = some(difference(old, new, k)), some(difference(old, new, pairs+1-k))
	}
}

// maxExact bounds the exact distribution: so many samples on both sides
// together. C(50, 25) is below 2^53, so every count is exact in a float64.
const maxExact = 50

// uTest is the two-sided p of twice the U statistic of new over old. Both are
// sorted. With at most maxExact samples it is exact, given the ties (midranks
// are permuted); beyond it is the normal law with correction for ties and for
// continuity.
func uTest(old, new []float64, twiceU int64) float64 {
	n, m := len(old), len(new)
	ranks, ties := midranks(old, new)
	if n+m <= maxExact {
		sums := rankSums(ranks, m)
		w := twiceU + int64(m)*int64(m+1) // twice the rank sum of new
		var low, high, all float64
		for s, c := range sums {
			all += c
			if int64(s) <= w {
				low += c
			}
			if int64(s) >= w {
				high += c
			}
		}
		return min(1, 2*min(low, high)/all)
	}
	a, b, t := float64(n), float64(m), float64(n+m)
	v := a * b / 12 * (t + 1 - ties/(t*(t-1)))
	if !(v > 0) {
		return 1 // all are equal
	}
	d := max(0, math.Abs(float64(twiceU)/2-a*b/2)-0.5)
	return min(1, 2*distuv.UnitNormal.Survival(d/math.Sqrt(v)))
}

// midranks are twice the ranks of both sorted samples together, equal values
// sharing the middle of theirs, in order; ties is the sum of t^3 - t over them.
func midranks(old, new []float64) (twice []int, ties float64) {
	all := slices.Concat(old, new)
	slices.Sort(all)
	twice = make([]int, len(all))
	for i := 0; i < len(all); {
		j := i + 1
		for j < len(all) && all[j] == all[i] {
			j++
		}
		for k := i; k < j; k++ {
			twice[k] = i + j + 1 // ranks i+1 to j
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	return twice, ties
}

// rankSums counts the ways to choose m of the ranks, by their sum.
func rankSums(ranks []int, m int) []float64 {
	most := 0
	for _, r := range ranks[len(ranks)-m:] {
		most += r
	}
	ways := make([][]float64, m+1)
	for k := range ways {
		ways[k] = make([]float64, most+1)
	}
	ways[0][0] = 1
	for i, r := range ranks {
		for k := min(i+1, m); k >= 1; k-- {
			from, to := ways[k-1], ways[k]
			for s := most; s >= r; s-- {
				to[s] += from[s-r]
			}
		}
	}
	return ways[m]
}

// leastP is the smallest two-sided p that n and m samples can give.
func leastP(n, m int) float64 {
	if n < 1 || m < 1 {
		return 1
	}
	return min(1, 2/choices(n+m, n))
}

// choices is the number of ways to choose k of n; in float64, since it does not
// fit an int of 32 bits.
func choices(n, k int) float64 {
	return math.Round(math.Exp(combin.LogGeneralizedBinomial(float64(n), float64(k))))
}

// samplesFor is how many samples a side needs so that one of so many tested
// rows can be significant after Holm's correction.
func samplesFor(rows int) int {
	n := 1
	for n < maxExact/2 && leastP(n, n)*float64(rows) > level {
		n++
	}
	return n
}

// intervalRank is the k for which the k-th smallest and the k-th largest
// difference bound the shift with at least 95 %; 0 when there is none.
func intervalRank(n, m int) int64 {
	if n+m > maxExact {
		a, b := float64(n), float64(m)
		z := distuv.UnitNormal.Quantile(1 - level/2)
		return max(0, int64(math.Floor(a*b/2-z*math.Sqrt(a*b*(a+b+1)/12))))
	}
	ranks := make([]int, n+m)
	for i := range ranks {
		ranks[i] = 2 * (i + 1)
	}
	sums := rankSums(ranks, m)
	all := 0.0
	for _, c := range sums {
		all += c
	}
	below := 0.0
	least := m * (m + 1) // twice the smallest rank sum: U = 0
	for k := 0; ; k++ {
		below += sums[least+2*k]
		if 2*below > level*all {
			return int64(k) // P(U < k) is at most half the level
		}
	}
}

// difference is the k-th smallest, from 1, of all differences new less old of
// two sorted samples. The differences are not written down: the answer is found
// by halving the range of float64, with one pass over the samples a step.
func difference(old, new []float64, k int64) float64 {
	lo, hi := place(new[0]-old[len(old)-1]), place(new[len(new)-1]-old[0])
	for lo < hi {
		mid := lo + (hi-lo)/2
		if countAtMost(old, new, unplace(mid)) >= k {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return unplace(lo)
}

// countAtMost counts the differences new less old that are at most d.
func countAtMost(old, new []float64, d float64) int64 {
	total, i := int64(0), 0
	for _, v := range new { // the larger v, the more of old it takes to come down to d
		for i < len(old) && v-old[i] > d {
			i++
		}
		total += int64(len(old) - i)
	}
	return total
}

// place numbers the float64 in their order; 0 has one place, whatever its sign.
func place(x float64) uint64 {
	b := math.Float64bits(x)
	if x == 0 {
		b = 0
	}
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func unplace(p uint64) float64 {
	if p>>63 != 0 {
		return math.Float64frombits(p &^ (1 << 63))
	}
	if x := math.Float64frombits(^p); x != 0 {
		return x
	}
	return 0 // not the negative zero
}
