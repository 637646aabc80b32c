package sessions_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/sessions"
)

// phases is how a call went, times in ms of the script.
type phases struct {
	outcome, endedBy                    string
	invited, ringing, answered, endedAt int64 // -1 unknown
	status                              int64
}

func phasesOf(c *sessions.Call) phases {
	ms := func(t decode.Time) int64 {
		if t == 0 {
			return -1
		}
		return (int64(t) - start) / 1e6
	}
	return phases{c.Outcome, c.EndedBy, ms(c.InitiatedAt), ms(c.RingingAt), ms(c.AnsweredAt), ms(c.EndedAt), c.StatusCode.V}
}

func TestCallOutcomes(t *testing.T) {
	type line struct {
		ms   int64
		text string
	}
	retry := "\nVia: SIP/2.0/UDP x;branch=z9hG4bK2\nCSeq: 2 INVITE"
	ofBye, ofCancel := "\nCSeq: 2 BYE", "\nCSeq: 1 CANCEL"
	for _, test := range []struct {
		name  string
		lines []line
		want  phases
	}{
		{"answered, BYE by the caller", []line{{10, "INVITE"}, {11, "100 Trying"}, {20, "180 Ringing"}, {50, "200 OK"}, {51, "ACK"}, {90, "BYE"}, {91, "200 OK" + ofBye}},
			phases{"answered", "caller", 10, 20, 50, 90, 200}},
		{"answered, BYE by the callee", []line{{10, "INVITE"}, {20, "180 Ringing"}, {50, "200 OK"}, {51, "ACK"}, {90, "callee:BYE"}},
			phases{"answered", "callee", 10, 20, 50, 90, 200}},
		{"busy", []line{{10, "INVITE"}, {20, "486 Busy Here"}, {21, "ACK"}}, phases{"busy", "callee", 10, -1, -1, 20, 486}},
		{"busy everywhere", []line{{10, "INVITE"}, {20, "600 Busy Everywhere"}, {21, "ACK"}}, phases{"busy", "callee", 10, -1, -1, 20, 600}},
		{"declined", []line{{10, "INVITE"}, {20, "180 Ringing"}, {30, "603 Decline"}, {31, "ACK"}}, phases{"rejected", "callee", 10, 20, -1, 30, 603}},
		{"not found", []line{{10, "INVITE"}, {20, "404 Not Found"}, {21, "ACK"}}, phases{"failed", "callee", 10, -1, -1, 20, 404}},
		{"temporarily unavailable", []line{{10, "INVITE"}, {15, "180 Ringing"}, {60, "480 Temporarily Unavailable"}, {61, "ACK"}}, phases{"no-answer", "callee", 10, 15, -1, 60, 480}},
		{"asked for a password, then answered", []line{{10, "INVITE"}, {11, "407 Proxy Authentication Required"}, {12, "ACK"}, {13, "INVITE" + retry},
			{20, "180 Ringing" + retry}, {30, "200 OK" + retry}, {31, "ACK" + strings.Replace(retry, "INVITE", "ACK", 1)}, {90, "BYE\nCSeq: 3 BYE"}},
			phases{"answered", "caller", 10, 20, 30, 90, 200}},
		{"asked for a password, then busy", []line{{10, "INVITE"}, {11, "401 Unauthorized"}, {12, "ACK"}, {13, "INVITE" + retry}, {20, "486 Busy Here" + retry}},
			phases{"busy", "callee", 10, -1, -1, 20, 486}},
		{"asked for a password and gave up", []line{{10, "INVITE"}, {11, "401 Unauthorized"}, {12, "ACK"}}, phases{"failed", "callee", 10, -1, -1, 11, 401}},
		{"asked again with another tag in From", []line{{10, "INVITE\nFrom: <sip:a@x>;tag=old"}, {11, "401 Unauthorized\nFrom: <sip:a@x>;tag=old"}, {13, "INVITE" + retry}, {30, "200 OK" + retry}, {90, "BYE\nCSeq: 3 BYE"}},
			phases{"answered", "caller", 10, -1, 30, 90, 200}},
		{"cancelled", []line{{10, "INVITE"}, {20, "180 Ringing"}, {40, "CANCEL"}, {41, "200 OK" + ofCancel}, {42, "487 Request Terminated"}, {43, "ACK"}},
			phases{"cancelled", "caller", 10, 20, -1, 42, 487}},
		{"cancelled, the 487 was not captured", []line{{10, "INVITE"}, {20, "180 Ringing"}, {40, "CANCEL"}, {41, "200 OK" + ofCancel}}, phases{"cancelled", "caller", 10, 20, -1, 40, 0}},
		{"CANCEL crosses the answer", []line{{10, "INVITE"}, {20, "180 Ringing"}, {40, "CANCEL"}, {41, "200 OK"}, {42, "ACK"}, {43, "200 OK" + ofCancel}, {44, "BYE"}},
			phases{"answered", "caller", 10, 20, 41, 44, 200}},
		{"CANCEL crosses busy", []line{{10, "INVITE"}, {40, "CANCEL"}, {41, "486 Busy Here"}}, phases{"busy", "callee", 10, -1, -1, 41, 486}},
		{"BYE of an early dialog", []line{{10, "INVITE"}, {20, "180 Ringing"}, {30, "BYE"}, {31, "200 OK" + ofBye}, {32, "487 Request Terminated"}}, phases{"cancelled", "caller", 10, 20, -1, 32, 487}},
		{"no response for longer than 64*T1", []line{{10, "INVITE"}, {510, "INVITE"}, {1510, "INVITE"}, {40000, "OPTIONS\nCall-ID: other"}}, phases{"no-answer", "", 10, -1, -1, 1510, 0}},
		{"no response, the capture ends", []line{{10, "INVITE"}, {510, "INVITE"}}, phases{"in-progress", "", 10, -1, -1, -1, 0}},
		{"ringing at the end", []line{{10, "INVITE"}, {20, "180 Ringing"}}, phases{"in-progress", "", 10, 20, -1, -1, 0}},
		{"up at the end", []line{{10, "INVITE"}, {20, "180 Ringing"}, {30, "200 OK"}, {31, "ACK"}}, phases{"in-progress", "", 10, 20, 30, -1, 200}},
		{"hold and resume", []line{{10, "INVITE"}, {30, "200 OK"}, {31, "ACK"}, {40, "callee:INVITE\nCSeq: 7 INVITE"}, {50, "INVITE\nTo: <sip:b@x>;tag=et\nCSeq: 5 INVITE"}, {51, "488 Not Acceptable Here\nCSeq: 5 INVITE"}, {90, "BYE"}},
			phases{"answered", "caller", 10, -1, 30, 90, 200}},
		{"two phones ring", []line{{10, "INVITE"}, {20, "180 Ringing\nTo: <sip:b@x>;tag=e1"}, {25, "180 Ringing\nTo: <sip:b@x>;tag=e2"}, {40, "200 OK\nTo: <sip:b@x>;tag=e2"}, {90, "BYE"}},
			phases{"answered", "caller", 10, 20, 40, 90, 200}},
		{"early media", []line{{10, "INVITE"}, {20, "183 Session Progress"}, {25, "180 Ringing"}, {40, "200 OK"}, {90, "BYE"}}, phases{"answered", "caller", 10, 20, 40, 90, 200}},
		{"forwarded and queued are no ringing", []line{{10, "INVITE"}, {15, "181 Call Is Being Forwarded"}, {16, "182 Queued"}, {30, "180 Ringing"}, {40, "200 OK"}, {90, "BYE"}}, phases{"answered", "caller", 10, 30, 40, 90, 200}},
		{"everything twice", []line{{10, "INVITE"}, {15, "INVITE"}, {20, "180 Ringing"}, {22, "180 Ringing"}, {40, "200 OK"}, {45, "200 OK"}, {46, "ACK"}, {90, "BYE"}, {95, "BYE"}},
			phases{"answered", "caller", 10, 20, 40, 90, 200}},
		{"only the BYE", []line{{90, "BYE"}, {91, "200 OK" + ofBye}}, phases{"answered", "caller", -1, -1, -1, 90, 0}},
		{"only the answer to the BYE", []line{{91, "200 OK" + ofBye}}, phases{"answered", "caller", -1, -1, -1, 91, 0}},
		{"begins with a re-INVITE", []line{{10, "INVITE\nTo: <sip:b@x>;tag=et\nCSeq: 5 INVITE"}, {20, "200 OK\nCSeq: 5 INVITE"}, {90, "callee:BYE"}}, phases{"answered", "callee", -1, -1, -1, 90, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &script{}
			for _, l := range test.lines {
				s.say(l.ms, l.text)
			}
			trace := s.trace(t)
			if len(trace.Calls) != 1 || len(trace.Legs) != 1 {
				t.Fatalf("%d calls of %d legs, want one", len(trace.Calls), len(trace.Legs))
			}
			c := &trace.Calls[0]
			if got := phasesOf(c); got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if open := test.want.outcome == "in-progress"; c.OpenAtEnd != open {
				t.Errorf("open at end %v", c.OpenAtEnd)
			}
			for _, sig := range trace.Signals.All() {
				if sig.Kind != "OPTIONS" && (sig.CallID != c.CallID || !sig.LegID.Known) {
					t.Errorf("%s is of call %q", sig.Kind, sig.CallID)
				}
			}
		})
	}
}

func TestCallDurations(t *testing.T) {
	s := &script{}
	for ms, text := range map[int64]string{100: "INVITE", 350: "180 Ringing", 2350: "200 OK", 2400: "ACK", 12350: "BYE"} {
		s.say(ms, text)
	}
	c := s.trace(t).Calls[0]
	if c.PostDialDelayMS.V != 250 || c.RingMS.V != 2000 || c.DurationS.V != 10 {
		t.Errorf("post-dial delay %v, ring %v, duration %v; want 250 ms, 2000 ms, 10 s", c.PostDialDelayMS, c.RingMS, c.DurationS)
	}
	if c.From != "+15550001" || c.To != "+15550002" {
		t.Errorf("from %q to %q", c.From, c.To)
	}
}

func TestNoCalls(t *testing.T) {
	s := &script{}
	for i, method := range []string{"OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH"} {
		s.say(int64(i), fmt.Sprintf("%s\nCall-ID: %s\nTo: <sip:b@x>", method, method))
		s.say(int64(i), fmt.Sprintf("200 OK\nCall-ID: %s\nCSeq: 2 %s", method, method))
	}
	trace := s.trace(t)
	if len(trace.Calls) != 0 || trace.Signals.Len() != 12 {
		t.Errorf("%d calls, %d signals, want none and 12", len(trace.Calls), trace.Signals.Len())
	}
	for _, sig := range trace.Signals.All() {
		if sig.CallID != "" {
			t.Errorf("%s is of call %q", sig.Kind, sig.CallID)
		}
	}
}

func TestRetransmissionsAreMarked(t *testing.T) {
	s := &script{}
	s.say(0, "INVITE")
	s.say(500, "INVITE")
	s.say(600, "100 Trying")
	s.say(700, "180 Ringing")
	s.say(800, "180 Ringing\nTo: <sip:b@x>;tag=other")
	s.say(900, "200 OK")
	s.say(1400, "200 OK")
	s.say(1500, "INVITE\nCSeq: 2 INVITE\nTo: <sip:b@x>;tag=et")
	var got []string
	trace := s.trace(t)
	for _, sig := range trace.Signals.All() {
		if sig.Retransmission {
			got = append(got, fmt.Sprint(sig.Kind, "@", sig.Frame.V))
		}
	}
	if strings.Join(got, " ") != "INVITE@2 200@7" {
		t.Errorf("retransmissions %v, want the second INVITE and the second 200", got)
	}
	if d := trace.Signals.At(0).DurationMS; d.V != 900 {
		t.Errorf("INVITE to final response took %v ms, want 900", d)
	}
}

func TestProxiedCallIsOne(t *testing.T) {
	s := &script{}
	hop1, hop2 := "", "\nVia: SIP/2.0/UDP y;branch=z9hG4bKproxy"
	s.sip(10, caller, proxy, "INVITE"+hop1)
	s.sip(12, proxy, callee, "INVITE"+hop2)
	s.sip(20, callee, proxy, "180 Ringing"+hop2)
	s.sip(22, proxy, caller, "180 Ringing"+hop1)
	s.sip(40, callee, proxy, "200 OK"+hop2)
	s.sip(42, proxy, caller, "200 OK"+hop1)
	s.sip(90, caller, proxy, "BYE"+hop1)
	s.sip(92, proxy, callee, "BYE"+hop2)
	trace := s.trace(t)
	if len(trace.Calls) != 1 {
		t.Fatalf("%d calls", len(trace.Calls))
	}
	c := trace.Calls[0]
	if got, want := phasesOf(&c), (phases{"answered", "caller", 10, 20, 40, 90, 200}); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c.ArrivedAt != at(12) {
		t.Errorf("arrived at %v, want when the last hop got it, %v", c.ArrivedAt, at(12))
	}
	if len(trace.Arrivals) != 1 || trace.Arrivals[0].Frame.V != 2 {
		t.Errorf("arrivals %+v, want the evidence in frame 2", trace.Arrivals)
	}
	for _, sig := range trace.Signals.All() {
		if sig.Retransmission {
			t.Errorf("%s in frame %d is taken for a retransmission", sig.Kind, sig.Frame.V)
		}
	}
}

func TestCallSIDOnTheResponseOnly(t *testing.T) {
	s := &script{}
	s.say(10, "INVITE")
	s.say(20, "100 Trying\nX-Twilio-CallSid: CA00000000000000000000000000000001\nServer: Twilio Gateway")
	s.say(30, "200 OK\nServer: Twilio Gateway")
	c := s.trace(t).Calls[0]
	if c.CallID != "CA00000000000000000000000000000001" || c.CallSID != c.CallID || !slices.Equal(c.SIPCallIDs, []string{"call-1"}) {
		t.Errorf("call_id %q, call_sid %q, Call-IDs %q", c.CallID, c.CallSID, c.SIPCallIDs)
	}
	if c.Direction != "outbound" {
		t.Errorf("direction %q: the provider is the callee, so the call goes out", c.Direction)
	}
}

func TestOneCallSIDIsOneCall(t *testing.T) {
	const sid = "\nX-Twilio-CallSid: CA00000000000000000000000000000002"
	t.Run("a provider asks the next address after a refusal", func(t *testing.T) {
		s := &script{}
		s.say(10, "INVITE"+sid)
		s.say(20, "503 Service Unavailable")
		s.sip(30, caller, proxy, "INVITE\nCall-ID: call-2"+sid)
		s.sip(40, proxy, caller, "180 Ringing\nCall-ID: call-2")
		s.sip(60, proxy, caller, "200 OK\nCall-ID: call-2")
		s.sip(90, caller, proxy, "BYE\nCall-ID: call-2")
		trace := s.trace(t)
		if len(trace.Calls) != 1 || len(trace.Legs) != 2 {
			t.Fatalf("%d calls, %d legs; want one of two", len(trace.Calls), len(trace.Legs))
		}
		if got, want := phasesOf(&trace.Calls[0]), (phases{"answered", "caller", 10, 40, 60, 90, 200}); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if l := trace.Legs[0]; l.StatusCode.V != 503 || l.JoinedBy != "X-Twilio-CallSid" {
			t.Errorf("first leg %+v", l)
		}
	})
	t.Run("both refused: the last says why", func(t *testing.T) {
		s := &script{}
		s.say(10, "INVITE"+sid)
		s.say(20, "503 Service Unavailable")
		s.sip(30, caller, proxy, "INVITE\nCall-ID: call-2"+sid)
		s.sip(40, proxy, caller, "486 Busy Here\nCall-ID: call-2")
		trace := s.trace(t)
		if got, want := phasesOf(&trace.Calls[0]), (phases{"busy", "callee", 10, -1, -1, 40, 486}); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// Names out of a capture are arbitrary: ids stay unique and text valid.
func TestHostileNames(t *testing.T) {
	s := &script{}
	s.say(1, "INVITE\nCall-ID: \xff\xfe")
	s.say(2, "180 Ringing\nCall-ID: \xff\xfe")
	s.say(3, "INVITE\nCall-ID: \xfd") // reads the same once made valid
	s.say(4, "INVITE\nCall-ID: x\nX-Twilio-CallSid: twin")
	s.say(5, "INVITE\nCall-ID: twin")
	s.say(6, "INVITE\nCall-ID: twin#2")
	trace := s.trace(t)
	if len(trace.Calls) != 5 {
		t.Fatalf("%d calls, want 5", len(trace.Calls))
	}
	if c := trace.Calls[0]; c.RingingAt != at(2) {
		t.Errorf("a Call-ID that is no UTF-8 lost its response: ringing %v", c.RingingAt)
	}
}

func TestArrivals(t *testing.T) {
	page := func(rows ...string) []byte { return []byte(`{"calls":[` + strings.Join(rows, ",") + `]}`) }
	call := func(n int, to, status, created, started, updated string) string {
		return fmt.Sprintf(`{"sid":"CA%032d","to":%q,"from":"+15550000","status":%q,"direction":"outbound-api","date_created":%q,"start_time":%q,"date_updated":%q}`,
			n, to, status, created, started, updated)
	}
	clock := func(s string) string { return "Tue, 01 Sep 2026 12:00:" + s + " +0000" }
	older := page(call(2, "+15550002", "ringing", clock("02"), clock("07"), clock("07")), call(1, "+15550001", "completed", clock("01"), clock("05"), clock("20")))
	newer := page(call(3, "+15550003", "completed", clock("02"), clock("09"), clock("30")), call(2, "+15550002", "completed", clock("02"), clock("07"), clock("25")))
	for _, names := range [][2]string{{"a.json", "b.json"}, {"b.json", "a.json"}} {
		trace := analyse(t, map[string][]byte{names[0]: older, names[1]: newer})
		if len(trace.CallResources) != 3 || len(trace.Calls) != 3 || len(trace.Arrivals) != 3 {
			t.Fatalf("%d resources, %d calls, %d arrivals; want 3 of each", len(trace.CallResources), len(trace.Calls), len(trace.Arrivals))
		}
		for _, r := range trace.CallResources {
			if r.Status != "completed" {
				t.Errorf("%s is %s: the older copy won", r.SID, r.Status)
			}
		}
		// date_created is cut to whole seconds: s + 0.5 within 0.5 s; times of one clock may be subtracted
		a := trace.Arrivals[0]
		want := decode.Time(1788264001_500000000)
		if a.CallSID != fmt.Sprintf("CA%032d", 1) || a.QueuedAt != want || a.QueuedErrorMS.V != 500 || a.QueuedBy != "resource" || a.ArrivedBy != "resource" || a.WaitS.V != 4 || a.WaitErrorS.V != 1 || a.Endpoint != "phone" {
			t.Errorf("first arrival %+v", a)
		}
	}
	// the same calls with the client's queue log, whose times win, and whose order decides within a second
	log := []byte("time,kind,to,sid,status\n" +
		"2026-09-01T12:00:01.900Z,call,+15550001,CA" + fmt.Sprintf("%032d", 1) + ",queued\n" +
		"2026-09-01T12:00:02.100Z,call,+15550003,CA" + fmt.Sprintf("%032d", 3) + ",queued\n" +
		"2026-09-01T12:00:02.600Z,call,+15550002,CA" + fmt.Sprintf("%032d", 2) + ",queued\n")
	trace := analyse(t, map[string][]byte{"a.json": older, "b.json": newer, "queue.csv": log})
	var order []string
	for _, a := range trace.Arrivals {
		order = append(order, strings.TrimLeft(a.CallSID[2:], "0"))
		if a.QueuedBy != "queue-log" || a.QueuedErrorMS.V != 1 {
			t.Errorf("%s is queued by %s within %v ms", a.CallSID, a.QueuedBy, a.QueuedErrorMS.V)
		}
		if a.WaitS.Known {
			t.Errorf("%s: times of two clocks were subtracted", a.CallSID)
		}
	}
	if strings.Join(order, " ") != "1 3 2" {
		t.Errorf("queue order %v, want 1 3 2", order)
	}
	if len(trace.Arrivals) > 0 && trace.Arrivals[0].QueuedAt != decode.Time(1788264001_900000000) {
		t.Errorf("queued at %v", trace.Arrivals[0].QueuedAt)
	}
}
