package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
)

// manCommand writes the manual's pages. It is for packagers and `make man`, so
// help does not list it.
func (a *app) manCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write a manual page of each verb", Hidden: true,
		Example: "  twtrace man share/man/man1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one DIR, the folder to write pages into, found %s%s", plural(int64(len(args)), "argument"), quoted(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			for _, c := range append(shownCommands(root), root) {
				name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
				err := writeFile(filepath.Join(args[0], name), func(w io.Writer) error {
					_, err := io.WriteString(w, manPage(root, c))
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// shownCommands are the verbs that help lists, by name.
func shownCommands(root *cobra.Command) []*cobra.Command {
	list := slices.DeleteFunc(slices.Clone(root.Commands()), func(c *cobra.Command) bool { return c.Hidden })
	slices.SortFunc(list, func(x, y *cobra.Command) int { return strings.Compare(x.Name(), y.Name()) })
	return list
}

// manPage is a page in the macros of man(7), the same for the same version.
func manPage(root, c *cobra.Command) string {
	var b strings.Builder
	line := func(macro string, words ...string) {
		b.WriteString("." + macro)
		for _, w := range words {
			b.WriteString(` "` + strings.ReplaceAll(roff(w), `"`, `\(dq`) + `"`)
		}
		b.WriteString("\n")
	}
	title := strings.ReplaceAll(c.CommandPath(), " ", "-")
	line("TH", strings.ToUpper(title), "1", "", "twtrace "+experiment.ProgramVersion(), "twtrace")
	line("SH", "NAME")
	b.WriteString(roff(title) + ` \- ` + roff(c.Short) + "\n")
	line("SH", "SYNOPSIS")
	if c == root {
		line("B", "twtrace COMMAND")
		b.WriteString("[ARGUMENTS]\n")
	} else {
		line("B", "twtrace "+c.UseLine()[len("twtrace "):])
	}
	line("SH", "DESCRIPTION")
	b.WriteString(paragraphs(cmp.Or(c.Long, c.Short+".")))
	if c == root {
		line("SH", "COMMANDS")
		for _, sub := range shownCommands(root) {
			line("TP")
			line("B", sub.Name())
			b.WriteString(manText(sub.Short) + "\n")
		}
	} else {
		c.InitDefaultHelpFlag()
		line("SH", "OPTIONS")
		// The usages of cobra are in two columns: the flag, and what it does.
		for l := range strings.Lines(c.LocalFlags().FlagUsages()) {
			flag, usage, _ := strings.Cut(strings.TrimSpace(l), "   ")
			line("TP")
			line("B", flag)
			b.WriteString(manText(strings.TrimSpace(usage)) + "\n")
		}
	}
	if c.Example != "" {
		line("SH", "EXAMPLES")
		line("nf")
		for l := range strings.Lines(c.Example) {
			b.WriteString(manText(strings.TrimSpace(l)) + "\n")
		}
		line("fi")
	}
	if c == root {
		line("SH", "EXIT STATUS")
		for _, x := range [...]struct {
			code int
			text string
		}{
			{exitOK, "all inputs read whole"}, {exitNothing, "nothing could be made"}, {exitUsage, "wrong usage"},
			{exitDamaged, "results were made, but some input was damaged: each is named on standard error and in inputs.problem"},
			{exitCompared, "compare found what --fail-on names"}, {exitInternal, "an internal check failed: please report it"},
			{exitInterrupted, "interrupted; nothing half-written was left"},
		} {
			line("TP")
			line("B", fmt.Sprint(x.code))
			b.WriteString(manText(x.text) + "\n")
		}
		line("SH", "ENVIRONMENT")
		for _, x := range [...][2]string{
			{"PAGER", "what shows long text on a terminal; default less -FRSX, none when empty"},
			{"NO_COLOR", "no colours when it is set"},
			{"TMPDIR", "where --follow keeps what came, without a name"},
		} {
			line("TP")
			line("B", x[0])
			b.WriteString(manText(x[1]) + "\n")
		}
	} else {
		line("SH", "SEE ALSO")
		line("BR", "twtrace", "(1)")
	}
	return b.String()
}

// paragraphs are texts parted by empty lines.
func paragraphs(s string) string {
	var out []string
	for p := range strings.SplitSeq(s, "\n\n") {
		var lines []string
		for l := range strings.SplitSeq(strings.TrimSpace(p), "\n") {
			lines = append(lines, manText(strings.TrimSpace(l)))
		}
		out = append(out, strings.Join(lines, "\n"))
	}
	return strings.Join(out, "\n.PP\n") + "\n"
}

// manText is a line that is no request of roff.
func manText(s string) string {
	s = roff(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

// roff escapes what roff would take for its own, or set as typography.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "µ", `\(mc`, "…", "...").Replace(s)
}
