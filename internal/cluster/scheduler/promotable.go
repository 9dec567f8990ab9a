package scheduler

import (
	"cmp"
	"slices"
)

// addPromotionScores makes instances prefer the nodes on which they would rather be promoted.
func (c *cluster) addPromotionScores(cl *resource) {
	if cl.scoresAdded {
		return
	}
	cl.scoresAdded = true
	for _, k := range cl.children {
		for i, n := range c.nodes {
			if !k.weights[i].present || !n.usable() {
				continue
			}
			score, _ := c.promotionScore(k, n)
			if score > 0 {
				k.weights[i].score = addScores(k.weights[i].score, score)
				k.priority = max(k.priority, score, 0)
			}
		}
	}
}

// promotionScore is how much an instance wants to be promoted on a node, as its agent said with a transient attribute;
// given is false when it said nothing.
func (c *cluster) promotionScore(r *resource, n *node) (score int, given bool) {
	if r.kind != primitive {
		total := 0
		for _, k := range r.children {
			s, g := c.promotionScore(k, n)
			given = given || g
			if s == -infinity {
				return s, true
			}
			total = addScores(total, s)
		}
		return total, given
	}
	if !c.scoreApplies(r, n) {
		return 0, false
	}
	attrs := agentAttributes(r, n)
	for _, name := range promotionNames(r) {
		if v, ok := attrs["master-"+name]; ok {
			return scoreOr(v, 0), true
		}
	}
	return 0, false
}

func promotionNames(r *resource) []string {
	var names []string
	if r.historyName != "" {
		names = append(names, r.historyName)
	} else {
		names = append(names, r.id)
	}
	if !r.unique {
		names = append(names, r.xml.ID())
	}
	return names
}

// scoreApplies tells whether the score stored for a node counts for an instance: it may run there, and is active there, or no
// instance is although the node was looked at. As long as nothing is known of an instance anywhere, all scores count for it.
func (c *cluster) scoreApplies(r *resource, n *node) bool {
	if s, present := r.weights.get(n); !present || s < 0 {
		return false
	}
	if cl := r.cloneOf(); cl != nil && !cl.unique {
		active := activeInstance(cl, r.xml.ID(), n)
		if active == r || active == nil && lookedAt(cl, r.xml.ID(), n) {
			return true
		}
	}
	if len(r.runningOn) == 0 && !slices.Contains(r.knownOn, true) {
		return true
	}
	return r.knownOn[n.index] || containsNode(r.runningOn, n)
}

// lookedAt tells whether the history of a node speaks of the member with that id of any instance.
func lookedAt(cl *resource, id string, n *node) bool {
	return slices.ContainsFunc(cl.children, func(k *resource) bool {
		m := memberNamed(k, id)
		return m != nil && m.knownOn[n.index]
	})
}

// activeInstance is the member with that id, of the instance active on a node.
func activeInstance(cl *resource, id string, n *node) *resource {
	for _, k := range cl.children {
		if m := memberNamed(k, id); m != nil && containsNode(m.runningOn, n) {
			return m
		}
	}
	return nil
}

// chooseRoles promotes the best instances, up to promoted-max, and makes the others unpromoted.
func (c *cluster) chooseRoles(cl *resource) {
	for i := range cl.counts {
		cl.counts[i] = 0
	}
	cl.leaves(func(p *resource) {
		if p.role == RoleStarted {
			p.role = RoleUnpromoted
		}
	})
	for _, k := range cl.children {
		c.rateInstance(cl, k)
	}
	c.sortPromotable(cl)
	promoted := 0
	for _, k := range cl.children {
		n := k.location(false)
		c.scores = append(c.scores, Score{Step: "promotion", Resource: k.id, Node: defaultTo(nodeName(n), "none"), Value: k.sortIndex})
		if k.sortIndex < 0 || promoted >= cl.promotedMax && cl.managed || !c.canPromote(cl, k, n) || c.frozen(k) {
			setUnpromoted(k)
			continue
		}
		cl.counts[n.index]++
		promoted++
		setPromoted(k)
	}
}

// frozen tells whether an instance may not be promoted because a part of the cluster without quorum is to stay as it is.
func (c *cluster) frozen(k *resource) bool {
	return k.state(true) < RolePromoted && !c.quorum && c.conf.policy == quorumFreeze
}

// rateInstance sets an instance's wish to be promoted where it has been assigned.
func (c *cluster) rateInstance(cl, k *resource) {
	n := k.location(false)
	if n == nil {
		k.sortIndex = 0
		return
	}
	next := k.state(false)
	switch next {
	case RoleStarted, RoleUnknown:
		score, given := c.promotionScore(k, n)
		k.priority = score
		if !given {
			// Neither constraint nor agent wants it promoted.
			k.priority = -1
		}
	case RoleUnpromoted, RoleStopped:
		// Its target role, or a failure, keeps it from being promoted.
		k.priority = -infinity
	}
	if c.forbidden(k, n) != "" {
		k.priority = -infinity
	}
	c.applyRoleLocations(k, k.locations, n)
	c.applyRoleLocations(k, cl.locations, n)
	for _, x := range k.thisWith {
		c.colocate(k, x.primary, x)
	}
	k.sortIndex = k.priority
	if next == RolePromoted {
		k.sortIndex = infinity
	}
}

// forbidden says why the volume log forbids to promote an instance on a node, "" if it does not.
func (c *cluster) forbidden(k *resource, n *node) string {
	why := ""
	k.leaves(func(p *resource) {
		if w := c.forbid[forbidKey{p.xml.ID(), n.name}]; w != "" {
			why = w
		}
	})
	return why
}

func (c *cluster) applyRoleLocations(k *resource, list []*location, n *node) {
	for _, l := range list {
		if l.role != RolePromoted {
			continue
		}
		for _, x := range l.likes {
			if x.node == n {
				k.priority = addScores(k.priority, x.score)
			}
		}
	}
}

// sortPromotable orders the instances by their wish to be promoted, and by what is colocated with the promoted role.
func (c *cluster) sortPromotable(cl *resource) {
	weigh := func(store bool) {
		for _, k := range cl.children {
			n := k.location(false)
			if !k.managed && k.state(false) == RolePromoted {
				k.sortIndex = infinity
				continue
			}
			if n == nil || k.sortIndex < 0 {
				continue
			}
			if store {
				cl.weights.add(n, k.sortIndex)
			} else {
				k.sortIndex = cl.weights[n.index].score
			}
		}
	}
	cl.merging = true
	defer func() { cl.merging = false }()
	weigh(true)
	for _, x := range cl.thisWith {
		if x.dependentRole == RolePromoted {
			cl.weights = c.addPreferences(x.primary, cl.weights, x.attribute, float64(x.score)/infinity, merge{rollback: x.score < infinity})
		}
	}
	for _, x := range cl.withThis {
		if x.primaryRole == RolePromoted && x.influences(cl) {
			cl.weights = c.addPreferences(x.dependent, cl.weights, x.attribute, float64(x.score)/infinity, merge{true, true})
		}
	}
	if c.promotionTicketMissing(cl) {
		c.ban(cl, nil, "__stateful_without_ticket__")
	}
	weigh(false)
	slices.SortStableFunc(cl.children, func(a, b *resource) int {
		if d := cmp.Compare(b.sortIndex, a.sortIndex); d != 0 {
			return d
		}
		if d := cmp.Compare(b.state(true), a.state(true)); d != 0 {
			return d
		}
		return c.compareInstances(cl, a, b)
	})
}

// canPromote tells whether an instance may be promoted on its node.
func (c *cluster) canPromote(cl, k *resource, n *node) bool {
	for _, m := range k.children {
		if !c.canPromote(cl, m, m.location(false)) {
			return false
		}
	}
	switch {
	case n == nil:
		return false
	case !k.managed:
		return k.state(true) == RolePromoted
	case k.priority < 0 || !n.usable(), n.isGuest() && n.connection.container.assigned == nil:
		return false
	case c.forbidden(k, n) != "":
		return false
	}
	return cl.counts[n.index] < cl.promotedNode
}

func setPromoted(k *resource) {
	k.all(func(p *resource) {
		if p.nextRole == RoleUnknown {
			p.nextRole = RolePromoted
		}
	})
}

func setUnpromoted(k *resource) {
	k.all(func(p *resource) {
		p.nextRole = RoleUnpromoted
		if len(p.where(false)) == 0 {
			p.nextRole = RoleStopped
		}
	})
}

// colocateWithRole applies a colocation with the instances of a clone that have one role.
func (c *cluster) colocateWithRole(dependent, cl *resource, x *colocation) {
	places := map[*node]int{}
	for _, k := range cl.children {
		n := k.location(false)
		if n == nil || k.state(false) != x.primaryRole {
			continue
		}
		places[n] = assignedScore(k)
		if x.score >= infinity {
			continue
		}
		for i, y := range c.nodes {
			if dependent.weights[i].present && sameAttr(y, n, x.attribute) {
				dependent.weights[i].score = addScores(dependent.weights[i].score, x.score)
			}
		}
	}
	if x.score >= infinity && (x.dependentRole != RolePromoted || x.primaryRole != RolePromoted) {
		c.onlyAt(dependent, places)
	}
}

// assignedScore is the score with which an instance got its node.
func assignedScore(k *resource) int {
	for k.kind != primitive {
		k = k.children[0]
	}
	return k.assignedScore
}

// onlyAt rules out all nodes but those, which gain their scores.
func (c *cluster) onlyAt(r *resource, places map[*node]int) {
	for i, n := range c.nodes {
		gain, ok := places[n]
		switch {
		case !r.weights[i].present && ok:
			// It is not to be placed on a node that nothing lists for it, but the node is shown.
			r.weights.set(n, -infinity)
			continue
		case !r.weights[i].present:
			continue
		case !ok:
			gain = -infinity
		}
		r.weights[i].score = addScores(r.weights[i].score, gain)
	}
}

// promoteWithRole applies such a colocation to an already placed instance: to its wish to be promoted.
func (c *cluster) promoteWithRole(dependent, cl *resource, x *colocation) {
	k := c.matchingInstance(dependent, cl, x.primaryRole, false)
	if k != nil {
		if k.state(false) == x.primaryRole {
			dependent.priority = addScores(dependent.priority, x.score)
		}
		return
	}
	if x.score >= infinity {
		dependent.priority = -infinity
	}
}
