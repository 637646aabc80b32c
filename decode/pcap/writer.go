package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
)

// Writer writes a little-endian pcap file, one Write call a frame.
type Writer struct {
	w     io.Writer
	nanos bool
	buf   []byte
	err   error
}

// NewWriter writes the file header at once; if that fails, every WriteFrame
// returns the error. Times are kept in ns when nanos is set, else cut to µs.
func NewWriter(w io.Writer, link LinkType, nanos bool) *Writer {
	le := binary.LittleEndian
	magic := uint32(0xa1b2c3d4)
	if nanos {
		magic = 0xa1b23c4d
	}
	h := le.AppendUint32(nil, magic)
	h = le.AppendUint16(h, 2)
	h = le.AppendUint16(h, 4)
	h = append(h, make([]byte, 8)...)
	h = le.AppendUint32(h, minLimit)
	h = le.AppendUint32(h, uint32(link))
	_, err := w.Write(h)
	return &Writer{w: w, nanos: nanos, err: err}
}

// WriteFrame writes one frame, whole. The format holds times from 1970 to 2106.
func (w *Writer) WriteFrame(timeNs int64, data []byte) error {
	if w.err != nil {
		return w.err
	}
	sec := timeNs / 1e9
	if timeNs < 0 || sec > math.MaxUint32 {
		return fmt.Errorf("pcap: time %d ns does not fit a record", timeNs)
	}
	if len(data) > minLimit {
		return fmt.Errorf("pcap: frame of %d bytes, want at most %d", len(data), minLimit)
	}
	frac := timeNs % 1e9
	if !w.nanos {
		frac /= 1000
	}
	le := binary.LittleEndian
	b := le.AppendUint32(w.buf[:0], uint32(sec))
	b = le.AppendUint32(b, uint32(frac))
	b = le.AppendUint32(b, uint32(len(data)))
	b = le.AppendUint32(b, uint32(len(data)))
	w.buf = append(b, data...)
	_, w.err = w.w.Write(w.buf)
	return w.err
}

// NGWriter writes a little-endian pcapng file of one section, one Write call
// a block.
type NGWriter struct {
	w      io.Writer
	resols []uint8
	buf    []byte
	err    error
}

// Section is what the header of a section may tell.
type Section struct {
	Comments []string // each of at most 64 KiB, what is longer is cut
	Program  string
	Files    []byte // see Attachment
}

// NewNGWriter writes the section header at once; if that fails, every later
// call returns the error.
func NewNGWriter(w io.Writer) *NGWriter { return NewNGSection(w, Section{}) }

// NewNGSection is NewNGWriter with what the header tells.
func NewNGSection(w io.Writer, s Section) *NGWriter {
	n := &NGWriter{w: w}
	le := binary.LittleEndian
	b := n.start(blockSection)
	b = le.AppendUint32(b, 0x1a2b3c4d)
	b = append(b, 1, 0, 0, 0)
	b = le.AppendUint64(b, math.MaxUint64) // section length not given
	size := len(b)
	if s.Program != "" {
		b = appendOption(b, optProgram, []byte(s.Program[:min(len(s.Program), math.MaxUint16)]))
	}
	for _, c := range s.Comments {
		b = appendOption(b, optComment, []byte(c[:min(len(c), math.MaxUint16)]))
	}
	b = appendAttachment(b, s.Files)
	if len(b) > size {
		b = le.AppendUint32(b, optEnd)
	}
	if len(b) > maxBlock-4 {
		n.err = fmt.Errorf("pcapng: section header of %d bytes, want at most %d", len(b)+4, maxBlock)
		return n
	}
	_ = n.finish(b) // kept in n.err
	return n
}

// AddInterface describes an interface and returns its number. The resolution
// is an if_tsresol octet: 6 for µs, 9 for ns, 0x80|n for 2^-n s.
func (n *NGWriter) AddInterface(link LinkType, snaplen uint32, tsresol uint8) (int, error) {
	return n.Describe(Interface{Link: link, SnapLen: snaplen}, tsresol)
}

// Describe is AddInterface with the interface's name. Its drops are told by
// WriteDrops.
func (n *NGWriter) Describe(i Interface, tsresol uint8) (int, error) {
	le := binary.LittleEndian
	b := n.start(blockInterface)
	b = le.AppendUint16(b, uint16(i.Link))
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, i.SnapLen)
	if i.Name != "" {
		b = appendOption(b, optName, []byte(i.Name))
	}
	if i.Description != "" {
		b = appendOption(b, optInfo, []byte(i.Description))
	}
	b = appendOption(b, optResolution, []byte{tsresol})
	b = le.AppendUint32(b, optEnd)
	if err := n.finish(b); err != nil {
		return 0, err
	}
	n.resols = append(n.resols, tsresol)
	return len(n.resols) - 1, nil
}

// WritePacket writes an enhanced packet block, with a comment unless that is
// empty. The time is cut to whole ticks of the interface, except that ticks
// of 2^-30 s and finer are chosen so that reading gives timeNs again.
func (n *NGWriter) WritePacket(iface int, timeNs int64, data []byte, origLen int, comment string) error {
	if iface < 0 || iface >= len(n.resols) {
		return fmt.Errorf("pcapng: interface %d is not one of %d", iface, len(n.resols))
	}
	if len(data) > maxLimit || origLen < 0 || int64(origLen) > math.MaxUint32 || len(comment) > math.MaxUint16 {
		return fmt.Errorf("pcapng: packet of %d bytes (%d on the wire) with a comment of %d does not fit a block", len(data), origLen, len(comment))
	}
	ticks, ok := ticks(timeNs, n.resols[iface])
	if !ok {
		return fmt.Errorf("pcapng: time %d ns does not fit resolution %#x", timeNs, n.resols[iface])
	}
	le := binary.LittleEndian
	b := n.start(blockEnhanced)
	b = le.AppendUint32(b, uint32(iface))
	b = le.AppendUint32(b, uint32(ticks>>32))
	b = le.AppendUint32(b, uint32(ticks))
	b = le.AppendUint32(b, uint32(len(data)))
	b = le.AppendUint32(b, uint32(origLen))
	b = pad(append(b, data...))
	if comment != "" {
		b = appendOption(b, optComment, []byte(comment))
		b = le.AppendUint32(b, optEnd)
	}
	return n.finish(b)
}

// WriteSecrets writes a decryption secrets block. A reader needs it before
// the packets that it opens.
func (n *NGWriter) WriteSecrets(typ uint32, data []byte) error {
	if len(data) > maxBlock-20 {
		return fmt.Errorf("pcapng: secrets of %d bytes, want at most %d", len(data), maxBlock-20)
	}
	b := n.start(blockSecrets)
	b = binary.LittleEndian.AppendUint32(b, typ)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return n.finish(append(b, data...))
}

// WriteDrops writes an interface statistics block: how many packets the capture
// lost at an interface, known at timeNs.
func (n *NGWriter) WriteDrops(iface int, timeNs, drops int64) error {
	if iface < 0 || iface >= len(n.resols) || drops < 0 {
		return fmt.Errorf("pcapng: %d drops of interface %d of %d", drops, iface, len(n.resols))
	}
	ticks, _ := ticks(timeNs, n.resols[iface])
	le := binary.LittleEndian
	b := n.start(blockStatistics)
	b = le.AppendUint32(b, uint32(iface))
	b = le.AppendUint32(b, uint32(ticks>>32))
	b = le.AppendUint32(b, uint32(ticks))
	b = appendOption(b, optIfDrop, le.AppendUint64(nil, uint64(drops)))
	return n.finish(le.AppendUint32(b, optEnd))
}

// WriteNames writes name resolution blocks.
func (n *NGWriter) WriteNames(names []Name) error {
	le := binary.LittleEndian
	for len(names) > 0 {
		b := n.start(blockNames)
		for len(names) > 0 && len(b) < 1<<20 {
			x := names[0]
			names = names[1:]
			typ := uint16(1)
			if x.Addr.Is6() {
				typ = 2
			}
			v := append(append(x.Addr.AsSlice(), x.Name[:min(len(x.Name), 4096)]...), 0)
			b = le.AppendUint16(b, typ)
			b = pad(append(le.AppendUint16(b, uint16(len(v))), v...))
		}
		if err := n.finish(le.AppendUint32(b, optEnd)); err != nil {
			return err
		}
	}
	return nil
}

func (n *NGWriter) start(typ uint32) []byte {
	b := binary.LittleEndian.AppendUint32(n.buf[:0], typ)
	return append(b, 0, 0, 0, 0)
}

// finish fills in the two lengths of block b and writes it.
func (n *NGWriter) finish(b []byte) error {
	b = pad(b)
	size := uint32(len(b) + 4)
	binary.LittleEndian.PutUint32(b[4:], size)
	n.buf = binary.LittleEndian.AppendUint32(b, size)
	if n.err == nil {
		_, n.err = n.w.Write(n.buf)
	}
	return n.err
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// ticks is the inverse of iface.time.
func ticks(ns int64, resol uint8) (uint64, bool) {
	if ns < 0 {
		return 0, false
	}
	e := uint(resol & 0x7f)
	if resol&0x80 != 0 {
		// ns * 2^e / 1e9: at most 2^93 before the division for e <= 30.
		if e > 63 {
			return 0, false
		}
		hi, lo := bits.Mul64(uint64(ns), 1<<e)
		if hi >= 1e9 {
			return 0, false
		}
		q, rem := bits.Div64(hi, lo, 1e9)
		if e >= 30 && rem > 0 {
			q++
		}
		return q, q > 0 || ns == 0 || e < 30
	}
	t := uint64(ns)
	for ; e < 9; e++ {
		t /= 10
	}
	for ; e > 9; e-- {
		hi, lo := bits.Mul64(t, 10)
		if hi != 0 {
			return 0, false
		}
		t = lo
	}
	return t, true
}
