// Package simulate is the grammar of crm_simulate: what would the cluster do with this CIB?
package simulate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	core "holdfast/internal/cluster/simulate"
)

// Exit codes of crm_simulate.
const (
	exitOK      = 0
	exitUsage   = 64
	exitNoInput = 66
	exitConfig  = 78
)

// Env is what the command gets from its surroundings.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Live fetches the running cluster's CIB as XML (--live-check); nil where there is none to be had.
	Live func() ([]byte, error)
	Now  func() time.Time
}

// options are the parsed arguments.
type options struct {
	file, graph, output, input string
	live, simulate, scores     bool
	quiet, help                bool
	date                       time.Time
	quorum                     string
	up, down, fail             []string
}

const usageText = `usage: holdfast simulate [options]
  -x, --xml-file FILE      read the CIB from FILE ("-": standard input)
  -L, --live-check         use the running cluster's CIB
  -S, --simulate           carry the transition out in a copy, and show what comes after
  -R, --run                show what would be done
  -s, --show-scores        show the scores
  -Q, --quiet              show only what was asked for
  -G, --save-graph FILE    write the transition graph as XML
  -I, --save-input FILE    write the CIB that was used
  -O, --save-output FILE   write the CIB after the transition
  -t, --set-datetime DATE  decide as of DATE (YYYY-MM-DD HH:MM:SS, UTC)
  -q, --quorum VALUE       pretend to have quorum (true) or not (false)
  -u, --node-up NODE       pretend that NODE is up; -d, --node-down: is down; -f, --node-fail: is lost
`

// Run carries out the command and returns the exit code.
func Run(args []string, env Env) int {
	o, err := parse(args)
	if err == nil && o.help {
		fmt.Fprint(env.Stdout, usageText)
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "crm_simulate: %v\n%s", err, usageText)
		return exitUsage
	}
	doc, code, err := load(o, env)
	if err != nil {
		fmt.Fprintf(env.Stderr, "crm_simulate: %v\n", err)
		return code
	}
	if code, err := decide(o, doc, env); err != nil {
		fmt.Fprintf(env.Stderr, "crm_simulate: %v\n", err)
		return code
	}
	return exitOK
}

// load reads the CIB and checks it.
func load(o options, env Env) (*cib.Document, int, error) {
	var data []byte
	var err error
	name := o.file
	switch {
	case o.live && env.Live == nil:
		return nil, exitUsage, errors.New("--live-check: this host runs no cluster; give a file with --xml-file")
	case o.live:
		name = "the running cluster's CIB"
		data, err = env.Live()
	case o.file == "-" || o.file == "":
		name = "standard input"
		data, err = io.ReadAll(env.Stdin)
	default:
		data, err = os.ReadFile(o.file)
	}
	if err != nil {
		return nil, exitNoInput, fmt.Errorf("read the CIB: %w", err)
	}
	doc, err := cib.Parse(data)
	if err != nil {
		return nil, exitConfig, fmt.Errorf("%s is no CIB: %w", name, err)
	}
	return doc, exitOK, nil
}

// decide schedules and prints.
func decide(o options, doc *cib.Document, env Env) (int, error) {
	in := scheduler.Input{CIB: doc, Now: effectiveTime(o, doc, env), Quorate: quorate(o, doc)}
	changeNodes(o, doc)
	if err := save(o.input, doc.Bytes()); err != nil {
		return 1, err
	}
	r := core.Run(in)
	if err := save(o.graph, r.Decision.Graph.XML()); err != nil {
		return 1, err
	}
	if err := save(o.output, r.After.Bytes()); err != nil {
		return 1, err
	}
	for _, w := range r.Decision.Warnings {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	print(o, r, env.Stdout)
	return exitOK, nil
}

func print(o options, r core.Result, out io.Writer) {
	switch {
	case o.scores && o.quiet:
		fmt.Fprint(out, core.ScoresText(r.Decision.Scores))
	case o.simulate:
		fmt.Fprint(out, r.Text(o.scores))
	default:
		fmt.Fprint(out, r.SummaryText(o.scores))
	}
}

func save(file string, data []byte) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return nil
}

// effectiveTime is the time given, else the one the CIB was recorded at, else now.
func effectiveTime(o options, doc *cib.Document, env Env) time.Time {
	if !o.date.IsZero() {
		return o.date
	}
	if t, err := strconv.ParseInt(doc.Root.Get("execution-date"), 10, 64); err == nil && t > 0 {
		return time.Unix(t, 0).UTC()
	}
	return env.Now()
}

func quorate(o options, doc *cib.Document) bool {
	v := o.quorum
	if v == "" {
		v = doc.Root.Get("have-quorum")
	}
	yes, ok := cib.ParseBool(v)
	return ok && yes
}

func changeNodes(o options, doc *cib.Document) {
	for _, n := range o.up {
		doc.SetNodeState(cib.OnlineState(doc.NodeID(n), n))
	}
	for _, n := range o.down {
		doc.SetNodeState(cib.OfflineState(doc.NodeID(n), n))
	}
	for _, n := range o.fail {
		doc.SetNodeState(cib.NodeState{ID: doc.NodeID(n), Name: n, Join: "down", Expected: "member"})
	}
}

// parse reads the arguments.
func parse(args []string) (options, error) {
	var o options
	for i := 0; i < len(args); i++ {
		name, value, hasValue := strings.Cut(args[i], "=")
		if o.flag(name) {
			continue
		}
		if !takesValue(name) {
			return o, fmt.Errorf("unknown option %s", args[i])
		}
		if !hasValue {
			if i++; i >= len(args) {
				return o, fmt.Errorf("option %s needs a value", name)
			}
			value = args[i]
		}
		if err := o.set(name, value); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *options) flag(name string) bool {
	switch name {
	case "-L", "--live-check":
		o.live = true
	case "-S", "--simulate":
		o.simulate = true
	case "-s", "--show-scores":
		o.scores = true
	case "-Q", "--quiet":
		o.quiet = true
	case "-R", "--run":
	case "-h", "--help", "-?":
		o.help = true
	default:
		return false
	}
	return true
}

func takesValue(name string) bool {
	switch name {
	case "-x", "--xml-file", "-G", "--save-graph", "-I", "--save-input", "-O", "--save-output", "-t", "--set-datetime", "-q",
		"--quorum", "-u", "--node-up", "-d", "--node-down", "-f", "--node-fail":
		return true
	}
	return false
}

func (o *options) set(name, value string) (err error) {
	switch name {
	case "-x", "--xml-file":
		o.file = value
	case "-G", "--save-graph":
		o.graph = value
	case "-I", "--save-input":
		o.input = value
	case "-O", "--save-output":
		o.output = value
	case "-q", "--quorum":
		if _, ok := cib.ParseBool(value); !ok {
			return fmt.Errorf("--quorum is true or false, not %q", value)
		}
		o.quorum = value
	case "-u", "--node-up":
		o.up = append(o.up, value)
	case "-d", "--node-down":
		o.down = append(o.down, value)
	case "-f", "--node-fail":
		o.fail = append(o.fail, value)
	case "-t", "--set-datetime":
		o.date, err = parseDate(value)
	}
	return err
}

func parseDate(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02",
		"2006-002", "2006-002T15:04", "2006-002T15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05", "20060102", "20060102T150405"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--set-datetime: %q is no date (YYYY-MM-DD HH:MM:SS)", s)
}
