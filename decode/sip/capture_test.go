package sip

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"

	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/internal/captest"
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
	type recorded struct {
		SIP *struct {
			Calls []truthCall `json:"calls"`
			Other []truthCall `json:"other_dialogs"`
		} `json:"sip"`
	}
	files, calls, messages := 0, 0, 0
	has := func(truth *recorded) bool { return truth.SIP != nil }
	captest.Truths(t, os.DirFS(captest.Shared), has, func(t *testing.T, c captest.Capture, truth *recorded) {
		files++
		if reason := skippedCaptures[c.Path]; reason != "" {
			t.Skip(reason)
		}
		got := readCalls(t, c)
		for _, call := range append(truth.SIP.Calls, truth.SIP.Other...) {
			if call.SequenceTotal != len(call.Sequence) {
				continue
			}
			var want []string
			for _, m := range call.Sequence {
				want = append(want, strings.Trim(string(m[3]), `"`)+" "+string(m[4])+" "+strings.Trim(string(m[5]), `"`))
			}
			calls++
			messages += len(want)
			have := got[call.CallID]
			slices.Sort(want)
			slices.Sort(have)
			if !slices.Equal(want, have) {
				t.Errorf("%s:\n have %q\n want %q", call.CallID, have, want)
			}
		}
	})
	t.Logf("%d files, %d calls and dialogs, %d messages", files, calls, messages)
}

type segment struct {
	seq  uint32
	data []byte
}

// readCalls returns the messages of each Call-ID as "label CSeq method".
func readCalls(t *testing.T, c captest.Capture) map[string][]string {
	t.Helper()
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
	// Not captest's packets: tshark also counts the copies of fragments taken at
	// other interfaces, which decode/link refuses.
	err := c.Frames(t, func(frame *pcap.Frame) {
		network := ""
		var first gopacket.Decoder = layers.LinkType(frame.Link)
		if frame.Link == pcap.LinkIPv4 { // which gopacket does not know
			first = layers.LayerTypeIPv4
		}
		for p := gopacket.NewPacket(frame.Data, first, gopacket.Default); p != nil; {
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
					if whole, err := defrag.DefragIPv4WithTimestamp(l, time.Unix(0, frame.Time)); err == nil && whole != nil {
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
	})
	if errors.Is(err, captest.ErrFormat) {
		t.Fatal(err)
	} else if err != nil {
		t.Logf("reading ends with %v", err)
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
