package experiment

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

// The same traffic gives the same rows however it is wrapped: what is learned
// from packets does not depend on the file that brought them. Left out of the
// comparison are the columns that tell of the file itself.
func TestSameTrafficSameRows(t *testing.T) {
	runs := []string{"browser-incoming", "browser-cancelled", "paper-calls-n5", "sip-loss2", "sip-tcp", "sip-busy"}
	if testing.Short() {
		runs = runs[1:2]
	}
	for _, run := range runs {
		t.Run(run, func(t *testing.T) {
			t.Parallel()
			frames, rest := framesOf(t, run)
			want := learned(t, fstest.MapFS{"capture.pcap": {Data: capture(t, pcap.LinkEthernet, frames)}}, rest)
			if len(want["calls"]) < 40 || len(want["signals"]) < 100 {
				t.Fatalf("calls %q, %d bytes of signals", want["calls"], len(want["signals"]))
			}
			for name, fsys := range wrappings(t, frames, rest) {
				got := learned(t, fsys, rest)
				for _, s := range table.Schemas() {
					if a, b := want[s.Name], got[s.Name]; a != b {
						t.Errorf("%s: table %s differs: %s", name, s.Name, firstLineThatDiffers(a, b))
					}
				}
			}
		})
	}
}

type oneFrame struct {
	at   int64
	data []byte
}

// framesOf are the frames of a recorded run, and its other files.
func framesOf(t *testing.T, run string) ([]oneFrame, fstest.MapFS) {
	t.Helper()
	rest := fstest.MapFS{}
	var frames []oneFrame
	err := fs.WalkDir(fixtures.Recorded(), run, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fixtures.Recorded(), path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, run+"/")
		if name != "capture.pcapng.gz" {
			rest[name] = &fstest.MapFile{Data: data}
			return nil
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return err
		}
		r, err := pcap.NewReader(z)
		if err != nil {
			return err
		}
		for {
			var f pcap.Frame
			if err := r.Next(&f); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			if f.Link != pcap.LinkEthernet || len(f.Data) != f.OrigLen {
				return fmt.Errorf("frame %d: link type %d, %d of %d bytes", f.Number, f.Link, len(f.Data), f.OrigLen)
			}
			frames = append(frames, oneFrame{f.Time, bytes.Clone(f.Data)})
		}
		if len(r.Info().Secrets) > 0 {
			return errors.New("secrets in the capture")
		}
		return nil
	})
	if err != nil || len(frames) == 0 {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
	return frames, rest
}

func capture(t *testing.T, link pcap.LinkType, frames []oneFrame) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcap.NewWriter(&b, link, true)
	for _, f := range frames {
		if err := w.WriteFrame(f.at, f.data); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// each makes other frames of frames.
func each(frames []oneFrame, f func(oneFrame) []oneFrame) []oneFrame {
	var out []oneFrame
	for _, x := range frames {
		out = append(out, f(x)...)
	}
	return out
}

// tagged puts VLAN tags behind the two link addresses.
func tagged(data []byte, tags ...uint32) []byte {
	out := bytes.Clone(data[:12])
	for _, tag := range tags {
		out = binary.BigEndian.AppendUint32(out, tag)
	}
	return append(out, data[12:]...)
}

func wrappings(t *testing.T, frames []oneFrame, rest fstest.MapFS) map[string]fstest.MapFS {
	t.Helper()
	plain := capture(t, pcap.LinkEthernet, frames)
	compressed := func(open func(io.Writer) (io.WriteCloser, error)) []byte {
		var b bytes.Buffer
		w, err := open(&b)
		if err == nil {
			_, err = w.Write(plain)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	single := func(data []byte) fstest.MapFS { return fstest.MapFS{"traffic": {Data: data}} }
	out := map[string]fstest.MapFS{
		"gzip": single(compressed(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })),
		"zstd": single(compressed(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })),
		"xz":   single(compressed(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })),
		"VLAN": single(capture(t, pcap.LinkEthernet, each(frames, func(f oneFrame) []oneFrame {
			return []oneFrame{{f.at, tagged(f.data, 0x81000007)}}
		}))),
		"QinQ": single(capture(t, pcap.LinkEthernet, each(frames, func(f oneFrame) []oneFrame {
			return []oneFrame{{f.at, tagged(f.data, 0x88a80007, 0x81000009)}}
		}))),
		"raw IP": single(capture(t, pcap.LinkRaw, each(frames, func(f oneFrame) []oneFrame {
			if v := f.data[14] >> 4; f.data[12] != 0x08 && f.data[12] != 0x86 || v != 4 && v != 6 {
				return nil // ARP
			}
			return []oneFrame{{f.at, f.data[14:]}}
		}))),
		"a mirror port's second copy of each": single(capture(t, pcap.LinkEthernet, each(frames, func(f oneFrame) []oneFrame {
			if f.at == frames[len(frames)-1].at {
				return []oneFrame{f} // its copy would end the run later
			}
			return []oneFrame{f, {f.at + 4000, tagged(f.data, 0x81000007)}}
		}))),
	}

	// Cut into four files whose names do not sort as they were captured.
	rotated := fstest.MapFS{}
	for i, name := range []string{"d.pcap", "a.pcap", "c.pcap.gz", "b"} {
		part := capture(t, pcap.LinkEthernet, frames[len(frames)*i/4:len(frames)*(i+1)/4])
		if strings.HasSuffix(name, ".gz") {
			saved := plain
			plain = part
			part = compressed(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
			plain = saved
		}
		rotated[name] = &fstest.MapFile{Data: part}
	}
	out["rotated files"] = rotated

	// As pcapng in microseconds, where the recording's times have no more.
	var ng bytes.Buffer
	w := pcap.NewNGWriter(&ng)
	if _, err := w.AddInterface(pcap.LinkEthernet, 262144, 9); err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.WritePacket(0, f.at, f.data, len(f.data), "of a test"); err != nil {
			t.Fatal(err)
		}
	}
	out["pcapng"] = single(ng.Bytes())

	// All files of the run in an archive.
	all := fstest.MapFS{"capture.pcap": {Data: plain}}
	for name, f := range rest {
		all[name] = f
	}
	var z, tb bytes.Buffer
	zw, tw := zip.NewWriter(&z), tar.NewWriter(&tb)
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m, err := zw.Create(name)
		if err == nil {
			_, err = m.Write(all[name].Data)
		}
		if err == nil {
			err = tw.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(all[name].Data))})
		}
		if err == nil {
			_, err = tw.Write(all[name].Data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(zw.Close(), tw.Close()); err != nil {
		t.Fatal(err)
	}
	out["zip"], out["tar"] = fstest.MapFS{"run.zip": {Data: z.Bytes()}}, fstest.MapFS{"run.tar": {Data: tb.Bytes()}}
	return out
}

// learned are the rows of each table that tell of the traffic, as CSV, without
// the columns that tell of files.
func learned(t *testing.T, fsys, rest fstest.MapFS) map[string]string {
	t.Helper()
	archive := fsys["run.zip"] != nil || fsys["run.tar"] != nil
	for name, f := range rest {
		if !archive {
			fsys[name] = f
		}
	}
	exps, err := Find([]Input{folder("run", fsys)}, true)
	if err != nil {
		t.Fatal(err)
	}
	res, err := Analyze(t.Context(), exps[0], Options{Name: "run"})
	if err != nil || res.Exit != ExitWhole {
		t.Fatalf("%v, %+v", err, res)
	}
	d := res.Data
	d.Oddities = slices.DeleteFunc(d.Oddities, func(o sessions.Oddity) bool { return o.Rule == "duplicate-capture" })
	out := map[string]string{}
	for _, s := range table.Schemas() {
		switch s.Name {
		case "inputs", "captures", "ledger":
			continue // these are of the files
		}
		v := table.View{Columns: []string{}}
		for _, c := range s.Columns {
			switch c.Name {
			case "file", "frame", "first_frame", "last_frame", "record", "wireshark_filter":
			default:
				v.Columns = append(v.Columns, c.Name)
			}
		}
		var b strings.Builder
		if err := table.Write(&b, d, s.Name, table.FormatCSV, v); err != nil {
			t.Fatal(err)
		}
		// Rows stand in order of files where they have no time of their own.
		rows := strings.Split(b.String(), "\n")
		slices.Sort(rows)
		out[s.Name] = strings.Join(rows, "\n")
	}
	return out
}

func firstLineThatDiffers(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("row %d of %d and %d\n  %s\n  %s", i, len(x), len(y), x[i], y[i])
		}
	}
	return fmt.Sprintf("%d and %d rows", len(x), len(y))
}
