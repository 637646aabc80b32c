package dns

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

const captures = "../../../shared/captures"

// datagrams calls f with every UDP payload of a capture.
func datagrams(t *testing.T, path string, f func(at string, payload []byte)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	var src interface {
		gopacket.PacketDataSource
		LinkType() layers.LinkType
	}
	if src, err = pcapgo.NewReader(file); err != nil {
		if _, err = file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if src, err = pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions); err != nil {
			t.Skip(err)
		}
	}
	for {
		data, ci, err := src.ReadPacketData()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Log(err)
			}
			return
		}
		p := gopacket.NewPacket(data, src.LinkType(), gopacket.DecodeOptions{NoCopy: true})
		for _, l := range p.Layers() {
			if udp, ok := l.(*layers.UDP); ok {
				f(fmt.Sprintf("%d.%09d", ci.Timestamp.Unix(), ci.Timestamp.Nanosecond()), udp.Payload)
			}
		}
	}
}

// TestTruth compares questions and answers of public captures with tshark's.
func TestTruth(t *testing.T) {
	if _, err := os.Stat(captures); err != nil {
		t.Skip(err)
	}
	total := 0
	err := filepath.WalkDir(captures+"/truth", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		type record struct {
			TS, ID   string
			Response bool
			Rcode    string
			QName    []string
			QType    []string
			Answers  struct{ A, AAAA, CNAME []string }
		}
		var truth struct {
			Path string
			DNS  struct{ Records []record }
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			return err
		}
		if len(truth.DNS.Records) == 0 {
			return nil
		}
		t.Run(truth.Path, func(t *testing.T) {
			want := map[string]record{}
			for _, r := range truth.DNS.Records {
				want[fmt.Sprintf("%s %s %v", r.TS, r.ID, r.Response)] = r
			}
			found := 0
			datagrams(t, captures+"/files/"+truth.Path, func(at string, b []byte) {
				if len(b) < headLen {
					return
				}
				w, ok := want[fmt.Sprintf("%s 0x%04x %v", at, binary.BigEndian.Uint16(b), b[2]>>7 == 1)]
				if !ok {
					return
				}
				var m Message
				err := Decode(b, &m)
				if err != nil {
					t.Log(at, err)
				}
				// The first is fuzzed on purpose, the second has a query with
				// the reserved bit set.
				odd := strings.HasSuffix(truth.Path, "fuzz-2006-06-26-2594.pcap") || strings.HasSuffix(truth.Path, "dns-sshfp.pcap")
				if err == nil && m.Opcode == 0 && !odd && !Looks(b) {
					t.Errorf("%s: does not look like DNS: %x", at, b)
				}
				found++
				if len(w.QName) > 0 && !strings.ContainsFunc(w.QName[0], func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
					name := strings.ToLower(w.QName[0])
					if name == "<root>" {
						name = "."
					}
					if m.Name != name || fmt.Sprint(m.Type) != w.QType[0] {
						t.Errorf("%s: question %q %d, want %q %s", at, m.Name, m.Type, name, w.QType[0])
					}
				}
				if w.Response && w.Rcode != "" && fmt.Sprint(m.Rcode) != w.Rcode {
					t.Errorf("%s: response code %d, want %s", at, m.Rcode, w.Rcode)
				}
				var a, aaaa, cname []string
				foreign := false // records of a class other than IN, which are not read
				for _, r := range m.Answers {
					if !r.Addr.IsValid() && r.Target == "" {
						foreign = true
						continue
					}
					switch r.TypeText {
					case "A":
						a = append(a, r.Addr.String())
					case "AAAA":
						aaaa = append(aaaa, r.Addr.String())
					case "CNAME":
						cname = append(cname, r.Target)
					}
				}
				// tshark's lists go on with the other sections.
				only := binary.BigEndian.Uint32(b[8:]) == 0 && err == nil && !foreign
				for _, l := range []struct{ have, want []string }{{a, w.Answers.A}, {aaaa, w.Answers.AAAA}, {cname, w.Answers.CNAME}} {
					if len(l.have) > len(l.want) || !slices.EqualFunc(l.have, l.want[:len(l.have)], strings.EqualFold) || only && len(l.have) != len(l.want) {
						t.Errorf("%s: answers %q, want %q", at, l.have, l.want)
					}
				}
			})
			t.Logf("%d of %d messages compared", found, len(truth.DNS.Records))
			total += found
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total == 0 {
		t.Error("nothing was compared")
	}
}
