package dtls

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type datagram struct {
	dir  int
	data []byte
	at   int64
}

// recording is a file of testdata: what the two sides sent, and what OpenSSL
// says of it.
type recording struct {
	cipher, srtp   string
	random, secret []byte
	exporter       []byte
	datagrams      []datagram
}

func read(t testing.TB, name string) *recording {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(name, err)
		}
		return b
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch f[0] {
		case "cipher":
			r.cipher = f[1]
		case "srtp":
			r.srtp = f[1]
		case "CLIENT_RANDOM":
			r.random, r.secret = unhex(f[1]), unhex(f[2])
		case "exporter":
			r.exporter = unhex(f[1])
		case "client", "server":
			d := datagram{data: unhex(f[1]), at: int64(len(r.datagrams)+1) * 1000}
			if f[0] == "server" {
				d.dir = 1
			}
			r.datagrams = append(r.datagrams, d)
		}
	}
	return r
}

// keylog answers as a key log that holds the recordings' secrets.
func (r *recording) keylog(label string, random *[32]byte) [][]byte {
	if label != "CLIENT_RANDOM" || !bytes.Equal(random[:], r.random) {
		return nil
	}
	return [][]byte{r.secret}
}

func feed(c *Conn, ds []datagram) {
	for _, d := range ds {
		c.Datagram(d.dir, d.data, d.at)
	}
}

// recordings, with what IANA's registries have for the names that OpenSSL
// printed.
var recordings = []struct {
	name             string
	version          uint16
	suite            uint16
	profile          uint16
	state            State
	keyLen, fragment int
}{
	{"gcm128", Version12, 0xc02b, 7, Decrypted, 16, 0},
	{"gcm256-fragments", Version12, 0xc030, 8, Decrypted, 32, 1},
	{"chacha20", Version12, 0xcca8, 1, Decrypted, 16, 0},
	{"cbc-sha", Version12, 0xc013, 1, Decrypted, 16, 0},
	{"cbc-sha-etm", Version12, 0xc013, 1, Decrypted, 16, 0},
	{"cbc-sha256", Version12, 0x003d, 1, Decrypted, 16, 0},
	{"cbc-sha384-etm", Version12, 0xc028, 2, Decrypted, 16, 0},
	{"dtls10", Version10, 0x0035, 1, Decrypted, 16, 0},
	{"ccm", Version12, 0xc09d, 1, Decrypted, 16, 0},
	{"ccm8", Version12, 0xc0a0, 1, Decrypted, 16, 0},
	{"camellia", Version12, 0x0041, 1, Unsupported, 0, 0},
}

// wantKeys compares with the keying material that OpenSSL exported, cut up as
// RFC 5764, 4.2 says.
func wantKeys(t *testing.T, c *Conn, r *recording, profile uint16, keyLen int) {
	t.Helper()
	p, ck, sk, cs, ss, ok := c.SRTP()
	if all := slices.Concat(ck, sk, cs, ss); !ok || p != profile || len(ck) != keyLen || len(sk) != keyLen || len(cs) != len(ss) || !bytes.Equal(all, r.exporter) {
		t.Errorf("SRTP: %v, profile %d, %x; want profile %d, %x", ok, p, all, profile, r.exporter)
	}
}

func noKeys(t *testing.T, c *Conn) {
	t.Helper()
	if _, ck, sk, cs, ss, ok := c.SRTP(); ok || ck != nil || sk != nil || cs != nil || ss != nil {
		t.Error("SRTP keys without an authenticated secret")
	}
}

func TestRecordings(t *testing.T) {
	for _, v := range recordings {
		t.Run(v.name, func(t *testing.T) {
			r := read(t, v.name)
			fragmented := 0
			for _, d := range r.datagrams {
				if !Looks(d.data) {
					t.Errorf("not recognised: %x", d.data)
				}
				if d.data[0] == typeHandshake && epoch(d.data) == 0 && d.data[13] <= helloServer && u24(d.data[14:]) != u24(d.data[22:]) {
					fragmented = 1
				}
			}
			if fragmented != v.fragment {
				t.Error("fragmented hellos: ", fragmented)
			}
			c := NewConn(r.keylog)
			feed(c, r.datagrams)
			s := c.Status()
			if s.State != v.state || s.Version != v.version || s.CipherSuite != v.suite || s.SRTPProfile != v.profile || s.Malformed != 0 || s.Cut != 0 || s.ClientDir != 0 {
				t.Errorf("%+v", s)
			}
			if s.Application != 1 { // the client's "hello"
				t.Errorf("%d records of application data", s.Application)
			}
			if s.ClientHelloAt != 1000 || s.ServerHelloAt <= s.ClientHelloAt || s.FinishedAt <= s.ServerHelloAt || s.FinishedAt > int64(len(r.datagrams)-3)*1000 {
				t.Errorf("%+v", s)
			}
			if v.state != Decrypted {
				noKeys(t, c)
				return
			}
			wantKeys(t, c, r, v.profile, v.keyLen)

			// Every order in which the network may bring them, and all of it twice.
			backwards := slices.Clone(r.datagrams)
			slices.Reverse(backwards)
			for name, ds := range map[string][]datagram{"backwards": backwards, "twice": slices.Concat(r.datagrams, r.datagrams),
				"shuffled": slices.Concat(backwards[3:], r.datagrams[:len(r.datagrams)/2], backwards[:5])} {
				c := NewConn(r.keylog)
				feed(c, ds)
				if s := c.Status(); s.State != Decrypted {
					t.Errorf("%s: %+v", name, s)
				}
				wantKeys(t, c, r, v.profile, v.keyLen)
			}

			// One side's Finished is enough.
			for dir := range 2 {
				c := NewConn(r.keylog)
				for _, d := range r.datagrams {
					for b := d.data; len(b) > 0; {
						n := recordHead + recordLen(b)
						if epoch(b) == 0 || d.dir == dir {
							c.Datagram(d.dir, b[:n], d.at)
						}
						b = b[n:]
					}
				}
				wantKeys(t, c, r, v.profile, v.keyLen)
			}

			// A secret that comes late.
			late := false
			c = NewConn(func(label string, random *[32]byte) [][]byte {
				if !late {
					return nil
				}
				return r.keylog(label, random)
			})
			feed(c, r.datagrams)
			if s := c.Status(); s.State != NoKey {
				t.Errorf("%+v", s)
			}
			noKeys(t, c)
			late = true
			c.Retry()
			wantKeys(t, c, r, v.profile, v.keyLen)
		})
	}
}

// TestWrong: a secret with any bit changed, or under damaged records, gives no
// keys; the right one among wrong ones is found.
func TestWrong(t *testing.T) {
	for _, v := range recordings {
		if v.state != Decrypted {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			r := read(t, v.name)
			wrong := func(i int) []byte {
				s := bytes.Clone(r.secret)
				s[i/8%len(s)] ^= 1 << (i % 8)
				return s
			}
			for i := 0; i < 8*len(r.secret); i += 37 {
				c := NewConn(func(string, *[32]byte) [][]byte { return [][]byte{wrong(i), r.secret[:47], nil} })
				feed(c, r.datagrams)
				if s := c.Status(); s.State != WrongKey || !strings.Contains(s.Note, "1 secrets") {
					t.Errorf("%+v", s)
				}
				noKeys(t, c)
			}
			c := NewConn(func(string, *[32]byte) [][]byte { return [][]byte{wrong(1), nil, wrong(2), r.secret} })
			feed(c, r.datagrams)
			wantKeys(t, c, r, v.profile, v.keyLen)

			c = NewConn(r.keylog)
			for _, d := range r.datagrams {
				b := bytes.Clone(d.data)
				for rest := b; len(rest) > 0; rest = rest[recordHead+recordLen(rest):] {
					if epoch(rest) > 0 {
						rest[recordHead+recordLen(rest)-1] ^= 1
					}
				}
				c.Datagram(d.dir, b, d.at)
			}
			if s := c.Status(); s.State != WrongKey {
				t.Errorf("damaged records: %+v", s)
			}
		})
	}
}

// TestStates goes through the reasons why nothing can be read.
func TestStates(t *testing.T) {
	r := read(t, "gcm128")
	side := func(dir int) (ds []datagram) {
		for _, d := range r.datagrams {
			if d.dir == dir {
				ds = append(ds, d)
			}
		}
		return ds
	}
	clear := func() (ds []datagram) { // no protected record
		for _, d := range r.datagrams {
			if d.data[0] == typeHandshake && epoch(d.data) == 0 && !bytes.Contains(d.data, []byte{typeHandshake, 0xfe, 0xfd, 0, 1}) {
				ds = append(ds, d)
			}
		}
		return ds
	}
	alert := datagram{1, []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40}, 1}
	cid := datagram{0, []byte{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 7, 7, 0, 1, 0}, 1}
	for _, v := range []struct {
		name   string
		ds     []datagram
		lookup Lookup
		state  State
		note   string
	}{
		{"nothing", nil, r.keylog, NoHandshake, "no record seen"},
		{"garbage", []datagram{{0, []byte("hello"), 1}}, r.keylog, NoHandshake, "no record seen"},
		{"whole", r.datagrams, r.keylog, Decrypted, ""},
		{"no key log", r.datagrams, nil, NoKey, "no master secret for this client random"},
		{"client side", side(0), r.keylog, NoHandshake, "no ServerHello seen"},
		{"server side", side(1), r.keylog, NoHandshake, "no ClientHello seen"},
		{"no Finished", clear(), r.keylog, NoHandshake, "no protected record seen"},
		{"no Finished, no key", clear(), nil, NoKey, "no master secret for this client random"},
		{"alert", slices.Concat(side(0)[:1], []datagram{alert}), r.keylog, NoHandshake, "no ServerHello seen, fatal alert 40"},
		{"connection ID", slices.Concat(clear(), []datagram{cid}), r.keylog, Unsupported, "connection ID"},
		{"Camellia", read(t, "camellia").datagrams, nil, Unsupported, "cipher suite 0x0041"},
	} {
		c := NewConn(v.lookup)
		feed(c, v.ds)
		if s := c.Status(); s.State != v.state || s.Note != v.note {
			t.Errorf("%s: %v, %q; want %v, %q", v.name, s.State, s.Note, v.state, v.note)
		}
		if v.state != Decrypted {
			noKeys(t, c)
		}
	}
}

// TestAgain: another handshake on the same addresses.
func TestAgain(t *testing.T) {
	one, two := read(t, "gcm128"), read(t, "chacha20")
	both := func(label string, random *[32]byte) [][]byte {
		return append(one.keylog(label, random), two.keylog(label, random)...)
	}
	for _, v := range []struct {
		name   string
		lookup Lookup
		state  State
		last   *recording
	}{
		{"both", both, Decrypted, two},
		{"first", one.keylog, Partly, one},
		{"second", two.keylog, Partly, two},
		{"none", nil, NoKey, nil},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := NewConn(v.lookup)
			feed(c, one.datagrams)
			at := c.Status().FinishedAt
			feed(c, one.datagrams[:2]) // late copies
			if c.Status().FinishedAt != at {
				t.Error("copies of a handshake moved its end")
			}
			for _, d := range two.datagrams {
				c.Datagram(1-d.dir, d.data, d.at+1e6) // and the roles change
			}
			feed(c, one.datagrams[:1])
			s := c.Status()
			if s.State != v.state || s.ClientDir != 1 || s.ClientHelloAt != 1e6+1000 || s.CipherSuite != 0xcca8 {
				t.Errorf("%+v", s)
			}
			switch v.last {
			case one:
				wantKeys(t, c, one, 7, 16)
			case two:
				wantKeys(t, c, two, 1, 16)
			default:
				noKeys(t, c)
			}
		})
	}
}

// TestFragments cuts the hellos up smaller than OpenSSL does, overlapping and
// in odd orders (RFC 6347, 4.2.3).
func TestFragments(t *testing.T) {
	r := read(t, "gcm128")
	for _, size := range []int{5, 16, 40, 100} {
		c := NewConn(r.keylog)
		for _, d := range r.datagrams {
			if d.data[0] != typeHandshake || d.data[13] > helloServer || epoch(d.data) != 0 {
				c.Datagram(d.dir, d.data, d.at)
				continue
			}
			n := recordHead + recordLen(d.data)
			head, body := d.data[:recordHead+messageHead], d.data[recordHead+messageHead:n]
			var parts [][]byte
			for off := 0; off < len(body); off += size {
				data := body[max(0, off-2):min(off+size, len(body))]
				b := bytes.Clone(head)
				b[11], b[12] = byte((messageHead+len(data))>>8), byte(messageHead+len(data))
				b[19], b[20], b[21] = 0, byte(max(0, off-2)>>8), byte(max(0, off-2))
				b[22], b[23], b[24] = 0, byte(len(data)>>8), byte(len(data))
				parts = append(parts, append(b, data...))
			}
			slices.Reverse(parts)
			for i, p := range parts {
				c.Datagram(d.dir, p, d.at)
				if i == len(parts)/2 {
					c.Datagram(d.dir, p, d.at)
				}
			}
			c.Datagram(d.dir, d.data[n:], d.at)
		}
		wantKeys(t, c, r, 7, 16)
		if s := c.Status(); s.Malformed != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// TestCut gives each datagram as far as some snap length reaches.
func TestCut(t *testing.T) {
	r := read(t, "gcm128")
	for snap := range 1500 {
		c := NewConn(r.keylog)
		cut := 0
		for _, d := range r.datagrams {
			if len(d.data) > snap {
				cut++
			}
			c.Datagram(d.dir, d.data[:min(snap, len(d.data))], d.at)
		}
		if s := c.Status(); s.Cut+s.Malformed > cut || snap > recordHead && s.Cut+s.Malformed == 0 && s.State != Decrypted {
			t.Errorf("snap length %d: %+v", snap, s)
		}
	}
}

// TestMemory: hostile fragments do not pile up.
func TestMemory(t *testing.T) {
	c := NewConn(nil)
	for i := range 10000 {
		b := []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 1 + byte(i/3%2), 0, 0x20, byte(i), byte(i >> 8), byte(i), 0, byte(i % 0x1f), byte(i), 0, 0, 1, 9}
		c.Datagram(i, b, 0)
		c.Datagram(i, []byte{22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1}, 0)
	}
	for dir := range 2 {
		for _, m := range c.sides[dir].pending {
			if len(m.parts) > maxFragments {
				t.Errorf("%d fragments", len(m.parts))
			}
		}
		if n := len(c.hs.protected[dir]); n > maxProtected {
			t.Errorf("%d records", n)
		}
	}
}

// TestTrials: hellos without end do not make as many trials.
func TestTrials(t *testing.T) {
	r := read(t, "gcm128")
	c := NewConn(func(string, *[32]byte) [][]byte { return slices.Repeat([][]byte{make([]byte, masterLen)}, 100) })
	feed(c, r.datagrams)
	for i := range 1000 {
		for _, d := range r.datagrams {
			if b := bytes.Clone(d.data); d.dir == 1 && b[0] == typeHandshake && b[13] == helloServer {
				b[recordHead+messageHead+2+4] ^= byte(i)
				b[recordHead+messageHead+2+5] ^= byte(i >> 8)
				c.Datagram(1, b, 0)
			}
		}
	}
	if s := c.Status(); s.State != WrongKey || c.trials > maxTrials+1001 || c.trials < maxTrials {
		t.Errorf("%d trials, %+v", c.trials, s)
	}
}

func TestLooks(t *testing.T) {
	for _, v := range []struct {
		hex  string
		want bool
	}{
		{"16feff0000000000000000000c", true},
		{"16feff0000000000000000000b", false}, // less than a message's header
		{"16fefd00010000000000000028", true},
		{"16fefc00000000000000000040", false}, // RFC 9147, 5.1: never in a record's header
		{"16030100000000000000000040", false}, // TLS
		{"14fefd00000000000000000001", true},
		{"14fefd00000000000000000002", false},
		{"15fefd00000000000000000002", true},
		{"15fefd0001000000000000001a", true},
		{"17fefd00010000000000014000", true},
		{"17fefd00010000000000014900", false}, // more than 2^14+2048
		{"19fefd00010000000000010102", true},
		{"13fefd00010000000000010040", false},
		{"1bfefd00010000000000010040", false},
		{"16fefd000000000000000000", false},
		{"", false},
	} {
		b, err := hex.DecodeString(v.hex)
		if err != nil {
			t.Fatal(err)
		}
		if Looks(b) != v.want {
			t.Errorf("%s: %v", v.hex, !v.want)
		}
	}
}

func BenchmarkDatagram(b *testing.B) {
	r := read(b, "gcm128")
	c := NewConn(r.keylog)
	feed(c, r.datagrams)
	data := append([]byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 200}, make([]byte, 200)...)
	b.Run("what=application", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		b.ReportAllocs()
		for b.Loop() {
			c.Datagram(0, data, 1)
		}
	})
	b.Run("what=handshake", func(b *testing.B) {
		n := 0
		for _, d := range r.datagrams {
			n += len(d.data)
		}
		b.SetBytes(int64(n))
		b.ReportAllocs()
		for b.Loop() {
			c := NewConn(r.keylog)
			feed(c, r.datagrams)
		}
	})
}

func FuzzDatagram(f *testing.F) {
	var rs []*recording
	for _, v := range recordings {
		r := read(f, v.name)
		rs = append(rs, r)
		var all []byte
		for _, d := range r.datagrams {
			all = append(append(all, byte(d.dir), byte(len(d.data)>>8), byte(len(d.data))), d.data...)
		}
		f.Add(all)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewConn(func(label string, random *[32]byte) (all [][]byte) {
			for _, r := range rs {
				all = append(all, r.secret)
			}
			return all
		})
		n := 0
		for len(b) > 3 && n < 64 {
			size := min(int(b[1])<<8|int(b[2]), len(b)-3)
			n++
			c.Datagram(int(b[0]), b[3:3+size], int64(n))
			b = b[3+size:]
		}
		c.Retry()
		s := c.Status()
		_, _, _, _, _, ok := c.SRTP()
		if ok && s.State != Decrypted && s.State != Partly || s.State == StateBad || (s.Note == "") != (s.State == Decrypted) {
			t.Errorf("%+v", s)
		}
	})
}
