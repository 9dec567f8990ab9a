package scheduler

import (
	"fmt"
	"strings"
)

// summarize tells what will happen to each node and resource.
func (c *cluster) summarize() []Change {
	var out []Change
	for _, a := range c.fences {
		x := Change{Action: "Fence", Node: a.node.name, Detail: c.conf.stonithAction, Reason: a.reason}
		x.Text = fmt.Sprintf("Fence (%s) %s", c.conf.stonithAction, a.node.name)
		if a.reason != "" {
			x.Text += " '" + a.reason + "'"
		}
		out = append(out, x)
	}
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			if x := c.summarizeResource(p); x != nil {
				out = append(out, *x)
			}
		})
	}
	return out
}

// outlook is what the summary of a resource is drawn from.
type outlook struct {
	r                            *resource
	cur, next                    *node
	start, stop, promote, demote *action
	moving                       bool
}

func (c *cluster) summarizeResource(r *resource) *Change {
	o := outlook{r: r, next: r.assigned}
	if r.pendingTask == "" || len(r.runningOn) > 0 {
		o.cur = r.curNode()
	}
	if o.cur == nil && r.orphan {
		return nil
	}
	o.moving = o.cur != nil && o.next != nil && o.cur != o.next
	if o.cur == nil && r.nextRole <= RoleStopped {
		return nil
	}
	if !r.managed {
		return nil
	}
	o.start = actionOn(r, "start", o.next)
	o.stop = actionOn(r, "stop", o.cur)
	if o.cur == nil {
		o.stop = nil
	}
	o.promote = actionOn(r, "promote", o.next)
	o.demote = actionOn(r, "demote", o.cur)
	return o.change()
}

func actionOn(r *resource, task string, n *node) *action {
	for _, a := range r.actionsOf(task) {
		if n == nil || a.node == n {
			return a
		}
	}
	return nil
}

// change decides which line describes a resource.
func (o *outlook) change() *Change {
	r := o.r
	if r.role == r.nextRole || r.role == RoleStarted && r.nextRole == RoleUnpromoted && false {
		return o.sameRole()
	}
	return o.otherRole()
}

func (o *outlook) sameRole() *Change {
	r := o.r
	switch {
	case r.role <= RoleStopped:
		return nil
	case o.start == nil || o.start.optional:
		if a := r.firstAction("reload-agent", nil); a != nil && !a.optional && a.runnable {
			return o.line("Reload", nil, a)
		}
		if o.demote != nil && !o.demote.optional && o.promote != nil && o.promote.optional {
			return o.line("Demote", nil, o.demote)
		}
		if o.demote != nil && !o.demote.optional && o.demote.runnable && o.promote != nil && !o.promote.optional {
			return o.line("Re-promote", nil, o.demote)
		}
		return nil
	case o.stop == nil && o.start != nil && !o.start.runnable:
		return o.line("Stop", nil, o.start)
	case !o.start.runnable:
		act := o.stop
		if o.stop == nil || !o.stop.runnable && o.stop.reason == "" {
			act = o.start
		}
		if o.start.reason != "" {
			act = o.start
		}
		return o.line("Stop", o.stop, act)
	case o.moving && r.failed:
		return o.line("Recover", o.stop, nil)
	case r.failed:
		return o.line("Recover", o.stop, nil)
	case o.moving:
		return o.line("Move", o.stop, o.stop)
	}
	return o.line("Restart", o.start, o.start)
}

func (o *outlook) otherRole() *Change {
	r := o.r
	switch {
	case r.nextRole <= RoleStopped:
		return o.line("Stop", o.stop, o.stop)
	case r.role <= RoleStopped:
		if o.start != nil && r.nextRole > RoleUnpromoted {
			if o.promote != nil && !o.promote.runnable && o.promote.reason != "" {
				return o.line("Promote", o.start, o.promote)
			}
			return o.line("Promote", o.start, nil)
		}
		return o.line("Start", o.start, o.start)
	case r.nextRole > r.role:
		return o.line("Promote", o.promote, o.promote)
	}
	return o.line("Demote", o.demote, o.demote)
}

// line writes the change; source is the action that could be impossible, reason the one that tells why.
func (o *outlook) line(what string, source, reason *action) *Change {
	r := o.r
	x := &Change{Action: what, Resource: r.id, Detail: o.detail(what)}
	for _, n := range []*node{o.next, o.cur} {
		if n != nil {
			x.Node = n.name
			break
		}
	}
	if reason != nil && reason.reason != "" {
		x.Reason = reason.reason
	}
	x.Text = fmt.Sprintf("%-10s %s     ( %s )", what, r.id, x.Detail)
	if x.Reason != "" {
		x.Text += "  due to " + x.Reason
	}
	if source != nil && !source.runnable {
		x.Text += " (blocked)"
	}
	return x
}

func (o *outlook) detail(what string) string {
	r := o.r
	roles := r.isPromotable()
	cur, next := nodeName(o.cur), nodeName(o.next)
	switch what {
	case "Start":
		if roles {
			return r.nextRole.String() + " " + next
		}
		return next
	case "Stop":
		if roles {
			return r.role.String() + " " + cur
		}
		return cur
	case "Promote", "Demote":
		at := next
		if at == "" {
			at = cur
		}
		if o.moving {
			return fmt.Sprintf("%s %s -> %s %s", r.role, cur, r.nextRole, next)
		}
		return fmt.Sprintf("%s -> %s %s", r.role, r.nextRole, at)
	}
	if o.moving {
		if roles {
			return fmt.Sprintf("%s %s -> %s %s", r.role, cur, r.nextRole, next)
		}
		return cur + " -> " + next
	}
	at := next
	if at == "" {
		at = cur
	}
	if roles {
		return r.role.String() + " " + at
	}
	return strings.TrimSpace(at)
}
