package table

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/packed"
	"github.com/twtrace/twtrace/sessions"
)

// hostile are texts that have broken table writers before.
var hostile = []string{
	"", "plain", "a,b", `say "hi"`, "two\nlines", "cr\r", "=1+1", "+cmd|x", "-1+2", "@sum", "\tx", "+15550100", "-3.5e2",
	"\x1b[31mred", "\u202egpj.exe", "naïve 漢字", "</script><script>", "__f__", "\u2028", "%2f..", "null", " lead", "'", "\x7f",
}

// randomDataset fills n rows of every table. Keys are unique, enums closed,
// floats finite, as Check wants.
func randomDataset(seed uint64, n int) *Dataset {
	r := rand.New(rand.NewPCG(seed, 1))
	d := new(Dataset)
	experiments := []string{"run/1", "run 2", "../up"}
	for i := range specs {
		sp := &specs[i]
		rows := reflect.MakeSlice(reflect.SliceOf(sp.row), n, n)
		for j := range n {
			for k := range sp.cols {
				c := &sp.cols[k]
				f := rows.Index(j).Field(c.field)
				if c.opt {
					if r.IntN(3) == 0 {
						continue
					}
					f.Field(1).SetBool(true)
					f = f.Field(0)
				}
				switch c.kind {
				case kindTime:
					if r.IntN(4) > 0 || c.Key {
						f.SetInt(1385056800_000000000 + r.Int64N(1e18) + int64(j))
					}
				case kindText:
					switch {
					case k == 0 && c.Key:
						f.SetString(fmt.Sprintf("run/%d", j))
					case k == 0:
						f.SetString(experiments[r.IntN(len(experiments))])
					case c.Key:
						f.SetString(fmt.Sprintf("key %d %s", j, strings.ToValidUTF8(hostile[r.IntN(len(hostile))], "")))
					default:
						c.setText(rowOf(rows, j), hostile[r.IntN(len(hostile))], nil)
					}
				case kindEnum:
					if r.IntN(4) > 0 || c.Key {
						f.SetString(c.Enum[r.IntN(len(c.Enum))])
					}
				case kindInt:
					f.SetInt(r.Int64() >> r.IntN(63))
					if c.Key {
						f.SetInt(int64(j))
					}
				case kindUint:
					f.SetUint(uint64(r.Uint32()))
					if c.Key {
						f.SetUint(uint64(j) + math.MaxUint32 - uint64(n))
					}
				case kindFloat:
					f.SetFloat(r.NormFloat64() * math.Pow(10, float64(r.IntN(30)-15)))
				case kindBool:
					f.SetBool(r.IntN(2) == 0)
				case kindTexts:
					p := f.Addr().Interface().(*[]string)
					for range r.IntN(4) {
						*p = append(*p, hostile[r.IntN(len(hostile))])
					}
				case kindInts:
					p := f.Addr().Interface().(*[]int64)
					for range r.IntN(4) {
						*p = append(*p, r.Int64N(256)-128)
					}
				}
			}
		}
		sp.set(d, rows)
	}
	return d
}

// slice is a table's rows in a dataset; packed ones are unpacked.
func (sp *spec) slice(d *Dataset) reflect.Value {
	l := sp.list(d)
	if l.packed == nil {
		return l.slice
	}
	rows := reflect.MakeSlice(reflect.SliceOf(sp.row), l.Len(), l.Len())
	for i := range rows.Len() {
		l.packed.Unpack(i, rows.Index(i).Addr().Interface())
	}
	return rows
}

// set replaces a table's rows.
func (sp *spec) set(d *Dataset, rows reflect.Value) {
	l := sp.list(d)
	if l.packed == nil {
		l.slice.Set(rows)
		return
	}
	l.slice.SetZero()
	l.took(rows)
}

// same tells whether two datasets hold the same rows.
func same(a, b *Dataset) bool {
	for i := range specs {
		sp := &specs[i]
		x, y := sp.slice(a), sp.slice(b)
		if x.Len() != y.Len() {
			return false
		}
		for j := range x.Len() {
			if !sp.sameRow(x.Index(j), y.Index(j)) {
				return false
			}
		}
	}
	return true
}

func (sp *spec) sameRow(x, y reflect.Value) bool {
	for k := range sp.cols {
		c := &sp.cols[k]
		if c.packed && c.cell(x.Addr().UnsafePointer()).s == c.cell(y.Addr().UnsafePointer()).s {
			continue
		}
		if !reflect.DeepEqual(x.Field(c.field).Interface(), y.Field(c.field).Interface()) {
			return false
		}
	}
	return true
}

// memDir collects what WriteDir writes.
type memDir map[string]*bytes.Buffer

type nopClose struct{ io.Writer }

func (nopClose) Close() error { return nil }

func (m memDir) create(name string) (io.WriteCloser, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("bad path %q", name)
	}
	if m[name] != nil {
		return nil, fmt.Errorf("%q written twice", name)
	}
	m[name] = new(bytes.Buffer)
	return nopClose{m[name]}, nil
}

func (m memDir) fs() fstest.MapFS {
	out := fstest.MapFS{}
	for name, b := range m {
		out[name] = &fstest.MapFile{Data: b.Bytes()}
	}
	return out
}

// contract is the part of TABLES.md that names columns.
func contract(t *testing.T) map[string][]Column {
	text, err := os.ReadFile("../../../shared/design/TABLES.md")
	if err != nil {
		t.Skip("TABLES.md is not here")
	}
	s := strings.ReplaceAll(string(text), "\n  ", " ")
	s = s[strings.Index(s, "## Runs and inputs"):]
	out := map[string][]Column{}
	head := regexp.MustCompile(`^- \*\*(\w+)\*\*: (.*)$`)
	col := regexp.MustCompile(`^(\w+)(\*?)(?: (e\([^)]*\)|\[\w\]|\w))?( ?\(.*\))?$`)
	for _, line := range strings.Split(s, "\n") {
		m := head.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		body := m[2]
		// Commas inside parentheses do not part columns; prose does not name any.
		var parts []string
		depth, from := 0, 0
		for i, r := range body + "." {
			switch r {
			case '(':
				depth++
			case ')':
				depth--
			}
			if depth == 0 && (r == ',' || r == '.') {
				parts = append(parts, body[from:i])
				from = i + 1
			}
			if depth == 0 && r == '.' {
				break
			}
		}
		for _, p := range parts {
			p = strings.TrimSpace(p)
			// Prose before the first column of some tables.
			for _, lead := range []string{"one row per CallSid", "or where there is none per SIP dialog set:", "the rungs of every ladder:", "in queue order", "in any input:", "one row per call that was queued or arrived",
				"one row per RTP stream (RFC 3550: one SSRC from one source to one destination, bounded by its dialog):", "each stream per second:"} {
				p = strings.TrimSpace(strings.TrimPrefix(p, lead))
			}
			if p == "" {
				continue
			}
			c := col.FindStringSubmatch(p)
			if c == nil {
				t.Fatalf("%s: cannot read %q", m[1], p)
			}
			k := Column{Name: c[1], Key: c[2] != "", Type: c[3]}
			if strings.HasPrefix(k.Type, "e(") {
				k.Enum = strings.Split(k.Type[2:len(k.Type)-1], "|")
				k.Type = "e"
			}
			out[m[1]] = append(out[m[1]], k)
		}
	}
	return out
}

func TestSchemaIsTheContract(t *testing.T) {
	want := contract(t)
	if len(want) != 17 {
		t.Fatalf("%d tables read from TABLES.md, wanted 17", len(want))
	}
	added := map[string][]string{
		"streams": {"dtmf_digits"},
		"rates":   {"span_s", "span_error_s", "idle_s", "segments_low", "segments_high", "items_low", "items_high", "latency_by", "backlog"},
	}
	for _, s := range Schemas() {
		cols := want[s.Name]
		if cols == nil {
			t.Errorf("table %s is not in the contract", s.Name)
			continue
		}
		got := map[string]Column{}
		for _, c := range s.Columns {
			got[c.Name] = c
		}
		if s.Columns[0].Name != "experiment" {
			t.Errorf("%s: first column is %s", s.Name, s.Columns[0].Name)
		}
		last := 0
		for _, w := range cols {
			g, ok := got[w.Name]
			if !ok {
				t.Errorf("%s.%s is missing", s.Name, w.Name)
				continue
			}
			if at := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == w.Name }); at < last {
				t.Errorf("%s.%s is out of order", s.Name, w.Name)
			} else {
				last = at
			}
			// A type left out says "as before": arrived_by in arrivals, the
			// second verdict.
			if w.Name == "experiment" || w.Name == "file" {
				w.Type = "s" // said once, under Rules
			}
			if w.Type == "" {
				if g.Type != "e" {
					t.Errorf("%s.%s is %s, wanted an enum", s.Name, w.Name, g.Type)
				}
			} else if g.Type != w.Type {
				t.Errorf("%s.%s is %s, wanted %s", s.Name, w.Name, g.Type, w.Type)
			}
			if g.Key != w.Key {
				t.Errorf("%s.%s key is %v, wanted %v", s.Name, w.Name, g.Key, w.Key)
			}
			for _, e := range w.Enum {
				if e != "..." && !slices.Contains(g.Enum, e) {
					t.Errorf("%s.%s lacks value %s", s.Name, w.Name, e)
				}
			}
			if w.Enum != nil && !slices.Contains(w.Enum, "...") && len(w.Enum) != len(g.Enum) {
				t.Errorf("%s.%s has values %v, wanted %v", s.Name, w.Name, g.Enum, w.Enum)
			}
			delete(got, w.Name)
		}
		delete(got, "experiment")
		// Columns may be added, behind those of the contract.
		for _, name := range added[s.Name] {
			if at := slices.IndexFunc(s.Columns, func(c Column) bool { return c.Name == name }); at < last {
				t.Errorf("%s.%s, added, is at %d: wanted behind column %d, or it is missing", s.Name, name, at, last)
			}
			delete(got, name)
		}
		for name := range got {
			t.Errorf("%s.%s is not in the contract", s.Name, name)
		}
	}
}

func TestUnitsStandInNames(t *testing.T) {
	suffix := map[string]string{"ms": "_ms", "s": "_s", "bytes": "bytes", "1/s": "_per_s", "pct": "_pct", "ppm": "_ppm", "hz": "_hz"}
	for _, s := range Schemas() {
		for _, c := range s.Columns {
			if c.Doc == "" {
				t.Errorf("%s.%s has no description", s.Name, c.Name)
			}
			if c.Unit != "" && !strings.Contains(c.Name, suffix[c.Unit]) && c.Name != "snaplen" {
				t.Errorf("%s.%s has unit %s", s.Name, c.Name, c.Unit)
			}
		}
		for _, name := range strings.Fields(tableDocs[find(s.Name).field].narrow) {
			if _, err := find(s.Name).column(name); err != nil {
				t.Error(err)
			}
		}
	}
	if _, ok := Lookup("stream-intervals"); !ok {
		t.Error("no stream-intervals")
	}
	if _, ok := Lookup("stream_intervals"); !ok {
		t.Error("no stream_intervals")
	}
	if _, ok := Lookup("streamintervals"); ok {
		t.Error("streamintervals is a table")
	}
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 7, 300} {
		d := randomDataset(uint64(n), n)
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		d.Sort()
		m := memDir{}
		if _, err := WriteDir(m.create, d, true, 1); err != nil {
			t.Fatal(err)
		}
		for _, s := range Schemas() {
			if m["tables/"+s.Name+"/0-schema.parquet"] == nil || m["arrow/"+s.Name+".arrow"] == nil {
				t.Errorf("files of %s are missing", s.Name)
			}
		}
		if n > 0 && m["tables/calls/run%2F1.parquet"] == nil {
			t.Error("no file of experiment run/1")
		}
		if n > 6 && m["tables/calls/%2E.%2Fup.parquet"] == nil {
			t.Error("no file of experiment ../up")
		}
		got, err := ReadDir(m.fs())
		if err != nil {
			t.Fatal(err)
		}
		for i := range specs {
			want, have := specs[i].slice(d), specs[i].slice(got)
			if want.Len() != have.Len() {
				t.Fatalf("%s: %d rows, wanted %d", specs[i].schema.Name, have.Len(), want.Len())
			}
			for j := range want.Len() {
				if !specs[i].sameRow(want.Index(j), have.Index(j)) {
					t.Fatalf("%s row %d:\n%+v\nwanted\n%+v", specs[i].schema.Name, j, have.Index(j), want.Index(j))
				}
			}
		}
		again := memDir{}
		if _, err := WriteDir(again.create, got, true, 1); err != nil {
			t.Fatal(err)
		}
		for name, b := range m {
			if !bytes.Equal(b.Bytes(), again[name].Bytes()) {
				t.Errorf("%s: other bytes the second time", name)
			}
		}
	}
}

// Row groups and pages of more than one, dictionaries that overflow to PLAIN.
func TestRoundTripLarge(t *testing.T) {
	n := rowGroup + 1000
	d := new(Dataset)
	for i := range n {
		m := sessions.Message{Experiment: "big", SID: fmt.Sprintf("SM%032x", i), Status: "sent", File: "m.json", QueuedAt: decode.Time(1e18) + decode.Time(i)}
		if i%3 == 0 {
			m.Record = decode.Some(int64(i))
		}
		d.Messages.Add(m)
		d.Hosts = append(d.Hosts, sessions.Host{Experiment: "big", Address: fmt.Sprint(i), Names: make([]string, i%3)})
		for k := range d.Hosts[i].Names {
			d.Hosts[i].Names[k] = fmt.Sprintf("name %d %d", i, k)
		}
		if i%3 == 0 {
			d.Hosts[i].Names = nil
		}
	}
	d.Sort()
	m := memDir{}
	if _, err := WriteDir(m.create, d, false, 1); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDir(m.fs())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(d.Messages.Slice(), got.Messages.Slice()) || !reflect.DeepEqual(d.Hosts, got.Hosts) {
		t.Error("rows differ")
	}
}

func TestInvalidUTF8(t *testing.T) {
	d := &Dataset{Oddities: []sessions.Oddity{{Experiment: "e", Rule: "r", At: 1, Text: "a\xff\xfeb"}},
		Hosts: []sessions.Host{{Experiment: "e", Address: "1", Names: []string{"ok", "\xc3("}}}}
	var b bytes.Buffer
	if err := Write(&b, d, "oddities", FormatNDJSON, View{Columns: []string{"text"}}); err != nil {
		t.Fatal(err)
	}
	if b.String() != "{\"text\":\"a\ufffd\ufffdb\"}\n" {
		t.Errorf("%q", b.String())
	}
	m := memDir{}
	if _, err := WriteDir(m.create, d, true, 1); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDir(m.fs())
	if err != nil {
		t.Fatal(err)
	}
	if got.Oddities[0].Text != "a\ufffd\ufffdb" || got.Hosts[0].Names[1] != "\ufffd(" {
		t.Errorf("%q %q", got.Oddities[0].Text, got.Hosts[0].Names)
	}
	if d.Hosts[0].Names[1] != "\xc3(" {
		t.Error("the dataset was changed by writing")
	}
	// Who has the rows must know that they are not what is read.
	for text, want := range map[string]bool{"a\xff": false, "a\ufffd": true, "": true} {
		d := &Dataset{Oddities: []sessions.Oddity{{Experiment: "e", Rule: "r", At: 1, Text: text}}}
		if asIs, err := WriteDir(memDir{}.create, d, false, 1); asIs != want || err != nil {
			t.Errorf("%q is read back as it is: %v, %v", text, asIs, err)
		}
	}
	d.Oddities, d.Hosts[0].Names = append(d.Oddities[:0], sessions.Oddity{Experiment: "f", Rule: "r", At: 1}), nil
	if asIs, _ := WriteDir(memDir{}.create, d, false, 1); !asIs {
		t.Error("tables of one experiment each are read as they are")
	}
	d.Oddities = append(d.Oddities, sessions.Oddity{Experiment: "e", Rule: "r", At: 1})
	if asIs, _ := WriteDir(memDir{}.create, d, false, 1); asIs {
		t.Error("two experiments of a table are read in the order of their files")
	}
}

func TestKeep(t *testing.T) {
	d := randomDataset(6, 3)
	d.Keep("rates", "signals")
	for _, s := range Schemas() {
		want := 0
		if s.Name == "rates" || s.Name == "signals" {
			want = 3
		}
		if d.Len(s.Name) != want {
			t.Errorf("%s has %d rows, want %d", s.Name, d.Len(s.Name), want)
		}
	}
}

// Tables written side by side are the same files.
func TestWorkersChangeNothing(t *testing.T) {
	d := randomDataset(5, 300)
	one, many := memDir{}, memDir{}
	if _, err := WriteDir(one.create, d, true, 1); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	create := func(name string) (io.WriteCloser, error) {
		mu.Lock()
		defer mu.Unlock()
		return many.create(name)
	}
	if _, err := WriteDir(create, d, true, 4); err != nil {
		t.Fatal(err)
	}
	if len(one) != len(many) {
		t.Fatalf("%d files, with four workers %d", len(one), len(many))
	}
	for name, b := range one {
		if !bytes.Equal(b.Bytes(), many[name].Bytes()) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestNDJSON(t *testing.T) {
	d := randomDataset(3, 50)
	for _, s := range Schemas() {
		sp := find(s.Name)
		var nd, all bytes.Buffer
		if err := Write(&nd, d, s.Name, FormatNDJSON, View{}); err != nil {
			t.Fatal(err)
		}
		if err := Write(&all, d, s.Name, FormatJSON, View{}); err != nil {
			t.Fatal(err)
		}
		var array []map[string]any
		if err := json.Unmarshal(all.Bytes(), &array); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(nd.String(), "\n"), "\n")
		if len(lines) != 50 || len(array) != 50 {
			t.Fatalf("%s: %d lines, %d objects", s.Name, len(lines), len(array))
		}
		for i, line := range lines {
			dec := json.NewDecoder(strings.NewReader(line))
			dec.UseNumber()
			var o map[string]any
			if err := dec.Decode(&o); err != nil {
				t.Fatalf("%s: %v in %s", s.Name, err, line)
			}
			if len(o) != len(s.Columns) || len(array[i]) != len(s.Columns) {
				t.Fatalf("%s: %d members, wanted every column", s.Name, len(o))
			}
			row := sp.slice(d).Index(i)
			for k := range sp.cols {
				c := &sp.cols[k]
				v, got := c.cell(row.Addr().UnsafePointer()), o[c.Name]
				if v.null != (got == nil) {
					t.Fatalf("%s.%s is %v, null %v", s.Name, c.Name, got, v.null)
				}
				if v.null {
					continue
				}
				switch c.kind {
				case kindTime:
					at, err := time.Parse(time.RFC3339Nano, got.(string))
					if err != nil || at.UnixNano() != v.i || len(got.(string)) != len("2013-11-21T18:00:00.000000000Z") || !strings.HasSuffix(got.(string), "Z") {
						t.Fatalf("%s.%s: %v of %d", s.Name, c.Name, got, v.i)
					}
				case kindText, kindEnum:
					if got != v.s {
						t.Fatalf("%s.%s: %q, wanted %q", s.Name, c.Name, got, v.s)
					}
				case kindFloat:
					if f, err := got.(json.Number).Float64(); err != nil || f != v.f {
						t.Fatalf("%s.%s: %v, wanted %v", s.Name, c.Name, got, v.f)
					}
				case kindInt, kindUint:
					if n, err := got.(json.Number).Int64(); err != nil || n != v.i {
						t.Fatalf("%s.%s: %v, wanted %v", s.Name, c.Name, got, v.i)
					}
				}
			}
		}
	}
}

func TestEmpty(t *testing.T) {
	d := new(Dataset)
	want := map[Format]string{
		FormatCSV:    "experiment,host,by,samples,offset_low_ms,offset_high_ms,drift_ppm\n",
		FormatJSON:   "[\n]\n",
		FormatNDJSON: "",
		FormatTable:  "experiment  host  by  samples  offset_low_ms  offset_high_ms  drift_ppm\n",
	}
	for f, w := range want {
		var b bytes.Buffer
		if err := Write(&b, d, "clocks", f, View{}); err != nil || b.String() != w {
			t.Errorf("%s: %q %v, wanted %q", f, b.String(), err, w)
		}
	}
}

func TestCSV(t *testing.T) {
	cases := []struct{ in, field string }{
		{"", ""}, {"plain", "plain"}, {"a,b", `"a,b"`}, {`q"q`, `"q""q"`}, {"l\nl", "\"l\nl\""},
		{"=1+1", `"'=1+1"`}, {"+15550100", "+15550100"}, {"+1 555 0100", `"'+1 555 0100"`}, {"-1", "-1"}, {"-", `"'-"`}, {"+1e", `"'+1e"`}, {"-.5E+3", "-.5E+3"},
		{"@x", `"'@x"`}, {"\tx", "\"'\tx\""}, {"+1;=x", `"'+1;=x"`}, {"--1", `"'--1"`}, {"+", `"'+"`}, {"-1.", "-1."}, {"+.", `"'+."`},
	}
	for _, c := range cases {
		if got := string(appendCSV(nil, c.in)); got != c.field {
			t.Errorf("%q is written %s, wanted %s", c.in, got, c.field)
		}
	}
	d := randomDataset(4, 40)
	for _, s := range Schemas() {
		var b bytes.Buffer
		if err := Write(&b, d, s.Name, FormatCSV, View{}); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(bytes.NewReader(b.Bytes())).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(records) != 41 {
			t.Fatalf("%s: %d records, wanted 41", s.Name, len(records))
		}
		for i, r := range records[1:] {
			for k, field := range r {
				c := &find(s.Name).cols[k]
				v := c.cell(rowOf(find(s.Name).slice(d), i))
				if v.null != (field == "") && !(c.kind == kindText && v.s == "") {
					t.Fatalf("%s.%s: %q, null %v", s.Name, c.Name, field, v.null)
				}
				switch c.kind {
				case kindTexts:
					var l []string
					if err := json.Unmarshal([]byte(field), &l); err != nil || !slices.Equal(l, v.ss) {
						t.Fatalf("%s.%s: %q of %q: %v", s.Name, c.Name, field, v.ss, err)
					}
				case kindText:
					// csv.Reader reads \r\n as \n; no text here holds it.
					if strings.TrimPrefix(field, "'") != strings.TrimPrefix(v.s, "'") {
						t.Fatalf("%s.%s: %q, wanted %q", s.Name, c.Name, field, v.s)
					}
					if field != "" && strings.ContainsRune("=@\t", rune(field[0])) {
						t.Fatalf("%s.%s: %q would be a formula", s.Name, c.Name, field)
					}
				}
			}
		}
	}
	var b bytes.Buffer
	if err := Write(&b, &Dataset{Oddities: []sessions.Oddity{{}, {Text: "x"}}}, "oddities", FormatCSV, View{Columns: []string{"text"}}); err != nil || b.String() != "text\n\"\"\nx\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}

func TestFloats(t *testing.T) {
	for f, want := range map[float64]string{0: "0", 1: "1", 0.1: "0.1", 1e21: "1e+21", 123456789.125: "123456789.125", 1e-7: "1e-07", math.Copysign(0, -1): "-0", 1.0 / 3: "0.3333333333333333"} {
		if got := string(appendFloat(nil, f)); got != want {
			t.Errorf("%v is written %s, wanted %s", f, got, want)
		}
	}
	d := &Dataset{Clocks: []sessions.Clock{{Host: "h", DriftPPM: decode.Some(math.NaN()), OffsetLowMS: decode.Some(math.Inf(1))}}}
	for _, f := range []Format{FormatNDJSON, FormatCSV, FormatTable, FormatJSON} {
		var b bytes.Buffer
		if err := Write(&b, d, "clocks", f, View{}); err != nil || strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Errorf("%s: %s %v", f, b.String(), err)
		}
	}
}

func TestSort(t *testing.T) {
	d := randomDataset(5, 200)
	d.Sort()
	want := randomDataset(5, 200)
	r := rand.New(rand.NewPCG(9, 9))
	for i := range specs {
		rows := specs[i].slice(want)
		r.Shuffle(rows.Len(), reflect.Swapper(rows.Interface()))
		specs[i].set(want, rows)
	}
	want.Sort()
	if !same(d, want) {
		t.Error("order depends on the order before")
	}
	for i := 1; i < d.Signals.Len(); i++ {
		a, b := d.Signals.At(i-1), d.Signals.At(i)
		if a.Experiment > b.Experiment || a.Experiment == b.Experiment && (a.At > b.At || a.At == b.At && a.File > b.File) {
			t.Fatalf("signals %d and %d are out of order", i-1, i)
		}
	}

	l := &Dataset{Ledger: []decode.LedgerRow{
		{Layer: "udp", Reason: "used"}, {Layer: "ip", Reason: "too short"}, {Layer: "frame", Reason: "cut"}, {Layer: "ip", Reason: "used"}, {Layer: "frame", Reason: "used"}, {Layer: "ip", Reason: "bad"}}}
	l.Sort()
	var got []string
	for _, r := range l.Ledger {
		got = append(got, r.Layer+" "+r.Reason)
	}
	if w := []string{"frame used", "frame cut", "ip used", "ip bad", "ip too short", "udp used"}; !slices.Equal(got, w) {
		t.Errorf("ledger: %q, wanted %q", got, w)
	}
	a := &Dataset{Arrivals: []sessions.Arrival{{Experiment: "b", Seq: 1}, {Experiment: "a", Seq: 10}, {Experiment: "a", Seq: 9, File: "z"}}}
	a.Sort()
	if a.Arrivals[0].Seq != 9 || a.Arrivals[1].Seq != 10 || a.Arrivals[2].Experiment != "b" {
		t.Errorf("arrivals: %+v", a.Arrivals)
	}
}

func TestAppendAndSetExperiment(t *testing.T) {
	a, b := randomDataset(1, 3), randomDataset(2, 4)
	a.Append(b)
	a.SetExperiment("one")
	for _, s := range Schemas() {
		if a.Len(s.Name) != 7 {
			t.Errorf("%s: %d rows, wanted 7", s.Name, a.Len(s.Name))
		}
		rows := find(s.Name).slice(a)
		for i := range rows.Len() {
			if got := rows.Index(i).Field(0).String(); got != "one" {
				t.Errorf("%s: experiment %q", s.Name, got)
			}
		}
	}
	if b.Calls[0].Experiment == "one" {
		t.Error("the appended dataset was changed")
	}
}

func TestCheck(t *testing.T) {
	ok := sessions.Call{Experiment: "e", CallID: "1"}
	cases := []struct {
		name string
		d    Dataset
		want string
	}{
		{"good", Dataset{Calls: []sessions.Call{ok, {Experiment: "f", CallID: "1"}}}, ""},
		{"same key", Dataset{Calls: []sessions.Call{ok, ok}}, "same key experiment=\"e\" call_id=\"1\""},
		{"no key", Dataset{Calls: []sessions.Call{{Experiment: "e"}}}, "call_id is a key"},
		{"no experiment", Dataset{Calls: []sessions.Call{{CallID: "1"}}}, "experiment is a key"},
		{"open enum", Dataset{Calls: []sessions.Call{{Experiment: "e", CallID: "1", Outcome: "lost"}}}, `outcome is "lost"`},
		{"NaN", Dataset{Calls: []sessions.Call{{Experiment: "e", CallID: "1", RingMS: decode.Some(math.NaN())}}}, "ring_ms is NaN"},
		{"unknown NaN", Dataset{Calls: []sessions.Call{{Experiment: "e", CallID: "1", RingMS: sessions.Float{V: math.NaN()}}}}, ""},
		{"no key at all", Dataset{Signals: packed.Of(sessions.Signal{Experiment: "e"}, sessions.Signal{Experiment: "e"})}, ""},
		{"interval", Dataset{StreamIntervals: packed.Of([]sessions.StreamInterval{{Experiment: "e", StreamID: 1, At: 5}, {Experiment: "e", StreamID: 1, At: 6}, {Experiment: "e", StreamID: 2, At: 5}}...)}, ""},
		{"two tables", Dataset{Calls: []sessions.Call{ok, ok}, Flows: []sessions.Flow{{Experiment: "e"}, {Experiment: "e"}}}, "table flows, rows 0 and 1"},
		{"interval twice", Dataset{StreamIntervals: packed.Of([]sessions.StreamInterval{{Experiment: "e", StreamID: 1, At: 5}, {Experiment: "e", StreamID: 1, At: 5}}...)}, "same key"},
	}
	for _, c := range cases {
		err := c.d.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, wanted %q", c.name, err, c.want)
		}
	}
}

func TestView(t *testing.T) {
	d := &Dataset{Calls: []sessions.Call{
		{Experiment: "e", CallID: "a", Outcome: "answered", DurationS: decode.Some(12.5), StatusCode: decode.Some(int64(200)), ArrivedAt: 1385056800_000000001, Protocols: []string{"sip"}, OpenAtEnd: true, From: "+15550100"},
		{Experiment: "e", CallID: "b", Outcome: "busy", StatusCode: decode.Some(int64(486)), ArrivedAt: 1385056801_000000000, Protocols: []string{"pstream", "sip"}, From: "client:bob"},
		{Experiment: "e", CallID: "c", Outcome: "failed", Protocols: nil},
	}}
	ids := func(v View) string {
		t.Helper()
		v.Columns = []string{"call_id"}
		var b bytes.Buffer
		if err := Write(&b, d, "calls", FormatCSV, v); err != nil {
			return err.Error()
		}
		return strings.Join(strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")[1:], "")
	}
	where := []struct{ cond, want string }{
		{"call_id = a", "a"}, {"call_id!=a", "bc"}, {"call_id > 'a'", "bc"},
		{"duration_s < 13", "a"}, {"duration_s != 1", "a"}, {"duration_s is null", "bc"}, {"duration_s is not null", "a"},
		{"status_code >= 300", "b"}, {"status_code < 300.5", "a"}, {"status_code = 4.86e2", "b"},
		{"arrived_at > 2013-11-21T18:00:00Z", "ab"}, {"arrived_at = 2013-11-21T19:00:00.000000001+01:00", "a"}, {"arrived_at <= 2013-11-21T18:00:00Z", ""}, {"arrived_at is null", "c"},
		{"protocols = sip", "ab"}, {"protocols != sip", "b"}, {"protocols ~ ^p", "b"},
		{"open_at_end = true", "a"}, {"open_at_end != true", "bc"},
		{"outcome = busy", "b"}, {"outcome ~ ^(busy|failed)$", "bc"}, {"outcome > answered", "bc"},
		{"from ~ ^client:", "b"}, {"from = \"+15550100\"", "a"},
	}
	for _, w := range where {
		c, err := ParseCond(w.cond)
		if err != nil {
			t.Errorf("%s: %v", w.cond, err)
			continue
		}
		if got := ids(View{Where: []Cond{c}}); got != w.want {
			t.Errorf("%s: %q, wanted %q", w.cond, got, w.want)
		}
		if c2, err := ParseCond(c.String()); err != nil || c2.String() != c.String() {
			t.Errorf("%s prints as %s, which reads as %s, %v", w.cond, c, c2, err)
		}
	}
	bad := []struct{ cond, want string }{
		{"statuscode = 1", "nearest is status_code"}, {"status_code = x", "wanted a number"}, {"status_code ~ 4", "text only"}, {"arrived_at = noon", "wanted a time"}, {"arrived_at = 9999-01-01T00:00:00Z", "wanted a time"},
		{"open_at_end = yes", "true or false"}, {"outcome = lost", "wanted one of answered"},
	}
	for _, w := range bad {
		c, err := ParseCond(w.cond)
		if err != nil {
			t.Errorf("%s: %v", w.cond, err)
			continue
		}
		if got := ids(View{Where: []Cond{c}}); !strings.Contains(got, w.want) {
			t.Errorf("%s: %q, wanted %q", w.cond, got, w.want)
		}
	}
	for _, s := range []string{"", "=", "call_id", "call_id ? x", "from ~ (", "= 3", "call_id is", "call_id is nul"} {
		if c, err := ParseCond(s); err == nil {
			t.Errorf("%q is read as %s", s, c)
		}
	}
	a, _ := ParseCond("status_code > 100")
	b, _ := ParseCond("outcome = busy")
	if got := ids(View{Where: []Cond{a, b}}); got != "b" {
		t.Errorf("two conditions: %q", got)
	}
	for _, s := range []struct {
		v    View
		want string
	}{
		{View{Sort: []string{"-call_id"}}, "cba"}, {View{Sort: []string{"-call_id"}, Limit: 2}, "cb"}, {View{Limit: 1}, "a"}, {View{Where: []Cond{a}, Limit: 1}, "a"},
		{View{Sort: []string{"duration_s", "-call_id"}}, "acb"}, {View{Sort: []string{"-duration_s", "call_id"}}, "abc"}, {View{Sort: []string{"-status_code"}}, "bac"},
	} {
		if got := ids(s.v); got != s.want {
			t.Errorf("%+v: %q, wanted %q", s.v, got, s.want)
		}
	}
	for _, v := range []View{{Columns: []string{"form"}}, {Sort: []string{"-form"}}} {
		if err := Write(io.Discard, d, "calls", FormatCSV, v); err == nil || !strings.Contains(err.Error(), "nearest is from") {
			t.Errorf("%v", err)
		}
	}
	if err := Write(io.Discard, d, "call", FormatCSV, View{}); err == nil || !strings.Contains(err.Error(), "nearest is calls") {
		t.Errorf("%v", err)
	}
	if err := Write(io.Discard, d, "calls", FormatCSV, View{Columns: []string{"from", "from"}}); err == nil {
		t.Error("a column twice")
	}
}

func TestTable(t *testing.T) {
	d := &Dataset{Signals: packed.Of([]sessions.Signal{
		{Experiment: "e", CallID: "CA1", At: 1385056800_250000000, File: "a.pcap", Frame: decode.Some(int64(7)), Protocol: "sip", Src: "192.0.2.1", Dst: "192.0.2.2", Kind: "INVITE", Label: strings.Repeat("long ", 60), Detail: packed.NewText("INVITE sip:x\r\n\x1b[2J\u202e")},
		{Experiment: "e", CallID: "CA2", At: 1385056801_000000000, File: "a.pcap", Frame: decode.Some(int64(1234)), Protocol: "sip", Src: "192.0.2.1", Dst: "192.0.2.2", Kind: "漢字", DurationMS: decode.Some(0.1234567890123)},
	}...)}
	zone := time.FixedZone("", 5*3600+45*60)
	var b bytes.Buffer
	if err := Write(&b, d, "signals", FormatTable, View{Columns: []string{"at", "frame", "kind", "duration_ms", "retransmission"}, Zone: zone, Summary: true}); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"at                             frame  kind    duration_ms  retransmission\n" +
		"2013-11-21T23:45:00.250+05:45      7  INVITE               false\n" +
		"2013-11-21T23:45:01.000+05:45   1234  漢字          0.123  false\n" +
		"2 rows\n"
	if b.String() != want {
		t.Errorf("got\n%swanted\n%s", b.String(), want)
	}
	b.Reset()
	if err := Write(&b, d, "signals", FormatTable, View{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `INVITE sip:x\u{d}\u{a}\u{1b}[2J\u{202e}`) || strings.ContainsAny(b.String(), "\x1b\r\u202e") || strings.Count(b.String(), "\n") != 3 {
		t.Errorf("%q", b.String())
	}
	for _, width := range []int{40, 60, 80, 100, 132, 200, 400} {
		b.Reset()
		if err := Write(&b, d, "signals", FormatTable, View{Width: width}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		for _, l := range lines {
			if n := textCells([]byte(l)); n > width {
				t.Errorf("width %d: line of %d: %q", width, n, l)
			}
		}
		if width == 80 && (!strings.HasPrefix(lines[0], "at ") || !strings.Contains(lines[0], "  kind") || !strings.Contains(b.String(), "\nnot shown: experiment, call_id, ") || !strings.HasSuffix(b.String(), "(--columns chooses)\n")) {
			t.Errorf("width 80:\n%s", b.String())
		}
	}
	// Every column is either shown or named as not shown.
	b.Reset()
	if err := Write(&b, d, "signals", FormatTable, View{Width: 72}); err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(b.String(), func(c rune) bool { return c == ' ' || c == ',' || c == '\n' })
	for _, s := range Schemas() {
		for _, c := range s.Columns {
			if s.Name == "signals" && !slices.Contains(words, c.Name) {
				t.Errorf("column %s is neither shown nor named", c.Name)
			}
		}
	}
	b.Reset()
	if err := Write(&b, d, "signals", FormatTable, View{Width: 60, Columns: []string{"at", "label"}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "…\n") || strings.Contains(b.String(), "not shown") {
		t.Errorf("%s", b.String())
	}
}

func TestWriteSchema(t *testing.T) {
	var b bytes.Buffer
	if err := WriteSchema(&b, "", FormatCSV); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	n := 1
	for _, s := range Schemas() {
		n += len(s.Columns)
	}
	if len(records) != n {
		t.Errorf("%d records, wanted %d", len(records), n)
	}
	b.Reset()
	if err := WriteSchema(&b, "", FormatJSON); err != nil {
		t.Fatal(err)
	}
	var tables []struct {
		Table   string
		Columns []struct{ Column, Type string }
	}
	if err := json.Unmarshal(b.Bytes(), &tables); err != nil {
		t.Fatal(err)
	}
	if len(tables) != 17 || tables[12].Table != "stream_intervals" || tables[12].Columns[2].Type != "timestamp[ns, UTC]" {
		t.Errorf("%+v", tables)
	}
	b.Reset()
	if err := WriteSchema(&b, "stream-intervals", FormatTable); err != nil || !strings.HasPrefix(b.String(), "stream_intervals: ") {
		t.Errorf("%v %s", err, b.String())
	}
	if err := WriteSchema(&b, "strems", FormatTable); err == nil || !strings.Contains(err.Error(), "streams") {
		t.Errorf("%v", err)
	}
}

func TestFileName(t *testing.T) {
	for in, want := range map[string]string{
		"calls-1": "calls-1", "a/b": "a%2Fb", "..": "%2E.", "a b%": "a%20b%25", "0-schema": "%30-schema", "": "%", "ä": "%C3%A4", "con:x": "con%3Ax", ".hidden.x": "%2Ehidden.x",
	} {
		if got := FileName(in); got != want {
			t.Errorf("%q: %q, wanted %q", in, got, want)
		}
	}
	a, b := FileName(strings.Repeat("x", 500)), FileName(strings.Repeat("x", 501))
	if a == b || len(a) > 240 {
		t.Errorf("%q %q", a, b)
	}
}

// failing is a disk that fills up.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if len(p) > f.left {
		return 0, fs.ErrPermission
	}
	f.left -= len(p)
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	d := randomDataset(6, 3000)
	for _, f := range []Format{FormatArrow, FormatParquet, FormatCSV, FormatJSON, FormatNDJSON, FormatTable} {
		for _, room := range []int{0, 100, 100_000} {
			if err := Write(&failing{room}, d, "calls", f, View{}); err == nil {
				t.Errorf("%s with room for %d bytes: no error", f, room)
			}
		}
	}
}

// Rows formatted side by side are the same text, whatever ends within a block;
// and nobody goes on formatting for a writer that failed.
func TestFormattedSideBySide(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	d := randomDataset(7, 6*block)
	write := func(procs int, w io.Writer, table string, f Format, v View) error {
		runtime.GOMAXPROCS(procs)
		return Write(w, d, table, f, v)
	}
	for _, table := range []string{"calls", "signals", "stream_intervals"} {
		for _, f := range []Format{FormatCSV, FormatJSON, FormatNDJSON} {
			for _, v := range []View{{}, {Sort: []string{"-at"}}, {Limit: 2*block + 1}, {Limit: 3 * block}, {Limit: 5*block - 1}, {Limit: block}, {Columns: []string{"call_id"}, Bare: true}} {
				if table == "calls" && v.Sort != nil {
					v.Sort = []string{"-arrived_at"}
				}
				if table == "stream_intervals" && v.Columns != nil {
					v.Columns = []string{"stream_id"}
				}
				var one, many bytes.Buffer
				if err := write(1, &one, table, f, v); err != nil {
					t.Fatal(err)
				}
				if err := write(5, &many, table, f, v); err != nil {
					t.Fatal(err)
				}
				if one.Len() == 0 || !bytes.Equal(one.Bytes(), many.Bytes()) {
					t.Errorf("%s of %s, %+v: %d bytes of five goroutines differ from %d bytes of one", f, table, v, many.Len(), one.Len())
				}
			}
			synctest.Test(t, func(t *testing.T) { // fails when goroutines are left waiting
				if err := write(5, &failing{70_000}, table, f, View{}); err == nil {
					t.Errorf("%s of %s: no error of a writer that fails", f, table)
				}
			})
		}
	}
}

// Times as package time writes them, from end to end of what int64 reaches.
func TestAppendTime(t *testing.T) {
	check := func(ns int64) {
		t.Helper()
		want := time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z")
		if got := string(appendTime(nil, ns)); got != want {
			t.Fatalf("%d is %s, want %s", ns, got, want)
		}
	}
	for _, ns := range []int64{0, -1, 1, math.MinInt64, math.MaxInt64} {
		check(ns)
	}
	for day := int64(-106_751); day <= 106_750; day++ {
		check(day * 86_400e9)
		check(day*86_400e9 - 1)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		check(int64(r.Uint64()))
	}
}

// ReadCSV says what comes out of the CSV that is written.
func TestReadCSV(t *testing.T) {
	for _, text := range append(slices.Clone(hostile), "-5", "+1@x", "'=x", "@", "1e5", "-1e5") {
		if text == "" || strings.ContainsRune(text, '\r') {
			continue // a reader makes a line end of it
		}
		d := &Dataset{Oddities: []sessions.Oddity{{Experiment: "e", Rule: "r", At: 1, Text: text}}}
		var b bytes.Buffer
		if err := Write(&b, d, "oddities", FormatCSV, View{Columns: []string{"text"}}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 2 || rows[1][0] != ReadCSV(text) {
			t.Errorf("%q is read as %q, told is %q; %v", text, rows, ReadCSV(text), err)
		}
	}
}
