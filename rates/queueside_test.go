package rates

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/sessions"
)

// posts are n POSTs, one every gap ms from 1 s on, each answered after took ms.
func posts(n int, gap, took float64, status int) []sessions.Post {
	var out []sessions.Post
	for i := range n {
		asked := sessions.Time(1e9 + int64(float64(i)*gap*1e6))
		out = append(out, sessions.Post{Kind: "calls", Account: "AC1", From: "+1500", Status: status, Asked: asked, Answered: asked + sessions.Time(took*1e6)})
	}
	return out
}

func TestQueueSide(t *testing.T) {
	rtt := posts(20, 100, 95, 201)
	for i := range rtt {
		rtt[i].RTTms = some(90)
	}
	refused := posts(20, 10, 1, 201)
	refused[3].Status, refused[7].Status = 429, 429
	refused[3].Answered += 500e6 // takes no part in the median
	backwards := posts(20, 10, 1, 201)
	for i := range backwards {
		backwards[i].Asked, backwards[i].Answered = backwards[i].Answered, backwards[i].Asked
	}
	for _, c := range []struct {
		name   string
		posts  []sessions.Post
		by     string
		median float64 // -1 unknown
		n429   int64   // -1 unknown
		reason string
	}{
		{"none", nil, "unknown", -1, -1, ""},
		{"client: 10 of 100 ms", posts(20, 100, 10, 201), "client", 10, 0, "client limited"},
		{"server: 95 of 100 ms", posts(20, 100, 95, 201), "server", 95, 0, "server or the network limited"},
		{"network: 95 of 100 ms, a round trip of 90", rtt, "server", 95, 0, "network limited the queue rate, at a round trip of 90 ms"},
		{"between: 70 of 100 ms", posts(20, 100, 70, 201), "unknown", 70, 0, "does not show"},
		{"several at once", posts(20, 100, 150, 201), "unknown", 150, 0, "does not show"},
		{"429", refused, "server", 1, 2, "refused 2 with 429"},
		{"two", posts(2, 100, 10, 201), "unknown", 10, 0, "does not show"},
		{"all refused", posts(5, 100, 10, 429), "server", -1, 5, "refused 5 with 429"},
		{"answered before asked", backwards, "unknown", -1, 0, ""},
		{"of messages", func() []sessions.Post {
			p := posts(20, 100, 10, 201)
			for i := range p {
				p[i].Kind = "messages"
			}
			return p
		}(), "unknown", -1, -1, ""},
	} {
		r := Compute(paper(20, 1), nil, nil, Options{Posts: c.posts})[0]
		if r.QueueLimitedBy != c.by || r.PostP50MS.Known != (c.median >= 0) || r.PostP50MS.Known && math.Abs(r.PostP50MS.V-c.median) > 1e-9 ||
			r.HTTP429.Known != (c.n429 >= 0) || r.HTTP429.Known && r.HTTP429.V != c.n429 || !strings.Contains(r.Reason, c.reason) {
			t.Errorf("%s: limited by %s, median %v, 429 %v, want %s, %v, %v: %s", c.name, r.QueueLimitedBy, r.PostP50MS, r.HTTP429, c.by, c.median, c.n429, r.Reason)
		}
		p := slices.Clone(c.posts)
		slices.Reverse(p)
		if again := Compute(paper(20, 1), nil, nil, Options{Posts: p})[0]; again != r {
			t.Errorf("%s: the order of POSTs matters: %+v, %+v", c.name, r, again)
		}
	}
}

// Several queues: each has its own POSTs, refused ones by the sender they named.
func TestPostsByQueue(t *testing.T) {
	list := []*queue{{kind: "messages", by: "from", name: "+1"}, {kind: "messages", by: "from", name: "+2"}, {kind: "messages", by: "service", name: "MG1"}, {kind: "calls", by: "account", name: ""}}
	in := []sessions.Post{
		{Kind: "messages", From: "+2", Account: "AC1"}, {Kind: "messages", From: "+1", Service: "MG1"}, {Kind: "messages", From: "+9"},
		{Kind: "calls", Account: "AC7"}, {Kind: "messages", From: "+1"}, {},
	}
	got := postsByQueue(list, in)
	want := [][]*sessions.Post{{&in[4]}, {&in[0]}, {&in[1]}, {&in[3]}}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("queue %d: %v, want %v", i, got[i], want[i])
		}
	}
}

func TestLatencyColumns(t *testing.T) {
	as := paper(20, 1)
	for i := range as {
		as[i].CallID = "call-" + as[i].CallSID + string(rune('a'+i))
	}
	var ls []sessions.Latency
	for i, a := range as {
		if a.ArrivedAt != 0 {
			ls = append(ls, sessions.Latency{CallID: a.CallID, MS: 30 + float64(i), By: "captures"})
		}
	}
	if len(ls) != 2 {
		t.Fatalf("%d observed arrivals, want 2", len(ls))
	}
	r := Compute(as, nil, nil, Options{Latencies: ls})[0]
	if r.LatencyP50MS.V != (ls[0].MS+ls[1].MS)/2 || r.LatencyMaxMS.V != max(ls[0].MS, ls[1].MS) || !strings.Contains(r.Reason, "between two captures") {
		t.Errorf("latency %v, %v: %s", r.LatencyP50MS, r.LatencyMaxMS, r.Reason)
	}
	if holds := r.LatencyMaxMS.V < 50; holds == strings.Contains(r.Reason, "does not hold") {
		t.Errorf("%v: %s", r.LatencyMaxMS, r.Reason)
	}
	for i := range ls {
		ls[i].By, ls[i].MS = "handshake", 60
	}
	if r := Compute(as, nil, nil, Options{Latencies: ls})[0]; r.LatencyBy != "handshake" || !strings.Contains(r.Reason, "which may not hold") {
		t.Errorf("a bound over 50 ms is no latency over 50 ms: %s", r.Reason)
	}
	if r := Compute(as, nil, nil, Options{})[0]; r.LatencyBy != "" || r.LatencyP50MS.Known || r.LatencyMaxMS.Known {
		t.Errorf("a latency of nothing: %+v", r)
	}
}

// date_created as the time of dialing: 20 calls accepted at once, dialed one a
// second; taken for the time of acceptance they would have had no queue.
func TestCallCreated(t *testing.T) {
	var cs []sessions.CallResource
	for i := range int64(20) {
		at := sessions.Time((1_700_000_000 + i) * 1e9)
		cs = append(cs, sessions.CallResource{SID: "CA" + string(rune('a'+i)), AccountSID: "AC1", Status: "completed", CreatedAt: at, StartedAt: at, QueueTimeMS: sessions.Int{V: i * 1000, Known: true}})
	}
	r := Compute(nil, cs, nil, Options{CallCreated: "dialed"})[0]
	if r.BusyPct.V < 80 || r.QueuePerS.Known || r.QueueLowPerS.V < 18 || r.BacklogMax.V < 18 || !strings.Contains(r.Reason, "less queue_time") {
		t.Errorf("dialed: busy %v, queue rate from %v, backlog %v: %s", r.BusyPct, r.QueueLowPerS, r.BacklogMax, r.Reason)
	}
	r = Compute(nil, cs, nil, Options{})[0]
	if r.BusyPct.V != 0 || math.Abs(r.QueuePerS.V-1) > 1e-9 || !strings.Contains(r.Reason, "taken for the time of acceptance") {
		t.Errorf("accepted: busy %v, queue rate %v: %s", r.BusyPct, r.QueuePerS, r.Reason)
	}
}
