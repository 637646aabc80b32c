package rtp

import (
	"fmt"
	"os"
	"testing"

	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/internal/captest"
)

// TestTruth compares the packets of each stream of public captures with
// tshark's count.
func TestTruth(t *testing.T) {
	compared, more := 0, 0
	type recorded struct {
		Streams []struct {
			Src, Dst     string
			Sport, Dport int
			SSRC         string
			Packets      int
		} `json:"rtp_streams"`
	}
	has := func(truth *recorded) bool { return len(truth.Streams) > 0 }
	captest.Truths(t, os.DirFS(captest.Shared), has, func(t *testing.T, c captest.Capture, truth *recorded) {
		have := map[string]int{}
		c.Datagrams(t, func(_ string, p *link.Packet) {
			var h Header
			if Looks(p.Payload) && Decode(p.Payload, len(p.Payload), &h) {
				have[fmt.Sprintf("%s %d %s %d 0x%08x", p.Src, p.SrcPort, p.Dst, p.DstPort, h.SSRC)]++
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
	if compared == 0 || more*10 > compared {
		t.Errorf("%d streams, of which %d have more packets", compared, more)
	}
}
