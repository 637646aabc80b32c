package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/twtrace/twtrace/internal/table"
)

// docFiles are the documents of the repository: path from its root to text.
func docFiles(t *testing.T) map[string]string {
	t.Helper()
	root := filepath.Join("..", "..")
	files := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.ToSlash(rel)] = string(text)
		}
	}
	return files
}

// columns are the names of the columns of each table.
func columns(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all := map[string]map[string]bool{}
	for _, tab := range table.Schemas() {
		all[tab.Name] = map[string]bool{}
		for _, c := range tab.Columns {
			all[tab.Name][c.Name] = true
		}
	}
	return all
}

var (
	code      = regexp.MustCompile("`[^`\n]+`")
	qualified = regexp.MustCompile("^`([a-z_]+)\\.([a-z_0-9]+)`$")
	goFile    = regexp.MustCompile(`\b[a-z0-9/]+/[a-z0-9_]+\.go\b`)
)

// A column that a document names as `table.column` exists, and so does each
// column and Go file in the tables of numbers.md.
func TestDocumentsNameWhatIs(t *testing.T) {
	tables := columns(t)
	anywhere := map[string]bool{}
	for _, of := range tables {
		for name := range of {
			anywhere[name] = true
		}
	}
	checked := 0
	for file, text := range docFiles(t) {
		for _, word := range code.FindAllString(text, -1) {
			m := qualified.FindStringSubmatch(word)
			if m == nil || tables[m[1]] == nil {
				continue
			}
			checked++
			if !tables[m[1]][m[2]] {
				t.Errorf("%s: %s: table %s has no such column", file, word, m[1])
			}
		}
		for _, name := range goFile.FindAllString(text, -1) {
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(name))); err != nil {
				t.Errorf("%s: %s: no such file", file, name)
			}
		}
		if file != "docs/numbers.md" {
			continue
		}
		for line := range strings.SplitSeq(text, "\n") {
			cells := strings.Split(line, "|")
			if len(cells) < 6 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[2]) == "column" {
				continue
			}
			for _, word := range code.FindAllString(cells[2], -1) {
				checked++
				if name := strings.Trim(word, "`"); !anywhere[name[strings.Index(name, ".")+1:]] {
					t.Errorf("%s: %s is no column", file, word)
				}
			}
		}
	}
	if checked < 40 {
		t.Errorf("%d names of columns were found: the documents or this test changed", checked)
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+?)\s*$`)
	fence   = regexp.MustCompile("(?ms)^```(\\w*)[ ]*$(.*?)^```[ ]*$")
)

// anchors are the names that GitHub gives to the headings of a document.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		for i, base := 1, name; names[name]; i++ {
			name = fmt.Sprintf("%s-%d", base, i)
		}
		names[name] = true
	}
	return names
}

// brokenLinks are the relative links of a document that lead nowhere in root.
func brokenLinks(root fs.FS, file, text string) []string {
	var broken []string
	for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
			continue
		}
		target, anchor, _ := strings.Cut(m[1], "#")
		name := file
		if target != "" {
			name = path.Join(path.Dir(file), target)
		}
		content := text
		if name != file {
			if info, err := fs.Stat(root, name); err != nil {
				broken = append(broken, m[1])
				continue
			} else if anchor == "" || info.IsDir() {
				continue
			}
			b, err := fs.ReadFile(root, name)
			if err != nil {
				broken = append(broken, m[1])
				continue
			}
			content = string(b)
		}
		if anchor != "" && !anchors(content)[anchor] {
			broken = append(broken, m[1])
		}
	}
	return broken
}

// Every link within the documents leads somewhere, and every command that a
// document shows with a prompt stands in a block that is run.
func TestDocumentLinks(t *testing.T) {
	root, links := os.DirFS(filepath.Join("..", "..")), 0
	for file, text := range docFiles(t) {
		links += len(link.FindAllString(text, -1))
		for _, l := range brokenLinks(root, file, text) {
			t.Errorf("%s: link to %s leads nowhere", file, l)
		}
		for _, m := range fence.FindAllStringSubmatch(text, -1) {
			if m[1] != "console" && strings.Contains(m[2], "\n$ ") {
				t.Errorf("%s: a block of %q has a command with a prompt, which no test runs", file, m[1])
			}
		}
	}
	if links < 30 {
		t.Errorf("%d links were found: the documents or this test changed", links)
	}
}

func TestBrokenLinks(t *testing.T) {
	root := fstest.MapFS{
		"docs/b.md":  {Data: []byte("# What `x` is\n## Ring, and jitter\n## x_y\n## x_y\n```\n# none\n```\n")},
		"docs/c.png": {},
	}
	good := "# A\n[1](b.md) ![2](c.png) [3](b.md#what-x-is) [4](b.md#ring-and-jitter) [5](#a) [6](b.md#x_y-1) [7](https://example.org/x) [8](../docs)"
	if got := brokenLinks(root, "docs/a.md", good); got != nil {
		t.Errorf("%q are said to be broken", got)
	}
	bad := "# A\n[1](d.md) [2](b.md#none) [3](#b) [4](../b.md) [5](b.md#x_y-2)"
	if got := brokenLinks(root, "docs/a.md", bad); len(got) != 5 {
		t.Errorf("%q are said to be broken, want all five", got)
	}
}
