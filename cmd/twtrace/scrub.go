package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
)

// scrubCommand writes a capture that can be shared.
func (a *app) scrubCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "scrub INPUT... -o FILE.pcapng",
		Short:   "Write a capture for sharing: pseudonyms for addresses, numbers, names and identifiers, no voices, no keys",
		GroupID: "main",
		Long: "Packets are written anew from what was understood of them: headers, SIP and SDP, DNS, HTTP with JSON and forms, hellos of TLS.\n" +
			"The pseudonyms are those of --redact: with --redact-key the same in every run and table, else by a random key. The payload of\n" +
			"media and all that was not understood is zero; encrypted records stay encrypted, and no key goes along. Times and sizes on the\n" +
			"wire stay. The file says that it was altered, and standard error what is zero or left out.",
		Example: "  twtrace scrub capture.pcapng -o shared.pcapng\n  twtrace scrub experiments/run-1 -o shared.pcapng --redact-key my.key",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case a.output == "" || a.output == "-":
				return usagef("want -o FILE.pcapng, the file to write")
			case a.start != "" || a.end != "":
				return usagef("--start, --end: not here; `twtrace slice` takes the packets of a call first")
			}
			a.redact = true
			key, err := a.redactionKey()
			if err != nil {
				return err
			}
			e, opt, err := a.oneExperiment(args)
			if err != nil {
				return err
			}
			var info *experiment.ScrubInfo
			err = a.writeTo(a.output, func(w io.Writer) error {
				info, err = experiment.Scrub(a.ctx, e, key, opt.Version, w)
				return err
			})
			if err != nil {
				return err
			}
			a.sayDamaged(info.Damaged)
			if a.quiet {
				return nil
			}
			a.say(levelInfo, "%s: %s, altered", a.output, plural(info.Packets, "packet"))
			for _, z := range info.Zeroed {
				a.say(levelInfo, "zero: %s, %d times, %d bytes", z.What, z.Count, z.Bytes)
			}
			for _, l := range info.LeftOut {
				a.say(levelInfo, "left out: %s", l)
			}
			return nil
		},
	}
	a.inputFlags(c)
	a.fileFlags(c, "file to write")
	return c
}
