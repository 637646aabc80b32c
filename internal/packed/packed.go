// Package packed keeps the rows of a table in little memory: a row of a few
// hundred bytes, most of them string headers and zeros, takes some forty.
//
// Rows are coded one by one, so that any of them is had without the others: a
// bit for each field that is not zero, then integers as varints, less the same
// field of the first row of their chunk; floats as their 8 bytes; strings as
// places in a list that holds each one once. A string that hardly ever comes
// twice, as an identifier does, would only make that list long: with the tag
// packed:"inline" it stands in its row. Long texts that differ from row to row
// are a Text: they stand apart in blocks compressed with S2 and come back when
// asked for.
//
// An inline string that was read may share the memory of the rows around it: one
// that is kept for long should be cloned.
//
// The fields of a row may be integers, lists of them, floats, booleans,
// strings, Texts, and structs of a value and a bool that tells whether it is
// known. An empty list comes back as nil.
//
// Any number of goroutines may read rows and their Texts at once, as long as
// none adds or changes any. Each should read a row into one of its own.
package packed

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"strings"
	"unsafe"
)

// chunkRows is how many rows lie together.
const chunkRows = 256

// Rows are rows of type T in order. The zero value is none. A copy shares
// what was packed: only one of the two may be changed.
type Rows[T any] struct {
	layout []field
	chunks []chunk
	n      int
	names  names
	texts  texts
	buf    []byte
	spare  []byte // for the data of a chunk that grows

	// A string that comes first in a row, as the experiment does, costs nothing
	// in rows that have the same one as the first row.
	lead   string
	others bool // some row has another
}

type chunk struct {
	data   []byte
	starts []uint32
	first  []int64 // the integers of its first row
}

type kind uint8

const (
	kindInt kind = iota + 1
	kindUint
	kindFloat
	kindBool
	kindString
	kindInline
	kindText
	kindInts
)

// field is where a field lies in its row. known is where the bool of a value
// that may be unknown lies, 0 when it has none.
type field struct {
	kind   kind
	at     uintptr
	known  uintptr
	number int // among the integers
}

// layoutOf finds the fields of a row type. One of another type is a bug of the
// row.
func layoutOf(t reflect.Type) []field {
	out := make([]field, t.NumField())
	numbers := 0
	for i := range out {
		f, sf := &out[i], t.Field(i)
		f.at = sf.Offset
		ft := sf.Type
		if ft.Kind() == reflect.Struct && ft.NumField() == 2 && ft.Field(0).Offset == 0 && ft.Field(1).Type.Kind() == reflect.Bool {
			f.known = sf.Offset + ft.Field(1).Offset
			ft = ft.Field(0).Type
		}
		switch {
		case ft == reflect.TypeFor[Text]():
			f.kind = kindText
		case ft.Kind() == reflect.Int64:
			f.kind, f.number = kindInt, numbers
			numbers++
		case ft.Kind() == reflect.Uint32:
			f.kind = kindUint
		case ft.Kind() == reflect.Float64:
			f.kind = kindFloat
		case ft.Kind() == reflect.Bool:
			f.kind = kindBool
		case ft.Kind() == reflect.String && sf.Tag.Get("packed") == "inline":
			f.kind = kindInline
		case ft.Kind() == reflect.String:
			f.kind = kindString
		case ft == reflect.TypeFor[[]int64]():
			f.kind = kindInts
		default:
			panic(fmt.Sprintf("packed: field %s of %s has type %s, which cannot be packed", sf.Name, t, sf.Type))
		}
	}
	return out
}

// Of packs rows.
func Of[T any](rows ...T) Rows[T] {
	var r Rows[T]
	r.Add(rows...)
	return r
}

// Len is the number of rows.
func (r *Rows[T]) Len() int { return r.n }

// Add appends rows.
func (r *Rows[T]) Add(rows ...T) {
	for i := range rows {
		r.add(&rows[i])
	}
}

func (r *Rows[T]) add(row *T) {
	if r.layout == nil {
		r.layout = layoutOf(reflect.TypeFor[T]())
	}
	if r.n%chunkRows == 0 {
		r.seal()
		r.chunks = append(r.chunks, chunk{starts: make([]uint32, 0, chunkRows), data: r.spare[:0]})
		r.spare = nil
	}
	c := &r.chunks[len(r.chunks)-1]
	if r.n == 0 && r.layout[0].leads() {
		r.lead = *(*string)(unsafe.Pointer(row))
	}
	if len(c.starts) == 0 {
		c.first = integers(r.layout, unsafe.Pointer(row))
	}
	r.buf = r.pack(r.buf[:0], c, unsafe.Pointer(row))
	c.starts = append(c.starts, uint32(len(c.data)))
	c.data = append(c.data, r.buf...)
	r.n++
}

// seal frees what the last chunk has to spare. Data without anything to spare
// stays where it is and never changes again, so that strings may alias it: see
// inline.
func (r *Rows[T]) seal() {
	if n := len(r.chunks); n > 0 && cap(r.chunks[n-1].data) > len(r.chunks[n-1].data) {
		c := &r.chunks[n-1]
		r.spare, c.data = c.data, slices.Clip(bytes.Clone(c.data))
	}
}

func integers(layout []field, row unsafe.Pointer) []int64 {
	var out []int64
	for i := range layout {
		if f := &layout[i]; f.kind == kindInt {
			out = append(out, *(*int64)(unsafe.Add(row, f.at)))
		}
	}
	return out
}

// leads tells whether the first field of a row is one that lead is for.
func (f *field) leads() bool { return f.kind == kindString && f.known == 0 }

// pack appends one row.
func (r *Rows[T]) pack(b []byte, c *chunk, row unsafe.Pointer) []byte {
	var zero [16]byte
	b = append(b, zero[:(len(r.layout)+7)/8]...)
	for i := range r.layout {
		f := &r.layout[i]
		p := unsafe.Add(row, f.at)
		if f.known != 0 && !*(*bool)(unsafe.Add(row, f.known)) {
			continue
		}
		given := f.known != 0
		switch f.kind {
		case kindInt:
			if v := *(*int64)(p); v != 0 || given {
				given = true
				b = binary.AppendVarint(b, v-c.first[f.number])
			}
		case kindUint:
			if v := *(*uint32)(p); v != 0 || given {
				given = true
				b = binary.AppendUvarint(b, uint64(v))
			}
		case kindFloat:
			if v := math.Float64bits(*(*float64)(p)); v != 0 || given {
				given = true
				b = binary.LittleEndian.AppendUint64(b, v)
			}
		case kindBool:
			switch v := *(*bool)(p); {
			case !given:
				given = v
			case v:
				b = append(b, 1)
			default:
				b = append(b, 0)
			}
		case kindString:
			v := *(*string)(p)
			if i == 0 && f.leads() {
				if v == r.lead {
					continue
				}
				given, r.others = true, true
			}
			if v != "" || given {
				given = true
				b = binary.AppendUvarint(b, uint64(r.names.number(v)))
			}
		case kindInline:
			if v := *(*string)(p); v != "" || given {
				given = true
				b = binary.AppendUvarint(b, uint64(len(v)))
				b = append(b, v...)
			}
		case kindText:
			if v := *(*Text)(p); v.n > 0 {
				given = true
				at := r.texts.place(v)
				b = binary.AppendUvarint(b, uint64(at.block))
				b = binary.AppendUvarint(b, uint64(at.off))
				b = binary.AppendUvarint(b, uint64(at.n))
			}
		case kindInts:
			if list := *(*[]int64)(p); len(list) > 0 || given {
				given = true
				b = binary.AppendUvarint(b, uint64(len(list)))
				for _, v := range list {
					b = binary.AppendVarint(b, v)
				}
			}
		}
		if given {
			b[i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// Get unpacks row i.
func (r *Rows[T]) Get(i int, row *T) {
	var zero T
	*row = zero
	r.get(i, unsafe.Pointer(row), len(r.layout))
}

// get unpacks the first fields of a row that is zero. It is one loop without
// calls: most of the time of whoever reads rows goes by here.
func (r *Rows[T]) get(i int, row unsafe.Pointer, fields int) {
	c := &r.chunks[i/chunkRows]
	given := c.data[c.starts[i%chunkRows]:]
	size := (len(r.layout) + 7) / 8
	b := given[size:]
	if r.layout[0].leads() {
		*(*string)(row) = r.lead
	}
	for k, set := range given[:size] {
		for ; set != 0; set &= set - 1 {
			at := k*8 + bits.TrailingZeros8(set)
			if at >= fields {
				return
			}
			f := &r.layout[at]
			p := unsafe.Add(row, f.at)
			if f.known != 0 {
				*(*bool)(unsafe.Add(row, f.known)) = true
			}
			switch f.kind {
			case kindFloat:
				*(*float64)(p) = math.Float64frombits(binary.LittleEndian.Uint64(b))
				b = b[8:]
				continue
			case kindBool:
				if f.known == 0 {
					*(*bool)(p) = true
					continue
				}
				*(*bool)(p) = b[0] != 0
				b = b[1:]
				continue
			}
			v, n := uvarint(b)
			b = b[n:]
			switch f.kind {
			case kindInt:
				*(*int64)(p) = (int64(v>>1) ^ -int64(v&1)) + c.first[f.number]
			case kindUint:
				*(*uint32)(p) = uint32(v)
			case kindString:
				*(*string)(p) = r.names.list[v]
			case kindInline:
				*(*string)(p) = c.inline(b[:v])
				b = b[v:]
			case kindText:
				off, n := uvarint(b)
				size, m := uvarint(b[n:])
				*(*Text)(p) = Text{r.texts.blocks[v], uint32(off), uint32(size)}
				b = b[n+m:]
			case kindInts:
				list := make([]int64, v)
				for k := range list {
					list[k], n = binary.Varint(b)
					b = b[n:]
				}
				*(*[]int64)(p) = list
			}
		}
	}
}

// inline is a part of the chunk's data as a string. Only what seal would leave in
// its place is not copied: other data is written over by a later chunk.
func (c *chunk) inline(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if cap(c.data) > len(c.data) {
		return string(b)
	}
	return unsafe.String(&b[0], len(b))
}

// uvarint is binary.Uvarint for bytes that append made, short enough for the
// compiler to put it where it is called. The top bit of each byte says that
// another follows, and is taken away with the 1.
func uvarint(b []byte) (v uint64, n int) {
	v = uint64(b[0])
	for n = 1; v>>(7*n) != 0; n++ {
		v += (uint64(b[n]) - 1) << (7 * n)
	}
	return v, n
}

// At is row i; it may be kept.
func (r *Rows[T]) At(i int) *T {
	row := new(T)
	r.get(i, unsafe.Pointer(row), len(r.layout))
	return row
}

// All are the rows with their numbers. Each is overwritten by the next: copy
// what you keep, or keep its number.
func (r *Rows[T]) All() iter.Seq2[int, *T] {
	return func(yield func(int, *T) bool) {
		var row T
		for i := range r.n {
			r.Get(i, &row)
			if !yield(i, &row) {
				return
			}
		}
	}
}

// AllTo is All with the fields up to the one of that name; the others are zero.
func (r *Rows[T]) AllTo(name string) iter.Seq2[int, *T] {
	fields := r.FieldsTo(name)
	return func(yield func(int, *T) bool) {
		var row T
		for i := range r.n {
			r.UnpackFirst(i, &row, fields)
			if !yield(i, &row) {
				return
			}
		}
	}
}

// Some are the rows with these numbers. Each is overwritten by the next.
func (r *Rows[T]) Some(numbers []int32) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		var row T
		for _, i := range numbers {
			if r.Get(int(i), &row); !yield(&row) {
				return
			}
		}
	}
}

// Slice unpacks all rows.
func (r *Rows[T]) Slice() []T {
	out := make([]T, r.n)
	for i := range out {
		r.get(i, unsafe.Pointer(&out[i]), len(r.layout))
	}
	return out
}

// Part packs rows from up to to anew.
func (r *Rows[T]) Part(from, to int) (part Rows[T]) {
	var row T
	for i := from; i < to; i++ {
		r.Get(i, &row)
		part.add(&row)
	}
	return part
}

// Text keeps a text for a row that will be added. It copies b.
func (r *Rows[T]) Text(b []byte) Text { return r.texts.add(b) }

// TextBytes is how long the texts that Text kept are together, each counted once.
func (r *Rows[T]) TextBytes() int64 { return r.texts.size }

// Change lets f change every row in order.
func (r *Rows[T]) Change(f func(i int, row *T)) {
	old := r.take()
	var row T
	for i := range old.n {
		old.Get(i, &row)
		f(i, &row)
		r.add(&row)
		if i%chunkRows == chunkRows-1 {
			old.chunks[i/chunkRows] = chunk{} // the two never take twice the memory
		}
	}
	r.Rest()
}

// Lead gives every row this string as its first field, which must be one.
func (r *Rows[T]) Lead(s string) {
	if r.n > 0 && !r.layout[0].leads() {
		panic(fmt.Sprintf("packed: the first field of %v is no string", r.RowType()))
	}
	if r.others {
		r.Change(func(_ int, row *T) { *(*string)(unsafe.Pointer(row)) = s })
		return
	}
	r.lead = s
}

// Led is the first field of every row, when it is the same string in all.
func (r *Rows[T]) Led() (string, bool) {
	return r.lead, r.n > 0 && r.layout[0].leads() && !r.others
}

// take empties r and gives what it held.
func (r *Rows[T]) take() Rows[T] {
	r.texts.close()
	old := *r
	*r = Rows[T]{layout: old.layout}
	return old
}

// Rest frees what only adding needs; more may be added all the same.
func (r *Rows[T]) Rest() {
	r.seal()
	r.names.ids, r.names.recent = nil, nil
	r.texts.rest()
	r.buf, r.spare = nil, nil
}

// Reorder gives row order[i] place i. order holds no number twice; rows that it
// does not hold are gone.
func (r *Rows[T]) Reorder(order []int) {
	old := r.take()
	var row T
	for _, i := range order {
		old.Get(i, &row)
		r.add(&row)
	}
	r.Rest()
}

// RowType is T.
func (r *Rows[T]) RowType() reflect.Type { return reflect.TypeFor[T]() }

// Unpack is Get for who does not know T: row is a *T. So it is below.
func (r *Rows[T]) Unpack(i int, row any) { r.Get(i, row.(*T)) }

// FieldsTo is how many fields a row has up to the one of that name and with it,
// for UnpackFirst. A name that no field has is a bug of the caller.
func (r *Rows[T]) FieldsTo(name string) int {
	f, ok := r.RowType().FieldByName(name)
	if !ok {
		panic(fmt.Sprintf("packed: %v has no field %s", r.RowType(), name))
	}
	return f.Index[0] + 1
}

// UnpackFirst unpacks the first fields only; the others are zero.
func (r *Rows[T]) UnpackFirst(i int, row any, fields int) {
	p := row.(*T)
	var zero T
	*p = zero
	r.get(i, unsafe.Pointer(p), fields)
}

// Pack appends rows, a []T.
func (r *Rows[T]) Pack(rows any) { r.Add(rows.([]T)...) }

// ChangeAny is Change.
func (r *Rows[T]) ChangeAny(f func(row any)) { r.Change(func(_ int, row *T) { f(row) }) }

// Join appends the rows of o, a *Rows[T].
func (r *Rows[T]) Join(o any) {
	for _, row := range o.(*Rows[T]).All() {
		r.add(row)
	}
}

// names numbers strings.
type names struct {
	list   []string
	ids    map[string]uint32
	recent *Recent
}

// Recent remembers numbers of strings by where these lie. The same few strings
// come again and again, most of them from the same place, and two that lie there
// are equal. The zero value is ready.
type Recent struct{ slots [512]name }

type name struct {
	s  string
	id uint32
}

// Number is where the number of a string stands; when it is not known, the caller
// writes it there.
func (r *Recent) Number(v string) (number *uint32, known bool) {
	at := unsafe.StringData(v)
	last := &r.slots[(uintptr(unsafe.Pointer(at))>>4^uintptr(unsafe.Pointer(at))>>13)%uintptr(len(r.slots))]
	if unsafe.StringData(last.s) == at && len(last.s) == len(v) && at != nil {
		return &last.id, true
	}
	last.s = v
	return &last.id, false
}

// number is that of a string.
func (s *names) number(v string) uint32 {
	if s.recent == nil {
		s.recent = new(Recent)
	}
	id, known := s.recent.Number(v)
	if !known {
		*id = s.find(v)
	}
	return *id
}

func (s *names) find(v string) uint32 {
	if s.ids == nil {
		s.ids = make(map[string]uint32, len(s.list))
		for i, n := range s.list {
			s.ids[n] = uint32(i)
		}
	}
	id, ok := s.ids[v]
	if !ok {
		id = uint32(len(s.list))
		v = strings.Clone(v) // it may be part of something large
		s.list = append(s.list, v)
		s.ids[v] = id
	}
	return id
}

// Table is Rows of any type.
type Table interface {
	Len() int
	RowType() reflect.Type
	Unpack(i int, row any)
	UnpackFirst(i int, row any, fields int)
	Pack(rows any)
	Text(b []byte) Text
	ChangeAny(f func(row any))
	Lead(s string)
	Led() (string, bool)
	Reorder(order []int)
	Join(o any)
}
