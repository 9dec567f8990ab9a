package writepath

import (
	"errors"

	"holdfast/internal/block/metadata"
	"holdfast/internal/planted"
)

// A Primary whose disk has failed, or was given back, goes on with the peer's: every write is the peer's alone. With
// on-io-error pass_on it keeps the disk, and a write the disk refused is the peer's alone, and out of sync.

// ErrNoData is what a request gets when no disk has the data: neither the local one nor the peer's.
var ErrNoData = errors.New("no disk with up-to-date data can be reached")

// errRefusedThere: the peer could not store what this side has no disk for.
var errRefusedThere = errors.New("the peer's disk refused the write, and there is none here")

// errOwed is what the first flush gets after the only disk was away: it may have lost its power, and what it had not flushed.
var errOwed = errors.New("the connection to the only disk was lost before it had flushed everything; what was written before may be lost")

// NewWithout makes the write path of a volume of size bytes that has no local disk.
func NewWithout(size int64) *Core {
	c := New(size, nil, metadata.NewBitmap(size))
	c.without = true
	return c
}

// Without tells that there is no local disk.
func (c *Core) Without() bool { return c.without }

// Forgive says whether an error of the local disk is forgiven (on-io-error pass_on) where the peer has the write.
func (c *Core) Forgive(on bool) { c.forgiving = on }

// DropDisk: from now on there is no local disk. What it is carrying out is still answered by LocalDone and LocalFlushed, but
// neither its success nor its failure counts.
func (c *Core) DropDisk() {
	if c.without || c.broken != nil {
		return
	}
	c.without = true
	c.forgetEarly()
	c.failHeld()
	waiting := append(append([]ID(nil), c.waitCommit...), c.waitLog...)
	c.waitCommit, c.waitLog, c.logAsked = nil, nil, false
	for _, id := range waiting {
		if c.stopped() {
			c.ops[id].phase = ready
			c.waitReady = append(c.waitReady, id)
			continue
		}
		c.startThere(id)
	}
	c.startGroup()
}

// failHeld: of the successes that were kept back, those that only the local disk knew of are none any more.
func (c *Core) failHeld() {
	kept := c.doneHeld[:0]
	for _, id := range append([]ID(nil), c.doneHeld...) {
		if o := &c.ops[id]; o.there && (!c.unordered || c.peer == Up) { // with protocols A and B it may only have been sent
			kept = append(kept, id)
		} else {
			o.err = ErrNoData
			c.release(id)
		}
	}
	c.doneHeld = kept
}

// TakeDisk: there is a local disk again, with its activity log and bitmap; every block the peer alone has is set in it.
func (c *Core) TakeDisk(log *metadata.ActivityLog, oos *metadata.Bitmap) {
	c.without, c.log, c.oos = false, log, oos
	c.forgetEarly()
}

// Quiet tells that nothing is under way that the activity log on disk speaks of.
func (c *Core) Quiet() bool {
	if c.group.running || c.without {
		return !c.group.running
	}
	for i := range c.ops {
		if p := c.ops[i].phase; p == logging || p == running {
			return false
		}
	}
	return true
}

// TakeLog goes on with another, empty activity log, as after the metadata has moved. The path must be Quiet and held.
func (c *Core) TakeLog(log *metadata.ActivityLog) {
	c.log = log
	for i := range c.ops {
		c.ops[i].logged = false
	}
	for _, id := range c.waitLog {
		c.ops[id].phase = ready
	}
	c.waitReady, c.waitLog, c.logAsked = append(c.waitLog, c.waitReady...), nil, false
}

// Resize says that the volume has another size in bytes; its bitmap has been resized.
func (c *Core) Resize(size int64) { c.size = size }

// startThere carries an operation out on the peer's disk alone.
func (c *Core) startThere(id ID) {
	if c.peer != Up {
		c.settle(id)
		c.finish(id, ErrNoData)
		return
	}
	if c.awaitsBarrier(id) {
		return
	}
	c.ops[id].phase = running
	c.pairs.write()
	c.send(id)
}

// startGroupThere flushes the peer's disk alone.
func (c *Core) startGroupThere() {
	c.forced = false
	c.started++
	g := &c.group
	g.running, g.local, g.early, g.there, g.err = true, false, false, c.peer == Up, nil
	g.members, c.waitFlush = c.waitFlush, g.members[:0]
	c.settleDebt()
	if c.peer != Up {
		g.err = ErrNoData
	}
	g.remote = c.peer == Up && c.sendBarrier()
	c.closeGroup()
}

// Owe says that the peer, whose disk is the only one, may have lost what it had not flushed: a flush tells of it.
func (c *Core) Owe() { c.owed = c.owed || c.without && len(c.current)+len(c.pending) > 0 }

// settleDebt has the flush that begins tell of what may be lost, once.
func (c *Core) settleDebt() {
	if c.owed && len(c.group.members) > 0 {
		c.group.err, c.owed = errOwed, false
	}
}

// lacksHere: the local disk refused a write.
func (c *Core) lacksHere(s Span) {
	if c.forgiving && !c.without && !planted.FailedBlockForgotten {
		c.oos.SetBytes(s.Start, s.Len())
	}
}

// verdict is how an operation ends that both sides have answered.
func (c *Core) verdict(o *op) error {
	switch {
	case c.without && o.there:
		return nil
	case c.without && c.peer == Up:
		return errRefusedThere
	case c.without:
		return ErrNoData
	case o.err != nil && c.forgiving && o.there:
		return nil
	}
	return o.err
}
