package scheduler

import "slices"

// internalOrderings are those every resource has within itself. They are among the first: to order something within a
// resource may be what makes it known.
func (c *cluster) internalOrderings() {
	for _, r := range c.resources {
		c.orderWithin(r)
	}
}

func (c *cluster) orderWithin(r *resource) {
	switch r.kind {
	case group:
		c.orderGroup(r)
	case clone:
		c.orderClone(r)
	case bundle:
		c.orderBundle(r)
	default:
		c.orderPrimitive(r)
	}
}

func (c *cluster) orderPrimitive(r *resource) {
	if !r.managed {
		return
	}
	c.orderTasks(r, "stop", r, "start", orderPlain|impliesThen|restarts)
	if r.isPromotable() || r.role > RoleUnpromoted {
		c.orderTasks(r, "demote", r, "stop", promotedImpliesFirst)
		c.orderTasks(r, "start", r, "promote", runnableLeft)
	}
	c.orderTasks(r, "delete", r, "monitor", sameNode|thenCancelsFirst)
	c.orderByLoad(r)
}

// orderGroup: the members start in order and stop in reverse, between the group's start and its having started, and so on.
func (c *cluster) orderGroup(g *resource) {
	c.orderTasks(g, "stop", g, "stopped", runnableLeft)
	c.orderTasks(g, "stopped", g, "start", orderPlain)
	c.orderTasks(g, "start", g, "running", runnableLeft)
	var last, lastActive *resource
	for _, m := range g.children {
		c.orderWithin(m)
		c.orderMember(g, last, m)
		if len(m.runningOn) > 0 {
			if ordered(g) && last != nil && len(last.runningOn) == 0 && lastActive != nil {
				// A group of which some members are down stops in order, too.
				c.orderTasks(m, "stop", lastActive, "stop", orderPlain)
			}
			lastActive = m
		}
		last = m
	}
}

// colocated tells whether a group's members go to one node.
func (r *resource) colocated() bool { return boolOr(r.meta["collocated"], true) }

// ordered tells whether a group's members depend on each other in order.
func ordered(g *resource) bool { return boolOr(g.meta["ordered"], true) }

// orderMember orders a member of a group with the group and with the member before it.
func (c *cluster) orderMember(g, last, m *resource) {
	down, afterDown := impliesFirstPrinted, impliesThenPrinted
	if last == nil && ordered(g) {
		down |= orderPlain
		afterDown = impliesThen
	}
	up := runnableLeft | impliesThen | impliesThenPrinted
	if g.isPromotable() {
		c.orderTasks(g, "demote", m, "demote", down)
		c.orderTasks(m, "demote", g, "demoted", afterDown)
		c.orderTasks(m, "promote", g, "promoted", up)
		c.orderTasks(g, "promote", m, "promote", impliesFirstPrinted)
	}
	c.orderTasks(g, "stop", m, "stop", down)
	c.orderTasks(m, "stop", g, "stopped", afterDown)
	c.orderTasks(g, "start", m, "start", impliesFirstPrinted)
	c.orderTasks(m, "start", g, "running", up)
	switch {
	case !ordered(g):
		c.orderTasks(g, "start", m, "start", impliesThen|runnableLeft|impliesFirstPrinted)
		if g.isPromotable() {
			c.orderTasks(g, "promote", m, "promote", impliesThen|runnableLeft|impliesFirstPrinted)
		}
	case last != nil:
		c.orderAfterMember(g, last, m)
	}
}

// orderAfterMember orders a member of a group after the one before it.
func (c *cluster) orderAfterMember(g, last, m *resource) {
	c.orderTasks(last, "start", m, "start", impliesThen|runnableLeft)
	c.orderTasks(m, "stop", last, "stop", orderPlain|restarts)
	if len(last.runningOn) == 0 && len(m.runningOn) > 0 {
		// A member before it is down: it must be restarted around the start of that one. Where those before move as well, that one
		// starts only once all have stopped.
		c.addOrdering(&ordering{firstRsc: last, firstTask: "start", thenRsc: m, thenTask: "stop", flags: orderPlain, yields: true})
	}
	if g.isPromotable() {
		c.orderTasks(last, "promote", m, "promote", impliesThen|runnableLeft)
		c.orderTasks(m, "demote", last, "demote", orderPlain)
	}
}

// orderClone: all of a clone's instances act between its start and its having started, and so on.
func (c *cluster) orderClone(cl *resource) {
	c.orderTasks(cl, "stopped", cl, "start", orderPlain)
	c.orderTasks(cl, "start", cl, "running", runnableLeft)
	c.orderTasks(cl, "stop", cl, "stopped", runnableLeft)
	if cl.promotable {
		c.orderTasks(cl, "demoted", cl, "stop", orderPlain)
		c.orderTasks(cl, "running", cl, "promote", runnableLeft)
	}
	slices.SortStableFunc(cl.children, compareInstanceIDs)
	var last *resource
	for _, k := range cl.children {
		c.orderWithin(k)
		c.orderTasks(cl, "start", k, "start", runnableLeft|impliesFirstPrinted)
		c.orderTasks(k, "start", cl, "running", impliesThenPrinted)
		c.orderTasks(cl, "stop", k, "stop", impliesFirstPrinted)
		c.orderTasks(k, "stop", cl, "stopped", impliesThenPrinted)
		if cl.ordered && last != nil {
			c.orderTasks(last, "start", k, "start", orderPlain)
			c.orderTasks(k, "stop", last, "stop", orderPlain)
		}
		last = k
	}
	if cl.promotable {
		c.orderPromotable(cl)
	}
}

// orderRestart orders what a collection with roles goes through when it goes all the way down and up again.
func (c *cluster) orderRestart(r *resource) {
	for _, p := range [][2]string{{"stopped", "start"}, {"stopped", "promote"}, {"demoted", "start"}, {"running", "promote"},
		{"demoted", "stop"}, {"demote", "demoted"}, {"demoted", "promote"}} {
		c.orderTasks(r, p[0], r, p[1], orderPlain)
	}
}

func (c *cluster) orderPromotable(cl *resource) {
	c.orderRestart(cl)
	var last *resource
	for _, k := range cl.children {
		c.orderTasks(k, "demote", k, "promote", orderPlain)
		c.orderTasks(cl, "promote", k, "promote", orderPlain)
		c.orderTasks(k, "promote", cl, "promoted", orderPlain)
		c.orderTasks(cl, "demote", k, "demote", impliesFirstPrinted)
		c.orderTasks(k, "demote", cl, "demoted", impliesThenPrinted)
		if cl.ordered && last != nil {
			c.orderTasks(last, "promote", k, "promote", orderPlain)
			c.orderTasks(k, "demote", last, "demote", orderPlain)
		}
		last = k
	}
}

// groupColocations place each member of a group with the one before it.
func (c *cluster) groupColocations(r *resource) {
	r.all(func(g *resource) {
		if g.kind != group || !g.colocated() {
			return
		}
		for i := 1; i < len(g.children); i++ {
			m := g.children[i]
			c.addColocation(&colocation{id: "group:internal_colocation", dependent: m, primary: g.children[i-1], score: infinity,
				influence: m.critical})
		}
	})
}
