package experiment

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// AnalysisVersion grows whenever the same input gives other rows than before;
// a batch does an experiment again when it changed.
const AnalysisVersion = 3

// Options are the user's choices for one analysis.
type Options struct {
	Name       string // of the experiment, "" from its folder
	Start, End decode.Time
	Rates      rates.Options
	Version    string   // of the program
	Redact     bool     // the caller will redact the result
	ShowDTMF   bool     // digits that were dialed are shown, not only counted
	Tables     []string // that are wanted, all when there are none; what only others need is not done
	Progress   func(bytes, frames int64)
}

// Exit codes of CLI.md that an analysis can end with.
const (
	ExitWhole    = 0
	ExitNothing  = 1
	ExitDamaged  = 3
	ExitInternal = 70
)

// Result is one analysed experiment.
type Result struct {
	Data     *table.Dataset
	Exit     int
	Messages []string // for standard error: what was damaged, refused or odd
	Sums     []Sum    // of all files; nil when one could not be read to its end
}

// Analyze takes an experiment from files to rows. The error is for an
// interrupted context and for a failed internal check; whatever is wrong with
// the input stands in the Result.
func Analyze(ctx context.Context, e Experiment, opt Options) (*Result, error) {
	name := e.Name
	if opt.Name != "" {
		name = opt.Name
	}
	res := &Result{Data: &table.Dataset{}}
	manifest := &Manifest{}
	manifestFile, manifestErr := readManifest(e.Files, manifest)
	for _, w := range manifest.Warnings {
		res.say("%s: %s", manifestFile, w)
	}
	in, err := readAll(ctx, e.Files, opt)
	if err != nil {
		return nil, err
	}
	dec, t := in.decoder, in.trace
	first, last := dec.Span()
	for _, w := range manifest.Warnings {
		t.Oddities = append(t.Oddities, sessions.Oddity{Rule: "manifest", Severity: "warn", Subject: manifestFile, File: manifestFile, Text: w})
	}
	if err := dec.Ledger().Check(); err != nil {
		return nil, &InternalError{fmt.Errorf("%s: %w", name, err)}
	}
	ropt := manifest.apply(opt.Rates)
	ropt.Posts, ropt.Latencies, ropt.CaptureLoss = t.Posts, t.Latencies, captureLost(in.captures, t.Flows)
	d := res.Data
	d.Inputs, d.Captures, d.Ledger = in.inputs, in.captures, dec.Ledger().Rows()
	res.Sums = e.sumsOf(d.Inputs)
	d.Hosts, d.Flows, d.Calls, d.Legs, d.Signals = t.Hosts, t.Flows, t.Calls, t.Legs, t.Signals
	d.Arrivals, d.CallResources, d.Streams, d.StreamIntervals = t.Arrivals, t.CallResources, t.Streams, t.StreamIntervals
	d.Messages, d.Clocks = t.Messages, t.Clocks
	d.Rates = rates.Compute(d.Arrivals, d.CallResources, &d.Messages, ropt)
	if manifestErr != nil {
		for i := range d.Inputs {
			if d.Inputs[i].File == manifestFile {
				d.Inputs[i].Problem = manifestErr.Error()
			}
		}
	}
	res.Exit = ExitWhole
	for i := range d.Inputs {
		in := &d.Inputs[i]
		if in.Problem != "" {
			res.Exit = ExitDamaged
			res.say("%s: %s", in.File, in.Problem)
		}
	}
	for _, r := range e.Refused {
		res.Exit = ExitDamaged
		res.say("%s: %v", r.Name, r.Err)
		d.Inputs = append(d.Inputs, decode.Input{File: r.Name, Kind: "unknown", Problem: r.Err.Error()})
	}
	if !dec.Usable() && len(d.Inputs) > 0 && res.Exit != ExitWhole {
		res.Exit = ExitNothing
	}
	row, err := describe(name, d, manifest, ropt, opt, first, last)
	if err != nil {
		return nil, &InternalError{err}
	}
	d.Experiments = []table.Experiment{row}
	d.SetExperiment(name)
	// All but the oddities stands now. Rules read the rows as sessions made them:
	// Sort comes after them, and the check of the rows goes beside them.
	rows := *d
	if len(opt.Tables) > 0 {
		rows.Keep(opt.Tables...)
	}
	var checked errgroup.Group
	checked.Go(rows.Check)
	d.Oddities = t.Oddities
	if opt.wants("oddities") {
		d.Oddities = uniqueOddities(append(d.Oddities, findOddities(d, t)...))
	}
	if err := checked.Wait(); err != nil {
		return nil, &InternalError{fmt.Errorf("%s: %w", name, err)}
	}
	for i := range d.Oddities {
		if o := &d.Oddities[i]; o.Rule == decode.RuleCap { // not all of the input is in the rows
			res.say("%s: %s", name, o.Text)
			if res.Exit == ExitWhole {
				res.Exit = ExitDamaged
			}
		}
	}
	if d.Experiments[0].ExitCode = int64(res.Exit); len(res.Messages) > 0 && res.Exit != ExitWhole {
		d.Experiments[0].Problem = res.Messages[0]
	}
	told := &table.Dataset{Experiments: d.Experiments, Oddities: d.Oddities}
	told.SetExperiment(name)
	if err := told.Check(); err != nil {
		return nil, &InternalError{fmt.Errorf("%s: %w", name, err)}
	}
	if len(opt.Tables) > 0 {
		d.Keep(opt.Tables...)
	}
	d.Sort()
	return res, nil
}

// wants tells whether a table is wanted.
func (o *Options) wants(table string) bool {
	return len(o.Tables) == 0 || slices.Contains(o.Tables, table)
}

// captureLost says what the captures themselves lost of signaling, for a reason
// of table rates; "" nothing that is known.
func captureLost(captures []decode.Capture, flows []sessions.Flow) string {
	var packets, bytes int64
	for i := range captures {
		packets += captures[i].DroppedPackets.V
	}
	for i := range flows {
		switch f := &flows[i]; f.Application {
		case "sip", "pstream", "websocket":
			bytes += f.GapBytes
		}
	}
	switch {
	case packets > 0:
		return "The capturing host dropped " + plural(packets, "packet", "packets")
	case bytes > 0:
		return "The capture misses " + plural(bytes, "byte", "bytes") + " of signaling"
	}
	return ""
}

func (r *Result) say(format string, args ...any) {
	r.Messages = append(r.Messages, fmt.Sprintf(format, args...))
}

// Failed is the result for an experiment whose analysis broke off: a row that
// says why, so that the others of a batch can go on.
func Failed(e Experiment, opt Options, err error) *Result {
	name := e.Name
	if opt.Name != "" {
		name = opt.Name
	}
	return &Result{
		Data: &table.Dataset{Experiments: []table.Experiment{{
			Experiment: name, Kind: "capture", KindBy: "inferred", ProgramVersion: opt.Version, AnalysisVersion: AnalysisVersion,
			Options: "{}", ExitCode: ExitInternal, Problem: err.Error(),
		}}},
		Exit: ExitInternal, Messages: []string{err.Error() + "; please report this"},
	}
}

// InternalError is a failed check of the program's own work: exit code 70.
type InternalError struct{ Err error }

func (e *InternalError) Error() string { return "internal check failed: " + e.Err.Error() }
func (e *InternalError) Unwrap() error { return e.Err }

// readManifest reads the experiment's manifest, if it has one.
func readManifest(files []*container.File, m *Manifest) (name string, err error) {
	for _, f := range files {
		c, err := f.Identify()
		if err != nil || c.Kind != container.Manifest {
			continue
		}
		if name != "" {
			m.warn("a second manifest, %s, is not used", f.Name)
			continue
		}
		name = f.Name
		body, err := f.Content(container.Limits{})
		if err != nil {
			return name, err
		}
		defer body.Close()
		got, err := ReadManifest(body)
		if err != nil {
			return name, err
		}
		*m = *got
	}
	return name, nil
}

// apply lets the manifest say what the command line did not.
func (m *Manifest) apply(o rates.Options) rates.Options {
	if o.GuaranteePerS == 0 && m.GuaranteePerS.Known {
		o.GuaranteePerS = m.GuaranteePerS.V
	}
	if o.QueueBy == "" {
		o.QueueBy = m.QueueBy
	}
	if o.Segmenting == "" {
		o.Segmenting = m.Segmenting
	}
	if o.Endpoint == "" {
		o.Endpoint = m.Endpoint
	}
	o.CallX, o.MessageX = m.Calls, m.BodyBytes
	return o
}

// describe makes the row of table experiments.
func describe(name string, d *table.Dataset, m *Manifest, ropt rates.Options, opt Options, first, last decode.Time) (table.Experiment, error) {
	e := table.Experiment{
		Experiment: name, Kind: m.Kind, KindBy: "manifest", Endpoint: m.Endpoint, GuaranteePerS: decode.Some(1.0),
		Labels: m.Labels, StartedAt: m.Started, EndedAt: last, ProgramVersion: opt.Version, AnalysisVersion: AnalysisVersion,
	}
	if ropt.GuaranteePerS > 0 {
		e.GuaranteePerS = decode.Some(ropt.GuaranteePerS)
	}
	if m.Name != "" && opt.Name == "" {
		// the folder stays the key; the manifest's own name is a label of it
		e.Labels = withLabel(e.Labels, "name", m.Name)
	}
	if e.Kind == "" {
		e.KindBy = "inferred"
		calls, messages := len(d.CallResources) > 0 || hasQueued(d.Arrivals), d.Messages.Len() > 0
		switch {
		case calls && messages:
			e.Kind = "mixed"
		case calls:
			e.Kind = "calls"
		case messages:
			e.Kind = "messages"
		default:
			e.Kind = "capture"
		}
	}
	switch {
	case e.Kind == "calls" && m.Calls.Known:
		e.X = m.Calls
	case e.Kind == "messages" && m.BodyBytes.Known:
		e.X = m.BodyBytes
	default:
		for i := range d.Rates {
			if r := &d.Rates[i]; r.Kind == e.Kind {
				if e.X.Known && r.X != e.X {
					e.X = sessions.Int{}
					break
				}
				e.X = r.X
			}
		}
	}
	if e.Endpoint == "" {
		e.Endpoint = observedEndpoint(d.Arrivals)
	}
	for _, at := range rowSpan(d) {
		if e.StartedAt == 0 || m.Started == 0 && at < e.StartedAt {
			e.StartedAt = at
		}
		e.EndedAt = max(e.EndedAt, at)
	}
	if first != 0 && (e.StartedAt == 0 || m.Started == 0 && first < e.StartedAt) {
		e.StartedAt = first
	}
	options := struct {
		Guarantee  float64 `json:"guarantee_per_s,omitempty"`
		Tolerance  float64 `json:"tolerance_pct,omitempty"`
		Segmenting string  `json:"segmenting,omitempty"`
		QueueBy    string  `json:"queue_by,omitempty"`
		Created    string  `json:"call_created,omitempty"`
		Redact     bool    `json:"redact,omitempty"`
		ShowDTMF   bool    `json:"show_dtmf,omitempty"`
		Start      string  `json:"start,omitempty"`
		End        string  `json:"end,omitempty"`
	}{ropt.GuaranteePerS, ropt.TolerancePct, ropt.Segmenting, ropt.QueueBy, ropt.CallCreated, opt.Redact, opt.ShowDTMF, opt.Start.String(), opt.End.String()}
	b, err := json.Marshal(options)
	e.Options = string(b)
	return e, err
}

func withLabel(labels, key, value string) string {
	all := map[string]string{}
	if labels != "" {
		if json.Unmarshal([]byte(labels), &all) != nil {
			return labels
		}
	}
	if _, ok := all[key]; !ok {
		all[key] = value
	}
	b, err := json.Marshal(all)
	if err != nil {
		return labels
	}
	return string(b)
}

func hasQueued(list []sessions.Arrival) bool {
	for i := range list {
		if list[i].QueuedAt != 0 {
			return true
		}
	}
	return false
}

// observedEndpoint is the one receiver whose calls were seen to arrive.
func observedEndpoint(list []sessions.Arrival) string {
	to := ""
	for i := range list {
		a := &list[i]
		if a.ArrivedAt == 0 || a.ArrivedBy == "resource" {
			continue
		}
		if to != "" && a.To != to {
			return ""
		}
		to = a.To
	}
	return to
}

// rowSpan are the times that bound what exports say.
func rowSpan(d *table.Dataset) []decode.Time {
	var lo, hi decode.Time
	add := func(at decode.Time) {
		if at == 0 {
			return
		}
		if lo == 0 || at < lo {
			lo = at
		}
		hi = max(hi, at)
	}
	for _, m := range d.Messages.All() {
		add(m.QueuedAt)
		add(m.SentAt)
	}
	for i := range d.Arrivals {
		add(d.Arrivals[i].QueuedAt)
		add(d.Arrivals[i].ArrivedAt)
	}
	if lo == 0 {
		return nil
	}
	return []decode.Time{lo, hi}
}
