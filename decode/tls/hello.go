package tls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/twtrace/twtrace/internal/wire"
)

// Extension types, RFC 8446, 4.2; RFC 9849, 11.1.
const (
	extServerName        = 0
	extALPN              = 16
	extEncryptThenMAC    = 22 // RFC 7366
	extMasterSecret      = 23 // RFC 7627
	extSessionTicket     = 35 // RFC 5077
	extPreSharedKey      = 41
	extEarlyData         = 42
	extSupportedVersions = 43
	extKeyShare          = 51
	extECH               = 0xfe0d
)

// Handshake message types, RFC 8446, B.3.
const (
	hsClientHello         = 1
	hsServerHello         = 2
	hsNewSessionTicket    = 4
	hsEndOfEarlyData      = 5
	hsEncryptedExtensions = 8
	hsCertificate         = 11
	hsServerHelloDone     = 14
	hsClientKeyExchange   = 16
	hsFinished            = 20
	hsKeyUpdate           = 24
)

// ClientHello is what a client offers, RFC 8446, 4.1.2. Lists are in the
// client's order and include reserved values (IsGREASE).
type ClientHello struct {
	Version           uint16 // legacy_version
	Random            [32]byte
	SessionID         []byte
	CipherSuites      []uint16
	SNI               string // in lower case; "" when absent
	ALPN              []string
	SupportedVersions []uint16
	KeyShares         []uint16 // groups
	ECH               bool     // encrypted ClientHello offered, or a GREASE one: then SNI is the public name
	PSK               bool     // a session is resumed, or a key known before
	EarlyData         bool
	Ticket            []byte // session ticket before TLS 1.3, RFC 5077
}

// MaxVersion is the highest version that the client offers.
func (h *ClientHello) MaxVersion() uint16 {
	best := uint16(0)
	for _, v := range h.SupportedVersions {
		if !IsGREASE(v) {
			best = max(best, v)
		}
	}
	if best == 0 {
		return h.Version
	}
	return best
}

// ServerHello is what a server chose, RFC 8446, 4.1.3.
type ServerHello struct {
	Version           uint16 // that of supported_versions, if there
	Random            [32]byte
	SessionID         []byte
	CipherSuite       uint16
	ALPN              string // "" also in TLS 1.3, which encrypts it
	KeyShare          uint16 // group; 0 when absent
	PSK               bool   // the offered key was accepted
	HelloRetryRequest bool   // the client must send another ClientHello
	Compression       uint8  // 0 is none
	EncryptThenMAC    bool   // RFC 7366
	MasterSecret      bool   // extended master secret, RFC 7627
}

// Certificate is a Certificate message (RFC 5246, 7.4.2; RFC 8446, 4.4.2): the names of
// its first certificate.
type Certificate struct {
	Chain      int // certificates in the message
	CommonName string
	DNSNames   []string
	IPs        []netip.Addr
	Problem    string // why the first certificate has no names here
}

// Alert is an alert in the clear, RFC 8446, 6.
type Alert struct {
	Level       uint8 // 1 warning, 2 fatal; 0 when unknown
	Description uint8
}

// String is the level and the description.
func (a Alert) String() string {
	switch a.Level {
	case 0:
		return "encrypted alert"
	case 1:
		return "warning " + AlertText(a.Description)
	case 2:
		return "fatal " + AlertText(a.Description)
	}
	return "level " + strconv.Itoa(int(a.Level)) + " " + AlertText(a.Description)
}

// AlertText names an alert description, RFC 8446, 6 and RFC 5246, 7.2.
func AlertText(d uint8) string {
	switch d {
	case 0:
		return "close_notify"
	case 10:
		return "unexpected_message"
	case 20:
		return "bad_record_mac"
	case 21:
		return "decryption_failed"
	case 22:
		return "record_overflow"
	case 30:
		return "decompression_failure"
	case 40:
		return "handshake_failure"
	case 41:
		return "no_certificate"
	case 42:
		return "bad_certificate"
	case 43:
		return "unsupported_certificate"
	case 44:
		return "certificate_revoked"
	case 45:
		return "certificate_expired"
	case 46:
		return "certificate_unknown"
	case 47:
		return "illegal_parameter"
	case 48:
		return "unknown_ca"
	case 49:
		return "access_denied"
	case 50:
		return "decode_error"
	case 51:
		return "decrypt_error"
	case 60:
		return "export_restriction"
	case 70:
		return "protocol_version"
	case 71:
		return "insufficient_security"
	case 80:
		return "internal_error"
	case 86:
		return "inappropriate_fallback"
	case 90:
		return "user_canceled"
	case 100:
		return "no_renegotiation"
	case 109:
		return "missing_extension"
	case 110:
		return "unsupported_extension"
	case 111:
		return "certificate_unobtainable"
	case 112:
		return "unrecognized_name"
	case 113:
		return "bad_certificate_status_response"
	case 114:
		return "bad_certificate_hash_value"
	case 115:
		return "unknown_psk_identity"
	case 116:
		return "certificate_required"
	case 120:
		return "no_application_protocol"
	case 121:
		return "ech_required"
	}
	return "alert " + strconv.Itoa(int(d))
}

// HandshakeText names a handshake message type, RFC 8446, B.3.
func HandshakeText(t uint8) string {
	switch t {
	case 0:
		return "HelloRequest"
	case 1:
		return "ClientHello"
	case 2:
		return "ServerHello"
	case 4:
		return "NewSessionTicket"
	case 5:
		return "EndOfEarlyData"
	case 8:
		return "EncryptedExtensions"
	case 11:
		return "Certificate"
	case 12:
		return "ServerKeyExchange"
	case 13:
		return "CertificateRequest"
	case 14:
		return "ServerHelloDone"
	case 15:
		return "CertificateVerify"
	case 16:
		return "ClientKeyExchange"
	case 20:
		return "Finished"
	case 22:
		return "CertificateStatus"
	case 24:
		return "KeyUpdate"
	}
	return "handshake " + strconv.Itoa(int(t))
}

// VersionText names a protocol version: "TLS 1.3", "SSLv3", or hex.
func VersionText(v uint16) string { return tls.VersionName(v) }

// CipherText is the IANA name of a cipher suite, or hex where the Go library
// has none.
func CipherText(suite uint16) string { return tls.CipherSuiteName(suite) }

// Weakness says what is out of date in a version and cipher suite that a server
// chose: a version before TLS 1.2 (RFC 8996), or a suite without encryption,
// without authentication, with export keys, RC4 (RFC 7465), DES or 3DES
// (RFC 9325, section 4.2). It is "" where neither is.
func Weakness(version, suite uint16) string {
	if version >= 0x0300 && version < 0x0303 {
		return VersionText(version)
	}
	switch suite {
	case 0x0000, 0x0001, 0x0002, 0x002c, 0x002d, 0x002e, 0x003b, 0x00b0, 0x00b1, 0x00b4, 0x00b5, 0x00b8, 0x00b9,
		0xc001, 0xc006, 0xc00b, 0xc010, 0xc015, 0xc039, 0xc03a, 0xc03b:
		return "a suite without encryption"
	case 0x0003, 0x0006, 0x0008, 0x000b, 0x000e, 0x0011, 0x0014, 0x0017, 0x0019, 0x0026, 0x0027, 0x0028, 0x0029, 0x002a, 0x002b:
		return "a suite with export keys"
	case 0x0018, 0x001a, 0x001b, 0x0034, 0x003a, 0x0046, 0x006c, 0x006d, 0x0089, 0x009b, 0x00a6, 0x00a7, 0x00bf, 0x00c5,
		0xc016, 0xc017, 0xc018, 0xc019:
		return "a suite without authentication"
	case 0x0004, 0x0005, 0x0020, 0x0024, 0x008a, 0x008e, 0x0092, 0xc002, 0xc007, 0xc00c, 0xc011, 0xc033:
		return "RC4"
	case 0x0009, 0x000c, 0x000f, 0x0012, 0x0015, 0x001e, 0x0022:
		return "DES"
	case 0x000a, 0x000d, 0x0010, 0x0013, 0x0016, 0x001f, 0x0023, 0x008b, 0x008f, 0x0093, 0xc003, 0xc008, 0xc00d, 0xc012, 0xc01a, 0xc01b, 0xc01c, 0xc034:
		return "3DES"
	}
	return ""
}

// IsGREASE tells whether a value is reserved to exercise unknown values, RFC
// 8701, 2: 0x0a0a, 0x1a1a and so on.
func IsGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// retryRandom marks a HelloRetryRequest: the SHA-256 of its name, RFC 8446, 4.1.3.
var retryRandom = sha256.Sum256([]byte("HelloRetryRequest"))

// ParseClientHello reads the body of a ClientHello message. Offsets of errors
// are within the body.
func ParseClientHello(body []byte) (*ClientHello, error) {
	c := wire.NewCursor("tls", body)
	h := &ClientHello{Version: c.U16("client version")}
	copy(h.Random[:], c.Bytes("client random", 32))
	h.SessionID = slices.Clone(c.Bytes("session id", int(c.U8("session id length"))))
	h.CipherSuites = list16(c.Bytes("cipher suites", int(c.U16("cipher suites length"))))
	c.Skip("compression methods", int(c.U8("compression methods length")))
	extensions(&c, func(typ uint16, x *wire.Cursor) {
		switch typ {
		case extServerName:
			// RFC 6066, 3: a list, in which only host names (0) are defined.
			names := wire.NewCursor("tls", x.Bytes("server names", int(x.U16("server names length"))))
			for names.Len() > 0 {
				kind := names.U8("name type")
				name := names.Bytes("server name", int(names.U16("server name length")))
				if kind == 0 && h.SNI == "" {
					h.SNI = strings.ToLower(text(name))
				}
			}
		case extALPN:
			h.ALPN = protocols(x)
		case extSupportedVersions:
			h.SupportedVersions = list16(x.Bytes("versions", int(x.U8("versions length"))))
		case extKeyShare:
			shares := wire.NewCursor("tls", x.Bytes("key shares", int(x.U16("key shares length"))))
			for shares.Len() > 0 {
				group := shares.U16("group")
				shares.Skip("key", int(shares.U16("key length")))
				if shares.Err() == nil {
					h.KeyShares = append(h.KeyShares, group)
				}
			}
		case extSessionTicket:
			h.Ticket = slices.Clone(x.Rest())
		case extPreSharedKey:
			h.PSK = true
		case extEarlyData:
			h.EarlyData = true
		case extECH:
			h.ECH = true
		}
	})
	return h, c.Err()
}

// ParseServerHello reads the body of a ServerHello message. Offsets of errors
// are within the body.
func ParseServerHello(body []byte) (*ServerHello, error) {
	c := wire.NewCursor("tls", body)
	h := &ServerHello{Version: c.U16("server version")}
	copy(h.Random[:], c.Bytes("server random", 32))
	h.SessionID = slices.Clone(c.Bytes("session id", int(c.U8("session id length"))))
	h.CipherSuite = c.U16("cipher suite")
	h.Compression = c.U8("compression method")
	h.HelloRetryRequest = h.Random == retryRandom
	extensions(&c, func(typ uint16, x *wire.Cursor) {
		switch typ {
		case extALPN:
			if ps := protocols(x); len(ps) > 0 {
				h.ALPN = ps[0]
			}
		case extSupportedVersions:
			if v := x.U16("version"); v != 0 {
				h.Version = v
			}
		case extKeyShare:
			h.KeyShare = x.U16("group")
		case extPreSharedKey:
			h.PSK = true
		case extEncryptThenMAC:
			h.EncryptThenMAC = true
		case extMasterSecret:
			h.MasterSecret = true
		}
	})
	return h, c.Err()
}

// parseEncryptedExtensions reads the body of an EncryptedExtensions message,
// RFC 8446, 4.3.1.
func parseEncryptedExtensions(body []byte) (alpn string, early bool, err error) {
	c := wire.NewCursor("tls", body)
	extensions(&c, func(typ uint16, x *wire.Cursor) {
		switch typ {
		case extALPN:
			if ps := protocols(x); len(ps) > 0 {
				alpn = ps[0]
			}
		case extEarlyData:
			early = true
		}
	})
	return alpn, early, c.Err()
}

// ParseCertificate13 reads the body of a TLS 1.3 Certificate message, RFC
// 8446, 4.4.2, as ParseCertificate does.
func ParseCertificate13(body []byte) (*Certificate, error) {
	c := wire.NewCursor("tls", body)
	c.Skip("request context", int(c.U8("request context length")))
	list := wire.NewCursor("tls", c.Bytes("certificates", int(c.U24("certificates length"))))
	if c.Err() != nil {
		return nil, c.Err()
	}
	cert := &Certificate{}
	for list.Len() > 0 {
		der := list.Bytes("certificate", int(list.U24("certificate length")))
		list.Skip("extensions", int(list.U16("extensions length")))
		if list.Err() != nil {
			break
		}
		if cert.Chain++; cert.Chain == 1 {
			cert.leaf(der)
		}
	}
	return cert, list.Err()
}

// ParseCertificate reads the body of a TLS 1.2 Certificate message. A
// certificate that cannot be read is no error; Problem tells.
func ParseCertificate(body []byte) (*Certificate, error) {
	c := wire.NewCursor("tls", body)
	list := wire.NewCursor("tls", c.Bytes("certificates", int(c.U24("certificates length"))))
	if c.Err() != nil {
		return nil, c.Err()
	}
	cert := &Certificate{}
	for list.Len() > 0 {
		der := list.Bytes("certificate", int(list.U24("certificate length")))
		if list.Err() != nil {
			break
		}
		if cert.Chain++; cert.Chain == 1 {
			cert.leaf(der)
		}
	}
	return cert, list.Err()
}

func (c *Certificate) leaf(der []byte) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		c.Problem = err.Error()
		return
	}
	c.CommonName = text([]byte(leaf.Subject.CommonName))
	for _, n := range leaf.DNSNames {
		c.DNSNames = append(c.DNSNames, strings.ToLower(text([]byte(n))))
	}
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			c.IPs = append(c.IPs, a.Unmap())
		}
	}
}

// extensions walks the extensions at the end of a hello, of which TLS 1.2 may
// have none. Damage within one extension leaves the others whole.
func extensions(c *wire.Cursor, f func(typ uint16, x *wire.Cursor)) {
	if c.Len() == 0 {
		return
	}
	size := int(c.U16("extensions length"))
	if size > c.Len() {
		c.Fail("extensions", "want %d bytes, have %d", size, c.Len())
		return
	}
	end := c.Off() + size
	for c.Err() == nil && c.Off() < end {
		typ := c.U16("extension type")
		x := wire.NewCursor("tls", c.Bytes("extension", int(c.U16("extension length"))))
		if c.Err() == nil {
			f(typ, &x)
		}
	}
}

func protocols(x *wire.Cursor) []string {
	list := wire.NewCursor("tls", x.Bytes("protocols", int(x.U16("protocols length"))))
	var ps []string
	for list.Len() > 0 {
		if p := list.Bytes("protocol", int(list.U8("protocol length"))); len(p) > 0 {
			ps = append(ps, text(p))
		}
	}
	return ps
}

func list16(b []byte) []uint16 {
	if len(b) < 2 {
		return nil
	}
	l := make([]uint16, len(b)/2)
	for i := range l {
		l[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	return l
}

// text makes a string that prints: what is no printable UTF-8 becomes U+FFFD.
func text(b []byte) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, string(b))
}
