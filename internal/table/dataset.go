package table

import (
	"encoding/json"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// Experiment is a row of table experiments: one run of a measurement.
type Experiment struct {
	Experiment      string              `col:"experiment" key:"1" doc:"folder of the run, relative to the batch root, or the name given"`
	Kind            string              `col:"kind" enum:"calls|messages|mixed|capture" doc:"what was measured"`
	KindBy          string              `col:"kind_by" enum:"manifest|inferred" doc:"how kind, x and endpoint are known"`
	X               decode.Opt[int64]   `col:"x" doc:"calls between the two observed ones, or body bytes"`
	Endpoint        string              `col:"endpoint" doc:"the observed endpoint"`
	GuaranteePerS   decode.Opt[float64] `col:"guarantee_per_s" unit:"1/s" doc:"promised rate"`
	Labels          string              `col:"labels" doc:"labels of the manifest, a JSON object"`
	StartedAt       decode.Time         `col:"started_at" doc:"earliest evidence, or as the manifest says"`
	EndedAt         decode.Time         `col:"ended_at" doc:"latest evidence"`
	ProgramVersion  string              `col:"program_version" doc:"version of twtrace"`
	AnalysisVersion int64               `col:"analysis_version" doc:"number that grows when an analysis gives other results"`
	Options         string              `col:"options" doc:"options given, a JSON object"`
	ExitCode        int64               `col:"exit_code" doc:"0 whole, 1 nothing made, 3 input damaged"`
	Problem         string              `col:"problem" doc:"why, when the exit code is not 0"`
}

// Dataset is all tables of one or more experiments. Rows of every table are in
// the order that TABLES.md gives once Sort has run.
type Dataset struct {
	Experiments     []Experiment
	Inputs          []decode.Input
	Captures        []decode.Capture
	Ledger          []decode.LedgerRow
	Hosts           []sessions.Host
	Flows           []sessions.Flow
	Calls           []sessions.Call
	Legs            []sessions.Leg
	Signals         sessions.Signals // packed, as there are many
	Arrivals        []sessions.Arrival
	CallResources   []sessions.CallResource
	Streams         sessions.Streams
	StreamIntervals sessions.StreamIntervals
	Messages        sessions.Messages
	Rates           []rates.Rate
	Clocks          []sessions.Clock
	Oddities        []sessions.Oddity
}

// Simulated are the experiments whose labels say {"source":"simulated"}.
func (d *Dataset) Simulated() map[string]bool {
	out := map[string]bool{}
	for _, e := range d.Experiments {
		var l map[string]any
		if e.Labels != "" && json.Unmarshal([]byte(e.Labels), &l) == nil && l["source"] == "simulated" {
			out[e.Experiment] = true
		}
	}
	return out
}

// CombineRates makes one row of table rates of all runs that measured the same
// instead of a row of each; simulated runs stay apart.
func (d *Dataset) CombineRates(opt rates.Options) {
	made := d.Simulated()
	d.Rates = rates.Combine(d.Rates, opt, func(e string) bool { return made[e] })
}
