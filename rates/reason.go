package rates

import (
	"math"
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
}

func whyFew(n int) string {
	return "fewer than 9 instants (" + strconv.Itoa(n) + ")"
}

// number writes a rate or a time for a reader: four significant digits, no exponent.
func number(x float64) string {
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
	pct := number(m.tol*100) + " %"
	below := number(m.g*(1-m.tol)) + "/s = " + number(m.g) + "/s less " + pct
	switch verdict(b, m.g, m.tol) {
	case "exceeds":
		return "lower end " + number(b.lo) + "/s lies above " + number(m.g*(1+m.tol)) + "/s = " + number(m.g) + "/s plus " + pct
	case "below":
		return "upper end " + number(b.hi) + "/s lies below " + below
	case "meets":
		return "lower end " + number(b.lo) + "/s is not below " + below
	}
	switch {
	case !b.has:
		return "there is no interval"
	case !b.hasHi:
		return "there is no upper end: the first and the last time may be equal within their error"
	}
	return below + " lies inside the interval " + number(b.lo) + " to " + number(b.hi) + "/s"
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
	case !r.Busy && n.notAllBusy:
		s.WriteString("no verdict: a run has no backlog that is shown")
	case !r.Busy && n.noQueueTimes:
		s.WriteString("no verdict: " + whyNoQueueTimes)
	case !r.Busy && n.idle > 0:
		s.WriteString("no verdict: no backlog is shown: up to " + number(n.idle) + " s of the " + number(r.SpanS) + " s may have been idle, more than a tenth")
	case !r.Busy && r.ItemsMax < minGaps:
		s.WriteString("no verdict: no backlog can be shown by " + whyFew(int(r.ItemsMax)+1))
	case !r.Busy:
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
			s.WriteString(" from " + number(m.sus.before.point) + "/s (" + number(m.sus.before.lo) + " to " + number(m.sus.before.hi) + "/s)")
		}
		s.WriteString(" at change_at; sustained means after it.")
	}
	if n.fifo && !n.uncounted {
		s.WriteString(" First in, first out is assumed")
		if n.even {
			s.WriteString(", and even service")
			if r.IdleS > 0 {
				s.WriteString(" (at most " + number(r.IdleS) + " s idle)")
			}
		}
		s.WriteString(".")
	}
	if n.disagree {
		s.WriteString(" The manifest says " + strconv.FormatInt(n.manifestSays, 10) + " calls, counted were " + strconv.FormatInt(n.counted, 10) + "; the interval covers both.")
	}
	if n.little {
		s.WriteString(" Little's law fails: on average " + number(n.meanQueue) + " waited, but rate times wait is " + number(n.rateWait) + " (error " + number(n.littleError) + "): " +
			count(int(n.lacking), "item") + " queued, without a time of leaving.")
	}
	return s.String()
}

// sized tells that items and segments are not the same.
func (m *measurement) sized() bool {
	return m.run.SegmentsMin != m.run.ItemsMin || m.run.SegmentsMax != m.run.ItemsMax
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}
