package rtp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

const captures = "../../../shared/captures"

// datagrams calls f with every UDP payload of a capture.
func datagrams(t *testing.T, path string, f func(flow string, payload []byte)) {
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
	for {
		data, _, err := src.ReadPacketData()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Log(err)
			}
			return
		}
		p := gopacket.NewPacket(data, src.LinkType(), gopacket.DecodeOptions{NoCopy: true})
		var from, to string
		for _, l := range p.Layers() {
			switch l := l.(type) {
			case *layers.IPv4:
				from, to = l.SrcIP.String(), l.DstIP.String()
			case *layers.IPv6:
				from, to = l.SrcIP.String(), l.DstIP.String()
			case *layers.UDP:
				f(fmt.Sprint(from, " ", uint16(l.SrcPort), " ", to, " ", uint16(l.DstPort)), l.Payload)
			}
		}
	}
}

// TestTruth compares the packets of each stream of public captures with
// tshark's count.
func TestTruth(t *testing.T) {
	if _, err := os.Stat(captures); err != nil {
		t.Skip(err)
	}
	compared, more := 0, 0
	err := filepath.WalkDir(captures+"/truth", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var truth struct {
			Path    string
			Streams []struct {
				Src, Dst     string
				Sport, Dport int
				SSRC         string
				Packets      int
			} `json:"rtp_streams"`
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			return err
		}
		if len(truth.Streams) == 0 {
			return nil
		}
		t.Run(truth.Path, func(t *testing.T) {
			have := map[string]int{}
			datagrams(t, captures+"/files/"+truth.Path, func(flow string, payload []byte) {
				var h Header
				if Looks(payload) && Decode(payload, len(payload), &h) {
					have[fmt.Sprintf("%s 0x%08x", flow, h.SSRC)]++
				}
			})
			for _, s := range truth.Streams {
				key := fmt.Sprintf("%s %d %s %d %s", s.Src, s.Sport, s.Dst, s.Dport, s.SSRC)
				// tshark leaves out packets before it knows of the stream, and
				// those that it takes for T.38 after a change of media.
				if have[key] < s.Packets {
					t.Errorf("%s: %d packets, want %d", key, have[key], s.Packets)
				}
				if have[key] != s.Packets {
					more++
				}
				compared++
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if compared == 0 || more*10 > compared {
		t.Errorf("%d streams, of which %d have more packets", compared, more)
	}
}
