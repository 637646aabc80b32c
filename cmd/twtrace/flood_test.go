package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/table"
)

// A flood is input of many things of a kind, each new to the program.
type flood struct {
	name   string
	write  func(w *floodWriter, i int) // thing i
	table  string                      // where things have rows
	each   int                         // rows of a thing
	most   int                         // rows of all things
	capped string                      // what oddity cap-reached names beyond
}

// What the program may take for a million of them, and for the thousands of go test.
const (
	floodMemory = 2 << 30
	shortMemory = 128 << 20
)

const ended = "TCP connections that were ended early to make room for newer ones"

var floods = []flood{
	{"SIP calls, an INVITE each", func(w *floodWriter, i int) {
		w.sip(i, "INVITE", "")
	}, "calls", 1, 1 << 19, "messages of further SIP calls"},
	{"SIP calls, each with an offer of eight addresses", func(w *floodWriter, i int) {
		sdp := "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\n"
		for k := range 8 {
			sdp += fmt.Sprintf("m=audio %d RTP/AVP 0\r\nc=IN IP4 10.%d.%d.%d\r\n", 10000+2*k, i>>16&255, i>>8&255, i&255)
		}
		w.sip(i, "INVITE", sdp)
	}, "calls", 1, 1 << 19, "messages of further SIP calls"},
	{"SIP dialogs of no call, an OPTIONS each", func(w *floodWriter, i int) {
		w.sip(i, "OPTIONS", "")
	}, "signals", 1, 1 << 19, "messages of further SIP calls"},
	{"SSRCs on one flow, a packet each", func(w *floodWriter, i int) {
		w.rtp(0, 20000, uint32(i)*2654435761, 1)
	}, "streams", 1, 0, ""},
	{"SSRCs on 40 flows, six packets each", func(w *floodWriter, i int) {
		w.rtp(uint32(i%40), 20000, uint32(i)*2654435761, 6)
	}, "streams", 1, 3 << 18, "packets of further RTP sources"},
	{"RTP, a packet every second", func(w *floodWriter, i int) {
		for range 5 {
			w.at += 1e6
			w.media(0, 20000, 7, uint32(w.at/1e6))
		}
	}, "stream_intervals", 5, 1 << 22, "packets in further seconds of streams"},
	{"RTP five-tuples, six packets each", func(w *floodWriter, i int) {
		w.rtp(uint32(i>>14), uint16(i&0x3FFF)+1024, uint32(i), 6)
	}, "streams", 1, 3 << 18, "packets of further flows"},
	{"UDP five-tuples, a datagram each", func(w *floodWriter, i int) {
		w.udp(uint32(i>>14), uint16(i&0x3FFF)+1024, 1, 40000, []byte("nothing known"))
	}, "flows", 1, 3 << 18, "packets of further flows"},
	{"UDP senders, a datagram each", func(w *floodWriter, i int) {
		w.udp(uint32(i), 40000, 1, 40000, []byte("nothing known"))
	}, "hosts", 1, 3 << 18, "packets of further flows"},
	{"ICE checks, a flow each", func(w *floodWriter, i int) {
		m := []byte{0, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 0, 6, 0, 7, 'a', 'b', 'c', ':', 'd', 'e', 'f', 0}
		w.udp(uint32(i>>14), uint16(i&0x3FFF)+1024, 1, 40000, m)
	}, "flows", 1, 3 << 18, "packets of further flows"},
	{"DTLS flows, a record each", func(w *floodWriter, i int) {
		m := append([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 80, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 68}, make([]byte, 68)...)
		w.udp(uint32(i>>14), uint16(i&0x3FFF)+1024, 1, 40000, m)
	}, "flows", 1, 3 << 18, "packets of further flows"},
	{"TCP half-open, a SYN each", func(w *floodWriter, i int) {
		w.tcp(uint32(i>>14), uint16(i&0x3FFF)+1024, 443, 0, 2, nil)
	}, "flows", 1, 3 << 18, "packets of further flows"},
	{"TCP connections that wait for a byte", func(w *floodWriter, i int) {
		w.tcp(uint32(i>>14), uint16(i&0x3FFF)+1024, 443, 0, 2, nil)
		w.tcp(uint32(i>>14), uint16(i&0x3FFF)+1024, 443, 2, 16, []byte("what comes after a byte that is missing"))
	}, "flows", 1, 3 << 18, ended},
	{"TLS connections, the beginning of a hello each", func(w *floodWriter, i int) {
		w.tcp(uint32(i>>14), uint16(i&0x3FFF)+1024, 443, 0, 2, nil)
		w.tcp(uint32(i>>14), uint16(i&0x3FFF)+1024, 443, 1, 16, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
	}, "flows", 1, 3 << 18, ended},
	{"HTTP requests, a connection each", func(w *floodWriter, i int) {
		w.tcp(uint32(i>>14), uint16(i&0x3FFF)+1024, 80, 0, 2, nil)
		w.tcp(uint32(i>>14), uint16(i&0x3FFF)+1024, 80, 1, 16, fmt.Appendf(nil, "GET /%d HTTP/1.1\r\nHost: %d.example\r\n\r\n", i, i))
	}, "flows", 1, 3 << 18, ended},
	{"names, an answer of DNS each", func(w *floodWriter, i int) {
		m := fmt.Appendf([]byte{byte(i >> 8), byte(i), 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, "\x08%08d\x07example\x00", i)
		m = append(m, 0, 1, 0, 1, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 11, byte(i>>16), byte(i>>8), byte(i))
		w.udp(1, 53, 0, 5353, m)
	}, "flows", 1, 1, ""},
	{"messages of an export", func(w *floodWriter, i int) {
		if i == 0 {
			w.w.Reset(w.to) // no capture
		}
		fmt.Fprintf(w.w, `{"sid":"SM%032x","date_created":"Thu, 21 Nov 2013 18:00:00 +0000","date_sent":"Thu, 21 Nov 2013 18:00:01 +0000","account_sid":"AC%032x","from":"+15550100","to":"+1555%07d","status":"sent","direction":"outbound-api","num_segments":"1","body":"x"}`+"\n", i, 1, i)
	}, "messages", 1, 1 << 21, "exported resources"},
	{"calls of an export", func(w *floodWriter, i int) {
		if i == 0 {
			w.w.Reset(w.to)
		}
		fmt.Fprintf(w.w, `{"sid":"CA%032x","date_created":"Thu, 21 Nov 2013 18:00:00 +0000","start_time":"Thu, 21 Nov 2013 18:00:01 +0000","account_sid":"AC%032x","from":"+15550100","to":"+1555%07d","status":"completed","direction":"outbound-api"}`+"\n", i, 1, i)
	}, "call_resources", 1, 1 << 19, "exported resources"},
}

// floodWriter writes a pcap of raw IP, one frame a microsecond.
type floodWriter struct {
	to  io.Writer
	w   *bufio.Writer
	at  int64 // us
	buf []byte
}

func newFloodWriter(to io.Writer) *floodWriter {
	w := &floodWriter{to: to, w: bufio.NewWriterSize(to, 1<<20), at: 1_700_000_000_000_000}
	w.w.Write([]byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0})
	return w
}

// packet is one from host, of 10.0.0.0/8, to dst, of 192.0.2.0/24.
func (w *floodWriter) packet(proto byte, host, dst uint32, transport, payload []byte) {
	n := 20 + len(transport) + len(payload)
	h := binary.LittleEndian.AppendUint32(w.buf[:0], uint32(w.at/1e6))
	h = binary.LittleEndian.AppendUint32(h, uint32(w.at%1e6))
	h = binary.LittleEndian.AppendUint32(h, uint32(n))
	h = binary.LittleEndian.AppendUint32(h, uint32(n))
	h = append(h, 0x45, 0, byte(n>>8), byte(n), 0, 0, 0x40, 0, 64, proto, 0, 0)
	h = binary.BigEndian.AppendUint32(h, 10<<24|host)
	h = binary.BigEndian.AppendUint32(h, 192<<24|2<<8|dst)
	w.buf = h
	w.w.Write(h)
	w.w.Write(transport)
	w.w.Write(payload)
	w.at++
}

func (w *floodWriter) udp(host uint32, sport uint16, dst uint32, dport uint16, payload []byte) {
	u := binary.BigEndian.AppendUint16(nil, sport)
	u = binary.BigEndian.AppendUint16(u, dport)
	u = binary.BigEndian.AppendUint16(u, uint16(8+len(payload)))
	w.packet(17, host, dst, append(u, 0, 0), payload)
}

func (w *floodWriter) tcp(host uint32, sport, dport uint16, seq uint32, flags byte, payload []byte) {
	t := binary.BigEndian.AppendUint16(nil, sport)
	t = binary.BigEndian.AppendUint16(t, dport)
	t = binary.BigEndian.AppendUint32(t, 1000+seq)
	w.packet(6, host, 1, append(t, 0, 0, 0, 0, 0x50, flags, 0xff, 0, 0, 0, 0, 0), payload)
}

func (w *floodWriter) sip(i int, method, sdp string) {
	kind := ""
	if sdp != "" {
		kind = "Content-Type: application/sdp\r\n"
	}
	w.udp(0, 5060, 1, 5060, fmt.Appendf(nil, "%s sip:+15550100@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK%d\r\n"+
		"From: <sip:+15550101@192.0.2.1>;tag=%d\r\nTo: <sip:+15550100@192.0.2.2>\r\nCall-ID: %d@flood.example\r\nCSeq: 1 %s\r\n%sContent-Length: %d\r\n\r\n%s",
		method, i, i, i, method, kind, len(sdp), sdp))
}

// rtp writes n packets of one source in a row.
func (w *floodWriter) rtp(host uint32, sport uint16, ssrc uint32, n int) {
	for k := range n {
		w.media(host, sport, ssrc, uint32(k))
	}
}

func (w *floodWriter) media(host uint32, sport uint16, ssrc, k uint32) {
	p := binary.BigEndian.AppendUint16([]byte{0x80, 0}, uint16(k))
	p = binary.BigEndian.AppendUint32(p, k*160)
	p = binary.BigEndian.AppendUint32(p, ssrc)
	w.udp(host, sport, 1, 30000, append(p, make([]byte, 20)...))
}

// counts are how much stands in a dataset.
type counts struct {
	Rows   map[string]int
	Capped []string // subjects of oddity cap-reached
}

// counting prints the counts of a dataset, in a process of its own: what a
// process had counts as memory of those that it starts.
func counting() {
	d, err := table.ReadDir(os.DirFS(os.Args[1]))
	if err != nil {
		panic(err)
	}
	c := counts{Rows: map[string]int{"calls": len(d.Calls), "signals": d.Signals.Len(), "streams": d.Streams.Len(), "stream_intervals": d.StreamIntervals.Len(),
		"flows": len(d.Flows), "hosts": len(d.Hosts), "messages": d.Messages.Len(), "call_resources": len(d.CallResources)}}
	for i := range d.Oddities {
		if o := &d.Oddities[i]; o.Rule == decode.RuleCap {
			c.Capped = append(c.Capped, o.Subject)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(c); err != nil {
		panic(err)
	}
}

// A flood is analysed whole within a memory: each thing has its row, and what
// has none is told. TWTRACE_LONG makes a million of each, which reaches every
// bound, and prints docs/reliability.md's table.
func TestFlood(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is not measured here")
	}
	n, memory := 10_000, int64(shortMemory)
	long := os.Getenv("TWTRACE_LONG") != ""
	if long {
		n, memory = 1_000_000, floodMemory
	}
	all := programs(t, "twtrace", "counting")
	p, count := all[0], all[1]
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			c := exec.Command(p, "analyze", "-", "-o", out, "--quiet")
			in, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			c.Stderr = &said
			began := time.Now()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			watched := watchMemory(c.Process.Pid)
			w := newFloodWriter(in)
			for i := range n {
				f.write(w, i)
			}
			beyond := f.capped != "" && n*f.each > f.most
			exit := 0
			if beyond {
				exit = exitDamaged // not all of the input is in the result
			}
			if err := errors.Join(w.w.Flush(), in.Close(), c.Wait()); c.ProcessState.ExitCode() != exit {
				t.Fatalf("%v, want exit code %d: %s", err, exit, said.String())
			}
			took, peak := time.Since(began), watched()
			var got counts
			j, err := exec.Command(count, out).Output()
			if err == nil {
				err = json.Unmarshal(j, &got)
			}
			if err != nil {
				t.Fatal(err)
			}
			rows := got.Rows[f.table]
			t.Logf("| %s | %d | %d MB | %.0f s |", f.name, rows, peak>>20, took.Seconds())
			if peak > memory {
				t.Errorf("%d MB, want at most %d", peak>>20, memory>>20)
			}
			want := min(n*f.each, f.most)
			if f.table == "hosts" {
				want++ // whom they all speak to
			}
			if rows != want {
				t.Errorf("%d rows, want %d", rows, want)
			}
			told := slices.Contains(got.Capped, f.capped)
			if told != beyond || strings.Contains(said.String(), f.capped) != beyond && f.capped != "" {
				t.Errorf("cap-reached of %q: %v, want %v; standard error says %q", f.capped, told, beyond, said.String())
			}
		})
	}
}
