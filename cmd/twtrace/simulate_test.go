package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An interrupted simulation leaves nothing, or the folder as it was.
func TestSimulateInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	out := filepath.Join(dir, "new", "exp")
	if code, stdout, stderr := call(ctx, strings.NewReader(""), "simulate", "-o", out, "--calls", "5"); code != 130 || stdout != "" || !strings.Contains(stderr, "interrupted") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if code, _, stderr := call(t.Context(), nil, "simulate", "-o", out, "--calls", "5"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	before, err := sums(out)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ := call(ctx, nil, "simulate", "-o", out, "--messages", "5", "--bytes", "7"); code != 130 {
		t.Errorf("code %d", code)
	}
	if after, err := sums(out); err != nil || strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("%v\n%v\n%v", err, before, after)
	}
	if code, stdout, _ := call(ctx, nil, "simulate", "--plan", "-f", "csv"); code != 130 || stdout != "" {
		t.Errorf("--plan: code %d, stdout %q", code, stdout)
	}
}

// Text is aligned by what is seen, and nothing of a name reaches the terminal raw.
func TestGrid(t *testing.T) {
	g := grid{columns: []string{"name", "n", "x"}, rows: [][]any{{"a\x1b[31m", int64(7), 0.1}, {"=cmd", int64(12345), nil}, {"+1500", nil, 123456.0}}}
	for format, want := range map[string]string{
		"table":  "name             n       x\na\\u{1B}[31m      7     0.1\n=cmd         12345\n+1500               123500\n",
		"csv":    "name,n,x\na\x1b[31m,7,0.1\n'=cmd,12345,\n+1500,,123456\n",
		"ndjson": "{\"name\":\"a\\u001b[31m\",\"n\":7,\"x\":0.1}\n{\"name\":\"=cmd\",\"n\":12345,\"x\":null}\n{\"name\":\"+1500\",\"n\":null,\"x\":123456}\n",
		"json":   "[\n{\"name\":\"a\\u001b[31m\",\"n\":7,\"x\":0.1},\n{\"name\":\"=cmd\",\"n\":12345,\"x\":null},\n{\"name\":\"+1500\",\"n\":null,\"x\":123456}\n]\n",
	} {
		a := &app{format: format, stdout: new(strings.Builder)}
		f, err := a.gridFormat()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := g.write(&b, f); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%q, want\n%q", format, err, b.String(), want)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.12344: "0.1234", 1234567: "1235000", -0.00001: "-0.00001", 1e-12: "1e-12", 1e12: "1e+12", 100: "100"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %q, want %q", v, got, want)
		}
	}
	if got := footnote(10); got != "¹⁰" {
		t.Errorf("footnote 10 is %q", got)
	}
}
