package rates

import (
	"cmp"
	"math"
	"slices"

	"github.com/twtrace/twtrace/sessions"
)

// order fills in what needs both times of an item: overtaking, waits, the
// longest queue, and Little's law as a check that no item is missing.
func (m *measurement) order() {
	r := &m.run
	f := m.overtaking()
	if f.pairs > 0 {
		r.FIFOInversions = sessions.Int{V: f.inversions, Known: true}
		r.FIFOTau = some(f.tau)
	}
	var waits []float64
	for i := range m.items {
		if it := &m.items[i]; it.timed && (it.d != 0 || it.c != 0) && !it.failed {
			waits = append(waits, it.wait)
		}
	}
	if len(waits) > 0 {
		slices.Sort(waits)
		r.WaitP50S, r.WaitP95S = some(quantile(waits, 50)), some(quantile(waits, 95))
	}
	m.littlesLaw()
}

// quantile is the p-th percentile of sorted x, linear between neighbours.
func quantile(x []float64, p int) float64 {
	at := (len(x) - 1) * p
	i, rest := at/100, float64(at%100)/100
	if rest == 0 {
		return x[i]
	}
	return x[i] + float64(rest*(x[i+1]-x[i]))
}

type fifo struct {
	pairs      int64 // pairs whose order is sure on both sides
	inversions int64
	tau        float64
}

type pair struct{ q, d int64 }

// overtaking compares queue order with dequeue order.
func (m *measurement) overtaking() fifo {
	n, captured, haveQ := 0, 0, 0
	for i := range m.items {
		it := &m.items[i]
		if it.d != 0 {
			n++
			if it.q != 0 {
				haveQ++
			}
		}
		if it.c != 0 {
			captured++
		}
	}
	// The provider's times when there are any beside the captured ones: clocks
	// are never mixed.
	byCapture := captured >= 2 && captured >= n
	ps := make([]pair, 0, max(n, captured))
	var tickQ, tickD int64
	places := haveQ < n || byCapture // then the order of the rows is the queue order
	for i := range m.items {
		it := &m.items[i]
		d, hd := it.d, it.hd
		if byCapture {
			d, hd = it.c, it.hc
		}
		if d == 0 {
			continue
		}
		p := pair{q: it.q, d: d}
		if places {
			p.q = int64(i)
		} else {
			tickQ = max(tickQ, 2*it.hq)
		}
		tickD = max(tickD, 2*hd)
		ps = append(ps, p)
	}
	return kendall(ps, max(tickQ, 1), max(tickD, 1))
}

// kendall is Kendall's tau-b: pairs less than a tick apart are tied. An
// inversion is a pair surely ordered both ways with the orders opposed. O(n log n).
func kendall(ps []pair, tickQ, tickD int64) fifo {
	n := len(ps)
	slices.SortFunc(ps, func(a, b pair) int { return cmp.Or(cmp.Compare(a.q, b.q), cmp.Compare(a.d, b.d)) })
	ds := make([]int64, n)
	for i := range ps {
		ds[i] = ps[i].d
	}
	slices.Sort(ds)
	var f fifo
	orderedQ, orderedD := apart(len(ps), tickQ, func(i int) int64 { return ps[i].q }), apart(n, tickD, func(i int) int64 { return ds[i] })
	tree := make([]int32, n+1) // Fenwick tree of the ranks seen
	added := int64(0)
	prefix := func(i int) int64 { // how many of the i smallest are in
		s := int64(0)
		for ; i > 0; i -= i & -i {
			s += int64(tree[i])
		}
		return s
	}
	var concordant int64
	j := 0
	for i := range ps {
		for ; j < i && ps[i].q-ps[j].q >= tickQ; j++ {
			rank, _ := slices.BinarySearch(ds, ps[j].d)
			for k := rank + 1; k <= n; k += k & -k {
				tree[k]++
			}
			added++
		}
		if added == 0 {
			continue
		}
		above, _ := slices.BinarySearch(ds, ps[i].d+tickD)   // first that is surely later
		below, _ := slices.BinarySearch(ds, ps[i].d-tickD+1) // first that is not surely earlier
		f.inversions += added - prefix(above)
		concordant += prefix(below)
	}
	f.pairs = f.inversions + concordant
	if orderedQ > 0 && orderedD > 0 {
		f.tau = float64(concordant-f.inversions) / (math.Sqrt(float64(orderedQ)) * math.Sqrt(float64(orderedD)))
		f.tau = max(-1, min(1, f.tau))
	}
	return f
}

// apart counts the pairs of the n sorted numbers at(i) that differ by a tick or more.
func apart(n int, tick int64, at func(int) int64) int64 {
	total, j := int64(0), 0
	for i := range n {
		for j < i && at(i)-at(j) >= tick {
			j++
		}
		total += int64(j)
	}
	return total
}

// littlesLaw follows B(t), queued so far less dequeued so far, by the provider's
// clock alone. Its mean L must be the rate times the mean wait; what was queued
// and never seen to leave makes L larger. Items that still wait when the last
// one left are no surprise: their waits so far are counted on both sides.
func (m *measurement) littlesLaw() {
	var end, begin int64
	for i := range m.items {
		if it := &m.items[i]; it.d != 0 && it.p != 0 {
			end = max(end, it.d)
		}
	}
	if end == 0 {
		return
	}
	in := make([]int64, 0, len(m.items))
	out := make([]int64, 0, len(m.items))
	var waits, slack float64
	var lacking int64
	for i := range m.items {
		it := &m.items[i]
		if it.p == 0 || it.failed || it.class == never || it.p > end {
			continue
		}
		slack += seconds(it.hp)
		in = append(in, it.p)
		switch {
		case it.d != 0:
			waits += seconds(it.d - it.p)
			slack += seconds(it.hd)
			out = append(out, it.d)
		case it.class == waiting:
			waits += seconds(end - it.p)
		default:
			lacking++
		}
	}
	if len(in) == 0 {
		return
	}
	slices.Sort(in)
	slices.Sort(out)
	begin = min(in[0], end)
	area, now, most, last := 0.0, int64(0), int64(0), begin
	for i, j := 0, 0; i < len(in) || j < len(out); {
		// An item is queued before it leaves, also within one tick.
		add, t := int64(1), int64(0)
		if j == len(out) || i < len(in) && in[i] <= out[j] {
			t = in[i]
			i++
		} else {
			t, add = out[j], -1
			j++
		}
		if t > last {
			area += float64(float64(now) * seconds(t-last))
			last = t
		}
		now += add
		most = max(most, now)
	}
	m.run.BacklogMax = sessions.Int{V: most - min(lacking, most), Known: true}
	if t := seconds(end - begin); t > 0 && area-waits > slack && lacking > 0 {
		m.note.little = true
		m.note.meanQueue, m.note.rateWait, m.note.littleError = area/t, waits/t, slack/t
		m.note.lacking = lacking
	}
}
