package table

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/packed"
	"github.com/twtrace/twtrace/sessions"
)

// A stream holds what the file of the same rows holds.
func TestArrowStream(t *testing.T) {
	d := randomDataset(12, 20)
	for i := range 2*arrowBatch + 10 {
		d.Signals.Add(sessions.Signal{Experiment: "e", At: decode.Time(1e18) + decode.Time(i), Protocol: []string{"sip", "tls", ""}[i%3]})
	}
	for _, s := range Schemas() {
		var stream, file bytes.Buffer
		if err := Write(&stream, d, s.Name, FormatArrow, View{Stream: true}); err != nil {
			t.Fatal(err)
		}
		if err := Write(&file, d, s.Name, FormatArrow, View{}); err != nil {
			t.Fatal(err)
		}
		r, err := ipc.NewReader(&stream)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		defer r.Release()
		f, err := ipc.NewFileReader(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for n := range f.NumRecords() {
			want, err := f.Record(n)
			if err != nil || !r.Next() || !array.RecordEqual(want, r.Record()) {
				t.Fatalf("%s: batch %d differs; %v, %v", s.Name, n, err, r.Err())
			}
		}
		if r.Next() || r.Err() != nil || !r.Schema().Equal(f.Schema()) {
			t.Errorf("%s: more batches, or another schema; %v", s.Name, r.Err())
		}
	}
}

// IPC files are read back by arrow's own reader, batch by batch.
func TestArrowReadBack(t *testing.T) {
	d := randomDataset(11, 500)
	for i := range arrowBatch + 10 { // more than one batch with dictionaries
		d.Signals.Add(sessions.Signal{Experiment: "e", At: decode.Time(1e18) + decode.Time(i), Protocol: []string{"sip", "tls", ""}[i%3]})
	}
	for _, s := range Schemas() {
		sp := find(s.Name)
		var b bytes.Buffer
		if err := Write(&b, d, s.Name, FormatArrow, View{}); err != nil {
			t.Fatal(err)
		}
		r, err := ipc.NewFileReader(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		meta := r.Schema().Metadata()
		if v, ok := meta.GetValue("twtrace.schema_version"); !ok || v != fmt.Sprint(SchemaVersion) {
			t.Errorf("%s: version %q", s.Name, v)
		}
		if v, _ := meta.GetValue("twtrace.table"); v != s.Name {
			t.Errorf("%s: table %q", s.Name, v)
		}
		types := map[string]string{"t": "timestamp[ns, tz=UTC]", "s": "utf8", "e": "dictionary<values=utf8, indices=int8, ordered=true>", "i": "int64", "u": "uint32", "f": "float64", "b": "bool", "[s]": "list<element: utf8>", "[i]": "list<element: int64>"}
		for k, f := range r.Schema().Fields() {
			if f.Name != s.Columns[k].Name || f.Type.String() != types[s.Columns[k].Type] {
				t.Errorf("%s.%s is %s %s", s.Name, s.Columns[k].Name, f.Name, f.Type)
			}
			if v, _ := f.Metadata.GetValue("unit"); v != s.Columns[k].Unit {
				t.Errorf("%s.%s: unit %q", s.Name, f.Name, v)
			}
			if v, _ := f.Metadata.GetValue("description"); v != s.Columns[k].Doc || v == "" {
				t.Errorf("%s.%s: description %q", s.Name, f.Name, v)
			}
		}
		at, rows := 0, sp.slice(d)
		for n := range r.NumRecords() {
			rec, err := r.Record(n)
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(rec.NumRows()) {
				at++
				for k := range sp.cols {
					c := &sp.cols[k]
					v, col := c.cell(rowOf(rows, at-1)), rec.Column(k)
					if col.IsNull(i) != v.null {
						t.Fatalf("%s.%s row %d: null %v", s.Name, c.Name, at, col.IsNull(i))
					}
					if v.null {
						continue
					}
					same := false
					switch a := col.(type) {
					case *array.Timestamp:
						same = int64(a.Value(i)) == v.i
					case *array.String:
						same = a.Value(i) == v.s
					case *array.Dictionary:
						same = a.Dictionary().(*array.String).Value(a.GetValueIndex(i)) == v.s
						if a.Dictionary().Len() != len(c.Enum) {
							t.Fatalf("%s.%s: dictionary of %d, wanted %d", s.Name, c.Name, a.Dictionary().Len(), len(c.Enum))
						}
					case *array.Int64:
						same = a.Value(i) == v.i
					case *array.Uint32:
						same = int64(a.Value(i)) == v.i
					case *array.Float64:
						same = a.Value(i) == v.f
					case *array.Boolean:
						same = a.Value(i) == (v.i != 0)
					case *array.List:
						from, to := a.ValueOffsets(i)
						switch e := a.ListValues().(type) {
						case *array.String:
							var got []string
							for j := from; j < to; j++ {
								got = append(got, e.Value(int(j)))
							}
							same = slices.Equal(got, v.ss)
						case *array.Int64:
							same = slices.Equal(e.Int64Values()[from:to], v.is)
						}
					}
					if !same {
						t.Fatalf("%s.%s row %d: %s differs from %+v", s.Name, c.Name, at, col.ValueStr(i), v)
					}
				}
			}
		}
		if at != d.Len(s.Name) {
			t.Errorf("%s: %d rows, wanted %d", s.Name, at, d.Len(s.Name))
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Writers give back what they take. Only tables without a dictionary can be
// checked: array.NewDictionaryArray leaks in arrow/go v17 (array/util.go:274).
func TestArrowMemory(t *testing.T) {
	d := randomDataset(12, 100)
	for _, name := range []string{"hosts", "stream_intervals", "streams", "call_resources"} {
		s, err := pick(d, find(name), View{})
		if err != nil {
			t.Fatal(err)
		}
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		if err := writeArrowMem(new(bytes.Buffer), s, false, mem); err != nil {
			t.Fatal(err)
		}
		mem.AssertSize(t, 0)
	}
	for _, sc := range Schemas() {
		s, err := pick(d, find(sc.Name), View{})
		if err != nil {
			t.Fatal(err)
		}
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		if err := writeParquetMem(new(bytes.Buffer), s, mem); err != nil {
			t.Fatal(err)
		}
		mem.AssertSize(t, 0)
	}
}

// DuckDB and pyarrow read what WriteDir writes: counts, types, nulls and raw
// nanoseconds.
func TestOtherReaders(t *testing.T) {
	if err := exec.Command("python3", "-c", "import duckdb, pyarrow").Run(); err != nil {
		t.Skip("python3 with duckdb and pyarrow is not here")
	}
	dir := t.TempDir()
	d := randomDataset(13, 300)
	d.Messages.Change(func(i int, m *sessions.Message) {
		if i == 0 {
			m.QueuedAt, m.SID, m.Experiment, m.WaitS = 1385056800_123456789, "first", "run 2", sessions.Float{}
		}
	})
	d.Sort()
	m := memDir{}
	if _, err := WriteDir(m.create, d, true, 1); err != nil {
		t.Fatal(err)
	}
	for name, b := range m {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	const script = `
import duckdb, json, os, sys
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.ipc as ipc
root = sys.argv[1]
out = {}
for t in sorted(os.listdir(root + "/tables")):
    g = f"{root}/tables/{t}/*.parquet"
    n = duckdb.sql(f"select count(*) from read_parquet('{g}')").fetchall()[0][0]
    types = {r[0]: r[1] for r in duckdb.sql(f"describe select * from read_parquet('{g}')").fetchall()}
    files = sorted(os.listdir(f"{root}/tables/{t}"))
    tab = pa.concat_tables([pq.read_table(f"{root}/tables/{t}/{f}") for f in files])
    arr = ipc.open_file(f"{root}/arrow/{t}.arrow").read_all()
    raw = lambda t: pa.table([c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in t.columns], names=t.column_names)
    key = lambda x: json.dumps(x, default=str, sort_keys=True)
    same = sorted(map(key, raw(arr).to_pylist())) == sorted(map(key, raw(tab).to_pylist()))
    out[t] = dict(n=n, types=types, pyrows=tab.num_rows, same=same, meta=(tab.schema.field(1).metadata or {}).get(b"description", b"").decode(),
                  nulls={c: tab.column(c).null_count for c in tab.column_names})
    duckdb.sql(f"copy (select * from read_parquet('{g}')) to '{root}/duck-{t}.parquet' (format parquet)")
    for codec, version, dic in (("snappy", "2.6", True), ("gzip", "2.6", False), ("zstd", "2.6", True), ("none", "2.6", True)):
        for page in ("1.0", "2.0"):
            pq.write_table(tab, f"{root}/py-{codec}-{page}-{t}.parquet", compression=codec, version=version, use_dictionary=dic, data_page_version=page)
ms = pa.concat_tables([pq.read_table(f"{root}/tables/messages/{f}") for f in sorted(os.listdir(root + "/tables/messages"))])
row = [i for i, s in enumerate(ms.column("sid").to_pylist()) if s == "first"][0]
out["first"] = [ms.column("queued_at").cast(pa.int64())[row].as_py(), ms.column("wait_s")[row].as_py()]
out["duckns"] = duckdb.sql(f"select epoch_ns(queued_at), wait_s is null from read_parquet('{root}/tables/messages/*.parquet') where sid = 'first'").fetchall()[0]
out["ordered"] = duckdb.sql(f"select count(*) from read_parquet('{root}/tables/signals/*.parquet') where src_port > 2147483648").fetchall()[0][0]
out["sealed"] = str(ms.schema.field("queued_at").type)
print(json.dumps(out))
`
	cmd := exec.Command("python3", "-c", script, dir)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	types := map[string]string{"t": "TIMESTAMP WITH TIME ZONE", "s": "VARCHAR", "e": "VARCHAR", "i": "BIGINT", "u": "UINTEGER", "f": "DOUBLE", "b": "BOOLEAN", "[s]": "VARCHAR[]", "[i]": "BIGINT[]"}
	for _, s := range Schemas() {
		var r struct {
			N, PyRows int
			Types     map[string]string
			Same      bool
			Meta      string
			Nulls     map[string]int
		}
		if err := json.Unmarshal(raw[s.Name], &r); err != nil {
			t.Fatal(err)
		}
		if r.N != 300 || r.PyRows != 300 || !r.Same {
			t.Errorf("%s: DuckDB %d rows, pyarrow %d, arrow and parquet same: %v", s.Name, r.N, r.PyRows, r.Same)
		}
		if r.Meta != s.Columns[1].Doc {
			t.Errorf("%s: description %q, wanted %q", s.Name, r.Meta, s.Columns[1].Doc)
		}
		rows := find(s.Name).slice(d)
		for k, c := range s.Columns {
			// DuckDB 1 holds times with a zone in microseconds, DuckDB 2 in ns.
			if got := strings.Replace(r.Types[c.Name], "TIMESTAMPTZ_NS", "TIMESTAMP WITH TIME ZONE", 1); got != types[c.Type] {
				t.Errorf("%s.%s: DuckDB %s, wanted %s", s.Name, c.Name, r.Types[c.Name], types[c.Type])
			}
			nulls := 0
			for i := range 300 {
				if find(s.Name).cols[k].cell(rowOf(rows, i)).null {
					nulls++
				}
			}
			if r.Nulls[c.Name] != nulls {
				t.Errorf("%s.%s: %d nulls, wanted %d", s.Name, c.Name, r.Nulls[c.Name], nulls)
			}
		}
	}
	if got := string(raw["first"]); got != "[1385056800123456789, null]" {
		t.Errorf("pyarrow reads %s", got)
	}
	duck := string(raw["duckns"])
	if duck != "[1385056800123456000, true]" && duck != "[1385056800123456789, true]" {
		t.Errorf("DuckDB reads %s", duck)
	}
	high := 0
	for _, s := range d.Signals.All() {
		if s.SrcPort.Known && s.SrcPort.V > 1<<31 {
			high++
		}
	}
	if got := string(raw["ordered"]); got != fmt.Sprint(high) {
		t.Errorf("DuckDB finds %s rows with a high unsigned number, wanted %d", got, high)
	}
	if got := string(raw["sealed"]); got != `"timestamp[ns, tz=UTC]"` {
		t.Errorf("pyarrow type %s", got)
	}

	// And their files are read here.
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, f := range files {
		stem, ok := strings.CutSuffix(f.Name(), ".parquet")
		if !ok {
			continue
		}
		name := stem[strings.LastIndexByte(stem, '-')+1:]
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got := new(Dataset)
		if err := readParquet(data, got, find(name)); err != nil {
			t.Errorf("%s: %v", f.Name(), err)
			continue
		}
		read++
		if strings.HasPrefix(f.Name(), "duck") && strings.Contains(duck, "456000") {
			continue // other times, so another order
		}
		got.Sort()
		sp := find(name)
		if n := got.Len(name); n != d.Len(name) {
			t.Fatalf("%s: %d rows, wanted %d", f.Name(), n, d.Len(name))
		}
		wanted, found := sp.slice(d), sp.slice(got)
		for i := range wanted.Len() {
			for k := range sp.cols {
				c := &sp.cols[k]
				want, have := c.cell(rowOf(wanted, i)), c.cell(rowOf(found, i))
				if c.compare(want, have) != 0 {
					t.Fatalf("%s row %d column %s: %+v, wanted %+v", f.Name(), i, c.Name, have, want)
				}
			}
		}
	}
	if read != 9*17 {
		t.Errorf("%d foreign files were read, wanted %d", read, 9*17)
	}
}

func oneFile(t testing.TB, n int) []byte {
	d := randomDataset(14, n)
	var b bytes.Buffer
	if err := Write(&b, d, "hosts", FormatParquet, View{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadDirErrors(t *testing.T) {
	good := oneFile(t, 20)
	cases := []struct {
		name string
		fs   fstest.MapFS
		want string
	}{
		{"no tables", fstest.MapFS{"x": {}}, "not a dataset"},
		{"no known table", fstest.MapFS{"tables/x/y.parquet": {}}, "not a dataset"},
		{"unknown table beside", fstest.MapFS{"tables/x/y.parquet": {}, "tables/hosts/a.parquet": {Data: good}}, ""},
		{"no parquet", fstest.MapFS{"tables/hosts/a.parquet": {Data: []byte("hello, world")}}, "PAR1"},
		{"other table", fstest.MapFS{"tables/flows/a.parquet": {Data: good}}, "holds table hosts, wanted flows"},
		{"cut", fstest.MapFS{"tables/hosts/a.parquet": {Data: good[:len(good)-1]}}, "tables/hosts/a.parquet: parquet"},
	}
	newer := bytes.Replace(good, []byte("twtrace.schema_version\x18\x011"), []byte("twtrace.schema_version\x18\x012"), 1)
	if bytes.Equal(newer, good) {
		t.Fatal("no version in the footer")
	}
	cases = append(cases, struct {
		name string
		fs   fstest.MapFS
		want string
	}{"newer", fstest.MapFS{"tables/hosts/a.parquet": {Data: newer}}, "schema version 2, this twtrace knows up to 1"})
	for _, c := range cases {
		_, err := ReadDir(c.fs)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, wanted %q", c.name, err, c.want)
		}
	}
	// Columns that are missing and columns in another order.
	d := randomDataset(15, 20)
	var b bytes.Buffer
	if err := Write(&b, d, "hosts", FormatParquet, View{Columns: []string{"roles", "address"}}); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDir(fstest.MapFS{"tables/hosts/a.parquet": {Data: b.Bytes()}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Hosts) != 20 || got.Hosts[0].Address == "" || got.Hosts[0].PacketsIn != 0 {
		t.Errorf("%+v", got.Hosts)
	}
	// Tables and columns that are not wanted.
	m := memDir{}
	if _, err := WriteDir(m.create, d, false, 1); err != nil {
		t.Fatal(err)
	}
	want, err := ReadDir(m.fs())
	if err != nil {
		t.Fatal(err)
	}
	if got, err = ReadDir(m.fs(), "legs", "messages.wait_s", "hosts.names"); err != nil {
		t.Fatal(err)
	}
	want.Legs = nil
	want.Messages.Change(func(_ int, m *sessions.Message) { m.WaitS = sessions.Float{} })
	for i := range want.Hosts {
		want.Hosts[i].Names = nil
	}
	if !same(got, want) {
		t.Error("other rows than all without a table and two columns")
	}
}

// Every byte of a small file is damaged in turn: an error or other rows, never
// a panic, and never much memory.
func TestDamagedParquet(t *testing.T) {
	good := oneFile(t, 3)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range good {
		bad := bytes.Clone(good)
		for _, x := range []byte{0xff, 0x80, 1} {
			bad[i] = good[i] ^ x
			_ = readParquet(bad, new(Dataset), find("hosts"))
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / uint64(3*len(good)); n > 1<<20 {
		t.Errorf("%d bytes allocated to read a damaged file of %d", n, len(good))
	}
	for i := range good {
		if err := readParquet(good[:i], new(Dataset), find("hosts")); err == nil {
			t.Errorf("a file cut at byte %d of %d is read", i, len(good))
		}
	}
}

func FuzzReadDir(f *testing.F) {
	f.Add(oneFile(f, 0))
	f.Add(oneFile(f, 3))
	f.Add(oneFile(f, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ReadDir(fstest.MapFS{"tables/hosts/a.parquet": &fstest.MapFile{Data: data, Mode: fs.ModePerm}})
		if err != nil {
			return
		}
		if len(d.Hosts) > 1000 {
			return // a valid file may say so of rows that are all alike
		}
		var b bytes.Buffer
		if err := Write(&b, d, "hosts", FormatParquet, View{}); err != nil {
			t.Fatal(err)
		}
		again := new(Dataset)
		if err := readParquet(b.Bytes(), again, find("hosts")); err != nil {
			t.Fatal(err)
		}
		if len(again.Hosts) != len(d.Hosts) {
			t.Errorf("%d rows, wanted %d", len(again.Hosts), len(d.Hosts))
		}
	})
}

func FuzzParseCond(f *testing.F) {
	for _, s := range []string{"a = 1", "a is null", "from ~ ^x", "b is not null", "c >= '2'", `d != "x'y"`, "duration_s<1e3", "packets_in > 5"} {
		f.Add(s)
	}
	d := randomDataset(16, 3)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCond(s)
		if err != nil {
			return
		}
		var b bytes.Buffer
		for _, table := range []string{"hosts", "calls", "streams"} {
			_ = Write(&b, d, table, FormatCSV, View{Where: []Cond{c}})
		}
		if strings.Contains(c.value, `"`) {
			return // a value with both quotes cannot be written
		}
		again, err := ParseCond(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q prints as %q, which reads as %q, %v", s, c, again, err)
		}
	})
}

func TestHybrid(t *testing.T) {
	// Parquet "Encodings", the example of bit packing: 0 to 7 in 3 bits.
	got, err := hybrid(nil, []byte{3, 0b10001000, 0b11000110, 0b11111010}, 3, 8)
	if err != nil || !slices.Equal(got, []uint32{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("%v %v", got, err)
	}
	got, err = hybrid(nil, []byte{10 << 1, 0x34, 0x12}, 13, 9)
	if err != nil || len(got) != 9 || got[8] != 0x1234 {
		t.Errorf("%v %v", got, err)
	}
	for _, b := range [][]byte{{}, {2}, {3}, {0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if _, err := hybrid(nil, b, 7, 9); err == nil {
			t.Errorf("% x is read", b)
		}
	}
}

func messages(n int) *Dataset {
	r := rand.New(rand.NewPCG(1, 2))
	d := new(Dataset)
	for i := range n {
		at := decode.Time(1385056800_000000000 + int64(i)*1e9)
		d.Messages.Add(sessions.Message{
			Experiment: "messages-170-run-1", SID: fmt.Sprintf("SM%016x%016x", r.Uint64(), r.Uint64()), AccountSID: "AC99999999999999999999999999999999", Direction: "outbound-api",
			From: "+15550100", To: "+15550101", Status: "delivered", BodyChars: decode.Some(int64(160)), BodyBytes: decode.Some(int64(170)), Encoding: "gsm7", Segments: decode.Some(int64(2)),
			SegmentsGSM: decode.Some(int64(2)), Segments160: decode.Some(int64(2)), QueuedAt: at, SentAt: at + 1e9, UpdatedAt: at + 2e9, TimeResolutionS: decode.Some(1.0), WaitS: decode.Some(math.Round(r.Float64()*100) / 8), File: "messages/1.json", Record: decode.Some(int64(i)),
		})
	}
	return d
}

type discard struct{ n int64 }

func (d *discard) Write(p []byte) (int, error) { d.n += int64(len(p)); return len(p), nil }

func BenchmarkWrite(b *testing.B) {
	const n = 200_000
	d := messages(n)
	for _, f := range []Format{FormatNDJSON, FormatCSV, FormatParquet, FormatArrow} {
		b.Run("format="+string(f), func(b *testing.B) {
			b.ReportAllocs()
			var w discard
			for b.Loop() {
				w.n = 0
				if err := Write(&w, d, "messages", f, View{}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(w.n)
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	const n = 200_000
	var w bytes.Buffer
	if err := Write(&w, messages(n), "messages", FormatParquet, View{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(w.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := readParquet(w.Bytes(), new(Dataset), find("messages")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkSort(b *testing.B) {
	d := messages(200_000)
	r := rand.New(rand.NewPCG(3, 4))
	d.Messages.Reorder(r.Perm(d.Messages.Len()))
	shuffled := d.Messages
	b.ReportAllocs()
	for b.Loop() {
		d.Messages = shuffled
		d.Sort()
	}
}

func BenchmarkCheck(b *testing.B) {
	d := messages(200_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Check(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRedact(b *testing.B) {
	d := messages(50_000)
	signals := dirty().Signals
	text := signals.At(0).Detail.String()
	detail := packed.NewText(strings.Repeat(text, 8))
	for i := range 20_000 {
		d.Signals.Add(sessions.Signal{CallID: fmt.Sprint("call", i%500), Src: "10.0.0.1", Detail: detail})
	}
	b.ReportAllocs()
	for b.Loop() {
		c := new(Dataset)
		c.Append(d)
		c.Redact([]byte("k"))
	}
}

// A whole small experiment, as the batch writes thousands of.
func BenchmarkWriteDirSmall(b *testing.B) {
	d := randomDataset(1, 20)
	d.SetExperiment("e")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := WriteDir(memDir{}.create, d, false, 1); err != nil {
			b.Fatal(err)
		}
	}
}

// The same rows give the same bytes also where texts are too many for a
// dictionary, in one column or in a list.
func TestManyTextsSameBytes(t *testing.T) {
	d := &Dataset{}
	var signals []sessions.Signal
	for i := range 3000 {
		text := strings.Repeat(fmt.Sprintf("%08d ", i), 60)
		signals = append(signals, sessions.Signal{Experiment: "e", Detail: packed.NewText(text), Label: "few"})
		d.Hosts = append(d.Hosts, sessions.Host{Experiment: "e", Names: []string{text, "few"}})
	}
	d.Signals = packed.Of(signals...)
	for _, name := range []string{"signals", "hosts"} {
		var first []byte
		for range 24 { // a random order of two would be the same in one of 2^23 runs
			var b bytes.Buffer
			if err := Write(&b, d, name, FormatParquet, View{}); err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b.Bytes()
			}
			if !bytes.Equal(first, b.Bytes()) {
				t.Fatalf("%s: the bytes differ from run to run", name)
			}
		}
		back := new(Dataset)
		if err := readParquet(first, back, find(name)); err != nil {
			t.Fatal(err)
		}
		if want := (&Dataset{Signals: d.Signals}); name == "signals" && !same(back, want) || name == "hosts" && !same(back, &Dataset{Hosts: d.Hosts}) {
			t.Errorf("%s: read back, the rows differ", name)
		}
	}
}
