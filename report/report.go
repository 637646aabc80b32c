// Package report turns a dataset into what people read: one self-contained HTML
// page, and ladders as text, SVG or Mermaid.
//
// It sees rows of tables (internal/table) and nothing else, so a report drawn
// again from stored tables has the same bytes as the one the analysis drew.
// First a Page is built, plain data; then pixels. Units are in the names of the
// rows' columns; format.go alone makes text of numbers and times.
//
// Every text of a capture is hostile. It reaches the page through
// html/template's contextual escaping, or through the escaping of svg.go, or as
// JSON in a script element that is data; never through template.HTML, JS, CSS or
// URL. The page's content security policy allows no request and only the style
// and scripts of this package; it is a second fence, not the first.
//
// Not handled: a diagram of more than eight hosts of one call (the rest stand
// together), more than 200 calls of a scenario as ladders, more than 200 rows of
// a table, more than 20 calls of which nothing was captured. On paper the reasons of verdicts are unfolded; of a folded call only
// its line is printed. Where something is left out the page says how much, and where it is.
package report

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"

	"github.com/twtrace/twtrace/internal/table"
)

//go:embed html
var assets embed.FS

// document is what the template is executed with. CSS and JS are this
// package's own files, never text of a capture.
type document struct {
	*Page
	CSP   string
	Style template.CSS
	Boot  template.JS
	Live  bool
	Tol   float64
}

// Write writes the report of d as one HTML page.
func Write(w io.Writer, d *table.Dataset, o Options) error {
	page := Build(d, o)
	return writePage(w, page, tolerance(d))
}

func writePage(w io.Writer, page *Page, tol float64) error {
	doc := document{Page: page, Tol: tol}
	for _, set := range [][]Figure{page.Figures, page.RunFigures} {
		for _, f := range set {
			doc.Live = doc.Live || len(f.Plots) > 0
		}
	}
	doc.Live = doc.Live || page.Media != nil
	read := func(name string) (string, error) {
		b, err := fs.ReadFile(assets, "html/"+name)
		return string(b), err
	}
	style, err := read("style.css")
	if err != nil {
		return err
	}
	boot, err := read("boot.js")
	if err != nil {
		return err
	}
	doc.Style, doc.Boot = template.CSS(style), template.JS(boot)
	scripts, charts := hash(boot), ""
	if doc.Live {
		if charts, err = read("echarts/echarts.min.js.gz"); err != nil {
			return err
		}
		scripts = chartsHash + " " + scripts
	}
	doc.CSP = "default-src 'none'; style-src " + hash(style) + "; script-src " + scripts + "; base-uri 'none'; form-action 'none'"

	text, err := read("page.html")
	if err != nil {
		return err
	}
	out := &errWriter{w: w}
	// A drawing is written to the page directly, where the template calls for
	// it: the template writes in order, and svg.go has escaped it. So no text
	// ever has to be declared safe.
	draw := func(parts ...string) string {
		for _, s := range parts {
			io.WriteString(out, s)
		}
		return ""
	}
	var t *template.Template
	t, err = template.New("page").Funcs(template.FuncMap{
		"strip":      func(r VerdictRow) string { return draw(strip(r, tol)) },
		"stripScale": func() string { return draw(stripScale(tol)) },
		"plot": func(f Figure, p Plot) string {
			return draw(p.svg(p.Width, "w", f.alt()), p.svg(narrow, "n", f.alt()))
		},
		"live": func(p Plot) (*live, error) { return p.live() },
		"ladder": func(l Ladder) string {
			return draw(l.svg(ladderW, "w even"), l.scaleSVG(ladderW, "w true"), l.svg(narrow, "n"))
		},
		"typical": func(s Scenario) string { return draw(s.typicalSVG(wide, "w"), s.typicalSVG(narrow, "n")) },
		"graph":   func(g *Graph) string { return draw(g.svg(wide, "w"), g.svg(narrow, "n")) },
		"layout": func(f Figure) string {
			switch len(f.Plots) {
			case 3:
				return "three"
			case 2:
				return "two"
			}
			return "one"
		},
		"section": func(id string) *Section {
			for i := range page.Sections {
				if page.Sections[i].ID == id {
					return &page.Sections[i]
				}
			}
			return nil
		},
		// What is looked at on request is in the page compressed: the chart
		// library, and the ladders of all calls but the first.
		"charts": func() (string, error) { return draw(octets("charts", []byte(charts))), nil },
		"folded": func(scenario int, s Scenario) (string, error) {
			rest := s.Ladders
			if scenario == 0 && len(rest) > 0 {
				rest = rest[1:]
			}
			if len(rest) == 0 {
				return "", nil
			}
			page, calls := out.w, bytes.Buffer{}
			out.w = &calls
			err := t.ExecuteTemplate(out, "calls", rest)
			out.w = page
			return draw(compressed("calls", calls.Bytes())), err
		},
		"next":       func() string { return draw("\x00") }, // no text of the page holds one
		"tall":       func(t Table) bool { return len(t.Rows) > 24 },
		"openLadder": func(scenario, ladder int) bool { return scenario == 0 && ladder == 0 },
		"details": func(l Ladder) []*Detail {
			var ds []*Detail
			for i := range l.Rows {
				if l.Rows[i].Detail != nil {
					ds = append(ds, l.Rows[i].Detail)
				}
			}
			return ds
		},
	}).Parse(text)
	if err != nil {
		return fmt.Errorf("report: page template: %w", err)
	}
	if err := t.Execute(out, doc); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return out.err
}

// NotDrawn are tables and columns, as table.ReadDir takes them, that no part of a
// report is drawn from: legs, and most of what a message resource says, of which
// there may be millions.
func NotDrawn() []string {
	return []string{"legs", "messages.direction", "messages.error_code", "messages.body_chars", "messages.body_bytes", "messages.encoding",
		"messages.segments", "messages.segments_gsm", "messages.segments_160", "messages.time_resolution_s"}
}

// chartsHash is hash of the chart library, Apache ECharts 5.6.0. It is embedded as
// compressed would compress it: that takes 50 ms, more than all else of a small report.
const chartsHash = "'sha256-v0oiNSTkC3fDBL7GfhIiz1UfFIgM9Cxp3ARlWOEcB7E='"

// compressed is text as an element that no browser runs or shows: boot.js takes it
// out again. Base64 and gzip of the standard library are the same bytes always.
func compressed(class string, text []byte) string {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	z.Write(text)
	z.Close()
	return octets(class, b.Bytes())
}

// octets is what gzip made as such an element.
func octets(class string, gz []byte) string {
	return `<script type="application/octet-stream" class="packed ` + class + `">` + base64.StdEncoding.EncodeToString(gz) + "</script>"
}

// alt is what a screen reader says of a figure; its caption says the rest.
func (f Figure) alt() string {
	t := fmt.Sprintf("Figure %d", f.No)
	if len(f.Plots) > 0 && len(f.Plots[0].Panels) > 0 {
		t += ": " + f.Plots[0].Panels[len(f.Plots[0].Panels)-1].Title
	}
	return t
}

func (s Scenario) typicalSVG(width float64, class string) string {
	return s.Typical.typicalSVG(width, class, "Typical ladder of: "+s.Title)
}

// hash is a source expression of a content security policy.
func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(h[:]) + "'"
}

// errWriter keeps the first error, for writes whose caller cannot return one.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(p)
	e.err = err
	return n, err
}
