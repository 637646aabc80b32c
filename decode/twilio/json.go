package twilio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonDecoder reads JSON texts one after another from a window, as
// encoding/json's Decoder does, and keeps of each object the wanted members
// only. A value that is damaged unwinds the whole stack; lost then looks for
// the next object.
type jsonDecoder struct {
	*decoder
	accs    [maxDepth + 1]*acc
	scratch []byte // an unescaped string, valid until the next one

	top       int   // values at top level
	array     bool  // the first of them is an array
	camel     bool  // keys are written dateCreated
	searching bool  // the stack was lost: what stands between objects means nothing
	readKey   bool  // the object tried while searching has a member: it was one
	cut       bool  // the cut resource of the present damage is counted
	cutEnd    int64 // where the last cut resource was damaged
	high      int64 // how far lost has counted what it passed over
	string    int64 // offset of the last string's opening quote; -1 when there was none, or it was tried again
}

// Form names.
const (
	formPage    = "list page"
	formArray   = "array"
	formObject  = "object"
	formNDJSON  = "ndjson"
	formCLIJSON = "cli json"
)

func (d *decoder) json() {
	j := d.spare
	*j = jsonDecoder{decoder: d, accs: j.accs, scratch: j.scratch[:0], string: -1}
	j.texts()
	switch {
	case d.stats.Pages > 0:
		d.stats.Form = formPage
	case j.camel && j.array:
		d.stats.Form = formCLIJSON
	case j.array:
		d.stats.Form = formArray
	case j.top > 1:
		d.stats.Form = formNDJSON
	default:
		d.stats.Form = formObject
	}
}

func (j *jsonDecoder) texts() {
	for j.stop == nil {
		c, ok := j.next()
		if !ok {
			return
		}
		j.top++
		if j.top == 1 {
			j.array = c == '['
		}
		if !j.value(c, 0, 0, true) && j.stop == nil {
			j.lost()
		}
	}
}

// lost goes on after damage: it tries every brace that follows as an object,
// to the end of the input.
func (j *jsonDecoder) lost() {
	j.searching = true
	j.high = j.in.off()
	j.rewind()
	lineStart := j.in.pos > 0 && j.in.buf[j.in.pos-1] == '\n'
	for j.stop == nil && j.in.more() {
		w := j.in.buf[j.in.pos:]
		n := 0
	scan:
		for n < len(w) {
			switch w[n] {
			case '{':
				break scan
			case '\n':
				lineStart = true
			case ' ', '\t', '\r':
			case ',', ']', '}':
				lineStart = false
			default:
				lineStart = false
				if j.in.off()+int64(n) >= j.high {
					j.stats.PassedOver++
				}
			}
			n++
		}
		j.in.pos += n
		if n == len(w) {
			continue
		}
		j.readKey, j.cut = false, false
		from, passed := j.in.off(), j.stats.PassedOver
		if lineStart {
			j.top++
		}
		if !j.object(0, 0, lineStart) && j.stop == nil {
			off := j.in.off()
			j.stats.PassedOver = passed + max(0, off-max(from, j.high)) // with what was passed over inside
			j.high = max(j.high, off)
			j.rewind()
		}
		lineStart = false
	}
}

// rewind goes back into the last string before the damage, if the window still
// holds it: where a closing quote was lost, the string swallowed the beginning
// of the next object and ended at that one's first quote. This is done once for
// each string, so the work stays linear.
func (j *jsonDecoder) rewind() {
	if j.string >= j.in.base && j.string < j.in.off() {
		j.in.pos = int(j.string-j.in.base) + 1
	}
	j.string = -1
}

// fail records damage at the next byte.
func (j *jsonDecoder) fail(want string) bool {
	if !j.searching || j.readKey {
		j.damaged("json", j.in.off(), "want "+want+", found "+j.found())
		j.readKey = false
	}
	return false
}

func (j *jsonDecoder) found() string {
	if !j.in.more() {
		return "the end of the input"
	}
	switch c := j.in.buf[j.in.pos]; {
	case c > ' ' && c < 0x7f:
		return fmt.Sprintf("%q", c)
	case c == '\n':
		return "the end of the line"
	default:
		return fmt.Sprintf("byte 0x%02x", c)
	}
}

// next passes over white space and gives the next byte without taking it.
func (j *jsonDecoder) next() (byte, bool) {
	for {
		w := j.in.buf
		i := j.in.pos
		for i < len(w) {
			c := w[i]
			if c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
				j.in.pos = i
				return c, true
			}
			i++
		}
		j.in.pos = i
		if !j.in.more() {
			return 0, false
		}
	}
}

// value reads the value that begins with c. objs is the number of objects
// around it; rec tells that a resource may stand here, so that whatever else
// does is counted as refused.
func (j *jsonDecoder) value(c byte, depth, objs int, rec bool) bool {
	switch c {
	case '{':
		return j.object(depth, objs, rec)
	case '[':
		return j.elements(depth, objs, rec)
	}
	from := j.in.off()
	if _, ok := j.scalar(c, false); !ok {
		return false
	}
	if rec && objs == 0 {
		j.refuse("not an object", j.in.off()-from)
	}
	return true
}

// scalar reads a string, number or literal. text is the value of a wanted
// string or number, nil for a literal.
func (j *jsonDecoder) scalar(c byte, wanted bool) (text []byte, ok bool) {
	switch {
	case c == '"':
		return j.str(wanted)
	case c == '-' || c >= '0' && c <= '9':
		return j.number()
	case c == 't':
		return nil, j.literal("true")
	case c == 'f':
		return nil, j.literal("false")
	case c == 'n':
		return nil, j.literal("null")
	}
	return nil, j.fail("a value")
}

func (j *jsonDecoder) literal(word string) bool {
	for i := range len(word) {
		if !j.in.more() || j.in.buf[j.in.pos] != word[i] {
			return j.fail(word)
		}
		j.in.pos++
	}
	return true
}

func (j *jsonDecoder) elements(depth, objs int, rec bool) bool {
	if depth == maxDepth {
		return j.fail(fmt.Sprintf("at most %d levels", maxDepth))
	}
	j.in.pos++
	c, ok := j.next()
	if ok && c == ']' {
		j.in.pos++
		return true
	}
	for {
		if !ok {
			return j.fail("an element")
		}
		if c == '.' || c == ']' { // "..." of documentation, or a trailing comma
			j.fail("an element")
			for c == '.' {
				if j.in.off() >= j.high {
					j.stats.PassedOver++
				}
				j.in.pos++
				if c, ok = j.next(); !ok {
					return false
				}
			}
		} else if !j.value(c, depth+1, objs, rec) || j.stop != nil {
			return false
		}
		c, ok = j.next()
		switch {
		case ok && c == ',':
			j.in.pos++
			c, ok = j.next()
		case ok && c == ']':
			j.in.pos++
			return true
		case ok && c == '{':
			j.fail("',' or ']'") // a missing comma
		default:
			return j.fail("',' or ']'")
		}
	}
}

func (j *jsonDecoder) object(depth, objs int, rec bool) bool {
	if depth == maxDepth {
		return j.fail(fmt.Sprintf("at most %d levels", maxDepth))
	}
	a := j.accs[depth]
	if a == nil {
		a = new(acc)
		j.accs[depth] = a
	}
	a.reset(j.in.off(), j.stats.Records)
	if !j.members(a, depth, objs, rec) {
		lost := rec && !a.list && j.stats.Records == a.records && !a.wasSeen(kPageSize) || a.wasSeen(fSID) || a.wasSeen(fCreated)
		if lost && !j.cut && j.stop == nil {
			j.cut = true
			off := j.in.off()
			j.refuse("cut by damage", max(0, off-max(a.start, j.cutEnd)))
			j.cutEnd = max(j.cutEnd, off)
		}
		return false
	}
	return j.close(a, rec)
}

func (j *jsonDecoder) members(a *acc, depth, objs int, rec bool) bool {
	j.in.pos++
	c, ok := j.next()
	if ok && c == '}' {
		j.in.pos++
		return true
	}
	for {
		if !ok {
			return j.fail("a key")
		}
		if c != '"' {
			j.fail("a key")
			if c == '}' { // a trailing comma
				j.in.pos++
				return true
			}
			return false
		}
		key, good := j.str(true)
		if !good {
			return false
		}
		f := j.key(key)
		if c, ok = j.next(); !ok || c != ':' {
			return j.fail("':'")
		}
		j.readKey = true
		j.in.pos++
		if c, ok = j.next(); !ok {
			return j.fail("a value")
		}
		switch c {
		case '{':
			a.clear(f)
			if !j.object(depth+1, objs+1, false) {
				return false
			}
		case '[':
			a.clear(f)
			if f == kList {
				a.list = true
			}
			// The elements of a page's list are records; those of a list
			// inside a resource are not.
			if !j.elements(depth+1, objs+1, rec && objs == 0 && !a.wasSeen(fSID)) {
				return false
			}
		default:
			text, good := j.scalar(c, f != fNone)
			if !good {
				return false
			}
			switch {
			case f == fNone:
			case text == nil:
				a.clear(f)
			case j.in.off()-a.start > maxResource:
				a.mark(f)
				a.tooBig = true
			default:
				a.set(f, text)
			}
		}
		c, ok = j.next()
		switch {
		case ok && c == ',':
			j.in.pos++
			c, ok = j.next()
		case ok && c == '}':
			j.in.pos++
			return true
		case ok && c == '"':
			j.fail("',' or '}'") // a missing comma
		default:
			return j.fail("',' or '}'")
		}
	}
}

// close decides what the object was.
func (j *jsonDecoder) close(a *acc, rec bool) bool {
	n := j.in.off() - a.start
	switch {
	case a.wasSeen(kSpecVersion) && rec:
		j.refuse("event stream, not a resource", n)
	case a.known(fSID) && a.wasSeen(fCreated):
		if rec || j.known(a) {
			j.record(a, n)
		}
	case a.list || rec && (a.wasSeen(kPage) && a.wasSeen(kPageSize) || a.wasSeen(kMeta) && j.stats.Records > a.records):
		j.stats.Pages++
	case !rec || j.stats.Records > a.records:
	case a.known(fSID):
		j.refuse("no creation date", n)
	case a.wasSeen(kMessage) && (a.wasSeen(kCode) || a.wasSeen(fStatus)):
		j.refuse("error response", n)
	default:
		j.refuse("not a resource", n)
	}
	return j.stop == nil
}

// known tells an object whose sid is that of a message or call.
func (j *jsonDecoder) known(a *acc) bool {
	kind, _, _ := sidKind(a.get(fSID))
	return kind != KindUnknown
}

// key tells which member a key names, in the REST and the camelCase spelling.
func (j *jsonDecoder) key(k []byte) field {
	switch string(k) {
	case "sid":
		return fSID
	case "account_sid", "accountSid":
		return fAccount
	case "parent_call_sid", "parentCallSid":
		return fParent
	case "messaging_service_sid", "messagingServiceSid":
		return fService
	case "status":
		return fStatus
	case "direction":
		return fDirection
	case "from":
		return fFrom
	case "to":
		return fTo
	case "answered_by", "answeredBy":
		return fAnswered
	case "phone_number_sid", "phoneNumberSid":
		return fNumber
	case "date_created":
		return fCreated
	case "dateCreated":
		j.camel = true
		return fCreated
	case "date_updated", "dateUpdated":
		return fUpdated
	case "date_sent", "dateSent":
		return fSent
	case "start_time", "startTime":
		return fStarted
	case "end_time", "endTime":
		return fEnded
	case "num_segments", "numSegments":
		return fSegments
	case "num_media", "numMedia":
		return fMedia
	case "error_code", "errorCode":
		return fErrorCode
	case "error_message", "errorMessage":
		return fErrorMessage
	case "duration":
		return fDuration
	case "queue_time", "queueTime":
		return fQueueTime
	case "body":
		return fBody
	case "message":
		return kMessage
	case "code":
		return kCode
	case "specversion":
		return kSpecVersion
	case "page":
		return kPage
	case "page_size", "pageSize":
		return kPageSize
	case "meta":
		return kMeta
	case "messages", "sms_messages", "calls":
		return kList
	}
	return fNone
}

// number reads a number by RFC 8259 section 6. A literal of more than 64 bytes
// is given as its first 64; no field holds that much.
func (j *jsonDecoder) number() ([]byte, bool) {
	j.scratch = j.scratch[:0]
	digits := func() bool {
		any := false
		for j.in.more() {
			c := j.in.buf[j.in.pos]
			if c < '0' || c > '9' {
				break
			}
			j.keep(c)
			any = true
		}
		return any || j.fail("a digit")
	}
	at := func(cs ...byte) bool {
		if j.in.more() && bytes.IndexByte(cs, j.in.buf[j.in.pos]) >= 0 {
			j.keep(j.in.buf[j.in.pos])
			return true
		}
		return false
	}
	at('-')
	if !at('0') && !digits() {
		return nil, false
	}
	if at('.') && !digits() {
		return nil, false
	}
	if at('e', 'E') {
		at('+', '-')
		if !digits() {
			return nil, false
		}
	}
	return j.scratch, true
}

func (j *jsonDecoder) keep(c byte) {
	if len(j.scratch) < 64 {
		j.scratch = append(j.scratch, c)
	}
	j.in.pos++
}

// str reads a string whose opening quote is the next byte. A wanted one is
// returned unescaped, with each byte of invalid UTF-8 and each lone surrogate
// as U+FFFD; it aliases the window or the scratch buffer and is good until the
// next token. One longer than a resource may be is cut.
func (j *jsonDecoder) str(wanted bool) ([]byte, bool) {
	j.string = j.in.off()
	j.in.pos++
	n, high := plain(j.in.buf[j.in.pos:])
	w := j.in.buf[j.in.pos : j.in.pos+n]
	j.in.pos += n
	if j.in.pos < len(j.in.buf) && j.in.buf[j.in.pos] == '"' {
		j.in.pos++
		if high && wanted && !utf8.Valid(w) {
			j.scratch = appendValid(j.scratch[:0], w)
			return j.scratch, true
		}
		return w, true
	}

	// The long way: escapes, or a string that crosses the window.
	j.scratch = j.scratch[:0]
	for {
		if wanted && len(j.scratch) <= maxResource {
			j.scratch = append(j.scratch, w...)
		}
		if !j.in.more() {
			return nil, j.fail("a closing quote")
		}
		switch c := j.in.buf[j.in.pos]; {
		case c == '"':
			j.in.pos++
			if high && wanted && !utf8.Valid(j.scratch) {
				// An escape begins with a lead byte of its own, so bytes
				// around it never join into a character.
				raw := len(j.scratch)
				j.scratch = appendValid(j.scratch, j.scratch[:raw:raw])
				j.scratch = j.scratch[raw:]
			}
			return j.scratch, true
		case c == '\\':
			j.in.pos++
			if !j.escape(wanted && len(j.scratch) <= maxResource) {
				return nil, false
			}
		case c < ' ':
			return nil, j.fail("a closing quote")
		}
		var h bool
		n, h = plain(j.in.buf[j.in.pos:])
		high = high || h
		w = j.in.buf[j.in.pos : j.in.pos+n]
		j.in.pos += n
	}
}

// escape reads what follows a backslash.
func (j *jsonDecoder) escape(wanted bool) bool {
	if !j.in.more() {
		return j.fail("an escape")
	}
	var c byte
	switch j.in.buf[j.in.pos] {
	case '"', '\\', '/':
		c = j.in.buf[j.in.pos]
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		j.in.pos++
		r, ok := j.hex4()
		for ok {
			if !utf16.IsSurrogate(r) {
				break
			}
			// Half of a pair: the other half must follow at once, else this
			// one is U+FFFD and what follows stands for itself.
			if r >= 0xdc00 || !j.in.more() || j.in.buf[j.in.pos] != '\\' {
				r = utf8.RuneError
				break
			}
			j.in.pos++
			if !j.in.more() || j.in.buf[j.in.pos] != 'u' {
				if wanted {
					j.scratch = utf8.AppendRune(j.scratch, utf8.RuneError)
				}
				return j.escape(wanted)
			}
			j.in.pos++
			var low rune
			if low, ok = j.hex4(); !ok {
				break
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				r = pair
				break
			}
			if wanted {
				j.scratch = utf8.AppendRune(j.scratch, utf8.RuneError)
			}
			r = low
		}
		if !ok {
			return false
		}
		if wanted {
			j.scratch = utf8.AppendRune(j.scratch, r)
		}
		return true
	default:
		return j.fail("an escape")
	}
	j.in.pos++
	if wanted {
		j.scratch = append(j.scratch, c)
	}
	return true
}

func (j *jsonDecoder) hex4() (rune, bool) {
	var r rune
	for range 4 {
		if !j.in.more() {
			return 0, j.fail("4 hexadecimal digits")
		}
		c := j.in.buf[j.in.pos]
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, j.fail("4 hexadecimal digits")
		}
		j.in.pos++
	}
	return r, true
}

// plain is the number of bytes of w before a quote, a backslash or a control
// character; high tells that some near them are beyond ASCII. It looks at
// eight bytes at once: for each byte b of x, (x-1)&^x has b's top bit set
// where b is 0, and (x-0x20)&^x where b is below 0x20; what a borrow spoils
// lies above the first hit.
func plain(w []byte) (n int, high bool) {
	const (
		ones = 0x0101010101010101
		tops = 0x8080808080808080
	)
	var seen uint64
	for ; len(w)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(w[n:])
		quote := x ^ ones*'"'
		slash := x ^ ones*'\\'
		hit := ((quote-ones)&^quote | (slash-ones)&^slash | (x-ones*' ')&^x) & tops
		seen |= x
		if hit != 0 {
			return n + bits.TrailingZeros64(hit)/8, seen&tops != 0
		}
	}
	for ; n < len(w); n++ {
		c := w[n]
		if c == '"' || c == '\\' || c < ' ' {
			break
		}
		seen |= uint64(c)
	}
	return n, seen&tops != 0
}
