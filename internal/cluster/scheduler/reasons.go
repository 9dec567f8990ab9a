package scheduler

import "fmt"

// explain says, for each instance that should run or be promoted and will not, why.
func (c *cluster) explain() []Reason {
	var out []Reason
	for _, r := range c.resources {
		if r.kind == clone {
			out = append(out, c.explainClone(r)...)
			continue
		}
		r.leaves(func(p *resource) { out = append(out, c.explainPrimitive(p)...) })
	}
	return out
}

func (c *cluster) explainPrimitive(r *resource) []Reason {
	if r.orphan || !c.needsExplaining(r) {
		return nil
	}
	say := func(n *node, format string, a ...any) []Reason {
		return []Reason{{Resource: r.id, Node: nodeName(n), Text: fmt.Sprintf(format, a...)}}
	}
	switch {
	case r.blocked:
		return say(r.curNode(), "a failure needs a person: see the failed actions, then pcs resource cleanup %s", historyID(r))
	case c.conf.stonith && !c.conf.haveDevice:
		return say(nil, "stonith-enabled=true, and no fencing device is configured")
	case c.disabled(r):
		return say(nil, "it is disabled (target-role=%s): pcs resource enable %s", r.meta["target-role"], r.id)
	case c.conf.maintenance || r.maintenance:
		return say(nil, "maintenance mode: the cluster leaves it alone")
	case !r.managed:
		return say(nil, "it is not managed: pcs resource manage %s", r.id)
	case c.conf.stopAll:
		return say(nil, "stop-all-resources is set")
	}
	if a := r.firstAction("start", nil); a.missed() && a.reason != "" {
		return say(a.node, "%s", a.reason)
	}
	if r.nextRole > RoleStopped {
		return nil
	}
	return c.explainNodes(r)
}

// needsExplaining tells whether a resource will not run, or runs where nobody can do anything about it.
func (c *cluster) needsExplaining(r *resource) bool {
	if r.blocked || r.nextRole <= RoleStopped || r.role <= RoleStopped {
		return true
	}
	if n := r.curNode(); n != nil && n.unclean && !c.canFence(n) {
		return true
	}
	a := r.firstAction("start", r.assigned)
	return a.missed()
}

func (c *cluster) disabled(r *resource) bool { return c.targetRole(r) == RoleStopped }

// explainNodes says for each node why a resource is not there: first what it waits for, then what is against it.
func (c *cluster) explainNodes(r *resource) []Reason {
	if w := waitsFor(r); w != "" {
		return []Reason{{Resource: r.id, Text: w}}
	}
	var out []Reason
	for i, n := range c.nodes {
		if n.inside && !r.weights[i].present {
			// No place for anything but what belongs there.
			continue
		}
		why := c.nodeReason(r, n)
		if why == "" {
			why = keptOff(r, n)
		}
		if why == "" && r.weights[i].present && r.weights[i].score < 0 {
			why = "a location constraint or colocation keeps it off this node"
		}
		if why == "" && !r.weights[i].present {
			why = "no location constraint allows this node (symmetric-cluster=false)"
		}
		if why != "" {
			out = append(out, Reason{Resource: r.id, Node: n.name, Text: why})
		}
	}
	return out
}

// waitsFor names the resource that must be placed first, and is not.
func waitsFor(r *resource) string {
	for p := r; p != nil; p = p.parent {
		for _, x := range p.thisWith {
			if x.score < infinity {
				continue
			}
			switch {
			case x.primaryRole == RolePromoted && x.primary.state(false) != RolePromoted:
				return "waiting for " + x.primary.id + " to be promoted"
			case x.primary.state(false) <= RoleStopped:
				return "waiting for " + x.primary.id + " to be started"
			}
		}
	}
	return ""
}

// nodeReason says what keeps a resource off a node, "" when nothing general does.
func (c *cluster) nodeReason(r *resource, n *node) string {
	switch {
	case n.unclean:
		return "node " + n.name + " is lost and not yet fenced"
	case !n.online:
		return "node " + n.name + " is offline"
	case n.pending:
		return "node " + n.name + " is still joining"
	case n.shutdown:
		return "node " + n.name + " is shutting down"
	case n.onFail:
		return "node " + n.name + " is in standby because of a failure (on-fail=standby)"
	case n.standby:
		return "node " + n.name + " is in standby"
	case n.maint:
		return "node " + n.name + " is in maintenance"
	}
	count, reached := c.thresholdReached(r, n)
	if !reached {
		return ""
	}
	if count >= infinity {
		return fmt.Sprintf("failed for good on %s: pcs resource cleanup %s", n.name, historyID(r))
	}
	return fmt.Sprintf("failed %s on %s (migration-threshold=%d): pcs resource cleanup %s", times(count), n.name, r.threshold, historyID(r))
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// explainClone says which nodes have no instance, and why none is promoted.
func (c *cluster) explainClone(cl *resource) []Reason {
	var out []Reason
	promoted := 0
	for _, k := range cl.children {
		if k.state(false) == RolePromoted {
			promoted++
		}
	}
	if c.disabled(cl) {
		return []Reason{{Resource: cl.id, Text: fmt.Sprintf("it is disabled (target-role=%s): pcs resource enable %s", cl.meta["target-role"], cl.id)}}
	}
	for _, k := range cl.children {
		switch n := k.location(false); {
		case k.orphan:
		case anyBlocked(k):
			out = append(out, Reason{cl.id, nodeName(k.curNode()), "a failure needs a person: see the failed actions, then pcs resource cleanup " + cl.id})
		case n != nil:
			out = append(out, c.explainInstance(cl, k, n, promoted)...)
		}
	}
	return append(out, c.explainEmpty(cl)...)
}

// explainInstance says why an instance with a node does not start or is not promoted.
func (c *cluster) explainInstance(cl, k *resource, n *node, promoted int) []Reason {
	var out []Reason
	k.leaves(func(p *resource) {
		if a := p.firstAction("start", n); a.missed() && a.reason != "" {
			out = append(out, Reason{p.id, n.name, a.reason})
		} else if a := p.firstAction("promote", n); a.missed() && a.reason != "" {
			out = append(out, Reason{p.id, n.name, "not promoted: " + a.reason})
		}
	})
	if len(out) > 0 || !cl.promotable || k.state(false) == RolePromoted || promoted >= cl.promotedMax {
		return out
	}
	if why := c.forbidden(k, n); why != "" {
		return append(out, Reason{k.id, n.name, "not promoted: " + why})
	}
	switch {
	case parseRole(cl.meta["target-role"]) == RoleUnpromoted:
		return append(out, Reason{k.id, n.name, "not promoted: target-role=" + cl.meta["target-role"]})
	case k.priority <= -infinity:
		return append(out, Reason{k.id, n.name, "not promoted: a constraint forbids it on this node"})
	case k.priority < 0:
		return append(out, Reason{k.id, n.name, "not promoted: its agent has given it no promotion score here"})
	}
	return out
}

// explainEmpty says why nodes have no instance when there are instances left for them.
func (c *cluster) explainEmpty(cl *resource) []Reason {
	left := 0
	var sample *resource
	for _, k := range cl.children {
		if k.location(false) == nil && !k.orphan {
			left++
			k.leaves(func(p *resource) { sample = p })
		}
	}
	if left == 0 || sample == nil {
		return nil
	}
	used := cl.where(false)
	var out []Reason
	for i, n := range c.nodes {
		if containsNode(used, n) {
			continue
		}
		why := c.nodeReason(sample, n)
		if why == "" {
			why = keptOff(sample, n)
		}
		if why == "" && (!cl.weights[i].present || cl.weights[i].score < 0) {
			why = "a constraint keeps it off this node"
		}
		if why != "" {
			out = append(out, Reason{cl.id, n.name, why})
		}
	}
	return out
}
