package scheduler

import (
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
)

// failCount adds up the failures of a resource on a node; effective leaves out those that have expired. last is
// the time of the latest.
func (c *cluster) failCount(r *resource, n *node, effective bool) (count int, last time.Time) {
	name := historyID(r)
	for k, v := range n.attrs {
		rest, isCount := strings.CutPrefix(k, "fail-count-")
		if isCount && c.failureOf(rest, name, r) {
			count = addScores(count, scoreOr(v, 0))
			continue
		}
		if rest, isTime := strings.CutPrefix(k, "last-failure-"); isTime && c.failureOf(rest, name, r) {
			if t, err := strconv.ParseInt(v, 10, 64); err == nil && time.Unix(t, 0).After(last) {
				last = time.Unix(t, 0)
			}
		}
	}
	if effective && count > 0 && r.failTimeout > 0 && !last.IsZero() && !c.blockingFailure(r, n) &&
		c.now.After(last.Add(r.failTimeout)) {
		count = 0
	}
	for _, f := range r.fillers {
		// What fails inside is mended by restarting the container, and so counts for it.
		more, when := c.failCount(f, n, effective)
		count = addScores(count, more)
		if when.After(last) {
			last = when
		}
	}
	return count, last
}

// historyID is the name a resource's failures are counted under.
func historyID(r *resource) string {
	if r.historyName != "" {
		if r.isAnonymous() {
			base, _, _ := cutInstance(r.historyName)
			return base
		}
		return r.historyName
	}
	if r.isAnonymous() {
		return r.xml.ID()
	}
	return r.id
}

// failuresByOperation is the feature set from which on failures are counted for each operation.
const failuresByOperation = "3.0.13"

// failureOf tells whether RESOURCE[:N]#OP_INTERVAL (or only RESOURCE, in the CIBs of older versions) is about name.
func (c *cluster) failureOf(attr, name string, r *resource) bool {
	who, _, byOperation := strings.Cut(attr, "#")
	if byOperation != (compareVersions(c.doc.Root.Get("crm_feature_set"), failuresByOperation) >= 0) {
		return false
	}
	if who == name {
		return true
	}
	base, _, numbered := cutInstance(who)
	return numbered && r.isAnonymous() && base == name
}

// blockingFailure tells whether a failure with on-fail=block is on record, which never expires.
func (c *cluster) blockingFailure(r *resource, n *node) bool {
	for _, op := range r.ops {
		if op.xml.Get("on-fail") != "block" {
			continue
		}
		for _, f := range c.failedRecords(r, n) {
			if f.task == op.name && f.interval == op.interval {
				return true
			}
		}
	}
	return false
}

// failedRecords are the entries of a resource's history on a node that did not come out as expected.
func (c *cluster) failedRecords(r *resource, n *node) []record {
	var out []record
	e := n.state.Child("lrm").Child("lrm_resources").ChildWith("lrm_resource", "id", historyID(r))
	for _, x := range e.ChildrenNamed("lrm_rsc_op") {
		if op, ok := readRecord(x); ok && op.status != stPending && op.expected >= 0 && op.rc != op.expected {
			out = append(out, op)
		}
	}
	return out
}

// expiredFailure tells whether an entry is older than failure-timeout allows to matter, and plans to clear the count.
func (c *cluster) expiredFailure(r *resource, n *node, op *record) bool {
	if op.status == stNotInstalled {
		return false
	}
	expired := false
	clearWhy := ""
	unexpired := 0
	if r.failTimeout > 0 && !op.changed.IsZero() {
		expired = !c.now.Before(op.changed.Add(r.failTimeout)) && !c.blockingFailure(r, n) && !c.awaitsFencing(r, op)
		var last time.Time
		unexpired, last = c.failCount(r, n, true)
		if unexpired > 0 && c.now.Before(last.Add(r.failTimeout)) {
			c.recheckAt(last.Add(r.failTimeout))
		}
	}
	if expired {
		if total, _ := c.failCount(r, n, false); total > 0 {
			if unexpired == 0 {
				clearWhy = "it expired"
			} else {
				expired = false
			}
		} else if op.isLastFailure() && r.reconnect > 0 {
			clearWhy = "reconnect interval is set"
		}
	}
	if _, known := op.xml.Lookup("op-digest"); known && !expired && op.isLastFailure() && (op.task == "start" || op.task == "monitor") {
		switch {
		case r.followsHost():
			failed := *op
			c.checkLater = append(c.checkLater, func() { c.clearIfChanged(r, n, &failed) })
		case c.digestChanged(r, n, op):
			clearWhy = parametersChanged
		}
	}
	if clearWhy != "" {
		a := c.clearFailCount(r, n, clearWhy)
		if c.conf.stonith && r.reconnect > 0 && r.connects != nil {
			orderActions(c.fenceIfNeeded(r.connects), a, impliesThen)
		}
	}
	if expired && op.isProbe() {
		switch op.rc {
		case rcOK, rcNotRunning, rcPromoted, rcDegraded, rcDegradedProm:
			return false
		}
	}
	return expired
}

// parametersChanged is why failures with other parameters than the present ones are forgotten.
const parametersChanged = "resource parameters have changed"

// clearIfChanged forgets the failures of a resource whose parameters depend on where others are, once that is decided.
func (c *cluster) clearIfChanged(r *resource, n *node, op *record) {
	if c.digestChanged(r, n, op) {
		c.clearFailCount(r, n, parametersChanged)
	}
}

// clearFailCount plans to forget a resource's failures on a node.
func (c *cluster) clearFailCount(r *resource, n *node, why string) *action {
	a := c.action(r, "clear_failcount", 0, n, false)
	a.reason = why
	a.crm = true
	a.runnable = true
	return a
}

// forgetOrphanFailures plans to forget, before it is stopped, how often a resource that is no longer configured failed.
func (c *cluster) forgetOrphanFailures(r *resource) {
	for _, n := range c.nodes {
		if count, _ := c.failCount(r, n, true); count > 0 && n.online {
			c.addOrdering(&ordering{firstAction: c.clearFailCount(r, n, "it is orphaned"), thenRsc: r, thenTask: "stop", flags: orderPlain})
		}
	}
}

// failurePolicy is what on-fail says about an operation, and the role to fall back to.
func (c *cluster) failurePolicy(r *resource, task string, interval time.Duration) (onFail, Role) {
	op := findOp(r, task, interval)
	value := ""
	if op != nil {
		value = c.opMeta(r, op)["on-fail"]
	} else {
		value = c.opDefault(r, task, interval)["on-fail"]
	}
	if task == "stop" && (value == "stop" || value == "standby" || value == "demote") {
		c.warn("on-fail=" + value + " is not allowed for stop of " + r.id + "; acting as if there were none")
		value = ""
	}
	switch value {
	case "block":
		return failBlock, fallback(task)
	case "fence":
		if c.conf.stonith {
			return failFence, fallback(task)
		}
		c.warn("on-fail=fence of " + task + " of " + r.id + " needs fencing; acting as stop")
		return failStop, RoleStopped
	case "standby":
		return failStandby, fallback(task)
	case "ignore", "nothing":
		return failIgnore, fallback(task)
	case "migrate":
		return failBan, fallback(task)
	case "stop":
		return failStop, RoleStopped
	case "restart":
		return failRecover, fallback(task)
	case "demote":
		if task == "promote" || op != nil && interval > 0 && task == "monitor" && parseRole(op.role) == RolePromoted {
			return failDemote, fallback(task)
		}
	}
	switch {
	case r.container != nil && (value == "restart-container" || value == "" && r.connects == nil):
		return failContainer, fallback(task)
	case r.connects != nil && r.container == nil && value == "" && task != "start" && !(task == "monitor" && interval == 0):
		return c.connectionPolicy(r)
	case task == "stop" && c.conf.stonith:
		return failFence, RoleStarted
	case task == "stop":
		return failBlock, RoleStarted
	}
	return failRecover, fallback(task)
}

// fallback is the role a failure of the task leaves to aim for.
func fallback(task string) Role {
	if task == "promote" {
		return RoleUnpromoted
	}
	return RoleStarted
}

// findOp finds the configured operation with that name and interval, disabled or not.
func findOp(r *resource, task string, interval time.Duration) *opConfig {
	for _, op := range r.ops {
		if op.name == task && op.interval == interval {
			return op
		}
	}
	return nil
}

// applyThreshold rules nodes out on which a resource has failed too often, and adds stickiness.
func (c *cluster) applyThreshold() {
	for _, r := range c.resources {
		r.leaves(func(p *resource) {
			for _, n := range c.nodes {
				c.checkThreshold(p, n)
			}
		})
	}
	for _, r := range c.resources {
		r.leaves(c.applyStickiness)
	}
}

// thresholdReached tells whether a resource has failed too often on a node, with the count.
func (c *cluster) thresholdReached(r *resource, n *node) (int, bool) {
	if r.threshold == 0 || r.failureIgnored {
		return 0, false
	}
	count, _ := c.failCount(r, n, true)
	return count, count > 0 && count >= r.threshold
}

func (c *cluster) checkThreshold(r *resource, n *node) {
	for _, a := range r.actions {
		if a.task == "clear_failcount" && a.node == n {
			return
		}
	}
	if _, reached := c.thresholdReached(r, n); !reached {
		return
	}
	target := r
	if r.isAnonymous() {
		target = r.cloneOf()
	}
	c.addScore(target, n, -infinity, "__fail_limit__")
}

// applyStickiness makes a resource prefer to stay where it is.
func (c *cluster) applyStickiness(r *resource) {
	if !r.managed || r.stickiness == 0 || len(r.runningOn) != 1 {
		return
	}
	n := r.runningOn[0]
	if _, allowed := r.weights.get(n); !c.conf.symmetric && !allowed {
		return
	}
	c.addScore(r, n, r.stickiness, "stickiness")
}

// addScore changes the score of a resource and its children on a node, or on all nodes when n is nil.
func (c *cluster) addScore(r *resource, n *node, score int, why string) {
	nodes := c.nodes
	if n != nil {
		nodes = []*node{n}
	}
	for _, x := range nodes {
		c.addNodeScore(r, x, score)
	}
	if n == nil && score == -infinity {
		r.assigned = nil
	}
}

func (c *cluster) addNodeScore(r *resource, n *node, score int) {
	for _, k := range r.children {
		c.addNodeScore(k, n, score)
	}
	r.weights.add(n, score)
}

// opMeta reads what an operation says about itself: attributes, meta attributes, defaults.
func (c *cluster) opMeta(r *resource, op *opConfig) map[string]string {
	m := map[string]string{}
	for _, a := range op.xml.Attrs {
		if a.Name != "id" {
			m[a.Name] = a.Value
		}
	}
	x := ruleContext{now: c.now, rsc: r, class: r.class, provider: r.provider, typ: r.typ, opName: op.name, opInterval: op.interval}
	c.nvPairsLowest(m, "meta_attributes", x, op.xml)
	c.nvPairs(m, "instance_attributes", x, op.xml)
	c.nvPairs(m, "meta_attributes", x, c.opDefaults)
	return m
}

// opDefault reads the defaults for an operation that is not configured.
func (c *cluster) opDefault(r *resource, task string, interval time.Duration) map[string]string {
	m := map[string]string{}
	x := ruleContext{now: c.now, rsc: r, class: r.class, provider: r.provider, typ: r.typ, opName: task, opInterval: interval}
	c.nvPairs(m, "meta_attributes", x, c.opDefaults)
	return m
}

// canFence tells whether a node can be fenced at all.
func (c *cluster) canFence(n *node) bool {
	if n.isGuest() {
		// It is fenced by stopping what it is inside of, which a host that is up can do.
		for _, host := range n.connection.container.runningOn {
			if !host.online && !c.canFence(host) {
				return false
			}
		}
		return true
	}
	if !c.conf.stonith || !c.conf.haveDevice {
		return false
	}
	return c.quorum || c.conf.policy == quorumIgnore || n.online
}

// digestChanged tells whether an operation ran with other parameters than are configured now. Nobody knows what one
// without a digest ran with; a recurring one is started afresh then.
func (c *cluster) digestChanged(r *resource, n *node, op *record) bool {
	want := op.xml.Get("op-digest")
	return want != c.opDigest(r, n, op) && !c.onlySecretsDiffer(r, n, op)
}

// onlySecretsDiffer tells whether all parameters but the private ones are the same: a CIB shown to people has those
// taken out.
func (c *cluster) onlySecretsDiffer(r *resource, n *node, op *record) bool {
	want := op.xml.Get("op-secure-digest")
	return want != "" && want == c.publicDigest(r, n, op)
}

// publicDigest is the digest of the parameters that are no secrets.
func (c *cluster) publicDigest(r *resource, n *node, op *record) string {
	p := c.opParameters(r, n, op)
	for _, name := range strings.Fields(op.xml.Get("op-secure-params")) {
		delete(p, name)
	}
	if r.class == "stonith" && compareVersions(op.xml.Get("crm_feature_set"), "3.16.0") < 0 {
		// Parameters that only the fencer knows, and agents do not declare, were left out in older days.
		for name := range p {
			if strings.HasPrefix(name, "pcmk_") || name == "provides" || name == "stonith-timeout" {
				delete(p, name)
			}
		}
	}
	return cib.OpDigest(p)
}

// opParameters are the parameters an operation would run with now.
func (c *cluster) opParameters(r *resource, n *node, op *record) map[string]string {
	p := map[string]string{}
	for k, v := range c.parameters(r, n) {
		p[k] = v
	}
	if conf := findOp(r, op.task, op.interval); conf != nil {
		c.nvPairs(p, "instance_attributes", ruleContext{now: c.now, rsc: r, node: n}, conf.xml)
	}
	return p
}

// opDigest is the digest an operation would be recorded with if it ran now.
func (c *cluster) opDigest(r *resource, n *node, op *record) string {
	p := c.opParameters(r, n, op)
	if op.interval > 0 {
		p["CRM_meta_timeout"] = strconv.FormatInt(c.opTimeout(r, op.task, op.interval).Milliseconds(), 10)
	}
	return cib.OpDigest(p)
}
