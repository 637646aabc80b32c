package main

import (
	"context"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/twtrace/twtrace/internal/experiment"
)

const (
	minMemory = 64e6

	// What the program takes beside the Go runtime's memory: its own pages.
	programMemory = 24 << 20
	// And what the runtime takes beside the experiments.
	restMemory = 24 << 20
)

// room lets experiments in as long as what they may take adds up to less than
// --max-memory. One that alone may take more is let in alone.
type room struct {
	limit, size int64
	sem         *semaphore.Weighted // nil: no limit
	told        sync.Once
}

// newRoom sets the runtime's own limit too: it collects garbage earlier when
// that comes near.
func newRoom(limit int64) *room {
	r := &room{limit: limit}
	if limit > 0 {
		debug.SetMemoryLimit(limit - programMemory)
		r.size = limit - programMemory - restMemory
		r.sem = semaphore.NewWeighted(r.size)
	}
	return r
}

// enter waits until there is room for an experiment, which leave gives back.
func (r *room) enter(ctx context.Context, e experiment.Experiment, a *app) (leave func(), err error) {
	if r.sem == nil {
		return func() {}, nil
	}
	need := e.Probe().Memory
	if need > r.size {
		r.told.Do(func() {
			if a.quiet {
				return
			}
			a.say(levelInfo, "%s: may take up to %s, more than --max-memory leaves; what is so large is done alone", e.Name, megabytes(need))
		})
		need = r.size
	}
	if err := r.sem.Acquire(ctx, need); err != nil {
		return nil, err
	}
	return func() { r.sem.Release(need) }, nil
}
