package packed

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/s2"
)

// Text is a long text that is kept compressed. The zero value is "". Two that
// say the same need not be ==.
type Text struct {
	block  *block
	off, n uint32
}

// NewText is a Text that is not packed yet.
func NewText(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{&block{raw: []byte(s), loose: true}, 0, uint32(len(s))}
}

// Len is the number of bytes.
func (t Text) Len() int { return int(t.n) }

// String is the text.
func (t Text) String() string {
	if t.n == 0 {
		return ""
	}
	b := t.Append(make([]byte, 0, t.n))
	return unsafe.String(unsafe.SliceData(b), len(b)) // nobody else has b
}

// Append appends the text to b.
func (t Text) Append(b []byte) []byte {
	if t.n == 0 {
		return b
	}
	return t.block.append(b, t.off, t.n)
}

// blockSize is how many bytes of texts are compressed together: a text is had
// in some 10 µs, and larger blocks hardly get smaller.
const blockSize = 64 << 10

// block is texts behind one another: as they are, or compressed.
type block struct {
	raw   []byte
	s2    []byte
	loose bool // of NewText
	last  *sync.Pool
}

// unpacked is a block that was asked for lately. A pool of them keeps one for
// each processor: goroutines that read side by side do not undo each other's.
type unpacked struct {
	block *block
	raw   []byte
}

// append appends the part of the block from off on, n bytes, to out.
func (b *block) append(out []byte, off, n uint32) []byte {
	if b.raw != nil {
		return append(out, b.raw[off:off+n]...)
	}
	u, ok := b.last.Get().(*unpacked)
	if !ok {
		u = &unpacked{}
	}
	if u.block != b {
		raw, err := s2.Decode(u.raw[:cap(u.raw)], b.s2)
		if err != nil {
			panic(fmt.Sprintf("packed: a block that this program compressed does not decompress: %v", err))
		}
		u.block, u.raw = b, raw
	}
	out = append(out, u.raw[off:off+n]...)
	b.last.Put(u)
	return out
}

// texts are blocks of texts; the last one may be open for more.
type texts struct {
	blocks []*block
	open   *block
	size   int64      // of what add kept
	last   *sync.Pool // of *unpacked
	recent []place    // of the open block, by hash
	seed   maphash.Seed
	spare  [2][]byte         // for the next open block, and to compress into
	known  map[*block]uint32 // numbers of blocks that came from elsewhere
}

// place is where a text lies.
type place struct{ block, off, n uint32 }

const recentTexts = 256 // must be a power of two

// add keeps a text. One that the open block has already, as retransmissions
// are, is kept once.
func (t *texts) add(b []byte) Text {
	if len(b) == 0 {
		return Text{}
	}
	if t.recent == nil {
		t.recent, t.seed = make([]place, recentTexts), maphash.MakeSeed()
	}
	at := &t.recent[maphash.Bytes(t.seed, b)%recentTexts] // where it lies tells nobody anything
	if o := t.open; o != nil && at.n > 0 && bytes.Equal(o.raw[at.off:at.off+at.n], b) {
		return Text{o, at.off, at.n}
	}
	if t.open == nil || len(t.open.raw)+len(b) > blockSize {
		t.close()
		if t.last == nil {
			t.last = &sync.Pool{}
		}
		t.open = &block{raw: append(t.spare[0][:0], b...)[:0], last: t.last}
		t.spare[0] = nil
		t.blocks = append(t.blocks, t.open)
		if t.known != nil {
			t.known[t.open] = uint32(len(t.blocks) - 1)
		}
	}
	o := t.open
	*at = place{uint32(len(t.blocks) - 1), uint32(len(o.raw)), uint32(len(b))}
	o.raw = append(o.raw, b...)
	t.size += int64(len(b))
	return Text{o, at.off, at.n}
}

// close compresses the open block.
func (t *texts) close() {
	if t.open == nil {
		return
	}
	t.spare[1] = s2.EncodeBetter(t.spare[1][:cap(t.spare[1])], t.open.raw)
	if len(t.spare[1]) < len(t.open.raw) {
		t.open.s2, t.spare[0] = bytes.Clone(t.spare[1]), t.open.raw
		t.open.raw = nil
	}
	t.open = nil
	clear(t.recent)
}

// place is where a text of a row lies. A loose one is taken in; the block of
// another list is shared with it.
func (t *texts) place(v Text) place {
	if v.block.loose {
		v = t.add(v.block.raw[v.off : v.off+v.n])
	}
	n := len(t.blocks)
	if n > 0 && t.blocks[n-1] == v.block {
		return place{uint32(n - 1), v.off, v.n}
	}
	id, ok := t.known[v.block]
	if !ok {
		if t.known == nil {
			t.known = make(map[*block]uint32, n)
			for i, b := range t.blocks {
				t.known[b] = uint32(i)
			}
		}
		if id, ok = t.known[v.block]; !ok {
			id = uint32(n)
			t.blocks = append(t.blocks, v.block)
			t.known[v.block] = id
		}
	}
	return place{id, v.off, v.n}
}

func (t *texts) rest() {
	t.close()
	t.recent, t.known, t.spare = nil, nil, [2][]byte{}
}
