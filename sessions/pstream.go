package sessions

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/pstream"
	"github.com/twtrace/twtrace/decode/sdp"
	"github.com/twtrace/twtrace/decode/ws"
)

// gatewayLine is one signaling connection of a browser. The client has at most
// one outgoing call without a CallSid at a time; answers name only the CallSid,
// so that it is joined by order (TWILIO.md A4).
type gatewayLine struct {
	dialing []*dialog // outgoing calls that have no CallSid yet
	current *dialog   // the call that was answered last
	ends    [2]string // the connection's two addresses
}

// addPStream takes one signaling message between a browser and its gateway.
func (b *Builder) addPStream(ev *decode.Event) {
	m := ev.PStream
	line := b.lines[ev.Flow.ID]
	if line == nil {
		line = &gatewayLine{ends: [2]string{b.addr(ev.Flow.Src.Addr()), b.addr(ev.Flow.Dst.Addr())}}
		b.lines[ev.Flow.ID] = line
	}
	sig := Signal{
		FlowID: decode.Some(ev.Flow.ID), At: ev.Time, Protocol: "pstream", Decrypted: ev.Decrypted,
		File: b.files[ev.Pos.File], Frame: decode.Some(ev.Pos.Frame), FirstFrame: decode.Some(ev.Pos.First),
	}
	if m.Generation != pstream.PStream {
		sig.Protocol = "matrix"
	}
	sig.Src, sig.SrcPort = line.ends[ev.Dir], decode.Some(uint32(ev.Src().Port()))
	sig.Dst, sig.DstPort = line.ends[1-ev.Dir], decode.Some(uint32(ev.Dst().Port()))
	sig.Kind = m.Type.String()
	if m.Type == pstream.TypeUnknown {
		sig.Kind = cut(strings.ToValidUTF8(m.Name, "\uFFFD"), 64)
	}
	sig.Label = sig.Kind
	if b.ShowDTMF {
		sig.Label = withDigits(sig.Label, strings.ToValidUTF8(m.DTMF, "\uFFFD"))
	}
	if len(m.SDP) > 0 {
		sig.Label += " + SDP"
	}
	b.detail = m.Elide(b.detail[:0], maxDetail)
	sig.Detail = b.keepDetail(b.detail)
	c := b.pstreamCall(line, ev)
	if c != nil {
		if !c.said {
			c.said, c.firstAt, c.pos = true, ev.Time, ev.Pos
		}
		c.lastAt, c.last = ev.Time, ev.Pos.Frame
		b.pstreamState(line, c, ev)
		if len(m.SDP) > 0 {
			b.bindICE(c, ev, m.SDP)
		}
	}
	b.addSignal(&sig, c)
}

// pstreamCall finds or opens the call that a message is about; nil when it is
// about none.
func (b *Builder) pstreamCall(line *gatewayLine, ev *decode.Event) *dialog {
	m := ev.PStream
	sid := m.CallSID
	switch {
	case m.Type == pstream.TypeInvite && sid != "":
		if c := b.browser[sid]; c != nil {
			return c // again on another connection: no new call
		}
		if len(b.browser) >= b.limit.calls {
			b.capped("messages of further browser calls")
			return nil
		}
		c := &dialog{kind: legOf(m), callID: sid, isCall: true}
		b.browser[sid] = c
		b.addDialog(c)
		if ev.FromClient {
			c.provider, c.outgoing = providerCallee, true
			if isSID(sid, "CA") {
				c.sid, c.invitedUnseen = sid, true // a reconnect of a call from before the capture
			} else {
				line.dialing = append(line.dialing, c)
			}
		} else {
			c.provider, c.sid = providerCaller, sid
		}
		return c
	case sid == "":
		if m.Type == pstream.TypeHangup || m.Type == pstream.TypeDTMF {
			return line.current
		}
		return nil
	}
	if c := b.browser[sid]; c != nil {
		return c
	}
	if !ev.FromClient && isSID(sid, "CA") && (m.Type == pstream.TypeRinging || m.Type == pstream.TypeAnswer) && len(line.dialing) > 0 {
		// the first answer to the oldest call that is being dialed names it
		c := line.dialing[0]
		line.dialing = line.dialing[1:]
		c.sid = sid
		b.browser[sid] = c
		return c
	}
	switch m.Type {
	case pstream.TypeRinging, pstream.TypeAnswer, pstream.TypeHangup, pstream.TypeCancel, pstream.TypeReject, pstream.TypeReinvite, pstream.TypeDTMF:
		// in the middle of a call whose invite was not captured
		if m.Type == pstream.TypeHangup && !ev.FromClient {
			return nil // a hangup for a call that the client never saw (client.js 285)
		}
		if len(b.browser) >= b.limit.calls {
			b.capped("messages of further browser calls")
			return nil
		}
		c := &dialog{kind: legOf(m), callID: sid, isCall: true, inDialog: true}
		if isSID(sid, "CA") {
			c.sid = sid
		}
		b.browser[sid] = c
		b.addDialog(c)
		return c
	}
	return nil
}

func legOf(m *pstream.Message) string {
	if m.Generation == pstream.PStream {
		return legPStream
	}
	return legMatrix
}

func isSID(s, prefix string) bool { return len(s) == 34 && strings.HasPrefix(s, prefix) }

// pstreamState moves the call on (TWILIO.md A3 to A5).
func (b *Builder) pstreamState(line *gatewayLine, c *dialog, ev *decode.Event) {
	m := ev.PStream
	if v := m.Parameters.From; v != "" && c.from == "" {
		c.from = strings.ToValidUTF8(v, "\uFFFD")
	}
	if v := m.Parameters.To; v != "" && c.to == "" {
		c.to = strings.ToValidUTF8(v, "\uFFFD")
	}
	if m.Type == pstream.TypeInvite && ev.FromClient && c.to == "" {
		c.to = paramOf(m.Params, "To")
	}
	if c.account == "" {
		c.account = m.Parameters.AccountSid
	}
	if m.ErrorCode != 0 {
		c.errorCode = int64(m.ErrorCode)
		if c.cause == "" {
			c.cause = strings.ToValidUTF8(m.ErrorMessage, "\uFFFD")
		}
	}
	switch m.Type {
	case pstream.TypeInvite:
		if c.invited == 0 && !c.invitedUnseen {
			c.invited, c.arrived = ev.Time, ev.Time
			c.arrivedSince, c.arrivedPos, c.arrivedFlow = ev.Since, ev.Pos, ev.Flow
			c.callerAddr = ev.Src().Addr()
			if c.client = ev.Dst().Addr(); ev.FromClient {
				c.client = ev.Src().Addr()
			}
			c.busy = !c.outgoing && line.current != nil && line.current.overAt() == 0
		}
	case pstream.TypeRinging:
		if c.ringing == 0 && c.answered == 0 {
			c.ringing = ev.Time
		}
	case pstream.TypeAnswer:
		if c.answered == 0 && ev.FromClient != c.outgoing {
			c.answered = ev.Time
			line.current = c
		}
	case pstream.TypeReject:
		if c.answered == 0 && c.failedAt == 0 {
			c.failedAt, c.status = ev.Time, statusDecline
		}
	case pstream.TypeCancel:
		if c.answered == 0 && c.cancelAt == 0 {
			c.cancelAt = ev.Time
		}
	case pstream.TypeHangup:
		switch {
		case c.sawBye:
		case c.answered != 0 || c.inDialog:
			c.sawBye, c.byeAt, c.byeByCaller = true, ev.Time, ev.FromClient == c.outgoing
		case ev.FromClient == c.outgoing:
			if c.cancelAt == 0 {
				c.cancelAt = ev.Time
			}
		case c.failedAt == 0:
			c.failedAt = ev.Time
		}
		if line.current == c {
			line.current = nil
		}
	}
}

const statusDecline = 603 // RFC 3261 21.6.2: what a rejected browser call is likened to

// bindICE binds the candidate addresses of an SDP to a browser call (RFC 8445:
// media may take any pair of them).
func (b *Builder) bindICE(c *dialog, ev *decode.Event, text []byte) {
	if err := sdp.Parse(text, &b.sdp); err != nil {
		b.problem(ev, "", err)
		return
	}
	caller := ev.FromClient == c.outgoing
	for i := range b.sdp.Media {
		md := &b.sdp.Media[i]
		b.noteFragment(md.ICEUfrag, c)
		bd := binding{call: c, at: ev.Time, secure: true, caller: caller, level: levelOf(md), codecs: b.sharedCodecs(md.Codecs)}
		if a := md.Addr.IP.Unmap(); a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && md.Port > 9 && md.Port <= 65535 {
			b.bind(netip.AddrPortFrom(a, uint16(md.Port)), bd)
		}
		for _, k := range md.Candidates {
			if a := k.Addr.IP.Unmap(); a.IsValid() && k.Port > 9 && k.Port <= 65535 && strings.EqualFold(k.Transport, "udp") {
				b.bind(netip.AddrPortFrom(a, uint16(k.Port)), bd)
			}
		}
	}
}

// paramOf is a parameter of an outgoing call: "k=v&k2=v2", percent-encoded.
func paramOf(params, name string) string {
	for _, p := range strings.Split(cut(params, maxDetail), "&") {
		if v, ok := strings.CutPrefix(p, name+"="); ok {
			if s, err := url.QueryUnescape(v); err == nil {
				return strings.ToValidUTF8(s, "\uFFFD")
			}
		}
	}
	return ""
}

const maxWSSignals = 1 << 18

// addWebSocket takes a WebSocket message that is no signaling: heartbeats and
// control frames.
func (b *Builder) addWebSocket(ev *decode.Event) {
	if b.wsSignals >= maxWSSignals {
		b.capped("websocket messages")
		return
	}
	b.wsSignals++
	m := ev.WS
	sig := Signal{
		FlowID: decode.Some(ev.Flow.ID), At: ev.Time, Protocol: "websocket", Decrypted: ev.Decrypted,
		File: b.files[ev.Pos.File], Frame: decode.Some(ev.Pos.Frame), FirstFrame: decode.Some(ev.Pos.First),
	}
	b.fillEnds(&sig, ev)
	switch {
	case m.Opcode == ws.Text && pstream.IsHeartbeat(m.Data):
		sig.Kind = "heartbeat"
	case m.Opcode == ws.Close:
		sig.Kind = "close"
		sig.StatusCode = decode.Some(int64(m.CloseCode))
	default:
		sig.Kind = m.Opcode.String()
	}
	sig.Label = sig.Kind
	b.addSignal(&sig, nil)
}
