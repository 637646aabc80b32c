package sip

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// skippedCaptures are those in which this test's simple reading of packets, or
// its counting of calls, cannot find what tshark found. The parser is not the cause.
var skippedCaptures = map[string]string{
	"Lekensteyn+wireshark-notes/websocket-sip.pcapng": "SIP over WebSocket",
	"ajbanjara+Wireshark/c07-sip-r2.cap":              "not a pcap file",
	"ntop+nDPI/fuzz-2006-06-26-2594.pcap":             "damaged bytes in CSeq and Call-ID, shown differently by tshark",
}

type truthCall struct {
	CallID        string              `json:"call_id"`
	SequenceTotal int                 `json:"sequence_total"`
	Sequence      [][]json.RawMessage `json:"sequence"`
}

// TestCaptures parses the public captures and compares, call by call, which
// messages are there with what tshark found.
func TestCaptures(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared", "captures")
	if _, err := os.Stat(root); err != nil {
		t.Skip("no public captures beside the repository")
	}
	files, calls, messages := 0, 0, 0
	err := filepath.WalkDir(filepath.Join(root, "truth"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		var truth struct {
			SIP *struct {
				Calls []truthCall `json:"calls"`
				Other []truthCall `json:"other_dialogs"`
			} `json:"sip"`
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &truth); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if truth.SIP == nil {
			return nil
		}
		rel, err := filepath.Rel(filepath.Join(root, "truth"), strings.TrimSuffix(path, ".json"))
		if err != nil {
			return err
		}
		files++
		t.Run(rel, func(t *testing.T) {
			if reason := skippedCaptures[filepath.ToSlash(rel)]; reason != "" {
				t.Skip(reason)
			}
			got := readCalls(t, filepath.Join(root, "files", rel))
			for _, c := range append(truth.SIP.Calls, truth.SIP.Other...) {
				if c.SequenceTotal != len(c.Sequence) {
					continue
				}
				var want []string
				for _, m := range c.Sequence {
					want = append(want, strings.Trim(string(m[3]), `"`)+" "+string(m[4])+" "+strings.Trim(string(m[5]), `"`))
				}
				calls++
				messages += len(want)
				have := got[c.CallID]
				slices.Sort(want)
				slices.Sort(have)
				if !slices.Equal(want, have) {
					t.Errorf("%s:\n have %q\n want %q", c.CallID, have, want)
				}
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, %d calls and dialogs, %d messages", files, calls, messages)
}

type packetSource interface {
	ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

type segment struct {
	seq  uint32
	data []byte
}

// readCalls returns the messages of each Call-ID as "label CSeq method".
func readCalls(t *testing.T, path string) map[string][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skip("capture is absent")
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if magic, _ := r.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		r = bufio.NewReader(z)
	}
	var src packetSource
	if magic, _ := r.Peek(4); bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		src, err = pcapgo.NewNgReader(r, pcapgo.DefaultNgReaderOptions)
	} else {
		src, err = pcapgo.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string][]string{}
	var m Message
	add := func(b []byte) {
		if err := Parse(b, &m); err != nil {
			t.Errorf("%v in %.60q", err, b)
			return
		}
		label := string(m.MethodText)
		if !m.Request {
			label = fmt.Sprint(m.Status)
		}
		id := string(m.CallID)
		calls[id] = append(calls[id], fmt.Sprintf("%s %d %s", label, m.CSeq, m.CSeqText))
	}
	streams := map[string][]segment{}
	defrag := ip4defrag.NewIPv4Defragmenter()
	for {
		data, ci, err := src.ReadPacketData()
		if err != nil {
			if err != io.EOF {
				t.Logf("reading ends with %v", err)
			}
			break
		}
		network := ""
		var first gopacket.Decoder = src.LinkType()
		if src.LinkType() == 228 { // LINKTYPE_IPV4, which gopacket does not know
			first = layers.LayerTypeIPv4
		}
		for p := gopacket.NewPacket(data, first, gopacket.Default); p != nil; {
			all := p.Layers()
			p = nil
			for _, l := range all {
				if n, ok := l.(gopacket.NetworkLayer); ok {
					network = n.NetworkFlow().String()
				}
				switch l := l.(type) {
				case *layers.IPv4:
					if l.FragOffset == 0 && l.Flags&layers.IPv4MoreFragments == 0 {
						continue
					}
					if whole, err := defrag.DefragIPv4WithTimestamp(l, ci.Timestamp); err == nil && whole != nil {
						p = gopacket.NewPacket(whole.Payload, whole.NextLayerType(), gopacket.Default)
					}
				case *layers.UDP:
					if Looks(l.Payload) {
						add(l.Payload)
					}
				case *layers.TCP:
					if len(l.Payload) > 0 {
						key := network + " " + l.TransportFlow().String()
						streams[key] = append(streams[key], segment{l.Seq, bytes.Clone(l.Payload)})
					}
				}
			}
		}
	}
	for _, segments := range streams {
		readStream(segments, add)
	}
	return calls
}

// readStream joins segments in the order of their sequence numbers, which
// nowhere wrap in these captures, and frames what comes out.
func readStream(segments []segment, add func([]byte)) {
	slices.SortStableFunc(segments, func(a, b segment) int { return cmp.Compare(a.seq, b.seq) })
	var stream []byte
	next := segments[0].seq
	for _, s := range segments {
		if skip := int(int32(next - s.seq)); skip > 0 {
			s.data = s.data[min(skip, len(s.data)):]
		}
		stream = append(stream, s.data...)
		next = max(next, s.seq+uint32(len(s.data)))
	}
	for len(stream) > 0 {
		n, ok, err := Frame(stream)
		if err != nil {
			at := Resync(stream)
			if at < 0 {
				return
			}
			stream = stream[at:]
			continue
		}
		if !ok {
			return
		}
		add(stream[:n])
		stream = stream[n:]
	}
}
