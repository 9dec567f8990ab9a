package scheduler

import (
	"cmp"
	"slices"
	"strconv"

	"holdfast/internal/cluster/cib"
)

// nvPairs reads the attribute sets of one kind below the given elements into out; what is already there stays. The set with
// the highest score counts, and among equals the last; a set whose rule does not hold is passed over.
func (c *cluster) nvPairs(out map[string]string, set string, x ruleContext, parents ...*cib.Element) {
	for _, parent := range parents {
		if parent != nil {
			c.copySets(out, c.sortedSets(parent, set), x)
		}
	}
}

// nvPairsLowest is nvPairs for what Pacemaker reads the other way round, an operation's meta attributes and transient node
// attributes: the set with the lowest score counts, and among equals the first.
func (c *cluster) nvPairsLowest(out map[string]string, set string, x ruleContext, parent *cib.Element) {
	if parent == nil {
		return
	}
	sets := c.sortedSets(parent, set)
	slices.Reverse(sets)
	c.copySets(out, sets, x)
}

func (c *cluster) copySets(out map[string]string, sets []*cib.Element, x ruleContext) {
	for _, s := range sets {
		if rule := s.Child("rule"); rule == nil || c.testRule(rule, x) {
			c.copyPairs(out, s)
		}
	}
}

func (c *cluster) copyPairs(out map[string]string, set *cib.Element) {
	for _, nv := range set.Children {
		if nv.Name != "nvpair" {
			continue
		}
		nv = c.deref(nv)
		name := nv.Get("name")
		if _, have := out[name]; have || name == "" {
			continue
		}
		if value, given := nv.Lookup("value"); given {
			out[name] = value
		}
	}
}

// sortedSets are the sets of one kind, the one that counts most first.
func (c *cluster) sortedSets(parent *cib.Element, set string) []*cib.Element {
	var sets []*cib.Element
	for _, e := range parent.Children {
		if e.Name == set {
			sets = append(sets, c.deref(e))
		}
	}
	if len(sets) > 1 {
		slices.Reverse(sets)
		slices.SortStableFunc(sets, func(a, b *cib.Element) int { return cmp.Compare(setScore(b), setScore(a)) })
	}
	return sets
}

func setScore(e *cib.Element) int {
	n, ok := cib.ParseScore(e.Get("score"))
	if !ok {
		return 0
	}
	return n
}

// parameters are the agent's parameters of a primitive on a node (nil for none in particular): its own, its template's,
// and those of the collections it is part of.
func (c *cluster) parameters(r *resource, n *node) map[string]string {
	key := nodeKey(-1)
	if n != nil {
		key = nodeKey(n.index)
	}
	if p, ok := r.params[key]; ok {
		return p
	}
	p := map[string]string{}
	x := ruleContext{now: c.now, node: n, rsc: r, class: r.class, provider: r.provider, typ: r.typ}
	for e := r; e != nil; e = e.parent {
		c.nvPairs(p, "instance_attributes", x, e.xml, c.templates[e.xml.Get("template")])
	}
	if r.replica != nil && r == r.replica.connection {
		// The answer changes when the container gets its node.
		r.replica.resolveHost(p)
		return p
	}
	if r.params == nil {
		r.params = map[nodeKey]map[string]string{}
	}
	r.params[key] = p
	return p
}

// scoreOr reads a score as leniently as Pacemaker does: what follows the digits is ignored, and no number is 0.
func scoreOr(s string, def int) int {
	if s == "" {
		return def
	}
	if n, ok := cib.ParseScore(s); ok {
		return n
	}
	end := 0
	for end < len(s) && (isDigit(s[end]) || end == 0 && (s[0] == '-' || s[0] == '+')) {
		end++
	}
	n, _ := cib.ParseScore(s[:end])
	return n
}

func boolOr(s string, def bool) bool {
	v, ok := cib.ParseBool(s)
	if !ok {
		return def
	}
	return v
}

func intOr(s string, def int) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return def
}

// parseRole reads a role, old names included; RoleUnknown when it is none.
func parseRole(s string) Role {
	switch s {
	case "Stopped", "stopped":
		return RoleStopped
	case "Started", "started":
		return RoleStarted
	case "Unpromoted", "unpromoted", "Slave", "slave":
		return RoleUnpromoted
	case "Promoted", "promoted", "Master", "master":
		return RolePromoted
	}
	return RoleUnknown
}
