package sessions

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"github.com/twtrace/twtrace/decode"
)

// Servers are told once for each weakness, by RFC 8996, RFC 7465 and RFC 9325.
func TestOldTLS(t *testing.T) {
	flow := func(server string, version, suite uint16) *decode.Flow {
		return &decode.Flow{Src: netip.MustParseAddrPort("192.0.2.1:5000"), Dst: netip.AddrPortFrom(netip.MustParseAddr(server), 443),
			TLSVersion: version, TLSSuite: suite, First: 7}
	}
	tr := &Trace{Hosts: []Host{{Address: "198.51.100.1", Names: []string{"old.example.org"}}}}
	oldTLS(tr, []*decode.Flow{
		flow("198.51.100.1", 0x0301, 0x002f), flow("198.51.100.1", 0x0301, 0x0035), flow("198.51.100.1", 0x0303, 0xc02f),
		flow("2001:db8::1", 0x0303, 0x0005), flow("198.51.100.2", 0x0304, 0x1301), flow("198.51.100.3", 0, 0), flow("198.51.100.4", 0x0303, 0x000a),
	})
	var got []string
	for _, o := range tr.Oddities {
		if o.Rule != "tls-old" || o.Severity != "warn" || o.At != 7 || o.Subject == "" {
			t.Errorf("%+v", o)
		}
		got = append(got, o.Text+" | "+o.WiresharkFilter)
	}
	want := []string{
		"old.example.org (198.51.100.1) chose TLS 1.0 in 2 sessions: whoever reads along may break it | ip.addr == 198.51.100.1 && tls",
		"2001:db8::1 chose RC4 in 1 session: whoever reads along may break it | ipv6.addr == 2001:db8::1 && tls",
		"198.51.100.4 chose 3DES in 1 session: whoever reads along may break it | ip.addr == 198.51.100.4 && tls",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}

	tr = &Trace{}
	var many []*decode.Flow
	for i := range 250 {
		many = append(many, flow(fmt.Sprintf("10.0.0.%d", i), 0x0300, 0))
	}
	oldTLS(tr, many)
	if len(tr.Oddities) != maxOldTLS+1 {
		t.Errorf("%d oddities of 250 servers", len(tr.Oddities))
	}
}
