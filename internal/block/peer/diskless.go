package peer

import (
	"fmt"

	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
)

// A Primary without a good disk, under DRBD's rules: its disk has failed or was given back, and the peer's serves it. It
// remembers the generation its users have seen (DRBD's exposed data), and connects to no other.

// SetNoData says what becomes of requests while no disk can be reached: held back (on-no-data-accessible suspend-io), or
// answered with an error.
func (m *Machine) SetNoData(hold bool) { m.holdNoData = hold }

// Served tells whether the peer's disk has all the data and can be asked for it.
func (m *Machine) Served() bool {
	return m.linkUp && m.peer.disk == generation.UpToDate && m.conn >= wire.Connected
}

// NoData tells that requests are held back until a disk with the data can be reached.
func (m *Machine) NoData() bool { return m.noData }

// MayDropDisk tells whether the operator may take the disk away: a Primary needs the peer's then.
func (m *Machine) MayDropDisk() bool {
	return m.resume == nil && (!m.primary() || !m.view.Bound && m.conn == wire.Connected && m.Served())
}

// withoutDisk: a Primary has no disk any more; whole tells whether it had all the data.
func (m *Machine) withoutDisk(whole bool) {
	if m.mayLeaveU() {
		m.leaveU()
		return
	}
	if m.view.Bound {
		m.fail("the backing disk failed", false)
		if m.linkUp {
			m.emit(Effect{Do: CloseLink, Text: "the disk was detached"})
		}
		return
	}
	m.renaming = false
	switch {
	case whole:
		m.exposed = m.uuids.Current
	case m.exposed == 0 && m.peer.hasUUIDs:
		m.exposed = m.peer.uuids.Set.Current
	}
	m.do(PathDropDisk)
	m.emit(Effect{Do: SaveRole, Number: m.epoch})
	switch {
	case m.Served() && m.conn == wire.Connected:
		m.renaming = true
		m.sendState()
		m.warn("the disk is gone; the peer's serves this Primary")
		m.thaw()
		return
	case m.linkUp:
		m.emit(Effect{Do: CloseLink, Text: "the disk was detached"})
	}
	m.lostData()
}

// lostData: no disk with the data can be reached.
func (m *Machine) lostData() {
	m.warn("no disk with up-to-date data can be reached")
	if m.holdNoData && !m.noData {
		m.noData = true
		m.freeze("no disk with up-to-date data can be reached")
	}
}

// DiskDropped: nothing is under way any more on a disk that has failed.
func (m *Machine) DiskDropped(e Env) {
	m.begin(e)
	if m.attached || m.disk == generation.Diskless {
		return
	}
	m.disk = generation.Diskless
	if m.linkUp && m.conn >= wire.Connected {
		m.sendState()
	}
}

// PassOn: an error of the disk is not to detach it (on-io-error pass_on). Where the peer has the data, the disk counts as
// Inconsistent from now on, and the block that failed is out of sync: it is read from the peer. Alone, the disk is all there
// is: it stays what it is, lest an older disk is taken for the better one, and whoever asked gets the error. It returns
// false if the disk has to be given up after all.
func (m *Machine) PassOn(e Env) bool {
	m.begin(e)
	if !m.attached || m.view.Bound || m.resume != nil || m.conn > wire.Connected {
		return false
	}
	if m.disk <= generation.Inconsistent || m.conn != wire.Connected || !m.Served() {
		return true
	}
	m.disk = generation.Inconsistent
	m.do(Store)
	m.sendState()
	m.warn("the disk had an error; what it lacks is read from the peer")
	return true
}

// lostServer: the connection of a Primary is gone whose own disk does not have all the data. Its disk, if it has one, is
// given up: what is written to it from now on would be overwritten by the resync it needs.
func (m *Machine) lostServer() {
	m.do(PathDropDisk)
	if m.attached {
		m.emit(Effect{Do: DropDisk, Text: "it lacks blocks, and the peer that has them is gone"})
	}
	if m.holdNoData {
		if m.path == pathUp {
			m.path = pathSuspended
			m.do(PathSuspend)
		}
		m.lostData()
		return
	}
	m.goOnAlone()
}

// served by the peer alone: this side is Primary and its own disk does not have all the data.
func (m *Machine) leaning() bool {
	return m.primary() && !m.view.Bound && (!m.attached || m.disk <= generation.Inconsistent)
}

// foreignData tells whether a Primary without a disk has met a peer whose data is not what its users have seen.
func (m *Machine) foreignData() bool {
	if m.attached || !m.primary() || m.exposed == 0 || !m.peer.hasUUIDs || m.peer.disk < generation.Inconsistent {
		return false
	}
	set := m.peer.uuids.Set
	renamed := m.renaming && m.link.PeerInstance == m.instance && generation.Same(m.exposed, set.Bitmap)
	return !renamed && !generation.Same(m.exposed, set.Current)
}

// refuseForeignData is DRBD's answer to it.
func (m *Machine) refuseForeignData() {
	m.refuse(fmt.Sprintf("Can only connect to data with current UUID=%016X", m.exposed))
}

// expose notes which data the users of a Primary without a disk see.
func (m *Machine) expose() {
	if m.primary() && m.disk < generation.UpToDate && m.conn >= wire.Connected && m.peer.hasUUIDs {
		m.exposed, m.renaming = m.peer.uuids.Set.Current, false
	}
}

// leansOnPeer tells whether this side may be Primary although its own disk is not good enough: the peer's is, and can be
// asked (DRBD's rule for a connected peer). It must have had a disk, which says how large the device is.
func (m *Machine) leansOnPeer() bool {
	return !m.view.Bound && m.size > 0 && m.conn == wire.Connected && m.Served() && (!m.attached || m.disk == generation.Inconsistent)
}

// Lacking tells whether the disk does not have all the data: what is out of sync is not on it.
func (m *Machine) Lacking() bool { return m.disk <= generation.Inconsistent }

// MayAttach tells whether a Primary without a disk may take one: the peer can be asked what it lacks, or it has the very data
// the users have seen. The error is DRBD's.
func (m *Machine) MayAttach(uuids generation.Set, flags metadata.Flags) error {
	sb := metadata.Superblock{Flags: flags}
	switch {
	case !m.primary():
		return nil
	case m.pending.verb != "" || m.noData && m.linkUp:
		return fmt.Errorf("(-7) %s", wire.InTransientState)
	case m.conn == wire.Connected && m.Served(), generation.Same(uuids.Current, m.exposed) && !m.renaming && sb.Disk() > generation.Outdated:
		return nil
	}
	return fmt.Errorf("(-20) Can only attach to data with current UUID=%016X", m.exposed)
}

// attachedPrimary: a Primary that had no disk has one. What the peer is sent until it knows is lacking here, so that nothing
// is sent until the generations have been compared, and the bitmaps exchanged.
func (m *Machine) attachedPrimary(a Attach) {
	sb := metadata.Superblock{Flags: a.Flags}
	m.attached, m.uuids, m.device, m.size = true, a.UUIDs.WithRole(true), a.Device, a.Size
	m.crashed, m.outdated = false, false
	m.offered = min(sb.Disk(), generation.Outdated)
	if m.conn != wire.Connected { // MayAttach has seen that it is the same data
		m.takeAlone()
		return
	}
	m.disk = generation.Negotiating
	m.freeze("a disk is being attached")
	m.do(SendSizes)
	m.sendUUIDs()
	m.sendState()
	m.linkAt = m.env.Now
}

// takeAlone goes on with a disk that was attached while the peer is not there. What was on its way to the peer's disk alone fails;
// what is written from now on the peer lacks, and a new generation says so.
func (m *Machine) takeAlone() {
	m.disk, m.path = generation.UpToDate, pathGone
	m.do(PathHold, PathGone)
	if !m.adopted() && m.uuids.NeedsNewCurrent() {
		m.uuids = m.uuids.NewCurrent(m.env.Fresh, true)
		m.log("new current UUID " + m.uuids.String())
	}
	m.do(Store)
	m.tookDisk()
	if m.frozen == "" {
		m.do(PathRelease)
	}
}

// knownDisk is the state the handshake counts with.
func (m *Machine) knownDisk() generation.DiskState {
	if m.disk == generation.Negotiating {
		return m.offered
	}
	return m.disk
}

// acceptDisk tells whether a disk that was attached to a Primary can be used: the peer's data, which is in use, replaces its
// own, or is the same.
func (m *Machine) acceptDisk(out generation.Outcome) bool {
	if out.Refuse == "" && (out.Verdict.Target() || out.Verdict == generation.InSync) {
		m.disk = m.offered
		return true
	}
	why := out.Refuse
	if why == "" {
		why = "its data is not older than the peer's: " + out.Verdict.String()
	}
	m.emit(Effect{Do: DropDisk, Text: why})
	return false
}

// tookDisk: from here on a Primary's writes go to its new disk too.
func (m *Machine) tookDisk() {
	if !m.primary() {
		return
	}
	m.do(PathTakeDisk)
	m.emit(Effect{Do: SaveRole, Number: m.epoch})
	if !m.noData || m.disk == generation.UpToDate {
		m.noData = false
		m.thaw()
	}
}
