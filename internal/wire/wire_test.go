package wire

import (
	"errors"
	"testing"
)

func TestCursorReadsBigEndian(t *testing.T) {
	c := NewCursor("test", []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 0xAA})
	if v := c.U8("a"); v != 1 {
		t.Errorf("U8 %#x", v)
	}
	if v := c.U16("b"); v != 0x0203 {
		t.Errorf("U16 %#x", v)
	}
	if v := c.U24("c"); v != 0x040506 {
		t.Errorf("U24 %#x", v)
	}
	if v := c.U32("d"); v != 0x0708090A {
		t.Errorf("U32 %#x", v)
	}
	if v := c.U64("e"); v != 0x0B0C0D0E0F101112 {
		t.Errorf("U64 %#x", v)
	}
	if c.Off() != 18 || c.Len() != 1 || c.Err() != nil {
		t.Errorf("offset %d, %d left, error %v", c.Off(), c.Len(), c.Err())
	}
	if rest := c.Rest(); len(rest) != 1 || rest[0] != 0xAA {
		t.Errorf("rest % x", rest)
	}
}

// The first failure stays, names its place, and everything after reads as zero.
func TestCursorRemembersTheFirstFailure(t *testing.T) {
	c := NewCursor("test", []byte{1, 2, 3})
	c.U16("length")
	if v := c.U32("stamp"); v != 0 {
		t.Errorf("a read beyond the end gave %#x", v)
	}
	if v := c.U8("later"); v != 0 || c.Len() != 0 {
		t.Errorf("after a failure: %#x, %d left", v, c.Len())
	}
	var e *Error
	if !errors.As(c.Err(), &e) || e.Field != "stamp" || e.Off != 2 {
		t.Fatalf("error %v", c.Err())
	}
	if want := "test: stamp at byte 2: want 4 bytes, have 1"; e.Error() != want {
		t.Errorf("%q, want %q", e.Error(), want)
	}
}

// A slice that a Cursor gives cannot be grown over the bytes behind it, and a
// length from the wire may be anything.
func FuzzCursor(f *testing.F) {
	f.Add([]byte{4, 1, 2, 3, 4, 9}, 3)
	f.Add([]byte{}, -1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		c := NewCursor("test", b)
		got := c.Bytes("x", int(c.U8("n")))
		if len(got) != cap(got) {
			t.Fatalf("%d bytes with room for %d", len(got), cap(got))
		}
		c.Skip("y", n)
		if c.Err() == nil && (c.Off() < 0 || c.Off() > len(b)) {
			t.Fatalf("offset %d of %d", c.Off(), len(b))
		}
		c.Rest()
	})
}
