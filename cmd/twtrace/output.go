package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/report"
)

// output is a result folder while it is written: everything is made in a stage
// inside it and moved into place at the end, so that an interrupted run leaves
// the folder as it was.
type output struct {
	dir, stage string
	made       string // the uppermost folder that did not exist before
	arrow      bool
	workers    int // that write tables at once
	batch      []experiment.Entry
	data       *table.Dataset // what was written, when it is one experiment and reads as it is
	drawn      bool           // and its report is in the stage
}

const (
	stagePrefix = ".twtrace-"
	batchName   = "batch.json"
	reportName  = "report.html"
)

// parts are what a run that swaps the whole folder replaces. The records of a
// batch go first: they stand for the tables.
var parts = []string{recordDir, "tables", "arrow", reportName, batchName}

func (a *app) openOutput(dir string) (*output, error) { return a.openStaged(dir, "") }

// openStaged gives the stage's name a part that tells whose it is.
func (a *app) openStaged(dir, tag string) (*output, error) {
	dir = filepath.Clean(dir)
	o := &output{dir: dir, arrow: a.arrow}
	entries, err := os.ReadDir(dir)
	entries = slices.DeleteFunc(entries, isStage) // of a run that was killed
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.made = dir
		for up := filepath.Dir(dir); up != filepath.Dir(up); up = filepath.Dir(up) {
			if _, err := os.Stat(up); err == nil {
				break
			}
			o.made = up
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			o.abandon()
			return nil, err
		}
	case errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%s: is a file, or below one; want the name of a folder to write", dir)
	case err != nil:
		return nil, err
	case len(entries) > 0 && !a.force && !isOurs(dir):
		return nil, usagef("%s: is not empty and was not made by twtrace; --force writes into it all the same", dir)
	}
	if o.stage, err = os.MkdirTemp(dir, stagePrefix+tag); err != nil {
		return nil, err
	}
	return o, nil
}

func isStage(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), stagePrefix) }

// isOurs tells a folder that twtrace made, by its batch.json, or by the records
// and lists of a batch that is not done.
func isOurs(dir string) bool {
	if info, err := os.Stat(filepath.Join(dir, recordDir)); err == nil && info.IsDir() {
		return true
	}
	b, err := os.ReadFile(filepath.Join(dir, batchName))
	if err != nil {
		return false
	}
	var f experiment.List
	return json.Unmarshal(b, &f) == nil && f.Program == "twtrace"
}

// abandon removes what finish did not move into place.
func (o *output) abandon() {
	if o.stage != "" {
		os.RemoveAll(o.stage)
	}
	if o.made == "" {
		return
	}
	for dir := o.dir; ; dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil || dir == o.made { // only when nothing is in it
			return
		}
	}
}

// add writes the tables of one experiment. With workers, the report of the first
// is drawn meanwhile: nearly always its tables read as it is.
func (o *output) add(a *app, r *experiment.Result) error {
	first := len(o.batch) == 0
	draws := first && o.workers > 1 && r.Exit != experiment.ExitNothing
	var drawing errgroup.Group
	if draws {
		drawing.Go(func() error { return a.writeReport(filepath.Join(o.stage, reportName), r.Data) })
	}
	asIs, err := table.WriteDir(o.create, r.Data, false, o.workers)
	drawErr := drawing.Wait()
	if err != nil {
		return err
	}
	if o.data, o.drawn = nil, false; first && asIs {
		if drawErr != nil {
			return drawErr
		}
		o.data, o.drawn = r.Data, draws
	}
	for i := range r.Data.Experiments {
		o.batch = append(o.batch, experiment.NewEntry(r.Data, &r.Data.Experiments[i]))
	}
	return nil
}

func (o *output) create(name string) (io.WriteCloser, error) {
	full := filepath.Join(o.stage, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return nil, err
	}
	return os.Create(full)
}

func (o *output) writeArrow(name string, d *table.Dataset) (err error) {
	w, err := o.create("arrow/" + name + ".arrow")
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}()
	return table.Write(w, d, name, table.FormatArrow, table.View{})
}

// readBack reads the tables below a folder for what is made of all of them: Arrow
// files hold every column, a report does not.
func (o *output) readBack(dir string) (*table.Dataset, error) {
	if o.arrow {
		return table.ReadDir(os.DirFS(dir))
	}
	return table.ReadDir(os.DirFS(dir), report.NotDrawn()...)
}

// finish draws the report from the tables, as they read, and moves all into place.
func (o *output) finish(a *app) error {
	d := o.data
	if d == nil {
		var err error
		if d, err = o.readBack(o.stage); err != nil {
			return err
		}
	}
	if o.arrow {
		for _, s := range table.Schemas() {
			if err := o.writeArrow(s.Name, d); err != nil {
				return err
			}
		}
	}
	if !o.drawn {
		if err := a.writeReport(filepath.Join(o.stage, reportName), d); err != nil {
			return err
		}
	}
	slices.SortFunc(o.batch, func(x, y experiment.Entry) int { return strings.Compare(x.Experiment, y.Experiment) })
	err := writeFile(filepath.Join(o.stage, batchName), func(w io.Writer) error {
		return experiment.WriteList(w, slices.Values(o.batch))
	})
	if err != nil {
		return err
	}
	if err := a.ctx.Err(); err != nil {
		return err
	}
	for _, p := range parts {
		if err := os.RemoveAll(filepath.Join(o.dir, p)); err != nil {
			return err
		}
		err := os.Rename(filepath.Join(o.stage, p), filepath.Join(o.dir, p))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	o.made = ""
	if list, err := shardFiles(o.dir); err == nil {
		for _, s := range list {
			os.Remove(filepath.Join(o.dir, shardName(s)))
		}
	}
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isStage(e) {
			if err := os.RemoveAll(filepath.Join(o.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if !a.quiet {
		n := len(d.Experiments)
		what := "experiments"
		if n == 1 {
			what = "experiment"
		}
		a.say(levelInfo, "%d %s; open %s", n, what, filepath.Join(o.dir, reportName))
	}
	return nil
}

func (a *app) writeReport(name string, d *table.Dataset) error {
	zone, err := a.displayZone()
	if err != nil {
		return err
	}
	return writeFile(name, func(w io.Writer) error {
		return report.Write(w, d, report.Options{Zone: zone, Redacted: redacted(d)})
	})
}

// redacted tells whether every experiment of a dataset was redacted, by its
// options.
func redacted(d *table.Dataset) bool {
	for i := range d.Experiments {
		var o struct {
			Redact bool `json:"redact"`
		}
		if json.Unmarshal([]byte(d.Experiments[i].Options), &o) != nil || !o.Redact {
			return false
		}
	}
	return len(d.Experiments) > 0
}

func splitPath(name string) (dir, base string) {
	dir, base = filepath.Split(name)
	if dir == "" {
		dir = "."
	}
	return dir, base
}
