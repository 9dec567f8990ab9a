package peer

import (
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
	"holdfast/internal/planted"
)

func (s Settings) withDefaults() Settings {
	if s.Absence == 0 {
		s.Absence = block.BoundAbsence
	}
	if s.WantRepeat == 0 {
		s.WantRepeat = block.WantRepeat
	}
	if s.Handshake == 0 {
		s.Handshake = block.HandshakeTimeout
	}
	return s
}

// LinkPolicy is the connection the volume should have. A connection made under another policy is to be closed.
type LinkPolicy struct {
	Wanted bool
	Bound  bool
	Branch uint64
	Epoch  uint64
	TLS    api.TLSFiles
}

// Link gives the policy now.
func (m *Machine) Link() LinkPolicy {
	p := LinkPolicy{Bound: m.view.Bound, Branch: m.view.Branch}
	if m.view.TLS != nil {
		p.TLS = *m.view.TLS
	}
	if m.adopted() {
		p.Epoch = m.view.Epoch
	}
	p.Wanted = m.wanted && (m.attached || !m.view.Bound || m.outOfU()) && m.hasView && !m.removing && !m.alone && m.resume == nil && (m.reason == "" || m.retryAt != 0 && m.env.Now >= m.retryAt)
	return p
}

// LinkUp: both connections to the peer are there and features and authentication agreed.
func (m *Machine) LinkUp(e Env, info LinkInfo) {
	m.begin(e)
	if m.path == pathSuspended && !m.adopted() && !m.noData && info.PeerInstance != m.instance {
		m.newInstance() // what it had not flushed may be lost
	}
	m.link, m.linkUp, m.linkAt = info, true, e.Now
	m.reason, m.retryAt = "", 0
	m.peer = remote{disk: generation.DUnknown}
	m.conn = wire.WFConnection
	if m.alone {
		m.emit(Effect{Do: CloseLink, Text: m.frozen})
		return
	}
	m.do(SendFirst)
	if m.attached {
		m.sendUUIDs()
	}
	m.sendState()
	m.conn = wire.WFReportParams
}

// newInstance: the peer of a volume that is not in the log is another process than the one whose acknowledgements are
// waited for, so that a resync is due.
func (m *Machine) newInstance() {
	if m.primary() && m.joining() {
		m.askAlone("the peer's process was started again")
		return
	}
	m.goOnAlone()
}

func (m *Machine) sendUUIDs() {
	u := wire.UUIDSet{Set: m.uuids}
	if m.discard {
		u.Flags |= wire.UUIDDiscardMyData
	}
	if m.crashed {
		u.Flags |= wire.UUIDCrashedPrimary
	}
	if m.disk == generation.Inconsistent {
		u.Flags |= wire.UUIDInconsistent
	}
	m.emit(Effect{Do: SendUUIDs, UUIDs: u})
}

// LinkDown: the connection is gone. silent tells that the peer did not answer for the whole of its time, so that there is
// no use in waiting for it.
func (m *Machine) LinkDown(e Env, why string, silent bool) {
	m.begin(e)
	if !m.linkUp {
		return
	}
	m.linkUp = false
	was := m.conn
	m.healLinkDown()
	m.resizeLinkDown()
	m.unlink()
	switch was {
	case wire.SyncSource, wire.SyncTarget, wire.PausedSyncS, wire.PausedSyncT:
		m.do(EndResync)
	case wire.VerifyS, wire.VerifyT:
		m.do(EndVerify)
	}
	m.log("connection lost: " + why)
	m.dropRequests()
	if m.primary() && (m.required() || m.nearlyAdopted()) {
		m.suspend(why, silent)
		return
	}
	if m.leaning() {
		m.lostServer()
		return
	}
	m.goOnAlone()
}

// nearlyAdopted: the log may be taking the volume in with both replicas at this moment, which ends the connection. A
// Primary then waits a little before it goes on alone, lest it acknowledges what a member of the first U lacks.
func (m *Machine) nearlyAdopted() bool {
	return m.joining() && m.path != pathGone
}

// unlink sets the states of a volume without a connection.
func (m *Machine) unlink() {
	m.conn = wire.StandAlone
	if m.wanted && m.reason == "" {
		m.conn = wire.WFConnection
	}
	m.peer.role, m.peer.disk = wire.RoleUnknown, generation.DUnknown
	m.peer.finished, m.peer.handshook = false, false
	m.peerPause = false
}

// dropRequests answers what waited for the peer.
func (m *Machine) dropRequests() {
	switch m.pending.verb {
	case api.VolumePrimary:
		p := m.pending
		m.pending = request{}
		m.promote(p)
	case api.VolumeDisconnect:
		m.disconnected()
	case api.VolumeInvalidate, api.VolumeInvalidateRemote, api.VolumeVerify:
		p := m.pending
		m.pending = request{}
		m.answer(p.id, m.Refusal(wire.NeedConnection))
	}
}

// suspend keeps acknowledgements back until the log has taken the peer out of U, or it is back (S4).
func (m *Machine) suspend(why string, silent bool) {
	if m.path == pathUp {
		m.path = pathSuspended
		m.do(PathSuspend)
		m.lostAt = m.env.Now
	}
	if silent {
		m.lostAt = m.env.Now - m.set.Absence
	}
	m.freeze(fmt.Sprintf("connection to %s lost (%s)", m.set.PeerNode, why))
	m.checkAbsence()
}

// goOnAlone drops the peer under DRBD's rules: what it may lack is out of sync, and a Primary begins a new generation.
// Within a cluster the generations are the log's.
func (m *Machine) goOnAlone() {
	had := m.path != pathGone
	m.path = pathGone
	m.do(PathHold, PathGone)
	if m.primary() && !m.adopted() && had && m.uuids.NeedsNewCurrent() && m.disk == generation.UpToDate {
		m.uuids = m.uuids.NewCurrent(m.env.Fresh, true)
		m.log("new current UUID " + m.uuids.String())
	}
	if m.primary() && had && m.disk == generation.UpToDate {
		m.rename()
	}
	if m.attached {
		m.do(WriteBitmap, Store)
	}
	if m.frozen == "" || m.resume == nil {
		m.frozen = ""
		m.do(PathRelease)
	}
}

// rename begins a new generation of a source whose target may have finished the resync without word of it.
func (m *Machine) rename() {
	if !planted.SourceKeepsGeneration && m.attached && !m.adopted() && (m.lent || m.uuids.Lent()) {
		m.uuids = m.uuids.Rename(m.env.Fresh, true)
		m.log("new current UUID " + m.uuids.String() + ": the resync's target may have the former one")
	}
}

// refuse drops the connection for good: the operator has to look. Within a cluster it is tried again, since the next view
// may settle it.
func (m *Machine) refuse(why string) {
	m.reason, m.retryAt = why, 0
	if m.adopted() {
		m.retryAt = m.env.Now + contradictionRetry
	}
	m.warn(why)
	m.endHeal(why)
	m.emit(Effect{Do: CloseLink, Text: why})
}

// contradictionRetry is the pause before a connection is tried again that the view did not allow.
const contradictionRetry = time.Second

// Refused: the peer that answered is not the one configured; the operator has to look.
func (m *Machine) Refused(e Env, why string) {
	m.begin(e)
	m.refuse(why)
	if !m.linkUp {
		m.unlink()
	}
}

// confused drops the connection because the peer did something that makes no sense now.
func (m *Machine) confused(what string) {
	m.emit(Effect{Do: CloseLink, Text: fmt.Sprintf("protocol error: %s while %s", what, m.conn)})
}

// PeerProtocol: P_PROTOCOL came; ours are the settings we sent.
func (m *Machine) PeerProtocol(e Env, ours, theirs wire.ProtocolInfo) {
	m.begin(e)
	differ := func(ours, theirs uint32) bool { return !generation.Policy(ours).Agrees(generation.Policy(theirs)) }
	m.policies.ZeroPri, m.policies.OnePri = generation.Policy(ours.AfterSB0Pri), generation.Policy(ours.AfterSB1Pri)
	field := ""
	switch {
	case ours.Protocol != theirs.Protocol:
		field = "protocol"
	case differ(ours.AfterSB0Pri, theirs.AfterSB0Pri):
		field = "after-sb-0pri"
	case differ(ours.AfterSB1Pri, theirs.AfterSB1Pri):
		field = "after-sb-1pri"
	case differ(ours.AfterSB2Pri, theirs.AfterSB2Pri):
		field = "after-sb-2pri"
	case ours.ConnFlags&theirs.ConnFlags&wire.ConnDiscardMyData != 0:
		m.refuse("both sides are to be discarded: connect one of them without --discard-my-data")
		return
	case ours.TwoPrimaries != theirs.TwoPrimaries:
		field = "allow-two-primaries"
	case ours.IntegrityAlg != theirs.IntegrityAlg:
		field = "data-integrity-alg"
	}
	if field != "" {
		m.refuse("incompatible " + field + " settings: make the resource's file equal on both nodes")
	}
}

// PeerSizes: P_SIZES came; room is what the local disk has room for, in bytes, and user the size it is to have, in sectors,
// 0 for as much as there is.
func (m *Machine) PeerSizes(e Env, s wire.SizesInfo, room int64, user uint64) {
	m.begin(e)
	m.peer.sizes, m.peer.hasSizes = s, true
	switch {
	case m.conn >= wire.Connected:
		if m.conn == wire.Connected {
			m.resizeSizes(s, room)
		}
		return
	case !m.attached || s.Disk == 0 && s.Current == 0:
		return
	}
	if size := m.sizeAtConnect(s, room, user); size != 0 {
		m.resize = resizing{user: s.User}
		m.grow(size, GrowFresh)
		return
	}
	theirs := s.Current
	if theirs == 0 {
		theirs = s.Disk
		if s.User != 0 {
			theirs = min(theirs, s.User)
		}
	}
	ours := uint64(m.size / 512)
	switch {
	case theirs >= ours, m.growsThere(s, user): // a peer whose disk is larger makes its device smaller, or refuses
	case generation.Same(m.uuids.Current, generation.JustCreated) && !m.primary() && m.disk == generation.Inconsistent:
		m.size = int64(theirs) * 512
		m.emit(Effect{Do: Resize, Number: theirs * 512})
		m.log(fmt.Sprintf("the device gets the size of the peer's: %d KiB", theirs/2))
	default:
		m.refuse(fmt.Sprintf("the peer's device has %d sectors, this one %d: give both the same size, with `size` in the disk section", theirs, ours))
	}
}

// PeerParams: P_SYNC_PARAM came; ours are the settings we sent. What both digest with must be the same.
func (m *Machine) PeerParams(e Env, ours, theirs wire.SyncParams) {
	m.begin(e)
	switch {
	case m.conn != wire.WFReportParams:
	case ours.VerifyAlg != theirs.VerifyAlg:
		m.refuse(fmt.Sprintf("different verify-alg settings: %q here, %q on the peer", ours.VerifyAlg, theirs.VerifyAlg))
	case ours.CsumsAlg != theirs.CsumsAlg:
		m.refuse(fmt.Sprintf("different csums-alg settings: %q here, %q on the peer", ours.CsumsAlg, theirs.CsumsAlg))
	}
}

// SetPolicies tells what of the split-brain policies P_PROTOCOL does not carry.
func (m *Machine) SetPolicies(always bool) { m.policies.Always = always }

// PeerUUIDs: P_UUIDS came.
func (m *Machine) PeerUUIDs(e Env, u wire.UUIDSet) {
	m.begin(e)
	m.peer.uuids, m.peer.hasUUIDs = u, true
	m.expose()
	m.skipInitialSync(u)
}

// skipInitialSync: the peer's operator says that both blank disks are equal (new-current-uuid --clear-bitmap).
func (m *Machine) skipInitialSync(u wire.UUIDSet) {
	if m.conn != wire.Connected || u.Flags&wire.UUIDSkipInitial == 0 || m.adopted() || !generation.Same(m.uuids.Current, generation.JustCreated) {
		return
	}
	m.uuids = generation.Set{Current: u.Set.Current}.WithRole(m.primary())
	m.disk, m.peer.disk, m.peer.handshook = generation.UpToDate, generation.UpToDate, true
	m.do(ClearAllBits, Store)
	m.log("the initial resync is skipped: the peer's operator declares both disks equal")
	m.adjustPath()
}
