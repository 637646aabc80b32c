package report

import (
	"slices"
	"strings"
)

// timeScale places instants truly in time, with the stretches cut out in which
// nothing happens for more than a quarter of a second.
type timeScale struct {
	segs []stretch
	x    float64
}

type stretch struct {
	from, to int64 // ns from t = 0
	a, z     float64
}

const (
	cutAfter  = int64(250e6)
	cutHeight = 18.0
)

// scale spreads the messages of a ladder over the height from top to bottom.
func (l *Ladder) scale(x, top, bottom float64) timeScale {
	var ts []int64
	for _, r := range l.Rows {
		if r.Kind == "message" {
			ts = append(ts, r.At, max(r.At, r.Until))
		}
	}
	sc := timeScale{x: x}
	if len(ts) == 0 {
		return sc
	}
	slices.Sort(ts)
	active := int64(0)
	for i, t := range ts {
		if i == 0 || t-ts[i-1] > cutAfter {
			sc.segs = append(sc.segs, stretch{from: t, to: t})
			continue
		}
		s := &sc.segs[len(sc.segs)-1]
		active += t - s.to
		s.to = t
	}
	n := float64(len(sc.segs))
	least := min(10.0, (bottom-top)/n/2)
	cut := min(cutHeight, (bottom-top)/n/3)
	free := max(0, bottom-top-cut*(n-1)-least*n)
	y := top
	for i := range sc.segs {
		s := &sc.segs[i]
		h := least
		if active > 0 {
			h += free * float64(s.to-s.from) / float64(active)
		} else {
			h += free / n
		}
		s.a, s.z = y, y+h
		y += h + cut
	}
	return sc
}

func (sc timeScale) at(t int64) float64 {
	for i, s := range sc.segs {
		if t <= s.to || i == len(sc.segs)-1 {
			if t <= s.from {
				if i > 0 && t < s.from { // in a cut
					return (sc.segs[i-1].z + s.a) / 2
				}
				return s.a
			}
			if s.to == s.from {
				return s.z
			}
			return min(s.a+(s.z-s.a)*float64(t-s.from)/float64(s.to-s.from), s.z)
		}
	}
	return 0
}

// draw writes the axis: a line where time is true, dots where it is cut.
func (sc timeScale) draw(s *svg) {
	if len(sc.segs) == 0 {
		return
	}
	last := -1e9
	for i, g := range sc.segs {
		s.line("ax", sc.x, g.a, sc.x, g.z)
		if i > 0 {
			s.line("ax dot", sc.x, sc.segs[i-1].z, sc.x, g.a)
		}
		lo, hi := float64(g.from)/1e9, float64(g.to)/1e9
		ticks := niceTicks(lo, hi, max(1, int((g.z-g.a)/44)))
		if len(ticks) == 0 || g.to == g.from {
			ticks = []Tick{{lo, ""}}
		}
		for _, t := range ticks {
			y := sc.at(int64(t.V * 1e9))
			s.line("ax", sc.x-4, y, sc.x, y)
			text := t.Text
			if text == "" {
				text = trimZeros(fixed(t.V, 3))
			}
			if y >= last+14 {
				s.text("s e", sc.x-7, y+4, text)
				last = y
			}
		}
	}
}

// trimZeros takes the zeros after the decimal point away.
func trimZeros(t string) string {
	if strings.Contains(t, ".") {
		return strings.TrimRight(strings.TrimRight(t, "0"), ".")
	}
	return t
}

// scaleSVG draws a call with its rungs truly in time; the labels stand evenly
// at the left, each led to its rung.
func (l *Ladder) scaleSVG(width float64, class string) string {
	s := &svg{}
	const labelW, axisX = 210.0, 290.0
	left, right := axisX+40, width-40
	x := l.laneX(left, right)
	_, top := l.headText(x, axisX-20, width)
	top += 10
	n := 0
	for _, r := range l.Rows {
		if r.Kind != "fold" {
			n++
		}
	}
	h := top + 22*float64(n) + 14
	s.begin(class, width, h, "Ladder of "+l.Title+", to scale in time")
	l.heads(s, x, axisX-20, width, h-6)
	sc := l.scale(axisX, top+4, h-14)
	sc.draw(s)
	y := top + 4
	for i := range l.Rows {
		r := &l.Rows[i]
		if r.Kind == "fold" {
			continue
		}
		ry := sc.at(r.At)
		text, cls, px := r.Label, "lab", 13.0
		if r.Again != "" {
			text += " (" + strings.TrimPrefix(r.Again, "again, ") + ")"
		}
		if r.Failed {
			cls += " rt"
		}
		if r.Kind == "media" {
			cls, px = "lab s", 12
		}
		linked := r.Detail != nil
		if linked {
			s.open("a", "class", "rung", "href", "#"+r.Detail.ID, "data-d", r.Detail.ID)
		} else {
			s.open("g", "class", "rung")
		}
		s.rect("hit", 0, y-11, axisX-34, 21)
		s.label(cls, 2, y+4, fit(text, px, labelW-10-textWidth(r.Time, 12)), text)
		s.text("s e tm", labelW+8, y+4, r.Time)
		s.el("path", "class", "lead", "d", "M"+num(labelW+12)+" "+num(y)+"h6L"+num(axisX-34)+" "+num(ry)+"h4")
		if r.Kind == "message" {
			rungLine(s, r, x[r.From], x[r.To], ry)
		}
		if linked {
			s.close("a")
		} else {
			s.close("g")
		}
		y += 22
	}
	nth := map[int]int{}
	for _, b := range l.Media {
		d := sign(x[b.Peer] - x[b.Lane])
		k := nth[b.Lane]
		nth[b.Lane]++
		if k > 3 {
			continue
		}
		px := x[b.Lane] + d*(4+float64(k)*8)
		if d < 0 {
			px -= 6
		}
		a, z := sc.at(b.From), sc.at(b.To)
		s.open("g")
		s.title(b.Tip)
		s.rect("med", px, a, 6, max(z-a, 3))
		s.close("g")
	}
	s.close("svg")
	return s.String()
}
