package volume

import (
	"errors"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
)

// Online resize, as package peer decides it: the metadata moves to the end of a disk that has grown, new blocks are zeroed or
// marked, and the kernel's device follows while it is in use.

// moving is metadata that waits to be moved: until nothing is under way that the activity log speaks of.
type moving struct {
	layout metadata.Layout
	held   bool
	then   []func(error)
}

// growing is a change of the size that is being carried out.
type growing struct {
	to     int64
	how    uint32
	cursor int64 // up to here new blocks are zeros
	busy   bool  // a job runs
	synced bool
	err    error
}

// userSize is the size in bytes the device is to have, 0 for as much as there is room for.
func (e *engine) userSize() int64 {
	if e.user != 0 {
		return e.user
	}
	return e.cfg.Resource.Disk(e.volume).Bytes("size", 0)
}

// doResize looks at the disk again and has the size negotiated with the peer.
func (e *engine) doResize(do api.VolumeDo, done func(api.VolumeReply)) {
	if do.SizeBytes%512 != 0 {
		done(failed(codeFailed, "%d: Failure: resize: %d bytes are no whole sectors", e.volume.Minor, do.SizeBytes))
		return
	}
	e.relocate(func(err error) {
		if err != nil {
			done(failed(codeFailed, "%d: Failure: resize: %v", e.volume.Minor, err))
			return
		}
		r := peer.ResizeRequest{User: do.SizeBytes, AssumePeer: do.AssumePeerHasSpace, AssumeSync: do.AssumeClean}
		if e.hasDisk() {
			r.Room = e.store.capacity()
		}
		if r.User == 0 {
			r.User = e.cfg.Resource.Disk(e.volume).Bytes("size", 0)
		}
		e.user = r.User
		e.machine.Resize(e.env(), e.await(done), r)
	})
}

// relocate measures the disk, and moves internal metadata to its end if it has grown; then is called once, with why not.
func (e *engine) relocate(then func(error)) {
	if !e.hasDisk() {
		then(nil)
		return
	}
	l, err := e.store.measure(e.volume.Meta.Index)
	if err == nil {
		err = e.store.mayMove(l)
	}
	switch {
	case err != nil || l == e.store.layout:
		then(err)
	case e.move != nil:
		e.move.layout, e.move.then = l, append(e.move.then, then)
	default:
		e.move = &moving{layout: l, then: []func(error){then}}
		e.followMove()
	}
}

// followMove moves the metadata once nothing is under way; new requests wait meanwhile.
func (e *engine) followMove() {
	m := e.move
	if m == nil {
		return
	}
	err := errDiskFailed
	if e.hasDisk() {
		if !e.path.Quiet() {
			e.path.Hold()
			m.held = true
			return
		}
		e.waitMeta()
		e.path.Hold()
		m.held = true
		if err = e.store.move(m.layout, e.path); err != nil {
			e.diskFailed(err)
		} else {
			e.path.TakeLog(e.store.log)
			e.logJob = false
		}
	}
	e.move = nil
	if e.path != nil && m.held && e.machine.Frozen() == "" {
		e.path.Release()
	}
	for _, f := range m.then {
		f(err)
	}
}

// peerSizes takes in what the peer has room for. During a connection it may be the peer's operator who resizes.
func (e *engine) peerSizes(l *replica.Link, v wire.SizesInfo) {
	tell := func() {
		var room int64
		if e.hasDisk() {
			room = e.store.capacity()
		}
		e.machine.PeerSizes(e.env(), v, room, uint64(e.userSize()/512))
	}
	if e.machine.Conn() != wire.Connected {
		tell()
		return
	}
	e.relocate(func(err error) {
		if err != nil {
			e.log.Warn("the disk's new size cannot be used", "disk", e.volume.Disk, "err", err)
		}
		if l == e.conn.link && !e.conn.closing {
			e.user = int64(v.User) * 512
			tell()
		}
	})
}

// sizesAnswer is P_SIZES in the course of a resize.
func (e *engine) sizesAnswer(f *peer.Effect) wire.SizesInfo {
	s := e.sizesInfo()
	s.User, s.DDSFlags = f.Number, uint16(f.Word)
	if f.ID != 0 {
		s.Current = 0
	}
	return s
}

// startGrow begins to change the size.
func (e *engine) startGrow(f *peer.Effect) {
	if !e.hasDisk() {
		e.machine.Resized(e.env(), 0, errDiskFailed)
		return
	}
	e.grow = &growing{to: int64(f.Number), how: f.Word, cursor: e.store.size}
	e.followGrow()
}

// followResize goes on with what waits.
func (e *engine) followResize() {
	if e.move == nil && e.grow == nil {
		return
	}
	e.followMove()
	e.followGrow()
	e.settle()
}

// followGrow zeroes new blocks piece by piece, makes that durable, and then changes the size.
func (e *engine) followGrow() {
	g := e.grow
	if g == nil || g.busy {
		return
	}
	switch {
	case !e.hasDisk():
		e.grow = nil
		e.machine.Resized(e.env(), 0, errDiskFailed)
	case g.err != nil:
		e.grow = nil
		e.machine.Resized(e.env(), 0, g.err)
	case g.how == peer.GrowZeroed && g.cursor < g.to:
		j := e.jobs.get()
		n := min(g.to-g.cursor, block.MaxDiscard)
		j.work, j.purpose, j.dev, j.off, j.length = doZero, forGrow, e.store.data, g.cursor, n
		g.cursor, g.busy = g.cursor+n, true
		e.carry(j)
	case g.how == peer.GrowZeroed && !g.synced:
		j := e.jobs.get()
		j.work, j.purpose, j.dev = doFlush, forGrow, e.store.data
		g.synced, g.busy = true, true
		e.carry(j)
	default:
		e.grow = nil
		e.changeSize(g)
	}
}

func (e *engine) growJobDone(j *job) {
	if e.grow == nil {
		return
	}
	e.grow.busy = false
	if j.err != nil {
		e.grow.err = fmt.Errorf("zero what is new: %w", j.err)
	}
	e.followGrow()
}

func (e *engine) changeSize(g *growing) {
	e.waitMeta()
	if err := e.store.resize(g.to, g.how == peer.GrowFresh, e.path); err != nil {
		e.diskFailed(err)
		e.machine.Resized(e.env(), 0, errors.Join(errDiskFailed, err))
		return
	}
	e.path.Resize(g.to)
	e.target.size.Store(g.to)
	e.refit()
	e.machine.Resized(e.env(), g.to, nil)
	e.statusDue = true
}

// resizeFrontend has the kernel's device take the volume's size. It runs beside the engine, which serves what the kernel asks
// meanwhile.
func (e *engine) resizeFrontend(r kernel.Resizer) {
	f, size := e.front, e.target.Size()
	go func() {
		err := r.Resize()
		e.inbox.call(func() {
			switch {
			case e.front != f:
			case err != nil:
				e.log.Warn("the kernel's device keeps its old size", "device", f.DevicePath(), "err", err)
			default:
				e.frontSize = size
				e.refit()
			}
		})
	}()
}
