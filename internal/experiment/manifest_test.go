package experiment

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twtrace/twtrace/decode"
)

// The example of the folder's description, key by key.
const whole = `name: calls-200-run-3
kind: calls                 # calls | messages
calls: 200                  # phone calls between the two observed calls
body_bytes: 170             # messages: UTF-8 bytes of each body
guarantee: 1/s
endpoint: client:alice      # the observed endpoint
queue_by: account           # account | from | service
segmenting: provider        # provider | gsm | 160
repeat: 3
started: 2013-11-21T18:00:00Z
labels: {link: 30 Mbit/s, host: W530, sdk: "1.2"}
notes: campus network, second link
`

func TestManifest(t *testing.T) {
	m, err := ReadManifest(strings.NewReader(whole))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Warnings) > 0 {
		t.Errorf("warnings %q, want none", m.Warnings)
	}
	m.Warnings = nil
	want := Manifest{
		Name: "calls-200-run-3", Kind: "calls", Calls: decode.Some[int64](200), BodyBytes: decode.Some[int64](170), GuaranteePerS: decode.Some(1.0),
		Endpoint: "client:alice", QueueBy: "account", Segmenting: "provider", Repeat: decode.Some[int64](3),
		Started: decode.Time(time.Date(2013, 11, 21, 18, 0, 0, 0, time.UTC).UnixNano()),
		Labels:  `{"host":"W530","link":"30 Mbit/s","sdk":"1.2"}`, Notes: "campus network, second link",
	}
	a, _ := json.Marshal(want)
	b, _ := json.Marshal(m)
	if !bytes.Equal(a, b) {
		t.Errorf("want %s\nfound %s", a, b)
	}
}

// All keys are optional, and each is read alone as among others.
func TestManifestKeysAlone(t *testing.T) {
	for line := range strings.SplitSeq(strings.TrimSpace(whole), "\n") {
		m, err := ReadManifest(strings.NewReader(line))
		if err != nil || len(m.Warnings) > 0 {
			t.Errorf("%s: %v, warnings %q", line, err, m.Warnings)
		}
	}
	for _, empty := range []string{"", "# only a comment\n", "---\n"} {
		if m, err := ReadManifest(strings.NewReader(empty)); err != nil || len(m.Warnings) > 0 {
			t.Errorf("%q: %v, %+v", empty, err, m)
		}
	}
}

func TestManifestWarnings(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string // parts of the one warning; none: no warning
	}{
		{"name: x\nclls: 3", []string{"line 2", `unknown key "clls"`, `"calls"`}},
		{"guarante: 1/s", []string{"line 1", `"guarantee"`}},
		{"body-bytes: 1", []string{`"body_bytes"`}},
		{"queue by: account", []string{`"queue_by"`}},
		{"kind: call", []string{"line 1", "kind: want calls, messages", `"call"`}},
		{"calls: many", []string{"calls: want a whole number", `"many"`}},
		{"calls: -1", []string{"want a whole number"}},
		{"calls: 1.5", []string{"want a whole number"}},
		{"calls: 99999999999999999999", []string{"want a whole number"}},
		{"calls: [1, 2]", []string{"calls: want one value"}},
		{"guarantee: fast", []string{"want a rate such as 1/s"}},
		{"guarantee: 0/s", []string{"want a rate such as 1/s"}},
		{"queue_by: phone", []string{"want account, from, service"}},
		{"segmenting: 161", []string{"want provider, gsm, 160", `"161"`}},
		{"started: noon", []string{"want a time as RFC 3339"}},
		{"started: 9999-01-01T00:00:00Z", []string{"want a time as RFC 3339"}},
		{"labels: fast", []string{"labels: want a mapping"}},
		{"labels: {a: [1]}", []string{"want one value a label"}},
		{"segmenting: 160", nil},
		{"guarantee: 60/min", nil},
		{"calls: 0", nil},
		{"started: 2013-11-21 18:00:00+05:45", nil},
		{"started: 2013-11-21", nil},
		{"labels: {}", nil},
		{"notes: |\n  two\n  lines\n", nil},
		{"name: ~", nil},
	} {
		m, err := ReadManifest(strings.NewReader(c.text))
		switch {
		case err != nil:
			t.Errorf("%q: %v", c.text, err)
		case len(c.want) == 0 && len(m.Warnings) > 0, len(c.want) > 0 && len(m.Warnings) != 1:
			t.Errorf("%q: warnings %q", c.text, m.Warnings)
		case len(c.want) > 0:
			for _, part := range c.want {
				if !strings.Contains(m.Warnings[0], part) {
					t.Errorf("%q: warning %q, want %q in it", c.text, m.Warnings[0], part)
				}
			}
		}
	}
}

// A wrong value leaves the others alone.
func TestManifestGoesOn(t *testing.T) {
	m, err := ReadManifest(strings.NewReader("calls: many\nkind: messages\nbogus: 1\nbody_bytes: 170\n"))
	if err != nil || m.Kind != "messages" || m.BodyBytes != decode.Some[int64](170) || m.Calls.Known || len(m.Warnings) != 2 {
		t.Errorf("%v, %+v", err, m)
	}
}

func TestManifestRefuses(t *testing.T) {
	for _, text := range []string{"- a\n- b\n", "just words", "a: b: c", "name: x\nname: y\n", "{", "name: \"", "\tname: x"} {
		if m, err := ReadManifest(strings.NewReader(text)); err == nil {
			t.Errorf("%q: no error, %+v", text, m)
		}
	}
	big := strings.Repeat("# "+strings.Repeat("x", 60)+"\n", 1100)
	if _, err := ReadManifest(strings.NewReader(big)); err == nil || !strings.Contains(err.Error(), "at most 65536 bytes") {
		t.Errorf("%d bytes: %v", len(big), err)
	}
}

// Depth costs the parser the square of it: seconds for 64 KiB of brackets.
func TestManifestDepth(t *testing.T) {
	for _, s := range []string{strings.Repeat("[", 65000), strings.Repeat("{a: ", 16000), "labels: " + strings.Repeat("{a: ", 16000), strings.Repeat("&a ", 20000), strings.Repeat("- ", 32000)} {
		if _, err := ReadManifest(strings.NewReader(s)); err == nil || !strings.Contains(err.Error(), "at most 512 of the signs") {
			t.Errorf("%.10q: %v", s, err)
		}
	}
}

// Nine aliases of nine aliases ... would be 3 GB as text.
func TestManifestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("name: &a0 [lol]\n")
	for i := 1; i < 10; i++ {
		b.WriteString("labels" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" +
			strings.TrimSuffix(strings.Repeat("*a"+string(rune('0'+i-1))+",", 9), ",") + "]\n")
	}
	b.WriteString("labels: {x: *a9}\nnotes: *a9\nkind: &k calls\n")
	m, err := ReadManifest(strings.NewReader(b.String()))
	if err != nil {
		return // refused whole: as good
	}
	if m.Labels != "" || m.Notes != "" || m.Name != "" || m.Kind != "" || len(m.Warnings) < 4 {
		t.Errorf("anchors and aliases were taken: %+v", m)
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]float64{
		"1/s": 1, "0.5/s": 0.5, "60/min": 1, "30/m": 0.5, "3600/h": 1, "1": 1, " 2 / s ": 2, "1e3/s": 1000, "7200/hour": 2, "90/minute": 1.5, "4/sec": 4, "4/second": 4,
	} {
		got, err := ParseRate(in)
		if err != nil || math.Abs(got-want) > 1e-12 {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/s", "x/s", "1/day", "1/", "0/s", "-1/s", "NaN/s", "Inf/s", "1/s/s", "1 s", "1e999/s", "5e-324/h", "1,5/s"} {
		if got, err := ParseRate(in); err == nil {
			t.Errorf("%q: %v, want an error", in, got)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"labels": "labels", "lable": "labels", "rate": "repeat", "body": "notes"} {
		got := nearest(word, manifestKeys)
		if distance(word, got) > distance(word, want) {
			t.Errorf("%s: %s at %d, but %s is at %d", word, got, distance(word, got), want, distance(word, want))
		}
	}
	for _, c := range []struct {
		a, b string
		d    int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"name", "name", 0}} {
		if got := distance(c.a, c.b); got != c.d {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.d)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("calls: many\nbogus: 1\n"))
	f.Add([]byte("a: &x [1]\nb: *x\n<<: *x\n"))
	f.Add([]byte("? [a, b]\n: c\n"))
	f.Add([]byte("labels:\n  a: 1\n  ? x\n  : y\n"))
	f.Add([]byte("name: !!binary aGk=\nkind: |-\n  calls\n"))
	f.Add([]byte("--- {name: x}\n--- {name: y}\n...\n"))
	f.Add([]byte("[[[[[[[[{{{{"))
	f.Add([]byte("notes: \"\\ud800\xff\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ReadManifest(bytes.NewReader(text))
		if err != nil {
			if m != nil || err.Error() == "" {
				t.Fatalf("%+v with error %v", m, err)
			}
			return
		}
		if len(m.Warnings) > 32 {
			t.Errorf("%d warnings", len(m.Warnings))
		}
		switch m.Kind {
		case "", "calls", "messages":
		default:
			t.Errorf("kind %q", m.Kind)
		}
		if g := m.GuaranteePerS; g.Known && !(g.V > 0 && !math.IsInf(g.V, 0)) {
			t.Errorf("guarantee %v", g.V)
		}
		if m.Calls.V < 0 || m.BodyBytes.V < 0 || m.Repeat.V < 0 {
			t.Errorf("negative: %+v", m)
		}
		if m.Labels != "" {
			var l map[string]string
			if err := json.Unmarshal([]byte(m.Labels), &l); err != nil || len(l) == 0 || !utf8.ValidString(m.Labels) {
				t.Errorf("labels %q: %v", m.Labels, err)
			}
		}
	})
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"1/s", "60/min", "1e-320/h", "0x1p-3/s", "/", "NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseRate(s); err == nil && !(v > 0 && !math.IsInf(v, 0)) {
			t.Errorf("%q: %v", s, v)
		}
	})
}
