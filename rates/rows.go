package rates

import "github.com/twtrace/twtrace/sessions"

// Rate is a row of table rates: one queue of one run; see decode/rows.go for
// the tags. Rates are items or segments a second; every interval is [low, high].
type Rate struct {
	Experiment           string         `col:"experiment" doc:"folder of the run, relative to the batch root, or the name given"`
	Kind                 string         `col:"kind" key:"1" enum:"calls|messages" doc:"what was queued"`
	Queue                string         `col:"queue" key:"1" doc:"account, sender or service whose queue it is"`
	QueueBy              string         `col:"queue_by" enum:"account|from|service" doc:"what queues were parted by"`
	X                    sessions.Int   `col:"x" doc:"calls between the two observed ones, or body bytes; null when mixed"`
	Items                int64          `col:"items" doc:"items that left the queue at a known time"`
	NotSent              int64          `col:"not_sent" doc:"items that never left"`
	Failed               int64          `col:"failed" doc:"items that failed"`
	Segments             sessions.Int   `col:"segments" doc:"segments of the items"`
	Repeats              int64          `col:"repeats" doc:"runs taken together"`
	Clock                string         `col:"clock" enum:"capture|provider|mixed" doc:"clock of the dequeue times"`
	GuaranteePerS        float64        `col:"guarantee_per_s" unit:"1/s" doc:"promised, segments a second"`
	ExpectedPerS         sessions.Float `col:"expected_per_s" unit:"1/s" doc:"promised, items a second"`
	ObservedPerS         sessions.Float `col:"observed_per_s" unit:"1/s" doc:"items a second in this run"`
	ObservedLowPerS      sessions.Float `col:"observed_low_per_s" unit:"1/s" doc:"certain interval, lower end"`
	ObservedHighPerS     sessions.Float `col:"observed_high_per_s" unit:"1/s" doc:"certain interval, upper end; null when the span may be 0"`
	ObservedSegmentsPerS sessions.Float `col:"observed_segments_per_s" unit:"1/s" doc:"segments a second in this run"`
	QueuePerS            sessions.Float `col:"queue_per_s" unit:"1/s" doc:"items accepted a second"`
	QueueLowPerS         sessions.Float `col:"queue_low_per_s" unit:"1/s" doc:"certain interval, lower end"`
	QueueHighPerS        sessions.Float `col:"queue_high_per_s" unit:"1/s" doc:"certain interval, upper end"`
	QueueLimitedBy       string         `col:"queue_limited_by" enum:"client|server|unknown" doc:"who limited the queue rate"`
	PostP50MS            sessions.Float `col:"post_p50_ms" unit:"ms" doc:"median latency of a POST"`
	HTTP429              sessions.Int   `col:"http_429" doc:"POSTs refused with 429"`
	SustainedPerS        sessions.Float `col:"sustained_per_s" unit:"1/s" doc:"segments a second in the long run"`
	SustainedLowPerS     sessions.Float `col:"sustained_low_per_s" unit:"1/s" doc:"95 % interval, lower end"`
	SustainedHighPerS    sessions.Float `col:"sustained_high_per_s" unit:"1/s" doc:"95 % interval, upper end"`
	Method               string         `col:"method" doc:"how the sustained rate was made"`
	BurstItems           sessions.Float `col:"burst_items" doc:"items that left at once: depth of the token bucket"`
	BurstLowItems        sessions.Float `col:"burst_low_items" doc:"lower end"`
	BurstHighItems       sessions.Float `col:"burst_high_items" doc:"upper end"`
	ChangeAt             sessions.Time  `col:"change_at" doc:"where the rate changed"`
	BusyPct              sessions.Float `col:"busy_pct" unit:"pct" doc:"share of the gaps with a sure backlog"`
	FIFOInversions       sessions.Int   `col:"fifo_inversions" doc:"pairs that left in another order than they came"`
	FIFOTau              sessions.Float `col:"fifo_tau" doc:"Kendall's tau-b of queue and dequeue order"`
	BacklogMax           sessions.Int   `col:"backlog_max" doc:"most items waiting at once"`
	WaitP50S             sessions.Float `col:"wait_p50_s" unit:"s" doc:"median wait"`
	WaitP95S             sessions.Float `col:"wait_p95_s" unit:"s" doc:"95th percentile of the wait"`
	LatencyP50MS         sessions.Float `col:"latency_p50_ms" unit:"ms" doc:"network part of an arrival, median"`
	LatencyMaxMS         sessions.Float `col:"latency_max_ms" unit:"ms" doc:"network part of an arrival, largest"`
	Verdict              string         `col:"verdict" enum:"exceeds|meets|below|undetermined" doc:"of the realised rate, in this run"`
	SustainedVerdict     string         `col:"sustained_verdict" enum:"exceeds|meets|below|undetermined" doc:"of the sustained rate, of the provider"`
	Reason               string         `col:"reason" doc:"why the verdict is what it is"`

	// The sums behind the realised rate, from which the rows of several runs are taken together.
	SpanS        sessions.Float `col:"span_s" unit:"s" doc:"first to last instant; of the stretches with a backlog, when one is shown"`
	SpanErrorS   sessions.Float `col:"span_error_s" unit:"s" doc:"the true span is within this of span_s"`
	IdleS        sessions.Float `col:"idle_s" unit:"s" doc:"at most so much of the span was idle (two observed calls)"`
	SegmentsLow  sessions.Int   `col:"segments_low" doc:"segments that left in the span, fewest"`
	SegmentsHigh sessions.Int   `col:"segments_high" doc:"segments that left in the span, most"`
	ItemsLow     sessions.Int   `col:"items_low" doc:"items that left in the span, fewest"`
	ItemsHigh    sessions.Int   `col:"items_high" doc:"items that left in the span, most"`
	LatencyBy    string         `col:"latency_by" enum:"handshake|captures" doc:"how latency_* is known: at most half a handshake's round trip, or the time between two captures"`
	Backlog      bool           `col:"backlog" doc:"a backlog is shown in the span, so that its rate is the queue's"`
}
