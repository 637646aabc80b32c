package stun

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

// datagrams calls f with every UDP payload of a capture; quoted is 1 for one
// that an ICMP error quotes.
func datagrams(t *testing.T, path string, f func(payload []byte, quoted int)) {
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
		for _, l := range p.Layers() {
			switch l := l.(type) {
			case *layers.UDP:
				f(l.Payload, 0)
			case *layers.ICMPv4:
				quoted := gopacket.NewPacket(l.Payload, layers.LayerTypeIPv4, gopacket.DecodeOptions{NoCopy: true})
				if udp, ok := quoted.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
					f(udp.Payload, 1)
				}
			}
		}
	}
}

// TestTruth compares the messages of public captures with tshark's, where all
// of them were in UDP.
func TestTruth(t *testing.T) {
	if _, err := os.Stat(captures); err != nil {
		t.Skip(err)
	}
	total := 0
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
			STUN      struct {
				Counts                         map[string]int `json:"method_class_counts"`
				Usernames, Software, Addresses []string
			}
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			return err
		}
		if len(truth.STUN.Counts) == 0 || truth.Protocols["tcp"] != 0 {
			return nil
		}
		t.Run(truth.Path, func(t *testing.T) {
			damaged := 0
			counts := map[string][2]int{}
			count := func(quoted int, format string, args ...any) {
				c := counts[fmt.Sprintf(format, args...)]
				c[quoted]++
				counts[fmt.Sprintf(format, args...)] = c
			}
			seen := map[string]bool{}
			datagrams(t, captures+"/files/"+truth.Path, func(payload []byte, quoted int) {
				var m Message
				switch {
				case LooksChannelData(payload):
					count(quoted, "channel")
				case LooksClassic(payload):
					count(quoted, "classic/0x%04x", uint16(payload[0])<<8|uint16(payload[1]))
				case Looks(payload):
					total++
					if err := Decode(payload, &m); err != nil {
						damaged++
					}
					if m.Method > 0xff {
						return // WhatsApp's own methods, which tshark leaves alone
					}
					count(quoted, "0x%04x/0x00%d%d", uint16(m.Method), m.Class>>1, m.Class&1)
					seen[string(m.Username)], seen[string(m.Software)] = true, true
					for _, a := range []string{m.MappedAddress.Addr().String(), m.XORMappedAddress.Addr().String(),
						m.XORPeerAddress.Addr().String(), m.XORRelayedAddress.Addr().String()} {
						seen[a] = true
					}
				}
			})
			for k, n := range truth.STUN.Counts {
				// tshark counts most of what ICMP errors quote.
				if c := counts[k]; n < c[0] || n > c[0]+c[1] {
					t.Errorf("%s: %d messages and %d quoted, want %d", k, c[0], c[1], n)
				}
			}
			for k, n := range counts {
				if truth.STUN.Counts[k] == 0 && n[0] > 0 {
					t.Errorf("%s: %d messages, want none", k, n[0])
				}
			}
			for _, s := range slices.Concat(truth.STUN.Usernames, truth.STUN.Software, truth.STUN.Addresses) {
				// tshark reads an address whose length runs over the end.
				if !seen[s] && damaged == 0 {
					t.Errorf("%q not found", s)
				}
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total == 0 {
		t.Error("nothing was compared")
	}
}
