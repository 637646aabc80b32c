package sessions

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/twtrace/twtrace/decode"
)

// Validator checks what must hold of every Trace, whatever the input was: keys
// are unique, references lead somewhere, sums agree, and the times of a call
// are in order. It is for tests; the zero value is ready.
type Validator struct {
	errs []error

	disorder bool // a clock stepped back: times may be out of order
	capped   bool // a bound was reached: not every packet has its second
	flows    map[uint32]bool
	calls    map[string]*Call
	legs     map[uint32]string // call_id
}

const maxViolations = 20 // that are told

// Check returns the violations, joined, or nil.
func (v *Validator) Check(t *Trace) error {
	*v = Validator{flows: map[uint32]bool{}, calls: map[string]*Call{}, legs: map[uint32]string{}}
	odd := map[Oddity]bool{}
	for _, o := range t.Oddities {
		v.disorder = v.disorder || o.Rule == "times-went-back"
		v.capped = v.capped || o.Rule == decode.RuleCap
		k := Oddity{Rule: o.Rule, At: o.At, Subject: o.Subject}
		v.want(!odd[k], "oddity %s at %v of %q stands twice", o.Rule, o.At, o.Subject)
		odd[k] = true
	}
	for i, f := range t.Flows {
		v.want(f.FlowID == uint32(i+1), "flow %d stands at place %d", f.FlowID, i+1)
		v.want(f.Packets > 0 && f.Bytes > 0, "flow %d has %d packets of %d bytes", f.FlowID, f.Packets, f.Bytes)
		v.flows[f.FlowID] = true
	}
	v.callsAndLegs(t)
	for _, s := range t.Signals.All() {
		v.signal(s)
	}
	v.streams(t)
	v.exports(t)
	v.hosts(t)
	return errors.Join(v.errs...)
}

func (v *Validator) want(ok bool, format string, args ...any) {
	if !ok && len(v.errs) < maxViolations {
		v.errs = append(v.errs, fmt.Errorf(format, args...))
	}
}

var outcomes = []string{"", "answered", "busy", "rejected", "cancelled", "no-answer", "ignored", "failed", "in-progress"}

func (v *Validator) callsAndLegs(t *Trace) {
	sids := map[string]bool{}
	for i := range t.Calls {
		c := &t.Calls[i]
		v.want(c.CallID != "" && v.calls[c.CallID] == nil, "call_id %q is empty or stands twice", c.CallID)
		v.calls[c.CallID] = c
		v.want(c.CallSID == "" || !sids[c.CallSID], "call_sid %s stands twice", c.CallSID)
		sids[c.CallSID] = true
		v.want(slices.Contains(outcomes, c.Outcome), "call %s: outcome %q", c.CallID, c.Outcome)
		v.want(!c.OpenAtEnd || c.Outcome == "in-progress" && c.EndedAt == 0, "call %s is open at the end, yet %s, ended %v", c.CallID, c.Outcome, c.EndedAt)
		v.want((c.ArrivedAt != 0) == (c.ArrivedBy != "") && (c.ArrivedAt != 0) == c.ArrivedErrorMS.Known, "call %s: arrived %v by %q", c.CallID, c.ArrivedAt, c.ArrivedBy)
		v.want(c.RootCallID != "" && c.Legs > 0, "call %s: root %q, %d legs", c.CallID, c.RootCallID, c.Legs)
		for _, d := range [...]Float{c.PostDialDelayMS, c.RingMS, c.DurationS} {
			v.want(!d.Known || d.V >= 0, "call %s: a negative duration %v", c.CallID, d.V)
		}
		if v.disorder || len(c.Protocols) == 0 { // an export says what it says
			continue
		}
		last := Time(0)
		for _, at := range [...]Time{c.InitiatedAt, c.RingingAt, c.AnsweredAt, c.EndedAt} {
			if at == 0 {
				continue
			}
			v.want(at >= last, "call %s: initiated %v, ringing %v, answered %v, ended %v", c.CallID, c.InitiatedAt, c.RingingAt, c.AnsweredAt, c.EndedAt)
			last = at
		}
	}
	legs := map[string]int64{}
	for i := range t.Legs {
		l := &t.Legs[i]
		_, again := v.legs[l.LegID]
		v.want(l.LegID != 0 && !again, "leg_id %d is 0 or stands twice", l.LegID)
		v.want(v.calls[l.CallID] != nil, "leg %d is of call %q, which is not there", l.LegID, l.CallID)
		v.legs[l.LegID] = l.CallID
		legs[l.CallID]++
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		v.want(legs[c.CallID] == c.Legs, "call %s has %d legs, counted as %d", c.CallID, legs[c.CallID], c.Legs)
	}
}

func (v *Validator) signal(s *Signal) {
	v.want(s.FlowID.Known && v.flows[s.FlowID.V], "signal %s in frame %d is of flow %d, which is not there", s.Kind, s.Frame.V, s.FlowID.V)
	v.want(s.Protocol != "" && s.Kind != "" && s.Src != "" && s.Dst != "" && s.File != "", "signal in frame %d lacks its protocol, kind, ends or file", s.Frame.V)
	v.want(s.Frame.V > 0 && s.FirstFrame.V > 0 && s.FirstFrame.V <= s.Frame.V, "signal %s in frames %d to %d", s.Kind, s.FirstFrame.V, s.Frame.V)
	v.want(s.CallID == "" || v.calls[s.CallID] != nil, "signal in frame %d is of call %q, which is not there", s.Frame.V, s.CallID)
	if s.LegID.Known {
		call, ok := v.legs[s.LegID.V]
		v.want(ok && call == s.CallID, "signal in frame %d is of call %q, its leg %d of %q", s.Frame.V, s.CallID, s.LegID.V, call)
	}
	v.want(s.Detail.Len() <= maxDetail && utf8.ValidString(s.Detail.String()) && utf8.ValidString(s.Label), "signal in frame %d: text is too long or no UTF-8", s.Frame.V)
	v.want(!s.DurationMS.Known || s.DurationMS.V >= 0, "signal in frame %d took %v ms", s.Frame.V, s.DurationMS.V)
}

func (v *Validator) streams(t *Trace) {
	streams, inSeconds := map[string]int64{}, map[uint32]int64{}
	second := map[StreamInterval]bool{}
	for _, iv := range t.StreamIntervals.All() {
		k := StreamInterval{StreamID: iv.StreamID, At: iv.At}
		v.want(!second[k], "stream %d has second %v twice", iv.StreamID, iv.At)
		second[k] = true
		inSeconds[iv.StreamID] += iv.Packets
		v.want(iv.Lost >= 0, "stream %d lost %d in %v", iv.StreamID, iv.Lost, iv.At)
	}
	for i, s := range t.Streams.All() {
		v.want(s.StreamID == uint32(i+1), "stream %d stands at place %d", s.StreamID, i+1)
		v.want(v.flows[s.FlowID], "stream %d is of flow %d, which is not there", s.StreamID, s.FlowID)
		v.want(s.Packets > 0 && s.Lost >= 0 && s.Duplicates >= 0 && s.Reordered >= 0, "stream %d: %d packets, %d lost, %d duplicates, %d reordered", s.StreamID, s.Packets, s.Lost, s.Duplicates, s.Reordered)
		v.want(s.Packets+s.Lost == s.Expected || s.Lost == 0, "stream %d: %d packets and %d lost of %d expected", s.StreamID, s.Packets, s.Lost, s.Expected)
		v.want(!s.LostPct.Known || s.LostPct.V >= 0 && s.LostPct.V <= 100, "stream %d lost %v %%", s.StreamID, s.LostPct.V)
		v.want(inSeconds[s.StreamID] == s.Packets || v.capped && inSeconds[s.StreamID] < s.Packets, "stream %d has %d packets, its seconds %d", s.StreamID, s.Packets, inSeconds[s.StreamID])
		v.want(v.disorder || s.FirstAt <= s.LastAt, "stream %d runs from %v to %v", s.StreamID, s.FirstAt, s.LastAt)
		v.want(s.CallID == "" || v.calls[s.CallID] != nil, "stream %d is of call %q, which is not there", s.StreamID, s.CallID)
		if s.LegID.Known {
			v.want(v.legs[s.LegID.V] == s.CallID, "stream %d is of call %q, its leg %d of %q", s.StreamID, s.CallID, s.LegID.V, v.legs[s.LegID.V])
		}
		streams[s.CallID]++
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		v.want(c.Streams == streams[c.CallID], "call %s has %d streams, counted as %d", c.CallID, streams[c.CallID], c.Streams)
	}
}

func (v *Validator) exports(t *Trace) {
	sids := map[string]bool{}
	for _, m := range t.Messages.All() {
		v.want(m.SID != "" && !sids[m.SID], "message %q has no SID or stands twice", m.SID)
		sids[m.SID] = true
	}
	legOf := map[string]bool{}
	for i := range t.Legs {
		if t.Legs[i].Kind == "resource" {
			legOf[t.Legs[i].ID] = true
		}
	}
	clear(sids)
	for i := range t.CallResources {
		r := &t.CallResources[i]
		v.want(r.SID != "" && !sids[r.SID] && legOf[r.SID], "call resource %q has no SID, no leg, or stands twice", r.SID)
		sids[r.SID] = true
	}
	clear(sids)
	for i := range t.Arrivals {
		a := &t.Arrivals[i]
		v.want(a.Seq == int64(i+1), "arrival %d stands at place %d", a.Seq, i+1)
		v.want(a.CallSID == "" || !sids[a.CallSID], "arrival of %s stands twice", a.CallSID)
		sids[a.CallSID] = true
		v.want((a.QueuedAt != 0) == (a.QueuedBy != "") && (a.ArrivedAt != 0) == (a.ArrivedBy != ""), "arrival %d: queued %v by %q, arrived %v by %q", a.Seq, a.QueuedAt, a.QueuedBy, a.ArrivedAt, a.ArrivedBy)
	}
}

func (v *Validator) hosts(t *Trace) {
	hosts := map[string]bool{}
	var in, out, packets int64
	for i := range t.Hosts {
		h := &t.Hosts[i]
		v.want(h.Address != "" && !hosts[h.Address] && len(h.Names) == len(h.NamesBy), "host %q stands twice, or its names lack a source", h.Address)
		hosts[h.Address] = true
		in += h.PacketsIn
		out += h.PacketsOut
	}
	for i := range t.Flows {
		f := &t.Flows[i]
		packets += f.Packets
		v.want(hosts[f.Src] && hosts[f.Dst], "flow %d: no host %s or %s", f.FlowID, f.Src, f.Dst)
	}
	v.want(in == packets && out == packets, "hosts sent %d packets and got %d, flows have %d", out, in, packets)
}
