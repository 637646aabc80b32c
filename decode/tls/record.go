// Package tls reads the TLS record layer of one direction of a byte stream and
// what the handshake says in the clear.
//
// Sources: RFC 8446 sections 4, 5, 6 and B (TLS 1.3), RFC 5246 sections 6 and
// 7 (TLS 1.2), RFC 6066 section 3 (server name), RFC 7301 (ALPN), RFC 6520
// (heartbeat record type), RFC 9849 section 5 (encrypted ClientHello).
//
// Units: offsets are bytes from the start of the stream, lost bytes counted;
// lengths are bytes.
//
// Aliasing: Record.Payload aliases the input of NextRecord. What an Event
// points to is a copy and the caller's.
//
// Bounds: one record of 2^14+2048 bytes, and 256 KiB of handshake message.
//
// Not handled: decryption (NextRecord is where it can start), so from the
// ChangeCipherSpec of TLS 1.2 and the ServerHello of TLS 1.3 on only lengths
// are known; ServerHellos of TLS 1.3 drafts before 22; SSLv2 hellos; DTLS;
// certificate validation.
//
// Only one direction of one connection may enter here; pairing the two is the
// caller's.
package tls

import (
	"fmt"

	"github.com/twtrace/twtrace/internal/wire"
)

// Record types, RFC 8446, 5.1 and RFC 6520, 3.
const (
	TypeChangeCipherSpec = 20
	TypeAlert            = 21
	TypeHandshake        = 22
	TypeApplicationData  = 23
	TypeHeartbeat        = 24
)

const (
	recordHead = 5
	maxRecord  = 1<<14 + 2048 // RFC 5246, 6.2.3: ciphertext; TLS 1.3 has less
)

// Record is one record as it stands in the stream.
type Record struct {
	Type    uint8
	Version uint16 // legacy_record_version; says little (RFC 8446, 5.1)
	Payload []byte
}

// Looks tells whether b begins with a plausible record header: a known type,
// version 0x0300 to 0x0304, and a length that the type can have.
func Looks(b []byte) bool {
	if len(b) < recordHead || b[0] < TypeChangeCipherSpec || b[0] > TypeHeartbeat || b[1] != 3 || b[2] > 4 {
		return false
	}
	n := recordLen(b)
	switch b[0] {
	case TypeChangeCipherSpec:
		return n == 1
	case TypeAlert:
		return n >= 2 && n <= 512
	case TypeHandshake:
		return n >= 1 && n <= maxRecord // a message may be split anyhow
	case TypeHeartbeat:
		return n >= 3 && n <= maxRecord
	}
	return n <= maxRecord // RFC 8446, 5.1: application data may be empty
}

func recordLen(b []byte) int { return int(b[3])<<8 | int(b[4]) }

// NextRecord reads the record at the start of b. n is its size; 0 without an
// error means that not all of it is there.
func NextRecord(b []byte) (r Record, n int, err error) {
	if len(b) < recordHead {
		return r, 0, nil
	}
	if !Looks(b) {
		return r, 0, &wire.Error{Proto: "tls", Field: "record", Msg: fmt.Sprintf("want a record header, have %x", b[:recordHead])}
	}
	n = recordHead + recordLen(b)
	if len(b) < n {
		return r, 0, nil
	}
	return Record{b[0], uint16(b[1])<<8 | uint16(b[2]), b[recordHead:n:n]}, n, nil
}
