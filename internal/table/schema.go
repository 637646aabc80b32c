// Package table is TABLES.md as code: the tables that twtrace writes, prints
// and reads back.
//
// A table is tagged row structs in [Dataset]: a slice, or packed where there
// may be very many. From the tags, by one
// pass of reflection at start, come the [Schema] and every written form: Arrow
// IPC, Parquet, CSV, JSON, NDJSON and aligned text. So files, printed tables
// and reports show the same rows under the same names.
//
// Times are ns since 1970 UTC; units stand in column names. A string "", a
// Time 0 and an Opt that is not known are null. The key of a table, counts and
// lists are never null; a part of a key of several columns may be. Text that is
// not UTF-8 leaves every writer with U+FFFD for each bad byte.
//
// Specifications: Arrow columnar format 1.4 (IPC file, written by arrow/go),
// Apache Parquet 2.10 (written by arrow/go, read by parquetread.go), RFC 3339,
// RFC 4180, RFC 8259.
//
// Not handled: Parquet encryption, DELTA and BYTE_STREAM_SPLIT encodings,
// nested columns beyond lists, reading of any form but Parquet.
//
// Nothing returned aliases input. This is the only room that imports
// arrow/go; what belongs here is what concerns all tables alike. How a row
// comes to be belongs to decode, sessions and rates.
package table

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/packed"
)

// SchemaVersion grows when a column is renamed or retyped; a new column does
// not change it.
const SchemaVersion = 1

// Schema describes one table.
type Schema struct {
	Name, Doc string
	Columns   []Column
}

// Column describes one column of a table.
type Column struct {
	Name     string
	Type     string // t time, s text, e enum, i int64, u uint32, f float64, b bool, [s] and [i] lists
	Unit     string
	Doc      string
	Enum     []string // the closed set, when Type is e
	Key      bool
	Nullable bool
}

type kind uint8

const (
	kindTime kind = iota + 1
	kindText
	kindEnum
	kindInt
	kindUint
	kindFloat
	kindBool
	kindTexts
	kindInts
)

// letters are the type names of TABLES.md, words those of `twtrace schema`.
var (
	letters = [...]string{kindTime: "t", kindText: "s", kindEnum: "e", kindInt: "i", kindUint: "u", kindFloat: "f", kindBool: "b", kindTexts: "[s]", kindInts: "[i]"}
	words   = [...]string{kindTime: "timestamp[ns, UTC]", kindText: "utf8", kindEnum: "enum", kindInt: "int64", kindUint: "uint32", kindFloat: "float64", kindBool: "bool", kindTexts: "list<utf8>", kindInts: "list<int64>"}
)

func (k kind) list() bool   { return k == kindTexts || k == kindInts }
func (k kind) number() bool { return k == kindInt || k == kindUint || k == kindFloat }

// column is a Column and the way to it in its row struct.
type column struct {
	Column
	kind   kind
	field  int
	at     uintptr // of the value in its row
	known  uintptr // with opt: of the bool that tells whether it is known
	opt    bool
	packed bool // text that is a packed.Text
}

// spec is a table: its schema, its place in Dataset and its columns.
type spec struct {
	schema Schema
	field  int
	packed bool // rows are a packed.Table, else a slice
	row    reflect.Type
	cols   []column
	order  []order
}

// tableDocs is in TABLES.md's order, which is that of Dataset's fields.
// narrow lists the columns to show first where not all have room.
var tableDocs = []struct{ name, doc, narrow string }{
	{"experiments", "runs of the measurement", "experiment kind x endpoint started_at ended_at exit_code problem guarantee_per_s kind_by"},
	{"inputs", "files given", "file kind records used refused problem bytes"},
	{"captures", "packet captures", "file format packets bytes first_at last_at dropped_packets truncated_packets tls_sessions tls_decrypted problem"},
	{"ledger", "what each layer took and refused, by reason", "layer reason count bytes"},
	{"hosts", "addresses and who they are", "address names roles provider ports packets_in packets_out first_at"},
	{"flows", "transport conversations", "flow_id transport src src_port dst dst_port application server_name packets bytes encryption first_at"},
	{"calls", "calls, one per CallSid or SIP dialog set", "call_id from to arrived_at outcome duration_s status_code initiated_at ended_by direction cause protocols"},
	{"legs", "one party's signaling each", "leg_id call_id kind id from to first_at status_code joined_by"},
	{"signals", "signaling messages, the rungs of every ladder", "at protocol kind src dst label call_id status_code frame"},
	{"arrivals", "calls queued or arrived, in queue order", "seq call_id to queued_at arrived_at wait_s arrived_by endpoint wait_error_s"},
	{"call_resources", "exported call resources", "sid status from to created_at started_at duration_s queue_time_ms error_code"},
	{"streams", "RTP streams", "stream_id call_id src dst codec packets lost_pct jitter_mean_ms mos first_at ssrc"},
	{"stream_intervals", "RTP streams by the second", "stream_id at packets lost jitter_ms delta_max_ms mos"},
	{"messages", "exported message resources", "sid status from to segments queued_at sent_at wait_s error_code body_bytes encoding"},
	{"rates", "rates of each queue", "kind queue x items observed_per_s guarantee_per_s verdict sustained_per_s sustained_verdict observed_low_per_s observed_high_per_s reason"},
	{"clocks", "host clocks against the capture's", "host by samples offset_low_ms offset_high_ms drift_ppm"},
	{"oddities", "rules that fired", "severity rule at subject text file frame"},
}

var specs = buildSpecs()

func buildSpecs() []spec {
	d := reflect.TypeFor[Dataset]()
	if d.NumField() != len(tableDocs) {
		panic("table: Dataset and tableDocs differ in length")
	}
	out := make([]spec, len(tableDocs))
	for i, t := range tableDocs {
		sp := &out[i]
		sp.schema = Schema{Name: t.name, Doc: t.doc}
		sp.field = i
		sp.row, sp.packed = rowType(d.Field(i).Type)
		keys := 0
		for j := range sp.row.NumField() {
			if sp.row.Field(j).Tag.Get("key") != "" {
				keys++
			}
		}
		for j := range sp.row.NumField() {
			c := newColumn(sp.row.Field(j), keys)
			c.field = j
			sp.cols = append(sp.cols, c)
			sp.schema.Columns = append(sp.schema.Columns, c.Column)
		}
		sp.order = sp.rowOrder()
	}
	return out
}

// newColumn reads one field's tags. A field of a type that no table may hold
// is a bug of the row struct.
func newColumn(f reflect.StructField, keys int) column {
	c := column{Column: Column{
		Name: f.Tag.Get("col"), Unit: f.Tag.Get("unit"), Doc: f.Tag.Get("doc"), Key: f.Tag.Get("key") != "",
	}, at: f.Offset}
	if c.Name == "" {
		panic("table: field " + f.Name + " has no col tag")
	}
	if e := f.Tag.Get("enum"); e != "" {
		c.Enum = strings.Split(e, "|")
	}
	t := f.Type
	switch t {
	case reflect.TypeFor[decode.Opt[int64]](), reflect.TypeFor[decode.Opt[float64]](), reflect.TypeFor[decode.Opt[uint32]]():
		c.opt, c.known = true, f.Offset+t.Field(1).Offset
		t = t.Field(0).Type
	}
	switch {
	case t == reflect.TypeFor[decode.Time]():
		c.kind = kindTime
	case t.Kind() == reflect.String && c.Enum != nil:
		c.kind = kindEnum
	case t.Kind() == reflect.String:
		c.kind = kindText
	case t == reflect.TypeFor[packed.Text]():
		c.kind, c.packed = kindText, true
	case t == reflect.TypeFor[int64]():
		c.kind = kindInt
	case t == reflect.TypeFor[uint32]():
		c.kind = kindUint
	case t == reflect.TypeFor[float64]():
		c.kind = kindFloat
	case t == reflect.TypeFor[bool]():
		c.kind = kindBool
	case t == reflect.TypeFor[[]string]():
		c.kind = kindTexts
	case t == reflect.TypeFor[[]int64]():
		c.kind = kindInts
	default:
		panic(fmt.Sprintf("table: field %s has type %s, which no table may hold", f.Name, f.Type))
	}
	c.Type = letters[c.kind]
	switch {
	case c.opt:
		c.Nullable = true
	case c.Name == "experiment":
	case c.kind == kindTime || c.kind == kindText:
		// A part of a key of several columns (the queue of a rate, the time of
		// an oddity) may be unknown; a key of one column may not.
		c.Nullable = !c.Key || keys > 1
	case c.kind == kindEnum:
		c.Nullable = !c.Key
	}
	return c
}

// Schemas are the tables in TABLES.md's order. The caller must not change them.
func Schemas() []*Schema {
	out := make([]*Schema, len(specs))
	for i := range specs {
		out[i] = &specs[i].schema
	}
	return out
}

// Lookup finds a table by its name, written with _ or -.
func Lookup(name string) (*Schema, bool) {
	if sp := find(name); sp != nil {
		return &sp.schema, true
	}
	return nil, false
}

func find(name string) *spec {
	name = strings.ReplaceAll(name, "-", "_")
	for i := range specs {
		if specs[i].schema.Name == name {
			return &specs[i]
		}
	}
	return nil
}

func mustFind(name string) (*spec, error) {
	if sp := find(name); sp != nil {
		return sp, nil
	}
	names := make([]string, len(specs))
	for i := range specs {
		names[i] = specs[i].schema.Name
	}
	return nil, fmt.Errorf("no table %q; nearest is %s", name, nearest(name, names))
}

func (sp *spec) column(name string) (*column, error) {
	for i := range sp.cols {
		if sp.cols[i].Name == name {
			return &sp.cols[i], nil
		}
	}
	names := make([]string, len(sp.cols))
	for i := range sp.cols {
		names[i] = sp.cols[i].Name
	}
	return nil, fmt.Errorf("table %s has no column %q; nearest is %s", sp.schema.Name, name, nearest(name, names))
}

// nearest is the candidate with the fewest edits from name; the first of equals.
func nearest(name string, among []string) string {
	if len(name) > 64 {
		name = name[:64]
	}
	best, at := 1<<30, ""
	for _, c := range among {
		if n := edits(name, c); n < best {
			best, at = n, c
		}
	}
	return at
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// WriteSchema prints the columns of a table, or of all when table is "", as
// aligned text, CSV or JSON.
func WriteSchema(w io.Writer, table string, f Format) error {
	list := specs
	if table != "" {
		sp, err := mustFind(table)
		if err != nil {
			return err
		}
		list = specs[sp.field : sp.field+1]
	}
	head := []string{"table", "column", "type", "unit", "null", "key", "values", "description"}
	b := newText(w)
	switch f {
	case FormatTable:
		for i := range list {
			sp := &list[i]
			if i > 0 {
				b.text("\n")
			}
			b.text(sp.schema.Name + ": " + sp.schema.Doc + "\n\n")
			rows := [][]string{head[1:]}
			for j := range sp.cols {
				rows = append(rows, sp.cols[j].describe("")[1:])
			}
			b.aligned(rows)
		}
	case FormatCSV:
		b.csvRecord(head)
		for i := range list {
			for j := range list[i].cols {
				b.csvRecord(list[i].cols[j].describe(list[i].schema.Name))
			}
		}
	case FormatJSON:
		b.text("[\n")
		for i := range list {
			sp := &list[i]
			b.text(`  {"table":`)
			b.quoted(sp.schema.Name)
			b.text(`,"description":`)
			b.quoted(sp.schema.Doc)
			b.text(fmt.Sprintf(`,"schema_version":%d,"columns":[`, SchemaVersion))
			for j := range sp.cols {
				c := &sp.cols[j]
				if j > 0 {
					b.text(",")
				}
				b.text("\n    {\"column\":")
				b.quoted(c.Name)
				b.text(`,"type":`)
				b.quoted(words[c.kind])
				b.text(`,"unit":`)
				b.quotedOrNull(c.Unit)
				b.text(fmt.Sprintf(`,"null":%t,"key":%t,"values":`, c.Nullable, c.Key))
				if c.Enum == nil {
					b.text("null")
				} else {
					b.quotedList(c.Enum)
				}
				b.text(`,"description":`)
				b.quoted(c.Doc)
				b.text("}")
			}
			b.text("\n  ]}")
			if i+1 < len(list) {
				b.text(",")
			}
			b.text("\n")
		}
		b.text("]\n")
	default:
		return fmt.Errorf("a schema is written as table, csv or json, not %s", f)
	}
	return b.flush()
}

func (c *column) describe(table string) []string {
	yes := func(v bool) string {
		if v {
			return "yes"
		}
		return ""
	}
	return []string{table, c.Name, words[c.kind], c.Unit, yes(c.Nullable), yes(c.Key), strings.Join(c.Enum, " "), c.Doc}
}
