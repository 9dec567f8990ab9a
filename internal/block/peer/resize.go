package peer

import (
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/generation"
	"holdfast/internal/block/wire"
	"holdfast/internal/planted"
)

// Online resize. Both sides tell each other in P_SIZES what their disks have room for; the volume gets the smaller of the two, or
// less if the operator says so. A Primary changes its size after the peer has: what it acknowledges beyond the old end is
// then on a device that reaches as far (DRBD's kernel module takes part in that order as it is). Under DRBD's rules the new
// blocks are resynced, unless they are declared equal; in a cluster both sides fill them with zeros before they are
// offered, so that both disks stay UpToDate and in U.

// P_SIZES's flags (DRBD's dds_flags).
const (
	sizesForced  = 1 // the operator says that a peer which is not there has the room
	sizesNoSync  = 2 // the new blocks are not to be resynced
	sectorBytes  = 512
	kibPerSector = 2
)

// Word of a Grow effect: what becomes of new blocks.
const (
	GrowSynced = iota // they are equal already
	GrowFresh         // they are out of sync
	GrowZeroed        // they are to be zeros
)

// drbdsetup's errors of a resize.
const (
	errDiskTooSmall   = 111
	errResizeResync   = 130
	errNoPrimary      = 131
	errNoDisk         = 138
	errImplicitShrink = 170
)

// ResizeRequest is what an operator asks for. Sizes in bytes.
type ResizeRequest struct {
	Room       int64 // what the local disk has room for now
	User       int64 // --size; 0: as much as there is
	AssumePeer bool  // --assume-peer-has-space: the peer is not there
	AssumeSync bool  // --assume-clean
}

// resizeTimeout bounds the wait for a peer that changes its size, which may have to zero what is new.
const resizeTimeout = 50 * time.Second

// resizing is a resize under way.
type resizing struct {
	id     uint64 // of the operator's request, 0 for the peer's
	asked  bool   // the request waits for the peer
	user   uint64 // sectors
	flags  uint16
	growTo int64 // being carried out; 0 if nothing is
	resync bool  // the peer is about to begin the resync of new blocks
}

func (m *Machine) refuseResize(id uint64, code int, text string) {
	m.answer(id, api.VolumeReply{Code: codeFailed, Error: fmt.Sprintf("%d: Failure: (%d) %s", m.set.Minor, code, text)})
}

// Resize: the operator wants the device to have another size.
func (m *Machine) Resize(e Env, id uint64, r ResizeRequest) {
	m.begin(e)
	switch {
	case m.pending.verb != "" || m.resize.asked || m.resize.growTo != 0 || m.Frozen() != "" || m.Healing():
		m.answer(id, m.Refusal(wire.InTransientState))
	case !m.attached:
		m.refuseResize(id, errNoDisk, "Device does not have a disk-config")
	case m.conn > wire.Connected:
		m.refuseResize(id, errResizeResync, "Resize not allowed during resync.")
	case !m.primary() && m.peer.role != wire.Primary:
		m.refuseResize(id, errNoPrimary, "Need one Primary node to resize.")
	case m.conn == wire.Connected && m.peer.disk >= generation.Inconsistent:
		m.askResize(id, r)
	case r.AssumePeer && !m.view.Bound:
		m.resizeAlone(id, r)
	default:
		m.answer(id, m.refusalFor(wire.NeedConnection, "the peer and its disk have to be there, or --assume-peer-has-space outside of a cluster"))
	}
}

// agree is the size in bytes a volume gets, of what both disks have room for and what the operator wants (0: the most). The
// code is that of a refusal, 0 if there is none.
func (m *Machine) agree(room, peerRoom int64, user uint64) (size int64, code int, why string) {
	size = min(room, peerRoom)
	if u := int64(user) * sectorBytes; u > size {
		return 0, errDiskTooSmall, fmt.Sprintf("Low.dev. smaller than requested DRBD-dev. size: Requested disk size is too big (%d > %d)kiB",
			u/1024, size/1024)
	} else if u > 0 {
		size = u
	}
	if size < m.size && user == 0 {
		return 0, errImplicitShrink, fmt.Sprintf("Implicit device shrinking not allowed: there is room for %d KiB of %d; use --size=%ds for explicit shrink", size/1024, m.size/1024, size/sectorBytes)
	}
	return size, 0, ""
}

// askResize tells the peer what there is, and waits for what it says.
func (m *Machine) askResize(id uint64, r ResizeRequest) {
	user := uint64(r.User / sectorBytes)
	known := max(int64(m.peer.sizes.Disk)*sectorBytes, r.Room) // the peer's disk may have grown since it told
	if _, code, why := m.agree(r.Room, known, user); code != 0 {
		m.refuseResize(id, code, why)
		return
	}
	m.resize = resizing{id: id, asked: true, user: user}
	if r.AssumeSync || m.view.Bound {
		m.resize.flags |= sizesNoSync
	}
	m.pending = request{id: id, verb: api.VolumeResize, deadline: m.env.Now + resizeTimeout}
	m.sendSizes(true)
}

// sendSizes tells the peer our sizes; ask wants its own in return.
func (m *Machine) sendSizes(ask bool) {
	f := Effect{Do: SendSizes, Number: m.resize.user, Word: uint32(m.resize.flags)}
	if ask {
		f.ID = 1
	}
	m.emit(f)
}

func (m *Machine) resizeAlone(id uint64, r ResizeRequest) {
	size, code, why := m.agree(r.Room, r.Room, uint64(r.User/sectorBytes))
	if code != 0 {
		m.refuseResize(id, code, why)
		return
	}
	m.pending = request{id: id, verb: api.VolumeResize, deadline: m.env.Now + resizeTimeout}
	m.resize = resizing{id: id, user: uint64(r.User / sectorBytes), flags: sizesForced}
	how := uint32(GrowFresh)
	if r.AssumeSync {
		how = GrowSynced
	}
	m.grow(size, how)
}

func (m *Machine) grow(size int64, how uint32) {
	m.resize.growTo = size
	m.emit(Effect{Do: Grow, Number: uint64(size), Word: how})
}

// resizeSizes: P_SIZES of a peer that is connected; room is what our disk has room for.
func (m *Machine) resizeSizes(s wire.SizesInfo, room int64) {
	if !m.attached || m.resize.growTo != 0 || s.Disk == 0 {
		return
	}
	ours := m.resize.asked
	if !ours { // the peer's operator has asked
		m.resize = resizing{user: s.User, flags: s.DDSFlags, resync: m.resize.resync}
	}
	size, code, why := m.agree(room, int64(s.Disk)*sectorBytes, m.resize.user)
	same := int64(s.Current)*sectorBytes == size
	switch {
	case code != 0:
		if s.Current == 0 {
			m.sendSizes(false)
		}
		m.endResize(code, why)
	case m.primary() && size != m.size && !same && !planted.PrimaryGrowsFirst:
		m.peerGoesFirst(s, size)
	case size != m.size:
		m.grow(size, m.newBlocks())
	case s.Current == 0:
		m.resize.resync = !m.primary() && m.newBlocks() == GrowFresh
		m.sendSizes(false)
	case same:
		m.endResize(0, "")
	}
}

// peerGoesFirst: the peer's device has not the size it is to have. It is asked for it, or has been and could not.
func (m *Machine) peerGoesFirst(s wire.SizesInfo, size int64) {
	if s.Current == 0 {
		m.sendSizes(true)
		return
	}
	m.endResize(codeFailed, fmt.Sprintf("the peer's device has kept its %d KiB, %d KiB were expected; its log says why", s.Current/kibPerSector, size/1024))
}

// newBlocks tells what becomes of the blocks of a device that grows while it is connected.
func (m *Machine) newBlocks() uint32 {
	switch {
	case m.view.Bound:
		return GrowZeroed
	case m.resize.flags&sizesNoSync != 0:
		return GrowSynced
	}
	return GrowFresh
}

// Resized: the device and its metadata have their new size, or could not be given it because of err.
func (m *Machine) Resized(e Env, size int64, err error) {
	m.begin(e)
	if m.resize.growTo == 0 {
		return
	}
	m.resize.growTo = 0
	if err != nil {
		m.warn(fmt.Sprintf("the device keeps its size of %d KiB: %v", m.size/1024, err))
		if m.linkUp && m.conn == wire.Connected {
			m.sendSizes(false)
		}
		m.endResize(codeFailed, err.Error())
		return
	}
	grew := size > m.size
	m.log(fmt.Sprintf("the device has %d KiB now, it had %d", size/1024, m.size/1024))
	m.size = size
	fresh := grew && m.newBlocks() == GrowFresh
	if !m.linkUp || m.conn != wire.Connected {
		m.endResize(0, "")
		return
	}
	m.resize.resync = fresh && !m.primary()
	m.sendSizes(false)
	if m.primary() {
		if fresh && m.peer.disk >= generation.Inconsistent && m.disk == generation.UpToDate { // not one that is being attached
			m.startSource()
		}
		m.endResize(0, "")
		return
	}
	if m.resize.asked && int64(m.peer.sizes.Current)*sectorBytes == size {
		m.endResize(0, "")
	}
}

// endResize answers the operator, if it was ours.
func (m *Machine) endResize(code int, why string) {
	id, resync := m.resize.id, m.resize.resync
	m.resize = resizing{resync: resync}
	if m.pending.verb != api.VolumeResize || m.pending.id != id {
		return
	}
	m.pending = request{}
	switch code {
	case 0:
		m.answer(id, api.VolumeReply{})
	case codeFailed:
		m.answer(id, api.VolumeReply{Code: codeFailed, Error: fmt.Sprintf("%d: Failure: resize: %s", m.set.Minor, why)})
	default:
		m.refuseResize(id, code, why)
	}
}

// resizeLinkDown: the peer that took part is gone. What is being carried out is finished.
func (m *Machine) resizeLinkDown() {
	m.resize.resync = false
	if m.resize.asked && m.resize.growTo == 0 {
		m.endResize(codeFailed, "the connection was lost before the peer had changed its size; repeat it when it is back")
	}
}

// sizeAtConnect is the size a device gets when the sides meet, 0 if it keeps its own. Under DRBD's rules it grows to what both
// disks have room for; in a cluster, a replica outside U takes the size of the one in it, whose bitmap it is to be sent (it may
// be the larger one after a resize that was cut off). New blocks are out of sync.
func (m *Machine) sizeAtConnect(s wire.SizesInfo, room int64, user uint64) int64 {
	size := min(room, limited(s, user))
	switch {
	case s.Disk == 0:
		return 0
	case m.view.Bound:
		size = int64(s.Current) * sectorBytes
		if m.primary() || !m.adopted() || m.selfInU() || !m.peerInU() || size > room || size == m.size {
			return 0
		}
		return size
	case size <= m.size:
		return 0
	}
	return size
}

// growsThere tells whether the peer's smaller device is about to grow to the size of this one.
func (m *Machine) growsThere(s wire.SizesInfo, user uint64) bool {
	return s.Disk != 0 && limited(s, user) >= m.size
}

// limited is what the peer's disk has room for, as far as either operator lets the device be so large.
func limited(s wire.SizesInfo, user uint64) int64 {
	size := s.Disk
	for _, u := range []uint64{user, s.User} {
		if u != 0 {
			size = min(size, u)
		}
	}
	return int64(size) * sectorBytes
}
