package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/report"
)

// A file that keeps its size and its times but not its bytes is a change.
func TestChangeBehindSizeAndTime(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(in, "messages-gsm7-160", "messages", "page-000.json")
	batch := func(out string) string {
		code, _, stderr := call(t.Context(), nil, "batch", in, "-o", out)
		if code != 0 {
			t.Fatalf("code %d: %s", code, stderr)
		}
		return stderr
	}
	batch(out)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(text), `"status": "delivered"`, `"status": "delivereD"`, 1)
	if other == string(text) || len(other) != len(text) {
		t.Fatal("nothing to change")
	}
	if err := os.WriteFile(name, []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if stderr := batch(out); !strings.Contains(stderr, "(19 unchanged)") {
		t.Errorf("%s", stderr)
	}
	batch(filepath.Join(dir, "fresh"))
	want, err := sums(filepath.Join(dir, "fresh"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sums(out); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s", err, difference(want, got))
	}
}

// What the report passes over is in the tables, and makes no difference to it.
func TestNotDrawn(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t.Context(), nil, "batch", in, "-o", out, "-q"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	for _, name := range report.NotDrawn() {
		name, col, _ := strings.Cut(name, ".")
		s, ok := table.Lookup(name)
		if !ok || col != "" && !slices.ContainsFunc(s.Columns, func(c table.Column) bool { return c.Name == col && !c.Key }) {
			t.Errorf("no table %s with a column %s that is no key", name, col)
		}
	}
	draw := func(except ...string) string {
		d, err := table.ReadDir(os.DirFS(out), except...)
		if err != nil {
			t.Fatal(err)
		}
		if d.Messages.Len() == 0 {
			t.Fatal("no messages")
		}
		var page bytes.Buffer
		if err := report.Write(&page, d, report.Options{}); err != nil {
			t.Fatal(err)
		}
		return page.String()
	}
	whole := draw()
	if draw(report.NotDrawn()...) != whole {
		t.Error("the report of all columns is another one")
	}
	if draw("messages.wait_s") == whole {
		t.Error("a column that is drawn made no difference")
	}
}

// A record is believed as far as it can be read, and names no file elsewhere.
func TestDamagedRecords(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t.Context(), nil, "batch", in, "-o", out, "-q"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	want, err := sums(out)
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(dir, "outside.parquet")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(out, recordDir, "*.json"))
	if err != nil || len(records) != 20 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	for i, name := range records {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		switch i % 4 {
		case 0:
			text = text[:len(text)/2]
		case 1:
			text = nil
		case 2:
			var r record
			if err := json.Unmarshal(text, &r); err != nil {
				t.Fatal(err)
			}
			r.File = "../../../outside"
			if text, err = json.Marshal(r); err != nil {
				t.Fatal(err)
			}
		case 3:
			text = []byte(`{"file": "../../../outside", "analysis_version": 1}`)
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"00.json", "0123456789abcdef0123456789abcdef.json"} { // of no experiment
		if err := os.WriteFile(filepath.Join(out, recordDir, name), []byte(`{"experiment": "gone", "file": "../../../outside"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := call(t.Context(), nil, "batch", in, "-o", out, "-q"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	if got, err := sums(out); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s", err, difference(want, got))
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

// Points on a line give it; neither part of a time is negative.
func TestFitLine(t *testing.T) {
	for _, c := range []struct{ xs, ys, want []float64 }{
		{[]float64{1, 2, 4}, []float64{5, 7, 11}, []float64{3, 2}},
		{[]float64{7}, []float64{3}, []float64{3, 0}},
		{[]float64{2, 2}, []float64{3, 5}, []float64{4, 0}},
		{[]float64{1, 3}, []float64{5, 1}, []float64{3, 0}},
		{[]float64{1, 2, 3}, []float64{0, 2, 4}, []float64{0, 16. / 14}},
	} {
		a, b := fitLine(c.xs, c.ys)
		if math.Abs(a-c.want[0]) > 1e-12 || math.Abs(b-c.want[1]) > 1e-12 {
			t.Errorf("%v %v: %g + %g x, want %v", c.xs, c.ys, a, b, c.want)
		}
	}
}

// A dataset of a newer schema is told apart, with what to do.
func TestNewerDataset(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t.Context(), nil, "batch", in, "-o", out, "-q", "--only", "sip-busy"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	name := filepath.Join(out, "tables", "calls", "sip-busy.parquet")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// key and value of the file's metadata, as Thrift's compact protocol has them
	newer := bytes.Replace(data, []byte("twtrace.schema_version\x18\x011"), []byte("twtrace.schema_version\x18\x019"), 1)
	if bytes.Equal(newer, data) {
		t.Fatal("no schema version in the file")
	}
	if err := os.WriteFile(name, newer, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"report", out}, {"compare", out, out}} {
		code, stdout, stderr := call(t.Context(), nil, args...)
		want := out + ": tables/calls/sip-busy.parquet: written with schema version 9, this twtrace knows up to 1: use a newer twtrace"
		if code != exitNothing || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, stdout %q, stderr %q; want code %d and %q", args[0], code, stdout, stderr, exitNothing, want)
		}
	}
}

// With pseudonyms neither the records nor their names tell what an experiment
// is called.
func TestRecordsHideNames(t *testing.T) {
	const secret = "+15005550006"
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	sub, err := fs.Sub(fixtures.Recorded(), "sip-busy")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{secret, "other"} {
		if err := os.CopyFS(filepath.Join(in, name), sub); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := call(t.Context(), nil, "batch", in, "-o", out, "-q", "--redact"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	plain := (&store{}).id(secret)
	seen := 0
	err = filepath.WalkDir(out, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		seen++
		text, err := os.ReadFile(name)
		if strings.Contains(name, secret[1:]) || strings.Contains(name, plain) || bytes.Contains(text, []byte(secret[1:])) || bytes.Contains(text, []byte(plain)) {
			t.Errorf("%s tells %s or the hash of it", name, secret)
		}
		return err
	})
	if err != nil || seen < 20 {
		t.Errorf("%d files, %v", seen, err)
	}
}
