package sessions

import (
	"cmp"
	"slices"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/twilio"
)

// resources are the newest copies of exported resources, and the queue log.
type resources struct {
	messages messageRows
	calls    map[string]int32
	crows    []CallResource
	updated  []Time // of crows: date_updated is no column of theirs
	cpos     []decode.Pos
	queued   []queuedItem
	posted   map[string]posted // by SID, from REST requests on the wire
	bodies   map[string]Body   // by SID of the message
}

// Body is what a message's row does not say of its text.
type Body struct {
	Offender rune // first code point that GSM 03.38 has not; 0 if there is none
	Added    int  // characters that the provider put before the text of a trial account's message
}

// posted bounds the moment at which the provider accepted an item.
type posted struct{ asked, answered Time }

// post notes the request that made an item; of a repeated answer the first.
func (r *resources) post(sid string, asked, answered Time) {
	if _, ok := r.posted[sid]; !ok && len(r.posted) < maxReports && sid != "" {
		r.posted[sid] = posted{asked, answered}
	}
}

type queuedItem struct {
	at      Time
	call    bool
	to, sid string
	pos     decode.Pos
}

func newResources() resources {
	return resources{messages: newMessageRows(), calls: map[string]int32{}, posted: map[string]posted{}, bodies: map[string]Body{}}
}

// noteBody keeps what the body of the newest copy shows.
func (r *resources) noteBody(s *twilio.Resource) {
	b := Body{Offender: s.Body.Offender}
	if s.Body.TrialPrefix {
		b.Added = len(twilio.TrialPrefix)
	}
	if b != (Body{}) {
		r.bodies[s.SID] = b
	} else {
		delete(r.bodies, s.SID)
	}
}

const olderCopy = "older copy of the same SID"

// add takes one resource. Pages overlap when new items shift them, so the same
// SID may come again: the newest copy is kept, by date_updated, then by how far
// its status has come, then by place.
func (b *Builder) addResource(ev *decode.Event) {
	r, ledger := &b.resources, b.ledger
	s := ev.Resource
	bytes := int64(ev.WireLen)
	switch s.Kind {
	case twilio.Message:
		row := messageRow(s)
		row.File = b.files[ev.Pos.File]
		m := &r.messages
		i, ok := m.find(row.SID)
		switch {
		case !ok && len(m.place) >= b.limit.resources:
			b.tooManyResources(ev)
			return
		case !ok:
			m.add(&row, ev.Pos)
			r.noteBody(s)
		case newer(Time(s.Updated), row.Status, ev.Pos, m.old.UpdatedAt, m.old.Status, m.pos[i]):
			ledger.Out(decode.LayerResource, olderCopy, 1, bytes)
			m.replace(i, &row, ev.Pos)
			r.noteBody(s)
			return
		default:
			ledger.Out(decode.LayerResource, olderCopy, 1, bytes)
			return
		}
	case twilio.Call:
		row := callResourceRow(s)
		i, ok := r.calls[row.SID]
		switch {
		case !ok && len(r.crows) >= b.limit.calls:
			b.tooManyResources(ev)
			return
		case !ok:
			r.calls[row.SID] = int32(len(r.crows))
			r.crows, r.cpos, r.updated = append(r.crows, row), append(r.cpos, ev.Pos), append(r.updated, Time(s.Updated))
		case newer(Time(s.Updated), row.Status, ev.Pos, r.updated[i], r.crows[i].Status, r.cpos[i]):
			ledger.Out(decode.LayerResource, olderCopy, 1, bytes)
			r.crows[i], r.cpos[i], r.updated[i] = row, ev.Pos, Time(s.Updated)
			return
		default:
			ledger.Out(decode.LayerResource, olderCopy, 1, bytes)
			return
		}
	default:
		ledger.Out(decode.LayerResource, "resource of another kind", 1, bytes)
		return
	}
	ledger.Out(decode.LayerResource, decode.ReasonUsed, 1, bytes)
}

func (b *Builder) tooManyResources(ev *decode.Event) {
	b.capped("exported resources")
	b.ledger.Out(decode.LayerResource, "too many resources", 1, int64(ev.WireLen))
}

func newer(at Time, status string, pos decode.Pos, oldAt Time, oldStatus string, oldPos decode.Pos) bool {
	c := cmp.Compare(at, oldAt)
	if c == 0 {
		c = cmp.Compare(progress(status), progress(oldStatus))
	}
	if c == 0 {
		c = cmp.Compare(oldPos.File, pos.File)
	}
	if c == 0 {
		c = cmp.Compare(oldPos.Frame, pos.Frame)
	}
	return c > 0
}

// progress orders statuses by how late in a resource's life they stand.
func progress(status string) int {
	switch status {
	case "scheduled", "accepted":
		return 1
	case "queued":
		return 2
	case "sending", "ringing", "receiving":
		return 3
	case "sent", "in-progress":
		return 4
	case "":
		return 0
	}
	return 5
}

func messageRow(s *twilio.Resource) Message {
	m := Message{
		SID: s.SID, AccountSID: s.AccountSID, MessagingServiceSID: s.MessagingServiceSID,
		Direction: s.Direction, From: s.From, To: s.To, Status: s.Status,
		QueuedAt: Time(s.Created), SentAt: Time(s.Sent), UpdatedAt: Time(s.Updated),
		TimeResolutionS: decode.Some(float64(s.ResolutionNS) / 1e9),
		Record:          decode.Some(s.Record),
	}
	if s.ErrorCode != 0 {
		m.ErrorCode = decode.Some(s.ErrorCode)
	}
	if s.Segments > 0 {
		m.Segments = decode.Some(s.Segments)
	}
	if s.Body.Known {
		m.BodyChars, m.BodyBytes = decode.Some(s.Body.Chars), decode.Some(s.Body.Bytes)
		m.Encoding = "gsm7"
		if s.Body.UCS2 {
			m.Encoding = "ucs2"
		}
		m.SegmentsGSM = decode.Some(s.Body.SegmentsGSM)
		if s.SegmentsToll > 0 && tollFree(s.From) && strings.HasPrefix(s.To, "+1") {
			m.SegmentsGSM = decode.Some(s.SegmentsToll)
		}
		m.Segments160 = decode.Some(twilio.Segments160(s.Body.Bytes))
	}
	m.WaitS = between(m.QueuedAt, m.SentAt, 1e9)
	return m
}

// tollFree tells a toll-free number of the North American plan.
func tollFree(number string) bool {
	if len(number) != 12 || number[:2] != "+1" {
		return false
	}
	switch number[2:5] {
	case "800", "833", "844", "855", "866", "877", "888":
		return true
	}
	return false
}

func callResourceRow(s *twilio.Resource) CallResource {
	c := CallResource{
		SID: s.SID, ParentCallSID: s.ParentCallSID, AccountSID: s.AccountSID, Status: s.Status, Direction: s.Direction,
		From: s.From, To: s.To, CreatedAt: Time(s.Created), StartedAt: Time(s.Started), EndedAt: Time(s.Ended),
		AnsweredBy: s.AnsweredBy, Record: decode.Some(s.Record),
	}
	if s.DurationKnown {
		c.DurationS = decode.Some(s.DurationS)
	}
	if s.QueueTimeKnown {
		c.QueueTimeMS = decode.Some(s.QueueTimeMS)
	}
	if s.ErrorCode != 0 {
		c.ErrorCode = decode.Some(s.ErrorCode)
	}
	return c
}

func (b *Builder) addQueued(ev *decode.Event) {
	q, r := ev.Queued, &b.resources
	if len(r.queued) >= b.limit.resources {
		b.capped("lines of queue logs")
		b.ledger.Out(decode.LayerQueueLog, "too many lines", 1, int64(ev.WireLen))
		return
	}
	r.queued = append(r.queued, queuedItem{at: Time(q.At), call: q.Kind == twilio.Call, to: q.To, sid: q.SID, pos: ev.Pos})
	b.ledger.Out(decode.LayerQueueLog, decode.ReasonUsed, 1, int64(ev.WireLen))
}

// rows hands the resources over to the trace, and joins calls with them.
func (r *resources) rows(t *Trace, files []string, callIDs map[string]int) {
	t.Messages, t.Bodies = r.messages.take(), r.bodies
	for i := range r.crows {
		r.crows[i].File = files[r.cpos[i].File]
	}
	t.CallResources = r.crows
	joinResources(t, callIDs)
}

// joinResources makes each call resource a leg: of the call with its CallSid,
// else of a call that only the export knows.
func joinResources(t *Trace, callIDs map[string]int) {
	bySID := map[string]int{}
	for i := range t.Calls {
		if t.Calls[i].CallSID != "" {
			bySID[t.Calls[i].CallSID] = i
		}
	}
	t.Calls = slices.Grow(t.Calls, len(t.CallResources)) // at most: growing by steps would take twice as much
	t.Legs = slices.Grow(t.Legs, len(t.CallResources))
	for i := range t.CallResources {
		r := &t.CallResources[i]
		k, ok := bySID[r.SID]
		if !ok {
			k = len(t.Calls)
			bySID[r.SID] = k
			t.Calls = append(t.Calls, callOfResource(r))
			t.Calls[k].CallID = unused(callIDs, r.SID)
		}
		c := &t.Calls[k]
		c.Legs++
		if r.Direction != "" {
			c.Direction = r.Direction
		}
		if r.ErrorCode.Known {
			c.ErrorCode = r.ErrorCode
		}
		if r.ParentCallSID != "" {
			c.ParentCallID = r.ParentCallSID
		}
		leg := Leg{LegID: uint32(len(t.Legs) + 1), CallID: c.CallID, Kind: "resource", ID: r.SID, JoinedBy: "CallSid",
			JoinScore: decode.Some(1.0), From: r.From, To: r.To, FirstAt: r.CreatedAt, LastAt: r.EndedAt}
		t.Legs = append(t.Legs, leg)
	}
	byID := make(map[string]int, len(t.Calls))
	for i := range t.Calls {
		byID[t.Calls[i].CallID] = i
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		c.RootCallID = c.CallID
		for at, n := c, 0; at.ParentCallID != "" && n < 16; n++ { // parents form no longer chain than <Dial> nests
			c.RootCallID = at.ParentCallID
			k, ok := bySID[at.ParentCallID]
			if !ok {
				k, ok = byID[at.ParentCallID]
			}
			if !ok {
				break
			}
			at = &t.Calls[k]
		}
	}
}

func callOfResource(r *CallResource) Call {
	c := Call{
		CallID: r.SID, CallSID: r.SID, Protocols: []string{}, SIPCallIDs: []string{}, From: r.From, To: r.To,
		InitiatedAt: r.CreatedAt, EndedAt: r.EndedAt, DurationS: r.DurationS, File: r.File,
	}
	if r.StartedAt != 0 {
		c.ArrivedAt, c.ArrivedBy, c.ArrivedErrorMS = r.StartedAt+halfSecond, "resource", decode.Some(500.0)
	}
	switch r.Status {
	case "completed":
		c.Outcome = "answered"
	case "busy":
		c.Outcome = "busy"
	case "no-answer":
		c.Outcome = "no-answer"
	case "canceled":
		c.Outcome = "cancelled"
	case "failed":
		c.Outcome = "failed"
	case "":
	default:
		c.Outcome = "in-progress"
	}
	return c
}

// QueuedAt is the second in which the provider says it accepted the call, by
// what date_created is taken for: the time of that (the API's own
// description), or the time of dialing, queue_time later. 0 unknown.
func (c *CallResource) QueuedAt(dialed bool) Time {
	const day = 24 * 3600 * 1000 // a queue holds no call longer
	switch q := c.QueueTimeMS; {
	case !dialed || c.CreatedAt == 0:
		return c.CreatedAt
	case !q.Known || q.V < 0 || q.V > day || c.CreatedAt <= Time(q.V*1e6):
		return 0
	default:
		return c.CreatedAt - Time(q.V*1e6)
	}
}

const halfSecond = 500_000_000 // ns: a time cut to whole seconds is s + 0.5 within 0.5 s

// makeArrivals makes one row per call that was queued or arrived, in queue
// order. Times: the request on the wire before the queue log, that before the
// resource; the capture before the resource.
func makeArrivals(t *Trace, b *Builder) {
	type item struct {
		Arrival
		order int64 // place among resources of the same second
	}
	items := make([]item, 0, max(len(t.Calls), len(t.CallResources)))
	bySID := map[string]int{}
	ascending := exportedOldestFirst(t.CallResources)
	for i := range t.CallResources {
		r := &t.CallResources[i]
		if r.ParentCallSID != "" || r.Direction != "" && r.Direction != "outbound-api" && r.Direction != "outbound" {
			continue // dialed by another call, or came in: never stood in the queue
		}
		it := item{order: int64(i)}
		if !ascending {
			it.order = -int64(i)
		}
		it.CallID, it.CallSID, it.To, it.File = r.SID, r.SID, r.To, r.File
		if at := r.QueuedAt(b.DialedCreated); at != 0 {
			it.QueuedAt, it.QueuedBy, it.QueuedErrorMS = at+halfSecond, "resource", decode.Some(500.0)
		}
		if r.StartedAt != 0 {
			it.ArrivedAt, it.ArrivedBy, it.ArrivedErrorMS = r.StartedAt+halfSecond, "resource", decode.Some(500.0)
		}
		bySID[r.SID] = len(items)
		items = append(items, it)
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		if c.ArrivedAt == 0 || c.ArrivedBy == "resource" {
			continue
		}
		k, ok := bySID[c.CallSID]
		if !ok || c.CallSID == "" {
			if c.Direction != "" && c.Direction != "inbound" && c.Direction != "outbound-api" {
				continue
			}
			k = len(items)
			it := item{order: int64(i)}
			it.CallID, it.CallSID, it.To = c.CallID, c.CallSID, c.To
			if c.CallSID != "" {
				bySID[c.CallSID] = k
			}
			items = append(items, it)
		}
		it := &items[k]
		it.ArrivedAt, it.ArrivedBy, it.ArrivedErrorMS = c.ArrivedAt, c.ArrivedBy, c.ArrivedErrorMS
		it.File, it.Frame = c.File, c.FirstFrame
		if pos, ok := b.arrivedPos[c.CallID]; ok {
			it.File, it.Frame = b.files[pos.File], decode.Some(pos.Frame)
		}
	}
	// the queue log: by SID, else by receiver in order
	queued := slices.Clone(b.resources.queued)
	slices.SortStableFunc(queued, func(x, y queuedItem) int {
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.pos.File, y.pos.File), cmp.Compare(x.pos.Frame, y.pos.Frame))
	})
	waiting := map[string][]int{}
	for i := range items {
		if len(queued) == 0 {
			break // nobody asks
		}
		waiting[items[i].To] = append(waiting[items[i].To], i)
	}
	for _, list := range waiting {
		slices.SortStableFunc(list, func(x, y int) int {
			return cmp.Or(cmp.Compare(items[x].QueuedAt, items[y].QueuedAt), cmp.Compare(items[x].order, items[y].order))
		})
	}
	logged := map[int]bool{}
	for n, q := range queued {
		if !q.call {
			continue
		}
		k, ok := bySID[q.sid]
		if !ok || q.sid == "" {
			k = -1
			if q.sid == "" {
				for list := waiting[q.to]; len(list) > 0 && k < 0; list = list[1:] {
					if !logged[list[0]] {
						k = list[0]
					}
					waiting[q.to] = list[1:]
				}
			}
			if k < 0 {
				k = len(items)
				it := item{}
				it.CallSID, it.CallID, it.To = q.sid, q.sid, q.to
				it.File = b.files[q.pos.File]
				items = append(items, it)
				if q.sid != "" {
					bySID[q.sid] = k
				}
			}
		}
		logged[k] = true
		items[k].order = int64(n)
		items[k].QueuedAt, items[k].QueuedBy, items[k].QueuedErrorMS = q.at, "queue-log", decode.Some(1.0)
		if items[k].To == "" {
			items[k].To = q.to
		}
	}
	for sid, p := range b.resources.posted {
		if k, ok := bySID[sid]; ok { // accepted between request and answer; answers keep the order
			items[k].QueuedAt, items[k].QueuedBy = p.answered, "http-post"
			items[k].QueuedErrorMS = decode.Some(float64(p.answered-p.asked) / 1e6)
		}
	}
	when := func(a *item) Time {
		if a.QueuedAt != 0 {
			return a.QueuedAt
		}
		return a.ArrivedAt
	}
	slices.SortStableFunc(items, func(x, y item) int {
		return cmp.Or(cmp.Compare(when(&x), when(&y)), cmp.Compare(x.order, y.order), strings.Compare(x.CallID, y.CallID))
	})
	t.Arrivals = make([]Arrival, 0, len(items))
	for i := range items {
		a := items[i].Arrival
		a.Seq = int64(i + 1)
		a.Endpoint = endpointKind(a.To, a.ArrivedBy)
		t.Arrivals = append(t.Arrivals, a)
	}
}

// exportedOldestFirst tells the order of an export; list pages come newest
// first.
func exportedOldestFirst(rows []CallResource) bool {
	up, down := 0, 0
	for i := 1; i < len(rows); i++ {
		switch {
		case rows[i].CreatedAt > rows[i-1].CreatedAt:
			up++
		case rows[i].CreatedAt < rows[i-1].CreatedAt:
			down++
		}
	}
	return up > down
}
