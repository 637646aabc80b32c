package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

const (
	maxLanes  = 8
	maxRungs  = 2000  // drawn in one ladder; the rest is counted
	allRungs  = 50000 // drawn in all ladders together; beyond it only
	fewRungs  = 80    // are drawn in each
	maxCalls  = 200   // of a scenario drawn as ladders
	foldAfter = int64(500e6)
	maxTicks  = 200 // values of a phase drawn one by one
	maxKinds  = 40  // scenarios of a page
	maxAll    = 800 // ladders of a page
)

// Ladder is one call, or the typical call of a scenario, laid out in rows.
type Ladder struct {
	ID     string   `json:"id"`
	CallID string   `json:"call_id"`
	Title  string   `json:"title"`
	Sub    string   `json:"sub"`
	Lanes  []Lane   `json:"lanes"`
	Rows   []Rung   `json:"rows"`
	Media  []Bar    `json:"media"`
	Note   string   `json:"note,omitempty"`
	From   string   `json:"from,omitempty"`
	To     string   `json:"to,omitempty"`
	Start  string   `json:"start,omitempty"`
	Facts  []string `json:"facts"`
}

// Lane is a vertical line: one host, headed by what it does.
type Lane struct {
	Role    string `json:"role"`
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Rung is one row: a message, a fold (time without signaling) or the text of
// the media between two lanes.
type Rung struct {
	Kind   string   `json:"kind"` // message, fold, media
	From   int      `json:"from"`
	To     int      `json:"to"`
	At     int64    `json:"at_ns"` // from t = 0
	Until  int64    `json:"until_ns,omitempty"`
	Time   string   `json:"time,omitempty"`
	Label  string   `json:"label"`
	Style  string   `json:"style,omitempty"` // signaling, stun, dtls, http, media, unseen
	Failed bool     `json:"failed,omitempty"`
	Again  string   `json:"again,omitempty"`
	Lines  []string `json:"lines,omitempty"`
	Spread *Spread  `json:"spread,omitempty"`
	Detail *Detail  `json:"detail,omitempty"`

	key string // what the rung is, over calls
}

// Bar is a stream beside the lane it starts from.
type Bar struct {
	Lane  int     `json:"lane"`
	Peer  int     `json:"peer"`
	From  int64   `json:"from_ns"`
	To    int64   `json:"to_ns"`
	Holes []int64 `json:"holes_ns"` // starts of the seconds that lost packets
	Tip   string  `json:"tip"`
}

// Spread is the time since the rung above over all calls of a scenario.
type Spread struct {
	N      int     `json:"n"`
	Median int64   `json:"median_ns"`
	Low    int64   `json:"low_ns"`  // quarter
	High   int64   `json:"high_ns"` // three quarters
	Ticks  []int64 `json:"ticks_ns"`
	Text   string  `json:"text"`
}

// Detail is what the panel of a rung shows.
type Detail struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Time   string `json:"time"`
	Since  string `json:"since"`
	Frame  string `json:"frame"`
	Ends   string `json:"ends"`
	Read   string `json:"read,omitempty"`
	Text   string `json:"text,omitempty"`
	Filter string `json:"filter,omitempty"`
}

// Scenario is the calls that went the same way.
type Scenario struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Count   string   `json:"count"`
	Typical *Ladder  `json:"typical"`
	Caption string   `json:"caption"`
	Ladders []Ladder `json:"ladders"`
	Others  *Table   `json:"others,omitempty"`
	FigNo   int      `json:"fig_no,omitempty"`
}

type callKey struct{ exp, id string }

// flows indexes what ladders are drawn from.
type flows struct {
	d       *table.Dataset
	clock   clock
	signals map[callKey][]int
	streams map[callKey][]int
	hosts   map[callKey]int // by experiment and address
	holes   map[streamKey][]decode.Time
	drawn   unpacked[sessions.Signal] // of the call that is laid out
	heard   unpacked[sessions.Stream] // likewise
	silent  []int                     // calls of which neither signaling nor media was captured
	detail  int                       // bytes of decoded messages that may still be kept
	left    int                       // rungs that may still be drawn
	sketch  bool                      // only which rungs there are and when, no text; the rows of a Ladder are valid until the next
	room    [2][]Rung                 // for sketches
}

type streamKey struct {
	exp string
	id  uint32
}

func newFlows(d *table.Dataset, c clock) *flows {
	f := &flows{d: d, clock: c, signals: make(map[callKey][]int, len(d.Calls)), streams: make(map[callKey][]int, len(d.Calls)), hosts: map[callKey]int{}, holes: map[streamKey][]decode.Time{}, detail: 6 << 20, left: allRungs}
	for i, s := range d.Signals.AllTo("CallID") {
		if s.CallID != "" {
			k := callKey{s.Experiment, s.CallID}
			f.signals[k] = append(f.signals[k], i)
		}
	}
	for i, s := range d.Streams.AllTo("CallID") {
		if s.CallID != "" {
			k := callKey{s.Experiment, s.CallID}
			f.streams[k] = append(f.streams[k], i)
		}
	}
	for i := range d.Hosts {
		f.hosts[callKey{d.Hosts[i].Experiment, d.Hosts[i].Address}] = i
	}
	for _, v := range d.StreamIntervals.AllTo("Lost") {
		if v.Lost > 0 {
			k := streamKey{v.Experiment, v.StreamID}
			if len(f.holes[k]) < 60 {
				f.holes[k] = append(f.holes[k], v.At)
			}
		}
	}
	return f
}

// rungs has room for n rungs. A sketch has two such rooms, which are used again.
func (f *flows) rungs(k, n int) []Rung {
	if !f.sketch {
		return make([]Rung, 0, n)
	}
	if cap(f.room[k]) < n {
		f.room[k] = make([]Rung, 0, 2*n)
	}
	return f.room[k][:0]
}

// unpacked are rows of a packed table that are looked at again and again.
type unpacked[T any] struct {
	rows []T
	at   []*T
}

// load unpacks rows; they are valid until the next load. get unpacks one.
func (u *unpacked[T]) load(rows []int, get func(int, *T)) []*T {
	if len(u.rows) < len(rows) {
		u.rows = make([]T, 2*len(rows))
	}
	u.at = u.at[:0]
	for n, i := range rows {
		get(i, &u.rows[n])
		u.at = append(u.at, &u.rows[n])
	}
	return u.at
}

// roleRank orders lanes and columns: control left, media right.
var roleRank = map[string]int{"dns": 0, "events": 1, "rest": 2, "webhook": 3, "signaling": 4, "": 5, "other": 5, "client": 6, "mediastream": 7, "stun": 8, "turn": 9, "media": 10}

// mainRole is the role that a host stands under, of all it has.
func mainRole(roles []string) string {
	for _, r := range []string{"client", "signaling", "rest", "events", "webhook", "mediastream", "turn", "media", "stun", "dns"} {
		if slices.Contains(roles, r) {
			return r
		}
	}
	return "other"
}

// lanes finds the hosts of a call in the order of their roles.
func (f *flows) lanes(exp string, sigs []*sessions.Signal, streams []*sessions.Stream) ([]Lane, map[string]int) {
	addrs := make([]string, 0, 4)
	speaks := map[string]string{} // role by what was said, when hosts does not know
	seen := func(a, role string) {
		if a == "" {
			return
		}
		if _, ok := speaks[a]; !ok {
			addrs = append(addrs, a)
			speaks[a] = role
		}
	}
	for _, s := range sigs {
		if drawn(s) {
			seen(s.Src, "")
			seen(s.Dst, "")
		}
	}
	for _, s := range streams {
		seen(s.Src, "media")
		seen(s.Dst, "media")
	}
	lane := func(a string) Lane {
		l := Lane{Role: speaks[a], Address: show(a, 45)}
		if h, ok := f.hosts[callKey{exp, a}]; ok {
			l.Role = mainRole(f.d.Hosts[h].Roles)
			if len(f.d.Hosts[h].Names) > 0 {
				l.Name = show(f.d.Hosts[h].Names[0], 28)
			}
		}
		if l.Role == "" {
			l.Role = "other"
		}
		return l
	}
	ls := make(map[string]Lane, len(addrs))
	for _, a := range addrs {
		ls[a] = lane(a)
	}
	slices.SortStableFunc(addrs, func(a, b string) int { return cmp.Compare(roleRank[ls[a].Role], roleRank[ls[b].Role]) })
	out := []Lane{}
	at := map[string]int{}
	for _, a := range addrs {
		if len(out) >= maxLanes {
			at[a] = maxLanes - 1
			out[maxLanes-1] = Lane{Role: "others", Address: plural(int64(len(addrs)-maxLanes+1), "host", "hosts")}
			continue
		}
		at[a] = len(out)
		l := ls[a]
		if l.Role == "other" {
			l.Role = "host"
		}
		out = append(out, l)
	}
	return out, at
}

// drawn tells whether a signal gets a rung; the others are counted below.
func drawn(s *sessions.Signal) bool {
	return s.Protocol != "rtcp" && s.Protocol != "websocket" && s.Protocol != "dns"
}

func style(protocol string) string {
	switch protocol {
	case "stun":
		return "stun"
	case "dtls", "tls":
		return "dtls"
	case "http", "mediastream", "dns", "websocket":
		return "http"
	case "rtcp":
		return "media"
	}
	return "signaling"
}

// failed tells whether a final status is a failure: authentication is asked
// for with 401 and 407, and 487 is what a CANCEL is answered with.
func failed(s *sessions.Signal) bool {
	c := s.StatusCode
	return c.Known && c.V >= 400 && c.V != 401 && c.V != 407 && c.V != 487
}

// build lays one call out. details tells whether panels are wanted.
func (f *flows) build(c *sessions.Call, id string, details bool) Ladder {
	most := min(maxRungs, max(f.left, fewRungs))
	k := callKey{c.Experiment, c.CallID}
	sigs := f.drawn.load(f.signals[k], f.d.Signals.Get)
	slices.SortStableFunc(sigs, func(x, y *sessions.Signal) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.File, y.File), cmp.Compare(x.Frame.V, y.Frame.V))
	})
	streams := f.heard.load(f.streams[k], f.d.Streams.Get)
	l := Ladder{ID: id, CallID: c.CallID, Rows: []Rung{}, Media: []Bar{}, Facts: []string{}}
	if !f.sketch {
		l.Title, l.From, l.To, l.Start = show(c.CallID, 60), show(c.From, 60), show(c.To, 60), f.clock.full(c.InitiatedAt)
	}
	if l.From != "" || l.To != "" {
		l.Sub = orDash(l.From) + " → " + orDash(l.To)
	}
	var lane map[string]int
	l.Lanes, lane = f.lanes(c.Experiment, sigs, streams)

	// t = 0 is the request that began the call: the first rung of a signaling
	// protocol that carries an invitation, else the first rung.
	var t0 decode.Time
	for _, s := range sigs {
		if drawn(s) && strings.EqualFold(s.Kind, "invite") {
			t0 = s.At
			break
		}
	}
	// Connectivity checks go on for the whole call; the first of each kind and
	// direction is drawn.
	type check struct{ kind, src, dst string }
	hidden := map[string]int{}
	hiddenNames := []string{}
	checks := map[check]bool{}
	rung := make([]*sessions.Signal, 0, len(sigs)) // those with one
	for _, s := range sigs {
		show := drawn(s)
		if show && s.Protocol == "stun" && !failed(s) {
			k := check{s.Kind, s.Src, s.Dst}
			show = !checks[k]
			checks[k] = true
		}
		if show {
			rung = append(rung, s)
			if t0 == 0 {
				t0 = s.At
			}
			continue
		}
		if hidden[s.Protocol] == 0 {
			hiddenNames = append(hiddenNames, s.Protocol)
		}
		hidden[s.Protocol]++
	}
	total := len(rung)
	if t0 == 0 {
		for n, s := range streams {
			if n == 0 || s.FirstAt < t0 {
				t0 = s.FirstAt
			}
		}
	}

	type again struct{ n int }
	repeats := map[string]*again{}
	var copies [][2]int // rung, its number among the copies
	var copyKeys []string
	count1 := map[string]int{}
	rungs := f.rungs(0, len(rung)+len(streams))
	skipped := 0
	for n := 0; n < len(rung); n++ {
		s := rung[n]
		if total > 4*most && n > 3*most && n < total-most/2 {
			skipped++ // a call of thousands of messages: count, do not lay out
			continue
		}
		r := Rung{Kind: "message", From: lane[s.Src], To: lane[s.Dst], At: int64(s.At - t0), Style: style(s.Protocol), Failed: failed(s)}
		r.Until = r.At
		if !f.sketch {
			r.Time, r.Label = since(r.At), show(cmp.Or(s.Label, s.Kind), 48)
		}
		base := s.Kind + "|" + strconv.Itoa(r.From) + "|" + strconv.Itoa(r.To)
		switch {
		case s.Retransmission && f.sketch:
		case s.Retransmission:
			a := repeats[base+"|"+s.Label]
			if a == nil {
				a = &again{n: 1}
				repeats[base+"|"+s.Label] = a
			}
			a.n++
			copies = append(copies, [2]int{len(rungs), a.n})
			copyKeys = append(copyKeys, base+"|"+s.Label)
		default:
			if !f.sketch {
				repeats[base+"|"+s.Label] = &again{n: 1}
			}
			count1[base]++
			r.key = base + "|" + strconv.Itoa(count1[base])
		}
		// More than three of one kind in a row are one rung.
		m := n + 1
		for m < len(rung) {
			o := rung[m]
			if o.Kind != s.Kind || o.Src != s.Src || o.Dst != s.Dst || o.Protocol != s.Protocol || o.Retransmission != s.Retransmission || failed(o) != r.Failed || s.Retransmission {
				break
			}
			m++
		}
		if details {
			r.Detail = f.panel(s, id+"-"+strconv.Itoa(len(rungs)+1), r.Time)
		}
		if m-n > 3 {
			last := rung[m-1]
			name := show(s.Kind, 36)
			if l.Lanes[r.To].Role == "events" && strings.HasPrefix(s.Kind, "POST ") {
				name = "events" // reports of the client, each named in the panel
			}
			r.Label = name + ", " + count(int64(m-n)) + " in " + span(int64(last.At-s.At))
			r.Until = int64(last.At - t0)
			count1[base] += m - n - 1
			if r.Detail != nil {
				var b strings.Builder
				for x := n; x < m && x < n+30; x++ {
					o := rung[x]
					b.WriteString(since(int64(o.At-t0)) + "  frame " + optCount(o.Frame) + "  " + show(cmp.Or(o.Label, o.Kind), 60) + "\n")
				}
				if m-n > 30 {
					b.WriteString("and " + count(int64(m-n-30)) + " more, in table signals\n")
				}
				r.Detail.Title = r.Label
				r.Detail.Text = b.String() + "\n" + r.Detail.Text
			}
			n = m - 1
		}
		rungs = append(rungs, r)
	}
	for n, x := range copies {
		r := &rungs[x[0]]
		r.Again = "again, " + ordinal(x[1]) + " of " + strconv.Itoa(max(repeats[copyKeys[n]].n, x[1]))
	}
	if details {
		f.left -= min(len(rungs), most)
	}
	if len(rungs) > most {
		cut := len(rungs) - most
		head := most * 3 / 4
		a, b := rungs[head-1], rungs[head+cut]
		fold := Rung{Kind: "fold", At: a.At, Until: b.At, Label: plural(int64(cut+skipped), "message", "messages") + " not drawn, in table signals"}
		rungs = slices.Concat(rungs[:head:head], []Rung{fold}, rungs[head+cut:])
	}

	rungs = f.media(&l, rungs, streams, lane, t0)
	// Folds, where neither message nor media text fills the time.
	l.Rows = f.rungs(1, len(rungs))
	for n, r := range rungs {
		if n > 0 && r.Kind == "message" && rungs[n-1].Kind == "message" {
			p := rungs[n-1]
			if gap := r.At - p.Until; gap >= foldAfter {
				l.Rows = append(l.Rows, Rung{Kind: "fold", At: p.Until, Until: r.At, Label: span(gap) + " without signaling"})
			}
		}
		l.Rows = append(l.Rows, r)
	}
	var parts []string
	for _, p := range hiddenNames {
		n := int64(hidden[p])
		switch p {
		case "rtcp":
			parts = append(parts, plural(n, "RTCP packet", "RTCP packets"))
		case "stun":
			parts = append(parts, plural(n, "further STUN message", "further STUN messages"))
		case "websocket":
			parts = append(parts, plural(n, "heartbeat or WebSocket control frame", "heartbeats and WebSocket control frames"))
		default:
			parts = append(parts, plural(n, "DNS message", "DNS messages"))
		}
	}
	if len(parts) > 0 {
		l.Note = "Not drawn: " + listText(parts) + "."
	}
	if !f.sketch {
		l.Facts = callFacts(c)
	}
	return l
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

// callFacts are the phases of one call, as far as they are known.
func callFacts(c *sessions.Call) []string {
	out := []string{}
	ms := func(name string, v sessions.Float) {
		if x := known(v); x != nil {
			out = append(out, name+" "+span(nanos(*x, 1e6)))
		}
	}
	ms("post-dial delay", c.PostDialDelayMS)
	ms("rang", c.RingMS)
	ms("ICE", c.ICEms)
	ms("DTLS", c.DTLSms)
	if x := known(c.DurationS); x != nil {
		out = append(out, "lasted "+span(nanos(*x, 1e9)))
	}
	if c.EndedBy != "" {
		out = append(out, "ended by "+c.EndedBy)
	}
	if c.StatusCode.Known && c.StatusCode.V >= 300 {
		out = append(out, "status "+strconv.FormatInt(c.StatusCode.V, 10))
	}
	if c.ErrorCode.Known {
		out = append(out, "error "+strconv.FormatInt(c.ErrorCode.V, 10))
	}
	if c.Cause != "" {
		out = append(out, "cause: "+show(c.Cause, 60))
	}
	if c.OpenAtEnd {
		out = append(out, "still going on when the capture ended")
	}
	return out
}

// panel is the detail of one message, within the byte budget of the page.
func (f *flows) panel(s *sessions.Signal, id, since string) *Detail {
	p := &Detail{ID: id, Title: show(cmp.Or(s.Label, s.Kind), 80), Time: f.clock.full(s.At), Since: since}
	p.Ends = endpoint(s.Src, s.SrcPort) + " → " + endpoint(s.Dst, s.DstPort)
	if s.Frame.Known {
		p.Frame = count(s.Frame.V) + " of " + show(s.File, 80)
		if s.FirstFrame.Known && s.FirstFrame.V != s.Frame.V {
			p.Frame = count(s.FirstFrame.V) + " to " + p.Frame
		}
		p.Filter = "frame.number == " + strconv.FormatInt(s.Frame.V, 10)
	}
	p.Read = protocolName(s.Protocol)
	if s.Decrypted {
		p.Read += ", read with a key"
	}
	if text := showLines(s.Detail.String(), 400); text != "" {
		if len(text) > 8<<10 { // 4 KiB by contract; escapes may lengthen it
			text = strings.ToValidUTF8(text[:8<<10], "") + "…"
		}
		if f.detail -= len(text); f.detail >= 0 {
			p.Text = text
		} else {
			p.Text = "(kept in table signals only: this page holds enough text)"
		}
	}
	return p
}

func endpoint(addr string, port sessions.Uint) string {
	a := show(addr, 45)
	if !port.Known {
		return a
	}
	if strings.Contains(a, ":") {
		a = "[" + a + "]"
	}
	return a + ":" + strconv.FormatUint(uint64(port.V), 10)
}

func protocolName(p string) string {
	switch p {
	case "sip", "stun", "dtls", "rtcp", "dns", "tls", "http":
		return strings.ToUpper(p)
	case "pstream":
		return "signaling of the Voice SDK"
	case "matrix":
		return "signaling of the Voice SDK, first generation"
	case "mediastream":
		return "media stream over WebSocket"
	case "websocket":
		return "WebSocket"
	}
	return show(p, 20)
}

// media inserts one row of text for each pair of lanes that exchanged streams,
// and the bars beside them.
func (f *flows) media(l *Ladder, rungs []Rung, streams []*sessions.Stream, lane map[string]int, t0 decode.Time) []Rung {
	type pair struct{ a, b int }
	by := map[pair][]*sessions.Stream{}
	var pairs []pair
	for _, s := range streams {
		a, b := lane[s.Src], lane[s.Dst]
		p := pair{min(a, b), max(a, b)}
		if by[p] == nil {
			pairs = append(pairs, p)
		}
		by[p] = append(by[p], s)
	}
	slices.SortStableFunc(pairs, func(x, y pair) int {
		return cmp.Compare(by[x][0].FirstAt, by[y][0].FirstAt)
	})
	for _, p := range pairs {
		row := Rung{Kind: "media", From: p.a, To: p.b, Style: "media", Lines: []string{}}
		right, left := false, false
		codecs := []string{}
		for n, s := range by[p] {
			from, to := int64(s.FirstAt-t0), int64(s.LastAt-t0)
			if n == 0 || from < row.At {
				row.At = from
			}
			row.Until = max(row.Until, to)
			dir := "→"
			if lane[s.Src] == p.b && p.a != p.b {
				dir, left = "←", true
			} else {
				right = true
			}
			if f.sketch {
				continue
			}
			codec := show(s.Codec, 20)
			if codec == "" && s.Encrypted && !s.Decrypted {
				codec = "SRTP"
			}
			if codec != "" && !slices.Contains(codecs, codec) {
				codecs = append(codecs, codec)
			}
			t := dir + " " + plural(s.Packets, "packet", "packets") + ", " + count(s.Lost) + " lost"
			if s.Lost > 0 && known(s.LostPct) != nil {
				t += " (" + sig(s.LostPct.V, 2) + nbsp + "%)"
			}
			if j := known(s.JitterMeanMS); j != nil {
				t += ", jitter " + sig(*j, 2) + nbsp + "ms"
			}
			if m := known(s.MOS); m != nil {
				t += ", MOS " + fixed(*m, 1)
			}
			if s.DTMFDigits != "" {
				t += ", dialed " + show(s.DTMFDigits, 40)
			}
			if len(row.Lines) < 4 {
				row.Lines = append(row.Lines, t)
			}
			b := Bar{Lane: lane[s.Src], Peer: lane[s.Dst], From: from, To: to, Holes: []int64{}, Tip: t}
			for _, h := range f.holes[streamKey{s.Experiment, s.StreamID}] {
				b.Holes = append(b.Holes, int64(h-t0))
			}
			l.Media = append(l.Media, b)
		}
		if n := len(by[p]) - 4; n > 0 {
			row.Lines = append(row.Lines, "and "+plural(int64(n), "stream", "streams")+" more")
		}
		way := " one way, "
		if left && right {
			way = " both ways, "
		}
		if !f.sketch {
			row.Label = cmp.Or(strings.Join(codecs, " and "), "media") + way + span(row.Until-row.At)
			row.Time = since(row.At)
		}
		at := len(rungs)
		for n, r := range rungs {
			if r.At > row.At {
				at = n
				break
			}
		}
		rungs = slices.Insert(rungs, at, row)
	}
	return rungs
}

var outcomeRank = map[string]int{"answered": 0, "rejected": 1, "busy": 2, "cancelled": 3, "no-answer": 4, "ignored": 5, "failed": 6, "in-progress": 7, "": 8}

func scenarioTitle(c *sessions.Call) string {
	t := "Call"
	switch {
	case c.Direction == "inbound":
		t = "Incoming call"
	case c.Direction == "outbound":
		t = "Outgoing call"
	case c.Direction == "outbound-api":
		t = "Call placed through the API"
	case c.Direction == "outbound-dial":
		t = "Call dialed by an application"
	case c.Direction != "":
		t = "Call (" + show(c.Direction, 30) + ")"
	}
	switch c.Outcome {
	case "":
	case "no-answer":
		t += ", not answered"
	case "in-progress":
		t += ", still in progress"
	default:
		t += ", " + show(c.Outcome, 30)
	}
	p := slices.Clone(c.Protocols)
	slices.Sort(p)
	p = slices.Compact(p)
	for i := range p {
		switch p[i] {
		case "sip":
			p[i] = "SIP"
		case "pstream":
			p[i] = "Voice SDK"
		case "matrix":
			p[i] = "Voice SDK 1"
		case "resource":
			p[i] = "export"
		case "mediastream":
			p[i] = "media stream"
		default:
			p[i] = show(p[i], 20)
		}
	}
	if len(p) > 0 {
		t += " (" + strings.Join(p, ", ") + ")"
	}
	return t
}

// byScenario groups those calls, by their index, that have something to draw;
// silent are those that have not.
func (f *flows) byScenario(take func(*sessions.Call) bool) (names []string, by map[string][]int, silent []int) {
	by = map[string][]int{}
	for i := range f.d.Calls {
		c := &f.d.Calls[i]
		if !take(c) {
			continue
		}
		k := callKey{c.Experiment, c.CallID}
		if len(f.signals[k]) == 0 && len(f.streams[k]) == 0 {
			silent = append(silent, i)
			continue
		}
		t := scenarioTitle(c)
		if by[t] == nil {
			names = append(names, t)
		}
		by[t] = append(by[t], i)
	}
	f.order(names, by)
	return names, by, silent
}

// scenarios groups the calls that have something to draw, each group with its
// typical ladder first.
func (f *flows) scenarios() []Scenario {
	names, by, silent := f.byScenario(func(*sessions.Call) bool { return true })
	f.silent = silent
	out := []Scenario{}
	ladders := 0
	if len(names) > maxKinds {
		rest := []int{}
		for _, name := range names[maxKinds-1:] {
			rest = append(rest, by[name]...)
			delete(by, name)
		}
		slices.Sort(rest)
		const name = "Calls of other kinds"
		names = append(names[:maxKinds-1], name)
		by[name] = rest
	}
	for n, name := range names {
		s := Scenario{ID: "s" + strconv.Itoa(n+1), Title: name, Count: plural(int64(len(by[name])), "call", "calls"), Ladders: []Ladder{}}
		s.Typical, s.Caption = f.typical(by[name], s.ID)
		for k, i := range by[name] {
			if k >= maxCalls || ladders >= maxAll && k > 0 {
				break
			}
			ladders++
			s.Ladders = append(s.Ladders, f.build(&f.d.Calls[i], s.ID+"-"+strconv.Itoa(k+1), true))
		}
		if rest := by[name][len(s.Ladders):]; len(rest) > 0 {
			s.Others = f.callTable(rest, maxRows)
		}
		out = append(out, s)
	}
	return out
}

// order sorts scenarios: by outcome, the frequent before the rare.
func (f *flows) order(names []string, by map[string][]int) {
	slices.SortFunc(names, func(a, b string) int {
		x, y := &f.d.Calls[by[a][0]], &f.d.Calls[by[b][0]]
		return cmp.Or(cmp.Compare(outcomeRank[x.Outcome], outcomeRank[y.Outcome]), cmp.Compare(len(by[b]), len(by[a])), cmp.Compare(a, b))
	})
}

const (
	maxRows   = 200 // rows of a table that the page holds
	maxSilent = 20  // calls listed of which the captures hold nothing
)

func (f *flows) callTable(calls []int, most int) *Table {
	t := &Table{Label: "Calls", Rows: []Row{}, Cols: []Col{{Name: "Call"}, {Name: "From"}, {Name: "To"}, {Name: "Began"}, {Name: "Outcome"}, {Name: "Duration", Unit: "s", Num: true}}}
	for n, i := range calls {
		if n == most {
			t.More = count(int64(len(calls)-most)) + " more in table calls."
			break
		}
		c := &f.d.Calls[i]
		t.Rows = append(t.Rows, Row{Cells: []Cell{{Text: show(c.CallID, 40), Class: "mono"}, {Text: show(c.From, 40)}, {Text: show(c.To, 40)}, {Text: f.clock.second(c.InitiatedAt)},
			{Text: show(c.Outcome, 20)}, {Text: optFixed(c.DurationS, 1)}}})
	}
	return t
}

// sequence is what the rungs of some calls have in common.
type sequence struct {
	keys  []string
	place map[string]int // of a key
	calls int
}

func newSequence(keys []string) *sequence {
	s := &sequence{keys: keys, place: make(map[string]int, len(keys))}
	for i, k := range keys {
		s.place[k] = i
	}
	return s
}

// typical picks the call of a scenario that is nearest to all: among those with
// the most frequent sequence of rungs, the one whose times differ least from
// the medians. Beside each of its rungs stands the time since the rung above,
// over every call that has both.
func (f *flows) typical(calls []int, id string) (*Ladder, string) {
	type laid struct {
		call int
		seq  *sequence
		at   []int64 // of each of its keys
	}
	all := make([]laid, 0, min(len(calls), 20000))
	seqs := map[string]*sequence{} // most calls have the same
	for n, i := range calls {
		if n >= 20000 {
			break // a sample of 20 000 says the same
		}
		f.sketch = true
		l := f.build(&f.d.Calls[i], "", false)
		f.sketch = false
		x := laid{call: i}
		var keys []string
		for _, r := range l.Rows {
			switch {
			case r.Kind == "message" && r.key != "":
				keys, x.at = append(keys, r.key), append(x.at, r.At)
			case r.Kind == "media":
				keys, x.at = append(keys, "media|"+strconv.Itoa(r.From)+"|"+strconv.Itoa(r.To)), append(x.at, r.At)
			}
		}
		text := strings.Join(keys, ";")
		if x.seq = seqs[text]; x.seq == nil {
			x.seq = newSequence(keys)
			seqs[text] = x.seq
		}
		x.seq.calls++
		all = append(all, x)
	}
	best := -1
	for n, x := range all { // first of the most frequent, in order of calls
		if best < 0 || len(all[best].seq.keys) == 0 || x.seq.calls > all[best].seq.calls {
			best = n
		}
	}
	if best < 0 {
		return nil, ""
	}
	bestSeq := all[best].seq
	keys := bestSeq.keys
	values := map[string][]float64{}
	for _, x := range all {
		prev, ok := int64(0), false
		for _, k := range keys {
			n, has := x.seq.place[k]
			at := int64(0)
			if has {
				at = x.at[n]
			}
			if has && ok {
				values[k] = append(values[k], float64(at-prev))
			}
			prev, ok = at, has
		}
	}
	for _, v := range values {
		slices.Sort(v)
	}
	best = -1
	bestD := math.Inf(1)
	for n, x := range all {
		if x.seq != bestSeq {
			continue
		}
		d, prev := 0.0, int64(0)
		for k, key := range keys {
			at := x.at[k]
			if v := values[key]; k > 0 && len(v) > 0 {
				// Compared as ratios: a phase of 1 ms weighs as one of 1 s.
				m := quantile(v, 0.5)
				d += math.Abs(math.Log1p(math.Max(0, float64(at-prev))/1e5) - math.Log1p(math.Max(0, m)/1e5))
			}
			prev = at
		}
		if d < bestD {
			best, bestD = n, d
		}
	}
	if best < 0 {
		return nil, ""
	}
	l := f.build(&f.d.Calls[all[best].call], id+"-t", false)
	out := Ladder{ID: id + "-t", CallID: l.CallID, Lanes: l.Lanes, Rows: []Rung{}, Media: []Bar{}, Facts: []string{}}
	first := true
	for _, r := range l.Rows {
		switch r.Kind {
		case "fold":
			continue
		case "media":
			r.key = "media|" + strconv.Itoa(r.From) + "|" + strconv.Itoa(r.To)
			from, to := r.From, r.To
			for _, b := range l.Media {
				if min(b.Lane, b.Peer) == from && max(b.Lane, b.Peer) == to && b.From == r.At {
					from, to = b.Lane, b.Peer
					break
				}
			}
			r = Rung{Kind: "message", From: from, To: to, At: r.At, Label: "first RTP packet", Style: "media", key: r.key}
		}
		r.Again = ""
		if r.key == "" {
			continue
		}
		r.Time = ""
		if first {
			r.Spread = &Spread{Text: "t = 0", Ticks: []int64{}}
			first = false
		} else if v := values[r.key]; len(v) > 0 {
			r.Spread = spread(v)
		}
		out.Rows = append(out.Rows, r)
	}
	if len(out.Rows) == 0 {
		return nil, ""
	}
	// Time that the callers set is a fold, not a phase.
	for n := 1; n < len(out.Rows); n++ {
		r := &out.Rows[n]
		if p := out.Rows[n-1]; ending(r.key) && !ending(p.key) && r.At-p.At >= foldAfter {
			r.Spread = nil
			out.Rows = slices.Insert(out.Rows, n, Rung{Kind: "fold", At: p.At, Until: r.At, Label: "until one side ends it, time set by the callers", Spread: &Spread{Text: "not a protocol phase", Ticks: []int64{}}})
			break
		}
	}
	caption := "The call nearest to all " + count(int64(len(calls))) + ", " + show(l.CallID, 40) + ". Each tick is one call, the dot the median, the bar the middle half of the time since the rung above."
	switch {
	case len(calls) == 1:
		caption = "The only call that went this way; the times are since the rung above."
	case len(calls) < 5:
		caption = plural(int64(len(calls)), "call", "calls") + " went this way, too few for a median: each value stands for itself, as time since the rung above."
	}
	if bestSeq.calls < len(all) {
		caption += " " + count(int64(bestSeq.calls)) + " of " + count(int64(len(all))) + " have exactly these messages; the others count where they have both rungs."
	}
	return &out, caption
}

// ending tells whether a rung's key is of the messages that end a call.
func ending(key string) bool {
	kind, _, _ := strings.Cut(key, "|")
	switch strings.ToLower(kind) {
	case "bye", "hangup", "disconnect", "cancel":
		return true
	}
	return false
}

// spread summarises sorted values in ns; fewer than five stand for themselves.
func spread(v []float64) *Spread {
	s := &Spread{N: len(v), Ticks: []int64{}}
	s.Median, s.Low, s.High = int64(quantile(v, 0.5)), int64(quantile(v, 0.25)), int64(quantile(v, 0.75))
	if len(v) <= maxTicks {
		for _, x := range v {
			s.Ticks = append(s.Ticks, int64(x))
		}
	} else {
		for i := range maxTicks {
			s.Ticks = append(s.Ticks, int64(v[i*(len(v)-1)/(maxTicks-1)]))
		}
	}
	if len(v) < 5 {
		var parts []string
		for _, x := range v {
			parts = append(parts, span(int64(x)))
		}
		s.Text = listText(slices.Compact(parts))
		return s
	}
	s.Text = span(s.Median)
	if lo, hi := span(s.Low), span(s.High); lo != s.Text || hi != s.Text {
		s.Text += " (" + lo + " to " + hi + ")"
	}
	return s
}

// submission is the flow of messages, from their resources alone.
func submission(d *table.Dataset, id string) *Scenario {
	waits, receipts := make([]float64, 0, d.Messages.Len()), make([]float64, 0, d.Messages.Len())
	n := int64(0)
	for _, m := range d.Messages.All() {
		n++
		if w := known(m.WaitS); w != nil && m.SentAt.Known() {
			waits = append(waits, *w*1e9)
		}
		if m.SentAt.Known() && m.UpdatedAt.Known() && m.UpdatedAt > m.SentAt {
			receipts = append(receipts, float64(m.UpdatedAt-m.SentAt))
		}
	}
	if len(waits) == 0 {
		return nil
	}
	seen := false
	for _, s := range d.Signals.AllTo("Kind") {
		if strings.HasPrefix(s.Kind, "POST Messages") {
			seen = true
			break
		}
	}
	slices.Sort(waits)
	slices.Sort(receipts)
	none := func(t string) *Spread { return &Spread{Text: t, Ticks: []int64{}} }
	st, said := "unseen", "not captured: export only"
	if seen {
		st, said = "http", ""
	}
	l := &Ladder{ID: id + "-t", Media: []Bar{}, Facts: []string{}, Lanes: []Lane{{Role: "client", Name: "REST"}, {Role: "provider", Name: "API and queue"}, {Role: "carrier", Name: "SMS"}},
		Rows: []Rung{
			{Kind: "message", From: 0, To: 1, Label: "POST Messages", Style: st, Spread: none(said)},
			{Kind: "message", From: 1, To: 0, Label: "accepted, queued", Style: st, Spread: none("t = 0, date_created")},
			{Kind: "fold", Label: "in the queue", Spread: none("")},
			{Kind: "message", From: 1, To: 2, Label: "sent, date_sent", Style: "signaling", Spread: spread(waits)},
		}}
	caption := "Times are those of the resources. Half of the messages waited " + span(int64(quantile(waits, 0.5))) + " or less in the queue."
	if len(waits) < 5 {
		caption = "Times are those of the resources."
	}
	if len(receipts) > 0 {
		l.Rows = append(l.Rows, Rung{Kind: "message", From: 2, To: 1, Label: "last change, date_updated", Style: "unseen", Spread: spread(receipts)})
	}
	if !seen {
		caption += " Dashed rungs were not captured."
	}
	return &Scenario{ID: id, Title: "Message submission", Count: plural(n, "message", "messages"), Typical: l, Caption: caption, Ladders: []Ladder{}}
}
