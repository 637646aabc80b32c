package twilio

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/twtrace/twtrace/internal/wire"
)

// Kind is the kind of a resource. New kinds may be added.
type Kind uint8

const (
	KindUnknown Kind = iota
	Message
	Call
)

func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Call:
		return "call"
	}
	return "unknown"
}

// Resource is one message or call as the provider describes it. It belongs to
// the decoder until the next one; its strings are copies and may be kept.
type Resource struct {
	Kind Kind

	SID, AccountSID, ParentCallSID, MessagingServiceSID string
	Status, Direction, From, To                         string
	AnsweredBy, PhoneNumberSID                          string

	// Nanoseconds since 1970 UTC, 0 unknown. Sent is of messages, Started and
	// Ended are of calls.
	Created, Updated, Sent, Started, Ended int64

	// ResolutionNS is the resolution of these times: 1e9, or finer when one of
	// them was written with a fraction that is not zero.
	ResolutionNS int64

	Segments     int64 // num_segments; 0 unknown
	NumMedia     int64
	ErrorCode    int64 // 0 none
	ErrorMessage string

	DurationS      float64
	DurationKnown  bool
	QueueTimeMS    int64
	QueueTimeKnown bool

	Body Body
	// SegmentsToll is the segments of the text if a toll-free number sends it;
	// 0 when they are the same.
	SegmentsToll int64

	Record int64 // 1-based among all records of the file, refused ones too
	Offset int64 // byte where the object, element or row begins
}

// Refused counts what was not used, by reason.
type Refused struct {
	Reason string
	Count  int64
	Bytes  int64
}

// Stats tells what a file held. Records = Used + the counts of Refused.
type Stats struct {
	// Form is what the file was found to be: "list page", "array", "object",
	// "ndjson", "cli json", "xml", "console csv", "getcdrs csv", "cli tsv",
	// "cli columns", "queue log", or "" when it is none of these.
	Form    string
	Records int64 // records found: resources and what stood in their place
	Used    int64 // records emitted
	Refused []Refused
	// Fields counts single values that were not understood and left unknown
	// ("date not understood"); their records are used nevertheless.
	Fields []Refused
	Pages  int
	// Damaged is the number of places where the syntax was broken, PassedOver
	// the bytes that were skipped there.
	Damaged    int64
	PassedOver int64
	Bytes      int64 // bytes read
}

type field uint8

// The members that are kept, then those of which only the presence matters.
const (
	fNone field = iota
	fSID
	fAccount
	fParent
	fService
	fStatus
	fDirection
	fFrom
	fTo
	fAnswered
	fNumber
	fCreated
	fUpdated
	fSent
	fStarted
	fEnded
	fSegments
	fMedia
	fErrorCode
	fErrorMessage
	fDuration
	fQueueTime
	fBody
	nFields

	kMessage
	kCode
	kSpecVersion
	kPage
	kPageSize
	kMeta
	kList
)

const (
	maxDepth    = 64
	maxResource = 4 << 20
	maxRow      = 1 << 20
	maxStored   = 64 << 10 // all kept values of one object but its body
)

// acc gathers the wanted members of one object until it ends. Its buffer is
// reused by the next object at the same depth.
type acc struct {
	start   int64 // byte offset of the object
	records int64 // Stats.Records when it began
	seen    uint64
	has     uint64 // seen with a value other than null
	list    bool   // a member of a list's name holds an array
	tooBig  bool
	body    Body
	toll    int64 // see Resource.SegmentsToll
	buf     []byte
	at      [nFields]struct{ off, end int32 }
}

func (a *acc) reset(start, records int64) {
	a.start, a.records = start, records
	a.seen, a.has = 0, 0
	a.list, a.tooBig = false, false
	a.buf = a.buf[:0]
}

func (a *acc) mark(f field)         { a.seen |= 1 << f }
func (a *acc) wasSeen(f field) bool { return a.seen&(1<<f) != 0 }
func (a *acc) clear(f field)        { a.seen |= 1 << f; a.has &^= 1 << f }
func (a *acc) known(f field) bool   { return a.has&(1<<f) != 0 }

// set keeps a copy of v, which must be valid UTF-8; a body is only counted.
func (a *acc) set(f field, v []byte) {
	a.seen |= 1 << f
	if f == fNone || f >= nFields {
		return
	}
	if f == fBody {
		a.body, a.toll = segmentsBoth(v)
		a.has |= 1 << f
		return
	}
	if len(a.buf)+len(v) > maxStored {
		a.tooBig = true
		return
	}
	off := len(a.buf)
	a.buf = append(a.buf, v...)
	a.at[f].off, a.at[f].end = int32(off), int32(len(a.buf))
	a.has |= 1 << f
}

func (a *acc) get(f field) []byte {
	if !a.known(f) {
		return nil
	}
	return a.buf[a.at[f].off:a.at[f].end]
}

// decoder is what all forms share: input, counts and the outgoing resource.
type decoder struct {
	in     input
	emit   func(*Resource) error
	stats  Stats
	res    Resource
	intern map[string]string
	times  [fEnded - fCreated + 1]readTime
	spare  *jsonDecoder // whose buffers are used again
	damage *wire.Error  // the first
	stop   error        // from emit
}

func (d *decoder) damaged(proto string, off int64, msg string) {
	d.stats.Damaged++
	if d.damage == nil {
		d.damage = &wire.Error{Proto: proto, Off: off, Msg: msg}
	}
}

// finish sorts the counts and picks the error to return.
func (d *decoder) finish() (Stats, error) {
	d.stats.Bytes = d.in.off()
	for _, l := range [][]Refused{d.stats.Refused, d.stats.Fields} {
		slices.SortFunc(l, func(x, y Refused) int { return cmp.Compare(x.Reason, y.Reason) })
	}
	switch {
	case d.stop != nil:
		return d.stats, d.stop
	case d.in.err != nil:
		return d.stats, d.in.err
	case d.damage != nil:
		return d.stats, d.damage
	}
	return d.stats, nil
}

func count(l []Refused, reason string, n int64) []Refused {
	for i := range l {
		if l[i].Reason == reason {
			l[i].Count++
			l[i].Bytes += n
			return l
		}
	}
	return append(l, Refused{Reason: reason, Count: 1, Bytes: n})
}

func (d *decoder) refuse(reason string, n int64) {
	d.stats.Records++
	d.stats.Refused = count(d.stats.Refused, reason, n)
}

func (d *decoder) doubt(reason string, n int) {
	d.stats.Fields = count(d.stats.Fields, reason, int64(n))
}

// str copies a value. What repeats from record to record (accounts, states,
// senders) is kept once; the table is bounded in entries and in their length.
func (d *decoder) str(a *acc, f field, repeats bool) string {
	b := a.get(f)
	if len(b) == 0 {
		return ""
	}
	if !repeats || len(b) > 128 {
		return string(b)
	}
	if s, ok := d.intern[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.intern) < 1024 {
		d.intern[s] = s
	}
	return s
}

func (d *decoder) time(a *acc, f field) int64 {
	b := a.get(f)
	if len(b) == 0 {
		return 0
	}
	t := &d.times[f-fCreated]
	if !bytes.Equal(b, t.text) {
		ns, res, ok := parseTime(b, false)
		if !ok {
			d.doubt("date not understood", len(b))
			return 0
		}
		*t = readTime{append(t.text[:0], b...), ns, res}
	}
	d.res.ResolutionNS = min(d.res.ResolutionNS, t.resolution)
	return t.ns
}

// readTime is a time as it was read last: many that are queued at once have the
// same second.
type readTime struct {
	text           []byte
	ns, resolution int64
}

func (d *decoder) int(a *acc, f field) (int64, bool) {
	b := bytes.TrimSpace(a.get(f))
	if len(b) == 0 {
		return 0, false
	}
	n, ok := parseInt(b)
	if !ok {
		d.doubt("number not understood", len(b))
	}
	return n, ok
}

// parseInt reads a count: decimal digits, at most 18, and perhaps ".000".
func parseInt(b []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if i == 18 {
			return 0, false
		}
		n = n*10 + int64(b[i]-'0')
	}
	if i == 0 {
		return 0, false
	}
	if rest := b[i:]; len(rest) > 0 && (rest[0] != '.' || len(rest) == 1 || len(bytes.Trim(rest[1:], "0")) > 0) {
		return 0, false
	}
	return n, true
}

// sidKind tells the kind that a sid's prefix names. A sid is two capitals and
// 32 hexadecimal digits; documentation writes X for them, of any number.
func sidKind(sid []byte) (kind Kind, prefix string, ok bool) {
	if len(sid) < 4 || sid[0] < 'A' || sid[0] > 'Z' || sid[1] < 'A' || sid[1] > 'Z' {
		return KindUnknown, "", false
	}
	all := sidHex | sidX
	for _, c := range sid[2:] {
		all &= sidDigit[c]
	}
	if all == 0 || all == sidHex && len(sid) != 34 || len(sid) > 64 {
		return KindUnknown, "", false
	}
	switch string(sid[:2]) {
	case "SM", "MM":
		return Message, "", true
	case "CA":
		return Call, "", true
	}
	return KindUnknown, string(sid[:2]), true
}

const sidHex, sidX uint8 = 1, 2

// sidDigit tells what each byte may be in a sid.
var sidDigit = [256]uint8{
	'0': sidHex, '1': sidHex, '2': sidHex, '3': sidHex, '4': sidHex, '5': sidHex, '6': sidHex, '7': sidHex, '8': sidHex, '9': sidHex,
	'a': sidHex, 'b': sidHex, 'c': sidHex, 'd': sidHex, 'e': sidHex, 'f': sidHex,
	'A': sidHex, 'B': sidHex, 'C': sidHex, 'D': sidHex, 'E': sidHex, 'F': sidHex,
	'x': sidX, 'X': sidX,
}

// record emits the gathered object, or refuses it when its sid is not one of a
// message or call. n is the object's length in bytes.
func (d *decoder) record(a *acc, n int64) {
	if n > maxResource || a.tooBig {
		d.refuse("resource too large", n)
		return
	}
	kind, prefix, ok := sidKind(a.get(fSID))
	switch {
	case !ok:
		d.refuse("sid not understood", n)
		return
	case kind == KindUnknown:
		d.refuse("resource of another kind ("+prefix+")", n)
		return
	}
	d.stats.Records++
	d.stats.Used++
	r := &d.res
	*r = Resource{
		Kind: kind, Record: d.stats.Records, Offset: a.start, ResolutionNS: 1e9,
		SID:                 d.str(a, fSID, false),
		AccountSID:          d.str(a, fAccount, true),
		ParentCallSID:       d.str(a, fParent, false),
		MessagingServiceSID: d.str(a, fService, true),
		Status:              d.str(a, fStatus, true),
		Direction:           d.str(a, fDirection, true),
		From:                d.str(a, fFrom, true),
		To:                  d.str(a, fTo, false),
		AnsweredBy:          d.str(a, fAnswered, true),
		PhoneNumberSID:      d.str(a, fNumber, true),
		ErrorMessage:        d.str(a, fErrorMessage, true),
	}
	r.Created = d.time(a, fCreated)
	r.Updated = d.time(a, fUpdated)
	r.Sent = d.time(a, fSent)
	r.Started = d.time(a, fStarted)
	r.Ended = d.time(a, fEnded)
	r.Segments, _ = d.int(a, fSegments)
	r.NumMedia, _ = d.int(a, fMedia)
	r.ErrorCode, _ = d.int(a, fErrorCode)
	r.QueueTimeMS, r.QueueTimeKnown = d.int(a, fQueueTime)
	if b := a.get(fDuration); len(b) > 0 {
		v, err := strconv.ParseFloat(string(b), 64)
		if err != nil || !(v >= 0 && v < 1e12) { // ParseFloat reads "NaN" too
			d.doubt("number not understood", len(b))
		} else {
			r.DurationS, r.DurationKnown = v, true
		}
	}
	if a.known(fBody) {
		r.Body, r.SegmentsToll = a.body, a.toll
	}
	if err := d.emit(r); err != nil {
		d.stop = err
	}
}

// appendValid appends b to dst with each byte that is not part of valid UTF-8
// replaced by U+FFFD, as encoding/json does.
func appendValid(dst, b []byte) []byte {
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			dst = append(dst, b[0])
			b = b[1:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		dst = utf8.AppendRune(dst, r)
		b = b[n:]
	}
	return dst
}
