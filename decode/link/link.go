// Package link turns captured frames into transport payloads: it walks the
// link, network and transport headers of one frame, through tunnels and IP
// fragments, down to the payload of the innermost UDP datagram, TCP segment or
// SCTP packet.
//
// Link layers: Ethernet (IEEE 802.3; 802.1Q, 802.1ad and 802.1ah tags), Linux cooked v1
// and v2, raw IP, BSD loopback, PPP (RFC 1661, 1662), PPPoE (RFC 2516), Cisco
// HDLC, frame relay (RFC 2427), ATM LLC (RFC 2684), 802.11 with and without
// radiotap, NFLOG. Tunnels: MPLS (RFC 3032), GRE (RFC 2784, 2890, 2637), ERSPAN
// I and II, IP in IP (RFC 2003, 4213), VXLAN (RFC 7348), Geneve (RFC 8926),
// GTP-U (3GPP TS 29.281). Network: IPv4 (RFC 791), IPv6 (RFC 8200), AH (RFC
// 4302). Transport: UDP (RFC 768), TCP (RFC 9293), SCTP's common header
// (RFC 9260).
//
// The walk runs on gopacket's DecodingLayerParser, whose recover turns a slice
// panic into a refusal. Ethernet, 802.1Q, LLC, SNAP, BSD loopback, IPv4, UDP,
// TCP, SCTP and VXLAN headers are gopacket's own layers. The headers that
// gopacket 1.1.19 does not have, or gets wrong (gopacket_test.go shows each),
// are read by hand. The next header never follows from a port alone: a UDP
// payload is taken for a tunnel only if its bytes say so too.
//
// Lengths are bytes, times nanoseconds. A Packet's Payload aliases the frame,
// or the defragmenter's buffer, until the next Decode. Checksums are not
// looked at: offload leaves them unfinished in honest captures.
//
// Not handled: IPv6 jumbograms, IPsec ESP, IPComp, L2TP, Teredo, VXLAN-GPE,
// ERSPAN III, 802.11 fragments and aggregates, token ring and ARCNET. Packets
// quoted in ICMP errors are refused with them. No protocol above the transport header may enter the room.
package link

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Transport protocol numbers of Packet.Proto.
const (
	ProtoTCP  = 6
	ProtoUDP  = 17
	ProtoSCTP = 132
)

// TCP flags of Packet.Flags, at their place in the header (RFC 9293, 3.1).
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// A Packet is one transport payload with the headers that led to it.
type Packet struct {
	Src, Dst         netip.Addr // ::ffff:a.b.c.d is given as a.b.c.d
	SrcPort, DstPort uint16
	Proto            uint8  // ProtoTCP, ProtoUDP or ProtoSCTP
	TTL              uint8  // of the innermost IP header
	IPID             uint16 // IPv4 identification; IPv6: low bits of the fragment's, else 0
	Payload          []byte // what was captured of it; aliases the frame or the Decoder
	WireLen          int    // payload bytes on the wire by the headers; more than len(Payload) when the snap length cut it
	IPLen            int    // innermost IP packet with its header; a reassembled one counts as a whole

	Seq, Ack uint32 // TCP
	Flags    uint8  // TCP: FIN, SYN, RST, PSH, ACK
	Window   uint16 // TCP, as sent (not scaled)

	// HopHash differs between copies of one packet taken at two places of
	// its way: it covers MAC addresses, tags, the cooked header's interface
	// and direction, and all headers around the innermost IP packet.
	HopHash uint32
	VLAN    uint16 // innermost tag's id, 0 without a tag
	Quoted  bool   // reserved: packets quoted in ICMP errors are refused, never given
}

// Verdict says what became of a frame: Used, or why it was refused.
type Verdict uint8

// Verdicts. New ones may be added.
const (
	Used Verdict = iota
	FrameLinkType
	FrameCut
	FrameBad
	FrameDeep
	FrameARP
	FrameNotIP
	FrameProtected
	IPCut
	IPBad
	IPDeep
	IPICMP
	IPIGMP
	IPOther
	IPFragment
	IPFragmentOverlap
	IPFragmentCopy
	UDPCut
	UDPBad
	TCPCut
	TCPBad
	numVerdicts
)

var verdictText = [numVerdicts]struct{ layer, reason string }{
	Used:              {"", "used"},
	FrameLinkType:     {"frame", "unknown link type"},
	FrameCut:          {"frame", "cut short"},
	FrameBad:          {"frame", "bad header"},
	FrameDeep:         {"frame", "nested too deep"},
	FrameARP:          {"frame", "arp"},
	FrameNotIP:        {"frame", "not ip"},
	FrameProtected:    {"frame", "encrypted 802.11"},
	IPCut:             {"ip", "cut short"},
	IPBad:             {"ip", "bad header"},
	IPDeep:            {"ip", "nested too deep"},
	IPICMP:            {"ip", "icmp"},
	IPIGMP:            {"ip", "igmp"},
	IPOther:           {"ip", "other ip protocol"},
	IPFragment:        {"ip", "fragment held"},
	IPFragmentOverlap: {"ip", "fragment overlap"},
	IPFragmentCopy:    {"ip", "fragment repeated"},
	UDPCut:            {"udp", "cut short"},
	UDPBad:            {"udp", "bad header"},
	TCPCut:            {"tcp", "cut short"},
	TCPBad:            {"tcp", "bad header"},
}

// Layer is the layer that refused the frame: "frame", "ip", "udp" or "tcp";
// empty for Used.
func (v Verdict) Layer() string {
	if v >= numVerdicts {
		return ""
	}
	return verdictText[v].layer
}

// String is the reason in words, without the layer.
func (v Verdict) String() string {
	if v >= numVerdicts {
		return "unknown"
	}
	return verdictText[v].reason
}

// Header kinds, the keys of the parser's decoder table. They are private to
// that table and unrelated to gopacket's registered numbers, so that none of
// gopacket's own next-layer guesses can name one.
const (
	hNone gopacket.LayerType = iota
	hEthernet
	hVLAN
	hLLC
	hSNAP
	hSLL
	hSLL2
	hLoopback
	hPPP
	hPPPoE
	hHDLC
	hFrameRelay
	hRadiotap
	hDot11
	hNFLOG
	hMPLS
	hGRE
	hERSPAN
	hRawIP
	hIPv4
	hIPv6
	hAH
	hUDP
	hTCP
	hSCTP
	hVXLAN
	hGeneve
	hGTPU
	numHeaders
)

var headers = [numHeaders]func(*Decoder, []byte){
	hEthernet:   (*Decoder).ethernet,
	hVLAN:       (*Decoder).vlan,
	hLLC:        (*Decoder).llc,
	hSNAP:       (*Decoder).snap,
	hSLL:        (*Decoder).sll,
	hSLL2:       (*Decoder).sll2,
	hLoopback:   (*Decoder).loopback,
	hPPP:        (*Decoder).ppp,
	hPPPoE:      (*Decoder).pppoe,
	hHDLC:       (*Decoder).hdlc,
	hFrameRelay: (*Decoder).frameRelay,
	hRadiotap:   (*Decoder).radiotap,
	hDot11:      (*Decoder).dot11,
	hNFLOG:      (*Decoder).nflog,
	hMPLS:       (*Decoder).mpls,
	hGRE:        (*Decoder).gre,
	hERSPAN:     (*Decoder).erspan,
	hRawIP:      (*Decoder).rawIP,
	hIPv4:       (*Decoder).ipv4,
	hIPv6:       (*Decoder).ipv6,
	hAH:         (*Decoder).ah,
	hUDP:        (*Decoder).udpHeader,
	hTCP:        (*Decoder).tcpHeader,
	hSCTP:       (*Decoder).sctpHeader,
	hVXLAN:      (*Decoder).vxlan,
	hGeneve:     (*Decoder).geneve,
	hGTPU:       (*Decoder).gtpu,
}

const linkEthernet = 1

// firstHeader maps a pcap LINKTYPE to the header that such frames begin with.
func firstHeader(lt uint16) gopacket.LayerType {
	switch lt {
	case linkEthernet:
		return hEthernet
	case 113:
		return hSLL
	case 276:
		return hSLL2
	case 101, 12, 14, 228, 229: // RAW, two older numbers of it, IPV4, IPV6
		return hRawIP
	case 0, 108: // NULL, LOOP
		return hLoopback
	case 9, 50, 204: // PPP, PPP_HDLC, PPP_PPPD (one byte of direction before)
		return hPPP
	case 51:
		return hPPPoE
	case 104:
		return hHDLC
	case 107:
		return hFrameRelay
	case 100: // ATM_RFC1483
		return hLLC
	case 105:
		return hDot11
	case 127:
		return hRadiotap
	case 239:
		return hNFLOG
	}
	return hNone
}

const (
	maxDepth  = 8  // IP headers in one frame
	maxTags   = 4  // VLAN tags in one frame
	maxLabels = 16 // MPLS labels in a row

	// maxFrame bounds the claimed length on the wire. Segmentation offload
	// makes packets of up to 512 KiB.
	maxFrame = 1 << 20
)

// A Decoder walks frames. It holds the fragments of unfinished datagrams, so
// all frames of one capture point go through one Decoder in capture order.
type Decoder struct {
	parsers [numHeaders]*gopacket.DecodingLayerParser // by first header
	decoded []gopacket.LayerType

	eth   layers.Ethernet
	tag   layers.Dot1Q
	llcL  layers.LLC
	snapL layers.SNAP
	lo    layers.Loopback
	ip4   layers.IPv4
	udp   layers.UDP
	tcp   layers.TCP
	sctpL layers.SCTP
	vx    layers.VXLAN

	defrag defragmenter

	// State of the frame being walked.
	p        *Packet
	now      int64
	verdict  Verdict
	hop      uint64
	depth    int
	tags     int
	guessed  bool   // inside a UDP tunnel that no inner IP header has confirmed yet
	plain    Packet // the packet without that tunnel, and its hop hash
	plainHop uint64

	// What the last header left: the kind of the next one, its captured
	// bytes, and how many bytes it has on the wire.
	next gopacket.LayerType
	rest []byte
	wire int
}

// header adapts one header function to gopacket.DecodingLayer.
type header struct {
	d    *Decoder
	kind gopacket.LayerType
	read func(*Decoder, []byte)
}

func (h *header) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	h.read(h.d, data)
	return nil
}
func (h *header) CanDecode() gopacket.LayerClass    { return h.kind }
func (h *header) NextLayerType() gopacket.LayerType { return h.d.next }
func (h *header) LayerPayload() []byte              { return h.d.rest }

// NewDecoder returns a Decoder that holds no fragments.
func NewDecoder() *Decoder {
	d := &Decoder{decoded: make([]gopacket.LayerType, 0, 64)}
	var table gopacket.DecodingLayerContainer = gopacket.DecodingLayerSparse(nil)
	for kind, read := range headers {
		if read != nil {
			table = table.Put(&header{d, gopacket.LayerType(kind), read})
		}
	}
	for lt := range uint16(512) {
		kind := firstHeader(lt)
		if kind == hNone || d.parsers[kind] != nil {
			continue
		}
		parser := gopacket.NewDecodingLayerParser(kind)
		parser.IgnoreUnsupported = true
		parser.IgnorePanic = false
		parser.SetDecodingLayerContainer(table)
		d.parsers[kind] = parser
	}
	return d
}

// Decode walks one frame of pcap link type lt, of which data was captured and
// origLen bytes were on the wire, and fills p. Only after Used is p of use.
func (d *Decoder) Decode(lt uint16, data []byte, origLen int, timeNs int64, p *Packet) Verdict {
	if len(d.defrag.out) > 0 {
		d.defrag.recycle()
	}
	if lt == linkEthernet && plain(data, origLen, p) {
		return Used
	}
	return d.walk(lt, data, origLen, timeNs, p)
}

// walk is Decode header by header.
func (d *Decoder) walk(lt uint16, data []byte, origLen int, timeNs int64, p *Packet) Verdict {
	*p = Packet{}
	first := firstHeader(lt)
	if first == hNone {
		return FrameLinkType
	}
	if len(data) == 0 {
		return FrameCut
	}
	d.p, d.now, d.hop, d.depth, d.tags, d.guessed = p, timeNs, 0, 0, 0, false
	d.verdict, d.next, d.rest, d.wire = FrameBad, hNone, nil, max(min(origLen, maxFrame), len(data))
	if lt == 204 {
		data = data[1:]
		d.wire--
		if len(data) == 0 {
			return FrameCut
		}
	}
	if err := d.parsers[first].DecodeLayers(data, &d.decoded); err != nil {
		// The header functions return no errors: this is a recovered panic.
		d.verdict = FrameBad
		if d.depth > 0 {
			d.verdict = IPBad
		}
	}
	if d.guessed && d.verdict != Used {
		*p, d.hop = d.plain, d.plainHop
		d.verdict = Used
	}
	if d.verdict == Used {
		p.HopHash = folded(d.hop)
	}
	d.p, d.rest = nil, nil
	return d.verdict
}

// Pending counts the fragments that were held and never became a whole
// datagram, and their payload bytes on the wire. It is exact once the last
// frame has been decoded.
func (d *Decoder) Pending() (fragments, bytes int64) { return d.defrag.pending() }

// goOn continues after n bytes of data with a header of the given kind.
func (d *Decoder) goOn(kind gopacket.LayerType, data []byte, n int) {
	d.next, d.rest = kind, data[n:]
	d.wire -= n
	if len(d.rest) == 0 {
		// The parser stops at an empty payload without asking the next
		// header, which would have said the same.
		d.next = hNone
		cut := d.wire > 0
		switch kind {
		case hUDP:
			d.verdict = pick(cut, UDPCut, UDPBad)
		case hTCP:
			d.verdict = pick(cut, TCPCut, TCPBad)
		case hIPv4, hIPv6, hRawIP, hGRE, hAH, hSCTP:
			d.verdict = pick(cut, IPCut, IPBad)
		default:
			d.verdict = pick(cut, FrameCut, FrameBad)
		}
	}
}

func pick(cut bool, ifCut, ifNot Verdict) Verdict {
	if cut {
		return ifCut
	}
	return ifNot
}

func (d *Decoder) refuse(v Verdict) {
	d.verdict, d.next, d.rest = v, hNone, nil
}

// short refuses a header of which n bytes were wanted and fewer are there:
// cut by the snap length if the wire had them, else bad.
func (d *Decoder) short(n int, cut, bad Verdict) {
	d.refuse(pick(d.wire >= n, cut, bad))
}

// mix folds x into the hop hash (FNV-1a's step on 64 bits).
func (d *Decoder) mix(x uint64) { d.hop = mixed(d.hop, x) }

func mixed(hop, x uint64) uint64 {
	h := (hop ^ x) * 0x100000001b3
	return h ^ h>>29
}

func folded(hop uint64) uint32 { return uint32(hop>>32) ^ uint32(hop) }

func be16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// etherType goes on after n bytes of data by an Ethernet protocol number. A
// number below 0x600 is an 802.3 length, and LLC follows.
func (d *Decoder) etherType(t uint16, data []byte, n int) {
	switch t {
	case 0x0800:
		d.goOn(hIPv4, data, n)
	case 0x86dd:
		d.goOn(hIPv6, data, n)
	case 0x8100, 0x88a8, 0x9100, 0x9200:
		d.goOn(hVLAN, data, n)
	case 0x8847, 0x8848:
		d.goOn(hMPLS, data, n)
	case 0x8864:
		d.goOn(hPPPoE, data, n)
	case 0x88e7: // 802.1ah: four bytes of service tag, then a whole frame
		if d.tags++; d.tags > maxTags {
			d.refuse(FrameDeep)
			return
		}
		if len(data) < n+4 {
			d.short(n+4, FrameCut, FrameBad)
			return
		}
		d.mix(uint64(be32(data[n:])&0xffffff) | 10<<32)
		d.goOn(hEthernet, data, n+4)
	case 0x0806, 0x8035: // ARP, RARP
		d.refuse(FrameARP)
	default:
		if t >= 0x600 {
			d.refuse(FrameNotIP)
			return
		}
		d.goOn(hLLC, data, n)
	}
}

func (d *Decoder) ethernet(data []byte) {
	if d.eth.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d.short(14, FrameCut, FrameBad)
		return
	}
	d.mix(binary.BigEndian.Uint64(data))
	d.mix(uint64(be32(data[8:])))
	d.etherType(uint16(d.eth.EthernetType), data, 14) // 0 for an 802.3 length
}

// vlan reads the two tag bytes and the type after them.
func (d *Decoder) vlan(data []byte) {
	if d.tag.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d.short(4, FrameCut, FrameBad)
		return
	}
	if d.tags++; d.tags > maxTags {
		d.refuse(FrameDeep)
		return
	}
	d.mix(uint64(d.tag.VLANIdentifier) | 1<<16)
	d.p.VLAN = d.tag.VLANIdentifier
	d.etherType(uint16(d.tag.Type), data, 4)
}

func (d *Decoder) llc(data []byte) {
	if d.llcL.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d.short(4, FrameCut, FrameBad)
		return
	}
	switch {
	case d.llcL.DSAP == 0xaa && d.llcL.SSAP == 0xaa && d.llcL.Control == 3:
		d.goOn(hSNAP, data, 3)
	case d.llcL.DSAP == 0x06 && d.llcL.SSAP == 0x06 && d.llcL.Control == 3:
		d.goOn(hIPv4, data, 3)
	default:
		d.refuse(FrameNotIP)
	}
}

func (d *Decoder) snap(data []byte) {
	if d.snapL.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		d.short(5, FrameCut, FrameBad)
		return
	}
	// Organisation 0 (RFC 1042) and 0x0000f8 (802.1H) carry Ethernet types.
	if t := uint16(d.snapL.Type); t >= 0x600 && data[0] == 0 && data[1] == 0 && (data[2] == 0 || data[2] == 0xf8) {
		d.etherType(t, data, 5)
	} else {
		d.refuse(FrameNotIP)
	}
}

// Hardware types of the cooked headers (Linux if_arp.h) after which the
// protocol field is no Ethernet type.
const arphrdNetlink = 824

// 0        2        4        6                 14       16
// | kind   | ARPHRD | addrlen| address (8)     | proto  |
func (d *Decoder) sll(data []byte) {
	if len(data) < 16 {
		d.short(16, FrameCut, FrameBad)
		return
	}
	d.mix(binary.BigEndian.Uint64(data[6:]))
	d.mix(uint64(be16(data)))
	d.cooked(be16(data[2:]), be16(data[14:]), data, 16)
}

// 0        2        4              8        10   11   12            20
// | proto  | zero   | interface    | ARPHRD |kind|alen| address (8) |
func (d *Decoder) sll2(data []byte) {
	if len(data) < 20 {
		d.short(20, FrameCut, FrameBad)
		return
	}
	d.mix(binary.BigEndian.Uint64(data[12:]))
	d.mix(uint64(be32(data[4:]))<<8 | uint64(data[10]))
	d.cooked(be16(data[8:]), be16(data), data, 20)
}

func (d *Decoder) cooked(hardware, proto uint16, data []byte, n int) {
	switch {
	case hardware == arphrdNetlink:
		d.refuse(FrameNotIP)
	case proto < 0x600 && proto != 4: // of the small numbers only 4 is LLC
		d.refuse(FrameNotIP)
	default:
		d.etherType(proto, data, n)
	}
}

// loopback reads the four bytes of address family: NULL has them in the byte
// order of the capturing host, LOOP in network order. gopacket accepts both.
func (d *Decoder) loopback(data []byte) {
	if len(data) < 4 {
		d.short(4, FrameCut, FrameBad)
		return
	}
	if d.lo.DecodeFromBytes(data, gopacket.NilDecodeFeedback) != nil {
		if (data[0] == 0x0f || data[0] == 0x8f) && data[1] == 0 {
			d.hdlc(data) // as tshark takes it
			return
		}
		d.refuse(FrameBad)
		return
	}
	switch d.lo.Family {
	case 2:
		d.goOn(hIPv4, data, 4)
	case 10, 24, 28, 30: // Linux; NetBSD and OpenBSD; FreeBSD; Darwin
		d.goOn(hIPv6, data, 4)
	default:
		d.refuse(FrameNotIP)
	}
}

// ppp reads RFC 1661's protocol number (one byte when its low bit is set)
// after the HDLC address and control bytes of RFC 1662, if they are there.
// Links of type PPP and PPP_HDLC may carry Cisco HDLC as well.
func (d *Decoder) ppp(data []byte) {
	if data[0] == 0x0f || data[0] == 0x8f {
		d.hdlc(data)
		return
	}
	n := 0
	if len(data) >= 2 && data[0] == 0xff && data[1] == 0x03 {
		n = 2
	}
	if len(data) < n+2 {
		d.short(n+2, FrameCut, FrameBad)
		return
	}
	proto := uint16(data[n])
	if proto&1 == 1 {
		n++
	} else {
		proto = be16(data[n:])
		n += 2
	}
	switch proto {
	case 0x21:
		d.goOn(hIPv4, data, n)
	case 0x57:
		d.goOn(hIPv6, data, n)
	case 0x281, 0x283:
		d.goOn(hMPLS, data, n)
	default:
		d.refuse(FrameNotIP)
	}
}

// | 1 1 | code | session (2) | length (2) | PPP ...     (RFC 2516, 4)
func (d *Decoder) pppoe(data []byte) {
	if len(data) < 6 {
		d.short(6, FrameCut, FrameBad)
		return
	}
	if data[0] != 0x11 {
		d.refuse(FrameBad)
		return
	}
	if data[1] != 0 { // discovery
		d.refuse(FrameNotIP)
		return
	}
	d.mix(uint64(be16(data[2:])) | 2<<16)
	if n := 6 + int(be16(data[4:])); n < d.wire {
		d.wire = n
		data = data[:min(n, len(data))]
	}
	d.goOn(hPPP, data, 6)
}

func (d *Decoder) hdlc(data []byte) {
	if len(data) < 4 {
		d.short(4, FrameCut, FrameBad)
		return
	}
	d.etherType(be16(data[2:]), data, 4)
}

// frameRelay reads a Q.922 address (its last byte has the low bit set), the
// control byte 3, padding, and the NLPID (RFC 2427, 3 and 4).
func (d *Decoder) frameRelay(data []byte) {
	n := 0
	for n < len(data) && n < 4 && data[n]&1 == 0 {
		n++
	}
	n++
	if len(data) < n+3 {
		d.short(n+3, FrameCut, FrameBad)
		return
	}
	for _, b := range data[:n] {
		d.mix(uint64(b) &^ 0x0e) // not the congestion bits
	}
	if data[n] != 3 {
		d.refuse(FrameNotIP)
		return
	}
	n++
	if data[n] == 0 {
		n++
	}
	switch data[n] {
	case 0xcc:
		d.goOn(hIPv4, data, n+1)
	case 0x8e:
		d.goOn(hIPv6, data, n+1)
	case 0x80:
		d.goOn(hSNAP, data, n+1)
	default:
		d.refuse(FrameNotIP)
	}
}

// radiotap skips the radiotap header. Of its fields only the flags matter:
// bit 4 says that the 802.11 frame ends in a checksum, bit 5 that its header
// is padded to 4 bytes.
func (d *Decoder) radiotap(data []byte) {
	if len(data) < 8 {
		d.short(8, FrameCut, FrameBad)
		return
	}
	n := int(binary.LittleEndian.Uint16(data[2:]))
	present := binary.LittleEndian.Uint32(data[4:])
	if n < 8 {
		d.refuse(FrameBad)
		return
	}
	if n > len(data) {
		d.short(n, FrameCut, FrameBad)
		return
	}
	off := 8
	for p := present; p>>31 == 1; off += 4 { // more words of field bits
		if off+4 > n {
			d.refuse(FrameBad)
			return
		}
		p = binary.LittleEndian.Uint32(data[off:])
	}
	if present&1 != 0 { // a timestamp of 8 bytes comes before the flags
		off = (off+7)&^7 + 8
	}
	var flags byte
	if present&2 != 0 && off < n {
		flags = data[off]
	}
	d.goOn(hDot11, data, n)
	if len(d.rest) > 0 {
		d.wifi(d.rest, flags&0x20 != 0)
	}
}

func (d *Decoder) dot11(data []byte) { d.wifi(data, false) }

// wifi reads an 802.11 data frame's header (IEEE 802.11-2020, 9.3.2) up to its
// LLC header. The frame check sequence needs no care: IP's length ends first.
func (d *Decoder) wifi(data []byte, padded bool) {
	if len(data) < 24 {
		d.short(24, FrameCut, FrameBad)
		return
	}
	kind, flags := data[0], data[1]
	if kind&0x0c != 0x08 || kind&0x40 != 0 { // management, control, or no data
		d.refuse(FrameNotIP)
		return
	}
	n := 24
	if flags&3 == 3 { // to and from the distribution system: fourth address
		n += 6
	}
	if kind&0x80 != 0 { // QoS
		n += 2
		if flags&0x80 != 0 {
			n += 4 // HT control
		}
	}
	if padded {
		n = (n + 3) &^ 3
	}
	if flags&0x40 != 0 {
		d.refuse(FrameProtected)
		return
	}
	if len(data) < n {
		d.short(n, FrameCut, FrameBad)
		return
	}
	d.mix(binary.BigEndian.Uint64(data[4:]))
	d.mix(binary.BigEndian.Uint64(data[12:]))
	d.goOn(hLLC, data, n)
}

// nflog looks for the packet among the netfilter log message's attributes
// (length and type, both in the capturing host's byte order, 4-aligned).
func (d *Decoder) nflog(data []byte) {
	if len(data) < 4 {
		d.short(4, FrameCut, FrameBad)
		return
	}
	for off := 4; off+4 <= len(data); {
		n, kind := int(binary.LittleEndian.Uint16(data[off:])), binary.LittleEndian.Uint16(data[off+2:])
		if kind > 0xff { // the types are small: the other byte order
			n, kind = int(be16(data[off:])), be16(data[off+2:])
		}
		if n < 4 {
			d.refuse(FrameBad)
			return
		}
		if kind == 9 { // NFULA_PAYLOAD
			end := off + n
			if end < d.wire {
				d.wire = end
			}
			d.goOn(hRawIP, data[:min(end, len(data))], off+4)
			return
		}
		off += (n + 3) &^ 3
	}
	d.refuse(pick(d.wire > len(data), FrameCut, FrameNotIP))
}

// rawIP tells IPv4 and IPv6 by the version nibble.
func (d *Decoder) rawIP(data []byte) {
	switch data[0] >> 4 {
	case 4:
		d.ipv4(data)
	case 6:
		d.ipv6(data)
	default:
		d.refuse(FrameNotIP)
	}
}

// mpls skips the label stack. Nothing says what is below: only IP is tried
// (RFC 4928, 3), and an Ethernet frame after a zero control word (RFC 4448).
func (d *Decoder) mpls(data []byte) {
	for n := 0; n < maxLabels*4; n += 4 {
		if len(data) < n+4 {
			d.short(n+4, FrameCut, FrameBad)
			return
		}
		d.mix(uint64(be32(data[n:])>>12) | 3<<32)
		if data[n+2]&1 == 0 {
			continue
		}
		n += 4
		switch {
		case len(data) == n, data[n]>>4 == 0 && len(data) < n+4:
			d.short(n+4, FrameCut, FrameBad)
		case data[n]>>4 == 4:
			d.goOn(hIPv4, data, n)
		case data[n]>>4 == 6:
			d.goOn(hIPv6, data, n)
		case data[n]>>4 == 0 && d.tags < maxTags:
			d.tags++ // bounds Ethernet in MPLS in Ethernet ...
			d.goOn(hEthernet, data, n+4)
		default:
			d.refuse(FrameNotIP)
		}
		return
	}
	d.refuse(FrameDeep)
}
