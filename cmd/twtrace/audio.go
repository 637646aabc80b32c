package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
)

func (a *app) audioCommand() *cobra.Command {
	var call string
	c := &cobra.Command{
		Use:     "audio INPUT... --call ID -o FILE.wav",
		Short:   "Write the media of one call as a WAV file",
		GroupID: "main",
		Long: "16 bit, 8 kHz, stereo: the caller left, the callee right, in sync by capture time, gaps as silence.\n" +
			"Only G.711 can be written, in the clear or where keys open it.",
		Example: "  twtrace audio capture.pcapng --call CA0123... -o call.wav",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case call == "":
				return usagef("want --call ID; `twtrace calls` lists them")
			case a.output == "":
				return usagef("want -o FILE.wav, the file to write")
			}
			e, opt, err := a.oneExperiment(args)
			if err != nil {
				return err
			}
			return a.writeTo(a.output, func(w io.Writer) error { return experiment.Audio(a.ctx, e, opt, call, w) })
		},
	}
	a.inputFlags(c)
	callFlag(c, &call)
	a.fileFlags(c, "file to write")
	return c
}
