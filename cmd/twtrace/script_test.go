package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/twtrace/twtrace/fixtures"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	if dir := memoryDir(); dir != "" && os.Getenv("TMPDIR") == "" && strings.HasSuffix(os.Args[0], ".test") {
		if err := os.Setenv("TMPDIR", dir); err != nil {
			panic(err)
		}
	}
	testscript.Main(m, map[string]func(){"twtrace": main, "dying": dying, "counting": counting})
}

// Each script has experiments/, the recorded experiments. Commands of our own:
//
//	code N CMD ARGS...   run and want exit code N
//	tar, tar.gz, tar.zst, zip FILE DIR PATH...   archive paths of a folder
//	cut FILE N           keep the first N bytes
//	same A B             two folders hold the same files
//	empty DIR            a folder holds nothing, hidden files included
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("COLUMNS", "")
			return os.CopyFS(filepath.Join(e.WorkDir, "experiments"), fixtures.Recorded())
		},
		UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    wantCode,
			"tar":     archiver(func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }),
			"tar.gz":  archiver(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }),
			"tar.zst": archiver(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }),
			"zip":     archiver(nil),
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.ParseInt(args[1], 10, 64)
				ts.Check(err)
				ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
			},
			"same": func(ts *testscript.TestScript, neg bool, args []string) {
				a, b := digest(ts, args[0]), digest(ts, args[1])
				if slices.Equal(a, b) == neg {
					ts.Fatalf("%s:\n%s\n%s:\n%s", args[0], strings.Join(a, "\n"), args[1], strings.Join(b, "\n"))
				}
			},
			"empty": func(ts *testscript.TestScript, _ bool, args []string) {
				list, err := os.ReadDir(ts.MkAbs(args[0]))
				ts.Check(err)
				if len(list) > 0 {
					ts.Fatalf("%s holds %v", args[0], list)
				}
			},
		},
	})
}

func wantCode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// archiver makes a tar through a compressor, or without one a zip.
func archiver(compress func(io.Writer) (io.WriteCloser, error)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		var buf bytes.Buffer
		var put func(name string, data []byte) error
		var done func() error
		if compress == nil {
			z := zip.NewWriter(&buf)
			done = z.Close
			put = func(name string, data []byte) error {
				w, err := z.Create(name)
				if err == nil {
					_, err = w.Write(data)
				}
				return err
			}
		} else {
			c, err := compress(&buf)
			ts.Check(err)
			w := tar.NewWriter(c)
			done = func() error { return errors.Join(w.Close(), c.Close()) }
			put = func(name string, data []byte) error {
				err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
				if err == nil {
					_, err = w.Write(data)
				}
				return err
			}
		}
		root := os.DirFS(ts.MkAbs(args[1]))
		for _, name := range args[2:] {
			ts.Check(fs.WalkDir(root, name, func(p string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				data, err := fs.ReadFile(root, p)
				if err != nil {
					return err
				}
				return put(p, data)
			}))
		}
		ts.Check(done())
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), buf.Bytes(), 0o644))
	}
}

// digest lists the files below a folder with their sums.
func digest(ts *testscript.TestScript, dir string) []string {
	list, err := sums(ts.MkAbs(dir))
	ts.Check(err)
	return list
}

func sums(dir string) ([]string, error) {
	var list []string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		sum := sha256.Sum256(data)
		list = append(list, path.Clean(filepath.ToSlash(rel))+" "+hex.EncodeToString(sum[:8]))
		return err
	})
	return list, err
}

// call runs the program in this process.
func call(ctx context.Context, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, args, stdin, &out, &errs)
	return code, out.String(), errs.String()
}

// An interrupted run exits with 130 and leaves nothing, whenever it comes.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := filepath.Join(t.TempDir(), "experiments")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"analyze", filepath.Join(in, "sip-normal"), "-o"},
		{"batch", in, "-o"},
		{"demo", "-o"},
	} {
		dir := t.TempDir()
		code, stdout, stderr := call(ctx, strings.NewReader(""), append(args, filepath.Join(dir, "new", "out"))...)
		if code != 130 || stdout != "" || !strings.Contains(stderr, "interrupted") {
			t.Errorf("%s: code %d, stdout %q, stderr %q; want 130 and a word on standard error", args[0], code, stdout, stderr)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", args[0], left, err)
		}
	}
	if code, stdout, _ := call(ctx, strings.NewReader(""), "calls", in); code != 130 || stdout != "" {
		t.Errorf("calls: code %d, stdout %q; want 130 and nothing", code, stdout)
	}
}

// A run that is interrupted over an old result leaves that as it was.
func TestInterruptedKeepsOldResult(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t.Context(), nil, "analyze", filepath.Join(in, "sip-busy"), "-o", out); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	before, err := sums(out)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, _ := call(ctx, nil, "batch", in, "-o", out); code != 130 {
		t.Errorf("code %d, want 130", code)
	}
	if after, err := sums(out); err != nil || !slices.Equal(before, after) {
		t.Errorf("the old result changed: %v\n%v\n%v", err, before, after)
	}
}

// Ctrl-C must end a program that waits for standard input.
func TestInterruptedWaitingForInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		code, _, _ := call(ctx, r, "calls", "-")
		done <- code
	}()
	time.Sleep(20 * time.Millisecond) // most likely it waits by now; it must not matter
	cancel()
	if code := <-done; code != 130 {
		t.Errorf("code %d, want 130", code)
	}
}

// brokenPipe is a reader of our output that has seen enough.
type brokenPipe struct{ left int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, &fs.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
	}
	return len(p), nil
}

func TestBrokenPipeIsQuiet(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in")
	if err := os.CopyFS(in, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"signals", in}, {"schema"}, {"flow", in}, {"version"}} {
		var errs bytes.Buffer
		if code := run(t.Context(), args, nil, &brokenPipe{}, &errs); code != 0 || errs.Len() > 0 {
			t.Errorf("%s: code %d, stderr %q; want 0 and nothing", args[0], code, errs.String())
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestFullDiskIsAnError(t *testing.T) {
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"schema"}, nil, fullDisk{}, &errs); code != 1 || !strings.Contains(errs.String(), "no space") {
		t.Errorf("code %d, stderr %q; want 1 and the reason", code, errs.String())
	}
}

// What an attacker named must not steer the reader's terminal.
func TestErrorsShowControlCharacters(t *testing.T) {
	dir := t.TempDir()
	evil := filepath.Join(dir, "a\x1b[31m\u202egnp.txt")
	if err := os.WriteFile(evil, []byte("no capture"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, stderr := call(t.Context(), nil, "calls", evil)
	if !strings.Contains(stderr, `a\u{1B}[31m\u{202E}gnp.txt`) || strings.ContainsAny(stderr, "\x1b\u202e") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain äöü 日本 \U0001F600": "plain äöü 日本 \U0001F600",
		"a\nb\tc\x00\x7f":         `a\u{A}b\u{9}c\u{0}\u{7F}`,
		"\u009b31m":               `\u{9B}31m`,
		"\u200e\u200f\u061c":      `\u{200E}\u{200F}\u{61C}`,
		"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069": `\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}\u{2066}\u{2067}\u{2068}\u{2069}`,
		"\u2028\u2029": `\u{2028}\u{2029}`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"runs/a-1": "runs/a-1", "two words": "'two words'", "": "''", "a'b": `'a'\''b'`, "$(x)": "'$(x)'", "~": "'~'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

// The schema is a contract: columns may come, none may go or change its type.
func TestSchemaGolden(t *testing.T) {
	code, got, stderr := call(t.Context(), nil, "schema")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	name := filepath.Join("testdata", "schema.txt")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "nothing", "nothing"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			t.Fatalf("line %d: want %s\nfound %s\nadded columns: go test -update, and read the difference", i+1, x, y)
		}
	}
}
