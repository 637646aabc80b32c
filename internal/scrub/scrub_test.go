package scrub

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/tcp"
)

// fakes gives pseudonyms that share no text with the original.
type fakes struct{}

func (fakes) Address(a netip.Addr) netip.Addr {
	b := a.AsSlice()
	for i := range b {
		b[i] ^= 0x55
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}
func (f fakes) Host(s string) string     { return "h" + f.Token("host", s, 8) + ".invalid" }
func (f fakes) HostPort(s string) string { return f.Host(s) }
func (f fakes) Party(s string) string {
	if scheme, _, ok := strings.Cut(s, ":"); ok && (scheme == "sip" || scheme == "tel") {
		return scheme + ":" + f.User(s) + "@" + f.Host(s)
	}
	return f.User(s)
}
func (f fakes) User(s string) string    { return "u" + f.Token("user", s, 12) }
func (f fakes) Display(s string) string { return "d" + f.Token("display", s, 12) }
func (f fakes) CallID(s string) string  { return f.Token("id", s, 32) }
func (f fakes) Token(kind, s string, n int) string {
	h := fnv.New64a()
	fmt.Fprint(h, kind, "\x00", s)
	t := strings.NewReplacer("0", "g", "5", "h").Replace(hex.EncodeToString(h.Sum(nil)))
	if kind == "session" || kind == "version" {
		t = hex.EncodeToString(h.Sum(nil))
	}
	return strings.Repeat(t, 1+n/len(t))[:n]
}

const invite = "INVITE sip:+15550101234@192.0.2.7;transport=tcp;x=alice SIP/2.0\r\n" +
	"Via: SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKalice\r\nFrom: \"Alice Liddell\" <sip:alice@atlanta.example.org>;tag=alice1\r\n" +
	"To: <sip:+15550101234@192.0.2.7>\r\nCall-ID: alice@192.0.2.1\r\nCSeq: 1 INVITE\r\nSubject: from Alice\r\nUser-Agent: Alice's phone\r\n" +
	"X-Name: alice\r\nContent-Type: application/sdp\r\nContent-Length: "

const offer = "v=0\r\no=alice 5550101234 1 IN IP4 192.0.2.1\r\ns=Alice calls\r\ni=alice\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\n" +
	"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:alice\r\n" +
	"a=ice-pwd:alicealicealicealicealice\r\na=x-alice:alice\r\n"

func message() []byte { return fmt.Appendf(nil, "%s%d\r\n\r\n%s", invite, len(offer), offer) }

func TestSIP(t *testing.T) {
	out := New(fakes{}).sip(nil, message())
	for _, s := range []string{"alice", "Alice", "5550101234", "192.0.2", "crypto", "atlanta"} {
		if bytes.Contains(out, []byte(s)) {
			t.Errorf("%q is still there:\n%s", s, out)
		}
	}
	var m sip.Message
	if err := sip.Parse(out, &m); err != nil || len(m.Warnings) > 0 || len(m.Rest) > 0 || m.ContentLength != len(m.Body) {
		t.Fatalf("%v, warnings %v:\n%s", err, m.Warnings, out)
	}
	for _, s := range []string{"m=audio 4000 RTP/AVP 0 101\r\n", "a=rtpmap:101 telephone-event/8000\r\n", "a=fmtp:101 0-15\r\n", "a=ptime:20\r\n", "c=IN IP4 149.85.87.84\r\n"} {
		if !bytes.Contains(m.SDP(), []byte(s)) {
			t.Errorf("%q is not there:\n%s", s, m.SDP())
		}
	}
	if !bytes.HasPrefix(m.Branch, []byte("z9hG4bK")) || len(m.From.Tag) != 16 || len(m.From.Display) == 0 || string(m.CSeqText) != "INVITE" {
		t.Errorf("branch %s, from %+v", m.Branch, m.From)
	}
}

// collector puts a direction of a connection together, by package tcp.
type collector struct {
	data [2][]byte
	gaps int
}

func (c *collector) Data(dir int, k *tcp.Chunk)        { c.data[dir] = append(c.data[dir], k.Data...) }
func (c *collector) Gap(int, int64, int64, int64)      { c.gaps++ }
func (c *collector) Close(dir int, _ bool, _, _ int64) {}

// However a stream was cut into segments, lost, repeated and shuffled, the
// streams of the new packets are the messages, each written anew; and each
// segment is one, a retransmission a retransmission.
func TestSegments(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		a, b := netip.MustParseAddrPort("192.0.2.1:5060"), netip.MustParseAddrPort("192.0.2.7:40000")
		var stream []byte
		for range 1 + r.IntN(4) {
			stream = append(stream, message()...)
		}
		s := New(fakes{})
		var want []byte
		for rest := stream; len(rest) > 0; {
			n, _, _ := sip.Frame(rest)
			want = s.sip(want, rest[:n])
			rest = rest[n:]
		}
		isn := r.Uint32()
		packet := func(back bool, seq, ack uint32, flags uint8, data []byte) link.Packet {
			p := link.Packet{Src: a.Addr(), Dst: b.Addr(), SrcPort: a.Port(), DstPort: b.Port(), Proto: link.ProtoTCP, TTL: 64, Seq: seq, Ack: ack, Flags: flags, Payload: data, WireLen: len(data)}
			if back {
				p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
			}
			return p
		}
		list := []link.Packet{packet(false, isn, 0, link.SYN, nil), packet(true, 7, isn+1, link.SYN|link.ACK, nil)}
		for at := 0; at < len(stream); {
			n := min(1+r.IntN(700), len(stream)-at)
			p := packet(false, isn+1+uint32(at), 8, link.ACK, stream[at:at+n])
			list = append(list, p)
			if r.IntN(5) == 0 {
				list = append(list, p) // again
			}
			at += n
			list = append(list, packet(true, 8, isn+1+uint32(at), link.ACK, nil))
		}
		for i := 2; i+2 < len(list); i += 2 {
			if r.IntN(4) == 0 {
				list[i], list[i+2] = list[i+2], list[i]
			}
		}
		for i := range list {
			s.Learn(&list[i])
		}
		s.Learned()
		var before, after tcp.Conn
		var was, is collector
		d := link.NewDecoder()
		for i := range list {
			frame, size := s.Rewrite(&list[i])
			checksums(t, frame)
			var p link.Packet
			if v := d.Decode(1, frame, size, 1, &p); v != link.Used || size != len(frame) {
				t.Fatalf("seed %d, packet %d: %v", seed, i, v)
			}
			dir := 0
			if p.SrcPort == b.Port() {
				dir = 1
			}
			x := before.Segment(&was, dir, list[i].Seq, list[i].Ack, list[i].Flags, list[i].Payload, list[i].WireLen, int64(i), int64(i))
			y := after.Segment(&is, dir, p.Seq, p.Ack, p.Flags, p.Payload, p.WireLen, int64(i), int64(i))
			if x != y {
				t.Fatalf("seed %d, packet %d: was %b, is %b", seed, i, x, y)
			}
		}
		before.Flush(&was)
		after.Flush(&is)
		if !bytes.Equal(was.data[0], stream) || !bytes.Equal(is.data[0], want) || is.gaps > 0 {
			t.Fatalf("seed %d: %d bytes of %d came out of %d of %d, %d gaps", seed, len(is.data[0]), len(want), len(was.data[0]), len(stream), is.gaps)
		}
	}
}

// checksums holds IPv4 and TCP headers to RFC 1071: the sum of all words with
// the checksum in place is all ones.
func checksums(t *testing.T, frame []byte) {
	t.Helper()
	ones := func(parts ...[]byte) uint16 {
		n := uint32(0)
		for _, b := range parts {
			for i, c := range b {
				if i%2 == 0 {
					n += uint32(c) << 8
				} else {
					n += uint32(c)
				}
			}
		}
		for n > 0xffff {
			n = n>>16 + n&0xffff
		}
		return uint16(n)
	}
	ip := frame[14:]
	if got := ones(ip[:20]); got != 0xffff {
		t.Errorf("IPv4 header sums to %#x", got)
	}
	length := binary.BigEndian.AppendUint16([]byte{0, ip[9]}, uint16(len(ip)-20))
	if got := ones(ip[12:20], length, ip[20:]); got != 0xffff {
		t.Errorf("TCP sums to %#x", got)
	}
}

func TestHTTP(t *testing.T) {
	body := `{"sid":"CA0123456789abcdef0123456789abcdef","from":"+15550101234","status":"queued","date_created":"Sun, 22 Nov 2026 20:46:01 +0000","alice":"alice","queue_time":15550101234}`
	in := "POST /2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Calls.json?alice=1 HTTP/1.1\r\nHost: api.alice.example\r\nAuthorization: Basic YWxpY2U=\r\nContent-Type: application/json\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) + "GET /alice HTTP/1.1\r\n\r\n"
	var out []byte
	n := 0
	for _, w := range New(fakes{}).stream([]byte(in)) {
		out = append(out, w.out...)
		n += w.n
	}
	if n != len(in) {
		t.Errorf("%d of %d bytes were written again", n, len(in))
	}
	for _, s := range []string{"alice", "YWxp", "5550101234", "0123456789abcdef"} {
		if bytes.Contains(out, []byte(s)) {
			t.Errorf("%q is still there:\n%s", s, out)
		}
	}
	for _, s := range []string{"POST /2010-04-01/Accounts/", "/Calls.json HTTP/1.1\r\n", `"status":"queued"`, `"date_created":"Sun, 22 Nov 2026 20:46:01 +0000"`, "\r\n\r\n{", "}GET /x"} {
		if !bytes.Contains(out, []byte(s)) {
			t.Errorf("%q is not there:\n%s", s, out)
		}
	}
}

// Reports stay, names of sources go, and what is left is RTCP.
func TestRTCP(t *testing.T) {
	in := "\x80\xc9\x00\x01\x01\x02\x03\x04" + "\x81\xca\x00\x05\x01\x02\x03\x04\x01\x0dalice@example\x00"
	out := New(fakes{}).rtcp(nil, []byte(in))
	var c rtcp.Compound
	if err := rtcp.Decode(out, &c); err != nil || len(c.Damaged) > 0 || c.Trailing > 0 || c.Packets != 2 || len(out) != len(in) {
		t.Errorf("%v, %+v: %x", err, c, out)
	}
	if bytes.Contains(out, []byte("alice")) || !bytes.HasPrefix(out, []byte(in[:8])) || !bytes.Contains(out, []byte("-------------")) {
		t.Errorf("%q", out)
	}
}

// FuzzRewrite: whatever a payload is, the frame is one packet of the same
// ports, and of a text no number survives.
func FuzzRewrite(f *testing.F) {
	f.Add(message(), false)
	f.Add(message(), true)
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), true)
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"), true)
	f.Add([]byte("\x80\xc8\x00\x06"+strings.Repeat("x", 24)), false)
	f.Add([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"), false)
	f.Add([]byte("\x40\x00\x00\x04\x80\x00\x00\x01"), false)
	f.Fuzz(func(t *testing.T, payload []byte, overTCP bool) {
		if len(payload) > 60_000 {
			return
		}
		const number = "5550101234"
		p := link.Packet{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.7"), SrcPort: 5060, DstPort: 5062, Proto: link.ProtoUDP, TTL: 9, Payload: payload, WireLen: len(payload)}
		if overTCP {
			p.Proto, p.Flags = link.ProtoTCP, link.ACK
		}
		s := New(fakes{})
		s.Learn(&p)
		s.Learned()
		frame, size := s.Rewrite(&p)
		if frame == nil {
			return
		}
		var q link.Packet
		if v := link.NewDecoder().Decode(1, frame, size, 1, &q); v != link.Used || q.SrcPort != 5060 || q.DstPort != 5062 || len(frame) != size {
			t.Fatalf("%v, %d bytes of %d", v, len(frame), size)
		}
		if len(payload) > 0 && payload[0] >= 'A' && payload[0] <= 'Z' && bytes.Contains(q.Payload, []byte(number)) {
			t.Errorf("the number is in %q", q.Payload)
		}
	})
}
