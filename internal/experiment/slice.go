package experiment

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

// SliceInfo tells what a slice holds.
type SliceInfo struct {
	Frames   int64
	Sessions int      // TLS and DTLS sessions whose secrets are in it
	Others   []string // other calls that share an encrypted connection with it
}

const (
	sliceAround  = decode.Time(1e9) // ns of media kept before and after the call
	maxSliceKeys = 16 << 20         // bytes of key log that are looked through for one line set
)

// flowKey is a flow in one of its two directions.
type flowKey struct {
	proto uint8
	a, b  netip.AddrPort
}

func (k flowKey) canonical() flowKey {
	if c := k.a.Compare(k.b); c > 0 {
		return flowKey{k.proto, k.b, k.a}
	}
	return k
}

// part is what of a flow belongs to a call.
type part struct {
	from, to decode.Time        // all packets of this time
	frames   map[string][]int64 // else only these, by file: pairs of first and last
	not      map[uint32]bool    // SSRCs of other calls' streams on these ports
}

// Slice writes one call's packets as pcapng: its signaling, media and name
// lookups, with the secrets of its own TLS sessions and of no other, in order
// of the captures' names. An encrypted connection is kept from its beginning
// to the call's end, since no later record can be read without the handshake;
// of a connection in the clear only the call's own messages are kept.
func Slice(ctx context.Context, e Experiment, opt Options, callID string, w io.Writer) (*SliceInfo, error) {
	s, files, err := planOf(ctx, e, opt, callID)
	if err != nil {
		return nil, err
	}
	call := s.call
	chosen := make([][]int64, len(files))
	for i, f := range files {
		err := s.scan(ctx, f, func(n int64) { chosen[i] = append(chosen[i], n) })
		if err != nil {
			return nil, err
		}
		slices.Sort(chosen[i])
		chosen[i] = slices.Compact(chosen[i])
	}
	out := pcap.NewNGWriter(w)
	secrets, n, err := s.secrets(e.Files)
	if err != nil {
		return nil, err
	}
	if len(secrets) > 0 {
		if err := out.WriteSecrets(pcap.SecretTLS, secrets); err != nil {
			return nil, err
		}
	}
	info := &SliceInfo{Sessions: n, Others: s.others}
	ifaces := map[pcap.LinkType]int{}
	comment := table.Visible(fmt.Sprintf("call %s from %s to %s, %s; sliced by twtrace", call.CallID, cmp.Or(call.From, "unknown"), cmp.Or(call.To, "unknown"), call.Outcome))
	for i, f := range files {
		want := chosen[i]
		err := eachFrame(ctx, f, func(fr *pcap.Frame) error {
			if len(want) == 0 || want[0] != fr.Number {
				return nil
			}
			want = want[1:]
			iface, ok := ifaces[fr.Link]
			if !ok {
				var err error
				if iface, err = out.AddInterface(fr.Link, 0, 9); err != nil {
					return err
				}
				ifaces[fr.Link] = iface
			}
			text := ""
			if info.Frames == 0 {
				text = comment
			}
			info.Frames++
			return out.WritePacket(iface, fr.Time, fr.Data, fr.OrigLen, text)
		})
		if err != nil {
			return nil, err
		}
	}
	return info, nil
}

// planOf analyses an experiment and decides what of its captures belongs to a
// call; files are those that hold some of it.
func planOf(ctx context.Context, e Experiment, opt Options, callID string) (s *slicer, files []*container.File, err error) {
	res, err := Analyze(ctx, e, opt)
	if err != nil {
		return nil, nil, err
	}
	call, err := callOf(res, callID)
	if err != nil {
		return nil, nil, err
	}
	s = &slicer{call: call, parts: map[flowKey]*part{}, files: map[string]bool{}, names: map[string]bool{}, randoms: map[[32]byte]bool{}}
	s.plan(res)
	files = slices.DeleteFunc(captureFiles(e.Files), func(f *container.File) bool { return !s.files[f.Name] })
	if len(files) == 0 || len(s.parts) == 0 {
		return nil, nil, errors.New("no packet of the call is in a capture: only an export knows it")
	}
	return s, files, nil
}

// callOf finds a call by its call_id, CallSid or a SIP Call-ID.
func callOf(res *Result, callID string) (*sessions.Call, error) {
	for i := range res.Data.Calls {
		if c := &res.Data.Calls[i]; c.CallID == callID || c.CallSID == callID || slices.Contains(c.SIPCallIDs, callID) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no call %q here; `twtrace calls` lists them", callID)
}

func captureFiles(files []*container.File) []*container.File {
	var out []*container.File
	for _, f := range files {
		if c, err := f.Identify(); err == nil && (c.Kind == container.Pcap || c.Kind == container.Pcapng) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *container.File) int { return strings.Compare(a.Name, b.Name) })
	return out
}

type slicer struct {
	call    *sessions.Call
	parts   map[flowKey]*part // by canonical flow
	files   map[string]bool   // that hold something of the call; not those of another place
	names   map[string]bool   // of the hosts of the call, lower case
	randoms map[[32]byte]bool // of the ClientHellos of its connections
	others  []string
}

// plan decides what of each flow is wanted, by the rows of the call.
func (s *slicer) plan(res *Result) {
	d := res.Data
	flows := map[uint32]*sessions.Flow{}
	for i := range d.Flows {
		flows[d.Flows[i].FlowID] = &d.Flows[i]
	}
	first, last := decode.Time(0), decode.Time(0)
	see := func(from, to decode.Time) {
		if from != 0 && (first == 0 || from < first) {
			first = from
		}
		last = max(last, to)
	}
	media := map[uint32]bool{}
	signaling := map[uint32]bool{}
	for _, t := range d.Streams.All() {
		if t.CallID == s.call.CallID {
			see(t.FirstAt, t.LastAt)
			media[t.FlowID], s.files[t.File] = true, true
		}
	}
	for _, g := range d.Signals.All() {
		if g.CallID != s.call.CallID || !g.FlowID.Known {
			continue
		}
		see(g.At, g.At)
		s.files[g.File] = true
		f := flows[g.FlowID.V]
		if f == nil {
			continue
		}
		if f.Transport == "udp" && g.Protocol != "sip" {
			media[f.FlowID] = true
			continue
		}
		signaling[f.FlowID] = true
		if p := s.part(f); p != nil && g.Frame.Known {
			from := g.Frame.V
			if g.FirstFrame.Known {
				from = g.FirstFrame.V
			}
			if p.frames == nil {
				p.frames = map[string][]int64{}
			}
			p.frames[g.File] = append(p.frames[g.File], from, g.Frame.V)
		}
	}
	see(s.call.InitiatedAt, s.call.EndedAt)
	hosts := map[string]bool{}
	for id := range signaling {
		f := flows[id]
		hosts[f.Src], hosts[f.Dst] = true, true
		if f.Encryption != "" && f.Encryption != "none" {
			p := s.part(f)
			p.from, p.to = 0, last+sliceAround
		}
	}
	for id := range media {
		if f := flows[id]; f != nil {
			hosts[f.Src], hosts[f.Dst] = true, true
			p := s.part(f)
			p.from, p.to = first-sliceAround, last+sliceAround
		}
	}
	for _, t := range d.Streams.All() {
		if t.CallID != s.call.CallID && media[t.FlowID] {
			p := s.part(flows[t.FlowID])
			if p.not == nil {
				p.not = map[uint32]bool{}
			}
			p.not[t.SSRC] = true
		}
	}
	for i := range d.Hosts {
		if h := &d.Hosts[i]; hosts[h.Address] {
			for _, n := range h.Names {
				s.names[strings.ToLower(strings.TrimSuffix(n, "."))] = true
			}
		}
	}
	seen := map[string]bool{}
	for _, g := range d.Signals.All() {
		if g.CallID != "" && g.CallID != s.call.CallID && g.FlowID.Known && signaling[g.FlowID.V] && g.At <= last+sliceAround && flows[g.FlowID.V].Encryption == "decrypted" {
			seen[g.CallID] = true
		}
	}
	for id := range seen {
		s.others = append(s.others, id)
	}
	slices.Sort(s.others)
}

// part is the part of a row's flow; nil for a transport that has no ports.
func (s *slicer) part(f *sessions.Flow) *part {
	src, err1 := netip.ParseAddr(f.Src)
	dst, err2 := netip.ParseAddr(f.Dst)
	if err1 != nil || err2 != nil {
		return nil
	}
	k := flowKey{link.ProtoUDP, netip.AddrPortFrom(src, uint16(f.SrcPort.V)), netip.AddrPortFrom(dst, uint16(f.DstPort.V))}
	if f.Transport == "tcp" {
		k.proto = link.ProtoTCP
	}
	k = k.canonical()
	p := s.parts[k]
	if p == nil {
		p = &part{}
		s.parts[k] = p
	}
	return p
}

// wants tells whether a packet is one of the call's.
func (s *slicer) wants(file string, fr *pcap.Frame, p *link.Packet) bool {
	k := flowKey{p.Proto, netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)}.canonical()
	if x := s.parts[k]; x != nil {
		if at := decode.Time(fr.Time); x.to != 0 && at >= x.from && at <= x.to {
			b := p.Payload
			return len(b) < 12 || b[0]>>6 != 2 || !x.not[binary.BigEndian.Uint32(b[8:])]
		}
		list := x.frames[file]
		for i := 0; i+1 < len(list); i += 2 {
			if fr.Number >= list[i] && fr.Number <= list[i+1] {
				return true
			}
		}
		return false
	}
	if p.Proto == link.ProtoUDP && (p.SrcPort == 53 || p.DstPort == 53) {
		var m dns.Message
		return dns.Decode(p.Payload, &m) == nil && s.names[strings.ToLower(strings.TrimSuffix(m.Name, "."))]
	}
	return false
}

// scan calls take with the number of each frame of the call, in order, and
// notes the sessions that begin in them. Fragments are kept with the packet
// that they became part of.
func (s *slicer) scan(ctx context.Context, f *container.File, take func(int64)) error {
	dec := link.NewDecoder()
	var held []int64 // frames of fragments, since the last packet that was whole
	var p link.Packet
	return eachFrame(ctx, f, func(fr *pcap.Frame) error {
		switch dec.Decode(uint16(fr.Link), fr.Data, fr.OrigLen, fr.Time, &p) {
		case link.IPFragment:
			if len(held) < 1024 {
				held = append(held, fr.Number)
			}
			return nil
		case link.Used:
		default:
			return nil
		}
		wanted := s.wants(f.Name, fr, &p)
		if p.IPLen > len(fr.Data) { // it was put together of those before it
			for _, n := range held {
				if wanted {
					take(n)
				}
			}
			held = held[:0]
		}
		if !wanted {
			return nil
		}
		take(fr.Number)
		if r := clientRandom(p.Proto, p.Payload); r != nil {
			s.randoms[[32]byte(r)] = true
		}
		return nil
	})
}

// clientRandom is the random of a ClientHello at the start of a payload: in a
// TLS record (RFC 8446 5.1, 4.1.2) or a DTLS one (RFC 6347 4.1, 4.2.2).
func clientRandom(proto uint8, b []byte) []byte {
	const handshake, clientHello = 22, 1
	at, typ := 11, 5
	if proto == link.ProtoUDP {
		at, typ = 27, 13
	}
	if len(b) < at+32 || b[0] != handshake || b[typ] != clientHello {
		return nil
	}
	return b[at : at+32]
}

// secrets are the lines of all key logs that belong to the call's sessions, and
// of how many sessions.
func (s *slicer) secrets(files []*container.File) (text []byte, n int, err error) {
	found := map[[32]byte]bool{}
	lines := map[string]bool{}
	look := func(b []byte) {
		for line := range bytes.Lines(b) {
			fields := bytes.Fields(line)
			var r [32]byte
			if len(fields) != 3 || len(fields[1]) != 64 {
				continue
			}
			if _, err := hex.Decode(r[:], fields[1]); err == nil && s.randoms[r] {
				found[r] = true
				lines[string(bytes.Join(fields, []byte(" ")))] = true
			}
		}
	}
	for _, f := range files {
		c, err := f.Identify()
		switch {
		case err != nil:
		case c.Kind == container.Keylog:
			b, err := readAllOf(f)
			if err != nil {
				return nil, 0, err
			}
			look(b)
		case c.Kind == container.Pcapng:
			r, done, err := openCapture(f)
			if err != nil {
				continue
			}
			var fr pcap.Frame
			for r.Next(&fr) == nil {
			}
			for _, x := range r.Info().Secrets {
				if x.Type == pcap.SecretTLS {
					look(x.Data)
				}
			}
			done()
		}
	}
	all := make([]string, 0, len(lines))
	for l := range lines {
		all = append(all, l)
	}
	slices.Sort(all)
	if len(all) == 0 {
		return nil, 0, nil
	}
	return []byte(strings.Join(all, "\n") + "\n"), len(found), nil
}

func readAllOf(f *container.File) ([]byte, error) {
	body, err := f.Content(container.Limits{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, maxSliceKeys))
}

func openCapture(f *container.File) (*pcap.Reader, func(), error) {
	body, err := f.Content(container.Limits{})
	if err != nil {
		return nil, nil, err
	}
	r, err := pcap.NewReader(body)
	if err != nil {
		body.Close()
		return nil, nil, err
	}
	return r, func() { body.Close() }, nil
}

// eachFrame reads a capture to its end or to its damage, which the analysis has told.
func eachFrame(ctx context.Context, f *container.File, do func(*pcap.Frame) error) error {
	r, done, err := openCapture(f)
	if err != nil {
		return nil
	}
	defer done()
	var fr pcap.Frame
	for n := 0; r.Next(&fr) == nil; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := do(&fr); err != nil {
			return err
		}
	}
	return nil
}

// Filter is what shows a call in one capture, for Wireshark.
type Filter struct {
	File    string // relative to the INPUT's root
	Keys    []string
	Display string // a display filter
}

// Filters tell how to find a call in each capture that holds some of it.
func Filters(ctx context.Context, e Experiment, opt Options, callID string) ([]Filter, error) {
	s, files, err := planOf(ctx, e, opt, callID)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, f := range e.Files {
		if c, err := f.Identify(); err == nil && c.Kind == container.Keylog {
			keys = append(keys, f.Name)
		}
	}
	slices.Sort(keys)
	var out []Filter
	for _, f := range files {
		out = append(out, Filter{f.Name, keys, s.display(f.Name)})
	}
	return out, nil
}

// display is the display filter of the call's packets in a file.
func (s *slicer) display(file string) string {
	var parts []string
	for _, id := range s.call.SIPCallIDs {
		parts = append(parts, "sip.Call-ID == "+displayText(id))
	}
	keys := make([]flowKey, 0, len(s.parts))
	for k := range s.parts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y flowKey) int {
		return cmp.Or(cmp.Compare(x.proto, y.proto), x.a.Compare(y.a), x.b.Compare(y.b))
	})
	for _, k := range keys {
		p := s.parts[k]
		if p.to == 0 && (len(s.call.SIPCallIDs) > 0 || len(p.frames[file]) == 0) {
			continue // its messages are found by their Call-ID
		}
		ip, proto := "ip", "udp"
		if k.a.Addr().Is6() {
			ip = "ipv6"
		}
		if k.proto == link.ProtoTCP {
			proto = "tcp"
		}
		t := fmt.Sprintf("%s.addr == %s && %s.addr == %s && %s.port == %d && %s.port == %d", ip, k.a.Addr(), ip, k.b.Addr(), proto, k.a.Port(), proto, k.b.Port())
		switch {
		case p.to == 0:
			t += fmt.Sprintf(" && frame.number >= %d && frame.number <= %d", slices.Min(p.frames[file]), slices.Max(p.frames[file]))
		case p.from > 0:
			t += fmt.Sprintf(" && frame.time_epoch >= %s && frame.time_epoch <= %s", epoch(p.from), epoch(p.to))
		default:
			t += " && frame.time_epoch <= " + epoch(p.to)
		}
		if len(p.not) > 0 {
			var others []string
			for _, ssrc := range slices.Sorted(maps.Keys(p.not)) {
				others = append(others, fmt.Sprintf("0x%08x", ssrc))
			}
			t += " && !(rtp.ssrc in {" + strings.Join(others[:min(len(others), 100)], ", ") + "})"
		}
		parts = append(parts, "("+t+")")
	}
	return strings.Join(parts, " || ")
}

func epoch(t decode.Time) string { return fmt.Sprintf("%d.%09d", t/1e9, t%1e9) }

// displayText is a string of a display filter; what is no printable ASCII is
// written by its number.
func displayText(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\x%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return `"` + b.String() + `"`
}
