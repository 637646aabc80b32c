package pstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/twtrace/twtrace/internal/wire"
)

// The plain way to read these messages, by encoding/json and maps: what Decode,
// Split and Elide are compared with.

func FuzzPlain(f *testing.F) {
	for _, tt := range messages {
		f.Add([]byte(tt.text))
	}
	for _, s := range []string{
		"{\"type\":\"ready\"}\n{\"type\":", "\n", `{"type":"x","type":"\u0061\ud83d\ude00\ud83dx\udc00\n","payload":{"content":"\"a\u00e9\"\\","CONTENT":1,"c":[1,-0.5e+7,true,null,{}]}}`,
		`{"payload":{"sdp":"v=0\r\nk=clear:x\r\na=ice-pwd:abc\r\na=crypto:1 X inline:QUJD|2\r\n\r\n","token":{"identity":"a","ttl":[1],"x":"eyJhbGciOiJ"}},"a":{"token":"eyJ"},"type":"invite"}`,
		`{"to\u212aen":"a","eyJhbGciOiJIUzI1NiJ9":"x","a\nb":"x%3Ftoken%3Dabc&pwd=\"q\"","\u0000":"\u202e\r\n"}`, "{\"a\":\"\xff\xfe\",\"b\xff\":\"\x01\"}", `[1, ]`, `{"a":01}`, `{"a":1,}`, `{"type":"a","b":"eyJaaaaaa.token=x"} {"c":tru}`,
		`{"type":"x","dtmf":null,"digits":"1","secret":{"a":"\q"},"jwt":[`, `{"type":"\u00zz"}`, "{\"type\":\"x\",\"" + strings.Repeat(`a":1,"b`, 80) + `":1}`,
	} {
		f.Add([]byte(s))
	}
	var m Message // used again, as callers do
	f.Add([]byte("{\"sdp\":\"a=crypto:1 X\xecinline:QUJD|2\"}"))
	f.Add([]byte("{\"é\":1,\"\xff\xff\xff\":2,\"b\":{\"c\":3}}")) // a key as it stands, then one that needs memory
	f.Fuzz(func(t *testing.T, text []byte) {
		given := string(text)
		var want Message
		err, wantErr := Decode(text, &m), plainDecode(text, &want)
		have := m
		have.scratch = nil
		if a, b := fmt.Sprintf("%+v %#v %v", have, have.SDP, err), fmt.Sprintf("%+v %#v %v", want, want.SDP, wantErr); a != b {
			t.Fatalf("%q:\nhave %s\nwant %s", text, a, b)
		}
		var pieces, wantPieces [][]byte
		Split(text, func(b []byte) bool { pieces = append(pieces, b); return true })
		plainSplit(text, func(b []byte) bool { wantPieces = append(wantPieces, b); return true })
		if a, b := fmt.Sprintf("%q", pieces), fmt.Sprintf("%q", wantPieces); a != b {
			t.Fatalf("%q:\nhave %s\nwant %s", text, a, b)
		}
		if have := string(m.Elide([]byte("x"), 300)); (have != "x") != (err == nil) {
			t.Fatalf("%q: %v, and shows %q", text, err, have)
		}
		valid := json.Valid(text) && plainCheck(text) == nil
		for _, max := range []int{0, 20, 300, 1 << 16} {
			if have, ok := elided(&m, text, max); ok != valid && len(text) <= maxText {
				t.Fatalf("%q is a JSON value: %t", text, ok)
			} else if want := string(plainElide(nil, text, max)); valid && have != want {
				t.Fatalf("%q, %d:\nhave %q\nwant %q", text, max, have, want)
			}
		}
		if a, b := Scrub(string(text)), plainScrub(string(text)); a != b {
			t.Fatalf("%q:\nhave %q\nwant %q", text, a, b)
		}
		if string(text) != given {
			t.Fatalf("%q was written over: %q", given, text)
		}
	})
}

func plainSplit(text []byte, yield func([]byte) bool) {
	for {
		if text = bytes.TrimLeft(text, " \t\r\n"); len(text) == 0 {
			return
		}
		n := plainObject(text)
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
func plainObject(b []byte) int {
	if b[0] != '{' {
		return 0
	}
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// check refuses what is too long, or nested too deep, for the JSON reader.
func plainCheck(text []byte) error {
	if len(text) > maxText {
		return &wire.Error{Proto: "pstream", Off: maxText, Msg: fmt.Sprintf("want at most %d bytes, have %d", maxText, len(text))}
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return &wire.Error{Proto: "pstream", Off: int64(i), Msg: fmt.Sprintf("want at most %d levels", maxDepth)}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// keys is a JSON object whose members are taken one after another, so that
// those that are left are the ones not known.
type plainKeys map[string]json.RawMessage

// read reads an object. The error tells where, never what was there: it may be
// a secret.
func plainRead(text []byte) (plainKeys, error) {
	var k plainKeys
	if err := plainCheck(text); err != nil {
		return nil, err
	}
	err := json.Unmarshal(text, &k)
	if err == nil && k != nil {
		return k, nil
	}
	e := &wire.Error{Proto: "pstream", Msg: "want a JSON object, have another value"}
	if syntax, ok := err.(*json.SyntaxError); ok {
		e.Off, e.Msg = syntax.Offset, "want a JSON object, have a syntax error"
	}
	return nil, e
}

func (k plainKeys) take(name string) json.RawMessage {
	v := k[name]
	delete(k, name)
	return v
}

// object is a member that is an object, nil when there is none.
func (k plainKeys) plainObject(name string) plainKeys {
	var o plainKeys
	if v, ok := k[name]; ok && len(v) > 0 && v[0] == '{' && json.Unmarshal(v, &o) == nil {
		delete(k, name)
	}
	return o
}

// text is a member as text: a string's value, or a number or literal as it is
// written; "" for an object, an array, null or none.
func (k plainKeys) text(name string) string { return plainText(k.take(name)) }

func plainText(v json.RawMessage) string {
	if len(v) == 0 || v[0] == '{' || v[0] == '[' || v[0] == 'n' {
		return ""
	}
	if v[0] != '"' {
		return string(v)
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// number is a member as a whole number, also one in a string; 0 for none.
func (k plainKeys) number(name string) int {
	f, err := strconv.ParseFloat(k.text(name), 64)
	if err != nil || f != f || f < -1e9 || f > 1e9 {
		return 0
	}
	return int(f)
}

// size is how long a member is: the characters of a string, the bytes of
// another value as written.
func plainSize(v json.RawMessage) int {
	if len(v) == 0 || v[0] == 'n' {
		return 0
	}
	if v[0] == '"' {
		return len(plainText(v))
	}
	return len(v)
}

// plainDecode reads one object. Keys of types that are not expected count as
// absent; a type that is not known is kept in Name.
func plainDecode(text []byte, m *Message) error {
	*m = Message{}
	k, err := plainRead(text)
	if err != nil {
		return err
	}
	if plainText(k["type"]) != "" {
		m.plainEnvelope(k)
		return nil
	}
	for _, name := range [...]string{"rt.message", "EventType", "Request", "Response", "Roster", "Available", "code"} {
		if _, ok := k[name]; ok {
			if m.plainMatrix(k); m.Name != "" {
				return nil
			}
			break
		}
	}
	*m = Message{}
	return &wire.Error{Proto: "pstream", Field: "type", Msg: "want a message type, have none"}
}

// envelope reads PStream and chunderw, which both name a type.
func (m *Message) plainEnvelope(k plainKeys) {
	m.Name = limit(k.text("type"))
	m.Generation, m.Version = PStream, limit(k.text("version"))
	lower := strings.ToLower(m.Name)
	m.Type = typeOf(lower)
	if m.Type == TypePublish || m.Type == TypeOffer && m.Name == lower {
		m.Type = TypeUnknown
	}
	p := k.plainObject("payload")
	if p == nil && m.Name != lower && m.Version == "" {
		m.Generation = Chunderw
		p, k = k, nil
	}
	m.plainPayload(p)
	m.Unknown += len(k) + len(p)
}

func (m *Message) plainCall(sid string) {
	m.CallSID = limit(sid)
	if strings.HasPrefix(m.CallSID, "TJS") {
		m.TempSID = m.CallSID
	}
}

func (m *Message) plainPayload(p plainKeys) {
	m.plainCall(p.text("callsid"))
	if sdp := p.text("sdp"); sdp != "" {
		m.SDP = []byte(sdp)
	}
	m.Reconnect = plainSize(p.take("reconnect")) > 0
	m.Preflight = p.text("preflight") == "true"
	m.Region, m.Gateway = limit(p.text("region")), limit(p.text("gateway"))
	m.Edge, m.Home = limit(p.text("edge")), limit(p.text("home"))
	m.Parameters.plainRead(p.plainObject("parameters"))

	// The client sends its access token, the server says what it has read.
	if t := p.plainObject("token"); t != nil {
		m.Identity, m.TTL = limit(t.text("identity")), t.number("ttl")
		m.Parameters.AccountSid = first(m.Parameters.AccountSid, limit(t.text("accountSid")))
		m.Unknown += len(t)
	} else {
		m.TokenLen = plainSize(p.take("token"))
	}
	p.take("reconnectTimeout")
	if b := p.plainObject("browserinfo"); b != nil {
		m.SDK = limit(b.text("v"))
		b.take("p")
		b.take("plugin")
		if b := b.plainObject("browser"); b != nil {
			m.UserAgent = b.text("userAgent")
			b.take("platform")
			m.Unknown += len(b)
		}
		m.Unknown += len(b)
	}
	if media := p.plainObject("media"); media != nil {
		m.Unregister = media.text("audio") == "false"
		m.Unknown += len(media)
	}
	if t := p.plainObject("twilio"); t != nil {
		m.Params = t.text("params")
		m.Parameters.AccountSid = first(m.Parameters.AccountSid, limit(t.text("accountsid")))
		m.TokenLen += plainSize(t.take("token"))
		m.BridgeToken = plainSize(t.take("bridgeToken")) > 0
		t.take("appsid")
		t.take("extras")
		m.Unknown += len(t)
	}
	if e := p.plainObject("error"); e != nil {
		m.plainFail(e)
	}
	m.DTMF = p.text("dtmf")
	m.DTMFDigits = len(m.DTMF)
	if m.Type == TypeHangup {
		m.Reason = p.text("message")
	}
	m.ContentLen = plainSize(p.take("content"))
	m.ContentType, m.MessageType = limit(p.text("contenttype")), limit(p.text("messagetype"))
	m.VoiceEventSID, m.AckType = limit(p.text("voiceeventsid")), limit(p.text("acktype"))
	m.Candidate = p.text("candidate")
	p.take("label")
	if m.Generation == Chunderw {
		p.take("fmt")
	}
}

func (m *Message) plainFail(e plainKeys) {
	m.ErrorCode, m.ErrorMessage, m.RetryAfter = e.number("code"), e.text("message"), e.number("retryAfter")
	for _, name := range [...]string{"twilioError", "info", "more_info"} {
		e.take(name)
	}
	m.Unknown += len(e)
}

func (p *Parameters) plainRead(k plainKeys) {
	p.From, p.To = limit(k.text("From")), limit(k.text("To"))
	p.CallSid, p.AccountSid = limit(k.text("CallSid")), limit(k.text("AccountSid"))
	p.ApiVersion, p.Params = limit(k.text("ApiVersion")), k.text("Params")
	p.Others = len(k)
}

// matrix reads the generation whose kind has three names.
func (m *Message) plainMatrix(k plainKeys) {
	m.Generation = Matrix
	m.Name = limit(first(first(k.text("rt.message"), k.text("EventType")), k.text("Request")))
	m.Type = typeOf(strings.ToLower(m.Name))
	if m.Name == "" {
		switch {
		case k["Roster"] != nil:
			m.Name, m.Type = "roster", TypeRoster
		case k["Available"] != nil:
			m.Name, m.Type = "presence", TypePresence
		case k["Response"] != nil:
			m.Name = limit(k.text("Response"))
			m.Type = typeOf(strings.ToLower(m.Name))
		default:
			m.Name, m.Type = "error", TypeError
		}
	}
	m.TokenLen = plainSize(k.take("rt.token"))
	m.BridgeToken = plainSize(k.take("Token")) > 0
	k.take("RejectChannel")
	k.take("rt.subchannel")
	k.take("Response")
	k.take("Roster")
	m.Availability = limit(first(k.text("Available"), k.text("availability")))
	m.plainCall(k.text("CallSid"))
	m.Parameters.plainRead(k.plainObject("Parameters"))
	if from := k.text("From"); m.Parameters.From == "" {
		m.Parameters.From = limit(from)
	}
	if p := k.plainObject("rt.payload"); p != nil {
		switch answer := p.text("Response"); {
		case answer != "":
			m.Name = limit(answer)
			m.Type = typeOf(strings.ToLower(answer))
			m.plainCall(p.text("CallSid"))
		case p["availability"] != nil:
			m.Type = TypePresence
			m.Availability = limit(p.text("availability"))
			p.take("ttl")
			p.take("keepalive")
		}
		m.Unknown += len(p)
	}
	if k["code"] != nil || m.Type == TypeError {
		m.plainFail(k)
		return
	}
	m.Unknown += len(k)
}

// plainElide shows a text that is a JSON value.
func plainElide(dst, text []byte, max int) []byte {
	w := plainWalker{in: text, max: max}
	if w.value("", 0); w.more {
		w.out = append(w.out, "more"...)
	}
	return plainCut(dst, w.out, max)
}

// appendCut appends at most max bytes of s, whole characters.
func plainCut(dst, s []byte, max int) []byte {
	if s = bytes.TrimSuffix(s, []byte{'\n'}); len(s) <= max {
		return append(dst, s...)
	}
	const more = "…"
	n := max - len(more)
	if n < 0 {
		return dst
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return append(append(dst, s[:n]...), more...)
}

type plainWalker struct {
	in   []byte
	pos  int
	out  []byte
	max  int
	more bool // than max
	path []byte
}

func (w *plainWalker) space() {
	for w.pos < len(w.in) && (w.in[w.pos] == ' ' || w.in[w.pos] == '\t' || w.in[w.pos] == '\n' || w.in[w.pos] == '\r') {
		w.pos++
	}
}

func (w *plainWalker) line(key, value string) {
	w.out = append(w.out, w.path...)
	if key != "" {
		if len(w.path) > 0 {
			w.out = append(w.out, '.')
		}
		w.out = append(w.out, key...)
	}
	if len(w.path) > 0 || key != "" {
		w.out = append(w.out, ':', ' ')
	}
	w.out = append(append(w.out, value...), '\n')
}

// raw passes over the next value and gives it as it is written; nil when there
// is none. It checks only what it needs to find the end.
func (w *plainWalker) raw() []byte {
	w.space()
	start, depth := w.pos, 0
	for w.pos < len(w.in) {
		switch c := w.in[w.pos]; c {
		case '"':
			if w.str() == nil {
				return nil
			}
		case '{', '[':
			depth++
			w.pos++
		case '}', ']':
			if depth--; depth < 0 {
				return nil
			}
			w.pos++
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return nil
			}
			w.pos++
			continue
		default:
			n := w.pos
			for w.pos < len(w.in) && strings.IndexByte("+-.0123456789Eaeflnrstu", w.in[w.pos]) >= 0 {
				w.pos++
			}
			if w.pos == n {
				return nil
			}
		}
		if depth == 0 {
			return w.in[start:w.pos]
		}
	}
	return nil
}

// str passes over a string and gives it with its quotes, nil without its end.
func (w *plainWalker) str() []byte {
	start := w.pos
	for w.pos++; w.pos < len(w.in); w.pos++ {
		switch w.in[w.pos] {
		case '\\':
			w.pos++
		case '"':
			w.pos++
			return w.in[start:w.pos]
		}
	}
	return nil
}

// value writes the next value.
func (w *plainWalker) value(key string, depth int) bool {
	w.space()
	if w.pos == len(w.in) || depth > maxDepth {
		return false
	}
	kind := plainSecretKey(key)
	c := w.in[w.pos]
	if kind != "" && !(c == '{' && kind == "token") {
		raw := w.raw()
		if raw == nil {
			return false
		}
		w.line(key, plainHidden(kind, raw))
		return true
	}
	switch c {
	case '{', '[':
		return w.container(key, depth, c)
	case '"':
		raw := w.str()
		var s string
		if raw == nil || json.Unmarshal(raw, &s) != nil {
			return false
		}
		w.line(key, plainLines(plainScrub(s)))
		return true
	}
	raw := w.raw()
	if !json.Valid(raw) {
		return false
	}
	w.line(key, string(raw[:min(len(raw), 40)]))
	return true
}

func (w *plainWalker) container(key string, depth int, open byte) bool {
	n := len(w.path)
	if key != "" {
		if n > 0 {
			w.path = append(w.path, '.')
		}
		w.path = append(w.path, key...)
	}
	defer func() { w.path = w.path[:n] }()
	w.pos++
	within := plainSecretKey(key) == "token"
	for i := 0; ; i++ {
		w.space()
		if w.pos == len(w.in) {
			return false
		}
		if c := w.in[w.pos]; c == open+2 { // '{' + 2 is '}', '[' + 2 is ']'
			w.pos++
			return true
		} else if i > 0 {
			if c != ',' {
				return false
			}
			w.pos++
			w.space()
		}
		if w.more = len(w.out) > w.max; w.more || w.pos == len(w.in) {
			return false
		}
		name := strconv.Itoa(i)
		if open == '{' {
			if w.in[w.pos] != '"' {
				return false
			}
			raw := w.str()
			var s string
			if raw == nil || json.Unmarshal(raw, &s) != nil {
				return false
			}
			if w.space(); w.pos == len(w.in) || w.in[w.pos] != ':' {
				return false
			}
			w.pos++
			name = strings.ReplaceAll(plainLines(plainScrub(limit(s))), "\n", " ")
			if within && !plainPublic(s) {
				raw := w.raw()
				if raw == nil {
					return false
				}
				w.line(name, plainHidden("token", raw))
				continue
			}
			if within { // "identity" of a token is none itself
				if raw := w.raw(); raw == nil || !json.Valid(raw) {
					return false
				} else {
					w.line(name, plainLines(plainScrub(plainText(raw))))
				}
				continue
			}
		}
		if !w.value(name, depth+1) {
			return false
		}
	}
}

// public tells whether a member of a token that the server has read is none
// of its secrets.
func plainPublic(name string) bool {
	switch strings.ToLower(name) {
	case "identity", "ttl", "accountsid":
		return true
	}
	return false
}

// secretKey is what kind of secret a key holds, "" for none.
func plainSecretKey(key string) string {
	switch key = strings.ToLower(key); key {
	case "content":
		return "content"
	case "dtmf", "digit", "digits":
		return "digits"
	case "reconnect":
		return "reconnect token"
	case "auth", "authorization", "cookie", "pwd", "credential", "credentials", "ice-pwd", "icepwd", "inline", "key", "body":
		return "secret"
	}
	for _, s := range [...]string{"token", "jwt"} {
		if strings.Contains(key, s) {
			return "token"
		}
	}
	for _, s := range [...]string{"secret", "passw", "passphrase", "signature", "apikey", "api-key", "api_key"} {
		if strings.Contains(key, s) {
			return "secret"
		}
	}
	return ""
}

func plainHidden(kind string, raw []byte) string {
	n := plainSize(raw)
	switch {
	case n == 0:
		return "[no " + kind + "]"
	case kind == "digits" && n == 1:
		return "[1 digit]"
	case kind == "digits":
		return "[" + strconv.Itoa(n) + " digits]"
	case kind == "token" && strings.HasPrefix(plainText(raw), "eyJ"):
		kind = "JWT"
	}
	return "[" + kind + ", " + strconv.Itoa(n) + " bytes]"
}

// lines makes a text of several lines a block of indented lines, without
// characters that do not print.
func plainLines(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\r':
			return -1
		case !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, s)
	s = strings.TrimSuffix(s, "\n")
	if !strings.Contains(s, "\n") {
		return s
	}
	return "\n  " + strings.ReplaceAll(s, "\n", "\n  ")
}

// Scrub is a text without the secrets that are known by their surroundings:
// JWTs, the values of names like token in queries, parameters and JSON, ICE
// passwords, and SDP keys.
func plainScrub(s string) string {
	var b strings.Builder
	done := 0
	hide := func(from, to int, kind string) {
		b.WriteString(s[done:from])
		b.WriteString("[" + kind + ", " + strconv.Itoa(to-from) + " bytes]")
		done = to
	}
	for i := 0; i < len(s); i++ {
		if i < done {
			continue
		}
		switch c := s[i]; {
		case c == 'e' && strings.HasPrefix(s[i:], "eyJ"):
			to := i
			for to < len(s) && plainIsToken(s[to]) {
				to++
			}
			if to-i >= 10 {
				hide(i, to, "JWT")
			}
		case c == 'k' && strings.HasPrefix(s[i:], "k=") && (i == 0 || s[i-1] == '\n'): // RFC 4566, 5.12
			hide(i+2, plainUntil(s, i+2, "\r\n"), "key")
		case c == ':' || c == '=' || c == '%' && (strings.HasPrefix(s[i:], "%3D") || strings.HasPrefix(s[i:], "%3d") || strings.HasPrefix(s[i:], "%3A") || strings.HasPrefix(s[i:], "%3a")):
			// The name before, the value after, either in quotes.
			name := s[done:i]
			name = strings.TrimRight(name[max(0, len(name)-64):], " \"'\\")
			if n := strings.LastIndexFunc(name, func(r rune) bool { return !plainIsName(r) }); n >= 0 {
				_, size := utf8.DecodeRuneInString(name[n:])
				name = name[n+size:]
			}
			kind := plainSecretKey(name)
			if kind == "" || name == "" {
				continue
			}
			from := i + 1
			if c == '%' {
				from = i + 3
			}
			for from < len(s) && (s[from] == ' ' || s[from] == '"' || s[from] == '\'' || s[from] == '\\') {
				from++
			}
			if from < len(s) && (s[from] == '{' || s[from] == '[') {
				continue // its members have their own names
			}
			if to := plainUntil(s, from, "&;, \t\r\n\"'<>}\\"); to > from {
				hide(from, to, kind)
			}
		}
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

func plainUntil(s string, from int, stops string) int {
	if n := strings.IndexAny(s[from:], stops); n >= 0 {
		return from + n
	}
	return len(s)
}

func plainIsToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.=+/~", c) >= 0
}

func plainIsName(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
}
