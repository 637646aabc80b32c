// Package srtp authenticates and decrypts SRTP and SRTCP packets whose master
// key is known.
//
// Sources: RFC 3711 (the transforms, the packet index and key derivation),
// RFC 7714 (AES-GCM), RFC 6188 (AES-192 and AES-256 in counter mode), RFC 5764
// section 4.1.2 (numbers of the protection profiles), RFC 4568 sections 6 and
// 9 (suite names and key parameters of SDP).
//
// Units: lengths are bytes; a rollover counter (ROC) counts wraps of the
// 16-bit sequence number.
//
// Aliasing: a returned packet is written to the dst that was passed, or to new
// memory where that is too small; dst and the input must not overlap.
//
// No byte leaves this package unless its packet's tag was right under the
// key. A capture may hold a packet twice or late, so there is no replay
// protection. Where a stream is met after its sequence number has wrapped, its
// ROC is found by trying values below 2^12 against the tag of its first
// packets. A four-byte tag fits one key in 2^32 by chance, so a ROC above 1
// that was found with one counts only when the next packet agrees: the packet
// it was found with is then reported as BadTag.
//
// Bounds: 4,096 sources and 64 searches a Context.
//
// Not handled: encrypted header extensions (RFC 6904; those elements stay
// ciphertext), the packets of RFC 9335 that encrypt extensions and
// contributing sources as a whole (reported as Unsupported), key derivation
// rates other than 0, several master keys told apart by MKI, F8, SEED and
// ARIA, double encryption (RFC 8723), EKT.
//
// Only what one master key protects may enter here: where keys come from and
// which packets they belong to is the caller's.
package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
)

const (
	rtpHead  = 12 // RFC 3550, 5.1
	rtcpHead = 8  // RFC 3711, 3.4: the part of the first packet that stays clear

	gcmTag     = 16 // RFC 7714, 13.2
	rtcpHMAC   = 10 // RFC 5764, 4.1.2 and RFC 4568, 6.2: also where SRTP has four
	rtcpIndex  = 4  // the E bit and 31 bits of index, RFC 3711, 3.4
	encrypted  = 1 << 31
	authKeyLen = 20 // RFC 3711, 8.2

	// Header extension profiles that announce RFC 9335, 4.
	cryptexOneByte = 0xc0de
	cryptexTwoByte = 0xc2de
)

const (
	rocSearch     = 1 << 12
	maxSearches   = 64
	maxSources    = 4096
	recentSources = 16
	maxMKI        = 128 // RFC 4568, 9.2
)

// Result is what became of a packet. New results may be added.
type Result uint8

// The results.
const (
	ResultBad   Result = iota
	Decrypted          // the tag was right
	BadTag             // wrong key, damage, or no SRTP
	Cut                // the snap length cut the tag off
	Malformed          // too short, another version, or a header that does not fit
	Unsupported        // RFC 9335
)

func (r Result) String() string {
	switch r {
	case Decrypted:
		return "decrypted"
	case BadTag:
		return "bad tag"
	case Cut:
		return "cut"
	case Malformed:
		return "malformed"
	case Unsupported:
		return "unsupported"
	}
	return "bad"
}

// Context is what one master key opens: the packets of all sources that one
// side of a session sends. It is not for concurrent use.
type Context struct {
	// MKILen is the length of the master key identifier that each packet
	// carries, RFC 3711, 3.1. It is passed over unread.
	MKILen int

	tag     int // of an SRTP packet with HMAC
	rtp     session
	rtcp    session
	last    *source
	sources map[uint32]*source // those of which a packet was authenticated
	recent  [recentSources]source
	next    int // in recent
	tries   int // searches done

	// Scratch that would be allocated a packet if it were local.
	nonce [12]byte
	iv    [aes.BlockSize]byte
	key   [aes.BlockSize]byte // key stream
	sum   [sha1.Size]byte
	tail  [4]byte
	aad   []byte
}

// session holds the session keys of one packet type, RFC 3711, 3.2.1.
type session struct {
	block cipher.Block // counter mode; nil for NULL
	mac   hash.Hash    // nil for GCM
	gcm   cipher.AEAD
	salt  [14]byte // GCM: the first 12
}

// source is the receiver's state of one SSRC, RFC 3711, 3.2.1.
type source struct {
	ssrc  uint32
	roc   uint32
	seq   uint16 // highest received, s_l
	known bool   // a packet was authenticated
	kept  bool   // in Context.sources
	maybe bool   // roc was found with a short tag and awaits a second packet
	fails int    // since the last authenticated packet
}

// NewContext derives the session keys from a master key and salt.
func NewContext(p Profile, key, salt []byte) (*Context, error) {
	s := p.spec()
	if s.key == 0 {
		return nil, fmt.Errorf("srtp: profile %d is not supported", p)
	}
	if len(key) != s.key || len(salt) != s.salt {
		return nil, fmt.Errorf("srtp: %s: want a key of %d bytes and a salt of %d, have %d and %d", p, s.key, s.salt, len(key), len(salt))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("srtp: %s: %w", p, err)
	}
	c := &Context{tag: s.tag, sources: make(map[uint32]*source)}
	// Labels, RFC 3711, 4.3.1 and 4.3.2.
	for i, dst := range [...]*session{&c.rtp, &c.rtcp} {
		label := byte(3 * i)
		cipherKey, authKey, sessionSalt := make([]byte, s.key), make([]byte, authKeyLen), make([]byte, s.salt)
		derive(block, salt, label, cipherKey)
		derive(block, salt, label+1, authKey)
		derive(block, salt, label+2, sessionSalt)
		if err := dst.set(s, cipherKey, authKey, sessionSalt); err != nil {
			return nil, fmt.Errorf("srtp: %s: %w", p, err)
		}
	}
	return c, nil
}

// set makes the ciphers of session keys.
func (s *session) set(p spec, cipherKey, authKey, salt []byte) error {
	copy(s.salt[:], salt)
	block, err := aes.NewCipher(cipherKey)
	switch {
	case err != nil:
		return err
	case p.gcm:
		s.gcm, err = cipher.NewGCM(block)
		return err
	case !p.null:
		s.block = block
	}
	s.mac = hmac.New(sha1.New, authKey)
	return nil
}

// derive fills dst with the key stream that RFC 3711, 4.3.3 takes session keys
// from, at a key derivation rate of 0. A salt of 12 bytes counts as if two
// zero bytes followed (RFC 7714, 11).
func derive(block cipher.Block, salt []byte, label byte, dst []byte) {
	var iv [aes.BlockSize]byte
	copy(iv[:14], salt)
	iv[7] ^= label
	cipher.NewCTR(block, iv[:]).XORKeyStream(dst, dst)
}

// Packet authenticates and decrypts the captured bytes b of an SRTP packet
// that was wireLen bytes long. plain is the RTP packet without MKI and tag; it
// is nil unless the result is Decrypted.
func (c *Context) Packet(b []byte, wireLen int, dst []byte) (plain []byte, r Result) {
	if wireLen > len(b) {
		return nil, Cut
	}
	head := headerLen(b)
	mki := c.mki()
	if head == 0 || len(b) < head+mki+c.tagLen() {
		return nil, Malformed
	}
	if b[0]&0x10 != 0 {
		at := rtpHead + 4*int(b[0]&0x0f)
		if p := binary.BigEndian.Uint16(b[at:]); p == cryptexOneByte || p == cryptexTwoByte {
			return nil, Unsupported
		}
	}
	seq := binary.BigEndian.Uint16(b[2:])
	s := c.source(binary.BigEndian.Uint32(b[8:]))

	roc := s.guess(seq)
	if plain, ok := c.try(b, head, mki, roc, dst); ok {
		c.authenticated(s, roc, seq)
		return plain, Decrypted
	}
	if s.fails++; s.known || s.maybe {
		// A gap of more than half the sequence space, or more, RFC 3711, 3.3.1.
		for _, near := range [...]uint32{roc + 1, roc - 1} {
			if plain, ok := c.try(b, head, mki, near, dst); ok {
				c.authenticated(s, near, seq)
				return plain, Decrypted
			}
		}
	}
	if !s.due() || c.tries == maxSearches {
		return nil, BadTag
	}
	c.tries++
	for roc := range uint32(rocSearch) {
		plain, ok := c.try(b, head, mki, roc, dst)
		if !ok {
			continue
		}
		if roc > 1 && c.rtp.gcm == nil && c.tag < rtcpHMAC {
			s.roc, s.seq, s.maybe = roc, seq, true
			clear(plain)
			return nil, BadTag
		}
		c.authenticated(s, roc, seq)
		return plain, Decrypted
	}
	return nil, BadTag
}

// Control authenticates and decrypts the captured bytes b of an SRTCP compound
// packet that was wireLen bytes long. plain is the RTCP compound packet; it is
// nil unless the result is Decrypted.
func (c *Context) Control(b []byte, wireLen int, dst []byte) (plain []byte, r Result) {
	if wireLen > len(b) {
		return nil, Cut
	}
	s, mki := &c.rtcp, c.mki()
	tag := rtcpHMAC
	if s.gcm != nil {
		tag = gcmTag
	}
	if len(b) < rtcpHead+tag+rtcpIndex+mki || b[0]>>6 != 2 {
		return nil, Malformed
	}
	ssrc := binary.BigEndian.Uint32(b[4:])
	if s.gcm != nil { // RFC 7714, 9.2: the tag, then the index, then the MKI
		end := len(b) - mki - rtcpIndex
		word := binary.BigEndian.Uint32(b[end:])
		c.nonceOf(s, ssrc, 0, word&^encrypted)
		c.aad = append(c.aad[:0], b[:rtcpHead]...)
		sealed, out := b[rtcpHead:end], append(dst[:0], b[:rtcpHead]...)
		if word&encrypted == 0 { // RFC 7714, 9.3: everything is associated data
			c.aad = append(c.aad[:0], b[:end-tag]...)
			sealed, out = b[end-tag:end], append(dst[:0], b[:end-tag]...)
		}
		c.aad = append(c.aad, b[end:end+rtcpIndex]...)
		plain, err := s.gcm.Open(out, c.nonce[:], sealed, c.aad)
		if err != nil {
			return nil, BadTag
		}
		return plain, Decrypted
	}
	end := len(b) - tag - mki - rtcpIndex // RFC 3711, 3.4: the index, the MKI, then the tag
	s.mac.Reset()
	s.mac.Write(b[:end+rtcpIndex])
	if subtle.ConstantTimeCompare(s.mac.Sum(c.sum[:0])[:tag], b[len(b)-tag:]) == 0 {
		return nil, BadTag
	}
	word := binary.BigEndian.Uint32(b[end:])
	plain = append(dst[:0], b[:end]...)
	if word&encrypted != 0 && s.block != nil {
		c.counterMode(s, ssrc, uint64(word&^encrypted), plain[rtcpHead:])
	}
	return plain, Decrypted
}

// try opens a packet under the assumption of a ROC.
func (c *Context) try(b []byte, head, mki int, roc uint32, dst []byte) ([]byte, bool) {
	s := &c.rtp
	ssrc, seq := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[2:])
	if s.gcm != nil {
		c.nonceOf(s, ssrc, roc>>16, roc<<16|uint32(seq))
		plain, err := s.gcm.Open(append(dst[:0], b[:head]...), c.nonce[:], b[head:len(b)-mki], b[:head])
		return plain, err == nil
	}
	end := len(b) - c.tag - mki
	binary.BigEndian.PutUint32(c.tail[:], roc)
	s.mac.Reset()
	s.mac.Write(b[:end])
	s.mac.Write(c.tail[:])
	if subtle.ConstantTimeCompare(s.mac.Sum(c.sum[:0])[:c.tag], b[len(b)-c.tag:]) == 0 {
		return nil, false
	}
	plain := append(dst[:0], b[:end]...)
	if s.block != nil {
		c.counterMode(s, ssrc, uint64(roc)<<16|uint64(seq), plain[head:])
	}
	return plain, true
}

// nonceOf makes the initialization vector of RFC 7714, 8.1 and 9.1: SSRC and a
// 48-bit number that ends it, in two parts.
func (c *Context) nonceOf(s *session, ssrc, high, low uint32) {
	n := &c.nonce
	n[0], n[1] = 0, 0
	binary.BigEndian.PutUint32(n[2:], ssrc)
	binary.BigEndian.PutUint16(n[6:], uint16(high))
	binary.BigEndian.PutUint32(n[8:], low)
	for i := range n {
		n[i] ^= s.salt[i]
	}
}

// counterMode decrypts b in place, RFC 3711, 4.1.1. cipher.NewCTR would
// allocate for each packet.
func (c *Context) counterMode(s *session, ssrc uint32, index uint64, b []byte) {
	iv := &c.iv
	copy(iv[:], s.salt[:])
	binary.BigEndian.PutUint32(iv[4:], binary.BigEndian.Uint32(iv[4:])^ssrc)
	binary.BigEndian.PutUint64(iv[8:], (binary.BigEndian.Uint64(iv[8:])^index<<16)&^0xffff)
	for n := uint16(0); len(b) > 0; n++ {
		binary.BigEndian.PutUint16(iv[14:], n)
		s.block.Encrypt(c.key[:], iv[:])
		b = b[subtle.XORBytes(b, b, c.key[:]):]
	}
}

// headerLen is the length of the part that stays clear, RFC 3711, 3.1; 0 when
// b holds no such header.
func headerLen(b []byte) int {
	if len(b) < rtpHead || b[0]>>6 != 2 {
		return 0
	}
	n := rtpHead + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return 0
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	if len(b) < n {
		return 0
	}
	return n
}

func (c *Context) mki() int { return min(max(c.MKILen, 0), maxMKI) }

func (c *Context) tagLen() int {
	if c.rtp.gcm != nil {
		return gcmTag
	}
	return c.tag
}

// source finds the state of an SSRC, or makes one in place of the oldest that
// never had an authenticated packet.
func (c *Context) source(ssrc uint32) *source {
	if c.last != nil && c.last.ssrc == ssrc {
		return c.last
	}
	s := c.sources[ssrc]
	if s == nil {
		i := slices.IndexFunc(c.recent[:], func(s source) bool { return s.ssrc == ssrc && (s.known || s.fails > 0) })
		if i < 0 {
			i = c.next
			c.next = (c.next + 1) % recentSources
			c.recent[i] = source{ssrc: ssrc}
		}
		return &c.recent[i]
	}
	c.last = s
	return s
}

// authenticated takes a packet into a source's state.
func (c *Context) authenticated(s *source, roc uint32, seq uint16) {
	if !s.known || roc > s.roc || roc == s.roc && seq > s.seq || s.fails >= lostAfter {
		s.roc, s.seq = roc, seq
	}
	s.known, s.maybe, s.fails = true, false, 0
	if !s.kept && len(c.sources) < maxSources {
		kept := *s
		kept.kept = true
		c.sources[s.ssrc], c.last = &kept, &kept
		*s = source{}
	}
}

// lostAfter is the number of packets in a row that fail before a known source
// is taken to have started again.
const lostAfter = 8

// guess estimates the ROC of a packet, RFC 3711, 3.3.1 and appendix A.
func (s *source) guess(seq uint16) uint32 {
	if !s.known && !s.maybe {
		return 0
	}
	index := int64(s.roc)<<16 + int64(s.seq) + int64(int16(seq-s.seq))
	return uint32(max(0, index) >> 16)
}

// due tells whether a failure is one at which to search for the ROC: the first
// two packets of a source and, should both be damaged, a later one; of a known
// source only when it fails for good.
func (s *source) due() bool {
	if s.known {
		return s.fails == lostAfter || s.fails == 8*lostAfter
	}
	return s.fails <= 2 || s.fails == 16
}
