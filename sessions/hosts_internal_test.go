package sessions

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/twtrace/twtrace/decode"
)

// The weaknesses are those of RFC 8996, RFC 7465 and RFC 9325.
func TestWeakTLS(t *testing.T) {
	var flows []*decode.Flow
	add := func(server string, version, suite uint16) {
		flows = append(flows, &decode.Flow{ID: uint32(len(flows) + 1), Src: netip.MustParseAddrPort("192.0.2.1:5000"), Dst: netip.AddrPortFrom(netip.MustParseAddr(server), 443),
			TLSVersion: version, TLSSuite: suite})
	}
	add("198.51.100.1", 0x0301, 0x002f)
	add("198.51.100.1", 0x0301, 0x0035)
	add("198.51.100.1", 0x0303, 0xc02f)
	add("2001:db8::1", 0x0303, 0x0005)
	add("198.51.100.2", 0x0304, 0x1301)
	add("198.51.100.3", 0, 0)
	add("198.51.100.4", 0x0303, 0x000a)
	want := map[uint32]WeakTLS{1: {"198.51.100.1", "TLS 1.0"}, 2: {"198.51.100.1", "TLS 1.0"}, 4: {"2001:db8::1", "RC4"}, 7: {"198.51.100.4", "3DES"}}
	if got := weakTLS(flows); !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}
