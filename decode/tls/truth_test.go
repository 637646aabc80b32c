package tls

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

const captures = "../../../shared/captures"

type segment struct {
	seq  uint32
	data []byte
}

// flows gives the TCP segments with data of each direction of a capture.
func flows(t *testing.T, path string) (order []string, segments map[string][]segment) {
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
	segments = map[string][]segment{}
	for {
		data, _, err := src.ReadPacketData()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Log(err)
			}
			return order, segments
		}
		var from, to string
		for _, l := range gopacket.NewPacket(data, src.LinkType(), gopacket.DecodeOptions{NoCopy: true}).Layers() {
			switch l := l.(type) {
			case *layers.IPv4:
				from, to = l.SrcIP.String(), l.DstIP.String()
			case *layers.IPv6:
				from, to = l.SrcIP.String(), l.DstIP.String()
			case *layers.TCP:
				if len(l.Payload) == 0 {
					continue
				}
				key := fmt.Sprint(from, " ", uint16(l.SrcPort), " ", to, " ", uint16(l.DstPort))
				if segments[key] == nil {
					order = append(order, key)
				}
				segments[key] = append(segments[key], segment{l.Seq, l.Payload})
			}
		}
	}
}

// replay calls feed and lost with the stream that segments make.
func replay(segs []segment, feed func([]byte), lost func(int64)) {
	slices.SortStableFunc(segs, func(a, b segment) int { return int(int32(a.seq - b.seq)) })
	next := segs[0].seq
	for _, s := range segs {
		ahead := int(int32(s.seq - next))
		if ahead > 0 {
			lost(int64(ahead))
			next = s.seq
		} else if -ahead >= len(s.data) {
			continue
		} else {
			s.data = s.data[-ahead:]
		}
		feed(s.data)
		next += uint32(len(s.data))
	}
}

// TestTruth compares the hellos of public captures with tshark's.
func TestTruth(t *testing.T) {
	if _, err := os.Stat(captures); err != nil {
		t.Skip(err)
	}
	compared, missed := 0, 0
	err := filepath.WalkDir(captures+"/truth", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var truth struct {
			Path      string
			Protocols map[string]int
			TLS       struct {
				SNIs    []string
				Clients []struct {
					Src, SNI, Version string
					Supported, ALPN   []string
				} `json:"client_hellos"`
				Servers []struct {
					Src, Version, Selected, Cipher string
					ALPN                           []string
				} `json:"server_hellos"`
			}
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			return err
		}
		if len(truth.TLS.Clients)+len(truth.TLS.Servers) == 0 {
			return nil
		}
		t.Run(truth.Path, func(t *testing.T) {
			have := map[string]int{}
			snis := map[string]bool{}
			order, segs := flows(t, captures+"/files/"+truth.Path)
			for _, key := range order {
				var p Parser
				from, _, _ := strings.Cut(key, " ")
				next := func() {
					for {
						var e Event
						ok, err := p.Next(&e)
						if err != nil {
							continue
						}
						if !ok {
							return
						}
						switch {
						case e.ClientHello != nil:
							h := e.ClientHello
							var versions []string
							for _, v := range h.SupportedVersions {
								versions = append(versions, fmt.Sprintf("0x%04x", v))
							}
							have[fmt.Sprintf("%s %s 0x%04x %q %q", from, h.SNI, h.Version, versions, h.ALPN)]++
							snis[h.SNI] = true
						case e.ServerHello != nil:
							h := e.ServerHello
							have[fmt.Sprintf("%s 0x%04x 0x%04x %s", from, h.Version, h.CipherSuite, h.ALPN)]++
						}
					}
				}
				replay(segs[key], func(b []byte) { p.Feed(b); next() }, func(n int64) { p.Lost(n); next() })
				p.Finish()
				next()
			}
			n, miss := 0, 0
			find := func(key string) {
				if have[key] == 0 {
					miss++
					t.Logf("not found: %.300s", key)
					return
				}
				have[key]--
				n++
			}
			// Left out: hellos in QUIC, ServerHellos of drafts of TLS 1.3 with
			// another form, one capture with invalid records,
			// and one with a hello in a GRE tunnel.
			quic := truth.Protocols["quic"] > 0
			invalid := strings.HasSuffix(truth.Path, "tls_invalid_reads.pcap") || truth.Protocols["gre"] > 0
			for _, c := range truth.TLS.Clients {
				if quic && (slices.Contains(c.ALPN, "h3") || slices.Contains(c.ALPN, "smb")) {
					continue
				}
				find(fmt.Sprintf("%s %s %s %q %q", c.Src, strings.ToLower(c.SNI), c.Version, c.Supported, c.ALPN))
			}
			for _, s := range truth.TLS.Servers {
				if quic || strings.HasPrefix(s.Version, "0x7f") {
					continue
				}
				version := s.Version
				if s.Selected != "" {
					version = s.Selected
				}
				find(fmt.Sprintf("%s %s %s %s", s.Src, version, s.Cipher, strings.Join(s.ALPN, ",")))
			}
			for _, s := range truth.TLS.SNIs {
				if n > 0 && !quic && !snis[strings.ToLower(s)] {
					t.Errorf("server name %q not found", s)
				}
			}
			// Nothing is found in link types and tunnels that are not read here.
			if n > 0 && miss > 0 && !invalid {
				t.Errorf("%d hellos not found", miss)
			}
			compared, missed = compared+n, missed+miss
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d found, %d not", compared, missed)
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
