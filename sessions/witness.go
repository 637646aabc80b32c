package sessions

import (
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/mediastream"
	"github.com/twtrace/twtrace/decode/pstream"
)

// witness is a leg that speaks of a call without being its signaling: status
// callbacks and media streams at an application server.
type witness struct {
	kind, id, callSID, parent string
	from, to, direction       string
	status                    string // latest CallStatus of callbacks
	first, last               Time
	pos                       decode.Pos
	lastFrame                 int64
}

// about says that a signal belongs to the call with a CallSid or a browser's
// temporary id.
type about struct {
	signal int32
	sid    string
}

const maxWitnesses = 1 << 20

func (b *Builder) aboutCall(signal int, sid string) {
	if sid != "" {
		b.abouts = append(b.abouts, about{int32(signal), sid})
	}
}

func (b *Builder) witness(ev *decode.Event, kind, id, callSID string) *witness {
	w := b.witnesses[kind+id]
	if w == nil {
		if len(b.witnesses) >= maxWitnesses {
			b.capped("callbacks and media streams")
			return nil
		}
		w = &witness{kind: kind, id: id, callSID: callSID, first: ev.Time, pos: ev.Pos}
		b.witnesses[kind+id] = w
		b.witnessOrder = append(b.witnessOrder, w)
	}
	w.last, w.lastFrame = ev.Time, ev.Pos.Frame
	return w
}

// httpBody reads what a request's body says of calls: the client's posts to
// the event gateway, and the provider's status callbacks. It names the rung.
func (b *Builder) httpBody(ev *decode.Event, s *Signal) {
	m := ev.HTTP
	if m.Method != "POST" || len(m.Body) == 0 {
		return
	}
	path, _, _ := strings.Cut(m.Target, "?")
	switch {
	case strings.HasSuffix(path, "/EndpointEvents"), strings.HasSuffix(path, "/EndpointMetrics"):
		body, err := http.Decode(m.ContentEncoding, m.Body, maxBody)
		if err != nil {
			return
		}
		events, err := b.gateway.Decode(body)
		if err != nil || len(events) == 0 {
			return
		}
		e := &events[0]
		s.Label = cut(strings.ToValidUTF8(e.Group+"/"+e.Name, "\uFFFD"), 128)
		b.aboutCall(b.signals.Len(), firstOf(e.CallSID, e.TempCallSID))
		for i := range events {
			b.addSamples(events[i].Samples)
		}
	case strings.HasPrefix(m.ContentType, "application/x-www-form-urlencoded"):
		c := pstream.DecodeForm(m.Body)
		if !isSID(c.CallSID, "CA") || c.AccountSID == "" || strings.Contains(path, "/2010-04-01/") {
			return
		}
		s.Label = "callback " + cut(strings.ToValidUTF8(firstOf(c.CallStatus, c.StreamEvent), "\uFFFD"), 64)
		b.aboutCall(b.signals.Len(), c.CallSID)
		w := b.witness(ev, "webhook", c.CallSID, c.CallSID)
		if w == nil {
			return
		}
		w.from, w.to = firstOf(w.from, c.From), firstOf(w.to, c.To)
		w.direction, w.parent = firstOf(w.direction, c.Direction), firstOf(w.parent, c.ParentCallSID)
		if c.CallStatus != "" && progress(c.CallStatus) >= progress(w.status) {
			w.status = c.CallStatus // callbacks may come out of order
		}
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// sdkQuality sums the client's own quality figures of one call.
type sdkQuality struct {
	mos float64
	n   int64
}

// addSamples takes the client's one-second samples: a second witness for what
// reached it.
func (b *Builder) addSamples(samples []pstream.Sample) {
	for i := range samples {
		s := &samples[i]
		sid := firstOf(s.CallSID, s.TempCallSID)
		if sid == "" || !s.MOS.OK {
			continue
		}
		q := b.sdk[sid]
		if q == nil {
			if len(b.sdk) >= maxWitnesses {
				b.capped("calls with figures of the client")
				return
			}
			q = &sdkQuality{}
			b.sdk[sid] = q
		}
		q.mos += s.MOS.V
		q.n++
	}
}

// addMediaStream takes one message of a media stream (TWILIO.md F). Audio is
// only counted.
func (b *Builder) addMediaStream(ev *decode.Event) {
	m := ev.Media
	w := b.witnesses["mediastream"+m.StreamSID]
	if m.Event == mediastream.Start && m.StreamSID != "" {
		w = b.witness(ev, "mediastream", m.StreamSID, m.CallSID)
	}
	if w != nil {
		w.last, w.lastFrame = ev.Time, ev.Pos.Frame
	}
	if m.Event == mediastream.Media {
		return
	}
	sig := Signal{
		FlowID: decode.Some(ev.Flow.ID), At: ev.Time, Protocol: "mediastream", Decrypted: ev.Decrypted,
		File: b.files[ev.Pos.File], Frame: decode.Some(ev.Pos.Frame), FirstFrame: decode.Some(ev.Pos.First),
	}
	b.fillEnds(&sig, ev)
	sig.Kind = cut(strings.ToValidUTF8(m.Name, "\uFFFD"), 64)
	sig.Label = sig.Kind
	if b.ShowDTMF {
		sig.Label = withDigits(sig.Label, strings.ToValidUTF8(m.Digit, "\uFFFD"))
	}
	sig.Detail = b.keepDetail([]byte(m.String()))
	if w != nil {
		b.aboutCall(b.signals.Len(), w.callSID)
	}
	b.addSignal(&sig, nil)
}

// joinWitnesses makes each witness a leg of its call, or of a call that only
// it knows.
func (b *Builder) joinWitnesses(t *Trace) {
	bySID := map[string]int{}
	for i := range t.Calls {
		if s := t.Calls[i].CallSID; s != "" {
			bySID[s] = i
		}
	}
	for _, w := range b.witnessOrder {
		if w.callSID == "" {
			continue
		}
		k, ok := bySID[w.callSID]
		if !ok {
			k = len(t.Calls)
			bySID[w.callSID] = k
			c := callOfResource(&CallResource{SID: w.callSID, From: w.from, To: w.to, Status: w.status, File: b.files[w.pos.File]})
			c.Direction, c.ParentCallID = w.direction, w.parent
			c.FirstFrame, c.LastFrame = decode.Some(w.pos.First), decode.Some(w.lastFrame)
			c.RootCallID = firstOf(w.parent, c.CallID)
			t.Calls = append(t.Calls, c)
		}
		c := &t.Calls[k]
		c.Legs++
		t.Legs = append(t.Legs, Leg{LegID: uint32(len(t.Legs) + 1), CallID: c.CallID, Kind: w.kind, ID: w.id, JoinedBy: "CallSid",
			JoinScore: decode.Some(1.0), From: w.from, To: w.to, FirstAt: w.first, LastAt: w.last})
	}
}

// aboutCalls are the call_ids of signals that speak of a call.
func (b *Builder) aboutCalls(t *Trace) map[int32]string {
	if len(b.abouts) == 0 {
		return nil
	}
	bySID := map[string]string{}
	for i := range t.Calls {
		if c := &t.Calls[i]; c.CallSID != "" {
			bySID[c.CallSID] = c.CallID
		}
	}
	out := map[int32]string{}
	for _, a := range b.abouts {
		if id, ok := bySID[a.sid]; ok {
			out[a.signal] = id
		} else if c := b.browser[a.sid]; c != nil && c.id != "" {
			out[a.signal] = c.id
		}
	}
	return out
}

// sdkMOS is the client's mean opinion score of what a stream brought it.
func (b *Builder) sdkMOS(s *stream) (float64, bool) {
	c := s.call
	if c == nil || c.kind == legSIP || s.flow.End(1-s.dir).Addr() != c.client {
		return 0, false
	}
	for _, sid := range [...]string{c.sid, c.callID} {
		if q := b.sdk[sid]; q != nil && q.n > 0 {
			return q.mos / float64(q.n), true
		}
	}
	return 0, false
}
