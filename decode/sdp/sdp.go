// Package sdp reads session descriptions, RFC 8866, as SIP and WebRTC send them.
//
// The parser is line by line and takes what it can: order does not matter but
// for "a line after m= belongs to that media", unknown and broken lines are
// passed over, and each deviation is a Warning. What a medium does not say
// itself it inherits from the session level, so a Media stands alone.
//
// Sources: RFC 8866 (the format), RFC 3264 (offer and answer: port 0, hold),
// RFC 3551 (static payload types), RFC 3605 (a=rtcp), RFC 4568 (a=crypto),
// RFC 5576 (a=ssrc), RFC 5761 (a=rtcp-mux), RFC 8122 and RFC 4145 (fingerprint,
// setup), RFC 8285 (a=extmap), RFC 8839 (ICE), RFC 8843 (bundle).
//
// Units: Ptime and MaxPtime in milliseconds, clock rates in Hz, offsets in
// bytes of the input.
//
// Ownership: strings are copies (of one copy of the input), so a Session may
// be kept; Parse reuses the slices of the Session that it is given.
//
// Not handled: time zones, repeat times, bandwidth, and the k= line; the
// meaning of format parameters; capability negotiation (RFC 5939).
//
// Only the reading of one description may enter this room: matching offers
// with answers, and media with streams, is the business of the sessions package.
package sdp

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/internal/wire"
)

// Limits that keep memory in proportion to what real descriptions hold.
const (
	maxBytes    = 1 << 20
	maxMedia    = 512
	maxItems    = 256 // of one list of one medium
	maxWarnings = 64
)

// Direction is the direction of media, seen from who wrote the description.
type Direction uint8

// Directions of RFC 8866, 6.7.
const (
	DirectionUnknown Direction = iota
	SendRecv
	SendOnly
	RecvOnly
	Inactive
)

var directionNames = [...]string{"unknown", "sendrecv", "sendonly", "recvonly", "inactive"}

func (d Direction) String() string {
	if int(d) < len(directionNames) {
		return directionNames[d]
	}
	return directionNames[DirectionUnknown]
}

// Warning is a deviation that the parser tolerated.
type Warning struct {
	Off  int    // byte offset of the line in the input
	RFC  string // number and section
	Text string
}

// Address is an IP address, or a host name where the description has one.
type Address struct {
	IP   netip.Addr // not valid for a host name
	Host string     // as written, without TTL
}

func (a Address) String() string {
	if a.IP.IsValid() {
		return a.IP.String()
	}
	return a.Host
}

// Origin is the o= line (RFC 8866, 5.2). The numbers are text, since many
// write others than numbers.
type Origin struct {
	Username, SessionID, SessionVersion string
	Addr                                Address
}

// Attributes are those that the session level may give for all media. Each Media
// has them already where it has none itself.
type Attributes struct {
	Direction   Direction // DirectionUnknown when not said; never so in a Media
	Setup       string    // "active", "passive", "actpass", "holdconn"
	Fingerprint string    // hash name and value; the first of several
	ICEUfrag    string
	ICEPwd      string // a secret
	Crypto      []Crypto
	Candidates  []Candidate
	ExtMap      []ExtMap
}

// Session is one description. The zero value is ready for Parse.
type Session struct {
	Origin     Origin
	Name       string
	Connection Address // of the session level
	Groups     []string

	Attributes // of the session level
	ICELite    bool

	Media    []Media
	Warnings []Warning
}

// Media is one m= line and what belongs to it.
type Media struct {
	Kind       string // "audio", "video", "image", "application" ...
	Port       int    // 0: rejected, unless BundleOnly
	NumPorts   int
	Proto      string // "RTP/AVP", "UDP/TLS/RTP/SAVPF", "udptl" ...
	Formats    []int  // payload types, of RTP only
	FormatText string // all formats as written
	Off        int    // byte offset of the line in the input

	Addr     Address
	RTCPPort int // of a=rtcp, else Port+1; not used when RTCPMux is agreed
	RTCPAddr Address
	RTCPMux  bool
	Ptime    float64 // ms, 0 when absent
	MaxPtime float64 // ms, 0 when absent
	Codecs   []Codec // one a payload type, in the order of Formats
	SSRCs    []uint32

	Attributes
	Mid        string
	BundleOnly bool
}

// Rejected tells whether the medium is refused or switched off (RFC 3264, 6 and
// 8.2; RFC 8843, 6 for the exception).
func (m *Media) Rejected() bool { return m.Port == 0 && !m.BundleOnly }

// Held tells whether the connection address is 0.0.0.0 or ::, the old way of
// putting a call on hold (RFC 3264, 8.4). The new way is the Direction. With
// ICE the same address only says that candidates will follow (RFC 8840, 4.3.1).
func (m *Media) Held() bool {
	return m.Addr.IP.IsValid() && m.Addr.IP.IsUnspecified() && m.ICEUfrag == "" && !m.Rejected()
}

// Codec is one payload type with its rtpmap, or what RFC 3551 assigns to it.
type Codec struct {
	PT       int
	Name     string // empty when the description does not say
	ClockHz  int
	Channels int
	Fmtp     string
}

// Crypto is one a=crypto line (RFC 4568). KeyParams is a secret.
type Crypto struct {
	Tag           int
	Suite         string
	KeyParams     string // "inline:..." and what follows a semicolon
	SessionParams string
}

// Candidate is one a=candidate line (RFC 8839, 5.1).
type Candidate struct {
	Foundation string
	Component  int
	Transport  string
	Priority   uint32
	Addr       Address
	Port       int
	Type       string // "host", "srflx", "prflx", "relay"
}

// ExtMap is one a=extmap line (RFC 8285, 8).
type ExtMap struct {
	ID  int
	URI string
}

// staticCodecs are tables 4 and 5 of RFC 3551; the clock rate 0 marks a gap.
var staticCodecs = [35]Codec{
	0:  {Name: "PCMU", ClockHz: 8000},
	3:  {Name: "GSM", ClockHz: 8000},
	4:  {Name: "G723", ClockHz: 8000},
	5:  {Name: "DVI4", ClockHz: 8000},
	6:  {Name: "DVI4", ClockHz: 16000},
	7:  {Name: "LPC", ClockHz: 8000},
	8:  {Name: "PCMA", ClockHz: 8000},
	9:  {Name: "G722", ClockHz: 8000}, // sic, RFC 3551, 4.5.2
	10: {Name: "L16", ClockHz: 44100, Channels: 2},
	11: {Name: "L16", ClockHz: 44100},
	12: {Name: "QCELP", ClockHz: 8000},
	13: {Name: "CN", ClockHz: 8000},
	14: {Name: "MPA", ClockHz: 90000},
	15: {Name: "G728", ClockHz: 8000},
	16: {Name: "DVI4", ClockHz: 11025},
	17: {Name: "DVI4", ClockHz: 22050},
	18: {Name: "G729", ClockHz: 8000},
	25: {Name: "CelB", ClockHz: 90000},
	26: {Name: "JPEG", ClockHz: 90000},
	28: {Name: "nv", ClockHz: 90000},
	31: {Name: "H261", ClockHz: 90000},
	32: {Name: "MPV", ClockHz: 90000},
	33: {Name: "MP2T", ClockHz: 90000},
	34: {Name: "H263", ClockHz: 90000},
}

// StaticCodec returns what RFC 3551, tables 4 and 5, assigns to a payload type.
func StaticCodec(pt int) (name string, clockHz int, ok bool) {
	if pt < 0 || pt >= len(staticCodecs) || staticCodecs[pt].ClockHz == 0 {
		return "", 0, false
	}
	return staticCodecs[pt].Name, staticCodecs[pt].ClockHz, true
}

func (s *Session) reset() {
	*s = Session{
		Groups: s.Groups[:0], Media: s.Media[:0], Warnings: s.Warnings[:0],
		Attributes: Attributes{Crypto: s.Crypto[:0], Candidates: s.Candidates[:0], ExtMap: s.ExtMap[:0]},
	}
}

func (m *Media) reset(off int) {
	*m = Media{
		Off: off, NumPorts: 1,
		Formats: m.Formats[:0], Codecs: m.Codecs[:0], SSRCs: m.SSRCs[:0],
		Attributes: Attributes{Crypto: m.Crypto[:0], Candidates: m.Candidates[:0], ExtMap: m.ExtMap[:0]},
	}
}

func (s *Session) warn(off int, rfc, text string) {
	if len(s.Warnings) < maxWarnings {
		s.Warnings = append(s.Warnings, Warning{off, rfc, text})
	}
}

// Parse reads b into s. It refuses only what has no line of the form "x=" at
// all, or more than 1 MiB.
func Parse(b []byte, s *Session) error {
	s.reset()
	if len(b) > maxBytes {
		return &wire.Error{Proto: "sdp", Off: maxBytes, Msg: "want at most 1048576 bytes, found more"}
	}
	text := string(b)
	var seen [128]bool
	var media *Media
	any := false
	feed := -1 // where the next line feed is
	for off := 0; off < len(text); {
		start := off
		if feed < off {
			feed = len(text)
			if i := strings.IndexByte(text[off:], '\n'); i >= 0 {
				feed = off + i
			}
		}
		// A bare CR ends a line too: nothing else does it mean here.
		line, _, _ := strings.Cut(text[off:feed], "\r")
		off += len(line) + 1
		trimmed := strings.TrimRight(line, " \t\x00")
		if trimmed == "" {
			continue
		}
		typ, value, ok := cutLine(trimmed)
		if !ok {
			s.warn(start, "8866 5", "line is not of the form letter and equals sign")
			continue
		}
		if trimmed[0] != typ || trimmed[1] != '=' {
			s.warn(start, "8866 5", "white space around the letter of a line")
		}
		any = true
		if typ == 'v' && (seen['v'] || media != nil) {
			s.warn(start, "8866 5", "a second description begins, left out")
			break
		}
		seen[typ] = true
		switch typ {
		case 'v':
			if value != "0" {
				s.warn(start, "8866 5.1", "version is not 0")
			}
		case 'o':
			s.origin(value, start)
		case 's':
			s.Name = value
		case 'c':
			a, ok := connection(value)
			if !ok {
				s.warn(start, "8866 5.7", "connection data is not of the form IN IP4 address")
			}
			if media != nil {
				media.Addr = a
			} else {
				s.Connection = a
			}
		case 'm':
			if len(s.Media) == maxMedia {
				s.warn(start, "8866 5.14", "more than 512 media, the rest is left out")
				s.finish(seen)
				return nil
			}
			s.Media = slices.Grow(s.Media, 1)[:len(s.Media)+1]
			media = &s.Media[len(s.Media)-1]
			media.reset(start)
			s.mediaLine(media, value, start)
		case 'a':
			s.attribute(media, value, start)
		case 'i', 'u', 'e', 'p', 'b', 't', 'r', 'z', 'k':
			// Known, and of no use here.
		default:
			s.warn(start, "8866 5", "unknown type of line")
		}
	}
	if !any {
		return &wire.Error{Proto: "sdp", Off: 0, Msg: "want lines of the form letter and equals sign, found none"}
	}
	s.finish(seen)
	return nil
}

// cutLine cuts "x=value", with white space around x tolerated.
func cutLine(line string) (typ byte, value string, ok bool) {
	left, value, ok := strings.Cut(line, "=")
	left = strings.Trim(left, " \t")
	if !ok || len(left) != 1 || !(left[0]|0x20 >= 'a' && left[0]|0x20 <= 'z') {
		return 0, "", false
	}
	return left[0], strings.TrimLeft(value, " \t"), true
}

// finish gives each medium what it inherits, and reports absent lines.
func (s *Session) finish(seen [128]bool) {
	for _, want := range [...]struct {
		typ       byte
		rfc, text string
	}{{'v', "8866 5.1", "no v= line"}, {'o', "8866 5.2", "no o= line"}, {'s', "8866 5.3", "no s= line"}, {'t', "8866 5.9", "no t= line"}} {
		if !seen[want.typ] {
			s.warn(0, want.rfc, want.text)
		}
	}
	for i := range s.Media {
		m := &s.Media[i]
		if m.Addr == (Address{}) {
			m.Addr = s.Connection
			if m.Addr == (Address{}) && m.Port != 0 {
				s.warn(m.Off, "8866 5.7", "medium without connection data")
			}
		}
		if m.Direction == DirectionUnknown {
			m.Direction = s.Direction
		}
		if m.Direction == DirectionUnknown {
			m.Direction = SendRecv // RFC 8866, 6.7
		}
		if m.RTCPPort == 0 && m.Port > 0 && m.Port < 65535 {
			m.RTCPPort = m.Port + 1 // RFC 3605, 1
		}
		if m.RTCPAddr == (Address{}) {
			m.RTCPAddr = m.Addr
		}
		m.Setup = first(m.Setup, s.Setup)
		m.Fingerprint = first(m.Fingerprint, s.Fingerprint)
		m.ICEUfrag = first(m.ICEUfrag, s.ICEUfrag)
		m.ICEPwd = first(m.ICEPwd, s.ICEPwd)
		if len(m.Crypto) == 0 {
			m.Crypto = append(m.Crypto, s.Crypto...)
		}
		if len(m.Candidates) == 0 {
			m.Candidates = append(m.Candidates, s.Candidates...)
		}
		if len(m.ExtMap) == 0 {
			m.ExtMap = append(m.ExtMap, s.ExtMap...)
		}
	}
}

// first returns a unless it is empty, else b.
func first(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// origin reads an o= line. A user name with spaces is tolerated, so the other
// fields are counted from the end.
func (s *Session) origin(v string, off int) {
	f := strings.Fields(v)
	given := len(f)
	if given < 6 {
		f = append(f, "", "", "", "", "", "")[:6]
	}
	n := len(f)
	s.Origin = Origin{Username: strings.Join(f[:n-5], " "), SessionID: f[n-5], SessionVersion: f[n-4], Addr: address(f[n-1])}
	switch {
	case given < 6:
		s.warn(off, "8866 5.2", "origin has less than six fields")
	case given > 6:
		s.warn(off, "8866 5.2", "origin has more than six fields")
	case !digits(f[n-5]) || !digits(f[n-4]):
		s.warn(off, "8866 5.2", "session ID or version of the origin is not a number")
	}
}

// address reads an address or a host name; what follows a slash is the TTL and
// the number of multicast addresses (RFC 8866, 5.7).
func address(v string) Address {
	v, _, _ = strings.Cut(v, "/")
	a := Address{Host: v}
	if ip, err := netip.ParseAddr(v); err == nil {
		a.IP = ip.Unmap().WithZone("")
	}
	return a
}

func connection(v string) (a Address, ok bool) {
	f := strings.Fields(v)
	if len(f) == 0 {
		return Address{}, false
	}
	a = address(f[len(f)-1])
	return a, len(f) == 3 && strings.EqualFold(f[0], "IN") && (strings.EqualFold(f[1], "IP4") || strings.EqualFold(f[1], "IP6"))
}

// number reads a decimal number up to limit.
func number(v string, limit int64) (int, bool) {
	if !digits(v) {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n > limit {
		return 0, false
	}
	return int(n), true
}

func digits(v string) bool {
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return v != ""
}

// word cuts the first word off v.
func word(v string) (w, rest string) {
	v = strings.TrimLeft(v, " \t")
	if i := strings.IndexAny(v, " \t"); i >= 0 {
		return v[:i], strings.TrimLeft(v[i:], " \t")
	}
	return v, ""
}

func (s *Session) mediaLine(m *Media, v string, off int) {
	var port string
	m.Kind, v = word(v)
	port, v = word(v)
	m.Proto, m.FormatText = word(v)
	port, count, many := strings.Cut(port, "/")
	var ok bool
	if m.Port, ok = number(port, 65535); !ok {
		s.warn(off, "8866 5.14", "port is not a number up to 65535, read as 0")
	}
	if many {
		if m.NumPorts, ok = number(count, 65535); !ok || m.NumPorts == 0 {
			m.NumPorts = 1
			s.warn(off, "8866 5.14", "number of ports is not a number, read as 1")
		}
	}
	if m.FormatText == "" {
		s.warn(off, "8866 5.14", "media line has less than four fields")
	}
	if !m.isRTP() {
		return
	}
	for rest := m.FormatText; rest != ""; {
		var f string
		f, rest = word(rest)
		pt, ok := number(f, 127)
		if !ok {
			s.warn(off, "3551 6", "format is not a payload type up to 127")
			continue
		}
		if slices.Contains(m.Formats, pt) {
			s.warn(off, "8866 5.14", "payload type is repeated")
			continue
		}
		m.Formats = append(m.Formats, pt)
		m.Codecs = append(m.Codecs, staticCodec(pt))
	}
}

// isRTP tells whether the formats are payload types. Anything with RTP in its
// name counts, such as the misspelled RTP/SAVPF over TLS of older browsers.
func (m *Media) isRTP() bool {
	return strings.Contains(strings.ToUpper(m.Proto), "RTP")
}

func staticCodec(pt int) Codec {
	if _, _, ok := StaticCodec(pt); !ok {
		return Codec{PT: pt}
	}
	c := staticCodecs[pt]
	c.PT, c.Channels = pt, max(c.Channels, 1)
	return c
}

// codec returns the entry of a payload type, adding one for a type that the
// media line does not list; nil for what is no payload type.
func (s *Session) codec(m *Media, v string, off int) (*Codec, string) {
	f, rest := word(v)
	pt, ok := number(f, 127)
	if m == nil || !m.isRTP() || !ok {
		if m == nil || m.isRTP() {
			s.warn(off, "8866 6.6", "rtpmap or fmtp without a medium or payload type")
		}
		return nil, ""
	}
	for i := range m.Codecs {
		if m.Codecs[i].PT == pt {
			return &m.Codecs[i], rest
		}
	}
	s.warn(off, "8866 6.6", "rtpmap or fmtp for a payload type that the media line does not list")
	m.Codecs = append(m.Codecs, staticCodec(pt))
	return &m.Codecs[len(m.Codecs)-1], rest
}

// attribute reads an a= line; m is nil at the session level.
func (s *Session) attribute(m *Media, v string, off int) {
	name, value, _ := strings.Cut(v, ":")
	value = strings.TrimLeft(value, " \t")
	at := &s.Attributes
	if m != nil {
		at = &m.Attributes
	}
	odd := "" // why a value is not understood
	switch name = strings.ToLower(strings.TrimRight(name, " \t")); name {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		at.Direction = Direction(slices.Index(directionNames[:], name))
	case "setup":
		at.Setup = first(at.Setup, value)
	case "fingerprint":
		at.Fingerprint = first(at.Fingerprint, value)
	case "ice-ufrag":
		at.ICEUfrag = first(at.ICEUfrag, value)
	case "ice-pwd":
		at.ICEPwd = first(at.ICEPwd, value)
	case "ice-lite":
		s.ICELite = true
	case "group":
		if len(s.Groups) < maxItems {
			s.Groups = append(s.Groups, value)
		}
	case "rtpmap":
		odd = s.rtpmap(m, value, off)
	case "fmtp":
		if c, rest := s.codec(m, value, off); c != nil {
			if c.Fmtp != "" && len(c.Fmtp) < maxItems {
				c.Fmtp += ";"
				c.Fmtp += rest
			} else if c.Fmtp == "" {
				c.Fmtp = rest
			}
		}
	case "crypto":
		c, ok := crypto(value)
		if !ok {
			odd = "crypto is not of the form tag, suite, key"
		} else if len(at.Crypto) < maxItems {
			at.Crypto = append(at.Crypto, c)
		}
	case "candidate":
		c, ok := candidate(value)
		if !ok {
			odd = "candidate is not of the form of RFC 8839, 5.1"
		} else if len(at.Candidates) < maxItems {
			at.Candidates = append(at.Candidates, c)
		}
	case "extmap":
		id, uri := word(value)
		id, _, _ = strings.Cut(id, "/")
		uri, _ = word(uri)
		n, ok := number(id, 65535)
		if !ok || uri == "" {
			odd = "extmap is not of the form ID and URI"
		} else if len(at.ExtMap) < maxItems {
			at.ExtMap = append(at.ExtMap, ExtMap{n, uri})
		}
	case "ptime", "maxptime", "rtcp", "rtcp-mux", "rtcp-mux-only", "ssrc", "mid", "bundle-only":
		if m == nil {
			odd = "attribute of a medium at the session level"
		} else {
			odd = m.attribute(name, value)
		}
	}
	if odd != "" {
		s.warn(off, "8866 6", odd)
	}
}

// attribute reads those attributes that exist for media only.
func (m *Media) attribute(name, value string) (odd string) {
	switch name {
	case "ptime", "maxptime":
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || strings.Trim(value, "0123456789.") != "" || f <= 0 || f > 1e6 {
			return "packet time is not a number of milliseconds"
		}
		if name == "ptime" {
			m.Ptime = f
		} else {
			m.MaxPtime = f
		}
	case "rtcp":
		port, rest := word(value)
		n, ok := number(port, 65535)
		if !ok {
			return "rtcp port is not a number up to 65535"
		}
		m.RTCPPort = n
		if rest != "" {
			if m.RTCPAddr, ok = connection(rest); !ok {
				return "rtcp address is not of the form IN IP4 address"
			}
		}
	case "rtcp-mux", "rtcp-mux-only":
		m.RTCPMux = true
	case "ssrc":
		id, _ := word(value)
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return "ssrc is not a 32-bit number"
		}
		if len(m.SSRCs) < maxItems && !slices.Contains(m.SSRCs, uint32(n)) {
			m.SSRCs = append(m.SSRCs, uint32(n))
		}
	case "mid":
		m.Mid = value
	case "bundle-only":
		m.BundleOnly = true
	}
	return ""
}

func (s *Session) rtpmap(m *Media, value string, off int) (odd string) {
	c, rest := s.codec(m, value, off)
	if c == nil {
		return ""
	}
	name, rest, _ := strings.Cut(rest, "/")
	clock, channels, more := strings.Cut(rest, "/")
	n, ok := number(strings.TrimSpace(clock), 1<<31-1)
	c.Name, c.Channels = strings.TrimSpace(name), 1
	if !ok || n == 0 || c.Name == "" {
		// "a=rtpmap:31 LPC" of RFC 4475: the name without a clock rate.
		c.ClockHz = 0
		return "rtpmap is not of the form name and clock rate"
	}
	c.ClockHz = n
	if more {
		if n, ok := number(strings.TrimSpace(channels), 255); ok && n > 0 {
			c.Channels = n
		} else {
			return "rtpmap has a number of channels that is none"
		}
	}
	return ""
}

func crypto(v string) (c Crypto, ok bool) {
	tag, rest := word(v)
	c.Suite, rest = word(rest)
	c.KeyParams, c.SessionParams = word(rest)
	c.Tag, ok = number(tag, 999999999)
	return c, ok && c.Suite != "" && c.KeyParams != ""
}

func candidate(v string) (c Candidate, ok bool) {
	var component, priority, addr, port, typ string
	c.Foundation, v = word(v)
	component, v = word(v)
	c.Transport, v = word(v)
	priority, v = word(v)
	addr, v = word(v)
	port, v = word(v)
	typ, v = word(v)
	c.Type, _ = word(v)
	var okComponent, okPort bool
	c.Component, okComponent = number(component, 256)
	p, err := strconv.ParseUint(priority, 10, 32)
	c.Priority = uint32(p)
	c.Addr = address(addr)
	c.Port, okPort = number(port, 65535)
	return c, okComponent && err == nil && okPort && typ == "typ" && c.Type != ""
}
