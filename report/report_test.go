package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/packed"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

var update = flag.Bool("update", false, "rewrite the files under testdata")

const t0 = decode.Time(1_700_000_000_000_000_000) // 2023-11-14T22:13:20Z

func some(v float64) sessions.Float { return decode.Some(v) }
func whole(v int64) sessions.Int    { return decode.Some(v) }
func port(v uint32) sessions.Uint   { return decode.Some(v) }

// sipCall is one answered call of seven messages and two streams.
func sipCall(d *table.Dataset, id string, start decode.Time, ring, talk int64) {
	const a, b = "192.0.2.10", "198.51.100.20"
	msg := func(at int64, frame int64, src, dst, kind string, code int64) sessions.Signal {
		s := sessions.Signal{Experiment: "sip", CallID: id, LegID: port(1), FlowID: port(1), At: start + decode.Time(at), File: "trunk.pcap", Frame: whole(frame), FirstFrame: whole(frame), Protocol: "sip",
			Src: src, SrcPort: port(5060), Dst: dst, DstPort: port(5060), Kind: kind, Label: kind, Detail: packed.NewText(kind + " sip:+15551230002@example.com SIP/2.0\r\nCall-ID: " + id)}
		if code != 0 {
			s.StatusCode = whole(code)
		}
		return s
	}
	list := []sessions.Signal{
		msg(0, 1, a, b, "INVITE", 0),
		msg(3e6, 2, b, a, "100", 100),
		msg(60e6, 3, b, a, "180", 180),
		msg(60e6+ring, 4, b, a, "200", 200),
		msg(62e6+ring, 5, a, b, "ACK", 0),
		msg(62e6+ring+talk, 900, a, b, "BYE", 0),
		msg(65e6+ring+talk, 901, b, a, "200", 200)}
	list[0].Label = "INVITE, SDP offer"
	list[3].Label = "200 OK, SDP answer"
	d.Signals.Add(list...)
	n := uint32(d.Streams.Len())
	for i, ends := range [][2]string{{a, b}, {b, a}} {
		s := sessions.Stream{Experiment: "sip", StreamID: n + uint32(i) + 1, CallID: id, FlowID: 2, Src: ends[0], SrcPort: 16384, Dst: ends[1], DstPort: 20000, SSRC: 7, PayloadTypes: []int64{0}, Codec: "PCMU", ClockHz: whole(8000), PtimeMS: some(20),
			FirstAt: start + decode.Time(70e6+ring), LastAt: start + decode.Time(62e6+ring+talk), Packets: talk / 20e6, Expected: talk/20e6 + int64(i)*10, Lost: int64(i) * 10, JitterMeanMS: some(0.42), JitterMaxMS: some(3.1), DeltaMaxMS: some(41), MOS: some(4.37), MOSMethod: "G.107, PCMU", File: "trunk.pcap", FirstFrame: 6}
		if i == 1 {
			s.LostPct = some(100 * float64(s.Lost) / float64(s.Expected))
		} else {
			s.LostPct = some(0)
		}
		d.Streams.Add(s)
		for sec := int64(0); sec*1e9 < talk; sec++ {
			v := sessions.StreamInterval{Experiment: "sip", StreamID: s.StreamID, At: s.FirstAt + decode.Time(sec*1e9), Packets: 50, JitterMS: some(0.3 + float64(sec%4)*0.1)}
			if i == 1 && sec == 3 {
				v.Lost = 10
			}
			d.StreamIntervals.Add(v)
		}
	}
	d.Calls = append(d.Calls, sessions.Call{Experiment: "sip", CallID: id, SIPCallIDs: []string{id}, Protocols: []string{"sip"}, Direction: "outbound", From: "sip:+15551230001@192.0.2.10", To: "sip:+15551230002@example.com", InitiatedAt: start, RingingAt: start + 60e6,
		AnsweredAt: start + decode.Time(60e6+ring), EndedAt: start + decode.Time(65e6+ring+talk), PostDialDelayMS: some(60), RingMS: some(float64(ring) / 1e6), DurationS: some(float64(talk) / 1e9), Outcome: "answered", EndedBy: "caller", StatusCode: whole(200), Legs: 1, Streams: 2, File: "trunk.pcap", FirstFrame: whole(1), LastFrame: whole(901)})
}

// sipTrace is a capture of four answered calls and a busy one.
func sipTrace() *table.Dataset {
	d := &table.Dataset{
		Experiments: []table.Experiment{{Experiment: "sip", Kind: "capture", KindBy: "inferred", StartedAt: t0, EndedAt: t0 + 60e9, ProgramVersion: "1.0.0", AnalysisVersion: 1, Options: "{}"}},
		Inputs:      []decode.Input{{Experiment: "sip", File: "trunk.pcap", Kind: "capture", SHA256: strings.Repeat("ab", 32), Bytes: 190644, Records: 905, Used: 900, Refused: 5, Problem: "ends inside a packet at byte 190600: wanted 60 bytes, found 44; 905 packets were read"}},
		Captures:    []decode.Capture{{Experiment: "sip", File: "trunk.pcap", Format: "pcap", Compression: "none", LinkTypes: []string{"ETHERNET"}, Interfaces: 1, Packets: 905, Bytes: 180000, FirstAt: t0, LastAt: t0 + 60e9}},
		Ledger:      []decode.LedgerRow{{Experiment: "sip", Layer: "frame", Reason: "used", Count: 900, Bytes: 179000}, {Experiment: "sip", Layer: "frame", Reason: "no IP packet", Count: 5, Bytes: 1000}, {Experiment: "sip", Layer: "sip", Reason: "used", Count: 31}},
		Hosts: []sessions.Host{
			{Experiment: "sip", Address: "192.0.2.10", Roles: []string{"client"}, Ports: []string{"udp/5060", "udp/16384"}, PacketsIn: 450, PacketsOut: 450, BytesIn: 90000, BytesOut: 90000, FirstAt: t0, LastAt: t0 + 60e9},
			{Experiment: "sip", Address: "198.51.100.20", Names: []string{"sip.example.com"}, NamesBy: []string{"dns"}, Roles: []string{"signaling", "media"}, Ports: []string{"udp/5060"}, PacketsIn: 450, PacketsOut: 450, BytesIn: 90000, BytesOut: 90000}},
		Flows: []sessions.Flow{
			{Experiment: "sip", FlowID: 1, Transport: "udp", Src: "192.0.2.10", Dst: "198.51.100.20", Application: "sip", Packets: 31, Bytes: 18000},
			{Experiment: "sip", FlowID: 2, Transport: "udp", Src: "192.0.2.10", Dst: "198.51.100.20", Application: "rtp", Packets: 869, Bytes: 162000}},
		Oddities: []sessions.Oddity{{Experiment: "sip", Rule: "media-loss", Severity: "warn", At: t0 + 4e9, Subject: "stream 2", Text: "10 packets in a row were lost (200 ms)", File: "trunk.pcap", Frame: whole(412), WiresharkFilter: "rtp.ssrc == 7"}},
	}
	for i, ring := range []int64{1_200e6, 1_000e6, 1_100e6, 1_150e6, 1_300e6} {
		sipCall(d, fmt.Sprintf("%d-4711@192.0.2.10", i+1), t0+decode.Time(i)*15e9, ring, 8e9)
	}
	busy := t0 + 80e9
	for i, s := range []struct {
		at    int64
		kind  string
		code  int64
		out   bool
		again bool
	}{{0, "INVITE", 0, true, false}, {500e6, "INVITE", 0, true, true}, {1500e6, "INVITE", 0, true, true}, {1510e6, "486 Busy Here", 486, false, false}, {1512e6, "ACK", 0, true, false}} {
		x := sessions.Signal{Experiment: "sip", CallID: "9-busy", At: busy + decode.Time(s.at), File: "trunk.pcap", Frame: whole(int64(910 + i)), Protocol: "sip", Src: "192.0.2.10", Dst: "198.51.100.20", Kind: s.kind, Label: s.kind, Retransmission: s.again}
		if !s.out {
			x.Src, x.Dst = x.Dst, x.Src
			x.StatusCode = whole(s.code)
		}
		d.Signals.Add(x)
	}
	d.Calls = append(d.Calls, sessions.Call{Experiment: "sip", CallID: "9-busy", Protocols: []string{"sip"}, Direction: "outbound", InitiatedAt: busy, Outcome: "busy", StatusCode: whole(486), Cause: "Busy Here"})
	return d
}

// study is both figures: calls of 20 to 400 and messages of 20 to 480 bytes.
func study() *table.Dataset {
	d := &table.Dataset{}
	for i, c := range []struct {
		n        int64
		rate     float64
		half     float64
		verdict  string
		simulate bool
	}{{20, 1.001, 0.005, "meets", false}, {60, 1.0, 0.002, "meets", false}, {100, 1.08, 0.002, "exceeds", true}, {200, 0.93, 0.001, "below", true}, {400, 0.91, 0.001, "below", true}} {
		name := fmt.Sprintf("calls-n%d", c.n)
		e := table.Experiment{Experiment: name, Kind: "calls", KindBy: "manifest", X: whole(c.n), GuaranteePerS: some(1), StartedAt: t0 + decode.Time(i)*3600e9, EndedAt: t0 + decode.Time(i)*3600e9 + decode.Time(c.n)*1e9, ProgramVersion: "1.0.0", AnalysisVersion: 1, Options: "{}"}
		if c.simulate {
			e.Labels = `{"source":"simulated"}`
		}
		d.Experiments = append(d.Experiments, e)
		d.Rates = append(d.Rates, rates.Rate{Experiment: name, Kind: "calls", Queue: "AC" + strings.Repeat("0", 32), QueueBy: "account", X: whole(c.n), Items: 2, Segments: whole(c.n + 1), Repeats: 1, Clock: "capture", GuaranteePerS: 1, ExpectedPerS: some(1), ObservedPerS: some(c.rate),
			ObservedLowPerS: some(c.rate - c.half), ObservedHighPerS: some(c.rate + c.half), ObservedSegmentsPerS: some(c.rate), QueuePerS: some(4.2), QueueLowPerS: some(4.1), QueueHighPerS: some(4.3), BusyPct: some(100), FIFOInversions: whole(0), BacklogMax: whole(c.n * 3 / 4), Verdict: c.verdict, Reason: "two observed calls, even service assumed"})
		if c.n == 400 {
			for k := int64(0); k <= c.n+1; k++ {
				a := sessions.Arrival{Experiment: name, Seq: k + 1, Endpoint: "phone", QueuedAt: e.StartedAt + decode.Time(k)*240e6, QueuedBy: "http-post", QueuedErrorMS: some(1)}
				if k == 0 || k == c.n+1 {
					a.Endpoint = "browser"
					a.ArrivedAt = e.StartedAt + decode.Time(float64(k)/c.rate*1e9) + 400e6
					a.ArrivedBy = "pstream-invite"
					a.WaitS = some(float64(a.ArrivedAt-a.QueuedAt) / 1e9)
				}
				d.Arrivals = append(d.Arrivals, a)
			}
		}
	}
	for i, m := range []struct {
		bytes, segments int64
	}{{20, 1}, {160, 1}, {170, 2}, {306, 2}, {400, 3}, {480, 4}} {
		name := fmt.Sprintf("gsm7-%d", m.bytes)
		start := t0 + decode.Time(i+10)*3600e9
		d.Experiments = append(d.Experiments, table.Experiment{Experiment: name, Kind: "messages", KindBy: "inferred", X: whole(m.bytes), StartedAt: start, EndedAt: start + decode.Time(100*m.segments)*1e9, ProgramVersion: "1.0.0", AnalysisVersion: 1, Options: "{}"})
		e := 1 / float64(m.segments)
		T := float64(99 * m.segments)
		d.Rates = append(d.Rates, rates.Rate{Experiment: name, Kind: "messages", Queue: "+15551230001", QueueBy: "from", X: whole(m.bytes), Items: 100, Segments: whole(100 * m.segments), Repeats: 1, Clock: "provider", GuaranteePerS: 1, ExpectedPerS: some(e), ObservedPerS: some(99 / T), ObservedLowPerS: some(99 / (T + 1)), ObservedHighPerS: some(99 / (T - 1)),
			ObservedSegmentsPerS: some(1), QueuePerS: some(4), SustainedPerS: some(1), SustainedLowPerS: some(0.97), SustainedHighPerS: some(1.015), Method: "batches", BusyPct: some(100), FIFOInversions: whole(0), BacklogMax: whole(75), WaitP50S: some(40), WaitP95S: some(70), Verdict: "meets", SustainedVerdict: "meets", Reason: "the whole interval is at the promise less 5 % or higher"})
		for k := int64(0); k < 100; k++ {
			x := sessions.Message{Experiment: name, SID: fmt.Sprintf("SM%02d%030d", i, k), From: "+15551230001", To: "+15551230002", Status: "delivered", BodyBytes: whole(m.bytes), Encoding: "gsm7", Segments: whole(m.segments), TimeResolutionS: some(1), File: "messages/page.json", Record: whole(k + 1),
				QueuedAt: start + decode.Time(k/4)*1e9, SentAt: start + decode.Time(k*m.segments+1)*1e9}
			x.UpdatedAt = x.SentAt + decode.Time(1+k%4)*1e9
			x.WaitS = some(float64(x.SentAt-x.QueuedAt) / 1e9)
			d.Messages.Add(x)
		}
	}
	d.Inputs = append(d.Inputs, decode.Input{Experiment: "gsm7-20", File: "messages/page.json", Kind: "resources", SHA256: strings.Repeat("cd", 32), Bytes: 51234, Records: 100, Used: 100})
	d.Ledger = append(d.Ledger, decode.LedgerRow{Experiment: "gsm7-20", Layer: "resource", Reason: "used", Count: 600})
	return d
}

const attack = `</script><script>window.pwned=1</script>`

// hostile puts texts that want to be more than text into every text column.
func hostile() *table.Dataset {
	d := study()
	sip := sipTrace()
	bad := []string{attack, `__f__window.pwned=1__f__`, `"><img src=x onerror=window.pwned=1>`, `' onload='window.pwned=1`, "\u202egnp.exe\u202c", "a\x00b\x1b[31mred\x07", strings.Repeat("long", 2500), `{{.}}`, `<!--`, `</style><style>*{display:none}`, `javascript:window.pwned=1`, "]]>", `\u003cscript\u003e`, `${window.pwned=1}`}
	n := 0
	next := func(p *string) { *p = bad[n%len(bad)]; n++ }
	for i := range d.Experiments {
		old := d.Experiments[i].Experiment
		name := bad[i%len(bad)] + fmt.Sprint(i)
		for j := range d.Rates {
			if d.Rates[j].Experiment == old {
				d.Rates[j].Experiment = name
				next(&d.Rates[j].Queue)
				next(&d.Rates[j].Reason)
				next(&d.Rates[j].Method)
			}
		}
		for j := range d.Arrivals {
			if d.Arrivals[j].Experiment == old {
				d.Arrivals[j].Experiment = name
			}
		}
		d.Messages.Change(func(_ int, m *sessions.Message) {
			if m.Experiment == old {
				m.Experiment = name
			}
		})
		d.Experiments[i].Experiment = name
		next(&d.Experiments[i].ProgramVersion)
		next(&d.Experiments[i].Problem)
	}
	sip.Signals.Change(func(_ int, s *sessions.Signal) {
		next(&s.Label)
		next(&s.Kind)
		detail := s.Detail.String()
		next(&detail)
		s.Detail = packed.NewText(detail)
		next(&s.File)
	})
	for i := range sip.Calls {
		next(&sip.Calls[i].From)
		next(&sip.Calls[i].To)
		next(&sip.Calls[i].Cause)
		next(&sip.Calls[i].Direction)
	}
	for i := range sip.Hosts {
		sip.Hosts[i].Names = []string{bad[i], bad[i+1]}
		sip.Hosts[i].Provider = attack
		sip.Hosts[i].Ports = []string{bad[i+2]}
	}
	sip.Streams.Change(func(_ int, s *sessions.Stream) {
		next(&s.Codec)
		next(&s.MOSMethod)
	})
	for i := range sip.Flows {
		next(&sip.Flows[i].Application)
	}
	for i := range bad {
		o := sip.Oddities[0]
		o.Text, o.Subject, o.Rule, o.WiresharkFilter = bad[i], bad[(i+1)%len(bad)], bad[(i+2)%len(bad)], bad[(i+3)%len(bad)]
		sip.Oddities = append(sip.Oddities, o)
		d.Ledger = append(d.Ledger, decode.LedgerRow{Layer: "sip", Reason: bad[i], Count: 1})
		d.Clocks = append(d.Clocks, sessions.Clock{Host: bad[i], By: "http-date", Samples: 2, OffsetLowMS: some(-3.5), OffsetHighMS: some(4.5)})
		d.Inputs = append(d.Inputs, decode.Input{File: bad[i], Problem: bad[(i+1)%len(bad)], SHA256: bad[i]})
	}
	d.Signals, d.Calls, d.Hosts, d.Streams, d.StreamIntervals, d.Flows, d.Oddities, d.Captures = sip.Signals, sip.Calls, sip.Hosts, sip.Streams, sip.StreamIntervals, sip.Flows, sip.Oddities, sip.Captures
	return d
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and read the difference", path)
		g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Errorf("line %d\ngot  %s\nwant %s", i+1, g[i], w[i])
				break
			}
		}
	}
}

func TestPageGolden(t *testing.T) {
	for name, d := range map[string]*table.Dataset{"sip": sipTrace(), "study": study()} {
		p := Build(d, Options{})
		for i := range p.RunFigures { // curves are tested as figures, not as a thousand numbers
			for j := range p.RunFigures[i].Plots {
				for k := range p.RunFigures[i].Plots[j].Panels {
					for m := range p.RunFigures[i].Plots[j].Panels[k].Series {
						s := &p.RunFigures[i].Plots[j].Panels[k].Series[m]
						if len(s.Points) > 4 {
							s.Points = []Point{s.Points[0], s.Points[len(s.Points)/2], s.Points[len(s.Points)-1]}
						}
					}
				}
			}
		}
		b, err := json.MarshalIndent(p, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(": null")) {
			t.Errorf("%s: a slice of the page is nil", name)
		}
		golden(t, "page-"+name+".json", append(b, '\n'))
	}
}

func TestFlowGolden(t *testing.T) {
	d := sipTrace()
	for _, c := range []struct {
		file string
		o    FlowOptions
	}{
		{"flow-call.txt", FlowOptions{CallID: "1-4711@192.0.2.10"}},
		{"flow-busy.txt", FlowOptions{CallID: "9-busy", Width: 80}},
		{"flow-scenario.txt", FlowOptions{By: "scenario"}},
		{"flow-call.svg", FlowOptions{CallID: "1-4711@192.0.2.10", Format: "svg"}},
		{"flow-scenario.svg", FlowOptions{By: "scenario", Format: "svg"}},
		{"flow-busy.mmd", FlowOptions{CallID: "9-busy", Format: "mermaid"}},
	} {
		var b bytes.Buffer
		if err := Flow(&b, d, c.o); err != nil {
			t.Fatal(err)
		}
		golden(t, c.file, b.Bytes())
	}
}

// What the drawing of a call must say, whatever it looks like.
func TestLadderFacts(t *testing.T) {
	d := sipTrace()
	l := newFlows(d, clock{}).build(&d.Calls[0], "x", true)
	var kinds []string
	for _, r := range l.Rows {
		kinds = append(kinds, r.Kind+":"+r.Label)
	}
	want := []string{"message:INVITE, SDP offer", "message:100", "message:180", "fold:1.20\u00a0s without signaling", "message:200 OK, SDP answer", "message:ACK",
		"media:PCMU both ways, 7.99\u00a0s", "message:BYE", "message:200"}
	if strings.Join(kinds, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(kinds, "\n"), strings.Join(want, "\n"))
	}
	if len(l.Media) != 2 || l.Media[0].Lane == l.Media[1].Lane {
		t.Errorf("media bars %+v, wanted one beside each lane", l.Media)
	}
	if len(l.Media[1].Holes) != 1 {
		t.Errorf("holes %v, wanted the one second that lost packets", l.Media[1].Holes)
	}
	if got := l.Rows[0].Detail.Filter; got != "frame.number == 1" {
		t.Errorf("filter %q", got)
	}
	busy := newFlows(d, clock{}).build(&d.Calls[5], "x", true)
	var again []string
	for _, r := range busy.Rows {
		if r.Again != "" {
			again = append(again, r.Again)
		}
		if r.Failed != (r.Label == "486 Busy Here") {
			t.Errorf("rung %q failed=%v", r.Label, r.Failed)
		}
	}
	if strings.Join(again, "; ") != "again, 2nd of 3; again, 3rd of 3" {
		t.Errorf("retransmissions %q", again)
	}
}

func TestTypicalIsMedoid(t *testing.T) {
	d := sipTrace()
	s := newFlows(d, clock{}).scenarios()
	if len(s) != 2 || s[0].Title != "Outgoing call, answered (SIP)" || s[1].Title != "Outgoing call, busy (SIP)" {
		t.Fatalf("scenarios %d", len(s))
	}
	// Rings of 1200, 1000, 1100, 1150 and 1300 ms: the median is 1150, of call 4.
	if s[0].Typical.CallID != "4-4711@192.0.2.10" {
		t.Errorf("typical call %s", s[0].Typical.CallID)
	}
	for _, r := range s[0].Typical.Rows {
		if r.Label == "200 OK, SDP answer" {
			if sp := r.Spread; sp.N != 5 || sp.Median != 1150e6 || sp.Low != 1100e6 || sp.High != 1200e6 {
				t.Errorf("spread %+v", sp)
			}
		}
	}
}

// The page is well-formed where a browser is lenient: each drawing is XML.
func TestDrawingsAreXML(t *testing.T) {
	for name, d := range map[string]*table.Dataset{"sip": sipTrace(), "study": study(), "hostile": hostile()} {
		var b bytes.Buffer
		if err := Write(&b, d, Options{}); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, s := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(unfolded(t, b.String()), -1) {
			dec := xml.NewDecoder(strings.NewReader(s))
			for {
				if _, err := dec.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%s: %v in %.300s", name, err, s)
				}
			}
			n++
		}
		if n < 5 {
			t.Errorf("%s: %d drawings", name, n)
		}
	}
}

// unfolded is the page with what it holds compressed in its place, as text.
func unfolded(t *testing.T, page string) string {
	t.Helper()
	page = regexp.MustCompile(`<script type="application/octet-stream" class="packed \w+">([^<]*)</script>`).ReplaceAllStringFunc(page, func(s string) string {
		b, err := base64.StdEncoding.DecodeString(s[strings.Index(s, ">")+1 : strings.LastIndex(s, "<")])
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), "\x00", "\n")
	})
	return page
}

func TestHostileTextStaysText(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, hostile(), Options{Title: attack}); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	if n := strings.Count(s, "<script"); n != strings.Count(s, `class="opt"`)+strings.Count(s, `class="packed `)+1 {
		t.Errorf("%d script elements", n)
	}
	if whole := unfolded(t, s); len(whole) < len(s)+500_000 {
		t.Fatalf("the page of %d bytes holds %d bytes only: nothing is compressed in it", len(s), len(whole))
	} else {
		s = whole
	}
	for _, bad := range []string{"<img", " onerror=", " onload=", " style=", `href="javascript`, "\u202e", "\x1b", "\x00"} {
		// ECharts' own text is not the page's.
		page := s
		if i := strings.Index(s, "Licensed to the Apache"); i >= 0 {
			j := strings.Index(s[i:], "<script>")
			page = s[:i] + s[i+j:]
		}
		if bad == " onerror=" || bad == " onload=" {
			page = regexp.MustCompile(`<[^>]*>`).FindString(page)
		}
		if strings.Contains(page, bad) {
			i := strings.Index(page, bad)
			t.Errorf("the page has %q: %.200q", bad, page[max(0, i-80):])
		}
	}
	for _, empty := range []string{">null<", ">NaN<", "NaN", "Infinity", "%!", "ZgotmplZ"} {
		if i := strings.Index(s[:strings.Index(s, "Licensed to the Apache")], empty); i >= 0 {
			t.Errorf("the page says %s: %.120q", empty, s[max(0, i-60):i+60])
		}
	}
	for _, format := range []string{"text", "svg", "mermaid"} {
		for _, by := range []string{"", "scenario"} {
			b.Reset()
			if err := Flow(&b, hostile(), FlowOptions{Format: format, By: by, Width: 80}); err != nil {
				t.Fatal(err)
			}
			for i, r := range b.String() {
				if r != '\n' && hidden(r) {
					t.Fatalf("%s: control character %U at %d", format, r, i)
				}
			}
			if format == "text" {
				for _, line := range strings.Split(b.String(), "\n") {
					if n := len([]rune(line)); n > 80 {
						t.Errorf("line of %d columns: %s", n, line)
					}
				}
			}
		}
	}
}

// The chart library in the page is the one whose hash the page's policy names.
func TestChartsHash(t *testing.T) {
	f, err := assets.Open("html/echarts/echarts.min.js.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := hash(string(b)); got != chartsHash || !bytes.Contains(b, []byte(`="5.6.0"`)) {
		t.Errorf("hash of %d bytes is %s, want %s of release 5.6.0", len(b), got, chartsHash)
	}
}

func TestSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	if err := Write(&a, hostile(), Options{}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		b.Reset()
		if err := Write(&b, hostile(), Options{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatal("two reports of one dataset differ")
		}
	}
}

// An empty dataset makes a page without empty sections.
func TestEmpty(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, &table.Dataset{}, Options{}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "<section"); n != 1 {
		t.Errorf("%d sections, wanted provenance alone", n)
	}
	if strings.Contains(b.String(), "<table") {
		t.Error("an empty table is shown")
	}
	if b.Len() > 100_000 {
		t.Errorf("%d bytes: charts are embedded though there is none", b.Len())
	}
}

func TestBannerAndLedger(t *testing.T) {
	p := Build(sipTrace(), Options{})
	for _, want := range []string{"not redacted", "2 phone numbers", "2 network addresses"} {
		if !strings.Contains(p.Banner, want) {
			t.Errorf("banner %q lacks %q", p.Banner, want)
		}
	}
	if Build(sipTrace(), Options{Redacted: true}).Banner != "" {
		t.Error("a redacted report has the banner")
	}
	if want := "905 frames in, all accounted for: 900 used, 5 not (5 no IP packet)."; !strings.Contains(p.Ledger, want) || p.LedgerBad {
		t.Errorf("ledger %q", p.Ledger)
	}
	d := sipTrace()
	d.Captures[0].Packets++
	if p := Build(d, Options{}); !p.LedgerBad {
		t.Error("an unbalanced ledger is not told")
	}
	if len(p.Damaged) != 1 || !strings.Contains(p.Damaged[0].Text, "byte 190600") {
		t.Errorf("damaged %+v", p.Damaged)
	}
}

func TestFormat(t *testing.T) {
	for _, c := range [][2]string{
		{count(1234567), "1\u2009234\u2009567"}, {count(-1234), "\u22121\u2009234"}, {fixed(-0.001, 2), "0.00"}, {fixed(-1.5, 1), "\u22121.5"},
		{sig(669.7, 3), "670"}, {sig(4.665, 3), "4.67"}, {sig(0.000123, 2), "0.00012"}, {fixed(nan(), 2), ""},
		{span(371e6), "371\u00a0ms"}, {span(45.5e6), "46\u00a0ms"}, {span(1.6e6), "1.6\u00a0ms"}, {span(2e9), "2\u00a0s"}, {span(9.96e9), "9.96\u00a0s"}, {span(87.4e9), "87.4\u00a0s"}, {span(219.6e9), "3\u00a0min 40\u00a0s"},
		{since(-732.7e6), "\u2212732.7\u00a0ms"}, {since(10.4191e9), "+10.4191\u00a0s"},
		{interval(some(0.92), some(0.94), rateDecimals(some(0.92), some(0.94))), "[0.92, 0.94]"}, {interval(some(0.999), some(1.001), rateDecimals(some(0.999), some(1.001))), "[0.999, 1.001]"},
		{show("a\u202eb\x1bc", 99), `a\u{202e}b\u{1b}c`}, {show("abcdef", 3), "abc…"}, {show("\xff", 9), "\ufffd"},
		{clock{}.full(t0), "2023-11-14T22:13:20Z"}, {clock{}.full(t0 + 5e8), "2023-11-14T22:13:20.500000Z"}, {clock{}.full(0), ""},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

func nan() float64 { z := 0.0; return z / z }

// Decimation keeps every extreme.
func TestThinOut(t *testing.T) {
	pts := make([]Point, 100_000)
	for i := range pts {
		pts[i] = Point{X: float64(i), Y: 1}
	}
	pts[33_333].Y, pts[77_777].Y = 9, -9
	out := thinOut(pts, 100_000)
	if len(out) > 1700 {
		t.Errorf("%d points left", len(out))
	}
	lo, hi := 0.0, 0.0
	for i, p := range out {
		lo, hi = min(lo, p.Y), max(hi, p.Y)
		if i > 0 && p.X < out[i-1].X {
			t.Fatal("order lost")
		}
	}
	if lo != -9 || hi != 9 || out[0] != pts[0] || out[len(out)-1] != pts[len(pts)-1] {
		t.Error("an extreme or an end was lost")
	}
}

// large is 10,000 calls and a million messages.
func large(calls, messages int) *table.Dataset {
	d := study()
	for i := range calls {
		sipCall(d, fmt.Sprintf("%d@192.0.2.10", i), t0+decode.Time(i)*1e9, 1e9+int64(i%97)*7e6, 8e9)
	}
	m := *d.Messages.At(d.Messages.Len() - 1)
	m.Experiment = "gsm7-480"
	for i := range messages {
		m.SID = "SM" + fmt.Sprint(i)
		m.QueuedAt, m.SentAt = t0+decode.Time(i/40)*1e9, t0+decode.Time(i)*1e9
		m.WaitS = some(float64(m.SentAt-m.QueuedAt) / 1e9)
		d.Messages.Add(m)
	}
	return d
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		d := large(n, n*100)
		b.Run(fmt.Sprintf("calls=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var w bytes.Buffer
			for b.Loop() {
				w.Reset()
				if err := Write(&w, d, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(w.Len()), "page-bytes")
		})
	}
}

// sdkCall is an incoming call of a browser: signaling, events, media and client.
func sdkCall() *table.Dataset {
	const sig, ev, me, media = "192.0.2.1", "192.0.2.2", "192.0.2.100", "192.0.2.20"
	d := &table.Dataset{Hosts: []sessions.Host{{Address: media, Roles: []string{"media", "stun"}}, {Address: me, Roles: []string{"client", "media"}}, {Address: sig, Names: []string{"voice-js.example.com"}, Roles: []string{"signaling"}}, {Address: ev, Roles: []string{"events"}}}}
	frame := int64(660)
	add := func(ms float64, proto, kind, src, dst string) {
		frame++
		d.Signals.Add(sessions.Signal{CallID: "CA1", At: t0 + decode.Time(ms*1e6), File: "c.pcapng", Frame: whole(frame), Protocol: proto, Kind: kind, Label: kind, Src: src, Dst: dst, Decrypted: true})
	}
	add(-729, "pstream", "ready", sig, me)
	add(0, "pstream", "invite", sig, me)
	for i := range 17 {
		add(17+float64(i)*6, "http", "POST events", me, ev)
	}
	add(378, "pstream", "answer", me, sig)
	for i := range 5 {
		add(391+float64(i)*2500, "stun", "binding request", me, media)
		add(400+float64(i)*2500, "stun", "binding success", media, me)
	}
	add(405, "dtls", "ClientHello", me, media)
	for i := range 3 {
		add(3000+float64(i)*3000, "rtcp", "SR", me, media)
		add(3100+float64(i)*3000, "websocket", "heartbeat", sig, me)
	}
	add(10419, "pstream", "hangup", sig, me)
	for i, x := range [][2]string{{me, media}, {media, me}} {
		d.Streams.Add(sessions.Stream{StreamID: uint32(i + 1), CallID: "CA1", Src: x[0], Dst: x[1], Codec: "opus", FirstAt: t0 + 454e6, LastAt: t0 + 10400e6, Packets: 498, Expected: 498})
	}
	d.Calls = []sessions.Call{{CallID: "CA1", Protocols: []string{"pstream"}, Direction: "inbound", Outcome: "answered", InitiatedAt: t0}}
	return d
}

func TestLadderOfBrowserCall(t *testing.T) {
	d := sdkCall()
	l := newFlows(d, clock{}).build(&d.Calls[0], "x", true)
	var roles, rows []string
	for _, n := range l.Lanes {
		roles = append(roles, n.Role)
	}
	if got := strings.Join(roles, " "); got != "events signaling client media" {
		t.Errorf("lanes %s", got)
	}
	for _, r := range l.Rows {
		rows = append(rows, r.Time+" "+r.Label)
	}
	want := []string{"\u2212729.0\u00a0ms ready", " 729\u00a0ms without signaling", "0 invite", "+17.0\u00a0ms events, 17 in 96\u00a0ms", "+378.0\u00a0ms answer", "+391.0\u00a0ms binding request", "+400.0\u00a0ms binding success",
		"+405.0\u00a0ms ClientHello", "+454.0\u00a0ms opus both ways, 9.95\u00a0s", "+10.4190\u00a0s hangup"}
	if strings.Join(rows, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows\n%s\nwant\n%s", strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
	if want := "Not drawn: 8 further STUN messages, 3 RTCP packets and 3 heartbeats and WebSocket control frames."; l.Note != want {
		t.Errorf("note %q, want %q", l.Note, want)
	}
	if got := l.Rows[3].Detail.Text; !strings.Contains(got, "frame 679") || strings.Count(got, "frame ") != 17 {
		t.Errorf("the panel of a group lists\n%s", got)
	}
	var b bytes.Buffer
	if err := Flow(&b, d, FlowOptions{}); err != nil {
		t.Fatal(err)
	}
	golden(t, "flow-browser.txt", b.Bytes())
}

// A column of which nothing is known is not shown.
func TestNoEmptyColumn(t *testing.T) {
	d := sipTrace()
	for i := range d.Hosts {
		d.Hosts[i].Names = nil
	}
	p := Build(d, Options{})
	for _, c := range p.Hosts.Cols {
		if c.Name == "Name" {
			t.Error("an empty column is shown")
		}
	}
	for _, table := range append([]Table{*p.Hosts, *p.Streams}, p.Provenance...) {
		for _, r := range table.Rows {
			if len(r.Cells) != len(table.Cols) {
				t.Errorf("%s: a row of %d cells under %d columns", table.Label, len(r.Cells), len(table.Cols))
			}
		}
	}
}

// Marks that stand aside of one another stay within their panel.
func TestMarksStayInPanel(t *testing.T) {
	var s Series
	s.Form = "points"
	for i, x := range []float64{5, 20, 20, 20, 20, 60, 400, 424, 424, 424} {
		s.Points = append(s.Points, Point{X: x, Y: 1, Run: i + 1})
	}
	p := Plot{X: Axis{Max: 425}}
	pn := Panel{Y: Axis{Max: 2}, Series: []Series{s}}
	for _, b := range []box{{46, 0, 734, 240}, {46, 0, 300, 200}} {
		aside := p.dodge(pn, b)
		last := math.Inf(-1)
		for _, q := range s.Points {
			x := b.x + p.X.at(q.X)*b.w + aside[q.Run]
			if x < b.x || x > b.x+b.w {
				t.Errorf("the mark of %v stands at %.1f, its panel from %.1f to %.1f", q.X, x, b.x, b.x+b.w)
			}
			if x < last+5 {
				t.Errorf("the mark of %v stands at %.1f, the one before at %.1f", q.X, x, last)
			}
			last = x
		}
	}
}

// textBox is a text or a media bar of a drawing, by the estimate of textWidth.
type textBox struct {
	x1, y1, x2, y2 float64
	text           string // none: a bar
}

func textBoxes(t *testing.T, drawing string) []textBox {
	t.Helper()
	var out []textBox
	var cur *textBox
	class, inTitle := "", false
	dec := xml.NewDecoder(strings.NewReader(drawing))
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			at := map[string]float64{}
			cls := ""
			for _, a := range e.Attr {
				if a.Name.Local == "class" {
					cls = " " + a.Value + " "
				}
				var v float64
				if _, err := fmt.Sscan(a.Value, &v); err == nil {
					at[a.Name.Local] = v
				}
			}
			switch e.Name.Local {
			case "title":
				inTitle = true
			case "text":
				class = cls
				cur = &textBox{x1: at["x"], y2: at["y"]}
			case "rect":
				if strings.Contains(cls, " med ") {
					out = append(out, textBox{at["x"], at["y"], at["x"] + at["width"], at["y"] + at["height"], ""})
				}
			}
		case xml.CharData:
			if cur != nil && !inTitle {
				cur.text += string(e)
			}
		case xml.EndElement:
			switch e.Name.Local {
			case "title":
				inTitle = false
			case "text":
				px := 13.0
				if strings.Contains(class, " s ") {
					px = 12
				}
				w := textWidth(cur.text, px)
				if strings.Contains(class, " m ") {
					cur.x1 -= w / 2
				} else if strings.Contains(class, " e ") {
					cur.x1 -= w
				}
				cur.x2, cur.y1 = cur.x1+w, cur.y2-9
				out = append(out, *cur)
				cur = nil
			}
		}
	}
}

// overlaps lists the texts of a drawing that run into another text or, if bars
// are asked for, into a media bar.
func overlaps(bs []textBox, bars bool) []string {
	var out []string
	for i, a := range bs {
		for _, b := range bs[:i] {
			if a.text == "" && b.text == "" || !bars && (a.text == "" || b.text == "") {
				continue
			}
			if min(a.x2, b.x2)-max(a.x1, b.x1) > 0.5 && min(a.y2, b.y2)-max(a.y1, b.y1) > 0.5 {
				out = append(out, fmt.Sprintf("%q and %q", b.text, a.text))
			}
		}
	}
	return out
}

// wideCall is sdkCall with the names, labels and findings of a real one, which
// are wider than the room between evenly spaced lanes.
func wideCall() *table.Dataset {
	d := sdkCall()
	d.Hosts[2].Names = []string{"voice-js.roaming.twilio.com"}
	d.Hosts[3].Names = []string{"eventgw.us1.twilio.com"}
	for _, label := range []string{"quality-metrics-samples/metrics-sample", "connection/disconnected-by-remote-and-then-some"} {
		d.Signals.Add(sessions.Signal{CallID: "CA1", At: t0 + 10_430e6 + decode.Time(len(label))*1e6, Protocol: "http", Kind: "POST " + label, Label: label, Src: "192.0.2.100", Dst: "192.0.2.2"})
	}
	for i := range 2 {
		d.Signals.Add(sessions.Signal{CallID: "CA1", At: t0 + 10_500e6 + decode.Time(i)*1e8, Protocol: "pstream", Kind: "INVITE", Label: "INVITE + SDP offer", Src: "192.0.2.1", Dst: "192.0.2.100", Retransmission: i > 0})
	}
	// A message after the first packet, so that the media go on through a fold.
	d.Signals.Add(sessions.Signal{CallID: "CA1", At: t0 + 480e6, Protocol: "http", Kind: "POST connected", Label: "dtls-transport-state/connected", Src: "192.0.2.100", Dst: "192.0.2.2"})
	d.Streams.Change(func(i int, x *sessions.Stream) {
		x.FirstAt += decode.Time(i) * 20e6
		x.Lost, x.LostPct = 12, sessions.Float{V: 2.4, Known: true}
		x.JitterMeanMS, x.MOS = sessions.Float{V: 0.12, Known: true}, sessions.Float{V: 4.4, Known: true}
	})
	return d
}

// No text of a ladder runs into another or into a media bar, a label is no
// longer than its rung, and what was cut is there in full on hovering.
func TestLadderTextHasRoom(t *testing.T) {
	d := wideCall()
	f := newFlows(d, clock{})
	l := f.build(&d.Calls[0], "x", true)
	typical, _ := f.typical([]int{0}, "t")
	for name, drawing := range map[string]string{"even": l.svg(ladderW, "w"), "true": l.scaleSVG(ladderW, "w"), "narrow": l.svg(narrow, "n"),
		"typical": typical.typicalSVG(wide, "w", "Ladder"), "typical narrow": typical.typicalSVG(narrow, "n", "Ladder")} {
		// On a narrow drawing the times stand over the bars.
		for _, o := range overlaps(textBoxes(t, drawing), name != "narrow") {
			t.Errorf("%s: %s overlap", name, o)
		}
	}
	even := l.svg(ladderW, "w")
	for _, b := range textBoxes(t, even) {
		// Ticks of the axis may stand 20 out, in the margin.
		if b.text != "" && (b.x1 < -20 || b.x2 > ladderW+0.5) {
			t.Errorf("%q stands from %.1f to %.1f of %.0f", b.text, b.x1, b.x2, ladderW)
		}
		if strings.HasPrefix(b.text, "quality") || strings.HasPrefix(b.text, "connection") || strings.HasPrefix(b.text, "INVITE") {
			if !strings.Contains(b.text, "…") {
				t.Errorf("%q was not cut: the case tests nothing", b.text)
			}
		}
		if strings.HasPrefix(b.text, "INVITE") && strings.Contains(b.text, "(") && !strings.HasSuffix(b.text, "(2nd of 2)") {
			t.Errorf("the number of the copy is not whole in %q", b.text)
		}
	}
	for _, want := range []string{"<title>quality-metrics-samples/metrics-sample</title>", "<title>INVITE + SDP offer (again, 2nd of 2)</title>", ">eventgw.us1.twilio.com<", ">voice-js.roaming<", ">.twilio.com<", ">events, 17 in 96\u00a0ms<", ">jitter 0.12\u00a0ms, MOS 4.4<"} {
		if !strings.Contains(even, want) {
			t.Errorf("the drawing lacks %s", want)
		}
	}
	x := l.laneX(166, 592)
	for _, r := range l.Rows {
		if r.Kind != "message" {
			continue
		}
		if w := math.Abs(x[r.To] - x[r.From]); textWidth(r.fit(w), 13) > w+0.5 {
			t.Errorf("%q is wider than its rung of %.0f", r.fit(w), w)
		}
	}
}

// With lanes too close for it, the text about the media stands left of them.
func TestMediaTextBesideCloseLanes(t *testing.T) {
	d := wideCall()
	for i := range 4 {
		d.Signals.Add(sessions.Signal{CallID: "CA1", At: t0 + 500e6 + decode.Time(i)*1e6, Protocol: "pstream", Kind: "x", Label: "x", Src: fmt.Sprint("192.0.2.3", i), Dst: "192.0.2.1"})
		d.Hosts = append(d.Hosts, sessions.Host{Address: fmt.Sprint("192.0.2.3", i), Roles: []string{"rest"}, Names: []string{"a-rather-long-name.example.com"}})
	}
	l := newFlows(d, clock{}).build(&d.Calls[0], "x", true)
	if len(l.Lanes) != 8 {
		t.Fatalf("%d lanes", len(l.Lanes))
	}
	for name, drawing := range map[string]string{"even": l.svg(ladderW, "w"), "true": l.scaleSVG(ladderW, "w"), "narrow": l.svg(narrow, "n")} {
		for _, o := range overlaps(textBoxes(t, drawing), name != "narrow") {
			t.Errorf("%s: %s overlap", name, o)
		}
	}
	if s := l.svg(ladderW, "w"); !strings.Contains(s, `class="s e k halo"`) {
		t.Error("the text does not stand beside the lanes")
	}
}

// A call that was never captured is listed, not drawn.
func TestCallsFromExportsOnly(t *testing.T) {
	d := &table.Dataset{Calls: []sessions.Call{{CallID: "CA1", Outcome: "answered"}, {CallID: "CA2", Outcome: "failed"}}}
	p := Build(d, Options{})
	if len(p.Scenarios) != 0 || p.Silent == nil || len(p.Silent.Rows) != 2 {
		t.Errorf("scenarios %d, silent %+v", len(p.Scenarios), p.Silent)
	}
	for i := range 2340 {
		d.Calls = append(d.Calls, sessions.Call{CallID: fmt.Sprint("CB", i)})
	}
	p = Build(d, Options{})
	if len(p.Silent.Rows) != maxSilent || p.Silent.More != "2\u2009322 more in table calls." {
		t.Errorf("of 2342 calls %d are listed, %q", len(p.Silent.Rows), p.Silent.More)
	}
}

// However many calls and rows there are, the page stays bounded and says what
// it left out.
func TestLargeIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	d := large(1500, 20_000)
	for i := range 300 {
		h := d.Rates[i%len(d.Rates)]
		h.Experiment = fmt.Sprint("run ", i)
		d.Rates = append(d.Rates, h)
		d.Oddities = append(d.Oddities, sessions.Oddity{Rule: "rate-below", Severity: "warn", Text: "below"})
	}
	p := Build(d, Options{})
	s := p.Scenarios[0]
	if len(s.Ladders) != maxCalls || s.Others == nil || len(s.Others.Rows) != maxRows || s.Others.More != "1\u2009100 more in table calls." {
		t.Errorf("%d ladders, others %+v", len(s.Ladders), s.Others != nil)
	}
	for _, r := range p.Runs {
		if len(r.Rows) > maxRows {
			t.Errorf("%d rows", len(r.Rows))
		}
	}
	for _, f := range p.RunFigures {
		for _, pl := range f.Plots {
			for _, pn := range pl.Panels {
				for _, x := range pn.Series {
					if len(x.Points) > 2100 {
						t.Errorf("figure %d: %d points of %s", f.No, len(x.Points), x.Name)
					}
				}
			}
		}
	}
	if o := p.Oddities[0]; o.Count != "300 times" || o.More == "" {
		t.Errorf("oddities %+v", o)
	}
	var b bytes.Buffer
	if err := writePage(&b, p, 0.05); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 8<<20 {
		t.Errorf("%d bytes", b.Len())
	}
}

// A dataset is an input, and its numbers may be anything: no number may make
// the report fail, hang or say NaN.
func TestHostileNumbers(t *testing.T) {
	floats := []float64{nan(), math.Inf(1), math.Inf(-1), 1e308, -1e308, 0, -1, 1e-320, 1}
	ints := []int64{math.MinInt64, math.MaxInt64, 0, -1, 1}
	uints := []uint32{0, 1, math.MaxUint32}
	for shift := range 9 {
		n := shift
		var fill func(v reflect.Value)
		fill = func(v reflect.Value) {
			if rows, ok := v.Addr().Interface().(packed.Table); ok {
				rows.ChangeAny(func(row any) { fill(reflect.ValueOf(row).Elem()) })
				return
			}
			switch v.Kind() {
			case reflect.Struct:
				if v.Type() == reflect.TypeFor[packed.Text]() {
					return
				}
				for i := range v.NumField() {
					fill(v.Field(i))
				}
			case reflect.Slice:
				for i := range v.Len() {
					fill(v.Index(i))
				}
			case reflect.Float64:
				n++
				v.SetFloat(floats[n%len(floats)])
			case reflect.Int64:
				n++
				if n%3 != 0 { // some stay, or nothing would be drawn
					v.SetInt(ints[n%len(ints)])
				}
			case reflect.Uint32:
				n++
				v.SetUint(uint64(uints[n%len(uints)]))
			case reflect.Bool:
				n++
				v.SetBool(n%5 != 0)
			}
		}
		for _, d := range []*table.Dataset{study(), sipTrace(), sdkCall()} {
			fill(reflect.ValueOf(d).Elem())
			var b bytes.Buffer
			if err := Write(&b, d, Options{}); err != nil {
				t.Fatal(err)
			}
			page, _, _ := strings.Cut(unfolded(t, b.String()), "Licensed to the Apache")
			page, _, _ = strings.Cut(page, "(function ()")
			_, page, _ = strings.Cut(page, "</style>")
			for _, bad := range []string{"NaN", "Inf", "+e", "ZgotmplZ", "[, ", "[ "} {
				if i := strings.Index(page, bad); i >= 0 {
					t.Errorf("the page says %q: %.160q", bad, page[max(0, i-80):])
				}
			}
			for _, format := range []string{"text", "svg", "mermaid"} {
				if err := Flow(io.Discard, d, FlowOptions{Format: format}); err != nil {
					t.Fatal(err)
				}
				if err := Flow(io.Discard, d, FlowOptions{Format: format, By: "scenario"}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// repeats gives the study's 200 calls two more runs.
func repeats() *table.Dataset {
	d := study()
	for i := range d.Rates {
		r := d.Rates[i]
		if r.Experiment != "calls-n200" {
			continue
		}
		for k, v := range [][3]float64{{0.94, 0.939, 0.945}, {0.944, 0.943, 0.951}} {
			r.Experiment = fmt.Sprintf("calls-n200-r%d", k+2)
			r.ObservedPerS, r.ObservedLowPerS, r.ObservedHighPerS = some(v[0]), some(v[1]), some(v[2])
			r.SustainedPerS, r.SustainedLowPerS, r.SustainedHighPerS, r.SustainedVerdict = some(0.91), some(0.90-float64(k)/100), some(0.92), "below"
			if v[2] > 0.95 {
				r.Verdict = "undetermined"
			}
			d.Experiments = append(d.Experiments, table.Experiment{Experiment: r.Experiment, Kind: "calls", KindBy: "manifest", X: r.X, Labels: `{"source":"simulated"}`, Options: "{}"})
			d.Rates = append(d.Rates, r)
		}
	}
	return d
}

func TestRunsOfOneSizeAreOneRow(t *testing.T) {
	p := Build(repeats(), Options{})
	var what []string
	for _, r := range p.Groups[0].Rows {
		what = append(what, r.What)
	}
	if got := strings.Join(what, ", "); got != "20 calls, 60 calls, 100 calls, 200 calls, 400 calls" {
		t.Fatalf("rows %s", got)
	}
	// The mean of 0.930, 0.940 and 0.944, and the span of [0.929, 0.931], [0.939, 0.945] and [0.943, 0.951].
	r := p.Groups[0].Rows[3]
	if r.Rate != "0.94/s" || r.Interval != "[0.929, 0.951]" || r.Runs != "3 runs" || len(r.Marks) != 3 {
		t.Errorf("rate %s %s, %s, %d marks", r.Rate, r.Interval, r.Runs, len(r.Marks))
	}
	if r.Verdict != "mixed: 2 below, 1 undetermined" || r.Scope != "" {
		t.Errorf("verdict %q %q", r.Verdict, r.Scope)
	}
	if want := "Sustained 0.91/s [0.89, 0.92] in 2 of them: below"; r.Clause != want {
		t.Errorf("clause %q, want %q", r.Clause, want)
	}
	if len(r.Why) != 3 || r.Why[1].Run != "calls-n200-r2" || !strings.HasPrefix(r.Why[1].Text, "0.940/s [0.939, 0.945], below. ") {
		t.Errorf("why %+v", r.Why)
	}
	ids := map[string]bool{}
	for _, row := range p.Runs[0].Rows {
		ids["#"+row.ID] = true
		if strings.Contains(row.Cells[0].Text, "AC0") {
			t.Errorf("a run of one queue is named with its queue: %s", row.Cells[0].Text)
		}
	}
	for _, w := range r.Why {
		if !ids[w.Href] {
			t.Errorf("%s leads nowhere", w.Href)
		}
	}
	if !strings.Contains(p.Lead, "1 had runs that disagree") {
		t.Errorf("lead %q", p.Lead)
	}
}

// A burst is said in words, of several runs with the range of each number.
func TestBurst(t *testing.T) {
	run := func(kind string, repeats int64, burst, rate float64) rates.Rate {
		r := rates.Rate{Kind: kind, Repeats: repeats, SustainedPerS: some(rate), SustainedLowPerS: some(rate - 0.01), SustainedHighPerS: some(rate + 0.01)}
		if burst > 0 {
			r.BurstItems = some(burst)
		}
		return r
	}
	bare := rates.Rate{BurstItems: some(12.4)}
	for _, c := range []struct {
		kind string
		runs []rates.Rate
		want string
	}{
		{"calls", []rates.Rate{run("calls", 1, 37.77, 0.927)}, "the first 38 calls left at once, then 0.93/s"},
		{"messages", []rates.Rate{run("messages", 1, 40.2, 0.931)}, "the first 40 messages left at once, then 0.93 segments/s"},
		{"calls", []rates.Rate{run("calls", 1, 3, 0.93)}, ""},
		{"calls", []rates.Rate{run("calls", 1, 0, 0.93)}, ""},
		{"calls", []rates.Rate{run("calls", 1, 41.2, 0.92), run("calls", 1, 36.4, 0.95)}, "the first 36 to 41 calls left at once, then 0.92 to 0.95/s"},
		{"calls", []rates.Rate{run("calls", 1, 38, 0.93), run("calls", 1, 0, 0.5), run("calls", 2, 0, 0.7)}, "the first 38 calls left at once, then 0.93/s, in 1 of 2 runs"},
		{"calls", []rates.Rate{bare}, "the first 12 calls left at once"},
	} {
		if got := burstText(c.kind, c.runs); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	d := study()
	for i := range d.Rates {
		if d.Rates[i].Experiment == "calls-n200" {
			d.Rates[i].BurstItems, d.Rates[i].SustainedPerS, d.Rates[i].SustainedVerdict = some(37.77), some(0.927), "below"
		}
	}
	if got := Build(d, Options{}).Groups[0].Rows[3].Clause; !strings.HasPrefix(got, "The first 38 calls left at once, then 0.93/s; sustained 0.93/s") {
		t.Errorf("clause %q", got)
	}
}

// The study neglects the network as less than 50 ms: its largest part decides.
func TestLatencyAssumption(t *testing.T) {
	run := func(p50, top float64) rates.Rate {
		return rates.Rate{LatencyP50MS: some(p50), LatencyMaxMS: some(top), LatencyBy: "captures"}
	}
	bound := run(12, 681)
	bound.LatencyBy = "handshake"
	for _, c := range []struct {
		runs []rates.Rate
		want string
	}{
		{[]rates.Rate{{}}, ""},
		{[]rates.Rate{run(12, 681)}, "12 ms at the median and 681 ms at most, so the assumption fails."},
		{[]rates.Rate{bound}, "12 ms at the median and 681 ms at most, so the assumption may fail."},
		{[]rates.Rate{run(10.05, 49.7)}, "10.1 ms at the median and 49.7 ms at most, so the assumption holds."},
		{[]rates.Rate{run(0.0057, 0.0057)}, "0.0057 ms at most, so the assumption holds."},
		{[]rates.Rate{run(12, 50)}, "12 ms at the median and 50 ms at most, so the assumption fails."},
		{[]rates.Rate{run(2, 3), {}}, "2 ms at the median and 3 ms at most, so the assumption holds in the one run that shows it."},
		{[]rates.Rate{run(2, 3), run(12, 681), {}}, "2 to 12 ms at the median of a run and 681 ms at most, so the assumption fails in 1 of the 2 runs that show it."},
	} {
		got := strings.ReplaceAll(latencyText(c.runs), nbsp, " ")
		if _, after, _ := strings.Cut(got, "here it was "); after != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	d := study()
	d.Rates[0].LatencyP50MS, d.Rates[0].LatencyMaxMS = some(12), some(681)
	p := Build(d, Options{})
	if p.Groups[0].Latency == "" || p.Groups[1].Latency != "" {
		t.Errorf("said of calls %q, of messages %q", p.Groups[0].Latency, p.Groups[1].Latency)
	}
	var b bytes.Buffer
	if err := Write(&b, d, Options{}); err != nil || !strings.Contains(b.String(), p.Groups[0].Latency) {
		t.Errorf("the page does not say it (%v)", err)
	}
}

// All numbers of a column of runs have the same decimals.
func TestDecimalsOfAColumn(t *testing.T) {
	for _, tb := range Build(repeats(), Options{}).Runs {
		for i, c := range tb.Cols {
			places := map[int]bool{}
			for _, r := range tb.Rows {
				if _, frac, ok := strings.Cut(r.Cells[i].Text, "."); c.Num && r.Cells[i].Text != "" && (ok || len(places) > 0) {
					places[len(frac)] = true
				}
			}
			if len(places) > 1 {
				t.Errorf("%s, %s: decimals %v", tb.Label, c.Name, places)
			}
		}
	}
}

// Captures without a queue are told, not measured.
func TestCapturesWithoutQueue(t *testing.T) {
	d, sip := study(), sipTrace()
	d.Experiments = append(d.Experiments, sip.Experiments...)
	d.Captures, d.Calls, d.Streams, d.Signals = sip.Captures, sip.Calls, sip.Streams, sip.Signals
	rows := len(d.Rates)
	d.Rates = append(d.Rates, rates.Rate{Experiment: "sip", Kind: "calls", Queue: "AC1", Items: 6, GuaranteePerS: 1, ExpectedPerS: some(1), Verdict: "undetermined", Reason: "nothing was queued"})
	p := Build(d, Options{})
	n := 0
	for _, g := range p.Groups {
		n += len(g.Rows)
	}
	for _, r := range p.Runs {
		n += len(r.Rows)
	}
	if n != 2*rows {
		t.Errorf("%d rows of verdicts and runs, wanted %d", n, 2*rows)
	}
	if want := "1 capture without a queue: 6 calls (5 answered and 1 busy); 10 media streams lost 50 of 4\u2009050 packets (1.2\u00a0%)."; p.Captured != want {
		t.Errorf("captured %q\nwant     %q", p.Captured, want)
	}
	if p.Outcomes != nil {
		t.Error("a table of outcomes beside verdicts")
	}
	// Alone, its calls lead.
	sip.Rates = d.Rates[rows:]
	p = Build(sip, Options{})
	if len(p.Groups)+len(p.Runs)+len(p.Figures) != 0 || p.Title != "What happened in these calls" || !strings.HasPrefix(p.Lead, "6 calls were found: 5 answered and 1 busy. The median post-dial delay was 60") {
		t.Errorf("title %q, lead %q", p.Title, p.Lead)
	}
}

// The promise falls where GSM-7 needs one segment more: 3GPP TS 23.040 leaves
// 160 characters to one and 153 to each of several.
func TestExpectedSteps(t *testing.T) {
	d := study()
	f := Build(d, Options{}).Figures[1]
	panels := f.Plots[0].Panels
	// The study cuts at 160 bytes whatever the length: it promises more from the
	// end of 153 n to that of 160 n, and nowhere else.
	want := map[string]string{
		"step":   "0:1.000 160:1.000 160:0.500 306:0.500 306:0.333 459:0.333 459:0.250 509:0.250",
		"dotted": "306:0.500 320:0.500 320:0.333 / 459:0.333 480:0.333 480:0.250",
	}
	for _, s := range panels[len(panels)-1].Series {
		if s.Role != "expected" {
			continue
		}
		var got []string
		for _, q := range s.Points {
			if q.Gap {
				got = append(got, "/")
			}
			got = append(got, fmt.Sprintf("%.0f:%.3f", q.X, q.Y))
		}
		if strings.Join(got, " ") != want[s.Form] {
			t.Errorf("%s: steps %s, want %s", s.Form, strings.Join(got, " "), want[s.Form])
		}
		delete(want, s.Form)
	}
	if len(want) > 0 {
		t.Errorf("not drawn: %v", want)
	}
	if c := f.Caption; !strings.Contains(c, "at 307 to 320 and 460 to 480"+nbsp+"bytes.") {
		t.Errorf("caption %q", c)
	}
	if line := f.Plots[0].svg(960, "w", ""); strings.Count(line, `class="x thin dot"`) != 1 || !strings.Contains(line, ">160-byte rule<") {
		t.Error("the study's rule is not in the drawing")
	}
	o, err := f.Plots[0].chart()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(o); err != nil || strings.Count(string(b), `"type":"dotted"`) != 1 || !strings.Contains(string(b), "[459,null]") {
		t.Errorf("the study's rule is not in the options (%v)", err)
	}
	// Short messages are cut alike by both; beyond 3366 bytes the ranges meet;
	// an axis may end within one.
	for most, want := range map[float64]string{306.9: "", 307: "307 to 307", 315: "307 to 315", 500: "307 to 320 and 460 to 480"} {
		if s, got := studyRule(1, most); got != want || (want == "") != (len(s.Points) == 0) {
			t.Errorf("up to %v: %q, want %q", most, got, want)
		}
	}
	long, sizes := studyRule(1, 9000)
	if !strings.HasSuffix(sizes, " and so on up to "+count(9000)) {
		t.Errorf("sizes %q", sizes)
	}
	for i, q := range long.Points {
		if i > 0 && (q.X < long.Points[i-1].X || q.Y > long.Points[i-1].Y) {
			t.Errorf("point %d %v after %v", i, q, long.Points[i-1])
		}
	}
	// Where rows promise more than GSM-7 allows, they rule.
	for i := range d.Rates {
		if d.Rates[i].X == whole(170) {
			d.Rates[i].ExpectedPerS = some(1)
		}
	}
	if gsmHolds(d.Rates, 1) {
		t.Error("GSM-7 is drawn over rows that contradict it")
	}
}

func TestApart(t *testing.T) {
	for _, c := range []struct{ in, want []float64 }{
		{[]float64{0, 100}, []float64{0, 100}},
		{[]float64{50, 50, 50}, []float64{40, 50, 60}},
		{[]float64{0, 4, 200}, []float64{-3, 7, 200}},
	} {
		if got := apart(c.in, 10); !reflect.DeepEqual(got, c.want) {
			t.Errorf("apart(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

func TestOptionsOfTheAnalysis(t *testing.T) {
	d := sipTrace()
	d.Rates = []rates.Rate{{Experiment: "sip", Kind: "calls", X: whole(3), Items: 5, GuaranteePerS: 2, ExpectedPerS: some(2), ObservedPerS: some(2), Verdict: "meets"}}
	d.Experiments[0].Options = `{"guarantee_per_s":2,"tolerance_pct":10,"call_created":"dialed","start":"2023-11-14T22:13:20.000000000Z","redact":true}`
	d.Experiments[0].GuaranteePerS = some(2)
	p := Build(d, Options{})
	if want := "twtrace analyze trunk.pcap --name sip --guarantee 2/s --tolerance 10% --call-created dialed --start 2023-11-14T22:13:20.000000000Z --redact -o OUT"; p.Reproduce != want {
		t.Errorf("reproduce %s\nwant      %s", p.Reproduce, want)
	}
	if !strings.Contains(p.Rule, "10\u00a0%") || strings.Contains(p.Rule, "5\u00a0%,") {
		t.Errorf("rule %q", p.Rule)
	}
	// Nothing of a hostile name reaches a command that someone may paste.
	d.Inputs[0].File, d.Experiments[0].Experiment = "a;rm -rf ~", "$(id)"
	d.Experiments[0].Options = `{"segmenting":"gsm; id","start":"` + "`id`" + `"}`
	if got := Build(d, Options{}).Reproduce; got != "twtrace analyze FOLDER -o OUT" {
		t.Errorf("reproduce %s", got)
	}
}

// Little or nothing in the inputs still makes a page that reads well.
func TestNearlyEmpty(t *testing.T) {
	one := sipTrace()
	one.Calls, one.Inputs[0].Problem = one.Calls[:1], ""
	header := &table.Dataset{Experiments: one.Experiments, Inputs: []decode.Input{{Experiment: "sip", File: "header-only.pcap", Kind: "capture", Bytes: 24}}, Captures: []decode.Capture{{Experiment: "sip", File: "header-only.pcap", Format: "pcap"}}}
	list := &table.Dataset{Experiments: one.Experiments, Inputs: []decode.Input{{Experiment: "sip", File: "page.json", Kind: "resources", Bytes: 325}}}
	for name, c := range map[string]struct {
		d           *table.Dataset
		title, lead string
	}{
		"one call": {one, "What happened in this call", "One call was found: answered. The post-dial delay was 60\u00a0ms. 10 media streams lost 50 of 4\u2009050 packets (1.2\u00a0%)."},
		"header":   {header, "What was captured", "No packet is in the captures."},
		"list":     {list, "What the inputs hold", "The inputs hold no call and no message."},
	} {
		p := Build(c.d, Options{})
		if p.Title != c.title || p.Lead != c.lead {
			t.Errorf("%s: %q, %q", name, p.Title, p.Lead)
		}
		var b bytes.Buffer
		if err := writePage(&b, p, 0.05); err != nil {
			t.Fatal(err)
		}
		page := regexp.MustCompile(`(?s)<(script|style).*?</(script|style)>`).ReplaceAllString(b.String(), "")
		for _, bad := range []string{"null", "NaN", "<tbody></tbody>", "</h2>\n</section>", "</h3><h3>"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s: the page has %q", name, bad)
			}
		}
		if n := strings.Count(page, "<section"); n != len(p.Sections) {
			t.Errorf("%s: %d sections, %d in the contents", name, n, len(p.Sections))
		}
	}
}

// A long call is drawn whole; many long calls share what a page may hold.
func TestLongLadders(t *testing.T) {
	long := func(calls, messages int) *table.Dataset {
		d := sipTrace()
		for c := range calls {
			id := fmt.Sprintf("long-%03d", c)
			at := t0 + decode.Time(100+c)*1e9
			d.Calls = append(d.Calls, sessions.Call{Experiment: "sip", CallID: id, RootCallID: id, Protocols: []string{"sip"}, SIPCallIDs: []string{id}, InitiatedAt: at, Outcome: "in-progress", Legs: 1, File: "trunk.pcap"})
			for i := range messages {
				x := sessions.Signal{Experiment: "sip", CallID: id, At: at + decode.Time(i)*1e6, File: "trunk.pcap", Frame: whole(int64(1000 + c*messages + i)), Protocol: "sip", Src: "192.0.2.10", Dst: "198.51.100.20", Kind: "INFO", Label: fmt.Sprintf("INFO number %d", i)}
				if i%2 == 1 {
					x.Src, x.Dst = x.Dst, x.Src
				}
				d.Signals.Add(x)
			}
		}
		d.Sort()
		return d
	}
	rungsOf := func(d *table.Dataset) (list []int, all int) {
		for _, s := range Build(d, Options{}).Scenarios {
			for _, l := range s.Ladders {
				if strings.HasPrefix(l.CallID, "long-") {
					list = append(list, len(l.Rows))
				}
				all += len(l.Rows)
			}
		}
		return list, all
	}
	if list, _ := rungsOf(long(1, 700)); len(list) != 1 || list[0] < 700 {
		t.Errorf("rungs of a call of 700 messages: %v", list)
	}
	list, all := rungsOf(long(60, 1500))
	if len(list) != 60 || list[0] < 1500 || list[59] > 2*fewRungs || all > allRungs+60*2*fewRungs {
		t.Errorf("rungs of 60 calls of 1500 messages: %v, %d in all", list, all)
	}
}

// Each number, address and SID counts once, in whatever tables it stands.
func TestIdentities(t *testing.T) {
	sid := func(kind string, n int) string { return fmt.Sprintf("%s%032x", kind, n) }
	d := &table.Dataset{
		Calls:         []sessions.Call{{CallID: sid("CA", 1), CallSID: sid("CA", 1), From: "+1", To: "client:a"}, {CallID: "leg-1", From: "+1"}},
		CallResources: []sessions.CallResource{{SID: sid("CA", 1), AccountSID: sid("AC", 1), From: "+1", To: "+2"}},
		Hosts:         []sessions.Host{{Address: "192.0.2.1"}, {Address: "192.0.2.2"}},
		Rates:         []rates.Rate{{Queue: sid("MG", 1)}, {Queue: "+1"}},
	}
	for i := range 3000 {
		d.Messages.Add(sessions.Message{SID: sid("SM", i), AccountSID: sid("AC", 1), From: "+1", To: fmt.Sprint("+3", i%1000)})
	}
	if numbers, addresses, sids := identities(d); numbers != 1003 || addresses != 2 || sids != 3003 {
		t.Errorf("%d numbers, %d addresses, %d SIDs; want 1003, 2, 3003", numbers, addresses, sids)
	}
}

// The run shown is the one with the largest x, then the longest, then the first
// by name, however the rows of several lie among one another.
func TestRunItems(t *testing.T) {
	d := &table.Dataset{}
	for _, r := range []struct {
		name string
		x    int64
	}{{"b", 20}, {"a", 20}, {"c", 20}, {"small", 10}, {"one", 30}} {
		d.Rates = append(d.Rates, rates.Rate{Experiment: r.name, Kind: "messages", X: whole(r.x)})
	}
	add := func(name, status string, sent decode.Time) {
		d.Messages.Add(sessions.Message{Experiment: name, SID: fmt.Sprint("SM", d.Messages.Len()), Status: status, QueuedAt: t0, SentAt: t0 + sent})
	}
	for i := range decode.Time(4) {
		add("c", "sent", i)
		add("b", "sent", 2*i)
		add("small", "sent", 100*i)
		add("a", "sent", 2*i)
		add("a", "failed", 50)
		add("no rate", "sent", 1000*i)
	}
	add("one", "sent", 1000)
	name, items := runItems(d, "messages")
	var left, failed int
	for _, it := range items {
		if it.left {
			left++
		} else {
			failed++
		}
	}
	if name != "a" || left != 4 || failed != 4 {
		t.Errorf("run %q with %d items that left and %d that did not; want a with 4 and 4", name, left, failed)
	}
	if name, items := runItems(d, "calls"); name != "" || items != nil {
		t.Errorf("calls of run %q, %d items; there are none", name, len(items))
	}
}
