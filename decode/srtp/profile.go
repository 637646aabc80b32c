package srtp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Profile is a set of transforms. New profiles may be added.
type Profile uint8

// The profiles, by the names of RFC 5764, 4.1.2, RFC 7714, 14.2 and RFC 6188.
const (
	ProfileBad Profile = iota
	AES128CMHMACSHA1_80
	AES128CMHMACSHA1_32
	AES192CMHMACSHA1_80 // SDP only
	AES192CMHMACSHA1_32 // SDP only
	AES256CMHMACSHA1_80 // SDP only
	AES256CMHMACSHA1_32 // SDP only
	NullHMACSHA1_80
	NullHMACSHA1_32
	AEADAES128GCM
	AEADAES256GCM
)

// spec is what a profile says; tag is the length of SRTP's HMAC tag.
type spec struct {
	name, suite    string // of RFC 5764 and of RFC 4568; "" where there is none
	number         uint16 // of RFC 5764; 0 where there is none
	key, salt, tag int
	gcm, null      bool
}

var specs = [...]spec{
	AES128CMHMACSHA1_80: {name: "SRTP_AES128_CM_HMAC_SHA1_80", suite: "AES_CM_128_HMAC_SHA1_80", number: 1, key: 16, salt: 14, tag: 10},
	AES128CMHMACSHA1_32: {name: "SRTP_AES128_CM_HMAC_SHA1_32", suite: "AES_CM_128_HMAC_SHA1_32", number: 2, key: 16, salt: 14, tag: 4},
	AES192CMHMACSHA1_80: {suite: "AES_192_CM_HMAC_SHA1_80", key: 24, salt: 14, tag: 10},
	AES192CMHMACSHA1_32: {suite: "AES_192_CM_HMAC_SHA1_32", key: 24, salt: 14, tag: 4},
	AES256CMHMACSHA1_80: {suite: "AES_256_CM_HMAC_SHA1_80", key: 32, salt: 14, tag: 10},
	AES256CMHMACSHA1_32: {suite: "AES_256_CM_HMAC_SHA1_32", key: 32, salt: 14, tag: 4},
	NullHMACSHA1_80:     {name: "SRTP_NULL_HMAC_SHA1_80", number: 5, key: 16, salt: 14, tag: 10, null: true},
	NullHMACSHA1_32:     {name: "SRTP_NULL_HMAC_SHA1_32", number: 6, key: 16, salt: 14, tag: 4, null: true},
	AEADAES128GCM:       {name: "SRTP_AEAD_AES_128_GCM", suite: "AEAD_AES_128_GCM", number: 7, key: 16, salt: 12, gcm: true},
	AEADAES256GCM:       {name: "SRTP_AEAD_AES_256_GCM", suite: "AEAD_AES_256_GCM", number: 8, key: 32, salt: 12, gcm: true},
}

func (p Profile) spec() spec {
	if int(p) < len(specs) {
		return specs[p]
	}
	return spec{}
}

// String is the profile's name in DTLS-SRTP, or else in SDP.
func (p Profile) String() string {
	s := p.spec()
	switch {
	case s.name != "":
		return s.name
	case s.suite != "":
		return s.suite
	}
	return "profile " + strconv.Itoa(int(p))
}

// KeyLen and SaltLen are the lengths of the master key and salt; 0 for an
// unknown profile.
func (p Profile) KeyLen() int { return p.spec().key }

// SaltLen is described at KeyLen.
func (p Profile) SaltLen() int { return p.spec().salt }

// ProfileOfDTLS is the profile of a number in the use_srtp extension;
// ProfileBad when it is not supported.
func ProfileOfDTLS(number uint16) Profile {
	for i, s := range specs {
		if number != 0 && s.number == number {
			return Profile(i)
		}
	}
	return ProfileBad
}

// ProfileOfSDES is the profile of a crypto suite in SDP, in any case;
// ProfileBad when it is not supported.
func ProfileOfSDES(suite string) Profile {
	// An older form of RFC 6188's names, from its drafts.
	name := strings.Replace(strings.ToUpper(suite), "AES_CM_256_", "AES_256_CM_", 1)
	for i, s := range specs {
		if s.suite != "" && s.suite == name {
			return Profile(i)
		}
	}
	return ProfileBad
}

// ParseSDES reads the key parameters of an SDP crypto attribute, RFC 4568,
// 9.2: "inline:" and base64 of key and salt, then a lifetime and an MKI with
// its length, both optional. Of several keys it takes the first. Errors do not
// show the key.
func ParseSDES(params string) (key, salt []byte, mkiLen int, err error) {
	first, _, _ := strings.Cut(strings.TrimSpace(params), ";")
	const method = "inline:"
	if len(first) < len(method) || !strings.EqualFold(first[:len(method)], method) {
		return nil, nil, 0, errors.New("srtp: key parameters: want the method inline")
	}
	text, rest, more := strings.Cut(first[len(method):], "|")
	// Padding is often left off.
	both, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(text), "="))
	if err != nil {
		return nil, nil, 0, errors.New("srtp: key parameters: want base64 after inline")
	}
	keyLen := 0
	switch len(both) { // no two profiles agree in the sum and differ in the parts
	case 16 + 14, 16 + 12:
		keyLen = 16
	case 24 + 14:
		keyLen = 24
	case 32 + 14, 32 + 12:
		keyLen = 32
	default:
		return nil, nil, 0, fmt.Errorf("srtp: key parameters: want 28, 30, 38, 44 or 46 bytes of key and salt, have %d", len(both))
	}
	for more {
		var field string
		field, rest, more = strings.Cut(rest, "|")
		if _, n, mki := strings.Cut(field, ":"); mki { // else a lifetime, which ends nothing here
			mkiLen, err = strconv.Atoi(strings.TrimSpace(n))
			if err != nil || mkiLen < 1 || mkiLen > maxMKI {
				return nil, nil, 0, fmt.Errorf("srtp: key parameters: want an MKI length of 1 to %d", maxMKI)
			}
		}
	}
	return both[:keyLen:keyLen], both[keyLen:], mkiLen, nil
}
