package tls

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode/keylog"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/decode/tcp"
	"github.com/twtrace/twtrace/internal/captest"
)

const lab = captest.Shared + "/lab"

// lookupIn makes a Lookup of a key log.
func lookupIn(l *keylog.Log) Lookup {
	return func(label string, random *[32]byte) [][]byte {
		return l.Secrets(keylog.ParseLabel(label), random)
	}
}

func readLog(t testing.TB, paths ...string) *keylog.Log {
	t.Helper()
	l := new(keylog.Log)
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Skip(err)
		}
		if _, err := l.Read(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return l
}

// session is one TCP connection of a capture, through a Conn.
type session struct {
	name       string
	tcp        tcp.Conn
	conn       *Conn
	tls        bool
	begun      bool
	plain      [2][]byte
	opens      int64
	compressed bool // its records hold DEFLATE, RFC 3749
}

func (s *session) Data(dir int, c *tcp.Chunk) {
	if !s.begun {
		s.begun, s.tls = true, Looks(c.Data)
	}
	s.conn.Feed(dir, c.Data)
	s.next()
}

func (s *session) Gap(dir int, n, frame, time int64) {
	s.conn.Lost(dir, n)
	s.next()
}

func (s *session) Close(dir int, rst bool, frame, time int64) {}

func (s *session) next() {
	var e Event
	for {
		dir, ok, err := s.conn.Next(&e)
		if err != nil {
			continue
		}
		if !ok {
			return
		}
		if e.Decrypted {
			s.opens++
		}
		if e.ServerHello != nil {
			// Compressed records are not read; here they are, to see the suites at work.
			s.conn.pairs[0].sh.Compression = 0
			s.compressed = e.ServerHello.Compression != 0
		}
		if e.Data != nil {
			s.plain[dir] = append(s.plain[dir], e.Data...)
		}
	}
}

// sessions reads all TCP connections of a capture that begin with TLS.
func sessions(t testing.TB, path string, lookup Lookup) (all []*session) {
	t.Helper()
	type key struct{ a, b netip.AddrPort }
	open := map[key]*session{}
	var budget tcp.Budget
	budget.Max = 64 << 20
	c := captest.Capture{Path: filepath.Base(path), FS: os.DirFS(filepath.Dir(path))}
	err := c.Packets(t, func(frame *pcap.Frame, p *link.Packet) {
		if p.Proto != link.ProtoTCP {
			return
		}
		k := key{netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)}
		dir := 0
		if open[k] == nil {
			if r := (key{k.b, k.a}); open[r] != nil {
				k, dir = r, 1
			}
		}
		for {
			s := open[k]
			if s == nil {
				s = &session{name: fmt.Sprintf("%v-%v", k.a, k.b), conn: NewConn(lookup, nil)}
				s.tcp.Budget = &budget
				open[k] = s
				all = append(all, s)
			}
			if s.tcp.Segment(s, dir, p.Seq, p.Ack, p.Flags, p.Payload, p.WireLen, frame.Number, frame.Time)&tcp.NewConn == 0 {
				break
			}
			delete(open, k)
		}
	})
	if err != nil {
		t.Log(err)
	}
	kept := all[:0]
	for _, s := range all {
		s.tcp.Flush(s)
		s.conn.Finish(0)
		s.conn.Finish(1)
		s.next()
		if s.tls || s.conn.Status().Version != 0 {
			kept = append(kept, s)
		}
	}
	return kept
}

type followed struct {
	nodes string
	plain [2]string // as hex
}

// follow gives the plaintext of each TLS connection that tshark opens.
func follow(t testing.TB, path, keys string, streams int) (all []followed) {
	t.Helper()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip(err)
	}
	args := []string{"-r", path, "-q", "-o", "tls.keylog_file:" + keys, "-o", "tcp.reassemble_out_of_order:TRUE"}
	for i := range streams {
		args = append(args, "-z", fmt.Sprintf("follow,tls,raw,%d", i))
	}
	out, err := exec.Command(tshark, args...).Output()
	if err != nil {
		t.Log(err)
	}
	for _, part := range strings.Split(string(out), "Follow: tls,raw\n")[1:] {
		var f followed
		var nodes [2]string
		for _, line := range strings.Split(part, "\n") {
			if n, ok := strings.CutPrefix(line, "Node 0: "); ok {
				nodes[0] = n
			} else if n, ok := strings.CutPrefix(line, "Node 1: "); ok {
				nodes[1] = n
			} else if n, ok := strings.CutPrefix(line, "\t"); ok {
				f.plain[1] += n
			} else if line != "" && !strings.ContainsAny(line, " =") {
				f.plain[0] += line
			}
		}
		f.nodes = nodes[0]
		if f.plain[0]+f.plain[1] != "" {
			all = append(all, f)
		}
	}
	return all
}

// compare wants what tshark opens, byte for byte, to be opened here too.
func compare(t *testing.T, path, keys string, ss []*session) (bytes int) {
	t.Helper()
outer:
	for _, f := range follow(t, path, keys, len(ss)+8) {
		near := ""
		for _, s := range ss {
			if !strings.HasPrefix(s.name, f.nodes) && !strings.HasSuffix(s.name, f.nodes) {
				continue
			}
			a, b := fmt.Sprintf("%x", s.plain[0]), fmt.Sprintf("%x", s.plain[1])
			st := s.conn.Status()
			if a == f.plain[0] && b == f.plain[1] || a == f.plain[1] && b == f.plain[0] {
				bytes += len(s.plain[0]) + len(s.plain[1])
				continue outer
			}
			if st.Encryption == UnsupportedCipher {
				continue outer
			}
			near = fmt.Sprintf("%s: %d and %d, %+v", s.name, len(s.plain[0]), len(s.plain[1]), st)
		}
		t.Errorf("%s: tshark has %d and %d bytes; here %s", f.nodes, len(f.plain[0])/2, len(f.plain[1])/2, near)
	}
	return bytes
}

// TestPublic opens public captures, and compares with tshark.
func TestPublic(t *testing.T) {
	for _, tt := range []struct {
		name string
		want map[Encryption]int
	}{
		{"Lekensteyn+wireshark-notes/http-no-content-length-ssl.pcapng", map[Encryption]int{Decrypted: 1}},
		{"Lekensteyn+wireshark-notes/tls-null.pcapng", map[Encryption]int{EncryptionNone: 1}},
		{"Lekensteyn+wireshark-notes/webrtc-freeswitch.pcapng", map[Encryption]int{Decrypted: 1}},
		{"ajbanjara+Wireshark/amqps.pcapng", map[Encryption]int{Decrypted: 1}},
		{"ajbanjara+Wireshark/grpc_person_search_protobuf_and_json_tls.pcapng", map[Encryption]int{Decrypted: 2}}, // keys by session id
		{"ajbanjara+Wireshark/pgsql-ssl.pcapng", map[Encryption]int{Decrypted: 1}},
		{"ajbanjara+Wireshark/pop-ssl.pcapng", map[Encryption]int{Decrypted: 1}},
		{"fkie-cad+pcapFS/feature_test.pcap", map[Encryption]int{Decrypted: 1, NoKey: 1, UnsupportedCipher: 1}}, // RSA pre-master secret
		{"fkie-cad+pcapFS/tls1-aes128-cbc-file_e_large.pcap", map[Encryption]int{Decrypted: 1}},                 // encrypt-then-MAC in TLS 1.0
		{"syncsynchalt+illustrated-tls12/captures_capture.pcap", map[Encryption]int{Decrypted: 1}},
		{"syncsynchalt+illustrated-tls13/captures_capture.pcap", map[Encryption]int{Decrypted: 1}},
		{"syncsynchalt+illustrated-tls13/captures_capture~2.pcap", map[Encryption]int{Decrypted: 1}},
		{"wader+fq/testtls.com.http1.1-tls1.2.pcap", map[Encryption]int{Decrypted: 1}},
		// OpenSSL's suites, for their MACs: the records are compressed, and not compared.
		{"Lekensteyn+wireshark-notes/all_dump.pcapng", map[Encryption]int{Decrypted: 49, NoHandshake: 3, UnsupportedCipher: 21}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := captest.Shared + "/captures/files/" + tt.name
			ss := sessions(t, path, lookupIn(readLog(t, path+".keylog")))
			have := map[Encryption]int{}
			compressed := false
			for _, s := range ss {
				st := s.conn.Status()
				have[st.Encryption]++
				compressed = compressed || s.compressed
				if st.Encryption == WrongKey || st.Encryption == Partly {
					t.Errorf("%s: %+v", s.name, st)
				}
			}
			for e, n := range tt.want {
				if have[e] != n {
					t.Errorf("have %v, want %d of %s", have, n, e)
				}
			}
			if !compressed {
				if n := compare(t, path, path+".keylog", ss); n == 0 {
					t.Error("nothing was compared")
				}
			}
		})
	}
}

// TestLab opens what the lab's key logs allow: each connection whose client
// random is in the log, and no other.
func TestLab(t *testing.T) {
	logs, _ := filepath.Glob(lab + "/s*/*/keys.log")
	if len(logs) == 0 {
		t.Skip("no lab")
	}
	total := map[Encryption]int{}
	for _, log := range logs {
		dir := filepath.Dir(log)
		keys := readLog(t, log)
		caps, _ := filepath.Glob(dir + "/capture*.pcap*")
		for _, path := range caps {
			name := strings.TrimPrefix(path, lab)
			data, upgrades := 0, 0
			ss := sessions(t, path, lookupIn(keys))
			for _, s := range ss {
				st := s.conn.Status()
				total[st.Encryption]++
				data += len(s.plain[0]) + len(s.plain[1])
				if bytes.Contains(s.plain[1], []byte("101 Switching Protocols")) {
					upgrades++
				}
				logged := false
				for _, l := range []keylog.Label{keylog.ClientRandom, keylog.ClientTraffic} {
					logged = logged || len(s.conn.pairs) > 0 && s.conn.pairs[0].ch != nil && len(keys.Secrets(l, &s.conn.pairs[0].ch.Random)) > 0
				}
				want := NoKey
				switch {
				case st.Records == 0:
					want = EncryptionNone
				case logged:
					want = Decrypted
				}
				if st.Encryption != want {
					t.Errorf("%s: %s: %+v, want %s", name, s.name, st, want)
				}
			}
			webrtc := strings.Contains(name, "s1-webrtc") && !strings.Contains(name, "tls-handshake-failure")
			if len(ss) > 0 && (data == 0 || webrtc && upgrades == 0) {
				t.Errorf("%s: %d bytes, %d WebSockets", name, data, upgrades)
			}
			switch filepath.Base(dir) {
			case "bs-tls-rtp", "tls12-aes256", "tls13-chacha", "imp-all-100ms-2pct":
				if n := compare(t, path, log, ss); n != data {
					t.Errorf("%s: tshark opens %d bytes, here are %d", name, n, data)
				}
			}
		}
	}
	t.Log(total)
	if total[Decrypted] < 300 {
		t.Errorf("%v", total)
	}
}

// TestHostile reads the damaged files of the lab.
func TestHostile(t *testing.T) {
	base := lab + "/s4-hostile/"
	all := func(ss []*session) (plain string) {
		for _, s := range ss {
			plain += fmt.Sprintf("%x %x\n", s.plain[0], s.plain[1])
		}
		return plain
	}
	good := base + "base-webrtc/keys.log"
	want := all(sessions(t, base+"base-webrtc/capture.pcapng", lookupIn(readLog(t, good))))
	if len(want) < 40000 {
		t.Fatalf("%d characters", len(want))
	}
	for _, tt := range []struct {
		capture, log string
		same         bool
		status       Encryption
	}{
		{"base-webrtc/capture.pcapng", base + "keys-crlf-garbage.log", true, Decrypted},
		{"base-webrtc/capture.pcapng", base + "keys-dup.log", true, Decrypted},
		{"base-webrtc/capture.pcapng", base + "keys-wrong.log", false, WrongKey},
		{"base-webrtc/capture.pcapng", base + "keys-empty.log", false, NoKey},
		{"dsb-first.pcapng", good, true, Decrypted},
		{"drop-syn.pcap", good, true, Decrypted},
		{"order-shuffled5.pcap", good, true, Decrypted},
		{"tcp-shuffle-retrans.pcap", good, true, Decrypted},
		{"order-clockjump.pcap", good, true, Decrypted},
		{"midstream-afterinvite.pcap", good, false, NoHandshake},
	} {
		ss := sessions(t, base+tt.capture, lookupIn(readLog(t, tt.log)))
		have := all(ss)
		if tt.same && have != want {
			t.Errorf("%s with %s: %d characters, want %d", tt.capture, tt.log, len(have), len(want))
		}
		if len(ss) == 0 {
			t.Errorf("%s: no connection", tt.capture)
		}
		for i, s := range ss {
			if i > 0 && tt.status == NoHandshake {
				break // connections that begin later are whole
			}
			if st := s.conn.Status(); st.Encryption != tt.status {
				t.Errorf("%s with %s: %s: %+v", tt.capture, tt.log, s.name, st)
			}
			if !tt.same && s.opens > 0 {
				t.Errorf("%s with %s: %d records were opened", tt.capture, tt.log, s.opens)
			}
		}
	}
}

// TestSameAsParser wants a Conn without secrets to tell what two Parsers do.
func TestSameAsParser(t *testing.T) {
	paths, _ := filepath.Glob(captest.Shared + "/captures/files/*/*tls*")
	more, _ := filepath.Glob(lab + "/s*/*/capture*.pcap*")
	if len(more) == 0 {
		t.Skip("no lab")
	}
	compared := 0
	for _, path := range append(paths, more...) {
		if !strings.Contains(filepath.Ext(path), ".pcap") || strings.Contains(path, "null") {
			continue // no capture, or the null cipher, which a Conn reads
		}
		streams := captest.Capture{Path: filepath.Base(path), FS: os.DirFS(filepath.Dir(path))}.Streams(t)
		for _, there := range streams {
			var back *captest.Stream
			for _, s := range streams {
				if s.Src == there.Dst && s.Dst == there.Src {
					back = s
				}
			}
			c := NewConn(func(string, *[32]byte) [][]byte { return nil }, &Shared{})
			gap := false
			for dir, k := range []*captest.Stream{there, back} {
				if k == nil {
					continue
				}
				var p Parser
				var want []Event
				var have [2][]Event
				if dir == 0 && !Looks(k.First()) {
					break
				}
				both := func(b []byte, n int64) {
					if b == nil {
						gap = true
						p.Lost(n)
						c.Lost(dir, n)
					} else {
						p.Feed(b)
						c.Feed(dir, b)
					}
					es, _ := drain(&p)
					want = append(want, es...)
					collect(c, &have)
				}
				k.Replay(func(b []byte) { both(b, 0) }, func(n int64) { both(nil, n) })
				p.Finish()
				es, _ := drain(&p)
				want = append(want, es...)
				c.Finish(dir)
				if dir == 0 {
					c.Finish(1) // nothing is waited for
				}
				collect(c, &have)
				if gap {
					break // a Conn reads more of the handshake then
				}
				for i := range max(len(want), len(have[dir])) {
					if i >= len(want) || i >= len(have[dir]) || want[i].Kind != have[dir][i].Kind || want[i].Off != have[dir][i].Off || want[i].End != have[dir][i].End ||
						want[i].Len != have[dir][i].Len || want[i].HandshakeType != have[dir][i].HandshakeType || want[i].Alert != have[dir][i].Alert {
						t.Errorf("%s: %v-%v: event %d: have %s\nwant %s", path, k.Src, k.Dst, i, story(have[dir][min(i, len(have[dir])):]), story(want[min(i, len(want)):]))
						break
					}
					compared++
				}
			}
		}
	}
	if compared < 10000 {
		t.Errorf("%d events were compared", compared)
	}
}
