package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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

// TestSecretsStayIn looks for every secret that the recorded traffic holds in
// everything that is written of it.
func TestSecretsStayIn(t *testing.T) {
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
	found := 0
	for name, root := range roots {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			secrets := secretsIn(t, root)
			found += len(secrets)
			out := filepath.Join(t.TempDir(), "out")
			var stdout, stderr bytes.Buffer
			if code := run(context.Background(), []string{"analyze", root, "-o", out}, nil, &stdout, &stderr); code != exitOK && code != exitDamaged {
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
			for _, args := range [][]string{{"flow", root}, {"flow", root, "-f", "svg"}, {"flow", root, "-f", "mermaid"}, {"keys", root}} {
				var b bytes.Buffer
				run(context.Background(), args, nil, &b, io.Discard)
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
			for _, s := range secrets {
				if strings.Contains(written, s) {
					t.Errorf("a secret of %d characters that begins with %q was written", len(s), s[:min(6, len(s))])
				}
			}
		})
	}
	if found < 10 {
		t.Errorf("only %d secrets were found in the traffic: the test looks in the wrong place", found)
	}
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
