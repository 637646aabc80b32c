package table

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Format is a written form of a table.
type Format string

const (
	FormatTable   Format = "table"
	FormatCSV     Format = "csv"
	FormatJSON    Format = "json"
	FormatNDJSON  Format = "ndjson"
	FormatArrow   Format = "arrow"
	FormatParquet Format = "parquet"
)

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatTable, FormatCSV, FormatJSON, FormatNDJSON, FormatArrow, FormatParquet:
		return f, nil
	}
	return "", fmt.Errorf("no format %q: wanted table, csv, json, ndjson, arrow or parquet", s)
}

// Write writes the rows and columns of a table that v asks for. What v says of
// FormatTable only is without effect on other formats: these hold data only.
func Write(w io.Writer, d *Dataset, table string, f Format, v View) error {
	sp, err := mustFind(table)
	if err != nil {
		return err
	}
	s, err := pick(d, sp, v)
	if err != nil {
		return err
	}
	switch f {
	case FormatArrow:
		return writeArrow(w, s, v.Stream)
	case FormatParquet:
		return writeParquet(w, s)
	}
	b := newText(w)
	switch f {
	case FormatCSV:
		b.csv(s, !v.Bare)
	case FormatJSON:
		b.json(s)
	case FormatNDJSON:
		b.ndjson(s)
	case FormatTable:
		b.table(s, v)
	default:
		return fmt.Errorf("no format %q", f)
	}
	return b.flush()
}

// text collects output and keeps the first error of the writer below.
type text struct {
	w    *bufio.Writer
	buf  []byte // what is not handed down yet
	list []byte // scratch for a list in a CSV field
}

func newText(w io.Writer) *text { return &text{w: bufio.NewWriterSize(w, 64<<10)} }

// line hands buf down; bufio keeps the first error until flush.
func (b *text) line() bool {
	_, err := b.w.Write(b.buf)
	b.buf = b.buf[:0]
	return err == nil
}

func (b *text) flush() error {
	b.line()
	return b.w.Flush()
}

func (b *text) text(s string)         { b.buf = append(b.buf, s...) }
func (b *text) quoted(s string)       { b.buf = appendQuoted(b.buf, s) }
func (b *text) quotedList(s []string) { b.buf = appendTexts(b.buf, s) }
func (b *text) quotedOrNull(s string) {
	if s == "" {
		b.text("null")
		return
	}
	b.quoted(s)
}

// appendTime is RFC 3339 with nine digits and Z. The date is found by counting
// days in years that begin in March, 400 of which are 146 097 days (RFC 3339,
// appendix B, goes the other way); int64 reaches from 1677 to 2262.
func appendTime(b []byte, ns int64) []byte {
	seconds, nanos := ns/1e9, ns%1e9
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+1e9
	}
	const epoch = 719_468 // days from 0000-03-01 to 1970-01-01
	day := seconds/86_400 + epoch
	second := seconds % 86_400
	if second < 0 {
		day, second = day-1, second+86_400
	}
	era, d := day/146_097, day%146_097
	y := (d - d/1460 + d/36_524 - d/146_096) / 365
	d -= 365*y + y/4 - y/100
	m := (5*d + 2) / 153 // from March
	d -= (153*m+2)/5 - 1
	if y, m = y+400*era, m+3; m > 12 {
		y, m = y+1, m-12
	}
	b = appendDigits(b, y, 4)
	b = appendDigits(append(b, '-'), m, 2)
	b = appendDigits(append(b, '-'), d, 2)
	b = appendDigits(append(b, 'T'), second/3600, 2)
	b = appendDigits(append(b, ':'), second/60%60, 2)
	b = appendDigits(append(b, ':'), second%60, 2)
	return append(appendDigits(append(b, '.'), nanos, 9), 'Z')
}

// appendDigits is n with so many digits.
func appendDigits(b []byte, n int64, digits int) []byte {
	b = append(b, "000000000"[:digits]...)
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

// appendFloat is the shortest text that reads back as f, written as ECMAScript
// (and so JSON) writes numbers.
func appendFloat(b []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

// appendQuoted is s as a JSON string (RFC 8259, 7). U+2028 and U+2029 are
// escaped too: they end a line in some readers.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c != 0xe2 && c != 0x7f {
			continue
		}
		switch {
		case c == 0xe2:
			if !strings.HasPrefix(s[i:], "\u2028") && !strings.HasPrefix(s[i:], "\u2029") {
				continue
			}
			b = append(append(b, s[from:i]...), `\u202`...)
			b = append(b, '8'+s[i+2]-0xa8)
			i += 2
		case c == '"' || c == '\\':
			b = append(append(b, s[from:i]...), '\\', c)
		case c == '\n':
			b = append(append(b, s[from:i]...), `\n`...)
		case c == '\r':
			b = append(append(b, s[from:i]...), `\r`...)
		case c == '\t':
			b = append(append(b, s[from:i]...), `\t`...)
		default:
			b = append(append(b, s[from:i]...), `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
		from = i + 1
	}
	return append(append(b, s[from:]...), '"')
}

func appendTexts(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, s)
	}
	return append(b, ']')
}

func appendInts(b []byte, list []int64) []byte {
	b = append(b, '[')
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// appendJSON is the cell as a JSON value.
func (c *column) appendJSON(b []byte, v cell) []byte {
	if v.null {
		return append(b, "null"...)
	}
	switch c.kind {
	case kindTime:
		b = append(b, '"')
		b = appendTime(b, v.i)
		return append(b, '"')
	case kindText, kindEnum:
		return appendQuoted(b, v.s)
	case kindFloat:
		return appendFloat(b, v.f)
	case kindBool:
		return strconv.AppendBool(b, v.i != 0)
	case kindTexts:
		return appendTexts(b, v.ss)
	case kindInts:
		return appendInts(b, v.is)
	}
	return strconv.AppendInt(b, v.i, 10)
}

func (b *text) object(s *selection, names [][]byte, i int) {
	row := s.row(i)
	for k, c := range s.cols {
		b.buf = append(b.buf, names[k]...)
		b.buf = c.appendJSON(b.buf, c.cell(row))
	}
	b.buf = append(b.buf, '}')
}

// names are the members' names with the punctuation before and after them.
func (s *selection) names() [][]byte {
	out := make([][]byte, len(s.cols))
	for k, c := range s.cols {
		open := byte(',')
		if k == 0 {
			open = '{'
		}
		out[k] = append(appendQuoted([]byte{open}, c.Name), ':')
	}
	return out
}

// block is how many rows are formatted by one goroutine before the next does.
const block = 1024

// rows writes every row as put appends it to buf. Where there are many, as many
// goroutines as GOMAXPROCS append blocks of them, in turn; they are handed down
// in order, and none is more than two blocks ahead of what was.
func (b *text) rows(s *selection, put func(b *text, s *selection, i int)) {
	workers := runtime.GOMAXPROCS(0)
	if s.n <= 2*block || workers == 1 {
		for i := range s.n {
			if put(b, s, i); !b.line() {
				return
			}
		}
		return
	}
	var g sync.WaitGroup
	defer g.Wait()
	stop := make(chan struct{})
	defer close(stop)
	blocks := make([]chan []byte, workers)
	for k := range blocks {
		blocks[k] = make(chan []byte) // without room: see below
		g.Go(func() {
			own := s.reader()
			// A block that was received is written before the same goroutine's next
			// one is: when that is received, there is room for the one after it.
			var turns [2]text
			for n, from := 0, k*block; from < s.n; n, from = n+1, from+workers*block {
				t := &turns[n%2]
				t.buf = t.buf[:0]
				for i := from; i < min(from+block, s.n); i++ {
					put(t, own, i)
				}
				select {
				case blocks[k] <- t.buf:
				case <-stop:
					return
				}
			}
		})
	}
	b.line() // what stands before the rows
	for n := range (s.n + block - 1) / block {
		if _, err := b.w.Write(<-blocks[n%workers]); err != nil {
			return
		}
	}
}

func (b *text) ndjson(s *selection) {
	names := s.names()
	b.rows(s, func(b *text, s *selection, i int) {
		b.object(s, names, i)
		b.buf = append(b.buf, '\n')
	})
}

func (b *text) json(s *selection) {
	names := s.names()
	b.text("[")
	b.rows(s, func(b *text, s *selection, i int) {
		if i > 0 {
			b.text(",")
		}
		b.text("\n")
		b.object(s, names, i)
	})
	b.text("\n]\n")
}

func (b *text) csv(s *selection, header bool) {
	if header {
		for k, c := range s.cols {
			if k > 0 {
				b.text(",")
			}
			b.text(c.Name)
		}
		b.text("\n")
		b.line()
	}
	b.rows(s, (*text).csvRow)
}

func (b *text) csvRow(s *selection, i int) {
	from := len(b.buf)
	row := s.row(i)
	for k, c := range s.cols {
		if k > 0 {
			b.buf = append(b.buf, ',')
		}
		v := c.cell(row)
		switch {
		case v.null:
		case c.kind == kindText || c.kind == kindEnum:
			b.buf = appendCSV(b.buf, v.s)
		case c.kind == kindTexts:
			b.list = appendTexts(b.list[:0], v.ss)
			b.buf = appendCSV(b.buf, string(b.list))
		case c.kind == kindInts:
			b.list = appendInts(b.list[:0], v.is)
			b.buf = appendCSV(b.buf, string(b.list))
		case c.kind == kindTime:
			b.buf = appendTime(b.buf, v.i)
		default:
			b.buf = c.appendJSON(b.buf, v)
		}
	}
	// A record of one empty field would be an empty line, which readers skip.
	if len(s.cols) == 1 && len(b.buf) == from {
		b.text(`""`)
	}
	b.text("\n")
}

func (b *text) csvRecord(fields []string) {
	for i, f := range fields {
		if i > 0 {
			b.text(",")
		}
		b.buf = appendCSV(b.buf, f)
	}
	b.text("\n")
}

// appendCSV is s as a CSV field (RFC 4180, 2). Text that a spreadsheet would
// take for a formula gets a ' before it.
func appendCSV(b []byte, s string) []byte {
	if s == "" {
		return b
	}
	guard := formula(s)
	if !guard && s[0] != ' ' && s[0] != '\t' && !quotes(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	if guard {
		b = append(b, '\'')
	}
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			return append(append(b, s...), '"')
		}
		b = append(append(b, s[:i+1]...), '"')
		s = s[i+1:]
	}
}

// formula tells text that a spreadsheet would take for one; s is not "".
func formula(s string) bool { return strings.IndexByte("=+-@\t", s[0]) >= 0 && !isNumber(s) }

// ReadCSV is s as who reads the CSV that is written here gets it: with a '
// before what a spreadsheet would take for a formula.
func ReadCSV(s string) string {
	if s != "" && formula(s) {
		return "'" + s
	}
	return s
}

// quotes tells whether s must stand in quotes. A long text is searched for each
// of the four at once many bytes a step.
func quotes(s string) bool {
	if len(s) > 64 {
		return strings.IndexByte(s, ',') >= 0 || strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '"') >= 0 || strings.IndexByte(s, '\r') >= 0
	}
	for i := range len(s) {
		switch s[i] {
		case '"', ',', '\r', '\n':
			return true
		}
	}
	return false
}

// isNumber tells whether s is a decimal number and nothing else, as
// +15550100 is and -1+cmd is not.
func isNumber(s string) bool {
	s = strings.TrimLeft(s[:min(1, len(s))], "+-") + s[min(1, len(s)):]
	digits := func() int {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n
	}
	n := digits()
	if strings.HasPrefix(s, ".") {
		s = s[1:]
		n += digits()
	}
	if n == 0 {
		return false
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return s == ""
}

// Visible is s as a terminal may have it: appendVisible.
func Visible(s string) string { return string(appendVisible(nil, s)) }

// appendVisible is s for a terminal: control, format and bidirectional
// characters and line ends are written as \u{..}, so that nothing in a capture
// can move the cursor or turn text around.
func appendVisible(b []byte, s string) []byte {
	for _, r := range s {
		if hidden(r) {
			b = append(b, `\u{`...)
			b = strconv.AppendInt(b, int64(r), 16)
			b = append(b, '}')
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

func hidden(r rune) bool {
	if r >= 0x20 && r < 0x7f {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) || r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0
}

// cells is the number of terminal cells that r takes: 0 for what combines, 2
// for the wide blocks of UAX #11.
func cells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf && r != 0x303f, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x1f300 && r <= 0x1f64f, r >= 0x1f900 && r <= 0x1f9ff, r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

func textCells(b []byte) int {
	n := 0
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		n += cells(r)
		b = b[size:]
	}
	return n
}

// cut is b in at most width cells, with … in the place of what is left out.
func cut(b []byte, width int) []byte {
	if textCells(b) <= width {
		return b
	}
	n, i := 0, 0
	for i < len(b) {
		r, size := utf8.DecodeRune(b[i:])
		if n+cells(r) > width-1 {
			break
		}
		n += cells(r)
		i += size
	}
	return append(b[:i], "…"...)
}

// shown is a column of a printed table.
type shown struct {
	col    *column
	digits int // of a time's fraction: as many as one of its values needs
	width  int
	filled bool // any value is not null
}

// appendShown is the cell as a person reads it.
func (c *shown) appendShown(b []byte, v cell, zone *time.Location) []byte {
	if v.null {
		return b
	}
	switch c.col.kind {
	case kindTime:
		layout := "2006-01-02T15:04:05.000000000"[:19]
		if c.digits > 0 {
			layout = "2006-01-02T15:04:05.000000000"[:20+c.digits]
		}
		b = time.Unix(0, v.i).In(zone).AppendFormat(b, layout)
		return time.Unix(0, v.i).In(zone).AppendFormat(b, "Z07:00")
	case kindText, kindEnum:
		return appendVisible(b, v.s)
	case kindFloat:
		from := len(b)
		b = appendFloat(b, v.f)
		if len(b)-from <= 9 {
			return b
		}
		b = b[:from]
		if a := math.Abs(v.f); a >= 0.01 && a < 1e15 {
			return strconv.AppendFloat(b, v.f, 'f', 3, 64)
		}
		return strconv.AppendFloat(b, v.f, 'g', 4, 64)
	case kindTexts:
		for i, s := range v.ss {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendVisible(b, s)
		}
		return b
	case kindInts:
		for i, n := range v.is {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = strconv.AppendInt(b, n, 10)
		}
		return b
	}
	return c.col.appendJSON(b, v)
}

// soft columns may be shortened; a number or a time may not, it would lie.
func (c *shown) soft() bool {
	return c.col.kind == kindText || c.col.kind.list()
}

const (
	gap     = 2  // cells between columns
	minSoft = 12 // a text column is not made narrower than this
)

func (b *text) table(s *selection, v View) {
	zone := v.Zone
	if zone == nil {
		zone = time.UTC
	}
	cols := make([]shown, len(s.cols))
	for k, c := range s.cols {
		cols[k] = shown{col: c, width: len(c.Name)}
	}
	for i := range s.n {
		row := s.row(i)
		for k := range cols {
			if cols[k].col.kind == kindTime {
				if v := cols[k].col.cell(row); !v.null {
					cols[k].digits = max(cols[k].digits, fraction(v.i))
				}
			}
		}
	}
	var tmp []byte
	for i := range s.n {
		row := s.row(i)
		for k := range cols {
			c := &cols[k]
			v := c.col.cell(row)
			tmp = c.appendShown(tmp[:0], v, zone)
			c.filled = c.filled || len(tmp) > 0
			if n := textCells(tmp); n > c.width {
				c.width = n
			}
		}
	}
	var left []string
	if v.Width > 0 {
		all := slices.Clone(cols)
		cols, _ = fit(cols, s, v)
		for _, c := range all {
			if !slices.ContainsFunc(cols, func(x shown) bool { return x.col == c.col }) {
				left = append(left, c.col.Name)
			}
		}
	}
	if v.Color {
		b.text("\x1b[1m")
	}
	for k := range cols {
		b.pad(&cols[k], []byte(cols[k].col.Name), k, len(cols))
	}
	if v.Color {
		b.text("\x1b[0m")
	}
	b.text("\n")
	for i := range s.n {
		row := s.row(i)
		for k := range cols {
			cell := cols[k].col.cell(row)
			tmp = cols[k].appendShown(tmp[:0], cell, zone)
			paint := ""
			if v.Color && cols[k].col.kind == kindEnum {
				paint = colors[cell.s]
			}
			b.pad(&cols[k], tmp, k, len(cols))
			if paint != "" && len(tmp) > 0 { // blanks around it stay as they are
				at := bytes.LastIndex(b.buf, tmp)
				b.buf = slices.Insert(slices.Insert(b.buf, at+len(tmp), []byte("\x1b[0m")...), at, []byte(paint)...)
			}
		}
		for len(b.buf) > 0 && b.buf[len(b.buf)-1] == ' ' {
			b.buf = b.buf[:len(b.buf)-1]
		}
		b.text("\n")
		if !b.line() {
			return
		}
	}
	b.hidden(left, v.Width)
	if v.Summary {
		switch {
		case s.n != s.total:
			b.text(fmt.Sprintf("%d of %d rows\n", s.n, s.total))
		case s.n == 1:
			b.text("1 row\n")
		default:
			b.text(fmt.Sprintf("%d rows\n", s.n))
		}
	}
}

// colors are of the words of enums that say how something went.
var colors = map[string]string{
	"answered": "\x1b[32m", "meets": "\x1b[32m", "exceeds": "\x1b[32m",
	"below": "\x1b[31m", "failed": "\x1b[31m", "error": "\x1b[31m",
	"busy": "\x1b[33m", "rejected": "\x1b[33m", "no-answer": "\x1b[33m", "undetermined": "\x1b[33m", "warn": "\x1b[33m",
	"no-key": "\x1b[33m", "wrong-key": "\x1b[31m",
}

// hidden names the columns that have no room, in lines of the terminal's width.
func (b *text) hidden(names []string, width int) {
	if len(names) == 0 {
		return
	}
	line := "not shown:"
	put := func(word string) {
		if len(line)+1+len(word) > width && line != "" {
			b.text(line + "\n")
			line = " "
		}
		line += " " + word
	}
	for i, n := range names {
		if i < len(names)-1 {
			n += ","
		}
		put(n)
	}
	put("(--columns")
	put("chooses)")
	b.text(line + "\n")
}

// pad writes a cell in its column's width: numbers to the right, all else to
// the left, no blanks after the last column.
func (b *text) pad(c *shown, content []byte, k, of int) {
	content = cut(content, c.width)
	blank := c.width - textCells(content)
	if k > 0 {
		b.text("  ")
	}
	if c.col.kind.number() {
		b.buf = append(b.buf, strings.Repeat(" ", blank)...)
		b.buf = append(b.buf, content...)
		return
	}
	b.buf = append(b.buf, content...)
	if k < of-1 {
		b.buf = append(b.buf, strings.Repeat(" ", blank)...)
	}
}

// fraction is the number of digits, by threes, that ns needs after the point.
func fraction(ns int64) int {
	switch {
	case ns%1e9 == 0:
		return 0
	case ns%1e6 == 0:
		return 3
	case ns%1e3 == 0:
		return 6
	}
	return 9
}

// experiments tells whether the rows are of more than one experiment.
func (s *selection) experiments() bool {
	c := &s.spec.cols[0]
	first := ""
	for i := range s.n {
		if name := c.cell(s.row(i)).s; i == 0 {
			first = name
		} else if name != first {
			return true
		}
	}
	return false
}

// fit chooses columns and widths for a terminal. When not all columns fit at
// their least width, empty ones and then the less telling ones go; then the
// widest text columns are shortened until the rest fits. Columns asked for by
// name all stay.
func fit(cols []shown, s *selection, v View) ([]shown, int) {
	least := func(c *shown) int {
		if c.soft() {
			return min(c.width, max(minSoft, len(c.col.Name)))
		}
		return c.width
	}
	total := func(cols []shown, width func(*shown) int) int {
		n := gap * (len(cols) - 1)
		for k := range cols {
			n += width(&cols[k])
		}
		return n
	}
	dropped := 0
	if len(v.Columns) == 0 && total(cols, least) > v.Width {
		rank := strings.Fields(tableDocs[s.spec.field].narrow)
		if s.experiments() {
			rank = append([]string{"experiment"}, rank...)
		}
		place := func(c *shown) int {
			p := slices.Index(rank, c.col.Name)
			if p < 0 {
				p = len(rank)
			}
			if s.n > 0 && !c.filled {
				p += len(rank) + 1
			}
			return p
		}
		order := make([]int, len(cols))
		for k := range order {
			order[k] = k
		}
		slices.SortStableFunc(order, func(a, b int) int { return place(&cols[a]) - place(&cols[b]) })
		used := -gap
		keep := make([]bool, len(cols))
		for n, k := range order {
			w := gap + least(&cols[k])
			if n > 0 && used+w > v.Width {
				break
			}
			keep[k] = true
			used += w
		}
		var out []shown
		for k := range cols {
			if keep[k] {
				out = append(out, cols[k])
			}
		}
		dropped = len(cols) - len(out)
		cols = out
	}
	for {
		over := total(cols, func(c *shown) int { return c.width }) - v.Width
		if over <= 0 {
			return cols, dropped
		}
		// The widest soft column goes down to the next widest, or as far as needed.
		widest, next := -1, 0
		for k := range cols {
			c := &cols[k]
			if !c.soft() || c.width <= least(c) {
				continue
			}
			switch {
			case widest < 0 || c.width > cols[widest].width:
				if widest >= 0 {
					next = max(next, cols[widest].width)
				}
				widest = k
			case c.width < cols[widest].width:
				next = max(next, c.width)
			default:
				next = max(next, c.width-1)
			}
		}
		if widest < 0 {
			return cols, dropped
		}
		c := &cols[widest]
		c.width = max(least(c), min(c.width-1, max(next, c.width-over)))
	}
}

// aligned prints rows of text in columns.
func (b *text) aligned(rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for k, f := range r {
			width[k] = max(width[k], utf8.RuneCountInString(f))
		}
	}
	for _, r := range rows {
		from := len(b.buf)
		for k, f := range r {
			b.text(f)
			if k < len(r)-1 {
				b.text(strings.Repeat(" ", gap+width[k]-utf8.RuneCountInString(f)))
			}
		}
		b.buf = append(b.buf[:from], strings.TrimRight(string(b.buf[from:]), " ")...)
		b.text("\n")
	}
}
