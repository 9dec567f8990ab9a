package scheduler

import (
	"cmp"
	"slices"
	"strings"
)

// assignAll gives every resource its node, in the order of priority.
func (c *cluster) assignAll() {
	c.sortForPlacing()
	for _, remote := range []bool{true, false} {
		// Whether remote nodes can be used depends on where their connections go.
		for _, r := range c.resources {
			if (r.connects != nil) == remote {
				c.assign(r, nil)
			}
		}
	}
}

// assign decides where a resource goes (prefer, if it is as good as any) and returns the node, or nil.
func (c *cluster) assign(r *resource, prefer *node) *node {
	switch r.kind {
	case group:
		return c.assignGroup(r, prefer)
	case clone:
		return c.assignClone(r, prefer)
	case bundle:
		return c.assignBundle(r)
	}
	return c.assignPrimitive(r, prefer)
}

func (c *cluster) assignPrimitive(r *resource, prefer *node) *node {
	if r.parent != nil && !r.parent.assigning {
		c.assign(r.parent, prefer)
	}
	if !r.provisional || r.assigning {
		return r.assigned
	}
	r.assigning = true
	defer func() { r.assigning = false }()
	c.applyColocations(r)
	switch {
	case r.nextRole == RoleStopped:
		c.ban(r, nil, "target-role")
	case r.nextRole > r.role && !c.quorum && c.conf.policy == quorumFreeze:
		r.nextRole = r.role
	}
	c.showScores("assign", r)
	if c.conf.stonith && !c.conf.haveDevice {
		r.managed = false
	}
	switch {
	case !r.managed:
		r.nextRole = r.role
		if n := r.curNode(); c.settle(r, n, true) {
			// It was not chosen by score.
			r.assignedScore = n.base
			if !n.online || n.shutdown {
				r.assignedScore = -infinity
			}
		}
	case c.conf.stopAll:
		c.settle(r, nil, true)
	default:
		c.assignBest(r, prefer)
	}
	c.connectionAssigned(r)
	return r.assigned
}

// applyColocations applies those r is part of: first where it must or should be, then what those that follow it prefer.
func (c *cluster) applyColocations(r *resource) {
	for _, x := range r.thisWith {
		c.followPrimary(r, x)
	}
	for _, x := range r.withThis {
		if x.influences(r) {
			r.weights = c.addPreferences(x.dependent, r.weights, x.attribute, float64(x.score)/infinity, merge{rollback: true})
		}
	}
}

// followPrimary places the primary first, then applies the colocation. An optional one that leaves no node is undone.
func (c *cluster) followPrimary(r *resource, x *colocation) {
	var backup weights
	if x.dependentRole >= RolePromoted || x.score < 0 && x.score > -infinity {
		backup = r.weights.clone()
	}
	c.assign(x.primary, nil)
	c.colocate(r, x.primary, x)
	if backup != nil && !c.anyUsable(r.weights) {
		r.weights = backup
	}
}

// sortedNodes are the candidates, best first; active, when not nil, is the node preferred among equals.
func (c *cluster) sortedNodes(w weights, active *node) []*node {
	var list []*node
	for i, n := range c.nodes {
		if w[i].present {
			list = append(list, n)
		}
	}
	rank := func(n *node) int {
		if !n.usable() {
			return -infinity
		}
		return w[n.index].score
	}
	slices.SortStableFunc(list, func(a, b *node) int {
		if d := cmp.Compare(rank(b), rank(a)); d != 0 {
			return d
		}
		if c.conf.strategy == "balanced" {
			if d := compareRoom(a, b); d != 0 {
				return d
			}
		}
		if d := cmp.Compare(a.assigned, b.assigned); d != 0 && c.conf.strategy != "minimal" {
			return d
		}
		if c.conf.strategy != "minimal" && active != nil && a != b {
			if a == active {
				return -1
			}
			if b == active {
				return 1
			}
		}
		return strings.Compare(a.name, b.name)
	})
	return list
}

// assignBest chooses the best node.
func (c *cluster) assignBest(r *resource, prefer *node) {
	if most := c.limitToRoom(r); prefer == nil {
		prefer = most
	}
	list := c.sortedNodes(r.weights, r.curNode())
	if len(list) == 0 {
		c.settle(r, nil, false)
		return
	}
	best := list[0]
	chosen := c.preferred(r, prefer, best)
	if chosen == nil {
		chosen = best
		if r.parent == nil || r.cloneOf() == nil || !r.cloneOf().unique {
			chosen = c.stayIfEqual(r, list)
		}
	}
	c.settle(r, chosen, false)
}

func (c *cluster) preferred(r *resource, prefer, best *node) *node {
	if prefer == nil {
		return nil
	}
	score, ok := r.weights.get(prefer)
	bestScore, _ := r.weights.get(best)
	if !ok || score < 0 || !prefer.usable() || best.usable() && score < bestScore {
		return nil
	}
	return prefer
}

// stayIfEqual keeps a resource where it is when that is as good as the best.
func (c *cluster) stayIfEqual(r *resource, list []*node) *node {
	best := list[0]
	score, _ := r.weights.get(best)
	cur := r.curNode()
	if score <= 0 || !best.usable() || cur == nil || !cur.usable() {
		return best
	}
	if s, ok := r.weights.get(cur); ok && s == score {
		return cur
	}
	return best
}

// settle gives r its node; nil, or one that cannot be used (unless forced), means that it is stopped.
func (c *cluster) settle(r *resource, n *node, force bool) bool {
	if n != nil && !force {
		if s, _ := r.weights.get(n); s < 0 || !n.usable() {
			r.nextRole = RoleStopped
			n = nil
		}
	}
	c.vacate(r)
	r.provisional = false
	if n == nil {
		r.nextRole = RoleStopped
		c.dropActions(r)
		return false
	}
	r.assigned = n
	r.assignedScore, _ = r.weights.get(n)
	n.assigned++
	occupy(n, r, 1)
	c.noteTaken(r, n)
	return true
}

// vacate takes a resource off its node, if it has one.
func (c *cluster) vacate(r *resource) {
	if r.assigned != nil {
		r.assigned.assigned--
		occupy(r.assigned, r, -1)
		r.assigned = nil
	}
}

// dropActions makes what was planned for a resource fit its being stopped.
func (c *cluster) dropActions(r *resource) {
	for _, a := range r.actions {
		switch {
		case a.task == "stop":
			a.optional = false
		case a.task == "start":
			a.runnable = false
		case a.interval > 0 && a.targetRC != rcNotRunning:
			a.runnable = false
		}
	}
}

// unassign takes a decision about a primitive back. A group stays where it is (as with Pacemaker 2.1), if not where it was
// to be.
func (c *cluster) unassign(r *resource) {
	if r.kind != primitive {
		return
	}
	c.vacate(r)
	r.provisional = true
}

// showScores records scores for people.
func (c *cluster) showScores(step string, r *resource) {
	if r.orphan {
		return
	}
	for i, n := range c.nodes {
		if r.weights[i].present {
			c.scores = append(c.scores, Score{Step: step, Resource: r.id, Node: n.name, Value: r.weights[i].score})
		}
	}
	for _, k := range r.children {
		c.showScores(step, k)
	}
}

// assignGroup places a group's members one after the other; each follows the one before.
func (c *cluster) assignGroup(g *resource, prefer *node) *node {
	if g.parent != nil && !g.parent.assigning {
		c.assign(g.parent, prefer)
	}
	if !g.provisional || g.assigning {
		return g.firstMember().assigned
	}
	g.assigning = true
	g.role = g.firstMember().role
	first, last := g.firstMember(), g.lastMember()
	for _, x := range g.thisWith {
		first.thisWith = insertColocation(first.thisWith, x, func(y *colocation) *resource { return y.primary })
	}
	for _, x := range g.withThis {
		last.withThis = insertColocation(last.withThis, x, func(y *colocation) *resource { return y.dependent })
	}
	c.showScores("group", g)
	var node *node
	for _, m := range g.children {
		if n := c.assign(m, prefer); node == nil {
			node = n
		}
	}
	g.nextRole = first.nextRole
	g.assigning, g.provisional = false, false
	return node
}
