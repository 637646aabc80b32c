// Command benchcmp measures twtrace beside the programs that do a part of its
// work, on captures that it makes itself, and prints the table of
// docs/performance.md. Programs that are not installed are left out by name.
//
//	go run ./internal/benchcmp            every comparison, best of three, in turn
//	go run ./internal/benchcmp -short     small inputs: does it run at all
//	go run ./internal/benchcmp -only cost the cost over four sizes, with exponents
//
// Times are of whole processes: wall, and processor (user and system). Memory is
// the peak of the process as the kernel counts it.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// bench is one run of the command.
type bench struct {
	dir     string // of inputs and outputs
	twtrace string
	runs    int
	short   bool
}

func main() {
	b := &bench{}
	only := flag.String("only", "", "one part: plain, encrypted, resources, compressed, start or cost")
	flag.StringVar(&b.dir, "dir", "", "folder for inputs, kept (default: a temporary one)")
	flag.IntVar(&b.runs, "runs", 3, "runs of each program; the best counts")
	flag.BoolVar(&b.short, "short", false, "small inputs")
	flag.Parse()
	if err := b.main(*only); err != nil {
		fmt.Fprintln(os.Stderr, "benchcmp:", err)
		os.Exit(1)
	}
}

func (b *bench) main(only string) error {
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "benchcmp")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.dir = dir
	} else if err := os.MkdirAll(b.dir, 0o777); err != nil {
		return err
	}
	b.twtrace = filepath.Join(b.dir, "twtrace")
	if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.twtrace, "./cmd/twtrace").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	fmt.Printf("%d processors, %s/%s, %s; best of %d\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), b.runs)
	for _, part := range []struct {
		name string
		run  func() error
	}{{"plain", b.plain}, {"encrypted", b.encrypted}, {"resources", b.resources}, {"compressed", b.compressed}, {"start", b.start}, {"cost", b.cost}} {
		if only != "" && only != part.name {
			continue
		}
		fmt.Printf("\n## %s\n\n", part.name)
		if err := part.run(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// size is large, or small with -short.
func (b *bench) size(large, small int) int {
	if b.short {
		return small
	}
	return large
}

// load makes a capture once; name says what is in it.
func (b *bench) load(name string, args ...string) (string, error) {
	file := filepath.Join(b.dir, name)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	out, err := exec.Command("go", append([]string{"run", "./fixtures/load", "-o", file}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("fixtures/load: %w\n%s", err, out)
	}
	return file, nil
}

// measured is what the best run of a program took.
type measured struct {
	wall, cpu time.Duration
	peak      int64 // bytes; 0 unknown
}

// command is a program to be measured.
type command struct {
	name string // as the table has it
	argv []string
	one  bool   // on one processor
	feed string // file whose decompressor's output is its standard input
	made string // folder that is removed before each run
}

// measure runs commands in turn, as often as wanted: a machine that is slower for
// a while is so for all. What a program that is not installed took is nil.
func (b *bench) measure(list ...command) ([]*measured, error) {
	best := make([]*measured, len(list))
	for range b.runs {
		for n, c := range list {
			if _, err := exec.LookPath(c.argv[0]); err != nil {
				continue
			}
			m, err := c.run()
			if err != nil {
				return nil, err
			}
			if best[n] == nil {
				best[n] = &m
			}
			best[n].wall, best[n].cpu, best[n].peak = min(best[n].wall, m.wall), min(best[n].cpu, m.cpu), max(best[n].peak, m.peak)
		}
	}
	return best, nil
}

// run runs a command once.
func (c command) run() (m measured, err error) {
	argv := c.argv
	if c.one {
		if _, err := exec.LookPath("taskset"); err == nil {
			argv = append([]string{"taskset", "-c", "0"}, argv...)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = os.Environ()
	if c.one {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	if c.made != "" {
		if err := os.RemoveAll(c.made); err != nil {
			return m, err
		}
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	var feed *exec.Cmd
	if c.feed != "" {
		feed = exec.Command("zstd", "-dc", c.feed)
		if cmd.Stdin, err = feed.StdoutPipe(); err != nil {
			return m, err
		}
		if err := feed.Start(); err != nil {
			return m, err
		}
	}
	began := time.Now()
	err = cmd.Run()
	m.wall = time.Since(began)
	if feed != nil {
		if err := feed.Wait(); err != nil {
			return m, err
		}
	}
	if err != nil {
		return m, fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, &said)
	}
	m.cpu, m.peak = cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime(), peakOf(cmd.ProcessState)
	return m, nil
}

// table measures commands and prints a row of each. The first is what the
// others are divided by; units, of what, are counted a second.
func (b *bench) table(units int, of string, list ...command) error {
	fmt.Printf("| program | wall | processor | peak memory | %s/s | times its wall |\n|---|---|---|---|---|---|\n", of)
	best, err := b.measure(list...)
	if err != nil {
		return err
	}
	first := best[0]
	var absent []string
	for n, c := range list {
		m := best[n]
		if m == nil {
			absent = append(absent, c.argv[0])
			continue
		}
		peak, rate := "", ""
		if m.peak > 0 {
			peak = strconv.FormatInt(m.peak/1e6, 10) + " MB"
		}
		if units > 0 {
			rate = short(float64(units) / m.wall.Seconds())
		}
		fmt.Printf("| %s | %s s | %s s | %s | %s | %.2f |\n", c.name, short(m.wall.Seconds()), short(m.cpu.Seconds()), peak, rate, m.wall.Seconds()/first.wall.Seconds())
	}
	if len(absent) > 0 {
		fmt.Printf("\nNot installed: %s.\n", strings.Join(absent, ", "))
	}
	return nil
}

// short is a number of three digits, with a word for thousands and millions.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " million"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'f', 0, 64) + " thousand"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func (b *bench) out(name string) []string {
	return []string{"-q", "--force", "-o", filepath.Join(b.dir, "out-"+name)}
}

// plain is a SIP and RTP capture, analysed whole: calls, streams, tables, report.
func (b *bench) plain() error {
	calls, packets := b.size(20000, 200), 100
	file, err := b.load(fmt.Sprintf("sip-%d.pcap", calls), "-calls", strconv.Itoa(calls), "-packets", strconv.Itoa(packets))
	if err != nil {
		return err
	}
	analyze := append([]string{b.twtrace, "analyze", file}, b.out("plain")...)
	fmt.Printf("%d calls, %d packets.\n\n", calls, calls*(packets+7))
	return b.table(calls*(packets+7), "packets",
		command{name: "`twtrace analyze`, one processor", argv: analyze, one: true},
		command{name: "`twtrace analyze`", argv: analyze},
		command{name: "`twtrace streams -f csv`, one processor", argv: []string{b.twtrace, "streams", file, "-q", "-f", "csv", "--force", "-o", filepath.Join(b.dir, "streams.csv")}, one: true},
		command{name: "`tshark -q -z rtp,streams`", argv: []string{"tshark", "-q", "-z", "rtp,streams", "-r", file}},
		command{name: "`tcpdump -r` with a port filter", argv: []string{"tcpdump", "-r", file, "-w", os.DevNull, "udp port 5060"}},
		command{name: "`capinfos`", argv: []string{"capinfos", file}},
		command{name: "`sngrep -N -q -I`", argv: []string{"sngrep", "-N", "-q", "-I", file}},
		command{name: "`openssl dgst -sha256`: what the sum alone takes", argv: []string{"openssl", "dgst", "-sha256", file}})
}

// encrypted is signaling within TLS, with its key log: the recorded calls of a
// browser, and WebSocket messages and nothing else.
func (b *bench) encrypted() error {
	recorded := filepath.Join("fixtures", "recorded", "browser-incoming")
	copies := b.size(300, 10)
	calls, err := b.load(fmt.Sprintf("browser-%d.pcap", copies), "-from", filepath.Join(recorded, "capture.pcapng.gz"), "-copies", strconv.Itoa(copies))
	if err != nil {
		return err
	}
	fmt.Printf("A browser's call of the lab, %d times: WebSocket, HTTP/2 and SRTP.\n\n", copies)
	if err := b.decrypt(copies, "calls", calls, filepath.Join(recorded, "keys.log")); err != nil {
		return err
	}
	for _, c := range []struct{ conns, messages, size int }{{b.size(200, 10), 300, 1434}, {b.size(200, 10), b.size(3000, 300), 60}} {
		file, err := b.load(fmt.Sprintf("tls-%d-%d-%d.pcap", c.conns, c.messages, c.size), "-tls", strconv.Itoa(c.conns), "-messages", strconv.Itoa(c.messages), "-size", strconv.Itoa(c.size))
		if err != nil {
			return err
		}
		n := 2 * c.conns * c.messages
		fmt.Printf("\n%d WebSocket messages of %d bytes.\n\n", n, c.size)
		if err := b.decrypt(n, "messages", file, file+".keys"); err != nil {
			return err
		}
	}
	return nil
}

// decrypt prints what is in each message, and what it takes only to count them.
func (b *bench) decrypt(units int, of, file, keys string) error {
	signals := []string{b.twtrace, "signals", file, "--keys", keys, "-q", "-f", "csv", "--force", "-o", filepath.Join(b.dir, "signals.csv")}
	tshark := func(args ...string) []string {
		return append([]string{"tshark", "-o", "tls.keylog_file:" + keys, "-r", file}, args...)
	}
	return b.table(units, of,
		command{name: "`twtrace signals -f csv`", argv: signals},
		command{name: "the same on one processor", argv: signals, one: true},
		command{name: "`tshark -T fields`: each message's text, path and status", argv: tshark("-Y", "websocket or http or http2", "-T", "fields", "-e", "frame.number", "-e", "websocket.payload.text",
			"-e", "http2.headers.path", "-e", "http2.headers.status", "-e", "http.request.uri")},
		command{name: "`tshark -q -z io,stat,0,websocket,http2`: decrypted and counted, nothing printed", argv: tshark("-q", "-z", "io,stat,0,websocket,http2")})
}

// resources are exported list pages of messages.
func (b *bench) resources() error {
	pages, each := b.size(10, 1), b.size(100000, 2000)
	root := filepath.Join(b.dir, fmt.Sprintf("messages-%d", pages*each))
	if _, err := os.Stat(root); err != nil {
		out, err := exec.Command(b.twtrace, "simulate", "-o", root, "--messages", strconv.Itoa(each), "--bytes", "170", "--repeat", strconv.Itoa(pages), "--rate", "50/s", "--queue-rate", "500/s", "-q").CombinedOutput()
		if err != nil {
			return fmt.Errorf("simulate: %w\n%s", err, out)
		}
	}
	duckdb := func(name, query string) command {
		files := filepath.Join(root, "**", "messages", "*.json")
		return command{name: name, argv: []string{"python3", "-c", fmt.Sprintf("import duckdb; c = duckdb.connect(); c.execute('set threads to %d; set enable_progress_bar = false'); c.execute(%q)",
			runtime.NumCPU(), fmt.Sprintf(query, fmt.Sprintf("(select unnest(messages, recursive := true) from read_json('%s', maximum_object_size = 100000000))", files)))}}
	}
	fmt.Printf("%d messages.\n\n", pages*each)
	return b.table(pages*each, "messages",
		command{name: "`twtrace batch`: tables, rates, report", argv: append([]string{b.twtrace, "batch", root}, b.out("messages")...), made: filepath.Join(b.dir, "out-messages")},
		command{name: "`twtrace rates`", argv: []string{b.twtrace, "rates", root, "-q", "-f", "csv"}},
		duckdb("DuckDB `read_json` into a table", "create table m as select * from %s"),
		duckdb("DuckDB `read_json`: count and two times, no other column read", "select count(*), min(date_sent), max(date_sent) from %s"))
}

// compressed is a capture in zstd and gzip, read in place and through a pipe.
func (b *bench) compressed() error {
	calls := b.size(4000, 100)
	file, err := b.load(fmt.Sprintf("sip-%d.pcap", calls), "-calls", strconv.Itoa(calls), "-packets", "100")
	if err != nil {
		return err
	}
	for _, z := range [][]string{{"zstd", "-q", "-f", "-k", file}, {"gzip", "-k", "-f", file}} {
		if out, err := exec.Command(z[0], z[1:]...).CombinedOutput(); err != nil {
			fmt.Printf("%s: %v %s\n", z[0], err, out)
			return nil
		}
	}
	calc := func(in string) []string { return []string{b.twtrace, "calls", in, "-q", "-f", "csv"} }
	return b.table(calls*107, "packets",
		command{name: "`twtrace calls`, plain", argv: calc(file)},
		command{name: "zstd", argv: calc(file + ".zst")},
		command{name: "`zstd -dc \\| twtrace calls -`", argv: calc("-"), feed: file + ".zst"},
		command{name: "gzip", argv: calc(file + ".gz")})
}

// start is what a small task costs.
func (b *bench) start() error {
	file, err := b.load("small.pcap", "-calls", "5", "-packets", "100")
	if err != nil {
		return err
	}
	info, err := os.Stat(b.twtrace)
	if err != nil {
		return err
	}
	fmt.Printf("Binary: %.1f MB.\n\n", float64(info.Size())/1e6)
	return b.table(0, "",
		command{name: "`twtrace version`", argv: []string{b.twtrace, "version"}},
		command{name: "`twtrace calls`, 5 calls", argv: []string{b.twtrace, "calls", file, "-q", "-f", "csv"}})
}

// cost sweeps four sizes of each kind of work and prints the exponent of time
// and memory: 1 is a straight line.
func (b *bench) cost() error {
	fmt.Println("| over | sizes | processor, s | exponent | peak, MB | exponent |\n|---|---|---|---|---|---|")
	analyze := func(in string) command {
		return command{argv: append([]string{b.twtrace, "analyze", in}, b.out("cost")...), one: true}
	}
	scale := b.size(1, 10)
	for _, sweep := range []struct {
		name  string
		sizes []int
		input func(n int) (command, error)
	}{
		{"packets", []int{400, 800, 1600, 3200}, func(n int) (command, error) {
			f, err := b.load(fmt.Sprintf("cost-p%d.pcap", n), "-calls", "500", "-packets", strconv.Itoa(n))
			return analyze(f), err
		}},
		{"calls", []int{4000, 8000, 16000, 32000}, func(n int) (command, error) {
			f, err := b.load(fmt.Sprintf("cost-c%d.pcap", n), "-calls", strconv.Itoa(n), "-packets", "20")
			return analyze(f), err
		}},
		{"WebSocket messages", []int{250, 500, 1000, 2000}, func(n int) (command, error) {
			f, err := b.load(fmt.Sprintf("cost-w%d.pcap", n), "-tls", "50", "-messages", strconv.Itoa(n))
			return command{argv: append([]string{b.twtrace, "analyze", f, f + ".keys"}, b.out("cost")...), one: true}, err
		}},
		{"message resources", []int{12500, 25000, 50000, 100000}, func(n int) (command, error) {
			root := filepath.Join(b.dir, fmt.Sprintf("cost-m%d", n))
			out, err := exec.Command(b.twtrace, "simulate", "-o", root, "--force", "--messages", strconv.Itoa(n), "--bytes", "170", "--rate", "50/s", "--queue-rate", "500/s", "-q").CombinedOutput()
			if err != nil {
				err = fmt.Errorf("simulate: %w\n%s", err, out)
			}
			return analyze(root), err
		}},
		{"experiments", []int{50, 100, 200, 400}, func(n int) (command, error) {
			root := filepath.Join(b.dir, fmt.Sprintf("cost-e%d", n))
			out, err := exec.Command(b.twtrace, "simulate", "-o", root, "--force", "--calls", "50", "--repeat", strconv.Itoa(n), "-q").CombinedOutput()
			if err != nil {
				err = fmt.Errorf("simulate: %w\n%s", err, out)
			}
			return command{argv: append([]string{b.twtrace, "batch", root, "--jobs", "1"}, b.out(fmt.Sprintf("cost-e%d", n))...), one: true, made: filepath.Join(b.dir, fmt.Sprintf("out-cost-e%d", n))}, err
		}},
	} {
		var x, seconds, peaks []float64
		for _, n := range sweep.sizes {
			n = max(1, n/scale)
			c, err := sweep.input(n)
			if err != nil {
				return err
			}
			best, err := b.measure(c)
			if err != nil {
				return err
			}
			m := best[0]
			x = append(x, float64(n))
			seconds = append(seconds, m.cpu.Seconds())
			peaks = append(peaks, float64(m.peak)/1e6)
			for _, old := range []string{"out-cost", fmt.Sprintf("out-cost-e%d", n)} {
				if err := os.RemoveAll(filepath.Join(b.dir, old)); err != nil {
					return err
				}
			}
		}
		fmt.Printf("| %s | %s | %s | %.2f | %s | %.2f |\n", sweep.name, join(x), join(seconds), exponent(x, seconds), join(peaks), exponent(x, peaks))
	}
	fmt.Println("\nThe exponent is the slope of the logarithms by least squares; above 1.05 the cost would grow faster than the work.")
	return nil
}

func join(list []float64) string {
	var parts []string
	for _, v := range list {
		parts = append(parts, short(v))
	}
	return strings.Join(parts, ", ")
}

// exponent is k of y = a x^k by least squares.
func exponent(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	n := float64(len(x))
	for i := range x {
		u, v := math.Log(x[i]), math.Log(max(y[i], 1e-9))
		sx, sy, sxx, sxy = sx+u, sy+v, sxx+u*u, sxy+u*v
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
