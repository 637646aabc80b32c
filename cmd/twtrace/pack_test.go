package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// TestPackedIsTheWhole: the tables of a packed file are those of its folder,
// byte for byte, but for the names of files and, of several captures, the frame
// numbers. Tables inputs and captures describe the files themselves: there is
// one capture, and no key log.
func TestPackedIsTheWhole(t *testing.T) {
	packed := 0
	for name, root := range recordings(t) {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "one.pcapng")
			code, _, stderr := call(t.Context(), nil, "pack", root, "-o", file, "--with-keys")
			if code == exitNothing && (strings.Contains(stderr, "two places") || strings.Contains(stderr, "exports only")) {
				return
			}
			if code != exitOK && code != exitDamaged {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			packed++
			want, got := dataset(t, root), dataset(t, file)
			captures := len(want.Captures)
			for _, s := range table.Schemas() {
				if s.Name == "inputs" || s.Name == "captures" {
					continue
				}
				var v table.View
				if s.Name == "ledger" { // files of no known kind are not packed
					c, err := table.ParseCond("reason != 'unknown kind'")
					if err != nil {
						t.Fatal(err)
					}
					v.Where = append(v.Where, c)
				}
				for _, c := range s.Columns {
					switch c.Name {
					case "file":
						continue
					case "frame", "first_frame", "last_frame", "wireshark_filter", "text":
						if captures > 1 || code == exitDamaged {
							continue
						}
					case "exit_code", "problem":
						if code == exitDamaged {
							continue
						}
					}
					v.Columns = append(v.Columns, c.Name)
				}
				if x, y := written(t, want, s.Name, v), written(t, got, s.Name, v); x != y {
					line, a, b := firstDifference(x, y)
					t.Errorf("%s differs in line %d: want %s, found %s", s.Name, line, a, b)
				}
			}
		})
	}
	if packed < 9 {
		t.Errorf("only %d experiments were packed", packed)
	}
}

// dataset is what an experiment holds.
func dataset(t *testing.T, root string) *table.Dataset {
	t.Helper()
	a := &app{ctx: context.Background(), stdout: io.Discard, stderr: io.Discard, name: "run", quiet: true}
	d, err := a.dataset([]string{root})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func written(t *testing.T, d *table.Dataset, name string, v table.View) string {
	t.Helper()
	var b bytes.Buffer
	if err := table.Write(&b, d, name, table.FormatCSV, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPackKeepsKeysOut: without --with-keys no line of a key log is in the file,
// not in the tar that is attached either; with it all are.
func TestPackKeepsKeysOut(t *testing.T) {
	lines := 0
	for name, root := range recordings(t) {
		secrets := keyLines(t, root)
		if len(secrets) == 0 {
			continue
		}
		file := filepath.Join(t.TempDir(), "one.pcapng")
		for _, with := range []bool{false, true} {
			args := []string{"pack", root, "-o", file, "--force"}
			if with {
				args = append(args, "--with-keys")
			}
			code, _, stderr := call(t.Context(), nil, args...)
			if code == exitNothing {
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !with && !strings.Contains(stderr, "lines of keys; --with-keys") {
				t.Errorf("%s: keys were left out without a word: %s", name, stderr)
			}
			err = container.Walk(os.DirFS(filepath.Dir(file)), filepath.Base(file), func(f *container.File) error {
				r, err := f.Content(container.Limits{})
				if err != nil {
					return err
				}
				defer r.Close()
				more, err := io.ReadAll(r)
				data = append(data, more...)
				return err
			}, func(string, error) {})
			if err != nil {
				t.Fatal(err)
			}
			lines += len(secrets)
			for _, s := range secrets {
				if bytes.Contains(data, []byte(s)) != with {
					t.Errorf("%s: a key log's line is there: %v, want %v", name, !with, with)
					break
				}
			}
		}
	}
	if lines < 100 {
		t.Errorf("only %d lines were looked for", lines)
	}
}

// keyLines are the lines of the key logs in a folder.
func keyLines(t *testing.T, root string) []string {
	t.Helper()
	exps, err := experiment.Find([]experiment.Input{{FS: os.DirFS(root), Path: ".", Label: root, Name: "run"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range exps[0].Files {
		if c, err := f.Identify(); err != nil || c.Kind != container.Keylog {
			continue
		}
		r, err := f.Content(container.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
				list = append(list, l)
			}
		}
	}
	return slices.Compact(list)
}
