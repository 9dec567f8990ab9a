package peer

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
	"holdfast/internal/planted"
)

// In a cluster a Primary whose disk fails leaves U, and goes on with the disk of the peer that stays in it: nothing is
// acknowledged from the failure on until the log has applied that (S2: every member of U has an acknowledged write). Then the
// log lets no one but the peer be promoted, and a disk that comes back is resynced. Should this Primary lose the peer it
// has nothing left to serve, and fails, so that the peer can be promoted.

// mayLeaveU tells whether this Primary can do without its disk.
func (m *Machine) mayLeaveU() bool {
	r, in := m.entry(m.set.Node)
	return m.adopted() && m.isSelf(m.view.Primary) && in && parse(r.DeviceUUID) == m.device && m.conn == wire.Connected &&
		m.path == pathUp && m.Served() && m.peerDiskInU() && !m.addAsked && !m.removing && m.frozen == ""
}

// leaveU begins to want this node's replica out of U.
func (m *Machine) leaveU() {
	m.leaving, m.newGen = true, m.env.Fresh&^1
	if !planted.LeaverAcknowledges {
		m.freeze("this node's disk failed and has to leave the up-to-date set; waiting for the cluster's log")
	}
	m.do(PathDropDisk)
	m.emit(Effect{Do: SaveRole, Number: m.epoch})
	m.sendState()
	m.warn("the disk failed; this Primary goes on with the disk of " + m.set.PeerNode + " once the cluster's log says that its own is not up to date")
}

// outOfU tells whether this Primary has no disk that counts, or is about to have none.
func (m *Machine) outOfU() bool { return m.leaving || m.left }

// leftView applies a view to a Primary without a disk.
func (m *Machine) leftView() {
	_, in := m.entry(m.set.Node)
	switch {
	case m.view.Epoch != m.epoch:
		m.fail(fmt.Sprintf("the cluster's log is in epoch %d, and this Primary of epoch %d has no disk", m.view.Epoch, m.epoch), false)
	case !m.peerInU():
		m.fail("no up-to-date replica is left that could be asked", false)
	case m.leaving && !in:
		m.leaving, m.left = false, true
		m.newGen = 0
		m.log("this node's replica is out of the up-to-date set")
		if m.path == pathUp {
			m.thaw()
		}
	}
}

// leaveWant is what a Primary without a disk wants of the log.
func (m *Machine) leaveWant() *api.VolumeWant {
	if !m.leaving || !m.adopted() {
		return nil
	}
	return &api.VolumeWant{Branch: m.view.Branch, Epoch: m.view.Epoch, Version: m.view.Version, Remove: m.set.Node, Generation: Hex(m.newGen)}
}

// meetsServer tells whether a peer that has connected to a Primary without a disk is the one whose disk it lives on, in the
// same life: another may have lost what was not flushed, and there is no other copy.
func (m *Machine) meetsServer() bool {
	return !m.outOfU() || m.peer.disk == generation.UpToDate && m.peerDiskInU() && m.link.PeerInstance == m.instance
}

// soleKeeper: the log gives this disk a new generation because the Primary has lost its own, and lives on this one.
func (m *Machine) soleKeeper() bool {
	_, in := m.entry(m.view.Primary)
	return !m.primary() && m.view.Primary != "" && !m.isSelf(m.view.Primary) && !in
}
