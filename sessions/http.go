package sessions

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/http"
	"github.com/twtrace/twtrace/decode/twilio"
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
		k := httpKey{ev.Flow.ID, ev.Dir, ev.Stream}
		b.openHTTP[k] = append(b.openHTTP[k], openRequest{signal: int32(len(b.signals)), at: ev.Time,
			post: m.Method == "POST", rest: strings.Contains(m.Target, "/2010-04-01/Accounts")})
		b.httpBody(ev, &s)
	} else {
		s.Kind = strconv.Itoa(m.Status)
		s.Label = strings.ToValidUTF8(strings.TrimSpace(s.Kind+" "+m.Reason), "\uFFFD")
		s.StatusCode = decode.Some(int64(m.Status))
		k := httpKey{ev.Flow.ID, 1 - ev.Dir, ev.Stream}
		if open := b.openHTTP[k]; len(open) > 0 && m.Status >= 200 {
			q := &b.signals[open[0].signal]
			q.DurationMS = between(q.At, ev.Time, 1e6)
			if open[0].rest && m.Status < 300 {
				b.restAnswer(ev, open[0])
			}
			if b.openHTTP[k] = open[1:]; len(open) == 1 {
				delete(b.openHTTP, k)
			}
		}
	}
	s.Detail = b.keepDetail([]byte(cut(m.Detail(), maxDetail)))
	b.signals = append(b.signals, s)
}

type httpKey struct {
	flow   uint32
	dir    uint8
	stream uint32 // of HTTP/2
}

// openRequest is a request that waits for its response.
type openRequest struct {
	signal     int32
	at         Time
	post, rest bool
}

// restAnswer reads what a REST resource answered: what a POST created was
// accepted between request and response, and lists are exports found in
// traffic.
func (b *Builder) restAnswer(ev *decode.Event, q openRequest) {
	body, err := http.Decode(ev.HTTP.ContentEncoding, ev.HTTP.Body, maxBody)
	if err != nil || len(body) == 0 {
		return
	}
	inner := *ev
	_, _ = twilio.Decode(bytes.NewReader(body), func(r *twilio.Resource) error { // damage here is the capture's, counted there
		b.ledger.In(decode.LayerResource, 1)
		inner.Resource, inner.WireLen = r, 0
		r.Record = ev.Pos.Frame
		b.resources.add(&inner, b.ledger)
		if q.post {
			b.resources.post(r.SID, q.at, ev.Time)
			b.aboutCall(int(q.signal), r.SID)
			b.aboutCall(len(b.signals), r.SID)
		}
		return nil
	})
}

const maxBody = 16 << 20 // bytes of a decompressed body

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
