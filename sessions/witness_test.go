package sessions_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/mediastream"
	"github.com/twtrace/twtrace/sessions"
)

const (
	parentSID = "CA00000000000000000000000000000001"
	childSID  = "CA00000000000000000000000000000002"
	streamSID = "MZ00000000000000000000000000000001"
	account   = "AC00000000000000000000000000000001"
)

// server builds a trace of what an application server's capture shows.
type server struct {
	b      *sessions.Builder
	ledger decode.Ledger
	flow   decode.Flow
	frame  int64
}

func newServer() *server {
	s := &server{flow: decode.Flow{ID: 1, Proto: 6, Src: netip.MustParseAddrPort("54.172.60.9:40000"), Dst: netip.MustParseAddrPort("192.0.2.80:80"), Packets: [2]int64{60, 10}, Bytes: [2]int64{9000, 900}, First: at(0), Last: at(9000)}}
	s.b = sessions.New([]string{"server.pcap"}, &s.ledger)
	return s
}

func (s *server) event(ms int64, kind decode.Kind, dir uint8) *decode.Event {
	s.frame++
	return &decode.Event{Kind: kind, Time: at(ms), Pos: decode.Pos{Frame: s.frame, First: s.frame}, Flow: &s.flow, Dir: dir}
}

func (s *server) callback(ms int64, form string) {
	ev := s.event(ms, decode.EventHTTP, 0)
	ev.HTTP = &http.Message{Request: true, Method: "POST", Target: "/status", Host: "app.example", ContentType: "application/x-www-form-urlencoded; charset=utf-8", Body: []byte(form)}
	s.b.Add(ev)
	ev = s.event(ms+20, decode.EventHTTP, 1)
	ev.HTTP = &http.Message{Status: 204, Reason: "No Content"}
	s.b.Add(ev)
}

func (s *server) media(t *testing.T, ms int64, text string) {
	var m mediastream.Message
	if err := mediastream.Decode([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	ev := s.event(ms, decode.EventMediaStream, 0)
	ev.Media = &m
	s.b.Add(ev)
}

func (s *server) trace(t *testing.T) *sessions.Trace {
	t.Helper()
	tr := s.b.Finalize([]*decode.Flow{&s.flow}, at(0), at(9000))
	if err := new(sessions.Validator).Check(tr); err != nil {
		t.Error(err)
	}
	return tr
}

// Status callbacks of a call and of the one it dialed: a call each, linked,
// whatever the order in which the callbacks came (TWILIO's own SequenceNumber
// may run backwards on the wire).
func TestCallbacksAreLegs(t *testing.T) {
	s := newServer()
	form := "AccountSid=%s&CallSid=%s&CallStatus=%s&Direction=%s&From=%%2B15005550006&To=%%2B15557650000&CallbackSource=call-progress-events&SequenceNumber=%d"
	s.callback(100, fmt.Sprintf(form, account, parentSID, "completed", "outbound-api", 3))
	s.callback(200, fmt.Sprintf(form, account, parentSID, "ringing", "outbound-api", 1))
	s.callback(300, fmt.Sprintf(form+"&ParentCallSid=%s", account, childSID, "busy", "outbound-dial", 2, parentSID))
	tr := s.trace(t)
	if len(tr.Calls) != 2 || len(tr.Legs) != 2 {
		t.Fatalf("%d calls, %d legs; want 2 of each", len(tr.Calls), len(tr.Legs))
	}
	parent, child := tr.Calls[0], tr.Calls[1]
	if parent.CallSID != parentSID || parent.Outcome != "answered" || parent.From != "+15005550006" || parent.Direction != "outbound-api" {
		t.Errorf("parent: %+v", parent)
	}
	if child.CallSID != childSID || child.Outcome != "busy" || child.ParentCallID != parentSID || child.RootCallID != parentSID {
		t.Errorf("child: %+v", child)
	}
	for _, l := range tr.Legs {
		if l.Kind != "webhook" || l.JoinedBy != "CallSid" {
			t.Errorf("leg: %+v", l)
		}
	}
	n := 0
	for _, g := range tr.Signals.All() {
		if g.CallID == parentSID && g.Protocol == "http" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d rungs of the parent's callbacks, want 2", n)
	}
}

// A media stream names its call in `start`; its audio makes no rung.
func TestMediaStreamIsALeg(t *testing.T) {
	s := newServer()
	s.callback(0, "AccountSid="+account+"&CallSid="+parentSID+"&CallStatus=in-progress&Direction=inbound&From=%2B1&To=%2B2")
	s.media(t, 100, `{"event":"connected","protocol":"Call","version":"1.0.0"}`)
	s.media(t, 110, `{"event":"start","sequenceNumber":"1","start":{"accountSid":"`+account+`","streamSid":"`+streamSID+`","callSid":"`+parentSID+`","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}},"streamSid":"`+streamSID+`"}`)
	for i := range 50 {
		s.media(t, 120+20*int64(i), fmt.Sprintf(`{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d","timestamp":"%d","payload":"AAAA"},"streamSid":"%s"}`, i+2, i+1, 20*i, streamSID))
	}
	s.media(t, 1200, `{"event":"stop","sequenceNumber":"52","stop":{"accountSid":"`+account+`","callSid":"`+parentSID+`"},"streamSid":"`+streamSID+`"}`)
	tr := s.trace(t)
	if len(tr.Calls) != 1 {
		t.Fatalf("%d calls, want 1", len(tr.Calls))
	}
	var leg *sessions.Leg
	for i := range tr.Legs {
		if tr.Legs[i].Kind == "mediastream" {
			leg = &tr.Legs[i]
		}
	}
	if leg == nil || leg.ID != streamSID || leg.CallID != parentSID || leg.FirstAt != at(110) || leg.LastAt != at(1200) {
		t.Errorf("leg: %+v", leg)
	}
	kinds := map[string]int{}
	for _, g := range tr.Signals.All() {
		if g.Protocol == "mediastream" {
			kinds[g.Kind]++
			if g.Kind != "connected" && g.CallID != parentSID {
				t.Errorf("rung %s belongs to %q", g.Kind, g.CallID)
			}
		}
	}
	if kinds["start"] != 1 || kinds["stop"] != 1 || kinds["connected"] != 1 || kinds["media"] != 0 {
		t.Errorf("rungs %v", kinds)
	}
}
