package scheduler

import (
	"cmp"
	"slices"
	"strings"
)

// assignClone gives each instance of a clone its node, and decides which are promoted.
func (c *cluster) assignClone(cl *resource, prefer *node) *node {
	if !cl.provisional || cl.assigning {
		return nil
	}
	if cl.promotable {
		c.addPromotionScores(cl)
	}
	cl.assigning = true
	for _, x := range cl.thisWith {
		c.assign(x.primary, prefer)
	}
	for _, x := range cl.withThis {
		if x.influences(cl) {
			cl.weights = c.addPreferences(x.dependent, cl.weights, x.attribute, float64(x.score)/infinity, merge{true, true})
		}
	}
	c.showScores("clone", cl)
	c.sortInstances(cl, cl.children)
	c.distribute(cl, cl.children)
	if cl.promotable {
		c.chooseRoles(cl)
	}
	cl.provisional, cl.assigning = false, false
	return nil
}

// distribute places up to clone-max instances: first those that can stay, then the others.
func (c *cluster) distribute(cl *resource, instances []*resource) {
	available := 0
	for i, n := range c.nodes {
		cl.counts[i] = 0
		if cl.weights[i].present && n.usable() {
			available++
		}
	}
	few := cl.max < available
	optimal := 1
	if available > 0 {
		optimal = max(1, cl.max/available)
	}
	placed := 0
	for _, k := range instances {
		if placed >= cl.max {
			break
		}
		if n := c.keepsPlace(cl, k, optimal); n != nil && c.placeInstance(cl, k, n, few) {
			placed++
		}
	}
	for _, k := range instances {
		switch {
		case !k.provisional:
		case placed >= cl.max:
			c.ban(k, nil, "clone limit reached")
		case c.placeInstance(cl, k, nil, few):
			placed++
		}
	}
}

// keepsPlace is the node a healthy active instance may stay on, or nil.
func (c *cluster) keepsPlace(cl, k *resource, optimal int) *node {
	on := k.where(true)
	if len(on) == 0 || !k.provisional || k.failed {
		return nil
	}
	n := firstUp(on)
	if _, ok := cl.weights.get(n); !ok || !n.usable() || cl.counts[n.index] >= optimal {
		return nil
	}
	return n
}

func firstUp(list []*node) *node {
	for _, n := range list {
		if n.online && !n.unclean {
			return n
		}
	}
	return list[0]
}

func anyFailed(r *resource) bool {
	found := false
	r.all(func(x *resource) { found = found || x.failed })
	return found
}

// placeInstance assigns one instance. With a preferred node it is assigned there or not at all.
func (c *cluster) placeInstance(cl, k *resource, prefer *node, few bool) bool {
	if k.assigning {
		return false
	}
	c.inheritColocations(cl, k, few)
	if prefer != nil {
		if s, ok := k.weights.get(prefer); !ok || s < 0 {
			return false
		}
	}
	c.limitInstance(cl, k)
	backup := k.weights.clone()
	n := c.assign(k, prefer)
	if n != nil && prefer != nil && n != prefer {
		k.weights = backup
		c.unassign(k)
		return false
	}
	if n != nil {
		cl.counts[n.index]++
	}
	return n != nil
}

// inheritColocations gives an instance its clone's colocations. Wishes (as opposed to demands) matter only when not every
// node gets an instance.
func (c *cluster) inheritColocations(cl, k *resource, few bool) {
	for _, x := range cl.thisWith {
		if few || x.score < 0 || x.score >= infinity {
			k.thisWith = slices.Insert(k.thisWith, 0, x)
		}
	}
	for _, x := range cl.withThis {
		if x.influences(k) && (few || x.score < 0) {
			k.withThis = slices.Insert(k.withThis, 0, x)
		}
	}
}

// limitInstance rules out the nodes that have their share of instances, and those the clone is rather not on.
func (c *cluster) limitInstance(cl, k *resource) {
	k.all(func(x *resource) {
		for i, n := range c.nodes {
			if !x.weights[i].present {
				continue
			}
			score, ok := cl.weights.get(n)
			if x.orphan || !ok || score < 0 || !n.usable() || cl.counts[i] >= cl.nodeMax {
				x.weights[i].score = -infinity
			}
		}
	})
}

// sortInstances puts the instances in the order in which they are placed: active ones first, on nodes that can keep them,
// where there are fewest; failed ones and inactive ones later.
func (c *cluster) sortInstances(cl *resource, instances []*resource) {
	for i := range cl.counts {
		cl.counts[i] = 0
	}
	slices.SortStableFunc(instances, func(a, b *resource) int { return c.compareInstances(cl, a, b) })
}

func (c *cluster) compareInstances(cl, a, b *resource) int {
	onA, onB := a.where(true), b.where(true)
	if len(onA) > 0 && len(onB) > 0 {
		if d := cmp.Compare(len(onA), len(onB)); d != 0 {
			return d
		}
	}
	nodeA, okA := instanceNode(a, onA)
	nodeB, okB := instanceNode(b, onB)
	if okA != okB {
		return prefers(okA)
	}
	if d := cmp.Compare(b.priority, a.priority); d != 0 {
		return d
	}
	if nodeA == nil && nodeB == nil {
		return compareInstanceIDs(a, b)
	}
	if (nodeA == nil) != (nodeB == nil) {
		return prefers(nodeA != nil)
	}
	if x, y := nodeA.usable(), nodeB.usable(); x != y {
		return prefers(x)
	}
	_, hasA := cl.weights.get(nodeA)
	_, hasB := cl.weights.get(nodeB)
	if hasA != hasB {
		return prefers(hasA)
	}
	if hasA {
		if d := cmp.Compare(cl.counts[nodeA.index], cl.counts[nodeB.index]); d != 0 {
			return d
		}
	}
	if x, y := anyFailed(a), anyFailed(b); x != y {
		return prefers(!x)
	}
	if hasA && nodeA != nodeB {
		if d := c.compareColocatedNodes(cl, a, b, nodeA, nodeB); d != 0 {
			return d
		}
	}
	return compareInstanceIDs(a, b)
}

func prefers(first bool) int {
	if first {
		return -1
	}
	return 1
}

// instanceNode is the node an instance is active on; ok is false when it may not stay there.
func instanceNode(k *resource, on []*node) (n *node, ok bool) {
	if len(on) == 0 {
		return nil, true
	}
	n = on[0]
	if s, present := k.weights.get(n); !present || s < 0 {
		return nil, false
	}
	return n, true
}

func compareInstanceIDs(a, b *resource) int {
	if a.replica != nil && b.replica != nil {
		return cmp.Compare(a.replica.number, b.replica.number)
	}
	_, na, _ := cutInstance(a.id)
	_, nb, _ := cutInstance(b.id)
	if na != nb {
		return cmp.Compare(na, nb)
	}
	return strings.Compare(a.id, b.id)
}

// compareColocatedNodes compares the nodes of two instances by what the resources colocated with the clone think of them.
// A node they object to is dealt with first.
func (c *cluster) compareColocatedNodes(cl, a, b *resource, nodeA, nodeB *node) int {
	x, y := c.colocatedScore(cl, a, nodeA), c.colocatedScore(cl, b, nodeB)
	return cmp.Compare(y, x)
}

func (c *cluster) colocatedScore(cl, k *resource, n *node) int {
	if s, known := cl.colocatedScores[n.index]; known {
		return s
	}
	w := make(weights, len(c.nodes))
	w[n.index].present = true
	for _, x := range cl.thisWith {
		w = c.addPreferences(x.primary, w, x.attribute, float64(x.score)/infinity, merge{})
	}
	for _, x := range cl.withThis {
		if x.influences(k) {
			w = c.addPreferences(x.dependent, w, x.attribute, float64(x.score)/infinity, merge{positive: true})
		}
	}
	if cl.colocatedScores == nil {
		cl.colocatedScores = map[int]int{}
	}
	cl.colocatedScores[n.index] = w[n.index].score
	return w[n.index].score
}

// colocateWithClone applies a colocation whose primary is a clone.
func (c *cluster) colocateWithClone(dependent, cl *resource, x *colocation) {
	if cl.provisional {
		return
	}
	if x.primaryRole != RoleUnknown && cl.promotable {
		switch {
		case dependent.provisional:
			c.colocateWithRole(dependent, cl, x)
			return
		case x.dependentRole == RolePromoted:
			c.promoteWithRole(dependent, cl, x)
			return
		}
	}
	if own := dependent.cloneOf(); own != nil && own.interleave && instanceOf(dependent) != nil {
		c.colocateInterleaved(dependent, cl, x)
		return
	}
	if x.score >= infinity {
		c.onlyOn(dependent, c.activePlaces(cl))
		return
	}
	for _, k := range cl.children {
		c.colocate(dependent, k, x)
	}
}

// instanceOf is the instance of a clone that r is or is part of.
func instanceOf(r *resource) *resource {
	for r != nil && r.parent != nil {
		if r.parent.kind == clone {
			return r
		}
		r = r.parent
	}
	return nil
}

// colocateInterleaved pairs an instance with the other clone's instance on its node.
func (c *cluster) colocateInterleaved(dependent, cl *resource, x *colocation) {
	if k := c.matchingInstance(dependent, cl, RoleUnknown, false); k != nil {
		c.colocate(dependent, k, x)
		return
	}
	if x.score >= infinity {
		c.settle(dependent, nil, true)
	}
}

// activePlaces are the nodes a clone's instances are assigned to, blocked ones left out.
func (c *cluster) activePlaces(cl *resource) []*node {
	var out []*node
	for _, k := range cl.children {
		if n := k.location(false); n != nil && !anyBlocked(k) {
			out = append(out, n)
		}
	}
	return out
}

// onlyOn rules out all nodes but those. One of them that nothing lists for r is none for it, but is shown.
func (c *cluster) onlyOn(r *resource, list []*node) {
	for i, n := range c.nodes {
		if r.weights[i].present != containsNode(list, n) {
			r.weights.set(n, -infinity)
		}
	}
}

// matchingInstance finds the instance of cl that belongs with r: the one on the same node, or, when r has none, on the
// best of the nodes r may use.
func (c *cluster) matchingInstance(r, cl *resource, role Role, current bool) *resource {
	if n := r.location(current); n != nil {
		return instanceOn(cl, n, role, current)
	}
	for _, n := range c.sortedNodes(r.weights, nil) {
		if k := instanceOn(cl, n, role, current); k != nil {
			return k
		}
	}
	return nil
}

func instanceOn(cl *resource, n *node, role Role, current bool) *resource {
	for _, k := range cl.instances("") {
		if anyBlocked(k) || role != RoleUnknown && k.state(current) != role {
			continue
		}
		if k.location(current) == n {
			return k
		}
	}
	return nil
}
