package rates

import (
	"cmp"
	"slices"
)

// timedAt is a dequeue instant, with what left between it and the next one.
type timedAt struct {
	t, h       int64
	k          int64 // segments of its item
	extra      int64 // segments that left about here, before the next instant, at no known time
	extraItems int64
}

// series is the dequeue instants of one queue in order of time, equal ones in
// queue order, and the queue times that tell when the queue was not empty.
type series struct {
	at     []timedAt
	queued []int64 // latest possible queue times of what left or still waits, sorted
	least  int64   // l: smallest wait, the pipeline's own delay
	waits  bool    // least is known
	even   bool    // all instants have the same segments

	lacking                      bool // there are items without a time:
	sureLo, sureHi, allLo, allHi sums // those that left, and with those that may have, by the gaps that bound them
}

// newSeries makes the series of items, which are in queue order. When the
// segments are not known every item counts as one.
func newSeries(items []item, segmented, exact bool) *series {
	s := &series{}
	type placed struct {
		timedAt
		place int
	}
	n := 0
	for i := range items {
		if items[i].d != 0 {
			n++
		}
	}
	by := make([]placed, 0, n)
	s.queued = make([]int64, 0, len(items))
	for i := range items {
		it := &items[i]
		if it.d != 0 {
			k := int64(1)
			if segmented {
				k = int64(it.k)
			}
			by = append(by, placed{timedAt{t: it.d, h: it.hd, k: k}, i})
			if it.q != 0 {
				if w := it.d + it.hd - (it.q - it.hq); !s.waits || w < s.least {
					s.least, s.waits = w, true
				}
			}
		}
		if it.q != 0 && (it.class == left || it.class == waiting) {
			s.queued = append(s.queued, it.q+it.hq)
		}
	}
	slices.Sort(s.queued)
	slices.SortFunc(by, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(a.place, b.place))
	})
	s.even = true
	s.at = make([]timedAt, len(by))
	where := make([]int32, len(items)) // place in time of each item with a time
	for i := range by {
		s.at[i] = by[i].timedAt
		s.even = s.even && by[i].k == by[0].k
		where[by[i].place] = int32(i)
	}
	s.placeUntimed(items, where, segmented, exact)
	return s
}

// untimed is what left, or may have left, at no known time. Its place is known
// by queue order only (first in, first out): in gap lo or a later one up to gap
// hi, where gap -1 is before the first instant and the last is after the last.
type untimed struct {
	lo, hi int
	k      int64
	sure   bool // it did leave
}

// sums counts untimed items by gap; below(g) sums those of gaps less than g.
type sums struct{ items, segs []int64 }

func newSums(n int) sums { return sums{make([]int64, n+2), make([]int64, n+2)} }

func (s sums) add(gap int, k int64) { s.items[gap+2]++; s.segs[gap+2] += k }

func (s sums) finish() {
	for i := 1; i < len(s.items); i++ {
		s.items[i] += s.items[i-1]
		s.segs[i] += s.segs[i-1]
	}
}

func (s sums) below(g int) (items, segs int64) { return s.items[g+1], s.segs[g+1] }

// placeUntimed bounds the gap in which each item without a time left: after the
// last item that was surely queued before it and before the first that was
// surely queued after it. exact: the order of items is the queue order, whatever
// the queue times' errors.
func (s *series) placeUntimed(items []item, where []int32, segmented, exact bool) {
	n := len(s.at)
	if n < 2 || n == len(items) {
		return
	}
	timed := make([]int32, 0, n) // items with a time, in queue order
	q := make([]int64, 0, n)
	var widest int64
	for i := range items {
		if it := &items[i]; it.d != 0 && (exact || it.q != 0) {
			timed = append(timed, int32(i))
			if exact {
				q = append(q, int64(i))
				continue
			}
			q = append(q, it.q)
			widest = max(widest, it.hq)
		}
	}
	s.sureLo, s.sureHi, s.allLo, s.allHi = newSums(n), newSums(n), newSums(n), newSums(n)
	for i := range items {
		it := &items[i]
		if it.d != 0 || it.class == never {
			continue
		}
		u := untimed{lo: -1, hi: n - 1, k: 1, sure: it.class == left}
		if segmented {
			u.k = int64(it.k)
		}
		at, h := it.q, it.hq+widest
		if exact {
			at, h = int64(i), 0
		}
		if exact || it.q != 0 {
			// before: q <= at-h, and less than at; after: q >= at+h, and more than at.
			b, _ := slices.BinarySearch(q, min(at-h+1, at))
			a, _ := slices.BinarySearch(q, max(at+h, at+1))
			if b > 0 {
				u.lo = int(where[timed[b-1]])
			}
			if a < len(timed) {
				u.hi = int(where[timed[a]]) - 1
			}
			if u.hi < u.lo { // overtaken ones on either side
				u.lo, u.hi = u.hi, u.lo
			}
		}
		if it.class == waiting && u.hi == n-1 {
			continue // it still waits, as its place says
		}
		s.allLo.add(u.lo, u.k)
		s.allHi.add(u.hi, u.k)
		if u.sure {
			s.sureLo.add(u.lo, u.k)
			s.sureHi.add(u.hi, u.k)
			if g := (u.lo + u.hi + 1) / 2; g >= 0 && g < n-1 {
				s.at[g].extra += u.k
				s.at[g].extraItems++
			}
		}
	}
	for _, x := range []sums{s.sureLo, s.sureHi, s.allLo, s.allHi} {
		x.finish()
	}
	s.lacking = true
}

// busy tells for each gap whether the next item surely waited when its turn
// came: latest possible q(i+1) + l <= earliest possible d(i), both sorted. All
// is false, and shown too, when no item has both times.
func (s *series) busy() (gaps []bool, shown bool) {
	if len(s.at) < 2 {
		return nil, false
	}
	gaps = make([]bool, len(s.at)-1)
	if !s.waits {
		return gaps, false
	}
	for i := range gaps {
		a := &s.at[i]
		pos := i + 1 // items that left before the instant after the gap, at most
		if s.lacking {
			n, _ := s.sureLo.below(i + 1)
			pos += int(n)
		}
		gaps[i] = pos < len(s.queued) && a.t-a.h-s.queued[pos] >= s.least
	}
	return gaps, true
}

// stretch is the instants a..b between which all gaps are busy.
type stretch struct{ a, b int }

const (
	minGaps     = 8           // of a stretch, and after a change
	minInstants = minGaps + 1 // of a sustained rate
)

func stretches(busy []bool) []stretch {
	var out []stretch
	for i := 0; i < len(busy); {
		j := i
		for j < len(busy) && busy[j] {
			j++
		}
		if j-i >= minGaps {
			out = append(out, stretch{i, j})
		}
		i = j + 1
	}
	return out
}

func (s *series) gapsOutside(st []stretch) int {
	n := len(s.at) - 1
	for _, x := range st {
		n -= x.b - x.a
	}
	return n
}

// span is a time and what left in it.
type span struct {
	t, w, idle       float64
	segMin, segMax   int64
	itemMin, itemMax int64
}

func (p span) plus(q span) span {
	return span{p.t + q.t, p.w + q.w, p.idle + q.idle, p.segMin + q.segMin, p.segMax + q.segMax, p.itemMin + q.itemMin, p.itemMax + q.itemMax}
}

// span sums instants a..b. A slot is charged before its message (all but the
// first item count) or after it (all but the last): both are formed, and where
// the order of the first or last few is not known, both with the smallest and
// with the largest of them.
func (s *series) span(a, b int) span {
	var p span
	var e extremes
	var total int64
	for i := a; i <= b; i++ {
		e.add(s.at[i].t, s.at[i].h)
		total += s.at[i].k
	}
	n := int64(b - a)
	var sure, may, sureItems, mayItems int64
	if s.lacking {
		// Surely inside: not after it, less those that may have left before it
		// (a lower bound where some may have left on both sides). Possibly inside:
		// all but those surely before and surely after.
		hi, hiSegs := s.sureHi.below(b)
		lo, loSegs := s.sureLo.below(a)
		sureItems, sure = max(0, hi-lo), max(0, hiSegs-loSegs)
		lo, loSegs = s.allLo.below(b)
		hi, hiSegs = s.allHi.below(a)
		mayItems, may = lo-hi, loSegs-hiSegs
	}
	p.t, p.w = e.span()
	firstLo, firstHi := s.swap(a, a, b)
	lastLo, lastHi := s.swap(b, a, b)
	// total is by the order as it stands; swap is how far a true order can
	// change the sum of a..b, or the size of the item that is left out.
	p.segMin = max(n, total-max(firstHi.out+lastHi.in, lastHi.out+firstHi.in)) + sure
	p.segMax = total - min(firstLo.out+lastLo.in, lastLo.out+firstLo.in) + may
	p.itemMin, p.itemMax = n+sureItems, n+mayItems
	return p
}

// cut is what an unknown order at one end of a span takes from its total: out
// when that end's item is left out, in when it is counted.
type cut struct{ out, in int64 }

// maxSwap bounds how many instants of one tick are looked at one by one.
const maxSwap = 1 << 13

// swap bounds cut at instant i, an end of a..b: lo takes the least, hi the most.
// The instants whose order with i is not known can trade places; of them those
// within a..b are counted, which may be any.
func (s *series) swap(i, a, b int) (lo, hi cut) {
	x := &s.at[i]
	if s.even {
		c := cut{x.k, 0}
		return c, c
	}
	from, to := i, i
	for from > 0 && i-from < maxSwap && s.at[from-1].t+s.at[from-1].h > x.t-x.h {
		from--
	}
	for to < len(s.at)-1 && to-i < maxSwap && s.at[to+1].t-s.at[to+1].h < x.t+x.h {
		to++
	}
	if i-from == maxSwap || to-i == maxSwap {
		from, to = a, b // a bound on the work: wide, still certain
	}
	same := true
	for j := from; j <= to; j++ {
		same = same && s.at[j].k == x.k
	}
	if same {
		c := cut{x.k, 0}
		return c, c
	}
	ks := make([]int64, 0, to-from+1)
	inside, now := 0, int64(0)
	for j := from; j <= to; j++ {
		ks = append(ks, s.at[j].k)
		if j >= a && j <= b {
			inside++
			now += s.at[j].k
		}
	}
	slices.Sort(ks)
	sum := func(n int) (small, large int64) {
		for j := range n {
			small += ks[j]
			large += ks[len(ks)-1-j]
		}
		return
	}
	inLo, inHi := sum(inside)
	outLo, outHi := sum(inside - 1)
	return cut{now - outHi, now - inHi}, cut{now - outLo, now - inLo}
}
