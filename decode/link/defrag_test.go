package link

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// part is one fragment of a datagram in a test.
type part struct {
	off, end int
	data     []byte // nil: the true bytes
}

func fragmentFrames(v6 bool, id int, datagram []byte, parts []part) [][]byte {
	var out [][]byte
	for _, p := range parts {
		data := p.data
		if data == nil {
			data = datagram[p.off:p.end]
		}
		more := p.end < len(datagram)
		if v6 {
			out = append(out, ethFrame(0x86dd, ipv6Fragment(17, id, p.off, more, data)))
		} else {
			out = append(out, ethFrame(0x0800, ipv4Fragment(17, id, p.off, more, data)))
		}
	}
	return out
}

func TestFragments(t *testing.T) {
	payload := pattern(300)
	dg := udpDatagram(7000, 8000, payload) // 308 bytes
	evil := bytes.Repeat([]byte{0xee}, 308)
	const held, overlap = IPFragment, IPFragmentOverlap
	for _, c := range []struct {
		name  string
		parts []part
		want  []Verdict
	}{
		{"in order", []part{{0, 104, nil}, {104, 208, nil}, {208, 308, nil}}, []Verdict{held, held, Used}},
		{"last first", []part{{208, 308, nil}, {104, 208, nil}, {0, 104, nil}}, []Verdict{held, held, Used}},
		{"copies before the end", []part{{0, 104, nil}, {0, 104, nil}, {208, 308, nil}, {208, 308, nil}, {104, 208, nil}}, []Verdict{held, held, held, held, Used}},
		{"copies after the end", []part{{0, 104, nil}, {104, 308, nil}, {0, 104, nil}, {104, 308, nil}}, []Verdict{held, Used, IPFragmentCopy, IPFragmentCopy}},
		{"overlap, same bytes", []part{{0, 160, nil}, {80, 240, nil}, {160, 308, nil}}, []Verdict{held, held, Used}},
		{"overlap, other bytes: the first win", []part{{0, 160, nil}, {80, 240, cat(evil[:80], dg[160:240])}, {240, 308, nil}}, []Verdict{held, overlap, Used}},
		{"overlap, a hole between two", []part{{0, 80, nil}, {160, 240, nil}, {40, 308, cat(evil[:40], dg[80:160], evil[:80], dg[240:])}}, []Verdict{held, held, Used}},
		{"a second end", []part{{0, 104, nil}, {208, 308, nil}, {104, 216, dg[104:216]}, {104, 320, evil[:216]}}, []Verdict{held, held, Used, held}},
		{"bytes beyond the end", []part{{208, 308, nil}, {304, 400, evil[:96]}, {0, 208, nil}}, []Verdict{held, overlap, Used}},
	} {
		for _, v6 := range []bool{false, true} {
			d := NewDecoder()
			var p Packet
			for i, frame := range fragmentFrames(v6, 77, dg, c.parts) {
				v := d.Decode(1, frame, len(frame), int64(i), &p)
				if v != c.want[i] {
					t.Errorf("%s, IPv6 %v: fragment %d: %v, want %v", c.name, v6, i, v, c.want[i])
				}
				if v != Used {
					continue
				}
				head := 20
				if v6 {
					head = 40
				}
				if !bytes.Equal(p.Payload, payload) || p.WireLen != 300 || p.SrcPort != 7000 || p.DstPort != 8000 || p.IPID != 77 || p.IPLen != head+308 {
					t.Errorf("%s, IPv6 %v: %d bytes of %d, right %v, ports %d %d, id %d, IP length %d", c.name, v6,
						len(p.Payload), p.WireLen, bytes.Equal(p.Payload, payload), p.SrcPort, p.DstPort, p.IPID, p.IPLen)
				}
			}
		}
	}
}

// Any order, with copies and overlaps, gives the datagram, once.
func TestFragmentsAnyOrder(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		payload := pattern(100 + rng.IntN(8000))
		dg := udpDatagram(1, 2, payload)
		var parts []part
		for off := 0; off < len(dg); {
			end := min(len(dg), off+8*(1+rng.IntN(150)))
			if len(dg)-end < 8 {
				end = len(dg)
			}
			from := off - min(off, 8*rng.IntN(20))
			parts = append(parts, part{from, end, nil})
			off = end
		}
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		d := NewDecoder()
		var p Packet
		used := 0
		for _, frame := range fragmentFrames(seed%2 == 0, int(seed), dg, parts) {
			switch v := d.Decode(1, frame, len(frame), 0, &p); v {
			case Used:
				used++
				if !bytes.Equal(p.Payload, payload) {
					t.Fatalf("seed %d: wrong bytes", seed)
				}
			case IPFragment, IPFragmentCopy:
			default:
				t.Fatalf("seed %d: %v", seed, v)
			}
		}
		if len(parts) > 1 && used != 1 {
			t.Fatalf("seed %d: %d datagrams", seed, used)
		}
	}
}

// With a short snap length every fragment is cut: what is known is the start.
func TestFragmentsCut(t *testing.T) {
	dg := udpDatagram(7000, 8000, pattern(300))
	d := NewDecoder()
	var p Packet
	frames := fragmentFrames(false, 5, dg, []part{{104, 208, nil}, {0, 104, nil}, {208, 308, nil}})
	for i, f := range frames {
		v := d.Decode(1, f[:14+20+50], len(f), 0, &p)
		if i < 2 && v != IPFragment || i == 2 && (v != Used || !bytes.Equal(p.Payload, pattern(300)[:42]) || p.WireLen != 300) {
			t.Errorf("fragment %d: %v, %d of %d", i, v, len(p.Payload), p.WireLen)
		}
	}
}

// The offset of the next fragment cannot name a place that is no multiple of
// 8: what a fragment has beyond it is not part of the datagram.
func TestFragmentsOddLength(t *testing.T) {
	dg := udpDatagram(7000, 8000, pattern(200))
	d := NewDecoder()
	var p Packet
	a, b := ipv4Fragment(17, 3, 0, true, cat(dg[:96], []byte("junk"))), ipv4Fragment(17, 3, 96, false, dg[96:])
	d.Decode(101, a, len(a), 0, &p)
	if v := d.Decode(101, b, len(b), 0, &p); v != Used || !bytes.Equal(p.Payload, pattern(200)) {
		t.Error(v)
	}
}

func TestFragmentsInTunnels(t *testing.T) {
	payload := pattern(400)
	inner := ipv4Packet(17, udpDatagram(7000, 8000, payload))
	outer := cat(u16(0), u16(0x0800), inner)
	d := NewDecoder()
	var p Packet
	// The tunnel's packet is fragmented ...
	a, b := ethFrame(0x0800, ipv4Fragment(47, 1, 0, true, outer[:200])), ethFrame(0x0800, ipv4Fragment(47, 1, 200, false, outer[200:]))
	if v := d.Decode(1, a, len(a), 0, &p); v != IPFragment {
		t.Fatal(v)
	}
	if v := d.Decode(1, b, len(b), 0, &p); v != Used || !bytes.Equal(p.Payload, payload) {
		t.Fatal(v)
	}
	// ... and one within it as well.
	dg := udpDatagram(7000, 8000, payload)
	for i, in := range [][]byte{ipv4Fragment(17, 2, 0, true, dg[:208]), ipv4Fragment(17, 2, 208, false, dg[208:])} {
		outer := cat(u16(0), u16(0x0800), in)
		a, b := ethFrame(0x0800, ipv4Fragment(47, 10+i, 0, true, outer[:104])), ethFrame(0x0800, ipv4Fragment(47, 10+i, 104, false, outer[104:]))
		if v := d.Decode(1, a, len(a), 0, &p); v != IPFragment {
			t.Fatal(v)
		}
		v := d.Decode(1, b, len(b), 0, &p)
		if i == 0 && v != IPFragment || i == 1 && (v != Used || !bytes.Equal(p.Payload, payload)) {
			t.Fatal(i, v)
		}
	}
	if n, _ := d.Pending(); n != 0 {
		t.Errorf("%d fragments pending", n)
	}
}

// RFC 8200, 4.5: the first fragment's next header counts, whatever the others say.
func TestFragmentsIPv6NextHeader(t *testing.T) {
	dg := udpDatagram(7000, 8000, pattern(100))
	d := NewDecoder()
	var p Packet
	a, b := ipv6Fragment(6, 9, 56, false, dg[56:]), ipv6Fragment(17, 9, 0, true, dg[:56])
	if v := d.Decode(101, a, len(a), 0, &p); v != IPFragment {
		t.Fatal(v)
	}
	if v := d.Decode(101, b, len(b), 0, &p); v != Used || p.Proto != 17 || !bytes.Equal(p.Payload, pattern(100)) {
		t.Fatal(v, p.Proto)
	}
}

// An identification that comes round again is a new datagram.
func TestFragmentsIDAgain(t *testing.T) {
	d := NewDecoder()
	var p Packet
	for i := range 3 {
		payload := bytes.Repeat([]byte{byte('a' + i)}, 100)
		dg := udpDatagram(1, 2, payload)
		for k, f := range fragmentFrames(false, 5, dg, []part{{0, 56, nil}, {56, 108, nil}}) {
			v := d.Decode(1, f, len(f), int64(i)*1e9, &p)
			if k == 1 && (v != Used || !bytes.Equal(p.Payload, payload)) {
				t.Fatal(i, v)
			}
		}
	}
}

func TestFragmentsTimeout(t *testing.T) {
	dg := udpDatagram(1, 2, pattern(100))
	frames := fragmentFrames(false, 5, dg, []part{{0, 56, nil}, {56, 108, nil}})
	for _, c := range []struct {
		seconds int64
		want    Verdict
	}{{29, Used}, {31, IPFragment}, {-29, Used}, {-31, IPFragment}} {
		d := NewDecoder()
		var p Packet
		d.Decode(1, frames[0], len(frames[0]), 1e15, &p)
		if v := d.Decode(1, frames[1], len(frames[1]), 1e15+c.seconds*1e9, &p); v != c.want {
			t.Errorf("%d s later: %v, want %v", c.seconds, v, c.want)
		}
		n, bytes := d.Pending()
		if c.want == Used && (n != 0 || bytes != 0) || c.want != Used && (n != 2 || bytes != 108) {
			t.Errorf("%d s later: %d fragments, %d bytes pending", c.seconds, n, bytes)
		}
	}
}

func TestFragmentsBounds(t *testing.T) {
	d := NewDecoder()
	var p Packet
	big := pattern(65000)
	const n = 5000
	for id := range n {
		f := ethFrame(0x0800, ipv4Fragment(17, id, 8, true, big[:64]))
		if id%2 == 0 {
			f = ethFrame(0x0800, ipv4Fragment(17, id, 64000, true, big[:800]))
		} else if id%3 == 0 { // a second one, for which the buffer must grow
			f = ethFrame(0x0800, ipv4Fragment(17, id-2, 32000, true, big[:64]))
		}
		if v := d.Decode(1, f, len(f), 0, &p); v != IPFragment {
			t.Fatal(v)
		}
		if d.defrag.memory > maxFragmentMemory || len(d.defrag.table) > maxDatagrams {
			t.Fatalf("%d bytes, %d datagrams held", d.defrag.memory, len(d.defrag.table))
		}
	}
	held := 0
	for _, g := range d.defrag.table {
		held += cap(g.buf)
	}
	for _, b := range d.defrag.free {
		held += cap(b)
	}
	if held != d.defrag.memory {
		t.Errorf("%d bytes held, %d accounted for", held, d.defrag.memory)
	}
	if frags, bytes := d.Pending(); frags != n || bytes != n/2*(64+800) {
		t.Errorf("%d fragments, %d bytes pending", frags, bytes)
	}
	// Still at work.
	dg := udpDatagram(1, 2, pattern(100))
	for k, f := range fragmentFrames(false, 60000, dg, []part{{0, 56, nil}, {56, 108, nil}}) {
		if v := d.Decode(1, f, len(f), 0, &p); k == 1 && v != Used {
			t.Error(v)
		}
	}
	// Eight bytes a fragment: the pieces of one datagram are bounded.
	for off := 8; off < 65000; off += 16 {
		f := ethFrame(0x0800, ipv4Fragment(17, 61000, off, true, big[:8]))
		d.Decode(1, f, len(f), 0, &p)
		for _, g := range d.defrag.table {
			if len(g.pieces) > maxPieces {
				t.Fatalf("%d pieces", len(g.pieces))
			}
		}
	}
}
