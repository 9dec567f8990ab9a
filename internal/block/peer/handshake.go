package peer

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
	"holdfast/internal/planted"
)

// PeerState: P_STATE came.
func (m *Machine) PeerState(e Env, st wire.States) {
	m.begin(e)
	if m.reason != "" || !m.linkUp {
		return
	}
	before := m.peer
	m.peer.role = st.Role
	m.peerPause = st.UserISP || st.AfterDep
	m.settlePause()
	if m.conn == wire.WFReportParams || m.reconsider(before, st) {
		m.handshake(before, st)
		return
	}
	switch {
	case m.sourcing() && st.Conn <= wire.Connected && st.Disk == generation.UpToDate:
		m.peer.finished = true
		m.finishSource()
	case m.conn == wire.Connected:
		m.peer.disk = st.Disk
		m.onlyDisk()
		m.adjustPath()
	case m.conn == wire.VerifyT && st.Conn == wire.Connected:
		m.VerifyDone(e)
	}
	m.peerDemoted()
}

// reconsider tells whether a state calls for a new comparison: the peer found that a resync is due, or became the source
// of truth by force while neither disk was any good.
func (m *Machine) reconsider(before remote, st wire.States) bool {
	if m.conn != wire.Connected {
		return false
	}
	if st.Disk == generation.Negotiating || m.disk == generation.Negotiating { // one has attached a disk
		return true
	}
	forced := m.disk == generation.Inconsistent && before.disk == generation.Inconsistent &&
		before.role == wire.Secondary && st.Role == wire.Primary && st.Disk == generation.UpToDate
	return forced || st.Conn >= wire.StartingSyncS && st.Conn <= wire.WFBitMapT
}

// handshake decides what the connection leads to.
func (m *Machine) handshake(before remote, st wire.States) {
	if !m.peer.hasSizes || !m.peer.hasUUIDs && st.Disk >= generation.Negotiating {
		m.confused("P_STATE before P_UUIDS and P_SIZES")
		return
	}
	both := st.Role == wire.Primary && m.primary()
	if st.Disk == generation.Negotiating {
		st.Disk = generation.Consistent
		if m.peer.uuids.Flags&wire.UUIDInconsistent != 0 {
			st.Disk = generation.Inconsistent
		}
	}
	if !m.attached || st.Disk < generation.Inconsistent {
		if both {
			m.refuse(twoPrimaries)
			return
		}
		m.peer.disk = st.Disk
		if m.foreignData() {
			m.refuseForeignData()
			return
		}
		if !m.meetsServer() {
			m.fail("the peer that has connected is not the one this Primary lived on, or was started again", false)
			return
		}
		if !m.Healing() { // the operator's word is for one connection, and not for a disk that is attached later
			m.discard = false
		}
		m.connected()
		m.onlyDisk()
		return
	}
	first := m.conn == wire.WFReportParams
	attaching := !first && st.Disk != before.disk && before.disk < generation.Inconsistent
	out := m.compare(st, attaching)
	if m.adopted() && !m.boundVerdict(&out, st) {
		return
	}
	negotiating := m.disk == generation.Negotiating
	if negotiating && !m.acceptDisk(out) {
		return
	}
	m.splitBrain(out)
	if out.Refuse == "" && both {
		out.Refuse = twoPrimaries
	}
	if out.Refuse != "" {
		m.refuse(out.Refuse)
		return
	}
	if m.Healing() && !m.healVerdict(out) {
		return
	}
	m.log(fmt.Sprintf("handshake: self %s, peer %s: %s (rule %d)", m.uuids, m.peer.uuids.Set, out.Verdict, out.Rule))
	m.uuids, m.peer.uuids.Set = out.Self, out.Peer
	m.peer.handshook = true
	m.peer.disk = st.Disk
	m.discard = m.discard && planted.DiscardStays
	if attaching && !out.Verdict.Source() && !out.Verdict.Target() {
		m.sendUUIDs() // the peer's new disk waits for them
	}
	m.carryOut(out.Verdict, first, st)
	if negotiating && m.conn == wire.Connected {
		m.tookDisk()
	}
}

// compare holds the two histories against each other by DRBD's rules; attaching tells that the peer has just taken its disk.
func (m *Machine) compare(st wire.States, attaching bool) generation.Outcome {
	self := generation.Host{Side: generation.Side{Set: m.uuids, Primary: m.primary(), CrashedPrimary: m.crashed}, Disk: m.knownDisk(), Discard: m.discard,
		Attaching: m.disk == generation.Negotiating, Changes: m.env.OOS}
	peer := generation.Host{
		Side:    generation.Side{Set: m.peer.uuids.Set, Primary: st.Role == wire.Primary, CrashedPrimary: m.peer.uuids.Flags&wire.UUIDCrashedPrimary != 0},
		Disk:    st.Disk,
		Discard: m.peer.uuids.Flags&wire.UUIDDiscardMyData != 0, Attaching: attaching,
		Changes: m.peer.uuids.Bits,
	}
	return generation.Handshake(self, peer, generation.Link{Protocol: m.link.Protocol,
		NewPeer: m.link.Features&wire.FeatureWriteSame != 0, ResolveConflicts: m.link.ResolveConflicts, Policies: m.policies})
}

const twoPrimaries = "both nodes are Primary, and two primaries are not allowed"

// splitBrain has the handlers run that a split brain has, and tells how it was settled.
func (m *Machine) splitBrain(out generation.Outcome) {
	if !out.Split {
		return
	}
	m.handler("initial-split-brain")
	if out.PrimaryLost {
		m.handler("pri-lost-after-sb")
	}
	switch {
	case out.Verdict.Split():
		m.handler("split-brain")
	case out.Refuse == "":
		m.warn("split brain, settled " + out.Resolved + ": " + out.Verdict.String())
	}
}

func (m *Machine) carryOut(v generation.Verdict, first bool, st wire.States) {
	if v.Full() {
		m.markAll()
	}
	switch {
	case v.Source():
		m.becomeSource(first, st)
	case v.Target():
		m.becomeTarget(first)
	default:
		m.connected()
	}
}

// markAll takes every block for out of sync. That it was begun is durable first.
func (m *Machine) markAll() {
	m.full = true
	m.do(Store, SetAllBits)
	m.full = false
	m.do(Store)
}

// becomeSource sends the bitmap. Writes wait until the target has it.
func (m *Machine) becomeSource(first bool, st wire.States) {
	if m.primary() {
		m.freeze("exchanging bitmaps with the peer")
	}
	if m.path == pathSuspended { // the bitmap must tell what the target may lack
		m.path = pathGone
		m.do(PathGone)
	}
	m.conn = wire.WFBitMapS
	m.linkAt = m.env.Now
	if m.peer.disk > generation.Consistent {
		m.peer.disk = generation.Consistent
	}
	if first {
		m.sendState()
	} else if st.Conn <= wire.Connected {
		m.sendUUIDs()
		m.sendState()
	}
	m.do(SendBitmap)
}

func (m *Machine) becomeTarget(first bool) {
	m.conn = wire.WFBitMapT
	m.linkAt = m.env.Now
	if m.disk > generation.Outdated {
		m.disk = generation.Outdated
	}
	if !m.Healing() { // until its blocks are saved, a side that is given up stays what it is
		m.do(Store)
	}
	if !first {
		m.sendUUIDs()
	}
	m.sendState()
}

// onlyDisk: a peer that is Primary without a disk writes here alone from now on. A new generation makes this side the source
// when the peer has a disk again, and the resync is a full one: what the peer's disk lacks is then known whatever happens.
func (m *Machine) onlyDisk() {
	if m.adopted() || m.peer.role != wire.Primary || m.peer.disk >= generation.Inconsistent || m.disk != generation.UpToDate {
		return
	}
	if !m.uuids.NeedsNewCurrent() { // the bitmap counts from an older generation already
		if m.env.OOS < uint64(m.size+metadata.BytesPerBit-1)/metadata.BytesPerBit {
			m.markAll()
		}
		return
	}
	m.uuids = m.uuids.NewCurrent(m.env.Fresh, false)
	m.markAll()
	m.sendUUIDs()
	m.log("the peer is Primary without a disk: this is the only one; new current UUID " + m.uuids.String())
}

// connected: nothing to resync.
func (m *Machine) connected() {
	m.conn = wire.Connected
	if m.attached && m.disk > generation.Inconsistent && m.peer.disk == generation.UpToDate && m.peer.handshook {
		m.disk = generation.UpToDate
	}
	if m.attached {
		m.do(Store)
	}
	m.sendState()
	m.adjustPath()
	m.log("connected")
}

// adjustPath makes a Primary's writes depend on the peer, or not, after the states have changed without a resync.
func (m *Machine) adjustPath() {
	usable := m.conn == wire.Connected && (m.peer.handshook || !m.attached) && m.peer.disk > generation.Inconsistent
	switch {
	case usable && m.path != pathUp:
		m.pathUp()
	case !usable && m.path == pathUp && m.conn == wire.Connected && m.leaning():
		m.lostServer()
	case !usable && m.path == pathUp && m.conn == wire.Connected:
		m.goOnAlone()
	}
}

// pathUp: from here on the peer's acknowledgement is needed.
func (m *Machine) pathUp() {
	if m.primary() && m.adopted() && !m.peerInU() {
		m.askAdd()
	}
	up := Effect{Do: PathUp}
	if m.noData && (m.link.PeerInstance == "" || m.link.PeerInstance != m.instance) { // outside of a cluster none is told
		up.Word = 1
	}
	m.path = pathUp
	m.noData = false
	m.instance = m.link.PeerInstance
	m.emit(up)
	if !m.leaving { // the log has the last word
		m.thaw()
	}
}

// BitmapReceived: the peer's whole bitmap has been merged into ours.
func (m *Machine) BitmapReceived(e Env) {
	m.begin(e)
	switch m.conn {
	case wire.WFBitMapS:
		m.startSource()
	case wire.WFBitMapT:
		if m.Healing() {
			m.heal.held = true
			m.do(HealHold)
			return
		}
		m.do(SendBitmap)
		m.conn = wire.WFSyncUUID
	default:
		m.confused("bitmap")
	}
}

func (m *Machine) startSource() {
	set, name := m.uuids.StartSource(m.env.Fresh)
	m.uuids = set
	m.conn, m.lent = wire.SyncSource, true
	m.peer.disk, m.peer.finished = generation.Inconsistent, false
	m.do(WriteBitmap, Store)
	m.emit(Effect{Do: SendSyncUUID, Number: name})
	m.do(StartSource)
	m.path = pathUp
	m.instance = m.link.PeerInstance
	m.do(PathUp)
	m.thaw()
	m.settlePause()
	m.log(fmt.Sprintf("resync as SyncSource: %d KiB", m.env.OOS*4))
}

// PeerSyncUUID: P_SYNC_UUID came, the resync begins.
func (m *Machine) PeerSyncUUID(e Env, name uint64) {
	m.begin(e)
	if m.pending.verb == api.VolumeInvalidate && m.conn == wire.Connected { // overtook the peer's consent, on the other socket
		p := m.pending
		m.pending = request{}
		m.agreed(p)
	}
	if m.conn == wire.Connected && m.resize.resync { // of the blocks a larger device has more
		m.conn = wire.WFSyncUUID
	}
	m.resize.resync = false
	if m.conn != wire.WFSyncUUID {
		m.confused("P_SYNC_UUID")
		return
	}
	m.heal = healing{}
	m.handler("before-resync-target")
	m.uuids = m.uuids.StartTarget(name)
	m.disk = generation.Inconsistent
	m.conn = wire.SyncTarget
	m.do(WriteBitmap, Store)
	m.tookDisk()
	m.do(StartTarget)
	m.settlePause()
	m.log(fmt.Sprintf("resync as SyncTarget: %d KiB", e.OOS*4))
}

// TargetDone: every block is here, flushed, and the source has got all acknowledgements.
func (m *Machine) TargetDone(e Env) {
	m.begin(e)
	if !m.targeting() {
		return
	}
	m.uuids = m.uuids.FinishTarget(m.peer.uuids.Set, m.primary())
	m.peer.uuids.Set.Bitmap = 0
	m.disk, m.conn, m.crashed = generation.UpToDate, wire.Connected, false
	m.peer.disk = generation.UpToDate
	m.equalSets()
	m.do(EndResync, WriteBitmap, Store)
	m.handler("after-resync-target")
	m.sendState()
	m.adjustPath() // if it becomes Primary next, the peer must have its writes
	m.log("resync done; " + m.uuids.String())
}

// equalSets: after a complete resync both sides have the same generations, which no packet tells.
func (m *Machine) equalSets() {
	m.peer.uuids.Set, m.peer.uuids.Bits = m.uuids.WithRole(m.peer.role == wire.Primary), 0
}

// finishSource ends the resync once the target said so. By then it has acknowledged every block.
func (m *Machine) finishSource() {
	if m.env.OOS != 0 {
		m.confused(fmt.Sprintf("end of resync with %d blocks out of sync", m.env.OOS))
		return
	}
	m.uuids = m.uuids.FinishSource().WithRole(m.primary())
	m.peer.uuids.Set = m.uuids // the target has taken ours over
	m.conn, m.crashed, m.lent = wire.Connected, false, false
	m.peer.disk, m.peer.finished = generation.UpToDate, false
	if !m.adopted() { // an Outdated source is as good as its target now, as DRBD has it
		m.disk = generation.UpToDate
	}
	m.equalSets()
	m.do(ResyncDurable, EndResync, WriteBitmap, Store)
	if m.primary() && m.adopted() && !m.peerInU() {
		m.askAdd()
	}
	m.log("resync done; " + m.uuids.String())
}
