package scheduler

import (
	"slices"
	"strings"
)

// cloneNotes are the notifications of a clone's four tasks.
type cloneNotes struct{ start, stop, promote, demote *noteSet }

// noteSet is the notification of one task: told before (pre) and after (post) it, each confirmed by all.
type noteSet struct {
	task                         string
	pre, preDone, post, postDone *action
}

// noteActions makes the points in the order for the notifications around a clone's task.
func (c *cluster) noteActions(cl *resource, task string, act, complete *action) *noteSet {
	s := &noteSet{task: task}
	s.pre = c.notePoint(cl, "pre", "pre", task, "notify", act, task)
	s.preDone = c.notePoint(cl, "confirmed-pre", "pre", task, "notified", act, task)
	orderActions(s.pre, s.preDone, orderPlain)
	orderActions(s.preDone, act, orderPlain)
	s.post = c.notePoint(cl, "post", "post", complete.task, "notify", complete, task)
	s.postDone = c.notePoint(cl, "confirmed-post", "post", complete.task, "notified", complete, task)
	s.post.priority, s.postDone.priority = infinity, infinity
	s.post.runnable, s.postDone.runnable = complete.runnable, complete.runnable
	orderActions(complete, s.post, impliesThen)
	orderActions(s.post, s.postDone, impliesThen)
	orderActions(s.preDone, s.post, orderPlain)
	return s
}

func (c *cluster) notePoint(cl *resource, prefix, typ, key, task string, of *action, operation string) *action {
	a := c.slotAction(cl, prefix+"_notify_"+key, task, 0, nil, of.optional)
	a.pseudo = true
	a.runnable = true
	a.notes = map[string]string{"notify_key_type": strings.Replace(prefix, "confirmed-post", "confirmed-post", 1), "notify_key_operation": key, "notify_type": typ, "notify_operation": operation}
	return a
}

// place is an instance on a node, for the notify variables.
type place struct {
	rsc  *resource
	node *node
}

// roster is who does what in a clone, told to the agents with each notification.
type roster struct {
	start, stop, promote, demote           []place
	active, inactive, unpromoted, promoted []place
}

// planNotifications makes the notifications of all clones that want them.
func (c *cluster) planNotifications() {
	for _, r := range c.resources {
		r.all(func(cl *resource) {
			if cl.kind == clone && cl.notes != nil {
				c.notifyClone(cl)
			}
		})
	}
}

func (c *cluster) notifyClone(cl *resource) {
	ro := c.takeRoster(cl)
	vars := c.noteVariables(cl, ro)
	for _, s := range []*noteSet{cl.notes.start, cl.notes.stop, cl.notes.promote, cl.notes.demote} {
		if s == nil {
			continue
		}
		if ro.happens(s.task) {
			for _, a := range []*action{s.pre, s.preDone, s.post, s.postDone} {
				a.optional = false
			}
		} else if s.task != "stop" {
			// A stop that does not happen may still be implied by fencing.
			continue
		}
		cl.leaves(func(p *resource) { c.notifyInstance(p, s, vars) })
	}
	cl.leaves(func(p *resource) { noteOperations(p, vars) })
}

// noteOperations tells the agent itself, with each operation that changes its state, what the others are told of.
func noteOperations(p *resource, vars map[string]string) {
	for _, a := range p.actions {
		if a.optional || a.node == nil || a.interval > 0 {
			continue
		}
		switch a.task {
		case "start", "stop", "promote", "demote":
			a.note(vars)
		}
	}
}

// note adds notify variables to an action. What it was given first stays.
func (a *action) note(vars map[string]string) {
	if a.notes == nil {
		a.notes = map[string]string{}
	}
	for k, v := range vars {
		if _, have := a.notes[k]; !have {
			a.notes[k] = v
		}
	}
}

// notifyOfFencing tells the other instances of a clone that one has been stopped by the fencing of its node, be it that only
// what the clone is made of wants notifications. They hear of that instance alone, and only if they are not going to stop
// as far as is known before the consequences of orderings.
func (c *cluster) notifyOfFencing(lost *resource, stop, fence *action) {
	post := c.fencingPoint(lost, "post", "notify", "post_notify_stop")
	done := c.fencingPoint(lost, "confirmed-post", "notified", "notified")
	orderActions(fence, post, impliesThen)
	orderActions(post, done, impliesThen)
	vars := map[string]string{}
	if !stop.optional {
		vars["notify_stop_resource"], vars["notify_stop_uname"] = names([]place{{lost, stop.node}})
	}
	lost.collection().leaves(func(p *resource) {
		noteOperations(p, vars)
		c.tellOfFencing(p, post, done, vars)
	})
}

// fencingPoint makes a point in the order for what a lost instance cannot be told any more. shown is how its key goes on.
func (c *cluster) fencingPoint(lost *resource, typ, task, shown string) *action {
	a := c.slotAction(lost, typ+"_notify_stonith", task, 0, nil, false)
	a.pseudo, a.runnable, a.priority, a.shown = true, true, infinity, shown
	a.notes = map[string]string{"notify_key_type": typ, "notify_key_operation": "stonith", "notify_type": "post", "notify_operation": "stop"}
	return a
}

func (c *cluster) tellOfFencing(p *resource, post, done *action, vars map[string]string) {
	stop := p.firstAction("stop", nil)
	if p.role <= RoleStopped || stop != nil && !stop.optional {
		return
	}
	for _, n := range p.runningOn {
		if n.unclean {
			continue
		}
		c.postNotification(p, n, &noteSet{task: "stop", post: post, postDone: done}, vars)
	}
}

// happens tells whether some instance does the task.
func (ro *roster) happens(task string) bool {
	switch task {
	case "start":
		return len(ro.start) > 0
	case "stop":
		return len(ro.stop) > 0
	case "promote":
		return len(ro.promote) > 0
	}
	return len(ro.demote) > 0
}

func (c *cluster) takeRoster(cl *resource) *roster {
	ro := &roster{}
	cl.leaves(func(p *resource) {
		here := place{p, p.curNode()}
		switch p.role {
		case RoleStarted:
			ro.active = append(ro.active, here)
		case RoleUnpromoted:
			ro.unpromoted = append(ro.unpromoted, here)
			ro.active = append(ro.active, here)
		case RolePromoted:
			ro.promoted = append(ro.promoted, here)
			ro.active = append(ro.active, here)
		default:
			ro.inactive = append(ro.inactive, place{p, nil})
		}
		for _, a := range p.actions {
			// What cannot be stopped, its node being lost and fencing impossible, is told of as stopping all the same.
			if a.optional || a.node == nil || a.interval > 0 || !a.runnable && (a.task != "stop" || !a.node.unclean) {
				continue
			}
			e := place{p, a.node}
			switch a.task {
			case "start":
				ro.start = append(ro.start, e)
			case "stop":
				ro.stop = append(ro.stop, e)
			case "promote":
				ro.promote = append(ro.promote, e)
			case "demote":
				ro.demote = append(ro.demote, e)
			}
		}
	})
	return ro
}

// noteVariables are what every notification of a clone tells, as CRM_meta_notify_....
func (c *cluster) noteVariables(cl *resource, ro *roster) map[string]string {
	m := map[string]string{}
	put := func(name string, list []place) {
		r, n := names(list)
		m["notify_"+name+"_resource"], m["notify_"+name+"_uname"] = r, n
	}
	put("start", ro.start)
	put("stop", ro.stop)
	put("promote", ro.promote)
	put("demote", ro.demote)
	put("active", ro.active)
	put("unpromoted", ro.unpromoted)
	put("promoted", ro.promoted)
	put("slave", ro.unpromoted)
	put("master", ro.promoted)
	m["notify_inactive_resource"], _ = names(ro.inactive)
	var all, available []string
	for i, n := range c.nodes {
		all = append(all, n.name)
		if w := cl.weights[i]; w.present && (!cl.exclusive || w.discover == discoverExclusive) {
			available = append(available, n.name)
		}
	}
	m["notify_all_uname"], m["notify_available_uname"] = list(all), list(available)
	if cl.meta["container-attribute-target"] == "host" {
		m["notify_all_hosts"] = list(c.hostNames())
	}
	return m
}

// hostNames are the names of all nodes, with those of the hosts in place of guest nodes.
func (c *cluster) hostNames() []string {
	var out []string
	for _, n := range c.nodes {
		if n.isGuest() {
			if host := n.connection.container.curNode(); host != nil {
				n = host
			}
		}
		out = append(out, n.name)
	}
	return out
}

// names gives the instances and their nodes, sorted by instance.
func names(places []place) (rscs, nodes string) {
	sorted := slices.Clone(places)
	slices.SortStableFunc(sorted, func(a, b place) int {
		if d := strings.Compare(a.rsc.id, b.rsc.id); d != 0 {
			return d
		}
		return strings.Compare(nodeName(a.node), nodeName(b.node))
	})
	var r, n []string
	last := ""
	for _, p := range sorted {
		if p.rsc.id == last {
			continue
		}
		last = p.rsc.id
		r = append(r, p.rsc.id)
		if p.node != nil {
			n = append(n, p.node.name)
		}
	}
	return list(r), list(n)
}

func nodeName(n *node) string {
	if n == nil {
		return ""
	}
	return n.name
}

// list joins names; an empty list is one space, so that the variable is passed at all.
func list(s []string) string {
	if len(s) == 0 {
		return " "
	}
	return strings.Join(s, " ")
}

// notifyInstance tells one instance about a task: around a stop or demote where it runs, around a start or promote where
// it will.
func (c *cluster) notifyInstance(p *resource, s *noteSet, vars map[string]string) {
	if s.task == "stop" || s.task == "demote" {
		if p.role > RoleStopped {
			c.notifyDown(p, s, vars)
		}
		return
	}
	if p.nextRole == RoleStopped || p.assigned == nil {
		return
	}
	start := p.firstAction("start", nil)
	if p.role <= RoleStopped && start != nil && !start.runnable {
		// It will not be there to be told.
		return
	}
	if s.task != "start" || start == nil || start.optional {
		c.notification(p, p.assigned, s.pre, s.preDone, vars)
	}
	c.postNotification(p, p.assigned, s, vars)
}

func (c *cluster) notifyDown(p *resource, s *noteSet, vars map[string]string) {
	stop := p.firstAction("stop", nil)
	for _, n := range p.runningOn {
		if stop != nil && stop.pseudo && n.unclean {
			// The stop is a consequence of fencing: there is nobody to tell.
			continue
		}
		c.notification(p, n, s.pre, s.preDone, vars)
		if s.task == "demote" || stop == nil || stop.optional {
			c.postNotification(p, n, s, vars)
		}
	}
}

func (c *cluster) postNotification(p *resource, n *node, s *noteSet, vars map[string]string) {
	if a := c.notification(p, n, s.post, s.postDone, vars); a != nil {
		a.priority = infinity
	}
	for _, m := range p.actions {
		if m.interval > 0 && m.task != "cancel" {
			orderActions(s.postDone, m, orderPlain)
		}
	}
}

// notification is the call of one agent.
func (c *cluster) notification(p *resource, n *node, point, done *action, vars map[string]string) *action {
	if n == nil || !n.online || !point.runnable {
		return nil
	}
	slot := point.notes["notify_type"] + "_notify_" + point.notes["notify_operation"]
	a := c.slotAction(p, slot, "notify", 0, n, point.optional)
	a.note(point.notes)
	a.note(vars)
	orderActions(point, a, orderPlain)
	orderActions(a, done, orderPlain)
	return a
}
