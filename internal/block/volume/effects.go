package volume

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
)

// runMachine carries out what the machine wants, in order.
func (e *engine) runMachine() bool {
	list := e.machine.Effects()
	for i := range list {
		e.machineEffect(&list[i])
	}
	if len(list) > 0 {
		e.statusDue = true
	}
	return len(list) > 0
}

func (e *engine) machineEffect(f *peer.Effect) {
	switch f.Do {
	case peer.Log:
		e.log.Info(f.Text)
	case peer.Warn:
		e.log.Warn(f.Text)
	case peer.Answer:
		e.answer(f.ID, f.Reply)
	case peer.CloseLink:
		e.closeLink(f.Text)
	case peer.StoreEpoch, peer.SaveRole:
		e.storeFile(f)
	case peer.DropDisk:
		e.diskFailed(errors.New(f.Text))
	case peer.Grow:
		e.startGrow(f)
	case peer.Resize:
		e.shrink(int64(f.Number))
	case peer.StartVerify:
		e.startVerify()
	case peer.EndVerify:
		e.endVerify()
	case peer.RunHandler:
		e.runHandler(f.Text)
	case peer.Store, peer.SetAllBits, peer.ClearAllBits, peer.WriteBitmap, peer.MarkExtents:
		e.storeEffect(f)
	case peer.StartSource:
		e.startSource()
	case peer.StartTarget:
		e.startTarget()
	case peer.EndResync:
		e.endResync()
	case peer.PathReset:
		e.resetPath()
	case peer.HealFound, peer.HealHold, peer.HealEnded:
		e.healEffect(f)
	default:
		if !e.pathOrder(f) {
			e.sendEffect(f)
		}
	}
}

// storeFile writes a state file; what cannot be stored must not be acted upon, so that the process ends.
func (e *engine) storeFile(f *peer.Effect) {
	var err error
	switch {
	case f.Do == peer.StoreEpoch:
		err = e.files.storeEpoch(f.Number)
	case e.machine.IsPrimary():
		err = e.files.storeRole(e.machine.Resume(f.Number))
	default:
		err = e.files.dropRole()
	}
	if err != nil {
		e.closeLink("the volume's state cannot be stored")
		e.failure = fmt.Errorf("the volume's state cannot be stored: %w", err)
	}
}

// storeEffect changes the metadata. After a failure the peer is told nothing more of what the machine wants: all of that follows
// from generations and states that are on no disk.
func (e *engine) storeEffect(f *peer.Effect) {
	if !e.hasDisk() {
		return
	}
	e.waitMeta()
	var err error
	switch f.Do {
	case peer.Store:
		e.machine.Superblock(&e.store.sb)
		err = e.store.writeSuperblock()
	case peer.SetAllBits:
		e.store.bits.Set(0, e.store.bits.Bits())
		err = e.store.writeBitmap(e.path)
	case peer.ClearAllBits:
		e.store.bits.Clear(0, e.store.bits.Bits())
		err = e.store.writeBitmap(e.path)
	case peer.WriteBitmap:
		err = e.store.writeBitmap(e.path)
	case peer.MarkExtents:
		for _, x := range e.store.log.Extents() {
			e.store.bits.SetExtent(x)
		}
	}
	if err != nil {
		e.closeLink("the metadata could not be written")
		e.diskFailed(err)
		if e.path != nil && e.machine.IsPrimary() && !e.machine.Bound() { // what comes next may let go what only this disk has
			e.path.DropDisk()
		}
	}
}

// errGone is what requests get when the volume stopped being Primary under them.
var errGone = errors.New("the volume is no longer Primary")

// pathOrder passes orders on to the write path.
func (e *engine) pathOrder(f *peer.Effect) bool {
	if e.path == nil {
		return f.Do >= peer.ResyncDurable && f.Do <= peer.PathFlush
	}
	switch f.Do {
	case peer.ResyncDurable:
		e.path.ResyncDurable()
	case peer.PathUp:
		if f.Word != 0 {
			e.path.Owe()
		}
		e.path.PeerUp()
	case peer.PathSuspend:
		e.path.Suspend()
	case peer.PathGone:
		e.path.PeerGone()
	case peer.PathDropDisk:
		e.dropDisk()
	case peer.PathTakeDisk:
		e.path.TakeDisk(e.store.log, e.store.bits)
		e.path.Forgive(e.onIOError() == "pass_on")
	case peer.PathHold:
		e.path.Hold()
	case peer.PathRelease:
		e.path.Release()
	case peer.PathFlush:
		e.path.FlushAll()
	case peer.PathBreak:
		e.path.Break(fmt.Errorf("%w: %s: %w", errGone, f.Text, unix.EIO))
		e.abortFrontend()
	default:
		return false
	}
	return true
}

// resetPath makes a new write path for a Primary, if the last tenure ended with an error. doPrimary has seen to it that
// nothing is under way in the old one.
func (e *engine) resetPath() {
	if e.store == nil && (e.path == nil || e.path.Broken() != nil) {
		e.pathWithout()
		return
	}
	if e.store == nil || e.path == nil || e.path.Broken() == nil {
		return
	}
	e.waitMeta()
	if err := e.store.newLog(); err != nil {
		e.diskFailed(err)
		return
	}
	e.usePath(e.newPath())
	e.logJob = false
}

// shrink gives a blank device the size of the peer's smaller one. Nothing is under way on it.
func (e *engine) shrink(size int64) {
	if e.store == nil {
		return
	}
	e.waitMeta()
	if err := e.store.shrink(size); err != nil {
		e.diskFailed(err)
		return
	}
	e.usePath(e.newPath())
	e.logJob = false
	e.target.size.Store(size)
	e.refit()
}

// refit gives the kernel's device the volume's size: while it is in use, or by making it anew.
func (e *engine) refit() {
	if e.front == nil || e.frontSize == e.target.Size() {
		return
	}
	if r, ok := e.front.(kernel.Resizer); ok {
		e.resizeFrontend(r)
		return
	}
	e.reopenFrontend(func(r api.VolumeReply) {
		if r.Code != 0 {
			e.log.Warn("the kernel's device keeps its old size until it is closed and made again", "err", r.Error)
		}
	})
}

// sendEffect sends the peer what the machine has to say.
func (e *engine) sendEffect(f *peer.Effect) {
	l := e.conn.link
	if l == nil || e.conn.closing {
		return
	}
	switch f.Do {
	case peer.SendFirst:
		if e.part == 0 {
			replica.Send(l, 0, wire.Protocol, e.protocolInfo(), nil, nil)
		}
		replica.Send(l, e.vnr(), wire.SyncParam89, e.syncParams(), nil, nil)
		replica.Send(l, e.vnr(), wire.Sizes, e.sizesInfo(), nil, nil)
	case peer.SendSizes:
		replica.Send(l, e.vnr(), wire.Sizes, e.sizesAnswer(f), nil, nil)
	case peer.SendUUIDs:
		u := f.UUIDs
		if e.store != nil {
			u.Bits = e.store.bits.Count()
		}
		replica.Send(l, e.vnr(), wire.UUIDs, u, nil, nil)
	case peer.SendState:
		replica.Send(l, e.vnr(), wire.State, wire.Word32(f.Word), nil, nil)
	case peer.SendBitmap:
		e.sendBitmap(l)
	case peer.SendSyncUUID:
		replica.Send(l, e.vnr(), wire.SyncUUID, wire.Word64(f.Number), nil, nil)
	case peer.SendChange:
		replica.Send(l, e.vnr(), wire.StateChgReq, f.Change, nil, nil)
	case peer.SendConnChange:
		if !e.conn.leaving {
			e.conn.leaving = true
			replica.Send(l, 0, wire.ConnStChgReq, f.Change, nil, nil)
		}
	case peer.SendReply:
		replica.SendMeta(l, e.vnr(), wire.StateChgReply, wire.Word32(f.Return))
	case peer.SendConnReply:
		if e.part == 0 {
			replica.SendMeta(l, 0, wire.ConnStChgReply, wire.Word32(f.Return))
		}
	}
}

func (e *engine) sendBitmap(l *replica.Link) {
	if e.store == nil {
		return
	}
	var s wire.BitmapSender
	var buf []byte
	for !s.Done() {
		buf = s.Append(buf, l.Form(0), e.vnr(), e.store.bits)
	}
	l.SendBytes(buf)
}
