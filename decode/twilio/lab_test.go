package twilio

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

const shared = "../../../shared/"

func globShared(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(shared + pattern)
	if err != nil || len(files) == 0 {
		t.Skip("the recorded files are not there")
	}
	return files
}

func decodeFile(t *testing.T, path string) ([]Resource, Stats, error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return decodeAll(t, string(text))
}

func second(ns int64) int64 { return ns / 1e9 * 1e9 }

// Every message run of the lab, in every form, against the truth of the
// virtual clock that made it.
func TestLabMessages(t *testing.T) {
	forms := map[string]string{
		"gsm7-170-array": "array", "gsm7-170-bulkexport": "ndjson", "gsm7-170-cli-json": "cli json",
		"gsm7-170-console-csv": "console csv", "gsm7-170-ndjson": "ndjson", "gsm7-170-xml": "xml",
	}
	for _, path := range append(globShared(t, "lab/s3-messages/*/truth.json"), globShared(t, "lab/s5-forms/gsm7-*/truth.json")...) {
		dir := filepath.Dir(path)
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			var truth struct {
				N        int
				Pages    int
				NullSent []int `json:"null_date_sent"`
				Messages []struct {
					I                           int
					SID, From, Encoding, Status string
					Segments, Units             int64
					Created                     int64 `json:"created_ns"`
					Sent                        int64 `json:"sent_ns"`
				}
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &truth); err != nil {
				t.Fatal(err)
			}
			want, form := "list page", forms[name]
			if form != "" {
				want = form
			}
			bySID := map[string]Resource{}
			files := globShared(t, strings.TrimPrefix(dir, shared)+"/messages/*")
			pages := 0
			for _, f := range files {
				rs, st, err := decodeFile(t, f)
				if err != nil || st.Form != want || st.Used != st.Records || st.Fields != nil {
					t.Fatalf("%s: %+v, %v", f, st, err)
				}
				pages += st.Pages
				for _, r := range rs {
					bySID[r.SID] = r
				}
			}
			if len(bySID) != truth.N || form == "" && pages != len(files) {
				t.Fatalf("%d messages on %d pages, truth %d", len(bySID), pages, truth.N)
			}
			for _, m := range truth.Messages {
				r := bySID[m.SID]
				sent := second(m.Sent)
				if slices.Contains(truth.NullSent, m.I) {
					sent = 0
				}
				created := second(m.Created)
				if form == "console csv" { // it has no such column
					created = 0
				}
				if r.Kind != Message || r.From != m.From || r.Status != m.Status || r.Sent != sent || r.Created != created || r.ResolutionNS != 1e9 {
					t.Errorf("%+v, truth %+v", r, m)
				}
				b := r.Body
				if r.Segments != m.Segments || b.SegmentsGSM != m.Segments || b.UCS2 != (m.Encoding == "UCS-2") {
					t.Errorf("%d: segments %d, counted %+v, truth %+v", m.I, r.Segments, b, m)
				}
				if !b.UCS2 && b.Chars != m.Units { // no extension characters in the lab's texts
					t.Errorf("%d: %+v, truth %+v", m.I, b, m)
				}
			}
		})
	}
}

func TestLabCalls(t *testing.T) {
	dir := filepath.Dir(globShared(t, "lab/s5-forms/calls-n20-r1-queuelog/truth.json")[0])
	text, err := os.ReadFile(dir + "/truth.json")
	if err != nil {
		t.Fatal(err)
	}
	var truth struct {
		Calls []struct {
			CallSID, Direction, From, To, Status string
			Created                              int64 `json:"created_ns"`
			Start                                int64 `json:"start_ns"`
			End                                  int64 `json:"end_ns"`
			Dequeued                             int64 `json:"dequeued_ns"`
		}
		Client []struct {
			SID string
			T1  int64 `json:"t1_ms"`
		} `json:"rest_client"`
	}
	if err := json.Unmarshal(text, &truth); err != nil {
		t.Fatal(err)
	}
	rs, st, err := decodeFile(t, dir+"/calls/page-000.json")
	if err != nil || len(rs) != len(truth.Calls) || len(rs) != 22 {
		t.Fatalf("%+v %v", st, err)
	}
	for _, c := range truth.Calls {
		i := slices.IndexFunc(rs, func(r Resource) bool { return r.SID == c.CallSID })
		r := rs[max(i, 0)]
		if i < 0 || r.Kind != Call || r.Direction != c.Direction || r.From != c.From || r.To != c.To || r.Status != c.Status ||
			r.Created != second(c.Created) || r.Started != second(c.Start) || r.Ended != second(c.End) || !r.DurationKnown || !r.QueueTimeKnown {
			t.Errorf("%+v, truth %+v", r, c)
		}
		// The mock writes the wait in whole ms.
		if wait := (c.Dequeued - c.Created) / 1e6; r.QueueTimeMS < wait-1 || r.QueueTimeMS > wait+1 {
			t.Errorf("queue_time %d ms, truth %d ms", r.QueueTimeMS, wait)
		}
	}

	f, err := os.Open(dir + "/queue.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	qs, err := DecodeQueueLog(f, func(q *Queued) error {
		c := truth.Client[n]
		if q.SID != c.SID || q.At != c.T1*1e6 || q.Kind != Call || q.Status != "queued" || q.Record != int64(n+1) {
			t.Errorf("%+v, truth %+v", q, c)
		}
		n++
		return nil
	})
	if err != nil || n != 22 || qs.Used != 22 || qs.Records != 22 {
		t.Errorf("%+v, %v", qs, err)
	}
}

// What must come out of the collected samples, by reading them.
func TestSamples(t *testing.T) {
	globShared(t, "samples/rest-*/*")
	type want struct {
		form    string
		n       int
		refused string // the only reason
		pages   int
		damage  int64 // byte; 0 none
		check   func(rs []Resource) bool
	}
	created := func(i int, ts string) func([]Resource) bool {
		return func(rs []Resource) bool { return rs[i].Created == at(ts) }
	}
	one := want{form: "object", n: 1}
	for name, w := range map[string]want{
		"cli/calls-list.columns.txt": {"cli columns", 2, "", 0, 0, func(rs []Resource) bool {
			return rs[1].Started == at("2019-10-18T16:02:00Z") && rs[1].From == "+13051416798" && rs[1].Kind == Call
		}},
		"cli/calls-list.json": {"cli json", 2, "", 0, 0, func(rs []Resource) bool {
			return rs[0].QueueTimeMS == 1000 && rs[0].DurationS == 4 && rs[0].Started == at("2019-10-18T17:02:00Z")
		}},
		"cli/calls-list.tsv": {"cli tsv", 2, "", 0, 0, func(rs []Resource) bool { return rs[0].Started == at("2019-10-18T17:02:00Z") }},
		"cli/messages-list-props.tsv": {"cli tsv", 2, "", 0, 0, func(rs []Resource) bool {
			return rs[1].ErrorCode == 30004 && rs[1].Sent == 0 && rs[1].Created == at("2019-05-24T17:44:46Z") && rs[1].Body.Chars == 22
		}},
		"cli/messages-list.columns.txt":        {"cli columns", 2, "", 0, 0, func(rs []Resource) bool { return rs[0].Sent == at("2019-05-24T17:44:50Z") && rs[1].Sent == 0 }},
		"cli/messages-list.json":               {"cli json", 2, "", 0, 0, func(rs []Resource) bool { return rs[1].ErrorMessage == "Message blocked" && rs[1].NumMedia == 3 }},
		"cli/messages-list.tsv":                {"cli tsv", 2, "", 0, 0, func(rs []Resource) bool { return rs[1].Direction == "inbound" }},
		"cli/node-helper-calls-tojson.json":    {"cli json", 2, "", 0, 0, created(0, "2019-10-18T17:00:00Z")},
		"cli/node-helper-messages-tojson.json": {"cli json", 2, "", 0, 0, created(0, "2019-05-24T17:44:46Z")},
		"cli/node-util-inspect.txt":            {"object", 0, "cut by damage", 0, 4, nil},
		"rest-call/oai-cancel.json":            one,
		"rest-call/oai-create.json":            one,
		"rest-call/oai-fetch.json":             {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].QueueTimeMS == 1000 && rs[0].AnsweredBy == "machine_start" }},
		"rest-call/py36-call-instance.json":    {"object", 1, "", 0, 0, created(0, "2010-08-31T20:36:28Z")},
		"rest-call/snip-2010-completed.json":   {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Started == at("2010-08-10T08:02:31Z") && rs[0].DurationS == 16 }},
		"rest-call/snip-2010-queued.json":      {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Started == 0 && rs[0].Status == "queued" }},
		"rest-call/snip-client-queued.json":    {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].To == "client:charlie" }},
		"rest-error/snip-21215.json":           {"object", 0, "error response", 0, 0, nil},
		"rest-error/snip-21614.json":           {"object", 0, "error response", 0, 0, nil},
		"rest-list/java7-sms-messages-2014-page.json": {"list page", 1, "", 1, 0, func(rs []Resource) bool {
			return rs[0].Status == "failed" && rs[0].Sent == at("2014-11-21T02:50:41Z")
		}},
		"rest-list/node300-messages-page.json": {"list page", 1, "", 1, 0, func(rs []Resource) bool {
			return rs[0].Body == Body{Known: true, Chars: 18, Bytes: 22, UCS2: true, SegmentsGSM: 1, Offender: '💩'}
		}},
		"rest-list/node384-calls-page.json":          {"list page", 2, "", 1, 0, nil},
		"rest-list/node384-messages-page.json":       {"list page", 2, "", 1, 0, nil},
		"rest-list/oai-calls-page1.json":             {"list page", 2, "", 1, 0, nil},
		"rest-list/oai-calls-page2.json":             {"list page", 2, "", 1, 0, nil},
		"rest-list/oai-conference-participants.json": {"list page", 0, "not a resource", 1, 0, nil},
		"rest-list/oai-messages-empty.json":          {"list page", 0, "", 1, 0, nil},
		"rest-list/oai-messages-page.json":           {"list page", 2, "", 1, 0, nil},
		"rest-list/oai-notifications.json":           {"list page", 0, "resource of another kind (NO)", 1, 0, nil},
		"rest-list/oai-queue-members.json":           {"list page", 0, "not a resource", 1, 0, nil},
		"rest-list/py36-calls-page.json":             {"list page", 50, "", 1, 0, func(rs []Resource) bool { return rs[0].Created == at("2011-02-15T04:21:00Z") && rs[49].DurationS == 15 }},
		"rest-list/py36-queue-members.json":          {"list page", 0, "not a resource", 1, 0, nil},
		"rest-list/py36-queues.json":                 {"list page", 0, "resource of another kind (QU)", 1, 0, nil},
		"rest-list/py36-sms-messages-page0of2.json": {"list page", 50, "", 1, 0, func(rs []Resource) bool {
			n := map[string]int{}
			for _, r := range rs {
				n[r.Status+" "+r.Direction]++
			}
			return rs[0].Sent == at("2011-02-12T02:22:27Z") && rs[49].SID == "SMe8598826ed59a5733d2c1c1c69a83a28" &&
				n["sent outbound-api"] == 20 && n["sent outbound-reply"] == 11 && n["sent inbound"] == 8 && n["sending inbound"] == 6 && n["failed outbound-api"] == 4 && n["sent outbound-call"] == 1
		}},
		"rest-list/snip-calls-2012-elided.json":                {"list page", 1, "", 1, 1768, func(rs []Resource) bool { return rs[0].Started == at("2012-06-12T03:26:15Z") }},
		"rest-list/snip-messages-elided.json":                  {"list page", 1, "", 1, 121, func(rs []Resource) bool { return rs[0].Sent == at("2010-08-16T03:45:03Z") }},
		"rest-message/java7-failed-30008.json":                 {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].ErrorCode == 30008 && rs[0].Sent == at("2014-11-19T20:50:33Z") }},
		"rest-message/node300-unicode.json":                    {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Body.UCS2 && rs[0].Body.Chars == 18 }},
		"rest-message/node384-canceled.json":                   {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Status == "canceled" }},
		"rest-message/node384-errorcode.json":                  {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].ErrorCode != 0 }},
		"rest-message/node384-scheduled.json":                  {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Status == "scheduled" }},
		"rest-message/oai-cancelMessage.json":                  {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Status == "canceled" }},
		"rest-message/oai-create.json":                         one,
		"rest-message/oai-createScheduledMessageMms.json":      one,
		"rest-message/oai-createScheduledMessageSms.json":      {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].From == "" && rs[0].Segments == 0 }},
		"rest-message/oai-createScheduledMessageWhatsapp.json": {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].To == "whatsapp:+15558675310" }},
		"rest-message/oai-createWithMessagingService.json":     one,
		"rest-message/oai-createWithQueuedStatus.json":         one,
		"rest-message/oai-createWoService.json":                one,
		"rest-message/oai-fetch.json":                          {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].ErrorCode == 30007 && rs[0].ErrorMessage == "Carrier violation" }},
		"rest-message/oai-redactBody.json":                     {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Body == Body{Known: true} && rs[0].Segments == 1 }},
		"rest-message/py36-sms-instance.json":                  one,
		"rest-message/segment-boundaries.json":                 {"object", 0, "not a resource", 0, 0, nil},
		"rest-message/snip-2010-queued.json":                   {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Sent == 0 && rs[0].AccountSID == "AC"+strings.Repeat("X", 32) }},
		"rest-message/snip-2010-sent.json":                     {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Sent-rs[0].Created == 2e9 }},
		"rest-message/snip-2012-legacy-sms-queued.json":        {"object", 1, "", 0, 0, created(0, "2012-10-10T17:57:42Z")},
		"rest-message/snip-copilot-accepted.json":              {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].Status == "accepted" && rs[0].Segments == 0 && rs[0].From == "" }},
		"rest-message/snip-mms-queued.json":                    {"object", 1, "", 0, 0, func(rs []Resource) bool { return rs[0].NumMedia == 1 }},
		"rest-message/snip-queued-trailing-comma.json":         {"object", 1, "", 0, 662, func(rs []Resource) bool { return rs[0].Status == "queued" }},
		"xml/java361-404onUsageTrigger.xml":                    {"object", 0, "error response", 0, 0, nil},
		"xml/java361-createusagetriggerresponse.xml":           {"xml", 0, "resource of another kind (UT)", 0, 0, nil},
		"xml/java361-getmediaresponse.xml":                     {"xml", 0, "resource of another kind (ME)", 0, 0, nil},
		"xml/java361-recordtestanswer.xml":                     {"xml", 0, "not a resource", 1, 0, nil},
		"xml/java361-usagetriggertestanswer.xml":               {"xml", 0, "resource of another kind (UT)", 1, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			rs, st, err := decodeFile(t, shared+"samples/"+name)
			var e *wire.Error
			if errors.As(err, &e) != (w.damage > 0) || e != nil && e.Off != w.damage {
				t.Fatalf("%v, want damage at byte %d", err, w.damage)
			}
			if st.Form != w.form || len(rs) != w.n || st.Pages != w.pages || st.Fields != nil {
				t.Fatalf("%+v", st)
			}
			if w.refused == "" && st.Refused != nil || w.refused != "" && (len(st.Refused) != 1 || st.Refused[0].Reason != w.refused) {
				t.Errorf("refused %+v, want %q", st.Refused, w.refused)
			}
			if w.check != nil && !w.check(rs) {
				t.Errorf("%+v", rs)
			}
		})
	}
}
