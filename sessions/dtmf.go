package sessions

import (
	"bytes"

	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/sip"
)

const maxDigits = 256 // digits of one stream or message that are shown

// digit keeps the digit of a telephone event that has just begun; the caller
// knows that it may be shown. A payload that is encrypted or cut shows none.
func (s *stream) digit(h *rtp.Header) {
	var e rtp.Event
	if len(s.digits) < maxDigits && (!s.encrypted || s.opened > 0) && rtp.DecodeEvent(h.Payload, &e) && e.Digit() != 0 {
		s.digits = append(s.digits, e.Digit())
	}
}

// withDigits is the label of a message that carries digits.
func withDigits(label, digits string) string {
	if digits == "" {
		return label
	}
	return label + " " + cut(digits, maxDigits)
}

// infoDigits are the digits in the body of an INFO request: a line Signal= of
// application/dtmf-relay, or all of application/dtmf. There is no RFC of
// either; this is how Cisco's gateways and Asterisk write them.
func infoDigits(m *sip.Message) string {
	if !m.Request || string(m.MethodText) != "INFO" {
		return ""
	}
	var out []byte
	body := m.Body
	typ, _, _ := bytes.Cut(bytes.ToLower(m.ContentType), []byte(";"))
	switch string(bytes.TrimSpace(typ)) {
	case "application/dtmf":
	case "application/dtmf-relay":
		body = nil
		for line := range bytes.Lines(m.Body) {
			name, value, _ := bytes.Cut(line, []byte("="))
			if bytes.EqualFold(bytes.TrimSpace(name), []byte("Signal")) {
				body = value
			}
		}
	default:
		return ""
	}
	for _, c := range bytes.ToUpper(body) {
		if bytes.IndexByte([]byte("0123456789*#ABCD"), c) >= 0 && len(out) < maxDigits {
			out = append(out, c)
		}
	}
	return string(out)
}
