package scheduler

import "slices"

// consequences applies each thing an ordering means, one after the other.
func (c *cluster) consequences(first, then *action, ff, tf flags, l *link) changed {
	var ch changed
	n, o := then.node, l.flags
	if o&impliesThenOnNode != 0 {
		n, o = first.node, o&^impliesThenOnNode|impliesThen
	}
	for _, one := range [...]order{impliesThen, restarts, impliesFirst, promotedImpliesFirst, oneOrMore, probeFirst, runnableLeft,
		migratableImpliesFirst, pseudoLeft, orderPlain, asymmetrical} {
		if o&one == 0 {
			continue
		}
		if one == probeFirst {
			if !ff.runnable && first.rsc != nil && len(first.rsc.runningOn) > 0 {
				// Where it runs already, nothing waits for a probe that cannot be made.
				l.flags = 0
				continue
			}
			one = runnableLeft
		}
		ch |= c.consequence(first, then, n, ff, one)
	}
	if first.runnable && o&impliesThenPrinted != 0 && !ff.optional {
		then.printAlways = true
	}
	if o&impliesFirstPrinted != 0 && !tf.optional {
		first.printAlways = true
	}
	if o&(impliesThen|impliesFirst|restarts) != 0 && stuckStop(first) && then.runnable {
		then.runnable = false
		ch |= changedThen
	}
	return ch
}

// stuckStop tells whether an action is the stop of a resource that waits for a person.
func stuckStop(a *action) bool {
	return a.rsc != nil && !a.rsc.managed && a.rsc.blocked && !a.runnable && a.is("stop")
}

// consequence applies one meaning to a pair of actions, and to those of members and instances.
func (c *cluster) consequence(first, then *action, n *node, ff flags, one order) changed {
	owner := then.rsc
	if one == impliesFirst {
		owner = first.rsc
	}
	if owner != nil {
		return c.apply(owner, first, then, n, ff, one)
	}
	switch {
	case one == impliesThen && !ff.optional && then.optional:
		then.optional = false
		return changedThen
	case one == impliesFirst && !ff.optional && first.runnable:
		first.runnable = false
		return changedFirst
	case one == oneOrMore:
		return countRunnable(then, ff)
	case one == runnableLeft && !ff.runnable && then.runnable:
		then.runnable = false
		return changedThen
	}
	return 0
}

// countRunnable notes one more of the actions of which then needs some.
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

// apply applies one consequence in the manner of r, the resource of one of the two: a group passes it on to its members,
// a clone to its instances.
func (c *cluster) apply(r *resource, first, then *action, n *node, ff flags, o order) changed {
	if r.kind == primitive || then.rsc == nil {
		return c.applyOne(first, then, ff, o)
	}
	if r.kind >= clone {
		return c.applyClone(first, then, n, ff, o)
	}
	ch := c.applyOne(first, then, ff, o)
	for _, k := range then.rsc.children {
		if x := k.firstAction(then.task, n); x != nil {
			ch |= c.apply(k, first, x, n, ff, o)
		}
	}
	return ch
}

func (c *cluster) applyClone(first, then *action, n *node, ff flags, o order) changed {
	if canInterleave(first, then) {
		return c.applyInterleaved(first, then, n, o)
	}
	ch := c.applyOne(first, then, ff, o)
	for _, k := range then.rsc.instances(origTask(then)) {
		x := k.firstAction(then.task, n)
		if x == nil || !c.actionFlags(x, n).runnable {
			continue
		}
		one := c.apply(k, first, x, n, ff, o)
		ch |= one
		if one&changedThen != 0 {
			c.updateFollowers(x)
		}
	}
	return ch
}

// canInterleave tells whether instances of two clones are ordered one by one rather than all after all.
func canInterleave(first, then *action) bool {
	if first.rsc == nil || then.rsc == nil || first.rsc == then.rsc || first.rsc.kind < clone || then.rsc.kind < clone {
		return false
	}
	if then.is("stop") || then.is("demote") {
		return first.rsc.interleave
	}
	return then.rsc.interleave
}

// applyInterleaved orders each instance after the other clone's instance on its node.
func (c *cluster) applyInterleaved(first, then *action, n *node, o order) changed {
	var ch changed
	task := origTask(first)
	current := task == "stop" || task == "demote"
	if in := first.rsc.instances(task); len(in) > 0 && in[0].kind == group {
		task = ownTask(first) // a group has started when all of its members have
	}
	for _, k := range then.rsc.instances(origTask(then)) {
		fk := c.matchingInstance(k, first.rsc, RoleUnknown, current)
		if fk == nil {
			if !current && o&(runnableLeft|impliesThen) != 0 && c.keepDown(k) {
				ch |= changedThen
			}
			continue
		}
		fa, ta := fk.firstAction(task, n), k.firstAction(then.task, n)
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

// keepDown takes an instance's node away, since what it depends on will not be there. It tells whether that is news.
func (c *cluster) keepDown(k *resource) bool {
	news := false
	k.leaves(func(p *resource) {
		news = news || p.assigned != nil
		c.settle(p, nil, true)
	})
	return news
}

// applyOne applies one consequence to a pair of actions.
func (c *cluster) applyOne(first, then *action, ff flags, o order) changed {
	was1, was2 := first.state(), then.state()
	switch o {
	case asymmetrical:
		applyAsymmetrical(first, then)
	case impliesFirst:
		if !then.optional && ff.migratable && !then.migratable && startsToo(then.rsc) {
			first.unmigratable(then)
		}
	case promotedImpliesFirst:
		if then.rsc != nil && then.rsc.role == RolePromoted && !then.optional {
			first.require(then)
			if first.migratable && !then.migratable {
				first.unmigratable(then)
			}
		}
	case migratableImpliesFirst:
		if !then.migratable || !then.runnable {
			first.rule(then)
		}
		if !then.optional {
			first.require(then)
		}
	case pseudoLeft:
		if !first.runnable {
			then.unmigratable(first)
			then.pseudo = false
		}
	case runnableLeft:
		if then.runnable && !ff.runnable {
			then.rule(first)
			then.unmigratable(first)
		}
	case impliesThen:
		if then.optional && !ff.optional && !first.migratable {
			then.require(first)
		}
	case restarts:
		applyRestart(first, then)
	}
	var ch changed
	if was2 != then.state() {
		ch |= changedThen
		if then.rsc != nil && then.rsc.parent != nil {
			c.update(then)
		}
	}
	if was1 != first.state() {
		ch |= changedFirst
	}
	return ch
}

// startsToo tells whether what stops is going to start elsewhere. A clone may stop on one node and stay on the others, which
// is no reason for what depends on it not to be migrated to those.
func startsToo(r *resource) bool {
	if r == nil {
		return true
	}
	starts := false
	r.leaves(func(p *resource) {
		starts = starts || slices.ContainsFunc(p.actionsOf("start"), func(a *action) bool { return !a.optional })
	})
	return starts
}

// require makes an action required because of another.
func (a *action) require(why *action) {
	if !a.optional {
		return
	}
	a.optional = false
	a.because("required", why)
}

// rule makes an action impossible because another is.
func (a *action) rule(why *action) {
	if !a.runnable {
		return
	}
	a.runnable = false
	a.because("unrunnable", why)
}

// unmigratable makes of an action that belongs to a live migration one of an ordinary move; that is the better reason for
// it, whatever else was.
func (a *action) unmigratable(why *action) {
	if !a.migratable {
		return
	}
	a.migratable = false
	if a.rsc != why.rsc {
		a.reason = ""
		a.because("unrunnable", why)
	}
}

// because words that something follows from an action of another resource.
func (a *action) because(what string, cause *action) {
	if a.rsc == cause.rsc {
		return
	}
	if cause.rsc == nil {
		a.setReason(what + " " + cause.task)
		return
	}
	a.setReason(what + " " + cause.rsc.id + " " + cause.task)
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
		case role >= RoleStarted && then.is("start") && then.node != nil && len(then.rsc.runningOn) == 1 && then.rsc.runningOn[0] == then.node:
			return
		}
	}
	then.require(first)
	then.rule(first)
}

// applyRestart ties the halves of a restart together: no stop without a start that can follow; but what should restart and
// cannot start is stopped all the same.
func applyRestart(first, then *action) {
	if then.optional && (then.runnable || !then.rsc.managed || first.rsc != then.rsc) {
		return
	}
	if first.runnable || !then.optional {
		first.require(then)
	}
	if !then.migratable {
		first.unmigratable(then)
	}
	if !first.optional && !first.runnable {
		then.rule(first)
	}
}
