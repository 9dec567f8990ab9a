package scheduler

import (
	"holdfast/internal/cluster/cib"
)

// order says what an ordering "first, then" means for either side.
type order uint

const (
	// orderPlain only orders the two if both are done.
	orderPlain order = 1 << iota
	// impliesFirst: then waits for first even if first cannot be done, and so is not done either. (That first becomes
	// required follows from the ordering this is the inverse of.)
	impliesFirst
	// impliesThen: if first is required, so is then.
	impliesThen
	// promotedImpliesFirst is impliesFirst for a promoted resource.
	promotedImpliesFirst
	// runnableLeft: then cannot run if first cannot.
	runnableLeft
	// oneOrMore: then can run if enough of those before it can.
	oneOrMore
	// asymmetrical: then cannot run if first cannot, even if then is optional, unless it is pointless anyway.
	asymmetrical
	// restarts: first and then are the halves of a restart.
	restarts
	// sameNode: only if both are on one node.
	sameNode
	// impliesThenPrinted, impliesFirstPrinted: keep the other in the graph, if optional.
	impliesThenPrinted
	impliesFirstPrinted
	// thenCancelsFirst: if then is required, first is not needed.
	thenCancelsFirst
	// serializeOnly: never at the same time, no matter which is first.
	serializeOnly
	// impliesThenOnNode is impliesThen for instances on the node of first.
	impliesThenOnNode
	// antiColocation: what must not be on the same node takes turns there.
	antiColocation
	// orderLoad: nothing comes to a node before what leaves it has gone.
	orderLoad
	// orderPreserve: keep the edge though the rest is ignored.
	orderPreserve
	// migratableImpliesFirst: the steps of a live migration are done all or not at all.
	migratableImpliesFirst
	// pseudoLeft: if first cannot be done, then is no mere point in the order any more, but the real action.
	pseudoLeft
	// onlyIfUnmigratable: does not count if first is part of a live migration.
	onlyIfUnmigratable
	// probeFirst is runnableLeft unless first's resource is active.
	probeFirst
)

// ordering is an ordering between tasks of resources, or between actions.
type ordering struct {
	id                      string
	firstRsc, thenRsc       *resource
	firstTask, thenTask     string
	firstAction, thenAction *action
	flags                   order
	yields                  bool // gives way where first must wait for then
}

// link is an ordering between two actions.
type link struct {
	first, then *action
	flags       order
	replaced    order // the flags another ordering has taken over, so that this one is not made again
	yields      bool  // as of the ordering
}

// addOrdering adds orderings, each with what it means for live migrations.
func (c *cluster) addOrdering(list ...*ordering) {
	for _, o := range list {
		c.orderings = append(c.orderings, o)
		c.orderMigrations(o)
	}
}

// orderTasks orders tasks of resources; it takes effect when their actions are known.
func (c *cluster) orderTasks(first *resource, firstTask string, then *resource, thenTask string, flags order) {
	c.addOrdering(&ordering{firstRsc: first, firstTask: firstTask, thenRsc: then, thenTask: thenTask, flags: flags})
}

// orderActions orders two actions now. It tells whether that is new.
func orderActions(first, then *action, flags order) bool {
	if first == nil || then == nil || first == then || flags == 0 {
		return false
	}
	for _, l := range first.after {
		if l.then == then && (l.flags|l.replaced)&flags != 0 {
			return false
		}
	}
	l := &link{first: first, then: then, flags: flags}
	first.after = append(first.after, l)
	then.before = append(then.before, l)
	return true
}

// readOrdering reads a <rsc_order>.
func (c *cluster) readOrdering(e *cib.Element) {
	if sets := e.ChildrenNamed("resource_set"); len(sets) > 0 {
		c.readOrderingSets(e, sets)
		return
	}
	kind := orderKind(e)
	symmetrical := boolOr(e.Get("symmetrical"), kind != "Serialize")
	firstTask := defaultTo(e.Get("first-action"), "start")
	thenTask := defaultTo(e.Get("then-action"), firstTask)
	for _, f := range c.named(e.Get("first")) {
		for _, t := range c.named(e.Get("then")) {
			c.orderPair(e, f, firstTask, t, thenTask, kind, symmetrical)
		}
	}
}

func defaultTo(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// orderKind reads kind, or the score older constraints have instead.
func orderKind(e *cib.Element) string {
	if k := e.Get("kind"); k != "" {
		return k
	}
	if s, given := e.Lookup("score"); given && scoreOr(s, 0) == 0 {
		return "Optional"
	}
	return "Mandatory"
}

// orderPair adds a configured ordering and, if symmetrical, its inverse.
func (c *cluster) orderPair(e *cib.Element, f *resource, firstTask string, t *resource, thenTask, kind string, symmetrical bool) {
	min := 0
	if f.kind == clone && (firstTask == "start" || firstTask == "promote") {
		min = f.cloneMin
		if !boolOr(e.Get("require-all"), true) {
			min = 1
		}
	}
	if min > 0 {
		c.orderMinimum(e.ID(), f, firstTask, t, thenTask, kind, min)
	} else {
		c.addOrdering(&ordering{id: e.ID(), firstRsc: f, firstTask: firstTask, thenRsc: t, thenTask: thenTask,
			flags: kindFlags(kind, firstTask, symmetrical) | upgraded(kind, t, impliesThen)})
	}
	if !symmetrical {
		return
	}
	invFirst, invThen := inverse(thenTask), inverse(firstTask)
	if invFirst == "" || invThen == "" {
		c.warn("ordering " + e.ID() + " cannot be inverted: set symmetrical=false")
		return
	}
	c.addOrdering(&ordering{id: e.ID(), firstRsc: t, firstTask: invFirst, thenRsc: f, thenTask: invThen,
		flags: inverseFlags(kind) | upgraded(kind, f, impliesFirst)})
}

// upgraded gives the flag that makes an optional ordering mandatory for a resource whose (long deprecated) restart-type
// asks for it.
func upgraded(kind string, r *resource, flag order) order {
	if kind == "Optional" && (r.meta["restart-type"] == "restart" || r.meta["restart_type"] == "restart") {
		return flag
	}
	return 0
}

// orderMinimum demands only that so many instances be up first.
func (c *cluster) orderMinimum(id string, f *resource, firstTask string, t *resource, thenTask, kind string, min int) {
	gate := c.gate("clone-one-or-more:"+id, min)
	for _, k := range f.children {
		c.addOrdering(&ordering{id: id, firstRsc: k, firstTask: firstTask, thenAction: gate, flags: oneOrMore | impliesThenPrinted})
	}
	c.addOrdering(&ordering{id: id, firstAction: gate, thenRsc: t, thenTask: thenTask,
		flags: kindFlags(kind, firstTask, true)&^impliesThen | runnableLeft})
}

// gate is a point in the order that is reached when so many of what is before it can be done.
func (c *cluster) gate(name string, min int) *action {
	for _, a := range c.actions {
		if a.rsc == nil && a.slot == name {
			return a
		}
	}
	a := &action{id: len(c.actions) + 1, task: name, slot: name, pseudo: true, optional: true, runnable: true, needsAny: min}
	c.actions = append(c.actions, a)
	return a
}

// orderAfterAny orders a set's members after any one of another's (require-all=false).
func (c *cluster) orderAfterAny(id string, first []*resource, firstTask string, then []*resource, thenTask, kind string, symmetrical bool) {
	gate := c.gate("one-or-more:"+id, 1)
	for _, f := range first {
		c.addOrdering(&ordering{id: id, firstRsc: f, firstTask: firstTask, thenAction: gate, flags: oneOrMore | impliesThenPrinted})
	}
	for _, t := range then {
		c.addOrdering(&ordering{id: id, firstAction: gate, thenRsc: t, thenTask: thenTask, flags: kindFlags(kind, firstTask, symmetrical) | runnableLeft})
	}
}

// kindFlags is what an ordering's kind means.
func kindFlags(kind, firstTask string, symmetrical bool) order {
	switch kind {
	case "Optional":
		return orderPlain
	case "Serialize":
		return orderPlain | serializeOnly
	}
	if !symmetrical {
		return orderPlain | asymmetrical
	}
	if firstTask == "start" || firstTask == "promote" {
		return orderPlain | impliesThen | runnableLeft
	}
	return orderPlain | impliesThen
}

func inverseFlags(kind string) order {
	switch kind {
	case "Optional":
		return orderPlain
	case "Serialize":
		return orderPlain | serializeOnly
	}
	return orderPlain | impliesFirst
}

func inverse(task string) string {
	return map[string]string{"start": "stop", "stop": "start", "promote": "demote", "demote": "promote",
		"started": "stopped", "stopped": "started", "promoted": "demoted", "demoted": "promoted"}[task]
}

// readOrderingSets reads the form with sets: in a sequential set one after the other, and each set after the one before.
func (c *cluster) readOrderingSets(e *cib.Element, sets []*cib.Element) {
	kind := orderKind(e)
	symmetrical := boolOr(e.Get("symmetrical"), kind != "Serialize")
	for i, set := range sets {
		task := defaultTo(set.Get("action"), "start")
		members := c.setMembers(set)
		k := defaultTo(set.Get("kind"), kind)
		if boolOr(set.Get("sequential"), kind != "Serialize") {
			for j := 1; j < len(members); j++ {
				c.orderPair(e, members[j-1], task, members[j], task, k, symmetrical)
			}
		} else if k == "Serialize" {
			c.serializeSet(e, members, task, k)
		}
		if i > 0 {
			c.orderSets(e, sets[i-1], set, k, symmetrical)
		}
	}
}

// serializeSet keeps the members of a set from acting at the same time, in either order.
func (c *cluster) serializeSet(e *cib.Element, members []*resource, task, kind string) {
	for i, a := range members {
		for j, b := range members {
			if i != j {
				c.orderPair(e, a, task, b, task, kind, false)
			}
		}
	}
}

func (c *cluster) orderSets(e, first, then *cib.Element, kind string, symmetrical bool) {
	a, b := c.setMembers(first), c.setMembers(then)
	taskA, taskB := defaultTo(first.Get("action"), "start"), defaultTo(then.Get("action"), "start")
	if !boolOr(first.Get("require-all"), true) {
		c.orderAfterAny(first.ID(), a, taskA, b, taskB, kind, symmetrical)
		if symmetrical {
			c.orderInverse(e, a, taskA, b, taskB, kind)
		}
		return
	}
	// Only sets that say they are sequential count as that here.
	if boolOr(first.Get("sequential"), false) && len(a) > 0 {
		a = a[len(a)-1:]
	}
	if boolOr(then.Get("sequential"), false) && len(b) > 0 {
		b = b[:1]
	}
	for _, x := range a {
		for _, y := range b {
			c.orderPair(e, x, taskA, y, taskB, kind, symmetrical)
		}
	}
}

// orderInverse adds the inverse of an ordering of sets.
func (c *cluster) orderInverse(e *cib.Element, first []*resource, firstTask string, then []*resource, thenTask, kind string) {
	for _, t := range then {
		for _, f := range first {
			c.addOrdering(&ordering{id: e.ID(), firstRsc: t, firstTask: inverse(thenTask), thenRsc: f, thenTask: inverse(firstTask), flags: inverseFlags(kind)})
		}
	}
}

// applyOrderings turns orderings of tasks into orderings of actions.
func (c *cluster) applyOrderings() {
	for i := 0; i < len(c.orderings); i++ {
		o := c.orderings[i]
		switch {
		case o.firstRsc != nil:
			c.applyFirst(o)
		case o.thenRsc != nil:
			c.applyThen(o.firstAction, o.thenRsc, o)
		default:
			orderActions(o.firstAction, o.thenAction, o.flags)
		}
	}
}

// applyFirst finds, or makes as optional, what comes first.
func (c *cluster) applyFirst(o *ordering) {
	firsts := []*action{o.firstAction}
	if o.firstAction == nil {
		firsts = o.firstRsc.actionsOf(o.firstTask)
	}
	then := o.thenRsc
	if then == nil && o.thenAction != nil {
		then = o.thenAction.rsc
	}
	if len(firsts) == 0 {
		state := o.firstRsc.state(true)
		if o.firstRsc == then || o.firstTask == "stop" && state == RoleStopped ||
			o.firstTask == "demote" && state == RoleUnpromoted {
			return
		}
		firsts = []*action{c.action(o.firstRsc, o.firstTask, 0, nil, true)}
	}
	for _, f := range firsts {
		if then != nil {
			c.applyThen(f, then, o)
		} else {
			orderActions(f, o.thenAction, o.flags)
		}
	}
}

func (c *cluster) applyThen(first *action, then *resource, o *ordering) {
	thens := []*action{o.thenAction}
	if o.thenAction == nil {
		thens = then.actionsOf(o.thenTask)
	}
	flags := o.flags
	if first != nil && first.rsc == then && first.dangling {
		// What is left behind by a migration is stopped without a restart.
		flags &^= impliesThen
	}
	for _, t := range thens {
		if first != nil {
			if orderActions(first, t, flags) {
				t.before[len(t.before)-1].yields = o.yields
			}
		} else if o.flags&impliesThen != 0 {
			t.runnable = false
		}
	}
}
