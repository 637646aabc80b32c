package decode

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/twtrace/twtrace/decode/link"
)

// App is the protocol inside a flow.
type App uint8

// The application protocols told apart by content.
const (
	AppUnknown App = iota
	AppSIP
	AppRTP
	AppRTCP
	AppSTUN
	AppDTLS
	AppTLS
	AppHTTP
	AppWebSocket
	AppDNS
	AppTURN
	AppHTTP2
	AppPStream
	AppMediaStream
	appCount
)

var appNames = [appCount]string{"", "sip", "rtp", "rtcp", "stun", "dtls", "tls", "http", "websocket", "dns", "turn", "http2", "pstream", "mediastream"}

func (a App) String() string { return appNames[a] }

// Flow is one two-way transport conversation. Src spoke first; for TCP it is
// the side that sent the SYN where one was seen. It lives as long as its
// Decoder and is complete when the events have ended.
type Flow struct {
	ID       uint32 // from 1, in order of first packet
	Proto    uint8  // IP protocol: 6, 17, 132
	Src, Dst netip.AddrPort
	Packets  [2]int64 // by direction
	Bytes    [2]int64 // IP lengths, by direction
	First    Time
	Last     Time
	Apps     [appCount]uint32 // datagrams or messages of each protocol
	File     int32            // capture of its first packet
	Frame    int64            // its first frame

	ServerName      string // TLS server name, else HTTP host
	ServerNameBy    string // sni or http-host
	TLSVersion      uint16 // of the ServerHello, as is the suite; 0 until there is one
	TLSSuite        uint16
	ClientHello     bool
	Encrypted       bool // TLS records of application data were seen
	ALPN            string
	Encryption      string // how far it could be read, in the words of table flows; "" in the clear
	EncryptionNote  string
	RTTms           Opt[float64]
	Retransmissions int64
	Gaps, GapBytes  int64

	swapped   bool // its key holds Dst before Src
	tlsClient int  // direction of the TLS client
	conn      *connection
	givenUp   bool // its connection was ended before its time, to make room
	secure    *secureMedia
}

// End is Src for 0, Dst for 1.
func (f *Flow) End(dir uint8) netip.AddrPort {
	if dir == 0 {
		return f.Src
	}
	return f.Dst
}

// TLSClient is the direction of the TLS client; ok tells whether a hello was seen
// that says so.
func (f *Flow) TLSClient() (dir uint8, ok bool) {
	return uint8(f.tlsClient), f.ClientHello || f.TLSVersion != 0
}

// App is the protocol that most of the flow's messages speak; what carries
// media counts before what sets it up on the same ports (RFC 7983).
func (f *Flow) App() App {
	for _, a := range [...]App{AppPStream, AppMediaStream, AppSIP, AppWebSocket, AppHTTP2, AppHTTP, AppTLS, AppRTP, AppDTLS, AppRTCP, AppTURN, AppSTUN, AppDNS} {
		if f.Apps[a] > 0 && (a != AppRTP && a != AppRTCP || f.Apps[a] > 1 || f.Packets[0]+f.Packets[1] < 4) {
			return a
		}
	}
	return AppUnknown
}

// flowKey is a five-tuple with the smaller end first; no padding, so that one
// hash runs over it.
type flowKey struct {
	a, b         [16]byte
	aPort, bPort uint16
	proto, v6    uint8
}

func keyOf(p *link.Packet) (k flowKey, swapped bool) {
	k.a, k.b = p.Src.As16(), p.Dst.As16()
	k.aPort, k.bPort, k.proto = p.SrcPort, p.DstPort, p.Proto
	if p.Src.Is6() {
		k.v6 = 1
	}
	c := bytes.Compare(k.a[:], k.b[:])
	if c > 0 || c == 0 && k.aPort > k.bPort {
		k.a, k.b, k.aPort, k.bPort, swapped = k.b, k.a, k.bPort, k.aPort, true
	}
	return k, swapped
}

// flowTable finds the flow of a packet. It holds at most max; what comes when it
// is full belongs to no flow and is counted.
type flowTable struct {
	max   int
	byKey map[flowKey]*Flow
	all   []*Flow // by ID-1
	block []Flow  // flows are made in blocks: one allocation for many

	recent []recentFlow // by a hash of the two ends, the sender first
}

// recentFlow is a flow that a packet between these ends belonged to.
type recentFlow struct {
	src, dst         netip.Addr
	srcPort, dstPort uint16
	proto, dir       uint8
	flow             *Flow
}

const (
	maxFlows    = 3 << 18
	recentFlows = 1 << 10
)

func (t *flowTable) get(p *link.Packet, ends uint64) (f *Flow, dir uint8) {
	if t.recent == nil {
		t.recent = make([]recentFlow, recentFlows)
	}
	r := &t.recent[ends%recentFlows]
	if r.flow != nil && r.srcPort == p.SrcPort && r.dstPort == p.DstPort && r.src == p.Src && r.dst == p.Dst && r.proto == p.Proto {
		return r.flow, r.dir
	}
	k, swapped := keyOf(p)
	f = t.byKey[k]
	if f == nil {
		if f = t.add(k, p, swapped); f == nil {
			return nil, 0
		}
	}
	if f.swapped != swapped {
		dir = 1
	}
	*r = recentFlow{p.Src, p.Dst, p.SrcPort, p.DstPort, p.Proto, dir, f}
	return f, dir
}

func (t *flowTable) add(k flowKey, p *link.Packet, swapped bool) *Flow {
	if len(t.all) >= t.max {
		return nil
	}
	if t.byKey == nil {
		t.byKey = map[flowKey]*Flow{}
	}
	if len(t.block) == 0 {
		t.block = make([]Flow, 64)
	}
	f := &t.block[0]
	t.block = t.block[1:]
	f.ID, f.Proto, f.swapped = uint32(len(t.all)+1), p.Proto, swapped
	f.Src, f.Dst = netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)
	if p.Proto == protoTCP && p.Flags&(flagSYN|flagACK) == flagSYN|flagACK {
		// the SYN itself was not captured: the answer tells who asked
		f.Src, f.Dst, f.swapped = f.Dst, f.Src, !swapped
	}
	t.byKey[k] = f
	t.all = append(t.all, f)
	return f
}

// restart gives a five-tuple that is used again (a new TCP connection) a flow
// of its own.
func (t *flowTable) restart(p *link.Packet) (*Flow, uint8) {
	k, swapped := keyOf(p)
	f := t.add(k, p, swapped)
	if f == nil {
		return nil, 0
	}
	back := link.Packet{Src: p.Dst, Dst: p.Src, SrcPort: p.DstPort, DstPort: p.SrcPort, Proto: p.Proto}
	t.recent[endsOf(p)%recentFlows].flow, t.recent[endsOf(&back)%recentFlows].flow = nil, nil
	if f.swapped != swapped {
		return f, 1
	}
	return f, 0
}

const (
	protoTCP = 6
	protoUDP = 17

	flagSYN = 2
	flagACK = 16
)

// copies recognises a packet that the capture holds twice: on two sides of a
// router, a VLAN or a mirror port. A copy has the same addresses, IP
// identification, ports and leading and last payload bytes, comes within
// copyWindow, and differs in what changes on the way: link addresses, VLAN or
// TTL. Exact repeats without such a difference are not copies: a network may
// duplicate packets, and then they are evidence.
type copies struct {
	slots []seenPacket // direct-mapped
}

type seenPacket struct {
	hash uint64
	time Time
	hop  uint32
	ttl  uint8
}

const (
	copySlots  = 1 << 14
	copyWindow = 100e6 // ns
)

func (c *copies) isCopy(p *link.Packet, ends uint64, now Time) bool {
	if c.slots == nil {
		c.slots = make([]seenPacket, copySlots)
	}
	h := identity(p, ends)
	slot := &c.slots[h%copySlots]
	if slot.hash == h {
		if d := now - slot.time; d < copyWindow && d > -copyWindow && (slot.hop != p.HopHash || slot.ttl != p.TTL) {
			return true
		}
	}
	*slot = seenPacket{hash: h, time: now, hop: p.HopHash, ttl: p.TTL}
	return false
}

// endsOf is a hash of who sends a packet to whom.
func endsOf(p *link.Packet) uint64 {
	s, d := p.Src.As16(), p.Dst.As16()
	h := mix(0x9E3779B97F4A7C15, binary.LittleEndian.Uint64(s[8:])^binary.LittleEndian.Uint64(s[:8])<<1)
	h = mix(h, binary.LittleEndian.Uint64(d[8:])^binary.LittleEndian.Uint64(d[:8])<<1)
	return mix(h, uint64(p.SrcPort)<<48|uint64(p.DstPort)<<32|uint64(p.Proto))
}

// identity is what copies of one packet have in common, wherever they were
// captured; ends is endsOf it.
func identity(p *link.Packet, ends uint64) uint64 {
	h := mix(ends, uint64(p.IPID)<<32|uint64(p.WireLen))
	if p.Proto == protoTCP {
		h = mix(h, uint64(p.Seq)<<32|uint64(p.Ack))
		h = mix(h, uint64(p.Flags))
	}
	b := p.Payload
	if len(b) >= 16 {
		h = mix(h, binary.LittleEndian.Uint64(b))
		h = mix(h, binary.LittleEndian.Uint64(b[8:]))
		h = mix(h, binary.LittleEndian.Uint64(b[len(b)-8:]))
	} else {
		for _, x := range b {
			h = mix(h, uint64(x))
		}
	}
	return h
}

func mix(h, x uint64) uint64 {
	h = (h ^ x) * 0xFF51AFD7ED558CCD
	return h ^ h>>32
}
