package stun

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/internal/captest"
)

// quoted calls f with the UDP payloads that ICMP errors quote, which decode/link
// refuses.
func quoted(t *testing.T, c captest.Capture, f func(payload []byte)) {
	t.Helper()
	err := c.Frames(t, func(frame *pcap.Frame) {
		p := gopacket.NewPacket(frame.Data, layers.LinkType(frame.Link), gopacket.DecodeOptions{NoCopy: true})
		if icmp, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
			quote := gopacket.NewPacket(icmp.Payload, layers.LayerTypeIPv4, gopacket.DecodeOptions{NoCopy: true})
			if udp, ok := quote.Layer(layers.LayerTypeUDP).(*layers.UDP); ok {
				f(udp.Payload)
			}
		}
	})
	if err != nil {
		t.Log(err)
	}
}

// TestTruth compares the messages of public captures with tshark's, where all
// of them were in UDP.
func TestTruth(t *testing.T) {
	total := 0
	type recorded struct {
		Protocols map[string]int
		STUN      struct {
			Counts                         map[string]int `json:"method_class_counts"`
			Usernames, Software, Addresses []string
		}
	}
	has := func(truth *recorded) bool { return len(truth.STUN.Counts) > 0 && truth.Protocols["tcp"] == 0 }
	captest.Truths(t, os.DirFS(captest.Shared), has, func(t *testing.T, c captest.Capture, truth *recorded) {
		damaged := 0
		counts := map[string][2]int{}
		count := func(quoted int, format string, args ...any) {
			c := counts[fmt.Sprintf(format, args...)]
			c[quoted]++
			counts[fmt.Sprintf(format, args...)] = c
		}
		seen := map[string]bool{}
		read := func(payload []byte, quoted int) {
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
		}
		c.Datagrams(t, func(_ string, p *link.Packet) { read(p.Payload, 0) })
		quoted(t, c, func(payload []byte) { read(payload, 1) })
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
	if total == 0 {
		t.Error("nothing was compared")
	}
}
