package experiment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/twtrace/twtrace/decode/container"
)

// Input is one INPUT of the command line: a file or folder of a file system,
// or what can be read once only, standard input or a pipe.
type Input struct {
	FS    fs.FS
	Path  string // slash path in FS; "." for a folder that is the root of FS
	Label string // as the user named it, for messages
	Name  string // its base name
	Pipe  *container.File
	Keys  bool // a key log and nothing else: of --keys
}

// Experiment is the files of one run.
type Experiment struct {
	Name    string // path relative to the root, or the name given
	Files   []*container.File
	Refused []Refusal // archive members and files that were not opened

	rank int // of where Name is from; the lowest gives an experiment of several INPUTs its name
}

// Refusal is a file that the walk did not take, with its reason.
type Refusal struct {
	Name string
	Err  error
}

// ManyError says that an INPUT holds several experiments where one is wanted.
type ManyError struct {
	Label string
	Names []string
}

func (e *ManyError) Error() string {
	return fmt.Sprintf("%s holds %d experiments (%s, ...)", e.Label, len(e.Names), e.Names[0])
}

// subfolders are never experiments of their own.
var subfolders = []string{"calls", "messages", "keys"}

// maxPipe bounds what is held of input that can be read once and must be read
// more often: archives, and captures beside others.
const maxPipe = 256 << 20

// Find applies the folder rule.
//
// Files among the INPUTs are one experiment, with the folders beside them
// unless one of those holds several runs. Without files each folder with a
// capture, an export or a manifest is an experiment. With together set all
// INPUTs are one experiment, and one that holds several is a ManyError. Key
// logs named as INPUTs belong to every experiment. The order of the INPUTs
// does not matter.
func Find(inputs []Input, together bool) ([]Experiment, error) {
	inputs = slices.Clone(inputs)
	slices.SortStableFunc(inputs, func(a, b Input) int { return strings.Compare(a.Label, b.Label) })
	type taken struct {
		in  Input
		exp Experiment
	}
	var keys, files, folders, pipes []taken
	many := false
	put := func(in Input, pipe bool) error {
		exps, isFile, err := take(in, pipe)
		if err != nil {
			return err
		}
		if !isFile {
			if in.Keys {
				return fmt.Errorf("%s: --keys wants a key log, found a folder or an archive; name it as an INPUT", in.Label)
			}
			if len(exps) > 1 {
				if many = true; together {
					e := &ManyError{Label: in.Label}
					for _, x := range exps {
						e.Names = append(e.Names, x.Name)
					}
					return e
				}
			}
			for _, e := range exps {
				folders = append(folders, taken{in, e})
			}
			return nil
		}
		c, err := exps[0].Files[0].Look()
		switch {
		case err == nil && c.Kind == container.Keylog:
			keys = append(keys, taken{in, exps[0]})
			return nil
		case err == nil && c.Kind == container.Unknown && len(c.Head) == 0 && len(inputs) > 1:
			keys = append(keys, taken{in, exps[0]}) // a key log of a client that made no session
			return nil
		case err == nil && c.Kind == container.Unknown:
			return fmt.Errorf("%s: want a capture, an export, a key log, a queue log, a manifest or an archive of these; found %s", in.Label, container.Describe(c.Head))
		case in.Keys && err != nil:
			return fmt.Errorf("%s: %w", in.Label, err)
		case in.Keys:
			return fmt.Errorf("%s: --keys wants a key log, found %s; name it as an INPUT", in.Label, c.Kind)
		case c.Kind == container.Pcap || c.Kind == container.Pcapng:
			exps[0].rank = 1
		default:
			exps[0].rank = 2
		}
		files = append(files, taken{in, exps[0]})
		return nil
	}
	for _, in := range inputs {
		if in.Pipe != nil {
			pipes = append(pipes, taken{in: in})
			continue
		}
		if err := put(in, false); err != nil {
			return nil, err
		}
	}
	for _, p := range pipes {
		// Alone, a pipe of any length can be read as it comes.
		if err := put(p.in, len(files)+len(folders) == 0 && len(pipes) == 1); err != nil {
			return nil, err
		}
	}
	var all []Experiment
	switch {
	case len(files)+len(folders) == 0:
		one := Experiment{rank: 4}
		for _, t := range keys {
			one.add(t.in, t.exp)
		}
		return []Experiment{one}, nil
	case len(files) > 0 || together:
		one := Experiment{rank: 4}
		for _, t := range files {
			one.add(t.in, t.exp)
		}
		if !many {
			for _, t := range folders {
				one.add(t.in, t.exp)
			}
			folders = nil
		}
		all = append(all, one)
	}
	names := map[string]bool{}
	for _, e := range all {
		names[e.Name] = true
	}
	for _, t := range folders {
		e := t.exp
		for n := 2; names[e.Name]; n++ {
			e.Name = fmt.Sprintf("%s#%d", t.exp.Name, n)
		}
		names[e.Name] = true
		all = append(all, e)
	}
	for i := range all {
		for _, k := range keys {
			k.exp.rank = 5
			all[i].add(k.in, k.exp)
		}
	}
	return all, nil
}

// add puts the files of one INPUT to an experiment that several make up; a
// name that another INPUT has already is told apart by the INPUT's own name.
func (e *Experiment) add(in Input, from Experiment) {
	taken := map[string]bool{}
	for _, f := range e.Files {
		taken[f.Name] = true
	}
	before := in.Name
	if in.Path != "." && path.Base(in.Path) == in.Name {
		// a plain file: the folder that it was named in tells it apart
		if dir := path.Base(path.Dir(strings.ReplaceAll(in.Label, `\`, "/"))); strings.Trim(dir, "./") != "" {
			before = dir
		}
	}
	for _, f := range from.Files {
		name := f.Name
		if taken[name] {
			name = before + "/" + f.Name
		}
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s#%d/%s", before, n, f.Name)
		}
		taken[name] = true
		e.Files = append(e.Files, f.As(name)) // key logs belong to several experiments
	}
	e.Refused = append(e.Refused, from.Refused...)
	if e.Name == "" || from.rank < e.rank || from.rank == e.rank && from.Name < e.Name {
		e.Name, e.rank = from.Name, from.rank
	}
}

// take lists the experiments of one INPUT. A file gives one. A pipe that
// cannot be read as it comes is read into memory first.
func take(in Input, stream bool) (exps []Experiment, isFile bool, err error) {
	if in.Pipe == nil {
		return walk(in)
	}
	c, err := in.Pipe.Identify()
	switch c.Kind {
	case container.Pcap, container.Pcapng, container.Resources, container.Unknown:
		packed := err == nil && c.Kind == container.Pcapng && in.Pipe.Packed()
		if (stream || err != nil || c.Kind == container.Unknown) && !packed {
			return []Experiment{{Name: stem(in.Name), Files: []*container.File{in.Pipe}}}, true, nil
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", in.Label, err)
	}
	r, err := in.Pipe.Open()
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", in.Label, err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxPipe+1))
	if err != nil {
		return nil, false, fmt.Errorf("%s: after %d bytes: %w", in.Label, len(data), err)
	}
	if len(data) > maxPipe {
		return nil, false, fmt.Errorf("%s: want at most %d bytes of an archive, or of anything beside other INPUTs, found more; write it to a file and name that", in.Label, maxPipe)
	}
	in.FS, in.Path = oneFile{in.Name, data}, in.Name
	return walk(in)
}

// walk lists the experiments of one INPUT. A file gives one.
func walk(in Input) (exps []Experiment, isFile bool, err error) {
	info, err := fs.Stat(in.FS, in.Path)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", in.Label, bare(err))
	}
	single := !info.IsDir()
	var files []*container.File
	var refused []Refusal
	err = container.Walk(in.FS, in.Path, func(f *container.File) error {
		files = append(files, f)
		return nil
	}, func(name string, err error) {
		refused = append(refused, Refusal{name, bare(err)})
	})
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", in.Label, bare(err))
	}
	if single && len(files) == 1 && len(refused) == 0 && files[0].Name == in.Name {
		return []Experiment{{Name: stem(in.Name), Files: files}}, true, nil // a plain file, no archive
	}
	all := len(files)
	files = withoutDatasets(files)
	results := all > len(files)
	byFolder := map[string]*Experiment{}
	var order []string
	at := func(dir string) *Experiment {
		e := byFolder[dir]
		if e == nil {
			e = &Experiment{Name: dir}
			byFolder[dir] = e
			order = append(order, dir)
		}
		return e
	}
	for _, f := range files {
		e := at(folderOf(f.Name))
		e.Files = append(e.Files, f)
	}
	for _, r := range refused {
		dir := folderOf(r.Name)
		if byFolder[r.Name] != nil {
			dir = r.Name // an archive that gave some members before it broke
		}
		e := at(dir)
		e.Refused = append(e.Refused, r)
	}
	slices.Sort(order)
	root := in.Name
	if single {
		root = stem(in.Name)
	}
	is, broken, known := map[string]bool{}, map[string]bool{}, len(refused) > 0
	for _, dir := range order {
		run, some, bad := byFolder[dir].holds()
		is[dir], broken[dir] = run, bad
		known = known || some
	}
	if !known {
		return nil, false, nothingHere(in.Label, results, files)
	}
	if !slices.ContainsFunc(order, func(dir string) bool { return is[dir] }) {
		all := Experiment{Name: root}
		for _, dir := range order {
			all.Files = append(all.Files, byFolder[dir].Files...)
			all.Refused = append(all.Refused, byFolder[dir].Refused...)
		}
		all.rank = folderRank(all.Name)
		return []Experiment{all}, false, nil
	}
	var lost []string
	for _, dir := range order {
		if is[dir] {
			continue
		}
		// Files that make no run of their own stand in the run above them.
		e, above := byFolder[dir], dir
		for above != "." && !is[above] {
			above = path.Dir(above)
		}
		if is[above] {
			run := byFolder[above]
			run.Files = append(run.Files, e.Files...)
			run.Refused = append(run.Refused, e.Refused...)
			continue
		}
		// Key logs above runs are for all of them. Something broken is a run that
		// gave nothing. Anything else, links too, belongs to no run.
		for _, f := range e.Files {
			if c, err := f.Identify(); err == nil && c.Kind == container.Keylog {
				for _, below := range order {
					if is[below] && (dir == "." || strings.HasPrefix(below, dir+"/")) {
						byFolder[below].Files = append(byFolder[below].Files, f)
					}
				}
			}
		}
		if broken[dir] || slices.ContainsFunc(e.Refused, func(r Refusal) bool {
			info, err := fs.Lstat(in.FS, path.Join(in.Path, r.Name))
			return err != nil || info.Mode()&fs.ModeSymlink == 0
		}) {
			lost = append(lost, dir)
		}
	}
	for _, dir := range lost {
		is[dir] = true
	}
	for _, dir := range order {
		if !is[dir] {
			continue
		}
		e := byFolder[dir]
		if dir == "." {
			e.Name = root
		}
		e.rank = folderRank(e.Name)
		exps = append(exps, *e)
	}
	return exps, false, nil
}

// nothingHere is the error for an INPUT of which nothing is of use.
func nothingHere(label string, results bool, files []*container.File) error {
	const holds = "%s: holds no capture, export, key log, queue log or manifest"
	switch {
	case results:
		return fmt.Errorf(holds+", but the results of an earlier run: `twtrace report` draws them again, `twtrace compare` takes them, its folder tables is for other programs", label)
	case len(files) == 0:
		return fmt.Errorf(holds+"; it is empty", label)
	case len(files) == 1:
		return fmt.Errorf(holds+"; its one file, %s, is of no known kind", label, files[0].Name)
	}
	return fmt.Errorf(holds+"; its %d files, %s and others, are of no known kind", label, len(files), files[0].Name)
}

// folderRank lets calls, messages and keys name an experiment only when
// nothing else does.
func folderRank(name string) int {
	if slices.Contains(subfolders, path.Base(name)) {
		return 3
	}
	return 0
}

// folderOf is the folder whose run a file belongs to.
func folderOf(name string) string {
	dir := path.Dir(name)
	if slices.Contains(subfolders, path.Base(dir)) {
		dir = path.Dir(dir)
	}
	return dir
}

// withoutDatasets leaves out the results of earlier runs, so that a result
// folder inside an input folder does not become an input of the next run.
func withoutDatasets(files []*container.File) []*container.File {
	var made []string
	for _, f := range files {
		if !isList(path.Base(f.Name)) {
			continue
		}
		if c, err := f.Look(); err == nil && bytes.Contains(c.Head[:min(len(c.Head), 64)], []byte(`"program": "twtrace"`)) {
			made = append(made, strings.TrimSuffix(f.Name, path.Base(f.Name)))
		}
	}
	return slices.DeleteFunc(files, func(f *container.File) bool {
		for _, dir := range made {
			rest, ok := strings.CutPrefix(f.Name, dir)
			if ok && (isList(rest) || rest == "report.html" || strings.HasPrefix(rest, "tables/") || strings.HasPrefix(rest, "arrow/")) {
				return true
			}
		}
		return false
	})
}

// isList tells by its name a list of a dataset's experiments: of the whole, or
// batch.K-of-N.json of a shard.
func isList(name string) bool {
	of, ok := strings.CutPrefix(name, "batch.")
	if ok && of == "json" {
		return true
	}
	of, json := strings.CutSuffix(of, ".json")
	return ok && json && !strings.Contains(of, "/") && strings.Contains(of, "-of-")
}

// holds tells whether the files make a run, by a capture, an export or a
// manifest; whether any is of a known kind, or broken and so perhaps of one.
func (e *Experiment) holds() (run, known, broken bool) {
	for _, f := range e.Files {
		c, err := f.Identify()
		switch {
		case err != nil:
			known, broken = true, true
			continue
		case c.Kind == container.Unknown:
			continue
		}
		known = true
		switch c.Kind {
		case container.Pcap, container.Pcapng, container.Resources, container.Manifest:
			return true, true, broken
		}
	}
	return false, known, broken
}

// bare leaves out the path that os puts before its errors: the caller names
// the file as the user did.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// stem is a file's name without what follows the first dot.
func stem(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

// oneFile is a file system of one file in memory.
type oneFile struct {
	name string
	data []byte
}

func (o oneFile) Open(name string) (fs.File, error) {
	if name != o.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return openFile{bytes.NewReader(o.data), o}, nil
}

// openFile has the random access that a zip needs.
type openFile struct {
	*bytes.Reader
	of oneFile
}

func (f openFile) Stat() (fs.FileInfo, error) { return f.of, nil }
func (f openFile) Close() error               { return nil }

func (o oneFile) Name() string       { return o.name }
func (o oneFile) Size() int64        { return int64(len(o.data)) }
func (o oneFile) Mode() fs.FileMode  { return 0o444 }
func (o oneFile) ModTime() time.Time { return time.Time{} }
func (o oneFile) IsDir() bool        { return false }
func (o oneFile) Sys() any           { return nil }
