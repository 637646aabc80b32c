package dns

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/internal/captest"
)

// TestTruth compares questions and answers of public captures with tshark's.
func TestTruth(t *testing.T) {
	total := 0
	type record struct {
		TS, ID   string
		Response bool
		Rcode    string
		QName    []string
		QType    []string
		Answers  struct{ A, AAAA, CNAME []string }
	}
	type recorded struct {
		DNS struct{ Records []record }
	}
	has := func(truth *recorded) bool { return len(truth.DNS.Records) > 0 }
	captest.Truths(t, os.DirFS(captest.Shared), has, func(t *testing.T, c captest.Capture, truth *recorded) {
		want := map[string]record{}
		for _, r := range truth.DNS.Records {
			want[fmt.Sprintf("%s %s %v", r.TS, r.ID, r.Response)] = r
		}
		found := 0
		c.Datagrams(t, func(at string, p *link.Packet) {
			b := p.Payload
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
			odd := strings.HasSuffix(c.Path, "fuzz-2006-06-26-2594.pcap") || strings.HasSuffix(c.Path, "dns-sshfp.pcap")
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
	if total == 0 {
		t.Error("nothing was compared")
	}
}
