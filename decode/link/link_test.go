package link

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
)

// Builders of frames for the tests, from the RFCs' header drawings.

var (
	macA = []byte{2, 0, 0, 0, 0, 1}
	macB = []byte{2, 0, 0, 0, 0, 2}
	ip4A = netip.MustParseAddr("192.0.2.1")
	ip4B = netip.MustParseAddr("198.51.100.2")
	ip6A = netip.MustParseAddr("2001:db8::1")
	ip6B = netip.MustParseAddr("2001:db8::2")
)

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func u16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func u32(v int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

func ethFrame(etherType int, payload []byte) []byte {
	return cat(macB, macA, u16(etherType), payload)
}

func tagged(id, etherType int, payload []byte) []byte {
	return cat(u16(id), u16(etherType), payload)
}

func ipv4Packet(proto int, payload []byte) []byte {
	return ipv4Fragment(proto, 0x1234, 0, false, payload)
}

func ipv4Fragment(proto, id, off int, more bool, payload []byte) []byte {
	frag := off / 8
	if more {
		frag |= 0x2000
	}
	a, b := ip4A.As4(), ip4B.As4()
	return cat([]byte{0x45, 0}, u16(20+len(payload)), u16(id), u16(frag), []byte{63, byte(proto), 0, 0}, a[:], b[:], payload)
}

func ipv6Packet(next int, payload []byte) []byte {
	a, b := ip6A.As16(), ip6B.As16()
	return cat(u32(0x60000000), u16(len(payload)), []byte{byte(next), 62}, a[:], b[:], payload)
}

// ipv6Fragment is a fragment header (RFC 8200, 4.5) and what follows it.
func ipv6Fragment(next, id, off int, more bool, payload []byte) []byte {
	if more {
		off |= 1
	}
	return ipv6Packet(44, cat([]byte{byte(next), 0}, u16(off), u32(id), payload))
}

func udpDatagram(src, dst int, payload []byte) []byte {
	return cat(u16(src), u16(dst), u16(8+len(payload)), u16(0), payload)
}

func tcpSegment(src, dst int, seq, ack uint32, flags int, options, payload []byte) []byte {
	return cat(u16(src), u16(dst), binary.BigEndian.AppendUint32(nil, seq), binary.BigEndian.AppendUint32(nil, ack), []byte{byte((20 + len(options)) / 4 << 4), byte(flags)},
		u16(502), u16(0), u16(0), options, payload)
}

// rtp is an RTP packet (RFC 3550, 5.1) with 160 bytes of PCMU.
func rtp() []byte {
	return cat([]byte{0x80, 0}, u16(7), u32(160), u32(0x11223344), make([]byte, 160))
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/256)
	}
	return b
}

func vxlanHeader(vni int) []byte { return cat(u32(0x08000000), u32(vni<<8)) }

// gtpHeader is a G-PDU for n bytes after the first 8 (TS 29.281, 5.1).
func gtpHeader(flags, n int, optional []byte) []byte {
	return cat([]byte{byte(0x30 | flags), 255}, u16(n+len(optional)), u32(0xabcdef), optional)
}

func TestEncapsulations(t *testing.T) {
	udp := udpDatagram(20000, 30000, rtp())
	v4, v6 := ipv4Packet(17, udp), ipv6Packet(17, udp)
	tunnel4 := func(dst int, payload []byte) []byte {
		return ethFrame(0x0800, ipv4Packet(17, udpDatagram(50000, dst, payload)))
	}
	deep := v4
	for range 7 {
		deep = ipv4Packet(4, deep)
	}
	ppp := cat([]byte{0x00, 0x21}, v4)
	wifi := func(flags ...byte) []byte { // data frame, no QoS
		return cat([]byte{0x08, flags[0]}, u16(0), macA, macB, macA, u16(0))
	}
	snap := cat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, u16(0x0800), v4)
	for _, c := range []struct {
		name  string
		lt    uint16
		frame []byte
		v6    bool
		vlan  uint16
	}{
		{"Ethernet", 1, ethFrame(0x0800, v4), false, 0},
		{"Ethernet IPv6", 1, ethFrame(0x86dd, v6), true, 0},
		{"802.1Q", 1, ethFrame(0x8100, tagged(5, 0x0800, v4)), false, 5},
		{"802.1ad and 802.1Q", 1, ethFrame(0x88a8, tagged(7, 0x8100, tagged(8, 0x86dd, v6))), true, 8},
		{"0x9100, four tags", 1, ethFrame(0x9100, tagged(1, 0x9100, tagged(2, 0x9100, tagged(3, 0x8100, tagged(4, 0x0800, v4))))), false, 4},
		{"802.1ah", 1, ethFrame(0x88e7, cat(u32(0x123), ethFrame(0x0800, v4))), false, 0},
		{"802.3 LLC SNAP", 1, ethFrame(len(snap), snap), false, 0},
		{"cooked", 113, cat(u16(4), u16(1), u16(6), macA, u16(0), u16(0x0800), v4), false, 0},
		// gopacket panics on this address length.
		{"cooked, address length beyond the field", 113, cat(u16(4), u16(1), u16(0xffff), macA, u16(0), u16(0x0800), v4), false, 0},
		{"cooked with a tag", 113, cat(u16(4), u16(1), u16(6), macA, u16(0), u16(0x8100), tagged(9, 0x86dd, v6)), true, 9},
		{"cooked 2", 276, cat(u16(0x0800), u16(0), u32(3), u16(1), []byte{4, 6}, macA, u16(0), v4), false, 0},
		{"raw 101", 101, v4, false, 0},
		{"raw 101 IPv6", 101, v6, true, 0},
		{"raw 12", 12, v4, false, 0},
		{"raw 14", 14, v6, true, 0},
		{"IPV4", 228, v4, false, 0},
		{"IPV6", 229, v6, true, 0},
		{"NULL, little endian", 0, cat([]byte{2, 0, 0, 0}, v4), false, 0},
		{"NULL, big endian", 0, cat([]byte{0, 0, 0, 2}, v4), false, 0},
		{"NULL, Darwin IPv6", 0, cat([]byte{30, 0, 0, 0}, v6), true, 0},
		{"LOOP, OpenBSD IPv6", 108, cat(u32(24), v6), true, 0},
		{"PPP", 9, ppp, false, 0},
		{"PPP, HDLC framing", 50, cat([]byte{0xff, 3}, ppp), false, 0},
		{"PPP, short protocol field", 9, cat([]byte{0xff, 3, 0x21}, v4), false, 0},
		{"PPP with direction", 204, cat([]byte{0, 0xff, 3}, ppp), false, 0},
		{"PPPoE link", 51, cat([]byte{0x11, 0}, u16(9), u16(len(ppp)), ppp), false, 0},
		{"PPPoE over Ethernet", 1, ethFrame(0x8864, cat([]byte{0x11, 0}, u16(9), u16(len(ppp)), ppp, make([]byte, 6))), false, 0},
		{"Cisco HDLC", 104, cat([]byte{0x0f, 0}, u16(0x0800), v4), false, 0},
		{"frame relay", 107, cat([]byte{0x18, 0x41, 3, 0xcc}, v4), false, 0},
		{"ATM LLC", 100, snap, false, 0},
		{"802.11", 105, cat(wifi(1), snap, make([]byte, 4)), false, 0},
		{"802.11, four addresses", 105, cat(wifi(3), macB, snap), false, 0},
		{"802.11 QoS", 105, cat([]byte{0x88}, wifi(1)[1:], u16(0), snap), false, 0},
		{"radiotap", 127, cat([]byte{0, 0, 9, 0, 2, 0, 0, 0, 0x10}, wifi(1), snap, make([]byte, 4)), false, 0},
		{"radiotap, padded QoS header", 127, cat([]byte{0, 0, 17, 0, 3, 0, 0, 0}, make([]byte, 8), []byte{0x20}, []byte{0x88}, wifi(1)[1:], u16(0), u16(0), snap), false, 0},
		{"NFLOG", 239, cat([]byte{2, 0, 0, 0, 6, 0, 10, 0, 'x', 0, 0, 0}, []byte{byte(4 + len(v4)), 0, 9, 0}, v4), false, 0},
		{"MPLS", 1, ethFrame(0x8847, cat(u32(16<<12|255), u32(17<<12|1<<8|255), v4)), false, 0},
		{"MPLS IPv6", 1, ethFrame(0x8847, cat(u32(17<<12|1<<8|255), v6)), true, 0},
		{"MPLS pseudowire", 1, ethFrame(0x8847, cat(u32(17<<12|1<<8|255), u32(0), ethFrame(0x0800, v4))), false, 0},
		{"GRE", 1, ethFrame(0x0800, ipv4Packet(47, cat(u16(0), u16(0x0800), v4))), false, 0},
		{"GRE, checksum, key and sequence", 1, ethFrame(0x0800, ipv4Packet(47, cat(u16(0xb000), u16(0x86dd), u32(0), u32(5), u32(6), v6))), true, 0},
		{"GRE, bridged", 101, ipv4Packet(47, cat(u16(0x2000), u16(0x6558), u32(5), ethFrame(0x8100, tagged(3, 0x0800, v4)))), false, 3},
		{"GRE 1, PPP (PPTP)", 101, ipv4Packet(47, cat(u16(0x3081), u16(0x880b), u32(5), u32(6), u32(7), ppp)), false, 0},
		{"ERSPAN I", 101, ipv4Packet(47, cat(u16(0), u16(0x88be), ethFrame(0x0800, v4))), false, 0},
		{"ERSPAN II", 101, ipv4Packet(47, cat(u16(0x1000), u16(0x88be), u32(1), u32(0x10000001), u32(0), ethFrame(0x0800, v4))), false, 0},
		{"IP in IP", 101, ipv4Packet(4, v4), false, 0},
		{"IPv6 in IPv4", 101, ipv4Packet(41, v6), true, 0},
		{"IPv4 in IPv6", 101, ipv6Packet(4, v4), false, 0},
		{"eight IP headers", 101, deep, false, 0},
		{"AH", 101, ipv4Packet(51, cat([]byte{17, 4}, u16(0), make([]byte, 20), udp)), false, 0},
		{"VXLAN", 1, tunnel4(4789, cat(vxlanHeader(7), ethFrame(0x0800, v4))), false, 0},
		{"VXLAN, Linux port", 1, tunnel4(8472, cat(vxlanHeader(7), ethFrame(0x86dd, v6))), true, 0},
		{"Geneve, Ethernet, options", 1, tunnel4(6081, cat([]byte{2, 0}, u16(0x6558), u32(7<<8), make([]byte, 8), ethFrame(0x0800, v4))), false, 0},
		{"Geneve, IPv4", 1, tunnel4(6081, cat([]byte{0, 0}, u16(0x0800), u32(7<<8), v4)), false, 0},
		{"GTP-U", 1, tunnel4(2152, cat(gtpHeader(0, len(v4), nil), v4)), false, 0},
		{"GTP-U, sequence number", 1, tunnel4(2152, cat(gtpHeader(2, len(v6), u32(0x00010000)), v6)), true, 0},
		{"GTP-U, extension header", 1, tunnel4(2152, cat(gtpHeader(4, len(v4), []byte{0, 0, 0, 0x85, 1, 0, 9, 0}), v4)), false, 0},
		{"IPv6 extension headers", 101, ipv6Packet(0, cat([]byte{43, 0}, make([]byte, 6), []byte{60, 0}, make([]byte, 6), []byte{17, 1}, make([]byte, 14), udp)), true, 0},
		{"IPv6 atomic fragment", 101, ipv6Fragment(17, 5, 0, false, udp), true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDecoder()
			var p Packet
			if v := d.Decode(c.lt, c.frame, len(c.frame), 0, &p); v != Used {
				t.Fatalf("refused: %s: %v", v.Layer(), v)
			}
			want := Packet{Src: ip4A, Dst: ip4B, SrcPort: 20000, DstPort: 30000, Proto: 17, TTL: 63, IPID: 0x1234, WireLen: 172, IPLen: 200, VLAN: c.vlan}
			if c.v6 {
				want.Src, want.Dst, want.TTL, want.IPID, want.IPLen = ip6A, ip6B, 62, 0, 220
			}
			if c.name == "IPv6 extension headers" {
				want.IPLen += 32
			}
			if c.name == "IPv6 atomic fragment" {
				want.IPID, want.IPLen = 5, 228
			}
			if c.name == "AH" {
				want.IPLen += 24
			}
			if !bytes.Equal(p.Payload, rtp()) {
				t.Errorf("payload % x", p.Payload)
			}
			want.Payload, want.HopHash = p.Payload, p.HopHash
			if !reflect.DeepEqual(p, want) {
				t.Errorf("got  %+v\nwant %+v", p, want)
			}
			// All cuts: no refusal but for a cut, and never a wrong length.
			for n := range c.frame {
				short := bytes.Clone(c.frame[:n])
				switch v := NewDecoder().Decode(c.lt, short, len(c.frame), 0, &p); v {
				case Used:
					if len(p.Payload) > p.WireLen || p.WireLen == len(p.Payload) && len(c.frame)-n > 10 {
						t.Errorf("cut at %d: %d of %d payload bytes", n, len(p.Payload), p.WireLen)
					}
				case FrameCut, IPCut, UDPCut:
				default:
					t.Errorf("cut at %d: %s: %v", n, v.Layer(), v)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	udp := udpDatagram(1, 2, pattern(20))
	tcp := tcpSegment(1, 2, 3, 4, ACK, nil, nil)
	deep := ipv4Packet(17, udp)
	for range 8 {
		deep = ipv4Packet(4, deep)
	}
	badIHL := ipv4Packet(17, udp)
	badIHL[0] = 0x44
	badOffset := bytes.Clone(tcp)
	badOffset[12] = 0x40
	badLength := bytes.Clone(udp)
	badLength[5] = 7
	loop := bytes.Repeat([]byte{0x81, 0, 0, 1}, 40)
	for _, c := range []struct {
		name  string
		lt    uint16
		frame []byte
		want  Verdict
	}{
		{"link type", 147, []byte{1}, FrameLinkType},
		{"nothing", 1, nil, FrameCut},
		{"arp", 1, ethFrame(0x0806, make([]byte, 28)), FrameARP},
		{"lldp", 1, ethFrame(0x88cc, make([]byte, 28)), FrameNotIP},
		{"spanning tree", 1, ethFrame(38, cat([]byte{0x42, 0x42, 3}, make([]byte, 35))), FrameNotIP},
		{"netlink", 113, cat(u16(4), u16(824), u16(0), make([]byte, 8), u16(0x0800), ipv4Packet(17, udp)), FrameNotIP},
		{"five tags", 1, cat(macA, macB, loop), FrameDeep},
		{"protected 802.11", 105, cat([]byte{0x08, 0x41}, make([]byte, 60)), FrameProtected},
		{"beacon", 105, cat([]byte{0x80, 0}, make([]byte, 60)), FrameNotIP},
		{"nine IP headers", 101, deep, IPDeep},
		{"icmp", 101, ipv4Packet(1, cat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, ipv4Packet(17, udp))), IPICMP},
		{"icmpv6", 101, ipv6Packet(58, cat([]byte{1, 4, 0, 0, 0, 0, 0, 0}, ipv6Packet(17, udp))), IPICMP},
		{"igmp", 101, ipv4Packet(2, make([]byte, 8)), IPIGMP},
		{"esp", 101, ipv4Packet(50, make([]byte, 40)), IPOther},
		{"no next header", 101, ipv6Packet(59, nil), IPOther},
		{"short IHL", 101, badIHL, IPBad},
		{"version 5", 228, cat([]byte{0x55}, ipv4Packet(17, udp)[1:]), FrameNotIP},
		{"udp length 7", 101, ipv4Packet(17, badLength), UDPBad},
		{"udp of 4 bytes", 101, ipv4Packet(17, udp[:4]), UDPBad},
		{"tcp data offset", 101, ipv4Packet(6, badOffset), TCPBad},
		{"tcp of 12 bytes", 101, ipv4Packet(6, tcp[:12]), TCPBad},
		{"last fragment beyond 65535", 101, ipv4Fragment(17, 1, 65528, false, pattern(100)), IPBad},
		{"extension headers without end", 101, ipv6Packet(60, bytes.Repeat([]byte{60, 0, 0, 0, 0, 0, 0, 0}, 100)), IPBad},
	} {
		var p Packet
		if v := NewDecoder().Decode(c.lt, c.frame, len(c.frame), 0, &p); v != c.want {
			t.Errorf("%s: %s: %v, want %s: %v", c.name, v.Layer(), v, c.want.Layer(), c.want)
		}
	}
}

func TestTCP(t *testing.T) {
	seg := tcpSegment(443, 40000, 0xfffffff0, 7, SYN|ACK|PSH, []byte{2, 4, 5, 0xb4, 1, 1, 4, 2}, pattern(30))
	frame := cat(ethFrame(0x0800, ipv4Packet(6, seg)), make([]byte, 9)) // a trailer
	var p Packet
	if v := NewDecoder().Decode(1, frame, len(frame), 0, &p); v != Used {
		t.Fatal(v)
	}
	want := Packet{Src: ip4A, Dst: ip4B, SrcPort: 443, DstPort: 40000, Proto: 6, TTL: 63, IPID: 0x1234, Payload: pattern(30), WireLen: 30, IPLen: 78,
		Seq: 0xfffffff0, Ack: 7, Flags: SYN | ACK | PSH, Window: 502, HopHash: p.HopHash}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	cut := frame[:14+20+28+5]
	if v := NewDecoder().Decode(1, cut, len(frame), 0, &p); v != Used || len(p.Payload) != 5 || p.WireLen != 30 {
		t.Errorf("cut in the payload: %v, %d of %d bytes", v, len(p.Payload), p.WireLen)
	}
	if v := NewDecoder().Decode(1, frame[:14+20+24], len(frame), 0, &p); v != TCPCut {
		t.Errorf("cut in the options: %v", v)
	}
}

// A short frame is padded to 60 bytes; the padding is no payload.
func TestPadding(t *testing.T) {
	for _, ip := range [][]byte{ipv4Packet(17, udpDatagram(1, 2, []byte("hi"))), ipv6Packet(17, udpDatagram(1, 2, []byte("hi")))} {
		frame := cat(ethFrame(map[byte]int{4: 0x0800, 6: 0x86dd}[ip[0]>>4], ip), make([]byte, 20))
		var p Packet
		if v := NewDecoder().Decode(1, frame, len(frame), 0, &p); v != Used || string(p.Payload) != "hi" || p.WireLen != 2 {
			t.Errorf("%v %q %d", v, p.Payload, p.WireLen)
		}
	}
}

// UDP's own length ends the payload where it is less than IP's.
func TestUDPLength(t *testing.T) {
	frame := ipv4Packet(17, cat(udpDatagram(1, 2, []byte("payload")), []byte("more")))
	var p Packet
	if v := NewDecoder().Decode(101, frame, len(frame), 0, &p); v != Used || string(p.Payload) != "payload" || p.WireLen != 7 {
		t.Errorf("%v %q %d", v, p.Payload, p.WireLen)
	}
}

// RTP, RTCP and others on the ports of tunnels and of gopacket's decoders.
func TestPortsProveNothing(t *testing.T) {
	payloads := [][]byte{rtp(), cat([]byte{0x80, 200}, u16(6), make([]byte, 24)), []byte("hello, hello"), {8}, nil,
		cat(u32(0x08000000), u32(5<<8), make([]byte, 60)),                       // VXLAN with nothing in it
		cat([]byte{0, 0}, u16(0x0800), u32(5<<8), make([]byte, 60)),             // Geneve, not IP
		cat([]byte{0x30, 255}, u16(60), u32(1), []byte{0x45}, make([]byte, 59)), // GTP-U, total length 0
		cat([]byte{0x30, 1}, u16(4), u32(1), u32(0)),                            // GTP-U echo
		cat(vxlanHeader(1), ethFrame(0x0806, make([]byte, 28))),
		cat(vxlanHeader(1), ethFrame(0x0800, ipv4Packet(17, udpDatagram(1, 2, rtp()))[:100])), // IP longer than the datagram
		cat(vxlanHeader(1), ethFrame(0x86dd, ipv6Packet(17, udpDatagram(1, 2, rtp()))[:100])),
	}
	for _, port := range []int{53, 123, 1812, 2152, 3784, 4789, 5060, 5061, 6081, 6343, 8472} {
		for i, payload := range payloads {
			for _, dg := range [][]byte{udpDatagram(40000, port, payload), udpDatagram(port, 40000, payload)} {
				frame := ethFrame(0x8100, tagged(3, 0x0800, ipv4Packet(17, dg)))
				var p, q Packet
				d := NewDecoder()
				if v := d.Decode(1, frame, len(frame), 0, &p); v != Used || !bytes.Equal(p.Payload, payload) || p.WireLen != len(payload) || p.VLAN != 3 {
					t.Errorf("port %d, payload %d: %v, % x", port, i, v, p.Payload)
				}
				// A refused guess leaves no trace in the hop hash either.
				plain := ethFrame(0x8100, tagged(3, 0x0800, ipv4Packet(17, udpDatagram(1, 2, payload))))
				if d.Decode(1, plain, len(plain), 0, &q); p.HopHash != q.HopHash {
					t.Errorf("port %d, payload %d: hop hash changed", port, i)
				}
			}
		}
	}
}

func TestHopHash(t *testing.T) {
	hash := func(frame []byte) uint32 {
		var p Packet
		if v := NewDecoder().Decode(1, frame, len(frame), 0, &p); v != Used {
			t.Fatal(v)
		}
		return p.HopHash
	}
	v4 := ipv4Packet(17, udpDatagram(1, 2, rtp()))
	base := ethFrame(0x0800, v4)
	routed := bytes.Clone(base)
	routed[14+8]-- // TTL
	if hash(base) != hash(routed) {
		t.Error("the TTL changes the hash")
	}
	other := ethFrame(0x0800, ipv4Packet(17, udpDatagram(3, 4, pattern(50))))
	if hash(base) != hash(other) {
		t.Error("another packet of the same way has another hash")
	}
	seen := map[uint32]string{}
	macs := bytes.Clone(base)
	macs[11]++
	outer := ipv4Packet(4, v4)
	outer2 := bytes.Clone(outer)
	outer2[15]++
	vx := func(vni int) []byte {
		return ethFrame(0x0800, ipv4Packet(17, udpDatagram(9, 4789, cat(vxlanHeader(vni), base))))
	}
	for name, frame := range map[string][]byte{
		"plain": base, "another MAC": macs, "tag 5": ethFrame(0x8100, tagged(5, 0x0800, v4)), "tag 6": ethFrame(0x8100, tagged(6, 0x0800, v4)),
		"priority tag": ethFrame(0x8100, tagged(0, 0x0800, v4)), "tunnel": ethFrame(0x0800, outer), "another tunnel": ethFrame(0x0800, outer2),
		"vxlan 1": vx(1), "vxlan 2": vx(2),
	} {
		h := hash(frame)
		if o, ok := seen[h]; ok {
			t.Errorf("%s and %s have the same hash", name, o)
		}
		seen[h] = name
	}
}

func TestMappedAddresses(t *testing.T) {
	frame := ipv6Packet(17, udpDatagram(1, 2, rtp()))
	copy(frame[8:], cat(make([]byte, 10), []byte{0xff, 0xff, 192, 0, 2, 1}))
	var p Packet
	if v := NewDecoder().Decode(101, frame, len(frame), 0, &p); v != Used || p.Src != ip4A || p.Dst != ip6B {
		t.Errorf("%v %v %v", v, p.Src, p.Dst)
	}
}

// Length 0 in the IP header: segmentation offload, the capture's length counts.
func TestOffload(t *testing.T) {
	big := pattern(70000)
	v4 := ipv4Packet(6, tcpSegment(1, 2, 3, 4, ACK, nil, big))
	v4[2], v4[3] = 0, 0
	v6 := ipv6Packet(6, tcpSegment(1, 2, 3, 4, ACK, nil, big))
	v6[4], v6[5] = 0, 0
	for _, ip := range [][]byte{v4, v6} {
		var p Packet
		if v := NewDecoder().Decode(101, ip, len(ip), 0, &p); v != Used || !bytes.Equal(p.Payload, big) || p.WireLen != len(big) || p.IPLen != len(ip) {
			t.Errorf("%v: %d payload bytes, %d on the wire, IP %d", v, len(p.Payload), p.WireLen, p.IPLen)
		}
		if v := NewDecoder().Decode(101, ip[:1000], len(ip), 0, &p); v != Used || p.WireLen != len(big) {
			t.Errorf("cut: %v, %d on the wire", v, p.WireLen)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	udp := udpDatagram(20000, 30000, rtp())
	frames := [][]byte{
		ethFrame(0x0800, ipv4Packet(17, udp)),
		ethFrame(0x86dd, ipv6Packet(17, udp)),
		ethFrame(0x86dd, ipv6Packet(0, cat([]byte{17, 0, 5, 2, 0, 0, 1, 0}, udp))),
		ethFrame(0x0800, ipv4Packet(6, tcpSegment(1, 2, 3, 4, ACK, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, udp))),
		ethFrame(0x0800, ipv4Packet(17, udpDatagram(9, 4789, cat(vxlanHeader(1), ethFrame(0x0800, ipv4Packet(17, udp)))))),
		ethFrame(0x0800, ipv4Packet(17, udpDatagram(9, 6081, cat([]byte{2, 0}, u16(0x0800), u32(7<<8), make([]byte, 8), ipv4Packet(17, udp))))),
	}
	d := NewDecoder()
	var p Packet
	if n := testing.AllocsPerRun(500, func() {
		for i, f := range frames {
			if v := d.Decode(1, f, len(f), 0, &p); v != Used {
				t.Fatal(i, v)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDecode feeds two frames, so that fragments can meet.
func FuzzDecode(f *testing.F) {
	udp := udpDatagram(20000, 30000, rtp())
	v4 := ipv4Packet(17, udp)
	for lt := range uint16(280) {
		if firstHeader(lt) == hRawIP {
			f.Add(lt, v4, v4, 0)
		}
	}
	f.Add(uint16(1), ethFrame(0x0800, ipv4Fragment(17, 9, 0, true, udp[:80])), ethFrame(0x0800, ipv4Fragment(17, 9, 80, false, udp[80:])), 5)
	f.Add(uint16(1), ethFrame(0x86dd, ipv6Fragment(17, 9, 80, false, udp[80:])), ethFrame(0x86dd, ipv6Fragment(17, 9, 0, true, udp[:80])), 0)
	f.Add(uint16(1), ethFrame(0x0800, ipv4Packet(17, udpDatagram(9, 4789, cat(vxlanHeader(1), ethFrame(0x8100, tagged(1, 0x0800, v4)))))), []byte{}, 0)
	f.Add(uint16(1), ethFrame(0x0800, ipv4Packet(17, udpDatagram(9, 2152, cat(gtpHeader(4, len(v4), []byte{0, 0, 0, 0x85, 1, 0, 9, 0}), v4)))), []byte{}, 0)
	f.Add(uint16(1), ethFrame(0x0800, ipv4Packet(47, cat(u16(0xb000), u16(0x6558), u32(0), u32(5), u32(6), ethFrame(0x8847, cat(u32(1<<8), v4))))), []byte{}, 0)
	f.Add(uint16(1), ethFrame(0x8864, cat([]byte{0x11, 0}, u16(9), u16(99), []byte{0x21}, v4)), []byte{}, 0)
	f.Add(uint16(113), cat(u16(4), u16(1), u16(0xffff), macA, u16(0), u16(0x0800), v4), []byte{}, 0)
	f.Add(uint16(276), cat(u16(0x0800), u16(0), u32(3), u16(1), []byte{4, 6}, macA, u16(0), v4), []byte{}, 0)
	f.Add(uint16(0), cat([]byte{2, 0, 0, 0}, v4), []byte{}, 0)
	f.Add(uint16(107), cat([]byte{0x18, 0x41, 3, 0xcc}, v4), []byte{}, 0)
	f.Add(uint16(127), cat([]byte{0, 0, 17, 0, 3, 0, 0, 0}, make([]byte, 8), []byte{0x20}, []byte{0x88, 1}, make([]byte, 60)), []byte{}, 0)
	f.Add(uint16(239), cat([]byte{2, 0, 0, 0, 6, 0, 10, 0, 'x', 0, 0, 0}, []byte{byte(4 + len(v4)), 0, 9, 0}, v4), []byte{}, 0)
	f.Fuzz(func(t *testing.T, lt uint16, a, b []byte, extra int) {
		d := NewDecoder()
		var p Packet
		var kept []byte
		for i, frame := range [][]byte{a, b, a, b} {
			orig := bytes.Clone(frame)
			v := d.Decode(lt, frame, len(frame)+min(max(extra, 0), 1000), int64(i), &p)
			if !bytes.Equal(orig, frame) {
				t.Fatal("the frame was changed")
			}
			if v >= numVerdicts || v.String() == "" || (v == Used) != (v.Layer() == "") {
				t.Fatalf("verdict %d %q %q", v, v.Layer(), v)
			}
			if v != Used {
				continue
			}
			if !p.Src.IsValid() || !p.Dst.IsValid() || p.Src.Is4In6() || len(p.Payload) > p.WireLen || p.WireLen > p.IPLen || p.Quoted {
				t.Fatalf("%+v", p)
			}
			if p.Proto != ProtoTCP && p.Proto != ProtoUDP && p.Proto != ProtoSCTP {
				t.Fatalf("protocol %d", p.Proto)
			}
			kept = append(kept[:0], p.Payload...)
		}
		if n, bytes := d.Pending(); n < 0 || n > 4 || bytes < 0 || n > 0 && bytes < n {
			t.Fatalf("%d fragments of %d bytes pending", n, bytes)
		}
	})
}
