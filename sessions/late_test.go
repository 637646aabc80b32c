package sessions_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// A call's INVITE over TCP whose segment is lost before the capture point: what
// was sent behind it comes first, and the bytes themselves only when they are
// sent again. It could have arrived at any time since the bytes before it.
func TestArrivalLate(t *testing.T) {
	message := func(call string) []byte {
		return []byte(strings.ReplaceAll("INVITE sip:b@192.0.2.9 SIP/2.0\nVia: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK"+call+"\nFrom: <sip:a@192.0.2.7>;tag=1\nTo: <sip:b@192.0.2.9>\nCall-ID: "+call+"\nCSeq: 1 INVITE\nContent-Length: 0\n\n", "\n", "\r\n"))
	}
	const a, b = "192.0.2.7:40000", "192.0.2.9:5060"
	for _, c := range []struct {
		name       string
		two, three int64 // ms at which the second and third were captured
		late       string
	}{
		{"in order", 900, 1000, ""},
		{"out of order by a millisecond", 1001, 1000, ""},
		{"sent again soon, within the bound of any arrival", 140, 120, ""},
		{"sent again", 1230, 1000, "two 1130 three 230 "}, // three came in time, and could not be read
	} {
		w := newWire(t)
		w.connect(90, a, b)
		w.tcp(100, a, b, message("one"), false, true)
		n := len(w.frames)
		w.tcp(c.two, a, b, message("two"), false, true)
		w.tcp(c.three, a, b, message("three"), false, true)
		two, three := w.frames[n].bytes, w.frames[n+1].bytes
		var sent [][]byte // in that order, whatever is captured first
		captured := func(i int) func() []byte {
			return func() []byte {
				if sent == nil {
					sent = [][]byte{two(), three()}
				}
				return sent[i]
			}
		}
		w.frames[n].bytes, w.frames[n+1].bytes = captured(0), captured(1)
		trace := w.trace()
		got := map[string]float64{}
		for _, call := range trace.Calls {
			got[call.CallID] = call.ArrivedErrorMS.V
		}
		want := map[string]float64{"one": 50, "two": 50, "three": 50}
		late := ""
		for _, l := range trace.Late {
			late += fmt.Sprint(l.CallID, " ", l.MostMS, " ")
			want[l.CallID] = l.MostMS
		}
		if late != c.late {
			t.Errorf("%s: late %q, want %q", c.name, late, c.late)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: errors of the arrivals %v, want %v", c.name, got, want)
		}
	}
}
