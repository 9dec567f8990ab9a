package peer

import (
	"fmt"
	"strconv"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
	"holdfast/internal/planted"
)

// adopted tells whether the log knows this volume, so that its rules hold rather than DRBD's.
func (m *Machine) adopted() bool { return m.hasView && m.view.Bound && m.view.Adopted }

// entry finds a node in U.
func (m *Machine) entry(node string) (api.Replica, bool) {
	for _, r := range m.view.U {
		if r.Node == node {
			return r, true
		}
	}
	return api.Replica{}, false
}

// other finds the member of U that is not this node.
func (m *Machine) other() (api.Replica, bool) {
	for _, r := range m.view.U {
		if !m.isSelf(r.Node) {
			return r, true
		}
	}
	return api.Replica{}, false
}

func (m *Machine) peerInU() bool {
	_, ok := m.other()
	return ok
}

// parse reads a UUID of the log; 0 for none.
func parse(hex string) uint64 {
	v, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return 0
	}
	return v
}

// Hex writes a UUID as the log has it: without the Primary bit.
func Hex(u uint64) string { return fmt.Sprintf("%016X", u&^1) }

// matches tells whether a disk is the one an entry of U means (S1).
func matches(r api.Replica, device, current uint64) bool {
	if parse(r.DeviceUUID) != device || current == 0 {
		return false
	}
	is := func(g string) bool { return g != "" && generation.Same(parse(g), current) }
	return is(r.Generation) || is(r.PrevGeneration)
}

// selfInU tells whether this disk is in U.
func (m *Machine) selfInU() bool {
	if planted.PromoteOutsideU {
		return m.attached
	}
	r, ok := m.entry(m.set.Node)
	return ok && m.attached && m.disk != generation.Inconsistent && matches(r, m.device, m.uuids.Current)
}

// peerDiskInU tells whether the connected peer's disk is in U.
func (m *Machine) peerDiskInU() bool {
	r, ok := m.other()
	return ok && matches(r, m.link.PeerDevice, m.peer.uuids.Set.Current)
}

// required tells whether the peer must acknowledge although it is not there: it is in U, or may be by now (S5).
func (m *Machine) required() bool {
	return m.adopted() && (m.peerInU() || m.addAsked)
}

// PeerRequired tells whether no write may be acknowledged without the peer having it: it is in U, or may be by now.
func (m *Machine) PeerRequired() bool { return m.required() }

// askAdd begins to want the peer in U: from now on it must be treated as a member (S5), also by a process that replaces
// this one.
func (m *Machine) askAdd() {
	m.addAsked, m.addAt = true, m.view.Version
	m.emit(Effect{Do: SaveRole, Number: m.epoch})
}

// resumeAdd takes over what an earlier process asked for and may not have been answered.
func (m *Machine) resumeAdd(r *Resume) {
	if m.adopted() && !m.peerInU() && r.AddDevice != 0 && r.AddVersion >= m.view.Version {
		m.addAsked, m.addAt = true, m.view.Version
		m.link.PeerDevice = r.AddDevice
	}
}

// boundVerdict overrules what the generations say by what the log says. It returns false if the connection has been
// dropped.
func (m *Machine) boundVerdict(out *generation.Outcome, st wire.States) bool {
	self, peer := m.selfInU(), m.peerDiskInU()
	dirty := m.env.OOS > 0 || m.peer.uuids.Bits > 0
	switch {
	case self && peer:
		return m.bothInU(out, st)
	case self && m.primary() && m.peerInU():
		// It came back, before it was missed, with another disk than the one the log means.
		m.remove("its disk is not the one in it")
		m.emit(Effect{Do: CloseLink, Text: "the peer must leave U before it can be resynced"})
		return false
	case self:
		return m.oneInU(out, generation.SourceBitmap, dirty)
	case peer:
		return m.oneInU(out, generation.TargetBitmap, dirty)
	}
	m.refuse("neither disk is an up-to-date replica by the cluster's log")
	return false
}

// bothInU: two members of U have the same acknowledged writes. A Primary that knows of a difference takes the peer out.
func (m *Machine) bothInU(out *generation.Outcome, st wire.States) bool {
	same := generation.Same(m.uuids.Current, m.peer.uuids.Set.Current) && st.Disk > generation.Inconsistent
	if !m.primary() {
		if !same {
			m.refuse("the log has both disks in U, their generations differ: " + m.uuids.String() + " and " + m.peer.uuids.Set.String())
			return false
		}
		*out = generation.Outcome{Comparison: generation.Comparison{Verdict: generation.InSync, Self: m.uuids, Peer: m.peer.uuids.Set}}
		return true
	}
	known := m.instance == "" || m.instance == m.link.PeerInstance
	if same && m.env.OOS == 0 && !m.crashed && (known || !m.env.Unconfirmed) {
		*out = generation.Outcome{Comparison: generation.Comparison{Verdict: generation.InSync, Self: m.uuids, Peer: m.peer.uuids.Set}}
		return true
	}
	m.remove("it may lack writes")
	m.emit(Effect{Do: CloseLink, Text: "the peer must leave U before it can be resynced"})
	return false
}

// oneInU: the member of U is the source, or there is nothing to do. Whatever else the generations say contradicts the
// log, and nothing is overwritten.
func (m *Machine) oneInU(out *generation.Outcome, want generation.Verdict, dirty bool) bool {
	source := want.Source()
	switch {
	case out.Refuse == "" && source && out.Verdict.Source(), out.Refuse == "" && !source && out.Verdict.Target():
		return true
	case generation.Same(out.Self.Current, out.Peer.Current) && !out.Verdict.Split():
		out.Refuse = ""
		out.Verdict = generation.InSync
		if dirty || m.crashed || m.peer.uuids.Flags&wire.UUIDCrashedPrimary != 0 {
			out.Verdict = want
		}
		return true
	}
	where := "the peer's disk"
	if !source {
		where = "this disk"
	}
	m.refuse(fmt.Sprintf("%s is not in U and its data is not known to be older (%s): `drbdadm invalidate` there makes it resync in full",
		where, out.Verdict))
	return false
}

// View: the log's record of this volume.
func (m *Machine) View(e Env, v api.VolumeView) {
	m.begin(e)
	moved := m.hasView && m.view.Bound && v.Bound && v.Branch != m.view.Branch
	if !moved && m.hasView && v.Bound && m.view.Bound && (v.Epoch < m.view.Epoch || v.Epoch == m.view.Epoch && v.Version < m.view.Version) {
		return
	}
	if moved && m.view.Adopted {
		m.fail("the cluster's log goes on with another branch", true)
	}
	m.view, m.hasView = v, true
	if m.retryAt != 0 {
		m.reason, m.retryAt = "", 0
	}
	if m.conn == wire.StandAlone && m.wanted && m.reason == "" {
		m.conn = wire.WFConnection
	}
	if !m.adopted() {
		m.tryResume()
		if m.alone && v.Version > m.aloneAt {
			m.leavePeer()
		}
		return
	}
	m.alone = false
	m.takeGeneration()
	m.tryResume()
	if m.primary() {
		m.primaryView()
	}
}

// takeGeneration gives the disk the generation the log has given it (S1).
func (m *Machine) takeGeneration() {
	r, ok := m.entry(m.set.Node)
	if !ok || !m.attached || r.PrevGeneration == "" || parse(r.DeviceUUID) != m.device {
		return
	}
	if generation.Same(parse(r.Generation), m.uuids.Current) || !generation.Same(parse(r.PrevGeneration), m.uuids.Current) {
		return
	}
	if m.primary() {
		m.do(PathHold)
	}
	if !m.peerInU() {
		m.path = pathGone
		m.do(PathGone)
	}
	if !planted.GenerationForgotten {
		m.uuids = m.uuids.NewCurrent(parse(r.Generation), m.primary())
	}
	if m.view.Leaning && !planted.KeeperForgets {
		m.markAll() // with the generation: neither is on disk without the other
	} else {
		m.do(WriteBitmap, Store)
	}
	m.log("new current UUID " + m.uuids.String())
	if m.primary() && m.frozen == "" {
		m.do(PathRelease)
	}
	switch {
	case !m.linkUp || m.peerInU():
	case m.soleKeeper():
		m.sendUUIDs() // the Primary looks at them to know this disk again
	default:
		m.emit(Effect{Do: CloseLink, Text: "this disk has a new generation, which the peer has to get by a resync"})
	}
}

// primaryView applies a view to a Primary.
func (m *Machine) primaryView() {
	if !m.isSelf(m.view.Primary) {
		m.fail(fmt.Sprintf("the cluster's log has %q as Primary in epoch %d", m.view.Primary, m.view.Epoch), true)
		return
	}
	if m.outOfU() {
		m.leftView()
		return
	}
	if m.movedOn() {
		m.remove("it was lost while the volume was taken into the cluster's log")
		m.newGen = m.uuids.Current &^ 1
		return
	}
	if !m.selfInU() {
		m.fail("the cluster's log no longer has this disk in U", true)
		return
	}
	if m.view.Epoch != m.epoch {
		m.epoch = m.view.Epoch
		m.emit(Effect{Do: StoreEpoch, Number: m.epoch})
		m.emit(Effect{Do: SaveRole, Number: m.epoch})
	}
	if m.addAsked && (m.peerInU() || m.view.Version > m.addAt) {
		m.addAsked = false
	}
	if m.required() {
		return
	}
	m.removing, m.newGen = false, 0
	if m.path == pathSuspended || m.frozen != "" && m.path == pathGone && !m.exchanging() {
		m.path = pathGone
		m.do(PathHold, PathGone, WriteBitmap)
		m.frozen = ""
		m.do(PathRelease)
	}
}

// movedOn: the log took the volume in as it was before this Primary lost its peer, and went on under DRBD's rules. Its disk
// has all of U's writes and more; the peer leaves U before anything else is acknowledged.
func (m *Machine) movedOn() bool {
	r, ok := m.entry(m.set.Node)
	return ok && m.peerInU() && parse(r.DeviceUUID) == m.device && r.PrevGeneration == "" &&
		m.uuids.Bitmap != 0 && generation.Same(m.uuids.Bitmap, parse(r.Generation))
}

func (m *Machine) exchanging() bool { return m.conn == wire.WFBitMapS }

// remove begins to want the peer out of U.
func (m *Machine) remove(why string) {
	if m.removing {
		return
	}
	m.removing = true
	m.newGen = m.env.Fresh &^ 1
	m.freeze(fmt.Sprintf("%s has to leave the up-to-date set: %s; waiting for the cluster's log", m.set.PeerNode, why))
	m.warn(m.frozen)
}

// checkAbsence gives a required peer up after a while.
func (m *Machine) checkAbsence() {
	if !m.primary() || m.path == pathUp || m.removing {
		return
	}
	if !m.required() {
		if !m.adopted() && !m.noData && m.path == pathSuspended && !m.linkUp && m.env.Now-m.lostAt >= m.set.Absence {
			m.askAlone("the peer is not connected")
		}
		return
	}
	patience := m.set.Absence
	if m.linkUp { // it is there, and being spoken to
		patience += m.set.Handshake
	}
	if m.env.Now-m.lostAt >= patience && m.outOfU() {
		m.fail("the connection to the only up-to-date replica is lost", false)
		return
	}
	if m.env.Now-m.lostAt >= patience {
		m.remove("it is not connected")
	}
}

// joining tells whether the log may be taking this volume in at any moment: then what a Primary acknowledges alone could be
// missing on a member of the first U.
func (m *Machine) joining() bool { return m.hasView && m.view.Bound && !m.view.Adopted }

// askAlone keeps acknowledgements back until the log has refused in advance whatever adoption is under way.
func (m *Machine) askAlone(why string) {
	if m.alone {
		return
	}
	m.alone, m.aloneAt = true, m.view.Version
	m.freeze(why + "; waiting for the cluster's log before going on without it")
	m.warn(m.frozen)
}

// leavePeer: no adoption under way can be accepted any more, so that DRBD's rules hold again.
func (m *Machine) leavePeer() {
	m.alone = false
	if m.primary() && m.uuids.NeedsNewCurrent() && m.disk == generation.UpToDate {
		m.uuids = m.uuids.NewCurrent(m.env.Fresh, true)
		m.log("new current UUID " + m.uuids.String())
	}
	m.goOnAlone()
}

// Want is the change of the log the volume needs now, nil if none.
func (m *Machine) Want() *api.VolumeWant {
	if m.alone && m.attached && !m.adopted() {
		return &api.VolumeWant{Branch: m.view.Branch, Epoch: m.view.Epoch, Version: m.view.Version, Alone: true}
	}
	if m.outOfU() {
		return m.leaveWant()
	}
	if !m.adopted() || !m.attached {
		return nil
	}
	w := &api.VolumeWant{Branch: m.view.Branch, Epoch: m.view.Epoch, Version: m.view.Version}
	if r, ok := m.entry(m.set.Node); ok && r.PrevGeneration != "" && parse(r.DeviceUUID) == m.device &&
		generation.Same(parse(r.Generation), m.uuids.Current) {
		w.Confirm = r.Generation
		return w
	}
	if !m.primary() {
		return nil
	}
	return m.primaryWant(w)
}

func (m *Machine) primaryWant(w *api.VolumeWant) *api.VolumeWant {
	r, in := m.other()
	switch {
	case m.removing && in:
		w.Remove, w.Generation = r.Node, Hex(m.newGen)
		return w
	case m.addAsked && !in:
		// Also while the peer is being given up: a request whose outcome is unknown must have one before the next.
		if m.link.PeerDevice == 0 {
			return nil
		}
		w.Add = &api.Replica{Node: m.set.PeerNode, DeviceUUID: fmt.Sprintf("%016X", m.link.PeerDevice), Generation: Hex(m.uuids.Current)}
		return w
	}
	return nil
}
