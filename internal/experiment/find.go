package experiment

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode/container"
)

// Input is one INPUT of the command line: a file or folder of a file system,
// or standard input.
type Input struct {
	FS    fs.FS
	Path  string // slash path in FS; "." for a folder that is the root of FS
	Label string // as the user named it, for messages
	Name  string // its base name
	Stdin *container.File
}

// Experiment is the files of one run.
type Experiment struct {
	Name    string // path relative to the root, or the name given
	Files   []*container.File
	Refused []Refusal // archive members and files that were not opened
}

// Refusal is a file that the walk did not take, with its reason.
type Refusal struct {
	Name string
	Err  error
}

// subfolders are never experiments of their own.
var subfolders = []string{"calls", "messages", "keys"}

// Find applies the folder rule. Every INPUT that is a file, and every folder
// that holds one run and nothing below it, is of one and the same experiment
// when any file is among the INPUTs, or when together is set; else each folder
// with a capture, an export or a manifest is an experiment.
func Find(inputs []Input, together bool) ([]Experiment, error) {
	loose := Experiment{}
	var found []Experiment
	anyFile := false
	for _, in := range inputs {
		exps, isFile, err := walk(in)
		if err != nil {
			return nil, err
		}
		if isFile {
			anyFile = true
			loose.add(in, exps[0])
			continue
		}
		found = append(found, exps...)
	}
	if anyFile || together && len(found) > 1 && len(found) == len(inputs) {
		for i := range found {
			loose.add(inputs[min(i, len(inputs)-1)], found[i])
		}
		if loose.Name == "" {
			loose.Name = found[0].Name
		}
		return []Experiment{loose}, nil
	}
	return found, nil
}

// add puts the files of one INPUT to an experiment that several make up; a
// name that another INPUT has already is told apart by the INPUT's own name.
func (e *Experiment) add(in Input, from Experiment) {
	taken := map[string]bool{}
	for _, f := range e.Files {
		taken[f.Name] = true
	}
	for _, f := range from.Files {
		name := f.Name
		if taken[name] {
			name = in.Name + "/" + f.Name
		}
		for n := 2; taken[name]; n++ {
			name = fmt.Sprintf("%s#%d/%s", in.Name, n, f.Name)
		}
		f.Name = name
		taken[name] = true
		e.Files = append(e.Files, f)
	}
	e.Refused = append(e.Refused, from.Refused...)
	if e.Name == "" {
		e.Name = from.Name
	}
}

// walk lists the experiments of one INPUT. A file gives one.
func walk(in Input) (exps []Experiment, isFile bool, err error) {
	if in.Stdin != nil {
		return []Experiment{{Name: "stdin", Files: []*container.File{in.Stdin}}}, true, nil
	}
	info, err := fs.Stat(in.FS, in.Path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, false, fmt.Errorf("%s: %w", in.Label, err)
	}
	byFolder := map[string]*Experiment{}
	var order []string
	at := func(name string) *Experiment {
		dir := path.Dir(name)
		if slices.Contains(subfolders, path.Base(dir)) {
			dir = path.Dir(dir)
		}
		e := byFolder[dir]
		if e == nil {
			e = &Experiment{Name: dir}
			byFolder[dir] = e
			order = append(order, dir)
		}
		return e
	}
	err = container.Walk(in.FS, in.Path, func(f *container.File) error {
		e := at(f.Name)
		e.Files = append(e.Files, f)
		return nil
	}, func(name string, err error) {
		e := at(name)
		e.Refused = append(e.Refused, Refusal{name, err})
	})
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", in.Label, err)
	}
	single := !info.IsDir()
	slices.Sort(order)
	for _, dir := range order {
		e := byFolder[dir]
		if single && dir == "." {
			e.Name = stem(in.Name)
			if len(e.Files) == 1 && e.Files[0].Name == in.Name {
				return []Experiment{*e}, true, nil // a plain file, no archive
			}
		} else if dir == "." {
			e.Name = in.Name
		}
		if e.isExperiment() || len(order) == 1 {
			exps = append(exps, *e)
		} else if len(exps) > 0 {
			// files that make no run of their own stand in the run above them
			for i := len(exps) - 1; i >= 0; i-- {
				if exps[i].Name == "." || exps[i].Name == in.Name || strings.HasPrefix(dir+"/", exps[i].Name+"/") {
					exps[i].Files = append(exps[i].Files, e.Files...)
					exps[i].Refused = append(exps[i].Refused, e.Refused...)
					break
				}
			}
		}
	}
	if len(exps) == 0 && len(order) == 0 {
		exps = []Experiment{{Name: in.Name}}
	}
	return exps, false, nil
}

// isExperiment tells a folder with a capture, an export or a manifest.
func (e *Experiment) isExperiment() bool {
	for _, f := range e.Files {
		c, err := f.Identify()
		if err != nil {
			continue
		}
		switch c.Kind {
		case container.Pcap, container.Pcapng, container.Resources, container.Manifest, container.QueueLog:
			return true
		}
	}
	return false
}

// stem is a file's name without what follows the first dot.
func stem(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}
