package sessions

import (
	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/rtcp"
)

// reportKey finds the sender report that a report block answers: LSR is the
// middle 32 bits of its NTP time (RFC 3550 6.4.1).
type reportKey struct{ ssrc, lsr uint32 }

type senderReport struct{ at Time }

// ssrcReports sums what receivers reported about one source.
type ssrcReports struct {
	lost, jitter, rtt    float64
	lostN, jitterN, rttN int64

	// what the latest VoIP metrics block said (RFC 3611 4.7): over the whole
	// reception, and used where the reports above said nothing
	voipLost, voipRTT Float
}

const maxReports = 1 << 20

// addRTCP takes a compound packet. Reports of encrypted media would be read as
// garbage, so they are only counted.
func (b *Builder) addRTCP(ev *decode.Event) {
	if !ev.Decrypted && !ev.Clear && b.isSecure(ev) {
		b.ledger.Out(decode.LayerRTCP, "encrypted", 1, int64(ev.WireLen))
		return
	}
	b.ledger.Out(decode.LayerRTCP, decode.ReasonUsed, 1, int64(ev.WireLen))
	c := ev.RTCP
	for i := range c.SRs {
		sr := &c.SRs[i]
		if len(b.rtcpSenders) < maxReports || b.rtcpSenders[sr.SSRC] {
			b.rtcpSenders[sr.SSRC] = true
		} else {
			b.capped("rtcp senders")
		}
		if len(b.reports) < maxReports {
			b.reports[reportKey{sr.SSRC, rtcp.MiddleNTP(sr.NTP)}] = senderReport{at: ev.Time}
		} else {
			b.capped("rtcp sender reports")
		}
		b.addReports(sr.Reports, ev.Time)
	}
	for i := range c.RRs {
		b.addReports(c.RRs[i].Reports, ev.Time)
	}
	for i := range c.VoIP {
		v := &c.VoIP[i]
		if s := b.reportsOf(v.SSRC); s != nil {
			s.voipLost = decode.Some(float64(v.LossRate) / 256)
			if v.RoundTripDelay > 0 {
				s.voipRTT = decode.Some(float64(v.RoundTripDelay))
			}
		}
	}
}

// reportsOf finds or makes what is reported about a source, nil beyond the bound.
func (b *Builder) reportsOf(ssrc uint32) *ssrcReports {
	s := b.bySSRC[ssrc]
	if s == nil {
		if len(b.bySSRC) >= maxReports {
			b.capped("rtcp sources")
			return nil
		}
		s = &ssrcReports{}
		b.bySSRC[ssrc] = s
	}
	return s
}

func (b *Builder) addReports(blocks []rtcp.ReportBlock, now Time) {
	for i := range blocks {
		r := &blocks[i]
		s := b.reportsOf(r.SSRC)
		if s == nil {
			return
		}
		s.lost += float64(r.FractionLost) / 256
		s.lostN++
		s.jitter += float64(r.Jitter)
		s.jitterN++
		if r.LSR == 0 {
			continue
		}
		if sr, ok := b.reports[reportKey{r.SSRC, r.LSR}]; ok {
			rtt := float64(now-sr.at)/1e6 - float64(r.DLSR)*1e3/65536
			if rtt >= 0 && rtt < 60e3 {
				s.rtt += rtt
				s.rttN++
			}
		}
	}
}

// isSecure tells whether a flow carries SRTP: DTLS was seen on it, or SDP
// offered a secure profile for one of its ends.
func (b *Builder) isSecure(ev *decode.Event) bool { return b.secureFlow(ev.Flow) }

func (b *Builder) secureFlow(f *decode.Flow) bool {
	if f.Apps[decode.AppDTLS] > 0 {
		return true
	}
	for dir := uint8(0); dir < 2; dir++ {
		if e := b.ends[f.End(dir)]; e != nil && e.secure {
			return true
		}
	}
	return false
}

// applyReports gives each stream what receivers said about its source. A
// source number that several streams share is told of none but the longest.
func (b *Builder) applyReports(list []*stream) {
	longest := map[uint32]*stream{}
	for _, s := range list {
		s.encrypted = b.secureFlow(s.flow)
		if l := longest[s.ssrc]; l == nil || s.packets > l.packets {
			longest[s.ssrc] = s
		}
	}
	for _, s := range list {
		r := b.bySSRC[s.ssrc]
		if r == nil || longest[s.ssrc] != s {
			continue
		}
		s.reports = r
		if r.lostN == 0 && r.voipLost.Known {
			r.lost, r.lostN = r.voipLost.V, 1
		}
		if r.rttN == 0 && r.voipRTT.Known {
			r.rtt, r.rttN = r.voipRTT.V, 1
		}
	}
}
