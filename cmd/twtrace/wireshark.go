package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
)

// wiresharkCommand prints the command that opens a capture at a call.
func (a *app) wiresharkCommand() *cobra.Command {
	var call string
	c := &cobra.Command{
		Use:     "wireshark INPUT... --call ID",
		Short:   "Print the command that opens the capture in Wireshark at one call, with keys and filter",
		GroupID: "main",
		Long: "One line for each capture that holds packets of the call, quoted for a POSIX shell. tshark takes the same options.\n" +
			"Of several key logs Wireshark reads one: then a first line joins them.",
		Example: "  twtrace wireshark experiments/run-1 --call CA0123...\n  eval \"$(twtrace wireshark capture.pcapng keys.log --call CA0123...)\"",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			if call == "" {
				return usagef("want --call ID; `twtrace calls` lists them")
			}
			e, opt, err := a.oneExperiment(args)
			if err != nil {
				return err
			}
			list, err := experiment.Filters(a.ctx, e, opt, call)
			if err != nil {
				return err
			}
			return a.writeTo("", func(w io.Writer) error {
				for _, f := range list {
					file, ok := onDisk(args, f.File)
					if !ok {
						return fmt.Errorf("%s: is inside an archive or on standard input, which Wireshark cannot open; `twtrace slice` writes the call's packets to a file", f.File)
					}
					line := "wireshark -r " + shellQuote(file)
					var keys []string
					for _, k := range append(f.Keys, a.keys...) {
						if k, ok := onDisk(args, k); ok {
							keys = append(keys, shellQuote(k))
						}
					}
					switch {
					case len(keys) > 1:
						if _, err := fmt.Fprintf(w, "cat -- %s > keys-of-all.log\n", strings.Join(keys, " ")); err != nil {
							return err
						}
						line += " -o tls.keylog_file:keys-of-all.log"
					case len(keys) == 1:
						line += " -o tls.keylog_file:" + keys[0]
					}
					if _, err := fmt.Fprintf(w, "%s -Y %s\n", line, shellQuote(f.Display)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	a.inputFlags(c)
	callFlag(c, &call)
	return c
}

// onDisk is the path of a file of an experiment, when it is a file of its own.
func onDisk(args []string, name string) (string, bool) {
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			continue
		}
		path := arg
		if info.IsDir() {
			path = filepath.Join(arg, filepath.FromSlash(name))
		} else if filepath.Base(arg) != filepath.Base(filepath.FromSlash(name)) {
			continue
		}
		if i, err := os.Stat(path); err == nil && i.Mode().IsRegular() {
			return path, true
		}
	}
	i, err := os.Stat(name)
	return name, err == nil && i.Mode().IsRegular()
}
