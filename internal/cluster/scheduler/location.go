package scheduler

import (
	"regexp"
	"slices"

	"holdfast/internal/cluster/cib"
)

// location says how much a resource likes some nodes, for one role or (RoleUnknown) for all.
type location struct {
	id    string
	rsc   *resource
	role  Role
	likes []like
}

type like struct {
	node     *node
	score    int
	discover discovery
}

// readLocation reads a <rsc_location>.
func (c *cluster) readLocation(e *cib.Element) {
	for _, r := range c.locationTargets(e) {
		role := e.Get("role")
		if rules := e.ChildrenNamed("rule"); len(rules) > 0 {
			for _, rule := range rules {
				c.addRuleLocation(e, rule, r, role)
			}
			continue
		}
		n := c.nodeByName[e.Get("node")]
		score, ok := cib.ParseScore(e.Get("score"))
		if n == nil || !ok {
			continue
		}
		c.addLocation(&location{id: e.ID(), rsc: r, role: parseRole(role), likes: []like{{n, score, discoveryOf(e)}}})
	}
}

// locationTargets are the resources a constraint is about.
func (c *cluster) locationTargets(e *cib.Element) []*resource {
	var out []*resource
	if pattern := e.Get("rsc-pattern"); pattern != "" {
		re, err := regexp.Compile(trimNot(pattern))
		if err != nil {
			c.warn("location " + e.ID() + ": rsc-pattern: " + err.Error())
			return nil
		}
		for _, r := range c.resources {
			r.all(func(x *resource) {
				if x.cloneOf() == nil && (x.inBundle() == nil || x.kind == bundle) && re.MatchString(x.id) != (pattern[0] == '!') {
					out = append(out, x)
				}
			})
		}
		return out
	}
	for _, set := range e.ChildrenNamed("resource_set") {
		for _, ref := range set.ChildrenNamed("resource_ref") {
			out = append(out, c.named(ref.ID())...)
		}
	}
	return append(out, c.named(e.Get("rsc"))...)
}

func trimNot(pattern string) string {
	if pattern[0] == '!' {
		return pattern[1:]
	}
	return pattern
}

// named finds what a constraint may refer to: a resource, a tag on several, or the template they are made from. A reference to the primitive in a clone means
// the clone.
func (c *cluster) named(id string) []*resource {
	if id == "" {
		return nil
	}
	if r := c.constraintResource(id); r != nil {
		return []*resource{r}
	}
	var out []*resource
	for _, x := range c.tags[id] {
		if r := c.constraintResource(x); r != nil {
			out = append(out, r)
		}
	}
	if c.templates[id] != nil {
		out = append(out, c.templateUsers(id)...)
	}
	return out
}

// namesSeveral tells whether a reference is to a tag or a template, and not to one resource.
func (c *cluster) namesSeveral(id string) bool {
	return c.constraintResource(id) == nil && (c.templates[id] != nil || len(c.tags[id]) > 0)
}

// templateUsers are the resources made from a template, in the order of the configuration.
func (c *cluster) templateUsers(id string) []*resource {
	var out []*resource
	for _, e := range primitivesBelow(c.doc.Root.Child("configuration").Child("resources")) {
		if r := c.constraintResource(e.ID()); r != nil && e.Get("template") == id && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

func primitivesBelow(e *cib.Element) []*cib.Element {
	var out []*cib.Element
	for _, k := range resourceElements(e) {
		if k.Name == "primitive" {
			out = append(out, k)
		} else {
			out = append(out, primitivesBelow(k)...)
		}
	}
	return out
}

func (c *cluster) constraintResource(id string) *resource {
	r := c.byID[id]
	if r == nil {
		r = c.byID[id+":0"]
	}
	if r == nil || r.orphan {
		return nil
	}
	if cl := r.cloneOf(); cl != nil {
		return cl
	}
	return r
}

func discoveryOf(e *cib.Element) discovery {
	switch e.Get("resource-discovery") {
	case "never":
		return discoverNever
	case "exclusive":
		return discoverExclusive
	}
	return discoverAlways
}

func (c *cluster) addRuleLocation(e, rule *cib.Element, r *resource, role string) {
	rule = c.deref(rule)
	if own := rule.Get("role"); own != "" {
		role = own
	}
	loc := &location{id: rule.ID(), rsc: r, role: parseRole(role)}
	score, hasScore := cib.ParseScore(rule.Get("score"))
	for _, n := range c.nodes {
		if !c.testRule(rule, ruleContext{now: c.now, node: n, rsc: r, class: r.class, provider: r.provider, typ: r.typ}) {
			continue
		}
		s := score
		if !hasScore {
			v, _ := n.attr(rule.Get("score-attribute"))
			if rule.Get("score-attribute") == "" {
				continue
			}
			s = scoreOr(v, -infinity)
		}
		loc.likes = append(loc.likes, like{n, s, discoveryOf(e)})
	}
	c.addLocation(loc)
}

func (c *cluster) addLocation(l *location) {
	c.locations = append(c.locations, l)
	l.rsc.locations = append(l.rsc.locations, l)
	if l.rsc.kind == bundle && l.rsc.parts.clone != nil {
		// The instances are those that have roles.
		l.rsc.parts.clone.locations = append(l.rsc.parts.clone.locations, l)
	}
}

// applyLocations adds the scores of all location constraints. Those for one role count when roles are decided.
func (c *cluster) applyLocations() {
	for _, l := range c.locations {
		c.applyLocation(l.rsc, l, false)
	}
}

// applyExclusive rules out the nodes that a resource with exclusive discovery is not told to be discovered on.
func (c *cluster) applyExclusive() {
	for _, r := range c.resources {
		r.all(func(x *resource) {
			if !x.exclusive && (x.bundled() || !x.top().exclusive) {
				return
			}
			for i := range x.weights {
				if x.weights[i].discover != discoverExclusive {
					x.weights[i].score = -infinity
				}
			}
		})
	}
}

// applyLocation applies a constraint to a resource and what is inside it. In a group the first member has the scores, and
// the others follow it; they get the nodes as candidates only (zero).
func (c *cluster) applyLocation(r *resource, l *location, zero bool) {
	if l.role > RoleStarted && l.role != r.nextRole {
		return
	}
	for _, x := range l.likes {
		score := x.score
		if zero {
			score = 0
		}
		r.weights.add(x.node, score)
		w := &r.weights[x.node.index]
		if w.discover < x.discover {
			w.discover = x.discover
			r.exclusive = r.exclusive || x.discover == discoverExclusive
		}
	}
	for i, k := range r.children {
		if r.kind == bundle && !k.isHosted() {
			continue
		}
		c.applyLocation(k, l, zero || r.kind == group && i > 0 && r.colocated())
	}
}
