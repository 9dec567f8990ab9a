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
	r.After, r.Executed = execute(in, r.Decision.Graph, failing, false)
	next := in
	next.CIB = r.After
	r.Final = scheduler.Schedule(next)
	r.Revised = r.Final.Status
	if shortens(in.CIB, r.Decision.Graph) {
		next.CIB, _ = execute(in, r.Decision.Graph, failing, true)
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

// execute carries a graph out in a copy of the CIB and words what it did. keep: nothing is taken out of histories, in which
// a cancellation is entered.
func execute(in scheduler.Input, g *transition.Graph, failing []OpSpec, keep bool) (*cib.Document, []string) {
	e := &executor{doc: in.CIB.Clone(), now: in.Now, calls: map[string]int{}, keep: keep}
	w := transition.NewWalker(g, g.BatchLimit)
	var executed []string
	aborted := false
	for !w.Complete() && !aborted {
		for _, a := range w.Ready() {
			if f := e.failure(a, failing); f != nil {
				executed = append(executed, e.fail(a, *f)...)
				w.Done(a.ID, false)
				aborted = true
				continue
			}
			executed = append(executed, e.run(a))
			w.Done(a.ID, true)
		}
	}
	return e.doc, executed
}

// executor writes results into the status section.
type executor struct {
	doc   *cib.Document
	now   time.Time
	calls map[string]int // the last call id by node
	keep  bool           // nothing is taken out of histories
}

// nextCall numbers the operations of a node on.
func (e *executor) nextCall(node string) int {
	if _, known := e.calls[node]; !known {
		e.calls[node] = e.doc.LastCallID(node)
	}
	e.calls[node]++
	return e.calls[node]
}

// run carries out one action and words it.
func (e *executor) run(a *transition.Action) string {
	switch a.Kind {
	case transition.Pseudo:
		if a.Node != "" {
			return "Pseudo action:   " + key(a) + " on " + a.Node
		}
		return "Pseudo action:   " + key(a)
	case transition.Fence:
		e.fence(a)
		return fmt.Sprintf("Fencing %s (%s)", a.Node, a.Attrs["CRM_meta_stonith_action"])
	}
	switch a.Task {
	case transition.TaskShutdown:
		return fmt.Sprintf("Cluster action:  %s on %s", a.Task, a.Node)
	case transition.TaskClearFailCount:
		e.doc.ClearFailures(a.Node, a.Resource, "", 0)
		return fmt.Sprintf("Cluster action:  %s for %s on %s", a.Task, a.Instance, a.Node)
	case transition.TaskForget:
		e.doc.DeleteHistory(a.Node, a.Resource)
		return fmt.Sprintf("Cluster action:  %s for %s on %s", a.Task, a.Instance, a.Node)
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
	return e.resourceAction(a)
}

func key(a *transition.Action) string {
	if a.InternalKey != "" {
		return a.InternalKey
	}
	return a.Key
}

func (e *executor) resourceAction(a *transition.Action) string {
	task := a.Task
	if a.Interval > 0 {
		task += "=" + strconv.FormatInt(a.Interval.Milliseconds(), 10)
	}
	name := a.Instance
	if !strings.HasPrefix(a.Key, name+"_") {
		name = a.Resource
	}
	return fmt.Sprintf("Resource action: %-15s %s on %s", name, task, a.Node)
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
func (e *executor) fail(a *transition.Action, f OpSpec) []string {
	name := e.historyName(a)
	cib.RecordOp(e.doc, cib.OpRecord{Node: a.Node, NodeID: a.NodeID, Resource: name, Class: a.Class, Provider: a.Provider,
		Type: a.Type, Task: a.Task, Interval: a.Interval, RC: f.RC, TargetRC: a.TargetRC, CallID: e.nextCall(a.Node),
		ActionID: a.ID, TransitionID: -1, Origin: origin, ExitReason: "User-injected result",
		Digest: cib.OpDigest(cib.DigestParams(a.Attrs, a.Interval > 0)), LastChange: e.now})
	out := []string{e.resourceAction(a), pretended + fmt.Sprintf("%d failed with rc=%d", a.ID, f.RC)}
	return append(out, countFailure(e.doc, a.Node, f, e.now)...)
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

// Text prints the result as crm_simulate --simulate does, with the scores if asked for.
func (r Result) Text(scores bool) string { return r.SummaryText(scores) + TailText(r) }

// SummaryText prints the present state and what would change, as crm_simulate --run does.
func (r Result) SummaryText(scores bool) string {
	asked := ""
	if scores {
		asked = ScoresText(r.Decision.Scores)
	}
	return HeadText(r.Decision.Status, nil, r, asked)
}

// HeadText prints the state before, the events that were pretended, the scores asked for, and what would change.
func HeadText(before *scheduler.State, events []string, r Result, asked string) string {
	var b strings.Builder
	b.WriteString("Current cluster status:\n")
	writeStatus(&b, before)
	if len(events) > 0 {
		b.WriteString("\nPerforming Requested Modifications:\n")
		for _, l := range events {
			b.WriteString("  * " + l + "\n")
		}
	}
	if asked != "" {
		b.WriteString("\nAssignment Scores:\n" + asked)
	}
	b.WriteString("\nTransition Summary:\n")
	for _, c := range r.Decision.Summary {
		b.WriteString("  * " + c.Text + "\n")
	}
	return b.String()
}

// TailText prints what was carried out and the state after it.
func TailText(r Result) string {
	var b strings.Builder
	b.WriteString("\nExecuting Cluster Transition:\n")
	for _, x := range r.Executed {
		if !strings.HasPrefix(x, pretended) {
			x = "  * " + x
		}
		b.WriteString(x + "\n")
	}
	b.WriteString("\nRevised Cluster Status:\n")
	revised := *r.Revised
	revised.Resources = withoutPending(revised.Resources)
	writeStatus(&b, &revised)
	return b.String()
}

// UtilizationText prints what nodes offer before and after, and what resources take, as crm_simulate --show-utilization
// does.
func UtilizationText(o scheduler.Output) string {
	var b strings.Builder
	for _, u := range o.Utilization {
		b.WriteString(u.Text() + "\n")
	}
	return b.String()
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
