package peer

import (
	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// What both sides agree on by P_STATE_CHG_REQ while they are connected: a full resync without any comparison (invalidate,
// invalidate-remote), and online verify.

// ask begins an operator's request that needs the peer's consent.
func (m *Machine) ask(id uint64, verb api.VolumeVerb, conn wire.Conn) {
	m.pending = request{id: id, verb: verb, deadline: m.env.Now + requestTimeout}
	m.emit(Effect{Do: SendChange, Change: wire.StateChange{Mask: wire.MaskConn, Value: wire.States{Conn: conn}.Word()}})
}

// Counterpart is the peer's part of what this state of the connection begins.
func counterpart(c wire.Conn) wire.Conn {
	switch c {
	case wire.StartingSyncS:
		return wire.StartingSyncT
	case wire.StartingSyncT:
		return wire.StartingSyncS
	case wire.VerifyS:
		return wire.VerifyT
	}
	return c
}

// InvalidateRemote: the operator gives the peer's content up; it is resynced in full from here.
func (m *Machine) InvalidateRemote(e Env, id uint64) {
	m.begin(e)
	switch {
	case m.pending.verb != "":
		m.answer(id, m.Refusal(wire.InTransientState))
	case !m.attached || m.disk < generation.UpToDate:
		m.answer(id, m.Refusal(wire.NoUpToDateDisk))
	case m.adopted():
		m.answer(id, m.refusalFor(wire.NotSupported, "in a cluster give the other disk up on its own node: drbdadm invalidate"))
	case m.conn == wire.Connected:
		m.ask(id, api.VolumeInvalidateRemote, wire.StartingSyncS)
	case m.conn > wire.Connected:
		m.answer(id, m.Refusal(wire.ResyncRunning))
	case m.primary(): // without the peer: it is resynced in full when it comes back
		m.do(SetAllBits)
		m.answer(id, api.VolumeReply{})
	default:
		m.answer(id, m.Refusal(wire.NeedConnection))
	}
}

// Verify: the operator wants both disks compared, block by block, without stopping anything.
func (m *Machine) Verify(e Env, id uint64) {
	m.begin(e)
	switch {
	case m.pending.verb != "":
		m.answer(id, m.Refusal(wire.InTransientState))
	case m.verifyAlg == "":
		m.answer(id, m.Refusal(wire.NoVerifyAlgorithm))
	case m.conn > wire.Connected:
		m.answer(id, m.Refusal(wire.ResyncRunning))
	case m.conn != wire.Connected || !m.attached:
		m.answer(id, m.Refusal(wire.NeedConnection))
	default:
		m.ask(id, api.VolumeVerify, wire.VerifyS)
	}
}

// SetVerifyAlg tells, when a connection is made, the digest of online verify; empty for none.
func (m *Machine) SetVerifyAlg(name string) { m.verifyAlg = name }

// agreed: the peer consents to what ask asked for.
func (m *Machine) agreed(p request) {
	if !m.attached || m.conn != wire.Connected { // the disk has failed meanwhile, or a resync has begun
		m.takeBack(p)
		return
	}
	switch p.verb {
	case api.VolumeInvalidate:
		m.startingTarget()
	case api.VolumeInvalidateRemote:
		m.startingSource()
	case api.VolumeVerify:
		m.startVerify(wire.VerifyS)
	}
	m.answer(p.id, api.VolumeReply{})
}

// takeBack: what the peer has consented to, and begun, cannot be.
func (m *Machine) takeBack(p request) {
	if p.verb == api.VolumeVerify {
		m.sendState() // ends the peer's part
	} else {
		m.emit(Effect{Do: CloseLink, Text: "the resync that was agreed on cannot begin"})
	}
	m.answer(p.id, m.Refusal(wire.InTransientState))
}

// startingTarget: this disk's content is given up; the source names the resync next.
func (m *Machine) startingTarget() {
	m.disk, m.crashed = generation.Inconsistent, false
	m.full = true
	m.do(Store, SetAllBits)
	m.full = false
	m.do(Store)
	m.conn = wire.WFSyncUUID
	m.linkAt = m.env.Now
}

// startingSource: the peer's content is given up.
func (m *Machine) startingSource() {
	m.full = true
	m.do(Store, SetAllBits)
	m.full = false
	m.do(Store)
	m.startSource()
}

func (m *Machine) startVerify(part wire.Conn) {
	m.conn = part
	m.do(StartVerify)
	m.log("online verify begins")
}

// VerifyDone: every block has been compared, or the peer said so.
func (m *Machine) VerifyDone(e Env) {
	m.begin(e)
	if m.conn != wire.VerifyS && m.conn != wire.VerifyT {
		return
	}
	was := m.conn
	m.conn = wire.Connected
	m.do(EndVerify, WriteBitmap)
	if was == wire.VerifyS {
		m.sendState()
	}
	if m.env.OOS > 0 {
		m.handler("out-of-sync")
	}
	m.log("online verify done")
}

// permit answers a peer's request for a change of the connection's state: Success, or why not.
func (m *Machine) permit(asked wire.Conn) wire.StateReturn {
	part := counterpart(asked)
	switch {
	case part == asked && asked != wire.Connected:
		return wire.NotSupported
	case m.conn != wire.Connected:
		return wire.ResyncRunning
	case !m.attached:
		return wire.NoLocalDisk
	case part == wire.VerifyT && m.verifyAlg == "":
		return wire.NoVerifyAlgorithm
	case part == wire.VerifyT:
		return wire.Success
	case m.adopted():
		return wire.FailedByPeer // who resyncs from whom is the log's matter
	case part == wire.StartingSyncS && m.disk < generation.UpToDate, part == wire.StartingSyncT && m.primary():
		return wire.NoUpToDateDisk
	}
	return wire.Success
}

// follow does this side's part of what the peer asked for and was granted.
func (m *Machine) follow(asked wire.Conn) {
	switch counterpart(asked) {
	case wire.StartingSyncS:
		m.startingSource()
	case wire.StartingSyncT:
		m.startingTarget()
	case wire.VerifyT:
		m.startVerify(wire.VerifyT)
	}
}

// handler has one of the configured handlers run.
func (m *Machine) handler(name string) { m.emit(Effect{Do: RunHandler, Text: name}) }
