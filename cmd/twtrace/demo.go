package main

import (
	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/experiment"
)

func (a *app) demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "demo -o DIR",
		Short:   "Analyse the experiments that ship inside the binary",
		GroupID: "main",
		Long: "Recorded and simulated experiments are embedded in the binary: the study's calls and messages again.\n" +
			"What is simulated is marked so in the report.",
		Example: "  twtrace demo -o out",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.output == "" {
				return usagef("want -o DIR, the folder to write")
			}
			opt, err := a.options()
			if err != nil {
				return err
			}
			demo, err := fixtures.Demo()
			if err != nil {
				return err
			}
			exps, err := experiment.Find([]experiment.Input{{FS: demo, Path: ".", Label: "demo", Name: "demo"}}, false)
			if err != nil {
				return err
			}
			return a.analyzeInto(exps, opt)
		},
	}
	a.outputFlags(c)
	f := c.Flags()
	f.BoolVar(&a.redact, "redact", false, "stable pseudonyms for numbers, addresses, SIDs and names")
	f.StringVar(&a.redactKey, "redact-key", "", "file with the key of the pseudonyms")
	f.StringVar(&a.zone, "tz", "", "time zone of what is shown")
	a.workFlags(c)
	return c
}
