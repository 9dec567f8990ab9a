package scheduler

// nextStep is the role to pass through on the way from one role to another.
func nextStep(from, to Role) Role {
	switch from {
	case RoleUnknown:
		return RoleStopped
	case RoleStopped:
		switch to {
		case RoleStarted:
			return RoleStarted
		case RoleUnpromoted, RolePromoted:
			return RoleUnpromoted
		}
		return RoleStopped
	case RoleStarted:
		if to <= RoleStopped {
			return RoleStopped
		}
		return to
	case RoleUnpromoted:
		switch to {
		case RoleUnpromoted, RolePromoted:
			return to
		}
		return RoleStopped
	}
	if to == RolePromoted {
		return to
	}
	return RoleUnpromoted
}

// step plans what takes a resource from one role to the next one.
func (c *cluster) step(r *resource, from, to Role, n *node, optional bool) {
	switch {
	case from == RolePromoted && to != RolePromoted:
		c.planDemote(r, optional)
	case to == RolePromoted && from != RolePromoted:
		c.planPromote(r, n, optional)
	case to <= RoleStopped && from > RoleStopped:
		c.planStop(r, optional)
	case from <= RoleStopped && to > RoleStopped:
		a := c.start(r, n, true)
		a.due = a.due || !optional
		c.afterUnfencing(r, a, impliesThen)
		if a.runnable && !optional {
			// What cannot start is no reason for anything else.
			c.start(r, n, false)
		}
		// Where it is expected it has not been stopped: that it is up is all the others wait for.
		a.pseudo = a.pseudo || r.expectedOn(n)
	}
}

// isMultiplyActive tells whether a resource is active on several nodes. What needs no fencing does not count on lost ones.
func (r *resource) isMultiplyActive() bool {
	count := 0
	for _, n := range r.runningOn {
		if r.requires == needFencing || n.online && !n.unclean {
			count++
		}
	}
	return count > 1
}

// expectedOn tells whether a multiply active resource is to be left alone on a node while it is stopped on others.
func (r *resource) expectedOn(n *node) bool {
	return r.restarting && r.stopUnexpected && n != nil && n == r.assigned
}

func (c *cluster) planStop(r *resource, optional bool) {
	for _, n := range r.runningOn {
		if r.expectedOn(n) {
			continue
		}
		if r.migratingTo != nil {
			if n == r.migratingTo && n == r.assigned {
				// The migration there goes on.
				continue
			}
			optional = false
		}
		a := c.stop(r, n, optional)
		switch {
		case r.assigned == nil:
			a.reason = "node availability"
		case r.restarting && r.stopUnexpected:
			a.reason = "being multiply active"
		}
		if !r.managed {
			a.runnable = false
		}
		if c.conf.removeAfterStop {
			c.planDelete(r, n, optional)
		}
	}
}

// planDelete forgets a resource's history on a node, after it has been stopped there.
func (c *cluster) planDelete(r *resource, n *node, optional bool) {
	if r.failed || n == nil || n.unclean || !n.online {
		return
	}
	d := c.action(r, "delete", 0, n, optional)
	d.crm = true
	flags := orderPlain
	if optional {
		flags = impliesThen
	}
	c.orderTasks(r, "stop", r, "delete", flags)
	c.orderTasks(r, "delete", r, "start", flags)
}

func (c *cluster) planDemote(r *resource, optional bool) {
	for _, n := range r.runningOn {
		if !r.expectedOn(n) {
			c.demote(r, n, optional)
		}
	}
}

func (c *cluster) planPromote(r *resource, n *node, optional bool) {
	runnable := true
	for _, a := range r.actionsOf("start") {
		if a.node == n && !a.runnable {
			runnable = false
		}
	}
	if runnable {
		a := c.promote(r, n, optional)
		a.pseudo = a.pseudo || r.expectedOn(n)
		return
	}
	for _, a := range r.actionsOf("promote") {
		if a.node == n {
			a.runnable = false
		}
	}
}

// planAll plans what each resource needs.
func (c *cluster) planAll() {
	for _, r := range c.resources {
		c.planResource(r)
	}
}

func (c *cluster) planResource(r *resource) {
	switch r.kind {
	case group:
		for _, m := range r.children {
			c.planResource(m)
		}
		c.planGroup(r)
	case clone:
		c.planClone(r)
	case bundle:
		c.planBundle(r)
	default:
		c.planPrimitive(r)
	}
}

func (c *cluster) planPrimitive(r *resource) {
	if r.nextRole == RoleUnknown {
		r.nextRole = RoleStarted
		if r.assigned == nil {
			r.nextRole = RoleStopped
		}
	}
	cur := r.curNode()
	c.abortMigrations(r)
	moving := cur != nil && r.assigned != nil && cur != r.assigned && r.nextRole >= RoleStarted
	migrate := moving && r.canMigrate(cur)
	if !r.continuesMigration(cur, moving) && r.isMultiplyActive() && !r.recovering {
		r.stopUnexpected = r.multi == stopUnexpected
	}
	needStop, needPromote := c.mustRestart(r, cur, moving)
	c.planRestart(r, cur, needStop, needPromote)
	for role := r.role; role != r.nextRole; {
		next := nextStep(role, r.nextRole)
		c.step(r, role, next, r.assigned, false)
		role = next
	}
	c.planRecurring(r)
	if migrate && !r.recovering {
		c.planMigration(r, cur)
	}
}

// mustRestart tells whether a resource must be stopped (and started again), or at least promoted again.
func (c *cluster) mustRestart(r *resource, cur *node, moving bool) (stop, promote bool) {
	continuing := r.migratingTo != nil
	if r.recovering || !continuing && r.isMultiplyActive() && (r.multi == stopStart || r.multi == stopUnexpected) {
		stop = true
	}
	if r.startPending {
		a := c.start(r, r.assigned, true)
		a.printAlways = true
	}
	switch {
	case moving:
		return true, false
	case r.failed && r.failedStop, !r.failed && r.blocked:
		return true, false
	case r.failed:
		return stop, r.nextRole == RolePromoted
	case r.role >= RoleStarted && cur != nil && r.assigned != nil && r.nextRole != RoleStopped:
		if a := r.firstAction("start", r.assigned); a != nil && !a.optional {
			return true, false
		}
	}
	return stop, false
}

// planRestart plans the way down to stopped and up again to the present role; it is optional unless the resource must be
// restarted, and lets orderings make it required.
func (c *cluster) planRestart(r *resource, cur *node, needStop, needPromote bool) {
	role := r.role
	r.restarting = true
	for role != RoleStopped && role != RoleUnknown {
		next := nextStep(role, RoleStopped)
		c.step(r, role, next, cur, !needStop && !(needPromote && role == RolePromoted))
		role = next
	}
	for r.role <= r.nextRole && role != r.role && !r.blocked {
		next := nextStep(role, r.role)
		required := needStop || next == RolePromoted && needPromote
		if next > RoleStopped && r.assigned == nil {
			break
		}
		c.step(r, role, next, r.assigned, !required)
		role = next
	}
	r.restarting = false
}

// planGroup makes the points in the order for a group.
func (c *cluster) planGroup(g *resource) {
	c.pseudoAction(g, "start", true, true)
	c.pseudoAction(g, "running", true, true)
	c.pseudoAction(g, "stop", true, true)
	c.pseudoAction(g, "stopped", true, true)
	if g.isPromotable() {
		for _, t := range []string{"demote", "demoted", "promoted"} {
			c.pseudoAction(g, t, true, true)
		}
		c.pseudoAction(g, "promote", true, true)
	}
}

// instanceState sums up what instances are going through.
type instanceState struct{ active, starting, stopping, promoting, demoting bool }

func (s *instanceState) add(r *resource) {
	if r.kind != primitive {
		for _, k := range r.children {
			s.add(k)
		}
		return
	}
	s.active = s.active || len(r.runningOn) > 0
	for _, a := range r.actions {
		if a.optional || a.interval > 0 {
			continue
		}
		switch a.task {
		case "start":
			s.starting = s.starting || a.runnable
		case "stop":
			s.stopping = s.stopping || a.pseudo || a.runnable
		case "promote":
			s.promoting = s.promoting || a.runnable
		case "demote":
			s.demoting = true
		}
	}
}

// planClone plans a clone's instances and makes the points in the order for all of it.
func (c *cluster) planClone(cl *resource) {
	var s instanceState
	for _, k := range cl.children {
		c.planResource(k)
		s.add(k)
	}
	if cl.ordered {
		chainInstances(cl, "start", false)
		chainInstances(cl, "stop", true)
	}
	start := c.pseudoAction(cl, "start", !s.starting, true)
	started := c.pseudoAction(cl, "running", !s.starting, s.active || s.starting)
	started.priority = infinity
	notes := &cloneNotes{}
	if cl.notify {
		cl.notes = notes
		notes.start = c.noteActions(cl, "start", start, started)
	}
	stop := c.pseudoAction(cl, "stop", !s.stopping, true)
	stopped := c.pseudoAction(cl, "stopped", !s.stopping, true)
	stopped.priority = infinity
	if cl.notify {
		notes.stop = c.noteActions(cl, "stop", stop, stopped)
		orderActions(notes.stop.postDone, notes.start.pre, orderPlain)
	}
	if cl.promotable {
		c.planPromotable(cl, s, notes)
	}
}

// chainInstances orders what the instances of an ordered clone have to do one after the other, leaving out those that have
// nothing to do as yet.
func chainInstances(cl *resource, task string, backwards bool) {
	var last *action
	for _, k := range cl.children {
		a := k.firstAction(task, nil)
		if a == nil || a.optional {
			continue
		}
		if backwards {
			orderActions(a, last, orderPlain)
		} else {
			orderActions(last, a, orderPlain)
		}
		last = a
	}
}

func (c *cluster) planPromotable(cl *resource, s instanceState, notes *cloneNotes) {
	promote := c.pseudoAction(cl, "promote", !s.promoting, true)
	promoted := c.pseudoAction(cl, "promoted", !s.promoting, true)
	promoted.priority = infinity
	demote := c.pseudoAction(cl, "demote", !s.demoting, true)
	demoted := c.pseudoAction(cl, "demoted", !s.demoting, true)
	demoted.priority = infinity
	if !cl.notify {
		return
	}
	notes.promote = c.noteActions(cl, "promote", promote, promoted)
	notes.demote = c.noteActions(cl, "demote", demote, demoted)
	orderActions(notes.stop.postDone, notes.promote.pre, orderPlain)
	orderActions(notes.start.postDone, notes.promote.pre, orderPlain)
	orderActions(notes.demote.postDone, notes.promote.pre, orderPlain)
	orderActions(notes.demote.postDone, notes.start.pre, orderPlain)
	orderActions(notes.demote.postDone, notes.stop.pre, orderPlain)
}
