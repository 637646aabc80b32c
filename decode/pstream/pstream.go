// Package pstream reads the signaling of Twilio's browser clients, as JSON in
// WebSocket text messages, and what belongs to it: the event gateway's posts
// (eventgw.go) and status callbacks (callback.go).
//
// Sources: the clients' published source and frames recorded from them. Three
// generations: PStream (protocol 1.2 to 1.6, twilio.js 1.2 to voice-sdk 2.x),
// the matrix (twilio.js 1.0 and 1.1: presence and incoming calls) and chunderw
// (the same years: one connection a call).
//
// Units: instants are nanoseconds since 1970 UTC, 0 unknown; others are in the
// unit of the field's name.
//
// Aliasing: a Message owns what it has; Decode uses its strings and the memory
// of its SDP again. Elide reads the text that was decoded. Split's pieces alias
// its input.
//
// Secrets: of tokens (access, bridge, reconnect) only their length is kept.
// DTMF digits are a field that a caller shows on request only. Message.Elide
// makes a text without any of them.
//
// Bounds: 256 KiB a message, 32 levels.
//
// Not handled: the Flash client's RTMP, SIP over WebSocket. The direction is
// the caller's knowledge, as is which TJS id became which CA id: the answer to
// an outgoing call does not repeat the TJS id.
//
// What may enter: further messages of these clients and their servers.
package pstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	maxText  = 256 << 10
	maxDepth = 32
)

// Generation is the protocol that a message is of.
type Generation uint8

const (
	GenerationBad Generation = iota
	PStream
	Matrix
	Chunderw
)

func (g Generation) String() string {
	switch g {
	case PStream:
		return "pstream"
	case Matrix:
		return "matrix"
	case Chunderw:
		return "chunderw"
	}
	return "generation " + strconv.Itoa(int(g))
}

// Type is the kind of a message; new ones may be added.
type Type uint8

const (
	TypeUnknown Type = iota // Message.Name has what it is called
	TypeListen
	TypeRegister
	TypeInvite
	TypeAnswer
	TypeReinvite
	TypeDTMF
	TypeReject
	TypeHangup
	TypeMessage
	TypeConnected
	TypeReady
	TypeRinging
	TypeCancel
	TypeError
	TypeAck
	TypeOffline
	TypeClose
	TypeCandidate
	TypePresence
	TypeRoster
	TypeOffer   // chunderw: the client's SDP for a call in either direction
	TypePublish // matrix: of anything else than a rejection or presence
)

var typeNames = [...]string{
	TypeUnknown: "unknown", TypeListen: "listen", TypeRegister: "register", TypeInvite: "invite", TypeAnswer: "answer", TypeReinvite: "reinvite",
	TypeDTMF: "dtmf", TypeReject: "reject", TypeHangup: "hangup", TypeMessage: "message", TypeConnected: "connected", TypeReady: "ready",
	TypeRinging: "ringing", TypeCancel: "cancel", TypeError: "error", TypeAck: "ack", TypeOffline: "offline", TypeClose: "close",
	TypeCandidate: "candidate", TypePresence: "presence", TypeRoster: "roster", TypeOffer: "offer", TypePublish: "publish",
}

func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

func typeOf(name string) Type {
	for t, n := range typeNames {
		if t > 0 && n == name {
			return Type(t)
		}
	}
	return TypeUnknown
}

// Message is one object of the signaling.
type Message struct {
	Generation Generation
	Version    string // "1.2" to "1.6"; PStream only
	Type       Type
	Name       string // the type as it is written

	CallSID string // CA…, or TJS… before the server has named the call
	TempSID string // CallSID when it is a TJS…
	SDP     []byte // nil when there is none; until the next Decode into the Message

	Parameters Parameters // of an invite

	Reconnect   bool // a signaling reconnect token is there
	TokenLen    int  // length of an access token, 0 without one
	BridgeToken bool // the older generations' token for one call
	Preflight   bool

	Region, Gateway, Edge, Home string // of the server
	Identity                    string // of the client, as the server says
	TTL                         int    // of its token in s

	SDK, UserAgent string // of a listen
	Unregister     bool   // a register without audio

	ErrorCode    int
	ErrorMessage string
	RetryAfter   int    // s
	Reason       string // of a hangup, as the client says

	DTMF       string // digits: a secret
	DTMFDigits int

	ContentType, MessageType, VoiceEventSID, AckType string // of a message or an ack
	ContentLen                                       int    // bytes of content

	Candidate    string // of a candidate
	Availability string // of presence
	Params       string // of an outgoing call: "k=v&k2=v2", percent-encoded

	Unknown int // keys that are not known here

	scratch *scratch
}

// scratch is memory that Decode and Elide use again.
type scratch struct {
	tree                tree // of the text
	top, payload, inner keys
	sdp                 []byte
	elider              elider
}

// Parameters is what an invite says of the call.
type Parameters struct {
	From, To, CallSid, AccountSid, ApiVersion string

	// Params are the application's own: "k=v&k2=v2", percent-encoded.
	Params string

	Others int // further ones (StirStatus, ...)
}

// IsHeartbeat tells whether a text message is a keepalive: line ends only.
func IsHeartbeat(text []byte) bool {
	return len(text) > 0 && len(text) < 64 && len(bytes.Trim(text, "\r\n")) == 0
}

// Split yields the values of a text message, which early clients and servers
// put on lines of one message. What is no object is yielded up to the end of
// its line.
func Split(text []byte, yield func([]byte) bool) {
	for {
		if text = bytes.TrimLeft(text, " \t\r\n"); len(text) == 0 {
			return
		}
		n := object(text)
		if n == 0 {
			if n = bytes.IndexByte(text, '\n'); n < 0 {
				n = len(text)
			}
		}
		if !yield(bytes.TrimRight(text[:n:n], " \t\r\n")) {
			return
		}
		text = text[n:]
	}
}

// object is the length of the object that b begins with, 0 when it begins with
// none or does not end.
func object(b []byte) int {
	if b[0] != '{' {
		return 0
	}
	return max(0, containerEnd(b, 0))
}

// containerEnd is the index after the object or array that begins at b[i], -1
// when it does not end. What is in it need not be JSON.
func containerEnd(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = stringEnd(b, i)
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// stringEnd is the index of the quote that ends the string that begins at
// b[i], len(b) without one.
func stringEnd(b []byte, i int) int {
	start := i + 1
	for i = start; ; i++ {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return len(b)
		}
		i += n
		slash := i
		for slash > start && b[slash-1] == '\\' {
			slash--
		}
		if (i-slash)&1 == 0 {
			return i
		}
	}
}

// check refuses what is too long, or nested too deep, for the JSON reader.
func check(text []byte) error {
	if len(text) > maxText {
		return &wire.Error{Proto: "pstream", Off: maxText, Msg: fmt.Sprintf("want at most %d bytes, have %d", maxText, len(text))}
	}
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i = stringEnd(text, i)
		case '{', '[':
			if depth++; depth > maxDepth {
				return &wire.Error{Proto: "pstream", Off: int64(i), Msg: fmt.Sprintf("want at most %d levels", maxDepth)}
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// read reads an object, its members appended to buf. The error tells where,
// never what was there: it may be a secret.
func (t *tree) read(text []byte, buf keys) (keys, error) {
	if len(text) <= maxText && t.scan(text) {
		if text[t.values[0].at] == '{' {
			return t.members(0, buf), nil
		}
		t.values = t.values[:0]
	}
	if err := check(text); err != nil {
		return nil, err
	}
	e := &wire.Error{Proto: "pstream", Msg: "want a JSON object, have another value"}
	var value json.RawMessage
	if syntax, ok := json.Unmarshal(text, &value).(*json.SyntaxError); ok {
		e.Off, e.Msg = syntax.Offset, "want a JSON object, have a syntax error"
	}
	return nil, e
}

// kept are strings of the message before, which repeat.
type kept struct{ name, version, callSID, contentType, messageType, voiceEventSID, region string }

// keep takes a member as text, old when it has the same bytes.
func (k *keys) keep(name, old string) string {
	m := k.take(name)
	return keep(old, m.text(nil))
}

// keep is b as a string, old when it has the same bytes.
func keep(old string, b []byte) string {
	if string(b) == old {
		return old
	}
	return limit(string(b))
}

// Decode reads one object. Keys of types that are not expected count as
// absent; a type that is not known is kept in Name. The text must stay as it
// is as long as Elide may be called.
func Decode(text []byte, m *Message) error {
	old := kept{m.Name, m.Version, m.CallSID, m.ContentType, m.MessageType, m.VoiceEventSID, m.Region}
	if *m = (Message{scratch: m.scratch}); m.scratch == nil {
		m.scratch = &scratch{top: make(keys, 0, 16), payload: make(keys, 0, 16), inner: make(keys, 0, 16)}
	}
	k, err := m.scratch.tree.read(text, m.scratch.top)
	if err != nil {
		return err
	}
	if t := k.get("type"); t != nil {
		if name := t.text(nil); len(name) > 0 {
			k.take("type")
			m.Name = keep(old.name, name)
			m.envelope(&k, &old)
			return nil
		}
	}
	for _, name := range [...]string{"rt.message", "EventType", "Request", "Response", "Roster", "Available", "code"} {
		if k.get(name) != nil {
			if m.matrix(&k); m.Name != "" {
				return nil
			}
			break
		}
	}
	m.scratch.tree.values = m.scratch.tree.values[:0]
	*m = Message{scratch: m.scratch}
	return &wire.Error{Proto: "pstream", Field: "type", Msg: "want a message type, have none"}
}

// envelope reads PStream and chunderw, which both name a type.
func (m *Message) envelope(k *keys, old *kept) {
	m.Generation, m.Version = PStream, k.keep("version", old.version)
	lower := strings.ToLower(m.Name)
	m.Type = typeOf(lower)
	if m.Type == TypePublish || m.Type == TypeOffer && m.Name == lower {
		m.Type = TypeUnknown
	}
	p := k.object(&m.scratch.tree, "payload", m.scratch.payload)
	if p == nil && m.Name != lower && m.Version == "" {
		m.Generation = Chunderw
		p, *k = *k, nil
	}
	if len(p) > 0 {
		m.payload(&p, old)
	}
	m.Unknown += len(*k) + len(p)
}

func (m *Message) call(sid string) {
	m.CallSID = sid
	if strings.HasPrefix(m.CallSID, "TJS") {
		m.TempSID = m.CallSID
	}
}

func (m *Message) payload(p *keys, old *kept) {
	m.call(p.keep("callsid", old.callSID))
	sdp := p.take("sdp")
	if sdp := sdp.text(m.scratch.sdp[:0]); len(sdp) > 0 {
		// It lies there already, or in the input.
		m.scratch.sdp = append(m.scratch.sdp[:0], sdp...)
		m.SDP = m.scratch.sdp
	}
	m.ContentLen = p.size("content")
	m.ContentType, m.MessageType = p.keep("contenttype", old.contentType), p.keep("messagetype", old.messageType)
	m.VoiceEventSID, m.Region = p.keep("voiceeventsid", old.voiceEventSID), p.keep("region", old.region)
	if len(*p) == 0 { // of the most frequent messages nothing is left
		return
	}
	m.Reconnect = p.size("reconnect") > 0
	m.Preflight = p.keep("preflight", "true") == "true"
	m.Gateway, m.Edge, m.Home = limit(p.text("gateway")), limit(p.text("edge")), limit(p.text("home"))
	doc, buf := &m.scratch.tree, m.scratch.inner // buf is of one object after another
	parameters := p.object(doc, "parameters", buf)
	m.Parameters.read(&parameters)

	// The client sends its access token, the server says what it has read.
	if t := p.object(doc, "token", buf); t != nil {
		m.Identity, m.TTL = limit(t.text("identity")), t.number("ttl")
		m.Parameters.AccountSid = first(m.Parameters.AccountSid, limit(t.text("accountSid")))
		m.Unknown += len(t)
	} else {
		m.TokenLen = p.size("token")
	}
	p.take("reconnectTimeout")
	if b := p.object(doc, "browserinfo", buf); b != nil {
		m.SDK = limit(b.text("v"))
		b.take("p")
		b.take("plugin")
		if b := b.object(doc, "browser", nil); b != nil {
			m.UserAgent = b.text("userAgent")
			b.take("platform")
			m.Unknown += len(b)
		}
		m.Unknown += len(b)
	}
	if media := p.object(doc, "media", buf); media != nil {
		m.Unregister = media.text("audio") == "false"
		m.Unknown += len(media)
	}
	if t := p.object(doc, "twilio", buf); t != nil {
		m.Params = t.text("params")
		m.Parameters.AccountSid = first(m.Parameters.AccountSid, limit(t.text("accountsid")))
		m.TokenLen += t.size("token")
		m.BridgeToken = t.size("bridgeToken") > 0
		t.take("appsid")
		t.take("extras")
		m.Unknown += len(t)
	}
	if e := p.object(doc, "error", buf); e != nil {
		m.fail(&e)
	}
	m.DTMF = p.text("dtmf")
	m.DTMFDigits = len(m.DTMF)
	if m.Type == TypeHangup {
		m.Reason = p.text("message")
	}
	m.AckType = limit(p.text("acktype"))
	m.Candidate = p.text("candidate")
	p.take("label")
	if m.Generation == Chunderw {
		p.take("fmt")
	}
}

func (m *Message) fail(e *keys) {
	m.ErrorCode, m.ErrorMessage, m.RetryAfter = e.number("code"), e.text("message"), e.number("retryAfter")
	for _, name := range [...]string{"twilioError", "info", "more_info"} {
		e.take(name)
	}
	m.Unknown += len(*e)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (p *Parameters) read(k *keys) {
	p.From, p.To = limit(k.text("From")), limit(k.text("To"))
	p.CallSid, p.AccountSid = limit(k.text("CallSid")), limit(k.text("AccountSid"))
	p.ApiVersion, p.Params = limit(k.text("ApiVersion")), k.text("Params")
	p.Others = len(*k)
}

// matrix reads the generation whose kind has three names.
func (m *Message) matrix(k *keys) {
	m.Generation = Matrix
	m.Name = limit(first(first(k.text("rt.message"), k.text("EventType")), k.text("Request")))
	m.Type = typeOf(strings.ToLower(m.Name))
	if m.Name == "" {
		switch {
		case k.get("Roster") != nil:
			m.Name, m.Type = "roster", TypeRoster
		case k.get("Available") != nil:
			m.Name, m.Type = "presence", TypePresence
		case k.get("Response") != nil:
			m.Name = limit(k.text("Response"))
			m.Type = typeOf(strings.ToLower(m.Name))
		default:
			m.Name, m.Type = "error", TypeError
		}
	}
	m.TokenLen = k.size("rt.token")
	m.BridgeToken = k.size("Token") > 0
	k.take("RejectChannel")
	k.take("rt.subchannel")
	k.take("Response")
	k.take("Roster")
	m.Availability = limit(first(k.text("Available"), k.text("availability")))
	m.call(limit(k.text("CallSid")))
	doc, buf := &m.scratch.tree, m.scratch.inner // buf is of one object after another
	parameters := k.object(doc, "Parameters", buf)
	m.Parameters.read(&parameters)
	if from := k.text("From"); m.Parameters.From == "" {
		m.Parameters.From = limit(from)
	}
	if p := k.object(doc, "rt.payload", buf); p != nil {
		switch answer := p.text("Response"); {
		case answer != "":
			m.Name = limit(answer)
			m.Type = typeOf(strings.ToLower(answer))
			m.call(limit(p.text("CallSid")))
		case p.get("availability") != nil:
			m.Type = TypePresence
			m.Availability = limit(p.text("availability"))
			p.take("ttl")
			p.take("keepalive")
		}
		m.Unknown += len(p)
	}
	if k.get("code") != nil || m.Type == TypeError {
		m.fail(k)
		return
	}
	m.Unknown += len(*k)
}

// ErrorText is what a code of Twilio means, "" when it is not known. Those of
// 31xxx and 53xxx are of the clients, the others of the REST API and of
// messages.
func ErrorText(code int) string {
	switch code {
	case 20003:
		return "authentication failed"
	case 20101:
		return "access token invalid"
	case 20104:
		return "access token expired"
	case 20151:
		return "authentication failed"
	case 20404:
		return "not found"
	case 20429:
		return "too many requests"
	case 21211:
		return "invalid To number"
	case 21212:
		return "invalid From number"
	case 21214:
		return "To number cannot be reached"
	case 21215:
		return "country not permitted"
	case 21605:
		return "body longer than 160 characters"
	case 21608:
		return "To number not verified (trial account)"
	case 21610:
		return "recipient has opted out"
	case 21611:
		return "queue of the From number is full"
	case 21614:
		return "To number is no mobile number"
	case 21617:
		return "body longer than 1,600 characters"
	case 21624, 90007:
		return "invalid validity period"
	case 22005:
		return "call queue is full"
	case 30001:
		return "queue overflow"
	case 30002:
		return "account suspended"
	case 30003:
		return "handset unreachable"
	case 30004:
		return "message blocked"
	case 30005:
		return "unknown destination"
	case 30006:
		return "landline or unreachable carrier"
	case 30007:
		return "filtered by the carrier"
	case 30008:
		return "unknown delivery error"
	case 30022:
		return "rate limit of the US A2P 10DLC campaign exceeded"
	case 30036:
		return "validity period expired"
	case 31000:
		return "unknown error"
	case 31001:
		return "application not found"
	case 31002:
		return "connection declined"
	case 31003:
		return "connection timeout"
	case 31005:
		return "connection error"
	case 31008:
		return "call cancelled"
	case 31009:
		return "transport error"
	case 31100:
		return "malformed request"
	case 31101:
		return "missing parameter array"
	case 31102:
		return "token missing"
	case 31103:
		return "parameter too long"
	case 31104:
		return "invalid bridge token"
	case 31105:
		return "invalid client name"
	case 31107:
		return "invalid reconnect parameter"
	case 31201:
		return "authorization error"
	case 31202:
		return "signature validation failed"
	case 31203:
		return "no valid account"
	case 31204:
		return "invalid JWT"
	case 31205:
		return "JWT expired"
	case 31206:
		return "rate exceeded authorized limit"
	case 31207:
		return "JWT expiration too long"
	case 31209:
		return "reconnect not authorized"
	case 31210:
		return "call message type invalid"
	case 31212:
		return "call message too long"
	case 31400:
		return "bad request"
	case 31401:
		return "user media permission denied"
	case 31402:
		return "user media could not be acquired"
	case 31403:
		return "forbidden"
	case 31404:
		return "not found"
	case 31480:
		return "temporarily unavailable"
	case 31486:
		return "busy"
	case 31603:
		return "declined"
	case 53000:
		return "signaling connection error"
	case 53001:
		return "signaling connection disconnected"
	case 53400:
		return "client could not create or apply a local description"
	case 53402:
		return "client could not create or apply a remote description"
	case 53405:
		return "media connection failed"
	case 63038:
		return "daily message limit exceeded"
	}
	return ""
}
