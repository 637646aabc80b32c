package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/report"
)

func (a *app) flowCommand() *cobra.Command {
	var opt report.FlowOptions
	c := &cobra.Command{
		Use:     "flow INPUT...",
		Short:   "Draw the ladder of a call as text, SVG or Mermaid",
		GroupID: "main",
		Example: "  twtrace flow capture.pcapng --call CA0123...\n  twtrace flow capture.pcapng --by scenario -f svg -o flows.svg",
		Args:    someInput,
		RunE: func(_ *cobra.Command, args []string) error {
			opt.Format = a.format
			if !oneOf(opt.Format, "", "text", "svg", "mermaid") {
				return usagef("--format: want text, svg or mermaid, found %q", a.format)
			}
			if !oneOf(opt.By, "", "scenario") {
				return usagef("--by: want scenario, found %q", opt.By)
			}
			if opt.CallID != "" && opt.By != "" {
				return usagef("want --call or --by, not both")
			}
			if width, ok := isTerminal(a.stdout); ok {
				opt.Width = width
			}
			d, err := a.dataset(args)
			if err != nil {
				return err
			}
			if opt.CallID != "" && !hasCall(d, opt.CallID) {
				return fmt.Errorf("no call %q here; `twtrace calls` lists them", opt.CallID)
			}
			return a.writeTo(a.output, func(w io.Writer) error { return report.Flow(w, d, opt) })
		},
	}
	a.inputFlags(c)
	f := c.Flags()
	f.StringVar(&opt.CallID, "call", "", "call_id of the one call to draw")
	f.StringVar(&opt.By, "by", "", "scenario: the typical ladder of each")
	f.StringVarP(&a.format, "format", "f", "", "text, svg or mermaid (default text)")
	a.fileFlags(c, "file to write instead of standard output")
	a.pagerFlag(c)
	return c
}

func hasCall(d *table.Dataset, id string) bool {
	for i := range d.Calls {
		if d.Calls[i].CallID == id {
			return true
		}
	}
	return false
}

func (a *app) reportCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "report DATASET [-o FILE]",
		Short:   "Draw the report again from the tables of a dataset",
		GroupID: "main",
		Example: "  twtrace report out -o report.html",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one DATASET: a folder that analyze or batch wrote")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if !info.IsDir() {
				return usagef("%s: want a folder that analyze or batch wrote, found a file", args[0])
			}
			d, err := table.ReadDir(os.DirFS(args[0]), report.NotDrawn()...)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if len(d.Experiments) == 0 {
				return fmt.Errorf("%s: holds no dataset; analyze or batch write one", args[0])
			}
			if err := a.sayMissingShards(args[0]); err != nil {
				return err
			}
			name := a.output
			if name == "-" {
				zone, err := a.displayZone()
				if err != nil {
					return err
				}
				return a.writeTo(name, func(w io.Writer) error {
					return report.Write(w, d, report.Options{Zone: zone, Redacted: redacted(d)})
				})
			}
			if name == "" {
				name = args[0] + string(os.PathSeparator) + reportName
			} else if _, err := os.Stat(name); err == nil && !a.force {
				return usagef("%s: exists; --force overwrites it", name)
			}
			return a.writeReport(name, d)
		},
	}
	f := c.Flags()
	a.fileFlags(c, "file to write (default: report.html in the dataset)")
	f.StringVar(&a.zone, "tz", "", "time zone of what is shown")
	return c
}

func (a *app) schemaCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "schema [TABLE]",
		Short:   "Print the columns of a table, or of all: types, units, descriptions",
		GroupID: "main",
		Example: "  twtrace schema calls\n  twtrace schema -f csv",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("want at most one TABLE, found %d", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			f, err := a.tableFormat()
			if err != nil {
				return err
			}
			if err := table.WriteSchema(io.Discard, name, f); err != nil {
				return usageError{err}
			}
			return a.writeTo("", func(w io.Writer) error { return table.WriteSchema(w, name, f) })
		},
	}
	c.Flags().StringVarP(&a.format, "format", "f", "", "table, csv or json")
	return c
}
