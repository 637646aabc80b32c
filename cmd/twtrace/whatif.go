package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// whatIf are the flags of what-if.
type whatIf struct {
	rates  []string
	queues []int
	policy string
	burst  float64
	advice bool
	items  int64
	floor  string
}

const maxQueues = 100_000

func (a *app) whatIfCommand() *cobra.Command {
	var q whatIf
	c := &cobra.Command{
		Use:     "what-if INPUT...",
		Short:   "Replay an observed queue through another limit, or several numbers",
		GroupID: "main",
		Long: "The instants at which calls or messages were queued are sent through --queues numbers of --rate segments a second\n" +
			"each (calls: one segment): the backlog, the waits and the time until all are gone, beside what was observed. An item\n" +
			"leaves when it is there and its number has a token; the pipeline's own delay is not part of it. INPUT may be a dataset.\n\n" +
			"The advice says over how many numbers N items must be spread so that each number lets its own go at --floor or faster:\n" +
			"by bucket, from the burst and the sustained rate of each run, or by runs, from the largest run that kept the floor.\n" +
			"safe_numbers is the same from the lower ends of their intervals. Text has it below the replay, --advice prints it alone.",
		Example: "  twtrace what-if experiment/ --rate 5/s --queues 4\n" +
			"  twtrace what-if out --rate 1/s --queues 1,2,4,8 --policy shortest -f csv\n" +
			"  twtrace what-if experiments/ --advice --items 3000",
		Args: someInput,
		RunE: func(_ *cobra.Command, args []string) error { return a.whatIf(args, &q) },
	}
	a.inputFlags(c)
	a.gridFlags(c)
	f := c.Flags()
	f.StringSliceVar(&q.rates, "rate", nil, "segments a second of each number; several parted by commas (default: the promise)")
	f.IntSliceVar(&q.queues, "queues", []int{1, 2, 4}, "numbers; several parted by commas")
	f.StringVar(&q.policy, "policy", "round-robin", "round-robin: each item to the next number; shortest: to the one that is soonest free")
	f.Float64Var(&q.burst, "burst", 1, "segments that each number lets go at once")
	f.BoolVar(&q.advice, "advice", false, "print the advice alone")
	f.Int64Var(&q.items, "items", 0, "N of the advice (default: the items of each run)")
	f.StringVar(&q.floor, "floor", "", "rate that each number must keep (default: 95 % of the promise)")
	return c
}

func (a *app) whatIf(args []string, q *whatIf) error {
	format, err := a.gridFormat()
	if err != nil {
		return err
	}
	opt, err := a.options()
	if err != nil {
		return err
	}
	var rates []float64
	for _, r := range q.rates {
		v, err := rateFlag("--rate", r)
		if err != nil {
			return err
		}
		rates = append(rates, v)
	}
	floor := 0.0
	if q.floor != "" {
		if floor, err = rateFlag("--floor", q.floor); err != nil {
			return err
		}
	}
	for _, n := range q.queues {
		if n < 1 || n > maxQueues {
			return usagef("--queues: want 1 to %d, found %d", maxQueues, n)
		}
	}
	if !oneOf(q.policy, "round-robin", "shortest") {
		return usagef("--policy: want round-robin or shortest, found %q", q.policy)
	}
	if !(q.burst >= 1 && q.burst <= 1e9) {
		return usagef("--burst: want 1 or more, found %v", q.burst)
	}
	if q.items < 0 || q.items > 1e12 {
		return usagef("--items: want 0 or more, found %d", q.items)
	}
	var d *table.Dataset
	is := false
	if len(args) == 1 {
		d, is, err = readDataset(args[0])
	}
	if !is {
		d, err = a.dataset(args)
	}
	if err != nil || a.code == exitNothing {
		return err
	}

	replay := grid{columns: []string{"experiment", "kind", "queue", "case", "queues", "rate_per_s", "items", "segments", "offered_per_s",
		"backlog_max", "wait_p50_s", "wait_p95_s", "wait_max_s", "empty_s", "drain_s", "error_s"}}
	var silent []string
	eachRun(d, func(e *table.Experiment, rows *table.Dataset) {
		o := runOptions(opt, e)
		curves := o.Rates.Curves(rows.Arrivals, rows.CallResources, &rows.Messages)
		for i := range curves {
			c := &curves[i]
			if len(c.Queued) == 0 {
				silent = append(silent, fmt.Sprintf("%s: %s: no queue times, so nothing to replay", e.Experiment, strings.TrimSpace(c.Kind+" "+c.Queue)))
				continue
			}
			name := []any{e.Experiment, c.Kind, text(c.Queue)}
			promise := 1.0
			for k := range rows.Rates {
				r := &rows.Rates[k]
				if r.Kind != c.Kind || r.Queue != c.Queue || r.QueueBy != c.QueueBy {
					continue
				}
				promise = r.GuaranteePerS
				rate := r.SustainedPerS
				if !rate.Known {
					rate = r.ObservedSegmentsPerS
				}
				replay.rows = append(replay.rows, append(name[:3:3], "observed", int64(1), optF(rate), r.Items, opt64(r.Segments), optF(r.QueuePerS),
					opt64(r.BacklogMax), optF(r.WaitP50S), optF(r.WaitP95S), nil, nil, nil, nil))
			}
			each := rates
			if len(each) == 0 {
				each = []float64{promise}
			}
			for _, rate := range each {
				for _, n := range q.queues {
					r, ok := c.Replay(o.Rates.NewLimit(rate, n, q.burst, q.policy == "shortest"))
					if !ok {
						continue
					}
					replay.rows = append(replay.rows, append(name[:3:3], q.policy, int64(n), rate, r.Items, r.Segments, optF(r.OfferedPerS),
						r.BacklogMax, r.WaitP50S, r.WaitP95S, r.WaitMaxS, r.EmptyS, r.DrainS, r.ErrorS))
				}
			}
		}
	})
	advice := grid{columns: []string{"experiment", "kind", "queue", "by", "items", "floor_per_s", "most_a_number", "numbers", "safe_numbers", "assumption"}}
	for _, v := range opt.Rates.Advise(d.Rates, q.items, floor) {
		most, numbers, safe := opt64(v.PerNumber), opt64(v.Numbers), opt64(v.SafeNumbers)
		advice.rows = append(advice.rows, []any{text(v.Experiment), v.Kind, text(v.Queue), v.Basis, v.Items, v.FloorPerS, most, numbers, safe, v.Assumption})
	}
	err = a.writeTo(a.output, func(w io.Writer) error {
		if q.advice && format != table.FormatTable {
			return advice.write(w, format)
		}
		if !q.advice {
			if err := replay.write(w, format); err != nil || format != table.FormatTable {
				return err
			}
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		return adviceText(w, &advice)
	})
	for _, s := range silent {
		if !a.quiet {
			a.say(levelInfo, "%s", s)
		}
	}
	return err
}

// rateFlag is the value of a flag: a rate by which a wait stays a number.
func rateFlag(flag, s string) (float64, error) {
	const least, most = 1e-6, 1e9
	v, err := experiment.ParseRate(s)
	if err == nil && (v < least || v > most) {
		err = fmt.Errorf("want %g/s to %g/s, found %q", least, most, s)
	}
	if err != nil {
		return 0, usagef("%s: %v", flag, err)
	}
	return v, nil
}

// adviceText is the advice in sentences, the assumption of each kind once.
func adviceText(w io.Writer, g *grid) error {
	lines := []line{}
	var notes []string
	for _, r := range g.rows {
		name, _ := r[0].(string)
		by := name
		if r[3] == "runs" {
			by = "all runs"
		}
		what := fmt.Sprintf("%v %v, %v/s each", r[4], r[1], figure(r[5].(float64)))
		said := "no number of numbers: one alone is slower, and no burst makes up for it"
		if n, ok := r[7].(int64); ok {
			said = plural(n, "number")
			if most, ok := r[6].(int64); ok {
				said += fmt.Sprintf(", at most %d on each", most)
			}
		}
		if r[3] == "bucket" {
			if n, ok := r[8].(int64); ok {
				said += "; to be safe " + plural(n, "number")
			} else {
				said += "; not safe with any: the lower end of the sustained rate is below"
			}
		}
		lines = append(lines, line{cells: []string{by, what, said}})
		note := fmt.Sprintf("assumed (%v): %v", r[3], r[9])
		known := false
		for _, n := range notes {
			known = known || n == note
		}
		if !known {
			notes = append(notes, note)
		}
	}
	if len(lines) == 0 {
		notes = append(notes, "no advice: no run has a sustained rate, and there are no runs of several sizes with a verdict")
	}
	return writeLines(w, lines, notes)
}

func plural(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.FormatInt(n, 10) + " " + what
}
