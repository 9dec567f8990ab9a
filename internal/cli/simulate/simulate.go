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
	doc, _, code, err := load(o.file, o.live, env)
	if err != nil {
		return code, err
	}
	return decide(o, doc, env)
}

// load reads the CIB. One of an older schema is upgraded; notes say what was changed. Of a schema that is not known everything
// is taken as it stands.
func load(file string, live bool, env Env) (doc *cib.Document, notes []string, code int, err error) {
	var data []byte
	name := file
	switch {
	case live && env.Live == nil:
		return nil, nil, exitNoInput, errors.New("--live-check: this host runs no cluster; give a file with --xml-file")
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
		return nil, nil, exitNoInput, fmt.Errorf("read the CIB: %w", err)
	}
	if doc, err = cib.Parse(data); err != nil {
		return nil, nil, exitConfig, fmt.Errorf("%s is no CIB: %w", name, err)
	}
	upgraded, notes, err := cib.Upgrade(doc)
	if err != nil {
		return doc, []string{err.Error()}, exitOK, nil
	}
	return upgraded, notes, exitOK, nil
}

// decide applies the events, schedules and prints.
func decide(o options, doc *cib.Document, env Env) (int, error) {
	now := effectiveTime(o, doc, env)
	var before *scheduler.State
	if !o.events.None() {
		before = scheduler.Schedule(input(doc, now)).Status
	}
	lines, modifications, err := o.events.Apply(doc, now)
	if err != nil {
		return exitFailed, err
	}
	if err := save(o.input, doc.Bytes()); err != nil {
		return exitFailed, err
	}
	r := o.decideOn(input(doc, now))
	if err := saveAll(o, r); err != nil {
		return exitFailed, err
	}
	if before == nil {
		before = r.Decision.Status
	}
	for _, w := range r.Decision.Warnings {
		fmt.Fprintf(env.Stderr, "warning: %s\n", w)
	}
	return exitOK, o.show(core.Report{Before: before, Events: lines, Modifications: modifications, Result: r, Date: o.dateLine(doc),
		Scores: o.scores, Utilization: o.utilization, Attributes: o.attributes, Changes: o.changes || o.graph != "" || o.dot != "" || o.scores || o.utilization,
		Simulate: o.simulate, Quiet: o.quiet}, env.Stdout)
}

func (o options) show(r core.Report, out io.Writer) error {
	if o.format != "text" {
		return printResult(out, o.format, o.request, exitOK, r.XML()...)
	}
	_, err := io.WriteString(out, r.Text())
	return err
}

// decideOn decides, and carries the decision out if what comes of it is wanted.
func (o options) decideOn(in scheduler.Input) core.Result {
	if o.simulate || o.output != "" {
		return core.RunFailing(in, o.failing)
	}
	return core.Result{Decision: scheduler.Schedule(in)}
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
	if o.output == "" {
		return nil
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

// dateLine says which time is decided for, if not now.
func (o options) dateLine(doc *cib.Document) string {
	if o.dateText != "" {
		return "Setting effective cluster time: " + o.dateText
	}
	if t, ok := recordedTime(doc); ok {
		return "Using the original execution date of: " + t.Format("2006-01-02 15:04:05Z")
	}
	return ""
}

// recordedTime is the time a CIB was recorded at, if it tells.
func recordedTime(doc *cib.Document) (time.Time, bool) {
	t, err := strconv.ParseInt(doc.Root.Get("execution-date"), 10, 64)
	return time.Unix(t, 0).UTC(), err == nil && t > 0
}

// effectiveTime is the time given, else the one the CIB was recorded at, else now.
func effectiveTime(o options, doc *cib.Document, env Env) time.Time {
	if !o.date.IsZero() {
		return o.date
	}
	if t, ok := recordedTime(doc); ok {
		return t
	}
	return env.Now()
}
