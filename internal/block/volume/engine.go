package volume

import (
	"context"
	"fmt"
	"hash"
	"log/slog"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/resync"
	"holdfast/internal/block/writepath"
	"holdfast/internal/clock"
)

// engine is one volume of a resource, a part of it: everything in it, and in the resource but for inbox, pool and control, belongs
// to the goroutine of run.
type engine struct {
	*resource
	part   int
	log    *slog.Logger
	volume *resfile.Volume
	files  stateStore
	slots  chan struct{}

	machine *peer.Machine
	store   *store
	path    *writepath.Core
	ops     []*kernel.Request // of the path's operations
	parked  []*kernel.Request // wait for a resumed Primary, or for data
	reading int               // reads under way, from either disk
	under   int               // jobs being carried out
	dropped []func()          // wait for the disk to be given back
	// unflushed: the peer has written to the disk since it was last flushed for the peer.
	unflushed bool

	front     kernel.Frontend
	opening   bool // the front end is being made
	frontSize int64
	// frontNumber is the device number, MAJOR:MINOR.
	frontNumber string
	target      *target
	inUse       []string
	inUseAt     clock.Boottime
	inUseTook   time.Duration // the last look at it
	asking      bool          // an InUse runs
	logJob      bool          // an activity log transaction is under way
	logBlock    []byte
	metaBusy    chan struct{} // closed when the metadata job under way is carried out; nil if none
	bitmapAt    clock.Boottime
	deferred    []func() // wait for the drain of an old connection, or for the kernel's device to be there
	replies     map[uint64]func(api.VolumeReply)
	nextReply   uint64

	conn  peering
	sync  syncState
	check verifyState
	heal  healState
	move  *moving // the metadata is to be moved
	grow  *growing
	user  int64 // the size an operator wants, in bytes; 0: the configuration's
	rate  int64 // an operator's ceiling of a resync, bytes per second; 0 if none was set
	stats counters

	wantSent   api.VolumeWant
	wantAt     clock.Boottime
	statusAt   clock.Boottime
	statusDue  bool
	lastStatus []byte
}

// connection is the state of the peer's link, which all volumes share.
type connection struct {
	link     *replica.Link
	closing  bool
	policy   peer.LinkPolicy
	cancel   context.CancelFunc // of the attempt under way
	attempt  int
	ended    chan struct{} // closed when the last attempt has given the port back
	receiver *writepath.Receiver
	received []*job // by the receiver's ID
	peerJobs int    // writes of this or an earlier link under way
	protocol uint32 // of the link: A, B or C
	flushes  int    // of disks, for the receiver, not ended
	flushErr error
	leaving  bool // the peer has been told that the operator wants no connection
}

// peering is the link as one volume has it.
type peering struct {
	*connection
	bitmapIn *bitmapIn
	seq      uint32
	asked    map[uint64]*kernel.Request // reads the peer is to serve, by the block ID they were asked for with
	asks     uint64
	sentSeq  []uint32 // protocol A: of the last sending of each operation
	ackSeq   uint32
	heardAck clock.Boottime
}

// counters are /proc/drbd's, in bytes or pieces.
type counters struct {
	sent, received, written, read uint64
	resynced                      int64
}

// syncState is the resync under way.
type syncState struct {
	target   *resync.Target
	progress *resync.Progress
	finish   finishStep
	reads    map[writepath.ID]*resyncRead // by lock
	source   resync.Source
	waiting  []*resyncRead                   // asked for by the target, and not begun
	locks    map[writepath.ID]writepath.Span // target, while Primary: the ranges asked for
	locked   map[int64]writepath.ID          // the same by offset
	csums    hash.Hash                       // target: ask with a digest of what is here; nil if not
	byOffset map[int64]*resyncRead           // sent, not acknowledged
}

// carrier carries jobs out, and delivers each to the engine afterwards.
type carrier interface {
	add(j *job)
	// wait returns once the job whose done this is has been carried out.
	wait(done <-chan struct{})
	stop()
}

// daemonLink is the way to the daemon.
type daemonLink interface {
	// send queues a message; false if there is no daemon to read it.
	send(m api.VolumeMessage) bool
	// reply answers a command, to the daemon that gave it.
	reply(s *session, id uint64, r api.VolumeReply)
	close()
}

// stateStore keeps the volume's epoch and role for the process after this one.
type stateStore interface {
	loadEpoch() (uint64, error)
	storeEpoch(epoch uint64) error
	loadRole() (*peer.Resume, error)
	storeRole(r peer.Resume) error
	dropRole() error
	loadHealed() (*healed, error)
	storeHealed(h healed) error
	dropHealed() error
}

// env is what the machine gets with each event.
func (e *engine) env() peer.Env {
	v := peer.Env{Now: time.Duration(e.now()), Fresh: random64(), Idle: true}
	if e.store != nil {
		v.OOS = e.store.bits.Count()
	}
	if e.path != nil {
		v.Unconfirmed = e.path.Unconfirmed()
		v.Idle = e.path.Idle() && e.reading == 0
	}
	return v
}

// tickVolume is the passing of block.Tick.
func (e *engine) tickVolume() {
	e.checkLease()
	e.machine.Tick(e.env())
	e.checkPeerTimeout()
	e.pumpTarget()
	if len(e.sync.waiting) > 0 {
		e.pumpSource()
	}
	e.pumpVerify()
	e.writeBack()
	e.refreshInUse()
	if e.now().Sub(e.statusAt) >= block.StatusEvery {
		e.statusDue = true
	}
}

// followVolume brings what follows from the machine's state in line with it: the want, the status.
func (e *engine) followVolume() {
	e.followWant()
	if e.conn.peerJobs == 0 && !e.opening && len(e.deferred) > 0 {
		list := e.deferred
		e.deferred = nil
		for _, f := range list {
			f()
		}
		e.settle()
	}
	e.unpark()
	e.followResize()
	e.followDisk()
	e.followHeal()
	e.sendStatus()
}

// checkPeerTimeout drops a peer that answers pings but not requests.
func (e *engine) checkPeerTimeout() {
	if e.conn.link == nil || e.path == nil || !e.path.Waiting() && len(e.conn.asked) == 0 {
		e.conn.heardAck = e.now()
		return
	}
	limit := e.peerTimeout()
	if e.path.Flushing() {
		limit = max(limit, block.FlushTimeout)
	}
	if e.now().Sub(e.conn.heardAck) > limit {
		e.closeLink(fmt.Sprintf("the peer has not finished a request for %v", limit))
	}
}

// writeBack writes changed bitmap pages now and then, so that little is left for a detach.
func (e *engine) writeBack() {
	if !e.hasDisk() || e.metaBusy != nil || e.now().Sub(e.bitmapAt) < block.BitmapWriteback {
		return
	}
	e.bitmapAt = e.now()
	if _, dirty := e.store.bits.NextDirty(0); !dirty {
		return
	}
	j := e.jobs.get()
	j.work, j.purpose, j.dev = doPieces, forBitmap, e.store.meta
	j.pieces = e.store.dirtyPages(e.path, writebackPages)
	e.startMeta(j)
}

// writebackPages bounds one write-back.
const writebackPages = 64

// startMeta begins a job that writes metadata; one at a time, so that pages reach the disk in order.
func (e *engine) startMeta(j *job) {
	j.done = make(chan struct{})
	e.metaBusy = j.done
	e.carry(j)
}

// waitMeta waits for the metadata job under way, before metadata is written on the engine's own goroutine.
func (e *engine) waitMeta() {
	if e.metaBusy != nil {
		e.workers.wait(e.metaBusy)
	}
}
