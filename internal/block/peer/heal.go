package peer

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/wire"
)

// A heal (S8) is connect --discard-my-data that stops between the exchange of the bitmaps and the resync: the target has the
// peer's bitmap merged into its own and has not sent its own, so that both sides are what they were, and the target knows
// what differs. The shell saves these blocks and calls HealSaved; only then the resync begins. Whatever fails before leaves
// this side as it was, StandAlone.

// healing is the heal under way.
type healing struct {
	on   bool
	look bool // only find out
	disk generation.DiskState
	// held: the blocks out of sync are being saved, over this connection.
	held bool
	// saved: all that was known to differ has been saved once, and the peer may have begun its part of the resync.
	saved bool
}

// Healing tells whether this side is being given up and not overwritten yet.
func (m *Machine) Healing() bool { return m.heal.on }

// MayHeal tells whether this side can be given up, or a heal of it undone: Code is 0 if so.
func (m *Machine) MayHeal() api.VolumeReply {
	switch {
	case m.adopted() && !m.leftOut():
		return m.refusalFor(wire.FailedByPeer, "the volume is in a cluster's log, which says which replica is good")
	case m.pending.verb != "" || m.resume != nil || m.heal.on:
		return m.Refusal(wire.InTransientState)
	case !m.attached:
		return m.Refusal(wire.NoLocalDisk)
	case m.primary():
		return m.refusalFor(wire.DeviceInUse, "this side is Primary and cannot be given up: stop what uses it, then drbdadm secondary")
	case m.linkUp && (!m.adopted() || m.conn >= wire.Connected):
		return m.refusalFor(wire.InTransientState, fmt.Sprintf("the peer is connected (%s): there is no split brain", m.conn))
	}
	return api.VolumeReply{}
}

// leftOut tells whether the cluster's log has the peer's disk in U and not this one, so that the two may be in a split brain: this
// host had a branch of the log of its own, or its disk was put back, or written to outside the cluster.
func (m *Machine) leftOut() bool { return m.attached && !m.selfInU() && m.peerInU() }

// Heal gives this side of a split brain up, or only looks what that would mean. It follows MayHeal.
func (m *Machine) Heal(e Env, look bool) api.VolumeReply {
	m.begin(e)
	if r := m.MayHeal(); r.Code != 0 {
		return r
	}
	if m.disk < generation.Outdated {
		return m.refusalFor(wire.NoUpToDateDisk, fmt.Sprintf("this disk is %s: drbdadm connect resyncs it, there is nothing on it to save", m.disk))
	}
	m.heal = healing{on: true, look: look, disk: m.disk}
	if m.linkUp { // the log's rules try again and again, in the other sense
		m.emit(Effect{Do: CloseLink, Text: "this side is given up"})
	}
	m.reach()
	return api.VolumeReply{}
}

// reach looks for the peer, with this side given up.
func (m *Machine) reach() {
	m.wanted, m.reason, m.retryAt, m.discard = true, "", 0, true
	if m.conn == wire.StandAlone {
		m.conn = wire.WFConnection
	}
}

// healVerdict tells whether the handshake may go on to the resync a heal is about: this side the target, because it was given
// up and for no other reason.
func (m *Machine) healVerdict(out generation.Outcome) bool {
	switch {
	case m.adopted() && !m.leftOut():
		m.refuse("not healed: the volume has been taken into a cluster")
	case !out.Verdict.Target() || !out.Split && !m.heal.saved:
		m.refuse(fmt.Sprintf("not healed: the two sides are not in a split brain that giving this one up would settle (%s); drbdadm connect", out.Verdict))
	case m.heal.look:
		f := Effect{Do: HealFound, Number: m.peer.uuids.Bits}
		if out.Verdict.Full() {
			f.Word = 1
		}
		m.emit(f)
		m.heal, m.discard, m.wanted = healing{}, false, false
		m.emit(Effect{Do: CloseLink, Text: "what a heal would do has been found out"})
	default:
		return true
	}
	return false
}

// HealSaved: every block that is out of sync has been saved durably. The resync goes on, if the connection still waits.
func (m *Machine) HealSaved(e Env) {
	m.begin(e)
	if !m.heal.held || !m.linkUp {
		return
	}
	m.heal.held, m.heal.saved = false, true
	m.uuids = m.uuids.KeepBase() // else the two are unrelated if the connection is lost before P_SYNC_UUID is here
	m.do(Store, SendBitmap)
	m.conn = wire.WFSyncUUID
	m.linkAt = e.Now
}

// HealPause ends the connection, because saving takes longer than the peer would wait; HealResume makes another.
func (m *Machine) HealPause(e Env) {
	m.begin(e)
	m.wanted = false
	m.emit(Effect{Do: CloseLink, Text: "the losing side's blocks are saved first"})
}

// HealResume: what was known to differ is saved; the peer may have written more meanwhile.
func (m *Machine) HealResume(e Env) {
	m.begin(e)
	if m.heal.on {
		m.reach()
	}
}

// HealFailed: the blocks cannot be saved.
func (m *Machine) HealFailed(e Env, why string) {
	m.begin(e)
	if !m.heal.on {
		return
	}
	m.wanted = false
	m.refuse(why)
	if !m.linkUp {
		m.unlink()
	}
}

// endHeal gives a heal up. The connection goes with it: the peer may have been told to begin.
func (m *Machine) endHeal(why string) {
	if !m.heal.on {
		return
	}
	if m.linkUp {
		m.emit(Effect{Do: CloseLink, Text: why})
	}
	m.giveBack()
	m.heal, m.discard = healing{}, false
	m.emit(Effect{Do: HealEnded, Text: why})
}

// giveBack makes the disk again what it was before the handshake called it Outdated: nothing was changed on it.
func (m *Machine) giveBack() {
	if m.disk == generation.Outdated {
		m.disk = m.heal.disk
	}
}

// healLinkDown: the connection was lost before the resync began. The next one begins anew.
func (m *Machine) healLinkDown() {
	if m.heal.on {
		m.giveBack()
		m.heal.held, m.discard = false, true
	}
}

// UndoBegin takes this side for a blank disk while saved blocks are written back to it: should that be broken off, it is
// resynced in full.
func (m *Machine) UndoBegin(e Env) api.VolumeReply {
	m.begin(e)
	r := m.MayHeal()
	if r.Code == 0 && m.conn != wire.StandAlone {
		r = m.refusalFor(wire.InTransientState, "the peer must not be reached for meanwhile: drbdadm disconnect")
	}
	if r.Code == 0 {
		m.giveUp()
	}
	return r
}

// UndoEnd: all saved blocks are on the disk durably, which is again what it was with these generations and flags. Every block
// stays out of sync, since what the peer has written meanwhile is not known here: the bitmap counts from no generation, and the
// one it counted from is history.
func (m *Machine) UndoEnd(e Env, uuids generation.Set, flags metadata.Flags) {
	m.begin(e)
	if !m.attached {
		return
	}
	sb := metadata.Superblock{Flags: flags}
	m.uuids, m.disk = uuids.Clear().WithRole(false), sb.Disk()
	if m.disk == generation.Consistent {
		m.disk = generation.UpToDate
	}
	m.crashed = flags&(metadata.PrimaryInd|metadata.CrashedPrimary) != 0
	m.do(Store)
	m.log("the heal was undone; " + m.uuids.String())
}
