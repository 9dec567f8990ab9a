// Package tutorial is the tutorial as data: the lines a reader types, on which host, what is answered to their prompts,
// and what must come out. Package, systemd and SELinux steps are the lab's; what holdfast adds (a witness, the balancer's
// rules) is marked as such. The demo replays it for show, the lab's tests to assert.
package tutorial

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Step is one line to type.
type Step struct {
	Host  string
	Line  string // as typed, run by a shell
	Stdin string // what it reads
	// Turns are prompts and what is typed at them, for a line that wants a terminal.
	Turns []Turn
	// Want are regular expressions the output (stdout and stderr together) must match; Silent: it must be empty.
	Want   []string
	Silent bool
	Code   int // exit code
	// Until repeats the line until it matches Want, up to this long: for a wait the tutorial asks its reader for.
	Until time.Duration
	// Ours marks a step that the tutorial does not have; Slip one that it has wrong and that must change nothing.
	Ours, Slip bool
	Note       string
}

// Turn is a prompt, and what is typed at it.
type Turn struct{ Await, Send string }

// Runner runs a line on a host and gives back all it printed and its exit code. An error means that it could not be run.
type Runner interface {
	Run(ctx context.Context, host, line, stdin string) (output string, code int, err error)
	// Converse is Run on a terminal: each turn is typed when its prompt has come.
	Converse(ctx context.Context, host, line string, turns []Turn) (output string, code int, err error)
}

// stepLimit bounds one line; showLines is how much of a long output is shown from either end.
const (
	stepLimit = 90 * time.Second
	showLines = 12
)

// repeatEvery is the pause between two tries of a step with Until.
const repeatEvery = 200 * time.Millisecond

// Replay runs steps in order, printing each as it is typed with what it printed, and stops at the first that is not as
// it must be.
func Replay(ctx context.Context, r Runner, steps []Step, show io.Writer) error {
	for _, s := range steps {
		s.announce(show)
		attempt, cancel := context.WithTimeout(ctx, stepLimit+s.Until)
		out, err := s.run(attempt, r)
		cancel()
		printed(show, out)
		if err != nil {
			return err
		}
	}
	return nil
}

// printed shows what a line printed; of much, the beginning and the end.
func printed(w io.Writer, out string) {
	lines := strings.FieldsFunc(out, func(r rune) bool { return r == '\n' })
	if len(lines) > 2*showLines {
		left := fmt.Sprintf("... %d more lines ...", len(lines)-2*showLines)
		lines = slices.Concat(lines[:showLines], []string{left}, lines[len(lines)-showLines:])
	}
	for _, line := range lines {
		fmt.Fprintf(w, "    %s\n", strings.TrimRight(line, " \r"))
	}
}

func (s Step) announce(w io.Writer) {
	if s.Note != "" {
		fmt.Fprintf(w, "\n# %s\n", s.Note)
	}
	mark := ""
	switch {
	case s.Slip:
		mark = "   (the tutorial's slip)"
	case s.Ours:
		mark = "   (holdfast's own)"
	}
	fmt.Fprintf(w, "%s# %s%s\n", s.Host, s.Line, mark)
}

// run types the line, again and again if the step says so, and checks what came.
func (s Step) run(ctx context.Context, r Runner) (string, error) {
	deadline := time.Now().Add(s.Until)
	for {
		out, code, err := s.once(ctx, r)
		if err != nil {
			return out, fmt.Errorf("on %s, %q could not be run: %w", s.Host, s.Line, err)
		}
		err = s.check(out, code)
		if err == nil || time.Now().After(deadline) {
			return out, err
		}
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("on %s, %q: %w", s.Host, s.Line, ctx.Err())
		case <-time.After(repeatEvery):
		}
	}
}

func (s Step) once(ctx context.Context, r Runner) (string, int, error) {
	if len(s.Turns) > 0 {
		return r.Converse(ctx, s.Host, s.Line, s.Turns)
	}
	return r.Run(ctx, s.Host, s.Line, s.Stdin)
}

func (s Step) check(out string, code int) error {
	if code != s.Code {
		return fmt.Errorf("on %s, %q ended with exit code %d, not %d; it printed:\n%s", s.Host, s.Line, code, s.Code, out)
	}
	if s.Silent && strings.TrimSpace(out) != "" {
		return fmt.Errorf("on %s, %q must print nothing; it printed:\n%s", s.Host, s.Line, out)
	}
	for _, w := range s.Want {
		if !regexp.MustCompile(w).MatchString(out) {
			return fmt.Errorf("on %s, the output of %q does not match %q:\n%s", s.Host, s.Line, w, out)
		}
	}
	return nil
}
