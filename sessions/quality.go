package sessions

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/stun"
)

// bursts is the loss structure of a stream by RFC 3611 4.7.2: a burst begins
// and ends with a lost packet and holds no gapMin received ones in a row; all
// else is gap, with it the single losses. Numbers come here in order, once the
// window cannot correct them any more.
type bursts struct {
	lost    int64
	runs    int64 // runs of losses without a received packet between them
	longest int64 // such run
	inPkts  int64 // numbers within bursts
	inLost  int64 // of them lost

	first, last int64 // lost numbers: where what may become a burst began, and the latest
	n           int64 // losses in it; 0 none
	run         int64 // losses up to the latest in a row
}

const gapMin = 16 // Gmin, the recommended value

// lose takes n numbers from i on, all lost.
func (b *bursts) lose(i, n int64) {
	if b.n > 0 && i == b.last+1 {
		b.run += n
	} else {
		b.runs++
		b.run = n
	}
	b.longest = max(b.longest, b.run)
	if b.n == 0 || i-b.last > gapMin {
		b.close()
		b.first = i
	}
	b.lost += n
	b.n += n
	b.last = i + n - 1
}

func (b *bursts) close() {
	if b.n > 1 {
		b.inPkts += b.last - b.first + 1
		b.inLost += b.n
	}
	b.n = 0
}

// losses is the structure with what is still in the window decided as well.
func (s *stream) losses() bursts {
	var b bursts
	if s.loss != nil {
		b = *s.loss
	}
	for i := max(s.baseSeq, s.maxSeq-seqWindow+1); i < s.maxSeq; i++ {
		if !s.seen(i) {
			b.lose(i, 1)
		}
	}
	b.close()
	return b
}

// ratio is BurstR of ITU-T G.107 (clause 7.6 of the 2015 edition): the mean
// run of losses over the 1/(1-p) of random loss, in the range that the model
// was verified for: 1 to 2, up to 8 below 2 % of loss.
func (b *bursts) ratio(expected int64) float64 {
	if b.runs == 0 || expected <= b.lost {
		return 1
	}
	p := float64(b.lost) / float64(expected)
	most := 2.0
	if p < 0.02 {
		most = 8
	}
	return min(max(float64(b.lost)/float64(b.runs)*(1-p), 1), most)
}

// emodel is the E-model of ITU-T G.107 as far as a capture fills it:
//
//	R = 93.2 - Id - Ie,eff
//
// 93.2 is Ro - Is with every parameter at its default. Echo, noise and
// loudness are not in a capture and stay at their defaults; the advantage
// factor A is 0. Id is taken from the curve that Cole and Rosenbluth (Voice
// over IP performance monitoring, 2001) laid through G.107's Id at these
// defaults, which holds up to 400 ms.
type emodel struct {
	ie, bpl float64 // equipment impairment, robustness against loss
	delay   float64 // ms from mouth to ear, without what jitter adds
}

func (m *emodel) r(lossPct, burstR, jitter float64) float64 {
	d := m.delay + 2*jitter // a receiver's buffer is about twice the jitter deep
	id := 0.024 * d
	if d > 177.3 {
		id += 0.11 * (d - 177.3)
	}
	eff := m.ie + (95-m.ie)*lossPct/(lossPct/burstR+m.bpl)
	return min(max(93.2-id-eff, 0), 100)
}

// mosOf is the mean opinion score of R, G.107 annex B. Its cubic falls just
// below 1 for R under 6.5, where 1 is the end of the scale.
func mosOf(r float64) float64 {
	switch {
	case r <= 0:
		return 1
	case r >= 100:
		return 4.5
	}
	return max(1, 1+0.035*r+r*(r-60)*(100-r)*7e-6)
}

// impairments are Ie and Bpl of codecs, ITU-T G.113 appendix I tables I.1 and
// I.4 (random loss). Where a note says assumed, G.113 has no such value:
//   - G.711 without concealment, and with that of G.711 appendix I;
//   - G.729A with VAD; G.723.1 at 6.3 kbit/s with VAD; GSM-EFR;
//   - GSM full rate has an Ie and no Bpl: that of GSM-EFR;
//   - iLBC is not in G.113: as G.729A, which has a like rate and concealment;
//   - G.722 and Opus belong to the scales of G.107.1 and G.107.2. On the
//     narrowband scale of this column they lose nothing by coding, and are
//     taken for G.711 (Opus for one with concealment), so that streams compare.
func impairments(codec string, conceals bool) (ie, bpl float64, note string, ok bool) {
	plain, note := 4.3, "G.711 without concealment"
	if conceals {
		plain, note = 25.1, "G.711 with concealment"
	}
	switch strings.ToLower(codec) {
	case "pcmu", "pcma":
		return 0, plain, note, true
	case "g722":
		return 0, plain, "wideband G.722 assumed as " + note, true
	case "opus":
		return 0, 25.1, "Opus assumed as G.711 with concealment", true
	case "g729":
		return 11, 19, "G.729A", true
	case "g723":
		return 15, 16.1, "G.723.1 assumed at 6.3 kbit/s", true
	case "gsm":
		return 20, 10, "GSM with Bpl of GSM-EFR assumed", true
	case "gsm-efr":
		return 5, 10, "GSM-EFR", true
	case "ilbc":
		return 11, 19, "iLBC assumed as G.729A", true
	}
	return 0, 0, "", false
}

const (
	minScored       = 50 // packets of a stream that is rated
	minScoredSecond = 10 // numbers of a second that is rated
	assumedPtime    = 20 // ms
)

// rate fills in what is rated of a stream: its loss structure, the E-model,
// the client's own score, and its sound. It gives the E-model for the stream's
// seconds, nil when there is none.
func (s *stream) rate(r *Stream) *emodel {
	loss := s.losses()
	if r.Expected > 0 {
		// without a burst its density is 0, as RFC 3611 has it
		r.BurstLossPct, r.GapLossPct = decode.Some(0.0), decode.Some(0.0)
		if loss.inPkts > 0 {
			r.BurstLossPct.V = 100 * float64(loss.inLost) / float64(loss.inPkts)
		}
		if gap := r.Expected - loss.inPkts; gap > 0 {
			r.GapLossPct.V = 100 * float64(loss.lost-loss.inLost) / float64(gap)
		}
	}
	s.sound.fill(r)
	if r.RTCPRTTms.Known && r.RTCPJitterMS.Known && r.RTCPFractionLost.Known {
		r.MOSSDK = sdkMOS(r.RTCPRTTms.V, r.RTCPJitterMS.V, 100*r.RTCPFractionLost.V)
	}

	// WebRTC receivers conceal losses; of others nothing is known
	conceals := s.call != nil && s.call.kind != legSIP
	ie, bpl, note, ok := impairments(s.codec, conceals)
	if !ok || s.packets < minScored {
		return nil
	}
	m := emodel{ie: ie, bpl: bpl, delay: assumedPtime}
	if r.PtimeMS.Known {
		m.delay = r.PtimeMS.V
	}
	r.MOSMethod = "e-model G.107, delay assumed, " + note
	if r.RTCPRTTms.Known {
		m.delay += r.RTCPRTTms.V / 2
		r.MOSMethod = "e-model G.107, delay by RTCP, " + note
	}
	r.RFactor = decode.Some(m.r(r.LostPct.V, loss.ratio(r.Expected), r.JitterMeanMS.V))
	r.MOS = decode.Some(mosOf(r.RFactor.V))
	return &m
}

// sdkMOS is the score that the client SDK computes of its own metrics
// (TWILIO.md D): round trip and jitter in ms, loss in percent.
func sdkMOS(rtt, jitter, lossPct float64) Float {
	for _, v := range [...]float64{rtt, jitter, lossPct} {
		if !(v >= 0) || math.IsInf(v, 0) {
			return Float{}
		}
	}
	latency := rtt + 2*jitter + 10
	r := 0.0
	switch {
	case latency < 160:
		r = 94.768 - latency/40
	case latency < 1000:
		r = 94.768 - (latency-120)/10
	}
	if lossPct <= r/2.5 {
		r = max(r-2.5*lossPct, 6.52)
	} else {
		r = 0
	}
	return decode.Some(1 + 0.035*r + 0.000007*r*(r-60)*(100-r))
}

// drift is the least-squares line of a sender's clock over the capture's. Every eighth number is a sample: enough to
// average jitter out, and the sums cost nothing.
type drift struct {
	n, x, y, xx, xy float64 // x in s, y in ticks
}

const driftEvery = 8

func (d *drift) add(x, y float64) {
	d.n++
	d.x += x
	d.y += y
	d.xx += x * x
	d.xy += x * y
}

// ppm is how much faster than its clock rate the line rises, unknown for fewer
// than minDrift samples.
func (d *drift) ppm(clock int64) Float {
	const minDrift = 8
	spread := d.xx - d.x*d.x/d.n
	if d.n < minDrift || !(spread > 0) {
		return Float{}
	}
	return decode.Some(((d.xy-d.x*d.y/d.n)/spread/float64(clock) - 1) * 1e6)
}

// sound is what a stream's packets tell of loudness, from the best witness:
// the level that the sender gives in each header (RFC 6464), which SRTP leaves
// readable; else the energy of G.711 samples in the clear; else comfort noise
// (RFC 3389) and the tiny packets of Opus DTX, which only the silences have.
// A packet stands for the time up to the next one by its timestamp.
type sound struct {
	kind    soundKind
	element uint8 // extension element of the level; 0 none
	secure  bool  // payloads are ciphertext unless they were opened

	by     soundSource // of the packet before
	silent bool        // it was
	ticks  [soundSources]int64
	quiet  [soundSources]int64

	power  float64 // sum over packets with a level; 1 is 0 dBov
	levels int64
}

type soundKind uint8

const (
	soundNone soundKind = iota
	soundOther
	soundMuLaw
	soundALaw
	soundOpus
	soundNoise
)

type soundSource uint8

const (
	byNone soundSource = iota
	byLevel
	byEnergy
	byDTX
	soundSources
)

const (
	silenceDBOV  = -50     // below is silence
	opusDTX      = 3       // bytes of a packet that has no more than its TOC (RFC 6716 3.1)
	maxHeldTicks = 1 << 22 // of one packet; more is a timestamp that began anew
	energyStep   = 7       // every so manieth sample is looked at: no divisor of the period of usual tones
	energyEvery  = 8       // packets of which one is looked at: a pause of speech is longer
	energyMost   = 1024    // bytes of a payload that are looked at
)

func soundOf(codec string) soundKind {
	switch strings.ToLower(codec) {
	case "pcmu":
		return soundMuLaw
	case "pcma":
		return soundALaw
	case "opus":
		return soundOpus
	case "cn":
		return soundNoise
	case "", "telephone-event":
		return soundNone
	}
	return soundOther
}

// hear judges a packet that came step ticks after the one before.
func (a *sound) hear(h *rtp.Header, step int32, opened bool, size int) {
	if step > 0 && step < maxHeldTicks {
		a.ticks[a.by] += int64(step)
		if a.silent {
			a.quiet[a.by] += int64(step)
		}
	}
	if a.by == byEnergy && h.Seq%energyEvery != 0 && (a.kind == soundMuLaw || a.kind == soundALaw) {
		return // as the one before
	}
	a.by, a.silent = byNone, false
	if a.element != 0 && h.Ext != nil {
		if data, ok := h.Element(a.element); ok {
			if dbov, _, ok := rtp.AudioLevel(data); ok {
				a.by, a.silent = byLevel, dbov < silenceDBOV
				a.power += levelPower[-dbov]
				a.levels++
				return
			}
		}
	}
	clear := opened || !a.secure
	switch a.kind {
	case soundNone:
		return
	case soundNoise:
		a.by, a.silent = byDTX, true
		return
	case soundMuLaw, soundALaw:
		if !clear || len(h.Payload) == 0 {
			break
		}
		table, most := &muLawPower, float64(muLawOverload*muLawOverload)
		if a.kind == soundALaw {
			table, most = &aLawPower, aLawOverload*aLawOverload
		}
		sum, n := energy(table, h.Payload)
		a.by, a.silent = byEnergy, float64(sum) < silencePower*most*float64(n)
		return
	case soundOpus:
		n := len(h.Payload)
		if !opened {
			n = h.PayloadLen(size)
		}
		a.silent = clear && n <= opusDTX
	}
	a.by = byDTX
}

// energy sums the squares of some samples of a G.711 payload.
func energy(table *[256]uint32, payload []byte) (sum uint64, n int) {
	payload = payload[:min(len(payload), energyMost)]
	for i := 0; i < len(payload); i += energyStep {
		sum += uint64(table[payload[i]])
	}
	return sum, (len(payload) + energyStep - 1) / energyStep
}

func (a *sound) fill(r *Stream) {
	if a.levels > 0 {
		// of powers, not of decibels, or the silences would outweigh the speech
		r.AudioLevelDBOV = decode.Some(10 * math.Log10(a.power/float64(a.levels)))
	}
	quiet, ticks := a.quiet[byLevel], a.ticks[byLevel]
	if ticks == 0 {
		// what was taken for samples before the flow was known to be secure is none
		quiet, ticks = a.quiet[byDTX], a.ticks[byDTX]+a.ticks[byEnergy]
		if a.ticks[byEnergy] > 0 && (!r.Encrypted || r.Decrypted) {
			quiet += a.quiet[byEnergy]
		} else if quiet == 0 {
			return // no DTX was seen: nothing tells speech from silence
		}
	}
	if ticks > 0 {
		r.SilencePct = decode.Some(100 * float64(quiet) / float64(ticks))
	}
}

// The overload point, 0 dBov, of both laws at 16 bits: RFC 6464 3 gives 8031
// of 14 bits for mu-law.
const (
	muLawOverload = 32124
	aLawOverload  = 32256
	silencePower  = 1e-5 // silenceDBOV
)

var (
	muLawPower = squares(muLawSample)
	aLawPower  = squares(aLawSample)
	levelPower = powers()
)

func squares(sample func(byte) uint32) (t [256]uint32) {
	for i := range t {
		v := sample(byte(i))
		t[i] = v * v
	}
	return t
}

// muLawSample is the magnitude of a mu-law byte at 16 bits (ITU-T G.711 table 2).
func muLawSample(b byte) uint32 {
	b = ^b
	return (uint32(b&15)<<3+0x84)<<(b>>4&7) - 0x84
}

// aLawSample is that of an A-law byte (ITU-T G.711 table 1).
func aLawSample(b byte) uint32 {
	b ^= 0x55
	v := uint32(b&15)<<4 + 8
	if e := b >> 4 & 7; e > 0 {
		v = (v + 0x100) << (e - 1)
	}
	return v
}

// powers are those of 0 to -127 dBov.
func powers() (t [128]float64) {
	for i := range t {
		t[i] = math.Pow(10, -float64(i)/10)
	}
	return t
}

// setup is how a UDP flow became ready for media: ICE and DTLS.
type setup struct {
	flow                            *decode.Flow
	check, success, hello, finished moment
	checks                          [4]checkID // the latest, until one succeeded
	next                            uint8
	began                           [2]moment // first DTLS datagram of each side
	call                            *dialog   // by the user names of its checks
}

type checkID struct {
	id  [12]byte
	dir uint8
	set bool
}

// moment is when and where something was seen.
type moment struct {
	at  Time
	pos decode.Pos
	dir uint8
}

func momentOf(ev *decode.Event) moment { return moment{ev.Time, ev.Pos, ev.Dir} }

const maxSetups = 1 << 17

func (b *Builder) setupOf(f *decode.Flow) *setup {
	s := b.setups[f.ID]
	if s == nil {
		if len(b.setups) >= maxSetups {
			b.capped("flows with ICE or DTLS")
			return nil
		}
		s = &setup{flow: f}
		b.setups[f.ID] = s
	}
	return s
}

// addSTUN notes the first ICE check of a flow and the first that succeeded. A
// check is a binding request with a user name (RFC 8445 7.2.2), which one to a
// STUN server has not; the transaction tells which response is its answer.
func (b *Builder) addSTUN(ev *decode.Event) {
	m := ev.STUN
	if m.Method != stun.MethodBinding {
		return
	}
	switch {
	case m.Class == stun.ClassRequest && len(m.Username) > 0:
		s := b.setupOf(ev.Flow)
		if s == nil || s.success.at != 0 {
			return
		}
		if s.check.at == 0 {
			s.check = momentOf(ev)
			to, from, _ := bytes.Cut(m.Username, []byte(":"))
			if s.call = b.frags[string(to)]; s.call == nil {
				s.call = b.frags[string(from)]
			}
		}
		s.checks[s.next] = checkID{m.TransactionID, ev.Dir, true}
		s.next = (s.next + 1) % uint8(len(s.checks))
	case m.Class == stun.ClassSuccess:
		s := b.setups[ev.Flow.ID]
		if s != nil && s.success.at == 0 && slices.Contains(s.checks[:], checkID{m.TransactionID, 1 - ev.Dir, true}) {
			s.success = momentOf(ev)
		}
	}
}

// noteFragment remembers whose ICE a user name fragment of SDP is: checks bear
// the two of their call (RFC 8445 7.2.2), also from addresses that no SDP named
// and through a relay.
func (b *Builder) noteFragment(ufrag string, c *dialog) {
	if ufrag == "" {
		return
	}
	if len(b.frags) >= b.limit.ends {
		b.capped("ICE user names")
		return
	}
	b.frags[strings.Clone(ufrag)] = c // else all of the SDP stays
}

// addDTLS notes where a flow's handshake began and ended.
func (b *Builder) addDTLS(ev *decode.Event) {
	s := b.setupOf(ev.Flow)
	if s == nil || ev.Time == 0 {
		return
	}
	first := &s.began[ev.Dir]
	if first.at == 0 {
		*first = momentOf(ev)
	}
	if s.hello.at == 0 {
		switch ev.Flow.DTLSHello() {
		case ev.Time:
			s.hello = momentOf(ev)
		case first.at: // it came in fragments
			s.hello = *first
		}
	}
	if s.finished.at != ev.Time && ev.Flow.DTLSFinished() == ev.Time {
		s.finished = momentOf(ev)
	}
}

// applySetups gives each call how long ICE and DTLS took, and its rungs: the
// first check on any of its flows, the first that succeeded, and the handshake
// that was done first.
func (b *Builder) applySetups(rows []*callRow, streams []*stream) {
	if len(b.setups) == 0 {
		return
	}
	byFlow := map[uint32]*dialog{}
	for _, s := range streams {
		if s.call != nil && byFlow[s.flow.ID] == nil {
			byFlow[s.flow.ID] = s.call
		}
	}
	type phases struct {
		call                    *dialog
		check, success, secured *setup
	}
	calls := make([]phases, len(rows))
	for _, id := range slices.Sorted(maps.Keys(b.setups)) {
		s := b.setups[id]
		c := s.call
		if c == nil {
			c = byFlow[id]
		}
		if c == nil {
			c = b.callOfSetup(s)
		}
		if c == nil || !c.isCall {
			continue
		}
		p := &calls[c.row]
		if p.call == nil {
			p.call = c
		}
		if s.check.at != 0 && (p.check == nil || s.check.at < p.check.check.at) {
			p.check = s
		}
		if s.success.at != 0 && (p.success == nil || s.success.at < p.success.success.at) {
			p.success = s
		}
		if s.hello.at != 0 && (p.secured == nil || s.finished.at != 0 && (p.secured.finished.at == 0 || s.finished.at < p.secured.finished.at)) {
			p.secured = s
		}
	}
	for i, p := range calls {
		r := rows[i]
		if p.check != nil {
			b.rung(p.call, p.check.flow, p.check.check, "stun", "first check")
			if p.success != nil {
				r.ICEms = between(p.check.check.at, p.success.success.at, 1e6)
				b.rung(p.call, p.success.flow, p.success.success, "stun", "check succeeded")
			}
		}
		if s := p.secured; s != nil {
			r.DTLSms = between(s.hello.at, s.finished.at, 1e6)
			b.rung(p.call, s.flow, s.hello, "dtls", "ClientHello")
			if s.finished.at != 0 {
				b.rung(p.call, s.flow, s.finished, "dtls", "Finished")
			}
		}
	}
}

// callOfSetup is the call that offered an end of the flow last before it was
// set up: media that never came bind no flow.
func (b *Builder) callOfSetup(s *setup) *dialog {
	at := s.check.at
	if at == 0 {
		at = s.hello.at
	}
	for dir := range uint8(2) {
		end := b.ends[s.flow.End(dir)]
		if end == nil {
			continue
		}
		for i := len(end.bindings) - 1; i >= 0; i-- {
			c := end.bindings[i].call
			if over := c.overAt(); end.bindings[i].at <= at+mediaSlack && (over == 0 || at <= over+mediaSlack) {
				return c
			}
		}
	}
	return nil
}

func (b *Builder) rung(c *dialog, f *decode.Flow, m moment, protocol, kind string) {
	src, dst := f.End(m.dir), f.End(1-m.dir)
	b.addSignal(&Signal{
		CallID: c.id, LegID: decode.Some(c.leg), FlowID: decode.Some(f.ID), At: m.at,
		File: b.files[m.pos.File], Frame: decode.Some(m.pos.Frame), FirstFrame: decode.Some(m.pos.First),
		Protocol: protocol, Kind: kind, Label: strings.ToUpper(protocol) + " " + kind,
		Src: b.addr(src.Addr()), SrcPort: decode.Some(uint32(src.Port())),
		Dst: b.addr(dst.Addr()), DstPort: decode.Some(uint32(dst.Port())),
	}, nil)
}
