package volume

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
)

// Reads over the connection: a Primary whose own disk lacks what its application reads asks the peer.

// readThere asks the peer for what the application reads.
func (e *engine) readThere(r *kernel.Request) {
	if e.machine.NoData() {
		e.parked = append(e.parked, r)
		return
	}
	l := e.conn.link
	if l == nil || e.conn.closing || !e.machine.Served() {
		e.complete(r, errNoData)
		return
	}
	e.reading++
	e.conn.asks++
	id := readIDBase + e.conn.asks
	e.conn.asked[id] = r
	replica.Send(l, e.vnr(), wire.DataRequest, wire.BlockRequest{Sector: uint64(r.Offset / 512), BlockID: id, Bytes: uint32(r.Length)}, nil, nil)
}

// readIDBase keeps the block IDs of reads apart from those of writes.
const readIDBase = 1 << 40

var errNoData = fmt.Errorf("%w: %w", writepath.ErrNoData, unix.EIO)

// answered finds the read a packet of the peer is about.
func (e *engine) answered(id, sector uint64) (*kernel.Request, error) {
	r := e.conn.asked[id]
	if r == nil || sector != uint64(r.Offset/512) {
		return nil, fmt.Errorf("sector %d was not asked for", sector)
	}
	e.conn.heardAck = e.now()
	return r, nil
}

func (e *engine) endAsk(id uint64) {
	delete(e.conn.asked, id)
	e.reading--
}

// onDataReply: what we asked for.
func (e *engine) onDataReply(l *replica.Link, p *packet) error {
	r, err := e.answered(p.info.BlockID, p.info.Sector)
	if err != nil {
		return err
	}
	if int64(len(p.data.B)) != r.Length {
		return fmt.Errorf("%d bytes for a read of %d", len(p.data.B), r.Length)
	}
	copy(r.Data, p.data.B)
	e.stats.received += uint64(r.Length)
	e.drop(l, p)
	e.endAsk(p.info.BlockID)
	e.complete(r, nil)
	return nil
}

// onReadRefused: the peer cannot read it either.
func (e *engine) onReadRefused(p *packet) error {
	r, err := e.answered(p.ack.BlockID, p.ack.Sector)
	if err != nil {
		return err
	}
	e.endAsk(p.ack.BlockID)
	e.complete(r, fmt.Errorf("the peer cannot read it: %w", unix.EIO))
	return nil
}

// askedLost serves what a lost connection leaves unanswered another way: from this disk, from the peer when it is back, or
// with an error.
func (e *engine) askedLost() {
	list := e.conn.asked
	e.conn.asked = nil
	for _, id := range slices.Sorted(maps.Keys(list)) {
		e.reading--
		e.handleRequest(list[id])
	}
}

// onReadRequest: the peer's application reads, and its own disk cannot serve it. The read waits for the peer's writes that
// overlap it: with protocols A and B they may be complete for the application and still under way here.
func (e *engine) onReadRequest(l *replica.Link, p *packet) error {
	if !e.hasDisk() || e.machine.Disk() != generation.UpToDate {
		replica.SendMeta(l, e.vnr(), wire.NegDReply, wire.BlockAck{Sector: p.ack.Sector, BlockID: p.ack.BlockID, Bytes: p.ack.Bytes})
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
	e.queueReceived(j, s, true)
	return nil
}

// peerRead sends what was read for the peer's application.
func (e *engine) peerRead(j *job) {
	e.readBehindWrites(j)
	if j.link != e.conn.link || e.conn.closing {
		j.buffer.Release()
		return
	}
	if j.err != nil {
		j.buffer.Release()
		replica.SendMeta(j.link, e.vnr(), wire.NegDReply, wire.BlockAck{Sector: uint64(j.off / 512), BlockID: j.packet.ack.BlockID, Bytes: uint32(j.length)})
		return
	}
	e.stats.read += uint64(j.length)
	e.stats.sent += uint64(j.length)
	replica.Send(j.link, e.vnr(), wire.DataReply, wire.DataInfo{Sector: uint64(j.off / 512), BlockID: j.packet.ack.BlockID}, j.data, j.buffer)
}
