package decode_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/sessions"
)

// A SIP message is found whatever the segments are, and names the frames that
// began and completed it.
func TestSIPOverTCP(t *testing.T) {
	a, b := "10.0.0.1:40000", "10.0.0.2:5060"
	t.Run("several messages in a segment", func(t *testing.T) {
		c := dial(a, b, 0)
		c.send(0, invite("1")+options("2")+"\r\n\r\n"+invite("3"))
		r := readOne(t, c.packets...)
		if got := strings.Join(r.texts(decode.EventSIP), ","); got != "INVITE 1,OPTIONS 2,INVITE 3" {
			t.Errorf("got %s", got)
		}
		for _, e := range r.events {
			if e.frame != 4 || e.first != 4 {
				t.Errorf("%s in frame %d from %d, want 4", e.text, e.frame, e.first)
			}
		}
	})
	for _, n := range []int{1, 2, 3, 7, 50, 200} {
		t.Run(fmt.Sprintf("segments of %d bytes", n), func(t *testing.T) {
			c := dial(a, b, 0)
			one, two := invite("1"), options("2")
			c.send(0, pieces(one+two, n)...)
			c.close()
			r := readOne(t, c.packets...)
			if got := strings.Join(r.texts(decode.EventSIP), ","); got != "INVITE 1,OPTIONS 2" {
				t.Fatalf("got %s", got)
			}
			// data segments are frames 4, 6, 8 ...: byte i lies in frame 4 + 2*(i/n)
			frame := func(i int) int64 { return 4 + 2*int64(i/n) }
			for i, want := range [][2]int64{{frame(0), frame(len(one) - 1)}, {frame(len(one)), frame(len(one) + len(two) - 1)}} {
				e := r.events[i]
				if e.first != want[0] || e.frame != want[1] || e.at != decode.Time(start+want[1]*1e6) {
					t.Errorf("%s: frames %d to %d at %v, want %v at the time of the last", e.text, e.first, e.frame, e.at, want)
				}
			}
		})
	}
	t.Run("out of order", func(t *testing.T) {
		c := dial(a, b, 0)
		c.send(0, pieces(invite("1"), 100)...)
		p := c.packets
		p[3].payload, p[5].payload = p[5].payload, p[3].payload
		p[3].seq, p[5].seq = p[5].seq, p[3].seq
		r := readOne(t, p...)
		if got := strings.Join(r.texts(decode.EventSIP), ","); got != "INVITE 1" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("gap, then the next message in the middle of a segment", func(t *testing.T) {
		c := dial(a, b, 0)
		c.send(0, invite("1"), invite("2")[:120], invite("2")[120:200], invite("2")[200:]+options("3"), options("4"))
		for range 40 {
			c.send(0, options("5")) // enough to know that the hole stays
		}
		c.packets = slices.Delete(c.packets, 7, 8) // the middle of INVITE 2
		c.close()
		r := readOne(t, c.packets...)
		got := strings.Join(slices.Compact(r.texts(decode.EventSIP)), ",")
		if got != "INVITE 1,OPTIONS 3,OPTIONS 4,OPTIONS 5" {
			t.Errorf("got %s", got)
		}
		if r.ledger("sip", "cut by a gap") != 1 {
			t.Errorf("ledger %v: want one message cut by a gap", r.dec.Ledger().Rows())
		}
		if f := r.dec.Flows()[0]; f.Gaps != 1 || f.GapBytes != 80 {
			t.Errorf("flow has %d gaps of %d bytes, want 1 of 80", f.Gaps, f.GapBytes)
		}
	})
	t.Run("gap, then the next message at the start of a segment", func(t *testing.T) {
		c := dial(a, b, 0)
		c.send(0, invite("1"), invite("2"), options("3"))
		for range 40 {
			c.send(0, options("5"))
		}
		c.packets = slices.Delete(c.packets, 5, 6)
		r := readOne(t, c.packets...)
		if got := strings.Join(slices.Compact(r.texts(decode.EventSIP)), ","); got != "INVITE 1,OPTIONS 3,OPTIONS 5" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("starts in the middle of a message", func(t *testing.T) {
		c := dial(a, b, 0)
		c.send(0, invite("1")[150:]+options("2"), options("3"), options("4"))
		r := readOne(t, c.packets[3:]...)
		got := strings.Join(r.texts(decode.EventSIP), ",")
		if got != "OPTIONS 3,OPTIONS 4" && got != "OPTIONS 2,OPTIONS 3,OPTIONS 4" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("message cut by the end of the connection", func(t *testing.T) {
		c := dial(a, b, 0)
		c.send(0, invite("1")[:200])
		c.close()
		if r := readOne(t, c.packets...); r.ledger("sip", "cut by the end of the connection") != 1 {
			t.Errorf("ledger %v", r.dec.Ledger().Rows())
		}
	})
	t.Run("a new connection on the same ports is a flow of its own", func(t *testing.T) {
		c := dial(a, b, 0)
		c.send(0, options("1"))
		c.close()
		d := dial(a, b, 5000)
		d.seq = [2]uint32{70000, 90000}
		d.packets, d.at = nil, 5000
		d.segment(0, link.SYN, "")
		d.segment(1, link.SYN|link.ACK, "")
		d.segment(0, link.ACK, "")
		d.send(0, options("2"))
		r := readOne(t, append(c.packets, d.packets...)...)
		flows := r.dec.Flows()
		if len(flows) != 2 {
			t.Fatalf("%d flows, want 2", len(flows))
		}
		if n := flows[0].Packets[0] + flows[0].Packets[1]; n != int64(len(c.packets)) || flows[0].Last != decode.Time(c.packets[len(c.packets)-1].time()) {
			t.Errorf("first connection has %d packets until %v, want %d until its last", n, flows[0].Last, len(c.packets))
		}
		if n := flows[1].Packets[0] + flows[1].Packets[1]; n != int64(len(d.packets)) || flows[1].First != decode.Time(start+5001e6) {
			t.Errorf("second connection has %d packets from %v", n, flows[1].First)
		}
	})
}

func TestHTTPAndTLSOverSegments(t *testing.T) {
	request := "POST /2010-04-01/Accounts/AC1/Calls.json HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\n\r\nTo=+1"
	response := "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n1\r\n}\r\n0\r\n\r\n"
	for _, n := range []int{1, 2, 5, 30, 1000} {
		c := dial("10.0.0.1:40000", "10.0.0.2:8080", 0)
		c.send(0, pieces(request, n)...)
		last := len(c.packets) - 1 // the acknowledgment is the last packet
		c.send(1, pieces(response, n)...)
		c.close()
		r := readOne(t, c.packets...)
		if got := strings.Join(r.texts(decode.EventHTTP), ","); got != "POST/2010-04-01/Accounts/AC1/Calls.json 5, 5" {
			t.Errorf("segments of %d: got %s", n, got)
			continue
		}
		if e := r.events[0]; e.first != 4 || e.frame != int64(last) {
			t.Errorf("segments of %d: request in frames %d to %d, want 4 to %d", n, e.first, e.frame, last)
		}
		if f := r.dec.Flows()[0]; f.ServerName != "api.example" || f.ServerNameBy != "http-host" || f.App() != decode.AppHTTP {
			t.Errorf("segments of %d: flow is %v at %q by %s", n, f.App(), f.ServerName, f.ServerNameBy)
		}

		c = dial("10.0.0.1:40000", "10.0.0.2:443", 0)
		hello := pieces(clientHello(), n)
		c.send(0, hello...)
		r = readOne(t, c.packets...)
		if got := strings.Join(r.texts(decode.EventTLS), ","); got != "ClientHello voice-js.example" {
			t.Errorf("segments of %d: got %q", n, got)
			continue
		}
		for _, h := range r.trace.Hosts {
			if h.Address == "10.0.0.2" && (fmt.Sprint(h.Names, h.NamesBy) != "[voice-js.example] [sni]") {
				t.Errorf("host is named %q by %q, want the server name", h.Names, h.NamesBy)
			}
		}
		if e := r.events[0]; e.first != 4 || e.frame != int64(2+2*len(hello)) {
			t.Errorf("segments of %d: hello in frames %d to %d, want 4 to %d", n, e.first, e.frame, 2+2*len(hello))
		}
	}
	t.Run("one hello in two records", func(t *testing.T) {
		h := clientHello()
		two := h[:4] + "\x14" + h[5:25] + "\x16\x03\x01\x00" + string(rune(len(h)-25)) + h[25:]
		c := dial("10.0.0.1:40000", "10.0.0.2:443", 0)
		c.send(0, two[:25], two[25:40], two[40:])
		r := readOne(t, c.packets...)
		if len(r.events) != 1 || r.events[0].text != "ClientHello voice-js.example" || r.events[0].first != 4 || r.events[0].frame != 8 {
			t.Errorf("got %+v, want one hello in frames 4 to 8", r.events)
		}
	})
	t.Run("TLS inside CONNECT", func(t *testing.T) {
		c := dial("10.0.0.1:40000", "10.0.0.2:3128", 0)
		c.send(0, "CONNECT voice-js.example:443 HTTP/1.1\r\nHost: proxy.example\r\n\r\n")
		c.send(1, "HTTP/1.1 200 OK\r\n\r\n")
		c.send(0, clientHello())
		r := readOne(t, c.packets...)
		if r.kinds() != "http http tls" || r.events[2].frame != 8 || r.events[2].first != 8 {
			t.Errorf("got %s, %+v", r.kinds(), r.events)
		}
	})
	t.Run("a response that only the end of the capture ends", func(t *testing.T) {
		c := dial("10.0.0.1:40000", "10.0.0.2:8080", 0)
		c.send(0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.send(1, "HTTP/1.0 200 OK\r\n\r\nbody")
		if r := readOne(t, c.packets...); strings.Join(r.texts(decode.EventHTTP), ",") != "GET/ 0, 4" {
			t.Errorf("got %q", r.texts(decode.EventHTTP))
		}
	})
}

func TestDNSOverTCP(t *testing.T) {
	query := string(unhex(t, "001d 1dea 0100 0001 0000 0000 0000 07 6578616d706c65 03 636f6d 00 0001 0001"))
	for _, n := range []int{1, 2, 5, 1000} {
		c := dial("10.0.0.1:40000", "10.0.0.2:53", 0)
		c.send(0, pieces(query+query, n)...)
		r := readOne(t, c.packets...)
		if got := r.texts(decode.EventDNS); len(got) != 2 || got[0] != "example.com" {
			t.Errorf("segments of %d: got %q, want example.com twice", n, got)
		}
	}
}

// mixed is a capture of every kind of traffic, with TCP connections open over
// its whole length.
func mixed() []packet {
	c := dial("10.0.0.1:40000", "10.0.0.2:5060", 0)
	h := dial("10.0.0.1:40001", "10.0.0.2:8080", 0)
	var all []packet
	for i := range 30 {
		c.send(i%2, pieces(invite(fmt.Sprint("c", i)), 90)...)
		h.at = c.at
		h.send(0, fmt.Sprintf("GET /%d HTTP/1.1\r\nHo", i), "st: a.example\r\n\r\n")
		c.at = h.at
		all = append(all, packet{src: "10.0.0.1:5060", dst: "10.0.0.3:5060", at: c.at, id: uint16(i), payload: []byte(options(fmt.Sprint("u", i)))})
		all = append(all, packet{src: "10.0.0.1:6000", dst: "10.0.0.3:6000", at: c.at, id: uint16(100 + i), payload: rtpPacket(uint16(i), 77)})
	}
	c.close()
	all = append(append(all, c.packets...), h.packets...)
	slices.SortStableFunc(all, func(x, y packet) int { return int(x.at - y.at) })
	return all
}

func TestRotatedFilesAreOneCapture(t *testing.T) {
	all := mixed()
	whole := readOne(t, all...)
	if len(whole.texts(decode.EventSIP)) != 60 || len(whole.texts(decode.EventHTTP)) != 30 || len(whole.texts(decode.EventRTP)) != 30 {
		t.Fatalf("the whole capture gives %s", whole.kinds())
	}
	// cut where a TCP message is half way
	cuts := []int{0, 17, 18, len(all) / 2, len(all) - 5, len(all)}
	files := map[string][]byte{}
	offset := map[string]int64{}
	for i := range len(cuts) - 1 {
		name := fmt.Sprintf("cap-%d.pcap", i)
		files[name] = capture(t, all[cuts[i]:cuts[i+1]]...)
		if i%2 == 1 {
			files[name] = zip(t, files[name])
		}
		offset[name] = int64(cuts[i])
	}
	orders := [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}}
	for _, order := range orders {
		given := open(t, files)
		shuffled := make([]*container.File, len(given))
		for i, k := range order {
			shuffled[i] = given[k]
		}
		r := read(t, shuffled, decode.Options{})
		if len(r.events) != len(whole.events) {
			t.Fatalf("order %v: %d events, the whole capture has %d", order, len(r.events), len(whole.events))
		}
		for i, e := range r.events {
			want := whole.events[i]
			e.frame += offset[e.file]
			e.first += offset[e.file]
			if e.first == e.frame && want.first <= offset[e.file] {
				e.first = want.first // it began in the file before, where no frame of this one can be
			}
			e.file = want.file
			if e != want {
				t.Fatalf("order %v, event %d: %+v, the whole capture has %+v", order, i, e, want)
			}
		}
		if got, want := fmt.Sprint(r.dec.Ledger().Rows()), fmt.Sprint(whole.dec.Ledger().Rows()); got != want {
			t.Errorf("order %v: ledger\n%s\nthe whole capture has\n%s", order, got, want)
		}
	}
}

func TestMergeOrder(t *testing.T) {
	p := func(at int64, seq uint16) packet {
		return packet{src: "10.0.0.1:6000", dst: "10.0.0.3:6000", at: at, id: seq, payload: rtpPacket(seq, 1)}
	}
	r := read(t, open(t, map[string][]byte{
		"b.pcap": capture(t, p(0, 2), p(10, 4), p(20, 6)),
		"a.pcap": capture(t, p(0, 1), p(10, 3), p(15, 5), p(20, 0)), // equal times: by file
		"c.pcap": capture(t, p(50, 8), p(30, 7)),                    // its own order stands
	}), decode.Options{})
	var got []string
	for _, e := range r.events {
		got = append(got, fmt.Sprint(e.file[:1], e.frame))
	}
	// c2 twice: its time went back, which is an event of its own
	if s, want := strings.Join(got, " "), "a1 b1 a2 b2 a3 a4 b3 c1 c2 c2"; s != want {
		t.Errorf("order %s, want %s", s, want)
	}
}

func TestBackwardClock(t *testing.T) {
	p := func(at int64) packet {
		return packet{src: "10.0.0.1:5060", dst: "10.0.0.3:5060", at: at, id: uint16(at), payload: []byte(options(fmt.Sprint(at)))}
	}
	r := readOne(t, p(100), p(50), p(60), p(10), p(70))
	if got := strings.Join(r.texts(decode.EventProblem), ","); got != "times-went-back" {
		t.Errorf("problems %q, want one", got)
	}
	if got := strings.Join(r.texts(decode.EventSIP), ","); got != "OPTIONS 100,OPTIONS 50,OPTIONS 60,OPTIONS 10,OPTIONS 70" {
		t.Errorf("capture order was not kept: %s", got)
	}
	c := r.dec.Captures()[0]
	if c.BackwardSteps != 2 || c.FirstAt != decode.Time(start+10e6) || c.LastAt != decode.Time(start+100e6) {
		t.Errorf("%d steps back, from %v to %v", c.BackwardSteps, c.FirstAt, c.LastAt)
	}
}

func TestStartEnd(t *testing.T) {
	var all []packet
	for i := range int64(10) {
		all = append(all, packet{src: "10.0.0.1:5060", dst: "10.0.0.3:5060", at: i * 1000, id: uint16(i), payload: []byte(options(fmt.Sprint(i)))})
	}
	r := read(t, open(t, map[string][]byte{"a.pcap": capture(t, all...)}),
		decode.Options{Start: decode.Time(start + 3e9), End: decode.Time(start + 5e9)})
	if got := strings.Join(r.texts(decode.EventSIP), ","); got != "OPTIONS 3,OPTIONS 4,OPTIONS 5" {
		t.Errorf("got %s", got)
	}
	if n := r.ledger("frame", "outside --start and --end"); n != 7 {
		t.Errorf("%d frames outside, want 7", n)
	}
	if first, last := r.dec.Span(); first != decode.Time(start+3e9) || last != decode.Time(start+5e9) {
		t.Errorf("span %v to %v, want 3 s to 5 s", first, last)
	}
}

func TestCopies(t *testing.T) {
	p := packet{src: "10.0.0.1:6000", dst: "10.0.0.3:6000", id: 9, mac: 1, payload: rtpPacket(1, 1)}
	with := func(change func(*packet)) packet {
		c := p
		change(&c)
		return c
	}
	for _, test := range []struct {
		name   string
		second packet
		events int
	}{
		{"network duplicate: nothing changed", p, 2},
		{"VLAN copy of a mirror port", with(func(c *packet) { c.vlan = 100 }), 1},
		{"behind a router", with(func(c *packet) { c.ttl, c.mac, c.at = 1, 2, 2 }), 1},
		{"other interface of the same host", with(func(c *packet) { c.mac = 2 }), 1},
		{"same bytes much later, another way", with(func(c *packet) { c.mac, c.at = 2, 200 }), 2},
		{"another IP identification: sent twice", with(func(c *packet) { c.mac, c.id = 2, 10 }), 2},
		{"another sequence number", with(func(c *packet) { c.mac, c.payload = 2, rtpPacket(2, 1) }), 2},
		{"another port", with(func(c *packet) { c.mac, c.dst = 2, "10.0.0.3:6002" }), 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := readOne(t, p, test.second)
			if len(r.events) != test.events {
				t.Errorf("%d events, want %d", len(r.events), test.events)
			}
			n := int64(2 - test.events)
			if c := r.dec.Captures()[0]; c.DuplicatePackets != n || r.ledger("udp", "copy of a packet") != n {
				t.Errorf("%d duplicates in captures, %d in the ledger, want %d", c.DuplicatePackets, r.ledger("udp", "copy of a packet"), n)
			}
		})
	}
	t.Run("a duplicate that is itself mirrored stays one duplicate", func(t *testing.T) {
		v := with(func(c *packet) { c.vlan = 100 })
		if r := readOne(t, p, v, p, v); len(r.events) != 2 {
			t.Errorf("%d events, want 2", len(r.events))
		}
	})
}

// Standard input beside a file: it is read once, and merged as any other.
func TestStandardInput(t *testing.T) {
	all := mixed()
	files := open(t, map[string][]byte{"a.pcap": capture(t, all[:50]...)})
	files = append(files, container.Stdin(bytes.NewReader(capture(t, all[50:]...))))
	r := read(t, files, decode.Options{})
	if n := r.ledger("frame", "used"); n != int64(len(all)) {
		t.Errorf("%d frames used, want %d", n, len(all))
	}
}

// Among many half-open connections the one that speaks is read to its end, and
// those that are ended to make room still have their flows; what they say later
// is counted.
func TestConnectionsMakeRoom(t *testing.T) {
	good := dial("10.0.0.1:5060", "10.0.0.2:5060", 0)
	var packets []packet
	take := func() {
		packets = append(packets, good.packets...)
		good.packets = nil
	}
	take()
	for i := range 50 {
		at := 10 * int64(i+1)
		half := dial(fmt.Sprintf("10.1.0.%d:1024", i+1), "10.0.0.2:5060", at)
		packets = append(packets, half.packets[0])
		good.at = at + 1
		good.send(0, options(fmt.Sprint("good-", i)))
		take()
	}
	late := dial("10.1.0.1:1024", "10.0.0.2:5060", 1000)
	late.packets = nil
	late.send(0, options("late"))
	packets = append(packets, late.packets...)
	files := open(t, map[string][]byte{"a.pcap": capture(t, packets...)})
	r := read(t, files, decode.Options{}, func(d *decode.Decoder) { d.Bounds(100, 4) })
	if got := r.texts(decode.EventSIP); len(got) != 50 || got[49] != "OPTIONS good-49" {
		t.Errorf("%q; want the 50 of the connection that speaks", got)
	}
	if n := len(r.trace.Flows); n != 51 {
		t.Errorf("%d flows, want 51", n)
	}
	if n := r.ledger("tcp", "too many connections"); n != 2 {
		t.Errorf("%d segments of a connection that was ended, want 2", n)
	}
	wantCapped(t, r.trace, "TCP connections that were ended early to make room for newer ones", 47)

	r = read(t, files, decode.Options{}, func(d *decode.Decoder) { d.Bounds(11, 4) })
	if n := r.ledger("tcp", "too many flows"); len(r.trace.Flows) != 11 || n != 40 {
		t.Errorf("%d flows, want 11; %d segments of others, want 40", len(r.trace.Flows), n)
	}
	wantCapped(t, r.trace, "packets of further flows", 40)
}

func wantCapped(t *testing.T, trace *sessions.Trace, what string, n int) {
	t.Helper()
	want := fmt.Sprintf("more than is kept of one experiment: %d %s", n, what)
	for _, o := range trace.Oddities {
		if o.Rule == decode.RuleCap && o.Subject == what && o.Text == want {
			return
		}
	}
	t.Errorf("%+v; want %q", trace.Oddities, want)
}

func TestEmptyAndUnknownFiles(t *testing.T) {
	r := read(t, open(t, map[string][]byte{"empty": {}, "junk.bin": []byte("\x01\x02\x03\x04 nothing known"), "h.pcap": capture(t)}), decode.Options{})
	if !r.dec.Usable() || len(r.events) != 0 || len(r.dec.Inputs()) != 3 {
		t.Errorf("usable %v, %d events, inputs %+v", r.dec.Usable(), len(r.events), r.dec.Inputs())
	}
	for _, in := range r.dec.Inputs() {
		if in.File != "h.pcap" && in.Kind != "unknown" {
			t.Errorf("%s is %s", in.File, in.Kind)
		}
	}
}

// A capture cut anywhere is read up to the cut, the damage is named, and the
// account is whole.
func TestTruncation(t *testing.T) {
	full := capture(t, mixed()[:25]...)
	var ends []int // of each frame
	rd, err := pcap.NewReader(bytes.NewReader(full))
	if err != nil {
		t.Fatal(err)
	}
	ends = append(ends, 24)
	for f := (pcap.Frame{}); rd.Next(&f) == nil; {
		ends = append(ends, int(rd.Offset()))
	}
	for n := 24; n <= len(full); n++ {
		r := read(t, open(t, map[string][]byte{"a.pcap": full[:n]}), decode.Options{})
		frames, whole := slices.BinarySearch(ends, n)
		if !whole {
			frames--
		}
		c := r.dec.Captures()
		if len(c) != 1 || c[0].Packets != int64(frames) {
			t.Fatalf("cut at %d: captures %+v, want %d packets", n, c, frames)
		}
		if damaged := c[0].Problem != ""; damaged == whole || r.dec.Damaged() == whole || (r.dec.Inputs()[0].Problem != "") != damaged {
			t.Fatalf("cut at %d: problem %q, damaged %v, at a frame's end %v", n, c[0].Problem, r.dec.Damaged(), whole)
		}
	}
	for n := range 24 {
		r := read(t, open(t, map[string][]byte{"a.pcap": full[:n]}), decode.Options{})
		if len(r.events) > 0 {
			t.Fatalf("cut at %d: %d events", n, len(r.events))
		}
	}
}

// shared is a folder beside the repository.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join("..", "..", "shared", name)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no %s beside the repository", name)
	}
	return dir
}

// Every capture there is: no panic, and a ledger that balances, also when
// bytes are changed.
func TestLedgerBalances(t *testing.T) {
	for _, folder := range []string{"lab", "captures/files"} {
		t.Run(folder, func(t *testing.T) {
			root := shared(t, folder)
			n := 0
			walk := func(f *container.File) error {
				c, err := f.Identify()
				if err != nil || c.Kind != container.Pcap && c.Kind != container.Pcapng || f.Size > 16<<20 || testing.Short() && n > 20 {
					return nil
				}
				n++
				r := read(t, []*container.File{f}, decode.Options{})
				if t.Failed() {
					t.Fatalf("in %s", f.Name)
				}
				if c := r.dec.Captures(); len(c) == 1 && r.ledger("frame", "used") > c[0].Packets {
					t.Fatalf("%s: more frames used than there are", f.Name)
				}
				if f.Size > 400<<10 {
					return nil
				}
				rc, err := f.Open()
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(rc)
				rc.Close()
				if err != nil {
					t.Fatal(err)
				}
				for i := 97 + n%31; i < len(b); i += 211 {
					b[i] ^= byte(1 + i%255)
				}
				read(t, open(t, map[string][]byte{"mutated": b}), decode.Options{})
				if t.Failed() {
					t.Fatalf("in a mutated %s", f.Name)
				}
				return nil
			}
			if err := container.Walk(os.DirFS(root), ".", walk, func(string, error) {}); err != nil {
				t.Fatal(err)
			}
			if n < 20 {
				t.Errorf("only %d captures found", n)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(capture(f, mixed()[:40]...))
	f.Add(zip(f, capture(f, mixed()[20:60]...)))
	for _, v := range vectors(f) {
		f.Add(capture(f, packet{src: "10.0.0.1:40000", dst: "10.0.0.2:40002", payload: v.data}))
	}
	var ng bytes.Buffer
	w := pcap.NewNGWriter(&ng)
	if _, err := w.AddInterface(pcap.LinkEthernet, 0, 9); err != nil {
		f.Fatal(err)
	}
	for _, p := range mixed()[:20] {
		if err := w.WritePacket(0, p.time(), p.frame(f), len(p.frame(f)), "a comment"); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(ng.Bytes())
	f.Add([]byte(`{"calls":[{"sid":"CA00000000000000000000000000000001","status":"completed","date_created":"Tue, 01 Sep 2026 12:00:00 +0000"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		read(t, open(t, map[string][]byte{"a": data}), decode.Options{})
	})
}

func BenchmarkDecode(b *testing.B) {
	var rtp bytes.Buffer
	if err := fixtures.WriteLoad(&rtp, 100, 400); err != nil {
		b.Fatal(err)
	}
	tcp := capture(b, mixed()...)
	var tls, keys bytes.Buffer
	if err := fixtures.WriteTLSLoad(&tls, &keys, 4, 500, 1434); err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct {
		name string
		data []byte
		keys []byte
	}{{"pcap=rtp", rtp.Bytes(), nil}, {"pcap=tcp", tcp, nil}, {"pcap=tls", tls.Bytes(), keys.Bytes()}} {
		b.Run(bench.name, func(b *testing.B) {
			fsys := fstest.MapFS{"a.pcap": &fstest.MapFile{Data: bench.data}}
			if bench.keys != nil {
				fsys["b.keys"] = &fstest.MapFile{Data: bench.keys}
			}
			b.SetBytes(int64(len(bench.data)))
			b.ReportAllocs()
			var frames int64
			for b.Loop() {
				var files []*container.File
				err := container.Walk(fsys, ".", func(f *container.File) error {
					files = append(files, f)
					return nil
				}, func(string, error) {})
				if err != nil {
					b.Fatal(err)
				}
				d, err := decode.Open(files, decode.Options{})
				if err != nil {
					b.Fatal(err)
				}
				s := sessions.New(d.Files(), d.Ledger())
				for ev := range d.Events(context.Background()) {
					s.Add(ev)
				}
				first, last := d.Span()
				s.Finalize(d.Flows(), first, last)
				frames += d.Captures()[0].Packets
				if err := d.Ledger().Check(); err != nil {
					b.Fatal(err)
				}
				if bench.keys != nil && d.Captures()[0].TLSDecrypted != 4 {
					b.Fatal("not all connections were opened")
				}
			}
			b.ReportMetric(float64(frames)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}
