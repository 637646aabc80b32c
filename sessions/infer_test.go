package sessions_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/decode/tls"
	"github.com/twtrace/twtrace/sessions"
)

// gatewayName is TWILIO.md A1's expression for signaling hosts.
var gatewayName = regexp.MustCompile(`^(chunderw(-vpc)?(-gll)?(-[a-z0-9-]+)?|voice-js\.[a-z0-9-]+)\.twilio\.com$`)

// labRun is a recorded run of real clients with its truth.
type labRun struct {
	name    string
	files   map[string][]byte
	keys    map[string][]byte
	exports map[string][]byte
	invites []decode.Time // sent by the gateway
	half    int           // all captures of one run are in the same half
}

// labRuns reads every run of a browser, each capture of it as a run of its own.
func labRuns(t testing.TB) []labRun {
	t.Helper()
	lab := shared(t, "lab")
	var runs []labRun
	for _, pattern := range []string{"s1-paper/*", "s1-webrtc/*"} {
		dirs, err := filepath.Glob(filepath.Join(lab, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for n, dir := range dirs {
			var truth struct {
				Calls []struct {
					Invite int64 `json:"invite_ns"`
				}
			}
			b, err := os.ReadFile(filepath.Join(dir, "truth.json"))
			if err == nil {
				err = json.Unmarshal(b, &truth)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := labRun{half: n % 2, keys: map[string][]byte{}, exports: map[string][]byte{}}
			for _, c := range truth.Calls {
				if c.Invite != 0 {
					r.invites = append(r.invites, decode.Time(c.Invite))
				}
			}
			slices.Sort(r.invites)
			for _, pattern := range []string{"keys*.log", "calls/*"} {
				names, _ := filepath.Glob(filepath.Join(dir, pattern))
				for _, name := range names {
					if b, err = os.ReadFile(name); err != nil {
						t.Fatal(err)
					}
					if strings.HasSuffix(name, ".log") {
						r.keys[filepath.Base(name)] = b
					} else {
						r.exports["calls/"+filepath.Base(name)] = b
					}
				}
			}
			for _, capture := range []string{"capture.pcapng", "capture-server.pcap", "capture-any.pcap"} {
				if b, err := os.ReadFile(filepath.Join(dir, capture)); err == nil {
					one := r
					one.name = filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir) + "/" + capture
					one.files = map[string][]byte{capture: b}
					runs = append(runs, one)
				}
			}
		}
	}
	if len(runs) < 20 {
		t.Fatalf("%d recorded runs, want the lab's", len(runs))
	}
	return runs
}

func openFiles(t testing.TB, parts ...map[string][]byte) *decode.Decoder {
	t.Helper()
	fsys := fstest.MapFS{}
	for _, files := range parts {
		for name, data := range files {
			fsys[name] = &fstest.MapFile{Data: data}
		}
	}
	var list []*container.File
	if err := container.Walk(fsys, ".", func(f *container.File) error { list = append(list, f); return nil }, func(string, error) {}); err != nil {
		t.Fatal(err)
	}
	d, err := decode.Open(list, decode.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// traceOf builds a trace from the events that keep lets through: evidence that
// a capture may lack is taken away.
func traceOf(t testing.TB, keep func(*decode.Event) bool, parts ...map[string][]byte) *sessions.Trace {
	t.Helper()
	d := openFiles(t, parts...)
	b := sessions.New(d.Files(), d.Ledger())
	for ev := range d.Events(context.Background()) {
		if keep == nil || keep(ev) {
			b.Add(ev)
		}
	}
	first, last := d.Span()
	trace := b.Finalize(d.Flows(), first, last)
	if keep == nil {
		if err := new(sessions.Validator).Check(trace); err != nil {
			t.Error(err)
		}
	}
	return trace
}

// score counts reported calls against the truth.
type score struct {
	truth, reported, inside, false_, missed int
	late                                    []float64 // ms
	by                                      map[string]int
}

func (s *score) add(t testing.TB, run *labRun, trace *sessions.Trace) {
	left := slices.Clone(run.invites)
	s.truth += len(left)
	if s.by == nil {
		s.by = map[string]int{}
	}
	for i := range trace.Calls {
		c := &trace.Calls[i]
		if c.ArrivedAt == 0 || c.ArrivedBy == "resource" {
			continue
		}
		s.reported++
		s.by[c.ArrivedBy]++
		best := -1
		for k, at := range left {
			if d := c.ArrivedAt - at; d > -5e9 && d < 5e9 && (best < 0 || max(d, -d) < max(c.ArrivedAt-left[best], left[best]-c.ArrivedAt)) {
				best = k
			}
		}
		if best < 0 {
			s.false_++
			t.Logf("%s: a false call at %v by %s", run.name, c.ArrivedAt, c.ArrivedBy)
			continue
		}
		late := float64(c.ArrivedAt-left[best]) / 1e6
		left = slices.Delete(left, best, best+1)
		s.late = append(s.late, late)
		if math.Abs(late) <= c.ArrivedErrorMS.V {
			s.inside++
		} else {
			t.Logf("%s: %.1f ms late, bound %.1f ms, by %s", run.name, late, c.ArrivedErrorMS.V, c.ArrivedBy)
		}
	}
	s.missed += len(left)
}

func (s *score) String() string {
	slices.Sort(s.late)
	if len(s.late) == 0 {
		return fmt.Sprintf("%d | %d | %d | %d | %d | | |", s.truth, s.reported, s.inside, s.false_, s.missed)
	}
	return fmt.Sprintf("%d | %d | %d | %d | %d | %.1f | %.1f |", s.truth, s.reported, s.inside, s.false_, s.missed, s.late[len(s.late)/2], s.late[len(s.late)-1])
}

// TestInferredArrivals takes the keys away from the recordings, then one piece
// of evidence after the other, and makes the table of docs/arrival.md.
func TestInferredArrivals(t *testing.T) {
	runs := labRuns(t)
	toClient := func(ev *decode.Event) bool {
		side, _ := ev.Flow.TLSClient()
		return ev.Dir != side
	}
	sealed := func(ev *decode.Event) bool {
		return ev.Kind == decode.EventTLS && ev.TLS.Kind == tls.KindApplicationData
	}
	kinds := []decode.Kind{decode.EventSTUN, decode.EventDTLS}
	for _, tt := range []struct {
		name     string
		by       string
		lost     int // pieces of evidence that are taken away
		answered bool
	}{
		{"all that is visible", "tls-record", 0, false},
		{"the invite lost in a gap", "event-gateway", 1, true},
		{"and no event gateway", "ice-check", 2, true},
		{"and no STUN", "dtls-hello", 3, true},
		{"and no DTLS", "first-rtp", 4, true},
	} {
		var all, folds [2]score
		for i := range runs {
			run := &runs[i]
			keep := func(ev *decode.Event) bool {
				if tt.lost >= 1 && sealed(ev) && gatewayName.MatchString(ev.Flow.ServerName) && toClient(ev) {
					for _, at := range run.invites {
						if ev.Time >= at && ev.Time < at+3e8 || ev.TLS.Len > 1300 && ev.Time >= at && ev.Time < at+1e9 {
							return false
						}
					}
				}
				if tt.lost >= 2 && ev.Kind == decode.EventTLS && strings.HasPrefix(ev.Flow.ServerName, "eventgw") {
					return false
				}
				for k, kind := range kinds {
					if tt.lost >= 3+k && ev.Kind == kind {
						return false
					}
				}
				return true
			}
			if tt.lost == 0 {
				keep = nil
			}
			trace := traceOf(t, keep, run.files)
			all[0].add(t, run, trace)
			folds[run.half].add(t, run, trace)
		}
		s := &all[0]
		t.Logf("| %s | %v | %s", tt.name, s.by, s)
		t.Logf("    even and odd runs: %s; %s", &folds[0], &folds[1])
		if s.by[tt.by]*2 <= s.reported {
			t.Errorf("%s: evidence %v, want mostly %s", tt.name, s.by, tt.by)
		}
		for _, s := range []*score{s, &folds[0], &folds[1]} {
			if s.inside*100 < s.reported*95 || s.false_*100 > s.reported || s.reported*2 < s.truth {
				t.Errorf("%s: %s: want 95 %% inside, at most 1 %% false", tt.name, s)
			}
		}
		if !tt.answered && s.missed*100 > s.truth*5 {
			t.Errorf("%s: %d of %d calls missed", tt.name, s.missed, s.truth)
		}
	}
}

// TestInferredMediaOnly: a capture of media alone does not tell who called
// whom, so calls need the exported resources to name as many.
func TestInferredMediaOnly(t *testing.T) {
	var with, without score
	udp := func(ev *decode.Event) bool { return ev.Kind != decode.EventTLS }
	runs := labRuns(t)
	for i := range runs {
		run := &runs[i]
		without.add(t, run, traceOf(t, udp, run.files))
		if len(run.exports) > 0 {
			with.add(t, run, traceOf(t, udp, run.files, run.exports))
		}
	}
	t.Logf("| media and resources only | %v | %s", with.by, &with)
	if without.reported != 0 {
		t.Errorf("media alone gave %d calls", without.reported)
	}
	if with.reported < with.truth/2 || with.inside*100 < with.reported*95 || with.false_*100 > with.reported {
		t.Errorf("media and resources: %s", &with)
	}
}

// TestDescriptionSizes finds the thresholds on one half of the recordings and
// tests them on the other, both ways. The keys tell which messages held a
// description; the sizes are those of the sealed records.
func TestDescriptionSizes(t *testing.T) {
	type message struct {
		start, end decode.Time
		size       int
		sdp        bool
	}
	var halves [2][2][]message // half, side
	for _, run := range labRuns(t) {
		type place struct {
			frame int64
			dir   uint8
		}
		described := map[place]bool{}
		d := openFiles(t, run.files, run.keys)
		for ev := range d.Events(context.Background()) {
			if ev.Kind == decode.EventPStream && len(ev.PStream.SDP) > 0 {
				described[place{ev.Pos.Frame, ev.Dir}] = true
			}
		}
		type lineState struct {
			client int
			list   [2][]message
		}
		lines := map[uint32]*lineState{}
		var order []uint32
		d = openFiles(t, run.files)
		for ev := range d.Events(context.Background()) {
			if ev.Kind != decode.EventTLS || ev.TLS.Kind != tls.KindApplicationData || !gatewayName.MatchString(ev.Flow.ServerName) {
				continue
			}
			l := lines[ev.Flow.ID]
			if l == nil {
				l = &lineState{}
				lines[ev.Flow.ID] = l
				order = append(order, ev.Flow.ID)
			}
			side := 0
			if dir, _ := ev.Flow.TLSClient(); dir == ev.Dir {
				side = 1
				l.client++
			}
			first := 2
			if ev.Flow.TLSVersion == 0x0304 {
				first = 3
			}
			if l.client <= first {
				continue
			}
			sdp := described[place{ev.Pos.Frame, ev.Dir}]
			if n := len(l.list[side]); n > 0 && ev.Time-l.list[side][n-1].end <= 30e6 {
				m := &l.list[side][n-1]
				m.end, m.size, m.sdp = ev.Time, m.size+ev.TLS.Len, m.sdp || sdp
				continue
			}
			l.list[side] = append(l.list[side], message{ev.Time, ev.Time, ev.TLS.Len, sdp})
		}
		for _, id := range order {
			for side := range 2 {
				halves[run.half][side] = append(halves[run.half][side], lines[id].list[side]...)
			}
		}
	}
	used := [2]int{470, 337} // the thresholds of the package, by side
	for side, name := range []string{"gateway", "client"} {
		for train := range 2 {
			small, large := 0, 1<<30
			for _, m := range halves[train][side] {
				if m.sdp {
					large = min(large, m.size)
				} else {
					small = max(small, m.size)
				}
			}
			threshold := large * 6 / 10
			wrong, n, with := 0, 0, 0
			for _, m := range halves[1-train][side] {
				n++
				if m.sdp {
					with++
				}
				if (m.size >= threshold) != m.sdp {
					wrong++
				}
			}
			t.Logf("%s, found on half %d: without at most %d, with at least %d, threshold %d; other half: %d messages, %d with, %d wrong", name, train, small, large, threshold, n, with, wrong)
			if wrong > 0 || with == 0 {
				t.Errorf("%s: threshold %d of half %d is wrong %d times in the other half (%d with a description)", name, threshold, train, wrong, with)
			}
			if used[side] <= small || used[side] >= large {
				t.Errorf("%s: the package's threshold %d lies outside %d to %d", name, used[side], small, large)
			}
		}
	}
}

// TestRateWithoutKeys: the study's method on its own recordings without keys.
func TestRateWithoutKeys(t *testing.T) {
	n := 0
	for _, run := range labRuns(t) {
		if !strings.HasPrefix(run.name, "s1-paper/") || !strings.HasSuffix(run.name, "/capture.pcapng") {
			continue
		}
		n++
		trace := traceOf(t, nil, run.files, run.exports)
		var seen []*sessions.Arrival
		for i := range trace.Arrivals {
			if a := &trace.Arrivals[i]; strings.HasPrefix(a.To, "client:") {
				seen = append(seen, a)
				if a.ArrivedBy != "tls-record" || a.Endpoint != "browser" || a.CallSID == "" || a.File != "capture.pcapng" {
					t.Errorf("%s: arrival %+v, want the invite's record with its CallSid", run.name, *a)
				}
			}
		}
		if len(seen) != len(run.invites) || len(seen) != 2 {
			t.Errorf("%s: %d arrivals at the browser, want %d", run.name, len(seen), len(run.invites))
			continue
		}
		truth := float64(run.invites[1] - run.invites[0])
		span := float64(seen[1].ArrivedAt - seen[0].ArrivedAt)
		if w := (seen[0].ArrivedErrorMS.V + seen[1].ArrivedErrorMS.V) * 1e6; math.Abs(span-truth) > w {
			t.Errorf("%s: span %.0f ms, truth %.0f, bound %.0f", run.name, span/1e6, truth/1e6, w/1e6)
		}
		for i := range trace.Legs {
			if l := &trace.Legs[i]; l.Kind == "pstream" && (l.JoinScore.V >= 1 || !strings.Contains(l.JoinedBy, "inferred")) {
				t.Errorf("%s: leg %+v", run.name, *l)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d runs, want the lab's six", n)
	}
}

// wire is a capture of TCP and UDP in the making.
type wire struct {
	t      testing.TB
	frames []wireFrame
	next   map[string]uint32 // TCP sequence number by direction
}

type wireFrame struct {
	ms    int64
	bytes func() []byte // made in order of time: TCP counts its bytes
}

func newWire(t testing.TB) *wire { return &wire{t: t, next: map[string]uint32{}} }

func (w *wire) packet(src, dst string, transport gopacket.SerializableLayer, payload []byte) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	proto := layers.IPProtocolTCP
	if _, ok := transport.(*layers.UDP); ok {
		proto = layers.IPProtocolUDP
	}
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, TTL: 64, Id: uint16(len(w.frames)), Protocol: proto, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	eth := layers.EthernetTypeIPv4
	if s.Addr().Is6() {
		ip, eth = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}, layers.EthernetTypeIPv6
	}
	mac := []byte{2, 0, 0, 0, 0, 1}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: eth}, ip, transport, gopacket.Payload(payload)); err != nil {
		w.t.Fatal(err)
	}
	return buf.Bytes()
}

func (w *wire) tcp(at int64, src, dst string, payload []byte, syn, ack bool) {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	w.frames = append(w.frames, wireFrame{at, func() []byte {
		seq := w.next[src+dst]
		w.next[src+dst] += uint32(len(payload))
		if syn {
			w.next[src+dst]++
		}
		return w.packet(src, dst, &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: seq, Ack: w.next[dst+src], SYN: syn, ACK: ack, PSH: len(payload) > 0, Window: 60000}, payload)
	}})
}

func (w *wire) udp(at int64, src, dst string, payload []byte) {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	w.frames = append(w.frames, wireFrame{at, func() []byte {
		return w.packet(src, dst, &layers.UDP{SrcPort: layers.UDPPort(s.Port()), DstPort: layers.UDPPort(d.Port())}, payload)
	}})
}

func (w *wire) connect(at int64, src, dst string) {
	w.tcp(at, src, dst, nil, true, false)
	w.tcp(at+1, dst, src, nil, true, true)
	w.tcp(at+2, src, dst, nil, false, true)
}

// records adds TLS records of application data with these lengths.
func (w *wire) records(at int64, src, dst string, sizes ...int) {
	for _, n := range sizes {
		w.tcp(at, src, dst, record(23, bytes.Repeat([]byte{0x5A}, n)), false, true)
	}
}

func record(kind byte, body []byte) []byte {
	return append([]byte{kind, 3, 3, byte(len(body) >> 8), byte(len(body))}, body...)
}

func handshake(kind byte, body []byte) []byte {
	return record(22, append([]byte{kind, 0, byte(len(body) >> 8), byte(len(body))}, body...))
}

func extension(id uint16, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

func lengthed(n int, b []byte) []byte {
	if n == 1 {
		return append([]byte{byte(len(b))}, b...)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// secure opens a TLS 1.3 connection and sends its beginning: the server's
// flight, Finished, an upgrade and its answer, a first message of 800 bytes
// (listen) with its answer, and one of 93 (register).
func (w *wire) secure(at int64, src, dst, name string, protocols ...string) {
	w.connect(at, src, dst)
	random := bytes.Repeat([]byte{7}, 32)
	var list []byte
	for _, p := range protocols {
		list = append(list, lengthed(1, []byte(p))...)
	}
	ext := extension(43, []byte{2, 3, 4})
	if name != "" {
		ext = append(ext, extension(0, lengthed(2, append([]byte{0}, lengthed(2, []byte(name))...)))...)
	}
	if len(list) > 0 {
		ext = append(ext, extension(16, lengthed(2, list))...)
	}
	hello := append(append([]byte{3, 3}, random...), 0, 0, 2, 0x13, 1, 1, 0)
	w.tcp(at+3, src, dst, handshake(1, append(hello, lengthed(2, ext)...)), false, true)
	answer := append(append([]byte{3, 3}, random...), 0, 0x13, 1, 0)
	w.tcp(at+5, dst, src, handshake(2, append(answer, lengthed(2, extension(43, []byte{3, 4}))...)), false, true)
	w.records(at+6, dst, src, 42, 3200, 280, 53)
	w.records(at+8, src, dst, 53, 534)
	w.records(at+60, dst, src, 146)
	w.records(at+100, src, dst, 800)
	w.records(at+150, dst, src, 268)
	w.records(at+200, src, dst, 93)
	w.records(at+250, dst, src, 64)
}

// beats adds heartbeats every ten seconds.
func (w *wire) beats(from, to int64, client, server string) {
	for at := from; at < to; at += 10_000 {
		w.records(at, server, client, 20)
		w.records(at+1, client, server, 24)
	}
}

// media adds ICE, DTLS and packets of two streams for a time.
func (w *wire) media(from, to int64, client, server string) {
	check := append([]byte{0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42}, bytes.Repeat([]byte{byte(from)}, 12)...)
	w.udp(from, client, server, append(check, 0, 6, 0, 3, 'a', ':', 'b', 0))
	w.udp(from+20, client, server, append([]byte{22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2}, 0xFE, 0xFD))
	for at, n := from+100, uint16(1); at < to; at, n = at+20, n+1 {
		for k, ends := range [][2]string{{client, server}, {server, client}} {
			b := binary.BigEndian.AppendUint16([]byte{0x80, 0}, n)
			b = binary.BigEndian.AppendUint32(b, uint32(n)*160)
			b = binary.BigEndian.AppendUint32(b, uint32(from)+uint32(k))
			w.udp(at, ends[0], ends[1], append(b, make([]byte, 170)...))
		}
	}
}

func (w *wire) names(at int64, client, name, addr string) {
	a := netip.MustParseAddr(addr)
	m := []byte{0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}
	var q []byte
	for _, l := range strings.Split(name, ".") {
		q = append(q, lengthed(1, []byte(l))...)
	}
	q = append(q, 0, 0, 1, 0, 1)
	m = append(append(m, q...), 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	w.udp(at, "10.0.0.53:53", client+":40000", append(m, a.AsSlice()...))
}

func (w *wire) trace() *sessions.Trace {
	slices.SortStableFunc(w.frames, func(x, y wireFrame) int { return int(x.ms - y.ms) })
	var b bytes.Buffer
	out := pcap.NewWriter(&b, pcap.LinkEthernet, true)
	for _, f := range w.frames {
		if err := out.WriteFrame(int64(at(f.ms)), f.bytes()); err != nil {
			w.t.Fatal(err)
		}
	}
	return analyse(w.t, map[string][]byte{"a.pcap": b.Bytes()})
}

// TestInferredShapes has the shapes that no recording has.
func TestInferredShapes(t *testing.T) {
	const (
		client  = "10.0.0.100:50000"
		server  = "10.0.0.10:443"
		client6 = "[2001:db8::100]:50000"
		server6 = "[2001:db8::10]:443"
		voice   = "voice-js.ashburn.twilio.com"
		event   = "10.0.0.11:443"
	)
	woken := func(w *wire, at int64, port int) {
		w.secure(at, fmt.Sprintf("10.0.0.100:%d", port), event, "eventgw.twilio.com", "h2", "http/1.1")
	}
	type arrival struct {
		ms int64
		by string
	}
	for _, tt := range []struct {
		name string
		make func(w *wire)
		want []arrival
	}{
		{"IPv6, an offer in four records, the gateway replies to the answer", func(w *wire) {
			w.secure(0, client6, server6, voice, "http/1.1")
			w.records(2000, server6, client6, 1400, 1400, 1400, 900)
			w.records(2400, client6, server6, 1900)
			w.media(2415, 9000, "[2001:db8::100]:60000", "[2001:db8::20]:15000")
			w.records(2450, server6, client6, 1300)
			w.records(9000, server6, client6, 111)
			w.beats(10_000, 31_000, client6, server6)
		}, []arrival{{2000, "tls-record"}}},
		{"an outgoing call: ringing and two answers with a description", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			woken(w, 1900, 50001)
			w.records(2000, client, server, 2300)
			w.records(2300, server, client, 1500)
			w.media(2320, 20_000, "10.0.0.100:60000", "10.0.0.20:15000")
			w.records(2300, client, event, 600)
			w.records(9000, server, client, 1500)
			w.records(12_000, server, client, 1500)
			w.beats(10_000, 31_000, client, server)
		}, nil},
		{"two outgoing calls, one after the other", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			for at := int64(2000); at < 20_000; at += 9000 {
				w.records(at, client, server, 2300)
				w.records(at+900, server, client, 1500)
				w.media(at+920, at+5000, fmt.Sprintf("10.0.0.100:%d", 30000+at), "10.0.0.20:15000")
			}
			w.beats(10_000, 31_000, client, server)
		}, nil},
		{"an outgoing call that nobody answers, then an incoming one", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			w.records(2000, client, server, 2300)
			w.records(2200, server, client, 159)
			w.records(6000, server, client, 111)
			w.records(20_000, server, client, 2500)
			w.records(23_000, client, server, 1500)
			w.media(23_015, 27_000, "10.0.0.100:60000", "10.0.0.20:15000")
		}, []arrival{{20_000, "tls-record"}}},
		{"two calls, a new offer of each side within the first", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			w.records(2000, server, client, 2500)
			w.records(2400, client, server, 1500)
			w.media(2415, 9000, "10.0.0.100:60000", "10.0.0.20:15000")
			w.records(5000, client, server, 1500) // reinvite
			w.records(5100, server, client, 1400)
			w.records(12_000, server, client, 2500)
			w.records(15_000, client, server, 1500)
			w.media(15_015, 19_000, "10.0.0.100:60002", "10.0.0.20:15002")
		}, []arrival{{2000, "tls-record"}, {12_000, "tls-record"}}},
		{"cancelled: the event gateway wakes, no media", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			w.records(2000, server, client, 2500)
			woken(w, 2010, 50001)
			w.records(9000, server, client, 111)
		}, []arrival{{2000, "tls-record"}}},
		{"busy: an invite within a call, cancelled before that ends", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			w.records(2000, server, client, 2500)
			w.records(2400, client, server, 1500)
			w.media(2415, 9000, "10.0.0.100:60000", "10.0.0.20:15000")
			w.records(5000, server, client, 2500)
			w.records(7000, server, client, 111)
			w.records(9000, server, client, 111)
		}, []arrival{{2000, "tls-record"}, {5000, "tls-record"}}},
		{"a large message within a call", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			w.records(2000, server, client, 2500)
			w.records(2400, client, server, 1500)
			w.media(2415, 9000, "10.0.0.100:60000", "10.0.0.20:15000")
			w.records(5000, server, client, 2500)
			w.records(9000, server, client, 111)
		}, []arrival{{2000, "tls-record"}}},
		{"a large message that the client does not take for a call", func(w *wire) {
			woken(w, 100, 50001)
			w.secure(0, client, server, voice, "http/1.1")
			w.records(8000, server, client, 2500)
		}, nil},
		{"listen again with a fresh token, heartbeats, registrations", func(w *wire) {
			w.secure(0, client, server, voice, "http/1.1")
			w.records(8000, client, server, 805)
			w.records(8050, server, client, 268)
			for at := int64(30_000); at < 100_000; at += 30_000 {
				w.records(at, client, server, 93)
				w.records(at+20, server, client, 64)
			}
			w.beats(10_000, 100_000, client, server)
		}, nil},
		{"the gateway behind a name of one's own", func(w *wire) {
			w.secure(0, client, server, "signal.example.com", "http/1.1")
			w.beats(10_000, 41_000, client, server)
			w.records(22_000, server, client, 2500)
			w.records(22_400, client, server, 1500)
			w.media(22_415, 29_000, "10.0.0.100:60000", "10.0.0.20:15000")
		}, []arrival{{22_000, "tls-record"}}},
		{"a page that loads before media begins", func(w *wire) {
			w.secure(0, client, server, "www.example.com", "h2", "http/1.1")
			w.beats(10_000, 41_000, client, server)
			w.records(22_000, server, client, 2500)
			w.records(22_400, client, server, 1500)
			w.media(22_415, 29_000, "10.0.0.100:60000", "10.0.0.20:15000")
		}, nil},
		{"the capture begins later, the name is known by DNS", func(w *wire) {
			w.names(0, "10.0.0.100", "chunderw-vpc-gll.twilio.com", "10.0.0.10")
			w.beats(1000, 41_000, client, server)
			w.records(22_000, server, client, 2500)
			w.records(22_400, client, server, 1500)
			w.media(22_415, 29_000, "10.0.0.100:60000", "10.0.0.20:15000")
		}, []arrival{{22_000, "tls-record"}}},
		{"first generation: an incoming and an outgoing call", func(w *wire) {
			w.secure(0, client, server, "matrix.twilio.com")
			w.records(5000, server, client, 700)
			w.secure(5400, "10.0.0.100:50001", "10.0.0.12:443", "chunderw.twilio.com")
			w.media(6000, 9000, "10.0.0.100:60000", "10.0.0.20:15000")
			w.secure(20_000, "10.0.0.100:50002", "10.0.0.12:443", "chunderw.twilio.com")
			w.media(20_600, 24_000, "10.0.0.100:60002", "10.0.0.20:15002")
			w.beats(10_000, 31_000, client, server)
		}, []arrival{{5000, "tls-record"}}},
		{"first generation: RTMP alone, each connection a call", func(w *wire) {
			w.names(0, "10.0.0.100", "chunder.twilio.com", "10.0.0.12")
			w.connect(5000, "10.0.0.100:50001", "10.0.0.12:1935")
			w.connect(15_000, "10.0.0.100:50002", "10.0.0.12:1935")
		}, []arrival{{5000, "tcp-connect"}, {15_000, "tcp-connect"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t)
			tt.make(w)
			trace := w.trace()
			var got []arrival
			for i := range trace.Calls {
				c := &trace.Calls[i]
				got = append(got, arrival{int64(c.ArrivedAt-at(0)) / 1e6, c.ArrivedBy})
				if c.Direction != "inbound" || c.ArrivedErrorMS.V <= 0 || len(c.Protocols) != 0 {
					t.Errorf("call %+v", *c)
				}
			}
			slices.SortFunc(got, func(x, y arrival) int { return int(x.ms - y.ms) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("arrivals %v, want %v", got, tt.want)
			}
			if len(trace.Arrivals) != len(tt.want) {
				t.Errorf("%d rows of arrivals, want %d", len(trace.Arrivals), len(tt.want))
			}
		})
	}
}
