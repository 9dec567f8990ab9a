package peer

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/wire"
)

// drbdsetup's exit code, and the kernel's errors, of a request that changes nothing.
const (
	codeFailed      = 10
	errPauseIsSet   = 134
	errPauseIsClear = 135
)

// PauseSync: the operator wants no resync for now (pause-sync), or again (resume-sync). Blocks under way are finished.
func (m *Machine) PauseSync(e Env, id uint64, pause bool) {
	m.begin(e)
	if m.userPause == pause {
		code, word := errPauseIsClear, "cleared"
		if pause {
			code, word = errPauseIsSet, "set"
		}
		m.answer(id, api.VolumeReply{Code: codeFailed, Error: fmt.Sprintf("%d: Failure: (%d) Sync-pause flag is already %s", m.set.Minor, code, word)})
		return
	}
	m.userPause = pause
	m.settlePause()
	if m.linkUp && m.conn >= wire.Connected {
		m.sendState()
	}
	m.answer(id, api.VolumeReply{})
}

// settlePause makes the connection's state say whether the resync goes on.
func (m *Machine) settlePause() {
	paused := m.userPause || m.peerPause
	switch {
	case paused && m.conn == wire.SyncSource:
		m.conn = wire.PausedSyncS
	case paused && m.conn == wire.SyncTarget:
		m.conn = wire.PausedSyncT
	case !paused && m.conn == wire.PausedSyncS:
		m.conn = wire.SyncSource
	case !paused && m.conn == wire.PausedSyncT:
		m.conn = wire.SyncTarget
	}
}

// syncing tells whether a resync is under way, paused or not.
func (m *Machine) syncing() bool { return m.sourcing() || m.targeting() }

func (m *Machine) sourcing() bool  { return m.conn == wire.SyncSource || m.conn == wire.PausedSyncS }
func (m *Machine) targeting() bool { return m.conn == wire.SyncTarget || m.conn == wire.PausedSyncT }

// Syncing tells whether a resync is under way in either direction, paused or not.
func (m *Machine) Syncing() bool { return m.syncing() }

// SuspendIO: the operator freezes the application's requests (suspend-io), or lets them go on (resume-io).
func (m *Machine) SuspendIO(e Env, id uint64, suspend bool) {
	m.begin(e)
	m.userHold = suspend
	switch {
	case suspend:
		m.do(PathHold)
	case m.noData: // the operator does not want to wait for a disk: what waits fails
		m.noData = false
		m.goOnAlone()
	case m.frozen == "":
		m.do(PathRelease)
	}
	if m.linkUp && m.conn >= wire.Connected {
		m.sendState()
	}
	m.answer(id, api.VolumeReply{})
}

// heldByUser is what Frozen says while the operator has suspended requests.
const heldByUser = "suspended by the operator: drbdadm resume-io"
