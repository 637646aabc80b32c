package sessions_test

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/sessions"
)

const (
	callerMedia = "10.0.0.1:6000"
	calleeMedia = "10.0.0.2:7000"
)

// call adds the signaling of one answered call.
func (s *script) call(ms, end int64, id, callerAt, calleeAt string) {
	of := "\nCall-ID: " + id
	s.say(ms, "INVITE"+of+"\n"+sdp(callerAt, "0 101", "rtpmap:101 telephone-event/8000"))
	s.say(ms+10, "180 Ringing"+of)
	s.say(ms+20, "200 OK"+of+"\n"+sdp(calleeAt, "0 101", "rtpmap:101 telephone-event/8000"))
	s.say(ms+21, "ACK"+of)
	if end > 0 {
		s.say(end, "BYE"+of)
	}
}

func only(t *testing.T, trace *sessions.Trace) *sessions.Stream {
	t.Helper()
	if trace.Streams.Len() != 1 {
		t.Fatalf("%d streams, want one: %+v", trace.Streams.Len(), trace.Streams.Slice())
	}
	return trace.Streams.At(0)
}

// figures are what a stream's sequence numbers say.
type figures struct{ packets, expected, lost, duplicates, reordered int64 }

func TestSequences(t *testing.T) {
	run := func(from, n int) []int {
		var out []int
		for i := range n {
			out = append(out, (from+i)&0xFFFF)
		}
		return out
	}
	without := func(list []int, drop ...int) []int {
		return slices.DeleteFunc(slices.Clone(list), func(n int) bool { return slices.Contains(drop, n) })
	}
	for _, test := range []struct {
		name string
		seqs []int
		want figures
	}{
		{"in order", run(100, 50), figures{50, 50, 0, 0, 0}},
		{"wrap", run(65530, 50), figures{50, 50, 0, 0, 0}},
		{"wrap with a loss on each side and at it", without(run(65530, 50), 65534, 0, 3), figures{47, 50, 3, 0, 0}},
		{"duplicates", append(run(1, 20), 20, 20, 15), figures{20, 20, 0, 3, 0}},
		{"reordered", append(append(run(1, 20), 22, 21), run(23, 10)...), figures{32, 32, 0, 0, 1}},
		{"reordered at the start", append([]int{5, 4, 3}, run(6, 20)...), figures{23, 23, 0, 0, 2}},
		{"reordered at the start over the wrap", append([]int{1, 0, 65535}, run(2, 20)...), figures{23, 23, 0, 0, 2}},
		{"a burst lost", append(run(1, 20), run(121, 20)...), figures{40, 140, 100, 0, 0}},
		{"a jump: the sender began anew", append(run(1, 20), run(30000, 20)...), figures{40, 40, 0, 0, 0}},
		{"one stray number", append(append(run(1, 20), 40000), run(21, 20)...), figures{41, 41, 0, 0, 0}},
		{"late by 200", append(append(without(run(1, 300), 50), 50), run(301, 5)...), figures{305, 305, 0, 0, 1}},
		{"one packet", []int{7}, figures{1, 1, 0, 0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &script{}
			s.call(0, 0, "a", callerMedia, calleeMedia)
			for i, seq := range test.seqs {
				s.rtpAt(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(seq), uint32(160*i), 1)
			}
			trace := s.trace(t)
			r := only(t, trace)
			if got := (figures{r.Packets, r.Expected, r.Lost, r.Duplicates, r.Reordered}); got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if want := 100 * float64(test.want.lost) / float64(test.want.expected); math.Abs(r.LostPct.V-want) > 1e-9 {
				t.Errorf("lost %v %%, want %v", r.LostPct.V, want)
			}
			var lost int64
			for _, iv := range trace.StreamIntervals.All() {
				lost += iv.Lost
			}
			if test.name != "late by 200" && lost != test.want.lost {
				t.Errorf("the seconds lost %d, the stream %d", lost, test.want.lost)
			}
		})
	}
}

// RFC 3550 6.4.1 by hand: J += (|D| - J)/16, D the change of transit time.
func TestJitterAndDelta(t *testing.T) {
	s := &script{}
	s.call(0, 0, "a", callerMedia, calleeMedia)
	arrivals := []int64{100, 120, 150, 160, 180} // sent every 20 ms
	for i, ms := range arrivals {
		s.rtp(ms, callerMedia, calleeMedia, 0, uint16(i), 1)
	}
	r := only(t, s.trace(t))
	j, sum, most := 0.0, 0.0, 0.0
	for _, d := range []float64{0, 10, 10, 0} {
		j += (d - j) / 16
		sum += j
		most = max(most, j)
	}
	if math.Abs(r.JitterMeanMS.V-sum/4) > 1e-9 || math.Abs(r.JitterMaxMS.V-most) > 1e-9 || r.DeltaMaxMS.V != 30 {
		t.Errorf("jitter mean %v max %v, delta max %v; want %v, %v, 30", r.JitterMeanMS.V, r.JitterMaxMS.V, r.DeltaMaxMS.V, sum/4, most)
	}
	if r.PtimeMS.V != 20 || r.ClockHz.V != 8000 || r.Codec != "PCMU" {
		t.Errorf("%v ms at %v Hz, %s", r.PtimeMS.V, r.ClockHz.V, r.Codec)
	}
}

func TestStreamsOfACall(t *testing.T) {
	s := &script{}
	s.call(0, 3000, "a", callerMedia, calleeMedia)
	for i := range 50 {
		ms := 100 + 20*int64(i)
		s.rtp(ms, callerMedia, calleeMedia, 0, uint16(i), 9) // one source number both ways
		s.rtp(ms+40, calleeMedia, callerMedia, 0, uint16(i), 9)
	}
	trace := s.trace(t)
	if trace.Streams.Len() != 2 || trace.Calls[0].Streams != 2 {
		t.Fatalf("%d streams, %d of the call; want 2", trace.Streams.Len(), trace.Calls[0].Streams)
	}
	c := trace.Calls[0]
	if c.FirstMediaInAt != at(100) || c.FirstMediaOutAt != at(140) {
		t.Errorf("first media in %v, out %v; want 100 and 140 ms", c.FirstMediaInAt, c.FirstMediaOutAt)
	}
	for _, r := range trace.Streams.All() {
		if r.Packets != 50 || r.Lost != 0 || r.CallID != "a" || !r.LegID.Known {
			t.Errorf("stream %+v", r)
		}
	}
}

// A later call on the same ports is another stream, whatever the source number.
func TestPortsUsedAgain(t *testing.T) {
	for _, second := range []uint16{0, 5000} {
		s := &script{}
		s.call(0, 1100, "a", callerMedia, calleeMedia)
		s.call(2000, 3300, "b", callerMedia, calleeMedia)
		for i := range 50 {
			s.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 9)
			s.rtp(2100+20*int64(i), callerMedia, calleeMedia, 0, second+uint16(i), 9)
		}
		trace := s.trace(t)
		if trace.Streams.Len() != 2 {
			t.Errorf("numbers from %d again: %d streams, want 2", second, trace.Streams.Len())
			continue
		}
		for i, r := range trace.Streams.All() {
			if r.Packets != 50 || r.Lost != 0 || r.Duplicates != 0 || r.CallID != []string{"a", "b"}[i] {
				t.Errorf("numbers from %d again: stream %+v", second, r)
			}
		}
	}
}

// Hold and resume offer the same address again: the stream goes on.
func TestReinviteKeepsTheStream(t *testing.T) {
	s := &script{}
	s.call(0, 9000, "a", callerMedia, calleeMedia)
	s.say(700, "callee:INVITE\nCall-ID: a\nCSeq: 7 INVITE\n"+sdp(calleeMedia, "0", "sendonly"))
	for i := range 60 {
		s.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 9)
	}
	if r := only(t, s.trace(t)); r.Packets != 60 || r.Expected != 60 {
		t.Errorf("stream %+v", r)
	}
}

func TestPayloadTypes(t *testing.T) {
	s := &script{}
	s.say(0, "INVITE\n"+sdp(callerMedia, "111 0", "rtpmap:111 opus/48000/2"))
	s.say(20, "200 OK\n"+sdp(calleeMedia, "111", "rtpmap:111 opus/48000/2"))
	for i := range 20 {
		s.rtpAt(100+20*int64(i), callerMedia, calleeMedia, 111, uint16(i), uint32(960*i), 1)
	}
	if r := only(t, s.trace(t)); r.Codec != "opus" || r.ClockHz.V != 48000 || r.PtimeMS.V != 20 || !slices.Equal(r.PayloadTypes, []int64{111}) {
		t.Errorf("codec %q, clock %v, ptime %v, types %v", r.Codec, r.ClockHz, r.PtimeMS, r.PayloadTypes)
	}
}

// RFC 4733: the packets of one event share a timestamp; its end is sent three
// times.
func TestTelephoneEvents(t *testing.T) {
	s := &script{}
	s.call(0, 0, "a", callerMedia, calleeMedia)
	seq := uint16(0)
	for range 20 {
		s.rtp(100+20*int64(seq), callerMedia, calleeMedia, 0, seq, 1)
		seq++
	}
	for digit := range byte(3) {
		stamp := uint32(seq) * 160
		for i := range 5 {
			end := byte(0)
			if i >= 2 {
				end = 0x80
			}
			s.rtpAt(100+20*int64(seq), callerMedia, calleeMedia, 101, seq, stamp, 1, digit, end|10, 0, 160)
			seq++
		}
	}
	if r := only(t, s.trace(t)); r.DTMFCount != 3 || r.Codec != "PCMU" || r.Lost != 0 || r.Packets != 35 || r.JitterMaxMS.V > 0.001 {
		t.Errorf("%d digits, codec %s, %d packets, %d lost, jitter %v; want 3, PCMU, 35, 0, 0", r.DTMFCount, r.Codec, r.Packets, r.Lost, r.JitterMaxMS.V)
	}
}

func TestStreamsWithoutSDP(t *testing.T) {
	t.Run("a stream", func(t *testing.T) {
		s := &script{}
		for i := range 20 {
			s.rtp(20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 1)
		}
		if r := only(t, s.trace(t)); r.Packets != 20 || r.CallID != "" || r.LegID.Known {
			t.Errorf("stream %+v", r)
		}
	})
	t.Run("too short to tell", func(t *testing.T) {
		s := &script{}
		for i := range 4 {
			s.rtp(20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 1)
		}
		if n := s.trace(t).Streams.Len(); n != 0 {
			t.Errorf("%d streams", n)
		}
	})
	t.Run("payloads that only begin like RTP", func(t *testing.T) {
		s := &script{}
		x := uint32(1)
		for i := range 2000 {
			x ^= x << 13
			x ^= x >> 17
			x ^= x << 5
			ssrc := x
			if i%2 == 0 {
				ssrc = 7 // or a constant there
			}
			s.rtpAt(20*int64(i), callerMedia, calleeMedia, byte(x>>8)&0x3F, uint16(x), x, ssrc)
		}
		trace := s.trace(t)
		if trace.Streams.Len() != 0 || trace.Flows[0].Application == "rtp" {
			t.Errorf("%d streams, the flow is %q", trace.Streams.Len(), trace.Flows[0].Application)
		}
	})
	t.Run("SDP comes after much junk on the address", func(t *testing.T) {
		s := &script{}
		for i := range 1000 {
			s.rtpAt(int64(i), callerMedia, calleeMedia, 0, uint16(i*7919), uint32(i)*2654435761, uint32(i)*40503+1)
		}
		s.call(2000, 0, "a", callerMedia, calleeMedia)
		for i := range 20 {
			s.rtp(2100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 42)
		}
		for _, r := range s.trace(t).Streams.All() {
			if r.SSRC == 42 && r.Packets == 20 && r.CallID == "a" {
				return
			}
		}
		t.Error("the call's stream was not found")
	})
}

// A clock that runs backwards, or to and fro, makes no second of a stream stand
// twice or out of order.
func TestSecondsOfADisorderedClock(t *testing.T) {
	for name, clock := range map[string]func(i int64) int64{
		"backwards":   func(i int64) int64 { return 3_000_000 - 1000*i },
		"to and fro":  func(i int64) int64 { return 20*i + 3000*(i%2) },
		"many places": func(i int64) int64 { return i * 7_919_000 % 1_000_000 },
	} {
		s := &script{unsorted: true}
		for i := range int64(3000) {
			s.rtp(clock(i), callerMedia, calleeMedia, 0, uint16(i), 1)
		}
		trace := s.trace(t)
		if r := only(t, trace); r.Packets != 3000 || r.Lost != 0 {
			t.Errorf("%s: %d packets, %d lost", name, r.Packets, r.Lost)
		}
		seconds := map[decode.Time]bool{}
		for i := range int64(3000) {
			seconds[(at(clock(i))/1e9)*1e9] = true
		}
		if trace.StreamIntervals.Len() != len(seconds) {
			t.Errorf("%s: %d seconds, want %d", name, trace.StreamIntervals.Len(), len(seconds))
		}
		if !slices.IsSortedFunc(trace.StreamIntervals.Slice(), func(a, b sessions.StreamInterval) int { return cmp.Compare(a.At, b.At) }) {
			t.Errorf("%s: seconds out of order", name)
		}
	}
}

// RFC 3550 6.4.1: round trip = arrival - LSR - DLSR, jitter in clock units,
// fraction lost in 1/256.
func TestRTCP(t *testing.T) {
	s := &script{}
	s.call(0, 0, "a", callerMedia, calleeMedia)
	for i := range 50 {
		s.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 5)
	}
	const ntp = 0xE4000000_12345678
	sr := []byte{0x80, 200, 0, 6}
	sr = binary.BigEndian.AppendUint32(sr, 5)
	sr = binary.BigEndian.AppendUint64(sr, ntp)
	sr = append(sr, make([]byte, 12)...)
	s.add(1000, "10.0.0.1:6001", "10.0.0.2:7001", sr)
	rr := []byte{0x81, 201, 0, 7}
	rr = binary.BigEndian.AppendUint32(rr, 6)
	rr = binary.BigEndian.AppendUint32(rr, 5)
	rr = append(rr, 64, 0, 0, 3) // a quarter lost
	rr = binary.BigEndian.AppendUint32(rr, 50)
	rr = binary.BigEndian.AppendUint32(rr, 80) // of 8000 Hz: 10 ms
	rr = binary.BigEndian.AppendUint32(rr, uint32(ntp>>16&0xFFFFFFFF))
	rr = binary.BigEndian.AppendUint32(rr, 65536/2) // held for 500 ms
	s.add(1620, "10.0.0.2:7001", "10.0.0.1:6001", rr)
	r := only(t, s.trace(t))
	if math.Abs(r.RTCPRTTms.V-120) > 1e-6 || r.RTCPJitterMS.V != 10 || r.RTCPFractionLost.V != 0.25 {
		t.Errorf("round trip %v ms, jitter %v ms, fraction lost %v; want 120, 10, 0.25", r.RTCPRTTms, r.RTCPJitterMS, r.RTCPFractionLost)
	}
}

func TestHosts(t *testing.T) {
	s := &script{}
	s.call(0, 0, "a", callerMedia, calleeMedia)
	// answer for voice.example: CNAME to host.example, which is 10.0.0.2
	dns := []byte("\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x05voice\x07example\x00\x00\x01\x00\x01" +
		"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x07\x04host\xc0\x12" + "\xc0\x2b\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x02")
	s.add(1, "10.0.0.53:53", "10.0.0.1:40000", dns)
	for i := range 20 {
		s.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 5)
	}
	hosts := map[string]sessions.Host{}
	for _, h := range s.trace(t).Hosts {
		hosts[h.Address] = h
	}
	if h := hosts["10.0.0.2"]; !slices.Equal(h.Names, []string{"voice.example"}) || !slices.Equal(h.NamesBy, []string{"dns"}) || !slices.Equal(h.Roles, []string{"media", "signaling"}) {
		t.Errorf("callee %+v", h)
	}
	if h := hosts["10.0.0.1"]; !slices.Contains(h.Roles, "client") || h.PacketsOut != 22 || h.PacketsIn != 3 {
		t.Errorf("caller %+v", h)
	}
}

// Two hundred calls that share one pair of media addresses: call number i sends
// and gets source 0xCA110000+i.
func TestCallsSharingOneMediaAddress(t *testing.T) {
	trace := labTrace(t, "s2-sip/calls200-10cps/capture.pcapng")
	var truth struct {
		CallSIDs []struct{ CallSid string } `json:"callsids"`
	}
	readTruth(t, "s2-sip/calls200-10cps", &truth)
	if len(trace.Calls) != 200 || len(truth.CallSIDs) != 200 || trace.Streams.Len() != 400 {
		t.Fatalf("%d calls, %d in the truth, %d streams", len(trace.Calls), len(truth.CallSIDs), trace.Streams.Len())
	}
	want := map[uint32]string{}
	for i, c := range truth.CallSIDs {
		want[0xCA110000+uint32(i)] = c.CallSid
	}
	wrong := 0
	for _, r := range trace.Streams.All() {
		if r.CallID != want[r.SSRC] {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 400 streams are of another call", wrong)
	}
	for _, c := range trace.Calls {
		if c.Streams != 2 {
			t.Errorf("call %s has %d streams", c.CallID, c.Streams)
		}
	}
}

func readTruth(t *testing.T, run string, truth any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared(t, "lab"), run, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, truth); err != nil {
		t.Fatal(err)
	}
}

// The bridge's own log is a witness that knows no RTP receiver: what it let
// pass is what was there.
func TestImpairedStreams(t *testing.T) {
	for _, run := range []string{"imp-loss2", "imp-loss10", "imp-burst", "imp-reorder5", "imp-clean"} {
		t.Run(run, func(t *testing.T) {
			var truth struct {
				Impairment struct {
					Totals map[string]map[string]int64
				}
				Tshark map[string]struct {
					Streams [][]string `json:"rtp_streams"`
				}
			}
			readTruth(t, "s2-sip/"+run, &truth)
			trace := labTrace(t, "s2-sip/"+run+"/capture.pcapng")
			var got, sent int64 // PBX to trunk, where the capture is behind the bridge
			for _, r := range trace.Streams.All() {
				if r.Dst == "10.98.0.20" {
					got += r.Packets + r.Duplicates
				} else {
					sent += r.Packets + r.Duplicates
				}
			}
			if want := truth.Impairment.Totals["ab"]["out"]; got != want {
				t.Errorf("%d packets behind the bridge, it let pass %d", got, want)
			}
			if want := truth.Impairment.Totals["ba"]["in"]; sent != want {
				t.Errorf("%d packets before the bridge, it got %d", sent, want)
			}
			streams := trace.Streams.Slice()
			for _, line := range truth.Tshark["capture.pcapng"].Streams {
				ssrc, err := strconv.ParseUint(strings.TrimPrefix(line[6], "0x"), 16, 32)
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(line, func(s string) bool { return strings.HasPrefix(s, "(") && strings.HasSuffix(s, "%)") })
				num := func(k int) float64 {
					f, err := strconv.ParseFloat(line[i+k], 64)
					if err != nil {
						t.Fatal(err)
					}
					return f
				}
				k := slices.IndexFunc(streams, func(r sessions.Stream) bool {
					return r.SSRC == uint32(ssrc) && r.Src == line[2] && r.Dst == line[4]
				})
				if k < 0 {
					t.Errorf("no stream %s from %s", line[6], line[2])
					continue
				}
				r := &streams[k]
				if lost := max(0, num(-1)); float64(r.Packets) != num(-2) || float64(r.Lost) != lost {
					t.Errorf("%s from %s: %d packets, %d lost; tshark %v, %v", line[6], line[2], r.Packets, r.Lost, num(-2), lost)
				}
				// tshark prints three digits
				for _, f := range []struct {
					name      string
					got, want float64
				}{{"delta max", r.DeltaMaxMS.V, num(3)}, {"jitter mean", r.JitterMeanMS.V, num(5)}, {"jitter max", r.JitterMaxMS.V, num(6)}} {
					if math.Abs(f.got-f.want) > 0.002+0.001*f.want {
						t.Errorf("%s from %s: %s %v, tshark %v", line[6], line[2], f.name, f.got, f.want)
					}
				}
			}
		})
	}
}

func TestInputOrderDoesNotMatter(t *testing.T) {
	s := &script{}
	s.call(0, 3000, "a", callerMedia, calleeMedia)
	for i := range 50 {
		s.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 9)
	}
	rows := func() string {
		trace := s.trace(t)
		signals := trace.Signals.Slice()
		out := ""
		for i := range signals {
			out += signals[i].Detail.String()
			signals[i].Detail = sessions.Text{}
		}
		out += fmt.Sprintf("%+v %+v %+v", signals, trace.Streams.Slice(), trace.StreamIntervals.Slice())
		trace.Signals, trace.Streams, trace.StreamIntervals = sessions.Signals{}, sessions.Streams{}, sessions.StreamIntervals{}
		return out + fmt.Sprintf("%+v", *trace)
	}
	one := rows()
	for range 5 {
		if again := rows(); again != one {
			t.Fatal("the same input gave another trace")
		}
	}
}
