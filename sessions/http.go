package sessions

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/decode"
)

const maxHTTPSignals = 1 << 18

// addHTTP takes one HTTP message: a rung of no call yet, and a name for the
// server.
func (b *Builder) addHTTP(ev *decode.Event) {
	m := ev.HTTP
	if m.Request && m.Host != "" {
		host, _, _ := strings.Cut(m.Host, ":")
		if _, err := netip.ParseAddr(host); err != nil {
			b.nameHost(ev.Dst().Addr(), host, "http-host")
		}
	}
	if b.httpSignals >= maxHTTPSignals {
		b.capped("http messages")
		return
	}
	b.httpSignals++
	s := Signal{FlowID: decode.Some(ev.Flow.ID), At: ev.Time, File: b.files[ev.Pos.File],
		Frame: decode.Some(ev.Pos.Frame), FirstFrame: decode.Some(ev.Pos.First), Protocol: "http", Decrypted: ev.Decrypted}
	b.fillEnds(&s, ev)
	if m.Request {
		s.Kind = strings.ToValidUTF8(m.Method+" "+resourceOf(m.Target), "\uFFFD")
		s.Label = s.Kind
		b.openHTTP[httpKey{ev.Flow.ID, ev.Dir}] = append(b.openHTTP[httpKey{ev.Flow.ID, ev.Dir}], int32(len(b.signals)))
	} else {
		s.Kind = strconv.Itoa(m.Status)
		s.Label = strings.ToValidUTF8(strings.TrimSpace(s.Kind+" "+m.Reason), "\uFFFD")
		s.StatusCode = decode.Some(int64(m.Status))
		k := httpKey{ev.Flow.ID, 1 - ev.Dir}
		if open := b.openHTTP[k]; len(open) > 0 && m.Status >= 200 {
			q := &b.signals[open[0]]
			q.DurationMS = between(q.At, ev.Time, 1e6)
			b.openHTTP[k] = open[1:]
		}
	}
	s.Detail = b.intern([]byte(cut(m.Detail(), maxDetail)))
	b.signals = append(b.signals, s)
}

type httpKey struct {
	flow uint32
	dir  uint8
}

// resourceOf is the last resource name of a REST path, else the path without
// its query: POST /2010-04-01/Accounts/AC.../Calls.json is POST Calls.
func resourceOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if strings.Contains(path, "/Accounts/") {
		base := path[strings.LastIndexByte(path, '/')+1:]
		base = strings.TrimSuffix(strings.TrimSuffix(base, ".json"), ".csv")
		if len(base) == 34 && strings.ToUpper(base[:2]) == base[:2] { // a SID: name what it is of
			rest := strings.TrimSuffix(path[:strings.LastIndexByte(path, '/')], "/")
			return rest[strings.LastIndexByte(rest, '/')+1:]
		}
		return base
	}
	if len(path) > 128 {
		path = path[:128]
	}
	return path
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
