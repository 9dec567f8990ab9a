package scheduler

import "slices"

// planProbes asks where each resource's state is unknown.
func (c *cluster) planProbes() {
	for _, r := range c.resources {
		if r.kind == clone {
			slices.SortStableFunc(r.children, compareInstanceIDs)
		}
	}
	for _, n := range c.nodes {
		if !n.online && n.failedRemote() {
			c.mustFence(n, "the connection is unrecoverable")
		}
		if !n.online || n.unclean || n.noProbe {
			continue
		}
		for _, r := range c.resources {
			c.probe(r, n)
		}
	}
}

func (c *cluster) probe(r *resource, n *node) {
	if r.kind == clone {
		c.probeClone(r, n)
		return
	}
	if r.kind == bundle {
		c.probeBundle(r, n)
		return
	}
	if r.kind != primitive {
		for _, k := range r.children {
			c.probe(k, n)
		}
		return
	}
	top := r.top()
	switch {
	case !c.conf.startupProbes, r.orphan, knownOn(r, n):
		return
	case r.weights[n.index].discover == discoverNever:
		return
	case n.inside && !r.weights[n.index].present, r.replica != nil && r == r.replica.instance && n != r.replica.guest:
		return
	case r.exclusive || top.exclusive && !r.bundled():
		if r.weights[n.index].discover != discoverExclusive {
			return
		}
	}
	if c.skipsRemoteProbe(r, n) {
		return
	}
	p := c.action(r, "monitor", 0, n, false)
	p.optional = false
	switch {
	case !containsNode(r.runningOn, n):
		p.targetRC = rcNotRunning
	case r.role == RolePromoted:
		p.targetRC = rcPromoted
	}
	c.afterUnfencing(r, p, orderPlain)
	if top = r.collection(); top.kind != clone {
		top = r
	}
	flags := orderPlain
	if !p.runnable && len(top.where(true)) == 0 {
		flags |= runnableLeft
	}
	c.addOrdering(&ordering{firstAction: p, thenRsc: top, thenTask: "start", flags: flags},
		&ordering{firstAction: p, thenRsc: top, thenTask: "reload-agent", flags: orderPlain})
}

// isKnownOn tells whether a resource's state on a node is known, or, for an instance of an anonymous clone, that of any.
func (r *resource) isKnownOn(n *node) bool {
	return r.knownOn[n.index] || r.parent != nil && r.parent.kind == clone && !r.parent.unique && r.parent.knownOn[n.index]
}

// knownOn tells whether a resource's state on a node is known; for an anonymous clone that of any instance is.
func knownOn(r *resource, n *node) bool {
	if r.knownOn[n.index] {
		return true
	}
	if !r.isAnonymous() {
		return false
	}
	for _, k := range r.cloneOf().children {
		if m := memberNamed(k, r.xml.ID()); m != nil && m.knownOn[n.index] {
			return true
		}
	}
	return false
}

// probeClone probes one instance of an anonymous clone: the one partly known on the node already (another member of a
// cloned group), else the one active there, assigned to it, or the first by number.
func (c *cluster) probeClone(cl *resource, n *node) {
	if cl.unique {
		for _, k := range cl.children {
			c.probe(k, n)
		}
		return
	}
	if len(cl.children) == 0 {
		return
	}
	if cl.exclusive && cl.weights[n.index].discover != discoverExclusive {
		return
	}
	for _, k := range cl.children {
		if k.isKnownAnywhere(n) {
			c.probe(k, n)
			return
		}
	}
	for _, current := range []bool{true, false} {
		for _, k := range cl.children {
			if k.location(current) == n {
				c.probe(k, n)
				return
			}
		}
	}
	c.probe(cl.children[0], n)
}

// orderProbes makes what follows a probe wait for it.
func (c *cluster) orderProbes() {
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			for _, a := range p.actionsOf("monitor") {
				for i := 0; i < len(a.after); i++ {
					c.probeBeforeInstances(a, a.after[i].then)
					c.probeBeforeRestarts(a, a.after[i].then)
				}
			}
		})
	}
	c.probeBeforeStops()
}

// probeBeforeInstances keeps instances from starting before a probe that cannot be made.
func (c *cluster) probeBeforeInstances(p, after *action) {
	if after.rsc == nil || after.rsc.kind <= group || p.runnable {
		return
	}
	for i := 0; i < len(after.after); i++ {
		x := after.after[i].then
		if x.rsc == nil || len(x.rsc.where(true)) > 0 || x.rsc.top() != after.rsc || !x.is("start") {
			continue
		}
		orderActions(p, x, runnableLeft)
	}
}

// probeBeforeRestarts makes the restart of what depends on a probed resource wait for the probe.
func (c *cluster) probeBeforeRestarts(p, after *action) {
	if after.reachedFrom == p {
		return
	}
	after.reachedFrom = p
	r := after.rsc
	if r != nil && r.kind == primitive && r != p.rsc {
		probeBeforeDown(p, after)
	}
	for i := 0; i < len(after.after); i++ {
		l := after.after[i]
		if l.flags&impliesThen == 0 && !c.intoCollection(p, after, l.then) {
			continue
		}
		c.probeBeforeRestarts(p, l.then)
	}
}

// probeBeforeDown: what may have to be restarted because of p's resource is not stopped before p tells.
func probeBeforeDown(p, after *action) {
	var thens []*action
	switch {
	case after.is("start"):
		thens = after.rsc.actionsOf("stop")
	case after.is("promote"):
		thens = after.rsc.actionsOf("demote")
	}
	for _, t := range thens {
		if !t.pseudo {
			orderActions(p, t, orderPlain)
		}
	}
}

// intoCollection tells whether x is the action of a member that belongs to a collection's action.
func (c *cluster) intoCollection(p, after, x *action) bool {
	r := after.rsc
	if r == nil || r.kind < group || p.rsc.parent == r || x.rsc == nil || x.rsc.kind > group || x.rsc.parent != r {
		return false
	}
	return r.kind == group || !r.interleave || c.matchingInstance(p.rsc, r, RoleUnknown, false) == x.rsc
}

// probeBeforeStops makes what waits for a stop wait for the probe, too, that may show that a stop is needed.
func (c *cluster) probeBeforeStops() {
	for _, o := range c.orderings {
		if o.flags == 0 || o.firstRsc == nil || o.firstRsc == o.thenRsc || o.thenAction != nil && o.thenAction.rsc == o.firstRsc ||
			stopsAround(o) {
			continue
		}
		if o.firstAction != nil && !o.firstAction.is("stop") || o.firstAction == nil && o.firstTask != "stop" {
			continue
		}
		probes := o.firstRsc.actionsOf("monitor")
		if len(probes) == 0 {
			continue
		}
		thens := []*action{o.thenAction}
		if o.thenAction == nil {
			if o.thenRsc == nil {
				continue
			}
			thens = o.thenRsc.actionsOf(o.thenTask)
		}
		for _, p := range probes {
			for _, t := range thens {
				orderActions(p, t, probeFlags(o.flags))
			}
		}
	}
}

// stopsAround tells whether an ordering stops a container after the connection into it: where the connection is not up
// does not matter to that. A live migration of a virtual machine is no stop.
func stopsAround(o *ordering) bool {
	return o.firstRsc.connects != nil && o.thenRsc == o.firstRsc.container && o.thenTask == "stop"
}

// probeFlags is the order of a probe in place of a stop.
func probeFlags(f order) order {
	if f == antiColocation {
		return f
	}
	return orderPlain | f&(sameNode|onlyIfUnmigratable)
}
