package decode

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func TestReadAhead(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	broken := errors.New("broken")
	var spare [][]byte // of the readers before
	for n, size := range []int{0, 1, 511, blockBytes - 1, blockBytes, blockBytes + 1, 3*blockBytes + 77, 9 * blockBytes} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(r.Uint32())
		}
		for name, source := range map[string]io.Reader{
			"whole":       bytes.NewReader(want),
			"halves":      iotest.HalfReader(bytes.NewReader(want)),
			"end at once": iotest.DataErrReader(bytes.NewReader(want)),
		} {
			for _, told := range []int64{-1, 0, int64(size), int64(size) + 5000} {
				if b, ok := source.(*bytes.Reader); ok {
					b.Seek(0, io.SeekStart)
				} else if told >= 0 {
					continue // it can be read once
				}
				a := newReadAhead(io.NopCloser(source), told, &spare)
				var got []byte
				for i := 0; ; i++ {
					if (i+n)%2 == 0 {
						b, err := a.NextBlock()
						got = append(got, b...)
						if err != nil {
							break
						}
						continue
					}
					b := make([]byte, r.IntN(1000)+1)
					k, _ := a.Read(b)
					got = append(got, b[:k]...)
				}
				if err := a.Close(); err != nil || !bytes.Equal(got, want) || a.sum != sha256.Sum256(want) || a.n != int64(size) {
					t.Errorf("%s of %d bytes, told %d: got %d, %d counted, sum right: %v, %v", name, size, told, len(got), a.n, a.sum == sha256.Sum256(want), err)
				}
			}
		}
		// What nobody took is summed all the same.
		a := newReadAhead(io.NopCloser(bytes.NewReader(want)), int64(size), &spare)
		if err := a.Close(); err != nil || a.sum != sha256.Sum256(want) || a.n != int64(size) {
			t.Errorf("closed at once, of %d bytes: %v", size, err)
		}
		a = newReadAhead(io.NopCloser(io.MultiReader(bytes.NewReader(want), iotest.ErrReader(broken))), -1, &spare)
		if got, err := io.ReadAll(a); err != broken || !bytes.Equal(got, want) {
			t.Errorf("broken after %d bytes: got %d, %v", size, len(got), err)
		}
		if err := a.Close(); err != broken {
			t.Errorf("closed after an error: %v", err)
		}
	}
	if len(spare) == 0 || len(spare) > blocks {
		t.Errorf("%d blocks to spare, want 1 to %d", len(spare), blocks)
	}
	a := newReadAhead(io.NopCloser(never{}), -1, new([][]byte))
	if _, err := a.NextBlock(); err != io.ErrNoProgress {
		t.Errorf("a reader that never gives anything: %v", err)
	}
	a.Close()
}

type never struct{}

func (never) Read([]byte) (int, error) { return 0, nil }
