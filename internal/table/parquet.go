package table

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/schema"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/internal/packed"
)

// rowGroup is the number of rows of a row group: it bounds what writer and
// reader hold in memory.
const rowGroup = 8 << 10

// textsAtOnce is how many packed texts are unpacked together, a multiple of the
// number of values that the library takes at once itself.
const textsAtOnce = 4 << 10

// writeParquet writes a selection as one Parquet file. package parquet/file is
// used and not pqarrow, which would link gRPC and triple the binary.
func writeParquet(w io.Writer, s *selection) error {
	return writeParquetMem(w, s, memory.NewGoAllocator())
}

func writeParquetMem(w io.Writer, s *selection, mem memory.Allocator) (err error) {
	// The library drops some of the writer's errors and panics on others.
	sink := &sticky{w: bufio.NewWriterSize(w, 64<<10)}
	defer func() {
		if r := recover(); r != nil {
			if sink.err == nil {
				panic(r)
			}
			err = sink.err
		}
	}()
	registerZstd()
	root, err := s.parquetSchema()
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	props := []parquet.WriterProperty{
		parquet.WithAllocator(mem),
		parquet.WithCreatedBy("twtrace"),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithDictionaryDefault(false),
		parquet.WithVersion(parquet.V2_LATEST),
		parquet.WithDataPageVersion(parquet.DataPageV1),
	}
	coded := s.dictionaries()
	for _, c := range coded {
		name := c.Name
		if c.kind == kindTexts {
			name += ".list.element"
		}
		props = append(props, parquet.WithDictionaryFor(name, true))
	}
	meta := metadata.NewKeyValueMetadata()
	keys, values := s.spec.metadata()
	described, err := s.describedSchema()
	if err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	keys, values = append(keys, "ARROW:schema"), append(values, described)
	for i := range keys {
		if err := meta.Append(keys[i], values[i]); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
	}
	out := file.NewParquetWriter(sink, root, file.WithWriterProps(parquet.NewWriterProperties(props...)), file.WithWriteMetadata(meta))
	var p columns
	for from := 0; from < s.n; from += rowGroup {
		to := min(s.n, from+rowGroup)
		s.load(from, to)
		group := out.AppendRowGroup()
		for _, c := range s.cols {
			cw, err := group.NextColumn()
			if err != nil {
				return fmt.Errorf("parquet: column %s: %w", c.Name, err)
			}
			step := rowGroup
			if c.packed {
				step = textsAtOnce
			}
			p.arena = p.arena[:0] // the library's statistics of a column alias its texts
			write := p.write
			if !c.packed && !c.kind.list() && slices.Contains(coded, c) {
				write = p.writeCoded
			}
			for i := from; i < to; i += step {
				if err := write(cw, s, c, i, min(to, i+step)); err != nil {
					return fmt.Errorf("parquet: column %s: %w", c.Name, err)
				}
			}
			if err := cw.Close(); err != nil {
				return fmt.Errorf("parquet: column %s: %w", c.Name, err)
			}
		}
		if err := group.Close(); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
	}
	// Close alone would lose the footer's error (arrow/go v17 file_writer.go).
	if err := out.FlushWithFooter(); err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	if sink.err != nil {
		return sink.err
	}
	return sink.w.Flush()
}

// dictionaries are the text columns whose dictionary stays below the library's
// limit in every row group. Beyond it the library goes on without a dictionary,
// and lists the encodings of the pages in the order of a map: the same rows
// would give other bytes.
func (s *selection) dictionaries() []*column {
	var texts []*column
	for _, c := range s.cols {
		if c.kind == kindText || c.kind == kindEnum || c.kind == kindTexts {
			texts = append(texts, c)
		}
	}
	fits := func(size int64) bool { return size < parquet.DefaultDictionaryPageSizeLimit }
	all := make([]int64, len(texts)) // bytes of the row group
	for from := 0; from < s.n; from += rowGroup {
		to := min(s.n, from+rowGroup)
		clear(all)
		for i := from; i < to; i++ {
			row := s.row(i)
			for k, c := range texts {
				all[k] += c.textBytes(row)
			}
		}
		var left []*column
		for k, c := range texts {
			if fits(all[k]) || fits(s.distinct(c, from, to)) {
				left = append(left, c)
			}
		}
		texts = left
	}
	return texts
}

// distinct is how many bytes the different texts of a column take in a row
// group's dictionary; it stops counting at the library's limit.
func (s *selection) distinct(c *column, from, to int) (size int64) {
	seen := map[string]bool{}
	see := func(t string) {
		if !seen[t] {
			seen[t] = true
			size += 4 + int64(len(t))
		}
	}
	for i := from; i < to && size < parquet.DefaultDictionaryPageSizeLimit; i++ {
		v := c.cell(s.row(i))
		if c.kind != kindTexts && !v.null {
			see(v.s)
		}
		for _, t := range v.ss {
			see(t)
		}
	}
	return size
}

// textBytes is what the texts of a row take in a dictionary, or more.
func (c *column) textBytes(row rowAt) (size int64) {
	if c.packed { // not unpacked: a byte that is no UTF-8 becomes three
		return 4 + 3*int64((*packed.Text)(unsafe.Add(row, c.at)).Len())
	}
	v := c.cell(row)
	for _, t := range v.ss {
		size += 4 + int64(len(t))
	}
	if c.kind != kindTexts && !v.null {
		size += 4 + int64(len(v.s))
	}
	return size
}

// registerZstd replaces the library's zstd compressor, which makes a new
// encoder for every page, and each with its own tables for every core: 0.3 ms
// a page on two cores, most of the time of a small file. This one keeps its
// encoder. This package is the only one that imports the library.
var registerZstd = sync.OnceFunc(func() {
	enc, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic("table: zstd options: " + err.Error())
	}
	codec, err := compress.GetCodec(compress.Codecs.Zstd)
	if err != nil {
		panic("table: zstd: " + err.Error())
	}
	compress.RegisterCodec(compress.Codecs.Zstd, zstdCodec{codec, enc})
})

type zstdCodec struct {
	compress.Codec
	enc *zstd.Encoder
}

func (z zstdCodec) Encode(dst, src []byte) []byte { return z.enc.EncodeAll(src, dst[:0]) }

func (z zstdCodec) EncodeLevel(dst, src []byte, _ int) []byte { return z.enc.EncodeAll(src, dst[:0]) }

// sticky remembers the first error of the writer below.
type sticky struct {
	w   *bufio.Writer
	err error
}

func (s *sticky) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err != nil && s.err == nil {
		s.err = err
	}
	return n, err
}

// parquetSchema is the tree of columns. The root is Required: a Repeated root,
// the library's default, is refused by some readers.
func (s *selection) parquetSchema() (*schema.GroupNode, error) {
	var nodes schema.FieldList
	for _, c := range s.cols {
		rep := parquet.Repetitions.Required
		if c.Nullable || c.kind == kindFloat {
			rep = parquet.Repetitions.Optional
		}
		var n schema.Node
		var err error
		switch c.kind {
		case kindTime:
			n, err = schema.NewPrimitiveNodeLogical(c.Name, rep, schema.NewTimestampLogicalType(true, schema.TimeUnitNanos), parquet.Types.Int64, -1, -1)
		case kindText, kindEnum:
			n, err = schema.NewPrimitiveNodeLogical(c.Name, rep, schema.StringLogicalType{}, parquet.Types.ByteArray, -1, -1)
		case kindInt:
			n, err = schema.NewPrimitiveNodeLogical(c.Name, rep, schema.NewIntLogicalType(64, true), parquet.Types.Int64, -1, -1)
		case kindUint:
			n, err = schema.NewPrimitiveNodeLogical(c.Name, rep, schema.NewIntLogicalType(32, false), parquet.Types.Int32, -1, -1)
		case kindFloat:
			n = schema.NewFloat64Node(c.Name, rep, -1)
		case kindBool:
			n = schema.NewBooleanNode(c.Name, rep, -1)
		case kindTexts, kindInts:
			var e schema.Node
			if c.kind == kindTexts {
				e, err = schema.NewPrimitiveNodeLogical("element", parquet.Repetitions.Required, schema.StringLogicalType{}, parquet.Types.ByteArray, -1, -1)
			} else {
				e, err = schema.NewPrimitiveNodeLogical("element", parquet.Repetitions.Required, schema.NewIntLogicalType(64, true), parquet.Types.Int64, -1, -1)
			}
			if err == nil {
				n, err = schema.ListOfWithName(c.Name, e, rep, -1)
			}
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return schema.NewGroupNode("twtrace", parquet.Repetitions.Required, nodes, -1)
}

// describedSchema is the Arrow schema as base64 of an IPC schema message, the
// form in which Arrow's Parquet readers look for field metadata. Parquet itself
// has no place for a column's description and unit.
func (s *selection) describedSchema() (string, error) {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(s.arrowSchema(false)), ipc.WithAllocator(memory.NewGoAllocator()))
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// columns is the scratch of one column's values in one row group. texts alias
// the rows; the library copies what it keeps.
type columns struct {
	texts  []parquet.ByteArray
	ints   []int64
	words  []int32
	floats []float64
	bools  []bool
	def    []int16
	rep    []int16
	coding coding
	arena  []byte // of the column's texts that were packed
}

func (p *columns) write(cw file.ColumnChunkWriter, s *selection, c *column, from, to int) error {
	p.texts, p.ints, p.words, p.floats, p.bools = p.texts[:0], p.ints[:0], p.words[:0], p.floats[:0], p.bools[:0]
	p.def, p.rep = p.def[:0], p.rep[:0]
	nullable := c.Nullable || c.kind == kindFloat
	for i := from; i < to; i++ {
		var v cell
		if row := s.row(i); c.packed {
			v = p.unpacked(c, row)
		} else {
			v = c.cell(row)
		}
		s.mended = s.mended || v.mended
		if nullable {
			if v.null {
				p.def = append(p.def, 0)
				continue
			}
			p.def = append(p.def, 1)
		}
		switch c.kind {
		case kindTime, kindInt:
			p.ints = append(p.ints, v.i)
		case kindUint:
			p.words = append(p.words, int32(uint32(v.i)))
		case kindFloat:
			p.floats = append(p.floats, v.f)
		case kindBool:
			p.bools = append(p.bools, v.i != 0)
		case kindText, kindEnum:
			p.texts = append(p.texts, alias(v.s))
		case kindTexts:
			p.levels(len(v.ss))
			for _, t := range v.ss {
				p.texts = append(p.texts, alias(t))
			}
		case kindInts:
			p.levels(len(v.is))
			p.ints = append(p.ints, v.is...)
		}
	}
	var def, rep []int16
	if nullable || c.kind.list() {
		def = p.def
	}
	if c.kind.list() {
		rep = p.rep
	}
	var err error
	switch w := cw.(type) {
	case *file.Int64ColumnChunkWriter:
		_, err = w.WriteBatch(p.ints, def, rep)
	case *file.Int32ColumnChunkWriter:
		_, err = w.WriteBatch(p.words, def, rep)
	case *file.Float64ColumnChunkWriter:
		_, err = w.WriteBatch(p.floats, def, rep)
	case *file.BooleanColumnChunkWriter:
		_, err = w.WriteBatch(p.bools, def, rep)
	case *file.ByteArrayColumnChunkWriter:
		if room, ok := w.CurrentEncoder().(interface{ ReserveForWrite(int) }); ok { // else it doubles its buffer again and again
			size := 0
			for _, t := range p.texts {
				size += 4 + len(t)
			}
			room.ReserveForWrite(min(size, int(maxReserved)))
		}
		_, err = w.WriteBatch(p.texts, def, rep)
	default:
		err = fmt.Errorf("unexpected writer %T", cw)
	}
	return err
}

// coding numbers the texts of a column in a row group by their first
// appearance. The library does the same, with an allocation for each row.
type coding struct {
	numbers map[string]uint32
	recent  packed.Recent
	values  []parquet.ByteArray
	rows    []uint32 // number of each row's text; 0 where it is null
	valid   []byte   // bitmap of rows that are not null
	offsets []int32  // of values in texts
	texts   []byte
}

func (d *coding) reset(rows int) {
	clear(d.numbers)
	d.recent = packed.Recent{}
	d.values, d.rows = d.values[:0], d.rows[:0]
	d.valid = append(d.valid[:0], make([]byte, bitutil.BytesForBits(int64(rows)))...)
}

func (d *coding) add(text string) {
	number, known := d.recent.Number(text)
	if !known {
		if *number, known = d.numbers[text]; !known {
			if d.numbers == nil {
				d.numbers = map[string]uint32{}
			}
			*number = uint32(len(d.values))
			d.numbers[text] = *number
			d.values = append(d.values, alias(text))
		}
	}
	bitutil.SetBit(d.valid, len(d.rows))
	d.rows = append(d.rows, *number)
}

// writeCoded writes the rows of a row group, of a column of texts that has a
// dictionary.
func (p *columns) writeCoded(cw file.ColumnChunkWriter, s *selection, c *column, from, to int) error {
	d := &p.coding
	d.reset(to - from)
	p.def = p.def[:0]
	for i := from; i < to; i++ {
		v := c.cell(s.row(i))
		s.mended = s.mended || v.mended
		if v.null {
			d.rows = append(d.rows, 0)
			p.def = append(p.def, 0)
			continue
		}
		d.add(v.s)
		p.def = append(p.def, 1)
	}
	var def []int16
	if c.Nullable {
		def = p.def
	}
	d.texts, d.offsets = d.texts[:0], append(d.offsets[:0], 0)
	for _, v := range d.values {
		d.texts = append(d.texts, v...)
		d.offsets = append(d.offsets, int32(len(d.texts)))
	}
	dictionary := array.NewData(arrow.BinaryTypes.String, len(d.values),
		[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(d.offsets)), memory.NewBufferBytes(d.texts)}, nil, 0, 0)
	if err := cw.CurrentEncoder().(interface{ PutDictionary(arrow.Array) error }).PutDictionary(array.NewStringData(dictionary)); err != nil {
		return err
	}
	nulls := to - from - bitutil.CountSetBits(d.valid, 0, to-from)
	cw.PageStatistics().(*metadata.ByteArrayStatistics).Update(d.values, int64(nulls))
	numbers := array.NewData(arrow.PrimitiveTypes.Uint32, to-from,
		[]*memory.Buffer{memory.NewBufferBytes(d.valid), memory.NewBufferBytes(arrow.Uint32Traits.CastToBytes(d.rows))}, nil, nulls, 0)
	return cw.WriteDictIndices(array.NewUint32Data(numbers), def, nil)
}

// maxReserved is what a page takes before the library writes it.
const maxReserved = parquet.DefaultDataPageSize + parquet.DefaultDataPageSize/4

// unpacked is the cell of a packed text, which lies in the arena.
func (p *columns) unpacked(c *column, row rowAt) cell {
	at := len(p.arena)
	p.arena = (*packed.Text)(unsafe.Add(row, c.at)).Append(p.arena)
	raw := p.arena[at:]
	return c.textCell(unsafe.String(unsafe.SliceData(raw), len(raw)))
}

// levels are those of a Required list of Required elements: definition 0 is an
// empty list, repetition 0 begins a row.
func (p *columns) levels(n int) {
	if n == 0 {
		p.def, p.rep = append(p.def, 0), append(p.rep, 0)
	}
	for i := range n {
		p.def = append(p.def, 1)
		p.rep = append(p.rep, int16(min(i, 1)))
	}
}

// alias is s as bytes without a copy. The library takes a nil ByteArray for
// something else than an empty one.
func alias(s string) parquet.ByteArray {
	if s == "" {
		return parquet.ByteArray{}
	}
	return parquet.ByteArray(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// WriteDir writes a dataset folder: for every table a file of no rows and one
// of each experiment that has rows; with withArrow one IPC file a table too.
// Names given to create use / and no other part of them is ever "." or "..".
// A nil writer of it leaves a file out. So many workers write tables at once;
// more than one call create at once too.
//
// asIs tells that ReadDir will give the same rows again: it does not where text
// is no UTF-8 or where there are several experiments.
func WriteDir(create func(name string) (io.WriteCloser, error), d *Dataset, withArrow bool, workers int) (asIs bool, err error) {
	order := make([]*spec, len(specs))
	size := map[*spec]int{}
	for i := range specs {
		order[i] = &specs[i]
		rows := specs[i].list(d)
		size[order[i]] = rows.Len() * len(specs[i].cols)
	}
	if workers > 1 { // the largest first, so that none is waited for alone
		slices.SortStableFunc(order, func(a, b *spec) int { return size[b] - size[a] })
	}
	var g errgroup.Group
	g.SetLimit(max(1, workers))
	same := make([]bool, len(order))
	for i, sp := range order {
		g.Go(func() (err error) {
			same[i], err = sp.writeDir(create, d, withArrow)
			return err
		})
	}
	err = g.Wait()
	return err == nil && !slices.Contains(same, false), err
}

func (sp *spec) writeDir(create func(name string) (io.WriteCloser, error), d *Dataset, withArrow bool) (asIs bool, err error) {
	write := func(name string, body func(io.Writer) error) (err error) {
		w, err := create(name)
		if err != nil || w == nil {
			return err
		}
		err = body(w)
		if cerr := w.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	all, err := pick(d, sp, View{})
	if err != nil {
		return false, err
	}
	none := *all
	none.n = 0
	dir := "tables/" + sp.schema.Name + "/"
	if err := write(dir+"0-schema.parquet", func(w io.Writer) error { return writeParquet(w, &none) }); err != nil {
		return false, err
	}
	// Experiments in order of appearance, the rows of each in their order.
	var names []string
	rows := map[string][]int{}
	if name, ok := all.rows.led(); ok {
		names = append(names, name)
	} else {
		for j := range all.n {
			name := sp.cols[0].cell(all.row(j)).s
			if _, ok := rows[name]; !ok {
				names = append(names, name)
			}
			rows[name] = append(rows[name], j)
		}
	}
	asIs = len(names) <= 1
	for _, name := range names {
		part := *all
		if len(names) > 1 {
			part.index, part.n = rows[name], len(rows[name])
		}
		if err := write(dir+FileName(name)+".parquet", func(w io.Writer) error { return writeParquet(w, &part) }); err != nil {
			return false, err
		}
		asIs = asIs && !part.mended
	}
	if withArrow {
		if err := write("arrow/"+sp.schema.Name+".arrow", func(w io.Writer) error { return writeArrow(w, all, false) }); err != nil {
			return false, err
		}
	}
	return asIs, nil
}

// FileName is an experiment's name as the stem of a file name: all but letters,
// digits, - _ and inner dots percent-escaped (RFC 3986, 2.1). A name longer
// than file systems take is cut, and a hash of the whole keeps it distinct.
func FileName(experiment string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(experiment) {
		c := experiment[i]
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' && !(i == 0 && experiment == "0-schema"),
			c == '-' || c == '_' || c == '.' && i > 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	s := b.String()
	if s == "" {
		return "%"
	}
	if len(s) > 200 {
		sum := sha256.Sum256([]byte(experiment))
		s = s[:160] + "%-" + hex.EncodeToString(sum[:16])
	}
	return s
}

const (
	maxFiles     = 1 << 20
	maxFileBytes = 1 << 30
)

// ReadDir reads the tables of a dataset folder back, in TABLES.md's order of
// rows. A folder or column that this version does not know is passed over; a
// column that is missing is null or zero. Tables of a newer schema version are
// an error. Tables named in except are left empty, and columns named there, as
// table.column, null or zero: they are not looked at. Rows that only such a
// column would put in order stand in that of the files.
func ReadDir(fsys fs.FS, except ...string) (*Dataset, error) {
	d := new(Dataset)
	entries, err := fs.ReadDir(fsys, "tables")
	if err != nil {
		return nil, fmt.Errorf("not a dataset: wanted a folder tables, as analyze and batch write it: %w", err)
	}
	count, known := 0, false
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sp := find(e.Name())
		if sp == nil || sp.schema.Name != e.Name() {
			continue
		}
		known = true
		if slices.Contains(except, e.Name()) {
			continue
		}
		dir := path.Join("tables", e.Name())
		files, err := fs.ReadDir(fsys, dir)
		if err != nil {
			return nil, err
		}
		var parts []list // of files: one slice that grew would be copied over and over
		for _, f := range files {
			if f.IsDir() || !strings.HasSuffix(f.Name(), ".parquet") {
				continue
			}
			if count++; count > maxFiles {
				return nil, fmt.Errorf("%s: more than %d files", dir, maxFiles)
			}
			name := path.Join(dir, f.Name())
			into := d
			if !sp.packed {
				into = new(Dataset)
			}
			if err := readFile(fsys, name, into, sp, except); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if part := sp.list(into); into != d && part.Len() > 0 {
				parts = append(parts, part)
			}
		}
		rows := sp.list(d)
		rows.joinAll(parts)
	}
	if !known {
		return nil, errors.New("not a dataset: folder tables holds no table known here")
	}
	d.Sort()
	return d, nil
}

func readFile(fsys fs.FS, name string, d *Dataset, sp *spec, except []string) error {
	st, err := fs.Stat(fsys, name)
	if err != nil {
		return err
	}
	if st.Size() > maxFileBytes {
		return fmt.Errorf("%d bytes, wanted at most %d", st.Size(), maxFileBytes)
	}
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	return readParquet(data, d, sp, except...)
}
