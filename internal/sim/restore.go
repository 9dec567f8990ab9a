package sim

import (
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/raftlog"
)

// copies are what somebody keeps of a host's disks: its log's, and its replica's.
type copies struct {
	log     *raftlog.Disk
	replica []page
	device  string
	adds    uint64 // how often the replica had entered U by then
}

// keepCopies takes snapshots of a host's disks; of its replica while that is in U.
func (h *host) keepCopies() {
	h.w.note(h, "snapshot of its disks")
	h.copies = copies{log: h.log.Copy()}
	if h.disk != nil && h.disk.in(h.w.truth.volume) && h.disk.failing == nil && !h.disk.full {
		h.copies.replica, h.copies.device, h.copies.adds = slices.Clone(h.disk.now), h.disk.device, h.adds
	}
}

// restoreLog puts a voter's disk back while that takes no promise back: it has voted for nobody since, and every other voter
// has all it has confirmed since. More is not promised (docs/SAFETY.md). It is down meanwhile, for as long as given.
func (h *host) restoreLog(down time.Duration) bool {
	w, c := h.w, h.copies.log
	if c == nil || w.truth.view == nil || !w.voting() || w.voters() < 3 || h.log.Promises(c) {
		return false
	}
	index, term := h.log.Last()
	for _, o := range w.hosts {
		if i, t := o.log.Last(); w.belongs(o) && (i != index || t != term) {
			return false
		}
	}
	w.note(h, "log put back")
	h.powerOff()
	h.log.Restore(c)
	h.forgot = index
	w.undo(down, "boot", h.boot)
	return true
}

// lacks tells whether the log was put back and does not have yet what it had confirmed before: it counts as lost.
func (h *host) lacks() bool {
	index, _ := h.log.Last()
	return index < h.forgot
}

// restoreReplica puts a replica back to a generation that has left U since, while the other replica is a good one.
func (h *host) restoreReplica(down time.Duration) bool {
	w, c := h.w, h.copies
	if c.replica == nil || c.device != h.disk.device || h.adds == c.adds || !w.expendable(h) || h.mayBeAdded() {
		return false
	}
	w.note(h, "disk put back")
	w.truth.blank = h
	h.powerOff()
	h.disk.putBack(c.replica, w.truth.volume)
	w.undo(down, "boot", h.boot)
	return true
}

// mayBeAdded: its replica is out of U, and a proposal to take it in may be under way, by the generation that it has now.
func (h *host) mayBeAdded() bool {
	if _, in := h.w.truth.volume.Replica(h.name); in {
		return false
	}
	other := h.w.data[1-h.index]
	return h.volumeProc.alive || other.daemon == nil || other.daemon.busy
}

// nextRestore draws snapshots and their use, for as long as there are faults.
func (w *World) nextRestore() {
	w.undo(w.between(100*time.Millisecond, 1500*time.Millisecond), "restore", func() {
		w.nextRestore()
		if w.chance(5) {
			w.anyHost().keepCopies()
			return
		}
		list, restore := w.data, (*host).restoreReplica
		if w.chance(2) {
			list, restore = w.hosts, (*host).restoreLog
		}
		for _, i := range w.rng.Perm(len(list)) {
			if h := list[i]; h.copies.log == nil || h.disk != nil && h.copies.replica == nil {
				h.keepCopies()
			} else if restore(h, w.length()) {
				return
			}
		}
	})
}

// attend is the operator who does what a refused volume asks for, where a disk was put back.
func (w *World) attend() {
	w.after(2*time.Second, "operator", w.attend)
	for _, h := range w.data {
		d := h.daemon
		if h.disk.restored && d != nil && d.status != nil && strings.Contains(d.status.Reason, "invalidate") {
			d.verb(api.VolumeDo{Verb: api.VolumeInvalidate}, func(api.VolumeReply) {})
		}
	}
}
