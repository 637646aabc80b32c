package twilio

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// xmlDecoder reads TwilioResponse documents. encoding/xml cuts the tokens; it
// knows no entities but the five predefined ones, and what it may read for one
// token is bounded. The nesting is checked here, because after damage the
// reading goes on in the middle of a document.
type xmlDecoder struct {
	*decoder
	src    xmlSource
	origin int64 // file offset of the first byte that the present tokenizer got
	stack  []string
	list   bool  // stack[1] is a list
	at     int   // depth of the open record's element, 0 none
	field  field // of the open member of the record
	rest   bool  // the open record is a RestException
	lost   bool  // elements may end that were never seen to begin
	root   bool  // a TwilioResponse was seen
	a      acc
	text   []byte
}

// xmlSource feeds encoding/xml byte by byte, first from pre, so that the input
// stands where the tokenizer does. It ends a token that is too long.
type xmlSource struct {
	in   *input
	pre  string
	left int
}

var errTokenTooLong = errors.New("a token longer than a resource may be")

// Read is never called: encoding/xml reads an io.ByteReader bytewise.
func (s *xmlSource) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (s *xmlSource) ReadByte() (byte, error) {
	if len(s.pre) > 0 {
		c := s.pre[0]
		s.pre = s.pre[1:]
		return c, nil
	}
	if s.left--; s.left < 0 {
		return 0, errTokenTooLong
	}
	return s.in.ReadByte()
}

func (d *decoder) xml() {
	d.stats.Form = "xml"
	x := &xmlDecoder{decoder: d, src: xmlSource{in: &d.in}, origin: d.in.off()}
	for !x.document() && d.stop == nil && x.resync() {
	}
	if !x.root && d.damage == nil {
		d.damaged("xml", 0, "want a TwilioResponse, found none")
	}
}

// document reads tokens; true at the end of the input.
func (x *xmlDecoder) document() bool {
	dec := xml.NewDecoder(&x.src)
	for x.stop == nil {
		x.src.left = maxResource
		start := x.origin + dec.InputOffset()
		t, err := dec.RawToken()
		switch {
		case err == io.EOF && len(x.stack) == 0:
			return true
		case err == io.EOF:
			return x.fail("</"+x.open()+">", "the end of the input")
		case err != nil:
			found := err.Error()
			if s, ok := errors.AsType[*xml.SyntaxError](err); ok {
				found = s.Msg
			}
			return x.fail("well-formed XML", found)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if len(x.stack) == maxDepth {
				return x.fail(fmt.Sprintf("at most %d levels", maxDepth), "more")
			}
			x.begin(t, start)
		case xml.EndElement:
			switch {
			case len(x.stack) == 0 && x.lost:
			case len(x.stack) == 0:
				return x.fail("no end", fmt.Sprintf("</%.64s>", t.Name.Local))
			case x.open() != t.Name.Local:
				return x.fail("</"+x.open()+">", fmt.Sprintf("</%.64s>", t.Name.Local))
			default:
				x.end(x.origin + dec.InputOffset())
			}
		case xml.CharData:
			if x.field == fNone {
				break
			}
			if len(x.text)+len(t) > maxResource {
				x.a.tooBig = true
				break
			}
			x.text = append(x.text, t...)
		}
	}
	return true
}

func (x *xmlDecoder) open() string { return x.stack[len(x.stack)-1] }

// fail names damage and gives up the open record.
func (x *xmlDecoder) fail(want, found string) bool {
	x.damaged("xml", x.in.off(), fmt.Sprintf("want %.80s, found %.200s", want, found))
	if x.at > 0 {
		x.refuse("cut by damage", x.in.off()-x.a.start)
	}
	x.at, x.field, x.lost = 0, fNone, true
	x.stack = x.stack[:0]
	return false
}

// resync looks for the next element of a resource; false when there is none.
func (x *xmlDecoder) resync() bool {
	var tag []byte // from the last '<' on, as far as it may be one of ours
	for {
		c, err := x.in.ReadByte()
		if err != nil {
			return false
		}
		x.stats.PassedOver++
		if c == '<' {
			tag = tag[:0]
		} else if len(tag) == 0 || len(tag) > len("<SMSMessage>") {
			tag = tag[:0]
			continue
		}
		tag = append(tag, c)
		switch string(tag) {
		case "<Message>", "<SMSMessage>", "<Call>":
			x.stats.PassedOver -= int64(len(tag))
			x.src.pre = string(tag)
			x.origin = x.in.off() - int64(len(tag))
			return true
		}
	}
}

func (x *xmlDecoder) begin(t xml.StartElement, start int64) {
	name := t.Name.Local
	x.stack = append(x.stack, name)
	n := len(x.stack)
	if x.at > 0 {
		x.field = fNone
		if n == x.at+1 && !x.rest {
			x.field = columnField([]byte(name))
			x.text = x.text[:0]
		}
		return
	}
	record := false
	switch {
	case n == 1 && name == "TwilioResponse":
		x.root, x.lost = true, false
	case n == 1 && x.lost:
		record = name == "Message" || name == "SMSMessage" || name == "Call"
	case x.stack[0] != "TwilioResponse":
	case n == 2:
		x.list = false
		for _, at := range t.Attr {
			switch at.Name.Local {
			case "page", "pagesize", "numpages":
				x.list = true
			}
		}
		if x.list {
			x.stats.Pages++
		}
		record = !x.list
	case n == 3:
		record = x.list
	}
	if record {
		x.at, x.rest = n, name == "RestException"
		x.a.reset(start, x.stats.Records)
	}
}

func (x *xmlDecoder) end(off int64) {
	n := len(x.stack)
	switch {
	case x.at == n:
		x.close(off - x.a.start)
	case x.field != fNone && n == x.at+1:
		text := x.text
		if x.field != fBody {
			text = bytes.TrimSpace(text)
		}
		if len(text) == 0 { // an empty element is null
			x.a.clear(x.field)
		} else {
			x.a.set(x.field, text)
		}
	}
	if n <= x.at+1 {
		x.field = fNone
	}
	if n == x.at {
		x.at = 0
	}
	x.stack = x.stack[:n-1]
}

func (x *xmlDecoder) close(n int64) {
	switch {
	case x.rest:
		x.refuse("error response", n)
	case x.a.known(fSID) && x.a.wasSeen(fCreated):
		x.record(&x.a, n)
	case x.a.known(fSID):
		x.refuse("no creation date", n)
	default:
		x.refuse("not a resource", n)
	}
}
