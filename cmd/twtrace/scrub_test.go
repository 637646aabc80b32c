package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/table"
	"github.com/twtrace/twtrace/sessions"
)

// captureArgs are the captures of a run, by their usual names.
func captureArgs(t *testing.T, root string) []string {
	t.Helper()
	var list []string
	for _, p := range []string{"*.pcap", "*.pcapng", "*.pcap.gz", "*.pcapng.gz"} {
		names, err := filepath.Glob(filepath.Join(root, p))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, names...)
	}
	return list
}

// TestScrubHidesEverything looks for every number, name, address and SID of the
// recorded runs, and for every secret in their traffic, in the bytes of their
// scrubbed captures; addresses as the packets have them too.
func TestScrubHidesEverything(t *testing.T) {
	key := writeKey(t)
	looked, roots := 0, recordings(t)
	for name, root := range roots {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			data, ok := scrubbed(t, key, root)
			if !ok {
				return
			}
			for _, s := range secretsIn(t, root) {
				if bytes.Contains(data, []byte(s)) {
					t.Errorf("a secret that begins with %q is there", s[:min(6, len(s))])
				}
			}
			for _, s := range identities(t, root) {
				looked++
				if i := bytes.Index(data, []byte(s)); i >= 0 {
					t.Errorf("%q is there: ...%q", s, data[max(0, i-60):min(len(data), i+len(s)+20)])
				}
				if a, err := netip.ParseAddr(s); err == nil && !a.IsUnspecified() {
					if i := bytes.Index(data, a.AsSlice()); i >= 0 {
						t.Errorf("%s is there in binary: ...%x", s, data[max(0, i-40):min(len(data), i+20)])
					}
				}
			}
		})
	}
	t.Logf("%d values in %d recordings", looked, len(roots))
	if looked < 150 {
		t.Errorf("only %d values were looked for", looked)
	}
}

func writeKey(t *testing.T) string {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("sixteen bytes and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	return key
}

// scrubbed is the scrubbed capture of a run; false for one of two places.
func scrubbed(t *testing.T, key string, args ...string) ([]byte, bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "s.pcapng")
	code, stdout, stderr := call(t.Context(), nil, append([]string{"scrub", "-o", file, "--redact-key", key}, args...)...)
	if code == exitNothing && strings.Contains(stderr, "two places") {
		return nil, false
	}
	if code != exitOK && code != exitDamaged || stdout != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data, true
}

// TestScrubKeepsCalls: of captures in the clear, the tables of the scrubbed file
// have the calls, legs, streams and arrivals of the original, with its counts
// and times, under the pseudonyms of --redact.
func TestScrubKeepsCalls(t *testing.T) {
	key := writeKey(t)
	calls, streams := 0, 0
	for name, root := range recordings(t) {
		captures := captureArgs(t, root)
		if len(captures) == 0 {
			continue
		}
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			redacted := func(args ...string) *table.Dataset {
				a := &app{ctx: t.Context(), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, name: "run", quiet: true, redact: true, redactKey: key}
				d, err := a.dataset(args)
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
			want := redacted(captures...)
			for i := range want.Flows {
				if e := want.Flows[i].Encryption; e != "" && e != "none" {
					return
				}
			}
			for i := range want.Captures {
				if want.Captures[i].TruncatedPackets > 0 {
					return // what was cut short is not read again
				}
			}
			data, ok := scrubbed(t, key, captures...)
			if !ok {
				return
			}
			file := filepath.Join(t.TempDir(), "s.pcapng")
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
			a := &app{ctx: t.Context(), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, name: "run", quiet: true}
			got, err := a.dataset([]string{file})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(got.Oddities, func(o sessions.Oddity) bool { return o.Rule == "altered" }) {
				t.Error("the file does not say that it was altered")
			}
			calls += len(want.Calls)
			streams += want.Streams.Len()
			for _, c := range []struct{ table, columns string }{
				{"calls", "call_id,call_sid,parent_call_id,sip_call_ids,from,to,protocols,direction,initiated_at,arrived_at,arrived_by,ringing_at,answered_at,first_media_in_at,first_media_out_at,ended_at,outcome,ended_by,status_code,legs,streams"},
				{"legs", "leg_id,call_id,kind,id,joined_by,from,to,first_at,last_at,status_code"},
				{"streams", "stream_id,call_id,src,src_port,dst,dst_port,ssrc,payload_types,codec,ptime_ms,first_at,last_at,packets,expected,lost,duplicates,reordered,jitter_mean_ms,jitter_max_ms,delta_max_ms,dtmf_count,rtcp_fraction_lost"},
				{"arrivals", "seq,call_id,to,endpoint,arrived_at,arrived_by,arrived_error_ms"},
				{"rates", "kind,items,observed_per_s,verdict"},
				{"signals", "call_id,leg_id,at,protocol,src,src_port,dst,dst_port,kind,status_code,duration_ms,retransmission"},
			} {
				v := table.View{Columns: strings.Split(c.columns, ",")}
				if x, y := written(t, want, c.table, v), written(t, got, c.table, v); x != y {
					line, a, b := firstDifference(x, y)
					t.Errorf("%s differs in line %d: want %s, found %s", c.table, line, a, b)
				}
			}
		})
	}
	t.Logf("%d calls, %d streams", calls, streams)
	if calls < 18 || streams < 24 { // those of the fixtures
		t.Errorf("only %d calls and %d streams were compared", calls, streams)
	}
}
