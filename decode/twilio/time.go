package twilio

import "math"

// parseTime reads an instant in any spelling that Twilio's exports use:
//
//	Fri, 24 May 2019 17:44:50 +0000           RFC 2822, the 2010 API
//	2019-05-24T17:44:50.000Z                  ISO 8601, with or without fraction and zone
//	May 24 2019 12:44:50 GMT-0500             twilio-cli
//	Fri May 24 2019 12:44:50 GMT-0500 (CDT)   JavaScript
//	14:52:06 EDT 2020-09-10                   Console, 2020
//
// It returns nanoseconds since 1970 UTC and the resolution in nanoseconds: one
// second, or finer when a fraction was written that is not zero. Seconds are
// required, so is the zone when needZone is set.
func parseTime(b []byte, needZone bool) (ns, resolution int64, ok bool) {
	if len(b) > 128 {
		return 0, 0, false
	}
	c := timeCursor{b: b, resolution: 1e9}
	c.spaces()
	switch {
	case c.digitsAhead() == 4:
		c.date()
		if !c.take('T') && !c.take('t') && !c.spaces() {
			c.bad = true
		}
		c.clock()
		if c.spaces(); c.i < len(b) || needZone {
			c.zone()
		}
	case c.digitsAhead() == 2 && c.i+2 < len(b) && b[c.i+2] == ':':
		c.clock()
		c.spaces()
		c.zone()
		c.spaces()
		c.date()
	case c.digitsAhead() > 0:
		c.rfc2822()
	default:
		w := c.word()
		if m := month(w); m > 0 {
			c.monthFirst(m)
			break
		}
		if !weekday(w) {
			return 0, 0, false
		}
		comma := c.take(',')
		c.spaces()
		if comma || c.digitsAhead() > 0 {
			c.rfc2822()
		} else {
			c.monthFirst(month(c.word()))
		}
	}
	c.spaces()
	if c.bad || c.i != len(b) {
		return 0, 0, false
	}
	return c.instant()
}

type timeCursor struct {
	b          []byte
	i          int
	bad        bool
	y, mo, d   int
	h, m, s    int
	nanos      int64
	resolution int64
	offset     int // seconds east of UTC
}

func (c *timeCursor) take(x byte) bool {
	if c.i < len(c.b) && c.b[c.i] == x {
		c.i++
		return true
	}
	return false
}

func (c *timeCursor) want(x byte) {
	if !c.take(x) {
		c.bad = true
	}
}

func (c *timeCursor) spaces() bool {
	from := c.i
	for c.take(' ') {
	}
	return c.i > from
}

func (c *timeCursor) digitsAhead() int {
	n := 0
	for c.i+n < len(c.b) && c.b[c.i+n] >= '0' && c.b[c.i+n] <= '9' {
		n++
	}
	return n
}

// num reads a number of lo to hi digits, all that stand there.
func (c *timeCursor) num(lo, hi int) int {
	from, v := c.i, 0
	for c.i < len(c.b) && c.b[c.i] >= '0' && c.b[c.i] <= '9' {
		v = v*10 + int(c.b[c.i]-'0')
		c.i++
	}
	if n := c.i - from; n < lo || n > hi {
		c.bad = true
		return 0
	}
	return v
}

func (c *timeCursor) word() []byte {
	from := c.i
	for c.i < len(c.b) && (c.b[c.i]|0x20) >= 'a' && (c.b[c.i]|0x20) <= 'z' {
		c.i++
	}
	return c.b[from:c.i]
}

func (c *timeCursor) date() {
	c.y = c.num(4, 4)
	c.want('-')
	c.mo = c.num(2, 2)
	c.want('-')
	c.d = c.num(2, 2)
}

func (c *timeCursor) clock() {
	c.h = c.num(1, 2)
	c.want(':')
	c.m = c.num(2, 2)
	c.want(':')
	c.s = c.num(2, 2)
	if !c.take('.') && !c.take(',') {
		return
	}
	n := c.digitsAhead()
	if n == 0 {
		c.bad = true
		return
	}
	c.nanos, c.resolution = fraction(c.b[c.i : c.i+n])
	c.i += n
}

// fraction is the value in ns of the digits after a decimal point, cut to nine,
// and the resolution that they show.
func fraction(digits []byte) (ns, resolution int64) {
	significant := 0
	unit := int64(1e8)
	for i, x := range digits {
		if i == 9 {
			break
		}
		if x != '0' {
			significant = i + 1
		}
		ns += int64(x-'0') * unit
		unit /= 10
	}
	switch {
	case significant == 0:
		return ns, 1e9
	case significant <= 3:
		return ns, 1e6
	case significant <= 6:
		return ns, 1e3
	}
	return ns, 1
}

func (c *timeCursor) rfc2822() {
	c.d = c.num(1, 2)
	c.spaces()
	c.mo = month(c.word())
	c.spaces()
	c.y = c.num(4, 4)
	c.spaces()
	c.clock()
	c.spaces()
	c.zone()
}

func (c *timeCursor) monthFirst(m int) {
	c.mo = m
	c.spaces()
	c.d = c.num(1, 2)
	c.take(',')
	c.spaces()
	c.y = c.num(4, 4)
	c.spaces()
	c.clock()
	c.spaces()
	c.zone()
	if c.spaces(); c.take('(') { // JavaScript repeats the zone's name
		for c.i < len(c.b) && c.b[c.i] != ')' {
			c.i++
		}
		c.want(')')
	}
}

// zone reads Z, a name, an offset, or GMT with an offset. The names are those
// of RFC 2822 section 4.3 and of Alaska and Hawaii.
func (c *timeCursor) zone() {
	hours := 0
	utc := false
	switch string(c.word()) {
	case "":
	case "Z", "z", "UT", "UTC", "GMT":
		utc = true
	case "EDT":
		hours = -4
	case "EST", "CDT":
		hours = -5
	case "CST", "MDT":
		hours = -6
	case "MST", "PDT":
		hours = -7
	case "PST", "AKDT":
		hours = -8
	case "AKST":
		hours = -9
	case "HST":
		hours = -10
	default:
		c.bad = true
	}
	c.offset = hours * 3600
	if hours != 0 || c.bad {
		return
	}
	sign := 0
	switch {
	case c.take('+'):
		sign = 1
	case c.take('-'):
		sign = -1
	default:
		if !utc {
			c.bad = true
		}
		return
	}
	var h, m int
	if c.digitsAhead() == 4 {
		v := c.num(4, 4)
		h, m = v/100, v%100
	} else {
		h = c.num(2, 2)
		if c.take(':') {
			m = c.num(2, 2)
		}
	}
	if h > 23 || m > 59 {
		c.bad = true
	}
	c.offset = sign * (h*3600 + m*60)
}

func (c *timeCursor) instant() (ns, resolution int64, ok bool) {
	if c.y == 0 || c.mo < 1 || c.mo > 12 || c.d < 1 || c.d > daysIn(c.y, c.mo) || c.h > 23 || c.m > 59 || c.s > 60 {
		return 0, 0, false
	}
	sec := days(c.y, c.mo, c.d)*86400 + int64(c.h*3600+c.m*60+c.s-c.offset)
	const limit = math.MaxInt64/1000000000 - 1
	if sec < -limit || sec > limit {
		return 0, 0, false
	}
	return sec*1e9 + c.nanos, c.resolution, true
}

func daysIn(y, m int) int {
	switch m {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// days is the number of days from 1970-01-01 to y-m-d in the Gregorian
// calendar. The year is shifted to begin in March, so that the leap day is its
// last; y is at least 1.
func days(y, m, d int) int64 {
	if m < 3 {
		y--
		m += 12
	}
	return int64(365*y+y/4-y/100+y/400+(153*(m-3)+2)/5+d-1) - 719468
}

func month(w []byte) int {
	if len(w) < 3 {
		return 0
	}
	switch string(w[:3]) {
	case "Jan":
		return 1
	case "Feb":
		return 2
	case "Mar":
		return 3
	case "Apr":
		return 4
	case "May":
		return 5
	case "Jun":
		return 6
	case "Jul":
		return 7
	case "Aug":
		return 8
	case "Sep":
		return 9
	case "Oct":
		return 10
	case "Nov":
		return 11
	case "Dec":
		return 12
	}
	return 0
}

func weekday(w []byte) bool {
	if len(w) < 3 {
		return false
	}
	switch string(w[:3]) {
	case "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun":
		return true
	}
	return false
}

// parseEpoch reads decimal seconds since 1970 exactly; digits beyond the ninth
// after the point are dropped.
func parseEpoch(b []byte) (int64, bool) {
	var sec int64
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if i == 10 { // 9999999999 s is in the year 2286
			return 0, false
		}
		sec = sec*10 + int64(b[i]-'0')
	}
	if i == 0 || sec > math.MaxInt64/1000000000-1 {
		return 0, false
	}
	ns := sec * 1e9
	if i == len(b) {
		return ns, true
	}
	digits := b[i+1:]
	if b[i] != '.' || len(digits) == 0 {
		return 0, false
	}
	for _, x := range digits {
		if x < '0' || x > '9' {
			return 0, false
		}
	}
	f, _ := fraction(digits)
	return ns + f, true
}
