package ws

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// drain calls Next until there is nothing.
func drain(p *Parser) (events []Event, errs []error) {
	for {
		var e Event
		ok, err := p.Next(&e)
		if err != nil {
			errs = append(errs, err)
		} else if !ok {
			return events, errs
		} else {
			e.Data = bytes.Clone(e.Data)
			events = append(events, e)
		}
	}
}

// all feeds a stream in pieces.
func all(p *Parser, b []byte, size int) (events []Event, errs []error) {
	for piece := range slices.Chunk(b, size) {
		p.Feed(piece)
		e, failed := drain(p)
		events, errs = append(events, e...), append(errs, failed...)
	}
	return events, errs
}

func summary(events []Event) (s []string) {
	for _, e := range events {
		t := fmt.Sprintf("%d-%d %s %q", e.Off, e.End, e.Opcode, e.Data)
		for _, f := range []struct {
			on   bool
			name string
		}{{e.Masked, "masked"}, {e.Compressed, "compressed"}, {e.Truncated, "truncated"}, {e.ContextLost, "contextlost"}, {!e.Final, "cut"}} {
			if f.on {
				t += " " + f.name
			}
		}
		if e.Opcode == Close {
			t += fmt.Sprint(" ", e.CloseCode)
		}
		s = append(s, t)
	}
	return s
}

var deflated = Extensions{Deflate: true}

// The examples of RFC 6455, 5.7, and of RFC 7692, 7.2.3, and the hard cases
// that their rules allow.
func TestExamples(t *testing.T) {
	k256, k64 := bytes.Repeat([]byte{0xfe}, 256), bytes.Repeat([]byte{0xfe}, 65536)
	tests := []struct {
		name   string
		client bool
		ext    Extensions
		in     []byte
		want   []string
	}{
		{"5.7 text", false, Extensions{}, unhex("810548656c6c6f"), []string{`0-7 text "Hello"`}},
		{"5.7 masked text", true, Extensions{}, unhex("818537fa213d7f9f4d5158"), []string{`0-11 text "Hello" masked`}},
		{"5.7 fragments", false, Extensions{}, unhex("010348656c 80026c6f"), []string{`0-9 text "Hello"`}},
		{"5.7 ping, masked pong", true, Extensions{}, unhex("890548656c6c6f 8a8537fa213d7f9f4d5158"), []string{`0-7 ping "Hello"`, `7-18 pong "Hello" masked`}},
		{"5.7 256 bytes", false, Extensions{}, append(unhex("827E0100"), k256...), []string{fmt.Sprintf("0-260 binary %q", k256)}},
		{"5.7 64 KiB", false, Extensions{}, append(unhex("827F0000000000010000"), k64...), []string{fmt.Sprintf("0-65546 binary %q", k64)}},
		{"5.4 control frame between fragments", false, Extensions{}, unhex("010348656c 8900 8a0141 00026c6f 8000"),
			[]string{`5-7 ping ""`, `7-10 pong "A"`, `0-16 text "Hello"`}},
		{"5.5.1 close", false, Extensions{}, unhex("880703e8" + hex.EncodeToString([]byte("going"))), []string{`0-9 close "going" 1000`}},
		{"5.5.1 close without a code", false, Extensions{}, unhex("8800"), []string{`0-2 close "" 1005`}},
		{"empty text", false, Extensions{}, unhex("8100 810161"), []string{`0-2 text ""`, `2-5 text "a"`}},
		{"5.2 a length that is not the shortest is read", false, Extensions{}, unhex("817e000161"), []string{`0-5 text "a"`}},

		{"7.2.3.1 one compressed block", false, deflated, unhex("c107f248cdc9c90700"), []string{`0-9 text "Hello" compressed`}},
		{"7.2.3.1 fragments", false, deflated, unhex("4103f248cd 8004c9c90700"), []string{`0-11 text "Hello" compressed`}},
		{"7.2.3.2 shared window", false, deflated, unhex("c107f248cdc9c90700 c105f200110000"), []string{`0-9 text "Hello" compressed`, `9-16 text "Hello" compressed`}},
		{"7.2.3.2 no shared window", false, Extensions{Deflate: true, ServerNoContextTakeover: true}, unhex("c107f248cdc9c90700 c107f248cdc9c90700"),
			[]string{`0-9 text "Hello" compressed`, `9-18 text "Hello" compressed`}},
		{"7.2.3.3 block without compression", false, deflated, unhex("c10b000500faff48656c6c6f00"), []string{`0-13 text "Hello" compressed`}},
		{"7.2.3.4 last block", false, deflated, unhex("c108f348cdc9c9070000"), []string{`0-10 text "Hello" compressed`}},
		{"7.2.3.4 last block, then a reference", false, deflated, unhex("c108f348cdc9c9070000 c105f200110000"), []string{`0-10 text "Hello" compressed`, `10-17 text "Hello" compressed`}},
		{"7.2.3.5 two blocks", false, deflated, unhex("c10df248050000 00ffffcac9c90700"), []string{`0-15 text "Hello" compressed`}},
		{"7.2.3.6 empty", false, deflated, unhex("c10100"), []string{`0-3 text "" compressed`}},
		{"plain message among compressed ones", false, deflated, unhex("c107f248cdc9c90700 810161 c105f200110000"),
			[]string{`0-9 text "Hello" compressed`, `9-12 text "a"`, `12-19 text "Hello" compressed`}},
		{"masked and compressed", true, deflated, unhex("c18700000000f248cdc9c90700"), []string{`0-13 text "Hello" masked compressed`}},
		{"upgrade not seen", false, Extensions{Unknown: true}, unhex("c107f248cdc9c90700"), []string{`0-9 text "Hello" compressed`}},
	}
	for _, tt := range tests {
		for _, size := range []int{1 << 20, 1, 3} {
			p := Parser{Client: tt.client, Extensions: tt.ext}
			events, errs := all(&p, tt.in, size)
			if have := summary(events); !slices.Equal(have, tt.want) || len(errs) > 0 {
				t.Errorf("%s in pieces of %d:\nhave %.200q %v\nwant %.200q", tt.name, size, have, errs, tt.want)
			}
			if p.Offset() != int64(len(tt.in)) || p.Skipped+p.Truncated+p.ContextLost != 0 {
				t.Errorf("%s in pieces of %d: at %d of %d, skipped %d, truncated %d", tt.name, size, p.Offset(), len(tt.in), p.Skipped, p.Truncated)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	const good = "8102686f" // "ho"
	tests := []struct {
		name, in string
		off      int64 // of the error
		want     []string
	}{
		{"reserved opcode", "8300" + good + good, 0, []string{`2-6 text "ho"`, `6-10 text "ho"`}},
		{"reserved bit", "9100" + good + good, 0, []string{`2-6 text "ho"`, `6-10 text "ho"`}},
		{"compressed without extension", "c100" + good + good, 0, []string{`2-6 text "ho"`, `6-10 text "ho"`}},
		{"fragmented ping", "0900" + good + good, 0, []string{`2-6 text "ho"`, `6-10 text "ho"`}},
		{"long ping", "897e0080" + good + good, 0, []string{`4-8 text "ho"`, `8-12 text "ho"`}},
		{"length of 64 bits", "827fffffffffffffffff" + good + good, 0, []string{`10-14 text "ho"`, `14-18 text "ho"`}},
		{"continuation of nothing", "8001ff" + good, 0, []string{`0-3 opcode 0 "" truncated`, `3-7 text "ho"`}},
		{"message within a message", "010161" + good, 3, []string{`0-3 text "a" truncated cut`, `3-7 text "ho"`}},
	}
	for _, tt := range tests {
		p := Parser{}
		events, errs := all(&p, unhex(tt.in), 1<<10)
		var e *wire.Error
		if len(errs) != 1 || !errors.As(errs[0], &e) || e.Off != tt.off {
			t.Errorf("%s: errors are %v", tt.name, errs)
		}
		if have := summary(events); !slices.Equal(have, tt.want) {
			t.Errorf("%s:\nhave %q\nwant %q", tt.name, have, tt.want)
		}
	}
}

// pack makes a frame.
func pack(first byte, mask bool, body []byte) []byte {
	b := []byte{first}
	m := byte(0)
	if mask {
		m = 0x80
	}
	switch n := len(body); {
	case n < 126:
		b = append(b, m|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, m|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, m|127), uint64(n))
	}
	if !mask {
		return append(b, body...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i, c := range body {
		b = append(b, c^key[i%4])
	}
	return b
}

// sender compresses messages as RFC 7692, 7.2.1 tells, with a shared window.
type sender struct {
	b bytes.Buffer
	w *flate.Writer
}

func (s *sender) message(t testing.TB, text string) []byte {
	if s.w == nil {
		s.w, _ = flate.NewWriter(&s.b, 9)
	}
	s.b.Reset()
	s.w.Write([]byte(text))
	if err := s.w.Flush(); err != nil {
		t.Fatal(err)
	}
	body, ok := bytes.CutSuffix(s.b.Bytes(), []byte{0, 0, 0xff, 0xff})
	if !ok {
		t.Fatal("no empty block at the end")
	}
	return pack(0xc1, false, body)
}

func signal(i int) string {
	return fmt.Sprintf(`{"type":"invite","version":"1.6","payload":{"callsid":"CA%032x","number":%d}}`, i*i, i)
}

// A window that is far longer than 32 KiB, and messages of many sizes.
func TestTakeover(t *testing.T) {
	var s sender
	p := Parser{Extensions: deflated}
	for i := range 300 {
		text := strings.Repeat(signal(i), 1+i*i%97)
		events, errs := all(&p, s.message(t, text), 1000)
		if len(events) != 1 || len(errs) != 0 || string(events[0].Data) != text || events[0].Truncated {
			t.Fatalf("message %d: %.200q %v", i, summary(events), errs)
		}
	}
}

// After a gap no byte is shown that was not sent; the direction recovers when
// what follows suffices.
func TestContextLost(t *testing.T) {
	var s sender
	first, second, third := s.message(t, signal(1)), s.message(t, signal(2)), s.message(t, signal(3))
	plain := pack(0x81, false, []byte(signal(4)))
	p := Parser{Extensions: deflated}
	p.Feed(first)
	if e, _ := drain(&p); len(e) != 1 || string(e[0].Data) != signal(1) {
		t.Fatal(summary(e))
	}
	p.Lost(int64(len(second)))
	events, errs := all(&p, append(third, plain...), 1<<10)
	if len(errs) != 0 || len(events) != 2 {
		t.Fatal(summary(events), errs)
	}
	e := events[0]
	if !e.ContextLost || !e.Truncated || !e.Final || !strings.HasPrefix(signal(3), string(e.Data)) || p.ContextLost != 1 {
		t.Errorf("%q, count %d", summary(events), p.ContextLost)
	}
	if string(events[1].Data) != signal(4) || events[1].Truncated {
		t.Errorf("plain message: %q", summary(events[1:]))
	}
	// Without takeover nothing is lost but what the gap swallowed.
	q := Parser{Extensions: Extensions{Deflate: true, ServerNoContextTakeover: true}}
	q.Feed(first)
	drain(&q)
	q.Lost(40)
	var alone sender
	if events, errs = all(&q, alone.message(t, signal(5)), 1<<10); len(events) != 1 || string(events[0].Data) != signal(5) || q.ContextLost != 0 {
		t.Errorf("no takeover: %q %v", summary(events), errs)
	}
	// A gap that begins within a plain message and swallows a compressed one.
	s = sender{}
	first, second, third = s.message(t, signal(1)), s.message(t, signal(2)), s.message(t, signal(3))
	q = Parser{Extensions: deflated}
	all(&q, append(first, plain[:9]...), 1<<10)
	q.Lost(int64(len(plain) - 9 + len(second)))
	if events, errs = all(&q, third, 1<<10); len(errs) != 0 || len(events) != 2 || !events[1].ContextLost || !strings.HasPrefix(signal(3), string(events[1].Data)) {
		t.Errorf("gap from a plain message: %q %v", summary(events), errs)
	}
	// A fresh sender after a gap: the new window suffices.
	q = Parser{Extensions: deflated}
	q.Lost(0)
	alone = sender{}
	for i := range 3 {
		if events, errs = all(&q, alone.message(t, signal(i)), 1<<10); len(events) != 1 || string(events[0].Data) != signal(i) || events[0].Truncated {
			t.Errorf("after a gap, message %d: %q %v", i, summary(events), errs)
		}
	}
}

func TestLost(t *testing.T) {
	msg := func(i int) []byte { return pack(0x81, false, []byte(signal(i))) }
	one := len(msg(1))
	stream := slices.Concat(msg(1), msg(2), msg(3), msg(4), pack(0x88, false, nil))
	for _, client := range []bool{false, true} {
		if client {
			stream = nil
			for i := range 4 {
				stream = append(stream, pack(0x81, true, []byte(signal(i+1)))...)
			}
			stream = append(stream, pack(0x88, true, nil)...)
			one += 4
		}
		for from := 1; from < 2*one; from++ {
			for _, n := range []int{1, 2, 7, one / 2, one} {
				for _, known := range []bool{true, false} {
					p := Parser{Client: client}
					p.Feed(stream[:from])
					events, errs := drain(&p)
					if known {
						p.Lost(int64(n))
					} else {
						p.Lost(0)
					}
					p.Feed(stream[from+n:])
					more, failed := drain(&p)
					events, errs = append(events, more...), append(errs, failed...)
					p.Finish()
					more, failed = drain(&p)
					events, errs = append(events, more...), append(errs, failed...)
					if len(errs) != 0 {
						t.Fatal(from, n, known, errs)
					}
					whole := map[string]bool{}
					for _, e := range events {
						if e.Opcode == Text && !e.Truncated {
							whole[string(e.Data)] = true
						}
						if e.Truncated && e.Opcode == Text {
							prefix := false
							for i := range 4 {
								prefix = prefix || strings.HasPrefix(signal(i+1), string(e.Data))
							}
							if !prefix {
								t.Fatalf("client %t, gap at %d of %d: %q", client, from, n, e.Data)
							}
						}
					}
					// Each message that the gap did not touch, and that starts
					// right after it or later, is there.
					for i := range 4 {
						touched := from < (i+1)*one && from+n > i*one
						if whole[signal(i+1)] == touched {
							t.Errorf("client %t, gap at %d of %d, known %t: message %d is %t: %.400q", client, from, n, known, i+1, !touched, summary(events))
						}
					}
					if last := events[len(events)-1]; last.Opcode != Close || known && last.End != int64(len(stream)) {
						t.Errorf("client %t, gap at %d of %d: last is %+v", client, from, n, last)
					}
				}
			}
		}
	}
}

// A gap within the payload of one frame of a message of several.
func TestLostInFragment(t *testing.T) {
	stream := slices.Concat(pack(0x01, false, []byte("abcdef")), pack(0x80, false, []byte("ghi")), pack(0x81, false, []byte("x")))
	p := Parser{}
	p.Feed(stream[:4])
	e, _ := drain(&p)
	p.Lost(2)
	p.Feed(stream[6:])
	more, errs := drain(&p)
	want := []string{`0-13 text "ab" truncated`, `13-16 text "x"`}
	if have := summary(append(e, more...)); !slices.Equal(have, want) || len(errs) != 0 || p.Truncated != 1 {
		t.Errorf("%q %v, want %q", have, errs, want)
	}
}

func TestBounds(t *testing.T) {
	long := bytes.Repeat([]byte("a"), 3000)
	p := Parser{MaxMessage: 1000}
	events, errs := all(&p, slices.Concat(pack(0x01, false, long), pack(0x80, false, long), pack(0x81, false, []byte("b"))), 700)
	if len(events) != 2 || len(errs) != 0 || len(events[0].Data) != 1000 || !events[0].Truncated || !events[0].Final || events[0].Payload != 6000 || string(events[1].Data) != "b" || p.Truncated != 1 {
		t.Errorf("%d events %v, %d bytes of %d", len(events), errs, len(events[0].Data), events[0].Payload)
	}
	// A bomb: DEFLATE packs zeros 1,000 times (RFC 1951, 3.2.5: 258 bytes in 2 bits).
	var s sender
	bomb := s.message(t, strings.Repeat("\x00", 64<<20))
	q := Parser{Extensions: deflated}
	events, errs = all(&q, bomb, 1<<20)
	if len(events) != 1 || len(errs) != 0 || !events[0].Truncated || len(events[0].Data) > maxInflated || len(events[0].Data) < 1<<20 {
		t.Errorf("%d events %v", len(events), errs)
	}
	if n := cap(q.inflate.out); n > 4*maxInflated {
		t.Errorf("%d bytes are held", n)
	}
	// Endless restarts by last blocks (01 00 00 ff ff) end.
	restarts := pack(0xc1, false, bytes.Repeat([]byte{1, 0, 0, 0xff, 0xff}, 100000))
	if events, _ = all(&q, restarts, 1<<20); len(events) != 1 || !events[0].Truncated {
		t.Errorf("%q", summary(events))
	}
	// A search holds no more than its bound.
	r := Parser{}
	r.Lost(0)
	for range 100 {
		all(&r, bytes.Repeat([]byte{0x82, 0x7e, 0xff, 0xff}, 1000), 4000)
	}
	if n := len(r.buf) - r.pos; n > maxSearch {
		t.Errorf("%d bytes are held", n)
	}
}

func TestParseExtensions(t *testing.T) {
	// RFC 7692, 7 and 7.1 have these forms.
	for _, tt := range []struct {
		in   string
		want Extensions
	}{
		{"", Extensions{ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}},
		{"permessage-deflate", Extensions{Deflate: true, ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}},
		{"permessage-deflate; client_max_window_bits", Extensions{Deflate: true, ServerMaxWindowBits: 15, ClientMaxWindowBits: 15}},
		{"permessage-deflate; client_max_window_bits; server_max_window_bits=10", Extensions{Deflate: true, ServerMaxWindowBits: 10, ClientMaxWindowBits: 15}},
		{"permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate; client_max_window_bits",
			Extensions{Deflate: true, ServerMaxWindowBits: 10, ClientMaxWindowBits: 15}},
		{`Permessage-Deflate;server_no_context_takeover ; client_max_window_bits="9"`, Extensions{Deflate: true, ServerNoContextTakeover: true, ServerMaxWindowBits: 15, ClientMaxWindowBits: 9}},
		{"x-webkit-deflate-frame, permessage-deflate; client_no_context_takeover; server_max_window_bits=16",
			Extensions{Deflate: true, ClientNoContextTakeover: true, ServerMaxWindowBits: 15, ClientMaxWindowBits: 15, Others: 1}},
	} {
		if got := ParseExtensions(tt.in); got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.in, got, tt.want)
		}
	}
}

func TestAccept(t *testing.T) {
	// RFC 6455, 1.3.
	if got := Accept("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Error(got)
	}
}

func FuzzParser(f *testing.F) {
	f.Add(unhex("010348656c 8900 80026c6f 880203e8"), uint8(3), uint8(0), uint8(0))
	f.Add(unhex("818537fa213d7f9f4d5158"), uint8(1), uint8(0), uint8(1))
	f.Add(unhex("c107f248cdc9c90700 c105f200110000"), uint8(5), uint8(2), uint8(2))
	f.Add(append(unhex("827E0100"), make([]byte, 256)...), uint8(50), uint8(3), uint8(6))
	f.Fuzz(func(t *testing.T, b []byte, size, gap, mode uint8) {
		p := Parser{Client: mode&1 != 0, MaxMessage: 200, Extensions: Extensions{Deflate: mode&2 != 0, ClientNoContextTakeover: mode&4 != 0, Unknown: mode&8 != 0}}
		var last, lost int64
		steps := 0
		check := func() {
			for {
				var e Event
				ok, err := p.Next(&e)
				if steps++; steps > 10*len(b)+100 {
					t.Fatal("does not end")
				}
				if !ok && err == nil {
					return
				}
				if !ok {
					continue
				}
				if e.Off < 0 || e.End < e.Off || e.End > int64(len(b))+lost || e.Final && e.End < last {
					t.Fatalf("%+v after %d", e, last)
				}
				last = max(last, e.End) // a message that is cut ends before control frames within it
				if len(e.Data) > 200 && !e.Compressed || len(e.Data) > 64<<10+256*200 {
					t.Fatalf("%d bytes", len(e.Data))
				}
				if e.ContextLost && !e.Truncated || !e.Final && !e.Truncated {
					t.Fatalf("%+v", e)
				}
			}
		}
		n := int(size) + 1
		for i := 0; i < len(b); i += n {
			p.Feed(b[i:min(i+n, len(b))])
			check()
			if gap > 0 && i/n == int(gap)%16 {
				p.Lost(int64(gap) - 1)
				lost += int64(gap) - 1
				check()
			}
		}
		p.Finish()
		check()
	})
}

func BenchmarkParser(b *testing.B) {
	var s sender
	var packed []byte
	for i := range 100 {
		packed = append(packed, s.message(b, signal(i))...)
	}
	for _, bb := range []struct {
		name   string
		p      Parser
		stream []byte
	}{
		{"masked=yes", Parser{Client: true}, bytes.Repeat(pack(0x81, true, bytes.Repeat([]byte("x"), 1400)), 100)},
		{"masked=no", Parser{}, bytes.Repeat(pack(0x81, false, bytes.Repeat([]byte("x"), 1400)), 100)},
		{"deflate=yes", Parser{Extensions: Extensions{Deflate: true}}, packed},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p := bb.p
			b.SetBytes(int64(len(bb.stream)))
			b.ReportAllocs()
			for b.Loop() {
				p.inflate.out = p.inflate.out[:0]
				p.Feed(bb.stream)
				var e Event
				n := 0
				for {
					ok, err := p.Next(&e)
					if err != nil {
						b.Fatal(err)
					}
					if !ok {
						break
					}
					n++
				}
				if n != 100 || e.Truncated {
					b.Fatal(n, e.Truncated)
				}
			}
		})
	}
}
