package sessions_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/sessions"
)

const (
	alice, bridge, bob, carol = "198.51.100.1:5060", "198.51.100.2:5060", "198.51.100.3:5060", "198.51.100.4:5060"

	uuidA = "ab30317f1a784dc48ff824d0d3715d86"
	uuidB = "47755a9de7794ba387653f2099600ef2"
)

// leg adds a whole dialog between two hosts: asked at ms, answered 40 ms later.
func (s *script) leg(ms int64, id, from, to, fields string) {
	f := "\nCall-ID: " + id + "\nVia: SIP/2.0/UDP x;branch=z9hG4bK" + id + fields
	s.sip(ms, from, to, "INVITE"+f)
	s.sip(ms+40, to, from, "200 OK"+f)
	s.sip(ms+41, from, to, "ACK"+f)
	s.sip(ms+5000, from, to, "BYE"+f+"\nCSeq: 2 BYE")
	s.sip(ms+5001, to, from, "200 OK"+f+"\nCSeq: 2 BYE")
}

// ids are the calls with their legs, as "id: leg by (score)".
func ids(t *sessions.Trace) []string {
	var out []string
	for i := range t.Calls {
		c := &t.Calls[i]
		var legs []string
		for _, l := range t.Legs {
			if l.CallID == c.CallID {
				legs = append(legs, fmt.Sprintf("%s by %s (%v)", l.ID, l.JoinedBy, l.JoinScore.V))
			}
		}
		if c.ParentCallID != "" {
			legs = append(legs, "child of "+c.ParentCallID+", root "+c.RootCallID)
		}
		out = append(out, c.CallID+": "+strings.Join(legs, ", "))
	}
	slices.Sort(out)
	return out
}

func TestWhichDialogsAreOneCall(t *testing.T) {
	session := func(local, remote string) string { return "\nSession-ID: " + local + ";remote=" + remote }
	const null = "00000000000000000000000000000000"
	sid := func(n int) string { return fmt.Sprintf("\nX-Twilio-CallSid: CA%032d", n) }
	for _, c := range []struct {
		name  string
		build func(s *script)
		want  []string
	}{
		{"a bridge that passes the Session-ID on and changes the numbers", func(s *script) {
			s.leg(0, "one", alice, bridge, session(uuidA, null))
			s.leg(20, "two", bridge, bob, session(strings.ToUpper(uuidA), null)+"\nTo: <sip:+15559999@b.example>")
		}, []string{"one: one by Call-ID (1), two by Session-ID (0.95)"}},
		{"Session-IDs of two sides", func(s *script) {
			s.leg(0, "one", alice, bridge, session(uuidA, null))
			s.leg(20, "two", bridge, bob, session(uuidB, null)+"\nTo: <sip:+15559999@b.example>")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"a phone that gives all its calls the same Session-ID", func(s *script) {
			s.leg(0, "one", alice, bob, session(uuidA, null)+"\nTo: <sip:+15559999@b.example>")
			s.leg(20, "two", alice, carol, session(uuidA, null))
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"the nil UUID", func(s *script) {
			s.leg(0, "one", alice, bridge, session(null, null))
			s.leg(20, "two", bridge, bob, session(null, null)+"\nTo: <sip:+15559999@b.example>")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"one Session-ID over two CallSids", func(s *script) {
			s.leg(0, "one", alice, bridge, session(uuidA, null)+sid(1))
			s.leg(20, "two", bridge, bob, session(uuidA, null)+sid(2))
		}, []string{"CA" + fmt.Sprintf("%032d", 1) + ": one by X-Twilio-CallSid (1)", "CA" + fmt.Sprintf("%032d", 2) + ": two by X-Twilio-CallSid (1)"}},
		{"only the second side knows the CallSid", func(s *script) {
			s.leg(0, "one", alice, bridge, session(uuidA, null))
			s.leg(20, "two", bridge, bob, session(uuidA, null)+sid(1))
		}, []string{"CA" + fmt.Sprintf("%032d", 1) + ": one by Call-ID (1), two by Session-ID (0.95)"}},

		{"a bridge without any identifier", func(s *script) {
			s.leg(0, "one", alice, bridge, "")
			s.leg(20, "two", bridge, bob, "")
			s.leg(30, "three", bob, carol, "")
		}, []string{"one: one by Call-ID (1), two by inferred from From, To and time (0.6), three by inferred from From, To and time (0.6)"}},
		{"other numbers", func(s *script) {
			s.leg(0, "one", alice, bridge, "")
			s.leg(20, "two", bridge, bob, "\nTo: <sip:+15559999@b.example>")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"too late", func(s *script) {
			s.leg(0, "one", alice, bridge, "")
			s.leg(2100, "two", bridge, bob, "")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"after the first was answered: a machine that dials on", func(s *script) {
			s.leg(0, "one", alice, bridge, "")
			s.leg(60, "two", bridge, bob, "")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"the same number calls twice at once: either could be meant", func(s *script) {
			s.leg(0, "one", alice, bridge, "")
			s.leg(5, "two", alice, bridge, "")
			s.leg(20, "three", bridge, bob, "")
		}, []string{"one: one by Call-ID (1)", "three: three by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"called by somebody else", func(s *script) {
			s.leg(0, "one", alice, bridge, "")
			s.leg(20, "two", carol, bob, "")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"called back", func(s *script) {
			s.leg(0, "one", alice, bridge, "")
			s.leg(20, "two", bridge, alice, "")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},

		{"a blind transfer", func(s *script) {
			s.leg(0, "one", alice, bob, "")
			s.sip(500, alice, bob, "REFER\nCall-ID: one\nCSeq: 3 REFER\nRefer-To: <sip:+15550077@c.example;method=INVITE>")
			s.sip(501, bob, alice, "202 Accepted\nCall-ID: one\nCSeq: 3 REFER")
			s.leg(520, "two", bob, carol, "\nTo: <sip:+15550077@c.example>\nURI: sip:+15550077@C.example;transport=udp")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID; asked for by a REFER in leg 1 (1), child of one, root one"}},
		{"an INVITE to the place of a REFER by somebody else", func(s *script) {
			s.leg(0, "one", alice, bob, "")
			s.sip(500, alice, bob, "REFER\nCall-ID: one\nCSeq: 3 REFER\nRefer-To: <sip:+15550077@c.example>")
			s.leg(520, "two", bridge, carol, "\nTo: <sip:+15550077@c.example>\nURI: sip:+15550077@c.example")
		}, []string{"one: one by Call-ID (1)", "two: two by Call-ID (1)"}},
		{"a transfer with consultation", func(s *script) {
			s.leg(0, "one", alice, bob, "")
			s.leg(200, "two", alice, carol, "\nTo: <sip:+15550077@c.example>")
			s.leg(700, "three", bob, carol, "\nTo: <sip:+15550077@c.example>\nReplaces: two;to-tag=et;from-tag=ct")
			s.leg(900, "four", carol, bridge, "\nTo: <sip:+15550078@c.example>\nReplaces: three;to-tag=et;from-tag=ct")
			s.leg(950, "five", carol, bridge, "\nTo: <sip:+15550079@c.example>\nReplaces: never-seen;to-tag=et;from-tag=ct")
		}, []string{"five: five by Call-ID (1)", "four: four by Call-ID; replaces leg 3 (1), child of three, root two", "one: one by Call-ID (1)", "three: three by Call-ID; replaces leg 2 (1), child of two, root two", "two: two by Call-ID (1)"}},
	} {
		s := &script{}
		c.build(s)
		if got := ids(s.trace(t)); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got  %q\n want %q", c.name, got, c.want)
		}
	}
}
