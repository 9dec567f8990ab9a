package scheduler

import (
	"holdfast/internal/cluster/cib"
)

// Pacemaker Remote: a remote node is a host without cluster membership, reached by a connection that is a resource
// (ocf:pacemaker:remote) on a cluster node. A guest node is the same inside of a virtual machine or container that is a
// resource too: its connection follows that resource, and it is fenced by recovering it.

// defaultRemoteMonitor is how often the connection of a guest node is checked.
const defaultRemoteMonitor = "30s"

// isGuest tells a guest node, isRemote a remote node that is no guest.
func (n *node) isGuest() bool {
	return n.remote && n.connection != nil && n.connection.container != nil
}

func (n *node) isRemote() bool { return n.remote && !n.isGuest() }

// kind is the value of the node attribute #kind.
func (n *node) kind() string {
	switch {
	case n.isGuest():
		return "container"
	case n.remote:
		return "remote"
	}
	return "cluster"
}

// isConnection tells whether a primitive is the connection to a remote node.
func isConnection(class, provider, typ string) bool {
	return class == "ocf" && provider == "pacemaker" && typ == "remote"
}

// readRemoteNodes adds the nodes that connections, and resources with the meta attribute remote-node, stand for.
func (c *cluster) readRemoteNodes() {
	for _, e := range primitivesBelow(c.doc.Root.Child("configuration").Child("resources")) {
		if isConnection(e.Get("class"), e.Get("provider"), e.Get("type")) {
			c.addRemoteNode(e.ID())
		} else if guest := metaValue(e, "remote-node"); guest != "" {
			c.addRemoteNode(guest)
		}
	}
	// Connections that are no longer configured may still be up.
	for _, s := range c.doc.Root.Child("status").ChildrenNamed("node_state") {
		for _, e := range s.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource") {
			if isConnection(e.Get("class"), e.Get("provider"), e.Get("type")) {
				known := c.nodeByName[e.ID()] != nil
				if n := c.addRemoteNode(e.ID()); n != nil && !known {
					n.late = true
				}
			}
		}
	}
}

func (c *cluster) addRemoteNode(name string) *node {
	n := c.nodeByName[name]
	if n == nil {
		n = c.addNode(name, name)
	}
	if n != nil {
		n.remote = true
	}
	return n
}

// metaValue reads a resource's own meta attribute, rules left out.
func metaValue(e *cib.Element, name string) string {
	for _, set := range e.ChildrenNamed("meta_attributes") {
		if v := set.ChildWith("nvpair", "name", name); v != nil {
			return v.Get("value")
		}
	}
	return ""
}

// linkRemotes ties connections to their nodes, and what is inside of a container to it.
func (c *cluster) linkRemotes() {
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			if id := p.meta["container"]; id != "" && id != p.id && c.byID[id] != nil {
				c.putInside(p, c.byID[id])
			}
			if isConnection(p.class, p.provider, p.typ) {
				c.linkConnection(p)
			}
		})
	}
}

// linkConnection makes p the connection of its node.
func (c *cluster) linkConnection(p *resource) {
	p.connects = c.nodeByName[p.id]
	if p.connects == nil {
		return
	}
	p.connects.connection = p
	p.reconnect = span(c.parameters(p, nil)["reconnect_interval"], 0)
	if p.reconnect > 0 {
		// A failure is forgotten when the connection may be tried again, and not before.
		p.failTimeout = p.reconnect
	}
	p.connects.unclean = p.container == nil && c.conf.startupFencing && c.conf.stonith
}

// remoteOnline decides, from what is known of its connection, whether a remote node takes part.
func (c *cluster) remoteOnline(n *node) {
	conn := n.connection
	if conn == nil {
		n.online = false
		return
	}
	box := conn.container
	var host *node
	if box != nil && len(box.runningOn) == 1 {
		host = box.runningOn[0]
	}
	if conn.role == RoleStarted {
		n.online = true
		n.shutdown = n.shutdown || conn.nextRole == RoleStopped
	}
	switch {
	case box != nil && box.failed:
		n.online, n.requiresReset = false, true
	case conn.failed:
		n.online = false
	case conn.role == RoleStopped || box != nil && box.role == RoleStopped:
		n.online, n.requiresReset = false, false
	case host != nil && !host.online && host.unclean:
		n.online, n.requiresReset = false, true
	}
}

// remoteAttributes reads what the status section says of a remote node itself.
func (c *cluster) remoteAttributes(n *node) {
	if !n.requiresReset {
		n.unclean, n.seen = false, true
	}
	if n.connection != nil && !n.connection.managed {
		n.maint = true
	}
}

// historyReady tells whether a node's history can be read yet: that of a remote node only once it is known that its
// connection (and what it is inside of) is up; at the end, what has not been read is, if lost nodes matter.
func (c *cluster) historyReady(n *node, last bool) bool {
	switch {
	case last:
		return n.online || c.conf.stonith || c.conf.shutdownLock
	case n.isGuest():
		return n.connection.role == RoleStarted && n.connection.container.role == RoleStarted
	case n.remote:
		return n.connection != nil && n.connection.role == RoleStarted
	}
	return n.online || c.conf.stonith || c.conf.shutdownLock
}

// settleRemotes decides on the remote nodes that have no history.
func (c *cluster) settleRemotes() {
	for _, n := range c.nodes {
		if !n.remote {
			continue
		}
		if n.shutdown && n.connection != nil {
			n.connection.nextRole = RoleStopped
		}
		if !n.historyRead {
			c.remoteOnline(n)
		}
	}
}

func (c *cluster) avoidRemotes(r *resource) {
	r.all(func(p *resource) {
		for i, n := range c.nodes {
			if p.weights[i].present && (n.connection != nil || p.nested && n.remote) {
				p.weights[i].score = -infinity
			}
		}
	})
}

// connectionAssigned draws the conclusion of where a connection goes: the node will be there, or will not.
func (c *cluster) connectionAssigned(p *resource) {
	n := p.connects
	if n == nil {
		return
	}
	if p.assigned != nil && p.nextRole != RoleStopped {
		n.online = true
		if !n.seen {
			// Nobody knows it to be lost before the connection has been tried.
			n.unclean = false
		}
		return
	}
	// What is inside of a bundle's container waits in vain for the connection; that is told better than that there is no place.
	n.shutdown = !p.nested || n.shutdown
}

// connectionPolicy is what the failure of a remote node's connection means when nothing else is configured.
func (c *cluster) connectionPolicy(r *resource) (onFail, Role) {
	switch {
	case !r.managed:
		return failStop, RoleStopped
	case r.reconnect > 0:
		return failReset, RoleStopped
	}
	return failReset, RoleStarted
}

// awaitsFencing tells whether a failed check of a connection counts, however old it is, because the node has not been
// fenced yet: the check may still be failing, and says so only once.
func (c *cluster) awaitsFencing(r *resource, op *record) bool {
	return r.reconnect > 0 && c.conf.stonith && op.task == "monitor" && op.interval > 0 && r.connects != nil && !r.connects.wasFenced
}

// activeOnLost deals with a resource active on a node that is not there.
func (c *cluster) activeOnLost(r *resource, n *node) {
	why := r.id + " is thought to be active there"
	switch {
	case n.isGuest():
		r.failed, r.failedStop = true, true
	case !c.conf.stonith:
		return
	case n.remote && n.connection != nil && !n.connection.failed:
		// Should the connection come up elsewhere, there is no need for fencing.
		n.seen = false
		why = r.id + " is active there (fencing will be revoked if remote connection can be re-established elsewhere)"
	}
	c.mustFence(n, why)
}

// resetConnection deals with the failed connection to a remote node.
func (c *cluster) resetConnection(r *resource, n *node) {
	r.failed, r.failedStop = true, true
	if t := r.connects; c.conf.stonith && t != nil && t.isRemote() && !t.wasFenced {
		c.mustFence(t, "remote connection is unrecoverable")
	}
	if r.role > RoleStopped {
		c.stop(r, n, false)
	}
	if r.reconnect > 0 {
		r.nextRole = RoleStopped
	}
}
