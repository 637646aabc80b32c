package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twtrace/twtrace/internal/experiment"
)

// progress tells on standard error how far the work is, once it takes longer
// than a second.
type progress struct {
	w     io.Writer
	live  bool // one line that is written over
	off   bool
	total int64

	mu            sync.Mutex
	bytes, frames int64
	begun, last   time.Time
	shown         bool
}

func (a *app) newProgress(exps ...experiment.Experiment) *progress {
	p := &progress{w: a.stderr, begun: time.Now()}
	_, terminal := isTerminal(a.stderr)
	switch {
	case a.quiet || a.progress == "none":
		p.off = true
	case a.progress == "plain":
	case terminal:
		p.live = true
	default:
		p.off = true
	}
	for _, e := range exps {
		for _, f := range e.Files {
			p.total += max(f.Size, 0)
		}
	}
	return p
}

// part is the update function of one of several experiments.
func (p *progress) part() func(bytes, frames int64) {
	var b, f int64
	return func(bytes, frames int64) {
		p.add(bytes-b, frames-f)
		b, f = bytes, frames
	}
}

func (p *progress) add(bytes, frames int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += bytes
	p.frames += frames
	if p.off {
		return
	}
	now := time.Now()
	every := time.Second
	if p.live {
		every = 200 * time.Millisecond
	}
	if now.Sub(p.begun) < time.Second || now.Sub(p.last) < every {
		return
	}
	p.last, p.shown = now, true
	p.line(now.Sub(p.begun).Seconds())
}

func (p *progress) line(seconds float64) {
	text := fmt.Sprintf("%.1f MB, %.2f M packets/s", float64(p.bytes)/1e6, float64(p.frames)/1e6/seconds)
	if p.total > 0 && p.bytes > 0 {
		left := seconds * float64(max(p.total-p.bytes, 0)) / float64(p.bytes)
		text = fmt.Sprintf("%.1f of %.1f MB, %.2f M packets/s, %.0f s left", float64(p.bytes)/1e6, float64(p.total)/1e6, float64(p.frames)/1e6/seconds, left)
	}
	if p.live {
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintln(p.w, text)
}

// done wipes the live line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
