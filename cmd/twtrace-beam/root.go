package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/internal/experiment"
)

// root is what --root names. A path of this machine is read as `twtrace batch`
// reads it, links and random access included; a name with a scheme, through
// Beam's file systems.
type root struct {
	experiment.Input
	single bool     // one file, an archive mostly
	remote *objects // nil for a path
}

func (r *root) Close() error {
	if r == nil || r.remote == nil {
		return nil
	}
	return r.remote.fsys.Close()
}

// openRoot finds out what is below the root.
func openRoot(ctx context.Context, name string) (*root, error) {
	if !remote(name) {
		return openPath(name)
	}
	o, err := openObjects(ctx, name)
	if err != nil {
		return nil, err
	}
	_, err = o.fsys.Size(ctx, o.base)
	single := err == nil
	if !single {
		if err = o.find(ctx); err != nil {
			o.fsys.Close()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		o.ahead = newAhead(o)
	}
	return o.root(name, single), nil
}

// openKnown opens the root for a worker that knows what it wants there.
func openKnown(ctx context.Context, name string, single bool) (*root, error) {
	if !remote(name) {
		return openPath(name)
	}
	o, err := openObjects(ctx, name)
	if err != nil {
		return nil, err
	}
	return o.root(name, single), nil
}

func openPath(name string) (*root, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	in := experiment.Input{FS: os.DirFS(abs), Path: ".", Label: name, Name: filepath.Base(abs)}
	if !info.IsDir() {
		in.FS, in.Path = os.DirFS(filepath.Dir(abs)), in.Name
	}
	return &root{Input: in, single: !info.IsDir()}, nil
}

// storedIn is the file that holds the file or member of an archive that Find
// gave this name.
func (r *root) storedIn(name string) string {
	if r.single {
		return r.Path
	}
	for i := range name {
		if name[i] != '/' {
			continue
		}
		if info, err := fs.Stat(r.FS, name[:i]); err == nil && !info.IsDir() {
			return name[:i]
		}
	}
	return name
}

// walk gives the file that is stored at a path below the root, or the members
// of the archive there, with the names that Find gives them.
func (r *root) walk(at string, plain bool) map[string]*container.File {
	if r.remote != nil {
		r.remote.add(at)
	}
	files := map[string]*container.File{}
	add := func(f *container.File) error {
		switch {
		case r.single:
		case plain:
			f.Name = at
		default:
			f.Name = at + "/" + f.Name
		}
		files[f.Name] = f
		return nil
	}
	// What is refused was so when the experiments were found. What fails is
	// missing in files.
	if err := container.Walk(r.FS, at, add, func(string, error) {}); err != nil {
		return nil
	}
	return files
}

// objects are the objects below a name as a tree of files. What a store keeps
// is not known to be a tree: a name may be an object and a folder.
type objects struct {
	ctx   context.Context
	fsys  filesystem.Interface
	base  string // scheme://bucket/folder
	files map[string]bool
	dirs  map[string][]fs.DirEntry // as they come
	ahead *ahead                   // of a walk through all; nil without
}

func openObjects(ctx context.Context, name string) (*objects, error) {
	fsys, err := filesystem.New(ctx, name)
	if err != nil {
		return nil, err
	}
	return &objects{ctx: ctx, fsys: fsys, base: strings.TrimRight(name, "/"), files: map[string]bool{}, dirs: map[string][]fs.DirEntry{".": nil}}, nil
}

func (o *objects) root(name string, single bool) *root {
	r := &root{experiment.Input{FS: o, Path: ".", Label: name, Name: path.Base(o.base)}, single, o}
	if single {
		o.base = strings.TrimSuffix(o.base, "/"+r.Name)
		r.Path = r.Name
		o.add(r.Path)
	}
	return r
}

// maxDepth is how deep folders are looked into where the store has no pattern
// for all of them.
const maxDepth = 32

// find lists the objects. Google's store takes ** for names of any depth; the
// others' * stops at a slash.
func (o *objects) find(ctx context.Context) error {
	glob, depth := "/*", maxDepth
	if strings.HasPrefix(o.base, "gs://") {
		glob, depth = "/**", 1
	}
	for n := range depth {
		names, err := o.fsys.List(ctx, o.base+strings.Repeat(glob, n+1))
		if err != nil {
			return err
		}
		for _, name := range names {
			rel := strings.TrimPrefix(name, o.base+"/")
			switch {
			case strings.HasSuffix(rel, "/"): // stands for a folder
			case !fs.ValidPath(rel):
				log.Warnf(ctx, "%s: its name is no path; passed over", name)
			default:
				o.add(rel)
			}
		}
	}
	if len(o.files) == 0 {
		return fs.ErrNotExist
	}
	return nil
}

func (o *objects) add(name string) {
	if o.files[name] {
		return
	}
	o.files[name] = true
	for entry := fs.DirEntry(object{o, name, false}); ; entry = (object{o, name, true}) {
		dir := path.Dir(name)
		_, known := o.dirs[dir]
		o.dirs[dir] = append(o.dirs[dir], entry)
		if known {
			return
		}
		name = dir
	}
}

func (o *objects) Stat(name string) (fs.FileInfo, error) {
	if o.files[name] {
		return object{o, name, false}.Info()
	}
	if _, ok := o.dirs[name]; ok {
		return object{o, name, true}.Info()
	}
	return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

func (o *objects) ReadDir(name string) ([]fs.DirEntry, error) {
	list, ok := o.dirs[name]
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

func (o *objects) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if o.files[name] && o.ahead != nil {
		f := o.ahead.get(name)
		if f.err != nil && f.head == nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: f.err}
		}
		return openObject{f.open(o, name), object{o, name, false}}, nil
	}
	if o.files[name] {
		r, err := o.fsys.OpenRead(o.ctx, o.base+"/"+name)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return openObject{r, object{o, name, false}}, nil
	}
	list, err := o.ReadDir(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &openFolder{object{o, name, true}, list}, nil
}

// object is an entry of a folder.
type object struct {
	of   *objects
	path string
	dir  bool
}

func (e object) Name() string { return path.Base(e.path) }
func (e object) IsDir() bool  { return e.dir }

func (e object) Type() fs.FileMode {
	if e.dir {
		return fs.ModeDir
	}
	return 0
}

// Info asks for the size only when it is wanted: that is a request.
func (e object) Info() (fs.FileInfo, error) {
	if e.dir {
		return objectInfo{e, 0}, nil
	}
	var n int64
	var err error
	if e.of.ahead != nil {
		f := e.of.ahead.get(e.path)
		n, err = f.size, f.sizeErr
	} else {
		n, err = e.of.fsys.Size(e.of.ctx, e.of.base+"/"+e.path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: e.path, Err: err}
	}
	return objectInfo{e, n}, nil
}

type objectInfo struct {
	object
	size int64
}

func (i objectInfo) Size() int64        { return i.size }
func (i objectInfo) Mode() fs.FileMode  { return i.Type() | 0o444 }
func (i objectInfo) ModTime() time.Time { return time.Time{} }
func (i objectInfo) Sys() any           { return nil }

type openObject struct {
	io.ReadCloser
	object
}

func (f openObject) Stat() (fs.FileInfo, error) { return f.Info() }

type openFolder struct {
	object
	rest []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.Info() }
func (f *openFolder) Close() error               { return nil }

func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrInvalid}
}

func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(f.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.rest) {
		n = len(f.rest)
	}
	list := f.rest[:n:n]
	f.rest = f.rest[n:]
	return list, nil
}
