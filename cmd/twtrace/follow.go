package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// followed are the tables whose rows belong to a call and are settled with it.
// Others are about the whole capture, and known at its end.
var followed = []string{"arrivals", "calls", "legs", "signals", "streams"}

const (
	// settled is how long after its end a call's rows may change: late packets,
	// retransmissions, the reports of its media.
	settled = decode.Time(2e9) // ns
	// A capture that grows is analysed again when this has passed, and three
	// times as long as the last analysis took: a quarter of a processor at most.
	followEvery = 500 * time.Millisecond
	followRest  = 3
)

// followTable prints the rows of calls as they end.
//
// What comes is kept in a temporary file that has no name any more, and analysed
// from its beginning again and again: so a row is what an analysis of all that
// had come says, with every join, and the last one is that of the whole. A call
// that changed after its rows were printed is told.
func (a *app) followTable(name string, args []string) error {
	f, v, err := a.followView(name)
	if err != nil {
		return err
	}
	opt, err := a.options()
	if err != nil {
		return err
	}
	opt.Tables = []string{name, "experiments", "captures", "calls"} // which calls have ended
	key, err := a.redactionKey()
	if err != nil {
		return err
	}
	inputs, err := a.inputs(args)
	if err != nil {
		return err
	}
	live := -1
	for i, in := range inputs {
		switch {
		case in.Pipe == nil:
		case live >= 0:
			return usagef("--follow wants one pipe, found %s and %s", inputs[live].Label, in.Label)
		default:
			live = i
		}
	}
	if live < 0 {
		return usagef("--follow wants - or a pipe; of a file that grows: tail -c +1 -f FILE | twtrace %s --follow -", name)
	}
	kept, err := newSpool(inputs[live].Name)
	if err != nil {
		return err
	}
	defer kept.close()
	src, err := inputs[live].Pipe.Open()
	if err != nil {
		return err
	}
	go kept.fill(src)
	inputs[live].Pipe, inputs[live].FS, inputs[live].Path = nil, kept, inputs[live].Name

	p := &followPrinter{a: a, name: name, format: f, view: v, printed: map[string]uint64{}, seed: maphash.MakeSeed()}
	analysed, took, done := int64(-1), time.Duration(0), time.Now()
	var pending *table.Dataset // of the last analysis, when it had calls that may still change
	for !kept.ended() {
		select {
		case <-a.ctx.Done():
			return a.ctx.Err()
		case <-kept.end:
		case <-time.After(followEvery / 5):
		}
		size := kept.size.Load()
		switch {
		case size != analysed && time.Since(done) >= max(followEvery, followRest*took):
			begin := time.Now()
			d, err := a.soFar(inputs, opt, key)
			if err != nil {
				return err
			}
			analysed, done, pending = size, time.Now(), d
			took = done.Sub(begin)
			if err := p.settled(d, false); err != nil {
				return err
			}
		case size == analysed && pending != nil && time.Since(done) >= time.Duration(settled):
			if err := p.settled(pending, true); err != nil { // nothing came any more
				return err
			}
			pending = nil
		}
	}
	if kept.err != nil {
		return kept.err
	}
	exps, err := experiment.Find(inputs, true)
	if err != nil {
		return err
	}
	a.redact, a.redactKey = false, "" // done here, under the key of the rows before
	err = a.analyzeAll(exps, opt, func(_ int, r *experiment.Result) error {
		if key != nil {
			r.Data.Redact(key)
		}
		return p.rest(r.Data)
	})
	if err == nil && p.changed > 0 {
		a.say(levelWarn, "%s changed after the rows were printed; without --follow they are as the whole capture has them", plural(int64(p.changed), "call"))
	}
	return err
}

// followView checks the flags of a table that is followed.
func (a *app) followView(name string) (table.Format, table.View, error) {
	f := table.FormatCSV
	var err error
	if a.format != "" {
		if f, err = a.tableFormat(); err != nil {
			return f, table.View{}, err
		}
	}
	v, err := a.view()
	switch {
	case err != nil:
		return f, v, err
	case f != table.FormatCSV && f != table.FormatNDJSON:
		return f, v, usagef("--follow prints csv or ndjson, found --format %s", a.format)
	case a.sort != "" || a.limit != 0:
		return f, v, usagef("--follow prints rows as they come: not with --sort or --limit")
	case a.summary:
		return f, v, usagef("--follow prints rows: not with --summary")
	case a.output != "" && a.output != "-":
		return f, v, usagef("--follow writes to standard output: redirect it with > %s", shellQuote(a.output))
	}
	if err := table.Write(io.Discard, &table.Dataset{}, name, table.FormatCSV, v); err != nil {
		return f, v, usageError{err}
	}
	return f, v, nil
}

// soFar analyses what has come; nil when that is too little to be read.
func (a *app) soFar(inputs []experiment.Input, opt experiment.Options, key []byte) (*table.Dataset, error) {
	exps, err := experiment.Find(inputs, true)
	if err != nil || len(exps) != 1 {
		return nil, a.ctx.Err() // the end tells it
	}
	r, err := experiment.Analyze(a.ctx, exps[0], opt)
	if err != nil {
		return nil, err
	}
	if key != nil {
		r.Data.Redact(key)
	}
	return r.Data, nil
}

// followPrinter prints the rows of each call once.
type followPrinter struct {
	a       *app
	name    string
	format  table.Format
	view    table.View
	begun   bool
	printed map[string]uint64 // call_id: the sum of its rows
	seed    maphash.Seed
	changed int
}

// settled prints the rows of calls that ended and are not printed yet. Those of
// which later packets may change the name wait for the end.
func (p *followPrinter) settled(d *table.Dataset, idle bool) error {
	if d == nil {
		return nil
	}
	last := decode.Time(0)
	for i := range d.Captures {
		last = max(last, d.Captures[i].LastAt)
	}
	ended := map[string]bool{}
	for i := range d.Calls {
		c := &d.Calls[i]
		_, printed := p.printed[c.CallID]
		named := c.CallSID != "" || len(c.SIPCallIDs) > 0
		if !printed && named && c.EndedAt != 0 && !c.OpenAtEnd && (idle || last-c.EndedAt >= settled) {
			ended[c.CallID] = true
		}
	}
	if err := p.print(d, func(id string) bool { return ended[id] }); err != nil {
		return err
	}
	sums, err := p.sums(d, func(id string) bool { return ended[id] })
	for id := range ended {
		p.printed[id] = sums[table.ReadCSV(id)]
	}
	return err
}

// rest prints what is left at the end, and looks at what was printed before.
func (p *followPrinter) rest(d *table.Dataset) error {
	sums, err := p.sums(d, func(string) bool { return true })
	if err != nil {
		return err
	}
	for id, was := range p.printed {
		if sums[table.ReadCSV(id)] != was {
			p.changed++
		}
	}
	return p.print(d, func(id string) bool {
		_, printed := p.printed[id]
		return !printed
	})
}

func (p *followPrinter) print(d *table.Dataset, calls func(string) bool) error {
	v := p.view
	v.Calls, v.Bare = calls, p.begun
	p.begun = true
	var b bytes.Buffer
	if err := table.Write(&b, d, p.name, p.format, v); err != nil {
		return err
	}
	_, err := p.a.stdout.Write(b.Bytes())
	return err
}

// sums are the sums of the rows of each call, by its call_id as CSV has it: of
// the columns that are printed, details of messages aside.
func (p *followPrinter) sums(d *table.Dataset, calls func(string) bool) (map[string]uint64, error) {
	v := p.view
	v.Calls, v.Bare, v.Columns = calls, true, []string{"call_id"}
	for _, s := range table.Schemas() {
		for _, c := range s.Columns {
			if s.Name == p.name && c.Name != "call_id" && c.Name != "detail" && (len(p.view.Columns) == 0 || slices.Contains(p.view.Columns, c.Name)) {
				v.Columns = append(v.Columns, c.Name)
			}
		}
	}
	var b bytes.Buffer
	if err := table.Write(&b, d, p.name, table.FormatCSV, v); err != nil {
		return nil, err
	}
	sums := map[string]uint64{}
	r := csv.NewReader(&b)
	r.ReuseRecord = true
	for {
		row, err := r.Read()
		if err == io.EOF {
			return sums, nil
		}
		if err != nil {
			return nil, err
		}
		var h maphash.Hash
		h.SetSeed(p.seed)
		for _, cell := range row {
			h.WriteString(cell)
			h.WriteByte(0)
		}
		id := strings.Clone(row[0])
		sums[id] = sums[id]*31 + h.Sum64()
	}
}

// spool is what came of a pipe so far, as a file system of one file.
type spool struct {
	name string
	f    *os.File
	left bool // it has a name until close
	size atomic.Int64
	end  chan struct{}
	err  error // of reading; after end
}

func newSpool(name string) (*spool, error) {
	f, err := os.CreateTemp("", "twtrace-*")
	if err != nil {
		return nil, err
	}
	left := os.Remove(f.Name()) != nil // not every system removes an open file
	return &spool{name: name, f: f, left: left, end: make(chan struct{})}, nil
}

func (s *spool) close() {
	s.f.Close()
	if s.left {
		os.Remove(s.f.Name())
	}
}

// fill copies until the pipe ends.
func (s *spool) fill(r io.Reader) {
	defer close(s.end)
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := s.f.Write(buf[:n]); werr != nil {
				s.err = werr
				return
			}
			s.size.Add(int64(n))
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
				s.err = err
			}
			return
		}
	}
}

func (s *spool) ended() bool {
	select {
	case <-s.end:
		return true
	default:
		return false
	}
}

// Open gives what had come by then.
func (s *spool) Open(name string) (fs.File, error) {
	if name != s.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	n := s.size.Load()
	return spoolFile{io.NewSectionReader(s.f, 0, n), spoolInfo{s.name, n}}, nil
}

type spoolFile struct {
	*io.SectionReader
	info spoolInfo
}

func (f spoolFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f spoolFile) Close() error               { return nil }

type spoolInfo struct {
	name string
	size int64
}

func (i spoolInfo) Name() string       { return i.name }
func (i spoolInfo) Size() int64        { return i.size }
func (i spoolInfo) Mode() fs.FileMode  { return 0o444 }
func (i spoolInfo) ModTime() time.Time { return time.Time{} }
func (i spoolInfo) IsDir() bool        { return false }
func (i spoolInfo) Sys() any           { return nil }
