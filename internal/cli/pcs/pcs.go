// Package pcs speaks the pcs grammar: the tutorial's command lines, word for word, and pcs's own around them. It parses
// the words, edits a copy of the CIB (package edit), hands it to the daemon through package api, and prints (package
// show). Texts follow pcs 0.9 and 0.11 as observed from their output; old and new words are accepted, new ones printed.
package pcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/paths"
)

// Env is what a command line is run in.
type Env struct {
	Root           paths.Root
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Hostname is this host's name as the cluster knows it.
	Hostname string
	// Terminal says that Stdin is a terminal: a password is then read without echo.
	Terminal bool
	// Now gives the wall clock; nil means time.Now.
	Now func() time.Time
}

func (e *Env) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// Run executes one pcs command line (without the word pcs itself) and returns the exit code: 0, or 1 for any failure;
// a daemon's refusal brings its own. The first word crm_mon selects that tool's grammar (Monitor).
func Run(args []string, env Env) int {
	if len(args) > 0 && args[0] == "crm_mon" {
		return Monitor(args[1:], env)
	}
	c := &call{env: env, ctx: context.Background(), client: api.NewClient(env.Root.DaemonSocket())}
	err := c.run(args)
	var quiet *silentError
	var usage *usageError
	var refused *api.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &quiet):
		return quiet.code
	case errors.As(err, &usage):
		fmt.Fprintf(env.Stderr, "%s", usage.text())
		return 1
	case errors.As(err, &refused) && refused.Code > 0:
		fmt.Fprintf(env.Stderr, "Error: %s\n", err)
		return refused.Code
	}
	fmt.Fprintf(env.Stderr, "Error: %s\n", err)
	return 1
}

// call is one command line being run.
type call struct {
	env    Env
	ctx    context.Context
	client *api.Client
	args   arguments
	verb   *verb
	// words are those after the verb's own.
	words []string
}

// run parses, finds the verb, checks that its options fit, and runs it.
func (c *call) run(args []string) error {
	if err := typography(args); err != nil {
		return err
	}
	parsed, err := parseArguments(args)
	if err != nil {
		return err
	}
	c.args = parsed
	switch {
	case parsed.has("version"):
		return c.printVersion()
	case parsed.has("help"), len(parsed.words) == 0:
		return c.help()
	case len(parsed.words) > 1 && parsed.words[len(parsed.words)-1] == "help":
		c.args.words = parsed.words[:len(parsed.words)-1]
		return c.help()
	}
	if err := c.find(); err != nil {
		return err
	}
	if err := c.checkOptions(); err != nil {
		return err
	}
	return c.verb.run(c)
}

// find sets verb and words by the longest entry of the table the words begin with.
func (c *call) find() error {
	words := c.args.words
	table := verbs()
	for n := min(len(words), maxVerbWords); n > 0; n-- {
		if v := lookup(table, strings.Join(words[:n], " ")); v != nil && (!v.alone || n == len(words)) {
			c.verb, c.words = v, words[n:]
			return nil
		}
	}
	if err := strayWord(table, words, c.args.file()); err != nil {
		return err
	}
	return unknownCommand(table, words)
}

// checkOptions refuses options that the verb would pass over in silence.
func (c *call) checkOptions() error {
	if c.args.has("f") && !c.verb.file {
		return fmt.Errorf("specified option '-f' is not supported in this command: pcs %s acts on the running cluster", c.verb.name)
	}
	for _, name := range c.args.names() {
		if !globalOption(name) && !c.verb.allows(name) {
			return fmt.Errorf("specified option '%s' is not supported in this command: pcs %s", dashed(name), c.verb.name)
		}
	}
	if _, err := c.json(); err != nil {
		return err
	}
	_, _, err := c.args.wait() // before anything is changed
	return err
}

func (c *call) out(format string, a ...any) { fmt.Fprintf(c.env.Stdout, format+"\n", a...) }
func (c *call) warn(format string, a ...any) {
	fmt.Fprintf(c.env.Stderr, "Warning: "+format+"\n", a...)
}
func (c *call) note(format string, a ...any) { fmt.Fprintf(c.env.Stderr, format+"\n", a...) }

// deprecated tells, on stderr, the present words for an old form that was accepted.
func (c *call) deprecated(now string) {
	c.note("Hint: this form is accepted; its present name is 'pcs %s'", now)
}

// lines prints a text of several lines.
func (c *call) lines(lines []string) {
	for _, l := range lines {
		fmt.Fprintln(c.env.Stdout, l)
	}
}

// silentError ends with a code after everything has been said.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// usageError is a command whose words do not fit; its usage is shown.
type usageError struct {
	why  string
	verb *verb
}

func (e *usageError) Error() string { return e.why }

func (e *usageError) text() string {
	return fmt.Sprintf("Error: %s\nUsage: pcs %s\n", e.why, strings.TrimSpace(e.verb.name+" "+e.verb.usage))
}

// usage makes the error for words that do not fit the present verb.
func (c *call) usage(format string, a ...any) error {
	return &usageError{why: fmt.Sprintf(format, a...), verb: c.verb}
}
