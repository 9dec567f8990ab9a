package cib

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// OpRecord is the result of an operation, as a node's history keeps it (<lrm_rsc_op>).
type OpRecord struct {
	// Node and NodeID say where it ran; an empty NodeID is looked up.
	Node, NodeID string
	// Resource is the name the agent saw: without instance number for an anonymous clone.
	Resource              string
	Class, Provider, Type string
	// Task is the operation: start, stop, monitor, promote, demote, ...
	Task     string
	Interval time.Duration
	// RC is the OCF exit code, Status the op-status (agent.Status), TargetRC the code the scheduler expected.
	RC, Status, TargetRC int
	// CallID numbers the operations of a node, rising; -1 for a pending one.
	CallID int
	// ActionID, TransitionID and Origin make the transition key; Origin is a UUID that names who made the graph.
	ActionID, TransitionID int
	Origin                 string
	ExitReason             string
	// Digest is OpDigest of the parameters it ran with.
	Digest      string
	LastChange  time.Time
	Exec, Queue time.Duration
}

// Failed tells whether the operation counts as failed: it ended with an error, or with another code than expected.
func (r OpRecord) Failed() bool {
	switch r.Status {
	case -1, 1:
		return false
	case 0:
		return r.RC != r.TargetRC
	}
	return true
}

// TransitionKey identifies the graph action the record answers: ACTION:TRANSITION:TARGET-RC:ORIGIN.
func (r OpRecord) TransitionKey() string {
	return fmt.Sprintf("%d:%d:%d:%s", r.ActionID, r.TransitionID, r.TargetRC, r.Origin)
}

// Recordable tells whether results of a task belong in the history; those of notifications and queries do not.
func Recordable(task string) bool {
	switch task {
	case "notify", "meta-data", "cancel", "delete", "validate-all":
		return false
	}
	return true
}

// OpKey names an operation as history and graph do: RESOURCE_TASK_MILLISECONDS.
func OpKey(rsc, task string, interval time.Duration) string {
	return rsc + "_" + task + "_" + strconv.FormatInt(interval.Milliseconds(), 10)
}

// RecordOp enters a result in the history of its node, as Pacemaker 2.1 does: the last one-off operation under
// RSC_last_0, each recurring one under its key, and a failure under RSC_last_failure_0, beside RSC_last_0 when it was a
// one-off operation. A start, stop, promote or demote that succeeded ends what earlier recurring operations told, so a
// successful stop removes them.
func RecordOp(doc *Document, r OpRecord) {
	rsc := doc.historyOf(r)
	for _, id := range recordIDs(r) {
		op := rsc.ChildWith("lrm_rsc_op", "id", id)
		if op == nil {
			op = rsc.Append(NewElement("lrm_rsc_op", "id", id))
		}
		fillRecord(op, r)
	}
	if r.Task == "stop" && !r.Failed() && r.Status == 0 {
		dropRecurring(rsc)
	}
}

// recordIDs gives the ids of the entries a result goes into.
func recordIDs(r OpRecord) []string {
	last := r.Resource + "_last_0"
	switch {
	case r.Task == "migrate_to" || r.Task == "migrate_from":
		return []string{OpKey(r.Resource, r.Task, r.Interval)}
	case r.Failed() && r.Interval == 0:
		return []string{last, r.Resource + "_last_failure_0"}
	case r.Failed():
		return []string{r.Resource + "_last_failure_0"}
	case r.Interval > 0:
		return []string{OpKey(r.Resource, r.Task, r.Interval)}
	}
	return []string{last}
}

func fillRecord(op *Element, r OpRecord) {
	key := r.TransitionKey()
	op.Set("operation_key", OpKey(r.Resource, r.Task, r.Interval))
	op.Set("operation", r.Task)
	op.Set("crm-debug-origin", "holdfast")
	op.Set("crm_feature_set", FeatureSet)
	op.Set("transition-key", key)
	op.Set("transition-magic", fmt.Sprintf("%d:%d;%s", r.Status, r.RC, key))
	op.Set("exit-reason", r.ExitReason)
	op.Set("on_node", r.Node)
	op.Set("call-id", strconv.Itoa(r.CallID))
	op.Set("rc-code", strconv.Itoa(r.RC))
	op.Set("op-status", strconv.Itoa(r.Status))
	op.Set("interval", strconv.FormatInt(r.Interval.Milliseconds(), 10))
	op.Set("last-rc-change", strconv.FormatInt(r.LastChange.Unix(), 10))
	op.Set("exec-time", strconv.FormatInt(r.Exec.Milliseconds(), 10))
	op.Set("queue-time", strconv.FormatInt(r.Queue.Milliseconds(), 10))
	if op.Set("op-digest", r.Digest); r.Digest == "" {
		op.Del("op-digest") // with what parameters is not known
	}
}

// historyOf finds or makes the <lrm_resource> a record belongs to.
func (d *Document) historyOf(r OpRecord) *Element {
	state := d.nodeState(r.NodeID, r.Node)
	lrm := state.Child("lrm")
	if lrm == nil {
		lrm = state.Append(NewElement("lrm", "id", state.ID()))
	}
	list := lrm.EnsureChild("lrm_resources")
	rsc := list.ChildWith("lrm_resource", "id", r.Resource)
	if rsc == nil {
		rsc = list.Append(NewElement("lrm_resource", "id", r.Resource))
	}
	rsc.Set("type", r.Type)
	rsc.Set("class", r.Class)
	if r.Provider != "" {
		rsc.Set("provider", r.Provider)
	}
	return rsc
}

func dropRecurring(rsc *Element) {
	rsc.Children = slices.DeleteFunc(rsc.Children, func(op *Element) bool {
		i := op.Get("interval")
		return op.Name == "lrm_rsc_op" && i != "" && i != "0" && op.ID() != rsc.ID()+"_last_failure_0"
	})
}

// DeleteHistory removes the history of a resource on a node (both everywhere when empty) and tells whether there was
// any. What is not known must be probed again.
func (d *Document) DeleteHistory(node, rsc string) bool {
	found := false
	for _, state := range d.Status().ChildrenNamed("node_state") {
		if node != "" && state.Get("uname") != node {
			continue
		}
		list := state.Child("lrm").Child("lrm_resources")
		if list == nil {
			continue
		}
		n := len(list.Children)
		list.Children = slices.DeleteFunc(list.Children, func(e *Element) bool {
			return rsc == "" || e.ID() == rsc
		})
		found = found || len(list.Children) != n
	}
	return found
}

// DeleteRecurring removes the entry of a cancelled recurring operation.
func (d *Document) DeleteRecurring(node, rsc, task string, interval time.Duration) bool {
	state := d.Status().ChildWith("node_state", "uname", node)
	e := state.Child("lrm").Child("lrm_resources").ChildWith("lrm_resource", "id", rsc)
	op := e.ChildWith("lrm_rsc_op", "id", OpKey(rsc, task, interval))
	return op != nil && e.Remove(op)
}

// LastCallID is the highest call-id in a node's history, 0 when there is none: a restarted executor counts on from it.
func (d *Document) LastCallID(node string) int {
	last := 0
	state := d.Status().ChildWith("node_state", "uname", node)
	for _, rsc := range state.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource") {
		for _, op := range rsc.ChildrenNamed("lrm_rsc_op") {
			if n, err := strconv.Atoi(op.Get("call-id")); err == nil {
				last = max(last, n)
			}
		}
	}
	return last
}
