package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/rates"
)

// The analysis and a reading for the sums alone find the same sums, those of
// the files' bytes.
func TestSums(t *testing.T) {
	exps, err := Find([]Input{{FS: fixtures.Recorded(), Path: ".", Name: "recorded"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, e := range exps {
		res, err := Analyze(t.Context(), e, Options{})
		if err != nil {
			t.Fatal(err)
		}
		sums, err := e.Sums(t.Context())
		if err != nil || !slices.Equal(sums, res.Sums) || len(sums) != len(e.Files) {
			t.Errorf("%s: %v\n%v\n%v", e.Name, err, sums, res.Sums)
		}
		for _, s := range sums {
			data, err := fs.ReadFile(fixtures.Recorded(), s.File)
			if err != nil {
				t.Fatal(err)
			}
			want := sha256.Sum256(data)
			if s.SHA256 != hex.EncodeToString(want[:]) {
				t.Errorf("%s: %s", s.File, s.SHA256)
			}
			files++
		}
	}
	if files < 20 {
		t.Errorf("%d files only", files)
	}
}

// unreadable fails to open one file.
type unreadable struct {
	fstest.MapFS
	name string
}

func (u unreadable) Open(name string) (fs.File, error) {
	if name == u.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: os.ErrPermission}
	}
	return u.MapFS.Open(name)
}

// Without the sum of each file nothing can be said to be unchanged.
func TestSumsOfUnreadable(t *testing.T) {
	exps, err := Find([]Input{{FS: unreadable{tree("a.pcap", "b.json"), "b.json"}, Path: ".", Name: "run"}}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exps[0].Sums(t.Context()); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v; want that it is not permitted", err)
	}
	res, err := Analyze(t.Context(), exps[0], Options{})
	if err != nil || res.Sums != nil || res.Exit != ExitDamaged {
		t.Errorf("%v, %+v; want no sums and exit code %d", err, res, ExitDamaged)
	}
}

func TestInputsKey(t *testing.T) {
	refused := errors.New("link")
	base := Experiment{Files: []*container.File{}, Refused: []Refusal{{"x", refused}, {"y", refused}}}
	sums := []Sum{{"a", "01"}, {"b", "02"}}
	key := base.InputsKey(sums)
	swapped := Experiment{Refused: []Refusal{{"y", refused}, {"x", refused}}}
	if swapped.InputsKey(sums) != key {
		t.Error("the order of what was refused changes the key")
	}
	for name, other := range map[string]string{
		"name":     base.InputsKey([]Sum{{"a", "01"}, {"c", "02"}}),
		"content":  base.InputsKey([]Sum{{"a", "01"}, {"b", "03"}}),
		"fewer":    base.InputsKey(sums[:1]),
		"parting":  base.InputsKey([]Sum{{"a", "01"}, {"b0", "2"}}),
		"refusals": Experiment{Refused: base.Refused[:1]}.InputsKey(sums),
		"reason":   Experiment{Refused: []Refusal{{"x", refused}, {"y", errors.New("device")}}}.InputsKey(sums),
	} {
		if other == key {
			t.Errorf("%s: the key is the same", name)
		}
	}
}

// Every option that changes rows changes the key; how the work is done does not.
func TestOptionsKey(t *testing.T) {
	keys := map[string]string{}
	for name, o := range map[string]Options{
		"none": {}, "name": {Name: "x"}, "start": {Start: 1}, "end": {End: 1}, "redact": {Redact: true},
		"guarantee": {Rates: rates.Options{GuaranteePerS: 2}}, "tolerance": {Rates: rates.Options{TolerancePct: 2}},
		"segmenting": {Rates: rates.Options{Segmenting: "gsm"}}, "queue": {Rates: rates.Options{QueueBy: "from"}},
		"created": {Rates: rates.Options{CallCreated: "dialed"}}, "x": {Rates: rates.Options{CallX: decode.Some(int64(3))}},
	} {
		if other, ok := keys[o.Key()]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		keys[o.Key()] = name
	}
	same := Options{Version: "v9", Progress: func(_, _ int64) {}, Rates: rates.Options{Latencies: nil}}
	if same.Key() != (Options{}).Key() {
		t.Error("the program's version or its progress changes the key")
	}
}
