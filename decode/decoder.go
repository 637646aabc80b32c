package decode

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/dns"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/http2"
	"github.com/twtrace/twtrace/decode/keylog"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/mediastream"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/decode/pstream"
	"github.com/twtrace/twtrace/decode/rtcp"
	"github.com/twtrace/twtrace/decode/rtp"
	"github.com/twtrace/twtrace/decode/sdp"
	"github.com/twtrace/twtrace/decode/sip"
	"github.com/twtrace/twtrace/decode/stun"
	"github.com/twtrace/twtrace/decode/tcp"
	"github.com/twtrace/twtrace/decode/tls"
	"github.com/twtrace/twtrace/decode/twilio"
	"github.com/twtrace/twtrace/decode/ws"
)

// Options say how to read. The zero value reads all.
type Options struct {
	Start, End Time // frames outside are refused; 0 is no bound
	// Progress is called now and then with the stored bytes and the frames
	// read so far; nil is fine.
	Progress func(bytes, frames int64)
}

// Decoder reads the files of one experiment once. It is for one goroutine.
type Decoder struct {
	opt    Options
	files  []*source
	ledger Ledger

	link      *link.Decoder
	packet    link.Packet
	flows     flowTable
	conns     connTable
	copies    copies
	budget    tcp.Budget
	tlsShared tls.Shared
	exports   twilio.Reader
	spare     [][]byte // of readAhead
	h2Spare   http2.Spare
	h2Headers []http.Header
	sink      tcpSink
	refused   [256]tally // frames by link.Verdict
	rtpIn     int64
	rtcpIn    int64
	udpIn     tally
	tcpIn     tally
	udp       tally // datagrams that some protocol took
	tcp       tally // segments likewise

	event        Event
	sip          sip.Message
	rtp          rtp.Header
	rtcp         rtcp.Compound
	stun         stun.Message
	dns          dns.Message
	http         http.Message
	tls          tls.Event
	http2        http2.Message
	ws           ws.Event
	pstream      pstream.Message
	media        mediastream.Message
	keys         keylog.Log
	sdp          sdp.Session
	sdes         map[netip.AddrPort][]sdesKey
	sdesKeys     int // in it
	associations int // of DTLS
	plain        []byte
	inner        bool // within a TURN relay's data
	yield        func(*Event) bool
	stopped      bool
	err          error
	bytes        int64
	frames       int64
	firstAt      Time
	lastAt       Time
	damaged      bool
	usable       bool
	problems     Problem
}

// source is one input file while it is read.
type source struct {
	file    *container.File
	content container.Content
	input   Input
	index   int32

	capture   Capture
	raw       *readAhead
	body      io.ReadCloser
	reader    *pcap.Reader
	frame     pcap.Frame
	secrets   int // blocks of secrets that were found before the first packet was used
	firstTime int64
	lastTime  Time
	stepped   bool // the clock's going back was told
}

// AlteredBy begins the comment by which a capture says that its packets are not
// as they were captured.
const AlteredBy = "altered by twtrace scrub "

// clockStep is how far a frame must lie back for the clock to have stepped;
// queues of one interface deliver out of order by less.
const clockStep = 10e6 // ns

// Open identifies the files. A file that cannot be read at all gets a problem
// in its row of table inputs; the error is for what leaves nothing to do.
func Open(files []*container.File, opt Options) (*Decoder, error) {
	d := &Decoder{opt: opt, link: link.NewDecoder(), flows: flowTable{max: maxFlows}, conns: connTable{max: maxConns}, budget: tcp.Budget{Max: 256 << 20}, tlsShared: tls.Shared{Max: 64 << 20}}
	d.sink.d = d
	for _, f := range files {
		s := &source{file: f}
		s.input = Input{File: f.Name, Kind: "unknown", Bytes: max(f.Size, 0)}
		var err error
		if s.content, err = f.Identify(); err != nil {
			s.input.Problem = err.Error()
			d.damaged = true
		}
		s.input.Kind = inputKind(s.content.Kind)
		d.files = append(d.files, s)
	}
	slices.SortStableFunc(d.files, func(a, b *source) int { return strings.Compare(a.file.Name, b.file.Name) })
	for i, s := range d.files {
		s.index = int32(i)
	}
	return d, nil
}

func inputKind(k container.Kind) string {
	switch k {
	case container.Pcap, container.Pcapng:
		return "capture"
	case container.Keylog:
		return "keylog"
	case container.Resources:
		return "resources"
	case container.QueueLog:
		return "queue-log"
	case container.Manifest:
		return "manifest"
	}
	return "unknown"
}

// Files are the names that Pos.File counts.
func (d *Decoder) Files() []string {
	names := make([]string, len(d.files))
	for i, s := range d.files {
		names[i] = s.file.Name
	}
	return names
}

// Ledger is the account of all layers; package sessions adds what becomes of
// RTP, RTCP, resources and queue logs.
func (d *Decoder) Ledger() *Ledger { return &d.ledger }

// Flows are all flows seen, by ID.
func (d *Decoder) Flows() []*Flow { return d.flows.all }

// Span is the time of the earliest and latest frame between Options.Start and
// Options.End.
func (d *Decoder) Span() (first, last Time) { return d.firstAt, d.lastAt }

// Damaged tells whether some input could not be read whole; Usable whether
// any gave something.
func (d *Decoder) Damaged() bool { return d.damaged }

// Usable tells whether any input was readable as what it is.
func (d *Decoder) Usable() bool { return d.usable }

// Err is the failure that ended Events early: an interrupted context.
func (d *Decoder) Err() error { return d.err }

// Inputs are the rows of table inputs.
func (d *Decoder) Inputs() []Input {
	var rows []Input
	for _, s := range d.files {
		rows = append(rows, s.input)
	}
	return rows
}

// Captures are the rows of table captures.
func (d *Decoder) Captures() []Capture {
	var rows []Capture
	for _, s := range d.files {
		if s.capture.File != "" {
			rows = append(rows, s.capture)
		}
	}
	return rows
}

// Events reads all files and yields each decoded message. It can be ranged
// over once.
func (d *Decoder) Events(ctx context.Context) iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		d.yield = yield
		d.readKeys(ctx)
		d.readCaptures(ctx)
		for _, s := range d.files {
			if d.stopped {
				return
			}
			if err := ctx.Err(); err != nil {
				d.err = err
				return
			}
			switch s.content.Kind {
			case container.Resources:
				d.readResources(s)
			case container.QueueLog:
				d.readQueueLog(s)
			case container.Pcap, container.Pcapng, container.Keylog:
			default:
				d.readOther(s)
			}
		}
		d.finish()
	}
}

// emit hands the event out.
func (d *Decoder) emit() {
	if !d.stopped && !d.yield(&d.event) {
		d.stopped = true
	}
}

// open starts reading a file's stored bytes through its compression.
func (s *source) open(spare *[][]byte) error {
	f, err := s.file.Open()
	if err != nil {
		return err
	}
	s.raw = newReadAhead(f, s.file.Size, spare)
	if s.content.Compression == container.None {
		s.body = plainBody{s.raw}
		return nil
	}
	s.body, _, err = container.NewReader(s.raw, container.Limits{})
	if err != nil {
		s.close()
	}
	return err
}

// plainBody is a file that is not compressed: closing it leaves it open for its
// sum.
type plainBody struct{ *readAhead }

func (plainBody) Close() error { return nil }

// close reads what is left of the stored bytes, for their sum, and closes.
func (s *source) close() {
	if s.raw == nil {
		return
	}
	if s.body != nil {
		s.body.Close()
		s.body = nil
	}
	err := s.raw.Close()
	if err == nil {
		s.input.SHA256 = hex.EncodeToString(s.raw.sum[:])
	} else if s.input.Problem == "" {
		s.input.Problem = err.Error()
	}
	s.input.Bytes = s.raw.n
	if size := s.file.Size; err == nil && size >= 0 && s.raw.n != size && s.input.Problem == "" {
		s.input.Problem = fmt.Sprintf("it changed while it was read: %d bytes when it was found, %d when it was read", size, s.raw.n)
	}
	s.raw = nil
}

// readCaptures merges the frames of all captures. A capture is opened when
// the merge comes to its first frame, so that a long rotated set needs few
// files at once.
func (d *Decoder) readCaptures(ctx context.Context) {
	var pending []*source
	for _, s := range d.files {
		if k := s.content.Kind; k == container.Pcap || k == container.Pcapng {
			pending = append(pending, s)
		}
	}
	if len(pending) > 1 {
		for _, s := range pending {
			s.peek()
		}
		slices.SortStableFunc(pending, func(a, b *source) int { return cmp.Compare(a.firstTime, b.firstTime) })
	}
	var active []*source // few; the next frame is found by looking at all
	for !d.stopped {
		next := earliest(active)
		for len(pending) > 0 && (next == nil || pending[0].firstTime <= next.frame.Time) {
			s := pending[0]
			pending = pending[1:]
			if d.begin(s) {
				active = append(active, s)
			}
			next = earliest(active)
		}
		if next == nil {
			break
		}
		d.frame(next)
		if d.frames&0x3FFF == 0 {
			if d.err = ctx.Err(); d.err != nil {
				d.stopped = true
			}
			d.report(active)
		}
		if !d.advance(next) {
			active = slices.DeleteFunc(active, func(s *source) bool { return s == next })
		}
	}
	for _, s := range active {
		s.close()
	}
	d.finishFlows()
}

func earliest(active []*source) *source {
	if len(active) == 0 {
		return nil
	}
	best := active[0]
	for _, s := range active[1:] {
		if s.frame.Time < best.frame.Time || s.frame.Time == best.frame.Time && s.index < best.index {
			best = s
		}
	}
	return best
}

func (d *Decoder) report(active []*source) {
	if d.opt.Progress == nil {
		return
	}
	n := d.bytes
	for _, s := range active {
		if s.raw != nil {
			n += s.raw.n
		}
	}
	d.opt.Progress(n, d.frames)
}

// peek learns the time of a capture's first frame.
func (s *source) peek() {
	if s.file.Once() {
		return // standard input can be read once only
	}
	s.lookAhead(func(r *pcap.Reader) {
		var fr pcap.Frame
		if r.Next(&fr) == nil {
			s.firstTime = fr.Time
		}
	})
}

// FirstTime is the time of a capture's first frame; 0 when there is none that
// can be read.
func FirstTime(f *container.File) Time {
	s := &source{file: f}
	s.peek()
	return Time(s.firstTime)
}

// lookAhead opens a capture beside its reading; damage is told when it is read
// for its packets.
func (s *source) lookAhead(look func(*pcap.Reader)) {
	body, err := s.file.Content(container.Limits{})
	if err != nil {
		return
	}
	defer body.Close()
	if r, err := pcap.NewReader(body); err == nil {
		look(r)
	}
}

// begin opens a capture and reads its first frame; false when there is none.
func (d *Decoder) begin(s *source) bool {
	err := s.open(&d.spare)
	if err == nil {
		s.reader, err = pcap.NewReader(s.body)
	}
	if err != nil {
		d.damage(s, err)
		s.close()
		return false
	}
	d.usable = true
	s.capture.File = s.file.Name
	s.capture.Compression = string(s.content.Compression)
	return d.advance(s)
}

// advance reads the next frame; false at the capture's end, whole or not.
func (d *Decoder) advance(s *source) bool {
	err := s.reader.Next(&s.frame)
	if err == nil {
		return true
	}
	if !errors.Is(err, io.EOF) {
		d.damage(s, err)
		s.capture.Problem = s.input.Problem
	}
	d.endCapture(s)
	return false
}

// damage notes that a file could not be read whole.
func (d *Decoder) damage(s *source, err error) {
	d.damaged = true
	msg := err.Error()
	if s.capture.Packets > 0 {
		msg += fmt.Sprintf("; the %d packets before it were read", s.capture.Packets)
	}
	if s.input.Problem == "" {
		s.input.Problem = msg
	}
}

func (d *Decoder) endCapture(s *source) {
	info := s.reader.Info()
	c := &s.capture
	c.Format = info.Format
	c.LinkTypes = []string{}
	for _, l := range info.LinkTypes {
		c.LinkTypes = append(c.LinkTypes, l.String())
	}
	if info.SnapLen > 0 {
		c.SnapLen = Some(info.SnapLen)
	}
	c.Interfaces = int64(info.Interfaces)
	if info.DropsKnown {
		c.DroppedPackets = Some(info.Drops)
	}
	d.lateSecrets(s)
	for _, n := range info.Comments {
		if n.Frame == 0 && strings.HasPrefix(n.Text, AlteredBy) {
			d.problem(s, c.FirstAt, "altered", errors.New(n.Text))
			break
		}
	}
	for _, n := range info.Names {
		d.event = Event{Kind: EventDNS, Time: c.FirstAt, Pos: Pos{File: s.index}, DNS: &d.dns}
		d.dns = dns.Message{Response: true, Answers: []dns.Answer{{Name: n.Name, Addr: n.Addr}}}
		d.emit()
	}
	for _, k := range info.Skipped {
		layer := LayerInput
		if k.Numbered { // Wireshark counts it as a packet, so do the frame numbers here
			layer = LayerFrame
			c.Packets += k.Count
			d.frames += k.Count
		} else {
			d.ledger.In(LayerInput, k.Count)
		}
		d.ledger.Out(layer, k.Reason, k.Count, k.Bytes)
	}
	s.input.Records, s.input.Used = c.Packets, c.Packets
	s.close()
	d.bytes += s.input.Bytes
	s.reader = nil
	s.frame = pcap.Frame{}
}

// frame takes one frame through the layers.
func (d *Decoder) frame(s *source) {
	fr := &s.frame
	d.frames++
	c := &s.capture
	c.Packets++
	c.Bytes += int64(fr.OrigLen)
	if len(fr.Data) < fr.OrigLen {
		c.TruncatedPackets++
	}
	now := Time(fr.Time)
	if now != 0 {
		if now < s.lastTime {
			c.BackwardSteps++
			if !s.stepped && s.lastTime-now > clockStep {
				s.stepped = true
				d.problem(s, now, "times-went-back", fmt.Errorf("frame %d is stamped %.6f s before the one before it", fr.Number, float64(s.lastTime-now)/1e9))
			}
		}
		s.lastTime = now
		if c.FirstAt == 0 || now < c.FirstAt {
			c.FirstAt = now
		}
		c.LastAt = max(c.LastAt, now)
	}
	if d.opt.Start != 0 && now < d.opt.Start || d.opt.End != 0 && now > d.opt.End {
		d.ledger.Out(LayerFrame, "outside --start and --end", 1, int64(fr.OrigLen))
		return
	}
	if now != 0 {
		if d.firstAt == 0 || now < d.firstAt {
			d.firstAt = now
		}
		d.lastAt = max(d.lastAt, now)
	}
	p := &d.packet
	v := d.link.Decode(uint16(fr.Link), fr.Data, fr.OrigLen, fr.Time, p)
	t := &d.refused[v]
	t.count++
	t.bytes += int64(fr.OrigLen)
	if v != link.Used {
		return
	}
	ends := endsOf(p)
	f, dir := d.flows.get(p, ends)
	size := int64(p.WireLen)
	layer := LayerUDP
	switch p.Proto {
	case protoTCP:
		layer = LayerTCP
		d.tcpIn.count++
		d.tcpIn.bytes += size
	case protoUDP:
		d.udpIn.count++
		d.udpIn.bytes += size
	default:
		layer = LayerIP
	}
	if f == nil {
		d.ledger.Out(layer, "too many flows", 1, size)
		d.event = Event{Time: now, Pos: Pos{File: s.index, Frame: fr.Number}}
		d.capped(errFlows)
		return
	}
	if d.copies.isCopy(p, ends, now) {
		c.DuplicatePackets++
		d.ledger.Out(layer, "copy of a packet", 1, size)
		return
	}
	if f.Frame == 0 {
		f.File, f.Frame, f.First = s.index, fr.Number, now
	}
	f.Packets[dir]++
	f.Bytes[dir] += int64(p.IPLen)
	ev := &d.event
	*ev = Event{Time: now, Pos: Pos{File: s.index, Frame: fr.Number, First: fr.Number}, Flow: f, Dir: dir, WireLen: p.WireLen}
	switch p.Proto {
	case protoUDP:
		d.datagram(p.Payload)
	case protoTCP:
		d.segment(f, dir, p)
	default:
		d.ledger.Out(LayerIP, "sctp", 1, size)
	}
	if p.Proto != protoTCP || d.sink.f == f { // else the packet began a new connection
		f.Last = max(f.Last, now)
	}
}

func (d *Decoder) problem(s *source, at Time, rule string, err error) {
	d.problems = Problem{Rule: rule, Err: err}
	d.event = Event{Kind: EventProblem, Time: at, Pos: Pos{File: s.index, Frame: s.frame.Number}, Problem: &d.problems}
	d.emit()
}

// What a bound kept out, for a Problem of RuleCap.
var (
	errFlows = errors.New("packets of further flows")
	errDTLS  = errors.New("datagrams of further DTLS sessions")
	errSDES  = errors.New("media keys of SDP")
	errConns = errors.New("TCP connections that were ended early to make room for newer ones")
)

// capped says that a bound kept out what d.event is about, which stays.
func (d *Decoder) capped(what error) {
	ev := d.event
	d.problem(d.files[ev.Pos.File], ev.Time, RuleCap, what)
	d.event = ev
}

// finish closes the account of the lower layers.
func (d *Decoder) finish() {
	l := &d.ledger
	l.In(LayerFrame, d.frames)
	l.Out(LayerUDP, ReasonUsed, d.udp.count, d.udp.bytes)
	l.Out(LayerTCP, ReasonUsed, d.tcp.count, d.tcp.bytes)
	l.Out(LayerIP, ReasonUsed, d.udpIn.count+d.tcpIn.count, d.udpIn.bytes+d.tcpIn.bytes)
	l.In(LayerUDP, d.udpIn.count)
	l.In(LayerTCP, d.tcpIn.count)
	for v := range d.refused {
		t := d.refused[v]
		if t.count == 0 {
			continue
		}
		verdict := link.Verdict(v)
		if verdict == link.Used {
			l.Out(LayerFrame, ReasonUsed, t.count, t.bytes)
			l.In(LayerIP, t.count)
			continue
		}
		switch verdict.Layer() {
		case "frame":
			l.Out(LayerFrame, verdict.String(), t.count, t.bytes)
			continue
		case "ip":
			l.Out(LayerIP, verdict.String(), t.count, t.bytes)
		case "udp":
			l.In(LayerUDP, t.count)
			l.Out(LayerUDP, verdict.String(), t.count, t.bytes)
			l.Out(LayerIP, ReasonUsed, t.count, t.bytes)
		case "tcp":
			l.In(LayerTCP, t.count)
			l.Out(LayerTCP, verdict.String(), t.count, t.bytes)
			l.Out(LayerIP, ReasonUsed, t.count, t.bytes)
		}
		l.Out(LayerFrame, ReasonUsed, t.count, t.bytes)
		l.In(LayerIP, t.count)
	}
	l.In(LayerRTP, d.rtpIn)
	l.In(LayerRTCP, d.rtcpIn)
}

// readResources reads one export.
func (d *Decoder) readResources(s *source) {
	d.readExport(s, LayerResource, func() (twilio.Stats, error) {
		return d.exports.Decode(s.body, func(r *twilio.Resource) error {
			return d.record(Event{Kind: EventResource, Pos: Pos{File: s.index, Frame: r.Record}, Resource: r})
		})
	})
}

func (d *Decoder) readQueueLog(s *source) {
	d.readExport(s, LayerQueueLog, func() (twilio.Stats, error) {
		return twilio.DecodeQueueLog(s.body, func(q *twilio.Queued) error {
			return d.record(Event{Kind: EventQueued, Pos: Pos{File: s.index, Frame: q.Record}, Queued: q})
		})
	})
}

var errStopped = errors.New("stopped")

// record hands on what one record of an export is.
func (d *Decoder) record(ev Event) error {
	d.event = ev
	d.emit()
	if d.stopped {
		return errStopped
	}
	return nil
}

// readExport reads one file of records and settles its accounts.
func (d *Decoder) readExport(s *source, layer Layer, read func() (twilio.Stats, error)) {
	if err := s.open(&d.spare); err != nil {
		d.damage(s, err)
		s.close()
		return
	}
	stats, err := read()
	if errors.Is(err, errStopped) {
		err = nil
	}
	if err != nil {
		d.damage(s, err)
	}
	if stats.Form != "" {
		d.usable = true
	}
	s.input.Records, s.input.Used = stats.Records, stats.Used
	d.ledger.In(layer, stats.Records)
	for _, r := range stats.Refused {
		d.ledger.Out(layer, r.Reason, r.Count, r.Bytes)
		s.input.Refused += r.Count
	}
	s.close()
	d.bytes += s.input.Bytes
	if d.opt.Progress != nil {
		d.opt.Progress(d.bytes, d.frames)
	}
}

// readOther sums a file that gives no events here: a key log, a manifest, or
// one of no known kind.
func (d *Decoder) readOther(s *source) {
	switch s.content.Kind {
	case container.Manifest:
		d.ledger.Count(LayerInput, ReasonUsed, s.input.Bytes)
	default:
		d.ledger.Count(LayerInput, "unknown kind", s.input.Bytes)
	}
	if f, err := s.file.Open(); err == nil {
		s.raw = newReadAhead(f, s.file.Size, &d.spare)
		s.close()
	} else if s.input.Problem == "" {
		s.input.Problem = err.Error()
	}
}
