package sessions

import (
	"cmp"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/twilio"
)

// A host's clock against the capture's. Every observation bounds the offset,
// host less capture, from both sides or from below:
//
//   - http-date: the server wrote second D (RFC 9110, 6.6.1) between our request
//     and its response: the offset lies in [D - response, D + 1 s - request].
//   - resource: date_created of what a POST made, in the same way.
//   - rtcp-sr: a sender report with NTP time N passed the capture at t after a
//     delay that is not negative: at least N - t. A report block in it that
//     answers a report of the other side gives the round trip from the capture
//     to the sender and back, which the delay is not longer than.
//
// A constant offset lies in the intersection of all. When that is empty, a
// clock that drifts steadily may still fit; else nothing is claimed but the
// range of what was seen.

// bounds are what one kind of observation says of one clock, in ns. Lows and
// highs are the convex hulls of the bounds over time, so that a steady drift
// can be tested against all of them; a bound that is left out only widens.
type bounds struct {
	n           int64
	low, high   int64 // the intersection
	least, most int64 // the range: the smallest low and the largest high
	nHigh       int64 // observations with a high end
	first, last Time
	lows, highs []bound
}

type bound struct {
	at Time
	v  int64
}

const (
	maxHull     = 128     // bounds kept of each side, for a drift
	maxClocks   = 1 << 12 // hosts
	maxDriftPPM = 500     // no clock of a server is worse; quartz has up to 100
)

func (o *bounds) add(at Time, low, high int64, hasHigh bool) {
	if o.n == 0 {
		o.low, o.least, o.first = low, low, at
	}
	o.n++
	o.low, o.least = max(o.low, low), min(o.least, low)
	o.last = max(o.last, at)
	o.first = min(o.first, at)
	o.lows = hull(o.lows, bound{at, low}, 1)
	if !hasHigh {
		return
	}
	if o.nHigh == 0 {
		o.high, o.most = high, high
	}
	o.nHigh++
	o.high, o.most = min(o.high, high), max(o.most, high)
	o.highs = hull(o.highs, bound{at, high}, -1)
}

// hull adds p to the upper (side 1) or lower (side -1) convex hull h, whose
// points come in the order of time.
func hull(h []bound, p bound, side float64) []bound {
	if n := len(h); n > 0 && p.at <= h[n-1].at {
		if p.at < h[n-1].at || side*float64(p.v-h[n-1].v) <= 0 {
			return h
		}
		h = h[:n-1]
	}
	for len(h) >= 2 {
		a, b := h[len(h)-2], h[len(h)-1]
		if side*((float64(b.v-a.v)*float64(p.at-a.at))-(float64(p.v-a.v)*float64(b.at-a.at))) > 0 {
			break
		}
		h = h[:len(h)-1]
	}
	if len(h) >= maxHull {
		return h
	}
	return append(h, p)
}

// join adds another kind of observation of the same clock.
func (o *bounds) join(p *bounds) {
	if p.n == 0 {
		return
	}
	if o.n == 0 {
		*o = *p
		return
	}
	if p.nHigh > 0 {
		if o.nHigh == 0 {
			o.high, o.most = p.high, p.most
		}
		o.high, o.most = min(o.high, p.high), max(o.most, p.most)
	}
	o.low, o.least = max(o.low, p.low), min(o.least, p.least)
	o.first, o.last = min(o.first, p.first), max(o.last, p.last)
	o.n, o.nHigh = o.n+p.n, o.nHigh+p.nHigh
	merge := func(x, y []bound, side float64) []bound {
		all := append(slices.Clone(x), y...)
		slices.SortStableFunc(all, func(a, b bound) int { return cmp.Compare(a.at, b.at) })
		var out []bound
		for _, p := range all {
			out = hull(out, p, side)
		}
		return out
	}
	o.lows, o.highs = merge(o.lows, p.lows, 1), merge(o.highs, p.highs, -1)
}

// offset is where a clock stands: between low and high at any time of the run.
type offset struct {
	low, high int64 // ns; high only when hasHigh
	hasHigh   bool
	drift     Float // ppm, when a constant offset does not fit
	unsteady  bool  // neither does a drift: low and high are the range seen
}

func (o *bounds) solve() offset {
	if o.nHigh == 0 {
		return offset{low: o.low}
	}
	if o.low <= o.high {
		return offset{low: o.low, high: o.high, hasHigh: true}
	}
	// a line a + b t lies above all lows and below all highs when b lies
	// between what each pair of a low and a high allows
	least, most := -maxDriftPPM*1e-6, maxDriftPPM*1e-6
	for _, l := range o.lows {
		for _, h := range o.highs {
			dt, dv := float64(l.at-h.at), float64(l.v-h.v)
			switch {
			case dt > 0:
				least = max(least, dv/dt)
			case dt < 0:
				most = min(most, dv/dt)
			case dv > 0:
				most = math.Inf(-1)
			}
		}
	}
	if least > most {
		return offset{low: min(o.least, o.low), high: max(o.most, o.high), hasHigh: true, unsteady: true}
	}
	r := offset{hasHigh: true, drift: decode.Some((least + most) / 2 * 1e6), low: math.MaxInt64, high: math.MinInt64}
	for _, t := range [...]Time{o.first, o.last} {
		low, high := math.Inf(-1), math.Inf(1)
		for _, l := range o.lows {
			dt := float64(t - l.at)
			low = max(low, float64(l.v)+min(least*dt, most*dt))
		}
		for _, h := range o.highs {
			dt := float64(t - h.at)
			high = min(high, float64(h.v)+max(least*dt, most*dt))
		}
		r.low, r.high = min(r.low, int64(math.Floor(low))), max(r.high, int64(math.Ceil(high)))
	}
	return r
}

// clocks are the observations of all hosts' clocks.
type clocks struct {
	hosts map[netip.Addr]*hostClock
	order []*hostClock
}

type hostClock struct {
	addr netip.Addr
	by   [3]bounds // in the order of clockKinds
}

var clockKinds = [3]string{"http-date", "resource", "rtcp-sr"}

func (b *Builder) clockOf(a netip.Addr) *hostClock {
	c := b.clocks.hosts[a]
	if c == nil {
		if len(b.clocks.hosts) >= maxClocks {
			b.capped("host clocks")
			return nil
		}
		if b.clocks.hosts == nil {
			b.clocks.hosts = map[netip.Addr]*hostClock{}
		}
		c = &hostClock{addr: a}
		b.clocks.hosts[a] = c
		b.clocks.order = append(b.clocks.order, c)
	}
	return c
}

const second = 1_000_000_000

// maxOffset: what is further off is no clock that counts from the same
// beginning (RFC 3550, 6.4.1 allows a time since start).
const maxOffset = 10 * 366 * 24 * 3600 * second

func inRange(at, asked, answered Time) bool {
	return at > 0 && at < 1<<62 && asked > 0 && answered >= asked && answered < 1<<62 && at-asked < maxOffset && asked-at < maxOffset
}

// clockDate takes a response to a request. A cached response (RFC 9111, 5.1)
// has the date at which it was made; one that refuses a request of several
// segments may have been written before the last of them.
func (b *Builder) clockDate(ev *decode.Event, q *openRequest) {
	m := ev.HTTP
	if m.Date == "" || m.Get("Age") != "" || q.long && m.Status >= 400 {
		return
	}
	s, ok := m.DateUnix()
	if !ok || s <= 0 || s >= 1<<32 {
		return
	}
	at := Time(s * second)
	if !inRange(at, q.at, ev.Time) {
		return
	}
	if c := b.clockOf(ev.Src().Addr()); c != nil {
		c.by[0].add(ev.Time, int64(at-ev.Time), int64(at-q.at)+second, true)
	}
}

// clockCreated takes a resource that a POST made.
func (b *Builder) clockCreated(ev *decode.Event, q *openRequest, r *twilio.Resource) {
	at := Time(r.Created)
	if r.ResolutionNS <= 0 || r.ResolutionNS > second || !inRange(at, q.at, ev.Time) {
		return
	}
	if c := b.clockOf(ev.Src().Addr()); c != nil {
		c.by[1].add(ev.Time, int64(at-ev.Time), int64(at-q.at)+r.ResolutionNS, true)
	}
}

// reportSlack: user agents read the clock of a report some time before it leaves
// (1.5 ms was seen), and many count DLSR in whole ms.
const reportSlack = 5_000_000

// clockReport takes the sender reports of a compound packet.
func (b *Builder) clockReport(ev *decode.Event) {
	if len(ev.RTCP.SRs) == 0 || !ev.Decrypted && b.isSecure(ev) {
		return
	}
	if ev.Dir == 1 && ev.Flow.Apps[decode.AppTURN] > 0 {
		return // relayed: the clock is not the relay's
	}
	for i := range ev.RTCP.SRs {
		sr := &ev.RTCP.SRs[i]
		at := Time(rtcp.UnixNano(sr.NTP))
		if sr.NTP == 0 || !inRange(at, ev.Time, ev.Time) {
			continue
		}
		low := int64(at - ev.Time)
		high, known := int64(0), false
		for j := range sr.Reports {
			r := &sr.Reports[j]
			if r.LSR == 0 {
				continue
			}
			sent, ok := b.reports[reportKey{r.SSRC, r.LSR}]
			if !ok {
				continue
			}
			rtt := int64(ev.Time-sent.at) - int64(float64(r.DLSR)*second/65536) + reportSlack
			if rtt >= 0 && rtt < 60*second && (!known || low+rtt < high) {
				high, known = low+rtt, true
			}
		}
		if c := b.clockOf(ev.Src().Addr()); c != nil {
			c.by[2].add(ev.Time, low, high, known)
		}
	}
}

// clockRows makes the rows of table clocks, and keeps the provider's clock for
// the waits: that of the hosts that made resources, else of its API.
func (b *Builder) clockRows(t *Trace) (provider bounds) {
	names := make([]string, len(b.clocks.order))
	times := map[string]int{}
	for i, c := range b.clocks.order {
		h := host{addr: c.addr}
		h.finish(b.names[c.addr])
		names[i] = h.Address
		if len(h.Names) > 0 {
			names[i] = h.Names[0]
		}
		times[names[i]]++
	}
	var api bounds
	for i, c := range b.clocks.order {
		row := Clock{Host: names[i]}
		if times[row.Host] > 1 { // several servers of one name
			row.Host = c.addr.String()
		}
		var all bounds
		width := int64(math.MaxInt64)
		for k := range c.by {
			o := &c.by[k]
			if o.n == 0 {
				continue
			}
			w := int64(math.MaxInt64 - 1)
			if s := o.solve(); s.hasHigh {
				w = s.high - s.low
			}
			if w < width {
				width, row.By = w, clockKinds[k]
			}
			all.join(o)
		}
		s := all.solve()
		row.Samples, row.OffsetLowMS, row.DriftPPM = all.n, decode.Some(float64(s.low)/1e6), s.drift
		if s.hasHigh {
			row.OffsetHighMS = decode.Some(float64(s.high) / 1e6)
		}
		if s.unsteady {
			t.Oddities = append(t.Oddities, Oddity{Rule: "clock-offset", Severity: "info", At: all.first, Subject: row.Host,
				Text: "no constant offset and no steady drift fits what was seen of this clock; the interval is the range of all observations"})
		}
		t.Clocks = append(t.Clocks, row)
		if c.by[1].n > 0 {
			provider.join(&all)
		} else if roleByName(names[i]) == "rest" {
			api.join(&all)
		}
	}
	if provider.n == 0 {
		provider = api
	}
	return provider
}

// waits fills wait_s: both times on one clock, or on two whose offset is known
// within its width. queued_at and arrived_at stay as they were read.
func (b *Builder) waits(t *Trace, provider bounds) {
	// to the capture's clock: what to take off a time, and its half-width
	type shift struct {
		off, half float64 // ns
		known     bool
	}
	shiftOf := func(o *bounds) shift {
		if o.n == 0 {
			return shift{}
		}
		s := o.solve()
		if !s.hasHigh || s.unsteady {
			return shift{}
		}
		return shift{float64(s.low)/2 + float64(s.high)/2, float64(s.high-s.low) / 2, true}
	}
	capture, cloud, client := shift{known: true}, shiftOf(&provider), shift{}
	if o := b.clientClock(); o.n > 0 && o.low <= o.high { // of one that steps nothing is known
		client = shiftOf(&o)
	}
	for i := range t.Arrivals {
		a := &t.Arrivals[i]
		if a.QueuedAt == 0 || a.ArrivedAt == 0 || !a.QueuedErrorMS.Known || !a.ArrivedErrorMS.Known {
			continue
		}
		q, d := capture, capture
		switch a.QueuedBy {
		case "resource":
			q = cloud
		case "queue-log":
			q = client
		}
		if a.ArrivedBy == "resource" {
			d = cloud
		}
		if a.QueuedBy == "resource" && a.ArrivedBy == "resource" {
			q, d = capture, capture // one clock, whichever
		}
		if !q.known || !d.known {
			continue
		}
		// times first: an int64 of ns is not exact in a float64
		wait := float64(a.ArrivedAt-a.QueuedAt) - d.off + q.off
		half := (a.QueuedErrorMS.V+a.ArrivedErrorMS.V)*1e6 + d.half + q.half
		if wait < -half { // then something else is wrong, and no wait is known
			continue
		}
		a.WaitS, a.WaitErrorS = decode.Some(wait/1e9), decode.Some(half/1e9)
	}
}

// clientClock bounds the clock of the queue log by items whose POST was seen
// too: the client noted each after it had asked, and within a second of the
// answer.
func (b *Builder) clientClock() bounds {
	var o bounds
	for _, q := range b.resources.queued {
		if p, ok := b.resources.posted[q.sid]; ok && q.sid != "" && inRange(q.at, p.asked, p.answered) {
			o.add(p.answered, int64(q.at-p.answered)-second, int64(q.at-p.asked), true)
		}
	}
	return o
}

// Post is a REST request that was to create a call or a message, answered on
// the wire. It is no row of a table: rates are made of it.
type Post struct {
	Kind            string // calls or messages
	Asked, Answered Time
	Status          int    // HTTP status
	SID             string // of what it made
	Account         string // of the path
	From, Service   string // as asked for; "" unknown
	RTTms           Float  // of its connection, by the TCP handshake
	flow            *decode.Flow
}

const maxPosts = 1 << 20

// creates reads the path of a request that makes a call or a message:
// /2010-04-01/Accounts/{sid}/Calls.json, also Messages and SMS/Messages, also
// without a suffix. One that ends in a SID changes what is there.
func creates(target string) (kind, account string) {
	path, _, _ := strings.Cut(target, "?")
	_, rest, ok := strings.Cut(path, "/Accounts/")
	if !ok {
		return "", ""
	}
	account, rest, ok = strings.Cut(rest, "/")
	if !ok {
		return "", ""
	}
	rest = strings.TrimSuffix(rest, "/")
	for _, suffix := range [...]string{".json", ".xml", ".csv"} {
		rest = strings.TrimSuffix(rest, suffix)
	}
	switch rest {
	case "Calls":
		return "calls", account
	case "Messages", "SMS/Messages":
		return "messages", account
	}
	return "", ""
}

// ask notes what a POST asks for.
func (p *Post) ask(ev *decode.Event) {
	m := ev.HTTP
	p.flow, p.Asked = ev.Flow, ev.Time
	body, err := http.Decode(m.ContentEncoding, m.Body, maxForm)
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(body)) // of a damaged one the fields before the damage
	p.From = number(form.Get("From"))
	p.Service = cut(strings.ToValidUTF8(form.Get("MessagingServiceSid"), "\uFFFD"), 64)
}

const maxForm = 64 << 10

// number is a sender of a form; a + that was not escaped arrives as a space.
func number(s string) string {
	if n := strings.TrimPrefix(s, " "); n != s {
		s = "+" + n
	}
	return cut(strings.ToValidUTF8(s, "\uFFFD"), 128)
}

// answered ends a POST.
func (b *Builder) answered(p Post, ev *decode.Event) {
	if len(b.posts) >= maxPosts {
		b.capped("REST requests")
		return
	}
	p.Answered, p.Status = ev.Time, ev.HTTP.Status
	b.posts = append(b.posts, p)
}

func (b *Builder) postRows(t *Trace) {
	t.Posts = b.posts
	for i := range t.Posts {
		p := &t.Posts[i]
		p.RTTms, p.flow = p.flow.RTTms, nil
	}
	slices.SortStableFunc(t.Posts, func(x, y Post) int {
		return cmp.Or(cmp.Compare(x.Asked, y.Asked), cmp.Compare(x.Answered, y.Answered), strings.Compare(x.SID, y.SID))
	})
}

// Latency is the network part of a call's arrival.
type Latency struct {
	CallID string
	MS     float64
	By     string // handshake: half the round trip of its connection; captures: seen at two places
}

// Late is an arrival that was carried by a retransmitted segment, or by one
// that had to wait for it: it was due up to MostMS ms before it was seen.
type Late struct {
	CallID string
	MostMS float64
}

// latencies takes, for each arrival in a connection whose handshake was seen,
// half of its round trip: the mean of the two ways, and not less than it, since
// the hosts' own time is in it.
func (b *Builder) latencies(t *Trace) {
	type place struct {
		call, file string
		frame      int64
	}
	at := map[place]bool{}
	for i := range t.Arrivals {
		if a := &t.Arrivals[i]; a.Frame.Known && a.ArrivedAt != 0 && a.ArrivedBy != "resource" {
			at[place{a.CallID, a.File, a.Frame.V}] = true
		}
	}
	if len(at) == 0 {
		return
	}
	rtt := map[uint32]Float{}
	for i := range t.Flows {
		rtt[t.Flows[i].FlowID] = t.Flows[i].RTTms
	}
	for _, s := range t.Signals.All() {
		k := place{s.CallID, s.File, s.Frame.V}
		if !at[k] || !s.FlowID.Known {
			continue
		}
		delete(at, k)
		if r := rtt[s.FlowID.V]; r.Known {
			t.Latencies = append(t.Latencies, Latency{s.CallID, r.V / 2, "handshake"})
		}
	}
	slices.SortStableFunc(t.Latencies, func(x, y Latency) int { return strings.Compare(x.CallID, y.CallID) })
}
