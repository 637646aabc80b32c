package sip

// HeaderID names a header field. Zero is a header that this package does not
// know; GetName finds those. New headers may be added.
type HeaderID uint8

// Headers that may occur once come first: a repetition of them is a Warning.
const (
	HeaderUnknown HeaderID = iota
	HeaderCallID
	HeaderCSeq
	HeaderFrom
	HeaderTo
	HeaderContentType
	HeaderContentLength
	HeaderMaxForwards
	HeaderDate
	HeaderExpires
	HeaderEvent
	HeaderContentDisposition
	HeaderMIMEVersion
	HeaderMinExpires
	HeaderMinSE
	HeaderOrganization
	HeaderPriority
	HeaderRAck
	HeaderReferTo
	HeaderReferredBy
	HeaderReplaces
	HeaderReplyTo
	HeaderRetryAfter
	HeaderRSeq
	HeaderServer
	HeaderSessionExpires
	HeaderSessionID
	HeaderSIPETag
	HeaderSIPIfMatch
	HeaderSubject
	HeaderSubscriptionState
	HeaderTimestamp
	HeaderUserAgent
	singleHeaders // no header

	HeaderAccept
	HeaderAcceptContact
	HeaderAcceptEncoding
	HeaderAcceptLanguage
	HeaderAlertInfo
	HeaderAllow
	HeaderAllowEvents
	HeaderAuthenticationInfo
	HeaderAuthorization
	HeaderCallInfo
	HeaderContact
	HeaderContentEncoding
	HeaderContentLanguage
	HeaderDiversion
	HeaderErrorInfo
	HeaderHistoryInfo
	HeaderIdentity
	HeaderIdentityInfo
	HeaderInReplyTo
	HeaderPAssertedIdentity
	HeaderPath
	HeaderPPreferredIdentity
	HeaderPrivacy
	HeaderProxyAuthenticate
	HeaderProxyAuthenticationInfo
	HeaderProxyAuthorization
	HeaderProxyRequire
	HeaderReason
	HeaderRecordRoute
	HeaderRejectContact
	HeaderRemotePartyID
	HeaderRequestDisposition
	HeaderRequire
	HeaderRoute
	HeaderServiceRoute
	HeaderSupported
	HeaderUnsupported
	HeaderVia
	HeaderWarning
	HeaderWWWAuthenticate
	HeaderXTwilioAccountSID
	HeaderXTwilioAPIVersion
	HeaderXTwilioCallSID
	HeaderXTwilioSignature
	HeaderXTwilioToken
	endHeaders // no header
)

// headerNames holds the names in their usual spelling.
var headerNames = [endHeaders]string{
	HeaderUnknown:                 "unknown",
	HeaderCallID:                  "Call-ID",
	HeaderCSeq:                    "CSeq",
	HeaderFrom:                    "From",
	HeaderTo:                      "To",
	HeaderContentType:             "Content-Type",
	HeaderContentLength:           "Content-Length",
	HeaderMaxForwards:             "Max-Forwards",
	HeaderDate:                    "Date",
	HeaderExpires:                 "Expires",
	HeaderEvent:                   "Event",
	HeaderContentDisposition:      "Content-Disposition",
	HeaderMIMEVersion:             "MIME-Version",
	HeaderMinExpires:              "Min-Expires",
	HeaderMinSE:                   "Min-SE",
	HeaderOrganization:            "Organization",
	HeaderPriority:                "Priority",
	HeaderRAck:                    "RAck",
	HeaderReferTo:                 "Refer-To",
	HeaderReferredBy:              "Referred-By",
	HeaderReplaces:                "Replaces",
	HeaderReplyTo:                 "Reply-To",
	HeaderRetryAfter:              "Retry-After",
	HeaderRSeq:                    "RSeq",
	HeaderServer:                  "Server",
	HeaderSessionExpires:          "Session-Expires",
	HeaderSessionID:               "Session-ID",
	HeaderSIPETag:                 "SIP-ETag",
	HeaderSIPIfMatch:              "SIP-If-Match",
	HeaderSubject:                 "Subject",
	HeaderSubscriptionState:       "Subscription-State",
	HeaderTimestamp:               "Timestamp",
	HeaderUserAgent:               "User-Agent",
	HeaderAccept:                  "Accept",
	HeaderAcceptContact:           "Accept-Contact",
	HeaderAcceptEncoding:          "Accept-Encoding",
	HeaderAcceptLanguage:          "Accept-Language",
	HeaderAlertInfo:               "Alert-Info",
	HeaderAllow:                   "Allow",
	HeaderAllowEvents:             "Allow-Events",
	HeaderAuthenticationInfo:      "Authentication-Info",
	HeaderAuthorization:           "Authorization",
	HeaderCallInfo:                "Call-Info",
	HeaderContact:                 "Contact",
	HeaderContentEncoding:         "Content-Encoding",
	HeaderContentLanguage:         "Content-Language",
	HeaderDiversion:               "Diversion",
	HeaderErrorInfo:               "Error-Info",
	HeaderHistoryInfo:             "History-Info",
	HeaderIdentity:                "Identity",
	HeaderIdentityInfo:            "Identity-Info",
	HeaderInReplyTo:               "In-Reply-To",
	HeaderPAssertedIdentity:       "P-Asserted-Identity",
	HeaderPath:                    "Path",
	HeaderPPreferredIdentity:      "P-Preferred-Identity",
	HeaderPrivacy:                 "Privacy",
	HeaderProxyAuthenticate:       "Proxy-Authenticate",
	HeaderProxyAuthenticationInfo: "Proxy-Authentication-Info",
	HeaderProxyAuthorization:      "Proxy-Authorization",
	HeaderProxyRequire:            "Proxy-Require",
	HeaderReason:                  "Reason",
	HeaderRecordRoute:             "Record-Route",
	HeaderRejectContact:           "Reject-Contact",
	HeaderRemotePartyID:           "Remote-Party-ID",
	HeaderRequestDisposition:      "Request-Disposition",
	HeaderRequire:                 "Require",
	HeaderRoute:                   "Route",
	HeaderServiceRoute:            "Service-Route",
	HeaderSupported:               "Supported",
	HeaderUnsupported:             "Unsupported",
	HeaderVia:                     "Via",
	HeaderWarning:                 "Warning",
	HeaderWWWAuthenticate:         "WWW-Authenticate",
	HeaderXTwilioAccountSID:       "X-Twilio-AccountSid",
	HeaderXTwilioAPIVersion:       "X-Twilio-ApiVersion",
	HeaderXTwilioCallSID:          "X-Twilio-CallSid",
	HeaderXTwilioSignature:        "X-Twilio-Signature",
	HeaderXTwilioToken:            "X-Twilio-Token",
}

// compactForms are those of the IANA registry of SIP header fields.
var compactForms = ['z' + 1]HeaderID{
	'a': HeaderAcceptContact,      // RFC 3841
	'b': HeaderReferredBy,         // RFC 3892
	'c': HeaderContentType,        // RFC 3261
	'd': HeaderRequestDisposition, // RFC 3841
	'e': HeaderContentEncoding,    // RFC 3261
	'f': HeaderFrom,               // RFC 3261
	'i': HeaderCallID,             // RFC 3261
	'j': HeaderRejectContact,      // RFC 3841
	'k': HeaderSupported,          // RFC 3261
	'l': HeaderContentLength,      // RFC 3261
	'm': HeaderContact,            // RFC 3261
	'n': HeaderIdentityInfo,       // RFC 4474
	'o': HeaderEvent,              // RFC 6665
	'r': HeaderReferTo,            // RFC 3515
	's': HeaderSubject,            // RFC 3261
	't': HeaderTo,                 // RFC 3261
	'u': HeaderAllowEvents,        // RFC 6665
	'v': HeaderVia,                // RFC 3261
	'x': HeaderSessionExpires,     // RFC 4028
	'y': HeaderIdentity,           // RFC 8224
}

// headerTable finds an ID by a hash of the name, with linear probing; it is
// never written again. A map takes twice the time.
var headerTable = func() (table [256]HeaderID) {
	for id := HeaderUnknown + 1; id < endHeaders; id++ {
		if id != singleHeaders {
			h := headerHash([]byte(headerNames[id]))
			for table[h] != HeaderUnknown {
				h++
			}
			table[h] = id
		}
	}
	return table
}()

// headerHash does not depend on case. The name has at least two bytes.
func headerHash(name []byte) uint8 {
	n := len(name)
	return uint8(n*13) + name[0]&31*7 + name[n/2]&31*29 + name[n-2]&31*3 + name[n-1]&31
}

func (h HeaderID) String() string {
	if h >= endHeaders || h == singleHeaders {
		return headerNames[HeaderUnknown]
	}
	return headerNames[h]
}

func headerID(name []byte) HeaderID {
	switch len(name) {
	case 0:
		return HeaderUnknown
	case 1:
		if c := lower(name[0]); int(c) < len(compactForms) {
			return compactForms[c]
		}
		return HeaderUnknown
	}
	for h := headerHash(name); ; h++ {
		id := headerTable[h]
		if id == HeaderUnknown || equalFold(name, headerNames[id]) {
			return id
		}
	}
}
