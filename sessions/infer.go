package sessions

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
)

// Without keys a browser's incoming call still shows: the gateway sends a
// session description, which is much larger than all else that it sends; the
// client tells the event gateway; it answers with a description of its own; ICE,
// DTLS and SRTP follow (TWILIO.md A5, C). The sizes and times of these are read
// here, and made a call when they agree. docs/arrival.md has what was measured
// on recordings of known truth, and how far the bounds hold.

const (
	// Messages of a signaling connection after its beginning, in bytes of records.
	// Recorded with real clients: from the gateway at most 265 without and 784 to
	// 1444 with a description (784 is one that permessage-deflate compressed); from
	// the client at most 269 without and 561 to 1598 with one. The thresholds are
	// 0.6 of the smallest description. One with all that goes with it is below
	// 20,000.
	minServerSDP = 470
	minClientSDP = 337
	maxSDP       = 20_000

	// burstGap joins the records of one message: a WebSocket message in several
	// frames, or frames cut into records. They come within a round trip, most
	// within 1 ms.
	burstGap = 30 * ms

	// A client posts the event connection/incoming at once: recorded 5 to 18 ms
	// after the invite, on a slow path a name lookup and two round trips later.
	wakeWindow = 1000 * ms

	// ICE begins when the client has both descriptions: recorded 5 to 33 ms after
	// the record that answers.
	mediaWindow = 5000 * ms

	// callWindow is how long after a client's call without media yet the gateway's
	// descriptions are taken for its ringing and answer.
	callWindow = 60_000 * ms

	// A gateway cancels what nobody answers within a minute or two.
	answerWindow = 180_000 * ms

	// A gateway that replies to an answer or a new offer does it within a round
	// trip and its own time.
	replyWindow = 1000 * ms

	// A gateway's cancel and hangup, which name a CallSid and nothing else: 106 to
	// 118 recorded.
	minClosing = 95
	maxClosing = 140

	// A client that answers by itself begins ICE 360 to 480 ms after the invite
	// (it opens the microphone first), and a round trip later on a slow path. DTLS
	// follows when a check has succeeded, media when the handshake is done: a lost
	// flight of it is repeated after 1 s (RFC 6347 4.2.4.1).
	acceptBoundMS = 1000
	dtlsBoundMS   = 1500
	rtpBoundMS    = 2500

	// The event gateway's wake lies 5 to 18 ms after the invite, on a slow path
	// that and a name lookup and two handshakes.
	wakeBoundMS = 100

	// quiet is how long an event gateway's client is silent before it is woken;
	// metrics come in tens of seconds during calls only.
	quiet = 2000 * ms

	ms = 1_000_000 // ns
)

const (
	maxSealedLines  = 1 << 16
	maxBursts       = 1 << 14 // of a signaling or event connection
	maxOtherBursts  = 256     // of a connection whose name says nothing
	maxEventLines   = 256     // of one client
	maxMatrix       = 16      // matrix connections
	maxPerCall      = 4096    // connections of the first generation
	maxNear         = 1024    // media flows that are looked at around a moment
	heartbeatSize   = 96      // bytes of a record that holds a heartbeat, at most
	minHeartbeats   = 2
	connectRecords  = 2 // records of a client before its first registration: upgrade and listen
	connectRecords3 = 3 // TLS 1.3: and before them its Finished
)

// sealedBurst is a message by its records.
type sealedBurst struct {
	start, end Time
	size       int64
	largest    int
	nth        int64 // application records of the client so far
	pos        decode.Pos
	client     bool
}

// sealedLine is a TLS connection that was not opened.
type sealedLine struct {
	flow      *decode.Flow
	client    uint8
	open      [2]sealedBurst // by direction
	closings  []Time         // the gateway's messages of a cancel's size
	bursts    []sealedBurst  // those of a description's size; of an event gateway all of the client's
	records   [2]int64
	beat      Time // the server's latest small record
	beats     int
	dropped   bool
	page      bool // it offered HTTP/2
	events    bool // an event gateway's
	byName    bool // the gateway's
	matrix    bool // presence and invites of the first generation
	listening int  // largest record of the client's beginning: its listen
}

// sealedMedia is a UDP flow that set media up.
type sealedMedia struct {
	flow     *decode.Flow
	ice      Time
	dtls     Time
	rtp      Time
	icePos   decode.Pos
	dtlsPos  decode.Pos
	rtpPos   decode.Pos
	iceDir   uint8
	dtlsDir  uint8
	outgoing bool // of a call that the client made
	taken    bool
}

func (m *sealedMedia) start() Time {
	at := Time(0)
	for _, t := range [...]Time{m.ice, m.dtls, m.rtp} {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// inference is what the encrypted traffic shows.
type inference struct {
	lines map[uint32]*sealedLine
}

// sealedHello notes what a connection is for: browsers offer HTTP/2 for pages,
// and HTTP/1.1 alone for a WebSocket.
func (b *Builder) sealedHello(ev *decode.Event) {
	if l := b.sealedLineOf(ev.Flow); l != nil && slices.Contains(ev.TLS.ClientHello.ALPN, "h2") {
		l.page = true
	}
}

// sealedRecord takes a TLS record that could not be opened.
func (b *Builder) sealedRecord(ev *decode.Event) {
	if l := b.sealedLineOf(ev.Flow); l != nil && !l.dropped {
		l.add(ev)
	}
}

func (b *Builder) sealedLineOf(f *decode.Flow) *sealedLine {
	if l := b.infer.lines[f.ID]; l != nil {
		return l
	}
	if len(b.infer.lines) >= maxSealedLines {
		b.capped("encrypted connections")
		return nil
	}
	if b.infer.lines == nil {
		b.infer.lines = map[uint32]*sealedLine{}
	}
	l := &sealedLine{flow: f, client: clientSide(f)}
	name := strings.ToLower(f.ServerName)
	l.events, l.byName, l.matrix = isEventGateway(name), isGateway(name), name == "matrix.twilio.com"
	b.infer.lines[f.ID] = l
	return l
}

func (l *sealedLine) add(ev *decode.Event) {
	client, size := ev.Dir == l.client, ev.TLS.Len
	side := 0
	if client {
		side = 1
	}
	l.records[side]++
	if client {
		if l.early() {
			l.listening = max(l.listening, size)
		}
		if l.beat != 0 && size <= heartbeatSize && ev.Time-l.beat < 2000*ms && ev.Time >= l.beat {
			l.beats++
		}
		l.beat = 0
	} else {
		l.beat = 0
		if size <= heartbeatSize {
			l.beat = ev.Time
		}
	}
	o := &l.open[side]
	if o.size > 0 && ev.Time-o.end <= burstGap && ev.Time >= o.end {
		o.end, o.size, o.largest = ev.Time, o.size+int64(size), max(o.largest, size)
		return
	}
	l.close(side)
	*o = sealedBurst{start: ev.Time, end: ev.Time, size: int64(size), largest: size, nth: l.records[1], pos: ev.Pos, client: client}
}

// early tells the beginning of a connection, whose records are large for
// other reasons: certificates, the upgrade, and the token in listen.
func (l *sealedLine) early() bool {
	if !l.flow.ClientHello && l.flow.TLSVersion == 0 {
		return false // it is older than the capture
	}
	if l.flow.TLSVersion == tls13 {
		return l.records[1] <= connectRecords3
	}
	return l.records[1] <= connectRecords
}

const tls13 = 0x0304

// close ends the open burst of a side.
func (l *sealedLine) close(side int) {
	o := &l.open[side]
	if side == 0 && l.byName && o.size >= minClosing && o.size <= maxClosing && len(l.closings) < maxBursts {
		l.closings = append(l.closings, o.start)
	}
	minimum := int64(minServerSDP)
	switch {
	case l.events && side == 1:
		minimum = 1
	case l.matrix && side == 0:
		minimum = minMatrixInvite
	case side == 1:
		minimum = minClientSDP
	}
	keep := o.size >= minimum && (o.size <= maxSDP || l.events) && !(l.events && side == 0)
	if keep && !l.events {
		first := int64(connectRecords)
		if l.flow.TLSVersion == tls13 {
			first = connectRecords3
		}
		keep = o.nth > first || !l.flow.ClientHello && l.flow.TLSVersion == 0
		if side == 1 && keep && l.listening > 0 && abs(o.largest-l.listening) <= 16 {
			keep = false // listen again, with a fresh token
		}
	}
	if keep {
		limit := maxOtherBursts
		if l.events || l.byName || l.matrix {
			limit = maxBursts
		}
		if len(l.bursts) >= limit {
			if limit == maxOtherBursts {
				l.dropped, l.bursts = true, nil // much data: a page, no signaling
			}
		} else {
			l.bursts = append(l.bursts, *o)
		}
	}
	*o = sealedBurst{}
}

func abs(n int) int { return max(n, -n) }

// clientSide is the direction of the TLS client; without a hello the side away
// from the lower port.
func clientSide(f *decode.Flow) uint8 {
	if dir, ok := f.TLSClient(); ok {
		return dir
	}
	if f.Src.Port() < f.Dst.Port() {
		return 1
	}
	return 0
}

// isGateway tells the signaling hosts of browsers (TWILIO.md A1).
func isGateway(name string) bool {
	host, ok := strings.CutSuffix(strings.TrimSuffix(name, "."), ".twilio.com")
	if !ok {
		return false
	}
	if edge, ok := strings.CutPrefix(host, "voice-js."); ok {
		return edge != "" && !strings.Contains(edge, ".")
	}
	return !strings.Contains(host, ".") && (host == "chunderw" || strings.HasPrefix(host, "chunderw-"))
}

// isPerCall tells the hosts that the first generation connected to for each
// call (TWILIO.md B1).
func isPerCall(name string) bool {
	return name == "chunderw.twilio.com" || name == "chunder.twilio.com"
}

func isEventGateway(name string) bool {
	return strings.HasPrefix(name, "eventgw") && strings.HasSuffix(strings.TrimSuffix(name, "."), ".twilio.com")
}

// inferredCall is an incoming call that encrypted traffic shows.
type inferredCall struct {
	at       Time
	by       string
	errorMS  float64
	pos      decode.Pos
	answered Time
	evidence []evidence
	media    []*sealedMedia
	score    float64
	client   netip.Addr
	flow     *decode.Flow
}

// evidence is one moment that speaks for a call; it becomes a rung.
type evidence struct {
	by   string
	at   Time
	pos  decode.Pos
	flow *decode.Flow
	from uint8 // direction
	what string
}

// inferCalls makes calls of what the encrypted connections show. It runs after
// the calls that could be read.
func (b *Builder) inferCalls(t *Trace, flows []*decode.Flow, streams []*stream, end Time) {
	in := &inferring{b: b, events: map[netip.Addr][]*sealedLine{}}
	readable := b.sealedLinesOf(in)
	b.sealedMediaOf(in, streams)
	for _, l := range in.lines {
		in.readLine(l)
	}
	in.firstGeneration(flows)
	clients := clientCalls(b.resources.crows, t.Calls)
	if len(in.calls) == 0 && len(in.lines) == 0 && !readable {
		in.mediaOnly(len(clients))
	}
	slices.SortStableFunc(in.calls, func(x, y *inferredCall) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.flow.ID, y.flow.ID))
	})
	joined, how := joinInferred(in.calls, clients)
	for k, c := range in.calls {
		id, r := fmt.Sprintf("inferred-%d", k+1), (*CallResource)(nil)
		if joined != nil {
			r = joined[k]
			id = r.SID
		}
		b.addInferred(t, c, unused(b.callIDs, id), r, how, streams, end)
	}
}

// inferring is the state of inferCalls.
type inferring struct {
	b      *Builder
	lines  []*sealedLine                // signaling, or perhaps
	events map[netip.Addr][]*sealedLine // by client
	matrix []*sealedLine
	media  []*sealedMedia // by start
	calls  []*inferredCall
}

// sealedLinesOf sorts the connections by what they are, in order of their
// flows. It tells whether signaling of any connection was read.
func (b *Builder) sealedLinesOf(in *inferring) (readable bool) {
	ids := make([]uint32, 0, len(b.infer.lines))
	for id := range b.infer.lines {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		l := b.infer.lines[id]
		l.close(0)
		l.close(1)
		if b.lines[id] != nil || l.flow.Encryption == "decrypted" {
			continue
		}
		if l.flow.ServerName == "" { // the hello was not captured, or hides the name
			for _, n := range b.names[l.flow.End(1-l.client).Addr()] {
				l.byName = l.byName || isGateway(n.name)
				l.events = l.events || isEventGateway(n.name)
			}
		}
		slices.SortStableFunc(l.bursts, func(x, y sealedBurst) int { return cmp.Compare(x.start, y.start) })
		slices.Sort(l.closings)
		switch {
		case l.dropped:
		case l.events:
			if a := l.flow.End(l.client).Addr(); len(in.events[a]) < maxEventLines {
				in.events[a] = append(in.events[a], l)
			}
		case l.matrix:
			if len(in.matrix) < maxMatrix {
				in.matrix = append(in.matrix, l)
			}
		case isPerCall(strings.ToLower(l.flow.ServerName)): // see firstGeneration
		case l.byName, !l.page && l.beats >= minHeartbeats && len(l.bursts) > 0:
			in.lines = append(in.lines, l)
		}
	}
	return len(b.lines) > 0
}

// sealedMediaOf lists the media flows that belong to no call yet: those of ICE,
// DTLS or streams.
func (b *Builder) sealedMediaOf(in *inferring, streams []*stream) {
	media := map[uint32]*sealedMedia{}
	get := func(f *decode.Flow) *sealedMedia {
		m := media[f.ID]
		if m == nil {
			m = &sealedMedia{flow: f}
			media[f.ID] = m
		}
		return m
	}
	for _, s := range b.setups {
		m := get(s.flow)
		m.ice, m.icePos, m.iceDir = s.check.at, s.check.pos, s.check.dir
		m.dtls, m.dtlsPos, m.dtlsDir = s.hello.at, s.hello.pos, s.hello.dir
	}
	for _, s := range streams {
		if s.call == nil {
			get(s.flow)
		}
	}
	for _, s := range streams {
		m := media[s.flow.ID]
		if m == nil {
			continue // all of it belongs to calls
		}
		m.taken = m.taken || s.call != nil
		if m.rtp == 0 || s.first < m.rtp {
			m.rtp, m.rtpPos = s.first, s.pos()
		}
	}
	for _, m := range media {
		if !m.taken && m.start() != 0 {
			in.media = append(in.media, m)
		}
	}
	slices.SortFunc(in.media, func(x, y *sealedMedia) int {
		return cmp.Or(cmp.Compare(x.start(), y.start()), cmp.Compare(x.flow.ID, y.flow.ID))
	})
}

// started lists a client's media flows that began within a time and belong to
// no call, and those from its other addresses to the same media ports.
func (in *inferring) started(client netip.Addr, from, to Time) []*sealedMedia {
	first, _ := slices.BinarySearchFunc(in.media, from, func(m *sealedMedia, at Time) int { return cmp.Compare(m.start(), at) })
	last := first
	for last < len(in.media) && in.media[last].start() <= to && last-first < maxNear {
		last++
	}
	var own, out []*sealedMedia
	for _, m := range in.media[first:last] {
		if !m.taken && !m.outgoing && m.of(client) {
			own = append(own, m)
		}
	}
	for _, m := range in.media[first:last] {
		if len(own) > 0 && !m.taken && !m.outgoing && (m.of(client) || sameEnd(m.flow, own[0].flow)) {
			out = append(out, m)
		}
	}
	return out
}

// of tells whether an address is an end of the flow.
func (m *sealedMedia) of(a netip.Addr) bool { return m.flow.Src.Addr() == a || m.flow.Dst.Addr() == a }

// active tells whether media of a client ran at a time, and whether it was of
// a call that the client made.
func (in *inferring) active(client netip.Addr, at Time) (running, outgoing bool) {
	i, _ := slices.BinarySearchFunc(in.media, at+1, func(m *sealedMedia, at Time) int { return cmp.Compare(m.start(), at) })
	for k := i - 1; k >= max(0, i-maxNear); k-- {
		m := in.media[k]
		if m.flow.Last >= at && m.of(client) {
			running, outgoing = true, outgoing || m.outgoing
		}
	}
	return running, outgoing
}

// woken is the first record to an event gateway within a time.
func (in *inferring) woken(client netip.Addr, from, to Time) (evidence, bool) {
	var first evidence
	for _, l := range in.events[client] {
		i, _ := slices.BinarySearchFunc(l.bursts, from, func(s sealedBurst, at Time) int { return cmp.Compare(s.start, at) })
		if i < len(l.bursts) && l.bursts[i].start <= to && (first.at == 0 || l.bursts[i].start < first.at) {
			s := &l.bursts[i]
			first = evidence{by: "event-gateway", at: s.start, pos: s.pos, flow: l.flow, from: l.client, what: "event gateway woken"}
		}
	}
	return first, first.at != 0
}

// rtt is the round trip of a connection in ns, or of another one of the client.
func (in *inferring) rtt(f *decode.Flow) (Time, bool) {
	if f.RTTms.Known {
		return Time(f.RTTms.V * ms), true
	}
	return 0, false
}

// lateBoundMS is how late the first copy of a message may be here. Up to the
// study's bound on latency the path is taken to be a near one. On a longer path
// a copy may have been lost before this capture without a trace; its sender
// then repeats it after two round trips and the longest delay of an
// acknowledgement (RFC 8985 7.2: 2 SRTT + 200 ms), and the repeated one needs
// half a round trip more, and as much is left for jitter.
func (in *inferring) lateBoundMS(f *decode.Flow) float64 {
	rtt, known := in.rtt(f)
	r := float64(rtt) / ms
	switch {
	case !known:
		return 3*latencyBoundMS + 200
	case r <= latencyBoundMS:
		return latencyBoundMS
	}
	return 3*r + 200
}

// offer is a description from the gateway: an invite, or the reply to one of
// the client's.
type offer struct {
	*sealedBurst
	answer *sealedBurst // the client's
	woke   evidence
	reply  bool
	alone  bool // neither an event nor a cancel followed it
	media  []*sealedMedia
}

// role is what a client's description was for.
type role uint8

const (
	roleUnknown role = iota
	roleAnswer       // ICE began before the gateway's next description
	roleCall         // ICE began after it: who calls has to wait for the callee's
)

// roleOf tells an answer from a call by what causes what: a client can begin
// ICE only when it has both descriptions (RFC 8445 2.2). In a near network the
// gateway's reply to an answer may come as soon as the first check; no call is
// answered that fast.
func (in *inferring) roleOf(l *sealedLine, i int, client netip.Addr, waiting bool) (role, []*sealedMedia) {
	s := &l.bursts[i]
	next := Time(1) << 62
	for k := i + 1; k < min(len(l.bursts), i+maxNear); k++ {
		if n := &l.bursts[k]; !n.client && (!waiting || n.start-s.start > 2*burstGap) {
			next = n.start
			break
		}
	}
	if media := in.started(client, s.start-100*ms, min(s.start+mediaWindow, next)); len(media) > 0 {
		return roleAnswer, media
	}
	if next-s.start < answerWindow && len(in.started(client, next, next+mediaWindow)) > 0 {
		return roleCall, nil
	}
	return roleUnknown, nil
}

// readLine finds the incoming calls of one signaling connection.
func (in *inferring) readLine(l *sealedLine) {
	client := l.flow.End(l.client).Addr()
	rtt, _ := in.rtt(l.flow)
	var offers []*offer
	var asked *sealedBurst // the client's latest description
	var calling bool       // it made a call
	var called, lastServer Time
	for i := range l.bursts {
		s := &l.bursts[i]
		if s.client {
			var o *offer // the latest that waits
			for k := len(offers) - 1; k >= max(0, len(offers)-64) && s.start-offers[k].start < answerWindow; k-- {
				if offers[k].answer == nil {
					o = offers[k]
					break
				}
			}
			running, _ := in.active(client, s.start-100*ms)
			r, media := in.roleOf(l, i, client, o != nil)
			switch {
			case o != nil && (r == roleAnswer || r == roleUnknown && !o.reply && !running):
				o.answer, o.reply, calling = s, false, false
				o.media = append(in.started(client, o.start, s.start-100*ms-1), media...)
				take(o.media)
			case o == nil && r == roleAnswer && !running && l.byName:
				take(media)
				in.calls = append(in.calls, in.withoutInvite(l, client, s, media))
				calling = false
			default: // a call, or a new offer within one
				calling = !running || r == roleCall
				if calling {
					called = s.start
				}
			}
			asked = s
			continue
		}
		if lastServer != 0 && s.start-lastServer < 100*ms+2*rtt {
			lastServer = s.end
			continue // the rest of the message before, held up on its way
		}
		lastServer = s.end
		o := &offer{sealedBurst: s}
		running, out := in.active(client, s.start)
		switch {
		case asked == nil:
		case calling && s.start-asked.start < answerWindow:
			o.reply = true
			for _, m := range in.started(client, s.start, s.start+mediaWindow) {
				if !answeredBefore(l, i, m.start()) {
					m.outgoing = true
				}
			}
		case s.start-asked.start < replyWindow+2*rtt:
			o.reply = true
		}
		asked = nil
		if out || called != 0 && s.start-called < callWindow && !running {
			o.reply = true // ringing and answer may both have a description
		}
		o.woke, _ = in.woken(client, s.start, s.end+wakeWindow+3*rtt)
		o.alone = (running || o.woke.at == 0) && !in.cancelled(l, client, s.start, running)
		offers = append(offers, o)
	}
	for _, o := range offers {
		if o.reply || o.answer == nil && o.alone {
			continue
		}
		if o.answer == nil {
			// an answer that was not told by its size?
			if media := in.started(client, o.start, o.start+mediaWindow); len(media) > 0 {
				if media[0].start()-o.start < 200*ms+rtt {
					continue // faster than a client answers: the reply to a call it made
				}
				o.media = media
				take(media)
			}
		}
		if !l.byName && (o.answer == nil || len(o.media) == 0) {
			continue
		}
		c := &inferredCall{at: o.start, by: "tls-record", pos: o.pos, errorMS: in.lateBoundMS(l.flow), client: client, flow: l.flow, media: o.media}
		c.evidence = append(c.evidence, evidence{"tls-record", o.start, o.pos, l.flow, 1 - l.client, "description from the gateway"})
		c.score = 0.6
		if o.woke.at != 0 {
			c.evidence = append(c.evidence, o.woke)
			c.score = 0.8
		}
		if o.answer != nil {
			c.answered = o.answer.start
			c.evidence = append(c.evidence, evidence{"answer-record", o.answer.start, o.answer.pos, l.flow, l.client, "description from the client"})
			c.score += 0.1
		}
		if len(o.media) > 0 {
			c.score = min(c.score+0.2, 0.95)
		}
		c.mediaEvidence()
		in.calls = append(in.calls, c)
	}
}

func take(media []*sealedMedia) {
	for _, m := range media {
		m.taken = true
	}
}

// cancelled tells whether the gateway closed a call after a time; within
// another call it must be another one than that, whose media goes on.
func (in *inferring) cancelled(l *sealedLine, client netip.Addr, from Time, running bool) bool {
	i, _ := slices.BinarySearch(l.closings, from+1)
	for n := 0; i < len(l.closings) && l.closings[i]-from < answerWindow && n < 64; i, n = i+1, n+1 {
		if !running {
			return true
		}
		if still, _ := in.active(client, l.closings[i]+200*ms); still {
			return true
		}
	}
	return false
}

// answeredBefore tells whether the client sent a description between the i-th
// burst and a time.
func answeredBefore(l *sealedLine, i int, at Time) bool {
	for k := i + 1; k < len(l.bursts) && l.bursts[k].start <= at+burstGap; k++ {
		if l.bursts[k].client {
			return true
		}
	}
	return false
}

// withoutInvite is a call whose invite was lost: its answer, and what else
// there is.
func (in *inferring) withoutInvite(l *sealedLine, client netip.Addr, answer *sealedBurst, media []*sealedMedia) *inferredCall {
	c := &inferredCall{client: client, flow: l.flow, media: media, answered: answer.start, score: 0.7}
	c.evidence = append(c.evidence, evidence{"answer-record", answer.start, answer.pos, l.flow, l.client, "description from the client"})
	c.mediaEvidence()
	rtt, known := in.rtt(l.flow)
	if !known {
		rtt = latencyBoundMS * ms
	}
	// of the events since the client was last silent, the first
	var woke evidence
	for from, n := answer.start-60_000*ms, 0; n < maxNear; n++ {
		w, ok := in.woken(client, from, answer.start)
		if !ok {
			break
		}
		if woke.at == 0 || w.at-from >= quiet {
			woke = w
		}
		from = w.at + 1
		for ; n < maxNear; n++ { // to the end of this run of events
			n, ok := in.woken(client, from, min(from+quiet, answer.start))
			if !ok {
				break
			}
			from = n.at + 1
		}
	}
	late := in.lateBoundMS(l.flow)
	if woke.at != 0 {
		c.evidence = append(c.evidence, woke)
		c.at, c.by, c.pos = woke.at, woke.by, woke.pos
		c.errorMS = late + wakeBoundMS + 3*float64(rtt)/ms
		return c
	}
	first := c.firstMedia()
	c.at, c.by, c.pos, c.errorMS = first.at, first.by, first.pos, late+acceptBound(first.by)
	return c
}

// mediaOnly makes calls of media alone. Media does not tell who called whom:
// it counts only when the exported resources name as many calls to clients.
func (in *inferring) mediaOnly(want int) {
	var calls []*inferredCall
	for _, m := range in.media {
		if m.ice == 0 && m.dtls == 0 {
			continue
		}
		if n := len(calls); n > 0 && m.start()-calls[n-1].media[0].start() < mediaWindow && m.start() >= calls[n-1].media[0].start() && sameEnd(m.flow, calls[n-1].flow) {
			calls[n-1].media = append(calls[n-1].media, m) // another candidate pair
			continue
		}
		calls = append(calls, &inferredCall{flow: m.flow, media: []*sealedMedia{m}, score: 0.5})
	}
	if len(calls) != want {
		return
	}
	for _, c := range calls {
		c.mediaEvidence()
		first := c.firstMedia()
		c.at, c.by, c.pos, c.errorMS = first.at, first.by, first.pos, 3*latencyBoundMS+200+acceptBound(first.by)
		in.calls = append(in.calls, c)
	}
}

// sameEnd tells whether two flows lead to the same media address and port.
func sameEnd(x, y *decode.Flow) bool { return x.Dst == y.Dst || x.Src == y.Src }

// mediaEvidence adds the first moments of a call's media.
func (c *inferredCall) mediaEvidence() {
	var ice, dtls, rtp evidence
	pick := func(e *evidence, by string, at Time, pos decode.Pos, f *decode.Flow, dir uint8, what string) {
		if at != 0 && (e.at == 0 || at < e.at) {
			*e = evidence{by, at, pos, f, dir, what}
		}
	}
	for _, m := range c.media {
		pick(&ice, "ice-check", m.ice, m.icePos, m.flow, m.iceDir, "first ICE check")
		pick(&dtls, "dtls-hello", m.dtls, m.dtlsPos, m.flow, m.dtlsDir, "first DTLS message")
		pick(&rtp, "first-rtp", m.rtp, m.rtpPos, m.flow, 0, "first media packet")
	}
	for _, e := range [...]evidence{ice, dtls, rtp} {
		if e.at != 0 {
			c.evidence = append(c.evidence, e)
		}
	}
}

// firstMedia is the earliest moment of the call's media.
func (c *inferredCall) firstMedia() evidence {
	var first evidence
	for _, e := range c.evidence {
		switch e.by {
		case "ice-check", "dtls-hello", "first-rtp":
			if first.at == 0 || e.at < first.at {
				first = e
			}
		}
	}
	return first
}

// acceptBound is how long after the invite a client that answers by itself
// shows a kind of evidence.
func acceptBound(by string) float64 {
	switch by {
	case "dtls-hello":
		return dtlsBoundMS
	case "first-rtp":
		return rtpBoundMS
	}
	return acceptBoundMS
}

// minMatrixInvite is the size of a record that holds an invite of the first
// generation: a token, a CallSid and parameters (TWILIO.md B1). Presence is
// smaller. No recording of it is known.
const minMatrixInvite = 300

// firstGeneration makes calls of the connections that the first generation
// opened for each call (TWILIO.md B1). A call that the client makes opens one
// too; what tells an incoming one is the invite on the matrix connection. When
// that connection is not in the capture, each counts: the study's method.
func (in *inferring) firstGeneration(flows []*decode.Flow) {
	var last Time
	n := 0
	for _, f := range flows {
		if n >= maxPerCall {
			in.b.capped("connections for a call")
			return
		}
		if f.Proto != 6 || !in.perCallFlow(f) {
			continue
		}
		n++
		client := f.Src.Addr()
		c := &inferredCall{at: f.First, by: "tcp-connect", flow: f, client: client, score: 0.6,
			pos: decode.Pos{File: f.File, Frame: f.Frame, First: f.Frame}}
		c.errorMS = in.lateBoundMS(f) + acceptBoundMS
		c.evidence = append(c.evidence, evidence{"tcp-connect", f.First, c.pos, f, 0, "connection for a call"})
		seen, invited := false, false
		for _, l := range in.matrix {
			if l.flow.End(l.client).Addr() != client || l.flow.First > f.First || l.flow.Last < f.First {
				continue
			}
			seen = true
			from := max(last+1, f.First-60_000*ms)
			k, _ := slices.BinarySearchFunc(l.bursts, from, func(s sealedBurst, at Time) int { return cmp.Compare(s.start, at) })
			for ; k < len(l.bursts) && l.bursts[k].start <= f.First; k++ {
				if s := &l.bursts[k]; !s.client {
					invited = true
					c.at, c.by, c.pos, c.errorMS, c.score = s.start, "tls-record", s.pos, in.lateBoundMS(l.flow), 0.8
					c.evidence = append([]evidence{{"tls-record", s.start, s.pos, l.flow, 1 - l.client, "invite from the matrix"}}, c.evidence...)
					break
				}
			}
		}
		last = f.First
		if seen && !invited {
			continue
		}
		c.media = in.started(client, f.First, f.First+mediaWindow)
		for _, m := range c.media {
			m.taken = true
		}
		c.mediaEvidence()
		in.calls = append(in.calls, c)
	}
}

// perCallFlow tells a connection that was opened for one call.
func (in *inferring) perCallFlow(f *decode.Flow) bool {
	if f.ServerName != "" {
		return isPerCall(strings.ToLower(f.ServerName)) && f.Encryption != "decrypted" && in.b.lines[f.ID] == nil
	}
	if p := f.Dst.Port(); p != 443 && p != 1935 {
		return false
	}
	for _, n := range in.b.names[f.Dst.Addr()] {
		if n.by == "dns" && isPerCall(n.name) && in.b.lines[f.ID] == nil {
			return true
		}
	}
	return false
}

// clientCalls lists the resources of calls to browser clients that no call
// that was read is about, oldest first.
func clientCalls(rows []CallResource, calls []Call) []*CallResource {
	known := map[string]bool{}
	for i := range calls {
		known[calls[i].CallSID] = true
	}
	var out []*CallResource
	for i := range rows {
		if r := &rows[i]; strings.HasPrefix(r.To, "client:") && !known[r.SID] {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(x, y *CallResource) int {
		return cmp.Or(cmp.Compare(startOf(x), startOf(y)), cmp.Compare(x.CreatedAt, y.CreatedAt), strings.Compare(x.SID, y.SID))
	})
	return out
}

func startOf(r *CallResource) Time {
	if r.StartedAt != 0 {
		return r.StartedAt
	}
	return r.CreatedAt
}

// joinInferred gives the k-th call the k-th resource when they are as many, and
// when their times, where known, run alike: the two clocks differ by a constant
// and the resource's is cut to seconds.
func joinInferred(calls []*inferredCall, clients []*CallResource) ([]*CallResource, string) {
	if len(calls) == 0 || len(calls) != len(clients) {
		return nil, ""
	}
	how := "order among calls to clients"
	var lo, hi Time
	timed := true
	for k, r := range clients {
		if r.StartedAt == 0 {
			timed = false
			break
		}
		d := calls[k].at - r.StartedAt
		if k == 0 {
			lo, hi = d, d
		}
		lo, hi = min(lo, d), max(hi, d)
	}
	if timed && len(calls) > 1 {
		if hi-lo > 5000*ms {
			return nil, ""
		}
		how = "order and start times among calls to clients"
	}
	return clients, how
}

// addInferred writes the rows of a call.
func (b *Builder) addInferred(t *Trace, c *inferredCall, id string, r *CallResource, how string, streams []*stream, end Time) {
	legID := uint32(len(t.Legs) + 1)
	row := Call{Protocols: []string{}, SIPCallIDs: []string{}, Direction: "inbound", ArrivedAt: c.at, ArrivedBy: c.by,
		ArrivedErrorMS: decode.Some(c.errorMS), AnsweredAt: c.answered, Legs: 1, File: b.files[c.pos.File]}
	leg := Leg{LegID: legID, Kind: legPStream, JoinScore: decode.Some(c.score), FirstAt: c.at}
	if r != nil {
		row.CallSID, row.From, row.To = r.SID, r.From, r.To
		leg.ID, leg.From, leg.To = r.SID, r.From, r.To
	}
	row.CallID, row.RootCallID, leg.CallID = id, id, id
	b.arrivedPos[id] = c.pos
	slices.SortStableFunc(c.evidence, func(x, y evidence) int { return cmp.Compare(x.at, y.at) })
	first, last := c.pos.First, c.pos.Frame
	var names []string
	for _, e := range c.evidence {
		names = append(names, e.by)
		leg.LastAt = max(leg.LastAt, e.at)
		if e.pos.File == c.pos.File {
			first, last = min(first, e.pos.First), max(last, e.pos.Frame)
		}
		b.evidenceSignal(e, id, legID)
	}
	leg.JoinedBy = "inferred from " + strings.Join(names, ", ")
	if r != nil {
		leg.JoinedBy += "; " + how
		leg.JoinScore = decode.Some(min(c.score, 0.8))
	}
	row.FirstFrame, row.LastFrame = decode.Some(first), decode.Some(last)
	if len(c.media) > 0 {
		row.Outcome = "answered"
		over := Time(0)
		for _, m := range c.media {
			over = max(over, m.flow.Last)
		}
		if row.AnsweredAt == 0 {
			row.AnsweredAt = c.media[0].start()
		}
		row.AnsweredAt = max(row.AnsweredAt, row.ArrivedAt)
		if over+1000*ms > end {
			row.Outcome, row.OpenAtEnd = "in-progress", true
		} else {
			row.EndedAt = max(over, row.AnsweredAt)
			row.DurationS = between(row.AnsweredAt, row.EndedAt, 1e9)
		}
		b.setupTimes(&row, c.media)
		gateway := c.media[0].flow.Dst.Addr() // the client spoke first, unless it is that end
		for _, m := range c.media {
			if m.flow.Src.Addr() == c.client {
				gateway = m.flow.Dst.Addr()
			} else if m.flow.Dst.Addr() == c.client {
				gateway = m.flow.Src.Addr()
			}
		}
		owner := &dialog{id: id, leg: legID, isCall: true, kind: legPStream}
		for _, s := range streams {
			if s.call != nil || !slices.ContainsFunc(c.media, func(m *sealedMedia) bool { return m.flow == s.flow }) {
				continue
			}
			s.call = owner
			row.Streams++
			at := &row.FirstMediaOutAt
			if s.flow.End(s.dir).Addr() == gateway {
				at = &row.FirstMediaInAt
			}
			if *at == 0 || s.first < *at {
				*at = s.first
			}
		}
	}
	t.Calls = append(t.Calls, row)
	t.Legs = append(t.Legs, leg)
}

// setupTimes gives a call how long ICE and DTLS took on its flows.
func (b *Builder) setupTimes(row *Call, media []*sealedMedia) {
	var check, success, hello, finished Time
	first := func(t *Time, at Time) {
		if at != 0 && (*t == 0 || at < *t) {
			*t = at
		}
	}
	for _, m := range media {
		if s := b.setups[m.flow.ID]; s != nil {
			first(&check, s.check.at)
			first(&success, s.success.at)
			first(&hello, s.hello.at)
			first(&finished, s.finished.at)
		}
	}
	row.ICEms, row.DTLSms = between(check, success, 1e6), between(hello, finished, 1e6)
}

// evidenceSignal makes a rung of a piece of evidence.
func (b *Builder) evidenceSignal(e evidence, id string, leg uint32) {
	s := Signal{CallID: id, LegID: decode.Some(leg), FlowID: decode.Some(e.flow.ID), At: e.at, File: b.files[e.pos.File],
		Frame: decode.Some(e.pos.Frame), FirstFrame: decode.Some(e.pos.First), Protocol: "tls", Kind: e.by, Label: e.what}
	switch e.by {
	case "ice-check":
		s.Protocol = "stun"
	case "dtls-hello":
		s.Protocol = "dtls"
	case "first-rtp", "tcp-connect":
		return // no message of a signaling protocol
	}
	src, dst := e.flow.End(e.from), e.flow.End(1-e.from)
	s.Src, s.SrcPort = b.addr(src.Addr()), decode.Some(uint32(src.Port()))
	s.Dst, s.DstPort = b.addr(dst.Addr()), decode.Some(uint32(dst.Port()))
	b.addSignal(&s, nil)
}
