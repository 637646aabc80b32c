package table

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/internal/packed"
)

// cell is one value of any column. Which field holds it follows from the
// column's kind: i for time, int, uint, bool and the place of an enum value
// in its set; f for float; s for text and enum; ss and is for lists. Strings
// and lists alias the row. mended tells that the row holds something that is
// written otherwise: bytes that are no UTF-8, a float that is no number.
type cell struct {
	null   bool
	mended bool
	i      int64
	f      float64
	s      string
	ss     []string
	is     []int64
}

// rowAt is the address of a row: a struct of the table's row type, whose
// columns are read and set by their place in it. Reflection does the same in
// five times the time.
type rowAt = unsafe.Pointer

// cell reads the column's value.
func (c *column) cell(row rowAt) (v cell) {
	f := unsafe.Add(row, c.at)
	if c.opt && !*(*bool)(unsafe.Add(row, c.known)) {
		v.null = true
		return v
	}
	switch c.kind {
	case kindTime:
		v.i = *(*int64)(f)
		v.null = v.i == 0 && c.Nullable
	case kindText:
		return c.textCell(c.text(row))
	case kindEnum:
		v.s = *(*string)(f)
		v.null = v.s == "" && c.Nullable
		v.i = int64(slices.Index(c.Enum, v.s))
	case kindInt:
		v.i = *(*int64)(f)
	case kindUint:
		v.i = int64(*(*uint32)(f))
	case kindFloat:
		v.f = *(*float64)(f)
		v.null = math.IsNaN(v.f) || math.IsInf(v.f, 0)
		v.mended = v.null
	case kindBool:
		if *(*bool)(f) {
			v.i = 1
		}
	case kindTexts:
		v.ss = *(*[]string)(f)
		for i, s := range v.ss {
			if !utf8.ValidString(s) {
				v.ss, v.mended = slices.Clone(v.ss), true
				for j := i; j < len(v.ss); j++ {
					v.ss[j] = cleanUTF8(v.ss[j])
				}
				break
			}
		}
	case kindInts:
		v.is = *(*[]int64)(f)
	}
	return v
}

// textCell is the cell of a text.
func (c *column) textCell(s string) (v cell) {
	v.s = cleanUTF8(s)
	v.null, v.mended = v.s == "" && c.Nullable, len(v.s) != len(s) // U+FFFD is three bytes
	return v
}

// cleanUTF8 gives U+FFFD for each byte that is no part of valid UTF-8.
func cleanUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// compare orders two cells of the column, null first.
func (c *column) compare(a, b cell) int {
	if a.null || b.null {
		switch {
		case a.null && b.null:
			return 0
		case a.null:
			return -1
		}
		return 1
	}
	switch c.kind {
	case kindText:
		return strings.Compare(a.s, b.s)
	case kindEnum:
		if r := cmp.Compare(a.i, b.i); r != 0 {
			return r
		}
		return strings.Compare(a.s, b.s)
	case kindFloat:
		return cmp.Compare(a.f, b.f)
	case kindTexts:
		return slices.Compare(a.ss, b.ss)
	case kindInts:
		return slices.Compare(a.is, b.is)
	}
	return cmp.Compare(a.i, b.i)
}

// text is the value of a column of kindText.
func (c *column) text(row rowAt) string {
	f := unsafe.Add(row, c.at)
	if c.packed {
		return (*packed.Text)(f).String()
	}
	return *(*string)(f)
}

// setText sets it. in, unless nil, are the rows that the row will be of.
func (c *column) setText(row rowAt, s string, in packed.Table) {
	f := unsafe.Add(row, c.at)
	if !c.packed {
		*(*string)(f) = s
		return
	}
	t := (*packed.Text)(f)
	if in != nil {
		*t = in.Text(alias(s)) // which copies
	} else {
		*t = packed.NewText(s)
	}
}

// rowType is the type of the rows in a field of Dataset.
func rowType(field reflect.Type) (row reflect.Type, isPacked bool) {
	if t, ok := reflect.New(field).Interface().(packed.Table); ok {
		return t.RowType(), true
	}
	return field.Elem(), false
}

// list is the rows of a table in a dataset.
type list struct {
	slice  reflect.Value
	packed packed.Table // nil for a slice
	row    reflect.Type
	filled reflect.Value // of more, where rows are packed
}

func (sp *spec) list(d *Dataset) list {
	l := list{slice: reflect.ValueOf(d).Elem().Field(sp.field), row: sp.row}
	if sp.packed {
		l.packed = l.slice.Addr().Interface().(packed.Table)
	}
	return l
}

func (l *list) Len() int {
	if l.packed != nil {
		return l.packed.Len()
	}
	return l.slice.Len()
}

// led is the experiment of packed rows, when it is the same in all.
func (l *list) led() (experiment string, ok bool) {
	if l.packed == nil || l.packed.Len() == 0 {
		return "", false
	}
	experiment, ok = l.packed.Led()
	return cleanUTF8(experiment), ok
}

// cursor looks at rows one after the other.
type cursor struct {
	list
	rows    rowRun // of a slice
	scratch any    // *T: a packed row is unpacked here
	row     rowAt
}

func (l list) cursor() *cursor {
	c := &cursor{list: l}
	if l.packed != nil {
		p := reflect.New(l.row)
		c.scratch, c.row = p.Interface(), p.UnsafePointer()
	} else {
		c.rows = adjacent(l.slice)
	}
	return c
}

// at is row i, until at is called again. What is changed in it is lost where
// rows are packed.
func (c *cursor) at(i int) rowAt {
	if c.packed == nil {
		return c.rows.at(i)
	}
	c.packed.Unpack(i, c.scratch)
	return c.row
}

// first is at for who looks at the first fields only.
func (c *cursor) first(i, fields int) rowAt {
	if c.packed == nil {
		return c.rows.at(i)
	}
	c.packed.UnpackFirst(i, c.scratch, fields)
	return c.row
}

// rowOf is row i of a slice of rows, which the caller keeps.
func rowOf(rows reflect.Value, i int) rowAt { return adjacent(rows).at(i) }

// rowRun is the rows of a slice. Asking reflection for each takes as long as
// reading a column of it.
type rowRun struct {
	first rowAt
	size  uintptr
	n     int
}

func adjacent(rows reflect.Value) rowRun {
	return rowRun{rows.UnsafePointer(), rows.Type().Elem().Size(), rows.Len()}
}

func (r rowRun) at(i int) rowAt {
	if uint(i) >= uint(r.n) {
		panic("table: a row that is not there")
	}
	return unsafe.Add(r.first, uintptr(i)*r.size)
}

// change lets f change every row.
func (l *list) change(f func(row rowAt)) {
	if l.packed != nil {
		l.packed.ChangeAny(func(row any) { f(reflect.ValueOf(row).UnsafePointer()) })
		return
	}
	rows := adjacent(l.slice)
	for i := range rows.n {
		f(rows.at(i))
	}
}

// grow makes room for n rows that will come.
func (l *list) grow(n int) {
	if l.packed == nil && n > 0 {
		l.slice.Grow(n)
	}
}

// more is n rows to be filled; they belong to the list when took was called.
func (l *list) more(n int) reflect.Value {
	if l.packed != nil {
		if l.filled.IsValid() && l.filled.Cap() >= n {
			l.filled.Clear()
			return l.filled.Slice(0, n)
		}
		l.filled = reflect.MakeSlice(reflect.SliceOf(l.row), n, n)
		return l.filled
	}
	old := l.slice.Len()
	l.slice.SetLen(old + n) // grow was called
	return l.slice.Slice(old, old+n)
}

func (l *list) took(rows reflect.Value) {
	if l.packed != nil {
		l.packed.Pack(rows.Interface())
	}
}

// join appends the rows of o.
func (l *list) join(o list) {
	if l.packed != nil {
		l.packed.Join(o.packed)
		return
	}
	l.slice.Set(reflect.AppendSlice(l.slice, o.slice))
}

// joinAll is join for the parts of a table that is a slice and has no rows yet;
// it empties them.
func (l *list) joinAll(parts []list) {
	if len(parts) == 1 {
		l.slice.Set(parts[0].slice)
		return
	}
	n := 0
	for i := range parts {
		n += parts[i].Len()
	}
	l.grow(n)
	for i := range parts {
		l.slice.Set(reflect.AppendSlice(l.slice, parts[i].slice))
		parts[i].slice.SetZero()
	}
}

// reorder gives row order[i] place i.
func (l *list) reorder(order []int) {
	if l.packed != nil {
		l.packed.Reorder(order)
		return
	}
	out := reflect.MakeSlice(l.slice.Type(), len(order), len(order))
	for j, k := range order {
		out.Index(j).Set(l.slice.Index(k))
	}
	l.slice.Set(out)
}

// Len is the number of rows of a table; 0 for a table that is none.
func (d *Dataset) Len(table string) int {
	if sp := find(table); sp != nil {
		l := sp.list(d)
		return l.Len()
	}
	return 0
}

// SetExperiment writes name into column experiment of every row.
func (d *Dataset) SetExperiment(name string) {
	for i := range specs {
		rows := specs[i].list(d)
		if rows.packed != nil {
			rows.packed.Lead(name)
			continue
		}
		rows.change(func(row rowAt) { specs[i].cols[0].setText(row, name, nil) })
	}
}

// Keep forgets the rows of all other tables.
func (d *Dataset) Keep(tables ...string) {
	for i := range specs {
		if !slices.Contains(tables, specs[i].schema.Name) {
			reflect.ValueOf(d).Elem().Field(specs[i].field).SetZero()
		}
	}
}

// Append adds the rows of o behind those of d. Lists stay shared.
func (d *Dataset) Append(o *Dataset) {
	for i := range specs {
		rows := specs[i].list(d)
		rows.join(specs[i].list(o))
	}
}

// order is one step of a table's order of rows.
type order struct {
	col       *column
	usedFirst bool // ledger.reason: "used" before every refusal
}

// rowOrder is TABLES.md's order: experiment, first_at or at, file, frame, key;
// then every other column, so that the order is total. frame is first_frame
// or record where a table has these. arrivals go by queue order and
// ledger by layer.
func (sp *spec) rowOrder() []order {
	names := []string{"experiment", "first_at", "at", "file", "frame"}
	switch sp.schema.Name {
	case "arrivals":
		names = []string{"experiment", "seq"}
	case "ledger":
		names = []string{"experiment", "layer", "reason"}
	case "calls", "streams":
		names = append(names, "first_frame")
	case "call_resources", "messages":
		names = append(names, "record")
	}
	var out []order
	add := func(c *column) {
		for _, o := range out {
			if o.col == c {
				return
			}
		}
		out = append(out, order{c, sp.schema.Name == "ledger" && c.Name == "reason"})
	}
	for _, n := range names {
		for i := range sp.cols {
			if sp.cols[i].Name == n {
				add(&sp.cols[i])
			}
		}
	}
	for i := range sp.cols {
		if sp.cols[i].Key {
			add(&sp.cols[i])
		}
	}
	for i := range sp.cols {
		add(&sp.cols[i])
	}
	return out
}

func (o *order) compare(a, b rowAt) int {
	if c := o.col; c.kind == kindText && !c.packed && *(*string)(unsafe.Add(a, c.at)) == *(*string)(unsafe.Add(b, c.at)) {
		return 0 // as most are, of the same string
	}
	x, y := o.col.cell(a), o.col.cell(b)
	if o.usedFirst && x.s != y.s {
		if x.s == "used" {
			return -1
		}
		if y.s == "used" {
			return 1
		}
	}
	return o.col.compare(x, y)
}

// sortKey is what of an order column can be compared without reflection:
// first i, then s.
type sortKey struct {
	i int64
	s string
}

func (o *order) key(row rowAt) sortKey {
	v := o.col.cell(row)
	switch {
	case v.null:
		return sortKey{i: math.MinInt64}
	case o.col.kind != kindText:
		return sortKey{i: v.i}
	case o.usedFirst && v.s == "used":
		return sortKey{i: -1}
	}
	return sortKey{s: v.s}
}

// Sort brings the rows of every table into TABLES.md's order. It is total:
// the same rows in any order give the same result.
func (d *Dataset) Sort() {
	eachTable(func(sp *spec) { sp.sort(d) })
}

// eachTable calls f for every table, for several at once.
func eachTable(f func(*spec)) {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range specs {
		g.Go(func() error {
			f(&specs[i])
			return nil
		})
	}
	g.Wait()
}

func (sp *spec) sort(d *Dataset) {
	rows := sp.list(d)
	n := rows.Len()
	if n < 2 {
		return
	}
	if rows.inTime(sp) {
		return
	}
	left, right := rows.cursor(), rows.cursor()
	sorted, same := true, true // same: in the first column
	x := left.at(0)
	for j := 1; j < n && (sorted || same); j++ {
		y := right.at(j)
		sorted = sorted && sp.compareRows(x, y) <= 0
		same = same && sp.order[0].compare(x, y) == 0
		x, left, right = y, right, left
	}
	if sorted {
		return
	}
	// Two columns decide nearly always; their values are taken out once.
	fast := sp.order
	if same {
		fast = fast[1:]
	}
	fast = fast[:min(2, len(fast))]
	for k := range fast {
		if c := fast[k].col; c.kind == kindFloat || c.kind.list() {
			fast = fast[:k]
			break
		}
	}
	keys := make([]sortKey, 0, n*len(fast))
	idx := make([]int, n)
	for j := range n {
		idx[j] = j
		row := left.at(j)
		for k := range fast {
			keys = append(keys, fast[k].key(row))
		}
	}
	slices.SortStableFunc(idx, func(a, b int) int {
		for k := range fast {
			x, y := &keys[a*len(fast)+k], &keys[b*len(fast)+k]
			if r := cmp.Compare(x.i, y.i); r != 0 {
				return r
			}
			if r := strings.Compare(x.s, y.s); r != 0 {
				return r
			}
		}
		return sp.compareRows(left.at(a), right.at(b))
	})
	rows.reorder(idx)
}

// inTime tells of packed rows of one experiment whether each is later than the
// one before it, which decides their order.
func (l *list) inTime(sp *spec) bool {
	if _, ok := l.led(); !ok || len(sp.order) < 2 || sp.order[1].col.kind != kindTime {
		return false
	}
	at := sp.order[1].col
	c := l.cursor()
	last := int64(math.MinInt64)
	for i := range l.packed.Len() {
		v := at.cell(c.first(i, at.field+1)).i
		if v <= last {
			return false
		}
		last = v
	}
	return true
}

func (sp *spec) compareRows(x, y rowAt) int {
	for k := range sp.order {
		if r := sp.order[k].compare(x, y); r != 0 {
			return r
		}
	}
	return 0
}

// Check verifies what the contract promises of every dataset: keys unique
// within an experiment and known, enums closed, numbers finite. An error here
// is a bug of whoever made the rows.
func (d *Dataset) Check() error {
	errs := make([]error, len(specs))
	eachTable(func(sp *spec) { errs[sp.field] = sp.check(d) })
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("internal: table %s, %w", specs[i].schema.Name, err)
		}
	}
	return nil
}

func (sp *spec) check(d *Dataset) error {
	rows := sp.list(d)
	at := rows.cursor()
	hasKey := slices.ContainsFunc(sp.cols, func(c column) bool { return c.Key })
	var cols []*column // that anything is promised of
	for k := range sp.cols {
		if c := &sp.cols[k]; c.Key || k == 0 || c.kind == kindEnum || c.kind == kindFloat {
			cols = append(cols, c)
		}
	}
	fields := cols[len(cols)-1].field + 1
	// Two hashes stand for a key: 16 bytes a row, whatever its length.
	first, second := maphash.MakeSeed(), maphash.MakeSeed()
	seen := map[[2]uint64]int{}
	if hasKey {
		seen = make(map[[2]uint64]int, rows.Len())
	}
	var key []byte
	for j := range rows.Len() {
		row := at.first(j, fields)
		key = key[:0]
		for k, c := range cols {
			if c.kind == kindFloat {
				if v := c.cell(row); math.IsNaN(v.f) || math.IsInf(v.f, 0) {
					return fmt.Errorf("row %d: %s is %v, wanted a finite number", j, c.Name, v.f)
				}
				continue
			}
			isKey := c.Key || k == 0
			v := c.cell(row)
			if c.kind == kindEnum && !v.null && v.i < 0 {
				return fmt.Errorf("row %d: %s is %q, wanted one of %s", j, c.Name, v.s, strings.Join(c.Enum, ", "))
			}
			if !isKey {
				continue
			}
			if !c.Nullable && (c.kind == kindText && v.s == "" || c.kind == kindTime && v.i == 0) {
				return fmt.Errorf("row %d: %s is a key and not known", j, c.Name)
			}
			key = binary.AppendUvarint(key, uint64(len(v.s)))
			key = append(key, v.s...)
			key = binary.AppendVarint(key, v.i)
		}
		if !hasKey {
			continue
		}
		sum := [2]uint64{maphash.Bytes(first, key), maphash.Bytes(second, key)}
		if at, dup := seen[sum]; dup {
			return fmt.Errorf("rows %d and %d have the same key %s", at, j, sp.keyText(row))
		}
		seen[sum] = j
	}
	return nil
}

func (sp *spec) keyText(row rowAt) string {
	var b []byte
	for k := range sp.cols {
		c := &sp.cols[k]
		if !c.Key && k != 0 {
			continue
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, c.Name...), '=')
		b = c.appendJSON(b, c.cell(row))
	}
	return string(b)
}
