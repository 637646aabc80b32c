package twilio

import (
	"bytes"
	"fmt"
	"io"

	"github.com/twtrace/twtrace/internal/wire"
)

const windowBytes = 64 << 10

// input is a window over the file. A scanner consumes the whole window before
// it asks for more, so nothing is ever moved; what must outlive a refill is
// copied by who needs it.
type input struct {
	r    io.Reader
	buf  []byte // the window, bytes pos: of it still to be read
	pos  int
	base int64 // file offset of buf[0]
	err  error // from r, other than io.EOF
	done bool
}

func newInput(r io.Reader, window []byte) input {
	in := input{r: r, buf: window[:0]}
	in.fill()
	if bytes.HasPrefix(in.buf, utf8BOM) {
		in.pos = len(utf8BOM)
	}
	return in
}

var utf8BOM = []byte("\xef\xbb\xbf")

// fill reads until the window is full, so that where windows end depends on the
// file alone and not on how r cuts it.
func (in *input) fill() {
	for idle := 0; len(in.buf) < cap(in.buf) && !in.done; idle++ {
		n, err := in.r.Read(in.buf[len(in.buf):cap(in.buf)])
		in.buf = in.buf[:len(in.buf)+n]
		if n > 0 {
			idle = 0
		} else if err == nil && idle == 100 {
			err = io.ErrNoProgress
		}
		if err != nil {
			in.done = true
			if err != io.EOF {
				in.err = err
			}
		}
	}
}

// more replaces a used up window; false at the end of the input.
func (in *input) more() bool {
	if in.pos < len(in.buf) {
		return true
	}
	if in.done {
		return false
	}
	in.base += int64(len(in.buf))
	in.buf, in.pos = in.buf[:0], 0
	in.fill()
	return len(in.buf) > 0
}

func (in *input) off() int64 { return in.base + int64(in.pos) }

// ReadByte makes input an io.ByteReader, which keeps encoding/xml from reading
// ahead of its position.
func (in *input) ReadByte() (byte, error) {
	if in.pos == len(in.buf) && !in.more() {
		return 0, io.EOF
	}
	c := in.buf[in.pos]
	in.pos++
	return c, nil
}

// Decode reads every resource of r, which holds one decompressed file, and
// hands each to emit in the order of the file. An error of emit ends the
// reading and is returned as it is. Otherwise all that can be decoded is
// emitted before an error is returned: the reader's own, or the first damage as
// *wire.Error. Stats are right in every case.
func Decode(r io.Reader, emit func(*Resource) error) (Stats, error) {
	return new(Reader).Decode(r, emit)
}

// Reader decodes many files one after the other, with memory that it keeps. Its
// zero value is ready. It is for one goroutine.
type Reader struct {
	window []byte
	intern map[string]string
	json   jsonDecoder
}

// Decode is [Decode].
func (x *Reader) Decode(r io.Reader, emit func(*Resource) error) (Stats, error) {
	if x.window == nil {
		x.window, x.intern = make([]byte, windowBytes), map[string]string{}
	}
	d := decoder{in: newInput(r, x.window), emit: emit, intern: x.intern, spare: &x.json}
	switch form := Sniff(d.in.buf); form {
	case "json":
		d.json()
	case "xml":
		d.xml()
	case "csv", "cli tsv", "cli columns":
		d.table(form)
	default:
		if d.in.err == nil {
			d.damage = &wire.Error{Proto: "twilio", Off: 0, Msg: "want JSON, XML, or a table with a sid column, found " + describe(form, d.in.buf)}
		}
		d.stats.PassedOver = int64(len(d.in.buf))
		d.in.pos = len(d.in.buf)
	}
	return d.finish()
}

func describe(form string, head []byte) string {
	switch {
	case form != "":
		return "a " + form
	case len(head) == 0:
		return "an empty file"
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}) || bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return "UTF-16 text"
	}
	return fmt.Sprintf("%.24q", head[:min(len(head), 24)])
}

// Sniff tells what a file that begins with head is: "json", "xml", "csv",
// "cli tsv", "cli columns" (all for Decode), "queue log" (for DecodeQueueLog),
// or "" for none of them. JSON and XML are not looked into; a table is told by
// its header, which must be whole within head.
func Sniff(head []byte) string {
	head = bytes.TrimLeft(bytes.TrimPrefix(head, utf8BOM), " \t\r\n")
	if len(head) == 0 {
		return ""
	}
	switch head[0] {
	case '{', '[':
		return "json"
	case '<':
		return "xml"
	}
	form, _ := tableForm(head)
	return form
}
