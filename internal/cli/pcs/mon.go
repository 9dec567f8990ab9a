package pcs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cli/pcs/show"
)

// Exit codes of crm_mon (Pacemaker's CRM_EX_*).
const (
	monUsage        = 64
	monDisconnected = 102
)

// monitor are the options of crm_mon.
type monitor struct {
	once, inactive, attributes, failcounts, xml bool
	every                                       time.Duration
}

// Monitor is the grammar of crm_mon: -1 prints the cluster's state once, otherwise it is printed anew every --interval
// seconds until interrupted. It returns the exit code.
func Monitor(args []string, env Env) int {
	m, err := parseMonitor(args)
	if err != nil {
		fmt.Fprintf(env.Stderr, "crm_mon: %v\nusage: crm_mon [-1|--one-shot] [-r|--inactive] [-A|--show-node-attributes] [-f|--failcounts]\n"+
			"               [-X|--as-xml|--output-as=text|xml] [-i SECONDS|--interval=SECONDS]\n", err)
		return monUsage
	}
	c := &call{env: env, ctx: context.Background(), client: api.NewClient(env.Root.DaemonSocket()), args: arguments{options: map[string]string{}}}
	for {
		lines, err := m.look(c)
		if err != nil {
			fmt.Fprintf(env.Stderr, "crm_mon: Error: cluster is not available on this node: %v\n", err)
			return monDisconnected
		}
		if !m.once {
			fmt.Fprint(env.Stdout, "\x1b[H\x1b[2J") // home, clear
		}
		c.lines(lines)
		if m.once {
			return 0
		}
		time.Sleep(m.every)
	}
}

// parseMonitor reads the options; short ones may be joined (-1rA).
func parseMonitor(args []string) (monitor, error) {
	m := monitor{every: monitorEvery}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(args[i], "=")
		if takesValue := slices.Contains([]string{"-i", "--interval", "--output-as"}, name); takesValue && !given {
			if i++; i >= len(args) {
				return m, fmt.Errorf("option %s needs a value", name)
			}
			value = args[i]
		}
		var err error
		switch {
		case name == "-i" || name == "--interval":
			m.every, err = monitorInterval(value)
		case name == "--output-as":
			err = m.outputAs(value)
		case strings.HasPrefix(name, "--"):
			err = m.flag(strings.TrimPrefix(name, "--"))
		case strings.HasPrefix(name, "-") && name != "-":
			for _, letter := range name[1:] {
				err = errors.Join(err, m.flag(string(letter)))
			}
		default:
			err = fmt.Errorf("'%s' is not an option", args[i])
		}
		if err != nil {
			return m, err
		}
	}
	return m, nil
}

func monitorInterval(s string) (time.Duration, error) {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "s"))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("'%s' is not a number of seconds", s)
	}
	return time.Duration(n) * time.Second, nil
}

func (m *monitor) outputAs(format string) error {
	switch format {
	case "text", "console":
		return nil
	case "xml":
		m.xml, m.once = true, true
		return nil
	}
	return fmt.Errorf("output format '%s' is not known: it is text or xml", format)
}

func (m *monitor) flag(name string) error {
	switch name {
	case "1", "one-shot":
		m.once = true
	case "r", "inactive":
		m.inactive = true
	case "A", "show-node-attributes":
		m.attributes = true
	case "f", "failcounts":
		m.failcounts = true
	case "X", "as-xml":
		return m.outputAs("xml")
	default:
		return fmt.Errorf("option '%s' is not known", name)
	}
	return nil
}

// look asks once and words the answer.
func (m *monitor) look(c *call) ([]string, error) {
	in, err := c.input()
	if err != nil {
		return nil, err
	}
	if m.xml {
		return show.XML(in), nil
	}
	in.Hide, in.Full = !m.inactive, m.attributes
	lines := show.Monitor(in)
	if m.failcounts {
		lines = append(append(lines, "", "Migration Summary:"), indent(indent(show.FailCounts(in.Doc, "", "")))...)
	}
	return lines, nil
}
