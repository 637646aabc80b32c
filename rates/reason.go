package rates

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// notes are what the reason says beside the verdicts.
type notes struct {
	few          bool
	fifo, even   bool
	noQueueTimes bool
	uncounted    bool
	backwards    bool
	idle         float64 // u, when it was too long
	part         int     // gaps left out
	disagree     bool    // the manifest and the count
	manifestSays int64
	counted      int64
	runs         int
	notAllBusy   bool

	little                           bool
	meanQueue, rateWait, littleError float64
	lacking                          int64

	posts postSide
}

func whyFew(n int) string {
	return "fewer than 9 instants (" + strconv.Itoa(n) + ")"
}

// Number writes a rate or a time for a reader: four significant digits, no exponent.
func Number(x float64) string {
	a := math.Abs(x)
	digits := 3
	switch {
	case a >= 1000:
		digits = 0
	case a >= 100:
		digits = 1
	case a >= 10:
		digits = 2
	case a >= 1 || a == 0:
	case a >= 1e-9:
		digits = 3 - int(math.Floor(math.Log10(a)))
	default:
		digits = 12
	}
	s := strconv.FormatFloat(x, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// told is a verdict's reason: the end that decided, and the limit it is held against.
func (m *measurement) told(b bounds) string {
	pct := Number(m.tol*100) + " %"
	below := Number(m.g*(1-m.tol)) + "/s = " + Number(m.g) + "/s less " + pct
	switch verdict(b, m.g, m.tol) {
	case "exceeds":
		return "lower end " + Number(b.lo) + "/s lies above " + Number(m.g*(1+m.tol)) + "/s = " + Number(m.g) + "/s plus " + pct
	case "below":
		return "upper end " + Number(b.hi) + "/s lies below " + below
	case "meets":
		return "lower end " + Number(b.lo) + "/s is not below " + below
	}
	switch {
	case !b.has:
		return "there is no interval"
	case !b.hasHi:
		return "there is no upper end: the first and the last time may be equal within their error"
	}
	return below + " lies inside the interval " + Number(b.lo) + " to " + Number(b.hi) + "/s"
}

// reason says why both verdicts are what they are.
func (m *measurement) reason() string {
	r, n := &m.run, &m.note
	var s strings.Builder
	s.WriteString("In this run: ")
	switch {
	case n.few:
		s.WriteString("a rate needs two items that left at a known time, here " + strconv.FormatInt(r.Items, 10))
	case n.uncounted:
		s.WriteString("no rate: " + whyUncounted)
	case n.backwards:
		s.WriteString("no rate: the call queued last arrived before the one queued first")
	case !m.segmented:
		s.WriteString("no verdict: the segments of some messages are not known")
	case !r.Backlog && n.notAllBusy:
		s.WriteString("no verdict: a run has no backlog that is shown")
	case !r.Backlog && n.noQueueTimes:
		s.WriteString("no verdict: " + whyNoQueueTimes)
	case !r.Backlog && n.idle > 0:
		s.WriteString("no verdict: no backlog is shown: up to " + Number(n.idle) + " s of the " + Number(m.p.t) + " s may have been idle, more than a tenth")
	case !r.Backlog && m.p.itemMax < minGaps:
		s.WriteString("no verdict: no backlog can be shown by " + whyFew(int(m.p.itemMax)+1))
	case !r.Backlog:
		s.WriteString("no verdict: " + whyNoBacklog)
	default:
		if m.sized() {
			s.WriteString("in segments ")
		}
		s.WriteString(m.told(m.seg))
		if n.part > 0 {
			s.WriteString(" (" + count(n.part, "gap") + " without a sure backlog left out)")
		}
	}
	s.WriteString(". Sustained: ")
	if m.sus.ok {
		s.WriteString(m.told(bounds{lo: m.sus.lo, point: m.sus.point, hi: m.sus.hi, has: true, hasHi: true}))
	} else if strings.HasSuffix(s.String(), m.sus.why+". Sustained: ") {
		s.WriteString("none, for the same reason")
	} else {
		s.WriteString("none, " + m.sus.why)
	}
	s.WriteString(".")
	if m.sus.changed {
		s.WriteString(" The rate changed")
		if m.sus.beforeOK {
			s.WriteString(" from " + Number(m.sus.before.point) + "/s (" + Number(m.sus.before.lo) + " to " + Number(m.sus.before.hi) + "/s)")
		}
		s.WriteString(" at change_at; sustained means after it.")
	}
	if n.fifo && !n.uncounted {
		s.WriteString(" First in, first out is assumed")
		if n.even {
			s.WriteString(", and even service")
			if m.p.idle > 0 {
				s.WriteString(" (at most " + Number(m.p.idle) + " s idle)")
			}
		}
		s.WriteString(".")
	}
	if n.disagree {
		s.WriteString(" The manifest says " + strconv.FormatInt(n.manifestSays, 10) + " calls, counted were " + strconv.FormatInt(n.counted, 10) + "; the interval covers both.")
	}
	if n.little {
		s.WriteString(" Little's law fails: on average " + Number(n.meanQueue) + " waited, but rate times wait is " + Number(n.rateWait) + " (error " + Number(n.littleError) + "): " +
			count(int(n.lacking), "item") + " queued, without a time of leaving.")
	}
	m.tellQueueSide(&s)
	return s.String()
}

// tellQueueSide says how the items came in, and what their times rest on.
func (m *measurement) tellQueueSide(s *strings.Builder) {
	r, p := &m.run, &m.note.posts
	if p.n > 0 {
		s.WriteString(" Queue side: " + count(int(p.n), "POST"))
		if r.PostP50MS.Known {
			s.WriteString(", median " + Number(p.median) + " ms")
		}
		share := Number(100*p.share) + " % of the time"
		switch {
		case p.refused > 0:
			s.WriteString("; the server refused " + strconv.FormatInt(p.refused, 10) + " with 429: it limited the queue rate.")
		case r.QueueLimitedBy == "server" && p.rtt > 0 && p.median <= rttsServer*p.rtt:
			s.WriteString(", no 429; one at a time, an answer was awaited " + share + ": the network limited the queue rate, at a round trip of " + Number(p.rtt) + " ms.")
		case r.QueueLimitedBy == "server":
			s.WriteString(", no 429; one at a time, an answer was awaited " + share + ": the server or the network limited the queue rate.")
		case r.QueueLimitedBy == "client":
			s.WriteString(", no 429; an answer was awaited only " + share + ": the client limited the queue rate.")
		default:
			s.WriteString(", no 429; who limited the queue rate does not show.")
		}
		if p.refused == 0 && r.ExpectedPerS.Known && r.QueueLowPerS.Known && r.QueueLowPerS.V > r.ExpectedPerS.V {
			s.WriteString(" Items were accepted faster than they are promised to leave: queueing was not throttled.")
		}
	}
	if m.kind == "calls" && m.created && slices.ContainsFunc(m.items, func(it item) bool { return it.q != 0 }) {
		if m.opt.CallCreated == "dialed" {
			s.WriteString(" Queue times are date_created less queue_time: date_created is taken for the time of dialing.")
		} else {
			s.WriteString(" Queue times are date_created, taken for the time of acceptance.")
		}
	}
	if r.LatencyMaxMS.Known {
		how := "by half the round trip of the connection's handshake"
		if m.latencyBy == "captures" {
			how = "between two captures, by their clocks"
		}
		s.WriteString(" Network part of an arrival: at most " + Number(r.LatencyMaxMS.V) + " ms, " + how + "; less than " + Number(seconds(packetBound)*1000) + " ms is assumed, which ")
		switch {
		case r.LatencyMaxMS.V < seconds(packetBound)*1000:
			s.WriteString("holds.")
		case m.latencyBy == "captures":
			s.WriteString("does not hold.")
		default: // the bound is larger, the latency need not be
			s.WriteString("may not hold.")
		}
	}
}

// sized tells that items and segments are not the same.
func (m *measurement) sized() bool {
	return m.p.segMin != m.p.itemMin || m.p.segMax != m.p.itemMax
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}
