// Package rtcp reads compound RTCP packets: sender and receiver reports,
// source descriptions, BYE, APP, the kind of feedback messages, and VoIP
// metrics of extended reports.
//
// Sources: RFC 3550 section 6 (all standard packets), RFC 3611 sections 3 and
// 4.7 (extended reports), RFC 4585 section 6 and RFC 5104 section 4 (feedback),
// RFC 5506 (a compound may start with any packet), RFC 5761 section 4 (packet
// types 192 to 223), RFC 5905 section 6 (NTP time).
//
// Units: NTP times are 32.32 fixed-point seconds, LSR and DLSR 16.16 seconds,
// RTP times and Jitter ticks of the stream's clock, FractionLost 1/256;
// VoIPMetrics says its own.
//
// Aliasing: byte slices alias the input; all slices of a Compound are used
// again by the next Decode into it.
//
// Not handled: the content of feedback messages, extended report blocks other
// than VoIP metrics, profile extensions. SRTCP (RFC 3711) encrypts all after
// the first eight bytes: only the first packet's type and SSRC (FirstType,
// FirstSSRC) are true then, and whoever knows that the flow is SRTCP must use
// nothing else.
//
// Only what one datagram says may enter here; round-trip times and clocks
// need memory and belong elsewhere.
package rtcp

import (
	"encoding/binary"

	"github.com/twtrace/twtrace/internal/wire"
)

// Type is the packet type of one packet of a compound. New kinds may be added.
type Type uint8

// RFC 3550, 12.1; RFC 4585, 6.1; RFC 3611, 2.
const (
	TypeBad   Type = 0
	TypeSR    Type = 200
	TypeRR    Type = 201
	TypeSDES  Type = 202
	TypeBYE   Type = 203
	TypeAPP   Type = 204
	TypeRTPFB Type = 205
	TypePSFB  Type = 206
	TypeXR    Type = 207
)

func (t Type) String() string {
	switch t {
	case TypeSR:
		return "SR"
	case TypeRR:
		return "RR"
	case TypeSDES:
		return "SDES"
	case TypeBYE:
		return "BYE"
	case TypeAPP:
		return "APP"
	case TypeRTPFB:
		return "RTPFB"
	case TypePSFB:
		return "PSFB"
	case TypeXR:
		return "XR"
	}
	return "unknown"
}

const (
	headLen   = 4
	reportLen = 24

	// maxCut bounds the first length field of a packet that the snap length
	// cut: RTCP stays below the path MTU (RFC 3550, 6.2).
	maxCut = 1500
)

// ReportBlock is one reception report, RFC 3550, 6.4.1.
type ReportBlock struct {
	SSRC           uint32 // the source that is reported about
	FractionLost   uint8
	CumulativeLost int32 // 24 bits signed: duplicates can make it negative
	HighestSeq     uint32
	Jitter         uint32
	LSR            uint32
	DLSR           uint32
}

// SR is a sender report, RFC 3550, 6.4.1.
type SR struct {
	SSRC    uint32
	NTP     uint64
	RTPTime uint32
	Packets uint32
	Octets  uint32
	Reports []ReportBlock
}

// RR is a receiver report, RFC 3550, 6.4.2.
type RR struct {
	SSRC    uint32
	Reports []ReportBlock
}

// SDES is one chunk of a source description, RFC 3550, 6.5.
type SDES struct {
	SSRC  uint32
	CNAME []byte // nil when the chunk has none
}

// BYE says that sources leave, RFC 3550, 6.6.
type BYE struct {
	SSRCs  []uint32
	Reason []byte // nil when none was given
}

// APP is an application-defined packet, RFC 3550, 6.7.
type APP struct {
	SSRC    uint32
	Subtype uint8
	Name    [4]byte
	Data    []byte
}

// Feedback is one RTPFB or PSFB packet, RFC 4585, 6.1.
type Feedback struct {
	Kind   FeedbackKind
	Format uint8  // the FMT field
	Sender uint32 // SSRC of the sender
	Media  uint32 // SSRC of the media source; may be 0
}

// VoIPMetrics is the VoIP metrics block of an extended report, RFC 3611, 4.7.
// 127 means unavailable for SignalLevel, NoiseLevel, RERL, RFactor,
// ExternalRFactor, MOSLQ and MOSCQ.
type VoIPMetrics struct {
	Reporter        uint32
	SSRC            uint32 // the source that is reported about
	LossRate        uint8  // 1/256
	DiscardRate     uint8  // 1/256
	BurstDensity    uint8  // 1/256
	GapDensity      uint8  // 1/256
	BurstDuration   uint16 // ms
	GapDuration     uint16 // ms
	RoundTripDelay  uint16 // ms
	EndSystemDelay  uint16 // ms
	SignalLevel     int8   // dBm0
	NoiseLevel      int8   // dBm0
	RERL            uint8  // dB
	Gmin            uint8
	RFactor         uint8 // 0 to 100
	ExternalRFactor uint8 // 0 to 100
	MOSLQ           uint8 // 10 to 50: ten times the score
	MOSCQ           uint8 // 10 to 50: ten times the score
	RXConfig        uint8
	JBNominal       uint16 // ms
	JBMaximum       uint16 // ms
	JBAbsMax        uint16 // ms
}

// Damage is one packet of a compound that could not be read, or not wholly.
type Damage struct {
	Off  int // of the packet, in the datagram
	Type Type
	Msg  string
}

// Compound is all that one datagram said, in order within each slice.
type Compound struct {
	FirstType Type   // also true for SRTCP
	FirstSSRC uint32 // also true for SRTCP; 0 for an empty packet
	Packets   int    // packet headers found

	SRs      []SR
	RRs      []RR
	Sources  []SDES
	Byes     []BYE
	Apps     []APP
	Feedback []Feedback
	VoIP     []VoIPMetrics

	// Unread counts packets and extended report blocks of kinds that are not
	// read here.
	Unread  int
	Damaged []Damage

	// Trailing counts bytes at the end that do not continue the compound: an
	// SRTCP index and tag, or anything after a header that is none.
	Trailing int

	reports []ReportBlock
	ssrcs   []uint32
}

func (c *Compound) reset() {
	*c = Compound{SRs: c.SRs[:0], RRs: c.RRs[:0], Sources: c.Sources[:0], Byes: c.Byes[:0], Apps: c.Apps[:0],
		Feedback: c.Feedback[:0], VoIP: c.VoIP[:0], Damaged: c.Damaged[:0], reports: c.reports[:0], ssrcs: c.ssrcs[:0]}
}

// Looks tells whether b can start RTCP: version 2, packet type 192 to 223
// (RFC 5761, 4), and a first length that holds what the type demands and does
// not leave a datagram, except for what a snap length may have cut. Bytes
// after the first packet are not judged, because SRTCP encrypts them.
func Looks(b []byte) bool {
	if len(b) < headLen || b[0]>>6 != 2 || b[1] < 192 || b[1] > 223 {
		return false
	}
	size := packetSize(b)
	return size >= minSize(b) && size <= max(len(b), maxCut)
}

func packetSize(b []byte) int { return 4 + 4*int(binary.BigEndian.Uint16(b[2:])) }

// minSize is the smallest whole packet with this type and count.
func minSize(b []byte) int {
	count := int(b[0] & 0x1f)
	switch Type(b[1]) {
	case TypeSR:
		return 28 + reportLen*count
	case TypeRR:
		return 8 + reportLen*count
	case TypeSDES:
		return 4 + 8*count
	case TypeBYE:
		return 4 + 4*count
	case TypeAPP, TypeRTPFB, TypePSFB:
		return 12
	case TypeXR:
		return 8
	}
	return 4
}

// Decode reads a datagram into c. The error says that its first bytes are not
// RTCP; damage after that is in c.Damaged and leaves the other packets whole.
func Decode(b []byte, c *Compound) error {
	c.reset()
	if len(b) < headLen {
		return &wire.Error{Proto: "rtcp", Field: "header", Off: 0, Msg: "want 4 bytes, have fewer"}
	}
	if b[0]>>6 != 2 {
		return &wire.Error{Proto: "rtcp", Field: "version", Off: 0, Msg: "want version 2"}
	}
	if b[1] < 192 || b[1] > 223 {
		return &wire.Error{Proto: "rtcp", Field: "packet type", Off: 1, Msg: "want 192 to 223"}
	}
	c.FirstType = Type(b[1])
	if len(b) >= 8 && packetSize(b) >= 8 {
		c.FirstSSRC = binary.BigEndian.Uint32(b[4:])
	}
	for off := 0; off < len(b); {
		p := b[off:]
		if len(p) < headLen || p[0]>>6 != 2 || p[1] < 192 || p[1] > 223 {
			c.Trailing = len(p)
			break
		}
		c.Packets++
		size := packetSize(p)
		whole := size <= len(p)
		if whole {
			p = p[:size]
		}
		// RFC 3550, 6.4.1: only the last packet of a compound may be padded.
		if p[0]&0x20 != 0 && whole {
			if n := int(p[size-1]); n < 4 || n%4 != 0 || n > size-headLen {
				c.damage(off, p, "padding does not fit")
			} else {
				p = p[:size-n]
			}
		}
		if msg := c.packet(p); msg != "" {
			c.damage(off, p, msg)
		} else if !whole {
			c.damage(off, p, "runs over the end of the datagram")
		}
		off += size
	}
	return nil
}

func (c *Compound) damage(off int, p []byte, msg string) {
	c.Damaged = append(c.Damaged, Damage{off, Type(p[1]), msg})
}

const short = "too short for its count"

// packet reads one packet, keeps what is whole of it, and says what is wrong.
func (c *Compound) packet(p []byte) string {
	count := int(p[0] & 0x1f)
	switch Type(p[1]) {
	case TypeSR:
		if len(p) < 28 {
			return "sender report shorter than 28 bytes"
		}
		r, msg := c.readReports(p[28:], count)
		c.SRs = append(c.SRs, SR{
			SSRC:    binary.BigEndian.Uint32(p[4:]),
			NTP:     binary.BigEndian.Uint64(p[8:]),
			RTPTime: binary.BigEndian.Uint32(p[16:]),
			Packets: binary.BigEndian.Uint32(p[20:]),
			Octets:  binary.BigEndian.Uint32(p[24:]),
			Reports: r,
		})
		return msg
	case TypeRR:
		if len(p) < 8 {
			return "receiver report shorter than 8 bytes"
		}
		r, msg := c.readReports(p[8:], count)
		c.RRs = append(c.RRs, RR{SSRC: binary.BigEndian.Uint32(p[4:]), Reports: r})
		return msg
	case TypeSDES:
		return c.sdes(p[headLen:], count)
	case TypeBYE:
		return c.bye(p[headLen:], count)
	case TypeAPP:
		if len(p) < 12 {
			return "APP shorter than 12 bytes"
		}
		c.Apps = append(c.Apps, APP{SSRC: binary.BigEndian.Uint32(p[4:]), Subtype: p[0] & 0x1f, Name: [4]byte(p[8:]), Data: p[12:len(p):len(p)]})
	case TypeRTPFB, TypePSFB:
		if len(p) < 12 {
			return "feedback shorter than 12 bytes"
		}
		c.Feedback = append(c.Feedback, Feedback{feedbackKind(p), p[0] & 0x1f, binary.BigEndian.Uint32(p[4:]), binary.BigEndian.Uint32(p[8:])})
	case TypeXR:
		return c.xr(p)
	default:
		c.Unread++
	}
	return ""
}

func (c *Compound) readReports(b []byte, count int) ([]ReportBlock, string) {
	start := len(c.reports)
	for ; count > 0; count-- {
		if len(b) < reportLen {
			break
		}
		c.reports = append(c.reports, ReportBlock{
			SSRC:         binary.BigEndian.Uint32(b),
			FractionLost: b[4],
			// The shifts carry the sign of the 24-bit field.
			CumulativeLost: int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8,
			HighestSeq:     binary.BigEndian.Uint32(b[8:]),
			Jitter:         binary.BigEndian.Uint32(b[12:]),
			LSR:            binary.BigEndian.Uint32(b[16:]),
			DLSR:           binary.BigEndian.Uint32(b[20:]),
		})
		b = b[reportLen:]
	}
	r := c.reports[start:len(c.reports):len(c.reports)]
	if count > 0 {
		return r, short
	}
	return r, ""
}

const itemCNAME = 1 // RFC 3550, 6.5.1

func (c *Compound) sdes(b []byte, count int) string {
	off := 0
	for ; count > 0; count-- {
		if len(b)-off < 4 {
			return short
		}
		c.Sources = append(c.Sources, SDES{SSRC: binary.BigEndian.Uint32(b[off:])})
		s := &c.Sources[len(c.Sources)-1]
		off += 4
		for {
			if off >= len(b) {
				return "chunk without end"
			}
			if b[off] == 0 {
				// RFC 3550, 6.5: one or more zero bytes up to the next word.
				off = off&^3 + 4
				break
			}
			if len(b)-off < 2 || len(b)-off-2 < int(b[off+1]) {
				return "item runs over the end"
			}
			n := int(b[off+1])
			if b[off] == itemCNAME && s.CNAME == nil {
				s.CNAME = b[off+2 : off+2+n : off+2+n]
			}
			off += 2 + n
		}
	}
	return ""
}

func (c *Compound) bye(b []byte, count int) string {
	start := len(c.ssrcs)
	for ; count > 0 && len(b) >= 4; count-- {
		c.ssrcs = append(c.ssrcs, binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	c.Byes = append(c.Byes, BYE{SSRCs: c.ssrcs[start:len(c.ssrcs):len(c.ssrcs)]})
	if count > 0 {
		return short
	}
	if len(b) > 0 {
		n := int(b[0])
		if n > len(b)-1 {
			return "reason runs over the end"
		}
		if n > 0 {
			c.Byes[len(c.Byes)-1].Reason = b[1 : 1+n : 1+n]
		}
	}
	return ""
}

const blockVoIP = 7 // RFC 3611, 4.7

func (c *Compound) xr(p []byte) string {
	if len(p) < 8 {
		return "extended report shorter than 8 bytes"
	}
	reporter := binary.BigEndian.Uint32(p[4:])
	for b := p[8:]; len(b) > 0; {
		if len(b) < 4 {
			return "report block shorter than 4 bytes"
		}
		size := packetSize(b) // a block's length field works like a packet's
		if size > len(b) {
			return "report block runs over the end"
		}
		switch {
		case b[0] != blockVoIP:
			c.Unread++
		case size < 36:
			return "VoIP metrics shorter than 36 bytes"
		default:
			c.VoIP = append(c.VoIP, VoIPMetrics{
				Reporter:        reporter,
				SSRC:            binary.BigEndian.Uint32(b[4:]),
				LossRate:        b[8],
				DiscardRate:     b[9],
				BurstDensity:    b[10],
				GapDensity:      b[11],
				BurstDuration:   binary.BigEndian.Uint16(b[12:]),
				GapDuration:     binary.BigEndian.Uint16(b[14:]),
				RoundTripDelay:  binary.BigEndian.Uint16(b[16:]),
				EndSystemDelay:  binary.BigEndian.Uint16(b[18:]),
				SignalLevel:     int8(b[20]),
				NoiseLevel:      int8(b[21]),
				RERL:            b[22],
				Gmin:            b[23],
				RFactor:         b[24],
				ExternalRFactor: b[25],
				MOSLQ:           b[26],
				MOSCQ:           b[27],
				RXConfig:        b[28],
				JBNominal:       binary.BigEndian.Uint16(b[30:]),
				JBMaximum:       binary.BigEndian.Uint16(b[32:]),
				JBAbsMax:        binary.BigEndian.Uint16(b[34:]),
			})
		}
		b = b[size:]
	}
	return ""
}
