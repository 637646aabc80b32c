package mediastream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

func blank(e Event) Message {
	return Message{Event: e, Name: e.String(), Sequence: -1, Chunk: -1, TimestampMS: -1, SampleRate: -1, Channels: -1}
}

func with(m Message, f func(*Message)) Message {
	f(&m)
	return m
}

var payload = base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xff, 0x7f}, 80))

var messages = []struct {
	text string
	want Message
}{
	{`{"event":"connected","protocol":"Call","version":"1.0.0"}`, with(blank(Connected), func(m *Message) { m.Protocol, m.Version = "Call", "1.0.0" })},
	{`{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC1","streamSid":"MZ1","callSid":"CA1","tracks":["inbound","outbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":{"pin":"s3cr3t","b":"c"}},"streamSid":"MZ1"}`,
		with(blank(Start), func(m *Message) {
			m.Sequence, m.AccountSID, m.StreamSID, m.CallSID, m.Tracks = 1, "AC1", "MZ1", "CA1", "inbound,outbound"
			m.Encoding, m.SampleRate, m.Channels, m.CustomParameters = "audio/x-mulaw", 8000, 1, 2
		})},
	{`{"event":"media","sequenceNumber":"4","media":{"track":"inbound","chunk":"2","timestamp":"5","payload":"` + payload + `"},"streamSid":"MZ1"}`,
		with(blank(Media), func(m *Message) {
			m.Sequence, m.StreamSID, m.Track, m.Chunk, m.TimestampMS, m.PayloadLen = 4, "MZ1", "inbound", 2, 5, 160
		})},
	{"{ \"streamSid\" : \"MZ1\",\n\"media\" : { \"payload\" : \"" + payload + "\" }, \"event\" : \"media\" }",
		with(blank(Media), func(m *Message) { m.StreamSID, m.PayloadLen = "MZ1", 160 })},
	{`{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"5","dtmf":{"track":"inbound_track","digit":"7"}}`,
		with(blank(DTMF), func(m *Message) { m.StreamSID, m.Sequence, m.Track, m.Digit = "MZ1", 5, "inbound_track", "7" })},
	{`{"event":"mark","sequenceNumber":4,"streamSid":"MZ1","mark":{"name":"my \"label\""}}`,
		with(blank(Mark), func(m *Message) { m.Sequence, m.StreamSID, m.MarkName = 4, "MZ1", `my "label"` })},
	{`{"event":"stop","sequenceNumber":"5","stop":{"accountSid":"AC1","callSid":"CA1"},"streamSid":"MZ1"}`,
		with(blank(Stop), func(m *Message) { m.Sequence, m.StreamSID, m.AccountSID, m.CallSID = 5, "MZ1", "AC1", "CA1" })},
	{`{"event":"clear","streamSid":"MZ1"}`, with(blank(Clear), func(m *Message) { m.StreamSID = "MZ1" })},
	{`{"event":"teleport","streamSid":"MZ1","where":{"event":"media","x":[1,{"y":null}]},"also":[true],"sequenceNumber":"-3"}`,
		with(blank(EventUnknown), func(m *Message) { m.Name, m.StreamSID, m.Unknown = "teleport", "MZ1", 2 })},
	{`{"event":"media","media":null,"streamSid":7,"sequenceNumber":"99999999999999999999"}`, with(blank(Media), func(m *Message) { m.StreamSID, m.Unknown = "7", 1 })},
}

func TestDecode(t *testing.T) {
	var reused Message
	for range 2 {
		for _, tt := range messages {
			var fresh Message
			for _, m := range []*Message{&fresh, &reused} {
				if err := Decode([]byte(tt.text), m); err != nil {
					t.Errorf("%s: %v", tt.text, err)
				} else if *m != tt.want {
					t.Errorf("%s:\nhave %+v\nwant %+v", tt.text, *m, tt.want)
				}
				if strings.Contains(m.String(), "s3cr3t") || m.Digit != "" && strings.Contains(m.String(), m.Digit) {
					t.Error(m.String())
				}
			}
			if Looks([]byte(tt.text)) != (tt.want.Event != EventUnknown) {
				t.Errorf("%s looks otherwise", tt.text)
			}
		}
	}
	for in, off := range map[string]int64{
		"": 0, "[]": 0, "{": 1, "{}": 2, `{"event"`: 8, `{"event":`: 9, `{"event":"media",}`: 17, `{"event":"med`: 13, `{"event":"media"} x`: 18, `{"event":"media" "a":1}`: 17,
		`{"event":nul}`: 9, "{\"event\":\"a\nb\"}": 11, `{"a":1}`: 7, `{"a":` + strings.Repeat("[", 1000): 5 + 31, strings.Repeat(" ", maxText+1): maxText,
	} {
		m := messages[2].want
		err := Decode([]byte(in), &m)
		var e *wire.Error
		if !errors.As(err, &e) || e.Off != off {
			t.Errorf("%.40q: %v, want an error at %d", in, err, off)
		}
		if m.StreamSID != "" {
			t.Errorf("%.40q keeps what was before", in)
		}
	}
}

// RFC 4648, 10.
func TestPayloadLen(t *testing.T) {
	for n, text := range []string{"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"} {
		if got := audio([]byte(text)); got != n {
			t.Errorf("%s: %d, want %d", text, got, n)
		}
	}
	if got := audio([]byte(`\/\/\u002f/`)); got != 3 {
		t.Error(got)
	}
}

// TestString puts each kind of byte at every place of strings, which are read
// in words, and numbers of each form after them.
func TestString(t *testing.T) {
	var m Message
	for _, n := range []int{1, 7, 8, 9, 16, 31, 40} {
		for at := range n {
			for _, c := range []string{"\\\"", "\\u0041", "\"", "\x1f", "\x00", "\x7f", "é", " ", "!"} {
				text := `{"event":"` + strings.Repeat("a", at) + c + strings.Repeat("a", n-at-1) + `"}`
				var want struct{ Event string }
				wantErr := json.Unmarshal([]byte(text), &want)
				if err := Decode([]byte(text), &m); (err == nil) != (wantErr == nil) || err == nil && m.Name != want.Event {
					t.Fatalf("%q: %q, %v, want %q, %v", text, m.Name, err, want.Event, wantErr)
				}
			}
		}
	}
	for in, want := range map[string]int64{"0": 0, "7": 7, "120": 120, "00": -2, "01": -2, "1.5": -1, "1e3": -1, "-1": -1, "12x": -2, "9223372036854775808": -1, `"120"`: 120, "null": -1, " 3 ": 3} {
		err := Decode([]byte(`{"event":"media","sequenceNumber":`+in+`}`), &m)
		if (err != nil) != (want == -2) || err == nil && m.Sequence != want {
			t.Errorf("%s: %d, %v", in, m.Sequence, err)
		}
	}
}

func TestAllocs(t *testing.T) {
	text := []byte(messages[2].text)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if err := Decode(text, &m); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, tt := range messages {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var m, again Message
		err := Decode(text, &m)
		again = messages[1].want
		if err2 := Decode(text, &again); fmt.Sprint(err) != fmt.Sprint(err2) || err == nil && m != again {
			t.Fatalf("%+v, %+v", m, again)
		}
		if m.PayloadLen > len(text) || len(m.Tracks) > maxString || len(m.Name) > maxString {
			t.Fatalf("%+v", m)
		}
		if err == nil && len(text) < 2000 && !strings.Contains(string(text), `\`) && !json.Valid(text) {
			t.Fatal("not valid JSON")
		}
		_ = m.String()
		Looks(text)
	})
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(messages[2].text)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var m Message
	for b.Loop() {
		if err := Decode(text, &m); err != nil {
			b.Fatal(err)
		}
	}
}
