package tls

import (
	"fmt"

	"github.com/twtrace/twtrace/internal/wire"
)

// framer cuts one direction of a stream into records, over gaps too. Bytes are
// fed in order; what next gives stays at the front until take.
type framer struct {
	// Skipped counts bytes that were passed over in search of a record.
	Skipped int64

	buf  []byte
	pos  int   // of the first unread byte in buf
	off  int64 // stream offset of buf[pos]
	gaps []gap // that lie among the unread bytes

	searching bool // for a record header
	encrypted bool // a ChangeCipherSpec may be longer than one byte
	closed    bool
	skip      int   // bytes left of a record in which others were lost
	cut       Event // that record, when skip is done
	cutOpen   bool
}

// gap is n lost bytes after the first at of the unread ones; n is 0 when it is
// not known how many.
type gap struct {
	at int
	n  int64
}

// Feed appends the stream's next bytes, which are copied.
func (f *framer) Feed(b []byte) {
	if unread := len(f.buf) - f.pos; f.pos > 0 && (unread <= f.pos || cap(f.buf)-len(f.buf) < len(b)) {
		copy(f.buf, f.buf[f.pos:])
		f.buf = f.buf[:unread]
		f.pos = 0
	}
	f.buf = append(f.buf, b...)
}

// Finish tells that the stream has ended, so that a search accepts a last
// record with nothing after it.
func (f *framer) Finish() { f.closed = true }

// Offset is the stream offset of the first byte that is not yet read.
func (f *framer) Offset() int64 { return f.off }

// maxGaps bounds the gaps that wait; beyond it they are joined, and the bytes
// between them are lost.
const maxGaps = 1 << 12

func (f *framer) lose(n int64) {
	at := len(f.buf) - f.pos
	if k := len(f.gaps); k > 0 && (f.gaps[k-1].at == at || k == maxGaps) {
		last := &f.gaps[k-1]
		between := at - last.at
		f.buf = f.buf[:len(f.buf)-between]
		f.Skipped += int64(between)
		if last.n > 0 && n > 0 {
			last.n += n + int64(between)
		} else {
			last.n = 0
		}
		return
	}
	f.gaps = append(f.gaps, gap{at, n})
}

// front is what can be read before the next gap; end tells that nothing
// follows it.
func (f *framer) front() (b []byte, end bool) {
	b = f.buf[f.pos:]
	if len(f.gaps) > 0 {
		return b[:f.gaps[0].at], true
	}
	return b, f.closed
}

func (f *framer) advance(n int) {
	f.pos += n
	f.off += int64(n)
	for i := range f.gaps {
		f.gaps[i].at -= n
	}
}

// frame is what stands at the front of a framer.
type frame uint8

const (
	frameNone   frame = iota // more bytes are needed
	frameRecord              // a whole record
	frameMaybe               // what would be a record, but nothing that follows says so
	frameCut                 // a record in which bytes were lost: framer.cut; it is taken already
	frameGap                 // a gap; it is taken already
	frameBad                 // no record header; a search begins
)

// next tells what stands at the front. Of a record size is the whole length;
// of a gap the bytes lost.
func (f *framer) next() (what frame, r Record, size int64, err error) {
	b, _ := f.front()
	if f.cutOpen {
		n := min(f.skip, len(b))
		f.advance(n)
		if f.skip -= n; f.skip == 0 {
			f.cutOpen = false
			return frameCut, r, 0, nil
		}
		if len(f.gaps) > 0 {
			return frameGap, r, f.takeGap(), nil
		}
		return frameNone, r, 0, nil
	}
	if f.searching {
		maybe := f.search()
		switch b, _ = f.front(); {
		case maybe:
			n := recordHead + recordLen(b)
			return frameMaybe, Record{b[0], uint16(b[1])<<8 | uint16(b[2]), b[recordHead:n:n]}, int64(n), nil
		case f.searching && len(f.gaps) > 0:
			return frameGap, r, f.takeGap(), nil
		case f.searching:
			return frameNone, r, 0, nil
		}
	}
	if len(b) >= recordHead {
		if !f.looks(b) {
			err := &wire.Error{Proto: "tls", Field: "record", Off: f.off, Msg: fmt.Sprintf("want a record header, have %x", b[:recordHead])}
			f.searching = true
			f.advance(1)
			f.Skipped++
			return frameBad, r, 0, err
		}
		if n := recordHead + recordLen(b); n <= len(b) {
			return frameRecord, Record{b[0], uint16(b[1])<<8 | uint16(b[2]), b[recordHead:n:n]}, int64(n), nil
		}
	}
	if len(f.gaps) == 0 {
		return frameNone, r, 0, nil
	}
	return frameGap, r, f.takeGap(), nil
}

// take passes over a record that next gave.
func (f *framer) take(size int64) {
	f.searching = false
	f.advance(int(size))
}

// takeGap goes over the gap at the front. When it lies within one record,
// reading goes on after it; else the next plausible record header is searched.
func (f *framer) takeGap() int64 {
	unread, _ := f.front()
	n := f.gaps[0].n
	if f.gaps = f.gaps[1:]; len(f.gaps) == 0 {
		f.gaps = nil
	}
	// The gaps that follow count from the same byte, so nothing else moves.
	switch {
	case n > 0 && f.cutOpen && n <= int64(f.skip):
		f.skip -= int(n)
		f.off += n
		return n
	case n > 0 && !f.cutOpen && !f.searching && len(unread) >= recordHead && f.looks(unread):
		size := recordHead + recordLen(unread)
		if rest := size - len(unread); rest > 0 && n <= int64(rest) {
			f.cut = Event{Kind: recordKind(unread[0]), Off: f.off, End: f.off + int64(size), Len: size - recordHead, Truncated: true}
			f.cutOpen = true
			f.skip = rest - int(n)
			f.advance(len(unread))
			f.off += n
			return n
		}
	}
	f.cutOpen, f.skip = false, 0
	f.Skipped += int64(len(unread))
	f.advance(len(unread))
	f.off += n
	f.searching = true
	return n
}

// looks is Looks, for a stream in which a ChangeCipherSpec may be encrypted
// too, as in a renegotiation.
func (f *framer) looks(b []byte) bool {
	if f.encrypted && len(b) >= recordHead && b[0] == TypeChangeCipherSpec && b[1] == 3 && b[2] <= 3 {
		n := recordLen(b)
		return n == 1 || n >= 17 && n <= 512
	}
	return Looks(b)
}

// search passes over bytes up to a record header that another one follows.
// maybe tells that what it found is whole but the last that is there.
func (f *framer) search() (maybe bool) {
	b, end := f.front()
	for i := range b {
		if len(b)-i < recordHead {
			if !end {
				f.Skipped += int64(i)
				f.advance(i)
				return false
			}
			break
		}
		if !f.looks(b[i:]) {
			continue
		}
		rest := b[i+recordHead:]
		n := recordLen(b[i:])
		switch {
		case len(rest) >= n+recordHead && f.looks(rest[n:]), end && len(rest) == n:
			f.searching = false
		case len(rest) >= n+recordHead || end:
			continue
		}
		f.Skipped += int64(i)
		f.advance(i)
		return f.searching && len(rest) == n
	}
	f.Skipped += int64(len(b))
	f.advance(len(b))
	return false
}

// messages puts handshake messages together from records.
type messages struct {
	hs      []byte // handshake bytes that make no whole message yet
	hsOff   int64  // of the record in which they began
	hsEnd   int64
	lastOff int64 // of the last handshake record
	tls13   bool  // Certificate is that of TLS 1.3
}

func (m *messages) add(payload []byte, off, end int64) {
	if len(m.hs) == 0 {
		m.hsOff = off
	}
	m.hs = append(m.hs, payload...)
	m.lastOff, m.hsEnd = off, end
}

// message takes one whole message from the handshake bytes. body aliases them.
func (m *messages) message(e *Event) (body []byte, ok bool, fault error) {
	if len(m.hs) < 4 {
		return nil, false, nil
	}
	n := int(m.hs[1])<<16 | int(m.hs[2])<<8 | int(m.hs[3])
	if n > maxHandshake {
		m.hs = m.hs[:0]
		return nil, false, &wire.Error{Proto: "tls", Field: "handshake", Off: m.hsOff, Msg: fmt.Sprintf("want a message of at most %d bytes, have %d", maxHandshake, n)}
	}
	if len(m.hs) < 4+n {
		return nil, false, nil
	}
	var err error
	typ, body := m.hs[0], m.hs[4:4+n]
	*e = Event{Kind: KindHandshake, Off: m.hsOff, End: m.hsEnd, Len: n, HandshakeType: typ}
	switch typ {
	case hsClientHello:
		e.Kind = KindClientHello
		e.ClientHello, err = ParseClientHello(body)
	case hsServerHello:
		e.Kind = KindServerHello
		e.ServerHello, err = ParseServerHello(body)
	case hsEncryptedExtensions:
		if m.tls13 {
			e.ALPN, _, err = parseEncryptedExtensions(body)
		}
	case hsCertificate:
		e.Kind = KindCertificate
		if m.tls13 {
			e.Certificate, err = ParseCertificate13(body)
		} else {
			e.Certificate, err = ParseCertificate(body)
		}
	}
	if we, bad := err.(*wire.Error); bad {
		we.Off += 4
		e.Err = we
	}
	m.hs = m.hs[4+n:]
	m.hsOff = m.lastOff // messages are taken at once, so what is left began there
	return body, true, nil
}
