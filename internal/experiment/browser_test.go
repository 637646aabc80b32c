package experiment

import (
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/fixtures"
)

// The study's call experiment with a browser as the endpoint: what is read
// through TLS and WebSocket must give the rate at which the simulated queue
// was emptied.
func TestBrowserCallsGiveTheTruth(t *testing.T) {
	for _, run := range fixtures.DemoBrowserCalls() {
		fsys := fstest.MapFS{}
		for _, f := range run.Files() {
			fsys[f.Name] = &fstest.MapFile{Data: f.Data}
		}
		res, err := Analyze(t.Context(), one(t, fsys), Options{})
		if err != nil || res.Exit != ExitWhole {
			t.Fatalf("%s: exit %d, %v", run.Name, res.Exit, err)
		}
		_, left := run.Times()
		truth := float64(len(left)-1) / left[len(left)-1].Sub(left[0]).Seconds()
		if len(res.Data.Rates) != 1 {
			t.Fatalf("%s: %d rates", run.Name, len(res.Data.Rates))
		}
		r := res.Data.Rates[0]
		if !r.ObservedLowPerS.Known || !r.ObservedHighPerS.Known || truth < r.ObservedLowPerS.V || truth > r.ObservedHighPerS.V {
			t.Errorf("%s: [%v, %v] misses %.4f", run.Name, r.ObservedLowPerS, r.ObservedHighPerS, truth)
		}
		if r.X.V != int64(run.Calls) || r.Clock != "capture" {
			t.Errorf("%s: x %v, clock %s", run.Name, r.X, r.Clock)
		}
		seen := 0
		for _, c := range res.Data.Calls {
			if c.ArrivedBy == "pstream-invite" && c.Outcome == "answered" {
				seen++
			}
		}
		if seen != 2 {
			t.Errorf("%s: %d calls seen to arrive, want 2", run.Name, seen)
		}
	}
}
