package experiment

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/fixtures"
)

// The decoders' corner values (ITU-T G.711 tables 1a and 2a, scaled to 16 bit).
func TestG711(t *testing.T) {
	for b, want := range map[byte]int16{0xFF: 0, 0x7F: 0, 0x00: -32124, 0x80: 32124, 0xFE: 8} {
		if got := fromMuLaw(b); got != want {
			t.Errorf("mu-law %#x: %d, want %d", b, got, want)
		}
	}
	for b, want := range map[byte]int16{0xD5: 8, 0x55: -8, 0x2A: -32256, 0xAA: 32256} {
		if got := fromALaw(b); got != want {
			t.Errorf("A-law %#x: %d, want %d", b, got, want)
		}
	}
}

// power of a frequency in samples (Goertzel).
func power(samples []int16, hz float64) float64 {
	k := 2 * math.Cos(2*math.Pi*hz/audioHz)
	var a, b float64
	for _, s := range samples {
		a, b = float64(s)+k*a-b, a
	}
	return a*a + b*b - k*a*b
}

// In the simulated calls the provider's gateway plays 440 Hz and the phone 620
// Hz: each must be alone in its channel, for as long as the call.
func TestAudioPartsTheChannels(t *testing.T) {
	run := fixtures.DemoCalls()[0]
	fsys := fstest.MapFS{}
	var sid string
	for _, f := range run.Files() {
		fsys[f.Name] = &fstest.MapFile{Data: f.Data}
		if i := bytes.Index(f.Data, []byte("X-Twilio-CallSid: ")); i >= 0 {
			sid = string(f.Data[i+18 : i+18+34])
		}
	}
	var wav bytes.Buffer
	if err := Audio(t.Context(), one(t, fsys), Options{}, sid, &wav); err != nil {
		t.Fatal(err)
	}
	left, right := channels(t, wav.Bytes())
	if s := float64(len(left)) / audioHz; s < 1.5 || s > 8 {
		t.Errorf("%.1f s of audio", s)
	}
	mid := left[len(left)/4 : len(left)/4+4000]
	if p, q := power(mid, 440), power(mid, 620); p < 1000*q {
		t.Errorf("left: 440 Hz has %.3g, 620 Hz %.3g", p, q)
	}
	mid = right[len(right)/4 : len(right)/4+4000]
	if p, q := power(mid, 620), power(mid, 440); p < 1000*q {
		t.Errorf("right: 620 Hz has %.3g, 440 Hz %.3g", p, q)
	}
}

// Media of a browser is opened with the keys beside it.
func TestAudioOfDecryptedMedia(t *testing.T) {
	sub, err := fs.Sub(fixtures.Recorded(), "browser-incoming")
	if err != nil {
		t.Fatal(err)
	}
	var wav bytes.Buffer
	if err := Audio(t.Context(), one(t, sub), Options{}, "CAd9827f8d2364691bcb6b94a36fc7c499", &wav); err != nil {
		t.Fatal(err)
	}
	left, _ := channels(t, wav.Bytes())
	if s := float64(len(left)) / audioHz; s < 9.8 || s > 10.2 { // 498 packets of 20 ms
		t.Errorf("%.2f s of audio, want 9.96", s)
	}
}

func TestAudioRefuses(t *testing.T) {
	sub, err := fs.Sub(fixtures.Recorded(), "sip-busy")
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"CA00000000000000000000000000000000": "no call"} {
		if err := Audio(t.Context(), one(t, sub), Options{}, id, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", id, err, want)
		}
	}
}

func one(t *testing.T, fsys fs.FS) Experiment {
	t.Helper()
	exps, err := Find([]Input{{FS: fsys, Path: ".", Name: "x", Label: "x"}}, true)
	if err != nil || len(exps) != 1 {
		t.Fatalf("%d experiments, %v", len(exps), err)
	}
	return exps[0]
}

func channels(t *testing.T, wav []byte) (left, right []int16) {
	t.Helper()
	if len(wav) < wavHead || string(wav[:4]) != "RIFF" || string(wav[8:16]) != "WAVEfmt " {
		t.Fatalf("no WAV file: % x", wav[:min(16, len(wav))])
	}
	if n := binary.LittleEndian.Uint32(wav[40:]); int(n) != len(wav)-wavHead {
		t.Fatalf("data of %d bytes, the head says %d", len(wav)-wavHead, n)
	}
	for b := wav[wavHead:]; len(b) >= 4; b = b[4:] {
		left = append(left, int16(binary.LittleEndian.Uint16(b)))
		right = append(right, int16(binary.LittleEndian.Uint16(b[2:])))
	}
	return left, right
}
