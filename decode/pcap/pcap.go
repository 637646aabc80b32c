// Package pcap reads capture files, pcap and pcapng, into raw link-layer
// frames, and writes both.
//
// Sources: draft-ietf-opsawg-pcap (the classic format),
// draft-ietf-opsawg-pcapng (blocks and options), the tcpdump.org LINKTYPE_
// registry. Also read: the nanosecond magic, the "modified" magic 0xa1b2cd34
// of Kuznetzov's patches with its longer record header, files of version 2.0
// to 2.3 (their two length fields are in the other order), both byte orders,
// sections whose byte order differs, obsolete packet blocks.
//
// Units: times are nanoseconds since 1970 UTC, computed from the ticks of the
// file in exact integer arithmetic and cut, not rounded, to whole
// nanoseconds. Offsets are bytes of the decompressed file.
//
// Aliasing: Frame.Data lies in the Reader's buffer and is valid until the next
// call of Next. Everything in Info is a copy.
//
// Memory is bounded: a frame may hold what its interface's snapshot length
// allows, at least 256 KiB and at most 128 MiB, and the buffer grows only as
// the bytes really come. Blocks without packets are passed over without being
// held. A damaged file ends at the damage: nothing after it is guessed.
//
// Not handled: decompression, other capture formats (snoop, ERF, Network
// Monitor ...; they are refused by name), packet flags and hashes, captures
// being written at the same time.
//
// Only capture file formats may enter this room; what a frame holds is
// decided elsewhere.
package pcap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"net/netip"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	bufferSize = 1 << 20
	// minLimit is what tshark and libpcap allow a packet to hold whatever the
	// header says; files exist whose snapshot length is too small or 0.
	minLimit = 256 << 10
	maxLimit = 128 << 20
)

// Frame is one captured link-layer frame.
type Frame struct {
	Number    int64    // 1-based in the file, as Wireshark numbers it
	Time      int64    // ns since 1970 UTC; 0 = no time
	Link      LinkType // of the interface
	Interface int      // 0-based over the whole file, all sections
	OrigLen   int      // bytes on the wire
	Data      []byte   // captured bytes; aliases the reader until the next Next
}

// Info is what a file tells about itself beside its packets. It grows as
// blocks are read.
type Info struct {
	Format     string     // "pcap" or "pcapng"
	LinkTypes  []LinkType // in the order of their first description
	SnapLen    int64      // the largest of all interfaces; 0 = unlimited
	Interfaces int        // described so far, over all sections
	Drops      int64      // packets that capture lost, by each interface's last statistics
	DropsKnown bool       // some interface told its drops
	BadTimes   int64      // frames whose time lies outside int64 nanoseconds; their Time is 0
	Secrets    []Secret
	Names      []Name
	Comments   []Comment
	Described  []Interface // the first 65536, as Frame.Interface counts them; of pcapng only
	Skipped    []Skipped   // sorted by Reason
}

// Interface is how a pcapng describes where packets were captured.
type Interface struct {
	Link        LinkType
	SnapLen     uint32 // 0 = unlimited
	Name        string // of the system, such as eth0; the first 255 bytes
	Description string // likewise
	Drops       int64  // packets that capture lost, by the last statistics
	DropsKnown  bool
}

// Secret is the content of a decryption secrets block.
type Secret struct {
	Type uint32 // SecretTLS, ...
	Data []byte
}

// SecretTLS is the type of a block that holds key log lines.
const SecretTLS = 0x544c534b

// Name is one entry of a name resolution block.
type Name struct {
	Addr netip.Addr
	Name string
}

// Comment is a comment option. Frame is 0 when it is about a section or an
// interface.
type Comment struct {
	Frame int64
	Text  string
}

// Skipped counts what was passed over, by reason.
type Skipped struct {
	Reason       string
	Count, Bytes int64
	Numbered     bool // each took a frame number, as in Wireshark's packet list
}

// Reader reads frames from a capture file.
type Reader struct {
	src    io.Reader
	blocks blockSource // src, when it is one; then buf is its block, or join
	ahead  []byte      // of its block what comes after buf
	join   []byte      // for what lies across the end of a block
	// buf[pos:end] is read and not yet consumed; buf[0] is byte base of the file.
	buf      []byte
	pos, end int
	base     int64
	srcErr   error // why src gives no more
	err      error // what Next returns from now on

	proto  string // "pcap" or "pcapng"
	ng     bool
	big    bool // byte order, of the section if pcapng
	number int64
	info   Info
	limit  uint32 // captured bytes of a frame; the largest over all interfaces

	// pcap
	link     LinkType
	header   int    // bytes of a record header
	fraction int64  // ns of one unit of a record's second time field
	swapped  uint32 // files below 2.4: version minor + 1, else 0

	ngState
}

// blockSource hands out its bytes in blocks, each of which stays until the next
// is asked for. Frames are taken straight from them.
type blockSource interface {
	NextBlock() ([]byte, error) // at least one byte, or an error
}

// NewReader reads the header of a capture. The error is or wraps a
// *wire.Error when the input is not a capture that can be read.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{src: src, proto: "pcap"}
	if r.blocks, _ = src.(blockSource); r.blocks == nil {
		r.buf = make([]byte, bufferSize)
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Reader) open() error {
	if !r.need(4) {
		if r.srcErr == io.EOF && r.end == 0 {
			return r.damage("magic", "want a pcap or pcapng header, found an empty file")
		}
		return r.short("header", 24)
	}
	magic := binary.LittleEndian.Uint32(r.buf)
	if magic == blockSection {
		r.ng, r.proto, r.info.Format = true, "pcapng", "pcapng"
		return r.section()
	}
	r.header, r.fraction = 16, 1000
	for _, m := range [...]uint32{0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34} {
		if magic != m && magic != bits.ReverseBytes32(m) {
			continue
		}
		r.big = magic != m
		r.info.Format = "pcap"
		switch m {
		case 0xa1b23c4d:
			r.fraction = 1
		case 0xa1b2cd34:
			r.header = 24
		}
		return r.fileHeader()
	}
	r.need(foreignHead)
	head := r.buf[:min(r.end, foreignHead)]
	if what := foreign(head); what != "" {
		return r.damage("magic", "want a pcap or pcapng capture, found %s", what)
	}
	return r.damage("magic", "want a pcap or pcapng capture, found a file that starts with %q", head[:min(len(head), 16)])
}

// fileHeader reads the 24 bytes that a pcap file starts with.
func (r *Reader) fileHeader() error {
	if !r.need(24) {
		return r.short("header", 24)
	}
	h := r.buf
	major, minor := r.u16(h[4:]), r.u16(h[6:])
	if major != 2 {
		return r.damage("version", "want version 2.x, found %d.%d", major, minor)
	}
	// Up to 2.2 the wire length came first; writers of 2.3 did it either way
	// (libpcap, sf-pcap.c).
	if minor < 4 {
		r.swapped = uint32(minor) + 1
	}
	snap := r.u32(h[16:])
	// The upper bits tell of a frame check sequence, or are reserved.
	r.link = LinkType(r.u32(h[20:]) & 0xffff)
	r.limit = min(max(snap, minLimit), maxLimit)
	r.info.SnapLen = int64(snap)
	r.info.Interfaces = 1
	r.info.LinkTypes = []LinkType{r.link}
	r.pos = 24
	return nil
}

// Next reads the next frame into f. It returns io.EOF after the last one, and
// an error that is or wraps a *wire.Error where the file is damaged or cut
// off. After any error it returns the same error.
func (r *Reader) Next(f *Frame) error {
	if r.err != nil {
		return r.err
	}
	var err error
	if r.ng {
		err = r.nextBlock(f)
	} else {
		err = r.nextRecord(f)
	}
	if err != nil {
		*f = Frame{}
		r.err = err
	}
	return err
}

func (r *Reader) nextRecord(f *Frame) error {
	if !r.need(r.header) {
		if r.end == r.pos && r.srcErr == io.EOF {
			return io.EOF
		}
		return r.short("record header", r.header)
	}
	h := r.buf[r.pos : r.pos+16]
	sec, frac, caplen, orig := r.u32(h), r.u32(h[4:]), r.u32(h[8:]), r.u32(h[12:])
	if r.swapped > 0 && (r.swapped < 4 || caplen > orig) {
		caplen, orig = orig, caplen
	}
	if caplen > r.limit {
		return r.damage("captured length", "frame %d: want at most %d bytes, found %d", r.number+1, r.limit, caplen)
	}
	n := r.header + int(caplen)
	if !r.need(n) {
		return r.short("record", n)
	}
	r.number++
	f.Number = r.number
	f.Time = int64(sec)*1e9 + int64(frac)*r.fraction
	f.Link = r.link
	f.Interface = 0
	f.OrigLen = onWire(orig)
	f.Data = r.buf[r.pos+r.header : r.pos+n : r.pos+n]
	r.pos += n
	return nil
}

// onWire keeps a length within int where that has 32 bits; no link carries
// such frames.
func onWire(n uint32) int { return int(min(n, math.MaxInt32)) }

// Info tells what was read so far beside the packets. It belongs to the
// Reader and grows with it.
func (r *Reader) Info() *Info { return &r.info }

// Offset is the number of bytes consumed so far.
func (r *Reader) Offset() int64 { return r.base + int64(r.pos) }

// need makes n bytes lie together at buf[pos:]. It reports false when the
// input has fewer, and then all of them are there.
func (r *Reader) need(n int) bool {
	return r.end-r.pos >= n || r.fill(n)
}

// fillBlocks is fill from a blockSource.
func (r *Reader) fillBlocks(n int) bool {
	rest := r.buf[r.pos:r.end]
	r.base += int64(r.pos)
	r.pos = 0
	if len(rest) == 0 && len(r.ahead) >= n {
		r.buf, r.end, r.ahead = r.ahead, len(r.ahead), nil
		return true
	}
	r.join = append(r.join[:0], rest...) // rest may lie in join, and further up
	for len(r.join) < n {
		if len(r.ahead) == 0 {
			if r.srcErr != nil {
				break
			}
			if r.ahead, r.srcErr = r.blocks.NextBlock(); r.srcErr != nil {
				r.ahead = nil
				break
			}
			if len(r.join) == 0 && len(r.ahead) >= n {
				r.buf, r.end, r.ahead = r.ahead, len(r.ahead), nil
				return true
			}
		}
		k := min(len(r.ahead), n-len(r.join))
		r.join = append(r.join, r.ahead[:k]...)
		r.ahead = r.ahead[k:]
	}
	r.buf, r.end = r.join, len(r.join)
	return r.end >= n
}

func (r *Reader) fill(n int) bool {
	if r.blocks != nil {
		return r.fillBlocks(n)
	}
	if r.pos > 0 {
		copy(r.buf, r.buf[r.pos:r.end])
		r.base += int64(r.pos)
		r.end -= r.pos
		r.pos = 0
	}
	idle := 0
	for r.end < n {
		if r.srcErr != nil {
			return false
		}
		if r.end == len(r.buf) {
			// Doubling only what is full: a length field alone allocates nothing.
			b := make([]byte, min(2*len(r.buf), (n+bufferSize-1)/bufferSize*bufferSize))
			copy(b, r.buf)
			r.buf = b
		}
		k, err := r.src.Read(r.buf[r.end:])
		if k < 0 || k > len(r.buf)-r.end {
			k, err = 0, fmt.Errorf("reader gave a count of %d bytes for a buffer of %d", k, len(r.buf)-r.end)
		}
		r.end += k
		r.srcErr = err
		if k > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			r.srcErr = io.ErrNoProgress
		}
	}
	return true
}

// short is the error for input that ends within something of n bytes at pos.
func (r *Reader) short(field string, n int) error {
	have := r.end - r.pos
	frame := ""
	if r.Offset() > 0 {
		frame = fmt.Sprintf("frame %d: ", r.number+1)
	}
	if r.srcErr == nil || r.srcErr == io.EOF {
		return r.damage(field, "%sfile cut off: want %d bytes, have %d", frame, n, have)
	}
	e := r.damage(field, "%scannot be read: want %d bytes, have %d", frame, n, have)
	return fmt.Errorf("%w: %w", e, r.srcErr)
}

// damage is an error about the bytes at pos.
func (r *Reader) damage(field, format string, args ...any) error {
	return &wire.Error{Proto: r.proto, Field: field, Off: r.Offset(), Msg: fmt.Sprintf(format, args...)}
}

func (r *Reader) u16(b []byte) uint16 {
	if r.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (r *Reader) u32(b []byte) uint32 {
	if r.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *Reader) u64(b []byte) uint64 {
	if r.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

const foreignHead = 64

// foreign names the format of head when it is a known one that is not read
// here, "" otherwise. Magic numbers are those of Wireshark's wiretap library
// and of the formats' own descriptions.
func foreign(head []byte) string {
	const convert = "; convert it with editcap"
	for _, m := range [...]struct{ magic, name string }{
		{"snoop\x00\x00\x00", "a Sun snoop capture" + convert},
		{"GMBU", "a Microsoft Network Monitor 2 capture" + convert},
		{"RTSS", "a Microsoft Network Monitor 1 capture" + convert},
		{"XCP\x00", "a NetXRay or Sniffer capture" + convert},
		{"TRSNIFF data    \x1a", "a DOS Sniffer capture" + convert},
		{"btsnoop\x00", "a Bluetooth HCI (btsnoop) log" + convert},
		{"\x7fver", "a Savvius tagged Peek capture" + convert},
		{"EyeSDN", "an EyeSDN trace" + convert},
		{"\x00\x00\x02\x00\x12\x05\x00\x10", "a Tektronix K12 capture" + convert},
		{"+---------+---------------+----------+", "a Tektronix K12 text capture" + convert},
		{"\xff\xfe \x00C\x00O\x00M\x00M\x00U\x00N\x00I\x00C\x00", "an IBM iSeries communication trace" + convert},
		{" COMMUNICATIONS TRACE", "an IBM iSeries communication trace" + convert},
		{"\x1c\x00\x01\xac", "an Ixia lcap capture" + convert},
		{"\xac\x01\x00\x1c", "an Ixia lcap capture" + convert},
		{"\x1f\x8b", "gzip data"},
		{"\x28\xb5\x2f\xfd", "zstd data"},
		{"BZh", "bzip2 data"},
		{"\xfd7zXZ\x00", "xz data"},
		{"\x04\x22\x4d\x18", "lz4 data; decompress it first"},
		{"PK\x03\x04", "a zip archive"},
		{"<!DOCTYPE", "an HTML page"},
		{"<html", "an HTML page"},
	} {
		if len(head) >= len(m.magic) && string(head[:len(m.magic)]) == m.magic {
			return m.name
		}
	}
	// ERF has no magic: little-endian 32.32 time, type 1-48 (top bit: an
	// extension follows), flags, big-endian record length of at least the 16
	// header bytes, loss counter, wire length (Endace, ERF types reference).
	text := !bytes.ContainsFunc(head, func(c rune) bool { return c < '\t' })
	if len(head) >= 16 && !text {
		sec := binary.LittleEndian.Uint32(head[4:])
		typ, rlen, wlen := head[8]&0x7f, binary.BigEndian.Uint16(head[10:]), binary.BigEndian.Uint16(head[14:])
		if sec > 800e6 && typ >= 1 && typ <= 48 && rlen >= 16 && wlen > 0 && head[9]&0xc0 == 0 && int(rlen) <= int(wlen)+64 {
			return "what looks like an Endace ERF capture" + convert
		}
	}
	return ""
}
