package scheduler

import (
	"strconv"
	"time"

	"holdfast/internal/cluster/cib"
)

// A shutdown lock (shutdown-lock=true) keeps a resource for the node that was shut down with it, until that returns or
// shutdown-lock-limit is over.

// readLock reads the lock a history entry tells of; one that is over is forgotten with its history.
func (c *cluster) readLock(r *resource, n *node, e *cib.Element) {
	since, err := strconv.ParseInt(e.Get("shutdown-lock"), 10, 64)
	if !c.conf.shutdownLock || err != nil || since == 0 {
		return
	}
	at := time.Unix(since, 0)
	if c.conf.lockLimit > 0 && c.now.After(at.Add(c.conf.lockLimit)) {
		c.forget(r, n)
		return
	}
	r.lockNode, r.lockedAt = n, at
}

// forget plans to delete the history of a resource on a node that is down, where no executor could be asked to.
func (c *cluster) forget(r *resource, n *node) {
	a := c.action(r, "lrm_delete", 0, n, false)
	a.crm, a.runnable = true, true
}

// applyLocks finds what is locked and rules the other nodes out.
func (c *cluster) applyLocks() {
	if !c.conf.shutdownLock {
		return
	}
	for _, r := range c.resources {
		if r.kind == clone {
			continue
		}
		r.leaves(c.applyLock)
	}
}

func (c *cluster) applyLock(r *resource) {
	if r.class == "stonith" {
		return
	}
	switch {
	case r.lockNode != nil && len(r.runningOn) > 0:
		// It was started elsewhere all the same: leave it there.
		c.forget(r, r.lockNode)
		r.lockNode = nil
	case r.lockNode == nil && len(r.runningOn) == 1 && r.runningOn[0].shutdown && !r.runningOn[0].unclean:
		r.lockNode = r.runningOn[0]
		since, err := strconv.ParseInt(r.lockNode.attrs["shutdown"], 10, 64)
		r.lockedAt = c.now
		if err == nil && since > 1 {
			r.lockedAt = time.Unix(since, 0)
		}
	}
	if r.lockNode == nil {
		return
	}
	if c.conf.lockLimit > 0 {
		c.recheckAt(r.lockedAt.Add(c.conf.lockLimit + time.Second))
	}
	for i, n := range c.nodes {
		if n != r.lockNode && r.weights[i].present {
			c.ban(r, n, "shutdown-lock")
		}
	}
}
