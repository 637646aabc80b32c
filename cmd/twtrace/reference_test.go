package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/twtrace/twtrace/internal/table"
)

// The reference documents are what the code makes; -update writes them.
func TestReference(t *testing.T) {
	for name, text := range map[string]string{"tables.md": tablesReference(t), "commands.md": commandsReference()} {
		path := filepath.Join("..", "..", "docs", "reference", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// a checkout for Windows may have changed the ends of lines
		if got := strings.ReplaceAll(string(have), "\r\n", "\n"); got != text {
			at, want, found := firstDifference(text, got)
			t.Errorf("docs/reference/%s:%d: want %q, found %q; go test ./cmd/twtrace -run TestReference -update writes it", name, at, want, found)
		}
	}
}

// firstDifference is the number of the first line that differs, and both lines.
func firstDifference(a, b string) (int, string, string) {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(x), len(y)) {
		var p, q string
		if i < len(x) {
			p = x[i]
		}
		if i < len(y) {
			q = y[i]
		}
		if p != q {
			return i + 1, p, q
		}
	}
	return 0, "", ""
}

// cell is text within a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}

func tablesReference(t *testing.T) string {
	t.Helper()
	var raw bytes.Buffer
	if err := table.WriteSchema(&raw, "", table.FormatCSV); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&raw).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"table", "column", "type", "unit", "null", "key", "values", "description"}; !slices.Equal(rows[0], want) {
		t.Fatalf("want columns %q, found %q", want, rows[0])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The tables\n\nVersion %d of the schema, as `twtrace schema` prints it: made from the code, not by hand.\n\n"+
		"Each table begins with `experiment`: folder of the run, relative to the batch root, or the name given. It is a part of every key and is not\n"+
		"repeated here. **Bold** columns are the rest of the key. A type with ? may be null, which is unknown; time is timestamp[ns, UTC], a list is JSON in CSV.\n"+
		"How numbers are computed: [numbers](../numbers.md).\n", table.SchemaVersion)
	for _, s := range table.Schemas() {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n| column | type | unit | what |\n|---|---|---|---|\n", s.Name, strings.ToUpper(s.Doc[:1])+strings.TrimSuffix(s.Doc[1:], "."))
		for _, r := range rows[1:] {
			if r[0] != s.Name || r[1] == "experiment" {
				continue
			}
			name, kind, doc := r[1], strings.ReplaceAll(r[2], "timestamp[ns, UTC]", "time"), r[7]
			if r[5] != "" {
				name = "**" + name + "**"
			}
			if r[4] != "" {
				kind += "?"
			}
			if r[6] != "" {
				doc += ": " + strings.ReplaceAll(r[6], " ", ", ")
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, cell(kind), r[3], cell(doc))
		}
	}
	return b.String()
}

// flagsOf are the flags of a command but --help, by name.
func flagsOf(c *cobra.Command) map[string]*pflag.Flag {
	list := map[string]*pflag.Flag{}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !f.Hidden {
			list[f.Name] = f
		}
	})
	return list
}

// flagTable describes flags by name.
func flagTable(b *strings.Builder, list map[string]*pflag.Flag, names []string) {
	b.WriteString("\n| flag | default | what |\n|---|---|---|\n")
	for _, name := range names {
		f := list[name]
		short, value, standard := "", "", f.DefValue
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			value = " " + kind
		}
		if slices.Contains([]string{"false", "[]", "0"}, standard) {
			standard = ""
		}
		fmt.Fprintf(b, "| `%s--%s%s` | %s | %s |\n", short, name, value, cell(standard), cell(usage))
	}
}

func commandsReference() string {
	root := (&app{}).root()
	var verbs, tables []*cobra.Command
	for _, c := range root.Commands() {
		switch {
		case c.Hidden || c.Name() == "help":
		case c.GroupID == "table":
			tables = append(tables, c)
		default:
			verbs = append(verbs, c)
		}
	}
	byName := func(a, b *cobra.Command) int { return strings.Compare(a.Name(), b.Name()) }
	slices.SortFunc(verbs, byName)
	slices.SortFunc(tables, byName)
	// what every table verb takes: of the analysis when analyze takes it as well
	analysis, printing := flagsOf(tables[0]), map[string]*pflag.Flag{}
	for _, c := range append(tables, named(verbs, "analyze")) {
		for name, f := range analysis {
			if g := flagsOf(c)[name]; g != nil && g.Usage == f.Usage && g.DefValue == f.DefValue {
				continue
			}
			delete(analysis, name)
			printing[name] = f
		}
	}
	for _, c := range tables {
		for name := range printing {
			if flagsOf(c)[name] == nil {
				delete(printing, name)
			}
		}
	}
	var b strings.Builder
	b.WriteString("# The commands\n\nMade from the command tree, not by hand; `twtrace COMMAND --help` says the same. What INPUT is, what comes out, exit codes:\n[the command line](../cli.md).\n")
	b.WriteString("\n## Flags of the analysis\n\nOf all commands that read INPUTs.\n")
	flagTable(&b, analysis, slices.Sorted(maps.Keys(analysis)))
	b.WriteString("\n## Tables\n\n    twtrace TABLE INPUT...\n\n| TABLE | what |\n|---|---|\n")
	for _, c := range tables {
		name := strings.ReplaceAll(c.Name(), "-", "_")
		fmt.Fprintf(&b, "| [%s](tables.md#%s) | %s", c.Name(), name, cell(strings.TrimPrefix(c.Short, "Print table "+name+": ")))
		has := flagsOf(c)
		for _, own := range slices.Sorted(maps.Keys(has)) {
			if analysis[own] == nil && printing[own] == nil {
				fmt.Fprintf(&b, "; `--%s`: %s", own, cell(has[own].Usage))
			}
		}
		b.WriteString(" |\n")
	}
	flagTable(&b, printing, slices.Sorted(maps.Keys(printing)))
	b.WriteString("\nAnd the flags of the analysis.\n")
	for _, c := range verbs {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n    %s\n", c.Name(), strings.TrimSuffix(c.Short, "."), strings.TrimSuffix(c.UseLine(), " [flags]"))
		if c.Long != "" {
			b.WriteString("\n" + prose(c.Long) + "\n")
		}
		if c.Example != "" {
			b.WriteString("\n```sh\n")
			for line := range strings.SplitSeq(c.Example, "\n") {
				b.WriteString(strings.TrimPrefix(line, "  ") + "\n")
			}
			b.WriteString("```\n")
		}
		has := flagsOf(c)
		var shared, own []string
		for _, name := range slices.Sorted(maps.Keys(has)) {
			if f := analysis[name]; f != nil && f.Usage == has[name].Usage && f.DefValue == has[name].DefValue {
				shared = append(shared, name)
			} else {
				own = append(own, name)
			}
		}
		if len(own) > 0 {
			flagTable(&b, has, own)
		}
		switch {
		case len(shared) == len(analysis):
			b.WriteString("\nAnd the flags of the analysis.\n")
		case len(shared) > 0:
			fmt.Fprintf(&b, "\nOf the flags of the analysis: `--%s`.\n", strings.Join(shared, "`, `--"))
		}
	}
	return b.String()
}

func named(list []*cobra.Command, name string) *cobra.Command {
	return list[slices.IndexFunc(list, func(c *cobra.Command) bool { return c.Name() == name })]
}

// prose is a paragraph of help as Markdown text: nothing in it is markup.
func prose(s string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "~", `\~`, "_", `\_`).Replace(s)
}
