package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Every drawing exists in two widths, of which the style sheet shows one; so
// text never shrinks with the figure. Colours and weights are classes of the
// style sheet. Text and attributes are escaped here, both by the same rule.
const (
	wide    = 960.0
	ladderW = 636.0
	narrow  = 358.0
)

// svg collects one drawing.
type svg struct{ strings.Builder }

var svgEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;", "`", "&#96;", "\x00", "\uFFFD")

// num is a coordinate with at most one decimal.
func num(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "0"
	}
	return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
}

// open writes a start tag; attrs are name, value pairs, numbers or strings.
func (s *svg) open(name string, attrs ...any) { s.tag(name, ">", attrs) }

// el writes an empty element.
func (s *svg) el(name string, attrs ...any) { s.tag(name, "/>", attrs) }

func (s *svg) tag(name, end string, attrs []any) {
	s.WriteByte('<')
	s.WriteString(name)
	for i := 0; i+1 < len(attrs); i += 2 {
		var v string
		switch x := attrs[i+1].(type) {
		case string:
			if x == "" {
				continue
			}
			v = svgEscape.Replace(x)
		case float64:
			v = num(x)
		case int:
			v = strconv.Itoa(x)
		default:
			panic("svg: attribute of a type that is no string and no number")
		}
		s.WriteByte(' ')
		s.WriteString(attrs[i].(string))
		s.WriteString(`="`)
		s.WriteString(v)
		s.WriteByte('"')
	}
	s.WriteString(end)
}

func (s *svg) close(name string) { s.WriteString("</" + name + ">") }

func (s *svg) line(class string, x1, y1, x2, y2 float64) {
	s.el("line", "class", class, "x1", x1, "y1", y1, "x2", x2, "y2", y2)
}

func (s *svg) rect(class string, x, y, w, h float64) {
	s.el("rect", "class", class, "x", x, "y", y, "width", max(w, 0), "height", max(h, 0))
}

func (s *svg) text(class string, x, y float64, t string) {
	if t == "" {
		return
	}
	s.open("text", "class", class, "x", x, "y", y)
	s.WriteString(svgEscape.Replace(t))
	s.close("text")
}

// titled writes a text that was cut, with the full one shown on hovering.
func (s *svg) titled(class string, x, y float64, t, full string) {
	s.open("text", "class", class, "x", x, "y", y)
	s.title(full)
	s.WriteString(svgEscape.Replace(t))
	s.close("text")
}

func (s *svg) title(t string) {
	if t != "" {
		s.WriteString("<title>" + svgEscape.Replace(t) + "</title>")
	}
}

// begin writes the root. label is what a screen reader says.
func (s *svg) begin(class string, w, h float64, label string) {
	role := "img"
	if strings.HasPrefix(label, "Ladder") || strings.HasPrefix(label, "Figure") {
		role = "group" // there are links in it, which an image would hide
	}
	s.open("svg", "xmlns", "http://www.w3.org/2000/svg", "class", class, "viewBox", "0 0 "+num(w)+" "+num(h), "width", w, "height", h, "role", role, "aria-label", label)
}

// textWidth estimates the width of a text at size px in a wide sans face.
func textWidth(t string, px float64) float64 { return float64(utf8.RuneCountInString(t)) * px * 0.56 }

// fit cuts the middle out of a text that is wider than w.
func fit(t string, px, w float64) string {
	r := []rune(t)
	n := int(w / (px * 0.56))
	if len(r) <= n {
		return t
	}
	if n < 4 {
		n = 4
	}
	if len(r) <= n {
		return t
	}
	head := (n - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}

// strip is the little axis of a verdict: 0.8 to 1.2 of the expected rate.
func strip(r VerdictRow, tol float64) string {
	const w, h, lo, hi = 190.0, 26.0, 0.8, 1.2
	x := func(v float64) float64 { return (min(max(v, lo), hi) - lo) / (hi - lo) * w }
	s := &svg{}
	label := "no rate"
	if r.Rate != "" {
		label = r.Rate + " " + r.Interval + " against the expected rate, " + r.Verdict
	}
	s.begin("strip", w, h, label)
	s.rect("band", x(1-tol), 3, x(1+tol)-x(1-tol), h-6)
	s.line("x1", x(1), 3, x(1), h-3)
	// Runs stand one below the other, in the upper part of the strip.
	n := float64(len(r.Marks))
	many := ""
	if n > 1 {
		many = " many"
	}
	for i, m := range r.Marks {
		class := "st-" + m.Class
		y := 10.0
		if n > 1 {
			y = 4 + 11*(float64(i)+0.5)/n
		}
		cap, radius := 4.0, 2.5
		if n > 1 {
			cap, radius = min(2, 4/n), max(1, min(2, 6/n))
		}
		switch {
		case m.Low != nil && *m.Low > hi:
			s.el("path", "class", "ivt "+class, "d", "M184 "+num(y-5)+"l6 5l-6 5z")
		case m.High != nil && *m.High < lo:
			s.el("path", "class", "ivt "+class, "d", "M6 "+num(y-5)+"l-6 5l6 5z")
		case m.Low != nil:
			a, b := x(*m.Low), w
			if m.High != nil {
				b = x(*m.High)
			}
			if b-a < 2 {
				a, b = a-1, b+1
			}
			s.line("ivb"+many+" "+class, a, y, b, y)
			// Ends that lie outside the axis carry no cap.
			if *m.Low >= lo {
				s.line("ivc "+class, a, y-cap, a, y+cap)
			}
			if m.High != nil && *m.High <= hi {
				s.line("ivc "+class, b, y-cap, b, y+cap)
			}
		}
		if m.At != nil && *m.At >= lo && *m.At <= hi {
			s.el("circle", "class", "ivt "+class, "cx", x(*m.At), "cy", y, "r", radius)
		}
	}
	if m := r.Sustained; m != nil && m.Low != nil && m.High != nil && *m.Low < hi && *m.High > lo {
		s.line("sus", x(*m.Low), 20, x(*m.High), 20)
		if m.At != nil {
			s.line("sus", x(*m.At), 17, x(*m.At), 23)
		}
	}
	s.close("svg")
	return s.String()
}

// stripScale is the head of the strips' column.
func stripScale(tol float64) string {
	s := &svg{}
	s.begin("strip", 190, 16, "axis from 0.8 to 1.2 of the expected rate")
	s.text("s", 0, 12, "0.8")
	s.text("s m", 95, 12, "1")
	s.text("s e", 190, 12, "1.2")
	s.text("s m", 95-190*tol/0.4-4, 12, fixed(1-tol, 2))
	s.text("s m", 95+190*tol/0.4+4, 12, fixed(1+tol, 2))
	s.close("svg")
	return s.String()
}

// svg draws the plot in one width.
func (p Plot) svg(width float64, class, label string) string {
	s := &svg{}
	bs, h := p.boxes(width)
	s.begin(class, width, h, label)
	for i, pn := range p.Panels {
		b := bs[i]
		X := func(v float64) float64 { return b.x + min(max(p.X.at(v), -0.02), 1.02)*b.w }
		Y := func(v float64) float64 { return b.y + b.h - min(max(pn.Y.at(v), -0.02), 1.04)*b.h }
		s.text("k", 0, b.y-titleUp, pn.Title)
		for _, t := range pn.Y.Ticks {
			s.line("gr", b.x, Y(t.V), b.x+b.w, Y(t.V))
			s.text("e", b.x-8, Y(t.V)+4, t.Text)
		}
		for _, bd := range pn.Bands {
			s.rect("band", X(bd.X0), Y(bd.Y1), X(bd.X1)-X(bd.X0), Y(bd.Y0)-Y(bd.Y1))
		}
		aside := p.dodge(pn, b)
		for _, sr := range pn.Series {
			sr.draw(s, X, Y, b, pn.Y, aside)
		}
		drawEnds(s, p.ends(i, b), b, width)
		for _, n := range pn.Notes {
			if n.Anchor == "start" { // beside a mark
				s.text("s "+textClass(n.Role), X(n.X)+9+aside[n.Run], Y(n.Y)+4, n.Text)
				continue
			}
			s.text("s "+anchorClass(n.Anchor)+" "+textClass(n.Role), X(n.X), Y(n.Y)-4, n.Text)
		}
		if i == len(p.Panels)-1 {
			s.line("ax", b.x, b.y+b.h, b.x+b.w, b.y+b.h)
			p.xLabels(s, b, X, width)
		}
	}
	s.close("svg")
	return s.String()
}

func (p Plot) xLabels(s *svg, b box, X func(float64) float64, width float64) {
	y := b.y + b.h
	last := math.Inf(-1)
	n := len(p.X.Ticks)
	for k, t := range p.X.Ticks {
		x := X(t.V)
		w := textWidth(t.Text, 13)
		s.line("ax", x, y, x, y+5)
		// The last label has precedence over its neighbours.
		if k < n-1 {
			lx := X(p.X.Ticks[n-1].V)
			if lx-textWidth(p.X.Ticks[n-1].Text, 13)/2-6 < x+w/2 {
				continue
			}
		}
		if x-w/2 < last+6 && k > 0 {
			continue
		}
		tx := min(x, width-w/2)
		s.text("m", tx, y+20, t.Text)
		last = tx + w/2
	}
	s.text("m", b.x+b.w/2, y+40, p.XName)
}

func anchorClass(a string) string {
	switch a {
	case "middle":
		return "m"
	case "end":
		return "e"
	}
	return ""
}

func textClass(role string) string {
	switch role {
	case "observed":
		return "bt"
	case "queue":
		return "ot"
	case "lost":
		return "rt"
	case "expected", "mute":
		return ""
	}
	return "k"
}

// apart moves places, in ascending order, as little as can be (in the sum of
// squares) so that each stands at least gap behind the one before.
func apart(at []float64, gap float64) []float64 {
	type block struct{ sum, n float64 }
	var bs []block
	for i, v := range at {
		bs = append(bs, block{v - gap*float64(i), 1})
		// Neighbours out of order take their mean: pool adjacent violators.
		for n := len(bs); n > 1 && bs[n-2].sum/bs[n-2].n > bs[n-1].sum/bs[n-1].n; n = len(bs) {
			bs[n-2] = block{bs[n-2].sum + bs[n-1].sum, bs[n-2].n + bs[n-1].n}
			bs = bs[:n-1]
		}
	}
	out := make([]float64, 0, len(at))
	for _, b := range bs {
		for range int(b.n) {
			out = append(out, b.sum/b.n+gap*float64(len(out)))
		}
	}
	return out
}

// dodge is how far aside, in px, each point of a panel stands at this width so
// that marks of almost the same place do not cover one another. Runs keep their
// distance wherever their bars reach the same height.
func (p Plot) dodge(pn Panel, b box) map[int]float64 {
	type mark struct{ x, top, bottom float64 }
	marks := map[int]mark{}
	ids := []int{}
	same := map[float64]int{}
	most := 1
	Y := func(v float64) float64 { return b.y + b.h - min(max(pn.Y.at(v), -0.02), 1.04)*b.h }
	for _, s := range pn.Series {
		if s.Form != "points" {
			continue
		}
		for _, q := range s.Points {
			if q.Run == 0 {
				continue
			}
			m, seen := marks[q.Run]
			if !seen {
				m = mark{b.x + p.X.at(q.X)*b.w, b.y + b.h, b.y}
				ids = append(ids, q.Run)
				same[q.X]++
				most = max(most, same[q.X])
			}
			for _, v := range []*float64{&q.Y, q.Lo, q.Hi} {
				if v != nil {
					m.top, m.bottom = min(m.top, Y(*v)-7), max(m.bottom, Y(*v)+7)
				}
			}
			marks[q.Run] = m
		}
	}
	slices.SortFunc(ids, func(i, j int) int { return cmp.Or(cmp.Compare(marks[i].x, marks[j].x), cmp.Compare(i, j)) })
	gap := min(16, 72/float64(most))
	if b.w < 600 {
		gap = min(11, 45/float64(most))
	}
	type lane struct {
		top, bottom float64
		ids         []int
	}
	var lanes []lane
	for _, id := range ids {
		m := marks[id]
		k := slices.IndexFunc(lanes, func(l lane) bool { return m.top < l.bottom && m.bottom > l.top })
		if k < 0 {
			k = len(lanes)
			lanes = append(lanes, lane{m.top, m.bottom, nil})
		}
		l := &lanes[k]
		l.top, l.bottom, l.ids = min(l.top, m.top), max(l.bottom, m.bottom), append(l.ids, id)
	}
	out := make(map[int]float64, len(ids))
	for _, l := range lanes {
		at := make([]float64, len(l.ids))
		for i, id := range l.ids {
			at[i] = marks[id].x
		}
		places := apart(at, gap)
		// None is pushed out of the panel, which would cut it.
		lo, hi := min(b.x+8, at[0]), max(b.x+b.w-8, at[len(at)-1])
		for i := range places {
			places[i] = max(places[i], lo)
			lo = places[i] + gap
		}
		for i := len(places) - 1; i >= 0; i-- {
			places[i] = min(places[i], hi)
			hi = places[i] - gap
		}
		for i, x := range places {
			out[l.ids[i]] = x - marks[l.ids[i]].x
		}
	}
	return out
}

type endLabel struct {
	x, y       float64
	text, role string
}

// ends are the names of a panel's lines beside their last points, apart from
// one another.
func (p Plot) ends(panel int, b box) []endLabel {
	pn := p.Panels[panel]
	var ends []endLabel
	for _, sr := range pn.Series {
		if sr.Label != "" && len(sr.Points) > 0 {
			q := sr.Points[len(sr.Points)-1]
			ends = append(ends, endLabel{b.x + b.w + 12, b.y + b.h - min(max(pn.Y.at(q.Y), 0), 1)*b.h + 4, sr.Label, sr.Role})
		}
	}
	slices.SortStableFunc(ends, func(a, b endLabel) int { return cmp.Compare(a.y, b.y) })
	at := make([]float64, len(ends))
	for i := range ends {
		at[i] = ends[i].y
	}
	for i, y := range apart(at, 17) {
		ends[i].y = y
	}
	return ends
}

// drawEnds writes them; a narrow drawing has them over its panel instead.
func drawEnds(s *svg, ends []endLabel, b box, width float64) {
	if width >= 900 {
		for _, e := range ends {
			s.text("halo "+textClass(e.role), e.x, e.y, e.text)
		}
		return
	}
	x := width
	for i := len(ends) - 1; i >= 0; i-- {
		if x-textWidth(ends[i].text, 12) < 170 {
			break
		}
		s.text("s e halo "+textClass(ends[i].role), x, b.y-titleUp, ends[i].text)
		x -= textWidth(ends[i].text, 12) + 14
	}
}

// draw writes one series.
func (sr Series) draw(s *svg, X, Y func(float64) float64, b box, ya Axis, aside map[int]float64) {
	stroke, fill := "b", "bf"
	switch sr.Role {
	case "queue":
		stroke, fill = "o", "of"
	case "lost":
		stroke, fill = "r", "rbar"
	case "expected":
		stroke, fill = "x", "x"
	case "plain":
		stroke, fill = "k1", "kf"
	}
	switch sr.Form {
	case "line", "thin", "step", "dotted":
		if len(sr.Points) == 0 {
			return
		}
		class := stroke + " ln"
		if sr.Form == "dotted" {
			class = "x thin dot"
		} else if sr.Role == "expected" {
			class = "x"
		} else if sr.Form == "thin" {
			class = stroke + " thin fade"
		}
		var d strings.Builder
		for i, q := range sr.Points {
			x, y := num(X(q.X)), num(Y(q.Y))
			switch {
			case i == 0 || q.Gap:
				d.WriteString("M" + x + " " + y)
			case sr.Form == "step" && sr.Role != "expected":
				d.WriteString("H" + x + "V" + y)
			default:
				d.WriteString("L" + x + " " + y)
			}
		}
		s.el("path", "class", class, "d", d.String())
	case "area":
		if len(sr.Points) == 0 {
			return
		}
		var d, back strings.Builder
		for i, q := range sr.Points {
			if i == 0 {
				d.WriteString("M" + num(X(q.X)) + " " + num(Y(q.Y)))
			} else {
				d.WriteString("H" + num(X(q.X)) + "V" + num(Y(q.Y)))
			}
		}
		for i := len(sr.Points) - 1; i >= 0; i-- {
			lo := sr.Points[i].Y
			if sr.Points[i].Lo != nil {
				lo = *sr.Points[i].Lo
			}
			if i == len(sr.Points)-1 {
				back.WriteString("V" + num(Y(lo)))
			} else {
				// Going back, the step comes before the run.
				back.WriteString("V" + num(Y(lo)) + "H" + num(X(sr.Points[i].X)))
			}
		}
		s.el("path", "class", "area", "d", d.String()+back.String()+"Z")
	case "bars":
		for _, q := range sr.Points {
			w := X(q.X2) - X(q.X)
			if w > 3 {
				w -= 1
			}
			s.open("rect", "class", fill, "x", X(q.X), "y", Y(q.Y), "width", max(w, 1), "height", max(Y(ya.Min)-Y(q.Y), 0))
			s.title(q.Tip)
			s.close("rect")
		}
	case "dashes":
		for _, q := range sr.Points {
			s.line("x", X(q.X)-11, Y(q.Y), X(q.X)+11, Y(q.Y))
		}
	case "points":
		for _, q := range sr.Points {
			x, y := X(q.X)+aside[q.Run], Y(q.Y)
			stroke, fill := stroke, fill
			if q.Mute {
				stroke, fill = "u", "uo"
			}
			if sr.Role == "sustained" {
				x += 6
			}
			if q.Href != "" {
				s.open("a", "href", q.Href)
			} else {
				s.open("g")
			}
			s.title(q.Tip)
			if q.Lo != nil {
				lo, hi := Y(*q.Lo), b.y
				if q.Hi != nil {
					hi = Y(*q.Hi)
				}
				cap := 5.0
				if sr.Role == "sustained" {
					cap = 2.5
				}
				s.line(stroke+" wh", x, lo, x, hi)
				s.line(stroke+" wh", x-cap, lo, x+cap, lo)
				if q.Hi != nil {
					s.line(stroke+" wh", x-cap, hi, x+cap, hi)
				}
			}
			switch {
			case sr.Role == "sustained":
				s.line(stroke+" wh", x-2.5, y, x+2.5, y)
			case q.Mute:
				s.el("circle", "class", fill, "cx", x, "cy", y, "r", 3.5)
			case q.Open:
				s.el("circle", "class", map[bool]string{true: "oo", false: "bo"}[sr.Role == "queue"], "cx", x, "cy", y, "r", 3.5)
			default:
				s.el("circle", "class", fill, "cx", x, "cy", y, "r", 3)
			}
			if q.Href != "" {
				s.close("a")
			} else {
				s.close("g")
			}
		}
	}
}

// place is where a row of a ladder stands.
type place struct{ top, y, bottom float64 }

// rows places the rows of a ladder one below the other.
func (l *Ladder) rows(top, step, foldH float64, x []float64, left float64) ([]place, float64) {
	ps := make([]place, len(l.Rows))
	y := top
	for i, r := range l.Rows {
		switch r.Kind {
		case "fold":
			ps[i] = place{y + 4, y + foldH/2 + 2, y + foldH}
			y += foldH + 4
		case "media":
			_, w, _ := l.mediaSpot(&r, x, left)
			h := 16*float64(len(r.mediaText(w))) + 26
			ps[i] = place{y + 6, y + h/2, y + h - 6}
			y += h
		default:
			ps[i] = place{y, y + step - 8, y + step}
			y += step
		}
	}
	return ps, y + 10
}

// mediaText is the lines about a pair's streams, broken after commas where they
// are wider than w.
func (r *Rung) mediaText(w float64) []string {
	var lines []string
	for _, t := range append([]string{r.Label}, r.Lines...) {
		for textWidth(t, 12) > w {
			cut := -1
			for i := range t {
				if strings.HasPrefix(t[i:], ", ") && (cut < 0 || textWidth(t[:i], 12) <= w) {
					cut = i
				}
			}
			if cut < 0 {
				break
			}
			lines = append(lines, t[:cut])
			t = t[cut+2:]
		}
		lines = append(lines, t)
	}
	return lines
}

// mediaSpot is where the text about a pair's streams stands, and how wide it may
// be: between the bars of its lanes, or left of both where those stand close.
func (l *Ladder) mediaSpot(r *Rung, x []float64, left float64) (at, w float64, anchor string) {
	a, z := x[min(r.From, r.To)], x[max(r.From, r.To)]
	// Bars of 6 stand 4 from their lane and 2 from each other, see mediaBars.
	bars := [2]float64{}
	for _, b := range l.Media {
		side := 0
		if b.Lane != min(r.From, r.To) {
			side = 1
		}
		if min(b.Lane, b.Peer) == min(r.From, r.To) && max(b.Lane, b.Peer) == max(r.From, r.To) {
			bars[side] = min(bars[side]+8, 32)
		}
	}
	w = z - a - bars[0] - bars[1] - 12
	if w < mediaTextW && a-14-left > w {
		return a - 8, a - 14 - left, "e"
	}
	return (a + bars[0] + z - bars[1]) / 2, w, "m"
}

// timeMap turns times into heights, between the rows that are drawn.
func (l *Ladder) timeMap(ps []place) func(int64) float64 {
	type anchor struct {
		at int64
		y  float64
	}
	var as []anchor
	add := func(at int64, y float64) {
		if n := len(as); n > 0 && at < as[n-1].at {
			at = as[n-1].at
		}
		as = append(as, anchor{at, y})
	}
	for i, r := range l.Rows {
		switch r.Kind {
		case "media":
			end := r.Until
			if i+1 < len(l.Rows) {
				end = min(end, l.Rows[i+1].At)
			}
			add(r.At, ps[i].top)
			add(max(end, r.At), ps[i].bottom)
		case "fold":
			add(r.At, ps[i].top)
			add(r.Until, ps[i].bottom)
		default:
			add(r.At, ps[i].y)
		}
	}
	return func(at int64) float64 {
		if len(as) == 0 {
			return 0
		}
		if at <= as[0].at {
			return as[0].y
		}
		i, _ := slices.BinarySearchFunc(as, at, func(a anchor, at int64) int { return cmp.Compare(a.at, at) })
		if i == len(as) {
			return as[i-1].y
		}
		a, b := as[i-1], as[i]
		return a.y + (b.y-a.y)*float64(at-a.at)/float64(b.at-a.at)
	}
}

const (
	mediaTextW = 152.0 // of "jitter 0.12 ms, MOS 4.4"
	mediaGap   = mediaTextW + 34
	lineGap    = 107.0 // between lanes whose names stand in one line
)

// laneX spreads lanes from a to b, evenly but for those that media run between:
// these stand wider apart, as far as the others can spare it.
func (l *Ladder) laneX(a, b float64) []float64 {
	n := len(l.Lanes)
	x := make([]float64, n)
	if n == 0 {
		return x
	}
	if n == 1 {
		x[0] = (a + b) / 2
		return x
	}
	even := (b - a) / float64(n-1)
	gaps := make([]float64, n-1)
	k := 0
	mark := func(p, q int) {
		if i := min(p, q); max(p, q) == i+1 && gaps[i] == 0 {
			gaps[i] = 1
			k++
		}
	}
	for _, m := range l.Media {
		mark(m.Lane, m.Peer)
	}
	for i := range l.Rows {
		if r := &l.Rows[i]; r.Style == "media" {
			mark(r.From, r.To)
		}
	}
	w, rest := even, even
	if others := float64(n - 1 - k); k > 0 && others > 0 {
		if w = min(mediaGap, (b-a-others*lineGap)/float64(k)); w < even {
			w = even
		}
		rest = (b - a - w*float64(k)) / others
	}
	x[0] = a
	for i, g := range gaps {
		d := rest
		if g > 0 {
			d = w
		}
		x[i+1] = x[i] + d
	}
	return x
}

// head is the text over one lane.
type head struct {
	x     float64
	row   float64 // lower, where lanes stand close
	role  string
	lines []string // the name or address, in one line or two
	full  string
}

// headText lays the lanes' names out between left and right, each in the room
// that its neighbours leave; it returns the height of all.
func (l *Ladder) headText(x []float64, left, right float64) ([]head, float64) {
	near := false
	for i := 2; i < len(x); i++ {
		near = near || x[i]-x[i-1] < lineGap || x[i-1]-x[i-2] < lineGap
	}
	step := 1
	if near { // every other lane is headed one block lower
		step = 2
	}
	out := make([]head, len(l.Lanes))
	most := 1
	for i, ln := range l.Lanes {
		a, z := left, right
		if i >= step {
			a = (x[i-step]+x[i])/2 + 3
		}
		if i+step < len(x) {
			z = (x[i]+x[i+step])/2 - 3
		}
		h := head{x: x[i], role: fit(ln.Role, 13, z-a), full: cmp.Or(ln.Name, ln.Address)}
		h.lines = twoLines(h.full, 12, z-a)
		half := textWidth(h.role, 13) / 2
		for _, t := range h.lines {
			half = max(half, textWidth(t, 12)/2)
		}
		h.x = max(min(h.x, z-half), a+half)
		most = max(most, len(h.lines))
		out[i] = h
	}
	block := 14 * float64(most)
	height := 24 + block
	if step == 2 {
		for i := 1; i < len(out); i += 2 {
			out[i].row = 18 + block
		}
		height += 18 + block
	}
	return out, height
}

// twoLines breaks a host name that is wider than w at a dot, an address at a
// colon, and cuts the middle out of what still does not fit.
func twoLines(t string, px, w float64) []string {
	if textWidth(t, px) <= w {
		return []string{t}
	}
	cut := 0
	for i, c := range t {
		if i > 0 && (c == '.' || c == ':') && textWidth(t[:i], px) <= w {
			cut = i
		}
	}
	if cut == 0 {
		return []string{fit(t, px, w)}
	}
	// The break that leaves the second line whole stands before one that fills
	// the first.
	for i, c := range t[:cut] {
		if i > 0 && (c == '.' || c == ':') && textWidth(t[i:], px) <= w {
			cut = i
			break
		}
	}
	return []string{t[:cut], fit(t[cut:], px, w)}
}

// heads writes the lanes' names and lines.
func (l *Ladder) heads(s *svg, x []float64, left, right, bottom float64) {
	hs, height := l.headText(x, left, right)
	for i, h := range hs {
		s.line("lane", x[i], height-4, x[i], bottom)
		s.text("k m", h.x, 12+h.row, h.role)
		for n, t := range h.lines {
			y := 27 + h.row + 14*float64(n)
			if strings.Contains(t, "…") {
				s.titled("s m", h.x, y, t, h.full)
			} else {
				s.text("s m", h.x, y, t)
			}
		}
	}
}

// rung draws the line and head of a message between two lanes.
func rungLine(s *svg, r *Rung, x1, x2, y float64) {
	class := "sg"
	head := "ah"
	switch r.Style {
	case "stun":
		class += " st"
	case "dtls":
		class += " dt"
	case "http":
		class += " ht"
		head += " ht"
	case "media":
		class += " rtp"
	case "unseen":
		class += " nc"
		head += " nc"
	}
	if r.Failed {
		class += " fail"
		head += " fail"
	}
	if x1 == x2 { // to itself
		s.el("path", "class", class, "d", "M"+num(x1)+" "+num(y-6)+"h18v6h-14")
		x1 = x2 + 18
	} else {
		end := x2 - 5*sign(x2-x1)
		if r.Again != "" {
			end = x2 - 1*sign(x2-x1)
		}
		s.line(class, x1, y, end, y)
	}
	d := sign(x2 - x1)
	if r.Again != "" {
		s.el("path", "class", "open"+map[bool]string{true: " fail", false: ""}[r.Failed], "d", "M"+num(x2-8*d)+" "+num(y-4)+"L"+num(x2-1*d)+" "+num(y)+"L"+num(x2-8*d)+" "+num(y+4))
	} else {
		s.el("path", "class", head, "d", "M"+num(x2)+" "+num(y)+"l"+num(-8*d)+" -3.5v7z")
	}
	if r.Failed {
		m := (x1 + x2) / 2
		s.el("path", "class", "sg fail", "d", "M"+num(m-4)+" "+num(y-4)+"l8 8m0 -8l-8 8")
	}
}

func sign(v float64) float64 {
	if v < 0 {
		return -1
	}
	return 1
}

// mediaBars draws the streams beside their lanes.
func (l *Ladder) mediaBars(s *svg, x []float64, ps []place) {
	if len(l.Media) == 0 {
		return
	}
	at := l.timeMap(ps)
	nth := map[[2]int]int{}
	for _, b := range l.Media {
		d := sign(x[b.Peer] - x[b.Lane])
		k := nth[[2]int{b.Lane, int(d)}]
		nth[[2]int{b.Lane, int(d)}]++
		if k > 3 {
			continue // more than four beside one lane would reach the next
		}
		y1, y2 := at(b.From), at(b.To)
		if y2-y1 < 14 {
			y2 = y1 + 14
		}
		px := x[b.Lane] + d*(4+float64(k)*8)
		if d < 0 {
			px -= 6
		}
		s.open("g")
		s.title(b.Tip)
		s.rect("med", px, y1, 6, y2-y1)
		for _, h := range b.Holes {
			a, z := at(h), at(h+1e9)
			a, z = max(a, y1), min(max(z, a+2), y2)
			if z > a {
				s.rect("rbar", px, a, 6, z-a)
			}
		}
		s.close("g")
	}
}

// heights are where each bar of Media begins and ends.
func (l *Ladder) heights(ps []place) [][2]float64 {
	at := l.timeMap(ps)
	out := make([][2]float64, len(l.Media))
	for i, b := range l.Media {
		out[i] = [2]float64{at(b.From), at(b.To)}
	}
	return out
}

// foldX is where the text of a fold between left and right has its middle:
// beside the bars of the streams that go on through it, which have these heights.
func (l *Ladder) foldX(t string, x []float64, left, right float64, p place, heights [][2]float64) float64 {
	mid, half := (left+right)/2, textWidth(t, 12)/2
	edge := right
	for i, b := range l.Media {
		if heights[i][0] < p.bottom && heights[i][1] > p.top {
			edge = min(edge, x[b.Lane]-14, x[b.Peer])
		}
	}
	if mid+half <= edge || left+2*half > edge {
		return mid
	}
	return (left + edge) / 2
}

// label writes what a rung is, and the full text on hovering if it was cut.
func (s *svg) label(class string, x, y float64, t, full string) {
	if strings.Contains(t, "…") {
		s.titled(class, x, y, t, full)
		return
	}
	s.text(class, x, y, t)
}

// fit is the label of a rung that is w long: the number of a copy stays whole.
func (r *Rung) fit(w float64) string {
	if r.Again == "" {
		return fit(r.Label, 13, w)
	}
	again := " (" + r.Again + ")"
	if textWidth(r.Label+again, 13) > w {
		again = " (" + strings.TrimPrefix(r.Again, "again, ") + ")"
	}
	return fit(r.Label, 13, w-textWidth(again, 13)) + again
}

// svg draws one call. The narrow form has label and time over each rung.
func (l *Ladder) svg(width float64, class string) string {
	s := &svg{}
	small := width < 500
	left, right, step := 166.0, width-44, 30.0
	if len(l.Lanes) > 4 {
		left, right = 150, width-30
	}
	const axisX, timeX = 34.0, 116.0
	if small {
		left, right, step = 28, width-28, 38
	}
	x := l.laneX(left, right)
	textLeft, headLeft := timeX+6, axisX+22
	if small {
		textLeft, headLeft = 0, 0
	}
	_, top := l.headText(x, headLeft, width)
	ps, h := l.rows(top+2, step, 24, x, textLeft)
	s.begin(class, width, h, "Ladder of "+l.Title+", "+plural(int64(len(l.Rows)), "row", "rows"))
	l.heads(s, x, headLeft, width, h-6)
	for i, r := range l.Rows {
		if p := ps[i]; r.Kind == "fold" {
			s.rect("fold", max(left-30, 0), p.top, min(right-left+60, width), p.bottom-p.top)
		}
	}
	l.mediaBars(s, x, ps)
	heights := l.heights(ps)
	var sc timeScale
	if !small && len(ps) > 0 {
		first, last := ps[0], ps[len(ps)-1]
		sc = l.scale(axisX, first.y, max(last.y, first.y+20))
		s.text("s e", axisX+12, first.y-24, "seconds")
		sc.draw(s)
	}
	for i := range l.Rows {
		r := &l.Rows[i]
		p := ps[i]
		switch r.Kind {
		case "fold":
			s.text("s m", l.foldX(r.Label, x, left-30, right+30, p, heights), p.y+4, r.Label)
		case "media":
			m, w, anchor := l.mediaSpot(r, x, textLeft)
			lines := r.mediaText(w)
			y := p.y - 8*float64(len(lines)-1) + 4
			for n, t := range lines {
				c := "s " + anchor + " halo"
				if n == 0 {
					c = "s " + anchor + " k halo"
				}
				if before, _, ok := strings.Cut(t, " lost"); ok && n > 0 && before != "0" && !strings.HasSuffix(before, ", 0") {
					c = "s " + anchor + " rt halo"
				}
				s.text(c, m, y+16*float64(n), t)
			}
			if !small {
				s.text("s e tm", timeX, p.top+10, r.Time)
			}
		default:
			if r.Detail != nil {
				s.open("a", "class", "rung", "href", "#"+r.Detail.ID, "data-d", r.Detail.ID)
			} else {
				s.open("g", "class", "rung")
			}
			if small {
				s.rect("hit", 0, p.top+1, width, p.bottom-p.top-1)
			} else {
				s.rect("hit", axisX+14, p.top+2, width-axisX-14, p.bottom-p.top-2)
			}
			full := r.Label
			if r.Again != "" {
				full += " (" + r.Again + ")"
			}
			lc := "lab"
			if r.Failed {
				lc += " rt"
			}
			if small {
				s.label(lc, 0, p.y-10, r.fit(width-textWidth(r.Time, 12)-16), full)
				s.text("s e tm halo", width, p.y-10, r.Time) // bars may stand behind it
			} else {
				w := math.Abs(x[r.To] - x[r.From])
				if w == 0 { // to itself
					w = width - textLeft
				}
				label := r.fit(w)
				half := textWidth(label, 13) / 2
				cx := min(max((x[r.From]+x[r.To])/2, textLeft+half), width-half)
				s.label(lc+" m", cx, p.y-6, label, full)
				s.text("s e tm", timeX, p.y+4, r.Time)
				s.el("path", "class", "lead", "d", "M"+num(axisX)+" "+num(sc.at(r.At))+"L"+num(axisX+8)+" "+num(p.y)+"h4")
			}
			rungLine(s, r, x[r.From], x[r.To], p.y)
			if r.Detail != nil {
				s.close("a")
			} else {
				s.close("g")
			}
		}
	}
	s.close("svg")
	return s.String()
}

// typicalSVG draws the typical call with the spread of each phase beside it.
func (l *Ladder) typicalSVG(width float64, class, label string) string {
	s := &svg{}
	small := width < 500
	left, right, step := 58.0, 418.0, 34.0
	if small {
		left, right, step = 28, width-28, 38
	}
	x := l.laneX(left, right)
	edge := 470.0
	if small {
		edge = width
	}
	_, top := l.headText(x, 0, edge)
	top += 2
	ps, h := l.rows(top, step, 24, x, 0)
	s.begin(class, width, h, label)
	l.heads(s, x, 0, edge, h-6)
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, r := range l.Rows {
		if r.Spread != nil {
			for _, t := range r.Spread.Ticks {
				if t > 0 {
					lo, hi = min(lo, float64(t)/1e6), max(hi, float64(t)/1e6)
				}
			}
		}
	}
	const ax, aw = 500.0, 250.0
	axis := Axis{}
	if !small && hi > 0 && !math.IsInf(lo, 0) {
		axis = logAxis(lo, hi)
		s.text("m k", ax+aw/2, 12, "Time since the rung above, log scale")
		said := "each call"
		for _, r := range l.Rows {
			if r.Spread != nil && r.Spread.N >= 5 {
				said = "median (middle half)"
			}
		}
		s.text("e k", width, 12, said)
		every := 1 + (len(axis.Ticks)-1)/6
		for n, t := range axis.Ticks {
			tx := ax + axis.at(t.V)*aw
			s.line("lane", tx, top-4, tx, h-6)
			if n%every == 0 {
				s.text("m s", tx, 27, decade(t.V))
			}
		}
	}
	for i := range l.Rows {
		r, p := &l.Rows[i], ps[i]
		said := ""
		if r.Spread != nil {
			said = r.Spread.Text
		}
		if r.Kind == "fold" {
			s.rect("fold", max(left-30, 0), p.top, right-left+60, p.bottom-p.top)
			s.text("s m", (left+right)/2, p.y+4, r.Label)
			if !small {
				s.text("s e", width, p.y+4, said)
			}
			continue
		}
		lc := "lab"
		if r.Failed {
			lc += " rt"
		}
		if small {
			s.label(lc, 0, p.y-10, fit(r.Label, 13, width-textWidth(said, 12)-12), r.Label)
			s.text("s e tm", width, p.y-10, said)
		} else {
			w := math.Abs(x[r.To] - x[r.From])
			if w == 0 {
				w = edge
			}
			t := fit(r.Label, 13, w)
			half := textWidth(t, 13) / 2
			s.label(lc+" m", min(max((x[r.From]+x[r.To])/2, half), edge-half), p.y-6, t, r.Label)
			c := "e"
			if r.Spread != nil && r.Spread.N > 0 {
				c = "e k"
			} else {
				c = "e s"
			}
			s.text(c, width, p.y+4, said)
		}
		rungLine(s, r, x[r.From], x[r.To], p.y)
		if !small && r.Spread != nil && r.Spread.N > 0 && axis.Max > 0 {
			at := func(ns int64) float64 { return ax + min(max(axis.at(float64(ns)/1e6), 0), 1)*aw }
			// Ticks that fall on one pixel are one.
			last := -1.0
			for _, t := range r.Spread.Ticks {
				if tx := math.Round(at(t)); tx != last {
					s.line("tick", tx, p.y-6, tx, p.y+6)
					last = tx
				}
			}
			if r.Spread.N >= 5 {
				s.line("iqr", at(r.Spread.Low), p.y, max(at(r.Spread.High), at(r.Spread.Low)+1), p.y)
				s.el("circle", "class", "kf", "cx", at(r.Spread.Median), "cy", p.y, "r", 4)
			}
		}
	}
	s.close("svg")
	return s.String()
}

// edgeX is where the text of a column stands on a narrow drawing.
func edgeX(x, width float64) float64 {
	switch {
	case x < width/3:
		return 0
	case x > width*2/3:
		return width
	}
	return x
}

// decade labels a power of ten of milliseconds.
func decade(ms float64) string {
	if ms < 1000 {
		return short(ms, 2) + nbsp + "ms"
	}
	return short(ms/1000, 6) + nbsp + "s"
}

// svg draws who talks to whom.
// labelBox is where a label of the graph stands.
type labelBox struct{ x0, y0, x1, y1 float64 }

func (b labelBox) overlap(o labelBox) float64 {
	return max(0, min(b.x1, o.x1)-max(b.x0, o.x0)) * max(0, min(b.y1, o.y1)-max(b.y0, o.y0))
}

func (g *Graph) svg(width float64, class string) string {
	s := &svg{}
	rows := [3]int{}
	for _, n := range g.Nodes {
		rows[n.Column]++
	}
	most := max(rows[0], rows[1], rows[2])
	gap := 76.0
	small := width < 500
	if small {
		gap = 64
	}
	top := 34.0
	h := top + gap*float64(most) + 4
	s.begin(class, width, h, "Hosts and the bytes between them")
	colX := [3]float64{170, 480, 790}
	switch {
	case small:
		colX = [3]float64{20, width / 2, width - 20}
		if rows[2] == 0 {
			colX[1] = width - 20
		}
	case rows[2] == 0:
		colX = [3]float64{240, 680, 680}
	case rows[0] == 0:
		colX = [3]float64{280, 280, 720}
	}
	for i, c := range g.Columns {
		cls := []string{"k e", "k m", "k"}[i]
		if small {
			cls = []string{"k", "k m", "k e"}[i]
			if rows[i] > 0 {
				if i == 1 && rows[2] == 0 {
					cls = "k e"
				}
				s.text(cls+" s", edgeX(colX[i], width), 12, c)
			}
		} else if rows[i] > 0 {
			s.text(cls, colX[i], 12, c)
		}
	}
	pos := func(n int) (float64, float64) {
		c := g.Nodes[n].Column
		off := (float64(most) - float64(rows[c])) / 2
		return colX[c], top + gap*(float64(g.Nodes[n].Row)+off+0.5)
	}
	// What a label must not cover: the nodes with their names, and other labels.
	var taken []labelBox
	for i, n := range g.Nodes {
		x, y := pos(i)
		switch {
		case n.Column == 0:
			taken = append(taken, labelBox{x - 170, y - 14, x + 10, y + 20})
		case n.Column == 2:
			taken = append(taken, labelBox{x - 10, y - 14, x + 170, y + 20})
		default:
			taken = append(taken, labelBox{x - 70, y - 28, x + 70, y + 44})
		}
	}
	type tag struct {
		x1, y1, x2, y2 float64
		e              *Edge
	}
	var tags []tag
	for i := range g.Edges {
		e := &g.Edges[i]
		x1, y1 := pos(e.A)
		x2, y2 := pos(e.B)
		m1, m2 := (x1+x2)/2, (x1+x2)/2
		if x1 == x2 {
			m1, m2 = x1+50, x2+50
		}
		s.open("path", "class", "edge", "d", "M"+num(x1)+" "+num(y1)+"C"+num(m1)+" "+num(y1)+" "+num(m2)+" "+num(y2)+" "+num(x2)+" "+num(y2), "stroke-width", e.Width)
		s.title(g.Nodes[e.A].Text + " and " + g.Nodes[e.B].Text + ": " + e.Label)
		s.close("path")
		tags = append(tags, tag{x1, y1, x2, y2, e})
	}
	if !small && len(tags) <= 14 {
		slices.SortStableFunc(tags, func(a, b tag) int { return cmp.Compare(b.e.Bytes, a.e.Bytes) })
		for _, t := range tags {
			text := fit(t.e.Label, 12, 190)
			half := textWidth(text, 12) / 2
			var best labelBox
			least := math.Inf(1)
			for _, at := range [...]float64{0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82} {
				u := 1 - at
				x, y := (t.x1+t.x2)/2, u*u*u*t.y1+3*u*u*at*t.y1+3*u*at*at*t.y2+at*at*at*t.y2
				if t.x1 == t.x2 {
					x += 40
				} else {
					x = u*u*u*t.x1 + 3*u*u*at*x + 3*u*at*at*x + at*at*at*t.x2
				}
				for _, dy := range [...]float64{-t.e.Width/2 - 10, t.e.Width/2 + 10} {
					b := labelBox{x - half - 3, y + dy - 8, x + half + 3, y + dy + 8}
					over := 0.0
					for _, o := range taken {
						over += b.overlap(o)
					}
					if over < least {
						best, least = b, over
					}
				}
				if least == 0 {
					break
				}
			}
			taken = append(taken, best)
			s.text("s m halo", (best.x0+best.x1)/2, (best.y0+best.y1)/2+4, text)
		}
	}
	for i, n := range g.Nodes {
		x, y := pos(i)
		s.el("circle", "class", "node", "cx", x, "cy", y, "r", 6)
		switch {
		case small:
			anchor := "m"
			tx := edgeX(x, width)
			if tx == 0 {
				anchor = ""
			} else if tx == width {
				anchor = "e"
			}
			s.text("s k halo "+anchor, tx, y-12, n.Name)
			s.text("s halo "+anchor, tx, y+22, fit(n.Text, 12, 116))
		case n.Column == 0:
			s.text("k e halo", x-16, y, n.Name)
			s.text("s e halo", x-16, y+15, fit(n.Text, 12, 150))
		case n.Column == 1:
			s.text("k m halo", x, y-14, n.Name)
			s.text("s m halo", x, y+24, fit(n.Text, 12, 200))
		default:
			s.text("k halo", x+16, y, n.Name)
			s.text("s halo", x+16, y+15, fit(n.Text, 12, 150))
		}
	}
	s.close("svg")
	return s.String()
}
