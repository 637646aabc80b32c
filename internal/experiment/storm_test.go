package experiment

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/twtrace/twtrace/fixtures"
)

// A storm of damage over whole recordings: no bytes end the analysis otherwise
// than whole, damaged or with nothing made, its ledger balanced and its rows
// fit to be written (Analyze checks both), within a time and a memory.
// In go test a few over the fixtures; TWTRACE_STORM=N makes N of each recording
// of the lab, and prints docs/reliability.md's table.
const (
	stormTime   = 60 * time.Second // of one analysis, on a busy machine
	stormMemory = 512 << 20
)

func TestStorm(t *testing.T) {
	n := 100
	recordings := map[string]fs.FS{}
	list, err := fs.ReadDir(fixtures.Recorded(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		sub, err := fs.Sub(fixtures.Recorded(), e.Name())
		if err != nil {
			t.Fatal(err)
		}
		recordings[e.Name()] = sub
	}
	long, _ := strconv.Atoi(os.Getenv("TWTRACE_STORM"))
	if long > 0 {
		n = long
		recordings = map[string]fs.FS{}
		runs, _ := filepath.Glob(filepath.Join("..", "..", "..", "shared", "lab", "*", "*"))
		for _, dir := range runs {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				recordings[filepath.Base(filepath.Dir(dir))+"/"+filepath.Base(dir)] = os.DirFS(dir)
			}
		}
		if len(recordings) == 0 {
			t.Skip("no lab beside the repository")
		}
	} else if testing.Short() {
		n = 3
	}
	names := make([]string, 0, len(recordings))
	for name := range recordings {
		names = append(names, name)
	}
	slices.Sort(names)
	exits := map[int]int{}
	var slowest time.Duration
	for _, name := range names {
		files := contents(t, recordings[name])
		if len(files) == 0 {
			continue
		}
		for k := range n {
			rng := rand.New(rand.NewPCG(uint64(k), hashOf(name)))
			storm, what := mutate(rng, files)
			began := time.Now()
			exit, err := analyzeStorm(storm)
			took := time.Since(began)
			slowest = max(slowest, took)
			if err != nil {
				t.Errorf("%s, %d (%s): %v", name, k, what, err)
			}
			if took > stormTime {
				t.Errorf("%s, %d (%s): %v", name, k, what, took)
			}
			exits[exit]++
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.Sys > stormMemory {
			t.Fatalf("%s: %d MB taken from the system so far", name, m.Sys>>20)
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if exits[ExitDamaged] == 0 || exits[ExitWhole] == 0 {
		t.Errorf("exit codes %v: the damage did not do anything, or too much", exits)
	}
	t.Logf("| %d recordings | %d mutations each | exit 0: %d | exit 1: %d | exit 3: %d | slowest %.1f s | %d MB |", len(names), n, exits[ExitWhole], exits[ExitNothing], exits[ExitDamaged], slowest.Seconds(), m.Sys>>20)
}

func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// contents are the files of a recording, small ones of its text decompressed so
// that damage reaches what is inside.
func contents(t *testing.T, fsys fs.FS) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || path.Ext(name) == ".md" {
			return err
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".gz") {
			z, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				return err
			}
			if b, err = io.ReadAll(z); err != nil {
				return err
			}
			name = strings.TrimSuffix(name, ".gz")
		}
		if len(b) > 0 && len(b) < 4<<20 {
			out[name] = b
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mutate damages one of the files: a copy of the map with it.
func mutate(rng *rand.Rand, files map[string][]byte) (fstest.MapFS, string) {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	hit := names[rng.IntN(len(names))]
	out := fstest.MapFS{}
	for _, name := range names {
		out[name] = &fstest.MapFile{Data: files[name]}
	}
	b := bytes.Clone(files[hit])
	at, size := rng.IntN(len(b)), 1+rng.IntN(min(len(b), 4096))
	end := min(len(b), at+size)
	what := ""
	switch rng.IntN(8) {
	case 0:
		what = "bits flipped"
		for range 1 + rng.IntN(64) {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
	case 1:
		what = "bytes replaced"
		for range 1 + rng.IntN(500) {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
	case 2:
		what = "cut short"
		b = b[:at]
	case 3:
		what = "zeros"
		clear(b[at:end])
	case 4:
		what = "a part missing"
		b = slices.Delete(b, at, end)
	case 5:
		what = "a part twice"
		b = slices.Insert(b, at, bytes.Clone(b[at:end])...)
	case 6:
		what = "a length made large"
		for i := at; i < min(at+4, len(b)); i++ {
			b[i] = 0xff
		}
	case 7:
		what = "a part of another file"
		other := files[names[rng.IntN(len(names))]]
		from := rng.IntN(len(other))
		b = slices.Insert(b, at, other[from:min(len(other), from+size)]...)
	}
	out[hit] = &fstest.MapFile{Data: b}
	return out, fmt.Sprintf("%s: %s at %d", hit, what, at)
}

// analyzeStorm analyses and says what should never be.
func analyzeStorm(fsys fs.FS) (exit int, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	exps, err := Find([]Input{folder("run", fsys)}, true)
	if err != nil {
		return ExitNothing, nil // nothing in it can be used: an error that says so
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*stormTime)
	defer cancel()
	res, err := Analyze(ctx, exps[0], Options{})
	if err != nil {
		return 0, err
	}
	if res.Exit != ExitWhole && res.Exit != ExitNothing && res.Exit != ExitDamaged {
		return res.Exit, fmt.Errorf("exit %d: %q", res.Exit, res.Messages)
	}
	if res.Exit == ExitDamaged && len(res.Messages) == 0 {
		return res.Exit, fmt.Errorf("damage without a word about it")
	}
	return res.Exit, nil
}
