package rates

import (
	"cmp"
	"math"
	"slices"
	"unicode/utf8"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/twtrace/twtrace/sessions"
)

// sustained is the sustained rate, in segments a second, or why there is none.
type sustained struct {
	ok            bool
	why           string
	point, lo, hi float64
	method        string
	gaps          int

	changed                 bool
	change                  int // instant from which on the sustained rate is taken
	bend                    int // instant at which the rate changed, as near as lines on both sides tell
	before                  fit // the part up to it, when beforeOK
	beforeOK                bool
	hasBurst                bool
	burst, burstLo, burstHi float64
}

// fit is the batch rule's outcome over some gaps.
type fit struct {
	point, lo, hi float64
	g, h          float64 // seconds a segment, half-width of the whole time
	count         []int64 // segments up to each instant by the charge that was kept
	time          []float64
}

const (
	whyNoBacklog    = "no backlog is shown: no 8 gaps in a row at whose start the next item surely waited already, so items may have left as fast as they came"
	whyNoQueueTimes = "no backlog is shown: queue times are not known"
	whyUncounted    = "how many calls were queued between the two observed ones is not known"
	whyTwo          = "one run with two observed calls has no information on scatter"
	whyNoEnd        = "the scatter is so wide that there is no upper end"
	whyShort        = "the time from first to last instant is less than 8 times its error"
	whyChange       = "the rate changed and fewer than 8 gaps follow"
)

// student is the 97.5 % point of Student's t with df degrees of freedom, to
// nine digits so that it is the same on every machine.
func student(df int) float64 {
	q := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(df)}.Quantile(0.975)
	return math.Round(q*1e9) / 1e9
}

// lines are the running sums over the gaps of some stretches, one after the other.
type lines struct {
	time          []float64 // seconds up to the end of gap i; [0] is 0
	before, after []int64   // segments by both charges
}

func (s *series) lines(st []stretch) lines {
	m := 0
	for _, x := range st {
		m += x.b - x.a
	}
	l := lines{make([]float64, 1, m+1), make([]int64, 1, m+1), make([]int64, 1, m+1)}
	var ns, before, after int64
	for _, x := range st {
		for i := x.a; i < x.b; i++ {
			a, b := &s.at[i], &s.at[i+1]
			ns += b.t - a.t
			before += b.k + a.extra
			after += a.k + a.extra
			l.time = append(l.time, seconds(ns))
			l.before = append(l.before, before)
			l.after = append(l.after, after)
		}
	}
	return l
}

// batches is the batch rule: the gaps are cut into K batches of consecutive
// ones, and the batches' residuals against the mean rate give the half-width of
// the whole time. It is done with both charges; the one with less scatter is kept.
func batches(l lines, p span) (fit, string) {
	m := len(l.time) - 1
	k := min(10, m)
	if m < minGaps {
		return fit{}, whyFew(m + 1)
	}
	ends := make([]int, k+1)
	for j := range ends {
		ends[j] = (2*j*m + k) / (2 * k) // floor(j m/K + 1/2)
	}
	q := student(k - 1)
	f := scatter(l.time, l.before, ends, q)
	if o := scatter(l.time, l.after, ends, q); o.h < f.h {
		f = o
	}
	return f, f.ends(p)
}

func scatter(time []float64, count []int64, ends []int, q float64) fit {
	m, k := len(time)-1, len(ends)-1
	f := fit{g: time[m] / float64(count[m]), count: count, time: time}
	sum := 0.0
	for j := 1; j <= k; j++ {
		e := time[ends[j]] - time[ends[j-1]] - float64(f.g*float64(count[ends[j]]-count[ends[j-1]]))
		sum += float64(e * e)
	}
	f.h = q * math.Sqrt(sum*float64(k)/float64(k-1))
	return f
}

// ends makes the interval from the half-width, the clock's error and the rule
// of three: a skipped tick that m gaps did not show may occur in 3 of them.
func (f *fit) ends(p span) string {
	if p.t < float64(8*p.w) || p.t <= 0 {
		return whyShort
	}
	hw := float64(f.h*f.h) + float64(p.w*p.w)
	rest := p.t - p.idle - math.Sqrt(hw)
	if rest <= 0 {
		return whyNoEnd
	}
	f.lo = float64(p.segMin) / (p.t + math.Sqrt(hw+float64(9*f.g*f.g)))
	f.hi = float64(p.segMax) / rest
	f.point = (float64(p.segMin) + float64(p.segMax)) / 2 / p.t
	return ""
}

// sustain is the sustained rate over the stretches st.
func (s *series) sustain(st []stretch) (r sustained) {
	if len(s.at) < minInstants {
		r.why = whyFew(len(s.at))
		return r
	}
	if len(st) == 0 {
		r.why = whyNoBacklog
		return r
	}
	var p span
	for _, x := range st {
		p = p.plus(s.span(x.a, x.b))
	}
	l := s.lines(st)
	f, why := batches(l, p)
	r.method, r.gaps = "batches", len(l.time)-1
	if f.time != nil && len(st) == 1 && r.gaps+1 >= 30 {
		if c, yes := change(f, p.w); yes {
			r := s.afterChange(st[0], c, 1/f.g)
			r.bend = st[0].a + f.bend(c)
			return r
		}
	}
	return r.with(f, why)
}

func (r sustained) with(f fit, why string) sustained {
	if why != "" {
		r.why = why
		return r
	}
	r.ok, r.point, r.lo, r.hi = true, f.point, f.lo, f.hi
	return r
}

// change finds where the instants depart most from the mean rate, and whether
// that is more than the clock and the scatter between neighbouring blocks explain.
func change(f fit, w float64) (at int, yes bool) {
	m := len(f.time) - 1
	d := 0.0
	for i := range f.time {
		if x := math.Abs(f.time[i] - float64(f.g*float64(f.count[i]))); x > d {
			d, at = x, i
		}
	}
	l := max(2, int(math.Round(math.Sqrt(float64(m))/2)))
	blocks := m / l
	last, sum := 0.0, 0.0
	for j := range blocks {
		e := f.time[(j+1)*l] - f.time[j*l] - float64(f.g*float64(f.count[(j+1)*l]-f.count[j*l]))
		if j > 0 {
			sum += float64((e - last) * (e - last))
		}
		last = e
	}
	v := sum / float64(2*(blocks-1)*l)
	return at, d > w && d > 2*math.Sqrt(v*float64(m))
}

// bend is the place near at where two straight lines, one on each side, leave
// the least squares. Where both rates are close or the clock is coarse, the
// largest residual alone may lie several items off.
func (f fit) bend(at int) int {
	m := len(f.time) - 1
	reach := max(32, m/20)
	a, b := max(0, at-4*reach), min(m, at+4*reach)
	lo, hi := max(a+minGaps, at-reach), min(b-minGaps, at+reach)
	if lo > hi {
		return at
	}
	var left, right line // the right one shrinks while the left one grows
	for i := a; i < lo; i++ {
		left.add(f, i, a, 1)
	}
	for i := lo; i <= b; i++ {
		right.add(f, i, a, 1)
	}
	best, least := at, math.Inf(1)
	for k := lo; k <= hi; k++ {
		left.add(f, k, a, 1) // instant k ends one line and begins the other
		if s := left.squares() + right.squares(); s < least {
			best, least = k, s
		}
		right.add(f, k, a, -1)
	}
	return best
}

// line sums what a least squares line of time over count needs, from instant a.
type line struct{ n, x, y, xx, xy, yy float64 }

func (l *line) add(f fit, i, a int, sign float64) {
	x, y := float64(f.count[i]-f.count[a]), f.time[i]-f.time[a]
	l.n += sign
	l.x += float64(sign * x)
	l.y += float64(sign * y)
	l.xx += float64(sign * x * x)
	l.xy += float64(sign * x * y)
	l.yy += float64(sign * y * y)
}

// squares are what the best line leaves.
func (l *line) squares() float64 {
	sxx, sxy, syy := l.xx-float64(l.x*l.x)/l.n, l.xy-float64(l.x*l.y)/l.n, l.yy-float64(l.y*l.y)/l.n
	if sxx <= 0 {
		return max(syy, 0)
	}
	return max(syy-float64(sxy*sxy)/sxx, 0)
}

// afterChange is the sustained rate after instant x.a+c, and the bucket's depth
// when the part before was faster.
// mean is the rate over both parts.
func (s *series) afterChange(x stretch, c int, mean float64) (r sustained) {
	r.changed, r.change = true, x.a+c
	r.method, r.gaps = "batches-after-change", x.b-r.change
	first := s.span(x.a, r.change)
	if c >= minGaps {
		f, why := batches(s.lines([]stretch{{x.a, r.change}}), first)
		r.before, r.beforeOK = f, why == ""
	}
	if r.gaps < minGaps {
		r.why = whyChange
		return r
	}
	p := s.span(r.change, x.b)
	f, why := batches(s.lines([]stretch{{r.change, x.b}}), p)
	r = r.with(f, why)
	if !r.ok {
		return r
	}
	if mid := float64(first.segMin+first.segMax) / 2; mid > float64(r.point*first.t) {
		s.bucket(&r, x, first, mean)
	}
	return r
}

// bucket is the depth of a token bucket: the items up to and including the
// change, less those that the sustained rate would have let out by then. On each
// side come the items by which the change can be misplaced: one, or as many as
// left in the clock's error w at the mean rate, whose times are all alike.
func (s *series) bucket(r *sustained, x stretch, first span, mean float64) {
	var items, segs int64
	for i := x.a; i <= r.change; i++ {
		items++
		segs += s.at[i].k
		if i < r.change {
			items += s.at[i].extraItems
			segs += s.at[i].extra
		}
	}
	size := float64(segs) / float64(items)
	n := float64(items)
	off := max(1, float64(mean/size*first.w))
	r.hasBurst = true
	r.burst = n - float64(r.point/size*first.t)
	r.burstLo = n - float64(r.hi/size*(first.t+first.w)) - off
	r.burstHi = n - float64(r.lo/size*max(first.t-first.w, 0)) + off
}

// CombineRuns makes one row of the rows of R runs that measured the same. Their
// realised intervals add up; with at least three runs that each had a backlog
// the runs are batches of one sustained rate, method "runs". Column experiment
// is what their names begin with, and an asterisk. ok is false when there is
// nothing to combine. The order of runs does not matter.
func CombineRuns(runs []Rate, opt Options) (Rate, bool) {
	rs := slices.DeleteFunc(slices.Clone(runs), func(r Rate) bool {
		return r.Repeats > 1 || !r.ObservedLowPerS.Known || !(r.SpanS.V > 0) || r.ItemsLow.V <= 0
	})
	if len(rs) == 0 {
		return Rate{}, false
	}
	slices.SortFunc(rs, func(a, b Rate) int {
		return cmp.Or(cmp.Compare(a.Experiment, b.Experiment), cmp.Compare(a.Queue, b.Queue),
			cmp.Compare(a.SpanS.V, b.SpanS.V), cmp.Compare(a.SegmentsLow.V, b.SegmentsLow.V), cmp.Compare(a.SegmentsHigh.V, b.SegmentsHigh.V), cmp.Compare(a.SpanErrorS.V, b.SpanErrorS.V), cmp.Compare(a.IdleS.V, b.IdleS.V))
	})
	first := &rs[0]
	m := &measurement{queue: &queue{segmented: true}, opt: opt, g: opt.guarantee(), tol: opt.tolerance()}
	m.run = Rate{
		Experiment: first.Experiment, Kind: first.Kind, Queue: first.Queue, QueueBy: first.QueueBy, X: first.X, Clock: first.Clock,
		Repeats: int64(len(rs)), GuaranteePerS: m.g, QueueLimitedBy: "unknown", Backlog: true,
		Verdict: undetermined, SustainedVerdict: undetermined, Segments: first.Segments,
	}
	if len(rs) > 1 {
		m.run.Experiment = commonPrefix(first.Experiment, rs[len(rs)-1].Experiment) + "*"
	}
	r := &m.run
	var p span
	segments := int64(0)
	for i := range rs {
		x := &rs[i]
		p = p.plus(span{x.SpanS.V, x.SpanErrorS.V, x.IdleS.V, x.SegmentsLow.V, x.SegmentsHigh.V, x.ItemsLow.V, x.ItemsHigh.V})
		r.Items += x.Items
		r.NotSent += x.NotSent
		r.Failed += x.Failed
		segments += x.Segments.V
		m.segmented = m.segmented && x.Segments.Known && x.SegmentsLow.Known && x.SegmentsHigh.Known
		r.Backlog = r.Backlog && x.Backlog
		if x.X != r.X {
			r.X.Known, r.X.V = false, 0
		}
		if x.Clock != r.Clock {
			r.Clock = "mixed"
		}
		if x.Queue != r.Queue {
			r.Queue = ""
		}
	}
	r.Segments.V, r.Segments.Known = segments, m.segmented
	if m.segmented && r.Items > 0 && segments > 0 {
		r.ExpectedPerS = some(m.g * float64(r.Items) / float64(segments))
	} else {
		r.Segments.V = 0
	}
	m.realised(p)
	m.note.runs = len(rs)
	switch {
	case len(rs) < 3:
		m.sus.why = "fewer than 3 runs"
	case !m.segmented:
		m.sus.why = "the segments of some messages are not known"
	case !r.Backlog:
		m.sus.why = "a run has no backlog that is shown"
	default:
		f := runsFit(rs)
		m.sus.method, m.sus.gaps = "runs", len(rs)
		m.sus = m.sus.with(f, f.ends(p))
	}
	if !r.Backlog {
		m.note.notAllBusy = true
	}
	if m.sus.ok {
		r.SustainedPerS, r.SustainedLowPerS, r.SustainedHighPerS = some(m.sus.point), some(m.sus.lo), some(m.sus.hi)
		r.Method = "runs"
		r.SustainedVerdict = verdict(bounds{lo: m.sus.lo, point: m.sus.point, hi: m.sus.hi, has: true, hasHi: true}, m.g, m.tol)
	}
	r.Reason = m.reason()
	if m.sus.ok {
		r.Reason += " Sustained is what runs of this size tend to, a burst in them included."
	}
	return *r, true
}

// Set is what runs have in common that measured the same: kind, x, promise and
// expected rate, and whether the runs stand apart from others like them.
type Set struct {
	Kind     string
	X        sessions.Int
	Promise  float64
	Expected sessions.Float
	Apart    bool
}

// SetOf is the set that a row of one run belongs to.
func SetOf(r *Rate, apart bool) Set {
	return Set{r.Kind, r.X, r.GuaranteePerS, alikeExpected(r), apart}
}

// Combine makes, of the rows of many runs, one row of each Set. A run that is alone of its set keeps its row. Rows that are
// combined already are left out.
func Combine(rows []Rate, opt Options, apart func(experiment string) bool) []Rate {
	sets := map[Set][]Rate{}
	var order []Set
	for _, r := range rows {
		if r.Repeats > 1 {
			continue
		}
		k := SetOf(&r, apart(r.Experiment))
		if sets[k] == nil {
			order = append(order, k)
		}
		sets[k] = append(sets[k], r)
	}
	var out []Rate
	for _, k := range order {
		rs := sets[k]
		opt.GuaranteePerS = k.Promise
		if r, ok := CombineRuns(rs, opt); ok && len(rs) > 1 {
			out = append(out, r)
		} else {
			out = append(out, rs...)
		}
	}
	return out
}

// commonPrefix is what two names begin with, in whole runes. Of sorted names
// the first and the last have in common what all have.
func commonPrefix(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return a[:n]
}

// runsFit is scatter with whole runs as batches.
func runsFit(rs []Rate) fit {
	var t, s float64
	for i := range rs {
		t += rs[i].SpanS.V
		s += (float64(rs[i].SegmentsLow.V) + float64(rs[i].SegmentsHigh.V)) / 2
	}
	f := fit{g: t / s}
	sum := 0.0
	for i := range rs {
		e := rs[i].SpanS.V - float64(f.g*(float64(rs[i].SegmentsLow.V)+float64(rs[i].SegmentsHigh.V)))/2
		sum += float64(e * e)
	}
	k := float64(len(rs))
	f.h = student(len(rs)-1) * math.Sqrt(sum*k/(k-1))
	return f
}
