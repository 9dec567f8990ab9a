package volume

import (
	"errors"
	"fmt"

	"holdfast/internal/block/replica"
	"holdfast/internal/block/wire"
)

// handlePacket deals with a packet of the peer.
func (r *resource) handlePacket(l *replica.Link, p *packet) {
	if l != r.line.link || r.line.closing {
		r.drop(l, p)
		return
	}
	if err := r.onPacket(l, p); err != nil {
		r.drop(l, p)
		r.closeLink(fmt.Sprintf("%v: %v", p.command, err))
	}
}

// drop gives back what a packet holds.
func (r *resource) drop(l *replica.Link, p *packet) {
	if p.data != nil {
		n := len(p.data.B)
		p.data.Release()
		p.data = nil
		l.Done(n)
	}
}

// onPacket deals with a packet about the connection, and finds the volume of another.
func (r *resource) onPacket(l *replica.Link, p *packet) error {
	switch p.command {
	case wire.Barrier:
		if !r.anyDisk() {
			return errors.New("no disk here")
		}
		r.line.receiver.Barrier(p.number)
	case wire.BarrierAck:
		return r.onBarrierAck(p)
	case wire.PingAck:
		for _, e := range r.parts {
			e.finishPinged()
		}
	case wire.UnplugRemote, wire.DelayProbe, wire.SyncParam:
	case wire.Protocol:
		return r.onProtocol(p)
	case wire.ConnStChgReq, wire.ConnStChgReply:
		return r.onConnChange(p)
	case malformed:
		return fmt.Errorf("malformed packet: %s", p.body)
	default:
		if e := r.about(l, p); e != nil {
			return e.onPacket(l, p)
		}
		return r.onStranger(p)
	}
	return nil
}

// about finds the volume a packet is about; nil if there is none here. Headers before version 100 do not say.
func (r *resource) about(l *replica.Link, p *packet) *engine {
	if l.Protocol < versionOfVolumes {
		return r.parts[0]
	}
	return r.numbered(int(p.volume))
}

// versionOfVolumes is the protocol version from which on packets carry a volume's number.
const versionOfVolumes = 100

// onStranger deals with a packet about a volume that only the peer has. What says of it how it is may come, and is of no interest.
func (r *resource) onStranger(p *packet) error {
	switch p.command {
	case wire.SyncParam89, wire.Sizes, wire.UUIDs, wire.State:
		r.log.Warn("the peer has a volume that is not configured here: make the resource's file equal on both nodes", "number", p.volume, "packet", p.command)
		return nil
	}
	return fmt.Errorf("about volume %d, which is not configured here", p.volume)
}

func (r *resource) anyDisk() bool {
	for _, e := range r.parts {
		if e.hasDisk() {
			return true
		}
	}
	return false
}

// onBarrierAck: all that was sent before the barrier is durable there, of every volume.
func (r *resource) onBarrierAck(p *packet) error {
	for _, e := range r.parts {
		e.conn.heardAck = r.now()
	}
	if !r.epochs.BarrierAck(p.number) {
		return fmt.Errorf("number %d is not waited for", p.number)
	}
	return nil
}

func (r *resource) onProtocol(p *packet) error {
	var v wire.ProtocolInfo
	if err := v.Decode(p.body); err != nil {
		return err
	}
	ours := r.protocolInfo()
	for _, e := range r.parts {
		e.machine.PeerProtocol(e.env(), ours, v)
	}
	return nil
}

// onConnChange: the peer leaves, or answers that this side may.
func (r *resource) onConnChange(p *packet) error {
	if p.command == wire.ConnStChgReq {
		var v wire.StateChange
		if err := v.Decode(p.body); err != nil {
			return err
		}
		for _, e := range r.parts {
			e.machine.PeerConnChange(e.env(), v)
		}
		return nil
	}
	var v wire.Word32
	if err := v.Decode(p.body); err != nil {
		return err
	}
	for _, e := range r.parts {
		e.machine.ConnChangeReply(e.env(), wire.StateReturn(v))
	}
	return nil
}
