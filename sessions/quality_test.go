package sessions_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/sessions"
)

// passed reads from a bridge's log which packets of a direction went through.
func passed(t *testing.T, run, dir string) (through []bool) {
	t.Helper()
	f, err := os.Open(filepath.Join(shared(t, "lab"), run, "impairment.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var l struct{ Dir, SSRC, Act string }
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Dir == dir && l.SSRC != "" {
			through = append(through, l.Act != "drop")
		}
	}
	return through
}

// structure is RFC 3611 4.7.2 by its words: losses with fewer than 16 received
// packets between them are one burst when they are two or more.
func structure(through []bool) (burstPct, gapPct float64, lost int) {
	for len(through) > 0 && !through[0] {
		through = through[1:] // no receiver knows of those
	}
	for len(through) > 0 && !through[len(through)-1] {
		through = through[:len(through)-1]
	}
	var at []int
	for i, ok := range through {
		if !ok {
			at = append(at, i)
		}
	}
	var inPackets, inLost int
	for i := 0; i < len(at); {
		k := i
		for k+1 < len(at) && at[k+1]-at[k]-1 < 16 {
			k++
		}
		if k > i {
			inPackets += at[k] - at[i] + 1
			inLost += k - i + 1
		}
		i = k + 1
	}
	if inPackets > 0 {
		burstPct = 100 * float64(inLost) / float64(inPackets)
	}
	return burstPct, 100 * float64(len(at)-inLost) / float64(len(through)-inPackets), len(at)
}

func impaired(t *testing.T, run string) (*sessions.Stream, *sessions.Trace) {
	t.Helper()
	trace := labTrace(t, "s2-sip/"+run+"/capture.pcapng")
	streams := trace.Streams.Slice()
	i := slices.IndexFunc(streams, func(r sessions.Stream) bool { return r.Dst == "10.98.0.20" })
	if i < 0 {
		t.Fatal("no stream behind the bridge")
	}
	return &streams[i], trace
}

func TestLossStructureOfImpairedRuns(t *testing.T) {
	mos := map[string]float64{}
	for _, run := range []string{"imp-clean", "imp-loss2", "imp-loss10", "imp-burst", "imp-jitter30"} {
		r, trace := impaired(t, run)
		burst, gap, lost := structure(passed(t, "s2-sip/"+run, "ab"))
		if run != "imp-clean" && run != "imp-jitter30" && lost == 0 {
			t.Fatalf("%s: the log has no loss", run)
		}
		if r.Lost != int64(lost) || math.Abs(r.BurstLossPct.V-burst) > 1e-9 || math.Abs(r.GapLossPct.V-gap) > 1e-9 {
			t.Errorf("%s: lost %d, burst %v %%, gap %v %%; by the log %d, %v, %v", run, r.Lost, r.BurstLossPct.V, r.GapLossPct.V, lost, burst, gap)
		}
		if !r.MOS.Known || !strings.Contains(r.MOSMethod, "G.107") {
			t.Errorf("%s: MOS %v by %q", run, r.MOS, r.MOSMethod)
		}
		mos[run] = r.MOS.V
		rated := 0
		for _, iv := range trace.StreamIntervals.All() {
			if iv.StreamID != r.StreamID || !iv.MOS.Known {
				continue
			}
			rated++
			if iv.Lost == 0 && run != "imp-jitter30" && iv.MOS.V < 4.3 || iv.Lost > 2 && iv.MOS.V > 3.7 {
				t.Errorf("%s: a second with %d lost has MOS %v", run, iv.Lost, iv.MOS.V)
			}
		}
		if rated < 18 {
			t.Errorf("%s: %d seconds rated of 20", run, rated)
		}
	}
	if mos["imp-clean"] < 4.3 || mos["imp-loss2"] >= mos["imp-clean"] || mos["imp-loss10"] >= mos["imp-loss2"] || mos["imp-jitter30"] >= mos["imp-clean"] {
		t.Errorf("MOS %v", mos)
	}
}

func TestNotRated(t *testing.T) {
	few := &script{}
	few.call(0, 0, "a", callerMedia, calleeMedia)
	video := &script{}
	video.say(0, "INVITE\n"+sdp(callerMedia, "96", "rtpmap:96 VP8/90000"))
	video.say(20, "200 OK\n"+sdp(calleeMedia, "96", "rtpmap:96 VP8/90000"))
	for i := range 100 {
		if i < 49 {
			few.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 1)
		}
		video.rtp(100+20*int64(i), callerMedia, calleeMedia, 96, uint16(i), 1)
	}
	for _, s := range []*script{few, video} {
		trace := s.trace(t)
		r := only(t, trace)
		if r.RFactor.Known || r.MOS.Known || r.MOSMethod != "" || r.MOSSDK.Known || r.ClockDriftPPM.Known {
			t.Errorf("rated: %+v", r)
		}
		for _, iv := range trace.StreamIntervals.All() {
			if iv.MOS.Known {
				t.Errorf("a second is rated: %+v", iv)
			}
		}
	}
}

// tone is 20 ms of mu-law: a square wave of a level in dBov.
func tone(dbov float64) []byte {
	b := make([]byte, 160)
	v := 32124 * math.Pow(10, dbov/20)
	// G.711: magnitude m of segment e is ((2m+33)<<e - 33)*4 at 16 bits
	best, at := math.Inf(1), byte(0)
	for e := range 8 {
		for m := range 16 {
			if d := math.Abs(float64(((2*m+33)<<e-33)*4) - v); d < best {
				best, at = d, ^byte(e<<4|m)
			}
		}
	}
	for i := range b {
		b[i] = at
		if i%8 < 4 {
			b[i] ^= 0x80 // the sign
		}
	}
	return b
}

func TestSilenceBySamples(t *testing.T) {
	for _, test := range []struct {
		first, second float64
		want          float64 // percent
	}{{-20, -20, 0}, {-48.5, -48.5, 0}, {-51.5, -51.5, 100}, {-90, -90, 100}, {-20, -60, 50}} {
		s := &script{}
		s.call(0, 0, "a", callerMedia, calleeMedia)
		for i := range 201 {
			level := test.first
			if i >= 100 {
				level = test.second
			}
			s.rtpAt(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), uint32(160*i), 1, tone(level)...)
		}
		r := only(t, s.trace(t))
		if !r.SilencePct.Known || math.Abs(r.SilencePct.V-test.want) > 2.5 { // one packet of eight is looked at
			t.Errorf("%v then %v dBov: %v %% silent, want %v", test.first, test.second, r.SilencePct, test.want)
		}
		if r.AudioLevelDBOV.Known {
			t.Errorf("a level that no sender gave: %v", r.AudioLevelDBOV)
		}
	}
}

// withLevel is a packet with the one-byte extension of RFC 6464.
func (s *script) withLevel(ms int64, pt uint8, seq uint16, stamp uint32, element, dbov int) {
	b := []byte{0x90, pt}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, stamp)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, 0xBE, 0xDE, 0, 1, byte(element<<4), byte(-dbov), 0, 0)
	s.add(ms, callerMedia, calleeMedia, append(b, make([]byte, 60)...))
}

func TestLevelsOfTheHeader(t *testing.T) {
	attributes := []string{"rtpmap:111 opus/48000/2", "extmap:3 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on"}
	for _, element := range []int{3, 5} {
		s := &script{}
		s.say(0, "INVITE\n"+sdp(callerMedia, "111", attributes...))
		s.say(20, "200 OK\n"+sdp(calleeMedia, "111", attributes...))
		for i := range 101 {
			level := -30
			if i >= 75 {
				level = -127
			}
			s.withLevel(100+20*int64(i), 111, uint16(i), uint32(960*i), element, level)
		}
		r := only(t, s.trace(t))
		if element == 5 { // SDP says nothing of it
			if r.AudioLevelDBOV.Known || r.SilencePct.Known {
				t.Errorf("level %v, silent %v", r.AudioLevelDBOV, r.SilencePct)
			}
			continue
		}
		want := -30 + 10*math.Log10(75.0/101) // power of the 75, over all
		if math.Abs(r.AudioLevelDBOV.V-want) > 0.01 || math.Abs(r.SilencePct.V-25) > 1 {
			t.Errorf("level %v, silent %v; want %v, 25", r.AudioLevelDBOV, r.SilencePct, want)
		}
	}
}

// Without levels or samples, only DTX tells: a packet of Opus that is not more
// than its table of contents, and comfort noise.
func TestSilenceByDTX(t *testing.T) {
	for _, test := range []struct {
		name  string
		pt    uint8
		noise uint8
		size  int
		known bool
	}{{"opus", 111, 111, 1, true}, {"opus always on", 111, 111, 60, false}, {"comfort noise", 18, 13, 11, true}} {
		s := &script{}
		s.say(0, "INVITE\n"+sdp(callerMedia, "111 18 13", "rtpmap:111 opus/48000/2"))
		s.say(20, "200 OK\n"+sdp(calleeMedia, "111 18 13", "rtpmap:111 opus/48000/2"))
		ms, seq := int64(0), uint16(0)
		send := func(pt uint8, size int, hold int64) {
			ticks := uint32(ms * 8)
			if test.pt == 111 {
				ticks *= 6
			}
			s.rtpAt(100+ms, callerMedia, calleeMedia, pt, seq, ticks, 1, make([]byte, size)...)
			seq++
			ms += hold
		}
		for range 50 { // a second of speech
			send(test.pt, 60, 20)
		}
		for range 5 { // two of silence
			send(test.noise, test.size, 400)
		}
		send(test.pt, 60, 20)
		r := only(t, s.trace(t))
		if r.SilencePct.Known != test.known || test.known && math.Abs(r.SilencePct.V-200.0/3) > 0.1 {
			t.Errorf("%s: %v, want 66.7 (%v)", test.name, r.SilencePct, test.known)
		}
	}
}

// One late packet at the end is no drift: between the two ends it made 750 ppm.
func TestClockDrift(t *testing.T) {
	s := &script{}
	s.call(0, 0, "a", callerMedia, calleeMedia)
	for i := range 1001 {
		ms := 100 + 20*int64(i)
		if i == 1000 {
			ms += 15
		}
		s.rtpAt(ms, callerMedia, calleeMedia, 0, uint16(i), uint32(160*i)+uint32(i/5), 1) // 0.2 of 160 a packet: 1250 ppm
	}
	if r := only(t, s.trace(t)); !r.ClockDriftPPM.Known || math.Abs(r.ClockDriftPPM.V-1250) > 60 {
		t.Errorf("%v ppm, want 1250", r.ClockDriftPPM)
	}
}

// RFC 3611 4.7: what the far end says of the whole reception stands in for
// reports that never came.
func TestVoIPMetrics(t *testing.T) {
	s := &script{}
	s.call(0, 0, "a", callerMedia, calleeMedia)
	for i := range 100 {
		s.rtp(100+20*int64(i), callerMedia, calleeMedia, 0, uint16(i), 0x99)
	}
	xr := []byte{0x80, 207, 0, 10, 0, 0, 0, 1, 7, 0, 0, 8, 0, 0, 0, 0x99}
	xr = append(xr, 64, 0, 0, 0) // a quarter lost
	xr = append(xr, 0, 0, 0, 0, 0, 80, 0, 0)
	xr = append(xr, 127, 127, 127, 16, 127, 127, 127, 127, 0, 0, 0, 0, 0, 0, 0, 0)
	s.add(1500, "10.0.0.2:7001", "10.0.0.1:6001", xr)
	r := only(t, s.trace(t))
	if r.RTCPFractionLost.V != 0.25 || r.RTCPRTTms.V != 80 || !strings.Contains(r.MOSMethod, "delay by RTCP") {
		t.Errorf("lost %v, round trip %v, %q", r.RTCPFractionLost, r.RTCPRTTms, r.MOSMethod)
	}
}

// The gateway's own log tells when ICE and DTLS were done; tshark found the
// frames.
func TestSetupOfBrowserCalls(t *testing.T) {
	type rung struct {
		protocol, kind string
		frame          int64
	}
	for run, want := range map[string][]rung{
		"full-ice":                 {{"stun", "first check", 725}, {"stun", "check succeeded", 744}, {"dtls", "ClientHello", 759}, {"dtls", "Finished", 804}},
		"outgoing-opus-dtlsclient": {{"stun", "first check", 751}, {"stun", "check succeeded", 752}, {"dtls", "ClientHello", 793}, {"dtls", "Finished", 797}},
		"turn-udp":                 {{"stun", "first check", 761}, {"stun", "check succeeded", 762}, {"dtls", "ClientHello", 764}, {"dtls", "Finished", 807}},
	} {
		var truth struct {
			Media []struct {
				States []struct {
					Kind, State string
					T           int64 `json:"t_ns"`
				}
			}
		}
		readTruth(t, "s1-webrtc/"+run, &truth)
		trace := labTrace(t, "s1-webrtc/"+run+"/capture.pcapng", "s1-webrtc/"+run+"/keys.log")
		c := trace.Calls[0]
		var got []rung
		at := map[string]decode.Time{}
		for _, s := range trace.Signals.All() {
			if s.Protocol == "stun" || s.Protocol == "dtls" {
				got = append(got, rung{s.Protocol, s.Kind, s.Frame.V})
				at[s.Kind] = s.At
				if s.CallID != c.CallID || !s.LegID.Known || !s.FlowID.Known {
					t.Errorf("%s: rung %+v", run, s)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", run, got, want)
		}
		for _, s := range truth.Media[0].States {
			if s.Kind == "dtls" && s.State == "connected" && math.Abs(float64(int64(at["Finished"])-s.T)) > 5e6 {
				t.Errorf("%s: Finished %v, the gateway was connected at %v", run, at["Finished"], decode.Time(s.T))
			}
		}
		if ice := float64(at["check succeeded"]-at["first check"]) / 1e6; c.ICEms.V != ice || ice <= 0 {
			t.Errorf("%s: ICE %v ms, by its rungs %v", run, c.ICEms, ice)
		}
		if dtls := float64(at["Finished"]-at["ClientHello"]) / 1e6; c.DTLSms.V != dtls || dtls <= 0 {
			t.Errorf("%s: DTLS %v ms, by its rungs %v", run, c.DTLSms, dtls)
		}
		for _, r := range trace.Streams.All() {
			if r.CallID != c.CallID {
				t.Errorf("%s: the stream from %s belongs to %q", run, r.Src, r.CallID)
			}
		}
	}
}
