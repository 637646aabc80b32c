package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/table"
)

// docFiles are the documents of the repository: path from its root, to text.
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
