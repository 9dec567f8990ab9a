package scheduler

import (
	"slices"

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

// recoverGuest fences a guest node: what it is inside of counts as failed.
func (c *cluster) recoverGuest(n *node) {
	box := n.connection.container
	if box.failed || !box.managed {
		return
	}
	n.requiresReset = true
	box.failed, box.failedStop = true, true
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
				c.addRemoteNode(e.ID())
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

// takesDown lists the nodes that are down once an action is done.
func (a *action) takesDown() []string {
	if a.rsc != nil && a.rsc.connects != nil && a.is("stop") && !a.pseudo && !a.rsc.migrates() {
		return []string{a.rsc.connects.id}
	}
	return a.downed
}

// migrates tells whether the resource is going to be moved without being stopped.
func (r *resource) migrates() bool {
	a := r.firstAction("migrate_to", nil)
	return a != nil && !a.optional
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

func (c *cluster) putInside(r, container *resource) {
	r.container = container
	container.fillers = append(container.fillers, r)
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

// guestOf is the connection of the guest node that is inside of a resource, or nil.
func guestOf(container *resource) *resource {
	for _, f := range container.fillers {
		if f.connects != nil {
			return f
		}
	}
	return nil
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
	if n.isRemote() {
		n.unclean = false
	}
	n.seen = true
	if n.connection != nil && !n.connection.managed {
		n.maint = true
	}
}

// historyReady tells whether a node's history can be read yet: that of a remote node only once it is known that its
// connection (and what it is inside of) is up; at the end, what has not been read is, if lost nodes matter.
func (c *cluster) historyReady(n *node, last bool) bool {
	switch {
	case last:
		return n.online || c.conf.stonith
	case n.isGuest():
		return n.connection.role == RoleStarted && n.connection.container.role == RoleStarted
	case n.remote:
		return n.connection != nil && n.connection.role == RoleStarted
	}
	return n.online || c.conf.stonith
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

// insideContainers keeps connections and fencing devices off remote nodes, and ties what is inside of a container to it.
func (c *cluster) insideContainers() {
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			if p.container != nil {
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
		c.orderTasks(p.container, "monitor", p, "stop", orderPlain)
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
	c.orderTasks(p.container, "start", p, "start", impliesThen|runnableLeft)
	c.orderTasks(p, "stop", p.container, "stop", impliesFirst)
	c.addColocation(&colocation{id: "resource-with-container", dependent: p, primary: p.container, score: score, influence: true})
}

// bundleConnectionScore is how much the connection into a bundle's container likes to be on its host: it works from
// elsewhere, too.
const bundleConnectionScore = 10000

func (c *cluster) avoidRemotes(r *resource) {
	r.all(func(p *resource) {
		for i, n := range c.nodes {
			if p.weights[i].present && n.connection != nil {
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
	n.shutdown = true
}

// linkState says how far a remote node can be reached during the transition.
type linkState int

const (
	linkAlive   linkState = iota // the connection is up
	linkUnknown                  // down, and going to be tried
	linkResting                  // its host is lost, or it moves: it will be up elsewhere
	linkStopped                  // cleanly down, for good
	linkFailed                   // lost for good: what runs there can only be fenced
)

func (n *node) link() linkState {
	conn := n.connection
	host := conn.curNode()
	switch {
	case conn.nextRole == RoleStopped || conn.assigned == nil:
		return n.lostLink(host)
	case host == nil:
		return linkUnknown
	case host.unclean || !host.online:
		return linkResting
	case conn.movingPartly():
		return linkResting
	}
	return linkAlive
}

// lostLink is the state of a connection that will not be up.
func (n *node) lostLink(host *node) linkState {
	conn := n.connection
	switch {
	case host != nil && host.unclean:
		return linkFailed
	case !conn.failed:
		return linkStopped
	case conn.nextRole == RoleStopped && conn.reconnect > 0 && n.wasFenced && !n.shutdownRequested():
		// Only the next attempt, after the reconnect interval, will tell.
		return linkUnknown
	}
	return linkFailed
}

// shutdownRequested tells whether the node asked to leave.
func (n *node) shutdownRequested() bool {
	v := n.attrs["shutdown"]
	return v != "" && v != "0"
}

// movingPartly tells whether a live migration of the resource is under way.
func (r *resource) movingPartly() bool { return false }

// failedRemote tells whether a remote node cannot be reached any more, and so must be fenced.
func (n *node) failedRemote() bool {
	return n.isRemote() && n.connection != nil && n.link() == linkFailed
}

// orderRemotes orders what happens on remote nodes with regard to their connections.
func (c *cluster) orderRemotes() {
	for i := 0; i < len(c.actions); i++ {
		a := c.actions[i]
		switch {
		case a.rsc == nil:
		case a.rsc.connects != nil && a.task == "clear_failcount":
			c.orderings = append(c.orderings, &ordering{firstRsc: a.rsc, firstAction: a, thenRsc: a.rsc, thenTask: "start", flags: orderPlain})
		case a.node == nil || !a.node.remote || a.node.connection == nil || a.pseudo:
		default:
			c.orderRemoteAction(a)
		}
	}
}

func (c *cluster) orderRemoteAction(a *action) {
	if a.is("start") {
		// Should the connection fail to come up, the resource had better still be where it was.
		for _, x := range a.rsc.actionsOf("stop") {
			if x.node != a.node {
				c.orderings = append(c.orderings, &ordering{firstRsc: a.node.connection, firstTask: "start", thenRsc: a.rsc, thenAction: x, flags: orderPlain})
			}
		}
	}
	if a.node.isGuest() {
		c.orderGuestAction(a)
		return
	}
	c.orderLinkAction(a)
}

// afterStart lets a wait for r's start; beforeStop lets r's stop wait for a.
func (c *cluster) afterStart(r *resource, a *action, more order) {
	c.orderings = append(c.orderings, &ordering{firstRsc: r, firstTask: "start", thenRsc: a.rsc, thenAction: a, flags: orderPreserve | runnableLeft | more})
}

func (c *cluster) beforeStop(a *action, r *resource, more order) {
	c.orderings = append(c.orderings, &ordering{firstRsc: a.rsc, firstAction: a, thenRsc: r, thenTask: "stop", flags: orderPreserve | more})
}

// orderLinkAction orders an action on a remote node that is no guest.
func (c *cluster) orderLinkAction(a *action) {
	conn, state := a.node.connection, a.node.link()
	switch a.task {
	case "start", "promote":
		more := order(0)
		if state == linkFailed {
			more = impliesThen
		}
		c.afterStart(conn, a, more)
	case "stop":
		switch {
		case state == linkAlive:
			c.beforeStop(a, conn, impliesFirst)
		case state == linkFailed:
			// Only fencing can stop it now, and makes the stop true.
			c.mustFence(a.node, "resources are active but connection is unrecoverable")
		case conn.nextRole == RoleStopped:
			c.beforeStop(a, conn, impliesFirst)
		default:
			c.afterStart(conn, a, 0)
		}
	case "demote":
		if state == linkResting || state == linkUnknown {
			c.afterStart(conn, a, 0)
		}
	default:
		c.orderLinkCheck(a, state)
	}
}

// orderLinkCheck orders monitors, notifications and the like on a remote node.
func (c *cluster) orderLinkCheck(a *action, state linkState) {
	conn := a.node.connection
	if a.interval > 0 {
		c.afterStart(conn, a, impliesThen)
		return
	}
	if a.task == "monitor" && state == linkFailed {
		c.mustFence(a.node, "resources are in unknown state and connection is unrecoverable")
	}
	if conn.curNode() != nil && state == linkStopped {
		c.beforeStop(a, conn, runnableLeft)
		return
	}
	c.afterStart(conn, a, 0)
}

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

// router is the cluster node that carries out an action on a remote node: the one with the connection at that time.
func (a *action) router() *node {
	if a.node == nil || !a.node.remote || a.node.connection == nil {
		return nil
	}
	began, ended := a.node.connection.curNode(), a.node.connection.assigned
	switch {
	case began == nil:
		return ended
	case ended == nil || began == ended:
		return began
	}
	task := a.task
	if task == "notify" {
		task = a.meta["notify_operation"]
		if task == "" {
			task = a.notes["notify_operation"]
		}
	}
	if slices.Contains([]string{"cancel", "stop", "demote", "migrate_from", "migrate_to"}, task) && !a.node.connection.movingPartly() {
		return began
	}
	return ended
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

// skipsRemoteProbe tells whether there is no point in probing a resource on a remote node; an ordering may stand in.
func (c *cluster) skipsRemoteProbe(r *resource, n *node) bool {
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
	if t := r.top(); t.kind == clone {
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

// bundled tells whether a resource is part of a bundle.
func (r *resource) bundled() bool { return false }
