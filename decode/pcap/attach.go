package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// Files attached to a capture are a gzipped tar in the header of its first
// section, in as many custom options (2989: binary, may be copied) as it takes,
// one after the other. Each value is the number 32473, then attachMark, then the
// next bytes. 32473 is the enterprise number that RFC 5612 keeps for examples:
// none is registered for twtrace, and the mark is what counts. Wireshark passes
// over such options, and its tools keep them when they copy a file.
const (
	optCustom     = 2989
	attachNumber  = 32473
	attachMark    = "twtrace\x00"
	attachChunk   = 60_000
	maxAttachment = maxBlock - 1<<20 // bytes, so that comments have room
)

// ErrTooLarge says that files do not fit the header of a section.
var ErrTooLarge = errors.New("the attached files take more than 15 MiB compressed")

// CheckAttachment tells whether so many bytes can be attached.
func CheckAttachment(n int) error {
	if n+n/attachChunk*20 > maxAttachment {
		return ErrTooLarge
	}
	return nil
}

func appendAttachment(b, files []byte) []byte {
	for len(files) > 0 {
		n := min(len(files), attachChunk)
		v := binary.LittleEndian.AppendUint32(nil, attachNumber)
		b = appendOption(b, optCustom, append(append(v, attachMark...), files[:n]...))
		files = files[n:]
	}
	return b
}

// MaxHeader bounds the header of a section, in bytes.
const MaxHeader = maxBlock

// HeaderLen is the length of a section's header by its first 12 bytes, at most
// MaxHeader; 0 when they begin no such header.
func HeaderLen(b []byte) int {
	if len(b) < 12 || binary.LittleEndian.Uint32(b) != blockSection {
		return 0
	}
	r := Reader{big: string(b[8:12]) == "\x1a\x2b\x3c\x4d"}
	n := round4(r.u32(b[4:]))
	if n < 28 || n > maxBlock || !r.big && string(b[8:12]) != "\x4d\x3c\x2b\x1a" {
		return 0
	}
	return int(n)
}

// Attachment gives the gzipped tar that NewNGSection wrote with Section.Files;
// nil where there is none, or what begins the input is no header of a section.
// It reads no further than that header, of at most 16 MiB.
func Attachment(src io.Reader) ([]byte, error) {
	var head [12]byte
	if _, err := io.ReadFull(src, head[:]); err != nil {
		return nil, nil
	}
	n := HeaderLen(head[:])
	if n == 0 {
		return nil, nil
	}
	r := &Reader{proto: "pcapng", big: head[8] == 0x1a}
	// Read as it comes: a length alone allocates nothing.
	var rest bytes.Buffer
	if _, err := io.CopyN(&rest, src, int64(n)-12-4); err != nil {
		if err == io.EOF {
			return nil, nil // the capture's reader will tell
		}
		return nil, err
	}
	var files []byte
	for o := r.options(rest.Bytes()[min(12, rest.Len()):]); o.next(); {
		if v := o.value; o.code == optCustom && len(v) > 4+len(attachMark) && len(v) <= math.MaxUint16 && r.u32(v) == attachNumber && string(v[4:4+len(attachMark)]) == attachMark {
			files = append(files, v[4+len(attachMark):]...)
		}
	}
	return files, nil
}
