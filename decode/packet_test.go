package decode_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/sessions"
)

// packet is one frame to be: Ethernet, IPv4, and UDP unless tcp is set.
type packet struct {
	src, dst string
	payload  []byte
	at       int64 // ms after the start of the capture
	ttl      uint8
	mac      uint8 // last byte of both link addresses
	vlan     uint16
	id       uint16

	tcp      bool
	seq, ack uint32
	flags    uint8
}

const start = int64(1_700_000_000_000_000_000)

func (p packet) time() int64 { return start + p.at*1e6 }

func (p packet) frame(t testing.TB) []byte {
	t.Helper()
	src, dst := netip.MustParseAddrPort(p.src), netip.MustParseAddrPort(p.dst)
	mac := []byte{2, 0, 0, 0, 0, p.mac}
	eth := &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}
	all := []gopacket.SerializableLayer{eth}
	if p.vlan != 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		all = append(all, &layers.Dot1Q{VLANIdentifier: p.vlan, Type: layers.EthernetTypeIPv4})
	}
	ip := &layers.IPv4{Version: 4, TTL: 64 - p.ttl, Id: p.id, Protocol: layers.IPProtocolUDP,
		SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	all = append(all, ip)
	if p.tcp {
		ip.Protocol = layers.IPProtocolTCP
		all = append(all, &layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), Seq: p.seq, Ack: p.ack, Window: 65535,
			SYN: p.flags&link.SYN != 0, ACK: p.flags&link.ACK != 0, FIN: p.flags&link.FIN != 0, RST: p.flags&link.RST != 0})
	} else {
		all = append(all, &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())})
	}
	all = append(all, gopacket.Payload(p.payload))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, all...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// conn writes the segments of one TCP connection, a millisecond apart.
type conn struct {
	a, b    string
	at      int64
	seq     [2]uint32
	packets []packet
}

func (c *conn) segment(dir int, flags uint8, payload string) {
	ends := [2]string{c.a, c.b}
	c.at++
	c.packets = append(c.packets, packet{src: ends[dir], dst: ends[1-dir], at: c.at, tcp: true, id: uint16(len(c.packets)),
		seq: c.seq[dir], ack: c.seq[1-dir], flags: flags, payload: []byte(payload)})
	c.seq[dir] += uint32(len(payload))
	if flags&(link.SYN|link.FIN) != 0 {
		c.seq[dir]++
	}
}

func dial(a, b string, at int64) *conn {
	c := &conn{a: a, b: b, at: at, seq: [2]uint32{0xFFFFFFF0, 1000}} // one side wraps
	c.segment(0, link.SYN, "")
	c.segment(1, link.SYN|link.ACK, "")
	c.segment(0, link.ACK, "")
	return c
}

func (c *conn) send(dir int, parts ...string) {
	for _, p := range parts {
		c.segment(dir, link.ACK|link.PSH, p)
		c.segment(1-dir, link.ACK, "")
	}
}

func (c *conn) close() {
	c.segment(0, link.FIN|link.ACK, "")
	c.segment(1, link.FIN|link.ACK, "")
	c.segment(0, link.ACK, "")
}

func capture(t testing.TB, packets ...packet) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcap.NewWriter(&b, pcap.LinkEthernet, true)
	for _, p := range packets {
		if err := w.WriteFrame(p.time(), p.frame(t)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func zip(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// seen is an event as a test compares it.
type seen struct {
	kind         decode.Kind
	at           decode.Time
	file         string
	frame, first int64
	src, dst     string
	text         string
}

// result is all that came of reading some files.
type result struct {
	events []seen
	dec    *decode.Decoder
	trace  *sessions.Trace
}

func (r *result) kinds() string {
	var b strings.Builder
	for i, e := range r.events {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(e.kind.String())
	}
	return b.String()
}

func (r *result) texts(kind decode.Kind) []string {
	out := []string{}
	for _, e := range r.events {
		if e.kind == kind {
			out = append(out, e.text)
		}
	}
	return out
}

func (r *result) ledger(layer, reason string) int64 {
	for _, row := range r.dec.Ledger().Rows() {
		if row.Layer == layer && row.Reason == reason {
			return row.Count
		}
	}
	return 0
}

func open(t testing.TB, files map[string][]byte) []*container.File {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	var out []*container.File
	err := container.Walk(fsys, ".", func(f *container.File) error {
		out = append(out, f)
		return nil
	}, func(name string, err error) {})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// read takes files through the decoder and the builder, as the program does,
// and checks that the ledger balances.
func read(t testing.TB, files []*container.File, opt decode.Options, set ...func(*decode.Decoder)) *result {
	t.Helper()
	d, err := decode.Open(files, opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range set {
		f(d)
	}
	r := &result{dec: d}
	b := sessions.New(d.Files(), d.Ledger())
	for ev := range d.Events(context.Background()) {
		b.Add(ev)
		e := seen{kind: ev.Kind, at: ev.Time, file: d.Files()[ev.Pos.File], frame: ev.Pos.Frame, first: ev.Pos.First}
		if ev.Flow != nil {
			e.src, e.dst = ev.Src().String(), ev.Dst().String()
		}
		switch ev.Kind {
		case decode.EventSIP:
			e.text = string(ev.SIP.MethodText)
			if !ev.SIP.Request {
				e.text = fmt.Sprint(ev.SIP.Status)
			}
			e.text += " " + string(ev.SIP.CallID)
		case decode.EventRTP:
			e.text = fmt.Sprintf("%x %d", ev.RTP.SSRC, ev.RTP.Seq)
		case decode.EventDNS:
			e.text = ev.DNS.Name
		case decode.EventHTTP:
			e.text = fmt.Sprintf("%s%s %d", ev.HTTP.Method, ev.HTTP.Target, ev.HTTP.BodyLen)
		case decode.EventTLS:
			e.text = ev.TLS.Kind.String()
			if ev.TLS.ClientHello != nil {
				e.text += " " + ev.TLS.ClientHello.SNI
			}
		case decode.EventProblem:
			e.text = ev.Problem.Rule
		}
		r.events = append(r.events, e)
	}
	if d.Err() != nil {
		t.Fatal(d.Err())
	}
	first, last := d.Span()
	r.trace = b.Finalize(d.Flows(), first, last)
	if err := d.Ledger().Check(); err != nil {
		t.Error(err)
	}
	if err := new(sessions.Validator).Check(r.trace); err != nil {
		t.Error(err)
	}
	return r
}

func readOne(t testing.TB, packets ...packet) *result {
	t.Helper()
	return read(t, open(t, map[string][]byte{"a.pcap": capture(t, packets...)}), decode.Options{})
}

func sipText(start, callID, cseq, body string) string {
	return start + "\r\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK" + callID + cseq[:1] + "\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\n" +
		"Call-ID: " + callID + "\r\nCSeq: " + cseq + "\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body
}

func invite(callID string) string {
	return sipText("INVITE sip:b@example.com SIP/2.0", callID, "1 INVITE", strings.Repeat("x", 98)+"\r\n")
}

func options(callID string) string {
	return sipText("OPTIONS sip:b@example.com SIP/2.0", callID, "1 OPTIONS", "")
}

func rtpPacket(seq uint16, ssrc uint32) []byte {
	b := make([]byte, 172)
	b[0] = 0x80
	b[2], b[3] = byte(seq>>8), byte(seq)
	ts := uint32(seq) * 160
	b[4], b[5], b[6], b[7] = byte(ts>>24), byte(ts>>16), byte(ts>>8), byte(ts)
	b[8], b[9], b[10], b[11] = byte(ssrc>>24), byte(ssrc>>16), byte(ssrc>>8), byte(ssrc)
	return b
}

// pieces cuts s into parts of n bytes.
func pieces(s string, n int) []string {
	var out []string
	for chunk := range slices.Chunk([]byte(s), n) {
		out = append(out, string(chunk))
	}
	return out
}
