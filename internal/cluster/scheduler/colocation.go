package scheduler

import (
	"cmp"
	"slices"
	"strings"

	"holdfast/internal/cluster/cib"
)

// colocation asks for dependent to be placed relative to primary: on the same node (or one with the same value of
// an attribute) for a positive score, elsewhere for a negative one.
type colocation struct {
	id                         string
	dependent, primary         *resource
	dependentRole, primaryRole Role
	attribute                  string
	score                      int
	influence                  bool
}

func (x *colocation) mandatory() bool { return x.score >= infinity || x.score <= -infinity }

// influences tells whether the dependent's preferences matter for where the primary goes.
func (x *colocation) influences(r *resource) bool {
	if r == nil {
		r = x.primary
	}
	if x.dependent.nested && r == x.dependent.container && !r.failed && len(r.runningOn) == 1 {
		// A healthy container is not moved for the sake of a connection, which moves without interrupting anything.
		return false
	}
	return x.influence || len(r.runningOn) == 0
}

func (c *cluster) addColocation(x *colocation) {
	if x.score == 0 || x.dependent == nil || x.primary == nil || x.dependent == x.primary {
		return
	}
	if x.attribute == "" {
		x.attribute = "#uname"
	}
	x.dependentRole, x.primaryRole = noStarted(x.dependentRole), noStarted(x.primaryRole)
	c.colocations = append(c.colocations, x)
	if x.score <= -infinity {
		c.takeTurns(x.dependent, x.dependentRole, x.primary, x.primaryRole)
		c.takeTurns(x.primary, x.primaryRole, x.dependent, x.dependentRole)
	}
	x.dependent.thisWith = insertColocation(x.dependent.thisWith, x, func(y *colocation) *resource { return y.primary })
	x.primary.withThis = insertColocation(x.primary.withThis, x, func(y *colocation) *resource { return y.dependent })
}

// takeTurns orders two resources that exclude each other: first gives its role up before then takes its own.
func (c *cluster) takeTurns(first *resource, firstRole Role, then *resource, thenRole Role) {
	ends, begins := []string{"stop"}, []string{"start"}
	switch firstRole {
	case RolePromoted:
		ends = []string{"demote"}
	case RoleUnpromoted:
		ends = append(ends, "promote")
	}
	switch thenRole {
	case RolePromoted:
		begins = []string{"promote"}
	case RoleUnpromoted:
		begins = append(begins, "demote")
	}
	for _, e := range ends {
		for _, b := range begins {
			c.orderTasks(first, e, then, b, antiColocation)
		}
	}
}

// noStarted makes of Started, which any active role fulfils, no limit at all.
func noStarted(r Role) Role {
	if r == RoleStarted {
		return RoleUnknown
	}
	return r
}

// insertColocation keeps a list in the order in which it is to be applied: by the other resource's priority, clones
// before others, promotable ones first, then by name; of two with the same resource the later one in the CIB.
func insertColocation(list []*colocation, x *colocation, other func(*colocation) *resource) []*colocation {
	i := len(list)
	for i > 0 && compareColocated(other(x), other(list[i-1])) <= 0 {
		i--
	}
	return slices.Insert(list, i, x)
}

func compareColocated(a, b *resource) int {
	if d := cmp.Compare(b.priority, a.priority); d != 0 {
		return d
	}
	if d := cmp.Compare(b.kind, a.kind); d != 0 {
		return d
	}
	if a.kind == clone && a.promotable != b.promotable {
		if a.promotable {
			return -1
		}
		return 1
	}
	return strings.Compare(a.id, b.id)
}

// readColocation reads a <rsc_colocation>.
func (c *cluster) readColocation(e *cib.Element) {
	score := scoreOr(e.Get("score"), 0)
	if score == 0 {
		c.warn("colocation " + e.ID() + " has no score, and so no effect")
	}
	if sets := e.ChildrenNamed("resource_set"); len(sets) > 0 {
		c.readColocationSets(e, sets, score)
		return
	}
	dependents, primaries := c.named(e.Get("rsc")), c.named(e.Get("with-rsc"))
	if c.namesSeveral(e.Get("rsc")) && c.namesSeveral(e.Get("with-rsc")) {
		c.warn("colocation " + e.ID() + ": only one of its sides may be a template or tag, so it has no effect")
		return
	}
	for _, dep := range dependents {
		for _, prim := range primaries {
			c.addColocation(&colocation{id: e.ID(), dependent: dep, primary: prim, attribute: e.Get("node-attribute"), score: score,
				dependentRole: parseRole(e.Get("rsc-role")), primaryRole: parseRole(e.Get("with-rsc-role")), influence: c.influence(e, dep)})
		}
	}
}

func (c *cluster) influence(e *cib.Element, dependent *resource) bool {
	if v, ok := cib.ParseBool(e.Get("influence")); ok {
		return v
	}
	return dependent.critical
}

// readColocationSets reads the form with sets: members of a sequential set are colocated with the one before, and sets
// with the set after.
func (c *cluster) readColocationSets(e *cib.Element, sets []*cib.Element, score int) {
	for _, set := range sets {
		if boolOr(set.Get("sequential"), true) {
			c.colocateMembers(e, set, score)
		}
	}
	for i := 0; i+1 < len(sets); i++ {
		first, second := c.setMembers(sets[i]), c.setMembers(sets[i+1])
		if boolOr(sets[i].Get("sequential"), true) && len(first) > 0 {
			first = first[:1]
		}
		if boolOr(sets[i+1].Get("sequential"), true) && len(second) > 0 {
			second = second[len(second)-1:]
		}
		for _, d := range first {
			for _, p := range second {
				c.addColocation(c.setColocation(e, sets[i], sets[i+1], d, p, score))
			}
		}
	}
}

// colocateMembers places each member of a set with the one before, or, when they must be apart, apart from all before. In a
// set that says ordering="listed" (of old, and in no documentation) each is with the one after.
func (c *cluster) colocateMembers(e, set *cib.Element, score int) {
	members := c.setMembers(set)
	if defaultTo(set.Get("ordering"), "group") != "group" {
		slices.Reverse(members)
	}
	for i := 1; i < len(members); i++ {
		from := i - 1
		if score < 0 {
			from = 0
		}
		for j := from; j < i; j++ {
			c.addColocation(c.setColocation(e, set, set, members[i], members[j], score))
		}
	}
}

func (c *cluster) setColocation(e, depSet, primSet *cib.Element, d, p *resource, score int) *colocation {
	return &colocation{id: e.ID(), dependent: d, primary: p, score: score, attribute: e.Get("node-attribute"),
		dependentRole: parseRole(depSet.Get("role")), primaryRole: parseRole(primSet.Get("role")), influence: c.influence(e, d)}
}

func (c *cluster) setMembers(set *cib.Element) []*resource {
	var out []*resource
	for _, ref := range c.deref(set).ChildrenNamed("resource_ref") {
		out = append(out, c.named(ref.ID())...)
	}
	return out
}

// effect is what a colocation changes.
type effect int

const (
	affectsNothing effect = iota
	affectsPlace
	affectsRole
)

// colocationEffect tells what a colocation changes for a primitive dependent.
func colocationEffect(dependent, primary *resource, x *colocation, preview bool) effect {
	if !preview && primary.provisional {
		return affectsNothing
	}
	if x.dependentRole >= RoleUnpromoted && dependent.cloneOf() != nil && dependent.isPromotable() && !dependent.provisional {
		return affectsRole
	}
	if !preview && !dependent.provisional {
		return affectsNothing
	}
	limited := func(want, have Role) bool {
		return want != RoleUnknown && (x.score > 0 && want != have || x.score < 0 && want == have)
	}
	if limited(x.dependentRole, dependent.nextRole) || limited(x.primaryRole, primary.nextRole) {
		return affectsNothing
	}
	return affectsPlace
}

// colocate applies a colocation to the dependent's scores (or role), the primary having its node.
func (c *cluster) colocate(dependent, primary *resource, x *colocation) {
	switch dependent.kind {
	case group:
		c.colocateGroup(dependent, primary, x)
		return
	case clone, bundle:
		return
	}
	switch primary.kind {
	case bundle:
		c.colocateWithBundle(dependent, primary, x)
	case group:
		c.colocateWithGroup(dependent, primary, x)
	case clone:
		c.colocateWithClone(dependent, primary, x)
	default:
		switch colocationEffect(dependent, primary, x, false) {
		case affectsPlace:
			c.colocatePlace(dependent, primary, x)
		case affectsRole:
			colocateRole(dependent, primary, x)
		}
	}
}

// colocatePlace changes the dependent's scores.
func (c *cluster) colocatePlace(dependent, primary *resource, x *colocation) {
	if primary.assigned == nil && x.score < 0 {
		return
	}
	work := dependent.weights.clone()
	for i, n := range c.nodes {
		if !work[i].present {
			continue
		}
		switch {
		case primary.assigned == nil:
			work[i].score = addScores(-x.score, work[i].score)
		case sameAttr(n, primary.assigned, x.attribute):
			if x.score < infinity {
				work[i].score = addScores(x.score, work[i].score)
			}
		case x.score >= infinity:
			work[i].score = addScores(-infinity, work[i].score)
		}
	}
	if x.mandatory() || c.anyUsable(work) {
		dependent.weights = work
	}
}

func sameAttr(a, b *node, attribute string) bool {
	x, okX := a.attr(attribute)
	y, okY := b.attr(attribute)
	return okX == okY && x == y
}

// colocateRole changes the dependent instance's wish to be promoted.
func colocateRole(dependent, primary *resource, x *colocation) {
	if primary.assigned == nil || dependent.assigned == nil {
		return
	}
	if !sameAttr(dependent.assigned, primary.assigned, x.attribute) {
		if x.score >= infinity && x.dependentRole == RolePromoted {
			dependent.priority = -infinity
		}
		return
	}
	if x.primaryRole != RoleUnknown && x.primaryRole != primary.nextRole {
		return
	}
	score := x.score
	if x.dependentRole == RoleUnpromoted {
		score = -score
	}
	dependent.priority = addScores(score, dependent.priority)
}

// colocateGroup applies a colocation whose dependent is a group.
func (c *cluster) colocateGroup(g, primary *resource, x *colocation) {
	switch {
	case !g.provisional:
	case g.colocated():
		c.colocate(g.firstMember(), primary, x)
	case x.mandatory():
		c.warn("colocation " + x.id + ": group " + g.id + " has members on different nodes, which cannot all be forced")
	default:
		for _, m := range g.children {
			c.colocate(m, primary, x)
		}
	}
}

// colocateWithGroup applies a colocation with a group: with its last member if mandatory, since all of it must be up;
// else with its first.
func (c *cluster) colocateWithGroup(dependent, g *resource, x *colocation) {
	if g.provisional {
		return
	}
	switch {
	case g.colocated() && x.score >= infinity:
		c.colocate(dependent, g.lastMember(), x)
		return
	case g.colocated():
		c.colocate(dependent, g.firstMember(), x)
		return
	case x.score >= infinity:
		c.warn("colocation " + x.id + ": group " + g.id + " has members on different nodes, so nothing can be forced to be with it")
		return
	}
	for _, m := range g.children {
		c.colocate(dependent, m, x)
	}
}
