package decode_test

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/fixtures"
)

// All files of a recording, read as one stream of events in order of time.
func Example() {
	run, err := fs.Sub(fixtures.Recorded(), "sip-busy")
	if err != nil {
		panic(err)
	}
	var files []*container.File
	err = container.Walk(run, ".", func(f *container.File) error {
		files = append(files, f)
		return nil
	}, func(name string, err error) { fmt.Println("refused:", name, err) })
	if err != nil {
		panic(err)
	}
	d, err := decode.Open(files, decode.Options{})
	if err != nil {
		panic(err)
	}
	n := 0
	for ev := range d.Events(context.Background()) {
		if ev.Kind != decode.EventSIP {
			continue
		}
		if n++; n <= 4 { // an event belongs to the decoder until the next one
			what := string(ev.SIP.MethodText)
			if !ev.SIP.Request {
				what = fmt.Sprintf("%d %s", ev.SIP.Status, ev.SIP.Reason)
			}
			fmt.Printf("frame %d: %s\n", ev.Pos.Frame, what)
		}
	}
	if err := d.Err(); err != nil {
		panic(err)
	}
	fmt.Println(n, "messages; the ledger balances:", d.Ledger().Check() == nil)
	// Output:
	// frame 1: INVITE
	// frame 2: 100 Trying
	// frame 3: 486 Busy Here
	// frame 4: ACK
	// 12 messages; the ledger balances: true
}
