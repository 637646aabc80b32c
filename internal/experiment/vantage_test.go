package experiment

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// The run recorded at both ends of a path of 80 ms within 30: the first call's
// INVITE was lost once, so that it arrived 681 ms late. The second capture shows
// it; the arrival's error and the certain interval of the rate, 1/s, hold it.
func TestLatencyOfTwoPlaces(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "shared", "lab", "s1-paper", "calls-n20-wan")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the recorded runs are not here")
	}
	exps, err := Find([]Input{folder("run", os.DirFS(dir))}, true)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Analyze(t.Context(), exps[0], Options{Rates: rates.Options{CallCreated: "accepted"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Data.Rates) != 1 {
		t.Fatalf("%d rates", len(res.Data.Rates))
	}
	r := res.Data.Rates[0]
	if !(r.LatencyMaxMS.V > 600 && r.LatencyMaxMS.V < 750) || r.LatencyP50MS.V < 50 || !strings.Contains(r.Reason, "between two captures") || !strings.Contains(r.Reason, "does not hold") {
		t.Errorf("latency %v, at most %v: %s", r.LatencyP50MS.V, r.LatencyMaxMS.V, r.Reason)
	}
	if r.ObservedLowPerS.V > 1 || r.ObservedHighPerS.V < 1 {
		t.Errorf("interval [%v, %v] misses 1/s", r.ObservedLowPerS.V, r.ObservedHighPerS.V)
	}
	for _, a := range res.Data.Arrivals {
		if a.Seq == 1 && (a.ArrivedErrorMS.V < 600 || a.WaitS.V > a.WaitErrorS.V) {
			t.Errorf("%+v", a)
		}
	}
	if o := res.Data.Experiments[0].Options; !strings.Contains(o, `"call_created":"accepted"`) {
		t.Errorf("options %s", o)
	}
}

// A call that arrived earlier at the later place: the clocks of the two
// captures differ, and a latency is not known.
func TestLatencyNeedsOneClock(t *testing.T) {
	at := func(ms ...int64) *sessions.Trace {
		tr := &sessions.Trace{}
		for i, m := range ms {
			id := string(rune('a' + i))
			c := sessions.Call{CallID: id, ArrivedAt: decode.Time(1e18 + m*1e6), ArrivedBy: "sip-invite", ArrivedErrorMS: decode.Some(50.0)}
			tr.Calls = append(tr.Calls, c)
			tr.Arrivals = append(tr.Arrivals, sessions.Arrival{CallID: id, ArrivedAt: c.ArrivedAt, ArrivedBy: c.ArrivedBy, ArrivedErrorMS: c.ArrivedErrorMS, WaitS: decode.Some(1.0), WaitErrorS: decode.Some(0.06)})
		}
		return tr
	}
	if l := latencies(at(0, 1000, 2000), at(30, 1040, 1990)); l != nil {
		t.Errorf("%+v", l)
	}
	b := at(30, 1240, 2010)
	l := latencies(at(0, 1000, 2000), b)
	if len(l) != 3 || l[1] != (sessions.Latency{CallID: "b", MS: 240, By: "captures"}) {
		t.Fatalf("%+v", l)
	}
	widen(b, l)
	for i, want := range []float64{50, 240, 50} {
		if a := b.Arrivals[i]; a.ArrivedErrorMS.V != want || b.Calls[i].ArrivedErrorMS.V != want || a.WaitErrorS.V < 0.06+(want-50)/1e3-1e-12 {
			t.Errorf("%s: %v, %v, wait within %v, want %v", a.CallID, a.ArrivedErrorMS.V, b.Calls[i].ArrivedErrorMS.V, a.WaitErrorS.V, want)
		}
	}
}
