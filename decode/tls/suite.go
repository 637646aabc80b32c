package tls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

// protection is how a suite protects a record.
type protection uint8

const (
	protNone   protection = iota // NULL: a MAC, no encryption
	protGCM                      // RFC 5288
	protChaCha                   // RFC 7905
	protCCM                      // RFC 6655
	protCCM8
	protAESCBC // RFC 5246, 6.2.3.2
	prot3DES
)

// suite is what of a cipher suite matters to one who has the secret.
type suite struct {
	prot   protection
	key    int // bytes
	mac    func() hash.Hash
	macLen int
	prf    func() hash.Hash // of TLS 1.2 and 1.3
}

var (
	aes128GCM  = suite{protGCM, 16, nil, 0, sha256.New}
	aes256GCM  = suite{protGCM, 32, nil, 0, sha512.New384}
	chaCha     = suite{protChaCha, 32, nil, 0, sha256.New}
	aes128CCM  = suite{protCCM, 16, nil, 0, sha256.New}
	aes256CCM  = suite{protCCM, 32, nil, 0, sha256.New}
	aes128CCM8 = suite{protCCM8, 16, nil, 0, sha256.New}
	aes256CCM8 = suite{protCCM8, 32, nil, 0, sha256.New}

	aes128SHA    = suite{protAESCBC, 16, sha1.New, sha1.Size, sha256.New}
	aes256SHA    = suite{protAESCBC, 32, sha1.New, sha1.Size, sha256.New}
	aes128SHA256 = suite{protAESCBC, 16, sha256.New, sha256.Size, sha256.New}
	aes256SHA256 = suite{protAESCBC, 32, sha256.New, sha256.Size, sha256.New}
	aes256SHA384 = suite{protAESCBC, 32, sha512.New384, sha512.Size384, sha512.New384}
	tripleSHA    = suite{prot3DES, 24, sha1.New, sha1.Size, sha256.New}

	nullMD5    = suite{protNone, 0, md5.New, md5.Size, sha256.New}
	nullSHA    = suite{protNone, 0, sha1.New, sha1.Size, sha256.New}
	nullSHA256 = suite{protNone, 0, sha256.New, sha256.Size, sha256.New}
	nullSHA384 = suite{protNone, 0, sha512.New384, sha512.Size384, sha512.New384}
)

// suiteOf finds a suite by its number in the IANA registry of TLS cipher
// suites; nil when it is not read here.
func suiteOf(id uint16) *suite {
	switch id {
	case 0x1301,
		0x009c, 0x009e, 0x00a0, 0x00a2, 0x00a4, 0x00a6, 0x00a8, 0x00aa, 0x00ac,
		0xc02b, 0xc02d, 0xc02f, 0xc031, 0xd001:
		return &aes128GCM
	case 0x1302,
		0x009d, 0x009f, 0x00a1, 0x00a3, 0x00a5, 0x00a7, 0x00a9, 0x00ab, 0x00ad,
		0xc02c, 0xc02e, 0xc030, 0xc032, 0xd002:
		return &aes256GCM
	case 0x1303, 0xcca8, 0xcca9, 0xccaa, 0xccab, 0xccac, 0xccad, 0xccae:
		return &chaCha
	case 0x1304, 0xc09c, 0xc09e, 0xc0a4, 0xc0a6, 0xc0ac, 0xd005:
		return &aes128CCM
	case 0xc09d, 0xc09f, 0xc0a5, 0xc0a7, 0xc0ad:
		return &aes256CCM
	case 0x1305, 0xc0a0, 0xc0a2, 0xc0a8, 0xc0aa, 0xc0ae, 0xd003:
		return &aes128CCM8
	case 0xc0a1, 0xc0a3, 0xc0a9, 0xc0ab, 0xc0af:
		return &aes256CCM8
	case 0x002f, 0x0030, 0x0031, 0x0032, 0x0033, 0x0034, 0x008c, 0x0090, 0x0094,
		0xc004, 0xc009, 0xc00e, 0xc013, 0xc018, 0xc01d, 0xc01e, 0xc01f, 0xc035:
		return &aes128SHA
	case 0x0035, 0x0036, 0x0037, 0x0038, 0x0039, 0x003a, 0x008d, 0x0091, 0x0095,
		0xc005, 0xc00a, 0xc00f, 0xc014, 0xc019, 0xc020, 0xc021, 0xc022, 0xc036:
		return &aes256SHA
	case 0x003c, 0x003e, 0x003f, 0x0040, 0x0067, 0x006c, 0x00ae, 0x00b2, 0x00b6,
		0xc023, 0xc025, 0xc027, 0xc029, 0xc037:
		return &aes128SHA256
	case 0x003d, 0x0068, 0x0069, 0x006a, 0x006b, 0x006d:
		return &aes256SHA256
	case 0x00af, 0x00b3, 0x00b7, 0xc024, 0xc026, 0xc028, 0xc02a, 0xc038:
		return &aes256SHA384
	case 0x000a, 0x000d, 0x0010, 0x0013, 0x0016, 0x001b, 0x008b, 0x008f, 0x0093,
		0xc003, 0xc008, 0xc00d, 0xc012, 0xc017, 0xc01a, 0xc01b, 0xc01c, 0xc034:
		return &tripleSHA
	case 0x0001:
		return &nullMD5
	case 0x0002, 0x002c, 0x002d, 0x002e, 0xc001, 0xc006, 0xc00b, 0xc010, 0xc015, 0xc039:
		return &nullSHA
	case 0x003b, 0x00b0, 0x00b4, 0x00b8, 0xc03a:
		return &nullSHA256
	case 0x00b1, 0x00b5, 0x00b9, 0xc03b:
		return &nullSHA384
	}
	return nil
}

// keyIsSent tells whether the client sends the pre-master secret, encrypted:
// the suites of TLS_RSA_WITH that are read here.
func keyIsSent(id uint16) bool {
	switch id {
	case 0x000a, 0x002f, 0x0035, 0x003c, 0x003d, 0x009c, 0x009d, 0xc09c, 0xc09d, 0xc0a0, 0xc0a1:
		return true
	}
	return false
}

// suites13 are those of TLS 1.3 for a secret of n bytes: what is tried when
// the ServerHello that names one is missing.
func suites13(n int) []*suite {
	switch n {
	case sha256.Size:
		return []*suite{&aes128GCM, &chaCha, &aes128CCM, &aes128CCM8}
	case sha512.Size384:
		return []*suite{&aes256GCM}
	}
	return nil
}

const version13 = 0x0304

// isTLS13 tells whether a version has the record protection of RFC 8446: the
// last drafts differ only in the number.
func isTLS13(v uint16) bool { return v == version13 || v >= 0x7f1a && v <= 0x7f1c }

// keys protect the records of one direction in one epoch.
type keys struct {
	suite   *suite
	version uint16
	secret  []byte // traffic secret of TLS 1.3, master secret before
	aead    cipher.AEAD
	iv      [16]byte // as much of it as the suite has
	cbc     cbcMode
	block   int // bytes of a block
	mac     hash.Hash
	etm     bool // encrypt-then-MAC, RFC 7366

	// Scratch, here so that nothing of it is allocated for each record.
	nonce [12]byte
	aad   [13]byte
	sum   []byte
}

// cbcMode is the CBC mode of crypto/cipher, which can go on from another IV.
type cbcMode interface {
	cipher.BlockMode
	SetIV([]byte)
}

// newAEAD makes the AEAD of a suite; nil when the key does not fit.
func (s *suite) newAEAD(key []byte) cipher.AEAD {
	if s.prot == protChaCha {
		a, _ := chacha20poly1305.New(key)
		return a
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
	}
	switch s.prot {
	case protCCM:
		return &ccm{block: block, tag: 16}
	case protCCM8:
		return &ccm{block: block, tag: 8}
	}
	a, _ := cipher.NewGCM(block)
	return a
}

// expandLabel is HKDF-Expand-Label without a context, RFC 8446, 7.1.
func expandLabel(h func() hash.Hash, secret []byte, label string, n int) []byte {
	info := make([]byte, 0, 32)
	info = append(info, byte(n>>8), byte(n), byte(6+len(label)))
	info = append(append(info, "tls13 "+label...), 0)
	out, err := hkdf.Expand(h, secret, string(info), n)
	if err != nil {
		return make([]byte, n) // not reached: n is at most 48
	}
	return out
}

// newKeys13 derives the keys of a traffic secret, RFC 8446, 7.3; nil when its
// length is not that of the suite's hash.
func newKeys13(s *suite, secret []byte) *keys {
	if len(secret) != s.prf().Size() {
		return nil
	}
	k := &keys{suite: s, version: version13, secret: secret}
	k.aead = s.newAEAD(expandLabel(s.prf, secret, "key", s.key))
	copy(k.iv[:], expandLabel(s.prf, secret, "iv", 12))
	return k
}

// update gives the keys after a KeyUpdate, RFC 8446, 7.2.
func (k *keys) update() *keys {
	return newKeys13(k.suite, expandLabel(k.suite.prf, k.secret, "traffic upd", len(k.secret)))
}

// prf12 is the PRF of a version before TLS 1.3 (RFC 5246, 5; RFC 2246, 5).
func prf12(version uint16, s *suite, secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	out := make([]byte, n)
	if version >= 0x0303 {
		pHash(out, s.prf, secret, seed)
		return out
	}
	half := (len(secret) + 1) / 2
	pHash(out, md5.New, secret[:half], seed)
	other := make([]byte, n)
	pHash(other, sha1.New, secret[len(secret)-half:], seed)
	subtle.XORBytes(out, out, other)
	return out
}

// pHash is P_hash, RFC 5246, 5.
func pHash(out []byte, h func() hash.Hash, secret, seed []byte) {
	m := hmac.New(h, secret)
	m.Write(seed)
	a := m.Sum(nil)
	for len(out) > 0 {
		m.Reset()
		m.Write(a)
		m.Write(seed)
		out = out[copy(out, m.Sum(nil)):]
		m.Reset()
		m.Write(a)
		a = m.Sum(nil)
	}
}

// newKeys12 derives the keys of both directions from a master secret, RFC
// 5246, 6.3: first those of the client.
func newKeys12(version uint16, s *suite, master, clientRandom, serverRandom []byte, etm bool) (pair [2]*keys) {
	ivLen := 0
	switch s.prot {
	case protGCM, protCCM, protCCM8:
		ivLen = 4
	case protChaCha:
		ivLen = 12
	case protAESCBC:
		if version < 0x0302 {
			ivLen = 16
		}
	case prot3DES:
		if version < 0x0302 {
			ivLen = 8
		}
	}
	seed := append(append([]byte(nil), serverRandom...), clientRandom...)
	block := prf12(version, s, master, "key expansion", seed, 2*(s.macLen+s.key+ivLen))
	take := func(n int) []byte {
		b := block[:n:n]
		block = block[n:]
		return b
	}
	var macs, ks, ivs [2][]byte
	for _, part := range []struct {
		to *[2][]byte
		n  int
	}{{&macs, s.macLen}, {&ks, s.key}, {&ivs, ivLen}} {
		for i := range part.to {
			part.to[i] = take(part.n)
		}
	}
	for i := range pair {
		k := &keys{suite: s, version: version, secret: master, etm: etm}
		copy(k.iv[:], ivs[i])
		switch s.prot {
		case protNone:
		case protAESCBC, prot3DES:
			newBlock := aes.NewCipher
			if s.prot == prot3DES {
				newBlock = des.NewTripleDESCipher
			}
			b, err := newBlock(ks[i])
			if err != nil {
				return [2]*keys{}
			}
			k.block = b.BlockSize()
			k.cbc = cipher.NewCBCDecrypter(b, k.iv[:k.block]).(cbcMode)
			k.mac = hmac.New(s.mac, macs[i])
		default:
			k.aead = s.newAEAD(ks[i])
		}
		pair[i] = k
	}
	return pair
}

// open opens a record of which hdr is the header, as the seq-th of its epoch,
// into dst, which must be long enough and apart from the payload. prev is the
// end of the record before, for TLS 1.0; nil when it is not known.
// Nothing is given unless it authenticates.
func (k *keys) open(dst, hdr, payload []byte, seq uint64, prev []byte) (typ uint8, plain []byte, ok bool) {
	switch {
	case k.suite.prot == protNone:
		n := len(payload) - k.suite.macLen
		if n < 0 {
			return 0, nil, false
		}
		return hdr[0], dst[:copy(dst, payload[:n])], true
	case k.aead == nil:
		return k.openCBC(dst, hdr, payload, seq, prev)
	case isTLS13(k.version):
		k.xorNonce(seq)
		plain, err := k.aead.Open(dst[:0], k.nonce[:], payload, hdr[:recordHead])
		if err != nil {
			return 0, nil, false
		}
		// RFC 8446, 5.4: the type is the last byte that is not zero.
		for n := len(plain) - 1; n >= 0; n-- {
			if plain[n] != 0 {
				return plain[n], plain[:n], true
			}
		}
		return 0, nil, false
	}
	if k.suite.prot == protChaCha {
		k.xorNonce(seq)
	} else {
		if len(payload) < 8 {
			return 0, nil, false
		}
		copy(k.nonce[:4], k.iv[:4])
		copy(k.nonce[4:], payload)
		payload = payload[8:]
	}
	n := len(payload) - k.aead.Overhead()
	if n < 0 {
		return 0, nil, false
	}
	plain, err := k.aead.Open(dst[:0], k.nonce[:], payload, k.header(hdr, seq, n))
	return hdr[0], plain, err == nil
}

func (k *keys) xorNonce(seq uint64) {
	copy(k.nonce[:], k.iv[:])
	binary.BigEndian.PutUint64(k.nonce[4:], binary.BigEndian.Uint64(k.nonce[4:])^seq)
}

// header makes what is authenticated beside n bytes, RFC 5246, 6.2.3.3.
func (k *keys) header(hdr []byte, seq uint64, n int) []byte {
	binary.BigEndian.PutUint64(k.aad[:], seq)
	copy(k.aad[8:11], hdr)
	binary.BigEndian.PutUint16(k.aad[11:], uint16(n))
	return k.aad[:]
}

func (k *keys) openCBC(dst, hdr, payload []byte, seq uint64, prev []byte) (typ uint8, plain []byte, ok bool) {
	size := k.suite.macLen
	if k.etm {
		// RFC 7366, 3: the MAC is over the IV and the ciphertext.
		n := len(payload) - size
		if n < 0 || !k.macIs(payload[n:], hdr, payload[:n], seq) {
			return 0, nil, false
		}
		payload = payload[:n]
	}
	var iv []byte
	switch n := len(prev); {
	case !k.chained():
		if len(payload) < k.block {
			return 0, nil, false
		}
		iv, payload = payload[:k.block], payload[k.block:]
	case seq == 0:
		iv = k.iv[:k.block] // RFC 2246, 6.2.3.2
	default:
		if k.etm {
			n -= size
		}
		if n >= k.block {
			iv = prev[n-k.block : n]
		}
	}
	if len(payload) == 0 || len(payload)%k.block != 0 || len(iv) != k.block {
		return 0, nil, false
	}
	k.cbc.SetIV(iv)
	plain = dst[:len(payload)]
	k.cbc.CryptBlocks(plain, payload)
	pad := plain[len(plain)-1]
	n := len(plain) - int(pad) - 1
	if n < 0 {
		return 0, nil, false
	}
	for _, b := range plain[n:] {
		if b != pad {
			return 0, nil, false
		}
	}
	if !k.etm {
		if n -= size; n < 0 || !k.macIs(plain[n:n+size], hdr, plain[:n], seq) {
			return 0, nil, false
		}
	}
	return hdr[0], plain[:n], true
}

// chained tells that a record needs the end of the one before, unless it is the
// first: TLS 1.0 with CBC.
func (k *keys) chained() bool { return k.cbc != nil && k.version < 0x0302 }

func (k *keys) macIs(want, hdr, b []byte, seq uint64) bool {
	k.mac.Reset()
	k.mac.Write(k.header(hdr, seq, len(b)))
	k.mac.Write(b)
	k.sum = k.mac.Sum(k.sum[:0])
	return bytes.Equal(k.sum, want)
}

var errOpen = errors.New("tls: the record does not authenticate")

// ccm is AES in CCM mode with a nonce of 12 bytes, RFC 3610 and RFC 6655, 3.
type ccm struct {
	block cipher.Block
	tag   int

	ctr, pad, x [16]byte
}

func (c *ccm) NonceSize() int { return 12 }
func (c *ccm) Overhead() int  { return c.tag }

// sum leaves the CBC-MAC in c.x.
func (c *ccm) sum(nonce, plain, aad []byte) {
	c.x = [16]byte{byte((c.tag-2)/2<<3 | 2)} // RFC 3610, 2.2: three bytes of length
	if len(aad) > 0 {
		c.x[0] |= 1 << 6
	}
	copy(c.x[1:13], nonce)
	c.x[13], c.x[14], c.x[15] = byte(len(plain)>>16), byte(len(plain)>>8), byte(len(plain))
	c.block.Encrypt(c.x[:], c.x[:])
	if len(aad) > 0 {
		c.x[0] ^= byte(len(aad) >> 8)
		c.x[1] ^= byte(len(aad))
		n := subtle.XORBytes(c.x[2:], c.x[2:], aad)
		c.block.Encrypt(c.x[:], c.x[:])
		c.mix(aad[n:])
	}
	c.mix(plain)
}

func (c *ccm) mix(b []byte) {
	for len(b) > 0 {
		b = b[subtle.XORBytes(c.x[:], c.x[:], b):]
		c.block.Encrypt(c.x[:], c.x[:])
	}
}

// stream leaves the keystream of block i in c.pad.
func (c *ccm) stream(nonce []byte, i int) {
	c.ctr[0] = 2
	copy(c.ctr[1:13], nonce)
	c.ctr[13], c.ctr[14], c.ctr[15] = byte(i>>16), byte(i>>8), byte(i)
	c.block.Encrypt(c.pad[:], c.ctr[:])
}

func (c *ccm) xor(dst, src, nonce []byte) {
	for i := 1; len(src) > 0; i++ {
		c.stream(nonce, i)
		n := subtle.XORBytes(dst, src, c.pad[:])
		dst, src = dst[n:], src[n:]
	}
}

func (c *ccm) Seal(dst, nonce, plain, aad []byte) []byte {
	c.sum(nonce, plain, aad)
	tag := c.x
	n := len(dst)
	dst = append(dst, plain...)
	c.xor(dst[n:], plain, nonce)
	c.stream(nonce, 0)
	subtle.XORBytes(tag[:], tag[:], c.pad[:])
	return append(dst, tag[:c.tag]...)
}

func (c *ccm) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < c.tag {
		return nil, errOpen
	}
	n := len(sealed) - c.tag
	off := len(dst)
	dst = append(dst, sealed[:n]...)
	c.xor(dst[off:], sealed[:n], nonce)
	c.sum(nonce, dst[off:], aad)
	c.stream(nonce, 0)
	subtle.XORBytes(c.x[:], c.x[:], c.pad[:])
	if !bytes.Equal(c.x[:c.tag], sealed[n:]) {
		clear(dst[off:])
		return nil, errOpen
	}
	return dst, nil
}
