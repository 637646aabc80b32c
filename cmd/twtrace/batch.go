package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/internal/experiment"
)

// analyzeAll analyses experiments side by side. each gets the number of the
// experiment and its result, one at a time, in the order in which they are
// done: what it makes must not depend on that. What is wrong with the inputs
// is told in the order of the experiments; the worst of it is a.code.
func (a *app) analyzeAll(exps []experiment.Experiment, opt experiment.Options, each func(i int, r *experiment.Result) error) error {
	key, err := a.redactionKey()
	if err != nil {
		return err
	}
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
	for i, e := range exps {
		g.Go(func() error {
			o := opt
			o.Progress = p.part()
			res, err := experiment.Analyze(ctx, e, o)
			var internal *experiment.InternalError
			if errors.As(err, &internal) && len(exps) > 1 {
				res, err = experiment.Failed(e, o, err), nil // the others go on
			}
			if err != nil {
				return err
			}
			if a.redact {
				res.Data.Redact(key)
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
			return each(i, res)
		})
	}
	err = g.Wait()
	p.done()
	if err != nil {
		if a.ctx.Err() != nil {
			return context.Canceled
		}
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
