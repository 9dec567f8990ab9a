package scheduler

import "time"

// Unfencing: some fencing devices (those that cut a node off its storage) must let a node in before anything that needs
// the storage may be probed or started there.

// needsUnfencing tells whether a resource may only be touched on a node that has been unfenced. That fencing devices are
// among them is because their agents can often not even be probed before.
func (c *cluster) needsUnfencing(r *resource) bool {
	if !c.conf.unfencing || !c.conf.stonith {
		return false
	}
	if r.class == "stonith" {
		return true
	}
	want := r.meta["requires"]
	return want == "unfencing" || want == "" && !isConnection(r.class, r.provider, r.typ)
}

// afterUnfencing lets an action wait for the unfencing of its node, which is required if it has never been done.
func (c *cluster) afterUnfencing(r *resource, a *action, flags order) {
	if a.node == nil || !c.needsUnfencing(r) {
		return
	}
	on := c.fenceAction(a.node, "on")
	orderActions(on, a, flags)
	if v := a.node.attrs["#node-unfenced"]; (v == "" || v == "0") && c.canFence(a.node) {
		on.optional = false
		on.setReason("required by " + r.id + " " + a.task)
	}
}

// fencedNodes lists the nodes that are down once a node has been fenced: itself, and the guests it hosts.
func (a *action) fencedNodes() []string {
	if a.meta["stonith_action"] == "on" {
		return nil
	}
	out := []string{a.node.id}
	for _, r := range a.node.running {
		if r.connects != nil && r.container != nil {
			out = append(out, r.connects.id)
		}
	}
	return out
}

// priorityDelay is how long the fencing of a node waits, so that of two halves of a cluster the one with what matters
// most survives. Only the node that hosts it is given the time, and only if this partition is no clear majority.
func (c *cluster) priorityDelay(n *node) time.Duration {
	if c.conf.priorityDelay <= 0 || n.remote || !c.quorum {
		return 0
	}
	members, online := 0, 0
	top, low := 0, 0
	for _, x := range c.nodes {
		if x.remote {
			continue
		}
		p := x.priority()
		if members == 0 {
			top, low = p, p
		}
		top, low = max(top, p), min(low, p)
		members++
		if x.online {
			online++
		}
	}
	if 2*online > members || low == top || n.priority() < top {
		return 0
	}
	return c.conf.priorityDelay
}

// priority is the sum of the priorities of what is active on a node; a promoted instance counts one more.
func (n *node) priority() int {
	sum := 0
	for _, r := range n.running {
		p := r.priority
		if p != 0 && r.role == RolePromoted {
			p++
		}
		sum = addScores(sum, p)
	}
	return sum
}
