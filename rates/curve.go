package rates

import (
	"slices"
	"time"

	"github.com/twtrace/twtrace/sessions"
)

// Instant is a point of a curve: a mid-point and a half-width.
type Instant struct {
	At        sessions.Time
	HalfWidth time.Duration
	Segments  int64
}

// Curves are the queue and the dequeue instants of one queue, each in order of
// time; the n-th step of a curve is its n-th instant. Clocks may differ: the
// dequeue instants are by Clock, queue instants by whoever accepted the item.
type Curves struct {
	Kind, Queue, QueueBy, Clock string
	Queued, Left                []Instant
}

// Curve gives the curves of each queue, in the order of Compute's rows. With
// two or more captured arrivals and no times of the provider, Left are these.
func Curve(arrivals []sessions.Arrival, calls []sessions.CallResource, messages *sessions.Messages, opt Options) []Curves {
	var out []Curves
	for _, q := range queues(arrivals, calls, messages, opt) {
		c := Curves{Kind: q.kind, Queue: q.name, QueueBy: q.by, Clock: "provider"}
		timed := 0
		for i := range q.items {
			if q.items[i].d != 0 {
				timed++
			}
		}
		captured := q.observed() > timed
		if captured {
			c.Clock = "capture"
		}
		for i := range q.items {
			it := &q.items[i]
			if it.q != 0 {
				c.Queued = append(c.Queued, Instant{sessions.Time(it.q), time.Duration(it.hq), int64(it.k)})
			}
			t, h := it.d, it.hd
			if captured {
				t, h = it.c, it.hc
			}
			if t != 0 {
				c.Left = append(c.Left, Instant{sessions.Time(t), time.Duration(h), int64(it.k)})
			}
		}
		byAt := func(a, b Instant) int {
			switch {
			case a.At < b.At:
				return -1
			case a.At > b.At:
				return 1
			}
			return 0
		}
		slices.SortStableFunc(c.Queued, byAt)
		slices.SortStableFunc(c.Left, byAt)
		out = append(out, c)
	}
	return out
}

// Window is the realised rate of one window, certain: items that surely left
// inside and items that possibly did, by its length.
type Window struct {
	From      sessions.Time
	Length    time.Duration
	LowPerS   float64
	HighPerS  float64
	Sure, May int64
}

const maxWindows = 1 << 16

// Windows cuts the time from the first to the last instant of left, which is in
// order of time, into windows of the given length; a rest shorter than that is
// left out. When all times are cut to whole seconds the windows start on one,
// and the counts are exact. There are none when the length is not positive or
// more than 65,536 windows would be needed.
func Windows(left []Instant, length time.Duration) []Window {
	if length <= 0 || len(left) == 0 {
		return nil
	}
	from, to := left[0].At, left[len(left)-1].At
	whole := true
	for _, x := range left {
		whole = whole && x.HalfWidth == time.Second/2 && (x.At-sessions.Time(x.HalfWidth))%sessions.Time(time.Second) == 0
	}
	if whole {
		from -= sessions.Time(time.Second / 2)
		to += sessions.Time(time.Second / 2)
	}
	n := int64(to-from) / int64(length)
	if n <= 0 || n > maxWindows {
		return nil
	}
	out := make([]Window, n)
	for i := range out {
		out[i] = Window{From: from + sessions.Time(int64(i)*int64(length)), Length: length}
	}
	end := from + sessions.Time(n*int64(length))
	for _, x := range left {
		lo, hi := x.At-sessions.Time(x.HalfWidth), x.At+sessions.Time(x.HalfWidth)
		if whole {
			hi-- // [s, s+1)
		}
		if hi < from || lo >= end {
			continue
		}
		a := max(0, int64(lo-from)/int64(length))
		b := min(n-1, int64(hi-from)/int64(length))
		if a == b && lo >= from && hi < end {
			out[a].Sure++
		}
		out[a].May++
		if b+1 < n {
			out[b+1].May-- // running sum below
		}
	}
	s := length.Seconds()
	for i := range out {
		if i > 0 {
			out[i].May += out[i-1].May
		}
		out[i].LowPerS, out[i].HighPerS = float64(out[i].Sure)/s, float64(out[i].May)/s
	}
	return out
}
