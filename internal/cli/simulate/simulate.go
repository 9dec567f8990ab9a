// Package simulate is the grammar of crm_simulate (what would the cluster do with this CIB?) and of crm_verify (is
// anything wrong with it?).
package simulate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	core "holdfast/internal/cluster/simulate"
)

// Exit codes of crm_simulate and crm_verify.
const (
	exitOK      = 0
	exitFailed  = 1
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

// Run carries out crm_simulate and returns the exit code.
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
	code := exitOK
	if o.profile != "" {
		code, err = profile(o, env)
	} else {
		code, err = simulateOne(o, env)
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "crm_simulate: %v\n", err)
	}
	return code
}

func simulateOne(o options, env Env) (int, error) {
	doc, code, err := load(o.file, o.live, env)
	if err != nil {
		return code, err
	}
	return decide(o, doc, env)
}

// load reads the CIB and checks it.
func load(file string, live bool, env Env) (*cib.Document, int, error) {
	var data []byte
	var err error
	name := file
	switch {
	case live && env.Live == nil:
		return nil, exitUsage, errors.New("--live-check: this host runs no cluster; give a file with --xml-file")
	case live:
		name = "the running cluster's CIB"
		data, err = env.Live()
	case file == "-" || file == "":
		name = "standard input"
		data, err = io.ReadAll(env.Stdin)
	default:
		data, err = os.ReadFile(file)
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

// decide applies the events, schedules and prints.
func decide(o options, doc *cib.Document, env Env) (int, error) {
	now := effectiveTime(o, doc, env)
	before := scheduler.Schedule(input(doc, now))
	lines, err := o.events.Apply(doc, now)
	if err != nil {
		return exitFailed, err
	}
	if err := save(o.input, doc.Bytes()); err != nil {
		return exitFailed, err
	}
	r := core.RunFailing(input(doc, now), o.failing)
	if err := saveAll(o, r); err != nil {
		return exitFailed, err
	}
	for _, w := range r.Decision.Warnings {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	return exitOK, show(report{o: o, result: r, before: before.Status, events: lines}, env.Stdout)
}

func saveAll(o options, r core.Result) error {
	if err := save(o.graph, r.Decision.Graph.XML()); err != nil {
		return err
	}
	if err := save(o.dot, r.Decision.Graph.DOT()); err != nil {
		return err
	}
	if o.inPlace && o.file != "" && o.file != "-" {
		if err := save(o.file, r.After.Bytes()); err != nil {
			return err
		}
	}
	return save(o.output, r.After.Bytes())
}

func input(doc *cib.Document, now time.Time) scheduler.Input {
	quorate, ok := cib.ParseBool(doc.Root.Get("have-quorum"))
	return scheduler.Input{CIB: doc, Now: now, Quorate: ok && quorate}
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
