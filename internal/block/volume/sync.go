package volume

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/internal/block"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/resync"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
)

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
func tenths(n int64) time.Duration  { return time.Duration(n) * time.Second / 10 }

// finishStep is how far the end of a resync on the target is.
type finishStep uint8

const (
	notFinished finishStep = iota
	finishFlushing
	finishPinging
)

// resyncRead is a block the peer's resync asked for. Its range is locked from before the read until the peer has it on
// disk: an application's write to it waits, so that the older content never overwrites the newer. DRBD locks whole
// bitmap extents for this; ranges disturb the application less.
type resyncRead struct {
	lock    writepath.ID
	span    writepath.Span
	blockID uint64
	digest  []byte // of the target's content, to compare with; nil if it wants the data anyway
	dead    bool   // the connection is gone
	reading bool
}

func (e *engine) startSource() {
	e.sync.reads, e.sync.byOffset = map[writepath.ID]*resyncRead{}, map[int64]*resyncRead{}
	e.sync.source, e.sync.waiting = resync.NewSource(), nil
	e.sync.progress = resync.NewProgress(e.env().Now, e.store.bits.Count())
}

func (e *engine) startTarget() {
	e.sync.locks, e.sync.locked = map[writepath.ID]writepath.Span{}, map[int64]writepath.ID{}
	e.sync.target = resync.NewTarget(e.store.bits, e.store.size)
	e.sync.target.SetRate(e.env().Now, e.resyncCeiling())
	e.sync.progress = resync.NewProgress(e.env().Now, e.store.bits.Count())
	e.sync.finish = notFinished
	e.sync.csums = e.csumsToUse()
	e.pumpTarget()
}

// endResync forgets the resync under way; reads that are being carried out give their ranges back when they return.
func (e *engine) endResync() {
	for _, id := range slices.Sorted(maps.Keys(e.sync.reads)) {
		r := e.sync.reads[id]
		r.dead = true
		if !r.reading {
			e.path.Unlock(r.lock)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(e.sync.locks)) {
		e.path.Unlock(id)
	}
	e.sync = syncState{}
	e.statusDue = true
}

// onResyncRequest: the peer, as the target, asks for a block, perhaps with a digest of what it has.
func (e *engine) onResyncRequest(p *packet) error {
	s, err := e.span(p.ack.Sector, int64(p.ack.Bytes), block.MaxIO)
	if err != nil {
		return err
	}
	if e.sync.reads == nil {
		return fmt.Errorf("this node is %s", e.machine.Conn())
	}
	if len(e.sync.reads)+len(e.sync.waiting) >= block.MaxPeerRequests {
		return fmt.Errorf("more than %d requests at once", block.MaxPeerRequests)
	}
	r := &resyncRead{span: s, blockID: p.ack.BlockID}
	if p.command == wire.CsumRSRequest {
		r.digest = p.body
	}
	e.sync.waiting = append(e.sync.waiting, r)
	e.pumpSource()
	return nil
}

// pumpSource begins with what the target has asked for, as far as the application leaves room.
func (e *engine) pumpSource() {
	now := time.Duration(e.now())
	for len(e.sync.waiting) > 0 && e.sync.source.May(now, len(e.sync.reads)) {
		r := e.sync.waiting[0]
		e.sync.waiting = e.sync.waiting[1:]
		r.lock = e.path.Admit(writepath.Op{Kind: writepath.Lock, Span: r.span})
		e.sync.reads[r.lock] = r
	}
}

// noteApplication gives the application priority over a resync, on either side of it.
func (e *engine) noteApplication() {
	if e.sync.target == nil && e.sync.reads == nil {
		return
	}
	now := time.Duration(e.now())
	e.sync.source.Application(now)
	if e.sync.target != nil {
		e.sync.target.Application(now)
	}
}

// resyncLocked: no write is under way on the range; it can be read.
func (e *engine) resyncLocked(id writepath.ID) {
	if s, ours := e.sync.locks[id]; ours {
		e.ask(s.Start, s.Len())
		return
	}
	r := e.sync.reads[id]
	if r == nil {
		e.verifyLocked(id)
		return
	}
	r.reading = true
	j := e.jobs.get()
	j.work, j.purpose, j.dev, j.off, j.id, j.link = doRead, forResync, e.store.data, r.span.Start, id, e.conn.link
	j.buffer = e.pool.Get(int(r.span.Len()))
	j.data = j.buffer.B
	j.resync = r
	e.queueReceived(j, r.span, true) // a Primary's writes that came before the request may be under way here (protocols A and B)
}

// resyncRead sends what was read.
func (e *engine) resyncRead(j *job) {
	r := j.resync
	r.reading = false
	e.readBehindWrites(j)
	if r.dead || e.conn.closing || j.err != nil {
		j.buffer.Release()
		e.unlockRead(r)
		return
	}
	n := r.span.Len()
	e.stats.read += uint64(n)
	if r.digest != nil && e.sameDigest(r.digest, j.data) {
		j.buffer.Release()
		e.path.Resynced(r.span)
		e.unlockRead(r)
		replica.SendMeta(e.conn.link, e.vnr(), wire.RSIsInSync, wire.BlockAck{Sector: uint64(r.span.Start / 512), BlockID: r.blockID, Bytes: uint32(n)})
		return
	}
	e.stats.sent += uint64(n)
	e.stats.resynced += n
	e.sync.byOffset[r.span.Start] = r
	d := wire.DataInfo{Sector: uint64(r.span.Start / 512), BlockID: r.blockID}
	replica.Send(e.conn.link, e.vnr(), wire.RSDataReply, d, j.data, j.buffer)
}

func (e *engine) unlockRead(r *resyncRead) {
	if e.sync.reads[r.lock] == r {
		delete(e.sync.reads, r.lock)
	}
	e.path.Unlock(r.lock)
	if len(e.sync.waiting) > 0 {
		e.pumpSource()
	}
}

// onResyncAck: the target has a block.
func (e *engine) onResyncAck(p *packet) error {
	at := int64(p.ack.Sector) * 512
	r := e.sync.byOffset[at]
	if r == nil || r.span.Len() != int64(p.ack.Bytes) {
		return fmt.Errorf("sector %d was not sent for resync", p.ack.Sector)
	}
	delete(e.sync.byOffset, at)
	if p.command == wire.RSWriteAck {
		e.path.Resynced(r.span)
	}
	e.unlockRead(r)
	if p.command == wire.NegAck {
		return fmt.Errorf("the target could not write sector %d", p.ack.Sector)
	}
	return nil
}

// pumpTarget asks for as many blocks as the window allows, and ends the resync when none is left.
func (e *engine) pumpTarget() {
	t := e.sync.target
	if t == nil || e.conn.link == nil || e.conn.closing {
		return
	}
	for e.machine.Conn() != wire.PausedSyncT {
		off, n, ok := t.Next(e.env().Now)
		if !ok {
			break
		}
		if !e.machine.IsPrimary() {
			e.ask(off, n)
			continue
		}
		// The application's writes to it wait, so that older content never overwrites newer.
		s := writepath.Span{Start: off, End: off + n}
		id := e.path.Admit(writepath.Op{Kind: writepath.Lock, Span: s})
		e.sync.locks[id], e.sync.locked[off] = s, id
	}
	if t.Complete() && e.sync.finish == notFinished {
		e.sync.finish = finishFlushing
		j := e.jobs.get()
		j.work, j.purpose, j.dev, j.link = doFlush, forFinish, e.store.data, e.conn.link
		e.carry(j)
	}
}

// ask asks the source for a range.
func (e *engine) ask(off, n int64) {
	switch {
	case e.conn.link == nil || e.conn.closing:
	case e.sync.csums != nil:
		e.askWithCsum(off, n)
	default:
		replica.Send(e.conn.link, e.vnr(), wire.RSDataRequest, wire.BlockRequest{Sector: uint64(off / 512), BlockID: wire.IDSyncer, Bytes: uint32(n)}, nil, nil)
	}
}

// unlockTarget gives a range back that is here now.
func (e *engine) unlockTarget(off int64) {
	if id, ok := e.sync.locked[off]; ok {
		delete(e.sync.locked, off)
		delete(e.sync.locks, id)
		e.path.Unlock(id)
	}
}

// onResyncReply: a block we asked for.
func (e *engine) onResyncReply(l *replica.Link, p *packet) error {
	s, err := e.span(p.info.Sector, int64(len(p.data.B)), block.MaxIO)
	if err != nil {
		return err
	}
	if e.sync.target == nil {
		return fmt.Errorf("this node is %s", e.machine.Conn())
	}
	e.stats.resynced += s.Len()
	e.receive(l, p, s, true)
	return nil
}

// resyncWritten: a block of the resync is on our disk.
func (e *engine) resyncWritten(j *job) {
	if e.sync.target != nil {
		e.sync.target.Done(time.Duration(e.now()), j.off, j.length, j.err == nil)
		e.unlockTarget(j.off)
		e.pumpTarget()
	}
}

// finishFlushed: all blocks are durable here. The ping makes sure that the source has read every acknowledgement before
// it reads that we are UpToDate.
func (e *engine) finishFlushed(j *job) {
	if e.sync.finish == finishFlushing && j.link == e.conn.link && j.err == nil {
		e.sync.finish = finishPinging
		e.conn.link.Ping()
	}
}

func (e *engine) finishPinged() {
	if e.sync.finish == finishPinging {
		e.machine.TargetDone(e.env())
	}
}
