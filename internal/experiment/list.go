package experiment

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"runtime/debug"

	"github.com/twtrace/twtrace/internal/table"
)

// List is batch.json: what a dataset was made of.
type List struct {
	Program       string  `json:"program"` // twtrace
	SchemaVersion int     `json:"schema_version"`
	Experiments   []Entry `json:"experiments"` // in order of name; null while the work is not done
}

// Entry is an experiment of a List.
type Entry struct {
	Experiment      string          `json:"experiment"`
	Inputs          []EntryInput    `json:"inputs"`
	Options         json.RawMessage `json:"options"`
	ProgramVersion  string          `json:"program_version"`
	AnalysisVersion int64           `json:"analysis_version"`
	ExitCode        int64           `json:"exit_code"`
	Problem         string          `json:"problem,omitempty"`
}

// EntryInput is a file of an Entry.
type EntryInput struct {
	File   string `json:"file"`
	Kind   string `json:"kind"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// NewEntry makes the entry of one of the dataset's experiments.
func NewEntry(d *table.Dataset, e *table.Experiment) Entry {
	entry := Entry{Experiment: e.Experiment, Inputs: []EntryInput{}, Options: json.RawMessage(e.Options),
		ProgramVersion: e.ProgramVersion, AnalysisVersion: e.AnalysisVersion, ExitCode: e.ExitCode, Problem: e.Problem}
	for k := range d.Inputs {
		in := &d.Inputs[k]
		if in.Experiment == e.Experiment {
			entry.Inputs = append(entry.Inputs, EntryInput{in.File, in.Kind, in.SHA256, in.Bytes})
		}
	}
	return entry
}

// WriteList writes a List one entry at a time, so that not all need be held;
// nil is the list of work that is not done.
func WriteList(w io.Writer, entries iter.Seq[Entry]) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "{\n  \"program\": \"twtrace\",\n  \"schema_version\": %d,\n  \"experiments\": ", table.SchemaVersion)
	if entries == nil {
		b.WriteString("null\n}\n")
		return b.Flush()
	}
	b.WriteByte('[')
	n := 0
	for e := range entries {
		text, err := json.MarshalIndent(e, "    ", "  ")
		if err != nil {
			return fmt.Errorf("%s: %w", e.Experiment, err)
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		b.WriteString("\n    ")
		b.Write(text)
	}
	if n > 0 {
		b.WriteString("\n  ")
	}
	b.WriteString("]\n}\n")
	return b.Flush()
}

// ProgramVersion is the module version, or the commit that the binary was built
// of.
func ProgramVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
