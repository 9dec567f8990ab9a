package writepath

import "slices"

// Epochs are what the volumes of one connection share: the epochs of their writes, which a barrier ends for all of them, and the
// order in which their effects are carried out, which is that of the packets. A barrier of one volume says what the peer has of
// all. One barrier is under way at a time: a flush that needs another waits for its answer, and the next serves all that wait.
type Epochs struct {
	cores []*Core // by part; nil where there is none
	// own: a Core's that shares it with no other. A connection's end is all that PeerUp and PeerGone can mean then.
	own    bool
	number uint32 // of the last barrier sent
	writes uint32 // sent since
	under  bool   // the last barrier is not answered yet
	out    []Effect
	spare  []Effect // from Reuse
}

// NewEpochs makes the epochs of a connection that serves so many volumes.
func NewEpochs(parts int) *Epochs { return &Epochs{cores: make([]*Core, parts)} }

func ownEpochs(c *Core) *Epochs { return &Epochs{own: true, cores: []*Core{c}} }

// Join makes c the write path of a part, nil for none. What the one before had still to have done is forgotten.
func (e *Epochs) Join(part int, c *Core) {
	if e.cores[part] != nil {
		e.out = slices.DeleteFunc(e.out, func(f Effect) bool { return f.Part == part })
	}
	e.cores[part] = c
	if c != nil {
		c.ep, c.part = e, part
	}
}

// Reset: the connection is another one, or gone. No barrier is under way on it, and nothing has been sent.
func (e *Epochs) Reset() { e.writes, e.under = 0, false }

// Effects returns what is to be done, in order, and forgets it. The slice is valid until a Core is used again after the next
// call of Effects; Reuse gives it back.
func (e *Epochs) Effects() []Effect {
	if len(e.out) == 0 {
		return nil
	}
	out := e.out
	e.out, e.spare = e.spare, nil
	return out
}

// Reuse gives a slice from Effects back.
func (e *Epochs) Reuse(list []Effect) {
	if e.spare == nil {
		e.spare = list[:0]
	}
}

// Effects are those of the Core's Epochs.
func (c *Core) Effects() []Effect { return c.ep.Effects() }

// Reuse gives a slice from Effects back.
func (c *Core) Reuse(list []Effect) { c.ep.Reuse(list) }

func (c *Core) emit(f Effect) {
	f.Part = c.part
	c.ep.out = append(c.ep.out, f)
}

// renew: the peer of a Core with epochs of its own is another, or gone.
func (c *Core) renew() {
	c.waits = false
	if c.ep.own {
		c.ep.Reset()
	}
}

// sendBarrier has the peer flush. It returns false if there is nothing to wait for: a peer that has been sent nothing since its
// last confirmed flush needs none.
func (c *Core) sendBarrier() bool {
	e := c.ep
	fresh := e.writes > 0 || !c.foreign && len(c.current)+len(c.resynced) > 0
	switch {
	case e.under && fresh: // another volume's: what was sent since is for the next
		c.waits = true
		return true
	case e.under: // it covers all there is
		return true
	case !fresh:
		return false
	}
	e.number++
	e.writes, e.under = 0, true
	for _, other := range e.cores {
		if other != nil && other.peer == Up {
			other.endEpoch()
		}
	}
	c.emit(Effect{Do: SendBarrier, Number: e.number})
	return true
}

// endEpoch: the barrier that is being sent covers all this volume has sent, and serves its flush if one waits.
func (c *Core) endEpoch() {
	c.waits = false
	c.pending = append(c.pending, c.current...)
	c.current.reset()
	c.resyncedPending = append(c.resyncedPending, c.resynced...)
	c.resynced.reset()
}

// BarrierAck tells that the peer has everything before the barrier on stable storage, of every volume. It returns false for a
// number that is not waited for: the peer is confused.
func (e *Epochs) BarrierAck(number uint32) bool {
	if !e.under || number != e.number {
		return false
	}
	e.under = false
	for _, c := range e.cores { // all, before one of them sends the next barrier
		if c != nil && c.peer == Up {
			c.pending.reset()
			c.resyncedPending.reset()
			c.group.remote = c.group.remote && c.waits
		}
	}
	for _, c := range e.cores {
		if c != nil {
			c.closeGroup()
		}
	}
	for _, c := range e.cores {
		if c != nil && c.waits && !e.under {
			c.waits = false
			c.group.remote = c.sendBarrier()
			c.closeGroup()
		}
	}
	return true
}

// BarrierAck is that of the Core's Epochs.
func (c *Core) BarrierAck(number uint32) bool { return c.ep.BarrierAck(number) }
