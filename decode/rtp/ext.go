package rtp

// Profile values that announce extension elements, RFC 8285, 4.2 and 4.3.
const (
	profileOneByte = 0xBEDE
	profileTwoByte = 0x1000 // the low four bits are application bits
)

// NextElement reads the first extension element of ext, the data of an
// extension with this profile value, and returns what follows it. It is false
// at the end, at an element that runs over the end, and for a profile that
// has no elements. Padding bytes are passed over.
func NextElement(profile uint16, ext []byte) (id uint8, data, rest []byte, ok bool) {
	head := 1
	switch {
	case profile == profileOneByte:
	case profile&0xFFF0 == profileTwoByte:
		head = 2
	default:
		return 0, nil, nil, false
	}
	for len(ext) > 0 && ext[0] == 0 {
		ext = ext[1:]
	}
	if len(ext) < head {
		return 0, nil, nil, false
	}
	var n int
	if head == 1 {
		id, n = ext[0]>>4, int(ext[0]&0x0f)+1
		// RFC 8285, 4.2: identifier 15, and identifier 0 with a length, end
		// the processing of the whole extension.
		if id == 0 || id == 15 {
			return 0, nil, nil, false
		}
	} else {
		id, n = ext[0], int(ext[1])
	}
	if n > len(ext)-head {
		return 0, nil, nil, false
	}
	return id, ext[head : head+n : head+n], ext[head+n:], true
}

// Element is the data of the first extension element with this identifier,
// which the session description maps to a meaning (a=extmap).
func (h *Header) Element(id uint8) ([]byte, bool) {
	rest := h.Ext
	for {
		got, data, next, ok := NextElement(h.ExtProfile, rest)
		if !ok {
			return nil, false
		}
		if got == id {
			return data, true
		}
		rest = next
	}
}

// AudioLevel reads an element with URI urn:ietf:params:rtp-hdrext:ssrc-audio-level
// (RFC 6464, 3): the level from 0 down to -127 dBov, and whether the sender
// takes the packet for voice. Whether that flag is in use, only the session
// description tells (vad=on).
func AudioLevel(data []byte) (dbov int, voice, ok bool) {
	if len(data) < 1 {
		return 0, false, false
	}
	return -int(data[0] & 0x7f), data[0] >= 0x80, true
}
