package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// exitCompared is the exit code of a comparison that found what --fail-on names.
const exitCompared = 4

func (a *app) compareCommand() *cobra.Command {
	var failOn []string
	c := &cobra.Command{
		Use:     "compare OLD NEW",
		Short:   "Compare two sets of experiments: rates, waits, setup times, loss, MOS",
		GroupID: "main",
		Long: "OLD and NEW are datasets (folders that analyze or batch wrote) or INPUTs, which are analysed first. Experiments are\n" +
			"grouped by kind, x and expected rate. Each row has the medians of both sides, the change of the median, the\n" +
			"Hodges-Lehmann shift with its 95 % interval, Cliff's delta, and the p of a Mann-Whitney U test after Holm's correction\n" +
			"over all rows that were tested; ~ is no difference that could be shown (p > 5 %). Rates and waits have one sample a\n" +
			"run, setup times one a call, loss and MOS one a stream: calls and streams of one run are taken as independent.\n" +
			"A dataset keeps the options it was made with; options here are for INPUTs.\n\n" +
			"--fail-on below: exit code 4 when the verdict of a NEW group, realised or sustained, is below.\n" +
			"--fail-on worse: exit code 4 when a row is worse.",
		Example: "  twtrace compare out-may out-june\n" +
			"  twtrace compare out-may experiments/ --fail-on below --fail-on worse\n" +
			"  twtrace compare old.pcapng new.pcapng -f csv",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("want OLD and NEW, two datasets or INPUTs, found %s%s", plural(int64(len(args)), "argument"), quoted(args))
			}
			if args[0] == "-" && args[1] == "-" {
				return usagef("want - once: standard input can be read once only")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			for _, f := range failOn {
				if !oneOf(f, "below", "worse") {
					return usagef("--fail-on: want below or worse, found %q", f)
				}
			}
			return a.compare(args[0], args[1], failOn)
		},
	}
	a.inputFlags(c)
	a.gridFlags(c)
	c.Flags().StringSliceVar(&failOn, "fail-on", nil, "exit with code 4 on below or worse; repeatable")
	return c
}

func (a *app) compare(oldArg, newArg string, failOn []string) error {
	format, err := a.gridFormat()
	if err != nil {
		return err
	}
	opt, err := a.options()
	if err != nil {
		return err
	}
	if a.name != "" {
		return usagef("--name is for one experiment, here are two sets")
	}
	old, err := a.readSet(oldArg)
	if err != nil || a.code == exitNothing {
		return err
	}
	code := a.code
	a.code = exitOK
	new, err := a.readSet(newArg)
	if err != nil || a.code == exitNothing {
		return err
	}
	a.code = max(a.code, code)
	c := opt.Rates.NewComparison()
	eachRun(old, func(e *table.Experiment, d *table.Dataset) {
		c.Old(d.Rates, d.Calls, d.Streams.Slice(), runOptions(opt, e).Rates.TolerancePct)
	})
	eachRun(new, func(e *table.Experiment, d *table.Dataset) {
		c.New(d.Rates, d.Calls, d.Streams.Slice(), runOptions(opt, e).Rates.TolerancePct)
	})
	g := grid{columns: []string{"kind", "x", "expected_per_s", "metric", "unit", "sample", "old", "new", "change_pct", "shift", "shift_low", "shift_high", "delta",
		"p", "p_holm", "old_n", "new_n", "result", "old_verdict", "new_verdict", "note"}}
	var found []string
	lines := []line{{cells: []string{"", "OLD", "NEW", "vs OLD", "shift", "95 % interval", "delta", ""}}}
	var notes []string
	group := ""
	for _, r := range c.Changes() {
		g.rows = append(g.rows, []any{r.Kind, opt64(r.X), optF(r.ExpectedPerS), r.Metric, text(r.Unit), r.Sample, optF(r.Old), optF(r.New), optF(r.ChangePct),
			optF(r.Shift), optF(r.ShiftLow), optF(r.ShiftHigh), optF(r.Delta), optF(r.P), optF(r.PHolm), int64(r.OldN), int64(r.NewN),
			text(r.Result), text(r.OldVerdict), text(r.NewVerdict), text(r.Note)})
		head := r.Kind
		switch {
		case r.X.Known && r.Kind == "messages":
			head += fmt.Sprintf(", %d bytes", r.X.V)
		case r.X.Known:
			head += fmt.Sprintf(", %d between", r.X.V)
		}
		if r.ExpectedPerS.Known {
			head += ", " + figure(r.ExpectedPerS.V) + "/s expected"
		}
		if head != group {
			group = head
			lines = append(lines, line{head: head})
		}
		p := "n=" + strconv.Itoa(r.OldN) + "+" + strconv.Itoa(r.NewN)
		if r.PHolm.Known {
			p = "p=" + strconv.FormatFloat(r.PHolm.V, 'f', 3, 64) + " " + p
		} else if r.P.Known {
			p = "p=" + strconv.FormatFloat(r.P.V, 'f', 3, 64) + " " + p
		}
		change := r.Result
		switch {
		case r.Result != "~" && r.ChangePct.Known:
			change = fmt.Sprintf("%+.2f %%", r.ChangePct.V)
		case r.Result != "~" && r.Shift.Known:
			change = "from 0"
		}
		change = strings.TrimSpace(change + " (" + p + ")")
		if r.Note != "" {
			at := slices.Index(notes, r.Note)
			if at < 0 {
				at = len(notes)
				notes = append(notes, r.Note)
			}
			change += " " + footnote(at+1)
		}
		last := ""
		if r.Result == "better" || r.Result == "worse" {
			last = r.Result
		}
		if v := verdictChange(r.OldVerdict, r.NewVerdict); v != "" {
			last = strings.TrimLeft(last+"; "+v, "; ")
		}
		between := ""
		if r.ShiftLow.Known && r.ShiftHigh.Known {
			between = "[" + figure(r.ShiftLow.V) + ", " + figure(r.ShiftHigh.V) + "]"
		}
		name := r.Metric
		lines = append(lines, line{cells: []string{"  " + name, optFigure(r.Old), optFigure(r.New), change, optFigure(r.Shift), between, optFigure(r.Delta), last}})
		if r.NewVerdict == "below" && slices.Contains(failOn, "below") {
			found = append(found, fmt.Sprintf("%s: %s of NEW is below, was %s", head, verdictName(r.Metric), was(r.OldVerdict)))
		}
		if r.Result == "worse" && slices.Contains(failOn, "worse") {
			found = append(found, fmt.Sprintf("%s: %s is worse, %s after %s", head, r.Metric, optFigure(r.New), optFigure(r.Old)))
		}
	}
	for i, n := range notes {
		notes[i] = footnote(i+1) + " " + n
	}
	err = a.writeTo(a.output, func(w io.Writer) error {
		if format == table.FormatTable {
			return writeLines(w, lines, notes)
		}
		return g.write(w, format)
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		a.say(levelWarn, "%s", f)
	}
	if len(found) > 0 && a.code != exitInternal {
		a.code = exitCompared
	}
	return nil
}

func verdictName(metric string) string {
	if metric == "sustained_per_s" {
		return "sustained_verdict"
	}
	return "verdict"
}

func was(verdict string) string {
	if verdict == "" {
		return "not there"
	}
	return verdict
}

func verdictChange(old, new string) string {
	switch {
	case old == "" && new == "":
		return ""
	case old == new || old == "":
		return new
	case new == "":
		return "was " + old
	}
	return old + " -> " + new
}

// footnote is a small number, as benchstat has them.
func footnote(n int) string {
	const small = "⁰¹²³⁴⁵⁶⁷⁸⁹"
	digits := []rune(small)
	var b strings.Builder
	for _, d := range strconv.Itoa(n) {
		b.WriteRune(digits[d-'0'])
	}
	return b.String()
}

// readSet reads a dataset, or analyses an INPUT. A folder is a dataset when
// twtrace made it, or when it holds readable tables.
func (a *app) readSet(arg string) (*table.Dataset, error) {
	if d, is, err := readDataset(arg); is {
		return d, err
	}
	return a.dataset([]string{arg})
}

func readDataset(arg string) (d *table.Dataset, is bool, err error) {
	info, err := os.Stat(arg)
	if arg == "-" || err != nil || !info.IsDir() {
		return nil, false, nil
	}
	ours := isOurs(arg)
	if info, err := os.Stat(filepath.Join(arg, "tables")); !ours && (err != nil || !info.IsDir()) {
		return nil, false, nil
	}
	d, err = table.ReadDir(os.DirFS(arg))
	if err != nil && ours {
		return nil, true, fmt.Errorf("%s: %w", arg, err)
	}
	return d, err == nil, nil
}

// eachRun hands out a dataset by experiments: of each the rows of the tables
// that rates are made of, and calls and streams. Rows are in order of
// experiment in every table.
func eachRun(d *table.Dataset, f func(e *table.Experiment, rows *table.Dataset)) {
	for i := range d.Experiments {
		e := &d.Experiments[i]
		f(e, &table.Dataset{
			Rates:         rowsOf(d.Rates, e.Experiment, func(i int) string { return d.Rates[i].Experiment }),
			Calls:         rowsOf(d.Calls, e.Experiment, func(i int) string { return d.Calls[i].Experiment }),
			Streams:       d.Streams.Part(runOf(d.Streams.Len(), e.Experiment, func(i int) string { return d.Streams.At(i).Experiment })),
			Arrivals:      rowsOf(d.Arrivals, e.Experiment, func(i int) string { return d.Arrivals[i].Experiment }),
			CallResources: rowsOf(d.CallResources, e.Experiment, func(i int) string { return d.CallResources[i].Experiment }),
			Messages:      d.Messages.Part(runOf(d.Messages.Len(), e.Experiment, func(i int) string { return d.Messages.At(i).Experiment })),
		})
	}
}

func rowsOf[T any](rows []T, experiment string, of func(int) string) []T {
	from, to := runOf(len(rows), experiment, of)
	return rows[from:to:to]
}

// runOf is where the rows of one experiment lie.
func runOf(n int, experiment string, of func(int) string) (from, to int) {
	from = sort.Search(n, func(i int) bool { return of(i) >= experiment })
	return from, from + sort.Search(n-from, func(i int) bool { return of(from+i) > experiment })
}

// runOptions are the options that an experiment was analysed with, as its row
// of table experiments has them.
func runOptions(opt experiment.Options, e *table.Experiment) experiment.Options {
	var o struct {
		Guarantee  float64 `json:"guarantee_per_s"`
		Tolerance  float64 `json:"tolerance_pct"`
		Segmenting string  `json:"segmenting"`
		QueueBy    string  `json:"queue_by"`
	}
	if json.Unmarshal([]byte(e.Options), &o) != nil {
		return opt
	}
	r := &opt.Rates
	r.GuaranteePerS, r.TolerancePct, r.Segmenting, r.QueueBy, r.Endpoint = o.Guarantee, o.Tolerance, o.Segmenting, o.QueueBy, e.Endpoint
	switch {
	case e.KindBy != "manifest":
	case e.Kind == "calls":
		r.CallX = e.X
	case e.Kind == "messages":
		r.MessageX = e.X
	}
	return opt
}

// gridFlags choose how a result that is no table of the contract is printed.
func (a *app) gridFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&a.format, "format", "f", "", "table, csv, json or ndjson (default: table on a terminal, csv in a pipe)")
	a.fileFlags(c, "file to write instead of standard output")
}

func (a *app) gridFormat() (table.Format, error) {
	f, err := a.tableFormat()
	if err == nil && !oneOf(string(f), string(table.FormatTable), string(table.FormatCSV), string(table.FormatJSON), string(table.FormatNDJSON)) {
		return f, usagef("--format: want table, csv, json or ndjson, found %q", a.format)
	}
	return f, err
}

// grid is a result that is no table of the contract, written as those are: a
// value is a string, an int64, a float64, a bool, or nil for unknown.
type grid struct {
	columns []string
	rows    [][]any
}

func opt64(v decode.Opt[int64]) any {
	if !v.Known {
		return nil
	}
	return v.V
}

func optF(v decode.Opt[float64]) any {
	if !v.Known {
		return nil
	}
	return v.V
}

// text is s, or unknown when it is empty.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (g *grid) write(w io.Writer, f table.Format) error {
	switch f {
	case table.FormatTable:
		lines := []line{{cells: g.columns}}
		for _, row := range g.rows {
			cells := make([]string, len(row))
			for i, v := range row {
				switch v := v.(type) {
				case nil:
				case float64:
					cells[i] = figure(v)
				default:
					cells[i] = visible(fmt.Sprint(v))
				}
			}
			lines = append(lines, line{cells: cells})
		}
		return writeLines(w, lines, nil)
	case table.FormatCSV:
		return g.csv(w)
	}
	return g.json(w, f)
}

func (g *grid) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write(g.columns); err != nil {
		return err
	}
	for _, row := range g.rows {
		cells := make([]string, len(row))
		for i, v := range row {
			switch v := v.(type) {
			case nil:
			case float64:
				cells[i] = strconv.FormatFloat(v, 'f', -1, 64)
			case string:
				cells[i] = v
				// what a spreadsheet would take for a formula
				if _, err := strconv.ParseFloat(v, 64); err != nil && v != "" && strings.IndexByte("=+-@\t", v[0]) >= 0 {
					cells[i] = "'" + v
				}
			default:
				cells[i] = fmt.Sprint(v)
			}
		}
		if err := c.Write(cells); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func (g *grid) json(w io.Writer, f table.Format) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	put := func(v any) error {
		err := enc.Encode(v)
		b.Truncate(b.Len() - 1) // Encode ends the line
		return err
	}
	if f == table.FormatJSON {
		b.WriteByte('[')
	}
	for i, row := range g.rows {
		if f == table.FormatJSON {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		b.WriteByte('{')
		for k, v := range row {
			if k > 0 {
				b.WriteByte(',')
			}
			if err := put(g.columns[k]); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := put(v); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		if f == table.FormatNDJSON {
			b.WriteByte('\n')
		}
	}
	if f == table.FormatJSON {
		b.WriteString("\n]\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

// line is one of an aligned text: cells, or a head that takes the whole line.
type line struct {
	head  string
	cells []string
}

// writeLines aligns the cells: what looks like a number to the right, the rest
// to the left, and the last one as it is.
func writeLines(w io.Writer, lines []line, notes []string) error {
	var widths []int
	right := map[int]bool{}
	for i, l := range lines {
		for k, c := range l.cells {
			if k == len(widths) {
				widths = append(widths, 0)
				right[k] = true
			}
			widths[k] = max(widths[k], utf8.RuneCountInString(c))
			if i > 0 && c != "" {
				if _, err := strconv.ParseFloat(c, 64); err != nil {
					right[k] = false
				}
			}
		}
	}
	var b strings.Builder
	for _, l := range lines {
		at := b.Len()
		b.WriteString(visible(l.head))
		for k, c := range l.cells {
			if k > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[k]-utf8.RuneCountInString(c))
			if right[k] {
				b.WriteString(pad + c)
			} else {
				b.WriteString(c + pad)
			}
		}
		s := strings.TrimRight(b.String()[at:], " ")
		whole := b.String()[:at]
		b.Reset()
		b.WriteString(whole + s + "\n")
	}
	for _, n := range notes {
		b.WriteString(n + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// figure writes a number for a reader, to four significant digits.
func figure(v float64) string {
	s := strconv.FormatFloat(v, 'g', 4, 64)
	if strings.Contains(s, "e") {
		if f, err := strconv.ParseFloat(s, 64); err == nil && f < 1e9 && f > -1e9 && (f > 1e-6 || f < -1e-6) {
			s = strconv.FormatFloat(f, 'f', -1, 64)
		}
	}
	return s
}

func optFigure(v decode.Opt[float64]) string {
	if !v.Known {
		return ""
	}
	return figure(v.V)
}
