package volume

import (
	"bytes"
	"context"
	"fmt"

	"holdfast/internal/block"
	"holdfast/internal/block/peer"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
)

// bitmapIn is the peer's bitmap being received.
type bitmapIn struct{ wire.BitmapReceiver }

// followPolicy connects, or drops a connection the machine does not want any more.
func (e *engine) followPolicy() {
	want := e.machine.Link()
	if want != e.conn.policy {
		e.conn.policy = want
		if e.conn.cancel != nil {
			e.conn.cancel()
			e.conn.cancel = nil
		}
		e.closeLink("another epoch, or no connection, is wanted")
	}
	// An old connection's writes are carried out before there is a new one (S3).
	if want.Wanted && e.conn.link == nil && e.conn.cancel == nil && e.conn.peerJobs == 0 {
		e.dial(want)
	}
}

func (e *engine) dial(p peer.LinkPolicy) {
	ctx, cancel := context.WithCancel(context.Background())
	e.conn.cancel = cancel
	e.conn.attempt++
	attempt := e.conn.attempt
	net := e.cfg.Resource.Net()
	cfg := replica.Config{
		Local: e.self.Address.Endpoint(), Remote: e.other.Address.Endpoint(), Resource: e.cfg.Resource.Name,
		Node: e.cfg.Node, Peer: e.other.Name(), Bound: p.Bound, Epoch: p.Epoch, TLS: p.TLS,
		Device: fmt.Sprintf("%016X", e.machine.Device()), Instance: e.instance, Log: e.log,
	}
	if !p.Bound {
		cfg.Secret, cfg.HMAC = net.Text("shared-secret", ""), net.Text("cram-hmac-alg", "")
		cfg.PingInterval = seconds(net.Number("ping-int", 0))
		cfg.PingTimeout = tenths(net.Number("ping-timeout", 0))
	}
	before, ended := e.conn.ended, make(chan struct{})
	e.conn.ended = ended
	go func() {
		defer close(ended)
		if before != nil {
			<-before // it still has the port
		}
		l, err := replica.Connect(ctx, cfg)
		if err == nil {
			e.inbox.call(func() { e.linkUp(l, attempt) })
		}
	}()
}

// linkUp takes a new connection into use, unless it came too late.
func (e *engine) linkUp(l *replica.Link, attempt int) {
	if attempt != e.conn.attempt || e.conn.cancel == nil || e.conn.link != nil {
		l.Discard()
		return
	}
	e.conn.cancel = nil
	e.conn.link, e.conn.closing = l, false
	e.conn.receiver = writepath.NewReceiver()
	e.conn.received = e.conn.received[:0]
	e.conn.bitmapIn, e.conn.seq, e.conn.ackSeq, e.conn.heardAck = nil, 0, 0, e.now()
	l.Start(e.pool, func(p replica.Packet) { e.inbox.post(event{link: l, packet: decode(p)}) },
		func(reason string, silent bool) { e.inbox.call(func() { e.linkDown(l, reason, silent) }) })
	e.machine.LinkUp(e.env(), peer.LinkInfo{Protocol: l.Protocol, Features: l.Features, ResolveConflicts: l.ResolveConflicts,
		PeerDevice: l.PeerDevice, PeerInstance: l.PeerInstance})
}

// closeLink drops the connection: nothing of it is listened to any more.
func (e *engine) closeLink(why string) {
	if e.conn.link != nil && !e.conn.closing {
		e.conn.closing = true
		e.conn.link.Close(why)
	}
}

func (e *engine) linkDown(l *replica.Link, reason string, silent bool) {
	if l != e.conn.link {
		return
	}
	e.conn.link, e.conn.closing = nil, false
	e.conn.receiver, e.conn.bitmapIn = nil, nil
	e.endResync()
	e.machine.LinkDown(e.env(), reason, silent)
}

// decode copies what a packet holds, on the reader's goroutine. A malformed one gets the command that cannot be.
func decode(p replica.Packet) packet {
	out := packet{command: p.Command, form: p.Form, info: p.Info, data: p.Data}
	var err error
	switch p.Command {
	case wire.WriteAck, wire.RSWriteAck, wire.RecvAck, wire.NegAck, wire.NegRSDReply, wire.NegDReply, wire.RSIsInSync,
		wire.RSCancel, wire.RSDataRequest, wire.RSThinReq, wire.CsumRSRequest, wire.Superseded, wire.RetryWrite:
		err = out.ack.Decode(p.Body)
	case wire.Barrier, wire.BarrierAck:
		var b wire.BarrierInfo
		err = b.Decode(p.Body)
		out.number, out.writes = b.Number, b.Writes
	case wire.Trim, wire.Zeroes:
		var r wire.RangeInfo
		err = r.Decode(p.Body)
		out.info, out.bytes = r.DataInfo, r.Bytes
	case wire.Data, wire.RSDataReply:
	default:
		out.body = bytes.Clone(p.Body)
	}
	if err != nil {
		out.command, out.body = malformed, []byte(err.Error())
	}
	return out
}

// malformed stands for a packet that could not be decoded.
const malformed wire.Command = 0xffff

// handlePacket deals with a packet of the peer.
func (e *engine) handlePacket(l *replica.Link, p *packet) {
	if l != e.conn.link || e.conn.closing {
		e.drop(l, p)
		return
	}
	if err := e.onPacket(l, p); err != nil {
		e.drop(l, p)
		e.closeLink(fmt.Sprintf("%v: %v", p.command, err))
	}
}

// drop gives back what a packet holds.
func (e *engine) drop(l *replica.Link, p *packet) {
	if p.data != nil {
		n := len(p.data.B)
		p.data.Release()
		p.data = nil
		l.Done(n)
	}
}

func (e *engine) onPacket(l *replica.Link, p *packet) error {
	switch p.command {
	case wire.Data, wire.Trim, wire.Zeroes:
		return e.onWrite(l, p)
	case wire.Barrier:
		e.conn.receiver.Barrier(p.number)
	case wire.WriteAck, wire.RSWriteAck, wire.RecvAck, wire.NegAck:
		return e.onAck(p)
	case wire.BarrierAck:
		e.conn.heardAck = e.now()
		if e.path == nil || !e.path.BarrierAck(p.number) {
			return fmt.Errorf("number %d is not waited for", p.number)
		}
	case wire.RSDataRequest, wire.RSThinReq, wire.CsumRSRequest:
		return e.onResyncRequest(p)
	case wire.RSDataReply:
		return e.onResyncReply(l, p)
	case wire.NegRSDReply, wire.RSCancel:
		return fmt.Errorf("the source cannot read sector %d", p.ack.Sector)
	case wire.PingAck:
		e.finishPinged()
	case wire.UnplugRemote, wire.DelayProbe, wire.SyncParam, wire.SyncParam89, wire.NegDReply:
	case wire.Bitmap, wire.CompressedBM:
		return e.onBitmap(p)
	default:
		return e.onStatePacket(p)
	}
	return nil
}

// onStatePacket decodes what is for the machine.
func (e *engine) onStatePacket(p *packet) error {
	switch p.command {
	case wire.Protocol:
		var v wire.ProtocolInfo
		if err := v.Decode(p.body); err != nil {
			return err
		}
		e.machine.PeerProtocol(e.env(), e.protocolInfo(), v)
	case wire.Sizes:
		var v wire.SizesInfo
		if err := v.Decode(p.body); err != nil {
			return err
		}
		e.machine.PeerSizes(e.env(), v)
	case wire.UUIDs:
		var v wire.UUIDSet
		if err := v.Decode(p.body); err != nil {
			return err
		}
		e.machine.PeerUUIDs(e.env(), v)
	case wire.SyncUUID:
		var v wire.Word64
		if err := v.Decode(p.body); err != nil {
			return err
		}
		e.machine.PeerSyncUUID(e.env(), uint64(v))
	case wire.OutOfSync:
		return e.onOutOfSync(p)
	default:
		return e.onChangePacket(p)
	}
	return nil
}

func (e *engine) onChangePacket(p *packet) error {
	switch p.command {
	case wire.StateChgReq, wire.ConnStChgReq:
		var v wire.StateChange
		if err := v.Decode(p.body); err != nil {
			return err
		}
		if p.command == wire.StateChgReq {
			e.machine.PeerChange(e.env(), v)
		} else {
			e.machine.PeerConnChange(e.env(), v)
		}
		return nil
	case wire.State, wire.StateChgReply, wire.ConnStChgReply:
		var v wire.Word32
		if err := v.Decode(p.body); err != nil {
			return err
		}
		switch p.command {
		case wire.State:
			e.machine.PeerState(e.env(), wire.StatesOf(uint32(v)))
		case wire.StateChgReply:
			e.machine.ChangeReply(e.env(), wire.StateReturn(v))
		default:
			e.machine.ConnChangeReply(e.env(), wire.StateReturn(v))
		}
		return nil
	case malformed:
		return fmt.Errorf("malformed packet: %s", p.body)
	}
	return fmt.Errorf("not supported here")
}

func (e *engine) onOutOfSync(p *packet) error {
	var d wire.BlockDesc
	if err := d.Decode(p.body); err != nil {
		return err
	}
	s, err := e.span(d.Sector, int64(d.Bytes), block.MaxDiscard)
	if err != nil {
		return err
	}
	e.store.bits.SetBytes(s.Start, s.Len())
	return nil
}

// onBitmap merges a part of the peer's bitmap. Both sides know from the states when it comes.
func (e *engine) onBitmap(p *packet) error {
	if e.store == nil || e.machine.Conn() != wire.WFBitMapS && e.machine.Conn() != wire.WFBitMapT {
		return fmt.Errorf("bitmap while %s", e.machine.Conn())
	}
	if e.conn.bitmapIn == nil {
		e.conn.bitmapIn = &bitmapIn{}
	}
	in := e.conn.bitmapIn
	if err := in.Receive(p.command, p.form, p.body, e.store.bits); err != nil {
		return err
	}
	if in.Done() {
		e.conn.bitmapIn = nil
		e.machine.BitmapReceived(e.env())
	}
	return nil
}

// span checks a range the peer names.
func (e *engine) span(sector uint64, bytes, most int64) (writepath.Span, error) {
	if e.store == nil {
		return writepath.Span{}, fmt.Errorf("no disk here")
	}
	size := uint64(e.store.size)
	if bytes <= 0 || bytes > most || bytes%512 != 0 || sector > size/512 || sector*512+uint64(bytes) > size {
		return writepath.Span{}, fmt.Errorf("%d bytes at sector %d of a device of %d bytes", bytes, sector, size)
	}
	return writepath.Span{Start: int64(sector) * 512, End: int64(sector)*512 + bytes}, nil
}

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
	if e.sync.target != nil {
		e.sync.target.Application(e.env().Now)
	}
	e.receive(l, p, s, false)
	return nil
}

// receive queues a write behind those it overlaps.
func (e *engine) receive(l *replica.Link, p *packet, s writepath.Span, isResync bool) {
	j := e.jobs.get()
	j.purpose, j.dev, j.off, j.length, j.link = forPeer, e.store.data, s.Start, s.Len(), l
	j.buffer, j.packet = p.data, *p
	switch p.command {
	case wire.Trim:
		j.work = doDiscard
	case wire.Zeroes:
		j.work = doZero
	default:
		j.work, j.data = doWrite, p.data.B
	}
	p.data = nil
	j.id = e.conn.receiver.Write(s, isResync)
	for int(j.id) >= len(e.conn.received) {
		e.conn.received = append(e.conn.received, nil)
	}
	e.conn.received[j.id] = j
	e.stats.received += uint64(s.Len())
}

// runReceiver carries out what the receiver wants.
func (e *engine) runReceiver() bool {
	r := e.conn.receiver
	if r == nil {
		return false
	}
	list := r.Effects()
	for i := range list {
		e.receiverEffect(&list[i])
	}
	r.Reuse(list)
	return len(list) > 0
}

func (e *engine) receiverEffect(f *writepath.Effect) {
	switch f.Do {
	case writepath.WriteLocal:
		j := e.conn.received[f.ID]
		e.conn.peerJobs++
		e.stats.written += uint64(j.length)
		e.workers.add(j)
	case writepath.FlushLocal:
		j := e.jobs.get()
		j.work, j.purpose, j.dev, j.link = doFlush, forPeerSync, e.store.data, e.conn.link
		e.workers.add(j)
	case writepath.AckBarrier:
		replica.SendMeta(e.conn.link, wire.BarrierAck, wire.BarrierInfo{Number: f.Number, Writes: f.Writes})
	}
}

// peerWritten acknowledges a write of the peer that the disk has taken.
func (e *engine) peerWritten(j *job) {
	e.conn.peerJobs--
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
	case e.machine.Conn() == wire.SyncTarget && j.packet.info.Flags&wire.DPMaySetInSync != 0:
		cmd = wire.RSWriteAck
		e.store.bits.ClearBytes(j.off, j.length, e.store.size)
	}
	if j.err != nil {
		cmd = wire.NegAck
	}
	replica.SendMeta(e.conn.link, cmd, wire.BlockAck{Sector: uint64(j.off / 512), BlockID: id, Bytes: uint32(j.length), Seq: seq})
}

func (e *engine) peerFlushed(j *job) {
	if j.link == e.conn.link && e.conn.receiver != nil {
		e.conn.receiver.Flushed(j.err)
	}
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
	d := wire.DataInfo{Sector: uint64(r.Offset / 512), BlockID: blockIDBase + uint64(id), Seq: e.conn.seq, Flags: wire.DPSendWriteAck}
	if e.machine.Conn() >= wire.SyncSource && e.machine.Conn() <= wire.PausedSyncT {
		d.Flags |= wire.DPMaySetInSync
	}
	e.stats.sent += uint64(r.Length)
	switch kindOfOp(r.Op) {
	case writepath.Write:
		replica.Send(l, wire.Data, d, r.Data[:r.Length], nil)
	case writepath.Discard:
		d.Flags |= wire.DPDiscard
		replica.Send(l, wire.Trim, wire.RangeInfo{DataInfo: d, Bytes: uint32(r.Length)}, nil, nil)
	default:
		d.Flags |= wire.DPZeroes
		if r.Unmap {
			d.Flags |= wire.DPDiscard
		}
		replica.Send(l, wire.Zeroes, wire.RangeInfo{DataInfo: d, Bytes: uint32(r.Length)}, nil, nil)
	}
}

func (e *engine) sendBarrier(number uint32) {
	if e.conn.link != nil && !e.conn.closing {
		replica.Send(e.conn.link, wire.Barrier, wire.BarrierInfo{Number: number}, nil, nil)
	}
}

// onAck takes the acknowledgement of a write of the application, or of the resync.
func (e *engine) onAck(p *packet) error {
	e.conn.heardAck = e.now()
	if p.ack.BlockID == wire.IDSyncer {
		return e.onResyncAck(p)
	}
	id := writepath.ID(p.ack.BlockID - blockIDBase)
	if e.path == nil || p.ack.BlockID < blockIDBase || int(id) >= len(e.ops) || e.ops[id] == nil {
		return fmt.Errorf("block ID %x is not ours", p.ack.BlockID)
	}
	ok := true
	switch p.command {
	case wire.RecvAck:
		return nil
	case wire.NegAck:
		ok = e.path.PeerFailed(id)
	case wire.RSWriteAck:
		e.path.InSync(id)
		ok = e.path.PeerAck(id)
	default:
		ok = e.path.PeerAck(id)
	}
	if !ok {
		return fmt.Errorf("write %x was acknowledged twice", p.ack.BlockID)
	}
	return nil
}

// protocolInfo is P_PROTOCOL as this node's configuration has it.
func (e *engine) protocolInfo() wire.ProtocolInfo {
	net := e.cfg.Resource.Net()
	i := wire.ProtocolInfo{Protocol: wire.ProtocolC, AfterSB0Pri: afterSB(net.Text("after-sb-0pri", "disconnect")),
		AfterSB1Pri: afterSB(net.Text("after-sb-1pri", "disconnect")), AfterSB2Pri: afterSB(net.Text("after-sb-2pri", "disconnect"))}
	switch e.cfg.Resource.Protocol() {
	case "A":
		i.Protocol = wire.ProtocolA
	case "B":
		i.Protocol = wire.ProtocolB
	}
	if net.Bool("allow-two-primaries", false) {
		i.TwoPrimaries = 1
	}
	return i
}

// afterSB numbers the split-brain policies as the wire does.
func afterSB(policy string) uint32 {
	for i, name := range []string{"disconnect", "discard-younger-primary", "discard-older-primary", "discard-zero-changes",
		"discard-least-changes", "discard-local", "discard-remote", "consensus", "discard-secondary", "call-pri-lost-after-sb",
		"violently-as0p"} {
		if name == policy {
			return uint32(i)
		}
	}
	return 0
}

func (e *engine) sizesInfo() wire.SizesInfo {
	s := wire.SizesInfo{MaxBIO: block.MaxIO}
	if e.store != nil {
		s.Disk, s.Current = uint64(e.store.capacity()/512), uint64(e.store.size/512)
		s.User = uint64(e.cfg.Resource.Disk(e.volume).Bytes("size", 0) / 512)
	}
	if e.conn.link.Features&wire.FeatureWriteSame != 0 {
		s.HasLimits, s.PhysicalBlock, s.LogicalBlock, s.IOMin, s.Discard = true, 512, 512, 512, true
	}
	return s
}

func (e *engine) syncParams() wire.SyncParams {
	o := e.cfg.Resource.Disk(e.volume)
	return wire.SyncParams{Rate: uint32(o.Number("resync-rate", 250)), PlanAhead: uint32(o.Number("c-plan-ahead", 20)),
		DelayTarget: uint32(o.Number("c-delay-target", 10)), FillTarget: uint32(o.Number("c-fill-target", 100)),
		MaxRate: uint32(o.Number("c-max-rate", 102400))}
}
