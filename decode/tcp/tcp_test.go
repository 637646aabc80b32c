package tcp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// recorder writes down what a Conn says, and checks what must always hold.
type recorder struct {
	t      testing.TB
	log    []string
	stream [2][]byte
	gaps   [2][]span // offsets within stream, where zeros stand for the gap
	closed [2]bool
	chunks [2][]Chunk
}

type span struct{ off, n int64 }

func (r *recorder) Data(dir int, c *Chunk) {
	if len(c.Data) == 0 {
		r.t.Fatal("empty chunk")
	}
	if r.closed[dir] {
		r.t.Fatal("data after close")
	}
	r.log = append(r.log, fmt.Sprintf("%d:%s", dir, c.Data))
	r.stream[dir] = append(r.stream[dir], c.Data...)
	k := *c
	k.Data = bytes.Clone(c.Data)
	r.chunks[dir] = append(r.chunks[dir], k)
}

func (r *recorder) Gap(dir int, n int64, frame, time int64) {
	if n <= 0 || r.closed[dir] {
		r.t.Fatalf("gap of %d, closed %v", n, r.closed[dir])
	}
	r.log = append(r.log, fmt.Sprintf("%d:gap %d @%d", dir, n, frame))
	r.gaps[dir] = append(r.gaps[dir], span{int64(len(r.stream[dir])), n})
	if n < 1<<20 {
		r.stream[dir] = append(r.stream[dir], make([]byte, n)...)
	}
}

func (r *recorder) Close(dir int, rst bool, frame, time int64) {
	if r.closed[dir] {
		r.t.Fatal("closed twice")
	}
	r.closed[dir] = true
	r.log = append(r.log, fmt.Sprintf("%d:close %v @%d", dir, rst, frame))
}

// seg is one segment of a scripted test; frames count from 1, times are in ms.
type seg struct {
	dir   int
	seq   uint32
	ack   uint32
	flags uint8
	data  string
	wire  int // 0: len(data)
	ms    int64
}

func play(t *testing.T, c *Conn, segs []seg, flush bool) (*recorder, []Result) {
	t.Helper()
	r := &recorder{t: t}
	var results []Result
	for i, s := range segs {
		results = append(results, c.Segment(r, s.dir, s.seq, s.ack, s.flags, []byte(s.data), max(s.wire, len(s.data)), int64(i+1), s.ms*1e6))
	}
	if flush {
		c.Flush(r)
		if c.Buffered != 0 {
			t.Errorf("%d bytes buffered after Flush", c.Buffered)
		}
	}
	return r, results
}

func TestScripts(t *testing.T) {
	const w = 0xffffffff // the last sequence number before the wrap
	open := []seg{{0, 99, 0, SYN, "", 0, 0}, {1, 499, 100, SYN | ACK, "", 0, 30}, {0, 100, 500, ACK, "", 0, 50}}
	with := func(s ...seg) []seg { return append(slices.Clone(open), s...) }
	for _, c := range []struct {
		name string
		segs []seg
		want string // the log, joined by "|"
	}{
		{"in order", with(seg{0, 100, 500, ACK, "ab", 0, 60}, seg{1, 500, 102, ACK, "xyz", 0, 61}, seg{0, 102, 503, ACK, "c", 0, 62}),
			"0:ab|1:xyz|0:c"},
		{"fin", with(seg{0, 100, 500, FIN | ACK, "ab", 0, 60}, seg{1, 500, 103, FIN | ACK, "", 0, 61}),
			"0:ab|0:close false @4|1:close false @5"},
		{"fin before its data", with(seg{0, 102, 500, FIN | ACK, "", 0, 60}, seg{0, 100, 500, ACK, "ab", 0, 61}),
			"0:ab|0:close false @4"},
		{"reset", with(seg{0, 100, 500, ACK, "ab", 0, 60}, seg{1, 500, 102, RST | ACK, "", 0, 61}),
			"0:ab|1:close true @5|0:close true @5"},
		{"reset before the last data in the file", with(seg{0, 102, 0, RST, "", 0, 61}, seg{0, 100, 500, ACK, "ab", 0, 60}, seg{1, 500, 100, ACK, "x", 0, 60}),
			"0:ab|0:close true @4|1:x|1:close true @4"},
		{"reset after a fin, before it in the file", with(seg{0, 103, 500, RST, "", 0, 62}, seg{0, 102, 500, FIN | ACK, "", 0, 61}, seg{0, 100, 500, ACK, "ab", 0, 60}),
			"0:ab|0:close false @5|1:close true @4"},
		{"hole that nobody acknowledges, a second after the fin", with(seg{0, 102, 500, ACK, "c", 0, 60}, seg{0, 103, 500, FIN | ACK, "", 0, 61}, seg{1, 500, 100, ACK, "x", 0, 1062}, seg{1, 501, 100, ACK, "y", 0, 1063}),
			"1:x|0:gap 2 @4|0:c|0:close false @5|1:y"},
		{"bytes beyond the fin", with(seg{0, 110, 500, ACK, "zz", 0, 60}, seg{0, 102, 500, FIN | ACK, "", 0, 61}, seg{0, 100, 500, ACK, "ab", 0, 62}),
			"0:ab|0:close false @5"},
		{"bytes beyond the fin, hole before it", with(seg{0, 110, 500, ACK, "zz", 0, 60}, seg{0, 102, 500, FIN | ACK, "", 0, 61}),
			"0:gap 2 @5|0:close false @5"},
		{"blind reset far outside", with(seg{0, 100 + 5<<20, 0, RST, "", 0, 60}, seg{0, 100, 500, ACK, "ab", 0, 61}), "0:ab"},
		{"swapped", with(seg{0, 102, 500, ACK, "cd", 0, 60}, seg{0, 100, 500, ACK, "ab", 0, 61}), "0:ab|0:cd"},
		{"keep-alive with and without a byte", with(seg{0, 100, 500, ACK, "ab", 0, 60}, seg{0, 101, 500, ACK, "", 0, 61}, seg{0, 101, 500, ACK, "\x00", 0, 62}, seg{0, 102, 500, ACK, "c", 0, 63}),
			"0:ab|0:c"},
		{"first bytes win over a different retransmission", with(seg{0, 102, 500, ACK, "CD", 0, 60}, seg{0, 100, 500, ACK, "abxxef", 0, 61}),
			"0:ab|0:CD|0:ef"},
		{"overlapping retransmission", with(seg{0, 100, 500, ACK, "abc", 0, 60}, seg{0, 101, 500, ACK, "xxde", 0, 61}), "0:abc|0:de"},
		{"cut by the snap length", with(seg{0, 100, 500, ACK, "ab", 10, 60}, seg{0, 110, 500, ACK, "kl", 0, 61}), "0:ab|0:gap 8 @4|0:kl"},
		{"cut and out of order", with(seg{0, 110, 500, ACK, "kl", 12, 60}, seg{0, 100, 500, ACK, "ab", 10, 61}), "0:ab|0:gap 8 @5|0:kl|0:gap 10 @4"},
		{"hole at the end of the capture", with(seg{0, 105, 500, ACK, "f", 0, 60}), "0:gap 5 @4|0:f"},
		{"hole before a fin", with(seg{0, 105, 500, FIN | ACK, "", 0, 60}), "0:gap 5 @4|0:close false @4"},
		{"acknowledged hole after a second", with(seg{0, 105, 500, ACK, "f", 0, 60}, seg{1, 500, 106, ACK, "", 0, 61}, seg{1, 500, 106, ACK, "x", 0, 1061}, seg{0, 100, 500, ACK, "late!", 0, 1070}),
			"1:x|0:gap 5 @4|0:f"},
		{"unacknowledged hole waits", with(seg{0, 105, 500, ACK, "f", 0, 60}, seg{1, 500, 100, ACK, "x", 0, 5000}, seg{0, 100, 500, ACK, "abcde", 0, 6000}),
			"1:x|0:abcde|0:f"},
		{"syn with data (fast open, RFC 7413)", []seg{{0, 99, 0, SYN, "ab", 0, 0}, {1, 499, 102, SYN | ACK, "", 0, 1}, {0, 102, 500, ACK, "c", 0, 2}}, "0:ab|0:c"},
		{"fast open refused and sent again", []seg{{0, 99, 0, SYN, "ab", 0, 0}, {1, 499, 100, SYN | ACK, "", 0, 1}, {0, 100, 500, ACK, "abc", 0, 2}}, "0:ab|0:c"},
		{"syn after data", []seg{{0, 102, 500, ACK, "cd", 0, 3}, {1, 499, 100, SYN | ACK, "", 0, 1}, {0, 99, 0, SYN, "", 0, 0}, {0, 100, 500, ACK, "ab", 0, 2}}, "0:ab|0:cd"},
		{"syn not captured, its answer is", []seg{{1, 499, 100, SYN | ACK, "", 0, 1}, {0, 102, 500, ACK, "cd", 0, 2}, {0, 100, 500, ACK, "ab", 0, 3}}, "0:ab|0:cd"},
		{"middle of a connection, shuffled by five", []seg{{0, 108, 500, ACK, "e", 0, 5}, {0, 106, 500, ACK, "d", 0, 4}, {0, 104, 500, ACK, "cc", 0, 3}, {0, 102, 500, ACK, "bb", 0, 2}, {0, 100, 500, ACK, "aa", 0, 1}},
			"0:aa|0:bb|0:cc|0:d|0:gap 1 @1|0:e"},
		{"middle, request before response", []seg{{0, 100, 500, ACK, "req", 0, 5}, {1, 500, 103, ACK, "resp", 0, 6}, {0, 103, 504, ACK, "", 0, 7}, {1, 504, 103, ACK, "more", 0, 500}},
			"0:req|1:resp|1:more"},
		{"middle, response before request in the file", []seg{{1, 500, 103, ACK, "resp", 0, 6}, {0, 100, 500, ACK, "req", 0, 5}},
			"1:resp|0:req"},
		{"only a fin", []seg{{0, 103, 500, FIN | ACK, "", 0, 5}, {0, 100, 500, ACK, "req", 0, 4}}, "0:req|0:close false @1"},
		{"connection refused", []seg{{0, 99, 0, SYN, "", 0, 0}, {1, 0, 100, RST | ACK, "", 0, 1}}, "1:close true @2|0:close true @2"},
		{"wrap", []seg{{0, w - 2, 0, SYN, "", 0, 0}, {1, 9, w - 1, SYN | ACK, "", 0, 1}, {0, 2, 10, ACK, "ef", 0, 3}, {0, w - 1, 10, ACK, "ab", 0, 2}, {0, 0, 10, ACK | FIN, "cdef", 0, 4}},
			"0:ab|0:cd|0:ef|0:close false @5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := play(t, &Conn{}, c.segs, true)
			if got := strings.Join(r.log, "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestResults(t *testing.T) {
	open := []seg{{0, 99, 0, SYN, "", 0, 0}, {1, 499, 100, SYN | ACK, "", 0, 30}, {0, 100, 500, ACK, "abcd", 0, 50}}
	for _, c := range []struct {
		name string
		segs []seg
		want []Result
	}{
		{"handshake", open, []Result{Syn, SynAck, 0}},
		{"retransmission", append(open[:3:3], seg{0, 100, 500, ACK, "ab", 0, 60}), []Result{Syn, SynAck, 0, Retransmission}},
		{"partial", append(open[:3:3], seg{0, 102, 500, ACK, "cdef", 0, 60}), []Result{Syn, SynAck, 0, Overlap}},
		{"out of order", append(open[:3:3], seg{0, 105, 500, ACK, "f", 0, 60}, seg{0, 104, 500, ACK, "e", 0, 61}), []Result{Syn, SynAck, 0, OutOfOrder, Filled}},
		{"keep-alive", append(open[:3:3], seg{0, 103, 500, ACK, "", 0, 60}, seg{0, 103, 500, ACK, "d", 0, 60}), []Result{Syn, SynAck, 0, KeepAlive, KeepAlive}},
		{"syn again", append(open[:1:1], open...), []Result{Syn, Syn | Retransmission, SynAck, 0}},
		{"cut", append(open[:3:3], seg{0, 104, 500, ACK, "e", 9, 60}), []Result{Syn, SynAck, 0, Cut}},
		{"port used again after the end", append(open[:3:3], seg{0, 104, 500, FIN | ACK, "", 0, 60}, seg{1, 500, 105, FIN | ACK, "", 0, 61}, seg{0, 77777, 0, SYN, "", 0, 99}),
			[]Result{Syn, SynAck, 0, Fin, Fin, Syn | NewConn}},
		{"port used again, no end seen", append(open[:3:3], seg{0, 77777, 0, SYN, "", 0, 99}), []Result{Syn, SynAck, 0, Syn | NewConn}},
		{"port used again, no syn seen", append(open[:3:3], seg{0, 3 << 30, 0, ACK, "a", 0, 99}, seg{0, 3<<30 + 1, 0, ACK, "b", 0, 99}, seg{0, 3<<30 + 2, 0, ACK, "c", 0, 99}),
			[]Result{Syn, SynAck, 0, Stray, Stray, NewConn}},
		{"data after the end", append(open[:3:3], seg{0, 104, 500, FIN | ACK, "", 0, 60}, seg{0, 104, 500, ACK, "e", 0, 61}), []Result{Syn, SynAck, 0, Fin, AfterClose}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, got := play(t, &Conn{}, c.segs, true); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Bytes of before the place where a stream had to begin are refused and said
// to be so, not called a retransmission.
func TestEarly(t *testing.T) {
	c := &Conn{}
	segs := []seg{{0, 1000, 1, ACK, "later", 0, 0}, {0, 1005, 1, ACK, "x", 0, 300}, {0, 990, 1, ACK, "too early!", 0, 301}}
	r, res := play(t, c, segs, true)
	if got := strings.Join(r.log, "|"); got != "0:later|0:x" || res[2] != Early || c.EarlyBytes != 10 || c.Retransmissions != 0 {
		t.Errorf("%s, result %v, %d early bytes, %d retransmissions", got, res[2], c.EarlyBytes, c.Retransmissions)
	}
}

func TestChunkTimes(t *testing.T) {
	segs := []seg{{0, 99, 0, SYN, "", 0, 1}, {1, 499, 100, SYN | ACK, "", 0, 2},
		{0, 102, 500, ACK, "cd", 0, 10}, {0, 104, 500, ACK, "ef", 0, 11}, {0, 100, 500, ACK, "ab", 0, 250}, {0, 106, 500, ACK, "gh", 0, 260}}
	r, _ := play(t, &Conn{}, segs, true)
	want := []Chunk{
		{[]byte("ab"), 5, 250e6, 5, 250e6, 1e6, true}, // filled the hole late: sent after the SYN, 1 ms
		{[]byte("cd"), 3, 10e6, 5, 250e6, 10e6, false},
		{[]byte("ef"), 4, 11e6, 5, 250e6, 11e6, false},
		{[]byte("gh"), 6, 260e6, 6, 260e6, 0, false},
	}
	if fmt.Sprint(r.chunks[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", r.chunks[0], want)
	}

	// Held back at the start for doubt only: no byte is late but the one that
	// waited for an earlier one.
	segs = []seg{{0, 102, 500, ACK, "cd", 0, 2}, {0, 100, 500, ACK, "ab", 0, 1}, {0, 104, 500, ACK, "ef", 0, 300}}
	r, _ = play(t, &Conn{}, segs, true)
	want = []Chunk{
		{[]byte("ab"), 2, 1e6, 2, 1e6, 0, true},
		{[]byte("cd"), 1, 2e6, 2, 1e6, 0, false},
		{[]byte("ef"), 3, 300e6, 3, 300e6, 0, false},
	}
	if fmt.Sprint(r.chunks[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", r.chunks[0], want)
	}

	// Bytes after a gap were not late: the capture had a hole, not the receiver.
	segs = []seg{{0, 99, 0, SYN, "", 0, 0}, {1, 499, 100, SYN | ACK, "", 0, 1}, {0, 105, 500, ACK, "f", 0, 60}, {1, 500, 106, ACK, "", 0, 2000}}
	r, _ = play(t, &Conn{}, segs, false)
	if got := r.chunks[0]; len(got) != 1 || got[0].DoneFrame != 3 || got[0].DoneTime != 60e6 {
		t.Errorf("after a gap: %+v", got)
	}
	// ... but among themselves one may have waited for another.
	segs = append(segs[:2:2], seg{0, 106, 500, ACK, "g", 0, 60}, seg{0, 107, 500, ACK, "h", 0, 61}, seg{0, 105, 500, ACK, "f", 0, 62})
	r, _ = play(t, &Conn{}, segs, true)
	want = []Chunk{
		{[]byte("f"), 5, 62e6, 5, 62e6, 0, true},
		{[]byte("g"), 3, 60e6, 5, 62e6, 0, false},
		{[]byte("h"), 4, 61e6, 5, 62e6, 0, false},
	}
	if fmt.Sprint(r.chunks[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", r.chunks[0], want)
	}
}

// In the middle of a connection whose place is known from empty segments,
// nothing needs to be held back.
func TestIdleThenData(t *testing.T) {
	var segs []seg
	for i := range int64(6) {
		segs = append(segs, seg{0, 100, 500, ACK, "", 0, i})
	}
	segs = append(segs, seg{0, 100, 500, ACK, "now", 0, 7})
	r, _ := play(t, &Conn{}, segs, false)
	if got := strings.Join(r.log, "|"); got != "0:now" {
		t.Errorf("got %q", got)
	}
}

// A SYN shortly before the known bytes is a late one only while the
// connection is young.
func TestSynBeforeKnownBytes(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want Result
	}{{6, Syn}, {60, Syn | NewConn}} {
		var segs []seg
		for i := range c.n {
			segs = append(segs, seg{0, 1000 + uint32(i), 500, ACK, "x", 0, 300 * i})
		}
		segs = append(segs, seg{0, 900, 0, SYN, "", 0, 300 * c.n})
		_, res := play(t, &Conn{}, segs, false)
		if got := res[len(res)-1]; got != c.want {
			t.Errorf("after %d segments: %b, want %b", c.n, got, c.want)
		}
	}
}

func TestRTT(t *testing.T) {
	open := []seg{{0, 99, 0, SYN, "", 0, 10}, {1, 499, 100, SYN | ACK, "", 0, 40}, {0, 100, 500, ACK, "", 0, 52}}
	for _, c := range []struct {
		name string
		segs []seg
		ms   int64
		ok   bool
	}{
		{"plain", open, 42, true},
		{"shuffled", []seg{open[2], open[1], open[0], {0, 100, 500, ACK, "data", 0, 60}}, 42, true},
		{"copies from a second capture point", []seg{open[0], open[0], open[1], open[1], open[2]}, 42, true},
		{"syn sent again", []seg{{0, 99, 0, SYN, "", 0, -990}, open[0], open[1], open[2]}, 0, false},
		{"no answer", open[:1], 0, false},
		{"middle", open[2:], 0, false},
	} {
		c2 := &Conn{}
		play(t, c2, c.segs, false)
		if ns, ok := c2.RTT(); ok != c.ok || ns != c.ms*1e6 {
			t.Errorf("%s: %d ns, %v", c.name, ns, ok)
		}
	}
}

// TestOracle sends known streams through a hostile way, and wants every given
// byte to be the sent one and every gap to be just what nobody saw.
func TestOracle(t *testing.T) {
	for seed := range uint64(4000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		oracle(t, seed, rng)
		if t.Failed() {
			return
		}
	}
}

type planned struct {
	dir  int
	seq  uint32
	ack  uint32
	fl   uint8
	off  int64 // of data in the true stream, -1 for none
	n    int
	have int
}

func oracle(t *testing.T, seed uint64, rng *rand.Rand) {
	var streams [2][]byte
	var isn [2]uint32
	for d := range streams {
		streams[d] = make([]byte, 1+rng.IntN(6000))
		for i := range streams[d] {
			streams[d][i] = byte(1 + rng.IntN(255))
		}
		isn[d] = rng.Uint32()
		if rng.IntN(2) == 0 {
			isn[d] = -uint32(rng.IntN(3000)) // wraps within the stream
		}
	}
	syn, cut := rng.IntN(4) > 0, rng.IntN(4) == 0
	loss := rng.IntN(3) * 4 // percent
	var plan []planned
	var seen [2][]bool
	pos := [2]int64{}
	for d := range seen {
		seen[d] = make([]bool, len(streams[d]))
	}
	add := func(p planned) { plan = append(plan, p) }
	if syn {
		add(planned{0, isn[0], 0, SYN, -1, 0, 0})
		add(planned{1, isn[1], isn[0] + 1, SYN | ACK, -1, 0, 0})
		add(planned{0, isn[0] + 1, isn[1] + 1, ACK, -1, 0, 0})
	}
	for pos[0] < int64(len(streams[0])) || pos[1] < int64(len(streams[1])) {
		d := rng.IntN(2)
		if pos[d] == int64(len(streams[d])) {
			d = 1 - d
		}
		off := pos[d]
		if rng.IntN(5) == 0 {
			off -= min(off, int64(rng.IntN(400))) // reaches back
		}
		n := min(1+rng.IntN(500), len(streams[d])-int(off))
		add(planned{d, isn[d] + 1 + uint32(off), isn[1-d] + 1 + uint32(pos[1-d]), ACK, off, n, n})
		if rng.IntN(8) == 0 {
			add(plan[len(plan)-1])
		}
		pos[d] = max(pos[d], off+int64(n))
	}
	end := rng.IntN(3)
	if end == 1 {
		for d := range 2 {
			add(planned{d, isn[d] + 1 + uint32(len(streams[d])), isn[1-d] + 1 + uint32(len(streams[1-d])), FIN | ACK, -1, 0, 0})
		}
	}
	first := 0
	if syn {
		first = 3
	}
	kept := plan[:0:0]
	for i, p := range plan {
		if p.off >= 0 {
			if rng.IntN(100) < loss && (syn || i > first+20) {
				continue
			}
			if cut && rng.IntN(3) == 0 {
				p.have = rng.IntN(p.n + 1)
			}
		}
		kept = append(kept, p)
	}
	group := 1 + rng.IntN(5) // a file shuffled in groups
	for i := 0; i < len(kept); i += group {
		g := kept[i:min(i+group, len(kept))]
		rng.Shuffle(len(g), func(a, b int) { g[a], g[b] = g[b], g[a] })
	}
	budget := &Budget{Max: 1 << 30}
	c := &Conn{Budget: budget}
	r := &recorder{t: t}
	var start [2]int64
	for d := range start {
		start[d] = -1
		if syn {
			start[d] = 0
		}
	}
	for i, p := range kept {
		var data []byte
		if p.off >= 0 {
			data = streams[p.dir][p.off:][:p.have]
			if start[p.dir] < 0 || p.off < start[p.dir] {
				start[p.dir] = p.off
			}
			for k := range p.have {
				seen[p.dir][p.off+int64(k)] = true
			}
		}
		if res := c.Segment(r, p.dir, p.seq, p.ack, p.fl, data, p.n, int64(i+1), int64(i)*1e5); res&(NewConn|Stray|AfterClose|Early) != 0 {
			t.Errorf("seed %d: segment %d %+v: result %b", seed, i+1, p, res)
		}
	}
	c.Flush(r)
	if c.Buffered != 0 || budget.Used != 0 {
		t.Errorf("seed %d: buffered %d, budget %d after Flush", seed, c.Buffered, budget.Used)
	}
	for d := range 2 {
		got := r.stream[d]
		from := max(start[d], 0)
		if from+int64(len(got)) > int64(len(streams[d])) {
			t.Errorf("seed %d: direction %d: %d bytes and gaps from %d on, stream has %d", seed, d, len(got), from, len(streams[d]))
			return
		}
		missing := make([]bool, len(got))
		for _, g := range r.gaps[d] {
			for k := g.off; k < g.off+g.n; k++ {
				missing[k] = true
			}
		}
		for k := range got {
			at := from + int64(k)
			switch {
			case missing[k]:
				// With cut segments the first capture wins, even where it has
				// nothing: a gap over bytes that came again is the rule.
				if seen[d][at] && !cut {
					t.Errorf("seed %d: direction %d: byte %d was captured but is in a gap", seed, d, at)
					return
				}
			case got[k] != streams[d][at]:
				t.Errorf("seed %d: direction %d: byte %d is wrong", seed, d, at)
				return
			case !seen[d][at]:
				t.Errorf("seed %d: direction %d: byte %d was never captured", seed, d, at)
				return
			}
		}
		for at := from + int64(len(got)); at < int64(len(streams[d])); at++ {
			if seen[d][at] {
				t.Errorf("seed %d: direction %d: byte %d was captured and not given", seed, d, at)
				return
			}
		}
		if end == 1 && !r.closed[d] {
			t.Errorf("seed %d: direction %d not closed", seed, d)
		}
	}
}

// A hole that is never filled must not hold more than the bounds.
func TestBounds(t *testing.T) {
	big := strings.Repeat("x", 60000)
	for _, c := range []struct {
		name   string
		budget *Budget
		data   string
		most   int64
	}{
		{"bytes of a direction", nil, big, maxBuffered},
		{"segments of a direction", nil, "y", maxBlocks},
		{"budget", &Budget{Max: 1 << 20}, big, 1 << 20},
	} {
		conn := &Conn{Budget: c.budget}
		r := &recorder{t: t}
		conn.Segment(r, 0, 99, 0, SYN, nil, 0, 1, 0)
		conn.Segment(r, 1, 499, 100, SYN|ACK, nil, 0, 2, 0)
		var sent, most int64
		for i := range int64(20000) {
			conn.Segment(r, 0, 200+uint32(sent), 500, ACK, []byte(c.data), len(c.data), 3+i, 0)
			sent += int64(len(c.data))
			most = max(most, conn.Buffered)
			if b := c.budget; b != nil && b.Used > b.Max {
				t.Fatalf("%s: budget %d of %d used", c.name, b.Used, b.Max)
			}
			if len(r.gaps[0]) > 0 {
				break
			}
		}
		if most > c.most || most < c.most/2 || len(r.gaps[0]) != 1 || r.gaps[0][0] != (span{0, 100}) {
			t.Errorf("%s: at most %d bytes held, gaps %v", c.name, most, r.gaps[0])
		}
		conn.Flush(r)
		if int64(len(r.stream[0])) != 100+sent || conn.Buffered != 0 {
			t.Errorf("%s: %d bytes of %d, %d still buffered", c.name, len(r.stream[0]), 100+sent, conn.Buffered)
		}
		if conn.halves[0].blocks != nil {
			t.Errorf("%s: memory kept", c.name)
		}
		if c.budget != nil && c.budget.Used != 0 {
			t.Errorf("%s: budget %d after Flush", c.name, c.budget.Used)
		}
	}
}

// One connection over its share must not make another one lose anything.
func TestBudgetShared(t *testing.T) {
	b := &Budget{Max: 4000}
	var conns [2]Conn
	var recs [2]*recorder
	for i := range conns {
		conns[i].Budget = b
		recs[i] = &recorder{t: t}
		conns[i].Segment(recs[i], 0, 99, 0, SYN, nil, 0, 1, 0)
	}
	conns[0].Segment(recs[0], 0, 102, 0, ACK, []byte("cd"), 2, 2, 0)
	for i := range 10 {
		conns[1].Segment(recs[1], 0, 200+uint32(i*1000), 0, ACK, make([]byte, 1000), 1000, 3, 0)
	}
	conns[0].Segment(recs[0], 0, 100, 0, ACK, []byte("ab"), 2, 4, 0)
	if got := strings.Join(recs[0].log, "|"); got != "0:ab|0:cd" {
		t.Errorf("the modest connection: %s", got)
	}
	if len(recs[1].gaps[0]) == 0 {
		t.Error("the greedy connection held everything")
	}
	// Both directions of the one that goes over are given up.
	conns[0].Flush(recs[0])
	conns[1].Flush(recs[1])
	conns[1] = Conn{Budget: b}
	recs[1] = &recorder{t: t}
	conns[1].Segment(recs[1], 0, 99, 0, SYN, nil, 0, 1, 0)
	conns[1].Segment(recs[1], 1, 499, 100, SYN|ACK, nil, 0, 2, 0)
	conns[1].Segment(recs[1], 1, 501, 100, ACK, []byte("x"), 1, 3, 0)
	conns[1].Segment(recs[1], 0, 101, 0, ACK, make([]byte, 4000), 4000, 4, 0)
	if conns[1].Buffered != 0 || len(recs[1].gaps[0]) != 1 || len(recs[1].gaps[1]) != 1 {
		t.Errorf("%d bytes held, gaps %v", conns[1].Buffered, recs[1].gaps)
	}
}

func TestInOrderAllocatesNothing(t *testing.T) {
	var c Conn
	h := discard{}
	c.Segment(h, 0, 99, 0, SYN, nil, 0, 1, 0)
	c.Segment(h, 1, 499, 100, SYN|ACK, nil, 0, 2, 0)
	data := make([]byte, 1400)
	seq := uint32(100)
	if n := testing.AllocsPerRun(1000, func() {
		c.Segment(h, 0, seq, 500, ACK, data, len(data), 3, 0)
		seq += uint32(len(data))
		c.Segment(h, 1, 500, seq, ACK, nil, 0, 4, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type discard struct{}

func (discard) Data(int, *Chunk)              {}
func (discard) Gap(int, int64, int64, int64)  {}
func (discard) Close(int, bool, int64, int64) {}

func BenchmarkSegment(b *testing.B) {
	data := make([]byte, 1400)
	for _, c := range []struct {
		name  string
		order []uint32
	}{
		{"order=straight", []uint32{0, 1, 2, 3}},
		{"order=swapped", []uint32{1, 0, 3, 2}},
	} {
		b.Run(c.name, func(b *testing.B) {
			conn := Conn{Budget: &Budget{Max: 1 << 20}}
			h := discard{}
			conn.Segment(h, 0, 99, 0, SYN, nil, 0, 1, 0)
			conn.Segment(h, 1, 499, 100, SYN|ACK, nil, 0, 2, 0)
			seq := uint32(100)
			b.SetBytes(int64(len(data) * len(c.order)))
			b.ReportAllocs()
			for b.Loop() {
				for _, i := range c.order {
					conn.Segment(h, 0, seq+i*1400, 500, ACK, data, len(data), 3, 0)
				}
				seq += 4 * 1400
			}
		})
	}
}

// FuzzSegments lets the input choose segments of a known stream (and some that
// are not of it) in any order, and wants true bytes and a consistent account.
// Each segment takes 6 bytes: kind, offset (2), length, captured, time.
func FuzzSegments(f *testing.F) {
	f.Add(uint32(0xffffff00), []byte{1, 0, 0, 0, 0, 0, 2, 0, 100, 50, 50, 1, 2, 0, 0, 100, 100, 1, 2, 0, 150, 30, 30, 1})
	f.Add(uint32(5), []byte{2, 1, 0, 200, 200, 9, 2, 0, 0, 250, 10, 9, 4, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0})
	f.Add(uint32(77), []byte{3, 1, 0, 200, 200, 9, 2, 0, 0, 250, 250, 9, 18, 3, 3, 3, 3, 3, 32, 1, 2, 3, 4, 5})
	stream := make([]byte, 1<<16+256)
	for i := range stream {
		stream[i] = byte(1 + i%251 + i/251%3)
	}
	f.Fuzz(func(t *testing.T, isn uint32, script []byte) {
		budget := &Budget{Max: 8192}
		c := &Conn{Budget: budget}
		r := &recorder{t: t}
		base := int64(-1) // offset in stream of the first byte given
		var now, frame int64
		for ; len(script) >= 6; script = script[6:] {
			k, off := script[0], int64(script[1])<<8|int64(script[2])
			n, have := int(script[3]), int(min(script[4], script[3]))
			now += int64(script[5]) * 10e6
			frame++
			seq, dir := isn+1+uint32(off), int(k&1)
			var flags uint8
			if k&2 != 0 {
				flags |= ACK
			}
			if k&4 != 0 {
				flags |= FIN
			}
			if k&8 != 0 {
				flags |= RST
			}
			if k&16 != 0 {
				flags, seq, n, have = SYN, isn, 0, 0
			}
			if k&32 != 0 {
				seq ^= 0x5555_0000 // of another connection
				if flags&SYN == 0 {
					n, have = 0, 0
				}
			}
			before := [2]int{len(r.chunks[0]), len(r.chunks[1])}
			res := c.Segment(r, dir, seq, isn+uint32(off)*3, flags, stream[off:][:have], n, frame, now)
			if res&NewConn != 0 {
				if before != [2]int{len(r.chunks[0]), len(r.chunks[1])} {
					t.Fatal("a segment of another connection was used")
				}
				c.Flush(r)
				return
			}
			if budget.Used > budget.Max || budget.Used < 0 || c.Buffered < 0 {
				t.Fatalf("budget %d, buffered %d", budget.Used, c.Buffered)
			}
		}
		c.Flush(r)
		if c.Buffered != 0 || budget.Used != 0 {
			t.Fatalf("after Flush: budget %d, buffered %d", budget.Used, c.Buffered)
		}
		for d := range 2 {
			// The first chunk tells where the stream began; all others must fit.
			got := r.stream[d]
			missing := make([]bool, len(got))
			for _, g := range r.gaps[d] {
				for i := g.off; i < min(g.off+g.n, int64(len(got))); i++ {
					missing[i] = true
				}
			}
			base = int64(int32(c.halves[d].start - isn - 1))
			for i, b := range got {
				if at := base + int64(i); !missing[i] && (at < 0 || at >= int64(len(stream)) || b != stream[at]) {
					t.Fatalf("direction %d: byte %d from %d on is wrong", d, i, base)
				}
			}
		}
	})
}
