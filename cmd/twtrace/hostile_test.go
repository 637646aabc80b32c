package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

// Texts that want to be more than text: to a terminal, a spreadsheet, a shell,
// a browser, a diagram, a display filter.
const (
	evil     = "=cmd|' /C calc'!A0 \x1b[31mred\x07 \u202egnp.exe\u2066 \"'`touch pwned1` $(touch pwned2) ;touch pwned3; --> %%{init: {}}%% </script><script>pwned()</script><img src=x onerror=pwned()> || true"
	evilUser = "%3Cscript%3E$(touch$IFSpwned4)='\x1b[31m\u202e"
	evilFile = "-r =x\x1b[31m\u202e\n'\"`touch pwned5`$(touch pwned6);touch pwned7;<script>pwned()<&>"
)

// hostileRun is an experiment whose every name is hostile.
func hostileRun(t *testing.T) (root string) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "run "+strings.ReplaceAll(evilFile, "/", ""))
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Skip(err) // the file system has not such names
	}
	var b bytes.Buffer
	w := newFloodWriter(&b)
	sip := func(first, cseq, more string) {
		w.udp(0, 5060, 1, 5060, fmt.Appendf(nil, "%s\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK%s\r\nFrom: \"%s\" <sip:%s@a.example>;tag=a\r\nTo: %s <sip:%s@b.example>%s\r\nCall-ID: %s\r\nCSeq: %s\r\nUser-Agent: %s\r\nX-Evil: %s\r\nReason: Q.850;text=\"%s\"\r\nContent-Length: 0\r\n\r\n",
			first, cseq[:1], evil, evilUser, evil, evilUser, more, evil, cseq, evil, evil, evil))
	}
	sip("INVITE sip:"+evilUser+"@b.example SIP/2.0", "1 INVITE", "")
	w.at += 1e6
	sip("SIP/2.0 486 "+evil, "1 INVITE", ";tag=b")
	sip("ACK sip:x@b.example SIP/2.0", "1 ACK", ";tag=b")
	for i := range 3 {
		sip(fmt.Sprintf("EVIL%d%s sip:x SIP/2.0", i, strings.ReplaceAll(evil, " ", "")), fmt.Sprintf("%d OPTIONS", i+2), "")
	}
	w.w.Flush()
	resource := func(prefix string, i int) map[string]any {
		return map[string]any{"sid": fmt.Sprintf("%s%032d", prefix, i), "account_sid": evil, "messaging_service_sid": evil, "date_created": "Thu, 21 Nov 2013 18:00:00 +0000", "date_sent": "Thu, 21 Nov 2013 18:00:02 +0000",
			"start_time": "Thu, 21 Nov 2013 18:00:02 +0000", "from": evil, "to": evil, "status": evil, "direction": evil, "body": evil, "friendly_name": evil, "answered_by": evil, "num_segments": "1"}
	}
	j, err := json.Marshal([]any{resource("SM", 1), resource("SM", 2), resource("CA", 3)})
	if err != nil {
		t.Fatal(err)
	}
	q, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		evilFile + ".pcap": b.Bytes(), evilFile + ".json": j, evilFile + ".keys": []byte("# keys\nCLIENT_RANDOM " + strings.Repeat("ab", 32) + " " + strings.Repeat("cd", 48) + "\n"),
		"experiment.yaml": fmt.Appendf(nil, "name: %s\nendpoint: %s\nnotes: %s\nlabels: {x: %s}\n%s: 1\nkind: %s\n", q, q, q, q, q, q),
		evilFile:          []byte("nothing known: " + evil), "cut" + evilFile + ".pcap": b.Bytes()[:b.Len()/2],
	} {
		if err := os.WriteFile(filepath.Join(root, strings.ReplaceAll(name, "/", "")), data, 0o644); err != nil {
			t.Skip(err)
		}
	}
	return root
}

// unprintable is what a terminal would act on.
func unprintable(r rune) bool {
	return r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029')
}

// A shell makes of a quoted word what it was, and a terminal acts on none of it.
func TestShellQuoteInShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell")
	}
	for _, s := range []string{evilFile, strings.ReplaceAll(evil, "\x00", ""), "a\n\n", "\n", "\xff\xfe'%d\\101", "-n", "\u202e", "%s\x01\\n'"} {
		q := shellQuote(s)
		if i := strings.IndexFunc(strings.TrimSuffix(q, "'"), unprintable); i >= 0 || !utf8.ValidString(q) {
			t.Errorf("%q is quoted as %q", s, q)
		}
		got, err := exec.Command(sh, "-c", "printf '%s|' "+q).Output()
		if err != nil || string(got) != s+"|" {
			t.Errorf("%s: %q, %v; want %q", q, got, err, s)
		}
	}
}

// Whatever names and texts of the input say, each form of output holds them as text.
func TestHostileNamesStayText(t *testing.T) {
	root := hostileRun(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	do := func(want []int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), args, nil, &stdout, &stderr)
		if !slices.Contains(want, code) {
			t.Fatalf("%q: exit %d: %s", args[0], code, &stderr)
		}
		if i := strings.IndexFunc(stderr.String(), unprintable); i >= 0 {
			t.Errorf("%q: standard error has %q", args[0], stderr.String()[max(0, i-20):][:22])
		}
		return stdout.String()
	}
	ok := []int{exitOK, exitDamaged}
	plain := func(what, s string) {
		t.Helper()
		if i := strings.IndexFunc(s, unprintable); i >= 0 {
			t.Errorf("%s has %q", what, s[max(0, i-40):min(len(s), i+8)])
		}
	}
	do(ok, "analyze", root, "-o", out, "--arrow")
	d, err := table.ReadDir(os.DirFS(out))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for i := range d.Calls {
		ids[d.Calls[i].CallID] = true
	}
	if !slices.ContainsFunc(d.Messages.Slice(), func(m sessions.Message) bool { return m.To == evil }) || len(ids) < 2 {
		t.Errorf("parquet keeps texts as they are; found %d messages, calls %v", d.Messages.Len(), ids)
	}

	for _, s := range table.Schemas() {
		plain("table "+s.Name, do(ok, s.Name, root, "-f", "table", "-q"))
		records, err := csv.NewReader(strings.NewReader(do(ok, s.Name, root, "-f", "csv", "-q"))).ReadAll()
		if err != nil {
			t.Errorf("csv of %s: %v", s.Name, err)
		}
		for _, r := range records {
			for _, c := range r {
				if _, err := strconv.ParseFloat(c, 64); c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) && err != nil {
					t.Errorf("csv of %s: a cell is a formula: %.40q", s.Name, c)
				}
			}
		}
		for _, form := range []string{"json", "ndjson"} {
			dec := json.NewDecoder(strings.NewReader(do(ok, s.Name, root, "-f", form, "-q")))
			for err := error(nil); err == nil; {
				var v any
				if err = dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("%s of %s: %v", form, s.Name, err)
				}
			}
		}
		for _, form := range []string{"arrow", "parquet"} {
			if got := do(ok, s.Name, root, "-f", form, "-q"); len(got) < 100 {
				t.Errorf("%s of %s: %d bytes", form, s.Name, len(got))
			}
		}
	}

	for _, by := range [][]string{nil, {"--by", "scenario"}} {
		plain("ladder", do(ok, append([]string{"flow", root, "-q"}, by...)...))
		mermaid := do(ok, append([]string{"flow", root, "-q", "-f", "mermaid"}, by...)...)
		plain("mermaid", mermaid)
		if strings.Contains(mermaid, "<script") || strings.Contains(mermaid, "%%{") {
			t.Errorf("mermaid: %s", mermaid)
		}
		svg := do(ok, append([]string{"flow", root, "-q", "-f", "svg"}, by...)...)
		plain("svg", svg)
		for x := xml.NewDecoder(strings.NewReader(svg)); ; {
			tok, err := x.Token()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("svg: %v", err)
				}
				break
			}
			if e, is := tok.(xml.StartElement); is {
				if slices.Contains([]string{"script", "img", "foreignObject", "a"}, e.Name.Local) || slices.ContainsFunc(e.Attr, func(a xml.Attr) bool { return strings.HasPrefix(a.Name.Local, "on") }) {
					t.Errorf("svg: element %v", e)
				}
			}
		}
	}
	for _, args := range [][]string{{"keys", root}, {"plan", root}, {"compare", out, out}, {"compare", root, root}, {"what-if", root, "--rate", "2"}} {
		plain(args[0], do([]int{exitOK, exitDamaged, exitNothing}, append(args, "-f", "table")...))
	}
	for _, args := range [][]string{{"calls", root + evil}, {"flow", root, "--call", evil + "x"}, {"calls", root, "--columns", evil}, {"calls", root, "--where", evil}, {evil}, {"slice", root, "--call", evil + "x", "-o", "x"}, {"calls", filepath.Join(root, evilFile)}} {
		if got := do([]int{exitNothing, exitUsage}, args...); got != "" {
			t.Errorf("%q: %q", args, got)
		}
	}

	page, err := os.ReadFile(filepath.Join(out, reportName))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script>pwned", "<img src=x", "\x1b", "\u202e", "\x07", "\u2066"} {
		if bytes.Contains(page, []byte(bad)) {
			t.Errorf("the report has %q", bad)
		}
	}

	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs a shell")
	}
	// The command is run, with wireshark a function that tells its arguments.
	for id := range ids {
		file := filepath.Join(dir, "call.pcapng")
		command := do([]int{exitOK, exitDamaged, exitNothing}, "wireshark", root, "--call", id, "-q")
		if command == "" {
			continue // only the export knows it
		}
		plain("wireshark", command)
		do(ok, "slice", root, "--call", id, "-o", file, "--force", "-q")
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pcap.NewReader(f)
		for fr := (pcap.Frame{}); err == nil; {
			err = r.Next(&fr)
		}
		f.Close()
		for _, c := range r.Info().Comments {
			plain("comment", c.Text)
		}
		if len(r.Info().Comments) == 0 {
			t.Error("the slice has no comment")
		}
		c := exec.Command(sh, "-c", "wireshark() { for a; do printf '%s\\0' \"$a\"; done; }\n"+command)
		c.Dir = dir
		got, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		args := strings.Split(string(got), "\x00")
		if i := slices.Index(args, "-r"); i < 0 || filepath.Dir(args[i+1]) != root {
			t.Errorf("the shell makes of it %q", args)
		} else if _, err := os.Stat(args[i+1]); err != nil {
			t.Error(err)
		}
		if tshark, err := exec.LookPath("tshark"); err == nil {
			i := slices.Index(args, "-Y")
			got, err := exec.Command(tshark, "-r", file, "-Y", args[i+1]).Output()
			if n := bytes.Count(got, []byte("\n")); err != nil || n == 0 {
				t.Errorf("%v: the filter %s shows %d packets", err, args[i+1], n)
			}
		}
	}
	for _, where := range []string{dir, root, "."} {
		names, err := os.ReadDir(where)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if regexp.MustCompile(`^pwned\d`).MatchString(n.Name()) {
				t.Errorf("a command of the input was run: %s", n.Name())
			}
		}
	}
}
