package tls

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/captest"
)

// TestTruth compares the hellos of public captures with tshark's.
func TestTruth(t *testing.T) {
	compared, missed := 0, 0
	type recorded struct {
		Protocols map[string]int
		TLS       struct {
			SNIs    []string
			Clients []struct {
				Src, SNI, Version string
				Supported, ALPN   []string
			} `json:"client_hellos"`
			Servers []struct {
				Src, Version, Selected, Cipher string
				ALPN                           []string
			} `json:"server_hellos"`
		}
	}
	has := func(truth *recorded) bool { return len(truth.TLS.Clients)+len(truth.TLS.Servers) > 0 }
	captest.Truths(t, os.DirFS(captest.Shared), has, func(t *testing.T, c captest.Capture, truth *recorded) {
		have := map[string]int{}
		snis := map[string]bool{}
		for _, s := range c.Streams(t) {
			var p Parser
			from := s.Src.Addr()
			next := func() {
				for {
					var e Event
					ok, err := p.Next(&e)
					if err != nil {
						continue
					}
					if !ok {
						return
					}
					switch {
					case e.ClientHello != nil:
						h := e.ClientHello
						var versions []string
						for _, v := range h.SupportedVersions {
							versions = append(versions, fmt.Sprintf("0x%04x", v))
						}
						have[fmt.Sprintf("%s %s 0x%04x %q %q", from, h.SNI, h.Version, versions, h.ALPN)]++
						snis[h.SNI] = true
					case e.ServerHello != nil:
						h := e.ServerHello
						have[fmt.Sprintf("%s 0x%04x 0x%04x %s", from, h.Version, h.CipherSuite, h.ALPN)]++
					}
				}
			}
			s.Replay(func(b []byte) { p.Feed(b); next() }, func(n int64) { p.Lost(n); next() })
			p.Finish()
			next()
		}
		n, miss := 0, 0
		find := func(key string) {
			if have[key] == 0 {
				miss++
				t.Logf("not found: %.300s", key)
				return
			}
			have[key]--
			n++
		}
		// Left out: hellos in QUIC, ServerHellos of drafts of TLS 1.3 with
		// another form, one capture with invalid records,
		// and one with a hello in a GRE tunnel.
		quic := truth.Protocols["quic"] > 0
		invalid := strings.HasSuffix(c.Path, "tls_invalid_reads.pcap") || truth.Protocols["gre"] > 0
		for _, h := range truth.TLS.Clients {
			if quic && (slices.Contains(h.ALPN, "h3") || slices.Contains(h.ALPN, "smb")) {
				continue
			}
			find(fmt.Sprintf("%s %s %s %q %q", h.Src, strings.ToLower(h.SNI), h.Version, h.Supported, h.ALPN))
		}
		for _, s := range truth.TLS.Servers {
			if quic || strings.HasPrefix(s.Version, "0x7f") {
				continue
			}
			version := s.Version
			if s.Selected != "" {
				version = s.Selected
			}
			find(fmt.Sprintf("%s %s %s %s", s.Src, version, s.Cipher, strings.Join(s.ALPN, ",")))
		}
		for _, s := range truth.TLS.SNIs {
			if n > 0 && !quic && !snis[strings.ToLower(s)] {
				t.Errorf("server name %q not found", s)
			}
		}
		// Nothing is found in link types and tunnels that are not read here.
		if n > 0 && miss > 0 && !invalid {
			t.Errorf("%d hellos not found", miss)
		}
		compared, missed = compared+n, missed+miss
	})
	t.Logf("%d found, %d not", compared, missed)
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
