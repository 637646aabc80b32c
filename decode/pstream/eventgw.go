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

// DecodeEvent reads the body of a post: one event, an array of them, or
// several one after another. What precedes damage is returned with the error.
func DecodeEvent(body []byte) ([]Event, error) {
	if len(body) > maxBody {
		return nil, &wire.Error{Proto: "eventgw", Off: maxBody, Msg: fmt.Sprintf("want at most %d bytes, have %d", maxBody, len(body))}
	}
	var events []Event
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
			if err = e.decode(r); err != nil {
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
	return events, err
}

func (e *Event) decode(text []byte) error {
	var top [16]member
	k, err := read(text, top[:0])
	if err != nil {
		err.(*wire.Error).Proto = "eventgw"
		return err
	}
	e.Publisher, e.Group, e.Name, e.Level = limit(k.text("publisher")), limit(k.text("group")), limit(k.text("name")), limit(k.text("level"))
	e.TimeNS = timestamp(k.take("timestamp"))
	if e.Group == "" && e.Name == "" {
		return &wire.Error{Proto: "eventgw", Field: "group", Msg: "want a group or a name, have neither"}
	}
	var buf [24]member
	if app := k.object("publisher_metadata", buf[:0]); app != nil {
		e.App, e.AppVersion = limit(app.text("app_name")), limit(app.text("app_version"))
	}
	if p := k.object("payload", buf[:0]); p != nil {
		e.payload(&p)
		return nil
	}
	var samples []json.RawMessage
	if raw := k.take("payload"); len(raw) == 0 || json.Unmarshal(raw, &samples) != nil {
		return nil
	}
	for _, raw := range samples[:min(len(samples), maxSamples)] {
		if raw[0] != '{' {
			continue
		}
		p, _ := members(raw, buf[:0], true)
		e.Samples = append(e.Samples, Sample{
			TimeNS: timestamp(p.get("timestamp")), CallSID: limit(string(plain(p.get("call_sid"), nil))), TempCallSID: limit(string(plain(p.get("temp_call_sid"), nil))), Codec: limit(string(plain(p.get("audio_codec"), nil))),
			JitterMS: p.value("jitter"), RTTMS: p.value("rtt"), MOS: p.value("mos"),
			PacketsLost: p.value("packets_lost"), PacketsReceived: p.value("packets_received"), LossPercent: p.value("packets_lost_fraction"),
			BytesSent: p.value("bytes_sent"), BytesReceived: p.value("bytes_received"),
			LevelIn: p.value("audio_level_in"), LevelOut: p.value("audio_level_out"),
			TotalPacketsLost: p.value("total_packets_lost"), TotalPacketsReceived: p.value("total_packets_received"), TotalPacketsSent: p.value("total_packets_sent"),
			TotalBytesSent: p.value("total_bytes_sent"), TotalBytesReceived: p.value("total_bytes_received"),
			VolumeIn: p.value("call_volume_input"), VolumeOut: p.value("call_volume_output"),
		})
		if len(e.Samples) == 1 {
			e.payload(&p)
		}
	}
	return nil
}

func (e *Event) payload(p *keys) {
	e.CallSID, e.TempCallSID = limit(p.text("call_sid")), limit(p.text("temp_call_sid"))
	e.Direction, e.SDK, e.Codec = limit(p.text("direction")), limit(p.text("sdk_version")), limit(first(p.text("audio_codec"), p.text("selected_codec")))
	e.Gateway, e.Region, e.Edge = limit(p.text("gateway")), limit(p.text("region")), limit(p.text("edge"))
	e.ErrorCode = p.number("code")
	e.ErrorMessage = p.text("message")
}

func (k keys) value(name string) Value {
	raw := k.get(name)
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return Value{}
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	return Value{f, err == nil}
}

func timestamp(raw []byte) int64 { return instant(string(plain(raw, nil))) }

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
