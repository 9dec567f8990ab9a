package peer

import (
	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// What the volumes of one resource must agree on before one of them acts: a machine knows of its own volume only.

// Reason is why the connection was refused, empty if it was not.
func (m *Machine) Reason() string { return m.reason }

// MayPromote tells, under DRBD's rules, whether Primary would be refused for this volume's sake: Code is 0 if not.
func (m *Machine) MayPromote(force bool) api.VolumeReply {
	switch {
	case m.primary():
		return api.VolumeReply{}
	case m.pending.verb != "" || m.resume != nil:
		return m.Refusal(wire.InTransientState)
	case !m.leansOnPeer() && (!m.attached || m.disk < generation.UpToDate && !force):
		return m.Refusal(wire.NoUpToDateDisk)
	case m.targeting() || m.conn >= wire.WFBitMapS && m.conn <= wire.WFSyncUUID:
		return m.Refusal(wire.InTransientState)
	}
	return api.VolumeReply{}
}

// MayDisconnect tells whether Disconnect would be refused: Code is 0 if not.
func (m *Machine) MayDisconnect() api.VolumeReply {
	switch {
	case m.pending.verb != "":
		return m.Refusal(wire.InTransientState)
	case m.leaning() && m.Served():
		return m.Refusal(wire.NoUpToDateDisk)
	}
	return api.VolumeReply{}
}
