package scheduler

import "holdfast/internal/cluster/cib"

// Guest nodes, and other things that run inside of a resource (its container): they follow it, and are recovered with it.

// recoverGuest fences a guest node: what it is inside of counts as failed.
func (c *cluster) recoverGuest(n *node) {
	box := n.connection.container
	if box.failed || !box.managed {
		return
	}
	n.requiresReset = true
	box.failed, box.failedStop = true, true
}

// addGuestConnections makes the connections that resources with remote-node imply.
func (c *cluster) addGuestConnections() {
	for _, e := range primitivesBelow(c.doc.Root.Child("configuration").Child("resources")) {
		name := metaValue(e, "remote-node")
		if name == "" || c.byID[name] != nil {
			continue
		}
		if x := c.newResource(connectionXML(name, e), nil, ""); x != nil {
			c.resources = append(c.resources, x)
		}
	}
}

// connectionXML is the connection to a guest node, as it would stand in the CIB.
func connectionXML(name string, guest *cib.Element) *cib.Element {
	x := cib.NewElement("primitive", "id", name, "class", "ocf", "provider", "pacemaker", "type", "remote")
	meta := x.Append(cib.NewElement("meta_attributes", "id", name+"-meta_attributes"))
	pair := func(set *cib.Element, k, v string) {
		if v != "" {
			set.Append(cib.NewElement("nvpair", "id", set.ID()+"-"+k, "name", k, "value", v))
		}
	}
	pair(meta, "internal-rsc", "true")
	pair(meta, "container", guest.ID())
	pair(meta, "allow-migrate", metaValue(guest, "remote-allow-migrate"))
	pair(meta, "is-managed", metaValue(guest, "is-managed"))
	params := x.Append(cib.NewElement("instance_attributes", "id", name+"-instance_attributes"))
	pair(params, "addr", metaValue(guest, "remote-addr"))
	pair(params, "port", metaValue(guest, "remote-port"))
	ops := x.Append(cib.NewElement("operations"))
	ops.Append(cib.NewElement("op", "id", name+"-monitor-30s", "name", "monitor", "interval", defaultRemoteMonitor, "timeout", "30s"))
	ops.Append(cib.NewElement("op", "id", name+"-start-0", "name", "start", "interval", "0",
		"timeout", defaultTo(metaValue(guest, "remote-connect-timeout"), "60s")))
	return x
}

// followsGuest tells whether a resource is the implied connection to a guest node, which has its place with its machine: no
// constraint can allow it nodes, and none has to in an opt-in cluster.
func (r *resource) followsGuest() bool {
	return isConnection(r.class, r.provider, r.typ) && r.meta["container"] != "" && boolOr(r.meta["internal-rsc"], false)
}

// host is the cluster node on which the machine that a guest node is inside of is at the time of an action; nil for others.
func (a *action) host() *node {
	if a.node == nil || !a.node.isGuest() {
		return nil
	}
	box, task := a.node.connection.container, a.task
	if task == "notify" || task == "notified" {
		task = a.notes["notify_operation"]
	}
	switch task {
	case "stop", "stopped", "demote", "demoted":
		return box.curNode()
	case "start", "running", "monitor", "promote", "promoted":
		return box.assigned
	}
	return nil
}

func (c *cluster) putInside(r, container *resource) {
	r.container = container
	container.fillers = append(container.fillers, r)
}

// guestOf is the connection of the guest node that is inside of a resource, or nil.
func guestOf(container *resource) *resource {
	for _, f := range container.fillers {
		if f.connects != nil {
			return f
		}
	}
	return nil
}

// insideContainers keeps connections and fencing devices off remote nodes, and ties what is inside of a container to it.
func (c *cluster) insideContainers() {
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			if p.container != nil && (p.managed || !p.nested) {
				c.insideContainer(p)
			}
			if p.connects != nil || p.class == "stonith" {
				c.avoidRemotes(p)
			}
		})
	}
}

func (c *cluster) insideContainer(p *resource) {
	conn := guestOf(p.container)
	if p.connects != nil {
		conn = nil
		if !p.nested {
			// A guest inside of a guest is too much; containers of a bundle may be there.
			c.avoidRemotes(p.container)
		}
	} else if p.container.connects != nil {
		conn = p.container
	}
	if conn != nil {
		// It belongs on the guest node itself.
		for i, n := range c.nodes {
			if p.weights[i].present && n.connection != conn {
				p.weights[i].score = -infinity
			}
		}
		return
	}
	score := infinity
	if p.nested {
		score = bundleConnectionScore
	}
	if !p.nested {
		c.orderInsideContainer(p)
	}
	c.addColocation(&colocation{id: "resource-with-container", dependent: p, primary: p.container, score: score, influence: true})
}

// orderInsideContainer starts what is inside of a container after it, and stops it before.
func (c *cluster) orderInsideContainer(p *resource) {
	if p.connects != nil {
		c.orderTasks(p.container, "monitor", p, "stop", orderPlain)
	}
	c.orderTasks(p.container, "start", p, "start", impliesThen|runnableLeft)
	c.orderTasks(p, "stop", p.container, "stop", impliesFirst)
}

// bundleConnectionScore is how much the connection into a bundle's container likes to be on its host: it works from
// elsewhere, too.
const bundleConnectionScore = 10000

// orderGuestAction orders an action on a guest node.
func (c *cluster) orderGuestAction(a *action) {
	conn := a.node.connection
	box := conn.container
	if box.failed {
		c.mustFence(a.node, "container failed")
	}
	switch a.task {
	case "start", "promote":
		c.afterStart(box, a, impliesThen)
		c.afterStart(conn, a, 0)
	case "stop", "demote":
		if !box.failed {
			c.beforeStop(a, conn, 0)
		}
	default:
		if a.interval > 0 {
			c.afterStart(conn, a, impliesThen)
			return
		}
		c.afterStart(conn, a, 0)
	}
}

// fenceGuest makes the point at which a guest node is known to be down: when its container has been stopped.
func (c *cluster) fenceGuest(n *node) {
	box := n.connection.container
	kind := "off"
	if box.firstAction("start", nil) != nil {
		kind = "reboot"
	}
	f := c.fenceAction(n, kind)
	f.reason = defaultTo(f.reason, "guest is unclean")
	f.optional, f.pseudo, f.runnable = false, true, true
	stop := box.firstAction("stop", nil)
	switch {
	case stop != nil && stop.pseudo:
		parent := c.fenceAction(stop.node, c.conf.stonithAction)
		parent.optional = false
		orderActions(parent, f, runnableLeft|impliesThen)
	case stop != nil:
		orderActions(stop, f, runnableLeft|impliesThen)
	default:
		// Thought to be down already; a probe that finds it up comes before the connection is stopped.
		orderActions(n.connection.firstAction("stop", nil), f, orderPlain)
	}
	c.orderFencing(f)
}

// followsStopOf tells whether an action is a stop that comes of itself once a container has been stopped, since the guest node
// inside is fenced that way: the container cannot wait for it.
func (a *action) followsStopOf(box *resource) bool {
	return a.pseudo && a.is("stop") && a.node != nil && a.node.isGuest() && a.node.requiresReset && a.node.connection.container == box
}

// skipsRemoteProbe tells whether there is no point in probing a resource on a remote node; an ordering may stand in.
func (c *cluster) skipsRemoteProbe(r *resource, n *node) bool {
	if r.container != nil && r.connects == nil {
		// It is down with what it is inside of.
		return true
	}
	if !n.remote {
		return false
	}
	if r.class == "stonith" || r.connects != nil || n.isGuest() && guestOf(r) != nil {
		return true
	}
	if !n.isGuest() {
		return false
	}
	box, top := n.connection.container, r
	if t := r.collection(); t.kind == clone {
		top = t
	}
	switch {
	case box.role == RoleStopped:
		// What is inside of it is down, too.
		if box.assigned != nil && !box.knownOn[box.assigned.index] {
			c.orderTasks(box, "monitor", top, "start", orderPlain)
		}
		return true
	case n.requiresReset, n.unclean, box.failed, box.nextRole == RoleStopped,
		box.assigned != nil && !containsNode(box.runningOn, box.assigned):
		// It is going to be stopped, and what is inside with it.
		c.orderTasks(box, "stop", top, "start", orderPlain)
		return true
	}
	return false
}

// stopContainers stops the containers whose connections failed.
func (c *cluster) stopContainers() {
	for _, box := range c.stopNeeded {
		if n := box.curNode(); n != nil {
			c.stop(box, n, false)
		}
	}
}

// restartContainer deals with a failure that is mended by restarting what the resource is inside of.
func (c *cluster) restartContainer(r *resource, n *node) {
	r.failed, r.failedStop = true, true
	switch {
	case r.container != nil && r.bundled():
		// The connection may be elsewhere than the container, whose place is not known yet.
		c.stopNeeded = append(c.stopNeeded, r.container)
	case r.container != nil:
		c.stop(r.container, n, false)
	case r.role > RoleStopped:
		c.stop(r, n, false)
	}
}
