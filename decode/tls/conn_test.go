package tls

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twtrace/twtrace/decode/keylog"
)

// piece is what one side wrote at once. The client is direction 0.
type piece struct {
	dir  int
	data []byte
}

// wire records what both sides of a connection write.
type recorder struct {
	net.Conn
	dir int
	mu  *sync.Mutex
	log *[]piece
}

func (r recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	*r.log = append(*r.log, piece{r.dir, bytes.Clone(b)})
	r.mu.Unlock()
	return r.Conn.Write(b)
}

// recording is one connection of crypto/tls, with its key log.
type recording struct {
	pieces []piece
	keys   *keylog.Log
	sent   [2][]byte
	state  tls.ConnectionState
}

var rsaCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rsa.example.com"}, NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// sizes are of the application data that is written, in turn by the client and
// by the server.
var sizes = []int{1, 300, 5, 40000, 2000, 1 << 14, 1, 1, 700, 20}

// record runs a connection over a pipe.
func record(t testing.TB, client, server *tls.Config) *recording {
	t.Helper()
	r := &recording{keys: new(keylog.Log)}
	var text bytes.Buffer
	client.KeyLogWriter = &text
	a, b := net.Pipe()
	var mu sync.Mutex
	c := tls.Client(recorder{a, 0, &mu, &r.pieces}, client)
	s := tls.Server(recorder{b, 1, &mu, &r.pieces}, server)
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			buf := make([]byte, 1<<17)
			for i := 0; i < len(sizes); i += 2 {
				for got := 0; got < sizes[i]; {
					n, err := s.Read(buf)
					if err != nil {
						return err
					}
					got += n
				}
				out := payload(i + 1)
				if _, err := s.Write(out); err != nil {
					return err
				}
				r.sent[1] = append(r.sent[1], out...)
			}
			s.Read(buf) // the client's close
			s.Close()
			return nil
		}()
		b.Close()
	}()
	buf := make([]byte, 1<<17)
	for i := 0; i < len(sizes); i += 2 {
		out := payload(i)
		if _, err := c.Write(out); err != nil {
			t.Fatal(err)
		}
		r.sent[0] = append(r.sent[0], out...)
		for got := 0; got < sizes[i+1]; {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}
	r.state = c.ConnectionState()
	c.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.keys.Add(text.Bytes())
	return r
}

func payload(i int) []byte {
	b := make([]byte, sizes[i])
	for j := range b {
		b[j] = byte(j*7 + i)
	}
	return b
}

// streams joins what each side wrote.
func (r *recording) streams() (s [2][]byte) {
	for _, p := range r.pieces {
		s[p.dir] = append(s[p.dir], p.data...)
	}
	return s
}

type order int

const (
	asSent order = iota
	clientFirst
	serverFirst
)

// play feeds pieces to a Conn, in parts of at most size bytes.
func play(c *Conn, pieces []piece, o order, size int) (es [2][]Event, errs []error) {
	pieces = slices.Clone(pieces)
	if o != asSent {
		slices.SortStableFunc(pieces, func(a, b piece) int {
			if o == clientFirst {
				return a.dir - b.dir
			}
			return b.dir - a.dir
		})
	}
	for _, p := range pieces {
		for b := p.data; len(b) > 0; {
			n := min(size, len(b))
			c.Feed(p.dir, b[:n])
			b = b[n:]
			errs = append(errs, collect(c, &es)...)
		}
	}
	c.Finish(0)
	c.Finish(1)
	errs = append(errs, collect(c, &es)...)
	return es, errs
}

// plaintext joins the application data of events.
func plaintext(es []Event) (b []byte) {
	for _, e := range es {
		b = append(b, e.Data...)
	}
	return b
}

func configs(t testing.TB, version, suite uint16) (client, server *tls.Config) {
	client = &tls.Config{ServerName: "chunderw.example.com", NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
	server = &tls.Config{NextProtos: []string{"http/1.1"}, MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{certificate(t)}}
	if strings.Contains(tls.CipherSuiteName(suite), "RSA_WITH") {
		server.Certificates = []tls.Certificate{rsaCertificate()}
	}
	if suite != 0 {
		client.CipherSuites = []uint16{suite}
		server.CipherSuites = []uint16{suite}
	}
	return client, server
}

// TestAgainstLibrary opens connections of crypto/tls with all its versions and
// suites, full and resumed, and in any order of the directions.
func TestAgainstLibrary(t *testing.T) {
	type combination struct{ version, suite uint16 }
	list := []combination{{tls.VersionTLS13, 0}}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		for _, v := range s.SupportedVersions {
			if v < tls.VersionTLS13 && !strings.Contains(s.Name, "RC4") {
				list = append(list, combination{v, s.ID})
			}
		}
	}
	for _, k := range list {
		client, server := configs(t, k.version, k.suite)
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		var first *recording
		for _, name := range []string{"full", "resumed"} {
			r := record(t, client, server)
			if r.state.DidResume != (name == "resumed") {
				t.Fatalf("%s: resumed is %v", name, r.state.DidResume)
			}
			if first == nil {
				first = r
			}
			for _, o := range []order{asSent, clientFirst, serverFirst} {
				for _, size := range []int{1 << 20, 1000, 3} {
					t.Run(fmt.Sprintf("%s/%s/%s/%d/%d", VersionText(k.version), CipherText(r.state.CipherSuite), name, o, size), func(t *testing.T) {
						var shared Shared
						if r != first && k.version < tls.VersionTLS13 {
							// The library logs the session's first connection only.
							if r.keys.Len() > 0 {
								t.Fatal("a resumed connection is logged")
							}
							play(NewConn(lookupIn(first.keys), &shared), first.pieces, o, 1000)
						}
						c := NewConn(lookupIn(r.keys), &shared)
						es, errs := play(c, r.pieces, o, size)
						if errs != nil {
							t.Fatal(errs)
						}
						for d := range es {
							if !bytes.Equal(plaintext(es[d]), r.sent[d]) {
								t.Errorf("direction %d: %d bytes, want %d", d, len(plaintext(es[d])), len(r.sent[d]))
							}
							last := es[d][len(es[d])-1]
							if last.Kind != KindAlert || !last.Decrypted || last.Alert.Description != 0 {
								t.Errorf("direction %d ends with %+v", d, last)
							}
						}
						s := c.Status()
						if s.Encryption != Decrypted || s.Note != "" || s.Failed != 0 || s.Opened != s.Records || s.Version != k.version || s.CipherSuite != r.state.CipherSuite ||
							s.ALPN != "http/1.1" || s.SNI != "chunderw.example.com" || s.Resumed != r.state.DidResume {
							t.Errorf("%+v", s)
						}
					})
				}
			}
		}
	}
}

// cutAt makes pieces of whole records, in the order in which they were sent.
func records(t testing.TB, r *recording) (ps []piece) {
	t.Helper()
	var rest [2][]byte
	for _, p := range r.pieces {
		rest[p.dir] = append(rest[p.dir], p.data...)
		for {
			_, n, err := NextRecord(rest[p.dir])
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			ps = append(ps, piece{p.dir, bytes.Clone(rest[p.dir][:n])})
			rest[p.dir] = rest[p.dir][n:]
		}
	}
	return ps
}

// content is what a record of a stream holds.
type content struct {
	off  int64
	data string
}

func contents(es []Event) (cs []content) {
	for _, e := range es {
		if e.Data != nil {
			cs = append(cs, content{e.Off, string(e.Data)})
		}
	}
	return cs
}

var gapSuites = []struct{ version, suite uint16 }{
	{tls.VersionTLS13, 0},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384},
	{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256},
	{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	{tls.VersionTLS10, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA},
}

// TestGaps loses each record of a connection, in several ways, and wants all
// others.
func TestGaps(t *testing.T) {
	for _, k := range gapSuites {
		client, server := configs(t, k.version, k.suite)
		r := record(t, client, server)
		ps := records(t, r)
		whole, errs := play(NewConn(lookupIn(r.keys), nil), ps, asSent, 1<<20)
		if errs != nil {
			t.Fatal(errs)
		}
		for i, lost := range ps {
			for _, how := range []string{"whole", "unknown", "middle", "header", "tail and next"} {
				for _, o := range []order{asSent, clientFirst} {
					t.Run(fmt.Sprintf("%s/%d/%s/%d", VersionText(k.version), i, how, o), func(t *testing.T) {
						c := NewConn(lookupIn(r.keys), nil)
						var es [2][]Event
						var offs [2]int64
						gone := map[content]bool{} // by offset
						lose := func(dir int, b []byte, from, to int) {
							c.Feed(dir, b[:from])
							collect(c, &es)
							n := int64(to - from)
							if how == "unknown" {
								n = 0
							}
							c.Lost(dir, n)
							collect(c, &es)
							c.Feed(dir, b[to:])
							collect(c, &es)
						}
						list := make([]int, len(ps))
						for j := range list {
							list[j] = j
						}
						if o == clientFirst {
							slices.SortStableFunc(list, func(a, b int) int { return ps[a].dir - ps[b].dir })
						}
						pending := false
						for _, j := range list {
							p := ps[j]
							off := offs[p.dir]
							offs[p.dir] += int64(len(p.data))
							switch {
							case j == i:
								gone[content{off: off}] = true
								n := len(p.data)
								switch how {
								case "whole", "unknown":
									lose(p.dir, p.data, 0, n)
								case "middle":
									lose(p.dir, p.data, min(5, n-1), n)
								case "header":
									lose(p.dir, p.data, 2, n-1)
								case "tail and next":
									lose(p.dir, p.data, n-1, n)
									pending = true
								}
							case pending && p.dir == lost.dir:
								pending = false
								gone[content{off: off}] = true
								lose(p.dir, p.data, 0, min(3, len(p.data)))
							default:
								c.Feed(p.dir, p.data)
								collect(c, &es)
							}
						}
						c.Finish(0)
						c.Finish(1)
						collect(c, &es)
						// With a hello all is lost, but for that of a TLS 1.3 server.
						first, _, _ := NextRecord(lost.data)
						hello := first.Type == TypeHandshake && (first.Payload[0] == 1 || first.Payload[0] == 2) && clearHello(first.Payload)
						nothing := hello && (first.Payload[0] == 1 || k.version < tls.VersionTLS13)
						for d := range es {
							var want []string
							chain := false // TLS 1.0: the next record's IV is lost too
							for _, w := range contents(whole[d]) {
								isGone := gone[content{off: w.off}]
								if !nothing && !isGone && !(k.version == tls.VersionTLS10 && chain) {
									want = append(want, w.data)
								}
								chain = isGone
							}
							var have []string
							for _, h := range contents(es[d]) {
								have = append(have, h.data)
							}
							if k.version == tls.VersionTLS10 && d == lost.dir && len(have) == len(want)-1 && first.Type != TypeApplicationData {
								want = want[1:] // the lost record is the one before the first
							}
							if !slices.Equal(have, want) {
								t.Errorf("direction %d: %d records, want %d; lost is %d of type %d in %d; %+v", d, len(have), len(want), i, first.Type, lost.dir, c.Status())
							}
						}
						if first.Type == TypeChangeCipherSpec && k.version < tls.VersionTLS13 && how == "whole" && !strings.Contains(story(es[lost.dir]), "+Finished") {
							t.Errorf("the record after a lost ChangeCipherSpec: %s", story(es[lost.dir]))
						}
						s := c.Status()
						if n := s.LostRecords; how == "middle" && n != 1 && !(k.version == tls.VersionTLS10 && n <= 1) {
							t.Errorf("%d records lost", n)
						}
						want := Partly
						if nothing {
							want = NoHandshake
						}
						if s.Encryption != want && !(how == "unknown" && s.Encryption == Decrypted) || s.Note == "" && s.Encryption != Decrypted {
							t.Errorf("%+v, want %v", s, want)
						}
					})
				}
			}
		}
	}
}

// TestFlips changes each record: it is not shown, and all others are.
func TestFlips(t *testing.T) {
	for _, k := range gapSuites {
		client, server := configs(t, k.version, k.suite)
		r := record(t, client, server)
		ps := records(t, r)
		whole, _ := play(NewConn(lookupIn(r.keys), nil), ps, asSent, 1<<20)
		for i, p := range ps {
			first, _, _ := NextRecord(p.data)
			if first.Type != TypeApplicationData {
				continue
			}
			for _, at := range []int{5, 5 + len(first.Payload)/2, len(p.data) - 1} {
				changed := slices.Clone(ps)
				changed[i].data = bytes.Clone(p.data)
				changed[i].data[at] ^= 0x10
				es, _ := play(NewConn(lookupIn(r.keys), nil), changed, asSent, 1<<20)
				var off int64
				for _, q := range ps[:i] {
					if q.dir == p.dir {
						off += int64(len(q.data))
					}
				}
				for d := range es {
					missing := map[content]bool{}
					for _, w := range contents(whole[d]) {
						missing[w] = true
					}
					for _, h := range contents(es[d]) {
						if !missing[h] {
							t.Fatalf("%s: record %d changed at %d: %d bytes shown at %d that were not sent", VersionText(k.version), i, at, len(h.data), h.off)
						}
						delete(missing, h)
					}
					for m := range missing {
						next := k.version == tls.VersionTLS10 && m.off > off // its IV is changed
						if d != p.dir || m.off != off && !next {
							t.Errorf("%s: record %d changed at %d: record at %d of direction %d is missing too", VersionText(k.version), i, at, m.off, d)
						}
					}
					if len(missing) > 2 {
						t.Errorf("%d are missing", len(missing))
					}
				}
			}
		}
	}
}

// TestWrongKeys never shows a byte for them, and finds the right one among
// them.
func TestWrongKeys(t *testing.T) {
	for _, k := range gapSuites {
		client, server := configs(t, k.version, k.suite)
		r := record(t, client, server)
		right := lookupIn(r.keys)
		wrong := func(label string, random *[32]byte) (out [][]byte) {
			for i, s := range right(label, random) {
				for n := range 3 {
					w := bytes.Clone(s)
					w[i] ^= byte(n + 1)
					out = append(out, w)
				}
			}
			return out
		}
		for _, tt := range []struct {
			name   string
			lookup Lookup
			want   Encryption
		}{
			{"wrong", wrong, WrongKey},
			{"none", func(string, *[32]byte) [][]byte { return nil }, NoKey},
			{"odd length", func(string, *[32]byte) [][]byte { return [][]byte{{1, 2, 3}, nil} }, NoKey},
			{"right after wrong", func(l string, random *[32]byte) [][]byte { return append(wrong(l, random), right(l, random)...) }, Decrypted},
		} {
			for _, o := range []order{asSent, clientFirst, serverFirst} {
				c := NewConn(tt.lookup, nil)
				es, errs := play(c, r.pieces, o, 1000)
				if s := c.Status(); s.Encryption != tt.want || (s.Note == "") != (tt.want == Decrypted) || errs != nil {
					t.Errorf("%s, %s: %+v, %v", VersionText(k.version), tt.name, s, errs)
				}
				for d := range es {
					if tt.want == Decrypted {
						if !bytes.Equal(plaintext(es[d]), r.sent[d]) {
							t.Errorf("%s, %s: %d bytes", VersionText(k.version), tt.name, len(plaintext(es[d])))
						}
						continue
					}
					for _, e := range es[d] {
						if e.Data != nil || e.Decrypted {
							t.Fatalf("%s, %s: %+v", VersionText(k.version), tt.name, e)
						}
					}
				}
			}
		}
	}
}

// TestBegun reads a connection of which the beginning is missing.
func TestBegun(t *testing.T) {
	client, server := configs(t, tls.VersionTLS13, 0)
	r := record(t, client, server)
	ps := records(t, r)
	c := NewConn(lookupIn(r.keys), nil)
	for _, p := range ps[len(ps)/2:] {
		c.Feed(p.dir, p.data)
		var es [2][]Event
		collect(c, &es)
		if n := len(es[0]) + len(es[1]); n != 1 {
			t.Errorf("%d events for a record", n)
		}
	}
	if s := c.Status(); s.Encryption != NoHandshake || s.Note != "the connection began before the capture, or its hellos are lost" {
		t.Errorf("%+v", s)
	}
	// One direction only.
	c = NewConn(lookupIn(r.keys), nil)
	var es [2][]Event
	for _, p := range ps {
		if p.dir == 1 {
			c.Feed(p.dir, p.data)
			collect(c, &es)
		}
	}
	if len(es[1]) > 3 {
		t.Errorf("%d events without a ClientHello", len(es[1]))
	}
	c.Finish(0)
	c.Finish(1)
	collect(c, &es)
	if s := c.Status(); s.Encryption != NoHandshake || s.Note != "the ClientHello was not seen" || s.Failed == 0 {
		t.Errorf("%+v", s)
	}
}

// TestHeld bounds what waits for the other direction.
func TestHeld(t *testing.T) {
	client, server := configs(t, tls.VersionTLS13, 0)
	r := record(t, client, server)
	s := r.streams()
	one := append(binary.BigEndian.AppendUint16([]byte{23, 3, 3}, 16000), make([]byte, 16000)...)
	for _, budget := range []*Shared{nil, {Max: 100 << 10}} {
		c := NewConn(lookupIn(r.keys), budget)
		var es [2][]Event
		most, fed := 0, 0
		for b := s[1]; fed < 3<<20; fed += len(b) {
			c.Feed(1, b)
			collect(c, &es)
			most = max(most, len(c.half[1].buf)-c.half[1].pos)
			b = one
		}
		limit := maxHeld + len(one)
		if budget != nil {
			limit = int(budget.Max) + len(s[1])
		}
		if most > limit || most < 60000 {
			t.Errorf("%d bytes were held, want at most %d", most, limit)
		}
		c.Finish(0)
		c.Finish(1)
		collect(c, &es)
		if budget != nil && budget.Used != 0 {
			t.Errorf("budget: %+v", budget)
		}
	}
}
