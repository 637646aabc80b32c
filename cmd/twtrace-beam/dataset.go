package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem"

	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/report"
)

// dataset is the folder that a job writes. Every file in it is whole: on a disk
// it is written aside, synced and renamed; a store shows an object once its
// writer is closed. So it does not matter how many workers write the same one.
type dataset struct {
	fsys filesystem.Interface
	dir  string
}

const (
	batchName    = "batch.json"
	reportName   = "report.html"
	combinedName = "combined-rates.csv"
	schemaFile   = "0-schema.parquet"
	recordDir    = ".twtrace"      // of `twtrace batch`: what stands and need not be done again
	asideDir     = ".twtrace-beam" // `twtrace batch` removes what is left in a folder of such a name
)

func openDataset(ctx context.Context, dir string) (*dataset, error) {
	fsys, err := filesystem.New(ctx, dir)
	if err != nil {
		return nil, err
	}
	if remote(dir) {
		return &dataset{fsys, strings.TrimRight(dir, "/")}, nil
	}
	return &dataset{fsys, filepath.ToSlash(filepath.Clean(dir))}, nil
}

func (d *dataset) name(rel string) string { return d.dir + "/" + rel }

// match lists the names below the folder that match a pattern, without it.
func (d *dataset) match(ctx context.Context, pattern string) ([]string, error) {
	dir := d.dir
	if !remote(dir) {
		for _, meta := range []string{`\`, "*", "?", "["} {
			dir = strings.ReplaceAll(dir, meta, `\`+meta)
		}
	}
	names, err := d.fsys.List(ctx, dir+"/"+pattern)
	for i, n := range names {
		names[i] = strings.TrimPrefix(filepath.ToSlash(n), d.dir+"/")
	}
	return names, err
}

// write writes a file, or leaves it as it was.
func (d *dataset) write(ctx context.Context, name string, data []byte) error {
	full := d.name(name)
	if remote(d.dir) {
		return filesystem.Write(ctx, d.fsys, full, data)
	}
	var tag [8]byte
	rand.Read(tag[:])
	aside := d.name(asideDir + "/" + hex.EncodeToString(tag[:]))
	w, err := d.fsys.OpenWrite(ctx, aside)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	if s, ok := w.(interface{ Sync() error }); ok && err == nil {
		err = s.Sync()
	}
	err = errors.Join(err, w.Close())
	if err == nil {
		err = os.MkdirAll(path.Dir(full), 0o755)
	}
	if err == nil {
		err = filesystem.Rename(ctx, d.fsys, aside, full)
	}
	if err != nil {
		d.remove(ctx, asideDir+"/"+path.Base(aside))
	}
	return err
}

// remove removes a file or an empty folder, if it is there.
func (d *dataset) remove(ctx context.Context, name string) error {
	r, ok := d.fsys.(filesystem.Remover)
	if !ok {
		return fmt.Errorf("%s: the file system removes nothing", d.name(name))
	}
	err := r.Remove(ctx, d.name(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *dataset) removeAll(ctx context.Context, pattern string) error {
	names, err := d.match(ctx, pattern)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := d.remove(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// list reads batch.json.
func (d *dataset) list(ctx context.Context) (*experiment.List, error) {
	b, err := filesystem.Read(ctx, d.fsys, d.name(batchName))
	if err != nil {
		return nil, err
	}
	l := &experiment.List{}
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("%s: %w", d.name(batchName), err)
	}
	return l, nil
}

// begin makes the folder a dataset whose work is not done. What stood for the
// whole of an earlier one goes first.
func (d *dataset) begin(ctx context.Context, force bool) error {
	names, err := d.match(ctx, "*")
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, ".twtrace-") })
	records, err := d.match(ctx, recordDir+"/*")
	if err != nil {
		return err
	}
	if len(names) > 0 && len(records) == 0 && !force {
		if l, err := d.list(ctx); err != nil || l.Program != "twtrace" {
			return fmt.Errorf("%s: is not empty and was not made by twtrace; --force writes into it all the same", d.dir)
		}
	}
	if err := d.writeList(ctx, nil); err != nil {
		return err
	}
	for _, p := range []string{recordDir + "/*", recordDir, "arrow/*", "arrow", "batch.*-of-*.json", combinedName} {
		if err := d.removeAll(ctx, p); err != nil {
			return err
		}
	}
	_, err = d.writeTables(ctx, &table.Dataset{})
	return err
}

func (d *dataset) writeList(ctx context.Context, entries []experiment.Entry) error {
	var b bytes.Buffer
	seq := slices.Values(entries)
	if entries == nil {
		seq = nil
	}
	if err := experiment.WriteList(&b, seq); err != nil {
		return err
	}
	return d.write(ctx, batchName, b.Bytes())
}

// writeTables writes the tables that have rows, or the schemas when none has.
// It returns the names of the files.
func (d *dataset) writeTables(ctx context.Context, rows *table.Dataset) ([]string, error) {
	type file struct {
		name string
		bytes.Buffer
	}
	var files []*file
	schemas := len(rows.Experiments) == 0
	_, err := table.WriteDir(func(name string) (io.WriteCloser, error) {
		if (path.Base(name) == schemaFile) != schemas {
			return nil, nil
		}
		f := &file{name: name}
		files = append(files, f)
		return nopCloser{f}, nil
	}, rows, false, 1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if err := d.write(ctx, f.name, f.Bytes()); err != nil {
			return nil, err
		}
		names = append(names, f.name)
	}
	return names, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// finish makes what holds the whole. files are those that belong to the
// experiments; others in tables/ are of earlier ones.
func (d *dataset) finish(ctx context.Context, list []experiment.Entry, files map[string]bool, combined *table.Dataset, draw bool) error {
	for _, t := range table.Schemas() {
		names, err := d.match(ctx, "tables/"+t.Name+"/*.parquet")
		if err != nil {
			return err
		}
		for _, n := range names {
			if path.Base(n) == schemaFile || files[n] {
				continue
			}
			if err := d.remove(ctx, n); err != nil {
				return err
			}
		}
	}
	if draw {
		if err := d.draw(ctx); err != nil {
			return err
		}
	} else if err := d.removeAll(ctx, reportName); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := table.Write(&b, combined, "rates", table.FormatCSV, table.View{}); err != nil {
		return err
	}
	if err := d.write(ctx, combinedName, b.Bytes()); err != nil {
		return err
	}
	if err := d.writeList(ctx, list); err != nil {
		return err
	}
	if remote(d.dir) {
		return nil
	}
	if err := d.removeAll(ctx, asideDir+"/*"); err != nil { // of workers that died
		return err
	}
	return d.removeAll(ctx, asideDir)
}

// draw draws the report from the tables as written.
func (d *dataset) draw(ctx context.Context) error {
	fsys := os.DirFS(d.dir)
	if remote(d.dir) {
		o, err := openObjects(ctx, d.dir)
		if err != nil {
			return err
		}
		defer o.fsys.Close()
		if err := o.find(ctx); err != nil {
			return err
		}
		fsys = o
	}
	rows, err := table.ReadDir(fsys, report.NotDrawn()...)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := report.Write(&b, rows, report.Options{}); err != nil {
		return err
	}
	return d.write(ctx, reportName, b.Bytes())
}
