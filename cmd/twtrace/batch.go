package main

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/internal/experiment"
)

// batchInto analyses experiments side by side. Each writes its own files, so
// the dataset does not depend on who is done first.
func (a *app) batchInto(exps []experiment.Experiment, opt experiment.Options) error {
	jobs := a.jobs
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	key, err := a.redactionKey()
	if err != nil {
		return err
	}
	out, err := a.openOutput(a.output)
	if err != nil {
		return err
	}
	defer out.abandon()
	p := a.newProgress(exps...)
	var mu sync.Mutex
	made, damaged, broken := 0, false, false
	said := make([][]string, len(exps))
	g, ctx := errgroup.WithContext(a.ctx)
	g.SetLimit(jobs)
	for i, e := range exps {
		g.Go(func() error {
			o := opt
			o.Progress = p.part()
			res, err := experiment.Analyze(ctx, e, o)
			var internal *experiment.InternalError
			if errors.As(err, &internal) {
				res, err = experiment.Failed(e, o, err), nil
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
			return out.add(res)
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
			a.say("%s: %s", exps[i].Name, m)
		}
	}
	switch {
	case broken:
		a.code = exitInternal
	case made == 0 && damaged:
		a.code = exitNothing
		return nil
	case damaged:
		a.code = exitDamaged
	}
	return out.finish(a)
}
