package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
)

func (a *app) analyzeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "analyze INPUT... -o DIR",
		Short:   "Analyse one experiment into tables and a report",
		GroupID: "main",
		Long: "All INPUTs together are one experiment: captures, key logs, exported resources, a queue log, a manifest;\n" +
			"files, folders and archives in any mix, - for standard input. What a file is, its content decides.",
		Example: "  twtrace analyze experiment/ -o out\n  twtrace analyze capture.pcapng.gz calls/ keys.log -o out --redact",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			if a.output == "" {
				return usagef("want -o DIR, the folder to write")
			}
			exps, opt, err := a.experiments(args, true)
			var many *experiment.ManyError
			if errors.As(err, &many) {
				return usagef("%w; `twtrace batch %s -o %s` analyses all of them", err, shellQuote(many.Label), shellQuote(a.output))
			}
			if err != nil {
				return err
			}
			return a.analyzeInto(exps, opt)
		},
	}
	a.inputFlags(c)
	a.outputFlags(c)
	return c
}

// analyzeInto analyses experiments and writes the dataset and its report. Each
// experiment has its own files, so that it does not matter who is done first.
func (a *app) analyzeInto(exps []experiment.Experiment, opt experiment.Options) error {
	out, err := a.openOutput(a.output)
	if err != nil {
		return err
	}
	defer out.abandon()
	out.workers = max(1, a.workers()/max(1, len(exps)))
	err = a.analyzeAll(exps, opt, func(_ int, r *experiment.Result) error { return out.add(a, r) })
	if err != nil {
		return err
	}
	if a.code == exitNothing {
		return nil
	}
	if err := out.finish(a); err != nil {
		return err
	}
	return a.summarize(a.output)
}

func quoted(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return fmt.Sprintf(": %q", strings.Join(args, " "))
}
