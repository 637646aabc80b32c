package http

import (
	"net/url"
	"strconv"
	"strings"
)

const elided = "…"

func secretField(name string) bool {
	switch name = strings.ToLower(name); name {
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "x-twilio-signature", "x-twilio-token":
		return true
	}
	return secretName(name)
}

// secretName tells whether a parameter or field with this name in lower case
// holds a secret.
func secretName(name string) bool {
	for _, s := range [...]string{"token", "jwt", "secret", "passw", "signature", "apikey", "api-key", "api_key"} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// ElideTarget is a request target, or text with one, without the values of
// query parameters that hold secrets, and without the user part of an
// absolute target. The rest is as it was.
func ElideTarget(target string) string {
	head, query, ok := strings.Cut(target, "?")
	if scheme, rest, abs := strings.Cut(head, "://"); abs {
		host, path, slash := strings.Cut(rest, "/")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			head = scheme + "://" + elided + host[at:]
			if slash {
				head += "/" + path
			}
		}
	}
	if !ok {
		return head
	}
	var b strings.Builder
	b.WriteString(head + "?")
	for {
		end := strings.IndexAny(query, "&;?#")
		param := query
		if end >= 0 {
			param = query[:end]
		}
		name, _, has := strings.Cut(param, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		if has && secretName(strings.ToLower(plain)) {
			param = name + "=" + elided
		}
		b.WriteString(param)
		if end < 0 {
			return b.String()
		}
		b.WriteByte(query[end])
		query = query[end+1:]
	}
}

// StartLine is the first line of a message without secrets.
func (m *Message) StartLine() string {
	if m.Request {
		return m.Method + " " + ElideTarget(m.Target) + " " + m.Version
	}
	return strings.TrimRight(m.Version+" "+strconv.Itoa(m.Status)+" "+m.Reason, " ")
}

// Detail appends the whole message to dst as lines of text without secrets: the
// values of credentials, cookies, signatures and tokens, and such values in the
// query strings of other fields (Location, Referer). A body is its length and
// type in brackets.
func (m *Message) Detail(dst []byte) []byte {
	dst = append(dst, m.StartLine()...)
	for i := range m.Headers {
		h := &m.Headers[i]
		dst = append(append(append(dst, '\n'), h.Name...), ": "...)
		if secretField(h.Name) {
			dst = append(dst, elided...)
		} else {
			dst = append(dst, ElideTarget(h.Value)...)
		}
	}
	if m.BodyLen > 0 {
		dst = strconv.AppendInt(append(dst, "\n\n["...), m.BodyLen, 10)
		dst = append(dst, " bytes"...)
		if m.ContentType != "" {
			dst = append(append(dst, " of "...), m.ContentType...)
		}
		dst = append(dst, ']')
	}
	return dst
}
