package sessions_test

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/sessions"
)

// Every run of the lab, and every experiment that ships, as one input.
func TestValidatorOnRuns(t *testing.T) {
	runs := 0
	check := func(t *testing.T, fsys fs.FS, dir string) {
		var list []*container.File
		visit := func(f *container.File) error {
			if !strings.HasSuffix(f.Name, "truth.json") && f.Size < 16<<20 {
				list = append(list, f)
			}
			return nil
		}
		if err := container.Walk(fsys, dir, visit, func(string, error) {}); err != nil {
			t.Fatal(err)
		}
		runs++
		analyseFiles(t, list)
		if t.Failed() {
			t.Fatalf("in %s", dir)
		}
	}
	walk := func(t *testing.T, fsys fs.FS) {
		dirs, err := fs.Glob(fsys, "*")
		if err != nil {
			t.Fatal(err)
		}
		more, err := fs.Glob(fsys, "*/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range append(dirs, more...) {
			if info, err := fs.Stat(fsys, dir); err == nil && info.IsDir() {
				check(t, fsys, dir)
			}
		}
	}
	t.Run("recorded", func(t *testing.T) { walk(t, fixtures.Recorded()) })
	t.Run("lab", func(t *testing.T) { walk(t, os.DirFS(shared(t, "lab"))) })
	t.Run("samples", func(t *testing.T) { walk(t, os.DirFS(shared(t, "samples"))) })
	if runs < 10 {
		t.Errorf("only %d runs found", runs)
	}
}

// The Validator must see what is wrong.
func TestValidatorSees(t *testing.T) {
	good := func() *sessions.Trace {
		s := &script{}
		s.call(0, 3000, "a", callerMedia, calleeMedia)
		for i := range 20 {
			s.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 9)
		}
		return s.trace(t)
	}
	first := func(damage func(*sessions.Signal)) func(*sessions.Trace) {
		return func(x *sessions.Trace) {
			x.Signals.Change(func(i int, s *sessions.Signal) {
				if i == 0 {
					damage(s)
				}
			})
		}
	}
	firstStream := func(damage func(*sessions.Stream)) func(*sessions.Trace) {
		return func(x *sessions.Trace) {
			x.Streams.Change(func(i int, s *sessions.Stream) {
				if i == 0 {
					damage(s)
				}
			})
		}
	}
	for name, damage := range map[string]func(*sessions.Trace){
		"answered before ringing":       func(x *sessions.Trace) { x.Calls[0].AnsweredAt = x.Calls[0].RingingAt - 1 },
		"ended before answered":         func(x *sessions.Trace) { x.Calls[0].EndedAt = x.Calls[0].AnsweredAt - 1 },
		"unknown outcome":               func(x *sessions.Trace) { x.Calls[0].Outcome = "fine" },
		"call twice":                    func(x *sessions.Trace) { x.Calls = append(x.Calls, x.Calls[0]) },
		"leg of no call":                func(x *sessions.Trace) { x.Legs[0].CallID = "b" },
		"signal of no call":             first(func(s *sessions.Signal) { s.CallID = "b" }),
		"signal of another leg":         first(func(s *sessions.Signal) { s.LegID.V = 7 }),
		"signal of no flow":             first(func(s *sessions.Signal) { s.FlowID.V = 70 }),
		"signal without a frame":        first(func(s *sessions.Signal) { s.Frame.V = 0 }),
		"stream of no call":             firstStream(func(s *sessions.Stream) { s.CallID = "b" }),
		"stream of no flow":             firstStream(func(s *sessions.Stream) { s.FlowID = 70 }),
		"loss that is none":             firstStream(func(s *sessions.Stream) { s.Lost = 1 }),
		"packets that are in no second": firstStream(func(s *sessions.Stream) { s.Packets, s.Expected = 21, 21 }),
		"stream that the call lacks":    func(x *sessions.Trace) { x.Calls[0].Streams = 0 },
		"second twice":                  func(x *sessions.Trace) { x.StreamIntervals.Add(*x.StreamIntervals.At(0)) },
		"arrival out of place":          func(x *sessions.Trace) { x.Arrivals[0].Seq = 2 },
		"host twice":                    func(x *sessions.Trace) { x.Hosts = append(x.Hosts, x.Hosts[0]) },
		"flow without a host":           func(x *sessions.Trace) { x.Hosts = x.Hosts[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			trace := good()
			damage(trace)
			if new(sessions.Validator).Check(trace) == nil {
				t.Error("nothing was seen")
			}
		})
	}
}

// Any order of the messages of two calls and their media, on a clock that now
// and then steps back, makes a Trace that holds together.
func FuzzCalls(f *testing.F) {
	lines := []string{
		"INVITE", "100 Trying", "180 Ringing", "183 Session Progress", "200 OK", "ACK", "BYE", "callee:BYE", "CANCEL", "486 Busy Here", "487 Request Terminated",
		"401 Unauthorized", "503 Service Unavailable", "200 OK\nCSeq: 2 BYE", "INVITE\nCSeq: 2 INVITE\nVia: SIP/2.0/UDP x;branch=z9hG4bK2", "INVITE\nTo: <sip:b@x>;tag=et\nCSeq: 5 INVITE",
		"INVITE\nX-Twilio-CallSid: CA1", "200 OK\nX-Twilio-CallSid: CA1", "OPTIONS", "180 Ringing\nTo: <sip:b@x>;tag=e2",
		"INVITE\n" + sdp(callerMedia, "0"), "200 OK\n" + sdp(calleeMedia, "0"),
	}
	f.Add([]byte{0, 34, 66, 100, 5, 230, 7})
	f.Add([]byte{20, 21, 22, 22, 22, 22, 54, 86, 6, 20, 21, 22, 6})
	f.Add([]byte{16, 12, 48, 36, 6})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			return
		}
		s := &script{unsorted: true}
		ms, seq := int64(100_000), uint16(0)
		for _, c := range data {
			switch step := int64(c >> 5); {
			case c == 0xFF:
				ms -= 300
			case step == 6:
				ms += 40_000
			default:
				ms += step
			}
			if k := int(c & 31); k < len(lines) {
				of := "\nCall-ID: one"
				if c&32 != 0 {
					of = "\nCall-ID: two"
				}
				first, rest, _ := strings.Cut(lines[k], "\n")
				if rest != "" && !strings.HasPrefix(rest, "\n") {
					rest = "\n" + rest
				}
				s.say(ms, first+of+rest)
				continue
			}
			if seq++; c&31 == 31 {
				seq += 5000
			}
			s.rtp(ms, callerMedia, calleeMedia, 0, seq, uint32(c>>6))
		}
		s.trace(t)
	})
}
