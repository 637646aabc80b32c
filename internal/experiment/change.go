package experiment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
)

// Sum is one file of an experiment and the SHA-256 of its bytes as stored, hex.
type Sum struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Sums reads the experiment's files through, in order of name. Sizes and times
// are no shortcut: a copy may keep both. The error is for a file that cannot
// be read, or be read again.
func (e Experiment) Sums(ctx context.Context) ([]Sum, error) {
	list := make([]Sum, 0, len(e.Files))
	h := sha256.New()
	for _, f := range e.Files {
		if f.Once() {
			return nil, fmt.Errorf("%s: can be read once only", f.Name)
		}
		h.Reset()
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, bare(err))
		}
		err = sum(ctx, h, r)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, bare(err))
		}
		list = append(list, Sum{f.Name, hex.EncodeToString(h.Sum(nil))})
	}
	slices.SortFunc(list, bySumFile)
	return list, nil
}

func bySumFile(a, b Sum) int { return strings.Compare(a.File, b.File) }

func sum(ctx context.Context, h hash.Hash, r io.Reader) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(h, r, 16<<20)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// sumsOf are the same sums as the analysis found them, from the very bytes that
// it read; nil when it could not read one to its end.
func (e Experiment) sumsOf(inputs []decode.Input) []Sum {
	known := map[string]string{}
	for i := range inputs {
		known[inputs[i].File] = inputs[i].SHA256
	}
	list := make([]Sum, 0, len(e.Files))
	for _, f := range e.Files {
		s := known[f.Name]
		if s == "" || f.Once() {
			return nil
		}
		list = append(list, Sum{f.Name, s})
	}
	slices.SortFunc(list, bySumFile)
	return list
}

// StartsBy is a time at or before which the experiment began, without an
// analysis: from the manifest, or else from the first frames of the captures,
// before which exports may tell of more. 0 is unknown.
func (e Experiment) StartsBy(o Options) (at decode.Time) {
	var m Manifest
	if _, err := readManifest(e.Files, &m); err == nil && m.Started != 0 {
		return m.Started
	}
	if o.Start != 0 {
		return 0 // the first frames may be cut off
	}
	for _, f := range e.Files {
		if !isCapture(f) {
			continue
		}
		if t := decode.FirstTime(f); t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// InputsKey stands for all that an analysis reads: the names and bytes of the
// files, and what was refused. Equal keys are equal inputs.
func (e Experiment) InputsKey(sums []Sum) string {
	refused := make([]string, 0, len(e.Refused))
	for _, r := range e.Refused {
		refused = append(refused, r.Name+": "+r.Err.Error())
	}
	slices.Sort(refused)
	return keyOf(sums, refused)
}

// Key stands for all options that change a result. The program's version is
// none: it stands in one row, and AnalysisVersion says when others change.
func (o Options) Key() string {
	o.Rates.Posts, o.Rates.Latencies = nil, nil
	return keyOf(o.Name, o.Start, o.End, o.Rates, o.Redact)
}

func keyOf(parts ...any) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic("experiment: key: " + err.Error()) // texts, numbers and lists of these
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
