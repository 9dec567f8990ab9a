package controller

import (
	"context"
	"strings"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/state"
	"holdfast/internal/cluster/transition"
)

// startReady starts every action that may start, until none is left.
func (l *lead) startReady() {
	w := l.walk
	for l.walk == w && !l.stale {
		ready := w.walker.Ready()
		if len(ready) == 0 {
			return
		}
		pending := l.pending(w, ready)
		if len(pending) > 0 {
			if err := l.record(pending); err != nil {
				// Only for people's eyes: a new leader asks the nodes themselves.
				l.c.cfg.Logs.Warn("operations under way not recorded", "err", err)
			}
		}
		for _, a := range ready {
			l.start(w, a)
		}
	}
}

// pending are the records of the operations about to be started, so that `pcs status` shows "Starting". Probes,
// recurring operations and notifications are not worth a log entry.
func (l *lead) pending(w *walk, ready []*transition.Action) []state.StatusEdit {
	var edits []state.StatusEdit
	for _, a := range ready {
		if a.Kind != transition.Resource || !showsPending(a.Task) {
			continue
		}
		edits = append(edits, state.StatusEdit{Op: &state.OpEdit{Session: l.view.Leases[a.Node].Session, Record: cib.OpRecord{
			Node: a.Node, Resource: a.Resource, Class: a.Class, Provider: a.Provider, Type: a.Type, Task: a.Task,
			RC: int(agent.Unknown), Status: int(agent.Pending), TargetRC: a.TargetRC, CallID: -1, ActionID: a.ID,
			TransitionID: w.graph.ID, Origin: l.c.origin, Digest: digest(a), LastChange: l.c.cfg.Clock.Wall(),
		}}})
	}
	return edits
}

// forgetPending deals with operations recorded as pending when none is under way: their leader died before a node had
// taken them. The record has replaced the one before, so what the resource does is not known: its history is deleted,
// and it is probed again. False: the log did not take it.
func (l *lead) forgetPending() bool {
	var edits []state.StatusEdit
	for _, st := range l.view.CIB.Status().ChildrenNamed("node_state") {
		for _, rsc := range st.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource") {
			if rsc.ChildWith("lrm_rsc_op", "op-status", "-1") != nil {
				edits = append(edits, state.StatusEdit{DeleteHistory: &state.HistoryEdit{Node: st.Get("uname"), Resource: rsc.ID()}})
			}
		}
	}
	if len(edits) == 0 {
		return true
	}
	if err := l.record(edits); err != nil {
		l.c.cfg.Logs.Warn("operations never begun not cleared from the status", "err", err)
		return false
	}
	l.look()
	return true
}

func showsPending(task string) bool {
	switch task {
	case "start", "stop", "promote", "demote", "migrate_to", "migrate_from":
		return true
	}
	return false
}

func digest(a *transition.Action) string {
	return cib.OpDigest(cib.DigestParams(a.Attrs, a.Interval > 0))
}

// start begins one action.
func (l *lead) start(w *walk, a *transition.Action) {
	switch {
	case a.Kind == transition.Pseudo:
		w.walker.Done(a.ID, true)
	case a.Task == transition.TaskClearFailCount:
		edit := state.StatusEdit{ClearFailures: &state.HistoryEdit{Node: a.Node, Resource: a.Resource}}
		l.editStatus(w, a, edit)
	case a.Task == transition.TaskForget:
		edit := state.StatusEdit{DeleteHistory: &state.HistoryEdit{Node: a.Node, Resource: a.Resource}}
		l.editStatus(w, a, edit)
	case a.Task == transition.TaskShutdown:
		l.fly(w, a, cluster.NoTimeoutAction, func(ctx context.Context) error { return l.c.cfg.Nodes.Leave(ctx, a.Node) })
	case a.Attrs["CRM_meta_stonith_action"] == "on":
		// Nobody here can let a node back in; what needs that stays down rather than run without it.
		l.c.cfg.Logs.Error("unfencing is not supported: unfence the node by hand, then set its attribute #node-unfenced", "node", a.Node)
		w.walker.Done(a.ID, false)
	case a.Kind == transition.Fence || a.Task == transition.TaskStonith:
		l.fly(w, a, cluster.NoTimeoutAction, func(ctx context.Context) error { return l.c.cfg.Nodes.Fence(ctx, a.Node) })
	case a.Task == "start" && !l.configured(a.Resource):
		// Only a bundle makes resources that are not in the configuration start.
		l.c.cfg.Logs.Error("bundles are not supported by a running cluster: configure the container as a resource of its own (ocf:heartbeat:podman or docker), and remove the bundle",
			"resource", a.Resource, "node", a.Node)
		w.walker.Done(a.ID, false)
	default:
		l.dispatch(w, a)
	}
}

// configured tells whether a resource, or what it is an instance of, stands in the configuration.
func (l *lead) configured(resource string) bool {
	id, _, _ := strings.Cut(resource, ":")
	return l.view.CIB.Resource(id) != nil
}

// editStatus carries out an action that only changes the recorded status.
func (l *lead) editStatus(w *walk, a *transition.Action, edit state.StatusEdit) {
	err := l.record([]state.StatusEdit{edit})
	if err != nil {
		l.c.cfg.Logs.Error("status not changed", "action", a.Task, "resource", a.Resource, "node", a.Node, "err", err)
		l.stale = true
	}
	w.walker.Done(a.ID, err == nil)
}

// launch enters an action among those under way.
func (l *lead) launch(w *walk, a *transition.Action, timeout time.Duration) (*flight, context.Context) {
	if timeout <= 0 {
		timeout = cluster.DefaultOpTimeout
	}
	ctx, cancel := context.WithCancel(l.ctx)
	now := time.Now()
	f := &flight{key: l.key(w, a), action: a, walk: w, node: a.Node, session: l.view.Leases[a.Node].Session,
		began: now, until: now.Add(timeout + a.StartDelay + cluster.ActionGrace), cancel: cancel}
	l.flights[f.key] = f
	attrs := l.describe(a)
	attrs["transition"] = w.graph.ID
	l.c.cfg.Event("action.start", attrs)
	return f, ctx
}

// fly runs an action that is a call of ours.
func (l *lead) fly(w *walk, a *transition.Action, timeout time.Duration, call func(context.Context) error) {
	f, ctx := l.launch(w, a, timeout)
	l.wg.Go(func() { l.send(message{outcome: &outcome{f.key, call(ctx)}}) })
}

// dispatch hands an operation to its node.
func (l *lead) dispatch(w *walk, a *transition.Action) {
	f, ctx := l.launch(w, a, a.Timeout)
	req := executor.Request{Term: l.term, Key: f.key, TargetRC: agent.Code(a.TargetRC), Digest: digest(a), StartDelay: a.StartDelay,
		Op: agent.Operation{Resource: a.Resource, Spec: agent.Spec{Class: a.Class, Provider: a.Provider, Type: a.Type},
			Action: a.Task, Interval: a.Interval, Timeout: a.Timeout, Params: a.Params(), Meta: a.Meta()}}
	switch a.Task {
	case transition.TaskCancel:
		req.Do = executor.Cancel
		if req.Op.Action = a.Attrs["CRM_meta_operation"]; req.Op.Action == "" {
			req.Op.Action = "monitor"
		}
	case transition.TaskDelete:
		req.Do = executor.Forget
	}
	l.wg.Go(func() { l.deliver(ctx, f.node, req) })
}

// deliver repeats until the node has taken the request; the flight's end stops it. The result comes as a report.
func (l *lead) deliver(ctx context.Context, node string, req executor.Request) {
	warned := false
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, cluster.DispatchTimeout)
		err := l.c.cfg.Nodes.Dispatch(attempt, node, req)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		if !warned && !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
			l.c.cfg.Logs.Warn("operation not taken by its node, trying again", "node", node, "resource", req.Op.Resource, "action", req.Op.Action, "err", err)
			warned = true
		}
		pause(ctx, cluster.DispatchRetry)
	}
}
