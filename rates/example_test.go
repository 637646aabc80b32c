package rates_test

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/rates"
	"github.com/twtrace/twtrace/sessions"
)

// The whole way: from the files of a recorded run of the study, 20 calls
// between the two that a browser saw, to the rate at which they left.
func Example() {
	run, err := fs.Sub(fixtures.Recorded(), "paper-calls-n20")
	if err != nil {
		panic(err)
	}
	var files []*container.File
	err = container.Walk(run, ".", func(f *container.File) error {
		files = append(files, f)
		return nil
	}, func(string, error) {})
	if err != nil {
		panic(err)
	}
	d, err := decode.Open(files, decode.Options{})
	if err != nil {
		panic(err)
	}
	b := sessions.New(d.Files(), d.Ledger())
	for ev := range d.Events(context.Background()) {
		b.Add(ev)
	}
	first, last := d.Span()
	t := b.Finalize(d.Flows(), first, last)
	opt := rates.Options{Posts: t.Posts, Latencies: t.Latencies}
	for _, r := range rates.Compute(t.Arrivals, t.CallResources, &t.Messages, opt) {
		fmt.Printf("%d calls between: %.3f/s [%.3f, %.3f], %s\n", r.X.V, r.ObservedPerS.V, r.ObservedLowPerS.V, r.ObservedHighPerS.V, r.Verdict)
	}
	// Output:
	// 20 calls between: 1.001/s [0.996, 1.006], meets
}

// A hundred messages queued at once, one sent each second, by a clock of whole
// seconds.
func ExampleCompute() {
	var list sessions.Messages
	for i := range 100 {
		list.Add(sessions.Message{
			SID: fmt.Sprintf("SM%032d", i), From: "+15550000001", To: "+15550000002", Direction: "outbound-api", Status: "delivered",
			QueuedAt: 1_600_000_000e9, SentAt: decode.Time(1_600_000_000+i) * 1e9, TimeResolutionS: decode.Some(1.0),
			Segments: decode.Some[int64](1), BodyBytes: decode.Some[int64](20),
		})
	}
	for _, r := range rates.Compute(nil, nil, &list, rates.Options{}) {
		fmt.Printf("in this run %.3f/s [%.3f, %.3f]: %s\n", r.ObservedPerS.V, r.ObservedLowPerS.V, r.ObservedHighPerS.V, r.Verdict)
		fmt.Printf("in the long run %.2f/s [%.2f, %.2f]: %s\n", r.SustainedPerS.V, r.SustainedLowPerS.V, r.SustainedHighPerS.V, r.SustainedVerdict)
	}
	// Output:
	// in this run 1.000/s [0.990, 1.010]: meets
	// in the long run 1.00/s [0.97, 1.01]: meets
}
