package experiment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/twtrace/twtrace/decode"
)

// Manifest is an experiment.yaml: what was done. Every key is optional.
type Manifest struct {
	Name          string
	Kind          string // calls, messages or ""
	Calls         decode.Opt[int64]
	BodyBytes     decode.Opt[int64]
	GuaranteePerS decode.Opt[float64]
	Endpoint      string
	QueueBy       string // account, from, service or ""
	Segmenting    string // provider, gsm, 160 or ""
	Repeat        decode.Opt[int64]
	Started       decode.Time
	Labels        string // JSON object, "" none
	Notes         string

	Warnings []string // unknown keys and values that were not understood
}

const (
	maxManifest = 64 << 10
	maxNesting  = 512 // the parser's time grows with the square of the depth
)

var manifestKeys = []string{"name", "kind", "calls", "body_bytes", "guarantee", "endpoint", "queue_by", "segmenting",
	"repeat", "started", "labels", "notes"}

// ReadManifest reads an experiment.yaml. An unknown key or a value of the
// wrong form is a warning; text that is no YAML mapping is an error. Anchors
// and aliases are refused: a small file could grow without bound by them.
func ReadManifest(r io.Reader) (*Manifest, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxManifest {
		return nil, fmt.Errorf("manifest: want at most %d bytes", maxManifest)
	}
	nesting := 0
	for _, sign := range []string{"[", "{", "&", "- "} {
		nesting += bytes.Count(text, []byte(sign))
	}
	if nesting > maxNesting {
		return nil, fmt.Errorf("manifest: want at most %d of the signs [ { & -, found %d", maxNesting, nesting)
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, fmt.Errorf("manifest: %s", strings.TrimSpace(firstLine(err.Error())))
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return &Manifest{}, nil
	}
	var values []*ast.MappingValueNode
	switch n := file.Docs[0].Body.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, fmt.Errorf("manifest: want a mapping of keys, found %s", strings.ToLower(n.Type().String()))
	}
	m := &Manifest{}
	for _, v := range values {
		key := v.Key.String()
		if !slices.Contains(manifestKeys, key) {
			m.warn("line %d: unknown key %q; the nearest known one is %q", v.GetToken().Position.Line, key, nearest(key, manifestKeys))
			continue
		}
		m.set(key, v.Value)
	}
	return m, nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func (m *Manifest) warn(format string, args ...any) {
	if len(m.Warnings) < 32 {
		m.Warnings = append(m.Warnings, fmt.Sprintf(format, args...))
	}
}

// set takes one key. Scalars keep their text, so that 1/s and 2013-11-21 need
// no YAML types.
func (m *Manifest) set(key string, n ast.Node) {
	line := n.GetToken().Position.Line
	if key == "labels" {
		m.Labels = m.labels(n)
		return
	}
	text, ok := scalar(n)
	if !ok {
		m.warn("line %d: %s: want one value, found %s", line, key, strings.ToLower(n.Type().String()))
		return
	}
	bad := func(want string) { m.warn("line %d: %s: want %s, found %q", line, key, want, text) }
	oneOf := func(to *string, allowed ...string) {
		if !slices.Contains(allowed, text) {
			bad(strings.Join(allowed, ", "))
			return
		}
		*to = text
	}
	whole := func(to *decode.Opt[int64]) {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 0 {
			bad("a whole number")
			return
		}
		*to = decode.Some(v)
	}
	switch key {
	case "name":
		m.Name = text
	case "kind":
		oneOf(&m.Kind, "calls", "messages")
	case "calls":
		whole(&m.Calls)
	case "body_bytes":
		whole(&m.BodyBytes)
	case "guarantee":
		v, err := ParseRate(text)
		if err != nil {
			bad("a rate such as 1/s")
			return
		}
		m.GuaranteePerS = decode.Some(v)
	case "endpoint":
		m.Endpoint = text
	case "queue_by":
		oneOf(&m.QueueBy, "account", "from", "service")
	case "segmenting":
		oneOf(&m.Segmenting, "provider", "gsm", "160")
	case "repeat":
		whole(&m.Repeat)
	case "started":
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02"} {
			// int64 ns reach these years from end to end
			if at, err := time.Parse(layout, text); err == nil && at.Year() >= 1678 && at.Year() <= 2261 {
				m.Started = decode.Time(at.UnixNano())
				return
			}
		}
		bad("a time as RFC 3339")
	case "notes":
		m.Notes = text
	}
}

func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.NullNode:
		return "", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// labels are kept as a JSON object of texts, keys in order.
func (m *Manifest) labels(n ast.Node) string {
	out := map[string]string{}
	add := func(v *ast.MappingValueNode) {
		text, ok := scalar(v.Value)
		if !ok {
			m.warn("line %d: labels: want one value a label", v.GetToken().Position.Line)
			return
		}
		key := v.Key.String()
		if k, ok := v.Key.(*ast.StringNode); ok {
			key = k.Value
		}
		out[key] = text
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			add(v)
		}
	case *ast.MappingValueNode:
		add(n)
	default:
		m.warn("line %d: labels: want a mapping", n.GetToken().Position.Line)
		return ""
	}
	if len(out) == 0 {
		return ""
	}
	b, err := json.Marshal(out) // keys come sorted
	if err != nil {
		return ""
	}
	return string(b)
}

// ParseRate reads a rate such as "1/s", "0.5/s", "60/min" or "30/m" as events
// a second.
func ParseRate(s string) (float64, error) {
	num, unit, found := strings.Cut(strings.TrimSpace(s), "/")
	if !found {
		unit = "s"
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if err != nil || !(v > 0) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("rate: want a number a second such as 1/s, found %q", s)
	}
	switch strings.TrimSpace(unit) {
	case "s", "sec", "second":
	case "m", "min", "minute":
		v /= 60
	case "h", "hour":
		v /= 3600
	default:
		return 0, fmt.Errorf("rate: want a unit s, min or h, found %q", s)
	}
	if v == 0 {
		return 0, fmt.Errorf("rate: want more than 0 a second, found %q", s)
	}
	return v, nil
}

// nearest is the known word with the smallest edit distance.
func nearest(word string, known []string) string {
	best, at := math.MaxInt, ""
	for _, k := range known {
		if d := distance(word, k); d < best {
			best, at = d, k
		}
	}
	return at
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	if len(a) > 64 {
		a = a[:64]
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if a[i-1] != b[j-1] {
				cost++
			}
			diag = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
