package decode

import (
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
)

// vantageFrames are the packets of a capture that are compared with another's.
const vantageFrames = 8192

// sampled is the first packets of a capture: their identities, sorted, and the
// time that they span.
type sampled struct {
	file        *container.File
	first, last int64
	ids         []uint64
}

// Vantages parts the captures among files by the place where they were taken:
// two that hold the same packets (a fifth of the smaller sample or more) were
// taken at two places on their way. Captures that share nothing, such as the
// files of a rotated set, stay together. The first group also has all files
// that are no captures, except that key logs are in every group.
func Vantages(files []*container.File) [][]*container.File {
	groups := [][]sampled{{}}
	var keys, rest []*container.File
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b *container.File) int { return strings.Compare(a.Name, b.Name) })
	var captures []*container.File
	for _, f := range files {
		c, err := f.Identify()
		switch {
		case err == nil && (c.Kind == container.Pcap || c.Kind == container.Pcapng):
			captures = append(captures, f)
		case err == nil && c.Kind == container.Keylog:
			keys = append(keys, f)
		default:
			rest = append(rest, f)
		}
	}
	if len(captures) < 2 {
		return [][]*container.File{files}
	}
	for _, f := range captures {
		s := sample(f)
		at := slices.IndexFunc(groups, func(g []sampled) bool {
			return !slices.ContainsFunc(g, func(o sampled) bool { return samePackets(&s, &o) })
		})
		if at < 0 {
			at = len(groups)
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], s)
	}
	out := make([][]*container.File, len(groups))
	for i, g := range groups {
		for _, s := range g {
			out[i] = append(out[i], s.file)
		}
		out[i] = append(out[i], keys...)
	}
	out[0] = append(out[0], rest...)
	return out
}

// sample reads a capture's first packets; none of one that is read only once.
func sample(f *container.File) sampled {
	s := sampled{file: f}
	if f.Once() {
		return s
	}
	(&source{file: f}).lookAhead(func(frames *pcap.Reader) {
		d := link.NewDecoder()
		var fr pcap.Frame
		var p link.Packet
		for n := 0; n < vantageFrames && frames.Next(&fr) == nil; n++ {
			if d.Decode(uint16(fr.Link), fr.Data, fr.OrigLen, fr.Time, &p) != link.Used || p.WireLen == 0 {
				continue
			}
			if s.first == 0 || fr.Time < s.first {
				s.first = fr.Time
			}
			s.last = max(s.last, fr.Time)
			s.ids = append(s.ids, identity(&p, endsOf(&p)))
		}
	})
	slices.Sort(s.ids)
	s.ids = slices.Clip(slices.Compact(s.ids))
	return s
}

// vantageSlack is by how much the clocks of two places may differ.
const vantageSlack = 60e9 // ns

// samePackets tells whether two samples of about the same time share a fifth
// of the smaller one. The files of a rotated set do not overlap in time, so a
// long set costs no comparisons.
func samePackets(a, b *sampled) bool {
	if a.first > b.last+vantageSlack || b.first > a.last+vantageSlack {
		return false
	}
	x, y := a.ids, b.ids
	least := min(len(x), len(y))
	if least < 8 {
		return false
	}
	shared := 0
	for len(x) > 0 && len(y) > 0 {
		switch {
		case x[0] < y[0]:
			x = x[1:]
		case x[0] > y[0]:
			y = y[1:]
		default:
			shared++
			x, y = x[1:], y[1:]
		}
	}
	return shared*5 >= least
}
