package scrub

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/sip"
)

type connKey struct{ pair flowPair }

// tcpFlow is the connections between two ports, one after the other.
type tcpFlow struct {
	conns []*conn
	pass
}

// pass is where in its connections a reading of the packets is; the second
// reading comes by the same places as the first.
type pass struct {
	at   int
	syn  [2]uint32
	seen [2]struct{ syn, any bool }
	last [2]uint32
}

type conn struct{ half [2]half }

// half is one direction: its bytes by offset from the first packet's sequence
// number, and what they become.
type half struct {
	known  bool
	seq    uint32 // of offset off
	off    int64
	base   uint32 // of offset 0
	pieces []piece
	spans  []span
}

type piece struct {
	off  int64
	data []byte
}

// span is n bytes of the stream from off on that become out, from to on.
type span struct {
	off, n int64
	to     int64
	out    []byte
}

// Learn takes a packet for the first time. Its payload is copied.
func (s *Scrubber) Learn(p *link.Packet) {
	if p.Proto != link.ProtoTCP {
		return
	}
	c, dir := s.conn(p, true)
	h := &c.half[dir]
	off := h.offset(dataSeq(p))
	if len(p.Payload) == 0 || s.held+int64(len(p.Payload)) > maxHeld {
		return
	}
	s.held += int64(len(p.Payload))
	h.pieces = append(h.pieces, piece{off, bytes.Clone(p.Payload)})
}

// Learned ends the first reading: every stream is written again.
func (s *Scrubber) Learned() {
	for _, f := range s.order {
		f.pass = pass{}
		for _, c := range f.conns {
			for d := range c.half {
				h := &c.half[d]
				h.rewrite(s)
				h.known = false
			}
		}
	}
}

func dataSeq(p *link.Packet) uint32 {
	if p.Flags&link.SYN != 0 {
		return p.Seq + 1
	}
	return p.Seq
}

const nearSeq = 1 << 20 // bytes within which a SYN belongs to what came before it

// conn is the connection of a packet. A SYN with another number than the last
// begins a new one.
func (s *Scrubber) conn(p *link.Packet, learn bool) (*conn, int) {
	pair, dir := pairOf(p)
	f := s.conns[connKey{pair}]
	if f == nil {
		f = &tcpFlow{}
		s.conns[connKey{pair}] = f
		s.order = append(s.order, f)
	}
	if p.Flags&link.SYN != 0 && p.Flags&link.RST == 0 {
		seen := f.seen[dir]
		far := int32(p.Seq-f.last[dir]) > nearSeq || int32(p.Seq-f.last[dir]) < -nearSeq
		if seen.syn && f.syn[dir] != p.Seq || !seen.syn && seen.any && far {
			f.pass = pass{at: f.at + 1}
		}
		f.seen[dir].syn, f.syn[dir] = true, p.Seq
	}
	f.seen[dir].any, f.last[dir] = true, p.Seq
	if learn && f.at == len(f.conns) {
		f.conns = append(f.conns, &conn{})
	}
	return f.conns[f.at], dir
}

// offset is a sequence number's place in the stream; the number may be far
// behind or ahead of the one before, as in a stream of more than 2 GiB.
func (h *half) offset(seq uint32) int64 {
	if !h.known {
		h.known, h.seq, h.off = true, seq, 0
		h.base = seq
		return 0
	}
	h.off += int64(int32(seq - h.seq))
	h.seq = seq
	return h.off
}

// rewrite makes the spans of what was captured: each run of bytes without a
// hole on its own.
func (h *half) rewrite(s *Scrubber) {
	slices.SortStableFunc(h.pieces, func(a, b piece) int { return int(min(max(a.off-b.off, -1), 1)) })
	var run []byte
	start, shift := int64(0), int64(0)
	flush := func() {
		if len(run) == 0 {
			return
		}
		at := start
		for _, w := range s.stream(run) {
			h.spans = append(h.spans, span{at, int64(w.n), at + shift, w.out})
			at += int64(w.n)
			shift += int64(len(w.out) - w.n)
		}
		run = nil
	}
	for _, p := range h.pieces {
		end := start + int64(len(run))
		switch {
		case len(run) > 0 && p.off > end:
			flush()
			start = p.off
		case len(run) == 0:
			start = p.off
		default:
			k := end - p.off
			if k >= int64(len(p.data)) {
				continue
			}
			p.data = p.data[k:]
		}
		run = append(run, p.data...)
	}
	flush()
	h.pieces = nil
}

// moved is where an offset lies in the new stream. Within a message it is in
// proportion, so that every segment has its part of what the message became.
func (h *half) moved(off int64) int64 {
	i := sort.Search(len(h.spans), func(i int) bool { return h.spans[i].off > off }) - 1
	if i < 0 {
		return off
	}
	p := &h.spans[i]
	if k := off - p.off; k < p.n {
		return p.to + k*int64(len(p.out))/p.n
	}
	return p.to + int64(len(p.out)) + off - p.off - p.n
}

// bytes appends the new stream from to to, zero where nothing is known.
func (h *half) bytes(dst []byte, from, to int64) []byte {
	i := sort.Search(len(h.spans), func(i int) bool { return h.spans[i].to+int64(len(h.spans[i].out)) > from })
	for from < to {
		if i == len(h.spans) || h.spans[i].to >= to {
			return append(dst, make([]byte, to-from)...)
		}
		p := &h.spans[i]
		if p.to > from {
			dst = append(dst, make([]byte, p.to-from)...)
			from = p.to
		}
		k := min(to, p.to+int64(len(p.out)))
		dst = append(dst, p.out[from-p.to:k-p.to]...)
		from = k
		i++
	}
	return dst
}

// segment changes a TCP packet's numbers and gives its new payload, and its
// length on the wire.
func (s *Scrubber) segment(q *link.Packet) ([]byte, int) {
	c, dir := s.conn(q, false)
	h, peer := &c.half[dir], &c.half[1-dir]
	syn := dataSeq(q) - q.Seq
	off := h.offset(dataSeq(q))
	from := h.moved(off)
	to := h.moved(off + int64(len(q.Payload)))
	end := h.moved(off + int64(max(q.WireLen, len(q.Payload))))
	q.Seq = h.base + uint32(from) - syn
	if q.Flags&link.ACK != 0 && len(peer.spans) > 0 {
		// near what the peer sent last: an acknowledgment is never far from it
		at := int64(int32(q.Ack - peer.base))
		if peer.known {
			at = peer.off + int64(int32(q.Ack-peer.seq))
		}
		q.Ack = peer.base + uint32(peer.moved(at))
	}
	if to-from > 1<<16 {
		to, end = from, from // no IP packet holds it; put refuses what is left
	}
	s.buf = h.bytes(s.buf[:0], from, to)
	if len(h.spans) == 0 && to > from {
		s.zeros(nil, "TCP beyond what is held", int(to-from))
	}
	return s.buf, int(end - from)
}

// written is what n bytes of a stream become.
type written struct {
	n   int
	out []byte
}

// stream cuts a run of bytes into messages and writes each again.
func (s *Scrubber) stream(b []byte) []written {
	switch {
	case isTLS(b):
		return s.tls(b)
	case isHTTP(b):
		return s.http(b)
	case sip.Looks(b) || sip.Resync(b) >= 0:
		return s.sipStream(b)
	case isDNS(b):
		return s.dnsStream(b)
	}
	return s.rest(nil, "unknown payload", b)
}

// rest ends a list with bytes of which only the length stays.
func (s *Scrubber) rest(list []written, what string, b []byte) []written {
	if len(b) == 0 {
		return list
	}
	return append(list, written{len(b), s.zeros(nil, what, len(b))})
}

func (s *Scrubber) sipStream(b []byte) []written {
	var list []written
	for len(b) > 0 {
		n, ok, err := sip.Frame(b)
		switch {
		case ok:
			list = append(list, written{n, s.sip(nil, b[:n])})
			b = b[n:]
		case err != nil:
			k := sip.Resync(b[1:])
			if k < 0 {
				return s.rest(list, "unknown payload", b)
			}
			list = s.rest(list, "unknown payload", b[:k+1])
			b = b[k+1:]
		default: // keep-alives, and what is not whole
			if n > 0 {
				list = append(list, written{n, bytes.Clone(b[:n])})
			}
			return s.rest(list, "SIP that was cut short", b[n:])
		}
	}
	return list
}

func isDNS(b []byte) bool {
	m, n, err := dns.Frame(b)
	return err == nil && n > 0 && dns.Looks(m)
}

func (s *Scrubber) dnsStream(b []byte) []written {
	var list []written
	for isDNS(b) {
		m, n, _ := dns.Frame(b)
		out := s.dns([]byte{0, 0}, m, false)
		if len(out) > 1<<16 {
			break
		}
		binary.BigEndian.PutUint16(out, uint16(len(out)-2))
		list = append(list, written{n, out})
		b = b[n:]
	}
	return s.rest(list, "unknown payload", b)
}

// isTLS tells a record header (RFC 8446, 5.1).
func isTLS(b []byte) bool {
	return len(b) >= 5 && b[0] >= 20 && b[0] <= 23 && b[1] == 3 && b[2] <= 4 && binary.BigEndian.Uint16(b[3:]) <= 1<<14+2048
}

// tls keeps records as they are, but for handshake messages in the clear, of
// which only the hellos stay: certificates and tickets have names in them.
func (s *Scrubber) tls(b []byte) []written {
	var list []written
	for isTLS(b) {
		n := 5 + int(binary.BigEndian.Uint16(b[3:]))
		if n > len(b) {
			break
		}
		if b[0] == 22 {
			list = append(list, written{n, s.handshake(b[:n])})
		} else {
			list = append(list, written{n, bytes.Clone(b[:n])})
		}
		b = b[n:]
	}
	return s.rest(list, "TLS that was cut short", b)
}

func (s *Scrubber) handshake(rec []byte) []byte {
	const clientHello, serverHello = 1, 2
	out := bytes.Clone(rec[:5])
	for b := rec[5:]; len(b) > 0; {
		n := 0
		if len(b) >= 4 {
			n = 4 + int(b[1])<<16 + int(b[2])<<8 + int(b[3])
		}
		switch {
		case n == 0 || n > len(b):
			out = s.zeros(out, "encrypted or cut handshakes of TLS", len(b))
			n = len(b)
		case b[0] == clientHello:
			out = append(out, s.clientHello(b[:n])...)
		case b[0] == serverHello:
			out = append(out, b[:n]...)
		default:
			out = append(out, b[:4]...)
			out = s.zeros(out, "certificates and keys of TLS", n-4)
		}
		b = b[n:]
	}
	binary.BigEndian.PutUint16(out[3:], uint16(len(out)-5))
	return out
}

// extensions of a ClientHello that say what a client can do, and nothing of
// whom it wants or was before.
var extensions = []uint16{5, 10, 11, 13, 16, 18, 21, 22, 23, 27, 28, 34, 43, 45, 50, 51, 0xff01}

// clientHello writes one with the pseudonym of the server's name (RFC 6066, 3).
// Tickets, earlier sessions and encrypted hellos are not in it.
func (s *Scrubber) clientHello(b []byte) []byte {
	be := binary.BigEndian
	bad := func() []byte {
		return s.zeros(bytes.Clone(b[:4]), "hellos of TLS that are not understood", len(b)-4)
	}
	at := 4 + 2 + 32
	for _, size := range []int{1, 2, 1} { // session, cipher suites, compression
		if len(b) < at+size {
			return bad()
		}
		n := int(b[at])
		if size == 2 {
			n = int(be.Uint16(b[at:]))
		}
		at += size + n
	}
	if len(b) < at+2 {
		if len(b) == at {
			return bytes.Clone(b)
		}
		return bad()
	}
	out := append(bytes.Clone(b[:at]), 0, 0)
	for x := b[at+2:]; len(x) > 0; {
		if len(x) < 4 || len(x) < 4+int(be.Uint16(x[2:])) {
			return bad()
		}
		typ, v := be.Uint16(x), x[4:4+int(be.Uint16(x[2:]))]
		x = x[4+len(v):]
		switch {
		case typ == 0 && len(v) > 5 && v[2] == 0 && len(v) == 5+int(be.Uint16(v[3:])):
			name := s.names.Host(string(v[5:]))
			out = be.AppendUint16(out, 0)
			out = be.AppendUint16(out, uint16(len(name)+5))
			out = be.AppendUint16(out, uint16(len(name)+3))
			out = append(out, 0)
			out = be.AppendUint16(out, uint16(len(name)))
			out = append(out, name...)
		case slices.Contains(extensions, typ):
			out = be.AppendUint16(out, typ)
			out = be.AppendUint16(out, uint16(len(v)))
			out = append(out, v...)
		}
	}
	be.PutUint16(out[at:], uint16(len(out)-at-2))
	n := len(out) - 4
	out[1], out[2], out[3] = byte(n>>16), byte(n>>8), byte(n)
	return out
}
