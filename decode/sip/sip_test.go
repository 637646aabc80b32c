package sip

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// An INVITE in the form of a trunk's, with 15 headers and an SDP offer.
var invite = crlf(`INVITE sip:+15550100@198.51.100.7:5060;transport=udp SIP/2.0
Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bK0a1b2c3d-4e5f_c3356d0b_54-1234;rport
Via: SIP/2.0/UDP 172.25.10.20:5060;branch=z9hG4bK77aa;received=172.25.10.20
Record-Route: <sip:203.0.113.5:5060;r2=on;lr;ftag=12345678_c3356d0b_aa>
From: "Ada L" <sip:+15550199@pstn.example.com:5060;pstn-params=9083>;tag=12345678_c3356d0b_aa
To: <sip:+15550100@198.51.100.7;user=phone>
Call-ID: 0123456789abcdef0123456789abcdef@0.0.0.0
CSeq: 7 INVITE
Contact: <sip:+15550199@172.25.10.20:5060;transport=udp>
Max-Forwards: 69
Supported: timer, replaces
Min-SE: 120
User-Agent: Test Gateway
X-Twilio-CallSid: CA0123456789abcdef0123456789abcdef
Content-Type: application/sdp
Content-Length: 231

v=0
o=root 1 1 IN IP4 172.18.0.1
s=Test Gateway
c=IN IP4 203.0.113.9
t=0 0
m=audio 15822 RTP/AVP 0 8 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a=sendrecv
`)

func TestInvite(t *testing.T) {
	var m Message
	if err := Parse(invite, &m); err != nil {
		t.Fatal(err)
	}
	if !m.Request || m.Method != INVITE || m.CSeq != 7 || m.CSeqMethod != INVITE || len(m.Headers) != 15 || len(m.Warnings) != 0 || len(m.Rest) != 0 {
		t.Errorf("request %v %v, CSeq %d %v, %d headers, warnings %v", m.Request, m.Method, m.CSeq, m.CSeqMethod, len(m.Headers), m.Warnings)
	}
	eq(t, "uri", m.RequestURI, "sip:+15550100@198.51.100.7:5060;transport=udp")
	eq(t, "call-id", m.CallID, "0123456789abcdef0123456789abcdef@0.0.0.0")
	eq(t, "branch", m.Branch, "z9hG4bK0a1b2c3d-4e5f_c3356d0b_54-1234")
	eq(t, "callsid", m.Get(HeaderXTwilioCallSID), "CA0123456789abcdef0123456789abcdef")
	eq(t, "callsid by name", m.GetName("x-twilio-callsid"), "CA0123456789abcdef0123456789abcdef")
	eq(t, "from user", m.From.User, "+15550199")
	eq(t, "from host", m.From.Host, "pstn.example.com")
	if m.From.Port != 5060 || m.Via.Port != 5060 || m.Via.RPort != 0 {
		t.Errorf("ports %d and %d, rport %d, want 5060, 5060 and 0", m.From.Port, m.Via.Port, m.Via.RPort)
	}
	if !bytes.HasPrefix(m.SDP(), []byte("v=0\r\n")) || m.ContentLength != len(m.Body) {
		t.Errorf("SDP %.10q, body of %d bytes, Content-Length %d", m.SDP(), len(m.Body), m.ContentLength)
	}
	for _, h := range m.Headers {
		if !bytes.HasPrefix(invite[h.Off:], h.Name) {
			t.Errorf("header %s is not at its offset %d", h.Name, h.Off)
		}
	}
}

// required are the headers that RFC 3261, 8.1.1 demands.
const required = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c1\r\nCSeq: 1 OPTIONS\r\n"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		err      string
		warn     string // prefixes, comma-separated
		check    func(t *testing.T, m *Message)
	}{
		{name: "OPTIONS *", in: "OPTIONS * SIP/2.0\r\n" + required + "\r\n", check: func(t *testing.T, m *Message) { eq(t, "uri", m.RequestURI, "*") }},
		{name: "compact forms", in: "OPTIONS sip:h SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK1\r\nf:sip:a@h;tag=1\r\nt:sip:b@h\r\ni:c1\r\nCSeq:1 OPTIONS\r\nm:<sip:m@h>\r\nk:timer\r\ns:sub\r\ne:gzip\r\no:dialog\r\nr:<sip:r@h>\r\nb:<sip:b@h>\r\nu:talk\r\nx:90\r\nj:*\r\nd:no-fork\r\na:*\r\nc:text/plain\r\nl:2\r\n\r\nhi",
			check: func(t *testing.T, m *Message) {
				want := []HeaderID{HeaderVia, HeaderFrom, HeaderTo, HeaderCallID, HeaderCSeq, HeaderContact, HeaderSupported, HeaderSubject,
					HeaderContentEncoding, HeaderEvent, HeaderReferTo, HeaderReferredBy, HeaderAllowEvents, HeaderSessionExpires,
					HeaderRejectContact, HeaderRequestDisposition, HeaderAcceptContact, HeaderContentType, HeaderContentLength}
				for i, id := range want {
					if m.Headers[i].ID != id {
						t.Errorf("header %s is %v, want %v", m.Headers[i].Name, m.Headers[i].ID, id)
					}
				}
				eq(t, "call-id", m.CallID, "c1")
				eq(t, "by long name", m.GetName("Session-Expires"), "90")
				eq(t, "body", m.Body, "hi")
			}},
		{name: "tab after colon", in: "OPTIONS sip:h SIP/2.0\r\n" + required + "Content-Length:\t3\r\n\r\nabcd", check: func(t *testing.T, m *Message) {
			eq(t, "body", m.Body, "abc")
			eq(t, "rest", m.Rest, "d")
		}},
		{name: "folded first header", in: "OPTIONS sip:h SIP/2.0\r\nSubject:\r\n\t one\r\n  two\r\n" + required + "\r\n", check: func(t *testing.T, m *Message) {
			eq(t, "subject", m.Get(HeaderSubject), "one two")
		}},
		{name: "continuation without a header", in: "OPTIONS sip:h SIP/2.0\r\n x: y\r\n" + required + "\r\n", warn: "3261 7.3.1 continuation", check: func(t *testing.T, m *Message) {
			if len(m.Headers) != 5 {
				t.Errorf("%d headers, want 5", len(m.Headers))
			}
		}},
		{name: "LF only", in: strings.ReplaceAll("OPTIONS sip:h SIP/2.0\r\n"+required+"\r\nbody", "\r", ""), warn: "3261 7 line ends", check: func(t *testing.T, m *Message) { eq(t, "body", m.Body, "body") }},
		{name: "status without reason", in: "SIP/2.0 486 \r\n" + required + "\r\n", check: func(t *testing.T, m *Message) {
			if m.Status != 486 || m.Request {
				t.Errorf("status %d, want 486", m.Status)
			}
		}},
		{name: "status without reason and space", in: "SIP/2.0 200\r\n" + required + "\r\n", warn: "3261 25.1 no space", check: func(t *testing.T, m *Message) {
			if m.Status != 200 {
				t.Errorf("status %d, want 200", m.Status)
			}
		}},
		{name: "status out of range", in: "SIP/2.0 999 X\r\n" + required + "\r\n", warn: "3261 25.1 status outside"},
		{name: "lower-case method", in: "invite sip:h SIP/2.0\r\n" + required + "\r\n", warn: "3261 8.1.1.5 method in CSeq", check: func(t *testing.T, m *Message) {
			if m.Method != Unknown || string(m.MethodText) != "invite" {
				t.Errorf("method %v %q, want unknown", m.Method, m.MethodText)
			}
		}},
		{name: "lower-case version", in: "OPTIONS sip:h sip/2.0\r\n" + required + "\r\n", warn: "3261 7.1 version"},
		{name: "keep-alives first", in: "\r\n\r\nOPTIONS sip:h SIP/2.0\r\n" + required + "\r\n", check: func(t *testing.T, m *Message) {
			if m.Off != 4 {
				t.Errorf("offset %d, want 4", m.Off)
			}
		}},
		{name: "garbage in headers", in: "OPTIONS sip:h SIP/2.0\r\n\xff\xfe\x00: \xc3\x28\r\nno colon here\r\n" + required + "\r\n", warn: "3261 25.1 header name,3261 7.3.1 header line without a colon"},
		{name: "binary body", in: "OPTIONS sip:h SIP/2.0\r\n" + required + "Content-Length: 6\r\n\r\n\x00\r\n\r\n\xff", check: func(t *testing.T, m *Message) {
			eq(t, "body", m.Body, "\x00\r\n\r\n\xff")
		}},
		{name: "no end of headers", in: "OPTIONS sip:h SIP/2.0\r\n" + required[:len(required)-2], warn: "3261 7 input ends", check: func(t *testing.T, m *Message) {
			if m.CSeqMethod != OPTIONS || len(m.Body) != 0 {
				t.Errorf("CSeq method %v and %d bytes of body", m.CSeqMethod, len(m.Body))
			}
		}},
		{name: "cut in a header", in: "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;bra", warn: "3261 7 input ends,3261 8.1.1 no Call-ID,3261 8.1.1 no CSeq,3261 8.1.1 no From,3261 8.1.1 no To"},
		{name: "stream without Content-Length", in: "OPTIONS sip:h SIP/2.0\r\n" + strings.Replace(required, "UDP", "TCP", 1) + "\r\n", warn: "3261 18.3 no Content-Length"},
		{name: "huge Content-Length", in: "OPTIONS sip:h SIP/2.0\r\n" + required + "l: 99999999999999999999\r\n\r\nx", warn: "3261 18.3 Content-Length beyond", check: func(t *testing.T, m *Message) { eq(t, "body", m.Body, "x") }},
		{name: "folded Content-Length", in: "OPTIONS sip:h SIP/2.0\r\n" + required + "Content-Length:\r\n 1\r\n\r\nxy", check: func(t *testing.T, m *Message) { eq(t, "body", m.Body, "x") }},
		{name: "IPv6", in: "OPTIONS sip:u@[2001:db8::1]:5070 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::2]:5080;branch=z9hG4bK1;received=2001:db8::3;rport=6000\r\n" + required[strings.Index(required, "From"):] + "\r\n", check: func(t *testing.T, m *Message) {
			a := ParseAddress(m.RequestURI)
			eq(t, "host", a.Host, "2001:db8::1")
			eq(t, "via host", m.Via.Host, "2001:db8::2")
			eq(t, "received", m.Via.Received, "2001:db8::3")
			if a.Port != 5070 || m.Via.Port != 5080 || m.Via.RPort != 6000 {
				t.Errorf("ports %d, %d, rport %d", a.Port, m.Via.Port, m.Via.RPort)
			}
		}},
		{name: "empty", in: "", err: "byte 0"},
		{name: "only keep-alives", in: "\r\n\r\n", err: "byte 4"},
		{name: "HTTP", in: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", err: "want SIP/2.0"},
		{name: "no version", in: "INVITE sip:alan@example.com\r\nTo: x\r\n\r\n", err: "want SIP/2.0"},
		{name: "no URI", in: "INVITE SIP/2.0\r\n\r\n", err: "want a Request-URI"},
		{name: "binary", in: "\x80\x00\x01\x02", err: "want a method"},
		{name: "two-digit status", in: "SIP/2.0 20 OK\r\n\r\n", err: "three digits"},
		{name: "endless header", in: "OPTIONS sip:h SIP/2.0\r\n" + strings.Repeat("a: b\r\n", 20000), err: "within 65536 bytes"},
		{name: "endless folding", in: "OPTIONS sip:h SIP/2.0\r\nA: b" + strings.Repeat("\r\n c", 20000), err: "within 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Message
			err := Parse([]byte(c.in), &m)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if c.warn != "" {
				want = strings.Split(c.warn, ",")
			}
			ok := len(want) == len(m.Warnings)
			for i := range min(len(want), len(m.Warnings)) {
				ok = ok && strings.HasPrefix(m.Warnings[i].RFC+" "+m.Warnings[i].Text, want[i])
			}
			if !ok {
				t.Errorf("warnings %v, want %q", m.Warnings, want)
			}
			if c.check != nil {
				c.check(t, &m)
			}
		})
	}
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		in, display, user, host string
		port                    int
		tag, warn               string
	}{
		{in: `"A. \"B\" <c>" <sips:u:pw@h.example:5061;lr?x=y>;tag=t1`, display: `A. \"B\" <c>`, user: "u", host: "h.example", port: 5061, tag: "t1"},
		{in: "sip:u@h;tag=x;y", user: "u", host: "h", tag: "x"},
		{in: "<sip:h>", host: "h"},
		{in: "tel:+1-201-555-0123;phone-context=example.com", user: "+1-201-555-0123"},
		{in: "<tel:911;phone-context=+1>;tag=z", user: "911", tag: "z"},
		{in: "<sip:[::1]:5060;transport=tcp>", host: "::1", port: 5060},
		{in: "*"},
		{in: "<sip:u@h>;x=\"a;tag=no\";TAG=yes", user: "u", host: "h", tag: "yes"},
		{in: "alice@example.com", user: "alice", host: "example.com", warn: "address without a scheme"},
		{in: "10.0.0.1:5060", host: "10.0.0.1", port: 5060, warn: "address without a scheme"},
		{in: "", warn: "no address"},
		{in: "<sip:u@h:99999>", user: "u", host: "h", warn: "host and port not understood"},
		{in: "<sip:u@::1>", user: "u", host: "::1", warn: "host and port not understood"},
		{in: "<sip:u@h", user: "u", host: "h", warn: "address without its closing angle bracket"},
		{in: "<urn:service:sos>"},
	} {
		a := ParseAddress([]byte(c.in))
		if string(a.Display) != c.display || string(a.User) != c.user || string(a.Host) != c.host || a.Port != c.port || string(a.Tag) != c.tag || a.Warn != c.warn {
			t.Errorf("%s: display %q user %q host %q port %d tag %q warning %q", c.in, a.Display, a.User, a.Host, a.Port, a.Tag, a.Warn)
		}
	}
}

func TestParseReason(t *testing.T) {
	var m Message
	in := "BYE sip:h SIP/2.0\r\nReason: Q.850;cause=16;text=\"Normal call, clearing\", SIP ;cause=200\r\nReason: X\r\n\r\n"
	if err := Parse([]byte(in), &m); err != nil {
		t.Fatal(err)
	}
	var got []string
	m.Values(HeaderReason, func(b []byte) bool {
		r := ParseReason(b)
		got = append(got, fmt.Sprintf("%s %d %s", r.Protocol, r.Cause, r.Text))
		return true
	})
	if want := "Q.850 16 Normal call, clearing|SIP 200 |X -1 "; strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
}

func TestMultipartSDP(t *testing.T) {
	for _, end := range []string{"\r\n--b1\r\nContent-Type: text/plain\r\n\r\nx\r\n--b1--\r\n", "\r\n--b1--\r\n"} {
		in := "INVITE sip:h SIP/2.0\r\nContent-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n--b1\r\nContent-Type: application/isup\r\n\r\n\x01\x10\r\n--b1\r\nc: Application/SDP\r\n\r\nv=0\r\ns=-" + end
		var m Message
		if err := Parse([]byte(in), &m); err != nil {
			t.Fatal(err)
		}
		eq(t, "SDP part", m.SDP(), "v=0\r\ns=-")
	}
}

func TestFrame(t *testing.T) {
	one := "OPTIONS sip:h SIP/2.0\r\n" + required + "Content-Length: 4\r\n\r\nabcd"
	two := "SIP/2.0 200 OK\r\n" + required + "l:0\r\n\r\n"
	stream := "\r\n\r\n" + one + two + "\r\n" + one
	// Byte by byte the same messages come out as in one piece.
	var got []string
	off := 0
	for end := 1; end <= len(stream); end++ {
		n, ok, err := Frame([]byte(stream[off:end]))
		if err != nil {
			t.Fatalf("at byte %d: %v", end, err)
		}
		if ok {
			got = append(got, stream[off:off+n])
		}
		off += n
	}
	want := []string{one, two, one}
	if len(got) != len(want) || off != len(stream) {
		t.Fatalf("%d messages and %d bytes used, want %d and %d", len(got), off, len(want), len(stream))
	}
	for i := range want {
		if strings.TrimLeft(got[i], "\r\n") != want[i] {
			t.Errorf("message %d is %q", i, got[i])
		}
	}
	for _, c := range []struct{ name, in, err string }{
		{"binary", "\x16\x03\x01", "want a method"},
		{"HTTP", "GET / HTTP/1.1\r\n", "want SIP/2.0"},
		{"long line", "INVITE " + strings.Repeat("x", maxStartLine), "within 8192"},
		{"long method", strings.Repeat("x", maxMethod+1), "too long"},
		{"header too long", "OPTIONS sip:h SIP/2.0\r\nA: " + strings.Repeat("x", MaxHeaderBytes), "within 65536"},
		{"body too long", "OPTIONS sip:h SIP/2.0\r\nl: 1048577\r\n\r\n", "at most 1048576"},
	} {
		if n, ok, err := Frame([]byte(c.in)); ok || err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: got %d %v %v, want error %q", c.name, n, ok, err, c.err)
		}
	}
}

func TestResync(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
	}{
		{"tag=1\r\nVia: SIP/2.0/UDP h\r\n\r\nINVITE sip:h SIP/2.0\r\n", 29},
		{"xSIP/2.0 200 OK\r\n", 1},
		{"x: SIP/2.0/UDP h\r\n", -1},
		{"INVITE sip:h SIP/2.0\r\n", -1}, // the first byte is not the next
		{"INVITE sip:h SIP/2.0\r\nBYE sip:h SIP/2.0\n", 22},
		{"", -1},
		{"SIP/2.0", -1},
	} {
		if got := Resync([]byte(c.in)); got != c.want {
			t.Errorf("%q: got %d, want %d", c.in, got, c.want)
		}
	}
}

func TestLooks(t *testing.T) {
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"SIP/2.0 200 OK\r\n", true},
		{"SIP/2.0 200\r\n", true},
		{"SIP/2.0 2000\r\n", false},
		{"\r\nOPTIONS * SIP/2.0\r\n", true},
		{"FOO+bar tel:1 SIP/2.0\n", true},
		{"INVITE sip:h SIP/2.0", false}, // no line end
		{"GET / HTTP/1.1\r\n", false},
		{"GET / HTTP/1.1\r\nX: SIP/2.0\r\n", false},
		{"RTSP/1.0 200 OK\r\n", false},
		{"\x80\x00\x12\x34SIP/2.0 200 OK\r\n", false},
		{"\r\n\r\n\r\n\r\n\r\n\r\n\r\n", false},
		{"", false},
	} {
		if got := Looks([]byte(c.in)); got != c.want {
			t.Errorf("%q: got %v, want %v", c.in, got, c.want)
		}
	}
}

func TestElide(t *testing.T) {
	in := crlf(`INVITE sip:bob:hunter2@h SIP/2.0
From: <sip:al:sesame:x@h>;tag=1
To: <sip:[2001:db8::1]:5060>
Authorization: Digest username="al", realm="a,b", nonce="N0nce", uri="sip:h", response="R3sp", cnonce="Cn", opaque="Opq",
  qop=auth, nc=00000001, algorithm=MD5
Proxy-Authorization: Basic YWw6c2VzYW1l==
WWW-Authenticate: Digest realm="r", nonce="Ch4l", ck="Key1", ik="Key2"
Authentication-Info: nextnonce="Nx", rspauth="Ra", qop=auth
X-Twilio-Signature: S1gn
x-twilio-token: T0ken
X-Bad: ` + "\xff\x01" + `z
Content-Type: application/sdp

v=0
k=clear:Secret1
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:Secret2|2^20|1:32
 A=Crypto: 2 F8 inline:Secret3;inline:Secret4
a=crypto:inline:Secret5
a=ice-ufrag:Ufr
a=ice-pwd:Secret6
a=key-mgmt:mikey Secret7
Secret8
m=audio 1 RTP/SAVP 0
`)
	var m Message
	if err := Parse(in, &m); err != nil {
		t.Fatal(err)
	}
	got := string(Elide([]byte("x"), &m, 4096))
	for _, secret := range []string{"hunter2", "sesame", "N0nce", "R3sp", "\"Cn\"", "Opq", "YWw6", "Ch4l", "Key1", "Key2", "Nx", "\"Ra\"", "S1gn", "T0ken", "Secret", "\xff"} {
		if strings.Contains(got, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	for _, shown := range []string{
		"xINVITE sip:bob:…@h SIP/2.0\n", "From: <sip:al:…@h>;tag=1\n", "To: <sip:[2001:db8::1]:5060>\n",
		`Authorization: Digest username="al", realm="a,b", nonce=…, uri="sip:h", response=…, cnonce=…, opaque=…, qop=auth, nc=00000001, algorithm=MD5` + "\n",
		"Proxy-Authorization: Basic …\n", `WWW-Authenticate: Digest realm="r", nonce=…, ck=…, ik=…` + "\n",
		"X-Twilio-Signature: …\n", "X-Bad: \ufffd\ufffdz\n", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:…\n", "a=ice-ufrag:Ufr\n", "a=ice-pwd:…\n", "m=audio 1 RTP/SAVP 0\n",
	} {
		if !strings.Contains(got, shown) {
			t.Errorf("%q is not shown in\n%s", shown, got)
		}
	}

	message := "MESSAGE sip:h SIP/2.0\r\nContent-Type: text/plain;charset=utf-8\r\n\r\nmeet at noon"
	if err := Parse([]byte(message), &m); err != nil {
		t.Fatal(err)
	}
	if got := string(Elide(nil, &m, 4096)); !strings.HasSuffix(got, "\n\n[12 bytes of text/plain]\n") || strings.Contains(got, "noon") {
		t.Errorf("a text message is shown as %q", got)
	}
	for _, tm := range tortureMessages(t) {
		if Parse(tm.data, &m) != nil {
			continue
		}
		whole := Elide(nil, &m, 1<<20)
		for limit := range len(whole) + 2 {
			cut := Elide(nil, &m, limit)
			if len(cut) > limit || !utf8.Valid(cut) || limit >= len(whole) && !bytes.Equal(cut, whole) {
				t.Fatalf("%s: with at most %d bytes got %d, %q", tm.name, limit, len(cut), cut)
			}
		}
	}
}

func TestHeaderNames(t *testing.T) {
	for id := HeaderUnknown + 1; id < endHeaders; id++ {
		if id == singleHeaders {
			continue
		}
		if id.String() == "" || headerID([]byte(strings.ToUpper(id.String()))) != id {
			t.Errorf("header %d, %q, is not found by its name", id, id)
		}
	}
	if singleHeaders > 64 {
		t.Error("more single headers than bits in Parse's set")
	}
}

func TestAllocs(t *testing.T) {
	var m Message
	folded := tortureMessages(t)[0].data
	if n := testing.AllocsPerRun(100, func() {
		if Parse(invite, &m) != nil || Parse(folded, &m) != nil {
			t.Fatal("refused")
		}
		if _, ok, _ := Frame(invite); !ok {
			t.Fatal("no frame")
		}
	}); n != 0 {
		t.Errorf("%v allocations a message, want none", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, m := range tortureMessages(f) {
		f.Add(m.data)
	}
	f.Add(invite)
	f.Add([]byte("OPTIONS sip:h SIP/2.0\r\nl:\r\n 1\r\n\r\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		err := Parse(b, &m)
		if err == nil {
			if m.Off+m.Len+len(m.Rest) != len(b) || m.HeaderLen+len(m.Body) != m.Len {
				t.Fatalf("off %d, header %d, length %d, rest %d of %d bytes", m.Off, m.HeaderLen, m.Len, len(m.Rest), len(b))
			}
			for _, w := range m.Warnings {
				if w.Off < 0 || w.Off > len(b) || w.RFC == "" || w.Text == "" {
					t.Fatalf("warning %v", w)
				}
			}
		}
		if Looks(b) && err != nil && len(b) < MaxHeaderBytes {
			t.Fatalf("looks like SIP but %v", err)
		}
		n, ok, ferr := Frame(b)
		if ok {
			var s Message
			if err := Parse(b[:n], &s); err != nil {
				t.Fatalf("framed, but %v", err)
			}
			if len(s.Rest) != 0 && s.ContentLength >= 0 || s.ContentLength > len(s.Body) {
				t.Fatalf("frame of %d bytes, Content-Length %d, body %d, rest %d", n, s.ContentLength, len(s.Body), len(s.Rest))
			}
		} else if ferr == nil && n > len(b) {
			t.Fatalf("%d of %d bytes to drop", n, len(b))
		}
		for i := range min(len(m.Headers), 50) {
			id := m.Headers[i].ID
			_ = id.String()
			m.Values(id, func(v []byte) bool {
				a := ParseAddress(v)
				_ = a.AppendDisplay(nil)
				_ = a.Param("q")
				ParseVia(v)
				ParseReason(v)
				return true
			})
			if m.GetName(string(m.Headers[i].Name)) == nil {
				t.Fatalf("header %q is not found", m.Headers[i].Name)
			}
		}
		_ = m.Method.String()
		m.SDP()
		if text := Elide(nil, &m, 500); len(text) > 500 || !utf8.Valid(text) {
			t.Fatalf("elided to %d bytes, %q", len(text), text)
		}
	})
}

// FuzzFrame cuts a stream into messages in one piece and in two; the messages
// must be the same.
func FuzzFrame(f *testing.F) {
	for _, m := range tortureMessages(f) {
		f.Add(m.data, 100)
	}
	f.Add(append(append([]byte("\r\n"), invite...), invite...), 50)
	f.Add(append(bytes.Repeat([]byte("x"), maxMethod+1), invite...), maxMethod+10) // refused in part and whole
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		if split < 0 || split > len(b) {
			split = len(b) / 2
		}
		n, ok, err := Frame(b)
		pn, pok, perr := Frame(b[:split])
		switch {
		case pok && (!ok || n != pn):
			t.Fatalf("%d bytes of the first %d, but then %d %v %v", pn, split, n, ok, err)
		case perr != nil && err == nil:
			t.Fatalf("an error in the first %d bytes alone: %v", split, perr)
		}
		if err != nil {
			if at := Resync(b); at == 0 || at >= len(b) || at > 0 && !Looks(b[at:]) && !looksLine(b[at:]) {
				t.Fatalf("resync at %d of %d", at, len(b))
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.SetBytes(int64(len(invite)))
	b.ReportAllocs()
	var m Message
	for b.Loop() {
		if err := Parse(invite, &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFrame(b *testing.B) {
	b.SetBytes(int64(len(invite)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := Frame(invite); !ok {
			b.Fatal("no frame")
		}
	}
}

func BenchmarkElide(b *testing.B) {
	b.ReportAllocs()
	var m Message
	if err := Parse(invite, &m); err != nil {
		b.Fatal(err)
	}
	var dst []byte
	for b.Loop() {
		dst = Elide(dst[:0], &m, 4096)
	}
}

func BenchmarkLooks(b *testing.B) {
	rtp := make([]byte, 172)
	rtp[0] = 0x80
	for _, c := range []struct {
		name string
		in   []byte
	}{{"rtp", rtp}, {"stun", make([]byte, 20)}, {"http", []byte("GET /index.html HTTP/1.1\r\nHost: h\r\n\r\n")}, {"sip", invite}} {
		b.Run("in="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Looks(c.in)
			}
		})
	}
}
