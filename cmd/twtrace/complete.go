package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twtrace/twtrace/internal/experiment"
	"github.com/twtrace/twtrace/internal/table"
)

// completionTime is how long a shell may be kept waiting for names that stand
// in files; after it there are none.
const completionTime = time.Second

// noFiles: a value that no file name is.
const noFiles = cobra.ShellCompDirectiveNoFileComp

// choices are the values of flags that take one of a few words; a verb's own
// stand before a flag's.
var choices = map[string]string{
	"format":          "table csv json ndjson arrow parquet",
	"flow format":     "text svg mermaid",
	"schema format":   "table csv json",
	"compare format":  "table csv json ndjson",
	"what-if format":  "table csv json ndjson",
	"plan format":     "table csv json ndjson",
	"simulate format": "table csv json ndjson",
	"segmenting":      "provider gsm 160",
	"queue-by":        "account from service",
	"call-created":    "accepted dialed",
	"progress":        "auto plain none",
	"log-level":       "error warn info",
	"log-format":      "text json",
	"by":              "scenario",
	"policy":          "round-robin shortest",
	"fail-on":         "below worse",
}

// plainFlags are numbers, times and names of which nothing can be offered, and
// no file neither.
var plainFlags = strings.Fields("name start end since guarantee tolerance jobs max-memory shard tz limit rate floor width calls")

// completions tells shells what flags and arguments can be.
func (a *app) completions(root *cobra.Command) {
	for _, c := range root.Commands() {
		verb := c.Name()
		of := strings.ReplaceAll(verb, "-", "_")
		if verb == "keys" {
			of = "flows"
		}
		offer := func(name string, complete cobra.CompletionFunc) {
			if c.Flags().Lookup(name) == nil {
				return
			}
			if err := c.RegisterFlagCompletionFunc(name, complete); err != nil {
				panic("completion of " + verb + ": " + err.Error())
			}
		}
		for name, words := range choices {
			if !strings.Contains(name, " ") {
				if own, ok := choices[verb+" "+name]; ok {
					words = own
				}
				offer(name, cobra.FixedCompletions(strings.Fields(words), noFiles))
			}
		}
		for _, name := range plainFlags {
			offer(name, cobra.NoFileCompletions)
		}
		offer("columns", columnList(of, false))
		offer("sort", columnList(of, true))
		offer("where", condition(of))
		offer("call", a.callIDs)
		offer("only", a.experimentNames)
		if verb == "schema" {
			c.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
				if len(args) > 0 {
					return nil, noFiles
				}
				var names []string
				for _, s := range table.Schemas() {
					names = append(names, cobra.CompletionWithDesc(s.Name, s.Doc))
				}
				return begins(names, begun), noFiles
			}
		}
	}
}

// begins keeps what begins as the word on the line.
func begins(list []string, begun string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return !strings.HasPrefix(s, begun) })
}

func columnsOf(name string) []table.Column {
	for _, s := range table.Schemas() {
		if s.Name == name {
			return s.Columns
		}
	}
	return nil
}

// columnList completes the last of names parted by commas, with - before it to
// reverse an order.
func columnList(of string, reverse bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before, last := "", begun
		if i := strings.LastIndexByte(begun, ','); i >= 0 {
			before, last = begun[:i+1], begun[i+1:]
		}
		if reverse && strings.HasPrefix(last, "-") {
			before += "-"
		}
		given := strings.Split(before, ",")
		var list []string
		for _, c := range columnsOf(of) {
			if !slices.Contains(given, c.Name) {
				list = append(list, cobra.CompletionWithDesc(before+c.Name, c.Doc))
			}
		}
		return begins(list, begun), noFiles | cobra.ShellCompDirectiveNoSpace
	}
}

// condition completes a column, and behind an operator the words of an enum.
func condition(of string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		var list []string
		for _, c := range columnsOf(of) {
			rest, ok := strings.CutPrefix(begun, c.Name)
			if ops := strings.TrimLeft(rest, " !=<>"); ok && ops != rest && len(c.Enum) > 0 {
				for _, w := range c.Enum {
					list = append(list, begun[:len(begun)-len(ops)]+w)
				}
				return begins(list, begun), noFiles
			}
			list = append(list, cobra.CompletionWithDesc(c.Name, c.Doc))
		}
		return begins(list, begun), noFiles | cobra.ShellCompDirectiveNoSpace
	}
}

// inTime gives what look finds, or nothing when that takes too long.
func (a *app) inTime(begun string, look func(ctx context.Context) []string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(a.ctx, completionTime)
	defer cancel()
	found := make(chan []string, 1)
	go func() { found <- look(ctx) }()
	select {
	case list := <-found:
		return begins(list, begun), noFiles
	case <-ctx.Done():
		return nil, noFiles
	}
}

// found are the experiments of arguments that can be read again.
func (a *app) found(args []string, together bool) []experiment.Experiment {
	inputs, err := a.inputs(slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == "-" }))
	if err != nil || len(inputs) == 0 || slices.ContainsFunc(inputs, func(in experiment.Input) bool { return in.Pipe != nil }) {
		return nil
	}
	exps, err := experiment.Find(inputs, together)
	if err != nil {
		return nil
	}
	return exps
}

// callIDs are the calls of the INPUTs on the line.
func (a *app) callIDs(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.inTime(begun, func(ctx context.Context) []string {
		var list []string
		for _, e := range a.found(args, false) {
			opt, err := a.options()
			if err != nil {
				return nil
			}
			opt.Tables = []string{"experiments", "calls"}
			r, err := experiment.Analyze(ctx, e, opt)
			if err != nil {
				return nil
			}
			for i := range r.Data.Calls {
				c := &r.Data.Calls[i]
				list = append(list, cobra.CompletionWithDesc(visible(c.CallID), visible(c.From+" to "+c.To+", "+c.Outcome)))
			}
		}
		return list
	})
}

// experimentNames are those under the ROOT on the line.
func (a *app) experimentNames(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.inTime(begun, func(context.Context) []string {
		var list []string
		for _, e := range a.found(args, false) {
			list = append(list, visible(e.Name))
		}
		return list
	})
}
