package scheduler

// When a resource is placed, the preferences of those that must be with it count too: a resource takes over their
// scores, scaled by how strongly they are tied to it.

// notYet marks a score that would become negative by an optional preference; it is put right at the end.
const notYet = -100 * infinity

// merge says how preferences are taken over: positive, they may not push a node below zero; rollback, they are forgotten
// when they leave no node at all.
type merge struct{ positive, rollback bool }

// addPreferences adds to work what r, and all that depends on r, prefer.
func (c *cluster) addPreferences(r *resource, work weights, attribute string, factor float64, how merge) weights {
	if r.merging {
		return work
	}
	r.merging = true
	defer func() { r.merging = false }()
	if r.kind == group {
		return c.groupPreferences(r, work, attribute, factor, how)
	}
	next := work.clone()
	c.addMatching(r, next, attribute, factor, how.positive)
	if !c.anyUsable(next) {
		if how.rollback {
			return work
		}
	} else {
		for _, x := range r.withThis {
			if x.influences(r) {
				next = c.addPreferences(x.dependent, next, x.attribute, onward(factor, x), merge{how.positive, true})
			}
		}
	}
	if how.positive {
		for i := range next {
			if next[i].score == notYet {
				next[i].score = 1
			}
		}
	}
	return next
}

// groupPreferences are those of a group: its first member's, which lead to those of the members after it, and once more of
// what depends on the last one. What depends on the group as a whole does that only once the group is being placed, and has
// no say before (as with Pacemaker 2.1).
func (c *cluster) groupPreferences(g *resource, work weights, attribute string, factor float64, how merge) weights {
	work = c.addPreferences(g.firstMember(), work, attribute, factor, how)
	for _, x := range g.lastMember().withThis {
		if x.influences(g) {
			work = c.addPreferences(x.dependent, work, x.attribute, onward(factor, x), how)
		}
	}
	return work
}

// addMatching adds r's own scores to the nodes.
func (c *cluster) addMatching(r *resource, work weights, attribute string, factor float64, positive bool) {
	for i, n := range c.nodes {
		if !work[i].present {
			continue
		}
		score := c.bestMatching(r, n, attribute)
		if factor < 0 && score < 0 || work[i].score == notYet {
			continue
		}
		add := scaled(factor, score)
		total := addScores(add, work[i].score)
		if positive && total < 0 && work[i].score > 0 {
			work[i].score = notYet
			continue
		}
		if positive && total < 0 && work[i].score == 0 {
			continue
		}
		work[i].score = total
	}
}

// onward is how strongly the preferences of a dependent's dependent count: as strongly as it is tied to the dependent, no matter
// how strongly that one is tied further; only whether it would rather be apart carries on.
func onward(factor float64, x *colocation) float64 {
	next := float64(x.score) / infinity
	if factor < 0 {
		return -next
	}
	return next
}

// scaled multiplies and rounds; what is not zero does not become it.
func scaled(factor float64, score int) int {
	f := factor * float64(score)
	add := int(f + 0.5)
	if f < 0 {
		add = int(f - 0.5)
	}
	if add == 0 && score != 0 {
		if factor > 0 {
			return 1
		}
		if factor < 0 {
			return -1
		}
	}
	return add
}

// bestMatching is r's best score on usable nodes that share n's value of the attribute.
func (c *cluster) bestMatching(r *resource, n *node, attribute string) int {
	best := -infinity
	if attribute == "#uname" {
		if s, ok := r.weights.get(n); ok && n.usable() {
			return max(best, s)
		}
		return best
	}
	for i, x := range c.nodes {
		if r.weights[i].present && r.weights[i].score > best && x.usable() && sameAttr(x, n, attribute) {
			best = r.weights[i].score
		}
	}
	return best
}
