package report

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twtrace/twtrace/decode"
)

// Formatting of numbers, times and units lives here and nowhere else.

const (
	thin  = "\u2009" // thousands
	nbsp  = "\u00a0" // between a number and its unit
	minus = "\u2212"
	dash  = "\u2013" // between the ends of an interval in a table; none is negative
)

// show makes text from a capture visible and harmless to read: control and
// bidirectional characters become \u{..}, and what is longer than max runes is
// cut with an ellipsis. It is no escaping: HTML and SVG escape on their own.
func show(s string, max int) string {
	plain := len(s) <= max
	for i := 0; i < len(s) && plain; i++ {
		plain = ' ' <= s[i] && s[i] <= '~'
	}
	if plain {
		return s
	}
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n == max {
			b.WriteString("…")
			break
		}
		n++
		switch {
		case r == utf8.RuneError:
			if _, w := utf8.DecodeRuneInString(s[i:]); w == 1 {
				r = '\uFFFD'
			}
			b.WriteRune(r)
		case hidden(r):
			b.WriteString(`\u{` + strconv.FormatInt(int64(r), 16) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden tells whether a rune changes how its neighbours look: controls,
// bidirectional marks, joiners, line separators, private and unassigned ones.
func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co)
}

// showLines is show for a text of several lines, which stay lines.
func showLines(s string, max int) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = show(strings.ReplaceAll(lines[i], "\t", "    "), max)
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// group puts thin spaces between thousands of a plain decimal number and a
// true minus before it.
func group(s string) string {
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	whole, frac, _ := strings.Cut(s, ".")
	var b strings.Builder
	if neg && strings.Trim(s, "0.") != "" {
		b.WriteString(minus)
	}
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString(thin)
		}
		b.WriteByte(whole[i])
	}
	if frac != "" {
		b.WriteString("." + frac)
	}
	return b.String()
}

func count(n int64) string { return group(strconv.FormatInt(n, 10)) }

// plural is "1 call", "2 calls".
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// fixed has d decimals; what is no number is "".
func fixed(v float64, d int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	return group(strconv.FormatFloat(v, 'f', d, 64))
}

// sig has about n significant digits and never an exponent below 1e15.
func sig(v float64, n int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	if v == 0 {
		return "0"
	}
	d := n - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	return fixed(v, max(0, min(d, 9)))
}

// short is sig without trailing zeros: 1, 5, 0.5, 160.
func short(v float64, n int) string {
	t := sig(v, n)
	if strings.Contains(t, ".") {
		t = strings.TrimRight(strings.TrimRight(t, "0"), ".")
	}
	return t
}

// rateDecimals is 2, or 3 when the interval's half-width is below 0.006.
func rateDecimals(lo, hi decode.Opt[float64]) int {
	if lo.Known && hi.Known && (hi.V-lo.V)/2 < 0.006 {
		return 3
	}
	return 2
}

// interval is "[0.92, 0.94]"; an unknown end is said in words.
func interval(lo, hi decode.Opt[float64], d int) string {
	lo.Known, hi.Known = known(lo) != nil, known(hi) != nil
	switch {
	case lo.Known && hi.Known:
		return "[" + fixed(lo.V, d) + ", " + fixed(hi.V, d) + "]"
	case lo.Known:
		return "[" + fixed(lo.V, d) + " or more]"
	case hi.Known:
		return "[" + fixed(hi.V, d) + " or less]"
	}
	return ""
}

// optFixed and optCount are "" when unknown.
func optFixed(o decode.Opt[float64], d int) string {
	if known(o) == nil {
		return ""
	}
	return fixed(o.V, d)
}

func optCount(o decode.Opt[int64]) string {
	if !o.Known {
		return ""
	}
	return count(o.V)
}

// span is a duration with its unit: 0.12 ms, 371 ms, 2.4 s, 3 min 20 s.
func span(ns int64) string {
	neg := ""
	if ns < 0 {
		neg, ns = minus, -ns
	}
	ms := float64(ns) / 1e6
	s := float64(ns) / 1e9
	switch {
	case ns == 0:
		return "0"
	case ms < 0.001:
		return neg + strconv.FormatInt(ns, 10) + nbsp + "ns"
	case ms < 1:
		return neg + sig(ms, 2) + nbsp + "ms"
	case ms < 10:
		return neg + fixed(ms, 1) + nbsp + "ms"
	case ms < 999.5:
		return neg + fixed(ms, 0) + nbsp + "ms"
	case ns%1e9 == 0 && s < 600:
		return neg + fixed(s, 0) + nbsp + "s"
	case s < 9.995:
		return neg + fixed(s, 2) + nbsp + "s"
	case s < 120:
		return neg + fixed(s, 1) + nbsp + "s"
	case s < 7200:
		n := int64(s + 0.5)
		return neg + count(n/60) + nbsp + "min " + strconv.FormatInt(n%60, 10) + nbsp + "s"
	}
	n := int64(s/60 + 0.5)
	return neg + count(n/60) + nbsp + "h " + strconv.FormatInt(n%60, 10) + nbsp + "min"
}

// nanos is v units of so many ns, within what an int64 holds.
func nanos(v, unit float64) int64 {
	return int64(min(max(v*unit, -9e18), 9e18))
}

// since is the time of a rung from t = 0: ms with one decimal, from 1 s on s.
func since(ns int64) string {
	if ns == 0 {
		return "0"
	}
	sign := "+"
	if ns < 0 {
		sign, ns = minus, -ns
	}
	if ns < 1e9 {
		return sign + fixed(float64(ns)/1e6, 1) + nbsp + "ms"
	}
	return sign + fixed(float64(ns)/1e9, 4) + nbsp + "s"
}

// bytesText is a size: 1 508 bytes, 23.4 kB, 1.2 MB (SI).
func bytesText(n int64) string {
	f := float64(n)
	switch {
	case n < 10_000:
		return plural(n, "byte", "bytes")
	case n < 1_000_000:
		return sig(f/1e3, 3) + nbsp + "kB"
	case n < 1_000_000_000:
		return sig(f/1e6, 3) + nbsp + "MB"
	}
	return sig(f/1e9, 3) + nbsp + "GB"
}

// clock prints instants in one zone.
type clock struct{ zone *time.Location }

func (c clock) at(t decode.Time, layout string) string {
	if !t.Known() {
		return ""
	}
	z := c.zone
	if z == nil {
		z = time.UTC
	}
	return time.Unix(0, int64(t)).In(z).Format(layout)
}

// full is RFC 3339 to the microsecond, as whole seconds when it is one.
func (c clock) full(t decode.Time) string {
	if t%1e9 == 0 {
		return c.at(t, time.RFC3339)
	}
	return c.at(t, "2006-01-02T15:04:05.000000Z07:00")
}

func (c clock) second(t decode.Time) string { return c.at(t, time.RFC3339) }
func (c clock) day(t decode.Time) string    { return c.at(t, "2 January 2006") }

// listText is "a", "a and b", "a, b and c".
func listText(s []string) string {
	switch len(s) {
	case 0:
		return ""
	case 1:
		return s[0]
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}

// percent is a share of a whole, or "" of nothing.
func percent(part, whole int64) string {
	if whole == 0 {
		return ""
	}
	return sig(100*float64(part)/float64(whole), 2) + nbsp + "%"
}
