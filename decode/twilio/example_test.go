package twilio_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/twtrace/twtrace/decode/twilio"
)

// A page of the API, as it comes; other forms are told by their content.
func ExampleDecode() {
	page := `{"page": 0, "messages": [
		{"sid": "SM00000000000000000000000000000001", "status": "delivered", "num_segments": "2",
		 "date_created": "Thu, 21 Nov 2013 18:00:00 +0000", "date_sent": "Thu, 21 Nov 2013 18:00:42 +0000"},
		{"status": "queued"}]}`
	stats, err := twilio.Decode(strings.NewReader(page), func(r *twilio.Resource) error {
		fmt.Println(r.SID, r.Status, r.Segments, "segments, waited", time.Duration(r.Sent-r.Created))
		return nil
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(stats.Records, "records,", stats.Used, "used")
	// Output:
	// SM00000000000000000000000000000001 delivered 2 segments, waited 42s
	// 2 records, 1 used
}

// One character outside GSM 03.38 more than halves what a segment holds.
func ExampleSegments() {
	for _, text := range []string{strings.Repeat("a", 160), strings.Repeat("a", 161), strings.Repeat("a", 160) + "ж"} {
		b := twilio.Segments([]byte(text))
		fmt.Println(b.Chars, "characters,", b.SegmentsGSM, "segments, UCS-2:", b.UCS2)
	}
	// Output:
	// 160 characters, 1 segments, UCS-2: false
	// 161 characters, 2 segments, UCS-2: false
	// 161 characters, 3 segments, UCS-2: true
}
