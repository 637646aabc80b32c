package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/twtrace/twtrace/decode/container"
)

// window is how many objects are asked for before they are wanted. Finding
// experiments takes a look at every object, one after the other, and a store
// lets each wait for some ten milliseconds.
const window = 64

// ahead fetches the sizes and the beginnings of objects in the order in which a
// walk comes to them. It holds those around the one that was wanted last.
type ahead struct {
	of    *objects
	order []string
	place map[string]int

	mu  sync.Mutex
	got map[int]*fetched
}

// fetched is an object's beginning. What stands in it is there when ready is
// closed.
type fetched struct {
	ready   chan struct{}
	size    int64
	sizeErr error
	head    []byte
	err     error // that ended the head; io.EOF when it is all
}

func newAhead(o *objects) *ahead {
	a := &ahead{of: o, place: map[string]int{}, got: map[int]*fetched{}}
	for name := range o.files {
		if !strings.HasPrefix(name, ".") && !strings.Contains(name, "/.") { // hidden
			a.order = append(a.order, name)
		}
	}
	// NUL comes before all else, so that a folder is walked where its name is.
	slices.SortFunc(a.order, func(x, y string) int {
		return strings.Compare(strings.ReplaceAll(x, "/", "\x00"), strings.ReplaceAll(y, "/", "\x00"))
	})
	for i, name := range a.order {
		a.place[name] = i
	}
	return a
}

// get waits for an object, and has those after it fetched.
func (a *ahead) get(name string) *fetched {
	at, ok := a.place[name]
	if !ok {
		f := &fetched{ready: make(chan struct{})}
		a.fetch(f, name)
		return f
	}
	a.mu.Lock()
	for i := range a.got {
		if i <= at-window || i >= at+window {
			delete(a.got, i)
		}
	}
	for i := at; i < min(at+window, len(a.order)); i++ {
		if a.got[i] == nil {
			f := &fetched{ready: make(chan struct{})}
			a.got[i] = f
			go a.fetch(f, a.order[i])
		}
	}
	f := a.got[at]
	a.mu.Unlock()
	<-f.ready
	return f
}

func (a *ahead) fetch(f *fetched, name string) {
	defer close(f.ready)
	full := a.of.base + "/" + name
	f.size, f.sizeErr = a.of.fsys.Size(a.of.ctx, full)
	r, err := a.of.fsys.OpenRead(a.of.ctx, full)
	if err != nil {
		f.err = err
		return
	}
	defer r.Close()
	f.head = make([]byte, container.HeadSize)
	n, err := io.ReadFull(r, f.head)
	if f.head, f.err = f.head[:n:n], err; errors.Is(err, io.ErrUnexpectedEOF) {
		f.err = io.EOF
	}
}

// open reads the object from its beginning. Beyond the head it is opened anew.
func (f *fetched) open(o *objects, name string) io.ReadCloser {
	return &afterHead{head: bytes.NewReader(f.head), err: f.err, open: func() (io.ReadCloser, error) {
		r, err := o.fsys.OpenRead(o.ctx, o.base+"/"+name)
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, r, int64(len(f.head))); err != nil {
			r.Close()
			return nil, err
		}
		return r, nil
	}}
}

type afterHead struct {
	head *bytes.Reader
	err  error
	open func() (io.ReadCloser, error)
	rest io.ReadCloser
}

func (r *afterHead) Read(p []byte) (n int, err error) {
	if r.head.Len() > 0 {
		return r.head.Read(p)
	}
	if r.rest == nil && r.err == nil {
		r.rest, r.err = r.open()
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.rest.Read(p)
}

func (r *afterHead) Close() error {
	if r.rest != nil {
		return r.rest.Close()
	}
	return nil
}
