package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/internal/table"
)

// verifyCommand holds twtrace against tshark on the user's own captures.
func (a *app) verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "verify INPUT...",
		Short:   "Compare packets, SIP messages, calls and streams with what tshark finds, and explain each difference",
		GroupID: "main",
		Long: "Runs the tshark that is installed on every capture among the INPUTs, with the same keys, and prints what both found.\n" +
			"A difference that twtrace can account for by its own figures says how; any other is marked: one of the two is wrong there.\n" +
			"docs/differences.md has those that are known. Captures inside archives and on standard input are not compared.",
		Example: "  twtrace verify capture.pcapng keys.log\n  twtrace verify experiments/ -f csv",
		Args:    someInput,
		RunE:    func(_ *cobra.Command, args []string) error { return a.verify(args) },
	}
	a.inputFlags(c)
	a.gridFlags(c)
	return c
}

func (a *app) verify(args []string) error {
	format, err := a.gridFormat()
	if err != nil {
		return err
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		return errors.New("tshark is not installed (no program of that name in PATH): there is nothing to compare with")
	}
	captures, keys, err := findCaptures(args)
	if err != nil {
		return err
	}
	if len(captures) == 0 {
		return fmt.Errorf("%s: no capture that tshark could open too (archives and standard input are not compared)", strings.Join(args, ", "))
	}
	named := append(slices.Clone(a.keys), keys[""]...)
	g := grid{columns: []string{"file", "what", "subject", "twtrace", "tshark", "result", "why"}}
	open := 0
	code := 0
	for _, file := range captures {
		with := append(slices.Clone(named), keys[filepath.Dir(file)]...)
		a.code = exitOK
		d, err := a.dataset(append([]string{file}, with...))
		if err != nil {
			return err
		}
		code = max(code, a.code)
		theirs, err := a.askTshark(tshark, file, with)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, r := range compareWith(d, theirs) {
			if r.result == "differs" {
				open++
			}
			g.rows = append(g.rows, []any{file, r.what, text(r.subject), r.ours, r.theirs, r.result, text(r.why)})
		}
	}
	a.code = code
	if err := a.writeTo(a.output, func(w io.Writer) error { return g.write(w, format) }); err != nil {
		return err
	}
	if open > 0 {
		a.say(levelWarn, "%d differences have no explanation here; docs/differences.md has those that are known", open)
	}
	return nil
}

// findCaptures are the captures among files and folders, in order of their
// names, and the key logs by folder; those that were named stand under "".
func findCaptures(args []string) (captures []string, keys map[string][]string, err error) {
	keys = map[string][]string{}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if arg == "-" || err != nil && errors.Is(err, fs.ErrNotExist) {
			return nil, nil, usagef("%s: want a file or folder that tshark can open too", arg)
		} else if err != nil {
			return nil, nil, err
		}
		dir, root, named := arg, ".", ""
		if !info.IsDir() {
			dir, root = filepath.Split(arg)
			dir = cmp.Or(dir, ".")
		}
		err = container.Walk(os.DirFS(dir), root, func(f *container.File) error {
			name := filepath.Join(dir, filepath.FromSlash(f.Name))
			if i, err := os.Stat(name); err != nil || !i.Mode().IsRegular() {
				return nil // a member of an archive
			}
			c, err := f.Identify()
			switch {
			case err != nil: // the other verbs say what is wrong with it
			case c.Kind == container.Pcap || c.Kind == container.Pcapng:
				captures = append(captures, name)
			case c.Kind == container.Keylog:
				if info.IsDir() {
					named = filepath.Dir(name)
				}
				keys[named] = append(keys[named], name)
			}
			return nil
		}, func(string, error) {})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.Sort(captures)
	return slices.Compact(captures), keys, nil
}

// found is what tshark finds in a capture.
type found struct {
	packets  int64
	damaged  string // what it says of the file
	messages map[string]int64
	calls    map[string]bool // Call-IDs with an INVITE
	streams  []foundStream
}

type foundStream struct {
	src, dst         string
	srcPort, dstPort uint64
	ssrc             uint64
	packets, lost    int64
}

var (
	streamLine = regexp.MustCompile(`^\s*[\d.]+\s+[\d.]+\s+(\S+)\s+(\d+)\s+(\S+)\s+(\d+)\s+0x([0-9A-Fa-f]+)\s.*?\s(\d+)\s+(-?\d+) \(`)
	totalLine  = regexp.MustCompile(`^\|[^|]*<>[^|]*\|\s*(\d+)\s*\|`)
)

// askTshark runs tshark twice: for its counts and for each SIP message.
func (a *app) askTshark(tshark, file string, keys []string) (*found, error) {
	f := &found{messages: map[string]int64{}, calls: map[string]bool{}}
	var options []string
	if len(keys) > 0 {
		log, remove, err := joined(keys)
		if err != nil {
			return nil, err
		}
		defer remove()
		options = []string{"-o", "tls.keylog_file:" + log}
	}
	run := func(args ...string) ([]byte, error) {
		var out, errs bytes.Buffer
		c := exec.CommandContext(a.ctx, tshark, append(append([]string{"-n", "-r", file}, options...), args...)...)
		c.Stdout, c.Stderr = &out, &errs
		err := c.Run()
		if a.ctx.Err() != nil {
			return nil, a.ctx.Err()
		}
		if text := strings.TrimSpace(errs.String()); err != nil {
			lines := strings.Split(text, "\n")
			f.damaged = strings.TrimSpace(lines[len(lines)-1])
		}
		return out.Bytes(), nil
	}
	out, err := run("-q", "-z", "io,stat,0", "-z", "rtp,streams")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		if m := totalLine.FindStringSubmatch(line); m != nil {
			f.packets, _ = strconv.ParseInt(m[1], 10, 64)
		} else if m := streamLine.FindStringSubmatch(line); m != nil {
			s := foundStream{src: m[1], dst: m[3]}
			s.srcPort, _ = strconv.ParseUint(m[2], 10, 16)
			s.dstPort, _ = strconv.ParseUint(m[4], 10, 16)
			s.ssrc, _ = strconv.ParseUint(m[5], 16, 32)
			s.packets, _ = strconv.ParseInt(m[6], 10, 64)
			s.lost, _ = strconv.ParseInt(m[7], 10, 64)
			f.streams = append(f.streams, s)
		}
	}
	const between = "\x01" // within a frame of several messages
	out, err = run("-Y", "sip", "-T", "fields", "-E", "aggregator="+between, "-e", "sip.Call-ID", "-e", "sip.Method", "-e", "sip.Status-Code")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(fields) < 3 {
			continue
		}
		for _, kinds := range fields[1:3] {
			for _, kind := range strings.Split(kinds, between) {
				if kind != "" {
					f.messages[kind]++
				}
			}
		}
		if slices.Contains(strings.Split(fields[1], between), "INVITE") {
			for _, id := range strings.Split(fields[0], between) {
				f.calls[id] = true
			}
		}
	}
	return f, nil
}

// joined are several key logs as one file, which tshark wants.
func joined(keys []string) (name string, remove func(), err error) {
	if len(keys) == 1 {
		return keys[0], func() {}, nil
	}
	f, err := os.CreateTemp("", "twtrace-keys-*.log")
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	remove = func() { os.Remove(f.Name()) }
	for _, k := range keys {
		b, err := os.ReadFile(k)
		if err == nil {
			_, err = f.Write(append(b, '\n'))
		}
		if err != nil {
			remove()
			return "", nil, err
		}
	}
	return f.Name(), remove, nil
}

// agreement is one row of verify.
type agreement struct {
	what, subject string
	ours, theirs  string
	result, why   string // same, explained or differs
}

// compareWith puts a dataset of one capture beside tshark's findings.
func compareWith(d *table.Dataset, f *found) []agreement {
	var out []agreement
	add := func(what, subject, ours, theirs, why string) {
		r := agreement{what, subject, ours, theirs, "differs", why}
		switch {
		case ours == theirs:
			r.result, r.why = "same", ""
		case why != "":
			r.result = "explained"
		}
		out = append(out, r)
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	var packets, copies, blocks int64
	problem := ""
	for i := range d.Captures {
		c := &d.Captures[i]
		packets += c.Packets
		copies += c.DuplicatePackets
		problem = cmp.Or(problem, c.Problem)
	}
	for i := range d.Ledger {
		if l := &d.Ledger[i]; l.Layer == "frame" && strings.Contains(l.Reason, "block") {
			blocks += l.Count
		}
	}
	why := ""
	switch {
	case problem != "" || f.damaged != "":
		why = "the file is damaged: twtrace says " + strconv.Quote(cmp.Or(problem, "nothing")) + ", tshark " + strconv.Quote(cmp.Or(f.damaged, "nothing"))
	case blocks > 0 && packets-blocks == f.packets || blocks > 0 && packets == f.packets-blocks:
		why = n(blocks) + " blocks that hold no packet are counted by one of the two"
	}
	add("packets", "", n(packets), n(f.packets), why)

	ours := map[string]int64{}
	for _, s := range d.Signals.All() {
		if s.Protocol == "sip" {
			ours[s.Kind]++
		}
	}
	for k := range f.messages {
		ours[k] += 0
	}
	for _, k := range slices.Sorted(maps.Keys(ours)) {
		why := ""
		if copies > 0 && ours[k] < f.messages[k] {
			why = "copies of packets by a mirror port, VLAN or router are counted once: " + n(copies) + " in this capture"
		}
		add("sip messages", k, n(ours[k]), n(f.messages[k]), why)
	}

	have := map[string]int{}
	for i := range d.Calls {
		for _, id := range d.Calls[i].SIPCallIDs {
			have[id]++
		}
	}
	missing := 0
	for _, id := range slices.Sorted(maps.Keys(f.calls)) {
		if have[id] != 1 {
			missing++
			add("call", id, n(int64(have[id])), "1", "")
		}
	}
	add("calls", "Call-IDs with an INVITE", n(int64(len(f.calls)-missing)), n(int64(len(f.calls))), "")

	seen := map[int]bool{}
	streams := d.Streams.Slice()
	for _, s := range f.streams {
		i := -1
		for k := range streams {
			if r := &streams[k]; uint64(r.SSRC) == s.ssrc && r.Src == s.src && r.Dst == s.dst && uint64(r.SrcPort) == s.srcPort && uint64(r.DstPort) == s.dstPort && !seen[k] {
				i = k
				break
			}
		}
		name := fmt.Sprintf("%s:%d > %s:%d 0x%08X", s.src, s.srcPort, s.dst, s.dstPort, s.ssrc)
		theirs := n(s.packets) + " packets, " + n(s.lost) + " lost"
		if i < 0 {
			add("stream", name, "none", theirs, "")
			continue
		}
		seen[i] = true
		r := &streams[i]
		why := ""
		switch {
		case r.Duplicates > 0 && r.Packets+r.Duplicates == s.packets:
			why = "tshark counts " + n(r.Duplicates) + " duplicates as packets, and takes them off the loss"
		case s.lost < 0:
			why = "tshark's loss is negative: duplicates or numbers that went back count as packets there"
		case copies > 0 && r.Packets < s.packets:
			why = "copies of packets by a mirror port, VLAN or router are counted once: " + n(copies) + " in this capture"
		case r.Packets > s.packets && r.Lost <= s.lost:
			why = "tshark counts from the offer that announces the stream, and until one that ends it"
		}
		add("stream", name, n(r.Packets)+" packets, "+n(r.Lost)+" lost", theirs, why)
	}
	alone := int64(0)
	for i := range streams {
		if !seen[i] {
			alone++
		}
	}
	if alone > 0 {
		add("streams", "that only twtrace has", n(alone), "0", "without an offer in the capture, or with one that is encrypted for it, tshark takes no packets for RTP")
	}
	return out
}
