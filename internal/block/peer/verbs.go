package peer

import (
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// drbdsetup's exit codes of a refused state change.
const (
	codeRefused    = 11
	codeNoUpToDate = 17
)

// Refusal is the answer drbdsetup gives when a state change fails.
func (m *Machine) Refusal(r wire.StateReturn) api.VolumeReply {
	code := codeRefused
	if r == wire.NoUpToDateDisk {
		code = codeNoUpToDate
	}
	return api.VolumeReply{Code: code, Error: fmt.Sprintf("%d: State change failed: (%d) %s", m.set.Minor, r, r)}
}

// refusalFor is Refusal with the cluster's own reason.
func (m *Machine) refusalFor(r wire.StateReturn, why string) api.VolumeReply {
	reply := m.Refusal(r)
	reply.Error += ": " + why
	return reply
}

func (m *Machine) answer(id uint64, r api.VolumeReply) { m.emit(Effect{Do: Answer, ID: id, Reply: r}) }

// Discarding tells whether this side has been given up in a split brain, which its next handshake settles.
func (m *Machine) Discarding() bool { return m.discard }

// Connect: the operator wants a connection. discard gives this side up in a split brain; a volume in the log follows the log
// instead.
func (m *Machine) Connect(e Env, discard bool) {
	m.begin(e)
	m.wanted, m.reason, m.retryAt, m.discard = true, "", 0, discard && !m.adopted()
	if m.conn == wire.StandAlone {
		m.conn = wire.WFConnection
	}
}

// Adjusted: the options of the connection have changed; one that was refused for the old ones is tried again.
func (m *Machine) Adjusted(e Env) {
	m.begin(e)
	if m.wanted && m.reason != "" && !m.linkUp {
		m.reason, m.retryAt = "", 0
		m.conn = wire.WFConnection
	}
}

// Disconnect: the operator wants none. It is answered when the peer knows, or cannot.
func (m *Machine) Disconnect(e Env, id uint64) {
	m.begin(e)
	if no := m.MayDisconnect(); no.Code != 0 {
		m.answer(id, no)
		return
	}
	m.wanted = false
	m.endHeal("disconnected by the operator")
	m.pending = request{id: id, verb: api.VolumeDisconnect, deadline: e.Now + requestTimeout}
	if !m.linkUp || m.conn < wire.Connected {
		m.disconnected()
		return
	}
	m.emit(Effect{Do: SendConnChange, Change: wire.StateChange{Mask: wire.MaskConn, Value: wire.States{Conn: wire.Disconnecting}.Word()}})
}

// requestTimeout bounds the wait for a peer's answer to a change of state.
const requestTimeout = 2 * time.Second

// disconnected ends the connection, and answers once it is gone: what the operator asks for next must not meet a peer.
func (m *Machine) disconnected() {
	m.reason = ""
	if m.linkUp {
		m.pending.deadline = m.env.Now + requestTimeout
		m.emit(Effect{Do: CloseLink, Text: "disconnected by the operator"})
		return
	}
	p := m.pending
	m.pending = request{}
	m.conn = wire.StandAlone
	m.answer(p.id, api.VolumeReply{})
}

// Primary: the operator, or the cluster, wants this node to be Primary. epoch counts for a volume in the log.
func (m *Machine) Primary(e Env, id uint64, force bool, epoch uint64) {
	m.begin(e)
	p := request{id: id, verb: api.VolumePrimary, force: force, deadline: e.Now + requestTimeout}
	switch {
	case m.pending.verb != "" || m.resume != nil:
		m.answer(id, m.Refusal(wire.InTransientState))
	case m.adopted():
		m.primaryBound(p, epoch)
	default:
		m.primaryUnbound(p)
	}
}

// awaitDemotion waits for a peer that is Primary: word of its demotion may be on its way, or of its death. DRBD does so, for
// ping-timeout.
func (m *Machine) awaitDemotion(p request) {
	p.awaits, p.deadline = true, m.env.Now+block.PingTimeout
	m.pending = p
}

// peerDemoted goes on with a promotion that waited for it.
func (m *Machine) peerDemoted() {
	if p := m.pending; p.awaits && m.peer.role != wire.Primary {
		m.pending = request{}
		p.awaits, p.deadline = false, m.env.Now+requestTimeout
		m.primaryUnbound(p)
	}
}

// primaryUnbound follows DRBD's rules.
func (m *Machine) primaryUnbound(p request) {
	switch {
	case m.primary():
		m.answer(p.id, api.VolumeReply{})
	case !m.leansOnPeer() && (!m.attached || m.disk <= generation.Outdated && !p.force):
		m.answer(p.id, m.Refusal(wire.NoUpToDateDisk))
	case m.peer.role == wire.Primary:
		m.awaitDemotion(p)
	case m.targeting() || m.conn >= wire.WFBitMapS && m.conn <= wire.WFSyncUUID:
		m.answer(p.id, m.Refusal(wire.InTransientState))
	case m.conn >= wire.Connected:
		m.pending = p
		change := wire.StateChange{Mask: wire.MaskRole, Value: uint32(wire.Primary)}
		if !m.leansOnPeer() && m.disk < generation.UpToDate {
			change.Mask |= wire.MaskDisk
			change.Value = wire.States{Role: wire.Primary, Disk: generation.UpToDate}.Word()
		}
		m.emit(Effect{Do: SendChange, Change: change})
	default:
		m.promote(p)
	}
}

// primaryBound: a volume in the log is promoted in the log's epoch only (S3, S6).
func (m *Machine) primaryBound(p request, epoch uint64) {
	v := m.view
	switch {
	case epoch != v.Epoch || !m.isSelf(v.Primary):
		m.answer(p.id, m.refusalFor(wire.InTransientState,
			fmt.Sprintf("asked for epoch %d, the cluster's log is in epoch %d with %q as Primary", epoch, v.Epoch, v.Primary)))
	case !m.selfInU():
		m.answer(p.id, m.refusalFor(wire.NoUpToDateDisk, "this disk is not in the up-to-date set of the cluster's log"))
	case m.primary():
		m.answer(p.id, api.VolumeReply{})
	default:
		m.epoch = epoch
		m.emit(Effect{Do: StoreEpoch, Number: epoch})
		m.disk = generation.UpToDate // it may be Outdated by a resync that was announced and never began: the log knows better
		m.becomePrimary()
		m.answer(p.id, api.VolumeReply{})
	}
}

// promote carries a promotion out under DRBD's rules.
func (m *Machine) promote(p request) {
	leans := m.leansOnPeer()
	forced := p.force && m.disk < generation.UpToDate && !leans
	if !leans && (!m.attached || m.disk < generation.UpToDate && !forced) {
		m.answer(p.id, m.Refusal(wire.NoUpToDateDisk))
		return
	}
	alone := (m.conn < wire.Connected || m.peer.disk <= generation.Failed) && m.uuids.NeedsNewCurrent()
	if forced || alone {
		m.uuids = m.uuids.NewCurrent(m.env.Fresh, true)
	} else if m.conn < wire.Connected {
		m.rename()
	}
	if !leans {
		m.disk = generation.UpToDate
	}
	m.becomePrimary()
	m.expose()
	if m.joining() && m.path != pathUp {
		m.askAlone("the peer is not connected")
	}
	if m.linkUp && m.attached {
		m.sendUUIDs()
	}
	if m.linkUp {
		m.sendState()
	}
	m.answer(p.id, api.VolumeReply{})
}

// becomePrimary changes the role; the path's state follows from the connection's.
func (m *Machine) becomePrimary() {
	m.role = wire.Primary
	m.uuids = m.uuids.WithRole(true)
	m.addAsked, m.removing, m.alone, m.lostAt = false, false, false, m.env.Now
	m.leaving, m.left = false, false
	m.do(Store, PathReset)
	m.emit(Effect{Do: SaveRole, Number: m.epoch})
	if m.path == pathUp {
		m.do(PathUp)
	}
	if m.adopted() {
		m.instance = ""
		m.settlePromotion()
	}
	m.log("role( Secondary -> Primary )")
}

// settlePromotion: in a cluster, writes wait for every member of U. One that may differ, since this node stopped being
// Primary in the same epoch without a demotion, leaves U before anything else is acknowledged (S5).
func (m *Machine) settlePromotion() {
	if m.linkUp && m.conn >= wire.Connected {
		m.sendState()
	}
	switch {
	case m.peerInU() && (m.crashed || m.env.OOS > 0 || m.linkUp && m.peer.hasUUIDs && !m.peerDiskInU()):
		m.remove("its disk may hold other writes than this one")
		if m.linkUp {
			m.emit(Effect{Do: CloseLink, Text: "the peer must leave U before it can be resynced"})
		}
	case m.path == pathUp && m.peerInU():
		m.instance = m.link.PeerInstance
	case m.path == pathUp && m.conn == wire.Connected:
		m.instance = m.link.PeerInstance
		m.askAdd()
	case m.path == pathUp:
		m.instance = m.link.PeerInstance
	case m.peerInU():
		m.freeze("waiting for the connection to " + m.set.PeerNode)
	}
}

// Secondary: the operator, or the cluster, wants this node to be Secondary. Nobody uses the device any more.
func (m *Machine) Secondary(e Env, id uint64) {
	m.begin(e)
	switch {
	case m.pending.verb != "" || m.resume != nil:
		m.answer(id, m.Refusal(wire.InTransientState))
	case !m.primary():
		m.answer(id, api.VolumeReply{})
	default:
		m.pending = request{id: id, verb: api.VolumeSecondary, deadline: e.Now + block.DrainTimeout}
		m.do(PathFlush)
		m.checkDrained()
	}
}

// checkDrained ends a demotion once nothing is under way and the peer has confirmed all.
func (m *Machine) checkDrained() {
	if m.pending.verb != api.VolumeSecondary || !m.env.Idle || m.path == pathUp && m.env.Unconfirmed || m.Frozen() != "" {
		return
	}
	p := m.pending
	m.pending = request{}
	m.role = wire.Secondary
	m.crashed = false
	m.uuids = m.uuids.WithRole(false)
	m.removing, m.addAsked, m.alone, m.frozen, m.exposed = false, false, false, "", 0
	m.leaving, m.left = false, false
	m.do(WriteBitmap, Store)
	m.emit(Effect{Do: SaveRole})
	if m.linkUp {
		m.sendState()
	}
	m.answer(p.id, api.VolumeReply{})
	m.log("role( Primary -> Secondary )")
}

// Invalidate: the operator gives this disk's content up; it is resynced in full.
func (m *Machine) Invalidate(e Env, id uint64) {
	m.begin(e)
	switch {
	case m.pending.verb != "":
		m.answer(id, m.Refusal(wire.InTransientState))
	case !m.attached:
		m.answer(id, m.Refusal(wire.NoLocalDisk))
	case m.primary():
		m.answer(id, m.refusalFor(wire.NoUpToDateDisk, "it is Primary"))
	case m.adopted() && m.selfInU() && len(m.view.U) == 1:
		m.answer(id, m.refusalFor(wire.NoUpToDateDisk, "this is the only up-to-date replica"))
	case m.adopted() && m.selfInU():
		m.answer(id, m.refusalFor(wire.InTransientState, "this disk is in the up-to-date set; only a Primary takes it out"))
	case !m.adopted() && m.conn == wire.Connected && m.peer.disk == generation.UpToDate:
		m.ask(id, api.VolumeInvalidate, wire.StartingSyncT)
	case !m.adopted() && m.conn >= wire.Connected && m.disk > generation.Inconsistent && m.peer.disk < generation.UpToDate:
		m.answer(id, m.refusalFor(wire.NoUpToDateDisk, "the peer's disk is "+m.peer.disk.String()))
	default:
		m.giveUp()
		m.answer(id, api.VolumeReply{})
	}
}

// giveUp makes the disk a fresh one, as far as its generations go: a target of a full resync whatever its past.
func (m *Machine) giveUp() {
	m.disk, m.crashed = generation.Inconsistent, false
	m.uuids = generation.Set{Current: generation.JustCreated}
	m.full = true
	m.do(Store, SetAllBits)
	m.full = false
	m.do(Store)
	if m.linkUp {
		m.emit(Effect{Do: CloseLink, Text: "the disk was invalidated"})
	}
}

// fail ends being Primary at once: every request gets an error. The extents of the activity log may differ from the
// other replicas from now on.
func (m *Machine) fail(why string, disk bool) {
	if !m.primary() && m.resume == nil {
		return
	}
	m.warn("no longer Primary: " + why)
	m.role, m.resume = wire.Secondary, nil
	m.crashed = true
	m.frozen, m.removing, m.addAsked, m.alone = "", false, false, false
	m.leaving, m.left, m.noData = false, false, false
	m.path = pathGone
	m.uuids = m.uuids.WithRole(false)
	m.emit(Effect{Do: PathBreak, Text: why})
	if !m.linkUp {
		m.do(PathGone)
	}
	if disk && m.attached {
		m.do(MarkExtents, WriteBitmap, Store)
	}
	m.emit(Effect{Do: SaveRole})
	if m.linkUp {
		m.emit(Effect{Do: CloseLink, Text: why})
	}
	if m.pending.verb == api.VolumeSecondary {
		p := m.pending
		m.pending = request{}
		m.answer(p.id, api.VolumeReply{})
	}
}

// LeaseOver: the node's lease has ended; nothing may be completed any more (S6).
func (m *Machine) LeaseOver(e Env) {
	m.begin(e)
	m.fail("the node's lease has ended", true)
}

// Tick: time has passed, or requests have ended.
func (m *Machine) Tick(e Env) {
	m.begin(e)
	m.checkAbsence()
	m.checkDrained()
	if m.linkUp && (m.conn == wire.WFReportParams || m.conn >= wire.WFBitMapS && m.conn <= wire.WFSyncUUID) && e.Now-m.linkAt > m.handshakeLimit() {
		m.linkAt = e.Now
		m.emit(Effect{Do: CloseLink, Text: fmt.Sprintf("the peer did not get beyond %s in time", m.conn)})
	}
	if m.pending.verb == "" || e.Now < m.pending.deadline {
		return
	}
	p := m.pending
	switch p.verb {
	case api.VolumeDisconnect:
		m.disconnected()
		return
	case api.VolumeResize:
		m.endResize(codeFailed, "the peer did not change its size in time")
		m.resize = resizing{growTo: m.resize.growTo}
		return
	case api.VolumeSecondary:
		m.answer(p.id, m.refusalFor(wire.InTransientState, "requests are still under way ("+m.frozen+")"))
	case api.VolumePrimary:
		if p.awaits {
			m.answer(p.id, m.Refusal(wire.TwoPrimaries))
			break
		}
		fallthrough
	default:
		m.answer(p.id, m.refusalFor(wire.FailedByPeer, "the peer did not answer in time"))
	}
	m.pending = request{}
}

// handshakeLimit bounds the steps from a new connection to Connected or a resync. A foreign peer may be slow.
func (m *Machine) handshakeLimit() time.Duration {
	if m.view.Bound {
		return m.set.Handshake
	}
	return m.set.Handshake + block.ForeignPatience
}

// PeerChange: the peer asks whether it may change its state.
func (m *Machine) PeerChange(e Env, c wire.StateChange) {
	m.begin(e)
	asked := wire.StatesOf(c.Value)
	ret := wire.Success
	switch {
	case m.pending.verb == api.VolumePrimary && m.link.ResolveConflicts:
		ret = wire.ConcurrentChange
	case c.Mask&wire.MaskRole != 0 && asked.Role == wire.Primary && m.primary():
		ret = wire.TwoPrimaries
	case c.Mask&wire.MaskRole != 0 && asked.Role == wire.Primary && m.adopted():
		ret = wire.FailedByPeer
	case c.Mask&wire.MaskConn != 0:
		ret = m.permit(asked.Conn)
	}
	m.emit(Effect{Do: SendReply, Return: ret})
	if ret == wire.Success && c.Mask&wire.MaskConn != 0 {
		m.follow(asked.Conn)
	}
}

// PeerConnChange: the peer asks to change the connection's state; it may always leave.
func (m *Machine) PeerConnChange(e Env, c wire.StateChange) {
	m.begin(e)
	ret := wire.Success
	if wire.StatesOf(c.Value).Conn != wire.Disconnecting {
		ret = wire.NotSupported
	}
	m.emit(Effect{Do: SendConnReply, Return: ret})
	if ret == wire.Success {
		m.conn = wire.TearDown
	}
}

// ChangeReply: the peer's answer to our request.
func (m *Machine) ChangeReply(e Env, r wire.StateReturn) {
	m.begin(e)
	switch m.pending.verb {
	case api.VolumePrimary, api.VolumeInvalidate, api.VolumeInvalidateRemote, api.VolumeVerify:
	default:
		return
	}
	p := m.pending
	m.pending = request{}
	switch {
	case r < wire.Success:
		m.answer(p.id, m.Refusal(r))
	case p.verb == api.VolumePrimary:
		m.promote(p)
	default:
		m.agreed(p)
	}
}

// ConnChangeReply: the peer's answer to our leaving.
func (m *Machine) ConnChangeReply(e Env, _ wire.StateReturn) {
	m.begin(e)
	if m.pending.verb == api.VolumeDisconnect {
		m.disconnected()
	}
}

// tryResume makes a Primary again of a volume whose process was started again, if the log still says so.
func (m *Machine) tryResume() {
	if m.resume == nil || !m.attached || !m.hasView {
		return
	}
	r := m.resume
	if m.adopted() && (!r.Bound || r.Branch != m.view.Branch || r.Epoch != m.view.Epoch || !m.isSelf(m.view.Primary) || !m.selfInU()) && !m.adoptedSince(r) {
		m.fail("the process was started again and the cluster's log has moved on", true)
		return
	}
	m.resume = nil
	m.role = wire.Primary
	if !m.adopted() && !m.joining() && m.uuids.NeedsNewCurrent() {
		m.uuids = m.uuids.NewCurrent(m.env.Fresh, true)
	} else if !m.adopted() && !m.joining() {
		m.rename()
	}
	m.uuids = m.uuids.WithRole(true)
	m.log("Primary again after a restart of the process")
	m.do(Store)
	m.resumeAdd(r)
	m.emit(Effect{Do: SaveRole, Number: m.epoch})
	m.lostAt = m.env.Now
	switch {
	case m.required():
		m.remove("requests under way when the process ended may be on one disk only")
	case m.joining():
		m.askAlone("the process was started again")
	default:
		m.thaw()
	}
}

// adoptedSince: the volume was taken into the log, with this node as Primary, while the process was away.
func (m *Machine) adoptedSince(r *Resume) bool {
	return !r.Bound && m.isSelf(m.view.Primary) && m.selfInU()
}
