package tls

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/twtrace/twtrace/internal/wire"
)

// Lookup gives all secrets that a key log has for a label and a client random,
// the most likely first. Labels are those of the NSS key log format, plus
//
//	"RSA"              with the first 8 bytes of the encrypted pre-master
//	                   secret, then zeros, instead of the random: pre-master
//	                   secrets
//	"RSA Session-ID"   with a session id of 32 bytes: master secrets
type Lookup func(label string, random *[32]byte) [][]byte

// Shared is what connections have in common: a bound on what they hold back
// together, and the master secrets of sessions before TLS 1.3, by which a
// resumed connection is opened where a key log has only the first one's. It
// serves one goroutine.
type Shared struct {
	Max, Used int64 // bytes; Max 0 is no bound

	sessions map[[sha256.Size]byte][]byte // by the hash of a session id or ticket
	free     [][]byte                     // buffers of connections that hold nothing
	out      []byte                       // an opened record
}

const (
	maxSessions = 1 << 16
	maxFree     = 8
)

func (s *Shared) remember(id, master []byte) {
	if s == nil || len(id) == 0 || len(s.sessions) == maxSessions {
		return
	}
	if s.sessions == nil {
		s.sessions = map[[sha256.Size]byte][]byte{}
	}
	s.sessions[sha256.Sum256(id)] = master
}

func (s *Shared) session(id []byte) []byte {
	if s == nil || len(id) == 0 {
		return nil
	}
	return s.sessions[sha256.Sum256(id)]
}

// Encryption says what became of a connection's encrypted records.
type Encryption uint8

// The values of Encryption. New ones may be added.
const (
	EncryptionNone    Encryption = iota // nothing was encrypted, or with the null cipher
	Decrypted                           // every record was opened
	Partly                              // some were
	NoKey                               // there is no secret for the connection
	WrongKey                            // there are secrets; none of them authenticates
	NoHandshake                         // a hello is missing
	UnsupportedCipher                   // version or suite is not read here
)

func (e Encryption) String() string {
	switch e {
	case EncryptionNone:
		return "none"
	case Decrypted:
		return "decrypted"
	case Partly:
		return "partly"
	case NoKey:
		return "no-key"
	case WrongKey:
		return "wrong-key"
	case NoHandshake:
		return "no-handshake"
	case UnsupportedCipher:
		return "unsupported"
	}
	return "unknown"
}

// Status is what is known of a connection so far.
type Status struct {
	Encryption Encryption
	Note       string // one sentence on why it is not Decrypted; else ""

	Records     int64 // encrypted ones that were seen whole
	Opened      int64
	Failed      int64 // those that were not opened
	LostRecords int64 // cut by a gap or known to be missing by the sequence numbers
	LostBytes   int64 // of the stream, in gaps

	Version     uint16 // 0 until the ServerHello
	CipherSuite uint16
	SNI         string
	ALPN        string // what the server chose
	Resumed     bool
	EarlyData   bool // 0-RTT data was accepted, or opened
}

// reason is why a record was not opened.
type reason uint8

const (
	whyOpened reason = iota
	whyNoHello
	whySuite
	whyVersion
	whyCompressed
	whyPreMaster
	whyNoKey
	whyWrongKey
	whyEarly
	whyDamaged
	reasons
)

// Levels of TLS 1.3. Before TLS 1.3 the level is the number of
// ChangeCipherSpecs.
const (
	levelClear = iota
	levelEarly
	levelHandshake
	levelApplication // and one more with each KeyUpdate
)

const (
	maxHeld    = 1 << 20 // bytes of a direction that wait for the other's hello
	maxPairs   = 16      // handshakes in a connection
	maxSecrets = 64      // that are tried for one epoch

	// After a gap the sequence number is searched among so many where it is
	// not known how many bytes are lost, and at most so many else.
	searchUnknown = 1 << 10
	searchMost    = 1 << 16
	minProtected  = recordHead + 17 // TLS 1.3: a type and a tag

	// Opening by trial may cost so many bytes, and so many for each that was
	// fed. Hostile streams stay linear by it.
	trialStart = 32 << 20
	trialRate  = 64
	trialCost  = 256 // beside the payload
)

// pair is what the hellos of one handshake say.
type pair struct {
	ch      *ClientHello
	sh      *ServerHello
	cke     [32]byte // the key of "RSA" in a Lookup
	haveCKE bool
	ticket  []byte // that the server gave, before TLS 1.3
	master  []byte // that opened a record

	derived bool
	keys    [2][]*keys // before TLS 1.3: of the client's direction, of the server's
	why     reason     // there are none
}

// epoch caches the candidates of one level.
type epoch struct {
	level int
	keys  []*keys
	why   reason
	ok    bool
}

// half is one direction.
type half struct {
	framer
	messages
	opened bool // what is in messages was encrypted

	level    int
	proven   bool   // a record of this level was opened
	ever     bool   // a record of any level was
	base     uint64 // sequence number after the last record that was opened
	missed   uint64 // records seen since
	lost     bool   // others may be missing since
	lostSize int64  // bytes in gaps since
	skipBase int64  // Skipped at that time
	unsure   bool   // how many are lost is not known
	epochs   [4]epoch

	prev    [64]byte // the end of the record before: a block and a MAC
	prevLen int      // 0 when it is not known
	hdr     [recordHead]byte
	probed  int64 // offset + 1 of a frameMaybe that did not open

	ccs      bool // a ChangeCipherSpec was seen in the clear
	done     bool // a ServerHelloDone was seen
	noHello  bool // its hello will not come
	waiting  bool // for the other direction's hello
	released bool // waits no more
	charged  int64
}

// Conn reads both directions of one connection and opens what Lookup has
// secrets for.
//
// The caller feeds each direction in order, calls Next after each Feed until
// it has neither an event nor an error, and at the end calls Finish for both
// directions, and Next. Directions are 0 and 1; which is the client's is
// learned from the hellos. One may come before the other: records wait, 1 MiB
// at most, until the hellos of both are seen.
type Conn struct {
	lookup Lookup
	shared *Shared
	half   [2]half
	client int // direction, -1 when not known
	pairs  []pair
	hellos [2]int // of the client, of the server
	guess  int8   // TLS 1.3 without a ServerHello: 1 yes, -1 no
	null   bool   // the null cipher was used

	out     []byte // an opened record
	turn    int    // direction fed last
	changed bool   // the other direction may go on
	trials  int64  // bytes that may be tried
	failed  [reasons]int64
	status  Status
}

// NewConn returns a Conn. shared may be nil: then only the bounds of one
// connection hold.
func NewConn(lookup Lookup, shared *Shared) *Conn {
	return &Conn{lookup: lookup, shared: shared, client: -1, trials: trialStart}
}

// Feed appends the next bytes of a direction, which are copied.
func (c *Conn) Feed(dir int, b []byte) {
	h := &c.half[dir]
	if s := c.shared; h.buf == nil && s != nil && len(s.free) > 0 {
		n := len(s.free) - 1
		h.buf, s.free = s.free[n], s.free[:n]
	}
	h.Feed(b)
	c.turn = dir
	c.trials = min(c.trials+trialRate*int64(len(b)), 1<<40)
	c.charge(h)
	if h.waiting && (len(h.buf)-h.pos > maxHeld || c.shared != nil && c.shared.Max > 0 && c.shared.Used > c.shared.Max) {
		h.released = true
	}
}

// Lost tells that n bytes are missing after those fed; 0 when it is not known
// how many.
func (c *Conn) Lost(dir int, n int64) {
	c.half[dir].lose(n)
	c.turn = dir
	c.status.LostBytes += n
}

// Finish tells that a direction has ended.
func (c *Conn) Finish(dir int) { c.half[dir].Finish() }

// charge tells Shared what a direction holds.
func (c *Conn) charge(h *half) {
	held := int64(len(h.buf) - h.pos)
	if held == 0 && (c.shared != nil || cap(h.buf) > 2*maxRecord) {
		if s := c.shared; s != nil && len(s.free) < maxFree && cap(h.buf) > 0 && cap(h.buf) <= 2*maxRecord {
			s.free = append(s.free, h.buf[:0])
		}
		h.buf, h.pos = nil, 0
	}
	if c.shared != nil {
		c.shared.Used += held - h.charged
		h.charged = held
	}
}

// Offset is the stream offset of a direction's first byte that is not yet read.
func (c *Conn) Offset(dir int) int64 { return c.half[dir].off }

// Skipped counts a direction's bytes that were passed over in search of a
// record.
func (c *Conn) Skipped(dir int) int64 { return c.half[dir].Skipped }

// Next gives the next event of either direction, in the order of each. Without
// one and without an error it needs more bytes. After an error it goes on with
// what can be used, so that the caller may go on too.
//
// Events are those of Parser; of what was opened Decrypted is true. Encrypted
// records that were not opened are given without their content. Event.Data is
// valid until the next Next of any connection with the same Shared.
func (c *Conn) Next(e *Event) (dir int, ok bool, err error) {
	for {
		c.changed = false
		for i := range 2 {
			d := c.turn ^ i
			if ok, err := c.next(d, e); ok || err != nil {
				return d, ok, err
			}
		}
		for d := range c.half {
			// What a finished direction has not said it never will.
			if h := &c.half[d]; h.waiting && !h.released && c.half[1-d].closed {
				h.released = true
				c.changed = true
			}
		}
		if !c.changed {
			c.charge(&c.half[0])
			c.charge(&c.half[1])
			return 0, false, nil
		}
	}
}

func (c *Conn) next(d int, e *Event) (ok bool, err error) {
	h := &c.half[d]
	for {
		if len(h.hs) > 0 {
			body, ok, err := h.message(e)
			if ok {
				e.Decrypted = h.opened
				c.handshake(d, e, body)
			}
			if ok || err != nil {
				return ok, err
			}
		}
		what, r, size, err := h.framer.next()
		h.waiting = false
		switch what {
		case frameRecord, frameMaybe:
			if h.waiting = c.waits(d, r); h.waiting {
				return false, nil
			}
			if what == frameMaybe && !c.probe(d, r) {
				return false, nil
			}
			off := h.off
			h.take(size)
			if ok, err := c.record(d, r, off, e); ok || err != nil {
				return ok, err
			}
		case frameCut:
			*e = h.cut
			h.prevLen = 0
			h.missed++
			c.status.LostRecords++
			return true, nil
		case frameGap:
			c.gap(h, size)
		case frameBad:
			h.hs = h.hs[:0]
			h.lost, h.unsure, h.prevLen = true, true, 0
			return false, err
		default:
			return false, nil
		}
	}
}

// gap notes that n bytes are missing.
func (c *Conn) gap(h *half, n int64) {
	h.hs = h.hs[:0]
	h.lost, h.prevLen = true, 0
	h.lostSize += n
	if n == 0 {
		h.unsure = true
	}
	if h.level == levelClear && !h.noHello {
		// The hello that the other direction waits for may be in it.
		h.noHello = true
		c.changed = true
	}
}

// is13 tells whether the connection is TLS 1.3. Without a ServerHello it is
// when the client offers it and there are secrets for it.
func (c *Conn) is13() bool {
	if len(c.pairs) == 0 {
		return false
	}
	p := &c.pairs[0]
	if p.sh != nil {
		return isTLS13(p.sh.Version)
	}
	if p.ch == nil {
		return false
	}
	if c.guess == 0 {
		c.guess = -1
		if isTLS13(p.ch.MaxVersion()) && (len(c.lookup("SERVER_TRAFFIC_SECRET_0", &p.ch.Random)) > 0 || len(c.lookup("CLIENT_TRAFFIC_SECRET_0", &p.ch.Random)) > 0) {
			c.guess = 1
		}
	}
	return c.guess > 0
}

// pairOf is the handshake that the keys of a direction are from, nil when
// nothing of it was seen.
func (c *Conn) pairOf(h *half) *pair {
	i := h.level - 1
	if i < 0 || c.is13() {
		i = 0
	}
	if i >= len(c.pairs) {
		return nil
	}
	return &c.pairs[i]
}

// waits tells whether a record can only be opened when more of the other
// direction was seen.
func (c *Conn) waits(d int, r Record) bool {
	h, other := &c.half[d], &c.half[1-d]
	if h.released || c.client < 0 {
		return false
	}
	p := c.pairOf(h)
	if p == nil || p.ch != nil && p.sh != nil && (p.haveCKE || d == c.client) {
		return false
	}
	switch {
	case r.Type == TypeApplicationData, h.level > levelClear:
	case r.Type == TypeChangeCipherSpec, !h.ccs && !h.lost, clearHello(r.Payload):
		return false
	}
	if d == c.client {
		// Early data needs no ServerHello, and is best read in its place.
		early := p.ch != nil && p.ch.EarlyData && h.level <= levelEarly && len(c.earlySecrets(p)) > 0
		return p.ch != nil && p.sh == nil && !other.noHello && !(early && r.Type == TypeApplicationData)
	}
	if p.ch == nil || p.sh == nil {
		return p.sh != nil && !other.noHello
	}
	if isTLS13(p.sh.Version) || !keyIsSent(p.sh.CipherSuite) || other.level > levelClear || other.ccs || other.lost {
		return false
	}
	// Only the client's key exchange can name the secret.
	return len(c.lookup("CLIENT_RANDOM", &p.ch.Random)) == 0
}

func (c *Conn) earlySecrets(p *pair) [][]byte {
	return c.lookup("CLIENT_EARLY_TRAFFIC_SECRET", &p.ch.Random)
}

// probe tells whether what may be a record is one: it authenticates, or is a
// hello. What it opens is opened again.
func (c *Conn) probe(d int, r Record) bool {
	h := &c.half[d]
	if h.level == levelClear && r.Type == TypeHandshake && clearHello(r.Payload) {
		n := int(r.Payload[2])<<8 | int(r.Payload[3])
		return len(r.Payload) == 4+n
	}
	if h.probed == h.off+1 {
		return false
	}
	h.probed = h.off + 1
	if !c.encrypted(d, r) {
		return false
	}
	_, _, level, k, seq, why := c.open(d, r)
	if why != whyOpened || k.suite.prot == protNone {
		return false
	}
	c.proved(h, level, k, seq)
	h.base = seq // the record itself comes yet
	return true
}

// encrypted tells whether a record is protected, or was meant to be. It enters
// the first level where that is not said.
func (c *Conn) encrypted(d int, r Record) bool {
	h := &c.half[d]
	if c.is13() {
		if r.Type != TypeApplicationData {
			return false // RFC 8446, 5.2
		}
		if h.level == levelClear {
			h.level = levelHandshake
			if p := &c.pairs[0]; d == c.client && p.ch != nil && p.ch.EarlyData {
				h.level = levelEarly
			}
		}
		return true
	}
	if h.level == levelClear && h.ccs {
		if r.Type == TypeHandshake && clearHello(r.Payload) {
			return false // RFC 8446, D.4: after a HelloRetryRequest
		}
		h.level = 1
	}
	return h.level > levelClear || r.Type == TypeApplicationData
}

// record takes one whole record. Without an event and an error it was part of
// a handshake message.
func (c *Conn) record(d int, r Record, off int64, e *Event) (ok bool, err error) {
	h := &c.half[d]
	*e = Event{Kind: recordKind(r.Type), Off: off, End: h.off, Len: len(r.Payload)}
	enc := c.encrypted(d, r)
	maybe := !enc && h.lost && h.level == levelClear && len(c.pairs) > 0 && !c.is13() &&
		(r.Type == TypeHandshake && !clearHello(r.Payload) || r.Type == TypeAlert && len(r.Payload) > 2)
	if enc || maybe {
		typ, plain, level, k, seq, why := c.open(d, r)
		if why == whyOpened {
			h.keepEnd(r)
			c.proved(h, level, k, seq)
			c.status.Records++
			c.status.Opened++
			if level == levelEarly && c.is13() {
				c.status.EarlyData = true
			}
			if k.suite.prot == protNone {
				c.null = true
			}
			return c.content(d, typ, plain, off, e, k.suite.prot != protNone)
		}
		if enc {
			h.keepEnd(r)
			h.hs = h.hs[:0]
			h.missed++
			c.status.Records++
			c.status.Failed++
			c.failed[why]++
			return true, nil
		}
	}
	if r.Type == TypeChangeCipherSpec {
		h.ccs, h.framer.encrypted = true, true
		if d != c.client && !h.done && !h.lost && c.client >= 0 && len(c.pairs) > 0 && !c.is13() && c.pairs[0].sh != nil {
			c.status.Resumed = true // RFC 5077, 3.1: with a ticket, and no session id
		}
	}
	return c.content(d, r.Type, r.Payload, off, e, false)
}

// keepEnd keeps the end of a record: it has the next one's IV in TLS 1.0.
func (h *half) keepEnd(r Record) {
	h.prevLen = copy(h.prev[:], r.Payload[max(0, len(r.Payload)-len(h.prev)):])
}

// proved notes that a record was opened.
func (c *Conn) proved(h *half, level int, k *keys, seq uint64) {
	switch {
	case level != h.level:
		h.hs = h.hs[:0]
		c.status.LostRecords += int64(seq)
	case seq > h.base+h.missed:
		c.status.LostRecords += int64(seq - h.base - h.missed)
	}
	h.level, h.proven, h.ever = level, true, true
	if !isTLS13(k.version) && k.suite.prot != protNone && level <= len(c.pairs) {
		if p := &c.pairs[level-1]; p.master == nil {
			p.master = k.secret
			c.remember(p)
		}
	}
	if e := &h.epochs[level%len(h.epochs)]; e.level != level || len(e.keys) != 1 {
		*e = epoch{level: level, keys: []*keys{k}, ok: true}
	}
	h.base, h.missed = seq+1, 0
	h.found()
}

// remember keeps the session of a handshake for those that resume it.
func (c *Conn) remember(p *pair) {
	if p.master == nil {
		return
	}
	c.shared.remember(p.ticket, p.master)
	if p.sh != nil {
		c.shared.remember(p.sh.SessionID, p.master)
	}
}

// found forgets what may be missing.
func (h *half) found() {
	h.lost, h.unsure, h.lostSize = false, false, 0
	h.skipBase = h.Skipped
}

// enter goes to a level of which no record was seen yet.
func (h *half) enter(level int) {
	h.level, h.proven = level, false
	h.base, h.missed = 0, 0
	h.found()
}

// open tries the keys that may fit a record.
func (c *Conn) open(d int, r Record) (typ uint8, plain []byte, level int, k *keys, seq uint64, why reason) {
	h := &c.half[d]
	h.hdr = [recordHead]byte{r.Type, byte(r.Version >> 8), byte(r.Version), byte(len(r.Payload) >> 8), byte(len(r.Payload))}
	if c.out == nil {
		c.out = c.scratch()
	}
	prev := h.prev[:h.prevLen]
	guess := h.base + h.missed
	cost := int64(len(r.Payload)) + trialCost
	why = whyNoHello
	if h.level > levelClear {
		var ks []*keys
		ks, why = c.keysOf(d, h.level)
		for i, k := range ks {
			if i > 0 {
				if c.trials -= cost; c.trials < 0 {
					return 0, nil, 0, nil, 0, whyWrongKey
				}
			}
			if typ, plain, ok := k.open(c.out, h.hdr[:], r.Payload, guess, prev); ok {
				return typ, plain, h.level, k, guess, whyOpened
			}
		}
		if len(ks) > 0 {
			why = whyWrongKey
		}
	}
	if h.ever {
		why = whyDamaged
	}

	top := h.level
	switch {
	case c.is13():
		if h.level >= levelApplication {
			if h.proven {
				top++ // a KeyUpdate may be lost
			}
		} else {
			top = levelApplication
		}
	case h.lost:
		top = min(h.level+1, len(c.pairs))
	}
	for level := max(h.level, 1); level <= top; level++ {
		ks, missing := c.keysOf(d, level)
		if len(ks) > 0 && why == whyNoKey || why == whyNoHello {
			why = missing
			if len(ks) > 0 {
				why = whyWrongKey
			}
		}
		first, count := uint64(0), uint64(1)
		if level == h.level {
			first = h.base
		}
		if h.lost {
			first, count = h.window(first)
		}
		for _, k := range ks {
			if k.suite.prot == protNone {
				continue // it would open anything
			}
			if k.chained() && len(prev) == 0 && first > 0 {
				continue // its IV is lost
			}
			for seq := first; seq < first+count; seq++ {
				if level == h.level && seq == guess {
					continue
				}
				if c.trials -= cost; c.trials < 0 {
					return 0, nil, 0, nil, 0, why
				}
				if typ, plain, ok := k.open(c.out, h.hdr[:], r.Payload, seq, prev); ok {
					return typ, plain, level, k, seq, whyOpened
				}
			}
		}
	}
	if p := c.pairOf(h); c.is13() && d == c.client && h.level <= levelHandshake && !h.proven && p.ch != nil && p.ch.EarlyData {
		why = whyEarly
	}
	return 0, nil, 0, nil, 0, why
}

// scratch is where records are opened: one place for all connections that
// share it, since there may be many of them.
func (c *Conn) scratch() []byte {
	if c.shared == nil {
		return make([]byte, maxRecord)
	}
	if c.shared.out == nil {
		c.shared.out = make([]byte, maxRecord)
	}
	return c.shared.out
}

// window is where to search a sequence number after gaps: the lost bytes, with
// those that were passed over since, are so many records at least, and at most.
func (h *half) window(first uint64) (from, count uint64) {
	if h.unsure {
		return first, searchUnknown
	}
	lost := h.lostSize + h.Skipped - h.skipBase
	least := max(0, h.lostSize/(recordHead+maxRecord)-2)
	most := lost/minProtected + 1 + int64(min(h.missed, searchMost))
	return first + uint64(least), uint64(min(most-least, searchMost))
}

// keysOf gives the candidates for a level of a direction, or why there are none.
func (c *Conn) keysOf(d, level int) ([]*keys, reason) {
	h := &c.half[d]
	e := &h.epochs[level%len(h.epochs)]
	if !e.ok || e.level != level {
		*e = epoch{level: level}
		if c.is13() {
			e.keys, e.why = c.keys13(d, level)
		} else {
			e.keys, e.why = c.keys12(d, level)
		}
		e.ok = e.why != whyNoHello // it may come
	}
	return e.keys, e.why
}

func (c *Conn) keys13(d, level int) (ks []*keys, why reason) {
	p := &c.pairs[0]
	if p.ch == nil {
		return nil, whyNoHello
	}
	if level > levelApplication {
		before := &c.half[d].epochs[(level-1)%len(c.half[d].epochs)]
		if !before.ok || before.level != level-1 {
			return nil, whyNoKey
		}
		for _, k := range before.keys {
			ks = append(ks, k.update())
		}
		return ks, whyNoKey
	}
	if level == levelEarly && d != c.client {
		return nil, whyNoKey
	}
	side := 0
	if d != c.client {
		side = 1
	}
	label := [2][4]string{
		{"", "CLIENT_EARLY_TRAFFIC_SECRET", "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"},
		{"", "", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"},
	}[side][level]
	var one []*suite
	if p.sh != nil && level != levelEarly {
		s := suiteOf(p.sh.CipherSuite)
		if s == nil || p.sh.CipherSuite>>8 != 0x13 {
			return nil, whySuite
		}
		one = []*suite{s}
	}
	for i, secret := range c.lookup(label, &p.ch.Random) {
		if i == maxSecrets {
			break
		}
		list := one
		if list == nil {
			list = suites13(len(secret))
		}
		for _, s := range list {
			if k := newKeys13(s, secret); k != nil {
				ks = append(ks, k)
			}
		}
	}
	return ks, whyNoKey
}

func (c *Conn) keys12(d, level int) ([]*keys, reason) {
	if level < 1 || level > len(c.pairs) || c.client < 0 {
		return nil, whyNoHello
	}
	p := &c.pairs[level-1]
	side := 0
	if d != c.client {
		side = 1
	}
	if p.derived {
		return p.keys[side], p.why
	}
	if p.ch == nil || p.sh == nil {
		return nil, whyNoHello
	}
	s := suiteOf(p.sh.CipherSuite)
	switch v := p.sh.Version; {
	case v < 0x0301 || v > 0x0303:
		p.why = whyVersion
	case s == nil || p.sh.CipherSuite>>8 == 0x13:
		p.why = whySuite
	case p.sh.Compression != 0:
		p.why = whyCompressed
	default:
		p.why = whyNoKey
	}
	p.derived = true
	if p.why != whyNoKey {
		return nil, p.why
	}
	var masters [][]byte
	if s.prot == protNone {
		masters = [][]byte{nil}
	} else {
		masters = c.masters(p, s)
	}
	for i, m := range masters {
		if i == maxSecrets {
			break
		}
		pair := newKeys12(p.sh.Version, s, m, p.ch.Random[:], p.sh.Random[:], p.sh.EncryptThenMAC)
		for i, k := range pair {
			if k != nil {
				p.keys[i] = append(p.keys[i], k)
			}
		}
	}
	return p.keys[side], p.why
}

// masters finds the master secrets of a handshake.
func (c *Conn) masters(p *pair, s *suite) (masters [][]byte) {
	for _, m := range c.lookup("CLIENT_RANDOM", &p.ch.Random) {
		if len(m) == 48 {
			masters = append(masters, m)
		}
	}
	if len(p.sh.SessionID) == 32 {
		for _, m := range c.lookup("RSA Session-ID", (*[32]byte)(p.sh.SessionID)) {
			if len(m) == 48 {
				masters = append(masters, m)
			}
		}
	}
	if m := c.shared.session(p.ch.Ticket); m != nil {
		masters = append(masters, m)
	}
	if bytes.Equal(p.ch.SessionID, p.sh.SessionID) {
		if m := c.shared.session(p.sh.SessionID); m != nil {
			masters = append(masters, m)
		}
	}
	if !p.haveCKE {
		return masters
	}
	for _, pre := range c.lookup("RSA", &p.cke) {
		if len(pre) != 48 {
			continue // RFC 5246, 7.4.7.1
		}
		if p.sh.MasterSecret {
			// RFC 7627, 4: it would need the whole handshake.
			p.why = whyPreMaster
			break
		}
		seed := append(p.ch.Random[:len(p.ch.Random):len(p.ch.Random)], p.sh.Random[:]...)
		masters = append(masters, prf12(p.sh.Version, s, pre, "master secret", seed, 48))
	}
	return masters
}

// content takes what is in a record.
func (c *Conn) content(d int, typ uint8, b []byte, off int64, e *Event, opened bool) (ok bool, err error) {
	h := &c.half[d]
	e.Kind, e.Decrypted = recordKind(typ), opened
	if typ == TypeHandshake {
		if len(h.hs) == 0 && !c.begins(b, h) {
			e.Truncated = opened
			return true, nil
		}
		h.opened = opened
		h.add(b, off, h.off)
		return false, nil
	}
	if n := len(h.hs); n > 0 {
		// RFC 8446, 5.1: no other records within a handshake message.
		h.hs = h.hs[:0]
		e.Err = &wire.Error{Proto: "tls", Field: "handshake", Msg: fmt.Sprintf("want the rest of a message of which %d bytes are there, have a record of type %d", n, typ)}
	}
	switch typ {
	case TypeAlert:
		if len(b) == 2 {
			e.Alert = Alert{b[0], b[1]}
		}
	case TypeApplicationData:
		e.Data = b
	case TypeChangeCipherSpec:
		if h.level > levelClear && !c.is13() {
			h.enter(h.level + 1) // it was itself protected: a renegotiation
		}
	case TypeHeartbeat:
	default:
		e.Err = &wire.Error{Proto: "tls", Field: "content type", Msg: fmt.Sprintf("want 20 to 24, have %d", typ)}
	}
	return true, nil
}

// begins tells whether a handshake message may begin at b. Only after a gap
// can it be otherwise.
func (c *Conn) begins(b []byte, h *half) bool {
	if len(b) < 4 {
		return true
	}
	n := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	switch b[0] {
	case 0, hsServerHelloDone:
		return n == 0 && !c.is13()
	case hsEndOfEarlyData:
		return n == 0
	case hsClientHello, hsServerHello:
		return n >= 38 && n <= maxHandshake
	case hsKeyUpdate:
		return n == 1
	case hsFinished:
		return n == 12 || n == 36 || n == 32 || n == 48
	case 3, 4, hsEncryptedExtensions, hsCertificate, 12, 13, 15, hsClientKeyExchange, 21, 22, 23, 25, 67, 254:
		return n <= maxHandshake
	}
	return false
}

// handshake takes a handshake message.
func (c *Conn) handshake(d int, e *Event, body []byte) {
	h := &c.half[d]
	switch {
	case e.ClientHello != nil:
		c.clientHello(d, e.ClientHello)
	case e.ServerHello != nil:
		c.serverHello(d, e.ServerHello)
	case e.HandshakeType == hsServerHelloDone:
		h.done = true
	case e.HandshakeType == hsClientKeyExchange && d == c.client && len(c.pairs) > 0:
		// RFC 5246, 7.4.7.1: a length, and the encrypted pre-master secret.
		p := &c.pairs[len(c.pairs)-1]
		p.cke, p.haveCKE = [32]byte{}, true
		if len(body) >= 10 {
			copy(p.cke[:8], body[2:])
		}
		c.changed = true
	}
	if e.HandshakeType == hsNewSessionTicket && d != c.client && len(c.pairs) > 0 && !c.is13() && len(body) >= 6 {
		// RFC 5077, 3.3: a lifetime, a length, and the ticket.
		p := &c.pairs[len(c.pairs)-1]
		p.ticket = bytes.Clone(body[6:])
		c.remember(p)
	}
	if !e.Decrypted || !c.is13() {
		return
	}
	switch e.HandshakeType {
	case hsEncryptedExtensions:
		alpn, early, _ := parseEncryptedExtensions(body)
		if d != c.client && h.level == levelHandshake {
			c.status.ALPN = alpn
			c.status.EarlyData = c.status.EarlyData || early
		}
	case hsEndOfEarlyData:
		if h.level == levelEarly {
			h.enter(levelHandshake)
		}
	case hsFinished:
		if h.level == levelHandshake {
			h.enter(levelApplication)
		}
	case hsKeyUpdate:
		if h.level >= levelApplication && h.proven {
			c.keysOf(d, h.level+1)
			h.enter(h.level + 1)
		}
	}
}

func (c *Conn) clientHello(d int, hello *ClientHello) {
	own := *hello // the event's is the caller's
	ch := &own
	if c.client < 0 {
		c.client = d
	}
	if d != c.client {
		return
	}
	if c.hellos[0] == 0 {
		c.status.SNI = ch.SNI
	}
	h := &c.half[d]
	if h.level == levelClear {
		h.found()
		h.noHello = false
	}
	c.changed = true
	n := c.hellos[0]
	if n > 0 && c.pairs[n-1].ch.Random == ch.Random {
		c.pairs[n-1].ch = ch // RFC 8446, 4.1.2: after a HelloRetryRequest
		return
	}
	if n == maxPairs {
		return
	}
	if n == len(c.pairs) {
		c.pairs = append(c.pairs, pair{})
	}
	c.pairs[n].ch = ch
	c.hellos[0]++
}

func (c *Conn) serverHello(d int, hello *ServerHello) {
	own := *hello // the event's is the caller's
	sh := &own
	if c.client < 0 {
		c.client = 1 - d
	}
	if d == c.client {
		return
	}
	h := &c.half[d]
	if h.level == levelClear {
		h.found()
		h.noHello = false
	}
	c.changed = true
	n := c.hellos[1]
	if sh.HelloRetryRequest || n == maxPairs {
		return
	}
	if n == len(c.pairs) {
		c.pairs = append(c.pairs, pair{})
	}
	c.pairs[n].sh = sh
	c.hellos[1]++
	if n > 0 {
		return
	}
	c.status.Version, c.status.CipherSuite, c.status.ALPN = sh.Version, sh.CipherSuite, sh.ALPN
	if isTLS13(sh.Version) {
		h.enter(levelHandshake)
		c.half[0].tls13, c.half[1].tls13 = true, true
	}
}

// Status tells what is known so far. It is final when both directions are
// finished and Next has nothing more.
func (c *Conn) Status() Status {
	s := c.status
	if len(c.pairs) > 0 {
		if p := &c.pairs[0]; p.sh != nil && p.ch != nil {
			s.Resumed = s.Resumed || p.sh.PSK || !isTLS13(p.sh.Version) && len(p.sh.SessionID) > 0 && bytes.Equal(p.sh.SessionID, p.ch.SessionID)
		}
	}
	most := whyOpened
	for w, n := range c.failed {
		if n > c.failed[most] {
			most = reason(w)
		}
	}
	switch {
	case s.Records == 0:
		s.Note = "no encrypted record was seen"
		if s.LostBytes > 0 {
			s.Note += fmt.Sprintf("; %d bytes are lost in gaps", s.LostBytes)
		}
		return s
	case c.null && s.Failed == 0:
		s.Note = "the null cipher does not encrypt"
		return s
	case s.Opened > 0 && s.Failed == 0 && s.LostBytes == 0:
		s.Encryption = Decrypted
		return s
	case s.Opened > 0:
		s.Encryption = Partly
		switch {
		case s.Failed > 0:
			s.Note = fmt.Sprintf("%s not opened: %s", count(s.Failed, "record"), c.because(most))
			if s.LostBytes > 0 {
				s.Note += fmt.Sprintf("; %d bytes are lost in gaps", s.LostBytes)
			}
		case s.LostRecords > 0:
			s.Note = fmt.Sprintf("%s lost in gaps of %d bytes", count(s.LostRecords, "record"), s.LostBytes)
		default:
			s.Note = fmt.Sprintf("%d bytes are lost in gaps", s.LostBytes)
		}
		return s
	}
	s.Note = c.because(most)
	switch most {
	case whyNoHello:
		s.Encryption = NoHandshake
	case whySuite, whyVersion, whyCompressed, whyPreMaster:
		s.Encryption = UnsupportedCipher
	case whyWrongKey, whyDamaged:
		s.Encryption = WrongKey
	case whyEarly:
		s.Encryption = NoKey
		if c.haveKeys() {
			s.Encryption, s.Note = WrongKey, c.because(whyWrongKey)
		}
	default:
		s.Encryption = NoKey
	}
	return s
}

// haveKeys tells whether a secret was there to be tried.
func (c *Conn) haveKeys() bool {
	for i := range c.half {
		for _, e := range c.half[i].epochs {
			if len(e.keys) > 0 {
				return true
			}
		}
	}
	return false
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (c *Conn) because(w reason) string {
	switch w {
	case whyNoHello:
		switch {
		case c.hellos[0]+c.hellos[1] == 0:
			return "the connection began before the capture, or its hellos are lost"
		case c.hellos[0] == 0:
			return "the ClientHello was not seen"
		}
		return "the ServerHello was not seen"
	case whySuite:
		for _, p := range c.pairs {
			if p.sh != nil && suiteOf(p.sh.CipherSuite) == nil {
				return "cipher suite " + CipherText(p.sh.CipherSuite) + " is not read here"
			}
		}
		return "the cipher suite does not belong to the version"
	case whyVersion:
		return VersionText(c.status.Version) + " is not read here"
	case whyCompressed:
		return "TLS compression is not read here"
	case whyPreMaster:
		return "a pre-master secret does not suffice for an extended master secret"
	case whyNoKey:
		return "there is no secret for this client random"
	case whyWrongKey:
		return "the secrets for this client random do not authenticate"
	case whyEarly:
		return "there is no secret for the 0-RTT data, or it was refused"
	case whyDamaged:
		return "they do not authenticate"
	}
	return ""
}
