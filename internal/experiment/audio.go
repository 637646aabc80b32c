package experiment

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/sessions"
)

const (
	audioHz     = 8000     // G.711 (RFC 3551 4.5.14)
	maxAudio    = 4 * 3600 // seconds of a call that are written
	eventSilent = 13       // comfort noise (RFC 3389)
	silence     = int16(0) // what a gap sounds like
	wavHead     = 44       // bytes before the samples
	maxSamples  = maxAudio * audioHz
)

// Audio writes the media of one call as a WAV file: 16 bit, 8 kHz, stereo, the
// caller left and the callee right, in sync by capture time, gaps as silence.
// Only G.711 can be written; another codec, or media that could not be
// decrypted, is an error that says so.
func Audio(ctx context.Context, e Experiment, opt Options, callID string, w io.Writer) error {
	res, err := Analyze(ctx, e, opt)
	if err != nil {
		return err
	}
	call, streams, err := mediaOf(res, callID)
	if err != nil {
		return err
	}
	m := newMixer(call, streams)
	dec, err := decode.Open(placeOf(e.Files, streams), decode.Options{Start: opt.Start, End: opt.End})
	if err != nil {
		return err
	}
	for ev := range dec.Events(ctx) {
		if ev.Kind == decode.EventRTP {
			m.add(ev)
		}
	}
	if err := dec.Err(); err != nil {
		return err
	}
	return m.write(w)
}

// mediaOf finds a call's streams and checks that they can be heard.
func mediaOf(res *Result, callID string) (*sessions.Call, []sessions.Stream, error) {
	call, err := callOf(res, callID)
	if err != nil {
		return nil, nil, err
	}
	var out []sessions.Stream
	for _, s := range res.Data.Streams.All() {
		if s.CallID != call.CallID {
			continue
		}
		if s.Encrypted && !s.Decrypted {
			return nil, nil, fmt.Errorf("stream %d of the call is encrypted and no key opens it; `twtrace keys` says why", s.StreamID)
		}
		for _, pt := range s.PayloadTypes {
			if pt != 0 && pt != 8 && pt != eventSilent && (pt < 96 || s.Codec != "PCMU" && s.Codec != "PCMA" && s.Codec != "telephone-event") {
				return nil, nil, fmt.Errorf("stream %d of the call has codec %s (payload type %d): not supported, only G.711 is", s.StreamID, s.Codec, pt)
			}
		}
		out = append(out, *s)
	}
	if len(out) == 0 {
		return nil, nil, errors.New("the call has no media in this capture")
	}
	return call, out, nil
}

// track is where one stream's samples go.
type track struct {
	row     sessions.Stream
	channel int
	begun   bool
	ts      uint32 // of the packet before
	at      int64  // its place in samples from the call's first packet
}

type mixer struct {
	tracks []track
	start  decode.Time
	pcm    [2][]int16
}

// newMixer gives each stream its channel: the first that reached the callee is
// the caller's voice, and so are others from the same address.
func newMixer(call *sessions.Call, streams []sessions.Stream) *mixer {
	m := &mixer{start: streams[0].FirstAt}
	caller := ""
	for _, s := range streams {
		m.start = min(m.start, s.FirstAt)
		if caller == "" && s.FirstAt == call.FirstMediaInAt {
			caller = s.Src
		}
	}
	for _, s := range streams {
		t := track{row: s, channel: 1}
		if s.Src == caller {
			t.channel = 0
		}
		m.tracks = append(m.tracks, t)
	}
	return m
}

func (m *mixer) add(ev *decode.Event) {
	h := ev.RTP
	for i := range m.tracks {
		t := &m.tracks[i]
		if t.row.SSRC != h.SSRC || ev.Time < t.row.FirstAt || ev.Time > t.row.LastAt {
			continue
		}
		src, dst := ev.Src(), ev.Dst()
		if uint32(src.Port()) != t.row.SrcPort || uint32(dst.Port()) != t.row.DstPort || src.Addr().String() != t.row.Src || dst.Addr().String() != t.row.Dst {
			continue
		}
		if !t.begun {
			t.begun, t.at = true, int64(ev.Time-m.start)*audioHz/1e9
		} else {
			t.at += int64(int32(h.Timestamp - t.ts))
		}
		t.ts = h.Timestamp
		if h.PayloadType == 0 || h.PayloadType == 8 {
			m.place(t, h.PayloadType == 8, h.Payload)
		}
		return
	}
}

func (m *mixer) place(t *track, aLaw bool, payload []byte) {
	end := t.at + int64(len(payload))
	if t.at < 0 || end > maxSamples {
		return
	}
	pcm := m.pcm[t.channel]
	if n := int(end) - len(pcm); n > 0 {
		pcm = append(pcm, make([]int16, n)...)
	}
	for i, b := range payload {
		if aLaw {
			pcm[int(t.at)+i] = fromALaw(b)
		} else {
			pcm[int(t.at)+i] = fromMuLaw(b)
		}
	}
	m.pcm[t.channel] = pcm
}

// write writes a RIFF WAVE file of both channels.
func (m *mixer) write(w io.Writer) error {
	n := max(len(m.pcm[0]), len(m.pcm[1]))
	if n == 0 {
		return errors.New("the call's media has no audio that could be decoded")
	}
	head := make([]byte, 0, wavHead)
	head = append(head, "RIFF"...)
	head = binary.LittleEndian.AppendUint32(head, uint32(wavHead-8+4*n))
	head = append(head, "WAVEfmt "...)
	head = binary.LittleEndian.AppendUint32(head, 16)
	for _, v := range [...]uint16{1, 2} { // PCM, stereo
		head = binary.LittleEndian.AppendUint16(head, v)
	}
	head = binary.LittleEndian.AppendUint32(head, audioHz)
	head = binary.LittleEndian.AppendUint32(head, 4*audioHz)
	for _, v := range [...]uint16{4, 16} { // bytes a frame, bits a sample
		head = binary.LittleEndian.AppendUint16(head, v)
	}
	head = append(head, "data"...)
	head = binary.LittleEndian.AppendUint32(head, uint32(4*n))
	if _, err := w.Write(head); err != nil {
		return err
	}
	buf := make([]byte, 0, 32<<10)
	for i := range n {
		for _, pcm := range m.pcm {
			v := silence
			if i < len(pcm) {
				v = pcm[i]
			}
			buf = binary.LittleEndian.AppendUint16(buf, uint16(v))
		}
		if len(buf) == cap(buf) || i == n-1 {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return nil
}

// fromMuLaw decodes a sample of G.711 mu-law: sign, exponent and mantissa,
// all bits inverted, with a bias of 132.
func fromMuLaw(b byte) int16 {
	b = ^b
	v := (int16(b&0x0F)<<3 + 132) << (b >> 4 & 7)
	if b&0x80 != 0 {
		return 132 - v
	}
	return v - 132
}

// fromALaw decodes a sample of G.711 A-law: even bits inverted.
func fromALaw(b byte) int16 {
	b ^= 0x55
	v := int16(b&0x0F)<<4 + 8
	if e := b >> 4 & 7; e > 0 {
		v = (v + 0x100) << (e - 1)
	}
	if b&0x80 != 0 {
		return v
	}
	return -v
}
