package link

import (
	"encoding/binary"
	"net/netip"
)

// plain reads the headers that most frames of a capture have, and no others:
// Ethernet without tags, IPv4 without options or fragments, UDP that is no
// tunnel or TCP, whole and with lengths that agree. It takes a fifth of the
// time of the walk, says the same of such a frame, and false of every other.
//
//	0           6           12   14                     34
//	| to        | from      |type| IPv4                 | UDP or TCP ...
func plain(data []byte, origLen int, p *Packet) bool {
	if len(data) < 14+20+8 || len(data) > maxFrame || origLen > maxFrame {
		return false
	}
	ip := data[14:]
	total := int(be16(ip[2:]))
	if be16(data[12:]) != 0x0800 || ip[0] != 0x45 || be16(ip[6:])&0x3fff != 0 || total > len(ip) {
		return false
	}
	src, dst, head := uint16(0), uint16(0), 0
	switch ip[9] {
	case ProtoUDP:
		if total < 28 || int(be16(ip[24:])) != total-20 {
			return false
		}
		src, dst, head = be16(ip[20:]), be16(ip[22:]), 28
		if tunnelPort(src) || tunnelPort(dst) {
			return false
		}
		*p = Packet{Proto: ProtoUDP}
	case ProtoTCP:
		if total < 40 {
			return false
		}
		n := int(ip[32]>>4) * 4
		if head = 20 + n; n < 20 || head > total {
			return false
		}
		src, dst = be16(ip[20:]), be16(ip[22:])
		*p = Packet{Proto: ProtoTCP, Seq: be32(ip[24:]), Ack: be32(ip[28:]), Window: be16(ip[34:]), Flags: ip[33] & (FIN | SYN | RST | PSH | ACK)}
	default:
		return false
	}
	p.Src, p.Dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	p.SrcPort, p.DstPort = src, dst
	p.TTL, p.IPID, p.IPLen = ip[8], be16(ip[4:]), total
	p.Payload, p.WireLen = ip[head:total], total-head
	p.HopHash = folded(mixed(mixed(0, binary.BigEndian.Uint64(data)), uint64(be32(data[8:]))))
	return true
}

// tunnelPort tells the ports on which tunnel looks for one.
func tunnelPort(port uint16) bool {
	switch port {
	case 2152, 4789, 6081, 8472:
		return true
	}
	return false
}
