// Package stun reads STUN and TURN messages and TURN ChannelData.
//
// Sources: RFC 8489 sections 5, 14 and 18 (STUN), RFC 8656 sections 12 and 18
// (TURN), RFC 8445 sections 7.1 and 16.1 (ICE), RFC 3489 sections 11.1 and
// 11.2 (classic STUN, without magic cookie).
//
// Units: Lifetime is seconds, lengths are bytes.
//
// Aliasing: byte slices of a Message and of ChannelData alias the input.
//
// Not handled: attributes that only servers need (nonces, address families,
// reservation tokens, bandwidths); Attributes gives their bytes. The long-term
// credential key must be computed by the caller. MESSAGE-INTEGRITY-SHA256 is
// noticed, not checked.
//
// Only what one message says may enter here; candidate pairs and allocations
// need memory and belong elsewhere.
package stun

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"hash/crc32"
	"iter"
	"net/netip"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	headLen     = 20
	magicCookie = 0x2112A442 // RFC 8489, 5
)

// Method is what a message is about. New kinds may be added.
type Method uint16

// RFC 8489, 18.2; RFC 8656, 17; RFC 6062, 6.1; RFC 3489, 11.1.
const (
	MethodBad               Method = 0x000
	MethodBinding           Method = 0x001
	MethodSharedSecret      Method = 0x002
	MethodAllocate          Method = 0x003
	MethodRefresh           Method = 0x004
	MethodSend              Method = 0x006
	MethodData              Method = 0x007
	MethodCreatePermission  Method = 0x008
	MethodChannelBind       Method = 0x009
	MethodConnect           Method = 0x00A
	MethodConnectionBind    Method = 0x00B
	MethodConnectionAttempt Method = 0x00C
)

func (m Method) String() string {
	switch m {
	case MethodBinding:
		return "Binding"
	case MethodSharedSecret:
		return "SharedSecret"
	case MethodAllocate:
		return "Allocate"
	case MethodRefresh:
		return "Refresh"
	case MethodSend:
		return "Send"
	case MethodData:
		return "Data"
	case MethodCreatePermission:
		return "CreatePermission"
	case MethodChannelBind:
		return "ChannelBind"
	case MethodConnect:
		return "Connect"
	case MethodConnectionBind:
		return "ConnectionBind"
	case MethodConnectionAttempt:
		return "ConnectionAttempt"
	}
	return "unknown"
}

// Class is the role of a message. All four values of the field are in use, so
// there is none for unknown.
type Class uint8

// RFC 8489, 5.
const (
	ClassRequest    Class = 0
	ClassIndication Class = 1
	ClassSuccess    Class = 2
	ClassError      Class = 3
)

func (c Class) String() string {
	return [4]string{"request", "indication", "success", "error"}[c&3]
}

// AttrType is the type of an attribute. New kinds may be added.
type AttrType uint16

// The attributes that Decode reads: RFC 8489, 18.3; RFC 8656, 18; RFC 8445, 16.1.
const (
	AttrMappedAddress          AttrType = 0x0001
	AttrUsername               AttrType = 0x0006
	AttrMessageIntegrity       AttrType = 0x0008
	AttrErrorCode              AttrType = 0x0009
	AttrChannelNumber          AttrType = 0x000C
	AttrLifetime               AttrType = 0x000D
	AttrXORPeerAddress         AttrType = 0x0012
	AttrData                   AttrType = 0x0013
	AttrRealm                  AttrType = 0x0014
	AttrXORRelayedAddress      AttrType = 0x0016
	AttrMessageIntegritySHA256 AttrType = 0x001C
	AttrXORMappedAddress       AttrType = 0x0020
	AttrPriority               AttrType = 0x0024
	AttrUseCandidate           AttrType = 0x0025
	AttrXORMappedAddressOld    AttrType = 0x8020 // drafts before RFC 5389
	AttrSoftware               AttrType = 0x8022
	AttrFingerprint            AttrType = 0x8028
	AttrIceControlled          AttrType = 0x8029
	AttrIceControlling         AttrType = 0x802A
)

// Attribute is one attribute as it stands in the message.
type Attribute struct {
	Type  AttrType
	Value []byte // without padding
	Off   int    // of the attribute's header, in the message
}

// Message is one message. What it does not say is the zero value; the Has
// fields tell where zero is a value.
type Message struct {
	Type          uint16 // the whole type field
	Method        Method
	Class         Class
	Classic       bool // no magic cookie: RFC 3489
	TransactionID [12]byte
	Length        int // the length field: bytes after the header

	MappedAddress     netip.AddrPort
	XORMappedAddress  netip.AddrPort
	XORPeerAddress    netip.AddrPort // the first, when there are several
	XORRelayedAddress netip.AddrPort

	Username    []byte
	Realm       []byte
	Software    []byte
	Data        []byte // of a Send or Data indication: the peer's datagram
	ErrorCode   int    // 300 to 699, 0 when there is none
	ErrorReason []byte

	ChannelNumber uint16
	Lifetime      uint32
	Priority      uint32
	TieBreaker    uint64 // of ICE-CONTROLLED or ICE-CONTROLLING

	HasLifetime            bool
	HasPriority            bool
	UseCandidate           bool
	IceControlled          bool
	IceControlling         bool
	HasMessageIntegrity    bool // also MESSAGE-INTEGRITY-SHA256
	HasFingerprint         bool
	Truncated              bool // fewer bytes were given than the length field says
	raw                    []byte
	integrityOff, printOff int
}

// Looks tells whether b starts a STUN message with magic cookie: two zero
// bits, a length that is a multiple of four, and all of the datagram, or more
// than that for one that a snap length cut.
func Looks(b []byte) bool {
	if len(b) < headLen || b[0]>>6 != 0 || b[3]&3 != 0 || binary.BigEndian.Uint32(b[4:]) != magicCookie {
		return false
	}
	return headLen+int(binary.BigEndian.Uint16(b[2:])) >= len(b)
}

// LooksClassic tells whether b is a whole RFC 3489 message: a binding message
// without magic cookie whose length and attributes end exactly where b does.
func LooksClassic(b []byte) bool {
	if len(b) < headLen || headLen+int(binary.BigEndian.Uint16(b[2:])) != len(b) || binary.BigEndian.Uint32(b[4:]) == magicCookie {
		return false
	}
	switch binary.BigEndian.Uint16(b) {
	case 0x0001, 0x0101, 0x0111: // RFC 3489, 11.1
	default:
		return false
	}
	off := headLen
	for off < len(b) {
		_, next, ok := attribute(b, off)
		if !ok {
			return false
		}
		off = next
	}
	return off == len(b)
}

// FrameLen is the size of the STUN message or ChannelData at the start of a
// stream, padding included (RFC 8656, 12.5), or 0 when fewer than four bytes
// are there; ok is false when the first byte is neither's.
func FrameLen(b []byte) (n int, ok bool) {
	if len(b) == 0 {
		return 0, true
	}
	channel := b[0] >= 0x40 && b[0] <= 0x4f
	if b[0]>>6 != 0 && !channel {
		return 0, false
	}
	if len(b) < 4 {
		return 0, true
	}
	n = int(binary.BigEndian.Uint16(b[2:]))
	if channel {
		return 4 + (n+3)&^3, true
	}
	return headLen + n, true
}

// attribute reads the attribute at off; next is where the one after it starts.
func attribute(b []byte, off int) (a Attribute, next int, ok bool) {
	if len(b)-off < 4 {
		return a, off, false
	}
	n := int(binary.BigEndian.Uint16(b[off+2:]))
	if n > len(b)-off-4 {
		return a, off, false
	}
	a = Attribute{AttrType(binary.BigEndian.Uint16(b[off:])), b[off+4 : off+4+n : off+4+n], off}
	// RFC 8489, 14: padded to a multiple of four, which the length leaves out.
	return a, min(off+4+(n+3)&^3, len(b)), true
}

// Decode reads one message, with or without magic cookie. The error tells of
// a missing header, or of the first attribute that does not fit; m then holds
// all others up to one that runs over the end. A message that is cut short is
// no error.
func Decode(b []byte, m *Message) error {
	*m = Message{}
	if len(b) < headLen {
		return &wire.Error{Proto: "stun", Field: "header", Off: 0, Msg: "want 20 bytes, have fewer"}
	}
	if b[0]>>6 != 0 {
		return &wire.Error{Proto: "stun", Field: "type", Off: 0, Msg: "want two zero bits"}
	}
	m.Type = binary.BigEndian.Uint16(b)
	// RFC 8489, 5, figure 3: the class bits lie between the method bits.
	m.Method = Method(m.Type&0x000f | m.Type&0x00e0>>1 | m.Type&0x3e00>>2)
	m.Class = Class(m.Type>>4&1 | m.Type>>7&2)
	m.Length = int(binary.BigEndian.Uint16(b[2:]))
	m.Classic = binary.BigEndian.Uint32(b[4:]) != magicCookie
	m.TransactionID = [12]byte(b[8:])
	m.Truncated = headLen+m.Length > len(b)
	m.raw = b
	if !m.Truncated {
		m.raw = b[:headLen+m.Length]
	}
	bad, msg := 0, ""
	for off := headLen; off < len(m.raw); {
		a, next, ok := attribute(m.raw, off)
		if !ok {
			if bad == 0 && !m.Truncated {
				bad, msg = off, "runs over the end of the message"
			}
			break
		}
		if !m.set(a) && bad == 0 {
			bad, msg = off, "value has the wrong size or form for its type"
		}
		off = next
	}
	if bad != 0 {
		return &wire.Error{Proto: "stun", Field: "attribute", Off: int64(bad), Msg: msg}
	}
	return nil
}

// Attributes walks all attributes that are whole, read by Decode or not.
func (m *Message) Attributes() iter.Seq[Attribute] {
	return func(yield func(Attribute) bool) {
		for off := headLen; off < len(m.raw); {
			a, next, ok := attribute(m.raw, off)
			if !ok || !yield(a) {
				return
			}
			off = next
		}
	}
}

// set takes one attribute into m. It is false when its value cannot be.
func (m *Message) set(a Attribute) bool {
	v := a.Value
	// RFC 8489, 14.5: what follows MESSAGE-INTEGRITY is ignored, but for
	// MESSAGE-INTEGRITY-SHA256 and FINGERPRINT. 14: of attributes that
	// occur twice the first counts.
	if m.HasMessageIntegrity && a.Type != AttrFingerprint && a.Type != AttrMessageIntegritySHA256 {
		return true
	}
	switch a.Type {
	case AttrMappedAddress:
		return m.address(v, &m.MappedAddress, false)
	case AttrXORMappedAddress, AttrXORMappedAddressOld:
		return m.address(v, &m.XORMappedAddress, true)
	case AttrXORPeerAddress:
		return m.address(v, &m.XORPeerAddress, true)
	case AttrXORRelayedAddress:
		return m.address(v, &m.XORRelayedAddress, true)
	case AttrUsername:
		keep(&m.Username, v)
	case AttrRealm:
		keep(&m.Realm, v)
	case AttrSoftware:
		keep(&m.Software, v)
	case AttrData:
		keep(&m.Data, v)
	case AttrErrorCode:
		if len(v) < 4 {
			return false
		}
		// RFC 8489, 14.8: class 3 to 6, number 0 to 99.
		class, number := int(v[2]&7), int(v[3])
		if class < 3 || class > 6 || number > 99 {
			return false
		}
		if m.ErrorCode == 0 {
			m.ErrorCode, m.ErrorReason = 100*class+number, v[4:]
		}
	case AttrChannelNumber:
		if len(v) != 4 {
			return false
		}
		if m.ChannelNumber == 0 {
			m.ChannelNumber = binary.BigEndian.Uint16(v)
		}
	case AttrLifetime:
		if len(v) != 4 {
			return false
		}
		if !m.HasLifetime {
			m.Lifetime, m.HasLifetime = binary.BigEndian.Uint32(v), true
		}
	case AttrPriority:
		if len(v) != 4 {
			return false
		}
		if !m.HasPriority {
			m.Priority, m.HasPriority = binary.BigEndian.Uint32(v), true
		}
	case AttrUseCandidate:
		m.UseCandidate = true
	case AttrIceControlled, AttrIceControlling:
		if len(v) != 8 {
			return false
		}
		if !m.IceControlled && !m.IceControlling {
			m.TieBreaker = binary.BigEndian.Uint64(v)
			m.IceControlled = a.Type == AttrIceControlled
			m.IceControlling = !m.IceControlled
		}
	case AttrMessageIntegrity:
		if len(v) != sha1.Size {
			return false
		}
		m.HasMessageIntegrity, m.integrityOff = true, a.Off
	case AttrMessageIntegritySHA256:
		m.HasMessageIntegrity = true
	case AttrFingerprint:
		if len(v) != 4 {
			return false
		}
		if !m.HasFingerprint {
			m.HasFingerprint, m.printOff = true, a.Off
		}
	}
	return true
}

func keep(field *[]byte, v []byte) {
	if *field == nil {
		*field = v
	}
}

// address reads an address, RFC 8489, 14.1 and 14.2.
func (m *Message) address(v []byte, to *netip.AddrPort, xor bool) bool {
	var ip [16]byte
	var n int
	switch {
	case len(v) == 8 && v[1] == 1:
		n = 4
	case len(v) == 20 && v[1] == 2:
		n = 16
	default:
		return false
	}
	port := binary.BigEndian.Uint16(v[2:])
	copy(ip[:n], v[4:])
	if xor {
		// The key is the cookie and the transaction, as they stand in the header.
		port ^= magicCookie >> 16
		for i := range n {
			ip[i] ^= m.raw[4+i]
		}
	}
	if to.IsValid() {
		return true
	}
	addr := netip.AddrFrom16(ip)
	if n == 4 {
		addr = netip.AddrFrom4([4]byte(ip[:]))
	}
	*to = netip.AddrPortFrom(addr, port)
	return true
}

// VerifyFingerprint tells whether the message has a FINGERPRINT and it is
// right, RFC 8489, 14.7: the CRC-32 of all before it, XORed with "STUN". The
// length field counts up to and including the FINGERPRINT, its last attribute.
func (m *Message) VerifyFingerprint() bool {
	if !m.HasFingerprint || m.Truncated || m.printOff+8 != len(m.raw) {
		return false
	}
	want := binary.BigEndian.Uint32(m.raw[m.printOff+4:])
	return crc32.ChecksumIEEE(m.raw[:m.printOff])^0x5354554e == want
}

// VerifyIntegrity tells whether the message has a MESSAGE-INTEGRITY that this
// key made, RFC 8489, 14.5. For short-term credentials the key is the password.
func (m *Message) VerifyIntegrity(key []byte) bool {
	if m.integrityOff == 0 {
		return false
	}
	mac := hmac.New(sha1.New, key)
	// The length field is taken as if the message ended with this attribute.
	end := m.integrityOff + 4 + sha1.Size
	mac.Write(m.raw[:2])
	mac.Write(binary.BigEndian.AppendUint16(nil, uint16(end-headLen)))
	mac.Write(m.raw[4:m.integrityOff])
	return hmac.Equal(mac.Sum(nil), m.raw[m.integrityOff+4:end])
}

// ChannelData is a datagram on a TURN channel, RFC 8656, 12.4.
type ChannelData struct {
	Channel uint16 // 0x4000 to 0x4FFF
	Length  int    // the length field
	Data    []byte // shorter than Length when the snap length cut it
}

// LooksChannelData tells whether b is one whole ChannelData message, with up
// to three bytes of padding, which is a stream's but allowed in UDP. A cut
// one cannot be told from a QUIC short header (RFC 9443) and does not look.
func LooksChannelData(b []byte) bool {
	if len(b) < 4 || b[0] < 0x40 || b[0] > 0x4f {
		return false
	}
	pad := len(b) - 4 - int(binary.BigEndian.Uint16(b[2:]))
	return pad >= 0 && pad <= 3
}

// DecodeChannelData reads a ChannelData message; c is unchanged when b has no
// header of one.
func DecodeChannelData(b []byte, c *ChannelData) bool {
	if len(b) < 4 || b[0] < 0x40 || b[0] > 0x4f {
		return false
	}
	c.Channel = binary.BigEndian.Uint16(b)
	c.Length = int(binary.BigEndian.Uint16(b[2:]))
	end := min(4+c.Length, len(b))
	c.Data = b[4:end:end]
	return true
}
