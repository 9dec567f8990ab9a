package simulate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
)

// OpSpec names a result of an operation: RESOURCE_TASK_MILLISECONDS@NODE=RC, such as web_monitor_10000@db1=7.
type OpSpec struct {
	Resource, Task string
	Interval       time.Duration
	Node           string
	// RC is an OCF exit code, from 0 to 255.
	RC int
}

// ParseOpSpec reads the form of OpSpec.
func ParseOpSpec(s string) (OpSpec, error) {
	bad := func(why string) (OpSpec, error) {
		return OpSpec{}, fmt.Errorf("operation %q: %s (it is RESOURCE_TASK_MILLISECONDS@NODE=RC, such as web_monitor_10000@db1=7)", s, why)
	}
	key, result, found := strings.Cut(s, "@")
	if !found {
		return bad("there is no @NODE")
	}
	node, code, found := cutLast(result, "=")
	rc, err := strconv.Atoi(code)
	if !found || node == "" || err != nil || rc < 0 || rc > 255 {
		return bad("it does not end in =RC, a number from 0 to 255")
	}
	head, interval, found := cutLast(key, "_")
	ms, err := strconv.ParseInt(interval, 10, 64)
	if !found || err != nil || ms < 0 || ms > int64(maxInterval/time.Millisecond) {
		return bad("the interval is no number of milliseconds")
	}
	rsc, task := cutTask(head)
	if rsc == "" || task == "" {
		return bad("resource or task is missing")
	}
	return OpSpec{rsc, task, time.Duration(ms) * time.Millisecond, node, rc}, nil
}

// maxInterval bounds the interval of an operation: ten years.
const maxInterval = 10 * 366 * 24 * time.Hour

// cutTask splits web_migrate_to into web and migrate_to.
func cutTask(s string) (rsc, task string) {
	for _, t := range []string{"_migrate_to", "_migrate_from"} {
		if r, ok := strings.CutSuffix(s, t); ok {
			return r, t[1:]
		}
	}
	rsc, task, _ = cutLast(s, "_")
	return rsc, task
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// String gives the form ParseOpSpec reads.
func (o OpSpec) String() string {
	return fmt.Sprintf("%s@%s=%d", cib.OpKey(o.Resource, o.Task, o.Interval), o.Node, o.RC)
}

// Events are what is to be pretended before a decision.
type Events struct {
	// Quorum and Watchdog are "", or the values to set: true or false (1 or 0).
	Quorum, Watchdog string
	// Up, Down and Fail name nodes that join, have left cleanly, and are lost.
	Up, Down, Fail []string
	// Tickets.
	Grant, Revoke, Standby, Activate []string
	// Inject are results of operations to enter in the history.
	Inject []OpSpec
}

// None tells whether nothing is to be pretended.
func (e Events) None() bool {
	return e.Quorum == "" && e.Watchdog == "" &&
		len(e.Up)+len(e.Down)+len(e.Fail)+len(e.Grant)+len(e.Revoke)+len(e.Standby)+len(e.Activate)+len(e.Inject) == 0
}

// Apply enters the events in the document, and words each as crm_simulate does, and as its <modifications>, nil when there are
// none. An event about what does not exist is an error, and leaves the document partly changed.
func (e Events) Apply(doc *cib.Document, now time.Time) (lines []string, modifications *cib.Element, err error) {
	modifications = cib.NewElement("modifications")
	say := func(x *cib.Element, format string, a ...any) {
		lines = append(lines, fmt.Sprintf(format, a...))
		if x != nil {
			modifications.Append(x)
		}
	}
	if e.Quorum != "" {
		say(nil, "Setting quorum: %s", e.Quorum)
		modifications.Set("quorum", e.Quorum)
		doc.Root.Set("have-quorum", e.Quorum)
	}
	if e.Watchdog != "" {
		say(nil, "Setting watchdog: %s", e.Watchdog)
		modifications.Set("watchdog", e.Watchdog)
		doc.SetProperty("have-watchdog", e.Watchdog)
	}
	e.applyNodes(doc, say)
	e.applyTickets(doc, now, say)
	for _, op := range e.Inject {
		say(cib.NewElement("inject_spec", "spec", op.String()), "Injecting %s into the configuration", op)
		if err := inject(doc, op, now); err != nil {
			return lines, modifications, err
		}
		countFailure(doc, op.Node, op, now, say)
	}
	if len(lines) == 0 {
		modifications = nil
	}
	return lines, modifications, nil
}

// teller takes what was done, in words and, where there is one, as an element.
type teller func(x *cib.Element, format string, a ...any)

func (e Events) applyNodes(doc *cib.Document, say teller) {
	event := func(action, node string) *cib.Element {
		return cib.NewElement("modify_node", "action", action, "node", node)
	}
	for _, n := range e.Up {
		say(event("Online", n), "Bringing node %s online", n)
		doc.SetNodeState(cib.OnlineState(doc.NodeID(n), n))
	}
	for _, n := range e.Down {
		say(event("Offline", n), "Taking node %s offline", n)
		doc.ForgetNode(n)
		doc.SetNodeState(cib.OfflineState(doc.NodeID(n), n))
	}
	for _, n := range e.Fail {
		say(event("Failing", n), "Failing node %s", n)
		doc.SetNodeState(cib.NodeState{ID: doc.NodeID(n), Name: n, Join: "down", Expected: "member"})
	}
}

func (e Events) applyTickets(doc *cib.Document, now time.Time, say teller) {
	for _, group := range []struct {
		names                []string
		action, word, suffix string
		attribute, newValue  string
	}{
		{e.Grant, "Granting", "Granting", "", "granted", "true"}, {e.Revoke, "Revoking", "Revoking", "", "granted", "false"},
		{e.Standby, "Standby", "Making", " standby", "standby", "true"}, {e.Activate, "Activating", "Activating", "", "standby", "false"},
	} {
		for _, t := range group.names {
			say(cib.NewElement("modify_ticket", "action", group.action, "ticket", t), "%s ticket %s%s", group.word, t, group.suffix)
			doc.SetTicket(t, group.attribute, group.newValue)
			if group.action == "Granting" {
				doc.SetTicket(t, "last-granted", strconv.FormatInt(now.Unix(), 10))
			}
		}
	}
}

// inject enters a result in a node's history.
func inject(doc *cib.Document, op OpSpec, now time.Time) error {
	class, provider, typ, ok := agentOf(doc, op.Resource)
	if !ok {
		return fmt.Errorf("inject %s: there is no primitive %q", op, op.Resource)
	}
	if doc.Node(op.Node) == nil && doc.Status().ChildWith("node_state", "uname", op.Node) == nil {
		return fmt.Errorf("inject %s: there is no node %q", op, op.Node)
	}
	target := 0
	if op.Task == "monitor" && op.Interval == 0 {
		target = rcNotRunning
	}
	cib.RecordOp(doc, cib.OpRecord{Node: op.Node, NodeID: doc.NodeID(op.Node), Resource: op.Resource, Class: class, Provider: provider,
		Type: typ, Task: op.Task, Interval: op.Interval, RC: op.RC, TargetRC: target, CallID: doc.LastCallID(op.Node) + 1,
		TransitionID: -1, Origin: origin, ExitReason: "User-injected result", LastChange: now})
	return nil
}

const rcNotRunning = 7

// agentOf finds the agent of a primitive, that of its template if it has one; NAME:N means NAME.
func agentOf(doc *cib.Document, name string) (class, provider, typ string, ok bool) {
	base, _, _ := strings.Cut(name, ":")
	e := findPrimitive(doc.Resources(), base)
	if e == nil {
		return "", "", "", false
	}
	if t := e.Get("template"); t != "" {
		if e = doc.Resources().ChildWith("template", "id", t); e == nil {
			return "", "", "", false
		}
	}
	return e.Get("class"), e.Get("provider"), e.Get("type"), true
}

func findPrimitive(e *cib.Element, id string) *cib.Element {
	for _, k := range e.Children {
		if k.Name == "primitive" && k.ID() == id {
			return k
		}
		if found := findPrimitive(k, id); found != nil {
			return found
		}
	}
	return nil
}

// countFailure counts a failed operation as the controller would, and words it. A probe that finds nothing is no failure.
func countFailure(doc *cib.Document, node string, op OpSpec, now time.Time, say teller) {
	if op.RC == 0 || op.RC == rcNotRunning && op.Interval == 0 {
		return
	}
	name := op.Resource
	if base, _, numbered := strings.Cut(name, ":"); numbered {
		name = base
	}
	doc.RecordFailure(node, name, op.Task, op.Interval, false, now)
	for _, a := range [][2]string{{cib.FailCountName(name, op.Task, op.Interval), "value++"},
		{cib.LastFailureName(name, op.Task, op.Interval), strconv.FormatInt(now.Unix(), 10)}} {
		say(cib.NewElement("inject_attr", "name", a[0], "value", a[1], "node_path", "/node_state", "cib_node", doc.NodeID(node)),
			"Injecting attribute %s=%s into /node_state '%s'", a[0], a[1], doc.NodeID(node))
	}
}
