package dtls

import "github.com/twtrace/twtrace/internal/wire"

// Extension types, RFC 5764, 9; RFC 7366, 4; RFC 8446, 4.2.
const (
	extUseSRTP           = 14
	extEncryptThenMAC    = 22
	extSupportedVersions = 43
)

// hello is what is used of a ClientHello or a ServerHello.
type hello struct {
	random  [32]byte
	version uint16 // the highest offered, or the one chosen
	suite   uint16 // chosen
	profile uint16 // of SRTP, chosen
	etm     bool
}

// parseHello reads the body of a ClientHello (RFC 6347, 4.2.1) or ServerHello
// (RFC 5246, 7.4.1.3).
func parseHello(typ uint8, body []byte) (h hello, ok bool) {
	c := wire.NewCursor("dtls", body)
	h.version = c.U16("version")
	copy(h.random[:], c.Bytes("random", 32))
	c.Skip("session id", int(c.U8("session id length")))
	if typ == helloClient {
		c.Skip("cookie", int(c.U8("cookie length")))
		c.Skip("cipher suites", int(c.U16("cipher suites length")))
		c.Skip("compression methods", int(c.U8("compression methods length")))
	} else {
		h.suite = c.U16("cipher suite")
		c.Skip("compression method", 1)
	}
	if c.Err() != nil {
		return h, false
	}
	if c.Len() == 0 { // RFC 5246, 7.4.1.2: extensions may be left out
		return h, true
	}
	x := wire.NewCursor("dtls", c.Bytes("extensions", int(c.U16("extensions length"))))
	for x.Len() > 0 {
		ext := x.U16("extension type")
		e := wire.NewCursor("dtls", x.Bytes("extension", int(x.U16("extension length"))))
		switch {
		case ext == extEncryptThenMAC:
			h.etm = true
		case ext == extUseSRTP && typ == helloServer:
			// RFC 5764, 4.1.1: a list of one.
			list := wire.NewCursor("dtls", e.Bytes("profiles", int(e.U16("profiles length"))))
			h.profile = list.U16("profile")
		case ext == extSupportedVersions && typ == helloServer:
			if v := e.U16("version"); v != 0 {
				h.version = v
			}
		case ext == extSupportedVersions:
			list := wire.NewCursor("dtls", e.Bytes("versions", int(e.U8("versions length"))))
			for list.Len() > 0 {
				// Versions count down; values that are no DTLS are GREASE (RFC 8701).
				if v := list.U16("version"); v >= Version13 && v < h.version {
					h.version = v
				}
			}
		}
	}
	return h, c.Err() == nil && x.Err() == nil
}
