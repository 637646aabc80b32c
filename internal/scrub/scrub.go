// Package scrub writes packets anew with pseudonyms in place of what points to
// a person or a place, so that a capture can be shared.
//
// Nothing is copied that is not understood. Link, network and transport headers
// are made from their fields; tunnels, tags, options and MAC addresses do not
// survive. Of payloads these are written again, from what was read of them: SIP
// with its SDP, DNS, HTTP heads with JSON and forms, the hellos of TLS and DTLS.
// Of RTP and RTCP the headers and reports stay and the rest is zero: voices,
// digits and names are in it. STUN keeps its addresses' places. Encrypted
// records stay as they are, so keys must not go along. Every other payload is
// zero, of the length that it had, and counted by what it was.
//
// A message over UDP may change its length. Over TCP it does too: each direction
// is put together first, its messages are written again, and every segment gets
// the part of the new stream that its own part became; sequence numbers and
// acknowledgments follow, and a retransmission stays one.
//
// Sources: RFC 791, 8200, 768, 9293 (headers and checksums), 3261, 8866, 1035,
// 9112, 8446, 6347, 3550, 8489.
//
// Units: bytes; times are not touched. Memory: the TCP payload of the whole
// capture, up to maxHeld; what is beyond is zero.
//
// A Scrubber takes all packets twice, in the same order: Learn, then Rewrite.
// It may import the protocols, and knows nothing of files.
package scrub

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/dtls"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/stun"
)

// Names gives pseudonyms: table.Pseudonyms does.
type Names interface {
	Address(netip.Addr) netip.Addr
	Host(string) string
	HostPort(string) string
	Party(string) string
	User(string) string
	Display(string) string
	CallID(string) string
	Token(kind, s string, n int) string
}

// Zeroed counts payloads, or parts of them, of which only the length is left.
type Zeroed struct {
	What         string
	Count, Bytes int64
}

// maxHeld bounds the TCP payload that is held, in bytes.
const maxHeld = 256 << 20

// Scrubber rewrites the packets of one capture. It is for one goroutine.
type Scrubber struct {
	names  Names
	zeroed map[string]*Zeroed
	conns  map[connKey]*tcpFlow
	order  []*tcpFlow
	held   int64
	buf    []byte // of the payload
	frame  []byte
	sipMsg sip.Message
	stun   map[flowPair]bool // that spoke STUN, and so may have TURN's channels
}

type flowPair struct{ a, b netip.AddrPort }

func pairOf(p *link.Packet) (flowPair, int) {
	a, b := netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)
	if a.Compare(b) > 0 {
		return flowPair{b, a}, 1
	}
	return flowPair{a, b}, 0
}

// New returns a Scrubber that has seen nothing.
func New(names Names) *Scrubber {
	return &Scrubber{names: names, zeroed: map[string]*Zeroed{}, conns: map[connKey]*tcpFlow{}, stun: map[flowPair]bool{}}
}

// Zeroed tells what did not survive, by name.
func (s *Scrubber) Zeroed() []Zeroed {
	var list []Zeroed
	for _, z := range s.zeroed {
		list = append(list, *z)
	}
	slices.SortFunc(list, func(a, b Zeroed) int { return strings.Compare(a.What, b.What) })
	return list
}

// zeros appends n zero bytes for something that is named.
func (s *Scrubber) zeros(dst []byte, what string, n int) []byte {
	if n <= 0 {
		return dst
	}
	z := s.zeroed[what]
	if z == nil {
		z = &Zeroed{What: what}
		s.zeroed[what] = z
	}
	z.Count++
	z.Bytes += int64(n)
	return append(dst, make([]byte, n)...)
}

// Rewrite gives a packet's new frame, Ethernet always, and its length on the
// wire. The frame is valid until the next call; it is nil for a packet that no
// IP packet could hold.
func (s *Scrubber) Rewrite(p *link.Packet) (frame []byte, wireLen int) {
	q := *p
	whole := p.WireLen // of the new payload
	switch p.Proto {
	case link.ProtoTCP:
		q.Payload, whole = s.segment(&q)
	case link.ProtoUDP:
		s.buf = s.datagram(s.buf[:0], p)
		q.Payload = s.buf
		whole = len(q.Payload) + max(0, p.WireLen-len(p.Payload))
	default:
		q.Payload = s.zeros(s.buf[:0], "SCTP", len(p.Payload))
		s.buf = q.Payload
	}
	q.Src, q.Dst = s.names.Address(p.Src), s.names.Address(p.Dst)
	return s.put(&q, whole)
}

// put writes the headers and q.Payload, which is what was captured of whole
// bytes.
func (s *Scrubber) put(q *link.Packet, whole int) ([]byte, int) {
	be := binary.BigEndian
	size := 8
	switch q.Proto {
	case link.ProtoTCP:
		size = 20
	case link.ProtoSCTP:
		size = 12
	}
	six := q.Src.Is6()
	if size+whole > 65535-20 || q.Dst.Is6() != six {
		return nil, 0
	}
	// Copies of a packet that took another way have other link addresses.
	hop := s.names.Token("hop", string(be.AppendUint32(nil, q.HopHash)), 4)
	b := append(s.frame[:0], 2, 0, 0, 0, 0, 1, 2, 0)
	b = append(b, hop[:4]...)
	if six {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = be.AppendUint16(b, uint16(size+whole))
		b = append(b, q.Proto, q.TTL)
		b = append(append(b, q.Src.AsSlice()...), q.Dst.AsSlice()...)
	} else {
		b = append(b, 8, 0, 0x45, 0)
		b = be.AppendUint16(b, uint16(20+size+whole))
		b = be.AppendUint16(b, q.IPID)
		b = append(b, 0, 0, q.TTL, q.Proto, 0, 0)
		b = append(append(b, q.Src.AsSlice()...), q.Dst.AsSlice()...)
		be.PutUint16(b[14+10:], ^fold(sum(0, b[14:])))
	}
	at := len(b)
	b = be.AppendUint16(b, q.SrcPort)
	b = be.AppendUint16(b, q.DstPort)
	field := 0 // of the checksum
	switch q.Proto {
	case link.ProtoTCP:
		b = be.AppendUint32(b, q.Seq)
		b = be.AppendUint32(b, q.Ack)
		b = append(b, 5<<4, q.Flags&0x1f)
		b = be.AppendUint16(b, q.Window)
		b = append(b, 0, 0, 0, 0)
		field = at + 16
	case link.ProtoUDP:
		b = be.AppendUint16(b, uint16(size+whole))
		b = append(b, 0, 0)
		field = at + 6
	default:
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	b = append(b, q.Payload...)
	s.frame = b
	if field > 0 && len(q.Payload) == whole {
		pseudo := sum(uint32(q.Proto)+uint32(size+whole), append(q.Src.AsSlice(), q.Dst.AsSlice()...))
		c := ^fold(sum(pseudo, b[at:]))
		if c == 0 && q.Proto == link.ProtoUDP {
			c = 0xffff // RFC 768
		}
		be.PutUint16(b[field:], c)
	}
	return b, at + size + whole
}

// sum adds 16-bit words (RFC 1071).
func sum(n uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		n += uint32(b[0])<<8 | uint32(b[1])
		n = n>>16 + n&0xffff
	}
	if len(b) > 0 {
		n += uint32(b[0]) << 8
	}
	return n
}

func fold(n uint32) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}

// datagram appends the new payload of a UDP packet. What a payload is, its
// first bytes tell, as for an analysis.
func (s *Scrubber) datagram(dst []byte, p *link.Packet) []byte {
	b := p.Payload
	cut := p.WireLen > len(b)
	if len(b) == 0 {
		return dst
	}
	port := func(n uint16) bool { return p.SrcPort == n || p.DstPort == n }
	if (port(53) || port(5353) || port(5355)) && dns.Looks(b) {
		return s.dns(dst, b, cut)
	}
	if sip.Looks(b) {
		if cut {
			return s.zeros(dst, "SIP that was cut short", len(b))
		}
		return s.sip(dst, b)
	}
	if keepAlive(b) {
		return append(dst, b...)
	}
	pair, _ := pairOf(p)
	if stun.Looks(b) || stun.LooksClassic(b) {
		s.stun[pair] = true
	}
	return s.media(dst, b, s.stun[pair], cut)
}

// keepAlive tells line ends and zero bytes (RFC 5626, 3.5.1).
func keepAlive(b []byte) bool {
	return len(b) <= 64 && strings.Trim(string(b), "\r\n\x00 ") == ""
}

// media appends what shares a port with media, at the same length.
func (s *Scrubber) media(dst, b []byte, channels, cut bool) []byte {
	switch c := b[0]; {
	case c >= 0x80 && c <= 0xbf && rtcp.Looks(b):
		return s.rtcp(dst, b)
	case c >= 0x80 && c <= 0xbf && rtp.Looks(b):
		return s.rtp(dst, b, cut)
	case c < 4 && (stun.Looks(b) || stun.LooksClassic(b)):
		return s.stunMessage(dst, b)
	case c >= 20 && c <= 63 && dtls.Looks(b):
		return s.dtls(dst, b)
	case c >= 64 && c <= 79 && channels && stun.LooksChannelData(b):
		var ch stun.ChannelData
		if stun.DecodeChannelData(b, &ch) && len(ch.Data) > 0 && len(ch.Data) <= len(b)-4 {
			dst = append(dst, b[:4]...)
			dst = s.inner(dst, ch.Data)
			return append(dst, make([]byte, len(b)-4-len(ch.Data))...)
		}
	}
	return s.zeros(dst, "unknown payload", len(b))
}

// inner is what a relay carries.
func (s *Scrubber) inner(dst, b []byte) []byte {
	if len(b) == 0 {
		return dst
	}
	if b[0] >= 0x80 || b[0] < 4 || b[0] >= 20 && b[0] <= 63 {
		return s.media(dst, b, false, false)
	}
	return s.zeros(dst, "unknown payload of a relay", len(b))
}

// rtp keeps the header. What a 4-byte payload has after its first byte stays as
// well: the duration of a telephone event (RFC 4733), without its digit.
func (s *Scrubber) rtp(dst, b []byte, cut bool) []byte {
	var h rtp.Header
	if !rtp.Decode(b, len(b), &h) || h.Malformed && !cut || h.HeaderLen > len(b) {
		dst = append(dst, b[:12]...)
		return s.zeros(dst, "damaged RTP", len(b)-12)
	}
	start := len(dst)
	dst = append(dst, b[:h.HeaderLen]...)
	if n := len(h.Ext); n > 0 {
		clear(dst[start+h.HeaderLen-n:])
	}
	rest := b[h.HeaderLen:]
	if len(rest) == 4 && !h.Padding {
		return append(dst, 0, rest[1], rest[2], rest[3])
	}
	dst = s.zeros(dst, "media", len(rest))
	if h.Padding && !cut && len(rest) > 0 {
		dst[len(dst)-1] = rest[len(rest)-1]
	}
	return dst
}

// rtcp keeps reports and feedback; texts (RFC 3550, 6.5 to 6.7), and what is
// encrypted behind the first packet's header, are zero.
func (s *Scrubber) rtcp(dst, b []byte) []byte {
	const sr, rr, sdes, bye, app, rtpfb, psfb, xr = 200, 201, 202, 203, 204, 205, 206, 207
	var c rtcp.Compound
	if rtcp.Decode(b, &c) != nil || c.Trailing > 0 || len(c.Damaged) > 0 {
		dst = append(dst, b[:min(8, len(b))]...)
		dst = s.zeros(dst, "encrypted RTCP", len(b)-min(8, len(b)))
		if len(b) >= 8+14 {
			dst[len(dst)-14] = 0x80 // RFC 3711, 3.4: it is encrypted still
		}
		return dst
	}
	for len(b) >= 4 {
		n := min(4+4*int(binary.BigEndian.Uint16(b[2:])), len(b))
		keep := min(8, n)
		switch b[1] {
		case sr:
			keep = min(n, 28+24*int(b[0]&31)) // profile extensions after the reports go
		case rr:
			keep = min(n, 8+24*int(b[0]&31))
		case rtpfb, psfb, xr:
			keep = n
		case bye:
			keep = min(n, 4+4*int(b[0]&31))
		}
		if b[1] == psfb && b[0]&31 == 15 {
			keep = min(12, n) // application's own
		}
		dst = append(dst, b[:keep]...)
		if b[1] == sdes {
			dst = s.zeros(dst, "names in RTCP", n-keep)
			if name := n - keep - 3; b[0]&31 > 0 && name > 0 && name <= 255 {
				// one source, of a name of dashes that is as long as all there was
				dst[len(dst)-n] = b[0]&0xe0 | 1
				item := dst[len(dst)-n+keep:]
				item[0], item[1] = 1, byte(name)
				for i := range name {
					item[2+i] = '-'
				}
			}
		} else {
			dst = s.zeros(dst, "texts in RTCP", n-keep)
		}
		if n > keep && b[0]&0x20 != 0 {
			dst[len(dst)-1] = b[n-1] // how much of it is padding
		}
		b = b[n:]
	}
	return s.zeros(dst, "damaged RTCP", len(b))
}

// stunMessage keeps numbers, replaces addresses and zeroes texts and tokens,
// but for the user name of ICE, which SDP gives as well.
func (s *Scrubber) stunMessage(dst, b []byte) []byte {
	var m stun.Message
	if stun.Decode(b, &m) != nil || m.Truncated {
		dst = append(dst, b[:20]...)
		return s.zeros(dst, "damaged STUN", len(b)-20)
	}
	start := len(dst)
	dst = append(dst, b[:20]...)
	dst = append(dst, make([]byte, len(b)-20)...)
	out := dst[start:]
	for a := range m.Attributes() {
		copy(out[a.Off:a.Off+4], b[a.Off:])
		v := out[a.Off+4 : a.Off+4+len(a.Value)]
		switch a.Type {
		case stun.AttrMappedAddress:
			s.stunAddress(v, a.Value, nil)
		case stun.AttrXORMappedAddress, stun.AttrXORPeerAddress, stun.AttrXORRelayedAddress, stun.AttrXORMappedAddressOld:
			s.stunAddress(v, a.Value, b[4:20])
		case stun.AttrUsername:
			if x, y, ok := strings.Cut(string(a.Value), ":"); ok && len(x) <= 32 && len(y) <= 32 && iceChars(x) && iceChars(y) {
				copy(v, s.ufrag(x)+":"+s.ufrag(y))
			}
		case stun.AttrErrorCode:
			copy(v, a.Value[:min(4, len(a.Value))])
		case stun.AttrData:
			copy(v, s.inner(nil, a.Value))
		case stun.AttrChannelNumber, stun.AttrLifetime, stun.AttrPriority, stun.AttrUseCandidate, stun.AttrIceControlled, stun.AttrIceControlling:
			copy(v, a.Value)
		default:
			s.zeros(nil, "texts and tokens in STUN", len(a.Value))
		}
	}
	return dst
}

// iceChars: RFC 8839, 5.4.
func iceChars(x string) bool {
	return x != "" && strings.Trim(x, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/") == ""
}

// stunAddress writes the pseudonym of an address value (RFC 8489, 14.1 and
// 14.2); mask is the cookie and the transaction of an XORed one.
func (s *Scrubber) stunAddress(dst, v, mask []byte) {
	n := len(v) - 4
	if n != 4 && n != 16 {
		return
	}
	raw := slices.Clone(v[4:])
	for i := range raw {
		if mask != nil {
			raw[i] ^= mask[i]
		}
	}
	a, _ := netip.AddrFromSlice(raw)
	fake := s.names.Address(a).AsSlice()
	copy(dst, v[:4])
	for i := range fake {
		if mask != nil {
			fake[i] ^= mask[i]
		}
	}
	copy(dst[4:], fake)
}

// dtls keeps records but for the bodies of handshake messages that are not a
// hello: certificates have names.
func (s *Scrubber) dtls(dst, b []byte) []byte {
	const head, messageHead, handshake = 13, 12, 22
	for len(b) > head && dtls.Looks(b) {
		n := head + int(binary.BigEndian.Uint16(b[11:]))
		if n > len(b) {
			break
		}
		clearText := binary.BigEndian.Uint16(b[3:]) == 0
		switch {
		case b[0] == handshake && clearText && n >= head+messageHead:
			k := head + messageHead
			switch typ := b[head]; typ {
			case 1, 2, 3: // ClientHello, ServerHello, HelloVerifyRequest
				dst = append(dst, b[:n]...)
			default:
				dst = append(dst, b[:k]...)
				dst = s.zeros(dst, "certificates and keys of DTLS", n-k)
			}
		default:
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return s.zeros(dst, "damaged DTLS", len(b))
}

// dns writes a message again: its question, and the answers that name hosts
// and addresses.
func (s *Scrubber) dns(dst, b []byte, cut bool) []byte {
	var m dns.Message
	if cut || dns.Decode(b, &m) != nil {
		return s.zeros(dst, "damaged DNS", len(b))
	}
	be := binary.BigEndian
	start := len(dst)
	dst = append(dst, b[:4]...)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	if m.Name != "" {
		dst = s.dnsName(dst, m.Name)
		dst = be.AppendUint16(dst, m.Type)
		dst = be.AppendUint16(dst, 1)
		dst[start+5] = 1
	}
	n := uint16(0)
	for _, a := range m.Answers {
		var data []byte
		switch a.TypeText {
		case "A", "AAAA":
			if !a.Addr.IsValid() {
				continue
			}
			data = s.names.Address(a.Addr).AsSlice()
		case "CNAME", "NS", "PTR", "DNAME":
			data = s.dnsName(nil, a.Target)
		case "SRV":
			data = s.dnsName(be.AppendUint16([]byte{0, 0, 0, 0}, a.Port), a.Target)
		default:
			s.zeros(nil, "answers of DNS", 1)
			continue
		}
		dst = s.dnsName(dst, a.Name)
		dst = be.AppendUint16(dst, a.Type)
		dst = be.AppendUint16(dst, 1)
		dst = be.AppendUint32(dst, a.TTL)
		dst = be.AppendUint16(dst, uint16(len(data)))
		dst = append(dst, data...)
		n++
	}
	be.PutUint16(dst[start+6:], n)
	return dst
}

// dnsName appends a name's pseudonym without compression; a name that is too
// long becomes the root.
func (s *Scrubber) dnsName(dst []byte, name string) []byte {
	if name == "" || name == "." {
		return append(dst, 0)
	}
	fake := s.names.Host(name)
	if len(fake) > 250 {
		return append(dst, 0)
	}
	for label := range strings.SplitSeq(fake, ".") {
		if label == "" || len(label) > 63 {
			continue
		}
		dst = append(append(dst, byte(len(label))), label...)
	}
	return append(dst, 0)
}
