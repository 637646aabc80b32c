package http2

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const lab = "../../../shared/lab/s1-webrtc"

// piece is what one side sent at a time.
type piece struct {
	client bool
	b      []byte
}

// follow gives the plaintext of a TLS connection as tshark decrypts it.
func follow(t *testing.T, capture, keys, stream string) (pieces []piece) {
	t.Helper()
	out, err := exec.Command("tshark", "-r", capture, "-o", "tls.keylog_file:"+keys, "-q", "-z", "follow,tls,raw,"+stream).Output()
	if err != nil {
		t.Skip(err)
	}
	scan := bufio.NewScanner(bytes.NewReader(out))
	scan.Buffer(nil, 1<<24)
	tabbed, found := false, false // whether the client's lines begin with a tab
	for scan.Scan() {
		line := scan.Text()
		if b, err := hex.DecodeString(strings.TrimSpace(line)); err == nil && len(b) > 0 {
			tab := strings.HasPrefix(line, "\t")
			if Looks(b) {
				tabbed, found = tab, true
			}
			pieces = append(pieces, piece{tab, b})
		}
	}
	for i := range pieces {
		pieces[i].client = found && pieces[i].client == tabbed
	}
	return pieces
}

// TestTruth compares the requests and bodies of a recorded run, decrypted by
// tshark, with those that the servers wrote down, and the statuses with
// tshark's.
func TestTruth(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(lab, "outgoing-pcmu")
	raw, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		t.Skip(err)
	}
	var truth struct {
		Events []struct {
			Ev   string
			Data struct{ Method, Host, Path, Body, Proto string }
		}
	}
	if err := json.Unmarshal(raw, &truth); err != nil {
		t.Fatal(err)
	}
	var want, have []string
	for _, e := range truth.Events {
		if e.Data.Proto == "HTTP/2.0" {
			want = append(want, strings.Join([]string{e.Data.Method, e.Data.Host, e.Data.Path, e.Data.Body}, " "))
		}
	}
	capture, keys := filepath.Join(dir, "capture.pcapng"), filepath.Join(dir, "keys.log")
	out, err := exec.Command("tshark", "-r", capture, "-o", "tls.keylog_file:"+keys, "-Y", "http2", "-T", "fields", "-e", "tcp.stream", "-e", "http2.headers.status").Output()
	if err != nil {
		t.Skip(err)
	}
	var streams, wantStatus, haveStatus []string
	for line := range strings.Lines(string(out)) {
		stream, status, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		streams = append(streams, stream)
		if status != "" {
			wantStatus = append(wantStatus, strings.Split(status, ",")...)
		}
	}
	slices.Sort(streams)
	for _, stream := range slices.Compact(streams) {
		var c Conn
		pieces := follow(t, capture, keys, stream)
		for _, p := range pieces {
			ms, errs := all(&c, p.client, p.b, 1<<20)
			if len(errs) != 0 {
				t.Fatalf("stream %s: %v of %d pieces, %v %x", stream, errs, len(pieces), p.client, p.b[:min(len(p.b), 40)])
			}
			for _, m := range ms {
				if m.Partial || m.Malformed > 0 || m.Truncated {
					t.Errorf("stream %s: %+v", stream, m)
				}
				m.Target, _, _ = strings.Cut(m.Target, "?") // the servers wrote the path only
				if m.Request {
					have = append(have, strings.Join([]string{m.Method, m.Authority, m.Target, string(m.Body)}, " "))
				} else {
					haveStatus = append(haveStatus, string([]byte{byte('0' + m.Status/100), byte('0' + m.Status/10%10), byte('0' + m.Status%10)}))
				}
			}
		}
		if c.Skipped+c.Orphans != 0 {
			t.Errorf("stream %s: %d skipped, %d orphans", stream, c.Skipped, c.Orphans)
		}
		// From its middle on: nothing is shown that was not sent.
		for _, from := range []int{1, 40, 333, 1000} {
			var c Conn
			c.Lost(true, int64(from))
			skip := from
			for _, p := range pieces {
				if !p.client {
					continue
				}
				n := min(skip, len(p.b))
				skip -= n
				ms, _ := all(&c, true, p.b[n:], 1<<20)
				for _, m := range ms {
					if m.Partial || m.Truncated {
						continue
					}
					m.Target, _, _ = strings.Cut(m.Target, "?")
					if s := strings.Join([]string{m.Method, m.Authority, m.Target, string(m.Body)}, " "); !slices.Contains(want, s) {
						t.Errorf("stream %s from byte %d: %.300s", stream, from, s)
					}
				}
			}
		}
	}
	for _, s := range [][]string{want, have, wantStatus, haveStatus} {
		slices.Sort(s)
	}
	if len(want) < 40 || !slices.Equal(have, want) {
		t.Errorf("%d requests, the servers saw %d", len(have), len(want))
		for _, s := range have {
			if !slices.Contains(want, s) {
				t.Logf("not in the truth: %.200s", s)
			}
		}
	}
	if !slices.Equal(haveStatus, wantStatus) {
		t.Errorf("statuses %q, tshark has %q", haveStatus, wantStatus)
	}
}
