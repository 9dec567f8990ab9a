package scheduler

import (
	"cmp"
	"slices"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Utilization: nodes offer amounts of something, resources take them, and placement-strategy says how far that matters:
//
//	default      not at all
//	utilization  a node must have room for a resource
//	balanced     that, and among equals the node with the most room left is taken
//	minimal      that, and among equals as few nodes as possible are used
//
// A resource must find room together with everything that has to be on the same node.

// amounts are what a node has left, or what a resource takes, by name.
type amounts map[string]int

// placing tells whether utilization matters.
func (c *cluster) placing() bool {
	switch c.conf.strategy {
	case "utilization", "balanced", "minimal":
		return true
	}
	return false
}

// readNodeUtilization and readUtilization read what there is, and what is taken.
func (c *cluster) readNodeUtilization(n *node) {
	c.addAmounts(&n.room, ruleContext{now: c.now, node: n}, n.xml)
}

func (c *cluster) readUtilization(r *resource) {
	x := ruleContext{now: c.now, rsc: r, class: r.class, provider: r.provider, typ: r.typ}
	c.addAmounts(&r.takes, x, r.xml, c.templates[r.xml.Get("template")])
}

func (c *cluster) addAmounts(to *amounts, x ruleContext, from ...*cib.Element) {
	values := map[string]string{}
	c.nvPairs(values, "utilization", x, from...)
	for name, v := range values {
		if *to == nil {
			*to = amounts{}
		}
		(*to)[name] = scoreOr(v, 0)
	}
}

// fits tells whether a node has room.
func (n *node) fits(need amounts) bool {
	for name, v := range need {
		if v > n.room[name] {
			return false
		}
	}
	return true
}

// occupy takes (sign 1) or gives back (sign -1) what a resource needs of its node.
func occupy(n *node, r *resource, sign int) {
	for name, v := range r.takes {
		if have, offered := n.room[name]; offered {
			n.room[name] = have - sign*v
		}
	}
}

// compareRoom is negative when a has more room left than b: by how many more kinds it has the larger amount.
func compareRoom(a, b *node) int {
	d := 0
	for name, v := range a.room {
		d -= cmp.Compare(v, b.room[name])
	}
	for name, v := range b.room {
		if _, both := a.room[name]; !both {
			d -= cmp.Compare(0, v)
		}
	}
	return d
}

// limitToRoom rules out the nodes that have no room for a resource and all that must be with it. If none has so much, those
// without room for the resource alone are ruled out, and the one with the most room is returned: the best start.
func (c *cluster) limitToRoom(r *resource) *node {
	if !c.placing() {
		return nil
	}
	together := c.together(r, r, nil)
	all := c.needOf(r, together)
	var most *node
	any := false
	for i, n := range c.nodes {
		if s := r.weights[i]; !s.present || s.score < 0 || !n.usable() {
			continue
		}
		any = any || n.fits(all)
		if most == nil || compareRoom(n, most) < 0 {
			most = n
		}
	}
	need := r.takes
	if any {
		need, most = all, nil
	}
	for i, n := range c.nodes {
		if s := r.weights[i]; s.present && s.score >= 0 && n.usable() && !n.fits(need) {
			c.ban(r, n, "__limit_utilization__")
		}
	}
	return most
}

// together lists r and what must be on the same node, directly or not; from is where the search began.
func (c *cluster) together(r, from *resource, list []*resource) []*resource {
	if slices.Contains(list, r) {
		return list
	}
	if r.kind == group {
		for _, m := range r.children {
			list = c.together(m, from, list)
		}
	}
	list = append(list, r)
	for _, x := range r.thisWith {
		if x.primary != from && x.score >= infinity && colocationEffect(r, x.primary, x, true) == affectsPlace {
			list = c.together(x.primary, from, list)
		}
	}
	for _, x := range r.withThis {
		if x.dependent == from || r.kind == clone && x.dependent.kind != clone {
			// Nobody knows which instance such a dependent will be with.
			continue
		}
		if x.score >= infinity && colocationEffect(x.dependent, r, x, true) == affectsPlace {
			list = c.together(x.dependent, from, list)
		}
	}
	return list
}

// needOf sums up what the resources of a list take that have no node yet.
func (c *cluster) needOf(r *resource, list []*resource) amounts {
	sum := amounts{}
	for _, x := range list {
		if x.provisional {
			addNeed(sum, x, r, list)
		}
	}
	return sum
}

func addNeed(sum amounts, x, r *resource, list []*resource) {
	switch x.kind {
	case primitive:
		if x.provisional {
			for name, v := range x.takes {
				sum[name] += v
			}
		}
	case group:
		for _, m := range x.children {
			if !slices.Contains(list, m) {
				addNeed(sum, m, r, list)
			}
		}
	default:
		for _, k := range x.children {
			if slices.Contains(list, k) || slices.ContainsFunc(k.children, func(m *resource) bool { return slices.Contains(list, m) }) {
				return
			}
		}
		if len(x.children) > 0 {
			addNeed(sum, x.children[0], r, list)
		}
	}
}

// sortForPlacing puts the resources in the order in which they are placed when room matters: by priority, then by how much
// they want to stay where they are, then by how much they like any node, the best nodes first.
func (c *cluster) sortForPlacing() {
	if !c.placing() {
		return
	}
	order := make(weights, len(c.nodes))
	for i := range order {
		order[i].present = true
	}
	nodes := c.sortedNodes(order, nil)
	likes := make(map[*resource]weights, len(c.resources))
	for _, r := range c.resources {
		likes[r] = c.wishes(r)
	}
	slices.SortStableFunc(c.resources, func(a, b *resource) int {
		if d := cmp.Compare(b.priority, a.priority); d != 0 {
			return d
		}
		wa, wb := likes[a], likes[b]
		if d := cmp.Compare(wishOn(wb, b.curNode()), wishOn(wa, a.curNode())); d != 0 {
			return d
		}
		for _, n := range nodes {
			if d := cmp.Compare(wishOn(wb, n), wishOn(wa, n)); d != 0 {
				return d
			}
		}
		return 0
	})
}

// wishes are a resource's scores together with those of what it must or would like to be with; a group's are those of its
// last member, which must be with all the others.
func (c *cluster) wishes(r *resource) weights {
	if r.kind == group {
		return c.addPrimaries(r, c.wishes(r.lastMember()), 1)
	}
	return c.addPrimaries(r, r.weights.clone(), 1)
}

// addPrimaries adds the scores of the resources r is colocated with, and of those they are colocated with.
func (c *cluster) addPrimaries(r *resource, work weights, factor float64) weights {
	if r.merging {
		return work
	}
	r.merging = true
	defer func() { r.merging = false }()
	for _, x := range r.thisWith {
		p := x.primary
		for p.kind == group {
			p = p.lastMember()
		}
		if p.merging {
			continue
		}
		f := factor * float64(x.score) / infinity
		next := work.clone()
		c.addMatching(p, next, x.attribute, f, false)
		if c.anyUsable(next) {
			work = c.addPrimaries(p, next, f)
		}
	}
	return work
}

func wishOn(w weights, n *node) int {
	if s, ok := w.get(n); ok {
		return s
	}
	return -infinity
}

// orderByLoad lets nothing start on a node before what leaves it has made room.
func (c *cluster) orderByLoad(r *resource) {
	if !c.placing() || len(r.takes) == 0 {
		return
	}
	for _, n := range r.runningOn {
		c.addOrdering(&ordering{firstRsc: r, firstTask: "stop", thenAction: c.loadStopped(n), flags: orderLoad})
	}
	for i, n := range c.nodes {
		if !r.weights[i].present {
			continue
		}
		for _, task := range []string{"start", "migrate_to"} {
			c.addOrdering(&ordering{firstAction: c.loadStopped(n), thenRsc: r, thenTask: task, flags: orderLoad})
		}
	}
}

// loadStopped is the point at which all that leaves a node has left.
func (c *cluster) loadStopped(n *node) *action {
	if n.loadStopped == nil {
		name := "load_stopped_" + n.name
		n.loadStopped = &action{id: len(c.actions) + 1, node: n, task: name, slot: name, pseudo: true, runnable: true}
		c.actions = append(c.actions, n.loadStopped)
	}
	return n.loadStopped
}

// loadMatters tells whether a load ordering is about the node its action works on, or, for a migration, goes to.
func loadMatters(a, in *action) bool {
	on := a.node
	if a.rsc != nil && strings.HasPrefix(a.task, "migrate_") {
		on = a.rsc.assigned
	}
	return on != nil && in.node == on && !in.optional
}
