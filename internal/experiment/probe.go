package experiment

import (
	"io"

	"github.com/twtrace/twtrace/decode/container"
)

// Probe is what can be told of an experiment's size without an analysis.
type Probe struct {
	Files   int
	Bytes   int64 // as stored; of a file whose size is not known, none
	Content int64 // decompressed, by the ratio of each file's beginning
	// Memory is about what an analysis takes at most. Measured on made captures,
	// peak over content: media 0.3, TLS with long messages 1, SIP and nothing else
	// 7, TLS with messages of 60 bytes 7; exports 4. Which one it is the packets
	// would tell, so captures count as the worst of these.
	Memory int64
}

const (
	// baseMemory is what an analysis takes besides its inputs: decoders' windows,
	// a table's writer.
	baseMemory = 8 << 20

	memoryPerCapture, memoryPerExport = 7, 4

	// A ratio is told from so many bytes as stored, or when these give very much,
	// decompressed. Readers read ahead by 64 KiB.
	probeStored, probeContent = 512 << 10, 16 << 20
)

// Probe looks at the beginning of each file.
func (e Experiment) Probe() Probe {
	p := Probe{Files: len(e.Files), Memory: baseMemory}
	for _, f := range e.Files {
		c, err := f.Identify()
		if err != nil || f.Size <= 0 {
			continue
		}
		n := int64(float64(f.Size) * ratio(f, c.Compression))
		p.Bytes += f.Size
		p.Content += n
		switch c.Kind {
		case container.Pcap, container.Pcapng:
			p.Memory += memoryPerCapture * n
		case container.Resources:
			p.Memory += memoryPerExport * n
		}
	}
	return p
}

// ratio is decompressed bytes a stored byte.
func ratio(f *container.File, c container.Compression) float64 {
	if c == container.None || f.Once() {
		return 1
	}
	raw, err := f.Open()
	if err != nil {
		return 1
	}
	defer raw.Close()
	in := &counted{r: raw}
	d, _, err := container.NewReader(in, container.Limits{})
	if err != nil {
		return 1
	}
	defer d.Close()
	var out int64
	for err == nil && in.n < probeStored && out < probeContent {
		var n int64
		n, err = io.CopyN(io.Discard, d, 64<<10) // damage is for the analysis to tell
		out += n
	}
	if in.n == 0 {
		return 1
	}
	return max(1, float64(out)/float64(in.n))
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
