// Package mediastream reads the JSON text messages of a Twilio media stream: a
// WebSocket on which Twilio sends a call's audio to an application's server
// and takes audio back.
//
// Source: Twilio's documentation of <Stream> WebSocket messages: connected,
// start, media, dtmf, mark and stop to the server; media, mark and clear from
// it. Counters are strings there; numbers are read as well.
//
// Units: TimestampMS is ms since the stream began; PayloadLen is bytes of audio
// after base64.
//
// Aliasing: a Message owns its strings. One that is used again for the next
// message of a stream costs no allocation. The payload is never copied: it is
// measured where it stands.
//
// Secrets: a DTMF digit is a field that a caller shows on request only; values
// of custom parameters are counted only.
//
// Bounds: 256 KiB a message, 32 levels.
//
// Not handled: the audio itself.
//
// What may enter: further events of the same streams.
package mediastream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	maxText   = 256 << 10
	maxDepth  = 32
	maxString = 256 // bytes of a value that is kept
)

// Event is the kind of a message; new ones may be added.
type Event uint8

const (
	EventUnknown Event = iota // Message.Name has what it is called
	Connected
	Start
	Media
	Stop
	Mark
	DTMF
	Clear
)

var eventNames = [...]string{EventUnknown: "unknown", Connected: "connected", Start: "start", Media: "media", Stop: "stop", Mark: "mark", DTMF: "dtmf", Clear: "clear"}

func (e Event) String() string {
	if int(e) < len(eventNames) {
		return eventNames[e]
	}
	return "event " + strconv.Itoa(int(e))
}

// Message is one message. Numbers are -1 when absent.
type Message struct {
	Event    Event
	Name     string // the event as it is written
	Sequence int64

	StreamSID, CallSID, AccountSID string

	Track       string // inbound or outbound; inbound_track of a digit
	Tracks      string // of a start, joined by commas
	Chunk       int64
	TimestampMS int64
	PayloadLen  int // 0 without one

	Encoding   string // audio/x-mulaw
	SampleRate int64
	Channels   int64

	Digit    string // a secret
	MarkName string

	Protocol, Version string // of a connected
	CustomParameters  int
	Unknown           int // keys that are not known here
}

// Looks tells whether a text message is one of a media stream: an object with
// an event that is known.
func Looks(text []byte) bool {
	var m Message
	return Decode(text, &m) == nil && m.Event != EventUnknown
}

// section is the object that a key stands in.
type section uint8

const (
	top section = iota
	inStart
	inFormat
	inMedia
	inDTMF
	inMark
	inStop
	inCustom
	elsewhere
)

type parser struct {
	in  []byte
	pos int
	m   *Message
	err *wire.Error
}

// Decode reads a message. An event that is not known is kept in Name.
func Decode(text []byte, m *Message) error {
	old := *m
	*m = Message{Sequence: -1, Chunk: -1, TimestampMS: -1, SampleRate: -1, Channels: -1}
	// Strings that are the same again are not made again.
	m.Name, m.StreamSID, m.CallSID, m.AccountSID, m.Track = old.Name, old.StreamSID, old.CallSID, old.AccountSID, old.Track
	p := parser{in: text, m: m}
	seen := [...]*string{&m.Name, &m.StreamSID, &m.CallSID, &m.AccountSID, &m.Track}
	var set [len(seen)]bool
	if len(text) > maxText {
		p.pos = maxText
		p.fail("", "want at most 256 KiB")
	} else if p.space(); p.pos == len(text) || text[p.pos] != '{' {
		p.fail("", "want an object")
	} else {
		p.object(top, 0, &set)
		if p.space(); p.err == nil && p.pos < len(text) {
			p.fail("", "want nothing after the object")
		}
	}
	for i, s := range seen {
		if !set[i] {
			*s = ""
		}
	}
	if p.err == nil && m.Name == "" {
		p.fail("event", "want one, have none")
	}
	if p.err != nil {
		return p.err
	}
	for e, name := range eventNames {
		if e > 0 && name == m.Name {
			m.Event = Event(e)
		}
	}
	return nil
}

// Indices of the strings that are used again.
const (
	setName = iota
	setStream
	setCall
	setAccount
	setTrack
)

// fail keeps the first error. It never says what was there: it may be audio
// or a secret.
func (p *parser) fail(field, msg string) {
	if p.err == nil {
		p.err = &wire.Error{Proto: "mediastream", Field: field, Off: int64(p.pos), Msg: msg}
	}
}

func (p *parser) space() {
	for p.pos < len(p.in) && (p.in[p.pos] == ' ' || p.in[p.pos] == '\n' || p.in[p.pos] == '\r' || p.in[p.pos] == '\t') {
		p.pos++
	}
}

// next passes over white space and gives the byte there, 0 at the end.
func (p *parser) next() byte {
	if p.space(); p.pos < len(p.in) && p.err == nil {
		return p.in[p.pos]
	}
	return 0
}

// str reads a string and gives what is between its quotes.
func (p *parser) str() []byte {
	if p.next() != '"' {
		p.fail("", "want a string")
		return nil
	}
	p.pos++
	start := p.pos
	if n := bytes.IndexByte(p.in[start:], '"'); n >= 0 && isPlain(p.in[start:start+n]) {
		p.pos += n + 1
		return p.in[start : start+n]
	}
	for ; p.pos < len(p.in); p.pos++ {
		switch c := p.in[p.pos]; {
		case c == '"':
			p.pos++
			return p.in[start : p.pos-1]
		case c == '\\':
			p.pos++
		case c < ' ':
			p.fail("", "want no control character in a string")
			return nil
		}
	}
	p.pos = len(p.in)
	p.fail("", "want the end of a string")
	return nil
}

// isPlain tells whether b has neither a backslash nor a control character.
func isPlain(b []byte) bool {
	if bytes.IndexByte(b, '\\') >= 0 {
		return false
	}
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		if w := binary.LittleEndian.Uint64(b); (w-ones*' ')&^w&highs != 0 {
			return false
		}
	}
	for _, c := range b {
		if c < ' ' {
			return false
		}
	}
	return true
}

// scalar reads a string, number or literal, as it is written without quotes.
func (p *parser) scalar() []byte {
	c := p.next()
	if c == '"' {
		return p.str()
	}
	start := p.pos
	for p.pos < len(p.in) && p.in[p.pos] >= '0' && p.in[p.pos] <= '9' {
		p.pos++
	}
	if n := p.pos - start; (n == 1 || n > 1 && c != '0') && p.pos < len(p.in) && (p.in[p.pos] == ',' || p.in[p.pos] == '}') {
		return p.in[start:p.pos] // a whole number, as most are
	}
	for p.pos < len(p.in) && strings.IndexByte("+-.0123456789Eaeflnrstu", p.in[p.pos]) >= 0 {
		p.pos++
	}
	b := p.in[start:p.pos]
	if !json.Valid(b) {
		p.pos = start
		p.fail("", "want a value")
		return nil
	}
	if c == 'n' {
		return nil
	}
	return b
}

// text is a scalar as a string; old when it has the same bytes.
func (p *parser) text(old string) string {
	b := p.scalar()
	if string(b) == old {
		return old
	}
	return unescape(b)
}

func unescape(b []byte) string {
	b = b[:min(len(b), 4*maxString)]
	s := string(b)
	if strings.IndexByte(s, '\\') >= 0 {
		var plain string
		if json.Unmarshal([]byte(`"`+s+`"`), &plain) == nil {
			s = plain
		}
	}
	return strings.ToValidUTF8(s[:min(len(s), maxString)], "")
}

// number is a scalar as a whole number that is not negative, -1 for another.
func (p *parser) number() int64 {
	b := p.scalar()
	if len(b) == 0 {
		return -1
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			return -1
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

// object reads an object's members.
func (p *parser) object(in section, depth int, set *[5]bool) {
	if depth++; depth > maxDepth {
		p.fail("", "want at most 32 levels")
		return
	}
	p.pos++
	for i := 0; ; i++ {
		c := p.next()
		if i == 0 && c == '}' {
			p.pos++
			return
		}
		if i > 0 {
			if c == '}' {
				p.pos++
				return
			}
			if c != ',' {
				p.fail("", "want a comma or the end of an object")
				return
			}
			p.pos++
		}
		key := p.str()
		if p.next() != ':' {
			p.fail("", "want a colon")
			return
		}
		p.pos++
		p.member(in, key, depth, set)
		if p.err != nil {
			return
		}
	}
}

// member reads the value of a key.
func (p *parser) member(in section, key []byte, depth int, set *[5]bool) {
	m := p.m
	c := p.next()
	if c == '{' {
		to := elsewhere
		switch {
		case in == top:
			switch string(key) {
			case "start":
				to = inStart
			case "media":
				to = inMedia
			case "dtmf":
				to = inDTMF
			case "mark":
				to = inMark
			case "stop":
				to = inStop
			}
		case in == inStart && string(key) == "mediaFormat":
			to = inFormat
		case in == inStart && string(key) == "customParameters":
			to = inCustom
		}
		if to == elsewhere && in != elsewhere && in != inCustom {
			m.Unknown++
		}
		if in == inCustom {
			m.CustomParameters++
		}
		p.object(to, depth, set)
		return
	}
	if c == '[' {
		p.array(in == inStart && string(key) == "tracks", depth, set)
		if in != elsewhere && string(key) != "tracks" {
			m.Unknown++
		}
		return
	}
	keep := func(i int, s *string) {
		*s = p.text(*s)
		set[i] = true
	}
	switch in {
	case top:
		switch string(key) {
		case "event":
			keep(setName, &m.Name)
			return
		case "sequenceNumber":
			m.Sequence = p.number()
			return
		case "streamSid":
			keep(setStream, &m.StreamSID)
			return
		case "protocol":
			m.Protocol = p.text("")
			return
		case "version":
			m.Version = p.text("")
			return
		}
	case inMedia, inDTMF:
		switch string(key) {
		case "track":
			keep(setTrack, &m.Track)
			return
		case "chunk":
			m.Chunk = p.number()
			return
		case "timestamp":
			m.TimestampMS = p.number()
			return
		case "payload":
			m.PayloadLen = audio(p.scalar())
			return
		case "digit":
			m.Digit = p.text("")
			return
		}
	case inStart, inStop:
		switch string(key) {
		case "streamSid":
			keep(setStream, &m.StreamSID)
			return
		case "callSid":
			keep(setCall, &m.CallSID)
			return
		case "accountSid":
			keep(setAccount, &m.AccountSID)
			return
		}
	case inFormat:
		switch string(key) {
		case "encoding":
			m.Encoding = p.text("")
			return
		case "sampleRate":
			m.SampleRate = p.number()
			return
		case "channels":
			m.Channels = p.number()
			return
		}
	case inMark:
		if string(key) == "name" {
			m.MarkName = p.text("")
			return
		}
	case inCustom:
		p.scalar()
		m.CustomParameters++
		return
	case elsewhere:
		p.scalar()
		return
	}
	p.scalar()
	m.Unknown++
}

// array reads an array; tracks tells that its strings are those of a start.
func (p *parser) array(tracks bool, depth int, set *[5]bool) {
	if depth++; depth > maxDepth {
		p.fail("", "want at most 32 levels")
		return
	}
	p.pos++
	for i := 0; p.err == nil; i++ {
		c := p.next()
		if c == ']' {
			p.pos++
			return
		}
		if i > 0 {
			if c != ',' {
				p.fail("", "want a comma or the end of an array")
				return
			}
			p.pos++
			c = p.next()
		}
		switch {
		case c == '{':
			p.object(elsewhere, depth, set)
		case c == '[':
			p.array(false, depth, set)
		default:
			b := p.scalar()
			if tracks && len(p.m.Tracks)+len(b) < maxString {
				if p.m.Tracks != "" {
					p.m.Tracks += ","
				}
				p.m.Tracks += unescape(b)
			}
		}
	}
}

// audio is how many bytes base64 text holds (RFC 4648, 4). A slash may be
// escaped, as JSON allows.
func audio(b []byte) int {
	n := 0
	if bytes.IndexByte(b, '\\') < 0 {
		n = len(b) - bytes.Count(b, []byte{'='})
		b = nil
	}
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\' && i+1 < len(b) && b[i+1] == 'u':
			n, i = n+1, i+5
		case c == '\\' || c == '=':
		default:
			n++
		}
	}
	return n/4*3 + []int{0, 0, 1, 2}[n%4]
}

// String says what a message is, without digits and audio.
func (m *Message) String() string {
	s := m.Name
	switch m.Event {
	case Media:
		s += fmt.Sprintf(" %s chunk %d at %d ms, %d bytes", m.Track, m.Chunk, m.TimestampMS, m.PayloadLen)
	case Start:
		s += fmt.Sprintf(" %s of %s, %s %d Hz", m.StreamSID, m.CallSID, m.Encoding, m.SampleRate)
	case DTMF:
		s += fmt.Sprintf(" [%d digit]", len(m.Digit))
	case Mark:
		s += fmt.Sprintf(" %q", m.MarkName)
	}
	return s
}
