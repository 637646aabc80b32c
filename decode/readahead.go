package decode

import (
	"crypto/sha256"
	"io"
)

// readAhead reads the stored bytes of a file and sums them in a goroutine of
// its own, some blocks before whoever takes them. Measured on two cores, that
// is a quarter of the time of a capture. What it gives does not depend on who
// runs when.
type readAhead struct {
	file   io.ReadCloser
	filled chan block
	free   chan []byte
	given  []byte // belongs to the taker until it asks for the next
	rest   []byte // of it, for Read
	err    error
	spare  *[][]byte         // blocks of files that were read, for the next
	n      int64             // bytes given
	sum    [sha256.Size]byte // of all bytes, once err is io.EOF
}

type block struct {
	b   []byte
	err error
}

const (
	blockBytes = 256 << 10 // still in the processor's cache when it is taken
	blocks     = 3         // one is read, one waits, one is taken
)

// newReadAhead reads a file of about size bytes, -1 when that is not known. It
// must be closed; then its blocks are in spare.
func newReadAhead(file io.ReadCloser, size int64, spare *[][]byte) *readAhead {
	a := &readAhead{file: file, filled: make(chan block, blocks), free: make(chan []byte, blocks), spare: spare}
	made := 0
	for n := len(*spare); n > 0 && made < blocks; n = len(*spare) {
		b := (*spare)[n-1]
		if *spare = (*spare)[:n-1]; int64(len(b)) >= blockLen(size) {
			a.free <- b
			made++
		}
	}
	go a.read(size, made)
	return a
}

// blockLen is how long a block must be when so much is left of the file.
func blockLen(left int64) int64 {
	if left < 0 {
		return blockBytes
	}
	return min(blockBytes, left+512) // small files are many; their end is found in what is left over
}

func (a *readAhead) read(left int64, made int) {
	h := sha256.New()
	for idle := 0; ; {
		var b []byte
		select {
		case b = <-a.free:
		default:
			if made == blocks {
				b = <-a.free
				break
			}
			made++
			b = make([]byte, blockLen(left))
		}
		n, err := a.file.Read(b)
		h.Write(b[:n])
		left = max(left-int64(n), -1)
		switch {
		case n > 0:
			idle = 0
		case err == nil:
			if idle++; idle < 100 {
				a.free <- b
				continue
			}
			err = io.ErrNoProgress
		}
		if err != nil {
			h.Sum(a.sum[:0])
		}
		a.filled <- block{b[:n], err}
		if err != nil {
			return
		}
	}
}

// NextBlock gives the bytes that come next, at least one of them or an error.
// They stay as they are until the next call of any method.
func (a *readAhead) NextBlock() ([]byte, error) {
	if len(a.rest) > 0 {
		b := a.rest
		a.rest = nil
		return b, nil
	}
	for {
		if a.given != nil {
			a.free <- a.given[:cap(a.given)]
			a.given = nil
		}
		if a.err != nil {
			return nil, a.err
		}
		f := <-a.filled
		a.given, a.err = f.b, f.err
		a.n += int64(len(f.b))
		if len(f.b) > 0 {
			return f.b, nil
		}
	}
}

func (a *readAhead) Read(p []byte) (int, error) {
	b, err := a.NextBlock()
	n := copy(p, b)
	a.rest = b[n:]
	return n, err
}

// Close reads what is left, for the sum, and closes the file. The error is one
// of reading.
func (a *readAhead) Close() error {
	err := error(nil)
	for err == nil {
		_, err = a.NextBlock()
	}
	a.file.Close()
	if a.given != nil {
		*a.spare = append(*a.spare, a.given[:cap(a.given)])
	}
	for a.given = nil; len(a.free) > 0; {
		*a.spare = append(*a.spare, <-a.free)
	}
	if err == io.EOF {
		return nil
	}
	return err
}
