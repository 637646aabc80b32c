// Package wire reads binary formats with every bound checked.
//
// Every binary decoder of twtrace reads through a Cursor: one that runs past
// its end remembers the first failure with its offset, gives zero values from
// then on, and so lets a decoder read a whole header before it asks once
// whether all of it was there. Nothing here knows a protocol; only checked
// big-endian reads and the error that every decoder shares may enter.
package wire

import (
	"encoding/binary"
	"fmt"
)

// Error says what a decoder wanted, and where. Off is the byte offset within
// the unit that the decoder was given (a datagram, a record, a file).
type Error struct {
	Proto string // "sip", "dns", ...
	Field string // the field that was being read; may be empty
	Off   int64
	Msg   string // lower case, no full stop: what was wanted and what was found
}

func (e *Error) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s: byte %d: %s", e.Proto, e.Off, e.Msg)
	}
	return fmt.Sprintf("%s: %s at byte %d: %s", e.Proto, e.Field, e.Off, e.Msg)
}

// Cursor reads big-endian fields from buf. The zero value reads nothing.
// Slices that it returns alias buf.
type Cursor struct {
	proto string
	buf   []byte
	off   int
	err   *Error
}

// NewCursor returns a Cursor over buf; proto names the format in errors.
func NewCursor(proto string, buf []byte) Cursor { return Cursor{proto: proto, buf: buf} }

// Err is the first failure, nil while all reads were within bounds.
func (c *Cursor) Err() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// Off is the number of bytes read so far.
func (c *Cursor) Off() int { return c.off }

// Len is the number of bytes left; 0 after a failure.
func (c *Cursor) Len() int {
	if c.err != nil {
		return 0
	}
	return len(c.buf) - c.off
}

// Fail records a failure at the present offset, unless one stands already.
func (c *Cursor) Fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Proto: c.proto, Field: field, Off: int64(c.off), Msg: fmt.Sprintf(format, args...)}
	}
}

// Bytes reads n bytes. It returns nil when fewer are left or n is negative.
func (c *Cursor) Bytes(field string, n int) []byte {
	if c.err != nil {
		return nil
	}
	if n < 0 || len(c.buf)-c.off < n {
		c.Fail(field, "want %d bytes, have %d", n, len(c.buf)-c.off)
		return nil
	}
	b := c.buf[c.off : c.off+n : c.off+n]
	c.off += n
	return b
}

// Skip passes over n bytes.
func (c *Cursor) Skip(field string, n int) { c.Bytes(field, n) }

// Rest reads all that is left.
func (c *Cursor) Rest() []byte { return c.Bytes("", c.Len()) }

// U8 reads one byte.
func (c *Cursor) U8(field string) uint8 {
	if b := c.Bytes(field, 1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads a 16-bit field.
func (c *Cursor) U16(field string) uint16 {
	if b := c.Bytes(field, 2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// U24 reads a 24-bit field.
func (c *Cursor) U24(field string) uint32 {
	if b := c.Bytes(field, 3); b != nil {
		return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	}
	return 0
}

// U32 reads a 32-bit field.
func (c *Cursor) U32(field string) uint32 {
	if b := c.Bytes(field, 4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// U64 reads a 64-bit field.
func (c *Cursor) U64(field string) uint64 {
	if b := c.Bytes(field, 8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}
