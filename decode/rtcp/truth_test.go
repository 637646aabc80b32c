package rtcp

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/internal/captest"
)

// TestTruth compares the reports of public captures with tshark's.
func TestTruth(t *testing.T) {
	type report struct {
		TS, Src, Sport                  string
		PT, Fraction, Jitter, LSR, DLSR []string
		CumLost                         []string `json:"cum_lost"`
		SenderSSRC                      []string `json:"sender_ssrc"`
	}
	total := 0
	type recorded struct {
		RTCP struct{ Reports []report }
	}
	has := func(truth *recorded) bool { return len(truth.RTCP.Reports) > 0 }
	captest.Truths(t, os.DirFS(captest.Shared), has, func(t *testing.T, c captest.Capture, truth *recorded) {
		want := map[string]report{}
		for _, r := range truth.RTCP.Reports {
			want[r.TS+" "+r.Src+" "+r.Sport] = r
		}
		found := 0
		c.Datagrams(t, func(at string, p *link.Packet) {
			src, payload := p.Src.String(), p.Payload
			w, ok := want[fmt.Sprint(at, " ", src, " ", p.SrcPort)]
			if !ok {
				return
			}
			// tshark's heuristics also take datagrams for RTCP that have
			// another version or type, or a length beyond their end.
			if len(payload) < 8 || payload[0]>>6 != 2 || payload[1] < 200 || payload[1] > 207 ||
				4+4*int(binary.BigEndian.Uint16(payload[2:])) > len(payload) {
				return
			}
			var cp Compound
			if !Looks(payload) || Decode(payload, &cp) != nil {
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
			for _, r := range cp.SRs {
				add(r.Reports)
			}
			for _, r := range cp.RRs {
				add(r.Reports)
			}
			for _, v := range cp.VoIP { // tshark names a VoIP metrics loss rate the same
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
	if total == 0 {
		t.Error("nothing was compared")
	}
}
