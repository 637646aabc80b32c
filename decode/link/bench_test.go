package link

import "testing"

func BenchmarkDecode(b *testing.B) {
	udp := udpDatagram(20000, 30000, rtp())
	for _, c := range []struct {
		name  string
		lt    uint16
		frame []byte
	}{
		{"frame=eth-ip4-udp", 1, ethFrame(0x0800, ipv4Packet(17, udp))},
		{"frame=eth-ip6-udp", 1, ethFrame(0x86dd, ipv6Packet(17, udp))},
		{"frame=eth-ip4-tcp", 1, ethFrame(0x0800, ipv4Packet(6, tcpSegment(1, 2, 3, 4, ACK, nil, pattern(160))))},
		{"frame=vlan-ip4-udp", 1, ethFrame(0x8100, tagged(5, 0x0800, ipv4Packet(17, udp)))},
		{"frame=vxlan", 1, ethFrame(0x0800, ipv4Packet(17, udpDatagram(5555, 4789, cat(u32(0x08000000), u32(77<<8), ethFrame(0x0800, ipv4Packet(17, udp))))))},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := NewDecoder()
			var p Packet
			b.SetBytes(int64(len(c.frame)))
			b.ReportAllocs()
			for b.Loop() {
				if v := d.Decode(c.lt, c.frame, len(c.frame), 0, &p); v != Used {
					b.Fatal(v)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpkt/s")
		})
	}
}
