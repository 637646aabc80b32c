package decode

import (
	"strings"

	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/tcp"
	"github.com/twtrace/twtrace/decode/tls"
)

// byteStream is one direction of a TCP connection above reassembly.
type byteStream struct {
	app     App
	decided bool
	lost    bool   // a gap came: find the next message first
	buf     []byte // bytes of a message that is not whole yet
	marks   []mark // which frame brought which part of buf
	off     int64  // stream offset, for the marks of HTTP and TLS
	http    *http.Parser
	tls     *tls.Parser
}

// mark says that the bytes from off on came with a frame; off counts in buf,
// for HTTP and TLS in the stream.
type mark struct {
	off   int64
	frame int64
	file  int32
}

const maxPending = 1 << 20 // bytes of one message that are waited for

// tcpSink takes what package tcp delivers for the flow that is being read.
type tcpSink struct {
	d *Decoder
	f *Flow
}

// segment takes one TCP segment; d.event is set up.
func (d *Decoder) segment(f *Flow, dir uint8, p *link.Packet) {
	size := int64(p.WireLen)
	if f.conn == nil {
		f.conn = &connection{tcp: tcp.Conn{Budget: &d.budget}}
	}
	d.sink.f = f
	c := f.conn
	ev := &d.event
	file, frame, now := ev.Pos.File, ev.Pos.Frame, ev.Time
	r := c.tcp.Segment(&d.sink, int(dir), p.Seq, p.Ack, p.Flags, p.Payload, p.WireLen, packFrame(file, frame), int64(now))
	if r&tcp.NewConn != 0 {
		d.closeFlow(f)
		if g, gdir := d.flows.restart(p); g != nil {
			f.Packets[dir]--
			f.Bytes[dir] -= int64(p.IPLen)
			g.File, g.Frame, g.First, g.Last = file, frame, now, now
			g.Packets[gdir]++
			g.Bytes[gdir] += int64(p.IPLen)
			g.conn = &connection{tcp: tcp.Conn{Budget: &d.budget}}
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
	case p.WireLen > 0 && f.conn.halves[dir].decided && f.conn.halves[dir].app == AppUnknown:
		d.ledger.Out(LayerTCP, "unknown payload", 1, size)
	default:
		d.tcp.count++
		d.tcp.bytes += size
	}
}

// A frame number of package tcp carries the capture it is from: a connection
// may cross files.
const frameBits = 44

func packFrame(file int32, frame int64) int64 { return int64(file)<<frameBits | frame }

func unpackFrame(n int64) (file int32, frame int64) {
	return int32(n >> frameBits), n & (1<<frameBits - 1)
}

// closeFlow ends the reading of a TCP flow.
func (d *Decoder) closeFlow(f *Flow) {
	if f.conn == nil {
		return
	}
	d.sink.f = f
	f.conn.tcp.Flush(&d.sink)
	f.Gaps, f.GapBytes = f.conn.tcp.Gaps, f.conn.tcp.GapBytes
	if ns, ok := f.conn.tcp.RTT(); ok {
		f.RTTms = Some(float64(ns) / 1e6)
	}
	f.conn = nil
}

// finishFlows ends all connections, in order of their flows.
func (d *Decoder) finishFlows() {
	for _, f := range d.flows.all {
		d.closeFlow(f)
	}
}

// Data takes the next bytes of one direction.
func (k *tcpSink) Data(dir int, c *tcp.Chunk) {
	d, f := k.d, k.f
	s := &f.conn.halves[dir]
	file, frame := unpackFrame(c.DoneFrame)
	ev := &d.event
	*ev = Event{Time: Time(c.DoneTime), Pos: Pos{File: file, Frame: frame}, Flow: f, Dir: uint8(dir), WireLen: len(c.Data)}
	if !s.decided || s.app == AppUnknown {
		s.app = classify(c.Data, f)
		s.decided = true
		if s.app == AppUnknown {
			return
		}
		if s.app == AppTLS {
			s.tls = new(tls.Parser)
		}
		if s.app == AppHTTP {
			s.http = new(http.Parser)
		}
	}
	switch s.app {
	case AppTLS:
		d.tlsBytes(f, s, c)
	case AppHTTP:
		d.httpBytes(f, s, c)
	default:
		d.bufferedBytes(s, c)
	}
}

// classify tells a stream by bytes at which a message may begin: the first of
// a direction, or those of a segment while nothing was understood.
func classify(b []byte, f *Flow) App {
	switch {
	case tls.Looks(b):
		return AppTLS
	case http.Looks(b):
		return AppHTTP
	case sip.Looks(b):
		return AppSIP
	case isDNSPort(f.Src.Port()) || isDNSPort(f.Dst.Port()):
		if len(b) >= 2 && (len(b) == 2 || dns.Looks(b[2:])) {
			return AppDNS
		}
	case isKeepAlive(b) && f.Apps[AppSIP] > 0:
		return AppSIP
	}
	return AppUnknown
}

// Gap says that bytes of one direction are missing.
func (k *tcpSink) Gap(dir int, n, frame, time int64) {
	s := &k.f.conn.halves[dir]
	switch {
	case s.tls != nil:
		s.tls.Lost(n)
		s.off += n
	case s.http != nil:
		s.http.Lost(n)
		s.off += n
	default:
		if len(s.buf) > 0 {
			k.d.ledger.Count(appLayer(s.app), "cut by a gap", int64(len(s.buf)))
		}
		s.buf, s.marks, s.lost = s.buf[:0], s.marks[:0], true
	}
}

// Close ends one direction.
func (k *tcpSink) Close(dir int, rst bool, frame, time int64) {
	d, f := k.d, k.f
	s := &f.conn.halves[dir]
	file, n := unpackFrame(frame)
	if s.http != nil {
		d.event = Event{Time: Time(time), Pos: Pos{File: file, Frame: n, First: n}, Flow: f, Dir: uint8(dir)}
		s.http.Finish()
		d.httpMessages(f, s)
	}
	if len(s.buf) > 0 {
		d.ledger.Count(appLayer(s.app), "cut by the end of the connection", int64(len(s.buf)))
		s.buf, s.marks = nil, nil
	}
}

func appLayer(a App) Layer {
	if a == AppDNS {
		return LayerDNS
	}
	return LayerSIP
}

// bufferedBytes frames SIP (RFC 3261 18.3, by Content-Length) and DNS (RFC
// 1035 4.2.2, by length) messages.
func (d *Decoder) bufferedBytes(s *byteStream, c *tcp.Chunk) {
	file, frame := unpackFrame(c.Frame)
	s.marks = append(s.marks, mark{int64(len(s.buf)), frame, file})
	s.buf = append(s.buf, c.Data...)
	off := 0
	for off < len(s.buf) && !d.stopped {
		rest := s.buf[off:]
		if s.app == AppDNS {
			msg, n, err := dns.Frame(rest)
			if err != nil {
				d.ledger.Count(LayerDNS, "malformed", int64(len(rest)))
				off = len(s.buf)
				break
			}
			if n == 0 {
				break
			}
			if len(msg) > 0 {
				d.firstFrame(s, int64(off))
				d.event.WireLen = len(msg)
				d.event.Flow.Apps[AppDNS]++
				d.dnsMessage(msg)
			}
			off += n
			continue
		}
		if s.lost {
			n := sip.Resync(rest)
			if n < 0 {
				off = len(s.buf)
				break
			}
			off += n
			rest = s.buf[off:]
			s.lost = false
		}
		n, ok, err := sip.Frame(rest)
		if err != nil {
			// no SIP here: count it and look for the next start line
			d.ledger.Count(LayerSIP, "malformed", int64(len(rest)))
			next := sip.Resync(rest[1:])
			if next < 0 {
				off = len(s.buf)
				s.lost = true
				break
			}
			off += 1 + next
			continue
		}
		if !ok {
			break
		}
		if !isKeepAlive(rest[:n]) {
			d.firstFrame(s, int64(off))
			d.event.WireLen = n
			d.event.Flow.Apps[AppSIP]++
			d.sipMessage(rest[:n])
		}
		off += n
	}
	if len(s.buf)-off > maxPending {
		d.ledger.Count(appLayer(s.app), "too long", int64(len(s.buf)-off))
		off = len(s.buf)
		s.lost = true
	}
	s.consume(off)
}

// firstFrame names the frame that began the message at off.
func (d *Decoder) firstFrame(s *byteStream, off int64) {
	if len(s.marks) == 0 {
		d.event.Pos.First = d.event.Pos.Frame
		return
	}
	first := s.marks[0]
	for _, m := range s.marks {
		if m.off > off {
			break
		}
		first = m
	}
	d.event.Pos.First = d.event.Pos.Frame
	if first.file == d.event.Pos.File {
		d.event.Pos.First = first.frame
	}
}

// consume drops the first n bytes of the buffer.
func (s *byteStream) consume(n int) {
	if n == 0 {
		return
	}
	if n >= len(s.buf) {
		s.buf, s.marks = s.buf[:0], s.marks[:0]
		return
	}
	s.forget(int64(n))
	for i := range s.marks {
		s.marks[i].off = max(0, s.marks[i].off-int64(n))
	}
	s.buf = append(s.buf[:0], s.buf[n:]...)
}

// forget drops the marks of bytes before off.
func (s *byteStream) forget(off int64) {
	keep := 0
	for i, m := range s.marks {
		if m.off <= off {
			keep = i
		}
	}
	s.marks = append(s.marks[:0], s.marks[keep:]...)
}

// httpBytes feeds HTTP/1.1 (RFC 9112). After an upgrade the rest of the stream
// is another protocol's.
func (d *Decoder) httpBytes(f *Flow, s *byteStream, c *tcp.Chunk) {
	file, frame := unpackFrame(c.Frame)
	s.marks = append(s.marks, mark{s.off, frame, file})
	s.off += int64(len(c.Data))
	s.http.Feed(c.Data)
	d.httpMessages(f, s)
}

func (d *Decoder) httpMessages(f *Flow, s *byteStream) {
	ev := d.event
	for !d.stopped {
		ok, err := s.http.Next(&d.http)
		if err != nil {
			d.ledger.Count(LayerHTTP, "malformed", 0)
			continue
		}
		if !ok {
			break
		}
		m := &d.http
		d.event = ev
		d.firstFrame(s, m.Off)
		s.forget(m.End)
		f.Apps[AppHTTP]++
		d.ledger.Count(LayerHTTP, ReasonUsed, m.End-m.Off)
		if m.Request {
			if f.ServerName == "" && m.Host != "" {
				f.ServerName, f.ServerNameBy = m.Host, "http-host"
			}
			if o := &f.conn.halves[1-ev.Dir]; o.http != nil {
				o.http.Requested(m.Method)
			} else if !o.decided {
				o.app, o.decided, o.http = AppHTTP, true, new(http.Parser)
				o.http.Requested(m.Method)
			}
		}
		d.event.Kind, d.event.HTTP, d.event.WireLen = EventHTTP, m, int(m.End-m.Off)
		d.emit()
	}
	if s.http.Upgraded() {
		s.http.Rest()
		if strings.EqualFold(d.http.Upgrade, "websocket") {
			f.Apps[AppWebSocket]++
		}
		s.http, s.app = nil, AppUnknown
	}
}

// tlsBytes reads the records of one direction (RFC 8446 5): what of the
// handshake is in the clear, and that application data followed.
func (d *Decoder) tlsBytes(f *Flow, s *byteStream, c *tcp.Chunk) {
	file, frame := unpackFrame(c.Frame)
	s.marks = append(s.marks, mark{s.off, frame, file})
	s.off += int64(len(c.Data))
	s.tls.Feed(c.Data)
	ev := d.event
	for !d.stopped {
		ok, err := s.tls.Next(&d.tls)
		if err != nil {
			d.ledger.Count(LayerTLS, "malformed", 0)
			continue
		}
		if !ok {
			break
		}
		m := &d.tls
		size := int64(m.Len)
		f.Apps[AppTLS]++
		switch {
		case m.Truncated:
			d.ledger.Count(LayerTLS, "cut by a gap", size)
			continue
		case m.Kind == tls.KindApplicationData || m.Kind == tls.KindEncryptedHandshake:
			f.Encrypted = true
			d.ledger.Count(LayerTLS, "no key", size)
			continue
		}
		d.ledger.Count(LayerTLS, ReasonUsed, size)
		switch m.Kind {
		case tls.KindClientHello:
			f.ClientHello = true
			if f.ServerName == "" && m.ClientHello.SNI != "" {
				f.ServerName, f.ServerNameBy = m.ClientHello.SNI, "sni"
			}
		case tls.KindServerHello:
			f.TLSVersion = m.ServerHello.Version
		case tls.KindCertificate:
		default:
			continue // nothing for sessions in it yet
		}
		d.event = ev
		d.firstFrame(s, m.Off)
		d.event.Kind, d.event.TLS, d.event.WireLen = EventTLS, m, m.Len
		d.emit()
	}
	s.forget(s.tls.Offset())
}
