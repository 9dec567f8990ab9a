package scheduler

// isHosted tells whether a resource that a bundle implies is placed on the cluster's nodes, as constraints on the bundle say: the
// containers and their addresses are. The connections follow their containers, the instances are inside of them.
func (r *resource) isHosted() bool {
	return r.replica != nil && (r == r.replica.container || r == r.replica.address)
}

// containers of a bundle, by number.
func (r *resource) containers() []*resource {
	out := make([]*resource, len(r.parts.replicas))
	for i, p := range r.parts.replicas {
		out[i] = p.container
	}
	return out
}

// instanceOn is the instance in the container that is the guest node n, or nil.
func (r *resource) instanceOn(n *node) *resource {
	for _, p := range r.parts.replicas {
		if p.guest == n {
			return p.instance
		}
	}
	return nil
}

// assignBundle places the containers as if they were instances of a clone, then with each of them what belongs to it, and at
// last decides on the clone of what runs inside.
func (c *cluster) assignBundle(b *resource) *node {
	c.showBundleScores(b)
	if !b.provisional || b.assigning {
		return nil
	}
	b.assigning = true
	boxes := b.containers()
	c.sortInstances(b, boxes)
	c.distribute(b, boxes)
	for _, p := range b.parts.replicas {
		c.assignReplica(p)
	}
	if b.parts.clone != nil {
		c.assignInside(b)
	}
	b.provisional, b.assigning = false, false
	return nil
}

// showBundleScores records the scores of a bundle and of all it implies.
func (c *cluster) showBundleScores(b *resource) {
	c.showScores("bundle", b)
}

func (c *cluster) assignReplica(p *replica) {
	if p.address != nil {
		c.assign(p.address, nil)
	}
	if p.connection == nil {
		return
	}
	if host := p.container.assigned; host != nil && host.isRemote() {
		// The container can only be reached through the connection to its host.
		c.colocatePlace(p.connection, host.connection, &colocation{dependent: p.connection, primary: host.connection,
			attribute: "#uname", score: infinity})
	}
	c.assign(p.connection, nil)
	cl := p.instance.parent
	cl.assigning = true
	p.instance.weights.set(p.guest, infinity)
	c.assign(p.instance, p.guest)
	cl.assigning = false
}

// assignInside decides on the clone in the containers; the instances have their nodes already.
func (c *cluster) assignInside(b *resource) {
	cl := b.parts.clone
	for i, n := range c.nodes {
		switch {
		case b.instanceOn(n) != nil:
			cl.weights.set(n, 0)
		case cl.weights[i].present:
			cl.weights[i].score = -infinity
		}
	}
	c.assign(cl, nil)
}

// colocateWithBundle applies a colocation with the containers of a bundle: for a container of another bundle with the one on its
// node, else with all of them.
func (c *cluster) colocateWithBundle(dependent, b *resource, x *colocation) {
	if b.provisional {
		return
	}
	if dependent.isHosted() {
		if p := c.matchingReplica(dependent, b); p != nil {
			c.colocate(dependent, p.container, x)
		} else if x.score >= infinity {
			c.settle(dependent, nil, true)
		}
		return
	}
	var places []*node
	for _, p := range b.parts.replicas {
		switch {
		case x.score < infinity:
			c.colocate(dependent, p.container, x)
		case p.container.assigned != nil && !p.container.blocked && p.plays(x.primaryRole):
			places = append(places, p.container.assigned)
		}
	}
	if x.score >= infinity {
		c.onlyOn(dependent, places)
	}
}

// plays tells whether a replica's instance will have a role; any active one will do for RoleUnknown.
func (p *replica) plays(role Role) bool {
	if role == RoleUnknown || p.instance == nil {
		return true
	}
	return p.instance.nextRole == role
}

// matchingReplica is the replica of a bundle whose container is on the node of r, or on the best of those r may be on.
func (c *cluster) matchingReplica(r, b *resource) *replica {
	nodes := []*node{r.assigned}
	if r.assigned == nil {
		nodes = c.sortedNodes(r.weights, nil)
	}
	for _, n := range nodes {
		for _, p := range b.parts.replicas {
			if p.container.assigned == n && !p.container.blocked {
				return p
			}
		}
	}
	return nil
}
