package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twtrace/twtrace/fixtures"
)

// lineWriter counts lines and wakes who waits for them.
type lineWriter struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	select {
	case w.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *lineWriter) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Split(strings.TrimSuffix(w.text.String(), "\n"), "\n")
}

// recordedCapture is the decompressed capture of a fixture.
func recordedCapture(t *testing.T, name string) []byte {
	t.Helper()
	f, err := fixtures.Recorded().Open(name + "/capture.pcapng.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFollow: rows of calls that ended are printed while the pipe stays open,
// and at its end all rows are those of a run without --follow, order aside.
func TestFollow(t *testing.T) {
	entries, err := fs.ReadDir(fixtures.Recorded(), ".")
	if err != nil {
		t.Fatal(err)
	}
	early := 0
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "sip-") {
			continue
		}
		for _, args := range [][]string{{"calls"}, {"arrivals", "-f", "ndjson"}, {"signals", "--columns", "call_id,at,kind"}, {"streams"}, {"legs", "--redact"}} {
			if e.Name() != "sip-tcp" && args[0] != "calls" {
				continue
			}
			data := recordedCapture(t, e.Name())
			_, want, _ := call(t.Context(), bytes.NewReader(data), append(args, "-")...)
			r, w := io.Pipe()
			out := &lineWriter{more: make(chan struct{}, 1)}
			var errs bytes.Buffer
			done := make(chan int, 1)
			go func() { done <- run(context.Background(), append(args, "--follow", "-"), r, out, &errs) }()
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			// The pipe is open still: what is printed now is of calls that ended.
			header := 1
			if slices.Contains(args, "ndjson") {
				header = 0
			}
			for len(out.lines()) <= header {
				<-out.more
			}
			early += len(out.lines()) - header
			w.Close()
			if code := <-done; code != 0 || errs.Len() > 0 {
				t.Errorf("%s %v: exit %d, %s", e.Name(), args, code, &errs)
			}
			a, b := out.lines(), strings.Split(strings.TrimSuffix(want, "\n"), "\n")
			if header == 1 && a[0] != b[0] {
				t.Errorf("%s %v: the first line is %s", e.Name(), args, a[0])
			}
			if slices.Contains(args, "--redact") {
				if len(a) != len(b) { // pseudonyms are new in every run
					t.Errorf("%s %v: %d lines, want %d", e.Name(), args, len(a), len(b))
				}
				continue
			}
			slices.Sort(a)
			slices.Sort(b)
			if !slices.Equal(a, b) {
				line, want, found := firstDifference(strings.Join(b, "\n"), strings.Join(a, "\n"))
				t.Errorf("%s %v: row %d: want %s, found %s", e.Name(), args, line, want, found)
			}
		}
	}
	if early < 10 {
		t.Errorf("only %d rows came before the end", early)
	}
}

// A call of which more comes after its rows were printed is told.
func TestFollowTellsChanges(t *testing.T) {
	data := recordedCapture(t, "sip-tcp")
	d := dataset(t, writeTemp(t, data))
	p := &followPrinter{a: &app{stdout: io.Discard}, name: "calls", format: "csv", printed: map[string]uint64{}, seed: maphash.MakeSeed()}
	if err := p.settled(d, true); err != nil || len(p.printed) == 0 {
		t.Fatalf("%d calls are settled, %v", len(p.printed), err)
	}
	if err := p.rest(d); err != nil || p.changed != 0 {
		t.Errorf("%d changed, %v; want none", p.changed, err)
	}
	d.Calls[1].Streams++
	if err := p.rest(d); err != nil || p.changed != 1 {
		t.Errorf("%d changed, %v; want 1", p.changed, err)
	}
}

func TestFollowUsage(t *testing.T) {
	file := writeTemp(t, recordedCapture(t, "sip-busy"))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"calls", "--follow", file}, "tail -c +1 -f FILE | twtrace calls --follow -"},
		{[]string{"calls", "--follow", "-", "-f", "parquet"}, "csv or ndjson"},
		{[]string{"calls", "--follow", "-", "--sort", "from"}, "not with --sort"},
		{[]string{"calls", "--follow", "-", "-o", "x.csv"}, "> x.csv"},
		{[]string{"calls", "--follow", "-", "--columns", "frm"}, "nearest is from"},
		{[]string{"hosts", "--follow", "-"}, "--follow"},
	} {
		if code, out, stderr := call(t.Context(), strings.NewReader(""), c.args...); code != 2 || out != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d, %q; want %q", c.args, code, stderr, c.want)
		}
	}
	if code, _, stderr := call(t.Context(), strings.NewReader(""), "calls", "--follow", "-"); code != 1 || !strings.Contains(stderr, "standard input") {
		t.Errorf("nothing on standard input: exit %d, %s", code, stderr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"calls", "--follow", "-"}, r, io.Discard, io.Discard) }()
	cancel()
	if code := <-done; code != exitInterrupted {
		t.Errorf("interrupted: exit %d", code)
	}
}

func writeTemp(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "c.pcapng")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}
