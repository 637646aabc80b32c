package experiment

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/pcap"
)

// PackInfo tells what went into a packed file and what did not.
type PackInfo struct {
	Packets  int64
	Captures []string // merged
	Files    []string // attached: manifest, exports, queue log
	Secrets  int64    // key log lines that are in it
	LeftOut  []string // what is not in it, each with its reason
	Damaged  []string // captures of which only the packets before the damage are in it
}

// Pack writes an experiment as one pcapng: the packets of its captures in order
// of time, with the names, interfaces, comments and drop counts that came with
// them, and its manifest, exports and queue log attached (pcap.Attachment). What
// key logs and captures hold of secrets goes in only with keys set.
//
// Not kept: packet flags and hashes, blocks without packets that are none of
// the above, files of no known kind.
func Pack(ctx context.Context, e Experiment, keys bool, version string, w io.Writer) (*PackInfo, error) {
	info := &PackInfo{}
	captures := captureFiles(e.Files)
	if len(captures) == 0 {
		return nil, errors.New("want a capture, found exports only; `tar czf` packs those, and every verb reads a tar.gz")
	}
	if err := onePlace(captures); err != nil {
		return nil, err
	}
	p := &packer{ctx: ctx, info: info}
	var secrets [][]byte
	about := pcap.Section{Program: "twtrace " + version, Comments: []string{"experiment " + e.Name + ", packed by twtrace"}}
	for _, f := range captures {
		s, err := p.survey(f)
		if err != nil {
			return nil, err
		}
		info.Captures = append(info.Captures, f.Name)
		for _, c := range s.info.Comments {
			if c.Frame == 0 && !slices.Contains(about.Comments, c.Text) {
				about.Comments = append(about.Comments, c.Text)
			}
		}
		for _, x := range s.info.Secrets {
			if x.Type == pcap.SecretTLS {
				secrets = append(secrets, x.Data)
			} else {
				p.leave("%s: secrets that are no key log", f.Name)
			}
		}
		for _, k := range s.info.Skipped {
			p.leave("%s: %d of %s", f.Name, k.Count, k.Reason)
		}
	}
	logs, err := p.attach(e, &about)
	if err != nil {
		return nil, err
	}
	secrets = append(secrets, logs...)
	lines := int64(0)
	for _, s := range secrets {
		lines += int64(bytes.Count(bytes.TrimSpace(s), []byte("\n"))) + 1
	}
	out := pcap.NewNGSection(w, about)
	switch {
	case keys:
		info.Secrets = lines
		for _, s := range secrets {
			if err := writeSecrets(out, s); err != nil {
				return nil, err
			}
		}
	case lines > 0:
		p.leave("%d lines of keys; --with-keys takes them in", lines)
	}
	return info, p.write(out)
}

// onePlace refuses captures that hold the same packets twice.
func onePlace(captures []*container.File) error {
	if groups := decode.Vantages(captures); len(groups) > 1 {
		return fmt.Errorf("%s and %s were taken at two places of one run, which one file cannot keep apart; do it with each place's files on their own, or use tar", groups[0][0].Name, groups[1][0].Name)
	}
	return nil
}

// writeSecrets writes key log text, in blocks that end with a line.
func writeSecrets(out *pcap.NGWriter, text []byte) error {
	const most = 8 << 20
	for len(text) > most {
		n := bytes.LastIndexByte(text[:most], '\n') + 1
		if n == 0 {
			break
		}
		if err := out.WriteSecrets(pcap.SecretTLS, text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return out.WriteSecrets(pcap.SecretTLS, text)
}

type packer struct {
	ctx     context.Context
	info    *PackInfo
	sources []*packSource
}

// packSource is one capture while it is merged.
type packSource struct {
	file    *container.File
	index   int
	first   int64     // ns, of the first frame
	info    pcap.Info // of the whole file
	numbers []int     // of its interfaces in the output, by Frame.Interface; -1 not yet
	byLink  map[pcap.LinkType]int
	reader  *pcap.Reader
	close   func()
	frame   pcap.Frame
	seen    int // comments that were looked at
}

func (p *packer) leave(format string, args ...any) {
	p.info.LeftOut = append(p.info.LeftOut, fmt.Sprintf(format, args...))
}

// survey reads a capture once for what stands before its packets in the output.
func (p *packer) survey(f *container.File) (*packSource, error) {
	if f.Once() {
		return nil, fmt.Errorf("%s: is read twice, which a pipe cannot be; write it to a file and name that", f.Name)
	}
	s := &packSource{file: f, index: len(p.sources), byLink: map[pcap.LinkType]int{}}
	p.sources = append(p.sources, s)
	r, done, err := openCapture(f)
	if err != nil {
		p.info.Damaged = append(p.info.Damaged, fmt.Sprintf("%s: %v", f.Name, err))
		return s, nil
	}
	defer done()
	var fr pcap.Frame
	for n := 0; ; n++ {
		if n%4096 == 0 && p.ctx.Err() != nil {
			return nil, p.ctx.Err()
		}
		if err = r.Next(&fr); err != nil {
			break
		}
		if n == 0 {
			s.first = fr.Time
		}
	}
	if !errors.Is(err, io.EOF) {
		p.info.Damaged = append(p.info.Damaged, fmt.Sprintf("%s: %v", f.Name, err))
	}
	s.info = *r.Info()
	return s, nil
}

// attach gathers the files that are no captures; logs are the key logs' texts.
func (p *packer) attach(e Experiment, about *pcap.Section) (logs [][]byte, err error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	t := tar.NewWriter(z)
	names := map[string]bool{}
	for _, f := range slices.SortedFunc(slices.Values(e.Files), func(a, b *container.File) int { return strings.Compare(a.Name, b.Name) }) {
		if p.ctx.Err() != nil {
			return nil, p.ctx.Err()
		}
		c, err := f.Identify()
		switch {
		case err != nil:
			p.leave("%s: %v", f.Name, err)
			continue
		case c.Kind == container.Unknown:
			p.leave("%s: of no known kind", f.Name)
			continue
		case c.Kind == container.Pcap || c.Kind == container.Pcapng:
			continue
		}
		data, err := readAllOf(f)
		if err != nil {
			p.leave("%s: %v", f.Name, err)
			continue
		}
		if len(data) == maxSliceKeys {
			return nil, fmt.Errorf("%s: more than %d bytes; use tar, which every verb reads", f.Name, maxSliceKeys)
		}
		if c.Kind == container.Keylog {
			logs = append(logs, data)
			continue
		}
		name := packedName(e.Name, f.Name, names)
		p.info.Files = append(p.info.Files, name)
		err = t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Format: tar.FormatPAX})
		if err == nil {
			_, err = t.Write(data)
		}
		if err != nil {
			return nil, err
		}
		if buf.Len() > pcap.MaxHeader {
			return nil, pcap.ErrTooLarge
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	if len(p.info.Files) > 0 {
		about.Files = buf.Bytes()
		if c := "attached: " + strings.Join(p.info.Files, ", "); !slices.Contains(about.Comments, c) {
			about.Comments = append(about.Comments, c)
		}
	}
	return logs, pcap.CheckAttachment(len(about.Files))
}

// packedName is a file's name within the packed experiment: as in its folder,
// where that makes no run of its own.
func packedName(root, name string, taken map[string]bool) string {
	name = strings.TrimPrefix(name, root+"/")
	if dir := path.Dir(name); dir != "." && !slices.Contains(subfolders, dir) {
		name = strings.ReplaceAll(name, "/", "-")
	}
	name = strings.TrimLeft(name, ".-")
	own := name
	for n := 2; taken[own]; n++ {
		own = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(name, path.Ext(name)), n, path.Ext(name))
	}
	taken[own] = true
	return own
}

// write writes names, packets and drops.
func (p *packer) write(out *pcap.NGWriter) error {
	var names []pcap.Name
	seen := map[pcap.Name]bool{}
	for _, s := range p.sources {
		for _, n := range s.info.Names {
			if !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	if err := out.WriteNames(names); err != nil {
		return err
	}
	last := int64(0)
	err := p.merge(func(s *packSource) error {
		last = max(last, s.frame.Time)
		p.info.Packets++
		return s.copy(out)
	})
	if err != nil {
		return err
	}
	for _, s := range p.sources {
		for i, about := range s.info.Described {
			if about.DropsKnown && i < len(s.numbers) {
				if err := out.WriteDrops(s.numbers[i], last, about.Drops); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// merge gives all packets: the earliest of those that come next in their files,
// as an analysis reads them.
func (p *packer) merge(do func(*packSource) error) error {
	pending := slices.Clone(p.sources)
	slices.SortStableFunc(pending, func(a, b *packSource) int { return cmp.Compare(a.first, b.first) })
	var active []*packSource
	defer func() {
		for _, s := range active {
			s.close()
		}
	}()
	for n := 0; ; n++ {
		if n%4096 == 0 && p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		next := earliestPacket(active)
		for len(pending) > 0 && (next == nil || pending[0].first <= next.frame.Time) {
			s := pending[0]
			pending = pending[1:]
			if s.begin() {
				active = append(active, s)
			}
			next = earliestPacket(active)
		}
		if next == nil {
			return nil
		}
		if err := do(next); err != nil {
			return err
		}
		if next.reader.Next(&next.frame) != nil {
			next.close()
			active = slices.DeleteFunc(active, func(s *packSource) bool { return s == next })
		}
	}
}

func earliestPacket(active []*packSource) *packSource {
	var best *packSource
	for _, s := range active {
		if best == nil || s.frame.Time < best.frame.Time || s.frame.Time == best.frame.Time && s.index < best.index {
			best = s
		}
	}
	return best
}

// begin opens a capture for its packets; false when there is none.
func (s *packSource) begin() bool {
	r, done, err := openCapture(s.file)
	if err != nil {
		return false
	}
	if r.Next(&s.frame) != nil {
		done()
		return false
	}
	s.reader, s.close = r, done
	return true
}

// copy writes the present frame.
func (s *packSource) copy(out *pcap.NGWriter) error {
	fr := &s.frame
	n, err := s.number(out, fr)
	if err != nil {
		return err
	}
	comment := ""
	all := s.reader.Info().Comments
	for ; s.seen < len(all); s.seen++ {
		if all[s.seen].Frame == fr.Number && len(comment)+len(all[s.seen].Text) < 60_000 {
			comment = strings.TrimPrefix(comment+"\n"+all[s.seen].Text, "\n")
		}
	}
	return out.WritePacket(n, fr.Time, fr.Data, fr.OrigLen, comment)
}

// number is the output's number of a frame's interface, which is described when
// the first packet of the file comes: all of them, for an interface may have
// lost packets and captured none.
func (s *packSource) number(out *pcap.NGWriter, fr *pcap.Frame) (int, error) {
	if s.numbers == nil {
		for _, about := range s.info.Described {
			n, err := out.Describe(about, 9)
			if err != nil {
				return 0, err
			}
			s.numbers = append(s.numbers, n)
		}
	}
	if fr.Interface < len(s.numbers) {
		return s.numbers[fr.Interface], nil
	}
	n, ok := s.byLink[fr.Link]
	if !ok {
		var err error
		if n, err = out.AddInterface(fr.Link, uint32(s.info.SnapLen), 9); err != nil {
			return 0, err
		}
		s.byLink[fr.Link] = n
	}
	return n, nil
}
