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
	rung := int32(b.signals.Len())
	if b.httpSignals >= maxHTTPSignals {
		b.capped("http messages")
		rung = -1
	}
	b.exchange(ev, rung)
	if rung < 0 {
		return
	}
	b.httpSignals++
	s := Signal{FlowID: decode.Some(ev.Flow.ID), At: ev.Time, File: b.files[ev.Pos.File],
		Frame: decode.Some(ev.Pos.Frame), FirstFrame: decode.Some(ev.Pos.First), Protocol: "http", Decrypted: ev.Decrypted}
	b.fillEnds(&s, ev)
	if m.Request {
		s.Kind = strings.ToValidUTF8(m.Method+" "+resourceOf(m.Target), "\uFFFD")
		s.Label = s.Kind
		b.httpBody(ev, &s)
	} else {
		s.Kind = strconv.Itoa(m.Status)
		s.Label = strings.ToValidUTF8(strings.TrimSpace(s.Kind+" "+m.Reason), "\uFFFD")
		s.StatusCode = decode.Some(int64(m.Status))
	}
	b.detail = m.Detail(b.detail[:0])
	s.Detail = b.keepDetail(b.detail)
	b.addSignal(&s, nil)
}

type httpKey struct {
	flow   uint32
	dir    uint8
	stream uint32 // of HTTP/2
}

// openRequest is a request that waits for its response.
type openRequest struct {
	signal     int32 // -1 when it is none
	at         Time
	post, rest bool
	long       bool  // of several segments
	made       *Post // when it is to create a call or a message
}

const maxOpenHTTP = 1 << 18 // requests without a response

// exchange joins each response with its request; rung is the signal that
// the message becomes, -1 for none.
func (b *Builder) exchange(ev *decode.Event, rung int32) {
	m := ev.HTTP
	if m.Request {
		if b.waitingHTTP >= maxOpenHTTP {
			// from here on a response could be taken for another request's
			b.capped("requests without a response")
			return
		}
		b.waitingHTTP++
		q := openRequest{signal: rung, at: ev.Time, post: m.Method == "POST", long: ev.Pos.First != ev.Pos.Frame,
			rest: strings.Contains(m.Target, "/2010-04-01/Accounts") || strings.Contains(m.Target, "/2008-08-01/Accounts")}
		if q.post {
			if kind, account := creates(m.Target); kind != "" {
				q.made = &Post{Kind: kind, Account: strings.ToValidUTF8(cut(account, 64), "\uFFFD")}
				q.made.ask(ev)
			}
		}
		k := httpKey{ev.Flow.ID, ev.Dir, ev.Stream}
		b.openHTTP[k] = append(b.openHTTP[k], q)
		return
	}
	k := httpKey{ev.Flow.ID, 1 - ev.Dir, ev.Stream}
	open := b.openHTTP[k]
	if len(open) == 0 || m.Status < 200 { // 1xx is followed by another (RFC 9110, 15.2)
		return
	}
	q := &open[0]
	if q.signal >= 0 {
		b.waited(request{q.signal, q.at}, ev.Time)
	}
	b.clockDate(ev, q)
	if q.rest && m.Status < 300 {
		b.restAnswer(ev, q, rung)
	}
	if q.made != nil {
		b.answered(*q.made, ev)
	}
	if b.openHTTP[k] = open[1:]; len(open) == 1 {
		delete(b.openHTTP, k)
	}
	if b.waitingHTTP < maxOpenHTTP {
		b.waitingHTTP--
	}
}

// restAnswer reads what a REST resource answered: what a POST created was
// accepted between request and response, and lists are exports found in
// traffic.
func (b *Builder) restAnswer(ev *decode.Event, q *openRequest, rung int32) {
	body, err := http.Decode(ev.HTTP.ContentEncoding, ev.HTTP.Body, maxBody)
	if err != nil || len(body) == 0 {
		return
	}
	inner := *ev
	_, _ = twilio.Decode(bytes.NewReader(body), func(r *twilio.Resource) error { // damage here is the capture's, counted there
		b.ledger.In(decode.LayerResource, 1)
		inner.Resource, inner.WireLen = r, 0
		r.Record = ev.Pos.Frame
		b.addResource(&inner)
		if q.made != nil {
			b.resources.post(r.SID, q.at, ev.Time)
			b.clockCreated(ev, q, r)
			p := q.made
			p.SID, p.From, p.Service = r.SID, firstOf(p.From, r.From), firstOf(p.Service, r.MessagingServiceSID)
		}
		if q.post && q.signal >= 0 && rung >= 0 {
			b.aboutCall(int(q.signal), r.SID)
			b.aboutCall(int(rung), r.SID)
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
