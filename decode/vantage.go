package decode

import (
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
)

// vantageFrames are the packets of a capture that are compared with another's.
const vantageFrames = 20000

// Vantages parts the captures among files by the place where they were taken:
// two that hold the same packets (a fifth of the smaller sample or more) were
// taken at two places on their way. Captures that share nothing, such as the
// files of a rotated set, stay together. The first group also has all files
// that are no captures, except that key logs are in every group.
func Vantages(files []*container.File) [][]*container.File {
	type sampled struct {
		file *container.File
		seen map[uint64]struct{}
	}
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
		s := sampled{f, sample(f)}
		at := slices.IndexFunc(groups, func(g []sampled) bool {
			return !slices.ContainsFunc(g, func(o sampled) bool { return samePackets(s.seen, o.seen) })
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

// sample is the identities of a capture's first packets; nil when it is read
// only once.
func sample(f *container.File) map[uint64]struct{} {
	if f.Once() {
		return nil
	}
	r, err := f.Open()
	if err != nil {
		return nil
	}
	defer r.Close()
	body, _, err := container.NewReader(r, container.Limits{})
	if err != nil {
		return nil
	}
	defer body.Close()
	frames, err := pcap.NewReader(body)
	if err != nil {
		return nil
	}
	seen := map[uint64]struct{}{}
	d := link.NewDecoder()
	var fr pcap.Frame
	var p link.Packet
	for n := 0; n < vantageFrames && frames.Next(&fr) == nil; n++ {
		if d.Decode(uint16(fr.Link), fr.Data, fr.OrigLen, fr.Time, &p) == link.Used && p.WireLen > 0 {
			seen[identity(&p)] = struct{}{}
		}
	}
	return seen
}

func samePackets(a, b map[uint64]struct{}) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(a) < 8 {
		return false
	}
	shared := 0
	for h := range a {
		if _, ok := b[h]; ok {
			shared++
		}
	}
	return shared*5 >= len(a)
}
