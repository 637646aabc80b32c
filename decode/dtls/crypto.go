package dtls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"
)

const masterLen = 48 // RFC 5246, 8.1

// kind is a way of record protection; 0 is none that is supported.
type kind uint8

const (
	kindGCM    kind = iota + 1 // RFC 5288, 3
	kindChaCha                 // RFC 7905, 2
	kindCBC                    // RFC 5246, 6.2.3.2
	kindCCM                    // RFC 6655, 3
)

// suite is what a cipher suite says, apart from its key exchange.
type suite struct {
	kind   kind
	key    int              // bytes
	mac    func() hash.Hash // of CBC
	tag    int              // bytes, of CCM
	prf384 bool             // SHA-384 instead of SHA-256, RFC 5246, 5
}

// suiteOf finds a cipher suite by its IANA number; kind is 0 when it is not
// supported.
func suiteOf(n uint16) suite {
	switch n {
	case 0x009c, 0x009e, 0x00a0, 0x00a2, 0x00a4, 0x00a6, 0x00a8, 0x00aa, 0x00ac, // RFC 5288, RFC 5487
		0xc02b, 0xc02d, 0xc02f, 0xc031, 0xd001: // RFC 5289, RFC 8442
		return suite{kind: kindGCM, key: 16}
	case 0x009d, 0x009f, 0x00a1, 0x00a3, 0x00a5, 0x00a7, 0x00a9, 0x00ab, 0x00ad,
		0xc02c, 0xc02e, 0xc030, 0xc032, 0xd002:
		return suite{kind: kindGCM, key: 32, prf384: true}
	case 0xcca8, 0xcca9, 0xccaa, 0xccab, 0xccac, 0xccad, 0xccae: // RFC 7905
		return suite{kind: kindChaCha, key: 32}
	case 0x002f, 0x0030, 0x0031, 0x0032, 0x0033, 0x0034, 0x008c, 0x0090, 0x0094, // RFC 5246, RFC 4279
		0xc004, 0xc009, 0xc00e, 0xc013, 0xc018, 0xc035: // RFC 8422, RFC 5489
		return suite{kind: kindCBC, key: 16, mac: sha1.New}
	case 0x0035, 0x0036, 0x0037, 0x0038, 0x0039, 0x003a, 0x008d, 0x0091, 0x0095,
		0xc005, 0xc00a, 0xc00f, 0xc014, 0xc019, 0xc036:
		return suite{kind: kindCBC, key: 32, mac: sha1.New}
	case 0x003c, 0x003e, 0x003f, 0x0040, 0x0067, 0x006c, 0x00ae, 0x00b2, 0x00b6, // RFC 5246, RFC 5487
		0xc023, 0xc025, 0xc027, 0xc029, 0xc037:
		return suite{kind: kindCBC, key: 16, mac: sha256.New}
	case 0x003d, 0x0068, 0x0069, 0x006a, 0x006b, 0x006d:
		return suite{kind: kindCBC, key: 32, mac: sha256.New}
	case 0x00af, 0x00b3, 0x00b7, 0xc024, 0xc026, 0xc028, 0xc02a, 0xc038:
		return suite{kind: kindCBC, key: 32, mac: sha512.New384, prf384: true}
	case 0xc09c, 0xc09e, 0xc0a4, 0xc0a6, 0xc0ac: // RFC 6655, RFC 7251
		return suite{kind: kindCCM, key: 16, tag: 16}
	case 0xc09d, 0xc09f, 0xc0a5, 0xc0a7, 0xc0ad:
		return suite{kind: kindCCM, key: 32, tag: 16}
	case 0xc0a0, 0xc0a2, 0xc0a8, 0xc0aa, 0xc0ae, 0xc0ff: // and EC-JPAKE, which IANA does not have
		return suite{kind: kindCCM, key: 16, tag: 8}
	case 0xc0a1, 0xc0a3, 0xc0a9, 0xc0ab, 0xc0af:
		return suite{kind: kindCCM, key: 32, tag: 8}
	}
	return suite{}
}

// prf is the pseudorandom function of RFC 5246, 5, or of RFC 4346, 5 in DTLS
// 1.0.
func (s suite) prf(version uint16, secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	switch {
	case version == Version10:
		half := (len(secret) + 1) / 2
		out := pHash(md5.New, secret[:half], seed, n)
		for i, b := range pHash(sha1.New, secret[len(secret)-half:], seed, n) {
			out[i] ^= b
		}
		return out
	case s.prf384:
		return pHash(sha512.New384, secret, seed, n)
	}
	return pHash(sha256.New, secret, seed, n)
}

// pHash is P_hash of RFC 5246, 5.
func pHash(h func() hash.Hash, secret, seed []byte, n int) []byte {
	mac := hmac.New(h, secret)
	a := seed
	var out []byte
	for len(out) < n {
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(nil)
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		out = mac.Sum(out)
	}
	return out[:n]
}

// opens tells whether a record of epoch 1 is genuine under a master secret.
func (s suite) opens(hs *handshake, secret []byte, fromClient bool, p *protected) bool {
	macLen, ivLen := 0, 4
	switch s.kind {
	case kindCBC:
		macLen, ivLen = s.mac().Size(), 0 // the records bring their own IV, RFC 4346, 6.2.3.2
	case kindChaCha:
		ivLen = chacha20poly1305.NonceSize
	}
	// RFC 5246, 6.3: the client's and the server's of each.
	seed := append(append([]byte{}, hs.serverRandom[:]...), hs.clientRandom[:]...)
	block := s.prf(hs.version, secret, "key expansion", seed, 2*(macLen+s.key+ivLen))
	take := func(n int) []byte {
		pair := block[:2*n]
		block = block[2*n:]
		if fromClient {
			return pair[:n]
		}
		return pair[n:]
	}
	mac, key, iv := take(macLen), take(s.key), take(ivLen)

	if s.kind == kindChaCha {
		aead, err := chacha20poly1305.New(key)
		if err != nil {
			return false
		}
		nonce := bytes.Clone(iv)
		for i, b := range p.head[3:11] { // epoch and sequence number
			nonce[4+i] ^= b
		}
		return opensAEAD(aead, nonce, p.head, p.body)
	}
	c, err := aes.NewCipher(key)
	if err != nil {
		return false
	}
	if s.kind == kindCBC {
		return opensCBC(c, hmac.New(s.mac, mac), hs.etm, p.head, p.body)
	}
	if len(p.body) < 8 {
		return false
	}
	if s.kind == kindCCM {
		return opensCCM(c, s.tag, append(iv, p.body[:8]...), p.head, p.body[8:])
	}
	aead, err := cipher.NewGCM(c)
	if err != nil {
		return false
	}
	return opensAEAD(aead, append(iv, p.body[:8]...), p.head, p.body[8:])
}

// pseudo is what a MAC takes in before the text of n bytes: epoch, sequence
// number, type, version and length (RFC 5246, 6.2.3.1; RFC 6347, 4.1.2.1).
func pseudo(head [recordHead]byte, n int) []byte {
	b := append(append([]byte{}, head[3:11]...), head[:3]...)
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

func opensAEAD(a cipher.AEAD, nonce []byte, head [recordHead]byte, sealed []byte) bool {
	if len(sealed) < a.Overhead() {
		return false
	}
	_, err := a.Open(nil, nonce, sealed, pseudo(head, len(sealed)-a.Overhead()))
	return err == nil
}

// opensCCM checks a record sealed with AES-CCM, RFC 3610, 2.2 to 2.5, with a
// nonce of 12 bytes and so a length field of three.
func opensCCM(c cipher.Block, tag int, nonce []byte, head [recordHead]byte, sealed []byte) bool {
	const size = aes.BlockSize
	n := len(sealed) - tag
	if n < 0 {
		return false
	}
	counter := append(append([]byte{2}, nonce...), 0, 0, 0)
	stream := cipher.NewCTR(c, counter)
	first := make([]byte, size) // covers the tag
	stream.XORKeyStream(first, first)
	text := make([]byte, n)
	stream.XORKeyStream(text, sealed[:n])

	b := append([]byte{0x40 | byte(tag-2)/2<<3 | 2}, nonce...)
	b = append(b, byte(n>>16), byte(n>>8), byte(n))
	aad := pseudo(head, n)
	b = append(append(b, 0, byte(len(aad))), aad...)
	b = append(b, make([]byte, -len(b)&(size-1))...)
	b = append(b, text...)
	b = append(b, make([]byte, -len(b)&(size-1))...)
	mac := make([]byte, size)
	for ; len(b) > 0; b = b[size:] {
		subtle.XORBytes(mac, mac, b[:size])
		c.Encrypt(mac, mac)
	}
	subtle.XORBytes(mac, mac, first)
	return hmac.Equal(mac[:tag], sealed[n:])
}

// opensCBC checks a record of RFC 5246, 6.2.3.2 or, with etm, of RFC 7366, 3.
func opensCBC(c cipher.Block, mac hash.Hash, etm bool, head [recordHead]byte, body []byte) bool {
	const block = aes.BlockSize
	size := mac.Size()
	if etm {
		n := len(body) - size
		if n < 2*block || n%block != 0 {
			return false
		}
		mac.Write(pseudo(head, n))
		mac.Write(body[:n])
		return hmac.Equal(mac.Sum(nil), body[n:])
	}
	if len(body) < 2*block || len(body)%block != 0 {
		return false
	}
	text := bytes.Clone(body[block:])
	cipher.NewCBCDecrypter(c, body[:block]).CryptBlocks(text, text)
	padding := int(text[len(text)-1]) + 1
	n := len(text) - padding - size
	if n < 0 {
		return false
	}
	mac.Write(pseudo(head, n))
	mac.Write(text[:n])
	return hmac.Equal(mac.Sum(nil), text[n:n+size])
}

// exportSRTP derives the keys of RFC 5764, 4.2.
func exportSRTP(hs *handshake, secret []byte) keys {
	key, salt := srtpLen(hs.profile)
	if key == 0 {
		return keys{profile: hs.profile}
	}
	// RFC 5705, 4, without a context.
	seed := append(append([]byte{}, hs.clientRandom[:]...), hs.serverRandom[:]...)
	b := suiteOf(hs.suite).prf(hs.version, secret, "EXTRACTOR-dtls_srtp", seed, 2*(key+salt))
	return keys{
		profile:    hs.profile,
		clientKey:  b[:key:key],
		serverKey:  b[key : 2*key : 2*key],
		clientSalt: b[2*key : 2*key+salt : 2*key+salt],
		serverSalt: b[2*key+salt:],
	}
}

// srtpLen gives the lengths of a profile's master key and salt, RFC 5764,
// 4.1.2 and RFC 7714, 14.2.
func srtpLen(profile uint16) (key, salt int) {
	switch profile {
	case 1, 2, 5, 6:
		return 16, 14
	case 7:
		return 16, 12
	case 8:
		return 32, 12
	}
	return 0, 0
}
