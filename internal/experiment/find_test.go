package experiment

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/decode/container"
)

// Smallest files of each kind.
var (
	pcapFile   = []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00")
	exportFile = []byte(`{"sid": "SM1", "date_created": "Thu, 21 Nov 2013 18:00:00 +0000"}`)
	keyFile    = []byte("CLIENT_RANDOM " + strings.Repeat("01", 32) + " " + strings.Repeat("02", 48) + "\n")
	queueFile  = []byte("time,kind,to\n1,call,+15557650000\n")
	yamlFile   = []byte("kind: calls\ncalls: 3\n")
	noteFile   = []byte("just words\n")
	brokenFile = []byte("\x1f\x8b\x08\x00\x00")
)

// tree makes a file system of "name" -> kind by the name's last letters.
func tree(names ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for _, n := range names {
		m[n] = &fstest.MapFile{Data: content(n), Mode: 0o644}
	}
	return m
}

func content(name string) []byte {
	switch path.Ext(name) {
	case ".pcap":
		return pcapFile
	case ".json":
		return exportFile
	case ".keys":
		return keyFile
	case ".csv":
		return queueFile
	case ".yaml":
		return yamlFile
	case ".broken":
		return brokenFile
	case ".zip":
		return zipOf("x.pcap", "notes.txt")
	case ".zips":
		return zipOf("a/x.pcap", "b/calls/y.json")
	}
	return noteFile
}

func zipOf(names ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, n := range names {
		w, err := z.Create(n)
		if err == nil {
			_, err = w.Write(content(n))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func folder(label string, fsys fs.FS) Input {
	return Input{FS: fsys, Path: ".", Label: label, Name: path.Base(label)}
}

func file(label string, data []byte) Input {
	name := path.Base(label)
	return Input{FS: fstest.MapFS{name: {Data: data}}, Path: name, Label: label, Name: name}
}

func pipe(data []byte) Input {
	f := container.Stdin(io.MultiReader(bytes.NewReader(data))) // nothing but Read
	f.Name = "stdin"
	return Input{Label: "standard input", Name: "stdin", Pipe: f}
}

// shape is the experiments as text: name: file file !refused; ...
func shape(exps []Experiment) string {
	var out []string
	for _, e := range exps {
		var names []string
		for _, f := range e.Files {
			names = append(names, f.Name)
		}
		slices.Sort(names)
		for _, r := range e.Refused {
			names = append(names, "!"+r.Name)
		}
		out = append(out, e.Name+": "+strings.Join(names, " "))
	}
	return strings.Join(out, "; ")
}

func TestFolderRule(t *testing.T) {
	link := tree("run/a.pcap")
	link["latest"] = &fstest.MapFile{Data: []byte("run"), Mode: fs.ModeSymlink | 0o777}
	linked := tree("run/a.pcap")
	linked["run/other"] = &fstest.MapFile{Data: []byte("../x"), Mode: fs.ModeSymlink | 0o777}
	for _, c := range []struct {
		name string
		fsys fs.FS
		want string
	}{
		{"one run", tree("a.pcap", "b.pcap"), "root: a.pcap b.pcap"},
		{"its three subfolders", tree("calls/a.json", "messages/b.json", "keys/c.keys", "x.pcap"), "root: calls/a.json keys/c.keys messages/b.json x.pcap"},
		{"a subfolder makes the run", tree("r1/calls/a.json", "r2/messages/b.json"), "r1: r1/calls/a.json; r2: r2/messages/b.json"},
		{"a subfolder alone", tree("messages/b.json"), "root: messages/b.json"},
		{"keys make none", tree("r1/a.pcap", "r2/keys/k.keys"), "r1: r1/a.pcap"},
		{"a manifest makes a run", tree("r1/a.pcap", "r2/experiment.yaml"), "r1: r1/a.pcap; r2: r2/experiment.yaml"},
		{"a queue log alone makes none", tree("r1/a.pcap", "r1/logs/queue.csv"), "r1: r1/a.pcap r1/logs/queue.csv"},
		{"runs within a run", tree("a.pcap", "again/b.pcap"), "root: a.pcap; again: again/b.pcap"},
		{"groups", tree("calls/n20/a.pcap", "messages/b160/messages/m.json"), "calls/n20: calls/n20/a.pcap; messages/b160: messages/b160/messages/m.json"},
		{"other folders go to the run above", tree("r/a.pcap", "r/scripts/run.sh", "r/scripts/deep/x.txt"), "r: r/a.pcap r/scripts/deep/x.txt r/scripts/run.sh"},
		{"even those that sort before it", tree("a.pcap", "-x/note.txt"), "root: -x/note.txt a.pcap"},
		{"a run named as the root", tree("root/a.pcap", "zz/note.txt"), "root: root/a.pcap"},
		{"notes of no run", tree("README.txt", "r/a.pcap"), "r: r/a.pcap"},
		{"keys above all runs", tree("shared.keys", "r1/a.pcap", "r2/b.pcap"), "r1: r1/a.pcap shared.keys; r2: r2/b.pcap shared.keys"},
		{"keys above some runs", tree("g/keys/k.keys", "g/r1/a.pcap", "r2/b.pcap"), "g/r1: g/keys/k.keys g/r1/a.pcap; r2: r2/b.pcap"},
		{"only keys", tree("keys/k.keys", "notes.txt"), "root: keys/k.keys notes.txt"},
		{"hidden", tree("a.pcap", ".git/b.pcap"), "root: a.pcap"},
		{"an archive is a folder", tree("one.zip", "r/two.zips"), "one.zip: one.zip/notes.txt one.zip/x.pcap; r/two.zips/a: r/two.zips/a/x.pcap; r/two.zips/b: r/two.zips/b/calls/y.json"},
		{"broken and alone", tree("r1/a.pcap", "r2/x.broken"), "r1: r1/a.pcap; r2: r2/x.broken"},
		{"broken beside", tree("r1/a.pcap", "r1/x.broken"), "r1: r1/a.pcap r1/x.broken"},
		{"a link above runs", link, "run: run/a.pcap"},
		{"a link in a run", linked, "run: run/a.pcap !run/other"},
		{"results of an earlier run", fstest.MapFS{
			"a.pcap": {Data: pcapFile}, "out/batch.json": {Data: []byte("{\n  \"program\": \"twtrace\",\n")}, "out/report.html": {Data: noteFile},
			"out/tables/calls/x.parquet": {Data: noteFile}, "out/mine.txt": {Data: noteFile}, "batch.json": {Data: []byte("{}")},
		}, "root: a.pcap batch.json out/mine.txt"},
		{"results of a shard", fstest.MapFS{
			"a.pcap": {Data: pcapFile}, "out/batch.0-of-2.json": {Data: []byte("{\n  \"program\": \"twtrace\",\n")},
			"out/tables/calls/x.parquet": {Data: noteFile}, "batch.notes.json": {Data: []byte("{\n  \"program\": \"twtrace\",\n")},
		}, "root: a.pcap batch.notes.json"},
	} {
		got, err := Find([]Input{folder("some/root", c.fsys)}, false)
		if err != nil || shape(got) != c.want {
			t.Errorf("%s: %v\nwant  %s\nfound %s", c.name, err, c.want, shape(got))
		}
	}
}

// Each case is tried with the INPUTs in several orders: it must not matter.
func TestInputs(t *testing.T) {
	one := func() Input { return folder("x/run1", tree("a.pcap")) }
	many := func() Input { return folder("x/many", tree("r1/a.pcap", "r2/b.pcap")) }
	for _, c := range []struct {
		name           string
		in             func() []Input
		apart, grouped string // together false and true; "" a ManyError
	}{
		{"a file", func() []Input { return []Input{file("x/cap.2.pcap.gz", pcapFile)} }, "cap: cap.2.pcap.gz", "cap: cap.2.pcap.gz"},
		{"files", func() []Input {
			return []Input{file("b.pcap", pcapFile), file("a.json", exportFile), file("0.csv", queueFile)}
		}, "b: 0.csv a.json b.pcap", "b: 0.csv a.json b.pcap"},
		{"file and folder", func() []Input { return []Input{file("z.pcap", pcapFile), folder("calls", tree("c.json"))} }, "z: c.json z.pcap", "z: c.json z.pcap"},
		{"folders", func() []Input { return []Input{one(), folder("run2", tree("a.pcap"))} }, "run2: a.pcap; run1: a.pcap", "run1: a.pcap run1/a.pcap"},
		{"folders of one name", func() []Input { return []Input{one(), folder("y/run1", tree("a.pcap"))} }, "run1: a.pcap; run1#2: a.pcap", "run1: a.pcap run1/a.pcap"},
		{"files of one name", func() []Input {
			return []Input{file("y/cap.pcap", pcapFile), file("x/cap.pcap", pcapFile), file("z/y/cap.pcap", pcapFile), file("cap.pcap", pcapFile)}
		}, "cap: cap.pcap x/cap.pcap y#2/cap.pcap y/cap.pcap", "cap: cap.pcap x/cap.pcap y#2/cap.pcap y/cap.pcap"},
		{"root of many", func() []Input { return []Input{many()} }, "r1: r1/a.pcap; r2: r2/b.pcap", ""},
		{"root of many and a file", func() []Input { return []Input{many(), file("c.pcap", pcapFile)} }, "c: c.pcap; r1: r1/a.pcap; r2: r2/b.pcap", ""},
		{"root of many and keys", func() []Input { return []Input{many(), file("k.keys", keyFile)} }, "r1: k.keys r1/a.pcap; r2: k.keys r2/b.pcap", ""},
		{"capture and keys", func() []Input { return []Input{file("k.keys", keyFile), file("z.pcap", pcapFile)} }, "z: k.keys z.pcap", "z: k.keys z.pcap"},
		{"keys alone", func() []Input { return []Input{file("k.keys", keyFile)} }, "k: k.keys", "k: k.keys"},
		{"archive of one", func() []Input { return []Input{file("e.zip", zipOf("x.pcap"))} }, "e: x.pcap", "e: x.pcap"},
		{"archive of one folder", func() []Input { return []Input{file("e.zip", zipOf("run/x.pcap", "run/calls/c.json"))} }, "run: run/calls/c.json run/x.pcap", "run: run/calls/c.json run/x.pcap"},
		{"archive of many", func() []Input { return []Input{file("e.zip", zipOf("a/x.pcap", "b/x.pcap"))} }, "a: a/x.pcap; b: b/x.pcap", ""},
		{"a capture on a pipe", func() []Input { return []Input{pipe(pcapFile)} }, "stdin: stdin", "stdin: stdin"},
		{"a pipe beside others", func() []Input { return []Input{pipe(pcapFile), file("z.pcap", pcapFile)} }, "stdin: stdin z.pcap", "stdin: stdin z.pcap"},
		{"an archive on a pipe", func() []Input { return []Input{pipe(zipOf("a/x.pcap", "b/x.pcap"))} }, "a: a/x.pcap; b: b/x.pcap", ""},
		{"keys on a pipe", func() []Input { return []Input{pipe(keyFile), many()} }, "r1: r1/a.pcap stdin; r2: r2/b.pcap stdin", ""},
	} {
		for seed := range uint64(4) {
			for _, together := range []bool{false, true} {
				in := c.in()
				r := rand.New(rand.NewPCG(seed, 0))
				r.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
				want := c.apart
				if together {
					want = c.grouped
				}
				got, err := Find(in, together)
				var e *ManyError
				if want == "" && errors.As(err, &e) && len(e.Names) == 2 {
					continue
				}
				if err != nil || shape(got) != want {
					t.Errorf("%s, together %v, seed %d: %v\nwant  %s\nfound %s", c.name, together, seed, err, want, shape(got))
				}
			}
		}
	}
}

func TestInputErrors(t *testing.T) {
	keys := func(in Input) Input { in.Keys = true; return in }
	for _, c := range []struct {
		in   Input
		want string
	}{
		{file("notes.txt", noteFile), "notes.txt: want a capture, an export, a key log, a queue log, a manifest or an archive of these; found text of no known kind"},
		{file("empty", nil), "found an empty file"},
		{pipe(noteFile), "standard input: want a capture"},
		{folder("void", fstest.MapFS{}), "void: holds no capture, export, key log, queue log or manifest"},
		{folder("notes", tree("a.txt", "b/c.txt")), "notes: holds no capture"},
		{file("e.zip", zipOf("a.txt")), "e.zip: holds no capture"},
		{Input{FS: fstest.MapFS{}, Path: "x", Label: "dir/x", Name: "x"}, "dir/x: file does not exist"},
		{keys(file("a.pcap", pcapFile)), "--keys wants a key log, found pcap"},
		{keys(folder("k", tree("a.keys"))), "--keys wants a key log, found a folder"},
		{keys(file("x.broken", brokenFile)), "x.broken: "},
	} {
		got, err := Find([]Input{c.in}, false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, found %s; want %q", c.in.Label, err, shape(got), c.want)
		}
	}
}

// A file that is broken is no error of Find: Analyze tells where it broke.
func TestBrokenFileIsAnInput(t *testing.T) {
	got, err := Find([]Input{file("x.pcap.gz", brokenFile)}, true)
	if err != nil || shape(got) != "x: x.pcap.gz" {
		t.Errorf("%v, %s", err, shape(got))
	}
}

// What is held of a pipe is what was written to it, also by its members.
func TestPipeIsReadWhole(t *testing.T) {
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(zipOf("a/x.pcap", "a/calls/y.json")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := Find([]Input{pipe(gz.Bytes())}, true)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %s", err, shape(got))
	}
	for _, f := range got[0].Files {
		for range 2 { // a file of an experiment can be opened again
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(data, content(f.Name)) {
				t.Errorf("%s: %v, %q", f.Name, err, data)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestOneFile(t *testing.T) {
	if err := fstest.TestFS(rooted{oneFile{"x", []byte("data")}}, "x"); err != nil {
		t.Error(err)
	}
	if _, err := (oneFile{"x", nil}).Open("y"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// rooted gives oneFile the root folder that TestFS walks.
type rooted struct{ oneFile }

func (r rooted) Open(name string) (fs.File, error) {
	if name == "." {
		return fstest.MapFS{r.name: {Data: r.data, Mode: 0o444}}.Open(".")
	}
	return r.oneFile.Open(name)
}

// Names of files that Find gives are unique within an experiment: they are keys.
func TestNamesAreUnique(t *testing.T) {
	var in []Input
	for i := range 5 {
		in = append(in, file(fmt.Sprintf("d%d/cap.pcap", i%2), pcapFile), folder(fmt.Sprintf("e%d/run", i), tree("cap.pcap", "run/cap.pcap.txt")))
	}
	got, err := Find(in, true)
	if err != nil || len(got) != 1 {
		t.Fatal(err, shape(got))
	}
	seen := map[string]bool{}
	for _, f := range got[0].Files {
		if seen[f.Name] {
			t.Errorf("%s twice", f.Name)
		}
		seen[f.Name] = true
	}
	if len(seen) != 15 {
		t.Errorf("%d files, want 15", len(seen))
	}
}
