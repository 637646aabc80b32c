package table

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// thrift reads Apache Thrift's compact protocol
// (thrift/doc/specs/thrift-compact-protocol.md), in which Parquet writes
// footers and page headers. The first error sticks; no length is believed
// beyond the bytes that are there. What bytes returns aliases the input.
type thrift struct {
	b     []byte
	off   int
	depth int
	err   error
}

// Types of the compact protocol.
const (
	tTrue = iota + 1
	tFalse
	tByte
	tI16
	tI32
	tI64
	tDouble
	tBinary
	tList
	tSet
	tMap
	tStruct
	tUUID
)

const maxThriftDepth = 16

var errThriftEnd = errors.New("wanted more bytes, found the end")

func (t *thrift) fail(err error) {
	if t.err == nil {
		t.err = fmt.Errorf("thrift at byte %d: %w", t.off, err)
	}
}

func (t *thrift) byte() byte {
	if t.err != nil || t.off >= len(t.b) {
		t.fail(errThriftEnd)
		return 0
	}
	t.off++
	return t.b[t.off-1]
}

func (t *thrift) uvarint() uint64 {
	if t.err != nil {
		return 0
	}
	v, n := binary.Uvarint(t.b[t.off:])
	if n <= 0 {
		t.fail(errors.New("wanted a varint of at most 64 bits"))
		return 0
	}
	t.off += n
	return v
}

// integer is a zigzag varint: i16, i32 and i64 are written alike.
func (t *thrift) integer() int64 {
	v := t.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (t *thrift) bytes() []byte {
	n := t.uvarint()
	if t.err != nil || n > uint64(len(t.b)-t.off) {
		t.fail(errThriftEnd)
		return nil
	}
	t.off += int(n)
	return t.b[t.off-int(n) : t.off]
}

// fields calls f for each field of a struct; f either reads the value and
// returns true or leaves it alone and returns false.
func (t *thrift) fields(f func(id int, typ byte) bool) {
	if t.depth++; t.depth > maxThriftDepth {
		t.fail(errors.New("nested too deeply"))
	}
	id := 0
	for t.err == nil {
		h := t.byte()
		if h == 0 {
			break
		}
		if d := int(h >> 4); d != 0 {
			id += d
		} else {
			id = int(int16(t.integer()))
		}
		typ := h & 15
		if t.err == nil && (f == nil || !f(id, typ)) {
			t.skip(typ)
		}
	}
	t.depth--
}

// list reads a list's head and calls f for each element, which f must read;
// with f nil the elements are passed over.
func (t *thrift) list(f func(typ byte)) {
	if t.depth++; t.depth > maxThriftDepth {
		t.fail(errors.New("nested too deeply"))
	}
	h := t.byte()
	n := uint64(h >> 4)
	if n == 15 {
		n = t.uvarint()
	}
	typ := h & 15
	// Every element takes a byte or more.
	if t.err == nil && n > uint64(len(t.b)-t.off) {
		t.fail(errThriftEnd)
	}
	for i := uint64(0); i < n && t.err == nil; i++ {
		switch {
		case f != nil:
			f(typ)
		case typ == tTrue || typ == tFalse:
			t.byte()
		default:
			t.skip(typ)
		}
	}
	t.depth--
}

func (t *thrift) skip(typ byte) {
	switch typ {
	case tTrue, tFalse:
	case tByte:
		t.byte()
	case tI16, tI32, tI64:
		t.uvarint()
	case tDouble:
		t.advance(8)
	case tUUID:
		t.advance(16)
	case tBinary:
		t.bytes()
	case tList, tSet:
		t.list(nil)
	case tStruct:
		t.fields(nil)
	default:
		// Maps among them: Parquet has none.
		t.fail(fmt.Errorf("type %d is not used by Parquet", typ))
	}
}

func (t *thrift) advance(n int) {
	if t.err != nil || n > len(t.b)-t.off {
		t.fail(errThriftEnd)
		return
	}
	t.off += n
}
