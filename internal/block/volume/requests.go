package volume

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/writepath"
	"holdfast/internal/disk"
)

// target is the device as the front end sees it.
type target struct {
	e    *engine
	size atomic.Int64
}

// Submit takes a request; it blocks while MaxInFlight are under way.
func (t *target) Submit(r *kernel.Request) {
	t.e.slots <- struct{}{}
	t.e.inbox.post(event{request: r, part: t.e})
}

// Size is the capacity in bytes.
func (t *target) Size() int64 { return t.size.Load() }

// errSecondary is what a request gets on a volume that is not Primary; DRBD refuses to open such a device with it.
var errSecondary = fmt.Errorf("the volume is not Primary here: %w", unix.EMEDIUMTYPE)

// errLease is what a request gets when the node's lease has ended (S6).
var errLease = fmt.Errorf("the node's lease has ended: %w", unix.EIO)

func (e *engine) complete(r *kernel.Request, err error) {
	if err == nil && !e.machine.IsPrimary() {
		err = fmt.Errorf("%w: %w", errGone, unix.EIO) // it may be stale by now: another may be Primary (S3)
	}
	if err == nil && e.machine.Bound() && !e.leaseLive() {
		err = errLease
		e.machine.LeaseOver(e.env())
	}
	<-e.slots
	r.Owner.Complete(r, err)
}

func (e *engine) handleRequest(r *kernel.Request) {
	switch {
	case e.machine.Resuming() || e.machine.NoData() && e.machine.IsPrimary() && r.Op == kernel.Read:
		e.parked = append(e.parked, r)
	case !e.machine.IsPrimary() || e.path == nil:
		e.complete(r, errSecondary)
	case r.Op != kernel.Flush && !e.inside(r):
		e.complete(r, fmt.Errorf("request of %d bytes at %d on a device of %d: %w", r.Length, r.Offset, e.target.Size(), unix.EINVAL))
	case r.Op == kernel.Read:
		e.noteApplication()
		e.read(r)
	default:
		e.noteApplication()
		if r.Op != kernel.Flush {
			e.noteWritten(writepath.Span{Start: r.Offset, End: r.Offset + r.Length})
		}
		e.admit(r)
	}
}

func (e *engine) inside(r *kernel.Request) bool {
	most := int64(block.MaxIO)
	if r.Op == kernel.Discard || r.Op == kernel.WriteZeroes {
		most = block.MaxDiscard
	}
	return r.Offset >= 0 && r.Length > 0 && r.Length <= most && r.Offset <= e.target.Size()-r.Length &&
		(r.Offset|r.Length)%disk.SectorSize == 0
}

// unpark serves what waited for the decision on a resumed Primary.
func (e *engine) unpark() {
	if len(e.parked) == 0 || e.machine.Resuming() || e.machine.NoData() {
		return
	}
	list := e.parked
	e.parked = nil
	for _, r := range list {
		e.handleRequest(r)
		e.settle()
	}
}

func (e *engine) read(r *kernel.Request) {
	if e.missing(r.Offset, r.Length) {
		e.readThere(r)
		return
	}
	e.reading++
	j := e.jobs.get()
	j.work, j.purpose, j.dev, j.off, j.data, j.request = doRead, forRead, e.store.data, r.Offset, r.Data[:r.Length], r
	e.carry(j)
}

func (e *engine) admit(r *kernel.Request) {
	o := writepath.Op{Kind: kindOfOp(r.Op), FUA: r.FUA, Span: writepath.Span{Start: r.Offset, End: r.Offset + r.Length}}
	id := e.path.Admit(o)
	for int(id) >= len(e.ops) {
		e.ops = append(e.ops, nil)
	}
	e.ops[id] = r
}

func kindOfOp(op kernel.Op) writepath.Kind {
	switch op {
	case kernel.Write:
		return writepath.Write
	case kernel.Discard:
		return writepath.Discard
	case kernel.WriteZeroes:
		return writepath.Zero
	}
	return writepath.Flush
}

func (e *engine) pathEffect(f *writepath.Effect) {
	switch f.Do {
	case writepath.WriteLocal:
		e.writeLocal(f.ID)
	case writepath.Send:
		e.sendWrite(f.ID)
	case writepath.SendBarrier:
		e.sendBarrier(f.Number)
	case writepath.FlushLocal:
		j := e.jobs.get()
		j.work, j.purpose, j.dev = doFlush, forPathSync, e.store.data
		e.carry(j)
	case writepath.LogExtents:
		e.logJob = true
		e.startLog()
	case writepath.Locked:
		e.resyncLocked(f.ID)
	case writepath.Complete:
		r := e.ops[f.ID]
		e.ops[f.ID] = nil
		e.complete(r, f.Err)
	}
}

func (e *engine) writeLocal(id writepath.ID) {
	r := e.ops[id]
	j := e.jobs.get()
	j.purpose, j.dev, j.off, j.length, j.id = forPath, e.store.data, r.Offset, r.Length, id
	switch r.Op {
	case kernel.Write:
		j.work, j.data = doWrite, r.Data[:r.Length]
	case kernel.Discard:
		j.work = doDiscard
	default:
		j.work = doZero
	}
	e.stats.written += uint64(r.Length)
	e.carry(j)
}

// startLog writes the next activity log transaction once no other metadata is being written.
func (e *engine) startLog() {
	if !e.logJob || e.metaBusy != nil || !e.hasDisk() {
		return
	}
	t, ok := e.path.BeginLog(e.logBlock)
	if !ok {
		e.logJob = false
		return
	}
	j := e.jobs.get()
	j.work, j.purpose, j.dev = doPieces, forLog, e.store.meta
	j.first, j.pieces = e.store.logPieces(t, e.logBlock, e.path)
	e.startMeta(j)
}

// handleJob takes a finished job back.
func (e *engine) handleJob(j *job) {
	e.under--
	if j.purpose == forLog || j.purpose == forBitmap {
		e.metaBusy = nil
	}
	if j.err != nil {
		e.jobFailed(j)
	}
	switch j.purpose {
	case forRead:
		e.reading--
		e.stats.read += uint64(len(j.data))
		if j.err != nil {
			e.readAgain(j.request, j.err)
		} else {
			e.complete(j.request, nil)
		}
	case forPath:
		e.localDone(j)
	case forPathSync:
		if e.path != nil {
			e.path.LocalFlushed(j.err)
		}
	case forLog:
		if j.err == nil {
			e.logJob = false
			e.path.LogDone()
		}
	case forPeer:
		e.peerWritten(j)
	case forPeerSync:
		e.peerFlushed(j)
	case forResync:
		e.resyncRead(j)
	case forCsum:
		e.csumRead(j)
	case forVerify:
		e.verifyRead(j)
	case forPeerRead:
		e.peerRead(j)
	case forFinish:
		e.finishFlushed(j)
	case forGrow:
		e.growJobDone(j)
	case forHeal:
		e.healJobDone(j)
	}
	e.jobs.put(j)
	e.startLog()
}
