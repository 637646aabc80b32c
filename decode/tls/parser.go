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
	KindHandshake          // another message in the clear, or opened: HandshakeType tells
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
	HandshakeType uint8 // of a handshake message in the clear or opened, RFC 8446, B.3
	Decrypted     bool  // it was encrypted, and this is what was in it
	Err           error // damage within the message, at an offset from its start; what could be read is there
	Truncated     bool  // a record in which bytes are missing; only Kind, Off, End and Len are known

	ClientHello *ClientHello // of KindClientHello
	ServerHello *ServerHello // of KindServerHello
	Certificate *Certificate // of KindCertificate; nil when Err says that there is no list
	Alert       Alert        // of KindAlert; the zero value when encrypted
	ALPN        string       // of EncryptedExtensions
	Data        []byte       // of KindApplicationData that was opened; valid until the next Next: see Conn
}

// Parser reads one direction of a connection. The zero value is ready, at the
// start of the stream.
//
// The caller feeds bytes in order and calls Next after each Feed until it has
// neither an event nor an error, and Finish and Next at the end. Memory is
// bounded as long as it does.
//
// Feed appends the stream's next bytes, which are copied; Finish tells that it
// has ended; Offset is that of the first byte that is not yet read; Skipped
// counts bytes that were passed over in search of a record.
type Parser struct {
	framer
	messages
	ciphers bool // a ChangeCipherSpec was seen, or may have been lost
}

// Lost tells that n bytes are missing after those fed; 0 when it is not known
// how many. When they lie within one record, reading goes on after it; else
// the next plausible record header is searched.
func (p *Parser) Lost(n int64) { p.lose(n) }

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

// Next gives the next event. Without one and without an error it needs more
// bytes. After an error it goes on with what can be used, so that the caller
// may go on too.
func (p *Parser) Next(e *Event) (ok bool, err error) {
	for {
		if len(p.hs) > 0 {
			_, ok, err := p.message(e)
			if err != nil {
				p.ciphers = true
			}
			if ok || err != nil {
				return ok, err
			}
		}
		what, r, size, err := p.next()
		switch what {
		case frameRecord:
			off := p.off
			p.take(size)
			if ok, err := p.record(r, off, e); ok || err != nil {
				return ok, err
			}
		case frameCut:
			*e = p.cut
			return true, nil
		case frameGap, frameBad:
			p.ciphers = true
			p.hs = p.hs[:0]
			if err != nil {
				return false, err
			}
		default:
			return false, nil
		}
	}
}

// record takes one whole record. Without an event and an error it was part of
// a handshake message.
func (p *Parser) record(r Record, off int64, e *Event) (ok bool, err error) {
	*e = Event{Kind: recordKind(r.Type), Off: off, End: p.off, Len: len(r.Payload)}
	if r.Type == TypeHandshake {
		if p.ciphers && len(p.hs) == 0 && !clearHello(r.Payload) {
			return true, nil
		}
		p.add(r.Payload, off, p.off)
		return false, nil
	}
	if n := len(p.hs); n > 0 {
		// RFC 8446, 5.1: no other records within a handshake message.
		p.hs = p.hs[:0]
		err = &wire.Error{Proto: "tls", Field: "handshake", Off: off, Msg: fmt.Sprintf("want the rest of a message of which %d bytes are there, have a record of type %d", n, r.Type)}
		// The record itself is still good: read it again, without the message.
		p.advance(-recordHead - len(r.Payload))
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
