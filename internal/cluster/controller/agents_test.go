package controller

import (
	"context"
	"fmt"

	"holdfast/internal/agent"
	"holdfast/internal/cluster/state"
)

// Agent makes the host its own catalog.
func (h *testHost) Agent(agent.Spec) (agent.Agent, error) { return h, nil }

// Run is every agent: a state machine per resource, with the volume's promotions going through the log.
func (h *testHost) Run(ctx context.Context, op agent.Operation) agent.Result {
	what := op.Resource + " " + op.Action
	h.mu.Lock()
	if op.Action != "monitor" || op.Interval == 0 {
		h.calls = append(h.calls, what)
	}
	hold, code, bad := h.hold[what], agent.OK, false
	h.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return agent.Result{Status: agent.Cancelled, Code: agent.Unknown}
		}
	}
	h.mu.Lock()
	code, bad = h.fail[what]
	h.mu.Unlock()
	if bad {
		return agent.Result{Code: code, ExitReason: "told to fail"}
	}
	if op.Spec.Type == "drbd" {
		return h.volume(op)
	}
	return h.plain(op)
}

func (h *testHost) set(rsc, to string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.running[rsc]
	h.running[rsc] = to
	if to == "" {
		delete(h.running, rsc)
	}
	return was
}

func (h *testHost) get(rsc string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running[rsc]
}

func (h *testHost) plain(op agent.Operation) agent.Result {
	switch op.Action {
	case "start":
		h.c.onlyHere(h, op.Resource)
		h.set(op.Resource, "Started")
	case "stop":
		h.set(op.Resource, "")
	case "monitor":
		if h.get(op.Resource) == "" {
			return agent.Result{Code: agent.NotRunning}
		}
	}
	return agent.Result{}
}

// onlyHere notes a violation when a resource that runs elsewhere is started.
func (c *testCluster) onlyHere(h *testHost, rsc string) {
	for _, n := range c.names {
		if o := c.hosts[n]; o != h && o.get(rsc) != "" {
			c.violate("%s is started on %s while it runs on %s", rsc, h.name, n)
		}
	}
}

func (h *testHost) volume(op agent.Operation) agent.Result {
	switch op.Action {
	case "start":
		h.set(op.Resource, "Unpromoted")
		h.score(op.Resource, "10000")
	case "stop":
		if h.inUse() {
			return agent.Result{Code: agent.ErrGeneric, ExitReason: "the device is in use"}
		}
		h.score(op.Resource, "")
		h.set(op.Resource, "")
	case "promote":
		return h.promote(op)
	case "demote":
		return h.demote(op)
	case "monitor":
		switch h.get(op.Resource) {
		case "":
			return agent.Result{Code: agent.NotRunning}
		case "Promoted":
			return agent.Result{Code: agent.RunningPromoted}
		}
	}
	return agent.Result{}
}

func (h *testHost) score(rsc, value string) {
	h.c.apply(&state.CIBStatus{Edits: []state.StatusEdit{{Transient: &state.AttributeEdit{
		Node: h.name, Name: "master-" + rsc, Value: value, Session: h.c.view().Leases[h.name].Session}}}})
}

func (h *testHost) promote(op agent.Operation) agent.Result {
	name := op.Params["drbd_resource"]
	view := h.c.view()
	v := view.Volumes[name]
	rep, _ := v.Replica(h.name)
	r := h.c.apply(&state.VolumePromote{Name: name, Node: h.name, Session: view.Leases[h.name].Session, DeviceUUID: rep.DeviceUUID,
		Generation: rep.Generation, NewGeneration: fmt.Sprintf("%016x", v.Epoch+100), Epoch: v.Epoch, Version: v.Version})
	if err := r.Err(); err != nil {
		return agent.Result{Code: agent.ErrGeneric, ExitReason: err.Error()}
	}
	h.set(op.Resource, "Promoted")
	return agent.Result{}
}

// inUse tells whether the volume is mounted: then the kernel lets nobody take it away.
func (h *testHost) inUse() bool { return h.get("drbd_fs") != "" }

func (h *testHost) demote(op agent.Operation) agent.Result {
	name := op.Params["drbd_resource"]
	view := h.c.view()
	if h.get(op.Resource) != "Promoted" {
		return agent.Result{}
	}
	if h.inUse() {
		return agent.Result{Code: agent.ErrGeneric, ExitReason: "the device is in use"}
	}
	h.set(op.Resource, "Unpromoted")
	r := h.c.apply(&state.VolumeDemote{Name: name, Node: h.name, Session: view.Leases[h.name].Session, Epoch: view.Volumes[name].Epoch})
	if err := r.Err(); err != nil {
		return agent.Result{Code: agent.ErrGeneric, ExitReason: err.Error()}
	}
	return agent.Result{}
}

// What a test does and sees.

func (h *testHost) called(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, c := range h.calls {
		if c == what {
			n++
		}
	}
	return n
}

func (h *testHost) failing(what string, code agent.Code) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if code == agent.OK {
		delete(h.fail, what)
		return
	}
	h.fail[what] = code
}

// holding makes an operation wait until release is called.
func (h *testHost) holding(what string) (release func()) {
	ch := make(chan struct{})
	h.mu.Lock()
	h.hold[what] = ch
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		delete(h.hold, what)
		h.mu.Unlock()
		close(ch)
	}
}
