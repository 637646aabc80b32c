package twilio

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/wire"
)

func TestDecodeQueueLog(t *testing.T) {
	text := "\xef\xbb\xbfTime, kind ,to,note,sid,status\r\n" +
		"2026-11-22T20:52:08.477Z,call,client:alice,\"a, b\"," + sidC + ",queued\r\n" +
		"1795380728.480000001,SMS,+15552000000,,,\r\n" +
		"2026-11-22T15:52:08.5-05:00,Messages,+15552000001\r\n" +
		"2026-11-22T20:52:09,call,+1,,,\r\n" + // no zone
		"22 Nov 2026 20:52:09 +0000,call,+1,,,\r\n" +
		"1,fax,+1,,,\r\n" +
		"1,call\r\n" +
		"1,call,+1,,,,,\r\n" +
		"2,calls,+2,,,x"
	var got []Queued
	st, err := DecodeQueueLog(strings.NewReader(text), func(q *Queued) error { got = append(got, *q); return nil })
	if err != nil {
		t.Fatal(err)
	}
	want := []Queued{
		{at("2026-11-22T20:52:08.477Z"), Call, "client:alice", sidC, "queued", 1},
		{1795380728480000001, Message, "+15552000000", "", "", 2},
		{at("2026-11-22T20:52:08.5Z"), Message, "+15552000001", "", "", 3},
		{2e9, Call, "+2", "", "x", 9},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	checkStats(t, st, len(text))
	for i, r := range []struct {
		reason string
		count  int64
	}{{"kind not understood", 1}, {"row with another number of columns", 2}, {"time not understood", 2}} {
		if st.Refused[i].Reason != r.reason || st.Refused[i].Count != r.count {
			t.Errorf("refused %+v", st.Refused)
		}
	}
}

func TestQueueLogDamage(t *testing.T) {
	for text, msg := range map[string]string{
		"":                       "want a header with time, kind and to, found an empty file",
		"1,call,+1\n":            `want a header with time, kind and to, found "1,call,+1\n"`,
		"sid,from\n":             "want a header with time, kind and to, found a csv",
		"time,kind,to\n1,\"call": "want a closing quote for the row that begins at byte 13, found the end of the input",
	} {
		_, err := DecodeQueueLog(strings.NewReader(text), func(*Queued) error { return nil })
		var w *wire.Error
		if !errors.As(err, &w) || w.Msg != msg {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := Decode(strings.NewReader("time,kind,to\n"), func(*Resource) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "found a queue log") {
		t.Errorf("a queue log given as resources: %v", err)
	}
}

func FuzzQueueLog(f *testing.F) {
	f.Add([]byte("time,kind,to,sid,status\n2026-11-22T20:52:08.477Z,call,client:alice," + sidC + ",queued\n1.5,sms,+1\n"))
	f.Add([]byte("kind;to;time\n\"call\";\"a\"\"\n\";1788264001.136546067"))
	f.Add([]byte("time\tkind\tto\n1\tcall\tx\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records := int64(0)
		st, err := DecodeQueueLog(bytes.NewReader(data), func(q *Queued) error {
			if q.At == 0 || q.Kind == KindUnknown || q.Record <= records {
				t.Fatalf("%+v", q)
			}
			records = q.Record
			return nil
		})
		checkStats(t, st, len(data))
		var w *wire.Error
		if err != nil && (!errors.As(err, &w) || w.Off < 0 || w.Off > int64(len(data))) {
			t.Fatal(err)
		}
	})
}
