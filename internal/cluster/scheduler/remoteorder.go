package scheduler

import "slices"

// What happens on a remote node is ordered with regard to its connection, and carried out by the node that has it.

// takesDown lists the nodes that are down once an action is done.
func (a *action) takesDown() []string {
	if a.rsc != nil && a.rsc.connects != nil && a.is("stop") && !a.pseudo && !a.rsc.migrates() {
		return []string{a.rsc.connects.id}
	}
	if a.task == "stonith" {
		return a.fencedNodes()
	}
	return a.downed
}

// migrates tells whether the resource is going to be moved without being stopped.
func (r *resource) migrates() bool {
	a := r.firstAction("migrate_to", nil)
	return a != nil && !a.optional
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
		case a.task == "cancel" || a.cancelled():
		default:
			c.orderRemoteAction(a)
		}
	}
}

// cancelled tells whether an action is a recurring operation that is going to be cancelled where it runs.
func (a *action) cancelled() bool {
	return a.interval > 0 && a.rsc.findActionOn(actionID{"cancel_" + a.task, a.interval}, a.node) != nil
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
