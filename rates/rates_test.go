package rates

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twtrace/twtrace/sessions"
)

const base = sessions.Time(1_600_000_000_000_000_000)

func at(s float64) sessions.Time { return base + sessions.Time(math.Round(s*1e9)) }

func known(v int64) sessions.Int { return sessions.Int{V: v, Known: true} }

// steady is n messages of one segment, all queued in the first second, that
// leave one a second; times are cut to whole seconds as the provider does.
func steady(n int) []sessions.Message {
	ms := make([]sessions.Message, n)
	for i := range ms {
		ms[i] = sessions.Message{SID: fmt.Sprint("SM", i), From: "+1", Status: "delivered", Direction: "outbound-api",
			Segments: known(1), BodyBytes: known(20), QueuedAt: at(0), SentAt: at(float64(i))}
	}
	return ms
}

// table is messages as the rows of their table.
func table(ms []sessions.Message) *sessions.Messages {
	var rows sessions.Messages
	rows.Add(ms...)
	return &rows
}

func one(t *testing.T, ms []sessions.Message, opt Options) Rate {
	t.Helper()
	rows := Compute(nil, nil, table(ms), opt)
	if len(rows) != 1 {
		t.Fatalf("%d rows, want 1", len(rows))
	}
	return rows[0]
}

func near(t *testing.T, what string, got sessions.Float, want float64) {
	t.Helper()
	if !got.Known || math.Abs(got.V-want) > 1e-9*math.Max(1, math.Abs(want)) {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// The definitions worked by hand. A second's clock: l = 1 s (the first item),
// so gap i is busy from sec(d) = 2 on: 97 of 99 gaps, T = 97, w = 1, no scatter.
func TestSteady(t *testing.T) {
	r := one(t, steady(100), Options{})
	near(t, "observed", r.ObservedPerS, 1)
	near(t, "observed low", r.ObservedLowPerS, 97.0/98)
	near(t, "observed high", r.ObservedHighPerS, 97.0/96)
	near(t, "sustained low", r.SustainedLowPerS, 97/(97+math.Sqrt(1+9)))
	near(t, "sustained high", r.SustainedHighPerS, 97.0/96)
	near(t, "busy", r.BusyPct, 100*97.0/99)
	near(t, "tau", r.WaitP50S, 49.5)
	near(t, "wait", r.WaitP95S, 94.05)
	near(t, "queue low", r.QueueLowPerS, 99)
	if r.QueuePerS.Known || r.QueueHighPerS.Known || r.FIFOInversions.Known {
		t.Errorf("all queued in one second: queue rate %v to %v, inversions %v", r.QueuePerS, r.QueueHighPerS, r.FIFOInversions)
	}
	if r.Verdict != "meets" || r.SustainedVerdict != "meets" || r.Method != "batches" || r.Clock != "provider" || r.X != known(20) || r.BacklogMax != known(100) {
		t.Errorf("%+v", r)
	}
	want := "In this run: lower end 0.99/s is not below 0.95/s = 1/s less 5 % (2 gaps without a sure backlog left out). Sustained: lower end 0.968/s is not below 0.95/s = 1/s less 5 %."
	if got := strings.Replace(strings.Replace(r.Reason, "0.9898", "0.99", 1), "0.9684", "0.968", 1); got != want {
		t.Errorf("reason %q", r.Reason)
	}
	// 0.9/s is below the promise, 1.2/s above it.
	slow, fast := steady(100), steady(100)
	for i := range slow {
		slow[i].SentAt = at(math.Floor(float64(i) / 0.9))
		fast[i].SentAt = at(math.Floor(float64(i) / 1.2))
	}
	if r := one(t, slow, Options{}); r.Verdict != "below" || !strings.Contains(r.Reason, "/s lies below 0.95/s = 1/s less 5 %") {
		t.Errorf("0.9/s: %s, %s", r.Verdict, r.Reason)
	}
	if r := one(t, slow, Options{TolerancePct: 15}); r.Verdict != "meets" {
		t.Errorf("0.9/s within 15 %%: %s", r.Verdict)
	}
	if r := one(t, fast, Options{}); r.Verdict != "exceeds" || !strings.Contains(r.Reason, "/s lies above 1.05/s = 1/s plus 5 %") {
		t.Errorf("1.2/s: %s, %s", r.Verdict, r.Reason)
	}
}

func TestStudent(t *testing.T) {
	// 97.5 % points as in any table of Student's t.
	for df, want := range map[int]float64{1: 12.70620474, 2: 4.30265273, 7: 2.36462425, 9: 2.26215716, 29: 2.04522964} {
		if got := student(df); math.Abs(got-want) > 1e-8 {
			t.Errorf("t(%d) = %v, want %v", df, got, want)
		}
	}
}

// Ten gaps of 1 and 3 s in turn: g = 2, every residual is 1 or -1, so
// H = t(9) sqrt(10/9 * 10); T = 20, w = 0.1.
func TestBatches(t *testing.T) {
	items := make([]item, 11)
	at := simBase
	for i := range items {
		items[i] = item{d: at, hd: 5e7, k: 1}
		at += int64(1+2*(i%2)) * 1e9
	}
	s := newSeries(items, true, true)
	got := s.sustain([]stretch{{0, 10}})
	h := 2.262157163 * 10 / 3
	lo, hi := 10/(20+math.Sqrt(h*h+0.01+36)), 10/(20-math.Sqrt(h*h+0.01))
	if !got.ok || math.Abs(got.lo-lo) > 1e-8 || math.Abs(got.hi-hi) > 1e-8 || got.point != 0.5 {
		t.Errorf("%+v, want %v to %v", got, lo, hi)
	}
}

// Items that left at no known time make no backlog: here five of the first second
// have none, and each later one is sent in the second in which it was queued.
func TestNoBacklogOfTheUntimed(t *testing.T) {
	items := make([]item, 40)
	for i := range items {
		s := simBase + int64(max(0, i-5))*1e9 + 5e8
		items[i] = item{q: s, hq: 5e8, d: s, hd: 5e8, k: 1}
		if i < 5 {
			items[i].d = 0
		}
	}
	busy, shown := newSeries(items, true, false).busy()
	if !shown || slices.Contains(busy, true) {
		t.Errorf("%v %v", busy, shown)
	}
	for i := range items[5:] { // ten seconds of backlog, so that some are busy
		items[5+i].q = simBase + int64(max(0, i-10))*1e9 + 5e8
	}
	if busy, _ := newSeries(items, true, false).busy(); !busy[30] {
		t.Errorf("%v", busy)
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.941: "0.941", 0.95: "0.95", 1: "1", 12.345: "12.35", 123.45: "123.5", 1234.5: "1234", 0.0001234: "0.0001234", 1e-300: "0"} {
		if got := Number(x); got != want {
			t.Errorf("%v reads %q, want %q", x, got, want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		hasHi  bool
		want   string
	}{
		{1.06, 2, true, "exceeds"}, {1.05, 2, true, "meets"}, {0.95, 1, true, "meets"}, {0.94, 0.96, true, undetermined},
		{0.9, 0.941, true, "below"}, {0.9, 0.95, true, undetermined}, {2, 0, false, undetermined},
	} {
		b := bounds{lo: c.lo, hi: c.hi, has: true, hasHi: c.hasHi}
		if got := verdict(b, 1, 0.05); got != c.want {
			t.Errorf("[%v, %v]: %s, want %s", c.lo, c.hi, got, c.want)
		}
	}
	m := &measurement{g: 1, tol: 0.05}
	if got := m.told(bounds{lo: 0.9, hi: 0.941, has: true, hasHi: true}); got != "upper end 0.941/s lies below 0.95/s = 1/s less 5 %" {
		t.Errorf("%q", got)
	}
}

// Sizes 1, 7, 2 at seconds 0, 7, 9: charged before its message the first is
// left out (9 segments), charged after it the last (8).
func TestCharges(t *testing.T) {
	ms := steady(3)
	for i, k := range []int64{1, 7, 2} {
		ms[i].Segments, ms[i].SentAt = known(k), at([]float64{0, 7, 9}[i])
	}
	runs := Compute(nil, nil, table(ms), Options{})
	if r := runs[0]; r.SegmentsLow.V != 8 || r.SegmentsHigh.V != 9 || r.SpanS.V != 9 || r.SpanErrorS.V != 1 || r.ItemsLow.V != 2 {
		t.Errorf("%+v", r)
	}
	near(t, "observed segments", runs[0].ObservedSegmentsPerS, 8.5/9)
	near(t, "observed items", runs[0].ObservedPerS, 2.0/9)
	near(t, "expected items", runs[0].ExpectedPerS, 3.0/10)
	// 1 and 7 in the first second: either may have been first, so 9, 3 or 8 are left.
	ms[1].SentAt = at(0)
	if r := Compute(nil, nil, table(ms), Options{})[0]; r.SegmentsLow.V != 3 || r.SegmentsHigh.V != 9 {
		t.Errorf("S in [%d, %d], want [3, 9]", r.SegmentsLow.V, r.SegmentsHigh.V)
	}
	if r := one(t, ms, Options{Segmenting: "gsm"}); r.Segments.Known || r.ExpectedPerS.Known || !r.ObservedPerS.Known || r.Verdict != undetermined {
		t.Errorf("no segments are known: %+v", r)
	}
	ms[0].Segments160, ms[1].Segments160, ms[2].Segments160 = known(1), known(1), known(1)
	if r := one(t, ms, Options{Segmenting: "160"}); r.Segments != known(3) {
		t.Errorf("segments %v, want 3", r.Segments)
	}
}

// The subset sums behind S, against every order that the clock allows.
func TestSpanHoldsEveryOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 2 + rng.IntN(5)
		items := make([]item, n)
		for i := range items {
			items[i] = item{d: simBase + int64(rng.IntN(4))*1e9 + 5e8, hd: 5e8, k: int32(1 + rng.IntN(7)), bytes: -1}
		}
		s := newSeries(items, true, false)
		p := s.span(0, n-1)
		lo, hi := int64(math.MaxInt64), int64(0)
		for i := range s.at {
			if s.at[i].t != s.at[0].t && s.at[i].t != s.at[n-1].t {
				continue
			}
			rest := int64(0)
			for j := range s.at {
				if j != i {
					rest += s.at[j].k
				}
			}
			lo, hi = min(lo, rest), max(hi, rest)
		}
		if p.segMin > lo || p.segMax < hi || s.at[0].t != s.at[n-1].t && (p.segMin != lo || p.segMax != hi) {
			t.Fatalf("S in [%d, %d], want [%d, %d] of %+v", p.segMin, p.segMax, lo, hi, s.at)
		}
	}
}

func TestCounting(t *testing.T) {
	plain := Compute(nil, nil, table(steady(100)), Options{})[0]
	for _, c := range []struct {
		name            string
		change          func(m *sessions.Message)
		min, max        int64 // segments in the span of 97 s
		failed, notSent int64
	}{
		{"failed with a sent time", func(m *sessions.Message) { m.Status = "failed" }, 96, 97, 1, 0},
		{"undelivered", func(m *sessions.Message) { m.Status = "undelivered" }, 96, 97, 1, 0},
		{"cancelled", func(m *sessions.Message) { m.Status, m.SentAt = "canceled", 0 }, 96, 97, 1, 0},
		{"queue overflow", func(m *sessions.Message) { m.Status, m.SentAt, m.ErrorCode = "failed", 0, known(30001) }, 96, 96, 1, 0},
		{"delivered without a time", func(m *sessions.Message) { m.SentAt = 0 }, 97, 97, 0, 1},
		{"still queued", func(m *sessions.Message) { m.Status, m.SentAt = "queued", 0 }, 96, 97, 0, 1},
		{"scheduled", func(m *sessions.Message) { m.Status, m.SentAt = "scheduled", 0 }, 96, 96, 0, 1},
	} {
		ms := steady(100)
		for i := range ms { // spread the queue times, so that order is known
			ms[i].QueuedAt = at(float64(i / 40))
		}
		c.change(&ms[70])
		r := Compute(nil, nil, table(ms), Options{})[0]
		if r.SegmentsHigh.V-r.SegmentsLow.V != c.max-c.min || r.SpanS.V != 97 && r.SpanS.V != 96 || float64(r.SegmentsHigh.V) > r.SpanS.V {
			t.Errorf("%s: S in [%d, %d] of %v s", c.name, r.SegmentsLow.V, r.SegmentsHigh.V, r.SpanS.V)
		}
		if r.SegmentsLow.V != c.min-int64(97-r.SpanS.V) {
			t.Errorf("%s: at least %d segments in %v s", c.name, r.SegmentsLow.V, r.SpanS.V)
		}
		if r.Failed != c.failed || r.NotSent != c.notSent || r.Items != 99 {
			t.Errorf("%s: items %d, failed %d, not sent %d", c.name, r.Items, r.Failed, r.NotSent)
		}
		if !r.Backlog || !plain.Backlog {
			t.Errorf("%s: no backlog", c.name)
		}
	}
	// Items without a time are counted where they left, not in other stretches: of
	// 100 queued one a second, number 3 and number 60 have no time.
	items := make([]item, 100)
	for i := range items {
		items[i] = item{q: simBase + int64(i)*1e9, hq: 5e8, k: 1}
		if i != 3 && i != 60 {
			items[i].d, items[i].hd = simBase+int64(i+50)*1e9, 5e8
		}
	}
	s := newSeries(items, true, false)
	for _, c := range []struct {
		a, b     int
		min, max int64
	}{{0, 97, 99, 99}, {0, 10, 11, 11}, {10, 50, 40, 40}, {10, 70, 61, 61}, {0, 2, 2, 2}, {58, 59, 2, 2}, {59, 97, 38, 38}} {
		if p := s.span(c.a, c.b); p.itemMin != c.min || p.itemMax != c.max || p.segMin != c.min || p.segMax != c.max {
			t.Errorf("instants %d to %d: %+v, want [%d, %d]", c.a, c.b, p, c.min, c.max)
		}
	}
	// What came in is no item; a direction that is not known counts as outbound.
	ms := steady(20)
	ms[5].Direction = "inbound"
	ms[6].Direction = ""
	if r := one(t, ms, Options{}); r.Items != 19 {
		t.Errorf("%d items, want 19", r.Items)
	}
	if rows := Compute(nil, nil, table(ms[5:6]), Options{}); rows != nil {
		t.Errorf("an inbound message made a row")
	}
}

func TestQueues(t *testing.T) {
	ms := steady(30)
	for i := range ms {
		ms[i].From = []string{"+1", "+2", "+3"}[i%3]
		ms[i].AccountSID = "AC1"
		if i%3 == 2 {
			ms[i].MessagingServiceSID = "MG1"
		}
	}
	name := func(by string) (s string) {
		for _, r := range Compute(nil, nil, table(ms), Options{QueueBy: by}) {
			s += r.QueueBy + " " + r.Queue + " " + fmt.Sprint(r.Items) + "; "
		}
		return
	}
	for by, want := range map[string]string{
		"": "from +1 10; from +2 10; service MG1 10; ", "service": "from +1 10; from +2 10; service MG1 10; ",
		"from": "from +1 10; from +2 10; from +3 10; ", "account": "account AC1 30; ",
	} {
		if got := name(by); got != want {
			t.Errorf("by %q: %s, want %s", by, got, want)
		}
	}
	calls := []sessions.CallResource{
		{SID: "CA1", AccountSID: "AC1", From: "+1", Direction: "outbound-api", CreatedAt: at(0), StartedAt: at(1)},
		{SID: "CA2", AccountSID: "AC1", From: "+2", Direction: "outbound-api", CreatedAt: at(0), StartedAt: at(2)},
		{SID: "CA3", AccountSID: "AC1", From: "+2", Direction: "outbound-dial", CreatedAt: at(0), StartedAt: at(2)},
		{SID: "CA4", AccountSID: "AC1", From: "+2", Direction: "inbound", CreatedAt: at(0), StartedAt: at(2)},
	}
	rows := Compute([]sessions.Arrival{{Seq: 1, CallID: "leg-1", To: "client:a", Endpoint: "browser", ArrivedAt: at(1), ArrivedBy: "tls-record"}}, calls, nil, Options{})
	if len(rows) != 1 || rows[0].Queue != "AC1" || rows[0].Items != 3 {
		t.Errorf("%+v", rows)
	}
	if rows := Compute(nil, calls, nil, Options{QueueBy: "from"}); len(rows) != 2 || rows[1].Items != 1 {
		t.Errorf("%+v", rows)
	}
}

// The study's method: N calls between two observed ones; error of each arrival 50 ms.
func paper(n int, rate float64) []sessions.Arrival {
	as := make([]sessions.Arrival, n+2)
	for i := range as {
		as[i] = sessions.Arrival{Seq: int64(i + 1), CallSID: fmt.Sprint("CA", i), To: "+1", Endpoint: "phone", QueuedAt: at(float64(i) / 1000), QueuedBy: "http-post", QueuedErrorMS: some(0)}
	}
	for _, i := range []int{0, n + 1} {
		as[i].Endpoint, as[i].To, as[i].ArrivedBy, as[i].ArrivedAt, as[i].ArrivedErrorMS = "browser", "client:a", "pstream-invite", at(1+float64(i)/rate), some(50)
	}
	return as
}

func TestObservedCalls(t *testing.T) {
	as := paper(200, 0.92)
	r := Compute(as, nil, nil, Options{})[0]
	T := 201 / 0.92
	near(t, "observed", r.ObservedPerS, 0.92)
	near(t, "low", r.ObservedLowPerS, 201/(T+0.1))
	near(t, "high", r.ObservedHighPerS, 201/(T-0.1-0.001)) // the second call was queued 1 ms after the first
	if r.Verdict != "below" || r.SustainedVerdict != undetermined || r.X != known(200) || r.Clock != "capture" || r.NotSent != 0 || r.Items != 2 {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"upper end 0.9204/s lies below 0.95/s = 1/s less 5 %", "no information on scatter", "First in, first out is assumed", "even service"} {
		if !strings.Contains(r.Reason, want) {
			t.Errorf("%q is not in %q", want, r.Reason)
		}
	}
	// Queue times of the phone calls unknown: no backlog, the rate is still shown.
	for i := 1; i < 201; i++ {
		as[i].QueuedAt = 0
	}
	if r := Compute(as, nil, nil, Options{})[0]; r.Verdict != undetermined || !r.ObservedPerS.Known {
		t.Errorf("%+v", r)
	}
	// Only the two arrivals were captured: how many were queued between is not known, unless a manifest says so.
	two := []sessions.Arrival{as[0], as[201]}
	two[0].QueuedAt, two[1].QueuedAt = 0, 0
	if r := Compute(two, nil, nil, Options{})[0]; r.ObservedPerS.Known || r.ObservedLowPerS.Known || r.X.Known {
		t.Errorf("a rate of an unknown number: %+v", r)
	}
	r = Compute(two, nil, nil, Options{CallX: known(200)})[0]
	near(t, "by manifest", r.ObservedPerS, 0.92)
	if r.X != known(200) || r.Verdict != undetermined {
		t.Errorf("%+v", r)
	}
	// The calls were queued as slowly as they left.
	as = paper(20, 1)
	for i := range as {
		as[i].QueuedAt = at(float64(i))
	}
	if r := Compute(as, nil, nil, Options{})[0]; r.Verdict != "meets" {
		t.Errorf("each call queued just in time is no idle time: %s", r.Reason)
	}
	as[10].QueuedAt = at(15)
	if r := Compute(as, nil, nil, Options{})[0]; r.Verdict != undetermined || !strings.Contains(r.Reason, "idle") {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
	// A failed call may have taken a slot or not.
	c := []sessions.CallResource{{SID: "CA5", Status: "failed"}}
	r = Compute(paper(20, 1), c, nil, Options{})[0]
	near(t, "low", r.ObservedLowPerS, 20/(21+0.1))
	if r.Failed != 1 {
		t.Errorf("failed %d", r.Failed)
	}
}

// Everything arrives at the observed endpoint: a series of packet times.
func TestAllObserved(t *testing.T) {
	as := paper(98, 1)
	for i := range as {
		as[i].Endpoint, as[i].ArrivedBy, as[i].ArrivedAt, as[i].ArrivedErrorMS = "sip", "sip-invite", at(1+float64(i)), some(10)
	}
	r := Compute(as, nil, nil, Options{})[0]
	if !r.SustainedPerS.Known || r.SustainedVerdict != "meets" || r.Items != 100 {
		t.Errorf("%+v", r)
	}
	if r.FIFOInversions != known(0) || r.FIFOTau.V != 1 {
		t.Errorf("inversions %v, tau %v", r.FIFOInversions, r.FIFOTau)
	}
	// 15 ms apart within 10 ms each: it is not sure which came first. 25 ms apart it is.
	for ms, want := range map[int64]int64{15: 0, 25: 1} {
		as[50].ArrivedAt = as[51].ArrivedAt + sessions.Time(ms*1e6)
		if r := Compute(as, nil, nil, Options{})[0]; r.FIFOInversions != known(want) {
			t.Errorf("%d ms: inversions %v, want %d", ms, r.FIFOInversions, want)
		}
	}
}

// What the capture itself lost stands in the reason of a rate of arrivals, and
// in no other's.
func TestCaptureLoss(t *testing.T) {
	const lost = "The capturing host dropped 3 packets"
	as := paper(98, 1)
	whole, r := Compute(as, nil, nil, Options{})[0], Compute(as, nil, nil, Options{CaptureLoss: lost})[0]
	if r.Clock != "capture" || !strings.HasSuffix(r.Reason, " "+lost+": an arrival may have come before it was seen, or be missing; intervals and verdicts are bounds unless that happened.") {
		t.Errorf("clock %s: %s", r.Clock, r.Reason)
	}
	if r.Reason = whole.Reason; r != whole {
		t.Errorf("%+v, want %+v", r, whole)
	}
	ms := []sessions.Message{{SID: "a", QueuedAt: at(0), SentAt: at(1)}, {SID: "b", QueuedAt: at(0), SentAt: at(2)}}
	if r := one(t, ms, Options{CaptureLoss: lost}); strings.Contains(r.Reason, lost) {
		t.Errorf("clock %s: %s", r.Clock, r.Reason)
	}
}

// Queue times of two clocks are never mixed: where not every call has a POST,
// the resources' times are used when all have one.
func TestOneClock(t *testing.T) {
	as := paper(20, 1)
	as[3].QueuedAt, as[3].QueuedBy = 0, ""
	if r := Compute(as, nil, nil, Options{})[0]; r.Verdict != undetermined || !r.ObservedPerS.Known {
		t.Errorf("one queue time is missing: %s", r.Reason)
	}
	var cs []sessions.CallResource
	for i := range as { // a provider's clock an hour ahead
		cs = append(cs, sessions.CallResource{SID: as[i].CallSID, AccountSID: "AC1", Direction: "outbound-api", Status: "completed", CreatedAt: at(3600), StartedAt: at(3600 + float64(i))})
	}
	r := Compute(as, cs, nil, Options{})[0]
	if r.Verdict != "meets" || r.WaitP50S.V > 22 || !r.SustainedPerS.Known {
		t.Errorf("%+v", r)
	}
	near(t, "idle widens the high end only", r.ObservedLowPerS, 21/21.1)
}

// A bucket of 40 items, then one a second: the depth and the place are known.
func TestBucket(t *testing.T) {
	ms := steady(140)
	for i := range ms {
		ms[i].SentAt, ms[i].QueuedAt = at(100+math.Max(0, float64(i-39))), at(0)
	}
	ms[0].QueuedAt = at(100) // the pipeline's delay is none
	r := one(t, ms, Options{})
	if r.Method != "batches-after-change" || r.SustainedLowPerS.V > 1 || r.SustainedHighPerS.V < 1 {
		t.Fatalf("%s [%v, %v]: %s", r.Method, r.SustainedLowPerS, r.SustainedHighPerS, r.Reason)
	}
	if !r.BurstItems.Known || r.BurstLowItems.V > 40 || r.BurstHighItems.V < 40 {
		t.Errorf("burst %v [%v, %v], want 40", r.BurstItems, r.BurstLowItems, r.BurstHighItems)
	}
	if d := r.ChangeAt.Sub(at(100)).Seconds(); d < 0 || d > 2 {
		t.Errorf("change %v s after the first", d)
	}
}

func TestLittle(t *testing.T) {
	ms := steady(50)
	if r := one(t, ms, Options{}); strings.Contains(r.Reason, "Little") {
		t.Errorf("%s", r.Reason)
	}
	for i := 10; i < 30; i++ {
		ms[i].SentAt = 0
	}
	if r := one(t, ms, Options{}); !strings.Contains(r.Reason, "Little's law fails") || !strings.Contains(r.Reason, "20 items queued, without a time of leaving") {
		t.Errorf("%s", r.Reason)
	}
}

func TestKendallAgainstPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		n := rng.IntN(30)
		tq, td := int64(1+rng.IntN(4)), int64(1+rng.IntN(4))
		ps := make([]pair, n)
		for i := range ps {
			ps[i] = pair{int64(rng.IntN(20)), int64(rng.IntN(20))}
		}
		var c, d, nq, nd int64
		for i := range ps {
			for j := range i {
				q, e := ps[i].q-ps[j].q, ps[i].d-ps[j].d
				if q < 0 {
					q, e = -q, -e
				}
				if q >= tq {
					nq++
				}
				if max(e, -e) >= td {
					nd++
				}
				if q >= tq && e >= td {
					c++
				} else if q >= tq && -e >= td {
					d++
				}
			}
		}
		f := kendall(ps, tq, td)
		want := 0.0
		if nq > 0 && nd > 0 {
			want = float64(c-d) / math.Sqrt(float64(nq)*float64(nd))
		}
		if f.inversions != d || f.pairs != c+d || math.Abs(f.tau-want) > 1e-12 {
			t.Fatalf("inversions %d tau %v, want %d %v", f.inversions, f.tau, d, want)
		}
	}
}

func TestWindows(t *testing.T) {
	c := Curve(nil, nil, table(steady(35)), Options{})
	if len(c) != 1 || len(c[0].Queued) != 35 || len(c[0].Left) != 35 || c[0].Clock != "provider" {
		t.Fatalf("%+v", c)
	}
	w := Windows(c[0].Left, 10*time.Second)
	if len(w) != 3 || w[0].From != at(0) {
		t.Fatalf("%+v", w)
	}
	for _, x := range w {
		if x.Sure != 10 || x.May != 10 || x.LowPerS != 1 || x.HighPerS != 1 {
			t.Errorf("%+v, want exactly 10 items", x)
		}
	}
	// Packet times near a border may be on either side.
	rng := rand.New(rand.NewPCG(5, 6))
	h := 50 * time.Millisecond
	var left []Instant
	var truth []sessions.Time
	for i := range 500 {
		x := at(float64(i) * 0.31)
		truth = append(truth, x)
		left = append(left, Instant{x + sessions.Time(rng.Int64N(int64(2*h))) - sessions.Time(h), h, 1})
	}
	slices.SortFunc(left, func(a, b Instant) int { return int(a.At - b.At) })
	for _, x := range Windows(left, 10*time.Second) {
		n := int64(0)
		for _, y := range truth {
			if y >= x.From && y < x.From+sessions.Time(x.Length) {
				n++
			}
		}
		if n < x.Sure || n > x.May || x.May-x.Sure > 3 {
			t.Errorf("%d in [%d, %d]", n, x.Sure, x.May)
		}
	}
	if Windows(left, 0) != nil || Windows(nil, h) != nil || Windows(left, 1) != nil {
		t.Error("windows without a length, of nothing, or too many")
	}
}

func TestCombineRuns(t *testing.T) {
	var runs []Rate
	for i := range 4 {
		as := paper(20, 1)
		for j := range as {
			as[j].Experiment = fmt.Sprint("run-", i)
			if as[j].ArrivedAt != 0 {
				as[j].ArrivedAt += sessions.Time(i * 1e6)
			}
		}
		runs = append(runs, Compute(as, nil, nil, Options{})...)
	}
	r, ok := CombineRuns(runs, Options{})
	if !ok || r.Method != "runs" || r.Repeats != 4 || r.X != known(20) || r.Items != 8 || r.Experiment != "run-*" {
		t.Fatalf("%+v", r)
	}
	near(t, "observed", r.ObservedPerS, 1)
	near(t, "low", r.ObservedLowPerS, 84/84.4)
	near(t, "sustained low", r.SustainedLowPerS, 84/(84+math.Sqrt(0.4*0.4+9)))
	slices.Reverse(runs)
	if again, _ := CombineRuns(runs, Options{}); !reflect.DeepEqual(r, again) {
		t.Error("the order of runs matters")
	}
	if r, ok := CombineRuns(runs[:2], Options{}); !ok || r.SustainedPerS.Known || !r.ObservedPerS.Known || !strings.Contains(r.Reason, "fewer than 3 runs") {
		t.Errorf("%+v", r)
	}
	other := runs[3]
	other.X = known(40)
	got := Combine([]Rate{runs[0], other, runs[1], runs[2]}, Options{}, func(e string) bool { return e == "run-2" })
	if len(got) != 3 || got[0].Repeats != 2 || got[0].Experiment != "run-*" || !reflect.DeepEqual(got[1], other) || got[2].Experiment != "run-2" {
		t.Errorf("sets of runs: %+v", got)
	}
	if _, ok := CombineRuns(nil, Options{}); ok {
		t.Error("something of nothing")
	}
}

// Laws: input order does not matter; a shift by whole seconds changes nothing
// but change_at; more tolerance never makes a decided verdict harsher.
func TestInvariance(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range 60 {
		ms := randomMessages(rng, 20+rng.IntN(80))
		want := Compute(nil, nil, table(ms), Options{})
		shuffled := slices.Clone(ms)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := Compute(nil, nil, table(shuffled), Options{}); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: the order of messages matters:\n%+v\n%+v", round, got, want)
		}
		for i := range shuffled {
			for _, p := range []*sessions.Time{&shuffled[i].QueuedAt, &shuffled[i].SentAt} {
				if *p != 0 {
					*p += 12345e9
				}
			}
		}
		got := Compute(nil, nil, table(shuffled), Options{})
		for i := range got {
			if got[i].ChangeAt != 0 {
				got[i].ChangeAt -= 12345e9
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: a shift matters:\n%+v\n%+v", round, got, want)
		}
		for i, wide := range Compute(nil, nil, table(ms), Options{TolerancePct: 20}) {
			if want[i].Verdict == "meets" && wide.Verdict != "meets" {
				t.Fatalf("met at 5 %%, %s at 20 %%", wide.Verdict)
			}
		}
		calls := make([]sessions.CallResource, len(ms))
		for i, m := range ms {
			calls[i] = sessions.CallResource{SID: m.SID, AccountSID: m.From, Status: "completed", CreatedAt: m.QueuedAt, StartedAt: m.SentAt}
		}
		a := Compute(nil, calls, nil, Options{})
		rng.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
		if b := Compute(nil, calls, nil, Options{}); !reflect.DeepEqual(a, b) {
			t.Fatalf("the order of calls matters")
		}
	}
}

func randomMessages(rng *rand.Rand, n int) []sessions.Message {
	ms := steady(n)
	rate := 0.5 + rng.Float64()
	for i := range ms {
		ms[i].From = []string{"+1", "+2"}[rng.IntN(2)]
		ms[i].Segments = known(int64(1 + rng.IntN(3)))
		ms[i].QueuedAt = at(math.Floor(float64(i) * rng.Float64() / 3))
		ms[i].SentAt = at(math.Floor(float64(i)/rate + 2*rng.Float64()))
		switch rng.IntN(20) {
		case 0:
			ms[i].SentAt = 0
		case 1:
			ms[i].Status = "failed"
		case 2:
			ms[i].QueuedAt = 0
		}
	}
	return ms
}

func checkRow(t *testing.T, r *Rate) {
	v := reflect.ValueOf(*r)
	for i := range v.NumField() {
		x := 0.0
		switch f := v.Field(i).Interface().(type) {
		case float64:
			x = f
		case sessions.Float:
			x = f.V
		}
		if math.IsNaN(x) || math.IsInf(x, 0) {
			t.Errorf("%s is %v", v.Type().Field(i).Name, x)
		}
	}
	order := func(what string, lo, point, hi sessions.Float) {
		if hi.Known && (!lo.Known || !point.Known || lo.V > point.V || point.V > hi.V) {
			t.Errorf("%s: %v, %v, %v", what, lo, point, hi)
		}
	}
	order("observed", r.ObservedLowPerS, r.ObservedPerS, r.ObservedHighPerS)
	order("sustained", r.SustainedLowPerS, r.SustainedPerS, r.SustainedHighPerS)
	order("queue", r.QueueLowPerS, r.QueuePerS, r.QueueHighPerS)
	if r.Reason == "" || r.Verdict == "" || r.SustainedVerdict == "" {
		t.Errorf("no reason or verdict: %+v", r)
	}
	if r.SustainedPerS.Known != (r.Method != "") {
		t.Errorf("method %q", r.Method)
	}
	if r.FIFOTau.Known && math.Abs(r.FIFOTau.V) > 1 {
		t.Errorf("tau %v", r.FIFOTau.V)
	}
	if r.Items < 0 || r.NotSent < 0 || r.Failed < 0 || r.BacklogMax.V < 0 {
		t.Errorf("counts: %+v", r)
	}
}

// FuzzCompute: any rows make finite, ordered numbers, and neither the order of
// the messages nor a second look changes them.
func FuzzCompute(f *testing.F) {
	f.Add([]byte("seed"), 1.0, 5.0)
	seed := make([]byte, 0, 40*16)
	for i := range 40 {
		seed = append(seed, 0, 1, byte(i), 0, 0, 0, 0, 0, byte(i*2), 0, 0, 0, 0, 0, 1, 0)
	}
	f.Add(seed, 1.0, 5.0)
	f.Add(append(seed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), math.Inf(1), math.NaN())
	f.Fuzz(func(t *testing.T, b []byte, guarantee, tolerance float64) {
		opt := Options{GuaranteePerS: guarantee, TolerancePct: tolerance}
		if len(b) > 0 {
			opt.QueueBy = []string{"", "account", "from", "service", "x"}[b[0]%5]
			opt.Segmenting = []string{"", "provider", "gsm", "160"}[b[0]/5%4]
			opt.CallX = sessions.Int{V: int64(int8(b[0])), Known: b[0]&64 != 0}
		}
		var as []sessions.Arrival
		var cs []sessions.CallResource
		var ms []sessions.Message
		for ; len(b) >= 16; b = b[16:] {
			x, y := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
			when := func(v uint64) sessions.Time {
				if v&0x80 != 0 {
					return sessions.Time(v) // anything at all
				}
				return base + sessions.Time(v>>8&0xffff)*1e8
			}
			ms1 := sessions.Float{V: math.Float64frombits(y), Known: y&1 != 0}
			status := []string{"delivered", "sent", "failed", "queued", "canceled", "", "completed", "scheduled"}[x&7]
			switch x >> 3 & 3 {
			case 0, 1:
				ms = append(ms, sessions.Message{SID: fmt.Sprint(len(ms)), From: fmt.Sprint(x >> 5 & 1), Status: status, QueuedAt: when(x), SentAt: when(y),
					Segments: sessions.Int{V: int64(y >> 56), Known: y>>56 < 100}, SegmentsGSM: sessions.Int{V: int64(y), Known: y&2 != 0}, TimeResolutionS: ms1, BodyBytes: sessions.Int{V: int64(x), Known: x&2 != 0}})
			case 2:
				cs = append(cs, sessions.CallResource{SID: fmt.Sprint(x >> 40 & 15), AccountSID: []string{"", "AC"}[x>>5&1], Status: status, CreatedAt: when(x), StartedAt: when(y)})
			case 3:
				as = append(as, sessions.Arrival{Seq: int64(len(as)), CallSID: fmt.Sprint(x >> 40 & 15), Endpoint: []string{"browser", "phone", "sip", ""}[x>>6&3&3], QueuedAt: when(x), QueuedErrorMS: ms1, QueuedBy: []string{"http-post", "resource"}[y&1],
					ArrivedAt: when(y), ArrivedBy: []string{"pstream-invite", "resource", "", "tls-record"}[y>>1&3], ArrivedErrorMS: ms1, WaitS: ms1})
			}
		}
		runs := Compute(as, cs, table(ms), opt)
		for i := range runs {
			checkRow(t, &runs[i])
		}
		slices.Reverse(ms)
		again := Compute(as, cs, table(ms), opt)
		if !reflect.DeepEqual(runs, again) {
			t.Errorf("the order of messages matters:\n%+v\n%+v", runs, again)
		}
		if r, ok := CombineRuns(runs, opt); ok {
			checkRow(t, &r)
		}
		for _, c := range Curve(as, cs, table(ms), opt) {
			Windows(c.Left, 10*time.Second)
			Windows(c.Left, time.Minute)
		}
	})
}

// BenchmarkMillion is a million messages of one sender, mixed sizes, in no order.
func BenchmarkMillion(b *testing.B) {
	rng := rand.New(rand.NewPCG(9, 10))
	mk := func(n int, sent func(i int) float64) []sessions.Message {
		ms := make([]sessions.Message, n)
		for i := range ms {
			ms[i] = sessions.Message{From: "+1", Status: "delivered", Segments: known(int64(1 + rng.IntN(3))), QueuedAt: at(math.Floor(float64(i) / 20)), SentAt: at(math.Floor(sent(i)))}
		}
		rng.Shuffle(n, func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })
		return ms
	}
	for _, c := range []struct {
		name string
		ms   []sessions.Message
	}{
		{"backlog", mk(1_000_000, func(i int) float64 { return float64(i) / 10 })},
		{"one-second", mk(1_000_000, func(i int) float64 { return 0 })},
		{"random", mk(1_000_000, func(i int) float64 { return rng.Float64() * 1e6 })},
		{"resolutions", func() []sessions.Message {
			ms := mk(1_000_000, func(i int) float64 { return float64(i) })
			for i := range ms {
				ms[i].TimeResolutionS = some(float64(1 + rng.IntN(80000)))
			}
			return ms
		}()},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.ms)) * int64(reflect.TypeFor[sessions.Message]().Size()))
			for b.Loop() {
				if len(Compute(nil, nil, table(c.ms), Options{})) != 1 {
					b.Fatal("rows")
				}
			}
		})
	}
}
