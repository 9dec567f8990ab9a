package writepath

import "holdfast/internal/planted"

// group is a flush under way: of the local disk and of the peer, for all who asked while the one before ran.
type group struct {
	running       bool
	local, remote bool // not confirmed yet
	there         bool // the peer takes part, or has: its disk has everything once remote is false
	members       []ID
	err           error
	// early: it was begun with the write after, unasked, and covers the first so many writes; it waits for the local disk to
	// have that write.
	early, waits bool
	after        ID
	covers       uint64
}

// startGroup begins a flush of the local disk and, beside it, of the peer, if one is wanted and none is under way.
func (c *Core) startGroup() {
	if c.group.running || c.broken != nil || c.peer == Suspended || c.held {
		return
	}
	if len(c.waitFlush) == 0 && !c.forced {
		return
	}
	if c.without {
		c.startGroupThere()
		return
	}
	c.forced = false
	c.started++
	g := &c.group
	g.running, g.local, g.early, g.err = true, true, false, nil
	g.members, c.waitFlush = c.waitFlush, g.members[:0]
	c.settleDebt()
	g.there = c.peer == Up
	c.emit(Effect{Do: FlushLocal})
	g.remote = c.peer == Up && !planted.SkipPeerFlush && c.sendBarrier()
}

// LocalFlushed tells how the flush of the local disk ended. A failure is final, and breaks the path: what was written
// since the last good flush may be gone, and a second try would not say so.
func (c *Core) LocalFlushed(err error) {
	if !c.group.running || !c.group.local {
		return
	}
	c.group.local = false
	switch {
	case err != nil && !c.without:
		c.Break(err)
	case err != nil && !c.group.there:
		c.group.err = ErrNoData
	}
	c.closeGroup()
}

func (c *Core) closeGroup() {
	g := &c.group
	if !g.running || g.local || g.remote {
		return
	}
	g.running = false
	err := g.err
	if err == nil && c.log != nil {
		c.log.Confirm(c.started)
	}
	if err == nil && g.early {
		c.pairs.confirmed = g.covers
	}
	for _, id := range g.members { // finishing one adds none
		o := &c.ops[id]
		if err == nil && c.without && o.Kind != Flush && !o.there {
			c.finish(id, ErrNoData) // it was written to the failed disk alone
			continue
		}
		o.there = g.there && (o.Kind == Flush || o.there)
		c.finish(id, err)
	}
	g.members = g.members[:0]
	c.startGroup()
	c.resume()
	c.feedLog()
}

// Flushing tells whether a flush is under way.
func (c *Core) Flushing() bool { return c.group.running }

// Waiting tells whether the peer has yet to acknowledge something, so that its silence means something.
func (c *Core) Waiting() bool {
	if c.group.running && c.group.remote {
		return true
	}
	for i := range c.ops {
		if c.ops[i].phase == running && c.ops[i].remote {
			return true
		}
	}
	return false
}
