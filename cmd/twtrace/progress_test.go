package main

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/experiment"
)

// The whole and each worker, as plain lines and as JSON.
func TestProgress(t *testing.T) {
	exps, err := experiment.Find([]experiment.Input{{FS: fixtures.Recorded(), Path: ".", Name: "recorded"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	a := &app{stderr: &errs, progress: "plain"}
	work := func() {
		errs.Reset()
		p := a.newProgress(exps...)
		first, second := p.begin(&exps[0]), p.begin(&exps[1])
		first.unchanged = true
		first.end()
		third := p.begin(&exps[2]) // takes the place of the first
		third.update(third.total/2, 500_000)
		second.update(0, 0)
		p.begun, p.last = time.Now().Add(-2*time.Second), time.Time{}
		second.update(0, 0)
		second.update(0, 0) // within the same second: no line
		p.done()
	}
	work()
	line := errs.String()
	for _, want := range []string{"1 of 20 experiments (1 unchanged), ", " MB, 0.2", " M packets/s, ", " s left | 1: " + exps[2].Name + " ", " | 2: " + exps[1].Name + " 0 %\n"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %q", want, line)
		}
	}
	if strings.Count(line, "\n") != 1 {
		t.Errorf("want one line, found %q", line)
	}
	a.logFormat = "json"
	work()
	var got struct {
		Level, Msg string
		progressState
	}
	d := json.NewDecoder(strings.NewReader(errs.String()))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil || d.More() {
		t.Fatalf("%v: %s", err, errs.String())
	}
	want := progressState{Event: "progress", Done: 1, Unchanged: 1, Experiments: 20, Bytes: stored(&exps[0]) + stored(&exps[2])/2, Packets: 500_000,
		Workers: []workerState{{1, exps[2].Name, stored(&exps[2]) / 2, stored(&exps[2])}, {2, exps[1].Name, 0, stored(&exps[1])}}}
	for i := range exps {
		want.TotalBytes += stored(&exps[i])
	}
	if got.Seconds < 2 {
		t.Errorf("%v s, want 2 at least", got.Seconds)
	}
	if want.Seconds = got.Seconds; got.Level != "info" || !reflect.DeepEqual(got.progressState, want) {
		t.Errorf("found %+v\nwant  %+v", got, want)
	}
	for _, how := range []string{"none", "auto"} { // no terminal
		a.progress = how
		work()
		if errs.Len() > 0 {
			t.Errorf("--progress %s: %s", how, errs.String())
		}
	}
}

// Every line of a JSON log is one object with the keys of its event, also with
// many workers.
func TestJSONLog(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	batch := func(wantCode int) map[string]string {
		code, _, stderr := call(t.Context(), nil, "batch", in, "-o", out, "--log-format", "json", "--progress", "plain", "--jobs", "8")
		if code != wantCode {
			t.Fatalf("code %d: %s", code, stderr)
		}
		actions := map[string]string{}
		for s := bufio.NewScanner(strings.NewReader(stderr)); s.Scan(); {
			var keys map[string]any
			if err := json.Unmarshal(s.Bytes(), &keys); err != nil {
				t.Fatalf("%v: %s", err, s.Text())
			}
			var names []string
			for k := range keys {
				names = append(names, k)
			}
			slices.Sort(names)
			want := "level msg"
			switch keys["event"] {
			case "experiment":
				want = "action event exit_code experiment level msg why worker"
				actions[keys["experiment"].(string)] = keys["action"].(string)
			case "progress":
				want = "bytes done event experiments level msg packets seconds total_bytes unchanged workers"
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("keys %s, want %s: %s", got, want, s.Text())
			}
		}
		return actions
	}
	if got := batch(0); len(got) != 20 || got["sip-busy"] != actionNew {
		t.Errorf("%v", got)
	}
	if err := os.Truncate(filepath.Join(in, "sip-slow", "capture.pcapng.gz"), 5000); err != nil {
		t.Fatal(err)
	}
	if got := batch(3); len(got) != 20 || got["sip-slow"] != actionChanged || got["sip-busy"] != actionUnchanged {
		t.Errorf("%v", got)
	}
}
