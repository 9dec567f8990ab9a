package volume

import (
	"holdfast/internal/api"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/wire"
)

// drbdsetup's exit codes: 10 for what the kernel refuses, 11 for a refused change of state.
const (
	codeFailed  = 10
	codeRefused = 11
)

// verbOfVolume carries out a command about the volume alone; done is called once, on the engine's goroutine.
func (e *engine) verbOfVolume(do api.VolumeDo, done func(api.VolumeReply)) {
	switch do.Verb {
	case api.VolumeHeal:
		done(e.doHeal(do))
	case api.VolumeHealUndo:
		done(e.doUndo(do))
	case api.VolumeAttach:
		done(e.doAttach())
	case api.VolumeInvalidate:
		e.machine.Invalidate(e.env(), e.await(done))
	case api.VolumeInvalidateRemote:
		e.machine.InvalidateRemote(e.env(), e.await(done))
	case api.VolumePauseSync, api.VolumeResumeSync:
		e.machine.PauseSync(e.env(), e.await(done), do.Verb == api.VolumePauseSync)
	case api.VolumeSuspendIO, api.VolumeResumeIO:
		e.machine.SuspendIO(e.env(), e.await(done), do.Verb == api.VolumeSuspendIO)
	case api.VolumeVerify:
		e.machine.Verify(e.env(), e.await(done))
	case api.VolumeResize:
		e.doResize(do, done)
	case api.VolumeRate:
		e.rate = int64(do.RateKiB) << 10
		e.setRate()
		done(api.VolumeReply{})
	case api.VolumeOutdate:
		e.machine.Outdate(e.env(), e.await(done))
	case api.VolumeDetach:
		e.doDetach(done)
	default:
		done(failed(codeFailed, "volume %s: unknown verb %q", e.cfg.Resource.Name, do.Verb))
	}
}

func (e *engine) doAttach() api.VolumeReply {
	if e.store != nil && !e.machine.HasDisk() {
		return failed(codeFailed, "%d: Failure: the failed disk has not ended all its requests yet; try again", e.volume.Minor)
	}
	if e.store != nil {
		return failed(codeFailed, "%d: Failure: (124) Device is attached to a disk (use detach first)", e.volume.Minor)
	}
	s, err := openStore(e.cfg.OpenDisk, e.volume, e.cfg.Resource.Disk(e.volume))
	if err != nil {
		return failed(codeFailed, "%d: Failure: %v", e.volume.Minor, err)
	}
	if e.alExtents > 0 {
		s.extents = e.alExtents
	}
	primary := e.machine.IsPrimary()
	resume, err := e.files.loadRole()
	if err == nil {
		err = e.healUntouched(s)
	}
	if err == nil && primary {
		err = e.fitForPrimary(s)
	}
	if err == nil {
		err = s.recover()
	}
	if err != nil {
		s.close()
		return failed(codeFailed, "%d: Failure: attach %s: %v", e.volume.Minor, e.volume.Disk, err)
	}
	e.store, e.metaBusy = s, nil
	if primary {
		e.machine.Attached(e.env(), attachOf(s), nil)
		return api.VolumeReply{}
	}
	e.instance = randomName() // what a former attachment has acknowledged may be lost: the peer must not take this for it
	e.usePath(e.newPath())
	e.ops, e.logJob = nil, false
	e.machine.Attached(e.env(), attachOf(s), resume)
	if e.target == nil {
		e.target = &target{e: e}
		e.target.size.Store(s.size)
		if e.cfg.OnTarget != nil {
			e.cfg.OnTarget(e.volume.Number, e.target)
		}
	}
	e.target.size.Store(s.size)
	e.log.Info("attached", "disk", e.volume.Disk, "bytes", s.size, "uuids", s.sb.UUIDs.String())
	return api.VolumeReply{}
}

func attachOf(s *store) peer.Attach {
	return peer.Attach{UUIDs: s.sb.UUIDs, Device: s.sb.DeviceUUID, Flags: s.sb.Flags, Size: s.size}
}

// doPrimary promotes once no write of an earlier connection or tenure is under way, and the kernel's device is there.
func (e *engine) doPrimary(do api.VolumeDo, done func(api.VolumeReply)) {
	if e.conn.peerJobs > 0 || e.opening {
		e.deferred = append(e.deferred, func() { e.doPrimary(do, done) })
		return
	}
	switch {
	case e.machine.Bound() && !e.leaseLive():
		done(failed(codeRefused, "%d: State change failed: this node has no lease of the cluster (is the guard running?)", e.volume.Minor))
	case e.path != nil && e.path.Broken() != nil && (e.path.Active() > 0 || e.path.Flushing() || e.metaBusy != nil || e.reading > 0):
		done(failed(codeRefused, "%d: State change failed: requests of the last tenure are still under way; try again", e.volume.Minor))
	case e.frontendDead():
		e.reopenFrontend(func(r api.VolumeReply) {
			if r.Code != 0 {
				done(r)
				return
			}
			e.machine.Primary(e.env(), e.await(done), do.Force, do.Epoch)
		})
	default:
		e.machine.Primary(e.env(), e.await(done), do.Force, do.Epoch)
	}
}

// doDetach gives the disk back. A Primary can do without if the peer's disk has all the data.
func (e *engine) doDetach(done func(api.VolumeReply)) {
	switch {
	case e.store == nil:
		done(api.VolumeReply{})
	case !e.machine.HasDisk():
		e.dropped = append(e.dropped, func() { done(api.VolumeReply{}) })
	case !e.machine.MayDropDisk():
		done(e.machine.Refusal(wire.NoUpToDateDisk))
	case e.machine.IsPrimary():
		e.detachPrimary(done)
	default:
		e.closeLink("the disk is being detached")
		e.whenDrained(func() {
			if e.store == nil || e.machine.IsPrimary() { // it has failed, or somebody has detached or promoted it meanwhile
				e.doDetach(done)
				return
			}
			done(e.detach())
		})
	}
}

// whenDrained calls f once the connection is down and nothing is under way on the disk.
func (e *engine) whenDrained(f func()) {
	e.deferred = append(e.deferred, func() {
		if e.conn.link != nil || e.path != nil && (e.path.Active() > 0 || e.path.Flushing()) || e.reading > 0 {
			e.whenDrained(f)
			return
		}
		f()
	})
}

// detachPrimary takes the disk away from a Primary, which goes on with the peer's. What it writes from now on this disk lacks,
// and its metadata says so before the first such write. Nothing may be half written then: it would be in no bitmap.
func (e *engine) detachPrimary(done func(api.VolumeReply)) {
	if !e.path.Quiet() {
		e.path.Hold()
		e.deferred = append(e.deferred, func() { e.detachHeld(done) })
		return
	}
	e.waitMeta()
	e.machine.Superblock(&e.store.sb)
	e.store.sb.Flags &^= metadata.WasUpToDate | metadata.PrimaryInd
	if err := e.store.markClean(e.path); err != nil {
		done(failed(codeFailed, "%d: Failure: detach: %v", e.volume.Minor, err))
		return
	}
	e.healLeft(e.store)
	e.dropped = append(e.dropped, func() { done(api.VolumeReply{}) })
	e.machine.Detached(e.env(), false)
}

// detachHeld goes on with a detach once the requests under way are done; new ones wait meanwhile.
func (e *engine) detachHeld(done func(api.VolumeReply)) {
	if e.path != nil && !e.path.Quiet() && e.hasDisk() && e.machine.IsPrimary() && e.machine.MayDropDisk() {
		e.deferred = append(e.deferred, func() { e.detachHeld(done) })
		return
	}
	e.doDetach(done)
	if e.path != nil && e.machine.Frozen() == "" {
		e.path.Release()
	}
}

func (e *engine) detach() api.VolumeReply {
	e.waitMeta()
	var err error
	if e.machine.HasDisk() {
		e.machine.Superblock(&e.store.sb)
		if err = e.store.markClean(e.path); err == nil {
			e.healLeft(e.store)
		}
	}
	e.machine.Detached(e.env(), false)
	e.machine.DiskDropped(e.env()) // if it failed while this waited
	s := e.store
	e.usePath(nil)
	e.store, e.sync = nil, syncState{}
	if cerr := s.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return failed(codeFailed, "%d: Failure: detach: %v", e.volume.Minor, err)
	}
	return api.VolumeReply{}
}
