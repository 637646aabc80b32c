package table

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unsafe"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/twtrace/twtrace/internal/packed"
)

// The reader is our own: arrow/go v17 believes sizes in a damaged file (it
// allocates what a header says) and its ReadBatch does not end when a page
// holds fewer levels than its header says, which no recover can help. It takes
// what twtrace, arrow-cpp and DuckDB write by default: flat columns and
// lists; PLAIN and dictionary pages of version 1 and 2; no compression,
// Snappy, gzip or zstd.

const (
	maxPageBytes = 256 << 20
	// What a file may expand to, as bytes and as rows: room for small files and
	// then in proportion to the file. A constant column takes next to nothing,
	// but a table's key takes some bits a row.
	freeBytes, bytesPerByte = 256 << 20, 512
	freeRows, rowsPerByte   = 256 << 10, 64
)

// Physical types, repetitions, encodings, page types and codecs of
// parquet.thrift.
const (
	physBool, physInt32, physInt64, physInt96, physFloat, physDouble, physBytes = 0, 1, 2, 3, 4, 5, 6

	repRequired, repOptional, repRepeated = 0, 1, 2

	encPlain, encPlainDict, encRLE, encRLEDict = 0, 2, 3, 8

	pageData, pageDict, pageDataV2 = 0, 2, 3

	codecNone, codecSnappy, codecGzip, codecZstd = 0, 1, 2, 6
)

// leaf is a column of values in a file's schema.
type leaf struct {
	top      string // name of the column at the root
	phys     int64
	maxDef   int
	maxRep   int
	elemDef  int // definition level from which a list has an element
	nsPerOne int64
	unsigned bool
}

type chunk struct {
	phys, codec      int64
	values           int64
	size             int64
	data, dictionary int64
}

type group struct {
	rows   int64
	chunks []chunk
}

type footer struct {
	leaves []leaf
	groups []group
	meta   map[string]string
}

// readParquet appends the rows of a file to their table, without the columns
// named in except.
func readParquet(data []byte, d *Dataset, sp *spec, except ...string) error {
	f, err := readFooter(data)
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	if v, ok := f.meta[metaVersion]; ok {
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("schema version is %q, wanted a number", v)
		}
		if n > SchemaVersion {
			return fmt.Errorf("written with schema version %d, this twtrace knows up to %d: use a newer twtrace", n, SchemaVersion)
		}
	}
	if t, ok := f.meta[metaTable]; ok && t != sp.schema.Name {
		return fmt.Errorf("holds table %s, wanted %s", t, sp.schema.Name)
	}
	r := &fileReader{data: data, budget: freeBytes + bytesPerByte*int64(len(data))}
	defer r.close()
	maxRows := freeRows + rowsPerByte*int64(len(data))
	rows := 0
	for _, g := range f.groups {
		if maxRows -= g.rows; g.rows < 0 || maxRows < 0 {
			return fmt.Errorf("parquet: more rows than a file of %d bytes can hold", len(data))
		}
		rows += int(g.rows)
	}
	all := sp.list(d)
	all.grow(rows)
	r.page.in = all.packed
	for _, g := range f.groups {
		if len(g.chunks) != len(f.leaves) {
			return fmt.Errorf("parquet: row group has %d columns, wanted %d as in the schema", len(g.chunks), len(f.leaves))
		}
		rows := all.more(int(g.rows))
		for i := range g.chunks {
			c, err := sp.column(f.leaves[i].top)
			if err != nil || slices.Contains(except, sp.schema.Name+"."+c.Name) {
				continue
			}
			r.maxValues = freeRows + rowsPerByte*int64(len(data))
			if err := r.column(c, &f.leaves[i], &g.chunks[i], adjacent(rows)); err != nil {
				return fmt.Errorf("parquet: column %s: %w", c.Name, err)
			}
		}
		all.took(rows)
	}
	return nil
}

func readFooter(data []byte) (*footer, error) {
	const magic = "PAR1"
	n := len(data)
	if n < 12 || string(data[:4]) != magic || string(data[n-4:]) != magic {
		return nil, fmt.Errorf("wanted %s at begin and end of the file", magic)
	}
	size := binary.LittleEndian.Uint32(data[n-8:])
	if int64(size) > int64(n-12) {
		return nil, fmt.Errorf("byte %d: footer of %d bytes in a file of %d", n-8, size, n)
	}
	t := &thrift{b: data[:n-8], off: n - 8 - int(size)}
	f := &footer{meta: map[string]string{}}
	var elems []element
	t.fields(func(id int, typ byte) bool {
		switch {
		case id == 2 && typ == tList:
			t.list(func(byte) { elems = append(elems, readElement(t)) })
		case id == 4 && typ == tList:
			t.list(func(byte) { f.groups = append(f.groups, readGroup(t)) })
		case id == 5 && typ == tList:
			t.list(func(byte) {
				var k, v string
				t.fields(func(id int, typ byte) bool {
					switch {
					case id == 1 && typ == tBinary:
						k = string(t.bytes())
					case id == 2 && typ == tBinary:
						v = string(t.bytes())
					default:
						return false
					}
					return true
				})
				f.meta[k] = v
			})
		default:
			return false
		}
		return true
	})
	if t.err != nil {
		return nil, t.err
	}
	var err error
	f.leaves, err = flatten(elems)
	return f, err
}

// element is a node of the schema, which is written flat, depth first.
type element struct {
	name     string
	phys     int64
	rep      int64
	children int64
	nsPerOne int64
	unsigned bool
}

func readElement(t *thrift) element {
	e := element{phys: -1}
	t.fields(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tI32:
			e.phys = t.integer()
		case id == 3 && typ == tI32:
			e.rep = t.integer()
		case id == 4 && typ == tBinary:
			e.name = string(t.bytes())
		case id == 5 && typ == tI32:
			e.children = t.integer()
		case id == 6 && typ == tI32:
			switch t.integer() { // ConvertedType
			case 9:
				e.nsPerOne = 1e6
			case 10:
				e.nsPerOne = 1e3
			case 11, 12, 13, 14:
				e.unsigned = true
			}
		case id == 10 && typ == tStruct: // LogicalType
			t.fields(func(id int, typ byte) bool {
				if id != 8 || typ != tStruct {
					return false
				}
				t.fields(func(id int, typ byte) bool { // TimestampType
					if id != 2 || typ != tStruct {
						return false
					}
					t.fields(func(id int, typ byte) bool {
						switch id {
						case 1:
							e.nsPerOne = 1e6
						case 2:
							e.nsPerOne = 1e3
						case 3:
							e.nsPerOne = 1
						}
						return false
					})
					return true
				})
				return true
			})
		default:
			return false
		}
		return true
	})
	return e
}

func readGroup(t *thrift) group {
	var g group
	t.fields(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tList:
			t.list(func(byte) { g.chunks = append(g.chunks, readChunk(t)) })
		case id == 3 && typ == tI64:
			g.rows = t.integer()
		default:
			return false
		}
		return true
	})
	return g
}

func readChunk(t *thrift) chunk {
	c := chunk{phys: -1}
	t.fields(func(id int, typ byte) bool {
		if id != 3 || typ != tStruct { // ColumnMetaData
			return false
		}
		t.fields(func(id int, typ byte) bool {
			if typ != tI32 && typ != tI64 {
				return false
			}
			switch id {
			case 1:
				c.phys = t.integer()
			case 4:
				c.codec = t.integer()
			case 5:
				c.values = t.integer()
			case 7:
				c.size = t.integer()
			case 9:
				c.data = t.integer()
			case 11:
				c.dictionary = t.integer()
			default:
				return false
			}
			return true
		})
		return true
	})
	return c
}

// flatten finds the leaves and their levels (Dremel; Parquet "Nested
// Encoding").
func flatten(elems []element) ([]leaf, error) {
	if len(elems) == 0 {
		return nil, errors.New("schema without a root")
	}
	var out []leaf
	at := 1
	var walk func(children int64, l leaf, depth int) error
	walk = func(children int64, l leaf, depth int) error {
		if depth > 8 {
			return errors.New("schema nested too deeply")
		}
		for range children {
			if at >= len(elems) {
				return errors.New("schema has fewer elements than its groups say")
			}
			e := elems[at]
			at++
			l := l
			if depth == 0 {
				l.top = e.name
			}
			switch e.rep {
			case repOptional:
				l.maxDef++
			case repRepeated:
				l.maxDef++
				l.maxRep++
				l.elemDef = l.maxDef
			}
			if e.children > 0 {
				if err := walk(e.children, l, depth+1); err != nil {
					return err
				}
				continue
			}
			l.phys, l.nsPerOne, l.unsigned = e.phys, e.nsPerOne, e.unsigned
			out = append(out, l)
		}
		return nil
	}
	return out, walk(elems[0].children, leaf{}, 0)
}

// fileReader decodes the columns of one file. The slices are scratch.
type fileReader struct {
	data      []byte
	budget    int64 // bytes that pages may still expand to
	maxValues int64
	zstd      *zstd.Decoder

	def, rep, index []uint32
	page, dict      values
	body            []byte // the page that was expanded last
}

// values are a page's values in the form of their physical type.
type values struct {
	ints   []int64 // booleans and 32-bit integers too
	floats []float64
	texts  []string
	in     packed.Table // where long texts are kept; nil: nowhere
}

func (v *values) reset() { v.ints, v.floats, v.texts = v.ints[:0], v.floats[:0], v.texts[:0] }

func (r *fileReader) close() {
	if r.zstd != nil {
		r.zstd.Close()
	}
}

// fits tells whether values of a leaf can be those of a column.
func (c *column) fits(l *leaf) bool {
	rep := 0
	if c.kind.list() {
		rep = 1
	}
	if l.maxRep != rep || l.maxDef > 255 {
		return false
	}
	switch c.kind {
	case kindTime:
		return l.phys == physInt64 && l.nsPerOne > 0
	case kindText, kindEnum, kindTexts:
		return l.phys == physBytes
	case kindInt, kindUint, kindInts:
		return l.phys == physInt64 || l.phys == physInt32
	case kindFloat:
		return l.phys == physDouble || l.phys == physFloat
	}
	return l.phys == physBool
}

type pageHeader struct {
	typ, full, stored     int64
	values, enc           int64
	defEnc, repEnc        int64
	defBytes, repBytes    int64
	v2Compressed, hasHead bool
}

func readPageHeader(t *thrift) pageHeader {
	h := pageHeader{typ: -1, defEnc: encRLE, repEnc: encRLE, v2Compressed: true}
	t.fields(func(id int, typ byte) bool {
		switch {
		case id == 1 && typ == tI32:
			h.typ = t.integer()
		case id == 2 && typ == tI32:
			h.full = t.integer()
		case id == 3 && typ == tI32:
			h.stored = t.integer()
		case id == 5 && typ == tStruct, id == 7 && typ == tStruct: // DataPageHeader, DictionaryPageHeader
			h.hasHead = true
			t.fields(func(id int, typ byte) bool {
				if typ != tI32 {
					return false
				}
				switch id {
				case 1:
					h.values = t.integer()
				case 2:
					h.enc = t.integer()
				case 3:
					h.defEnc = t.integer()
				case 4:
					h.repEnc = t.integer()
				default:
					return false
				}
				return true
			})
		case id == 8 && typ == tStruct: // DataPageHeaderV2
			h.hasHead = true
			t.fields(func(id int, typ byte) bool {
				if id == 7 && (typ == tTrue || typ == tFalse) {
					h.v2Compressed = typ == tTrue
					return true
				}
				if typ != tI32 {
					return false
				}
				switch id {
				case 1:
					h.values = t.integer()
				case 4:
					h.enc = t.integer()
				case 5:
					h.defBytes = t.integer()
				case 6:
					h.repBytes = t.integer()
				default:
					return false
				}
				return true
			})
		default:
			return false
		}
		return true
	})
	return h
}

// column decodes one chunk into the column's field of rows.
func (r *fileReader) column(c *column, l *leaf, ch *chunk, rows rowRun) error {
	if !c.fits(l) || ch.phys != l.phys {
		return fmt.Errorf("holds values of another type (physical type %d, lists %d deep), wanted %s", l.phys, l.maxRep, words[c.kind])
	}
	from := ch.data
	if ch.dictionary > 0 && ch.dictionary < from {
		from = ch.dictionary
	}
	if ch.values < 0 || ch.values > r.maxValues {
		return fmt.Errorf("says %d values, too many for the file", ch.values)
	}
	if from < 4 || ch.size < 0 || from > int64(len(r.data)) || ch.size > int64(len(r.data))-from {
		return fmt.Errorf("bytes %d to %d are not in the file", from, from+ch.size)
	}
	end := from + ch.size
	t := &thrift{b: r.data[:end], off: int(from)}
	row, left := -1, ch.values
	r.dict.reset()
	for left > 0 {
		at := t.off
		h := readPageHeader(t)
		if t.err != nil {
			return fmt.Errorf("page at byte %d: %w", at, t.err)
		}
		if h.stored < 0 || h.stored > end-int64(t.off) || h.full < 0 || h.full > maxPageBytes {
			return fmt.Errorf("page at byte %d: says %d bytes, %d when expanded", at, h.stored, h.full)
		}
		body := r.data[t.off : t.off+int(h.stored)]
		t.off += int(h.stored)
		if h.typ != pageData && h.typ != pageDict && h.typ != pageDataV2 {
			continue
		}
		if !h.hasHead || h.values < 0 || h.values > r.maxValues {
			return fmt.Errorf("page at byte %d: says %d values", at, h.values)
		}
		var err error
		if h.typ == pageDict {
			err = r.dictionary(&h, body, ch)
		} else if h.values > left {
			err = fmt.Errorf("%d values, wanted at most %d", h.values, left)
		} else {
			left -= h.values
			row, err = r.dataPage(c, l, &h, body, ch, rows, row)
		}
		if err != nil {
			return fmt.Errorf("page at byte %d: %w", at, err)
		}
	}
	if row+1 != rows.n {
		return fmt.Errorf("%d rows, wanted %d", row+1, rows.n)
	}
	return nil
}

func (r *fileReader) dictionary(h *pageHeader, body []byte, ch *chunk) error {
	if h.enc != encPlain && h.enc != encPlainDict {
		return fmt.Errorf("dictionary in encoding %d, wanted PLAIN", h.enc)
	}
	b, err := r.expand(body, h.full, ch.codec)
	if err != nil {
		return err
	}
	r.dict.reset()
	return r.dict.plain(b, ch.phys, int(h.values))
}

// dataPage decodes levels and values and hands them to rows; row is the last
// row begun.
func (r *fileReader) dataPage(c *column, l *leaf, h *pageHeader, body []byte, ch *chunk, rows rowRun, row int) (int, error) {
	n := int(h.values)
	var rep, def, vals []byte
	if h.typ == pageDataV2 {
		if h.repBytes < 0 || h.defBytes < 0 || h.repBytes > int64(len(body)) || h.defBytes > int64(len(body))-h.repBytes {
			return row, fmt.Errorf("levels of %d and %d bytes in a page of %d", h.repBytes, h.defBytes, len(body))
		}
		rep, def, vals = body[:h.repBytes], body[h.repBytes:h.repBytes+h.defBytes], body[h.repBytes+h.defBytes:]
		if h.v2Compressed {
			var err error
			if vals, err = r.expand(vals, h.full-h.repBytes-h.defBytes, ch.codec); err != nil {
				return row, err
			}
		}
	} else {
		b, err := r.expand(body, h.full, ch.codec)
		if err != nil {
			return row, err
		}
		if l.maxRep > 0 {
			if rep, b, err = sized(b, h.repEnc); err != nil {
				return row, err
			}
		}
		if l.maxDef > 0 {
			if def, b, err = sized(b, h.defEnc); err != nil {
				return row, err
			}
		}
		vals = b
	}
	var err error
	present := n
	if l.maxDef > 0 {
		if r.def, err = hybrid(r.def[:0], def, levelBits(l.maxDef), n); err != nil {
			return row, fmt.Errorf("definition levels: %w", err)
		}
		present = 0
		for _, d := range r.def {
			if d == uint32(l.maxDef) {
				present++
			}
		}
	}
	if l.maxRep > 0 {
		if r.rep, err = hybrid(r.rep[:0], rep, levelBits(l.maxRep), n); err != nil {
			return row, fmt.Errorf("repetition levels: %w", err)
		}
	}
	r.page.reset()
	v := &r.page
	switch {
	case h.enc == encPlain:
		err = v.plain(vals, ch.phys, present)
	case h.enc == encRLE && ch.phys == physBool:
		var b []byte
		if b, _, err = sized(vals, encRLE); err == nil {
			r.index, err = hybrid(r.index[:0], b, 1, present)
			for _, x := range r.index {
				v.ints = append(v.ints, int64(x))
			}
		}
	case h.enc == encRLEDict || h.enc == encPlainDict:
		err = r.fromDictionary(vals, present)
	default:
		err = fmt.Errorf("encoding %d is not handled", h.enc)
	}
	if err != nil {
		return row, fmt.Errorf("values: %w", err)
	}
	next := 0
	for i := range n {
		if l.maxRep == 0 || r.rep[i] == 0 {
			if row++; row >= rows.n {
				return row, fmt.Errorf("more than %d rows", rows.n)
			}
		} else if row < 0 {
			return row, errors.New("first value does not begin a row")
		}
		if l.maxDef > 0 && r.def[i] != uint32(l.maxDef) {
			continue
		}
		if err := c.set(rows.at(row), v, next, l); err != nil {
			return row, fmt.Errorf("row %d: %w", row, err)
		}
		next++
	}
	return row, nil
}

// fromDictionary decodes indices: a byte of bit width, then the hybrid.
func (r *fileReader) fromDictionary(b []byte, n int) error {
	if n == 0 {
		return nil
	}
	if len(b) == 0 || b[0] > 32 {
		return errors.New("wanted a bit width of at most 32 for dictionary indices")
	}
	var err error
	if r.index, err = hybrid(r.index[:0], b[1:], int(b[0]), n); err != nil {
		return err
	}
	v, d := &r.page, &r.dict
	size := uint32(max(len(d.ints), len(d.floats), len(d.texts)))
	for _, x := range r.index {
		switch {
		case x >= size:
			return fmt.Errorf("index %d in a dictionary of %d", x, size)
		case len(d.texts) > 0:
			v.texts = append(v.texts, d.texts[x])
		case len(d.ints) > 0:
			v.ints = append(v.ints, d.ints[x])
		default:
			v.floats = append(v.floats, d.floats[x])
		}
	}
	return nil
}

// plain decodes n values in encoding PLAIN.
func (v *values) plain(b []byte, phys int64, n int) error {
	short := func(size int) error {
		if len(b)/size < n {
			return fmt.Errorf("%d bytes for %d values of %d bytes", len(b), n, size)
		}
		return nil
	}
	switch phys {
	case physBool:
		if len(b)*8 < n {
			return fmt.Errorf("%d bytes for %d bits", len(b), n)
		}
		for i := range n {
			v.ints = append(v.ints, int64(b[i>>3]>>(i&7)&1))
		}
	case physInt32:
		if err := short(4); err != nil {
			return err
		}
		for i := range n {
			v.ints = append(v.ints, int64(int32(binary.LittleEndian.Uint32(b[4*i:]))))
		}
	case physInt64:
		if err := short(8); err != nil {
			return err
		}
		for i := range n {
			v.ints = append(v.ints, int64(binary.LittleEndian.Uint64(b[8*i:])))
		}
	case physFloat:
		if err := short(4); err != nil {
			return err
		}
		for i := range n {
			v.floats = append(v.floats, float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))))
		}
	case physDouble:
		if err := short(8); err != nil {
			return err
		}
		for i := range n {
			v.floats = append(v.floats, math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])))
		}
	case physBytes:
		if err := short(4); err != nil {
			return err
		}
		// One string holds all values of the page; they are slices of it.
		all := string(b)
		at := 0
		for range n {
			if len(all)-at < 4 {
				return errors.New("text: wanted a length of 4 bytes, found the page's end")
			}
			size := binary.LittleEndian.Uint32(b[at:])
			at += 4
			if int64(size) > int64(len(all)-at) {
				return fmt.Errorf("text of %d bytes, %d are left in the page", size, len(all)-at)
			}
			v.texts = append(v.texts, all[at:at+int(size)])
			at += int(size)
		}
	default:
		return fmt.Errorf("physical type %d is not handled", phys)
	}
	return nil
}

// set stores value number i of the page in the row's field.
func (c *column) set(row rowAt, v *values, i int, l *leaf) error {
	f := unsafe.Add(row, c.at)
	if c.opt {
		*(*bool)(unsafe.Add(row, c.known)) = true
	}
	switch c.kind {
	case kindTime:
		n := v.ints[i]
		if n > math.MaxInt64/l.nsPerOne || n < math.MinInt64/l.nsPerOne {
			return fmt.Errorf("time %d does not fit into ns", n)
		}
		*(*int64)(f) = n * l.nsPerOne
	case kindText:
		c.setText(row, v.texts[i], v.in)
	case kindEnum:
		at := slices.Index(c.Enum, v.texts[i])
		if at < 0 && v.texts[i] != "" {
			return fmt.Errorf("%q is not in the schema's set", v.texts[i])
		}
		if at >= 0 {
			*(*string)(f) = c.Enum[at]
		}
	case kindInt:
		*(*int64)(f) = l.integer(v.ints[i])
	case kindUint:
		n := l.integer(v.ints[i])
		if n < 0 || n > math.MaxUint32 {
			return fmt.Errorf("%d is no unsigned 32-bit number", n)
		}
		*(*uint32)(f) = uint32(n)
	case kindFloat:
		if math.IsNaN(v.floats[i]) || math.IsInf(v.floats[i], 0) {
			if c.opt {
				*(*bool)(unsafe.Add(row, c.known)) = false
			}
			break
		}
		*(*float64)(f) = v.floats[i]
	case kindBool:
		*(*bool)(f) = v.ints[i] != 0
	case kindTexts:
		p := (*[]string)(f)
		*p = append(*p, v.texts[i])
	case kindInts:
		p := (*[]int64)(f)
		*p = append(*p, l.integer(v.ints[i]))
	}
	return nil
}

func (l *leaf) integer(n int64) int64 {
	if l.unsigned && l.phys == physInt32 {
		return int64(uint32(n))
	}
	return n
}

func levelBits(most int) int {
	n := 0
	for ; most > 0; most >>= 1 {
		n++
	}
	return n
}

// sized takes the levels of a version 1 page: 4 bytes of length, then so many.
func sized(b []byte, enc int64) (part, rest []byte, err error) {
	if enc != encRLE {
		return nil, nil, fmt.Errorf("levels in encoding %d, wanted RLE", enc)
	}
	if len(b) < 4 {
		return nil, nil, errors.New("wanted the 4-byte length of levels, found the page's end")
	}
	n := binary.LittleEndian.Uint32(b)
	if int64(n) > int64(len(b)-4) {
		return nil, nil, fmt.Errorf("levels of %d bytes, %d are left in the page", n, len(b)-4)
	}
	return b[4 : 4+n], b[4+n:], nil
}

// hybrid decodes n values of the run-length and bit-packing hybrid (Parquet
// "RLE = 3") and appends them to dst.
func hybrid(dst []uint32, b []byte, width, n int) ([]uint32, error) {
	if width == 0 {
		for range n {
			dst = append(dst, 0)
		}
		return dst, nil
	}
	for n > 0 {
		h, size := binary.Uvarint(b)
		if size <= 0 {
			return dst, fmt.Errorf("runs end %d values early", n)
		}
		b = b[size:]
		if h&1 == 0 {
			bytes := (width + 7) / 8
			if len(b) < bytes {
				return dst, fmt.Errorf("runs end %d values early", n)
			}
			var v uint32
			for i := range bytes {
				v |= uint32(b[i]) << (8 * i)
			}
			b = b[bytes:]
			run := int(min(h>>1, uint64(n)))
			for range run {
				dst = append(dst, v)
			}
			n -= run
			continue
		}
		// Groups of 8 values, the lowest bits first; the last group may be cut
		// after the last byte that holds a value.
		count := int(min((h>>1)<<3, uint64(n)))
		if h>>1 > uint64(n) {
			count = n
		}
		if len(b)*8/width < count {
			return dst, fmt.Errorf("runs end %d values early", n)
		}
		var acc uint64
		bits, at := 0, 0
		for range count {
			for bits < width {
				acc |= uint64(b[at]) << bits
				at++
				bits += 8
			}
			dst = append(dst, uint32(acc&(1<<width-1)))
			acc >>= width
			bits -= width
		}
		n -= count
		b = b[min(uint64(len(b)), (h>>1)*uint64(width)):]
	}
	return dst, nil
}

// expand undoes a page's compression. full is what the header promises. What it
// gives lasts until the next page.
func (r *fileReader) expand(b []byte, full int64, codec int64) ([]byte, error) {
	if full < 0 {
		return nil, fmt.Errorf("page of %d bytes", full)
	}
	if r.budget -= full; r.budget < 0 {
		return nil, errors.New("file expands to more than a dataset of its size can hold")
	}
	var out []byte
	var err error
	switch codec {
	case codecNone:
		out = b
	case codecSnappy:
		var n int
		if n, err = s2.DecodedLen(b); err == nil && int64(n) == full {
			out, err = s2.Decode(r.body[:cap(r.body)], b)
			r.body = out
		}
	case codecGzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			out, err = io.ReadAll(io.LimitReader(z, full+1))
		}
	case codecZstd:
		if r.zstd == nil {
			r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPageBytes), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, err
			}
		}
		// An empty page is written as no bytes at all or as an empty frame.
		if len(b) > 0 {
			if want := min(full, int64(len(b))*64+1024); int64(cap(r.body)) < want {
				r.body = make([]byte, 0, want)
			}
			out, err = r.zstd.DecodeAll(b, r.body[:0])
			r.body = out
		}
	default:
		return nil, fmt.Errorf("compression %d is not handled, wanted none, Snappy, gzip or zstd", codec)
	}
	if err != nil {
		return nil, err
	}
	if int64(len(out)) != full {
		return nil, fmt.Errorf("page expands to %d bytes, wanted %d", len(out), full)
	}
	return out, nil
}
