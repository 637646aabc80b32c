package container

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func gz(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zst(t testing.TB, b []byte, opts ...zstd.EOption) []byte {
	w, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

func xzip(t testing.TB, b []byte, dict int) []byte {
	var out bytes.Buffer
	w, err := xz.WriterConfig{DictCap: dict}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The output of bzip2 1.0.8 for "hello, " and for "world\n".
const (
	bzHello = "425a6839314159265359756a1005000001910040040244a00021800c016b2e1c5dc914e14241d5a84014"
	bzWorld = "425a68393141592653590a580695000002c18000100404908020002218683004e8185dc914e1424029601a54"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each compression, in two concatenated streams.
func TestNewReader(t *testing.T) {
	a, b := []byte("hello, "), []byte("world\n")
	for want, in := range map[Compression][]byte{
		None:  []byte("hello, world\n"),
		Gzip:  append(gz(t, a), gz(t, b)...),
		Zstd:  append(append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"), zst(t, a)...), zst(t, b)...),
		Bzip2: append(unhex(t, bzHello), unhex(t, bzWorld)...),
		XZ:    append(xzip(t, a, 1<<16), xzip(t, b, 1<<16)...),
	} {
		t.Run(string(want), func(t *testing.T) {
			r, c, err := NewReader(iotest.OneByteReader(bytes.NewReader(in)), Limits{})
			if err != nil || c != want {
				t.Fatalf("%s, %v", c, err)
			}
			got, err := io.ReadAll(r)
			if string(got) != "hello, world\n" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if want == None {
				return
			}
			// Cut off: what came before, then an error that is not a clean end.
			r, _, err = NewReader(bytes.NewReader(in[:len(in)-3]), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if got, err = io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix("hello, world\n", string(got)) || !strings.Contains(err.Error(), string(want)) {
				t.Errorf("cut off: %q, %v", got, err)
			}
			if r, _, err = NewReader(bytes.NewReader(in), Limits{Output: 12}); err != nil {
				t.Fatal(err)
			}
			if _, err = io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "limit") {
				t.Errorf("over the limit: %v", err)
			}
		})
	}
	for _, short := range []string{"", "a", "\x1f\x8b\x08", "BZh9", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		r, c, err := NewReader(strings.NewReader(short), Limits{})
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if (err == nil) != (c == None) {
			t.Errorf("%q: %s, %v", short, c, err)
		}
	}
}

// A window larger than allowed is an error before it is allocated.
func TestWindow(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 1<<20)
	for want, in := range map[Compression][]byte{
		Zstd: zst(t, data, zstd.WithWindowSize(8<<20), zstd.WithSingleSegment(false)),
		XZ:   xzip(t, data[:1000], 8<<20),
	} {
		for memory, ok := range map[int64]bool{1 << 20: false, 8 << 20: true} {
			r, _, err := NewReader(bytes.NewReader(in), Limits{Memory: memory})
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if (err == nil) != ok {
				t.Errorf("%s with %d bytes: %v", want, memory, err)
			}
		}
	}
}

// A dictionary that only a later block or stream asks for is found too.
func TestWindowLater(t *testing.T) {
	small := xzip(t, bytes.Repeat([]byte("0123456789abc"), 50_000), 1<<16)
	big := xzip(t, []byte("x"), 8<<20)
	blocks := func() []byte {
		var out bytes.Buffer
		w, err := xz.WriterConfig{DictCap: 1 << 16, BlockSize: 10_000, CheckSum: xz.SHA256}.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20_000 {
			if _, err := fmt.Fprintln(w, i*i); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}()
	// The second block's header is the first one's again, to be found by its
	// filter: LZMA2 with a dictionary of 64 KiB.
	at := bytes.Index(blocks[24:], blocks[12:24])
	if at < 0 {
		t.Fatal("no second block")
	}
	evil := bytes.Clone(blocks)
	dict := 24 + at + bytes.IndexByte(blocks[12:24], 0x21) + 2
	evil[dict] = 40 // 4 GiB - 1, in front of a wrong checksum
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"streams", append(append(bytes.Clone(small), 0, 0, 0, 0), big...), "dictionary"},
		{"blocks", evil, "dictionary"},
		{"fine", append(append(bytes.Clone(blocks), 0, 0, 0, 0, 0, 0, 0, 0), small...), ""},
	} {
		for _, src := range []io.Reader{bytes.NewReader(tt.in), iotest.OneByteReader(bytes.NewReader(tt.in))} {
			r, _, err := NewReader(src, Limits{Memory: 1 << 20})
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if fmt.Sprint(err) != "<nil>" && tt.want == "" || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
		}
	}
}

// A bomb costs time and not memory.
func TestBomb(t *testing.T) {
	bomb := gz(t, make([]byte, 64<<20))
	if len(bomb) > 1<<20 {
		t.Fatal("not a bomb")
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, _, err := NewReader(bytes.NewReader(bomb), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	runtime.ReadMemStats(&after)
	if n != 64<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("%d bytes allocated", used)
	}
}

// What an archive may hold is bounded: what comes before the bound is used, the
// rest is told.
func TestArchiveBounds(t *testing.T) {
	tarGz := func(n int, name func(i int) string) []byte {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		w := tar.NewWriter(z)
		for i := range n {
			if err := w.WriteHeader(&tar.Header{Name: name(i), Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(w.Close(), z.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	try := func(data []byte, visits int, want string) {
		t.Helper()
		n, refused := 0, []string{}
		err := Walk(fstest.MapFS{"a": {Data: data}}, "a", func(*File) error { n++; return nil },
			func(name string, err error) { refused = append(refused, name+": "+err.Error()) })
		if err != nil || n != visits || len(refused) != 1 || !strings.Contains(refused[0], want) {
			t.Errorf("%d visited, want %d; refused %.200q, want %q; %v", n, visits, refused, want, err)
		}
	}
	long := strings.Repeat("n", 4000)
	try(tarGz(17_000, func(i int) string { return fmt.Sprintf("%s%05d", long, i) }), 64<<20/4005, "67108864 bytes of names")
	if os.Getenv("TWTRACE_LONG") == "" {
		return
	}
	try(tarGz(1_000_010, func(i int) string { return strconv.Itoa(i) }), 1_000_000, "more than 1000000 members")
	try(gz(t, append([]byte("PK\x03\x04"), make([]byte, 256<<20)...)), 0, "zip of more than 268435456 bytes")
}

const (
	random = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	master = random + "0123456789abcdef0123456789abcdef"
)

func tarOf(t testing.TB, members ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		h := &tar.Header{Name: members[i], Mode: 0o644, Size: int64(len(members[i+1]))}
		if target, ok := strings.CutPrefix(members[i+1], "->"); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
			members[i+1] = ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, members[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t testing.TB, members ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		m, err := w.Create(members[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(m, members[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSniff(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Kind
	}{
		{"", Unknown},
		{"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", Pcap}, {"\xa1\xb2\xc3\xd4\x00\x02\x00\x04", Pcap},
		{"\x4d\x3c\xb2\xa1\x02\x00\x04\x00", Pcap}, {"\xa1\xb2\x3c\x4d\x00\x02\x00\x04", Pcap}, {"\x34\xcd\xb2\xa1\x02\x00\x04\x00", Pcap},
		{"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a", Pcapng}, {"\x0a\x0d\x0d\x0a\x00\x00\x00\x1c\x1a\x2b\x3c\x4d", Pcapng},
		{"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x00\x00\x00\x00", Unknown}, {"snoop\x00\x00\x00", Unknown},

		{"CLIENT_RANDOM " + random + " " + master, Keylog},
		{"# c\r\n\r\njunk \x00\x01\r\nCLIENT_TRAFFIC_SECRET_0 " + strings.ToUpper(random) + " " + random + "\r\n", Keylog},
		{"RSA 0123456789abcdef " + master + "\n", Keylog},
		{"RSA Session-ID:" + random + " Master-Key:" + master + "\n", Keylog},
		{"EXPORTER_SECRET " + random + " " + random + random, Keylog},
		{"QUIC_SERVER_TRAFFIC_SECRET_12 " + random + " " + random, Keylog},
		{"CLIENT_RANDOM " + random[1:] + " " + master, Unknown}, {"CLIENT_RANDOM " + random + " " + master[2:], Unknown},
		{"CLIENT_RANDOM " + random[1:] + "g " + master, Unknown}, {"client_random " + random + " " + master, Unknown},
		{"The key is CLIENT_RANDOM " + random + " " + master, Unknown},

		{`{"sid": "SM1", "date_created": null}`, Resources}, {"\xef\xbb\xbf [ {\"sid\":\"CA1\",\n\"dateCreated\":\"x\"}", Resources},
		{`{"calls":[{"date_created":"x","subresource_uris":{"a":"b"},"sid":"CA1"`, Resources},
		{"{\"sid\":\"SM1\",\"body\":\"\\\"}{\",\"date_created\":\"x\"}\n{}", Resources},
		{"{\"note\":1}\n{\"sid\":\"SM1\",\"date_created\":\"x\"}\n", Resources},
		{`{"first_page_uri": "/x", "messages": [], "page": 0}`, Resources},
		{`{"page":0,"page_size":50,"calls":[]}`, Resources}, {`{"messages":[],"meta":{"page":0,"key":"messages"}}`, Resources},
		{`{"meta":{"key":"metrics","first_page_url":"x"},"metrics":[]}`, Unknown},
		{`{"sid":"SM1"}`, Unknown}, {`{"a":"sid","b":"date_created"}`, Unknown}, {`["sid","date_created"]`, Unknown},
		{`{"sid":"CA1","x":{"date_created":1}}`, Unknown}, // not of one object
		{`{"a":{"b":{"c":{"d":{"sid":1,"date_created":2}}}}}`, Unknown},
		{`{"calls":[{"callsid":"CA1","created_ns":1}]}`, Unknown}, {`{"page_size":50,"messages":[{"sid":"SM1","created_ns":1}]}`, Unknown},
		{`{"calls":[],"notes":[{"sid":"CA1","dateCreated":"x"}]}`, Unknown}, {`[{"calls":[{"sid":"CA1","dateCreated":"x"}]}]`, Resources},
		{`{"config":{"page":1,"page_size":50,"messages":[]}}`, Unknown}, {`[{"page":1,"page_size":50,"messages":[]}]`, Resources}, {`{"sid": "`, Unknown}, {`{`, Unknown}, {`}}}]{`, Unknown},

		{"<?xml version='1.0'?>\n<TwilioResponse><Message>", Resources},
		{"<TwilioResponse><RestException><Status>404", Unknown}, {"<html>", Unknown},

		{"From,To,Body,Status,SentDate,Sid\n", Resources}, {"\"Call SID\";\"From\";\"To\"\r\n", Resources},
		{"sid\tfrom\tto\tstatus\tstartTime\n", Resources}, {"SID                                 From          To  \nCA", Resources},
		{"Date Created,Direction,Sid", Resources}, {"sid,from\n", Unknown}, {"from,to,status\n", Unknown}, {"id,bidirectional_packets\n", Unknown},
		{"time,kind,to\n", QueueLog}, {"time,kind,to,sid,status\r\n1,call,+1,CA,queued", QueueLog}, {"time,kind\n", Unknown},

		{"kind: calls\ncalls: 20\n", Manifest}, {"---\n# c\nname: x\nlabels:\n  a: b\nnotes: |\n  free: text\r\n", Manifest},
		{"calls: 200\n", Manifest}, {"kind: calls\nkals: 20\nname: x", Manifest},
		{"name: CI\non: push\njobs:\n  build:\n", Unknown}, {"name: x\nfree text\n", Unknown}, {"apiVersion: v1\nkind: Pod\n", Unknown},
		{"http://name:\n", Unknown}, {"hello\n", Unknown}, {"INVITE sip:a SIP/2.0\r\nFrom: x\r\n", Unknown},

		{string(tarOf(t, "a", "b")), Tar}, {string(zipOf(t, "a", "b")), Zip}, {string(zipOf(t)), Zip}, {string(make([]byte, 1024)), Unknown},
	} {
		if got := Sniff([]byte(tt.in)); got != tt.want {
			t.Errorf("%.80q is %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	for in, want := range map[string]string{
		"": "an empty file", " \n": "a file of white space", "snoop\x00\x00\x00\x00": "a Sun snoop capture",
		"\n<!DOCTYPE HTML>": "an HTML page", `{"a":1}`: "JSON without resources", "\x1f\x8b\x08": "gzip data",
		"<a/>": "XML or HTML without resources", "a,b,c\n1,2,3": "a table without the columns of resources or of a queue log",
		"\x00\x01\x02": "an unknown binary file that starts with 000102", "hello": "text of no known kind",
	} {
		if got := Describe([]byte(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// walk lists what Walk visits, as "name content", and refuses.
func walk(t testing.TB, fsys fs.FS, name string) (visited, refused []string) {
	t.Helper()
	var files []*File
	err := Walk(fsys, name, func(f *File) error {
		files = append(files, f)
		return nil
	}, func(name string, err error) { refused = append(refused, name+": "+err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	// After the walk, and every file twice.
	for range 2 {
		visited = visited[:0]
		for _, f := range files {
			rc, err := f.Open()
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			b, err := io.ReadAll(rc)
			if err != nil {
				b = fmt.Appendf(nil, "%d bytes, %v", len(b), err)
			} else if f.Size != int64(len(b)) {
				t.Errorf("%s: size %d, read %d", f.Name, f.Size, len(b))
			}
			if err := rc.Close(); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
			if len(b) > 100 {
				b = fmt.Appendf(nil, "%d bytes of %q", len(b), b[0])
			}
			visited = append(visited, f.Name+" "+string(b))
		}
	}
	return visited, refused
}

// streamFS gives files that can neither seek nor read at an offset.
type streamFS struct{ fs.FS }

func (s streamFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if d, ok := f.(fs.ReadDirFile); ok {
		return d, nil
	}
	return struct{ fs.File }{f}, nil
}

func TestWalk(t *testing.T) {
	big := strings.Repeat("B", smallMember+1)
	members := []string{"z.txt", "last", "./calls/b", "1", "calls/a.txt", "2", "calls.txt", "3", "big", big, ".hidden", "x", "d/.h/x", "x"}
	inside := []string{"big 1048577 bytes of 'B'", "calls/a.txt 2", "calls/b 1", "calls.txt 3", "z.txt last"}
	under := func(prefix string) (out []string) {
		for _, s := range inside {
			out = append(out, prefix+s)
		}
		return out
	}
	tarball := tarOf(t, members...)
	zipped := zipOf(t, members...)
	nested := tarOf(t, "1.tar", string(tarOf(t, "2.zip", string(zipOf(t, "3.tar", string(tarOf(t, "deep", "x")), "f", "y"))+"")), "big.zip", string(zipOf(t, "a", big, "b", "c")))
	dir := fstest.MapFS{
		"runs/b.pcap":        {Data: []byte("b")},
		"runs/a/c":           {Data: []byte("c")},
		"runs/.git/x":        {Data: []byte("x")},
		"runs/.DS_Store":     {Data: []byte("x")},
		"runs/link":          {Data: []byte("b.pcap"), Mode: fs.ModeSymlink},
		"runs/not-tar":       {Data: tarball},
		"runs/r.tar.gz":      {Data: gz(t, tarball)},
		"tar":                {Data: tarball},
		"tar.zst":            {Data: zst(t, tarball)},
		"tar.xz":             {Data: xzip(t, tarball, 1<<16)},
		"zip":                {Data: zipped},
		"zip.gz":             {Data: gz(t, zipped)},
		"nested":             {Data: nested},
		"plain/dir/file.txt": {Data: []byte("p")},
	}
	for _, fsys := range []fs.FS{dir, streamFS{dir}} {
		for _, tt := range []struct {
			name          string
			want, refused []string
		}{
			{"tar", inside, nil}, {"tar.zst", inside, nil}, {"tar.xz", inside, nil}, {"zip", inside, nil}, {"zip.gz", inside, nil},
			{"runs", slices.Concat([]string{"a/c c", "b.pcap b"}, under("not-tar/"), under("r.tar.gz/")),
				[]string{"link: symbolic link, not followed: name its target"}},
			{"runs/b.pcap", []string{"b.pcap b"}, nil},
			{"plain", []string{"dir/file.txt p"}, nil},
			{"nested", []string{"1.tar/2.zip/f y", "big.zip/a 1048577 bytes of 'B'", "big.zip/b c"},
				[]string{"1.tar/2.zip/3.tar: archive inside 3 others, not opened"}},
		} {
			got, refused := walk(t, fsys, tt.name)
			if !slices.Equal(got, tt.want) || !slices.Equal(refused, tt.refused) {
				t.Errorf("%s:\n got  %q\n want %q\n refused %q\n want    %q", tt.name, got, tt.want, refused, tt.refused)
			}
		}
	}
	if err := Walk(dir, "absent", nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	n := 0
	stop := errors.New("stop")
	for _, end := range []error{stop, fs.SkipAll} {
		err := Walk(dir, "runs", func(*File) error { n++; return end }, func(string, error) {})
		if end == stop && err != stop || end == fs.SkipAll && err != nil {
			t.Errorf("visit ended with %v, walk with %v", end, err)
		}
	}
	if n != 2 {
		t.Errorf("%d visits, want 1 each", n)
	}
}

// Names that lead out, links, duplicates and damage are told and do no harm.
func TestWalkRefuses(t *testing.T) {
	long := strings.Repeat("n", maxName+1)
	damaged := gz(t, tarOf(t, "a", "1", "b", strings.Repeat("2", 5000)))
	cut := tarOf(t, "a", "1", "b", strings.Repeat("2", 5000))[:512+512+512+1000]
	badZip := zipOf(t, "a", "1")
	badZip[len(badZip)-6]++ // where the directory starts
	encrypted := zipOf(t, "a", "1", "b", "2")
	at := bytes.LastIndex(encrypted, []byte("PK\x01\x02"))
	encrypted[at+8] |= 1
	dir := fstest.MapFS{
		"evil.tar":  {Data: tarOf(t, "/etc/passwd", "x", "../up", "x", "a/../../b", "x", "ok", "y", "link", "->/etc/passwd", long, "x", "ok", "z", "c:/x", "x")},
		"evil.zip":  {Data: zipOf(t, `..\up`, "x", `dir\ok`, "y")},
		"gz":        {Data: damaged[:len(damaged)-30]},
		"cut.tar":   {Data: cut},
		"bad.zip":   {Data: badZip[:len(badZip)-3]},
		"crypt.zip": {Data: encrypted},
	}
	for name, want := range map[string]struct {
		visited []string
		refused []string // parts of each, in order
	}{
		"evil.tar":  {[]string{"ok z"}, []string{"absolute", "leads out", "leads out", "link: link", "4097 bytes", "absolute", "ok: a later member"}},
		"evil.zip":  {[]string{"dir/ok y"}, []string{"leads out"}},
		"cut.tar":   {[]string{"a 1", "b 1000 bytes, unexpected EOF"}, []string{"unexpected EOF"}},
		"bad.zip":   {nil, []string{"zip"}},
		"crypt.zip": {[]string{"a 1"}, []string{"encrypted"}},
	} {
		got, refused := walk(t, dir, name)
		if !slices.Equal(got, want.visited) {
			t.Errorf("%s: visited %q, want %q", name, got, want.visited)
		}
		if len(refused) != len(want.refused) {
			t.Errorf("%s: refused %q, want %q", name, refused, want.refused)
			continue
		}
		for i := range refused {
			if !strings.Contains(refused[i], want.refused[i]) {
				t.Errorf("%s: refused %q, want %q", name, refused[i], want.refused[i])
			}
		}
	}
	got, refused := walk(t, dir, "gz")
	if len(got) == 0 || got[0] != "a 1" || len(refused) != 1 {
		t.Errorf("cut off tar.gz: %q, %q", got, refused)
	}
}

// A member that the cut of its archive shortened gives what there is, and the
// reason, whichever way it is read.
func TestCutMember(t *testing.T) {
	cut := tarOf(t, "b", strings.Repeat("2", 5000))[:512+1000]
	err := Walk(fstest.MapFS{"t": {Data: cut}}, "t", func(f *File) error {
		rc, err := f.Open()
		if err != nil {
			return err
		}
		b, err := io.ReadAll(rc)
		if len(b) != 1000 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("ReadAll: %d bytes, %v", len(b), err)
		}
		if rc, err = f.Open(); err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, rc)
		if n != 1000 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Copy: %d bytes, %v", n, err)
		}
		return nil
	}, func(string, error) {})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStdin(t *testing.T) {
	pcap := "\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + strings.Repeat("x", 200_000)
	for _, in := range []string{pcap, string(gz(t, []byte(pcap)))} {
		f := Stdin(iotest.HalfReader(strings.NewReader(in)))
		for range 2 {
			c, err := f.Identify()
			if err != nil || c.Kind != Pcap || f.Name != "-" || f.Size != -1 {
				t.Errorf("%v, %v", c.Kind, err)
			}
		}
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(rc); string(b) != in || err != nil {
			t.Errorf("%d bytes of %d, %v", len(b), len(in), err)
		}
		if _, err := f.Open(); err == nil {
			t.Error("opened twice")
		}
		if _, err := f.Look(); err == nil {
			t.Error("looked into after it was read")
		}
		if c, err := f.Identify(); err != nil || c.Kind != Pcap || f.As("x").Name != "x" {
			t.Errorf("forgot what it is: %v, %v", c.Kind, err)
		}
	}
	c, err := Stdin(bytes.NewReader(unhex(t, bzHello))).Look()
	if err != nil || c.Compression != Bzip2 || string(c.Head) != "hello, " {
		t.Errorf("%+v, %v", c, err)
	}
}

// A capture whose compression is cut off is a capture all the same.
func TestIdentifyDamaged(t *testing.T) {
	in := gz(t, append([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00"), make([]byte, 1000)...))
	in = in[:len(in)-8]
	fsys := fstest.MapFS{"f": {Data: in}, "g": {Data: []byte("\x1f\x8b\x08\x00")}}
	for name, want := range map[string]Kind{"f": Pcap, "g": Unknown} {
		err := Walk(fsys, name, func(f *File) error {
			c, err := f.Identify()
			if c.Kind != want || c.Compression != Gzip || (err == nil) != (want == Pcap) {
				t.Errorf("%s: %v %v, %v", name, c.Kind, c.Compression, err)
			}
			return nil
		}, func(name string, err error) { t.Error(name, err) })
		if err != nil {
			t.Error(err)
		}
	}
}

// Every file of the shared data is what its place there says.
func TestSharedKinds(t *testing.T) {
	root := filepath.Join("..", "..", "..", "shared")
	if _, err := os.Stat(root); err != nil {
		t.Skip("no shared test data")
	}
	want := func(name string) (Kind, bool) {
		base := filepath.Base(name)
		ext := filepath.Ext(base)
		switch {
		case strings.HasPrefix(name, "captures"):
			return Keylog, ext == ".keylog"
		case strings.Contains(name, "s4-hostile/fuzz/"):
			return 0, false
		case base == "keys-empty.log":
			return Unknown, true
		case ext == ".pcap" || base == "bomb.pcap.gz":
			return Pcap, true
		case ext == ".pcapng" || strings.HasSuffix(base, ".pcapng.gz"):
			return Pcapng, true
		case strings.HasPrefix(base, "keys"):
			return Keylog, true
		case base == "experiment.yaml":
			return Manifest, true
		case base == "queue.csv":
			return QueueLog, true
		case base == "segment-boundaries.json":
			return Unknown, true // a table of numbers
		case base == "java361-404onUsageTrigger.xml":
			return Unknown, true // an error, and JSON
		case base == "node-util-inspect.txt":
			return Unknown, true // no exchange format
		}
		switch dir := filepath.Base(filepath.Dir(name)); dir {
		case "calls", "messages", "rest-call", "rest-message", "rest-list", "xml", "cli":
			return Resources, true
		case "eventgw", "pstream", "insights", "cassette", "rest-error", "callback":
			return Unknown, true
		}
		switch base {
		case "helper-lib-calls.json":
			return Resources, true
		case "truth.json", "client.json", "srtp.json", "impairment.jsonl", "README", "baresip-pbx.log", "baresip-trunk.log", "MANIFEST.md":
			return Unknown, true
		}
		return 0, false
	}
	checked := map[Kind]int{}
	for _, top := range []string{"captures/files", "lab", "samples"} {
		err := Walk(os.DirFS(root), top, func(f *File) error {
			name := top + "/" + f.Name
			k, ok := want(name)
			if !ok {
				return nil
			}
			if k == Keylog && f.Size == 0 {
				k = Unknown // some runs made no DTLS connection
			}
			checked[k]++
			c, err := f.Identify()
			if c.Kind != k || err != nil {
				t.Errorf("%s is %s, want %s, %v", name, c.Kind, k, err)
			}
			return nil
		}, func(name string, err error) { t.Errorf("%s: %v", name, err) })
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Log(checked)
	for k, least := range map[Kind]int{Unknown: 150, Pcap: 30, Pcapng: 60, Keylog: 100, Resources: 120, QueueLog: 1, Manifest: 1} {
		if checked[k] < least {
			t.Errorf("%d files of kind %s checked, want %d", checked[k], k, least)
		}
	}
}

// However much of a file is read to know it, it is of the same kind.
func TestFirstLook(t *testing.T) {
	fill := func(n int) string { return strings.Repeat(" ", n) }
	for content, want := range map[string]Kind{
		"":                                   Unknown,
		`[{"sid":"SM1","date_created"`:       Unknown,
		`[{"sid":"SM1","date_created":"x"}]`: Resources,
		`[{"sid":"SM1","date_created":"x"}]` + fill(2*HeadSize):               Resources,
		`[{"body":"` + fill(firstLook) + `","sid":"SM1","date_created":"x"}]`: Resources,
		`[{"body":"` + fill(HeadSize) + `","sid":"SM1","date_created":"x"}]`:  Unknown,
		fill(firstLook) + `[{"sid":"SM1","date_created":"x"}]`:                Resources,
		"<TwilioResponse>" + fill(2*firstLook):                                Resources,
		"<TwilioResponse>" + fill(2*firstLook) + "<RestException>":            Unknown,
		"\xd4\xc3\xb2\xa1" + fill(2*firstLook):                                Pcap,
		"a: b\n" + fill(firstLook) + "\nname: x\nkind: y\n":                   Manifest,
	} {
		for _, data := range [][]byte{[]byte(content), gz(t, []byte(content))} {
			file := &File{Name: "f", Size: int64(len(data)), open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
			c, err := file.Identify()
			whole, werr := file.Look()
			if err != nil || werr != nil || c.Kind != want || whole.Kind != want || c.Head != nil || string(whole.Head) != content[:min(len(content), HeadSize)] {
				t.Errorf("%.40q and so on, %d bytes: %s, %v; whole %s, %v, a head of %d bytes; want %s", content, len(content), c.Kind, err, whole.Kind, werr, len(whole.Head), want)
			}
		}
	}
}

func FuzzSniff(f *testing.F) {
	for _, s := range []string{"\xd4\xc3\xb2\xa1", "\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a", "CLIENT_RANDOM " + random + " " + master,
		"RSA Session-ID:00 Master-Key:00", `{"sid":"a","x":["\"",{}],"date_created":1}`, "<TwilioResponse>", "time,kind,to\n", "name: x\nkind: y\n",
		"SID  From  To\n", "\x1f\x8b\x08\x00", string(tarOf(f, "a", "b"))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		k := Sniff(in)
		if k.String() == "" || Describe(in) == "" {
			t.Fatal("no name")
		}
		Compressed(in)
		// What shows in the first bytes is not changed by those that follow.
		for n := 512; n < len(in); n *= 2 {
			if first := sniffFirst(in[:n]); first != Unknown && first != k {
				t.Fatalf("by %d bytes it is of kind %s, by all of kind %s", n, first, k)
			}
		}
		// Nothing after HeadSize can change the answer.
		if len(in) >= HeadSize && Sniff(append(bytes.Clone(in), "CLIENT_RANDOM"...)) != k {
			t.Fatal("looked beyond HeadSize")
		}
	})
}

func FuzzArchive(f *testing.F) {
	tb := tarOf(f, "a", "1", "../b", "2", "c.zip", string(zipOf(f, "x", "y")), "l", "->a")
	f.Add(tb)
	f.Add(gz(f, tb))
	f.Add(zst(f, tb))
	f.Add(xzip(f, tb, 1<<16))
	f.Add(zipOf(f, "a", "1", `b\c`, "2", "d.tar", string(tb)))
	f.Add(unhex(f, bzHello))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, fsys := range []fs.FS{fstest.MapFS{"f": {Data: in}}, streamFS{fstest.MapFS{"f": {Data: in}}}} {
			err := Walk(fsys, "f", func(m *File) error {
				if !fs.ValidPath(m.Name) && strings.ToValidUTF8(m.Name, "") == m.Name {
					t.Fatalf("name %q", m.Name)
				}
				_, _ = m.Identify()
				rc, err := m.Open()
				if err != nil {
					return nil
				}
				defer rc.Close()
				d, _, err := NewReader(rc, Limits{Memory: 1 << 20, Output: 1 << 20})
				if err != nil {
					return nil
				}
				defer d.Close()
				_, _ = io.Copy(io.Discard, d)
				return nil
			}, func(string, error) {})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkSniff(b *testing.B) {
	page := `{"first":1,"x":[` + strings.Repeat(`{"body":"hello world","status":"sent"},`, 2000)
	b.SetBytes(HeadSize)
	b.ReportAllocs()
	for b.Loop() {
		if Sniff([]byte(page)) != Unknown {
			b.Fatal("sniffed")
		}
	}
}

func BenchmarkNewReader(b *testing.B) {
	data := bytes.Repeat([]byte("INVITE sip:alice@example.com SIP/2.0\r\n"), 100_000)
	for c, in := range map[Compression][]byte{None: data, Gzip: gz(b, data), Zstd: zst(b, data)} {
		b.Run("compression="+string(c), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				r, _, err := NewReader(bytes.NewReader(in), Limits{})
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); n != int64(len(data)) || err != nil {
					b.Fatal(n, err)
				}
				r.Close()
			}
		})
	}
}
