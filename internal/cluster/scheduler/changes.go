package scheduler

import (
	"strings"

	"holdfast/internal/cluster/cib"
)

// findChanges compares the history with the configuration: operations that are no longer wanted are cancelled, resources
// whose parameters changed are restarted or reloaded.
func (c *cluster) findChanges() {
	owners := c.historyOwners()
	for _, n := range c.nodes {
		if n.state == nil || !n.maint && !n.usable() {
			continue
		}
		for _, e := range n.state.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource") {
			for _, r := range owners[e.ID()] {
				c.findResourceChanges(r, n, e)
			}
		}
	}
}

// historyOwners are the primitives by the names their history may be under.
func (c *cluster) historyOwners() map[string][]*resource {
	out := map[string][]*resource{}
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			out[p.id] = append(out[p.id], p)
			if p.historyName != "" && p.historyName != p.id {
				out[p.historyName] = append(out[p.historyName], p)
			}
		})
	}
	return out
}

func (c *cluster) findResourceChanges(r *resource, n *node, e *cib.Element) {
	if r.orphan {
		if !r.isAnonymous() {
			c.planDelete(r, n, false)
		}
		return
	}
	changed := agentChanged(r, e)
	if !containsNode(r.runningOn, n) {
		if changed {
			c.planDelete(r, n, false)
		}
		return
	}
	if changed {
		c.stop(r, n, false)
		r.startPending = true
		c.planDelete(r, n, false)
	}
	c.findHistoryChanges(r, n, e)
}

// findHistoryChanges compares the operations since the resource was last started with the configuration.
func (c *cluster) findHistoryChanges(r *resource, n *node, e *cib.Element) {
	var ops []record
	for _, x := range e.ChildrenNamed("lrm_rsc_op") {
		if op, ok := readRecord(x); ok {
			ops = append(ops, op)
		}
	}
	sortRecords(ops)
	start, stop := activeSpan(ops)
	for i := range ops {
		if start < stop || i+1 < start {
			continue
		}
		if c.findOpChanges(r, n, &ops[i]) {
			// What failed was another definition: it deserves a fresh try.
			if count, _ := c.failCount(r, n, true); count > 0 {
				c.clearFailCount(r, n, "action definition changed")
			}
		}
	}
}

func agentChanged(r *resource, e *cib.Element) bool {
	for _, f := range [][2]string{{r.class, e.Get("class")}, {r.provider, e.Get("provider")}, {r.typ, e.Get("type")}} {
		if f[0] != f[1] && f[1] != "" {
			return true
		}
	}
	return false
}

// findOpChanges deals with one operation and tells whether its definition has changed.
func (c *cluster) findOpChanges(r *resource, n *node, op *record) bool {
	if op.interval > 0 {
		return c.findRecurringChanges(r, n, op)
	}
	switch op.task {
	case "start", "promote", "migrate_from", "monitor", "status":
		return c.findParamChanges(r, n, op)
	}
	return false
}

func (c *cluster) findRecurringChanges(r *resource, n *node, op *record) bool {
	if r.maintenance || n.maint {
		c.cancelRecorded(r, n, op, "maintenance mode")
		return false
	}
	if conf := findOp(r, op.task, op.interval); conf == nil || conf.disabled {
		if c.conf.stopOrphanActions {
			c.cancelRecorded(r, n, op, "orphan")
		}
		return true
	}
	if !c.digestChanged(r, n, op) {
		return false
	}
	c.action(r, op.task, op.interval, n, true).rescheduled = true
	return true
}

// findParamChanges restarts a resource that runs with other parameters than are configured, or reloads it when all that
// changed can be. It tells whether something changed.
func (c *cluster) findParamChanges(r *resource, n *node, op *record) bool {
	want := op.xml.Get("op-restart-digest")
	mustRestart := want == "" || want != c.restartDigest(r, n, op)
	if !c.digestChanged(r, n, op) && (want == "" || !mustRestart || c.onlySecretsDiffer(r, n, op)) {
		return false
	}
	if !mustRestart && !c.hasOwnParameters(r, n, op) {
		c.reload(r, n)
		return true
	}
	c.start(r, nil, false).setReason("resource definition change")
	return true
}

// hasOwnParameters tells whether an operation is configured with parameters of its own, which no reload brings to an agent.
func (c *cluster) hasOwnParameters(r *resource, n *node, op *record) bool {
	conf := findOp(r, op.task, op.interval)
	if conf == nil {
		return false
	}
	p := map[string]string{}
	c.nvPairs(p, "instance_attributes", ruleContext{now: c.now, rsc: r, node: n}, conf.xml)
	return len(p) > 0
}

// restartDigest is the digest of those parameters whose change needs a restart: all of them where the history has no list.
func (c *cluster) restartDigest(r *resource, n *node, op *record) string {
	p := c.opParameters(r, n, op)
	list, given := op.xml.Lookup("op-force-restart")
	for k := range p {
		if given && !strings.Contains(" "+list+" ", " "+k+" ") {
			delete(p, k)
		}
	}
	return cib.OpDigest(p)
}

func (c *cluster) reload(r *resource, n *node) {
	if r.failed || r.startPending || !r.managed {
		c.start(r, nil, false)
		return
	}
	r.reloading = true
	a := c.action(r, "reload-agent", 0, n, false)
	a.setReason("resource definition change")
	c.addOrdering(&ordering{firstAction: a, thenRsc: r, thenTask: "stop", flags: orderPlain | thenCancelsFirst},
		&ordering{firstAction: a, thenRsc: r, thenTask: "demote", flags: orderPlain | thenCancelsFirst})
}

// cancelRecorded ends a recurring operation that the history tells of.
func (c *cluster) cancelRecorded(r *resource, n *node, op *record, why string) {
	x := c.slotAction(r, "cancel_"+op.task, "cancel", op.interval, n, false)
	x.crm, x.runnable = true, true
	x.setReason(why)
	if x.meta != nil {
		return
	}
	x.meta = map[string]string{"operation": op.task, "call_id": itoa(op.callID)}
	c.addOrdering(&ordering{firstRsc: r, firstTask: "stop", thenAction: x, flags: orderPlain})
}
