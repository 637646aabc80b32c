package decode

import (
	"net/netip"

	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/mediastream"
	"github.com/twtrace/twtrace/decode/pstream"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/stun"
	"github.com/twtrace/twtrace/decode/tls"
	"github.com/twtrace/twtrace/decode/twilio"
	"github.com/twtrace/twtrace/decode/ws"
)

// Kind tells which message an Event carries. New kinds may be added.
type Kind uint8

// The kinds of events. The zero value is none.
const (
	EventBad Kind = iota
	EventSIP
	EventRTP
	EventRTCP
	EventSTUN
	EventDTLS
	EventDNS
	EventTLS
	EventHTTP
	EventResource
	EventQueued
	EventProblem
	EventWebSocket
	EventPStream
	EventMediaStream
)

var kindNames = [...]string{"bad", "sip", "rtp", "rtcp", "stun", "dtls", "dns", "tls", "http", "resource", "queued", "problem", "websocket", "pstream", "mediastream"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "bad"
}

// Pos is where the evidence is: a file of the Decoder and the 1-based frame
// (or record of an export) in it. First is the frame that began a message
// which took several.
type Pos struct {
	File         int32
	Frame, First int64
}

// Event is one decoded message. It and all that it points to belong to the
// Decoder until the next event.
type Event struct {
	Kind    Kind
	Time    Time // of the segment that completed the message
	Since   Time // not 0: it came late, and could have come any time after this (tcp.Chunk.Since)
	Pos     Pos
	Flow    *Flow // nil for exports
	Dir     uint8 // 0: from Flow.Src, 1: from Flow.Dst
	WireLen int   // bytes of the datagram or message

	Decrypted  bool   // it was read with a key
	Clear      bool   // RTCP that was sent in the clear, whatever its media is
	FromClient bool   // WebSocket: sent by the side that opened it
	Stream     uint32 // HTTP/2 stream
	Text       []byte // of a signaling message, as sent

	SIP      *sip.Message
	RTP      *rtp.Header
	RTCP     *rtcp.Compound
	STUN     *stun.Message
	DNS      *dns.Message
	TLS      *tls.Event
	HTTP     *http.Message
	WS       *ws.Event
	PStream  *pstream.Message
	Media    *mediastream.Message
	Resource *twilio.Resource
	Queued   *twilio.Queued
	Problem  *Problem
}

// Src is the sender of a message that came over a flow.
func (e *Event) Src() netip.AddrPort { return e.Flow.End(e.Dir) }

// Dst is its receiver.
func (e *Event) Dst() netip.AddrPort { return e.Flow.End(1 - e.Dir) }

// RuleCap is the rule of a Problem that says that a bound kept something out.
// Its Err names what: equal texts are one cause.
const RuleCap = "cap-reached"

// Problem is damage or disorder in the input; the rest goes on.
type Problem struct {
	Rule string // id of the oddity it stands for, "" none
	Err  error
}
