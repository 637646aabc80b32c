package report

import (
	"cmp"
	"encoding/json"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// Options are the reader's choices.
type Options struct {
	Title    string         // "" makes one from the content
	Redacted bool           // the dataset holds pseudonyms
	Zone     *time.Location // of displayed times; nil is UTC
}

// Page is what the report says, before any pixel: plain data, no slice nil.
type Page struct {
	Title      string         `json:"title"`
	Kicker     string         `json:"kicker"`
	Lead       string         `json:"lead"`
	Banner     string         `json:"banner,omitempty"`
	Sections   []Section      `json:"sections"`
	Groups     []VerdictTable `json:"groups"`
	Rule       string         `json:"rule,omitempty"`
	Outcomes   *Table         `json:"outcomes,omitempty"` // of calls, where no queue was measured
	Captured   string         `json:"captured,omitempty"` // captures that are no measurement of a queue
	Counts     []string       `json:"counts"`
	Damaged    []Item         `json:"damaged"`
	DamagedEnd string         `json:"damaged_end,omitempty"`
	Ledger     string         `json:"ledger,omitempty"`
	LedgerBad  bool           `json:"ledger_bad,omitempty"`
	Figures    []Figure       `json:"figures"`
	Runs       []Table        `json:"runs"`
	RunFigures []Figure       `json:"run_figures"`
	Scenarios  []Scenario     `json:"scenarios"`
	Silent     *Table         `json:"silent,omitempty"` // calls without captured signaling
	Graph      *Graph         `json:"graph,omitempty"`
	Hosts      *Table         `json:"hosts,omitempty"`
	Media      *Figure        `json:"media,omitempty"`
	Streams    *Table         `json:"streams,omitempty"`
	MediaNote  string         `json:"media_note,omitempty"`
	Oddities   []OddityGroup  `json:"oddities"`
	Facts      []Item         `json:"facts"`
	Provenance []Table        `json:"provenance"`
	Assumed    []string       `json:"assumed"`
	Reproduce  string         `json:"reproduce,omitempty"`
}

// Section is an entry of the contents.
type Section struct {
	No    int    `json:"no"`
	ID    string `json:"id"`
	Title string `json:"title"`
}

// Item is a name and what is said of it.
type Item struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// VerdictTable is the verdicts of one kind and promise.
type VerdictTable struct {
	Head string       `json:"head"`
	Rows []VerdictRow `json:"rows"`
	Note string       `json:"note,omitempty"` // of rows left out

	Latency string `json:"latency,omitempty"` // whether the study's assumption of the network holds
}

// VerdictRow is one sentence about the runs at one x: what was measured, its
// interval, its verdict.
type VerdictRow struct {
	What      string   `json:"what"`
	Href      string   `json:"href,omitempty"` // first of its runs in the table of runs
	Between   string   `json:"between"`
	Rate      string   `json:"rate,omitempty"`
	Interval  string   `json:"interval,omitempty"`
	Runs      string   `json:"runs,omitempty"` // "3 runs", "" of one
	Tag       string   `json:"tag,omitempty"`
	Verdict   string   `json:"verdict"`
	Scope     string   `json:"scope,omitempty"` // of what the verdict speaks
	Class     string   `json:"class"`
	Clause    string   `json:"clause,omitempty"` // sustained rate, what never left
	Why       []Reason `json:"why"`
	Marks     []Mark   `json:"marks"` // of each run, for the strip
	Sustained *Mark    `json:"sustained,omitempty"`
}

// Reason is why one run has its verdict.
type Reason struct {
	Run  string `json:"run"`
	Href string `json:"href,omitempty"`
	Text string `json:"text,omitempty"`
}

// Mark is a rate and its interval as shares of what was expected.
type Mark struct {
	At    *float64 `json:"at,omitempty"`
	Low   *float64 `json:"low,omitempty"`
	High  *float64 `json:"high,omitempty"`
	Class string   `json:"class,omitempty"`
}

// Table is any table of the page.
type Table struct {
	ID    string `json:"id,omitempty"`
	Title string `json:"title,omitempty"`
	Label string `json:"label"`
	Cols  []Col  `json:"cols"`
	Rows  []Row  `json:"rows"`
	More  string `json:"more,omitempty"`
}

// Col is a column's head.
type Col struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	Num  bool   `json:"num,omitempty"`
}

// Row is a table's row; ID makes it a link's target.
type Row struct {
	ID    string `json:"id,omitempty"`
	Cells []Cell `json:"cells"`
}

// Cell is one value. Class is one of the style sheet's, never from a capture.
type Cell struct {
	Text  string `json:"text"`
	Class string `json:"class,omitempty"`
	Tag   string `json:"tag,omitempty"`
}

// OddityGroup is what one rule found.
type OddityGroup struct {
	Rule     string   `json:"rule"`
	Severity string   `json:"severity"`
	Count    string   `json:"count"`
	Items    []Oddity `json:"items"`
	More     string   `json:"more,omitempty"`
}

// Oddity is one finding with its evidence.
type Oddity struct {
	Text     string `json:"text"`
	Subject  string `json:"subject,omitempty"`
	Evidence string `json:"evidence,omitempty"`
	Filter   string `json:"filter,omitempty"`
}

// Build makes the page from the tables and from nothing else.
func Build(d *table.Dataset, o Options) *Page {
	d = finite(d)
	b := &builder{d: d, o: o, clock: clock{o.Zone}, sim: d.Simulated(), tol: tolerance(d), manifest: manifest(d)}
	p := &Page{Sections: []Section{}, Groups: []VerdictTable{}, Counts: []string{}, Damaged: []Item{}, Figures: []Figure{}, Runs: []Table{}, RunFigures: []Figure{},
		Scenarios: []Scenario{}, Oddities: []OddityGroup{}, Facts: []Item{}, Provenance: []Table{}, Assumed: []string{}}
	b.head(p)
	b.verdicts(p)
	b.captured(p)
	b.damage(p)
	no := 0
	for _, kind := range []string{"calls", "messages"} {
		if !b.measured(kind) {
			continue
		}
		if f := rateFigure(kind, d.Rates, b.sim, b.tol, &no); f != nil {
			p.Figures = append(p.Figures, *f)
		}
		if t := b.runs(kind); t != nil {
			p.Runs = append(p.Runs, *t)
		}
	}
	p.unlink()
	for _, kind := range []string{"calls", "messages"} {
		if !b.measured(kind) {
			continue
		}
		p.RunFigures = append(p.RunFigures, runFigures(d, kind, b.sim, b.tol, &no)...)
	}
	fl := newFlows(d, b.clock)
	p.Scenarios = fl.scenarios()
	if len(fl.silent) > 0 {
		p.Silent = fl.callTable(fl.silent, maxSilent)
		p.Silent.Title = plural(int64(len(fl.silent)), "call", "calls") + " without captured signaling or media"
		p.Silent.Label = "Calls without captured signaling"
	}
	if s := submission(d, "s"+strconv.Itoa(len(p.Scenarios)+1)); s != nil {
		p.Scenarios = append(p.Scenarios, *s)
	}
	for i := range p.Scenarios {
		if p.Scenarios[i].Typical != nil {
			no++
			p.Scenarios[i].FigNo = no
		}
	}
	p.Hosts = b.hosts()
	if p.Graph = graph(d); p.Graph != nil {
		no++
		p.Graph.No = no
	}
	p.Streams = b.streams(p)
	p.Media = mediaFigure(d, &no)
	b.oddities(p)
	b.provenance(p)

	for _, set := range [][]Table{p.Runs, p.Provenance} {
		for i := range set {
			set[i].compact()
		}
	}
	for _, t := range []*Table{p.Hosts, p.Streams, p.Silent, p.Outcomes} {
		if t != nil {
			t.compact()
		}
	}
	add := func(id, title string, has bool) {
		if has {
			p.Sections = append(p.Sections, Section{len(p.Sections) + 1, id, title})
		}
	}
	add("verdict", "Verdict", len(p.Groups) > 0 || p.Outcomes != nil || len(p.Counts) > 0 || len(p.Damaged) > 0 || p.Ledger != "")
	add("rates", "Rates", len(p.Figures)+len(p.Runs)+len(p.RunFigures) > 0)
	add("flows", "Protocol flows", len(p.Scenarios) > 0 || p.Silent != nil)
	add("hosts", "Who talks to whom", p.Hosts != nil || p.Graph != nil)
	add("media", "Media quality", p.Streams != nil || p.Media != nil)
	add("odd", "Oddities", len(p.Oddities) > 0)
	add("prov", "Provenance", true)
	if !b.measured("calls") && !b.measured("messages") && p.Sections[0].ID == "verdict" {
		p.Sections[0].Title = "What was found"
	}
	return p
}

// compact takes columns away in which no row says anything.
func (t *Table) compact() {
	for i := len(t.Cols) - 1; i > 0; i-- {
		if slices.ContainsFunc(t.Rows, func(r Row) bool { return r.Cells[i].Text != "" || r.Cells[i].Tag != "" }) {
			continue
		}
		t.Cols = slices.Delete(t.Cols, i, i+1)
		for k := range t.Rows {
			t.Rows[k].Cells = slices.Delete(t.Rows[k].Cells, i, i+1)
		}
	}
}

// unlink takes away links to runs that the tables of the page do not hold.
func (p *Page) unlink() {
	ids := map[string]bool{}
	for _, t := range p.Runs {
		for _, r := range t.Rows {
			ids["#"+r.ID] = true
		}
	}
	check := func(href *string) {
		if !ids[*href] {
			*href = ""
		}
	}
	for i := range p.Groups {
		for j := range p.Groups[i].Rows {
			r := &p.Groups[i].Rows[j]
			check(&r.Href)
			for k := range r.Why {
				check(&r.Why[k].Href)
			}
		}
	}
	for i := range p.Figures {
		for j := range p.Figures[i].Plots {
			for _, panel := range p.Figures[i].Plots[j].Panels {
				for _, s := range panel.Series {
					for k := range s.Points {
						check(&s.Points[k].Href)
					}
				}
			}
		}
	}
}

type builder struct {
	d     *table.Dataset
	o     Options
	clock clock
	sim   map[string]bool
	tol   float64

	manifest map[string]bool // experiments that a manifest calls a measurement
}

// measured tells whether any run of a kind has a rate. A capture of a few calls
// has rows of rates too, that only say why there is none.
func (b *builder) measured(kind string) bool {
	return slices.ContainsFunc(b.d.Rates, func(r rates.Rate) bool { return r.Kind == kind && known(r.ObservedPerS) != nil })
}

// finite is the dataset with rates that can be drawn: what is no number or
// beyond any sense is unknown. (Rates are few; the other tables are read with
// known and nanos, which do the same.)
func finite(d *table.Dataset) *table.Dataset {
	c := *d
	c.Rates = slices.Clone(d.Rates)
	for i := range c.Rates {
		r := &c.Rates[i]
		for _, v := range []*sessions.Float{&r.ExpectedPerS, &r.ObservedPerS, &r.ObservedLowPerS, &r.ObservedHighPerS, &r.ObservedSegmentsPerS, &r.QueuePerS, &r.QueueLowPerS, &r.QueueHighPerS, &r.PostP50MS,
			&r.SustainedPerS, &r.SustainedLowPerS, &r.SustainedHighPerS, &r.BurstItems, &r.BurstLowItems, &r.BurstHighItems, &r.BusyPct, &r.FIFOTau, &r.WaitP50S, &r.WaitP95S, &r.LatencyP50MS, &r.LatencyMaxMS} {
			if known(*v) == nil || v.V < 0 {
				*v = sessions.Float{}
			}
		}
		if g := decode.Some(r.GuaranteePerS); known(g) == nil || g.V < 0 {
			r.GuaranteePerS = 0
		}
		if r.X.V < 0 {
			r.X = sessions.Int{}
		}
	}
	return &c
}

// meant tells whether a row of rates is of a measurement at all, so that its
// absence of a rate is news.
func (b *builder) meant(r rates.Rate) bool {
	return r.X.Known || known(r.ObservedPerS) != nil || known(r.QueuePerS) != nil || b.manifest[r.Experiment]
}

func manifest(d *table.Dataset) map[string]bool {
	out := map[string]bool{}
	for _, e := range d.Experiments {
		if e.KindBy == "manifest" && e.Kind != "capture" {
			out[e.Experiment] = true
		}
	}
	return out
}

// settings are what experiments.options says of an analysis; what is absent or
// the default is 0 or "".
type settings struct {
	Guarantee  float64 `json:"guarantee_per_s"`
	Tolerance  float64 `json:"tolerance_pct"`
	Segmenting string  `json:"segmenting"`
	QueueBy    string  `json:"queue_by"`
	Created    string  `json:"call_created"`
	Redact     bool    `json:"redact"`
	Start      string  `json:"start"`
	End        string  `json:"end"`
}

func readSettings(options string) settings {
	var s settings
	if options == "" || json.Unmarshal([]byte(options), &s) != nil {
		return settings{}
	}
	if !(s.Guarantee > 0 && s.Guarantee < 1e6) || s.Guarantee == defaultGuarantee {
		s.Guarantee = 0
	}
	if !(s.Tolerance > 0 && s.Tolerance < 100) || s.Tolerance == defaultTolerance {
		s.Tolerance = 0
	}
	return s
}

// What an analysis takes when nothing is said: per cent, and segments a second.
const defaultTolerance, defaultGuarantee = 5.0, 1.0

// tolerances are the different ones of the verdicts in per cent, the most
// common first.
func tolerances(d *table.Dataset) []float64 {
	n := map[float64]int{}
	out := []float64{}
	for i := range d.Experiments {
		t := cmp.Or(readSettings(d.Experiments[i].Options).Tolerance, defaultTolerance)
		if n[t]++; n[t] == 1 {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(x, y float64) int { return cmp.Or(cmp.Compare(n[y], n[x]), cmp.Compare(x, y)) })
	return out
}

// tolerance is the share around the promise that the page draws.
func tolerance(d *table.Dataset) float64 {
	if t := tolerances(d); len(t) > 0 {
		return t[0] / 100
	}
	return defaultTolerance / 100
}

func (b *builder) head(p *Page) {
	d := b.d
	p.Kicker = ""
	var first, last decode.Time
	for _, e := range d.Experiments {
		if e.StartedAt.Known() && (first == 0 || e.StartedAt < first) {
			first = e.StartedAt
		}
		last = max(last, e.StartedAt)
	}
	if first == 0 {
		for _, c := range d.Captures {
			if c.FirstAt.Known() && (first == 0 || c.FirstAt < first) {
				first = c.FirstAt
			}
		}
	}
	switch len(d.Experiments) {
	case 0:
	case 1:
		p.Kicker = show(d.Experiments[0].Experiment, 60)
	default:
		p.Kicker = plural(int64(len(d.Experiments)), "experiment", "experiments")
	}
	if first != 0 {
		if p.Kicker != "" {
			p.Kicker += ", "
		}
		p.Kicker += b.clock.day(first)
		if day := b.clock.day(last); last != 0 && day != b.clock.day(first) {
			p.Kicker += " to " + day
		}
	}
	kinds := map[string]bool{"calls": b.measured("calls"), "messages": b.measured("messages")}
	switch {
	case b.o.Title != "":
		p.Title = show(b.o.Title, 200)
	case kinds["calls"] && kinds["messages"]:
		p.Title = "How fast queued calls and messages left the queue"
	case kinds["calls"]:
		p.Title = "How fast queued calls left the queue"
	case kinds["messages"]:
		p.Title = "How fast queued messages left the queue"
	case len(d.Calls) == 1:
		p.Title = "What happened in this call"
	case len(d.Calls) > 0:
		p.Title = "What happened in these calls"
	case len(d.Captures) > 0:
		p.Title = "What was captured"
	default:
		p.Title = "What the inputs hold"
	}

	if !b.o.Redacted {
		numbers, addresses, sids := identities(d)
		var parts []string
		for _, x := range []struct {
			n         int
			one, many string
		}{{numbers, "phone number or client name", "phone numbers and client names"}, {addresses, "network address", "network addresses"}, {sids, "SID", "SIDs"}} {
			if x.n > 0 {
				parts = append(parts, plural(int64(x.n), x.one, x.many))
			}
		}
		if len(parts) > 0 {
			p.Banner = "This report is not redacted. It contains " + listText(parts) + "."
		}
	}

	// What the tables hold, in a line.
	add := func(n int, one, many string) {
		if n > 0 {
			p.Counts = append(p.Counts, plural(int64(n), one, many))
		}
	}
	var packets int64
	for _, c := range d.Captures {
		packets += c.Packets
	}
	add(int(packets), "packet", "packets")
	add(len(d.Calls), "call", "calls")
	add(d.Streams.Len(), "media stream", "media streams")
	add(d.Messages.Len(), "message resource", "message resources")
	add(len(d.CallResources), "call resource", "call resources")
	add(len(d.Hosts), "host", "hosts")
}

// identities counts distinct numbers (and client names), addresses and SIDs.
func identities(d *table.Dataset) (numbers, addresses, sids int) {
	num, addr, sid := newDistinct(), newDistinct(), newDistinct()
	party := func(s ...string) {
		for _, x := range s {
			if x != "" {
				num.add(x)
			}
		}
	}
	id := func(s ...string) {
		for _, x := range s {
			if len(x) == 34 && x[0] >= 'A' && x[0] <= 'Z' && x[1] >= 'A' && x[1] <= 'Z' {
				sid.add(x)
			}
		}
	}
	for i := range d.Calls {
		c := &d.Calls[i]
		party(c.From, c.To)
		id(c.CallID, c.CallSID, c.ParentCallID, c.RootCallID)
	}
	for i := range d.CallResources {
		c := &d.CallResources[i]
		party(c.From, c.To)
		id(c.SID, c.ParentCallSID, c.AccountSID)
	}
	for _, m := range d.Messages.All() {
		party(m.From, m.To)
		id(m.SID, m.AccountSID, m.MessagingServiceSID)
	}
	for i := range d.Arrivals {
		party(d.Arrivals[i].To)
		id(d.Arrivals[i].CallSID, d.Arrivals[i].CallID)
	}
	for i := range d.Hosts {
		addr.add(d.Hosts[i].Address)
	}
	for i := range d.Rates {
		id(d.Rates[i].Queue)
	}
	return len(num.seen), len(addr.seen), len(sid.seen)
}

// distinct counts different texts, of which there may be millions, by 64 bits of
// a hash. That two of a million share them has a chance of 1 in 37 million; the
// count would be one too small.
type distinct struct {
	seed maphash.Seed
	seen map[uint64]struct{}
}

func newDistinct() distinct { return distinct{maphash.MakeSeed(), map[uint64]struct{}{}} }

func (d *distinct) add(s string) { d.seen[maphash.String(d.seed, s)] = struct{}{} }

func verdictWord(v string) string {
	if v == "" {
		return "undetermined"
	}
	return show(v, 20)
}

// rowID is the anchor of a run in the tables of runs.
func rowID(r rates.Rate) string {
	return "r-" + r.Kind[:min(1, len(r.Kind))] + "-" + slug(r.Experiment) + "-" + slug(r.Queue)
}

// slug makes text fit for an id: letters, digits and -, at most 40 of them,
// and a checksum so that two texts do not meet.
func slug(s string) string {
	h := uint32(2166136261)
	var b strings.Builder
	plain := true
	for i := range len(s) {
		c := s[i]
		h = (h ^ uint32(c)) * 16777619
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c >= 'A' && c <= 'Z':
			if b.Len() < 40 {
				b.WriteByte(c)
			} else {
				plain = false
			}
		default:
			plain = false
			if b.Len() < 40 {
				b.WriteByte('-')
			}
		}
	}
	if !plain {
		b.WriteString("-" + strconv.FormatUint(uint64(h), 36))
	}
	return b.String()
}

type groupKey struct {
	kind    string
	promise float64
	x       int64
	known   bool
	sim     bool
	expect  float64
}

func ratio(v, e sessions.Float) *float64 {
	x := known(v)
	if x == nil || !e.Known || e.V <= 0 {
		return nil
	}
	*x /= e.V
	return x
}

// verdicts makes one row of each group of runs at the same x.
func (b *builder) verdicts(p *Page) {
	groups := map[groupKey][]rates.Rate{}
	var keys []groupKey
	for _, r := range b.d.Rates {
		if !b.meant(r) {
			continue
		}
		k := groupKey{r.Kind, r.GuaranteePerS, r.X.V, r.X.Known, b.sim[r.Experiment], 0}
		if r.ExpectedPerS.Known {
			k.expect = r.ExpectedPerS.V
		}
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], r)
	}
	slices.SortStableFunc(keys, func(x, y groupKey) int {
		s := func(b bool) int {
			if b {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.promise, y.promise), cmp.Compare(s(!x.known), s(!y.known)), cmp.Compare(x.x, y.x), cmp.Compare(y.expect, x.expect), cmp.Compare(s(x.sim), s(y.sim)))
	})
	var arrivals []rates.Rate // runs of the table that is being made
	tally := map[string]map[string]int{}
	made := map[string]int{} // groups of a kind that are simulated
	for n, k := range keys {
		if len(p.Groups) == 0 || k.kind != keys[n-1].kind || k.promise != keys[n-1].promise {
			by := ""
			switch groups[k][0].QueueBy {
			case "account":
				by = " for each account"
			case "from":
				by = " for each sender"
			case "service":
				by = " for each messaging service"
			}
			head := "Calls, " + short(k.promise, 3) + "/s promised" + by
			if k.kind == "messages" {
				head = "Messages, " + short(k.promise, 3) + " segment/s promised" + by
			}
			p.Groups = append(p.Groups, VerdictTable{Head: head, Rows: []VerdictRow{}})
			arrivals = nil
		}
		t := &p.Groups[len(p.Groups)-1]
		row := b.verdictRow(k, groups[k])
		if tally[k.kind] == nil {
			tally[k.kind] = map[string]int{}
		}
		tally[k.kind][row.Class]++
		if k.sim {
			made[k.kind]++
		}
		t.Rows = append(t.Rows, row)
		if k.kind == "calls" {
			arrivals = append(arrivals, groups[k]...)
			if n == len(keys)-1 || keys[n+1].kind != k.kind || keys[n+1].promise != k.promise {
				t.Latency = latencyText(arrivals)
			}
		}
	}
	for i := range p.Groups {
		g := &p.Groups[i]
		if n := len(g.Rows) - maxVerdicts; n > 0 {
			g.Rows = g.Rows[:maxVerdicts]
			g.Note = count(int64(n)) + " more in table rates."
		}
	}
	if len(p.Groups) == 0 {
		p.Lead = b.captureLead()
		return
	}
	if p.Lead = b.lead(tally, made); !b.measured("calls") && !b.measured("messages") {
		p.Lead = b.captureLead()
		return
	}
	pct := short(100*b.tol, 3) + nbsp + "%"
	p.Rule = "Brackets hold the certain interval of the rate in a run: no rate outside it fits the recorded times. Of several runs the rate is their mean and the brackets span all their intervals. A rate exceeds when its whole interval lies above the expected rate + " + pct +
		", falls below when all of it lies under " + minus + nbsp + pct + ", and meets when the lower end is at " + minus + nbsp + pct + " or higher; otherwise it is undetermined. The grey band is ±" + nbsp + pct +
		". What is said of a run holds for that run; only the sustained rate, with a 95" + nbsp + "% interval, speaks of the provider; where it is said of three runs or more together, it is what runs of this size tend to."
	if t := tolerances(b.d); len(t) > 1 {
		p.Rule += " Some verdicts were made with another tolerance than this; table experiments says which."
	}
}

const maxVerdicts = 60 // rows of one table of verdicts

// verdictOrder is that of counts of verdicts.
var verdictOrder = []string{"exceeds", "meets", "below", "undetermined"}

// together is the verdict that all have, or "mixed: 2 below, 1 undetermined".
func together(all []string) (verdict, class string) {
	n := map[string]int{}
	for _, v := range all {
		n[v]++
	}
	if len(n) == 1 {
		return all[0], all[0]
	}
	var parts []string
	for _, v := range verdictOrder {
		if n[v] > 0 {
			parts = append(parts, count(int64(n[v]))+" "+v)
			delete(n, v)
		}
	}
	rest := make([]string, 0, len(n))
	for v := range n {
		rest = append(rest, count(int64(n[v]))+" "+v)
	}
	slices.Sort(rest)
	return "mixed: " + strings.Join(append(parts, rest...), ", "), "mixed"
}

// hull is the mean of rates and the span of their intervals; an end that one
// of them lacks is lacking.
type hull struct {
	n       int
	sum     float64
	lo, hi  sessions.Float
	lacking [2]bool
}

func (h *hull) add(v, lo, hi sessions.Float) {
	x := known(v)
	if x == nil {
		return
	}
	h.n++
	h.sum += *x
	if l := known(lo); l == nil {
		h.lacking[0] = true
	} else if !h.lo.Known || *l < h.lo.V {
		h.lo = decode.Some(*l)
	}
	if u := known(hi); u == nil {
		h.lacking[1] = true
	} else if !h.hi.Known || *u > h.hi.V {
		h.hi = decode.Some(*u)
	}
}

// ends are the mean and the span.
func (h *hull) ends() (mean, lo, hi sessions.Float) {
	mean, lo, hi = decode.Some(h.sum/float64(h.n)), h.lo, h.hi
	if h.lacking[0] {
		lo = sessions.Float{}
	}
	if h.lacking[1] {
		hi = sessions.Float{}
	}
	return mean, lo, hi
}

const maxReasons = 20 // runs of one row that say why

// verdictRow is one sentence about the runs of a group.
func (b *builder) verdictRow(k groupKey, rs []rates.Rate) VerdictRow {
	row := VerdictRow{Between: "left the queue at", Href: "#" + rowID(rs[0]), Why: []Reason{}, Marks: []Mark{}}
	if k.kind == "messages" {
		row.Between = "left at"
	}
	if k.sim {
		row.Tag = "simulated"
	}
	// A row of rates that takes runs together stands for the group; its runs
	// keep their marks and reasons.
	said := rs
	n := int64(len(rs))
	for _, r := range rs {
		if r.Repeats > 1 && (len(said) > 1 || r.Repeats > said[0].Repeats) {
			said, n = []rates.Rate{r}, r.Repeats
		}
	}
	items := said[0].Items
	same := !slices.ContainsFunc(said, func(r rates.Rate) bool { return r.Items != items })
	switch {
	case k.kind == "calls" && k.known:
		row.What = plural(k.x, "call", "calls")
	case k.kind == "calls" && same:
		row.What = plural(items, "call", "calls")
	case k.kind == "calls":
		row.What = "Calls"
	default:
		row.What = "Messages"
		if same {
			row.What = plural(items, "message", "messages")
		}
		if k.known {
			row.What += " of " + plural(k.x, "byte", "bytes")
		} else {
			row.What += " of mixed sizes"
		}
	}
	if k.kind == "messages" && k.expect > 0 && k.promise > 0 {
		seg := k.promise / k.expect
		if n := int64(seg + 0.5); math.Abs(seg-float64(n)) < 0.01 {
			row.Between = "(" + plural(n, "segment", "segments") + ") left at"
		}
	}
	if n > 1 {
		row.Runs = count(n) + " runs"
	}

	var here, there hull
	var verdicts, sustained []string
	for _, r := range said {
		verdicts = append(verdicts, verdictWord(r.Verdict))
		here.add(r.ObservedPerS, r.ObservedLowPerS, r.ObservedHighPerS)
		if known(r.SustainedPerS) != nil {
			there.add(r.SustainedPerS, r.SustainedLowPerS, r.SustainedHighPerS)
			sustained = append(sustained, verdictWord(r.SustainedVerdict))
		}
	}
	row.Verdict, row.Class = together(verdicts)
	if row.Class != "undetermined" && row.Class != "mixed" {
		switch {
		case len(said) > 1:
			row.Scope = "in each run"
		case n > 1:
			row.Scope = "in these runs"
		default:
			row.Scope = "in this run"
		}
	}
	if here.n == 0 {
		row.Between = "left the queue at a rate that these data do not show"
	} else {
		v, lo, hi := here.ends()
		d := rateDecimals(lo, hi)
		row.Rate = fixed(v.V, d) + "/s"
		if lo.Known && hi.Known && hi.V-lo.V < 0.03 {
			d = 3 // the ends of a span part where its mean does not
		}
		row.Interval = interval(lo, hi, d)
	}
	for _, r := range rs {
		if m := (Mark{ratio(r.ObservedPerS, r.ExpectedPerS), ratio(r.ObservedLowPerS, r.ExpectedPerS), ratio(r.ObservedHighPerS, r.ExpectedPerS), verdictWord(r.Verdict)}); m.At != nil && len(row.Marks) < maxReasons {
			row.Marks = append(row.Marks, m)
		}
	}

	var clauses []string
	if t := burstText(k.kind, rs); t != "" {
		clauses = append(clauses, t)
	}
	if r, ok := runsTogether(said, b.tol); ok {
		v, lo, hi := r.SustainedPerS, r.SustainedLowPerS, r.SustainedHighPerS
		d, unit := rateDecimals(lo, hi), "/s"
		if k.kind == "messages" {
			unit = " segments/s"
		}
		clauses = append(clauses, "runs like these tend to "+fixed(v.V, d)+unit+" "+interval(lo, hi, d)+": "+verdictWord(r.SustainedVerdict))
		g := decode.Some(k.promise)
		row.Sustained = &Mark{ratio(v, g), ratio(lo, g), ratio(hi, g), ""}
	} else if there.n > 0 {
		v, lo, hi := there.ends()
		d, unit := rateDecimals(lo, hi), "/s"
		if k.kind == "messages" {
			unit = " segments/s"
		}
		verdict, _ := together(sustained)
		s := "sustained " + fixed(v.V, d) + unit + " " + interval(lo, hi, d)
		if there.n < len(said) {
			s += " in " + count(int64(there.n)) + " of them"
		}
		clauses = append(clauses, s+": "+verdict)
		g := decode.Some(k.promise)
		row.Sustained = &Mark{ratio(v, g), ratio(lo, g), ratio(hi, g), ""}
	}
	var notSent, failed int64
	for _, r := range said {
		notSent, failed = notSent+max(0, r.NotSent), failed+max(0, r.Failed)
	}
	if notSent > 0 {
		clauses = append(clauses, count(notSent)+" never left the queue")
	}
	if failed > 0 {
		clauses = append(clauses, count(failed)+" failed")
	}
	row.Clause = capital(strings.Join(clauses, "; "))

	any := false
	methods := []string{}
	for i, r := range rs {
		if i == maxReasons {
			row.Why = append(row.Why, Reason{Text: "The reasons of " + count(int64(len(rs)-i)) + " more stand in table rates."})
			break
		}
		w := Reason{Run: show(cmp.Or(r.Experiment, r.Queue, "this run"), 60), Href: "#" + rowID(r)}
		var parts []string
		if o := known(r.ObservedPerS); o != nil && len(rs) > 1 {
			d := rateDecimals(r.ObservedLowPerS, r.ObservedHighPerS)
			parts = append(parts, strings.TrimSpace(fixed(*o, d)+"/s "+interval(r.ObservedLowPerS, r.ObservedHighPerS, d))+", "+verdictWord(r.Verdict)+".")
		}
		if x := show(strings.TrimSpace(r.Reason), 600); x != "" {
			if x = capital(x); !strings.HasSuffix(x, ".") {
				x += "."
			}
			parts = append(parts, x)
			any = true
		}
		if m := methodText(r.Method); m != "" && known(r.SustainedPerS) != nil && !slices.Contains(methods, m) && len(methods) < 4 {
			methods = append(methods, m)
		}
		w.Text = strings.Join(parts, " ")
		any = any || w.Text != ""
		row.Why = append(row.Why, w)
	}
	if !any {
		row.Why = []Reason{}
	} else if len(methods) > 0 {
		row.Why = append(row.Why, Reason{Text: "Sustained rates are made " + listText(methods) + "."})
	}
	return row
}

// runsTogether is the row of runs of one group taken together, when three or
// more show a sustained rate so and not each has its own with a change of rate
// inside: then what runs of this size tend to would have the burst in it.
func runsTogether(rs []rates.Rate, tol float64) (rates.Rate, bool) {
	if len(rs) < 3 || !slices.ContainsFunc(rs, func(r rates.Rate) bool { return known(r.SustainedPerS) == nil || r.ChangeAt == 0 }) {
		return rates.Rate{}, false
	}
	r, ok := rates.CombineRuns(rs, rates.Options{GuaranteePerS: rs[0].GuaranteePerS, TolerancePct: 100 * tol})
	return r, ok && r.Repeats == int64(len(rs)) && known(r.SustainedPerS) != nil
}

const minBurst = 3 // a burst of no more items is not worth words

// burstText is "the first 38 calls left at once, then 0.93/s", of several runs
// with the range of each number.
func burstText(kind string, rs []rates.Rate) string {
	if slices.ContainsFunc(rs, func(r rates.Rate) bool { return r.Repeats <= 1 }) {
		rs = slices.DeleteFunc(slices.Clone(rs), func(r rates.Rate) bool { return r.Repeats > 1 })
	}
	var first, then []float64
	d := 2
	for _, r := range rs {
		b := known(r.BurstItems)
		if b == nil || *b <= minBurst {
			continue
		}
		first = append(first, *b)
		if v := known(r.SustainedPerS); v != nil {
			then = append(then, *v)
			d = max(d, rateDecimals(r.SustainedLowPerS, r.SustainedHighPerS))
		}
	}
	if len(first) == 0 {
		return ""
	}
	s := "the first " + rangeText(first, func(v float64) string { return fixed(v, 0) }) + " " + kind + " left at once"
	if len(then) > 0 {
		unit := "/s"
		if kind == "messages" {
			unit = " segments/s"
		}
		s += ", then " + rangeText(then, func(v float64) string { return fixed(v, d) }) + unit
	}
	if len(first) < len(rs) {
		s += ", in " + count(int64(len(first))) + " of " + count(int64(len(rs))) + " runs"
	}
	return s
}

// rangeText is "36 to 41", or one number where both are written alike.
func rangeText(v []float64, text func(float64) string) string {
	lo, hi := text(slices.Min(v)), text(slices.Max(v))
	if lo == hi {
		return lo
	}
	return lo + " to " + hi
}

const studyLatencyMS = 50 // what the study neglects in an arrival

// latencyText says whether the study's assumption of the network holds in
// these runs; it is empty where none shows it.
func latencyText(rs []rates.Rate) string {
	var medians []float64
	most, late, seen := 0.0, int64(0), false
	for _, r := range rs {
		p50, top := known(r.LatencyP50MS), known(r.LatencyMaxMS)
		if p50 == nil || top == nil {
			continue
		}
		medians = append(medians, *p50)
		most = max(most, *top)
		if *top >= studyLatencyMS {
			late++
			seen = seen || r.LatencyBy == "captures"
		}
	}
	n := int64(len(medians))
	if n == 0 {
		return ""
	}
	ms := func(v float64) string {
		if v < 1 {
			return short(v, 2)
		}
		return short(v, 3)
	}
	s := "The study assumed that the network adds less than " + count(studyLatencyMS) + nbsp + "ms to an arrival: here it was "
	if median := rangeText(medians, ms); median != ms(most) {
		s += median + nbsp + "ms at the median"
		if n > 1 {
			s += " of a run"
		}
		s += " and "
	}
	s += ms(most) + nbsp + "ms at most, so the assumption "
	fails := "may fail" // half a round trip is a bound, two captures are an observation
	if seen {
		fails = "fails"
	}
	switch {
	case late == 0:
		s += "holds"
	case n == 1 || late == n:
		s += fails
	default:
		return s + fails + " in " + count(late) + " of the " + plural(n, "run that shows", "runs that show") + " it."
	}
	if n > 1 {
		s += " in all " + count(n) + " runs that show it"
	} else if len(rs) > 1 {
		s += " in the one run that shows it"
	}
	return s + "."
}

func methodText(m string) string {
	switch m {
	case "":
		return ""
	case "batches":
		return "by batches of gaps"
	case "batches-after-change":
		return "by batches of gaps after the rate changed"
	case "runs":
		return "by runs"
	}
	return "by " + show(m, 30)
}

func capital(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-32) + s[1:]
	}
	return s
}

// lead says in one sentence a kind how its groups of runs came out.
func (b *builder) lead(tally map[string]map[string]int, made map[string]int) string {
	var out []string
	for _, k := range []string{"calls", "messages"} {
		t := tally[k]
		if t == nil {
			continue
		}
		n := 0
		for _, c := range t {
			n += c
		}
		sim := ""
		switch {
		case made[k] == n:
			sim = ", all simulated,"
		case made[k] > 0:
			sim = ", " + count(int64(made[k])) + " of them simulated,"
		}
		var parts []string
		for _, v := range []struct{ class, first, later string }{{"meets", "kept the promise", "kept it"}, {"exceeds", "ran ahead of the promise", "ran ahead of it"}, {"below", "fell behind the promise", "fell behind it"},
			{"undetermined", "left the promise undecided", "left it undecided"}, {"mixed", "had runs that disagree", "had runs that disagree"}} {
			c := t[v.class]
			if c == 0 {
				continue
			}
			text := v.first
			if len(parts) > 0 {
				text = v.later
			}
			if c == n {
				parts = append(parts, "all "+text)
			} else {
				parts = append(parts, count(int64(c))+" "+text)
			}
		}
		s := "Of " + count(int64(n)) + " groups of " + k + cmp.Or(sim, ",") + " " + listText(parts) + "."
		if n == 1 {
			for c := range t {
				what := map[string]string{"meets": "kept the promise", "exceeds": "ran ahead of the promise", "below": "fell behind the promise", "mixed": "had runs that disagree"}[c]
				if what == "" {
					what = "does not decide whether the promise was kept"
				}
				if sim != "" {
					what += "; it is simulated"
				}
				s = "The one size of " + k + " measured " + what + "."
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// outcomes are how a call can go, in the order of the page.
var outcomes = []struct{ name, word string }{{"answered", "answered"}, {"rejected", "rejected"}, {"busy", "busy"}, {"cancelled", "cancelled"}, {"no-answer", "not answered"}, {"ignored", "ignored"}, {"failed", "failed"},
	{"in-progress", "still in progress"}, {"", "of unknown outcome"}}

// outcomeText is "13 answered, 3 busy and 1 still in progress".
func outcomeText(calls []sessions.Call) string {
	n := map[string]int{}
	for i := range calls {
		n[outcomeOf(calls[i].Outcome)]++
	}
	var parts []string
	for _, o := range outcomes {
		if n[o.name] > 0 {
			parts = append(parts, count(int64(n[o.name]))+" "+o.word)
		}
	}
	if len(parts) == 1 && len(calls) > 1 {
		return "all " + strings.SplitN(parts[0], " ", 2)[1]
	}
	return listText(parts)
}

// outcomeOf is one of outcomes.
func outcomeOf(s string) string {
	for _, o := range outcomes {
		if o.name == s {
			return s
		}
	}
	return ""
}

// values collects times of calls that are known.
type values []float64

func (v *values) add(x sessions.Float, unit float64) {
	if f := known(x); f != nil && *f >= 0 {
		*v = append(*v, *f*unit)
	}
}

const fewest = 5 // values of which a median says more than they do themselves

// text is the values themselves, or the median with the range.
func (v values) text() string {
	if len(v) == 0 {
		return ""
	}
	slices.Sort(v)
	s := func(x float64) string { return span(nanos(x, 1)) }
	if v[0] == v[len(v)-1] {
		return s(v[0])
	}
	if len(v) >= fewest {
		return s(quantile(v, 0.5)) + " (" + s(v[0]) + " to " + s(v[len(v)-1]) + ")"
	}
	var parts []string
	for _, x := range v {
		parts = append(parts, s(x))
	}
	return listText(parts)
}

// captureLead says how the calls of a capture went.
func (b *builder) captureLead() string {
	d := b.d
	if len(d.Calls) == 0 {
		switch {
		case d.Streams.Len() > 0:
			return "No call was found in the captures; " + mediaText(&d.Streams, nil) + "."
		case len(d.Captures) > 0 && !slices.ContainsFunc(d.Captures, func(c decode.Capture) bool { return c.Packets > 0 }):
			return "No packet is in the captures."
		case len(d.Captures) > 0:
			return "No call was found in the captures."
		case d.Messages.Len() > 0:
			return "The exports hold " + plural(int64(d.Messages.Len()), "message", "messages") + "; no rate could be made of them."
		}
		return "The inputs hold no call and no message."
	}
	s := plural(int64(len(d.Calls)), "call was", "calls were") + " found: " + outcomeText(d.Calls) + "."
	if len(d.Calls) == 1 {
		s = "One call was found: " + strings.TrimPrefix(outcomeText(d.Calls), "1 ") + "."
	}
	var pdd values
	for i := range d.Calls {
		pdd.add(d.Calls[i].PostDialDelayMS, 1e6)
	}
	switch {
	case len(pdd) >= fewest:
		s += " The median post-dial delay was " + pdd.text() + "."
	case len(pdd) > 1 && pdd.text() == span(nanos(pdd[0], 1)):
		s += " The post-dial delay was " + pdd.text() + " each time."
	case len(pdd) > 1:
		s += " The post-dial delays were " + pdd.text() + "."
	case len(pdd) == 1:
		s += " The post-dial delay was " + pdd.text() + "."
	}
	if d.Streams.Len() > 0 {
		s += " " + capital(mediaText(&d.Streams, nil)) + "."
	}
	return s
}

// mediaText is "10 media streams lost 3 of 4 000 packets (0.075 %)", of these
// experiments only unless that is nil; "" without a stream.
func mediaText(ss *sessions.Streams, only map[string]bool) string {
	var n, lost, expected int64
	for _, s := range ss.AllTo("Lost") {
		if only == nil || only[s.Experiment] {
			n, lost, expected = n+1, lost+max(0, s.Lost), expected+max(0, s.Expected)
		}
	}
	if n == 0 {
		return ""
	}
	s := plural(n, "media stream", "media streams") + " lost "
	if lost == 0 {
		return s + "none of " + plural(expected, "packet", "packets")
	}
	s += count(lost) + " of " + plural(expected, "packet", "packets")
	if expected > 0 {
		s += " (" + percent(lost, expected) + ")"
	}
	return s
}

// captured says of the captures that are no measurement of a queue what
// happened in them: in a line beside verdicts, else as a table of outcomes.
func (b *builder) captured(p *Page) {
	d := b.d
	if len(p.Groups) == 0 {
		p.Outcomes = b.outcomeTable()
		return
	}
	meant := map[string]bool{}
	for _, r := range d.Rates {
		if b.meant(r) {
			meant[r.Experiment] = true
		}
	}
	only := map[string]bool{}
	for i := range d.Captures {
		if e := d.Captures[i].Experiment; !meant[e] {
			only[e] = true
		}
	}
	if len(only) == 0 {
		return
	}
	calls := []sessions.Call{}
	for i := range d.Calls {
		if only[d.Calls[i].Experiment] {
			calls = append(calls, d.Calls[i])
		}
	}
	media := mediaText(&d.Streams, only)
	p.Captured = plural(int64(len(only)), "capture", "captures") + " without a queue: "
	switch {
	case len(calls) == 0 && media == "":
		p.Captured += "no call and no media."
		return
	case len(calls) == 0:
		p.Captured += "no call; " + media + "."
		return
	}
	p.Captured += plural(int64(len(calls)), "call", "calls") + " (" + outcomeText(calls) + ")"
	if media != "" {
		p.Captured += "; " + media
	}
	p.Captured += "."
}

// outcomeTable is how long the calls of each outcome took, and what they lost.
func (b *builder) outcomeTable() *Table {
	d := b.d
	if len(d.Calls) < 2 {
		return nil
	}
	type sum struct {
		calls, streams  int64
		pdd, ring, took values
		lost, expected  int64
	}
	by, of := map[string]*sum{}, map[[2]string]string{}
	for i := range d.Calls {
		c := &d.Calls[i]
		o := outcomeOf(c.Outcome)
		if by[o] == nil {
			by[o] = &sum{}
		}
		s := by[o]
		s.calls++
		s.pdd.add(c.PostDialDelayMS, 1e6)
		s.ring.add(c.RingMS, 1e6)
		s.took.add(c.DurationS, 1e9)
		of[[2]string{c.Experiment, c.CallID}] = o
	}
	for _, x := range d.Streams.AllTo("Lost") {
		o, ok := of[[2]string{x.Experiment, x.CallID}]
		if !ok || x.CallID == "" {
			continue
		}
		by[o].streams++
		by[o].lost += max(0, x.Lost)
		by[o].expected += max(0, x.Expected)
	}
	t := &Table{ID: "outcomes", Label: "Outcomes of the calls", Rows: []Row{}, Cols: []Col{{Name: "Outcome"}, {Name: "Calls", Num: true}, {Name: "Post-dial delay"}, {Name: "Rang"}, {Name: "Lasted"}, {Name: "Media streams", Num: true}, {"Lost", "packets", true}}}
	many, told := false, false
	for _, o := range outcomes {
		s := by[o.name]
		if s == nil {
			continue
		}
		many = many || max(len(s.pdd), len(s.ring), len(s.took)) >= fewest
		told = told || len(s.ring)+len(s.took) > 0
		streams, lost := "", ""
		if s.streams > 0 {
			streams, lost = count(s.streams), count(s.lost)+" of "+count(s.expected)
		}
		t.Rows = append(t.Rows, Row{Cells: []Cell{{Text: capital(o.word), Class: "nw"}, {Text: count(s.calls)}, {Text: s.pdd.text()}, {Text: s.ring.text()}, {Text: s.took.text()}, {Text: streams}, {Text: lost}}})
	}
	if len(t.Rows) == 1 && !told {
		return nil // the lead has said it all
	}
	if many {
		t.More = "From " + strconv.Itoa(fewest) + " calls on, a time is the median, with the shortest and the longest."
	}
	return t
}

// damage collects what was damaged, lost or refused.
func (b *builder) damage(p *Page) {
	d := b.d
	const most = 20
	more := 0
	add := func(name, text string) {
		for _, x := range p.Damaged {
			if x.Name == name && x.Text == text {
				return
			}
		}
		if len(p.Damaged) >= most {
			more++
			return
		}
		p.Damaged = append(p.Damaged, Item{name, text})
	}
	many := len(d.Experiments) > 1
	name := func(exp, file string) string {
		return fileName(many, exp, file)
	}
	whole := 0
	for _, x := range d.Inputs {
		if x.Problem != "" {
			add(name(x.Experiment, x.File), show(x.Problem, 400))
		} else {
			whole++
		}
	}
	for _, x := range d.Captures {
		if x.Problem != "" {
			found := slices.ContainsFunc(d.Inputs, func(i decode.Input) bool {
				return i.Experiment == x.Experiment && i.File == x.File && i.Problem != ""
			})
			if !found {
				add(name(x.Experiment, x.File), show(x.Problem, 400))
			}
		}
		if x.DroppedPackets.Known && x.DroppedPackets.V > 0 {
			add(name(x.Experiment, x.File), plural(x.DroppedPackets.V, "packet was", "packets were")+" dropped by the capturing host, by its own count; they are missing here.")
		}
	}
	for _, e := range d.Experiments {
		if e.Problem != "" {
			// It repeats what its first damaged input says.
			told := slices.ContainsFunc(d.Inputs, func(i decode.Input) bool {
				return i.Experiment == e.Experiment && i.Problem != "" && strings.Contains(e.Problem, i.Problem)
			})
			if !told {
				add(show(cmp.Or(e.Experiment, "this experiment"), 80), show(e.Problem, 400))
			}
		}
	}
	if len(p.Damaged) > 0 {
		if whole > 0 {
			p.DamagedEnd = plural(int64(whole), "other input was", "other inputs were") + " read whole."
		}
		if more > 0 {
			p.DamagedEnd = count(int64(more)) + " more in tables inputs and captures. " + p.DamagedEnd
		}
	}

	// The ledger of frames, else of resources.
	var packets int64
	for _, c := range d.Captures {
		packets += c.Packets
	}
	for _, layer := range []string{"frame", "resource"} {
		var in, used, refused int64
		by := map[string]int64{}
		for _, l := range d.Ledger {
			if l.Layer != layer {
				continue
			}
			in += l.Count
			if l.Reason == "used" {
				used += l.Count
			} else {
				refused += l.Count
				by[l.Reason] += l.Count
			}
		}
		if in == 0 {
			continue
		}
		s := plural(in, layer, layer+"s") + " in, all accounted for: " + count(used) + " used"
		if refused > 0 {
			names := make([]string, 0, len(by))
			for r := range by {
				names = append(names, r)
			}
			slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(by[y], by[x]), cmp.Compare(x, y)) })
			var parts []string
			for i, r := range names {
				if i == 5 {
					parts = append(parts, plural(int64(len(names)-5), "other reason", "other reasons"))
					break
				}
				parts = append(parts, count(by[r])+" "+show(r, 60))
			}
			s += ", " + count(refused) + " not (" + strings.Join(parts, "; ") + ")"
		}
		if layer == "frame" && packets > 0 && packets != in {
			s = "The captures hold " + plural(packets, "packet", "packets") + " and the ledger accounts for " + count(in) + ": they do not balance, which is a fault of the program"
			p.LedgerBad = true
		}
		if p.Ledger != "" {
			p.Ledger += " "
		}
		p.Ledger += s + "."
	}
	if p.Ledger != "" {
		p.Ledger = "Ledger: " + p.Ledger
	}
}

// fileName is a file's, with its experiment where there are several and the
// name does not say it already.
func fileName(many bool, exp, file string) string {
	if many && exp != "" && !strings.HasPrefix(file, exp+"/") {
		return show(exp, 60) + "/" + show(file, 80)
	}
	return show(file, 120)
}

// runs is the table of all rows of rates of one kind.
func (b *builder) runs(kind string) *Table {
	var rs []rates.Rate
	for _, r := range b.d.Rates {
		if r.Kind == kind && b.meant(r) {
			rs = append(rs, r)
		}
	}
	if len(rs) == 0 {
		return nil
	}
	first := func(b bool) int {
		if b {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(rs, func(x, y rates.Rate) int {
		return cmp.Or(cmp.Compare(x.GuaranteePerS, y.GuaranteePerS), cmp.Compare(first(x.X.Known), first(y.X.Known)), cmp.Compare(x.X.V, y.X.V), cmp.Compare(y.ExpectedPerS.V, x.ExpectedPerS.V),
			cmp.Compare(first(!b.sim[x.Experiment]), first(!b.sim[y.Experiment])), cmp.Compare(x.Experiment, y.Experiment), cmp.Compare(x.Queue, y.Queue))
	})
	const unit = "/s"
	t := &Table{ID: "runs-" + kind, Title: "Runs, " + kind, Label: "Runs of " + kind, Rows: []Row{}, Cols: []Col{{Name: "Run"}, {Name: "Verdict"}, {Name: "Calls", Num: true}}}
	if kind == "messages" {
		t.Cols[2] = Col{"Body", "bytes", true}
	}
	ordered := true // in every run, each item left in the order in which it was queued
	has := struct{ queue, sus, fifo, wait bool }{}
	queues := map[string]int{} // rows of one experiment
	d := 2                     // decimals of the observed rate
	var qd, ed, wd decimals
	for _, r := range rs {
		has.queue = has.queue || r.QueuePerS.Known
		has.sus = has.sus || r.SustainedPerS.Known
		has.fifo = has.fifo || r.FIFOInversions.V > 0
		ordered = ordered && r.FIFOInversions.Known
		has.wait = has.wait || r.WaitP50S.Known
		queues[r.Experiment]++
		d = max(d, tableDecimals(r))
		qd.see(r.QueuePerS, 3, 2)
		ed.see(r.ExpectedPerS, 3, 3)
		wd.see(r.WaitP50S, 3, 1)
	}
	t.Cols = append(t.Cols, Col{Name: "Seen", Unit: "items", Num: true})
	if has.queue {
		t.Cols = append(t.Cols, Col{"Queued", unit, true})
	}
	// What is the same in every run stands in the title.
	one := !slices.ContainsFunc(rs, func(r rates.Rate) bool { return r.ExpectedPerS != rs[0].ExpectedPerS })
	if e := known(rs[0].ExpectedPerS); one && e != nil {
		t.Title += ": " + short(*e, 3) + "/s expected"
	} else {
		t.Cols = append(t.Cols, Col{"Expected", unit, true})
	}
	t.Cols = append(t.Cols, Col{"Observed", unit, true}, Col{"In this run", unit, true})
	sus := Col{"Sustained", "95" + nbsp + "%, /s", true}
	if kind == "messages" {
		sus.Unit = "95" + nbsp + "%, segm./s"
	}
	if has.sus {
		t.Cols = append(t.Cols, sus)
	}
	if has.wait {
		t.Cols = append(t.Cols, Col{"Wait", "median, s", true})
	}
	if has.fifo {
		t.Cols = append(t.Cols, Col{Name: "Inversions", Num: true})
	}
	anySim := len(b.sim) > 0
	if anySim {
		t.Cols = append(t.Cols, Col{Name: "Source"})
	}
	for n, r := range rs {
		if n == maxRows {
			t.More = count(int64(len(rs)-maxRows)) + " more in table rates."
			break
		}
		name := show(cmp.Or(r.Experiment, "this run"), 50)
		if queues[r.Experiment] > 1 {
			name += ", " + show(r.Queue, 24)
		}
		v := verdictWord(r.Verdict)
		cells := []Cell{{Text: name, Class: cmp.Or(unbroken(name), "name")}, {Text: v, Class: verdictClass(v)}, {Text: optCount(r.X)}, {Text: count(r.Items)}}
		if has.queue {
			cells = append(cells, Cell{Text: optFixed(r.QueuePerS, int(qd))})
		}
		iv := ""
		if r.ObservedLowPerS.Known {
			iv = fixed(r.ObservedLowPerS.V, d) + dash + optFixed(r.ObservedHighPerS, d)
			if !r.ObservedHighPerS.Known {
				iv = fixed(r.ObservedLowPerS.V, d) + " or more"
			}
		}
		if !one || known(r.ExpectedPerS) == nil {
			cells = append(cells, Cell{Text: optFixed(r.ExpectedPerS, int(ed))})
		}
		cells = append(cells, Cell{Text: optFixed(r.ObservedPerS, d)}, Cell{Text: iv})
		if has.sus {
			s := ""
			if r.SustainedLowPerS.Known && r.SustainedHighPerS.Known {
				s = fixed(r.SustainedLowPerS.V, 3) + dash + fixed(r.SustainedHighPerS.V, 3)
			}
			cells = append(cells, Cell{Text: s})
		}
		if has.wait {
			cells = append(cells, Cell{Text: optFixed(r.WaitP50S, int(wd))})
		}
		if has.fifo {
			cells = append(cells, Cell{Text: optCount(r.FIFOInversions)})
		}
		if anySim {
			if b.sim[r.Experiment] {
				cells = append(cells, Cell{Tag: "simulated"})
			} else {
				cells = append(cells, Cell{Text: "measured", Class: "nw"})
			}
		}
		t.Rows = append(t.Rows, Row{ID: rowID(r), Cells: cells})
	}
	if ordered && !has.fifo {
		t.More = strings.TrimSpace(t.More + " In no run did one overtake another.")
	}
	return t
}

// decimals are those of a column: as many as its values need for their
// significant digits, so that the points of all stand one below the other.
type decimals int

func (d *decimals) see(v sessions.Float, digits, most int) {
	if known(v) == nil {
		return
	}
	_, frac, _ := strings.Cut(short(v.V, digits), ".")
	*d = decimals(max(int(*d), min(len(frac), most)))
}

// tableDecimals is one digit more than a sentence has, where it says something.
func tableDecimals(r rates.Rate) int {
	if lo, hi := r.ObservedLowPerS, r.ObservedHighPerS; lo.Known && hi.Known && hi.V-lo.V < 0.1 {
		return 3
	}
	return 2
}

// unbroken keeps a short name on one line.
func unbroken(s string) string {
	if utf8.RuneCountInString(s) <= 24 {
		return "nw"
	}
	return ""
}

func verdictClass(v string) string {
	switch v {
	case "below", "meets", "exceeds":
		return "v v-" + v
	}
	return "v v-undetermined"
}

// knownBy says how a host's name, else its provider, is known; what it spoke
// tells its roles.
func knownBy(h *sessions.Host) string {
	by := slices.Clone(h.NamesBy)
	for i, x := range by {
		by[i] = map[string]string{"dns": "DNS", "sni": "TLS server name", "http-host": "HTTP Host", "certificate": "certificate"}[x]
		if by[i] == "" {
			by[i] = show(x, 20)
		}
	}
	if h.ProviderBy == "range" {
		by = append(by, "address range")
	}
	if len(by) == 0 {
		return "traffic"
	}
	return strings.Join(by, ", ")
}

func (b *builder) hosts() *Table {
	hs := slices.Clone(b.d.Hosts)
	if len(hs) == 0 {
		return nil
	}
	// The same address of several experiments is one row here.
	type key struct{ a string }
	at := map[key]int{}
	var all []sessions.Host
	for _, h := range hs {
		k := key{h.Address}
		i, ok := at[k]
		if !ok {
			at[k] = len(all)
			h.Names, h.NamesBy, h.Roles, h.Ports = slices.Clone(h.Names), slices.Compact(slices.Sorted(slices.Values(h.NamesBy))), slices.Clone(h.Roles), slices.Clone(h.Ports)
			all = append(all, h)
			continue
		}
		t := &all[i]
		t.PacketsIn += h.PacketsIn
		t.PacketsOut += h.PacketsOut
		t.BytesIn += h.BytesIn
		t.BytesOut += h.BytesOut
		for _, x := range h.Names {
			if len(t.Names) < 20 && !slices.Contains(t.Names, x) {
				t.Names = append(t.Names, x)
			}
		}
		for _, x := range h.Roles {
			if !slices.Contains(t.Roles, x) {
				t.Roles = append(t.Roles, x)
			}
		}
		for _, x := range h.Ports {
			if len(t.Ports) < 20 && !slices.Contains(t.Ports, x) {
				t.Ports = append(t.Ports, x)
			}
		}
		t.Provider, t.ProviderBy = cmp.Or(t.Provider, h.Provider), cmp.Or(t.ProviderBy, h.ProviderBy)
		for _, x := range h.NamesBy {
			if !slices.Contains(t.NamesBy, x) {
				t.NamesBy = append(t.NamesBy, x)
			}
		}
	}
	slices.SortStableFunc(all, func(x, y sessions.Host) int {
		return cmp.Or(cmp.Compare(roleRank[mainRole(x.Roles)], roleRank[mainRole(y.Roles)]), cmp.Compare(y.BytesIn+y.BytesOut, x.BytesIn+x.BytesOut), cmp.Compare(x.Address, y.Address))
	})
	t := &Table{ID: "hosts-table", Label: "Hosts", Rows: []Row{}, Cols: []Col{{Name: "Host"}, {Name: "Name"}, {Name: "Known by"}, {Name: "Roles"}, {Name: "Ports"}, {"In", "packets", true}, {"Out", "packets", true}, {"In", "bytes", true}, {"Out", "bytes", true}}}
	for n, h := range all {
		if n == maxRows {
			t.More = count(int64(len(all)-maxRows)) + " more in table hosts."
			break
		}
		name := ""
		if len(h.Names) > 0 {
			name = show(h.Names[0], 48)
			if len(h.Names) > 1 {
				name += " and " + count(int64(len(h.Names)-1)) + " more"
			}
		}
		if h.Provider != "" {
			if name != "" {
				name += ", "
			}
			name += show(h.Provider, 24)
		}
		ports := show(strings.Join(h.Ports[:min(3, len(h.Ports))], ", "), 60)
		if len(h.Ports) > 3 {
			ports += ", …"
		}
		t.Rows = append(t.Rows, Row{Cells: []Cell{{Text: show(h.Address, 45), Class: "mono " + unbroken(h.Address)}, {Text: name}, {Text: knownBy(&h)}, {Text: show(strings.Join(h.Roles, ", "), 60)}, {Text: ports},
			{Text: count(h.PacketsIn)}, {Text: count(h.PacketsOut)}, {Text: count(h.BytesIn)}, {Text: count(h.BytesOut)}}})
	}
	return t
}

func (b *builder) streams(p *Page) *Table {
	ss := &b.d.Streams
	if ss.Len() == 0 {
		return nil
	}
	var mos, sdk, rtt, enc bool
	var lost, expected int64
	keyless := 0
	var mean, most, trip decimals
	type rank struct {
		i            int
		lost, jitter float64
	}
	order := make([]rank, 0, ss.Len())
	for i, s := range ss.All() {
		order = append(order, rank{i, s.LostPct.V, s.JitterMeanMS.V})
		mean.see(s.JitterMeanMS, 2, 3)
		most.see(s.JitterMaxMS, 2, 3)
		trip.see(s.RTCPRTTms, 3, 2)
		mos, sdk, rtt, enc = mos || s.MOS.Known, sdk || s.MOSSDK.Known, rtt || s.RTCPRTTms.Known, enc || s.Encrypted
		lost += s.Lost
		expected += s.Expected
		if s.Encrypted && !s.Decrypted {
			keyless++
		}
	}
	t := &Table{ID: "streams-table", Label: "Media streams", Rows: []Row{}, Cols: []Col{{Name: "Stream"}, {Name: "Codec"}, {"Began", "UTC", false}, {"Length", "s", true}, {"Packets", "", true}, {"Lost", "", true}, {"Lost", "%", true}, {"Jitter", "mean, ms", true}, {"Jitter", "max, ms", true}, {"Longest gap", "ms", true}}}
	if b.clock.zone != nil {
		t.Cols[2].Unit = ""
	}
	if mos {
		t.Cols = append(t.Cols, Col{"MOS", "", true})
	}
	if sdk {
		t.Cols = append(t.Cols, Col{"MOS", "client", true})
	}
	if rtt {
		t.Cols = append(t.Cols, Col{"Round trip", "RTCP, ms", true})
	}
	// The worst stand first: share lost, then jitter; a page holds 200.
	if len(order) > maxRows {
		slices.SortStableFunc(order, func(x, y rank) int {
			return cmp.Or(cmp.Compare(y.lost, x.lost), cmp.Compare(y.jitter, x.jitter))
		})
		t.More = "The " + strconv.Itoa(maxRows) + " with most loss; " + count(int64(len(order)-maxRows)) + " more in table streams."
		order = order[:maxRows]
	}
	for _, o := range order {
		s := ss.At(o.i)
		codec := show(s.Codec, 24)
		if s.Encrypted {
			if codec != "" {
				codec += ", "
			}
			codec += "SRTP"
			if !s.Decrypted {
				codec += " without key"
			}
		}
		cell := func(v sessions.Float, d decimals, bad float64) Cell {
			c := Cell{Text: optFixed(v, int(d))}
			if v.Known && v.V > bad {
				c.Class = "bad"
			}
			return c
		}
		row := []Cell{{Text: endpoint(s.Src, sessions.Uint{V: s.SrcPort, Known: true}) + " → " + endpoint(s.Dst, sessions.Uint{V: s.DstPort, Known: true}), Class: "mono"},
			{Text: codec}, {Text: b.clock.at(s.FirstAt, "15:04:05.000"), Class: "nw"}, {Text: fixed(float64(s.LastAt-s.FirstAt)/1e9, 1)}, {Text: count(s.Packets)}, {Text: count(s.Lost)}, cell(s.LostPct, 2, 1), cell(s.JitterMeanMS, mean, 30), {Text: optFixed(s.JitterMaxMS, int(most))}, {Text: optFixed(s.DeltaMaxMS, 0)}}
		if mos {
			row = append(row, Cell{Text: optFixed(s.MOS, 2)})
		}
		if sdk {
			row = append(row, Cell{Text: optFixed(s.MOSSDK, 2)})
		}
		if rtt {
			row = append(row, Cell{Text: optFixed(s.RTCPRTTms, int(trip))})
		}
		t.Rows = append(t.Rows, Row{Cells: row})
	}
	p.MediaNote = plural(int64(ss.Len()), "stream", "streams") + ", " + count(lost) + " of " + plural(expected, "packet", "packets") + " lost"
	if lost > 0 && expected > 0 {
		p.MediaNote += " (" + percent(lost, expected) + ")"
	}
	p.MediaNote += ". Red marks a loss above 1" + nbsp + "% and a mean jitter above 30" + nbsp + "ms. Jitter is that of RFC 3550, 6.4.1."
	if mos {
		methods := []string{}
		for _, s := range ss.AllTo("MOSMethod") {
			if m := show(s.MOSMethod, 60); m != "" && !slices.Contains(methods, m) && len(methods) < 4 {
				methods = append(methods, m)
			}
		}
		slices.Sort(methods)
		if len(methods) > 0 {
			p.MediaNote += " MOS by " + listText(methods) + "."
		}
	}
	if keyless > 0 {
		p.MediaNote += " Of " + plural(int64(keyless), "encrypted stream", "encrypted streams") + " no key was given: loss and jitter are read off the headers."
	}
	return t
}

var severityRank = map[string]int{"error": 0, "warn": 1, "info": 2, "": 3}

func (b *builder) oddities(p *Page) {
	by := map[string][]sessions.Oddity{}
	var rules []string
	for _, o := range b.d.Oddities {
		if by[o.Rule] == nil {
			rules = append(rules, o.Rule)
		}
		by[o.Rule] = append(by[o.Rule], o)
	}
	worst := func(r string) int {
		w := 9
		for _, o := range by[r] {
			w = min(w, severityRank[o.Severity])
		}
		return w
	}
	slices.SortFunc(rules, func(x, y string) int { return cmp.Or(cmp.Compare(worst(x), worst(y)), cmp.Compare(x, y)) })
	const most = 8
	for _, r := range rules {
		g := OddityGroup{Rule: show(r, 60), Items: []Oddity{}}
		switch worst(r) {
		case 0:
			g.Severity = "error"
		case 1:
			g.Severity = "warning"
		default:
			g.Severity = "note"
		}
		if len(by[r]) > 1 {
			g.Count = count(int64(len(by[r]))) + " times"
		}
		for n, o := range by[r] {
			if n == most {
				g.More = count(int64(len(by[r])-most)) + " more in table oddities."
				break
			}
			x := Oddity{Text: capital(show(o.Text, 600)), Subject: show(o.Subject, 80), Filter: show(o.WiresharkFilter, 200)}
			var ev []string
			if len(b.d.Experiments) > 1 && o.Experiment != "" {
				ev = append(ev, show(o.Experiment, 60))
			}
			if o.File != "" {
				ev = append(ev, show(o.File, 80))
			}
			if o.Frame.Known {
				ev = append(ev, "frame "+count(o.Frame.V))
			}
			if o.At.Known() {
				ev = append(ev, b.clock.full(o.At))
			}
			x.Evidence = strings.Join(ev, ", ")
			g.Items = append(g.Items, x)
		}
		p.Oddities = append(p.Oddities, g)
	}
}

func (b *builder) provenance(p *Page) {
	d := b.d
	fact := func(name, text string) {
		if text != "" {
			p.Facts = append(p.Facts, Item{name, text})
		}
	}
	distinct := func(get func(e *table.Experiment) string) string {
		var out []string
		more := 0
		for i := range d.Experiments {
			if s := show(get(&d.Experiments[i]), 300); s != "" && s != "{}" && !slices.Contains(out, s) {
				if len(out) == 5 {
					more++
					continue
				}
				out = append(out, s)
			}
		}
		s := strings.Join(out, "; ")
		if more > 0 {
			s += "; and " + count(int64(more)) + " more in table experiments"
		}
		return s
	}
	fact("Program", func() string {
		v := distinct(func(e *table.Experiment) string { return e.ProgramVersion })
		if v == "" {
			return ""
		}
		return "twtrace " + v + ", analysis version " + distinct(func(e *table.Experiment) string {
			if e.AnalysisVersion == 0 {
				return "unknown"
			}
			return strconv.FormatInt(e.AnalysisVersion, 10)
		})
	}())
	if len(d.Rates) > 0 {
		fact("Promise", distinct(func(e *table.Experiment) string {
			if g := known(e.GuaranteePerS); g != nil {
				return short(*g, 4) + "/s"
			}
			return ""
		}))
		fact("Tolerance", distinct(func(e *table.Experiment) string {
			return short(cmp.Or(readSettings(e.Options).Tolerance, defaultTolerance), 4) + nbsp + "%"
		}))
	}
	fact("Options", distinct(func(e *table.Experiment) string { return e.Options }))
	fact("Labels", distinct(func(e *table.Experiment) string { return e.Labels }))
	zone := "UTC"
	if b.o.Zone != nil {
		zone = show(b.o.Zone.String(), 60) + " (tables hold UTC)"
	}
	fact("Times", "shown in "+zone)
	if n := len(b.sim); n > 0 {
		names := []string{}
		for e := range b.sim {
			names = append(names, show(e, 60))
		}
		slices.Sort(names)
		if len(names) > 8 {
			names = append(names[:8], count(int64(n-8))+" more")
		}
		fact("Simulated", listText(names)+": made by a seeded program, not measured")
	}
	if b.o.Redacted {
		fact("Redaction", "numbers, addresses, SIDs and names are stable pseudonyms")
	}

	many := len(d.Experiments) > 1
	if many {
		t := Table{ID: "experiments-table", Title: "Experiments", Label: "Experiments", Rows: []Row{}, Cols: []Col{{Name: "Experiment"}, {Name: "Kind"}, {Name: "x", Num: true}, {Name: "Known by"}, {Name: "Began"}, {Name: "Ended"}, {Name: "Source"}}}
		for n, e := range d.Experiments {
			if n == maxRows {
				t.More = count(int64(len(d.Experiments)-maxRows)) + " more in table experiments."
				break
			}
			src := Cell{Text: "measured", Class: "nw"}
			if b.sim[e.Experiment] {
				src = Cell{Tag: "simulated"}
			}
			t.Rows = append(t.Rows, Row{Cells: []Cell{{Text: show(e.Experiment, 60), Class: unbroken(e.Experiment)}, {Text: show(e.Kind, 20)}, {Text: optCount(e.X)}, {Text: show(e.KindBy, 20)}, {Text: b.clock.second(e.StartedAt)}, {Text: b.clock.second(e.EndedAt)}, src}})
		}
		p.Provenance = append(p.Provenance, t)
	} else if len(d.Experiments) == 1 {
		e := &d.Experiments[0]
		if e.StartedAt.Known() {
			fact("Evidence", b.clock.full(e.StartedAt)+" to "+b.clock.full(e.EndedAt))
		}
	}
	file := func(exp, f string) Cell {
		return Cell{Text: fileName(many, exp, f)}
	}
	if len(d.Inputs) > 0 {
		t := Table{ID: "inputs-table", Title: "Inputs", Label: "Inputs", Rows: []Row{}, Cols: []Col{{Name: "File"}, {Name: "Kind"}, {"Size", "bytes", true}, {Name: "Records", Num: true}, {Name: "Used", Num: true}, {Name: "SHA-256"}}}
		for n, x := range d.Inputs {
			if n == maxRows {
				t.More = count(int64(len(d.Inputs)-maxRows)) + " more in table inputs."
				break
			}
			t.Rows = append(t.Rows, Row{Cells: []Cell{file(x.Experiment, x.File), {Text: show(x.Kind, 20)}, {Text: count(x.Bytes)}, {Text: count(x.Records)}, {Text: count(x.Used)}, {Text: show(x.SHA256, 64), Class: "mono hash"}}})
		}
		p.Provenance = append(p.Provenance, t)
	}
	if len(d.Captures) > 0 {
		t := Table{ID: "captures-table", Title: "Captures", Label: "Captures", Rows: []Row{}, Cols: []Col{{Name: "File"}, {Name: "Format"}, {Name: "Link"}, {"Packets", "", true}, {"Size", "bytes", true}, {"Cut", "packets", true}, {"Copies", "packets", true}, {"Dropped", "packets", true}, {Name: "From"}, {"Length", "s", true}, {"TLS read", "sessions", true}}}
		for n, x := range d.Captures {
			if n == maxRows {
				t.More = count(int64(len(d.Captures)-maxRows)) + " more in table captures."
				break
			}
			format := show(x.Format, 12)
			if x.Compression != "" && x.Compression != "none" {
				format += ", " + show(x.Compression, 12)
			}
			tls := ""
			if x.TLSSessions > 0 {
				tls = count(x.TLSDecrypted) + " of " + count(x.TLSSessions)
			}
			length := ""
			if x.FirstAt.Known() && x.LastAt.Known() {
				length = fixed(float64(x.LastAt-x.FirstAt)/1e9, 1)
			}
			t.Rows = append(t.Rows, Row{Cells: []Cell{file(x.Experiment, x.File), {Text: format}, {Text: show(strings.Join(x.LinkTypes, ", "), 40)}, {Text: count(x.Packets)}, {Text: count(x.Bytes)}, {Text: count(x.TruncatedPackets)}, {Text: count(x.DuplicatePackets)}, {Text: optCount(x.DroppedPackets)}, {Text: b.clock.full(x.FirstAt)}, {Text: length}, {Text: tls}}})
		}
		p.Provenance = append(p.Provenance, t)
	}
	if len(d.Clocks) > 0 {
		t := Table{ID: "clocks-table", Title: "Clocks, against the capture's", Label: "Clocks", Rows: []Row{}, Cols: []Col{{Name: "Host"}, {Name: "Learned from"}, {Name: "Observations", Num: true}, {"Offset", "from, ms", true}, {"Offset", "to, ms", true}, {"Drift", "ppm", true}}}
		for n, x := range d.Clocks {
			if n == maxRows {
				t.More = count(int64(len(d.Clocks)-maxRows)) + " more in table clocks."
				break
			}
			t.Rows = append(t.Rows, Row{Cells: []Cell{{Text: show(x.Host, 60)}, {Text: show(x.By, 20)}, {Text: count(x.Samples)}, {Text: optFixed(x.OffsetLowMS, 1)}, {Text: optFixed(x.OffsetHighMS, 1)}, {Text: optFixed(x.DriftPPM, 1)}}})
		}
		p.Provenance = append(p.Provenance, t)
	}
	if len(d.Ledger) > 0 {
		type key struct{ layer, reason string }
		sum := map[key][2]int64{}
		var keys []key
		layers := []string{}
		for _, l := range d.Ledger {
			k := key{l.Layer, l.Reason}
			if _, ok := sum[k]; !ok {
				keys = append(keys, k)
			}
			if !slices.Contains(layers, l.Layer) && len(layers) < 64 {
				layers = append(layers, l.Layer)
			}
			s := sum[k]
			sum[k] = [2]int64{s[0] + l.Count, s[1] + l.Bytes}
		}
		order := []string{"input", "frame", "ip", "udp", "tcp", "tls", "dtls", "srtp", "http", "websocket", "pstream", "sip", "rtp", "rtcp", "stun", "dns", "resource", "queue-log", "keylog"}
		slices.SortStableFunc(keys, func(x, y key) int {
			rank := func(s string) int {
				if i := slices.Index(order, s); i >= 0 {
					return i
				}
				return len(order)
			}
			used := func(s string) int {
				if s == "used" {
					return 0
				}
				return 1
			}
			return cmp.Or(cmp.Compare(rank(x.layer), rank(y.layer)), cmp.Compare(x.layer, y.layer), cmp.Compare(used(x.reason), used(y.reason)), cmp.Compare(sum[y][0], sum[x][0]), cmp.Compare(x.reason, y.reason))
		})
		t := Table{ID: "ledger-table", Title: "Ledger: what came in, and what became of it", Label: "Ledger", Rows: []Row{}, Cols: []Col{{Name: "Layer"}, {Name: "Used, or why not"}, {Name: "Count", Num: true}, {"Size", "bytes", true}}}
		for n, k := range keys {
			if n == maxRows {
				t.More = count(int64(len(keys)-maxRows)) + " more in table ledger."
				break
			}
			layer := show(k.layer, 20)
			if n > 0 && keys[n-1].layer == k.layer {
				layer = ""
			}
			t.Rows = append(t.Rows, Row{Cells: []Cell{{Text: layer}, {Text: show(k.reason, 100)}, {Text: count(sum[k][0])}, {Text: count(sum[k][1])}}})
		}
		p.Provenance = append(p.Provenance, t)
	}

	inferred := 0
	for _, e := range d.Experiments {
		if e.KindBy == "inferred" {
			inferred++
		}
	}
	if inferred > 0 && len(d.Rates) > 0 {
		p.Assumed = append(p.Assumed, "Kind, x and endpoint of "+plural(int64(inferred), "experiment", "experiments")+" were inferred from the content; no manifest said so.")
	}
	if len(d.Rates) > 0 {
		p.Assumed = append(p.Assumed, "The promise counts segments a second and holds for each queue.")
		for _, r := range d.Rates {
			if r.Kind == "calls" && r.Method == "" && r.ObservedPerS.Known {
				p.Assumed = append(p.Assumed, "Where only two calls were seen to arrive, all calls queued between them are taken to have left between them, in order.")
				break
			}
		}
		for _, r := range d.Rates {
			if r.Clock == "provider" {
				p.Assumed = append(p.Assumed, "A time cut to whole seconds stands for its second: the middle, within half a second.")
				break
			}
		}
		if slices.ContainsFunc(d.Rates, func(r rates.Rate) bool { return r.Clock == "capture" || r.Clock == "mixed" }) {
			p.Assumed = append(p.Assumed, "No message was lost before the capture point: one that was sent again arrives later than its error says.")
		}
	}
	p.Reproduce = reproduce(d)
}

// reproduce is the command that makes this page again, as far as the tables
// know it: the options, and which files; not the folder they lay in.
func reproduce(d *table.Dataset) string {
	if len(d.Experiments) == 0 || len(d.Inputs) == 0 {
		return ""
	}
	// A name is part of the command only where every shell takes it as it is.
	plain := func(s string) bool {
		return s != "" && len(s) <= 80 && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./", r)
		})
	}
	cmd := "twtrace batch FOLDER"
	if len(d.Experiments) == 1 {
		cmd = "twtrace analyze FOLDER"
		files := []string{}
		for _, in := range d.Inputs {
			if !plain(in.File) {
				files = nil
				break
			}
			files = append(files, in.File)
		}
		if n := len(files); n > 0 && n <= 4 {
			cmd = "twtrace analyze " + strings.Join(files, " ")
		}
		if e := d.Experiments[0].Experiment; plain(e) {
			cmd += " --name " + e
		}
	}
	first := readSettings(d.Experiments[0].Options)
	for i := range d.Experiments {
		if readSettings(d.Experiments[i].Options) != first {
			return cmd + " -o OUT, with the options of each experiment in table experiments"
		}
	}
	flag := func(name, value string) {
		if value != "" && plain(strings.NewReplacer(":", "", "+", "", "%", "").Replace(value)) {
			cmd += " --" + name + " " + value
		}
	}
	if first.Guarantee != 0 {
		flag("guarantee", strconv.FormatFloat(first.Guarantee, 'f', -1, 64)+"/s")
	}
	if first.Tolerance != 0 {
		flag("tolerance", strconv.FormatFloat(first.Tolerance, 'f', -1, 64)+"%")
	}
	flag("segmenting", first.Segmenting)
	flag("queue-by", first.QueueBy)
	flag("call-created", first.Created)
	flag("start", first.Start)
	flag("end", first.End)
	if first.Redact {
		cmd += " --redact"
	}
	return cmd + " -o OUT"
}
