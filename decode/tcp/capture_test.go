package tcp

import (
	"bytes"
	"net/netip"
	"os"
	"testing"

	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/internal/captest"
)

const lab = captest.Shared + "/lab"

type connKey struct{ client, server netip.AddrPort }

// streams reassembles the TCP connections of a capture. Directions are 0 for
// the lower address and port; NewConn is counted in the key's generation.
func streams(t *testing.T, name string) (map[connKey][]*recorder, map[connKey]*Conn) {
	t.Helper()
	recs, conns := map[connKey][]*recorder{}, map[connKey]*Conn{}
	budget := &Budget{Max: 64 << 20}
	c := captest.Capture{Path: name, FS: os.DirFS(lab)}
	err := c.Packets(t, func(frame *pcap.Frame, p *link.Packet) {
		if p.Proto != link.ProtoTCP {
			return
		}
		k, dir := connKey{netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)}, 0
		if k.client.Compare(k.server) > 0 {
			k, dir = connKey{k.server, k.client}, 1
		}
		if conns[k] == nil {
			conns[k] = &Conn{Budget: budget}
			recs[k] = append(recs[k], &recorder{t: t})
		}
		last := func() *recorder { return recs[k][len(recs[k])-1] }
		for {
			res := conns[k].Segment(last(), dir, p.Seq, p.Ack, p.Flags, p.Payload, p.WireLen, frame.Number, frame.Time)
			if res&NewConn == 0 {
				break
			}
			conns[k].Flush(last())
			conns[k] = &Conn{Budget: budget}
			recs[k] = append(recs[k], &recorder{t: t})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for k, c := range conns {
		c.Flush(recs[k][len(recs[k])-1])
	}
	if budget.Used != 0 {
		t.Errorf("%s: budget %d at the end", name, budget.Used)
	}
	return recs, conns
}

// The damaged copies of one capture must give the streams of the original.
func TestLabDamage(t *testing.T) {
	want, _ := streams(t, "s4-hostile/base-webrtc/capture.pcap")
	if len(want) == 0 {
		t.Fatal("no connections")
	}
	for _, name := range []string{"order-shuffled5", "tcp-shuffle-retrans", "drop-syn", "order-clockjump", "dup-vlan", "vlan", "raw-ip", "null", "sll", "nano", "bigendian"} {
		got, _ := streams(t, "s4-hostile/"+name+".pcap")
		if len(got) != len(want) {
			t.Errorf("%s: %d connections, the original has %d", name, len(got), len(want))
		}
		for k, w := range want {
			g := got[k]
			if len(g) != len(w) {
				t.Errorf("%s: %s: %d connections on these ports, want %d", name, k.client, len(g), len(w))
				continue
			}
			for i := range w {
				for d := range 2 {
					if !bytes.Equal(g[i].stream[d], w[i].stream[d]) || len(g[i].gaps[d]) != len(w[i].gaps[d]) {
						t.Errorf("%s: %s direction %d: %d bytes, %d gaps; the original has %d, %d", name, k.client, d,
							len(g[i].stream[d]), len(g[i].gaps[d]), len(w[i].stream[d]), len(w[i].gaps[d]))
					}
					if g[i].closed[d] != w[i].closed[d] {
						t.Errorf("%s: %s direction %d: closed %v, want %v", name, k.client, d, g[i].closed[d], w[i].closed[d])
					}
				}
			}
		}
	}
}

// Both ends of one path, with loss, delay and reordering between them, have
// seen the same streams.
func TestLabBothEnds(t *testing.T) {
	for _, c := range []struct {
		a, b string
		lost int64 // bytes that never arrived at a
	}{
		{"s1-webrtc/imp-all-100ms-2pct/capture.pcapng", "s1-webrtc/imp-all-100ms-2pct/capture-server.pcap", 0},
		{"s1-webrtc/imp-jitter/capture.pcapng", "s1-webrtc/imp-jitter/capture-server.pcap", 0},
		{"s2-sip/tcp-loss/capture.pcapng", "s2-sip/tcp-loss/capture-pbx.pcap", 0},
		// The client reset one connection before a lost segment of 849 bytes,
		// at sequence 1449, was sent again: tshark shows its FIN at 2298.
		{"s1-paper/calls-n20-wan/capture.pcapng", "s1-paper/calls-n20-wan/capture-server.pcap", 849},
	} {
		a, client := streams(t, c.a)
		var lost int64
		for _, conn := range client {
			lost += conn.GapBytes
		}
		if lost != c.lost {
			t.Errorf("%s: %d bytes missing, want %d", c.a, lost, c.lost)
		}
		b, conns := streams(t, c.b)
		same := 0
		for k := range a {
			if b[k] == nil || len(a[k]) != 1 || len(b[k]) != 1 {
				continue
			}
			for d := range 2 {
				x, y := a[k][0], b[k][0]
				if len(y.gaps[d]) > 0 {
					t.Errorf("%s: %s direction %d: gaps %v", c.b, k.client, d, y.gaps[d])
				}
				for _, g := range x.gaps[d] { // zeros in both
					clear(y.stream[d][g.off : g.off+g.n])
				}
				// What the last segments carried may not have arrived.
				n := min(len(x.stream[d]), len(y.stream[d]))
				if !bytes.Equal(x.stream[d][:n], y.stream[d][:n]) {
					t.Errorf("%s: %s direction %d: the ends differ", c.a, k.client, d)
				}
				if x.closed[d] && y.closed[d] && len(x.stream[d]) != len(y.stream[d]) {
					t.Errorf("%s: %s direction %d: %d bytes and %d", c.a, k.client, d, len(x.stream[d]), len(y.stream[d]))
				}
				if n > 0 {
					same++
				}
			}
		}
		if same == 0 {
			t.Errorf("%s: no connection seen at both ends", c.a)
		}
		t.Logf("%s: %d streams, %d connections", c.a, same, len(conns))
	}
}
