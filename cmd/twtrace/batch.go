package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/experiment"
)

// selection are the flags that take some of the experiments under a root.
type selection struct {
	only             []string
	sinceArg, shards string

	since decode.Time
	shard shard
}

func (s *selection) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&s.only, "only", nil, "experiments whose path, or a folder of it, matches GLOB (* ? [a-z]); repeatable")
	f.StringVar(&s.sinceArg, "since", "", "experiments that started at or after this time (RFC 3339)")
	f.StringVar(&s.shards, "shard", "", "K/N: part K, from 0, of N parts of the experiments")
}

func (s *selection) check(a *app) (err error) {
	for _, glob := range s.only {
		if _, err := path.Match(glob, ""); err != nil {
			return usagef("--only: %q is no pattern: %v", glob, err)
		}
	}
	if s.since, err = parseTime(s.sinceArg); err != nil {
		return usagef("--since: %v", err)
	}
	if s.shards == "" {
		return nil
	}
	k, n, ok := strings.Cut(s.shards, "/")
	s.shard.k, err = strconv.ParseUint(k, 10, 32)
	if err == nil {
		s.shard.n, err = strconv.ParseUint(n, 10, 32)
	}
	switch {
	case !ok || err != nil || s.shard.k >= s.shard.n:
		return usagef("--shard: want K/N with K from 0 to N-1, found %q", s.shards)
	case a.arrow:
		return usagef("--arrow: its files hold the whole; a batch without --shard makes them")
	case a.redact && a.redactKey == "":
		return usagef("--shard needs --redact-key: the pseudonyms of all shards must be the same")
	}
	return nil
}

// find checks the flags and gives the experiments under the root, the options
// and the key of the pseudonyms.
func (s *selection) find(a *app, args []string) (all []experiment.Experiment, opt experiment.Options, key []byte, err error) {
	if err = s.check(a); err != nil {
		return nil, opt, nil, err
	}
	if all, opt, err = a.experiments(args, false); err != nil {
		return nil, opt, nil, err
	}
	key, err = a.redactionKey()
	return all, opt, key, err
}

// whole tells that all experiments of the root, or of a shard, are meant.
func (s *selection) whole() bool { return len(s.only) == 0 && s.since == 0 }

// take leaves the experiments that --only and --shard name.
func (s *selection) take(exps []experiment.Experiment, id func(name string) string) ([]experiment.Experiment, error) {
	var list []experiment.Experiment
	for _, e := range exps {
		if s.named(e.Name) {
			list = append(list, e)
		}
	}
	if len(list) == 0 {
		return nil, usagef("--only: none of %d experiments (%s, ...) matches", len(exps), exps[0].Name)
	}
	return slices.DeleteFunc(list, func(e experiment.Experiment) bool { return !s.shard.holds(id(e.Name)) }), nil
}

func (s *selection) named(name string) bool {
	for _, glob := range s.only {
		for part := name; part != "."; part = path.Dir(part) {
			if ok, _ := path.Match(glob, part); ok {
				return true
			}
		}
	}
	return len(s.only) == 0
}

func (a *app) batchCommand() *cobra.Command {
	var sel selection
	c := &cobra.Command{
		Use:     "batch ROOT -o DIR",
		Short:   "Analyse every experiment under a folder into one dataset and one report",
		GroupID: "main",
		Long: "An experiment is a folder (or archive) that holds, itself or in calls/, messages/ or keys/, a capture, an export\n" +
			"or a manifest. One that is broken does not stop the others.\n\n" +
			"DIR keeps what is done: an experiment is analysed again only when the bytes of an input, an option that changes\n" +
			"results, or the version of the analysis changed. A run that was killed goes on where it stopped. Experiments that\n" +
			"are no longer under ROOT leave the dataset.\n\n" +
			"--only and --since take some of the experiments; the others stay as they are. --shard K/N takes a part by the hash\n" +
			"of the path: N processes, on one machine or many, with K from 0 to N-1 make one dataset together. None touches\n" +
			"another's files, and `twtrace report DIR` draws the report when they are done.",
		Example: "  twtrace batch experiments/ -o out\n  twtrace batch archive.tar.zst -o out --jobs 4\n" +
			"  twtrace batch experiments/ -o out --only 'calls-n*' --since 2013-11-21T18:00:00Z\n" +
			"  twtrace batch experiments/ -o out --shard 3/10",
		Args: oneRoot,
		RunE: func(_ *cobra.Command, args []string) error {
			if a.output == "" {
				return usagef("want -o DIR, the folder to write")
			}
			if a.summary && sel.shards != "" {
				return usagef("--summary is of a whole dataset; with --shard there is none yet")
			}
			if err := a.batch(args, &sel); err != nil {
				return err
			}
			return a.summarize(a.output)
		},
	}
	a.inputFlags(c)
	a.outputFlags(c)
	sel.flags(c)
	return c
}

func oneRoot(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("want one ROOT, found %s%s; name the folder above the experiments, and --only GLOB for some of them", plural(int64(len(args)), "argument"), quoted(args))
	}
	return nil
}

// batch brings the dataset up to date with the experiments under a root.
func (a *app) batch(args []string, sel *selection) error {
	all, opt, key, err := sel.find(a, args)
	if err != nil {
		return err
	}
	st, err := a.openStore(a.output, sel.shard, key)
	if err != nil {
		return err
	}
	defer st.abandon()
	exps, err := sel.take(all, st.id)
	if err != nil {
		return err
	}
	b := batchRun{store: st, exps: exps, opt: opt, since: sel.since, alone: len(all) == 1, some: sel.shard.n > 0}
	if a.logFormat == "json" && !a.quiet && a.tells(levelInfo) {
		b.log = func(d doneState) {
			a.log(levelInfo, fmt.Sprintf("%s: %s, exit code %d", d.Experiment, d.Action, d.ExitCode), d)
		}
	}
	if err := a.sideBySide(exps, b.one); err != nil {
		return err
	}
	if !b.some {
		// Nothing could be made: the dataset stays as it was.
		if b.early == len(exps) {
			a.say(levelInfo, "none of %s started at or after %s", plural(int64(len(exps)), "experiment"), sel.sinceArg)
		}
		return nil
	}
	var gone []string
	if sel.whole() {
		if gone, err = st.clean(exps); err != nil {
			return err
		}
	}
	for _, name := range gone {
		a.say(levelInfo, "%s: no longer under %s; its files were removed", name, args[0])
	}
	var n int
	if sel.shard.n > 0 {
		if a.code == exitNothing {
			a.code = exitDamaged // the rows that say why are a part of the whole
		}
		n, err = st.finishShard()
	} else {
		n, err = st.finish(a)
	}
	if err != nil || a.quiet {
		return err
	}
	var notes []string
	if sel.shard.n > 0 {
		notes = append(notes, "shard "+sel.shards)
	}
	if b.unchanged > 0 {
		notes = append(notes, fmt.Sprintf("%d unchanged", b.unchanged))
	}
	if len(gone) > 0 {
		notes = append(notes, fmt.Sprintf("%d removed", len(gone)))
	}
	what := plural(int64(n), "experiment")
	if len(notes) > 0 {
		what += " (" + strings.Join(notes, ", ") + ")"
	}
	if sel.shard.n > 0 {
		a.say(levelInfo, "%s; `twtrace report %s` draws the whole", what, shellQuote(st.dir))
	} else {
		a.say(levelInfo, "%s; open %s", what, filepath.Join(st.dir, reportName))
	}
	return nil
}

// batchRun is the work on the experiments of a batch.
type batchRun struct {
	store *store
	exps  []experiment.Experiment
	opt   experiment.Options
	since decode.Time
	alone bool // the root holds one experiment
	log   func(doneState)

	mu        sync.Mutex
	some      bool // an experiment gave results, now or before
	held      []*staged
	unchanged int
	early     int // started before since
}

// What is to be done with an experiment.
const (
	actionNew       = "new"
	actionChanged   = "changed"
	actionUnchanged = "unchanged"
	actionEarly     = "early" // started before --since
	actionRemoved   = "removed"
)

// decide says what is to be done with an experiment, and why when it changed.
// The record is that of an earlier run, if there is one.
func (b *batchRun) decide(ctx context.Context, e experiment.Experiment) (what, why string, r *record, err error) {
	if b.since != 0 {
		if at := e.StartsBy(b.opt); at != 0 && b.before(at) {
			return actionEarly, "", nil, nil
		}
	}
	if r = b.store.load(b.store.id(e.Name)); r == nil {
		return actionNew, "", nil, nil
	}
	if why, err = b.store.change(ctx, r, e, b.opt); err != nil || why != "" {
		return actionChanged, why, r, err
	}
	if t, err := parseTime(r.StartedAt); err != nil || b.before(t) {
		return actionEarly, "", r, nil
	}
	return actionUnchanged, "", r, nil
}

// one does an experiment unless it stands already.
func (b *batchRun) one(ctx context.Context, i int, t *part) (*experiment.Result, error) {
	e := b.exps[i]
	what, why, r, err := b.decide(ctx, e)
	if err != nil {
		return nil, err
	}
	var res *experiment.Result
	switch what {
	case actionEarly:
		res, err = b.passOver()
	case actionUnchanged:
		t.unchanged = true
		res, err = b.stands(r)
	default:
		if res, err = b.do(ctx, e, t); res == nil && err == nil {
			what = actionEarly
		}
	}
	if err == nil && b.log != nil {
		d := doneState{Event: "experiment", Experiment: e.Name, Action: what, Why: why, Worker: t.worker + 1}
		if res != nil {
			d.ExitCode = res.Exit
		}
		b.log(d)
	}
	return res, err
}

// doneState is a line of the JSON log about one experiment.
type doneState struct {
	Event      string `json:"event"` // experiment
	Experiment string `json:"experiment"`
	Action     string `json:"action"`
	Why        string `json:"why"`
	ExitCode   int    `json:"exit_code"`
	Worker     int    `json:"worker"` // from 1
}

// do analyses an experiment and brings it into the dataset; nil when it started
// before --since.
func (b *batchRun) do(ctx context.Context, e experiment.Experiment, t *part) (*experiment.Result, error) {
	o := b.opt
	o.Progress = t.update
	res, err := analyzeOne(ctx, e, o, b.store.key, b.alone)
	if err != nil {
		return nil, err
	}
	if b.before(res.Data.Experiments[0].StartedAt) {
		return b.passOver()
	}
	g, err := b.store.put(e, b.opt, res)
	if err != nil {
		return nil, err
	}
	short := &experiment.Result{Exit: res.Exit, Messages: res.Messages}
	if res.Exit != experiment.ExitNothing && res.Exit != experiment.ExitInternal {
		if err := b.release(); err != nil {
			return nil, err
		}
		return short, b.store.commit(g)
	}
	// One that gave nothing changes the dataset only beside one that did.
	b.mu.Lock()
	if !b.some {
		b.held = append(b.held, g)
		b.mu.Unlock()
		return short, nil
	}
	b.mu.Unlock()
	return short, b.store.commit(g)
}

// before tells a start before --since.
func (b *batchRun) before(start decode.Time) bool { return b.since != 0 && start < b.since }

// passOver counts an experiment that started before --since, or nobody knows
// when.
func (b *batchRun) passOver() (*experiment.Result, error) {
	b.mu.Lock()
	b.early++
	b.mu.Unlock()
	return nil, nil
}

// stands is the outcome of an experiment that need not be done.
func (b *batchRun) stands(r *record) (*experiment.Result, error) {
	b.mu.Lock()
	b.unchanged++
	b.mu.Unlock()
	res := &experiment.Result{Exit: int(r.ExitCode)}
	if r.Problem != "" {
		res.Messages = []string{r.Problem}
	}
	if res.Exit == experiment.ExitNothing {
		return res, nil
	}
	return res, b.release()
}

// release tells that an experiment gave results, and commits what waited for
// one.
func (b *batchRun) release() error {
	b.mu.Lock()
	held := b.held
	b.some, b.held = true, nil
	b.mu.Unlock()
	for _, g := range held {
		if err := b.store.commit(g); err != nil {
			return err
		}
	}
	return nil
}

// analyzeAll analyses experiments side by side. each gets the number of the
// experiment and its result, one at a time, in the order in which they are
// done: what it makes must not depend on that. What is wrong with the inputs
// is told in the order of the experiments; the worst of it is a.code.
func (a *app) analyzeAll(exps []experiment.Experiment, opt experiment.Options, each func(i int, r *experiment.Result) error) error {
	key, err := a.redactionKey()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	return a.sideBySide(exps, func(ctx context.Context, i int, t *part) (*experiment.Result, error) {
		o := opt
		o.Progress = t.update
		res, err := analyzeOne(ctx, exps[i], o, key, len(exps) == 1)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		return res, each(i, res)
	})
}

// analyzeOne analyses one of several experiments: the others go on when an
// internal check fails.
func analyzeOne(ctx context.Context, e experiment.Experiment, o experiment.Options, key []byte, alone bool) (*experiment.Result, error) {
	res, err := experiment.Analyze(ctx, e, o)
	var internal *experiment.InternalError
	if errors.As(err, &internal) && !alone {
		res, err = experiment.Failed(e, o, err), nil
	}
	if err != nil {
		return nil, err
	}
	if key != nil {
		res.Data.Redact(key)
	}
	return res, nil
}

// workers is how many experiments are done at once.
func (a *app) workers() int {
	if a.jobs > 0 {
		return a.jobs
	}
	return runtime.GOMAXPROCS(0)
}

// sideBySide does the experiments, --jobs at once. do gives an experiment's exit
// code and messages; nil when it is not to be counted.
func (a *app) sideBySide(exps []experiment.Experiment, do func(ctx context.Context, i int, t *part) (*experiment.Result, error)) error {
	limit, err := parseSize(a.maxMemory)
	if err != nil {
		return usagef("--max-memory: %v", err)
	}
	room := newRoom(limit)
	p := a.newProgress(exps...)
	var mu sync.Mutex
	said := make([][]string, len(exps))
	made, damaged, broken := 0, false, false
	g, ctx := errgroup.WithContext(a.ctx)
	g.SetLimit(a.workers())
	for i := range exps {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			leave, err := room.enter(ctx, exps[i], a)
			if err != nil {
				return err
			}
			defer leave()
			t := p.begin(&exps[i])
			defer t.end()
			res, err := do(ctx, i, t)
			if err != nil || res == nil {
				return err
			}
			said[i] = res.Messages
			mu.Lock()
			defer mu.Unlock()
			switch res.Exit {
			case experiment.ExitInternal:
				broken = true
			case experiment.ExitNothing:
			default:
				made++
			}
			damaged = damaged || res.Exit != experiment.ExitWhole
			return nil
		})
	}
	err = g.Wait()
	p.done()
	if a.ctx.Err() != nil {
		return context.Canceled
	}
	if err != nil {
		return err
	}
	for i, list := range said {
		for _, m := range list {
			if len(exps) > 1 && !strings.HasPrefix(m, exps[i].Name) {
				m = fmt.Sprintf("%s: %s", exps[i].Name, m)
			}
			a.say(levelWarn, "%s", m)
		}
	}
	switch {
	case broken:
		a.code = exitInternal
	case made == 0 && damaged:
		a.code = exitNothing
	case damaged:
		a.code = exitDamaged
	}
	return nil
}
