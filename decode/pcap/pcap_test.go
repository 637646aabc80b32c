package pcap

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/twtrace/twtrace/internal/wire"
)

// order builds both byte orders.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func classic(o order, magic uint32, minor uint16, snap, network uint32, records ...[]byte) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(b, 2)
	b = o.AppendUint16(b, minor)
	b = append(b, make([]byte, 8)...)
	b = o.AppendUint32(b, snap)
	b = o.AppendUint32(b, network)
	return append(b, bytes.Join(records, nil)...)
}

func record(o order, sec, frac, caplen, orig uint32, rest ...byte) []byte {
	b := o.AppendUint32(nil, sec)
	b = o.AppendUint32(b, frac)
	b = o.AppendUint32(b, caplen)
	b = o.AppendUint32(b, orig)
	return append(b, rest...)
}

func ngBlock(o order, typ uint32, body ...byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(len(body) + 12)
	b := o.AppendUint32(nil, typ)
	b = o.AppendUint32(b, n)
	b = append(b, body...)
	return o.AppendUint32(b, n)
}

func ngSection(o order) []byte {
	b := o.AppendUint32(nil, 0x1a2b3c4d)
	b = o.AppendUint16(b, 1)
	b = o.AppendUint16(b, 0)
	return ngBlock(o, 0x0a0d0d0a, o.AppendUint64(b, math.MaxUint64)...)
}

func ngInterface(o order, link uint16, snap uint32, opts ...byte) []byte {
	b := o.AppendUint16(nil, link)
	b = o.AppendUint16(b, 0)
	return ngBlock(o, 1, append(o.AppendUint32(b, snap), opts...)...)
}

func ngOption(o order, code uint16, v ...byte) []byte {
	b := o.AppendUint16(nil, code)
	b = append(o.AppendUint16(b, uint16(len(v))), v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func ngPacket(o order, id uint32, ticks uint64, data []byte, opts ...byte) []byte {
	b := o.AppendUint32(nil, id)
	b = o.AppendUint32(b, uint32(ticks>>32))
	b = o.AppendUint32(b, uint32(ticks))
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, uint32(len(data)))
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return ngBlock(o, 6, append(b, opts...)...)
}

func join(b ...[]byte) []byte { return bytes.Join(b, nil) }

// readAll returns copies of all frames, and what ended them.
func readAll(t testing.TB, src io.Reader) ([]Frame, *Info, error) {
	t.Helper()
	r, err := NewReader(src)
	if err != nil {
		return nil, nil, err
	}
	var all []Frame
	var f Frame
	for {
		if err = r.Next(&f); err != nil {
			break
		}
		f.Data = bytes.Clone(f.Data)
		all = append(all, f)
	}
	if again := r.Next(&f); again != err {
		t.Errorf("a second Next gives %v, the first gave %v", again, err)
	}
	return all, r.Info(), err
}

func TestClassicVariants(t *testing.T) {
	le, be := order(binary.LittleEndian), order(binary.BigEndian)
	tests := []struct {
		name string
		in   []byte
		want Frame
		snap int64
	}{
		{"us little endian", classic(le, 0xa1b2c3d4, 4, 65535, 1, record(le, 1, 2, 3, 60, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 65535},
		{"us big endian", classic(be, 0xa1b2c3d4, 4, 65535, 1, record(be, 1, 2, 3, 60, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 65535},
		{"ns little endian", classic(le, 0xa1b23c4d, 4, 65535, 1, record(le, 1, 2, 3, 60, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2, 1, 0, 60, []byte("abc")}, 65535},
		{"ns big endian", classic(be, 0xa1b23c4d, 4, 65535, 1, record(be, 1, 2, 3, 60, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2, 1, 0, 60, []byte("abc")}, 65535},
		{"modified record header", classic(le, 0xa1b2cd34, 4, 65535, 1, record(le, 1, 2, 3, 60, 9, 9, 9, 9, 8, 8, 7, 0, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 65535},
		{"modified, big endian", classic(be, 0xa1b2cd34, 4, 65535, 1, record(be, 1, 2, 3, 60, 9, 9, 9, 9, 8, 8, 7, 0, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 65535},
		{"no snapshot length", classic(le, 0xa1b2c3d4, 4, 0, 1, record(le, 1, 2, 3, 60, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 0},
		{"frame check sequence bits", classic(le, 0xa1b2c3d4, 4, 96, 0x54000000|276, record(le, 1, 2, 3, 60, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, LinkLinuxSLL2, 0, 60, []byte("abc")}, 96},
		{"captured more than the wire had", classic(le, 0xa1b2c3d4, 4, 96, 1, record(le, 1, 2, 3, 2, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 2, []byte("abc")}, 96},
		{"version 2.2 has the lengths swapped", classic(le, 0xa1b2c3d4, 2, 96, 1, record(le, 1, 2, 60, 3, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 96},
		{"version 2.3 may have them swapped", classic(le, 0xa1b2c3d4, 3, 96, 1, record(le, 1, 2, 60, 3, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 96},
		{"version 2.3 not swapped", classic(le, 0xa1b2c3d4, 3, 96, 1, record(le, 1, 2, 3, 60, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 60, []byte("abc")}, 96},
		{"last second of 32 bits", classic(le, 0xa1b2c3d4, 4, 96, 1, record(le, math.MaxUint32, 999999, 3, 3, 'a', 'b', 'c')),
			Frame{1, 4294967295999999000, 1, 0, 3, []byte("abc")}, 96},
		{"above the snapshot length, below 256 KiB", classic(le, 0xa1b2c3d4, 4, 2, 1, record(le, 1, 2, 3, 3, 'a', 'b', 'c')),
			Frame{1, 1e9 + 2e3, 1, 0, 3, []byte("abc")}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, info, err := readAll(t, bytes.NewReader(tt.in))
			if err != io.EOF || len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
			if info.Format != "pcap" || info.SnapLen != tt.snap || info.Interfaces != 1 || !slices.Equal(info.LinkTypes, []LinkType{tt.want.Link}) {
				t.Errorf("info %+v", info)
			}
		})
	}
}

// Every damage ends the file with an error at the byte where it is, after the
// frames before it.
func TestDamage(t *testing.T) {
	le := order(binary.LittleEndian)
	ok := record(le, 1, 2, 3, 3, 'a', 'b', 'c')
	head := join(ngSection(le), ngInterface(le, 1, 0))
	pkt := ngPacket(le, 0, 0, []byte("abcd"))
	at := func(b []byte, off int, v uint32) []byte {
		b = bytes.Clone(b)
		le.PutUint32(b[off:], v)
		return b
	}
	tests := []struct {
		name   string
		in     []byte
		frames int
		off    int64
		text   string
	}{
		{"empty", nil, 0, 0, "empty file"},
		{"one byte", []byte{0xd4}, 0, 0, "cut off"},
		{"header cut off", classic(le, 0xa1b2c3d4, 4, 0, 1)[:23], 0, 0, "want 24 bytes, have 23"},
		{"version 1", append([]byte("\xd4\xc3\xb2\xa1\x01\x00\x04\x00"), make([]byte, 16)...), 0, 0, "found 1.4"},
		{"record header cut off", classic(le, 0xa1b2c3d4, 4, 0, 1, ok, ok[:15]), 1, 43, "frame 2: file cut off"},
		{"record cut off", classic(le, 0xa1b2c3d4, 4, 0, 1, ok, ok[:18]), 1, 43, "want 19 bytes, have 18"},
		{"record above 256 KiB", classic(le, 0xa1b2c3d4, 4, 0, 1, ok, record(le, 0, 0, 262145, 262145)), 1, 43, "want at most 262144 bytes, found 262145"},
		{"record above the snapshot length", classic(le, 0xa1b2c3d4, 4, 300000, 1, record(le, 0, 0, 300001, 300001)), 0, 24, "want at most 300000 bytes, found 300001"},
		{"record above 128 MiB", classic(le, 0xa1b2c3d4, 4, math.MaxUint32, 1, record(le, 0, 0, 1<<27+1, 1)), 0, 24, "want at most 134217728"},
		{"no byte-order magic", at(head, 8, 7), 0, 0, "want 1a2b3c4d in either order"},
		{"pcapng version 2", at(head, 12, 2), 0, 0, "found 2.0"},
		{"section header too small", at(head, 4, 24), 0, 0, "at least 28"},
		{"packet before an interface", join(ngSection(le), pkt), 0, 28, "0 described interfaces, found number 0"},
		{"simple packet before an interface", join(ngSection(le), ngBlock(le, 3, 0, 0, 0, 0)), 0, 28, "found none"},
		{"interfaces do not outlive their section", join(head, pkt, ngSection(le), pkt), 1, 28 + 20 + 36 + 28, "frame 2: want one of 0"},
		{"block length 0", join(head, pkt, at(pkt, 4, 0)), 1, 84, "found 0"},
		{"block length no multiple of 4", join(head, pkt, at(pkt, 4, 37), pkt), 1, 84, "want 40 again"},
		{"block length huge", join(head, pkt, at(pkt, 4, 0x7ffffff0)), 1, 84, "found 2147483632"},
		{"trailing length differs", join(head, pkt, at(pkt, 32, 40)), 1, 84, "want 36 again"},
		{"captured length huge", join(head, pkt, at(pkt, 20, math.MaxUint32)), 1, 84, "found 4294967295"},
		{"captured length beyond the block", join(head, pkt, at(pkt, 20, 5)), 1, 84, "want 40 to"},
		{"block cut off", join(head, pkt, pkt[:35]), 1, 84, "want 36 bytes, have 35"},
		{"block header cut off", join(head, pkt, pkt[:7]), 1, 84, "want 8 bytes, have 7"},
		{"unknown block below 12", join(head, at(ngBlock(le, 77), 4, 8)), 0, 48, "at least 12"},
		{"block length that rounds to 2^32", join(head, at(ngBlock(le, 77), 4, math.MaxUint32)), 0, 48, "at least 12"},
		{"unknown block cut off", join(head, pkt, at(ngBlock(le, 77), 4, 0xfffffff0)), 1, 96, "cut off"},
		{"unknown block, lengths differ", join(head, at(ngBlock(le, 77, 1, 2, 3, 4), 12, 20)), 0, 60, "block at byte 48, found 20"},
		{"secrets longer than their block", join(head, ngBlock(le, 10, 0x4b, 0x53, 0x4c, 0x54, 5, 0, 0, 0, 'a', 'b', 'c', 'd')), 0, 48, "want at most 4 bytes, found 5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, one := range []bool{false, true} {
				var src io.Reader = bytes.NewReader(tt.in)
				if one {
					src = iotest.OneByteReader(src)
				}
				got, _, err := readAll(t, src)
				var e *wire.Error
				if !errors.As(err, &e) {
					t.Fatalf("error %v, want a *wire.Error", err)
				}
				if len(got) != tt.frames || e.Off != tt.off || !strings.Contains(e.Msg, tt.text) {
					t.Errorf("%d frames, then %v; want %d, then %q at byte %d", len(got), e, tt.frames, tt.text, tt.off)
				}
			}
		})
	}
}

// The cause of a failing source stays visible, after the frames before it.
func TestSourceFails(t *testing.T) {
	le := order(binary.LittleEndian)
	in := classic(le, 0xa1b2c3d4, 4, 0, 1, record(le, 1, 2, 3, 3, 'a', 'b', 'c'), []byte{1})
	cause := errors.New("disk on fire")
	got, _, err := readAll(t, io.MultiReader(bytes.NewReader(in), iotest.ErrReader(cause)))
	var e *wire.Error
	if len(got) != 1 || !errors.Is(err, cause) || !errors.As(err, &e) || e.Off != 43 {
		t.Errorf("%d frames, %v", len(got), err)
	}
	if _, err = NewReader(neverReader{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader without progress: %v", err)
	}
}

type neverReader struct{}

func (neverReader) Read([]byte) (int, error) { return 0, nil }

// A length field alone must not allocate what it claims.
func TestNoHugeAllocation(t *testing.T) {
	le := order(binary.LittleEndian)
	in := classic(le, 0xa1b2c3d4, 4, math.MaxUint32, 1, record(le, 0, 0, 128<<20, 128<<20, 1, 2, 3))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := readAll(t, bytes.NewReader(in))
	runtime.ReadMemStats(&after)
	if err == nil || err == io.EOF {
		t.Errorf("error %v, want cut off", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes allocated for a file of %d", n, len(in))
	}
}

// Frames larger than the buffer, and ones that lie across its end.
func TestLargeFrames(t *testing.T) {
	le := order(binary.LittleEndian)
	in := classic(le, 0xa1b2c3d4, 4, 8<<20, 1)
	sizes := []int{1, 700_000, 700_001, 5 << 20, 3, 0, 1 << 20, 100_000}
	for i, n := range sizes {
		in = append(in, record(le, 0, 0, uint32(n), uint32(n), bytes.Repeat([]byte{byte(i + 1)}, n)...)...)
	}
	got, _, err := readAll(t, iotest.HalfReader(bytes.NewReader(in)))
	if err != io.EOF || len(got) != len(sizes) {
		t.Fatalf("%d frames, %v", len(got), err)
	}
	for i, f := range got {
		if len(f.Data) != sizes[i] || bytes.Count(f.Data, []byte{byte(i + 1)}) != sizes[i] {
			t.Errorf("frame %d: %d bytes, want %d of value %d", i+1, len(f.Data), sizes[i], i+1)
		}
	}
}

// The resolution of every if_tsresol value, against arbitrary-precision
// arithmetic. 10^0, 2^-20, 2^-30, 2^-64 and 10^-64 are ones that another
// reader gets wrong or fails on.
func TestResolution(t *testing.T) {
	second := big.NewInt(1e9)
	le := order(binary.LittleEndian)
	all := []uint64{0, 1, 999, 1_700_000_000, 1_700_000_000_123_456, 1_700_000_000_123_456_789, 1 << 62, math.MaxUint64}
	for v := range 256 {
		base := int64(10)
		if v&0x80 != 0 {
			base = 2
		}
		den := new(big.Int).Exp(big.NewInt(base), big.NewInt(int64(v&0x7f)), nil)
		for _, offset := range []int64{0, 1_000_000_000, -5} {
			in := join(ngSection(le), ngInterface(le, 1, 0, join(ngOption(le, 9, byte(v)), ngOption(le, 14, le.AppendUint64(nil, uint64(offset))...))...))
			for _, ticks := range all {
				in = append(in, ngPacket(le, 0, ticks, nil)...)
			}
			got, info, err := readAll(t, bytes.NewReader(in))
			if err != io.EOF || len(got) != len(all) {
				t.Fatalf("%v, %v", got, err)
			}
			bad := int64(0)
			for i, ticks := range all {
				want := new(big.Int).Mul(new(big.Int).SetUint64(ticks), second)
				want.Div(want, den)
				fits := want.IsInt64()
				want.Add(want, new(big.Int).Mul(big.NewInt(offset), second))
				if !fits || !want.IsInt64() {
					bad++
					want.SetInt64(0)
				}
				if got[i].Time != want.Int64() {
					t.Errorf("tsresol %#x, %d ticks, offset %d: %d, want %d", v, ticks, offset, got[i].Time, want)
				}
			}
			if info.BadTimes != bad {
				t.Errorf("tsresol %#x: %d times counted as bad, want %d", v, info.BadTimes, bad)
			}
		}
	}
}

// All that a pcapng file can hold, in two sections of different byte order.
func TestBlocks(t *testing.T) {
	var in []byte
	for s, o := range []order{binary.LittleEndian, binary.BigEndian} {
		name := func(typ uint16, v ...byte) []byte { return ngOption(o, typ, v...) }
		stats := func(id uint32, opts ...[]byte) []byte {
			return ngBlock(o, 5, append(append(o.AppendUint32(nil, id), make([]byte, 8)...), join(opts...)...)...)
		}
		drops := func(code uint16, n uint64) []byte { return ngOption(o, code, o.AppendUint64(nil, n)...) }
		in = join(in, ngSection(o),
			// Secrets may come before every interface.
			ngBlock(o, 10, append(o.AppendUint32(o.AppendUint32(nil, SecretTLS), 5), "keys\n"...)...),
			ngInterface(o, 1, 100, join(ngOption(o, 2, 'e', 't', 'h', '0'), ngOption(o, 3), ngOption(o, 1, 'i'), ngOption(o, 0))...),
			// A name with a zero-length value after it, then ns.
			ngInterface(o, 276, 0, join(ngOption(o, 2, 'e'), ngOption(o, 9, 9), ngOption(o, 0))...),
			ngPacket(o, 0, 1_000_001, []byte("abc"), join(ngOption(o, 1, 'h', 'i', 0), ngOption(o, 2, 1, 0, 0, 0), ngOption(o, 0))...),
			ngBlock(o, 9, []byte("MESSAGE=x\n")...),
			ngPacket(o, 1, 1_000_001, []byte("abcd")),
			ngBlock(o, 3, append(o.AppendUint32(nil, 200), bytes.Repeat([]byte{7}, 100)...)...),
			// The obsolete packet block: interface and drops are 16 bits each.
			ngBlock(o, 2, join(o.AppendUint16(nil, 1), o.AppendUint16(nil, 9), o.AppendUint32(nil, 0), o.AppendUint32(nil, 77), o.AppendUint32(nil, 2), o.AppendUint32(nil, 3), []byte("xy"))...),
			ngBlock(o, 4, join(name(1, 10, 0, 0, 1, 'a', 0, 'b', 0), name(2, append(make([]byte, 15), 1, 'c', 0)...), name(3, 1, 2, 3, 4, 5, 6, 'm', 0), name(0))...),
			ngBlock(o, 0x777, 1, 2, 3, 4), ngBlock(o, 0x777), ngBlock(o, 0xbad, 1, 2, 3, 4),
			// The second statistics of interface 0 replace the first.
			stats(0, drops(5, 3), drops(7, 4)), stats(1, drops(4, 100)), stats(0, drops(5, 10), drops(7, 1), ngOption(o, 5)),
		)
		_ = s
	}
	for _, one := range []bool{false, true} {
		var src io.Reader = bytes.NewReader(in)
		if one {
			src = iotest.OneByteReader(src)
		}
		got, info, err := readAll(t, src)
		if err != io.EOF {
			t.Fatal(err)
		}
		cut := bytes.Repeat([]byte{7}, 100)
		// Numbers 2 and 6 are the journal and custom blocks, as in Wireshark.
		want := []Frame{
			{1, 1_000_001_000, 1, 0, 3, []byte("abc")}, {3, 1_000_001, 276, 1, 4, []byte("abcd")},
			{4, 0, 1, 0, 200, cut}, {5, 77, 276, 1, 3, []byte("xy")},
			{7, 1_000_001_000, 1, 2, 3, []byte("abc")}, {9, 1_000_001, 276, 3, 4, []byte("abcd")},
			{10, 0, 1, 2, 200, cut}, {11, 77, 276, 3, 3, []byte("xy")},
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("frames\n%v, want\n%v", got, want)
		}
		if info.Format != "pcapng" || info.Interfaces != 4 || info.SnapLen != 0 || !slices.Equal(info.LinkTypes, []LinkType{1, 276}) {
			t.Errorf("info %+v", info)
		}
		if !info.DropsKnown || info.Drops != 22 {
			t.Errorf("drops %d, want 11 of either section", info.Drops)
		}
		if s := fmt.Sprintf("%x %s", info.Secrets[1].Type, info.Secrets[1].Data); len(info.Secrets) != 2 || s != "544c534b keys\n" {
			t.Errorf("secrets %v", info.Secrets)
		}
		names := []Name{{netip.MustParseAddr("10.0.0.1"), "a"}, {netip.MustParseAddr("10.0.0.1"), "b"}, {netip.MustParseAddr("::1"), "c"}}
		if !slices.Equal(info.Names, append(names, names...)) {
			t.Errorf("names %v", info.Names)
		}
		if !slices.Equal(info.Comments, []Comment{{0, "i"}, {1, "hi"}, {0, "i"}, {7, "hi"}}) {
			t.Errorf("comments %v", info.Comments)
		}
		skipped := []Skipped{{"custom block", 2, 32, true}, {"systemd journal block", 2, 48, true}, {"unknown block type 1911", 4, 56, false}}
		if !slices.Equal(info.Skipped, skipped) {
			t.Errorf("skipped %v, want %v", info.Skipped, skipped)
		}
	}
}

// An option that runs past its block is counted and the packet kept.
func TestDamagedOption(t *testing.T) {
	le := order(binary.LittleEndian)
	in := join(ngSection(le), ngInterface(le, 1, 0), ngPacket(le, 0, 0, []byte("abcd"), 1, 0, 200, 0))
	got, info, err := readAll(t, bytes.NewReader(in))
	if err != io.EOF || len(got) != 1 || !slices.Equal(info.Skipped, []Skipped{{"damaged option", 1, 4, false}}) {
		t.Errorf("%v, %v, %v", got, info.Skipped, err)
	}
}

// What is kept from a hostile file is bounded, and what is refused is counted.
func TestBounds(t *testing.T) {
	le := order(binary.LittleEndian)
	in := [][]byte{ngSection(le), ngInterface(le, 1, 0)}
	big := ngBlock(le, 10, append(le.AppendUint32(le.AppendUint32(nil, SecretTLS), 10<<20), make([]byte, 10<<20)...)...)
	for range 7 {
		in = append(in, big)
	}
	in = append(in, ngBlock(le, 10, make([]byte, 17<<20)...), ngPacket(le, 0, 0, []byte("x")))
	got, info, err := readAll(t, bytes.NewReader(join(in...)))
	if err != io.EOF || len(got) != 1 || len(info.Secrets) != 6 {
		t.Errorf("%d frames, %d secrets, %v", len(got), len(info.Secrets), err)
	}
	want := []Skipped{{"decryption secrets block over the limit", 1, 17<<20 + 12, false}, {"secrets over the limit", 1, 10 << 20, false}}
	if !slices.Equal(info.Skipped, want) {
		t.Errorf("skipped %v, want %v", info.Skipped, want)
	}
}

// So are interfaces, comments and names.
func TestManyBlocks(t *testing.T) {
	le := order(binary.LittleEndian)
	in := bytes.Join([][]byte{ngSection(le), bytes.Repeat(ngInterface(le, 1, 0), 1<<16), ngPacket(le, 0, 0, []byte("x"))}, nil)
	if got, info, err := readAll(t, bytes.NewReader(in)); err != io.EOF || len(got) != 1 || info.Interfaces != 1<<16 {
		t.Errorf("%d frames, %d interfaces, %v", len(got), info.Interfaces, err)
	}
	in = bytes.Join([][]byte{ngSection(le), bytes.Repeat(ngInterface(le, 1, 0), 1<<16+1), ngPacket(le, 0, 0, []byte("x"))}, nil)
	if _, _, err := readAll(t, bytes.NewReader(in)); err == nil || !strings.Contains(err.Error(), "want at most 65536 interfaces in a section") {
		t.Errorf("one interface too many: %v", err)
	}

	said := ngPacket(le, 0, 0, []byte("x"), ngOption(le, 1, []byte("said")...)...)
	var names []byte // records of one IPv4 address and a name
	for i := range 1<<16 + 3 {
		names = append(le.AppendUint16(le.AppendUint16(names, 1), 6), 10, byte(i>>16), byte(i>>8), byte(i), 'n', 0, 0, 0)
	}
	in = bytes.Join([][]byte{ngSection(le), ngInterface(le, 1, 0), bytes.Repeat(said, 10_005), ngBlock(le, 4, append(names, 0, 0, 0, 0)...)}, nil)
	got, info, err := readAll(t, bytes.NewReader(in))
	if err != io.EOF || len(got) != 10_005 || len(info.Comments) != 10_000 || len(info.Names) != 1<<16 {
		t.Errorf("%d frames, %d comments, %d names, %v", len(got), len(info.Comments), len(info.Names), err)
	}
	counts := map[string]int64{}
	for _, k := range info.Skipped {
		counts[k.Reason] = k.Count
	}
	if counts["comment over the limit"] != 5 || counts["name over the limit"] != 3 {
		t.Errorf("%v", counts)
	}
}

func TestForeignFormats(t *testing.T) {
	for head, want := range map[string]string{
		"snoop\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x04": "a Sun snoop capture; convert it with editcap",
		"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03":          "gzip data",
		"GMBU\x00\x02\x01\x00":                              "Network Monitor 2",
		"hello, world":                                      `starts with "hello, world"`,
		"Trying 206.113.119.21...\r\nConnected to":          `starts with "Trying 206.113.1"`,
	} {
		_, err := NewReader(strings.NewReader(head))
		var e *wire.Error
		if !errors.As(err, &e) || !strings.Contains(e.Msg, want) {
			t.Errorf("%q: %v, want %q", head, err, want)
		}
	}
}

func TestLinkType(t *testing.T) {
	for l, want := range map[LinkType]string{1: "ETHERNET", 276: "LINUX_SLL2", 147: "USER0", 162: "USER15", 163: "IEEE802_11_AVS", 65000: "65000", 0: "NULL"} {
		if l.String() != want {
			t.Errorf("%d: %s, want %s", uint16(l), l, want)
		}
	}
}

func TestWriterRoundTrip(t *testing.T) {
	for _, nanos := range []bool{false, true} {
		var b bytes.Buffer
		w := NewWriter(&b, LinkRaw, nanos)
		times := []int64{0, 1, 1_700_000_000_123_456_789, math.MaxUint32*1_000_000_000 + 999_999_999}
		for i, at := range times {
			if err := w.WriteFrame(at, bytes.Repeat([]byte{byte(i)}, i)); err != nil {
				t.Fatal(err)
			}
		}
		for _, bad := range []int64{-1, (math.MaxUint32 + 1) * 1_000_000_000} {
			if w.WriteFrame(bad, nil) == nil {
				t.Errorf("time %d was written", bad)
			}
		}
		got, _, err := readAll(t, &b)
		if err != io.EOF || len(got) != len(times) {
			t.Fatalf("%d frames, %v", len(got), err)
		}
		for i, f := range got {
			want := times[i]
			if !nanos {
				want -= want % 1000
			}
			if f.Time != want || f.Link != LinkRaw || f.OrigLen != i || !bytes.Equal(f.Data, bytes.Repeat([]byte{byte(i)}, i)) {
				t.Errorf("frame %+v, want time %d and %d bytes", f, want, i)
			}
		}
	}
}

func TestNGWriterRoundTrip(t *testing.T) {
	var b bytes.Buffer
	w := NewNGWriter(&b)
	if err := w.WriteSecrets(SecretTLS, []byte("CLIENT_RANDOM 00 00\n")); err != nil {
		t.Fatal(err)
	}
	at := int64(1_700_000_000_123_456_789)
	type iface struct {
		resol uint8
		want  int64
	}
	ifaces := []iface{{6, at - 789}, {9, at}, {0, at - 123_456_789}, {10, at}, {0x80 | 30, at}, {0x80 | 32, at}, {0x80, at - 123_456_789}}
	for i, f := range ifaces {
		if n, err := w.AddInterface(LinkType(i), 65535, f.resol); err != nil || n != i {
			t.Fatal(n, err)
		}
		if err := w.WritePacket(i, at, []byte("data"), 5, strings.Repeat("c", i)); err != nil {
			t.Fatal(err)
		}
	}
	if w.WritePacket(len(ifaces), 0, nil, 0, "") == nil || w.WritePacket(0, -1, nil, 0, "") == nil {
		t.Error("a packet that cannot be written was")
	}
	got, info, err := readAll(t, &b)
	if err != io.EOF || len(got) != len(ifaces) || len(info.Skipped) != 0 {
		t.Fatalf("%d frames, %v, %v", len(got), info.Skipped, err)
	}
	for i, f := range got {
		if f.Time != ifaces[i].want || f.Link != LinkType(i) || f.Interface != i || f.OrigLen != 5 || string(f.Data) != "data" {
			t.Errorf("%+v, want time %d", f, ifaces[i].want)
		}
		if i > 0 && info.Comments[i-1] != (Comment{int64(i + 1), strings.Repeat("c", i)}) {
			t.Errorf("comments %v", info.Comments)
		}
	}
	if string(info.Secrets[0].Data) != "CLIENT_RANDOM 00 00\n" {
		t.Errorf("secrets %v", info.Secrets)
	}
}

// shared is the folder of recorded test data beside the repository.
func shared(t testing.TB, dir string) string {
	root := filepath.Join("..", "..", "..", "shared", dir)
	if _, err := os.Stat(root); err != nil {
		t.Skip("no shared test data")
	}
	return root
}

// openFile opens a capture, decompressed if it is gzip.
func openFile(t testing.TB, name string) io.Reader {
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	br := bufio.NewReader(f)
	if h, _ := br.Peek(2); string(h) == "\x1f\x8b" {
		z, err := gzip.NewReader(br)
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	return br
}

// sameTime compares with an epoch time of tshark. A pcap file may hold 1e6 µs
// and more in a record; tshark then multiplies by 1000 in 32 bits, so only the
// rest modulo 2^32 is told, and negative or too many digits are its way of
// printing what it does not normalise.
func sameTime(ns int64, tshark string) bool {
	sec, frac, ok := strings.Cut(tshark, ".")
	s, err1 := strconv.ParseInt(sec, 10, 64)
	n, err2 := strconv.ParseInt(frac, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return false
	}
	want := s*1e9 + n
	return ns == want || strings.HasPrefix(sec, "-") || (ns-want)%(1<<32) == 0
}

// An unpadded length is rounded up, as the first writers meant it.
func TestUnpaddedLength(t *testing.T) {
	le := order(binary.LittleEndian)
	pkt := ngPacket(le, 0, 5, []byte("ab"))
	le.PutUint32(pkt[4:], 34)
	le.PutUint32(pkt[len(pkt)-4:], 34)
	got, _, err := readAll(t, bytes.NewReader(join(ngSection(le), ngInterface(le, 1, 0), pkt, pkt)))
	if err != io.EOF || len(got) != 2 || string(got[1].Data) != "ab" {
		t.Errorf("%v, %v", got, err)
	}
}

// Every public capture gives at least the packets that tshark finds, at the
// same times.
func TestPublicCaptures(t *testing.T) {
	root := shared(t, "captures")
	files, packets := 0, 0
	err := filepath.WalkDir(filepath.Join(root, "truth"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		var truth struct {
			Path        string   `json:"path"`
			PacketCount int      `json:"packet_count"`
			FirstTS     string   `json:"first_ts"`
			LastTS      string   `json:"last_ts"`
			ReadRC      int      `json:"read_rc"`
			ReadErrors  []string `json:"read_errors"`
			Capinfos    map[string]any
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &truth); err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		got, info, err := readAll(t, openFile(t, filepath.Join(root, "files", truth.Path)))
		typ, _ := truth.Capinfos["File type"].(string)
		capture := strings.Contains(typ, "pcap")
		if info == nil {
			var e *wire.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: %v, want a *wire.Error", truth.Path, err)
			}
			if capture || strings.Contains(strings.Join(truth.ReadErrors, ""), "cut short") {
				t.Errorf("%s: refused: %v, tshark says %q", truth.Path, err, typ)
			}
			if os.Getenv("VERBOSE") != "" {
				t.Logf("%s (%s): %v", truth.Path, typ, err)
			}
			return nil
		}
		files++
		packets += len(got)
		last := int64(len(got))
		for _, s := range info.Skipped {
			switch s.Reason {
			case "systemd journal block", "custom block", "sysdig event block":
				last += s.Count // packets to tshark
			}
		}
		if last < int64(truth.PacketCount) {
			t.Errorf("%s: %d packets, tshark %d; %v", truth.Path, last, truth.PacketCount, err)
		}
		if truth.ReadRC == 0 && (err != io.EOF || last != int64(truth.PacketCount)) {
			t.Errorf("%s: %d packets, then %v; tshark reads it whole with %d", truth.Path, last, err, truth.PacketCount)
		}
		damaged := false
		for _, s := range truth.ReadErrors {
			damaged = damaged || strings.Contains(s, "cut short") || strings.Contains(s, "bigger than maximum")
		}
		if damaged && err == io.EOF {
			t.Errorf("%s: read whole, tshark says %q", truth.Path, truth.ReadErrors)
		}
		if len(got) == 0 || last != int64(len(got)) {
			return nil
		}
		if truth.FirstTS != "" && got[0].Time > 0 && !sameTime(got[0].Time, truth.FirstTS) {
			t.Errorf("%s: first at %d, tshark %s", truth.Path, got[0].Time, truth.FirstTS)
		}
		if n := truth.PacketCount; truth.LastTS != "" && n > 0 {
			if at := got[n-1].Time; at > 0 && !sameTime(at, truth.LastTS) {
				t.Errorf("%s: last at %d, tshark %s", truth.Path, at, truth.LastTS)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, %d packets", files, packets)
	if files < 600 {
		t.Errorf("%d files read, want 600 and more", files)
	}
}

// The formats that are not read are refused by their names.
func TestPublicForeign(t *testing.T) {
	root := filepath.Join(shared(t, "captures"), "files", "ajbanjara+Wireshark")
	for name, want := range map[string]string{
		"123.snoop": "Sun snoop", "erf-ethernet-example.erf": "ERF", "iseries.cap": "iSeries", "tcpshake.cap": "Sniffer",
		"RTSPPACKETS1.cap": "Network Monitor 2", "D-1-Anonymous-Anonymous-D-OFF-27d01m2009y-00h00m00s-0a0None.trc": "EyeSDN",
	} {
		_, err := NewReader(openFile(t, filepath.Join(root, name)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// The damaged files of the lab: as many packets as tshark reads, and an error
// exactly where tshark gives one.
func TestHostile(t *testing.T) {
	root := filepath.Join(shared(t, "lab"), "s4-hostile")
	b, err := os.ReadFile(filepath.Join(root, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var truth struct {
		Files map[string]struct {
			Expect string
			Tshark *struct {
				RC      int
				Packets int
			}
		}
	}
	if err := json.Unmarshal(b, &truth); err != nil {
		t.Fatal(err)
	}
	for name, want := range truth.Files {
		if want.Tshark == nil {
			continue
		}
		got, _, err := readAll(t, openFile(t, filepath.Join(root, name)))
		if want.Expect == "clear error" {
			// tshark takes these 27 bytes for some text format.
			if err == nil || !strings.Contains(err.Error(), "cut off: want 164 bytes, have 27") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if len(got) != want.Tshark.Packets || (err == io.EOF) != (want.Tshark.RC == 0) {
			t.Errorf("%s: %d packets, then %v; tshark %d, exit %d", name, len(got), err, want.Tshark.Packets, want.Tshark.RC)
		}
	}
	more, err := filepath.Glob(filepath.Join(root, "fuzz", "*"))
	if err != nil || len(more) == 0 {
		t.Errorf("no fuzzed files: %v", err)
	}
	readable := 0
	for _, name := range more {
		if got, _, _ := readAll(t, openFile(t, name)); len(got) > 0 {
			readable++
		}
	}
	// tshark finds packets in these too: the damage of f06 is in the section
	// header, that of f15 in the interface description.
	if readable != len(more)-2 {
		t.Errorf("packets in %d of %d fuzzed files", readable, len(more))
	}
	r, err := NewReader(openFile(t, filepath.Join(root, "bomb.pcap.gz")))
	if err != nil {
		t.Fatal(err)
	}
	var f Frame
	for err == nil {
		err = r.Next(&f)
	}
	if err != io.EOF || f.Number != 0 || r.number != 4_000_000 {
		t.Errorf("bomb: %d packets, %v", r.number, err)
	}
}

func FuzzReader(f *testing.F) {
	le, be := order(binary.LittleEndian), order(binary.BigEndian)
	f.Add(classic(le, 0xa1b2c3d4, 4, 0, 1, record(le, 1, 2, 3, 3, 'a', 'b', 'c')))
	f.Add(classic(be, 0xa1b2cd34, 2, 0, 1, record(be, 1, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c')))
	f.Add(join(ngSection(be), ngInterface(be, 1, 0, ngOption(be, 9, 0x80|64)...), ngPacket(be, 0, 1<<60, []byte("abc"), ngOption(be, 1, 'x')...),
		ngBlock(be, 3, 0, 0, 0, 2, 'a', 'b'), ngBlock(be, 9), ngSection(le), ngInterface(le, 1, 0), ngBlock(le, 5, make([]byte, 12)...),
		ngBlock(le, 10, 1, 2, 3, 4, 1, 0, 0, 0, 'k'), ngBlock(le, 4, ngOption(le, 1, 10, 0, 0, 1, 'a', 0)...)))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, info, err := readAll(t, bytes.NewReader(in))
		if info == nil {
			return
		}
		total := 0
		for i, fr := range whole {
			total += len(fr.Data)
			if i > 0 && fr.Number <= whole[i-1].Number {
				t.Fatalf("number %d after %d", fr.Number, whole[i-1].Number)
			}
			_ = fr.Link.String()
		}
		if total > len(in) {
			t.Fatalf("%d bytes of data from a file of %d", total, len(in))
		}
		// How the bytes arrive must not matter.
		again, _, err2 := readAll(t, iotest.OneByteReader(bytes.NewReader(in)))
		if fmt.Sprint(whole, err) != fmt.Sprint(again, err2) {
			t.Fatalf("byte by byte: %v %v, at once %v %v", again, err2, whole, err)
		}
		for _, n := range []int{1, 7, 64, 1 << 20} {
			again, _, err2 = readAll(t, &blockwise{left: in, n: n})
			if fmt.Sprint(whole, err) != fmt.Sprint(again, err2) {
				t.Fatalf("in blocks of %d: %v %v, at once %v %v", n, again, err2, whole, err)
			}
		}
	})
}

// blockwise hands out blocks of n bytes and spoils each when the next is asked
// for.
type blockwise struct {
	left, given []byte
	n           int
}

func (s *blockwise) NextBlock() ([]byte, error) {
	for i := range s.given {
		s.given[i] = 0xdb
	}
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	k := min(s.n, len(s.left))
	s.given = bytes.Clone(s.left[:k])
	s.left = s.left[k:]
	return s.given, nil
}

func (s *blockwise) Read([]byte) (int, error) { panic("a source of blocks is not read") }

// A capture in blocks of any size gives the frames of the whole.
func TestFramesFromBlocks(t *testing.T) {
	le := order(binary.LittleEndian)
	var records, packets []byte
	for i := range 300 {
		data := bytes.Repeat([]byte{byte(i)}, i%97)
		records = append(records, record(le, uint32(i), 2, uint32(len(data)), uint32(len(data)), data...)...)
		packets = append(packets, ngPacket(le, 0, uint64(i), data)...)
	}
	for name, in := range map[string][]byte{
		"pcap":        classic(le, 0xa1b2c3d4, 4, 0, 1, records),
		"pcapng":      join(ngSection(le), ngInterface(le, 1, 0), packets),
		"pcap cut":    classic(le, 0xa1b2c3d4, 4, 0, 1, records[:len(records)-5]),
		"pcap header": classic(le, 0xa1b2c3d4, 4, 0, 1, nil),
	} {
		want, _, wantErr := readAll(t, bytes.NewReader(in))
		if name != "pcap header" && len(want) < 299 {
			t.Fatalf("%s: %d frames: %v", name, len(want), wantErr)
		}
		for n := 1; n < 200; n++ {
			got, _, err := readAll(t, &blockwise{left: in, n: n})
			if fmt.Sprint(got, err) != fmt.Sprint(want, wantErr) {
				t.Fatalf("%s in blocks of %d: %d frames, %v; want %d, %v", name, n, len(got), err, len(want), wantErr)
			}
		}
	}
}

// benchFile has frames like G.711 RTP: 230 bytes with their link header.
func benchFile(ng bool, frames int) []byte {
	var b bytes.Buffer
	data := bytes.Repeat([]byte{0x55}, 230)
	if ng {
		w := NewNGWriter(&b)
		_, _ = w.AddInterface(LinkEthernet, 0, 6)
		for i := range frames {
			_ = w.WritePacket(0, int64(i)*1000, data, len(data), "")
		}
	} else {
		w := NewWriter(&b, LinkEthernet, false)
		for i := range frames {
			_ = w.WriteFrame(int64(i)*1000, data)
		}
	}
	return b.Bytes()
}

func BenchmarkReader(b *testing.B) {
	for _, format := range []string{"pcap", "pcapng"} {
		b.Run("format="+format, func(b *testing.B) {
			const frames = 200_000
			in := benchFile(format == "pcapng", frames)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := NewReader(bytes.NewReader(in))
				if err != nil {
					b.Fatal(err)
				}
				var f Frame
				n := 0
				for r.Next(&f) == nil {
					n++
				}
				if n != frames {
					b.Fatal(n)
				}
			}
			b.ReportMetric(frames*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

func TestNoAllocations(t *testing.T) {
	for _, ng := range []bool{false, true} {
		r, err := NewReader(bytes.NewReader(benchFile(ng, 20_000)))
		if err != nil {
			t.Fatal(err)
		}
		var f Frame
		if err := r.Next(&f); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10_000, func() {
			if err := r.Next(&f); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("pcapng %v: %v allocations a packet", ng, n)
		}
	}
}
