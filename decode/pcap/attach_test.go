package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// What a section's header, its interfaces and the blocks around packets tell
// comes back as it was written.
func TestNGSectionRoundTrip(t *testing.T) {
	files := bytes.Repeat([]byte("0123456789"), 20_001) // some options of it
	names := []Name{{netip.MustParseAddr("192.0.2.7"), "a.example"}, {netip.MustParseAddr("2001:db8::7"), "b.example"}}
	var buf bytes.Buffer
	w := NewNGSection(&buf, Section{Comments: []string{"one", "two"}, Program: "test 1", Files: files})
	want := []Interface{
		{Link: 1, SnapLen: 96, Name: "eth0", Description: "uplink", Drops: 7, DropsKnown: true},
		{Link: 101, Name: "tun0"},
	}
	for _, i := range want {
		if _, err := w.Describe(i, 9); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.WriteNames(names), w.WritePacket(1, 1e18+1, []byte("x"), 1, "here"), w.WriteDrops(0, 1e18+2, 7)); err != nil {
		t.Fatal(err)
	}
	got, err := Attachment(bytes.NewReader(buf.Bytes()))
	if err != nil || !bytes.Equal(got, files) {
		t.Errorf("%d bytes are attached, %v; want the %d that were", len(got), err, len(files))
	}
	frames, info, err := readAll(t, &buf)
	if err != io.EOF || len(frames) != 1 || frames[0].Interface != 1 || frames[0].Time != 1e18+1 {
		t.Errorf("frames %v, %v", frames, err)
	}
	if !slices.Equal(info.Described, want) || !slices.Equal(info.Names, names) || info.Drops != 7 || !info.DropsKnown {
		t.Errorf("read %+v", info)
	}
	if c := []Comment{{0, "one"}, {0, "two"}, {1, "here"}}; !slices.Equal(info.Comments, c) {
		t.Errorf("comments %v, want %v", info.Comments, c)
	}
}

func TestAttachmentLimits(t *testing.T) {
	if err := CheckAttachment(maxAttachment); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an attachment of %d bytes: %v", maxAttachment, err)
	}
	n := maxAttachment - 1<<16
	if err := CheckAttachment(n); err != nil {
		t.Errorf("an attachment of %d bytes: %v", n, err)
	}
	var buf bytes.Buffer
	NewNGSection(&buf, Section{Comments: []string{strings.Repeat("c", 1<<20)}, Files: make([]byte, n)})
	if got, err := Attachment(&buf); err != nil || len(got) != n {
		t.Errorf("%d bytes came back, %v; want %d", len(got), err, n)
	}
	if w := NewNGSection(io.Discard, Section{Files: make([]byte, maxBlock)}); w.WriteNames([]Name{{}}) == nil {
		t.Error("a header over the limit was written")
	}
	for _, o := range []order{binary.LittleEndian, binary.BigEndian} {
		plain := ngSection(o)
		if got, err := Attachment(bytes.NewReader(plain)); got != nil || err != nil || HeaderLen(plain) != len(plain) {
			t.Errorf("a header without files: %v, %v, length %d", got, err, HeaderLen(plain))
		}
	}
}

func FuzzAttachment(f *testing.F) {
	var buf bytes.Buffer
	NewNGSection(&buf, Section{Comments: []string{"c"}, Files: []byte("files")})
	f.Add(buf.Bytes())
	f.Add(buf.Bytes()[:40])
	f.Add(ngSection(binary.BigEndian))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, err := Attachment(bytes.NewReader(b))
		if err != nil {
			t.Errorf("bytes in memory gave %v", err)
		}
		if len(files) > len(b) {
			t.Errorf("%d bytes hold %d", len(b), len(files))
		}
	})
}
