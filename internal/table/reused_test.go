package table

import (
	"bytes"
	"testing"
)

// What is given out is empty, whatever it held before, and of the size asked for.
func TestReused(t *testing.T) {
	var r reused
	a := r.Allocate(100)
	for i := range a {
		a[i] = 1
	}
	a = r.Reallocate(120, a) // fits
	if len(a) != 120 || a[99] != 1 || a[100] != 0 {
		t.Errorf("%v", a)
	}
	b := r.Reallocate(1000, a)
	if len(b) != 1000 || !bytes.Equal(b[:100], bytes.Repeat([]byte{1}, 100)) || b[999] != 0 {
		t.Error("what was there is copied, the rest is 0")
	}
	c := r.Allocate(65) // which a had
	if &c[0] != &a[0] || !bytes.Equal(c, make([]byte, 65)) {
		t.Error("a was given back: its memory is used again, and is 0")
	}
	if d := r.Allocate(65); &d[0] == &c[0] {
		t.Error("c is still in use")
	}
	r.Free(nil)
	if len(r.Allocate(0)) != 0 {
		t.Error("nothing has no bytes")
	}
}
