package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/internal/experiment"
)

func (a *app) batchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "batch ROOT -o DIR",
		Short:   "Analyse every experiment under a folder into one dataset and one report",
		GroupID: "main",
		Long: "An experiment is a folder (or archive) that holds, itself or in calls/, messages/ or keys/, a capture, an export\n" +
			"or a manifest. One that is broken does not stop the others.\n\n" +
			"DIR keeps what is done: an experiment is analysed again only when the bytes of an input, an option that changes\n" +
			"results, or the version of the analysis changed. A run that was killed goes on where it stopped. Experiments that\n" +
			"are no longer under ROOT leave the dataset.",
		Example: "  twtrace batch experiments/ -o out\n  twtrace batch archive.tar.zst -o out --jobs 4",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one ROOT, found %d arguments%s", len(args), quoted(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if a.output == "" {
				return usagef("want -o DIR, the folder to write")
			}
			return a.batch(args)
		},
	}
	a.inputFlags(c)
	a.outputFlags(c)
	return c
}

// batch brings the dataset up to date with the experiments under a root.
func (a *app) batch(args []string) error {
	exps, opt, err := a.experiments(args, false)
	if err != nil {
		return err
	}
	key, err := a.redactionKey()
	if err != nil {
		return err
	}
	st, err := a.openStore(a.output, shard{}, key)
	if err != nil {
		return err
	}
	defer st.abandon()
	b := batchRun{store: st, exps: exps, opt: opt}
	if err := a.sideBySide(exps, b.one); err != nil {
		return err
	}
	if !b.some {
		return nil // nothing could be made: the dataset stays as it was
	}
	gone, err := st.clean(exps)
	if err != nil {
		return err
	}
	for _, name := range gone {
		a.say(levelInfo, "%s: no longer under %s; its files were removed", name, args[0])
	}
	n, err := st.finish(a)
	if err != nil {
		return err
	}
	if err := st.dropShards(); err != nil {
		return err
	}
	if a.quiet {
		return nil
	}
	var notes []string
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
	a.say(levelInfo, "%s; open %s", what, filepath.Join(st.dir, reportName))
	return nil
}

// batchRun is the work on the experiments of a batch.
type batchRun struct {
	store *store
	exps  []experiment.Experiment
	opt   experiment.Options

	mu        sync.Mutex
	some      bool // an experiment gave results, now or before
	held      []*staged
	unchanged int
}

// one does an experiment unless it stands already.
func (b *batchRun) one(ctx context.Context, i int, progress func(bytes, frames int64)) (*experiment.Result, error) {
	e := b.exps[i]
	if r := b.store.load(b.store.id(e.Name)); r != nil {
		why, err := b.store.change(ctx, r, e, b.opt)
		if err != nil {
			return nil, err
		}
		if why == "" {
			return b.stands(r)
		}
	}
	o := b.opt
	o.Progress = progress
	res, err := analyzeOne(ctx, e, o, b.store.key, len(b.exps) == 1)
	if err != nil {
		return nil, err
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
	return a.sideBySide(exps, func(ctx context.Context, i int, progress func(bytes, frames int64)) (*experiment.Result, error) {
		o := opt
		o.Progress = progress
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

// sideBySide does the experiments, --jobs at once. do gives an experiment's exit
// code and messages; nil when it is not to be counted.
func (a *app) sideBySide(exps []experiment.Experiment, do func(ctx context.Context, i int, progress func(bytes, frames int64)) (*experiment.Result, error)) error {
	jobs := a.jobs
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	p := a.newProgress(exps...)
	var mu sync.Mutex
	said := make([][]string, len(exps))
	made, damaged, broken := 0, false, false
	g, ctx := errgroup.WithContext(a.ctx)
	g.SetLimit(jobs)
	for i := range exps {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			res, err := do(ctx, i, p.part())
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
	err := g.Wait()
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
