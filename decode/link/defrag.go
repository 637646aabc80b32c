package link

import (
	"bytes"
	"hash/crc32"
	"net/netip"
	"slices"
	"sort"
)

// Bounds of the defragmenter. The memory bound is on payload buffers; the
// pieces' bookkeeping adds at most as much again.
const (
	maxDatagrams      = 1024
	maxFragmentMemory = 16 << 20
	maxPieces         = 1024 // 64 KiB in fragments of the least IPv4 MTU (68) are 1366, but nobody sends those
	fragmentTimeout   = 30e9 // ns of packet time; RFC 791 suggests 15 s, RFC 8200 says 60 s, Linux 30 s
)

// fragmentKey names a datagram (RFC 791, 3.2; RFC 8200, 4.5: proto is 0 there).
type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8
}

// piece is one span of a datagram that no earlier fragment had covered.
type piece struct {
	off, end int32
	have     int32 // where the captured bytes end
	sum      uint32
}

type datagram struct {
	key    fragmentKey
	time   int64   // of its first fragment
	buf    []byte  // bytes at their offsets
	pieces []piece // sorted, disjoint
	got    int32   // bytes covered
	total  int32   // -1 until the last fragment was seen
	proto  uint8   // of the first fragment
	first  bool    // the first fragment was seen
	done   bool    // complete and given away; kept to know late copies of its fragments
	frags  int64
	bytes  int64

	older, newer *datagram
}

// defragmenter puts IP fragments together. Where fragments overlap the first
// captured bytes win, as in most receivers' and all other rooms' rules here.
// The zero value is ready.
type defragmenter struct {
	table          map[fragmentKey]*datagram
	oldest, newest *datagram
	spare          *datagram // linked by newer
	free           [][]byte
	out            [][]byte // given to the caller until the next Decode
	memory         int      // cap of all buffers: in datagrams, free and out
	lostFragments  int64
	lostBytes      int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// add takes one fragment: wire bytes at off, of which data was captured. When
// it completes its datagram, add returns Used, the captured bytes up to the
// first missing one, the protocol and the datagram's length.
func (f *defragmenter) add(key fragmentKey, now int64, proto uint8, off int, more bool, data []byte, wire int) ([]byte, uint8, int, Verdict) {
	for f.oldest != nil && (now-f.oldest.time > fragmentTimeout || f.oldest.time-now > fragmentTimeout) {
		f.drop(f.oldest)
	}
	start, end := int32(off), int32(off+wire)
	g := f.table[key]
	if g != nil && g.done {
		if g.copyOf(start, end, data) {
			return nil, 0, 0, IPFragmentCopy
		}
		f.drop(g) // the id is used again
		g = nil
	}
	if g == nil {
		g = f.open(key, now)
	}
	g.frags++
	g.bytes += int64(wire)
	if g.total >= 0 && (end > g.total || (!more && end != g.total)) {
		return nil, 0, 0, IPFragmentOverlap
	}
	if !more && g.total < 0 {
		if n := len(g.pieces); n > 0 && g.pieces[n-1].end > end {
			return nil, 0, 0, IPFragmentOverlap
		}
		g.total = end
	}
	if off == 0 && !g.first {
		g.first, g.proto = true, proto
	}
	if !f.reserve(g, off+len(data)) {
		f.drop(g)
		return nil, 0, 0, IPFragment
	}
	conflict, full := g.insert(start, end, data)
	if full {
		f.drop(g)
		return nil, 0, 0, IPFragment
	}
	if g.total < 0 || g.got < g.total {
		if conflict {
			return nil, 0, 0, IPFragmentOverlap
		}
		return nil, 0, 0, IPFragment
	}
	have := 0
	for _, p := range g.pieces {
		have = int(p.have)
		if p.have < p.end {
			break
		}
	}
	for i := range g.pieces {
		p := &g.pieces[i]
		p.sum = crc32.Checksum(g.buf[min(int(p.off), len(g.buf)):min(int(p.have), len(g.buf))], castagnoli)
	}
	whole := g.buf[:have]
	f.out = append(f.out, g.buf)
	g.buf, g.done = nil, true
	return whole, g.proto, int(g.total), Used
}

// copyOf says whether a finished datagram had just this fragment.
func (g *datagram) copyOf(start, end int32, data []byte) bool {
	i := sort.Search(len(g.pieces), func(i int) bool { return g.pieces[i].off >= start })
	if i == len(g.pieces) {
		return false
	}
	p := g.pieces[i]
	return p.off == start && p.end == end && int(p.have-p.off) == len(data) && p.sum == crc32.Checksum(data, castagnoli)
}

// insert adds the spans of a fragment that are not covered yet. It reports
// whether a covered span had other bytes, and whether the pieces' bound is
// reached.
func (g *datagram) insert(start, end int32, data []byte) (conflict, full bool) {
	captured := start + int32(len(data))
	i := sort.Search(len(g.pieces), func(i int) bool { return g.pieces[i].end > start })
	for pos := start; pos < end; {
		if i < len(g.pieces) && g.pieces[i].off <= pos {
			p := g.pieces[i]
			if a, b := pos, min(p.have, captured, end); a < b && !bytes.Equal(g.buf[a:b], data[a-start:b-start]) {
				conflict = true
			}
			pos = p.end
			i++
			continue
		}
		stop := end
		if i < len(g.pieces) {
			stop = min(stop, g.pieces[i].off)
		}
		if len(g.pieces) >= maxPieces {
			return conflict, true
		}
		have := min(stop, max(captured, pos))
		copy(g.buf[pos:have], data[min(pos-start, int32(len(data))):])
		g.pieces = slices.Insert(g.pieces, i, piece{off: pos, end: stop, have: have})
		g.got += stop - pos
		pos = stop
		i++
	}
	return conflict, false
}

// reserve makes room for n bytes in g's buffer, at other datagrams' cost when
// memory is short.
func (f *defragmenter) reserve(g *datagram, n int) bool {
	if n <= len(g.buf) {
		return true
	}
	if n <= cap(g.buf) {
		g.buf = g.buf[:n]
		return true
	}
	if len(g.buf) == 0 && cap(g.buf) == 0 && len(f.free) > 0 {
		last := len(f.free) - 1
		g.buf = f.free[last][:0]
		f.free[last] = nil
		f.free = f.free[:last]
		return f.reserve(g, n)
	}
	size := min(max(n, 2*cap(g.buf), 4096), max(65536, n))
	for f.memory+size > maxFragmentMemory {
		switch last := len(f.free) - 1; {
		case last >= 0:
			f.memory -= cap(f.free[last])
			f.free = f.free[:last]
		case f.oldest != nil && f.oldest != g:
			f.drop(f.oldest)
		case f.oldest != nil && f.oldest.newer != nil:
			f.drop(f.oldest.newer)
		default:
			return false
		}
	}
	grown := make([]byte, n, size)
	copy(grown, g.buf)
	f.memory += size - cap(g.buf)
	g.buf = grown
	return true
}

func (f *defragmenter) open(key fragmentKey, now int64) *datagram {
	if f.table == nil {
		f.table = make(map[fragmentKey]*datagram)
	}
	if len(f.table) >= maxDatagrams {
		f.drop(f.oldest)
	}
	g := f.spare
	if g == nil {
		g = &datagram{}
	} else {
		f.spare = g.newer
	}
	*g = datagram{key: key, time: now, total: -1, pieces: g.pieces[:0], older: f.newest}
	if f.newest != nil {
		f.newest.newer = g
	} else {
		f.oldest = g
	}
	f.newest = g
	f.table[key] = g
	return g
}

// drop forgets a datagram, and counts it as lost unless it was done.
func (f *defragmenter) drop(g *datagram) {
	if !g.done {
		f.lostFragments += g.frags
		f.lostBytes += g.bytes
	}
	delete(f.table, g.key)
	if g.older != nil {
		g.older.newer = g.newer
	} else {
		f.oldest = g.newer
	}
	if g.newer != nil {
		g.newer.older = g.older
	} else {
		f.newest = g.older
	}
	if cap(g.buf) > 0 {
		f.free = append(f.free, g.buf)
	}
	if cap(g.pieces) > 64 {
		g.pieces = nil
	}
	g.buf, g.older, g.newer = nil, nil, f.spare
	f.spare = g
}

// recycle takes back what the last Decode gave away.
func (f *defragmenter) recycle() {
	f.free = append(f.free, f.out...)
	clear(f.out)
	f.out = f.out[:0]
}

func (f *defragmenter) pending() (fragments, bytes int64) {
	fragments, bytes = f.lostFragments, f.lostBytes
	for g := f.oldest; g != nil; g = g.newer {
		if !g.done {
			fragments += g.frags
			bytes += g.bytes
		}
	}
	return fragments, bytes
}
