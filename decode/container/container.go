// Package container finds out what a file is, from its content and never from
// its name, and gives readers into compression and archives.
//
// Sources: RFC 1952 (gzip), RFC 8878 (Zstandard), the .xz file format 1.2,
// bzip2, POSIX.1-2001 ustar and pax with the GNU extensions, PKWARE's
// APPNOTE.TXT; draft-ietf-opsawg-pcap and -pcapng for magic numbers; NSS key
// log labels as in draft-ietf-tls-keylogfile.
//
// Units: bytes. Aliasing: a Content's Head is a copy and may be kept.
//
// Everything is streamed: a member of a tar is read in place, by reading the
// archive again up to it, and nothing is unpacked to disk. Small members are
// kept in memory from the walk: at most 1 MiB each and 64 MiB an archive.
// Decoders work in the calling goroutine. A decompression bomb costs time,
// not memory.
//
// Not handled: compression inside compression, encrypted zip members, zip
// methods other than stored and deflated, archives on standard input (they are
// identified, but cannot be walked).
//
// A pcapng with files attached to it (package pcap, Attachment) is visited as
// the capture and those files. Else only the outside of files may enter this
// room: what a recognised file holds is read elsewhere.
package container

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Kind is what a file is. New kinds may be added.
type Kind uint8

const (
	Unknown Kind = iota
	Pcap
	Pcapng
	Keylog    // TLS or DTLS secrets, one a line
	Resources // Twilio resources: JSON, NDJSON, XML, CSV, command line tables
	QueueLog  // the client's own log of what it queued
	Manifest  // experiment.yaml
	Tar
	Zip
)

func (k Kind) String() string {
	switch k {
	case Pcap:
		return "pcap"
	case Pcapng:
		return "pcapng"
	case Keylog:
		return "keylog"
	case Resources:
		return "resources"
	case QueueLog:
		return "queuelog"
	case Manifest:
		return "manifest"
	case Tar:
		return "tar"
	case Zip:
		return "zip"
	}
	return "unknown"
}

// Archive tells whether the file holds other files.
func (k Kind) Archive() bool { return k == Tar || k == Zip }

// Compression is the outermost layer of a file.
type Compression string

const (
	None  Compression = "none"
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
	Bzip2 Compression = "bzip2"
	XZ    Compression = "xz"
)

// HeadSize is how many decompressed bytes decide what a file is.
const HeadSize = 64 << 10

// firstLook is how many bytes show what most files are. It is more than
// sniffBinary looks at.
const firstLook = 4 << 10

// Compressed tells by the first 6 bytes how a file is compressed.
func Compressed(head []byte) Compression {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b\x08")):
		return Gzip
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return Zstd
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18":
		return Zstd // a skippable frame first, as pzstd writes (RFC 8878, 3.1.2)
	case len(head) >= 4 && string(head[:3]) == "BZh" && head[3] >= '1' && head[3] <= '9':
		return Bzip2
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return XZ
	}
	return None
}

// Limits bound what a decoder may use. The zero value is the default.
type Limits struct {
	Memory int64 // of a decoder's window; 0 = 128 MiB
	Output int64 // decompressed bytes, an error beyond; 0 = no limit
}

// NewReader gives the decompressed bytes of r, with all its gzip members, zstd
// frames, bzip2 or xz streams, or r's own bytes if it is not compressed.
// Closing it frees the decoder and leaves r open.
func NewReader(r io.Reader, limit Limits) (io.ReadCloser, Compression, error) {
	if limit.Memory == 0 {
		limit.Memory = 128 << 20
	}
	head := make([]byte, 6)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, None, err
	}
	err = nil
	c := Compressed(head[:n])
	d := &decoder{name: c, left: limit.Output, limited: limit.Output > 0}
	stored := io.MultiReader(bytes.NewReader(head[:n]), r)
	if c == None { // who reads has a buffer of its own
		d.r = stored
		return d, c, nil
	}
	br := bufio.NewReaderSize(stored, 64<<10)
	switch c {
	case Gzip:
		d.r, err = gzip.NewReader(br)
	case Bzip2:
		d.r = bzip2.NewReader(br)
	case Zstd:
		var z *zstd.Decoder
		z, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(limit.Memory)), zstd.WithDecoderMaxWindow(uint64(max(limit.Memory, zstd.MinWindowSize))))
		if err == nil {
			d.r, d.close = z, z.Close
		}
	case XZ:
		d.r, err = xz.NewReader(newXZGuard(br, limit.Memory))
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // the header is cut off
	}
	if err != nil {
		return nil, c, d.wrap(err)
	}
	return d, c, nil
}

type decoder struct {
	r       io.Reader
	name    Compression
	close   func()
	limited bool
	left    int64
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.r == nil {
		return 0, errors.New("read after close")
	}
	n, err := d.r.Read(p)
	if d.limited {
		if d.left -= int64(n); d.left < 0 {
			return 0, fmt.Errorf("%s: more decompressed bytes than the limit", d.name)
		}
	}
	if err != nil {
		err = d.wrap(err)
	}
	return n, err
}

// wrap names the format in errors that do not.
func (d *decoder) wrap(err error) error {
	if err == io.EOF || d.name == None {
		return err
	}
	return fmt.Errorf("%s data: %w", d.name, err)
}

func (d *decoder) Close() error {
	if d.close != nil {
		d.close()
	}
	d.r, d.close = nil, nil
	return nil
}

// File is one file, or one member of an archive.
type File struct {
	Name string // slash path relative to the input's root
	Size int64  // as stored; -1 unknown

	open  func() (io.ReadCloser, error)
	once  *onceFile               // for input that can be read once
	known atomic.Pointer[Content] // found by who looked first, without Head
}

// As is the same file under another name.
func (f *File) As(name string) *File {
	as := &File{Name: name, Size: f.Size, open: f.open, once: f.once}
	as.known.Store(f.known.Load())
	return as
}

// Once tells that the file can be opened once only: standard input, or a pipe.
func (f *File) Once() bool { return f.once != nil }

// Content opens the file and gives its decompressed bytes, as NewReader does.
// Closing it closes both.
func (f *File) Content(limit Limits) (io.ReadCloser, error) {
	raw, err := f.Open()
	if err != nil {
		return nil, err
	}
	body, _, err := NewReader(raw, limit)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return readCloser{body, func() error { return errors.Join(body.Close(), raw.Close()) }}, nil
}

// Ahead gives up to n of the bytes, as stored, with which input begins that can
// be opened once, and leaves them there to be read. They are valid until it is
// opened. It waits until so many have come, or the end.
func (f *File) Ahead(n int) ([]byte, error) {
	if f.once == nil {
		return nil, errors.New("only of input that can be opened once")
	}
	return f.once.ahead(n)
}

// Open gives the bytes as stored. Every call starts from the beginning, except
// that standard input and pipes can be opened once.
func (f *File) Open() (io.ReadCloser, error) {
	if f.once != nil {
		return f.once.take()
	}
	return f.open()
}

// Content is what a file turned out to be.
type Content struct {
	Kind        Kind
	Compression Compression
	Head        []byte // the first decompressed bytes, up to HeadSize; only of Look
}

// Identify tells what a file is by its beginning. Damage that comes after enough
// bytes to recognise the file is not an error here. The answer is remembered: a
// file is asked several times what it is, and there may be very many.
func (f *File) Identify() (Content, error) {
	if c := f.known.Load(); c != nil {
		return *c, nil
	}
	c, err := f.look(false)
	c.Head = nil
	if err == nil {
		f.known.Store(&c)
	}
	return c, err
}

// Look reads the beginning of the file and gives it too.
func (f *File) Look() (Content, error) { return f.look(true) }

// look gives less than the whole Head where less tells the kind, unless the
// whole is asked for.
func (f *File) look(whole bool) (Content, error) {
	if f.once != nil {
		return f.once.identify()
	}
	rc, err := f.open()
	if err != nil {
		return Content{}, err
	}
	defer rc.Close()
	return identify(rc, f.Size, whole)
}

// identify looks at the first bytes of r, which is of so many as stored, -1 when
// that is not known.
func identify(r io.Reader, stored int64, whole bool) (Content, error) {
	d, c, err := NewReader(r, Limits{})
	if err != nil {
		return Content{Compression: c}, err
	}
	defer d.Close()
	var b bytes.Buffer
	if !whole {
		b.Grow(firstLook + bytes.MinRead) // the end is found in what is left over
		if _, err = io.CopyN(&b, d, firstLook); err == nil {
			if k := sniffFirst(b.Bytes()); k != Unknown {
				return Content{Kind: k, Compression: c}, nil
			}
		}
	}
	if err == nil {
		if c == None && 0 <= stored && stored < HeadSize {
			b.Grow(max(0, int(stored)-b.Len()) + bytes.MinRead)
		}
		_, err = io.CopyN(&b, d, HeadSize-int64(b.Len()))
	}
	content := Content{Kind: Sniff(b.Bytes()), Compression: c, Head: b.Bytes()}
	if content.Kind == Unknown && err != nil && err != io.EOF {
		return content, err
	}
	return content, nil
}

// Stdin makes a File, named "-", of input that can be read once. Identify does
// not consume it.
func Stdin(r io.Reader) *File {
	return &File{Name: "-", Size: -1, once: &onceFile{open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}}
}

// onceFile is input that cannot be read again: it is opened when first needed,
// and looked into through a buffer.
type onceFile struct {
	open  func() (io.ReadCloser, error)
	rc    io.ReadCloser
	br    *bufio.Reader
	head  []byte // read ahead of br
	taken bool
}

// A bzip2 block gives nothing before all its 900 kB of input are read.
const onceBuffer = 1 << 20

func (o *onceFile) start() error {
	if o.taken {
		return errors.New("standard input and pipes can be read once only")
	}
	if o.br == nil {
		rc, err := o.open()
		if err != nil {
			return err
		}
		o.rc, o.br = rc, bufio.NewReaderSize(rc, onceBuffer)
	}
	return nil
}

func (o *onceFile) take() (io.ReadCloser, error) {
	if err := o.start(); err != nil {
		return nil, err
	}
	o.taken = true
	head := o.head
	o.head = nil
	return readCloser{io.MultiReader(bytes.NewReader(head), o.br), o.rc.Close}, nil
}

func (o *onceFile) ahead(n int) ([]byte, error) {
	if err := o.start(); err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(o.head)
	_, err := io.CopyN(b, o.br, int64(max(0, n-len(o.head))))
	o.head = b.Bytes()
	if err == io.EOF {
		err = nil
	}
	return o.head, err
}

func (o *onceFile) identify() (Content, error) {
	if err := o.start(); err != nil {
		return Content{}, err
	}
	if len(o.head) > 0 {
		return identify(bytes.NewReader(o.head), int64(len(o.head)), true)
	}
	for _, n := range []int{HeadSize, onceBuffer} {
		raw, err := o.br.Peek(n)
		if err != nil && err != io.EOF {
			return Content{}, err
		}
		c, cerr := identify(bytes.NewReader(raw), int64(len(raw)), true)
		if cerr == nil || err == io.EOF || n == onceBuffer {
			return c, cerr
		}
	}
	return Content{}, nil
}

// readCloser joins a reader with what closes its source.
type readCloser struct {
	io.Reader
	close func() error
}

func (r readCloser) Close() error { return r.close() }
