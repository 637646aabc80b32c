package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/experiment"
)

// simulation are the flags of simulate, as simulate.json repeats them.
type simulation struct {
	Calls     []int   `json:"calls,omitempty"`
	Messages  int     `json:"messages,omitempty"`
	Bytes     []int   `json:"bytes,omitempty"`
	Rate      float64 `json:"rate_per_s"`
	Burst     int     `json:"burst,omitempty"`
	QueueRate float64 `json:"queue_per_s"`
	JitterMS  float64 `json:"jitter_ms"`
	Skip      float64 `json:"skip,omitempty"`
	Repeat    int     `json:"repeat"`
	Seed      uint64  `json:"seed"`
	Start     string  `json:"start"`

	rate, queueRate, width string
	plan                   bool
	start                  time.Time
}

// simulateName marks a folder that simulate made; its parts may be replaced.
const simulateName = "simulate.json"

type simulateFile struct {
	Program string     `json:"program"`
	Verb    string     `json:"verb"`
	Options simulation `json:"options"`
	Parts   []string   `json:"parts"`
}

const (
	maxSimulated = 100_000 // items of a run
	maxBody      = 1600    // bytes: the provider takes no longer text
	planRuns     = 61
	firstYear    = 1971
	lastYear     = 2200
	studyStart   = "2013-11-21T18:00:00Z"
)

func (a *app) simulateCommand() *cobra.Command {
	var s simulation
	c := &cobra.Command{
		Use:     "simulate -o DIR --calls N | --messages N --bytes B",
		Short:   "Make an experiment of known truth, or plan how large one must be",
		GroupID: "main",
		Long: "Writes an experiment folder as the study's would be: a capture at the observed endpoint and a queue log (calls),\n" +
			"exported resources, a manifest with the label source: simulated, and truth.json. Several sizes or --repeat make a\n" +
			"folder of experiments for batch. The queue is first in, first out behind a token bucket of depth --burst that lets\n" +
			"items go at twice --rate at most; what waits leaves at --rate after the burst. --jitter delays each leaving by up to\n" +
			"so much, --skip is the share of slots that pass unused. The same flags give the same bytes.\n\n" +
			"--plan simulates runs of growing size instead and measures them: how many items until the 95 % interval of the\n" +
			"sustained rate is +-WIDTH on the median. Times are whole seconds, as exported, and the rates lie within 5 % of --rate.",
		Example: "  twtrace simulate -o exp --calls 1000\n" +
			"  twtrace simulate -o series --calls 100,200,400,1000,3000 --rate 0.93/s --burst 38 --repeat 3\n" +
			"  twtrace simulate -o sms --messages 100 --bytes 20,170,400\n" +
			"  twtrace simulate --plan --width 2% --jitter 300 --skip 0.05",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(cmd.Flags().Changed("output")); err != nil {
				return err
			}
			if s.plan {
				return a.plan(&s)
			}
			return a.simulate(&s)
		},
	}
	f := c.Flags()
	f.StringVarP(&a.output, "output", "o", "", "folder to write; with --plan a file instead of standard output")
	f.BoolVar(&a.force, "force", false, "write into a folder that simulate did not make")
	f.IntSliceVar(&s.Calls, "calls", nil, "calls between the two observed ones; several sizes parted by commas")
	f.IntVar(&s.Messages, "messages", 0, "messages")
	f.IntSliceVar(&s.Bytes, "bytes", nil, "bytes of each body; several sizes parted by commas")
	f.StringVar(&s.rate, "rate", "1/s", "calls or segments a second that leave after the burst")
	f.IntVar(&s.Burst, "burst", 0, "depth of the token bucket, in items")
	f.StringVar(&s.queueRate, "queue-rate", "6/s", "items a second that are queued")
	f.Float64Var(&s.JitterMS, "jitter", 40, "largest delay of a leaving, in ms")
	f.Float64Var(&s.Skip, "skip", 0, "share of slots that pass unused, 0 to 0.9")
	f.IntVar(&s.Repeat, "repeat", 1, "runs of each size")
	f.Uint64Var(&s.Seed, "seed", 1, "of the random numbers")
	f.StringVar(&s.Start, "start", studyStart, "when the first run begins (RFC 3339)")
	f.BoolVar(&s.plan, "plan", false, "tell how many items an interval of --width needs")
	f.StringVar(&s.width, "width", "2%", "of --plan: half-width of the sustained interval")
	f.StringVarP(&a.format, "format", "f", "", "of --plan: table, csv, json or ndjson")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no notes on standard error")
	return c
}

func (s *simulation) check(output bool) (err error) {
	if s.Rate, err = experiment.ParseRate(s.rate); err != nil {
		return usagef("--rate: %v", err)
	}
	if s.QueueRate, err = experiment.ParseRate(s.queueRate); err != nil {
		return usagef("--queue-rate: %v", err)
	}
	at, err := parseTime(s.Start)
	if err != nil || at == 0 {
		return usagef("--start: %v", err)
	}
	if s.start = time.Unix(0, int64(at)).UTC(); s.start.Year() < firstYear || s.start.Year() > lastYear {
		return usagef("--start: want a year from %d to %d, found %q", firstYear, lastYear, s.Start)
	}
	switch {
	case s.Rate < 1e-3 || s.Rate > 1e4:
		return usagef("--rate: want 0.001/s to 10000/s, found %q", s.rate)
	case s.QueueRate < 1e-3 || s.QueueRate > 1e4:
		return usagef("--queue-rate: want 0.001/s to 10000/s, found %q", s.queueRate)
	case !(s.JitterMS >= 0 && s.JitterMS <= 60_000):
		return usagef("--jitter: want 0 to 60000 ms, found %v", s.JitterMS)
	case !(s.Skip >= 0 && s.Skip <= 0.9):
		return usagef("--skip: want 0 to 0.9, found %v", s.Skip)
	case s.Burst < 0 || s.Burst > maxSimulated:
		return usagef("--burst: want 0 to %d, found %d", maxSimulated, s.Burst)
	case s.Repeat < 1 || s.Repeat > 1000:
		return usagef("--repeat: want 1 to 1000, found %d", s.Repeat)
	case len(s.Calls) > 0 && (s.Messages != 0 || len(s.Bytes) > 0):
		return usagef("want --calls, or --messages and --bytes, not both")
	case s.Messages < 0 || s.Messages > maxSimulated:
		return usagef("--messages: want 1 to %d, found %d", maxSimulated, s.Messages)
	}
	for _, n := range s.Calls {
		if n < 1 || n > maxSimulated {
			return usagef("--calls: want 1 to %d, found %d", maxSimulated, n)
		}
	}
	for _, n := range s.Bytes {
		if n < 1 || n > maxBody {
			return usagef("--bytes: want 1 to %d, found %d", maxBody, n)
		}
	}
	for _, list := range [][]int{s.Calls, s.Bytes} {
		sizes := slices.Clone(list)
		slices.Sort(sizes)
		if len(slices.Compact(sizes)) != len(list) {
			return usagef("want each size once, found %v", list)
		}
	}
	switch {
	case s.plan:
		if len(s.Bytes) > 1 {
			return usagef("--plan: want one size of --bytes, found %d", len(s.Bytes))
		}
		return nil
	case !output:
		return usagef("want -o DIR, the folder to write, or --plan")
	case len(s.Calls) == 0 && s.Messages == 0:
		return usagef("want --calls N, or --messages N and --bytes B")
	case s.Messages > 0 && len(s.Bytes) == 0:
		return usagef("--messages: want --bytes too, the size of each body")
	}
	return nil
}

// run is one experiment to be made.
type simulatedRun struct {
	name  string
	files func() []fixtures.File
}

// runs are in order of time; over is when the last one is.
func (s *simulation) runs() (list []simulatedRun, over time.Time) {
	at := s.start
	notes := "made by twtrace simulate; truth.json has the truth"
	next := func(items int, perItem float64) (uint64, time.Time) {
		seed, start := s.Seed+uint64(len(list))*0x9E37_79B9_7F4A_7C15, at // one run alone has the seed as given
		took := float64(items)*perItem/s.Rate/(1-s.Skip) + float64(items)/s.QueueRate
		// No run begins before the one before it is over. In seconds: a
		// time.Duration ends at 292 years.
		at = time.Unix(at.Unix()+60*int64(took/60)+300, int64(at.Nanosecond())).UTC()
		return seed, start
	}
	for _, n := range s.Calls {
		for k := 1; k <= s.Repeat; k++ {
			seed, start := next(n+2, 1)
			r := fixtures.CallRun{Name: fmt.Sprintf("calls-n%03d-r%d", n, k), Calls: n, Repeat: k, Rate: s.Rate, Burst: s.Burst, QueueRate: s.QueueRate,
				JitterMS: s.JitterMS, Skip: s.Skip, QueueLog: true, Seed: seed, Start: start, Notes: notes}
			list = append(list, simulatedRun{r.Name, r.Files})
		}
	}
	for _, n := range s.Bytes {
		for k := 1; k <= s.Repeat; k++ {
			r := fixtures.MessageRun{Name: fmt.Sprintf("messages-%03db-r%d", n, k), Bytes: n, Count: s.Messages, Repeat: k, Rate: s.Rate, Burst: s.Burst,
				QueueRate: s.QueueRate, JitterMS: s.JitterMS, Skip: s.Skip, Notes: notes}
			r.Seed, r.Start = next(s.Messages, float64(r.Segments()))
			list = append(list, simulatedRun{r.Name, r.Files})
		}
	}
	return list, at
}

func (a *app) simulate(s *simulation) error {
	runs, over := s.runs()
	if over.Year() > lastYear {
		return usagef("the runs would last beyond the year %d; want fewer, shorter or faster ones", lastYear)
	}
	dir := filepath.Clean(a.output)
	old, ours := madeBySimulate(dir)
	if entries, err := os.ReadDir(dir); err == nil {
		if entries = slices.DeleteFunc(entries, isStage); len(entries) > 0 && !ours && !a.force {
			return usagef("%s: is not empty and was not made by twtrace simulate; --force writes into it all the same", dir)
		}
	}
	a.force = true // looked at above
	out, err := a.openOutput(dir)
	if err != nil {
		return err
	}
	defer out.abandon()
	done := simulateFile{Program: "twtrace", Verb: "simulate", Options: *s}
	for _, r := range runs {
		if a.ctx.Err() != nil {
			return a.ctx.Err()
		}
		below := ""
		if len(runs) > 1 {
			below = r.name + "/"
		}
		for _, f := range r.files() {
			name := below + f.Name
			if err := out.put(name, f.Data); err != nil {
				return err
			}
			if part, _, _ := strings.Cut(name, "/"); !slices.Contains(done.Parts, part) {
				done.Parts = append(done.Parts, part)
			}
		}
	}
	b, err := json.MarshalIndent(done, "", "  ")
	if err != nil {
		return err
	}
	if err := out.put(simulateName, append(b, '\n')); err != nil {
		return err
	}
	if a.ctx.Err() != nil {
		return a.ctx.Err()
	}
	// simulate.json goes first and comes back last: without it no part is taken
	// for one of ours.
	for _, p := range append([]string{simulateName}, old...) {
		if err := os.RemoveAll(filepath.Join(dir, p)); err != nil {
			return err
		}
	}
	for _, p := range append(done.Parts, simulateName) {
		to := filepath.Join(dir, p)
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(out.stage, p), to); err != nil {
			return err
		}
	}
	out.made = ""
	if !a.quiet {
		verb := "analyze"
		if len(runs) > 1 {
			verb = "batch"
		}
		a.say(levelInfo, "%s; `twtrace %s %s -o out` analyses it", plural(int64(len(runs)), "experiment"), verb, shellQuote(dir))
	}
	return nil
}

func (o *output) put(name string, data []byte) error {
	w, err := o.create(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.Close())
}

// madeBySimulate tells a folder that simulate made, and its parts in it.
func madeBySimulate(dir string) (parts []string, ok bool) {
	b, err := os.ReadFile(filepath.Join(dir, simulateName))
	if err != nil {
		return nil, false
	}
	var f simulateFile
	if json.Unmarshal(b, &f) != nil || f.Program != "twtrace" || f.Verb != "simulate" {
		return nil, false
	}
	for _, p := range f.Parts {
		// only what simulate could have written is ever removed
		if !fs.ValidPath(p) || strings.ContainsAny(p, `/\`) || p == "." {
			return nil, false
		}
	}
	return f.Parts, true
}

func (a *app) plan(s *simulation) error {
	format, err := a.gridFormat()
	if err != nil {
		return err
	}
	width, err := strconv.ParseFloat(strings.TrimSuffix(s.width, "%"), 64)
	if err != nil || !(width > 0 && width < 100) {
		return usagef("--width: want a percentage such as 2%%, found %q", s.width)
	}
	what, segments := "calls", 1
	if len(s.Bytes) == 1 {
		what, segments = "messages", fixtures.MessageRun{Bytes: s.Bytes[0]}.Segments()
	}
	sim := func(n, i int) (queued, left []time.Time) {
		if a.ctx.Err() != nil {
			return nil, nil
		}
		// A rate that divides the second beats with the clock; no real one does.
		rate := s.Rate * (0.95 + 0.1*float64(i)/(planRuns-1))
		seed := s.Seed + uint64(n*planRuns+i)
		if what == "messages" {
			return fixtures.MessageRun{Bytes: s.Bytes[0], Count: n, Rate: rate, Burst: s.Burst, QueueRate: s.QueueRate, JitterMS: s.JitterMS, Skip: s.Skip, Seed: seed, Start: s.start}.Times()
		}
		return fixtures.CallRun{Calls: n - 2, Rate: rate, Burst: s.Burst, QueueRate: s.QueueRate, JitterMS: s.JitterMS, Skip: s.Skip, Seed: seed, Start: s.start}.Times()
	}
	opt, err := a.options()
	if err != nil {
		return err
	}
	rows, need := opt.Rates.Plan(width, planRuns, int64(segments), sim)
	if err := a.ctx.Err(); err != nil {
		return err
	}
	g := grid{columns: []string{"items", "runs", "half_width_pct", "half_width_p90_pct", "refused_pct", "enough"}}
	for _, r := range rows {
		g.rows = append(g.rows, []any{int64(r.Items), int64(r.Runs), optF(r.HalfPct), optF(r.HalfP90Pct), r.RefusedPct, r.Enough})
	}
	if err := a.writeTo(a.output, func(w io.Writer) error { return g.write(w, format) }); err != nil {
		return err
	}
	if a.quiet {
		return nil
	}
	if need == 0 {
		a.say(levelInfo, "no size up to %d %s gives +-%s %%", rows[len(rows)-1].Items, what, figure(width))
		return nil
	}
	a.say(levelInfo, "about %d %s give +-%s %% on the median", need, what, figure(width))
	return nil
}
