package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/twtrace/twtrace/decode"
	"github.com/twtrace/twtrace/decode/container"
	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// app is one call of the program.
type app struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	code   int        // worst of what the inputs gave
	errMu  sync.Mutex // of stderr
	step   func()     // called before every change of a batch's dataset; nil outside tests

	format     string
	output     string
	force      bool
	keys       []string
	name       string
	start, end string
	zone       string
	columns    string
	where      []string
	sort       string
	limit      int
	guarantee  string
	tolerance  string
	combine    bool
	follow     bool
	noPager    bool
	summary    bool
	segmenting string
	queueBy    string
	created    string
	redact     bool
	redactKey  string
	showDTMF   bool
	jobs       int
	maxMemory  string
	quiet      bool
	progress   string
	logLevel   string
	logFormat  string
	arrow      bool
}

// usageError is wrong usage: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "twtrace",
		Short: "Offline analysis of cloud-communication traces",
		Long: "twtrace reads packet captures and exported Twilio resources, reconstructs calls and messages,\n" +
			"measures queue and dequeue rates, and writes tables and an HTML report. It never uses the network.",
		Example:       "  twtrace demo -o out\n  twtrace analyze experiment/ -o out\n  twtrace calls capture.pcapng",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       experiment.ProgramVersion(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usagef("unknown command %q; `twtrace help` lists them%s", args[0], suggest(cmd, args[0]))
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; `%s --help` lists the flags%s", err, cmd.CommandPath(), flagHint(cmd, err))}
	})
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("twtrace {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true // it takes wrong words without complaint
	root.SetHelpCommand(a.helpCommand(root))
	root.AddGroup(&cobra.Group{ID: "main", Title: "Analysis:"}, &cobra.Group{ID: "table", Title: "Tables (one verb each; INPUT as for analyze):"})
	root.AddCommand(a.analyzeCommand(), a.batchCommand(), a.flowCommand(), a.keysCommand(), a.verifyCommand(), a.audioCommand(), a.sliceCommand(), a.packCommand(), a.scrubCommand(), a.wiresharkCommand(), a.reportCommand(), a.demoCommand(), a.schemaCommand(), a.versionCommand(), a.completionCommand(root))
	root.AddCommand(a.planCommand(), a.compareCommand(), a.whatIfCommand(), a.simulateCommand())
	root.AddCommand(a.manCommand(root))
	root.AddCommand(a.tableCommands()...)
	a.completions(root)
	return root
}

func suggest(cmd *cobra.Command, word string) string {
	if s := cmd.SuggestionsFor(word); len(s) > 0 {
		return fmt.Sprintf("; did you mean %q?", s[0])
	}
	return ""
}

var flagLines = regexp.MustCompile(`(?m)^ +(?:-\w, +)?--([a-z-]+)`)

// flagHint tells of an unknown flag what was meant, or whose it is.
func flagHint(cmd *cobra.Command, err error) string {
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return ""
	}
	// Typing errors are told as those in verbs are.
	flags := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, m := range flagLines.FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
		flags.AddCommand(&cobra.Command{Use: m[1], Run: func(*cobra.Command, []string) {}})
	}
	if s := flags.SuggestionsFor(name); len(s) > 0 {
		return fmt.Sprintf("; did you mean --%s?", s[0])
	}
	var verbs []string
	for _, c := range shownCommands(cmd.Root()) {
		if c.GroupID != "table" && c.Flags().Lookup(name) != nil {
			verbs = append(verbs, c.Name())
		}
	}
	if c, _, err := cmd.Root().Find([]string{"calls"}); err == nil && c.Flags().Lookup(name) != nil {
		verbs = append(verbs, "tables")
	}
	if len(verbs) > 0 {
		return fmt.Sprintf("; --%s is a flag of %s", name, strings.Join(verbs, ", "))
	}
	return ""
}

func (a *app) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command",
		Example: "  twtrace help analyze",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("unknown command %q; `twtrace help` lists them%s", strings.Join(args, " "), suggest(root, args[0]))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

func (a *app) completionCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "completion SHELL", Short: "Print completions for bash, zsh, fish or powershell",
		Example:   "  source <(twtrace completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				switch args[0] {
				case "bash":
					return root.GenBashCompletionV2(a.stdout, true)
				case "zsh":
					return root.GenZshCompletion(a.stdout)
				case "fish":
					return root.GenFishCompletion(a.stdout, true)
				case "powershell":
					return root.GenPowerShellCompletionWithDesc(a.stdout)
				}
			}
			return usagef("want one of bash, zsh, fish, powershell, found%s", cmp.Or(strings.TrimPrefix(quoted(args), ":"), " nothing"))
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Example: "  twtrace version",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, "twtrace", experiment.ProgramVersion())
			return err
		},
	}
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("want no argument, found %q", args[0])
	}
	return nil
}

func someInput(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("want at least one INPUT: a file, a folder, an archive or - for standard input; see `%s --help`", cmd.CommandPath())
	}
	return nil
}

// exitCode is the code for how the run ended; it says an error on the way.
func (a *app) exitCode(err error) int {
	if err == nil {
		return a.code
	}
	if errors.Is(err, syscall.EPIPE) {
		return a.code // who reads our output has seen enough
	}
	var usage usageError
	var internal *experiment.InternalError
	switch {
	case errors.Is(err, context.Canceled):
		a.say(levelError, "interrupted; nothing half-written was left")
		return exitInterrupted
	case errors.As(err, &usage):
		a.say(levelError, "%v", err)
		return exitUsage
	case errors.As(err, &internal):
		a.say(levelError, "%v; please report this", err)
		return exitInternal
	}
	a.say(levelError, "%v", err)
	return exitNothing
}

// levels of what is said on standard error, the gravest first.
const (
	levelError = "error"
	levelWarn  = "warn" // of damaged input
	levelInfo  = "info"
)

// tells whether --log-level lets a level through.
func (a *app) tells(level string) bool {
	order := []string{levelError, levelWarn, levelInfo}
	return !slices.Contains(order, a.logLevel) || slices.Index(order, level) <= slices.Index(order, a.logLevel)
}

// say writes one line to standard error, control characters made visible.
func (a *app) say(level, format string, args ...any) {
	if !a.tells(level) {
		return
	}
	a.log(level, fmt.Sprintf(format, args...), nil)
}

// log writes one line: the text, or an object of level, msg and the fields of
// more, a struct or nil.
func (a *app) log(level, text string, more any) {
	text = visible(text)
	if a.logFormat != "json" {
		a.write("twtrace: " + text + "\n")
		return
	}
	line, err := json.Marshal(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
	}{level, text})
	if err == nil && more != nil {
		var fields []byte
		if fields, err = json.Marshal(more); err == nil {
			line = append(append(line[:len(line)-1], ','), fields[1:]...)
		}
	}
	if err == nil {
		a.write(string(line) + "\n")
	}
}

// visible shows control and bidirectional characters as \u{..}.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x20 || r == 0x7F || r >= 0x80 && r < 0xA0 || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x200E || r == 0x200F || r == 0x061C || r == 0x2028 || r == 0x2029 {
			fmt.Fprintf(&b, `\u{%X}`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// inputs turns arguments into INPUTs; key logs of --keys are INPUTs too.
func (a *app) inputs(args []string) ([]experiment.Input, error) {
	var list []experiment.Input
	stdin := false
	for i, arg := range append(args[:len(args):len(args)], a.keys...) {
		keys := i >= len(args)
		if arg == "-" {
			if stdin {
				return nil, usagef("want - once: standard input can be read once only")
			}
			stdin = true
			list = append(list, a.pipe("standard input", "stdin", a.stdin, keys))
			continue
		}
		abs, err := filepath.Abs(arg)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(abs)
		if err != nil {
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		in := experiment.Input{Label: arg, Name: filepath.Base(abs), Path: ".", Keys: keys}
		switch {
		case info.IsDir():
			in.FS = os.DirFS(abs)
		case info.Mode().IsRegular():
			in.FS, in.Path = os.DirFS(filepath.Dir(abs)), in.Name
		default: // a pipe: it closes with the process
			f, err := os.Open(abs)
			if err != nil {
				return nil, err
			}
			in = a.pipe(arg, in.Name, f, keys)
		}
		list = append(list, in)
	}
	return list, nil
}

// pipe is an INPUT that can be read once only. Waiting for it ends with the
// context: a read that has begun cannot be called back, so it is done aside.
func (a *app) pipe(label, name string, r io.Reader, keys bool) experiment.Input {
	if f, ok := r.(*os.File); ok {
		pr, pw := io.Pipe()
		context.AfterFunc(a.ctx, func() { pw.CloseWithError(context.Canceled) })
		go func() {
			_, err := io.Copy(pw, f)
			pw.CloseWithError(err)
		}()
		r = pr
	}
	file := container.Stdin(r)
	file.Name = name
	return experiment.Input{Label: label, Name: name, Pipe: file, Keys: keys}
}

// shellQuote makes one word for a shell of what a user may paste.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./,:=+@%", r)
	}
	if s != "" && strings.TrimLeftFunc(s, plain) == "" {
		return s
	}
	if s == visible(s) && utf8.ValidString(s) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return quoteHidden(s)
}

// quoteHidden is shellQuote where control characters stand in s, that no
// terminal may get, or bytes that are no text: printf makes them again. The
// shell takes line ends off what a command prints, so those at the end stand
// beside it.
func quoteHidden(s string) string {
	text := strings.TrimRight(s, "\n")
	var b strings.Builder
	b.WriteString(`"$(printf '`)
	if rest, ok := strings.CutPrefix(text, "-"); ok { // else an option of printf
		b.WriteString(`\055`)
		text = rest
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		c := text[:n]
		text = text[n:]
		switch {
		case c == "'":
			b.WriteString(`\047`)
		case c == `\`:
			b.WriteString(`\\`)
		case c == "%":
			b.WriteString("%%")
		case r == utf8.RuneError && n == 1 || visible(c) != c:
			for _, x := range []byte(c) {
				fmt.Fprintf(&b, `\%03o`, x)
			}
		default:
			b.WriteString(c)
		}
	}
	b.WriteString(`')"`)
	if n := strings.Count(s[len(strings.TrimRight(s, "\n")):], "\n"); n > 0 {
		b.WriteString("'" + strings.Repeat("\n", n) + "'")
	}
	return b.String()
}

// options are the analysis options that the flags give.
func (a *app) options() (experiment.Options, error) {
	o := experiment.Options{Name: a.name, Version: experiment.ProgramVersion(), Redact: a.redact, ShowDTMF: a.showDTMF}
	if a.redact && a.showDTMF {
		return o, usagef("--show-dtmf: not with --redact, which hides what it shows")
	}
	var err error
	if o.Start, err = parseTime(a.start); err != nil {
		return o, usagef("--start: %v", err)
	}
	if o.End, err = parseTime(a.end); err != nil {
		return o, usagef("--end: %v", err)
	}
	if a.guarantee != "" {
		if o.Rates.GuaranteePerS, err = experiment.ParseRate(a.guarantee); err != nil {
			return o, usagef("--guarantee: %v", err)
		}
	}
	if a.tolerance != "" {
		o.Rates.TolerancePct, err = strconv.ParseFloat(strings.TrimSuffix(a.tolerance, "%"), 64)
		if err != nil || !(o.Rates.TolerancePct >= 0 && o.Rates.TolerancePct < 100) {
			return o, usagef("--tolerance: want a percentage such as 5%%, found %q", a.tolerance)
		}
	}
	if !oneOf(a.segmenting, "", "provider", "gsm", "160") {
		return o, usagef("--segmenting: want provider, gsm or 160, found %q", a.segmenting)
	}
	if !oneOf(a.queueBy, "", "account", "from", "service") {
		return o, usagef("--queue-by: want account, from or service, found %q", a.queueBy)
	}
	if !oneOf(a.created, "", "accepted", "dialed") {
		return o, usagef("--call-created: want accepted or dialed, found %q", a.created)
	}
	o.Rates.Segmenting, o.Rates.QueueBy = a.segmenting, a.queueBy
	o.Rates.CallCreated = a.created
	if !oneOf(a.progress, "", "auto", "plain", "none") {
		return o, usagef("--progress: want auto, plain or none, found %q", a.progress)
	}
	if !oneOf(a.logLevel, "", levelError, levelWarn, levelInfo) {
		return o, usagef("--log-level: want error, warn or info, found %q", a.logLevel)
	}
	if !oneOf(a.logFormat, "", "text", "json") {
		return o, usagef("--log-format: want text or json, found %q", a.logFormat)
	}
	if a.jobs < 0 {
		return o, usagef("--jobs: want 0 or more, found %d", a.jobs)
	}
	if _, err := parseSize(a.maxMemory); err != nil {
		return o, usagef("--max-memory: %v", err)
	}
	if o.Start != 0 && o.End != 0 && o.Start > o.End {
		return o, usagef("--start %s is after --end %s", a.start, a.end)
	}
	_, err = a.displayZone()
	return o, err
}

func oneOf(s string, allowed ...string) bool {
	for _, x := range allowed {
		if s == x {
			return true
		}
	}
	return false
}

func parseTime(s string) (decode.Time, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1678 || t.Year() > 2261 { // what int64 ns reach from end to end
		return 0, fmt.Errorf("want a time as RFC 3339, such as 2013-11-21T18:00:00Z, found %q", s)
	}
	return decode.Time(t.UnixNano()), nil
}

// parseSize reads a number of bytes such as 300MB, 2GiB or 500000; "" is 0.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	num := strings.TrimRight(s, "kKMGTiB")
	unit, ok := map[string]float64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[s[len(num):]]
	v, err := strconv.ParseFloat(num, 64)
	if !ok || err != nil || !(v*unit >= minMemory && v*unit < 1<<60) {
		return 0, fmt.Errorf("want a size of %s or more such as 300MB or 2GiB, found %q", megabytes(minMemory), s)
	}
	return int64(v * unit), nil
}

// displayZone is --tz; nil is UTC.
func (a *app) displayZone() (*time.Location, error) {
	if a.zone == "" {
		return nil, nil
	}
	loc, err := time.LoadLocation(a.zone)
	if err != nil {
		return nil, usagef("--tz: unknown time zone %q; want a name such as UTC or Europe/Zurich", a.zone)
	}
	return loc, nil
}

// inputFlags are the flags of every verb that reads INPUTs.
func (a *app) inputFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&a.keys, "keys", nil, "key log to use; repeatable")
	f.StringVar(&a.name, "name", "", "name of the experiment")
	f.StringVar(&a.start, "start", "", "cut the capture: frames from this time on (RFC 3339)")
	f.StringVar(&a.end, "end", "", "cut the capture: frames up to this time (RFC 3339)")
	f.StringVar(&a.guarantee, "guarantee", "", "promised rate (default 1/s)")
	f.StringVar(&a.tolerance, "tolerance", "", "tolerance of a verdict (default 5%)")
	f.StringVar(&a.segmenting, "segmenting", "", "provider, gsm or 160 (default provider, else gsm)")
	f.StringVar(&a.queueBy, "queue-by", "", "account, from or service (default: calls account; messages service, else from)")
	f.StringVar(&a.created, "call-created", "", "what date_created of a call is: accepted or dialed (default accepted)")
	f.BoolVar(&a.redact, "redact", false, "stable pseudonyms for numbers, addresses, SIDs and names")
	f.StringVar(&a.redactKey, "redact-key", "", "file with the key of the pseudonyms, for the same ones in every run")
	f.BoolVar(&a.showDTMF, "show-dtmf", false, "show the digits that were dialed; otherwise they are counted only")
	f.StringVar(&a.zone, "tz", "", "time zone of what is shown; tables stay UTC")
	a.workFlags(c)
}

// workFlags say how the work is done and told.
func (a *app) workFlags(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&a.jobs, "jobs", 0, "experiments analysed side by side (default: one a processor)")
	f.StringVar(&a.maxMemory, "max-memory", "", "memory to stay below, such as 300MB or 2GiB: fewer experiments at once when theirs may add up to more")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no notes on standard error")
	f.StringVar(&a.progress, "progress", "auto", "auto, plain or none")
	f.StringVar(&a.logLevel, "log-level", levelInfo, "what to tell on standard error: error, warn (damaged input too) or info")
	f.StringVar(&a.logFormat, "log-format", "text", "text, or json: one object a line")
}

// outputFlags are the flags of verbs that write a folder.
func (a *app) outputFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&a.output, "output", "o", "", "folder to write")
	f.BoolVar(&a.force, "force", false, "write into a folder that twtrace did not make")
	f.BoolVar(&a.arrow, "arrow", false, "also write one Arrow IPC file a table")
	a.summaryFlag(c, "print the dataset's numbers of calls, messages and streams, the slowest rate and the worst verdict as one line of key=value")
}

// fileFlags name the file that a verb writes.
func (a *app) fileFlags(c *cobra.Command, usage string) {
	c.Flags().StringVarP(&a.output, "output", "o", "", usage)
	c.Flags().BoolVar(&a.force, "force", false, "overwrite that file")
}

// redactionKey is the content of --redact-key, or random bytes for this run.
func (a *app) redactionKey() ([]byte, error) {
	if !a.redact {
		if a.redactKey != "" {
			return nil, usagef("--redact-key needs --redact")
		}
		return nil, nil
	}
	if a.redactKey == "" {
		return randomKey()
	}
	key, err := os.ReadFile(a.redactKey)
	if err != nil {
		return nil, fmt.Errorf("--redact-key: %w", err)
	}
	if len(key) < 16 {
		return nil, usagef("--redact-key: want at least 16 bytes, found %d", len(key))
	}
	return key, nil
}

// isTerminal tells whether w is a terminal, and its width.
func isTerminal(w io.Writer) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 20 {
		width = 100
	}
	return width, true
}

// terminalHeight tells whether w is a terminal, and how many lines it has.
func terminalHeight(w io.Writer) (lines int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	_, lines, err := term.GetSize(int(f.Fd()))
	if err != nil || lines < 4 {
		lines = 24
	}
	return lines, true
}

// colored tells whether the terminal shows colours and the user wants them
// (no-color.org).
func colored() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// pagerFlag is of verbs that print text.
func (a *app) pagerFlag(c *cobra.Command) {
	c.Flags().BoolVar(&a.noPager, "no-pager", false, "on a terminal: print long output as it is, not through PAGER (default less -FRSX)")
}

// tableFormat is --format, else table on a terminal and csv in a pipe.
func (a *app) tableFormat() (table.Format, error) {
	if a.format == "" {
		if _, ok := isTerminal(a.stdout); ok {
			return table.ParseFormat("table")
		}
		return table.ParseFormat("csv")
	}
	f, err := table.ParseFormat(a.format)
	if err != nil {
		return f, usageError{err}
	}
	return f, nil
}
