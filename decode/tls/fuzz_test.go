package tls

import (
	"bytes"
	"slices"
	"testing"
)

// sealed is a connection of TLS 1.3 or 1.2 whose secrets are known, with what
// was sent in it.
func sealed(t testing.TB, id uint16) (ps []piece, lookup Lookup, sent map[string]bool) {
	sent = map[string]bool{}
	s := suiteOf(id)
	var ws, hs [2]*writer
	if id>>8 == 0x13 {
		secrets := map[string][]byte{}
		for i, l := range []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} {
			secrets[l] = random(byte(i + 1))
			if i < 2 {
				hs[i] = writer13(t, s, secrets[l])
			} else {
				ws[i-2] = writer13(t, s, secrets[l])
			}
		}
		lookup = keysFor(random(1), secrets)
		ps = []piece{
			{0, clearRecord(0x0301, 22, clientHelloOf(version13, id, random(1), versions13))},
			{1, clearRecord(0x0303, 22, serverHelloOf(version13, id, random(2), version13Chosen))},
			{1, hs[1].seal(22, slices.Concat(message(8, []byte{0, 0}), message(20, make([]byte, 32))))},
			{0, hs[0].seal(22, message(20, make([]byte, 32)))},
		}
	} else {
		master := bytes.Repeat([]byte{7}, 48)
		lookup = keysFor(random(1), map[string][]byte{"CLIENT_RANDOM": master})
		ws = writers12(t, 0x0303, s, master, random(1), random(2), false)
		ps = []piece{
			{0, clearRecord(0x0303, 22, clientHelloOf(0x0303, id, random(1)))},
			{1, clearRecord(0x0303, 22, serverHelloOf(0x0303, id, random(2)))},
			{0, clearRecord(0x0303, 20, []byte{1})}, {0, ws[0].seal(22, message(20, make([]byte, 12)))},
			{1, clearRecord(0x0303, 20, []byte{1})}, {1, ws[1].seal(22, message(20, make([]byte, 12)))},
		}
	}
	for i := range 6 {
		for dir, w := range ws {
			p := bytes.Repeat([]byte{byte('a' + i)}, 1+i*20)
			sent[string(p)] = true
			ps = append(ps, piece{dir, w.seal(23, p)})
			if i == 3 && id>>8 == 0x13 {
				ps = append(ps, piece{dir, w.seal(22, message(24, []byte{0}))})
				ws[dir] = w.update()
			}
		}
	}
	return ps, lookup, sent
}

// FuzzConn feeds a connection of which pieces are dropped, changed, doubled,
// swapped and cut as ops say. What is shown was sent.
func FuzzConn(f *testing.F) {
	f.Add(uint8(0), []byte{}, uint8(10))
	f.Add(uint8(1), []byte{1, 3, 0, 2, 5, 7, 3, 6, 1, 4, 8, 3}, uint8(200))
	f.Add(uint8(2), []byte{5, 0, 60, 0, 4, 9, 6, 9, 9}, uint8(3))
	f.Add(uint8(3), []byte{1, 1, 0, 7, 4, 0, 8, 1, 0}, uint8(50))
	f.Fuzz(func(t *testing.T, kind uint8, ops []byte, size uint8) {
		id := []uint16{0x1301, 0x1303, 0x009c, 0x002f}[kind%4]
		ps, lookup, sent := sealed(t, id)
		type lost struct{ at, n int }
		gaps := map[int]lost{}
		if len(ops) > 60 {
			ops = ops[:60]
		}
		for ; len(ops) >= 3; ops = ops[3:] {
			i, arg := int(ops[1])%len(ps), int(ops[2])
			p := &ps[i]
			at := arg % (len(p.data) + 1)
			switch ops[0] % 9 {
			case 0: // other bytes
				p.data = append(bytes.Clone(p.data[:at]), ops...)
			case 1: // a gap
				gaps[i] = lost{0, len(p.data)}
			case 2: // a part is lost
				gaps[i] = lost{at, len(p.data) - at}
			case 3: // a changed bit
				if at < len(p.data) {
					p.data = bytes.Clone(p.data)
					p.data[at] ^= ops[0] | 1
				}
			case 4: // twice
				ps = slices.Insert(ps, i, *p)
			case 5: // swapped
				j := arg % len(ps)
				ps[i], ps[j] = ps[j], ps[i]
			case 6: // cut, and nobody says so
				p.data = p.data[:at]
			case 7: // a gap of unknown length, or longer than what is missing
				gaps[i] = lost{at, 0}
			case 8: // the other direction
				p.dir ^= 1
			}
			if len(ps) > 60 {
				return
			}
		}
		c := NewConn(lookup, &Shared{Max: 1 << 16})
		var last, fed [2]int64
		steps, total := 0, 0
		drain := func() {
			for {
				var e Event
				dir, ok, err := c.Next(&e)
				if steps++; steps > 20*total+1000 {
					t.Fatal("does not end")
				}
				if err != nil {
					continue
				}
				if !ok {
					return
				}
				if e.Kind == KindBad || e.End < last[dir] || e.Off >= e.End || e.End > fed[dir] {
					t.Fatalf("%+v after %d, %d fed", e, last[dir], fed[dir])
				}
				last[dir] = e.End
				if (e.Data != nil || e.Decrypted) && e.Kind == KindApplicationData && !sent[string(e.Data)] {
					t.Fatalf("shows %q", e.Data)
				}
				if e.Data != nil && e.Kind != KindApplicationData {
					t.Fatalf("%+v", e)
				}
			}
		}
		for i, p := range ps {
			b := p.data
			if g, ok := gaps[i]; ok && g.at <= len(b) {
				c.Feed(p.dir, b[:g.at])
				c.Lost(p.dir, int64(g.n))
				fed[p.dir] += int64(g.at + g.n)
				total += g.at + g.n
				drain()
				b = b[min(len(b), g.at+g.n):]
			}
			for len(b) > 0 {
				n := min(len(b), int(size)+1)
				c.Feed(p.dir, b[:n])
				b = b[n:]
				fed[p.dir] += int64(n)
				total += n
				if size%3 != 0 {
					drain()
				}
			}
		}
		drain()
		c.Finish(0)
		c.Finish(1)
		drain()
		s := c.Status()
		if s.Records != s.Opened+s.Failed || s.LostRecords < 0 || s.Encryption == Decrypted && s.Note != "" {
			t.Fatalf("%+v", s)
		}
		if c.shared.Used < 0 || c.shared.Used > 2*maxRecord || len(c.half[0].hs)+len(c.half[1].hs) > 2*(maxHandshake+maxRecord) {
			t.Fatalf("%+v is held at the end", c.shared)
		}
	})
}

func BenchmarkConn(b *testing.B) {
	for _, bench := range []struct {
		name string
		id   uint16
		size int
	}{
		{"AES-128-GCM/16384", 0x1301, 1 << 14}, {"AES-128-GCM/200", 0x1301, 200}, {"AES-256-GCM/16384", 0x1302, 1 << 14},
		{"ChaCha20-Poly1305/16384", 0x1303, 1 << 14}, {"TLS1.2-AES-128-GCM/16384", 0x009c, 1 << 14}, {"TLS1.2-AES-128-CBC-SHA/16384", 0x002f, 1 << 14},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := suiteOf(bench.id)
			c := NewConn(nil, nil)
			plain := make([]byte, bench.size)
			var w *writer
			if bench.id>>8 == 0x13 {
				secret := make([]byte, s.prf().Size())
				w = writer13(b, s, secret)
				c.pairs = []pair{{ch: &ClientHello{}, sh: &ServerHello{Version: version13, CipherSuite: bench.id}}}
				c.client = 1
				c.half[0].level = levelApplication
				c.half[0].epochs[levelApplication] = epoch{level: levelApplication, keys: []*keys{newKeys13(s, secret)}, ok: true}
			} else {
				ws := writers12(b, 0x0303, s, make([]byte, 48), random(1), random(2), false)
				w = ws[0]
				k := newKeys12(0x0303, s, make([]byte, 48), random(1), random(2), false)
				c.pairs = []pair{{ch: &ClientHello{}, sh: &ServerHello{Version: 0x0303, CipherSuite: bench.id}, master: k[0].secret}}
				c.client = 0
				c.half[0].level = 1
				c.half[0].epochs[1] = epoch{level: 1, keys: k[:1], ok: true}
			}
			var records [][]byte
			for range 64 {
				records = append(records, w.seal(23, plain))
			}
			var e Event
			i := 0
			b.SetBytes(int64(bench.size))
			b.ReportAllocs()
			for b.Loop() {
				if i == len(records) {
					i, c.half[0].base = 0, 0
				}
				// As TCP brings it.
				for r := records[i]; len(r) > 0; r = r[min(len(r), 1460):] {
					c.Feed(0, r[:min(len(r), 1460)])
				}
				if _, ok, err := c.Next(&e); !ok || err != nil || len(e.Data) != bench.size {
					b.Fatal(ok, err, len(e.Data))
				}
				i++
			}
		})
	}
}
