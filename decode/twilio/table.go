package twilio

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// rows reads the records of a CSV or tab-separated file. Where quotes is set,
// a field in double quotes may hold the delimiter, line ends and doubled quotes
// (RFC 4180); a quote elsewhere stands for itself.
type rows struct {
	in     *input
	delim  int // -1: the whole line is one field
	quotes bool

	start int64 // byte offset of the record
	buf   []byte
	ends  []int
}

type rowState uint8

const (
	rowEnd     rowState = iota // no more records
	rowGood                    // a record with at least one character
	rowTooLong                 // skipped to its line's end
	rowQuote                   // damage: text after a closing quote; skipped likewise
	rowOpen                    // damage: the input ends within quotes
)

func (r *rows) field(i int) []byte {
	from := 0
	if i > 0 {
		from = r.ends[i-1]
	}
	return r.buf[from:r.ends[i]]
}

// next reads the next record that is not an empty line. After rowQuote the
// input stands at the byte in question and skipLine must be called.
func (r *rows) next() rowState {
	const (
		fieldStart = iota
		unquoted
		quoted
		afterQuote
	)
	in := r.in
	r.buf, r.ends, r.start = r.buf[:0], r.ends[:0], in.off()
	state := fieldStart
	wasQuoted := false
	for in.more() {
		c := in.buf[in.pos]
		switch {
		case state == quoted:
			if c == '"' {
				state = afterQuote
				break
			}
			w := in.buf[in.pos:]
			if n := bytes.IndexByte(w, '"'); n >= 0 {
				w = w[:n]
			}
			r.buf = append(r.buf, w...)
			in.pos += len(w) - 1
		case c == '"' && state == afterQuote:
			r.buf = append(r.buf, c)
			state = quoted
		case c == '"' && state == fieldStart && r.quotes:
			state = quoted
			wasQuoted = true
		case int(c) == r.delim:
			r.ends = append(r.ends, len(r.buf))
			state = fieldStart
		case c == '\n':
			in.pos++
			from := 0
			if len(r.ends) > 0 {
				from = r.ends[len(r.ends)-1]
			}
			if state != afterQuote && len(r.buf) > from && r.buf[len(r.buf)-1] == '\r' {
				r.buf = r.buf[:len(r.buf)-1]
			}
			if len(r.ends) == 0 && len(r.buf) == 0 && !wasQuoted {
				r.start = in.off()
				state = fieldStart
				continue
			}
			r.ends = append(r.ends, len(r.buf))
			return rowGood
		case state == afterQuote:
			if c != '\r' {
				return rowQuote
			}
		default:
			w := in.buf[in.pos:]
			n := 1
			for n < len(w) && w[n] != '\n' && int(w[n]) != r.delim {
				n++
			}
			r.buf = append(r.buf, w[:n]...)
			in.pos += n - 1
			state = unquoted
		}
		in.pos++
		if in.off()-r.start > maxRow {
			r.skipLine()
			return rowTooLong
		}
	}
	switch {
	case state == quoted:
		return rowOpen
	case len(r.ends) == 0 && len(r.buf) == 0 && !wasQuoted:
		return rowEnd
	}
	r.ends = append(r.ends, len(r.buf))
	return rowGood
}

func (r *rows) skipLine() {
	for r.in.more() {
		w := r.in.buf[r.in.pos:]
		if i := bytes.IndexByte(w, '\n'); i >= 0 {
			r.in.pos += i + 1
			return
		}
		r.in.pos = len(r.in.buf)
	}
}

// bad counts a record that next did not read, and names damage.
func (d *decoder) bad(r *rows, s rowState) {
	switch s {
	case rowTooLong:
		d.refuse("row too long", d.in.off()-r.start)
	case rowQuote:
		d.damaged("csv", d.in.off(), fmt.Sprintf("want a delimiter after a closing quote, found %q", d.in.buf[d.in.pos]))
		from := d.in.off()
		r.skipLine()
		d.stats.PassedOver += d.in.off() - from
		d.refuse("cut by damage", d.in.off()-r.start)
	case rowOpen:
		d.damaged("csv", d.in.off(), fmt.Sprintf("want a closing quote for the row that begins at byte %d, found the end of the input", r.start))
		d.refuse("cut by damage", d.in.off()-r.start)
	}
}

// tableForm tells a table by its header line: "csv", "cli tsv", "cli columns",
// "queue log" or "", and the delimiter (-1 for columns).
func tableForm(head []byte) (form string, delim int) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	if len(line) > maxRow || !utf8.Valid(line) {
		return "", 0
	}
	for _, c := range []byte{'\t', ',', ';'} {
		if bytes.IndexByte(line, c) < 0 {
			continue
		}
		in := input{r: bytes.NewReader(nil), buf: line, done: true}
		r := rows{in: &in, delim: int(c), quotes: true}
		if r.next() != rowGood {
			continue
		}
		var names [][]byte
		for i := range r.ends {
			names = append(names, r.field(i))
		}
		switch cols := columns(names); {
		case queueColumns(names).ok():
			return "queue log", int(c)
		case slices.Contains(cols, fSID) && c == '\t':
			return "cli tsv", '\t'
		case slices.Contains(cols, fSID) && len(names) > 1 && known(cols) > 1:
			return "csv", int(c)
		}
	}
	if names, _ := splitColumns(line); len(names) > 1 {
		if cols := columns(names); slices.Contains(cols, fSID) && known(cols) > 1 {
			return "cli columns", -1
		}
	}
	return "", 0
}

func known(cols []field) int {
	n := 0
	for _, f := range cols {
		if f != fNone {
			n++
		}
	}
	return n
}

// columns maps the names of a header; of two columns for one field the first
// counts.
func columns(names [][]byte) []field {
	cols := make([]field, len(names))
	var taken uint64
	for i, n := range names {
		if f := columnField(n); f != fNone && taken&(1<<f) == 0 {
			taken |= 1 << f
			cols[i] = f
		}
	}
	return cols
}

// columnField knows the spellings of headings: case, spaces, underscores and
// hyphens do not matter.
func columnField(name []byte) field {
	if len(name) > 64 {
		return fNone
	}
	switch plainName(name) {
	case "sid", "messagesid", "smssid", "smsmessagesid", "callsid":
		return fSID
	case "accountsid":
		return fAccount
	case "parentcallsid":
		return fParent
	case "messagingservicesid":
		return fService
	case "status", "messagestatus", "callstatus":
		return fStatus
	case "direction":
		return fDirection
	case "from":
		return fFrom
	case "to":
		return fTo
	case "answeredby":
		return fAnswered
	case "phonenumbersid":
		return fNumber
	case "datecreated", "createddate", "created", "createdat":
		return fCreated
	case "dateupdated", "updateddate", "updated", "updatedat":
		return fUpdated
	case "datesent", "sentdate", "sent", "senttime":
		return fSent
	case "starttime", "started":
		return fStarted
	case "endtime", "ended":
		return fEnded
	case "numsegments", "segments", "numberofsegments":
		return fSegments
	case "nummedia":
		return fMedia
	case "errorcode":
		return fErrorCode
	case "errormessage":
		return fErrorMessage
	case "duration", "callduration":
		return fDuration
	case "queuetime":
		return fQueueTime
	case "body", "messagebody":
		return fBody
	}
	return fNone
}

func plainName(name []byte) string {
	var b [64]byte
	n := 0
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != ' ' && c != '_' && c != '-' && n < len(b) {
			b[n] = c
			n++
		}
	}
	return string(b[:n])
}

// splitColumns cuts a line of twilio-cli's column output at runs of two or more
// spaces and gives also the rune index at which each column begins.
func splitColumns(line []byte) (cells [][]byte, starts []int) {
	line = bytes.TrimRight(line, " \r")
	col := 0
	for len(line) > 0 {
		cut := bytes.Index(line, []byte("  "))
		if cut < 0 {
			cut = len(line)
		}
		rest := bytes.TrimLeft(line[cut:], " ")
		cells = append(cells, line[:cut])
		starts = append(starts, col)
		col += utf8.RuneCount(line[:len(line)-len(rest)])
		line = rest
	}
	return cells, starts
}

// cutColumns cuts a line where the header's columns begin, for cells that are
// empty or hold two spaces themselves; nil when a column does not end in
// spaces there.
func cutColumns(line []byte, starts []int) [][]byte {
	var cells [][]byte
	line = bytes.TrimRight(line, "\r")
	col, from, k := 0, 0, 1
	for i := range string(line) {
		if k < len(starts) && col == starts[k] {
			if i < 2 || line[i-1] != ' ' || line[i-2] != ' ' {
				return nil
			}
			cells = append(cells, bytes.TrimRight(line[from:i], " "))
			from = i
			k++
		}
		col++
	}
	cells = append(cells, bytes.TrimRight(line[from:], " "))
	for len(cells) < len(starts) {
		cells = append(cells, nil)
	}
	return cells
}

// table reads CSV and the tables of twilio-cli.
func (d *decoder) table(form string) {
	head := bytes.TrimLeft(d.in.buf[d.in.pos:], " \t\r\n")
	d.in.pos = len(d.in.buf) - len(head)
	_, delim := tableForm(head)
	r := &rows{in: &d.in, delim: delim, quotes: form == "csv"}
	r.next() // Sniff has read the header already

	var names [][]byte
	var starts []int
	if form == "cli columns" {
		names, starts = splitColumns(bytes.Clone(r.buf))
	} else {
		for i := range r.ends {
			names = append(names, bytes.Clone(r.field(i)))
		}
	}
	cols := columns(names)
	d.stats.Form = form
	if form == "csv" {
		d.stats.Form = "console csv"
		for i, f := range cols { // the REST names, as getcdrs writes them
			if f != fNone && bytes.IndexByte(names[i], '_') > 0 && bytes.Equal(names[i], bytes.ToLower(names[i])) {
				d.stats.Form = "getcdrs csv"
			}
		}
	}

	a := new(acc)
	var scratch []byte
	for d.stop == nil {
		s := r.next()
		if s == rowEnd {
			return
		}
		if s != rowGood {
			d.bad(r, s)
			continue
		}
		n := d.in.off() - r.start
		cells := len(r.ends)
		var cut [][]byte
		if form == "cli columns" {
			if cut, _ = splitColumns(r.buf); len(cut) != len(cols) {
				cut = cutColumns(r.buf, starts)
			}
			cells = len(cut)
		}
		if cells != len(cols) {
			d.refuse("row with another number of columns", n)
			continue
		}
		a.reset(r.start, d.stats.Records)
		for i, f := range cols {
			if f == fNone {
				continue
			}
			var v []byte
			if cut != nil {
				v = cut[i]
			} else {
				v = r.field(i)
			}
			if !utf8.Valid(v) {
				scratch = appendValid(scratch[:0], v)
				v = scratch
			}
			if f == fBody {
				// twilio-cli writes null as text.
				if form == "csv" || string(v) != "null" {
					a.set(f, v)
				}
				continue
			}
			v = bytes.TrimSpace(v)
			if len(v) == 0 || string(v) == "null" || string(v) == "None" { // None: Python
				continue
			}
			if form == "csv" && (f == fDirection || f == fStatus) {
				scratch = consoleWord(scratch[:0], v, f)
				v = scratch
			}
			a.set(f, v)
		}
		if !a.known(fSID) {
			d.refuse("no sid", n)
			continue
		}
		d.record(a, n)
	}
}

// consoleWord turns what the Console shows ("Outgoing API", "No Answer") into
// the word of the REST resource.
func consoleWord(dst, v []byte, f field) []byte {
	v = bytes.ToLower(v)
	if f == fDirection {
		switch {
		case bytes.HasPrefix(v, []byte("incoming")):
			v = append([]byte("inbound"), v[len("incoming"):]...)
		case bytes.HasPrefix(v, []byte("outgoing")):
			v = append([]byte("outbound"), v[len("outgoing"):]...)
		}
	}
	for _, c := range v {
		if c == ' ' {
			c = '-'
		}
		dst = append(dst, c)
	}
	return dst
}

// Queued is one row of a queue log: an item that the measurement client handed
// to the provider. Its strings are copies.
type Queued struct {
	At     int64 // nanoseconds since 1970 UTC, by the client's clock
	Kind   Kind
	To     string
	SID    string
	Status string
	Record int64 // 1-based row after the header
}

type queueCols struct{ time, kind, to, sid, status int }

func (q queueCols) ok() bool { return q.time >= 0 && q.kind >= 0 && q.to >= 0 }

func queueColumns(names [][]byte) queueCols {
	q := queueCols{-1, -1, -1, -1, -1}
	for i, n := range names {
		if len(n) > 64 {
			continue
		}
		var at *int
		switch plainName(bytes.TrimSpace(n)) {
		case "time":
			at = &q.time
		case "kind":
			at = &q.kind
		case "to":
			at = &q.to
		case "sid":
			at = &q.sid
		case "status":
			at = &q.status
		}
		if at != nil && *at < 0 {
			*at = i
		}
	}
	return q
}

// DecodeQueueLog reads the client's own queue log: CSV with the header
// time,kind,to[,sid][,status] in any order, other columns are passed over. The
// time is RFC 3339 or decimal seconds since 1970, the kind call, message or
// sms, also in the plural. Errors are as of Decode.
func DecodeQueueLog(r io.Reader, emit func(*Queued) error) (Stats, error) {
	d := &decoder{in: newInput(r, make([]byte, windowBytes)), intern: map[string]string{}}
	head := bytes.TrimLeft(d.in.buf[d.in.pos:], " \t\r\n")
	d.in.pos = len(d.in.buf) - len(head)
	form, delim := tableForm(head)
	if form != "queue log" {
		d.damaged("queue-log", d.in.off(), "want a header with time, kind and to, found "+describe(form, head))
		d.stats.PassedOver = int64(len(head))
		d.in.pos = len(d.in.buf)
		return d.finish()
	}
	d.stats.Form = form
	t := &rows{in: &d.in, delim: delim, quotes: true}
	t.next()
	var names [][]byte
	for i := range t.ends {
		names = append(names, t.field(i))
	}
	cols := queueColumns(names)
	width := len(names)

	var q Queued
	for record := int64(1); d.stop == nil; record++ {
		s := t.next()
		if s == rowEnd {
			break
		}
		if s != rowGood {
			d.bad(t, s)
			continue
		}
		n := d.in.off() - t.start
		// A row that ends early lacks optional columns only.
		if len(t.ends) > width || len(t.ends) <= max(cols.time, cols.kind, cols.to) {
			d.refuse("row with another number of columns", n)
			continue
		}
		at, ok := queueTime(bytes.TrimSpace(t.field(cols.time)))
		if !ok {
			d.refuse("time not understood", n)
			continue
		}
		kind := queueKind(bytes.TrimSpace(t.field(cols.kind)))
		if kind == KindUnknown {
			d.refuse("kind not understood", n)
			continue
		}
		text := func(i int) string {
			if i < 0 || i >= len(t.ends) {
				return ""
			}
			return string(bytes.ToValidUTF8(bytes.TrimSpace(t.field(i)), []byte("\ufffd")))
		}
		q = Queued{At: at, Kind: kind, To: text(cols.to), SID: text(cols.sid), Status: text(cols.status), Record: record}
		d.stats.Records++
		d.stats.Used++
		if err := emit(&q); err != nil {
			d.stop = err
		}
	}
	return d.finish()
}

func queueTime(b []byte) (int64, bool) {
	if ns, ok := parseEpoch(b); ok {
		return ns, ns != 0
	}
	// Of the spellings that parseTime knows only RFC 3339 begins with a year.
	if len(b) < 5 || b[4] != '-' {
		return 0, false
	}
	ns, _, ok := parseTime(b, true)
	return ns, ok && ns != 0
}

func queueKind(b []byte) Kind {
	switch {
	case bytes.EqualFold(b, []byte("call")), bytes.EqualFold(b, []byte("calls")):
		return Call
	case bytes.EqualFold(b, []byte("message")), bytes.EqualFold(b, []byte("messages")), bytes.EqualFold(b, []byte("sms")):
		return Message
	}
	return KindUnknown
}
