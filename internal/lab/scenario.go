package lab

import (
	"context"
	"embed"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"
)

//go:embed scenarios/*.lab
var shippedScenarios embed.FS

// Scenario is a list of things to do to a lab. Its text has one step per line; empty lines and what follows a # are left
// out. The steps are:
//
//	kill HOST...            cut the power of the hosts at the same instant
//	start HOST...           boot them, one after the other
//	shutdown HOST           stop it in an orderly way
//	freeze HOST | thaw HOST
//	cut A B [--one-way]     A or B may be `all`
//	heal
//	disk HOST fail [read|write|flush]... | slow MILLISECONDS | full | hang | heal
//	wait DURATION           such as 12s
//	exec HOST -- CMD...     must end with exit code 0
//	until DURATION HOST -- CMD...   repeats the command until its exit code is 0, at most for the time
type Scenario struct {
	Name  string
	steps []step
}

// step is one line: its text, for messages, and what it does.
type step struct {
	line int
	text string
	do   func(context.Context, *Lab, io.Writer) error
}

// Scenarios lists the shipped scenarios by name.
func Scenarios() []string {
	entries, err := shippedScenarios.ReadDir("scenarios")
	if err != nil {
		panic("lab: the shipped scenarios are not in the binary: " + err.Error())
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".lab"))
	}
	sort.Strings(names)
	return names
}

// LoadScenario finds a scenario: a shipped one by name, or a file.
func LoadScenario(name string) (Scenario, error) {
	data, err := shippedScenarios.ReadFile("scenarios/" + name + ".lab")
	if err != nil {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		return Scenario{}, fmt.Errorf("scenario %s is neither a file (%w) nor shipped: there are %s", name, err, strings.Join(Scenarios(), ", "))
	}
	return ParseScenario(name, string(data))
}

// ParseScenario reads a scenario's text; an error names the line.
func ParseScenario(name, text string) (Scenario, error) {
	s := Scenario{Name: name}
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		do, err := parseStep(words)
		if err != nil {
			return s, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		s.steps = append(s.steps, step{line: i + 1, text: strings.Join(words, " "), do: do})
	}
	return s, nil
}

// Run performs a scenario, telling each step on progress, and stops at the first that fails.
func (l *Lab) Run(ctx context.Context, s Scenario, progress io.Writer) error {
	for _, step := range s.steps {
		fmt.Fprintf(progress, "%s: %s\n", s.Name, step.text)
		if err := step.do(ctx, l, progress); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", s.Name, step.line, step.text, err)
		}
	}
	return nil
}

type action = func(context.Context, *Lab, io.Writer) error

// parseStep checks the words of a step and returns what they mean.
func parseStep(words []string) (action, error) {
	verb, args := words[0], words[1:]
	parse, ok := map[string]func([]string) (action, error){
		"kill": parseKill, "start": parseStart, "shutdown": parseShutdown, "freeze": parseFreeze, "thaw": parseThaw,
		"cut": parseCut, "heal": parseHeal, "wait": parseWait, "exec": parseExec, "until": parseUntil,
		"disk": parseDisk,
	}[verb]
	if !ok {
		return nil, fmt.Errorf("unknown step %q", verb)
	}
	return parse(args)
}

func parseKill(args []string) (action, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("usage: kill HOST...")
	}
	return func(ctx context.Context, l *Lab, _ io.Writer) error { return l.Kill(ctx, args...) }, nil
}

func parseStart(args []string) (action, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("usage: start HOST...")
	}
	return func(ctx context.Context, l *Lab, _ io.Writer) error {
		for _, name := range args {
			h, err := l.Find(name)
			if err != nil {
				return err
			}
			if err := h.Start(ctx); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// onHost is a step about one host.
func onHost(verb string, args []string, do func(context.Context, *Host) error) (action, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("usage: %s HOST", verb)
	}
	return func(ctx context.Context, l *Lab, _ io.Writer) error {
		h, err := l.Find(args[0])
		if err != nil {
			return err
		}
		return do(ctx, h)
	}, nil
}

func parseShutdown(args []string) (action, error) {
	return onHost("shutdown", args, func(ctx context.Context, h *Host) error { return h.Shutdown(ctx) })
}

func parseFreeze(args []string) (action, error) {
	return onHost("freeze", args, func(_ context.Context, h *Host) error { return h.Freeze() })
}

func parseThaw(args []string) (action, error) {
	return onHost("thaw", args, func(_ context.Context, h *Host) error { return h.Thaw() })
}

func parseCut(args []string) (action, error) {
	oneWay := len(args) == 3 && args[2] == "--one-way"
	if len(args) != 2 && !oneWay {
		return nil, fmt.Errorf("usage: cut A B [--one-way]")
	}
	return func(_ context.Context, l *Lab, _ io.Writer) error { return l.Cut(args[0], args[1], oneWay) }, nil
}

func parseHeal(args []string) (action, error) {
	if len(args) != 0 {
		return nil, fmt.Errorf("usage: heal")
	}
	return func(_ context.Context, l *Lab, _ io.Writer) error { return l.Heal() }, nil
}

func parseWait(args []string) (action, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("usage: wait DURATION")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ *Lab, _ io.Writer) error { return pause(ctx, d) }, nil
}

func parseDisk(args []string) (action, error) {
	if len(args) < 2 {
		return nil, fmt.Errorf("usage: disk HOST FAULT...")
	}
	c, err := ParseDiskCommand(args[1:])
	if err != nil {
		return nil, err
	}
	return onHost("disk", args[:1], func(ctx context.Context, h *Host) error {
		_, err := h.Disk(ctx, c)
		return err
	})
}

func parseExec(args []string) (action, error) {
	if len(args) < 3 || args[1] != "--" {
		return nil, fmt.Errorf("usage: exec HOST -- CMD...")
	}
	return func(ctx context.Context, l *Lab, out io.Writer) error {
		return runCommand(ctx, l, out, args[0], args[2:])
	}, nil
}

// untilEvery is the pause between two tries of an until step.
const untilEvery = 100 * time.Millisecond

func parseUntil(args []string) (action, error) {
	if len(args) < 4 || args[2] != "--" {
		return nil, fmt.Errorf("usage: until DURATION HOST -- CMD...")
	}
	limit, err := time.ParseDuration(args[0])
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, l *Lab, _ io.Writer) error {
		ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
		defer cancel()
		for {
			err := runCommand(ctx, l, io.Discard, args[1], args[3:])
			if err == nil {
				return nil
			}
			if pause(ctx, untilEvery) != nil {
				return fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
			}
		}
	}, nil
}

func runCommand(ctx context.Context, l *Lab, out io.Writer, host string, cmd []string) error {
	h, err := l.Find(host)
	if err != nil {
		return err
	}
	c := h.Command(ctx, cmd[0], cmd[1:]...)
	c.Stdout, c.Stderr = out, out
	return c.Run()
}

// pause waits, or returns why it could not.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
