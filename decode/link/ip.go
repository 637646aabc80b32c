package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
)

// enter counts an IP header and folds the one around it into the hop hash.
// A whole and consistent IP header is also the proof of a guessed tunnel.
func (d *Decoder) enter() bool {
	if d.depth++; d.depth > maxDepth {
		d.refuse(IPDeep)
		return false
	}
	if d.depth > 1 {
		d.outer()
	}
	d.guessed = false
	return true
}

// outer folds the addresses of an IP header that turned out to be a tunnel's.
func (d *Decoder) outer() {
	for _, a := range [2]netip.Addr{d.p.Src, d.p.Dst} {
		b := a.As16()
		d.mix(binary.BigEndian.Uint64(b[:]))
		d.mix(binary.BigEndian.Uint64(b[8:]))
	}
}

func (d *Decoder) ipv4(data []byte) {
	if len(data) < 20 {
		d.short(20, IPCut, IPBad)
		return
	}
	head := int(data[0]&15) * 4
	total := int(be16(data[2:]))
	if total == 0 && !d.guessed {
		// Segmentation offload: the capture was taken before the card
		// filled the length in. gopacket takes len(data) & 0xffff.
		total = d.wire
	}
	if data[0]>>4 != 4 || head < 20 || total < head || (d.guessed && total > d.wire) {
		d.refuse(IPBad)
		return
	}
	if len(data) < head {
		d.short(head, IPCut, IPBad)
		return
	}
	// The error is of no use here: after the checks above it can only be
	// about the options, which change nothing about the payload, or about a
	// length that was just accepted.
	_ = d.ip4.DecodeFromBytes(data, gopacket.NilDecodeFeedback)
	if !d.enter() {
		return
	}
	p := d.p
	p.Src, p.Dst = netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
	p.TTL, p.IPID, p.IPLen = d.ip4.TTL, d.ip4.Id, total
	d.wire = total
	if total < len(data) {
		data = data[:total] // what follows is padding
	}
	proto := uint8(d.ip4.Protocol)
	if frag := be16(data[6:]) & 0x3fff; frag != 0 { // more fragments, or an offset
		if !carried(proto) {
			d.protocol(proto, data, head)
			return
		}
		d.fragment(fragmentKey{p.Src, p.Dst, uint32(p.IPID), proto}, proto,
			int(frag&0x1fff)*8, frag&0x2000 != 0, data[head:], total-head, head)
		return
	}
	d.protocol(proto, data, head)
}

// ipv6 is by hand: gopacket lets the padding after a packet with a hop-by-hop
// header into its payload, allocates for each of that header's options, and
// refuses the length 0 of segmentation offload.
func (d *Decoder) ipv6(data []byte) {
	if len(data) < 40 {
		d.short(40, IPCut, IPBad)
		return
	}
	total := 40 + int(be16(data[4:]))
	if total == 40 && !d.guessed {
		total = d.wire
	}
	if data[0]>>4 != 6 || (d.guessed && total > d.wire) {
		d.refuse(IPBad)
		return
	}
	if !d.enter() {
		return
	}
	p := d.p
	p.Src, p.Dst = netip.AddrFrom16([16]byte(data[8:24])).Unmap(), netip.AddrFrom16([16]byte(data[24:40])).Unmap()
	p.TTL, p.IPID, p.IPLen = data[7], 0, total
	d.wire = total
	if total < len(data) {
		data = data[:total]
	}
	d.extensions(data[6], data, 40)
}

// maxExtensions bounds the headers in a chain; each is at least 8 bytes, so it
// is generous.
const maxExtensions = 32

// extensions walks IPv6's extension headers (RFC 8200, 4) from byte n of data,
// the first of kind proto.
func (d *Decoder) extensions(proto uint8, data []byte, n int) {
	for range maxExtensions {
		switch proto {
		case 0, 43, 60, 135, 139, 140: // hop-by-hop, routing, destination, mobility, HIP, shim6
			if len(data) < n+8 {
				d.short(n+8, IPCut, IPBad)
				return
			}
			proto, n = data[n], n+8+int(data[n+1])*8
		case 44: // fragment
			if len(data) < n+8 {
				d.short(n+8, IPCut, IPBad)
				return
			}
			p, id, off := d.p, be32(data[n+4:]), be16(data[n+2:])
			p.IPID = uint16(id)
			proto, n = data[n], n+8
			if off&^6 == 0 {
				continue // an atomic fragment stands alone (RFC 6946)
			}
			if proto == 58 {
				d.refuse(IPICMP)
				return
			}
			if n > len(data) {
				d.short(n, IPCut, IPBad)
				return
			}
			// The protocol is no part of the key: only the first
			// fragment's counts (RFC 8200, 4.5).
			d.fragment(fragmentKey{p.Src, p.Dst, id, 0}, proto, int(off&^7), off&1 != 0, data[n:], d.wire-n, n-8)
			return
		default:
			if n > len(data) {
				d.short(n, IPCut, IPBad)
				return
			}
			d.protocol(proto, data, n)
			return
		}
	}
	d.refuse(IPBad)
}

// | next | length | reserved (2) | SPI (4) | sequence (4) | ICV ...  (RFC 4302)
func (d *Decoder) ah(data []byte) {
	if len(data) < 12 {
		d.short(12, IPCut, IPBad)
		return
	}
	n := (int(data[1]) + 2) * 4
	if n < 12 {
		d.refuse(IPBad)
		return
	}
	if n > len(data) {
		d.short(n, IPCut, IPBad)
		return
	}
	// In IPv6 further extension headers may follow.
	d.extensions(data[0], data, n)
}

// carried says whether payloads of an IP protocol are looked into.
func carried(proto uint8) bool {
	switch proto {
	case ProtoTCP, ProtoUDP, ProtoSCTP, 4, 41, 47, 51, 137:
		return true
	}
	return false
}

// protocol goes on after n bytes of data by an IP protocol number.
func (d *Decoder) protocol(proto uint8, data []byte, n int) {
	switch proto {
	case ProtoUDP:
		d.goOn(hUDP, data, n)
	case ProtoTCP:
		d.goOn(hTCP, data, n)
	case ProtoSCTP:
		d.goOn(hSCTP, data, n)
	case 1, 58:
		d.refuse(IPICMP)
	case 2:
		d.refuse(IPIGMP)
	case 4:
		d.goOn(hIPv4, data, n)
	case 41:
		d.goOn(hIPv6, data, n)
	case 47:
		d.goOn(hGRE, data, n)
	case 51:
		d.goOn(hAH, data, n)
	case 137: // MPLS in IP (RFC 4023)
		d.goOn(hMPLS, data, n)
	default:
		d.refuse(IPOther)
	}
}

// fragment hands one fragment's payload over and goes on if it was the last
// one missing. head is the length of the IP headers before it.
func (d *Decoder) fragment(key fragmentKey, proto uint8, off int, more bool, data []byte, wire, head int) {
	if wire <= 0 || (more && wire < 8) || off+wire > 65535 {
		d.refuse(IPBad)
		return
	}
	if more {
		// All but the last are a multiple of 8 (RFC 791, 3.2); what is
		// over has no place, as the next offset cannot name it.
		wire &^= 7
	}
	if len(data) > wire {
		data = data[:wire]
	}
	whole, proto, total, v := d.defrag.add(key, d.now, proto, off, more, data, wire)
	if v != Used {
		d.refuse(v)
		return
	}
	d.p.IPLen = head + total
	d.wire = total
	if len(whole) == 0 {
		d.refuse(IPCut)
		return
	}
	if key.proto != 0 { // IPv4
		d.protocol(proto, whole, 0)
	} else {
		d.extensions(proto, whole, 0)
	}
}

func (d *Decoder) udpHeader(data []byte) {
	if len(data) < 8 {
		d.short(8, UDPCut, UDPBad)
		return
	}
	if d.udp.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d.refuse(UDPBad)
		return
	}
	p, u := d.p, &d.udp
	p.Proto, p.SrcPort, p.DstPort = ProtoUDP, uint16(u.SrcPort), uint16(u.DstPort)
	p.Payload, p.WireLen = u.Payload, d.wire-8
	if n := int(u.Length) - 8; n >= 0 && n < p.WireLen {
		p.WireLen = n
	}
	d.verdict, d.next, d.rest = Used, hNone, nil
	if kind := tunnel(p); kind != hNone {
		d.plain, d.plainHop, d.guessed, d.verdict = *p, d.hop, true, IPBad
		p.Payload = nil
		d.next, d.rest, d.wire = kind, u.Payload, p.WireLen
	}
}

// tunnel tells whether a UDP payload begins as the tunnel header that is usual
// on its port. RTP and RTCP (version 2: first byte 0x80 to 0xbf) never do.
func tunnel(p *Packet) gopacket.LayerType {
	b := p.Payload
	if len(b) < 8 {
		return hNone
	}
	on := func(port uint16) bool { return p.DstPort == port || p.SrcPort == port }
	switch {
	case on(4789) || on(8472):
		// Flags 0x08, and all reserved bytes zero (RFC 7348, 5).
		if be32(b) == 0x08000000 && b[7] == 0 {
			return hVXLAN
		}
	case on(6081):
		// Version 0, reserved bits zero (RFC 8926, 3.4).
		if b[0]>>6 == 0 && b[1]&0x3f == 0 && b[7] == 0 {
			switch be16(b[2:]) {
			case 0x6558, 0x0800, 0x86dd:
				return hGeneve
			}
		}
	case on(2152):
		// Version 1, GTP, a user data message of the right length (TS 29.281, 5.1).
		if b[0]&0xf8 == 0x30 && b[1] == 255 && int(be16(b[2:]))+8 == p.WireLen {
			return hGTPU
		}
	}
	return hNone
}

func (d *Decoder) vxlan(data []byte) {
	if d.vx.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d.refuse(IPBad)
		return
	}
	d.mix(uint64(d.vx.VNI) | 4<<32)
	d.goOn(hEthernet, data, 8)
}

func (d *Decoder) geneve(data []byte) {
	n := 8 + int(data[0]&0x3f)*4
	if len(data) < n {
		d.refuse(IPBad)
		return
	}
	d.mix(uint64(be32(data[4:])>>8) | 5<<32)
	if t := be16(data[2:]); t == 0x6558 {
		d.goOn(hEthernet, data, n)
	} else {
		d.etherType(t, data, n)
	}
}

func (d *Decoder) gtpu(data []byte) {
	n := 8
	d.mix(uint64(be32(data[4:])) | 6<<32)
	if data[0]&7 != 0 { // any of E, S, PN: all three fields are there
		n = 12
		if len(data) < n {
			d.refuse(IPBad)
			return
		}
		for next := data[11]; next != 0 && data[0]&4 != 0; {
			if n >= len(data) || data[n] == 0 || n+int(data[n])*4 > len(data) {
				d.refuse(IPBad)
				return
			}
			n += int(data[n]) * 4
			next = data[n-1]
		}
	}
	d.goOn(hRawIP, data, n)
}

// gre is by hand: gopacket's layer reads past short headers.
func (d *Decoder) gre(data []byte) {
	if len(data) < 4 {
		d.short(4, IPCut, IPBad)
		return
	}
	flags, proto := data[0], be16(data[2:])
	version := data[1] & 7
	if version > 1 || flags&0x40 != 0 { // source routing (RFC 1701) is long gone
		d.refuse(IPOther)
		return
	}
	n := 4
	if flags&0x80 != 0 { // checksum and reserved
		n += 4
	}
	if flags&0x20 != 0 { // key; version 1 has a length and a call id there
		if len(data) >= n+4 {
			if version == 1 {
				d.mix(uint64(be16(data[n+2:])) | 7<<32)
			} else {
				d.mix(uint64(be32(data[n:])) | 8<<32)
			}
		}
		n += 4
	}
	if flags&0x10 != 0 { // sequence number
		n += 4
	}
	if version == 1 && data[1]&0x80 != 0 { // acknowledgment (RFC 2637, 4.1)
		n += 4
	}
	if len(data) < n {
		d.short(n, IPCut, IPBad)
		return
	}
	switch proto {
	case 0x6558:
		d.goOn(hEthernet, data, n)
	case 0x880b:
		d.goOn(hPPP, data, n)
	case 0x88be: // ERSPAN; type I has no sequence number and no header
		if flags&0x10 != 0 {
			d.goOn(hERSPAN, data, n)
		} else {
			d.goOn(hEthernet, data, n)
		}
	case 0x0800, 0x86dd, 0x8847, 0x8848, 0x8100, 0x88a8:
		d.etherType(proto, data, n)
	default:
		d.refuse(IPOther)
	}
}

// erspan skips the 8 bytes of type II. Of them the mirror session is part of
// the way: two sessions may copy one packet twice.
func (d *Decoder) erspan(data []byte) {
	if len(data) < 8 {
		d.short(8, FrameCut, FrameBad)
		return
	}
	if data[0]>>4 != 1 {
		d.refuse(IPOther)
		return
	}
	d.mix(uint64(be16(data[2:])&0x3ff) | 9<<32)
	d.goOn(hEthernet, data, 8)
}

func (d *Decoder) tcpHeader(data []byte) {
	if len(data) < 20 {
		d.short(20, TCPCut, TCPBad)
		return
	}
	head := int(data[12]>>4) * 4
	if head < 20 {
		d.refuse(TCPBad)
		return
	}
	if len(data) < head {
		d.short(head, TCPCut, TCPBad)
		return
	}
	// An error now is about the options; the segment is whole without them.
	_ = d.tcp.DecodeFromBytes(data, gopacket.NilDecodeFeedback)
	p, t := d.p, &d.tcp
	p.Proto, p.SrcPort, p.DstPort = ProtoTCP, uint16(t.SrcPort), uint16(t.DstPort)
	p.Seq, p.Ack, p.Window = t.Seq, t.Ack, t.Window
	p.Flags = data[13] & (FIN | SYN | RST | PSH | ACK)
	p.Payload, p.WireLen = t.Payload, d.wire-head
	d.verdict, d.next, d.rest = Used, hNone, nil
}

func (d *Decoder) sctpHeader(data []byte) {
	if len(data) < 12 {
		d.short(12, IPCut, IPBad)
		return
	}
	if d.sctpL.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d.refuse(IPBad)
		return
	}
	p := d.p
	p.Proto, p.SrcPort, p.DstPort = ProtoSCTP, uint16(d.sctpL.SrcPort), uint16(d.sctpL.DstPort)
	p.Payload, p.WireLen = data[12:], d.wire-12
	d.verdict, d.next, d.rest = Used, hNone, nil
}
