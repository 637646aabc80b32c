package rtcp

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

const captures = "../../../shared/captures"

// datagrams calls f with every UDP payload of a capture.
func datagrams(t *testing.T, path string, f func(at, src, sport string, payload []byte)) {
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
		at := fmt.Sprintf("%d.%09d", ci.Timestamp.Unix(), ci.Timestamp.Nanosecond())
		var from string
		for _, l := range p.Layers() {
			switch l := l.(type) {
			case *layers.IPv4:
				from = l.SrcIP.String()
			case *layers.IPv6:
				from = l.SrcIP.String()
			case *layers.UDP:
				f(at, from, fmt.Sprint(uint16(l.SrcPort)), l.Payload)
			}
		}
	}
}

// TestTruth compares the reports of public captures with tshark's.
func TestTruth(t *testing.T) {
	if _, err := os.Stat(captures); err != nil {
		t.Skip(err)
	}
	type report struct {
		TS, Src, Sport                  string
		PT, Fraction, Jitter, LSR, DLSR []string
		CumLost                         []string `json:"cum_lost"`
		SenderSSRC                      []string `json:"sender_ssrc"`
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
		var truth struct {
			Path string
			RTCP struct{ Reports []report }
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			return err
		}
		if len(truth.RTCP.Reports) == 0 {
			return nil
		}
		t.Run(truth.Path, func(t *testing.T) {
			want := map[string]report{}
			for _, r := range truth.RTCP.Reports {
				want[r.TS+" "+r.Src+" "+r.Sport] = r
			}
			found := 0
			datagrams(t, captures+"/files/"+truth.Path, func(at, src, sport string, payload []byte) {
				w, ok := want[at+" "+src+" "+sport]
				if !ok {
					return
				}
				// tshark's heuristics also take datagrams for RTCP that have
				// another version or type, or a length beyond their end.
				if len(payload) < 8 || payload[0]>>6 != 2 || payload[1] < 200 || payload[1] > 207 ||
					4+4*int(binary.BigEndian.Uint16(payload[2:])) > len(payload) {
					return
				}
				var c Compound
				if !Looks(payload) || Decode(payload, &c) != nil {
					t.Errorf("%s %s: not taken for RTCP: %.40x", at, src, payload)
					return
				}
				found++
				var have report
				add := func(blocks []ReportBlock) {
					for _, b := range blocks {
						have.Fraction = append(have.Fraction, fmt.Sprint(b.FractionLost))
						have.CumLost = append(have.CumLost, fmt.Sprint(b.CumulativeLost))
						have.Jitter = append(have.Jitter, fmt.Sprint(b.Jitter))
						have.LSR = append(have.LSR, fmt.Sprint(b.LSR))
						have.DLSR = append(have.DLSR, fmt.Sprint(b.DLSR))
					}
				}
				for _, r := range c.SRs {
					add(r.Reports)
				}
				for _, r := range c.RRs {
					add(r.Reports)
				}
				for _, v := range c.VoIP { // tshark names a VoIP metrics loss rate the same
					have.Fraction = append(have.Fraction, fmt.Sprint(v.LossRate))
				}
				h := fmt.Sprint(have.Fraction, have.CumLost, have.Jitter, have.LSR, have.DLSR)
				if wt := fmt.Sprint(w.Fraction, w.CumLost, w.Jitter, w.LSR, w.DLSR); h != wt {
					t.Errorf("%s %s types %v:\nhave %s\nwant %s\n%x", at, src, w.PT, h, wt, payload)
				}
			})
			t.Logf("%d of %d reports compared", found, len(want))
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
