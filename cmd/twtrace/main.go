// Command twtrace analyses archived traces of cloud communication: packet
// captures and exported resources in, tables and an HTML report out.
//
//	$ twtrace demo -o out
//	$ twtrace analyze experiments/sip-normal -o out
//	$ twtrace rates experiments/ --columns experiment,observed_per_s,verdict
//	experiment,observed_per_s,verdict
//	...
//
// One file a verb. main only calls run; no other package touches the process,
// its clock, its arguments or the disk that results are written to.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // who interrupts twice does not wait for the cleaning up
	if os.Getenv("GOGC") == "" {
		paceGC(&paced{})
	}
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Garbage may lie beside what lives: 20 % of it, or 16 MB where that is more.
// Packets make none and most of what lives is packed bytes, so that an analysis
// of 20 000 calls takes a third less memory than at Go's 100 %; a small one
// would spend a tenth of its time collecting next to nothing.
const (
	gcPercent = 20
	gcAtLeast = 16 << 20
)

// paced dies in every collection, and lives again after paceGC.
type paced struct{ _ *byte }

// paceGC sets the percentage by what the last collection left.
func paceGC(p *paced) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(int(max(gcPercent, gcAtLeast*100/max(live[0].Value.Uint64(), 4<<20))))
	runtime.SetFinalizer(p, paceGC)
}

// Exit codes (the contract: docs/cli.md).
const (
	exitOK          = 0
	exitNothing     = 1
	exitUsage       = 2
	exitDamaged     = 3
	exitInternal    = 70
	exitInterrupted = 130
)

// run is the whole program as a function of what a process has.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr}
	return a.run(args)
}

func (a *app) run(args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1)) // --max-memory is for this call
	err := root.ExecuteContext(a.ctx)
	return a.exitCode(err)
}
