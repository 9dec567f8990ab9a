package scheduler

import "slices"

// internalOrderings are those every resource has within itself.
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

// orderGroup: the members start in order and stop in reverse.
func (c *cluster) orderGroup(g *resource) {
	c.orderTasks(g, "stop", g, "stopped", orderPlain)
	c.orderTasks(g, "stopped", g, "start", orderPlain)
	c.orderTasks(g, "start", g, "running", runnableLeft)
	var last *resource
	for _, m := range g.children {
		c.orderWithin(m)
		c.orderMember(g, last, m)
		last = m
	}
	if last != nil && ordered(g) {
		c.orderTasks(g, "stop", last, "stop", orderPlain)
		c.orderTasks(last, "start", g, "running", orderPlain)
		if g.isPromotable() {
			c.orderTasks(g, "demote", last, "demote", orderPlain)
			c.orderTasks(last, "promote", g, "promoted", orderPlain)
		}
	}
}

// ordered tells whether a group's members depend on each other in order.
func ordered(g *resource) bool { return boolOr(g.meta["ordered"], true) }

func (c *cluster) orderMember(g, last, m *resource) {
	promotable := g.isPromotable()
	if promotable {
		c.orderTasks(g, "demote", m, "demote", impliesFirstPrinted)
		c.orderTasks(m, "demote", g, "demoted", impliesThenPrinted)
		c.orderTasks(m, "promote", g, "promoted", runnableLeft)
		c.orderTasks(g, "promote", m, "promote", impliesFirstPrinted)
	}
	c.orderTasks(g, "start", m, "start", impliesFirstPrinted)
	c.orderTasks(g, "stop", m, "stop", orderPlain|impliesFirstPrinted)
	c.orderTasks(m, "stop", g, "stopped", orderPlain|impliesThenPrinted)
	c.orderTasks(m, "start", g, "running", impliesThen|runnableLeft|impliesThenPrinted)
	switch {
	case !ordered(g):
		c.orderTasks(g, "start", m, "start", orderPlain|runnableLeft|impliesFirstPrinted)
		if promotable {
			c.orderTasks(g, "promote", m, "promote", orderPlain|runnableLeft|impliesFirstPrinted)
		}
	case last == nil:
		c.orderTasks(g, "start", m, "start", orderPlain)
		c.orderTasks(m, "stop", g, "stopped", orderPlain)
		if promotable {
			c.orderTasks(g, "promote", m, "promote", orderPlain)
			c.orderTasks(m, "demote", g, "demoted", orderPlain)
		}
	default:
		c.orderTasks(last, "start", m, "start", runnableLeft|impliesThen)
		c.orderTasks(m, "stop", last, "stop", orderPlain|impliesFirst|restarts)
		if len(last.runningOn) == 0 && len(m.runningOn) > 0 {
			// A member before it is down: it must be restarted after that one.
			c.orderTasks(last, "start", m, "stop", orderPlain)
		}
		if promotable {
			c.orderTasks(last, "promote", m, "promote", impliesThen|runnableLeft)
			c.orderTasks(m, "demote", last, "demote", orderPlain|impliesFirst)
		}
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

func (c *cluster) orderPromotable(cl *resource) {
	for _, p := range [][2]string{{"stopped", "start"}, {"stopped", "promote"}, {"demoted", "start"}, {"running", "promote"},
		{"demoted", "stop"}, {"demote", "demoted"}, {"demoted", "promote"}} {
		c.orderTasks(cl, p[0], cl, p[1], orderPlain)
	}
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
		if g.kind != group {
			return
		}
		for i := 1; i < len(g.children); i++ {
			m := g.children[i]
			c.addColocation(&colocation{id: "group:internal_colocation", dependent: m, primary: g.children[i-1], score: infinity,
				influence: m.critical})
		}
	})
}
