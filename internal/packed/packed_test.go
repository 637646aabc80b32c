package packed

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/klauspost/compress/s2"
)

type opt[V any] struct {
	V     V
	Known bool
}

// row has a field of every kind that can be packed.
type row struct {
	Name   string
	At     int64
	Frame  opt[int64]
	Port   opt[uint32]
	Flow   uint32
	MS     opt[float64]
	Level  float64
	Again  bool
	Sure   opt[bool]
	Note   opt[string]
	List   []int64
	ID     string `packed:"inline"`
	Detail Text
}

// texts of a row compare by what they say.
func plain(r row) string {
	d := r.Detail.String()
	r.Detail = Text{}
	return fmt.Sprintf("%+v %x %q", r, math.Float64bits(r.MS.V), d)
}

func made(r *rand.Rand, i int) row {
	numbers := []int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1756000000123456789, int64(i)}
	floats := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(-1), 0.1, float64(i)}
	out := row{
		Name: []string{"", "a", "sip:\xff", fmt.Sprint("call", i/3)}[r.IntN(4)], At: numbers[r.IntN(7)],
		Flow: []uint32{0, 7, math.MaxUint32}[r.IntN(3)], Level: floats[r.IntN(6)], Again: r.IntN(2) == 0,
		ID: []string{"", "SM\x00", strings.Repeat("x", r.IntN(300)), fmt.Sprint("id", i)}[r.IntN(4)],
	}
	for range r.IntN(3) {
		out.List = append(out.List, numbers[r.IntN(7)])
	}
	if r.IntN(2) == 0 {
		out.Frame, out.Port = opt[int64]{numbers[r.IntN(7)], true}, opt[uint32]{uint32(r.IntN(3)), true}
	}
	if r.IntN(2) == 0 {
		out.MS, out.Sure, out.Note = opt[float64]{floats[r.IntN(6)], true}, opt[bool]{r.IntN(2) == 0, true}, opt[string]{[]string{"", "x"}[r.IntN(2)], true}
	}
	return out
}

func TestRowsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var rows Rows[row]
	var want []string
	for i := range 3000 {
		x := made(r, i)
		text := strings.Repeat(fmt.Sprint("INVITE ", i/2, "\r\n"), r.IntN(200))
		switch r.IntN(3) {
		case 0:
			x.Detail = rows.Text([]byte(text))
		case 1:
			x.Detail = NewText(text)
		}
		want = append(want, plain(x))
		rows.Add(x)
	}
	same := func(what string, rows *Rows[row], want []string) {
		t.Helper()
		if rows.Len() != len(want) {
			t.Fatalf("%s: %d rows, want %d", what, rows.Len(), len(want))
		}
		for i, got := range rows.All() {
			if plain(*got) != want[i] {
				t.Fatalf("%s: row %d is\n%s, want\n%s", what, i, plain(*got), want[i])
			}
		}
	}
	same("added", &rows, want)
	rows.Rest()
	same("at rest", &rows, want)

	var both Rows[row]
	both.Join(&rows)
	both.Join(&rows)
	both.Add(row{Name: "last", Detail: rows.At(5).Detail})
	last := row{Name: "last", Detail: rows.At(5).Detail}
	same("joined", &both, append(slices.Concat(want, want), plain(last)))

	order := r.Perm(rows.Len())
	turned := make([]string, len(want))
	for i, k := range order {
		turned[i] = want[k]
	}
	rows.Reorder(order)
	same("reordered", &rows, turned)

	n := 0
	rows.Change(func(i int, x *row) {
		if i != n {
			t.Fatalf("row %d comes as number %d", n, i)
		}
		n++
		if i%2 == 0 {
			x.Name, x.Detail = "changed", NewText(strings.ToLower(x.Detail.String()))
			turned[i] = plain(*x)
		}
	})
	same("changed", &rows, turned)
	part := rows.Part(100, 900)
	same("part", &part, turned[100:900])
	if got := rows.Slice(); len(got) != len(turned) || plain(got[17]) != turned[17] {
		t.Errorf("slice of %d rows", len(got))
	}
}

// Goroutines that read side by side, also by rows that share their texts, get
// what one alone gets. Without -race half of this test is lost.
func TestReadSideBySide(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var rows, shared Rows[row]
	var want []string
	for i := range 2000 {
		x := made(r, i)
		x.Detail = rows.Text([]byte(strings.Repeat(fmt.Sprint("INVITE ", i, "\r\n"), 40)))
		want = append(want, plain(x))
		rows.Add(x)
	}
	rows.Rest()
	shared.Join(&rows)
	if len(rows.texts.blocks) < 4 || rows.texts.blocks[0] != shared.texts.blocks[0] {
		t.Fatalf("%d blocks of texts, shared: %v", len(rows.texts.blocks), rows.texts.blocks[0] == shared.texts.blocks[0])
	}
	var g sync.WaitGroup
	for k := range 6 {
		g.Go(func() {
			from := []*Rows[row]{&rows, &shared}[k%2]
			for i := range from.Len() {
				i = (i + k*331) % from.Len()
				if got := plain(*from.At(i)); got != want[i] {
					t.Errorf("goroutine %d: row %d is\n%s, want\n%s", k, i, got, want[i])
					return
				}
			}
		})
	}
	g.Wait()
}

// The fields behind the one that is asked for are zero, those up to it are not.
func TestAllTo(t *testing.T) {
	whole := row{Name: "a", At: 7, Frame: opt[int64]{3, true}, Port: opt[uint32]{0, true}, Flow: 9, MS: opt[float64]{1.5, true}, Again: true, List: []int64{1}}
	rows := Of(whole, row{Name: "b"}, whole)
	if n := rows.FieldsTo("Frame"); n != 3 {
		t.Errorf("Frame is field %d, want 3", n)
	}
	n := 0
	for i, x := range rows.AllTo("Frame") {
		want := plain(row{Name: "a", At: 7, Frame: opt[int64]{3, true}})
		if i == 1 {
			want = plain(row{Name: "b"})
		}
		if i != n || plain(*x) != want {
			t.Errorf("row %d is\n%s, want row %d\n%s", i, plain(*x), n, want)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d rows of 3", n)
	}
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "no field Frames") {
			t.Errorf("panic %v", r)
		}
	}()
	rows.FieldsTo("Frames")
}

func TestUvarint(t *testing.T) {
	for shift := range 64 {
		for _, v := range []uint64{1 << shift, 1<<shift - 1, 1<<shift | 1, math.MaxUint64 >> shift} {
			b := append(binary.AppendUvarint(nil, v), 0xff, 0xff)
			if got, n := uvarint(b); got != v || n != len(b)-2 {
				t.Errorf("%x is %d in %d bytes, want %d", b, got, n, v)
			}
		}
	}
}

// A field that is not known comes back as zero, whatever stood in it.
func TestUnknownIsZero(t *testing.T) {
	rows := Of(row{Frame: opt[int64]{V: 5}})
	if got := *rows.At(0); got.Frame.V != 0 || got.Frame.Known {
		t.Errorf("%+v", got.Frame)
	}
}

// Retransmissions and templates repeat: what the open block has is not kept again.
func TestEqualTextsAreOne(t *testing.T) {
	var rows Rows[row]
	a, b := rows.Text([]byte("BYE sip:a@b SIP/2.0")), rows.Text([]byte("BYE sip:a@b SIP/2.0"))
	if a != b || a.String() != "BYE sip:a@b SIP/2.0" || a.Len() != 19 {
		t.Errorf("%q and %q", a, b)
	}
	if rows.Text(nil) != (Text{}) || NewText("") != (Text{}) {
		t.Error("an empty text is none")
	}
}

// An inline string that was read is good for ever, whatever becomes of the rows.
func TestInlineStringsStay(t *testing.T) {
	var rows Rows[row]
	var got, want []string
	id := func(i int) string { return fmt.Sprintf("SM%0*d", 10+i%7, i) }
	for i := range 5 * chunkRows {
		rows.Add(row{ID: id(i)})
		for _, k := range []int{0, i / 2, i} {
			got, want = append(got, rows.At(k).ID), append(want, id(k))
		}
	}
	rows.Change(func(_ int, x *row) { x.ID = strings.ToLower(x.ID) })
	rows.Reorder([]int{7, 3})
	rows.Add(row{ID: "new"}, row{ID: rows.At(0).ID})
	if !slices.Equal(got, want) {
		t.Error("strings changed after they were read")
	}
	got = nil
	for _, x := range rows.All() {
		got = append(got, x.ID)
	}
	if want := []string{strings.ToLower(id(7)), strings.ToLower(id(3)), "new", strings.ToLower(id(7))}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What the package is for.
func TestRowsAreSmall(t *testing.T) {
	var rows Rows[row]
	for i := range 10_000 {
		rows.Add(row{Name: "sip", At: 1756000000123456789 + int64(i)*1e6, Frame: opt[int64]{int64(i), true}, MS: opt[float64]{1.5, true},
			Detail: rows.Text(fmt.Appendf(nil, "INVITE sip:a SIP/2.0\r\nCall-ID: %032x@192.0.2.1\r\nFrom: <sip:+1555010%04d@example.com>\r\n", i, i))})
	}
	rows.Rest()
	size := 0
	for _, c := range rows.chunks {
		size += cap(c.data) + 4*cap(c.starts)
	}
	if unpackedSize := 10_000 * int(unsafe.Sizeof(row{})); size*4 > unpackedSize {
		t.Errorf("rows take %d bytes, unpacked they took %d", size, unpackedSize)
	}
	raw, kept := 0, 0
	for _, b := range rows.texts.blocks {
		n, _ := s2.DecodedLen(b.s2)
		raw, kept = raw+max(n, len(b.raw)), kept+len(b.raw)+len(b.s2)
	}
	if kept*4 > raw {
		t.Errorf("texts of %d bytes take %d", raw, kept)
	}
}

func TestWhatCannotBePacked(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "field Names") {
			t.Errorf("panic %v", r)
		}
	}()
	Of(struct{ Names []string }{})
}

func TestLead(t *testing.T) {
	for _, rows := range []Rows[row]{Of(row{Flow: 1}, row{Flow: 2}), Of(row{Name: "a"}, row{Name: "a", Flow: 2}), Of(row{Name: "a"}, row{}, row{Name: "b"})} {
		before := rows.Slice()
		rows.Lead("e")
		rows.Add(row{Name: "x"}, row{Name: "e"}, row{})
		var got []string
		for i, x := range rows.All() {
			got = append(got, x.Name)
			if i < len(before) && x.Flow != before[i].Flow {
				t.Errorf("row %d: %+v, was %+v", i, x, before[i])
			}
		}
		want := slices.Concat(slices.Repeat([]string{"e"}, len(before)), []string{"x", "e", ""})
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestByReflection(t *testing.T) {
	rows := Of(row{Name: "a"}, row{Name: "b"})
	var table Table = &rows
	if table.RowType() != reflect.TypeFor[row]() {
		t.Errorf("rows of %v", table.RowType())
	}
	other := Of(row{Name: "c"})
	table.Join(&other)
	table.Pack([]row{{Name: "d"}})
	table.ChangeAny(func(x any) { x.(*row).Flow = 9 })
	table.Reorder([]int{3, 2, 1, 0})
	var got row
	for i, want := range []string{"d", "c", "b", "a"} {
		if table.Unpack(i, &got); got.Name != want || got.Flow != 9 {
			t.Errorf("row %d is %+v, want %s", i, got, want)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	x := row{Name: "sip", At: 1756000000123456789, Frame: opt[int64]{5, true}, MS: opt[float64]{1.5, true}}
	var rows Rows[row]
	for b.Loop() {
		if rows.Len() == 1<<16 {
			rows = Rows[row]{}
		}
		rows.Add(x)
	}
}

func BenchmarkGet(b *testing.B) {
	b.ReportAllocs()
	var rows Rows[row]
	for i := range 1 << 12 {
		rows.Add(row{Name: fmt.Sprint(i), At: 1756000000123456789 + int64(i), Frame: opt[int64]{5, true}, MS: opt[float64]{1.5, true}})
	}
	var x row
	for i := 0; b.Loop(); i++ {
		rows.Get(i&(1<<12-1), &x)
	}
}

func BenchmarkString(b *testing.B) {
	var rows Rows[row]
	for i := range 1 << 12 {
		rows.Add(row{Detail: rows.Text(fmt.Appendf(nil, "INVITE sip:a SIP/2.0\r\nCall-ID: %032x@192.0.2.1\r\n", i))})
	}
	rows.Rest()
	b.ReportAllocs()
	var x row
	for i := 0; b.Loop(); i++ {
		rows.Get(i&(1<<12-1), &x)
		_ = x.Detail.String()
	}
}

func BenchmarkText(b *testing.B) {
	var rows Rows[row]
	text := []byte(strings.Repeat("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK\r\n", 10))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		text[0] = byte(i)
		text[20] = byte(i >> 8)
		rows.Text(text)
	}
}
