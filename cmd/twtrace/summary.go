package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/table"
)

func (a *app) summaryFlag(c *cobra.Command, usage string) {
	c.Flags().BoolVar(&a.summary, "summary", false, usage)
}

// writeSummary writes a dataset as one line of key=value for scripts. Keys may
// be added at its end, none goes.
func writeSummary(w io.Writer, d *table.Dataset) error {
	answered, problems := 0, 0
	for i := range d.Calls {
		if d.Calls[i].Outcome == "answered" {
			answered++
		}
	}
	for i := range d.Inputs {
		if d.Inputs[i].Problem != "" {
			problems++
		}
	}
	slowest, verdict := "none", "none"
	least := -1.0
	worst := map[string]int{"none": 0, "exceeds": 1, "meets": 2, "undetermined": 3, "below": 4}
	for i := range d.Rates {
		r := &d.Rates[i]
		if r.ObservedPerS.Known && (least < 0 || r.ObservedPerS.V < least) {
			least = r.ObservedPerS.V
			slowest = strconv.FormatFloat(least, 'f', 3, 64)
		}
		if worst[r.Verdict] > worst[verdict] {
			verdict = r.Verdict
		}
	}
	_, err := fmt.Fprintf(w, "experiments=%d calls=%d answered=%d messages=%d streams=%d slowest_per_s=%s verdict=%s problems=%d\n",
		len(d.Experiments), len(d.Calls), answered, d.Messages.Len(), d.Streams.Len(), slowest, verdict, problems)
	return err
}

// summarize is --summary of a verb that wrote a dataset.
func (a *app) summarize(dir string) error {
	if !a.summary || a.code == exitNothing {
		return nil
	}
	d, err := table.ReadDir(os.DirFS(dir))
	if err != nil {
		return err
	}
	return writeSummary(a.stdout, d)
}
