package container

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/ulikunitz/xz/lzma"
)

// xzGuard passes an .xz file through and fails before a block header that
// asks for a dictionary larger than max: the decoder allocates whatever a
// header says, up to 4 GiB. To find the headers it follows the structure of
// streams, blocks and LZMA2 chunks (.xz file format 1.2, sections 2 to 4;
// LZMA2 has no specification, its chunk headers are as in XZ Embedded). What
// it cannot follow it leaves to the decoder to refuse.
type xzGuard struct {
	r   io.Reader
	max int64
	err error

	state func(*xzGuard) error // called when buf holds need bytes
	buf   []byte
	need  int
	skip  int64 // bytes to pass before the next are collected

	check   int64  // bytes of a block's checksum
	size    int64  // bytes of the present block's data, or of the index
	records uint64 // numbers left in the index
}

func newXZGuard(r io.Reader, max int64) *xzGuard {
	g := &xzGuard{r: r, max: max}
	g.expect(12, (*xzGuard).streamHeader)
	return g
}

func (g *xzGuard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.r.Read(p)
	for i := 0; i < n; {
		if g.skip > 0 {
			k := min(g.skip, int64(n-i))
			g.skip -= k
			i += int(k)
			continue
		}
		g.buf = append(g.buf, p[i])
		i++
		if len(g.buf) < g.need {
			continue
		}
		if g.err = g.state(g); g.err != nil {
			return 0, g.err
		}
	}
	return n, err
}

// expect collects n bytes for the next state.
func (g *xzGuard) expect(n int, state func(*xzGuard) error) {
	g.buf, g.need, g.state = g.buf[:0], n, state
}

// more goes on collecting, up to n bytes in all.
func (g *xzGuard) more(n int, state func(*xzGuard) error) {
	g.need, g.state = n, state
}

func (g *xzGuard) streamHeader() error {
	g.check = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[g.buf[7]&0xf]
	g.expect(1, (*xzGuard).blockSize)
	return nil
}

func (g *xzGuard) blockSize() error {
	if g.buf[0] == 0 {
		g.size = 1
		g.expect(1, (*xzGuard).indexCount)
		return nil
	}
	g.more(4*(int(g.buf[0])+1), (*xzGuard).blockHeader)
	return nil
}

func (g *xzGuard) blockHeader() error {
	flags, b := g.buf[1], g.buf[2:]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[max(n, 0):]
		return v
	}
	for _, bit := range []byte{0x40, 0x80} { // compressed and uncompressed size
		if flags&bit != 0 {
			number()
		}
	}
	for range flags&3 + 1 {
		id, n := number(), number()
		if n > uint64(len(b)) {
			break
		}
		if id == 0x21 && n == 1 {
			size, err := lzma.DecodeDictCap(b[0])
			if err == nil && size > g.max {
				return fmt.Errorf("want a dictionary of at most %d bytes, found %d", g.max, size)
			}
		}
		b = b[n:]
	}
	g.size = 0
	g.expect(1, (*xzGuard).chunk)
	return nil
}

func (g *xzGuard) chunk() error {
	switch c := g.buf[0]; {
	case c == 0:
		g.size++
		g.skip = -g.size&3 + g.check
		g.expect(1, (*xzGuard).blockSize)
	case c >= 0xc0:
		g.more(6, (*xzGuard).chunkSize)
	case c >= 0x80:
		g.more(5, (*xzGuard).chunkSize)
	case c <= 2:
		g.more(3, (*xzGuard).chunkSize)
	default:
		g.skip = math.MaxInt64
	}
	return nil
}

func (g *xzGuard) chunkSize() error {
	// Uncompressed chunks have one length, others a second one behind it.
	at := 1
	if len(g.buf) > 3 {
		at = 3
	}
	g.skip = int64(binary.BigEndian.Uint16(g.buf[at:])) + 1
	g.size += int64(len(g.buf)) + g.skip
	g.expect(1, (*xzGuard).chunk)
	return nil
}

// varint reads a number of the index; false when more bytes are needed.
func (g *xzGuard) varint() (uint64, bool) {
	if g.buf[len(g.buf)-1] >= 0x80 && len(g.buf) < 9 {
		g.need++
		return 0, false
	}
	g.size += int64(len(g.buf))
	v, _ := binary.Uvarint(g.buf)
	return v, true
}

func (g *xzGuard) indexCount() error {
	if v, ok := g.varint(); ok {
		g.records = 2 * v
		g.index()
	}
	return nil
}

func (g *xzGuard) indexRecord() error {
	if _, ok := g.varint(); ok {
		g.records--
		g.index()
	}
	return nil
}

func (g *xzGuard) index() {
	if g.records > 0 {
		g.expect(1, (*xzGuard).indexRecord)
		return
	}
	g.skip = -g.size&3 + 4 + 12 // padding, checksum, stream footer
	g.expect(4, (*xzGuard).padding)
}

// padding lies between streams, four zeros at a time.
func (g *xzGuard) padding() error {
	if string(g.buf) == "\x00\x00\x00\x00" {
		g.expect(4, (*xzGuard).padding)
		return nil
	}
	g.more(12, (*xzGuard).streamHeader)
	return nil
}
