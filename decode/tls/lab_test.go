package tls

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/twtrace/twtrace/decode/keylog"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/tcp"
)

const lab = "../../../shared/lab"

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
	name                string
	tcp                 tcp.Conn
	conn                *Conn
	tls                 bool
	begun               bool
	plain               [2][]byte
	lens                []int64 // of the application data that was opened
	kinds               string
	opens               int64
	inflate, compressed bool
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
		if os.Getenv("DBG") != "" {
			fmt.Println(s.name, dir, e.Kind, HandshakeText(e.HandshakeType), e.Off, e.Len, e.Decrypted, len(e.Data), e.Err)
		}
		if e.Decrypted {
			s.opens++
		}
		if e.ServerHello != nil && s.inflate {
			// Compressed records are not read; here they are, to see the suites at work.
			s.conn.pairs[0].sh.Compression = 0
			s.compressed = e.ServerHello.Compression != 0
		}
		if e.Data != nil {
			s.plain[dir] = append(s.plain[dir], e.Data...)
			s.lens = append(s.lens, int64(len(e.Data)))
		}
	}
}

// sessions reads all TCP connections of a capture that begin with TLS.
func sessions(t testing.TB, path string, lookup Lookup) (all []*session) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	var src interface {
		gopacket.PacketDataSource
		LinkType() layers.LinkType
	}
	if src, err = pcapgo.NewReader(file); err != nil {
		if _, err = file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if src, err = pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions); err != nil {
			t.Skip(err)
		}
	}
	type key struct{ a, b netip.AddrPort }
	open := map[key]*session{}
	d := link.NewDecoder()
	var budget tcp.Budget
	budget.Max = 64 << 20
	for frame := int64(1); ; frame++ {
		data, ci, err := src.ReadPacketData()
		if err != nil {
			break
		}
		var p link.Packet
		if d.Decode(uint16(src.LinkType()), data, ci.Length, ci.Timestamp.UnixNano(), &p) != link.Used || p.Proto != link.ProtoTCP {
			continue
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
				s = &session{name: fmt.Sprintf("%v-%v", k.a, k.b), conn: NewConn(lookup, nil), inflate: true}
				s.tcp.Budget = &budget
				open[k] = s
				all = append(all, s)
			}
			if s.tcp.Segment(s, dir, p.Seq, p.Ack, p.Flags, p.Payload, p.WireLen, frame, ci.Timestamp.UnixNano())&tcp.NewConn == 0 {
				break
			}
			delete(open, k)
		}
	}
	kept := all[:0]
	for _, s := range all {
		s.tcp.Flush(s)
		s.conn.Finish(0)
		s.conn.Finish(1)
		s.next()
		if s.compressed {
			for i := range s.plain {
				if r, err := zlib.NewReader(bytes.NewReader(s.plain[i])); err == nil {
					s.plain[i], _ = io.ReadAll(r)
				}
			}
		}
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

func TestPublicSurvey(t *testing.T) {
	logs, _ := filepath.Glob(captures + "/files/*/*.keylog")
	for _, kl := range logs {
		path := strings.TrimSuffix(kl, ".keylog")
		l := readLog(t, kl)
		t.Log(strings.TrimPrefix(path, captures), l.Stats())
		ss := sessions(t, path, lookupIn(l))
		for _, s := range ss {
			st := s.conn.Status()
			t.Log("   ", s.name, st.Encryption, st.Note, VersionText(st.Version), CipherText(st.CipherSuite), st.Records, st.Opened, len(s.plain[0]), len(s.plain[1]))
		}
	outer:
		for _, f := range follow(t, path, kl, 120) {
			for _, s := range ss {
				if strings.HasPrefix(s.name, f.nodes) || strings.HasSuffix(s.name, f.nodes) {
					a, b := fmt.Sprintf("%x", s.plain[0]), fmt.Sprintf("%x", s.plain[1])
					if a == f.plain[0] && b == f.plain[1] || a == f.plain[1] && b == f.plain[0] {
						continue outer
					}
				}
			}
			t.Log("    tshark", f.nodes, len(f.plain[0])/2, len(f.plain[1])/2)
		}
	}
}

func TestLabSurvey(t *testing.T) {
	dirs, _ := filepath.Glob(lab + "/s*/*/keys.log")
	if len(dirs) == 0 {
		t.Skip("no lab")
	}
	for _, kl := range dirs {
		dir := filepath.Dir(kl)
		caps, _ := filepath.Glob(dir + "/capture*.pcap*")
		l := readLog(t, kl)
		for _, path := range caps {
			count := map[string]int{}
			var n, ws int64
			notes := map[string]int{}
			for _, s := range sessions(t, path, lookupIn(l)) {
				st := s.conn.Status()
				count[st.Encryption.String()]++
				if st.Note != "" {
					notes[st.Note]++
				}
				n += int64(len(s.plain[0]) + len(s.plain[1]))
				if bytes.Contains(s.plain[1], []byte("101 Switching")) || bytes.Contains(s.plain[0], []byte("101 Switching")) {
					ws++
				}
			}
			t.Log(strings.TrimPrefix(path, lab), count, n, "ws", ws, notes)
		}
	}
}
