package pstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJBQzEifQ.c2lnbmF0dXJl"

// Every type of both directions, in the forms of the generations; secrets are
// words that contain s3cr3t.
var messages = []struct {
	name, text string
	want       Message
}{
	{"listen 1.6", `{"payload":{"browserinfo":{"browser":{"platform":"Linux x86_64","userAgent":"Mozilla/5.0"},"p":"browser","plugin":"rtc","v":"2.18.5"},"reconnectTimeout":15,"token":"` + jwt + `"},"type":"listen","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeListen, Name: "listen", TokenLen: len(jwt), SDK: "2.18.5", UserAgent: "Mozilla/5.0"}},
	{"listen 1.2", `{"type":"listen","version":"1.2","payload":{"token":"` + jwt + `","extra":1}}`,
		Message{Generation: PStream, Version: "1.2", Type: TypeListen, Name: "listen", TokenLen: len(jwt), Unknown: 1}},
	{"register", `{"type":"register","version":"1.5","payload":{"media":{"audio":true}}}`, Message{Generation: PStream, Version: "1.5", Type: TypeRegister, Name: "register"}},
	{"unregister", `{"type":"register","version":"1.5","payload":{"media":{"audio":false}}}`, Message{Generation: PStream, Version: "1.5", Type: TypeRegister, Name: "register", Unregister: true}},
	{"invite, outgoing", `{"type":"invite","version":"1.6","payload":{"callsid":"TJS1","sdp":"v=0\r\n","preflight":true,"twilio":{"params":"To=%2B1555"}}}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeInvite, Name: "invite", CallSID: "TJS1", TempSID: "TJS1", SDP: []byte("v=0\r\n"), Preflight: true, Params: "To=%2B1555"}},
	{"invite, reconnect", `{"payload":{"callsid":"CA1","reconnect":"s3cr3t","sdp":"SDP","twilio":{}},"type":"invite","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeInvite, Name: "invite", CallSID: "CA1", Reconnect: true, SDP: []byte("SDP")}},
	{"invite, incoming", `{"payload":{"callsid":"CA1","parameters":{"AccountSid":"AC1","ApiVersion":"2010-04-01","CallSid":"CA1","From":"+1555","Params":"a=b\u0026c=d","To":"client:alice","StirStatus":"x"},"reconnect":"s3cr3t","sdp":"SDP"},"type":"invite","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeInvite, Name: "invite", CallSID: "CA1", Reconnect: true, SDP: []byte("SDP"),
			Parameters: Parameters{From: "+1555", To: "client:alice", CallSid: "CA1", AccountSid: "AC1", ApiVersion: "2010-04-01", Params: "a=b&c=d", Others: 1}}},
	{"answer", `{"payload":{"sdp":"SDP","callsid":"CA1"},"type":"answer","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeAnswer, Name: "answer", CallSID: "CA1", SDP: []byte("SDP")}},
	{"reinvite", `{"payload":{"sdp":"SDP","callsid":"CA1"},"type":"reinvite","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeReinvite, Name: "reinvite", CallSID: "CA1", SDP: []byte("SDP")}},
	{"dtmf", `{"payload":{"callsid":"CA1","dtmf":"12#"},"type":"dtmf","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeDTMF, Name: "dtmf", CallSID: "CA1", DTMF: "12#", DTMFDigits: 3}},
	{"reject", `{"payload":{"callsid":"CA1"},"type":"reject","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeReject, Name: "reject", CallSID: "CA1"}},
	{"hangup of the client", `{"payload":{"callsid":"CA1","message":"bye"},"type":"hangup","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeHangup, Name: "hangup", CallSID: "CA1", Reason: "bye"}},
	{"hangup with an error", `{"payload":{"callsid":"CA1","error":{"code":31005,"message":"Gateway error"}},"type":"hangup","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeHangup, Name: "hangup", CallSID: "CA1", ErrorCode: 31005, ErrorMessage: "Gateway error"}},
	{"hangup of no call", `{"type":"hangup","version":"1.4","payload":{}}`, Message{Generation: PStream, Version: "1.4", Type: TypeHangup, Name: "hangup"}},
	{"message", `{"payload":{"callsid":"CA1","content":"s3cr3t","contenttype":"text/plain","messagetype":"user-defined-message","voiceeventsid":"KX1"},"type":"message","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeMessage, Name: "message", CallSID: "CA1", ContentType: "text/plain", ContentLen: 6, MessageType: "user-defined-message", VoiceEventSID: "KX1"}},
	{"message with an object", `{"payload":{"callsid":"CA1","content":{"s3cr3t":1},"contenttype":"application/json"},"type":"message","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeMessage, Name: "message", CallSID: "CA1", ContentType: "application/json", ContentLen: 12}},
	{"connected", `{"payload":{"edge":"ashburn","gateway":"gw","home":"us1","region":"US_EAST_VIRGINIA","token":{"accountSid":"AC1","identity":"alice","ttl":3600}},"type":"connected","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeConnected, Name: "connected", Edge: "ashburn", Gateway: "gw", Home: "us1", Region: "US_EAST_VIRGINIA", Identity: "alice", TTL: 3600, Parameters: Parameters{AccountSid: "AC1"}}},
	{"ready", `{"payload":{},"type":"ready","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeReady, Name: "ready"}},
	{"ready without payload", `{"type":"ready"}`, Message{Generation: PStream, Type: TypeReady, Name: "ready"}},
	{"ringing", `{"payload":{"callsid":"CA1","edge":"ashburn","region":"R"},"type":"ringing","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeRinging, Name: "ringing", CallSID: "CA1", Edge: "ashburn", Region: "R"}},
	{"cancel", `{"payload":{"callsid":"CA1"},"type":"cancel","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeCancel, Name: "cancel", CallSID: "CA1"}},
	{"error", `{"payload":{"error":{"code":"20104","message":"expired","retryAfter":30}},"type":"error","version":"1.6"}`,
		Message{Generation: PStream, Version: "1.6", Type: TypeError, Name: "error", ErrorCode: 20104, ErrorMessage: "expired", RetryAfter: 30}},
	{"ack", `{"payload":{"acktype":"message","callsid":"CA1","voiceeventsid":"KX1"},"type":"ack","version":"1.6"}`, Message{Generation: PStream, Version: "1.6", Type: TypeAck, Name: "ack", CallSID: "CA1", AckType: "message", VoiceEventSID: "KX1"}},
	{"offline", `{"type":"offline","version":"1.5","payload":{}}`, Message{Generation: PStream, Version: "1.5", Type: TypeOffline, Name: "offline"}},
	{"close", `{"type":"close","version":"1.5","payload":{}}`, Message{Generation: PStream, Version: "1.5", Type: TypeClose, Name: "close"}},
	{"candidate", `{"type":"candidate","version":"1.2","payload":{"callsid":"CA1","candidate":"candidate:1","label":"audio"}}`, Message{Generation: PStream, Version: "1.2", Type: TypeCandidate, Name: "candidate", CallSID: "CA1", Candidate: "candidate:1"}},
	{"a type that is not known", `{"type":"teleport","version":"2.0","payload":{"callsid":"CA1","where":{"x":1},"when":2},"also":3}`,
		Message{Generation: PStream, Version: "2.0", Type: TypeUnknown, Name: "teleport", CallSID: "CA1", Unknown: 3}},
	{"values of other kinds", `{"type":"invite","version":1.6,"payload":{"callsid":["CA1"],"sdp":null,"parameters":"none","error":7}}`, Message{Generation: PStream, Version: "1.6", Type: TypeInvite, Name: "invite", Unknown: 2}},

	{"matrix listen", `{"rt.message":"listen","rt.token":"` + jwt + `"}`, Message{Generation: Matrix, Type: TypeListen, Name: "listen", TokenLen: len(jwt)}},
	{"matrix ready", `{"rt.message":"ready"}`, Message{Generation: Matrix, Type: TypeReady, Name: "ready"}},
	{"matrix invite", `{"Request":"invite","Token":"s3cr3t","CallSid":"CA1","Parameters":{"From":"+1555","To":"client:alice","CallSid":"CA1"},"RejectChannel":"c"}`,
		Message{Generation: Matrix, Type: TypeInvite, Name: "invite", CallSID: "CA1", BridgeToken: true, Parameters: Parameters{From: "+1555", To: "client:alice", CallSid: "CA1"}}},
	{"matrix cancel", `{"Request":"cancel","CallSid":"CA1"}`, Message{Generation: Matrix, Type: TypeCancel, Name: "cancel", CallSID: "CA1"}},
	{"matrix reject", `{"rt.message":"publish","rt.subchannel":"c","rt.payload":{"Response":"reject","CallSid":"CA1"}}`, Message{Generation: Matrix, Type: TypeReject, Name: "reject", CallSID: "CA1"}},
	{"matrix presence", `{"rt.message":"publish","rt.subchannel":"presence","rt.payload":{"ttl":600,"availability":"available","keepalive":true}}`,
		Message{Generation: Matrix, Type: TypePresence, Name: "publish", Availability: "available"}},
	{"matrix presence event", `{"From":"bob","Available":true}`, Message{Generation: Matrix, Type: TypePresence, Name: "presence", Availability: "true", Parameters: Parameters{From: "bob"}}},
	{"matrix roster", `{"Roster":["alice","bob"]}`, Message{Generation: Matrix, Type: TypeRoster, Name: "roster"}},
	{"matrix event type", `{"EventType":"presence","From":"bob","Available":false}`, Message{Generation: Matrix, Type: TypePresence, Name: "presence", Availability: "false", Parameters: Parameters{From: "bob"}}},
	{"matrix error", `{"code":401,"message":"no"}`, Message{Generation: Matrix, Type: TypeError, Name: "error", ErrorCode: 401, ErrorMessage: "no"}},

	{"chunderw offer", `{"type":"OFFER","sdp":"SDP","fmt":{"pt":104,"name":"ISAC/32000"},"twilio":{"appsid":"AP1","token":"` + jwt + `","bridgeToken":"s3cr3t","params":"a=b","extras":{}}}`,
		Message{Generation: Chunderw, Type: TypeOffer, Name: "OFFER", SDP: []byte("SDP"), TokenLen: len(jwt), BridgeToken: true, Params: "a=b"}},
	{"chunderw answer", `{"type":"ANSWER","sdp":"SDP"}`, Message{Generation: Chunderw, Type: TypeAnswer, Name: "ANSWER", SDP: []byte("SDP")}},
	{"chunderw candidate", `{"type":"CANDIDATE","candidate":"candidate:1","label":0}`, Message{Generation: Chunderw, Type: TypeCandidate, Name: "CANDIDATE", Candidate: "candidate:1"}},
	{"chunderw hangup", `{"type":"HANGUP","error":{"code":31003,"message":"timeout"}}`, Message{Generation: Chunderw, Type: TypeHangup, Name: "HANGUP", ErrorCode: 31003, ErrorMessage: "timeout"}},
	{"chunderw dtmf", `{"type":"DTMF","dtmf":"9"}`, Message{Generation: Chunderw, Type: TypeDTMF, Name: "DTMF", DTMF: "9", DTMFDigits: 1}},
}

func TestDecode(t *testing.T) {
	var m Message
	for _, tt := range messages {
		if err := Decode([]byte(tt.text), &m); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if m.scratch = nil; fmt.Sprintf("%+v", m) != fmt.Sprintf("%+v", tt.want) {
			have, want := fmt.Sprintf("%+v", m), fmt.Sprintf("%+v", tt.want)
			t.Errorf("%s:\nhave %s\nwant %s", tt.name, have, want)
		}
	}
	for in, off := range map[string]int64{
		``: 0, `7`: 0, `null`: 0, `[]`: 0, `{}`: 0, `{"payload":{}}`: 0, `{"type":"invite","payload":{`: 28, `{"type":""}`: 0, `{"type":"s3cr3t" x`: 18,
		`{"type":` + strings.Repeat("[", 100000): 8 + 31, `{"type":"` + strings.Repeat("x", maxText) + `"}`: maxText,
	} {
		err := Decode([]byte(in), &m)
		var e *wire.Error
		if !errors.As(err, &e) || e.Off != off || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%.40q: %v, want an error at %d", in, err, off)
		}
	}
	for typ := TypeListen; typ <= TypePublish; typ++ {
		if typ.String() == "" || typ != TypePublish && typ != TypeOffer && typeOf(typ.String()) != typ {
			t.Errorf("type %d is %q", typ, typ)
		}
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string][]string{
		"":                                  nil,
		"\n":                                nil,
		`{"a":1}`:                           {`{"a":1}`},
		"{\"a\":1}\n{\"b\":\"}\\\"{\"}\r\n": {`{"a":1}`, `{"b":"}\"{"}`},
		"{\"a\":\n[1]}\n\n{\"b\":2}{}":      {"{\"a\":\n[1]}", `{"b":2}`, `{}`},
		"junk\n{\"a\":1}":                   {"junk", `{"a":1}`},
		"{\"a\":\n{\"b\":1}":                {`{"a":`, `{"b":1}`},
	} {
		var have []string
		Split([]byte(in), func(b []byte) bool { have = append(have, string(b)); return true })
		if !slices.Equal(have, want) {
			t.Errorf("%q: %q, want %q", in, have, want)
		}
		n := 0
		Split([]byte(in), func([]byte) bool { n++; return false })
		if n != min(1, len(want)) {
			t.Errorf("%q: yields %d times after false", in, n)
		}
	}
	for in, want := range map[string]bool{"\n": true, "\r\n": true, "\n\n": true, "": false, "{}": false, " ": false, "\n{}": false} {
		if IsHeartbeat([]byte(in)) != want {
			t.Errorf("heartbeat %q is %t", in, !want)
		}
	}
}

// elided is what Elide shows of a text, whether it is a message or not; ok is
// false when it is no JSON value.
func elided(m *Message, text []byte, max int) (shown string, ok bool) {
	if m.scratch == nil {
		m.scratch = &scratch{}
	}
	ok = m.scratch.tree.scan(text)
	return string(m.Elide(nil, max)), ok
}

// TestString puts each kind of byte at every place of strings of many lengths,
// which are read in words and blocks.
func TestString(t *testing.T) {
	var m Message
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 63, 64, 100, 127, 128, 129, 140, 200} {
		for at := range n {
			for _, c := range []string{"\\\\", "\\\"", "\\n", "\\u0041", "\"", "\x1f", "\x7f", "é", "\xff", "\\", "!", "#", "[", "]"} {
				text := `{"type":"` + strings.Repeat("a", at) + c + strings.Repeat("a", n-at-1) + `"}`
				var want struct{ Type string }
				wantErr := json.Unmarshal([]byte(text), &want)
				if err := Decode([]byte(text), &m); (err == nil) != (wantErr == nil) || err == nil && m.Name != want.Type {
					t.Fatalf("%q: %q, %v, want %q, %v", text, m.Name, err, want.Type, wantErr)
				}
			}
		}
	}
}

func TestElide(t *testing.T) {
	var m Message
	for _, tt := range messages {
		if err := Decode([]byte(tt.text), &m); err != nil {
			t.Fatal(err)
		}
		out := string(m.Elide(nil, 1<<16))
		for _, secret := range []string{"s3cr3t", jwt, jwt[20:], "12#"} {
			if strings.Contains(out, secret) {
				t.Errorf("%s shows %s:\n%s", tt.name, secret, out)
			}
		}
		if out == "" {
			t.Errorf("%s: shows nothing", tt.name)
		}
	}
	for _, tt := range []struct{ in, want string }{
		{`{"payload":{"token":"` + jwt + `","reconnectTimeout":15},"type":"listen","version":"1.6"}`, "payload.token: [JWT, 52 bytes]\npayload.reconnectTimeout: 15\ntype: listen\nversion: 1.6"},
		{`{"type":"invite","payload":{"callsid":"CA1","reconnect":"abcde","sdp":"v=0\r\na=ice-pwd:0123456789\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QUJD|2^31 UNENCRYPTED_SRTP\r\nk=clear:abc\r\na=mid:0\r\n"}}`,
			"type: invite\npayload.callsid: CA1\npayload.reconnect: [reconnect token, 5 bytes]\npayload.sdp: \n  v=0\n  a=ice-pwd:[secret, 10 bytes]\n  a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:[secret, 9 bytes] UNENCRYPTED_SRTP\n  k=[key, 9 bytes]\n  a=mid:0"},
		{`{"payload":{"dtmf":"12"},"type":"dtmf"}`, "payload.dtmf: [2 digits]\ntype: dtmf"},
		{`{"payload":{"content":{"a":"b"},"contenttype":"application/json"}}`, "payload.content: [content, 9 bytes]\npayload.contenttype: application/json"},
		{`{"payload":{"token":{"accountSid":"AC1","identity":"alice","ttl":3600,"grant":"x"}}}`, "payload.token.accountSid: AC1\npayload.token.identity: alice\npayload.token.ttl: 3600\npayload.token.grant: [token, 1 bytes]"},
		{`{"a":["x",{"b":null}],"c":{},"d":[]}`, "a.0: x\na.1.b: null"},
		{`{"params":"To=1&accesstoken=abc&x=%7B&p%61ss=1&Password%3Dxyz","u":"https://h/p?AccessToken=` + jwt + `&y=1","n":"see ` + jwt + ` there","j":"{\"token\":\"abc\"}"}`,
			"params: To=1&accesstoken=[token, 3 bytes]&x=%7B&p%61ss=1&Password%3D[secret, 3 bytes]\nu: https://h/p?AccessToken=[token, 52 bytes]&y=1\nn: see [JWT, 52 bytes] there\nj: {\"token\":\"[token, 3 bytes]\"}"},
		{"{\"a\":\"\\u0000\\u202e\"}", "a: \ufffd\ufffd"},
		{"\t[\"x\" ,true ] ", "0: x\n1: true"},
	} {
		if have, ok := elided(&m, []byte(tt.in), 4096); have != tt.want || !ok {
			t.Errorf("%s:\nhave %q\nwant %q", tt.in, have, tt.want)
		}
	}
	for _, in := range []string{`{"type":"x","payload":{"token":"abc`, `{"type":"x","payload":{"sdp":"abc`, `{"payload":{"token":"abc"}}`, `token=abc`, "\n", "", `{"type":"x","a":` + strings.Repeat("[", 1000)} {
		if err := Decode([]byte(in), &m); err == nil {
			t.Fatalf("%s is a message", in)
		}
		if out := string(m.Elide([]byte("keep"), 4096)); out != "keep" {
			t.Errorf("%s, refused, shows %q", in, out)
		}
	}
	if out := string(new(Message).Elide(nil, 4096)); out != "" {
		t.Errorf("nothing shows %q", out)
	}
	long := `{"type":"x","sdp":"` + strings.Repeat("ä", 5000) + `"}`
	if err := Decode([]byte(long), &m); err != nil {
		t.Fatal(err)
	}
	for max := range 40 {
		if out := m.Elide([]byte("keep"), max); len(out) > 4+max || !bytes.HasPrefix(out, []byte("keep")) || !bytes.Equal(bytes.ToValidUTF8(out, nil), out) {
			t.Errorf("max %d: %q", max, out)
		}
	}
	// Two lines of five bytes, of which the second does not fit: that there is more is told.
	for in, want := range map[string]string{`{"a":11}`: "a: 11", `{"a":11,"b":2}`: "a:…", `{"a":{"":1}}`: "a: 1", `{"a":[22],"b":2}`: "a.…"} {
		if have, ok := elided(&m, []byte(in), 5); have != want || !ok {
			t.Errorf("%s: %q, want %q", in, have, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	// From the published tables of codes.
	for code, want := range map[int]string{20104: "access token expired", 31005: "connection error", 31206: "rate exceeded authorized limit", 30001: "queue overflow", 22005: "call queue is full", 1: "", 0: "", -1: ""} {
		if got := ErrorText(code); got != want {
			t.Errorf("%d: %q", code, got)
		}
	}
}

func TestDecodeEvent(t *testing.T) {
	const event = `{"group":"connection","level":"INFO","name":"incoming","payload":{"sdk_version":"2.18.5","call_sid":"CA1","temp_call_sid":"TJS1","direction":"INCOMING","gateway":"gw","region":"R","edge":"ashburn"},"publisher":"twilio-js-sdk","timestamp":"2026-11-22T21:12:59.914Z","publisher_metadata":{"app_name":"app","app_version":"1.0"}}`
	want := Event{Publisher: "twilio-js-sdk", Group: "connection", Name: "incoming", Level: "INFO", TimeNS: 1795381979914000000, CallSID: "CA1", TempCallSID: "TJS1", Direction: "INCOMING",
		SDK: "2.18.5", App: "app", AppVersion: "1.0", Gateway: "gw", Region: "R", Edge: "ashburn"}
	for in, n := range map[string]int{event: 1, "[" + event + "]": 1, "[" + event + ", " + event + "]": 2, event + "\n" + event: 2, " " + event: 1} {
		events, err := new(Events).Decode([]byte(in))
		if err != nil || len(events) != n {
			t.Fatalf("%.20s: %d events, %v", in, len(events), err)
		}
		for _, e := range events {
			if fmt.Sprint(e) != fmt.Sprint(want) {
				t.Errorf("have %+v\nwant %+v", e, want)
			}
		}
	}
	const metrics = `{"group":"quality-metrics-samples","name":"metrics-sample","timestamp":"2026-11-22T21:12:59Z","payload":[{"timestamp":"2023-11-14T22:13:20.000Z","jitter":1.5,"rtt":20,"mos":null,"packets_lost":2,"packets_received":50,"packets_lost_fraction":3.85,"audio_level_in":100,"audio_level_out":200,"call_sid":"CA1","direction":"INCOMING"},7,{"mos":4.4}]}`
	events, err := new(Events).Decode([]byte(metrics))
	if err != nil || len(events) != 1 || len(events[0].Samples) != 2 || events[0].CallSID != "CA1" || events[0].Direction != "INCOMING" {
		t.Fatalf("%+v, %v", events, err)
	}
	s := events[0].Samples[0]
	if s.TimeNS != 1700000000000000000 || s.JitterMS != (Value{1.5, true}) || s.RTTMS != (Value{20, true}) || s.MOS.OK || s.PacketsLost.V != 2 || s.PacketsReceived.V != 50 ||
		s.LossPercent.V != 3.85 || s.LevelIn.V != 100 || s.LevelOut.V != 200 || s.CallSID != "CA1" || s.BytesSent.OK {
		t.Errorf("%+v", s)
	}
	if s := events[0].Samples[1]; s.MOS != (Value{4.4, true}) || s.TimeNS != 0 {
		t.Errorf("%+v", s)
	}
	for _, in := range []string{"", "{}", "[]", "7", `{"group":`, `[{"group":"x"}`, strings.Repeat("x", maxBody+1), strings.Repeat("[", 100000)} {
		if _, err := new(Events).Decode([]byte(in)); err == nil {
			t.Errorf("%.40q has no error", in)
		}
	}
	if events, err := new(Events).Decode([]byte(event + "\n{}")); len(events) != 1 || err == nil {
		t.Errorf("damage after an event: %d events, %v", len(events), err)
	}
}

func TestDecodeForm(t *testing.T) {
	c := DecodeForm([]byte("Called=%2B15551230002&Direction=outbound-api&Timestamp=Sun%2C+22+Nov+2026+21%3A12%3A59+%2B0000&CallbackSource=call-progress-events&SequenceNumber=0&To=%2B15551230002&CallSid=CA1&ParentCallSid=CA0&CallStatus=completed&Duration=1&CallDuration=12&From=client%3Aalice&AccountSid=AC1&ApiVersion=2010-04-01&SipResponseCode=486"))
	want := Callback{AccountSID: "AC1", ApiVersion: "2010-04-01", CallSID: "CA1", ParentCallSID: "CA0", CallStatus: "completed", From: "client:alice", To: "+15551230002", Direction: "outbound-api", ClientFrom: true,
		TimeNS: 1795381979000000000, SequenceNumber: 0, DurationS: 12, SipResponseCode: 486, Source: "call-progress-events", Params: 15}
	if c != want {
		t.Errorf("have %+v\nwant %+v", c, want)
	}
	c = DecodeForm([]byte("SmsSid=SM1&SmsStatus=failed&MessageStatus=undelivered&To=%2B1&MessageSid=SM1&AccountSid=AC1&From=%2B2&ErrorCode=30003&Body=a%20b&Digits=123&bad=%zz&&ApiVersion"))
	want = Callback{AccountSID: "AC1", MessageSID: "SM1", MessageStatus: "failed", From: "+2", To: "+1", SequenceNumber: -1, DurationS: -1, ErrorCode: 30003, BodyLen: 3, DigitsLen: 3, Params: 12, Malformed: 1}
	if c != want {
		t.Errorf("have %+v\nwant %+v", c, want)
	}
	c = DecodeForm([]byte("StreamSid=MZ1&StreamEvent=stream-started&CallSid=CA1&Timestamp=2026-11-22T21:12:59.914Z&StreamError=no"))
	if c.StreamSID != "MZ1" || c.StreamEvent != "stream-started" || c.TimeNS != 1795381979914000000 || c.ErrorMessage != "no" {
		t.Errorf("%+v", c)
	}
	if c = DecodeForm(bytes.Repeat([]byte("CallSid=CA1&"), 1e5)); c.CallSID != "CA1" || c.Malformed == 0 || c.Params > maxForm {
		t.Errorf("%+v", c)
	}
	if c = DecodeForm(bytes.Repeat([]byte("x"), maxForm+1)); c.Params != 0 || c.Malformed != 1 {
		t.Errorf("%+v", c)
	}
}

func FuzzDecode(f *testing.F) {
	for _, tt := range messages {
		f.Add([]byte(tt.text))
	}
	f.Add([]byte("{\"type\":\"ready\"}\n{\"type\":"))
	f.Add([]byte("CallSid=CA1&Timestamp=Sun%2C+22+Nov+2026+21%3A12%3A59+%2B0000"))
	f.Add([]byte(`{"group":"a","name":"b","payload":[{"mos":1e400}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Message
		if err := Decode(text, &m); err == nil && m.Name == "" || m.Unknown < 0 {
			t.Fatalf("%+v", m)
		}
		n := 0
		Split(text, func(b []byte) bool { n += len(b); return len(b) > 0 })
		if n > len(text) {
			t.Fatal("Split yields more than there is")
		}
		out := m.Elide(nil, 300)
		if len(out) > 300 || !bytes.Equal(out, bytes.ToValidUTF8(out, nil)) {
			t.Fatalf("%q", out)
		}
		new(Events).Decode(text)
		DecodeForm(text)
	})
}

// loaded is a message of 1.4 kB, as long ones are, and an invite with its SDP.
func loaded() map[string][]byte {
	sdp := "v=0\\r\\no=- 1 2 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\na=group:BUNDLE 0\\r\\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0\\r\\na=ice-ufrag:abcd\\r\\na=ice-pwd:0123456789012345678901\\r\\n"
	for i := range 20 {
		sdp += fmt.Sprintf("a=candidate:%d 1 udp 2113937151 192.0.2.%d 5%03d typ host generation 0 network-cost 999\\r\\n", i, i, i)
	}
	return map[string][]byte{
		"message": []byte(`{"type":"message","version":"1.6","payload":{"callsid":"CA00000000000000000000000000000001","content":"` + strings.Repeat("AAAA", 300) +
			`","contenttype":"application/json","messagetype":"user-defined-message","voiceeventsid":"KX00000000000000000000000000000001"}}`),
		"sdp":   []byte(`{"payload":{"callsid":"CA00000000000000000000000000000001","sdp":"` + sdp + `"},"type":"answer","version":"1.6"}`),
		"small": []byte(`{"type":"ready","version":"1.6","payload":{}}`),
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, text := range loaded() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var m Message
			for b.Loop() {
				if err := Decode(text, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkElide(b *testing.B) {
	for name, text := range loaded() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var m Message
			if err := Decode(text, &m); err != nil {
				b.Fatal(err)
			}
			var out []byte
			for b.Loop() {
				out = m.Elide(out[:0], 4096)
			}
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	text := loaded()["message"]
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		Split(text, func([]byte) bool { return true })
	}
}
