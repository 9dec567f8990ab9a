package scheduler

import (
	"slices"

	"holdfast/internal/cluster/cib"
)

// What the history says of live migrations: migrate_to at the source, migrate_from at the target, a stop at the source. One
// without migrate_from is partial, one without the stop dangling. Either node's history may have been cleared meanwhile.

// migration is one such operation with its nodes' names.
type migration struct {
	op             *record
	source, target string
}

// migrationOf reads the nodes of a migrate_to or migrate_from; ok is false when they are not told.
func migrationOf(op *record) (m migration, ok bool) {
	m = migration{op, op.xml.Get("migrate_source"), op.xml.Get("migrate_target")}
	return m, m.source != "" && m.target != ""
}

// migratedTo takes a successful migrate_to into account.
func (h *replay) migratedTo(op *record) {
	m, ok := migrationOf(op)
	if !ok {
		return
	}
	sourceNewer := h.c.actedAfter(h.r, m.source, op, true)
	from := h.c.findMigration(h.r, "migrate_from", m.target, m.source)
	if from != nil && sourceNewer {
		return
	}
	targetNewer := h.c.stateAfter(h.r, m.target, m, op, from)
	switch {
	case sourceNewer && targetNewer:
		return
	case from != nil && from.rc == rcOK && from.status == stDone:
		h.r.role = RoleStopped
		h.r.dangling = append([]*node{h.n}, h.r.dangling...)
		return
	}
	h.r.role = RoleStarted
	target := h.c.nodeByName[m.target]
	active := !targetNewer && target != nil && target.online
	if from != nil && from.status != stPending {
		h.migrationFailed(target, active)
		return
	}
	if target != nil && target.online && h.c.unknownOn(h.r, m.target) {
		return
	}
	switch source := h.c.nodeByName[m.source]; {
	case active:
		h.c.addRunning(h.r, target)
		h.elsewhere = RoleStarted
		if source != nil && source.online {
			h.r.migratingFrom, h.r.migratingTo = source, target
		}
	case !sourceNewer:
		h.migrationFailed(nil, false)
	}
}

// migrationFailed: migrate_from failed; the resource is taken to be active at the target, or must be recovered if that is
// not possible.
func (h *replay) migrationFailed(target *node, active bool) {
	if active {
		h.c.addRunning(h.r, target)
		return
	}
	h.r.failed, h.r.failedStop, h.r.allowMigrate = true, true, false
}

// failedMigrateTo takes a failed migrate_to into account: the resource may be active on both nodes.
func (h *replay) failedMigrateTo(op *record) {
	m, ok := migrationOf(op)
	if !ok {
		return
	}
	h.r.role = RoleStarted
	from := h.c.findMigration(h.r, "migrate_from", m.target, m.source)
	if from != nil && (from.rc != rcOK || from.status != stDone) {
		from = nil
	}
	if !h.c.unknownOn(h.r, m.target) && !h.c.stateAfter(h.r, m.target, m, op, from) {
		if n := h.c.nodeByName[m.target]; n != nil && n.online {
			h.c.addRunning(h.r, n)
		}
		return
	}
	if !h.c.actedAfter(h.r, m.source, op, true) {
		h.r.dangling = append([]*node{h.n}, h.r.dangling...)
	}
}

// failedMigrateFrom takes a failed migrate_from into account: the resource may still be active at the source.
func (h *replay) failedMigrateFrom(op *record) {
	m, ok := migrationOf(op)
	if !ok {
		return
	}
	h.r.role = RoleStarted
	to := h.c.findMigration(h.r, "migrate_to", m.source, m.target)
	if to != nil && (to.rc != rcOK || to.status != stDone) {
		to = nil
	}
	if h.c.unknownOn(h.r, m.source) || h.c.stateAfter(h.r, m.source, m, to, op) {
		return
	}
	if n := h.c.nodeByName[m.source]; n != nil && n.online {
		h.c.addRunning(h.r, n)
	}
}

// opsOn are the records of a resource on a node.
func (c *cluster) opsOn(r *resource, name string) []record {
	n := c.nodeByName[name]
	if n == nil || n.state == nil {
		return nil
	}
	var out []record
	e := n.state.Child("lrm").Child("lrm_resources").ChildWith("lrm_resource", "id", r.id)
	for _, x := range e.ChildrenNamed("lrm_rsc_op") {
		if op, ok := readRecord(x); ok {
			out = append(out, op)
		}
	}
	return out
}

// findMigration finds a migrate_to or migrate_from on a node whose other end is other.
func (c *cluster) findMigration(r *resource, task, name, other string) *record {
	end := "migrate_source"
	if task == "migrate_to" {
		end = "migrate_target"
	}
	for _, op := range c.opsOn(r, name) {
		if op.task == task && op.xml.Get(end) == other {
			return &op
		}
	}
	return nil
}

// unknownOn tells whether a node's history says nothing of a resource.
func (c *cluster) unknownOn(r *resource, name string) bool {
	return !slices.ContainsFunc(c.opsOn(r, name), func(op record) bool { return op.rc != rcUnknown })
}

// actedAfter tells whether a resource was started, stopped or migrated on a node after op.
func (c *cluster) actedAfter(r *resource, name string, op *record, sameNode bool) bool {
	return slices.ContainsFunc(c.opsOn(r, name), func(x record) bool {
		switch x.task {
		case "start", "stop", "migrate_to", "migrate_from":
			return newerRecord(x, *op, sameNode)
		}
		return false
	})
}

// stateAfter tells whether a node has a newer state of the resource than a migration left, of which either half may be
// missing.
func (c *cluster) stateAfter(r *resource, name string, m migration, to, from *record) bool {
	op, sameNode := to, false
	if from != nil {
		op = from
	}
	switch {
	case name == m.target && from != nil, name == m.source && to != nil:
		sameNode = true
		if name == m.source {
			op = to
		}
	case name == m.target && to != nil:
		op = to
	}
	if c.actedAfter(r, name, op, sameNode) {
		return true
	}
	return slices.ContainsFunc(c.opsOn(r, name), func(x record) bool {
		return x.task == "monitor" && x.rc == rcNotRunning && x.status == stDone && newerRecord(x, *op, sameNode)
	})
}

// newerRecord tells whether a is newer than b. Call ids can be compared on one node only.
func newerRecord(a, b record, sameNode bool) bool {
	onA, onB := onNode(a.xml), onNode(b.xml)
	if onA != "" && onB != "" {
		sameNode = onA == onB
	}
	switch {
	case sameNode && a.id == b.id, a.callID == -1 && b.callID == -1:
		return false
	case sameNode && a.callID >= 0 && b.callID >= 0 && a.callID != b.callID:
		return a.callID > b.callID
	case a.callID >= 0 && b.callID >= 0:
		return !b.changed.IsZero() && a.changed.After(b.changed)
	}
	return comparePending(a, b) > 0
}

func onNode(e *cib.Element) string { return e.Get("on_node") }
