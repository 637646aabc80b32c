package experiment

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/table"
)

// WriteList writes piece by piece what encoding/json writes at once.
func TestListIsJSON(t *testing.T) {
	two := []Entry{
		{Experiment: "a<b", Inputs: []EntryInput{{"x.pcap", "capture", "00ff", 7}, {"y", "unknown", "", 0}}, Options: json.RawMessage(`{"guarantee_per_s":2}`), ProgramVersion: "v1", AnalysisVersion: 3},
		{Experiment: "b", Inputs: []EntryInput{}, Options: json.RawMessage("{}"), ExitCode: 3, Problem: "x: \u2028 é"},
	}
	for _, list := range [][]Entry{nil, {}, two[:1], two} {
		var want, got strings.Builder
		enc := json.NewEncoder(&want)
		enc.SetIndent("", "  ")
		if err := enc.Encode(List{"twtrace", table.SchemaVersion, list}); err != nil {
			t.Fatal(err)
		}
		seq := slices.Values(list)
		if list == nil {
			seq = nil
		}
		if err := WriteList(&got, seq); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%d entries:\n%s\nwanted\n%s", len(list), got.String(), want.String())
		}
	}
}
