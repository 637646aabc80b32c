package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/experiment"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"": 0, "300MB": 300e6, "300M": 300e6, "2GiB": 2 << 30, "0.5GB": 5e8, "64000000": 64e6, "64000000B": 64e6, "100000kB": 1e8, "1T": 1e12,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"0", "63MB", "MB", "-1GB", "1 GB x", "300mb", "1e40GB", "NaNGB", "InfGB", "300MBB", "9999999TB"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("%q: %d, want an error", in, got)
		}
	}
}

// What may take more than half of the room is done alone, whatever --jobs; so is
// what may take more than all of it. Without a limit as many as --jobs meet.
func TestRoomBoundsWhatIsDoneAtOnce(t *testing.T) {
	fsys := fstest.MapFS{}
	for k := range 4 {
		// Only the size matters: it is not analysed here.
		data := make([]byte, 500_000+k*1_000_000)
		copy(data, "\xd4\xc3\xb2\xa1\x02\x00\x04\x00")
		data[20] = 1
		fsys[fmt.Sprintf("run%d/a.pcap", k)] = &fstest.MapFile{Data: data}
	}
	exps, err := experiment.Find([]experiment.Input{{FS: fsys, Path: ".", Name: "root"}}, false)
	if err != nil || len(exps) != 4 {
		t.Fatal(len(exps), err)
	}
	most := func(size string) int {
		a := &app{ctx: t.Context(), stderr: &strings.Builder{}, jobs: 4, maxMemory: size}
		var mu sync.Mutex
		now, top := 0, 0
		all := make(chan struct{})
		err := a.sideBySide(exps, func(ctx context.Context, i int, _ *part) (*experiment.Result, error) {
			mu.Lock()
			now++
			top = max(top, now)
			if now == len(exps) {
				close(all)
			}
			mu.Unlock()
			if size == "" {
				<-all // nobody leaves before all are in
			}
			mu.Lock()
			now--
			mu.Unlock()
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return top
	}
	if got := most(""); got != 4 {
		t.Errorf("%d at once without a limit, want 4", got)
	}
	for range 20 {
		if got := most("64MB"); got != 1 {
			t.Errorf("%d at once, want 1", got)
		}
	}
}

// A limit holds and changes no byte.
func TestMaxMemory(t *testing.T) {
	p := programs(t, "twtrace")[0]
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	for k := range 4 {
		name := filepath.Join(in, fmt.Sprint("run", k), "capture.pcap")
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := fixtures.WriteLoad(f, 2500, 2); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	peak := func(out string, args ...string) int64 {
		c := exec.Command(p, append([]string{"batch", in, "-o", filepath.Join(dir, out), "-q", "--jobs", "4", "--shard", "0/1"}, args...)...)
		var msg bytes.Buffer
		c.Stderr = &msg
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		peak := watchMemory(c.Process.Pid)
		if err := c.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, &msg)
		}
		return peak()
	}
	free := peak("free")
	limited := peak("limited", "--max-memory", "160MB")
	t.Logf("peak memory %d MB, with a limit of 160 MB %d MB", free/1e6, limited/1e6)
	if limited > 160e6 {
		t.Errorf("%d bytes, want at most 160 MB", limited)
	}
	a, err := sums(filepath.Join(dir, "free"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := sums(filepath.Join(dir, "limited"))
	if err != nil || !slices.Equal(a, b) {
		t.Errorf("%v\n%s", err, difference(a, b))
	}
}
