// Package captest reads recorded captures for the tests of the format
// packages: the captures of the shared folder with the truth that tshark told
// of each, and of any capture its packets, UDP datagrams and TCP streams.
//
// It is test support: only _test.go files may import it, so that no binary
// links it. The folder comes as an fs.FS, which the test makes with os.DirFS:
// like every package but the command, this one does not touch the disk itself.
// It may import decode/pcap and decode/link, whose in-package tests therefore
// cannot import it.
//
// Times are nanoseconds since 1970 UTC. What a callback gets aliases the
// reader's buffers until it returns; what a Stream holds is copied.
//
// Not handled: what decode/link refuses, such as packets quoted in ICMP errors
// (Frames gives them raw), and connections that use the ports of earlier ones.
package captest

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
)

// Shared is the folder of recorded test data, beside the repository, as seen
// from a package two levels deep.
const Shared = "../../../shared"

// ErrFormat is the error of a file that is not a capture that can be read.
var ErrFormat = errors.New("not a readable capture")

// Capture is a capture file.
type Capture struct {
	Path string // in FS, or below captures/files where Truths found it
	FS   fs.FS
}

// Truths runs test for each capture of shared's folder captures of whose truth
// has says that there is something to compare. It skips t if there is no such
// folder.
func Truths[T any](t *testing.T, shared fs.FS, has func(*T) bool, test func(*testing.T, Capture, *T)) {
	t.Helper()
	if _, err := fs.Stat(shared, "captures"); err != nil {
		t.Skip(err)
	}
	truths, err := fs.Sub(shared, "captures/truth")
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(shared, "captures/files")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(truths, ".", func(name string, d fs.DirEntry, err error) error {
		path, ok := strings.CutSuffix(name, ".json")
		if err != nil || !ok {
			return err
		}
		raw, err := fs.ReadFile(truths, name)
		if err != nil {
			return err
		}
		truth := new(T)
		if err := json.Unmarshal(raw, truth); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if has(truth) {
			t.Run(path, func(t *testing.T) { test(t, Capture{path, files}, truth) })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Frames calls f with every frame of the capture and returns what ended it
// before its end. It skips t if the file is absent.
func (c Capture) Frames(t testing.TB, f func(*pcap.Frame)) error {
	t.Helper()
	file, err := c.FS.Open(c.Path)
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	in := bufio.NewReader(file)
	if magic, _ := in.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		in = bufio.NewReader(z)
	}
	r, err := pcap.NewReader(in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var frame pcap.Frame
	for {
		if err := r.Next(&frame); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		f(&frame)
	}
}

// Packets calls f with every packet that decode/link finds in the capture and
// with the frame that held or completed it. It returns what Frames does.
func (c Capture) Packets(t testing.TB, f func(*pcap.Frame, *link.Packet)) error {
	t.Helper()
	d := link.NewDecoder()
	var p link.Packet
	return c.Frames(t, func(frame *pcap.Frame) {
		if d.Decode(uint16(frame.Link), frame.Data, frame.OrigLen, frame.Time, &p) == link.Used {
			f(frame, &p)
		}
	})
}

// packets is Packets for comparisons with tshark: it skips t where the file is
// not a capture and goes on with what lies before damage.
func (c Capture) packets(t testing.TB, f func(*pcap.Frame, *link.Packet)) {
	t.Helper()
	if err := c.Packets(t, f); errors.Is(err, ErrFormat) {
		t.Skip(err)
	} else if err != nil {
		t.Log(err)
	}
}

// Datagrams calls f with every UDP packet of the capture and its time as the
// truth tells times. It skips t if the file is absent or not a capture.
func (c Capture) Datagrams(t testing.TB, f func(at string, p *link.Packet)) {
	t.Helper()
	c.packets(t, func(frame *pcap.Frame, p *link.Packet) {
		if p.Proto == link.ProtoUDP {
			f(fmt.Sprintf("%d.%09d", frame.Time/1e9, frame.Time%1e9), p)
		}
	})
}

// Stream is one direction of a TCP connection.
type Stream struct {
	Src, Dst netip.AddrPort
	segments []segment
}

type segment struct {
	seq  uint32
	data []byte
}

// Streams gives the directions of TCP connections that carry data, in the
// order of their first data. It skips t if the file is absent or not a capture.
func (c Capture) Streams(t testing.TB) []*Stream {
	t.Helper()
	var s Streams
	c.packets(t, func(_ *pcap.Frame, p *link.Packet) { s.Add(p) })
	return s.All
}

// Streams collects the data of TCP packets. The zero value is empty.
type Streams struct {
	All   []*Stream // in the order of their first data
	index map[[2]netip.AddrPort]*Stream
}

// Add adds a packet's data; other packets than TCP's have none.
func (s *Streams) Add(p *link.Packet) {
	if p.Proto != link.ProtoTCP || len(p.Payload) == 0 {
		return
	}
	key := [2]netip.AddrPort{netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)}
	one := s.index[key]
	if one == nil {
		if s.index == nil {
			s.index = map[[2]netip.AddrPort]*Stream{}
		}
		one = &Stream{Src: key[0], Dst: key[1]}
		s.index[key] = one
		s.All = append(s.All, one)
	}
	one.segments = append(one.segments, segment{p.Seq, slices.Clone(p.Payload)})
}

// First gives the data of the segment that was captured first.
func (s *Stream) First() []byte { return s.segments[0].data }

// Replay calls feed with the stream's bytes, each once and in the order of
// their sequence numbers, and lost with the length of each gap.
func (s *Stream) Replay(feed func([]byte), lost func(int64)) {
	sorted := slices.Clone(s.segments)
	slices.SortStableFunc(sorted, func(a, b segment) int { return int(int32(a.seq - b.seq)) })
	next := sorted[0].seq
	for _, seg := range sorted {
		data := seg.data
		ahead := int(int32(seg.seq - next))
		if ahead > 0 {
			lost(int64(ahead))
			next = seg.seq
		} else if -ahead >= len(data) {
			continue
		} else {
			data = data[-ahead:]
		}
		feed(data)
		next += uint32(len(data))
	}
}
