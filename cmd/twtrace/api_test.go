package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The packages that other programs may use have a small interface; what
// changes in it is seen here. Columns of rows are held by the schema.
func TestAPI(t *testing.T) {
	var lines []string
	for _, pkg := range []string{"decode", "sessions", "rates"} {
		lines = append(lines, exported(t, pkg)...)
	}
	text := strings.Join(lines, "\n") + "\n"
	name := filepath.Join("testdata", "api.txt")
	if *update {
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(string(have), "\r\n", "\n"); got != text {
		at, want, found := firstDifference(text, got)
		t.Errorf("%s:%d: the packages have %q, the file %q; go test ./cmd/twtrace -run TestAPI -update, and read the difference", name, at, want, found)
	}
}

// exported are the exported declarations of a package, one a line, in order.
func exported(t *testing.T, pkg string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var lines []string
	add := func(words ...any) {
		var b strings.Builder
		b.WriteString(pkg + ":")
		for _, w := range words {
			b.WriteByte(' ')
			if s, ok := w.(string); ok {
				b.WriteString(s)
				continue
			}
			var p bytes.Buffer
			if err := printer.Fprint(&p, set, w); err != nil {
				t.Fatal(err)
			}
			b.WriteString(strings.Join(strings.Fields(p.String()), " "))
		}
		lines = append(lines, b.String())
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
					d.Body, d.Doc = nil, nil
					add(d)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() {
								add(d.Tok.String(), n.Name)
							}
						}
					case *ast.TypeSpec:
						if s.Name.IsExported() {
							addType(add, s)
						}
					}
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// receiver is the name of the type that a method belongs to.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// addType adds a type, and its exported fields unless they are columns.
func addType(add func(...any), s *ast.TypeSpec) {
	st, ok := s.Type.(*ast.StructType)
	if !ok {
		kind := "type"
		if s.Assign != 0 {
			kind = "alias"
		}
		add(kind, s.Name.Name, s.Type)
		return
	}
	add("type", s.Name.Name, "struct")
	for _, f := range st.Fields.List {
		if f.Tag != nil && strings.Contains(f.Tag.Value, "col:") {
			continue
		}
		if len(f.Names) == 0 {
			add("field", s.Name.Name, "embeds", f.Type)
		}
		for _, n := range f.Names {
			if n.IsExported() {
				add("field", s.Name.Name+"."+n.Name, f.Type)
			}
		}
	}
}
