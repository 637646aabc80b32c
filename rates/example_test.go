package rates_test

import (
	"fmt"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// A hundred messages queued at once, one sent each second, by a clock of whole
// seconds.
func ExampleCompute() {
	var list []sessions.Message
	for i := range 100 {
		list = append(list, sessions.Message{
			SID: fmt.Sprintf("SM%032d", i), From: "+15550000001", To: "+15550000002", Direction: "outbound-api", Status: "delivered",
			QueuedAt: 1_600_000_000e9, SentAt: decode.Time(1_600_000_000+i) * 1e9, TimeResolutionS: decode.Some(1.0),
			Segments: decode.Some[int64](1), BodyBytes: decode.Some[int64](20),
		})
	}
	for _, r := range rates.Compute(nil, nil, list, rates.Options{}) {
		fmt.Printf("in this run %.3f/s [%.3f, %.3f]: %s\n", r.ObservedPerS.V, r.ObservedLowPerS.V, r.ObservedHighPerS.V, r.Verdict)
		fmt.Printf("in the long run %.2f/s [%.2f, %.2f]: %s\n", r.SustainedPerS.V, r.SustainedLowPerS.V, r.SustainedHighPerS.V, r.SustainedVerdict)
	}
	// Output:
	// in this run 1.000/s [0.990, 1.010]: meets
	// in the long run 1.00/s [0.97, 1.01]: meets
}
