package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/fixtures"
)

// block is one example of the documentation: a ```console block of a Markdown
// file, or the indented lines of a package comment. A line that begins with
// "$ " is a command, the lines up to the next one are what it prints, standard
// error included; ... as a line, or within one, stands for anything. What
// follows "# exit " at the end of a command is its exit code, else 0 or 3.
type block struct {
	where string
	lines []string
}

func markdown(name, text string) []block {
	var list []block
	in := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case !in && strings.TrimRight(line, " ") == "```console":
			in = true
			list = append(list, block{where: fmt.Sprintf("%s:%d", name, i+1)})
		case in && strings.HasPrefix(line, "```"):
			in = false
		case in:
			b := &list[len(list)-1]
			b.lines = append(b.lines, line)
		}
	}
	return list
}

// Every example in the documentation is run, in a folder of its own for each
// document that has the recorded fixtures in experiments/ and one capture.
func TestDocumentation(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "twtrace")); err != nil {
		t.Skip(err)
	}
	blocks := map[string][]block{}
	for name, text := range docFiles(t) {
		blocks[name] = markdown(name, text)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "main.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	comment := block{where: "main.go: package comment"}
	for line := range strings.SplitSeq(f.Doc.Text(), "\n") {
		if line, ok := strings.CutPrefix(line, "\t"); ok {
			comment.lines = append(comment.lines, line)
		}
	}
	if len(comment.lines) == 0 {
		t.Errorf("%s: no example", comment.where)
	}
	blocks["main.go"] = []block{comment}

	for name, list := range blocks {
		if len(list) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "experiments"), fixtures.Recorded()); err != nil {
				t.Fatal(err)
			}
			for _, b := range list {
				b.run(t, sh, dir, bin)
			}
		})
	}
}

// missing names a tool of the system that a command uses and the machine lacks.
func missing(command string) string {
	for _, tool := range []string{"tar", "head", "cmp", "ls", "gzip", "cat", "tshark", "editcap"} {
		if slices.Contains(strings.Fields(command), tool) {
			if _, err := exec.LookPath(tool); err != nil {
				return tool
			}
		}
	}
	return ""
}

var exitMark = regexp.MustCompile(`\s*# exit (\d+)$`)

func (b *block) run(t *testing.T, sh, dir, bin string) {
	t.Helper()
	for i := 0; i < len(b.lines); {
		command, ok := strings.CutPrefix(b.lines[i], "$ ")
		i++
		if !ok {
			if i == 1 && strings.TrimSpace(b.lines[0]) != "" {
				t.Errorf("%s: want a line that begins with \"$ \", found %q", b.where, b.lines[0])
			}
			continue
		}
		var want []string
		for i < len(b.lines) && !strings.HasPrefix(b.lines[i], "$ ") {
			want = append(want, b.lines[i])
			i++
		}
		if tool := missing(command); tool != "" {
			t.Logf("%s: %s is not on this machine; passed over: %s", b.where, tool, command)
			continue
		}
		if first, _, _ := strings.Cut(command, " "); first == "go" || first == "git" {
			continue // not of this program
		}
		code := ""
		if m := exitMark.FindStringSubmatch(command); m != nil {
			code, command = m[1], command[:len(command)-len(m[0])]
		}
		c := exec.Command(sh, "-c", command)
		c.Dir = dir
		c.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		out, err := c.CombinedOutput()
		if c.ProcessState == nil {
			t.Errorf("%s: %s: %v", b.where, command, err)
			continue
		}
		switch got := c.ProcessState.ExitCode(); {
		case code != "" && code != fmt.Sprint(got), code == "" && got != 0 && got != 3:
			t.Errorf("%s: $ %s\nexit code %d, want %s\n%s", b.where, command, got, code, out)
			continue
		}
		// An example may leave out what goes to standard error when all is well.
		text := strings.TrimSpace(strings.Join(want, "\n"))
		if text == "" {
			continue
		}
		if !likeOutput(text, string(out)) {
			t.Errorf("%s: $ %s\nwant\n%s\nfound\n%s", b.where, command, text, out)
		}
	}
}

// likeOutput compares lines without space at their ends; ... is anything.
func likeOutput(want, got string) bool {
	var re strings.Builder
	re.WriteString(`(?s)\A\s*`)
	for i, line := range strings.Split(want, "\n") {
		if line = strings.TrimRight(line, " \t"); strings.TrimSpace(line) == "..." {
			re.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		if i == 0 {
			line = strings.TrimLeft(line, " \t")
		}
		parts := strings.Split(line, "...")
		for k := range parts {
			parts[k] = regexp.QuoteMeta(parts[k])
		}
		re.WriteString(strings.Join(parts, `[^\n]*`) + `[ \t]*\n`)
	}
	re.WriteString(`\s*\z`)
	return regexp.MustCompile(re.String()).MatchString(strings.TrimRight(got, "\n") + "\n")
}

func TestLikeOutput(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"a", "a\n", true},
		{"a  ", "a\n", true},
		{"a", "b\n", false},
		{"a", "a\nb\n", false},
		{"...", "a\nb\n", true},
		{"a\n...", "a\n", true},
		{"a\n...\nd", "a\nb\nc\nd\n", true},
		{"a\n...\nd", "a\nb\nc\n", false},
		{"x ... z", "x y y z\n", true},
		{"x ... z", "x y\nz\n", false},
		{"a.b", "acb\n", false},
	} {
		if likeOutput(c.want, c.got) != c.ok {
			t.Errorf("want %q, got %q: not %v", c.want, c.got, c.ok)
		}
	}
}

func TestMarkdownBlocks(t *testing.T) {
	got := markdown("x.md", "text\n```console\n$ a\nb\n```\n```go\n$ no\n```\n```console\n$ c\n```\n")
	if len(got) != 2 || got[0].where != "x.md:2" || strings.Join(got[0].lines, "|") != "$ a|b" || strings.Join(got[1].lines, "|") != "$ c" {
		t.Errorf("%+v", got)
	}
}
