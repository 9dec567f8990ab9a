package writepath

import (
	"fmt"

	"holdfast/internal/block"
	"holdfast/internal/block/metadata"
	"holdfast/internal/planted"
)

// Kind is what an operation does.
type Kind uint8

// The kinds. Lock is no write: it keeps writes off a range while the resync reads it and the peer stores it.
const (
	Write Kind = iota + 1
	Discard
	Zero
	Flush
	Lock
)

// Op describes an operation to admit.
type Op struct {
	Kind Kind
	Span Span // not for Flush
	FUA  bool // completes only when durable everywhere
}

// Do is what the shell has to carry out.
type Do uint8

// The effects. Each WriteLocal, FlushLocal, Send and SendBarrier is answered by the Core's method of the same matter.
const (
	WriteLocal  Do = iota + 1 // carry ID out on the local disk, then LocalDone
	Send                      // send ID to the peer, in the order of the effects, then PeerAck when it answers
	SendBarrier               // send P_BARRIER with Number, then BarrierAck
	FlushLocal                // flush the local disk, then LocalFlushed
	LogExtents                // BeginLog, write the transaction, then LogDone
	Locked                    // the range of ID (a Lock) is held until Unlock
	Complete                  // answer ID with Err; the ID is free afterwards
	Ack                       // Receiver: tell the peer that ID is on the disk, or of Err; the ID is free afterwards
	AckBarrier                // Receiver: tell the peer that the epoch Number of Writes writes is durable
)

// Effect is one thing to do.
type Effect struct {
	Do     Do
	ID     ID
	Part   int    // of the Epochs; not of a Receiver's effects
	Number uint32 // SendBarrier, AckBarrier
	Writes uint32 // AckBarrier
	Err    error  // Complete, Ack
}

// Peer says what becomes of writes beside the local disk.
type Peer uint8

// The modes. With Gone, writes are marked out of sync. Suspended is a peer that was lost but whose acknowledgement is
// still needed: nothing new is started, and what it has not acknowledged waits.
const (
	Gone Peer = iota
	Up
	Suspended
)

type phase uint8

const (
	unused  phase = iota
	queued        // waits for its range
	ready         // waits for the hold to end
	starved       // waits for room in the activity log
	logging       // waits for its extents to be in the log on disk
	running
	flushing // written everywhere; waits for a flush
	locked
	finished // held back by the hold
)

type op struct {
	Op
	phase   phase
	local   bool // not yet done here
	remote  bool // not yet done there
	there   bool // the peer has it
	logged  bool // has references in the activity log
	nextRef uint32
	err     error
}

// Core is the write path of a volume whose disk is attached. It is not safe for concurrent use. Every method that may
// have something to do leaves it in Effects.
type Core struct {
	size int64
	log  *metadata.ActivityLog
	oos  *metadata.Bitmap

	ops    []op
	free   []ID
	ranges Ranges
	peer   Peer
	held   bool
	broken error // once set, everything fails with it
	// without: there is no local disk; forgiving: an error of it is none as long as the peer has the write. See disk.go.
	without, forgiving bool
	owed               bool // a peer was lost before it had confirmed a flush of what nobody else has

	waitReady  []ID // granted, not started
	waitLog    []ID // starved, then those behind
	waitCommit []ID
	waitFlush  []ID // for the next group
	doneHeld   []ID
	logAsked   bool
	group      group
	started    uint64 // flush groups begun
	forced     bool   // a group is wanted although nobody waits for it
	foreign    bool   // see SetForeign
	unordered  bool   // see SetUnordered
	epochMost  int    // see SetEpoch
	pairs      pairs  // see early.go
	ep         *Epochs
	part       int
	waits      bool // the group needs a barrier, and another volume's is under way

	current, pending spans // sent to the peer and not covered by a barrier; covered by the one under way
	resynced         spans // acknowledged resync writes of the peer, not known to be durable there
	resyncedPending  spans

	active int // admitted and not completed, locks apart
}

// New makes the write path for a volume of size bytes with an activity log and the bitmap of blocks out of sync, with no
// peer.
func New(size int64, log *metadata.ActivityLog, oos *metadata.Bitmap) *Core {
	c := &Core{size: size, log: log, oos: oos, epochMost: block.MaxEpoch}
	c.ep = ownEpochs(c)
	return c
}

// Admit takes an operation in. Spans must lie within the device; a Write has at most block.MaxIO bytes, a Discard or Zero
// at most block.MaxDiscard.
func (c *Core) Admit(o Op) ID {
	id := c.alloc(o)
	if o.Kind != Lock {
		c.active++
	}
	if c.broken != nil && o.Kind != Lock {
		c.finish(id, c.broken)
		return id
	}
	if o.Kind == Flush {
		c.ops[id].phase = flushing
		c.pairs.flush()
		if !c.joinEarly(id) {
			c.waitFlush = append(c.waitFlush, id)
			c.startGroup()
		}
		return id
	}
	if c.ranges.Acquire(id, o.Span) {
		c.granted(id)
	}
	return id
}

func (c *Core) alloc(o Op) ID {
	var id ID
	if n := len(c.free); n > 0 {
		id, c.free = c.free[n-1], c.free[:n-1]
	} else {
		id = ID(len(c.ops))
		c.ops = append(c.ops, op{})
	}
	c.ops[id] = op{Op: o, phase: queued}
	return id
}

// Span gives the range of an operation.
func (c *Core) Span(id ID) Span { return c.ops[id].Op.Span }

// Active is the number of operations admitted and not completed, locks apart.
func (c *Core) Active() int { return c.active }

// granted: the range belongs to id now.
func (c *Core) granted(id ID) {
	o := &c.ops[id]
	switch {
	case o.Kind == Lock:
		o.phase = locked
		c.emit(Effect{Do: Locked, ID: id})
	case c.broken != nil:
		c.settle(id)
		c.finish(id, c.broken)
	case c.stopped():
		o.phase = ready
		c.waitReady = append(c.waitReady, id)
	default:
		c.enter(id)
	}
}

// stopped tells that nothing new is to be started.
func (c *Core) stopped() bool {
	return c.held || c.peer == Suspended || len(c.current) > 8*block.MaxEpoch
}

// enter begins with an operation whose range is its own.
func (c *Core) enter(id ID) {
	if c.without {
		c.startThere(id)
		return
	}
	c.enterLog(id)
}

// enterLog takes the extents of an operation into the activity log.
func (c *Core) enterLog(id ID) {
	o := &c.ops[id]
	if len(c.waitLog) > 0 && c.waitLog[0] != id {
		o.phase = starved
		c.waitLog = append(c.waitLog, id)
		return
	}
	first, last := extents(o.Span)
	if !o.logged {
		o.logged, o.nextRef = true, first
	}
	for o.nextRef <= last {
		switch c.log.Get(o.nextRef) {
		case metadata.Starved:
			c.starve(id)
			return
		}
		o.nextRef++
	}
	if len(c.waitLog) > 0 && c.waitLog[0] == id {
		c.waitLog = c.waitLog[1:]
	}
	if c.hot(id) {
		c.start(id)
		return
	}
	o.phase = logging
	c.waitCommit = append(c.waitCommit, id)
	c.askLog()
}

// starve puts id at the head of the queue for the log and sees to it that extents become free.
func (c *Core) starve(id ID) {
	if c.ops[id].phase != starved {
		c.ops[id].phase = starved
		c.waitLog = append(c.waitLog, id)
	}
	c.askLog()
	c.forced = true
	c.startGroup()
}

func (c *Core) hot(id ID) bool {
	first, last := extents(c.ops[id].Span)
	for e := first; e <= last; e++ {
		if !c.log.Hot(e) {
			return false
		}
	}
	return true
}

func extents(s Span) (first, last uint32) {
	return uint32(s.Start / metadata.ExtentSize), uint32((s.End - 1) / metadata.ExtentSize)
}

func (c *Core) askLog() {
	if !c.logAsked {
		c.logAsked = true
		c.emit(Effect{Do: LogExtents})
	}
}

// BeginLog encodes the next transaction of the activity log into p, as ActivityLog.Begin; false means that there is
// nothing to write.
func (c *Core) BeginLog(p []byte) (metadata.ALTransaction, bool) {
	t, ok := c.log.Begin(p)
	if !ok {
		c.logAsked = false
	}
	return t, ok
}

// LogDone tells that the transaction is durable, or that writing it failed: then the disk is not to be trusted and the
// shell calls Break.
func (c *Core) LogDone() {
	c.log.Commit()
	c.logAsked = false
	waiting := c.waitCommit
	c.waitCommit = nil
	for _, id := range waiting {
		switch {
		case !c.hot(id):
			c.waitCommit = append(c.waitCommit, id)
		case c.stopped():
			c.ops[id].phase = ready
			c.waitReady = append(c.waitReady, id)
		default:
			c.start(id)
		}
	}
	if len(c.waitCommit) > 0 {
		c.askLog()
	}
	c.feedLog()
}

// feedLog lets those starved of extents try again.
func (c *Core) feedLog() {
	for len(c.waitLog) > 0 && !c.stopped() && c.broken == nil && !c.without {
		head := c.waitLog[0]
		c.enterLog(head)
		if len(c.waitLog) > 0 && c.waitLog[0] == head {
			return
		}
	}
}

// start carries an operation out, here and there.
func (c *Core) start(id ID) {
	o := &c.ops[id]
	if c.awaitsBarrier(id) {
		return
	}
	o.phase, o.local = running, true
	c.pairs.write()
	if c.peer == Up {
		c.send(id)
	} else if !planted.BitLost {
		c.oos.SetBytes(o.Span.Start, o.Span.Len())
	}
	c.emit(Effect{Do: WriteLocal, ID: id})
	c.startEarly(id)
}

func (c *Core) send(id ID) {
	o := &c.ops[id]
	o.remote = true
	c.ep.writes++
	c.current.add(o.Span)
	c.emit(Effect{Do: Send, ID: id})
	if len(c.current) >= c.epochMost {
		c.forced = true
		c.startGroup()
	}
}

// LocalDone tells how the local disk took an operation.
func (c *Core) LocalDone(id ID, err error) {
	o := &c.ops[id]
	o.local = false
	if err != nil && o.err == nil {
		o.err = err
		c.lacksHere(o.Span)
	}
	c.flushAfter(id)
	c.advance(id)
}

// PeerAck tells that the peer has an operation (in its volatile cache at least). It returns false if it was not waited
// for: the peer is confused.
func (c *Core) PeerAck(id ID) bool {
	if !c.awaited(id) {
		return false
	}
	c.ops[id].remote, c.ops[id].there = false, true
	c.advance(id)
	return true
}

// awaited tells whether the peer has yet to acknowledge id.
func (c *Core) awaited(id ID) bool {
	return int(id) < len(c.ops) && c.ops[id].phase == running && c.ops[id].remote
}

// PeerFailed tells that the peer could not carry an operation out: its disk lacks the range. It returns false like
// PeerAck.
func (c *Core) PeerFailed(id ID) bool {
	if !c.awaited(id) {
		return false
	}
	s := c.ops[id].Span
	c.oos.SetBytes(s.Start, s.Len())
	c.ops[id].remote = false
	c.advance(id)
	return true
}

// PeerInSync is PeerAck of a peer being resynced, which says that the blocks the operation wrote whole are in sync now.
func (c *Core) PeerInSync(id ID) bool {
	if !c.awaited(id) {
		return false
	}
	if s := c.ops[id].Span; c.ops[id].err == nil {
		c.oos.ClearBytes(s.Start, s.Len(), c.size)
	}
	return c.PeerAck(id)
}

// advance finishes an operation that is done everywhere, or sends it on to its flush.
func (c *Core) advance(id ID) {
	o := &c.ops[id]
	if o.phase != running || o.local || o.remote && !planted.AckBeforePeer {
		return
	}
	fua, err := o.FUA, c.verdict(o)
	o.phase = finished
	c.settle(id)
	switch {
	case err != nil:
		c.finish(id, err)
	case c.broken != nil:
		c.finish(id, c.broken)
	case fua:
		c.ops[id].phase = flushing
		c.waitFlush = append(c.waitFlush, id)
		c.startGroup()
	default:
		c.finish(id, nil)
	}
	c.feedLog()
}

// settle gives back what an operation holds: its extents (covered by the next flush group to begin) and its range.
func (c *Core) settle(id ID) {
	o := &c.ops[id]
	if o.logged {
		first, _ := extents(o.Span)
		for e := first; e < o.nextRef; e++ {
			c.log.Put(e, c.started+1)
		}
		o.logged = false
	}
	for _, next := range append([]ID(nil), c.ranges.Release(id)...) {
		c.granted(next)
	}
}

// finish answers an operation, now or when the hold ends. Errors are never held back.
func (c *Core) finish(id ID, err error) {
	o := &c.ops[id]
	o.phase, o.err = finished, err
	if err == nil && (c.held || c.peer == Suspended) {
		c.doneHeld = append(c.doneHeld, id)
		return
	}
	c.release(id)
}

func (c *Core) release(id ID) {
	err := c.ops[id].err
	c.ops[id] = op{}
	c.free = append(c.free, id)
	c.active--
	c.emit(Effect{Do: Complete, ID: id, Err: err})
}

// Unlock gives back the range of a Lock, held or still waited for.
func (c *Core) Unlock(id ID) {
	if c.ops[id].Kind != Lock {
		panic(fmt.Sprintf("writepath: operation %d is no lock", id))
	}
	next := append([]ID(nil), c.ranges.Release(id)...)
	c.ops[id] = op{}
	c.free = append(c.free, id)
	for _, n := range next {
		c.granted(n)
	}
}
