package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/table"
)

// dying is the program, but before step DIE_AT of its work on a dataset it is
// killed, as by kill -9. It tells the number of steps when it lives on.
func dying() {
	at, err := strconv.ParseInt(os.Getenv("DIE_AT"), 10, 64)
	if err != nil {
		panic(err)
	}
	var n atomic.Int64
	a := &app{ctx: context.Background(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	a.step = func() {
		if n.Add(1) == at {
			self, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = self.Kill()
			}
			if err != nil {
				panic(err)
			}
			select {}
		}
	}
	code := a.run(os.Args[1:])
	fmt.Println(n.Load())
	os.Exit(code)
}

// programs are the commands that TestMain knows, as files to be run.
func programs(t *testing.T, names ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var list []string
	for _, n := range names {
		list = append(list, filepath.Join(dir, n))
		if err := os.Symlink(self, list[len(list)-1]); err != nil {
			t.Skip(err)
		}
	}
	return list
}

// roots makes two states of an input folder: between them one experiment
// changed, one went, one came, one stayed, and one is broken.
func roots(t *testing.T) (before, after string) {
	t.Helper()
	dir := t.TempDir()
	put := func(root string, names ...string) {
		for _, n := range names {
			sub, err := fs.Sub(fixtures.Recorded(), n)
			if err == nil {
				err = os.CopyFS(filepath.Join(root, n), sub)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		broken := filepath.Join(root, "broken", "capture.pcapng.gz")
		if err := os.MkdirAll(filepath.Dir(broken), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(broken, []byte("\x1f\x8b\x08\x00\x00"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before, after = filepath.Join(dir, "before", "in"), filepath.Join(dir, "after", "in")
	put(before, "sip-busy", "messages-ucs2-71", "sip-cancelled")
	put(after, "sip-busy", "messages-ucs2-71", "messages-gsm7-160")
	changed := filepath.Join(after, "messages-ucs2-71", "messages", "page-001.json")
	if err := os.Remove(changed); err != nil {
		t.Fatal(err)
	}
	return before, after
}

// whole checks that every file that a reader of the dataset sees is whole.
func whole(t *testing.T, out string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(out, "tables")); err == nil {
		if _, err := table.ReadDir(os.DirFS(out)); err != nil && !strings.Contains(err.Error(), "holds no table known here") {
			t.Errorf("tables: %v", err)
		}
	}
	entries, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), stagePrefix) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(out, e.Name()))
		if err != nil {
			t.Error(err)
		}
		ok := json.Valid(b)
		if e.Name() == reportName {
			ok = bytes.HasSuffix(bytes.TrimSpace(b), []byte("</html>"))
		}
		if !ok {
			t.Errorf("%s is not whole: %d bytes", e.Name(), len(b))
		}
	}
	records, _ := filepath.Glob(filepath.Join(out, recordDir, "*"))
	for _, name := range records {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		var r record
		if err := json.Unmarshal(b, &r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for tab, want := range r.Tables {
			info, err := os.Stat(filepath.Join(out, "tables", tab, r.File+".parquet"))
			if err != nil || info.Size() != want {
				t.Errorf("%s stands for %s, which is not so: %v", name, tab, err)
			}
		}
	}
}

// Killed before any step of its work, a batch leaves whole files, and the next
// one makes the dataset that an undisturbed run makes, whether it began with
// nothing or with a dataset of other inputs.
func TestKilledAtAnyStep(t *testing.T) {
	p := programs(t, "twtrace", "dying")
	before, after := roots(t)
	dir := t.TempDir()
	batch := func(program, in, out string, at int) (code int, stdout string) {
		c := exec.Command(program, "batch", in, "-o", out, "-q", "--jobs", "1")
		c.Env = append(os.Environ(), fmt.Sprint("DIE_AT=", at))
		b, err := c.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode(), strings.TrimSpace(string(b))
	}
	clean := filepath.Join(dir, "clean")
	if code, _ := batch(p[0], after, clean, 0); code != exitDamaged {
		t.Fatalf("exit code %d, want %d", code, exitDamaged)
	}
	want, err := sums(clean)
	if err != nil {
		t.Fatal(err)
	}
	for _, begin := range []string{"nothing", "dataset"} {
		make := func(name string) string {
			out := filepath.Join(dir, begin+name)
			if begin == "dataset" {
				if code, _ := batch(p[0], before, out, 0); code != exitDamaged {
					t.Fatalf("exit code %d, want %d", code, exitDamaged)
				}
			}
			return out
		}
		code, out := batch(p[1], after, make("-steps"), 0)
		steps, err := strconv.Atoi(out)
		if err != nil || code != exitDamaged || steps < 100 {
			t.Fatalf("%s: %q, exit code %d, %v; want a number of 100 at least", begin, out, code, err)
		}
		every := 23 // TWTRACE_LONG=1: each; .ci/long does so
		switch {
		case os.Getenv("TWTRACE_LONG") != "":
			every = 1
		case testing.Short():
			every = 61
		}
		for at := 1; at <= steps; at += every {
			out := make("-at")
			if code, _ := batch(p[1], after, out, at); code != -1 {
				t.Fatalf("%s: step %d: exit code %d, want a killed process", begin, at, code)
			}
			whole(t, out)
			if code, _ := batch(p[0], after, out, 0); code != exitDamaged {
				t.Fatalf("%s: step %d: exit code %d after it, want %d", begin, at, code, exitDamaged)
			}
			got, err := sums(out)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: killed before step %d of %d, the next run makes\n%s", begin, at, steps, difference(want, got))
			}
			if err := os.RemoveAll(out); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Killed at any time, again and again, a batch gets done in the end.
func TestKilledAtAnyTime(t *testing.T) {
	p := programs(t, "twtrace")
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	batch := func(out string) *exec.Cmd {
		return exec.Command(p[0], "batch", in, "-o", out, "-q", "--jobs", "2")
	}
	began := time.Now()
	if out, err := batch(filepath.Join(dir, "clean")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	took := time.Since(began)
	want, err := sums(filepath.Join(dir, "clean"))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 7))
	tries := 3
	if os.Getenv("TWTRACE_LONG") != "" {
		tries = 30
	}
	killed := 0
	for k := range tries {
		out := filepath.Join(dir, fmt.Sprint("out", k))
		for range 3 {
			c := batch(out)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(r.Int64N(int64(took))))
			if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil && c.ProcessState.ExitCode() == -1 {
				killed++
			}
			whole(t, out)
		}
		if msg, err := batch(out).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		got, err := sums(out)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("try %d makes\n%s", k, difference(want, got))
		}
	}
	if killed == 0 {
		t.Error("no run was killed: nothing was tested")
	}
}

// Shards that work at the same time, one of them killed and begun again, make
// the dataset of one run.
func TestShardsSideBySide(t *testing.T) {
	p := programs(t, "twtrace", "dying")
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if msg, err := exec.Command(p[0], args...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, msg)
		}
	}
	run("batch", in, "-o", filepath.Join(dir, "one"), "-q")
	const n = 4
	var all []*exec.Cmd
	for k := range n {
		c := exec.Command(p[1], "batch", in, "-o", out, "-q", "--shard", fmt.Sprintf("%d/%d", k, n))
		at := 0
		if k == 1 {
			at = 60
		}
		c.Env = append(os.Environ(), fmt.Sprint("DIE_AT=", at))
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for k, c := range all {
		if err := c.Wait(); (err == nil) == (k == 1) {
			t.Errorf("shard %d: %v", k, err)
		}
	}
	whole(t, out)
	run("batch", in, "-o", out, "-q", "--shard", "1/4")
	run("report", out)
	for k := range n {
		if err := os.Remove(filepath.Join(out, shardName(shard{uint64(k), n}))); err != nil {
			t.Error(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "one", batchName)); err != nil {
		t.Fatal(err)
	}
	want, err := sums(filepath.Join(dir, "one"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := sums(out)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s", err, difference(want, got))
	}
}
