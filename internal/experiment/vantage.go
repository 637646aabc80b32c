package experiment

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/sessions"
)

// reading is what was read of an experiment's files.
type reading struct {
	decoder  *decode.Decoder // of the place that counts
	trace    *sessions.Trace
	inputs   []decode.Input
	captures []decode.Capture
}

// readAll reads an experiment. Captures taken at two places of one run hold the
// same packets: each place is read on its own, the one where calls arrive
// later (the endpoint's) counts, and the others only tell the difference.
func readAll(ctx context.Context, files []*container.File, opt Options) (*reading, error) {
	groups := decode.Vantages(files)
	places := make([]*reading, len(groups))
	for i, g := range groups {
		r, err := readPlace(ctx, g, opt)
		if err != nil {
			return nil, err
		}
		places[i] = r
	}
	if len(places) == 1 {
		return places[0], nil
	}
	best := 0
	for i := range places {
		if i > 0 && endpointSide(places[best].trace, places[i].trace) {
			best = i
		}
	}
	if best > 0 {
		// exports belong to the place that counts: read it again with them
		r, err := readPlace(ctx, append(slices.Clone(groups[best]), noCaptures(groups[0])...), opt)
		if err != nil {
			return nil, err
		}
		places[best] = r
		if places[0], err = readPlace(ctx, onlyCaptures(groups[0]), opt); err != nil {
			return nil, err
		}
	}
	main := places[best]
	for i, p := range places {
		if i != best {
			main.add(p)
		}
	}
	slices.SortStableFunc(main.inputs, func(a, b decode.Input) int { return strings.Compare(a.File, b.File) })
	return main, nil
}

func readPlace(ctx context.Context, files []*container.File, opt Options) (*reading, error) {
	dec, err := decode.Open(files, decode.Options{Start: opt.Start, End: opt.End, Progress: opt.Progress})
	if err != nil {
		return nil, err
	}
	b := sessions.New(dec.Files(), dec.Ledger())
	b.ShowDTMF = opt.ShowDTMF
	b.DialedCreated = opt.Rates.CallCreated == "dialed"
	for ev := range dec.Events(ctx) {
		b.Add(ev)
	}
	if err := dec.Err(); err != nil {
		return nil, err
	}
	first, last := dec.Span()
	return &reading{dec, b.Finalize(dec.Flows(), first, last), dec.Inputs(), dec.Captures()}, nil
}

func isCapture(f *container.File) bool {
	c, err := f.Identify()
	return err == nil && (c.Kind == container.Pcap || c.Kind == container.Pcapng)
}

func noCaptures(files []*container.File) []*container.File {
	return slices.DeleteFunc(slices.Clone(files), func(f *container.File) bool {
		c, err := f.Identify()
		return isCapture(f) || err == nil && c.Kind == container.Keylog
	})
}

func onlyCaptures(files []*container.File) []*container.File {
	return slices.DeleteFunc(slices.Clone(files), func(f *container.File) bool {
		c, err := f.Identify()
		return !isCapture(f) && !(err == nil && c.Kind == container.Keylog)
	})
}

// endpointSide tells whether calls arrive later in b than in a: what comes to
// an endpoint passes the server's side first.
func endpointSide(a, b *sessions.Trace) bool {
	later, earlier := 0, 0
	for _, d := range lateness(a, b) {
		if d > 0 {
			later++
		} else if d < 0 {
			earlier++
		}
	}
	return later > earlier
}

// lateness is by how many ms each call that both saw arrived later in b.
func lateness(a, b *sessions.Trace) []float64 {
	at := map[string]decode.Time{}
	for i := range a.Calls {
		if c := &a.Calls[i]; c.ArrivedAt != 0 && c.ArrivedBy != "resource" {
			at[c.CallID] = c.ArrivedAt
		}
	}
	var out []float64
	for i := range b.Calls {
		c := &b.Calls[i]
		if t, ok := at[c.CallID]; ok && c.ArrivedAt != 0 && c.ArrivedBy != "resource" {
			out = append(out, float64(c.ArrivedAt-t)/1e6)
		}
	}
	slices.Sort(out)
	return out
}

// latencies are how much later each call arrived in b than in a. One that
// arrived earlier shows that the clocks of the two differ: then nothing is known.
func latencies(a, b *sessions.Trace) []sessions.Latency {
	at := map[string]decode.Time{}
	for i := range a.Calls {
		if c := &a.Calls[i]; c.ArrivedAt != 0 && c.ArrivedBy != "resource" {
			at[c.CallID] = c.ArrivedAt
		}
	}
	var out []sessions.Latency
	for i := range b.Calls {
		c := &b.Calls[i]
		t, ok := at[c.CallID]
		if !ok || c.ArrivedAt == 0 || c.ArrivedBy == "resource" {
			continue
		}
		if c.ArrivedAt < t {
			return nil
		}
		out = append(out, sessions.Latency{CallID: c.CallID, MS: float64(c.ArrivedAt-t) / 1e6, By: "captures"})
	}
	return out
}

// widen makes the error of an arrival as large as its latency was seen to be.
func widen(t *sessions.Trace, list []sessions.Latency) {
	late := map[string]float64{}
	for _, l := range list {
		late[l.CallID] = l.MS
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		if ms := late[c.CallID]; c.ArrivedErrorMS.Known && ms > c.ArrivedErrorMS.V {
			c.ArrivedErrorMS.V = ms
		}
	}
	for i := range t.Arrivals {
		a := &t.Arrivals[i]
		ms := late[a.CallID]
		if a.ArrivedBy == "resource" || !a.ArrivedErrorMS.Known || ms <= a.ArrivedErrorMS.V {
			continue
		}
		if a.WaitErrorS.Known {
			a.WaitErrorS.V += (ms - a.ArrivedErrorMS.V) / 1e3
		}
		a.ArrivedErrorMS.V = ms
	}
}

// add counts the captures of another place, and tells the difference.
func (r *reading) add(other *reading) {
	if l := latencies(other.trace, r.trace); len(l) > 0 {
		r.trace.Latencies = l
		widen(r.trace, l)
	}
	l := r.decoder.Ledger()
	for _, c := range other.captures {
		l.In(decode.LayerFrame, c.Packets)
		l.Out(decode.LayerFrame, "same packets, captured at another place", c.Packets, c.Bytes)
		o := sessions.Oddity{Rule: "duplicate-capture", Severity: "info", At: c.FirstAt, Subject: c.File, File: c.File,
			Text: fmt.Sprintf("%s holds the same packets, captured at another place; it is left out of all counts", c.File)}
		if d := lateness(other.trace, r.trace); len(d) > 0 {
			o.Text += fmt.Sprintf(". Calls arrived %.1f to %.1f ms later here than there, median %.1f ms", d[0], d[len(d)-1], d[len(d)/2])
		}
		r.trace.Oddities = append(r.trace.Oddities, o)
	}
	r.captures = append(r.captures, other.captures...)
	slices.SortStableFunc(r.captures, func(a, b decode.Capture) int { return cmp.Compare(a.File, b.File) })
	seen := map[string]bool{}
	for _, in := range r.inputs {
		seen[in.File] = true
	}
	for _, in := range other.inputs {
		if !seen[in.File] {
			r.inputs = append(r.inputs, in)
		}
	}
}

// placeOf leaves out the captures of other places than the streams were read
// at, so that their packets are not taken twice.
func placeOf(files []*container.File, streams []sessions.Stream) []*container.File {
	for _, g := range decode.Vantages(files) {
		for _, f := range g {
			if f.Name == streams[0].File {
				return g
			}
		}
	}
	return files
}
