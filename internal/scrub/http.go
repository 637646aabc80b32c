package scrub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isHTTP tells the start line of a message (RFC 9112, 2.1).
func isHTTP(b []byte) bool {
	line, _, ok := bytes.Cut(b[:min(len(b), 8<<10)], []byte("\r\n"))
	return ok && (bytes.HasPrefix(line, []byte("HTTP/1.")) || bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.HasSuffix(line, []byte(" HTTP/1.0")))
}

// http writes the heads of messages, and bodies of JSON and forms that have a
// length. What follows a body without one, or an upgrade, is zero.
func (s *Scrubber) http(b []byte) []written {
	var list []written
	for isHTTP(b) {
		head, _, ok := bytes.Cut(b, []byte("\r\n\r\n"))
		if !ok || len(head) > 64<<10 {
			break
		}
		lines := strings.Split(string(head), "\r\n")
		size, form, odd := 0, "", false
		var keep []string
		for _, l := range lines[1:] {
			name, v, _ := strings.Cut(l, ":")
			v = strings.TrimSpace(v)
			switch strings.ToLower(name) {
			case "content-length":
				n, err := strconv.Atoi(v)
				odd = odd || err != nil || n < 0
				size = n
			case "transfer-encoding", "content-encoding", "upgrade":
				odd = true
			case "content-type":
				typ, _, _ := strings.Cut(strings.ToLower(v), ";")
				if typ = strings.TrimSpace(typ); typ == "application/json" || typ == "application/x-www-form-urlencoded" {
					form = typ
				}
			case "host":
				keep = append(keep, "Host: "+s.names.HostPort(v))
			case "date":
				if v = date(v); v != "" {
					keep = append(keep, "Date: "+v)
				}
			}
		}
		start := s.startLine(lines[0])
		n := len(head) + 4
		if odd || size > len(b)-n {
			out := start + "\r\n" + strings.Join(append(keep, ""), "\r\n") + "\r\n"
			list = append(list, written{n, []byte(out)})
			return s.rest(list, "HTTP bodies without a length, and what follows them", b[n:])
		}
		body, ok := s.body(form, b[n:n+size])
		if !ok {
			body = s.zeros(nil, "bodies of HTTP", size)
			form = ""
		}
		if form != "" {
			keep = append(keep, "Content-Type: "+form)
		}
		if size > 0 || bytes.HasPrefix(b, []byte("HTTP/")) {
			keep = append(keep, "Content-Length: "+strconv.Itoa(len(body)))
		}
		out := []byte(start + "\r\n" + strings.Join(append(keep, ""), "\r\n") + "\r\n")
		list = append(list, written{n + size, append(out, body...)})
		b = b[n+size:]
	}
	return s.rest(list, "unknown payload", b)
}

var httpMethods = strings.Fields("GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH")

func (s *Scrubber) startLine(l string) string {
	f := strings.Fields(l)
	if len(f) > 1 && strings.HasPrefix(f[0], "HTTP/1.") {
		if n, err := strconv.Atoi(f[1]); err == nil && n >= 100 && n < 600 {
			return fmt.Sprintf("HTTP/1.1 %d -", n)
		}
		return "HTTP/1.1 500 -"
	}
	if len(f) != 3 || !slices.Contains(httpMethods, f[0]) {
		return "GET /unknown HTTP/1.1"
	}
	return f[0] + " " + s.path(f[1]) + " HTTP/1.1"
}

// parts are what stands in paths of the provider's API.
var parts = strings.Fields("2010-04-01 Accounts Calls Messages Recordings Conferences Participants Queues Members v1 v2 Services " +
	"Calls.json Messages.json Recordings.json Conferences.json Queues.json")

// path keeps of a path what is of the API; queries go.
func (s *Scrubber) path(v string) string {
	if u, err := url.Parse(v); err == nil {
		v = u.EscapedPath()
	}
	out := strings.Split(v, "/")
	for i, p := range out {
		sid, ext := strings.CutSuffix(p, ".json")
		switch {
		case p == "" || slices.Contains(parts, p):
		case len(sid) == 34:
			out[i] = s.names.CallID(sid)
			if ext {
				out[i] += ".json"
			}
		default:
			out[i] = "x" + s.names.Token("path", p, 8)
		}
	}
	if v = strings.Join(out, "/"); !strings.HasPrefix(v, "/") {
		v = "/" + v
	}
	return v
}

// keys are the names of the provider's parameters and properties, in lower case
// and without the line below; values of others do not stay.
var keys = strings.Fields("sid accountsid callsid parentcallsid messagesid messagingservicesid from to called caller direction status callstatus " +
	"messagestatus smsstatus duration callduration starttime endtime datecreated dateupdated datesent price priceunit apiversion uri queuetime " +
	"answeredby numsegments nummedia errorcode errormessage body page pagesize firstpageuri nextpageuri previouspageuri calls messages " +
	"timestamp sequencenumber sipresponsecode fromformatted toformatted phonenumbersid callerid subresourceuris code message events event")

var statuses = strings.Fields("queued initiated ringing in-progress completed busy failed no-answer canceled accepted scheduled sending sent delivered " +
	"undelivered receiving received read inbound outbound outbound-api outbound-dial outbound-reply outbound-call trunking-originating trunking-terminating " +
	"2010-04-01 USD human machine true false null")

// body writes a form or JSON again.
func (s *Scrubber) body(typ string, b []byte) ([]byte, bool) {
	switch {
	case len(b) == 0:
		return nil, true
	case typ == "application/json":
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		out, err := s.json(d, "", 0)
		return out, err == nil
	case typ == "application/x-www-form-urlencoded":
		var out []string
		for p := range strings.SplitSeq(string(b), "&") {
			k, v, _ := strings.Cut(p, "=")
			v, err := url.QueryUnescape(v)
			if err != nil {
				return nil, false
			}
			out = append(out, s.key(k)+"="+url.QueryEscape(s.value(k, v)))
		}
		return []byte(strings.Join(out, "&")), true
	}
	return nil, false
}

func bare(k string) string { return strings.ToLower(strings.ReplaceAll(k, "_", "")) }

func (s *Scrubber) key(k string) string {
	if slices.Contains(keys, bare(k)) {
		return k
	}
	return "x" + s.names.Token("key", k, 8)
}

func (s *Scrubber) json(d *json.Decoder, key string, depth int) ([]byte, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if depth > 100 {
		return nil, fmt.Errorf("nested too deep")
	}
	switch t := t.(type) {
	case json.Delim:
		out := []byte{byte(t)}
		for i := 0; d.More(); i++ {
			if i > 0 {
				out = append(out, ',')
			}
			if t == '{' {
				k, err := d.Token()
				if err != nil {
					return nil, err
				}
				key, _ = k.(string)
				out = append(append(out, quote(s.key(key))...), ':')
			}
			v, err := s.json(d, key, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v...)
		}
		end, err := d.Token()
		if err != nil {
			return nil, err
		}
		return fmt.Append(out, end), nil
	case string:
		return quote(s.value(key, t)), nil
	case json.Number:
		if len(t) < 7 {
			return []byte(t), nil
		}
		return []byte("0"), nil
	case bool:
		return strconv.AppendBool(nil, t), nil
	}
	return []byte("null"), nil
}

func quote(v string) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("scrub: a text that is none: " + err.Error())
	}
	return b
}

// value is the pseudonym of a value by its key; what is not known is empty.
func (s *Scrubber) value(key, v string) string {
	k := bare(key)
	switch {
	case !slices.Contains(keys, k) || v == "":
		return ""
	case slices.Contains(statuses, v), len(v) < 7 && strings.Trim(v, "-0123456789.") == "":
		return v
	case strings.HasSuffix(k, "sid"):
		return s.names.CallID(v)
	case strings.HasSuffix(k, "uri"):
		return s.path(v)
	case k == "from" || k == "to" || k == "called" || k == "caller" || k == "callerid":
		return s.names.Party(v)
	case strings.HasPrefix(k, "date") || strings.HasSuffix(k, "time") || k == "timestamp":
		return date(v)
	}
	return ""
}

// date is a date written again: what is read as one may have a comment in it.
func date(v string) string {
	if t, err := mail.ParseDate(v); err == nil {
		if strings.HasSuffix(v, "GMT") {
			return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
		}
		return t.Format(time.RFC1123Z)
	}
	if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
		return t.Format(time.RFC3339Nano)
	}
	return ""
}
