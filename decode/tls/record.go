// Package tls reads the TLS record layer of a byte stream: one direction alone
// and what its handshake says in the clear (Parser), or both directions of a
// connection, opened with the secrets of a key log (Conn).
//
// Sources: RFC 8446 sections 4 to 7, B and D.4 (TLS 1.3), RFC 5246 sections 5
// to 8 (TLS 1.2), RFC 4346 and 2246 (TLS 1.1 and 1.0), RFC 5288 (AES-GCM), RFC
// 7905 (ChaCha20-Poly1305), RFC 6655 and 3610 (AES-CCM), RFC 7366
// (encrypt-then-MAC), RFC 5077 (session tickets), RFC 7627 (extended master
// secret), RFC 6066 section 3 (server name), RFC 7301 (ALPN), RFC 6520
// (heartbeat record type), RFC 9849 section 5 (encrypted ClientHello).
//
// Nothing that was encrypted is shown unless it authenticates. Of several
// secrets for a connection the one that does is taken. After a gap reading goes
// on at the next record, whose sequence number, and key after a lost KeyUpdate,
// is found by trial.
//
// Units: offsets are bytes from the start of the stream, lost bytes counted;
// lengths are bytes.
//
// Aliasing: Record.Payload aliases the input of NextRecord, Event.Data a buffer
// that the next record is opened into. What else an Event points to is a copy
// and the caller's.
//
// Bounds: one record of 2^14+2048 bytes, 256 KiB of handshake message, 1 MiB of
// a direction that waits for the other's hello, and trials in proportion to the
// bytes that were fed.
//
// Not handled: RC4, DES, Camellia, SEED, ARIA and IDEA suites, compression,
// SSLv3, and a pre-master secret with an extended master secret (a Conn says
// so); the inner ClientHello of an accepted ECH; ServerHellos of TLS 1.3 drafts
// before 22, protection of those before 26; SSLv2 hellos; DTLS; certificate
// validation.
//
// Only TCP streams that are in order may enter here; what is inside the
// application data is the caller's.
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
