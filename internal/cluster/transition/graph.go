// Package transition is the plan the scheduler makes and the controller carries out: a graph of actions with the order
// between them, its XML in Pacemaker's form, and the walker that says which actions may run next. It is a core.
package transition

import (
	"strconv"
	"strings"
	"time"
)

// Kind says who carries out an action.
type Kind int

// The kinds of action.
const (
	// Resource is an operation of an agent, run by the node's executor.
	Resource Kind = iota
	// Pseudo stands for a point in the order (a whole clone has started); it is done as soon as it may begin.
	Pseudo
	// Crm is work of the cluster itself: deleting history (lrm_delete, clear_failcount), cancelling a recurring operation.
	Crm
	// Fence makes sure that a node runs nothing.
	Fence
)

// Element is the action's element name in the graph's XML. Cancelling and deleting are the executor's work there.
func (a *Action) Element() string {
	switch {
	case a.Kind == Pseudo:
		return "pseudo_event"
	case a.Kind == Fence, a.Kind == Crm && a.Task != TaskCancel && a.Task != TaskDelete:
		return "crm_event"
	}
	return "rsc_op"
}

// String gives the kind in lower case.
func (k Kind) String() string {
	switch k {
	case Pseudo:
		return "pseudo"
	case Crm:
		return "crm"
	case Fence:
		return "fence"
	}
	return "resource"
}

// The tasks of actions that are no agent's operation.
const (
	TaskCancel         = "cancel"
	TaskDelete         = "delete"
	TaskClearFailCount = "clear_failcount"
	TaskForget         = "lrm_delete"
	TaskStonith        = "stonith"
	TaskShutdown       = "do_shutdown"
)

// Action is one step of a transition.
type Action struct {
	// ID is unique in the graph, from 1.
	ID   int
	Kind Kind
	// Task is the operation: start, stop, monitor, promote, demote, notify, ..., or one of the Task constants.
	Task string
	// Key is the operation key, drbd_ha_promote_0: resource (as history knows it, an instance number with it only when
	// there is no history yet), task, interval in milliseconds.
	Key string
	// InternalKey is the same with the scheduler's instance, drbd_ha:0_promote_0; empty when it does not differ.
	InternalKey string
	// Node and NodeID say where; empty for a pseudo action of a whole clone or group.
	Node, NodeID string
	// Router is the cluster node that carries the action out on a remote node; empty for others.
	Router string
	// Resource is the name the agent gets: drbd_ha for an anonymous clone's instance, web:1 for a unique one's.
	Resource string
	// Instance is the scheduler's name of the instance, drbd_ha:0; equal to Resource outside of clones.
	Instance              string
	Class, Provider, Type string
	Interval, Timeout     time.Duration
	StartDelay            time.Duration
	// TargetRC is the exit code that counts as success.
	TargetRC int
	// Attrs are the agent's parameters by name, and the meta attributes and notify variables as CRM_meta_....
	Attrs map[string]string
	// Inputs are the ids of the actions that must be complete first, ascending.
	Inputs []int
	// Priority orders actions that could run at once: higher first. Notifications after a change come before others.
	Priority int
	// Downed are the ids of the nodes a fencing or shutdown action takes down.
	Downed []string
}

// Params returns the agent's parameters among Attrs.
func (a *Action) Params() map[string]string { return a.split(false) }

// Meta returns the meta attributes among Attrs, still named CRM_meta_....
func (a *Action) Meta() map[string]string { return a.split(true) }

func (a *Action) split(meta bool) map[string]string {
	out := map[string]string{}
	for k, v := range a.Attrs {
		if k != "crm_feature_set" && strings.HasPrefix(k, "CRM_meta_") == meta {
			out[k] = v
		}
	}
	return out
}

// HistoryKey is the key the operation is recorded under: the agent's name of the resource, task and interval.
func (a *Action) HistoryKey() string {
	return a.Resource + "_" + a.Task + "_" + strconv.FormatInt(a.Interval.Milliseconds(), 10)
}

// OnFail is what shall happen when the action fails (CRM_meta_on_fail); "" for the default.
func (a *Action) OnFail() string { return a.Attrs["CRM_meta_on_fail"] }

// Graph is a transition.
type Graph struct {
	ID int
	// BatchLimit is how many actions may run at once; 0 for no limit.
	BatchLimit int
	// ClusterDelay and StonithTimeout are added to the timeouts of remote actions.
	ClusterDelay, StonithTimeout time.Duration
	// StartFailureFatal: a failed start rules the node out for the resource (fail count INFINITY).
	StartFailureFatal bool
	// RecheckAt is when the cluster must schedule again because of time alone; zero for never.
	RecheckAt time.Time
	// Unrunnable are actions that cannot be done, though others have them among their inputs, and so never come to their
	// turn: a resource that will not stop keeps what it depends on from stopping.
	Unrunnable []*Action
	// Actions are in the order the scheduler made them.
	Actions []*Action
}

// Empty tells whether there is nothing to do.
func (g *Graph) Empty() bool { return len(g.Actions) == 0 }

// Action returns the action with that id, or nil.
func (g *Graph) Action(id int) *Action {
	for _, a := range g.Actions {
		if a.ID == id {
			return a
		}
	}
	return nil
}
