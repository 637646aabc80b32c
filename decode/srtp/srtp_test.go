package srtp

import (
	"bytes"
	"crypto/aes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// session makes a Context of session keys, as the RFCs' examples give them.
func fromSession(t testing.TB, p Profile, cipherKey, authKey, salt []byte) *Context {
	t.Helper()
	c := &Context{tag: p.spec().tag, sources: map[uint32]*source{}}
	for _, s := range [...]*session{&c.rtp, &c.rtcp} {
		if err := s.set(p.spec(), cipherKey, authKey, salt); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// TestKeyStream has RFC 3711, B.2 and RFC 6188, 7.1 and 7.2: key streams for
// SSRC, ROC and sequence number 0.
func TestKeyStream(t *testing.T) {
	for _, v := range []struct {
		name, key string
		profile   Profile
		blocks    map[int]string
	}{
		{"AES-128", "2B7E151628AED2A6ABF7158809CF4F3C", AES128CMHMACSHA1_80, map[int]string{
			0:      "E03EAD0935C95E80E166B16DD92B4EB4",
			1:      "D23513162B02D0F72A43A2FE4A5F97AB",
			2:      "41E95B3BB0A2E8DD477901E4FCA894C0",
			0xfeff: "EC8CDF7398607CB0F2D21675EA9EA1E4",
			0xff00: "362B7C3C6773516318A077D7FC5073AE",
			0xff01: "6A2CC3787889374FBEB4C81B17BA6C44",
		}},
		{"AES-256", "57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98", AES256CMHMACSHA1_80, map[int]string{
			0:      "92bdd28a93c3f52511c677d08b5515a4",
			1:      "9da71b2378a854f67050756ded165bac",
			2:      "63c4868b7096d88421b563b8c94c9a31",
			0xfeff: "cea518c90fd91ced9cbb18c078a54711",
			0xff00: "3dbc4814f4da5f00a08772b63c6a046d",
			0xff01: "6eb246913062a16891433e97dd01a57f",
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := fromSession(t, v.profile, unhex(t, v.key), nil, unhex(t, "F0F1F2F3F4F5F6F7F8F9FAFBFCFD"))
			b := make([]byte, 0xff02*aes.BlockSize)
			c.counterMode(&c.rtp, 0, 0, b)
			for n, want := range v.blocks {
				if have := b[n*aes.BlockSize:][:aes.BlockSize]; !bytes.Equal(have, unhex(t, want)) {
					t.Errorf("block %04x: %x, want %s", n, have, want)
				}
			}
		})
	}
}

// TestDerive has RFC 3711, B.3 and RFC 6188, 7.2 and 7.4.
func TestDerive(t *testing.T) {
	for _, v := range []struct{ name, key, salt, cipher, auth, out string }{
		{"AES-128", "E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6",
			"C61E7A93744F39EE10734AFE3FF7A087",
			`CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
			E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
			6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2DC68`,
			"30CBBC08863D8C85D49DB34A9AE1"},
		{"AES-256", "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6", "3b04803de51ee7c96423ab5b78d2",
			"5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
			"fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
			"fa31791685ca444a9e07c6c64e93"},
	} {
		t.Run(v.name, func(t *testing.T) {
			block, err := aes.NewCipher(unhex(t, v.key))
			if err != nil {
				t.Fatal(err)
			}
			for label, want := range []string{v.cipher, v.auth, v.out} {
				have := make([]byte, len(unhex(t, want)))
				derive(block, unhex(t, v.salt), byte(label), have)
				if !bytes.Equal(have, unhex(t, want)) {
					t.Errorf("label %d: %x, want %s", label, have, want)
				}
			}
		})
	}
}

// TestGCM has the packets of RFC 7714, 16.1, 16.2, 17.1 and 17.2, and those of
// 17.3 and 17.4 that are authenticated only.
func TestGCM(t *testing.T) {
	const (
		salt = "51756964 2070726f 2071756f"
		rtp  = `8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
			69736120 696e2070 61727465 73207472 6573`
		rtcp = `81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
			deadbeef deadbeef deadbeef deadbeef deadbeef`
	)
	for _, v := range []struct {
		profile             Profile
		key                 string
		srtp, srtcp, tagged string
	}{
		{AEADAES128GCM, "000102030405060708090a0b0c0d0e0f",
			`8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
			0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce`,
			`81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
			c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872
			45d9eade 800005d4`,
			rtcp + "841dd968 3dd78ec9 2ae58790 125f62b3 000005d4"},
		{AEADAES256GCM, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
			`8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238
			9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13`,
			`81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
			a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c
			b26ac3be 800005d4`,
			rtcp + "91db4afb feee5a97 8fab4393 ed2615fe 000005d4"},
	} {
		t.Run(v.profile.String(), func(t *testing.T) {
			open(t, v.profile, v.key, "", salt, v.srtp, rtp, (*Context).Packet)
			open(t, v.profile, v.key, "", salt, v.srtcp, rtcp, (*Context).Control)
			open(t, v.profile, v.key, "", salt, v.tagged, rtcp, (*Context).Control)
		})
	}
}

// open asks that a packet opens, with and without an MKI, and that it does so
// with no bit of it changed.
func open(t *testing.T, p Profile, key, auth, salt, sealed, want string, f func(*Context, []byte, int, []byte) ([]byte, Result)) {
	t.Helper()
	b := unhex(t, sealed)
	fresh := func() *Context { return fromSession(t, p, unhex(t, key), unhex(t, auth), unhex(t, salt)) }
	plain, r := f(fresh(), b, len(b), nil)
	if r != Decrypted || !bytes.Equal(plain, unhex(t, want)) {
		t.Errorf("%v: %x, want %s", r, plain, want)
	}
	c := fresh()
	c.tries = maxSearches // a wrong ROC is not to be searched for each bit
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		if plain, r := f(c, b, len(b), nil); r == Decrypted || plain != nil {
			t.Errorf("bit %d changed: %v", i, r)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		if plain, r := f(c, b[:n], len(b), nil); r != Cut || plain != nil {
			t.Errorf("cut to %d: %v", n, r)
		}
		if plain, r := f(c, b[:n], n, nil); r == Decrypted || r == Cut || plain != nil {
			t.Errorf("%d bytes: %v", n, r)
		}
	}
}

// TestLibsrtp has the reference packets that libsrtp's test driver checks its
// own output against.
func TestLibsrtp(t *testing.T) {
	key, salt := unhex(t, "e1f97a0d3e018be0d64fa32c06de4139"), unhex(t, "0ec675ad498afeebb6960b3aabe6")
	body := strings.Repeat("ab", 16)
	for _, v := range []struct {
		name, sealed, plain string
		f                   func(*Context, []byte, int, []byte) ([]byte, Result)
	}{
		{"SRTP", "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb", "800f1234decafbadcafebabe" + body, (*Context).Packet},
		{"SRTCP", "81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798", "81c8000bcafebabe" + body, (*Context).Control},
	} {
		t.Run(v.name, func(t *testing.T) {
			c, err := NewContext(AES128CMHMACSHA1_80, key, salt)
			if err != nil {
				t.Fatal(err)
			}
			b := unhex(t, v.sealed)
			plain, r := v.f(c, b, len(b), nil)
			if r != Decrypted || hex.EncodeToString(plain) != v.plain {
				t.Errorf("%v: %x, want %s", r, plain, v.plain)
			}
		})
	}
}

// seal is the sender's side of RFC 3711, 3.3 and RFC 7714, 8, for the cases
// that no recording has.
func (c *Context) seal(rtp []byte, roc uint32, mki string) []byte {
	head := headerLen(rtp)
	ssrc, seq := binary.BigEndian.Uint32(rtp[8:]), binary.BigEndian.Uint16(rtp[2:])
	out := bytes.Clone(rtp)
	if c.rtp.gcm != nil {
		c.nonceOf(&c.rtp, ssrc, roc>>16, roc<<16|uint32(seq))
		return append(c.rtp.gcm.Seal(out[:head], c.nonce[:], rtp[head:], rtp[:head]), mki...)
	}
	if c.rtp.block != nil {
		c.counterMode(&c.rtp, ssrc, uint64(roc)<<16|uint64(seq), out[head:])
	}
	c.rtp.mac.Reset()
	c.rtp.mac.Write(out)
	c.rtp.mac.Write(binary.BigEndian.AppendUint32(nil, roc))
	return append(append(out, mki...), c.rtp.mac.Sum(nil)[:c.tag]...)
}

func contextOf(t testing.TB, p Profile, first byte) *Context {
	t.Helper()
	key, salt := make([]byte, p.KeyLen()), make([]byte, p.SaltLen())
	for i := range key {
		key[i] = first + byte(i)
	}
	c, err := NewContext(p, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// packet has a header with two contributing sources and an extension.
func packet(ssrc uint32, seq uint16) []byte {
	b := []byte{0x92, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 0x10, 0x7f, 0, 0}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	for i := range 37 {
		b = append(b, byte(i))
	}
	return b
}

var profiles = []Profile{AES128CMHMACSHA1_80, AES128CMHMACSHA1_32, AES192CMHMACSHA1_80, AES192CMHMACSHA1_32, AES256CMHMACSHA1_80,
	AES256CMHMACSHA1_32, NullHMACSHA1_80, NullHMACSHA1_32, AEADAES128GCM, AEADAES256GCM}

// TestOrder sends packets late, twice, around wraps and after gaps.
func TestOrder(t *testing.T) {
	for _, p := range profiles {
		for _, mki := range []string{"", "\x01", "abcd"} {
			t.Run(p.String()+"/"+mki, func(t *testing.T) {
				sender, c := contextOf(t, p, 1), contextOf(t, p, 1)
				c.MKILen = len(mki)
				var dst []byte
				for i, index := range []uint32{0xfffe, 0xfffd, 0xfffe, 0x10001, 0xffff, 0x10000, 0x10001, 0xfff0, 0x10010,
					0x18000, 0x1ffff, 0x20003, 0x1fffe, 0x28002, 0x30001, 0x30002 + 0x9000, 0x4a002, 0x59002, 0x59003} {
					want := packet(7, uint16(index))
					plain, r := c.Packet(sender.seal(want, index>>16, mki), len(want), dst)
					if r != Decrypted || !bytes.Equal(plain, want) {
						t.Errorf("packet %d, index %#x: %v", i, index, r)
					}
					dst = plain
				}
			})
		}
	}
}

// TestSearch starts after wraps; a wrong key finds nothing.
func TestSearch(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			for _, roc := range []uint32{0, 1, 2, 700, rocSearch - 1} {
				sender, c, wrong := contextOf(t, p, 1), contextOf(t, p, 1), contextOf(t, p, 2)
				short := p.spec().tag == 4
				for i := range 40 {
					index := roc<<16 + 65530 + uint32(i)
					want := packet(7, uint16(index))
					b := sender.seal(want, index>>16, "")
					plain, r := c.Packet(b, len(b), nil)
					if i == 0 && short && roc > 1 { // found, to be confirmed
						if r != BadTag || plain != nil {
							t.Errorf("ROC %d: first packet %v", roc, r)
						}
					} else if r != Decrypted || !bytes.Equal(plain, want) {
						t.Errorf("ROC %d, packet %d: %v", roc, i, r)
					}
					if plain, r := wrong.Packet(b, len(b), nil); r != BadTag || plain != nil {
						t.Errorf("wrong key: %v", r)
					}
				}
				if wrong.tries > 3 {
					t.Errorf("%d searches for one source", wrong.tries)
				}
			}
			sender, c := contextOf(t, p, 1), contextOf(t, p, 1)
			b := sender.seal(packet(7, 1), rocSearch, "")
			if _, r := c.Packet(b, len(b), nil); r != BadTag {
				t.Errorf("ROC beyond the search: %v", r)
			}
		})
	}
}

// TestRestart: a source goes on with the ROC of a later time, or starts again
// from 0, and is found again; damaged packets do no harm.
func TestRestart(t *testing.T) {
	sender, c := contextOf(t, AES128CMHMACSHA1_80, 1), contextOf(t, AES128CMHMACSHA1_80, 1)
	lost := 0
	for _, start := range []uint32{5<<16 + 100, 5<<16 + 50000, 90 << 16, 3} {
		for i := range uint32(30) {
			b := sender.seal(packet(9, uint16(start+i)), (start+i)>>16, "")
			if i%10 == 9 {
				b[20] ^= 1
			}
			_, r := c.Packet(b, len(b), nil)
			if i%10 == 9 && r != BadTag {
				t.Errorf("damaged packet: %v", r)
			} else if i%10 != 9 && r != Decrypted {
				lost++
			}
		}
	}
	// Each of the two jumps costs what it takes to notice it.
	if lost > 2*lostAfter {
		t.Errorf("%d packets lost", lost)
	}
}

// TestSources: more sources than are kept are still opened, and many that do
// not authenticate end the searching.
func TestSources(t *testing.T) {
	sender, c := contextOf(t, AEADAES128GCM, 1), contextOf(t, AEADAES128GCM, 1)
	for ssrc := range uint32(maxSources + 50) {
		for seq := range uint16(2) {
			b := sender.seal(packet(ssrc, seq), 0, "")
			if _, r := c.Packet(b, len(b), nil); r != Decrypted {
				t.Fatalf("SSRC %d: %v", ssrc, r)
			}
		}
	}
	if len(c.sources) != maxSources {
		t.Errorf("%d sources", len(c.sources))
	}
	wrong := contextOf(t, AEADAES128GCM, 2)
	for ssrc := range uint32(1000) {
		b := sender.seal(packet(ssrc, 0), 0, "")
		if _, r := wrong.Packet(b, len(b), nil); r != BadTag {
			t.Fatalf("SSRC %d: %v", ssrc, r)
		}
	}
	if wrong.tries != maxSearches || len(wrong.sources) != 0 {
		t.Errorf("%d searches, %d sources", wrong.tries, len(wrong.sources))
	}
}

func TestUnsupported(t *testing.T) {
	c := contextOf(t, AES128CMHMACSHA1_80, 1)
	b := packet(1, 1)
	b[20], b[21] = 0xc0, 0xde
	b = contextOf(t, AES128CMHMACSHA1_80, 1).seal(b, 0, "")
	if plain, r := c.Packet(b, len(b), nil); r != Unsupported || plain != nil {
		t.Errorf("RFC 9335: %v", r)
	}
	for _, p := range []Profile{ProfileBad, 200} {
		if _, err := NewContext(p, make([]byte, 16), make([]byte, 14)); err == nil {
			t.Errorf("%v: no error", p)
		}
	}
	if _, err := NewContext(AEADAES128GCM, make([]byte, 16), make([]byte, 14)); err == nil {
		t.Error("salt of another length: no error")
	}
}

// TestProfiles has the registrations of RFC 5764, 4.1.2; RFC 7714, 14; RFC
// 4568, 6.2 and RFC 6188, 5.
func TestProfiles(t *testing.T) {
	for number, want := range map[uint16]Profile{0: ProfileBad, 1: AES128CMHMACSHA1_80, 2: AES128CMHMACSHA1_32, 3: ProfileBad,
		5: NullHMACSHA1_80, 6: NullHMACSHA1_32, 7: AEADAES128GCM, 8: AEADAES256GCM, 9: ProfileBad} {
		if p := ProfileOfDTLS(number); p != want {
			t.Errorf("%d: %v, want %v", number, p, want)
		}
	}
	for suite, want := range map[string]Profile{"": ProfileBad, "AES_CM_128_HMAC_SHA1_80": AES128CMHMACSHA1_80,
		"aes_cm_128_hmac_sha1_32": AES128CMHMACSHA1_32, "AES_256_CM_HMAC_SHA1_80": AES256CMHMACSHA1_80,
		"AES_CM_256_HMAC_SHA1_80": AES256CMHMACSHA1_80, "AEAD_AES_256_GCM": AEADAES256GCM, "F8_128_HMAC_SHA1_80": ProfileBad} {
		if p := ProfileOfSDES(suite); p != want {
			t.Errorf("%s: %v, want %v", suite, p, want)
		}
	}
}

// TestSDES has the examples of RFC 4568, 5 and 6.1 and what goes wrong.
func TestSDES(t *testing.T) {
	const key = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
	for _, v := range []struct {
		params string
		mki    int
		ok     bool
	}{
		{"inline:" + key + "|2^20|1:32", 32, true},
		{"inline:" + key + "|1:4", 4, true},
		{"inline:" + key + "|2^20", 0, true},
		{"INLINE:" + key, 0, true},
		{"inline:" + key + "|2^20|1:4;inline:" + key + "|2^20|2:4", 4, true},
		{"inline:" + key + "|1:0", 0, false},
		{"inline:" + key + "|1:129", 0, false},
		{"inline:" + key[4:], 0, false},
		{"inline:" + key + "!", 0, false},
		{key, 0, false},
		{"", 0, false},
	} {
		k, s, mki, err := ParseSDES(v.params)
		if (err == nil) != v.ok || mki != v.mki {
			t.Errorf("%s: MKI of %d, %v", v.params, mki, err)
		}
		// The key is base64 of wDfvg&T+)xG7@fb5jU,RaA}\|p0%*#.
		if v.ok && (string(k) != "wDfvg&T+)xG7@fb5" || string(s) != `jU,RaA}\|p0%*#`) {
			t.Errorf("%s: key %q, salt %q", v.params, k, s)
		}
		if err != nil && strings.Contains(err.Error(), key[4:12]) {
			t.Errorf("error shows the key: %v", err)
		}
	}
	for n, want := range map[int]int{28: 16, 30: 16, 38: 24, 44: 32, 46: 32, 0: 0, 29: 0} {
		k, s, _, err := ParseSDES("inline:" + strings.TrimRight(base64Of(n), "="))
		if len(k) != want || want != 0 && len(k)+len(s) != n || (err != nil) != (want == 0) {
			t.Errorf("%d bytes: key of %d, salt of %d, %v", n, len(k), len(s), err)
		}
	}
}

func TestAllocs(t *testing.T) {
	for _, p := range profiles {
		b := contextOf(t, p, 1).seal(packet(1, 1), 0, "")
		c := contextOf(t, p, 1)
		dst := make([]byte, 0, 2048)
		c.Packet(b, len(b), dst)
		if n := testing.AllocsPerRun(100, func() {
			if _, r := c.Packet(b, len(b), dst); r != Decrypted {
				t.Error(r)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations a packet", p, n)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	for _, p := range []Profile{AES128CMHMACSHA1_80, AEADAES128GCM, AEADAES256GCM} {
		b.Run("profile="+p.String(), func(b *testing.B) {
			sender, c := contextOf(b, p, 1), contextOf(b, p, 1)
			rtp := make([]byte, 172) // 20 ms of G.711
			rtp[0] = 0x80
			in := sender.seal(rtp, 0, "")
			dst := make([]byte, 0, 2048)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, r := c.Packet(in, len(in), dst); r != Decrypted {
					b.Fatal(r)
				}
			}
		})
	}
}

func FuzzPacket(f *testing.F) {
	for _, p := range profiles {
		f.Add(contextOf(f, p, 1).seal(packet(1, 1), 0, ""), uint8(p), uint8(0), uint16(500))
	}
	f.Add(unhex(f, "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"), uint8(1), uint8(4), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, p, mki uint8, more uint16) {
		if Profile(p).KeyLen() == 0 {
			return
		}
		c := contextOf(t, Profile(p), 1)
		c.MKILen = int(mki)
		c.tries = maxSearches - 1
		before := bytes.Clone(b)
		for range 3 {
			if plain, r := c.Packet(b, len(b), nil); (plain == nil) != (r != Decrypted) || len(plain) > len(b) {
				t.Errorf("%v with %d bytes", r, len(plain))
			}
			if plain, r := c.Control(b, len(b), nil); (plain == nil) != (r != Decrypted) || len(plain) > len(b) {
				t.Errorf("%v with %d bytes", r, len(plain))
			}
		}
		if _, r := c.Packet(b, len(b)+1+int(more), nil); r != Cut {
			t.Error(r)
		}
		if !bytes.Equal(b, before) {
			t.Error("input changed")
		}
	})
}

func base64Of(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
