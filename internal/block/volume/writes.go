package volume

import (
	"errors"
	"fmt"

	"holdfast/internal/block"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
	"holdfast/internal/planted"
)

// onWrite takes in a write of the peer's application.
func (e *engine) onWrite(l *replica.Link, p *packet) error {
	if e.machine.IsPrimary() {
		return fmt.Errorf("a write for a Primary")
	}
	n, most := int64(p.bytes), int64(block.MaxDiscard)
	if p.data != nil {
		n, most = int64(len(p.data.B)), block.MaxIO
	}
	s, err := e.span(p.info.Sector, n, most)
	if err != nil {
		return err
	}
	e.noteApplication()
	e.receive(l, p, s, false)
	return nil
}

// receive queues a write behind those it overlaps.
func (e *engine) receive(l *replica.Link, p *packet, s writepath.Span, isResync bool) {
	e.noteWritten(s)
	j := e.jobs.get()
	j.purpose, j.dev, j.off, j.length, j.link = forPeer, e.store.data, s.Start, s.Len(), l
	j.buffer, j.packet = p.data, *p
	switch p.command {
	case wire.Trim:
		j.work = doDiscard
		if l.Features&wire.FeatureWriteZeroes == 0 {
			j.work = doZero // it may stand for P_ZEROES, which such a peer does not send
		}
	case wire.Zeroes:
		j.work = doZero
	default:
		j.work, j.data = doWrite, p.data.B
	}
	p.data = nil
	e.queueReceived(j, s, isResync)
	e.stats.received += uint64(s.Len())
	if !isResync {
		e.applyFlags(j)
	}
}

// queueReceived has a job wait for the peer's writes it overlaps.
func (e *engine) queueReceived(j *job, s writepath.Span, isResync bool) {
	j.part = e
	j.id = e.conn.receiver.WriteTo(e.part, s, isResync)
	for int(j.id) >= len(e.conn.received) {
		e.conn.received = append(e.conn.received, nil)
	}
	e.conn.received[j.id] = j
}

// readBehindWrites ends a read that waited for the peer's writes it overlaps.
func (e *engine) readBehindWrites(j *job) {
	e.conn.peerJobs--
	if j.link == e.conn.link && e.conn.receiver != nil {
		e.conn.received[j.id] = nil
		e.conn.receiver.Done(j.id, j.err)
	}
}

// applyFlags prepares what a write of the peer's application demands beside being written.
func (e *engine) applyFlags(j *job) {
	flags := j.packet.info.Flags
	j.before, j.after = flags&wire.DPFlush != 0, flags&(wire.DPFUA|wire.DPFlush) != 0
	if e.conn.link.Protocol < 100 { // the flags for acknowledgements came with version 100
		flags &^= wire.DPSendReceiveAck | wire.DPSendWriteAck
		switch e.conn.protocol {
		case wire.ProtocolB:
			flags |= wire.DPSendReceiveAck
		case wire.ProtocolC:
			flags |= wire.DPSendWriteAck
		}
		j.packet.info.Flags = flags
	}
	if flags&wire.DPSendReceiveAck != 0 {
		replica.SendMeta(e.conn.link, e.vnr(), wire.RecvAck, wire.BlockAck{Sector: uint64(j.off / 512), BlockID: j.packet.info.BlockID,
			Bytes: uint32(j.length), Seq: j.packet.info.Seq})
	}
}

// peerWritten acknowledges a write of the peer that the disk has taken.
func (e *engine) peerWritten(j *job) {
	e.conn.peerJobs--
	e.unflushed = true
	if j.buffer != nil {
		n := len(j.buffer.B)
		j.buffer.Release()
		j.link.Done(n)
	}
	if j.link != e.conn.link {
		return
	}
	isResync := e.conn.receiver.IsResync(j.id)
	if !e.conn.closing {
		e.acknowledge(j, isResync)
	}
	e.conn.received[j.id] = nil
	e.conn.receiver.Done(j.id, j.err)
	e.runReceiver()
	if isResync {
		e.resyncWritten(j)
	}
}

func (e *engine) acknowledge(j *job, isResync bool) {
	e.conn.ackSeq++
	cmd, id, seq := wire.WriteAck, j.packet.info.BlockID, j.packet.info.Seq
	switch {
	case isResync:
		cmd, id, seq = wire.RSWriteAck, wire.IDSyncer, e.conn.ackSeq
	case j.packet.info.Flags&wire.DPSendWriteAck == 0:
		return // protocols A and B: the barrier's answer tells
	case e.machine.Syncing() && j.packet.info.Flags&wire.DPMaySetInSync != 0:
		cmd = wire.RSWriteAck
		e.store.bits.ClearBytes(j.off, j.length, e.store.size)
	}
	if j.err != nil {
		cmd = wire.NegAck
	}
	replica.SendMeta(e.conn.link, e.vnr(), cmd, wire.BlockAck{Sector: uint64(j.off / 512), BlockID: id, Bytes: uint32(j.length), Seq: seq})
}

// blockIDBase keeps block IDs apart from the protocol's reserved ones.
const blockIDBase = 1 << 32

// sendWrite sends an operation of the write path.
func (e *engine) sendWrite(id writepath.ID) {
	l := e.conn.link
	if l == nil || e.conn.closing {
		return // it is sent again, or dropped, once the machine knows
	}
	r := e.ops[id]
	e.conn.seq++
	d := wire.DataInfo{Sector: uint64(r.Offset / 512), BlockID: blockIDBase + uint64(id), Seq: e.conn.seq}
	var sent *replica.Buffer
	switch e.protocolFor(l) {
	case wire.ProtocolA:
		sent = e.whenSent(l, id)
	case wire.ProtocolB:
		d.Flags |= wire.DPSendReceiveAck
	default:
		d.Flags |= wire.DPSendWriteAck
	}
	if e.machine.Conn() >= wire.SyncSource && e.machine.Conn() <= wire.PausedSyncT {
		d.Flags |= wire.DPMaySetInSync
	}
	e.stats.sent += uint64(r.Length)
	kind := kindOfOp(r.Op)
	if kind == writepath.Zero && l.Features&wire.FeatureWriteZeroes == 0 {
		kind = writepath.Discard // the peer makes it zeros
	}
	switch kind {
	case writepath.Write:
		replica.Send(l, e.vnr(), wire.Data, d, r.Data[:r.Length], sent)
	case writepath.Discard:
		d.Flags |= wire.DPDiscard
		replica.Send(l, e.vnr(), wire.Trim, wire.RangeInfo{DataInfo: d, Bytes: uint32(r.Length)}, nil, sent)
	default:
		d.Flags |= wire.DPZeroes
		if r.Unmap {
			d.Flags |= wire.DPDiscard
		}
		replica.Send(l, e.vnr(), wire.Zeroes, wire.RangeInfo{DataInfo: d, Bytes: uint32(r.Length)}, nil, sent)
	}
}

// protocolFor is the protocol of a write that is being sent. Where the disk here is none, or lacks blocks and is given up with the
// connection, it is complete when it is on the peer's: with protocols A and B its only copy could be lost on the way.
func (e *engine) protocolFor(l *replica.Link) uint32 {
	if (e.path.Without() || e.machine.Lacking()) && l.Protocol >= 100 && !planted.SentCounts { // each write says how it is to be acknowledged
		return wire.ProtocolC
	}
	return e.conn.protocol
}

// whenSent is for protocol A: a write counts as acknowledged once the network has taken it. What the connection's end takes
// away is marked out of sync with the rest of its epoch.
func (e *engine) whenSent(l *replica.Link, id writepath.ID) *replica.Buffer {
	for int(id) >= len(e.conn.sentSeq) {
		e.conn.sentSeq = append(e.conn.sentSeq, 0)
	}
	seq := e.conn.seq
	e.conn.sentSeq[id] = seq
	return replica.Notice(func() {
		e.inbox.call(func() {
			if l == e.conn.link && e.path != nil && e.conn.sentSeq[id] == seq {
				e.conn.sentSeq[id] = 0
				e.path.PeerAck(id)
			}
		})
	})
}

func (e *engine) sendBarrier(number uint32) {
	if e.conn.link != nil && !e.conn.closing {
		replica.Send(e.conn.link, e.vnr(), wire.Barrier, wire.BarrierInfo{Number: number}, nil, nil)
	}
}

// errPeerDisk ends the connection to a member of U that could not carry a write out: the write is not acknowledged before
// the peer has left U (S2, S4).
var errPeerDisk = errors.New("the peer's disk has failed")

// refusedLate: the peer's disk refused a write that may be complete for the application.
func (e *engine) refusedLate(p *packet, id writepath.ID) error {
	at := int64(p.ack.Sector) * 512
	switch {
	case int(id) < len(e.ops) && e.ops[id] != nil && e.ops[id].Offset == at && e.path.PeerFailed(id):
		return nil
	case e.path.Without():
		return fmt.Errorf("the peer's disk refused sector %d, and there is none here", p.ack.Sector)
	}
	s, err := e.span(p.ack.Sector, int64(p.ack.Bytes), block.MaxDiscard)
	if err == nil {
		e.path.Lacks(s)
	}
	return err
}

// onAck takes the acknowledgement of a write of the application, or of the resync.
func (e *engine) onAck(p *packet) error {
	e.conn.heardAck = e.now()
	if p.ack.BlockID == wire.IDSyncer {
		return e.onResyncAck(p)
	}
	id := writepath.ID(p.ack.BlockID - blockIDBase)
	if p.command == wire.NegAck && e.conn.protocol != wire.ProtocolC { // the write may be completed long since
		return e.refusedLate(p, id)
	}
	if e.path == nil || p.ack.BlockID>>32 != blockIDBase>>32 || int(id) >= len(e.ops) || e.ops[id] == nil {
		return fmt.Errorf("block ID %x is not ours", p.ack.BlockID)
	}
	ok := true
	switch p.command {
	case wire.RecvAck:
		if e.conn.protocol != wire.ProtocolB {
			return nil
		}
		ok = e.path.PeerAck(id)
	case wire.NegAck:
		if e.machine.PeerRequired() {
			return errPeerDisk // it is suspended now, and answered when the log has taken the peer out of U
		}
		ok = e.path.PeerFailed(id)
	case wire.RSWriteAck:
		ok = e.path.PeerInSync(id)
	default:
		ok = e.path.PeerAck(id)
	}
	if !ok {
		return fmt.Errorf("write %x was acknowledged twice", p.ack.BlockID)
	}
	return nil
}
