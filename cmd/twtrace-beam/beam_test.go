package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/memfs"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetupLogging("error", "text")
	register()
	filesystem.Register("trap", func(ctx context.Context) filesystem.Interface { return trap{memfs.New(ctx)} })
	beam.Init()
	os.Exit(m.Run())
}

// The programs write the same dataset: of the recorded and simulated
// experiments, of damaged ones, of archives among folders, and of a key log
// above them.
func TestSameAsBatch(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	experiments(t, root)
	twtrace := buildTwtrace(t, dir)
	want := batch(t, twtrace, root, 3)
	got := filepath.Join(dir, "out")
	j := job{Root: root, Out: got, Report: true, Version: experiment.ProgramVersion()}
	runJob(t, j, 3)
	sameFiles(t, files(t, os.DirFS(want)), files(t, os.DirFS(got)))
	rates, err := exec.Command(twtrace, "rates", "--combine", "-f", "csv", "-q", root).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
		t.Fatal(err)
	}
	if got := readFile(t, filepath.Join(got, combinedName)); string(got) != string(rates) || len(got) == 0 {
		t.Errorf("rates taken together:\n%s\n`twtrace rates --combine`:\n%s", got, rates)
	}

	// What is gone from the root goes from the dataset, and what batch knew of
	// the folder holds no more.
	for _, gone := range []string{"two.tar", "sip-normal"} {
		if err := os.RemoveAll(filepath.Join(root, gone)); err != nil {
			t.Fatal(err)
		}
	}
	j.Out = want
	runJob(t, j, 3)
	if _, err := os.Stat(filepath.Join(want, recordDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("records of batch: %v, wanted none", err)
	}
	j.Out = filepath.Join(dir, "fresh")
	runJob(t, j, 3)
	sameFiles(t, files(t, os.DirFS(j.Out)), files(t, os.DirFS(want)))
}

// An archive as the root, and options.
func TestArchiveRoot(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "all.tar")
	recorded := fixtures.Recorded()
	writeFile(t, root, tarOf(t, recorded, "sip-busy", "paper-calls-n5", "messages-ucs2-71"))
	want := batch(t, buildTwtrace(t, dir), root, 0, "--guarantee", "30/min", "--queue-by", "from")
	j := job{Root: root, Out: filepath.Join(dir, "out"), Report: true, Version: experiment.ProgramVersion()}
	j.QueueBy = "from"
	if err := j.check(nil, "30/min", ""); err != nil {
		t.Fatal(err)
	}
	runJob(t, j, 0)
	sameFiles(t, files(t, os.DirFS(want)), files(t, os.DirFS(j.Out)))
}

// A store of objects gives what a disk gives, as root and as dataset.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	local := job{Root: filepath.Join(dir, "root"), Out: filepath.Join(dir, "out"), Report: true, Version: "v1"}
	experiments(t, local.Root)
	runJob(t, local, 3)
	for name, data := range files(t, os.DirFS(local.Root)) {
		memfs.Write("memfs://store/a/root/"+name, data)
	}
	memfs.Write("memfs://store/a/root/", nil) // some tools make such an object for a folder
	far := local
	far.Root, far.Out = "memfs://store/a/root", "memfs://store/out"
	runJob(t, far, 3)
	ctx := context.Background()
	o, err := openObjects(ctx, far.Out)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.find(ctx); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, files(t, os.DirFS(local.Out)), files(t, o))

	local.Root, local.Out = filepath.Join(local.Root, "two.tar"), filepath.Join(dir, "out-of-tar")
	runJob(t, local, 0)
	far.Root, far.Out = far.Root+"/two.tar", "memfs://store/out-of-tar"
	runJob(t, far, 0)
	if o, err = openObjects(ctx, far.Out); err != nil {
		t.Fatal(err)
	}
	if err := o.find(ctx); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, files(t, os.DirFS(local.Out)), files(t, o))

	if err := far.check([]string{}, "", ""); err != nil {
		t.Error(err)
	}
	far.Root = "memfs://store/[ab]"
	if err := far.check(nil, "", ""); err == nil {
		t.Error("a pattern as the root was taken")
	}
}

func TestObjectsAreATree(t *testing.T) {
	ctx := context.Background()
	for _, name := range []string{"x.pcap", "a/y", "a/b/c/z", "ab/y"} {
		memfs.Write("memfs://tree/top/"+name, []byte(name))
	}
	memfs.Write("memfs://tree/topmost/else", nil)
	o, err := openObjects(ctx, "memfs://tree/top/")
	if err != nil {
		t.Fatal(err)
	}
	if err := o.find(ctx); err != nil {
		t.Fatal(err)
	}
	for _, o.ahead = range []*ahead{nil, newAhead(o)} {
		if err := fstest.TestFS(o, "x.pcap", "a/y", "a/b/c/z", "ab/y"); err != nil {
			t.Error(err)
		}
	}
	if _, err := o.Stat("else"); err == nil {
		t.Error("a name beside the folder is in it")
	}
	if o, err = openObjects(ctx, "memfs://tree/none"); err != nil {
		t.Fatal(err)
	}
	if err := o.find(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no object: %v, wanted that nothing is there", err)
	}
}

// What fails inside an analysis is a row of its experiment, and the others are
// whole.
func TestFailureIsARow(t *testing.T) {
	for name, data := range files(t, fixtures.Recorded()) {
		if dir := path.Dir(name); dir == "browser-incoming" || dir == "sip-busy" {
			memfs.Write("memfs://trap/root/"+name, data)
		}
	}
	dir := t.TempDir()
	j := job{Root: "trap://trap/root", Out: dir, Report: true, Version: "v1"}
	runJob(t, j, 70)
	d, err := table.ReadDir(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Experiments) != 2 || d.Experiments[0].ExitCode != 70 || !strings.Contains(d.Experiments[0].Problem, errTrap.Error()) ||
		d.Experiments[1].ExitCode != 0 {
		t.Errorf("experiments %+v, wanted a failed one and a whole one", d.Experiments)
	}
	if len(d.Calls) == 0 || slices.ContainsFunc(d.Calls, func(c sessions.Call) bool { return c.Experiment != "sip-busy" }) {
		t.Errorf("calls %+v, wanted those of sip-busy", d.Calls)
	}
}

func TestGuard(t *testing.T) {
	e := experiment.Experiment{Name: "e"}
	type result = *experiment.Result
	for name, c := range map[string]struct {
		analyze func() (result, error)
		exit    int
		err     bool
	}{
		"panic":       {func() (result, error) { panic("p") }, 70, false},
		"internal":    {func() (result, error) { return nil, &experiment.InternalError{Err: errTrap} }, 70, false},
		"interrupted": {func() (result, error) { return nil, context.Canceled }, 0, true},
		"whole":       {func() (result, error) { return &experiment.Result{Exit: 3}, nil }, 3, false},
	} {
		res, err := guard(context.Background(), e, experiment.Options{}, func(context.Context, experiment.Experiment, experiment.Options) (*experiment.Result, error) {
			return c.analyze()
		})
		switch {
		case c.err != (err != nil):
			t.Errorf("%s: error %v", name, err)
		case err == nil && res.Exit != c.exit:
			t.Errorf("%s: exit code %d, wanted %d", name, res.Exit, c.exit)
		case c.exit == 70 && res.Data.Experiments[0].Problem == "":
			t.Errorf("%s: no problem told", name)
		}
	}
}

// A job that broke off at any write leaves a dataset that is known not to be
// whole, and the next job makes it so.
func TestBrokenOff(t *testing.T) {
	for name, data := range files(t, fixtures.Recorded()) {
		if strings.HasPrefix(name, "sip-busy/") || strings.HasPrefix(name, "messages-ucs2-71/") {
			memfs.Write("memfs://broken/root/"+name, data)
		}
	}
	ctx := context.Background()
	whole := job{Root: "memfs://broken/root", Out: "memfs://broken/whole", Report: true, Version: "v1"}
	runJob(t, whole, 0)
	o, err := openObjects(ctx, whole.Out)
	if err != nil || o.find(ctx) != nil {
		t.Fatal(err)
	}
	want := files(t, o)
	n := int64(len(want)) + 1 // the list is written twice
	for _, at := range []int64{1, 2, n / 2, n - 2, n - 1, n} {
		j := whole
		j.Out = "trap://broken/out"
		trapWrite.Store(at)
		if _, err := j.run(ctx); err == nil {
			t.Fatalf("write %d failed and the job did not", at)
		}
		trapWrite.Store(0)
		d, err := openDataset(ctx, j.Out)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := d.list(ctx); at > 1 && (err != nil || l.Experiments != nil) {
			t.Errorf("after write %d: list %+v, %v, wanted one of work not done", at, l, err)
		}
	}
	j := whole
	j.Out = "memfs://broken/out"
	runJob(t, j, 0)
	if o, err = openObjects(ctx, j.Out); err != nil || o.find(ctx) != nil {
		t.Fatal(err)
	}
	sameFiles(t, want, files(t, o))
}

func TestForeignFolder(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "[out]*", "thesis.tex")
	writeFile(t, mine, []byte("text"))
	root := filepath.Join(dir, "root")
	if err := os.CopyFS(filepath.Join(root, "sip-busy"), sub(t, fixtures.Recorded(), "sip-busy")); err != nil {
		t.Fatal(err)
	}
	j := job{Root: root, Out: filepath.Dir(mine), Version: "v1"}
	if _, err := j.run(context.Background()); err == nil || !strings.Contains(err.Error(), "not made by twtrace") {
		t.Errorf("error %v, wanted that the folder is not ours", err)
	}
	if got := files(t, os.DirFS(j.Out)); len(got) != 1 {
		t.Errorf("files %v, wanted the one that was there", slices.Collect(maps.Keys(got)))
	}
	j.Force = true
	runJob(t, j, 0)
	got := files(t, os.DirFS(j.Out))
	if string(got["thesis.tex"]) != "text" || got["tables/calls/sip-busy.parquet"] == nil || got[reportName] != nil {
		t.Errorf("files %v, wanted the dataset without a report beside what was there", slices.Collect(maps.Keys(got)))
	}
}

// However a runner parts and merges, the rows are those of rates.Combine.
func TestCombineInAnyOrder(t *testing.T) {
	demo, err := fixtures.Demo()
	if err != nil {
		t.Fatal(err)
	}
	exps, err := experiment.Find([]experiment.Input{{FS: demo, Path: ".", Name: "demo"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	var d table.Dataset
	var outcomes [][]byte
	for _, e := range exps {
		res, err := experiment.Analyze(context.Background(), e, experiment.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(done{Rates: res.Data.Rates, Simulated: len(res.Data.Simulated()) > 0})
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, b)
		d.Append(res.Data)
	}
	d.Sort()
	rows := len(d.Rates)
	d.CombineRates(rates.Options{})
	if len(d.Rates) >= rows || len(d.Rates) < 2 {
		t.Fatalf("%d rows of %d: the demo shows nothing here", len(d.Rates), rows)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	f := &combineFn{Job: &job{}}
	for range 20 {
		rnd.Shuffle(len(outcomes), func(i, k int) { outcomes[i], outcomes[k] = outcomes[k], outcomes[i] })
		parts := map[string][]rateRows{}
		for _, b := range outcomes {
			err := rateFn{}.ProcessElement(b, func(key string, row []byte) {
				p := parts[key]
				if len(p) == 0 || rnd.IntN(2) == 0 {
					p = append(p, f.CreateAccumulator())
				}
				i := rnd.IntN(len(p))
				p[i] = f.AddInput(p[i], row)
				parts[key] = p
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		var sets [][]byte
		for _, p := range parts {
			all := f.CreateAccumulator()
			for _, a := range p {
				all = f.MergeAccumulators(all, a)
			}
			b, err := f.ExtractOutput(all)
			if err != nil {
				t.Fatal(err)
			}
			sets = append(sets, b)
		}
		got, err := inOrder(func(b *[]byte) bool {
			if len(sets) == 0 {
				return false
			}
			*b, sets = sets[0], sets[1:]
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Rates, d.Rates) {
			t.Fatalf("rows\n%+v\nwanted\n%+v", got.Rates, d.Rates)
		}
	}
}

// trap is the memory file system with faults: reading a capture of
// browser-incoming beyond what tells its kind panics, and a write fails when
// its turn comes.
type trap struct{ filesystem.Interface }

var (
	errTrap   = errors.New("the trap closed")
	trapWrite atomic.Int64 // counts down; 0 is never
)

func inMemory(name string) string { return strings.Replace(name, "trap://", "memfs://", 1) }

func (f trap) List(ctx context.Context, glob string) ([]string, error) {
	names, err := f.Interface.List(ctx, inMemory(glob))
	for i := range names {
		names[i] = strings.Replace(names[i], "memfs://", "trap://", 1)
	}
	return names, err
}

func (f trap) Size(ctx context.Context, name string) (int64, error) {
	return f.Interface.Size(ctx, inMemory(name))
}

func (f trap) Remove(ctx context.Context, name string) error {
	return f.Interface.(filesystem.Remover).Remove(ctx, inMemory(name))
}

func (f trap) OpenWrite(ctx context.Context, name string) (io.WriteCloser, error) {
	if trapWrite.Add(-1) == 0 {
		return nil, errTrap
	}
	return f.Interface.OpenWrite(ctx, inMemory(name))
}

func (f trap) OpenRead(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := f.Interface.OpenRead(ctx, inMemory(name))
	if err == nil && strings.Contains(name, "browser-incoming/capture") {
		return &trapReader{r, 128 << 10}, nil
	}
	return r, err
}

type trapReader struct {
	io.ReadCloser
	left int
}

func (r *trapReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left -= n; r.left < 0 {
		panic(errTrap)
	}
	return n, err
}

// experiments lays out a root with everything that a root may have.
func experiments(t *testing.T, root string) {
	demo, err := fixtures.Demo()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(root, demo); err != nil {
		t.Fatal(err)
	}
	recorded := fixtures.Recorded()
	capture, err := fs.ReadFile(recorded, "sip-normal/capture.pcapng.gz")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(root, "zz-cut", "capture.pcapng.gz"), capture[:len(capture)/2])
	writeFile(t, filepath.Join(root, "zz-lost", "capture.pcapng.gz"), capture[:5])
	writeFile(t, filepath.Join(root, "two.tar"), tarOf(t, recorded, "sip-busy", "messages-ucs2-71"))
	writeFile(t, filepath.Join(root, "deep", "er", "one.tar"), tarOf(t, sub(t, recorded, "sip-cancelled"), "."))
	writeFile(t, filepath.Join(root, "sslkeylog.txt"), []byte("CLIENT_RANDOM "+strings.Repeat("0a", 32)+" "+strings.Repeat("0b", 48)+"\n"))
}

func tarOf(t *testing.T, fsys fs.FS, dirs ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range dirs {
		for name, data := range files(t, sub(t, fsys, dir)) {
			if err := w.WriteHeader(&tar.Header{Name: path.Join(dir, name), Mode: 0o644, Size: int64(len(data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func buildTwtrace(t *testing.T, dir string) string {
	bin := filepath.Join(dir, "twtrace")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/twtrace")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

func batch(t *testing.T, twtrace, root string, code int, args ...string) (out string) {
	out = filepath.Join(t.TempDir(), "batch")
	cmd := exec.Command(twtrace, append([]string{"batch", root, "-o", out, "-q"}, args...)...)
	text, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("batch: %v: %s", err, text)
	}
	return out
}

func runJob(t *testing.T, j job, code int) {
	t.Helper()
	got, err := j.run(context.Background())
	if err != nil || got != code {
		t.Fatalf("exit code %d, error %v, wanted %d", got, err, code)
	}
}

// files are the files of a folder that every dataset has, and any of another.
func files(t *testing.T, fsys fs.FS) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && e.Name() == recordDir:
			return fs.SkipDir
		case e.IsDir() || name == combinedName:
			return nil
		}
		all[name], err = fs.ReadFile(fsys, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameFiles(t *testing.T, want, got map[string][]byte) {
	t.Helper()
	if len(want) == 0 {
		t.Fatal("no files")
	}
	for name, data := range want {
		switch other, ok := got[name]; {
		case !ok:
			t.Errorf("%s is missing", name)
		case !bytes.Equal(data, other):
			t.Errorf("%s differs", name)
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s is one too many", name)
		}
	}
}

func sub(t *testing.T, fsys fs.FS, dir string) fs.FS {
	s, err := fs.Sub(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readFile(t *testing.T, name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, name string, data []byte) {
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// A walk gives the same bytes when objects are fetched before it comes to them,
// longer ones than are fetched too.
func TestFetchedAhead(t *testing.T) {
	ctx := context.Background()
	rnd := rand.NewChaCha8([32]byte{1})
	want := map[string][]byte{}
	for i := range 3 * window {
		data := make([]byte, []int{0, 7, container.HeadSize - 1, container.HeadSize, container.HeadSize + 1, 3 * container.HeadSize}[i%6])
		rnd.Read(data)
		name := fmt.Sprintf("r%d-%d/x", i%7, i)
		if i%5 == 0 {
			name = fmt.Sprintf("r%d", i%7+i*10)
		}
		want[name] = data
		memfs.Write("memfs://ahead/root/"+name, data)
	}
	r, err := openRoot(ctx, "memfs://ahead/root")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	sameFiles(t, want, files(t, r.FS))
	var walked []string
	fs.WalkDir(r.FS, ".", func(name string, e fs.DirEntry, err error) error {
		if !e.IsDir() {
			walked = append(walked, name)
		}
		return err
	})
	if !slices.Equal(walked, r.remote.ahead.order) {
		t.Errorf("order of the walk\n%q\nnot that of what is fetched\n%q", walked, r.remote.ahead.order)
	}
	if n := len(r.remote.ahead.got); n > 2*window {
		t.Errorf("%d objects held, wanted at most %d", n, 2*window)
	}
}
