package tls

import (
	"fmt"

	"github.com/twtrace/twtrace/internal/wire"
)

const maxHandshake = 256 << 10

// Kind is what an Event is. New kinds may be added.
type Kind uint8

// The kinds of Event.
const (
	KindBad Kind = iota
	KindClientHello
	KindServerHello
	KindCertificate
	KindHandshake          // another message in the clear: HandshakeType tells
	KindEncryptedHandshake // a record
	KindAlert              // Alert tells, unless it is encrypted
	KindChangeCipherSpec
	KindApplicationData
	KindHeartbeat
)

func (k Kind) String() string {
	switch k {
	case KindClientHello:
		return "ClientHello"
	case KindServerHello:
		return "ServerHello"
	case KindCertificate:
		return "Certificate"
	case KindHandshake:
		return "Handshake"
	case KindEncryptedHandshake:
		return "EncryptedHandshake"
	case KindAlert:
		return "Alert"
	case KindChangeCipherSpec:
		return "ChangeCipherSpec"
	case KindApplicationData:
		return "ApplicationData"
	case KindHeartbeat:
		return "Heartbeat"
	}
	return "unknown"
}

// Event is one handshake message, or one record of another type.
type Event struct {
	Kind          Kind
	Off           int64 // of the record in which it began
	End           int64 // of the first byte after the record in which it ended
	Len           int   // of the handshake message's body, or of the record's payload
	HandshakeType uint8 // of a handshake message in the clear, RFC 8446, B.3
	Err           error // damage within the message, at an offset from its start; what could be read is there
	Truncated     bool  // a record in which bytes are missing; only Kind, Off, End and Len are known

	ClientHello *ClientHello // of KindClientHello
	ServerHello *ServerHello // of KindServerHello
	Certificate *Certificate // of KindCertificate; nil when Err says that there is no list
	Alert       Alert        // of KindAlert; the zero value when encrypted
}

// Parser reads one direction of a connection. The zero value is ready, at the
// start of the stream.
//
// The caller feeds bytes in order and calls Next after each Feed until it has
// neither an event nor an error, and Finish and Next at the end. Memory is
// bounded as long as it does.
type Parser struct {
	// Skipped counts bytes that were passed over in search of a record.
	Skipped int64

	buf []byte
	pos int   // of the first unread byte in buf
	off int64 // stream offset of buf[pos]

	searching bool // for a record header
	closed    bool
	skip      int   // bytes left of a record in which others were lost
	cut       Event // that record, when skip is done
	cutOpen   bool

	hs      []byte // handshake bytes that make no whole message yet
	hsOff   int64  // of the record in which they began
	hsEnd   int64
	lastOff int64 // of the last handshake record
	ciphers bool  // a ChangeCipherSpec was seen, or may have been lost
}

// Feed appends the stream's next bytes, which are copied.
func (p *Parser) Feed(b []byte) {
	n := copy(p.buf, p.buf[p.pos:])
	p.buf = append(p.buf[:n], b...)
	p.pos = 0
}

// Offset is the stream offset of the first byte that is not yet read.
func (p *Parser) Offset() int64 { return p.off }

// Lost tells that n bytes are missing after those fed; 0 when it is not known
// how many. When they lie within one record, reading goes on after it; else
// the next plausible record header is searched.
func (p *Parser) Lost(n int64) {
	unread := p.buf[p.pos:]
	p.hs = p.hs[:0]
	p.ciphers = true
	switch {
	case n > 0 && p.cutOpen && n <= int64(p.skip):
		p.skip -= int(n)
		p.off += n
		return
	case n > 0 && !p.cutOpen && !p.searching && len(unread) >= recordHead && Looks(unread):
		size := recordHead + recordLen(unread)
		if rest := size - len(unread); rest > 0 && n <= int64(rest) {
			p.cut = Event{Kind: recordKind(unread[0]), Off: p.off, End: p.off + int64(size), Len: size - recordHead, Truncated: true}
			p.cutOpen = true
			p.skip = rest - int(n)
			p.advance(len(unread))
			p.off += n
			return
		}
	}
	p.cutOpen, p.skip = false, 0
	p.Skipped += int64(len(unread))
	p.advance(len(unread))
	p.off += n
	p.searching = true
}

// recordKind is what an unread record of this type counts as.
func recordKind(typ uint8) Kind {
	switch typ {
	case TypeChangeCipherSpec:
		return KindChangeCipherSpec
	case TypeAlert:
		return KindAlert
	case TypeApplicationData:
		return KindApplicationData
	case TypeHeartbeat:
		return KindHeartbeat
	}
	return KindEncryptedHandshake
}

// Finish tells that the stream has ended, so that a search accepts a last
// record with nothing after it.
func (p *Parser) Finish() { p.closed = true }

func (p *Parser) advance(n int) {
	p.pos += n
	p.off += int64(n)
}

// Next gives the next event. Without one and without an error it needs more
// bytes. After an error it goes on with what can be used, so that the caller
// may go on too.
func (p *Parser) Next(e *Event) (ok bool, err error) {
	for {
		if len(p.hs) > 0 {
			if ok, err := p.message(e); ok || err != nil {
				return ok, err
			}
		}
		if p.cutOpen {
			n := min(p.skip, len(p.buf)-p.pos)
			p.advance(n)
			if p.skip -= n; p.skip > 0 {
				return false, nil
			}
			p.cutOpen = false
			*e = p.cut
			return true, nil
		}
		if p.searching && !p.search() {
			return false, nil
		}
		r, n, err := NextRecord(p.buf[p.pos:])
		if err != nil {
			p.searching = true
			p.ciphers = true
			p.hs = p.hs[:0]
			we := err.(*wire.Error)
			we.Off = p.off
			p.advance(1)
			p.Skipped++
			return false, we
		}
		if n == 0 {
			return false, nil
		}
		off := p.off
		p.advance(n)
		if ok, err := p.record(r, off, e); ok || err != nil {
			return ok, err
		}
	}
}

// search passes over bytes up to a record header that another one follows.
func (p *Parser) search() bool {
	b := p.buf[p.pos:]
	for i := range b {
		if len(b)-i < recordHead {
			if !p.closed {
				p.Skipped += int64(i)
				p.advance(i)
				return false
			}
			break
		}
		if !Looks(b[i:]) {
			continue
		}
		rest := b[i+recordHead:]
		n := recordLen(b[i:])
		switch {
		case len(rest) >= n+recordHead && Looks(rest[n:]), p.closed && len(rest) == n:
			p.searching = false
		case len(rest) >= n+recordHead || p.closed:
			continue
		}
		p.Skipped += int64(i)
		p.advance(i)
		return !p.searching
	}
	p.Skipped += int64(len(b))
	p.advance(len(b))
	return false
}

// record takes one whole record. Without an event and an error it was part of
// a handshake message.
func (p *Parser) record(r Record, off int64, e *Event) (ok bool, err error) {
	*e = Event{Kind: recordKind(r.Type), Off: off, End: p.off, Len: len(r.Payload)}
	if r.Type == TypeHandshake {
		if p.ciphers && len(p.hs) == 0 && !clearHello(r.Payload) {
			return true, nil
		}
		if len(p.hs) == 0 {
			p.hsOff = off
		}
		p.hs = append(p.hs, r.Payload...)
		p.lastOff, p.hsEnd = off, p.off
		return false, nil
	}
	if n := len(p.hs); n > 0 {
		// RFC 8446, 5.1: no other records within a handshake message.
		p.hs = p.hs[:0]
		err = &wire.Error{Proto: "tls", Field: "handshake", Off: off, Msg: fmt.Sprintf("want the rest of a message of which %d bytes are there, have a record of type %d", n, r.Type)}
		// The record itself is still good: read it again, without the message.
		p.pos -= recordHead + len(r.Payload)
		p.off = off
		return false, err
	}
	switch r.Type {
	case TypeChangeCipherSpec:
		p.ciphers = true
	case TypeAlert:
		if len(r.Payload) == 2 {
			e.Alert = Alert{r.Payload[0], r.Payload[1]}
		}
	}
	return true, nil
}

// clearHello tells whether a handshake record after a ChangeCipherSpec is a
// hello in the clear: after a HelloRetryRequest both sides send one (RFC 8446,
// D.4). A random record passes for one once in 2^29 times.
func clearHello(b []byte) bool {
	return len(b) >= 6 && (b[0] == 1 || b[0] == 2) && b[1] == 0 && b[4] == 3 && b[5] <= 3 &&
		int(b[2])<<8|int(b[3]) >= 38
}

// message takes one whole message from the handshake bytes.
func (p *Parser) message(e *Event) (ok bool, fault error) {
	if len(p.hs) < 4 {
		return false, nil
	}
	n := int(p.hs[1])<<16 | int(p.hs[2])<<8 | int(p.hs[3])
	if n > maxHandshake {
		p.hs = p.hs[:0]
		p.ciphers = true
		return false, &wire.Error{Proto: "tls", Field: "handshake", Off: p.hsOff, Msg: fmt.Sprintf("want a message of at most %d bytes, have %d", maxHandshake, n)}
	}
	if len(p.hs) < 4+n {
		return false, nil
	}
	var err error
	typ, body := p.hs[0], p.hs[4:4+n]
	*e = Event{Kind: KindHandshake, Off: p.hsOff, End: p.hsEnd, Len: n, HandshakeType: typ}
	switch typ {
	case 1:
		e.Kind = KindClientHello
		e.ClientHello, err = ParseClientHello(body)
	case 2:
		e.Kind = KindServerHello
		e.ServerHello, err = ParseServerHello(body)
	case 11:
		e.Kind = KindCertificate
		e.Certificate, err = ParseCertificate(body)
	}
	if we, bad := err.(*wire.Error); bad {
		we.Off += 4
		e.Err = we
	}
	p.hs = p.hs[4+n:]
	p.hsOff = p.lastOff // messages are taken at once, so what is left began there
	return true, nil
}
