package scheduler

import (
	"cmp"
	"slices"
	"strconv"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/transition"
)

func itoa(n int) string { return strconv.Itoa(n) }

// buildGraph keeps what is to be done.
func (c *cluster) buildGraph() *transition.Graph {
	g := &transition.Graph{ID: c.in.TransitionID, BatchLimit: c.conf.batchLimit, ClusterDelay: c.conf.clusterDelay,
		StonithTimeout: c.conf.stonithTimeout, StartFailureFatal: c.conf.startFatal, RecheckAt: c.recheck}
	for _, a := range c.actions {
		if a.needsAny > 0 && a.runnableHit < a.needsAny {
			a.runnable = false
		}
	}
	c.settleClones()
	for _, a := range c.actions {
		c.giveWay(a)
	}
	for _, a := range c.actions {
		c.dump(g, a)
	}
	slices.SortFunc(g.Actions, func(x, y *transition.Action) int { return cmp.Compare(x.ID, y.ID) })
	return g
}

// giveWay drops orderings that yield where they would close a circle: dump breaks a circle where it happens to meet it, and that
// could be between the stop of a resource and its start elsewhere.
func (c *cluster) giveWay(a *action) {
	a.before = slices.DeleteFunc(a.before, func(l *link) bool {
		return l.yields && c.wanted(a) && c.wanted(l.first) && c.waits(l.first, a, map[*action]bool{})
	})
}

// waits tells whether one action waits for another in the graph, through any others.
func (c *cluster) waits(a, first *action, seen map[*action]bool) bool {
	if a == first {
		return true
	}
	if seen[a] || !c.wanted(a) {
		return false
	}
	seen[a] = true
	return slices.ContainsFunc(a.before, func(l *link) bool { return c.wantedInput(a, l) && c.waits(l.first, first, seen) })
}

// settleClones derives the final properties of clones' actions from those of their instances.
func (c *cluster) settleClones() {
	for _, a := range c.actions {
		if a.rsc != nil && a.rsc.kind >= clone {
			c.actionFlags(a, nil)
		}
	}
}

// dump adds an action, and what must come before it, to the graph.
func (c *cluster) dump(g *transition.Graph, a *action) {
	if a.dumped || !c.wanted(a) {
		return
	}
	a.dumped, a.building = true, true
	defer func() { a.building = false }()
	t := c.encode(a)
	g.Actions = append(g.Actions, t)
	slices.SortStableFunc(a.before, func(x, y *link) int { return cmp.Compare(x.first.id, y.first.id) })
	last := 0
	for _, l := range mergeLinks(a.before) {
		if !c.wantedInput(a, l) || l.first.building {
			// One that is being built waits for a: the circle is broken here.
			continue
		}
		if c.wanted(l.first) {
			c.dump(g, l.first)
		} else if !l.first.listed {
			l.first.listed = true
			g.Unrunnable = append(g.Unrunnable, c.encode(l.first))
		}
		if l.first.id != last {
			t.Inputs = append(t.Inputs, l.first.id)
			last = l.first.id
		}
	}
}

// mergeLinks makes one link of those between the same two actions; the list is sorted by the first.
func mergeLinks(list []*link) []*link {
	var out []*link
	for _, l := range list {
		if n := len(out); n > 0 && out[n-1].first == l.first {
			out[n-1].flags |= l.flags
			continue
		}
		out = append(out, l)
	}
	return out
}

// wanted tells whether an action belongs in the graph.
func (c *cluster) wanted(a *action) bool {
	switch {
	case !a.runnable, a.optional && !a.printAlways:
		return false
	case a.rsc != nil && !a.rsc.managed && a.interval == 0 && a.task != "monitor":
		return false
	case a.pseudo, a.task == "stonith", a.task == "do_shutdown", a.task == "clear_failcount", a.task == "lrm_delete":
		return true
	case a.node == nil:
		return false
	case a.node.isGuest() && !a.node.requiresReset:
		// It will be up by then.
		return true
	case !a.node.online, a.node.unclean:
		return false
	}
	return true
}

// wantedInput tells whether an ordering matters in the graph.
func (c *cluster) wantedInput(a *action, l *link) bool {
	in := l.first
	switch {
	case l.flags == 0:
		return false
	case !in.runnable && l.flags&^(orderPlain|impliesThenPrinted|impliesFirstPrinted) == 0:
		return c.in.Cautious && l.flags != orderPlain
	case !in.runnable && l.flags&(oneOrMore|migratableImpliesFirst) != 0:
		return false
	case l.flags&onlyIfUnmigratable != 0 && in.migratable:
		return false
	case l.flags == orderPlain && in.migratable && in.is("stop"):
		return false
	case in.needsAny > 0 && in.runnableHit < in.needsAny:
		return false
	case a.is("stop") && in.followsStopOf(a.rsc):
		return false
	case in.rsc != nil && in.rsc != a.rsc && in.rsc.failed && !in.rsc.managed && in.is("stop") && a.rsc != nil && a.rsc.kind == clone:
		return false
	case l.flags == antiColocation && (in.optional || in.node != nil && a.node != nil && in.node != a.node):
		return false
	case l.flags == orderLoad && !loadMatters(a, in):
		return false
	case in.optional && !in.printAlways && !c.wanted(in):
		return false
	}
	return true
}

// encode turns an action into its final form.
func (c *cluster) encode(a *action) *transition.Action {
	t := &transition.Action{ID: a.id, Task: a.task, Key: a.key(), Interval: a.interval, TargetRC: a.targetRC, Priority: a.priority,
		Downed: a.takesDown(), Attrs: map[string]string{}}
	switch {
	case a.pseudo:
		t.Kind = transition.Pseudo
	case a.task == "stonith":
		t.Kind = transition.Fence
	case a.crm:
		t.Kind = transition.Crm
	}
	put := func(k, v string) { t.Attrs["CRM_meta_"+underscore(k)] = v }
	t.Attrs["crm_feature_set"] = cib.FeatureSet
	if a.node != nil && (!a.pseudo || a.task == "stonith") {
		t.Node, t.NodeID = a.node.name, a.node.id
		if via := a.router(); via != nil && !a.pseudo && a.task != "stonith" {
			t.Router = via.name
		}
		put("on_node", a.node.name)
		put("on_node_uuid", a.node.id)
	}
	if a.rsc != nil {
		t.Priority = max(t.Priority, scoreOr(a.rsc.meta["priority"], 0))
		c.encodeResource(t, a, put)
	}
	for k, v := range a.meta {
		put(k, v)
	}
	return t
}

func (c *cluster) encodeResource(t *transition.Action, a *action, put func(k, v string)) {
	r := a.rsc
	for k, v := range c.actionMeta(a) {
		put(k, v)
	}
	for k, v := range a.notes {
		put(k, v)
	}
	putCloneMeta(r, put)
	if host := a.host(); host != nil {
		put("physical_host", host.name)
		if target := r.meta["container-attribute-target"]; target != "" {
			put("container_attribute_target", target)
		}
	}
	if r.container != nil {
		put("container", r.container.id)
	}
	if a.targetRC != 0 {
		put("op_target_rc", itoa(a.targetRC))
	}
	if a.task == "clear_failcount" {
		put("op_no_wait", "true")
	}
	if r.kind != primitive {
		t.Timeout = defaultTimeout
		return
	}
	t.Timeout = c.opTimeout(r, operationOf(a), a.interval)
	if a.task == "cancel" {
		t.Key = r.id + "_" + a.meta["operation"] + "_" + millis(a.interval)
	}
	c.encodeAgent(t, a)
}

func (c *cluster) encodeAgent(t *transition.Action, a *action) {
	r := a.rsc
	t.Class, t.Provider, t.Type = r.class, r.provider, r.typ
	t.Instance, t.Resource = r.id, r.id
	if r.isAnonymous() {
		t.Resource = r.xml.ID()
		if r.historyName != "" && r.historyName != r.id {
			t.InternalKey = t.Key
			t.Key = r.historyName + t.Key[len(r.id):]
			if a.shown != "" {
				t.Key = r.historyName + "_" + a.shown + "_0"
			}
			if r.orphan {
				t.Resource = r.historyName
			} else if r.historyName != t.Resource {
				t.Instance = r.historyName
			}
		}
	}
	if p := r.replica; p != nil && r == p.instance && p.ip != "" {
		t.Attrs[cib.ExternalIP] = p.ip
	}
	if a.pseudo {
		t.Class, t.Provider, t.Type = "", "", ""
		return
	}
	for k, v := range c.parameters(r, a.node) {
		t.Attrs[k] = v
	}
	if op := c.opFor(a); op != nil {
		c.nvPairs(t.Attrs, "instance_attributes", ruleContext{now: c.now, rsc: r, node: a.node}, op.xml)
	}
}

// putCloneMeta adds the meta attributes of the clone a resource is, or is part of, that agents ask for.
func putCloneMeta(r *resource, put func(k, v string)) {
	cl := r.collection()
	if cl.kind != clone {
		return
	}
	if r.kind == primitive {
		if _, number, ok := cutInstance(r.id); ok {
			put("clone", itoa(number))
		}
	}
	put("clone_max", itoa(cl.max))
	put("clone_node_max", itoa(cl.nodeMax))
	put("globally_unique", strconv.FormatBool(cl.unique))
	put("notify", strconv.FormatBool(cl.notify))
	if cl.promotable {
		put("promoted_max", itoa(cl.promotedMax))
		put("promoted_node_max", itoa(cl.promotedNode))
		put("master_max", itoa(cl.promotedMax))
		put("master_node_max", itoa(cl.promotedNode))
	}
}

func underscore(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '-' {
			b[i] = '_'
		}
	}
	return string(b)
}
