package scheduler

// planRecurring plans the recurring operations of a resource where it will be active, and cancels those of another role.
func (c *cluster) planRecurring(r *resource) {
	if r.blocked || r.maintenance {
		return
	}
	n := r.assigned
	var start *action
	if n != nil && !n.maint && (r.nextRole != RoleStopped || !r.managed) {
		start = c.start(r, n, true)
	}
	for _, op := range r.ops {
		if op.interval == 0 || op.disabled || op.name == "start" || op.name == "stop" || duplicated(r, op) {
			continue
		}
		if parseRole(op.role) == RoleStopped {
			c.monitorStopped(r, n, op)
			continue
		}
		if start != nil {
			c.monitorActive(r, start, n, op)
		}
	}
}

// duplicated tells whether there is another operation with the same name and interval, which makes both useless: history
// could not tell them apart.
func duplicated(r *resource, op *opConfig) bool {
	for _, x := range r.ops {
		if x != op && x.name == op.name && x.interval == op.interval {
			return true
		}
	}
	return false
}

// monitorActive plans one recurring operation of an active role.
func (c *cluster) monitorActive(r *resource, start *action, n *node, op *opConfig) {
	old := r.findAction(actionID{op.name, op.interval}, n)
	optional := old != nil && !old.rescheduled
	if !roleMatches(r, op) {
		if optional {
			c.cancelForRole(r, n, op)
		}
		return
	}
	mon := c.action(r, op.name, op.interval, n, optional)
	if !start.runnable {
		mon.runnable = false
	} else if !n.online || n.unclean {
		mon.runnable = false
	}
	if r.nextRole == RolePromoted {
		mon.targetRC = rcPromoted
	}
	if !r.managed {
		return
	}
	c.addOrdering(&ordering{firstRsc: r, firstTask: "start", thenAction: mon, flags: impliesThen | runnableLeft},
		&ordering{firstRsc: r, firstTask: "reload-agent", thenAction: mon, flags: impliesThen | runnableLeft})
	switch {
	case r.nextRole == RolePromoted:
		c.addOrdering(&ordering{firstRsc: r, firstTask: "promote", thenAction: mon, flags: orderPlain | runnableLeft})
	case r.role == RolePromoted:
		c.addOrdering(&ordering{firstRsc: r, firstTask: "demote", thenAction: mon, flags: orderPlain | runnableLeft})
	}
}

// roleMatches tells whether an operation is for the role the resource will have. One without a role is for every active
// role but Promoted.
func roleMatches(r *resource, op *opConfig) bool {
	if op.role == "" {
		return r.nextRole != RolePromoted
	}
	return parseRole(op.role) == r.nextRole
}

// cancelForRole ends a recurring operation before the change of role that makes it pointless.
func (c *cluster) cancelForRole(r *resource, n *node, op *opConfig) {
	x := c.cancel(r, op.name, op, n)
	after := ""
	switch r.role {
	case RoleUnpromoted, RoleStarted:
		if r.nextRole == RolePromoted {
			after = "promote"
		} else if r.nextRole == RoleStopped {
			after = "stop"
		}
	case RolePromoted:
		after = "demote"
	}
	if after != "" {
		c.addOrdering(&ordering{firstAction: x, thenRsc: r, thenTask: after, flags: runnableLeft})
	}
}

func (c *cluster) cancel(r *resource, task string, op *opConfig, n *node) *action {
	x := c.slotAction(r, "cancel_"+task, "cancel", op.interval, n, false)
	x.crm = true
	x.runnable = true
	x.meta = map[string]string{"operation": task}
	return x
}

// monitorStopped plans a recurring operation that watches that a resource does not run where it should not.
func (c *cluster) monitorStopped(r *resource, where *node, op *opConfig) {
	for _, n := range c.nodes {
		old := r.findActionOn(actionID{op.name, op.interval}, n)
		if where == n && r.nextRole != RoleStopped {
			if old != nil {
				x := c.cancel(r, op.name, op, n)
				c.addOrdering(&ordering{firstAction: x, thenRsc: r, thenTask: "start", flags: runnableLeft})
			}
			continue
		}
		if !n.online || n.unclean || r.unique {
			continue
		}
		mon := c.action(r, op.name, op.interval, n, old != nil)
		mon.targetRC = rcNotRunning
		if r.managed {
			for _, p := range r.actionsOf("monitor") {
				if p.node == n {
					orderActions(p, mon, orderPlain)
				}
			}
		}
		c.orderStops(r, n, mon, where)
		if !mon.optional && where == n {
			mon.runnable = mon.runnable && r.nextRole == RoleStopped
		}
	}
}

func (c *cluster) orderStops(r *resource, n *node, mon *action, where *node) {
	if !containsNode(r.runningOn, n) {
		return
	}
	for _, s := range r.actionsOf("stop") {
		if s.node != n {
			continue
		}
		if !s.runnable {
			mon.runnable = false
		}
		if r.managed {
			c.addOrdering(&ordering{firstRsc: r, firstTask: "stop", firstAction: s, thenAction: mon, flags: impliesThen | runnableLeft})
		}
	}
}

// findActionOn finds an action on exactly that node.
func (r *resource) findActionOn(id actionID, n *node) *action {
	for _, a := range r.actionIndex[id] {
		if a.node == n {
			return a
		}
	}
	return nil
}
