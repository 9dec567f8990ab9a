package scheduler

import "strings"

// The consequences of orderings: an action that must be done makes others required, one that cannot be done keeps others
// from being done. They are carried through until nothing changes.

// flags are an action's properties, seen from an ordering.
type flags struct{ optional, runnable bool }

type changed uint

const (
	changedFirst changed = 1 << iota
	changedThen
)

// updateAll carries the consequences of all orderings through.
func (c *cluster) updateAll() {
	for _, a := range c.actions {
		c.blockDependents(a)
	}
	c.orderProbes()
	for i := len(c.actions) - 1; i >= 0; i-- {
		c.update(c.actions[i])
	}
}

// update applies the orderings before an action to it, and goes on with those after whatever changed.
func (c *cluster) update(then *action) {
	var change changed
	if then.needsAny > 0 {
		then.runnableHit = 0
		then.runnable = false
	}
	for i := len(then.before) - 1; i >= 0; i-- {
		l := then.before[i]
		change |= c.updateLink(l, then)
		if change&changedFirst != 0 {
			change &^= changedFirst
			first := l.first
			for j := len(first.after) - 1; j >= 0; j-- {
				c.update(first.after[j].then)
			}
			c.update(first)
		}
	}
	if then.needsAny > 0 {
		if then.runnable {
			return
		}
	}
	if change&changedThen != 0 {
		c.blockDependents(then)
		c.update(then)
		for j := len(then.after) - 1; j >= 0; j-- {
			c.update(then.after[j].then)
		}
	}
}

func (c *cluster) updateLink(l *link, then *action) changed {
	firstNode, thenNode := l.first.node, then.node
	if r := l.first.rsc; r != nil && r.kind == group && l.first.task == "start" {
		firstNode = r.location(false)
	}
	if r := then.rsc; r != nil && r.kind == group && then.task == "start" {
		thenNode = r.location(false)
	}
	if l.flags&sameNode != 0 && firstNode != nil && thenNode != nil && firstNode != thenNode {
		l.flags = 0
		return 0
	}
	first := l.first
	if first.rsc != nil && then.rsc != nil && first.rsc != then.rsc && !isAncestor(then.rsc, first.rsc) {
		first = expandFirst(first)
	}
	if l.flags&thenCancelsFirst != 0 && !then.optional {
		first.optional = true
	}
	firstFlags, thenFlags := c.flagsFor(first, thenNode), c.flagsFor(then, firstNode)
	if first != l.first {
		isNew := orderActions(first, then, l.flags)
		l.flags = 0
		if isNew {
			return changedThen
		}
		return 0
	}
	return c.consequences(first, then, firstFlags, thenFlags, l)
}

// isAncestor tells whether parent contains r.
func isAncestor(r, parent *resource) bool {
	for p := r.parent; p != nil; p = p.parent {
		if p == parent {
			return true
		}
	}
	return false
}

// expandFirst turns "the clone starts" into "the clone has started": what comes after a clone's task comes after all of
// it, notifications included.
func expandFirst(a *action) *action {
	r := a.rsc
	if r.kind == primitive || a.interval > 0 || strings.Contains(a.slot, "_notify_") {
		return a
	}
	task, ok := map[string]string{"stop": "stopped", "start": "running", "promote": "promoted", "demote": "demoted",
		"stopped": "stopped", "running": "running", "promoted": "promoted", "demoted": "demoted"}[a.task]
	if !ok {
		return a
	}
	if r.kind == clone && r.notify {
		task = "confirmed-post_notify_" + task
	}
	if x := r.firstAction(task, nil); x != nil {
		return x
	}
	return a
}

// flagsFor are an action's properties; for a clone's, on a node, those of the instances there.
func (c *cluster) flagsFor(a *action, n *node) flags {
	if a.rsc == nil {
		return flags{a.optional, a.runnable}
	}
	f := c.actionFlags(a, nil)
	if n == nil || a.rsc.kind != clone {
		return f
	}
	runnable := f.runnable
	f = c.actionFlags(a, n)
	f.runnable = f.runnable || runnable
	return f
}

// actionFlags derives the properties of a collection's action from its children's.
func (c *cluster) actionFlags(a *action, n *node) flags {
	switch a.rsc.kind {
	case clone:
		return c.cloneFlags(a, n)
	case group:
		return c.groupFlags(a, n)
	}
	return flags{a.optional, a.runnable}
}

// origTask is the task of the instances whose completion a clone's action stands for.
func origTask(a *action) string {
	task := a.task
	if strings.Contains(a.slot, "_notify_") {
		_, task, _ = strings.Cut(a.slot, "_notify_")
	}
	if t, ok := map[string]string{"stopped": "stop", "running": "start", "promoted": "promote", "demoted": "demote"}[task]; ok {
		return t
	}
	return task
}

func (c *cluster) cloneFlags(a *action, n *node) flags {
	f := flags{true, true}
	task, runnable := origTask(a), false
	for _, k := range a.rsc.children {
		on := n
		if k.kind != primitive {
			on = nil
		}
		x := k.firstAction(task, on)
		if x == nil {
			continue
		}
		xf := c.actionFlags(x, n)
		if f.optional && !xf.optional {
			f.optional = false
			a.optional = false
		}
		runnable = runnable || xf.runnable
	}
	if !runnable {
		f.runnable = false
		if n == nil {
			a.runnable = false
		}
	}
	return f
}

func (c *cluster) groupFlags(a *action, n *node) flags {
	f := flags{true, true}
	task := origTask(a)
	for _, m := range a.rsc.children {
		x := m.firstAction(task, n)
		if x == nil {
			if task != "demote" {
				f.runnable = false
			}
			continue
		}
		xf := c.actionFlags(x, n)
		if f.optional && !xf.optional {
			f.optional = false
			a.optional = false
		}
		if task != a.task && f.runnable && !xf.runnable {
			f.runnable = false
			a.runnable = false
		}
	}
	return f
}

// consequences applies each thing an ordering means.
func (c *cluster) consequences(first, then *action, ff, tf flags, l *link) changed {
	var ch changed
	o := l.flags
	n := then.node
	if o&impliesThenOnNode != 0 {
		n = first.node
		o = o&^impliesThenOnNode | impliesThen
	}
	ch |= c.thenConsequence(first, then, n, flags{ff.optional, true}, o, impliesThen)
	if o&restarts != 0 && then.rsc != nil {
		ch |= c.apply(then.rsc, first, then, n, ff, restarts)
	}
	ch |= c.thenConsequence(first, then, n, flags{ff.optional, true}, o, promotedImpliesFirst)
	if o&oneOrMore != 0 {
		ch |= countRunnable(then, ff)
	}
	ch |= c.thenConsequence(first, then, n, ff, o, runnableLeft)
	if o&asymmetrical != 0 && then.rsc != nil {
		ch |= c.apply(then.rsc, first, then, n, ff, asymmetrical)
	}
	if first.runnable && o&impliesThenPrinted != 0 && !ff.optional {
		then.printAlways = true
	}
	if o&impliesFirstPrinted != 0 && !tf.optional {
		first.printAlways = true
	}
	if o&(impliesThen|impliesFirst|restarts) != 0 && first.rsc != nil && !first.rsc.managed && first.rsc.blocked &&
		!first.runnable && first.is("stop") && then.runnable {
		then.runnable = false
		ch |= changedThen
	}
	return ch
}

func (c *cluster) thenConsequence(first, then *action, n *node, ff flags, o, one order) changed {
	if o&one == 0 {
		return 0
	}
	if then.rsc != nil {
		return c.apply(then.rsc, first, then, n, ff, one)
	}
	switch {
	case one == impliesThen && !ff.optional && then.optional:
		then.optional = false
		return changedThen
	case one == runnableLeft && !ff.runnable && then.runnable:
		then.runnable = false
		return changedThen
	}
	return 0
}

func countRunnable(then *action, ff flags) changed {
	if !ff.runnable {
		return 0
	}
	then.runnableHit++
	if then.runnableHit >= then.needsAny && !then.runnable {
		then.runnable = true
		return changedThen
	}
	return 0
}

// apply applies one consequence to r's action, and to those of its members or instances.
func (c *cluster) apply(r *resource, first, then *action, n *node, ff flags, o order) changed {
	switch r.kind {
	case group:
		ch := c.applyOne(first, then, ff, o)
		if r != then.rsc {
			return ch
		}
		for _, k := range r.children {
			if x := k.firstAction(then.task, n); x != nil {
				ch |= c.apply(k, first, x, n, ff, o)
			}
		}
		return ch
	case clone:
		if r != then.rsc {
			return c.applyOne(first, then, ff, o)
		}
		return c.applyClone(r, first, then, n, ff, o)
	}
	return c.applyOne(first, then, ff, o)
}

func (c *cluster) applyClone(r *resource, first, then *action, n *node, ff flags, o order) changed {
	if canInterleave(first, then) {
		return c.applyInterleaved(first, then, n, o)
	}
	ch := c.applyOne(first, then, ff, o)
	for _, k := range r.children {
		x := k.firstAction(then.task, n)
		if x == nil || !c.actionFlags(x, n).runnable {
			continue
		}
		one := c.apply(k, first, x, n, ff, o)
		ch |= one
		if one&changedThen != 0 {
			for j := len(x.after) - 1; j >= 0; j-- {
				c.update(x.after[j].then)
			}
		}
	}
	return ch
}

// canInterleave tells whether instances of two clones are ordered one by one rather than all after all.
func canInterleave(first, then *action) bool {
	if first.rsc == nil || then.rsc == nil || first.rsc == then.rsc || first.rsc.kind != clone || then.rsc.kind != clone {
		return false
	}
	if then.is("stop") || then.is("demote") {
		return first.rsc.interleave
	}
	return then.rsc.interleave
}

func (c *cluster) applyInterleaved(first, then *action, n *node, o order) changed {
	var ch changed
	current := origTask(first) == "stop" || origTask(first) == "demote"
	for _, k := range then.rsc.children {
		fk := c.matchingInstance(k, first.rsc, RoleUnknown, current)
		if fk == nil {
			if !current && o&(runnableLeft|impliesThen) != 0 && k.state(false) > RoleStopped {
				k.leaves(func(p *resource) { c.settle(p, nil, true) })
				ch |= changedThen
			}
			continue
		}
		fa := c.instanceAction(fk, origTask(first), n)
		ta := c.instanceAction(k, then.task, n)
		if fa == nil || ta == nil {
			continue
		}
		if orderActions(fa, ta, o) {
			ch |= changedFirst | changedThen
		}
		ch |= c.apply(k, fa, ta, n, c.actionFlags(fa, n), o)
	}
	return ch
}

func (c *cluster) instanceAction(k *resource, task string, n *node) *action {
	if x := k.firstAction(task, n); x != nil {
		return x
	}
	return nil
}

// applyOne applies one consequence to a pair of actions.
func (c *cluster) applyOne(first, then *action, ff flags, o order) changed {
	was1, was2 := *first, *then
	switch o {
	case asymmetrical:
		applyAsymmetrical(first, then)
	case promotedImpliesFirst:
		if then.rsc != nil && then.rsc.role == RolePromoted && !then.optional && first.optional {
			first.optional = false
		}
	case runnableLeft:
		if then.runnable && !ff.runnable {
			then.runnable = false
			then.setReason(because("unrunnable", first, then))
		}
	case impliesThen:
		if then.optional && !ff.optional {
			then.optional = false
			then.setReason(requiredReason(first, then))
		}
	case restarts:
		applyRestart(first, then)
	}
	var ch changed
	if was2.optional != then.optional || was2.runnable != then.runnable {
		ch |= changedThen
		if then.rsc != nil && then.rsc.parent != nil {
			c.update(then)
		}
	}
	if was1.optional != first.optional || was1.runnable != first.runnable {
		ch |= changedFirst
	}
	return ch
}

func applyAsymmetrical(first, then *action) {
	if then.rsc == nil || first.runnable {
		return
	}
	if then.optional {
		role := then.rsc.state(true)
		switch {
		case role == RoleStopped && then.is("stop"):
			return
		case role >= RoleStarted && then.is("start") && then.rsc.assigned != nil && len(then.rsc.runningOn) == 1 &&
			then.rsc.runningOn[0] == then.rsc.assigned:
			return
		}
	}
	then.optional = false
	then.runnable = false
	then.setReason(unrunnableReason(first))
}

// applyRestart ties the halves of a restart together: no stop without a start that can follow.
func applyRestart(first, then *action) {
	r := then.rsc
	if (then.runnable || !r.managed) && then.optional {
		return
	}
	if first.runnable {
		first.optional = false
	}
	if !then.optional {
		first.optional = false
	}
	if !first.optional && !first.runnable && then.runnable {
		then.runnable = false
		then.setReason(because("unrunnable", first, then))
	}
}

func unrunnableReason(first *action) string { return because("unrunnable", first, nil) }

func requiredReason(first, then *action) string { return because("required", first, then) }

// because words that something follows from another action, "" if that is one of the same resource.
func because(what string, cause, of *action) string {
	if cause.rsc == nil {
		return what + " " + cause.task
	}
	if of != nil && cause.rsc == of.rsc {
		return ""
	}
	return what + " " + cause.rsc.id + " " + cause.task
}

// blockDependents keeps what must run with a resource that cannot start (or be promoted) from doing so.
func (c *cluster) blockDependents(a *action) {
	if a.runnable || a.rsc == nil || a.task != "start" && a.task != "promote" || a.interval > 0 {
		return
	}
	r := a.rsc.top()
	for _, k := range r.children {
		if x := k.firstAction(a.task, nil); x == nil || x.runnable {
			return
		}
	}
	for _, x := range r.withThis {
		if x.score < infinity {
			continue
		}
		if a.task == "start" && x.primaryRole <= RoleStarted || a.task == "promote" && x.primaryRole == RolePromoted {
			c.blockTask(x.dependent, x.dependentRole, r)
		}
	}
}

func (c *cluster) blockTask(r *resource, role Role, why *resource) {
	task := "start"
	if role == RolePromoted {
		task = "promote"
	}
	r.all(func(p *resource) {
		for _, a := range p.actionsOf(task) {
			if a.runnable {
				a.runnable = false
				a.setReason("colocation with " + why.id)
				c.blockDependents(a)
				c.update(a)
			}
		}
	})
}
