package sessions

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
)

// latencyBoundMS is the half-width of an arrival seen at its endpoint: what
// the network between provider and endpoint may have added. The study
// neglected it as below 50 ms.
const latencyBoundMS = 50

// makeCalls makes the rows of calls and legs. Dialogs that bear the same
// CallSid are legs of one call; all others are calls of their own.
func (b *Builder) makeCalls(t *Trace, streams []*stream, observed netip.Addr, end Time) {
	j := newJoiner()
	var rows []*callRow
	t.Legs = make([]Leg, 0, len(b.dialogs))
	for _, c := range b.dialogs {
		if !c.isCall {
			continue
		}
		c.leg = uint32(len(t.Legs) + 1)
		i, by, score := j.find(rows, c)
		leg := Leg{LegID: c.leg, Kind: c.kind, ID: c.callID, JoinedBy: by, JoinScore: decode.Some(score),
			From: c.from, To: c.to, FirstAt: c.firstAt, LastAt: c.lastAt}
		if c.status != 0 {
			leg.StatusCode = decode.Some(int64(c.status))
		}
		if i < 0 {
			i = len(rows)
			rows = append(rows, &callRow{})
		}
		j.keep(i, c)
		c.row = i
		rows[i].legs = append(rows[i].legs, c)
		t.Legs = append(t.Legs, leg)
	}
	t.Calls = make([]Call, len(rows))
	for i, r := range rows {
		r.Call = &t.Calls[i]
	}
	used := b.callIDs
	for n, r := range rows {
		r.build(b, observed, end)
		id := r.CallSID
		if id == "" {
			id = r.legs[0].callID
		}
		if id == "" {
			id = fmt.Sprintf("leg-%d", n+1)
		}
		id = unused(used, id)
		r.CallID, r.RootCallID = id, id
		if r.ArrivedAt != 0 {
			b.arrivedPos[id] = r.legs[0].arrivedPos
		}
		for _, c := range r.legs {
			c.id = id
			t.Legs[c.leg-1].CallID = id
		}
	}
	linkParents(rows, t.Legs)
	for _, s := range streams {
		if s.call == nil || !s.call.isCall {
			s.call = nil
			continue
		}
		r := rows[s.call.row]
		r.Streams++
		// media runs to the callee on the stream that the caller sends
		caller := r.legs[0].callerAddr
		toCallee := s.flow.End(s.dir).Addr() == caller || s.flow.End(1-s.dir).Addr() != caller && s.dstIsCallee()
		at := &r.FirstMediaOutAt
		if toCallee {
			at = &r.FirstMediaInAt
		}
		if *at == 0 || s.first < *at {
			*at = s.first
		}
	}
	b.applySetups(rows, streams)
	for _, r := range rows {
		if r.lateMS > 0 {
			t.Late = append(t.Late, Late{r.CallID, r.lateMS})
		}
	}
}

// unused makes an id unique: a Call-ID may read like another call's CallSid.
func unused(used map[string]int, id string) string {
	if used[id] == 0 {
		used[id] = 1
		return id
	}
	for {
		used[id]++
		if other := fmt.Sprintf("%s#%d", id, used[id]); used[other] == 0 {
			used[other] = 1
			return other
		}
	}
}

// dstIsCallee tells whether the callee's SDP gave the stream's destination.
func (s *stream) dstIsCallee() bool {
	for i := range s.dst.bindings {
		if s.dst.bindings[i].call == s.call {
			return !s.dst.bindings[i].caller
		}
	}
	return false
}

type callRow struct {
	*Call
	legs   []*dialog
	lateMS float64 // its arrival was carried by bytes that came late, by so much at most
}

// decisive is the dialog that tells how the call went: the first that was
// answered, else one that is still open, else the one that failed last (a
// provider that is refused asks the next address under the same CallSid).
func (r *callRow) decisive() *dialog {
	var open, failed *dialog
	for _, l := range r.legs {
		switch {
		case l.answered != 0 || l.sawBye && l.failedAt == 0 || l.inDialog:
			return l
		case l.failedAt == 0 && l.cancelAt == 0:
			if open == nil {
				open = l
			}
		case failed == nil || l.failedAt > failed.failedAt:
			failed = l
		}
	}
	if open != nil {
		return open
	}
	return failed
}

// build fills the row from its dialogs. The dialog that was asked first tells
// who calls whom and when, the decisive one how it went.
func (r *callRow) build(b *Builder, observed netip.Addr, end Time) {
	c := r.legs[0]
	r.Protocols, r.SIPCallIDs = []string{}, []string{}
	r.From, r.To = c.from, c.to
	for _, l := range r.legs {
		if r.CallSID = l.sid; r.CallSID != "" {
			break
		}
	}
	r.File = b.files[c.pos.File]
	first, last := c.pos.First, c.last
	for _, l := range r.legs {
		if l.kind == legSIP && l.callID != "" {
			r.SIPCallIDs = append(r.SIPCallIDs, l.callID)
		}
		if !slices.Contains(r.Protocols, l.kind) {
			r.Protocols = append(r.Protocols, l.kind)
		}
		if r.ErrorCode.V == 0 && l.errorCode != 0 {
			r.ErrorCode = decode.Some(l.errorCode)
		}
		if l.pos.File == c.pos.File {
			first, last = min(first, l.pos.First), max(last, l.last)
		}
	}
	r.FirstFrame, r.LastFrame = decode.Some(first), decode.Some(last)
	r.Legs = int64(len(r.legs))
	r.InitiatedAt = c.invited
	r.Direction = direction(c, observed)
	if c.invited != 0 && r.Direction != "outbound" {
		r.ArrivedAt, r.ArrivedBy, r.ArrivedErrorMS = c.arrived, c.kind+"-invite", decode.Some(latencyBound(c.arrivedFlow))
		if ms := between(c.arrivedSince, c.arrived, 1e6); ms.Known && ms.V > r.ArrivedErrorMS.V {
			r.lateMS, r.ArrivedErrorMS = ms.V, ms
		}
	}
	for _, l := range r.legs[1:] {
		if l.invited != 0 && (r.InitiatedAt == 0 || l.invited < r.InitiatedAt) {
			r.InitiatedAt = l.invited
		}
	}
	c = r.decisive()
	r.RingingAt, r.AnsweredAt = c.ringing, c.answered
	r.Outcome, r.EndedBy, r.EndedAt, r.OpenAtEnd = c.outcome(end)
	if r.OpenAtEnd {
		r.Outcome = "in-progress"
	}
	if c.status != 0 && c.kind == legSIP {
		r.StatusCode = decode.Some(int64(c.status))
	}
	r.Cause = c.cause
	if r.Cause == "" && c.answered == 0 && c.failedAt != 0 {
		r.Cause = c.reason
	}
	for _, l := range r.legs {
		if r.RingingAt == 0 && l.ringing != 0 && (r.AnsweredAt == 0 || l.ringing <= r.AnsweredAt) && (r.EndedAt == 0 || l.ringing <= r.EndedAt) {
			r.RingingAt = l.ringing
		}
		if r.Cause == "" {
			r.Cause = l.cause
		}
	}
	for _, at := range [...]Time{r.RingingAt, r.AnsweredAt, r.EndedAt} {
		if at != 0 && r.InitiatedAt > at {
			// another leg's: the first one's INVITE was not captured
			if r.InitiatedAt = c.invited; c.invited > at {
				r.InitiatedAt = 0
			}
		}
	}
	progress := r.RingingAt
	if progress == 0 {
		progress = r.AnsweredAt
	}
	r.PostDialDelayMS = between(r.InitiatedAt, progress, 1e6)
	r.RingMS = between(r.RingingAt, r.AnsweredAt, 1e6)
	r.DurationS = between(r.AnsweredAt, r.EndedAt, 1e9)
}

// latencyBound is the half-width of an arrival in ms: the study's bound, or the
// round trip of the connection that carried it when that was seen to be longer.
func latencyBound(f *decode.Flow) float64 {
	if f != nil && f.RTTms.Known {
		return max(latencyBoundMS, f.RTTms.V)
	}
	return latencyBoundMS
}

// between is to-from in units of unit ns, unknown when either is, or when a
// clock that stepped back makes it negative.
func between(from, to Time, unit float64) Float {
	if from == 0 || to == 0 || to < from {
		return Float{}
	}
	return decode.Some(float64(to-from) / unit)
}

// direction is inbound or outbound as seen from the captured host: the side
// that is not the provider's, else the host that all packets of the capture
// have in common.
func direction(c *dialog, observed netip.Addr) string {
	switch {
	case c.provider == providerCaller:
		return "inbound"
	case c.provider == providerCallee:
		return "outbound"
	case !observed.IsValid() || !c.callerAddr.IsValid():
		return ""
	case c.callerAddr == observed:
		return "outbound"
	}
	return "inbound"
}

// observedHost is the one address that (nearly) all packets of the flows have
// at one end, invalid when there is none or more than one.
func observedHost(flows []*decode.Flow) netip.Addr {
	count := map[netip.Addr]int64{}
	var total int64
	for _, f := range flows {
		n := f.Packets[0] + f.Packets[1]
		total += n
		count[f.Src.Addr()] += n
		if f.Src.Addr() != f.Dst.Addr() {
			count[f.Dst.Addr()] += n
		}
	}
	var best netip.Addr
	found := 0
	for a, n := range count {
		if n*100 >= total*99 {
			best, found = a, found+1
		}
	}
	if found != 1 {
		return netip.Addr{}
	}
	return best
}

// endpointKind tells what an arrival's endpoint is.
func endpointKind(to, arrivedBy string) string {
	switch {
	case strings.HasPrefix(to, "client:"), arrivedBy == "pstream-invite", arrivedBy == "matrix-invite",
		arrivedBy != "" && arrivedBy != "sip-invite" && arrivedBy != "resource" && to == "": // inferred: see infer.go
		return "browser"
	case strings.HasPrefix(to, "sip:"), strings.HasPrefix(to, "sips:"), arrivedBy == "sip-invite":
		return "sip"
	}
	return "phone"
}
