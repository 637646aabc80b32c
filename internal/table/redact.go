package table

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"net/netip"
	"slices"
	"strings"
	"unsafe"
)

// class says what a text column may hold that points to a person or a place.
type class uint8

const (
	classKeep   class = iota + 1 // words of a protocol or of twtrace: nothing
	classParty                   // who calls: phone number, client:, sip:, SID or a name
	classSID                     // a provider's resource
	classCallID                  // SIP Call-ID, SID or leg-N
	classHost                    // address or host name
	classFree                    // text that may hold any of these
)

// classes is by column name, or by table.column where one name has two
// meanings. A test holds it against the schemas.
var classes = map[string]class{
	"experiment": classFree, "file": classFree, "problem": classFree, "labels": classFree, "options": classFree,
	"encryption_note": classFree, "cause": classFree, "joined_by": classFree, "kind": classFree, "label": classFree, "detail": classFree,
	"reason": classFree, "subject": classFree, "text": classFree, "wireshark_filter": classFree, "method": classFree,

	"dtmf_digits": classParty, "endpoint": classParty, "from": classParty, "to": classParty, "queue": classParty,

	"call_sid": classSID, "sid": classSID, "parent_call_sid": classSID, "account_sid": classSID, "messaging_service_sid": classSID,

	"call_id": classCallID, "parent_call_id": classCallID, "root_call_id": classCallID, "sip_call_ids": classCallID, "id": classCallID,

	"address": classHost, "names": classHost, "src": classHost, "dst": classHost, "server_name": classHost, "host": classHost,

	"program_version": classKeep, "sha256": classKeep, "link_types": classKeep, "names_by": classKeep, "roles": classKeep, "provider": classKeep,
	"provider_by": classKeep, "ports": classKeep, "application": classKeep, "protocols": classKeep, "direction": classKeep, "status": classKeep,
	"answered_by": classKeep, "codec": classKeep, "mos_method": classKeep, "rule": classKeep,
}

func classOf(table string, c *column) class {
	if k, ok := classes[table+"."+c.Name]; ok {
		return k
	}
	return classes[c.Name]
}

// providerDomains keep their last two labels: they say who serves, not who
// is served.
var providerDomains = []string{"twilio.com", "amazonaws.com", "cloudfront.net", "google.com", "googleapis.com", "cloudflare.com", "akamai.net", "azure.com", "windows.net", "vonage.com", "plivo.com", "telnyx.com", "bandwidth.com", "signalwire.com", "sendgrid.net"}

// Redact replaces in every row what points to a person or a place by
// pseudonyms made with HMAC-SHA256 under key: phone numbers (+ and length
// stay), client and SIP names, display names, addresses (two that share a
// prefix still do, as in Crypto-PAn, and a private one stays private), SIDs (the two letters stay), Call-IDs and
// host names. Columns of free text lose every value known from the other
// columns and what looks like a number, SID, address, user@host or client:name.
//
// The same key gives the same pseudonyms in every run and table, so joins
// hold. Not hidden: times, sizes, ports, counts, SSRCs, hashes of inputs, and
// in free text names that stand nowhere else.
func (d *Dataset) Redact(key []byte) {
	r := &redactor{mac: hmac.New(sha256.New, key), cache: map[string]string{}, known: map[string]string{}}
	r.each(d, func(k class, s string) string {
		if k == classFree {
			r.displayNames(s)
		}
		return r.typed(k, s)
	})
	r.index()
	r.each(d, func(k class, s string) string {
		if k != classFree {
			return s
		}
		return r.free(s)
	})
}

// Pseudonyms gives the pseudonyms of Redact for single values.
type Pseudonyms struct{ r *redactor }

// NewPseudonyms makes them under a key.
func NewPseudonyms(key []byte) *Pseudonyms {
	return &Pseudonyms{&redactor{mac: hmac.New(sha256.New, key), cache: map[string]string{}, known: map[string]string{}}}
}

// Address is the pseudonym of an address, of the same family and class.
func (p *Pseudonyms) Address(a netip.Addr) netip.Addr { return p.r.addr(a) }

// Host is that of a host name, or of an address as text.
func (p *Pseudonyms) Host(s string) string { return p.r.host(s) }

// HostPort is that of a host with or without a port, which stays.
func (p *Pseudonyms) HostPort(s string) string { return p.r.hostPort(s) }

// Party is that of who calls: a number, a URI with or without scheme and
// display name, a SID or a name.
func (p *Pseudonyms) Party(s string) string { return p.r.party(s) }

// User is that of the user part of a URI.
func (p *Pseudonyms) User(s string) string { return p.r.user(s) }

// Display is that of a display name.
func (p *Pseudonyms) Display(s string) string { return p.r.display(s) }

// CallID is that of a SIP Call-ID or a SID.
func (p *Pseudonyms) CallID(s string) string { return p.r.callID(s) }

// Token is that of any other text, such as a tag: hexadecimal, n bytes long.
func (p *Pseudonyms) Token(kind, s string, n int) string {
	return hex.EncodeToString(p.r.sum("token "+kind, s))[:min(n, 2*sha256.Size)]
}

// IsSID tells a provider's resource identifier from other text.
func IsSID(s string) bool { return isSID(s) }

// redactor holds what is known: originals and their pseudonyms.
type redactor struct {
	mac   hash.Hash
	cache map[string]string
	known map[string]string
	// lengths are the lengths of known values, longest first, by their first
	// two bytes.
	lengths map[[2]byte][]int
}

// each maps every text of every row that is not kept.
func (r *redactor) each(d *Dataset, f func(k class, s string) string) {
	for i := range specs {
		sp := &specs[i]
		rows := sp.list(d)
		for k := range sp.cols {
			c := &sp.cols[k]
			class := classOf(sp.schema.Name, c)
			if class == classKeep {
				continue
			}
			switch c.kind {
			case kindText:
				rows.change(func(row rowAt) {
					if s := c.text(row); s != "" {
						if t := f(class, s); t != s {
							c.setText(row, t, nil)
						}
					}
				})
			case kindTexts:
				rows.change(func(row rowAt) {
					r.list((*[]string)(unsafe.Add(row, c.at)), func(s string) string { return f(class, s) })
				})
			}
		}
	}
}

func (r *redactor) list(p *[]string, f func(string) string) {
	var out []string
	for i, s := range *p {
		t := f(s)
		if t != s && out == nil {
			out = slices.Clone(*p) // the list may be shared with another dataset
		}
		if out != nil {
			out[i] = t
		}
	}
	if out != nil {
		*p = out
	}
}

// sum is the HMAC of a value under its class's name, so that equal texts of
// two classes have unrelated pseudonyms.
func (r *redactor) sum(kind, value string) []byte {
	r.mac.Reset()
	r.mac.Write([]byte(kind))
	r.mac.Write([]byte{0})
	r.mac.Write([]byte(value))
	return r.mac.Sum(nil)
}

func (r *redactor) cached(kind, value string, f func() string) string {
	k := kind + "\x00" + value
	if s, ok := r.cache[k]; ok {
		return s
	}
	s := f()
	r.cache[k] = s
	return s
}

// know remembers that free text must lose original. Texts too short to tell
// from words and status codes are left to the patterns of match.
func (r *redactor) know(original, pseudonym string) string {
	short := len(original) < 2 || len(original) < 4 && strings.Trim(original, "0123456789") == ""
	if _, ok := r.known[original]; !ok && !short && original != pseudonym {
		r.known[original] = pseudonym
	}
	return pseudonym
}

// typed is the pseudonym of the value of a typed column.
func (r *redactor) typed(k class, s string) string {
	switch k {
	case classParty:
		return r.know(s, r.party(s))
	case classSID:
		if !isSID(s) {
			return r.know(s, r.callID(s))
		}
		return r.know(s, r.sid(s))
	case classCallID:
		return r.know(s, r.callID(s))
	case classHost:
		return r.host(s)
	}
	return s
}

func isSID(s string) bool {
	if len(s) != 34 || !upper(s[0]) || !upper(s[1]) {
		return false
	}
	return strings.Trim(s[2:], "0123456789abcdef") == ""
}

func upper(c byte) bool { return 'A' <= c && c <= 'Z' }
func digit(c byte) bool { return '0' <= c && c <= '9' }
func alnum(c byte) bool { return digit(c) || upper(c) || 'a' <= c && c <= 'z' || c >= 0x80 }

func (r *redactor) sid(s string) string {
	return r.cached("sid", s, func() string { return s[:2] + hex.EncodeToString(r.sum("sid", s)[:16]) })
}

func (r *redactor) callID(s string) string {
	if isSID(s) {
		return r.sid(s)
	}
	if n, ok := strings.CutPrefix(s, "leg-"); ok && strings.Trim(n, "0123456789") == "" {
		return s
	}
	return r.cached("call-id", s, func() string { return hex.EncodeToString(r.sum("call-id", s)[:16]) })
}

func (r *redactor) name(s string) string {
	switch strings.ToLower(s) {
	case "", "anonymous", "unknown", "restricted", "unavailable", "private":
		return s
	}
	return r.know(s, r.cached("name", s, func() string { return "name-" + hex.EncodeToString(r.sum("name", s)[:5]) }))
}

// phone replaces the digits of a number, whatever stands between them. Only
// the digits count: +15550100, 15550100 and tel:+1-555-0100 stay one number.
func (r *redactor) phone(s string) string {
	var digits []byte
	for i := range len(s) {
		if digit(s[i]) {
			digits = append(digits, s[i])
		}
	}
	if len(digits) == 0 {
		return s
	}
	fake := r.cached("phone", string(digits), func() string {
		out := make([]byte, 0, len(digits))
		for round := byte(0); len(out) < len(digits); round++ {
			for _, b := range r.sum("phone", string(digits)+string(rune(round))) {
				// 250 is the largest multiple of 10 in a byte; a number does not
				// begin with 0.
				if d := b % 10; b < 250 && len(out) < len(digits) && (d != 0 || len(out) > 0) {
					out = append(out, '0'+d)
				}
			}
		}
		return string(out)
	})
	if len(digits) >= 7 {
		r.know(string(digits), fake)
	}
	out := []byte(s)
	n := 0
	for i := range out {
		if digit(out[i]) {
			out[i] = fake[n]
			n++
		}
	}
	return string(out)
}

// party is who calls or is called, in any of the forms that a provider or SIP
// writes.
func (r *redactor) party(s string) string {
	if isSID(s) {
		return r.sid(s)
	}
	if i := strings.IndexByte(s, '<'); i >= 0 {
		if j := strings.IndexByte(s[i:], '>'); j > 0 {
			j += i
			display := strings.TrimSpace(s[:i])
			bare := strings.Trim(display, `"`)
			return strings.Replace(s[:i], bare, r.display(bare), 1) + "<" + r.party(s[i+1:j]) + ">" + r.patterns(s[j+1:])
		}
	}
	for _, scheme := range []string{"client:", "sip:", "sips:", "tel:", "whatsapp:", "messenger:", "rcs:", "conference:", "queue:"} {
		if len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			rest := s[len(scheme):]
			if scheme == "client:" || scheme == "conference:" || scheme == "queue:" {
				return s[:len(scheme)] + r.name(rest)
			}
			return s[:len(scheme)] + r.uri(rest, scheme == "sip:" || scheme == "sips:")
		}
	}
	return r.uri(s, false)
}

func (r *redactor) display(s string) string {
	if s == "" {
		return s
	}
	if isPhone(s) {
		return r.phone(s)
	}
	return r.name(s)
}

// uri is user@host;parameters without its scheme.
func (r *redactor) uri(s string, hostOnly bool) string {
	tail := ""
	if i := strings.IndexAny(s, ";?"); i >= 0 {
		s, tail = s[:i], r.patterns(s[i:])
	}
	user, host, at := strings.Cut(s, "@")
	if !at {
		if hostOnly {
			return r.hostPort(s) + tail
		}
		return r.user(s) + tail
	}
	return r.user(user) + "@" + r.hostPort(host) + tail
}

func (r *redactor) user(s string) string {
	if isSID(s) {
		return r.sid(s)
	}
	if isPhone(s) {
		return r.phone(s)
	}
	if user, password, ok := strings.Cut(s, ":"); ok {
		return r.user(user) + ":" + r.name(password)
	}
	return r.name(s)
}

// isPhone: digits with nothing but what people write between them.
func isPhone(s string) bool {
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case digit(c):
			n++
		case strings.IndexByte("+-(). *#", c) < 0:
			return false
		}
	}
	return n > 0
}

func (r *redactor) hostPort(s string) string {
	if i := strings.LastIndexByte(s, ':'); i > 0 && strings.Trim(s[i+1:], "0123456789") == "" && (strings.Count(s, ":") == 1 || s[i-1] == ']') {
		return r.hostPort(s[:i]) + s[i:]
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && len(s) > 2 {
		return "[" + r.host(s[1:len(s)-1]) + "]"
	}
	return r.host(s)
}

// host is an address or a host name. A label's pseudonym depends on the labels
// behind it, so that names of one domain stay names of one domain.
func (r *redactor) host(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		return r.address(a)
	}
	lower := strings.ToLower(strings.TrimSuffix(s, "."))
	if lower == "" || lower == "localhost" {
		return s
	}
	return r.know(s, r.cached("host", lower, func() string {
		head, tail := lower, "invalid" // RFC 2606: never a real name
		for _, p := range providerDomains {
			if lower == p {
				return lower
			}
			if h, ok := strings.CutSuffix(lower, "."+p); ok {
				head, tail = h, p
			}
		}
		whole := strings.Split(head, ".")
		labels := slices.Clone(whole)
		for i := range labels {
			if labels[i] != "*" {
				labels[i] = "h" + hex.EncodeToString(r.sum("host", strings.Join(whole[i:], ".")+"."+tail)[:4])
			}
		}
		return strings.Join(labels, ".") + "." + tail
	}))
}

// address maps bit by bit: bit i is turned or not by the HMAC of the bits
// before it, so that addresses with a common prefix keep one of that length
// (Xu, Fan, Ammar, Moon: Crypto-PAn, 2002, with HMAC in place of AES). One of a
// special range stays in it, and any other outside of all of them: it is mapped
// until it is.
func (r *redactor) address(a netip.Addr) string { return r.addr(a).String() }

func (r *redactor) addr(a netip.Addr) netip.Addr {
	if a.Is4In6() {
		return netip.AddrFrom16(r.addr(a.Unmap()).As16())
	}
	if a.IsUnspecified() {
		return a // nobody's; in SDP it means hold
	}
	zone := a.Zone()
	a = a.WithZone("")
	out := r.cached("address", a.String(), func() string {
		keep := special(a)
		b := r.turned(a, keep)
		for n := 0; keep == 0 && special(b) > 0 && n < 64; n++ {
			b = r.turned(b, 0)
		}
		return b.String()
	})
	b, err := netip.ParseAddr(out)
	if err != nil {
		panic("table: an address's pseudonym is none: " + out)
	}
	if zone != "" {
		b = b.WithZone(r.name(zone))
	}
	return b
}

// turned is a with bits from keep on turned or not.
func (r *redactor) turned(a netip.Addr, keep int) netip.Addr {
	in := a.AsSlice()
	res := slices.Clone(in)
	prefix := make([]byte, len(in)+1)
	for i := keep; i < len(in)*8; i++ {
		copy(prefix, in[:i/8])
		prefix[i/8] = in[i/8] &^ (0xff >> (i % 8))
		prefix[len(in)] = byte(i)
		if r.sum("address", string(prefix))[0]&1 != 0 {
			res[i/8] ^= 0x80 >> (i % 8)
		}
		clear(prefix)
	}
	b, _ := netip.AddrFromSlice(res)
	return b
}

// specialRanges are those of RFC 6890 by which a reader tells a private,
// shared, local or multicast address; they do not overlap.
var specialRanges = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/8"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// special is how many bits of an address say that it is of a special range; 0
// of no such address.
func special(a netip.Addr) int {
	for _, p := range specialRanges {
		if p.Contains(a) {
			return p.Bits()
		}
	}
	return 0
}

// displayNames learns the names that stand before the URI in headers of a SIP
// message (RFC 3261, 20.10; compact forms of 7.3.3).
func (r *redactor) displayNames(s string) {
	for line := range strings.Lines(s) {
		header, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(header)) {
		case "from", "f", "to", "t", "contact", "m", "p-asserted-identity", "p-preferred-identity", "remote-party-id", "referred-by", "b", "diversion", "reply-to":
		default:
			continue
		}
		for {
			i := strings.IndexByte(value, '<')
			if i < 0 {
				break
			}
			display := strings.Trim(value[:i], " \t,\"")
			r.display(display)
			// In the message the name may be written with escapes.
			if plain := strings.ReplaceAll(display, `\`, ""); plain != display {
				r.display(plain)
			}
			j := strings.IndexByte(value[i:], '>')
			if j < 0 {
				break
			}
			r.know(value[i+1:i+j], r.party(value[i+1:i+j]))
			value = value[i+j+1:]
			if k := strings.IndexByte(value, ','); k >= 0 {
				value = value[k+1:]
			}
		}
	}
}

// index prepares known for free.
func (r *redactor) index() {
	seen := map[[2]byte]map[int]bool{}
	for s := range r.known {
		p := [2]byte{s[0], s[1]}
		if seen[p] == nil {
			seen[p] = map[int]bool{}
		}
		seen[p][len(s)] = true
	}
	r.lengths = make(map[[2]byte][]int, len(seen))
	for p, set := range seen {
		for n := range set {
			r.lengths[p] = append(r.lengths[p], n)
		}
		slices.SortFunc(r.lengths[p], func(a, b int) int { return cmp.Compare(b, a) })
	}
}

// free replaces in one pass from left to right; pseudonyms are not looked at
// again.
func (r *redactor) free(s string) string {
	var out []byte
	last := 0
	for i := 0; i < len(s); {
		n, t := r.knownAt(s, i)
		if n == 0 {
			n, t = r.patternAt(s, i)
		}
		if n == 0 {
			i++
			continue
		}
		out = append(append(out, s[last:i]...), t...)
		i += n
		last = i
	}
	if last == 0 {
		return s
	}
	return string(append(out, s[last:]...))
}

// patterns is free by patterns alone, for a time when not all is known.
func (r *redactor) patterns(s string) string {
	p := redactor{mac: r.mac, cache: r.cache, known: r.known}
	return p.free(s)
}

// knownAt finds the longest known value at s[i]. One of less than four bytes
// must stand alone.
func (r *redactor) knownAt(s string, i int) (int, string) {
	if len(s)-i < 2 || r.lengths == nil {
		return 0, ""
	}
	for _, n := range r.lengths[[2]byte{s[i], s[i+1]}] {
		if n > len(s)-i {
			continue
		}
		t, ok := r.known[s[i:i+n]]
		// A number is not the begin or end of a longer one.
		if ok && (i > 0 && digit(s[i-1]) && digit(s[i]) || i+n < len(s) && digit(s[i+n]) && digit(s[i+n-1])) {
			continue
		}
		if !ok || n < 4 && (i > 0 && alnum(s[i-1]) || i+n < len(s) && alnum(s[i+n])) {
			continue
		}
		return n, t
	}
	return 0, ""
}

// patternAt recognises at s[i] what looks like an identifier.
func (r *redactor) patternAt(s string, i int) (int, string) {
	c := s[i]
	rest := s[i:]
	if c == '+' || c == '%' && len(rest) > 3 && strings.EqualFold(rest[:3], "%2b") {
		lead := 1
		if c == '%' {
			lead = 3
		}
		if n := phoneRun(rest[lead:]); n > 0 {
			return lead + n, rest[:lead] + r.phone(rest[lead:lead+n])
		}
		return 0, ""
	}
	if len(rest) >= 34 && isSID(rest[:34]) {
		return 34, r.sid(rest[:34])
	}
	if i > 0 && (alnum(s[i-1]) || s[i-1] == '.' || s[i-1] == '_') {
		return 0, ""
	}
	if digit(c) || c == ':' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' {
		if n, t := r.addressAt(s, i); n > 0 {
			return n, t
		}
	}
	n := tokenRun(rest)
	if n == 0 || n == len(rest) {
		return 0, ""
	}
	switch rest[n] {
	case '@':
		if h := hostRun(rest[n+1:]); h > 0 {
			return n + 1 + h, r.user(rest[:n]) + "@" + r.hostPort(rest[n+1:n+1+h])
		}
	case ':':
		scheme := strings.ToLower(rest[:n])
		m := tokenRun(rest[n+1:])
		if m == 0 {
			break
		}
		after := n + 1 + m
		switch {
		case scheme == "client":
			return after, rest[:n+1] + r.name(rest[n+1:after])
		case (scheme == "sip" || scheme == "sips") && (after == len(rest) || rest[after] != '@') && strings.Contains(rest[n+1:after], "."):
			return after, rest[:n+1] + r.host(rest[n+1:after])
		}
	}
	return 0, ""
}

// phoneRun is the length of a number of seven digits or more, with single
// separators between digits.
func phoneRun(s string) int {
	digits, end := 0, 0
	for i := 0; i < len(s); i++ {
		switch {
		case digit(s[i]):
			digits++
			end = i + 1
		case strings.IndexByte(" -.()", s[i]) >= 0 && i-end < 2 && digits > 0:
		default:
			i = len(s)
		}
	}
	if digits < 7 {
		return 0
	}
	return end
}

func tokenRun(s string) int {
	n := 0
	for n < len(s) && (alnum(s[n]) || strings.IndexByte("._-+%~!'*", s[n]) >= 0) {
		n++
	}
	for n > 0 && s[n-1] == '.' {
		n--
	}
	return n
}

// hostRun is the length of a host name, an address or a [v6] one.
func hostRun(s string) int {
	if strings.HasPrefix(s, "[") {
		return strings.IndexByte(s, ']') + 1
	}
	n := 0
	for n < len(s) && (alnum(s[n]) || s[n] == '.' || s[n] == '-' || s[n] == '_') {
		n++
	}
	for n > 0 && (s[n-1] == '.' || s[n-1] == '-') {
		n--
	}
	return n
}

// addressAt finds an IPv4 or IPv6 literal that begins at s[i].
func (r *redactor) addressAt(s string, i int) (int, string) {
	if i > 0 && s[i-1] == ':' && s[i] != ':' {
		// Inside of something with colons: only IPv4, as after host:.
		n := 0
		for i+n < len(s) && (digit(s[i+n]) || s[i+n] == '.') {
			n++
		}
		return r.literal(s, i, n, false)
	}
	n := 0
	colons := 0
	for i+n < len(s) && n < 46 && (digit(s[i+n]) || 'a' <= s[i+n] && s[i+n] <= 'f' || 'A' <= s[i+n] && s[i+n] <= 'F' || s[i+n] == '.' || s[i+n] == ':') {
		if s[i+n] == ':' {
			colons++
		}
		n++
	}
	if colons >= 2 {
		if m, t := r.literal(s, i, n, true); m > 0 {
			return m, t
		}
	}
	n = 0
	for i+n < len(s) && (digit(s[i+n]) || s[i+n] == '.') {
		n++
	}
	return r.literal(s, i, n, false)
}

func (r *redactor) literal(s string, i, n int, six bool) (int, string) {
	for n > 0 && (s[i+n-1] == '.' || six && s[i+n-1] == ':' && !strings.HasSuffix(s[i:i+n], "::")) {
		n--
	}
	if n < 3 || i+n < len(s) && (alnum(s[i+n]) || s[i+n] == '_') {
		return 0, ""
	}
	a, err := netip.ParseAddr(s[i : i+n])
	if err != nil || a.Is4() == six {
		return 0, ""
	}
	return n, r.address(a)
}
