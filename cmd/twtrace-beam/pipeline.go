package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	beamregister "github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
)

// job is what every worker must know: it travels inside the pipeline.
type job struct {
	Root, Out string
	Force     bool
	Report    bool
	Version   string // of the program that began the job

	GuaranteePerS, TolerancePct      float64
	Segmenting, QueueBy, CallCreated string
}

func (j *job) options() experiment.Options {
	return experiment.Options{Version: j.Version, Rates: rates.Options{GuaranteePerS: j.GuaranteePerS, TolerancePct: j.TolerancePct,
		Segmenting: j.Segmenting, QueueBy: j.QueueBy, CallCreated: j.CallCreated}}
}

// register tells Beam the functions of the pipeline; a worker finds them by
// name. It comes before beam.Init.
func register() {
	beamregister.DoFn3x1[context.Context, []byte, func([]byte), error](&findFn{})
	beamregister.DoFn3x1[context.Context, []byte, func([]byte), error](&analyzeFn{})
	beamregister.DoFn2x1[[]byte, func(string, []byte), error](&rateFn{})
	beamregister.DoFn4x1[context.Context, int, func(*[]byte) bool, func(*[]byte) bool, error](&finishFn{})
	beamregister.Combiner3[rateRows, []byte, []byte](&combineFn{})
	beamregister.Emitter1[[]byte]()
	beamregister.Emitter2[string, []byte]()
	beamregister.Iter1[[]byte]()
}

// build makes the pipeline.
//
//	find ─► reshuffle ─► analyse, write ─┬──────────────────────────► finish
//	                                     └─► rates ─► combine a set ─┘
//
// What passes between steps is small, JSON: an experiment's files by name, and
// what became of it. Rows go from the worker that made them to the dataset.
// The reshuffle parts the finding, one bundle, from the analyses, of which each
// may be a bundle, and no experiment is analysed before all were found.
func (j *job) build(s beam.Scope) {
	found := beam.ParDo(s.Scope("find"), &findFn{Job: j}, beam.Impulse(s))
	done := beam.ParDo(s.Scope("analyze"), &analyzeFn{Job: j}, beam.Reshuffle(s, found))
	s2 := s.Scope("rates")
	sets := beam.DropKey(s2, beam.CombinePerKey(s2, &combineFn{Job: j}, beam.ParDo(s2, &rateFn{}, done)))
	s3 := s.Scope("finish")
	beam.ParDo0(s3, &finishFn{Job: j}, beam.CoGroupByKey(s3, beam.AddFixedKey(s3, done), beam.AddFixedKey(s3, sets)))
}

// run is an experiment as it goes to a worker: its files by name. Stored are
// the files that hold them, each itself or archives, as paths below the root,
// or of the root when that is a single file.
type run struct {
	Name    string
	Single  bool
	Files   []string
	Stored  []string
	Refused []refusal
}

type refusal struct{ Name, Why string }

// findFn takes the dataset's folder and finds the experiments.
type findFn struct{ Job *job }

func (f *findFn) ProcessElement(ctx context.Context, _ []byte, emit func([]byte)) error {
	d, err := openDataset(ctx, f.Job.Out)
	if err != nil {
		return err
	}
	defer d.fsys.Close()
	if err := d.begin(ctx, f.Job.Force); err != nil {
		return err
	}
	root, err := openRoot(ctx, f.Job.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	exps, err := experiment.Find([]experiment.Input{root.Input}, false)
	if err != nil {
		return err
	}
	for _, e := range exps {
		b, err := json.Marshal(runOf(root, e))
		if err != nil {
			return err
		}
		emit(b)
	}
	return nil
}

func runOf(root *root, e experiment.Experiment) run {
	r := run{Name: e.Name, Single: root.single}
	for _, f := range e.Files {
		r.Files = append(r.Files, f.Name)
		if at := root.storedIn(f.Name); !slices.Contains(r.Stored, at) {
			r.Stored = append(r.Stored, at)
		}
	}
	for _, x := range e.Refused {
		r.Refused = append(r.Refused, refusal{x.Name, x.Err.Error()})
	}
	return r
}

// done is what became of an experiment.
type done struct {
	Entry     experiment.Entry
	Files     []string // its tables
	Rates     []rates.Rate
	Simulated bool
}

// analyzeFn analyses one experiment and writes its tables. It gives the same
// bytes however often it is done, so a runner may try a bundle again, or twice
// at once.
type analyzeFn struct {
	Job *job

	out  *dataset
	root *root
	last walked
}

// walked is the archive that was read last: its experiments mostly come one
// after the other.
type walked struct {
	at    string
	files map[string]*container.File
}

func (f *analyzeFn) Setup(ctx context.Context) (err error) {
	f.out, err = openDataset(ctx, f.Job.Out)
	return err
}

func (f *analyzeFn) FinishBundle(context.Context, func([]byte)) error {
	err := f.root.Close()
	f.root, f.last = nil, walked{} // they belong to the bundle's context
	return err
}

func (f *analyzeFn) Teardown() error { return f.out.fsys.Close() }

func (f *analyzeFn) ProcessElement(ctx context.Context, b []byte, emit func([]byte)) error {
	var r run
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	e, err := f.open(ctx, r)
	if err != nil {
		return err
	}
	res, err := guard(ctx, e, f.Job.options(), experiment.Analyze)
	if err != nil {
		return err
	}
	d := res.Data
	out := done{Entry: experiment.NewEntry(d, &d.Experiments[0]), Rates: d.Rates, Simulated: len(d.Simulated()) > 0}
	for _, m := range res.Messages {
		log.Warnf(ctx, "%s: %s", r.Name, m)
	}
	if out.Files, err = f.out.writeTables(ctx, d); err != nil {
		return err // the disk's or the network's: the runner may try again
	}
	if b, err = json.Marshal(out); err != nil {
		return err
	}
	emit(b)
	return nil
}

// guard makes a failure inside an analysis a result of that experiment: on most
// runners an error or a panic would end the job of all.
func guard(ctx context.Context, e experiment.Experiment, opt experiment.Options,
	analyze func(context.Context, experiment.Experiment, experiment.Options) (*experiment.Result, error)) (res *experiment.Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Errorf(ctx, "%s: %v\n%s", e.Name, r, debug.Stack())
			res, err = experiment.Failed(e, opt, &experiment.InternalError{Err: fmt.Errorf("%s: panic: %v", e.Name, r)}), nil
		}
	}()
	res, err = analyze(ctx, e, opt)
	var internal *experiment.InternalError
	if errors.As(err, &internal) {
		return experiment.Failed(e, opt, err), nil
	}
	return res, err
}

// open makes the experiment of its files' names. One that is no longer there is
// refused.
func (f *analyzeFn) open(ctx context.Context, r run) (e experiment.Experiment, err error) {
	if f.root == nil {
		if f.root, err = openKnown(ctx, f.Job.Root, r.Single); err != nil {
			return e, err
		}
	}
	files := map[string]*container.File{}
	for _, at := range r.Stored {
		if plain := !r.Single && slices.Contains(r.Files, at); plain {
			maps.Copy(files, f.root.walk(at, true))
			continue
		}
		if f.last.at != at {
			f.last = walked{at, f.root.walk(at, false)}
		}
		maps.Copy(files, f.last.files)
	}
	e.Name = r.Name
	for _, name := range r.Files {
		if file := files[name]; file != nil {
			e.Files = append(e.Files, file)
		} else {
			e.Refused = append(e.Refused, experiment.Refusal{Name: name, Err: errors.New("was there when the experiments were found, and is no more")})
		}
	}
	for _, x := range r.Refused {
		e.Refused = append(e.Refused, experiment.Refusal{Name: x.Name, Err: errors.New(x.Why)})
	}
	return e, nil
}

// rateFn gives the rows of rates by the set that they may be combined in.
type rateFn struct{}

func (rateFn) ProcessElement(b []byte, emit func(string, []byte)) error {
	var d done
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	for i := range d.Rates {
		if d.Rates[i].Repeats > 1 {
			continue // combined already
		}
		key, err := json.Marshal(rates.SetOf(&d.Rates[i], d.Simulated))
		if err != nil {
			return err
		}
		row, err := json.Marshal(&d.Rates[i])
		if err != nil {
			return err
		}
		emit(string(key), row)
	}
	return nil
}

// combineFn makes one row of the rows of a set. How often and in which order a
// runner merges does not matter: only the last step is arithmetic, and it
// brings the rows into their order first.
type combineFn struct{ Job *job }

// rateRows are rows of one set, JSON.
type rateRows struct{ Rows [][]byte }

// rateSet is what a set came to. First is the first of its rows, which gives
// it its place among the sets.
type rateSet struct {
	First rates.Rate
	Rows  []rates.Rate
}

func (f *combineFn) CreateAccumulator() rateRows { return rateRows{} }

func (f *combineFn) AddInput(a rateRows, row []byte) rateRows {
	a.Rows = append(a.Rows, row)
	return a
}

func (f *combineFn) MergeAccumulators(a, b rateRows) rateRows {
	a.Rows = append(a.Rows, b.Rows...)
	return a
}

func (f *combineFn) ExtractOutput(a rateRows) ([]byte, error) {
	d := table.Dataset{Rates: make([]rates.Rate, len(a.Rows))}
	for i, b := range a.Rows {
		if err := json.Unmarshal(b, &d.Rates[i]); err != nil {
			return nil, err
		}
	}
	d.Sort()
	return json.Marshal(rateSet{d.Rates[0], rates.Combine(d.Rates, f.Job.options().Rates, func(string) bool { return false })})
}

// finishFn makes what holds the whole, once.
type finishFn struct{ Job *job }

func (f *finishFn) ProcessElement(ctx context.Context, _ int, each, eachSet func(*[]byte) bool) error {
	out, err := openDataset(ctx, f.Job.Out)
	if err != nil {
		return err
	}
	defer out.fsys.Close()
	var list []experiment.Entry
	files := map[string]bool{}
	for b := []byte(nil); each(&b); {
		var d done
		if err := json.Unmarshal(b, &d); err != nil {
			return err
		}
		list = append(list, d.Entry)
		for _, name := range d.Files {
			files[name] = true
		}
	}
	slices.SortFunc(list, func(a, b experiment.Entry) int { return cmp.Compare(a.Experiment, b.Experiment) })
	combined, err := inOrder(eachSet)
	if err != nil {
		return err
	}
	return out.finish(ctx, list, files, combined, f.Job.Report)
}

// inOrder puts the rows of all sets where rates.Combine would.
func inOrder(each func(*[]byte) bool) (*table.Dataset, error) {
	var firsts table.Dataset
	sets := map[rates.Rate][]rates.Rate{}
	for b := []byte(nil); each(&b); {
		var s rateSet
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, err
		}
		firsts.Rates = append(firsts.Rates, s.First)
		sets[s.First] = s.Rows
	}
	firsts.Sort()
	all := &table.Dataset{}
	for _, r := range firsts.Rates {
		all.Rates = append(all.Rates, sets[r]...)
	}
	return all, nil
}

// remote tells a name with a scheme, gs://bucket/folder.
func remote(name string) bool { return strings.Contains(name, "://") }
