package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/twtrace/twtrace/fixtures"
)

// TestExamplesRun: every verb has an example in its help, and each of them runs
// in a folder that has what it names.
func TestExamplesRun(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(name, recorded string) {
		t.Helper()
		sub, err := fs.Sub(fixtures.Recorded(), recorded)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(dir, name), sub); err != nil {
			t.Fatal(err)
		}
	}
	folder("experiment", "paper-calls-n5")
	folder("experiments/run-1", "sip-tcp")
	folder("experiments/calls-n5", "paper-calls-n5")
	folder("calls", "paper-calls-n5/calls")
	capture := recordedCapture(t, "sip-tcp")
	put("capture.pcapng", capture)
	put("old.pcapng", recordedCapture(t, "sip-normal"))
	put("new.pcapng", recordedCapture(t, "sip-slow"))
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	if _, err := zw.Write(capture); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	put("capture.pcapng.gz", z.Bytes())
	keys, err := fs.ReadFile(fixtures.Recorded(), "browser-incoming/keys.log")
	if err != nil {
		t.Fatal(err)
	}
	put("keys.log", keys)
	put("my.key", []byte("sixteen bytes and more"))
	t.Chdir(dir)
	for _, out := range []string{"out", "out-may", "out-june"} {
		if code, _, stderr := call(t.Context(), nil, "batch", "experiments", "-o", out); code != 0 {
			t.Fatalf("exit %d: %s", code, stderr)
		}
	}
	_, ids, _ := call(t.Context(), nil, "calls", "capture.pcapng", "--columns", "call_id", "--limit", "1")
	id := strings.Fields(ids)[1]

	a := &app{ctx: context.Background(), stdout: io.Discard, stderr: io.Discard}
	root := a.root()
	ran := 0
	for _, c := range append(root.Commands(), root) {
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for l := range strings.Lines(c.Example) {
			l = strings.TrimSpace(l)
			line := strings.NewReplacer("CA0123...", id, `eval "$(`, "", `)"`, "", "source <(", "").Replace(l)
			line = strings.TrimSuffix(line, ")")
			line = strings.Replace(line, "archive.tar.zst", "experiments", 1) // scripts read archives
			var stdin io.Reader
			if rest, ok := strings.CutPrefix(line, "tcpdump -U -w - | "); ok {
				line, stdin = rest, bytes.NewReader(capture)
			}
			args := words(line)
			if args[0] != "twtrace" || !strings.Contains(c.CommandPath()+" help", args[1]) && c != root {
				t.Errorf("%s: example %q is of another program or verb", c.CommandPath(), l)
				continue
			}
			if _, err := exec.LookPath("tshark"); err != nil && args[1] == "verify" || testing.Short() && (args[1] == "simulate" || args[1] == "verify") {
				continue
			}
			for _, old := range []string{"run-1.pcapng", "shared.pcapng", "call.pcapng", "call.wav", "flows.svg", "report.html"} {
				os.Remove(old)
			}
			code, _, stderr := call(t.Context(), stdin, args[1:]...)
			if code != exitOK && code != exitDamaged && code != exitCompared {
				t.Errorf("%s\nexit %d: %s", l, code, stderr)
			}
			ran++
		}
	}
	if ran < 60 {
		t.Errorf("only %d examples ran", ran)
	}
}

// words are those of a line of a shell; single quotes hold one together.
func words(line string) []string {
	var list []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			list = append(list, part)
		} else {
			list = append(list, strings.Fields(part)...)
		}
	}
	return list
}

// TestManPages: there is a page of each verb, it is the same each time, and no
// formatter that is installed complains.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if code, out, stderr := call(t.Context(), nil, "man", filepath.Join(dir, "a")); code != 0 || out+stderr != "" {
		t.Fatalf("exit %d: %s%s", code, out, stderr)
	}
	call(t.Context(), nil, "man", filepath.Join(dir, "b"))
	a := &app{ctx: context.Background(), stdout: io.Discard, stderr: io.Discard}
	root := a.root()
	for _, c := range append(shownCommands(root), root) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, "a", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if again, err := os.ReadFile(filepath.Join(dir, "b", name)); err != nil || !bytes.Equal(page, again) {
			t.Errorf("%s differs the second time: %v", name, err)
		}
		if c != root && !bytes.Contains(page, []byte(".SH \"EXAMPLES\"\n")) {
			t.Errorf("%s has no example", name)
		}
		for _, lint := range [][]string{{"groff", "-man", "-ww", "-Tutf8"}, {"mandoc", "-Tlint", "-Wwarning"}} {
			if _, err := exec.LookPath(lint[0]); err != nil {
				continue
			}
			cmd := exec.Command(lint[0], append(lint[1:], filepath.Join(dir, "a", name))...)
			var complaints bytes.Buffer
			cmd.Stderr = &complaints
			if lint[0] == "mandoc" {
				cmd.Stdout = &complaints
			}
			if err := cmd.Run(); err != nil || complaints.Len() > 0 {
				t.Errorf("%s: %s: %v\n%s", name, lint[0], err, &complaints)
			}
		}
	}
	if code, _, stderr := call(t.Context(), nil, "man"); code != exitUsage || !strings.Contains(stderr, "want one DIR") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
