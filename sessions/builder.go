package sessions

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/pstream"
	"github.com/twtrace/twtrace/decode/sdp"
	"github.com/twtrace/twtrace/decode/sip"
)

// Trace is what one experiment's input says. Rows are in no particular order
// until package table sorts them; their contents do not depend on map order.
type Trace struct {
	Hosts           []Host
	Flows           []Flow
	Calls           []Call
	Legs            []Leg
	Signals         Signals
	Arrivals        []Arrival
	CallResources   []CallResource
	Streams         Streams
	StreamIntervals StreamIntervals
	Messages        Messages
	Clocks          []Clock
	Oddities        []Oddity
	Posts           []Post             // by time; no table
	Latencies       []Latency          // by call; no table
	Late            []Late             // by call; no table
	Weak            map[uint32]WeakTLS // by flow; no table
	Bodies          map[string]Body    // by message SID, where there is more to say than sizes; no table
	First, Last     Time               // of all frames
}

// Builder collects events. Make one with New; it is for one goroutine.
type Builder struct {
	// DialedCreated: date_created of a call is when it was dialed, not when it
	// was accepted; it was queued queue_time before.
	DialedCreated bool

	// ShowDTMF: digits that were dialed may be shown; otherwise they are counted only.
	ShowDTMF bool

	files  []string
	ledger *decode.Ledger

	sip      map[string]*dialog // by Call-ID
	dialogs  []*dialog
	refers   map[string][]refer // by target
	sdp      sdp.Session
	codecs   [][]sdp.Codec // that offers and answers gave
	signals  Signals
	speaking []int32  // number of the dialog of each signal, 0 none
	answers  []answer // of signals
	detail   []byte
	interned map[string]string
	seen     int                // hashes in all dialogs
	open     map[uint64]request // transactions without a final response

	streams     []streamSet // by flow ID
	sources     int         // streams in it
	seconds     *seconds
	ends        map[netip.AddrPort]*mediaEnd
	bindings    int // of all ends
	rtcpSenders map[uint32]bool
	reports     map[reportKey]senderReport
	bySSRC      map[uint32]*ssrcReports
	setups      map[uint32]*setup  // by flow ID
	frags       map[string]*dialog // by ICE user name fragment

	gateway     pstream.Events
	openHTTP    map[httpKey][]openRequest // requests without a response
	httpSignals int
	waitingHTTP int // requests in openHTTP
	clocks      clocks
	posts       []Post
	wsSignals   int

	lines   map[uint32]*gatewayLine // signaling connections of browsers, by flow
	browser map[string]*dialog      // browser calls by CallSid or temporary id
	infer   inference               // what encrypted traffic shows

	witnesses    map[string]*witness // by kind and id
	witnessOrder []*witness
	abouts       []about
	sdk          map[string]*sdkQuality // by CallSid

	resources resources
	names     map[netip.Addr][]hostName
	named     int // names in it
	limit     limits
	caps      map[string]int64
	problems  map[string]*problemCount
	seed      maphash.Seed

	callIDs    map[string]int        // call_id values given out
	arrivedPos map[string]decode.Pos // where a call's INVITE arrived, by call_id
}

// request is a signal that waits for its answer.
type request struct {
	signal int32
	at     Time
}

// answer is how long a signal waited for it.
type answer struct {
	signal int32
	ms     Float
}

type problemCount struct {
	n     int64
	at    Time
	pos   decode.Pos
	first error
}

// New returns a Builder. files are the names that decode.Pos.File counts;
// ledger gets what becomes of RTP, RTCP, resources and queue logs.
func New(files []string, ledger *decode.Ledger) *Builder {
	limit := defaultLimits()
	return &Builder{
		files: files, ledger: ledger, limit: limit, seconds: &seconds{left: limit.seconds},
		sip:         map[string]*dialog{},
		refers:      map[string][]refer{},
		interned:    map[string]string{},
		open:        map[uint64]request{},
		ends:        map[netip.AddrPort]*mediaEnd{},
		rtcpSenders: map[uint32]bool{},
		reports:     map[reportKey]senderReport{},
		bySSRC:      map[uint32]*ssrcReports{},
		setups:      map[uint32]*setup{},
		frags:       map[string]*dialog{},
		openHTTP:    map[httpKey][]openRequest{},
		lines:       map[uint32]*gatewayLine{},
		browser:     map[string]*dialog{},
		witnesses:   map[string]*witness{},
		sdk:         map[string]*sdkQuality{},
		names:       map[netip.Addr][]hostName{},
		caps:        map[string]int64{},
		problems:    map[string]*problemCount{},
		seed:        maphash.MakeSeed(), // tells messages apart; never written anywhere
		resources:   newResources(),
		callIDs:     map[string]int{},
		arrivedPos:  map[string]decode.Pos{},
	}
}

// Add takes one event. Nothing of it is kept by reference but its Flow.
func (b *Builder) Add(ev *decode.Event) {
	switch ev.Kind {
	case decode.EventRTP:
		b.addRTP(ev)
	case decode.EventSIP:
		b.addSIP(ev)
	case decode.EventRTCP:
		b.addRTCP(ev)
		b.clockReport(ev)
	case decode.EventSTUN:
		b.addSTUN(ev)
	case decode.EventDTLS:
		b.addDTLS(ev)
	case decode.EventDNS:
		b.addDNS(ev)
	case decode.EventTLS:
		b.addTLS(ev)
	case decode.EventPStream:
		b.addPStream(ev)
	case decode.EventMediaStream:
		b.addMediaStream(ev)
	case decode.EventWebSocket:
		b.addWebSocket(ev)
	case decode.EventHTTP:
		b.addHTTP(ev)
	case decode.EventResource:
		b.addResource(ev)
	case decode.EventQueued:
		b.addQueued(ev)
	case decode.EventProblem:
		if ev.Problem.Rule == decode.RuleCap {
			b.capped(ev.Problem.Err.Error())
			return
		}
		b.problem(ev, ev.Problem.Rule, ev.Problem.Err)
	}
}

// limits are how many of each a Builder keeps; what comes beyond is counted,
// and oddity cap-reached tells it. A flood of any one takes less than 2 GiB
// (TestFlood of the command).
type limits struct {
	calls     int // Call-IDs of SIP; calls of browsers
	signals   int
	details   int64 // bytes of all signals' details
	seen      int   // messages by which a retransmission is known
	open      int   // requests that wait for an answer
	sources   int   // RTP sources, also those that may be none
	seconds   int   // of all streams
	ends      int   // transport addresses of media
	bindings  int   // offers of all of them
	names     int   // of all hosts
	resources int   // exported messages; lines of queue logs
}

func defaultLimits() limits {
	return limits{
		calls: 1 << 19, signals: 1 << 22, details: 256 << 20, seen: 1 << 22, open: 1 << 20, sources: 3 << 18, seconds: 1 << 22,
		ends: 1 << 20, bindings: 1 << 20, names: 1 << 20, resources: 1 << 21,
	}
}

// capped counts what a bound kept out; Finalize tells it.
func (b *Builder) capped(what string) { b.caps[what]++ }

func (b *Builder) problem(ev *decode.Event, rule string, err error) {
	p := b.problems[rule]
	if p == nil {
		p = &problemCount{at: ev.Time, pos: ev.Pos, first: err}
		b.problems[rule] = p
	}
	p.n++
}

// fillEnds writes the two ends of a message into its signal.
func (b *Builder) fillEnds(s *Signal, ev *decode.Event) {
	src, dst := ev.Src(), ev.Dst()
	s.Src, s.SrcPort = b.addr(src.Addr()), decode.Some(uint32(src.Port()))
	s.Dst, s.DstPort = b.addr(dst.Addr()), decode.Some(uint32(dst.Port()))
}

func (b *Builder) addr(a netip.Addr) string {
	b.detail = a.AppendTo(b.detail[:0])
	return b.intern(b.detail)
}

const maxInterned = 1 << 16

// addSignal keeps a signal, of a dialog unless that is nil. A call_id and what
// else is known at the end only, Finalize writes into it.
func (b *Builder) addSignal(s *Signal, c *dialog) {
	if b.signals.Len() >= b.limit.signals {
		b.capped("signals")
		return
	}
	b.signals.Add(*s)
	number := int32(0)
	if c != nil {
		number = c.number
	}
	b.speaking = append(b.speaking, number)
}

// addDialog makes a dialog one of those that become legs.
func (b *Builder) addDialog(c *dialog) {
	b.dialogs = append(b.dialogs, c)
	c.number = int32(len(b.dialogs))
}

// keepDetail makes the detail of a signal, under a budget: a long capture may
// hold more of them than memory does.
func (b *Builder) keepDetail(t []byte) Text {
	if b.signals.Len() >= b.limit.signals {
		return Text{} // of a signal that is not kept
	}
	if len(t) > maxDetail {
		t = bytes.ToValidUTF8(t[:maxDetail], nil)
	}
	if b.signals.TextBytes()+int64(len(t)) > b.limit.details {
		b.capped("signal details")
		return Text{}
	}
	if !utf8.Valid(t) {
		t = bytes.ToValidUTF8(t, []byte("\uFFFD"))
	}
	return b.signals.Text(t)
}

// intern makes one string of equal texts.
func (b *Builder) intern(t []byte) string {
	if s, ok := b.interned[string(t)]; ok {
		return s
	}
	s := text(t)
	if len(b.interned) < maxInterned {
		b.interned[s] = s
	}
	return s
}

// messageHash tells one SIP message from another on its flow: a copy that a
// retransmission timer sent has the same.
func (b *Builder) messageHash(c *dialog, ev *decode.Event) uint64 {
	m := ev.SIP
	var h maphash.Hash
	h.SetSeed(b.seed)
	h.WriteString(c.callID)
	h.WriteByte(ev.Dir)
	maphash.WriteComparable(&h, [4]uint32{ev.Flow.ID, m.CSeq, uint32(m.Status), uint32(len(m.Body))})
	h.Write(m.MethodText)
	h.WriteByte(0)
	h.Write(m.CSeqText)
	h.WriteByte(0)
	h.Write(m.Branch)
	h.WriteByte(0)
	h.Write(m.To.Tag)
	return h.Sum64()
}

// transactionHash is the transaction of a request or response (RFC 3261
// 17.1.3: branch and method; ACK belongs to its INVITE and opens none).
func (b *Builder) transactionHash(c *dialog, m *sip.Message, ev *decode.Event) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	h.WriteString(c.callID)
	h.WriteByte(1)
	h.Write(m.Branch)
	h.WriteByte(0)
	h.Write(m.CSeqText)
	maphash.WriteComparable(&h, [2]uint32{ev.Flow.ID, m.CSeq})
	return h.Sum64()
}

func (b *Builder) seenBefore(c *dialog, hash uint64) bool {
	if c.seen.has(hash) {
		return true
	}
	if b.seen >= b.limit.seen {
		b.capped("messages for retransmission")
		return false
	}
	b.seen++
	c.seen.add(hash)
	return false
}

// hashes is a set of numbers that are random, mostly few.
type hashes struct {
	few  []uint64
	many map[uint64]struct{} // when they are not
}

const fewHashes = 32

func (h *hashes) has(n uint64) bool {
	if h.many == nil {
		return slices.Contains(h.few, n)
	}
	_, ok := h.many[n]
	return ok
}

func (h *hashes) add(n uint64) {
	switch {
	case h.many != nil:
		h.many[n] = struct{}{}
	case h.few == nil:
		h.few = append(make([]uint64, 0, 8), n)
	case len(h.few) < fewHashes:
		h.few = append(h.few, n)
	default:
		h.many = map[uint64]struct{}{n: {}}
		for _, n := range h.few {
			h.many[n] = struct{}{}
		}
		h.few = nil
	}
}

func (b *Builder) openTransaction(hash uint64, r request) {
	if _, ok := b.open[hash]; ok {
		return
	}
	if len(b.open) >= b.limit.open {
		b.capped("requests that wait for an answer")
		return
	}
	b.open[hash] = r
}

func (b *Builder) closeTransaction(hash uint64, at Time) {
	if r, ok := b.open[hash]; ok {
		b.waited(r, at)
		delete(b.open, hash)
	}
}

// waited notes when a request was answered.
func (b *Builder) waited(r request, at Time) {
	b.answers = append(b.answers, answer{r.signal, between(r.at, at, 1e6)})
}

// signalRows writes into each signal what was learned after it: how long it
// waited, and its call.
func (b *Builder) signalRows(t *Trace) {
	slices.SortStableFunc(b.answers, func(x, y answer) int { return cmp.Compare(x.signal, y.signal) })
	about := b.aboutCalls(t)
	b.signals.Change(func(i int, s *Signal) {
		for len(b.answers) > 0 && int(b.answers[0].signal) == i {
			s.DurationMS = b.answers[0].ms
			b.answers = b.answers[1:]
		}
		if n := b.speaking[i]; n > 0 {
			if c := b.dialogs[n-1]; c.id != "" {
				s.CallID, s.LegID = c.id, decode.Some(c.leg)
			}
		}
		if id, ok := about[int32(i)]; ok {
			s.CallID = id
		}
	})
	t.Signals = b.signals
}

// Finalize ends the building: calls, bindings and arrivals are decided.
// flows are the Decoder's, first and last bound all frames. The Builder is
// spent afterwards.
func (b *Builder) Finalize(flows []*decode.Flow, first, last Time) *Trace {
	t := &Trace{First: first, Last: last}
	b.open, b.interned = nil, map[string]string{}
	for _, c := range b.dialogs {
		c.seen = hashes{}
	}
	list := b.allStreams()
	b.bindStreams(list)
	b.applyReports(list)
	media := mediaOf(flows, list)
	b.streams, b.frags = nil, nil
	// Streams of calls that were seen become rows before there are rows of calls:
	// the two are most of what there is.
	b.streamRows(t, list, func(s *stream) bool { return s.call != nil && s.call.isCall })
	observed := observedHost(flows)
	b.makeCalls(t, list, observed, last)
	b.inferCalls(t, flows, list, last)
	b.streamRows(t, list, func(*stream) bool { return true })
	b.callsOfStreams(t, list)
	b.ends, b.setups, b.sip = nil, nil, nil
	b.resources.rows(t, b.files, b.callIDs)
	b.joinWitnesses(t)
	b.signalRows(t)
	b.dialogs, b.speaking, b.signals = nil, nil, Signals{}
	makeArrivals(t, b)
	b.waits(t, b.clockRows(t))
	b.postRows(t)
	t.Flows = b.flowRows(flows, media)
	b.latencies(t)
	t.Hosts = b.hostRows(flows, media, observed)
	b.makeOddities(t)
	t.Weak = weakTLS(flows)
	return t
}

// streamRows makes the rows of streams that have none yet, of those to take.
func (b *Builder) streamRows(t *Trace, list []*stream, take func(*stream) bool) {
	for i, s := range list {
		if s.figures == nil || !take(s) {
			continue
		}
		s.id = uint32(i + 1)
		row := b.streamRow(s)
		if mos, ok := b.sdkMOS(s); ok {
			row.MOSSDK = decode.Some(mos)
		}
		s.joinIntervals()
		m := s.rate(&row)
		for k := range s.intervals {
			t.StreamIntervals.Add(s.intervals[k].row(s.id, m))
		}
		t.Streams.Add(row)
		s.figures = nil // all that was in them stands in the rows
	}
}

// callsOfStreams writes into each row of streams its call, and brings them in
// order.
func (b *Builder) callsOfStreams(t *Trace, list []*stream) {
	order := make([]int, len(list))
	inOrder := true
	t.Streams.Change(func(i int, r *Stream) {
		order[r.StreamID-1] = i
		inOrder = inOrder && int(r.StreamID) == i+1
		if c := list[r.StreamID-1].call; c != nil {
			if r.CallID = c.id; c.leg != 0 {
				r.LegID = decode.Some(c.leg)
			}
		}
	})
	if !inOrder {
		t.Streams.Reorder(order)
	}
	t.StreamIntervals.Rest()
}

// makeOddities tells problems and caps of the input.
func (b *Builder) makeOddities(t *Trace) {
	if b.seconds.lost > 0 {
		b.caps["packets in further seconds of streams"] = b.seconds.lost
	}
	for what, n := range b.caps {
		t.Oddities = append(t.Oddities, Oddity{Rule: decode.RuleCap, Severity: "warn", At: t.Last, Subject: what,
			Text: fmt.Sprintf("more than is kept of one experiment: %d %s", n, what)})
	}
	for rule, p := range b.problems {
		if rule == "" {
			continue
		}
		o := Oddity{Rule: rule, Severity: "warn", At: p.at, Subject: "", File: b.files[p.pos.File], Text: strings.ToValidUTF8(p.first.Error(), "\uFFFD")}
		if p.n > 1 {
			o.Text += fmt.Sprintf(" (%d times)", p.n)
		}
		if p.pos.Frame > 0 {
			o.Frame = decode.Some(p.pos.Frame)
			o.WiresharkFilter = fmt.Sprintf("frame.number == %d", p.pos.Frame)
		}
		t.Oddities = append(t.Oddities, o)
	}
	sort.Slice(t.Oddities, func(i, j int) bool {
		a, c := &t.Oddities[i], &t.Oddities[j]
		if a.Rule != c.Rule {
			return a.Rule < c.Rule
		}
		return a.Subject < c.Subject
	})
}
