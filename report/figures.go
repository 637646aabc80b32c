package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-echarts/go-echarts/v2/charts"
	"github.com/go-echarts/go-echarts/v2/opts"
	"github.com/go-echarts/go-echarts/v2/types"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// A Figure is drawn twice from the same data: as a static SVG (paper, phones,
// no script) and as ECharts options that a script draws in its place.
type Figure struct {
	ID      string `json:"id"`
	No      int    `json:"no"`
	Heading string `json:"heading,omitempty"`
	Tag     string `json:"tag,omitempty"`
	Caption string `json:"caption"`
	Plots   []Plot `json:"plots"`
}

// A Plot is one drawing: panels one above the other over one x axis.
type Plot struct {
	ID     string  `json:"id"`
	Width  float64 `json:"width"` // px in the wide layout
	X      Axis    `json:"x"`
	XName  string  `json:"x_name"`
	Panels []Panel `json:"panels"`
}

// Axis is a range of values with the ticks to label.
type Axis struct {
	Min   float64 `json:"min"`
	Max   float64 `json:"max"`
	Log   bool    `json:"log,omitempty"`
	Ticks []Tick  `json:"ticks"`
}

// Tick is one labelled place of an axis.
type Tick struct {
	V    float64 `json:"v"`
	Text string  `json:"text"`
}

// Panel is one pair of axes.
type Panel struct {
	Title  string   `json:"title"`
	Height float64  `json:"height"`
	Y      Axis     `json:"y"`
	Bands  []Band   `json:"bands"`
	Series []Series `json:"series"`
	Notes  []Note   `json:"notes"`
}

// Band is a tinted rectangle in data coordinates: what counts as promised.
type Band struct {
	X0 float64 `json:"x0"`
	X1 float64 `json:"x1"`
	Y0 float64 `json:"y0"`
	Y1 float64 `json:"y1"`
}

// Note is a short text in data coordinates.
type Note struct {
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	Text   string  `json:"text"`
	Anchor string  `json:"anchor"` // start is beside a mark, middle and end above the place
	Role   string  `json:"role"`
	Run    int     `json:"run,omitempty"` // whose mark it stands beside
}

// Series is one line, row of marks, row of bars or area. Role says what it
// means and so how it looks: observed, queue, expected, lost, plain.
type Series struct {
	Name   string  `json:"name"`
	Role   string  `json:"role"`
	Form   string  `json:"form"` // points, line, thin, step, dotted, dashes, bars, area
	Label  string  `json:"label,omitempty"`
	Points []Point `json:"points"`
}

// Point is a value with, when known, its interval. An area's Lo is its lower
// edge; a bar reaches from X to X2.
type Point struct {
	X    float64  `json:"x"`
	X2   float64  `json:"x2,omitempty"`
	Y    float64  `json:"y"`
	Lo   *float64 `json:"lo,omitempty"`
	Hi   *float64 `json:"hi,omitempty"`
	Open bool     `json:"open,omitempty"`
	Gap  bool     `json:"gap,omitempty"`  // nothing is known just before: a line begins anew
	Mute bool     `json:"mute,omitempty"` // of a run without a verdict
	Run  int      `json:"run,omitempty"`  // marks of one run stand aside together; 0 of none
	Tip  string   `json:"tip,omitempty"`
	Href string   `json:"href,omitempty"`
}

// niceTicks are about n round places from lo to hi.
func niceTicks(lo, hi float64, n int) []Tick {
	if !(hi > lo) || n < 1 {
		return []Tick{{lo, short(lo, 3)}}
	}
	raw := (hi - lo) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if step*m >= raw*0.999 {
			step *= m
			break
		}
	}
	d := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	if r := step * math.Pow(10, float64(d)); math.Abs(r-math.Round(r)) > 1e-6 {
		d++ // 2.5 needs a digit more
	}
	ticks := []Tick{}
	for i := math.Ceil(lo/step - 1e-9); i*step <= hi+step*1e-9 && len(ticks) < 50; i++ {
		ticks = append(ticks, Tick{i * step, fixed(i*step, d)})
	}
	return ticks
}

// linear is an axis from lo to hi, widened to round ticks.
func linear(lo, hi float64, n int) Axis {
	if !(hi > lo) {
		hi = lo + 1
	}
	t := niceTicks(lo, hi, n)
	if len(t) > 1 {
		step := t[1].V - t[0].V
		lo = math.Floor(lo/step+1e-9) * step
		hi = math.Ceil(hi/step-1e-9) * step
		t = niceTicks(lo, hi, int(math.Round((hi-lo)/step)))
	}
	return Axis{Min: lo, Max: hi, Ticks: t}
}

// logAxis has whole decades around lo..hi.
func logAxis(lo, hi float64) Axis {
	a, b := int(math.Floor(math.Log10(lo)+1e-9)), int(math.Ceil(math.Log10(hi)-1e-9))
	if b <= a {
		b = a + 1
	}
	x := Axis{Min: math.Pow10(a), Max: math.Pow10(b), Log: true, Ticks: []Tick{}}
	for e := a; e <= b; e++ {
		x.Ticks = append(x.Ticks, Tick{math.Pow10(e), fixed(math.Pow10(e), max(0, -e))})
	}
	return x
}

// timeAxis is seconds from 0, labelled with their unit.
func timeAxis(hi float64, n int) Axis {
	a := Axis{Min: 0, Max: hi}
	if !(hi > 0) {
		a.Max = 1
	}
	a.Ticks = niceTicks(0, a.Max, n)
	for i := range a.Ticks {
		if a.Ticks[i].V != 0 {
			a.Ticks[i].Text += nbsp + "s"
		} else {
			a.Ticks[i].Text = "0"
		}
	}
	return a
}

// at places v on 0..1 of the axis.
func (a Axis) at(v float64) float64 {
	if a.Log {
		if v <= 0 {
			return 0
		}
		return (math.Log10(v) - math.Log10(a.Min)) / (math.Log10(a.Max) - math.Log10(a.Min))
	}
	return (v - a.Min) / (a.Max - a.Min)
}

// known is the value of what is known and of a size that can be drawn.
func known(o decode.Opt[float64]) *float64 {
	if !o.Known || math.IsNaN(o.V) || math.Abs(o.V) > 1e15 || o.V != 0 && math.Abs(o.V) < 1e-15 {
		return nil
	}
	v := o.V
	return &v
}

// rateFigure is the study's Figure 1 (calls) or 2 (messages): rates over x. It is nil when there is nothing
// to draw: no row with both x and an observed rate.
func rateFigure(kind string, all []rates.Rate, sim map[string]bool, tol float64, no *int) *Figure {
	var rows []rates.Rate
	promises := map[float64]int{}
	for _, r := range all {
		if r.Kind == kind && r.X.Known && known(r.ObservedPerS) != nil && r.GuaranteePerS > 0 {
			rows = append(rows, r)
			promises[r.GuaranteePerS]++
		}
	}
	if len(rows) == 0 {
		return nil
	}
	promise := rows[0].GuaranteePerS
	for p, n := range promises {
		if m := promises[promise]; n > m || n == m && p < promise {
			promise = p
		}
	}
	other := 0
	rows = slices.DeleteFunc(rows, func(r rates.Rate) bool {
		if r.GuaranteePerS != promise {
			other++
			return true
		}
		return false
	})
	slices.SortStableFunc(rows, func(a, b rates.Rate) int { return cmp.Compare(a.X.V, b.X.V) })

	*no++
	unit, id := kind, "fig"+strconv.Itoa(*no)
	one := unit[:len(unit)-1]
	xs := []float64{}
	for _, r := range rows {
		if x := float64(r.X.V); len(xs) == 0 || xs[len(xs)-1] != x {
			xs = append(xs, x)
		}
	}
	xmax := xs[len(xs)-1]
	pad := max(xmax*0.06, 1)
	xa := Axis{Min: 0, Max: xmax + pad, Ticks: []Tick{}}
	if len(xs) <= 16 {
		for _, x := range xs {
			xa.Ticks = append(xa.Ticks, Tick{x, short(x, 9)})
		}
	} else {
		xa.Ticks = niceTicks(0, xa.Max, 8)
	}

	var queue, observed, sustained, guide Series
	queue = Series{Name: "queue rate", Role: "queue", Form: "points", Label: "queue rate", Points: []Point{}}
	observed = Series{Name: "observed", Role: "observed", Form: "points", Label: "observed", Points: []Point{}}
	sustained = Series{Name: "sustained", Role: "sustained", Form: "points", Points: []Point{}}
	guide = Series{Name: "observed, mean of the runs at one x", Role: "observed", Form: "thin", Points: []Point{}}
	lo, hi := math.Inf(1), math.Inf(-1)
	qlo, qhi := 1.0, 1000.0
	expAt := map[float64]float64{} // largest expected rate at an x
	type mean struct{ sum, n float64 }
	means := map[float64]mean{}
	anySim, anyReal := false, false
	// Runs far above the promise would make the axis useless for all others:
	// they are marked at its upper edge, with their value.
	top := 2.5 * promise
	if kind == "messages" {
		top = 1.6 * promise
	}
	beyond := []Note{}
	muted := []Note{}
	gone := 0
	for n, r := range rows {
		x := float64(r.X.V)
		open := sim[r.Experiment]
		anySim, anyReal = anySim || open, anyReal || !open
		d := max(3, rateDecimals(r.ObservedLowPerS, r.ObservedHighPerS))
		p := Point{X: x, Y: r.ObservedPerS.V, Lo: known(r.ObservedLowPerS), Hi: known(r.ObservedHighPerS), Open: open, Href: "#" + rowID(r), Run: n + 1}
		p.Tip = show(r.Experiment, 60) + ": " + fixed(p.Y, d) + "/s " + interval(r.ObservedLowPerS, r.ObservedHighPerS, d) + ", " + verdictWord(r.Verdict)
		if q := known(r.QueuePerS); q != nil && *q > 0 {
			queue.Points = append(queue.Points, Point{X: x, Y: *q, Open: open, Href: p.Href, Run: n + 1,
				Tip: show(r.Experiment, 60) + ": queued " + sig(*q, 3) + "/s"})
			qlo, qhi = min(qlo, *q), max(qhi, *q)
		}
		if p.Y > top {
			beyond = append(beyond, Note{X: x, Text: "↑" + nbsp + sig(p.Y, 3) + "/s", Anchor: "middle", Role: "observed"})
			continue
		}
		if v := verdictWord(r.Verdict); v == "undetermined" {
			p.Mute = true
			gone++
			muted = append(muted, Note{X: x, Y: p.Y, Text: v, Anchor: "start", Role: "mute", Run: n + 1})
		}
		observed.Points = append(observed.Points, p)
		m := means[x]
		means[x] = mean{m.sum + p.Y, m.n + 1}
		for _, v := range []*float64{&p.Y, p.Lo, p.Hi} {
			if v != nil {
				lo, hi = min(lo, *v), max(hi, min(*v, top))
			}
		}
		if e := known(r.ExpectedPerS); e != nil {
			expAt[x] = max(expAt[x], *e)
			lo, hi = min(lo, *e*(1-tol)), max(hi, *e*(1+tol))
			// The sustained rate counts segments; on this axis it is items.
			if s := known(r.SustainedPerS); s != nil {
				k := *e / r.GuaranteePerS
				sp := Point{X: x, Y: *s * k, Open: open, Href: p.Href, Run: n + 1, Mute: p.Mute}
				if v := known(r.SustainedLowPerS); v != nil {
					w := *v * k
					sp.Lo, lo = &w, min(lo, w)
				}
				if v := known(r.SustainedHighPerS); v != nil {
					w := *v * k
					sp.Hi, hi = &w, max(hi, min(w, top))
				}
				sp.Tip = show(r.Experiment, 60) + ": sustained " + fixed(sp.Y, 3) + "/s, 95 % interval"
				sustained.Points = append(sustained.Points, sp)
			}
		}
	}
	// Runs at one x that show no sustained rate one by one may do so together.
	together := 0
	sets := map[rates.Set][]rates.Rate{}
	var order []rates.Set
	for _, r := range rows {
		if known(r.ExpectedPerS) != nil && r.ObservedPerS.V <= top {
			k := rates.SetOf(&r, sim[r.Experiment])
			if sets[k] == nil {
				order = append(order, k)
			}
			sets[k] = append(sets[k], r)
		}
	}
	for _, k := range order {
		rs := sets[k]
		r, ok := runsTogether(rs, tol)
		if !ok || slices.ContainsFunc(rs, func(r rates.Rate) bool { return known(r.SustainedPerS) != nil }) {
			continue
		}
		together++
		f := rs[0].ExpectedPerS.V / promise
		l, h := r.SustainedLowPerS.V*f, r.SustainedHighPerS.V*f
		lo, hi = min(lo, l), max(hi, min(h, top))
		sustained.Points = append(sustained.Points, Point{X: float64(k.X.V), Y: r.SustainedPerS.V * f, Lo: &l, Hi: &h, Open: k.Apart, Href: "#" + rowID(rs[0]), Run: len(rows) + together,
			Tip: count(r.Repeats) + " runs together: " + fixed(r.SustainedPerS.V*f, 3) + "/s, 95 % interval"})
	}
	for _, x := range xs {
		if means[x].n == 0 {
			continue
		}
		guide.Points = append(guide.Points, Point{X: x, Y: means[x].sum / means[x].n})
	}

	// What was promised for each size: for messages by the segments of GSM-7
	// where the rows bear it out, else (and for calls) the best of x and all
	// larger sizes, for it can only fall. Rows that promise less at their size
	// (UCS-2) get a dash of their own.
	expected := Series{Name: "expected", Role: "expected", Form: "step", Label: "expected", Points: []Point{}}
	bands := []Band{}
	line := make([]float64, len(xs))
	type step struct{ to, y float64 }
	var steps []step
	gsm := kind == "messages" && gsmHolds(rows, promise)
	if gsm {
		for n := int64(1); ; n++ {
			to := gsmMost(n)
			steps = append(steps, step{min(to, xa.Max), promise / float64(n)})
			if to >= xa.Max {
				break
			}
		}
		for i, x := range xs {
			line[i] = promise / float64(gsmSegments(int64(x)))
		}
	} else {
		best := 0.0
		for i := len(xs) - 1; i >= 0; i-- {
			best = max(best, expAt[xs[i]])
			line[i] = best
		}
		for i, x := range xs {
			if i == len(xs)-1 {
				x = xa.Max
			}
			steps = append(steps, step{x, line[i]})
		}
	}
	from := 0.0
	for _, st := range steps {
		hi = max(hi, st.y*(1+tol))
		if st.y > 0 {
			if n := len(expected.Points); n > 0 && expected.Points[n-1].Y == st.y {
				expected.Points[n-1].X = st.to
				bands[len(bands)-1].X1 = st.to
			} else {
				expected.Points = append(expected.Points, Point{X: from, Y: st.y}, Point{X: st.to, Y: st.y})
				bands = append(bands, Band{from, st.to, st.y * (1 - tol), st.y * (1 + tol)})
			}
		}
		from = st.to
	}
	less := Series{Name: "expected of that encoding", Role: "expected", Form: "dashes", Points: []Point{}}
	for _, r := range rows {
		if e := known(r.ExpectedPerS); e != nil {
			if i, ok := slices.BinarySearch(xs, float64(r.X.V)); ok && *e < line[i]*0.999 {
				less.Points = append(less.Points, Point{X: xs[i], Y: *e})
			}
		}
	}

	byBytes, parts := Series{}, ""
	if gsm {
		byBytes, parts = studyRule(promise, xa.Max)
	}

	var ya Axis
	if kind == "calls" {
		ya = linear(min(lo, 0.8*promise), max(hi, 1.2*promise), 4)
	} else {
		ya = linear(0, hi, 5)
	}
	for i := range beyond {
		beyond[i].Y = ya.Max
	}
	noted := 0 // of the notes, those beside marks
	if len(muted) <= 3 {
		noted = len(muted)
		beyond = append(beyond, muted...)
	}
	p := Plot{ID: id + "-a", Width: 960, X: xa, XName: "Number of calls between the two observed ones"}
	if kind == "messages" {
		p.XName = "Message body, bytes"
	}
	if len(queue.Points) > 0 {
		p.Panels = append(p.Panels, Panel{Title: "Queue rate, " + unit + "/s, log scale", Height: 80, Y: logAxis(qlo, qhi),
			Bands: []Band{}, Notes: []Note{}, Series: []Series{queue}})
	}
	series, notes := []Series{expected}, beyond
	if parts != "" {
		series = append(series, byBytes)
		// Named above its first part, within the drawing however narrow.
		a, z := byBytes.Points[0], byBytes.Points[1]
		name := Note{X: (a.X + z.X) / 2, Y: a.Y*(1+tol) + 0.02*ya.Max, Text: byBytes.Name, Anchor: "middle", Role: "expected"}
		if name.X > xa.Max/2 {
			name.X, name.Anchor = z.X, "end"
		}
		notes = append(notes, name)
	}
	if len(less.Points) > 0 {
		series = append(series, less)
	}
	if len(xs) > 1 && kind == "calls" {
		series = append(series, guide)
	}
	if len(sustained.Points) > 0 {
		series = append(series, sustained)
	}
	p.Panels = append(p.Panels, Panel{Title: "Dequeue rate, " + unit + "/s", Height: 240, Y: ya, Bands: bands, Notes: notes,
		Series: append(series, observed)})

	f := &Figure{ID: id, No: *no, Plots: []Plot{p}}
	f.Caption = rateFinding(kind, rows) + " Bars are the certain interval of the rate in that run; the grey band is the promise ± " + short(100*tol, 3) + nbsp + "%, dashed the promise itself."
	if kind == "messages" {
		f.Caption += " The promise is " + short(promise, 3) + "/s for each segment, divided by the segments of one message"
		if gsm {
			f.Caption += ": under GSM-7 160 characters in one, 153 in each of more"
			if len(less.Points) > 0 {
				f.Caption += "; a short dash is that of another encoding"
			}
		}
		f.Caption += "."
		if parts != "" {
			f.Caption += " Dotted is the study's rule of 160 bytes in each segment, where it promises more: at " + parts + nbsp + "bytes."
		}
	}
	if len(sustained.Points) > 0 {
		f.Caption += " The thin mark beside it is the sustained rate with its 95" + nbsp + "% interval"
		if together > 0 {
			f.Caption += ", of three runs or more together where one alone has none"
		}
		f.Caption += "."
	}
	switch {
	case anySim && anyReal:
		f.Caption += " Open marks are simulated, filled ones measured."
	case anySim:
		f.Caption += " Every " + one + " in it is simulated, so all marks are open."
		f.Tag = "simulated"
	}
	if ya.Min > 0 {
		f.Caption += " The lower axis starts at " + short(ya.Min, 3) + "."
	}
	if gone > 0 {
		f.Caption += " A hollow grey mark is a run without a verdict; the row of section 1 says why."
	}
	if n := len(beyond) - noted; n > 0 {
		f.Caption += " " + plural(int64(n), "run lies", "runs lie") + " far above the axis; the arrow says where."
	}
	if other > 0 {
		f.Caption += " " + plural(int64(other), "run", "runs") + " with another promise " + isAre(other) + " in the table only."
	}
	return f
}

// gsmSegments are the segments of a GSM-7 text of n characters (3GPP TS 23.040,
// 9.2.3.24.1: a text of several segments gives 7 of 160 to a header).
func gsmSegments(n int64) int64 {
	if n <= 160 {
		return 1
	}
	return (n + 152) / 153
}

// gsmMost is the longest GSM-7 text of n segments.
func gsmMost(n int64) float64 {
	if n == 1 {
		return 160
	}
	return float64(153 * n)
}

// studyRule is what the study's rule, 160 bytes in each segment, promises where
// that of GSM-7 promises less, up to a size; and which sizes these are.
func studyRule(promise, most float64) (s Series, sizes string) {
	s = Series{Name: "160-byte rule", Role: "expected", Form: "dotted", Points: []Point{}}
	at := func(n int64) float64 { return promise / float64((n+159)/160) }
	differ := func(n int64) bool { return at(n) != promise/float64(gsmSegments(n)) }
	var ranges []string
	for n, end := int64(1), int64(most); n <= end; n++ {
		if !differ(n) {
			continue
		}
		first := n
		s.Points = append(s.Points, Point{X: float64(n - 1), Y: at(n), Gap: len(s.Points) > 0})
		for ; n <= end && differ(n); n++ {
			if y := at(n); y != s.Points[len(s.Points)-1].Y {
				s.Points = append(s.Points, Point{X: float64(n - 1), Y: s.Points[len(s.Points)-1].Y}, Point{X: float64(n - 1), Y: y})
			}
		}
		// The range ends with a step down to the line of GSM-7, or with the axis.
		y := s.Points[len(s.Points)-1].Y
		if n > end {
			s.Points = append(s.Points, Point{X: most, Y: y})
		} else {
			s.Points = append(s.Points, Point{X: float64(n - 1), Y: y}, Point{X: float64(n - 1), Y: at(n)})
		}
		ranges = append(ranges, count(first)+" to "+count(n-1))
	}
	if n := len(ranges); n > 5 {
		ranges = append(ranges[:4], "so on up to "+strings.TrimSpace(ranges[n-1][strings.LastIndex(ranges[n-1], " "):]))
	}
	return s, listText(ranges)
}

// gsmHolds tells whether the promises of rows are those of GSM-7: some row has
// its segments, and none has fewer.
func gsmHolds(rows []rates.Rate, promise float64) bool {
	some := false
	for _, r := range rows {
		e := known(r.ExpectedPerS)
		if e == nil || *e <= 0 {
			continue
		}
		if r.X.V > 153*64 {
			return false
		}
		want := float64(gsmSegments(r.X.V))
		got := promise / *e
		if got < want-0.01 {
			return false
		}
		some = some || got < want+0.01
	}
	return some
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// rateFinding says which x got which verdict, in the words of the verdict rule.
func rateFinding(kind string, rows []rates.Rate) string {
	unit := ""
	if kind == "messages" {
		unit = nbsp + "bytes"
	}
	by := map[string][]string{}
	verdicts := map[int64]map[string]bool{}
	order := []int64{}
	for _, r := range rows {
		if verdicts[r.X.V] == nil {
			verdicts[r.X.V] = map[string]bool{}
			order = append(order, r.X.V)
		}
		verdicts[r.X.V][r.Verdict] = true
	}
	for _, x := range order {
		// A run that decides nothing contradicts none.
		if len(verdicts[x]) > 1 {
			delete(verdicts[x], "undetermined")
			delete(verdicts[x], "")
		}
		v := "disagree"
		if len(verdicts[x]) == 1 {
			for v = range verdicts[x] {
			}
		} else if len(verdicts[x]) == 0 {
			v = "undetermined"
		}
		by[v] = append(by[v], count(x))
	}
	noun := "Calls"
	if kind == "messages" {
		noun = "Messages"
	}
	var parts []string
	for _, v := range []struct{ verdict, text string }{
		{"meets", "at the promised rate"}, {"exceeds", "faster than promised"}, {"below", "slower than promised"}} {
		if len(by[v.verdict]) > 0 {
			if len(by[v.verdict]) == len(order) && len(order) > 1 {
				parts = append(parts, v.text+" at every size")
			} else {
				parts = append(parts, v.text+" at "+listText(by[v.verdict])+unit)
			}
		}
	}
	s := ""
	if len(parts) > 0 {
		s = noun + " left the queue " + listText(parts) + "."
	}
	if x := append(slices.Clone(by["undetermined"]), by[""]...); len(x) > 0 {
		if s != "" {
			s += " "
		}
		s += "At " + listText(x) + unit + " the run does not decide."
	}
	if len(by["disagree"]) > 0 {
		if s != "" {
			s += " "
		}
		s += "At " + listText(by["disagree"]) + unit + " the runs disagree."
	}
	return s
}

// item is one queued thing with what is known of its times, in seconds from
// the run's first time.
type item struct {
	q, d         decode.Time
	wait         decode.Opt[float64]
	left, queued bool
}

// runItems picks the run that the time figures show: of its kind the one with
// the largest x, then the longest, then the first by name.
func runItems(d *table.Dataset, kind string) (string, []item) {
	n := len(d.Arrivals)
	at := func(i int) (string, item) {
		a := &d.Arrivals[i]
		return a.Experiment, item{q: a.QueuedAt, d: a.ArrivedAt, wait: a.WaitS, queued: a.QueuedAt.Known(), left: a.ArrivedAt.Known()}
	}
	if kind != "calls" {
		n = d.Messages.Len()
		var m sessions.Message
		at = func(i int) (string, item) {
			d.Messages.Get(i, &m)
			failed := m.Status == "failed" || m.Status == "undelivered" || m.Status == "canceled"
			return m.Experiment, item{q: m.QueuedAt, d: m.SentAt, wait: m.WaitS, queued: m.QueuedAt.Known(), left: m.SentAt.Known() && !failed}
		}
	}
	// All runs are looked at, and the items of one are kept.
	type run struct {
		from, to, items, left int // rows from up to to hold its items
		first, last           decode.Time
	}
	runs := map[string]*run{}
	var names []string
	for i := range n {
		name, it := at(i)
		r := runs[name]
		if r == nil {
			r = &run{from: i}
			runs[name] = r
			names = append(names, name)
		}
		r.to = i + 1
		r.items++
		if it.left {
			if r.left == 0 || it.d < r.first {
				r.first = it.d
			}
			r.last = max(r.last, it.d)
			r.left++
		}
	}
	xOf := map[string]int64{}
	has := map[string]bool{}
	for _, r := range d.Rates {
		if r.Kind == kind {
			has[r.Experiment] = true
			xOf[r.Experiment] = max(xOf[r.Experiment], r.X.V)
		}
	}
	best := ""
	var bestTook decode.Time
	for _, name := range names {
		r := runs[name]
		if r.left < 2 || !has[name] {
			continue
		}
		took := r.last - r.first
		if best == "" || cmp.Or(cmp.Compare(xOf[name], xOf[best]), cmp.Compare(took, bestTook), cmp.Compare(best, name)) > 0 {
			best, bestTook = name, took
		}
	}
	if best == "" {
		return "", nil
	}
	r := runs[best]
	items := make([]item, 0, r.items)
	for i := r.from; i < r.to; i++ {
		if name, it := at(i); name == best {
			items = append(items, it)
		}
	}
	return best, items
}

// runFigures are the cumulative curves of one run and, where there is data
// enough, its windowed rate, waits and gaps.
func runFigures(d *table.Dataset, kind string, sim map[string]bool, tol float64, no *int) []Figure {
	name, items := runItems(d, kind)
	if name == "" {
		return nil
	}
	expected := 0.0
	for _, r := range d.Rates {
		if r.Kind == kind && r.Experiment == name && r.ExpectedPerS.Known {
			expected = r.ExpectedPerS.V
			break
		}
	}
	one, many := "call", "calls"
	if kind == "messages" {
		one, many = "message", "messages"
	}
	var q, dq []decode.Time
	var waits []float64
	shared := kind == "messages"
	unknown := 0
	for _, it := range items {
		if it.queued {
			q = append(q, it.q)
		}
		if it.left {
			dq = append(dq, it.d)
		} else {
			unknown++
		}
		if w := known(it.wait); it.left && w != nil && *w >= 0 {
			shared = true
			waits = append(waits, *w)
		}
	}
	slices.Sort(q)
	slices.Sort(dq)
	slices.Sort(waits)
	dashed := false                          // whether the promise is drawn over time
	sparse := kind == "calls" && unknown > 0 // some calls were not seen to arrive: place by queue order
	t0 := dq[0]
	if shared && len(q) > 0 && q[0] < t0 {
		t0 = q[0]
	}
	end := dq[len(dq)-1]
	if shared && len(q) > 0 && q[len(q)-1] > end {
		end = q[len(q)-1]
	}
	sec := func(t decode.Time) float64 { return float64(t-t0) / 1e9 }
	T := sec(end)
	if T <= 0 {
		return nil
	}

	// Of a curve that only rises, the first and last point of a column of the
	// drawing are its lowest and highest; a short curve is kept whole.
	const cols = 400
	col := func(t decode.Time) int { return min(cols-1, int(sec(t)/T*cols)) }
	curve := func(ts []decode.Time) []Point {
		pts := make([]Point, 0, min(len(ts), 4*cols))
		for i, t := range ts {
			if len(ts) <= 4*cols || i == 0 || i == len(ts)-1 || col(t) != col(ts[i-1]) || col(t) != col(ts[i+1]) {
				pts = append(pts, Point{X: sec(t), Y: float64(i + 1)})
			}
		}
		return pts
	}
	tag := ""
	if sim[name] {
		tag = "simulated"
	}
	var figs []Figure
	*no++
	f := Figure{ID: "fig" + strconv.Itoa(*no), No: *no, Heading: "Run " + show(name, 60), Tag: tag}
	leave := Series{Name: "left the queue", Role: "observed", Form: "step", Label: "left the queue"}
	if sparse {
		leave.Form, leave.Points = "line", []Point{}
		for i, it := range items {
			if it.left {
				leave.Points = append(leave.Points, Point{X: sec(it.d), Y: float64(i + 1), Open: sim[name], Tip: one + " " + count(int64(i+1)) + " arrives"})
			}
		}
		slices.SortStableFunc(leave.Points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
	} else {
		leave.Points = curve(dq)
	}
	p := Plot{ID: f.ID + "-a", Width: 960, X: timeAxis(T*1.02, 6), XName: "Time since the first " + one + " was queued"}
	panel := Panel{Title: "Queued and left, " + many, Height: 240, Y: linear(0, float64(len(items)), 5), Bands: []Band{}, Notes: []Note{}, Series: []Series{}}
	caption := ""
	if shared && len(q) > 0 {
		qs := Series{Name: "queued", Role: "queue", Form: "step", Label: "queued", Points: curve(q)}
		if !sparse {
			var at float64
			var most int
			area := Series{Name: "backlog", Role: "backlog", Form: "area", Points: []Point{}}
			i, j, edge := 0, 0, -1
			for i < len(q) || j < len(dq) {
				var t decode.Time
				if j >= len(dq) || i < len(q) && q[i] <= dq[j] {
					t = q[i]
				} else {
					t = dq[j]
				}
				for i < len(q) && q[i] <= t {
					i++
				}
				for j < len(dq) && dq[j] <= t {
					j++
				}
				if len(q)+len(dq) <= 4*cols || col(t) != edge || i == len(q) && j == len(dq) {
					low := float64(j)
					area.Points = append(area.Points, Point{X: sec(t), Y: float64(i), Lo: &low})
					edge = col(t)
				}
				if i-j > most {
					most, at = i-j, sec(t)
				}
			}
			panel.Series = append(panel.Series, area)
			caption = plural(int64(len(q)), one, many) + " were queued " + within(q) + "; " + count(int64(len(dq))) + " left " + within(dq)
			if first := int64(dq[0] - q[0]); first > 0 {
				caption += ", the first " + span(first) + " after it was queued"
			}
			caption += ". At most " + count(int64(most)) + " waited at the same time"
			if at > 0 {
				caption += ", " + span(nanos(at, 1e9)) + " into the run"
			}
			caption += ". The area between the curves is the backlog; a horizontal cut through it is one " + one + "’s wait when they leave in order."
		} else {
			caption = plural(int64(len(q)), one, many) + " were queued " + within(q) + ". Of " + plural(int64(unknown), one, many) +
				" no arrival was seen; the " + count(int64(len(dq))) + " that were seen stand at their place in the queue, and the line between them assumes that calls leave in order."
		}
		panel.Series = append(panel.Series, qs)
	} else {
		p.XName = "Time since the first " + one + " left"
		caption = plural(int64(len(dq)), one, many) + " left " + within(dq) + ". When they were queued is not known on the same clock and not drawn."
	}
	if expected > 0 {
		first := leave.Points[0]
		x1 := min(T*1.02, first.X+(panel.Y.Max-first.Y)/expected)
		panel.Series = append(panel.Series, Series{Name: "expected", Role: "expected", Form: "line", Label: "expected " + short(expected, 3) + "/s",
			Points: []Point{{X: first.X, Y: first.Y}, {X: x1, Y: first.Y + (x1-first.X)*expected}}})
	}
	if sparse {
		marks := leave
		marks.Form, marks.Label = "points", ""
		panel.Series = append(panel.Series, leave, marks)
	} else {
		panel.Series = append(panel.Series, leave)
	}
	p.Panels = []Panel{panel}
	f.Plots, f.Caption = []Plot{p}, caption
	figs = append(figs, f)

	if sparse || len(dq) < 20 {
		return figs
	}
	*no++
	g := Figure{ID: "fig" + strconv.Itoa(*no), No: *no, Plots: []Plot{}}
	gl := 0
	letter := func() string { gl++; return string(rune('a' + gl - 1)) }
	var said []string
	span0 := sec(dq[len(dq)-1]) - sec(dq[0])
	if span0 > 30 {
		w := Plot{ID: g.ID + "-" + letter(), Width: 460, X: timeAxis(T*1.02, 4), XName: "time"}
		pn := Panel{Title: "Rate in a sliding window, " + many + "/s", Height: 150, Bands: []Band{}, Notes: []Note{}, Series: []Series{}}
		if expected > 0 {
			pn.Bands = append(pn.Bands, Band{0, w.X.Max, expected * (1 - tol), expected * (1 + tol)})
			dashed = true
			pn.Series = append(pn.Series, Series{Name: "expected", Role: "expected", Form: "line", Points: []Point{{X: 0, Y: expected}, {X: w.X.Max, Y: expected}}})
		}
		hi, lo := expected*1.2, expected*0.8
		var texts []string
		for _, win := range []struct {
			s    int64
			form string
		}{{10, "thin"}, {60, "line"}} {
			// Under five items a window only shows how they fall into it.
			if float64(win.s)*1.5 > span0 || float64(win.s)*float64(len(dq)-1)/span0 < 5 {
				continue
			}
			pts := windowed(dq, t0, win.s)
			for _, x := range pts {
				hi, lo = max(hi, x.Y), min(lo, x.Y)
			}
			texts = append(texts, strconv.FormatInt(win.s, 10)+nbsp+"s")
			pn.Series = append(pn.Series, Series{Name: strconv.FormatInt(win.s, 10) + " s window", Role: "observed", Form: win.form, Points: thinOut(pts, T)})
		}
		pn.Y = linear(lo, hi, 4)
		w.Panels = []Panel{pn}
		if len(texts) > 0 {
			g.Plots = append(g.Plots, w)
			t := "the rate counted in windows of " + listText(texts)
			if len(texts) == 2 {
				t += " (thin and thick)"
			}
			said = append(said, "in "+string(rune('a'+gl-1))+", "+t)
		} else {
			gl--
			dashed = false
		}
	}
	if len(waits) >= 20 {
		w := Plot{ID: g.ID + "-" + letter(), Width: 240, XName: "wait"}
		hi := waits[len(waits)-1]
		w.X = timeAxis(max(hi*1.04, 1e-3), 3)
		s := Series{Name: "share that waited at most", Role: "plain", Form: "line", Points: []Point{{X: max(0, waits[0]), Y: 0}}}
		for i := 1; i <= 200; i++ {
			k := max(0, i*len(waits)/200-1)
			s.Points = append(s.Points, Point{X: waits[k], Y: 100 * float64(k+1) / float64(len(waits))})
		}
		w.Panels = []Panel{{Title: "% that waited at most", Height: 150, Bands: []Band{}, Notes: []Note{}, Series: []Series{s},
			Y: Axis{Min: 0, Max: 100, Ticks: niceTicks(0, 100, 4)}}}
		g.Plots = append(g.Plots, w)
		said = append(said, "in "+string(rune('a'+gl-1))+", half of the "+many+" waited "+span(nanos(quantile(waits, 0.5), 1e9))+" or less, one in twenty "+span(nanos(quantile(waits, 0.95), 1e9))+" or more")
	}
	gaps := make([]float64, 0, len(dq))
	for i := 1; i < len(dq); i++ {
		gaps = append(gaps, float64(dq[i]-dq[i-1])/1e9)
	}
	slices.Sort(gaps)
	if len(gaps) >= 20 {
		w := Plot{ID: g.ID + "-" + letter(), Width: 200, XName: "gap"}
		lo, hi := gaps[0], gaps[len(gaps)-1]
		whole := true
		for _, x := range gaps {
			whole = whole && x == math.Trunc(x)
		}
		// Long tails would make one bar of everything: the last bin is open.
		cut := quantile(gaps, 0.99)
		width := niceStep((min(hi, cut*1.5) - lo) / 12)
		start := math.Floor(lo/width+1e-9) * width
		if whole {
			width = math.Max(1, math.Ceil(width))
			start = lo - width/2
		}
		bins := make([]float64, 0, 24)
		over := 0
		for _, x := range gaps {
			k := int((x - start) / width)
			if k < 0 || k >= 24 {
				over++
				continue
			}
			for len(bins) <= k {
				bins = append(bins, 0)
			}
			bins[k]++
		}
		s := Series{Name: "gaps", Role: "observed", Form: "bars", Points: []Point{}}
		top := 0.0
		for k, n := range bins {
			a := start + float64(k)*width
			s.Points = append(s.Points, Point{X: a, X2: a + width, Y: n, Tip: count(int64(n)) + " gaps of " + sig(max(0, a), 3) + " to " + sig(a+width, 3) + " s"})
			top = max(top, n)
		}
		w.X = Axis{Min: start - width, Max: start + float64(len(bins)+1)*width}
		if start >= 0 {
			w.X.Min = max(w.X.Min, 0)
		}
		w.X.Ticks = niceTicks(w.X.Min, w.X.Max, 3)
		for i := range w.X.Ticks {
			w.X.Ticks[i].Text += nbsp + "s"
		}
		w.Panels = []Panel{{Title: "Gap to the next", Height: 150, Y: linear(0, top, 3), Bands: []Band{}, Notes: []Note{}, Series: []Series{s}}}
		g.Plots = append(g.Plots, w)
		t := "in " + string(rune('a'+gl-1)) + ", the time from one leaving to the next, median " + span(nanos(quantile(gaps, 0.5), 1e9))
		if over > 0 {
			t += " (" + plural(int64(over), "longer gap", "longer gaps") + " beyond the axis)"
		}
		said = append(said, t)
	}
	if len(g.Plots) == 0 {
		*no--
		return figs
	}
	for i := range g.Plots {
		for j := range g.Plots[i].Panels {
			g.Plots[i].Panels[j].Title = string(rune('a'+i)) + "  " + g.Plots[i].Panels[j].Title
		}
	}
	// The widths of three stand for three; fewer share the page.
	switch len(g.Plots) {
	case 2:
		g.Plots[0].Width, g.Plots[1].Width = 460, 460
	case 1:
		g.Plots[0].Width = 960
	}
	g.Caption = "The same run over time. " + capital(joinSemi(said)) + "."
	if dashed {
		g.Caption += " Dashed is the promise."
	}
	return append(figs, g)
}

// within says how long sorted times took.
func within(ts []decode.Time) string {
	d := int64(ts[len(ts)-1] - ts[0])
	if d == 0 {
		return "at the same instant"
	}
	return "within " + span(d)
}

func joinSemi(s []string) string {
	out := ""
	for i, x := range s {
		if i > 0 {
			out += "; "
		}
		out += x
	}
	return out
}

func niceStep(raw float64) float64 {
	if !(raw > 0) {
		return 0.01
	}
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if step*m >= raw*0.999 {
			return step * m
		}
	}
	return step * 10
}

// windowed counts what left in the w seconds around each place, in steps of
// at least a second.
func windowed(ts []decode.Time, t0 decode.Time, w int64) []Point {
	first, last := ts[0], ts[len(ts)-1]
	step := decode.Time(max(1, int64(last-first)/1e9/2000)) * 1e9
	pts := []Point{}
	i, j := 0, 0
	for a := first; a+decode.Time(w)*1e9 <= last+1; a += step {
		b := a + decode.Time(w)*1e9
		for i < len(ts) && ts[i] < a {
			i++
		}
		for j < len(ts) && ts[j] < b {
			j++
		}
		pts = append(pts, Point{X: float64((a+b)/2-t0) / 1e9, Y: float64(j-i) / float64(w)})
	}
	return pts
}

// quantile of sorted values, the lower of two (no value that nothing had).
func quantile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	k := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[min(max(k, 0), len(sorted)-1)]
}

// thinOut keeps of the points in one of 400 columns the first, the lowest, the
// highest and the last, so that no extreme is lost.
func thinOut(pts []Point, T float64) []Point {
	const cols = 400
	if len(pts) <= 4*cols || T <= 0 {
		return pts
	}
	col := func(p Point) int { return min(cols-1, int(p.X/T*cols)) }
	out := make([]Point, 0, 4*cols)
	for i := 0; i < len(pts); {
		j, lo, hi := i, i, i
		for j < len(pts) && col(pts[j]) == col(pts[i]) {
			if pts[j].Y < pts[lo].Y {
				lo = j
			}
			if pts[j].Y > pts[hi].Y {
				hi = j
			}
			j++
		}
		keep := []int{i, min(lo, hi), max(lo, hi), j - 1}
		for k, x := range keep {
			if k == 0 || x != keep[k-1] {
				out = append(out, pts[x])
			}
		}
		i = j
	}
	return out
}

// mediaFigure shows loss and jitter over time of the experiment that lost most.
func mediaFigure(d *table.Dataset, no *int) *Figure {
	type sum struct {
		lost, n int64
		first   decode.Time
		last    decode.Time
	}
	by := map[string]*sum{}
	names := []string{}
	for _, v := range d.StreamIntervals.AllTo("Lost") {
		s := by[v.Experiment]
		if s == nil {
			s = &sum{first: v.At, last: v.At}
			by[v.Experiment] = s
			names = append(names, v.Experiment)
		}
		s.lost += v.Lost
		s.n++
		s.first, s.last = min(s.first, v.At), max(s.last, v.At)
	}
	best := ""
	for i, n := range names {
		if i == 0 || by[n].lost > by[best].lost {
			best = n
		}
	}
	if len(names) == 0 || by[best].n < 4 {
		return nil
	}
	s := by[best]
	if s.last-s.first < 0 || s.last-s.first > 100*365*86400*1e9 {
		return nil // times that no capture has
	}
	secs := int64(s.last-s.first)/1e9 + 1
	width := max(1, (secs+399)/400) // seconds to a column
	cols := int((secs + width - 1) / width)
	lost := make([]float64, cols)
	jit := make([]float64, cols)
	seen := make([]bool, cols)
	mos := make([]float64, cols) // the worst of the streams; 0 unknown
	for _, v := range d.StreamIntervals.All() {
		if v.Experiment != best {
			continue
		}
		k := int(int64(v.At-s.first) / 1e9 / width)
		if k < 0 || k >= cols {
			continue
		}
		lost[k] += float64(v.Lost)
		if j := known(v.JitterMS); j != nil && *j < 1e9 {
			jit[k] = max(jit[k], v.JitterMS.V)
			seen[k] = true
		}
		if m := known(v.MOS); m != nil && *m > 0 && *m <= 5 && (mos[k] == 0 || v.MOS.V < mos[k]) {
			mos[k] = v.MOS.V
		}
	}
	*no++
	f := &Figure{ID: "fig" + strconv.Itoa(*no), No: *no, Heading: "Loss and jitter over time"}
	p := Plot{ID: f.ID + "-a", Width: 960, X: timeAxis(float64(int64(cols)*width), 6), XName: "Time since the first media packet"}
	ls := Series{Name: "packets lost", Role: "lost", Form: "bars", Points: []Point{}}
	js := Series{Name: "largest jitter", Role: "plain", Form: "line", Points: []Point{}}
	ms := Series{Name: "lowest MOS", Role: "plain", Form: "line", Points: []Point{}}
	lmax, jmax := 0.0, 0.0
	for k := range cols {
		x := float64(int64(k) * width)
		if lost[k] > 0 {
			ls.Points = append(ls.Points, Point{X: x, X2: x + float64(width), Y: lost[k], Tip: count(int64(lost[k])) + " lost at " + sig(x, 6) + " s"})
		}
		if seen[k] {
			js.Points = append(js.Points, Point{X: x + float64(width)/2, Y: jit[k], Gap: k > 0 && !seen[k-1]})
		}
		if mos[k] > 0 {
			ms.Points = append(ms.Points, Point{X: x + float64(width)/2, Y: mos[k], Gap: k > 0 && mos[k-1] == 0})
		}
		lmax, jmax = max(lmax, lost[k]), max(jmax, jit[k])
	}
	p.Panels = []Panel{}
	if lmax > 0 {
		p.Panels = append(p.Panels, Panel{Title: "Packets lost", Height: 70, Y: linear(0, lmax, 2), Bands: []Band{}, Notes: []Note{}, Series: []Series{ls}})
	}
	if len(js.Points) > 1 {
		p.Panels = append(p.Panels, Panel{Title: "Largest jitter of any stream, ms", Height: 110, Y: linear(0, max(jmax, 0.1), 3), Bands: []Band{}, Notes: []Note{}, Series: []Series{js}})
	}
	if len(ms.Points) > 1 {
		p.Panels = append(p.Panels, Panel{Title: "Lowest MOS of any stream", Height: 90, Y: Axis{Min: 1, Max: 5, Ticks: niceTicks(1, 5, 4)}, Bands: []Band{}, Notes: []Note{}, Series: []Series{ms}})
	}
	if len(p.Panels) == 0 {
		*no--
		return nil
	}
	f.Plots = []Plot{p}
	each := "each second"
	if width > 1 {
		each = "each " + count(width) + " seconds"
	}
	f.Caption = "All streams of " + show(best, 60) + " together, " + each + ". " + plural(s.lost, "packet was", "packets were") + " lost."
	if s.lost == 0 {
		f.Caption = "All streams of " + show(best, 60) + " together, " + each + ". No packet was lost."
	}
	return f
}

// box is where a panel's axes stand in a drawing.
type box struct{ x, y, w, h float64 }

const plotTop, plotLeft, plotGap, titleUp = 34.0, 46.0, 46.0, 18.0

// boxes lays the panels out for one width and says how high the whole is.
func (p Plot) boxes(width float64) (bs []box, height float64) {
	right := 18.0
	if width >= 900 {
		right = 132
	}
	left := plotLeft
	y := plotTop
	for i, pn := range p.Panels {
		if i > 0 {
			y += plotGap
		}
		bs = append(bs, box{left, y, width - left - right, pn.Height})
		y += pn.Height
	}
	y += 22
	if p.XName != "" {
		y += 20
	}
	return bs, y + 4
}

// chart makes the ECharts options of a plot. Colours are names of CSS
// variables, which the boot script replaces; marks that only a function can
// draw name one of the boot script's functions in renderItem.
func (p Plot) chart() (map[string]any, error) {
	c := charts.NewCustom()
	bs, _ := p.boxes(p.Width)
	px := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	var grids []opts.Grid
	c.XAxisList, c.YAxisList = nil, nil
	for i, pn := range p.Panels {
		grids = append(grids, opts.Grid{Left: px(bs[i].x), Top: px(bs[i].y), Width: px(bs[i].w), Height: px(bs[i].h)})
		last := i == len(p.Panels)-1
		x := opts.XAxis{Type: "value", GridIndex: i, Min: p.X.Min, Max: p.X.Max, SplitLine: &opts.SplitLine{Show: opts.Bool(false)},
			AxisLine:  &opts.AxisLine{Show: opts.Bool(last), LineStyle: &opts.LineStyle{Color: "--mute"}},
			AxisTick:  &opts.AxisTick{Show: opts.Bool(last)},
			AxisLabel: &opts.AxisLabel{Show: opts.Bool(last), Color: "--mute", FontSize: 13, HideOverlap: opts.Bool(true), ShowMaxLabel: opts.Bool(true), ShowMinLabel: opts.Bool(true)}}
		if last {
			x.Name, x.NameLocation, x.NameGap = p.XName, "middle", 28
		}
		c.XAxisList = append(c.XAxisList, x)
		y := opts.YAxis{Type: "value", GridIndex: i, Min: pn.Y.Min, Max: pn.Y.Max, SplitNumber: max(1, len(pn.Y.Ticks)-1), Name: "",
			SplitLine: &opts.SplitLine{Show: opts.Bool(true), LineStyle: &opts.LineStyle{Color: "--hair"}},
			AxisLabel: &opts.AxisLabel{Show: opts.Bool(true), Color: "--mute", FontSize: 13, ShowMaxLabel: opts.Bool(true), ShowMinLabel: opts.Bool(true)},
			AxisLine:  &opts.AxisLine{Show: opts.Bool(false)}}
		if pn.Y.Log {
			y.Type = "log"
		}
		c.YAxisList = append(c.YAxisList, y)
		aside := p.dodge(pn, bs[i])
		for si, s := range pn.Series {
			c.MultiSeries = append(c.MultiSeries, p.chartSeries(i, si, pn, s, aside)...)
		}
	}
	c.SetGlobalOptions(charts.WithGridOpts(grids...), charts.WithAnimation(false),
		charts.WithLegendOpts(opts.Legend{Show: opts.Bool(false)}),
		charts.WithTooltipOpts(opts.Tooltip{Show: opts.Bool(true), Trigger: "item", BackgroundColor: "--paper", BorderColor: "--mute"}),
		charts.WithDataZoomOpts(opts.DataZoom{Type: "inside", XAxisIndex: indexes(len(p.Panels)), FilterMode: "none"}))
	c.Validate()
	o := c.JSON()
	delete(o, "toolbox")
	delete(o, "title")
	return o, nil
}

func indexes(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// roleColor names the CSS variable of a role.
func roleColor(role string) string {
	switch role {
	case "observed", "sustained":
		return "--blue"
	case "queue":
		return "--ochre"
	case "lost":
		return "--red"
	case "expected", "mute":
		return "--mute"
	case "backlog":
		return "--area"
	}
	return "--ink"
}

// chartSeries are the ECharts series of one Series.
func (p Plot) chartSeries(grid, index int, pn Panel, s Series, aside map[int]float64) []charts.SingleSeries {
	color := roleColor(s.Role)
	base := charts.SingleSeries{Name: s.Name, XAxisIndex: grid, YAxisIndex: grid, Color: color}
	data := make([]any, 0, len(s.Points))
	var out []charts.SingleSeries
	if index == 0 {
		for _, b := range pn.Bands {
			band := base
			band.Name, band.Type, band.RenderItem = "promised", types.ChartCustom, types.FuncStr("band")
			band.Data = []any{[]float64{b.X0, b.Y0, b.X1, b.Y1}}
			band.Color = "--band"
			out = append(out, band)
		}
	}
	custom := func(fn string) charts.SingleSeries {
		x := base
		x.Type, x.RenderItem, x.Data = types.ChartCustom, types.FuncStr(fn), data
		return x
	}
	switch s.Form {
	case "points":
		for _, q := range s.Points {
			lo, hi := q.Y, q.Y
			if q.Lo != nil {
				lo = *q.Lo
			}
			if q.Hi != nil {
				hi = *q.Hi
			} else if q.Lo != nil {
				hi = pn.Y.Max
			}
			look := 0.0 // as boot.js knows it: 0 filled, 1 hollow, 2 hollow and grey
			switch {
			case q.Mute:
				look = 2
			case q.Open:
				look = 1
			}
			data = append(data, opts.CustomData{Name: q.Tip, Value: []any{q.X, q.Y, lo, hi, look, q.Href, aside[q.Run]}})
		}
		fn := "mark"
		if s.Role == "sustained" {
			fn = "sustained"
		}
		return append(out, custom(fn))
	case "bars":
		for _, q := range s.Points {
			data = append(data, opts.CustomData{Name: q.Tip, Value: []any{q.X, q.Y, q.X2}})
		}
		return append(out, custom("bar"))
	case "dashes":
		for _, q := range s.Points {
			data = append(data, opts.CustomData{Value: []any{q.X, q.Y}})
		}
		return append(out, custom("dash"))
	case "area":
		edge := make([]float64, 0, 3*len(s.Points))
		for _, q := range s.Points {
			edge = append(edge, q.X, q.Y, *q.Lo)
		}
		data = append(data, opts.CustomData{Value: edge})
		return append(out, custom("area"))
	}
	for _, q := range s.Points {
		if q.Gap {
			data = append(data, []any{q.X, nil})
		}
		data = append(data, []float64{q.X, q.Y})
	}
	x := base
	x.Type, x.Data, x.ShowSymbol = types.ChartLine, data, opts.Bool(false)
	x.Symbol = "none"
	x.LineStyle = &opts.LineStyle{Color: color, Width: 1.5}
	switch {
	case s.Form == "dotted":
		x.LineStyle.Type, x.LineStyle.Width = "dotted", 1
	case s.Role == "expected":
		x.LineStyle.Type, x.LineStyle.Width = "dashed", 1.25
	case s.Form == "thin":
		x.LineStyle.Width, x.LineStyle.Opacity = 1, opts.Float(0.55)
	}
	if s.Form == "step" && s.Role != "expected" {
		x.Step = "end"
	}
	return append(out, x)
}

// live is what the boot script needs to draw a plot: the options and, since
// functions cannot travel in JSON, the texts that stand beside the axes.
type live struct {
	Option map[string]any `json:"option"`
	Width  float64        `json:"width"`
	Height float64        `json:"height"`
	XTicks []Tick         `json:"xticks"`
	YTicks [][]Tick       `json:"yticks"`
	Panels []string       `json:"panels"` // their titles
	Texts  []liveText     `json:"texts"`
}

type liveText struct {
	X      float64 `json:"x"`
	Y      float64 `json:"y"`
	Text   string  `json:"text"`
	Color  string  `json:"color"`
	Right  bool    `json:"right"` // stands right of the axes and moves with them
	At     float64 `json:"at"`    // of a note: its share of the x axis
	Note   bool    `json:"note"`
	Beside bool    `json:"beside"` // a note that begins at its place
}

func (p Plot) live() (*live, error) {
	o, err := p.chart()
	if err != nil {
		return nil, err
	}
	bs, h := p.boxes(p.Width)
	l := &live{Option: o, Width: p.Width, Height: h, XTicks: p.X.Ticks, YTicks: [][]Tick{}, Panels: []string{}, Texts: []liveText{}}
	for i, pn := range p.Panels {
		l.YTicks = append(l.YTicks, pn.Y.Ticks)
		l.Panels = append(l.Panels, pn.Title)
		l.Texts = append(l.Texts, liveText{Y: bs[i].y - titleUp, Text: pn.Title, Color: "--ink"})
		aside := p.dodge(pn, bs[i])
		for _, n := range pn.Notes {
			t := liveText{X: bs[i].x, Y: bs[i].y + bs[i].h*(1-pn.Y.at(n.Y)) - 4, Text: n.Text, Color: roleColor(n.Role), At: p.X.at(n.X), Note: true}
			if n.Anchor == "start" {
				t.X, t.Y, t.Beside = t.X+9+aside[n.Run], t.Y+8, true
			}
			l.Texts = append(l.Texts, t)
		}
		if p.Width >= 900 {
			for _, e := range p.ends(i, bs[i]) {
				l.Texts = append(l.Texts, liveText{X: e.x, Y: e.y, Text: e.text, Color: roleColor(e.role), Right: true})
			}
		}
	}
	return l, nil
}
