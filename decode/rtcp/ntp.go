package rtcp

// eraUnix is where the NTP eras begin, in Unix seconds: era 0 at 1900-01-01,
// era 1 at 2036-02-07T06:28:16Z (RFC 5905, 6).
const (
	era0Unix = -2208988800
	era1Unix = era0Unix + 1<<32
)

// UnixNano is an NTP time as nanoseconds since 1970 UTC, to the nearest. A
// time with the highest bit set lies in era 0 (1968 to 2036), one without in
// era 1 (2036 to 2104), as RFC 4330, 3 has it. Zero gives zero: RFC 3550,
// 6.4.1 lets a sender without a clock say so. Senders that put a time since
// start there land in era 1.
func UnixNano(ntp uint64) int64 {
	if ntp == 0 {
		return 0
	}
	sec := int64(ntp >> 32)
	if sec >= 1<<31 {
		sec += era0Unix
	} else {
		sec += era1Unix
	}
	return sec*1e9 + int64(((ntp&0xffffffff)*1e9+1<<31)>>32)
}

// MiddleNTP is the middle 32 bits of an NTP time, the form of
// ReportBlock.LSR (RFC 3550, 6.4.1).
func MiddleNTP(ntp uint64) uint32 { return uint32(ntp >> 16) }
