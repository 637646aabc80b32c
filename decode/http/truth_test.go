package http

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/twtrace/twtrace/internal/captest"
)

// TestTruth compares start lines of public captures with tshark's.
func TestTruth(t *testing.T) {
	compared, missed := 0, 0
	type recorded struct {
		HTTP struct {
			Records []struct {
				Src                              string
				Method, Host, URI, Status, CType []string
			}
		}
	}
	has := func(truth *recorded) bool { return len(truth.HTTP.Records) > 0 }
	captest.Truths(t, os.DirFS(captest.Shared), has, func(t *testing.T, c captest.Capture, truth *recorded) {
		have := map[string]int{}
		for _, s := range c.Streams(t) {
			var p Parser
			from := s.Src.Addr()
			next := func() {
				for {
					var m Message
					ok, err := p.Next(&m)
					if err != nil {
						continue
					}
					if !ok {
						return
					}
					if m.Request {
						have[fmt.Sprint(from, " ", m.Method, " ", m.Target, " ", m.Host)]++
					} else {
						have[fmt.Sprint(from, " ", m.Status, " ", m.ContentType)]++
					}
				}
			}
			s.Replay(func(b []byte) { p.Feed(b); next() }, func(n int64) { p.Lost(n); next() })
			p.Finish()
			next()
		}
		n, miss := 0, 0
		for _, r := range truth.HTTP.Records {
			if len(r.Method)+len(r.Status) != 1 || slices.Contains(r.Method, "M-SEARCH") { // SSDP is UDP
				continue
			}
			host := strings.Join(r.Host, ",")
			key := r.Src + " "
			if len(r.Method) == 1 {
				if len(r.URI) != 1 {
					continue
				}
				key += r.Method[0] + " " + r.URI[0] + " " + host
			} else {
				key += r.Status[0] + " " + strings.Join(r.CType, ",")
			}
			if have[key] == 0 {
				miss++
				t.Logf("not found: %.200s", key)
				continue
			}
			have[key]--
			n++
		}
		t.Logf("%d of %d messages", n, len(truth.HTTP.Records))
		// Nothing is found where the stream is encrypted, tunnelled or of a
		// link type that is not read here; one request has no valid line.
		if n > 0 && miss > 1 {
			t.Errorf("%d messages not found", miss)
		}
		compared, missed = compared+n, missed+miss
	})
	t.Logf("%d found, %d not", compared, missed)
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
