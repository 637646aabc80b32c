package link

import (
	"bytes"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
)

// What gopacket 1.1.19 gets wrong in the headers that this package reads by
// hand. When one of these fails after an update of gopacket, the hand-written
// code for it may go.

func panics(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

func TestGopacketFaults(t *testing.T) {
	df := gopacket.NilDecodeFeedback
	udp := udpDatagram(20000, 30000, rtp())
	decoded := func(first gopacket.LayerType, data []byte) gopacket.Packet {
		return gopacket.NewPacket(data, first, gopacket.Default)
	}
	for _, c := range []struct {
		name  string
		fault func() bool
	}{
		{"cooked header: panic on the address length", func() bool {
			var l layers.LinuxSLL
			return panics(func() {
				_ = l.DecodeFromBytes(cat(u16(4), u16(1), u16(0xffff), macA, u16(0), u16(0x0800), ipv4Packet(17, udp)), df)
			})
		}},
		{"IPv6: the padding after a packet with a hop-by-hop header is payload", func() bool {
			var l layers.IPv6
			err := l.DecodeFromBytes(cat(ipv6Packet(0, cat([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp)), make([]byte, 8)), df)
			return err == nil && len(l.Payload) > len(udp)
		}},
		{"IPv6: length 0 of segmentation offload is refused", func() bool {
			var l layers.IPv6
			ip := ipv6Packet(17, udp)
			ip[4], ip[5] = 0, 0
			return l.DecodeFromBytes(ip, df) != nil
		}},
		{"IPv6: allocates for hop-by-hop options", func() bool {
			var l layers.IPv6
			ip := ipv6Packet(0, cat([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp))
			return testing.AllocsPerRun(10, func() { _ = l.DecodeFromBytes(ip, df) }) > 0
		}},
		{"IPv6: a fragment is not put together", func() bool {
			p := decoded(layers.LayerTypeIPv6, ipv6Fragment(17, 5, 0, false, udp))
			return p.Layer(layers.LayerTypeUDP) == nil
		}},
		{"IPv4: a legal option of length 2 is an error", func() bool {
			var l layers.IPv4
			ip := cat([]byte{0x46}, ipv4Packet(17, nil)[1:], []byte{0x42, 2, 1, 0})
			ip[3] = 24
			return l.DecodeFromBytes(ip, df) != nil
		}},
		{"IPv4: length 0 beyond 65535 bytes wraps", func() bool {
			var l layers.IPv4
			ip := ipv4Packet(6, make([]byte, 65536))
			ip[2], ip[3] = 0, 0
			return l.DecodeFromBytes(ip, df) != nil || len(l.Payload) != 65536
		}},
		{"IPv4: any version", func() bool {
			var l layers.IPv4
			ip := ipv4Packet(17, udp)
			ip[0] = 0x95
			return l.DecodeFromBytes(ip, df) == nil
		}},
		{"TCP: a bad option is an error for the whole segment", func() bool {
			var l layers.TCP
			return l.DecodeFromBytes(tcpSegment(1, 2, 3, 4, ACK, []byte{8, 99, 0, 0}, udp), df) != nil
		}},
		{"GRE: panic on a short header", func() bool {
			var l layers.GRE
			return panics(func() { _ = l.DecodeFromBytes([]byte{0x20, 0, 8, 0}, df) })
		}},
		{"GTP-U: extension headers pile up in a reused layer", func() bool {
			var l layers.GTPv1U
			b := cat(gtpHeader(4, 20, []byte{0, 0, 0, 0x85, 1, 0, 9, 0}), make([]byte, 20))
			for range 3 {
				_ = l.DecodeFromBytes(b, df)
			}
			return len(l.GTPExtensionHeaders) > 1
		}},
		{"Geneve: options pile up in a reused layer", func() bool {
			var l layers.Geneve
			b := cat([]byte{1, 0}, u16(0x0800), u32(7<<8), make([]byte, 4), ipv4Packet(17, udp))
			for range 3 {
				_ = l.DecodeFromBytes(b, df)
			}
			return len(l.Options) > 1
		}},
		{"Geneve: version 1 passes for version 0", func() bool {
			var l layers.Geneve
			_ = l.DecodeFromBytes(cat([]byte{0x40, 0}, u16(0x0800), u32(7<<8), ipv4Packet(17, udp)), df)
			return l.Version == 0
		}},
		{"0x9100 is no tag", func() bool {
			p := decoded(layers.LayerTypeEthernet, ethFrame(0x9100, tagged(1, 0x0800, ipv4Packet(17, udp))))
			return p.Layer(layers.LayerTypeUDP) == nil
		}},
		{"PPPoE: panic on a length beyond the frame", func() bool {
			p := gopacket.NewPacket(ethFrame(0x8864, cat([]byte{0x11, 0}, u16(9), u16(999), []byte{0, 0x21}, ipv4Packet(17, udp))), layers.LayerTypeEthernet, gopacket.Default)
			return p.Layer(layers.LayerTypeUDP) == nil
		}},
		{"radiotap: removing the pad changes the frame", func() bool {
			b := cat([]byte{0, 0, 9, 0, 2, 0, 0, 0, 0x20}, []byte{0x88, 1}, make([]byte, 24), u16(0), []byte{0xaa, 0xaa, 3, 0, 0, 0}, u16(0x0800), ipv4Packet(17, udp), u32(0))
			was := bytes.Clone(b)
			var l layers.RadioTap
			_ = l.DecodeFromBytes(b, df)
			return !bytes.Equal(was, b)
		}},
		{"UDP: the port alone decides what follows", func() bool {
			p := decoded(layers.LayerTypeIPv4, ipv4Packet(17, udpDatagram(20000, 4789, rtp())))
			return p.Layer(layers.LayerTypeVXLAN) != nil
		}},
		{"ip4defrag keeps the caller's layer", func() bool {
			f := ip4defrag.NewIPv4Defragmenter()
			var l layers.IPv4
			_ = l.DecodeFromBytes(ipv4Fragment(17, 9, 0, true, udp[:80]), df)
			_, _ = f.DefragIPv4(&l)
			_ = l.DecodeFromBytes(ipv4Fragment(17, 9, 80, false, udp[80:]), df)
			whole, err := f.DefragIPv4(&l)
			return err != nil || whole == nil || !bytes.Equal(whole.Payload, udp)
		}},
	} {
		if !c.fault() {
			t.Errorf("no longer so: %s", c.name)
		}
	}
}
