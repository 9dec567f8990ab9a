package scheduler

import (
	"strconv"
	"strings"

	"holdfast/internal/cluster/cib"
)

// readHistory reads what is active where. Nodes that are down count only when fencing is configured, since without it what
// a lost node ran is taken to be gone.
func (c *cluster) readHistory() {
	for c.readHistories(false) {
		// Connections have been found that let more histories be read.
	}
	c.readHistories(true)
	c.stopContainers()
	c.settleRemotes()
}

// readHistories reads the histories of nodes that are ready for it, and tells whether there were any.
func (c *cluster) readHistories(last bool) bool {
	any := false
	for _, s := range c.doc.Root.Child("status").ChildrenNamed("node_state") {
		n := c.nodeByID[s.ID()]
		if n == nil {
			n = c.nodeByName[s.Get("uname")]
		}
		if n == nil || n.state != s || n.historyRead || !c.historyReady(n, last) {
			continue
		}
		n.historyRead, any = true, true
		if n.remote {
			c.remoteOnline(n)
			c.remoteAttributes(n)
		}
		c.readNodeHistory(n)
	}
	return any
}

func (c *cluster) readNodeHistory(n *node) {
	list := n.state.Child("lrm").Child("lrm_resources").ChildrenNamed("lrm_resource")
	for _, e := range list {
		c.readResourceHistory(n, e)
	}
}

// readResourceHistory replays one resource's operations on one node.
func (c *cluster) readResourceHistory(n *node, e *cib.Element) {
	var ops []record
	for _, op := range e.ChildrenNamed("lrm_rsc_op") {
		if rec, ok := readRecord(op); ok {
			ops = append(ops, rec)
		}
	}
	if len(ops) == 0 && !c.conf.shutdownLock {
		return
	}
	r := c.historyResource(n, e)
	if r == nil {
		return
	}
	c.readLock(r, n, e)
	if len(ops) == 0 {
		return
	}
	sortRecords(ops)
	h := &replay{c: c, r: r, n: n, onFail: failIgnore}
	saved := r.role
	r.role = RoleUnknown
	for i := range ops {
		if ops[i].task == "notify" || ops[i].task == "meta-data" {
			continue
		}
		h.apply(&ops[i])
	}
	c.noteRecurring(r, n, ops)
	h.finish()
	if t := c.targetRole(r); t != RoleUnknown && (r.nextRole == RoleUnknown || t < r.nextRole) {
		r.nextRole = t
	}
	r.role = max(r.role, saved, h.elsewhere)
}

// historyResource finds the resource, or the instance of a clone, that a history entry speaks of; an entry that fits
// nothing configured makes an orphan.
func (c *cluster) historyResource(n *node, e *cib.Element) *resource {
	id := e.ID()
	r := c.byID[id]
	if r == nil {
		// The entry of an anonymous clone has no number, or one from older days.
		base, _, _ := cutInstance(id)
		if r = c.byID[base+":0"]; r != nil && !r.isAnonymous() {
			r = nil
		}
	}
	if r == nil || r.kind != primitive {
		return c.orphanResource(e)
	}
	if !r.isAnonymous() {
		return r
	}
	if b := r.inBundle(); b != nil {
		if r = b.instanceOn(n); r == nil {
			return c.orphanResource(e)
		}
		r.historyName = id
		return r
	}
	base, _, _ := cutInstance(id)
	r = c.anonymousInstance(r.cloneOf(), base, n)
	r.historyName = id
	return r
}

// cutInstance splits drbd_ha:1 into drbd_ha and 1.
func cutInstance(id string) (base string, number int, ok bool) {
	i := strings.LastIndexByte(id, ':')
	if i < 0 {
		return id, 0, false
	}
	n, err := strconv.Atoi(id[i+1:])
	return id[:i], n, err == nil
}

// anonymousInstance chooses the instance of an anonymous clone that stands for what runs on a node: the one already seen
// there (another member of a cloned group), else the first that is nowhere yet.
func (c *cluster) anonymousInstance(cl *resource, base string, n *node) *resource {
	found, free, noFree := (*resource)(nil), (*resource)(nil), false
	for _, inst := range cl.children {
		if found != nil {
			break
		}
		on := inst.activeOrPending()
		switch {
		case len(on) > 0 && on[0] == n:
			if found = memberNamed(inst, base); found != nil && len(found.runningOn) > 0 {
				// A second history on one node is that of something that should not be there.
				found, noFree = nil, true
			}
		case len(on) == 0 && free == nil && !noFree && !anyBlocked(inst):
			free = memberNamed(inst, base)
			if free != nil && free.pendingNode != nil && free.pendingNode != n {
				free = nil
			}
		}
	}
	if found == nil && !noFree {
		found = free
	}
	if found != nil && found.requires != needFencing && (!n.online || n.unclean) && cl.max < len(c.nodes) {
		// An instance on a lost node is not worth a number that another node could use.
		found = nil
	}
	if found == nil {
		found = memberNamed(c.orphanInstance(cl), base)
	}
	return found
}

// activeOrPending are the nodes a resource is active on, and those an operation of it is in progress on.
func (r *resource) activeOrPending() []*node {
	var out []*node
	r.leaves(func(p *resource) {
		for _, n := range p.runningOn {
			if !containsNode(out, n) {
				out = append(out, n)
			}
		}
		if p.pendingNode != nil && !containsNode(out, p.pendingNode) {
			out = append(out, p.pendingNode)
		}
	})
	return out
}

func anyBlocked(r *resource) bool {
	found := false
	r.all(func(x *resource) { found = found || x.blocked })
	return found
}

// memberNamed is the primitive of an instance whose configured id is base.
func memberNamed(inst *resource, base string) *resource {
	var found *resource
	inst.leaves(func(p *resource) {
		if p.xml.ID() == base {
			found = p
		}
	})
	return found
}

// orphanInstance makes one more instance of a clone, for something that runs beyond its number.
func (c *cluster) orphanInstance(cl *resource) *resource {
	k := c.addInstance(cl, len(cl.children))
	k.all(func(x *resource) { x.orphan = true })
	return k
}

// orphanResource makes a resource for history of one that is no longer configured.
func (c *cluster) orphanResource(e *cib.Element) *resource {
	for _, r := range c.resources {
		if r.orphan && r.id == e.ID() {
			return r
		}
	}
	x := cib.NewElement("primitive", "id", e.ID(), "class", e.Get("class"), "provider", e.Get("provider"), "type", e.Get("type"))
	if e.Get("provider") == "" {
		x.Del("provider")
	}
	known := c.byID[e.ID()]
	r := c.newResource(x, nil, "")
	r.orphan = true
	if known != nil {
		c.byID[e.ID()] = known
	}
	c.resources = append(c.resources, r)
	if isConnection(r.class, r.provider, r.typ) {
		r.adrift = e.Get("container") != ""
		c.linkConnection(r)
		if r.connects != nil {
			r.connects.shutdown = true
		}
	}
	if !c.conf.stopOrphans {
		r.managed = false
		return r
	}
	c.ban(r, nil, "orphan")
	c.forgetOrphanFailures(r)
	return r
}

// ban rules a node out, or all of them when n is nil.
func (c *cluster) ban(r *resource, n *node, why string) { c.addScore(r, n, -infinity, why) }

// noteRecurring makes an optional action of each recurring operation that is active, so that it is known to be.
func (c *cluster) noteRecurring(r *resource, n *node, ops []record) {
	if !n.online {
		return
	}
	start, stop := activeSpan(ops)
	for i := range ops {
		if start < stop && i+1 <= stop || i+1 < start {
			continue
		}
		if ops[i].interval == 0 || ops[i].status == stPending {
			continue
		}
		c.action(r, ops[i].task, ops[i].interval, n, true)
	}
}

// activeSpan gives the positions, from 1, of the last start and the last stop in a history. A resource found running by a
// monitor was started by something before it.
func activeSpan(ops []record) (start, stop int) {
	impliedMonitor, impliedClone := 0, 0
	for i, op := range ops {
		pos := i + 1
		switch {
		case op.task == "stop" && op.status == stDone:
			stop = pos
		case op.task == "start" || op.task == "migrate_from":
			start = pos
		case impliedMonitor <= stop && op.task == "monitor":
			if op.rc == rcOK || op.rc == rcPromoted || op.rc == rcDegraded || op.rc == rcDegradedProm {
				impliedMonitor = pos
			}
		case op.task == "promote" || op.task == "demote":
			impliedClone = pos
		}
	}
	if start == 0 {
		start = max(impliedMonitor, 0)
		if impliedClone != 0 {
			start = impliedClone
		} else if impliedMonitor != 0 {
			start = impliedMonitor
		}
	}
	return start, stop
}
