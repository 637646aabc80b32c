package scrub

import (
	"bytes"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/decode/sdp"
	"github.com/twtrace/twtrace/decode/sip"
)

// words is what may stand in a list of tokens as it is: option tags, events and
// transports that are registered with IANA. Others leave the list.
var words = strings.Fields("100rel answermode early-session eventlist from-change gruu histinfo ice join multiple-refer norefersub " +
	"nosub outbound path policy precond precondition pref privacy recipient-list-invite replaces resource-priority sdp-anat sec-agree " +
	"tdialog timer trickle-ice uui conference dialog kpml message-summary presence refer reg telephone-event " +
	"udp tcp tls ws wss sctp UDP TCP TLS WS WSS SCTP active pending terminated uac uas")

// phrases are what a status is called (RFC 3261, 21); others get none.
var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 200: "OK", 202: "Accepted",
	302: "Moved Temporarily", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	407: "Proxy Authentication Required", 408: "Request Timeout", 415: "Unsupported Media Type", 420: "Bad Extension", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 486: "Busy Here",
	487: "Request Terminated", 488: "Not Acceptable Here", 491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented",
	502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out", 600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}

// sip appends a message written anew. Headers that are not known here are left
// out, and so is a body that is no SDP.
func (s *Scrubber) sip(dst, b []byte) []byte {
	m := &s.sipMsg
	if sip.Parse(b, m) != nil || m.Request && m.Method == sip.Unknown {
		return s.zeros(dst, "damaged SIP", len(b))
	}
	if m.Request {
		dst = fmt.Appendf(dst, "%s %s SIP/2.0\r\n", m.Method, s.uri(m.RequestURI))
	} else {
		dst = fmt.Appendf(dst, "SIP/2.0 %03d %s\r\n", m.Status, phrases[m.Status])
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		name := h.ID.String()
		for v := range values(h) {
			if v = s.header(m, h.ID, v); v != "" {
				dst = append(dst, name+": "+v+"\r\n"...)
			}
		}
	}
	var body []byte
	if x := m.SDP(); x != nil {
		body = s.sdp(x)
	}
	if len(m.Body) > 0 && body == nil {
		s.zeros(nil, "bodies of SIP", len(m.Body))
	}
	if body != nil {
		dst = append(dst, "Content-Type: application/sdp\r\n"...)
	}
	dst = fmt.Appendf(dst, "Content-Length: %d\r\n\r\n", len(body))
	return append(dst, body...)
}

// lists are headers of which each value is rewritten on its own.
var lists = []sip.HeaderID{sip.HeaderContact, sip.HeaderRoute, sip.HeaderRecordRoute, sip.HeaderPAssertedIdentity, sip.HeaderPPreferredIdentity,
	sip.HeaderRemotePartyID, sip.HeaderDiversion, sip.HeaderHistoryInfo, sip.HeaderPath, sip.HeaderServiceRoute, sip.HeaderVia, sip.HeaderReason}

func values(h *sip.Header) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if !slices.Contains(lists, h.ID) {
			yield(string(h.Value))
			return
		}
		one := sip.Message{Headers: []sip.Header{*h}}
		one.Values(h.ID, func(v []byte) bool { return yield(string(v)) })
	}
}

// header is the new value of one; "" leaves the header out.
func (s *Scrubber) header(m *sip.Message, id sip.HeaderID, v string) string {
	switch id {
	case sip.HeaderCallID:
		return s.names.CallID(v)
	case sip.HeaderCSeq:
		number, method, _ := strings.Cut(v, " ")
		if n := digits(number); n != "" && m.CSeqMethod != sip.Unknown && strings.TrimSpace(method) != "" {
			return n + " " + m.CSeqMethod.String()
		}
	case sip.HeaderFrom, sip.HeaderTo, sip.HeaderContact, sip.HeaderRoute, sip.HeaderRecordRoute, sip.HeaderReferTo, sip.HeaderReferredBy,
		sip.HeaderPAssertedIdentity, sip.HeaderPPreferredIdentity, sip.HeaderRemotePartyID, sip.HeaderDiversion, sip.HeaderReplyTo,
		sip.HeaderPath, sip.HeaderServiceRoute, sip.HeaderHistoryInfo:
		return s.address(v)
	case sip.HeaderVia:
		return s.via(v)
	case sip.HeaderMaxForwards, sip.HeaderExpires, sip.HeaderMinExpires, sip.HeaderMinSE, sip.HeaderRSeq, sip.HeaderRetryAfter:
		return digits(v)
	case sip.HeaderSessionExpires:
		n, rest, _ := strings.Cut(v, ";")
		if n = digits(n); n != "" {
			return n + param(rest, "refresher", known)
		}
	case sip.HeaderRAck:
		if f := strings.Fields(v); len(f) == 3 && digits(f[0]) != "" && digits(f[1]) != "" && method(f[2]) != "" {
			return f[0] + " " + f[1] + " " + f[2]
		}
	case sip.HeaderAllow:
		return filter(v, method)
	case sip.HeaderSupported, sip.HeaderRequire, sip.HeaderProxyRequire, sip.HeaderUnsupported, sip.HeaderAllowEvents, sip.HeaderEvent:
		return filter(v, known)
	case sip.HeaderSubscriptionState:
		state, rest, _ := strings.Cut(v, ";")
		if state = known(state); state != "" {
			return state + param(rest, "expires", digits)
		}
	case sip.HeaderReason:
		r := sip.ParseReason([]byte(v))
		if p := strings.ToUpper(string(r.Protocol)); (p == "SIP" || p == "Q.850") && r.Cause >= 0 {
			return p + ";cause=" + strconv.Itoa(r.Cause)
		}
	case sip.HeaderReplaces:
		return s.replaces(v)
	case sip.HeaderSessionID:
		local, rest, _ := strings.Cut(v, ";")
		return s.sessionID(local) + param(rest, "remote", s.sessionID)
	case sip.HeaderUserAgent, sip.HeaderServer:
		if strings.HasPrefix(v, "Twilio") {
			return "Twilio" // tells which side is the provider's
		}
	case sip.HeaderXTwilioCallSID, sip.HeaderXTwilioAccountSID:
		if v = strings.TrimSpace(v); len(v) == 34 {
			return s.names.CallID(v)
		}
	}
	return ""
}

// sessionID is that of RFC 7989; all zeros say that there is none yet.
func (s *Scrubber) sessionID(v string) string {
	v = strings.TrimSpace(v)
	if strings.Trim(v, "0") == "" {
		return v
	}
	return s.names.Token("session", strings.ToLower(v), 32)
}

func known(v string) string {
	if v = strings.TrimSpace(v); slices.Contains(words, v) {
		return v
	}
	return ""
}

func digits(v string) string {
	if v = strings.TrimSpace(v); v != "" && len(v) <= 10 && strings.Trim(v, "0123456789") == "" {
		return v
	}
	return ""
}

func method(v string) string {
	v = strings.TrimSpace(v)
	for m := sip.INVITE; m <= sip.PUBLISH; m++ {
		if v == m.String() {
			return v
		}
	}
	return ""
}

// filter keeps of a list what keep does.
func filter(v string, keep func(string) string) string {
	var out []string
	for x := range strings.SplitSeq(v, ",") {
		x, _, _ = strings.Cut(x, ";")
		if x = keep(x); x != "" {
			out = append(out, x)
		}
	}
	return strings.Join(out, ", ")
}

// param is ";name=value" of a parameter, as f has the value; "" without it.
func param(params, name string, f func(string) string) string {
	for p := range strings.SplitSeq(params, ";") {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			if v = f(strings.Trim(v, " \"")); v != "" {
				return ";" + name + "=" + v
			}
		}
	}
	return ""
}

func (s *Scrubber) tag(v string) string {
	if v == "" {
		return ""
	}
	return s.names.Token("tag", v, 16)
}

// address is a name-addr with what of its parameters says nothing of anyone.
func (s *Scrubber) address(v string) string {
	if strings.TrimSpace(v) == "*" {
		return "*"
	}
	a := sip.ParseAddress([]byte(v))
	if len(a.URI) == 0 {
		return ""
	}
	out := ""
	if len(a.Display) > 0 {
		out = `"` + strings.Map(quotable, s.names.Display(string(a.AppendDisplay(nil)))) + `" `
	}
	out += "<" + s.uri(a.URI) + ">"
	if len(a.Tag) > 0 {
		out += ";tag=" + s.tag(string(a.Tag))
	}
	return out + param(string(a.Params), "expires", digits)
}

func quotable(c rune) rune {
	if c == '"' || c == '\\' || c < ' ' {
		return -1
	}
	return c
}

// uri is a URI with the parameters that say how to reach it, and with Replaces
// of those behind a question mark.
func (s *Scrubber) uri(b []byte) string {
	v := string(bytes.TrimSpace(b))
	v, headers, _ := strings.Cut(v, "?")
	base, params, _ := strings.Cut(v, ";")
	out := strings.Map(func(c rune) rune {
		if c <= ' ' || strings.ContainsRune(`<>"`, c) {
			return -1
		}
		return c
	}, s.names.Party(base))
	out += param(params, "transport", known)
	for p := range strings.SplitSeq(params, ";") {
		if p == "lr" || p == "ob" || p == "user=phone" {
			out += ";" + p
		}
	}
	for h := range strings.SplitSeq(headers, "&") {
		k, x, _ := strings.Cut(h, "=")
		if x, err := url.PathUnescape(x); err == nil && strings.EqualFold(k, "Replaces") {
			out += "?Replaces=" + url.QueryEscape(s.replaces(x))
		}
	}
	return out
}

func (s *Scrubber) replaces(v string) string {
	id, params, _ := strings.Cut(v, ";")
	if id = strings.TrimSpace(id); id == "" {
		return ""
	}
	return s.names.CallID(id) + param(params, "to-tag", s.tag) + param(params, "from-tag", s.tag)
}

func (s *Scrubber) via(v string) string {
	x := sip.ParseVia([]byte(v))
	transport := known(string(x.Transport))
	if transport == "" || len(x.Host) == 0 {
		return ""
	}
	out := "SIP/2.0/" + transport + " " + s.host(string(x.Host))
	if x.Port > 0 {
		out += ":" + strconv.Itoa(x.Port)
	}
	if len(x.Branch) > 0 {
		// RFC 3261, 8.1.1.7: the begin says how it was made.
		magic, rest := "", string(x.Branch)
		if r, ok := strings.CutPrefix(rest, "z9hG4bK"); ok {
			magic, rest = "z9hG4bK", r
		}
		out += ";branch=" + magic + s.names.Token("branch", rest, 20)
	}
	if len(x.Received) > 0 {
		out += ";received=" + s.host(string(x.Received))
	}
	switch {
	case x.RPort > 0:
		out += ";rport=" + strconv.Itoa(x.RPort)
	case x.RPort == 0:
		out += ";rport"
	}
	return out
}

// host is a host of a URI or Via, in brackets where it has colons.
func (s *Scrubber) host(v string) string {
	fake := s.names.Host(v)
	if strings.Contains(fake, ":") {
		return "[" + fake + "]"
	}
	return fake
}

// sdp writes a description from what was read of it. Keys (crypto, ice-pwd),
// fingerprints, names and texts are not in it.
func (s *Scrubber) sdp(b []byte) []byte {
	var d sdp.Session
	if err := sdp.Parse(b, &d); err != nil {
		s.zeros(nil, "damaged SDP", len(b))
		return nil
	}
	id, version := s.number("session", d.Origin.SessionID), s.number("version", d.Origin.SessionVersion)
	out := fmt.Appendf(nil, "v=0\r\no=- %s %s %s\r\ns=-\r\n", id, version, s.connection(d.Origin.Addr))
	if d.Connection != (sdp.Address{}) {
		out = fmt.Appendf(out, "c=%s\r\n", s.connection(d.Connection))
	}
	out = append(out, "t=0 0\r\n"...)
	for _, g := range d.Groups {
		semantics, mids, _ := strings.Cut(g, " ")
		if semantics != "BUNDLE" && semantics != "LS" {
			continue
		}
		out = append(out, "a=group:"+semantics...)
		for mid := range strings.FieldsSeq(mids) {
			out = append(out, " "+s.mid(mid)...)
		}
		out = append(out, "\r\n"...)
	}
	if d.ICELite {
		out = append(out, "a=ice-lite\r\n"...)
	}
	for i := range d.Media {
		m := &d.Media[i]
		out = fmt.Appendf(out, "m=%s %d %s %s\r\n", one(m.Kind, kinds, "application"), m.Port, one(m.Proto, profiles, "unknown"), formats(m))
		if m.Addr != (sdp.Address{}) {
			out = fmt.Appendf(out, "c=%s\r\n", s.connection(m.Addr))
		}
		if m.Direction != sdp.DirectionUnknown {
			out = fmt.Appendf(out, "a=%s\r\n", m.Direction)
		}
		if m.RTCPMux {
			out = append(out, "a=rtcp-mux\r\n"...)
		}
		if m.RTCPAddr != (sdp.Address{}) && m.RTCPPort > 0 {
			out = fmt.Appendf(out, "a=rtcp:%d %s\r\n", m.RTCPPort, s.connection(m.RTCPAddr))
		} else if m.RTCPPort > 0 && m.RTCPPort != m.Port+1 {
			out = fmt.Appendf(out, "a=rtcp:%d\r\n", m.RTCPPort)
		}
		if m.Ptime > 0 {
			out = fmt.Appendf(out, "a=ptime:%g\r\n", m.Ptime)
		}
		if m.MaxPtime > 0 {
			out = fmt.Appendf(out, "a=maxptime:%g\r\n", m.MaxPtime)
		}
		for _, c := range m.Codecs {
			if c.Name == "" {
				continue
			}
			out = fmt.Appendf(out, "a=rtpmap:%d %s/%d", c.PT, codec(c.Name), c.ClockHz)
			if c.Channels > 1 {
				out = fmt.Appendf(out, "/%d", c.Channels)
			}
			out = append(out, "\r\n"...)
			if f := strings.TrimSpace(c.Fmtp); f != "" && len(f) <= 10 && strings.Trim(f, "0123456789-,") == "" {
				out = fmt.Appendf(out, "a=fmtp:%d %s\r\n", c.PT, f)
			}
		}
		for _, x := range m.SSRCs {
			out = fmt.Appendf(out, "a=ssrc:%d cname:-\r\n", x)
		}
		if slices.Contains(setups, m.Setup) {
			out = fmt.Appendf(out, "a=setup:%s\r\n", m.Setup)
		}
		if m.Mid != "" {
			out = fmt.Appendf(out, "a=mid:%s\r\n", s.mid(m.Mid))
		}
		if m.ICEUfrag != "" {
			out = fmt.Appendf(out, "a=ice-ufrag:%s\r\n", s.ufrag(m.ICEUfrag))
		}
		for _, c := range m.Candidates {
			out = append(out, s.candidate(&c)...)
		}
	}
	return out
}

var (
	kinds    = []string{"audio", "video", "image", "text", "application", "message"}
	profiles = []string{"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF", "TCP/RTP/AVP", "TCP/TLS/RTP/SAVP", "TCP/TLS/RTP/SAVPF",
		"udptl", "UDPTL", "UDP/UDPTL", "UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP"}
	setups     = []string{"active", "passive", "actpass", "holdconn"}
	candidates = []string{"host", "srflx", "prflx", "relay"}
)

func one(v string, of []string, other string) string {
	if slices.Contains(of, v) {
		return v
	}
	return other
}

// number is a number for a number, or for whatever stands in its place.
func (s *Scrubber) number(kind, v string) string {
	n, err := strconv.ParseInt(s.names.Token(kind, v, 15), 16, 64)
	if err != nil {
		panic("scrub: a token that is no number: " + err.Error())
	}
	return strconv.FormatInt(n, 10)
}

// mid is a medium's name, which most give as a small number or its kind.
func (s *Scrubber) mid(v string) string {
	if len(v) <= 2 || slices.Contains(kinds, v) {
		return plain(v)
	}
	return s.names.Token("mid", v, 8)
}

// ufrag is the public part of ICE's credentials, as long as it was: STUN
// messages have it too.
func (s *Scrubber) ufrag(v string) string { return s.names.Token("ufrag", v, len(v)) }

// formats are the payload types, or the one word that other media have.
func formats(m *sdp.Media) string {
	if len(m.Formats) > 0 {
		return strings.Trim(fmt.Sprint(m.Formats), "[]")
	}
	return one(m.FormatText, []string{"webrtc-datachannel", "t38", "*"}, "0")
}

// plain keeps of a text the characters of tokens.
func plain(v string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' {
			return c
		}
		return -1
	}, v)
}

// codec is the name of an encoding: one short word.
func codec(v string) string {
	numbers := len(v) - len(strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return -1
		}
		return c
	}, v))
	if len(v) > 20 || numbers > 5 || plain(v) != v {
		return "x-unknown"
	}
	return v
}

func (s *Scrubber) connection(a sdp.Address) string {
	if !a.IP.IsValid() {
		if a.Host == "" {
			return "IN IP4 0.0.0.0"
		}
		return "IN IP4 " + s.names.Host(a.Host)
	}
	return family(s.names.Address(a.IP))
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IN IP4 " + a.String()
	}
	return "IN IP6 " + a.String()
}

func (s *Scrubber) candidate(c *sdp.Candidate) string {
	host := s.names.Host(c.Addr.Host)
	if c.Addr.IP.IsValid() {
		host = s.names.Address(c.Addr.IP).String()
	}
	if host == "" {
		return ""
	}
	return fmt.Sprintf("a=candidate:%s %d %s %d %s %d typ %s\r\n", s.names.Token("foundation", c.Foundation, 8), c.Component, one(strings.ToLower(c.Transport), []string{"udp", "tcp"}, "udp"), c.Priority, host, c.Port, one(c.Type, candidates, "host"))
}
