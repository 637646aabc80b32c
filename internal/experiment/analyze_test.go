package experiment

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/fixtures"
)

func analyze(t *testing.T, fsys fstest.MapFS) *Result {
	t.Helper()
	exps, err := Find([]Input{folder("run", fsys)}, true)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Analyze(t.Context(), exps[0], Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// The manifest says what was done, compressed too; its damage is told once.
func TestAnalyzeManifest(t *testing.T) {
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(yamlFile); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	res := analyze(t, fstest.MapFS{"a.pcap": {Data: pcapFile}, "experiment.yaml.gz": {Data: gz.Bytes()}})
	e := res.Data.Experiments[0]
	if res.Exit != ExitWhole || len(res.Messages) > 0 || e.Experiment != "run" || e.Kind != "calls" || e.KindBy != "manifest" || !e.X.Known || e.X.V != 3 {
		t.Errorf("exit %d, messages %q, %+v", res.Exit, res.Messages, e)
	}

	res = analyze(t, fstest.MapFS{"a.pcap": {Data: pcapFile}, "experiment.yaml": {Data: []byte("kind: calls\nname: \"x\n")}})
	if res.Exit != ExitDamaged || len(res.Messages) != 1 || !strings.HasPrefix(res.Messages[0], "experiment.yaml: manifest: ") {
		t.Errorf("exit %d, messages %q; want 3 and one", res.Exit, res.Messages)
	}
	for _, in := range res.Data.Inputs {
		if (in.Problem != "") != (in.File == "experiment.yaml") {
			t.Errorf("%s: problem %q", in.File, in.Problem)
		}
	}
	if e := res.Data.Experiments[0]; e.ExitCode != ExitDamaged || e.Problem != res.Messages[0] {
		t.Errorf("%+v", e)
	}

	res = analyze(t, fstest.MapFS{"a.pcap": {Data: pcapFile}, "a.yaml": {Data: yamlFile}, "b.yaml": {Data: []byte("kind: messages\nbody_bytes: 9\n")}})
	if e := res.Data.Experiments[0]; e.Kind != "calls" || len(res.Messages) != 1 || !strings.Contains(res.Messages[0], "b.yaml, is not used") {
		t.Errorf("messages %q, %+v; want the first manifest and a word on the second", res.Messages, e)
	}
}

// A warning is no damage: it is shown, stands in the oddities, and the exit
// code stays 0.
func TestAnalyzeManifestWarning(t *testing.T) {
	res := analyze(t, fstest.MapFS{"a.pcap": {Data: pcapFile}, "experiment.yaml": {Data: []byte("kind: calls\nrepeat: 1\nclls: 3\n")}})
	if res.Exit != ExitWhole || len(res.Messages) != 1 || !strings.Contains(res.Messages[0], `"calls"`) {
		t.Errorf("exit %d, messages %q", res.Exit, res.Messages)
	}
	if o := res.Data.Oddities; len(o) != 1 || o[0].Rule != "manifest" || o[0].File != "experiment.yaml" {
		t.Errorf("oddities %+v", o)
	}
}

func TestAnalyzeExit(t *testing.T) {
	for _, c := range []struct {
		name string
		fsys fstest.MapFS
		want int
	}{
		{"an empty capture is whole", tree("a.pcap"), ExitWhole},
		{"and an unknown file beside it changes nothing", tree("a.pcap", "note.txt"), ExitWhole},
		{"broken beside a good one", tree("a.pcap", "b.broken"), ExitDamaged},
		{"nothing but broken", tree("b.broken"), ExitNothing},
	} {
		res := analyze(t, c.fsys)
		if res.Exit != c.want || (c.want == ExitWhole) != (len(res.Messages) == 0) {
			t.Errorf("%s: exit %d, want %d; %q", c.name, res.Exit, c.want, res.Messages)
		}
		if err := res.Data.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAnalyzeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	folders, err := fs.ReadDir(fixtures.Recorded(), ".")
	if err != nil {
		t.Fatal(err)
	}
	exps, err := Find([]Input{folder("recorded", fixtures.Recorded())}, false)
	if err != nil || len(exps) != len(folders) {
		t.Fatalf("%d experiments, %v; fixtures/recorded has %d folders", len(exps), err, len(folders))
	}
	for _, e := range exps {
		if res, err := Analyze(ctx, e, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, %v; want the context's error", e.Name, res, err)
		}
	}
}

func TestFailed(t *testing.T) {
	res := Failed(Experiment{Name: "run"}, Options{Version: "v1"}, &InternalError{errors.New("ledger")})
	if err := res.Data.Check(); err != nil {
		t.Error(err)
	}
	e := res.Data.Experiments[0]
	if res.Exit != 70 || e.ExitCode != 70 || e.Experiment != "run" || !strings.Contains(e.Problem, "ledger") ||
		!slices.ContainsFunc(res.Messages, func(m string) bool { return strings.Contains(m, "ledger") }) {
		t.Errorf("%+v, %+v", res, e)
	}
}
