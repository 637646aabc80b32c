package tls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"strings"
	"testing"
)

// writer protects records, for what crypto/tls does not do.
type writer struct {
	t       testing.TB
	suite   *suite
	version uint16
	etm     bool
	aead    cipher.AEAD
	iv      []byte
	cbc     cipher.Block
	mac     hash.Hash
	seq     uint64
	secret  []byte
	pad     int // of TLS 1.3, in bytes; of CBC in blocks
}

// writers12 makes the writers of both sides from a master secret, as RFC 5246,
// 6.3 cuts the key block.
func writers12(t testing.TB, version uint16, s *suite, master, clientRandom, serverRandom []byte, etm bool) (ws [2]*writer) {
	ivLen := map[protection]int{protGCM: 4, protCCM: 4, protCCM8: 4, protChaCha: 12}[s.prot]
	if version == 0x0301 && s.prot == protAESCBC {
		ivLen = 16
	} else if version == 0x0301 && s.prot == prot3DES {
		ivLen = 8
	}
	block := prf12(version, s, master, "key expansion", slices.Concat(serverRandom, clientRandom), 2*(s.macLen+s.key+ivLen))
	m, k, iv := block[:2*s.macLen], block[2*s.macLen:2*(s.macLen+s.key)], block[2*(s.macLen+s.key):]
	for i := range ws {
		w := &writer{t: t, suite: s, version: version, etm: etm, iv: iv[i*ivLen : (i+1)*ivLen]}
		key := k[i*s.key : (i+1)*s.key]
		if s.mac != nil {
			w.mac = hmac.New(s.mac, m[i*s.macLen:(i+1)*s.macLen])
		}
		switch s.prot {
		case protAESCBC:
			w.cbc, _ = aes.NewCipher(key)
		case prot3DES:
			w.cbc, _ = des.NewTripleDESCipher(key)
		case protNone:
		default:
			w.aead = s.newAEAD(key)
		}
		ws[i] = w
	}
	return ws
}

func writer13(t testing.TB, s *suite, secret []byte) *writer {
	return &writer{t: t, suite: s, version: version13, secret: secret, iv: expandLabel(s.prf, secret, "iv", 12), aead: s.newAEAD(expandLabel(s.prf, secret, "key", s.key))}
}

// update goes on to the next traffic secret.
func (w *writer) update() *writer {
	return writer13(w.t, w.suite, expandLabel(w.suite.prf, w.secret, "traffic upd", len(w.secret)))
}

func head(typ uint8, version uint16, n int) []byte {
	return []byte{typ, byte(version >> 8), byte(version), byte(n >> 8), byte(n)}
}

func (w *writer) seal(typ uint8, plain []byte) []byte {
	seq := binary.BigEndian.AppendUint64(nil, w.seq)
	w.seq++
	sum := func(b []byte) []byte {
		w.mac.Reset()
		w.mac.Write(slices.Concat(seq, head(typ, w.version, len(b)), b))
		return w.mac.Sum(nil)
	}
	nonce := make([]byte, 12)
	copy(nonce, w.iv)
	switch {
	case w.version == version13:
		inner := slices.Concat(plain, []byte{typ}, make([]byte, w.pad))
		h := head(23, 0x0303, len(inner)+w.aead.Overhead())
		for i := range seq {
			nonce[4+i] ^= seq[i]
		}
		return w.aead.Seal(h, nonce, inner, h)
	case w.suite.prot == protNone:
		return slices.Concat(head(typ, w.version, len(plain)+w.suite.macLen), plain, sum(plain))
	case w.suite.prot == protChaCha:
		for i := range seq {
			nonce[4+i] ^= seq[i]
		}
		return w.aead.Seal(head(typ, w.version, len(plain)+16), nonce, plain, slices.Concat(seq, head(typ, w.version, len(plain))))
	case w.aead != nil:
		copy(nonce[4:], seq)
		out := append(head(typ, w.version, 8+len(plain)+w.aead.Overhead()), seq...)
		return w.aead.Seal(out, nonce, plain, slices.Concat(seq, head(typ, w.version, len(plain))))
	}
	size := w.cbc.BlockSize()
	b := bytes.Clone(plain)
	if !w.etm {
		b = append(b, sum(plain)...)
	}
	pad := size - 1 - len(b)%size + w.pad*size
	b = append(b, bytes.Repeat([]byte{byte(pad)}, pad+1)...)
	iv := w.iv
	var out []byte
	if w.version > 0x0301 {
		iv = []byte("an IV that is not zero")[:size]
		out = bytes.Clone(iv)
	}
	cipher.NewCBCEncrypter(w.cbc, iv).CryptBlocks(b, b)
	w.iv = bytes.Clone(b[len(b)-size:])
	out = append(out, b...)
	if w.etm {
		w.mac.Reset()
		w.mac.Write(slices.Concat(seq, head(typ, w.version, len(out)), out))
		out = w.mac.Sum(out)
	}
	return append(head(typ, w.version, len(out)), out...)
}

func message(typ uint8, body []byte) []byte {
	return slices.Concat([]byte{typ, 0, byte(len(body) >> 8), byte(len(body))}, body)
}

func clearRecord(version uint16, typ uint8, b []byte) []byte {
	return append(head(typ, version, len(b)), b...)
}

func extension(typ uint16, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, typ), uint16(len(b))), b...)
}

func random(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func clientHelloOf(version, suite uint16, random []byte, exts ...[]byte) []byte {
	e := slices.Concat(exts...)
	legacy := min(version, 0x0303)
	body := slices.Concat([]byte{byte(legacy >> 8), byte(legacy)}, random, []byte{0, 0, 2, byte(suite >> 8), byte(suite), 1, 0, byte(len(e) >> 8), byte(len(e))}, e)
	return message(1, body)
}

func serverHelloOf(version, suite uint16, random []byte, exts ...[]byte) []byte {
	e := slices.Concat(exts...)
	legacy := min(version, 0x0303)
	body := slices.Concat([]byte{byte(legacy >> 8), byte(legacy)}, random, []byte{0, byte(suite >> 8), byte(suite), 0, byte(len(e) >> 8), byte(len(e))}, e)
	return message(2, body)
}

var versions13 = extension(extSupportedVersions, []byte{2, 3, 4})
var version13Chosen = extension(extSupportedVersions, []byte{3, 4})

// keysFor is a Lookup of one connection.
func keysFor(random []byte, secrets map[string][]byte) Lookup {
	return func(label string, r *[32]byte) [][]byte {
		if s := secrets[label]; s != nil && bytes.Equal(r[:], random) {
			return [][]byte{s}
		}
		return nil
	}
}

// TestSuites12 reads the suites that crypto/tls does not have, and
// encrypt-then-MAC.
func TestSuites12(t *testing.T) {
	master := bytes.Repeat([]byte{7}, 48)
	finished := message(20, make([]byte, 12))
	for _, id := range []uint16{0x000a, 0x002f, 0x0035, 0x003c, 0x003d, 0xc028, 0xc09c, 0xc09d, 0xc0a0, 0xc0a1, 0xc0ad, 0x009d, 0x009c, 0xcca8, 0x0002, 0x003b} {
		s := suiteOf(id)
		for _, version := range []uint16{0x0301, 0x0302, 0x0303} {
			if version < 0x0303 && (s.aeadOnly() || s.macLen > 20) {
				continue
			}
			for _, etm := range []bool{false, true} {
				if etm && s.prot != protAESCBC && s.prot != prot3DES {
					continue
				}
				for _, gap := range []bool{false, true} {
					t.Run(fmt.Sprintf("%04x/%s/etm=%v/gap=%v", id, VersionText(version), etm, gap), func(t *testing.T) {
						ws := writers12(t, version, s, master, random(1), random(2), etm)
						var ext []byte
						if etm {
							ext = extension(extEncryptThenMAC, nil)
						}
						lookup := keysFor(random(1), map[string][]byte{"CLIENT_RANDOM": master})
						c := NewConn(lookup, nil)
						var es [2][]Event
						feed := func(dir int, b []byte) {
							c.Feed(dir, b)
							if errs := collect(c, &es); errs != nil {
								t.Fatal(errs)
							}
						}
						feed(0, clearRecord(version, 22, clientHelloOf(version, id, random(1), ext)))
						feed(1, clearRecord(version, 22, serverHelloOf(version, id, random(2), ext)))
						feed(1, clearRecord(version, 22, message(14, nil)))
						for dir, w := range ws {
							feed(dir, clearRecord(version, 20, []byte{1}))
							feed(dir, w.seal(22, finished))
						}
						var want [2]string
						for i, size := range []int{0, 1, 15, 16, 17, 1000, 16384, 5, 40} {
							for dir, w := range ws {
								w.pad = i % 3
								p := bytes.Repeat([]byte{byte('a' + i)}, size)
								r := w.seal(23, p)
								switch {
								case gap && i == 4 && s.prot != protNone:
									c.Lost(dir, int64(len(r)))
									continue
								case gap && i == 5 && version == 0x0301 && s.prot != protNone:
									// The IV was lost with the record before.
								default:
									want[dir] += string(p)
								}
								feed(dir, r)
							}
						}
						for dir, w := range ws {
							feed(dir, w.seal(21, []byte{1, 0}))
							c.Finish(dir)
						}
						collect(c, &es)
						for dir := range es {
							if string(plaintext(es[dir])) != want[dir] {
								t.Errorf("direction %d: %d bytes, want %d", dir, len(plaintext(es[dir])), len(want[dir]))
							}
							if last := es[dir][len(es[dir])-1]; last.Alert.Level != 1 {
								t.Errorf("%+v", last)
							}
						}
						status := Decrypted
						if s.prot == protNone {
							status = EncryptionNone
						} else if gap {
							status = Partly
						}
						if st := c.Status(); st.Encryption != status || gap && s.prot != protNone && st.LostRecords != 2 {
							t.Errorf("%+v", st)
						}
					})
				}
			}
		}
	}
}

func (s *suite) aeadOnly() bool { return s.mac == nil }

// made13 is a TLS 1.3 connection up to the end of its handshake.
type made13 struct {
	t       *testing.T
	c       *Conn
	es      [2][]Event
	ws      [2]*writer
	secrets map[string][]byte
}

func start13(t *testing.T, id uint16, without ...string) *made13 {
	s := suiteOf(id)
	n := s.prf().Size()
	m := &made13{t: t, secrets: map[string][]byte{}}
	for i, l := range []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} {
		m.secrets[l] = bytes.Repeat([]byte{byte(i + 1)}, n)
	}
	hs := [2]*writer{writer13(t, s, m.secrets["CLIENT_HANDSHAKE_TRAFFIC_SECRET"]), writer13(t, s, m.secrets["SERVER_HANDSHAKE_TRAFFIC_SECRET"])}
	m.ws = [2]*writer{writer13(t, s, m.secrets["CLIENT_TRAFFIC_SECRET_0"]), writer13(t, s, m.secrets["SERVER_TRAFFIC_SECRET_0"])}
	for _, l := range without {
		delete(m.secrets, l)
	}
	m.c = NewConn(keysFor(random(1), m.secrets), nil)
	m.feed(0, clearRecord(0x0301, 22, clientHelloOf(version13, id, random(1), versions13)))
	m.feed(1, clearRecord(0x0303, 22, serverHelloOf(version13, id, random(2), version13Chosen)))
	flight := slices.Concat(message(8, []byte{0, 9, 0, 16, 0, 5, 0, 3, 2, 'h', '2'}), message(20, make([]byte, n)))
	// The flight in three records, of which one is padded.
	m.feed(1, hs[1].seal(22, flight[:3]))
	hs[1].pad = 100
	m.feed(1, hs[1].seal(22, flight[3:20]))
	m.feed(1, hs[1].seal(22, flight[20:]))
	m.feed(0, hs[0].seal(22, message(20, make([]byte, n))))
	return m
}

func (m *made13) feed(dir int, b []byte) {
	m.t.Helper()
	m.c.Feed(dir, b)
	if errs := collect(m.c, &m.es); errs != nil {
		m.t.Fatal(errs)
	}
}

func (m *made13) end() Status {
	m.c.Finish(0)
	m.c.Finish(1)
	collect(m.c, &m.es)
	return m.c.Status()
}

func TestSuites13(t *testing.T) {
	for _, id := range []uint16{0x1301, 0x1302, 0x1303, 0x1304, 0x1305} {
		m := start13(t, id)
		for dir := range m.ws {
			m.ws[dir].pad = 7
			m.feed(dir, m.ws[dir].seal(23, []byte("one")))
			m.feed(dir, m.ws[dir].seal(23, nil))
			m.feed(dir, m.ws[dir].seal(23, []byte("two\x00\x00")))
			// KeyUpdate, RFC 8446, 4.6.3; twice.
			for range 2 {
				m.feed(dir, m.ws[dir].seal(22, message(24, []byte{byte(dir)})))
				m.ws[dir] = m.ws[dir].update()
				m.feed(dir, m.ws[dir].seal(23, []byte("new")))
			}
		}
		s := m.end()
		if s.Encryption != Decrypted || s.ALPN != "h2" || s.Failed != 0 || s.Opened != 4+2*7 {
			t.Errorf("%04x: %+v", id, s)
		}
		for dir := range m.es {
			if got := string(plaintext(m.es[dir])); got != "onetwo\x00\x00newnew" {
				t.Errorf("%04x: %q", id, got)
			}
			if got := story(m.es[dir]); strings.Count(got, "+KeyUpdate") != 2 || strings.Count(got, "+Finished") != 1 {
				t.Errorf("%04x: %s", id, got)
			}
		}
	}
}

// TestGap13 loses what changes the keys, and more than can be counted.
func TestGap13(t *testing.T) {
	data := func(m *made13, want ...string) {
		t.Helper()
		var have []string
		for _, e := range m.es[1] {
			if e.Data != nil {
				have = append(have, string(e.Data))
			}
		}
		if !slices.Equal(have, want) {
			t.Errorf("have %q, want %q, %+v", have, want, m.c.Status())
		}
	}
	t.Run("KeyUpdate", func(t *testing.T) {
		m := start13(t, 0x1301)
		m.feed(1, m.ws[1].seal(23, []byte("before")))
		lost := slices.Concat(m.ws[1].seal(23, []byte("x")), m.ws[1].seal(22, message(24, []byte{0})))
		m.ws[1] = m.ws[1].update()
		lost = append(lost, m.ws[1].seal(23, []byte("y"))...)
		m.c.Lost(1, int64(len(lost)))
		// Nothing follows yet, and still it is read at once.
		m.feed(1, m.ws[1].seal(23, []byte("after")))
		data(m, "before", "after")
		m.feed(1, m.ws[1].seal(23, []byte("next")))
		data(m, "before", "after", "next")
	})
	for _, n := range []int{1, 1000, 60000} {
		t.Run(fmt.Sprint(n, " records"), func(t *testing.T) {
			m := start13(t, 0x1303)
			size := 0
			for range n {
				size += len(m.ws[1].seal(23, []byte("small")))
			}
			m.c.Lost(1, int64(size))
			m.feed(1, m.ws[1].seal(23, []byte("after")))
			data(m, "after")
			if s := m.end(); s.LostRecords != int64(n) || s.LostBytes != int64(size) || s.Encryption != Partly || !strings.Contains(s.Note, fmt.Sprintf("%d record", n)) {
				t.Errorf("%+v", s)
			}
		})
	}
	t.Run("large records", func(t *testing.T) {
		m := start13(t, 0x1301)
		big := make([]byte, 1<<14)
		n := 100000
		size := n * len(m.ws[1].seal(23, big))
		m.ws[1].seq = uint64(n)
		m.c.Lost(1, int64(size))
		m.feed(1, m.ws[1].seal(23, []byte("after")))
		data(m, "after")
	})
	t.Run("unknown length", func(t *testing.T) {
		m := start13(t, 0x1301)
		m.ws[1].seq = 1000
		m.c.Lost(1, 0)
		m.feed(1, m.ws[1].seal(23, []byte("after")))
		data(m, "after")
	})
	t.Run("two gaps around one record", func(t *testing.T) {
		m := start13(t, 0x1301)
		m.c.Lost(1, int64(len(m.ws[1].seal(23, []byte("x")))))
		m.feed(1, m.ws[1].seal(23, []byte("island")))
		m.c.Lost(1, int64(len(m.ws[1].seal(23, []byte("y")))))
		m.feed(1, m.ws[1].seal(23, []byte("after")))
		data(m, "island", "after")
	})
	t.Run("noise with headers in it", func(t *testing.T) {
		m := start13(t, 0x1301)
		lost := m.ws[1].seal(23, bytes.Repeat([]byte{23, 3, 3, 0, 20}, 100))
		m.c.Lost(1, 10)
		m.feed(1, lost[10:])
		m.feed(1, m.ws[1].seal(23, []byte("after")))
		data(m, "after")
	})
}

// TestSecretsMissing opens what the secrets that are there allow.
func TestSecretsMissing(t *testing.T) {
	for _, tt := range []struct {
		without []string
		want    [2]string
		status  Encryption
	}{
		{nil, [2]string{"c", "s"}, Decrypted},
		{[]string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"}, [2]string{"c", "s"}, Partly},
		{[]string{"CLIENT_TRAFFIC_SECRET_0"}, [2]string{"", "s"}, Partly},
		{[]string{"SERVER_TRAFFIC_SECRET_0", "SERVER_HANDSHAKE_TRAFFIC_SECRET"}, [2]string{"c", ""}, Partly},
	} {
		m := start13(t, 0x1301, tt.without...)
		m.feed(0, m.ws[0].seal(23, []byte("c")))
		m.feed(1, m.ws[1].seal(23, []byte("s")))
		s := m.end()
		for dir := range m.es {
			if got := string(plaintext(m.es[dir])); got != tt.want[dir] {
				t.Errorf("without %v: %q", tt.without, got)
			}
		}
		if s.Encryption != tt.status || (s.Note == "") != (tt.status == Decrypted) {
			t.Errorf("without %v: %+v", tt.without, s)
		}
	}
}

// TestEarlyData reads 0-RTT data, and passes over it without its secret.
func TestEarlyData(t *testing.T) {
	secrets := map[string][]byte{}
	ws := map[string]*writer{}
	for i, l := range []string{"CLIENT_EARLY_TRAFFIC_SECRET", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} {
		secrets[l] = random(byte(i + 1))
		ws[l] = writer13(t, &chaCha, secrets[l])
	}
	early, hs, app := ws["CLIENT_EARLY_TRAFFIC_SECRET"], ws["CLIENT_HANDSHAKE_TRAFFIC_SECRET"], ws["CLIENT_TRAFFIC_SECRET_0"]
	client := [][]byte{
		clearRecord(0x0301, 22, clientHelloOf(version13, 0x1303, random(1), versions13, extension(extEarlyData, nil))),
		clearRecord(0x0303, 20, []byte{1}),
		early.seal(23, []byte("early ")), early.seal(23, []byte("data ")), early.seal(22, message(5, nil)),
		hs.seal(22, message(20, make([]byte, 32))), app.seal(23, []byte("late")),
	}
	shs := ws["SERVER_HANDSHAKE_TRAFFIC_SECRET"]
	server := [][]byte{
		clearRecord(0x0303, 22, serverHelloOf(version13, 0x1303, random(2), version13Chosen, extension(extPreSharedKey, []byte{0, 0}))),
		shs.seal(22, slices.Concat(message(8, []byte{0, 4, 0, 42, 0, 0}), message(20, make([]byte, 32)))),
		ws["SERVER_TRAFFIC_SECRET_0"].seal(23, []byte("answer")),
	}
	for _, have := range []bool{true, false} {
		for _, o := range []order{clientFirst, serverFirst} {
			if !have {
				delete(secrets, "CLIENT_EARLY_TRAFFIC_SECRET")
			}
			c := NewConn(keysFor(random(1), secrets), nil)
			var ps []piece
			for i, side := range [][][]byte{client, server} {
				for _, b := range side {
					ps = append(ps, piece{i, b})
				}
			}
			es, errs := play(c, ps, o, 100)
			want, status := "early data late", Decrypted
			if !have {
				want, status = "late", Partly
			}
			s := c.Status()
			if got := string(plaintext(es[0])); got != want || string(plaintext(es[1])) != "answer" || errs != nil {
				t.Errorf("%q, %v, %+v", got, errs, s)
			}
			if s.Encryption != status || !s.EarlyData || !s.Resumed || !have && !strings.Contains(s.Note, "3 records not opened: there is no secret for the 0-RTT data") {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestRenegotiation reads on after a second handshake within the first one's
// protection, RFC 5246, 7.4.1.1.
func TestRenegotiation(t *testing.T) {
	masters := [][]byte{bytes.Repeat([]byte{7}, 48), bytes.Repeat([]byte{8}, 48)}
	lookup := func(label string, r *[32]byte) [][]byte {
		switch {
		case label != "CLIENT_RANDOM":
		case r[0] == 1:
			return masters[:1]
		case r[0] == 3:
			return masters[1:]
		}
		return nil
	}
	for _, id := range []uint16{0x009c, 0x002f} {
		for _, o := range []order{asSent, clientFirst, serverFirst} {
			s := suiteOf(id)
			one := writers12(t, 0x0303, s, masters[0], random(1), random(2), false)
			two := writers12(t, 0x0303, s, masters[1], random(3), random(4), false)
			fin := message(20, make([]byte, 12))
			ps := []piece{
				{0, clearRecord(0x0303, 22, clientHelloOf(0x0303, id, random(1)))},
				{1, clearRecord(0x0303, 22, serverHelloOf(0x0303, id, random(2)))},
				{1, clearRecord(0x0303, 22, message(14, nil))},
				{0, clearRecord(0x0303, 20, []byte{1})}, {0, one[0].seal(22, fin)},
				{1, clearRecord(0x0303, 20, []byte{1})}, {1, one[1].seal(22, fin)},
				{0, one[0].seal(23, []byte("a"))}, {1, one[1].seal(23, []byte("b"))},
				{1, one[1].seal(22, message(0, nil))},
				{0, one[0].seal(22, clientHelloOf(0x0303, id, random(3)))},
				{1, one[1].seal(22, serverHelloOf(0x0303, id, random(4)))},
				{1, one[1].seal(22, message(14, nil))},
				{0, one[0].seal(20, []byte{1})}, {0, two[0].seal(22, fin)},
				{1, one[1].seal(20, []byte{1})}, {1, two[1].seal(22, fin)},
				{0, two[0].seal(23, []byte("c"))}, {1, two[1].seal(23, []byte("d"))},
			}
			c := NewConn(lookup, nil)
			es, errs := play(c, ps, o, 64)
			if string(plaintext(es[0])) != "ac" || string(plaintext(es[1])) != "bd" || errs != nil || c.Status().Encryption != Decrypted {
				t.Errorf("%04x, %d: %s; %s; %v; %+v", id, o, story(es[0]), story(es[1]), errs, c.Status())
			}
		}
	}
}

// TestPreMaster derives the master secret from the "RSA" line of a key log, RFC
// 5246, 8.1.
func TestPreMaster(t *testing.T) {
	pre := append([]byte{3, 3}, bytes.Repeat([]byte{9}, 46)...)
	master := prf12(0x0303, &aes128GCM, pre, "master secret", slices.Concat(random(1), random(2)), 48)
	encrypted := bytes.Repeat([]byte{0xab}, 256)
	var name [32]byte
	copy(name[:8], encrypted)
	lookup := keysFor(name[:], map[string][]byte{"RSA": pre})
	for _, o := range []order{asSent, clientFirst, serverFirst} {
		ws := writers12(t, 0x0303, &aes128GCM, master, random(1), random(2), false)
		ps := []piece{
			{0, clearRecord(0x0303, 22, clientHelloOf(0x0303, 0x009c, random(1)))},
			{1, clearRecord(0x0303, 22, serverHelloOf(0x0303, 0x009c, random(2)))},
			{1, clearRecord(0x0303, 22, message(14, nil))},
			{0, clearRecord(0x0303, 22, message(16, append([]byte{1, 0}, encrypted...)))},
			{0, clearRecord(0x0303, 20, []byte{1})}, {0, ws[0].seal(22, message(20, make([]byte, 12)))},
			{1, clearRecord(0x0303, 20, []byte{1})}, {1, ws[1].seal(22, message(20, make([]byte, 12)))},
			{1, ws[1].seal(23, []byte("data"))},
		}
		c := NewConn(lookup, nil)
		es, errs := play(c, ps, o, 1000)
		if string(plaintext(es[1])) != "data" || errs != nil || c.Status().Encryption != Decrypted {
			t.Errorf("%d: %s; %v; %+v", o, story(es[1]), errs, c.Status())
		}
	}
}

// TestUnsupported says what is not read.
func TestUnsupported(t *testing.T) {
	for _, tt := range []struct {
		version, suite uint16
		note           string
	}{
		{0x0303, 0x0005, "cipher suite TLS_RSA_WITH_RC4_128_SHA is not read here"},
		{0x0300, 0x002f, "SSLv3 is not read here"},
		{0x0303, 0x1301, "the cipher suite does not belong to the version"},
	} {
		c := NewConn(keysFor(random(1), map[string][]byte{"CLIENT_RANDOM": make([]byte, 48)}), nil)
		es, _ := play(c, []piece{
			{0, clearRecord(0x0303, 22, clientHelloOf(tt.version, tt.suite, random(1)))},
			{1, clearRecord(0x0303, 22, serverHelloOf(tt.version, tt.suite, random(2)))},
			{1, clearRecord(0x0303, 20, []byte{1})}, {1, clearRecord(0x0303, 22, make([]byte, 64))}, {1, clearRecord(0x0303, 23, make([]byte, 64))},
		}, asSent, 1000)
		if s := c.Status(); s.Encryption != UnsupportedCipher || s.Note != tt.note || story(es[1]) != "ServerHello ChangeCipherSpec -EncryptedHandshake -ApplicationData" {
			t.Errorf("%s: %+v", story(es[1]), s)
		}
	}
	// Nothing encrypted: a handshake that failed.
	c := NewConn(keysFor(nil, nil), nil)
	play(c, []piece{{0, clearRecord(0x0303, 22, clientHelloOf(0x0303, 0x009c, random(1)))}, {1, clearRecord(0x0303, 21, []byte{2, 40})}}, asSent, 1000)
	if s := c.Status(); s.Encryption != EncryptionNone || s.Note != "no encrypted record was seen" {
		t.Errorf("%+v", s)
	}
}

// TestCCM has example 3 of NIST SP 800-38C, whose nonce is as long as that of
// TLS.
func TestCCM(t *testing.T) {
	block, err := aes.NewCipher(unhex(t, "404142434445464748494a4b4c4d4e4f"))
	if err != nil {
		t.Fatal(err)
	}
	nonce, aad := unhex(t, "101112131415161718191a1b"), unhex(t, "000102030405060708090a0b0c0d0e0f10111213")
	plain := unhex(t, "202122232425262728292a2b2c2d2e2f3031323334353637")
	want := "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951"
	c := &ccm{block: block, tag: 8}
	sealed := c.Seal(nil, nonce, plain, aad)
	if got := fmt.Sprintf("%x", sealed); got != want {
		t.Errorf("sealed: %s\nwant %s", got, want)
	}
	if got, err := c.Open(nil, nonce, unhex(t, want), aad); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened: %x, %v", got, err)
	}
	for i := range sealed {
		sealed[i] ^= 1
		if got, err := c.Open(nil, nonce, sealed, aad); err == nil || got != nil {
			t.Errorf("changed at %d: %x", i, got)
		}
		sealed[i] ^= 1
	}
}

// TestCorners has what no recording shows.
func TestCorners(t *testing.T) {
	t.Run("the caller changes events", func(t *testing.T) {
		for _, id := range []uint16{0x1301, 0x009c} {
			ps, lookup, _ := sealed(t, id)
			c := NewConn(lookup, nil)
			for _, p := range ps {
				c.Feed(p.dir, p.data)
				for {
					var e Event
					_, ok, err := c.Next(&e)
					if err != nil {
						t.Fatal(err)
					}
					if !ok {
						break
					}
					if e.ClientHello != nil {
						*e.ClientHello = ClientHello{}
					}
					if e.ServerHello != nil {
						*e.ServerHello = ServerHello{}
					}
				}
			}
			if s := c.Status(); s.Encryption != Decrypted {
				t.Errorf("%04x: %+v", id, s)
			}
		}
	})
	t.Run("a lost ServerHello keeps nobody waiting", func(t *testing.T) {
		ps, lookup, _ := sealed(t, 0x1303)
		c := NewConn(lookup, nil)
		var es [2][]Event
		for i, p := range ps {
			if i == 1 {
				c.Lost(p.dir, int64(len(p.data)))
			} else {
				c.Feed(p.dir, p.data)
			}
			collect(c, &es)
		}
		for dir := range es {
			if len(contents(es[dir])) != 6 {
				t.Errorf("direction %d: %s", dir, story(es[dir]))
			}
		}
	})
	t.Run("the beginning of a message is lost", func(t *testing.T) {
		s := &aes128GCM
		secrets := map[string][]byte{"SERVER_HANDSHAKE_TRAFFIC_SECRET": random(5), "SERVER_TRAFFIC_SECRET_0": random(6)}
		hs, app := writer13(t, s, random(5)), writer13(t, s, random(6))
		flight := slices.Concat(message(8, []byte{0, 9, 0, 16, 0, 5, 0, 3, 2, 'h', '2'}), message(20, make([]byte, 32)))
		c := NewConn(keysFor(random(1), secrets), nil)
		var es [2][]Event
		c.Feed(0, clearRecord(0x0301, 22, clientHelloOf(version13, 0x1301, random(1), versions13)))
		c.Feed(1, clearRecord(0x0303, 22, serverHelloOf(version13, 0x1301, random(2), version13Chosen)))
		collect(c, &es)
		c.Lost(1, int64(len(hs.seal(22, flight[:5]))))
		c.Feed(1, slices.Concat(hs.seal(22, flight[5:20]), hs.seal(22, flight[20:]), app.seal(23, []byte("data"))))
		collect(c, &es)
		if got := story(es[1]); got != "ServerHello +EncryptedHandshake(cut) +EncryptedHandshake(cut) +64617461" {
			t.Error(got)
		}
	})
	t.Run("a gap before the null cipher", func(t *testing.T) {
		c := NewConn(keysFor(nil, nil), nil)
		var es [2][]Event
		c.Feed(0, clearRecord(0x0303, 22, clientHelloOf(0x0303, 0x003b, random(1))))
		c.Feed(1, clearRecord(0x0303, 22, serverHelloOf(0x0303, 0x003b, random(2))))
		collect(c, &es)
		c.Lost(1, 100)
		w := writers12(t, 0x0303, &nullSHA256, nil, random(1), random(2), false)[1]
		c.Feed(1, slices.Concat(clearRecord(0x0303, 22, message(12, make([]byte, 60))), clearRecord(0x0303, 22, message(14, nil)), clearRecord(0x0303, 20, []byte{1}), w.seal(22, message(20, make([]byte, 12))), w.seal(23, []byte("data"))))
		collect(c, &es)
		if got := story(es[1]); got != "ServerHello ServerKeyExchange ServerHelloDone ChangeCipherSpec Finished 64617461" {
			t.Error(got)
		}
	})
	t.Run("trials are bounded", func(t *testing.T) {
		m := start13(t, 0x1301)
		m.c.Lost(1, 0)
		for range 200 {
			m.feed(1, clearRecord(0x0303, 23, make([]byte, 1<<14)))
		}
		if m.c.trials < -1<<20 {
			t.Errorf("%d bytes more than allowed", -m.c.trials)
		}
		if s := m.c.Status(); s.Failed != 200 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("HelloRetryRequest refuses 0-RTT", func(t *testing.T) {
		secrets := map[string][]byte{}
		for i, l := range []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"} {
			secrets[l] = random(byte(i + 4))
		}
		early, hs, app := writer13(t, &aes128GCM, random(9)), writer13(t, &aes128GCM, random(4)), writer13(t, &aes128GCM, random(6))
		ps := []piece{
			{0, clearRecord(0x0301, 22, clientHelloOf(version13, 0x1301, random(1), versions13, extension(extEarlyData, nil)))},
			{0, early.seal(23, []byte("refused"))},
			{1, clearRecord(0x0303, 22, serverHelloOf(version13, 0x1301, retryRandom[:], version13Chosen))},
			{0, clearRecord(0x0303, 22, clientHelloOf(version13, 0x1301, random(1), versions13))},
			{1, clearRecord(0x0303, 22, serverHelloOf(version13, 0x1301, random(2), version13Chosen))},
			{0, hs.seal(22, message(20, make([]byte, 32)))}, {0, app.seal(23, []byte("data"))},
		}
		for _, o := range []order{asSent, clientFirst, serverFirst} {
			c := NewConn(keysFor(random(1), secrets), nil)
			es, _ := play(c, ps, o, 1000)
			if got := story(es[0]); got != "ClientHello -ApplicationData ClientHello +Finished +64617461" {
				t.Errorf("%d: %s", o, got)
			}
			if s := c.Status(); s.Encryption != Partly || s.Failed != 1 || !strings.Contains(s.Note, "0-RTT") || len(c.pairs) != 1 {
				t.Errorf("%d: %+v", o, s)
			}
		}
	})
}
