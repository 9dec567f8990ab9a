package simulate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
	core "holdfast/internal/cluster/simulate"
)

// options are the parsed arguments.
type options struct {
	file, graph, dot, output, input, profile string
	format                                   string // text, xml or json
	request, dateText                        string // the command line, and the date in it
	live, simulate, changes, scores, inPlace bool
	utilization, attributes, quiet, help     bool
	repeat                                   int
	date                                     time.Time
	events                                   core.Events
	failing                                  []core.OpSpec
}

// maxRepeat bounds --repeat.
const maxRepeat = 100_000

const usageText = `usage: holdfast simulate [options]
  -x, --xml-file FILE      read the CIB from FILE ("-": standard input, as does -p, --xml-pipe)
  -L, --live-check         use the running cluster's CIB
  -S, --simulate           carry the transition out in a copy, and show what comes after
  -X, --in-place           the same, and write the result to FILE
  -R, --run                show what would be done
  -A, --show-attrs         show the attributes of nodes
  -s, --show-scores        show the scores
  -U, --show-utilization   show what nodes offer and resources take
  -Q, --quiet              show only what was asked for
  -G, --save-graph FILE    write the transition graph as XML
  -D, --save-dotfile FILE  write it for Graphviz
  -I, --save-input FILE    write the CIB that was used
  -O, --save-output FILE   write the CIB after the transition
  -P, --profile DIR        time the decision for each CIB in DIR; -N, --repeat N: N times
  -t, --set-datetime DATE  decide as of DATE (ISO 8601, UTC)
  -q, --quorum VALUE       pretend to have quorum (true) or not (false)
  -w, --watchdog VALUE     pretend to have a watchdog (true) or not (false)
  -u, --node-up NODE       pretend that NODE is up; -d, --node-down: is down; -f, --node-fail: is lost
  -i, --op-inject SPEC     pretend that an operation ended so: RESOURCE_TASK_MILLISECONDS@NODE=RC
  -F, --op-fail SPEC       let an operation of the transition end so
  -g, --ticket-grant T     pretend that ticket T is granted; -r, --ticket-revoke: is revoked;
  -b, --ticket-standby T   is in standby; -e, --ticket-activate: is not
      --output-as FORMAT   text, xml or json
`

// unbundled takes short options apart that were written in one word, as in -Ss, and a value from its option, as in -t2020-01-01.
// What cannot be taken apart stays one word.
func unbundled(arg string) []string {
	if len(arg) < 3 || arg[0] != '-' || arg[1] == '-' {
		return []string{arg}
	}
	var out []string
	for i := 1; i < len(arg); i++ {
		name := "-" + arg[i:i+1]
		_, takes := valueOptions(name)
		switch {
		case takes && i+1 < len(arg):
			return append(out, name, arg[i+1:])
		case !takes && !new(options).flag(name):
			return []string{arg}
		}
		out = append(out, name)
	}
	return out
}

// parse reads the arguments.
func parse(args []string) (options, error) {
	o := options{format: "text", repeat: 1, request: strings.Join(append([]string{"crm_simulate"}, args...), " ")}
	args = slices.Clone(args)
	for i := 0; i < len(args); i++ {
		args = slices.Replace(args, i, i+1, unbundled(args[i])...)
		name, value, hasValue := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "--") {
			name, value, hasValue = args[i], "", false
		}
		if o.flag(name) {
			continue
		}
		long, known := valueOptions(name)
		if !known {
			return o, fmt.Errorf("unknown option %s", args[i])
		}
		if !hasValue {
			if i++; i >= len(args) {
				return o, fmt.Errorf("option %s needs a value", name)
			}
			value = args[i]
		}
		if err := o.set(long, value); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *options) flag(name string) bool {
	switch name {
	case "-L", "--live-check":
		o.live = true
	case "-p", "--xml-pipe":
		o.file = "-"
	case "-S", "--simulate":
		o.simulate = true
	case "-X", "--in-place":
		o.simulate, o.inPlace = true, true
	case "-s", "--show-scores":
		o.scores = true
	case "-U", "--show-utilization":
		o.utilization = true
	case "-Q", "--quiet":
		o.quiet = true
	case "-R", "--run":
		o.changes = true
	case "-A", "--show-attrs":
		o.attributes = true
	case "-V", "--verbose":
	case "-h", "--help", "--help-all", "-?":
		o.help = true
	default:
		return false
	}
	return true
}

// valueOptions gives the long name of an option that takes a value.
func valueOptions(name string) (long string, known bool) {
	short := map[string]string{"-x": "--xml-file", "-G": "--save-graph", "-D": "--save-dotfile", "-I": "--save-input", "-O": "--save-output",
		"-t": "--set-datetime", "-q": "--quorum", "-w": "--watchdog", "-u": "--node-up", "-d": "--node-down", "-f": "--node-fail",
		"-i": "--op-inject", "-F": "--op-fail", "-g": "--ticket-grant", "-r": "--ticket-revoke", "-b": "--ticket-standby",
		"-e": "--ticket-activate", "-P": "--profile", "-N": "--repeat"}
	if l, ok := short[name]; ok {
		return l, true
	}
	for _, l := range short {
		if l == name {
			return l, true
		}
	}
	return name, name == "--output-as"
}

func (o *options) set(name, value string) (err error) {
	if list := o.list(name); list != nil {
		*list = append(*list, value)
		return nil
	}
	switch name {
	case "--op-inject", "--op-fail":
		var spec core.OpSpec
		if spec, err = core.ParseOpSpec(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if name == "--op-fail" {
			o.failing = append(o.failing, spec)
		} else {
			o.events.Inject = append(o.events.Inject, spec)
		}
	case "--quorum", "--watchdog":
		if _, ok := cib.ParseBool(value); !ok {
			return fmt.Errorf("%s is true or false, not %q", name, value)
		}
		if name == "--quorum" {
			o.events.Quorum = value
		} else {
			o.events.Watchdog = value
		}
	case "--output-as":
		if value != "text" && value != "xml" && value != "json" {
			return fmt.Errorf("--output-as is text, xml or json, not %q", value)
		}
		o.format = value
	case "--repeat":
		if _, err := fmt.Sscanf(value, "%d", &o.repeat); err != nil || o.repeat < 1 || o.repeat > maxRepeat {
			return fmt.Errorf("--repeat is a number from 1 to %d, not %q", maxRepeat, value)
		}
	case "--set-datetime":
		o.dateText = value
		o.date, err = parseDate(value)
	default:
		*o.fileOption(name) = value
	}
	return err
}

// fileOption is where the name of a file or directory goes.
func (o *options) fileOption(name string) *string {
	switch name {
	case "--save-graph":
		return &o.graph
	case "--save-dotfile":
		return &o.dot
	case "--save-input":
		return &o.input
	case "--save-output":
		return &o.output
	case "--profile":
		return &o.profile
	}
	return &o.file
}

// list is where the values of an option go that may be given several times, nil for others.
func (o *options) list(name string) *[]string {
	e := &o.events
	return map[string]*[]string{"--node-up": &e.Up, "--node-down": &e.Down, "--node-fail": &e.Fail, "--ticket-grant": &e.Grant,
		"--ticket-revoke": &e.Revoke, "--ticket-standby": &e.Standby, "--ticket-activate": &e.Activate}[name]
}

func parseDate(s string) (time.Time, error) {
	if t, ok := cib.ParseDate(s); ok {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--set-datetime: %q is no date (YYYY-MM-DD HH:MM:SS)", s)
}
