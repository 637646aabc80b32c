package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// tableCommands are one verb for each table of the contract.
func (a *app) tableCommands() []*cobra.Command {
	var list []*cobra.Command
	for _, s := range table.Schemas() {
		c := &cobra.Command{
			Use:     strings.ReplaceAll(s.Name, "_", "-") + " INPUT...",
			Aliases: aliases(s.Name),
			Short:   "Print table " + s.Name + ": " + s.Doc,
			GroupID: "table",
			Args:    someInput,
			RunE: func(_ *cobra.Command, args []string) error {
				if a.follow {
					return a.followTable(s.Name, args)
				}
				return a.printTable(s.Name, args, nil, a.narrowing(s.Name))
			},
			Example: fmt.Sprintf("  twtrace %s experiments/\n  twtrace %s capture.pcapng -f ndjson", strings.ReplaceAll(s.Name, "_", "-"), strings.ReplaceAll(s.Name, "_", "-")),
		}
		a.inputFlags(c)
		a.viewFlags(c)
		if s.Name == "rates" {
			c.Flags().BoolVar(&a.combine, "combine", false, "one row of all runs that measured the same instead of a row of each; of three or more with their sustained rate")
			c.Example += "\n  twtrace rates --combine experiments/"
		}
		if slices.Contains(followed, s.Name) {
			c.Flags().BoolVar(&a.follow, "follow", false, "of a capture on standard input or a pipe: print the rows of each call when it has ended, as csv or ndjson")
			c.Example += "\n  tcpdump -U -w - | twtrace " + s.Name + " --follow -"
		}
		list = append(list, c)
	}
	return list
}

// narrowing is what a table's own flags make of its rows.
func (a *app) narrowing(name string) func(*table.Dataset) {
	if name != "rates" {
		return nil
	}
	return func(d *table.Dataset) {
		if opt, err := a.options(); a.combine && err == nil {
			d.CombineRates(opt.Rates)
		}
	}
}

func aliases(name string) []string {
	if strings.Contains(name, "_") {
		return []string{name}
	}
	return nil
}

// viewFlags choose what of a table is printed and how.
func (a *app) viewFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&a.format, "format", "f", "", "table, csv, json, ndjson, arrow or parquet (default: table on a terminal, csv in a pipe)")
	a.fileFlags(c, "file to write instead of standard output")
	f.StringVar(&a.columns, "columns", "", "columns to print, parted by commas")
	f.StringArrayVar(&a.where, "where", nil, "'COL OP VALUE' with = != < <= > >= ~, or 'COL is null'; repeatable, all must hold")
	f.StringVar(&a.sort, "sort", "", "columns to sort by, parted by commas; - before a name reverses")
	f.IntVar(&a.limit, "limit", 0, "most rows to print")
	a.summaryFlag(c, "print one line of key=value instead of rows: how many rows there are, and the numbers of the INPUTs as analyze --summary has them")
	a.pagerFlag(c)
}

func (a *app) view() (table.View, error) {
	v := table.View{Limit: a.limit}
	if a.limit < 0 {
		return v, usagef("--limit: want 0 or more, found %d", a.limit)
	}
	v.Columns, v.Sort = list(a.columns), list(a.sort)
	for _, w := range a.where {
		c, err := table.ParseCond(w)
		if err != nil {
			return v, usagef("--where: %v", err)
		}
		v.Where = append(v.Where, c)
	}
	var err error
	if v.Zone, err = a.displayZone(); err != nil {
		return v, err
	}
	if width, ok := isTerminal(a.stdout); ok && a.output == "" {
		v.Width = width
		v.Color = colored()
	}
	return v, nil
}

func list(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// printTable prints one table of all experiments among the INPUTs: these
// columns unless others are asked for, and what narrow leaves of the rows; both
// may be nil.
func (a *app) printTable(name string, args, columns []string, narrow func(*table.Dataset)) error {
	f, err := a.tableFormat()
	if err != nil {
		return err
	}
	v, err := a.view()
	if err != nil {
		return err
	}
	if len(v.Columns) == 0 {
		v.Columns = columns
	}
	v.Stream = a.output == "" || a.output == "-" // what is read as it comes has no end to begin at
	// what is asked for is checked before the work, on no rows
	if err := table.Write(io.Discard, &table.Dataset{}, name, table.FormatCSV, v); err != nil {
		return usageError{err}
	}
	keep := []string{name, "experiments", "calls", "flows"} // noteMissingKeys looks at these
	if a.summary {
		keep = nil // it is of all tables
	}
	d, err := a.dataset(args, keep...)
	if err != nil {
		return err
	}
	if narrow != nil {
		narrow(d)
	}
	a.noteMissingKeys(name, d)
	return a.writeTo(a.output, func(w io.Writer) error {
		if !a.summary {
			return table.Write(w, d, name, f, v)
		}
		var n countLines
		if err := table.Write(&n, d, name, table.FormatNDJSON, v); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "rows=%d ", n); err != nil {
			return err
		}
		return writeSummary(w, d)
	})
}

// noteMissingKeys says that keys would show more: where a table of calls is
// empty, or has only what is inferred, and sessions had none.
func (a *app) noteMissingKeys(name string, d *table.Dataset) {
	if a.quiet || !oneOf(name, "arrivals", "calls", "legs", "signals") {
		return
	}
	for i := range d.Calls {
		if !strings.HasPrefix(d.Calls[i].CallID, "inferred-") {
			return
		}
	}
	sessions := int64(0)
	for i := range d.Flows {
		if d.Flows[i].Encryption == "no-key" {
			sessions++
		}
	}
	if sessions > 0 {
		a.say(levelInfo, "%s could not be read without keys; `twtrace keys` tells which, --keys FILE names a key log", plural(sessions, "encrypted session"))
	}
}

// countLines counts the lines that are written to it.
type countLines int64

func (n *countLines) Write(b []byte) (int, error) {
	*n += countLines(bytes.Count(b, []byte("\n")))
	return len(b), nil
}

// dataset analyses all experiments among the INPUTs into one Dataset, of all
// tables or of those named.
func (a *app) dataset(args []string, tables ...string) (*table.Dataset, error) {
	exps, opt, err := a.experiments(args, false)
	if err != nil {
		return nil, err
	}
	opt.Tables = tables
	results := make([]*table.Dataset, len(exps))
	err = a.analyzeAll(exps, opt, func(i int, r *experiment.Result) error {
		results[i] = r.Data
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(results) == 1 {
		return results[0], nil
	}
	all := &table.Dataset{}
	for i, d := range results {
		all.Append(d)
		results[i] = nil
	}
	all.Sort()
	return all, nil
}

// experiments finds what the INPUTs hold.
func (a *app) experiments(args []string, together bool) ([]experiment.Experiment, experiment.Options, error) {
	opt, err := a.options()
	if err != nil {
		return nil, opt, err
	}
	inputs, err := a.inputs(args)
	if err != nil {
		return nil, opt, err
	}
	exps, err := experiment.Find(inputs, together)
	if err == nil && a.name != "" && len(exps) > 1 {
		err = usagef("--name is for one experiment, here are %d (%s, ...)", len(exps), exps[0].Name)
	}
	return exps, opt, err
}

// oneExperiment is all INPUTs together, for verbs about one call.
func (a *app) oneExperiment(args []string) (e experiment.Experiment, opt experiment.Options, err error) {
	exps, opt, err := a.experiments(args, true)
	var many *experiment.ManyError
	if errors.As(err, &many) {
		return e, opt, usagef("%w; name one of them, such as %s", err, shellQuote(path.Join(filepath.ToSlash(many.Label), many.Names[0])))
	}
	if err != nil {
		return e, opt, err
	}
	if len(exps) != 1 {
		return e, opt, usagef("want one experiment, found %d; name one of them", len(exps))
	}
	return exps[0], opt, nil
}

// callFlag names the call that such a verb is about.
func callFlag(c *cobra.Command, call *string) {
	c.Flags().StringVar(call, "call", "", "call_id, CallSid or SIP Call-ID of the call")
}

// writeTo writes to a file, whole or not at all, or to standard output.
func (a *app) writeTo(name string, write func(io.Writer) error) error {
	if name == "" || name == "-" {
		out, done := io.Writer(a.stdout), func() error { return nil }
		if !oneOf(a.format, "arrow", "parquet") {
			out, done = a.terminalOutput()
		}
		w := bufio.NewWriterSize(out, 64<<10)
		err := write(w)
		if err == nil {
			err = w.Flush()
		}
		if derr := done(); err == nil {
			err = derr
		}
		return err
	}
	if info, err := os.Stat(name); err == nil && !a.force {
		if info.IsDir() {
			return usagef("%s: is a folder; want the name of a file", name)
		}
		return usagef("%s: exists; --force overwrites it", name)
	}
	return writeFile(name, write)
}

// writeFile writes aside and renames, so that a file is whole or absent.
func writeFile(name string, write func(io.Writer) error) (err error) {
	dir, base := splitPath(name)
	f, err := os.CreateTemp(dir, "."+base+".*")
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = fmt.Errorf("%s: cannot be written into folder %s: %w", name, filepath.Clean(dir), pe.Err)
		}
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 256<<10)
	if err = write(w); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func randomKey() ([]byte, error) {
	key := make([]byte, 32)
	_, err := rand.Read(key)
	return key, err
}
