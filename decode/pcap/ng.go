package pcap

import (
	"bytes"
	"io"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
)

// Block types (draft-ietf-opsawg-pcapng, section 10.1).
const (
	blockInterface    = 1
	blockPacket       = 2 // obsolete
	blockSimple       = 3
	blockNames        = 4
	blockStatistics   = 5
	blockEnhanced     = 6
	blockJournal      = 9
	blockSecrets      = 10
	blockSysdig       = 0x204
	blockSysdig2      = 0x216
	blockSysdig2Large = 0x221
	blockCustom       = 0xbad
	blockCustomLocal  = 0x40000bad
	blockSection      = 0x0a0d0d0a // a palindrome: the same in both byte orders
)

// Bounds of what is held. Past them things are counted in Info.Skipped.
const (
	maxBlock        = 16 << 20 // of blocks without a packet
	maxOptions      = 1 << 20  // of a packet's options
	maxSecrets      = 64 << 20
	maxNames        = 1 << 16
	maxNameBytes    = 8 << 20
	maxComments     = 10_000
	maxCommentBytes = 8 << 20
	maxInterfaces   = 1 << 16 // of a section
	maxText         = 255     // bytes of an interface's name
	maxReasons      = 256
	maxSeconds      = math.MaxInt64 / 1_000_000_000
)

// iface is one interface of the present section.
type iface struct {
	link    LinkType
	number  int // over the whole file
	snap    uint32
	limit   uint32
	mul     uint64 // ns = ticks * mul / div >> shift + offset
	div     uint64
	shift   uint
	offset  int64 // ns
	noTimes bool  // offset beyond int64 ns
	drops   int64
}

// ngState is the part of a Reader that only pcapng needs.
type ngState struct {
	ifaces       []iface
	linkSeen     [1 << 16 / 64]uint64
	unlimited    bool
	secretBytes  int
	nameBytes    int
	commentBytes int
	skipTypes    []skipType
}

// skipType remembers which entry of Info.Skipped counts a block type, so that
// a file full of them allocates nothing for each.
type skipType struct {
	typ    uint32
	reason string
}

func (r *Reader) nextBlock(f *Frame) error {
	for {
		if !r.need(8) {
			if r.end == r.pos && r.srcErr == io.EOF {
				return io.EOF
			}
			return r.short("block header", 8)
		}
		h := r.buf[r.pos : r.pos+8]
		typ := r.u32(h)
		n := round4(r.u32(h[4:]))
		var err error
		switch typ {
		case blockEnhanced:
			return r.enhanced(f, n)
		case blockSimple:
			return r.simple(f, n)
		case blockPacket:
			return r.obsolete(f, n)
		case blockSection:
			err = r.section()
		case blockInterface:
			err = r.describe(n)
		case blockNames, blockStatistics, blockSecrets:
			if n > maxBlock {
				err = r.skip(typ, n)
				break
			}
			if err = r.block(blockName(typ), n, 12); err != nil {
				break
			}
			b := r.buf[r.pos+8 : r.pos+int(n)-4]
			switch typ {
			case blockNames:
				r.names(b)
			case blockStatistics:
				err = r.statistics(b)
			case blockSecrets:
				err = r.secrets(b)
			}
			if err == nil {
				r.pos += int(n)
			}
		default:
			err = r.skip(typ, n)
		}
		if err != nil {
			return err
		}
	}
}

// round4 makes a block length a multiple of 4, as the format demands. The first
// writers (libntar, 2005) left the padding out of both length fields, though
// it is there; tshark reads such files too. Lengths near 2^32 give 0, which is
// too small for any block.
func round4(n uint32) uint32 { return (n + 3) &^ 3 }

// block checks the lengths of the block at pos and makes all of it lie in buf.
// The caller has bounded n.
func (r *Reader) block(what string, n, least uint32) error {
	if n < least {
		return r.damage("block length", "frame %d: want at least %d for %s, found %d", r.number+1, least, what, n)
	}
	if !r.need(int(n)) {
		return r.short(what, int(n))
	}
	if t := r.u32(r.buf[r.pos+int(n)-4:]); round4(t) != n {
		return r.damage("block length", "frame %d: want %d again at the end of %s, found %d", r.number+1, n, what, t)
	}
	return nil
}

// section reads a section header block, which sets the byte order.
func (r *Reader) section() error {
	if !r.need(12) {
		return r.short("section header block", 28)
	}
	h := r.buf[r.pos:]
	switch {
	case string(h[8:12]) == "\x1a\x2b\x3c\x4d":
		r.big = true
	case string(h[8:12]) == "\x4d\x3c\x2b\x1a":
		r.big = false
	default:
		return r.damage("byte-order magic", "want 1a2b3c4d in either order, found %x", h[8:12])
	}
	n := round4(r.u32(h[4:]))
	if n > maxBlock {
		return r.damage("block length", "want a section header block of at most %d bytes, found %d", maxBlock, n)
	}
	if err := r.block("section header block", n, 28); err != nil {
		return err
	}
	b := r.buf[r.pos : r.pos+int(n)-4]
	// 1.2 was written by some programs and means the same (section 4.1).
	if major, minor := r.u16(b[12:]), r.u16(b[14:]); major != 1 || minor != 0 && minor != 2 {
		return r.damage("version", "want version 1.0, found %d.%d", major, minor)
	}
	r.ifaces = r.ifaces[:0]
	for o := r.options(b[24:]); o.next(); {
		if o.code == optComment {
			r.comment(0, o.value)
		}
	}
	r.pos += int(n)
	return nil
}

// describe reads an interface description block (section 4.2).
func (r *Reader) describe(n uint32) error {
	if n > maxBlock {
		return r.damage("block length", "want an interface description block of at most %d bytes, found %d", maxBlock, n)
	}
	if err := r.block("interface description block", n, 20); err != nil {
		return err
	}
	if len(r.ifaces) == maxInterfaces {
		return r.damage("interface", "want at most %d interfaces in a section, found more", maxInterfaces)
	}
	b := r.buf[r.pos+8 : r.pos+int(n)-4]
	i := iface{link: LinkType(r.u16(b)), snap: r.u32(b[4:]), number: r.info.Interfaces}
	i.limit = min(max(i.snap, minLimit), maxLimit)
	i.resolution(6)
	about := Interface{Link: i.link, SnapLen: i.snap}
	for o := r.options(b[8:]); o.next(); {
		switch {
		case o.code == optComment:
			r.comment(0, o.value)
		case o.code == optName:
			about.Name = string(o.value[:min(len(o.value), maxText)])
		case o.code == optInfo:
			about.Description = string(o.value[:min(len(o.value), maxText)])
		case o.code == optResolution && len(o.value) == 1:
			i.resolution(o.value[0])
		case o.code == optOffset && len(o.value) == 8:
			sec := int64(r.u64(o.value))
			i.noTimes = sec > maxSeconds || sec < -maxSeconds
			i.offset = sec * 1e9
		}
	}
	r.ifaces = append(r.ifaces, i)
	if len(r.info.Described) < maxInterfaces {
		r.info.Described = append(r.info.Described, about)
	}
	r.info.Interfaces++
	if bit := uint64(1) << (i.link % 64); r.linkSeen[i.link/64]&bit == 0 {
		r.linkSeen[i.link/64] |= bit
		r.info.LinkTypes = append(r.info.LinkTypes, i.link)
	}
	if i.snap == 0 {
		r.unlimited = true
	}
	if r.info.SnapLen = max(r.info.SnapLen, int64(i.snap)); r.unlimited {
		r.info.SnapLen = 0
	}
	r.pos += int(n)
	return nil
}

// resolution sets the length of a tick from an if_tsresol octet: 10^-v, or
// 2^-v when the top bit is set.
func (i *iface) resolution(v uint8) {
	i.mul, i.div, i.shift = 1, 1, 0
	switch e := int(v & 0x7f); {
	case v&0x80 != 0:
		i.mul, i.shift = 1e9, uint(e)
	case e <= 9:
		for ; e < 9; e++ {
			i.mul *= 10
		}
	case e <= 28:
		for ; e > 9; e-- {
			i.div *= 10
		}
	default:
		// 2^64 ticks of 10^-29 s are less than 1 ns.
		i.mul = 0
	}
}

// time converts ticks to ns since 1970; false when int64 cannot hold that.
func (i *iface) time(ticks uint64) (int64, bool) {
	hi, lo := bits.Mul64(ticks, i.mul)
	if i.shift > 0 {
		// Shifts by 64 or more give 0 in Go.
		lo = lo>>i.shift | hi<<(64-i.shift) | hi>>(i.shift-64)
		hi >>= i.shift
	} else if i.div > 1 {
		lo /= i.div // mul is 1, so hi is 0
	}
	if hi != 0 || lo > math.MaxInt64 || i.noTimes {
		return 0, false
	}
	t := int64(lo) + i.offset
	return t, !(i.offset > 0 && t < 0)
}

// stamp fills what all frames of the interface have in common.
func (r *Reader) stamp(f *Frame, i *iface, ticks uint64) {
	r.number++
	f.Number = r.number
	f.Link = i.link
	f.Interface = i.number
	t, ok := i.time(ticks)
	if !ok {
		t = 0
		r.info.BadTimes++
	}
	f.Time = t
}

// packet checks what enhanced and obsolete packet blocks have in common: an
// interface, a captured length, then room for it after 28 bytes.
func (r *Reader) packet(what string, n, id, caplen uint32) (*iface, error) {
	if int64(id) >= int64(len(r.ifaces)) {
		return nil, r.damage("interface", "frame %d: want one of %d described interfaces, found number %d", r.number+1, len(r.ifaces), id)
	}
	i := &r.ifaces[id]
	if caplen > i.limit {
		return nil, r.damage("captured length", "frame %d: want at most %d bytes, found %d", r.number+1, i.limit, caplen)
	}
	if room := round4(caplen) + 32; n < room || n > room+maxOptions {
		return nil, r.damage("block length", "frame %d: want %d to %d for %d captured bytes, found %d", r.number+1, room, room+maxOptions, caplen, n)
	}
	return i, r.block(what, n, 32)
}

func (r *Reader) enhanced(f *Frame, n uint32) error {
	if n < 32 || !r.need(28) {
		return r.tooSmall("enhanced packet block", n, 32)
	}
	h := r.buf[r.pos : r.pos+28]
	caplen := r.u32(h[20:])
	i, err := r.packet("enhanced packet block", n, r.u32(h[8:]), caplen)
	if err != nil {
		return err
	}
	r.finish(f, i, n, caplen)
	return nil
}

// obsolete reads a packet block (appendix A of the draft).
func (r *Reader) obsolete(f *Frame, n uint32) error {
	if n < 32 || !r.need(28) {
		return r.tooSmall("packet block", n, 32)
	}
	h := r.buf[r.pos : r.pos+28]
	caplen := r.u32(h[20:])
	i, err := r.packet("packet block", n, uint32(r.u16(h[8:])), caplen)
	if err != nil {
		return err
	}
	r.finish(f, i, n, caplen)
	return nil
}

// finish makes f of the checked packet block at pos.
func (r *Reader) finish(f *Frame, i *iface, n, caplen uint32) {
	b := r.buf[r.pos : r.pos+int(n)]
	r.stamp(f, i, uint64(r.u32(b[12:]))<<32|uint64(r.u32(b[16:])))
	f.OrigLen = onWire(r.u32(b[24:]))
	f.Data = b[28 : 28+caplen : 28+caplen]
	if pad := 28 + round4(caplen); pad+4 < n {
		for o := r.options(b[pad : n-4]); o.next(); {
			if o.code == optComment {
				r.comment(f.Number, o.value)
			}
		}
	}
	r.pos += int(n)
}

// simple reads a simple packet block: interface 0, no time, as long as the
// snapshot length allows (section 4.4).
func (r *Reader) simple(f *Frame, n uint32) error {
	if n < 16 || !r.need(12) {
		return r.tooSmall("simple packet block", n, 16)
	}
	if len(r.ifaces) == 0 {
		return r.damage("interface", "frame %d: want a described interface, found none", r.number+1)
	}
	i := &r.ifaces[0]
	orig := r.u32(r.buf[r.pos+8:])
	caplen := orig
	if i.snap > 0 {
		caplen = min(caplen, i.snap)
	}
	if caplen > i.limit {
		return r.damage("captured length", "frame %d: want at most %d bytes, found %d", r.number+1, i.limit, caplen)
	}
	if room := round4(caplen) + 16; n < room || n > room+maxOptions {
		return r.damage("block length", "frame %d: want %d for %d captured bytes, found %d", r.number+1, room, caplen, n)
	}
	if err := r.block("simple packet block", n, 16); err != nil {
		return err
	}
	b := r.buf[r.pos : r.pos+int(n)]
	r.number++
	*f = Frame{Number: r.number, Link: i.link, Interface: i.number, OrigLen: onWire(orig), Data: b[12 : 12+caplen : 12+caplen]}
	r.pos += int(n)
	return nil
}

// tooSmall is the error for a packet block of which not even the fixed part
// is there: by its length, or by the end of the file.
func (r *Reader) tooSmall(what string, n, least uint32) error {
	if n < least {
		return r.damage("block length", "frame %d: want at least %d for %s, found %d", r.number+1, least, what, n)
	}
	return r.short(what, int(least))
}

// names reads a name resolution block (section 4.5).
func (r *Reader) names(b []byte) {
	for len(b) >= 4 {
		typ, n := r.u16(b), int(r.u16(b[2:]))
		b = b[4:]
		if typ == 0 {
			return
		}
		if n > len(b) {
			r.count("damaged name record", int64(len(b)))
			return
		}
		v := b[:n]
		b = b[min((n+3)&^3, len(b)):]
		size := 0
		switch typ {
		case 1:
			size = 4
		case 2:
			size = 16
		}
		if size == 0 {
			continue
		}
		if n < size {
			r.count("damaged name record", int64(n))
			continue
		}
		addr, _ := netip.AddrFromSlice(v[:size])
		for text := range bytes.SplitSeq(v[size:], []byte{0}) {
			if len(text) == 0 {
				continue
			}
			if len(r.info.Names) == maxNames || r.nameBytes+len(text) > maxNameBytes {
				r.count("name over the limit", int64(len(text)))
				continue
			}
			r.nameBytes += len(text)
			r.info.Names = append(r.info.Names, Name{addr, string(text)})
		}
	}
}

// statistics reads an interface statistics block (section 4.6). The counters
// run from the start of the capture, so only the last block of an interface
// counts.
func (r *Reader) statistics(b []byte) error {
	if len(b) < 12 {
		return r.damage("block length", "want at least 24 for an interface statistics block, found %d", len(b)+12)
	}
	id := r.u32(b)
	if int64(id) >= int64(len(r.ifaces)) {
		r.count("statistics of an unknown interface", int64(len(b)+12))
		return nil
	}
	var drops uint64
	known := false
	for o := r.options(b[12:]); o.next(); {
		if (o.code == optIfDrop || o.code == optOSDrop) && len(o.value) == 8 {
			if v := r.u64(o.value); v <= math.MaxInt64/4 {
				drops += v
				known = true
			}
		}
	}
	if known {
		i := &r.ifaces[id]
		sum := r.info.Drops - i.drops
		if int64(drops) > math.MaxInt64-sum {
			r.count("drop counter over the limit", int64(len(b)+12))
			return nil
		}
		r.info.Drops, r.info.DropsKnown = sum+int64(drops), true
		i.drops = int64(drops)
		if i.number < len(r.info.Described) {
			about := &r.info.Described[i.number]
			about.Drops, about.DropsKnown = i.drops, true
		}
	}
	return nil
}

// secrets reads a decryption secrets block (section 4.7).
func (r *Reader) secrets(b []byte) error {
	if len(b) < 8 {
		return r.damage("block length", "want at least 20 for a decryption secrets block, found %d", len(b)+12)
	}
	n := r.u32(b[4:])
	if int64(n) > int64(len(b)-8) {
		return r.damage("secrets length", "want at most %d bytes, found %d", len(b)-8, n)
	}
	if r.secretBytes+int(n) > maxSecrets {
		r.count("secrets over the limit", int64(n))
		return nil
	}
	r.secretBytes += int(n)
	r.info.Secrets = append(r.info.Secrets, Secret{r.u32(b), bytes.Clone(b[8 : 8+n])})
	return nil
}

func (r *Reader) comment(frame int64, text []byte) {
	text = bytes.TrimRight(text, "\x00") // some writers end them as C strings
	if len(r.info.Comments) == maxComments || r.commentBytes+len(text) > maxCommentBytes {
		r.count("comment over the limit", int64(len(text)))
		return
	}
	r.commentBytes += len(text)
	r.info.Comments = append(r.info.Comments, Comment{frame, string(text)})
}

// skip passes over the block at pos without holding it.
func (r *Reader) skip(typ, n uint32) error {
	if n < 12 {
		return r.damage("block length", "frame %d: want at least 12 for a block of type %#x, found %d", r.number+1, typ, n)
	}
	start := r.Offset()
	for left := int64(n) - 4; left > 0; {
		if !r.need(1) {
			return r.short("rest of a block of type "+strconv.FormatUint(uint64(typ), 10), int(min(left+4, math.MaxInt32)))
		}
		k := min(left, int64(r.end-r.pos))
		r.pos += int(k)
		left -= k
	}
	if !r.need(4) {
		return r.short("block length", 4)
	}
	if t := r.u32(r.buf[r.pos:]); round4(t) != n {
		return r.damage("block length", "want %d again at the end of the block at byte %d, found %d", n, start, t)
	}
	r.pos += 4
	// Wireshark gives these a number in its packet list (4.0.17, tried).
	switch typ {
	case blockJournal, blockCustom, blockCustomLocal, blockSysdig, blockSysdig2, blockSysdig2Large:
		r.number++
		r.count(blockName(typ), int64(n)).Numbered = true
		return nil
	}
	for _, s := range r.skipTypes {
		if s.typ == typ {
			r.count(s.reason, int64(n))
			return nil
		}
	}
	reason := "blocks of many unknown types"
	if len(r.skipTypes) < maxReasons {
		reason = blockName(typ)
		if n > maxBlock && (typ == blockNames || typ == blockStatistics || typ == blockSecrets) {
			reason += " over the limit"
		} else {
			r.skipTypes = append(r.skipTypes, skipType{typ, reason})
		}
	}
	r.count(reason, int64(n))
	return nil
}

// count adds to Info.Skipped, which stays sorted.
func (r *Reader) count(reason string, n int64) *Skipped {
	at, found := slices.BinarySearchFunc(r.info.Skipped, reason, func(s Skipped, want string) int {
		switch {
		case s.Reason < want:
			return -1
		case s.Reason > want:
			return 1
		}
		return 0
	})
	if !found {
		r.info.Skipped = slices.Insert(r.info.Skipped, at, Skipped{Reason: reason})
	}
	s := &r.info.Skipped[at]
	s.Count++
	s.Bytes += n
	return s
}

func blockName(typ uint32) string {
	switch typ {
	case blockNames:
		return "name resolution block"
	case blockStatistics:
		return "interface statistics block"
	case blockSecrets:
		return "decryption secrets block"
	case blockJournal:
		return "systemd journal block"
	case blockCustom, blockCustomLocal:
		return "custom block"
	case blockSysdig, blockSysdig2, blockSysdig2Large:
		return "sysdig event block"
	}
	return "unknown block type " + strconv.FormatUint(uint64(typ), 10)
}

// Option codes (sections 3.5, 4.2, 4.6).
const (
	optEnd        = 0
	optComment    = 1
	optName       = 2
	optInfo       = 3 // if_description
	optProgram    = 4 // shb_userappl
	optIfDrop     = 5
	optOSDrop     = 7
	optResolution = 9
	optOffset     = 14
)

// options walks the options of a block.
type options struct {
	r     *Reader
	b     []byte
	code  uint16
	value []byte
}

func (r *Reader) options(b []byte) options { return options{r: r, b: b} }

// next goes to the next option. An option that runs past the block ends the
// walk and is counted; the block's fixed part is good all the same.
func (o *options) next() bool {
	if len(o.b) < 4 {
		return false
	}
	o.code = o.r.u16(o.b)
	n := int(o.r.u16(o.b[2:]))
	if o.code == optEnd {
		return false
	}
	if n > len(o.b)-4 {
		o.r.count("damaged option", int64(len(o.b)))
		return false
	}
	o.value = o.b[4 : 4+n]
	o.b = o.b[min(4+(n+3)&^3, len(o.b)):]
	return true
}
