package http

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

// all gives all messages and errors of a stream that is fed in pieces.
func all(p *Parser, stream string, size int) (ms []Message, errs []error) {
	for len(stream) > 0 {
		n := min(size, len(stream))
		p.Feed([]byte(stream[:n]))
		stream = stream[n:]
		more, failed := drain(p)
		ms, errs = append(ms, more...), append(errs, failed...)
	}
	return ms, errs
}

func drain(p *Parser) (ms []Message, errs []error) {
	for {
		var m Message
		ok, err := p.Next(&m)
		switch {
		case err != nil:
			errs = append(errs, err)
		case ok:
			ms = append(ms, m)
		default:
			return ms, errs
		}
	}
}

func summary(m Message) string {
	s := fmt.Sprintf("%d-%d-%d %s %s %d %q", m.Off, m.HeadEnd, m.End, m.Method, m.Target, m.Status, m.Body)
	if m.BodyLen != int64(len(m.Body)) {
		s += fmt.Sprintf(" of %d", m.BodyLen)
	}
	if m.Lost != 0 {
		s += fmt.Sprintf(" lost %d", m.Lost)
	}
	if m.Truncated {
		s += " truncated"
	}
	return s
}

// Each stream is fed whole and in pieces of every size up to 7: the messages
// are the same.
func TestStreams(t *testing.T) {
	tests := []struct {
		name     string
		asked    []string
		stream   string
		finish   bool
		want     []string
		errs     int
		upgraded bool
		rest     string
	}{
		{"request without body", nil, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", false, []string{`0-28-28 GET /a 0 ""`}, 0, false, ""},
		{"request with body, and another", nil, "POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n", false,
			[]string{`0-39-44 POST /b 0 "hello"`, `44-62-62 GET / 0 ""`}, 0, false, ""},
		{"line feeds only", nil, "POST / HTTP/1.1\nContent-Length: 2\n\nab", false, []string{`0-35-37 POST / 0 "ab"`}, 0, false, ""},
		{"empty lines before the request", nil, "\r\n\r\nGET / HTTP/1.1\r\n\r\n", false, []string{`4-22-22 GET / 0 ""`}, 0, false, ""},
		{"another method", nil, "SUBSCRIBE / HTTP/1.1\r\n\r\n", false, []string{`0-24-24 SUBSCRIBE / 0 ""`}, 0, false, ""},
		// RFC 9112, 7.1: chunks with an extension, and a trailer field.
		{"chunks", nil, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n6;a=b\r\npedia \r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", false,
			[]string{`0-47-97   200 "Wikipedia 0123456789"`, `97-124-124   204 ""`}, 0, false, ""},
		{"chunked wins over content length", nil, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", false,
			[]string{`0-73-84   200 "x"`}, 0, false, ""},
		{"read until close", nil, "HTTP/1.0 200 OK\r\n\r\nall of it", true, []string{`0-19-28   200 "all of it"`}, 0, false, ""},
		{"no length, not closed", nil, "HTTP/1.0 200 OK\r\n\r\nall of it", false, nil, 0, false, ""},
		{"no body: 304 with a length", nil, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false,
			[]string{`0-48-48   304 ""`, `48-86-86   200 ""`}, 0, false, ""},
		{"no body: HEAD", []string{"HEAD", "GET"}, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz", false,
			[]string{`0-38-38   200 ""`, `38-76-77   200 "z"`}, 0, false, ""},
		{"100 before the answer to HEAD", []string{"HEAD"}, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false,
			[]string{`0-25-25   100 ""`, `25-63-63   200 ""`}, 0, false, ""},
		{"no reason phrase", nil, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, []string{`0-35-35   200 ""`}, 0, false, ""},
		{"switch to WebSocket", []string{"GET"}, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi", false,
			[]string{`0-56-56   101 ""`}, 0, true, "\x81\x02hi"},
		{"tunnel", []string{"CONNECT"}, "HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x01", false,
			[]string{`0-39-39   200 ""`}, 0, true, "\x16\x03\x01"},
		{"tunnel refused", []string{"CONNECT"}, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", false,
			[]string{`0-45-47   403 "no"`}, 0, false, ""},
		{"request for WebSocket and frames", nil, "GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x82abcd", false,
			[]string{`0-73-73 GET /ws 0 ""`}, 0, true, "\x81\x82abcd"},
		{"request for WebSocket refused, another request", nil, "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /next HTTP/1.1\r\n\r\n", false,
			[]string{`0-61-61 GET /ws 0 ""`, `61-83-83 GET /next 0 ""`}, 0, false, ""},
		{"request for a tunnel and TLS", nil, "CONNECT a:443 HTTP/1.1\r\n\r\n\x16\x03\x01", false, []string{`0-26-26 CONNECT a:443 0 ""`}, 0, true, "\x16\x03\x01"},
		{"begins in the middle of a body", nil, "}]}\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", false, []string{`5-43-44   200 "x"`}, 1, false, ""},
		{"start line right after other text", nil, "</html>HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", true, []string{`7-45-46   200 "x"`}, 1, false, ""},
		{"two lengths", nil, "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nGET / HTTP/1.1\r\n\r\n", false,
			[]string{`0-55-55 POST / 0 "" truncated`, `57-75-75 GET / 0 ""`}, 1, false, ""},
		{"the same length twice", nil, "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\nx", false, []string{`0-41-42 POST / 0 "x"`}, 0, false, ""},
		{"negative length", nil, "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", true, []string{`0-37-37 POST / 0 "" truncated`}, 1, false, ""},
		{"bad chunk size", nil, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\nHTTP/1.1 204 x\r\n\r\n", false,
			[]string{`0-47-58   200 "ab" truncated`, `58-76-76   204 ""`}, 1, false, ""},
		{"huge chunk size", nil, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", false,
			[]string{`0-47-67   200 "" truncated`}, 1, false, ""},
		{"cut in the body", nil, "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", true, []string{`0-38-41 POST / 0 "abc" truncated`}, 0, false, ""},
		{"cut in the head", nil, "GET / HTTP/1.1\r\nHost: x\r\nUser-", true, []string{`0-25-25 GET / 0 "" truncated`}, 0, false, ""},
	}
	for _, tt := range tests {
		for _, size := range []int{len(tt.stream), 1, 2, 3, 4, 5, 6, 7} {
			t.Run(fmt.Sprintf("%s/size=%d", tt.name, size), func(t *testing.T) {
				var p Parser
				for _, a := range tt.asked {
					p.Requested(a)
				}
				var rest []byte
				var ms []Message
				var errs []error
				for i := 0; i < len(tt.stream); i += size {
					more, failed := all(&p, tt.stream[i:min(i+size, len(tt.stream))], size)
					ms, errs = append(ms, more...), append(errs, failed...)
					rest = append(rest, p.Rest()...)
				}
				if tt.finish {
					p.Finish()
					more, failed := drain(&p)
					ms, errs = append(ms, more...), append(errs, failed...)
				}
				var have []string
				for _, m := range ms {
					have = append(have, summary(m))
				}
				if !slices.Equal(have, tt.want) {
					t.Errorf("have %q\nwant %q", have, tt.want)
				}
				if len(errs) != tt.errs {
					t.Errorf("errors are %v, want %d", errs, tt.errs)
				}
				for _, err := range errs {
					var we *wire.Error
					if !errors.As(err, &we) || we.Proto != "http" || we.Off < 0 || we.Off > int64(len(tt.stream)) {
						t.Errorf("error is %v", err)
					}
				}
				if p.Upgraded() != tt.upgraded || string(rest) != tt.rest {
					t.Errorf("upgraded %v, rest %q", p.Upgraded(), rest)
				}
			})
		}
	}
}

func TestFields(t *testing.T) {
	var p Parser
	ms, errs := all(&p, "POST /2010-04-01/Accounts HTTP/1.1\r\nhOST:api.example.com\r\nContent-Type : application/json \r\nContent-Encoding: gzip\r\n"+
		"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-Folded: a\r\n  b\r\n\tc\r\nno colon\r\nX-Odd: a\x00b\xff\xc3\xa9\r\nContent-Length: 0\r\n\r\n", 9)
	if len(ms) != 1 || len(errs) != 0 {
		t.Fatalf("%v, %v", ms, errs)
	}
	m := ms[0]
	if m.Host != "api.example.com" || m.ContentType != "application/json" || m.ContentEncoding != "gzip" || m.Version != "HTTP/1.1" || !m.Request {
		t.Errorf("%+v", m)
	}
	if m.Get("x-folded") != "a b c" || m.Malformed != 1 || m.Get("absent") != "" {
		t.Errorf("%+v", m)
	}
	if m.Get("X-Odd") != "a\ufffdb\ufffdé" {
		t.Errorf("%q", m.Get("X-Odd"))
	}
	// RFC 9110, 5.6.7: the same instant in three forms.
	for _, d := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"} {
		m.Date = d
		if s, ok := m.DateUnix(); !ok || s != 784111777 {
			t.Errorf("%s is %d, %v", d, s, ok)
		}
	}
	m.Date = "yesterday"
	if _, ok := m.DateUnix(); ok {
		t.Error("yesterday is a date")
	}
}

func TestBounds(t *testing.T) {
	t.Run("body", func(t *testing.T) {
		p := Parser{MaxBody: 10}
		ms, _ := all(&p, "POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n"+strings.Repeat("x", 3000000), 1400)
		if len(ms) != 1 || len(ms[0].Body) != 10 || ms[0].BodyLen != 3000000 || ms[0].Truncated {
			t.Errorf("%d messages", len(ms))
		}
		if cap(p.buf) > 1<<16 {
			t.Errorf("%d bytes of buffer", cap(p.buf))
		}
	})
	t.Run("default body", func(t *testing.T) {
		var p Parser
		ms, _ := all(&p, "POST / HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n"+strings.Repeat("x", 3000000), 1400)
		if len(ms) != 1 || len(ms[0].Body) != 1<<20 || ms[0].BodyLen != 3000000 {
			t.Errorf("%d messages", len(ms))
		}
	})
	t.Run("fields", func(t *testing.T) {
		var p Parser
		ms, _ := all(&p, "GET / HTTP/1.1\r\n"+strings.Repeat("A: b\r\n", 300)+"Host: h\r\n\r\n", 1400)
		if len(ms) != 1 || len(ms[0].Headers) != 256 || ms[0].Malformed != 45 || ms[0].Host != "h" {
			t.Errorf("%+v", ms)
		}
	})
	for name, stream := range map[string]string{
		"one endless line":         "GET /" + strings.Repeat("a", 100<<10),
		"endless head":             "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 20000),
		"endless field":            "GET / HTTP/1.1\r\nA: " + strings.Repeat("b", 100<<10),
		"endless trailers":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("A: b\r\n", 20000),
		"endless chunk extension":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("b", 100<<10),
		"nothing but start lines?": strings.Repeat("GET /", 20000),
	} {
		t.Run(name, func(t *testing.T) {
			var p Parser
			_, errs := all(&p, stream, 1400)
			if len(errs) != 1 {
				t.Errorf("errors are %v", errs)
			}
			if len(p.buf)-p.pos > maxHead || cap(p.buf) > 4*maxHead {
				t.Errorf("%d bytes are held in %d", len(p.buf)-p.pos, cap(p.buf))
			}
			ms, _ := all(&p, "\r\nGET /found HTTP/1.1\r\n\r\n", 1400)
			if len(ms) == 0 || ms[len(ms)-1].Target != "/found" {
				t.Error("the next request is not found")
			}
		})
	}
}

func TestLost(t *testing.T) {
	const post, next = "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n", "GET /next HTTP/1.1\r\n\r\n"
	const chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nab"
	tests := []struct {
		name   string
		before string
		n      int64
		after  string
		want   []string
	}{
		{"within a body", post + "abc", 4, "xyz" + next, []string{`0-39-49 POST / 0 "abcxyz" of 10 lost 4 truncated`, `49-71-71 GET /next 0 ""`}},
		{"to the end of a body", post + "abc", 7, next, []string{`0-39-49 POST / 0 "abc" of 10 lost 7 truncated`, `49-71-71 GET /next 0 ""`}},
		{"beyond a body", post + "abc", 20, "T / HTTP/1.1\r\n\r\n" + next, []string{`0-39-62 POST / 0 "abc" of 10 lost 7 truncated`, `78-100-100 GET /next 0 ""`}},
		{"of unknown length", post + "abc", 0, "xyz" + next, []string{`0-39-42 POST / 0 "abc" truncated`, `45-67-67 GET /next 0 ""`}},
		{"between messages", "GET /a HTTP/1.1\r\n\r\n", 100, "st: x\r\n\r\n" + next, []string{`0-19-19 GET /a 0 ""`, `128-150-150 GET /next 0 ""`}},
		{"within a head", "GET /a HTTP/1.1\r\nHos", 3, "st: x\r\n\r\n" + next, []string{`0-23-23 GET /a 0 "" truncated`, `32-54-54 GET /next 0 ""`}},
		{"within a chunk", chunks, 4, "gh\r\n0\r\n\r\n", []string{`0-47-65   200 "abgh" of 8 lost 4 truncated`}},
		{"beyond a chunk", chunks, 40, "gh\r\n0\r\n\r\n" + next, []string{`0-47-92   200 "ab" truncated`, `101-123-123 GET /next 0 ""`}},
		{"read until close", "HTTP/1.0 200 OK\r\n\r\nab", 4, "gh", []string{`0-19-27   200 "abgh" of 8 lost 4 truncated`}},
	}
	for _, tt := range tests {
		for _, size := range []int{1000, 1, 3} {
			t.Run(fmt.Sprintf("%s/size=%d", tt.name, size), func(t *testing.T) {
				var p Parser
				ms, _ := all(&p, tt.before, size)
				p.Lost(tt.n)
				more, errs := drain(&p)
				ms = append(ms, more...)
				more, failed := all(&p, tt.after, size)
				ms, errs = append(ms, more...), append(errs, failed...)
				p.Finish()
				more, failed = drain(&p)
				ms, errs = append(ms, more...), append(errs, failed...)
				var have []string
				for _, m := range ms {
					have = append(have, summary(m))
				}
				if !slices.Equal(have, tt.want) || len(errs) != 0 {
					t.Errorf("have %q, errors %v\nwant %q", have, errs, tt.want)
				}
			})
		}
	}
}

func TestLooks(t *testing.T) {
	tests := []struct {
		in   string
		want bool
	}{
		{"GET / HTTP/1.1\r\n", true},
		{"OPTIONS * HTTP/1.0\n", true},
		{"CONNECT a.example:443 HTTP/1.1\r\n", true},
		{"POST http://a/ HTTP/1.1\r\nHost: a", true},
		{"HTTP/1.1 200 OK\r\n", true},
		{"HTTP/1.0 404\r\n", true},
		{"GET /" + strings.Repeat("x", 1200), true},
		{"GET /" + strings.Repeat("x", 10), false},
		{"GET / HTTP/2.0\r\n", false},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false},
		{"HTTP/1.1 999 OK\r\n", false},
		{"HTTP/1.1 20 OK\r\n", false},
		{"HTTP/2 200\r\n", false},
		{"OPTIONS sip:a@b SIP/2.0\r\n", false},
		{"OPTIONS sip:" + strings.Repeat("x", 1200), false},
		{"OPTIONS rtsp://a RTSP/1.0\r\n", false},
		{"SIP/2.0 200 OK\r\n", false},
		{"GETTING / HTTP/1.1\r\n", false},
		{"GET /" + strings.Repeat("\x01", 1200), false},
		{"GET", false},
		{"", false},
		{"\x16\x03\x01", false},
	}
	for _, tt := range tests {
		if got := Looks([]byte(tt.in)); got != tt.want {
			t.Errorf("%.40q: %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestDecode(t *testing.T) {
	const plain = "hello, hello, hello, hello"
	pack := func(f func(io.Writer) io.WriteCloser) []byte {
		var b bytes.Buffer
		w := f(&b)
		io.WriteString(w, plain)
		w.Close()
		return b.Bytes()
	}
	zipped := pack(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	for name, body := range map[string][]byte{
		"gzip": zipped, "x-gzip": zipped, " GZip ": zipped, "": []byte(plain), "identity": []byte(plain),
		"deflate": pack(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
		"Deflate": pack(func(w io.Writer) io.WriteCloser { f, _ := flate.NewWriter(w, 9); return f }),
	} {
		if got, err := Decode(name, body, len(plain)); string(got) != plain || err != nil {
			t.Errorf("%q: %q, %v", name, got, err)
		}
		if got, err := Decode(name, body, 5); string(got) != "hello" || !errors.Is(err, ErrTooLong) {
			t.Errorf("%q to 5 bytes: %q, %v", name, got, err)
		}
	}
	if got, err := Decode("gzip", zipped[:len(zipped)-6], 1000); string(got) != plain || err == nil {
		t.Errorf("cut: %q, %v", got, err)
	}
	for _, name := range []string{"br", "zstd", "compress", "gzip, gzip"} {
		if _, err := Decode(name, zipped, 1000); err == nil {
			t.Errorf("%s decoded", name)
		}
	}
	if _, err := Decode("gzip", []byte("no"), 1000); err == nil {
		t.Error("decoded what is no gzip")
	}
}

// Bodies made by other programs: brotli by Node.js 20, zstd by zstd 1.5.
func TestDecodeOthers(t *testing.T) {
	const plain = "hello, hello, hello, hello"
	for name, packed := range map[string]string{
		"br":   "1b1900f88d946ede44095286966c2c6f314f24b0e300",
		"zstd": "28b52ffd04586d00003868656c6c6f2c2001004a8a118f995337",
		"ZSTD": "28b52ffd04586d00003868656c6c6f2c2001004a8a118f995337",
	} {
		body, err := hex.DecodeString(packed)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(name, body, len(plain)); string(got) != plain || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if got, err := Decode(name, body, 5); string(got) != "hello" || !errors.Is(err, ErrTooLong) {
			t.Errorf("%s to 5 bytes: %q, %v", name, got, err)
		}
		if got, err := Decode(name, body[:len(body)-5], 1000); !strings.HasPrefix(plain, string(got)) || err == nil {
			t.Errorf("%s cut: %q, %v", name, got, err)
		}
	}
	// RFC 8878, 3.1.1.1.2: a window descriptor of 0x88 asks for 128 MiB; one raw
	// block of a byte follows.
	if got, err := Decode("zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x09, 0x00, 0x00, 'a'}, 1000); err == nil {
		t.Errorf("a window of 128 MiB gives %q", got)
	}
	if got, err := Decode("zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x09, 0x00, 0x00, 'a'}, 1000); string(got) != "a" || err != nil {
		t.Errorf("a window of 2 MiB: %q, %v", got, err)
	}
	// A run-length block gives 128 KiB for 4 bytes (RFC 8878, 3.1.1.2.2).
	bomb := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58}, bytes.Repeat([]byte{0x02, 0x00, 0x10, 0}, 10000)...)
	if got, err := Decode("zstd", bomb, 1<<20); len(got) != 1<<20 || !errors.Is(err, ErrTooLong) {
		t.Errorf("a bomb gives %d bytes, %v", len(got), err)
	}
}

func TestElide(t *testing.T) {
	secret := "s3cr3t"
	in := []Header{{"Authorization", "Basic " + secret}, {"proxy-authorization", secret}, {"Cookie", "a=" + secret}, {"Set-Cookie", secret},
		{"X-Twilio-Signature", secret}, {"X-Twilio-Token", secret}, {"Location", "/x?AccessToken=" + secret + "&a=1"}, {"Host", "h?"}}
	const want = "GET / HTTP/1.1\nAuthorization: …\nproxy-authorization: …\nCookie: …\nSet-Cookie: …\nX-Twilio-Signature: …\nX-Twilio-Token: …\n" +
		"Location: /x?AccessToken=…&a=1\nHost: h?"
	if got := string((&Message{Request: true, Method: "GET", Target: "/", Version: "HTTP/1.1", Headers: in}).Detail(nil)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for _, tt := range []struct{ in, want string }{
		{"/a", "/a"},
		{"/a?", "/a?"},
		{"/a?b=c&d=e", "/a?b=c&d=e"},
		{"/a?b=c&token=s3cr3t&d=e", "/a?b=c&token=…&d=e"},
		{"/a?AccessToken=s3cr3t#f", "/a?AccessToken=…#f"},
		{"/a?%41ccessToken=s3cr3t", "/a?%41ccessToken=…"},
		{"/a?x?token=s3cr3t", "/a?x?token=…"},
		{"/a?token=s3=cr=3t&", "/a?token=…&"},
		{"/a?token", "/a?token"},
		{"https://AC1:s3cr3t@api.example.com/x?y=z", "https://…@api.example.com/x?y=z"},
		{"https://api.example.com/@x", "https://api.example.com/@x"},
	} {
		if got := ElideTarget(tt.in); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
	m := Message{Request: true, Method: "POST", Target: "/v1?token=s3cr3t", Version: "HTTP/1.1", Headers: in[:1], BodyLen: 12, ContentType: "audio/basic"}
	if got := string(m.Detail(nil)); got != "POST /v1?token=… HTTP/1.1\nAuthorization: …\n\n[12 bytes of audio/basic]" {
		t.Errorf("%q", got)
	}
	if got := (&Message{Status: 204, Version: "HTTP/1.1"}).Detail(nil); string(got) != "HTTP/1.1 204" {
		t.Errorf("%q", got)
	}
}

func FuzzParser(f *testing.F) {
	f.Add([]byte("GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), uint8(3), uint8(0))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n0\r\nX: y\r\n\r\n"), uint8(1), uint8(50))
	f.Add([]byte("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x82abcd"), uint8(7), uint8(0))
	f.Add([]byte("HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b"), uint8(0), uint8(20))
	f.Fuzz(func(t *testing.T, b []byte, size, gap uint8) {
		p := Parser{MaxBody: 100}
		p.Requested("HEAD")
		var last, lost int64
		steps := 0
		check := func() {
			for {
				var m Message
				ok, err := p.Next(&m)
				if steps++; steps > 10*len(b)+100 {
					t.Fatal("does not end")
				}
				if !ok && err == nil {
					return
				}
				if !ok {
					continue
				}
				if m.Off < last || m.HeadEnd < m.Off || m.End < m.HeadEnd || m.End > int64(len(b))+lost {
					t.Fatalf("message at %d, %d, %d after %d", m.Off, m.HeadEnd, m.End, last)
				}
				if len(m.Body) > 100 || int64(len(m.Body)) > m.BodyLen || m.Lost > m.BodyLen {
					t.Fatalf("body of %d of %d", len(m.Body), m.BodyLen)
				}
				if m.Request == (m.Status != 0) {
					t.Fatalf("%+v", m)
				}
				last = m.End
				m.Detail(nil)
				m.DateUnix()
				Decode(m.ContentEncoding, m.Body, 1000)
			}
		}
		n := int(size) + 1
		for i := 0; i < len(b); i += n {
			p.Feed(b[i:min(i+n, len(b))])
			check()
			if gap > 0 && i/n == int(gap)%16 {
				p.Lost(int64(gap) - 1)
				lost += int64(gap) - 1
				check()
			}
			if p.Upgraded() {
				p.Rest()
			}
		}
		p.Finish()
		check()
		Looks(b)
	})
}

func BenchmarkParser(b *testing.B) {
	stream := []byte(strings.Repeat("POST /2010-04-01/Accounts/AC0/Calls.json HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 30\r\n\r\n"+strings.Repeat("x", 30), 10))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		var p Parser
		var m Message
		p.Feed(stream)
		n := 0
		for {
			ok, err := p.Next(&m)
			if err != nil {
				b.Fatal(err)
			}
			if !ok {
				break
			}
			n++
		}
		if n != 10 {
			b.Fatalf("%d messages", n)
		}
	}
}
