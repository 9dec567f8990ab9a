package scheduler

import (
	"fmt"
	"strings"
)

// summarize tells what will happen to each node and resource.
func (c *cluster) summarize() []Change {
	var out []Change
	for _, a := range c.fences {
		if a.optional {
			continue
		}
		why := defaultTo(a.reason, "node is unclean")
		kind, name := a.meta["stonith_action"], a.node.name
		if a.node.isGuest() {
			name += " (resource: " + a.node.connection.container.id + ")"
		}
		out = append(out, Change{Action: "Fence", Node: a.node.name, Detail: kind, Reason: why,
			Text: fmt.Sprintf("Fence (%s) %s '%s'", kind, name, why)})
	}
	for _, r := range c.resources {
		r.leaves(func(p *resource) { out = append(out, summarizeResource(p)...) })
	}
	return out
}

// outlook is what the summary of a resource is drawn from.
type outlook struct {
	r                            *resource
	cur, next                    *node
	start, stop, promote, demote *action
}

func summarizeResource(r *resource) []Change {
	o := outlook{r: r, cur: r.curNode(), next: r.assigned}
	if !r.managed || o.cur == nil && o.next == nil {
		return nil
	}
	o.start = actionOn(r, "start", o.next)
	if o.start != nil && o.start.runnable {
		o.stop = actionOn(r, "stop", o.cur)
	} else {
		o.stop = r.firstAction("stop", nil)
	}
	if o.stop == nil && r.stopUnexpected {
		o.stop = r.firstAction("stop", nil)
	}
	o.promote, o.demote = actionOn(r, "promote", o.next), actionOn(r, "demote", o.next)
	if r.role == r.nextRole {
		return o.sameRole()
	}
	return o.otherRole()
}

// actionOn is a resource's action of a task on exactly that node.
func actionOn(r *resource, task string, n *node) *action {
	if n == nil {
		return r.firstAction(task, nil)
	}
	for _, a := range r.actionsOf(task) {
		if a.node == n {
			return a
		}
	}
	return nil
}

func (o *outlook) moving() bool { return o.cur != nil && o.next != nil && o.cur != o.next }

// reasoned is an action if it has a reason, else the other one.
func reasoned(a, other *action) *action {
	if a != nil && a.reason != "" {
		return a
	}
	return other
}

func (o *outlook) sameRole() []Change {
	r := o.r
	migrate := actionOn(r, "migrate_from", o.next)
	switch {
	case migrate != nil && o.cur != nil && migrate.runnable:
		return o.line("Migrate", o.cur, o.next, o.start, nil)
	case r.reloading:
		return o.line("Reload", o.cur, o.next, o.start, nil)
	case o.start == nil || o.start.optional:
		if o.demote != nil && o.promote != nil && !o.demote.optional && !o.promote.optional {
			return o.line("Re-promote", o.cur, o.next, o.promote, o.demote)
		}
		return nil
	case !o.start.runnable:
		return o.line("Stop", o.cur, nil, o.stop, reasoned(o.stop, o.start))
	case o.moving() && r.failed:
		return o.line("Recover", o.cur, o.next, o.stop, nil)
	case o.moving():
		return o.line("Move", o.cur, o.next, o.stop, nil)
	case r.failed:
		return o.line("Recover", o.cur, nil, o.stop, nil)
	}
	return o.line("Restart", o.cur, nil, o.start, nil)
}

func (o *outlook) otherRole() []Change {
	r := o.r
	switch {
	case o.stop != nil && (r.nextRole == RoleStopped || o.start != nil && !o.start.runnable):
		return o.stops()
	case o.stop != nil && r.failed && r.failedStop:
		return o.line("Recover", o.cur, o.next, o.stop, o.start)
	case o.moving():
		return o.line("Move", o.cur, o.next, o.stop, nil)
	case r.reloading:
		return o.line("Reload", o.cur, o.next, o.start, nil)
	case o.stop != nil && !o.stop.optional:
		return o.line("Restart", o.cur, o.next, o.start, nil)
	case r.role == RolePromoted:
		return o.line("Demote", o.cur, o.next, o.demote, nil)
	case r.nextRole == RolePromoted:
		return o.line("Promote", o.cur, o.next, o.promote, nil)
	case r.role == RoleStopped && r.nextRole > RoleStopped && o.cur != nil && o.cur == o.next:
		// A failed migration may have left it there.
		return o.line("Restart", o.cur, nil, o.start, nil)
	case r.role == RoleStopped && r.nextRole > RoleStopped:
		return o.line("Start", o.cur, o.next, o.start, nil)
	}
	return nil
}

// stops has a line for each node a resource is active on.
func (o *outlook) stops() []Change {
	var out []Change
	for _, n := range o.r.runningOn {
		a := actionOn(o.r, "stop", n)
		out = append(out, o.line("Stop", n, nil, a, reasoned(a, o.start))...)
	}
	return out
}

// line words a change. act is the action that could be impossible, why the one that tells the reason (act when nil).
func (o *outlook) line(what string, from, to *node, act, why *action) []Change {
	r := o.r
	x := Change{Action: what, Resource: r.id}
	if x.Node = nodeName(to); to == nil {
		x.Node = nodeName(from)
	}
	o.places(&x, from, to)
	x.Detail = x.detail(r.role == r.nextRole)
	if why == nil {
		why = act
	}
	if why != nil {
		x.Reason = why.reason
	}
	x.Blocked = act == nil || !act.runnable
	x.Text = fmt.Sprintf("%-10s %s     ( %s )%s", what, r.id, x.Detail, x.Due())
	return []Change{x}
}

// Due words why, and whether it is impossible, as it stands behind a line of the summary.
func (x Change) Due() string {
	switch {
	case x.Reason != "" && x.Blocked:
		return "  due to " + x.Reason + " (blocked)"
	case x.Reason != "":
		return "  due to " + x.Reason
	case x.Blocked:
		return "  blocked"
	}
	return ""
}

// places tells where from and to, and in which role.
func (o *outlook) places(x *Change, from, to *node) {
	r := o.r
	role := r.role
	if role == RoleUnknown {
		role = RoleStopped
	}
	sameRole := r.role == r.nextRole
	if r.role > RoleStarted || r.nextRole > RoleUnpromoted {
		x.Role = role.String()
	}
	if from == nil && x.Role != "" || !sameRole && to != nil && from != nil {
		x.Role, x.NextRole = role.String(), r.nextRole.String()
	}
	switch {
	case from != nil:
		x.Source = from.name
		if to != nil && to != from {
			x.Dest = to.name
		}
	case to != nil:
		x.Dest = to.name
	}
}

// detail words what places found.
func (x Change) detail(sameRole bool) string {
	switch {
	case x.Source == "" && x.NextRole != "":
		return x.Role + " -> " + x.NextRole + " " + x.Dest
	case x.Source == "":
		return x.Dest
	case x.NextRole == "" && x.Dest == "":
		return strings.TrimLeft(x.Role+" "+x.Source, " ")
	case sameRole && x.Role != "":
		return x.Source + " -> " + x.Dest + " " + x.Role
	case sameRole:
		return x.Source + " -> " + x.Dest
	case x.Dest == "":
		return x.Role + " -> " + x.NextRole + " " + x.Source
	}
	return x.Role + " " + x.Source + " -> " + x.NextRole + " " + x.Dest
}
