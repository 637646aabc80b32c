package sessions_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/sessions"
)

// Digits of telephone events (RFC 4733), of INFO in both usual forms, and of
// what is none of these: shown when they may be, else nowhere.
func TestDigitsAreShownOnRequest(t *testing.T) {
	s := &script{}
	s.call(0, 5000, "a", callerMedia, calleeMedia)
	seq := uint16(0)
	for _, code := range []byte{7, 10, 11, 12, 16} { // 7 * # A, and flash, which is no digit
		stamp := uint32(seq) * 160
		for range 3 {
			s.rtpAt(100+20*int64(seq), callerMedia, calleeMedia, 101, seq, stamp, 1, code, 10, 0, 160)
			seq++
		}
	}
	in := "\nCall-ID: a\nCSeq: 9 INFO\nContent-Type: "
	s.say(1000, "INFO"+in+"application/dtmf-relay; x=y\n\nSignal=8\nDuration=160\n")
	s.say(1100, "INFO"+strings.Replace(in, "9", "10", 1)+"application/dtmf\n\n9")
	s.say(1200, "INFO"+strings.Replace(in, "9", "11", 1)+"application/media_control+xml\n\n<Signal=5/>")
	capture := map[string][]byte{"a.pcap": s.capture(t)}

	shown := analyse(t, capture, func(b *sessions.Builder) { b.ShowDTMF = true })
	if r := only(t, shown); r.DTMFDigits != "7*#A" || r.DTMFCount != 5 {
		t.Errorf("digits %q of %d events, want 7*#A of 5", r.DTMFDigits, r.DTMFCount)
	}
	if got := infoLabels(shown); !slices.Equal(got, []string{"INFO 8", "INFO 9", "INFO"}) {
		t.Errorf("labels %q", got)
	}
	hidden := analyse(t, capture)
	if r := only(t, hidden); r.DTMFDigits != "" || r.DTMFCount != 5 {
		t.Errorf("digits %q of %d events without being asked", r.DTMFDigits, r.DTMFCount)
	}
	if got := infoLabels(hidden); !slices.Equal(got, []string{"INFO", "INFO", "INFO"}) {
		t.Errorf("labels without being asked %q", got)
	}
	for _, sig := range hidden.Signals.All() {
		if strings.Contains(sig.Detail.String(), "Signal=8") {
			t.Errorf("the digit stands in a detail: %s", sig.Detail)
		}
	}
}

func infoLabels(t *sessions.Trace) []string {
	var out []string
	for _, s := range t.Signals.All() {
		if s.Kind == "INFO" {
			out = append(out, s.Label)
		}
	}
	return out
}
