package pstream

import (
	"bytes"
	"net/mail"
	"net/url"
	"strconv"
	"strings"
)

const (
	maxForm   = 64 << 10
	maxParams = 256
)

// Callback is a webhook of Twilio at an application's server, form-encoded:
// status callbacks of calls, messages and media streams, and the requests for
// what to do with a call or message. Bodies and digits are counted only.
type Callback struct {
	AccountSID, ApiVersion    string
	CallSID, ParentCallSID    string
	CallStatus                string
	MessageSID, MessageStatus string
	StreamSID, StreamEvent    string

	From, To, Direction string
	ClientFrom          bool // From is a browser or mobile client

	TimeNS         int64 // Timestamp, 1 s
	SequenceNumber int   // -1 when absent
	DurationS      int   // CallDuration; -1 when absent

	ErrorCode       int
	ErrorMessage    string
	SipResponseCode int
	SipCallID       string
	NumSegments     int
	BodyLen         int    // bytes of Body
	DigitsLen       int    // of Digits
	Source          string // CallbackSource

	Params    int // all parameters
	Malformed int // parameters whose escapes are none, or beyond the bounds
}

// DecodeForm reads a form-encoded body, or the query of a GET callback. Of a
// repeated parameter the first counts. One that is no callback has neither a
// CallSID nor a MessageSID nor a StreamSID.
func DecodeForm(body []byte) Callback {
	c := Callback{SequenceNumber: -1, DurationS: -1}
	if len(body) > maxForm {
		body = body[:bytes.LastIndexByte(body[:maxForm], '&')+1]
		c.Malformed++
	}
	for len(body) > 0 {
		var param []byte
		param, body, _ = bytes.Cut(body, []byte{'&'})
		if len(param) == 0 {
			continue
		}
		if c.Params++; c.Params > maxParams {
			c.Malformed++
			continue
		}
		k, v, _ := strings.Cut(string(param), "=")
		key, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err != nil || err2 != nil {
			c.Malformed++
			continue
		}
		c.set(key, value)
	}
	c.ClientFrom = strings.HasPrefix(c.From, "client:")
	return c
}

func (c *Callback) set(key, value string) {
	if key == "Body" || key == "Digits" {
		if key == "Body" {
			c.BodyLen = len(value)
		} else {
			c.DigitsLen = len(value)
		}
		return
	}
	value = limit(strings.TrimSpace(value))
	number := func(old int) int {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 1<<31-1 {
			return old
		}
		return n
	}
	switch key {
	case "AccountSid":
		c.AccountSID = first(c.AccountSID, value)
	case "ApiVersion":
		c.ApiVersion = first(c.ApiVersion, value)
	case "CallSid":
		c.CallSID = first(c.CallSID, value)
	case "ParentCallSid":
		c.ParentCallSID = first(c.ParentCallSID, value)
	case "CallStatus":
		c.CallStatus = first(c.CallStatus, value)
	case "MessageSid", "SmsSid", "SmsMessageSid": // the older names carry the same
		c.MessageSID = first(c.MessageSID, value)
	case "MessageStatus", "SmsStatus":
		c.MessageStatus = first(c.MessageStatus, value)
	case "StreamSid":
		c.StreamSID = first(c.StreamSID, value)
	case "StreamEvent":
		c.StreamEvent = first(c.StreamEvent, value)
	case "From":
		c.From = first(c.From, value)
	case "To":
		c.To = first(c.To, value)
	case "Direction":
		c.Direction = first(c.Direction, value)
	case "Timestamp":
		if t, err := mail.ParseDate(value); err == nil && c.TimeNS == 0 {
			c.TimeNS = unixNano(t)
		} else if c.TimeNS == 0 {
			c.TimeNS = instant(value)
		}
	case "SequenceNumber":
		c.SequenceNumber = number(c.SequenceNumber)
	case "CallDuration":
		c.DurationS = number(c.DurationS)
	case "ErrorCode":
		c.ErrorCode = number(c.ErrorCode)
	case "ErrorMessage", "StreamError":
		c.ErrorMessage = first(c.ErrorMessage, value)
	case "SipResponseCode":
		c.SipResponseCode = number(c.SipResponseCode)
	case "SipCallId":
		c.SipCallID = first(c.SipCallID, value)
	case "NumSegments":
		c.NumSegments = number(c.NumSegments)
	case "CallbackSource":
		c.Source = first(c.Source, value)
	}
}
