package scheduler

import "strings"

// The consequences of orderings: an action that must be done makes others required, one that cannot be done keeps others
// from being done. They are carried through until nothing changes.

// flags are an action's properties, seen from an ordering.
type flags struct{ optional, runnable, migratable, pseudo bool }

// state are an action's own properties.
func (a *action) state() flags { return flags{a.optional, a.runnable, a.migratable, a.pseudo} }

type changed uint

const (
	changedFirst changed = 1 << iota
	changedThen
)

// updateAll carries the consequences of all orderings through.
func (c *cluster) updateAll() {
	for i := len(c.actions) - 1; i >= 0; i-- {
		c.blockDependents(c.actions[i])
	}
	c.orderProbes()
	for i := len(c.actions) - 1; i >= 0; i-- {
		c.update(c.actions[i])
	}
}

// update applies the orderings before an action to it, and goes on with those after whatever changed.
func (c *cluster) update(then *action) {
	var change changed
	was := then.state()
	if then.needsAny > 0 {
		then.runnableHit = 0
		then.runnable = false
	}
	for i := len(then.before) - 1; i >= 0; i-- {
		change |= c.updateLink(then.before[i], then)
		if change&changedFirst != 0 {
			change &^= changedFirst
			c.updateFollowers(then.before[i].first)
			c.update(then.before[i].first)
		}
	}
	if then.needsAny > 0 {
		change = changedIf(was != then.state(), changedThen)
	}
	if change&changedThen == 0 {
		return
	}
	if was.runnable && !then.runnable {
		c.blockDependents(then)
	}
	c.update(then)
	c.updateFollowers(then)
}

func (c *cluster) updateFollowers(a *action) {
	for j := len(a.after) - 1; j >= 0; j-- {
		c.update(a.after[j].then)
	}
}

func changedIf(yes bool, what changed) changed {
	if yes {
		return what
	}
	return 0
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
		if first.is("reload-agent") {
			first.rsc.reloading = false
		}
	}
	firstFlags, thenFlags := c.flagsFor(first, thenNode), c.flagsFor(then, firstNode)
	if first != l.first {
		isNew := orderActions(first, then, l.flags)
		l.flags, l.replaced = 0, l.replaced|l.flags
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
		return a.state()
	}
	f := c.actionFlags(a, nil)
	if n == nil || a.rsc.kind < clone {
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
	case clone, bundle:
		return c.cloneFlags(a, n)
	case group:
		return c.groupFlags(a, n)
	}
	return a.state()
}

// ownTask is the task of a collection's action, or the one a notification is about.
func ownTask(a *action) string {
	if _, task, ok := strings.Cut(a.slot, "_notify_"); ok {
		return task
	}
	return a.task
}

// origTask is the task of the instances whose completion a clone's action stands for.
func origTask(a *action) string {
	task := ownTask(a)
	if t, ok := map[string]string{"stopped": "stop", "running": "start", "promoted": "promote", "demoted": "demote"}[task]; ok {
		return t
	}
	return task
}

func (c *cluster) cloneFlags(a *action, n *node) flags {
	f := flags{optional: true, runnable: true}
	task, runnable := origTask(a), false
	for _, k := range a.rsc.instances(task) {
		on, its := n, task
		if k.kind != primitive || k.bundled() {
			on = nil
			if k.kind == group && ownTask(a) == "running" {
				its = "running" // a group has started when all of its members have
			}
		}
		x := k.firstAction(its, on)
		if x == nil {
			continue
		}
		xf := c.actionFlags(x, n)
		if f.optional && !xf.optional {
			f.optional = false
			a.optional = false
		}
		if done := k.firstAction(a.task, on); k.kind == group && done != nil {
			xf = c.actionFlags(done, n)
		}
		runnable = runnable || xf.runnable
	}
	if !runnable {
		f.runnable = false
		if n == nil && (a.rsc.kind != bundle || task == a.task) {
			a.runnable = false
		}
	}
	return f
}

func (c *cluster) groupFlags(a *action, n *node) flags {
	task := origTask(a)
	f := flags{optional: true, runnable: true}
	for _, m := range a.rsc.children {
		x := m.firstAction(task, n)
		if x == nil {
			if task != "demote" && task != "stop" {
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
