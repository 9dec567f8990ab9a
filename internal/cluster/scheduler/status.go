package scheduler

// state describes the present state for people.
func (c *cluster) state() *State {
	s := &State{Nodes: c.nodeStates(), Failures: c.failures, DC: c.in.DC, Quorate: c.quorum, StonithEnabled: c.conf.stonith,
		MaintenanceMode: c.conf.maintenance, StopAll: c.conf.stopAll}
	for _, r := range c.resources {
		s.Resources = append(s.Resources, c.resourceState(r))
	}
	return s
}

func (c *cluster) resourceState(r *resource) ResourceState {
	s := ResourceState{ID: r.id, Kind: ResourceKind(r.kind), Class: r.class, Provider: r.provider, Type: r.typ, Role: r.state(true),
		Target: parseRole(r.meta["target-role"]), Managed: r.managed, Maintenance: r.maintenance, Blocked: r.blocked,
		Failed: r.failed, FailureIgnored: r.failureIgnored, Orphan: r.orphan, Promotable: r.kind == clone && r.promotable,
		Unique: r.kind == clone && r.unique, Max: r.max, PromotedMax: r.promotedMax}
	s.Disabled = s.Target == RoleStopped || s.Target == RoleUnpromoted && !r.isPromotable()
	s.InPromotable = r.isPromotable()
	if r.kind == clone {
		s.ChildID = resourceElements(r.xml)[0].ID()
		for i, n := range c.nodes {
			if r.weights[i].present {
				s.Candidates = append(s.Candidates, n.name)
			}
		}
	}
	for _, n := range r.where(true) {
		s.Nodes = append(s.Nodes, n.name)
	}
	if r.pendingTask != "" {
		s.Pending = pendingWord(r.pendingTask)
		s.PendingNode = nodeName(r.pendingNode)
	}
	for _, k := range r.children {
		s.Children = append(s.Children, c.resourceState(k))
	}
	return s
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
