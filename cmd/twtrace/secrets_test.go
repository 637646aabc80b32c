package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/csv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/table"
)

// Secrets as they stand in traffic. The value is the last group.
var secretPatterns = []*regexp.Regexp{
	regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`),
	regexp.MustCompile(`a=ice-pwd:([^\s\\"]{16,})`),
	regexp.MustCompile(`inline:([A-Za-z0-9+/=]{16,})`),
	regexp.MustCompile(`"reconnect":"([^"]{8,})"`),
	regexp.MustCompile(`response="([0-9a-f]{16,})"`),
}

var secretHeaders = []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "x-twilio-token", "x-twilio-signature"}

// recordings are the fixtures and, where they are, the lab's runs, by name.
func recordings(t *testing.T) map[string]string {
	t.Helper()
	roots := map[string]string{}
	dir := t.TempDir()
	recorded := fixtures.Recorded()
	entries, err := fs.ReadDir(recorded, ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "browser-") || strings.HasPrefix(e.Name(), "sip-") || strings.HasPrefix(e.Name(), "paper-") {
			sub, err := fs.Sub(recorded, e.Name())
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, e.Name())
			if err := os.CopyFS(name, sub); err != nil {
				t.Fatal(err)
			}
			roots[e.Name()] = name
		}
	}
	for _, group := range []string{"s1-webrtc", "s1-paper", "s1-rest", "s2-sip"} {
		runs, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "lab", group, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range runs {
			if info, err := os.Stat(name); err == nil && info.IsDir() && !testing.Short() {
				roots[group+"/"+filepath.Base(name)] = name
			}
		}
	}
	return roots
}

// TestSecretsStayIn looks for every secret that the recorded traffic holds in
// everything that is written of it.
func TestSecretsStayIn(t *testing.T) {
	var found atomic.Int64
	eachRecording(t, func(t *testing.T, root string) {
		secrets := secretsIn(t, root)
		found.Add(int64(len(secrets)))
		written := everything(t, root)
		for _, s := range secrets {
			if strings.Contains(written, s) {
				t.Errorf("a secret of %d characters that begins with %q was written", len(s), s[:min(6, len(s))])
			}
		}
	})
	if found.Load() < 10 {
		t.Errorf("only %d secrets were found in the traffic: the test looks in the wrong place", found.Load())
	}
}

// eachRecording tests every recording, side by side, and returns when all are
// done.
func eachRecording(t *testing.T, test func(t *testing.T, root string)) (n int) {
	roots := recordings(t)
	t.Run("of", func(t *testing.T) {
		for name, root := range roots {
			t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
				t.Parallel()
				test(t, root)
			})
		}
	})
	return len(roots)
}

// secretsIn collects the secrets that stand in a run's decoded traffic.
func secretsIn(t *testing.T, root string) []string {
	var files []*container.File
	err := container.Walk(os.DirFS(root), ".", func(f *container.File) error {
		files = append(files, f)
		return nil
	}, func(string, error) {})
	if err != nil {
		t.Fatal(err)
	}
	dec, err := decode.Open(files, decode.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	add := func(text []byte) {
		for _, p := range secretPatterns {
			for _, m := range p.FindAllSubmatch(text, -1) {
				all[string(m[len(m)-1])] = true
			}
		}
	}
	for ev := range dec.Events(context.Background()) {
		switch ev.Kind {
		case decode.EventSIP:
			add(ev.SIP.Body)
			for _, h := range ev.SIP.Headers {
				add(h.Value)
			}
		case decode.EventPStream:
			add(ev.Text)
			if len(ev.PStream.DTMF) > 3 {
				all[ev.PStream.DTMF] = true
			}
		case decode.EventHTTP:
			for _, h := range ev.HTTP.Headers {
				if slices.Contains(secretHeaders, strings.ToLower(h.Name)) && len(h.Value) > 7 {
					all[strings.TrimPrefix(h.Value, "Basic ")] = true
				}
			}
			if body, err := http.Decode(ev.HTTP.ContentEncoding, ev.HTTP.Body, 1<<20); err == nil && !bytes.Contains(body, []byte("<html")) {
				add(body)
			}
		}
	}
	var list []string
	for s := range all {
		if len(s) >= 4 {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

// everything is all that is written of a run: what analyze makes, what it says,
// every table and every ladder; with flags.
func everything(t *testing.T, root string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), append([]string{"analyze", root, "-o", out}, flags...), nil, &stdout, &stderr); code != exitOK && code != exitDamaged {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	written := stderr.String() + stdout.String()
	d, err := table.ReadDir(os.DirFS(out))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range table.Schemas() {
		var b bytes.Buffer
		if err := table.Write(&b, d, s.Name, "csv", table.View{}); err != nil {
			t.Fatal(err)
		}
		written += b.String()
	}
	for _, args := range [][]string{{"flow", root}, {"flow", root, "-f", "svg"}, {"flow", root, "-f", "mermaid"}, {"flow", root, "--by", "scenario"}, {"keys", root}} {
		var b bytes.Buffer
		run(context.Background(), append(args, flags...), nil, &b, &b)
		written += b.String()
	}
	page, err := os.ReadFile(filepath.Join(out, reportName))
	if err != nil {
		t.Fatal(err)
	}
	written += string(page)
	for _, m := range regexp.MustCompile(`class="packed calls">([^<]+)<`).FindAllSubmatch(page, -1) {
		z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(m[1])))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		written += string(text)
	}
	batch, err := os.ReadFile(filepath.Join(out, "batch.json"))
	if err != nil {
		t.Fatal(err)
	}
	return written + string(batch)
}

// TestRedactHidesEverything looks for every number, name, address and SID of
// the recorded runs in everything that is written of them with --redact.
func TestRedactHidesEverything(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("sixteen bytes and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	var looked atomic.Int64
	n := eachRecording(t, func(t *testing.T, root string) {
		originals := identities(t, root)
		looked.Add(int64(len(originals)))
		written := everything(t, root, "--redact", "--redact-key", key)
		for _, s := range originals {
			if i := strings.Index(written, s); i >= 0 {
				t.Errorf("%q was written: ...%q", s, written[max(0, i-60):min(len(written), i+len(s)+20)])
			}
		}
	})
	t.Logf("%d values in %d recordings", looked.Load(), n)
	least := int64(180) // the fixtures hold that many
	if n > 50 {
		least = 1000 // and the lab, where it is
	}
	if looked.Load() < least {
		t.Errorf("only %d values were looked for in %d recordings, want %d", looked.Load(), n, least)
	}
}

// identities are what points to a person or a place in a run's own tables.
func identities(t *testing.T, root string) []string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	var stderr bytes.Buffer
	if code := run(context.Background(), []string{"analyze", root, "-o", out, "-q"}, nil, io.Discard, &stderr); code != exitOK && code != exitDamaged {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	d, err := table.ReadDir(os.DirFS(out))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range []struct{ table, columns string }{
		{"hosts", "address"}, {"flows", "src,dst"}, {"calls", "call_id,call_sid,sip_call_ids,from,to"}, {"legs", "id,from,to"},
		{"arrivals", "call_sid,to"}, {"call_resources", "sid,account_sid,from,to"}, {"messages", "sid,account_sid,from,to"}, {"rates", "queue"}, {"experiments", "endpoint"},
	} {
		var b bytes.Buffer
		if err := table.Write(&b, d, c.table, "csv", table.View{Columns: strings.Split(c.columns, ",")}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows[1:] {
			for _, v := range row {
				for _, x := range strings.FieldsFunc(v, func(r rune) bool { return strings.ContainsRune(`[]",`, r) }) {
					x = strings.TrimPrefix(strings.TrimPrefix(x, "'"), "client:")
					if len(x) >= 7 && !strings.HasPrefix(x, "leg-") { // a shorter one may stand by chance
						seen[x] = true
					}
				}
			}
		}
	}
	list := make([]string, 0, len(seen))
	for x := range seen {
		list = append(list, x)
	}
	slices.Sort(list)
	return list
}
