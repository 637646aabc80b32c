package experiment

import (
	"bytes"
	"encoding/hex"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/twtrace/twtrace/decode/pcap"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/internal/table"
)

// A slice of a call says of that call what the whole capture says, knows no
// other SIP call, and holds the secrets of the sessions that are in it only.
func TestSliceIsTheCall(t *testing.T) {
	for _, c := range []struct {
		run      string
		sessions bool
	}{{"sip-normal", false}, {"sip-tcp", false}, {"sip-busy", false}, {"browser-incoming", true}, {"browser-cancelled", true}} {
		sub, err := fs.Sub(fixtures.Recorded(), c.run)
		if err != nil {
			t.Fatal(err)
		}
		e := one(t, sub)
		whole, err := Analyze(t.Context(), e, Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, call := range whole.Data.Calls {
			if len(call.Protocols) == 0 {
				continue // only an export knows it
			}
			n++
			var b bytes.Buffer
			info, err := Slice(t.Context(), e, Options{}, call.CallID, &b)
			if err != nil {
				t.Fatalf("%s, %s: %v", c.run, call.CallID, err)
			}
			if (info.Sessions > 0) != c.sessions || info.Frames == 0 {
				t.Errorf("%s, %s: %+v", c.run, call.CallID, info)
			}
			got := analyze(t, fstest.MapFS{"call.pcapng": {Data: b.Bytes()}})
			for _, name := range []string{"calls", "signals", "streams"} {
				if a, b := rowsOfCall(t, whole.Data, name, call.CallID), rowsOfCall(t, got.Data, name, call.CallID); a != b {
					t.Errorf("%s, %s: table %s differs: %s", c.run, call.CallID, name, firstLineThatDiffers(a, b))
				}
			}
			if len(got.Data.Calls) != 1 && len(info.Others) == 0 {
				t.Errorf("%s, %s: the slice has %d calls", c.run, call.CallID, len(got.Data.Calls))
			}
			onlyItsSecrets(t, b.Bytes())
		}
		if n == 0 {
			t.Errorf("%s: no call", c.run)
		}
	}
	sub, _ := fs.Sub(fixtures.Recorded(), "sip-busy")
	if _, err := Slice(t.Context(), one(t, sub), Options{}, "CA00", io.Discard); err == nil || !strings.Contains(err.Error(), "no call") {
		t.Errorf("a call that is not there: %v", err)
	}
}

// rowsOfCall are the rows of a call without what tells of files and numbers
// flows, legs and streams.
func rowsOfCall(t *testing.T, d *table.Dataset, name, call string) string {
	t.Helper()
	var b strings.Builder
	v := table.View{}
	key := "call_id"
	for _, s := range table.Schemas() {
		if s.Name != name {
			continue
		}
		for _, c := range s.Columns {
			switch c.Name {
			case "experiment", "file", "frame", "first_frame", "last_frame", "flow_id", "leg_id", "stream_id", "legs", "to", "direction":
			case "from", "initiated_at", "parent_call_id", "ended_at", "duration_s", "outcome", "cause", "call_sid", "root_call_id", "ended_by", "error_code":
				if name != "calls" { // what the export beside the capture says too
					v.Columns = append(v.Columns, c.Name)
				}
			default:
				v.Columns = append(v.Columns, c.Name)
			}
		}
		cond, err := table.ParseCond(key + " = " + call)
		if err != nil {
			t.Fatal(err)
		}
		v.Where = append(v.Where, cond)
		if err := table.Write(&b, d, s.Name, table.FormatCSV, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// onlyItsSecrets checks that each secret of a capture belongs to a ClientHello in it.
func onlyItsSecrets(t *testing.T, capture []byte) {
	t.Helper()
	r, err := pcap.NewReader(bytes.NewReader(capture))
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	var fr pcap.Frame
	for r.Next(&fr) == nil {
		all = append(all, fr.Data...)
	}
	for _, s := range r.Info().Secrets {
		for _, line := range strings.Split(strings.TrimSpace(string(s.Data)), "\n") {
			random, err := hex.DecodeString(strings.Fields(line)[1])
			if err != nil || !bytes.Contains(all, random) {
				t.Errorf("a secret of a session that is not in the slice: %.60s...", line)
			}
		}
	}
}

// Secrets open a capture wherever in it they stand, read from a pipe too.
func TestSecretsBehindThePackets(t *testing.T) {
	frames, rest := framesOf(t, "browser-incoming")
	var b bytes.Buffer
	w := pcap.NewNGWriter(&b)
	if _, err := w.AddInterface(pcap.LinkEthernet, 0, 9); err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.WritePacket(0, f.at, f.data, len(f.data), ""); err != nil {
			t.Fatal(err)
		}
	}
	without := bytes.Clone(b.Bytes())
	if err := w.WriteSecrets(pcap.SecretTLS, rest["keys.log"].Data); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		in   Input
		by   string
	}{{"file", file("a.pcapng", b.Bytes()), "pstream-invite"}, {"pipe", pipe(b.Bytes()), "pstream-invite"}, {"pipe without secrets", pipe(without), "tls-record"}} {
		exps, err := Find([]Input{c.in}, true)
		if err != nil {
			t.Fatal(err)
		}
		res, err := Analyze(t.Context(), exps[0], Options{})
		if err != nil {
			t.Fatal(err)
		}
		if calls := res.Data.Calls; len(calls) != 1 || calls[0].ArrivedBy != c.by {
			t.Errorf("%s: calls %+v, want one by %s", c.name, calls, c.by)
		}
	}
}
