package decode

import (
	"net/netip"

	"github.com/twtrace/twtrace/decode/dtls"
	"github.com/twtrace/twtrace/decode/sdp"
	"github.com/twtrace/twtrace/decode/srtp"
	"github.com/twtrace/twtrace/decode/tls"
)

// tlsMessages reads the records of a connection (RFC 8446 5), and gives on
// what could be opened.
func (d *Decoder) tlsMessages(f *Flow) {
	c := f.conn
	for !d.stopped {
		dir, ok, err := c.tls.Next(&d.tls)
		if err != nil {
			d.ledger.Count(LayerTLS, "malformed", 0)
			continue
		}
		if !ok {
			break
		}
		m, s := &d.tls, &c.wire.half[dir]
		size := int64(m.Len)
		f.Apps[AppTLS]++
		switch {
		case m.Truncated:
			d.ledger.Count(LayerTLS, "cut by a gap", size)
			d.lose(f, &c.plain, dir, 0)
			continue
		case (m.Kind == tls.KindApplicationData || m.Kind == tls.KindEncryptedHandshake) && !m.Decrypted:
			f.Encrypted = true
			c.sealed[dir].count++
			c.sealed[dir].bytes += size
			if m.Kind == tls.KindApplicationData { // its size and time still tell something
				d.at(f, s, dir, m.Off, m.End)
				d.event.Kind, d.event.TLS = EventTLS, m
				d.emit()
			}
			continue
		}
		d.ledger.Count(LayerTLS, ReasonUsed, size)
		if m.ALPN != "" {
			f.ALPN = m.ALPN
		}
		switch m.Kind {
		case tls.KindApplicationData:
			f.Encrypted = true
			d.at(f, s, dir, m.Off, m.End)
			p := d.event.Pos
			done := place{p.File, p.Frame}
			if len(m.Data) > 0 {
				d.take(f, &c.plain, dir, m.Data, mark{first: place{p.File, p.First}, done: done, time: d.event.Time, since: d.event.Since})
			}
			continue
		case tls.KindClientHello:
			f.ClientHello, f.tlsClient = true, dir
			if f.ServerName == "" && m.ClientHello.SNI != "" {
				f.ServerName, f.ServerNameBy = m.ClientHello.SNI, "sni"
			}
		case tls.KindServerHello:
			f.TLSVersion, f.TLSSuite, f.tlsClient = m.ServerHello.Version, m.ServerHello.CipherSuite, 1-dir
			if m.ServerHello.ALPN != "" {
				f.ALPN = m.ServerHello.ALPN
			}
		case tls.KindCertificate:
			if m.Certificate == nil {
				continue
			}
		default:
			continue // nothing for sessions in it
		}
		d.at(f, s, dir, m.Off, m.End)
		d.event.Kind, d.event.TLS, d.event.Decrypted = EventTLS, m, m.Decrypted
		d.emit()
	}
	for dir := range c.wire.half {
		if s := &c.wire.half[dir]; s.app == AppTLS {
			keep := c.tls.Offset(dir)
			if !f.Encrypted {
				keep -= 256 << 10 // a handshake message may lie in several records
			}
			s.forget(keep)
		}
	}
}

// closeTLS says how far a connection could be read.
func (d *Decoder) closeTLS(f *Flow) {
	c := f.conn
	if c.tls == nil {
		return
	}
	for dir := range c.wire.half {
		c.tls.Finish(dir)
	}
	d.tlsMessages(f)
	st := c.tls.Status()
	f.Encryption, f.EncryptionNote = st.Encryption.String(), st.Note
	for dir := range c.sealed {
		d.ledger.In(LayerTLS, c.sealed[dir].count)
		d.ledger.Out(LayerTLS, f.Encryption, c.sealed[dir].count, c.sealed[dir].bytes)
	}
	s := d.files[f.File]
	s.capture.TLSSessions++
	if st.Encryption == tls.Decrypted || st.Encryption == tls.Partly {
		s.capture.TLSDecrypted++
	}
	if c.plain.h2 != nil {
		c.plain.h2.Finish()
		d.http2Messages(f, &c.plain)
	}
}

// secureMedia is what a UDP flow needs to open SRTP: the DTLS association that
// gives the keys (RFC 5764), or keys of SDP (RFC 4568).
type secureMedia struct {
	dtls   *dtls.Conn
	ctx    [2]*srtp.Context // of what each direction sends
	opened int64
	failed int64
	tried  [2]int32 // SDES keys tried for a direction in vain
}

// sdesKey is a key that SDP gave for what is sent from an address.
type sdesKey struct {
	profile   srtp.Profile
	key, salt []byte
	mki       int
}

const (
	maxDTLS      = 1 << 16 // associations followed
	maxSDESKeys  = 1 << 18
	maxSDESSame  = 32 // of one address
	maxSDESTries = 256
)

// dtlsDatagram takes a DTLS payload, and makes the SRTP keys once the
// handshake gives them.
func (d *Decoder) dtlsDatagram(b []byte, size int64) {
	ev := &d.event
	f := ev.Flow
	if (f.secure == nil || f.secure.dtls == nil) && d.associations >= maxDTLS {
		d.ledger.Count(LayerDTLS, "too many sessions", size)
		d.capped(errDTLS)
		return
	}
	d.ledger.Count(LayerDTLS, ReasonUsed, size)
	if f.secure == nil {
		f.secure = &secureMedia{}
	}
	m := f.secure
	if m.dtls == nil {
		m.dtls = dtls.NewConn(d.secrets)
		d.associations++
	}
	m.dtls.Datagram(int(ev.Dir), b, int64(ev.Time))
	if m.ctx[0] == nil || m.ctx[1] == nil {
		if number, ck, sk, cs, ss, ok := m.dtls.SRTP(); ok {
			client := m.dtls.Status().ClientDir
			profile := srtp.ProfileOfDTLS(number)
			if client >= 0 {
				m.ctx[client], _ = srtp.NewContext(profile, ck, cs)
				m.ctx[1-client], _ = srtp.NewContext(profile, sk, ss)
			}
		}
	}
	ev.Kind = EventDTLS
	d.emit()
}

// keysInSDP remembers the keys that a session description gives for what its
// writer sends.
func (d *Decoder) keysInSDP(body []byte) {
	if sdp.Parse(body, &d.sdp) != nil {
		return
	}
	for i := range d.sdp.Media {
		md := &d.sdp.Media[i]
		addr := md.Addr.IP.Unmap()
		if len(md.Crypto) == 0 || !addr.IsValid() || md.Port <= 0 || md.Port > 65535 {
			continue
		}
		for _, c := range md.Crypto {
			p := srtp.ProfileOfSDES(c.Suite)
			key, salt, mki, err := srtp.ParseSDES(c.KeyParams)
			if err != nil {
				continue
			}
			k := sdesKey{p, key, salt, mki}
			d.addSDES(netip.AddrPortFrom(addr, uint16(md.Port)), k)
			if md.RTCPPort > 0 && md.RTCPPort <= 65535 {
				d.addSDES(netip.AddrPortFrom(addr, uint16(md.RTCPPort)), k)
			}
		}
	}
}

func (d *Decoder) addSDES(at netip.AddrPort, k sdesKey) {
	if d.sdes == nil {
		d.sdes = map[netip.AddrPort][]sdesKey{}
	}
	switch {
	case len(d.sdes[at]) >= maxSDESSame:
	case d.sdesKeys >= maxSDESKeys:
		d.capped(errSDES)
	default:
		d.sdes[at] = append(d.sdes[at], k)
		d.sdesKeys++
	}
}

// openMedia opens an SRTP or SRTCP packet. It returns the plain packet, or nil
// when the packet stays closed; secure tells that the flow is encrypted at all.
func (d *Decoder) openMedia(f *Flow, dir uint8, b []byte, wireLen int, control bool) (plain []byte, secure bool) {
	m := f.secure
	src := f.End(dir)
	if m == nil {
		if len(d.sdes) == 0 || len(d.sdes[src]) == 0 && len(d.sdes[f.End(1-dir)]) == 0 {
			return nil, false
		}
		m = &secureMedia{}
		f.secure = m
	}
	layer, size := LayerSRTP, int64(wireLen)
	open := func(c *srtp.Context) ([]byte, srtp.Result) {
		if control {
			return c.Control(b, wireLen, d.plain[:0])
		}
		return c.Packet(b, wireLen, d.plain[:0])
	}
	c := m.ctx[dir]
	if c == nil || m.dtls == nil {
		if p, fresh := d.trySDES(m, dir, src, open); p != nil {
			d.plain = p[:0]
			m.ctx[dir], c = fresh, nil
			m.opened++
			d.ledger.Count(layer, ReasonUsed, size)
			return p, true
		}
		if c == nil {
			m.failed++
			d.ledger.Count(layer, "no key", size)
			return nil, true
		}
	}
	p, r := open(c)
	if p == nil {
		m.failed++
		d.ledger.Count(layer, r.String(), size)
		return nil, true
	}
	d.plain = p[:0]
	m.opened++
	d.ledger.Count(layer, ReasonUsed, size)
	return p, true
}

// trySDES finds the key of SDP that opens a packet, the latest offer first.
func (d *Decoder) trySDES(m *secureMedia, dir uint8, src netip.AddrPort, open func(*srtp.Context) ([]byte, srtp.Result)) ([]byte, *srtp.Context) {
	if m.ctx[dir] != nil {
		if p, r := open(m.ctx[dir]); r == srtp.Decrypted {
			return p, m.ctx[dir]
		}
	}
	keys := d.sdes[src]
	for i := len(keys) - 1; i >= 0 && m.tried[dir] < maxSDESTries; i-- {
		c, err := srtp.NewContext(keys[i].profile, keys[i].key, keys[i].salt)
		if err != nil {
			m.tried[dir]++
			continue
		}
		c.MKILen = keys[i].mki
		if p, r := open(c); r == srtp.Decrypted {
			m.tried[dir] = 0
			return p, c
		}
		m.tried[dir]++
	}
	return nil, nil
}

// DTLSHello is when the first ClientHello of the flow's DTLS handshake began, 0
// while none was seen.
func (f *Flow) DTLSHello() Time {
	if f.secure == nil || f.secure.dtls == nil {
		return 0
	}
	return Time(f.secure.dtls.Status().ClientHelloAt)
}

// DTLSFinished is when the handshake was done as far as it was seen: the later
// Finished of both sides (RFC 6347 4.2.4), 0 before any.
func (f *Flow) DTLSFinished() Time {
	if f.secure == nil || f.secure.dtls == nil {
		return 0
	}
	return Time(f.secure.dtls.Status().FinishedAt)
}

// closeMedia says how far a UDP flow's encryption could be read.
func (f *Flow) closeMedia() {
	m := f.secure
	if m == nil {
		return
	}
	switch {
	case m.opened > 0 && m.failed == 0:
		f.Encryption = "decrypted"
	case m.opened > 0:
		f.Encryption, f.EncryptionNote = "partly", "some packets did not authenticate"
	case m.dtls != nil:
		st := m.dtls.Status()
		f.Encryption, f.EncryptionNote = st.State.String(), st.Note
	default:
		f.Encryption, f.EncryptionNote = "no-key", "no key of SDP authenticates"
	}
}
