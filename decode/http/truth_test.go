package http

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

// TestTruth compares start lines of public captures with tshark's.
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
			HTTP      struct {
				Records []struct {
					Src                              string
					Method, Host, URI, Status, CType []string
				}
			}
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			return err
		}
		if len(truth.HTTP.Records) == 0 {
			return nil
		}
		t.Run(truth.Path, func(t *testing.T) {
			have := map[string]int{}
			order, segs := flows(t, captures+"/files/"+truth.Path)
			for _, key := range order {
				var p Parser
				from, _, _ := strings.Cut(key, " ")
				next := func() {
					for {
						var m Message
						ok, err := p.Next(&m)
						if err != nil {
							continue
						}
						if !ok {
							return
						}
						if m.Request {
							have[from+" "+m.Method+" "+m.Target+" "+m.Host]++
						} else {
							have[fmt.Sprint(from, " ", m.Status, " ", m.ContentType)]++
						}
					}
				}
				replay(segs[key], func(b []byte) { p.Feed(b); next() }, func(n int64) { p.Lost(n); next() })
				p.Finish()
				next()
			}
			n, miss := 0, 0
			for _, r := range truth.HTTP.Records {
				if len(r.Method)+len(r.Status) != 1 || slices.Contains(r.Method, "M-SEARCH") { // SSDP is UDP
					continue
				}
				host := strings.Join(r.Host, ",")
				key := r.Src + " "
				if len(r.Method) == 1 {
					if len(r.URI) != 1 {
						continue
					}
					key += r.Method[0] + " " + r.URI[0] + " " + host
				} else {
					key += r.Status[0] + " " + strings.Join(r.CType, ",")
				}
				if have[key] == 0 {
					miss++
					t.Logf("not found: %.200s", key)
					continue
				}
				have[key]--
				n++
			}
			t.Logf("%d of %d messages", n, len(truth.HTTP.Records))
			// Nothing is found where the stream is encrypted, tunnelled or of a
			// link type that is not read here; one request has no valid line.
			if n > 0 && miss > 1 {
				t.Errorf("%d messages not found", miss)
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
