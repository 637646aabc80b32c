package table

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// arrowBatch is the number of rows of a record batch: what is unpacked and
// built at once.
const arrowBatch = 16 << 10

func (c *column) arrowType(dictionary bool) arrow.DataType {
	switch c.kind {
	case kindTime:
		return &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}
	case kindEnum:
		if dictionary {
			return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String, Ordered: true}
		}
		return arrow.BinaryTypes.String
	case kindInt:
		return arrow.PrimitiveTypes.Int64
	case kindUint:
		return arrow.PrimitiveTypes.Uint32
	case kindFloat:
		return arrow.PrimitiveTypes.Float64
	case kindBool:
		return arrow.FixedWidthTypes.Boolean
	case kindTexts:
		return arrow.ListOfField(arrow.Field{Name: "element", Type: arrow.BinaryTypes.String})
	case kindInts:
		return arrow.ListOfField(arrow.Field{Name: "element", Type: arrow.PrimitiveTypes.Int64})
	}
	return arrow.BinaryTypes.String
}

// arrowSchema is the schema of a selection. Without dictionary, enums are
// plain text, as Parquet holds them.
func (s *selection) arrowSchema(dictionary bool) *arrow.Schema {
	fields := make([]arrow.Field, len(s.cols))
	for k, c := range s.cols {
		keys, values := []string{"description"}, []string{c.Doc}
		if c.Unit != "" {
			keys, values = append(keys, "unit"), append(values, c.Unit)
		}
		if c.Enum != nil {
			keys, values = append(keys, "enum"), append(values, strings.Join(c.Enum, "|"))
		}
		if c.Key {
			keys, values = append(keys, "key"), append(values, "true")
		}
		fields[k] = arrow.Field{Name: c.Name, Type: c.arrowType(dictionary), Nullable: c.Nullable || c.kind == kindFloat, Metadata: arrow.NewMetadata(keys, values)}
	}
	keys, values := s.spec.metadata()
	meta := arrow.NewMetadata(keys, values)
	return arrow.NewSchema(fields, &meta)
}

// metadata stands in every Arrow and Parquet file.
func (sp *spec) metadata() (keys, values []string) {
	return []string{metaVersion, metaTable, "description"}, []string{fmt.Sprint(SchemaVersion), sp.schema.Name, sp.schema.Doc}
}

const (
	metaVersion = "twtrace.schema_version"
	metaTable   = "twtrace.table"
)

// counter is a write-only file at position 0. arrow's file writer asks for
// a Seeker, but only ever asks where it stands.
type counter struct {
	w   io.Writer
	pos int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.pos += int64(n)
	return n, err
}

func (c *counter) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("seek in a stream")
	}
	return c.pos, nil
}

// batches takes what an IPC file or an IPC stream is made of.
type batches interface {
	Write(arrow.Record) error
	Close() error
}

// writeArrow writes one IPC file or IPC stream (Arrow columnar format,
// "Serialization and Interprocess Communication"), uncompressed since not every
// reader has a codec. A dictionary is the whole enum and the same in every
// batch: the file format allows no growth.
func writeArrow(w io.Writer, s *selection, stream bool) error {
	return writeArrowMem(w, s, stream, memory.NewGoAllocator())
}

func writeArrowMem(w io.Writer, s *selection, stream bool, mem memory.Allocator) error {
	buffered := bufio.NewWriterSize(w, 256<<10)
	sc := s.arrowSchema(true)
	var out batches
	if stream {
		out = ipc.NewWriter(buffered, ipc.WithSchema(sc), ipc.WithAllocator(mem))
	} else {
		file, err := ipc.NewFileWriter(&counter{w: buffered}, ipc.WithSchema(sc), ipc.WithAllocator(mem))
		if err != nil {
			return fmt.Errorf("arrow: %w", err)
		}
		out = file
	}
	dicts := make([]arrow.Array, len(s.cols))
	for k, c := range s.cols {
		if c.kind == kindEnum {
			b := array.NewStringBuilder(mem)
			b.AppendValues(c.Enum, nil)
			dicts[k] = b.NewArray()
			b.Release()
			defer dicts[k].Release()
		}
	}
	// A file without a batch holds no dictionary either, which readers refuse.
	for from := 0; from < s.n || from == 0; from += arrowBatch {
		if err := s.writeBatch(out, sc, dicts, from, min(s.n, from+arrowBatch), mem); err != nil {
			return fmt.Errorf("arrow: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("arrow: %w", err)
	}
	return buffered.Flush()
}

func (s *selection) writeBatch(out batches, sc *arrow.Schema, dicts []arrow.Array, from, to int, mem memory.Allocator) error {
	s.load(from, to)
	arrays := make([]arrow.Array, len(s.cols))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	for k, c := range s.cols {
		a, err := s.arrowArray(c, dicts[k], from, to, mem)
		if err != nil {
			return err
		}
		arrays[k] = a
	}
	rec := array.NewRecord(sc, arrays, int64(to-from))
	defer rec.Release()
	return out.Write(rec)
}

func (s *selection) arrowArray(c *column, dict arrow.Array, from, to int, mem memory.Allocator) (arrow.Array, error) {
	var b array.Builder
	if c.kind == kindEnum {
		b = array.NewInt8Builder(mem)
	} else {
		b = array.NewBuilder(mem, c.arrowType(true))
	}
	defer b.Release()
	b.Reserve(to - from)
	for i := from; i < to; i++ {
		v := c.cell(s.row(i))
		if v.null {
			b.AppendNull()
			continue
		}
		switch b := b.(type) {
		case *array.TimestampBuilder:
			b.UnsafeAppend(arrow.Timestamp(v.i))
		case *array.StringBuilder:
			b.Append(v.s)
		case *array.Int8Builder:
			if v.i < 0 {
				return nil, fmt.Errorf("column %s: %q is not in the schema's set", c.Name, v.s)
			}
			b.UnsafeAppend(int8(v.i))
		case *array.Int64Builder:
			b.UnsafeAppend(v.i)
		case *array.Uint32Builder:
			b.UnsafeAppend(uint32(v.i))
		case *array.Float64Builder:
			b.UnsafeAppend(v.f)
		case *array.BooleanBuilder:
			b.UnsafeAppend(v.i != 0)
		case *array.ListBuilder:
			b.Append(true)
			switch e := b.ValueBuilder().(type) {
			case *array.StringBuilder:
				for _, t := range v.ss {
					e.Append(t)
				}
			case *array.Int64Builder:
				e.AppendValues(v.is, nil)
			}
		}
	}
	a := b.NewArray()
	if c.kind != kindEnum {
		return a, nil
	}
	defer a.Release()
	return array.NewDictionaryArray(c.arrowType(true), a, dict), nil
}
