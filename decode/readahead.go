package decode

import (
	"crypto/sha256"
	"hash"
	"io"
)

// readAhead reads the stored bytes of a file and sums them in a goroutine of
// its own, some blocks before whoever takes them. Measured on two cores, that
// is a quarter of the time of a capture. A file of one block, as the pages of an
// export are, is read by who takes it: a goroutine would be waited for. What
// comes of it does not depend on who runs when.
type readAhead struct {
	file   io.ReadCloser
	hash   hash.Hash
	left   int64 // of the file, -1 unknown
	own    []byte
	filled chan block // nil: nobody reads ahead, own is filled when asked for
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
	a := &readAhead{file: file, hash: sha256.New(), left: size, spare: spare}
	if blockLen(size) < blockBytes {
		if a.own = a.fromSpare(); a.own == nil {
			a.own = make([]byte, blockLen(size))
		}
		return a
	}
	a.filled, a.free = make(chan block, blocks), make(chan []byte, blocks)
	made := 0
	for made < blocks {
		b := a.fromSpare()
		if b == nil {
			break
		}
		a.free <- b
		made++
	}
	go a.read(made)
	return a
}

// fromSpare takes a block that is long enough; nil when there is none.
func (a *readAhead) fromSpare() []byte {
	for n := len(*a.spare); n > 0; n = len(*a.spare) {
		b := (*a.spare)[n-1]
		if *a.spare = (*a.spare)[:n-1]; int64(len(b)) >= blockLen(a.left) {
			return b
		}
	}
	return nil
}

// blockLen is how long a block must be when so much is left of the file.
func blockLen(left int64) int64 {
	if left < 0 {
		return blockBytes
	}
	return min(blockBytes, left+512) // small files are many; their end is found in what is left over
}

func (a *readAhead) read(made int) {
	for {
		var b []byte
		select {
		case b = <-a.free:
		default:
			if made == blocks {
				b = <-a.free
				break
			}
			made++
			b = make([]byte, blockLen(a.left))
		}
		n, err := a.fill(b)
		a.filled <- block{b[:n], err}
		if err != nil {
			return
		}
	}
}

// fill reads the bytes that come next, at least one of them or an error, and
// sums them.
func (a *readAhead) fill(b []byte) (n int, err error) {
	for idle := 0; n == 0 && err == nil; idle++ {
		if idle == 100 {
			err = io.ErrNoProgress
			break
		}
		n, err = a.file.Read(b)
	}
	a.hash.Write(b[:n])
	a.left = max(a.left-int64(n), -1)
	if err != nil {
		a.hash.Sum(a.sum[:0])
	}
	return n, err
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
		if a.given != nil && a.filled != nil {
			a.free <- a.given[:cap(a.given)]
		}
		a.given = nil
		if a.err != nil {
			return nil, a.err
		}
		var f block
		if a.filled != nil {
			f = <-a.filled
		} else {
			n, err := a.fill(a.own)
			f = block{a.own[:n], err}
		}
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
	switch {
	case a.own != nil:
		*a.spare, a.own = append(*a.spare, a.own), nil
	case a.given != nil:
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
