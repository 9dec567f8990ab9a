// Package simulate shows what the cluster would do: it schedules, pretends that every action succeeded, and schedules
// again, in the manner and with the words of Pacemaker's crm_simulate. It is a core.
package simulate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/scheduler"
	"holdfast/internal/cluster/transition"
)

// origin stands where a controller's UUID would be in transition keys.
const origin = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

// Result is a simulated transition.
type Result struct {
	// Decision is what was decided for the input.
	Decision scheduler.Output
	// Executed are the actions in the order they were carried out in, as crm_simulate words them.
	Executed []string
	// Trace is the same as crm_simulate's <transition>.
	Trace *cib.Element
	// After is the CIB as it would be then.
	After *cib.Document
	// Final is the decision for After: its graph is empty if one transition was enough.
	Final scheduler.Output
	// Revised is the state afterwards, for people, as crm_simulate sees it. The histories of resources that are no longer
	// configured still count in it, so that a remote node whose connection went is seen to be offline; and a cancelled
	// monitor is an operation like others, so that what was stopped before it seems to be active again.
	Revised *scheduler.State
}

// Run schedules, carries the transition out in a copy of the CIB, and schedules again.
func Run(in scheduler.Input) Result { return RunFailing(in, nil) }

// RunFailing is Run with operations that fail instead of succeeding. The transition ends at the first that does.
func RunFailing(in scheduler.Input, failing []OpSpec) Result {
	r := Result{Decision: scheduler.Schedule(in)}
	run := execute(in, r.Decision.Graph, failing, false)
	r.After, r.Executed, r.Trace = run.doc, run.executed, run.trace
	next := in
	next.CIB = r.After
	r.Final = scheduler.Schedule(next)
	r.Revised = r.Final.Status
	if shortens(in.CIB, r.Decision.Graph) {
		next.CIB = execute(in, r.Decision.Graph, failing, true).doc
		r.Revised = scheduler.Schedule(next).Status
	}
	return r
}

// shortens tells whether a graph takes anything of consequence out of a history: all of it, a cancelled monitor, or, with a
// stop, a monitor that had failed.
func shortens(doc *cib.Document, g *transition.Graph) bool {
	return slices.ContainsFunc(g.Actions, func(a *transition.Action) bool {
		switch a.Task {
		case transition.TaskDelete, transition.TaskCancel:
			return true
		case "stop":
			return slices.ContainsFunc(recurring(history(doc, a.Node, a.Resource)), failed)
		}
		return false
	})
}

// history finds what a node remembers of a resource, under that name; nil if nothing.
func history(doc *cib.Document, node, name string) *cib.Element {
	state := doc.Status().ChildWith("node_state", "uname", node)
	return state.Child("lrm").Child("lrm_resources").ChildWith("lrm_resource", "id", name)
}

// recurring are the recurring operations of a history.
func recurring(rsc *cib.Element) []*cib.Element {
	var out []*cib.Element
	for _, op := range rsc.ChildrenNamed("lrm_rsc_op") {
		if i := op.Get("interval"); i != "" && i != "0" {
			out = append(out, op)
		}
	}
	return out
}

// failed tells whether an entry of a history is that of a failure.
func failed(op *cib.Element) bool {
	parts := strings.Split(op.Get("transition-key"), ":")
	return len(parts) != 4 || parts[2] != op.Get("rc-code")
}

// execute carries a graph out in a copy of the CIB and tells what it did. keep: nothing is taken out of histories, in
// which a cancellation is entered.
func execute(in scheduler.Input, g *transition.Graph, failing []OpSpec, keep bool) *executor {
	e := &executor{doc: in.CIB.Clone(), now: in.Now, calls: map[string]int{}, keep: keep, trace: cib.NewElement("transition")}
	w := transition.NewWalker(g, g.BatchLimit)
	aborted := false
	for !w.Complete() && !aborted {
		for _, a := range w.Ready() {
			f := e.failure(a, failing)
			if f != nil {
				e.fail(a, *f)
				aborted = true
			} else {
				e.run(a)
			}
			w.Done(a.ID, f == nil)
		}
	}
	return e
}

// executor writes results into the status section, and tells what it did in words and as elements.
type executor struct {
	doc      *cib.Document
	now      time.Time
	calls    map[string]int // the last call id by node
	keep     bool           // nothing is taken out of histories
	executed []string
	trace    *cib.Element
}

// tell words an action.
func (e *executor) tell(element *cib.Element, format string, a ...any) {
	e.executed = append(e.executed, fmt.Sprintf(format, a...))
	if element != nil {
		e.trace.Append(element)
	}
}

// nextCall numbers the operations of a node on.
func (e *executor) nextCall(node string) int {
	if _, known := e.calls[node]; !known {
		e.calls[node] = e.doc.LastCallID(node)
	}
	e.calls[node]++
	return e.calls[node]
}

// run carries out one action.
func (e *executor) run(a *transition.Action) {
	switch a.Kind {
	case transition.Pseudo:
		x := cib.NewElement("pseudo_action", "task", key(a))
		if a.Node == "" {
			e.tell(x, "Pseudo action:   %s", key(a))
			return
		}
		x.Set("node", a.Node)
		e.tell(x, "Pseudo action:   %s on %s", key(a), a.Node)
		return
	case transition.Fence:
		e.fence(a)
		how := a.Attrs["CRM_meta_stonith_action"]
		e.tell(cib.NewElement("fencing_action", "target", a.Node, "op", how), "Fencing %s (%s)", a.Node, how)
		return
	}
	cluster := cib.NewElement("cluster_action", "task", a.Task, "node", a.Node)
	switch a.Task {
	case transition.TaskShutdown:
		e.tell(cluster, "Cluster action:  %s on %s", a.Task, a.Node)
		return
	case transition.TaskClearFailCount, transition.TaskForget:
		if a.Task == transition.TaskForget {
			e.doc.DeleteHistory(a.Node, a.Resource)
		} else {
			e.doc.ClearFailures(a.Node, a.Resource, "", 0)
		}
		cluster.Set("id", a.Resource)
		e.tell(cluster, "Cluster action:  %s for %s on %s", a.Task, a.Resource, a.Node)
		return
	case transition.TaskCancel:
		if e.keep {
			e.enter(a, a.Task)
		} else {
			e.doc.DeleteRecurring(a.Node, a.Resource, a.Attrs["CRM_meta_operation"], a.Interval)
		}
	case transition.TaskDelete:
		if !e.keep {
			e.doc.DeleteHistory(a.Node, a.Resource)
		}
	default:
		e.record(a)
	}
	e.tellOperation(a)
}

func key(a *transition.Action) string {
	if a.InternalKey != "" {
		return a.InternalKey
	}
	return a.Key
}

func (e *executor) tellOperation(a *transition.Action) {
	name := a.Instance
	if !strings.HasPrefix(a.Key, name+"_") {
		name = a.Resource
	}
	x := cib.NewElement("rsc_action", "resource", name, "op", a.Task, "node", a.Node)
	task := a.Task
	if a.Interval > 0 {
		ms := strconv.FormatInt(a.Interval.Milliseconds(), 10)
		x.Set("interval", ms)
		task += "=" + ms
	}
	e.tell(x, "Resource action: %-15s %s on %s", name, task, a.Node)
}

// record enters a success in the history.
func (e *executor) record(a *transition.Action) {
	if !cib.Recordable(a.Task) {
		return
	}
	task := a.Task
	if task == "reload-agent" {
		// What it was started with is now what it was reloaded with.
		task = "start"
	}
	e.enter(a, task)
}

// enter writes a success into a history.
func (e *executor) enter(a *transition.Action, task string) {
	name := e.historyName(a)
	params := cib.DigestParams(a.Attrs, a.Interval > 0)
	was := recurring(history(e.doc, a.Node, name))
	cib.RecordOp(e.doc, cib.OpRecord{Node: a.Node, NodeID: a.NodeID, Resource: name, Class: a.Class, Provider: a.Provider,
		Type: a.Type, Task: task, Interval: a.Interval, RC: a.TargetRC, TargetRC: a.TargetRC,
		CallID: e.nextCall(a.Node), ActionID: a.ID, TransitionID: -1, Origin: origin,
		Digest: cib.OpDigest(params), LastChange: e.now})
	if e.keep && task == "stop" {
		rsc := history(e.doc, a.Node, name)
		for _, op := range was {
			if rsc.ChildWith("lrm_rsc_op", "id", op.ID()) == nil {
				rsc.Append(op)
			}
		}
	}
}

// historyName is the name the history has the resource under: older ones have instance numbers in them.
func (e *executor) historyName(a *transition.Action) string {
	suffix := cib.OpKey("", a.Task, a.Interval)
	for _, name := range []string{strings.TrimSuffix(a.Key, suffix), a.Instance} {
		if history(e.doc, a.Node, name) != nil {
			return name
		}
	}
	return a.Resource
}

// failure finds the failure to be pretended for an action, or nil.
func (e *executor) failure(a *transition.Action, failing []OpSpec) *OpSpec {
	if a.Kind == transition.Pseudo || a.Kind == transition.Fence {
		return nil
	}
	for i := range failing {
		f := &failing[i]
		if (f.Resource == a.Resource || f.Resource == a.Instance) && f.Task == a.Task && f.Interval == a.Interval && f.Node == a.Node {
			return f
		}
	}
	return nil
}

// fail records a failed operation.
func (e *executor) fail(a *transition.Action, f OpSpec) {
	name := e.historyName(a)
	cib.RecordOp(e.doc, cib.OpRecord{Node: a.Node, NodeID: a.NodeID, Resource: name, Class: a.Class, Provider: a.Provider,
		Type: a.Type, Task: a.Task, Interval: a.Interval, RC: f.RC, TargetRC: a.TargetRC, CallID: e.nextCall(a.Node),
		ActionID: a.ID, TransitionID: -1, Origin: origin, ExitReason: "User-injected result",
		Digest: cib.OpDigest(cib.DigestParams(a.Attrs, a.Interval > 0)), LastChange: e.now})
	e.tellOperation(a)
	e.tell(nil, "%s%d failed with rc=%d", pretended, a.ID, f.RC)
	countFailure(e.doc, a.Node, f, e.now, e.tell)
}

// pretended begins the line about a failure; it stands in the output without a bullet.
const pretended = "Pretending action "

func (e *executor) fence(a *transition.Action) {
	if a.Attrs["CRM_meta_stonith_action"] == "on" {
		return
	}
	e.doc.ForgetNode(a.Node)
	e.doc.SetNodeState(cib.OfflineState(a.NodeID, a.Node))
}

// Text prints the result as crm_simulate --simulate does.
func (r Result) Text() string {
	return Report{Before: r.Decision.Status, Result: r, Simulate: true}.Text()
}

// ScoresText prints the scores as crm_simulate --show-scores does.
func ScoresText(scores []scheduler.Score) string {
	var b strings.Builder
	for _, s := range scores {
		if s.Step == "promotion" {
			fmt.Fprintf(&b, "%s promotion score on %s: %s\n", s.Resource, s.Node, cib.FormatScore(s.Value))
			continue
		}
		fmt.Fprintf(&b, "%s: %s allocation score on %s: %s\n", step(s.Step), s.Resource, s.Node, cib.FormatScore(s.Value))
	}
	return b.String()
}

// step is the name crm_simulate gives the place a score was printed in.
func step(s string) string {
	switch s {
	case "group":
		return "pcmk__group_assign"
	case "clone":
		return "pcmk__clone_allocate"
	case "bundle":
		return "pcmk__bundle_allocate"
	}
	return "pcmk__primitive_assign"
}
