package experiment

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/packed"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// The ids and severities that the documentation promises.
var contract = map[string]string{
	"rate-below": "warn", "burst-first": "info", "no-backlog": "info", "fifo-broken": "warn", "item-missing": "error", "sent-but-failed": "warn",
	"queue-overflow": "error", "segments-disagree": "info", "trial-prefix": "info", "clock-offset": "warn", "latency-assumption": "warn",
	"arrival-late": "warn", "ringing-never": "info", "call-ignored": "info", "hangup-error": "warn", "reject-early": "info", "reconnect": "info",
	"heartbeat-lost": "warn", "token-rejected": "error", "register-gap": "warn", "setup-slow": "warn", "one-way-audio": "error", "media-late": "warn",
	"media-loss": "warn", "jitter-high": "warn", "mos-disagree": "info", "payload-changed": "info", "retransmit-sip": "info", "sip-failure": "warn",
	"duplicate-capture": "info", "capture-loss": "warn", "not-decrypted": "info", "tls-old": "warn", "unknown-message": "info", "times-went-back": "warn",
}

// What is told where it is met.
var elsewhere = []string{"times-went-back"}

func TestRulesAreTheContract(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.id] {
			t.Errorf("rule %s stands twice", r.id)
		}
		seen[r.id] = true
		if contract[r.id] != r.severity {
			t.Errorf("rule %s: severity %q, want %q", r.id, r.severity, contract[r.id])
		}
	}
	for id := range contract {
		if seen[id] == slices.Contains(elsewhere, id) {
			t.Errorf("rule %s: in the table %v", id, seen[id])
		}
	}
}

const t0 = decode.Time(1_700_000_000_000_000_000)

func at(s float64) decode.Time { return t0 + decode.Time(s*1e9) }
func num(v int64) sessions.Int { return decode.Some(v) }
func flt(v float64) sessions.Float {
	return decode.Some(v)
}

// Parts of small datasets.

func line(id uint32, port uint32, from, to float64) sessions.Flow {
	return sessions.Flow{FlowID: id, Transport: "tcp", Src: "192.0.2.10", SrcPort: decode.Some(port), Dst: "198.51.100.1", DstPort: decode.Some(uint32(443)),
		Application: "pstream", FirstAt: at(from), LastAt: at(to), Encryption: "decrypted", Packets: 10, Bytes: 1000}
}

func pstream(flow, port uint32, s float64, client bool, call, kind, detail string) sessions.Signal {
	frame := num(int64(s*1000) + 1)
	sig := sessions.Signal{CallID: call, FlowID: decode.Some(flow), At: at(s), File: "a.pcap", Frame: frame, FirstFrame: frame, Protocol: "pstream",
		Src: "198.51.100.1", SrcPort: decode.Some(uint32(443)), Dst: "192.0.2.10", DstPort: decode.Some(port), Kind: kind, Label: kind, Detail: packed.NewText(detail)}
	if client {
		sig.Src, sig.Dst, sig.SrcPort, sig.DstPort = sig.Dst, sig.Src, sig.DstPort, sig.SrcPort
	}
	if kind == "heartbeat" || kind == "close" {
		sig.Protocol = "websocket"
	}
	return sig
}

func sipSignal(s float64, fromCaller bool, call, kind string, status int64, again bool, detail string) sessions.Signal {
	frame := num(int64(s*1000) + 1)
	sig := sessions.Signal{CallID: call, FlowID: decode.Some(uint32(1)), At: at(s), File: "a.pcap", Frame: frame, FirstFrame: frame, Protocol: "sip",
		Src: "203.0.113.2", Dst: "203.0.113.1", SrcPort: decode.Some(uint32(5060)), DstPort: decode.Some(uint32(5060)), Kind: kind, Label: kind, Retransmission: again, Detail: packed.NewText(detail)}
	if fromCaller {
		sig.Src, sig.Dst = sig.Dst, sig.Src
	}
	if status != 0 {
		sig.StatusCode = num(status)
	}
	return sig
}

func call(id, protocol, outcome string) sessions.Call {
	return sessions.Call{CallID: id, RootCallID: id, Protocols: []string{protocol}, Outcome: outcome, InitiatedAt: at(1), To: "+15550001111", File: "a.pcap",
		FirstFrame: num(1), LastFrame: num(9), SIPCallIDs: []string{"id-1@203.0.113.1"}}
}

func audio(id uint32, call string, there bool, from, to float64) sessions.Stream {
	s := sessions.Stream{StreamID: id, CallID: call, LegID: decode.Some(uint32(1)), FlowID: 1, Src: "203.0.113.1", SrcPort: 6000, Dst: "203.0.113.2", DstPort: 7000,
		SSRC: id, PayloadTypes: []int64{0}, Codec: "PCMU", FirstAt: at(from), LastAt: at(to), Packets: 100, Expected: 100, File: "a.pcap", FirstFrame: 5}
	if !there {
		s.Src, s.SrcPort, s.Dst, s.DstPort = s.Dst, s.DstPort, s.Src, s.SrcPort
	}
	return s
}

func intervals(id uint32, seconds ...int) []sessions.StreamInterval {
	var out []sessions.StreamInterval
	for _, s := range seconds {
		out = append(out, sessions.StreamInterval{StreamID: id, At: at(float64(s)), Packets: 50})
	}
	return out
}

func span(from, to int) []int {
	var out []int
	for s := from; s < to; s++ {
		out = append(out, s)
	}
	return out
}

func message(n int, queued, sent float64, status string) sessions.Message {
	m := sessions.Message{SID: fmt.Sprintf("SM%032d", n), AccountSID: "AC1", From: "+15550000001", To: "+15550001111", Direction: "outbound-api", Status: status, QueuedAt: at(queued),
		TimeResolutionS: flt(1), File: "m.json", Record: num(int64(n)), BodyBytes: num(20), Segments: num(1), SegmentsGSM: num(1), Segments160: num(1), Encoding: "gsm7"}
	if sent > 0 {
		m.SentAt = at(sent)
	}
	return m
}

// ucs2Of is a message whose segments are counted differently.
func ucs2Of(n int) sessions.Message {
	m := message(n, 0, 1, "sent")
	m.Encoding, m.BodyBytes, m.Segments, m.SegmentsGSM, m.Segments160 = "ucs2", num(72), num(2), num(2), num(1)
	return m
}

func rate() rates.Rate {
	return rates.Rate{Kind: "messages", Queue: "+15550000001", QueueBy: "from", Items: 100, Repeats: 1, Clock: "provider", GuaranteePerS: 1, ExpectedPerS: flt(1),
		QueueLimitedBy: "unknown", Verdict: "meets", SustainedVerdict: "meets", Reason: "x"}
}

func answered(protocol string) sessions.Call {
	c := call("C1", protocol, "answered")
	c.AnsweredAt, c.EndedAt = at(2), at(20)
	return c
}

func setup(ms ...float64) *table.Dataset {
	d := &table.Dataset{}
	for i, v := range ms {
		c := call(fmt.Sprintf("C%d", i), "sip", "answered")
		c.PostDialDelayMS, c.InitiatedAt = flt(v), at(float64(i))
		d.Calls = append(d.Calls, c)
	}
	return d
}

// ruleCases are datasets with what a rule must say of them: a part of each
// sentence, none when it must not fire.
func ruleCases() map[string][]ruleCase {
	invite := func(s float64, call string) sessions.Signal {
		return pstream(1, 5000, s, false, call, "invite", "payload.callsid: "+call)
	}
	withRate := func(f func(r *rates.Rate), m ...sessions.Message) *table.Dataset {
		r := rate()
		f(&r)
		return &table.Dataset{Rates: []rates.Rate{r}, Messages: packed.Of(m...)}
	}
	sent := []sessions.Message{message(1, 0, 1, "delivered"), message(2, 0, 2, "delivered"), message(3, 0, 4, "delivered"), message(4, 0, 6, "delivered")}
	twoQueues := withRate(func(r *rates.Rate) { r.Verdict, r.Queue, r.ObservedPerS = "below", "+15550000002", flt(0.9) }, sent...)
	twoQueues.Rates = append(twoQueues.Rates, rate())
	other := message(9, 20, 21, "sent")
	other.From = "+15550000002"
	twoQueues.Messages.Add(other)
	arrived := func(to, by string, err float64) sessions.Arrival {
		return sessions.Arrival{Seq: 1, CallID: "C1", CallSID: "C1", To: to, Endpoint: "browser", QueuedAt: at(0), QueuedBy: "http-post", ArrivedAt: at(1), ArrivedBy: by, ArrivedErrorMS: flt(err), File: "a.pcap", Frame: num(7)}
	}
	late := call("late", "sip", "answered")
	late.ArrivedAt, late.ArrivedBy, late.ArrivedErrorMS = at(2), "sip-invite", flt(681.3)
	const bye = "BYE sip:a@b SIP/2.0\nCall-ID: x\n"
	refused := func(label string, status int64, detail string) *table.Dataset {
		s := sipSignal(1, false, "C1", strconv.FormatInt(status, 10), status, false, "SIP/2.0 "+label+"\nCSeq: 1 INVITE\n"+detail)
		s.Label = label
		return &table.Dataset{Signals: packed.Of(s), Calls: []sessions.Call{call("C1", "sip", "failed")}}
	}
	media := func(c sessions.Call, streams ...sessions.Stream) *table.Dataset {
		return &table.Dataset{Calls: []sessions.Call{c}, Streams: packed.Of(streams...)}
	}
	held := media(answered("sip"), audio(1, "C1", true, 2, 20), audio(2, "C1", false, 2, 6))
	hold := sipSignal(5, true, "C1", "INVITE", 0, false, "INVITE\n\na=sendonly\n")
	hold.Label = "INVITE + SDP"
	held.Signals = packed.Of(hold)
	gap := media(answered("sip"), audio(1, "C1", true, 2, 20), audio(2, "C1", false, 2, 20))
	gap.StreamIntervals = packed.Of(slices.Concat(intervals(1, span(2, 20)...), intervals(2, span(2, 8)...), intervals(2, span(13, 20)...))...)
	short := media(answered("sip"), audio(1, "C1", true, 2, 20), audio(2, "C1", false, 2, 20))
	short.StreamIntervals = packed.Of(slices.Concat(intervals(1, span(2, 20)...), intervals(2, span(2, 8)...), intervals(2, span(10, 20)...))...)
	stepped := media(answered("sip"), audio(1, "C1", true, 2, 20))
	stepped.Captures = []decode.Capture{{File: "a.pcap", FirstAt: at(0), LastAt: at(20), BackwardSteps: 1}}
	stepped.Oddities = []sessions.Oddity{{Rule: "times-went-back", File: "a.pcap", Frame: num(3), At: at(-3)}}
	changed := func(pts ...int64) *table.Dataset {
		s := audio(1, "C1", true, 2, 20)
		s.PayloadTypes = pts
		d := media(answered("sip"), s, audio(2, "C1", false, 2, 20))
		sdp := sipSignal(1, true, "C1", "INVITE", 0, false, "INVITE\n\nm=audio 6000 RTP/AVP 0 111 101\na=rtpmap:111 opus/48000/2\na=rtpmap:101 telephone-event/8000\n")
		sdp.Label = "INVITE + SDP"
		d.Signals = packed.Of(sdp)
		return d
	}
	lossy := func(pct float64) *table.Dataset {
		s := audio(1, "C1", true, 2, 20)
		s.Expected, s.Packets, s.Lost, s.LostPct = 1000, 1000-int64(pct*10), int64(pct*10), flt(pct)
		d := media(answered("sip"), s, audio(2, "C1", false, 2, 20))
		list := intervals(1, span(2, 20)...)
		list[4].Lost = 5
		d.StreamIntervals = packed.Of(list...)
		return d
	}
	jittery := func(mean float64) *table.Dataset {
		s := audio(1, "C1", true, 2, 20)
		s.JitterMeanMS = flt(mean)
		return media(answered("sip"), s, audio(2, "C1", false, 2, 20))
	}
	scored := func(mos, sdk float64) *table.Dataset {
		s := audio(1, "C1", true, 2, 20)
		s.MOS, s.MOSSDK, s.MOSMethod = flt(mos), flt(sdk), "G.107"
		return media(answered("sip"), s, audio(2, "C1", false, 2, 20))
	}
	repeated := func(n int) *table.Dataset {
		d := &table.Dataset{Calls: []sessions.Call{answered("sip")}}
		for i := range n + 1 {
			d.Signals.Add(sipSignal(1+float64(i)/2, true, "C1", "INVITE", 0, i > 0, "INVITE sip:a@b SIP/2.0\nCall-ID: say \"hi\"\\\nCSeq: 1 INVITE"))
		}
		return d
	}
	lineOf := func(to float64, s ...sessions.Signal) *table.Dataset {
		return &table.Dataset{Flows: []sessions.Flow{line(1, 5000, 0, to)}, Signals: packed.Of(s...)}
	}
	ignored := func(c sessions.Call, s ...sessions.Signal) *table.Dataset {
		return &table.Dataset{Flows: []sessions.Flow{line(1, 5000, 0, 40)}, Calls: []sessions.Call{c}, Signals: packed.Of(s...)}
	}
	cancelled := call("C1", "pstream", "cancelled")
	cancelled.EndedAt = at(4)
	browser := call("C1", "pstream", "cancelled")
	browser.EndedAt, browser.SIPCallIDs = at(4), nil
	outgoing := ignored(browser, pstream(1, 5000, 1, true, "C1", "invite", ""), pstream(1, 5000, 4, true, "C1", "hangup", ""))
	busy := ignored(call("C2", "pstream", "ignored"), invite(1.5, "C1"), pstream(1, 5000, 2, true, "C1", "answer", ""), invite(3, "C2"))
	busy.Calls = append(busy.Calls, answered("pstream"))
	moved := &table.Dataset{Flows: []sessions.Flow{line(1, 5000, 0, 9), line(2, 5001, 8, 30)}, Calls: []sessions.Call{answered("pstream")}, Signals: packed.Of(
		invite(1, "C1"), pstream(1, 5000, 2, true, "C1", "answer", ""), pstream(1, 5000, 5, true, "", "heartbeat", ""),
		pstream(2, 5001, 8, true, "", "listen", ""), pstream(2, 5001, 9, true, "C1", "invite", "payload.reconnect: [token]"))}
	listened := &table.Dataset{Flows: moved.Flows, Calls: moved.Calls, Signals: packed.Of(moved.Signals.Slice()[:4]...)}
	second := &table.Dataset{Flows: []sessions.Flow{line(1, 5000, 0, 30), line(2, 5001, 8, 30)}, Calls: moved.Calls, Signals: packed.Of(moved.Signals.Slice()[:4]...)}
	silent := func(outcome string, s ...sessions.Signal) *table.Dataset {
		c := call("C1", "sip", outcome)
		return &table.Dataset{Calls: []sessions.Call{c}, Signals: packed.Of(append([]sessions.Signal{sipSignal(1, true, "C1", "INVITE", 0, false, "")}, s...)...),
			Captures: []decode.Capture{{File: "a.pcap", FirstAt: at(0), LastAt: at(60), Packets: 5}}}
	}
	rang := silent("cancelled")
	rang.Calls[0].RingingAt = at(2)
	resource := func(status string) *table.Dataset {
		return &table.Dataset{Arrivals: []sessions.Arrival{{Seq: 1, CallID: "CA1", CallSID: "CA1", To: "+15550001111", Endpoint: "phone", QueuedAt: at(0), QueuedBy: "resource"}},
			CallResources: []sessions.CallResource{{SID: "CA1", Status: status, File: "c.json", Record: num(1), CreatedAt: at(0)}}}
	}
	posted := resource("queued")
	posted.Captures = []decode.Capture{{File: "c.json", FirstAt: at(0), LastAt: at(9)}} // the answer to the POST, in a capture
	neverCame := &table.Dataset{Arrivals: []sessions.Arrival{arrived("client:a", "pstream-invite", 50),
		{Seq: 2, CallID: "CA2", CallSID: "CA2", To: "client:a", Endpoint: "browser", QueuedAt: at(2), QueuedBy: "http-post"}}}
	overflow := message(1, 0, 0, "failed")
	overflow.ErrorCode = num(30001)
	undelivered := message(1, 0, 1, "undelivered")
	undelivered.ErrorCode = num(30003)
	ucs2 := ucs2Of(1)
	http429 := sessions.Signal{Protocol: "http", At: at(1), Kind: "429", StatusCode: num(429), Src: "198.51.100.1", Dst: "192.0.2.10", File: "a.pcap", Frame: num(3)}
	limited := &table.Dataset{Signals: packed.Of(http429), Hosts: []sessions.Host{{Address: "198.51.100.1", Names: []string{"api.twilio.com"}, NamesBy: []string{"sni"}, Provider: "Twilio", ProviderBy: "name"}}}
	foreign := &table.Dataset{Signals: limited.Signals, Hosts: []sessions.Host{{Address: "198.51.100.1"}}}
	clock := func(lo, hi float64) *table.Dataset {
		return &table.Dataset{Clocks: []sessions.Clock{{Host: "198.51.100.1", By: "http-date", Samples: 5, OffsetLowMS: flt(lo), OffsetHighMS: flt(hi)}},
			Captures: []decode.Capture{{File: "a.pcap", FirstAt: at(0)}}}
	}
	capture := func(dup int64, dropped sessions.Int) *table.Dataset {
		return &table.Dataset{Captures: []decode.Capture{{File: "a.pcap", FirstAt: at(0), LastAt: at(9), Packets: 100, DuplicatePackets: dup, DroppedPackets: dropped}}}
	}
	flow := func(encryption string, gaps int64) *table.Dataset {
		f := line(1, 5000, 0, 9)
		f.Application, f.Encryption, f.ServerName, f.Gaps, f.GapBytes = "tls", encryption, "voice-js.roaming.twilio.com", gaps, gaps*100
		g := f
		g.FlowID = 2
		return &table.Dataset{Flows: []sessions.Flow{f, g}}
	}
	reg := func(s float64, audio string) sessions.Signal {
		return pstream(1, 5000, s, true, "", "register", "payload.media.audio: "+audio)
	}
	beat := func(s float64) sessions.Signal { return pstream(1, 5000, s, false, "", "heartbeat", "") }
	listen := pstream(1, 5000, 0, true, "", "listen", "")
	rejected := pstream(1, 5000, 1, false, "", "hangup", "payload.callsid: CA9\ntype: hangup")
	return map[string][]ruleCase{
		"rate-below": {
			{withRate(func(r *rates.Rate) {
				r.Verdict, r.ObservedPerS, r.ObservedLowPerS, r.ObservedHighPerS = "below", flt(0.9), flt(0.88), flt(0.92)
			}, sent...), []string{"promised 1 messages a second, seen 0.9 in this run (certain interval 0.88 to 0.92/s), from the first item on"}},
			{withRate(func(r *rates.Rate) {
				r.SustainedVerdict, r.SustainedPerS, r.SustainedLowPerS, r.SustainedHighPerS, r.ChangeAt = "below", flt(0.5), flt(0.45), flt(0.55), at(4)
			}, sent...), []string{"sustained 0.5 segments a second of the promised 1 (95 % interval 0.45 to 0.55/s), from item 3 on"}},
			{twoQueues, []string{"seen 0.9 in this run"}},
			{withRate(func(r *rates.Rate) { r.Verdict = "undetermined" }, sent...), nil},
		},
		"burst-first": {
			{withRate(func(r *rates.Rate) { r.BurstItems, r.BurstLowItems, r.BurstHighItems = flt(20), flt(18.5), flt(22) }, sent...), []string{"the first 20 items (18.5 to 22) left at once"}},
			{withRate(func(r *rates.Rate) { r.BurstItems = flt(3) }, sent...), nil},
		},
		"no-backlog": {
			{withRate(func(r *rates.Rate) { r.BusyPct, r.BacklogMax, r.QueuePerS = flt(0), num(1), flt(0.33) }, sent...), []string{"at most 1 item waited at once (queued 0.33 a second)"}},
			{withRate(func(r *rates.Rate) { r.BusyPct, r.BacklogMax = flt(80), num(40) }, sent...), nil},
			{withRate(func(r *rates.Rate) { r.BacklogMax = num(1) }, sent...), nil}, // no queue times
		},
		"fifo-broken": {
			{withRate(func(r *rates.Rate) { r.FIFOInversions, r.FIFOTau = num(1), flt(0.5) }, message(1, 0, 9, "sent"), message(2, 1, 4, "sent"), message(3, 2, 10, "sent")),
				[]string{"1 pair of items left in another order than queued, beyond the clock's resolution (Kendall's tau 0.5); " + message(2, 0, 0, "").SID + " left before " + message(1, 0, 0, "").SID}},
			{withRate(func(r *rates.Rate) { r.FIFOInversions = num(0) }, message(1, 0, 9, "sent"), message(2, 1, 4, "sent")), nil},
		},
		"item-missing": {
			{&table.Dataset{Messages: packed.Of(message(1, 0, 0, "queued"))}, []string{"a resource with status queued and no sent time (m.json, record 1)"}},
			{&table.Dataset{Messages: packed.Of(message(1, 0, 0, "failed"), message(2, 0, 5, "sent"), message(3, 0, 0, "delivered"), message(4, 0, 0, "scheduled"))}, nil},
			{resource("queued"), []string{"last seen as a resource with status queued (c.json, record 1)"}},
			{resource("busy"), nil},
			{posted, nil},
			{neverCame, []string{"last seen in the answer to its POST; other calls to that endpoint"}},
		},
		"sent-but-failed": {
			{&table.Dataset{Messages: packed.Of(undelivered)}, []string{"status is undelivered with error 30003 (handset unreachable); it is kept out of the rate"}},
			{&table.Dataset{Messages: packed.Of(overflow, message(2, 0, 3, "sent"))}, nil},
		},
		"queue-overflow": {
			{&table.Dataset{Messages: packed.Of(overflow, overflow)}, []string{"2 messages were refused with 30001 (queue overflow): the queue of messages was full"}},
			{&table.Dataset{Messages: packed.Of(undelivered)}, nil},
			{limited, []string{"1 request was refused with HTTP 429 by api.twilio.com (198.51.100.1)"}},
			{foreign, nil},
			{refused("503 Trunk CPS limit exceeded", 503, ""), []string{`1 call was refused with 503 "Trunk CPS limit exceeded"`}},
			{refused("503 Service Unavailable", 503, ""), nil},
			{&table.Dataset{CallResources: []sessions.CallResource{{SID: "CA1", ErrorCode: num(22005), CreatedAt: at(1)}}}, []string{"22005 (call queue full)"}},
		},
		"segments-disagree": {
			{&table.Dataset{Messages: packed.Of(ucs2)}, []string{"1 message of 72 bytes, in UCS-2, as a character outside GSM-7 demands (70 units alone, 67 each in several parts): 2 by the provider, 2 by GSM 03.38, 1 by 160 bytes each"}},
			{&table.Dataset{Messages: packed.Of(message(1, 0, 1, "sent"), sessions.Message{SID: "SM2", SegmentsGSM: num(2)})}, nil},
			{&table.Dataset{Messages: packed.Of(ucs2Of(31))}, []string{"in UCS-2, as U+2026 demands, which GSM-7 lacks (70 units"}},
			{&table.Dataset{Messages: packed.Of(ucs2Of(32), ucs2Of(31))}, []string{"2 messages of 72 bytes, in UCS-2, as U+2026 and others demand, which GSM-7 lacks (70 units"}},
		},
		"trial-prefix": {
			{&table.Dataset{Messages: packed.Of(message(33, 0, 1, "sent"), message(1, 0, 1, "sent"), message(34, 1, 2, "sent"))}, []string{"2 messages begin with the text of a trial account: the provider put 38 characters"}},
			{&table.Dataset{Messages: packed.Of(message(1, 0, 1, "sent"), message(31, 0, 1, "sent"))}, nil},
		},
		"clock-offset": {
			{clock(800, 1200), []string{"is 0.8 to 1.2 s ahead of the capture's, by 5 samples of http-date"}},
			{clock(-1200, -800), []string{"is 0.8 to 1.2 s behind the capture's"}},
			{clock(-200, 1800), nil}, {clock(100, 600), nil},
		},
		"latency-assumption": {
			{&table.Dataset{Arrivals: []sessions.Arrival{arrived("client:a", "pstream-invite", 217.2)}}, []string{"up to 217.2 ms to 1 arrival here: 167.2 ms more than the 50 ms"}},
			{&table.Dataset{Arrivals: []sessions.Arrival{arrived("client:a", "pstream-invite", 50), arrived("+1555", "resource", 500)}}, nil},
			{withRate(func(r *rates.Rate) { r.LatencyMaxMS = flt(80) }, sent...), []string{"up to 80 ms: 30 ms more"}},
		},
		"arrival-late": {
			{&table.Dataset{Calls: []sessions.Call{late}, Signals: packed.Of(sipSignal(2, true, late.CallID, "INVITE", 0, false, ""))}, []string{"the call to +15550001111 arrived was carried by a retransmitted segment, or had to wait for one: it is up to 681.3 ms late"}},
			{&table.Dataset{Calls: []sessions.Call{call("C1", "sip", "answered")}}, nil},
		},
		"ringing-never": {
			{silent("no-answer"), []string{"203.0.113.2 sent nothing at all"}},
			{silent("cancelled", sipSignal(1.1, false, "C1", "100", 100, false, "")), []string{"203.0.113.2 sent 100, neither ringing nor an answer"}},
			{silent("in-progress"), []string{"within 59.0 s"}},
			{outgoing, []string{"198.51.100.1 sent nothing at all"}},
			{silent("failed"), nil}, {rang, nil},
		},
		"call-ignored": {
			{ignored(cancelled, invite(1, "C1"), pstream(1, 5000, 4, false, "C1", "cancel", "")), []string{"sent nothing about it in 3.0 s until it was withdrawn: its user did not answer"}},
			{busy, []string{"it had another call, C1, and ignored this one"}},
			{ignored(cancelled, invite(1, "C1"), pstream(1, 5000, 2, true, "C1", "reject", "")), nil},
			{ignored(cancelled, pstream(1, 5000, 1, true, "C1", "invite", ""), pstream(1, 5000, 2, true, "C1", "hangup", "")), nil},
		},
		"hangup-error": {
			{lineOf(9, pstream(1, 5000, 1, false, "C1", "hangup", "payload.callsid: CA1\npayload.error.code: 31005\npayload.error.message: Gateway \"error\"")), []string{`hung up with error 31005 (connection error): "Gateway \"error\""`}},
			{lineOf(9, pstream(1, 5000, 1, false, "C1", "hangup", "payload.callsid: CA1\ntype: hangup")), nil},
			{&table.Dataset{Signals: packed.Of(sipSignal(1, true, "C1", "BYE", 0, false, bye+"Reason: Q.850;cause=41;text=\"x\""))}, []string{"Q.850 cause 41, temporary failure"}},
			{&table.Dataset{Signals: packed.Of(sipSignal(1, true, "C1", "BYE", 0, false, bye+"Reason: SIP ;cause=503 ;text=\"x\""))}, []string{"SIP status 503"}},
			{&table.Dataset{Signals: packed.Of(sipSignal(1, true, "C1", "BYE", 0, false, bye+"Reason: Q.850;cause=16;text=\"Normal call clearing\""), sipSignal(2, true, "C2", "BYE", 0, false, bye))}, nil},
		},
		"reject-early": {
			{lineOf(9, listen, rejected), []string{"hung up a call that the client 192.0.2.10 never saw an invite of"}},
			{lineOf(9, rejected), nil}, // its invite may be older than the capture
			{lineOf(9, listen, pstream(1, 5000, 1, false, "CA9", "hangup", "payload.callsid: CA9")), nil},
		},
		"reconnect": {
			{moved, []string{"moved to a new connection, 4.0 s after the last message on the old one (invite with the same CallSid)"}},
			{listened, []string{"3.0 s after the last message on the old one (listen while the call was up)"}},
			{second, nil}, // a second client beside the first
			{&table.Dataset{Flows: moved.Flows, Calls: moved.Calls, Signals: packed.Of(moved.Signals.Slice()[:3]...)}, nil},
		},
		"heartbeat-lost": {
			{lineOf(40, listen, beat(10), beat(30), beat(39)), []string{"for 20.0 s between 192.0.2.10 and 198.51.100.1, from this one to the next message"}},
			{lineOf(40, listen, beat(10), beat(20)), []string{"to the last packet"}},
			{lineOf(40, listen, beat(10), beat(20), beat(30)), nil},
			{lineOf(90, listen, beat(10), pstream(1, 5000, 12, true, "", "close", "")), nil},
		},
		"token-rejected": {
			{lineOf(9, listen, pstream(1, 5000, 1, false, "", "error", "payload.error.code: 20104\npayload.error.message: x")), []string{"with 20104 (token expired)"}},
			{lineOf(9, listen, pstream(1, 5000, 1, false, "", "error", "payload.error.code: 31206")), nil},
		},
		"register-gap": {
			{lineOf(100, reg(1, "true"), reg(91, "true")), []string{"did not again for 90.0 s, until it did"}},
			{lineOf(100, reg(1, "true")), []string{"for 99.0 s, until the last packet"}},
			{lineOf(100, reg(1, "true"), reg(31, "true"), reg(61, "false")), nil},
			{lineOf(300, reg(1, "false")), nil},
		},
		"setup-slow": {
			{setup(100, 110, 90, 100, 500), []string{"took 500 ms, 5 times the median of 5 calls (100 ms)"}},
			{setup(100, 110, 90, 100, 300), nil}, {setup(100, 110, 90, 500), nil},
		},
		"one-way-audio": {
			{media(answered("sip"), audio(1, "C1", true, 2, 20)), []string{"one way only for 18.0 s: from 203.0.113.1:6000 to 203.0.113.2:7000, nothing came back at all"}},
			{gap, []string{"one way only for 5.0 s: from 203.0.113.1:6000 to 203.0.113.2:7000, nothing came back meanwhile"}},
			{short, nil}, {held, nil}, {stepped, nil},
			{media(answered("sip"), audio(1, "C1", true, 2, 20), audio(2, "C1", false, 2, 20)), nil},
			{media(answered("sip"), audio(1, "C1", true, 2, 3.5)), nil},
			{media(call("C1", "sip", "cancelled"), audio(1, "C1", true, 2, 20)), nil}, // early media
		},
		"media-late": {
			{media(answered("sip"), audio(1, "C1", true, 4.5, 20), audio(2, "C1", false, 2.1, 20)), []string{"from 203.0.113.1:6000 to 203.0.113.2:7000 came 2.5 s after the answer"}},
			{media(answered("sip"), audio(1, "C1", true, 3.9, 20), audio(2, "C1", false, 1, 20)), nil},
		},
		"media-loss": {
			{lossy(2), []string{"20 of 1000 packets (2 %) from 203.0.113.1:6000 to 203.0.113.2:7000 are missing by their sequence numbers, most in the second from 4.0 s on: 5"}},
			{dropping(lossy(2), 7, 0.02), []string{"; the capture itself dropped 7 packets, so that of these the network lost at least 13"}},
			{dropping(lossy(2), 70, 0), []string{"the network lost at least 0; the receiver reported 0 % lost: the others got there, and were missed by the capture alone"}},
			{lossy(1), nil},
		},
		"jitter-high":  {{jittery(30.5), []string{"is 30.5 ms"}}, {jittery(30), nil}},
		"mos-disagree": {{scored(4.4, 3.5), []string{"is 4.4 by the E-model (G.107) and 3.5 by the client"}}, {scored(4.4, 4), nil}},
		"payload-changed": {
			{changed(0, 8), []string{"from PCMU (payload type 0) to PCMA (payload type 8)"}},
			{changed(0, 101, 111), []string{"from PCMU (payload type 0) to opus (payload type 111)"}},
			{changed(0, 101, 13), nil}, {changed(0, 99), nil},
		},
		"retransmit-sip": {{repeated(3), []string{"INVITE was sent 4 times within 1.5 s by 203.0.113.1: no response came from 203.0.113.2"}}, {repeated(2), nil}},
		"sip-failure": {
			{refused("404 Not Found", 404, ""), []string{"INVITE failed with 404 Not Found, sent by 203.0.113.2"}},
			{refused("503 Trunk CPS limit exceeded", 503, ""), []string{"Trunk CPS limit exceeded, more calls a second"}},
			{refused("401 Unauthorized", 401, ""), nil}, {refused("407 Proxy Authentication Required", 407, ""), nil},
			{refused("486 Busy Here", 486, ""), nil}, {refused("487 Request Terminated", 487, ""), nil}, {refused("200 OK", 200, ""), nil},
		},
		"duplicate-capture": {{capture(40, sessions.Int{}), []string{"40 of 100 packets are copies"}}, {capture(0, sessions.Int{}), nil}},
		"capture-loss": {
			{capture(0, num(7)), []string{"dropped 7 packets besides the 100 captured"}},
			{flow("none", 2), []string{"200 bytes in 2 holes", "200 bytes in 2 holes"}},
			{capture(0, num(0)), nil}, {flow("none", 0), nil},
		},
		"not-decrypted": {
			{flow("no-key", 0), []string{"2 encrypted sessions with voice-js.roaming.twilio.com (198.51.100.1) could not be read (2 no key)"}},
			{flow("decrypted", 0), nil}, {flow("none", 0), nil}, {flow("", 0), nil},
		},
		"tls-old": {
			{&table.Dataset{Hosts: []sessions.Host{{Address: "198.51.100.1", Names: []string{"old.example.org"}}},
				Flows: []sessions.Flow{line(101, 5000, 0, 9), line(1, 5001, 1, 9), line(102, 5002, 2, 9), line(103, 5003, 3, 9), line(104, 5004, 4, 9)}}, []string{
				"old.example.org (198.51.100.1) chose TLS 1.0 in 2 sessions: whoever reads along may break it",
				"2001:db8::1 chose RC4 in 1 session: whoever reads along may break it",
				"198.51.100.4 chose 3DES in 1 session: whoever reads along may break it"}},
			{flow("decrypted", 0), nil},
		},
		"unknown-message": {
			{lineOf(9, pstream(1, 5000, 1, false, "", "transfer", ""), pstream(1, 5000, 2, false, "", "transfer", "")), []string{`2 signaling messages of type "transfer"`}},
			{lineOf(9, pstream(1, 5000, 1, false, "", "invite", ""), pstream(1, 5000, 2, false, "", "heartbeat", "")), nil},
		},
	}
}

// What the rows above do not say of bodies and flows.
var testTrace = &sessions.Trace{Bodies: map[string]sessions.Body{
	message(31, 0, 1, "sent").SID: {Offender: '\u2026'},
	message(32, 0, 1, "sent").SID: {Offender: '\U0001F4A9'},
	message(33, 0, 1, "sent").SID: {Added: 38},
	message(34, 0, 1, "sent").SID: {Added: 38},
}, Late: []sessions.Late{{CallID: "late", MostMS: 681.3}}, Weak: map[uint32]sessions.WeakTLS{
	101: {Server: "198.51.100.1", Why: "TLS 1.0"}, 102: {Server: "198.51.100.1", Why: "TLS 1.0"},
	103: {Server: "2001:db8::1", Why: "RC4"}, 104: {Server: "198.51.100.4", Why: "3DES"},
}}

type ruleCase struct {
	d    *table.Dataset
	want []string
}

func TestRules(t *testing.T) {
	cases := ruleCases()
	for _, r := range rules {
		fires, quiet := false, false
		for i, c := range cases[r.id] {
			fires, quiet = fires || len(c.want) > 0, quiet || len(c.want) == 0
			all := uniqueOddities(findOddities(c.d, testTrace))
			var got []sessions.Oddity
			for _, o := range all {
				if o.Rule == r.id {
					got = append(got, o)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("%s, case %d: %d rows, want %d: %+v", r.id, i, len(got), len(c.want), got)
				continue
			}
			for k, o := range got {
				if !strings.Contains(o.Text, c.want[k]) {
					t.Errorf("%s, case %d: %q, want %q in it", r.id, i, o.Text, c.want[k])
				}
				if o.Severity != contract[r.id] || o.Subject == "" || o.At == 0 {
					t.Errorf("%s, case %d: %+v lacks its severity, subject or time", r.id, i, o)
				}
			}
			d := table.Dataset{Oddities: slices.Clone(all)}
			d.SetExperiment("e")
			if err := d.Check(); err != nil {
				t.Errorf("%s, case %d: %v", r.id, i, err)
			}
			if again := uniqueOddities(findOddities(c.d, testTrace)); !reflect.DeepEqual(again, all) {
				t.Errorf("%s, case %d: another result the second time", r.id, i)
			}
		}
		if !fires || !quiet {
			t.Errorf("%s: a case that fires %v, one that does not %v; want both", r.id, fires, quiet)
		}
	}
}

// What rules say of a body comes from the newest copy of the resource.
func TestBodiesReachTheRules(t *testing.T) {
	page := func(updated, body string) string {
		return `{"messages":[{"sid":"SM00000000000000000000000000000001","account_sid":"AC00000000000000000000000000000001","from":"+15550000001","to":"+15550001111",` +
			`"status":"delivered","direction":"outbound-api","num_segments":"1","date_created":"Tue, 22 Sep 2026 12:00:00 +0000","date_sent":"Tue, 22 Sep 2026 12:00:01 +0000",` +
			`"date_updated":"` + updated + `","body":"` + body + `"}],"uri":"/2010-04-01/Accounts/AC00000000000000000000000000000001/Messages.json"}`
	}
	const early, late = "Tue, 22 Sep 2026 12:00:01 +0000", "Tue, 22 Sep 2026 12:00:09 +0000"
	trial := "Sent from your Twilio trial account - hi"
	for _, c := range []struct {
		a, b string
		want int
	}{
		{page(early, "hi"), page(late, trial), 1},
		{page(late, "hi"), page(early, trial), 0},
		{page(early, trial), page(late, "hi"), 0},
	} {
		res := analyze(t, fstest.MapFS{"a.json": {Data: []byte(c.a)}, "b.json": {Data: []byte(c.b)}})
		n := 0
		for _, o := range res.Data.Oddities {
			if o.Rule == "trial-prefix" {
				n++
			}
		}
		if n != c.want || res.Data.Messages.Len() != 1 {
			t.Errorf("%d times of %d messages, want %d of 1: %+v", n, res.Data.Messages.Len(), c.want, res.Data.Oddities)
		}
	}
}

// A rule shows 200 rows and says how many more there are.
func TestOdditiesAreBounded(t *testing.T) {
	d := &table.Dataset{}
	for i := range 250 {
		d.Messages.Add(message(i, float64(i), 0, "queued"))
	}
	got := findOddities(d, &sessions.Trace{})
	if len(got) != maxOddities+1 || got[200].Subject != "50 more" || !strings.Contains(got[200].Text, "250 in all") || got[200].At != d.Messages.At(200).QueuedAt {
		t.Errorf("%d rows, the last %+v", len(got), got[len(got)-1])
	}
	d.Messages = d.Messages.Part(0, 200)
	if got := findOddities(d, &sessions.Trace{}); len(got) != 200 {
		t.Errorf("%d rows of 200, want all and no row that counts more", len(got))
	}
}

// Keys are unique, whatever order the rows came in.
func TestUniqueOddities(t *testing.T) {
	o := func(rule, subject, text string) sessions.Oddity {
		return sessions.Oddity{Rule: rule, Severity: "warn", Subject: subject, Text: text}
	}
	list := []sessions.Oddity{o("manifest", "e.yaml", "b"), o("manifest", "e.yaml", "a"), o("manifest", "e.yaml (2)", "z"), o("x", "", "1"), o("x", "", "2"),
		o("manifest", "e.yaml", "c"), o("manifest", "e.yaml", "a"), o("y", "e.yaml", "b")}
	back := slices.Clone(list)
	slices.Reverse(back)
	got := uniqueOddities(list)
	if len(got) != 7 {
		t.Errorf("%d rows, want 7: the equal ones are one", len(got))
	}
	if other := uniqueOddities(back); !reflect.DeepEqual(got, other) {
		t.Errorf("another order gives %+v, not %+v", other, got)
	}
	seen := map[[2]string]bool{}
	for _, o := range got {
		k := [2]string{o.Rule, o.Subject}
		if seen[k] {
			t.Errorf("key %v stands twice", k)
		}
		seen[k] = true
	}
	if got[0].Subject != "e.yaml" || got[0].Text != "a" {
		t.Errorf("first is %+v, want the one that sorts first to keep its subject", got[0])
	}
}

func TestManifestWarningsHaveKeys(t *testing.T) {
	res := analyze(t, fstest.MapFS{"a.pcap": {Data: pcapFile}, "experiment.yaml": {Data: []byte("kind: calls\nrepeat: 1\nclls: 3\nrepet: 1\n")}})
	if len(res.Data.Oddities) != 2 {
		t.Errorf("%+v, want a row for each of two warnings", res.Data.Oddities)
	}
}

func TestQuoted(t *testing.T) {
	if got, want := quoted(`a"b\c`), `"a\"b\\c"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Every filter that a rule writes is one that tshark takes.
func TestFiltersAreValid(t *testing.T) {
	tshark := findTshark(t)
	var all []string
	for _, list := range ruleCases() {
		for _, c := range list {
			for _, o := range findOddities(c.d, testTrace) {
				if f := o.WiresharkFilter; f != "" && !slices.Contains(all, f) {
					all = append(all, f)
				}
			}
		}
	}
	all = append(all, addrFilter("addr", "2001:db8::1"), addrFilter("src", "::ffff:192.0.2.1"), addrFilter("addr", "fe80::1%eth0"), "sip.Call-ID == "+quoted(`x\"y\x41`))
	if len(all) < 15 {
		t.Fatalf("only %d filters", len(all))
	}
	file := filepath.Join(t.TempDir(), "a.pcap")
	if err := os.WriteFile(file, pcapFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tshark, "-r", file, "-Y", "("+strings.Join(all, ") || (")+")").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, strings.Join(all, "\n"))
	}
	if err := exec.Command(tshark, "-r", file, "-Y", `sip.Call-ID == "a"b"`).Run(); err == nil {
		t.Error("tshark takes a filter that is none: this test shows nothing")
	}
}

func findTshark(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark")
	}
	return path
}

// lab analyses a recorded run: its main capture, keys and exports.
func lab(t *testing.T, run string, keys bool) (*Result, string) {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "lab", filepath.FromSlash(run))
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no recorded traffic here")
	}
	fsys := fstest.MapFS{}
	for _, pattern := range []string{"capture.pcapng", "keys*.log", "calls/*", "messages/*"} {
		if !keys && strings.HasPrefix(pattern, "keys") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(dir, f)
			if err != nil {
				t.Fatal(err)
			}
			fsys[filepath.ToSlash(name)] = &fstest.MapFile{Data: data, Mode: 0o644}
		}
	}
	return analyze(t, fsys), dir
}

// What was done in recorded runs tells which rules fire, and how often, and
// that no other does. Facts are of each run's README and truth.
func TestOdditiesOfRecordedRuns(t *testing.T) {
	for run, want := range map[string]map[string]string{
		"s2-sip/imp-clean":               {},
		"s2-sip/busy-486":                {}, // a busy callee is no oddity
		"s2-sip/cancel":                  {}, // CANCEL after 180
		"s2-sip/imp-loss10":              {"media-loss": "107 of 1000 packets (10.7 %)"},
		"s2-sip/imp-burst":               {"media-loss": "33 of 1001 packets"},
		"s2-sip/imp-jitter30":            {}, // uniform 60 +- 30 ms has a mean jitter (RFC 3550) of 21 ms, not above 30
		"s2-sip/retrans-slow":            {}, // two retransmissions of each INVITE, not more than two
		"s1-webrtc/incoming-pcmu":        {},
		"s1-webrtc/register":             {},
		"s1-webrtc/ignored":              {"call-ignored": "sent nothing about it in 3.0 s"},
		"s1-webrtc/busy-ignored":         {"call-ignored": "it had another call"},
		"s1-webrtc/incoming-errorhangup": {"hangup-error": "31005 (connection error)"},
		"s3-messages/no-backlog":         {"no-backlog": "at most 1 item waited at once"},
		"s3-messages/gsm7-170":           {},
		"s3-messages/ucs2-71":            {"segments-disagree": "100 messages of 72 bytes, in UCS-2, as U+0436 demands"},
		"s1-paper/calls-n20-r1":          {},
	} {
		t.Run(run, func(t *testing.T) {
			res, _ := lab(t, run, true)
			got := map[string][]string{}
			for _, o := range res.Data.Oddities {
				if o.Rule == "times-went-back" {
					continue // of one frame by 2 ms in one run; not a rule of rows
				}
				got[o.Rule] = append(got[o.Rule], o.Text)
			}
			for rule, text := range want {
				if len(got[rule]) != 1 || !strings.Contains(got[rule][0], text) {
					t.Errorf("%s: %q, want one with %q", rule, got[rule], text)
				}
			}
			for rule, texts := range got {
				if _, ok := want[rule]; !ok {
					t.Errorf("%s fires: %q", rule, texts)
				}
			}
		})
	}
}

func TestOdditiesOfStillQueuedMessages(t *testing.T) {
	res, _ := lab(t, "s3-messages/null-date-sent", true)
	n := 0
	for _, o := range res.Data.Oddities {
		if o.Rule != "item-missing" || !strings.Contains(o.Text, "status queued") {
			t.Errorf("%+v", o)
		}
		n++
	}
	if n != 15 { // truth.json: null_date_sent
		t.Errorf("%d items missing, want 15", n)
	}
}

// A clean run of five calls has nothing but a post-dial delay that is long
// beside four of 2 ms.
func TestOdditiesOfNormalCalls(t *testing.T) {
	res, dir := lab(t, "s2-sip/normal-5", true)
	for _, o := range res.Data.Oddities {
		if o.Rule != "setup-slow" {
			t.Errorf("%+v", o)
			continue
		}
		for i := range res.Data.Calls {
			if c := &res.Data.Calls[i]; c.CallID == o.Subject && c.PostDialDelayMS.V <= 3*2 {
				t.Errorf("%q, of %v ms", o.Text, c.PostDialDelayMS.V)
			}
		}
		out, err := exec.Command(findTshark(t), "-r", filepath.Join(dir, "capture.pcapng"), "-Y", o.WiresharkFilter).Output()
		if n := strings.Count(string(out), "\n"); err != nil || n < 6 { // INVITE, 180, 200, ACK, BYE, 200
			t.Errorf("%s finds %d packets, %v; want the call", o.WiresharkFilter, n, err)
		}
	}
}

// The filter of a stream finds its packets and no others.
func TestStreamFilterFindsIt(t *testing.T) {
	tshark := findTshark(t)
	res, dir := lab(t, "s2-sip/imp-loss10", true)
	for _, o := range res.Data.Oddities {
		out, err := exec.Command(tshark, "-r", filepath.Join(dir, "capture.pcapng"), "-Y", o.WiresharkFilter).Output()
		if n := strings.Count(string(out), "\n"); err != nil || n != 893 { // 1000 less the 107 that the bridge dropped
			t.Errorf("%s finds %d packets, %v; want 893", o.WiresharkFilter, n, err)
		}
	}
}

// Without keys each host is told once, with what stays unknown.
func TestNotDecryptedHosts(t *testing.T) {
	res, _ := lab(t, "s1-webrtc/incoming-pcmu", false)
	hosts := map[string]bool{}
	for _, o := range res.Data.Oddities {
		if o.Rule != "not-decrypted" {
			continue
		}
		if hosts[o.Subject] {
			t.Errorf("host %s stands twice", o.Subject)
		}
		hosts[o.Subject] = true
		if o.Subject == "10.99.0.10" && !strings.Contains(o.Text, "1 encrypted session with voice-js.roaming.twilio.com (10.99.0.10) could not be read (1 no key): requests, signaling") {
			t.Errorf("%q", o.Text)
		}
	}
	if !hosts["10.99.0.10"] || !hosts["10.99.0.11"] || !hosts["10.99.0.20"] {
		t.Errorf("hosts %v, want signaling, events and media", hosts)
	}
}

// A server's old TLS is found in Wireshark by its address.
func TestOddityOfOldTLS(t *testing.T) {
	want := map[string]string{"198.51.100.1": "ip.addr == 198.51.100.1 && tls", "2001:db8::1": "ipv6.addr == 2001:db8::1 && tls", "198.51.100.4": "ip.addr == 198.51.100.4 && tls"}
	got := map[string]string{}
	for _, o := range findOddities(ruleCases()["tls-old"][0].d, testTrace) {
		if o.Rule == "tls-old" {
			got[o.Subject] = o.WiresharkFilter
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Items are told by their own queue.
func TestOdditiesOfTwoQueues(t *testing.T) {
	for _, o := range findOddities(ruleCases()["rate-below"][2].d, testTrace) {
		if o.At != at(21) || o.Subject != "messages of +15550000002" {
			t.Errorf("%+v, want the only item of that number", o)
		}
	}
}

// dropping lets the capture of a dataset's stream drop packets, and its
// receiver report a loss.
func dropping(d *table.Dataset, drops int64, reported float64) *table.Dataset {
	file := ""
	d.Streams.Change(func(_ int, s *sessions.Stream) {
		s.RTCPFractionLost, file = decode.Some(reported), s.File
	})
	d.Captures = []decode.Capture{{File: file, Packets: 1000, DroppedPackets: decode.Some(drops)}}
	return d
}

// A stream that sent in every second counts as one span of time: that gives what
// its seconds give one by one.
func TestWholeStreamIsOneSpan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 2000 {
		d := &table.Dataset{}
		var sides [2]side
		for id := range uint32(1 + r.IntN(4)) {
			from := r.IntN(20)
			to := from + 1 + r.IntN(15)
			s := audio(id+1, "CA1", true, float64(from)+r.Float64(), float64(to)-r.Float64())
			if s.LastAt < s.FirstAt {
				s.LastAt = s.FirstAt
			}
			seconds := intervals(s.StreamID, span(from, to)...)
			if n := len(seconds); n > 2 && r.IntN(4) == 0 {
				seconds[1+r.IntN(n-2)].Packets = 0
			}
			d.Streams.Add(s)
			d.StreamIntervals.Add(seconds...)
			sides[r.IntN(2)].add(&streamOf{Stream: s})
		}
		e := newEvidence(d, nil)
		lo, hi := at(r.Float64()*20), at(20+r.Float64()*20)
		n, length := e.oneWay(&sides[0], &sides[1], lo, hi)
		whole := false
		for id, s := range e.seconds {
			whole = whole || s.whole
			s.whole = false
			e.seconds[id] = s
		}
		if wantAt, want := e.oneWay(&sides[0], &sides[1], lo, hi); n != wantAt || length != want {
			t.Fatalf("one way from %d for %d, by single seconds from %d for %d", n, length, wantAt, want)
		}
		if whole && length > 0 {
			found++
		}
	}
	if found < 100 {
		t.Errorf("only %d of 2000 tell anything", found)
	}
}
