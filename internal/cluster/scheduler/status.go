package scheduler

import "strings"

// state describes the present state for people.
func (c *cluster) state() *State {
	s := &State{Nodes: c.nodeStates(), Failures: c.failures, DC: c.in.DC, Quorate: c.quorum, StonithEnabled: c.conf.stonith, FenceDevices: c.conf.haveDevice,
		MaintenanceMode: c.conf.maintenance, StopAll: c.conf.stopAll}
	for _, r := range c.resources {
		s.Resources = append(s.Resources, c.resourceState(r))
	}
	return s
}

func (c *cluster) resourceState(r *resource) ResourceState {
	s := ResourceState{ID: r.id, Name: shownName(r), Kind: ResourceKind(r.kind), Class: r.class, Provider: r.provider, Type: r.typ, Role: r.state(true),
		Target: parseRole(r.meta["target-role"]), TargetRole: strings.TrimPrefix(r.meta["target-role"], "#default"), Managed: r.managed, Maintenance: r.maintenance, Blocked: r.blocked,
		Failed: r.failed, FailureIgnored: r.failureIgnored, Orphan: r.orphan, Internal: boolOr(r.meta["internal-rsc"], false), Promotable: r.kind == clone && r.promotable,
		Unique: r.kind >= clone && r.unique, Max: r.max, PromotedMax: r.promotedMax}
	if s.Role == RoleStarted && r.isPromotable() {
		s.Role = RoleUnpromoted
	}
	s.ActiveAny, s.ActiveAll = r.active(false), r.active(true)
	s.Disabled = s.Target == RoleStopped || s.Target == RoleUnpromoted && (r.kind != primitive || !r.isPromotable())
	s.InPromotable = r.isPromotable()
	if r.kind == clone {
		s.ChildID = resourceElements(r.xml)[0].ID()
		s.Candidates = c.candidates(r)
	}
	for _, n := range r.runningOn {
		s.Nodes = append(s.Nodes, n.name)
	}
	s.Locked = nodeName(r.lockNode)
	s.Hindered = map[string]string{}
	r.leaves(func(p *resource) { c.hindrance(p, s.Hindered) })
	if r.pendingTask != "" {
		s.Pending = pendingWord(r.pendingTask)
		s.PendingNode = nodeName(r.pendingNode)
	}
	if r.kind == bundle {
		s.Image, s.Technology = r.parts.spec.image, r.parts.spec.technology
		for _, p := range r.parts.replicas {
			s.Children = append(s.Children, c.replicaState(p))
		}
		return s
	}
	for _, k := range r.children {
		s.Children = append(s.Children, c.resourceState(k))
	}
	return s
}

// candidates are the nodes a clone may have instances on as far as the status section tells. In an opt-in cluster, where
// constraints are to say so, they are the nodes that were looked at.
func (c *cluster) candidates(cl *resource) []string {
	var may, looked []string
	for i, n := range c.nodes {
		if cl.weights[i].present {
			may = append(may, n.name)
		}
		if cl.knownOn[i] {
			looked = append(looked, n.name)
		}
	}
	if len(may) == 0 {
		return looked
	}
	return may
}

// replicaState describes a replica of a bundle as one.
func (c *cluster) replicaState(p *replica) ResourceState {
	var parts []ResourceState
	for _, r := range []*resource{p.address, p.instance, p.container, p.connection} {
		if r != nil {
			parts = append(parts, c.resourceState(r))
		}
	}
	if p.instance == nil {
		s := c.resourceState(p.container)
		s.Name, s.Parts = p.label(s.Name), parts
		return s
	}
	s := c.resourceState(p.instance)
	s.Name, s.Parts = p.label(p.guest.name), parts
	s.Nodes = nil
	if n := p.container.curNode(); n != nil {
		s.Nodes = []string{n.name}
	}
	return s
}

// label names a replica, with its address.
func (p *replica) label(name string) string {
	if p.ip == "" {
		return name
	}
	return name + " (" + p.ip + ")"
}

// isKnownAnywhere tells whether the history of a node speaks of any part of r.
func (r *resource) isKnownAnywhere(n *node) bool {
	found := false
	r.leaves(func(p *resource) { found = found || p.knownOn[n.index] })
	return found
}

// shownName leaves out the number of an instance that could as well be another.
func shownName(r *resource) string {
	if r.kind == primitive && r.isAnonymous() {
		return r.xml.ID()
	}
	return r.id
}

// pendingWord is how an operation in progress is told.
func pendingWord(task string) string {
	switch task {
	case "start":
		return "Starting"
	case "stop":
		return "Stopping"
	case "promote":
		return "Promoting"
	case "demote":
		return "Demoting"
	case "migrate_to", "migrate_from":
		return "Migrating"
	case "probe", "monitor":
		return "Monitoring"
	}
	return task
}

// hindrance tells where a probe of a primitive failed, in ways that starting cannot mend.
func (c *cluster) hindrance(r *resource, out map[string]string) {
	for _, f := range c.failures {
		lasting := f.RC == rcNotInstalled || f.RC == rcInvalidParam || f.Status == stNotInstalled
		if lasting && f.Task == "monitor" && f.Interval == 0 && f.Resource == shownName(r) {
			out[f.Node] = rcText(f.RC)
		}
	}
}

// rcText words an exit code.
func rcText(rc int) string {
	words := []string{"ok", "error", "invalid parameter", "unimplemented feature", "insufficient privileges", "not installed",
		"not configured", "not running", "promoted", "promoted (failed)"}
	if rc >= 0 && rc < len(words) {
		return words[rc]
	}
	return "unknown"
}
