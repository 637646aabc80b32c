package rates

import (
	"cmp"
	"slices"

	"github.com/twtrace/twtrace/sessions"
)

// postSide is how the items came into the queue, by the POSTs on the wire:
// their latency, how many were refused, and who limited the rate.
//
//   - server: the API answered 429 to some, or the client sent one at a time
//     and waited for answers in more than 90 % of the time between the first
//     request and the last answer. The wait is the server's or the network's;
//     the reason tells them apart by the round trip of the connection.
//   - client: answers were outstanding in less than half of that time, so that
//     the gaps between an answer and the next request were the longer part.
//   - unknown: anything else, fewer than three POSTs, or none seen.
type postSide struct {
	n, refused  int64
	median, rtt float64 // ms; rtt 0 unknown
	share       float64 // of the time in which an answer was outstanding
	single      bool    // never two at once
	timed       bool    // share is known
}

const (
	minPosts   = 3
	waitsMost  = 0.9
	waitsLess  = 0.5
	tooMany    = 429
	rttsServer = 2 // a median of more round trips than this is not the network's
)

// postsByQueue parts the POSTs into the queues: by what the queues are parted
// by; beside a single queue of the kind there is no doubt.
func postsByQueue(list []*queue, posts []sessions.Post) [][]*sessions.Post {
	out := make([][]*sessions.Post, len(list))
	if len(posts) == 0 {
		return out
	}
	type key struct{ kind, by, name string }
	at := map[key]int{}
	only := map[string]int{} // the sole queue of a kind, -1 when there are several
	for i, q := range list {
		at[key{q.kind, q.by, q.name}] = i
		if _, again := only[q.kind]; again {
			only[q.kind] = -1
		} else {
			only[q.kind] = i
		}
	}
	for i := range posts {
		p := &posts[i]
		to, ok := only[p.Kind]
		if !ok {
			continue
		}
		if to < 0 {
			for _, k := range [...]queueKey{{"service", p.Service}, {"from", p.From}, {"account", p.Account}} {
				if n, ok := at[key{p.Kind, k.by, k.name}]; ok && k.name != "" {
					to = n
					break
				}
			}
		}
		if to >= 0 {
			out[to] = append(out[to], p)
		}
	}
	return out
}

func (m *measurement) queueSide() {
	if len(m.posts) == 0 {
		return
	}
	s := sumPosts(m.posts)
	r := &m.run
	r.HTTP429 = sessions.Int{V: s.refused, Known: true}
	if s.n > s.refused {
		r.PostP50MS = some(s.median)
	}
	switch {
	case s.refused > 0:
		r.QueueLimitedBy = "server"
	case !s.timed:
	case s.single && s.share > waitsMost:
		r.QueueLimitedBy = "server"
	case s.share < waitsLess:
		r.QueueLimitedBy = "client"
	}
	m.note.posts = s
}

func sumPosts(posts []*sessions.Post) postSide {
	var s postSide
	ps := make([]*sessions.Post, 0, len(posts))
	var took, trips []float64
	for _, p := range posts {
		if p.Asked <= 0 || p.Answered < p.Asked || p.Answered >= maxTime {
			continue
		}
		ps = append(ps, p)
		switch {
		case p.Status == tooMany:
			s.refused++
		case p.Status < 300:
			took = append(took, float64(p.Answered-p.Asked)/1e6)
		}
		if p.RTTms.Known {
			trips = append(trips, p.RTTms.V)
		}
	}
	s.n = int64(len(ps))
	if len(took) > 0 {
		slices.Sort(took)
		s.median = quantile(took, 50)
	}
	if len(trips) > 0 {
		slices.Sort(trips)
		s.rtt = quantile(trips, 50)
	}
	slices.SortFunc(ps, func(x, y *sessions.Post) int {
		return cmp.Or(cmp.Compare(x.Asked, y.Asked), cmp.Compare(x.Answered, y.Answered))
	})
	if len(ps) < minPosts {
		return s
	}
	var busy, until sessions.Time
	s.single = true
	for i, p := range ps {
		from := p.Asked
		if i > 0 && from < until {
			s.single = false
			from = until
		}
		if p.Answered > from {
			busy += p.Answered - from
		}
		until = max(until, p.Answered)
	}
	if t := until - ps[0].Asked; t > 0 {
		s.share, s.timed = float64(busy)/float64(t), true
	}
	return s
}

// latency is the network's part of the captured arrivals.
func (m *measurement) latency() {
	var ms []float64
	for i := range m.items {
		if it := &m.items[i]; it.delay {
			ms = append(ms, it.lat)
		}
	}
	if len(ms) == 0 {
		return
	}
	slices.Sort(ms)
	m.run.LatencyBy = m.latencyBy
	m.run.LatencyP50MS, m.run.LatencyMaxMS = some(quantile(ms, 50)), some(ms[len(ms)-1])
}
