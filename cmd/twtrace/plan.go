package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

func (a *app) planCommand() *cobra.Command {
	var sel selection
	c := &cobra.Command{
		Use:     "plan ROOT [-o DIR]",
		Short:   "Tell what batch would do with the same flags, how long and with how much memory",
		GroupID: "main",
		Long: "Each experiment under ROOT is new, changed (and why), unchanged, or early (it started before --since); one of DIR that\n" +
			"is no longer under ROOT is removed. Without -o DIR all are new. Inputs are hashed as batch does; nothing is written.\n\n" +
			"seconds is what an analysis takes here, from a sample of the experiments that are analysed for a few seconds at\n" +
			"most; they differ from run to run. memory_bytes is about what it takes at most, from sizes and kinds: media takes a\n" +
			"twentieth of it. content_bytes are decompressed, by the ratio of each file's beginning.",
		Example: "  twtrace plan experiments/\n  twtrace plan experiments/ -o out --only 'calls-*' -f json",
		Args:    oneRoot,
		RunE:    func(_ *cobra.Command, args []string) error { return a.planBatch(args, &sel) },
	}
	a.inputFlags(c)
	sel.flags(c)
	f := c.Flags()
	f.StringVarP(&a.output, "output", "o", "", "the dataset that batch would bring up to date")
	f.StringVarP(&a.format, "format", "f", "", "table, csv, json or ndjson (default: table on a terminal, csv in a pipe)")
	return c
}

// planned is what is told of one experiment.
type planned struct {
	name, action, why string
	probe             experiment.Probe
	seconds           float64 // 0 is unknown
}

func (p *planned) work() bool { return p.action == actionNew || p.action == actionChanged }

func (a *app) planBatch(args []string, sel *selection) error {
	format, err := a.gridFormat()
	if err != nil {
		return err
	}
	all, opt, key, err := sel.find(a, args)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(a.output); err == nil && len(entries) > 0 && !isOurs(a.output) {
		return usagef("%s: is not empty and was not made by twtrace", a.output)
	}
	st := &store{output: &output{dir: a.output}, shard: sel.shard, key: key}
	exps, err := sel.take(all, st.id)
	if err != nil {
		return err
	}
	b := batchRun{store: st, exps: exps, opt: opt, since: sel.since}
	list := make([]planned, len(exps))
	err = a.sideBySide(exps, func(ctx context.Context, i int, _ *part) (*experiment.Result, error) {
		p := &list[i]
		p.name, p.probe, p.action = exps[i].Name, exps[i].Probe(), actionNew
		if a.output == "" && b.since == 0 {
			return nil, nil
		}
		var err error
		p.action, p.why, _, err = b.decide(ctx, exps[i])
		return nil, err
	})
	if err != nil {
		return err
	}
	sampled, err := a.sample(exps, list, opt)
	if err != nil {
		return err
	}
	if a.output != "" && sel.whole() {
		gone, err := st.vanished(exps)
		if err != nil {
			return err
		}
		for _, r := range gone {
			list = append(list, planned{name: r.Experiment, action: actionRemoved, why: "no longer under " + args[0]})
		}
	}
	g := grid{columns: []string{"experiment", "action", "why", "files", "bytes", "content_bytes", "seconds", "memory_bytes"}}
	for _, p := range list {
		row := []any{p.name, p.action, text(p.why), int64(p.probe.Files), p.probe.Bytes, p.probe.Content, nil, nil}
		if p.action == actionRemoved {
			row[3], row[4], row[5] = nil, nil, nil
		}
		if p.work() {
			row[7] = p.probe.Memory
			if p.seconds > 0 {
				row[6] = p.seconds
			}
		}
		g.rows = append(g.rows, row)
	}
	if err := a.writeTo("", func(w io.Writer) error { return g.write(w, format) }); err != nil {
		return err
	}
	if !a.quiet {
		a.say(levelInfo, "%s", a.planText(list, sampled))
	}
	return nil
}

// planText sums a plan up.
func (a *app) planText(list []planned, sampled int) string {
	count := map[string]int{}
	seconds, memory := 0.0, int64(0)
	for i := range list {
		p := &list[i]
		count[p.action]++
		if p.work() {
			seconds += p.seconds
			memory = max(memory, p.probe.Memory)
		}
	}
	var parts []string
	for _, what := range []string{actionNew, actionChanged, actionUnchanged, actionEarly, actionRemoved} {
		if count[what] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[what], what))
		}
	}
	s := plural(int64(len(list)-count[actionRemoved]), "experiment") + ": " + strings.Join(parts, ", ")
	if sampled > 0 {
		s += fmt.Sprintf("; about %s with --jobs %d and then the report (%d of them were tried here)", roughly(seconds/float64(a.workers())), a.workers(), sampled)
	}
	if memory > 0 {
		s += fmt.Sprintf("; the largest may take %s", megabytes(memory))
	}
	return s
}

func roughly(seconds float64) string {
	switch d := time.Duration(seconds * float64(time.Second)); {
	case d < time.Second:
		return "1 s"
	case d < 3*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 3*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	default:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

const (
	sampleRuns    = 8
	sampleSeconds = 3.0      // no further run is begun after these
	sampleContent = 64 << 20 // bytes of the largest run that is sampled
)

// sample analyses some of the experiments that are to be done, small and large
// ones, and tells by them how long each takes: a part that each takes, and one
// in proportion to its content. Nothing of it is kept.
func (a *app) sample(exps []experiment.Experiment, list []planned, opt experiment.Options) (int, error) {
	var todo []int
	for i := range list {
		if list[i].work() && list[i].probe.Content <= sampleContent {
			todo = append(todo, i)
		}
	}
	slices.SortStableFunc(todo, func(x, y int) int { return cmp.Compare(list[x].probe.Content, list[y].probe.Content) })
	if n := len(todo); n > sampleRuns {
		for k := range sampleRuns {
			todo[k] = todo[k*(n-1)/(sampleRuns-1)]
		}
		todo = todo[:sampleRuns]
	}
	var xs, ys []float64
	began, tried := time.Now(), 0
	for k, i := range todo {
		if time.Since(began).Seconds() > sampleSeconds {
			break
		}
		if k == 1 {
			xs, ys = nil, nil // the first one paid for what is done once
		}
		at := time.Now()
		res, err := analyzeOne(a.ctx, exps[i], opt, nil, false)
		if err == nil {
			_, err = table.WriteDir(func(string) (io.WriteCloser, error) { return nopWriter{}, nil }, res.Data, false, 1)
		}
		if err != nil {
			return 0, err
		}
		tried++
		xs, ys = append(xs, float64(list[i].probe.Content)), append(ys, time.Since(at).Seconds())
	}
	if tried == 0 {
		return 0, nil
	}
	each, perByte := fitLine(xs, ys)
	for i := range list {
		if list[i].work() {
			list[i].seconds = each + perByte*float64(list[i].probe.Content)
		}
	}
	return tried, nil
}

type nopWriter struct{}

func (nopWriter) Write(p []byte) (int, error) { return len(p), nil }
func (nopWriter) Close() error                { return nil }

// fitLine fits y = a + b x by least squares, with neither below 0.
func fitLine(xs, ys []float64) (a, b float64) {
	var mx, my, sxx, sxy, x2, xy float64
	n := float64(len(xs))
	for i := range xs {
		mx += xs[i] / n
		my += ys[i] / n
	}
	for i := range xs {
		sxx += (xs[i] - mx) * (xs[i] - mx)
		sxy += (xs[i] - mx) * (ys[i] - my)
		x2 += xs[i] * xs[i]
		xy += xs[i] * ys[i]
	}
	if sxx > 0 && sxy > 0 {
		b = sxy / sxx
	}
	a = my - b*mx
	if a < 0 && x2 > 0 {
		return 0, xy / x2
	}
	return a, b
}
