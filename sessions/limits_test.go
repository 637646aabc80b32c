package sessions_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/sessions"
)

// What is more than a Builder keeps is told, each kind by its own words, and
// what it kept is as it was. analyse checks the ledger and the rows.
func TestLimits(t *testing.T) {
	const n = 3
	calls := func(with string) *script {
		s := &script{}
		for i := range 10 {
			s.say(int64(10*i), fmt.Sprintf("INVITE\nCall-ID: call-%d\n%s", i, strings.ReplaceAll(with, "PORT", fmt.Sprint(20000+2*i))))
		}
		return s
	}
	media := &script{}
	for i := range 10 {
		for k := range 6 {
			media.rtp(int64(1000*i+20*k), "10.0.0.1:4000", fmt.Sprintf("10.0.0.2:%d", 5000+2*i), 0, uint16(k), uint32(i))
		}
	}
	long := &script{}
	for i := range 10 {
		long.rtp(int64(1000*i), "10.0.0.1:4000", "10.0.0.2:5000", 0, uint16(i), 7)
	}
	export := ""
	for i := range 10 {
		export += fmt.Sprintf(`{"sid":"SM%032d","account_sid":"AC%032d","date_created":"Thu, 21 Nov 2013 18:00:00 +0000","from":"+15550100","to":"+15550101","status":"sent"}`+"\n", i, 1)
		export += fmt.Sprintf(`{"sid":"CA%032d","account_sid":"AC%032d","date_created":"Thu, 21 Nov 2013 18:00:00 +0000","from":"+15550100","to":"+15550101","status":"completed","direction":"outbound-api"}`+"\n", i, 1)
	}
	log := "time,kind,to\n" + strings.Repeat("2013-11-21T18:00:00Z,call,+15550101\n", 10)
	offer := sdp("10.0.0.1:4000", "0")
	offer = strings.ReplaceAll(offer, "4000", "PORT")
	for name, c := range map[string]struct {
		file   string
		data   []byte
		capped map[string]int
		rows   func(*sessions.Trace) int
	}{
		"calls": {"a.pcap", calls("").capture(t), map[string]int{"messages of further SIP calls": 7},
			func(t *sessions.Trace) int { return len(t.Calls) }},
		"signals": {"a.pcap", func() []byte {
			s := &script{}
			for i := range 10 {
				s.say(int64(10*i), fmt.Sprintf("OPTIONS\nVia: SIP/2.0/UDP x;branch=z9hG4bK%d", i))
			}
			return s.capture(t)
		}(), map[string]int{"signals": 7, "messages for retransmission": 7, "requests that wait for an answer": 7},
			func(t *sessions.Trace) int { return t.Signals.Len() }},
		"offers": {"a.pcap", func() []byte {
			s := &script{}
			for i := range 3 {
				s.say(int64(10*i), fmt.Sprintf("INVITE\nCall-ID: call-%d\n%s", i, strings.ReplaceAll(offer, "PORT", "20000")+"m=audio 30000 RTP/AVP 0\n"))
			}
			return s.capture(t)
		}(), map[string]int{"offers of media addresses": 3}, nil},
		"sources": {"a.pcap", media.capture(t), map[string]int{"packets of further RTP sources": 42},
			func(t *sessions.Trace) int { return t.Streams.Len() }},
		"seconds": {"a.pcap", long.capture(t), map[string]int{"packets in further seconds of streams": 7},
			func(t *sessions.Trace) int { return t.StreamIntervals.Len() }},
		"messages": {"a.json", []byte(export), map[string]int{"exported resources": 14},
			func(t *sessions.Trace) int { return t.Messages.Len() }},
		"call resources": {"a.json", []byte(export), map[string]int{"exported resources": 14},
			func(t *sessions.Trace) int { return len(t.CallResources) }},
		"queue log": {"queue.csv", []byte(log), map[string]int{"lines of queue logs": 7},
			func(t *sessions.Trace) int { return len(t.Arrivals) }},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{c.file: c.data}
			got := map[string]string{}
			trace := analyse(t, files, func(b *sessions.Builder) { b.Limit(n) })
			for _, o := range trace.Oddities {
				if o.Rule == decode.RuleCap {
					got[o.Subject] = o.Text
				}
			}
			for what, count := range c.capped {
				if want := fmt.Sprintf("more than is kept of one experiment: %d %s", count, what); got[what] != want {
					t.Errorf("%q, want %q", got[what], want)
				}
			}
			free := analyse(t, files)
			for _, o := range free.Oddities {
				if o.Rule == decode.RuleCap {
					t.Errorf("without a limit: %s", o.Text)
				}
			}
			if c.rows != nil {
				if c.rows(trace) != n || c.rows(free) != 10 {
					t.Errorf("%d rows, want %d; without a limit %d, want 10", c.rows(trace), n, c.rows(free))
				}
			}
		})
	}
}
