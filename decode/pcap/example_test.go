package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/twtrace/twtrace/decode/pcap"
)

// The frames of a capture, one at a time; here one that the Writer made.
func ExampleReader() {
	var file bytes.Buffer
	w := pcap.NewWriter(&file, pcap.LinkEthernet, true)
	for i := range 3 {
		if err := w.WriteFrame(1_385_056_800_000_000_000+int64(i)*20e6, make([]byte, 60)); err != nil {
			panic(err)
		}
	}

	r, err := pcap.NewReader(&file)
	if err != nil {
		panic(err)
	}
	var f pcap.Frame
	for {
		if err := r.Next(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			panic(err) // where the damage is, and what was expected there
		}
		fmt.Println(f.Number, f.Time, len(f.Data)) // f.Data is valid until the next call
	}
	// Output:
	// 1 1385056800000000000 60
	// 2 1385056800020000000 60
	// 3 1385056800040000000 60
}
