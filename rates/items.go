package rates

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twtrace/twtrace/sessions"
)

// class is what is known of an item's leaving.
type class uint8

const (
	left    class = iota // it left the queue, or nothing says that it did not
	waiting              // it was still queued when last seen
	maybe                // failed or cancelled: it is not known whether it left
	never                // it surely never was in the queue, or left it unsent
)

// item is one queued call or message. Times are mid-points, 0 unknown.
type item struct {
	q, hq  int64 // queue time and half-width
	d, hd  int64 // dequeue time by the provider's clock
	c, hc  int64 // dequeue time as captured (calls at an observed endpoint)
	p, hp  int64 // queue time by the provider's clock
	wait   float64
	lat    float64 // network part of the captured arrival, ms
	bytes  int64   // of the body; -1 unknown
	k      int32   // segments; 1 when not known
	class  class
	failed bool
	timed  bool // wait is known
	own    bool // q is of the client's clock: a capture or a queue log
	delay  bool // lat is known
	far    bool // a call to a phone, not to an endpoint that can be observed
}

// queue is the items of one queue, in queue order.
type queue struct {
	experiment, kind, name, by string
	items                      []item
	size                       int  // items to come
	exact                      bool // the order of items is the queue order, whatever the errors of queue times
	segmented                  bool // every item's segments are known
	x                          sessions.Int
	posts                      []*sessions.Post // that were to queue its items
	latencyBy                  string
	created                    bool // queue times are of resources
}

func (q *queue) observed() int {
	n := 0
	for i := range q.items {
		if q.items[i].c != 0 {
			n++
		}
	}
	return n
}

const (
	maxTime     = 1 << 62 // year 2116; sums and differences of such times fit in int64
	maxHalf     = int64(24 * time.Hour)
	packetBound = int64(50 * time.Millisecond) // the study's bound of an arrival's latency
	maxSegments = 1 << 20
)

// instant is a time cut to resolution res: its mid-point and half-width.
func instant(t sessions.Time, res int64) (int64, int64) {
	if t <= 0 || t >= maxTime-sessions.Time(maxHalf) {
		return 0, 0
	}
	return int64(t) + res/2, res / 2
}

// halfWidth is a column of milliseconds as a half-width, or otherwise when it is unknown.
func halfWidth(ms sessions.Float, otherwise int64) int64 {
	if !ms.Known || !(ms.V >= 0) || ms.V > float64(maxHalf)/1e6 {
		return otherwise
	}
	return int64(math.Round(ms.V * 1e6))
}

// seen is a time of table arrivals. A resource time without an error on a whole
// second is one that was cut there, so that its middle is half a second later.
func seen(t sessions.Time, by string, err sessions.Float, otherwise int64) (int64, int64) {
	if by == "resource" {
		if !err.Known && t%sessions.Time(time.Second) == 0 {
			return instant(t, int64(time.Second))
		}
		otherwise = int64(time.Second) / 2
	}
	m, _ := instant(t, 0)
	if m == 0 {
		return 0, 0
	}
	return m, halfWidth(err, otherwise)
}

// queues parts the rows into queues: calls before messages, then by name.
func queues(arrivals []sessions.Arrival, calls []sessions.CallResource, messages *sessions.Messages, opt Options) []*queue {
	out := callQueues(arrivals, calls, opt)
	return append(out, messageQueues(messages, opt)...)
}

type queueKey struct{ by, name string }

// grouping collects items by queue.
type grouping struct {
	kind   string
	byKey  map[queueKey]*queue
	list   []*queue
	last   *queue
	lastAt queueKey
}

func (g *grouping) at(k queueKey, experiment string) *queue {
	if g.last != nil && g.lastAt == k {
		return g.last
	}
	q := g.byKey[k]
	if q == nil {
		q = &queue{experiment: experiment, kind: g.kind, by: k.by, name: k.name, segmented: true}
		if g.byKey == nil {
			g.byKey = map[queueKey]*queue{}
		}
		g.byKey[k] = q
		g.list = append(g.list, q)
	}
	if q.experiment == "" {
		q.experiment = experiment
	}
	g.last, g.lastAt = q, k
	return q
}

// done gives the queues by name. Items of which the queue is not known belong
// to the only queue there is; beside several they stay apart.
func (g *grouping) done() []*queue {
	slices.SortFunc(g.list, func(a, b *queue) int {
		return cmp.Or(cmp.Compare(a.by, b.by), cmp.Compare(a.name, b.name))
	})
	if len(g.list) == 2 && g.list[0].by == g.list[1].by && g.list[0].name == "" {
		a, b := g.list[0], g.list[1]
		b.items = append(b.items, a.items...)
		b.segmented = b.segmented && a.segmented
		g.list = g.list[1:]
	}
	return g.list
}

func messageQueues(messages *sessions.Messages, opt Options) []*queue {
	g := grouping{kind: "messages"}
	if messages == nil {
		return nil
	}
	items := make([]item, 0, messages.Len())
	of := make([]*queue, 0, messages.Len())
	for _, m := range messages.All() {
		if inbound(m.Direction) || m.Status == "received" || m.Status == "receiving" {
			continue
		}
		k := queueKey{"from", m.From}
		switch opt.QueueBy {
		case "account":
			k = queueKey{"account", m.AccountSID}
		case "from":
		default:
			if m.MessagingServiceSID != "" {
				k = queueKey{"service", m.MessagingServiceSID}
			}
		}
		q := g.at(k, m.Experiment)
		it, known := messageItem(m, opt.Segmenting)
		q.segmented = q.segmented && known
		q.size++
		items, of = append(items, it), append(of, q)
	}
	if len(g.list) == 1 {
		g.list[0].items = items
	} else {
		for _, q := range g.list {
			q.items = make([]item, 0, q.size)
		}
		for i, q := range of {
			q.items = append(q.items, items[i])
		}
	}
	list := g.done()
	for _, q := range list {
		q.items = sorted(q.items)
		q.x = bodyBytes(q.items, opt.MessageX)
	}
	return list
}

// sorted is items in queue order. Items that compare equal cannot be told apart
// by anything that is measured, so the order of the rows does not matter. The
// keys are sorted, not the items, which are large.
func sorted(items []item) []item {
	type key struct {
		q, d  int64
		i, k  int32
		class class
	}
	keys := make([]key, len(items))
	for i := range items {
		it := &items[i]
		keys[i] = key{it.q, it.d, int32(i), it.k, it.class}
	}
	slices.SortFunc(keys, func(a, b key) int {
		switch {
		case a.q != b.q:
			return cmp.Compare(a.q, b.q)
		case a.d != b.d:
			return cmp.Compare(a.d, b.d)
		case a.class != b.class:
			return cmp.Compare(a.class, b.class)
		case a.k != b.k:
			return cmp.Compare(a.k, b.k)
		}
		x, y := &items[a.i], &items[b.i]
		return cmp.Or(cmp.Compare(x.hq, y.hq), cmp.Compare(x.hd, y.hd))
	})
	out := make([]item, len(items))
	for i := range keys {
		out[i] = items[keys[i].i]
	}
	return out
}

// messageItem is a message as an item, and whether its segments are known.
func messageItem(m *sessions.Message, by string) (item, bool) {
	res := int64(time.Second)
	if r := m.TimeResolutionS; r.Known && r.V >= 1e-9 && r.V <= 86400 {
		res = int64(math.Round(r.V * 1e9))
	}
	it := item{bytes: -1, k: 1}
	it.q, it.hq = instant(m.QueuedAt, res)
	it.p, it.hp = it.q, it.hq
	if m.BodyBytes.Known && m.BodyBytes.V >= 0 {
		it.bytes = m.BodyBytes.V
	}
	switch strings.ToLower(m.Status) {
	case "failed", "undelivered", "canceled", "cancelled":
		it.failed, it.class = true, maybe
		// 30001 is the provider's "queue overflow": it was never queued.
		if m.ErrorCode.Known && m.ErrorCode.V == 30001 {
			it.class = never
		}
	case "scheduled":
		it.class = never
	case "queued", "accepted", "sending":
		it.class = waiting
	}
	if !it.failed {
		if it.d, it.hd = instant(m.SentAt, res); it.d != 0 {
			it.class = left
		}
	}
	if it.d != 0 && it.q != 0 {
		it.wait, it.timed = seconds(it.d-it.q), true
	}
	order := [3]sessions.Int{m.Segments, m.SegmentsGSM, m.Segments160}
	switch by {
	case "gsm":
		order = [3]sessions.Int{m.SegmentsGSM}
	case "160":
		order = [3]sessions.Int{m.Segments160}
	}
	for _, s := range order {
		if s.Known && s.V > 0 && s.V <= maxSegments {
			it.k = int32(s.V)
			return it, true
		}
	}
	return it, false
}

func bodyBytes(items []item, manifest sessions.Int) sessions.Int {
	x, known := int64(-1), false
	for i := range items {
		switch b := items[i].bytes; {
		case b < 0:
		case !known:
			x, known = b, true
		case x != b:
			return sessions.Int{}
		}
	}
	if !known {
		return manifest
	}
	return sessions.Int{V: x, Known: true}
}

// inbound tells what the provider did not queue: resources that came in.
func inbound(direction string) bool {
	d := strings.ToLower(direction)
	return strings.Contains(d, "inbound") || strings.Contains(d, "incoming")
}

// unqueued tells calls that are no items of the account's queue: besides
// inbound ones those dialed by a call and those of trunks, which the promise
// exempts.
func unqueued(direction string) bool {
	d := strings.ToLower(direction)
	return inbound(d) || strings.Contains(d, "dial") || strings.HasPrefix(d, "trunking")
}

func callQueues(arrivals []sessions.Arrival, calls []sessions.CallResource, opt Options) []*queue {
	bySID := make(map[string]*sessions.CallResource, len(calls))
	for i := range calls {
		if calls[i].SID != "" {
			bySID[calls[i].SID] = &calls[i]
		}
	}
	type row struct {
		a    *sessions.Arrival
		c    *sessions.CallResource
		made int64 // date_created, for the place of calls without an arrival row
	}
	rows := make([]row, 0, max(len(arrivals), len(calls)))
	used := make(map[string]bool, len(arrivals))
	for i := range arrivals {
		a := &arrivals[i]
		c := bySID[a.CallSID]
		if a.CallSID != "" {
			used[a.CallSID] = true
		}
		rows = append(rows, row{a: a, c: c})
	}
	slices.SortStableFunc(rows, func(x, y row) int { return cmp.Compare(x.a.Seq, y.a.Seq) })
	// Resources without a row of their own are put where date_created says: by
	// the provider's clock among the arrivals that have a resource too.
	var alone []row
	for i := range calls {
		if c := &calls[i]; c.SID == "" || !used[c.SID] && bySID[c.SID] == c {
			alone = append(alone, row{c: c})
		}
	}
	if len(alone) > 0 {
		latest := int64(0)
		for i := range rows {
			t := sessions.Time(0)
			if c := rows[i].c; c != nil && c.CreatedAt != 0 {
				t = c.CreatedAt
			} else if a := rows[i].a; a.QueuedAt != 0 {
				t = a.QueuedAt
			}
			latest = max(latest, int64(t))
			rows[i].made = latest
		}
		for i := range alone {
			alone[i].made = int64(alone[i].c.CreatedAt)
		}
		slices.SortFunc(alone, func(x, y row) int {
			return cmp.Or(cmp.Compare(x.made, y.made), cmp.Compare(x.c.StartedAt, y.c.StartedAt), cmp.Compare(x.c.SID, y.c.SID),
				cmp.Compare(x.c.Status, y.c.Status), cmp.Compare(x.c.AccountSID, y.c.AccountSID), cmp.Compare(x.c.From, y.c.From), cmp.Compare(x.c.To, y.c.To), cmp.Compare(x.c.Direction, y.c.Direction))
		})
		rows = append(rows, alone...)
		slices.SortStableFunc(rows, func(x, y row) int { return cmp.Compare(x.made, y.made) })
	}
	endpoint := false // the manifest's endpoint is among the arrivals
	for i := range arrivals {
		endpoint = endpoint || opt.Endpoint != "" && arrivals[i].To == opt.Endpoint
	}
	// A call without a resource has no account: it belongs to the only queue there is.
	name := func(r *sessions.CallResource) string {
		if r == nil {
			return ""
		} else if opt.QueueBy == "from" {
			return r.From
		}
		return r.AccountSID
	}
	sole, several := "", false
	for _, r := range rows {
		if n := name(r.c); n != "" && !unqueued(r.c.Direction) {
			several = several || sole != "" && sole != n
			sole = n
		}
	}
	if several {
		sole = ""
	}
	delays := make(map[string]*sessions.Latency, len(opt.Latencies))
	for i := range opt.Latencies {
		delays[opt.Latencies[i].CallID] = &opt.Latencies[i]
	}
	latencyBy := ""
	g := grouping{kind: "calls"}
	for _, r := range rows {
		if r.c != nil && unqueued(r.c.Direction) {
			continue
		}
		k := queueKey{by: "account", name: cmp.Or(name(r.c), sole)}
		if opt.QueueBy == "from" {
			k.by = "from"
		}
		experiment, only := "", ""
		if r.a != nil {
			experiment = r.a.Experiment
		} else {
			experiment = r.c.Experiment
		}
		if endpoint {
			only = opt.Endpoint
		}
		q := g.at(k, experiment)
		it := callItem(r.a, r.c, only, opt.CallCreated == "dialed")
		if r.a != nil && it.c != 0 {
			if l := delays[r.a.CallID]; l != nil && l.MS >= 0 && l.MS < 1e9 {
				it.lat, it.delay = l.MS, true
				latencyBy = l.By
			}
		}
		q.items = append(q.items, it)
	}
	list := g.done()
	for _, q := range list {
		q.latencyBy = latencyBy
		q.oneClock()
		q.x = callsBetween(q.items, opt.CallX)
	}
	return list
}

// oneClock sees to it that the queue times of a queue are of one clock: the
// client's when all have it, else the provider's when all have that, else the
// client's alone.
func (q *queue) oneClock() {
	own, provider, some := true, true, false
	for i := range q.items {
		it := &q.items[i]
		own = own && it.own
		some = some || it.own
		provider = provider && it.p != 0
	}
	q.exact = some
	q.created = !own
	if own || !some {
		return
	}
	for i := range q.items {
		it := &q.items[i]
		if provider {
			it.q, it.hq = it.p, it.hp
		} else if !it.own {
			it.q, it.hq = 0, 0
		}
	}
}

// callItem joins the two rows of a call; either may be missing. Only arrivals
// at endpoint only count as observed, when it is given.
func callItem(a *sessions.Arrival, c *sessions.CallResource, only string, dialed bool) item {
	it := item{bytes: -1, k: 1}
	to := ""
	kind := ""
	if c != nil {
		to = c.To
		it.d, it.hd = instant(c.StartedAt, int64(time.Second))
		it.q, it.hq = instant(c.QueuedAt(dialed), int64(time.Second))
		it.p, it.hp = it.q, it.hq
		if it.d != 0 && it.q != 0 {
			it.wait, it.timed = seconds(it.d-it.q), true
		}
		switch strings.ToLower(c.Status) {
		case "failed", "canceled", "cancelled":
			it.failed, it.class = true, maybe
		case "queued":
			it.class = waiting
		}
		if it.failed {
			it.d, it.hd = 0, 0
		} else if it.d != 0 {
			it.class = left
		}
	}
	if a != nil {
		to, kind = cmp.Or(a.To, to), a.Endpoint
		if q, h := seen(a.QueuedAt, a.QueuedBy, a.QueuedErrorMS, int64(time.Millisecond)); q != 0 {
			it.q, it.hq = q, h
			if it.own = a.QueuedBy != "resource"; it.p == 0 && !it.own {
				it.p, it.hp = q, h
			}
		}
		if a.WaitS.Known && !math.IsNaN(a.WaitS.V) && math.Abs(a.WaitS.V) < 1e9 {
			it.wait, it.timed = a.WaitS.V, true
		}
	}
	if kind == "" {
		kind = "phone"
		if strings.HasPrefix(to, "client:") {
			kind = "browser"
		} else if strings.HasPrefix(to, "sip:") || strings.HasPrefix(to, "sips:") {
			kind = "sip"
		}
	}
	it.far = kind == "phone"
	if only != "" {
		it.far = to != only
	}
	if a == nil || a.ArrivedBy == "" || a.ArrivedAt == 0 {
		return it
	}
	switch {
	case a.ArrivedBy != "resource" && !it.far:
		it.c, it.hc = seen(a.ArrivedAt, a.ArrivedBy, a.ArrivedErrorMS, packetBound)
	case a.ArrivedBy == "resource" && it.d == 0 && !it.failed:
		it.d, it.hd = seen(a.ArrivedAt, a.ArrivedBy, a.ArrivedErrorMS, int64(time.Second)/2)
	}
	if it.c != 0 || it.d != 0 {
		it.class = left
	}
	return it
}

// callsBetween is the study's x: the calls queued between the first and the
// last one to an endpoint that can be observed.
func callsBetween(items []item, manifest sessions.Int) sessions.Int {
	if manifest.Known {
		return manifest
	}
	first, last := -1, -1
	for i := range items {
		if !items[i].far {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if last <= first || items[first].q == 0 || items[last].q == 0 {
		return sessions.Int{}
	}
	n := int64(0)
	for i := first; i < last; i++ {
		if items[i].far {
			n++
		}
	}
	return sessions.Int{V: n, Known: true}
}
