package table

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// View says which rows and columns Write writes, and how text looks.
// The zero View is all of them, in the dataset's order.
type View struct {
	Columns []string                 // names in the wanted order; none is all
	Where   []Cond                   // all must hold
	Sort    []string                 // column names, the first counts most; a leading - is descending, null last
	Limit   int                      // at most so many rows; 0 is all
	Calls   func(callID string) bool // rows of calls that it takes; nil is all rows
	Bare    bool                     // FormatCSV only: no header, for rows that others stand before
	Zone    *time.Location           // FormatTable only: zone of the times shown; nil is UTC
	Width   int                      // FormatTable only: columns of the terminal; 0 is unlimited
	Color   bool                     // FormatTable only: a bold header, and colours for what went well or did not
	Stream  bool                     // FormatArrow only: an IPC stream and not an IPC file
	Summary bool                     // FormatTable only: a last line with the number of rows
}

type op uint8

const (
	opEqual op = iota + 1
	opNot
	opLess
	opAtMost
	opMore
	opAtLeast
	opMatch
	opNull
	opNotNull
)

// ops is in the order of trial: longer signs first.
var ops = []struct {
	sign string
	op   op
}{{"!=", opNot}, {"<=", opAtMost}, {">=", opAtLeast}, {"=", opEqual}, {"<", opLess}, {">", opMore}, {"~", opMatch}}

// Cond is a condition on one column. Null fulfils no comparison, != included.
// Of a list, any element may fulfil it.
type Cond struct {
	column string
	op     op
	value  string
	re     *regexp.Regexp
}

// ParseCond reads 'COL OP VALUE' with OP one of = != < <= > >= ~ (regular
// expression, RE2), or 'COL is null', 'COL is not null'. VALUE may stand in
// single or double quotes. Whether VALUE fits the column is told by Write.
func ParseCond(s string) (Cond, error) {
	const want = "wanted 'COLUMN OP VALUE' with OP one of = != < <= > >= ~, or 'COLUMN is null'"
	s = strings.TrimSpace(s)
	n := 0
	for n < len(s) && (s[n] == '_' || '0' <= s[n] && s[n] <= '9' || 'a' <= s[n] && s[n] <= 'z' || 'A' <= s[n] && s[n] <= 'Z') {
		n++
	}
	if n == 0 {
		return Cond{}, fmt.Errorf("condition %q: no column name at its begin; %s", s, want)
	}
	c := Cond{column: strings.ToLower(s[:n])}
	rest := strings.TrimSpace(s[n:])
	switch w := strings.Fields(strings.ToLower(rest)); {
	case len(w) == 2 && w[0] == "is" && w[1] == "null":
		c.op = opNull
		return c, nil
	case len(w) == 3 && w[0] == "is" && w[1] == "not" && w[2] == "null":
		c.op = opNotNull
		return c, nil
	}
	for _, o := range ops {
		if strings.HasPrefix(rest, o.sign) {
			c.op, c.value = o.op, strings.TrimSpace(rest[len(o.sign):])
			break
		}
	}
	if c.op == 0 {
		return Cond{}, fmt.Errorf("condition %q: no operator at byte %d; %s", s, n, want)
	}
	if v := c.value; len(v) >= 2 && (v[0] == '\'' || v[0] == '"') && v[len(v)-1] == v[0] {
		c.value = v[1 : len(v)-1]
	}
	if !utf8.ValidString(c.value) {
		return Cond{}, fmt.Errorf("condition %q: value is not UTF-8", s)
	}
	if c.op == opMatch {
		re, err := regexp.Compile(c.value)
		if err != nil {
			return Cond{}, fmt.Errorf("condition %q: %w", s, err)
		}
		c.re = re
	}
	return c, nil
}

// String is the condition as ParseCond reads it.
func (c Cond) String() string {
	switch c.op {
	case opNull:
		return c.column + " is null"
	case opNotNull:
		return c.column + " is not null"
	}
	for _, o := range ops {
		if o.op == c.op {
			q := "'"
			if strings.Contains(c.value, "'") {
				q = `"`
			}
			return c.column + " " + o.sign + " " + q + c.value + q
		}
	}
	return ""
}

// test is a Cond bound to a column: its value in the column's type.
type test struct {
	col *column
	op  op
	re  *regexp.Regexp
	s   string
	i   int64
	f   float64 // for a number with a fraction against integers, and for floats
	asF bool
}

func (sp *spec) bind(c Cond) (test, error) {
	if c.op == 0 {
		return test{}, fmt.Errorf("empty condition")
	}
	col, err := sp.column(c.column)
	if err != nil {
		return test{}, err
	}
	t := test{col: col, op: c.op, re: c.re, s: c.value}
	if c.op == opNull || c.op == opNotNull {
		return t, nil
	}
	bad := func(want string) (test, error) {
		return test{}, fmt.Errorf("condition %q: column %s is %s: wanted %s, found %q", c, col.Name, words[col.kind], want, c.value)
	}
	if c.op == opMatch {
		if col.kind != kindText && col.kind != kindEnum && col.kind != kindTexts {
			return bad("no ~, which is for text only")
		}
		return t, nil
	}
	switch col.kind {
	case kindTime:
		at, err := time.Parse(time.RFC3339Nano, c.value)
		// Years that int64 ns reach from end to end.
		if err != nil || at.Year() < 1678 || at.Year() > 2261 {
			return bad("a time as 2013-11-21T18:00:00Z")
		}
		t.i = at.UnixNano()
	case kindInt, kindUint, kindInts:
		if t.i, err = strconv.ParseInt(c.value, 10, 64); err != nil {
			t.asF = true
			if t.f, err = strconv.ParseFloat(c.value, 64); err != nil {
				return bad("a number")
			}
		}
	case kindFloat:
		if t.f, err = strconv.ParseFloat(c.value, 64); err != nil {
			return bad("a number")
		}
	case kindBool:
		switch c.value {
		case "true":
			t.i = 1
		case "false":
		default:
			return bad("true or false")
		}
	case kindEnum:
		t.i = int64(slices.Index(col.Enum, c.value))
		if t.i < 0 {
			return bad("one of " + strings.Join(col.Enum, ", "))
		}
	}
	return t, nil
}

func (t *test) holds(row rowAt) bool {
	v := t.col.cell(row)
	switch t.op {
	case opNull:
		return v.null
	case opNotNull:
		return !v.null
	}
	if v.null {
		return false
	}
	switch t.col.kind {
	case kindTexts:
		return slices.ContainsFunc(v.ss, t.text)
	case kindInts:
		return slices.ContainsFunc(v.is, t.integer)
	case kindText:
		return t.text(v.s)
	case kindEnum:
		if t.op == opMatch {
			return t.re.MatchString(v.s)
		}
		return t.integer(v.i)
	case kindFloat:
		return t.order(cmp.Compare(v.f, t.f))
	}
	return t.integer(v.i)
}

func (t *test) text(s string) bool {
	if t.op == opMatch {
		return t.re.MatchString(s)
	}
	return t.order(strings.Compare(s, t.s))
}

func (t *test) integer(i int64) bool {
	if t.asF {
		return t.order(cmp.Compare(float64(i), t.f))
	}
	return t.order(cmp.Compare(i, t.i))
}

func (t *test) order(r int) bool {
	switch t.op {
	case opEqual:
		return r == 0
	case opNot:
		return r != 0
	case opLess:
		return r < 0
	case opAtMost:
		return r <= 0
	case opMore:
		return r > 0
	}
	return r >= 0
}

// selection is a View bound to a dataset: columns and rows in the order to be
// written.
type selection struct {
	spec  *spec
	rows  list
	cols  []*column
	index []int // nil is every row in order
	n     int
	total int // rows of the table

	mended bool // something was written that is not as the row has it

	// Rows that are at hand. Packed ones are unpacked some at a time, into
	// scratch: part has those from from on.
	part    rowRun
	from    int
	scratch reflect.Value // a slice
}

// few is how many rows are unpacked when nobody said which.
const few = 256

// row is row i, until others are asked for that load did not name together
// with it.
func (s *selection) row(i int) rowAt {
	if s.rows.packed == nil {
		return s.part.at(s.number(i))
	}
	if i < s.from || i >= s.from+s.part.n {
		s.load(i, min(s.n, i+few))
	}
	return s.part.at(i - s.from)
}

func (s *selection) number(i int) int {
	if s.index != nil {
		return s.index[i]
	}
	return i
}

// reader is the same selection for another goroutine, with rows at hand of its own.
func (s *selection) reader() *selection {
	own := *s
	if own.scratch = (reflect.Value{}); own.rows.packed != nil {
		own.part = rowRun{}
	}
	return &own
}

// load makes rows from up to to be at hand together.
func (s *selection) load(from, to int) {
	if s.rows.packed == nil {
		return
	}
	if !s.scratch.IsValid() || s.scratch.Len() < to-from {
		s.scratch = reflect.MakeSlice(reflect.SliceOf(s.spec.row), to-from, to-from)
	}
	s.from, s.part = from, adjacent(s.scratch.Slice(0, to-from))
	for i := range to - from {
		s.rows.packed.Unpack(s.number(from+i), s.scratch.Index(i).Addr().Interface())
	}
}

func pick(d *Dataset, sp *spec, v View) (_ *selection, err error) {
	s := &selection{spec: sp, rows: sp.list(d)}
	if s.rows.packed == nil {
		s.part = adjacent(s.rows.slice)
	}
	s.total = s.rows.Len()
	if len(v.Columns) == 0 {
		for i := range sp.cols {
			s.cols = append(s.cols, &sp.cols[i])
		}
	}
	for _, name := range v.Columns {
		c, err := sp.column(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(s.cols, c) {
			return nil, fmt.Errorf("column %s is asked for twice", name)
		}
		s.cols = append(s.cols, c)
	}
	tests := make([]test, 0, len(v.Where))
	for _, c := range v.Where {
		t, err := sp.bind(c)
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	type by struct {
		col  *column
		down bool
	}
	var sorts []by
	for _, name := range v.Sort {
		name, down := strings.CutPrefix(name, "-")
		c, err := sp.column(name)
		if err != nil {
			return nil, err
		}
		sorts = append(sorts, by{c, down})
	}
	if v.Limit < 0 {
		return nil, fmt.Errorf("limit is %d, wanted 0 or more", v.Limit)
	}

	s.n = s.total
	left, right := s.rows.cursor(), s.rows.cursor()
	var call *column
	if v.Calls != nil {
		if call, err = sp.column("call_id"); err != nil {
			return nil, err
		}
	}
	if len(tests) > 0 || len(sorts) > 0 || call != nil {
		s.index = make([]int, 0, s.total)
	rows:
		for i := range s.total {
			row := left.at(i)
			if call != nil && !v.Calls(call.cell(row).s) {
				continue
			}
			for k := range tests {
				if !tests[k].holds(row) {
					continue rows
				}
			}
			s.index = append(s.index, i)
			if len(sorts) == 0 && len(s.index) == v.Limit {
				break
			}
		}
		s.n = len(s.index)
	}
	if len(sorts) > 0 {
		slices.SortStableFunc(s.index, func(a, b int) int {
			x, y := left.at(a), right.at(b)
			for _, o := range sorts {
				p, q := o.col.cell(x), o.col.cell(y)
				if p.null != q.null {
					if p.null {
						return 1
					}
					return -1
				}
				r := o.col.compare(p, q)
				if o.down {
					r = -r
				}
				if r != 0 {
					return r
				}
			}
			return 0
		})
	}
	if v.Limit > 0 && s.n > v.Limit {
		s.n = v.Limit
		if s.index != nil {
			s.index = s.index[:s.n]
		}
	}
	return s, nil
}
