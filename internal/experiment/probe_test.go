package experiment

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/fixtures"
)

// The content of a compressed file is told from its beginning: exactly when it
// is short, else within the eighth that readers read ahead.
func TestProbe(t *testing.T) {
	var capture []byte
	for _, f := range fixtures.DemoCalls()[0].Files() {
		if f.Name == "capture.pcapng" {
			capture = f.Data
		}
	}
	var export bytes.Buffer
	for r := rand.New(rand.NewPCG(1, 1)); export.Len() < 8<<20; {
		fmt.Fprintf(&export, "{\"sid\": \"SM%016x%016x\", \"date_created\": \"Thu, 21 Nov 2013 18:00:00 +0000\"}\n", r.Uint64(), r.Uint64())
	}
	zip := func(data []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	probe := func(name string, data []byte) Probe {
		exps, err := Find([]Input{{FS: fstest.MapFS{name: {Data: data}}, Path: ".", Name: "run"}}, true)
		if err != nil {
			t.Fatal(err)
		}
		return exps[0].Probe()
	}
	if len(capture) == 0 || len(zip(capture)) > probeStored {
		t.Fatalf("%d bytes of capture: want some, and fewer compressed than %d", len(capture), probeStored)
	}
	for _, c := range []struct {
		name    string
		data    []byte
		content int
		off     float64
		factor  int64
	}{
		{"a.pcapng", capture, len(capture), 0, memoryPerCapture},
		{"a.pcapng.gz", zip(capture), len(capture), 0, memoryPerCapture},
		{"b.json", export.Bytes(), export.Len(), 0, memoryPerExport},
		{"b.json.gz", zip(export.Bytes()), export.Len(), 0.125, memoryPerExport},
	} {
		p := probe(c.name, c.data)
		off := float64(p.Content)/float64(c.content) - 1
		if p.Files != 1 || p.Bytes != int64(len(c.data)) || off > c.off || off < -c.off || p.Memory != baseMemory+c.factor*p.Content {
			t.Errorf("%s: %+v; want %d bytes and a content near %d, off by %.3f", c.name, p, len(c.data), c.content, off)
		}
	}
	exps, err := Find([]Input{{FS: fixtures.Recorded(), Path: ".", Name: "recorded"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range exps {
		size := int64(0)
		for _, f := range e.Files {
			info, err := fs.Stat(fixtures.Recorded(), f.Name)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if p := e.Probe(); p.Bytes != size || p.Content < size {
			t.Errorf("%s: %+v; want %d bytes and no less content", e.Name, p, size)
		}
	}
}
