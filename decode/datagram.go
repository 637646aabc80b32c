package decode

import (
	"bytes"

	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/dtls"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/stun"
)

// datagram tells what a UDP payload is, by its first bytes: RFC 7983 and
// RFC 9443 part STUN, DTLS, TURN channels, QUIC and RTP by the first byte; SIP
// is text; DNS has no mark of its own and needs its port. d.event is set up.
func (d *Decoder) datagram(b []byte) {
	ev := &d.event
	f := ev.Flow
	size := int64(ev.WireLen)
	if len(b) == 0 {
		d.ledger.Out(LayerUDP, "empty", 1, size)
		return
	}
	if isDNSPort(f.Src.Port()) || isDNSPort(f.Dst.Port()) {
		if dns.Looks(b) {
			d.udpUsed(AppDNS)
			d.dnsMessage(b)
			return
		}
	}
	switch c := b[0]; {
	case c >= 0x80 && c <= 0xBF:
		if rtcp.Looks(b) {
			d.udpUsed(AppRTCP)
			d.rtcpIn++
			if d.clearRTCP(b) {
				ev.Clear = true // some send it so beside SRTP
			} else if plain, secure := d.openMedia(f, ev.Dir, b, ev.WireLen, true); secure {
				if plain == nil {
					d.ledger.Out(LayerRTCP, "encrypted", 1, size)
					return
				}
				b, ev.Decrypted = plain, true
			}
			if err := rtcp.Decode(b, &d.rtcp); err != nil {
				d.ledger.Out(LayerRTCP, "malformed", 1, size)
				return
			}
			ev.Kind, ev.RTCP = EventRTCP, &d.rtcp
			d.emit()
			return
		}
		if rtp.Looks(b) && rtp.Decode(b, ev.WireLen, &d.rtp) {
			d.udpUsed(AppRTP)
			d.rtpIn++
			if plain, _ := d.openMedia(f, ev.Dir, b, ev.WireLen, false); plain != nil {
				ev.Decrypted = rtp.Decode(plain, len(plain), &d.rtp)
			}
			ev.Kind, ev.RTP = EventRTP, &d.rtp
			d.emit()
			return
		}
	case c < 4:
		if stun.Looks(b) || stun.LooksClassic(b) {
			d.udpUsed(AppSTUN)
			if err := stun.Decode(b, &d.stun); err != nil {
				d.ledger.Count(LayerSTUN, "malformed", size)
				return
			}
			d.ledger.Count(LayerSTUN, ReasonUsed, size)
			if len(d.stun.Data) > 0 && !d.inner && (d.stun.Method == stun.MethodSend || d.stun.Method == stun.MethodData) {
				d.relayed(d.stun.Data)
				return
			}
			ev.Kind, ev.STUN = EventSTUN, &d.stun
			d.emit()
			return
		}
	case c >= 20 && c <= 63 && dtls.Looks(b):
		d.udpUsed(AppDTLS)
		d.dtlsDatagram(b, size)
		return
	case c >= 64 && c <= 79 && !d.inner && f.Apps[AppSTUN] > 0 && stun.LooksChannelData(b):
		d.udpUsed(AppTURN)
		var ch stun.ChannelData
		if stun.DecodeChannelData(b, &ch) {
			d.relayed(ch.Data)
		}
		return
	}
	if sip.Looks(b) {
		d.udpUsed(AppSIP)
		d.sipMessage(b)
		return
	}
	if !d.inner && isKeepAlive(b) && f.Apps[AppSIP] > 0 {
		d.ledger.Out(LayerUDP, "keep-alive", 1, size)
		return
	}
	if !d.inner {
		d.ledger.Out(LayerUDP, "unknown payload", 1, size)
	}
}

// relayed takes what a TURN relay carries (RFC 8656 11, 12) as a datagram of
// the flow between client and relay.
func (d *Decoder) relayed(b []byte) {
	ev := &d.event
	*ev = Event{Time: ev.Time, Pos: ev.Pos, Flow: ev.Flow, Dir: ev.Dir, WireLen: len(b)}
	if len(b) == 0 {
		return
	}
	ev.Flow.Apps[AppTURN]++
	d.inner = true
	d.datagram(b)
	d.inner = false
}

// clearRTCP tells a compound that is whole without anything behind it; SRTCP
// has at least its index there (RFC 3711 3.4).
func (d *Decoder) clearRTCP(b []byte) bool {
	return rtcp.Decode(b, &d.rtcp) == nil && d.rtcp.Trailing == 0 && len(d.rtcp.Damaged) == 0 && d.rtcp.Packets > 0
}

func isDNSPort(p uint16) bool { return p == 53 || p == 5353 || p == 5355 }

// isKeepAlive tells the payloads that hold a NAT binding open for SIP
// (RFC 5626 3.5.1 and its relatives): line ends and zero bytes.
func isKeepAlive(b []byte) bool {
	for _, c := range b {
		if c != '\r' && c != '\n' && c != 0 && c != ' ' {
			return false
		}
	}
	return true
}

func (d *Decoder) udpUsed(a App) {
	d.event.Flow.Apps[a]++
	if d.inner {
		return // the datagram around it is counted
	}
	t := &d.udp
	t.count++
	t.bytes += int64(d.event.WireLen)
}

// sipMessage parses one whole SIP message and hands it out.
func (d *Decoder) sipMessage(b []byte) {
	ev := &d.event
	if err := sip.Parse(b, &d.sip); err != nil {
		d.ledger.Count(LayerSIP, "malformed", int64(len(b)))
		d.problems = Problem{Rule: "sip-malformed", Err: err}
		ev.Kind, ev.Problem = EventProblem, &d.problems
		d.emit()
		return
	}
	d.ledger.Count(LayerSIP, ReasonUsed, int64(len(b)))
	if body := d.sip.SDP(); bytes.Contains(body, []byte("a=crypto:")) {
		d.keysInSDP(body)
	}
	ev.Kind, ev.SIP = EventSIP, &d.sip
	d.emit()
}

func (d *Decoder) dnsMessage(b []byte) {
	ev := &d.event
	if err := dns.Decode(b, &d.dns); err != nil {
		d.ledger.Count(LayerDNS, "malformed", int64(len(b)))
		if len(d.dns.Answers) == 0 {
			return
		}
	} else {
		d.ledger.Count(LayerDNS, ReasonUsed, int64(len(b)))
	}
	ev.Kind, ev.DNS = EventDNS, &d.dns
	d.emit()
}
