// Package dtls follows the handshake of one DTLS association as a capture
// shows it and, with the master secret from a key log, gives the keys of the
// SRTP that it sets up.
//
// Sources: RFC 6347 (DTLS 1.2: records 4.1, handshake messages and their
// fragments 4.2), RFC 5246 and RFC 4346 (the TLS below it), RFC 5764 (use_srtp
// and the keys, 4.2), RFC 5705 (exporter), RFC 5288, RFC 6655 and RFC 7905
// (AEAD record protection), RFC 7366 (encrypt-then-MAC), RFC 9146 (connection ID), RFC 9147
// (DTLS 1.3).
//
// Units: times are whatever the caller counts in, nanoseconds of the capture
// by custom; lengths are bytes.
//
// Aliasing: nothing that Conn returns aliases the input; what SRTP returns
// belongs to the Conn.
//
// A secret is believed only after a record of epoch 1, which is a Finished
// unless it was lost, has proved its authentication tag or MAC under it.
// Extended master secrets (RFC 7627) need no care: the key log holds the
// result.
//
// Bounds: of each side two unfinished hellos of 16 KiB in 64 fragments, and
// four protected records of 1 KiB; 1,024 trials of a secret on a record.
//
// Not handled: DTLS 1.3, cipher suites other than AES-GCM, AES-CCM,
// ChaCha20-Poly1305 and AES-CBC, and records with a connection ID are
// recognised and reported as unsupported; the version that OpenSSL had before
// DTLS 1.0; renegotiation; certificates; application data, which is counted
// only.
//
// Only one association may enter here; which datagrams belong to it, and
// finding the secret, is the caller's.
package dtls

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"
)

// Content types, RFC 6347, 4.1; RFC 9146, 4; RFC 9147, 4.1.
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeApplicationData  = 23
	typeHeartbeat        = 24
	typeCID              = 25
	typeACK              = 26
)

// Handshake types, RFC 6347, 4.3.2.
const (
	helloClient = 1
	helloServer = 2
)

// Versions as they stand on the wire.
const (
	Version10 = 0xfeff
	Version12 = 0xfefd
	Version13 = 0xfefc
)

const (
	recordHead    = 13
	messageHead   = 12
	maxRecord     = 1<<14 + 2048 // RFC 5246, 6.2.3
	maxHello      = 16 << 10
	maxFragments  = 64
	maxPending    = 2
	maxProtected  = 4
	protectedSize = 1 << 10
	maxSecrets    = 16
	maxTrials     = 1 << 10
)

// Lookup gives the secrets that a key log has for a label and client random.
type Lookup func(label string, clientRandom *[32]byte) [][]byte

// State is how far an association could be read, in the words of the flows
// table. New states may be added.
type State uint8

// The states.
const (
	StateBad    State = iota
	NoHandshake       // too little of the handshake was seen
	NoKey
	WrongKey
	Decrypted
	Partly // one handshake of several on the same addresses
	Unsupported
)

func (s State) String() string {
	switch s {
	case NoHandshake:
		return "no-handshake"
	case NoKey:
		return "no-key"
	case WrongKey:
		return "wrong-key"
	case Decrypted:
		return "decrypted"
	case Partly:
		return "partly"
	case Unsupported:
		return "unsupported"
	}
	return "bad"
}

// Status is what is known of an association.
type Status struct {
	State       State
	Note        string // the reason, when State is not Decrypted
	Version     uint16 // that of the ServerHello, else the highest of the ClientHello; 0 when unknown
	CipherSuite uint16 // 0 before a ServerHello
	SRTPProfile uint16 // of the ServerHello, RFC 5764, 4.1.2; 0 when none

	ClientHelloAt int64 // first fragment of the first ClientHello; 0 when not seen, as below
	ServerHelloAt int64
	// FinishedAt is the first protected handshake record, which is Finished, of
	// the side that sent its own last. Where one side was not captured it is
	// that of the other.
	FinishedAt int64
	ClientDir  int // the dir that sent the ClientHello; -1 when unknown

	Records     int // well formed
	Application int // of them, with application data
	Malformed   int // datagrams that ended in something else
	Cut         int // datagrams whose last record is not all there
}

// Conn is one association. It is not for concurrent use.
type Conn struct {
	lookup Lookup
	status Status
	hs     handshake
	before [32]byte // client random of the handshake before
	opened int      // handshakes that authenticated
	shut   int      // handshakes that were followed by another and had not
	keys   keys     // of the last that authenticated
	sides  [2]side
	cid    bool // a record with a connection ID was seen
	v13    bool // a DTLS 1.3 record was seen
	alert  int  // last fatal alert in the clear; -1 when none
	trials int
}

// handshake is what two hellos say, and what may prove a secret.
type handshake struct {
	clientRandom, serverRandom [32]byte
	client, server             bool // hello was seen
	authenticated              bool
	etm                        bool // RFC 7366
	version, suite, profile    uint16
	secrets                    int // that the key log had, of the right size
	protected                  [2][]protected
}

// side is what one side has sent.
type side struct {
	pending    [maxPending]message
	next       int
	finishedAt int64
}

// message is a handshake message in the making, RFC 6347, 4.2.3.
type message struct {
	typ    uint8
	seq    uint16
	length int
	at     int64 // of the first fragment
	parts  []part
}

type part struct {
	off  int
	data []byte
}

type protected struct {
	head [recordHead]byte
	body []byte
}

type keys struct {
	profile                                      uint16
	clientKey, serverKey, clientSalt, serverSalt []byte
}

// NewConn returns a Conn that has seen nothing. A nil lookup knows no secret.
func NewConn(lookup Lookup) *Conn {
	return &Conn{lookup: lookup, alert: -1, status: Status{ClientDir: -1}}
}

// Looks tells whether b begins with a plausible record header: a known type,
// version 1.0 or 1.2 (which DTLS 1.3 has in its hellos), and a length that the
// type can have. Later records of DTLS 1.3 have another header, which could be
// anything.
func Looks(b []byte) bool {
	if len(b) < recordHead || b[0] < typeChangeCipherSpec || b[0] > typeACK || b[1] != 0xfe || b[2] != 0xff && b[2] != 0xfd {
		return false
	}
	if b[0] == typeCID {
		return true // its length stands after an ID of unknown length
	}
	n, clear := recordLen(b), epoch(b) == 0
	switch {
	case b[0] == typeChangeCipherSpec && clear:
		return n == 1
	case b[0] == typeAlert && clear:
		return n == 2
	case b[0] == typeHandshake && clear:
		return n >= messageHead && n <= maxRecord
	}
	return n <= maxRecord
}

func epoch(b []byte) uint16  { return binary.BigEndian.Uint16(b[3:]) }
func recordLen(b []byte) int { return int(binary.BigEndian.Uint16(b[11:])) }
func u24(b []byte) int       { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// Datagram takes one datagram, or what of it was captured. dir is 0 or 1 and
// tells the sides apart.
func (c *Conn) Datagram(dir int, b []byte, timeNs int64) {
	dir &= 1
	for len(b) > 0 {
		if b[0]>>5 == 1 { // RFC 9147, 4: 001CSLEE
			if !c.hs.server || c.hs.version == Version13 {
				c.v13 = true
				c.status.Records++
			} else {
				c.status.Malformed++
			}
			return
		}
		if !Looks(b) {
			c.status.Malformed++
			return
		}
		if b[0] == typeCID {
			c.cid = true
			c.status.Records++
			return
		}
		n := recordHead + recordLen(b)
		record := b[:min(n, len(b))]
		if len(b) < n {
			c.status.Cut++
		} else {
			c.status.Records++
		}
		c.record(dir, record, n, timeNs)
		b = b[len(record):]
	}
}

// record takes one record of n bytes, of which the end may be missing.
func (c *Conn) record(dir int, b []byte, n int, timeNs int64) {
	body := b[recordHead:]
	if epoch(b) == 0 {
		switch b[0] {
		case typeHandshake:
			c.messages(dir, body, timeNs)
		case typeAlert:
			if len(body) == 2 && body[0] == 2 {
				c.alert = int(body[1])
			}
		}
		return
	}
	if b[0] == typeApplicationData {
		c.status.Application++
	}
	if b[0] == typeHandshake && c.sides[dir].finishedAt == 0 {
		c.sides[dir].finishedAt = timeNs
	}
	hs := &c.hs
	if hs.authenticated || epoch(b) != 1 || len(b) < n || len(body) > protectedSize || len(hs.protected[dir]) == maxProtected {
		return
	}
	// It may come before the hellos that its keys need.
	p := protected{body: slices.Clone(body)}
	copy(p.head[:], b)
	hs.protected[dir] = append(hs.protected[dir], p)
	c.authenticate()
}

// messages takes the handshake messages, or fragments of one, of a record in
// the clear.
func (c *Conn) messages(dir int, b []byte, timeNs int64) {
	for len(b) >= messageHead {
		typ, length, seq, off, size := b[0], u24(b[1:]), binary.BigEndian.Uint16(b[4:]), u24(b[6:]), u24(b[9:])
		if off+size > length {
			return
		}
		b = b[messageHead:]
		data := b[:min(size, len(b))]
		if typ == helloClient || typ == helloServer {
			if body, at := c.sides[dir].reassemble(typ, seq, length, off, data, timeNs); body != nil {
				c.hello(dir, typ, body, at)
			}
		}
		b = b[len(data):]
	}
}

// reassemble returns a message when its last fragment has come, and the time
// of its first. It aliases data when that is all of it. Fragments may come in
// any order, twice, and overlap (RFC 6347, 4.2.3).
func (s *side) reassemble(typ uint8, seq uint16, length, off int, data []byte, timeNs int64) (body []byte, at int64) {
	if length == 0 || length > maxHello {
		return nil, 0
	}
	if len(data) == length {
		return data, timeNs
	}
	i := slices.IndexFunc(s.pending[:], func(m message) bool { return m.typ == typ && m.seq == seq && m.length == length })
	if i < 0 {
		i = s.next
		s.next = (s.next + 1) % maxPending
		s.pending[i] = message{typ: typ, seq: seq, length: length, at: timeNs}
	}
	m := &s.pending[i]
	i, again := slices.BinarySearchFunc(m.parts, off, func(p part, off int) int { return p.off - off })
	switch {
	case again && len(m.parts[i].data) >= len(data):
		return nil, 0
	case again:
		m.parts[i].data = slices.Clone(data)
	case len(m.parts) == maxFragments || len(data) == 0:
		return nil, 0
	default:
		m.parts = slices.Insert(m.parts, i, part{off, slices.Clone(data)})
	}
	have := 0
	for _, p := range m.parts {
		if p.off > have {
			return nil, 0
		}
		have = max(have, p.off+len(p.data))
	}
	if have < length {
		return nil, 0
	}
	body, at = make([]byte, length), m.at
	for _, p := range m.parts {
		copy(body[p.off:], p.data)
	}
	*m = message{}
	return body, at
}

// hello takes a whole ClientHello or ServerHello.
func (c *Conn) hello(dir int, typ uint8, body []byte, timeNs int64) {
	h, ok := parseHello(typ, body)
	if !ok {
		c.status.Malformed++
		return
	}
	hs := &c.hs
	if typ == helloClient {
		if hs.client && h.random == hs.clientRandom || h.random == c.before {
			return // again, or with the cookie that a HelloVerifyRequest asked for
		}
		if hs.client && hs.server { // another association on the same addresses
			if !hs.authenticated {
				c.shut++
			}
			c.before = hs.clientRandom
			*hs = handshake{}
			c.sides = [2]side{}
			c.cid, c.v13, c.alert = false, false, -1
			c.status.ClientHelloAt, c.status.ServerHelloAt = 0, 0
		}
		hs.client, hs.clientRandom = true, h.random
		if !hs.server {
			hs.version = h.version
		}
		if c.status.ClientHelloAt == 0 {
			c.status.ClientHelloAt = timeNs
		}
		c.status.ClientDir = dir
		c.authenticate()
		return
	}
	if hs.authenticated || hs.server && hs.serverRandom == h.random || hs.client && dir == c.status.ClientDir {
		return
	}
	hs.server, hs.serverRandom = true, h.random
	hs.version, hs.suite, hs.etm, hs.profile = h.version, h.suite, h.etm, h.profile
	if c.status.ServerHelloAt == 0 {
		c.status.ServerHelloAt = timeNs
	}
	c.authenticate()
}

// Retry asks the lookup again, for secrets that became known after the records
// that they open.
func (c *Conn) Retry() { c.authenticate() }

// authenticate looks for a secret under which a protected record is genuine.
func (c *Conn) authenticate() {
	hs := &c.hs
	if !hs.client || !hs.server || hs.authenticated || hs.version != Version10 && hs.version != Version12 {
		return
	}
	suite := suiteOf(hs.suite)
	if suite.kind == 0 || len(hs.protected[0])+len(hs.protected[1]) == 0 {
		return
	}
	for _, secret := range c.secrets() {
		for dir := range hs.protected {
			for _, p := range hs.protected[dir] {
				if c.trials++; c.trials > maxTrials {
					return
				}
				if !suite.opens(hs, secret, dir == c.status.ClientDir, &p) {
					continue
				}
				hs.authenticated = true
				hs.protected = [2][]protected{}
				c.opened++
				c.keys = exportSRTP(hs, secret)
				return
			}
		}
	}
}

// secrets asks for the master secret of the present handshake.
func (c *Conn) secrets() [][]byte {
	if c.lookup == nil {
		return nil
	}
	var all [][]byte
	for _, s := range c.lookup("CLIENT_RANDOM", &c.hs.clientRandom) {
		if len(s) == masterLen && len(all) < maxSecrets {
			all = append(all, s)
		}
	}
	c.hs.secrets = len(all)
	return all
}

// SRTP gives the master keys and salts of RFC 5764, 4.2 of the last handshake
// that authenticated: what the client sends is protected by the client's. It
// is false before that, and where no profile with keys of known size was
// chosen.
func (c *Conn) SRTP() (profile uint16, clientKey, serverKey, clientSalt, serverSalt []byte, ok bool) {
	k := &c.keys
	return k.profile, k.clientKey, k.serverKey, k.clientSalt, k.serverSalt, k.clientKey != nil
}

// Status tells how far the association could be read.
func (c *Conn) Status() Status {
	s, hs := c.status, &c.hs
	s.Version, s.CipherSuite, s.SRTPProfile = hs.version, hs.suite, hs.profile
	s.FinishedAt = max(c.sides[0].finishedAt, c.sides[1].finishedAt)
	s.State, s.Note = c.state()
	if s.State != Decrypted && c.opened > 0 {
		s.State, s.Note = Partly, "a later handshake: "+s.Note
	} else if s.State == Decrypted && c.shut > 0 {
		s.State, s.Note = Partly, "an earlier handshake was not decrypted"
	}
	return s
}

func (c *Conn) state() (State, string) {
	hs := &c.hs
	suite := suiteOf(hs.suite)
	alert := ""
	if c.alert >= 0 {
		alert = fmt.Sprintf(", fatal alert %d", c.alert)
	}
	switch {
	case hs.authenticated:
		return Decrypted, ""
	case c.v13 || hs.version == Version13 && hs.server:
		return Unsupported, "DTLS 1.3"
	case !hs.client && c.status.Records+c.status.Cut == 0:
		return NoHandshake, "no record seen"
	case !hs.client && c.cid:
		return Unsupported, "connection ID"
	case !hs.client:
		return NoHandshake, "no ClientHello seen" + alert
	case !hs.server:
		return NoHandshake, "no ServerHello seen" + alert
	case hs.version != Version10 && hs.version != Version12:
		return Unsupported, fmt.Sprintf("version %#04x", hs.version)
	case suite.kind == 0:
		return Unsupported, "cipher suite " + tls.CipherSuiteName(hs.suite)
	case len(c.secrets()) == 0:
		return NoKey, "no master secret for this client random"
	case len(hs.protected[0])+len(hs.protected[1]) == 0 && c.cid:
		return Unsupported, "connection ID"
	case len(hs.protected[0])+len(hs.protected[1]) == 0:
		return NoHandshake, "no protected record seen" + alert
	}
	return WrongKey, fmt.Sprintf("no record opens with any of %d secrets", hs.secrets)
}
