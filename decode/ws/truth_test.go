package ws

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

// follow gives the two plaintext directions of a TLS connection as tshark
// decrypts it, that of the client first.
func follow(t *testing.T, capture, keys, stream string) (client, server []byte) {
	t.Helper()
	out, err := exec.Command("tshark", "-r", capture, "-o", "tls.keylog_file:"+keys, "-q", "-z", "follow,tls,raw,"+stream).Output()
	if err != nil {
		t.Skip(err)
	}
	scan := bufio.NewScanner(bytes.NewReader(out))
	scan.Buffer(nil, 1<<24)
	var sides [2][]byte
	for scan.Scan() {
		line := scan.Text()
		side := 0
		if strings.HasPrefix(line, "\t") {
			side = 1
		}
		if b, err := hex.DecodeString(strings.TrimSpace(line)); err == nil {
			sides[side] = append(sides[side], b...)
		}
	}
	if bytes.HasPrefix(sides[1], []byte("GET ")) {
		return sides[1], sides[0]
	}
	return sides[0], sides[1]
}

func field(head, name string) string {
	for line := range strings.SplitSeq(head, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// TestTruth compares the messages of recorded connections, decrypted by
// tshark, with those that the server wrote down.
func TestTruth(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip(err)
	}
	for _, run := range []string{"ws-fragmented", "deflate-context", "deflate-nocontext", "v1-incoming", "incoming-dtmf-message"} {
		t.Run(run, func(t *testing.T) {
			dir := filepath.Join(lab, run)
			raw, err := os.ReadFile(filepath.Join(dir, "truth.json"))
			if err != nil {
				t.Skip(err)
			}
			var truth struct {
				Events []struct {
					Ev   string
					Data struct{ Text string }
				}
			}
			if err := json.Unmarshal(raw, &truth); err != nil {
				t.Fatal(err)
			}
			var want [2][]string // of the client, of the server
			for _, e := range truth.Events {
				switch e.Ev {
				case "pstream.rx":
					want[0] = append(want[0], e.Data.Text)
				case "pstream.tx":
					want[1] = append(want[1], e.Data.Text)
				}
			}
			capture, keys := filepath.Join(dir, "capture.pcapng"), filepath.Join(dir, "keys.log")
			out, err := exec.Command("tshark", "-r", capture, "-o", "tls.keylog_file:"+keys, "-Y", "websocket", "-T", "fields", "-e", "tcp.stream").Output()
			if err != nil {
				t.Skip(err)
			}
			streams := slices.Compact(strings.Fields(string(out)))
			if len(streams) != 1 {
				t.Fatalf("tshark finds WebSocket in streams %q", streams)
			}
			client, server := follow(t, capture, keys, streams[0])
			request, client, ok := bytes.Cut(client, []byte("\r\n\r\n"))
			response, server, ok2 := bytes.Cut(server, []byte("\r\n\r\n"))
			if !ok || !ok2 {
				t.Fatal("tshark shows no heads")
			}
			if have := Accept(field(string(request), "Sec-WebSocket-Key")); have != field(string(response), "Sec-WebSocket-Accept") {
				t.Errorf("accept is %q", have)
			}
			ext := ParseExtensions(field(string(response), "Sec-WebSocket-Extensions"))
			if ext.Deflate != strings.HasPrefix(run, "deflate") || ext.ServerNoContextTakeover != (run == "deflate-nocontext") {
				t.Errorf("%+v", ext)
			}
			for i, b := range [][]byte{client, server} {
				for _, size := range []int{1 << 20, 100} {
					p := Parser{Client: i == 0, Extensions: ext}
					events, errs := all(&p, b, size)
					var have []string
					closes := 0
					for _, e := range events {
						switch e.Opcode {
						case Text:
							have = append(have, string(e.Data))
							if e.Compressed != ext.Deflate || e.Masked != (i == 0) || e.Truncated {
								t.Errorf("%+v", e)
							}
						case Close:
							closes++
						}
					}
					if !slices.Equal(have, want[i]) || len(errs) != 0 || closes != 1 || p.Skipped != 0 {
						t.Errorf("side %d: %d messages %v, %d closes, want %d messages", i, len(have), errs, closes, len(want[i]))
					}
				}
				// The same without the upgrade and without the first byte.
				p := Parser{Client: i == 0, Extensions: Extensions{Unknown: true}}
				p.Lost(1)
				events, errs := all(&p, b[1:], 1<<20)
				for _, e := range events {
					if e.Opcode == Text && !e.Truncated && !slices.Contains(want[i], string(e.Data)) {
						t.Errorf("shows %.80q, which was not sent", e.Data)
					}
				}
				if len(errs) != 0 || len(events) < len(want[i])-1 {
					t.Errorf("side %d from its second byte: %d messages of %d, %v", i, len(events), len(want[i]), errs)
				}
			}
		})
	}
}
