package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

// FlowOptions choose what Flow writes and how.
type FlowOptions struct {
	CallID string         // "" is all calls
	By     string         // "" one ladder a call; "scenario" the typical one of each
	Format string         // "" or "text", "svg", "mermaid"
	Width  int            // columns of text; 0 is 100
	Zone   *time.Location // of displayed times; nil is UTC
}

// Flow writes ladders: of all calls, of one, or the typical one of each
// scenario. A call that the dataset does not hold is an error.
func Flow(w io.Writer, d *table.Dataset, o FlowOptions) error {
	f := newFlows(d, clock{o.Zone})
	f.detail = 0
	out := &errWriter{w: w}
	n := 0
	var drawings, headings []string
	write := func(l *Ladder, heading, typicalOf string) error {
		var s string
		switch o.Format {
		case "", "text":
			width := o.Width
			if width <= 0 {
				width = 100
			}
			s = l.text(width, heading)
		case "svg":
			if typicalOf != "" {
				s = l.typicalSVG(wide, "w", "Typical ladder of: "+typicalOf)
			} else {
				s = l.svg(ladderW, "w")
			}
			drawings = append(drawings, s)
			headings = append(headings, heading)
			n++
			return nil
		case "mermaid":
			s = l.mermaid(heading)
		default:
			return fmt.Errorf("report: wanted flow format text, svg or mermaid, found %q", o.Format)
		}
		if n > 0 {
			s = "\n" + s
		}
		n++
		_, err := io.WriteString(out, s)
		return err
	}
	switch o.By {
	case "":
		for i := range d.Calls {
			c := &d.Calls[i]
			if o.CallID != "" && c.CallID != o.CallID && c.CallSID != o.CallID {
				continue
			}
			l := f.build(c, "c", false)
			if len(l.Rows) == 0 && o.CallID == "" {
				continue
			}
			heading := l.Title
			if l.Sub != "" {
				heading += "  " + l.Sub
			}
			if len(d.Experiments) > 1 && c.Experiment != "" {
				heading = show(c.Experiment, 60) + ": " + heading
			}
			heading += "  " + scenarioTitle(c)
			if err := write(&l, heading, ""); err != nil {
				return err
			}
		}
		if n == 0 && o.CallID != "" {
			return fmt.Errorf("report: no call %q in the dataset; `calls` lists them", show(o.CallID, 80))
		}
	case "scenario":
		names, by, _ := f.byScenario(func(c *sessions.Call) bool {
			return o.CallID == "" || c.CallID == o.CallID || c.CallSID == o.CallID
		})
		for _, name := range names {
			l, _ := f.typical(by[name], "s")
			if l == nil {
				continue
			}
			if err := write(l, name+", "+plural(int64(len(by[name])), "call", "calls"), name); err != nil {
				return err
			}
		}
		if s := submission(d, "m"); s != nil && o.CallID == "" {
			if err := write(s.Typical, s.Title+", "+s.Count, s.Title); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("report: wanted flows by scenario or by call, found %q", o.By)
	}
	if o.Format == "svg" {
		if _, err := io.WriteString(out, standalone(drawings, headings)); err != nil {
			return err
		}
	}
	return out.err
}

// text draws a ladder for a terminal: time, then one column a lane. Every text
// in it has gone through show, so no control character is left.
func (l *Ladder) text(width int, heading string) string {
	var b strings.Builder
	b.WriteString(clip(heading, width) + "\n")
	typical := false
	for _, r := range l.Rows {
		typical = typical || r.Spread != nil
	}
	const timeW = 13
	spreadW := 0
	if typical {
		spreadW = 30
	}
	n := max(len(l.Lanes), 1)
	first := timeW
	if typical {
		first = 1
	}
	space := max(width-first-spreadW-2, 12*n)
	step := space
	if n > 1 {
		step = min(max((space-12)/(n-1), 12), 52)
	}
	margin := min(6, step/2)
	x := make([]int, n)
	for i := range x {
		x[i] = first + margin + i*step
	}
	end := first + 2*margin + (n-1)*step + 1
	blank := func() []rune {
		row := []rune(strings.Repeat(" ", end))
		for i := range l.Lanes {
			row[x[i]] = '│'
		}
		return row
	}
	put := func(row []rune, at int, s string) []rune {
		for _, r := range s {
			if at >= 0 && at < len(row) {
				row[at] = r
			}
			at++
		}
		return row
	}
	flush := func(row []rune) { b.WriteString(strings.TrimRight(string(row), " ") + "\n") }
	for k := range 2 {
		row := []rune(strings.Repeat(" ", end+step/2))
		for i, ln := range l.Lanes {
			t := ln.Role
			if k == 1 {
				if t = ln.Address; t == "" {
					t = ln.Name
				}
			}
			t = fitRunes(t, step-1)
			row = put(row, max(x[i]-utf8.RuneCountInString(t)/2, first), t)
		}
		flush(row)
	}
	for i := range l.Rows {
		r := &l.Rows[i]
		row := blank()
		switch r.Kind {
		case "fold":
			t := "· · · " + r.Label + " · · ·"
			row = []rune(strings.Repeat(" ", max(end, first+margin+utf8.RuneCountInString(t))))
			row = put(row, max(first, (first+end-utf8.RuneCountInString(t))/2), t)
			if typical && r.Spread != nil {
				row = append(row, []rune("  "+r.Spread.Text)...)
			}
			flush([]rune(clip(string(row), width)))
		case "media":
			for k, t := range append([]string{r.Label}, r.Lines...) {
				row := blank()
				if k == 0 {
					row = put(row, 0, fmt.Sprintf("%*s", timeW-2, r.Time))
				}
				a, z := x[r.From], x[r.To]
				if a > z {
					a, z = z, a
				}
				at := (a+z)/2 - utf8.RuneCountInString(t)/2
				if utf8.RuneCountInString(t) > z-a-3 {
					at = a + 2
				}
				at = max(at, first)
				if over := at + utf8.RuneCountInString(t) - len(row); over > 0 {
					row = append(row, []rune(strings.Repeat(" ", over))...)
				}
				if a < at { // bars beside the lanes
					row[a] = '┃'
				}
				if z >= at+utf8.RuneCountInString(t) {
					row[z] = '┃'
				}
				flush([]rune(clip(string(put(row, at, t)), width)))
			}
		default:
			if !typical {
				row = put(row, 0, fmt.Sprintf("%*s", timeW-2, r.Time))
			}
			label := r.Label
			if r.Again != "" {
				label += " (" + r.Again + ")"
			}
			if r.Failed {
				label = "✗ " + label
			}
			a, z := x[r.From], x[r.To]
			if a == z {
				row = put(row, a, "├╴"+label)
			} else {
				right := a < z
				if !right {
					a, z = z, a
				}
				body := z - a - 1 // between the lanes
				dash := '─'
				switch {
				case r.Again != "" || r.Style == "dtls" || r.Style == "unseen":
					dash = '╌'
				case r.Style == "http":
					dash = '┄'
				case r.Style == "media":
					dash = '━'
				}
				line := []rune(strings.Repeat(string(dash), body))
				t := []rune(fitRunes(label, body-4))
				at := (body - len(t)) / 2
				copy(line[at:], t)
				// Lanes that the arrow passes stay visible under the dashes only.
				row = put(row, a+1, string(line))
				switch {
				case right && r.Again != "":
					row[z-1] = '▷'
				case right:
					row[z-1] = '▶'
				case r.Again != "":
					row[a+1] = '◁'
				default:
					row[a+1] = '◀'
				}
			}
			if typical && r.Spread != nil {
				row = append(row, []rune("  "+r.Spread.Text)...)
			}
			flush([]rune(clip(string(row), width)))
		}
	}
	if l.Note != "" {
		b.WriteString(clip(l.Note, width) + "\n")
	}
	return b.String()
}

// fitRunes cuts the end of a text that is longer than n.
func fitRunes(t string, n int) string {
	r := []rune(t)
	if len(r) <= n {
		return t
	}
	if n < 1 {
		return ""
	}
	return string(r[:n-1]) + "…"
}

func clip(s string, width int) string { return fitRunes(strings.TrimRight(s, " "), width) }

// mermaid writes a sequenceDiagram. Its parser has no quoting; what could end
// or change a line is written as a numbered entity, which the parser undoes.
func (l *Ladder) mermaid(heading string) string {
	var b strings.Builder
	b.WriteString("%% " + mermaidText(heading) + "\nsequenceDiagram\n")
	for i, ln := range l.Lanes {
		name := mermaidText(ln.Role)
		if t := ln.Address; t != "" {
			name += " " + mermaidText(t)
		} else if ln.Name != "" {
			name += " " + mermaidText(ln.Name)
		}
		fmt.Fprintf(&b, "    participant L%d as %s\n", i, name)
	}
	for i := range l.Rows {
		r := &l.Rows[i]
		switch r.Kind {
		case "fold", "media":
			if len(l.Lanes) == 0 {
				continue
			}
			from, to := 0, len(l.Lanes)-1
			lines := []string{mermaidText(r.Label)}
			if r.Kind == "media" {
				from, to = r.From, r.To
				for _, t := range r.Lines {
					lines = append(lines, mermaidText(t))
				}
			}
			over := fmt.Sprintf("L%d,L%d", from, to)
			if from == to {
				over = fmt.Sprintf("L%d", from)
			}
			fmt.Fprintf(&b, "    Note over %s: %s\n", over, strings.Join(lines, "<br/>"))
		default:
			arrow := "->>"
			switch {
			case r.Failed:
				arrow = "-x"
			case r.Again != "" || r.Style == "dtls" || r.Style == "http" || r.Style == "unseen":
				arrow = "-->>"
			}
			t := mermaidText(r.Label)
			if r.Again != "" {
				t += " (" + mermaidText(r.Again) + ")"
			}
			if r.Spread != nil && r.Spread.Text != "" {
				t += ", " + mermaidText(r.Spread.Text)
			} else if r.Time != "" {
				t += ", " + mermaidText(r.Time)
			}
			fmt.Fprintf(&b, "    L%d%sL%d: %s\n", r.From, arrow, r.To, t)
		}
	}
	return b.String()
}

func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x20, strings.ContainsRune("#;:%<>&\"'`{}[]()|\\", r):
			fmt.Fprintf(&b, "#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// standalone is one SVG file of its own, with its style and no script: the
// drawings one below the other, each under its heading.
func standalone(drawings, headings []string) string {
	style, err := assets.ReadFile("html/style.css")
	if err != nil {
		panic("report: style.css is embedded: " + err.Error())
	}
	// Only what drawings use: custom properties, and the block of drawings.
	head, rest, _ := strings.Cut(string(style), "* { box-sizing")
	_, rest, _ = strings.Cut(rest, "/* Drawings */")
	draw, _, _ := strings.Cut(rest, "/* Tables */")
	body := &svg{}
	width, y := 0.0, 0.0
	for i, d := range drawings {
		var w, h float64
		root, inner, _ := strings.Cut(d, ">")
		if _, err := fmt.Sscanf(root[strings.Index(root, `viewBox="0 0 `):], `viewBox="0 0 %g %g"`, &w, &h); err != nil {
			panic("report: a drawing begins with its viewBox: " + err.Error())
		}
		width = max(width, w)
		body.text("k h", 0, y+16, fit(headings[i], 16, w))
		body.open("svg", "y", y+34, "width", w, "height", h, "viewBox", "0 0 "+num(w)+" "+num(h))
		body.WriteString(inner)
		body.WriteByte('\n')
		y += h + 62
	}
	if len(drawings) == 0 {
		width, y = 320, 40
		body.text("k", 0, 24, "No call to draw.")
	}
	s := &svg{}
	s.open("svg", "xmlns", "http://www.w3.org/2000/svg", "viewBox", "-20 -12 "+num(width+40)+" "+num(y), "width", width+40, "height", y)
	s.WriteString("<style>" + head + draw + "svg { background: var(--paper); } svg svg { width: auto; } .h { font-size: 14px; font-weight: 600; }</style>")
	s.el("rect", "class", "ground", "x", -20.0, "y", -12.0, "width", width+40, "height", y, "fill", "var(--paper)")
	s.WriteString(body.String())
	s.close("svg")
	return s.String() + "\n"
}
