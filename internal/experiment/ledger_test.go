package experiment

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/twtrace/twtrace/fixtures"
)

// balance holds an analysis to its account: what the capture's own packets are,
// what became of each, and every layer beneath.
func balance(t *testing.T, res *Result) {
	t.Helper()
	var packets, frames int64
	sums := map[string]int64{}
	for i := range res.Data.Captures {
		packets += res.Data.Captures[i].Packets
	}
	for _, l := range res.Data.Ledger {
		if l.Count <= 0 || l.Bytes < 0 {
			t.Errorf("%+v", l)
		}
		sums[l.Layer] += l.Count
		if l.Layer == "frame" {
			frames += l.Count
		}
	}
	if frames != packets {
		t.Errorf("%d frames accounted for, the captures hold %d packets", frames, packets)
	}
	if ip := sums["ip"]; sums["udp"]+sums["tcp"] > ip || ip > 2*frames {
		t.Errorf("layers: %v", sums)
	}
	for i := range res.Data.Inputs {
		in := &res.Data.Inputs[i]
		if in.Kind != "unknown" && in.Kind != "manifest" && in.Problem == "" && in.Used+in.Refused > in.Records {
			t.Errorf("%+v", *in)
		}
	}
}

// Every recording of the lab and every public capture is accounted for to its
// last frame. Analyze itself refuses what does not balance.
func TestLedgerOfRecordings(t *testing.T) {
	if testing.Short() {
		t.Skip("reads all recordings")
	}
	n := 0
	analyze := func(name string, in Input) {
		exps, err := Find([]Input{in}, false)
		if err != nil {
			return // holds nothing that is known
		}
		for _, e := range exps {
			res, err := Analyze(t.Context(), e, Options{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			n++
			balance(t, res)
		}
	}
	analyze("fixtures", folder("recorded", fixtures.Recorded()))
	shared := filepath.Join("..", "..", "..", "shared")
	if _, err := os.Stat(shared); err != nil {
		t.Skip("no recordings beside the repository")
	}
	fsys := os.DirFS(shared)
	runs, err := fs.Glob(fsys, "lab/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range runs {
		if sub, err := fs.Sub(fsys, dir); err == nil {
			analyze(dir, folder(dir, sub))
		}
	}
	err = fs.WalkDir(fsys, "captures/files", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			analyze(name, Input{FS: fsys, Path: name, Label: name, Name: path.Base(name)})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 100 {
		t.Errorf("%d analyses: the recordings were not found", n)
	}
	t.Log(n, "analyses")
}
