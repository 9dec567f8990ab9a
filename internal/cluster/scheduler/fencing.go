package scheduler

// planFencing fences the nodes that must be, unless the whole cluster is in maintenance mode, and lets nodes that asked for it
// leave once they run nothing.
func (c *cluster) planFencing() {
	var fences, shutdowns []*action
	var dcDown *action
	for _, n := range c.nodes {
		switch {
		case n.isGuest():
			if n.requiresReset && c.canFence(n) && !c.conf.maintenance {
				c.fenceGuest(n)
			}
		case n.unclean && c.canFence(n) && !c.conf.maintenance:
			f := c.fence(n)
			c.orderFencing(f)
			if c.isDC(n) {
				dcDown = f
				continue
			}
			if !c.conf.concurrentFencing && len(fences) > 0 {
				orderActions(fences[len(fences)-1], f, orderPlain)
			}
			fences = append(fences, f)
		case n.online && n.shutdown && !n.remote:
			d := c.shutdown(n)
			if c.isDC(n) {
				dcDown = d
				continue
			}
			shutdowns = append(shutdowns, d)
		}
	}
	if dcDown == nil {
		return
	}
	// The node that leads goes last.
	if dcDown.task == "do_shutdown" {
		for _, s := range shutdowns {
			orderActions(s, dcDown, orderPlain)
		}
	}
	for i, f := range fences {
		if c.conf.concurrentFencing || i == len(fences)-1 {
			orderActions(f, dcDown, orderPlain)
		}
	}
}

func (c *cluster) isDC(n *node) bool {
	if c.in.DC != "" {
		return n.name == c.in.DC
	}
	return n.id == c.doc.Root.Get("dc-uuid")
}

func (c *cluster) nodeAction(n *node, task, slot string) *action {
	a := &action{id: len(c.actions) + 1, node: n, task: task, slot: slot, runnable: true, crm: true, meta: map[string]string{}, downed: []string{n.id}}
	c.actions = append(c.actions, a)
	return a
}

// fence plans to make sure of a node.
func (c *cluster) fence(n *node) *action {
	a := c.fenceAction(n, c.conf.stonithAction)
	a.reason = n.reason
	a.optional, a.demanded = false, true
	if d := c.priorityDelay(n); d > 0 {
		a.meta["priority-fencing-delay"] = itoa(int(d.Seconds()))
	}
	return a
}

// fenceAction finds or makes the fencing of a node; kind is off, reboot or on.
func (c *cluster) fenceAction(n *node, kind string) *action {
	key := "stonith-" + n.name + "-" + kind
	for _, a := range c.fences {
		if a.slot == key {
			return a
		}
	}
	a := c.nodeAction(n, "stonith", key)
	a.meta["stonith_action"] = kind
	if kind == "on" {
		a.downed, a.optional = nil, true
	}
	c.fences = append(c.fences, a)
	return a
}

// fenceIfNeeded is a node's fencing, which is carried out only if something else asks for it.
func (c *cluster) fenceIfNeeded(n *node) *action {
	a := c.fenceAction(n, c.conf.stonithAction)
	a.optional = !a.demanded
	return a
}

// shutdown plans to let a node leave, after everything has been stopped there.
func (c *cluster) shutdown(n *node) *action {
	d := c.nodeAction(n, "do_shutdown", "do_shutdown-"+n.name)
	d.meta["op_no_wait"] = "true"
	for _, a := range c.actions {
		if a.rsc == nil || !a.is("stop") || a.node != n || a.rsc.kind != primitive {
			continue
		}
		// What nobody manages may go down with the node; what a failure has blocked keeps it from leaving.
		if a.rsc.maintenance || n.maint || !a.rsc.managed && !a.rsc.blocked {
			continue
		}
		a.optional = false
		orderActions(a, d, orderPlain|runnableLeft)
	}
	return d
}

// orderFencing makes starts wait for the fencing, and turns what should have been stopped on the node into a consequence
// of it.
func (c *cluster) orderFencing(f *action) {
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			if p.managed {
				c.startsAfterFencing(p, f)
				c.stopsByFencing(p, f)
			}
		})
	}
}

func (c *cluster) startsAfterFencing(r *resource, f *action) {
	for _, a := range r.actions {
		switch a.needs {
		case needFencing:
			orderActions(f, a, orderPlain)
		case needQuorum:
			if _, allowed := r.weights.get(f.node); a.is("start") && allowed && !r.isKnownOn(f.node) {
				orderActions(f, a, orderPlain|runnableLeft)
			}
		}
	}
}

func (c *cluster) stopsByFencing(r *resource, f *action) {
	implicit := r.requires == needFencing || f.node.isGuest()
	for _, a := range r.actionsOf("stop") {
		if a.node != f.node {
			continue
		}
		a.pseudo, a.runnable = true, true
		if implicit {
			top := r.collection()
			if r.replica == nil || top.kind == bundle {
				orderActions(f, a, orderPreserve)
			}
			if top != r && top.kind != bundle {
				orderActions(f, top.firstAction("stop", nil), orderPreserve)
			}
		}
		if r.notify {
			c.notifyOfFencing(r, a, f)
		}
	}
	for _, a := range r.actionsOf("demote") {
		if a.node != f.node || a.node.online && !a.node.unclean && !r.failed {
			continue
		}
		a.pseudo, a.runnable = true, true
		if implicit {
			orderActions(f, a, orderPreserve|orderPlain)
		}
	}
}
