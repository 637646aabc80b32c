package pstream

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/twtrace/twtrace/internal/wire"
)

const (
	maxBody    = 1 << 20
	maxEvents  = 1024
	maxSamples = 4096
)

// Event is a post to the event gateway's EndpointEvents or EndpointMetrics.
// Its times are the client's clock.
type Event struct {
	Publisher, Group, Name, Level string
	TimeNS                        int64

	CallSID, TempCallSID  string
	Direction             string // INCOMING or OUTGOING
	SDK, App, AppVersion  string
	Gateway, Region, Edge string
	Codec                 string
	ErrorCode             int
	ErrorMessage          string
	Samples               []Sample // of quality-metrics-samples, one a second
}

// Value is a number that may be absent.
type Value struct {
	V  float64
	OK bool
}

// Sample is what the client measured in one second. Counts are of that second,
// totals of the call.
type Sample struct {
	TimeNS               int64
	CallSID, TempCallSID string
	Codec                string

	JitterMS, RTTMS, MOS                   Value
	PacketsLost, PacketsReceived           Value
	LossPercent                            Value // 0 to 100
	BytesSent, BytesReceived               Value
	LevelIn, LevelOut                      Value // 0 to 32767
	TotalPacketsLost, TotalPacketsReceived Value
	TotalPacketsSent                       Value
	TotalBytesSent, TotalBytesReceived     Value
	VolumeIn, VolumeOut                    Value // 0 to 1
}

// Events reads the bodies of posts. What Decode needs of memory is used again by
// the next.
type Events struct {
	doc    tree
	top    [16]member
	within [24]member
	list   []Event
}

// Decode reads the body of a post: one event, an array of them, or several one
// after another. What precedes damage is returned with the error. The next call
// overwrites the events; their strings and samples stay.
func (d *Events) Decode(body []byte) ([]Event, error) {
	if len(body) > maxBody {
		return nil, &wire.Error{Proto: "eventgw", Off: maxBody, Msg: fmt.Sprintf("want at most %d bytes, have %d", maxBody, len(body))}
	}
	clear(d.list)
	events := d.list[:0]
	var err error
	Split(body, func(text []byte) bool {
		if text[0] == '[' { // Split has no arrays: it is all of the body
			text = body
		}
		var raw []json.RawMessage
		if text[0] == '{' {
			raw = []json.RawMessage{text}
		} else if json.Unmarshal(text, &raw) != nil {
			err = &wire.Error{Proto: "eventgw", Msg: "want an event or an array of them, have another value"}
			return false
		}
		for _, r := range raw {
			var e Event
			if err = e.decode(d, r); err != nil {
				return false
			}
			if len(events) == maxEvents {
				err = &wire.Error{Proto: "eventgw", Msg: fmt.Sprintf("want at most %d events", maxEvents)}
				return false
			}
			events = append(events, e)
		}
		return len(text) > 0 && text[0] == '{'
	})
	if err == nil && len(events) == 0 {
		err = &wire.Error{Proto: "eventgw", Msg: "want an event, have nothing"}
	}
	d.list = events
	return events, err
}

func (e *Event) decode(d *Events, text []byte) error {
	doc := &d.doc
	k, err := doc.read(text, d.top[:0])
	if err != nil {
		err.(*wire.Error).Proto = "eventgw"
		return err
	}
	e.Publisher, e.Group, e.Name, e.Level = limit(k.text("publisher")), limit(k.text("group")), limit(k.text("name")), limit(k.text("level"))
	e.TimeNS = instant(k.text("timestamp"))
	if e.Group == "" && e.Name == "" {
		return &wire.Error{Proto: "eventgw", Field: "group", Msg: "want a group or a name, have neither"}
	}
	buf := d.within[:0]
	if app := k.object(doc, "publisher_metadata", buf); app != nil {
		e.App, e.AppVersion = limit(app.text("app_name")), limit(app.text("app_version"))
	}
	p := k.take("payload")
	switch {
	case len(p.raw) == 0:
	case p.raw[0] == '{':
		k := doc.members(p.number, buf)
		e.payload(&k)
	case p.raw[0] == '[':
		n := 0
		for i := p.number + 1; i < int(doc.values[p.number].next) && n < maxSamples; i, n = int(doc.values[i].next), n+1 {
			if text[doc.values[i].at] == '{' {
				e.sample(doc.members(i, buf))
			}
		}
	}
	return nil
}

// sample adds one of several samples; what it says beside them is taken from
// the first.
func (e *Event) sample(k keys) {
	e.Samples = append(e.Samples, Sample{
		TimeNS: instant(k.read("timestamp")), CallSID: limit(k.read("call_sid")), TempCallSID: limit(k.read("temp_call_sid")), Codec: limit(k.read("audio_codec")),
		JitterMS: k.value("jitter"), RTTMS: k.value("rtt"), MOS: k.value("mos"),
		PacketsLost: k.value("packets_lost"), PacketsReceived: k.value("packets_received"), LossPercent: k.value("packets_lost_fraction"),
		BytesSent: k.value("bytes_sent"), BytesReceived: k.value("bytes_received"),
		LevelIn: k.value("audio_level_in"), LevelOut: k.value("audio_level_out"),
		TotalPacketsLost: k.value("total_packets_lost"), TotalPacketsReceived: k.value("total_packets_received"), TotalPacketsSent: k.value("total_packets_sent"),
		TotalBytesSent: k.value("total_bytes_sent"), TotalBytesReceived: k.value("total_bytes_received"),
		VolumeIn: k.value("call_volume_input"), VolumeOut: k.value("call_volume_output"),
	})
	if len(e.Samples) == 1 {
		e.payload(&k)
	}
}

func (e *Event) payload(p *keys) {
	e.CallSID, e.TempCallSID = limit(p.text("call_sid")), limit(p.text("temp_call_sid"))
	e.Direction, e.SDK, e.Codec = limit(p.text("direction")), limit(p.text("sdk_version")), limit(first(p.text("audio_codec"), p.text("selected_codec")))
	e.Gateway, e.Region, e.Edge = limit(p.text("gateway")), limit(p.text("region")), limit(p.text("edge"))
	e.ErrorCode = p.number("code")
	e.ErrorMessage = p.text("message")
}

func (k keys) value(name string) Value {
	m := k.get(name)
	if m == nil || m.raw[0] != '-' && (m.raw[0] < '0' || m.raw[0] > '9') {
		return Value{}
	}
	f, err := strconv.ParseFloat(string(m.raw), 64)
	return Value{f, err == nil}
}

// read is a member as text, which is left.
func (k keys) read(name string) string {
	if m := k.get(name); m != nil {
		return string(m.text(nil))
	}
	return ""
}

// instant reads ISO 8601 with any fraction, or ms since 1970.
func instant(s string) int64 {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return unixNano(t)
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms > 0 && ms < 1<<42 {
		return ms * 1e6
	}
	return 0
}

// unixNano is t, 0 when it is beyond what int64 ns hold.
func unixNano(t time.Time) int64 {
	if y := t.Year(); y < 1971 || y > 2261 {
		return 0
	}
	return t.UnixNano()
}
