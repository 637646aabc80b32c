// Package rtp reads the RTP header and what travels in it: header extension
// elements, audio levels and telephone events.
//
// Sources: RFC 3550 sections 5.1 and 5.3.1 (header), RFC 8285 section 4
// (extension elements), RFC 6464 section 3 (client-to-mixer audio level),
// RFC 4733 section 2.3 (telephone-event), RFC 5761 section 4 (payload types
// that collide with RTCP).
//
// Units: Timestamp and Event.Duration count ticks of the stream's clock, which
// the packet does not tell; lengths are bytes; audio levels are dBov.
//
// Aliasing: Header.Ext, Header.Payload and extension elements alias the input.
//
// Not handled: payload formats other than telephone-event, redundancy
// (RFC 2198), FEC. An SRTP packet decodes as well, because SRTP leaves the
// header in the clear; but its padding count is encrypted and an
// authentication tag follows, so PaddingLen and Malformed mean nothing then,
// and Payload is ciphertext.
//
// Only what one packet says may enter here; a stream's state (loss, jitter,
// cycles) belongs to whoever keeps streams.
package rtp

import "encoding/binary"

// fixedLen is the part of the header that every packet has, RFC 3550, 5.1.
const fixedLen = 12

// Header is one decoded packet. Decode fills all fields, so a Header may be
// used again.
type Header struct {
	Timestamp   uint32
	SSRC        uint32
	Seq         uint16
	ExtProfile  uint16 // "defined by profile", RFC 3550, 5.3.1; 0 without extension
	PayloadType uint8
	CSRCs       uint8 // number of contributing sources
	Marker      bool
	Extension   bool // the X bit; Ext may still be nil when it was cut or malformed
	Padding     bool // the P bit

	// Malformed tells that a complete packet contradicts itself: contributing
	// sources, extension or padding do not fit. It is never set for what the
	// snap length cut off.
	Malformed bool

	// HeaderLen counts the fixed part, contributing sources and extension as
	// far as the captured bytes tell, also when that is more than was captured.
	HeaderLen int

	// PaddingLen includes the count byte. It is 0 when the packet was cut,
	// because the count is its last byte.
	PaddingLen int

	Ext     []byte // extension data after its four-byte header
	Payload []byte // without padding; nil or short when the snap length cut it
}

// Looks tells whether b can be RTP: version 2, a whole fixed header, and no
// payload type in the range that RFC 5761, 4 leaves to RTCP (64 to 95).
func Looks(b []byte) bool {
	return len(b) >= fixedLen && b[0]>>6 == 2 && (b[1]&0x7f < 64 || b[1]&0x7f > 95)
}

// Decode reads the captured bytes b of a packet that was wireLen bytes long.
// It is false, and h is unchanged, when the fixed header is not there or its
// version is not 2. Anything after the fixed header can be damaged without
// harm to the fields before it.
func Decode(b []byte, wireLen int, h *Header) bool {
	if len(b) < fixedLen || b[0]>>6 != 2 {
		return false
	}
	h.PayloadType = b[1] & 0x7f
	h.Marker = b[1] >= 0x80
	h.Seq = binary.BigEndian.Uint16(b[2:])
	h.Timestamp = binary.BigEndian.Uint32(b[4:])
	h.SSRC = binary.BigEndian.Uint32(b[8:])
	h.CSRCs = b[0] & 0x0f
	h.Extension = b[0]&0x10 != 0
	h.Padding = b[0]&0x20 != 0
	h.Malformed = false
	h.ExtProfile = 0
	h.PaddingLen = 0
	h.Ext = nil
	if b[0] == 0x80 { // no padding, extension or contributing sources
		h.HeaderLen = fixedLen
		h.Payload = b[fixedLen:]
		return true
	}
	h.rest(b, wireLen > len(b))
	return true
}

// rest reads what follows the fixed header.
func (h *Header) rest(b []byte, cut bool) {
	h.Payload = nil
	h.HeaderLen = fixedLen + 4*int(h.CSRCs)
	if h.Extension {
		if len(b) < h.HeaderLen+4 {
			h.Malformed = !cut
			return
		}
		h.ExtProfile = binary.BigEndian.Uint16(b[h.HeaderLen:])
		start := h.HeaderLen + 4
		h.HeaderLen = start + 4*int(binary.BigEndian.Uint16(b[h.HeaderLen+2:]))
		if len(b) >= h.HeaderLen {
			h.Ext = b[start:h.HeaderLen:h.HeaderLen]
		}
	}
	if len(b) < h.HeaderLen {
		h.Malformed = !cut
		return
	}
	end := len(b)
	if h.Padding && !cut {
		n := int(b[end-1])
		if n == 0 || n > end-h.HeaderLen {
			h.Malformed = true
		} else {
			h.PaddingLen = n
			end -= n
		}
	}
	h.Payload = b[h.HeaderLen:end:end]
}

// PayloadLen is the length of the payload on the wire of a packet that was
// wireLen bytes long, whether captured or not. Padding that was cut off
// counts as payload.
func (h *Header) PayloadLen(wireLen int) int {
	return max(0, wireLen-h.HeaderLen-h.PaddingLen)
}

// SeqDiff is how far sequence number a is ahead of b, modulo 2^16: between
// -32768 and 32767.
func SeqDiff(a, b uint16) int { return int(int16(a - b)) }

// TimestampDiff is how far timestamp a is ahead of b in clock ticks, modulo
// 2^32: between -2^31 and 2^31-1.
func TimestampDiff(a, b uint32) int64 { return int64(int32(a - b)) }
