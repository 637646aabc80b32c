package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twtrace/twtrace/internal/experiment"
)

// progress tells on standard error how far the work is, the whole and what
// each worker is at, once it takes longer than a second.
type progress struct {
	app   *app
	live  bool // lines that are written over
	width int  // of the terminal
	off   bool
	runs  int
	total int64

	mu            sync.Mutex
	bytes, frames int64
	over          int     // experiments that are done
	unchanged     int     // of these
	workers       []*part // by number from 0; nil is at rest
	begun, last   time.Time
	lines         int // that a live display shows
}

func (a *app) newProgress(exps ...experiment.Experiment) *progress {
	p := &progress{app: a, begun: time.Now(), runs: len(exps)}
	width, terminal := isTerminal(a.stderr)
	p.width = width
	switch {
	case a.quiet || a.progress == "none":
		p.off = true
	case a.progress == "plain":
	case terminal:
		p.live = a.logFormat != "json"
	default:
		p.off = true
	}
	for i := range exps {
		p.total += stored(&exps[i])
	}
	return p
}

// stored is the size of an experiment's files.
func stored(e *experiment.Experiment) (n int64) {
	for _, f := range e.Files {
		n += max(f.Size, 0)
	}
	return n
}

// part is one experiment in the hands of a worker.
type part struct {
	p             *progress
	worker        int
	name          string
	bytes, frames int64
	total         int64
	unchanged     bool // it turned out that it need not be done
}

// begin gives an experiment to the first worker that is at rest.
func (p *progress) begin(e *experiment.Experiment) *part {
	t := &part{p: p, name: e.Name, total: stored(e)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.worker = slices.Index(p.workers, nil); t.worker < 0 {
		t.worker = len(p.workers)
		p.workers = append(p.workers, nil)
	}
	p.workers[t.worker] = t
	return t
}

// update takes the bytes and frames read so far.
func (t *part) update(bytes, frames int64) {
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	t.add(bytes, frames)
	p.show(time.Now())
}

func (t *part) add(bytes, frames int64) {
	t.p.bytes += bytes - t.bytes
	t.p.frames += frames - t.frames
	t.bytes, t.frames = bytes, frames
}

// end counts the experiment as done, all its bytes too.
func (t *part) end() {
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	t.add(max(t.bytes, t.total), t.frames)
	p.workers[t.worker] = nil
	p.over++
	if t.unchanged {
		p.unchanged++
	}
	p.show(time.Now())
}

// show is called under the lock.
func (p *progress) show(now time.Time) {
	every := time.Second
	if p.live {
		every = 200 * time.Millisecond
	}
	if p.off || now.Sub(p.begun) < time.Second || now.Sub(p.last) < every {
		return
	}
	p.last = now
	s := p.state(now.Sub(p.begun).Seconds())
	switch {
	case p.app.logFormat == "json":
		p.app.log(levelInfo, s.text(), s)
	case p.live:
		lines := append([]string{s.text()}, s.workerTexts()...)
		p.clear()
		p.lines = len(lines)
		for i, l := range lines { // one that is broken would not be wiped
			if r := []rune(l); len(r) >= p.width {
				lines[i] = string(r[:p.width-1])
			}
		}
		p.app.write(strings.Join(lines, "\n") + "\n")
	default:
		p.app.write(strings.Join(append([]string{s.text()}, s.workerTexts()...), " | ") + "\n")
	}
}

// progressState is a line of progress, as it stands in a JSON log.
type progressState struct {
	Event       string        `json:"event"` // progress
	Done        int           `json:"done"`
	Unchanged   int           `json:"unchanged"`
	Experiments int           `json:"experiments"`
	Bytes       int64         `json:"bytes"`
	TotalBytes  int64         `json:"total_bytes"`
	Packets     int64         `json:"packets"`
	Seconds     float64       `json:"seconds"`
	Workers     []workerState `json:"workers"`
}

type workerState struct {
	Worker     int    `json:"worker"` // from 1
	Experiment string `json:"experiment"`
	Bytes      int64  `json:"bytes"`
	TotalBytes int64  `json:"total_bytes"`
}

func (p *progress) state(seconds float64) progressState {
	s := progressState{Event: "progress", Done: p.over, Unchanged: p.unchanged, Experiments: p.runs, Bytes: p.bytes, TotalBytes: p.total,
		Packets: p.frames, Seconds: seconds, Workers: []workerState{}}
	for i, t := range p.workers {
		if t != nil {
			s.Workers = append(s.Workers, workerState{i + 1, t.name, t.bytes, t.total})
		}
	}
	return s
}

func (s *progressState) text() string {
	text := fmt.Sprintf("%.1f MB", float64(s.Bytes)/1e6)
	if s.TotalBytes > 0 {
		text = fmt.Sprintf("%.1f of %.1f MB", float64(s.Bytes)/1e6, float64(s.TotalBytes)/1e6)
	}
	text += fmt.Sprintf(", %.2f M packets/s", float64(s.Packets)/1e6/s.Seconds)
	if s.TotalBytes > 0 && s.Bytes > 0 {
		text += fmt.Sprintf(", %.0f s left", s.Seconds*float64(max(s.TotalBytes-s.Bytes, 0))/float64(s.Bytes))
	}
	if s.Experiments < 2 {
		return text
	}
	runs := fmt.Sprintf("%d of %d experiments", s.Done, s.Experiments)
	if s.Unchanged > 0 {
		runs += fmt.Sprintf(" (%d unchanged)", s.Unchanged)
	}
	return runs + ", " + text
}

func (s *progressState) workerTexts() []string {
	if s.Experiments < 2 {
		return nil
	}
	var list []string
	for _, w := range s.Workers {
		text := fmt.Sprintf("%d: %s", w.Worker, visible(w.Experiment))
		if w.TotalBytes > 0 {
			text += fmt.Sprintf(" %d %%", min(100, 100*w.Bytes/w.TotalBytes))
		}
		list = append(list, text)
	}
	return list
}

// clear wipes the live lines; it is called under the lock.
func (p *progress) clear() {
	if p.lines > 0 {
		p.app.write(fmt.Sprintf("\x1b[%dA\r\x1b[J", p.lines))
		p.lines = 0
	}
}

// done wipes the live lines for good.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.off = true
}

// write puts text on standard error whole, also from several workers.
func (a *app) write(text string) {
	a.errMu.Lock()
	defer a.errMu.Unlock()
	io.WriteString(a.stderr, text)
}
