package sessions_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/twilio"
	"github.com/twtrace/twtrace/sessions"
)

// exchanges is a trace made of events, without packets.
type exchanges struct {
	b     *sessions.Builder
	flows map[string]*decode.Flow
	list  []*decode.Flow
	frame int64
}

func newExchanges() *exchanges {
	return &exchanges{b: sessions.New([]string{"a.pcap", "calls.json", "queue.csv"}, &decode.Ledger{}), flows: map[string]*decode.Flow{}}
}

func (x *exchanges) flow(server string) *decode.Flow {
	f := x.flows[server]
	if f == nil {
		f = &decode.Flow{ID: uint32(len(x.list) + 1), Proto: 6, Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort(server), First: at(0), Last: at(0), Packets: [2]int64{5, 5}}
		x.flows[server] = f
		x.list = append(x.list, f)
	}
	return f
}

func (x *exchanges) http(ms float64, f *decode.Flow, m *http.Message) {
	x.frame++
	dir := uint8(1)
	if m.Request {
		dir = 0
	}
	x.b.Add(&decode.Event{Kind: decode.EventHTTP, Time: decode.Time(start + int64(ms*1e6)), Pos: decode.Pos{Frame: x.frame, First: x.frame}, Flow: f, Dir: dir, HTTP: m})
}

// date is one exchange: asked and answered in ms after start, and the Date of
// the response in seconds after it.
func (x *exchanges) date(server string, asked, answered float64, seconds int64, fields ...http.Header) {
	f := x.flow(server)
	x.http(asked, f, &http.Message{Request: true, Method: "GET", Target: "/", Host: "host.example"})
	x.http(answered, f, &http.Message{Status: 200, Headers: fields, Date: time.Unix(start/1e9+seconds, 0).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")})
}

// post is a POST to Calls and what it is answered, created in seconds after start.
func (x *exchanges) post(asked, answered float64, status int, sid, to string, created int64) {
	f := x.flow("10.0.0.9:443")
	x.http(asked, f, &http.Message{Request: true, Method: "POST", Target: "/2010-04-01/Accounts/AC1/Calls.json", Host: "api.twilio.com", Body: []byte("To=x&From=%2B15005550006")})
	body := fmt.Sprintf(`{"sid":%q,"account_sid":"AC00000000000000000000000000000001","from":"+15005550006","to":%q,"direction":"outbound-api","status":"queued","date_created":%q}`,
		sid, to, time.Unix(start/1e9+created, 0).UTC().Format(time.RFC1123Z))
	if status >= 300 {
		body = `{"code":20429,"message":"Too Many Requests","status":429}`
	}
	x.http(answered, f, &http.Message{Status: status, ContentType: "application/json", Body: []byte(body), BodyLen: int64(len(body))})
}

func (x *exchanges) trace() *sessions.Trace {
	return x.b.Finalize(x.list, at(0), at(1000))
}

func clock(t *testing.T, tr *sessions.Trace, host string) sessions.Clock {
	t.Helper()
	for _, c := range tr.Clocks {
		if c.Host == host {
			return c
		}
	}
	t.Fatalf("no clock of %s in %+v", host, tr.Clocks)
	return sessions.Clock{}
}

func wantClock(t *testing.T, c sessions.Clock, by string, n int64, low, high float64) {
	t.Helper()
	if c.By != by || c.Samples != n || !c.OffsetLowMS.Known || !c.OffsetHighMS.Known || math.Abs(c.OffsetLowMS.V-low) > 1e-6 || math.Abs(c.OffsetHighMS.V-high) > 1e-6 {
		t.Errorf("%s: by %s, %d samples, [%v, %v], want by %s, %d, [%v, %v]", c.Host, c.By, c.Samples, c.OffsetLowMS, c.OffsetHighMS, by, n, low, high)
	}
}

// start is a whole second, so that the bounds can be told by hand: a response
// seen at 300 ms that says second 0 was written at a server's time of 0 to 1 s.
func TestClockByDate(t *testing.T) {
	x := newExchanges()
	x.date("10.0.0.2:80", 200, 300, 0)
	wantClock(t, clock(t, x.trace(), "host.example"), "http-date", 1, -300, 800)

	x = newExchanges()
	x.date("10.0.0.2:80", 200, 300, 0)   // [-300, 800]
	x.date("10.0.0.2:80", 900, 950, 1)   // [50, 1100]
	x.date("10.0.0.2:80", 1500, 1510, 1) // [-510, 500]
	c := clock(t, x.trace(), "host.example")
	wantClock(t, c, "http-date", 3, 50, 500)
	if c.DriftPPM.Known {
		t.Errorf("a drift of %v where a constant offset fits", c.DriftPPM.V)
	}
}

// A response out of a cache has an old date, one of the kind 1xx is not the
// answer, and two servers of one name have two clocks.
func TestClockLeavesOut(t *testing.T) {
	x := newExchanges()
	x.date("10.0.0.2:80", 200, 300, -500, http.Header{Name: "age", Value: "500"})
	if c := x.trace().Clocks; len(c) != 0 {
		t.Errorf("a clock of a cached response: %+v", c)
	}
	x = newExchanges()
	f := x.flow("10.0.0.2:80")
	x.http(0, f, &http.Message{Request: true, Method: "GET", Target: "/", Host: "host.example"})
	x.http(1, f, &http.Message{Status: 103, Date: "Tue, 14 Nov 2023 22:13:20 GMT"})
	x.http(200, f, &http.Message{Status: 200, Date: "Tue, 14 Nov 2023 22:13:20 GMT"})
	wantClock(t, clock(t, x.trace(), "host.example"), "http-date", 1, -200, 1000)
	x = newExchanges()
	x.date("10.0.0.2:80", 0, 100, 0)
	x.date("10.0.0.3:80", 0, 100, 60)
	tr := x.trace()
	wantClock(t, clock(t, tr, "10.0.0.2"), "http-date", 1, -100, 1000)
	wantClock(t, clock(t, tr, "10.0.0.3"), "http-date", 1, 59_900, 61_000)
	for _, bad := range []string{"", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		x = newExchanges()
		f := x.flow("10.0.0.2:80")
		x.http(0, f, &http.Message{Request: true, Method: "GET", Target: "/"})
		x.http(1, f, &http.Message{Status: 200, Date: bad})
		if c := x.trace().Clocks; len(c) != 0 {
			t.Errorf("Date %q: %+v", bad, c)
		}
	}
}

// A server whose clock gains 100 ppm over three hours: a second, so that no
// constant offset fits; a clock that was set fits no drift either.
func TestServerClockDrift(t *testing.T) {
	run := func(offset func(s float64) float64) (sessions.Clock, *sessions.Trace) {
		x := newExchanges()
		for i := range 1200 {
			asked := float64(i)*9.37 + 0.001*float64(i%7)
			answered := asked + 0.02
			x.date("10.0.0.2:80", asked*1e3, answered*1e3, int64(math.Floor(asked+0.01+offset(asked))))
		}
		tr := x.trace()
		return clock(t, tr, "host.example"), tr
	}
	span := 1199 * 9.37
	c, tr := run(func(s float64) float64 { return 0.3 + 100e-6*s })
	if !c.DriftPPM.Known || math.Abs(c.DriftPPM.V-100) > 6 {
		t.Errorf("drift %v, want 100 ppm", c.DriftPPM)
	}
	if lo, hi := 300.0, 300+100e-3*span; c.OffsetLowMS.V > lo || c.OffsetHighMS.V < hi || c.OffsetLowMS.V < lo-60 || c.OffsetHighMS.V > hi+60 {
		t.Errorf("offset [%v, %v], want about [%v, %v]", c.OffsetLowMS.V, c.OffsetHighMS.V, lo, hi)
	}
	if len(tr.Oddities) != 0 {
		t.Errorf("%+v", tr.Oddities)
	}
	c, tr = run(func(s float64) float64 {
		if s > 4000 && s < 8000 {
			return 3
		}
		return 0
	})
	if c.DriftPPM.Known || c.OffsetLowMS.V > 0 || c.OffsetHighMS.V < 3000 {
		t.Errorf("a clock that was set by 3 s and back: [%v, %v], drift %v", c.OffsetLowMS.V, c.OffsetHighMS.V, c.DriftPPM)
	}
	if len(tr.Oddities) != 1 || tr.Oddities[0].Subject != "host.example" || !strings.Contains(tr.Oddities[0].Text, "no steady drift") {
		t.Errorf("%+v", tr.Oddities)
	}
}

// A sender's reports bound its clock from below by any delay, and from above
// where one answers the other side's.
func TestClockBySenderReport(t *testing.T) {
	ntp := func(ms float64) uint64 { // era 0, RFC 5905, 6
		s := float64(start)/1e9 + 2208988800
		return uint64(s)<<32 + uint64(ms/1e3*(1<<32))
	}
	x := newExchanges()
	f := &decode.Flow{ID: 1, Proto: 17, Src: netip.MustParseAddrPort("10.0.0.1:4001"), Dst: netip.MustParseAddrPort("10.0.0.2:4001"), First: at(0), Last: at(0)}
	x.list = append(x.list, f)
	send := func(ms float64, dir uint8, sr rtcp.SR) {
		x.b.Add(&decode.Event{Kind: decode.EventRTCP, Time: decode.Time(start + int64(ms*1e6)), Flow: f, Dir: dir, RTCP: &rtcp.Compound{SRs: []rtcp.SR{sr}}})
	}
	// 10.0.0.1 is 250 ms ahead and 10 ms away; 10.0.0.2 has no idea of the time of day
	send(100, 1, rtcp.SR{SSRC: 2, NTP: 5 << 32})
	send(140, 0, rtcp.SR{SSRC: 1, NTP: ntp(250 + 130), Reports: []rtcp.ReportBlock{{SSRC: 2, LSR: 5 << 16, DLSR: 65536 * 20 / 1000}}})
	send(900, 0, rtcp.SR{SSRC: 1, NTP: ntp(250 + 895)})
	tr := x.trace()
	if len(tr.Clocks) != 1 {
		t.Fatalf("%+v", tr.Clocks)
	}
	c := tr.Clocks[0]
	// at least 1145 - 900 = 245 ms; at most 380 - 140 = 240 ms and the round trip,
	// 140 - 100 - 20 = 20 ms, and 5 ms of slack
	if c.Host != "10.0.0.1" || c.By != "rtcp-sr" || c.Samples != 2 || math.Abs(c.OffsetLowMS.V-245) > 0.001 || math.Abs(c.OffsetHighMS.V-265) > 0.04 {
		t.Errorf("%+v, want [245, 265]", c)
	}
}

// Waits over two clocks: the provider's is 5 s ahead, as its POST answers show.
func TestWaitOverClocks(t *testing.T) {
	const ca = "CA0000000000000000000000000000000"
	x := newExchanges()
	x.post(500, 520, 201, ca+"1", "+15552000001", 5)  // created between 5.500 and 5.520 by its clock, if 5 s ahead
	x.post(980, 1000, 201, ca+"2", "+15552000002", 5) // cut to 5
	x.post(1000, 1020, 201, ca+"3", "+15552000003", 6)
	x.post(1100, 1101, 429, "", "", 0)
	x.b.Add(&decode.Event{Kind: decode.EventResource, Pos: decode.Pos{File: 1}, Resource: &twilio.Resource{Kind: twilio.Call, SID: ca + "1", Direction: "outbound-api",
		To: "+15552000001", Created: start + 5e9, Started: start + 15e9, Updated: start + 30e9, ResolutionNS: 1e9}})
	x.b.Add(&decode.Event{Kind: decode.EventResource, Pos: decode.Pos{File: 1}, Resource: &twilio.Resource{Kind: twilio.Call, SID: ca + "4", Direction: "outbound-api",
		To: "+15552000004", Created: start + 20e9, Started: start + 22e9, ResolutionNS: 1e9}})
	tr := x.trace()
	// [5000-520, 6000-500], [4000, 5020], [4980, 6000]: together [4980, 5020]
	wantClock(t, clock(t, tr, "api.twilio.com"), "resource", 3, 4980, 5020)
	for _, a := range tr.Arrivals {
		var wait, half float64
		switch a.CallSID {
		case ca + "1": // 15.5 s less 5 s of offset, less 0.520 s
			wait, half = 9.98, 0.5+0.02+0.02
		case ca + "4": // one clock
			wait, half = 2, 1
		default:
			if a.WaitS.Known {
				t.Errorf("%s has not arrived and waited %v s", a.CallSID, a.WaitS.V)
			}
			continue
		}
		if !a.WaitS.Known || math.Abs(a.WaitS.V-wait) > 1e-9 || math.Abs(a.WaitErrorS.V-half) > 1e-9 {
			t.Errorf("%s: wait %v within %v, want %v within %v", a.CallSID, a.WaitS, a.WaitErrorS, wait, half)
		}
	}
	if len(tr.Posts) != 4 {
		t.Fatalf("%d POSTs, want 4", len(tr.Posts))
	}
	if p := tr.Posts[0]; p.Kind != "calls" || p.Account != "AC1" || p.From != "+15005550006" || p.SID != ca+"1" || p.Answered-p.Asked != 20e6 || p.Status != 201 {
		t.Errorf("%+v", p)
	}
	if p := tr.Posts[3]; p.Status != 429 || p.SID != "" || p.Kind != "calls" {
		t.Errorf("%+v", p)
	}
}

// Without an offset the two clocks are not mixed.
func TestNoWaitWithoutOffset(t *testing.T) {
	const ca = "CA00000000000000000000000000000001"
	x := newExchanges()
	x.b.Add(&decode.Event{Kind: decode.EventResource, Pos: decode.Pos{File: 1}, Resource: &twilio.Resource{Kind: twilio.Call, SID: ca, Direction: "outbound-api",
		To: "client:a", Created: start + 5e9, Started: start + 7e9, ResolutionNS: 1e9}})
	x.b.Add(&decode.Event{Kind: decode.EventQueued, Pos: decode.Pos{File: 2}, Queued: &twilio.Queued{At: start + 3e9, Kind: twilio.Call, To: "client:a", SID: ca}})
	tr := x.trace()
	if a := tr.Arrivals; len(a) != 1 || a[0].QueuedBy != "queue-log" || a[0].ArrivedBy != "resource" || a[0].WaitS.Known || a[0].WaitErrorS.Known {
		t.Errorf("%+v", a)
	}
	// A POST of another call, in the log 40 ms after its answer by a client
	// clock that is 2 s ahead, and a provider's that agrees with the capture.
	x = newExchanges()
	const other = "CA00000000000000000000000000000002"
	x.post(0, 100, 201, other, "client:b", 0)
	x.b.Add(&decode.Event{Kind: decode.EventResource, Pos: decode.Pos{File: 1}, Resource: &twilio.Resource{Kind: twilio.Call, SID: ca, Direction: "outbound-api",
		To: "client:a", Created: start + 5e9, Started: start + 7e9, ResolutionNS: 1e9}})
	x.b.Add(&decode.Event{Kind: decode.EventQueued, Pos: decode.Pos{File: 2}, Queued: &twilio.Queued{At: start + 2140e6, Kind: twilio.Call, To: "client:b", SID: other}})
	x.b.Add(&decode.Event{Kind: decode.EventQueued, Pos: decode.Pos{File: 2}, Queued: &twilio.Queued{At: start + 5e9, Kind: twilio.Call, To: "client:a", SID: ca}})
	for _, a := range x.trace().Arrivals {
		if a.CallSID != ca {
			continue
		}
		// queued at 3.0 s of the capture's clock, left at 7 to 8 s: 4 to 5 s
		if !a.WaitS.Known || a.WaitS.V-a.WaitErrorS.V > 4 || a.WaitS.V+a.WaitErrorS.V < 5 || a.WaitErrorS.V > 2 {
			t.Errorf("wait %v within %v", a.WaitS, a.WaitErrorS)
		}
	}
}

// A POST to a call that is there changes it; it queues nothing.
func TestPostThatChanges(t *testing.T) {
	const ca = "CA00000000000000000000000000000001"
	x := newExchanges()
	f := x.flow("10.0.0.9:443")
	x.http(9000, f, &http.Message{Request: true, Method: "POST", Target: "/2010-04-01/Accounts/AC1/Calls/" + ca + ".json", Host: "api.twilio.com"})
	body := fmt.Sprintf(`{"sid":%q,"account_sid":"AC00000000000000000000000000000001","to":"+15552000001","direction":"outbound-api","status":"completed","date_created":%q}`, ca, time.Unix(start/1e9, 0).UTC().Format(time.RFC1123Z))
	x.http(9010, f, &http.Message{Status: 200, ContentType: "application/json", Body: []byte(body), BodyLen: int64(len(body))})
	tr := x.trace()
	if len(tr.Posts) != 0 || len(tr.Clocks) != 0 || len(tr.Arrivals) != 1 || tr.Arrivals[0].QueuedBy != "resource" {
		t.Errorf("%+v %+v %+v", tr.Posts, tr.Clocks, tr.Arrivals)
	}
}

func TestDialedCreated(t *testing.T) {
	run := func(dialed bool, queueTime int64, known bool) sessions.Arrival {
		x := newExchanges()
		x.b.DialedCreated = dialed
		x.b.Add(&decode.Event{Kind: decode.EventResource, Pos: decode.Pos{File: 1}, Resource: &twilio.Resource{Kind: twilio.Call, SID: "CA00000000000000000000000000000001", Direction: "outbound-api",
			To: "+15552000001", Created: start + 50e9, Started: start + 50e9, QueueTimeMS: queueTime, QueueTimeKnown: known, ResolutionNS: 1e9}})
		return x.trace().Arrivals[0]
	}
	if a := run(false, 40_250, true); a.QueuedAt != at(50_500) {
		t.Errorf("accepted: %v", a.QueuedAt)
	}
	if a := run(true, 40_250, true); a.QueuedAt != at(10_250) || a.QueuedBy != "resource" || math.Abs(a.WaitS.V-40.25) > 1e-9 {
		t.Errorf("dialed: %v, wait %v", a.QueuedAt, a.WaitS)
	}
	if a := run(true, 0, false); a.QueuedAt != 0 || a.QueuedBy != "" || a.WaitS.Known {
		t.Errorf("dialed without queue_time: %+v", a)
	}
}

// 160 single; 153 a segment in a concatenated text, 152 from a toll-free number.
func TestTollFreeSegments(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     int64
	}{
		{"+15005550006", "+15552000001", 2}, {"+18885550006", "+15552000001", 3}, {"+18335550006", "+15552000001", 3},
		{"+18225550006", "+15552000001", 2}, {"+18885550006", "+445552000001", 2}, {"+448885550006", "+15552000001", 2}, {"88855", "+15552000001", 2},
	} {
		doc := fmt.Sprintf(`[{"sid":"SM00000000000000000000000000000001","from":%q,"to":%q,"status":"sent","direction":"outbound-api","body":%q,"date_created":"Fri, 24 May 2019 17:44:50 +0000"}]`, c.from, c.to, strings.Repeat("a", 306))
		tr := analyse(t, map[string][]byte{"m.json": []byte(doc)})
		if tr.Messages.Len() != 1 || tr.Messages.At(0).SegmentsGSM.V != c.want {
			t.Errorf("%s to %s: %+v, want %d segments", c.from, c.to, tr.Messages.Slice(), c.want)
		}
	}
}

// In the recorded runs all hosts have one clock, the capture's.
func TestClocksOfRecordedRuns(t *testing.T) {
	lab := shared(t, "lab")
	var dirs []string
	for _, part := range []string{"s1-paper", "s1-rest", "s1-webrtc", "s2-sip"} {
		d, _ := filepath.Glob(filepath.Join(lab, part, "*"))
		dirs = append(dirs, d...)
	}
	seen := map[string]int{}
	for _, dir := range dirs {
		var files []string
		for _, p := range []string{"capture.pcap*", "keys*.log"} {
			m, _ := filepath.Glob(filepath.Join(dir, p))
			for _, f := range m {
				rel, _ := filepath.Rel(lab, f)
				files = append(files, rel)
			}
		}
		if len(files) == 0 {
			continue
		}
		for _, c := range labTrace(t, files...).Clocks {
			if c.OffsetLowMS.V > 0 || c.OffsetHighMS.Known && c.OffsetHighMS.V < 0 || c.DriftPPM.Known {
				t.Errorf("%s: %s by %s: [%v, %v] ms, drift %v", filepath.Base(dir), c.Host, c.By, c.OffsetLowMS.V, c.OffsetHighMS, c.DriftPPM)
			}
			seen[c.By]++
		}
	}
	if seen["http-date"] < 50 || seen["rtcp-sr"] < 50 {
		t.Errorf("only %v clocks were held against the truth", seen)
	}
}

// The client's own times are around those of the packets, cut to ms; waits
// are held against the provider's own log.
func TestPostsAndWaitsOfRecordedRuns(t *testing.T) {
	lab := shared(t, "lab")
	dirs, _ := filepath.Glob(filepath.Join(lab, "s1-paper", "*"))
	dirs = append(dirs, filepath.Join(lab, "s1-rest", "calls-60-live"))
	byPackets := 0
	for _, dir := range dirs {
		name := filepath.Base(dir)
		var truth struct {
			Calls []struct {
				CallSID    string `json:"callsid"`
				CreatedNS  int64  `json:"created_ns"`
				DequeuedNS int64  `json:"dequeued_ns"`
				StartNS    int64  `json:"start_ns"`
			}
			RestClient []struct {
				SID string
				T0  int64 `json:"t0_ms"`
				T1  int64 `json:"t1_ms"`
			} `json:"rest_client"`
		}
		text, err := os.ReadFile(filepath.Join(dir, "truth.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &truth); err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, p := range []string{"capture.pcapng", "keys*.log", "calls/*.json"} {
			m, _ := filepath.Glob(filepath.Join(dir, p))
			for _, f := range m {
				rel, _ := filepath.Rel(lab, f)
				files = append(files, rel)
			}
		}
		tr := labTrace(t, files...)
		posts := map[string]sessions.Post{}
		var wire, client []float64
		for _, p := range tr.Posts {
			posts[p.SID] = p
			wire = append(wire, float64(p.Answered-p.Asked)/1e6)
		}
		if len(posts) != len(truth.RestClient) || len(tr.Posts) != len(posts) {
			t.Fatalf("%s: %d POSTs of %d SIDs, want %d", name, len(tr.Posts), len(posts), len(truth.RestClient))
		}
		for _, c := range truth.RestClient {
			p := posts[c.SID]
			client = append(client, float64(c.T1-c.T0))
			// the library asks, the wire carries, the library answers; it cuts to ms
			if p.Kind != "calls" || p.Status != 201 || int64(p.Asked) < c.T0*1e6 || int64(p.Answered) > (c.T1+1)*1e6 {
				t.Errorf("%s: POST %+v, the client has %d to %d", name, p, c.T0, c.T1)
			}
		}
		slices.Sort(wire)
		slices.Sort(client)
		// on the wire it takes as long as the client saw, less the library's own
		// work of some ms, and the ms that its clock cuts
		if w, c := wire[len(wire)/2], client[len(client)/2]; w > c+1 || w < c-12 {
			t.Errorf("%s: median of a POST %v ms on the wire, %v by the client", name, w, c)
		}
		arrivals := map[string]sessions.Arrival{}
		for _, a := range tr.Arrivals {
			arrivals[a.CallSID] = a
		}
		for i, c := range truth.Calls {
			a := arrivals[c.CallSID]
			if !a.WaitS.Known {
				t.Errorf("%s: %s has no wait", name, c.CallSID)
				continue
			}
			left := c.DequeuedNS
			if a.ArrivedBy == "resource" {
				left = c.StartNS
			} else {
				byPackets++
			}
			if name == "calls-n20-wan" && i == 0 {
				continue // its invite was lost once before the capture point: see calls-n20-wan/README
			}
			if want := float64(left-c.CreatedNS) / 1e9; math.Abs(a.WaitS.V-want) > a.WaitErrorS.V {
				t.Errorf("%s: %s by %s and %s waited %v within %v, truth %v", name, c.CallSID, a.QueuedBy, a.ArrivedBy, a.WaitS.V, a.WaitErrorS.V, want)
			}
		}
	}
	if byPackets < 10 {
		t.Errorf("only %d arrivals by packets", byPackets)
	}
}

// Requests and responses of any text: no bound is crossed, and what comes out
// is a whole interval.
func FuzzExchange(f *testing.F) {
	f.Add("/2010-04-01/Accounts/AC1/Calls.json", "From=%2B1500&To=x", "Tue, 14 Nov 2023 22:13:20 GMT", `{"sid":"CA00000000000000000000000000000001","date_created":"Tue, 14 Nov 2023 22:13:20 +0000"}`, 201, int64(100))
	f.Add("/2010-04-01/Accounts//SMS/Messages", "From= 1500;&%", "Sunday, 06-Nov-94 08:49:37 GMT", "[", 429, int64(-5))
	f.Fuzz(func(t *testing.T, target, form, date, body string, status int, ms int64) {
		x := newExchanges()
		fl := x.flow("10.0.0.9:443")
		x.http(0, fl, &http.Message{Request: true, Method: "POST", Target: target, Body: []byte(form)})
		x.http(float64(ms%1e9), fl, &http.Message{Status: status, Date: date, Body: []byte(body), BodyLen: int64(len(body))})
		tr := x.trace()
		for _, c := range tr.Clocks {
			if !c.OffsetLowMS.Known || c.OffsetHighMS.Known && c.OffsetLowMS.V > c.OffsetHighMS.V || c.Samples < 1 || c.By == "" {
				t.Errorf("%+v", c)
			}
		}
		for _, p := range tr.Posts {
			if p.Answered == 0 || p.Kind == "" || !utf8.ValidString(p.Account+p.From+p.Service) || len(p.From) > 128 {
				t.Errorf("%+v", p)
			}
		}
	})
}
