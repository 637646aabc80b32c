package pstream

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const shared = "../../../shared"

// TestSamples reads frames that the published clients made.
func TestSamples(t *testing.T) {
	files, _ := filepath.Glob(shared + "/samples/pstream/*.ndjson")
	if len(files) == 0 {
		t.Skip("no samples")
	}
	for _, path := range files {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		newer := strings.Contains(path, "voice-sdk") && !strings.Contains(path, "2.0.1")
		seen := map[Type]int{}
		scan := bufio.NewScanner(file)
		for scan.Scan() {
			var m Message
			if err := Decode(scan.Bytes(), &m); err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			seen[m.Type]++
			if m.Generation != PStream || m.Type == TypeUnknown || m.Unknown != 0 || (m.Version == "1.6") != newer || m.Version < "1.4" {
				t.Errorf("%s: %+v", filepath.Base(path), m)
			}
			if m.Type == TypeListen && (m.TokenLen != len("JWT") || !strings.Contains(path, m.SDK)) || m.Reconnect != strings.Contains(scan.Text(), "RECONNECT_TOKEN") {
				t.Errorf("%s: %+v", filepath.Base(path), m)
			}
			if out := string(m.Elide(nil, 4096)); strings.Contains(out, "JWT\n") || strings.Contains(out, "RECONNECT_TOKEN") || strings.Contains(out, "hello") {
				t.Error(out)
			}
		}
		for _, typ := range []Type{TypeListen, TypeRegister, TypeInvite, TypeAnswer, TypeReject, TypeHangup, TypeReinvite} {
			if seen[typ] == 0 {
				t.Errorf("%s: no %s", filepath.Base(path), typ)
			}
		}
	}
	files, _ = filepath.Glob(shared + "/samples/eventgw/*.json")
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var sample struct{ Body json.RawMessage }
		if err := json.Unmarshal(raw, &sample); err != nil {
			t.Fatal(err)
		}
		events, err := new(Events).Decode(sample.Body)
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %v", path, err)
		}
		e := events[0]
		metrics := strings.Contains(path, "Metrics")
		if e.CallSID != "CAxxxx" || e.Publisher != "twilio-js-sdk" || e.TimeNS/1e9 != 1795381979 || (len(e.Samples) == 1) != metrics || !metrics && (e.Name != "incoming" || e.Direction != "INCOMING") {
			t.Errorf("%s: %+v", path, e)
		}
		if metrics && (e.Samples[0].MOS != Value{4.4, true} || e.Samples[0].PacketsReceived.V != 50 || e.Codec != "opus") {
			t.Errorf("%s: %+v", path, e.Samples)
		}
	}
}

var secrets = regexp.MustCompile(`eyJ[\w-]+|ice-pwd:([^\\"\s]+)|"reconnect":"([^"]+)"|"content":(\{[^}]*\}|"[^"]*")`)

// TestTruth reads the messages and posts that the servers of recorded runs
// wrote down.
func TestTruth(t *testing.T) {
	files, _ := filepath.Glob(shared + "/lab/s1-*/*/truth.json")
	if len(files) == 0 {
		t.Skip("no recorded runs")
	}
	messages, posts, samples, hidden := 0, 0, 0, 0
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var truth struct {
			Events []struct {
				Ev   string
				Data json.RawMessage
			}
		}
		if err := json.Unmarshal(raw, &truth); err != nil {
			t.Logf("%s: %v", path, err)
			continue
		}
		for _, e := range truth.Events {
			var data struct{ Type, Text, Body, Path string }
			switch e.Ev {
			case "pstream.rx", "pstream.tx", "eventgw":
				if err := json.Unmarshal(e.Data, &data); err != nil {
					t.Fatal(err)
				}
			}
			if e.Ev == "eventgw" && data.Body != "" {
				posts++
				events, err := new(Events).Decode([]byte(data.Body))
				if err != nil || len(events) != 1 || events[0].CallSID == "" && events[0].TempCallSID == "" || events[0].SDK == "" ||
					events[0].TimeNS < 1.7e18 || events[0].Level == "" || (len(events[0].Samples) > 0) != strings.HasSuffix(data.Path, "Metrics") {
					t.Errorf("%s: %.300s: %+v %v", path, data.Body, events, err)
					continue
				}
				for i, s := range events[0].Samples {
					samples++
					if s.TimeNS == 0 || !s.RTTMS.OK || !s.JitterMS.OK || !s.PacketsReceived.OK || s.Codec == "" || i > 0 && s.TimeNS <= events[0].Samples[i-1].TimeNS {
						t.Errorf("%s: %+v", path, s)
					}
				}
				continue
			}
			if data.Text == "" {
				continue
			}
			var m Message
			err := Decode([]byte(data.Text), &m)
			out := string(m.Elide(nil, 1<<16))
			for _, found := range secrets.FindAllStringSubmatch(data.Text, -1) {
				for i, s := range found {
					if s == "" || i == 0 && !strings.HasPrefix(s, "eyJ") {
						continue
					}
					if hidden++; strings.Contains(out, s) {
						t.Errorf("%s shows %s:\n%s", path, s, out)
					}
				}
			}
			if IsHeartbeat([]byte(data.Text)) {
				if data.Type != "heartbeat" {
					t.Errorf("%s: %q is %s", path, data.Text, data.Type)
				}
				continue
			}
			messages++
			if err != nil || m.Type.String() != data.Type || m.Unknown != 0 || (m.Version != "1.5" && m.Version != "1.6") {
				t.Errorf("%s: %s: %+v %v", path, data.Type, m, err)
			}
			if sdp := strings.Contains(data.Text, `"sdp":"v=0`); (len(m.SDP) > 0) != sdp {
				t.Errorf("%s: %s: SDP of %d bytes", path, data.Type, len(m.SDP))
			}
		}
	}
	if messages < 100 || posts < 100 || samples < 50 || hidden < 50 {
		t.Errorf("%d messages, %d posts, %d samples, %d secrets", messages, posts, samples, hidden)
	}
	t.Logf("%d messages, %d posts, %d samples, %d secrets", messages, posts, samples, hidden)
}
