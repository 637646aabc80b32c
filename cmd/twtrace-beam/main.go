// Command twtrace-beam analyses the experiments under a root with Apache Beam:
// on this machine, or on the workers of a Flink, Spark or Dataflow job. It
// writes the dataset and the report that `twtrace batch` writes, and the rates
// of all runs taken together.
//
//	twtrace-beam --root experiments/ --out out
//	twtrace-beam --root gs://bucket/experiments --out gs://bucket/out --runner dataflow ...
//
// It is a module of its own, so that twtrace itself stays small. docs/scale.md
// says how to run it and what it costs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/options/jobopts"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	"github.com/twtrace/twtrace/internal/experiment"
)

const exitUsage = 2

func main() {
	j := &job{Version: experiment.ProgramVersion()}
	guarantee := flag.String("guarantee", "", "promised rate (default 1/s)")
	tolerance := flag.String("tolerance", "", "tolerance of a verdict (default 5%)")
	flag.StringVar(&j.Root, "root", "", "folder, archive or gs://bucket/folder of the experiments")
	flag.StringVar(&j.Out, "out", "", "folder or gs://bucket/folder to write the dataset into")
	flag.BoolVar(&j.Force, "force", false, "write into a folder that twtrace did not make")
	flag.BoolVar(&j.Report, "report", true, "draw report.html; it needs the rows of all experiments in the memory of one worker")
	flag.StringVar(&j.Segmenting, "segmenting", "", "provider, gsm or 160 (default provider, else gsm)")
	flag.StringVar(&j.QueueBy, "queue-by", "", "account, from or service (default: calls account; messages service, else from)")
	flag.StringVar(&j.CallCreated, "call-created", "", "what date_created of a call is: accepted or dialed (default accepted)")
	flag.Parse()
	log.SetupLogging("error", "text") // no progress of the runner; what is damaged is told at the end
	register()
	beam.Init() // a worker stays in here
	if err := j.check(flag.Args(), *guarantee, *tolerance); err != nil {
		fmt.Fprintf(os.Stderr, "twtrace-beam: %v\n", err)
		os.Exit(exitUsage)
	}
	code, err := j.run(context.Background())
	if err != nil {
		fmt.Fprintf(os.Stderr, "twtrace-beam: %v\n", err)
	}
	os.Exit(code)
}

// check completes the options by the texts of two of them.
func (j *job) check(args []string, guarantee, tolerance string) (err error) {
	if len(args) > 0 {
		return fmt.Errorf("want flags only, found %q", args[0])
	}
	if j.Root == "" || j.Out == "" {
		return errors.New("want --root and --out")
	}
	for _, name := range []*string{&j.Root, &j.Out} {
		if !remote(*name) {
			if *name, err = filepath.Abs(*name); err != nil { // a worker may stand elsewhere
				return err
			}
		} else if strings.ContainsAny(*name, `*?[\`) {
			return fmt.Errorf("%s: want a name without * ? [ and \\", *name)
		}
	}
	if guarantee != "" {
		if j.GuaranteePerS, err = experiment.ParseRate(guarantee); err != nil {
			return fmt.Errorf("--guarantee: %w", err)
		}
	}
	if tolerance != "" {
		j.TolerancePct, err = strconv.ParseFloat(strings.TrimSuffix(tolerance, "%"), 64)
		if err != nil || !(j.TolerancePct >= 0 && j.TolerancePct < 100) {
			return fmt.Errorf("--tolerance: want a percentage such as 5%%, found %q", tolerance)
		}
	}
	for _, f := range []struct {
		name, value string
		allowed     []string
	}{
		{"segmenting", j.Segmenting, []string{"", "provider", "gsm", "160"}},
		{"queue-by", j.QueueBy, []string{"", "account", "from", "service"}},
		{"call-created", j.CallCreated, []string{"", "accepted", "dialed"}},
	} {
		ok := false
		for _, a := range f.allowed {
			ok = ok || f.value == a
		}
		if !ok {
			return fmt.Errorf("--%s: want one of%s, found %q", f.name, strings.Join(f.allowed, " "), f.value)
		}
	}
	return nil
}

// run does the job and returns the exit code of docs/cli.md, told from the list
// that the job wrote. With --async it does not wait, and tells nothing.
func (j *job) run(ctx context.Context) (int, error) {
	p, s := beam.NewPipelineWithRoot()
	j.build(s)
	if err := beamx.Run(ctx, p); err != nil {
		return experiment.ExitNothing, err
	}
	if *jobopts.Async {
		return experiment.ExitWhole, nil
	}
	d, err := openDataset(ctx, j.Out)
	if err != nil {
		return experiment.ExitNothing, err
	}
	defer d.fsys.Close()
	list, err := d.list(ctx)
	if err != nil {
		return experiment.ExitNothing, err
	}
	if list.Experiments == nil {
		return experiment.ExitNothing, fmt.Errorf("%s: the job ended, and its list is not whole", d.name(batchName))
	}
	made, damaged, broken := false, false, false
	for _, e := range list.Experiments {
		switch e.ExitCode {
		case experiment.ExitInternal:
			broken = true
		case experiment.ExitNothing:
		default:
			made = true
		}
		if e.ExitCode != experiment.ExitWhole {
			damaged = true
			fmt.Fprintf(os.Stderr, "twtrace-beam: %s: %s\n", visible(e.Experiment), visible(e.Problem))
		}
	}
	fmt.Fprintf(os.Stderr, "twtrace-beam: %d experiment(s); see %s\n", len(list.Experiments), j.Out)
	switch {
	case broken:
		return experiment.ExitInternal, nil
	case !made:
		return experiment.ExitNothing, nil
	case damaged:
		return experiment.ExitDamaged, nil
	}
	return experiment.ExitWhole, nil
}

// visible is a text of the input without what could steer a terminal.
func visible(s string) string {
	q := strconv.QuoteToGraphic(s)
	return q[1 : len(q)-1]
}
