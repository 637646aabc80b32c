package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

// A report that was drawn while its tables were written says what these say,
// also where they read back otherwise than they were: it is then drawn again.
func TestReportIsOfTheTables(t *testing.T) {
	for name, from := range map[string]string{"as it is": "+15550100", "no UTF-8": "\xff\xfe<b>"} {
		t.Run(name, func(t *testing.T) {
			d := &table.Dataset{
				Experiments: []table.Experiment{{Experiment: "run", Kind: "capture", KindBy: "inferred", Options: "{}"}},
				Calls:       []sessions.Call{{Experiment: "run", CallID: "a", From: from, To: "+15550101", Outcome: "answered", InitiatedAt: decode.Time(1385056800e9), File: "a.pcap"}},
			}
			a := &app{ctx: t.Context(), quiet: true}
			dir := t.TempDir()
			o, err := a.openOutput(filepath.Join(dir, "out"))
			if err != nil {
				t.Fatal(err)
			}
			o.workers = 2
			if err := o.add(a, &experiment.Result{Data: d}); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(o.stage, reportName)); err != nil {
				t.Errorf("not drawn meanwhile: %v", err)
			}
			if o.drawn != (name == "as it is") {
				t.Errorf("drawn once and for all: %v", o.drawn)
			}
			if err := o.finish(a); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "out", reportName))
			if err != nil {
				t.Fatal(err)
			}
			read, err := table.ReadDir(os.DirFS(filepath.Join(dir, "out")))
			if err != nil {
				t.Fatal(err)
			}
			again := filepath.Join(dir, "again.html")
			if err := a.writeReport(again, read); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(again)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Error("the report differs from one that is drawn from the tables")
			}
		})
	}
}

// A report that cannot be written is an error of the run.
func TestReportThatCannotBeWritten(t *testing.T) {
	a := &app{ctx: t.Context(), quiet: true}
	o, err := a.openOutput(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	o.workers = 2
	if err := os.MkdirAll(filepath.Join(o.stage, reportName, "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := &table.Dataset{Experiments: []table.Experiment{{Experiment: "run", Kind: "capture", KindBy: "inferred", Options: "{}"}}}
	if err := o.add(a, &experiment.Result{Data: d}); err == nil {
		t.Error("no error")
	}
}
