package experiment

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/table"
)

// A pcapng of raw IP with the drop counter of its interface.
func pcapng(packets [][]byte, drops uint64) []byte {
	var b []byte
	block := func(kind uint32, body []byte) {
		n := uint32(12 + (len(body)+3)/4*4)
		b = binary.LittleEndian.AppendUint32(b, kind)
		b = binary.LittleEndian.AppendUint32(b, n)
		b = append(b, body...)
		b = append(b, make([]byte, int(n)-12-len(body))...)
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	block(0x0A0D0D0A, []byte{0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	block(1, []byte{101, 0, 0, 0, 0, 0, 4, 0})
	at := uint64(1_700_000_000_000_000)
	for _, p := range packets {
		at += 500_000
		h := binary.LittleEndian.AppendUint32(nil, 0)
		h = binary.LittleEndian.AppendUint32(h, uint32(at>>32))
		h = binary.LittleEndian.AppendUint32(h, uint32(at))
		h = binary.LittleEndian.AppendUint32(h, uint32(len(p)))
		h = binary.LittleEndian.AppendUint32(h, uint32(len(p)))
		block(6, append(h, p...))
	}
	s := binary.LittleEndian.AppendUint32(nil, 0)
	s = binary.LittleEndian.AppendUint32(s, uint32(at>>32))
	s = binary.LittleEndian.AppendUint32(s, uint32(at))
	s = append(s, 5, 0, 8, 0) // isb_ifdrop
	s = binary.LittleEndian.AppendUint64(s, drops)
	block(5, append(s, 0, 0, 0, 0))
	return b
}

// tcpPacket is one of a connection between 10.0.0.1:5060 (dir 0) and 10.0.0.2:5060.
func tcpPacket(dir int, seq, ack uint32, flags byte, payload string) []byte {
	n := 40 + len(payload)
	p := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, byte(1 + dir), 10, 0, 0, byte(2 - dir), 0x13, 0xc4, 0x13, 0xc4}
	p = binary.BigEndian.AppendUint32(p, seq)
	p = binary.BigEndian.AppendUint32(p, ack)
	return append(append(p, 0x50, flags, 0xff, 0, 0, 0, 0, 0), payload...)
}

func inviteText(i int) string {
	return fmt.Sprintf("INVITE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bK%d\r\nFrom: <sip:a@a.example>;tag=%d\r\nTo: <sip:b@b.example>\r\nCall-ID: %04d\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n", i, i, i)
}

// Calls arrive every half second over one TCP connection. What the capture lost
// is told, also in the reason of their rate: a segment that was acknowledged
// but not seen, and packets that the host dropped.
func TestLossOfTheCapture(t *testing.T) {
	read := func(without int, drops uint64) *table.Dataset {
		t.Helper()
		packets := [][]byte{tcpPacket(0, 999, 0, 2, ""), tcpPacket(1, 4999, 1000, 18, ""), tcpPacket(0, 1000, 5000, 16, "")}
		seq := uint32(1000)
		for i := range 40 {
			text := inviteText(i)
			if i != without {
				packets = append(packets, tcpPacket(0, seq, 5000, 24, text))
			}
			seq += uint32(len(text))
			packets = append(packets, tcpPacket(1, 5000, seq, 16, ""))
		}
		files := fstest.MapFS{"a.pcapng": {Data: pcapng(packets, drops)}, "experiment.yaml": {Data: []byte("guarantee: 100/s\n")}}
		exps, err := Find([]Input{folder("run", files)}, true)
		if err != nil {
			t.Fatal(err)
		}
		res, err := Analyze(t.Context(), exps[0], Options{})
		if err != nil || res.Exit != ExitWhole || len(res.Data.Rates) != 1 {
			t.Fatalf("%v, %+v", err, res)
		}
		return res.Data
	}
	gap := int64(len(inviteText(20)))
	for _, c := range []struct {
		what    string
		without int
		drops   uint64
		calls   int
		gap     int64
		dropped decode.Opt[int64]
		reason  string
		oddity  string
	}{
		{"nothing", -1, 0, 40, 0, decode.Some(int64(0)), "", ""},
		{"a segment", 20, 0, 39, gap, decode.Some(int64(0)), fmt.Sprintf("The capture misses %d bytes of signaling: an arrival may", gap), fmt.Sprintf("%d bytes in 1 hole", gap)},
		{"packets", -1, 9, 40, 0, decode.Some(int64(9)), "The capturing host dropped 9 packets: an arrival may", "capturing host dropped 9 packets"},
	} {
		d := read(c.without, c.drops)
		if len(d.Calls) != c.calls || d.Flows[0].GapBytes != c.gap || d.Captures[0].DroppedPackets != c.dropped {
			t.Errorf("%s lost: %d calls, %d bytes missing, %v dropped", c.what, len(d.Calls), d.Flows[0].GapBytes, d.Captures[0].DroppedPackets)
		}
		if r := d.Rates[0]; !strings.Contains(r.Reason, c.reason) || (c.reason == "") != !strings.Contains(r.Reason, "an arrival may") {
			t.Errorf("%s lost: %s", c.what, r.Reason)
		}
		told := ""
		for _, o := range d.Oddities {
			if o.Rule == "capture-loss" {
				told += o.Text
			}
		}
		if (told != "") != (c.oddity != "") || !strings.Contains(told, c.oddity) {
			t.Errorf("%s lost: capture-loss says %q", c.what, told)
		}
	}
}
