package writepath

import "holdfast/internal/block/metadata"

// Hold stops the start of operations and keeps successful completions back until Release.
func (c *Core) Hold() { c.held = true }

// Release ends Hold.
func (c *Core) Release() {
	if !c.held {
		return
	}
	c.held = false
	c.thaw()
}

// Held tells whether completions are kept back.
func (c *Core) Held() bool { return c.held || c.peer == Suspended }

func (c *Core) thaw() {
	if c.Held() {
		return
	}
	done := c.doneHeld
	c.doneHeld = nil
	for _, id := range done {
		c.release(id)
	}
	c.startGroup()
	c.resume()
	c.feedLog()
}

// resume starts what was kept from starting.
func (c *Core) resume() {
	if c.stopped() {
		return
	}
	list := c.waitReady
	c.waitReady = nil
	for _, id := range list {
		switch {
		case c.broken != nil:
			c.settle(id)
			c.finish(id, c.broken)
		case c.stopped():
			c.waitReady = append(c.waitReady, id)
		case c.ops[id].logged && !c.without:
			c.start(id)
		default:
			c.enter(id)
		}
	}
}

// PeerUp connects the peer: from now on its acknowledgement is required. What it has not acknowledged of an earlier
// connection (Suspended) is sent again, which is harmless because nothing that overlaps has been started since. What counted as
// acknowledged when it was sent (protocols A and B) is sent again by nobody: where the peer's is the only disk, a flush tells.
func (c *Core) PeerUp() {
	if c.peer == Up {
		return
	}
	again := c.peer == Suspended
	c.peer = Up
	c.forgetEarly()
	c.renew()
	if again {
		if c.unordered {
			c.Owe()
		}
		c.current = append(c.current, c.pending...)
		c.pending.reset()
		c.resynced = append(c.resynced, c.resyncedPending...)
		c.resyncedPending.reset()
		c.sendAgain()
	}
	c.thaw()
}

func (c *Core) sendAgain() {
	for i := range c.ops {
		if c.ops[i].phase == running && c.ops[i].remote {
			c.ep.writes++
			c.emit(Effect{Do: Send, ID: ID(i)})
		}
	}
	if c.group.running && c.group.remote {
		c.settleDebt()
		c.group.remote = c.sendBarrier()
		c.closeGroup()
	}
}

// Suspend: the connection is lost, and nothing may be acknowledged until PeerUp or PeerGone.
func (c *Core) Suspend() {
	if c.peer == Up {
		c.peer, c.waits = Suspended, false
		c.forgetEarly()
	}
}

// PeerGone: the peer is no longer needed. What it may lack becomes out of sync: writes it has not acknowledged, and those
// since its last confirmed flush, in case its cache is lost.
func (c *Core) PeerGone() {
	c.peer = Gone
	c.forgetEarly()
	c.owed = c.owed || c.without && len(c.current)+len(c.pending) > 0
	c.MarkUnconfirmed()
	c.renew()
	for i := range c.ops {
		o := &c.ops[i]
		if o.phase == running && o.remote {
			o.remote = false
			c.oos.SetBytes(o.Span.Start, o.Span.Len())
			c.advance(ID(i))
		}
	}
	if c.group.running && c.group.remote {
		c.group.remote, c.group.there = false, false
		if c.without && !c.group.local {
			c.group.err = ErrNoData
		}
		c.closeGroup()
	}
	c.thaw()
}

// MarkUnconfirmed sets the bits of all that was sent, or resynced, since the peer's last confirmed flush.
func (c *Core) MarkUnconfirmed() {
	for _, s := range []*spans{&c.current, &c.pending, &c.resynced, &c.resyncedPending} {
		s.markIn(c.oos)
		s.reset()
	}
}

// Unconfirmed tells whether the peer may lack anything of what it acknowledged, should it lose its cache, or has not
// acknowledged something.
func (c *Core) Unconfirmed() bool {
	return len(c.current)+len(c.pending)+len(c.resynced)+len(c.resyncedPending) > 0 || c.Waiting()
}

// SetForeign says, before PeerUp, whether the peer is no holdfast: it answers no barrier of an epoch without writes, and so
// never confirms that a resync alone is durable; a block it has acknowledged counts as in sync then, as with DRBD.
func (c *Core) SetForeign(foreign bool) { c.foreign = foreign }

// SetUnordered says, before PeerUp, whether the peer acknowledges writes before it has written them (protocols A and B). Then it may
// carry those of one epoch out in any order, also two of one range of which the second was asked for when the first was completed.
func (c *Core) SetUnordered(unordered bool) { c.unordered = unordered }

// SetEpoch says after how many writes, at least 1, a barrier is sent even without a flush. Writes that follow one another count
// as one.
func (c *Core) SetEpoch(writes int) { c.epochMost = writes }

// awaitsBarrier has a write of a range that the open epoch has a write of wait until that epoch is closed. It tells whether the
// write has been put off: another flush is under way.
func (c *Core) awaitsBarrier(id ID) bool {
	o := &c.ops[id]
	if !c.unordered || c.peer != Up || !c.current.overlap(o.Span) {
		return false
	}
	c.forced = true
	c.startGroup()
	if !c.current.overlap(o.Span) {
		return false
	}
	o.phase = ready
	c.waitReady = append(c.waitReady, id)
	return true
}

// Resynced tells that the peer has written a range of the resync (in its volatile cache at least).
func (c *Core) Resynced(s Span) {
	c.oos.ClearBytes(s.Start, s.Len(), c.size)
	if !c.foreign {
		c.resynced.add(s)
	}
}

// Lacks tells that the peer's disk lacks a range after all.
func (c *Core) Lacks(s Span) { c.oos.SetBytes(s.Start, s.Len()) }

// ResyncDurable tells that the peer has flushed all the resync wrote.
func (c *Core) ResyncDurable() {
	c.resynced.reset()
	c.resyncedPending.reset()
}

// AddUnconfirmedTo sets, in a page of the bitmap about to be written (first is its first bit), the bits of ranges whose
// resync is not known to be durable at the peer: what is on disk must not promise more.
func (c *Core) AddUnconfirmedTo(b *metadata.Bitmap) {
	c.resynced.markIn(b)
	c.resyncedPending.markIn(b)
}

// PeerMode tells the mode.
func (c *Core) PeerMode() Peer { return c.peer }

// Break ends everything: the disk has failed or the node may no longer write. What is queued fails at once; what is under
// way fails when the local disk has answered and, if a peer is connected, after PeerGone.
func (c *Core) Break(err error) {
	if c.broken != nil {
		return
	}
	c.broken = err
	c.forgetEarly()
	c.held = false
	queuedUp := [][]ID{c.waitReady, c.waitLog, c.waitCommit}
	c.waitReady, c.waitLog, c.waitCommit = nil, nil, nil
	for _, list := range queuedUp {
		for _, id := range list {
			c.settle(id)
			c.finish(id, err)
		}
	}
	flushes := append(append([]ID(nil), c.waitFlush...), c.doneHeld...)
	c.waitFlush, c.doneHeld = nil, nil
	for _, id := range flushes {
		c.finish(id, err)
	}
	c.group.err = err
}

// Broken is why everything fails, nil if nothing does.
func (c *Core) Broken() error { return c.broken }

// Idle tells that nothing is under way and the peer has confirmed all: the volume can be demoted.
func (c *Core) Idle() bool { return c.active == 0 && !c.group.running && !c.forced }

// FlushAll begins a flush group of its own if anything is not known to be durable everywhere.
func (c *Core) FlushAll() {
	c.forced = true
	c.startGroup()
}

// ResyncUnconfirmed tells whether AddUnconfirmedTo has anything to add.
func (c *Core) ResyncUnconfirmed() bool { return len(c.resynced)+len(c.resyncedPending) > 0 }
