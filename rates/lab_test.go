package rates

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twtrace/twtrace/sessions"
)

// Recorded and generated runs whose truth is known. The readers here are for
// these tests only; the program's own are in decode/twilio.

func lab(t *testing.T) string {
	for _, up := range []string{"../../shared/lab", "../../../shared/lab"} {
		if _, err := os.Stat(up); err == nil {
			return up
		}
	}
	t.Skip("the recorded runs are not here")
	return ""
}

type labTruth struct {
	PostGapS float64 `json:"post_gap_s"`
	Rate     float64 `json:"rate_segments_per_s_per_number"`
	Messages []struct {
		SID, From, Status string
		Segments          int64
		CreatedNS         int64 `json:"created_ns"`
		SentNS            int64 `json:"sent_ns"`
	}
	Calls []struct {
		CallSID, To string
		CreatedNS   int64 `json:"created_ns"`
		InviteNS    int64 `json:"invite_ns"`
		StartNS     int64 `json:"start_ns"`
	}
	RestClient []struct {
		SID  string
		T1MS float64 `json:"t1_ms"`
	} `json:"rest_client"`
}

func readJSON(t *testing.T, path string, v any) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func rfc2822(s *string) sessions.Time {
	if s == nil || *s == "" {
		return 0
	}
	at, err := time.Parse(time.RFC1123Z, *s)
	if err != nil {
		return 0
	}
	return sessions.Time(at.UnixNano())
}

func labMessages(t *testing.T, dir string) []sessions.Message {
	pages, _ := filepath.Glob(filepath.Join(dir, "messages", "*.json"))
	var out []sessions.Message
	for _, p := range pages {
		type message struct {
			SID, Body, From, To, Status, Direction string
			AccountSID                             string  `json:"account_sid"`
			ServiceSID                             *string `json:"messaging_service_sid"`
			NumSegments                            *string `json:"num_segments"`
			DateCreated                            *string `json:"date_created"`
			DateSent                               *string `json:"date_sent"`
		}
		var page struct{ Messages []message }
		var raw json.RawMessage
		readJSON(t, p, &raw)
		into := any(&page)
		if raw[0] == '[' {
			into = &page.Messages
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Messages {
			r := sessions.Message{SID: m.SID, AccountSID: m.AccountSID, From: m.From, To: m.To, Status: m.Status, Direction: m.Direction,
				QueuedAt: rfc2822(m.DateCreated), SentAt: rfc2822(m.DateSent)}
			r.BodyBytes.V, r.BodyBytes.Known = int64(len(m.Body)), true
			if m.NumSegments != nil && len(*m.NumSegments) == 1 && *m.NumSegments != "0" {
				r.Segments.V, r.Segments.Known = int64((*m.NumSegments)[0]-'0'), true
			}
			if m.ServiceSID != nil {
				r.MessagingServiceSID = *m.ServiceSID
			}
			out = append(out, r)
		}
	}
	return out
}

func labCalls(t *testing.T, dir string) []sessions.CallResource {
	pages, _ := filepath.Glob(filepath.Join(dir, "calls", "*.json"))
	var out []sessions.CallResource
	for _, p := range pages {
		var page struct {
			Calls []struct {
				SID, From, To, Status, Direction string
				AccountSID                       string  `json:"account_sid"`
				DateCreated                      *string `json:"date_created"`
				StartTime                        *string `json:"start_time"`
			}
		}
		readJSON(t, p, &page)
		for _, c := range page.Calls {
			out = append(out, sessions.CallResource{SID: c.SID, AccountSID: c.AccountSID, From: c.From, To: c.To, Status: c.Status, Direction: c.Direction,
				CreatedAt: rfc2822(c.DateCreated), StartedAt: rfc2822(c.StartTime)})
		}
	}
	return out
}

func TestLabMessages(t *testing.T) {
	root := lab(t)
	dirs, _ := filepath.Glob(filepath.Join(root, "s3-messages", "*", "truth.json"))
	more, _ := filepath.Glob(filepath.Join(root, "s5-forms", "gsm7-170-array", "truth.json"))
	checked := 0
	for _, p := range append(dirs, more...) {
		dir := filepath.Dir(p)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			var truth labTruth
			readJSON(t, p, &truth)
			ms := labMessages(t, dir)
			if len(ms) != len(truth.Messages) {
				t.Fatalf("%d messages, want %d", len(ms), len(truth.Messages))
			}
			rows := Compute(nil, nil, table(ms), Options{GuaranteePerS: truth.Rate})
			if len(ms) == 0 {
				if rows != nil {
					t.Fatalf("%d rows of nothing", len(rows))
				}
				return
			}
			if len(rows) != 1 {
				t.Fatalf("%d rows, want 1", len(rows))
			}
			r := rows[0]
			t.Logf("%s: %v [%v, %v], sustained %v [%v, %v], busy %v %%: %s", name, r.ObservedPerS.V, r.ObservedLowPerS.V, r.ObservedHighPerS.V, r.SustainedPerS.V, r.SustainedLowPerS.V, r.SustainedHighPerS.V, r.BusyPct.V, r.Reason)
			var sent []int64
			segs := map[int64]bool{}
			for _, m := range truth.Messages {
				if m.SentNS != 0 && (m.Status == "sent" || m.Status == "delivered") {
					sent = append(sent, m.SentNS)
					segs[m.Segments] = true
				}
			}
			if r.Items != int64(len(sent)) || r.Items+r.NotSent+r.Failed != int64(len(ms)) {
				t.Errorf("items %d not sent %d failed %d of %d, %d sent", r.Items, r.NotSent, r.Failed, len(ms), len(sent))
			}
			if r.Queue != "+15005550006" || r.QueueBy != "from" {
				t.Errorf("queue %q by %q", r.Queue, r.QueueBy)
			}
			if len(sent) < 2 {
				if r.ObservedPerS.Known || r.ObservedLowPerS.Known || r.SustainedPerS.Known || r.Verdict != "undetermined" {
					t.Errorf("a rate of one message: %+v", r)
				}
				return
			}
			slices.Sort(sent)
			span := float64(sent[len(sent)-1]-sent[0]) / 1e9
			want := float64(len(sent)-1) / span
			if truth.PostGapS >= 2 {
				if r.Verdict != "undetermined" || r.SustainedPerS.Known || !r.ObservedPerS.Known || !strings.Contains(r.Reason, "no backlog") {
					t.Errorf("a verdict without a backlog: %+v", r)
				}
			} else {
				if len(segs) == 1 && (r.ObservedLowPerS.V > want || r.ObservedHighPerS.V < want || !r.ObservedHighPerS.Known) {
					t.Errorf("interval [%v, %v] misses %v", r.ObservedLowPerS.V, r.ObservedHighPerS.V, want)
				}
				if name != "rate-10" && (!r.SustainedPerS.Known || r.SustainedLowPerS.V > truth.Rate || r.SustainedHighPerS.V < truth.Rate) {
					t.Errorf("sustained [%v, %v] misses %v: %s", r.SustainedLowPerS.V, r.SustainedHighPerS.V, truth.Rate, r.Reason)
				}
				checked++
			}
			for k := range segs {
				if len(segs) == 1 && math.Abs(r.ExpectedPerS.V-truth.Rate/float64(k)) > 1e-9 {
					t.Errorf("expected %v, want %v/%d", r.ExpectedPerS.V, truth.Rate, k)
				}
			}
			var created []int64
			for _, m := range truth.Messages {
				created = append(created, m.CreatedNS)
			}
			q := float64(len(created)-1) / (float64(slices.Max(created)-slices.Min(created)) / 1e9)
			if r.QueueLowPerS.V > q || r.QueueHighPerS.Known && r.QueueHighPerS.V < q {
				t.Errorf("queue rate [%v, %v] misses %v", r.QueueLowPerS.V, r.QueueHighPerS.V, q)
			}
		})
	}
	if checked < 10 {
		t.Errorf("only %d runs were held against their truth", checked)
	}
}

// labArrivals makes the rows that a capture gives: queue times a millisecond
// or so after the server's, arrivals at the browser within 50 ms.
func labArrivals(truth labTruth) []sessions.Arrival {
	calls := slices.Clone(truth.Calls)
	slices.SortFunc(calls, func(a, b struct {
		CallSID, To string
		CreatedNS   int64 `json:"created_ns"`
		InviteNS    int64 `json:"invite_ns"`
		StartNS     int64 `json:"start_ns"`
	}) int {
		return int(a.CreatedNS - b.CreatedNS)
	})
	var out []sessions.Arrival
	for i, c := range calls {
		a := sessions.Arrival{Seq: int64(i + 1), CallSID: c.CallSID, To: c.To, Endpoint: "phone", QueuedAt: sessions.Time(c.CreatedNS + 2e6), QueuedBy: "http-post", QueuedErrorMS: some(5)}
		if strings.HasPrefix(c.To, "client:") {
			a.Endpoint = "browser"
			a.ArrivedAt, a.ArrivedBy, a.ArrivedErrorMS = sessions.Time(c.InviteNS+1e6), "pstream-invite", some(10)
		}
		out = append(out, a)
	}
	return out
}

func TestLabObservedCalls(t *testing.T) {
	root := lab(t)
	dirs, _ := filepath.Glob(filepath.Join(root, "s1-paper", "*", "truth.json"))
	for _, p := range dirs {
		dir := filepath.Dir(p)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var truth labTruth
			readJSON(t, p, &truth)
			arrivals := labArrivals(truth)
			n := 0
			var ends []int64
			for _, c := range truth.Calls {
				if strings.HasPrefix(c.To, "client:") {
					ends = append(ends, c.InviteNS)
				} else {
					n++
				}
			}
			slices.Sort(ends)
			want := float64(n+1) / (float64(ends[1]-ends[0]) / 1e9)
			rows := Compute(arrivals, labCalls(t, dir), nil, Options{})
			if len(rows) != 1 {
				t.Fatalf("%d rows, want 1", len(rows))
			}
			r := rows[0]
			t.Logf("%v [%v, %v], sustained %v [%v, %v]; verdict %s/%s: %s", r.ObservedPerS.V, r.ObservedLowPerS.V, r.ObservedHighPerS.V, r.SustainedPerS.V, r.SustainedLowPerS.V, r.SustainedHighPerS.V, r.Verdict, r.SustainedVerdict, r.Reason)
			if r.X.V != int64(n) || r.Clock != "capture" || r.Queue != "AC00000000000000000000000000001abc" || r.Items != int64(n+2) {
				t.Errorf("x %d of %d, clock %s, queue %s, items %d", r.X.V, n, r.Clock, r.Queue, r.Items)
			}
			if math.Abs(r.ObservedPerS.V/want-1) > 0.001 || r.ObservedLowPerS.V > want || r.ObservedHighPerS.V < want {
				t.Errorf("observed %v [%v, %v], want %v", r.ObservedPerS.V, r.ObservedLowPerS.V, r.ObservedHighPerS.V, want)
			}
			if r.SustainedPerS.Known && (r.SustainedLowPerS.V > 1 || r.SustainedHighPerS.V < 1) {
				t.Errorf("sustained [%v, %v] misses 1/s", r.SustainedLowPerS.V, r.SustainedHighPerS.V)
			}
			if n == 60 && want < 2 && !r.SustainedPerS.Known {
				t.Errorf("62 resource times and no sustained rate: %s", r.Reason)
			}
			if want > 9 && r.Verdict != "exceeds" {
				t.Errorf("10/s against 1/s: %s", r.Verdict)
			}
			// Without the resources the method is the study's alone.
			r = Compute(arrivals, nil, nil, Options{})[0]
			if r.SustainedPerS.Known || !r.ObservedPerS.Known || r.Queue != "" || r.SustainedVerdict != "undetermined" {
				t.Errorf("two arrivals alone: %+v", r)
			}
		})
	}
}

func TestLabQueueLog(t *testing.T) {
	dir := filepath.Join(lab(t), "s5-forms", "calls-n20-r1-queuelog")
	var truth labTruth
	readJSON(t, filepath.Join(dir, "truth.json"), &truth)
	calls := labCalls(t, dir)
	var arrivals []sessions.Arrival
	for i, l := range truth.RestClient {
		a := sessions.Arrival{Seq: int64(i + 1), CallSID: l.SID, QueuedAt: sessions.Time(l.T1MS * 1e6), QueuedBy: "queue-log", QueuedErrorMS: some(1), ArrivedBy: "resource"}
		for _, c := range calls {
			if c.SID == l.SID {
				a.To, a.ArrivedAt = c.To, c.StartedAt
			}
		}
		arrivals = append(arrivals, a)
	}
	var starts []int64
	for _, c := range truth.Calls {
		starts = append(starts, c.StartNS)
	}
	want := float64(len(starts)-1) / (float64(slices.Max(starts)-slices.Min(starts)) / 1e9)
	for _, withRows := range []bool{true, false} {
		a := arrivals
		if !withRows {
			a = nil // resources alone
		}
		rows := Compute(a, calls, nil, Options{})
		if len(rows) != 1 {
			t.Fatalf("%d rows", len(rows))
		}
		r := rows[0]
		t.Logf("%v [%v, %v] sustained [%v, %v]: %s", r.ObservedPerS.V, r.ObservedLowPerS.V, r.ObservedHighPerS.V, r.SustainedLowPerS.V, r.SustainedHighPerS.V, r.Reason)
		if r.Clock != "provider" || r.X.V != 20 || r.Items != 22 {
			t.Errorf("clock %s, x %d, items %d", r.Clock, r.X.V, r.Items)
		}
		if r.ObservedLowPerS.V > want || r.ObservedHighPerS.V < want || !r.SustainedPerS.Known || r.SustainedLowPerS.V > 1 || r.SustainedHighPerS.V < 1 {
			t.Errorf("[%v, %v], sustained [%v, %v], want %v", r.ObservedLowPerS.V, r.ObservedHighPerS.V, r.SustainedLowPerS.V, r.SustainedHighPerS.V, want)
		}
	}
}
