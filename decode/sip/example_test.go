package sip_test

import (
	"fmt"

	"github.com/twtrace/twtrace/decode/sip"
)

// One message, and what was left of a stream behind it.
func ExampleParse() {
	wire := []byte("INVITE sip:alice@example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n" +
		"f: \"Bob\" <sip:bob@example.com>;tag=1\r\n" + // compact form of From
		"To: <sip:alice@example.com>\r\n" +
		"Call-ID: a84b4c76e66710\r\n" +
		"CSeq: 1 INVITE\r\n" +
		"Content-Length: 0\r\n" +
		"\r\n" +
		"SIP/2.0 100 Trying\r\n")
	var m sip.Message
	if err := sip.Parse(wire, &m); err != nil {
		panic(err)
	}
	fmt.Printf("%s %s from %s, Call-ID %s\n", m.MethodText, m.RequestURI, m.From.URI, m.CallID)
	fmt.Printf("%d bytes follow\n", len(wire)-m.Off-m.Len)
	// Output:
	// INVITE sip:alice@example.com from sip:bob@example.com, Call-ID a84b4c76e66710
	// 20 bytes follow
}
