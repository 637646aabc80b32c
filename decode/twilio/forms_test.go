package twilio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twtrace/twtrace/internal/wire"
)

func at(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UnixNano()
}

func decodeAll(t testing.TB, text string) ([]Resource, Stats, error) {
	t.Helper()
	var out []Resource
	st, err := Decode(strings.NewReader(text), func(r *Resource) error {
		out = append(out, *r)
		return nil
	})
	checkStats(t, st, len(text))
	return out, st, err
}

// checkStats asserts what must hold of any input.
func checkStats(t testing.TB, st Stats, size int) {
	t.Helper()
	sum := st.Used
	for _, r := range st.Refused {
		sum += r.Count
		if r.Bytes > int64(size) {
			t.Errorf("refused %q: %d bytes of %d", r.Reason, r.Bytes, size)
		}
	}
	if sum != st.Records {
		t.Errorf("records %d, used and refused %d", st.Records, sum)
	}
	if st.PassedOver > int64(size) || st.PassedOver < 0 {
		t.Errorf("passed over %d bytes of %d", st.PassedOver, size)
	}
	if st.Bytes != int64(size) {
		t.Errorf("%d bytes read of %d", st.Bytes, size)
	}
}

const (
	sidA = "SM0123456789abcdef0123456789abcdef"
	sidB = "MM00112233445566778899aabbccddeeff"
	sidC = "CAfedcba9876543210fedcba9876543210"
	acct = "AC11111111111111111111111111111111"
)

var wantMessage = Resource{
	Kind: Message, SID: sidA, AccountSID: acct, MessagingServiceSID: "MG22222222222222222222222222222222",
	Status: "undelivered", Direction: "outbound-api", From: "+15005550006", To: "+15005550001",
	Created: at("2024-02-29T23:59:58Z"), Updated: at("2024-03-01T00:00:07Z"), Sent: at("2024-03-01T00:00:01Z"),
	ResolutionNS: 1e9, Segments: 2, NumMedia: 1, ErrorCode: 30007, ErrorMessage: "Carrier violation",
	Body:   Body{Known: true, Chars: 4, Bytes: 5, SegmentsGSM: 1},
	Record: 1,
}

var wantCall = Resource{
	Kind: Call, SID: sidC, AccountSID: acct, ParentCallSID: "CA33333333333333333333333333333333",
	Status: "no-answer", Direction: "outbound-dial", From: "client:bob", To: "+15005550002", AnsweredBy: "human",
	PhoneNumberSID: "PN44444444444444444444444444444444",
	Created:        at("2024-02-29T23:59:58Z"), Updated: at("2024-03-01T00:00:07Z"),
	Started: at("2024-03-01T00:00:01Z"), Ended: at("2024-03-01T00:00:06Z"),
	ResolutionNS: 1e9, DurationS: 5, DurationKnown: true, QueueTimeMS: 1250, QueueTimeKnown: true, Record: 1,
}

const (
	messageREST = `{"body": "Grü\u00df", "num_segments": "2", "direction": "outbound-api", "from": "+15005550006", "date_updated": "Fri, 01 Mar 2024 00:00:07 +0000",
 "price": null, "error_message": "Carrier violation", "uri": "\/2010-04-01\/x.json", "account_sid": "` + acct + `", "num_media": "1", "to": "+15005550001",
 "date_created": "Thu, 29 Feb 2024 23:59:58 +0000", "status": "undelivered", "sid": "` + sidA + `", "date_sent": "Fri, 01 Mar 2024 00:00:01 +0000",
 "messaging_service_sid": "MG22222222222222222222222222222222", "error_code": 30007, "api_version": "2010-04-01", "tags": [{"a": [1, {"sid": 2}]}], "subresource_uris": {"media": "m"}}`
	messageCamel = `{"body": "Grüß", "numSegments": 2, "direction": "outbound-api", "from": "+15005550006", "to": "+15005550001", "dateUpdated": "2024-03-01T00:00:07.000Z",
 "price": null, "errorMessage": "Carrier violation", "accountSid": "` + acct + `", "numMedia": "1", "status": "undelivered", "messagingServiceSid": "MG22222222222222222222222222222222",
 "sid": "` + sidA + `", "dateSent": "2024-03-01T00:00:01.000Z", "dateCreated": "2024-02-29T23:59:58.000Z", "errorCode": 30007, "subresourceUris": {}}`
	callREST = `{"sid": "` + sidC + `", "date_created": "Thu, 29 Feb 2024 23:59:58 +0000", "date_updated": "Fri, 01 Mar 2024 00:00:07 +0000", "parent_call_sid": "CA33333333333333333333333333333333",
 "account_sid": "` + acct + `", "to": "+15005550002", "to_formatted": "x", "from": "client:bob", "phone_number_sid": "PN44444444444444444444444444444444", "status": "no-answer",
 "start_time": "Fri, 01 Mar 2024 00:00:01 +0000", "end_time": "Fri, 01 Mar 2024 00:00:06 +0000", "duration": "5", "price": "-0.2", "direction": "outbound-dial", "answered_by": "human",
 "annotation": null, "queue_time": "1250", "subresource_uris": {"a": "b"}}`
	messageXML = `<Message><Sid>` + sidA + `</Sid><DateCreated>Thu, 29 Feb 2024 23:59:58 +0000</DateCreated><DateUpdated>Fri, 01 Mar 2024 00:00:07 +0000</DateUpdated>
 <DateSent>Fri, 01 Mar 2024 00:00:01 +0000</DateSent><AccountSid>` + acct + `
 </AccountSid><To>+15005550001</To><From>+15005550006</From><MessagingServiceSid>MG22222222222222222222222222222222</MessagingServiceSid><Body>Gr&#252;ß</Body><Status>undelivered</Status><NumSegments>2</NumSegments>
 <NumMedia>1</NumMedia><Direction>outbound-api</Direction><Price/><ErrorCode>30007</ErrorCode><ErrorMessage>Carrier violation</ErrorMessage><SubresourceUris><Body>not this</Body></SubresourceUris></Message>`
	callXML = `<Call><Sid>` + sidC + `</Sid><DateCreated>Thu, 29 Feb 2024 23:59:58 +0000</DateCreated><DateUpdated>Fri, 01 Mar 2024 00:00:07 +0000</DateUpdated><ParentCallSid>CA33333333333333333333333333333333</ParentCallSid>
 <AccountSid>` + acct + `</AccountSid><To>+15005550002</To><From>client:bob</From><PhoneNumberSid>PN44444444444444444444444444444444</PhoneNumberSid><Status>no-answer</Status><StartTime>Fri, 01 Mar 2024 00:00:01 +0000</StartTime>
 <EndTime>Fri, 01 Mar 2024 00:00:06 +0000</EndTime><Duration>5</Duration><Direction>outbound-dial</Direction><AnsweredBy>human</AnsweredBy><QueueTime>1250</QueueTime><Annotation/></Call>`
)

func TestDecodeForms(t *testing.T) {
	oldPage := func(key, item string) string {
		return `{"page":0,"num_pages":1,"page_size":50,"total":1,"start":0,"end":0,"uri":"\/x","first_page_uri":"\/x","previous_page_uri":null,"next_page_uri":null,"last_page_uri":"\/x","` + key + `":[` + item + `]}`
	}
	for _, c := range []struct {
		name, text, form string
		want             []Resource
		pages            int
	}{
		{"object", messageREST, "object", []Resource{wantMessage}, 0},
		{"object call", "\xef\xbb\xbf\r\n " + callREST, "object", []Resource{wantCall}, 0},
		{"array", "[" + messageREST + ",\n" + callREST + "]", "array", []Resource{wantMessage, wantCall}, 0},
		{"2010 page", oldPage("sms_messages", messageREST), "list page", []Resource{wantMessage}, 1},
		{"2014 page", `{"num_pages":1,"total":1,"next_page_uri":"/x?PageToken=PASM1","messages":[` + messageREST + `]}`, "list page", []Resource{wantMessage}, 1},
		{"today's page", `{"first_page_uri":"/x","end":0,"previous_page_uri":null,"calls":[` + callREST + `],"page":0,"page_size":50,"start":0,"next_page_uri":""}`, "list page", []Resource{wantCall}, 1},
		{"v1 page", `{"meta":{"page":0,"page_size":50,"key":"items","url":"u"},"items":[` + callREST + `]}`, "list page", []Resource{wantCall}, 1},
		{"pages in one file", oldPage("messages", messageREST) + "\n" + oldPage("calls", callREST), "list page", []Resource{wantMessage, wantCall}, 2},
		{"array of pages", "[" + oldPage("messages", messageREST) + "," + oldPage("calls", callREST) + "]", "list page", []Resource{wantMessage, wantCall}, 2},
		{"ndjson", oneLine(messageREST) + "\r\n\r\n" + oneLine(callREST) + "\n", "ndjson", []Resource{wantMessage, wantCall}, 0},
		{"cli json", "[\n  " + messageCamel + "\n]\n", "cli json", []Resource{wantMessage}, 0},
		{"wrapped", `{"response":{"body":` + messageREST + `}}`, "object", []Resource{wantMessage}, 0},
		{"xml list", `<?xml version="1.0" encoding="UTF-8"?>` + "\n<TwilioResponse><Messages page=\"0\" numpages=\"1\" pagesize=\"50\" nextpageuri=\"\">\n" + messageXML + "</Messages></TwilioResponse>\n", "xml", []Resource{wantMessage}, 1},
		{"xml legacy list", `<TwilioResponse><SMSMessages page="0">` + strings.NewReplacer("<Message>", "<SMSMessage>", "</Message>", "</SMSMessage>").Replace(messageXML) + `</SMSMessages></TwilioResponse>`, "xml", []Resource{wantMessage}, 1},
		{"xml single", `<TwilioResponse>` + callXML + `</TwilioResponse>`, "xml", []Resource{wantCall}, 0},
		{"xml documents in one file", `<?xml version="1.0"?><TwilioResponse>` + callXML + "</TwilioResponse>\n<?xml version=\"1.0\"?><TwilioResponse>" + messageXML + `</TwilioResponse>`, "xml", []Resource{wantCall, wantMessage}, 0},
		{
			"getcdrs csv", "sid,account_sid,parent_call_sid,from,to,status,direction,answered_by,phone_number_sid,date_created,date_updated,start_time,end_time,duration,queue_time,annotation\r\n" +
				sidC + "," + acct + ",CA33333333333333333333333333333333,client:bob,+15005550002,no-answer,outbound-dial,human,PN44444444444444444444444444444444,2024-02-29 23:59:58+00:00,2024-03-01 00:00:07+00:00,2024-03-01 00:00:01+00:00,2024-03-01 00:00:06+00:00,5,1250,None\r\n",
			"getcdrs csv", []Resource{wantCall}, 0,
		},
		{
			"console messages", "From,To,Body,Status,SentDate,ApiVersion,NumSegments,ErrorCode,AccountSid,Sid,Direction,Price,PriceUnit,\"Date Created\",Date_Updated,NUM MEDIA,Error Message,MessagingServiceSid\n" +
				"+15005550006,+15005550001,\"Grüß\",Undelivered,2024-03-01T00:00:01Z,2010-04-01,2,30007," + acct + "," + sidA + ",Outgoing API,-0.1,USD,2024-02-29T23:59:58Z,2024-03-01 00:00:07,1,Carrier violation,MG22222222222222222222222222222222",
			"console csv", []Resource{wantMessage}, 0,
		},
		{
			"console calls", "Call Sid;Account SID;Parent Call Sid;From;To;Status;Direction;Answered By;Phone Number Sid;Date Created;Date Updated;Start Time;End Time;Duration;Queue Time\n" +
				sidC + ";" + acct + ";CA33333333333333333333333333333333;client:bob;+15005550002;No Answer;Outgoing Dial;human;PN44444444444444444444444444444444;18:59:58 EST 2024-02-29;19:00:07 EST 2024-02-29;16:00:01 PST 2024-02-29;00:00:06 UTC 2024-03-01;5;1250\n",
			"console csv", []Resource{wantCall}, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, st, err := decodeAll(t, c.text)
			if err != nil {
				t.Fatal(err)
			}
			if st.Form != c.form || st.Pages != c.pages || st.Damaged != 0 || st.Records != int64(len(c.want)) || st.Fields != nil {
				t.Errorf("stats %+v", st)
			}
			if len(got) != len(c.want) {
				t.Fatalf("%d resources, want %d", len(got), len(c.want))
			}
			for i, want := range c.want {
				want.Record = int64(i + 1)
				want.Offset = got[i].Offset
				if want.Body.Known && want.Body.Chars == 4 {
					want.Body.Bytes = 6 // ü and ß are two bytes each
				}
				if !reflect.DeepEqual(got[i], want) {
					t.Errorf("got  %+v\nwant %+v", got[i], want)
				}
				if o := int(got[i].Offset); !strings.ContainsAny(c.text[o:o+1], "{<+C"+sidC[:1]) || o > 0 && strings.HasPrefix(c.form, "xml") && c.text[o] != '<' {
					t.Errorf("offset %d is at %q", o, c.text[o:o+1])
				}
			}
		})
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

func TestDecodeCLITables(t *testing.T) {
	first := Resource{Kind: Message, SID: sidA, From: "+15005550006", To: "+15005550001", Status: "sent", Direction: "outbound-api",
		Sent: at("2019-05-24T17:44:50Z"), ResolutionNS: 1e9, Record: 1}
	second := Resource{Kind: Message, SID: sidB, From: "+15005550006", To: "+15005550001", Status: "received", Direction: "inbound",
		ResolutionNS: 1e9, Record: 2}
	tsv := "sid\tfrom\tto\tstatus\tdirection\tdateSent\n" +
		sidA + "\t+15005550006\t+15005550001\tsent\toutbound-api\tMay 24 2019 12:44:50 GMT-0500\n" +
		sidB + "\t+15005550006\t+15005550001\treceived\tinbound\tnull\n"
	columns := "SID                                 From          To            Status    Direction     Date Sent                    \n" +
		sidA + "  +15005550006  +15005550001  sent      outbound-api  May 24 2019 12:44:50 GMT-0500\n" +
		sidB + "  +15005550006  +15005550001  received  inbound       null                         \n"
	for form, text := range map[string]string{"cli tsv": tsv, "cli columns": columns} {
		got, st, err := decodeAll(t, text)
		if err != nil || st.Form != form || len(got) != 2 {
			t.Fatalf("%s: %+v, %v", form, st, err)
		}
		for i, want := range []Resource{first, second} {
			want.Offset = int64(strings.Index(text, want.SID))
			if !reflect.DeepEqual(got[i], want) {
				t.Errorf("%s: got  %+v\nwant %+v", form, got[i], want)
			}
		}
	}

	// A body with two spaces, one that is empty, and characters of several
	// bytes: the columns are cut where the heading says.
	text := "SID                                 Body      Status\n" +
		sidA + "  hä  ho    sent  \n" +
		sidB + "            failed\n" +
		sidB + "  a  and more than its column  sent\n"
	got, st, err := decodeAll(t, text)
	if err != nil || len(got) != 2 || got[0].Body.Chars != 6 || got[0].Status != "sent" || got[1].Status != "failed" {
		t.Errorf("%+v %+v %v", got, st, err)
	}
	if len(st.Refused) != 1 || st.Refused[0].Reason != "row with another number of columns" {
		t.Errorf("%+v", st.Refused)
	}
}

func TestDecodeCSVQuoting(t *testing.T) {
	text := "Sid,Body,Status\n" +
		sidA + ",\"a \"\"b\"\",\r\nc\",sent\n" + // 9 characters: a "b",CRLFc
		sidB + ",don\"t,sent\n" +
		"\n" +
		sidC + ",,busy"
	got, _, err := decodeAll(t, text)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].Body.Chars != 9 || got[1].Body.Chars != 5 || got[2].Status != "busy" || got[2].Kind != Call {
		t.Errorf("%+v", got)
	}
}

func TestResolutionAndNumbers(t *testing.T) {
	one := func(members string) (Resource, Stats) {
		got, st, err := decodeAll(t, `{"sid":"`+sidA+`",`+members+`}`)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v %v", members, got, err)
		}
		return got[0], st
	}
	for members, want := range map[string]int64{
		`"date_created":null`:                                                                     1e9,
		`"date_created":"2024-01-01T00:00:00.000Z"`:                                               1e9,
		`"date_created":"2024-01-01T00:00:00.120Z"`:                                               1e6,
		`"date_created":"2024-01-01T00:00:00.000Z","date_sent":"2024-01-01T00:00:00.001Z"`:        1e6,
		`"date_created":"2024-01-01T00:00:00.000120Z"`:                                            1e3,
		`"date_created":"2024-01-01T00:00:00.000000001Z","date_sent":"2024-01-01T00:00:00.001Z" `: 1,
	} {
		if r, _ := one(members); r.ResolutionNS != want {
			t.Errorf("%s: resolution %d, want %d", members, r.ResolutionNS, want)
		}
	}
	r, st := one(`"date_created":"yesterday","date_sent":"","num_segments":"two","num_media":3.0,"error_code":"","duration":"0.5","queue_time":0`)
	if r.Created != 0 || r.Sent != 0 || r.Segments != 0 || r.NumMedia != 3 || r.ErrorCode != 0 || r.DurationS != 0.5 || !r.DurationKnown || !r.QueueTimeKnown {
		t.Errorf("%+v", r)
	}
	want := []Refused{{"date not understood", 1, 9}, {"number not understood", 1, 3}}
	if !reflect.DeepEqual(st.Fields, want) {
		t.Errorf("fields %+v, want %+v", st.Fields, want)
	}
	if r, _ := one(`"date_created":"2024-01-01T00:00:00Z","date_sent":"2024-01-01T00:00:00Z","date_sent":null,"status":"sent","status":true,"to":{"a":1}`); r.Sent != 0 || r.Status != "" || r.To != "" {
		t.Errorf("the last of two members counts, and only text: %+v", r)
	}
}

func TestRefused(t *testing.T) {
	const date = `"date_created":"Fri, 01 Mar 2024 00:00:07 +0000"`
	for _, c := range []struct {
		text, reason string
		count        int64
	}{
		{`{"sid":"PN44444444444444444444444444444444",` + date + `}`, "resource of another kind (PN)", 1},
		{`{"sid":"hello",` + date + `}`, "sid not understood", 1},
		{`{"sid":"SM0123",` + date + `}`, "sid not understood", 1},
		{`{"sid":"` + sidA + `"}`, "no creation date", 1},
		{`{"code":20404,"message":"not found","more_info":"u","status":404}`, "error response", 1},
		{`{"status":400,"message":"no","code":21614}`, "error response", 1},
		{`[{"specversion":"1.0","type":"com.twilio.messaging.message.sent","data":{"messageSid":"` + sidA + `"}}]`, "event stream, not a resource", 1},
		{`[1,"a",null]`, "not an object", 3},
		{`{"name":"x","list":["a",1,[2]],"deep":{"a":{}}}`, "not a resource", 1},
		{`{"page":0,"page_size":50,"participants":[{"call_sid":"` + sidC + `",` + date + `}]}`, "not a resource", 1},
		{`{"sid":"` + sidA + `",` + date + `,"x":"` + strings.Repeat("x", maxResource) + `"}`, "resource too large", 1},
		{`{"sid":"` + sidA + `",` + date + `,"to":"` + strings.Repeat("x", maxStored) + `"}`, "resource too large", 1},
		{`<TwilioResponse><RestException><Status>404</Status><Message>no</Message><Code>20404</Code></RestException></TwilioResponse>`, "error response", 1},
		{`<TwilioResponse><Media><Sid>ME44444444444444444444444444444444</Sid><DateCreated>x</DateCreated></Media></TwilioResponse>`, "resource of another kind (ME)", 1},
		{`<TwilioResponse><UsageRecords page="0"><UsageRecord><Category>a</Category></UsageRecord><UsageRecord/></UsageRecords></TwilioResponse>`, "not a resource", 2},
		{`<TwilioResponse><Call><Sid>` + sidC + `</Sid></Call></TwilioResponse>`, "no creation date", 1},
		{"sid,status\nPN44444444444444444444444444444444,x\n", "resource of another kind (PN)", 1},
		{"sid,status\n,x\n", "no sid", 1},
		{"sid,status\n" + sidA + "\n", "row with another number of columns", 1},
		{"sid,status\n" + sidA + "," + strings.Repeat("x", maxRow) + "\n", "row too long", 1},
	} {
		got, st, err := decodeAll(t, c.text)
		if err != nil || len(got) != 0 || len(st.Refused) != 1 || st.Refused[0].Reason != c.reason || st.Refused[0].Count != c.count {
			t.Errorf("%.80s: %d resources, %+v, %v; want %q", c.text, len(got), st, err, c.reason)
		}
	}
	// An elided sid of documentation is one.
	if got, _, err := decodeAll(t, `{"sid":"CAXXXXXXXXXX",`+date+`}`); err != nil || len(got) != 1 || got[0].Kind != Call {
		t.Errorf("elided sid: %v, %v", got, err)
	}
}

func TestDamage(t *testing.T) {
	item := func(last string) string {
		return `{"sid":"SM` + strings.Repeat(last, 32) + `","date_created":"Fri, 01 Mar 2024 00:00:07 +0000","subresource_uris":{"media":"/x"}}`
	}
	a, b, c := item("a"), item("b"), item("c")
	cutB := b[:60]
	page := func(items string) string {
		return "{\"uri\":\"/x\",\"messages\":[" + items + "],\"page\":0,\"page_size\":50}"
	}
	for _, x := range []struct {
		name, text string
		want       string // last digit of each sid that must come out
		off        int    // of the first damage
		msg        string
	}{
		{"ndjson line cut", a + "\n" + cutB + "\n" + c + "\n", "ac", len(a) + 1 + 60, "want a closing quote, found the end of the line"},
		{"ndjson line of garbage", a + "\nERROR {oops}\n" + c + "\n", "ac", len(a) + 1, "want a value, found 'E'"},
		{"file cut", "[" + a + "," + cutB, "a", 2 + len(a) + 60, "want a closing quote, found the end of the input"},
		{"array not closed", "[" + a + "," + b, "ab", 2 + len(a) + len(b), "want ',' or ']', found the end of the input"},
		{"page on one line, item cut", page(a + "," + cutB + "," + c), "ac", len(`{"uri":"/x","messages":[`) + len(a) + 1 + 60 + len(`,{"`), `want ',' or '}', found 's'`},
		{"brace lost", page(a + "," + b[:len(b)-1] + "," + c), "ac", len(`{"uri":"/x","messages":[`) + len(a) + 1 + len(b), "want a key, found '{'"},
		{"trailing comma in object", "[" + a[:len(a)-1] + ",}," + b + "]", "ab", 1 + len(a), "want a key, found '}'"},
		{"trailing comma in array", "[" + a + "," + b + ",]", "ab", 3 + len(a) + len(b), "want an element, found ']'"},
		{"elided array", page(a + ", ... "), "a", len(`{"uri":"/x","messages":[`) + len(a) + 2, "want an element, found '.'"},
		{"missing comma in page", `{"uri":"/x" "messages":[` + a + `,` + b + `]}`, "ab", 12, `want ',' or '}', found '"'`},
		{"missing comma between", "[" + a + b + "]", "ab", 1 + len(a), "want ',' or ']', found '{'"},
		{"bad escape", `[{"x":"\q"},` + a + "]", "a", 8, "want an escape, found 'q'"},
		{"too deep", strings.Repeat("[", 65) + "\n" + a + "\n" + b, "ab", 64, "want at most 64 levels, found '['"},
		{"console.log", "{\n  body: 'x',\n}\n" + a, "a", 4, "want a key, found 'b'"},
		{"xml cut", `<TwilioResponse><Call><Sid>` + sidC + `</Sid>`, "", 27 + 34 + 6, "want </Call>, found the end of the input"},
		{"xml ampersand", `<TwilioResponse><Messages page="0">` + xmlItem("a") + `<Message><Body>a & b</Body></Message>` + xmlItem("c") + `</Messages></TwilioResponse>`, "ac", 0, "want well-formed XML, found invalid character entity & (no semicolon)"},
		{"xml nesting", `<TwilioResponse><Messages page="0">` + xmlItem("a") + `<Message><Body>b</Message>` + xmlItem("c") + `</Messages></TwilioResponse>`, "ac", 0, "want </Body>, found </Message>"},
		{"xml entity", `<!DOCTYPE x [<!ENTITY e "eeee">]><TwilioResponse><Message><Body>&e;</Body></Message>` + xmlItem("c") + `</TwilioResponse>`, "c", 0, "want well-formed XML, found invalid character entity &e;"},
		{"xml too deep", `<TwilioResponse>` + strings.Repeat("<a>", 64) + xmlItem("c"), "c", 0, "want at most 64 levels, found more"},
		{"xml token too long", `<TwilioResponse><Message><Body>` + strings.Repeat("x", maxResource+1) + `</Body></Message>` + xmlItem("c"), "c", 0, "want well-formed XML, found a token longer than a resource may be"},
		{"html", "<html><body>503</body></html>", "", 0, "want a TwilioResponse, found none"},
		{"csv after quote", "sid,body\nSM" + strings.Repeat("a", 32) + ",x\nSMx,\"y\"z,\"\nSM" + strings.Repeat("c", 32) + ",y\n", "ac", 9 + 37 + 7, "want a delimiter after a closing quote, found 'z'"},
		{"csv open quote", "sid,body\nSM" + strings.Repeat("a", 32) + ",x\nSMx,\"y\n", "a", 9 + 37 + 7, "want a closing quote for the row that begins at byte 46, found the end of the input"},
		{"empty", "", "", 0, "want JSON, XML, or a table with a sid column, found an empty file"},
		{"other", "hello, world\n", "", 0, `want JSON, XML, or a table with a sid column, found "hello, world\n"`},
		{"utf-16", "\xff\xfe{\x00", "", 0, "want JSON, XML, or a table with a sid column, found UTF-16 text"},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, st, err := decodeAll(t, x.text)
			var w *wire.Error
			if !errors.As(err, &w) {
				t.Fatalf("error %v (%+v)", err, st)
			}
			if w.Msg != x.msg || x.off != 0 && w.Off != int64(x.off) {
				t.Errorf("byte %d %q, want byte %d %q", w.Off, w.Msg, x.off, x.msg)
			}
			sids := ""
			for _, r := range got {
				sids += r.SID[33:]
			}
			if sids != x.want {
				t.Errorf("resources %q, want %q", sids, x.want)
			}
		})
	}
}

func xmlItem(last string) string {
	return `<Message><Sid>SM` + strings.Repeat(last, 32) + `</Sid><DateCreated>Fri, 01 Mar 2024 00:00:07 +0000</DateCreated></Message>`
}

// A resource cut by damage is counted, not emitted, and the bytes that were
// skipped are told.
func TestDamageCounts(t *testing.T) {
	text := messageCamel[:300] + "\n" + oneLine(messageCamel) + "\n"
	got, st, err := decodeAll(t, text)
	if err == nil || len(got) != 1 || st.Records != 2 || st.Damaged != 1 {
		t.Errorf("%+v %v", st, err)
	}
	if len(st.Refused) != 1 || st.Refused[0].Reason != "cut by damage" {
		t.Errorf("%+v", st.Refused)
	}
}

func TestEmitError(t *testing.T) {
	stop := errors.New("stop")
	for _, text := range []string{
		"[" + messageREST + "," + callREST + "]", messageREST + messageREST,
		"<TwilioResponse>" + callXML + messageXML + "</TwilioResponse>", "sid,status\n" + sidA + ",x\n" + sidB + ",y\n",
	} {
		n := 0
		st, err := Decode(strings.NewReader(text), func(*Resource) error { n++; return stop })
		if err != stop || n != 1 || st.Used != 1 {
			t.Errorf("%.30s: %d emitted, %v", text, n, err)
		}
	}
	n := 0
	log := "time,kind,to\n1.5,call,a\n2.5,call,b\n"
	if _, err := DecodeQueueLog(strings.NewReader(log), func(*Queued) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("queue log: %d emitted, %v", n, err)
	}
}

func TestReadError(t *testing.T) {
	broken := errors.New("broken")
	for _, text := range []string{"[" + messageREST + ",", "<TwilioResponse>" + callXML, "sid,status\n" + sidA + ",x\n" + sidB + ",\""} {
		n := 0
		_, err := Decode(io.MultiReader(strings.NewReader(text), errReader{broken}), func(*Resource) error { n++; return nil })
		if !errors.Is(err, broken) || n != 1 {
			t.Errorf("%.30s: %d emitted, %v", text, n, err)
		}
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestSniff(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " \n{": "json", "\xef\xbb\xbf[": "json", "<?xml": "xml", "sid,from\n": "csv", "\"From\",\"Message SID\"\r\n": "csv",
		"sid\tfrom\nx": "cli tsv", "SID       From   \n": "cli columns", "time,kind,to\n": "queue log", "Kind,To,SID,Time\n": "queue log",
		"time,kind\n": "", "sid": "", "# sid, from\n": "", "CLIENT_RANDOM 00 11\n": "", "\xd4\xc3\xb2\xa1": "", "a  b\n": "", "name: x\n": "",
	} {
		if got := Sniff([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// pages writes n messages as list pages of 1000, without keeping them.
type pages struct {
	n, i int
	rest []byte
}

func (p *pages) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.i == p.n {
			return 0, io.EOF
		}
		p.rest = p.rest[:0]
		if p.i%1000 == 0 {
			p.rest = append(p.rest, "{\n  \"first_page_uri\": \"/2010-04-01/x\",\n  \"page\": 0,\n  \"page_size\": 1000,\n  \"messages\": [\n"...)
		}
		p.rest = fmt.Appendf(p.rest, benchItem, p.i)
		p.i++
		if p.i%1000 == 0 || p.i == p.n {
			p.rest = append(p.rest, "\n  ]\n}\n"...)
		} else {
			p.rest = append(p.rest, ",\n"...)
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

const benchItem = `    {
      "body": "Lab message %[1]d of this run, with a text of about the length that the study used for its second size, 170 bytes, so that it needs two segments of a concatenated message.",
      "num_segments": "2",
      "direction": "outbound-api",
      "from": "+15005550006",
      "to": "+15557650099",
      "date_updated": "Tue, 01 Sep 2026 12:03:22 +0000",
      "price": "-0.01580",
      "error_message": null,
      "uri": "/2010-04-01/Accounts/AC00000000000000000000000000001abc/Messages/SM%032[1]x.json",
      "account_sid": "AC00000000000000000000000000001abc",
      "num_media": "0",
      "status": "delivered",
      "messaging_service_sid": null,
      "sid": "SM%032[1]x",
      "date_sent": "Tue, 01 Sep 2026 12:03:19 +0000",
      "date_created": "Tue, 01 Sep 2026 12:00:25 +0000",
      "error_code": null,
      "price_unit": "USD",
      "api_version": "2010-04-01",
      "subresource_uris": {
        "media": "/2010-04-01/Accounts/AC00000000000000000000000000001abc/Messages/SM%032[1]x/Media.json"
      }
    }`

func TestFlatMemory(t *testing.T) {
	const n = 20000
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	seen := 0
	st, err := Decode(&pages{n: n}, func(r *Resource) error {
		if want := fmt.Sprintf("SM%032x", seen); seen%997 == 0 && r.SID != want {
			return fmt.Errorf("sid %s, want %s", r.SID, want)
		}
		seen++
		if seen == n-1 {
			runtime.GC()
			runtime.ReadMemStats(&now)
		}
		return nil
	})
	if err != nil || st.Used != n || st.Pages != n/1000 {
		t.Fatalf("%+v, %v", st, err)
	}
	if grown := int64(now.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d bytes are held after %d messages", grown, n)
	}
}

func BenchmarkDecode(b *testing.B) {
	text, err := io.ReadAll(&pages{n: 5000})
	if err != nil {
		b.Fatal(err)
	}
	var line []byte
	for i := range 5000 {
		line = append(line, strings.Join(strings.Fields(fmt.Sprintf(benchItem, i)), " ")...)
		line = append(line, '\n')
	}
	csv := []byte("From,To,Body,Status,SentDate,ApiVersion,NumSegments,ErrorCode,AccountSid,Sid,Direction,Price,PriceUnit\n")
	xml := []byte("<TwilioResponse><Messages page=\"0\">")
	for i := range 5000 {
		csv = fmt.Appendf(csv, "+15005550006,+15557650099,\"Lab message %d, a text in quotes of usual length for a message\",delivered,2026-09-01T12:03:19Z,2010-04-01,2,,AC00000000000000000000000000001abc,SM%032[1]x,outbound-api,-0.01580,USD\n", i)
		xml = append(xml, messageXML...)
	}
	xml = append(xml, "</Messages></TwilioResponse>"...)
	for _, c := range []struct {
		name string
		text []byte
	}{{"form=page", text}, {"form=ndjson", line}, {"form=csv", csv}, {"form=xml", xml}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				st, err := Decode(bytes.NewReader(c.text), func(*Resource) error { return nil })
				if err != nil || st.Used != 5000 {
					b.Fatal(st, err)
				}
			}
		})
	}
}
