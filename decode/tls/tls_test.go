package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twtrace/twtrace/internal/wire"
)

// tape is a connection that plays bytes and records what is written.
type tape struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (t *tape) Read(b []byte) (int, error)       { return t.in.Read(b) }
func (t *tape) Write(b []byte) (int, error)      { return t.out.Write(b) }
func (t *tape) Close() error                     { return nil }
func (t *tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { return nil }
func (t *tape) SetWriteDeadline(time.Time) error { return nil }

// clientFlight is what Go's TLS client sends first.
func clientFlight(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	c := &tape{in: bytes.NewReader(nil)}
	if err := tls.Client(c, cfg).Handshake(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return c.out.Bytes()
}

// serverFlight is what Go's TLS server answers.
func serverFlight(t testing.TB, cfg *tls.Config, flight []byte) []byte {
	t.Helper()
	c := &tape{in: bytes.NewReader(flight)}
	if err := tls.Server(c, cfg).Handshake(); err == nil {
		t.Fatal("handshake is complete")
	}
	return c.out.Bytes()
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "voice.example.com"},
		DNSNames: []string{"Voice.example.com", "*.example.net"}, IPAddresses: []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, der}, PrivateKey: key}
}

// all gives all events and errors of a stream that is fed in pieces.
func all(p *Parser, stream []byte, size int) (es []Event, errs []error) {
	for len(stream) > 0 {
		n := min(size, len(stream))
		p.Feed(stream[:n])
		stream = stream[n:]
		more, failed := drain(p)
		es, errs = append(es, more...), append(errs, failed...)
	}
	return es, errs
}

func drain(p *Parser) (es []Event, errs []error) {
	for {
		var e Event
		ok, err := p.Next(&e)
		switch {
		case err != nil:
			errs = append(errs, err)
		case ok:
			es = append(es, e)
		default:
			return es, errs
		}
	}
}

func kinds(es []Event) string {
	var s []string
	for _, e := range es {
		k := e.Kind.String()
		if e.Kind == KindHandshake {
			k = HandshakeText(e.HandshakeType)
		}
		if e.Truncated {
			k += "(cut)"
		}
		s = append(s, k)
	}
	return strings.Join(s, " ")
}

var clientConfig = tls.Config{ServerName: "Chunderw.example.com", NextProtos: []string{"h2", "http/1.1"}, InsecureSkipVerify: true}

func TestTLS12(t *testing.T) {
	cfg := clientConfig.Clone()
	cfg.MaxVersion = tls.VersionTLS12
	hello := clientFlight(t, cfg)
	answer := serverFlight(t, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"http/1.1"}}, hello)
	for _, size := range []int{1 << 20, 1, 7, 100} {
		var p Parser
		es, errs := all(&p, hello, size)
		if kinds(es) != "ClientHello" || len(errs) != 0 || es[0].Err != nil {
			t.Fatalf("%s, %v", kinds(es), errs)
		}
		h := es[0].ClientHello
		if h.SNI != "chunderw.example.com" || !slices.Equal(h.ALPN, []string{"h2", "http/1.1"}) || h.Version != tls.VersionTLS12 || h.MaxVersion() != tls.VersionTLS12 ||
			!slices.Contains(h.CipherSuites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) || h.PSK || h.EarlyData || h.ECH || len(h.KeyShares) != 0 {
			t.Errorf("%+v", h)
		}
		if es[0].Off != 0 || es[0].End != int64(len(hello)) || es[0].Len != len(hello)-9 || !bytes.Equal(h.Random[:], hello[11:43]) {
			t.Errorf("%+v", es[0])
		}
		p = Parser{}
		es, errs = all(&p, answer, size)
		if kinds(es) != "ServerHello Certificate ServerKeyExchange ServerHelloDone" || len(errs) != 0 {
			t.Fatalf("%s, %v", kinds(es), errs)
		}
		s := es[0].ServerHello
		if s.Version != tls.VersionTLS12 || s.ALPN != "http/1.1" || s.HelloRetryRequest || !strings.HasPrefix(CipherText(s.CipherSuite), "TLS_ECDHE_ECDSA_") {
			t.Errorf("%+v", s)
		}
		c := es[1].Certificate
		if c.Chain != 2 || c.CommonName != "voice.example.com" || !slices.Equal(c.DNSNames, []string{"voice.example.com", "*.example.net"}) || c.Problem != "" ||
			!slices.Equal(c.IPs, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}) {
			t.Errorf("%+v", c)
		}
	}
}

func TestTLS13(t *testing.T) {
	hello := clientFlight(t, &clientConfig)
	server := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2"}}
	var p Parser
	es, errs := all(&p, hello, 13)
	if kinds(es) != "ClientHello" || len(errs) != 0 {
		t.Fatalf("%s, %v", kinds(es), errs)
	}
	h := es[0].ClientHello
	if h.Version != tls.VersionTLS12 || h.MaxVersion() != tls.VersionTLS13 || !slices.Contains(h.KeyShares, uint16(tls.X25519)) {
		t.Errorf("%+v", h)
	}
	p = Parser{}
	es, errs = all(&p, serverFlight(t, server, hello), 13)
	// Certificate and all else is in records of type application data.
	if k := kinds(es); !strings.HasPrefix(k, "ServerHello ChangeCipherSpec ApplicationData") || strings.Contains(k, "Certificate") || len(errs) != 0 {
		t.Fatalf("%s, %v", k, errs)
	}
	if s := es[0].ServerHello; s.Version != tls.VersionTLS13 || s.ALPN != "" || s.HelloRetryRequest || s.KeyShare == 0 || !bytes.Equal(s.SessionID, h.SessionID) ||
		!strings.HasPrefix(CipherText(s.CipherSuite), "TLS_") {
		t.Errorf("%+v", s)
	}
	server.CurvePreferences = []tls.CurveID{tls.CurveP384}
	p = Parser{}
	retry := serverFlight(t, server, hello)
	es, errs = all(&p, retry, 13)
	if k := kinds(es); k != "ServerHello ChangeCipherSpec" || len(errs) != 0 {
		t.Fatalf("%s, %v", k, errs)
	}
	if s := es[0].ServerHello; !s.HelloRetryRequest || s.KeyShare != uint16(tls.CurveP384) || s.Version != tls.VersionTLS13 {
		t.Errorf("%+v", s)
	}
	// The second hello comes after a ChangeCipherSpec and is in the clear.
	c := &tape{in: bytes.NewReader(retry)}
	if err := tls.Client(c, &clientConfig).Handshake(); err == nil {
		t.Fatal("handshake is complete")
	}
	p = Parser{}
	es, _ = all(&p, c.out.Bytes(), 13)
	if k := kinds(es); k != "ClientHello ChangeCipherSpec ClientHello" && k != "ClientHello Alert" {
		t.Errorf("second flight: %s", k)
	}
	p = Parser{}
	es, errs = all(&p, slices.Concat(hello, unhex(t, "140303000101"), hello, unhex(t, "1703030003 010203")), 13)
	if k := kinds(es); k != "ClientHello ChangeCipherSpec ClientHello ApplicationData" || len(errs) != 0 {
		t.Errorf("hello again: %s, %v", k, errs)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStreams(t *testing.T) {
	hello := clientFlight(t, &clientConfig)
	// The same handshake message in records of five bytes each.
	var small []byte
	for i := 5; i < len(hello); i += 5 {
		part := hello[i:min(i+5, len(hello))]
		small = append(append(small, 22, 3, 1, 0, byte(len(part))), part...)
	}
	done := "0e000000" // ServerHelloDone
	tests := []struct {
		name   string
		stream []byte
		want   string
		errs   int
		check  func([]Event) bool
	}{
		{"message over many records", small, "ClientHello", 0,
			func(es []Event) bool {
				return es[0].End == int64(len(small)) && es[0].Off == 0 && es[0].ClientHello.SNI == "chunderw.example.com"
			}},
		{"two messages in a record", unhex(t, "1603030008"+done+done), "ServerHelloDone ServerHelloDone", 0,
			func(es []Event) bool { return es[0].Off == 0 && es[1].Off == 0 && es[1].End == 13 }},
		{"message that begins in the record before", unhex(t, "1603030006"+done+"0e00"+"1603030002 0000"), "ServerHelloDone ServerHelloDone", 0,
			func(es []Event) bool { return es[0].End == 11 && es[1].Off == 0 && es[1].End == 18 }},
		{"alerts", unhex(t, "15030300020100 15030300020228 1503030013"+strings.Repeat("aa", 19)), "Alert Alert Alert", 0,
			func(es []Event) bool {
				return es[0].Alert.String() == "warning close_notify" && es[1].Alert.String() == "fatal handshake_failure" && es[2].Alert.String() == "encrypted alert"
			}},
		{"encrypted after the change", unhex(t, "140303000101 1603030028"+strings.Repeat("00", 40)), "ChangeCipherSpec EncryptedHandshake", 0,
			func(es []Event) bool { return es[1].Len == 40 }},
		{"application data and heartbeat", unhex(t, "1703030000 1703030002aabb 1803030003010000"), "ApplicationData ApplicationData Heartbeat", 0,
			func(es []Event) bool { return es[0].Len == 0 && es[1].Len == 2 && es[1].Off == 5 && es[1].End == 12 }},
		{"message broken off by an alert", unhex(t, "1603030002 0e00 15030300020228"), "Alert", 1,
			func(es []Event) bool { return es[0].Off == 7 && es[0].Alert.Description == 40 }},
		{"message too long", unhex(t, "1603030004 0bffffff 15030300020228"), "Alert", 1, func(es []Event) bool { return true }},
		{"begins in the middle", unhex(t, "00112233445566 1703030002aabb 1703030001aa 1703030001aa"), "ApplicationData ApplicationData ApplicationData", 1,
			func(es []Event) bool { return es[0].Off == 7 }},
		{"a hello that is none", unhex(t, "1603030008 01000004 03030102"), "ClientHello", 0,
			func(es []Event) bool { return es[0].Err != nil && es[0].ClientHello.Version == 0x303 }},
		{"certificate that is none", unhex(t, "160303000c 0b000008 000005 000002 abcd"), "Certificate", 0,
			func(es []Event) bool {
				return es[0].Err == nil && es[0].Certificate.Chain == 1 && es[0].Certificate.Problem != ""
			}},
	}
	for _, tt := range tests {
		for _, size := range []int{len(tt.stream), 1, 2, 3, 7} {
			t.Run(fmt.Sprintf("%s/size=%d", tt.name, size), func(t *testing.T) {
				var p Parser
				es, errs := all(&p, tt.stream, size)
				if kinds(es) != tt.want || len(errs) != tt.errs {
					t.Fatalf("have %s, errors %v\nwant %s", kinds(es), errs, tt.want)
				}
				if !tt.check(es) {
					t.Errorf("%+v", es)
				}
				for _, err := range errs {
					var we *wire.Error
					if !errors.As(err, &we) || we.Off < 0 || we.Off > int64(len(tt.stream)) {
						t.Errorf("error is %v", err)
					}
				}
				if p.Offset() != int64(len(tt.stream)) {
					t.Errorf("read up to %d of %d", p.Offset(), len(tt.stream))
				}
			})
		}
	}
}

func TestLost(t *testing.T) {
	app := func(n int) []byte {
		return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xee}, n)...)
	}
	tests := []struct {
		name   string
		before []byte
		n      int64
		after  []byte
		want   string
		last   int64 // offset of the last event
	}{
		{"within a record, then another", app(100)[:50], 10, append(bytes.Repeat([]byte{0xee}, 45), app(3)...), "ApplicationData(cut) ApplicationData", 105},
		{"twice within a record", app(100)[:50], 10, bytes.Repeat([]byte{0xee}, 10), "", 0},
		{"to the end of a record", app(100)[:50], 55, app(3), "ApplicationData(cut) ApplicationData", 105},
		{"beyond a record", app(100)[:50], 200, append([]byte{0xee, 0xee}, slices.Concat(app(3), app(4))...), "ApplicationData ApplicationData", 260},
		{"of unknown length", app(100)[:50], 0, append([]byte{0xee, 0xee}, slices.Concat(app(3), app(4))...), "ApplicationData ApplicationData", 60},
		{"between records", app(100), 50, slices.Concat(app(3), app(4)), "ApplicationData ApplicationData ApplicationData", 163},
		{"in a record header", app(100)[:3], 4, append([]byte{0xee, 0xee}, slices.Concat(app(3), app(4))...), "ApplicationData ApplicationData", 17},
	}
	for _, tt := range tests {
		for _, size := range []int{1000, 1, 3} {
			t.Run(fmt.Sprintf("%s/size=%d", tt.name, size), func(t *testing.T) {
				var p Parser
				es, errs := all(&p, tt.before, size)
				p.Lost(tt.n)
				more, failed := all(&p, tt.after, size)
				es, errs = append(es, more...), append(errs, failed...)
				p.Finish()
				more, failed = drain(&p)
				es, errs = append(es, more...), append(errs, failed...)
				if kinds(es) != tt.want || len(errs) != 0 {
					t.Fatalf("have %q, errors %v\nwant %q", kinds(es), errs, tt.want)
				}
				if len(es) > 0 && es[len(es)-1].Off != tt.last {
					t.Errorf("last event at %d, want %d", es[len(es)-1].Off, tt.last)
				}
			})
		}
	}
	t.Run("last record", func(t *testing.T) {
		var p Parser
		p.Lost(5)
		es, _ := all(&p, append(unhex(t, "eeee"), app(3)...), 2)
		p.Finish()
		more, _ := drain(&p)
		if es = append(es, more...); kinds(es) != "ApplicationData" || es[0].Off != 7 {
			t.Errorf("%+v", es)
		}
	})
	t.Run("false header in ciphertext", func(t *testing.T) {
		var p Parser
		p.Lost(5)
		noise := append(unhex(t, "ee 1703030010 eeee"), slices.Concat(bytes.Repeat([]byte{0xee}, 30), app(3), app(4))...)
		es, _ := all(&p, noise, 3)
		p.Finish()
		more, _ := drain(&p)
		if es = append(es, more...); kinds(es) != "ApplicationData ApplicationData" || es[0].Len != 3 || p.Skipped != 38 {
			t.Errorf("%+v, %d skipped", es, p.Skipped)
		}
	})
}

func TestRecord(t *testing.T) {
	b := unhex(t, "1703030002aabb 15")
	for n := range 7 {
		if _, took, err := NextRecord(b[:n]); took != 0 || err != nil {
			t.Errorf("%d bytes: %d, %v", n, took, err)
		}
	}
	if r, n, err := NextRecord(b); err != nil || n != 7 || r.Type != TypeApplicationData || r.Version != 0x303 || !bytes.Equal(r.Payload, []byte{0xaa, 0xbb}) {
		t.Errorf("%+v, %d, %v", r, n, err)
	}
	var we *wire.Error
	if _, _, err := NextRecord([]byte("GET / HTTP/1.1")); !errors.As(err, &we) {
		t.Errorf("error is %v", err)
	}
	for _, tt := range []struct {
		hex  string
		want bool
	}{
		{"1603010200", true}, {"1603000040", true}, {"1403030001", true}, {"1503030002", true}, {"1703034800", true}, {"1703030000", true}, {"1803030003", true},
		{"1703034801", false}, {"1403030002", false}, {"1503030001", false}, {"1603030000", false}, {"1303030001", false}, {"1903030001", false},
		{"1603050010", false}, {"1602000010", false}, {"16030300", false}, {"", false},
		{"16fefd0000", false}, // DTLS 1.2
	} {
		if got := Looks(unhex(t, tt.hex)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.hex, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ have, want string }{
		{CipherText(0x1301), "TLS_AES_128_GCM_SHA256"}, {CipherText(0xc02f), "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
		{VersionText(0x0304), "TLS 1.3"}, {VersionText(0x0303), "TLS 1.2"},
		{AlertText(112), "unrecognized_name"}, {AlertText(255), "alert 255"}, {Alert{3, 0}.String(), "level 3 close_notify"},
		{HandshakeText(20), "Finished"}, {HandshakeText(99), "handshake 99"},
	} {
		if tt.have != tt.want {
			t.Errorf("%s, want %s", tt.have, tt.want)
		}
	}
	for v, want := range map[uint16]bool{0x0a0a: true, 0xfafa: true, 0x0a1a: false, 0x1301: false, 0x0b0b: false} {
		if IsGREASE(v) != want {
			t.Errorf("%#04x: %v", v, !want)
		}
	}
}

func FuzzParser(f *testing.F) {
	hello := clientFlight(f, &clientConfig)
	f.Add(hello, uint8(10), uint8(0))
	old := clientConfig.Clone()
	old.MaxVersion = tls.VersionTLS12
	f.Add(serverFlight(f, &tls.Config{Certificates: []tls.Certificate{certificate(f)}}, clientFlight(f, old)), uint8(255), uint8(3))
	f.Add(unhex(f, "140303000101 1603030028"+strings.Repeat("00", 40)+"1703030002aabb 15030300020100"), uint8(3), uint8(20))
	f.Fuzz(func(t *testing.T, b []byte, size, gap uint8) {
		var p Parser
		var last, lost int64
		steps := 0
		check := func() {
			for {
				var e Event
				ok, err := p.Next(&e)
				if steps++; steps > 10*len(b)+100 {
					t.Fatal("does not end")
				}
				if !ok && err == nil {
					return
				}
				if !ok {
					continue
				}
				if e.Kind == KindBad || e.End < last || e.Off >= e.End || e.End > int64(len(b))+lost {
					t.Fatalf("%+v after %d", e, last)
				}
				last = e.End
				if (e.ClientHello != nil) != (e.Kind == KindClientHello) || (e.ServerHello != nil) != (e.Kind == KindServerHello) {
					t.Fatalf("%+v", e)
				}
				if e.Kind == KindCertificate && e.Certificate == nil && e.Err == nil {
					t.Fatalf("%+v", e)
				}
				if e.ClientHello != nil {
					e.ClientHello.MaxVersion()
				}
				_ = e.Alert.String()
			}
		}
		n := int(size) + 1
		for i := 0; i < len(b); i += n {
			p.Feed(b[i:min(i+n, len(b))])
			check()
			if gap > 0 && i/n == int(gap)%16 {
				p.Lost(int64(gap) - 1)
				lost += int64(gap) - 1
				check()
			}
		}
		p.Finish()
		check()
		if len(p.hs) > maxHandshake+maxRecord || len(p.buf)-p.pos > maxRecord+recordHead {
			t.Fatalf("%d and %d bytes are held", len(p.hs), len(p.buf)-p.pos)
		}
	})
}

func BenchmarkParser(b *testing.B) {
	stream := clientFlight(b, &clientConfig)
	for range 10 {
		stream = append(append(stream, 23, 3, 3, 4, 0), make([]byte, 1024)...)
	}
	var p Parser
	var e Event
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		p.Feed(stream)
		for n := range 12 {
			if ok, err := p.Next(&e); ok != (n < 11) || err != nil {
				b.Fatal(ok, err)
			}
		}
	}
}

// TestWeakness holds the list of suites against the names in the Go library's.
func TestWeakness(t *testing.T) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		want := ""
		for _, w := range []string{"RC4", "3DES"} {
			if strings.Contains(s.Name, w) {
				want = w
			}
		}
		if got := Weakness(0x0303, s.ID); got != want {
			t.Errorf("%s: %q, want %q", s.Name, got, want)
		}
	}
	for version, want := range map[uint16]string{0x0300: "SSLv3", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "", 0x0304: "", 0xfefd: ""} {
		if got := Weakness(version, 0xc02f); got != want {
			t.Errorf("version %#x: %q, want %q", version, got, want)
		}
	}
}
