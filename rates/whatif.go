package rates

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"

	"github.com/twtrace/twtrace/sessions"
)

// Limit is a queue that did not exist: several numbers, each a token bucket,
// and how items are given to them.
type Limit struct {
	PerS     float64 // segments a second of each number
	Queues   int     // numbers; less than 1 is 1
	Burst    float64 // depth of each bucket in segments; less than 1 is 1
	Shortest bool    // to the number that is soonest free, else in turn
}

// Replay is what the queue instants of a run would have become.
type Replay struct {
	Items, Segments int64
	OfferedPerS     sessions.Float // items a second as they were queued
	BacklogMax      int64          // most items waiting at once, over all numbers
	WaitP50S        float64
	WaitP95S        float64
	WaitMaxS        float64
	EmptyS          float64 // from the first item queued to the last one gone
	DrainS          float64 // from the last item queued to the last one gone
	ErrorS          float64 // queue times, and so waits, are known within this
}

// Replay sends the queue instants of c through l; ok is false without any. An
// item leaves when it is there and its number has a token: first in, first out,
// with no delay of its own. Its segments are charged when it leaves.
func (c *Curves) Replay(l Limit) (r Replay, ok bool) {
	items := c.Queued
	if len(items) == 0 || !(l.PerS > 0) || math.IsInf(l.PerS, 0) {
		return r, false
	}
	queues := make(senders, max(1, l.Queues))
	for i := range queues {
		queues[i].place = i
	}
	heap.Init(&queues)
	burst := max(1, l.Burst)
	first := items[0].At
	waits := make([]float64, len(items))
	leaves := make([]float64, 0, len(items))
	waiting, gone := int64(0), 0 // gone of leaves, in order of time
	last := 0.0
	var delayed []float64
	for i := range items {
		it := &items[i]
		k := float64(max(1, it.Segments))
		at := seconds(int64(it.At - first))
		n := &queues[0]
		if !l.Shortest {
			n = &queues[i%len(queues)]
		}
		leave := max(at, n.free-(burst-1)/l.PerS)
		n.free = max(n.free, leave) + k/l.PerS
		if l.Shortest {
			heap.Fix(&queues, 0)
		}
		waits[i] = leave - at
		last = max(last, leave)
		leaves = append(leaves, leave)
		r.Segments += max(1, it.Segments)
		r.ErrorS = max(r.ErrorS, it.HalfWidth.Seconds())
	}
	// Most waiting at once: an item that leaves the moment it comes never waits.
	for i := range leaves {
		if waits[i] > 0 {
			delayed = append(delayed, leaves[i])
		}
	}
	slices.Sort(delayed)
	for i := range items {
		if waits[i] <= 0 {
			continue
		}
		at := seconds(int64(items[i].At - first))
		for gone < len(delayed) && delayed[gone] <= at {
			gone++
			waiting--
		}
		waiting++
		r.BacklogMax = max(r.BacklogMax, waiting)
	}
	n := len(items)
	r.Items = int64(n)
	if t := seconds(int64(items[n-1].At - first)); t > 0 {
		r.OfferedPerS = some(float64(n-1) / t)
		r.DrainS = last - t
	} else {
		r.DrainS = last
	}
	r.EmptyS = last
	slices.Sort(waits)
	r.WaitP50S, r.WaitP95S, r.WaitMaxS = quantile(waits, 50), quantile(waits, 95), waits[n-1]
	return r, true
}

// sender is one of the numbers of a Limit: free is when its bucket is full
// again, seconds after the first item.
type sender struct {
	free  float64
	place int
}

// senders is a heap by free, then place.
type senders []sender

func (n senders) Len() int { return len(n) }
func (n senders) Less(i, j int) bool {
	return n[i].free < n[j].free || n[i].free == n[j].free && n[i].place < n[j].place
}
func (n senders) Swap(i, j int) { n[i], n[j] = n[j], n[i] }
func (n *senders) Push(any)     {} // a heap of fixed size
func (n *senders) Pop() any     { return nil }

// Curves are Curve's, of a run analysed with o.
func (o Options) Curves(arrivals []sessions.Arrival, calls []sessions.CallResource, messages *sessions.Messages) []Curves {
	return Curve(arrivals, calls, messages, o)
}

// NewLimit is a Limit of so many numbers.
func (o Options) NewLimit(perS float64, queues int, burst float64, shortest bool) Limit {
	return Limit{perS, queues, burst, shortest}
}

// Advice is the study's advice as a number: over how many numbers N items must
// be spread so that each number lets its own go at the floor or faster.
type Advice struct {
	Experiment string // "" for Basis runs
	Kind       string
	Queue      string
	Basis      string // bucket, or runs
	Items      int64  // N
	FloorPerS  float64
	PerNumber  sessions.Int // most items a number takes; null is any number of them
	Numbers    sessions.Int // null: no number of numbers is enough
	// The same by the lower ends of the sustained rate and the burst; null for
	// Basis runs.
	SafeNumbers sessions.Int
	Safe        bool // there are lower ends
	Assumption  string
}

const (
	assumeBucket = "each number has the sustained rate and the burst that this run showed; items are spread evenly"
	assumeRuns   = "a number that takes as many items as a run that kept the floor keeps it too; items are spread evenly"
)

// Advise gives the advice for items (0: as many as left) at a floor in segments a
// second (0: 95 % of the promise). By the bucket of each run: n items of a
// bucket of depth b take (n-b)/r seconds, so they leave at (n-1) r/(n-b). By the
// runs of a kind together, when they differ in size: the largest run that, like
// all smaller ones, kept the floor.
func (o Options) Advise(rows []Rate, items int64, floor float64) []Advice {
	var out []Advice
	for i := range rows {
		r := &rows[i]
		if !r.SustainedPerS.Known {
			continue
		}
		a := Advice{Experiment: r.Experiment, Kind: r.Kind, Queue: r.Queue, Basis: "bucket", Items: items, FloorPerS: floor, Assumption: assumeBucket}
		if items == 0 {
			a.Items = r.Items
		}
		if floor == 0 {
			a.FloorPerS = 0.95 * r.GuaranteePerS
		}
		burst, low := 1.0, 1.0
		if r.BurstItems.Known {
			burst, low = r.BurstItems.V, r.BurstLowItems.V
		}
		a.PerNumber, a.Numbers = spread(a.Items, burst, r.SustainedPerS.V, a.FloorPerS)
		_, a.SafeNumbers = spread(a.Items, low, r.SustainedLowPerS.V, a.FloorPerS)
		a.Safe = true
		out = append(out, a)
	}
	for _, kind := range []string{"calls", "messages"} {
		if a, ok := adviseRuns(rows, kind, items, floor); ok {
			out = append(out, a)
		}
	}
	return out
}

// spread is how many items a number of depth burst and rate r can take at the
// floor, null for any, and over how many numbers n items must go, null for none.
func spread(n int64, burst, r, floor float64) (each, numbers sessions.Int) {
	if n < 1 {
		return
	}
	if r >= floor {
		return sessions.Int{}, sessions.Int{V: 1, Known: true}
	}
	// (n-1) r/(n-b) >= floor. Depth 1 is no burst: one item alone has no rate.
	most := math.Floor((float64(floor*burst)-r)/(floor-r) + 1e-9)
	if burst <= 1 || !(most >= 2) {
		return sessions.Int{V: 1, Known: true}, sessions.Int{}
	}
	if most >= float64(n) {
		return whole(most), sessions.Int{V: 1, Known: true}
	}
	return whole(most), whole(math.Ceil(float64(n) / most))
}

func whole(x float64) sessions.Int {
	if !(x < 1<<53) {
		return sessions.Int{}
	}
	return sessions.Int{V: int64(x), Known: true}
}

// adviseRuns is the advice of runs of different sizes.
func adviseRuns(rows []Rate, kind string, items int64, floor float64) (Advice, bool) {
	type run struct {
		n    int64
		rate float64
	}
	var runs []run
	a := Advice{Kind: kind, Basis: "runs", Items: items, FloorPerS: floor, Assumption: assumeRuns}
	for i := range rows {
		r := &rows[i]
		if r.Kind != kind || !r.ObservedPerS.Known || !r.ObservedSegmentsPerS.Known || r.Verdict == undetermined && !r.SustainedPerS.Known {
			continue
		}
		if floor == 0 {
			if a.FloorPerS != 0 && a.FloorPerS != 0.95*r.GuaranteePerS {
				return a, false
			}
			a.FloorPerS = 0.95 * r.GuaranteePerS
		}
		runs = append(runs, run{r.Items, r.ObservedSegmentsPerS.V})
		if items == 0 {
			a.Items = max(a.Items, r.Items)
		}
	}
	slices.SortFunc(runs, func(x, y run) int { return cmp.Or(cmp.Compare(x.n, y.n), cmp.Compare(x.rate, y.rate)) })
	if len(runs) < 2 || runs[0].n == runs[len(runs)-1].n {
		return a, false
	}
	kept := int64(0)
	for i := 0; i < len(runs); {
		if runs[i].rate < a.FloorPerS { // the slowest of its size comes first
			break
		}
		kept = runs[i].n
		for i < len(runs) && runs[i].n == kept {
			i++
		}
	}
	if kept == 0 {
		a.PerNumber = sessions.Int{V: 1, Known: true}
		return a, true
	}
	a.PerNumber = sessions.Int{V: kept, Known: true}
	a.Numbers = sessions.Int{V: max(1, (a.Items+kept-1)/kept), Known: true}
	return a, true
}

// Width is a row of a study's plan: what a run of so many items would tell.
type Width struct {
	Items      int
	Runs       int
	HalfPct    sessions.Float // median half-width of the sustained interval, in % of the rate
	HalfP90Pct sessions.Float // nine runs in ten are at least that narrow
	RefusedPct float64        // runs that would get no sustained rate
	Enough     bool           // the median is at most what was asked for
}

// planSizes are the numbers of items that a plan tries.
var planSizes = []int{30, 60, 100, 200, 300, 500, 1000, 2000, 3000, 5000, 10000}

// Plan measures simulated runs of growing size, so many of each, as they would
// be exported, in whole seconds, up to the first size at which the half-width
// of the sustained interval is at most targetPct on the median, and halves the
// way back to the size before. need is 0 when no size is enough. sim gives the
// times of the n items of simulated run i, in queue order; segments are those
// of each item.
func (o Options) Plan(targetPct float64, runs int, segments int64, sim func(n, i int) (queued, left []time.Time)) (rows []Width, need int) {
	before := 0
	for _, n := range planSizes {
		w := o.width(n, runs, targetPct, segments, sim)
		rows = append(rows, w)
		if w.Enough {
			need = n
			break
		}
		before = n
	}
	if need == 0 {
		return rows, 0
	}
	for lo := before; need-lo > max(10, need/20); { // to 5 %: the scatter allows no more
		mid := (lo + need) / 2 / 10 * 10
		if mid <= lo || mid < minInstants {
			break
		}
		w := o.width(mid, runs, targetPct, segments, sim)
		rows = append(rows, w)
		if w.Enough {
			need = mid
		} else {
			lo = mid
		}
	}
	slices.SortFunc(rows, func(a, b Width) int { return cmp.Compare(a.Items, b.Items) })
	return rows, need
}

func (o Options) width(n, runs int, targetPct float64, segments int64, sim func(n, i int) (queued, left []time.Time)) Width {
	w := Width{Items: n, Runs: runs}
	var halves []float64
	cut := func(t time.Time) sessions.Time { return sessions.Time(t.Unix() * int64(time.Second)) }
	for i := range runs {
		queued, left := sim(n, i)
		var ms sessions.Messages
		for k := range min(len(queued), len(left)) {
			ms.Add(sessions.Message{From: "simulated", Direction: "outbound-api", Status: "sent",
				QueuedAt: cut(queued[k]), SentAt: cut(left[k]), Segments: sessions.Int{V: segments, Known: true}})
		}
		for _, r := range Compute(nil, nil, &ms, o) {
			if r.SustainedPerS.Known && r.SustainedPerS.V > 0 {
				halves = append(halves, 50*(r.SustainedHighPerS.V-r.SustainedLowPerS.V)/r.SustainedPerS.V)
			}
		}
	}
	w.RefusedPct = 100 * float64(runs-len(halves)) / float64(max(1, runs))
	if len(halves) > 0 {
		slices.Sort(halves)
		w.HalfPct, w.HalfP90Pct = some(quantile(halves, 50)), some(quantile(halves, 90))
		w.Enough = 2*len(halves) > runs && w.HalfPct.V <= targetPct
	}
	return w
}
