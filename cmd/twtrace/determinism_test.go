package main

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/fixtures"
)

// The same input gives the same bytes, whatever the machine is like. Each run
// is a process of its own, since zone and processors are read at its start.
func TestDeterminism(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "in"), fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// testscript.Main runs the command when the test binary bears its name.
	twtrace := filepath.Join(dir, "twtrace")
	if err := os.Symlink(self, twtrace); err != nil {
		t.Skip(err)
	}
	machines := [][]string{
		{"TZ=UTC", "GOMAXPROCS=1", "LANG=C"},
		{"TZ=Asia/Kathmandu", "GOMAXPROCS=8", "LANG=de_DE.UTF-8"},
	}
	output := func(machine, args []string) string {
		t.Helper()
		c := exec.Command(twtrace, args...)
		c.Dir = dir
		c.Env = append(os.Environ(), machine...)
		var errs strings.Builder
		c.Stderr = &errs
		out, err := c.Output()
		if err != nil || errs.Len() > 0 {
			t.Fatalf("%s %q: %v\n%s", machine, args, err, errs.String())
		}
		return string(out)
	}
	inputs := []string{"in/sip-slow/capture.pcapng.gz", "in/sip-tcp/capture.pcapng.gz", "in/sip-busy", "in/messages-ucs2-71",
		"in/messages-mixed-sizes/messages/page-003.json", "in/messages-mixed-sizes/messages/page-001.json", "in/messages-mixed-sizes/messages/page-000.json"}

	t.Run("folders", func(t *testing.T) {
		for _, c := range []struct {
			name string
			runs [2][]string // one for each machine
		}{
			{"analyze", [2][]string{{"analyze", "in/sip-normal"}, {"analyze", "in/sip-normal"}}},
			{"analyze-files", [2][]string{append([]string{"analyze"}, inputs...), append([]string{"analyze"}, shuffled(inputs)...)}},
			{"batch", [2][]string{{"batch", "in", "--jobs", "1"}, {"batch", "in", "--jobs", "8"}}},
			{"demo", [2][]string{{"demo", "--jobs", "1", "--arrow"}, {"demo", "--jobs", "8", "--arrow"}}},
		} {
			var first []string
			for k, machine := range machines {
				out := filepath.Join(dir, c.name)
				output(machine, append(slices.Clone(c.runs[k]), "-q", "-o", out))
				got, err := sums(out)
				if err != nil {
					t.Fatal(err)
				}
				if first == nil {
					first = got
				}
				if !slices.Equal(first, got) {
					t.Errorf("%s: files differ:\n%s", c.name, difference(first, got))
				}
			}
			if len(first) < 17 { // a schema file for each table, at least
				t.Errorf("%s: %d files only", c.name, len(first))
			}
		}
	})
	t.Run("printed", func(t *testing.T) {
		for _, args := range [][]string{
			{"signals"}, {"flows", "-f", "arrow"}, {"oddities", "-f", "json"}, {"inputs", "-f", "table"}, {"experiments", "-f", "ndjson"}, {"flow"},
		} {
			want := output(machines[0], append(slices.Clone(args), inputs...))
			got := output(machines[1], append(slices.Clone(args), shuffled(inputs)...))
			if want == "" || want != got {
				t.Errorf("%s: %d and %d bytes, not the same", args, len(want), len(got))
			}
		}
		for _, args := range [][]string{{"ledger", "in"}, {"signals", "in/sip-tcp", "in"}, {"rates", "in", "-f", "parquet"}} {
			want := output(machines[0], append(slices.Clone(args), "--jobs", "1"))
			got := output(machines[1], append(slices.Clone(args), "--jobs", "8"))
			if want == "" || want != got {
				t.Errorf("%s: %d and %d bytes, not the same at 1 and 8 jobs", args, len(want), len(got))
			}
		}
	})
}

func shuffled(list []string) []string {
	list = slices.Clone(list)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func difference(a, b []string) string {
	var d []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			d = append(d, "- "+x)
		}
	}
	for _, x := range b {
		if !slices.Contains(a, x) {
			d = append(d, "+ "+x)
		}
	}
	return strings.Join(d, "\n")
}
