package sessions

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/sdp"
	"github.com/twtrace/twtrace/decode/sip"
)

// dialog is all that was said under one SIP Call-ID, or by a browser and its
// gateway about one call.
type dialog struct {
	kind     string // of its leg: sip, pstream, matrix
	callID   string
	sid      string // X-Twilio-CallSid
	account  string // X-Twilio-AccountSid
	from, to string
	fromTag  string
	isCall   bool // a method of a call was seen (RFC 3261 13, 15, 9)
	provider provider

	firstAt, lastAt                    Time
	invited, arrived                   Time
	arrivedSince                       Time // decode.Event.Since of the message
	ringing, answered, byeAt, failedAt Time
	cancelAt                           Time
	cseq                               uint32 // of the first INVITE
	status                             int    // final status of the INVITE
	reason                             string // its reason phrase
	cause                              string // of a Reason header
	byeByCaller, sawBye, inDialog      bool
	pos                                decode.Pos
	last                               int64 // frame
	arrivedPos                         decode.Pos
	arrivedFlow                        *decode.Flow
	callerAddr                         netip.Addr // sender of the first INVITE
	calledAddr                         netip.Addr // who got it, on its last hop
	sessionID                          string     // UUID of the caller's side (RFC 7989)
	parent                             *dialog    // that this one came from
	parentBy                           string     // how

	// of a browser's call
	client                        netip.Addr // the browser's host
	outgoing, busy, invitedUnseen bool
	said                          bool // some message of it was seen
	errorCode                     int64

	seen hashes // of its messages, by which a retransmission is known

	id     string // call_id of its row, made by Finalize
	leg    uint32
	taken  [2]bool // sides that a stream was bound to already
	row    int
	number int32 // place among the builder's dialogs, from 1
}

// Kinds of legs that a dialog can be.
const (
	legSIP     = "sip"
	legPStream = "pstream"
	legMatrix  = "matrix"
)

type provider uint8 // which side of a dialog is the provider's

const (
	providerUnknown provider = iota
	providerCaller
	providerCallee
)

// overAt is when the call ended, 0 while it had not.
func (c *dialog) overAt() Time {
	switch {
	case c.byeAt != 0:
		return c.byeAt
	case c.answered == 0 && c.failedAt != 0:
		return c.failedAt
	}
	return 0
}

const (
	maxDetail     = 4096 // bytes of a signal's detail
	maxCodecLists = 32   // that are looked for among those kept
)

// addSIP takes one SIP message.
func (b *Builder) addSIP(ev *decode.Event) {
	m := ev.SIP
	c := b.sip[string(m.CallID)]
	if c == nil {
		if len(b.sip) >= b.limit.calls {
			b.capped("messages of further SIP calls")
			return
		}
		id := string(m.CallID)
		c = &dialog{kind: legSIP, callID: strings.ToValidUTF8(id, "\uFFFD"), pos: ev.Pos, firstAt: ev.Time}
		b.sip[id] = c // as captured
		b.addDialog(c)
	}
	c.lastAt, c.last = ev.Time, ev.Pos.Frame
	method := m.Method
	if !m.Request {
		method = m.CSeqMethod
	}
	if !c.isCall && ofCall(method) {
		c.isCall = true
	}
	b.identify(c, m, ev)

	asked := request{int32(b.signals.Len()), ev.Time}
	id, branch := b.messageHash(c, ev), b.transactionHash(c, m, ev)
	again := b.seenBefore(c, id)
	sig := Signal{
		FlowID: decode.Some(ev.Flow.ID), At: ev.Time, Protocol: "sip",
		Frame: decode.Some(ev.Pos.Frame), FirstFrame: decode.Some(ev.Pos.First),
		Retransmission: again, Decrypted: ev.Decrypted,
	}
	b.fillEnds(&sig, ev)
	sig.File = b.files[ev.Pos.File]
	if m.Request {
		sig.Kind = text(m.MethodText)
		sig.Label = sig.Kind
		if b.ShowDTMF {
			sig.Label = withDigits(sig.Label, infoDigits(m))
		}
	} else {
		sig.Kind = strconv.Itoa(m.Status)
		sig.Label = strings.TrimSpace(sig.Kind + " " + text(m.Reason))
		sig.StatusCode = decode.Some(int64(m.Status))
	}
	if body := m.SDP(); body != nil {
		sig.Label += " + SDP"
		if !again {
			b.addSDP(c, m, ev, body)
		}
	}
	b.detail = sip.Elide(b.detail[:0], m, maxDetail)
	sig.Detail = b.keepDetail(b.detail)
	b.addSignal(&sig, c)
	if again {
		return
	}
	if m.Request {
		b.openTransaction(branch, asked)
		b.sipRequest(c, m, ev)
	} else {
		if m.Status >= 200 {
			b.closeTransaction(branch, ev.Time)
		}
		b.sipResponse(c, m, ev)
	}
}

// ofCall tells the methods that only a call uses; OPTIONS, REGISTER,
// SUBSCRIBE and the rest also go without one.
func ofCall(m sip.Method) bool {
	switch m {
	case sip.INVITE, sip.ACK, sip.BYE, sip.CANCEL, sip.PRACK, sip.UPDATE:
		return true
	}
	return false
}

// identify learns who talks, from whatever message says it first.
func (b *Builder) identify(c *dialog, m *sip.Message, ev *decode.Event) {
	if c.fromTag == "" {
		c.fromTag = string(m.From.Tag)
		c.from, c.to = party(&m.From), party(&m.To)
		c.inDialog = m.Request && len(m.To.Tag) > 0
	}
	if c.sid == "" {
		if v := m.GetName("X-Twilio-CallSid"); v != nil {
			c.sid = text(v)
		}
	}
	if c.account == "" {
		if v := m.GetName("X-Twilio-AccountSid"); v != nil {
			c.account = text(v)
		}
	}
	if c.provider == providerUnknown {
		fromCaller := b.fromCaller(c, m)
		if isProvider(m) {
			if fromCaller {
				c.provider = providerCaller
			} else {
				c.provider = providerCallee
			}
		}
	}
}

// isProvider tells a message that the provider wrote (TWILIO.md E: User-Agent
// of its requests, Server of its responses).
func isProvider(m *sip.Message) bool {
	if m.Request {
		return strings.HasPrefix(string(m.GetName("User-Agent")), "Twilio")
	}
	return strings.HasPrefix(string(m.GetName("Server")), "Twilio")
}

// fromCaller tells whether the caller sent m: a request bears the caller's tag
// in From, a response to it too but comes from the other side (RFC 3261 12).
func (b *Builder) fromCaller(c *dialog, m *sip.Message) bool {
	return (string(m.From.Tag) == c.fromTag) == m.Request
}

func (b *Builder) sipRequest(c *dialog, m *sip.Message, ev *decode.Event) {
	caller := b.fromCaller(c, m)
	switch m.Method {
	case sip.INVITE:
		if len(m.To.Tag) > 0 && (c.answered != 0 || c.invited == 0) {
			// a re-INVITE; when it is the first thing seen, the call was up already
			if c.invited == 0 && c.answered == 0 {
				c.inDialog = true
			}
			return
		}
		if c.invited == 0 {
			for _, at := range [...]Time{c.ringing, c.answered, c.failedAt, c.cancelAt, c.byeAt} {
				if at != 0 && at < ev.Time {
					return // the call went on before: not its beginning
				}
			}
			c.invited, c.cseq = ev.Time, m.CSeq
			c.arrived, c.arrivedSince, c.arrivedPos, c.arrivedFlow = ev.Time, ev.Since, ev.Pos, ev.Flow
			c.callerAddr, c.calledAddr = ev.Src().Addr(), ev.Dst().Addr()
			b.beginning(c, m, ev)
			c.from, c.to = party(&m.From), party(&m.To)
			c.fromTag = string(m.From.Tag)
		} else if m.CSeq == c.cseq && c.ringing == 0 && c.answered == 0 && ev.Flow != c.arrivedFlow {
			// the same INVITE on its next hop: it arrives where it goes last
			c.calledAddr = ev.Dst().Addr()
			c.arrived, c.arrivedSince, c.arrivedPos, c.arrivedFlow = ev.Time, ev.Since, ev.Pos, ev.Flow
		}
		if c.failedAt != 0 && c.answered == 0 {
			c.failedAt, c.status, c.reason = 0, 0, "" // asked again, as after 401 and 407
			c.fromTag = string(m.From.Tag)
		}
	case sip.REFER:
		b.referred(c, m, ev)
	case sip.CANCEL:
		if c.cancelAt == 0 {
			c.cancelAt = ev.Time
			c.takeReason(m)
		}
	case sip.BYE:
		if !c.sawBye {
			c.sawBye, c.byeByCaller, c.byeAt = true, caller, ev.Time
			c.takeReason(m)
		}
	}
}

func (b *Builder) sipResponse(c *dialog, m *sip.Message, ev *decode.Event) {
	if m.CSeqMethod != sip.INVITE {
		if m.CSeqMethod == sip.BYE && !c.sawBye && m.Status >= 200 {
			// the BYE itself was not captured
			c.sawBye, c.byeAt = true, ev.Time
			c.byeByCaller = !b.fromCaller(c, m)
		}
		return
	}
	switch {
	case m.Status < 200:
		// RFC 3261 21.1: 181 and 182 tell of forwarding and queueing, RFC 6228's
		// 199 of a branch that ended; only ringing and early media are progress
		if m.Status != 180 && m.Status != 183 {
			break
		}
		if c.answered != 0 || c.cancelAt != 0 || c.sawBye {
			break
		}
		if c.ringing == 0 {
			c.ringing = ev.Time
		}
		c.failedAt, c.status, c.reason = 0, 0, "" // another branch of a fork goes on
	case m.Status < 300:
		if c.answered == 0 && !c.inDialog {
			c.answered = ev.Time
			c.status, c.reason = m.Status, text(m.Reason)
			c.failedAt = 0
		}
	default:
		if c.answered == 0 && !c.inDialog { // of several the last is what the caller got
			c.failedAt = ev.Time
			c.status, c.reason = m.Status, text(m.Reason)
			c.takeReason(m)
		}
	}
}

func (c *dialog) takeReason(m *sip.Message) {
	if c.cause != "" {
		return
	}
	if v := m.Get(sip.HeaderReason); v != nil {
		c.cause = text(v)
	}
}

// addSDP binds the addresses that an offer or answer gives to the call.
func (b *Builder) addSDP(c *dialog, m *sip.Message, ev *decode.Event, body []byte) {
	if err := sdp.Parse(body, &b.sdp); err != nil {
		b.problem(ev, "sdp", err)
		return
	}
	caller := b.fromCaller(c, m)
	for i := range b.sdp.Media {
		md := &b.sdp.Media[i]
		b.noteFragment(md.ICEUfrag, c)
		addr := md.Addr.IP.Unmap()
		if md.Port == 0 || md.Port > 65535 || !addr.IsValid() || addr.IsUnspecified() {
			continue // rejected, a host name, or hold by RFC 2543: no address in it
		}
		bd := binding{call: c, at: ev.Time, secure: strings.Contains(md.Proto, "SAVP"), caller: caller, level: levelOf(md)}
		bd.codecs = b.sharedCodecs(md.Codecs)
		b.bind(netip.AddrPortFrom(addr, uint16(md.Port)), bd)
	}
}

// sharedCodecs keeps a list of codecs; equal lists, which most are, once.
func (b *Builder) sharedCodecs(list []sdp.Codec) []sdp.Codec {
	for _, known := range b.codecs {
		if slices.Equal(known, list) {
			return known
		}
	}
	list = slices.Clone(list)
	if len(b.codecs) < maxCodecLists {
		b.codecs = append(b.codecs, list)
	}
	return list
}

func (b *Builder) bind(at netip.AddrPort, bd binding) {
	if b.ends[at] == nil && len(b.ends) >= b.limit.ends {
		b.capped("media addresses")
		return
	}
	if b.bindings >= b.limit.bindings {
		b.capped("offers of media addresses")
		return
	}
	b.bindings++
	e := b.mediaEnd(at)
	e.bindings = append(e.bindings, bd)
	e.secure = e.secure || bd.secure
	e.version++
}

// outcome decides how a call went, from what was seen of it. end is the time
// of the last frame of the capture.
func (c *dialog) outcome(end Time) (outcome, endedBy string, ended Time, open bool) {
	endedBy = "callee"
	switch {
	case c.kind != legSIP && !c.outgoing && c.answered == 0 && c.failedAt == 0 && (c.busy || c.cancelAt == 0 && end.Sub(c.lastAt) > ringTimeout):
		// nobody said anything to the invite (TWILIO.md A3: ignore() sends nothing)
		return "ignored", "", c.cancelAt, false
	case c.sawBye && (c.answered != 0 || c.failedAt == 0): // else it ended an early dialog (RFC 3261 15)
		if c.byeByCaller {
			endedBy = "caller"
		}
		return "answered", endedBy, max(c.byeAt, c.answered), false // a BYE may cross the answer
	case c.answered != 0:
		return "answered", "", 0, true
	case c.cancelAt != 0 && (c.failedAt == 0 || c.status == 487): // else another answer crossed the CANCEL
		ended = c.cancelAt
		if c.failedAt != 0 {
			ended = c.failedAt
		}
		return "cancelled", "caller", ended, false
	case c.failedAt != 0:
		switch c.status {
		case 486, 600:
			outcome = "busy"
		case 603, 607:
			outcome = "rejected"
		case 408, 480:
			outcome = "no-answer"
		case 487:
			outcome, endedBy = "cancelled", "caller"
		default:
			outcome = "failed"
		}
		return outcome, endedBy, c.failedAt, false
	case c.inDialog:
		return "answered", "", 0, true // it was up before the capture began
	case c.invited != 0 && c.ringing == 0 && end.Sub(c.lastAt) > timerB:
		return "no-answer", "", c.lastAt, false
	}
	return "in-progress", "", 0, true
}

const ringTimeout = 60e9 // ns; the provider's default for an unanswered call

const timerB = 32e9 // ns; RFC 3261 17.1.1.2: 64 * T1, after which an INVITE has failed

// party is a caller or callee as tables write it: the number, client or user
// when that identifies it, else user@host.
func party(a *sip.Address) string {
	user := text(a.User)
	if user == "" {
		if len(a.Host) > 0 {
			return text(a.Host)
		}
		return text(a.URI)
	}
	if isNumber(user) {
		return user
	}
	return "sip:" + user + "@" + text(a.Host)
}

func isNumber(s string) bool {
	digits := strings.TrimPrefix(s, "+")
	if len(digits) < 3 {
		return false
	}
	for i := 0; i < len(digits); i++ {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// text is captured bytes as valid UTF-8.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }
