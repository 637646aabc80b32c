package link

import (
	"encoding/binary"
	"net/netip"
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

func tcpSegment(src, dst, seq, ack, flags int, options, payload []byte) []byte {
	return cat(u16(src), u16(dst), u32(seq), u32(ack), []byte{byte((20 + len(options)) / 4 << 4), byte(flags)},
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
