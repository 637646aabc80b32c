package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
)

// sliceCommand writes one call's packets as a capture of its own.
func (a *app) sliceCommand() *cobra.Command {
	var call string
	c := &cobra.Command{
		Use:     "slice INPUT... --call ID -o FILE.pcapng",
		Short:   "Write one call's packets, with the secrets of its sessions, as a pcapng for Wireshark",
		GroupID: "main",
		Long: "Signaling, media and name lookups of the call; of an encrypted connection all packets from its beginning, since no later\n" +
			"record can be read without them. Only secrets of these connections go in, and standard error says how many.",
		Example: "  twtrace slice experiments/run-1 --call CA0123... -o call.pcapng",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case call == "":
				return usagef("want --call ID; `twtrace calls` lists them")
			case a.output == "" || a.output == "-":
				return usagef("want -o FILE.pcapng, the file to write")
			case a.redact:
				return usagef("--redact: a slice holds the packets as they are")
			}
			e, opt, err := a.oneExperiment(args)
			if err != nil {
				return err
			}
			var info *experiment.SliceInfo
			err = a.writeTo(a.output, func(w io.Writer) error {
				info, err = experiment.Slice(a.ctx, e, opt, call, w)
				return err
			})
			if err != nil {
				return err
			}
			a.say(levelInfo, "%s: %s of the call", a.output, plural(info.Frames, "packet"))
			if info.Sessions > 0 {
				a.say(levelInfo, "%s holds the secrets of %s: who gets the file can read them", a.output, plural(int64(info.Sessions), "TLS session"))
			}
			if n := len(info.Others); n > 0 {
				a.say(levelWarn, "%s: its connection carries %s too: %s", a.output, plural(int64(n), "other call"), strings.Join(info.Others[:min(n, 5)], ", "))
			}
			return nil
		},
	}
	a.inputFlags(c)
	callFlag(c, &call)
	a.fileFlags(c, "file to write")
	return c
}
