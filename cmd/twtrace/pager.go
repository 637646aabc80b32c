package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// pager hands text that is longer than the terminal to the user's pager, and
// shorter text to the terminal. It holds what fits one screen.
type pager struct {
	a      *app
	held   bytes.Buffer
	height int // lines of the terminal
	lines  int
	cmd    *exec.Cmd
	pipe   io.WriteCloser
	direct bool // there is no pager to be had
}

// pagerCommand is PAGER, else less: what fits stays on the screen, colours are
// shown, long lines are not folded. It is empty where the user or the terminal
// wants none.
func (a *app) pagerCommand() string {
	command, given := os.LookupEnv("PAGER")
	switch {
	case a.noPager || os.Getenv("TERM") == "dumb" || given && strings.TrimSpace(command) == "" || command == "cat":
		return ""
	case given:
		return command
	}
	if _, err := exec.LookPath("less"); err != nil {
		return ""
	}
	return "less -FRSX"
}

// terminalOutput is where text for standard output goes; done ends it.
func (a *app) terminalOutput() (w io.Writer, done func() error) {
	height, ok := terminalHeight(a.stdout)
	if !ok || a.pagerCommand() == "" {
		return a.stdout, func() error { return nil }
	}
	p := &pager{a: a, height: height}
	return p, p.close
}

func (p *pager) Write(b []byte) (int, error) {
	switch {
	case p.direct:
		return p.a.stdout.Write(b)
	case p.pipe != nil:
		return p.pipe.Write(b)
	}
	p.held.Write(b)
	if p.lines += bytes.Count(b, []byte("\n")); p.lines < p.height {
		return len(b), nil
	}
	if err := p.start(); err != nil {
		p.direct = true
		p.a.say(levelWarn, "no pager: %v; --no-pager asks for none", err)
	}
	n := len(b)
	b = bytes.Clone(p.held.Bytes())
	p.held.Reset()
	if _, err := p.Write(b); err != nil {
		return 0, err
	}
	return n, nil
}

// start runs the pager in a shell, as PAGER may hold arguments.
func (p *pager) start() error {
	p.cmd = exec.CommandContext(p.a.ctx, "sh", "-c", p.a.pagerCommand())
	p.cmd.Stdout, p.cmd.Stderr = p.a.stdout, p.a.stderr
	pipe, err := p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err == nil {
		p.pipe = pipe
	}
	return err
}

// close waits for the pager. How it ended is the user's business.
func (p *pager) close() error {
	if p.pipe == nil {
		_, err := p.a.stdout.Write(p.held.Bytes())
		return err
	}
	if err := p.pipe.Close(); err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) {
		return err
	}
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return p.a.ctx.Err()
}
