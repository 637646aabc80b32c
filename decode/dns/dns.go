// Package dns reads DNS messages: the question and the answers.
//
// Sources: RFC 1035 section 4 (messages, name compression, TCP framing),
// RFC 3596 (AAAA), RFC 2782 (SRV), RFC 3403 (NAPTR), RFC 9460 (SVCB, HTTPS),
// RFC 3597 (unknown types), RFC 6762 section 18.12 (multicast DNS class bit).
//
// Units: TTL is seconds.
//
// Aliasing: nothing in a Message aliases the input.
//
// Names are text: ASCII letters in lower case, no final dot, "." for the root;
// a dot or backslash within a label, and any byte that is not printable ASCII,
// is escaped as RFC 1035 section 5.1 has it (\. and \DDD).
//
// Not handled: authority and additional records, EDNS, DNSSEC, and the data of
// types that name no host or address. DNS over TLS, HTTPS or QUIC is out of
// sight without keys.
//
// Only what one message says may enter here.
package dns

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	headLen    = 12
	maxAnswers = 1024 // far more than any resolver sends; bounds memory
	maxName    = 255  // octets, RFC 1035, 2.3.4
)

// Message is one query or response.
type Message struct {
	ID        uint16
	Response  bool
	Opcode    uint8
	Truncated bool  // the TC bit: the rest was asked for over TCP
	Rcode     uint8 // without the EDNS extension

	Name     string // of the first question; "" when there is none
	Type     uint16
	TypeText string

	Answers []Answer
}

// Answer is one record of the answer section.
type Answer struct {
	Name     string
	Type     uint16
	TypeText string
	TTL      uint32
	Addr     netip.Addr // of A and AAAA
	Target   string     // the name that CNAME, DNAME, NS, PTR, MX, SRV, NAPTR, SVCB and HTTPS give
	Port     uint16     // of SRV
}

// Record types, RFC 1035, 3.2.2 and those named in the package comment.
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typePTR   = 12
	typeMX    = 15
	typeAAAA  = 28
	typeNB    = 32 // NetBIOS name service, RFC 1002, 4.2.1.3
	typeSRV   = 33
	typeNAPTR = 35
	typeDNAME = 39
	typeSVCB  = 64
	typeHTTPS = 65
)

// TypeText names a record type; an unknown one is TYPE and its number
// (RFC 3597, 5).
func TypeText(t uint16) string {
	switch t {
	case typeA:
		return "A"
	case typeNS:
		return "NS"
	case typeCNAME:
		return "CNAME"
	case 6:
		return "SOA"
	case typePTR:
		return "PTR"
	case 13:
		return "HINFO"
	case typeMX:
		return "MX"
	case 16:
		return "TXT"
	case typeAAAA:
		return "AAAA"
	case typeSRV:
		return "SRV"
	case typeNAPTR:
		return "NAPTR"
	case typeDNAME:
		return "DNAME"
	case 41:
		return "OPT"
	case 43:
		return "DS"
	case 46:
		return "RRSIG"
	case 47:
		return "NSEC"
	case 48:
		return "DNSKEY"
	case typeSVCB:
		return "SVCB"
	case typeHTTPS:
		return "HTTPS"
	case 251:
		return "IXFR"
	case 252:
		return "AXFR"
	case 255:
		return "ANY"
	case 257:
		return "CAA"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// RcodeText names a response code, RFC 1035, 4.1.1 and RFC 2136, 2.2.
func RcodeText(rcode uint8) string {
	names := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}
	if int(rcode) < len(names) {
		return names[rcode]
	}
	return "RCODE" + strconv.Itoa(int(rcode))
}

// Looks tells whether a datagram can be DNS on any port: a standard query with
// a question, or its response, small record counts, and a first name, type and
// class that can be.
func Looks(b []byte) bool {
	c := wire.NewCursor("dns", b)
	c.U16("id")
	flags := c.U16("flags")
	qd, an, ns, ar := c.U16("counts"), c.U16("counts"), c.U16("counts"), c.U16("counts")
	if c.Err() != nil {
		return false
	}
	response := flags&0x8000 != 0
	switch {
	case flags&0x7840 != 0: // opcode 0; RFC 1035, 4.1.1 reserves the Z bit
		return false
	case qd > 32 || an > 255 || ns > 255 || ar > 255:
		return false
	case qd == 0 && (!response || an == 0):
		return false
	case !response && flags&0x000f != 0:
		return false
	}
	name(&c, b)
	typ, class := c.U16("type"), c.U16("class")&0x7fff
	// RFC 1035, 3.2.4 and 3.2.5; RFC 2136, 2.4: NONE.
	known := class == 1 || class == 3 || class == 4 || class == 254 || class == 255
	if c.Err() != nil || typ == 0 || typ == typeNB || !known {
		return false
	}
	// A query of one question and nothing else ends there.
	return response || qd > 1 || an+ns+ar > 0 || c.Len() == 0
}

// Frame takes the first message from a TCP stream, RFC 1035, 4.2.2. n is the
// number of bytes it took with its length; 0 when not all of it is there.
// msg aliases b. The error says that the length is less than a header.
func Frame(b []byte) (msg []byte, n int, err error) {
	if len(b) < 2 {
		return nil, 0, nil
	}
	size := int(b[0])<<8 | int(b[1])
	if size < headLen {
		return nil, 0, &wire.Error{Proto: "dns", Field: "length", Off: 0, Msg: fmt.Sprintf("want at least 12 bytes, have %d", size)}
	}
	if len(b) < 2+size {
		return nil, 0, nil
	}
	return b[2 : 2+size : 2+size], 2 + size, nil
}

// Decode reads one message into m. With an error, m holds what came before
// the fault: a message cut by the snap length keeps its first answers.
func Decode(b []byte, m *Message) error {
	*m = Message{}
	c := wire.NewCursor("dns", b)
	id, flags := c.U16("id"), c.U16("flags")
	qd, an := int(c.U16("question count")), int(c.U16("answer count"))
	c.Skip("counts", 4)
	if c.Err() != nil {
		return c.Err()
	}
	m.ID = id
	m.Response = flags&0x8000 != 0
	m.Opcode = uint8(flags >> 11 & 15)
	m.Truncated = flags&0x0200 != 0
	m.Rcode = uint8(flags & 15)
	for i := range qd {
		n := name(&c, b)
		t := c.U16("question type")
		c.Skip("question class", 2)
		if c.Err() != nil {
			return c.Err()
		}
		if i == 0 {
			m.Name, m.Type, m.TypeText = n, t, TypeText(t)
		}
	}
	for range an {
		if len(m.Answers) == maxAnswers {
			c.Fail("answers", "want at most %d, have %d", maxAnswers, an)
			break
		}
		a, ok := answer(&c, b)
		if ok {
			m.Answers = append(m.Answers, a)
		}
		if c.Err() != nil {
			break
		}
	}
	return c.Err()
}

// answer reads one record. It is ok when its header and data are whole.
func answer(c *wire.Cursor, b []byte) (a Answer, ok bool) {
	a.Name = name(c, b)
	a.Type = c.U16("record type")
	a.TypeText = TypeText(a.Type)
	class := c.U16("record class")
	a.TTL = c.U32("record TTL")
	size := int(c.U16("record data length"))
	start := c.Off()
	data := c.Bytes("record data", size)
	if c.Err() != nil {
		return a, false
	}
	// RFC 6762, 18.12 takes the highest class bit; only IN has these forms.
	if class&0x7fff != 1 {
		return a, true
	}
	// Names in the data may point anywhere before them, so it is read within
	// the message, but not beyond its own end.
	d := wire.NewCursor("dns", b[:start+size])
	d.Skip("", start)
	switch a.Type {
	case typeA:
		if len(data) != 4 {
			c.Fail("A record", "want 4 bytes, have %d", len(data))
			return a, false
		}
		a.Addr = netip.AddrFrom4([4]byte(data))
	case typeAAAA:
		if len(data) != 16 {
			c.Fail("AAAA record", "want 16 bytes, have %d", len(data))
			return a, false
		}
		a.Addr = netip.AddrFrom16([16]byte(data))
	case typeNS, typeCNAME, typePTR, typeDNAME:
		a.Target = name(&d, b)
	case typeMX, typeSVCB, typeHTTPS:
		d.Skip("preference", 2)
		a.Target = name(&d, b)
	case typeSRV:
		d.Skip("priority and weight", 4)
		a.Port = d.U16("port")
		a.Target = name(&d, b)
	case typeNAPTR:
		d.Skip("order and preference", 4)
		for _, field := range [...]string{"flags", "services", "regexp"} {
			d.Skip(field, int(d.U8(field)))
		}
		a.Target = name(&d, b)
	}
	if err := d.Err(); err != nil {
		c.Fail("record data", "%v", err)
		return a, false
	}
	return a, true
}

// name reads the name at c, of message b. Pointers must lead backwards, as
// RFC 1035, 4.1.4 has it (a prior occurrence), so that no chain can loop.
func name(c *wire.Cursor, b []byte) string {
	text := make([]byte, 0, 64)
	octets := 1
	cur := c // the cursor of the labels: c, until a pointer leaves it
	start := c.Off()
	var jumped wire.Cursor
	for {
		n := int(cur.U8("name"))
		if cur.Err() != nil {
			break
		}
		switch n & 0xc0 {
		case 0x00:
			if n == 0 {
				if len(text) == 0 {
					return "."
				}
				return string(text)
			}
			if octets += 1 + n; octets > maxName {
				c.Fail("name", "want at most %d octets", maxName)
				return ""
			}
			if len(text) > 0 {
				text = append(text, '.')
			}
			text = appendLabel(text, cur.Bytes("label", n))
		case 0xc0:
			to := n&0x3f<<8 | int(cur.U8("pointer"))
			if cur.Err() != nil {
				break
			}
			if to >= start {
				c.Fail("name", "want a pointer to before byte %d, have one to %d", start, to)
				return ""
			}
			start = to
			jumped = wire.NewCursor("dns", b)
			jumped.Skip("", to)
			cur = &jumped
		default:
			c.Fail("name", "want a label or pointer, have %#02x", n)
			return ""
		}
		if cur.Err() != nil {
			break
		}
	}
	if err := cur.Err(); err != nil {
		c.Fail("name", "%v", err)
	}
	return ""
}

func appendLabel(text, label []byte) []byte {
	for _, ch := range label {
		switch {
		case 'A' <= ch && ch <= 'Z':
			text = append(text, ch+'a'-'A')
		case ch == '.' || ch == '\\':
			text = append(text, '\\', ch)
		case ch <= ' ' || ch >= 0x7f:
			text = append(text, '\\', '0'+ch/100, '0'+ch/10%10, '0'+ch%10)
		default:
			text = append(text, ch)
		}
	}
	return text
}
