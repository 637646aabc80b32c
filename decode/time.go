package decode

import "time"

// Time is an instant: nanoseconds since 1970-01-01 00:00:00 UTC. Zero means
// unknown (a pcapng simple packet has no time); so a record stamped exactly
// 1970-01-01T00:00:00.000000000 counts as one without a time.
type Time int64

// Sub is the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// Known tells whether t is an instant at all.
func (t Time) Known() bool { return t != 0 }

// String is t as RFC 3339 with nine digits in UTC, or "" when unknown.
func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return time.Unix(0, int64(t)).UTC().Format("2006-01-02T15:04:05.000000000Z")
}

// Opt is a value that may be unknown. Unknown is never 0, "" or NaN.
type Opt[T any] struct {
	V     T
	Known bool
}

// Some is a known value.
func Some[T any](v T) Opt[T] { return Opt[T]{V: v, Known: true} }
