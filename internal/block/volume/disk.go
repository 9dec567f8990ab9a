package volume

import (
	"errors"
	"fmt"

	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
	"holdfast/internal/planted"
)

// What becomes of a backing disk that fails, or is given back (on-io-error).

// hasDisk tells whether there is a disk to read from and write to. A disk that has failed is still open until nothing is
// under way on it.
func (e *engine) hasDisk() bool { return e.store != nil && e.machine.HasDisk() }

// carry begins a job.
func (e *engine) carry(j *job) {
	e.under++
	j.part = e
	e.workers.add(j)
}

// jobFailed gives the backing disk up after an error, or passes an error of the data on: nothing is retried here (DESIGN,
// LAYOUT rule 6). A failed flush, or one of the metadata, leaves nothing to trust.
func (e *engine) jobFailed(j *job) {
	switch j.work {
	case doRead, doWrite, doDiscard, doZero:
		if e.onIOError() == "pass_on" && !j.before && !j.after && e.hasDisk() && e.machine.PassOn(e.env()) {
			e.log.Error("the backing disk had an error, which is passed on", "disk", e.volume.Disk, "offset", j.off, "bytes", j.length, "err", j.err)
			e.markBad(j)
			e.runMachine()
			return
		}
	}
	e.diskFailed(j.err)
	e.runMachine()
}

func (e *engine) onIOError() string {
	return e.cfg.Resource.Disk(e.volume).Text("on-io-error", "detach")
}

// markBad marks the range of a failed job out of sync, for the resync the disk needs.
func (e *engine) markBad(j *job) {
	if planted.FailedBlockForgotten {
		return
	}
	n := max(j.length, int64(len(j.data)))
	e.store.bits.SetBytes(j.off, n)
}

// diskFailed gives the backing disk up.
func (e *engine) diskFailed(err error) {
	if !e.hasDisk() {
		return
	}
	e.log.Error("the backing disk failed and is detached", "disk", e.volume.Disk, "err", err)
	e.machine.Detached(e.env(), true)
	if !e.machine.IsPrimary() {
		e.path.Break(errDiskFailed)
	}
	if e.onIOError() == "call-local-io-error" {
		e.runHandler("local-io-error")
	}
}

var errDiskFailed = errors.New("the backing disk failed")

// newPath makes the write path of the disk there is.
func (e *engine) newPath() *writepath.Core {
	p := writepath.New(e.store.size, e.store.log, e.store.bits)
	e.tellOfPeer(p)
	p.Forgive(e.onIOError() == "pass_on")
	return p
}

// tellOfPeer tells a write path what kind of peer it will have.
func (e *engine) tellOfPeer(p *writepath.Core) {
	p.SetForeign(e.foreign())
	p.SetUnordered(e.protocol() != wire.ProtocolC)
	p.SetEpoch(int(e.cfg.Resource.Net().Number("max-epoch-size", block.MaxEpoch)))
}

// dropDisk: the Primary goes on without its disk.
func (e *engine) dropDisk() {
	e.path.DropDisk()
	e.logJob = false
}

// followDisk closes a disk that has failed, or was given back by a Primary, once nothing is under way on it.
func (e *engine) followDisk() {
	if e.store == nil || e.machine.HasDisk() || e.under > 0 || e.sync.target != nil || e.sync.reads != nil || e.check.alg != nil {
		return
	}
	s := e.store
	e.store, e.metaBusy = nil, nil
	if !e.path.Without() {
		e.usePath(nil)
		e.ops, e.logJob = nil, false
	}
	if err := s.close(); err != nil {
		e.log.Warn("the disk was given back with an error", "disk", e.volume.Disk, "err", err)
	}
	e.machine.DiskDropped(e.env())
	e.statusDue = true
	list := e.dropped
	e.dropped = nil
	for _, f := range list {
		f()
	}
	e.settle()
}

// pathWithout makes the write path of a Primary that has no disk.
func (e *engine) pathWithout() {
	if e.target == nil {
		return
	}
	e.usePath(writepath.NewWithout(e.target.Size()))
	e.ops, e.logJob = nil, false
	e.tellOfPeer(e.path)
}

// missing tells whether the local disk lacks a part of a range: while it is Inconsistent, what is out of sync. Of a disk that has
// been attached to a Primary nothing is known before the peer's bitmap is here, and the write path takes it.
func (e *engine) missing(off, length int64) bool {
	if !e.hasDisk() || e.path != nil && e.path.Without() && !planted.AttachedDiskRead {
		return true
	}
	if !e.machine.Lacking() {
		return false
	}
	first, found := e.store.bits.NextSet(uint64(off / metadata.BytesPerBit))
	return found && first <= uint64((off+length-1)/metadata.BytesPerBit)
}

// readAgain serves a read that one disk could not from the other, if it can.
func (e *engine) readAgain(r *kernel.Request, err error) {
	if e.machine.IsPrimary() && e.machine.Served() && e.missing(r.Offset, r.Length) {
		e.readThere(r)
		return
	}
	e.complete(r, err)
}

// localDone tells the write path how the disk took an operation. The path of a disk that has failed may be gone.
func (e *engine) localDone(j *job) {
	if e.path != nil {
		e.path.LocalDone(j.id, j.err)
	}
}

// fitForPrimary makes a new disk of a Primary as large as the device its users have.
func (e *engine) fitForPrimary(s *store) error {
	if err := e.machine.MayAttach(s.sb.UUIDs, s.sb.Flags); err != nil {
		return err
	}
	size := e.target.Size()
	if s.capacity() < size {
		return fmt.Errorf("(111) Low.dev. smaller than requested DRBD-dev. size: it has room for %d bytes of %d", s.capacity(), size)
	}
	if s.size == size {
		return nil
	}
	return s.shrink(size)
}
