package keylog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func hexOf(b byte, n int) string { return strings.Repeat(fmt.Sprintf("%02x", b), n) }

func randomOf(b byte) *[32]byte {
	return (*[32]byte)(bytes.Repeat([]byte{b}, 32))
}

// TestLines has one line each, by RFC 9850, 2 and what else is in the wild.
func TestLines(t *testing.T) {
	r := hexOf(0xab, 32)
	tests := []struct {
		name, line string
		label      Label // LabelBad when there is no secret
		random     *[32]byte
		size       int
	}{
		{"TLS 1.2", "CLIENT_RANDOM " + r + " " + hexOf(1, 48), ClientRandom, randomOf(0xab), 48},
		{"early", "CLIENT_EARLY_TRAFFIC_SECRET " + r + " " + hexOf(1, 32), ClientEarly, randomOf(0xab), 32},
		{"early exporter", "EARLY_EXPORTER_SECRET " + r + " " + hexOf(1, 48), EarlyExporter, randomOf(0xab), 48},
		{"client handshake", "CLIENT_HANDSHAKE_TRAFFIC_SECRET " + r + " " + hexOf(1, 32), ClientHandshake, randomOf(0xab), 32},
		{"server handshake", "SERVER_HANDSHAKE_TRAFFIC_SECRET " + r + " " + hexOf(1, 48), ServerHandshake, randomOf(0xab), 48},
		{"client traffic", "CLIENT_TRAFFIC_SECRET_0 " + r + " " + hexOf(1, 32), ClientTraffic, randomOf(0xab), 32},
		{"server traffic", "SERVER_TRAFFIC_SECRET_0 " + r + " " + hexOf(1, 32), ServerTraffic, randomOf(0xab), 32},
		{"exporter", "EXPORTER_SECRET " + r + " " + hexOf(1, 32), Exporter, randomOf(0xab), 32},
		{"ECH", "ECH_CONFIG " + r + " " + hexOf(1, 77), ECHConfig, randomOf(0xab), 77},
		{"pre-master secret", "RSA " + hexOf(0xcd, 8) + " " + hexOf(1, 48), RSA, (*[32]byte)(append(bytes.Repeat([]byte{0xcd}, 8), make([]byte, 24)...)), 48},
		{"session id", "RSA Session-ID:" + r + " Master-Key:" + hexOf(1, 48), RSASession, randomOf(0xab), 48},
		{"upper case", "CLIENT_RANDOM " + strings.ToUpper(r) + " " + strings.ToUpper(hexOf(0xef, 48)), ClientRandom, randomOf(0xab), 48},
		{"CRLF", "CLIENT_RANDOM " + r + " " + hexOf(1, 48) + "\r", ClientRandom, randomOf(0xab), 48},
		{"blank space", " \tCLIENT_RANDOM\t" + r + "   " + hexOf(1, 48) + " \t ", ClientRandom, randomOf(0xab), 48},
		{"byte order mark", "\ufeffCLIENT_RANDOM " + r + " " + hexOf(1, 48), ClientRandom, randomOf(0xab), 48},
		{"zeros around", "\x00\x00CLIENT_RANDOM " + r + " " + hexOf(1, 48) + "\x00", ClientRandom, randomOf(0xab), 48},
		{"comment", "# CLIENT_RANDOM " + r + " " + hexOf(1, 48), LabelBad, randomOf(0xab), 0},
		{"unknown label", "CLIENT_RANDOMS " + r + " " + hexOf(1, 48), LabelBad, randomOf(0xab), 0},
		{"lower-case label", "client_random " + r + " " + hexOf(1, 48), LabelBad, randomOf(0xab), 0},
		{"no secret", "CLIENT_RANDOM " + r, LabelBad, randomOf(0xab), 0},
		{"short random", "CLIENT_RANDOM " + r[2:] + " " + hexOf(1, 48), LabelBad, randomOf(0xab), 0},
		{"short secret", "CLIENT_RANDOM " + r + " " + hexOf(1, 47), LabelBad, randomOf(0xab), 0},
		{"odd digits", "CLIENT_RANDOM " + r + " " + hexOf(1, 48)[1:], LabelBad, randomOf(0xab), 0},
		{"no hex", "CLIENT_RANDOM " + r + " " + hexOf(1, 47) + "0g", LabelBad, randomOf(0xab), 0},
		{"a field more", "CLIENT_RANDOM " + r + " " + hexOf(1, 48) + " x", LabelBad, randomOf(0xab), 0},
		{"a zero within", "CLIENT_RANDOM " + r + " " + hexOf(1, 20) + "\x00" + hexOf(1, 28), LabelBad, randomOf(0xab), 0},
		{"too long", "ECH_CONFIG " + r + " " + hexOf(1, 4000), LabelBad, randomOf(0xab), 0},
		{"binary", "\xff\xfe\x00\x01", LabelBad, randomOf(0xab), 0},
	}
	for _, tt := range tests {
		var l Log
		s := l.Add([]byte("\n" + tt.line + "\n\n"))
		if s != l.Stats() || s.Lines != 3 {
			t.Errorf("%s: %+v", tt.name, s)
		}
		if tt.label == LabelBad {
			if s.Secrets != 0 || l.Len() != 0 || s.Junk+s.Comments != 1 || (s.Comments == 1) != (tt.line[0] == '#') {
				t.Errorf("%s: %+v", tt.name, s)
			}
			continue
		}
		have := l.Secrets(tt.label, tt.random)
		if len(have) != 1 || len(have[0]) != tt.size || s.Secrets != 1 || s.Junk != 0 {
			t.Errorf("%s: %x, %+v", tt.name, have, s)
		}
		for other := ClientRandom; other < labels; other++ {
			if other != tt.label && l.Secrets(other, tt.random) != nil {
				t.Errorf("%s: is %s too", tt.name, other)
			}
		}
		if ParseLabel(tt.label.String()) != tt.label {
			t.Errorf("%s: %s", tt.name, tt.label)
		}
	}
}

// TestSeveral keeps all secrets of a session, in order, and each once.
func TestSeveral(t *testing.T) {
	var text bytes.Buffer
	for _, n := range []byte{3, 1, 2, 1, 3} {
		fmt.Fprintf(&text, "CLIENT_RANDOM %s %s\r\n", hexOf(9, 32), hexOf(n, 48))
	}
	fmt.Fprintf(&text, "CLIENT_RANDOM %s %s", hexOf(8, 32), hexOf(3, 48)) // no line end
	for name, read := range map[string]func(*Log) (Stats, error){
		"Add":         func(l *Log) (Stats, error) { return l.Add(text.Bytes()), nil },
		"Read":        func(l *Log) (Stats, error) { return l.Read(bytes.NewReader(text.Bytes())) },
		"Read, bytes": func(l *Log) (Stats, error) { return l.Read(iotest.OneByteReader(bytes.NewReader(text.Bytes()))) },
		"Read, EOF":   func(l *Log) (Stats, error) { return l.Read(iotest.DataErrReader(bytes.NewReader(text.Bytes()))) },
	} {
		var l Log
		s, err := read(&l)
		if err != nil || s != (Stats{Lines: 6, Secrets: 4, Duplicates: 2}) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		have := l.Secrets(ClientRandom, randomOf(9))
		if len(have) != 3 || have[0][0] != 3 || have[1][0] != 1 || have[2][0] != 2 || len(l.Secrets(ClientRandom, randomOf(8))) != 1 || l.Len() != 4 {
			t.Errorf("%s: %x", name, have)
		}
	}
}

// TestErrors keeps secrets out of errors, and what stands before them.
func TestErrors(t *testing.T) {
	line := "CLIENT_RANDOM " + hexOf(9, 32) + " " + hexOf(0x5e, 48) + "\n"
	bad := errors.New("disk is gone")
	var l Log
	s, err := l.Read(io.MultiReader(strings.NewReader(line+line[:100]), iotest.ErrReader(bad)))
	if !errors.Is(err, bad) || strings.Contains(err.Error(), "5e5e") || s.Secrets != 1 || s.Junk != 0 {
		t.Errorf("%v, %+v", err, s)
	}
	if _, err := l.Read(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(line)))); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("%v", err)
	}
	if _, err := l.Read(stuck{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("%v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestBounds reads lines and logs that are too long.
func TestBounds(t *testing.T) {
	line := "CLIENT_RANDOM " + hexOf(9, 32) + " " + hexOf(0x5e, 48) + "\n"
	text := strings.Repeat("x", 300000) + "\n" + line + strings.Repeat("CLIENT_RANDOM ", 1000) + "\n#" + strings.Repeat("y", 100) + "\n"
	for range 2 {
		var l Log
		s, err := l.Read(strings.NewReader(text))
		if err != nil || s != (Stats{Lines: 4, Secrets: 1, Junk: 2, Comments: 1}) {
			t.Errorf("%+v, %v", s, err)
		}
		var m Log
		if s := m.Add([]byte(text)); s != l.Stats() {
			t.Errorf("%+v", s)
		}
	}
	var l Log
	var b []byte
	for i := range maxPerKey + 5 {
		b = fmt.Appendf(b[:0], "CLIENT_RANDOM %s %08x%s\n", hexOf(9, 32), i, hexOf(0, 44))
		l.Add(b)
	}
	if s := l.Stats(); s.Secrets != maxPerKey || s.Refused != 5 {
		t.Errorf("%+v", s)
	}
	l.count = maxSecrets
	if s := l.Add([]byte("CLIENT_RANDOM " + hexOf(1, 32) + " " + hexOf(1, 48))); s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	l.count, l.bytes = 1, maxBytes-47
	if s := l.Add([]byte("CLIENT_RANDOM " + hexOf(1, 32) + " " + hexOf(1, 48))); s.Refused != 1 {
		t.Errorf("%+v", s)
	}
}

func TestLooks(t *testing.T) {
	r := hexOf(0xab, 32)
	for text, want := range map[string]bool{
		"CLIENT_RANDOM " + r + " 00":                    true,
		"# comment\r\n\r\nEXPORTER_SECRET " + r + " 00": true,
		"CLIENT_RANDOM " + r[:10]:                       true, // all that was read
		"CLIENT_RANDOM " + r[:10] + "\nx":               false,
		"RSA Session-ID:00":                             true,
		"CLIENT_RANDOM is what":                         false,
		"# only a comment\n":                            false,
		"":                                              false,
		"{\"sid\": \"CA\"}":                             false,
		"not a key line\n":                              false,
	} {
		if Looks([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

const shared = "../../../shared"

// TestLab compares the log beside a capture with the secrets in a capture, and
// the log that was damaged on purpose with what it was made from.
func TestLab(t *testing.T) {
	dsbs, _ := filepath.Glob(shared + "/lab/*/*/capture-dsb.pcapng")
	if len(dsbs) == 0 {
		t.Skip("no lab")
	}
	for _, path := range dsbs {
		var in, beside Log
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for b := raw; len(b) >= 12; {
			n := int(binary.LittleEndian.Uint32(b[4:]))
			if binary.LittleEndian.Uint32(b) == 10 { // Decryption Secrets Block
				size := int(binary.LittleEndian.Uint32(b[12:]))
				in.Add(b[16 : 16+size])
			}
			b = b[n:]
		}
		log, err := os.ReadFile(filepath.Join(filepath.Dir(path), "keys.log"))
		if err != nil {
			t.Fatal(err)
		}
		// A log has one line for each secret, and comments.
		s := beside.Add(log)
		if s.Junk+s.Refused != 0 || s.Secrets+s.Duplicates != int64(bytes.Count(log, []byte("_"+"RANDOM "))+bytes.Count(log, []byte("SECRET"))) || s.Secrets < 10 {
			t.Errorf("%s: %+v", path, s)
		}
		if fmt.Sprint(in.secrets) != fmt.Sprint(beside.secrets) {
			t.Errorf("%s: %d secrets in it, %d beside", path, in.Len(), beside.Len())
		}
	}
	var base, garbage, dup Log
	for l, name := range map[*Log]string{&base: "base-webrtc/keys.log", &garbage: "keys-crlf-garbage.log", &dup: "keys-dup.log"} {
		f, err := os.Open(shared + "/lab/s4-hostile/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Read(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if fmt.Sprint(garbage.secrets) != fmt.Sprint(base.secrets) || fmt.Sprint(dup.secrets) != fmt.Sprint(base.secrets) || base.Len() < 10 {
		t.Errorf("%d, %d and %d secrets", base.Len(), garbage.Len(), dup.Len())
	}
	if s := garbage.Stats(); s.Junk != 4 || s.Comments == 0 {
		t.Errorf("%+v", s)
	}
	if s := dup.Stats(); s.Duplicates < 2*s.Secrets {
		t.Errorf("%+v", s)
	}
}

func FuzzKeylog(f *testing.F) {
	f.Add([]byte("CLIENT_RANDOM "+hexOf(9, 32)+" "+hexOf(1, 48)+"\r\n# c\nRSA Session-ID:"+hexOf(9, 32)+" Master-Key:"+hexOf(1, 48)), uint8(3))
	f.Add([]byte("RSA "+hexOf(9, 8)+" "+hexOf(1, 48)+"\x00\n\n\xef\xbb\xbfEXPORTER_SECRET "+hexOf(9, 32)+" "+hexOf(1, 32)), uint8(100))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		var l, m Log
		s := l.Add(b)
		o, err := m.Read(&parts{b, int(size) + 1})
		if err != nil || s != o || fmt.Sprint(l.secrets) != fmt.Sprint(m.secrets) {
			t.Fatalf("%+v, %+v, %v", s, o, err)
		}
		if s.Secrets != int64(l.Len()) || s.Secrets+s.Duplicates+s.Junk+s.Comments+s.Refused > s.Lines {
			t.Fatalf("%+v", s)
		}
		for k, secrets := range l.secrets {
			for _, x := range secrets {
				if !fits(k.label, len(x)) {
					t.Fatalf("%s of %d bytes", k.label, len(x))
				}
			}
		}
		Looks(b)
	})
}

type parts struct {
	b []byte
	n int
}

func (p *parts) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

func BenchmarkAdd(b *testing.B) {
	var text []byte
	for i := range 1000 {
		text = fmt.Appendf(text, "SERVER_TRAFFIC_SECRET_0 %08x%s %s\n", i, hexOf(9, 28), hexOf(1, 32))
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var l Log
		l.Add(text)
		if l.Len() != 1000 {
			b.Fatal(l.Stats())
		}
	}
}
