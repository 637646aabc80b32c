// Package keylog reads the secrets that TLS programs write to the file of the
// environment variable SSLKEYLOGFILE.
//
// Sources: RFC 9850 (the SSLKEYLOGFILE format), the NSS key log format of
// which it is the standard, and what OpenSSL-based programs wrote before it
// ("RSA Session-ID:... Master-Key:...").
//
// A line is a label, the client random, and a secret, in hex of either case.
// Line ends are LF or CRLF; blank space is any. Lines that are none are
// counted and passed over. Several secrets for one label and random are all
// kept, in the order in which they came: which of them is right, only a
// record that authenticates can tell.
//
// Aliasing: nothing that is given to Add is kept; Secrets gives the Log's own
// memory, which must not be written to.
//
// Bounds: a million secrets, 64 MiB of them, lines of 4 KiB. What is beyond is
// counted as Refused. No secret is ever part of an error.
//
// Not handled: PEM private keys, QUIC packet secrets, WPA keys.
package keylog

import (
	"bytes"
	"fmt"
	"io"
)

// Label says what a secret is for.
type Label uint8

// The labels of RFC 9850, 2 and of the NSS key log format; DTLS has the same.
const (
	LabelBad        Label = iota
	ClientRandom          // the master secret, before TLS 1.3
	RSA                   // the pre-master secret; the "random" is 8 bytes of it as encrypted, then zeros
	RSASession            // the master secret of a session; the "random" is the session id
	ClientEarly           // TLS 1.3, 0-RTT
	EarlyExporter         //
	ClientHandshake       //
	ServerHandshake       //
	ClientTraffic         //
	ServerTraffic         //
	Exporter              //
	ECHSecret             // RFC 9850, 2.3
	ECHConfig             //
	labels
)

var names = [labels]string{
	ClientRandom:    "CLIENT_RANDOM",
	RSA:             "RSA",
	RSASession:      "RSA Session-ID",
	ClientEarly:     "CLIENT_EARLY_TRAFFIC_SECRET",
	EarlyExporter:   "EARLY_EXPORTER_SECRET",
	ClientHandshake: "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
	ServerHandshake: "SERVER_HANDSHAKE_TRAFFIC_SECRET",
	ClientTraffic:   "CLIENT_TRAFFIC_SECRET_0",
	ServerTraffic:   "SERVER_TRAFFIC_SECRET_0",
	Exporter:        "EXPORTER_SECRET",
	ECHSecret:       "ECH_SECRET",
	ECHConfig:       "ECH_CONFIG",
}

// String is the label as it stands in a key log.
func (l Label) String() string {
	if l == LabelBad || l >= labels {
		return "unknown"
	}
	return names[l]
}

// ParseLabel finds a label by its name; LabelBad when there is none.
func ParseLabel(name string) Label {
	for l := ClientRandom; l < labels; l++ {
		if names[l] == name {
			return l
		}
	}
	return LabelBad
}

const (
	maxSecrets = 1_000_000
	maxBytes   = 64 << 20
	maxLine    = 4 << 10
)

// Stats counts lines. Lines is the sum of the others and of empty lines.
type Stats struct {
	Lines      int64
	Secrets    int64
	Duplicates int64
	Junk       int64
	Comments   int64
	Refused    int64 // secrets beyond the bounds of a Log
}

func (s *Stats) add(o Stats) {
	s.Lines += o.Lines
	s.Secrets += o.Secrets
	s.Duplicates += o.Duplicates
	s.Junk += o.Junk
	s.Comments += o.Comments
	s.Refused += o.Refused
}

type key struct {
	label  Label
	random [32]byte
}

// Log holds secrets. The zero value is empty and ready.
type Log struct {
	secrets map[key][][]byte
	stats   Stats
	count   int
	bytes   int
	line    [maxLine / 2]byte // a decoded field
}

// Stats counts what all calls of Add and Read have found.
func (l *Log) Stats() Stats { return l.stats }

// Len is the number of secrets.
func (l *Log) Len() int { return l.count }

// Secrets gives all secrets for a label and client random, in the order in
// which they came.
func (l *Log) Secrets(label Label, random *[32]byte) [][]byte {
	return l.secrets[key{label, *random}]
}

// Add reads a whole key log, or the secrets block of a capture.
func (l *Log) Add(text []byte) Stats {
	var s Stats
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		l.parse(line, &s)
	}
	l.stats.add(s)
	return s
}

// Read reads a key log to its end. What stands before an error is kept.
func (l *Log) Read(r io.Reader) (Stats, error) {
	var s Stats
	buf := make([]byte, 0, 64<<10)
	over := false // the rest of a line that is too long
	for empty := 0; ; {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n > 0 {
			empty = 0
		} else if empty++; empty == 100 && err == nil {
			err = io.ErrNoProgress
		}
		rest := buf
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			if over {
				over = false
			} else {
				l.parse(rest[:i], &s)
			}
			rest = rest[i+1:]
		}
		if len(rest) > maxLine && !over {
			s.Lines++
			s.Junk++
			over = true
		}
		if over {
			rest = rest[:0]
		}
		if err != nil {
			if len(rest) > 0 && err == io.EOF {
				l.parse(rest, &s)
			}
			l.stats.add(s)
			if err == io.EOF {
				return s, nil
			}
			return s, fmt.Errorf("key log: %w", err)
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
	}
}

// Looks tells whether a file that begins with b may be a key log: its first
// line that is neither empty nor a comment has a known label and a random.
func Looks(b []byte) bool {
	for len(b) > 0 {
		line := b
		i := bytes.IndexByte(b, '\n')
		if i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		line = bytes.Trim(bytes.TrimPrefix(line, bom), blank)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, rest := field(line)
		random, _ := field(rest)
		switch ParseLabel(string(name)) {
		case LabelBad:
			return false
		case RSA:
			return len(random) > 0
		}
		for _, c := range random {
			if _, ok := nibble(c); !ok {
				return false
			}
		}
		return len(random) == 64 || i < 0 && len(random) < 64
	}
	return false
}

var bom = []byte("\ufeff")

// blank is what may stand between fields and around them. Writers that share a
// file leave zeros in it.
const blank = " \t\v\f\r\x00"

// parse takes one line.
func (l *Log) parse(line []byte, s *Stats) {
	s.Lines++
	line = bytes.Trim(bytes.TrimPrefix(line, bom), blank)
	switch {
	case len(line) == 0:
		return
	case line[0] == '#':
		s.Comments++
		return
	case len(line) > maxLine:
		s.Junk++
		return
	}
	k, secret, ok := l.fields(line)
	if !ok {
		s.Junk++
		return
	}
	have := l.secrets[k]
	for _, h := range have {
		if bytes.Equal(h, secret) {
			s.Duplicates++
			return
		}
	}
	// Many secrets of one session would make each further line slower.
	if l.count == maxSecrets || l.bytes+len(secret) > maxBytes || len(have) == maxPerKey {
		s.Refused++
		return
	}
	if l.secrets == nil {
		l.secrets = map[key][][]byte{}
	}
	l.secrets[k] = append(have, bytes.Clone(secret))
	l.count++
	l.bytes += len(secret)
	s.Secrets++
}

const maxPerKey = 1 << 10

// fields reads the fields of a line. secret aliases l.line.
func (l *Log) fields(line []byte) (k key, secret []byte, ok bool) {
	name, rest := field(line)
	random, rest := field(rest)
	value, rest := field(rest)
	if len(rest) > 0 {
		return k, nil, false
	}
	if k.label = ParseLabel(string(name)); k.label == LabelBad {
		return k, nil, false
	}
	size := 32
	if k.label == RSA {
		size = 8
		id, isID := bytes.CutPrefix(random, []byte("Session-ID:"))
		master, isMaster := bytes.CutPrefix(value, []byte("Master-Key:"))
		if isID && isMaster {
			k.label, size, random, value = RSASession, 32, id, master
		}
	}
	b, ok := l.hex(random)
	if !ok || len(b) != size {
		return k, nil, false
	}
	copy(k.random[:], b)
	secret, ok = l.hex(value)
	if !ok || !fits(k.label, len(secret)) {
		return k, nil, false
	}
	return k, secret, true
}

// fits tells whether a secret can be n bytes: a master secret is 48 (RFC
// 5246, 8.1), one of TLS 1.3 as long as a hash.
func fits(l Label, n int) bool {
	switch l {
	case ClientRandom, RSA, RSASession:
		return n == 48
	case ECHSecret, ECHConfig:
		return n > 0
	}
	return n == 32 || n == 48
}

// field cuts the first field off.
func field(b []byte) (f, rest []byte) {
	i := bytes.IndexAny(b, blank)
	if i < 0 {
		return b, nil
	}
	return b[:i], bytes.TrimLeft(b[i:], blank)
}

func (l *Log) hex(text []byte) ([]byte, bool) {
	if len(text)%2 != 0 || len(text)/2 > len(l.line) {
		return nil, false
	}
	b := l.line[:len(text)/2]
	for i := range b {
		hi, ok1 := nibble(text[2*i])
		lo, ok2 := nibble(text[2*i+1])
		if !ok1 || !ok2 {
			return nil, false
		}
		b[i] = hi<<4 | lo
	}
	return b, true
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
