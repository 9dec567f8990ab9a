package scheduler

import (
	"strconv"
	"time"

	"holdfast/internal/cluster/cib"
)

// defaultTimeout is how long an operation may take when nothing says otherwise.
const defaultTimeout = 20 * time.Second

// action is something that may have to be done. Most are optional: they exist so that orderings can make them required.
type action struct {
	id       int
	rsc      *resource
	node     *node
	task     string
	slot     string // what identifies it among a resource's actions: the task, or pre_notify_start and the like
	shown    string // what stands for the slot in the key under the name history knows the resource by; "" for the slot
	interval time.Duration

	optional    bool
	due         bool // the plan asks for it, though it may not be possible and so stay optional
	runnable    bool
	pseudo      bool
	dangling    bool // the stop of what has been migrated away
	migratable  bool // part of a live migration
	crm         bool
	printAlways bool // keep it in the graph though optional, if something needs it
	needsAny    int  // runnable when so many of those before it are; 0 for the ordinary rule
	runnableHit int
	reachedFrom *action // the probe whose followers were walked last, if this was one of them
	demanded    bool    // a fencing that something asks for
	rescheduled bool    // its parameters changed

	needs    requirement
	targetRC int
	reason   string
	priority int
	meta     map[string]string
	notes    map[string]string // notify variables
	downed   []string

	before, after []*link
	dumped        bool
	listed        bool // among the graph's unrunnable actions
	building      bool
}

// actionID finds a resource's action.
type actionID struct {
	slot     string
	interval time.Duration
}

func (a *action) key() string {
	if a.rsc == nil {
		return a.slot
	}
	return a.rsc.id + "_" + a.slot + "_" + strconv.FormatInt(a.interval.Milliseconds(), 10)
}

// missed tells whether an action should be done and cannot be.
func (a *action) missed() bool { return a != nil && !a.runnable && (a.due || !a.optional) }

// is tells whether a is a one-off action of that task.
func (a *action) is(task string) bool { return a.task == task && a.interval == 0 }

// action finds or makes a resource's action. A request that is not optional makes it required, unless the resource is left
// alone.
func (c *cluster) action(r *resource, task string, interval time.Duration, n *node, optional bool) *action {
	return c.slotAction(r, task, task, interval, n, optional)
}

func (c *cluster) slotAction(r *resource, slot, task string, interval time.Duration, n *node, optional bool) *action {
	id := actionID{slot, interval}
	if a := r.findAction(id, n); a != nil {
		if !optional {
			a.optional = false
		}
		c.settleAction(a)
		return a
	}
	a := &action{id: len(c.actions) + 1, rsc: r, node: n, task: task, slot: slot, interval: interval, optional: optional, runnable: true}
	c.actions = append(c.actions, a)
	if r.actionIndex == nil {
		r.actionIndex = map[actionID][]*action{}
	}
	r.actionIndex[id] = append(r.actionIndex[id], a)
	r.actions = append(r.actions, a)
	if task == "start" || task == "promote" {
		a.needs = r.requires
	}
	c.settleAction(a)
	return a
}

// settleAction sets what follows from the state of resource, node and quorum.
func (c *cluster) settleAction(a *action) {
	r := a.rsc
	if !r.managed && a.interval == 0 && r.kind == primitive && !a.crm && a.task != "clear_failcount" && a.task != "monitor" {
		a.optional = true
	}
	c.settleRunnable(a)
}

// settleRunnable rules out what no node can do, and what needs quorum without it.
func (c *cluster) settleRunnable(a *action) {
	n, r := a.node, a.rsc
	switch {
	case a.pseudo || r.kind != primitive, a.task == "lrm_delete":
		// No node has to do anything.
	case n == nil:
		a.runnable = false
	case !n.online && (!n.isGuest() || n.requiresReset):
		a.runnable = false
		if r.managed && !a.optional && !n.unclean && c.conf.stonith {
			c.mustFence(n, "resource actions are unrunnable")
		}
	case n.pending:
		a.runnable = false
	case a.needs == needNothing:
		// Nothing can be done on a guest node whose host is lost and cannot be fenced.
		a.runnable = !n.isGuest() || c.canFence(n)
		a.reason = ""
	default:
		c.settleQuorum(a)
	}
}

// settleQuorum applies no-quorum-policy to a start or promotion.
func (c *cluster) settleQuorum(a *action) {
	r := a.rsc
	switch c.effectivePolicy(r) {
	case quorumStop:
		a.runnable = false
		a.setReason("no quorum")
	case quorumFreeze:
		if !r.active(true) || r.nextRole > r.role {
			a.runnable = false
			a.setReason("quorum freeze")
		}
	default:
		a.runnable = true
	}
}

// effectivePolicy is no-quorum-policy for one resource: with quorum, or for an instance that is only to be demoted,
// nothing is to be done.
func (c *cluster) effectivePolicy(r *resource) quorumPolicy {
	switch {
	case c.quorum:
		return quorumIgnore
	case c.conf.policy != quorumDemote:
		return c.conf.policy
	case r.role == RolePromoted || r.role == RoleUnpromoted:
		if r.nextRole > RoleUnpromoted {
			r.nextRole = RoleUnpromoted
		}
		return quorumIgnore
	}
	return quorumStop
}

func (a *action) setReason(why string) {
	if a.reason == "" {
		a.reason = why
	}
}

// findAction finds an action by slot and node. An action that has no node yet is given the one asked for.
func (r *resource) findAction(id actionID, n *node) *action {
	for _, a := range r.actionIndex[id] {
		if n == nil || a.node == n {
			return a
		}
		if a.node == nil {
			a.node = n
			return a
		}
	}
	return nil
}

// actionsOf lists a resource's actions of a task with interval 0.
func (r *resource) actionsOf(task string) []*action {
	return r.actionIndex[actionID{task, 0}]
}

// firstAction is a resource's first one-off action of a task, on a node if one is given.
func (r *resource) firstAction(task string, n *node) *action {
	for _, a := range r.actionIndex[actionID{task, 0}] {
		if n == nil || a.node == nil || a.node == n {
			return a
		}
	}
	return nil
}

func (c *cluster) start(r *resource, n *node, optional bool) *action {
	return c.action(r, "start", 0, n, optional)
}

func (c *cluster) stop(r *resource, n *node, optional bool) *action {
	return c.action(r, "stop", 0, n, optional)
}

func (c *cluster) promote(r *resource, n *node, optional bool) *action {
	return c.action(r, "promote", 0, n, optional)
}

func (c *cluster) demote(r *resource, n *node, optional bool) *action {
	return c.action(r, "demote", 0, n, optional)
}

// pseudoAction makes a point in the order for a collection.
func (c *cluster) pseudoAction(r *resource, task string, optional, runnable bool) *action {
	a := c.action(r, task, 0, nil, optional)
	a.pseudo = true
	a.runnable = a.runnable || runnable
	if !runnable {
		a.runnable = false
	}
	return a
}

// actionMeta are the meta attributes of an action, from the configured operation and the defaults: names with underscores,
// time spans in milliseconds.
func (c *cluster) actionMeta(a *action) map[string]string {
	r := a.rsc
	m := map[string]string{}
	op := c.opFor(a)
	if op != nil {
		m = c.opMeta(r, op)
	} else {
		m = c.opDefault(r, a.task, a.interval)
	}
	delete(m, "interval")
	delete(m, "description")
	if a.interval > 0 {
		m["interval"] = millis(a.interval)
	}
	if delay, given := m["start-delay"]; given {
		m["start-delay"] = millis(span(delay, 0))
	}
	m["timeout"] = millis(c.opTimeout(r, operationOf(a), a.interval))
	return m
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// opFor is the configured operation an action carries out, or nil.
func (c *cluster) opFor(a *action) *opConfig {
	return findOp(a.rsc, operationOf(a), a.interval)
}

// operationOf is the operation an action is about: for a cancellation the one to cancel, for a confirmation what it confirms.
func operationOf(a *action) string {
	switch a.task {
	case "cancel":
		return a.meta["operation"]
	case "notified":
		return "notify"
	}
	return a.task
}

// opTimeout is how long an operation may take.
func (c *cluster) opTimeout(r *resource, task string, interval time.Duration) time.Duration {
	op := findOp(r, task, interval)
	var m map[string]string
	switch {
	case op != nil:
		m = c.opMeta(r, op)
	case task == "monitor" && interval == 0:
		// A probe without settings of its own has the timeout written on the most frequent monitor.
		m = c.opDefault(r, task, interval)
		if f := fastestMonitor(r); f != nil && f.xml.Get("timeout") != "" {
			m["timeout"] = f.xml.Get("timeout")
		}
	default:
		m = c.opDefault(r, task, interval)
	}
	d, err := cib.ParseInterval(m["timeout"])
	if err != nil || d <= 0 {
		return defaultTimeout
	}
	return d
}

func fastestMonitor(r *resource) *opConfig {
	var best *opConfig
	for _, op := range r.ops {
		if op.name == "monitor" && !op.disabled && op.interval > 0 && (best == nil || op.interval < best.interval) {
			best = op
		}
	}
	return best
}
