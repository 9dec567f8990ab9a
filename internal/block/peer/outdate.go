package peer

import (
	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// Outdate: somebody who knows (a fencing handler of the peer, the operator) says that the peer has newer data. A volume in
// the cluster's log is outdated by the log only.
func (m *Machine) Outdate(e Env, id uint64) {
	m.begin(e)
	switch {
	case m.pending.verb != "":
		m.answer(id, m.Refusal(wire.InTransientState))
	case !m.attached:
		m.answer(id, m.Refusal(wire.NoLocalDisk))
	case m.primary():
		m.answer(id, m.Refusal(wire.NoUpToDateDisk))
	case m.adopted():
		m.answer(id, m.refusalFor(wire.InTransientState, "the cluster's log says which disks are up to date"))
	case m.linkUp && m.conn >= wire.Connected:
		m.answer(id, m.Refusal(wire.ConnectedOutdates))
	case m.disk < generation.Outdated:
		m.answer(id, m.Refusal(wire.LowerThanOutdated))
	default:
		m.disk = generation.Outdated
		m.do(Store)
		m.answer(id, api.VolumeReply{})
	}
}
