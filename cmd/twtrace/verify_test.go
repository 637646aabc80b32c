package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/packed"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

// On the recorded fixtures tshark finds the same, in the clear and through keys.
func TestVerify(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, run1 := range []string{"sip-loss2", "sip-tcp", "sip-busy", "browser-incoming"} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), []string{"verify", filepath.Join(dir, run1), "-f", "csv"}, nil, &stdout, &stderr); code != exitOK || strings.Contains(stderr.String(), "no explanation") {
			t.Errorf("%s: exit %d: %s", run1, code, &stderr)
		}
		list, err := csv.NewReader(&stdout).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list[1:] {
			rows[r[1]]++
			if r[5] == "differs" || r[5] == "explained" && r[1] != "streams" { // media that only keys show
				t.Errorf("%s: %q", run1, r)
			}
		}
	}
	if rows["packets"] != 4 || rows["sip messages"] < 12 || rows["calls"] != 4 || rows["stream"] < 6 {
		t.Errorf("rows of each kind: %v", rows)
	}
}

func TestVerifyWithoutTshark(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var stderr bytes.Buffer
	if code := run(context.Background(), []string{"verify", "x.pcap"}, nil, &bytes.Buffer{}, &stderr); code != exitNothing || !strings.Contains(stderr.String(), "tshark is not installed") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}

// What differs is explained by figures, or marked.
func TestVerifyExplains(t *testing.T) {
	d := &table.Dataset{
		Captures: []decode.Capture{{Packets: 200, DuplicatePackets: 100}},
		Streams:  packed.Of(sessions.Stream{Src: "a", SrcPort: 1, Dst: "b", DstPort: 2, SSRC: 7, Packets: 90, Duplicates: 10}, sessions.Stream{Src: "c", SrcPort: 1, Dst: "d", DstPort: 2, SSRC: 8, Packets: 5}),
	}
	for _, c := range []struct {
		name, what string
		f          found
		result     string
	}{
		{"more packets", "packets", found{packets: 201}, "differs"},
		{"damage", "packets", found{packets: 190, damaged: "cut short"}, "explained"},
		{"duplicates", "stream", found{streams: []foundStream{{"a", "b", 1, 2, 7, 100, -10}}}, "explained"},
		{"more packets and fewer lost than tshark has", "stream", found{streams: []foundStream{{"c", "d", 1, 2, 8, 4, 1}}}, "explained"},
		{"a stream that is not here", "stream", found{streams: []foundStream{{"x", "y", 1, 2, 7, 100, 0}}}, "differs"},
		{"copies", "sip messages", found{messages: map[string]int64{"INVITE": 2}}, "explained"},
		{"a call that is not here", "call", found{calls: map[string]bool{"id": true}}, "differs"},
	} {
		got := ""
		for _, r := range compareWith(d, &c.f) {
			if r.what == c.what {
				got = r.result
			}
		}
		if got != c.result {
			t.Errorf("%s: %q, want %q", c.name, got, c.result)
		}
	}
}

// The command that wireshark prints shows, in tshark, the packets that slice
// writes, name lookups aside.
func TestWiresharkFindsTheCall(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("no tshark")
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, fixtures.Recorded()); err != nil {
		t.Fatal(err)
	}
	say := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), args, nil, &stdout, &stderr); code != exitOK {
			t.Fatalf("%q: exit %d: %s", args, code, &stderr)
		}
		return stdout.String()
	}
	count := func(command string) int {
		t.Helper()
		c := exec.Command(sh, "-c", command)
		c.Dir = dir
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return strings.Count(string(out), "\n")
	}
	for _, name := range []string{"sip-busy", "sip-normal", "browser-incoming"} {
		root := filepath.Join(dir, name)
		for _, id := range strings.Fields(say("calls", root, "--columns", "call_id", "-f", "csv", "--where", "first_frame > 0", "-q"))[1:] {
			file := filepath.Join(dir, "call.pcapng")
			say("slice", root, "--call", id, "-o", file, "--force", "-q")
			command := strings.Replace(say("wireshark", root, "--call", id, "-q"), "wireshark ", "tshark ", 1)
			// An ICMP error quotes a packet and matches too: the slice has none.
			command = strings.TrimSuffix(strings.Replace(command, "-Y '", "-Y '!icmp && (", 1), "'\n") + ")'"
			want := count("tshark -r call.pcapng -Y '!dns && !ip.flags.mf == 1 || sip'")
			if got := count(command); got != want || got == 0 {
				t.Errorf("%s, %s: the filter shows %d packets, the slice has %d\n%s", name, id, got, want, command)
			}
		}
	}
}
