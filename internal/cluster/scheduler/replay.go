package scheduler

import (
	"time"
)

// onFail is what to do about a failure; later values outweigh earlier ones.
type onFail int

// In ascending severity.
const (
	failIgnore onFail = iota
	failDemote
	failRecover
	failReset     // of the connection to a remote node: the node is fenced
	failContainer // what it is inside of is restarted
	failStop
	failBan
	failStandby
	failBlock
	failFence
)

// replay goes through a resource's history on one node and finds its role there and what its failures ask for.
type replay struct {
	c           *cluster
	r           *resource
	n           *node
	onFail      onFail
	lastFailure *record
	elsewhere   Role // what a migration has made of the resource on another node
}

// apply takes one operation into account.
func (h *replay) apply(op *record) {
	expired := h.c.expiredFailure(h.r, h.n, op)
	h.interpret(op, expired)
	if expired && isFailure(op) {
		return
	}
	switch op.status {
	case stCancelled:
	case stPending:
		h.pending(op)
	case stDone:
		h.succeeded(op, op.rc)
	default:
		h.failed(op)
	}
}

func isFailure(op *record) bool {
	return op.status != stDone && op.status != stPending && op.status != stCancelled
}

// interpret turns exit code and status into what they mean for the resource: op.status says afterwards whether
// the operation succeeded.
func (h *replay) interpret(op *record, expired bool) {
	switch op.rc {
	case rcDegraded:
		op.rc = rcOK
	case rcDegradedProm:
		op.rc = rcPromoted
	}
	if op.status == stPending || op.status == stCancelled || op.status == stTimeout || op.status == stNotInstalled {
		return
	}
	if op.status == stDone || op.status == stError {
		switch {
		case op.expected < 0:
			// An old entry that does not tell; anything but success is a failure.
		case op.rc == op.expected:
			op.status = stDone
		default:
			op.status = stError
		}
	}
	h.interpretCode(op, expired)
}

func (h *replay) interpretCode(op *record, expired bool) {
	switch op.rc {
	case rcOK:
		if op.isProbe() && op.expected == rcNotRunning {
			op.status = stDone
		}
	case rcNotRunning:
		if op.isProbe() || op.expected == op.rc || !h.r.managed {
			op.status = stDone
			h.r.role = RoleStopped
			h.onFail = failIgnore
			h.r.nextRole = RoleUnknown
		}
	case rcPromoted:
		if op.isProbe() && op.rc != op.expected {
			op.status = stDone
		}
		if !expired || op.rc == op.expected {
			h.r.role = RolePromoted
		}
	case rcFailedPromoted:
		if !expired {
			h.r.role = RolePromoted
		}
		op.status = stError
	case rcNotConfigured:
		op.status = stFatalError
	case rcUnimplemented, rcNotInstalled, rcInvalidParam, rcNoPrivilege:
		h.interpretHard(op)
	default:
		if op.status == stDone {
			op.status = stError
		}
	}
}

func (h *replay) interpretHard(op *record) {
	switch {
	case op.rc == op.expected && op.status == stDone:
	case op.rc == rcUnimplemented && op.interval > 0:
		op.status = stNotSupported
	default:
		op.status = stHardError
		if op.task == "stop" && !h.c.canFence(h.n) {
			// Nothing else can be done.
			h.r.managed, h.r.blocked = false, true
		}
	}
}

// pending takes an operation in progress into account.
func (h *replay) pending(op *record) {
	r := h.r
	switch op.task {
	case "start":
		r.startPending = true
		h.setActive()
	case "promote":
		r.role = RolePromoted
	case "migrate_to":
		if m, ok := migrationOf(op); ok && h.n.unclean {
			// It may have arrived: the target must be made sure of.
			if target := h.c.nodeByName[m.target]; target != nil {
				h.c.stop(r, target, false)
			}
		}
	}
	if r.pendingTask == "" && !op.isProbe() {
		r.pendingTask, r.pendingNode = op.task, h.n
	}
}

// succeeded takes the result rc into account as a success.
func (h *replay) succeeded(op *record, rc int) {
	clear := false
	r := h.r
	switch {
	case rc == rcNotInstalled:
		r.role = RoleStopped
	case rc == rcNotRunning:
		clear = true
		if op.status == stDone && r.role == RoleUnknown {
			r.role = RoleStopped
		}
	case op.task == "monitor":
		clear = h.lastFailure != nil && h.lastFailure.key == op.key
		if r.role < RoleStarted {
			h.setActive()
		}
	case op.task == "start", op.task == "migrate_from":
		r.role, clear = RoleStarted, true
	case op.task == "stop":
		r.role, clear = RoleStopped, true
	case op.task == "migrate_to":
		h.migratedTo(op)
	case op.task == "promote":
		r.role, clear = RolePromoted, true
	case op.task == "demote":
		clear = h.onFail == failDemote
		r.role = RoleUnpromoted
	case r.role < RoleStarted:
		h.setActive()
	}
	if clear {
		h.clearFailure()
	}
}

// clearFailure forgets the failures a later success mends.
func (h *replay) clearFailure() {
	switch h.onFail {
	case failBlock, failIgnore, failDemote, failRecover, failContainer:
		h.onFail = failIgnore
		h.r.nextRole = RoleUnknown
	case failReset:
		// With a reconnect interval, the failure must expire first.
		if h.r.reconnect == 0 {
			h.onFail = failIgnore
			h.r.nextRole = RoleUnknown
		}
	}
}

func (h *replay) setActive() {
	if h.r.isPromotable() {
		h.r.role = RoleUnpromoted
		return
	}
	h.r.role = RoleStarted
}

// failed takes a failure into account.
func (h *replay) failed(op *record) {
	policy, failRole := h.c.failurePolicy(h.r, op.task, op.interval)
	// Restarting what a resource is inside of stops it in any case, which is all that a stop wants.
	boxed := policy == failContainer && op.task == "stop"
	if policy == failIgnore || boxed {
		h.note(op)
		h.r.failureIgnored = true
		h.succeeded(op, op.expected)
		if boxed {
			h.onFail = max(h.onFail, failContainer)
		}
		return
	}
	h.note(op)
	h.lastFailure = op
	h.onFail = max(h.onFail, policy)
	h.failedRole(op, policy)
	if failRole != RoleStarted && h.r.nextRole < failRole {
		h.r.nextRole = failRole
	}
	target := h.r
	if h.r.isAnonymous() {
		target = h.r.cloneOf()
	}
	if failRole == RoleStopped {
		// Of a clone it is not the instances that are ruled out, but no node has room for any.
		for _, n := range h.c.nodes {
			target.weights.set(n, -infinity)
		}
		h.c.bar(target, nil, op, h.n)
	}
	switch op.status {
	case stHardError, stNotInstalled:
		h.c.ban(target, h.n, "hard error")
		h.c.bar(target, h.n, op, h.n)
	case stFatalError:
		h.c.ban(target, nil, "fatal error")
		h.c.bar(target, nil, op, h.n)
	}
}

// failedRole is the role a failed operation leaves the resource in.
func (h *replay) failedRole(op *record, policy onFail) {
	r := h.r
	switch op.task {
	case "stop":
		h.c.addScore(r, h.n, -infinity, "__stop_fail__")
	case "migrate_to":
		h.failedMigrateTo(op)
	case "migrate_from":
		h.failedMigrateFrom(op)
	case "promote":
		r.role = RolePromoted
	case "demote":
		switch {
		case policy == failBlock:
			r.role, r.nextRole = RolePromoted, RoleStopped
		case op.rc == rcNotRunning:
			r.role = RoleStopped
		default:
			// To stay promoted would be to fail again and again; stopping mends it either way.
			r.role = RoleUnpromoted
		}
	}
	if op.isProbe() && op.rc == rcNotInstalled {
		r.role = RoleStopped
	} else if r.role < RoleStarted {
		h.setActive()
	}
}

// note lists a failure for people.
func (h *replay) note(op *record) {
	name := h.r.id
	if h.r.isAnonymous() {
		name, _, _ = cutInstance(name)
	}
	ms := func(attr string) time.Duration { return time.Duration(intOr(op.xml.Get(attr), 0)) * time.Millisecond }
	h.c.failures = append(h.c.failures, FailedOp{Resource: name, Node: h.n.name, Task: op.task, Interval: op.interval,
		RC: op.rc, Status: intOr(op.xml.Get("op-status"), 0), CallID: op.callID, ExitReason: op.xml.Get("exit-reason"),
		At: op.changed, Exec: ms("exec-time"), Queue: ms("queue-time")})
}

// finish draws the conclusions of the whole history.
func (h *replay) finish() {
	r, n, c := h.r, h.n, h.c
	if r.role != RoleUnknown {
		for x := r; x != nil; x = x.parent {
			x.knownOn[n.index] = true
			if x.unique {
				break
			}
		}
	}
	if r.role > RoleStopped && !n.online && !n.maint && r.managed {
		c.activeOnLost(r, n)
	}
	policy := h.onFail
	if n.unclean {
		// Fencing mends everything.
		policy = failIgnore
	}
	h.react(policy)
	if r.failed && r.connects != nil && r.connects.unclean {
		// It failed: another attempt is no reason to spare the node.
		r.connects.seen = true
	}
	if r.role <= RoleStopped {
		if _, _, numbered := cutInstance(r.historyName); numbered {
			// Names with numbers are of older days, and bind nothing that has stopped.
			r.historyName = ""
		}
		return
	}
	c.addRunning(r, n)
	switch policy {
	case failIgnore:
	case failDemote, failBlock:
		r.failed = true
	default:
		r.failed, r.failedStop = true, true
	}
}

// react does what on-fail asks for.
func (h *replay) react(policy onFail) {
	r, n := h.r, h.n
	switch policy {
	case failDemote:
		r.failed = true
		h.c.demote(r, n, false)
	case failFence:
		h.c.mustFence(n, r.id+" failed there")
	case failStandby:
		n.standby, n.onFail = true, true
	case failBlock:
		r.managed, r.blocked = false, true
	case failBan:
		h.c.addScore(r, n, -infinity, "__action_migration_auto__")
	case failStop:
		r.nextRole = RoleStopped
	case failReset:
		h.c.resetConnection(r, n)
	case failContainer:
		h.c.restartContainer(r, n)
	case failRecover:
		if r.role > RoleStopped {
			r.failed, r.failedStop = true, true
		}
	}
}

// addRunning notes that a resource is active on a node.
func (c *cluster) addRunning(r *resource, n *node) {
	if containsNode(r.runningOn, n) {
		return
	}
	r.runningOn = append(r.runningOn, n)
	if r.kind == primitive {
		n.running = append(n.running, r)
		if n.maint {
			r.managed, r.maintenance = false, true
		}
	}
	if !r.managed {
		c.addScore(r, n, infinity, "not_managed_default")
		for p := r.parent; p != nil && n.online; p = p.parent {
			if !containsNode(p.runningOn, n) {
				p.runningOn = append(p.runningOn, n)
			}
		}
		return
	}
	if r.kind == primitive && len(r.runningOn) > 1 {
		c.multiplyActive(r)
	}
	if r.parent != nil {
		c.addRunning(r.parent, n)
	}
}

// multiplyActive deals with a resource found active in more than one place.
func (c *cluster) multiplyActive(r *resource) {
	switch r.multi {
	case stopOnly:
		for _, n := range c.nodes {
			c.addScore(r, n, -infinity, "multiple-active")
		}
	case blockAll:
		block := func(x *resource) { x.managed, x.blocked = false, true }
		block(r)
		if p := r.parent; p != nil && p.kind == group && p.multi == blockAll {
			p.leaves(block)
		}
	}
}
