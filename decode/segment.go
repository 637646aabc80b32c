package decode

import (
	"bytes"
	"errors"

	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/http2"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/tcp"
	"github.com/twtrace/twtrace/decode/tls"
	"github.com/twtrace/twtrace/decode/ws"
	"github.com/twtrace/twtrace/internal/wire"
)

// connection is what a TCP flow holds while it is read.
type connection struct {
	tcp    tcp.Conn
	wire   streams
	active bool // since connTable looked last
	tls    *tls.Conn
	plain  streams  // what TLS carried, where it could be opened
	sealed [2]tally // records that were not opened, by direction
}

// streams are the two directions of a byte stream, and what they share.
type streams struct {
	half      [2]byteStream
	decrypted bool
	upgrade   *ws.Extensions // the server accepted a WebSocket upgrade
	h2        *http2.Conn
	h2Client  int // direction of the HTTP/2 client
	tunnels   map[uint32]*[2]ws.Parser
}

// byteStream is one direction of a byte stream.
type byteStream struct {
	app     App
	decided bool
	lost    bool   // a gap came: find the next message first
	upgrade string // Upgrade field of the last HTTP message
	off     int64  // stream offset of the next byte
	buf     []byte // bytes of a SIP or DNS message that is not whole yet
	want    int    // size of buf below which its SIP message cannot be whole, 0 unknown
	tried   int    // size of buf when that message was last found not to be whole
	checked int    // bytes of buf without the empty line that ends a head
	marks   []mark // where the bytes from each offset on came from
	http    *http.Parser
	ws      *ws.Parser
	asked   bool // an upgrade to WebSocket
	held    []heldBytes
}

// mark says which frames brought the bytes from an offset on: the one that
// carried them, and the one whose arrival made them readable in order.
type mark struct {
	off         int64
	first, done place
	time        Time
	since       Time // tcp.Chunk.Since
}

type place struct {
	file  int32
	frame int64
}

const (
	maxPending = 1 << 20 // bytes of one message that are waited for
	maxMarks   = 1024    // marks of one message; of more the middle ones go
	maxLine    = 8 << 10 // bytes of a start line that are waited for
)

// tcpSink takes what package tcp delivers for the flow that is being read.
type tcpSink struct {
	d *Decoder
	f *Flow
}

// segment takes one TCP segment; d.event is set up.
func (d *Decoder) segment(f *Flow, dir uint8, p *link.Packet) {
	size := int64(p.WireLen)
	if f.conn == nil {
		if f.givenUp && p.Flags&flagSYN == 0 {
			d.sink.f = f
			d.ledger.Out(LayerTCP, "too many connections", 1, size)
			return
		}
		d.connect(f)
	} else {
		f.conn.active = true
	}
	d.sink.f = f
	file, frame, now := d.event.Pos.File, d.event.Pos.Frame, d.event.Time
	r := f.conn.tcp.Segment(&d.sink, int(dir), p.Seq, p.Ack, p.Flags, p.Payload, p.WireLen, packFrame(file, frame), int64(now))
	if r&tcp.NewConn != 0 {
		d.closeFlow(f)
		if g, gdir := d.flows.restart(p); g != nil {
			f.Packets[dir]--
			f.Bytes[dir] -= int64(p.IPLen)
			g.File, g.Frame, g.First, g.Last = file, frame, now, now
			g.Packets[gdir]++
			g.Bytes[gdir] += int64(p.IPLen)
			d.connect(g)
			d.sink.f = g
			r = g.conn.tcp.Segment(&d.sink, int(gdir), p.Seq, p.Ack, p.Flags, p.Payload, p.WireLen, packFrame(file, frame), int64(now))
			f, dir = g, gdir
		}
	}
	switch {
	case r&tcp.Retransmission != 0:
		f.Retransmissions++
		d.ledger.Out(LayerTCP, "retransmission", 1, size)
	case r&(tcp.Stray|tcp.AfterClose) != 0 && p.WireLen > 0:
		d.ledger.Out(LayerTCP, "outside the window", 1, size)
	case p.WireLen > 0 && f.conn != nil && f.conn.wire.half[dir].decided && f.conn.wire.half[dir].app == AppUnknown:
		d.ledger.Out(LayerTCP, "unknown payload", 1, size)
	default:
		d.tcp.count++
		d.tcp.bytes += size
	}
}

// connTable are the flows whose TCP connections are read. Beyond max the one
// that was idle longest, by and large, is ended to make room: the hand goes
// round and takes the first that had no segment since it came by before.
type connTable struct {
	max, hand int
	flows     []*Flow
}

const maxConns = 1 << 15

// connect begins to read a connection.
func (d *Decoder) connect(f *Flow) {
	f.conn, f.givenUp = &connection{tcp: tcp.Conn{Budget: &d.budget}}, false
	t := &d.conns
	if len(t.flows) < t.max {
		t.flows = append(t.flows, f)
		return
	}
	for {
		t.hand = (t.hand + 1) % len(t.flows)
		old := t.flows[t.hand]
		switch {
		case old.conn == nil:
		case old.conn.active:
			old.conn.active = false
			continue
		default:
			ev, sink := d.event, d.sink.f
			d.closeFlow(old)
			old.givenUp = true
			d.event, d.sink.f = ev, sink
			d.capped(errConns)
		}
		t.flows[t.hand] = f
		return
	}
}

// A frame number of package tcp carries the capture it is from: a connection
// may cross files.
const frameBits = 44

func packFrame(file int32, frame int64) int64 { return int64(file)<<frameBits | frame }

func unpackFrame(n int64) place { return place{int32(n >> frameBits), n & (1<<frameBits - 1)} }

// closeFlow ends the reading of a TCP flow.
func (d *Decoder) closeFlow(f *Flow) {
	if f.conn == nil {
		return
	}
	d.sink.f = f
	f.conn.tcp.Flush(&d.sink)
	f.Gaps += f.conn.tcp.Gaps
	f.GapBytes += f.conn.tcp.GapBytes
	if ns, ok := f.conn.tcp.RTT(); ok {
		f.RTTms = Some(float64(ns) / 1e6)
	}
	for dir := range f.conn.wire.half { // what had no FIN ends here
		d.end(f, &f.conn.wire, dir)
	}
	d.closeTLS(f)
	f.conn = nil
}

// finishFlows ends all connections, in order of their flows.
func (d *Decoder) finishFlows() {
	for _, f := range d.flows.all {
		d.closeFlow(f)
		f.closeMedia()
	}
	d.flows.byKey, d.conns.flows = nil, nil
}

// Data takes the next bytes of one direction.
func (k *tcpSink) Data(dir int, c *tcp.Chunk) {
	m := mark{first: unpackFrame(c.Frame), done: unpackFrame(c.DoneFrame), time: Time(c.DoneTime), since: Time(c.Since)}
	k.d.take(k.f, &k.f.conn.wire, dir, c.Data, m)
}

// Gap says that bytes of one direction are missing.
func (k *tcpSink) Gap(dir int, n, frame, time int64) {
	k.d.lose(k.f, &k.f.conn.wire, dir, n)
}

// Close ends one direction.
func (k *tcpSink) Close(dir int, rst bool, frame, time int64) {
	k.d.end(k.f, &k.f.conn.wire, dir)
}

// take gives the next bytes of one direction of a pair of streams to whatever
// they are.
func (d *Decoder) take(f *Flow, pair *streams, dir int, data []byte, m mark) {
	s := &pair.half[dir]
	if s.asked && s.http == nil && s.ws == nil && pair.upgrade == nil {
		if len(s.held) < maxHeld && len(data) <= 64<<10 {
			s.held = append(s.held, heldBytes{bytes.Clone(data), m})
		}
		return
	}
	m.off = s.off
	if s.marks = append(s.marks, m); len(s.marks) > maxMarks {
		s.marks = append(s.marks[:maxMarks/4], s.marks[3*maxMarks/4:]...)
	}
	s.off += int64(len(data))
	if !s.decided || s.app == AppUnknown {
		if data = s.decide(data, f, pair, dir); data == nil {
			return
		}
	}
	switch s.app {
	case AppTLS:
		c := f.conn
		if c.tls == nil {
			c.tls = tls.NewConn(d.secrets, &d.tlsShared)
			c.plain.decrypted = true
		}
		c.tls.Feed(dir, data)
		d.tlsMessages(f)
	case AppHTTP2:
		pair.h2.Spare = &d.h2Spare
		pair.h2.Feed(dir == pair.h2Client, data)
		d.http2Messages(f, pair)
	case AppWebSocket:
		if s.ws == nil {
			s.ws = &ws.Parser{Client: dir == clientOf(f, pair), Extensions: *pair.upgrade}
		}
		s.ws.Feed(data)
		d.wsMessages(f, pair, dir)
	case AppHTTP:
		if s.http == nil {
			s.http = new(http.Parser)
		}
		s.http.Feed(data)
		d.httpMessages(f, pair, dir)
	default:
		s.buf = append(s.buf, data...)
		d.framedMessages(f, s, dir)
	}
}

// decide tells what a stream is by the bytes since something was understood
// last, and returns those that its parser begins with; nil while it is not
// known. Offsets count from there.
func (s *byteStream) decide(data []byte, f *Flow, pair *streams, dir int) []byte {
	whole := data
	if len(s.buf) > 0 {
		s.buf = append(s.buf, data...)
		whole = s.buf
	}
	s.app = classify(whole, f, pair, dir)
	if s.app == AppUnknown && len(s.buf) > 0 {
		if s.app = classify(data, f, pair, dir); s.app != AppUnknown { // what came before was no beginning
			m := s.marks[len(s.marks)-1]
			m.off = 0
			s.marks, s.off, whole = append(s.marks[:0], m), int64(len(data)), data
		}
	}
	if s.app == AppUnknown {
		if mayBegin(whole, f) {
			if len(s.buf) == 0 {
				s.buf = append(s.buf, data...)
			}
			return nil
		}
		s.decided = true
		s.buf, s.marks, s.off = s.buf[:0], s.marks[:0], 0
		return nil
	}
	s.decided = true
	s.buf = nil // the parser copies whole
	return whole
}

// mayBegin tells whether b is too short a beginning of a message to say of
// which protocol.
func mayBegin(b []byte, f *Flow) bool {
	switch c := b[0]; {
	case isDNSPort(f.Src.Port()) || isDNSPort(f.Dst.Port()):
		return len(b) < 2 || len(b) < 2+(int(b[0])<<8|int(b[1])) && len(b) < 512
	case c >= 20 && c <= 24: // a TLS record
		return len(b) < 5
	case c == '\r' || c == '\n':
		return len(b) < 16
	case c >= 'A' && c <= 'Z': // a method, HTTP or SIP: tell by the whole line
		return len(b) < maxLine && bytes.IndexByte(b, '\n') < 0
	}
	return false
}

// lose says that n bytes of a stream are missing.
func (d *Decoder) lose(f *Flow, pair *streams, dir int, n int64) {
	s := &pair.half[dir]
	if !s.decided || s.app == AppUnknown { // offsets count from where a parser begins
		s.buf, s.marks, s.off, s.lost = s.buf[:0], s.marks[:0], 0, true
		return
	}
	switch {
	case s.app == AppTLS:
		f.conn.tls.Lost(dir, n)
		d.lose(f, &f.conn.plain, dir, 0)
	case s.app == AppHTTP2:
		pair.h2.Lost(dir == pair.h2Client, n)
	case s.ws != nil:
		s.ws.Lost(n)
	case s.http != nil:
		s.http.Lost(n)
	default:
		if len(s.buf) > 0 {
			d.ledger.Count(appLayer(s.app), "cut by a gap", int64(len(s.buf)))
		}
		s.buf, s.marks, s.lost = s.buf[:0], s.marks[:0], true
		s.want, s.tried = 0, 0
	}
	s.off += n
}

// end says that a stream has no more bytes.
func (d *Decoder) end(f *Flow, pair *streams, dir int) {
	s := &pair.half[dir]
	switch {
	case s.app == AppTLS && f.conn.tls != nil:
		f.conn.tls.Finish(dir)
		d.tlsMessages(f)
		d.end(f, &f.conn.plain, dir)
	case s.ws != nil:
		s.ws.Finish()
		d.wsMessages(f, pair, dir)
	case s.http != nil:
		s.http.Finish()
		d.httpMessages(f, pair, dir)
	}
	if len(s.buf) > 0 && s.app != AppUnknown && !isKeepAlive(s.buf) {
		d.ledger.Count(appLayer(s.app), "cut by the end of the connection", int64(len(s.buf)))
	}
	// long captures see many connections: an ended one holds no buffers
	s.buf, s.http, s.ws = nil, nil, nil
}

// classify tells a stream by bytes at which a message may begin: the first of
// a direction, or those of a segment while nothing was understood.
func classify(b []byte, f *Flow, pair *streams, dir int) App {
	switch {
	case pair.upgrade != nil:
		return AppWebSocket
	case pair.h2 != nil:
		return AppHTTP2
	case http2.Looks(b), pair.decrypted && f.ALPN == "h2":
		pair.h2, pair.h2Client = new(http2.Conn), dir
		if !http2.Looks(b) { // the server spoke first, or the beginning is lost
			pair.h2Client = clientOf(f, pair)
		}
		return AppHTTP2
	case !pair.decrypted && tls.Looks(b):
		return AppTLS
	case http.Looks(b):
		return AppHTTP
	case sip.Looks(b):
		return AppSIP
	case isDNSPort(f.Src.Port()) || isDNSPort(f.Dst.Port()):
		msg, n, err := dns.Frame(b)
		if n == 0 && err == nil && len(b) > 2 {
			msg = b[2:] // not whole yet
		}
		if len(b) == 2 || dns.Looks(msg) {
			return AppDNS
		}
	case isKeepAlive(b) && f.Apps[AppSIP] > 0:
		return AppSIP
	}
	return AppUnknown
}

func appLayer(a App) Layer {
	if a == AppDNS {
		return LayerDNS
	}
	return LayerSIP
}

// at sets up d.event for the message in [off, end) of a stream.
func (d *Decoder) at(f *Flow, s *byteStream, dir int, off, end int64) {
	d.event = Event{Flow: f, Dir: uint8(dir), WireLen: int(end - off)}
	if len(s.marks) == 0 {
		return
	}
	first, done, since := s.marks[0], s.marks[0], Time(0)
	for _, m := range s.marks {
		if m.off <= off {
			first, since = m, 0
		}
		if m.off >= end {
			break
		}
		if done = m; m.since != 0 && since == 0 {
			since = m.since
		}
	}
	d.event.Since = since
	d.event.Time = done.time
	d.event.Pos = Pos{File: done.done.file, Frame: done.done.frame, First: done.done.frame}
	if first.first.file == done.done.file && first.first.frame < done.done.frame {
		d.event.Pos.First = first.first.frame
	}
}

// forget drops the marks of bytes before off.
func (s *byteStream) forget(off int64) {
	keep := 0
	for keep+1 < len(s.marks) && s.marks[keep+1].off <= off {
		keep++
	}
	if keep > 0 {
		s.marks = append(s.marks[:0], s.marks[keep:]...)
	}
}

// framedMessages reads SIP (RFC 3261 18.3, by Content-Length) and DNS (RFC
// 1035 4.2.2, by length) messages from the buffer.
func (d *Decoder) framedMessages(f *Flow, s *byteStream, dir int) {
	if s.waits() && len(s.buf) <= maxPending {
		return
	}
	s.want, s.tried = 0, 0
	base := s.off - int64(len(s.buf))
	pos := 0
	for pos < len(s.buf) && !d.stopped {
		rest := s.buf[pos:]
		off := base + int64(pos)
		if s.app == AppDNS {
			msg, n, err := dns.Frame(rest)
			if err != nil {
				d.ledger.Count(LayerDNS, "malformed", int64(len(rest)))
				pos = len(s.buf)
				break
			}
			if n == 0 {
				break
			}
			if len(msg) > 0 {
				f.Apps[AppDNS]++
				d.at(f, s, dir, off, off+int64(n))
				d.dnsMessage(msg)
			}
			pos += n
			continue
		}
		if s.lost {
			n := 0
			if !startsSIP(rest) {
				n = sip.Resync(rest)
			}
			if n < 0 {
				// the last line may be a start line when it is whole
				if n = bytes.LastIndexByte(rest, '\n') + 1; len(rest)-n > maxLine {
					n = len(rest)
				}
				pos += n
				break
			}
			s.lost = false
			pos += n
			continue
		}
		n, ok, err := sip.Frame(rest)
		if err != nil {
			// no SIP here: count it and look for the next start line
			d.ledger.Count(LayerSIP, "malformed", int64(len(rest)))
			skip := 1
			if e := (*wire.Error)(nil); errors.As(err, &e) && e.Field == "header" {
				skip = min(len(rest), sip.MaxHeaderBytes) // reading its lines as starts would cost their square
			}
			pos, s.lost = pos+skip, true
			continue
		}
		if !ok {
			pos += n // keep-alives
			s.wait(rest[n:], &d.sip)
			break
		}
		f.Apps[AppSIP]++
		d.at(f, s, dir, off, off+int64(n))
		d.sipMessage(rest[:n])
		pos += n
	}
	if len(s.buf)-pos > maxPending {
		d.ledger.Count(appLayer(s.app), "too long", int64(len(s.buf)-pos))
		pos, s.lost = len(s.buf), true
	}
	s.buf = append(s.buf[:0], s.buf[pos:]...)
	s.forget(base + int64(pos))
}

// wait notes what a SIP message that is not whole lacks, so that it is not read
// again with each segment.
func (s *byteStream) wait(b []byte, m *sip.Message) {
	s.tried, s.checked = len(b), len(b)
	if len(b) > 0 && sip.Parse(b, m) == nil && m.ContentLength <= sip.MaxBodyBytes {
		if n := m.Off + m.HeaderLen + max(0, m.ContentLength); n > len(b) {
			s.want = n
		}
	}
}

// waits tells whether the message at the start of buf cannot be whole yet.
func (s *byteStream) waits() bool {
	if s.want > 0 {
		return len(s.buf) < s.want
	}
	from := max(0, s.checked-3)
	s.checked = len(s.buf)
	return s.tried > 0 && len(s.buf) < 2*s.tried &&
		!bytes.Contains(s.buf[from:], []byte("\n\r\n")) && !bytes.Contains(s.buf[from:], []byte("\n\n"))
}

// startsSIP tells a start line that is whole from the tail of one that a gap
// cut: Looks takes any word for a method.
func startsSIP(b []byte) bool {
	if !sip.Looks(b) {
		return false
	}
	if bytes.HasPrefix(b, []byte("SIP/2.0 ")) {
		return true
	}
	word, _, _ := bytes.Cut(b[:min(len(b), 16)], []byte(" "))
	for m := sip.INVITE; m <= sip.PUBLISH; m++ {
		if string(word) == m.String() {
			return true
		}
	}
	return false
}
