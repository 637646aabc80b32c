// Package rates measures how fast a provider takes queued calls and messages
// off their queues, how fast they were queued, and how sure both numbers are.
//
// It knows rows of tables only: calls as they were queued and as they arrived,
// call and message resources. Out comes one row of table rates for each queue:
// the realised rate of the run with an interval that is certain, the sustained
// rate of the service with a 95 % interval, a verdict for each against the
// promise, and a sentence that says why. docs/measurement.md gives
// the definitions and the simulation that backs them; the method of the study
// ("Uncovering Twilio: Insights into Cloud Communication Services", section 5)
// is the case of two observed calls.
//
// Steps: items.go makes the items of each queue from the rows; series.go turns
// them into instants, finds the stretches with a sure backlog and sums spans;
// sustain.go has the batch rule, the change test and repeated runs; order.go
// has overtaking, waits and Little's law; queueside.go has who limited the queue
// rate, and the network's part; reason.go has the sentences; curve.go has what a
// picture needs.
//
// Units: instants are integer nanoseconds, a mid-point and a half-width; spans
// are seconds in float64; rates are items or segments a second. Sums run in one
// fixed order and products are rounded before they are added, so that the bits
// are the same on machines that fuse the two. Nothing of the input is aliased
// or kept.
//
// Not handled: two changes in one run, a clock that drifts or steps inside a
// run. Only arithmetic over rows may enter this room; no input, no output.
package rates

import (
	"math"
	"slices"
	"time"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/sessions"
)

// Options are the user's choices; the zero value means the defaults.
type Options struct {
	GuaranteePerS float64      // promised rate, segments a second; 0 is 1/s
	TolerancePct  float64      // of the expected rate; 0 is 5
	Segmenting    string       // "", "provider", "gsm", "160"; "" is provider, else gsm
	QueueBy       string       // "", "account", "from", "service"; "": calls by account; messages by service, else from
	CallX         sessions.Int // calls between the two observed ones, when a manifest says so
	MessageX      sessions.Int // body bytes, when a manifest says so
	Endpoint      string       // the observed endpoint, when a manifest says so
	CallCreated   string       // what date_created of a call is: "", "accepted", "dialed"; "" is accepted

	// What packets show beside the rows. Neither is changed or kept.
	Posts     []sessions.Post    // in any order
	Latencies []sessions.Latency // at most one a call

	// CaptureLoss says what the capture itself lost of its signaling, as the
	// beginning of a sentence; "" nothing. The reason of a rate of arrivals has it.
	CaptureLoss string
}

func (o Options) guarantee() float64 {
	if g := o.GuaranteePerS; g >= 1e-9 && g <= 1e9 {
		return g
	}
	return 1
}

func (o Options) tolerance() float64 {
	if t := o.TolerancePct; t > 0 && t < 100 {
		return t / 100
	}
	return 0.05
}

// Compute makes the rates of one run. arrivals are in queue order; messages
// and calls in any order. Nothing of the input is kept or changed.
func Compute(arrivals []sessions.Arrival, calls []sessions.CallResource, messages *sessions.Messages, opt Options) []Rate {
	var out []Rate
	list := queues(arrivals, calls, messages, opt)
	posted := postsByQueue(list, opt.Posts)
	for i, q := range list {
		q.posts = posted[i]
		out = append(out, q.measure(opt))
	}
	return out
}

func (q *queue) measure(opt Options) Rate {
	m := &measurement{queue: q, opt: opt, g: opt.guarantee(), tol: opt.tolerance()}
	m.run = Rate{
		Experiment: q.experiment, Kind: q.kind, Queue: q.name, QueueBy: q.by, Repeats: 1,
		GuaranteePerS: m.g, QueueLimitedBy: "unknown", Clock: "provider",
		Verdict: undetermined, SustainedVerdict: undetermined, X: q.x,
	}
	m.count()
	m.queueRate()
	s := newSeries(q.items, q.segmented, q.exact)
	if q.observed() >= 2 {
		m.observedCalls(s)
	} else {
		m.timed(s)
	}
	m.order()
	m.queueSide()
	m.latency()
	m.run.Reason = m.reason() + m.captureLoss()
	return m.run
}

// captureLoss is what the capture's own loss means for a rate of arrivals.
func (m *measurement) captureLoss() string {
	if c := m.run.Clock; m.opt.CaptureLoss == "" || c == "provider" || c == "" {
		return ""
	}
	return " " + m.opt.CaptureLoss + ": an arrival may have come before it was seen, or be missing; intervals and verdicts are bounds unless that happened."
}

// measurement is one queue on its way to a row.
type measurement struct {
	*queue
	opt  Options
	g    float64 // guarantee, segments a second
	tol  float64 // tolerance, a fraction
	run  Rate
	p    span   // of the realised rate
	seg  bounds // realised rate in segments a second
	sus  sustained
	note notes
}

// bounds is an interval of a rate with its point; hi and point only when hasHi.
type bounds struct {
	lo, point, hi float64
	has, hasHi    bool
}

func (m *measurement) count() {
	r := &m.run
	var segs int64
	for i := range m.items {
		it := &m.items[i]
		switch {
		case it.failed:
			r.Failed++
		case it.d != 0 || it.c != 0:
			r.Items++
			segs += int64(it.k)
		case m.kind == "messages" || it.class != left: // a call without a time may have left unseen
			r.NotSent++
		}
	}
	if !m.segmented {
		return
	}
	r.Segments = sessions.Int{V: segs, Known: true}
	if r.Items > 0 {
		r.ExpectedPerS = some(m.g * float64(r.Items) / float64(segs))
		if k, ok := m.equalSize(); ok {
			r.ExpectedPerS = some(m.g / float64(k))
		}
	}
}

// equalSize tells the segments of an item when all that left have the same.
func (q *queue) equalSize() (int32, bool) {
	var k int32
	for i := range q.items {
		if it := &q.items[i]; it.failed || it.d == 0 && it.c == 0 {
			continue
		} else if k == 0 {
			k = it.k
		} else if k != it.k {
			return 0, false
		}
	}
	return k, k > 0
}

// queueRate is the rate at which items were accepted, over all that have a
// queue time: those that failed later were accepted as well.
func (m *measurement) queueRate() {
	var e extremes
	n, lacking := int64(0), int64(0)
	for i := range m.items {
		if it := &m.items[i]; it.q != 0 {
			e.add(it.q, it.hq)
			n++
		} else {
			lacking++
		}
	}
	if n < 2 {
		return
	}
	t, w := e.span()
	b := certain(t, w, 0, n-1, n-1+lacking)
	r := &m.run
	r.QueueLowPerS = some(b.lo)
	if b.hasHi {
		r.QueuePerS, r.QueueHighPerS = some(b.point), some(b.hi)
	}
}

// certain is the interval that holds min..max things in a span of t within w,
// of which at most idle was idle. Without an upper end there is no point either.
func certain(t, w, idle float64, min, max int64) bounds {
	b := bounds{has: true}
	if t+w > 0 {
		b.lo = float64(min) / (t + w)
	} else {
		b.has = false
	}
	if t > w && t-w-idle > 0 {
		b.hasHi = true
		b.hi = float64(max) / (t - w - idle)
		b.point = (float64(min) + float64(max)) / 2 / t
	}
	return b
}

// realised writes the realised rate of span p.
func (m *measurement) realised(p span) {
	r := &m.run
	m.p = p
	r.SpanS, r.SpanErrorS, r.IdleS = some(p.t), some(p.w), some(p.idle)
	r.ItemsLow, r.ItemsHigh = decode.Some(p.itemMin), decode.Some(p.itemMax)
	if m.segmented {
		r.SegmentsLow, r.SegmentsHigh = decode.Some(p.segMin), decode.Some(p.segMax)
	}
	m.seg = certain(p.t, p.w, p.idle, p.segMin, p.segMax)
	it := certain(p.t, p.w, p.idle, p.itemMin, p.itemMax)
	if !it.has {
		return
	}
	r.ObservedLowPerS = some(it.lo)
	if it.hasHi {
		r.ObservedPerS, r.ObservedHighPerS = some(it.point), some(it.hi)
		if m.segmented {
			r.ObservedSegmentsPerS = some(m.seg.point)
		}
	}
	if r.Backlog && m.segmented {
		r.Verdict = verdict(m.seg, m.g, m.tol)
	}
}

// timed measures a queue by the times of its own items.
func (m *measurement) timed(s *series) {
	n := len(s.at)
	if n < 2 {
		m.note.few = true
		m.sus.why = whyFew(n)
		if n == 0 {
			m.run.Clock = ""
			if m.observed() == 1 {
				m.run.Clock = "capture"
			}
		}
		return
	}
	st := m.backlog(s)
	if len(st) > 0 {
		m.run.Backlog = true
		var p span
		for _, x := range st {
			p = p.plus(s.span(x.a, x.b))
		}
		m.note.part = s.gapsOutside(st)
		m.realised(p)
	} else {
		m.realised(s.span(0, n-1))
	}
	m.sustain(s, st)
}

// backlog finds the stretches and how much of the series is surely busy.
func (m *measurement) backlog(s *series) []stretch {
	busy, shown := s.busy()
	m.note.noQueueTimes = !shown
	n := 0
	for _, b := range busy {
		if b {
			n++
		}
	}
	if len(busy) > 0 && shown {
		m.run.BusyPct = some(100 * float64(n) / float64(len(busy)))
	}
	return stretches(busy)
}

// sustain writes the sustained rate and the bucket.
func (m *measurement) sustain(s *series, st []stretch) {
	r := &m.run
	if !m.segmented {
		m.sus.why = "the segments of some messages are not known"
		return
	}
	m.sus = s.sustain(st)
	if len(st) == 0 && m.sus.why == whyNoBacklog && m.note.noQueueTimes {
		m.sus.why = whyNoQueueTimes
	}
	if m.sus.changed {
		r.ChangeAt = sessions.Time(s.at[m.sus.bend].t)
	}
	if !m.sus.ok {
		return
	}
	r.SustainedPerS, r.SustainedLowPerS, r.SustainedHighPerS = some(m.sus.point), some(m.sus.lo), some(m.sus.hi)
	r.Method = m.sus.method
	r.SustainedVerdict = verdict(bounds{lo: m.sus.lo, point: m.sus.point, hi: m.sus.hi, has: true, hasHi: true}, m.g, m.tol)
	if m.sus.hasBurst {
		r.BurstItems, r.BurstLowItems, r.BurstHighItems = some(m.sus.burst), some(m.sus.burstLo), some(m.sus.burstHi)
	}
}

// observedCalls is the study's method: the first and the last call whose
// arrival was captured, and the calls queued from after the first up to the
// last. The times between, when resources give them, make the sustained rate.
func (m *measurement) observedCalls(s *series) {
	m.run.Clock = "capture"
	m.note.fifo = true
	p, ok := m.twoCalls()
	if ok {
		m.realised(p)
	}
	// Enough captured arrivals are a series of their own; the calls without a
	// capture are then items without a time.
	if m.observed() >= minInstants {
		own := slices.Clone(m.items)
		for i := range own {
			own[i].d, own[i].hd = own[i].c, own[i].hc
		}
		s = newSeries(own, true, m.exact)
	}
	if len(s.at) < 2 {
		m.sus.why = whyTwo
		return
	}
	two := m.note
	st := m.backlog(s)
	m.note = two
	m.sustain(s, st)
}

// twoCalls is the span between the first and the last observed call.
func (m *measurement) twoCalls() (span, bool) {
	first, last := -1, -1
	for i := range m.items {
		if m.items[i].c == 0 {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	a, b := &m.items[first], &m.items[last]
	var sure, possible, seen int64
	for i := first + 1; i <= last; i++ {
		switch it := &m.items[i]; {
		case it.c != 0:
			sure++
			seen++
		case it.class == left:
			sure++
		case it.class == waiting || it.class == maybe:
			possible++
		}
	}
	possible += sure
	counted := a.q != 0 && b.q != 0
	if x := m.opt.CallX; x.Known && x.V >= 0 && x.V < 1<<40 {
		if s := x.V + seen; !counted {
			sure, possible = s, s
		} else {
			if s < sure || s > possible {
				m.note.manifestSays, m.note.counted = x.V, sure-seen
				m.note.disagree = true
			}
			sure, possible = min(sure, s), max(possible, s)
		}
	} else if !counted {
		m.note.uncounted = true
		m.sus.why = whyUncounted
		return span{}, false
	}
	t := seconds(b.c - a.c)
	w := seconds(a.hc + b.hc)
	if t < 0 {
		m.note.backwards = true
		return span{}, false
	}
	p := span{t: t, w: w, segMin: sure, segMax: possible, itemMin: sure, itemMax: possible}
	u, known := idle(m.items[first:last+1], t)
	switch {
	case !known:
		m.note.noQueueTimes = true
	case u > t/10:
		m.note.idle = u
	default:
		p.idle = u
		m.run.Backlog = true
		m.note.even = true
	}
	return p, true
}

// idle bounds how long the queue between two observed calls can have been
// empty, if service was even: how late item i came after its turn. The smallest
// wait l is that of the first call, so its arrival cancels; the half-widths of
// the queue times are added, so that the bound is one.
func idle(items []item, t float64) (float64, bool) {
	n := 0
	for i := 1; i < len(items); i++ {
		if it := &items[i]; it.class == left || it.c != 0 {
			n++
		}
	}
	a := &items[0]
	if a.q == 0 || n == 0 {
		return 0, false
	}
	u, place := 0.0, 0
	for i := 1; i < len(items); i++ {
		it := &items[i]
		if it.class != left && it.c == 0 {
			continue
		}
		if it.q == 0 {
			return 0, false
		}
		late := seconds(it.q+it.hq-(a.q-a.hq)) - float64(t*float64(place))/float64(n)
		u = max(u, late)
		place++
	}
	return u, true
}

func verdict(b bounds, e, tol float64) string {
	switch {
	case !b.has || !b.hasHi:
		return undetermined
	case b.lo > e*(1+tol):
		return "exceeds"
	case b.hi < e*(1-tol):
		return "below"
	case b.lo >= e*(1-tol):
		return "meets"
	}
	return undetermined
}

const undetermined = "undetermined"

func seconds(ns int64) float64 { return float64(ns) / float64(time.Second) }

// some is a number that is written; what is not finite is unknown, so that no
// NaN or infinity ever leaves the package.
func some(x float64) sessions.Float {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return sessions.Float{}
	}
	return sessions.Float{V: x, Known: true}
}

// extremes holds what is needed to bound first and last of a set of instants.
type extremes struct {
	any                        bool
	minLo, minHi, maxLo, maxHi int64
}

func (e *extremes) add(t, h int64) {
	if !e.any {
		*e = extremes{true, t - h, t + h, t - h, t + h}
		return
	}
	e.minLo, e.minHi = min(e.minLo, t-h), min(e.minHi, t+h)
	e.maxLo, e.maxHi = max(e.maxLo, t-h), max(e.maxHi, t+h)
}

// span is the time from the true first to the true last instant: t within w.
// With equal half-widths this is last less first, within their sum; with
// unequal ones another instant than the first mid-point may be the true first.
func (e *extremes) span() (t, w float64) {
	hi, lo := e.maxHi-e.minLo, e.maxLo-e.minHi
	return float64(seconds(hi)/2) + float64(seconds(lo)/2), float64(seconds(hi)/2) - float64(seconds(lo)/2)
}
