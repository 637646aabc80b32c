package sessions

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/sip"
)

// Which dialogs are one call. A back-to-back user agent gives each side a
// Call-ID of its own; what tells that the sides are one call is, best first:
//
//   - the same CallSid;
//   - Session-ID (RFC 7989 6): each INVITE of a session bears the UUID of the
//     side that began it, through all that pass it on;
//   - the same From and To, asked on by whoever was asked, at once, while
//     nothing else could be meant: marked as inferred.
//
// Two calls taken for one are worse than one taken for two. So the last two
// also want that the second INVITE was sent by the host that got the first one
// and while that was still open, and neither ever joins two CallSids.
//
// A dialog that replaces another (RFC 3891) or that a REFER asked for (RFC
// 3515) is a call of its own, whose parent is the one it came from.
const (
	sessionWithin = 32e9 // ns; 64*T1, after which an INVITE is given up (RFC 3261 17.1.1.2)
	passedWithin  = 2e9  // ns
	scoreSession  = 0.95
	scorePassed   = 0.6

	maxRefers    = 1 << 16 // REFERs that wait for their INVITE
	maxOpenAlike = 8       // open calls with the same From and To that are compared
)

// refer is a REFER that was sent within a dialog.
type refer struct {
	from *dialog
	to   netip.Addr // who was asked
	at   Time
}

// joiner finds the row that a dialog belongs to.
type joiner struct {
	bySID     map[string]int
	bySession map[string]int
	byParties map[parties][]int
}

type parties struct{ from, to string }

func newJoiner() *joiner {
	return &joiner{map[string]int{}, map[string]int{}, map[parties][]int{}}
}

// find tells the row of c among rows, -1 when it is a call of its own, and how
// it is known.
func (j *joiner) find(rows []*callRow, c *dialog) (row int, by string, score float64) {
	by, score = "Call-ID", 1
	if c.sid != "" {
		by = "X-Twilio-CallSid"
		if c.kind != legSIP {
			by = "CallSid"
		}
		if i, ok := j.bySID[c.sid]; ok {
			return i, by, 1
		}
	}
	if i, ok := j.bySession[c.sessionID]; ok && c.sessionID != "" && rows[i].passedOn(c, sessionWithin) {
		return i, "Session-ID", scoreSession
	}
	if c.from != "" && c.to != "" && c.kind == legSIP {
		found := -1
		for _, i := range j.byParties[parties{c.from, c.to}] {
			r := rows[i]
			if !r.passedOn(c, passedWithin) || r.legs[0].answered != 0 && r.legs[0].answered <= c.invited {
				continue
			}
			if found >= 0 {
				return -1, by, score // either of two
			}
			found = i
		}
		if found >= 0 {
			return found, "inferred from From, To and time", scorePassed
		}
	}
	return -1, by, score
}

// keep notes the dialog as one of a row.
func (j *joiner) keep(row int, c *dialog) {
	if c.sid != "" {
		if _, ok := j.bySID[c.sid]; !ok {
			j.bySID[c.sid] = row
		}
	}
	if c.sessionID != "" {
		if _, ok := j.bySession[c.sessionID]; !ok {
			j.bySession[c.sessionID] = row
		}
	}
	if c.kind == legSIP && c.invited != 0 {
		k := parties{c.from, c.to}
		list := j.byParties[k]
		if n := len(list); n > 0 && list[n-1] == row {
			return
		}
		if len(list) == maxOpenAlike {
			list = append(list[:0], list[1:]...)
		}
		j.byParties[k] = append(list, row)
	}
}

// passedOn tells whether c may be the call of r, asked on by the host that r
// was last asked at: within ns, while that was open, without another CallSid.
func (r *callRow) passedOn(c *dialog, within Time) bool {
	if c.kind != legSIP || c.invited == 0 {
		return false
	}
	for _, l := range r.legs {
		if l.sid != "" && c.sid != "" && l.sid != c.sid {
			return false
		}
	}
	for _, l := range r.legs {
		if l.kind != legSIP || l.invited == 0 || c.invited < l.invited || c.invited-l.invited > within {
			continue
		}
		if over := l.overAt(); over != 0 && over <= c.invited {
			continue
		}
		if l.calledAddr == c.callerAddr && l.callerAddr != c.calledAddr {
			return true
		}
	}
	return false
}

// beginning takes from the first INVITE of a dialog what links it to others.
func (b *Builder) beginning(c *dialog, m *sip.Message, ev *decode.Event) {
	c.sessionID = sessionUUID(m.Get(sip.HeaderSessionID))
	if v := m.Get(sip.HeaderReplaces); v != nil {
		id, _, _ := strings.Cut(string(v), ";")
		if old := b.sip[strings.TrimSpace(id)]; old != nil && old != c && old.isCall {
			c.parent, c.parentBy = old, "replaces"
		}
	}
	k := target(m.RequestURI)
	list := b.refers[k]
	for n := len(list) - 1; n >= 0; n-- {
		if r := &list[n]; r.to == c.callerAddr && ev.Time >= r.at && ev.Time-r.at <= sessionWithin && r.from != c {
			if c.parent == nil {
				c.parent, c.parentBy = r.from, "asked for by a REFER in"
			}
			if list = append(list[:n:n], list[n+1:]...); len(list) == 0 {
				delete(b.refers, k) // only those that wait count against the bound
			} else {
				b.refers[k] = list
			}
			return
		}
	}
}

// referred keeps a REFER until the INVITE that it asks for.
func (b *Builder) referred(c *dialog, m *sip.Message, ev *decode.Event) {
	to := sip.ParseAddress(m.Get(sip.HeaderReferTo))
	if len(to.URI) == 0 {
		return
	}
	if len(b.refers) >= maxRefers {
		b.capped("REFERs without their INVITE")
		return
	}
	k := target(to.URI)
	if list := b.refers[k]; len(list) < maxOpenAlike {
		b.refers[k] = append(list, refer{c, ev.Dst().Addr(), ev.Time})
	}
}

// target is user and host of a SIP URI, which a REFER and the INVITE it asks
// for share; parameters and headers may differ.
func target(uri []byte) string {
	a := sip.ParseAddress(uri)
	return string(a.User) + "@" + strings.ToLower(string(a.Host))
}

// sessionUUID is the UUID of the side that sent the message (RFC 7989 5), ""
// for none and for the nil UUID.
func sessionUUID(v []byte) string {
	id, _, _ := strings.Cut(string(v), ";")
	id = strings.ToLower(strings.TrimSpace(id))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// linkParents gives each call whose dialog came from another's its parent.
func linkParents(rows []*callRow, legs []Leg) {
	for n, r := range rows {
		for _, c := range r.legs {
			p := c.parent
			if p == nil || p.row >= n || rows[p.row].CallID == "" {
				continue // a call can only come from an earlier one
			}
			if r.ParentCallID == "" {
				r.ParentCallID = rows[p.row].CallID
			}
			legs[c.leg-1].JoinedBy += fmt.Sprintf("; %s leg %d", c.parentBy, p.leg)
		}
	}
}
