package http2

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
	"golang.org/x/net/http2/hpack"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// pack makes a frame.
func pack(typ, flags byte, id uint32, payload []byte) []byte {
	n := len(payload)
	b := []byte{byte(n >> 16), byte(n >> 8), byte(n), typ, flags}
	return append(binary.BigEndian.AppendUint32(b, id), payload...)
}

var settings = pack(4, 0, 0, nil)

func start() []byte { return append([]byte(preface), settings...) }

func drain(c *Conn) (ms []Message, errs []error) {
	for {
		var m Message
		ok, err := c.Next(&m)
		if err != nil {
			errs = append(errs, err)
		} else if !ok {
			return ms, errs
		} else {
			m.Body = bytes.Clone(m.Body)
			ms = append(ms, m)
		}
	}
}

func all(c *Conn, client bool, b []byte, size int) (ms []Message, errs []error) {
	for piece := range slices.Chunk(b, size) {
		c.Feed(client, piece)
		m, e := drain(c)
		ms, errs = append(ms, m...), append(errs, e...)
	}
	return ms, errs
}

func summary(ms []Message) (s []string) {
	for _, m := range ms {
		t := fmt.Sprintf("%d-%d-%d %d", m.Off, m.HeadEnd, m.End, m.StreamID)
		switch {
		case m.Tunnel > TunnelOpen:
			t += " " + m.Tunnel.String()
		case m.Request:
			t += fmt.Sprintf(" %s %s %s %s", m.Method, m.Scheme, m.Authority, m.Target)
		default:
			t += fmt.Sprintf(" %d", m.Status)
		}
		for _, h := range m.Headers {
			t += fmt.Sprintf(" %s=%s", h.Name, h.Value)
		}
		if m.BodyLen > 0 || m.Lost > 0 {
			t += fmt.Sprintf(" %q of %d", m.Body, m.BodyLen)
		}
		for _, f := range []struct {
			on   bool
			name string
		}{{m.Tunnel == TunnelOpen, "open " + m.Protocol}, {m.Partial, "partial"}, {m.Truncated, "truncated"}, {m.Reset, "reset"}, {m.Malformed > 0, "malformed"}} {
			if f.on {
				t += " " + f.name
			}
		}
		s = append(s, t)
	}
	return s
}

// RFC 7541, C.3 and C.4: three requests on one connection, plain and in
// Huffman code.
func TestRequests(t *testing.T) {
	want := []string{
		" 1 GET http www.example.com /",
		" 3 GET http www.example.com / cache-control=no-cache",
		" 5 GET https www.example.com /index.html custom-key=custom-value",
	}
	for name, blocks := range map[string][]string{
		"C.3": {"828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865", "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"},
		"C.4": {"828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf", "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"},
	} {
		stream := start()
		for i, block := range blocks {
			stream = append(stream, pack(1, 0x5, uint32(2*i+1), unhex(block))...)
		}
		for _, size := range []int{1 << 20, 1, 7} {
			var c Conn
			ms, errs := all(&c, true, stream, size)
			have := summary(ms)
			for i := range have {
				_, have[i], _ = strings.Cut(have[i], " ")
				have[i] = " " + have[i]
			}
			if !slices.Equal(have, want) || len(errs) > 0 {
				t.Errorf("%s in pieces of %d:\nhave %q %v\nwant %q", name, size, have, errs, want)
			}
			if ms[0].Off != 33 || !ms[0].Client || ms[2].End != int64(len(stream)) {
				t.Errorf("%+v", ms)
			}
		}
	}
}

// RFC 7541, C.5 and C.6: three responses with a table of 256 bytes, which
// drops entries.
func TestResponses(t *testing.T) {
	const date1, date2 = "Mon, 21 Oct 2013 20:13:21 GMT", "Mon, 21 Oct 2013 20:13:22 GMT"
	const location = "https://www.example.com"
	const cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
	want := [][]Header{
		{{"cache-control", "private"}, {"date", date1}, {"location", location}},
		{{"cache-control", "private"}, {"date", date1}, {"location", location}},
		{{"cache-control", "private"}, {"date", date2}, {"location", location}, {"content-encoding", "gzip"}, {"set-cookie", cookie}},
	}
	status := []int{302, 307, 200}
	for name, blocks := range map[string][]string{
		"C.5": {"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
			"4803333037c1c0bf",
			"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31"},
		"C.6": {"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
			"4883640effc1c0bf",
			"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"},
	} {
		stream := bytes.Clone(settings)
		for i, block := range blocks {
			b := unhex(block)
			if i == 0 {
				b = append(unhex("3fe101"), b...) // a table of 256 bytes
			}
			stream = append(stream, pack(1, 0x5, uint32(2*i+1), b)...)
		}
		var c Conn
		ms, errs := all(&c, false, stream, 1000)
		if len(ms) != 3 || len(errs) != 0 {
			t.Fatalf("%s: %q %v", name, summary(ms), errs)
		}
		for i, m := range ms {
			if m.Status != status[i] || !slices.Equal(m.Headers, want[i]) || m.Request || m.Partial {
				t.Errorf("%s response %d: %+v", name, i, m)
			}
		}
		if ms[2].Date != date2 || ms[2].ContentEncoding != "gzip" || ms[2].Get("location") != location {
			t.Errorf("%+v", ms[2])
		}
	}
}

var get = unhex("828684410f7777772e6578616d706c652e636f6d")
var ok200 = []byte{0x88}

func TestFrames(t *testing.T) {
	const head = " 1 GET http www.example.com /"
	tests := []struct {
		name   string
		client bool
		in     []byte
		want   []string
		errs   int
	}{
		{"body in two frames, padded", true, slices.Concat(pack(1, 0x4, 1, get), pack(0, 0x8, 1, []byte("\x03abc\x00\x00\x00")), pack(0, 0x1, 1, []byte("de"))),
			[]string{"0-29-56" + head + ` "abcde" of 5`}, 0},
		{"padded and prioritised head", true, pack(1, 0x2d, 1, slices.Concat([]byte{2, 0, 0, 0, 0, 9}, get, []byte{0, 0})), []string{"0-37-37" + head}, 0},
		{"continuations", true, slices.Concat(pack(1, 0x1, 1, get[:5]), pack(9, 0, 1, get[5:6]), pack(9, 0x4, 1, get[6:])), []string{"0-47-47" + head}, 0},
		{"two streams", true, slices.Concat(pack(1, 0x4, 1, get), pack(1, 0x4, 3, []byte{0x82, 0x86, 0x84, 0xbe}), pack(0, 1, 3, []byte("x")), pack(0, 1, 1, []byte("y"))),
			[]string{"29-42-52 3 GET http www.example.com / \"x\" of 1", "0-29-62" + head + ` "y" of 1`}, 0},
		{"trailers", false, slices.Concat(pack(1, 0x4, 1, ok200), pack(0, 0, 1, []byte("x")), pack(1, 0x5, 1, unhex("40017801 79"))), []string{`0-10-34 1 200 "x" of 1`}, 0},
		{"interim response", false, slices.Concat(pack(1, 0x4, 1, unhex("0803313030")), pack(1, 0x5, 1, ok200)), []string{"0-14-14 1 100", "14-24-24 1 200"}, 0},
		{"push", false, slices.Concat(pack(5, 0x4, 1, append([]byte{0, 0, 0, 2}, get...)), pack(1, 0x5, 2, ok200)), []string{"0-33-33 2 GET http www.example.com /", "33-43-43 2 200"}, 0},
		{"reset", true, slices.Concat(pack(1, 0x4, 1, get), pack(0, 0, 1, []byte("x")), pack(3, 0, 1, []byte{0, 0, 0, 8})), []string{"0-29-52" + head + ` "x" of 1 truncated reset`}, 0},
		{"no end", true, pack(1, 0x4, 1, get), []string{"0-29-29" + head + " truncated"}, 0},
		{"frames without meaning", true, slices.Concat(pack(2, 0, 1, make([]byte, 5)), pack(6, 0, 0, make([]byte, 8)), pack(8, 0, 0, make([]byte, 4)), pack(0x42, 0xff, 7, make([]byte, 70)), pack(1, 0x5, 1, get)),
			[]string{"123-152-152" + head}, 0},
		{"missing continuation", true, slices.Concat(pack(1, 0x1, 1, get[:5]), pack(6, 0, 0, make([]byte, 8)), pack(1, 0x5, 3, get)), []string{"31-60-60 3 GET http www.example.com /"}, 1},
		{"continuation of nothing", true, slices.Concat(pack(9, 0x4, 1, get), pack(1, 0x5, 3, get)), []string{"29-58-58 3 GET http www.example.com /"}, 1},
		{"padding beyond the frame", true, slices.Concat(pack(1, 0x4, 1, get), pack(0, 0x9, 1, []byte{3, 1, 2}), pack(0, 1, 1, nil)), []string{"0-29-50" + head}, 1},
		{"padding beyond the head", true, slices.Concat(pack(1, 0xd, 1, []byte{9, 0x82}), pack(1, 0x5, 3, get)), []string{"11-40-40 3 GET http www.example.com /"}, 1},
		{"data on stream 0", true, slices.Concat(pack(0, 1, 0, []byte("x")), pack(1, 0x5, 3, get)), []string{"10-39-39 3 GET http www.example.com /"}, 1},
		{"ping of 7", true, slices.Concat(pack(6, 0, 0, make([]byte, 7)), pack(1, 0x5, 3, get)), []string{"16-45-45 3 GET http www.example.com /"}, 1},
		{"index beyond the table", true, slices.Concat(pack(1, 0x5, 1, []byte{0x82, 0xff, 0x20}), pack(1, 0x5, 3, get)), []string{"0-12-12 1 GET    malformed", "12-41-41 3 GET http www.example.com /"}, 0},
		{"status that is none", false, pack(1, 0x5, 1, unhex("0802 3939")), []string{"0-13-13 1 0 malformed"}, 0},
	}
	for _, tt := range tests {
		for _, size := range []int{1 << 20, 1, 5} {
			var c Conn
			lead := settings
			if tt.client {
				lead = start()
			}
			ms, errs := all(&c, tt.client, append(bytes.Clone(lead), tt.in...), size)
			c.Finish()
			more, _ := drain(&c)
			have := summary(shift(append(ms, more...), -int64(len(lead))))
			if !slices.Equal(have, tt.want) || len(errs) != tt.errs {
				t.Errorf("%s in pieces of %d:\nhave %q %v\nwant %q", tt.name, size, have, errs, tt.want)
			}
		}
	}
}

func shift(ms []Message, by int64) []Message {
	for i := range ms {
		ms[i].Off, ms[i].HeadEnd, ms[i].End = ms[i].Off+by, ms[i].HeadEnd+by, ms[i].End+by
	}
	return ms
}

// RFC 8441, 5.1: a WebSocket by extended CONNECT.
func TestWebSocket(t *testing.T) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":path", "/chat"}, {":authority", "server.example.com"},
		{"sec-websocket-protocol", "chat, superchat"}, {"sec-websocket-extensions", "permessage-deflate"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	client := slices.Concat(start(), pack(1, 0x4, 1, block.Bytes()))
	server := slices.Concat(settings, pack(1, 0x4, 1, ok200))
	var c Conn
	ms, errs := all(&c, true, client, 1000)
	more, failed := all(&c, false, server, 1000)
	ms, errs = append(ms, more...), append(errs, failed...)
	if len(ms) != 2 || len(errs) != 0 || ms[0].Protocol != "websocket" || ms[0].Tunnel != TunnelOpen || ms[0].Get("sec-websocket-protocol") != "chat, superchat" ||
		ms[1].Status != 200 || ms[1].Tunnel != TunnelOpen || ms[1].Protocol != "websocket" {
		t.Fatalf("%q %v", summary(ms), errs)
	}
	up := slices.Concat(pack(0, 0x8, 1, []byte("\x02abc\x00\x00")), pack(1, 0x5, 3, get), pack(0, 0, 1, []byte("def")), pack(0, 1, 1, []byte("g")))
	for _, size := range []int{1, 1000} {
		d := Conn{}
		all(&d, true, client, 1000)
		all(&d, false, server, 1000)
		ms, errs = all(&d, true, up, size)
		var data []byte
		get, closed := 0, 0
		for _, m := range ms {
			switch {
			case m.Tunnel == TunnelData && m.StreamID == 1 && m.Client && m.Off+int64(len(m.Body)) == m.End && m.End <= int64(len(client)+len(up)):
				data = append(data, m.Body...)
			case m.Method == "GET" && m.StreamID == 3:
				get++
			case m.Tunnel == TunnelClose && string(data) == "abcdefg":
				closed++
			default:
				t.Errorf("%+v", m)
			}
		}
		if get != 1 || closed != 1 || len(errs) != 0 {
			t.Errorf("%q %v", summary(ms), errs)
		}
		ms, _ = all(&d, false, slices.Concat(pack(0, 0, 1, []byte("pong")), pack(3, 0, 1, []byte{0, 0, 0, 5})), 1000)
		if len(ms) != 2 || string(ms[0].Body) != "pong" || ms[0].Client || ms[1].Tunnel != TunnelClose || !ms[1].Reset || ms[1].ErrorCode != 5 {
			t.Errorf("%q", summary(ms))
		}
		if len(d.tunnels) != 0 {
			t.Error("the tunnel is kept")
		}
	}
	// A gap in it, within one frame, then within the next header.
	ms, _ = all(&c, true, pack(0, 0, 1, []byte("abcdef"))[:11], 1000)
	c.Lost(true, 2)
	c.Feed(true, []byte("ef\x00"))
	more, _ = drain(&c)
	c.Lost(true, 5)
	c.Feed(true, pack(0, 1, 1, []byte("z")))
	last, _ := drain(&c)
	var have []string
	for _, m := range slices.Concat(ms, more, last) {
		have = append(have, fmt.Sprintf("%s %s %d", m.Tunnel, m.Body, m.Lost))
	}
	if want := []string{"data ab 0", "gap  2", "data ef 0", "gap  0", "data z 0", "close  0"}; !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
}

// A CONNECT that is refused opens nothing.
func TestRefused(t *testing.T) {
	var c Conn
	all(&c, true, slices.Concat(start(), pack(1, 0x4, 1, unhex("0207434f4e4e454354"))), 1000)
	ms, errs := all(&c, false, slices.Concat(settings, pack(1, 0x4, 1, []byte{0x8d}), pack(0, 1, 1, []byte("no"))), 1000)
	if len(ms) != 1 || ms[0].Status != 404 || ms[0].Tunnel != NoTunnel || string(ms[0].Body) != "no" {
		t.Errorf("%q %v", summary(ms), errs)
	}
}

// requests makes a connection with fields that come and go in the table.
func requests(n int) (stream []byte, want map[uint32][]Header, frames []int) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	want = map[uint32][]Header{}
	stream = start()
	for i := range n {
		if i == n/2 {
			enc.SetMaxDynamicTableSize(300)
		}
		id := uint32(2*i + 1)
		block.Reset()
		var fields []Header
		for _, h := range []Header{{":method", "POST"}, {":scheme", "https"}, {":authority", fmt.Sprintf("host%d.example.com", i%3)}, {":path", fmt.Sprint("/v4/", i%5)},
			{"x-run", fmt.Sprint(i % 4)}, {fmt.Sprint("x-new-", i), "some value"}, {"x-last", fmt.Sprint("value ", i-i%2)}} {
			enc.WriteField(hpack.HeaderField{Name: h.Name, Value: h.Value})
			if h.Name[0] != ':' {
				fields = append(fields, h)
			}
		}
		want[id] = fields
		frames = append(frames, len(stream))
		stream = append(stream, pack(1, 0x4, id, block.Bytes())...)
		frames = append(frames, len(stream))
		stream = append(stream, pack(0, 0x1, id, []byte(fmt.Sprint("body of ", i)))...)
	}
	return stream, want, append(frames, len(stream))
}

// After a gap, and from the middle of a connection on, no field is shown that
// was not sent, and what is not shown is counted.
func TestGaps(t *testing.T) {
	stream, want, frames := requests(24)
	whole := 0
	var spare Spare
	for from := 24; from < len(stream)-200; from += 7 {
		for _, n := range []int{1, 9, 60, 333} {
			if from+n >= len(stream) {
				continue
			}
			c := Conn{Spare: &spare}
			ms, errs := all(&c, true, stream[:from], 1<<20)
			c.Lost(true, int64(n))
			more, failed := all(&c, true, stream[from+n:], 50)
			c.Finish()
			last, _ := drain(&c)
			if len(errs)+len(failed) != 0 {
				t.Fatal(from, n, errs, failed)
			}
			seen := map[uint32]bool{}
			for _, m := range slices.Concat(ms, more, last) {
				seen[m.StreamID] = true
				i := (int(m.StreamID) - 1) / 2
				sent := want[m.StreamID]
				for _, h := range m.Headers {
					if !slices.Contains(sent, h) {
						t.Fatalf("gap at %d of %d: stream %d shows %v", from, n, m.StreamID, h)
					}
				}
				if got := m.Authority; got != "" && got != fmt.Sprintf("host%d.example.com", i%3) || m.Target != "" && m.Target != fmt.Sprint("/v4/", i%5) {
					t.Fatalf("gap at %d of %d: stream %d shows %s %s", from, n, m.StreamID, m.Authority, m.Target)
				}
				shown := len(m.Headers)
				for _, s := range []string{m.Method, m.Scheme, m.Authority, m.Target} {
					if s != "" {
						shown++
					}
				}
				if shown+m.Unknown != 7 || m.Partial != (m.Unknown > 0) || m.Malformed != 0 {
					t.Fatalf("gap at %d of %d: stream %d shows %d fields, %d unknown", from, n, m.StreamID, shown, m.Unknown)
				}
				if body := fmt.Sprint("body of ", i); !m.Truncated && string(m.Body) != body || !strings.HasPrefix(body, string(m.Body)) {
					t.Fatalf("gap at %d of %d: stream %d has body %q", from, n, m.StreamID, m.Body)
				}
				if !m.Partial {
					whole++
				}
			}
			// Each head that the gap did not touch is there, unless the gap is
			// in the frame before it, whose end is then searched.
			for i := range 24 {
				if lo, hi := frames[2*i], frames[2*i+1]; (hi <= from || lo >= from+n) && !seen[uint32(2*i+1)] {
					t.Errorf("gap at %d of %d: stream %d at %d-%d is missing", from, n, 2*i+1, lo, hi)
				}
			}
		}
	}
	if whole == 0 {
		t.Error("no message is whole")
	}
	// Without its first bytes: said so, and not.
	for _, told := range []bool{true, false} {
		var c Conn
		if told {
			c.Lost(true, 0)
		}
		ms, errs := all(&c, true, stream[frames[6]:], 1000)
		if len(ms) != 21 || told != (len(errs) == 0) || !ms[0].Partial || ms[len(ms)-1].Partial != (ms[len(ms)-1].Unknown > 0) {
			t.Errorf("%d messages, %v", len(ms), errs)
		}
		var e *wire.Error
		if !told && (!errors.As(errs[0], &e) || e.Proto != "http2") {
			t.Error(errs)
		}
	}
}

// An entry whose name was not seen keeps its place in the table.
func TestUnseenName(t *testing.T) {
	var c Conn
	all(&c, true, append(start(), pack(1, 0x5, 1, append([]byte{0x82}, unhex("4001610131")...))...), 1000) // a: 1
	c.Lost(true, 0)
	ms, errs := all(&c, true, slices.Concat(
		pack(1, 0x5, 3, unhex("82 4001620133 7f000132")),  // b: 3, (63): 2
		pack(1, 0x5, 5, unhex("82 bf")),                   // 63
		pack(1, 0x5, 11, unhex("82 be c0")),               // 62, 64
		pack(1, 0x5, 7, unhex("20 3fe11f 82 4001630134")), // the table emptied, then c: 4
		pack(1, 0x5, 9, unhex("82 be bf"))), 1000)         // 62, and 63, which is not there
	want := []string{" 3 GET    b=3 partial", " 5 GET    b=3", " 11 GET    partial", " 7 GET    c=4", " 9 GET    c=4 malformed"}
	var have []string
	for _, s := range summary(ms) {
		_, s, _ = strings.Cut(s, " ")
		have = append(have, " "+s)
	}
	if !slices.Equal(have, want) || len(errs) != 0 || ms[0].Unknown != 1 || ms[2].Unknown != 2 {
		t.Errorf("%q %v, want %q", have, errs, want)
	}
}

// A gap in one DATA frame leaves the table whole.
func TestGapInData(t *testing.T) {
	stream, _, frames := requests(4)
	at := frames[3] + 9 + 3 // in the body of the second
	var c Conn
	ms, errs := all(&c, true, stream[:at], 1000)
	c.Lost(true, 4)
	more, failed := all(&c, true, stream[at+4:], 1000)
	ms = append(ms, more...)
	if len(ms) != 4 || len(errs)+len(failed) != 0 {
		t.Fatal(summary(ms), errs, failed)
	}
	for i, m := range ms {
		if m.Partial || m.Truncated != (i == 1) || len(m.Headers) != 3 {
			t.Errorf("%+v", m)
		}
	}
	if m := ms[1]; string(m.Body) != "bod" || m.BodyLen != 9 || m.Lost != 4 {
		t.Errorf("%+v", m)
	}
}

func TestBounds(t *testing.T) {
	// One byte refers to an entry of 4,000 bytes, 60,000 times.
	bomb := append([]byte{0x40, 1, 'x', 0x7f, 0xa1, 0x1e}, make([]byte, 4000)...)
	bomb = append(bomb, bytes.Repeat([]byte{0xbe}, 60000)...)
	var c Conn
	ms, _ := all(&c, true, slices.Concat(start(), pack(1, 0x5, 1, bomb), pack(1, 0x5, 3, get)), 1<<20)
	if len(ms) != 2 || len(ms[0].Headers) > maxFields/4000 || ms[0].Malformed < 59000 || ms[1].Target != "/" {
		t.Errorf("%d messages, %d fields", len(ms), len(ms[0].Headers))
	}
	// A flood of CONTINUATION.
	flood := pack(1, 0, 1, get)
	for range 100 {
		flood = append(flood, pack(9, 0, 1, make([]byte, 10000))...)
	}
	c = Conn{}
	ms, errs := all(&c, true, slices.Concat(start(), flood, pack(1, 0x5, 3, get)), 1<<20)
	if len(ms) != 1 || ms[0].StreamID != 3 || len(errs) == 0 || cap(c.sides[1].block) > 2*maxBlock {
		t.Errorf("%q, %d errors", summary(ms), len(errs))
	}
	// A flood of streams that stay open, and of resets.
	var streams []byte
	for i := range 5000 {
		streams = append(streams, pack(1, 0x4, uint32(2*i+1), []byte{0x82})...)
	}
	c = Conn{}
	ms, errs = all(&c, true, slices.Concat(start(), streams), 1<<20)
	if len(ms) != 5000-maxOpen || len(errs) != 0 || c.Evicted != 5000-maxOpen || len(c.sides[1].order) > 4*maxOpen {
		t.Errorf("%d messages, %d evicted, %d in order", len(ms), c.Evicted, len(c.sides[1].order))
	}
	if ms[0].StreamID != 1 || !ms[0].Truncated {
		t.Errorf("%+v", ms[0])
	}
	var resets []byte
	for i := range 3000 {
		resets = append(resets, pack(1, 0x4, uint32(2*i+1), []byte{0x82})...)
		resets = append(resets, pack(3, 0, uint32(2*i+1), []byte{0, 0, 0, 8})...)
	}
	c = Conn{}
	ms, _ = all(&c, true, slices.Concat(start(), resets), 1<<20)
	if len(ms) != 3000 || c.Resets != 3000 || len(c.sides[1].halves) != 0 {
		t.Errorf("%d messages, %d resets", len(ms), c.Resets)
	}
	// Bodies.
	c = Conn{MaxBody: 10}
	ms, _ = all(&c, true, slices.Concat(start(), pack(1, 4, 1, get), pack(0, 0, 1, make([]byte, 5000)), pack(0, 1, 1, make([]byte, 70000))), 999)
	if len(ms) != 1 || len(ms[0].Body) != 10 || ms[0].BodyLen != 75000 || ms[0].Truncated {
		t.Errorf("%q", summary(ms))
	}
	c = Conn{}
	c.Feed(true, start())
	for round := range 2 {
		for i := range 20 {
			c.Feed(true, slices.Concat(pack(1, 4, uint32(40*round+2*i+1), get), pack(0, 0, uint32(40*round+2*i+1), make([]byte, 1<<20))))
			drain(&c)
		}
		kept := 0
		for i := range 20 {
			ms, _ = all(&c, true, pack(0, 1, uint32(40*round+2*i+1), nil), 1000)
			if len(ms) != 1 || ms[0].BodyLen != 1<<20 {
				t.Fatalf("%d messages", len(ms))
			}
			kept += len(ms[0].Body)
		}
		if kept != maxBodies || c.sides[1].kept != 0 {
			t.Errorf("round %d: %d bytes are kept", round, kept)
		}
	}
}

// The table of a direction grows to 1 MiB at most, whatever the peer asks for
// (RFC 7541, 4.2 and 6.3), and of a message 256 fields are kept.
func TestHeaderBounds(t *testing.T) {
	resize := func(n int) []byte { // a dynamic table size update
		b := []byte{0x3f}
		for n -= 31; n >= 128; n /= 128 {
			b = append(b, byte(n%128)|0x80)
		}
		return append(append(b, byte(n)), get...)
	}
	for n, ok := range map[int]bool{1 << 20: true, 1<<20 + 1: false, 1 << 30: false} {
		var c Conn
		ms, errs := all(&c, true, slices.Concat(start(), pack(1, 0x5, 1, resize(n))), 1<<20)
		if len(ms) != 1 || len(errs) != 0 || (ms[0].Malformed == 0) != ok {
			t.Errorf("a table of %d: %q, %v; want it taken: %v", n, summary(ms), errs, ok)
		}
	}
	for n, more := range map[int]int{200: 0, 300: 44} {
		var c Conn
		block := slices.Clone(get)
		for range n {
			block = append(block, 0, 1, 'x', 1, 'y')
		}
		ms, errs := all(&c, true, slices.Concat(start(), pack(1, 0x5, 1, block)), 1<<20)
		if len(ms) != 1 || len(errs) != 0 || len(ms[0].Headers) != n && more == 0 || len(ms[0].Headers) > 256 || ms[0].Malformed < more {
			t.Errorf("%d fields: %d kept, %d not, %v", n, len(ms[0].Headers), ms[0].Malformed, errs)
		}
	}
}

func TestLooks(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want bool
	}{{preface, true}, {preface + "\x00", true}, {preface[:16], true}, {preface[:15], false}, {"PRI * HTTP/2.0\r\n\r\nSX", false}, {"GET / HTTP/1.1\r\n\r\n", false}, {"", false}} {
		if got := Looks([]byte(tt.in)); got != tt.want {
			t.Errorf("%q: %t", tt.in, got)
		}
	}
}

func FuzzConn(f *testing.F) {
	stream, _, _ := requests(4)
	f.Add(stream, uint8(3), uint8(0), true)
	f.Add(stream[100:], uint8(50), uint8(4), true)
	f.Add(slices.Concat(settings, pack(1, 0x4, 1, ok200), pack(0, 1, 1, []byte("x"))), uint8(1), uint8(1), false)
	f.Add(slices.Concat(start(), pack(1, 0x4, 1, unhex("0207434f4e4e454354")), pack(0, 1, 1, []byte("x"))), uint8(9), uint8(0), true)
	f.Fuzz(func(t *testing.T, b []byte, size, gap uint8, client bool) {
		c := Conn{MaxBody: 100, Spare: &Spare{}}
		var lost int64
		steps := 0
		check := func() {
			for {
				var m Message
				ok, err := c.Next(&m)
				if steps++; steps > 10*len(b)+100 {
					t.Fatal("does not end")
				}
				if !ok && err == nil {
					return
				}
				if !ok {
					continue
				}
				if m.Off < 0 || m.End < m.Off || m.End > int64(len(b))+lost || m.Tunnel <= TunnelOpen && (m.HeadEnd < m.Off || m.End < m.HeadEnd) {
					t.Fatalf("%+v", m)
				}
				if m.Tunnel != TunnelData && len(m.Body) > 100 || int64(len(m.Body)) > m.BodyLen || m.Partial && m.Unknown == 0 {
					t.Fatalf("%+v", m)
				}
			}
		}
		n := int(size) + 1
		for i := 0; i < len(b); i += n {
			c.Feed(client, b[i:min(i+n, len(b))])
			check()
			if gap > 0 && i/n == int(gap)%16 {
				c.Lost(client, int64(gap)-1)
				lost += int64(gap) - 1
				check()
			}
		}
		c.Finish()
		check()
		Looks(b)
	})
}

// TestSpare runs two connections whose bodies come in pieces, several at a time:
// memory that they share never shows one's bytes in another's.
func TestSpare(t *testing.T) {
	var spare Spare
	conns := [2]Conn{{Spare: &spare}, {Spare: &spare}}
	get := unhex("828684")
	body := func(conn, id, n int) []byte { return bytes.Repeat([]byte{byte('a' + conn*13 + id%13)}, n) }
	for i := range conns {
		conns[i].Feed(true, start())
	}
	next, seen := 1, 0
	for round := range 40 {
		size := 1000 + round*997%5000
		for i := range conns {
			for id := next; id < next+6; id += 2 {
				conns[i].Feed(true, slices.Concat(pack(1, 4, uint32(id), get), pack(0, 0, uint32(id), body(i, id, size))))
			}
			if ms, errs := drain(&conns[i]); len(ms)+len(errs) > 0 {
				t.Fatal(ms, errs)
			}
		}
		for id := next; id < next+6; id += 2 {
			for i := range conns {
				conns[i].Feed(true, pack(0, 1, uint32(id), body(i, id, 10)))
				var m Message
				if ok, err := conns[i].Next(&m); !ok || err != nil || m.StreamID != uint32(id) || !bytes.Equal(m.Body, body(i, id, size+10)) {
					t.Fatalf("connection %d, stream %d: %t, %v, %d bytes, %.20q", i, id, ok, err, len(m.Body), m.Body)
				}
				seen++
				if ok, _ := conns[i].Next(&m); ok {
					t.Fatal("another message")
				}
			}
		}
		next += 6
	}
	if len(spare.free) != 6 || seen != 240 {
		t.Errorf("%d buffers for six bodies at a time, %d messages", len(spare.free), seen)
	}
}

func BenchmarkConn(b *testing.B) {
	stream, _, _ := requests(100)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	var spare Spare
	for b.Loop() {
		c := Conn{Spare: &spare}
		c.Feed(true, stream)
		var m Message
		n := 0
		for {
			ok, err := c.Next(&m)
			if err != nil {
				b.Fatal(err)
			}
			if !ok {
				break
			}
			n++
		}
		if n != 100 {
			b.Fatal(n)
		}
	}
}
