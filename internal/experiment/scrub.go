package experiment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/link"
	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/internal/scrub"
	"github.com/twtrace/twtrace/internal/table"
)

// ScrubInfo tells what is in a scrubbed capture and what did not get there.
type ScrubInfo struct {
	Packets int64
	LeftOut []string // files, and kinds of packets, each with a count or a reason
	Zeroed  []scrub.Zeroed
	Damaged []string // captures of which only the packets before the damage are in it
}

// Scrub writes the packets of an experiment's captures as one pcapng in which
// everything that points to a person or a place is a pseudonym under key, or
// zero (package scrub). Nothing else of the files goes in: no keys, names,
// comments, exports.
func Scrub(ctx context.Context, e Experiment, key []byte, version string, w io.Writer) (*ScrubInfo, error) {
	captures := captureFiles(e.Files)
	if len(captures) == 0 {
		return nil, errors.New("want a capture, found exports only; their tables are without names with --redact")
	}
	if err := onePlace(captures); err != nil {
		return nil, err
	}
	info := &ScrubInfo{}
	for _, f := range e.Files {
		if c, err := f.Identify(); err != nil || c.Kind != container.Pcap && c.Kind != container.Pcapng {
			info.LeftOut = append(info.LeftOut, fmt.Sprintf("%s: no capture", f.Name))
		}
	}
	slices.Sort(info.LeftOut)
	about := &PackInfo{}
	p := &packer{ctx: ctx, info: about}
	drops, dropsKnown := int64(0), false
	for _, f := range captures {
		s, err := p.survey(f)
		if err != nil {
			return nil, err
		}
		drops += s.info.Drops
		dropsKnown = dropsKnown || s.info.DropsKnown
		if n := len(s.info.Secrets); n > 0 {
			info.LeftOut = append(info.LeftOut, fmt.Sprintf("%s: %d blocks of keys", f.Name, n))
		}
		if n := len(s.info.Names) + len(s.info.Comments); n > 0 {
			info.LeftOut = append(info.LeftOut, fmt.Sprintf("%s: %d names and comments", f.Name, n))
		}
	}
	info.Damaged = about.Damaged
	sc := scrub.New(table.NewPseudonyms(key))
	each := func(refused map[link.Verdict]int64, do func(fr *pcap.Frame, p *link.Packet) error) error {
		dec := link.NewDecoder()
		var packet link.Packet
		return p.merge(func(s *packSource) error {
			fr := &s.frame
			if v := dec.Decode(uint16(fr.Link), fr.Data, fr.OrigLen, fr.Time, &packet); v != link.Used {
				if refused != nil {
					refused[v]++
				}
				return nil
			}
			return do(fr, &packet)
		})
	}
	err := each(nil, func(_ *pcap.Frame, p *link.Packet) error {
		sc.Learn(p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	sc.Learned()
	out := pcap.NewNGSection(w, pcap.Section{Program: "twtrace " + version, Comments: []string{decode.AlteredBy + version +
		": numbers, names, addresses and identifiers are pseudonyms, the payload of media is zero, headers and checksums are new"}})
	iface, err := out.AddInterface(1, 0, 9)
	if err != nil {
		return nil, err
	}
	refused := map[link.Verdict]int64{}
	tooLarge, last := int64(0), int64(0)
	err = each(refused, func(fr *pcap.Frame, p *link.Packet) error {
		frame, size := sc.Rewrite(p)
		if frame == nil {
			tooLarge++
			return nil
		}
		info.Packets++
		last = max(last, fr.Time)
		return out.WritePacket(iface, fr.Time, frame, size, "")
	})
	if err != nil {
		return nil, err
	}
	if dropsKnown {
		if err := out.WriteDrops(iface, last, drops); err != nil {
			return nil, err
		}
	}
	verdicts := make([]link.Verdict, 0, len(refused))
	for v := range refused {
		verdicts = append(verdicts, v)
	}
	slices.SortFunc(verdicts, func(a, b link.Verdict) int { return cmp.Compare(a, b) })
	for _, v := range verdicts {
		if v == link.IPFragment {
			info.LeftOut = append(info.LeftOut, fmt.Sprintf("%d fragments, each with the packet that it became part of, if it did", refused[v]))
			continue
		}
		info.LeftOut = append(info.LeftOut, fmt.Sprintf("%d frames: %s, %s", refused[v], v.Layer(), v))
	}
	if tooLarge > 0 {
		info.LeftOut = append(info.LeftOut, fmt.Sprintf("%d packets that no IP packet holds any more", tooLarge))
	}
	info.Zeroed = sc.Zeroed()
	return info, nil
}
