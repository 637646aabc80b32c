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
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		paceGC(&paced{})
	}
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Garbage may lie beside what lives: a quarter of it, or 16 MB where that is
// more, and always until the process is as large as it was before. A limit of
// all memory says that, and a percentage of the heap does not: in an analysis of
// 20 000 calls it takes half of the collections away, and a tenth of the peak.
const (
	gcShare   = 4        // of what lives, that part
	gcAtLeast = 16 << 20 // bytes
	gcBeside  = 8 << 20  // what the runtime takes beside the heap
	gcFirst   = 56 << 20 // before this there is no collection
)

// paced dies in every collection, and lives again after paceGC.
type paced struct {
	_     *byte
	limit int64 // bytes, as it was set last
}

// paceGC sets the limit by what the last collection left. It never falls. Under
// --max-memory the limit is the user's.
func paceGC(p *paced) {
	if p.limit != 0 && debug.SetMemoryLimit(-1) != p.limit {
		debug.SetGCPercent(100 / gcShare)
		return
	}
	read := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(read)
	live := int64(read[0].Value.Uint64())
	p.limit = max(p.limit, gcFirst, live+max(live/gcShare, gcAtLeast)+gcBeside)
	debug.SetMemoryLimit(p.limit)
	debug.SetGCPercent(-1)
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
