package decode

import (
	"strings"

	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/http2"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/ws"
)

// httpMessages reads HTTP/1.1 (RFC 9112). After an upgrade the rest of the
// stream is another protocol's.
func (d *Decoder) httpMessages(f *Flow, pair *streams, dir int) {
	s, other := &pair.half[dir], &pair.half[1-dir]
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
		s.upgrade = m.Upgrade
		f.Apps[AppHTTP]++
		d.ledger.Count(LayerHTTP, ReasonUsed, m.End-m.Off)
		if m.Request {
			s.asked = strings.EqualFold(m.Upgrade, "websocket")
			if f.ServerName == "" && m.Host != "" {
				f.ServerName, f.ServerNameBy = m.Host, "http-host"
			}
			if !other.decided && len(other.buf) == 0 {
				other.app, other.decided, other.http = AppHTTP, true, new(http.Parser)
			}
			if other.http != nil {
				other.http.Requested(m.Method)
			}
		}
		if !m.Request && m.Status == 101 && strings.EqualFold(m.Upgrade, "websocket") {
			ext := ws.ParseExtensions(m.Get("Sec-WebSocket-Extensions"))
			pair.upgrade = &ext
		}
		d.at(f, s, dir, m.Off, m.End)
		d.event.Kind, d.event.HTTP, d.event.Decrypted = EventHTTP, m, pair.decrypted
		d.emit()
		s.forget(m.End)
	}
	if s.http.Upgraded() {
		rest := s.http.Rest()
		s.http, s.app, s.off = nil, AppUnknown, 0
		s.decided = pair.upgrade == nil
		m := mark{}
		if len(s.marks) > 0 {
			m = s.marks[len(s.marks)-1]
		}
		s.marks = s.marks[:0]
		if len(rest) > 0 { // after CONNECT mostly TLS (RFC 9110 9.3.6)
			d.take(f, pair, dir, rest, m)
		}
	}
	if held := other.held; pair.upgrade != nil && len(held) > 0 {
		other.held, other.decided = nil, false
		for _, h := range held {
			d.take(f, pair, 1-dir, h.data, h.m)
		}
	}
}

// heldBytes are bytes of a client that asked for an upgrade, captured before
// the answer: in a file that is out of order.
type heldBytes struct {
	data []byte
	m    mark
}

const maxHeld = 64 // pieces of a segment's size or less

// clientOf is the direction of the side that opened the connection.
func clientOf(f *Flow, pair *streams) int {
	if pair.decrypted {
		return f.tlsClient
	}
	return 0
}

// http2Messages reads HTTP/2 (RFC 9113). A message is handed on in the form of
// HTTP/1.1; WebSocket over HTTP/2 (RFC 8441) is read stream by stream.
func (d *Decoder) http2Messages(f *Flow, pair *streams) {
	for !d.stopped {
		ok, err := pair.h2.Next(&d.http2)
		if err != nil {
			d.ledger.Count(LayerHTTP, "malformed", 0)
			continue
		}
		if !ok {
			break
		}
		m := &d.http2
		dir := 1 - pair.h2Client
		if m.Client {
			dir = pair.h2Client
		}
		s := &pair.half[dir]
		switch m.Tunnel {
		case http2.TunnelData, http2.TunnelGap, http2.TunnelClose:
			d.tunnel(f, pair, dir, m)
			continue
		case http2.TunnelOpen:
			if !m.Request && m.Status >= 200 && m.Status < 300 && len(pair.tunnels) < maxTunnels {
				ext := ws.ParseExtensions(m.Get("sec-websocket-extensions"))
				p := &[2]ws.Parser{{Extensions: ext}, {Extensions: ext, Client: true}}
				if pair.tunnels == nil {
					pair.tunnels = map[uint32]*[2]ws.Parser{}
				}
				pair.tunnels[m.StreamID] = p
			}
		}
		f.Apps[AppHTTP2]++
		d.ledger.Count(LayerHTTP, ReasonUsed, m.BodyLen)
		h := http.Message{Request: m.Request, Method: m.Method, Target: m.Target, Status: m.Status, Version: "HTTP/2", Host: m.Authority,
			ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, Date: m.Date, Body: m.Body, BodyLen: m.BodyLen,
			Lost: m.Lost, Truncated: m.Truncated, Off: m.Off, HeadEnd: m.HeadEnd, End: m.End, Headers: d.h2Headers[:0]}
		for _, x := range m.Headers {
			h.Headers = append(h.Headers, http.Header{Name: x.Name, Value: x.Value})
		}
		d.http, d.h2Headers = h, h.Headers
		d.at(f, s, dir, m.Off, m.End)
		d.event.Kind, d.event.HTTP, d.event.Decrypted, d.event.Stream = EventHTTP, &d.http, pair.decrypted, m.StreamID
		d.emit()
	}
	for dir := range pair.half {
		pair.half[dir].forget(pair.h2.Offset(dir == pair.h2Client))
	}
}

const maxTunnels = 1024 // WebSockets in one HTTP/2 connection

func (d *Decoder) tunnel(f *Flow, pair *streams, dir int, m *http2.Message) {
	p := pair.tunnels[m.StreamID]
	if p == nil {
		return
	}
	w := &p[0]
	if m.Client {
		w = &p[1]
	}
	switch m.Tunnel {
	case http2.TunnelData:
		w.Feed(m.Body)
	case http2.TunnelGap:
		w.Lost(m.Lost)
	case http2.TunnelClose:
		w.Finish()
	}
	for !d.stopped {
		ok, err := w.Next(&d.ws)
		if err != nil {
			d.ledger.Count(LayerWebSocket, "malformed", 0)
			continue
		}
		if !ok {
			break
		}
		d.at(f, &pair.half[dir], dir, m.Off, m.End)
		d.wsMessage(f, pair)
	}
}

// wsMessages reads WebSocket messages (RFC 6455).
func (d *Decoder) wsMessages(f *Flow, pair *streams, dir int) {
	s := &pair.half[dir]
	for !d.stopped {
		ok, err := s.ws.Next(&d.ws)
		if err != nil {
			d.ledger.Count(LayerWebSocket, "malformed", 0)
			continue
		}
		if !ok {
			break
		}
		d.at(f, s, dir, d.ws.Off, d.ws.End)
		s.forget(d.ws.End)
		d.wsMessage(f, pair)
	}
}

// wsMessage hands out the message in d.ws; d.event is set up. Text is told
// apart by content: SIP, Twilio's browser signaling, media streams.
func (d *Decoder) wsMessage(f *Flow, pair *streams) {
	m := &d.ws
	f.Apps[AppWebSocket]++
	ev := &d.event
	ev.Decrypted, ev.FromClient, ev.WireLen = pair.decrypted, m.Masked, int(m.Payload)
	size := m.Payload
	switch {
	case m.ContextLost:
		d.ledger.Count(LayerWebSocket, "deflate context lost", size)
		return
	case m.Truncated:
		d.ledger.Count(LayerWebSocket, "cut", size)
		return
	}
	d.ledger.Count(LayerWebSocket, ReasonUsed, size)
	if m.Opcode == ws.Text || m.Opcode == ws.Binary {
		if sip.Looks(m.Data) {
			f.Apps[AppSIP]++
			d.sipMessage(m.Data)
			return
		}
		if m.Opcode == ws.Text && d.signaling(f, m.Data) {
			return
		}
	}
	ev.Kind, ev.WS = EventWebSocket, m
	d.emit()
}
