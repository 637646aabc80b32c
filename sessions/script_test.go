package sessions_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/sessions"
)

const start = int64(1_700_000_000_000_000_000)

func at(ms int64) decode.Time { return decode.Time(start + ms*1e6) }

// The ends of the scripts: a caller, a proxy and a callee.
const (
	caller = "10.0.0.1:5060"
	proxy  = "10.0.0.9:5060"
	callee = "10.0.0.2:5060"
)

// datagram is one UDP packet of a script.
type datagram struct {
	ms       int64
	src, dst string
	payload  []byte
}

func (d datagram) frame(t testing.TB, id int) []byte {
	t.Helper()
	src, dst := netip.MustParseAddrPort(d.src), netip.MustParseAddrPort(d.dst)
	mac := []byte{2, 0, 0, 0, 0, 1}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Id: uint16(id), Protocol: layers.IPProtocolUDP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()},
		&layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}, gopacket.Payload(d.payload))
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// script is a capture in the making.
type script struct {
	list     []datagram
	unsorted bool // frames stand as they were added, not by time
}

func (s *script) add(ms int64, src, dst string, payload []byte) {
	s.list = append(s.list, datagram{ms, src, dst, payload})
}

// sip adds a SIP message. The first line is a method or a status with its
// reason; "callee:" before it makes it the callee's (a response to the caller,
// a request within the dialog). Fields follow, one a line, and after an empty
// line the body; a field given here replaces the usual one.
func (s *script) sip(ms int64, src, dst, text string) {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	line, byCallee := strings.CutPrefix(lines[0], "callee:")
	fields := map[string]string{"Call-ID": "call-1", "Via": "SIP/2.0/UDP x;branch=z9hG4bK1"}
	order := []string{"Via", "From", "To", "Call-ID", "CSeq"}
	fields["From"], fields["To"] = "<sip:+15550001@a.example>;tag=ct", "<sip:+15550002@b.example>"
	if line[0] >= '1' && line[0] <= '6' {
		if line[:3] != "100" {
			fields["To"] += ";tag=et"
		}
		fields["CSeq"] = "1 INVITE"
		line = "SIP/2.0 " + line
	} else {
		method := line
		fields["CSeq"] = map[string]string{"INVITE": "1", "ACK": "1", "CANCEL": "1"}[method] + " " + method
		if fields["CSeq"][0] == ' ' {
			fields["CSeq"] = "2" + fields["CSeq"]
			fields["To"] += ";tag=et"
		}
		if byCallee {
			fields["From"], fields["To"] = "<sip:+15550002@b.example>;tag=et", "<sip:+15550001@a.example>;tag=ct"
		}
		line += " sip:+15550002@b.example SIP/2.0"
	}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		if name == "URI" { // of the request line
			line = strings.Replace(line, " sip:+15550002@b.example ", " "+value+" ", 1)
			continue
		}
		if _, ok := fields[name]; !ok || name == "Via" && strings.Contains(value, "\x00") {
			order = append(order, name)
		}
		fields[name] = value
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\r\n", line)
	for _, name := range order {
		fmt.Fprintf(&b, "%s: %s\r\n", name, fields[name])
	}
	body = strings.ReplaceAll(body, "\n", "\r\n")
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	s.add(ms, src, dst, []byte(b.String()))
}

// say is sip between caller and callee: a response and what begins with
// "callee:" comes from the callee.
func (s *script) say(ms int64, text string) {
	if text[0] >= '1' && text[0] <= '6' && !strings.Contains(text, "\nCSeq: 9") || strings.HasPrefix(text, "callee:") {
		s.sip(ms, callee, caller, text)
		return
	}
	s.sip(ms, caller, callee, text)
}

func sdp(addr string, formats string, attributes ...string) string {
	a := netip.MustParseAddrPort(addr)
	s := fmt.Sprintf("Content-Type: application/sdp\n\nv=0\no=- 1 1 IN IP4 %s\ns=-\nc=IN IP4 %s\nt=0 0\nm=audio %d RTP/AVP %s\n", a.Addr(), a.Addr(), a.Port(), formats)
	for _, l := range attributes {
		s += "a=" + l + "\n"
	}
	return s
}

// rtp adds one packet; its timestamp follows its number at 160 a packet.
func (s *script) rtp(ms int64, src, dst string, pt uint8, seq uint16, ssrc uint32) {
	s.rtpAt(ms, src, dst, pt, seq, uint32(seq)*160, ssrc)
}

func (s *script) rtpAt(ms int64, src, dst string, pt uint8, seq uint16, stamp, ssrc uint32, payload ...byte) {
	b := []byte{0x80, pt}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, stamp)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	if payload == nil {
		payload = make([]byte, 160)
	}
	s.add(ms, src, dst, append(b, payload...))
}

func (s *script) capture(t testing.TB) []byte {
	t.Helper()
	list := slices.Clone(s.list)
	if !s.unsorted {
		slices.SortStableFunc(list, func(x, y datagram) int { return int(x.ms - y.ms) })
	}
	var b bytes.Buffer
	w := pcap.NewWriter(&b, pcap.LinkEthernet, true)
	for i, d := range list {
		if err := w.WriteFrame(int64(at(d.ms)), d.frame(t, i)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func (s *script) trace(t testing.TB) *sessions.Trace {
	t.Helper()
	return analyse(t, map[string][]byte{"a.pcap": s.capture(t)})
}

func analyse(t testing.TB, files map[string][]byte, set ...func(*sessions.Builder)) *sessions.Trace {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: data}
	}
	var list []*container.File
	if err := container.Walk(fsys, ".", func(f *container.File) error { list = append(list, f); return nil }, func(string, error) {}); err != nil {
		t.Fatal(err)
	}
	return analyseFiles(t, list, set...)
}

func analyseFiles(t testing.TB, list []*container.File, set ...func(*sessions.Builder)) *sessions.Trace {
	t.Helper()
	d, err := decode.Open(list, decode.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := sessions.New(d.Files(), d.Ledger())
	for _, f := range set {
		f(b)
	}
	for ev := range d.Events(context.Background()) {
		b.Add(ev)
	}
	first, last := d.Span()
	trace := b.Finalize(d.Flows(), first, last)
	if err := d.Ledger().Check(); err != nil {
		t.Error(err)
	}
	if err := new(sessions.Validator).Check(trace); err != nil {
		t.Error(err)
	}
	return trace
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

func labTrace(t testing.TB, files ...string) *sessions.Trace {
	t.Helper()
	lab := shared(t, "lab")
	in := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(lab, f))
		if err != nil {
			t.Fatal(err)
		}
		in[f] = b
	}
	return analyse(t, in)
}
