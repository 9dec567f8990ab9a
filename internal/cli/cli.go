// Package cli chooses the grammar: by the name the binary was called with (pcs, drbdadm, drbd-overview, crm_mon,
// crm_simulate, crm_verify) or by its first argument. Everything it does not know is the pcs grammar: `holdfast resource create` is
// `pcs resource create`.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"holdfast/internal/paths"
	"holdfast/internal/version"
)

// command is one entry of the table: args are those after the command's own name.
type command struct {
	run   func(args []string, e environment) int
	about string // empty: not listed in the help
}

// environment is what every command gets.
type environment struct {
	root           paths.Root
	stdin          io.Reader
	stdout, stderr io.Writer
	hostname       string
	terminal       bool // stdin is a terminal
}

// byName maps the names of installed links to their first argument here.
func byName(name string) (string, bool) {
	words := map[string]string{
		"pcs": "pcs", "drbdadm": "drbd", "drbd-overview": "drbd-overview", "crm_mon": "crm_mon", "crm_simulate": "simulate", "crm_verify": "verify",
	}
	w, ok := words[name]
	return w, ok
}

// Main runs the command that argv names and returns the exit code.
func Main(argv []string) int {
	e, args, err := prepare(argv[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "holdfast: %v\n", err)
		return 1
	}
	if word, ok := byName(filepath.Base(argv[0])); ok {
		args = append([]string{word}, args...)
	}
	if len(args) == 0 {
		usage(e.stderr)
		return 1
	}
	if c, ok := commands()[args[0]]; ok {
		return c.run(args[1:], e)
	}
	return runPCS(args, e)
}

// prepare finds the host's name and takes --root DIR out of the arguments.
func prepare(args []string) (environment, []string, error) {
	e := environment{root: "/", stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	name, err := os.Hostname()
	if err != nil {
		return e, nil, fmt.Errorf("find this host's name: %w", err)
	}
	e.hostname, _, _ = strings.Cut(name, ".")
	if info, err := os.Stdin.Stat(); err == nil {
		e.terminal = info.Mode()&os.ModeCharDevice != 0
	}
	var rest []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--": // what follows belongs to a command of its own
			return e, append(rest, args[i:]...), nil
		case args[i] == "--root" && i+1 < len(args):
			e.root = paths.Root(args[i+1])
			i++
		case strings.HasPrefix(args[i], "--root="):
			e.root = paths.Root(strings.TrimPrefix(args[i], "--root="))
		default:
			rest = append(rest, args[i])
		}
	}
	return e, rest, nil
}

// untilSignal is a context that ends with SIGTERM or SIGINT, for the long-running processes.
func untilSignal() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "holdfast %s: high availability for two or three Linux hosts\n\n", version.String())
	fmt.Fprint(w, "usage: holdfast COMMAND ...\n\n")
	table := commands()
	names := make([]string, 0, len(table))
	for name, c := range table {
		if c.about != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(w, "  %-15s %s\n", name, table[name].about)
	}
	fmt.Fprint(w, "\nAny other words are the pcs grammar: holdfast resource create ... is pcs resource create ...\n")
}
