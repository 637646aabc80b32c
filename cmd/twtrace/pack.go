package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
)

// packCommand writes an experiment as one file.
func (a *app) packCommand() *cobra.Command {
	var keys bool
	c := &cobra.Command{
		Use:     "pack INPUT... -o FILE.pcapng",
		Short:   "Write one experiment as one pcapng: its captures merged, manifest and exports attached",
		GroupID: "main",
		Long: "The packets of all captures in order of time, with the interfaces, names, comments and drop counts that came with them;\n" +
			"manifest, exports and queue log are attached to the file's header. Wireshark reads the packets, and every verb of twtrace\n" +
			"reads the whole experiment. Keys, those inside of captures too, go in only with --with-keys. Standard error says what\n" +
			"went in and what did not.",
		Example: "  twtrace pack experiments/run-1 -o run-1.pcapng\n  twtrace pack experiments/run-1 -o run-1.pcapng --with-keys",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case a.output == "" || a.output == "-":
				return usagef("want -o FILE.pcapng, the file to write")
			case a.redact:
				return usagef("--redact: a packed file holds the packets as they are; `twtrace scrub` replaces what is in them")
			case a.start != "" || a.end != "":
				return usagef("--start, --end: a packed file holds all packets; `twtrace slice` takes those of a call")
			}
			e, opt, err := a.oneExperiment(args)
			if err != nil {
				return err
			}
			if opt.Name != "" {
				e.Name = opt.Name
			}
			var info *experiment.PackInfo
			err = a.writeTo(a.output, func(w io.Writer) error {
				info, err = experiment.Pack(a.ctx, e, keys, opt.Version, w)
				return err
			})
			if err != nil {
				return err
			}
			a.sayDamaged(info.Damaged)
			if a.quiet {
				return nil
			}
			a.say(levelInfo, "%s: %s of %s; attached: %s", a.output, plural(info.Packets, "packet"), plural(int64(len(info.Captures)), "capture"), plural(int64(len(info.Files)), "file"))
			for _, l := range info.LeftOut {
				a.say(levelInfo, "left out: %s", l)
			}
			if info.Secrets > 0 {
				a.say(levelInfo, "%s holds %s of keys: who gets the file can read what they open", a.output, plural(info.Secrets, "line"))
			}
			return nil
		},
	}
	a.inputFlags(c)
	f := c.Flags()
	f.BoolVar(&keys, "with-keys", false, "put the key logs and the captures' own secrets into the file")
	a.fileFlags(c, "file to write")
	return c
}

// sayDamaged tells which captures a file has only a part of.
func (a *app) sayDamaged(list []string) {
	for _, d := range list {
		a.say(levelWarn, "%s; the packets before it are in", d)
		a.code = exitDamaged
	}
}
