package peer

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
)

// Disk is the state people see: in a cluster a disk is UpToDate only if U has it.
func (m *Machine) Disk() generation.DiskState {
	if m.disk == generation.UpToDate && m.adopted() && !m.selfInU() {
		return generation.Outdated
	}
	return m.disk
}

// PeerDisk is the same for the peer's.
func (m *Machine) PeerDisk() generation.DiskState {
	if m.peer.disk == generation.UpToDate && m.adopted() && m.linkUp && !m.peerDiskInU() {
		return generation.Outdated
	}
	return m.peer.disk
}

// Role is the role now.
func (m *Machine) Role() wire.Role { return m.role }

// Conn is the connection state now.
func (m *Machine) Conn() wire.Conn { return m.conn }

// IsPrimary tells whether requests may be served.
func (m *Machine) IsPrimary() bool { return m.primary() }

// Resuming tells that requests must wait, reads too: an earlier process was Primary and the log's word on it is awaited, or
// the log may have taken the volume in, and another node may be Primary before this one knows.
func (m *Machine) Resuming() bool {
	return m.resume != nil || m.primary() && m.joining() && m.frozen != ""
}

// HasDisk tells whether there is a disk.
func (m *Machine) HasDisk() bool { return m.attached }

// Bound tells whether the log's rules, and so the lease, hold.
func (m *Machine) Bound() bool { return m.adopted() }

// AfterCrash tells whether a resync that begins follows a crash, of either side.
func (m *Machine) AfterCrash() bool {
	return m.crashed || m.peer.uuids.Flags&wire.UUIDCrashedPrimary != 0
}

// Frozen is why acknowledgements wait, empty when they do not.
func (m *Machine) Frozen() string {
	if m.frozen == "" && m.userHold {
		return heldByUser
	}
	return m.frozen
}

// UUIDs are the generations now, Device the disk's identity.
func (m *Machine) UUIDs() generation.Set { return m.uuids }

// Branch is the branch of the cluster's log that the last view was of; false if there was none.
func (m *Machine) Branch() (branch uint64, ok bool) { return m.view.Branch, m.hasView }

// Epoch is the epoch stored durably: that of the tenure while the volume is Primary.
func (m *Machine) Epoch() uint64 { return m.epoch }

// Device is the disk's random identity.
func (m *Machine) Device() uint64 { return m.device }

// PeerFeatures are the feature flags agreed with the peer.
func (m *Machine) PeerFeatures() uint32 { return m.link.Features }

// Busy tells whether an operator's request waits for something.
func (m *Machine) Busy() bool { return m.pending.verb != "" }

// flags are the six characters of /proc/drbd: requests suspended; resync waits for another, is paused by the peer, by the
// operator; congestion; activity log suspended.
func (m *Machine) flags() string {
	f := []byte("r-----")
	for i, on := range []bool{m.Frozen() != "", false, m.peerPause, m.userPause} {
		if on {
			f[i] = "sapu"[i]
		}
	}
	return string(f)
}

// FillStatus writes what the machine knows into s.
func (m *Machine) FillStatus(s *api.VolumeStatus) {
	s.Conn, s.Role, s.PeerRole = m.conn.String(), m.role.String(), m.peer.role.String()
	s.Disk, s.PeerDisk = m.Disk().String(), m.PeerDisk().String()
	s.Flags = m.flags()
	s.DeviceUUID = fmt.Sprintf("%016X", m.device)
	s.CurrentUUID, s.BitmapUUID = Hex(m.uuids.Current), Hex(m.uuids.Bitmap)
	s.History = [2]string{Hex(m.uuids.History[0]), Hex(m.uuids.History[1])}
	s.CrashedPrimary = m.crashed
	if m.linkUp {
		s.PeerUUID = Hex(m.peer.uuids.Set.Current)
		if m.link.PeerDevice != 0 {
			s.PeerDeviceUUID = fmt.Sprintf("%016X", m.link.PeerDevice)
		}
	}
	s.Bound, s.Adopted = m.hasView && m.view.Bound, m.adopted()
	s.Branch, s.Epoch, s.Version = m.view.Branch, m.view.Epoch, m.view.Version
	s.Resuming = m.resume != nil
	s.Frozen = m.Frozen()
	s.Reason = m.reason
}
