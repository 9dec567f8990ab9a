package volume

import (
	"bytes"
	"fmt"

	"holdfast/internal/block"
	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
	"holdfast/internal/block/writepath"
)

// bitmapIn is the peer's bitmap being received.
type bitmapIn struct{ wire.BitmapReceiver }

// decode copies what a packet holds, on the reader's goroutine. A malformed one gets the command that cannot be.
func decode(p replica.Packet) packet {
	out := packet{command: p.Command, volume: p.Volume, form: p.Form, info: p.Info, data: p.Data}
	var err error
	switch p.Command {
	case wire.WriteAck, wire.RSWriteAck, wire.RecvAck, wire.NegAck, wire.NegRSDReply, wire.NegDReply, wire.RSIsInSync,
		wire.RSCancel, wire.DataRequest, wire.RSDataRequest, wire.RSThinReq, wire.Superseded, wire.RetryWrite, wire.OVResult:
		err = out.ack.Decode(p.Body)
	case wire.Barrier, wire.BarrierAck:
		var b wire.BarrierInfo
		err = b.Decode(p.Body)
		out.number, out.writes = b.Number, b.Writes
	case wire.Trim, wire.Zeroes:
		var r wire.RangeInfo
		err = r.Decode(p.Body)
		out.info, out.bytes = r.DataInfo, r.Bytes
	case wire.CsumRSRequest, wire.OVRequest, wire.OVReply:
		if err = out.ack.Decode(p.Body); err == nil {
			out.body = bytes.Clone(p.Body[wire.BlockAckLen:])
		}
	case wire.Data, wire.DataReply, wire.RSDataReply:
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

// onPacket deals with a packet about the volume.
func (e *engine) onPacket(l *replica.Link, p *packet) error {
	switch p.command {
	case wire.Data, wire.Trim, wire.Zeroes:
		return e.onWrite(l, p)
	case wire.WriteAck, wire.RSWriteAck, wire.RecvAck, wire.NegAck:
		return e.onAck(p)
	case wire.DataReply:
		return e.onDataReply(l, p)
	case wire.NegDReply:
		return e.onReadRefused(p)
	case wire.DataRequest:
		return e.onReadRequest(l, p)
	case wire.RSDataRequest, wire.RSThinReq, wire.CsumRSRequest:
		return e.onResyncRequest(p)
	case wire.RSDataReply:
		return e.onResyncReply(l, p)
	case wire.NegRSDReply, wire.RSCancel:
		return fmt.Errorf("the source cannot read sector %d", p.ack.Sector)
	case wire.RSIsInSync:
		return e.onInSync(p)
	case wire.OVRequest:
		return e.onVerifyRequest(p)
	case wire.OVReply:
		return e.onVerifyReply(p)
	case wire.OVResult:
		return e.onVerifyResult(p)
	case wire.Bitmap, wire.CompressedBM:
		return e.onBitmap(p)
	default:
		return e.onStatePacket(l, p)
	}
}

// onStatePacket decodes what is for the machine.
func (e *engine) onStatePacket(l *replica.Link, p *packet) error {
	switch p.command {
	case wire.Sizes:
		var v wire.SizesInfo
		if err := v.Decode(p.body); err != nil {
			return err
		}
		e.peerSizes(l, v)
	case wire.SyncParam89:
		var v wire.SyncParams
		if err := v.Decode(p.body); err != nil {
			return err
		}
		e.machine.PeerParams(e.env(), e.syncParams(), v)
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
		if err := e.healBegins(); err != nil {
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
	case wire.StateChgReq:
		var v wire.StateChange
		if err := v.Decode(p.body); err != nil {
			return err
		}
		e.machine.PeerChange(e.env(), v)
		return nil
	case wire.State, wire.StateChgReply:
		var v wire.Word32
		if err := v.Decode(p.body); err != nil {
			return err
		}
		if p.command == wire.State {
			e.machine.PeerState(e.env(), wire.StatesOf(uint32(v)))
		} else {
			e.machine.ChangeReply(e.env(), wire.StateReturn(v))
		}
		return nil
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
	if !e.hasDisk() || e.machine.Conn() != wire.WFBitMapS && e.machine.Conn() != wire.WFBitMapT {
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
	if !e.hasDisk() {
		return writepath.Span{}, fmt.Errorf("no disk here")
	}
	size := uint64(e.store.size)
	if bytes <= 0 || bytes > most || bytes%512 != 0 || sector > size/512 || sector*512+uint64(bytes) > size {
		return writepath.Span{}, fmt.Errorf("%d bytes at sector %d of a device of %d bytes", bytes, sector, size)
	}
	return writepath.Span{Start: int64(sector) * 512, End: int64(sector)*512 + bytes}, nil
}
