package volume

import (
	"fmt"

	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
)

// onReadRequest: the peer's application reads, and its own disk cannot serve it.
func (e *engine) onReadRequest(l *replica.Link, p *packet) error {
	if e.store == nil || e.machine.Disk() != generation.UpToDate {
		replica.SendMeta(l, wire.NegDReply, wire.BlockAck{Sector: p.ack.Sector, BlockID: p.ack.BlockID, Bytes: p.ack.Bytes})
		return nil
	}
	s, err := e.span(p.ack.Sector, int64(p.ack.Bytes), block.MaxIO)
	if err != nil {
		return err
	}
	if e.conn.peerJobs >= block.MaxPeerRequests {
		return fmt.Errorf("more than %d requests at once", block.MaxPeerRequests)
	}
	j := e.jobs.get()
	j.work, j.purpose, j.dev, j.off, j.length, j.link, j.packet = doRead, forPeerRead, e.store.data, s.Start, s.Len(), l, *p
	j.buffer = e.pool.Get(int(s.Len()))
	j.data = j.buffer.B
	e.conn.peerJobs++
	e.workers.add(j)
	return nil
}

// peerRead sends what was read for the peer's application.
func (e *engine) peerRead(j *job) {
	e.conn.peerJobs--
	if j.link != e.conn.link || e.conn.closing {
		j.buffer.Release()
		return
	}
	if j.err != nil {
		j.buffer.Release()
		replica.SendMeta(j.link, wire.NegDReply, wire.BlockAck{Sector: uint64(j.off / 512), BlockID: j.packet.ack.BlockID, Bytes: uint32(j.length)})
		return
	}
	e.stats.read += uint64(j.length)
	e.stats.sent += uint64(j.length)
	replica.Send(j.link, wire.DataReply, wire.DataInfo{Sector: uint64(j.off / 512), BlockID: j.packet.ack.BlockID}, j.data, j.buffer)
}
