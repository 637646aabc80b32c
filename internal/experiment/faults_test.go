package experiment

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/twtrace/twtrace/fixtures"
)

var errDisk = errors.New("disk on fire")

// faulty is a file system of which one file is not what it was from its opening
// number from on, and which counts the files that are open.
type faulty struct {
	fs.FS
	name   string
	from   int
	open   func() (io.Reader, error) // instead
	opened int
	now    *atomic.Int64
}

func (f *faulty) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	var r io.Reader = file
	if name == f.name {
		if f.opened++; f.opened > f.from {
			if r, err = f.open(); err != nil {
				file.Close()
				return nil, &fs.PathError{Op: "open", Path: name, Err: err}
			}
		}
	}
	if _, ok := file.(fs.ReadDirFile); ok {
		return file, nil
	}
	f.now.Add(1)
	return &countedFile{File: file, r: r, now: f.now}, nil
}

type countedFile struct {
	fs.File
	r      io.Reader
	now    *atomic.Int64
	closed bool
}

func (f *countedFile) Read(p []byte) (int, error) { return f.r.Read(p) }

func (f *countedFile) Close() error {
	if !f.closed {
		f.closed = true
		f.now.Add(-1)
	}
	return f.File.Close()
}

// recordings are the fixtures, in memory.
func recordings(t *testing.T) map[string]fstest.MapFS {
	t.Helper()
	list, err := fs.ReadDir(fixtures.Recorded(), ".")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]fstest.MapFS{}
	for _, e := range list {
		if !e.IsDir() {
			continue
		}
		all[e.Name()] = fstest.MapFS{}
		err := fs.WalkDir(fixtures.Recorded(), e.Name(), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(name) == ".md" {
				return err
			}
			b, err := fs.ReadFile(fixtures.Recorded(), name)
			all[e.Name()][strings.TrimPrefix(name, e.Name()+"/")] = &fstest.MapFile{Data: b}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A file that cannot be read to its end, that is another when it is read than
// when it was found, or that is gone by then is named with its reason, whatever
// it is; the result says that it is not whole. Nothing stays open.
func TestFaults(t *testing.T) {
	for run, files := range recordings(t) {
		for name, file := range files {
			if testing.Short() && run != "sip-busy" {
				continue
			}
			data := file.Data
			failing := func(n int) func() (io.Reader, error) {
				return func() (io.Reader, error) {
					return io.MultiReader(bytes.NewReader(data[:n]), errorReader{errDisk}), nil
				}
			}
			short := func() (io.Reader, error) { return bytes.NewReader(data[:len(data)*2/3]), nil }
			longer := func() (io.Reader, error) {
				return io.MultiReader(bytes.NewReader(data), bytes.NewReader(data[len(data)-1:])), nil
			}
			gone := func() (io.Reader, error) { return nil, fs.ErrNotExist }
			for _, c := range []struct {
				what  string
				from  int
				open  func() (io.Reader, error)
				wants string
			}{
				{"read error at once", 0, failing(0), errDisk.Error()},
				{"read error at a byte", 0, failing(min(len(data), 40)), errDisk.Error()},
				{"read error in the middle", 0, failing(len(data) / 2), errDisk.Error()},
				{"read error at the end", 0, failing(len(data)), errDisk.Error()},
				{"cut after it was found", 1, short, ""},
				{"grown after it was found", 1, longer, ""},
				{"gone after it was found", 1, gone, "file does not exist"},
			} {
				var open atomic.Int64
				f := &faulty{FS: files, name: name, from: c.from, open: c.open, now: &open}
				exit, said := analyzed(t, f)
				if exit != ExitDamaged && exit != ExitNothing || !strings.Contains(said, name) || !strings.Contains(said, c.wants) {
					t.Errorf("%s/%s, %s: exit %d, %q", run, name, c.what, exit, said)
				}
				if n := open.Load(); n != 0 {
					t.Errorf("%s/%s, %s: %d files are open", run, name, c.what, n)
				}
			}
		}
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// analyzed is the exit code and what is said of the files' analysis.
func analyzed(t *testing.T, fsys fs.FS) (exit int, said string) {
	t.Helper()
	exps, err := Find([]Input{folder("run", fsys)}, true)
	if err != nil {
		return ExitNothing, err.Error()
	}
	res, err := Analyze(t.Context(), exps[0], Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Data.Experiments[0].ExitCode; got != int64(res.Exit) {
		t.Errorf("the row says exit code %d, want %d", got, res.Exit)
	}
	return res.Exit, strings.Join(res.Messages, "\n")
}

// After an analysis, whole, damaged or called off, no goroutine and no file of
// it is left.
func TestNothingStaysOpen(t *testing.T) {
	settle := func() int {
		n := runtime.NumGoroutine()
		for range 100 {
			time.Sleep(time.Millisecond)
			if m := runtime.NumGoroutine(); m >= n {
				return m
			} else {
				n = m
			}
		}
		return n
	}
	before := settle()
	for run, files := range recordings(t) {
		for name, file := range files {
			cut := fstest.MapFS{}
			for k, v := range files {
				cut[k] = v
			}
			cut[name] = &fstest.MapFile{Data: file.Data[:len(file.Data)*3/4]}
			for what, fsys := range map[string]fs.FS{"whole": files, "damaged": cut} {
				for _, canceled := range []bool{false, true} {
					var open atomic.Int64
					exps, err := Find([]Input{folder("run", &faulty{FS: fsys, now: &open})}, true)
					if err == nil {
						ctx, cancel := context.WithCancel(t.Context())
						opt := Options{}
						if canceled {
							opt.Progress = func(int64, int64) { cancel() }
							if len(files) == 1 {
								cancel() // no progress is told of so small a file
							}
						}
						if _, err = Analyze(ctx, exps[0], opt); err != nil && !errors.Is(err, context.Canceled) {
							t.Errorf("%s, %s: %v", run, what, err)
						}
						cancel()
					}
					if n := open.Load(); n != 0 {
						t.Errorf("%s, %s without %s, canceled: %v: %d files are open", run, what, name, canceled, n)
					}
				}
			}
		}
	}
	if n := settle(); n > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
}

// What is no plain file, or may not be read, is told by its name, and what
// stands beside it is used.
func TestUnreadable(t *testing.T) {
	run := recordings(t)["sip-busy"]
	for _, mode := range []fs.FileMode{fs.ModeSymlink, fs.ModeNamedPipe, fs.ModeSocket, fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice, fs.ModeIrregular} {
		files := maps.Clone(run)
		files["other.pcap"] = &fstest.MapFile{Data: run["capture.pcapng.gz"].Data, Mode: mode | 0o644}
		want := "other.pcap: not a regular file"
		if mode == fs.ModeSymlink {
			want = "other.pcap: symbolic link"
		}
		if exit, said := analyzed(t, files); exit != ExitDamaged || !strings.Contains(said, want) {
			t.Errorf("%s: exit %d, %q", mode, exit, said)
		}
	}
	exit, said := analyzed(t, unreadable{run, "capture.pcapng.gz"})
	if exit != ExitNothing || !strings.Contains(said, "capture.pcapng.gz: ") || !strings.Contains(said, fs.ErrPermission.Error()) {
		t.Errorf("not permitted: exit %d, %q", exit, said)
	}
}
