package sessions_test

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/fixtures"
	"github.com/twtrace/twtrace/sessions"
)

// A browser's call, seen through its TLS with the key log beside the capture.
func Example() {
	run, err := fs.Sub(fixtures.Recorded(), "browser-incoming")
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
	trace := b.Finalize(d.Flows(), first, last)
	for _, c := range trace.Calls {
		if c.ArrivedAt == 0 || c.ArrivedBy == "resource" {
			continue
		}
		fmt.Printf("%s to %s, known by %s within %g ms: %s, ended by the %s\n", c.From, c.To, c.ArrivedBy, c.ArrivedErrorMS.V, c.Outcome, c.EndedBy)
	}
	// Output:
	// +15551230001 to client:alice, known by pstream-invite within 50 ms: answered, ended by the caller
}
