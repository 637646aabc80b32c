package experiment

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// rule is one entry of the engine. Its id never changes meaning.
type rule struct {
	id       string
	severity string
	find     func(e *evidence, add func(sessions.Oddity))
}

// rules are all that rows can decide. The rules "manifest", "cap-reached",
// "times-went-back" and those of damaged messages are told where they are met; a capture of a second place is a duplicate-capture told there.
var rules = []rule{
	{"rate-below", "warn", rateBelow},
	{"burst-first", "info", burstFirst},
	{"no-backlog", "info", noBacklog},
	{"fifo-broken", "warn", fifoBroken},
	{"item-missing", "error", itemMissing},
	{"sent-but-failed", "warn", sentButFailed},
	{"queue-overflow", "error", queueOverflow},
	{"segments-disagree", "info", segmentsDisagree},
	{"trial-prefix", "info", trialPrefix},
	{"clock-offset", "warn", clockOffset},
	{"latency-assumption", "warn", latencyAssumption},
	{"arrival-late", "warn", arrivalLate},
	{"ringing-never", "info", ringingNever},
	{"call-ignored", "info", callIgnored},
	{"hangup-error", "warn", hangupError},
	{"reject-early", "info", rejectEarly},
	{"reconnect", "info", reconnect},
	{"heartbeat-lost", "warn", heartbeatLost},
	{"token-rejected", "error", tokenRejected},
	{"register-gap", "warn", registerGap},
	{"setup-slow", "warn", setupSlow},
	{"one-way-audio", "error", oneWayAudio},
	{"media-late", "warn", mediaLate},
	{"media-loss", "warn", mediaLoss},
	{"jitter-high", "warn", jitterHigh},
	{"mos-disagree", "info", mosDisagree},
	{"payload-changed", "info", payloadChanged},
	{"retransmit-sip", "info", retransmitSIP},
	{"sip-failure", "warn", sipFailure},
	{"duplicate-capture", "info", duplicateCapture},
	{"capture-loss", "warn", captureLoss},
	{"not-decrypted", "info", notDecrypted},
	{"tls-old", "warn", tlsOld},
	{"unknown-message", "info", unknownMessage},
}

const (
	maxOddities  = 200 // of one rule that are shown
	maxNamed     = 3   // items that a sentence names
	maxName      = 80  // bytes of a name from traffic within a sentence
	latencyMS    = 50  // the study neglected less than this
	burstItems   = 3
	offsetMS     = 500
	silentS      = 10  // an invite without any answer until the capture's end
	heartbeatS   = 15  // after which a client drops its connection
	registerS    = 60  // two periods of the client's registering
	slowTimes    = 3   // the median
	slowFloorMS  = 100 // below it nobody notices: 14 ms may be many times the median of a quick network
	slowCalls    = 5   // fewest calls that make a median
	oneWayS      = 2
	mediaLateS   = 2
	lossPct      = 1
	jitterMS     = 30
	mosDiffer    = 0.5
	retransmits  = 2
	reconnectMax = 1e9 // ns that the old connection may outlive the new one's listen

	reconnectWait = 75e9 // ns; the longest that a client goes on trying (TWILIO.md A2)
)

// findOddities applies every rule to the rows of one experiment: at most
// maxOddities rows a rule, and one that says how many more there are.
func findOddities(d *table.Dataset, t *sessions.Trace) []sessions.Oddity {
	e := newEvidence(d, t.Bodies)
	e.weak, e.late = t.Weak, map[string]float64{}
	for _, l := range t.Late {
		e.late[l.CallID] = l.MostMS
	}
	var out []sessions.Oddity
	for _, r := range rules {
		n, more := 0, sessions.Oddity{}
		r.find(e, func(o sessions.Oddity) {
			o.Rule, o.Severity = r.id, r.severity
			o.Subject, o.Text = cleanText(o.Subject), cleanText(o.Text)
			if n++; n <= maxOddities {
				out = append(out, o)
			} else if n == maxOddities+1 {
				more = sessions.Oddity{Rule: r.id, Severity: r.severity, At: o.At, File: o.File}
			}
		})
		if n > maxOddities {
			more.Subject = fmt.Sprintf("%d more", n-maxOddities)
			more.Text = fmt.Sprintf("%d more like these are not listed, %d in all", n-maxOddities, n)
			out = append(out, more)
		}
	}
	return out
}

// uniqueOddities makes the key of every row unique: equal rows are one, others
// that share their key are numbered.
func uniqueOddities(list []sessions.Oddity) []sessions.Oddity {
	slices.SortStableFunc(list, func(a, b sessions.Oddity) int {
		return cmp.Or(strings.Compare(a.Rule, b.Rule), cmp.Compare(a.At, b.At), strings.Compare(a.Subject, b.Subject),
			strings.Compare(a.File, b.File), cmp.Compare(a.Frame.V, b.Frame.V), strings.Compare(a.Text, b.Text), strings.Compare(a.WiresharkFilter, b.WiresharkFilter))
	})
	list = slices.Compact(list)
	type key struct {
		rule, subject string
		at            decode.Time
	}
	used, next := make(map[key]bool, len(list)), map[key]int{}
	for i := range list {
		o := &list[i]
		k := key{o.Rule, o.Subject, o.At}
		for base := k; used[k]; {
			next[base]++
			k.subject = strings.TrimSpace(fmt.Sprintf("%s (%d)", base.subject, next[base]+1))
		}
		used[k], o.Subject = true, k.subject
	}
	return list
}

// evidence is the rows with what several rules look up in them.
type evidence struct {
	*table.Dataset
	flows     map[uint32]*sessions.Flow
	calls     map[string]*sessions.Call
	resources map[string]*sessions.CallResource // by SID
	ofCall    map[string][]int32                // its signals, in time order
	ofFlow    map[uint32][]int32                // pstream, matrix and websocket, in time order
	listen    map[uint32]decode.Time            // of each flow the first listen
	at        []decode.Time                     // of each signal
	traits    []trait                           // of each signal
	streams   map[string][]int32                // of each call
	begun     []decode.Time                     // of each stream the first packet
	seconds   map[uint32]secondsOf              // stream_intervals of each stream
	odd       []int32                           // streams that a rule may look at by themselves
	names     map[string]string                 // of addresses
	captures  map[string]*decode.Capture
	end       decode.Time                 // last packet
	bodies    map[string]sessions.Body    // by message SID
	weak      map[uint32]sessions.WeakTLS // by flow
	late      map[string]float64          // ms, by call
	tell      []int32                     // signals with one of the traits of telling
	unusual   []int32                     // messages that a rule may look at by themselves
	stepped   map[string]bool             // captures whose clock stepped back by a second or more
	listed    map[string]decode.Time      // last listing of a REST resource in traffic
	moved     map[queueKey][]moved        // made when first asked for
	toLastAt  int                         // fields of a stream up to LastAt
	rows      []streamOf                  // those of sides
}

// trait is what rules ask of each signal, found out once: a row is unpacked
// for what has the trait alone.
type trait uint16

const (
	onPStream trait = 1 << iota
	onMatrix
	asks      // for a call: INVITE or invite
	describes // has SDP
	closes    // the connection
	offline
	registers

	// Few signals have one of the others, and rules look at these by themselves.
	hangsUp
	tellsError
	listening
	unheardOf
	says // BYE
	refuses
	repeats // SIP that was sent before

	onBrowser = onPStream | onMatrix
	telling   = hangsUp | tellsError | listening | unheardOf | says | refuses | repeats
)

func traitsOf(s *sessions.Signal) (t trait) {
	if strings.HasSuffix(s.Label, "+ SDP") {
		t |= describes
	}
	switch s.Kind {
	case "close":
		t |= closes
	case "offline":
		t |= offline
	}
	switch s.Protocol {
	case "sip":
		if s.Retransmission {
			t |= repeats
			break
		}
		if s.Kind == "BYE" {
			t |= says
		}
		if s.StatusCode.V >= 400 {
			t |= refuses
		}
	case "http":
		if s.StatusCode.V == 429 {
			t |= refuses
		}
		return t
	case "pstream":
		t |= onPStream
		if s.Kind == "register" {
			t |= registers
		}
	case "matrix":
		t |= onMatrix
	default:
		return t
	}
	if strings.EqualFold(s.Kind, "INVITE") {
		t |= asks
	}
	if t&onBrowser == 0 {
		return t
	}
	switch s.Kind {
	case "hangup":
		t |= hangsUp
	case "error":
		t |= tellsError
	case "listen":
		t |= listening
	}
	if !knownMessage(s) {
		t |= unheardOf
	}
	return t
}

// telling are the signals with one of some traits of telling, with their places
// in the table. Each is overwritten by the next.
func (e *evidence) telling(any trait) iter.Seq2[int, *sessions.Signal] {
	return func(yield func(int, *sessions.Signal) bool) {
		var s sessions.Signal
		for _, i := range e.tell {
			if e.traits[i]&any == 0 {
				continue
			}
			if e.Signals.Get(int(i), &s); !yield(int(i), &s) {
				return
			}
		}
	}
}

// unusual tells the messages that a rule looks at by themselves, few of all.
func unusual(m *sessions.Message, b sessions.Body) bool {
	return inQueueStill(m.Status) || undone(m.Status) || m.ErrorCode.Known || segmentsDiffer(m) || b.Added > 0
}

// knownMessage tells a message of a type of TWILIO.md A3, A4 and B that this
// version reads.
func knownMessage(s *sessions.Signal) bool {
	switch strings.ToLower(s.Kind) {
	case "listen", "register", "invite", "answer", "reinvite", "dtmf", "reject", "hangup", "message", "connected", "ready", "ringing", "cancel",
		"error", "ack", "offline", "close", "candidate", "presence", "roster", "offer", "publish":
		return true
	}
	return false
}

// secondsOf is where the intervals of a stream stand: sessions makes them one
// after the other. whole: every second from the first to the last has packets.
type secondsOf struct {
	from, to int32
	at       decode.Time // of the first
	whole    bool
}

// covers tells whether the intervals add up to the time from the stream's first
// packet to its last.
func (n *secondsOf) covers(s *sessions.Stream) bool {
	last := n.at + decode.Time(n.to-n.from-1)*1e9
	return n.whole && n.at <= s.FirstAt && s.FirstAt < n.at+1e9 && last <= s.LastAt && s.LastAt <= last+1e9
}

func newEvidence(d *table.Dataset, bodies map[string]sessions.Body) *evidence {
	calls := len(d.Calls)
	e := &evidence{
		Dataset: d, bodies: bodies, flows: make(map[uint32]*sessions.Flow, len(d.Flows)), calls: make(map[string]*sessions.Call, calls),
		resources: make(map[string]*sessions.CallResource, len(d.CallResources)), ofCall: make(map[string][]int32, calls), ofFlow: map[uint32][]int32{},
		listen: map[uint32]decode.Time{}, streams: make(map[string][]int32, calls), seconds: make(map[uint32]secondsOf, d.Streams.Len()),
		names: map[string]string{}, captures: map[string]*decode.Capture{}, listed: map[string]decode.Time{}, stepped: map[string]bool{},
		toLastAt: d.Streams.FieldsTo("LastAt"),
	}
	for i := range d.Captures {
		c := &d.Captures[i]
		e.captures[c.File] = c
		e.end = max(e.end, c.LastAt)
	}
	for i := range d.Flows {
		e.flows[d.Flows[i].FlowID] = &d.Flows[i]
		e.end = max(e.end, d.Flows[i].LastAt)
	}
	for i := range d.Calls {
		e.calls[d.Calls[i].CallID] = &d.Calls[i]
	}
	for i := range d.CallResources {
		e.resources[d.CallResources[i].SID] = &d.CallResources[i]
	}
	e.at, e.traits = make([]decode.Time, d.Signals.Len()), make([]trait, d.Signals.Len())
	for i, s := range d.Signals.AllTo("Retransmission") {
		e.at[i], e.traits[i] = s.At, traitsOf(s)
		if e.traits[i]&telling != 0 {
			e.tell = append(e.tell, int32(i))
		}
		if resource, ok := strings.CutPrefix(s.Kind, "GET "); ok && s.Protocol == "http" {
			e.listed[resource] = max(e.listed[resource], s.At)
		}
		if s.CallID != "" {
			e.ofCall[s.CallID] = append(e.ofCall[s.CallID], int32(i))
		}
		if s.FlowID.Known && (s.Protocol == "pstream" || s.Protocol == "matrix" || s.Protocol == "websocket") {
			e.ofFlow[s.FlowID.V] = append(e.ofFlow[s.FlowID.V], int32(i))
			if at, ok := e.listen[s.FlowID.V]; s.Kind == "listen" && (!ok || s.At < at) {
				e.listen[s.FlowID.V] = s.At
			}
		}
	}
	e.findSteps()
	byTime := func(a, b int32) int { return cmp.Compare(e.at[a], e.at[b]) }
	for _, list := range e.ofCall {
		slices.SortStableFunc(list, byTime)
	}
	for _, list := range e.ofFlow {
		slices.SortStableFunc(list, byTime)
	}
	e.begun = make([]decode.Time, d.Streams.Len())
	for i, s := range d.Streams.AllTo("MOSSDK") {
		e.begun[i] = s.FirstAt
		if s.CallID != "" {
			e.streams[s.CallID] = append(e.streams[s.CallID], int32(i))
		}
		if lossy(s) || jittery(s) || disagrees(s) || len(s.PayloadTypes) > 1 {
			e.odd = append(e.odd, int32(i))
		}
	}
	e.findSeconds()
	for i, m := range d.Messages.All() {
		if unusual(m, bodies[m.SID]) {
			e.unusual = append(e.unusual, int32(i))
		}
	}
	for i := range d.Hosts {
		if h := &d.Hosts[i]; len(h.Names) > 0 {
			e.names[h.Address] = h.Names[0]
		}
	}
	return e
}

func (e *evidence) findSeconds() {
	var n secondsOf
	var stream uint32
	var last decode.Time
	for i, v := range e.StreamIntervals.AllTo("Packets") {
		if i == 0 || v.StreamID != stream {
			if i > 0 {
				e.seconds[stream] = n
			}
			n, stream = secondsOf{from: int32(i), at: v.At, whole: true}, v.StreamID
		} else if v.At != last+1e9 {
			n.whole = false
		}
		n.whole = n.whole && v.Packets > 0
		n.to, last = int32(i+1), v.At
	}
	if n.to > 0 {
		e.seconds[stream] = n
	}
}

// each are the signals of a list of ofCall or ofFlow that have one of some
// traits. Each is overwritten by the next: copy what you keep.
func (e *evidence) each(list []int32, any trait) iter.Seq[*sessions.Signal] {
	return func(yield func(*sessions.Signal) bool) {
		var s sessions.Signal
		for _, n := range list {
			if e.traits[n]&any == 0 {
				continue
			}
			if e.Signals.Get(int(n), &s); !yield(&s) {
				return
			}
		}
	}
}

// has tells whether a signal of the list has one of some traits.
func (e *evidence) has(list []int32, any trait) bool {
	return slices.ContainsFunc(list, func(n int32) bool { return e.traits[n]&any != 0 })
}

// intervals are the seconds of a stream. Each is overwritten by the next.
func (e *evidence) intervals(stream uint32) iter.Seq[*sessions.StreamInterval] {
	return func(yield func(*sessions.StreamInterval) bool) {
		var v sessions.StreamInterval
		for i := e.seconds[stream].from; i < e.seconds[stream].to; i++ {
			if e.StreamIntervals.Get(int(i), &v); !yield(&v) {
				return
			}
		}
	}
}

// findSteps finds captures with times that no span of seconds can be read from.
func (e *evidence) findSteps() {
	if !slices.ContainsFunc(e.Captures, func(c decode.Capture) bool { return c.BackwardSteps > 0 }) {
		return
	}
	type stamp struct {
		frame int64
		at    decode.Time
	}
	by := map[string][]stamp{}
	put := func(file string, frame int64, at decode.Time) {
		if c := e.captures[file]; c != nil && c.BackwardSteps > 0 && frame > 0 {
			by[file] = append(by[file], stamp{frame, at})
		}
	}
	for _, s := range e.Signals.All() {
		put(s.File, s.Frame.V, s.At)
	}
	for _, s := range e.Streams.All() {
		put(s.File, s.FirstFrame, s.FirstAt)
	}
	for i := range e.Oddities {
		put(e.Oddities[i].File, e.Oddities[i].Frame.V, e.Oddities[i].At)
	}
	for file, list := range by {
		slices.SortFunc(list, func(a, b stamp) int { return cmp.Compare(a.frame, b.frame) })
		latest := e.captures[file].FirstAt
		for _, s := range list {
			if latest-s.at >= 1e9 {
				e.stepped[file] = true
				break
			}
			latest = max(latest, s.at)
		}
	}
}

// host is an address with its name, for a sentence.
func (e *evidence) host(address string) string {
	if n := e.names[address]; n != "" {
		return named(n) + " (" + address + ")"
	}
	return address
}

// fromClient tells whether the side that opened the connection sent s.
func (e *evidence) fromClient(s *sessions.Signal) bool {
	f := e.flows[s.FlowID.V]
	return f != nil && s.Src == f.Src && s.SrcPort.V == f.SrcPort.V
}

// Sentences.

func cleanText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// named cuts a text from traffic to a length that fits a sentence.
func named(s string) string {
	if len(s) <= maxName {
		return s
	}
	return strings.ToValidUTF8(s[:maxName], "") + "…"
}

func seconds(d decode.Time) string { return strconv.FormatFloat(float64(d)/1e9, 'f', 1, 64) + " s" }

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

func between(lo, hi sessions.Float) string {
	switch {
	case lo.Known && hi.Known:
		return rates.Number(lo.V) + " to " + rates.Number(hi.V) + "/s"
	case lo.Known:
		return "at least " + rates.Number(lo.V) + "/s"
	}
	return "not known"
}

// Wireshark display filters.

// quoted is a string constant: quotation marks and backslashes are escaped.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func frameFilter(n sessions.Int) string {
	if !n.Known || n.V <= 0 {
		return ""
	}
	return fmt.Sprintf("frame.number == %d", n.V)
}

func addrFilter(field, address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	if a = a.Unmap(); a.Is4() {
		return "ip." + field + " == " + a.String()
	}
	return "ipv6." + field + " == " + a.WithZone("").String()
}

func allOf(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " && ")
}

func portFilter(transport string, port sessions.Uint) string {
	if !port.Known || transport != "tcp" && transport != "udp" {
		return ""
	}
	return fmt.Sprintf("%s.port == %d", transport, port.V)
}

func flowFilter(f *sessions.Flow) string {
	if f == nil {
		return ""
	}
	return allOf(addrFilter("addr", f.Src), addrFilter("addr", f.Dst), portFilter(f.Transport, f.SrcPort), portFilter(f.Transport, f.DstPort))
}

func streamFilter(s *sessions.Stream) string {
	return allOf(fmt.Sprintf("rtp.ssrc == 0x%08x", s.SSRC), addrFilter("src", s.Src), addrFilter("dst", s.Dst))
}

func (e *evidence) callFilter(c *sessions.Call) string {
	var any []string
	for _, id := range c.SIPCallIDs {
		if len(any) < maxNamed && id != "" && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == '\uFFFD' }) {
			any = append(any, "sip.Call-ID == "+quoted(id))
		}
	}
	if len(any) > 0 {
		return strings.Join(any, " || ")
	}
	if c.FirstFrame.Known && c.LastFrame.Known && c.FirstFrame.V > 0 {
		return allOf(fmt.Sprintf("frame.number >= %d && frame.number <= %d", c.FirstFrame.V, c.LastFrame.V), e.lineFilter(c))
	}
	return ""
}

// lineFilter is the connection that carried a browser call.
func (e *evidence) lineFilter(c *sessions.Call) string {
	for s := range e.each(e.ofCall[c.CallID], onBrowser) {
		if s.FlowID.Known {
			return flowFilter(e.flows[s.FlowID.V])
		}
	}
	return ""
}

// ofSignal is an oddity that a signaling message is the evidence of.
func ofSignal(s *sessions.Signal, subject, format string, args ...any) sessions.Oddity {
	return sessions.Oddity{At: s.At, Subject: subject, Text: fmt.Sprintf(format, args...), File: s.File, Frame: s.Frame, WiresharkFilter: frameFilter(s.Frame)}
}

func (e *evidence) aboutCall(c *sessions.Call, at decode.Time, format string, args ...any) sessions.Oddity {
	return sessions.Oddity{At: at, Subject: c.CallID, Text: fmt.Sprintf(format, args...), File: c.File, Frame: c.FirstFrame, WiresharkFilter: e.callFilter(c)}
}

func aboutStream(s *sessions.Stream, at decode.Time, format string, args ...any) sessions.Oddity {
	return sessions.Oddity{At: at, Subject: fmt.Sprintf("stream %d", s.StreamID), Text: fmt.Sprintf(format, args...), File: s.File,
		Frame: sessions.Int{V: s.FirstFrame, Known: s.FirstFrame > 0}, WiresharkFilter: streamFilter(s)}
}

func way(s *sessions.Stream) string {
	return fmt.Sprintf("from %s to %s", endpoint(s.Src, s.SrcPort), endpoint(s.Dst, s.DstPort))
}

func endpoint(address string, port uint32) string {
	if strings.Contains(address, ":") {
		return fmt.Sprintf("[%s]:%d", address, port)
	}
	return fmt.Sprintf("%s:%d", address, port)
}

// field is the value of a line "name: value" of a signal's detail.
func field(detail string, names ...string) string {
	for line := range strings.Lines(detail) {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		for _, n := range names {
			if strings.EqualFold(k, n) {
				return strings.TrimSpace(v)
			}
		}
	}
	return ""
}

// Codes of TWILIO.md A6 and H9, of Q.850 and of SIP, as far as a rule names them.

var codeMeanings = map[int64]string{
	20003: "authentication failed", 20101: "token invalid", 20104: "token expired", 20151: "authentication failed", 20429: "too many requests",
	21211: "invalid To number", 21212: "invalid From number", 21214: "To number cannot be reached", 21215: "destination not permitted",
	21608: "unverified number on a trial account", 21610: "receiver opted out", 21611: "queue of the From number full", 21614: "To is no mobile number",
	21617: "message too long", 21624: "validity period out of range", 22005: "call queue full",
	30001: "queue overflow", 30002: "account suspended", 30003: "handset unreachable", 30004: "message blocked", 30005: "unknown handset",
	30006: "landline or carrier unreachable", 30007: "filtered", 30008: "unknown error", 30022: "10DLC rate exceeded", 30036: "validity period expired",
	63038: "daily message limit", 90007: "validity period expired",
	31000: "unknown error", 31001: "application not found", 31002: "connection declined", 31003: "timeout", 31005: "connection error", 31008: "cancelled",
	31009: "transport error", 31100: "malformed request", 31101: "missing parameter array", 31102: "token missing", 31103: "parameter too long",
	31104: "bad bridge token", 31105: "bad client name", 31107: "bad reconnect parameter", 31201: "authorization error", 31202: "signature validation failed",
	31203: "no valid account", 31204: "bad token", 31205: "token expired", 31206: "rate exceeded the authorized limit", 31207: "token lifetime too long",
	31209: "reconnect not authorized", 31400: "bad request", 31404: "not found", 31480: "temporarily unavailable", 31486: "busy", 31603: "declined",
	53000: "signaling connection error", 53001: "signaling connection lost", 53400: "bad local SDP", 53402: "bad remote SDP", 53405: "media connection failed",
}

func meaning(code int64) string {
	if m := codeMeanings[code]; m != "" {
		return fmt.Sprintf("%d (%s)", code, m)
	}
	return strconv.FormatInt(code, 10)
}

// q850 are causes of ITU-T Q.850 that say more than that somebody hung up.
var q850 = map[int64]string{
	1: "unallocated number", 3: "no route to destination", 21: "call rejected", 27: "destination out of order", 28: "invalid number format",
	34: "no circuit available", 38: "network out of order", 41: "temporary failure", 42: "switching equipment congestion", 44: "requested circuit not available",
	47: "resource unavailable", 50: "facility not subscribed", 58: "bearer capability not available", 63: "service not available",
	65: "bearer capability not implemented", 79: "service not implemented", 88: "incompatible destination", 102: "recovery on timer expiry",
	111: "protocol error", 127: "interworking",
}

// Rates.

// queueOf names the queue of a rate as a subject.
func queueOf(r *rates.Rate) string {
	if r.Queue == "" {
		return r.Kind
	}
	return r.Kind + " of " + r.Queue
}

// moved is an item that left its queue; times are cut to resolution or have an
// error, so that its leaving lies in [from, to].
type moved struct {
	id       string
	queued   decode.Time
	from, to decode.Time
	file     string
	frame    sessions.Int
	place    int64 // in queue order, where that is known better than by times
	captured bool
}

// queueKey names a queue as table rates does.
type queueKey struct{ kind, by, queue string }

// left are the items of a queue that left at a known time, in order of leaving.
func (e *evidence) left(r *rates.Rate) []moved {
	if e.moved == nil {
		e.moved = map[queueKey][]moved{}
		by := map[[2]string]bool{} // kind and queue_by
		queues := map[string][]*rates.Rate{}
		for i := range e.Rates {
			r := &e.Rates[i]
			by[[2]string{r.Kind, r.QueueBy}] = true
			queues[r.Kind] = append(queues[r.Kind], r)
		}
		put := func(kind, account, from, service string, m moved) {
			if list := queues[kind]; len(list) == 1 {
				k := queueKey{kind, list[0].QueueBy, list[0].Queue}
				e.moved[k] = append(e.moved[k], m)
				return
			}
			for _, k := range [...]queueKey{{kind, "account", account}, {kind, "from", from}, {kind, "service", service}} {
				if by[[2]string{kind, k.by}] {
					e.moved[k] = append(e.moved[k], m)
				}
			}
		}
		for _, m := range e.Messages.All() {
			if m.SentAt == 0 || undone(m.Status) {
				continue
			}
			res := decode.Time(m.TimeResolutionS.V * 1e9)
			put("messages", m.AccountSID, m.From, m.MessagingServiceSID, moved{id: m.SID, queued: m.QueuedAt, from: m.SentAt, to: m.SentAt + max(res-1, 0), file: m.File})
		}
		for i := range e.Arrivals {
			a := &e.Arrivals[i]
			if a.ArrivedAt == 0 {
				continue
			}
			half := decode.Time(a.ArrivedErrorMS.V * 1e6)
			var account, from string
			if c := e.resources[a.CallSID]; c != nil {
				account, from = c.AccountSID, c.From
			}
			put("calls", account, from, "", moved{id: cmp.Or(a.CallSID, a.CallID), queued: a.QueuedAt, from: a.ArrivedAt - half, to: a.ArrivedAt + half, file: a.File, frame: a.Frame,
				place: a.Seq, captured: a.ArrivedBy != "resource"})
		}
		for _, list := range e.moved {
			slices.SortStableFunc(list, func(a, b moved) int { return cmp.Compare(a.from, b.from) })
		}
	}
	return e.moved[queueKey{r.Kind, r.QueueBy, r.Queue}]
}

func undone(status string) bool {
	switch status {
	case "failed", "undelivered", "canceled", "cancelled":
		return true
	}
	return false
}

func (e *evidence) aboutRate(r *rates.Rate, items []moved, at decode.Time, text string) sessions.Oddity {
	o := sessions.Oddity{At: at, Subject: queueOf(r), Text: text}
	for i := range items {
		if m := &items[i]; m.to >= at {
			if o.At == 0 {
				o.At = m.from
			}
			o.File, o.Frame, o.WiresharkFilter = m.file, m.frame, frameFilter(m.frame)
			break
		}
	}
	return o
}

func rateBelow(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Rates {
		r := &e.Rates[i]
		if r.Verdict != "below" && r.SustainedVerdict != "below" {
			continue
		}
		items := e.left(r)
		var text []string
		if r.Verdict == "below" {
			unit, promised, seen := r.Kind, r.ExpectedPerS, r.ObservedPerS
			interval := " (certain interval " + between(r.ObservedLowPerS, r.ObservedHighPerS) + ")"
			if !promised.Known || !seen.Known {
				unit, promised, seen, interval = "segments", decode.Some(r.GuaranteePerS), r.ObservedSegmentsPerS, ""
			}
			text = append(text, fmt.Sprintf("promised %s %s a second, seen %s in this run%s, from the first item on", rates.Number(promised.V), unit, rates.Number(seen.V), interval))
		}
		if r.SustainedVerdict == "below" {
			from := "the first item"
			if r.ChangeAt != 0 {
				n := 0
				for n < len(items) && items[n].from < r.ChangeAt {
					n++
				}
				from = fmt.Sprintf("item %d", n+1)
			}
			text = append(text, fmt.Sprintf("sustained %s segments a second of the promised %s (95 %% interval %s), from %s on", rates.Number(r.SustainedPerS.V), rates.Number(r.GuaranteePerS),
				between(r.SustainedLowPerS, r.SustainedHighPerS), from))
		}
		at := decode.Time(0)
		if r.Verdict != "below" {
			at = r.ChangeAt
		}
		add(e.aboutRate(r, items, at, strings.Join(text, "; ")))
	}
}

func burstFirst(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Rates {
		r := &e.Rates[i]
		if !r.BurstItems.Known || r.BurstItems.V <= burstItems {
			continue
		}
		interval := ""
		if r.BurstLowItems.Known && r.BurstHighItems.Known {
			interval = fmt.Sprintf(" (%s to %s)", rates.Number(r.BurstLowItems.V), rates.Number(r.BurstHighItems.V))
		}
		add(e.aboutRate(r, e.left(r), 0, fmt.Sprintf("the first %s items%s left at once, beyond the rate that followed: a token bucket of that depth", rates.Number(math.Round(r.BurstItems.V)), interval)))
	}
}

func noBacklog(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Rates {
		r := &e.Rates[i]
		if r.Items < 9 || !r.BusyPct.Known || r.BusyPct.V > 0 || !r.BacklogMax.Known || r.BacklogMax.V > 1 {
			continue
		}
		queued := ""
		if r.QueuePerS.Known {
			queued = fmt.Sprintf(" (queued %s a second)", rates.Number(r.QueuePerS.V))
		}
		add(e.aboutRate(r, e.left(r), 0, fmt.Sprintf("no queue ever built up: at most %s at once%s, so items left as fast as they came, and their rate says nothing of the provider's limit",
			plural(r.BacklogMax.V, "item waited", "items waited"), queued)))
	}
}

func fifoBroken(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Rates {
		r := &e.Rates[i]
		if !r.FIFOInversions.Known || r.FIFOInversions.V == 0 {
			continue
		}
		items := e.left(r)
		text := plural(r.FIFOInversions.V, "pair of items", "pairs of items") + " left in another order than queued, beyond the clock's resolution"
		if r.FIFOTau.Known {
			text += " (Kendall's tau " + rates.Number(r.FIFOTau.V) + ")"
		}
		jumped := overtaking(items)
		var at decode.Time
		for n, j := range jumped {
			if n == maxNamed {
				text += fmt.Sprintf("; %d more overtook others", len(jumped)-n)
				break
			}
			if n == 0 {
				at = j[0].from
			}
			text += fmt.Sprintf("; %s left before %s, which was queued earlier", j[0].id, j[1].id)
		}
		add(e.aboutRate(r, items, at, text))
	}
}

// overtaking finds items that surely left before one that was queued before them.
func overtaking(items []moved) [][2]*moved {
	var out [][2]*moved
	for _, captured := range [...]bool{false, true} { // clocks are not mixed
		var q []*moved
		for i := range items {
			if m := &items[i]; m.captured == captured && (m.place != 0 || m.queued != 0) {
				q = append(q, m)
			}
		}
		slices.SortStableFunc(q, func(a, b *moved) int { return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.queued, b.queued)) })
		var last *moved // left latest of those queued before the current instant
		for i := 0; i < len(q); {
			j := i + 1
			for j < len(q) && q[j].place == q[i].place && q[j].queued == q[i].queued {
				j++
			}
			for _, m := range q[i:j] {
				if last != nil && m.to < last.from {
					out = append(out, [2]*moved{m, last})
				}
			}
			for _, m := range q[i:j] {
				if last == nil || m.from > last.from {
					last = m
				}
			}
			i = j
		}
	}
	slices.SortStableFunc(out, func(a, b [2]*moved) int { return cmp.Compare(a[0].from, b[0].from) })
	return out
}

// lookedAgain tells whether traffic holds a listing of the resource that is
// later than at: only then a state found in traffic is a late one.
func (e *evidence) lookedAgain(file, resource string, at decode.Time) bool {
	return e.captures[file] == nil || e.listed[resource] > at // an export is made afterwards
}

func inQueueStill(status string) bool {
	return status == "queued" || status == "accepted" || status == "sending" || status == "initiated"
}

func record(n sessions.Int) string {
	if !n.Known {
		return ""
	}
	return fmt.Sprintf(", record %d", n.V)
}

func itemMissing(e *evidence, add func(sessions.Oddity)) {
	for m := range e.Messages.Some(e.unusual) {
		if m.QueuedAt == 0 || m.SentAt != 0 || !inQueueStill(m.Status) || strings.HasPrefix(m.Direction, "inbound") || !e.lookedAgain(m.File, "Messages", m.QueuedAt) {
			continue
		}
		add(sessions.Oddity{At: m.QueuedAt, Subject: m.SID, File: m.File,
			Text: fmt.Sprintf("message to %s was queued and had not left when it was last seen: a resource with status %s and no sent time (%s%s)", named(m.To), m.Status, m.File, record(m.Record))})
	}
	seen := map[string]bool{} // endpoints at which calls were seen to arrive
	for i := range e.Arrivals {
		if a := &e.Arrivals[i]; a.ArrivedAt != 0 && a.ArrivedBy != "resource" {
			seen[a.To] = true
		}
	}
	for i := range e.Arrivals {
		a := &e.Arrivals[i]
		if a.QueuedAt == 0 || a.ArrivedAt != 0 {
			continue
		}
		id, r := a.CallSID, e.resources[a.CallSID]
		if id == "" {
			id = a.CallID
		}
		observable := a.Endpoint != "phone" && seen[a.To]
		o := sessions.Oddity{At: a.QueuedAt, Subject: id, File: a.File, Frame: a.Frame, WiresharkFilter: frameFilter(a.Frame)}
		where := map[string]string{"http-post": "in the answer to its POST", "queue-log": "in the client's queue log", "resource": "as a resource"}[a.QueuedBy]
		switch {
		case r != nil && r.Status != "" && !inQueueStill(r.Status):
			continue // it failed, or left at a time that nobody noted
		case r != nil && e.lookedAgain(r.File, "Calls", a.QueuedAt):
			where = "as a resource with status " + cmp.Or(r.Status, "unknown") + " (" + r.File + record(r.Record) + ")"
		case !observable:
			continue // nobody looked for it
		}
		o.Text = fmt.Sprintf("call to %s was queued and never arrived: last seen %s", named(a.To), where)
		if observable {
			o.Text += "; other calls to that endpoint were seen to arrive"
		}
		add(o)
	}
}

func sentButFailed(e *evidence, add func(sessions.Oddity)) {
	for m := range e.Messages.Some(e.unusual) {
		if m.SentAt == 0 || m.Status != "failed" && m.Status != "undelivered" {
			continue
		}
		code := "without an error code"
		if m.ErrorCode.Known {
			code = "with error " + meaning(m.ErrorCode.V)
		}
		add(sessions.Oddity{At: m.SentAt, Subject: m.SID, File: m.File,
			Text: fmt.Sprintf("message to %s has a sent time, yet its status is %s %s; it is kept out of the rate (%s%s)", named(m.To), m.Status, code, m.File, record(m.Record))})
	}
}

// limits are the queue limits behind a code.
var limits = map[int64]string{
	20429: "more requests at once than the API allows", 21611: "the queue of the From number was full", 22005: "the queue of calls was full",
	30001: "the queue of messages was full",
}

func queueOverflow(e *evidence, add func(sessions.Oddity)) {
	type hit struct {
		n     int64
		what  [2]string // one, many
		first sessions.Oddity
	}
	hits := map[string]*hit{}
	refused := func(subject, one, many string, o sessions.Oddity) {
		h := hits[subject]
		if h == nil {
			h = &hit{first: o, what: [2]string{one, many}}
			h.first.Subject = subject
			hits[subject] = h
		} else if o.At < h.first.At {
			h.first = o
			h.first.Subject = subject
		}
		h.n++
	}
	counted := map[string]bool{}
	for m := range e.Messages.Some(e.unusual) {
		if m.ErrorCode.Known && limits[m.ErrorCode.V] != "" {
			refused(strconv.FormatInt(m.ErrorCode.V, 10), "message", "messages", sessions.Oddity{At: cmp.Or(m.QueuedAt, m.UpdatedAt), File: m.File,
				Text: "with " + meaning(m.ErrorCode.V) + ": " + limits[m.ErrorCode.V] + ", first " + m.SID})
		}
	}
	for i := range e.CallResources {
		if c := &e.CallResources[i]; c.ErrorCode.Known && limits[c.ErrorCode.V] != "" {
			counted[c.SID] = true
			refused(strconv.FormatInt(c.ErrorCode.V, 10)+" of calls", "call", "calls", sessions.Oddity{At: c.CreatedAt, File: c.File,
				Text: "with " + meaning(c.ErrorCode.V) + ": " + limits[c.ErrorCode.V] + ", first " + c.SID})
		}
	}
	for i := range e.Calls {
		if c := &e.Calls[i]; c.ErrorCode.Known && limits[c.ErrorCode.V] != "" && !counted[c.CallSID] {
			refused(strconv.FormatInt(c.ErrorCode.V, 10)+" of calls", "call", "calls", e.aboutCall(c, cmp.Or(c.InitiatedAt, c.EndedAt),
				"with %s: %s, first %s", meaning(c.ErrorCode.V), limits[c.ErrorCode.V], c.CallID))
		}
	}
	provider := map[string]bool{}
	for i := range e.Hosts {
		provider[e.Hosts[i].Address] = e.Hosts[i].Provider != ""
	}
	for _, s := range e.telling(refuses) {
		switch {
		case s.Protocol == "http" && s.StatusCode.V == 429 && provider[s.Src]:
			refused("HTTP 429 of "+s.Src, "request", "requests", ofSignal(s, "", "with HTTP 429 by %s: too many at once", e.host(s.Src)))
		case s.Protocol == "sip" && s.StatusCode.V == 503 && !s.Retransmission && trunkLimit(s):
			refused("SIP 503 of "+s.Src, "call", "calls", ofSignal(s, "", `with 503 "Trunk CPS limit exceeded" by %s: more calls a second than the trunk may make`, e.host(s.Src)))
		}
	}
	subjects := make([]string, 0, len(hits))
	for s := range hits {
		subjects = append(subjects, s)
	}
	slices.Sort(subjects)
	for _, s := range subjects {
		h := hits[s]
		o := h.first
		o.Text = plural(h.n, h.what[0]+" was", h.what[1]+" were") + " refused " + o.Text
		add(o)
	}
}

func trunkLimit(s *sessions.Signal) bool {
	return strings.Contains(strings.ToLower(s.Label), "cps limit exceeded") || strings.Contains(strings.ToLower(s.Detail.String()), "cps limit exceeded")
}

func segmentsDisagree(e *evidence, add func(sessions.Oddity)) {
	type kind struct {
		from, encoding       string
		provider, gsm, by160 sessions.Int
	}
	groups := map[kind]int{}
	type group struct {
		k     kind
		n     int64
		lo    int64
		hi    int64
		first sessions.Message
		mixed bool // not all for the same code point
	}
	var list []*group
	for m := range e.Messages.Some(e.unusual) {
		if !segmentsDiffer(m) {
			continue
		}
		k := kind{from: m.From, encoding: m.Encoding, provider: m.Segments, gsm: m.SegmentsGSM, by160: m.Segments160}
		at, ok := groups[k]
		if !ok {
			at = len(list)
			groups[k] = at
			list = append(list, &group{k: k, lo: m.BodyBytes.V, hi: m.BodyBytes.V, first: *m})
		}
		g := list[at]
		g.n++
		g.mixed = g.mixed || e.bodies[m.SID].Offender != e.bodies[g.first.SID].Offender
		g.lo, g.hi = min(g.lo, m.BodyBytes.V), max(g.hi, m.BodyBytes.V)
		if m.QueuedAt < g.first.QueuedAt || m.QueuedAt == g.first.QueuedAt && m.SID < g.first.SID {
			g.first = *m
		}
	}
	for _, g := range list {
		var counts []string
		for _, c := range [...]struct {
			who string
			n   sessions.Int
		}{{"the provider", g.k.provider}, {"GSM 03.38", g.k.gsm}, {"160 bytes each", g.k.by160}} {
			if c.n.Known {
				counts = append(counts, fmt.Sprintf("%d by %s", c.n.V, c.who))
			}
		}
		size := plural(g.lo, "byte", "bytes")
		if g.hi != g.lo {
			size = fmt.Sprintf("%d to %d bytes", g.lo, g.hi)
		}
		enc := "of unknown encoding"
		switch g.k.encoding {
		case "gsm7":
			enc = "in GSM-7 (160 septets alone, 153 each in several parts)"
		case "ucs2":
			why := "a character outside GSM-7 demands"
			if r := e.bodies[g.first.SID].Offender; r != 0 {
				why = fmt.Sprintf("%U demands, which GSM-7 lacks", r)
				if g.mixed {
					why = fmt.Sprintf("%U and others demand, which GSM-7 lacks", r)
				}
			}
			enc = "in UCS-2, as " + why + " (70 units alone, 67 each in several parts)"
		}
		add(sessions.Oddity{At: g.first.QueuedAt, Subject: g.first.SID, File: g.first.File,
			Text: fmt.Sprintf("%s of %s, %s: %s segments", plural(g.n, "message", "messages"), size, enc, strings.Join(counts, ", "))})
	}
}

func trialPrefix(e *evidence, add func(sessions.Oddity)) {
	type group struct {
		first sessions.Message
		n     int64
	}
	var list []*group
	groups := map[string]*group{}
	for m := range e.Messages.Some(e.unusual) {
		if e.bodies[m.SID].Added == 0 {
			continue
		}
		g := groups[m.From]
		if g == nil {
			g = &group{first: *m}
			groups[m.From] = g
			list = append(list, g)
		}
		g.n++
		if m.QueuedAt < g.first.QueuedAt || m.QueuedAt == g.first.QueuedAt && m.SID < g.first.SID {
			g.first = *m
		}
	}
	for _, g := range list {
		verb := "begins"
		if g.n > 1 {
			verb = "begin"
		}
		add(sessions.Oddity{At: g.first.QueuedAt, Subject: g.first.SID, File: g.first.File,
			Text: fmt.Sprintf("%s %s with the text of a trial account: the provider put %d characters before what was written, and sizes and segments count them",
				plural(g.n, "message", "messages"), verb, e.bodies[g.first.SID].Added)})
	}
}

func segmentsDiffer(m *sessions.Message) bool {
	return differ(m.Segments, m.SegmentsGSM) || differ(m.SegmentsGSM, m.Segments160) || differ(m.Segments, m.Segments160)
}

func differ(a, b sessions.Int) bool { return a.Known && b.Known && a.V != b.V }

func clockOffset(e *evidence, add func(sessions.Oddity)) {
	var at decode.Time
	for i := range e.Captures {
		if c := &e.Captures[i]; c.FirstAt != 0 && (at == 0 || c.FirstAt < at) {
			at = c.FirstAt
		}
	}
	for i := range e.Clocks {
		c := &e.Clocks[i]
		lo, hi := c.OffsetLowMS, c.OffsetHighMS
		if !lo.Known || !hi.Known || lo.V <= 0 && hi.V >= 0 || math.Abs(lo.V+hi.V)/2 <= offsetMS {
			continue
		}
		side := "ahead of"
		if hi.V < 0 {
			side = "behind"
			lo, hi = decode.Some(-hi.V), decode.Some(-lo.V)
		}
		add(sessions.Oddity{At: at, Subject: c.Host, WiresharkFilter: addrFilter("addr", c.Host),
			Text: fmt.Sprintf("clock of %s is %s to %s s %s the capture's, by %s; times of the two are compared only with this offset and its width", e.host(c.Host),
				rates.Number(lo.V/1e3), rates.Number(hi.V/1e3), side, plural(c.Samples, "sample of "+c.By, "samples of "+c.By))})
	}
}

func latencyAssumption(e *evidence, add func(sessions.Oddity)) {
	type worst struct {
		n     int64
		a     *sessions.Arrival
		alike bool // all to the same endpoint
	}
	var order []string
	by := map[string]*worst{} // by connection, which is what has a latency
	for i := range e.Arrivals {
		a := &e.Arrivals[i]
		if a.ArrivedAt == 0 || a.ArrivedBy == "resource" || !a.ArrivedErrorMS.Known || a.ArrivedErrorMS.V <= latencyMS || e.late[a.CallID] == a.ArrivedErrorMS.V {
			continue
		}
		k := a.To
		if c := e.calls[a.CallID]; c != nil {
			if inv := e.inviteOf(c); inv != nil && inv.FlowID.Known {
				k = "flow " + strconv.FormatUint(uint64(inv.FlowID.V), 10)
			}
		}
		w := by[k]
		if w == nil {
			w = &worst{a: a, alike: true}
			by[k] = w
			order = append(order, k)
		}
		w.alike = w.alike && a.To == w.a.To
		if w.n++; a.ArrivedErrorMS.V > w.a.ArrivedErrorMS.V {
			w.a = a
		}
	}
	for _, k := range order {
		w := by[k]
		if w.alike {
			k = cmp.Or(w.a.To, w.a.CallID)
		}
		add(sessions.Oddity{At: w.a.ArrivedAt, Subject: k, File: w.a.File, Frame: w.a.Frame, WiresharkFilter: frameFilter(w.a.Frame),
			Text: fmt.Sprintf("network may have added up to %s ms to %s here: %s ms more than the 50 ms that the study took as the most; the arrival's error is widened to it",
				rates.Number(w.a.ArrivedErrorMS.V), plural(w.n, "arrival", "arrivals"), rates.Number(w.a.ArrivedErrorMS.V-latencyMS))})
	}
	if len(order) > 0 {
		return
	}
	for i := range e.Rates {
		if r := &e.Rates[i]; r.LatencyMaxMS.Known && r.LatencyMaxMS.V > latencyMS {
			add(e.aboutRate(r, e.left(r), 0, fmt.Sprintf("network part of an arrival is up to %s ms: %s ms more than the 50 ms that the study took as the most", rates.Number(r.LatencyMaxMS.V), rates.Number(r.LatencyMaxMS.V-latencyMS))))
		}
	}
}

func arrivalLate(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Calls {
		c := &e.Calls[i]
		ms := e.late[c.CallID]
		if ms == 0 || c.ArrivedAt == 0 {
			continue
		}
		o := sessions.Oddity{At: c.ArrivedAt, Subject: c.CallID, File: c.File,
			Text: fmt.Sprintf("the message by which the call to %s arrived was carried by a retransmitted segment, or had to wait for one: it is up to %s ms late, and the arrival's error is widened to that",
				named(cmp.Or(c.To, c.CallID)), rates.Number(ms))}
		if inv := e.inviteOf(c); inv != nil {
			o.File, o.Frame, o.WiresharkFilter = inv.File, inv.Frame, frameFilter(inv.Frame)
		}
		add(o)
	}
}

// Calls.

// inviteOf is the message that asked for the call.
func (e *evidence) inviteOf(c *sessions.Call) *sessions.Signal {
	list := e.ofCall[c.CallID]
	if n := slices.IndexFunc(list, func(n int32) bool { return e.traits[n]&asks != 0 }); n >= 0 {
		return e.Signals.At(int(list[n]))
	}
	return nil
}

func ringingNever(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Calls {
		c := &e.Calls[i]
		if c.RingingAt != 0 || c.AnsweredAt != 0 || c.InitiatedAt == 0 {
			continue
		}
		inv := e.inviteOf(c)
		if inv == nil || inv.Protocol != "sip" && !e.fromClient(inv) {
			continue // an export, or a browser's part: that is call-ignored
		}
		until := c.EndedAt
		switch {
		case c.Outcome == "no-answer" && !c.StatusCode.Known, c.Outcome == "cancelled":
		case c.Outcome == "in-progress" && e.end-c.InitiatedAt >= silentS*1e9:
			until = e.end
		default:
			continue
		}
		waited := ""
		if until > c.InitiatedAt {
			waited = " within " + seconds(until-c.InitiatedAt)
		}
		what := "sent nothing at all"
		for _, n := range e.ofCall[c.CallID] {
			if s := e.Signals.At(int(n)); s.Src == inv.Dst {
				what = "sent " + named(s.Label) + ", neither ringing nor an answer"
				break
			}
		}
		add(e.aboutCall(c, c.InitiatedAt, "call to %s never rang and was not answered%s: %s %s", named(c.To), waited, e.host(inv.Dst), what))
	}
}

func callIgnored(e *evidence, add func(sessions.Oddity)) {
	// of each connection the answered calls by time, each replaced by the one of
	// those before it that lasted longest
	type answered struct {
		at, end decode.Time
		id      string
	}
	up := map[uint32][]answered{}
	for i := range e.Calls {
		if c := &e.Calls[i]; c.AnsweredAt != 0 && e.has(e.ofCall[c.CallID], onBrowser) {
			if inv := e.inviteOf(c); inv != nil && inv.Protocol != "sip" {
				up[inv.FlowID.V] = append(up[inv.FlowID.V], answered{c.AnsweredAt, cmp.Or(c.EndedAt, math.MaxInt64), c.CallID})
			}
		}
	}
	for _, list := range up {
		slices.SortStableFunc(list, func(a, b answered) int { return cmp.Compare(a.at, b.at) })
		for i := 1; i < len(list); i++ {
			if list[i-1].end > list[i].end {
				list[i].end, list[i].id = list[i-1].end, list[i-1].id
			}
		}
	}
	for i := range e.Calls {
		c := &e.Calls[i]
		if c.AnsweredAt != 0 || c.Outcome != "ignored" && c.Outcome != "cancelled" {
			continue
		}
		inv := e.inviteOf(c)
		if inv == nil || inv.Protocol == "sip" || e.fromClient(inv) {
			continue
		}
		said := false
		for s := range e.each(e.ofCall[c.CallID], onBrowser) {
			if said = e.fromClient(s); said {
				break
			}
		}
		if said {
			continue
		}
		why := "its user did not answer, or it ignored the call, which looks the same"
		list := up[inv.FlowID.V]
		n, _ := slices.BinarySearchFunc(list, inv.At, func(a answered, at decode.Time) int { return cmp.Compare(a.at, at) })
		if n > 0 && list[n-1].end > inv.At {
			why = "it had another call, " + list[n-1].id + ", and ignored this one"
		}
		until := ""
		if c.EndedAt > inv.At {
			until = " in " + seconds(c.EndedAt-inv.At) + " until it was withdrawn"
		}
		add(ofSignal(inv, c.CallID, "invite reached the client %s, which sent nothing about it%s: %s; the call counts as arrived although unanswered", inv.Dst, until, why))
	}
}

func hangupError(e *evidence, add func(sessions.Oddity)) {
	for _, s := range e.telling(hangsUp | says) {
		switch {
		case (s.Protocol == "pstream" || s.Protocol == "matrix") && s.Kind == "hangup":
			code, err := strconv.ParseInt(field(s.Detail.String(), "payload.error.code"), 10, 64)
			if err != nil || code == 0 {
				continue
			}
			text := ""
			if m := field(s.Detail.String(), "payload.error.message"); m != "" {
				text = ": " + strconv.Quote(named(m))
			}
			add(ofSignal(s, cmp.Or(s.CallID, field(s.Detail.String(), "payload.callsid"), s.Src), "%s hung up with error %s%s", e.host(s.Src), meaning(code), text))
		case s.Protocol == "sip" && s.Kind == "BYE" && !s.Retransmission:
			reason := field(s.Detail.String(), "Reason")
			if m := badReason(reason); m != "" {
				add(ofSignal(s, cmp.Or(s.CallID, s.Src), "BYE from %s tells an error: %s (%s)", e.host(s.Src), m, named(reason)))
			}
		}
	}
}

// badReason gives the meaning of a Reason header (RFC 3326) that tells a
// failure: not a normal end, nor a callee that was busy or did not answer.
func badReason(reason string) string {
	protocol, rest, _ := strings.Cut(reason, ";")
	cause := int64(0)
	for p := range strings.SplitSeq(rest, ";") {
		if v, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(p)), "cause="); ok {
			cause, _ = strconv.ParseInt(strings.TrimSpace(v), 10, 32)
			break
		}
	}
	switch strings.ToUpper(strings.TrimSpace(protocol)) {
	case "Q.850":
		switch cause {
		case 0, 16, 17, 18, 19, 31:
			return ""
		}
		if m := q850[cause]; m != "" {
			return fmt.Sprintf("Q.850 cause %d, %s", cause, m)
		}
		return fmt.Sprintf("Q.850 cause %d", cause)
	case "SIP":
		if cause >= 400 && cause != 480 && cause != 486 && cause != 487 && cause != 600 && cause != 603 {
			return fmt.Sprintf("SIP status %d", cause)
		}
	}
	return ""
}

func rejectEarly(e *evidence, add func(sessions.Oddity)) {
	for _, s := range e.telling(hangsUp) {
		if s.Protocol != "pstream" || s.Kind != "hangup" || s.CallID != "" || e.fromClient(s) {
			continue
		}
		sid := field(s.Detail.String(), "payload.callsid")
		if sid == "" || e.calls[sid] != nil && len(e.ofCall[sid]) > 0 {
			continue
		}
		// the connection was seen from its beginning, so that the invite would have been
		if at, ok := e.listen[s.FlowID.V]; !ok || at > s.At {
			continue
		}
		add(ofSignal(s, sid, "%s hung up a call that the client %s never saw an invite of: it was rejected before it began; clients are known to pass over this", e.host(s.Src), s.Dst))
	}
}

func reconnect(e *evidence, add func(sessions.Oddity)) {
	var listens []*sessions.Signal
	for i, s := range e.telling(listening) {
		if s.Protocol == "pstream" && s.Kind == "listen" && s.FlowID.Known {
			listens = append(listens, e.Signals.At(i))
		}
	}
	slices.SortStableFunc(listens, func(a, b *sessions.Signal) int { return cmp.Compare(a.At, b.At) })
	for i := range e.Calls {
		c := &e.Calls[i]
		var last *sessions.Signal
		var told map[uint32]bool
		tell := func(s *sessions.Signal, before decode.Time, how string) {
			if told == nil {
				told = map[uint32]bool{}
			}
			told[s.FlowID.V] = true
			gap := ""
			if before != 0 && s.At > before {
				gap = ", " + seconds(s.At-before) + " after the last message on the old one"
			}
			add(ofSignal(s, c.CallID, "signaling of the call moved to a new connection%s (%s); it is the same call", gap, how))
		}
		var before sessions.Signal
		for s := range e.each(e.ofCall[c.CallID], onPStream) {
			if !s.FlowID.Known {
				continue
			}
			switch {
			case told[s.FlowID.V]:
			case last != nil && last.FlowID != s.FlowID:
				tell(s, e.lastOn(last.FlowID.V, s.At), s.Kind+" with the same CallSid")
			case last == nil && s.Kind == "invite" && e.fromClient(s) && field(s.Detail.String(), "payload.reconnect") != "":
				tell(s, 0, "invite with a reconnect token; the old connection was not captured")
			}
			before = *s
			last = &before
		}
		if last == nil || c.AnsweredAt == 0 || e.flows[last.FlowID.V] == nil {
			continue
		}
		old := e.flows[last.FlowID.V]
		from := max(c.AnsweredAt, last.At, old.LastAt-reconnectMax)
		n, _ := slices.BinarySearchFunc(listens, from, func(s *sessions.Signal, at decode.Time) int { return cmp.Compare(s.At, at) })
		for _, s := range listens[n:] {
			if c.EndedAt != 0 && s.At >= c.EndedAt || s.At > old.LastAt+reconnectWait {
				break
			}
			if s.FlowID.V != old.FlowID && s.Src == old.Src && !told[s.FlowID.V] {
				tell(s, e.lastOn(old.FlowID, s.At), "listen while the call was up")
				break
			}
		}
	}
}

// lastOn is the time of the last message on a flow before at.
func (e *evidence) lastOn(flow uint32, at decode.Time) decode.Time {
	list := e.ofFlow[flow]
	n, _ := slices.BinarySearchFunc(list, at, func(n int32, at decode.Time) int { return cmp.Compare(e.at[n], at) })
	if n == 0 {
		return 0
	}
	return e.at[list[n-1]]
}

// lines are the signaling connections that were read whole, by number.
func (e *evidence) lines() []*sessions.Flow {
	var out []*sessions.Flow
	for i := range e.Flows {
		f := &e.Flows[i]
		list := e.ofFlow[f.FlowID]
		if len(list) > 0 && (len(e.stepped) == 0 || !e.stepped[e.Signals.At(int(list[0])).File]) && f.GapBytes == 0 && (f.Encryption == "none" || f.Encryption == "decrypted" || f.Encryption == "") {
			out = append(out, f)
		}
	}
	return out
}

func heartbeatLost(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Oddities {
		if o := &e.Oddities[i]; o.Rule == decode.RuleCap && (o.Subject == "websocket messages" || o.Subject == "signals") {
			return // heartbeats were not followed
		}
	}
	for _, f := range e.lines() {
		list := e.ofFlow[f.FlowID]
		if !e.has(list, onPStream) {
			continue // another WebSocket
		}
		for i, n := range list {
			if e.traits[n]&closes != 0 {
				break
			}
			next, what := f.LastAt, "the last packet"
			if i+1 < len(list) {
				next, what = e.at[list[i+1]], "the next message"
			}
			if next-e.at[n] < heartbeatS*1e9 {
				continue
			}
			s := e.Signals.At(int(n))
			o := ofSignal(s, "flow "+strconv.FormatUint(uint64(f.FlowID), 10), "no signaling message for %s between %s and %s, from this one to %s: the connection stayed open, a client gives it up after 15 s",
				seconds(next-s.At), e.host(f.Src), e.host(f.Dst), what)
			o.WiresharkFilter = cmp.Or(flowFilter(f), o.WiresharkFilter)
			add(o)
		}
	}
}

func tokenRejected(e *evidence, add func(sessions.Oddity)) {
	for _, s := range e.telling(tellsError) {
		if s.Protocol != "pstream" && s.Protocol != "matrix" || s.Kind != "error" {
			continue
		}
		code, _ := strconv.ParseInt(cmp.Or(field(s.Detail.String(), "payload.error.code"), field(s.Detail.String(), "code")), 10, 64)
		switch code {
		case 20101, 20104, 31204, 31205:
			add(ofSignal(s, s.Dst, "%s refused the access token of client %s with %s: the client cannot be called", e.host(s.Src), s.Dst, meaning(code)))
		}
	}
}

func registerGap(e *evidence, add func(sessions.Oddity)) {
	for _, f := range e.lines() {
		var open *sessions.Signal
		tell := func(until decode.Time, what string) {
			if open == nil || until-open.At <= registerS*1e9 {
				return
			}
			o := ofSignal(open, "flow "+strconv.FormatUint(uint64(f.FlowID), 10), "client %s registered and did not again for %s, until %s: calls in between may have been missed (it registers each 30 s)",
				f.Src, seconds(until-open.At), what)
			o.WiresharkFilter = cmp.Or(flowFilter(f), o.WiresharkFilter)
			add(o)
		}
		for s := range e.each(e.ofFlow[f.FlowID], registers|closes|offline) {
			switch {
			case s.Protocol == "pstream" && s.Kind == "register":
				on := field(s.Detail.String(), "payload.media.audio") != "false"
				if on {
					tell(s.At, "it did")
				} else {
					tell(s.At, "it unregistered")
				}
				if open = nil; on {
					kept := *s
					open = &kept
				}
			case s.Kind == "close" || s.Kind == "offline":
				tell(s.At, "the connection ended")
				open = nil
			}
		}
		tell(f.LastAt, "the last packet")
	}
}

func setupSlow(e *evidence, add func(sessions.Oddity)) {
	for _, p := range [...]struct {
		name string
		of   func(c *sessions.Call) sessions.Float
	}{
		{"post-dial delay (request to ringing or answer)", func(c *sessions.Call) sessions.Float {
			if !slices.Contains(c.Protocols, "sip") && c.RingingAt == 0 {
				return sessions.Float{} // how long a person let a browser ring
			}
			return c.PostDialDelayMS
		}},
		{"ICE phase", func(c *sessions.Call) sessions.Float { return c.ICEms }},
		{"DTLS handshake", func(c *sessions.Call) sessions.Float { return c.DTLSms }},
	} {
		var all []float64
		for i := range e.Calls {
			if v := p.of(&e.Calls[i]); v.Known {
				all = append(all, v.V)
			}
		}
		if len(all) < slowCalls {
			continue
		}
		slices.Sort(all)
		median := all[len(all)/2]
		if len(all)%2 == 0 {
			median = (median + all[len(all)/2-1]) / 2
		}
		for i := range e.Calls {
			c := &e.Calls[i]
			if v := p.of(c); v.Known && v.V > slowTimes*median && v.V > slowFloorMS && median > 0 {
				add(e.aboutCall(c, cmp.Or(c.InitiatedAt, c.ArrivedAt), "%s took %s ms, %s times the median of %d calls (%s ms)", p.name, rates.Number(v.V), rates.Number(v.V/median), len(all), rates.Number(median)))
			}
		}
	}
}

// Media.

// side is one direction of a leg's media.
type side struct {
	streams     []*streamOf
	first, last decode.Time
}

// streamOf is the first fields of a stream, up to LastAt, and its place in the table.
type streamOf struct {
	sessions.Stream
	row int32
}

func (s *side) add(st *streamOf) {
	if s.first == 0 || st.FirstAt < s.first {
		s.first = st.FirstAt
	}
	s.last = max(s.last, st.LastAt)
	s.streams = append(s.streams, st)
}

// sides parts the streams of each leg of a call into its two directions, told
// by the ends of the first stream; a stream between other ends (another
// candidate pair) counts for the direction whose sender or receiver it shares,
// else for both, so that nothing is called missing that may be there. The next
// call overwrites the streams.
func (e *evidence) sides(c *sessions.Call) [][2]side {
	streams := e.streams[c.CallID]
	if cap(e.rows) < len(streams) {
		e.rows = make([]streamOf, len(streams))
	}
	rows := e.rows[:len(streams)]
	list := make([]*streamOf, len(streams))
	for i, n := range streams {
		e.Streams.UnpackFirst(int(n), &rows[i].Stream, e.toLastAt)
		rows[i].row, list[i] = n, &rows[i]
	}
	// legs in order of their first streams, the streams of each in time
	first := make(map[uint32]int, 1)
	for i, s := range list {
		if _, ok := first[s.LegID.V]; !ok {
			first[s.LegID.V] = i
		}
	}
	slices.SortStableFunc(list, func(a, b *streamOf) int {
		return cmp.Or(cmp.Compare(first[a.LegID.V], first[b.LegID.V]), cmp.Compare(a.FirstAt, b.FirstAt))
	})
	out := make([][2]side, 0, len(first))
	for len(list) > 0 {
		f := list[0]
		from, to := f.Src, f.Dst
		ends := func(s *streamOf) (string, string) { return s.Src, s.Dst }
		if from == to { // both on one host
			ends = func(s *streamOf) (string, string) {
				return endpoint(s.Src, s.SrcPort), endpoint(s.Dst, s.DstPort)
			}
			from, to = ends(f)
		}
		var d [2]side
		for len(list) > 0 && list[0].LegID.V == f.LegID.V {
			s := list[0]
			list = list[1:]
			src, dst := ends(s)
			there, back := src == from || dst == to, src == to || dst == from
			if there == back {
				there, back = true, true
			}
			if there {
				d[0].add(s)
			}
			if back {
				d[1].add(s)
			}
		}
		out = append(out, d)
	}
	return out
}

// held tells whether the SDP in force at some time between from and to says
// that media goes in one direction only (RFC 3264 5.1, 8.4).
func (e *evidence) held(c *sessions.Call, from, to decode.Time) bool {
	hold := false
	for s := range e.each(e.ofCall[c.CallID], describes) {
		if s.At >= to {
			break
		}
		if s.At > from && hold {
			return true
		}
		d := s.Detail.String()
		hold = strings.Contains(d, "a=sendonly") || strings.Contains(d, "a=recvonly") || strings.Contains(d, "a=inactive")
	}
	return hold
}

// oneWay finds the longest time in [from, to] in which d sent and other did not.
// Seconds are counted whole, so that it is never too long.
func (e *evidence) oneWay(d, other *side, from, to decode.Time) (at, length decode.Time) {
	type span struct{ from, to decode.Time }
	cover := func(s *side) []span {
		var out []span
		for _, st := range s.streams {
			if n, ok := e.seconds[st.StreamID]; !ok || n.covers(&st.Stream) {
				out = append(out, span{st.FirstAt, st.LastAt})
				continue
			}
			for iv := range e.intervals(st.StreamID) {
				if iv.Packets > 0 {
					out = append(out, span{max(iv.At, st.FirstAt), min(iv.At+1e9, st.LastAt)})
				}
			}
		}
		slices.SortFunc(out, func(a, b span) int { return cmp.Compare(a.from, b.from) })
		return out
	}
	sent, heard := cover(d), cover(other)
	try := func(lo, hi decode.Time) {
		if hi-lo <= oneWayS*1e9 {
			return
		}
		var n, begin decode.Time
		for _, s := range sent {
			if a, b := max(s.from, lo), min(s.to, hi); b > a {
				if begin == 0 {
					begin = a
				}
				n += b - a
			}
		}
		if n > length {
			at, length = begin, n
		}
	}
	pos := from
	for _, h := range heard {
		if h.from > pos {
			try(pos, min(h.from, to))
		}
		if pos = max(pos, h.to); pos >= to {
			return at, length
		}
	}
	try(pos, to)
	return at, length
}

func oneWayAudio(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Calls {
		c := &e.Calls[i]
		if c.AnsweredAt == 0 || e.stepped[c.File] {
			continue
		}
		for _, d := range e.sides(c) {
			end := cmp.Or(c.EndedAt, max(d[0].last, d[1].last))
			for k := range d {
				this, other := &d[k], &d[1-k]
				if len(this.streams) == 0 {
					continue
				}
				if slices.ContainsFunc(other.streams, func(s *streamOf) bool {
					return slices.Contains(s.PayloadTypes, 13) || slices.Contains(s.PayloadTypes, 19)
				}) {
					continue // it says comfort noise where it is silent (RFC 3389)
				}
				at, n := e.oneWay(this, other, c.AnsweredAt, end)
				if n <= oneWayS*1e9 || e.held(c, at, at+n) {
					continue
				}
				s := e.Streams.At(int(this.streams[0].row))
				back := "nothing came back at all"
				if len(other.streams) > 0 {
					back = "nothing came back meanwhile"
				}
				o := aboutStream(s, at, "media went one way only for %s: %s, %s", seconds(n), way(s), back)
				o.Subject = c.CallID
				add(o)
			}
		}
	}
}

func mediaLate(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Calls {
		c := &e.Calls[i]
		if c.AnsweredAt == 0 || e.stepped[c.File] {
			continue
		}
		late := func(n int32) bool { return e.begun[n]-c.AnsweredAt > mediaLateS*1e9 }
		if !slices.ContainsFunc(e.streams[c.CallID], late) {
			continue
		}
		for _, d := range e.sides(c) {
			for k := range d {
				if len(d[k].streams) == 0 || d[k].first-c.AnsweredAt <= mediaLateS*1e9 || e.held(c, c.AnsweredAt, d[k].first) {
					continue
				}
				s := e.Streams.At(int(d[k].streams[0].row))
				o := aboutStream(s, s.FirstAt, "first media %s came %s after the answer", way(s), seconds(d[k].first-c.AnsweredAt))
				o.Subject = c.CallID
				add(o)
			}
		}
	}
}

func lossy(s *sessions.Stream) bool { return s.LostPct.Known && s.LostPct.V > lossPct }

func jittery(s *sessions.Stream) bool { return s.JitterMeanMS.Known && s.JitterMeanMS.V > jitterMS }

func disagrees(s *sessions.Stream) bool {
	return s.MOS.Known && s.MOSSDK.Known && math.Abs(s.MOS.V-s.MOSSDK.V) > mosDiffer
}

func mediaLoss(e *evidence, add func(sessions.Oddity)) {
	for s := range e.Streams.Some(e.odd) {
		if !lossy(s) {
			continue
		}
		text := fmt.Sprintf("%d of %d packets (%s %%) %s are missing by their sequence numbers", s.Lost, s.Expected, rates.Number(s.LostPct.V), way(s))
		at := s.FirstAt
		var worst sessions.StreamInterval
		for iv := range e.intervals(s.StreamID) {
			if iv.Lost > worst.Lost {
				worst = *iv
			}
		}
		if worst.Lost > 0 {
			text += fmt.Sprintf(", most in the second from %s on: %d", seconds(max(worst.At-s.FirstAt, 0)), min(worst.Lost, s.Lost))
			at = max(worst.At, s.FirstAt)
		}
		if s.BurstLossPct.Known && s.BurstLossPct.V > 0 {
			text += fmt.Sprintf("; within bursts %s %% is lost", rates.Number(s.BurstLossPct.V))
		}
		if c := e.captures[s.File]; c != nil && c.DroppedPackets.V > 0 {
			text += fmt.Sprintf("; the capture itself dropped %s, so that of these the network lost at least %d", plural(c.DroppedPackets.V, "packet", "packets"), max(0, s.Lost-c.DroppedPackets.V))
		}
		if r := s.RTCPFractionLost; r.Known && 100*r.V < s.LostPct.V-lossPct {
			text += fmt.Sprintf("; the receiver reported %s %% lost: the others got there, and were missed by the capture alone", rates.Number(100*r.V))
		}
		add(aboutStream(s, at, "%s", text))
	}
}

func jitterHigh(e *evidence, add func(sessions.Oddity)) {
	for s := range e.Streams.Some(e.odd) {
		if !jittery(s) {
			continue
		}
		most := ""
		if s.JitterMaxMS.Known {
			most = ", at most " + rates.Number(s.JitterMaxMS.V) + " ms"
		}
		add(aboutStream(s, s.FirstAt, "mean jitter %s is %s ms%s (RFC 3550)", way(s), rates.Number(s.JitterMeanMS.V), most))
	}
}

func mosDisagree(e *evidence, add func(sessions.Oddity)) {
	for s := range e.Streams.Some(e.odd) {
		if !disagrees(s) {
			continue
		}
		add(aboutStream(s, s.FirstAt, "MOS %s is %s by the E-model%s and %s by the client: the client's formula takes its own round trip, jitter and loss and knows no codec, the E-model takes codec and loss as captured here",
			way(s), rates.Number(s.MOS.V), parens(s.MOSMethod), rates.Number(s.MOSSDK.V)))
	}
}

func parens(s string) string {
	if s == "" {
		return ""
	}
	return " (" + named(s) + ")"
}

// staticTypes are the audio payload types that RFC 3551 fixes.
var staticTypes = map[int64]string{
	0: "PCMU", 3: "GSM", 4: "G723", 5: "DVI4", 6: "DVI4", 7: "LPC", 8: "PCMA", 9: "G722", 10: "L16", 11: "L16", 12: "QCELP", 13: "CN",
	14: "MPA", 15: "G728", 16: "DVI4", 17: "DVI4", 18: "G729", 19: "CN",
}

func payloadChanged(e *evidence, add func(sessions.Oddity)) {
	for s := range e.Streams.Some(e.odd) {
		if len(s.PayloadTypes) < 2 {
			continue
		}
		var codecs []string
		var types []int64
		for _, pt := range s.PayloadTypes {
			name := staticTypes[pt]
			if name == "" {
				name = e.rtpmap(s.CallID, pt)
			}
			switch strings.ToLower(name) {
			case "", "cn", "telephone-event", "red", "ulpfec", "flexfec-03", "rtx":
				continue // not known, or no codec of its own
			}
			if !slices.ContainsFunc(codecs, func(c string) bool { return strings.EqualFold(c, name) }) {
				codecs, types = append(codecs, name), append(types, pt)
			}
		}
		if len(codecs) < 2 {
			continue
		}
		for k := range codecs {
			codecs[k] = fmt.Sprintf("%s (payload type %d)", named(codecs[k]), types[k])
		}
		add(aboutStream(s, s.FirstAt, "codec changes within the stream %s: from %s", way(s), strings.Join(codecs, " to ")))
	}
}

// rtpmap is the codec that the call's SDP gives for a payload type (RFC 8866 6.6).
func (e *evidence) rtpmap(call string, pt int64) string {
	want := "a=rtpmap:" + strconv.FormatInt(pt, 10) + " "
	for _, n := range e.ofCall[call] {
		if _, rest, ok := strings.Cut(e.Signals.At(int(n)).Detail.String(), want); ok {
			name, _, _ := strings.Cut(rest, "/")
			if len(name) <= 32 && !strings.ContainsAny(name, " \n") {
				return name
			}
		}
	}
	return ""
}

// SIP.

func retransmitSIP(e *evidence, add func(sessions.Oddity)) {
	// a retransmission is the same bytes again on the same way
	type message struct{ call, src, dst, kind, detail string }
	of := func(s *sessions.Signal) message { return message{s.CallID, s.Src, s.Dst, s.Kind, s.Detail.String()} }
	type times struct {
		n           int64
		first, last *sessions.Signal
	}
	seen := map[message]*times{}
	var order []message
	for i, s := range e.telling(repeats) {
		if s.Protocol != "sip" || !s.Retransmission {
			continue
		}
		k := of(s)
		t := seen[k]
		if t == nil {
			t = &times{}
			seen[k] = t
			order = append(order, k)
		}
		t.n++
		t.last = e.Signals.At(i)
	}
	order = slices.DeleteFunc(order, func(k message) bool { return seen[k].n <= retransmits })
	if len(order) == 0 {
		return
	}
	for i, s := range e.Signals.All() {
		if s.Protocol == "sip" {
			if t := seen[of(s)]; t != nil && t.first == nil {
				t.first = e.Signals.At(i)
			}
		}
	}
	for _, k := range order {
		t := seen[k]
		silent := "no response came from"
		if t.first.StatusCode.Known {
			silent = "nothing confirmed it from"
		}
		o := ofSignal(t.first, cmp.Or(k.call, k.src), "%s was sent %d times within %s by %s: %s %s meanwhile", named(t.first.Label), t.n+1, seconds(t.last.At-t.first.At), e.host(k.src), silent, e.host(k.dst))
		if id := field(k.detail, "Call-ID", "i"); id != "" {
			o.WiresharkFilter = "sip.Call-ID == " + quoted(cleanText(id))
		}
		add(o)
	}
}

func sipFailure(e *evidence, add func(sessions.Oddity)) {
	type answer struct {
		call, cseq string
		status     int64
	}
	seen := map[answer]bool{}
	for _, s := range e.telling(refuses) {
		if s.Protocol != "sip" || s.Retransmission || s.StatusCode.V < 400 || s.StatusCode.V > 699 {
			continue
		}
		switch s.StatusCode.V {
		case 401, 407, 486, 487:
			continue
		}
		id, cseq := field(s.Detail.String(), "Call-ID", "i"), field(s.Detail.String(), "CSeq")
		if k := (answer{cmp.Or(s.CallID, id), cseq, s.StatusCode.V}); cseq != "" {
			if seen[k] {
				continue // the same answer on its next hop
			}
			seen[k] = true
		}
		method := "request"
		if _, m, ok := strings.Cut(cseq, " "); ok {
			method = named(strings.TrimSpace(m))
		}
		text := fmt.Sprintf("%s failed with %s, sent by %s", method, named(s.Label), e.host(s.Src))
		if trunkLimit(s) {
			text += ": Trunk CPS limit exceeded, more calls a second than the trunk may make"
		}
		if r := field(s.Detail.String(), "Reason"); r != "" {
			text += " (reason " + named(r) + ")"
		}
		o := ofSignal(s, cmp.Or(s.CallID, id, s.Src), "%s", text)
		if id != "" {
			o.WiresharkFilter = "sip.Call-ID == " + quoted(cleanText(id))
		}
		add(o)
	}
}

// Captures.

func duplicateCapture(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Captures {
		c := &e.Captures[i]
		if c.DuplicatePackets == 0 {
			continue
		}
		add(sessions.Oddity{At: c.FirstAt, Subject: c.File, File: c.File,
			Text: fmt.Sprintf("%d of %d packets are copies of others (a mirror port, a VLAN or the next hop of a route: same IP packet within a short time) and are counted once", c.DuplicatePackets, c.Packets)})
	}
}

func captureLoss(e *evidence, add func(sessions.Oddity)) {
	for i := range e.Captures {
		if c := &e.Captures[i]; c.DroppedPackets.V > 0 {
			add(sessions.Oddity{At: c.FirstAt, Subject: c.File, File: c.File,
				Text: fmt.Sprintf("capturing host dropped %s besides the %d captured: loss seen here may be the capture's, not the network's", plural(c.DroppedPackets.V, "packet", "packets"), c.Packets)})
		}
	}
	for i := range e.Flows {
		if f := &e.Flows[i]; f.GapBytes > 0 {
			add(sessions.Oddity{At: f.FirstAt, Subject: "flow " + strconv.FormatUint(uint64(f.FlowID), 10), WiresharkFilter: flowFilter(f),
				Text: fmt.Sprintf("%s in %s of the connection of %s and %s were not seen and never came again: missed by the capture, which is then no loss of the network, or lost before the connection broke off; messages may be missing",
					plural(f.GapBytes, "byte", "bytes"), plural(f.Gaps, "hole", "holes"), e.host(f.Src), e.host(f.Dst))})
		}
	}
}

var states = map[string]string{
	"no-key": "no key", "wrong-key": "wrong key", "no-handshake": "handshake not captured", "unsupported": "cipher not supported", "partly": "only partly decrypted",
}

func notDecrypted(e *evidence, add func(sessions.Oddity)) {
	type group struct {
		first *sessions.Flow
		by    map[string]int64
		n     int64
		media bool
		notes []string
	}
	var order []string
	groups := map[string]*group{}
	for i := range e.Flows {
		f := &e.Flows[i]
		state := states[f.Encryption]
		if state == "" {
			continue
		}
		g := groups[f.Dst]
		if g == nil {
			g = &group{first: f, by: map[string]int64{}, media: true}
			groups[f.Dst] = g
			order = append(order, f.Dst)
		}
		g.n++
		g.by[state]++
		g.media = g.media && f.Transport == "udp"
		if f.EncryptionNote != "" && len(g.notes) < maxNamed && !slices.Contains(g.notes, named(f.EncryptionNote)) {
			g.notes = append(g.notes, named(f.EncryptionNote))
		}
	}
	for _, address := range order {
		g := groups[address]
		var list []string
		for _, s := range [...]string{"no-key", "wrong-key", "no-handshake", "unsupported", "partly"} {
			if n := g.by[states[s]]; n > 0 {
				list = append(list, fmt.Sprintf("%d %s", n, states[s]))
			}
		}
		lost, protocol := "requests, signaling and calls inside are not known, only when and how much was sent", "tls"
		if g.media {
			lost, protocol = "what was said is not known; packets, loss and jitter are", "udp"
		}
		if g.by[states["partly"]] == g.n {
			lost = "what the rest held is not known"
		}
		if len(g.notes) > 0 {
			lost += " (" + strings.Join(g.notes, "; ") + ")"
		}
		name := e.host(address)
		if n := g.first.ServerName; n != "" {
			name = named(n) + " (" + address + ")"
		}
		add(sessions.Oddity{At: g.first.FirstAt, Subject: address, WiresharkFilter: allOf(addrFilter("addr", address), protocol),
			Text: fmt.Sprintf("%s with %s could not be read (%s): %s", plural(g.n, "encrypted session", "encrypted sessions"), name, strings.Join(list, ", "), lost)})
	}
}

func tlsOld(e *evidence, add func(sessions.Oddity)) {
	type group struct {
		first *sessions.Flow
		n     int64
	}
	groups := map[sessions.WeakTLS]*group{}
	var order []sessions.WeakTLS
	for i := range e.Flows {
		f := &e.Flows[i]
		w := e.weak[f.FlowID]
		if w.Why == "" {
			continue
		}
		g := groups[w]
		if g == nil {
			g = &group{first: f}
			groups[w] = g
			order = append(order, w)
		}
		g.n++
	}
	for _, w := range order {
		g := groups[w]
		add(sessions.Oddity{At: g.first.FirstAt, Subject: w.Server, WiresharkFilter: allOf(addrFilter("addr", w.Server), "tls"),
			Text: fmt.Sprintf("%s chose %s in %s: whoever reads along may break it", e.host(w.Server), w.Why, plural(g.n, "session", "sessions"))})
	}
}

func unknownMessage(e *evidence, add func(sessions.Oddity)) {
	type group struct {
		n     int64
		first *sessions.Signal
	}
	var order []string
	groups := map[string]*group{}
	for i, s := range e.telling(unheardOf) {
		if s.Protocol != "pstream" && s.Protocol != "matrix" || knownMessage(s) {
			continue
		}
		g := groups[s.Kind]
		if g == nil {
			g = &group{first: e.Signals.At(i)}
			groups[s.Kind] = g
			order = append(order, s.Kind)
		}
		g.n++
	}
	for _, kind := range order {
		g := groups[kind]
		add(ofSignal(g.first, kind, "%s of type %q: this version does not know it", plural(g.n, "signaling message", "signaling messages"), named(kind)))
	}
}
