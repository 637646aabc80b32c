package rtp

import (
	"encoding/binary"
	"strconv"
)

// Event is the payload of a telephone-event packet, RFC 4733, 2.3. One event
// spans several packets with the same RTP timestamp and a growing duration.
type Event struct {
	Code     uint8 // RFC 4733, 3.2: 0 to 15 are the DTMF digits
	End      bool
	Volume   uint8  // power level below 0 dBm0, in dB: 0 to 63; only for tones
	Duration uint16 // timestamp ticks since the packet's timestamp
}

// DecodeEvent reads the first event of a payload; e is unchanged when fewer
// than the four bytes of an event are there.
func DecodeEvent(payload []byte, e *Event) bool {
	if len(payload) < 4 {
		return false
	}
	e.Code = payload[0]
	e.End = payload[1]&0x80 != 0
	e.Volume = payload[1] & 0x3f
	e.Duration = binary.BigEndian.Uint16(payload[2:])
	return true
}

const digits = "0123456789*#ABCD"

// Digit is the DTMF digit of the event, RFC 4733, 3.2 table 3, and 0 for an
// event of another kind.
func (e Event) Digit() byte {
	if int(e.Code) < len(digits) {
		return digits[e.Code]
	}
	return 0
}

// String is the digit, "flash" (RFC 2833's event 16), or the event code.
func (e Event) String() string {
	switch {
	case e.Digit() != 0:
		return string(rune(e.Digit()))
	case e.Code == 16:
		return "flash"
	}
	return "event " + strconv.Itoa(int(e.Code))
}
