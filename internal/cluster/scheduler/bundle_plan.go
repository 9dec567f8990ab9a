package scheduler

// planBundle plans what each replica needs and makes the points in the order for all of the bundle.
func (c *cluster) planBundle(b *resource) {
	for _, p := range b.parts.replicas {
		for _, r := range []*resource{p.address, p.container, p.connection} {
			if r != nil {
				c.planResource(r)
			}
		}
	}
	tasks := []string{"start", "running", "stop", "stopped"}
	if cl := b.parts.clone; cl != nil {
		c.planResource(cl)
		if cl.promotable {
			tasks = append(tasks, "promote", "promoted", "demote", "demoted")
		}
	}
	for _, task := range tasks {
		a := c.pseudoAction(b, task, true, true)
		if doneTask[task] {
			a.priority = infinity
		}
	}
}

// doneTask are the points in the order at which a task of a collection is done.
var doneTask = map[string]bool{"running": true, "stopped": true, "promoted": true, "demoted": true}

// orderBundle: the containers and the clone inside act between the bundle's start and its having started, and so on.
func (c *cluster) orderBundle(b *resource) {
	for _, p := range b.parts.replicas {
		c.orderReplica(b, p)
	}
	cl := b.parts.clone
	if cl == nil {
		return
	}
	c.orderWithin(cl)
	c.orderTasks(b, "start", cl, "start", impliesFirstPrinted)
	c.orderTasks(cl, "running", b, "running", impliesThenPrinted)
	c.orderTasks(b, "stop", cl, "stop", impliesFirstPrinted)
	c.orderTasks(cl, "stopped", b, "stopped", impliesThenPrinted)
	if !cl.promotable {
		return
	}
	c.orderRestart(b)
	c.orderTasks(b, "promote", cl, "promote", impliesFirstPrinted)
	c.orderTasks(cl, "promoted", b, "promoted", impliesThenPrinted)
	c.orderTasks(b, "demote", cl, "demote", impliesFirstPrinted)
	c.orderTasks(cl, "demoted", b, "demoted", impliesThenPrinted)
}

func (c *cluster) orderReplica(b *resource, p *replica) {
	box := p.container
	c.orderWithin(box)
	c.orderTasks(b, "start", box, "start", runnableLeft|impliesFirstPrinted)
	c.orderTasks(box, "start", b, "running", impliesThenPrinted)
	c.orderTasks(b, "stop", box, "stop", impliesFirstPrinted)
	c.orderTasks(box, "stop", b, "stopped", impliesThenPrinted)
	if p.instance != nil {
		c.orderTasks(b, "stop", p.instance, "stop", impliesFirstPrinted)
	}
	if p.address != nil {
		c.orderWithin(p.address)
		c.orderTasks(p.address, "start", box, "start", runnableLeft|orderPreserve)
		c.orderTasks(box, "stop", p.address, "stop", impliesFirst|orderPreserve)
	}
	if p.connection != nil {
		c.orderWithin(p.connection)
		if p.connection.managed {
			c.orderInsideContainer(p.connection)
		}
	}
}

// bundleColocations place the addresses with their containers.
func (c *cluster) bundleColocations(b *resource) {
	for _, p := range b.parts.replicas {
		if p.address != nil {
			c.addColocation(&colocation{id: "ip-with-container", dependent: p.address, primary: p.container, score: infinity, influence: true})
		}
	}
}

// probeBundle probes what a bundle implies.
func (c *cluster) probeBundle(b *resource, n *node) {
	for _, p := range b.parts.replicas {
		for _, r := range p.parts() {
			c.probe(r, n)
		}
	}
	for _, p := range b.parts.replicas {
		c.orderReplicaProbes(b, p, n)
	}
}

func (c *cluster) orderReplicaProbes(b *resource, p *replica, n *node) {
	if a := p.container.findActionOn(actionID{slot: "monitor"}, n); a != nil && b.nodeMax == 1 {
		// Where only one container may be, none starts before it is known that none of the others is there.
		for _, q := range b.parts.replicas {
			if q != p {
				c.addOrdering(&ordering{firstAction: a, thenRsc: q.container, thenTask: "start", flags: orderPlain | sameNode})
			}
		}
	}
	if p.connection == nil {
		return
	}
	if a := p.connection.findActionOn(actionID{slot: "monitor"}, n); a != nil {
		// There is nothing to connect to before the container runs.
		c.addOrdering(&ordering{firstRsc: p.container, firstTask: "start", thenAction: a, flags: orderPlain | runnableLeft})
	}
}
