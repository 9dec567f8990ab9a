package sim

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"holdfast/internal/cluster/state"
)

// truth is the log as the member that has applied most of it sees it.
type truth struct {
	founders []uint64
	index    uint64
	view     *state.View
	volume   state.Volume
	tenure   uint64 // epoch of the last tenure that a volume process began
	tenureOf *host
	// forgotten: an operator has taken the volume out of the log.
	forgotten bool
	// adding: an operator has begun to add the late witness.
	adding bool
	// from is the truth of the branch that this one continues; owner the host that opened it, wrote that it has acknowledged a
	// write since, settled that a heal has saved that.
	from           *truth
	owner          *host
	wrote, settled bool
	wiped          uint64 // index at which a log was wiped last
	blank          *host  // whose disk was replaced, or given up before there was a U, and is not in U again
	// asked is the record at which each data host asked last for what takes the other out of U.
	asked [2]recordVersion
	// prints are hashes of the state by index, for all that have applied it.
	prints map[uint64]uint64
}

// recordVersion tells one record of the volume from another, as the log's compare-and-set does.
type recordVersion struct{ epoch, version uint64 }

// saw takes in what a member of the log has applied: two members at the same index have the same state, and each change
// is judged once.
func (w *World) saw(d *daemon) {
	view := d.view()
	if view.Index == 0 || view == d.seen {
		return
	}
	d.seen = view
	defer w.in(w.strandOf(view.Cluster.Lineage, d.h))()
	d.h.branch = view.Cluster.Branch
	t := w.truth
	w.compareStates(d.h, view)
	if view.Index <= t.index {
		return
	}
	before, old := t.volume, t.view
	if old == nil {
		w.judgeFork(view)
	}
	t.index, t.view, t.volume = view.Index, view, view.Volumes[volumeName]
	w.judgeVolume(before, t.volume)
	if old != nil {
		w.judgeLeases(old, view)
	}
}

// compareStates: state machines that have applied the same entries are equal.
func (w *World) compareStates(h *host, view *state.View) {
	t := w.truth
	if t.prints == nil {
		t.prints = map[uint64]uint64{}
	}
	sum := fingerprint(view)
	if known, ok := t.prints[view.Index]; ok {
		if known != sum {
			w.fail("log", "%s has another state than others at index %d", h.name, view.Index)
		}
		return
	}
	t.prints[view.Index] = sum
	delete(t.prints, view.Index-4096)
}

func fingerprint(view *state.View) uint64 {
	h := fnv.New64a()
	enc := json.NewEncoder(h)
	for _, part := range []any{view.Members, view.Leases, view.Volumes} {
		if err := enc.Encode(part); err != nil {
			panic(err)
		}
	}
	return h.Sum64()
}

// judgeVolume: U is never empty, epochs and versions never go back, only the end of a tenure begins another (S1, S3, S4).
func (w *World) judgeVolume(before, now state.Volume) {
	if !now.Adopted {
		return
	}
	if !before.Adopted && now.Primary != "" { // its tenure goes on
		w.truth.tenure, w.truth.tenureOf = now.Epoch, w.host(now.Primary)
	}
	if !before.Adopted && now.Primary == "" { // they are equal: what one has lost with its power, the other has given up
		weak := w.data[0].disk.weak || w.data[1].disk.weak
		w.data[0].disk.weak, w.data[1].disk.weak = weak, weak
	}
	if len(now.U) == 0 {
		w.fail("S1", "U is empty")
	}
	if now.Epoch < before.Epoch || now.Version < before.Version {
		w.fail("S3", "the volume went from epoch %d, version %d to %d, %d", before.Epoch, before.Version, now.Epoch, now.Version)
	}
	if before.Adopted && now.Epoch == before.Epoch && before.Primary != now.Primary && now.Primary != "" {
		w.fail("S3", "Primary changed from %q to %q within epoch %d", before.Primary, now.Primary, now.Epoch)
	}
	for _, h := range w.data {
		_, was := before.Replica(h.name)
		_, is := now.Replica(h.name)
		switch {
		case is && !was:
			w.stats.Adds++
			h.adds++
			if w.truth.blank == h {
				w.truth.blank = nil
			}
			w.note(h, "in U", "epoch", now.Epoch, "version", now.Version)
			if h.disk.in(now) {
				w.judgeDisk("S5", h, "enters U")
				w.judgeSaved(h)
			}
		case was && !is:
			w.stats.Removes++
			w.note(h, "out of U", "epoch", now.Epoch, "version", now.Version)
		}
	}
}

// sweepAgain is enough for a guard to sweep once more, after what it killed can end.
const sweepAgain = 500 * time.Millisecond

// judgeLeases: when the log says that a session is over, its node runs nothing of it (S6).
func (w *World) judgeLeases(old, now *state.View) {
	for _, h := range w.data {
		a, b := old.Leases[h.name], now.Leases[h.name]
		if a.Session != b.Session || a.State == b.State || a.State != state.LeaseActive {
			continue
		}
		w.stats.Expiries++
		w.note(h, "lease over in the log", "session", b.Session, "state", string(b.State))
		if w.clocks && b.State == state.LeaseExpired && h.resources > 0 && h.guardProc.alive && !h.guardProc.stopped() && w.now.sub(h.hung) >= sweepAgain {
			w.fail("S6", "session %d of %s is over in the log, and its guard has not ended what runs in it", b.Session, h.name)
		}
		if w.clocks && h.up && h.leaseLive() && h.pageSession == b.Session {
			w.fail("S6", "session %d of %s is over in the log (%s) and runs on its lease page for %v", b.Session, h.name, b.State, h.page.Sub(h.clock.Boottime()))
		}
	}
}

// check are the invariants of every event. Two volumes may be Primary at a time in a split brain of the cluster only: in
// branches of the log of which neither has left the other behind.
func (w *World) check() {
	var writable []*strand
	for _, h := range w.data {
		if v := h.volume; v != nil && v.epoch != 0 && h.leaseLive() && w.strandAt(h).truth.volume.Adopted {
			writable = append(writable, w.strandAt(h))
		}
	}
	if len(writable) > 1 && w.clocks && !diverged(writable[0], writable[1]) {
		w.fail("S3", "two volumes are Primary with a lease")
	}
}

// describe tells how things stand, for a failure of progress.
func (w *World) describe() string {
	var b strings.Builder
	rec := w.truth.volume
	fmt.Fprintf(&b, "log: primary %q epoch %d version %d U %v unclean %v;", rec.Primary, rec.Epoch, rec.Version, rec.U, rec.Unclean)
	for _, h := range w.hosts {
		fmt.Fprintf(&b, " %s: up %v", h.name, h.up)
		if h.daemon != nil {
			s := h.daemon.raft.Status()
			fmt.Fprintf(&b, " leader %q term %d applied %d read %v session %d voters %d learners %d", s.Leader, s.Term, s.Applied, h.daemon.read, h.daemon.session, len(s.Voters), len(s.Learners))
			if st := h.daemon.status; st != nil {
				fmt.Fprintf(&b, " volume %s %s/%s %s oos %d frozen %q reason %q gen %s bitmap %s", st.Conn, st.Disk, st.PeerDisk, st.Role, st.Counters.OOS, st.Frozen, st.Reason, st.CurrentUUID, st.BitmapUUID)
			}
		}
		b.WriteString(";")
	}
	return b.String()
}

// identical compares the replicas, block by block.
func (w *World) identical() {
	for i := range int(w.opts.Size / pageSize) {
		if !slices.Equal(w.data[0].disk.now[i], w.data[1].disk.now[i]) && !bothZero(w.data[0].disk.now[i], w.data[1].disk.now[i]) {
			w.fail("S5", "the replicas are UpToDate and differ in block %d: %v and %v", i, w.data[0].disk.now[i].sectors(), w.data[1].disk.now[i].sectors())
			return
		}
	}
}

func bothZero(a, b page) bool { return allZero(a) && allZero(b) }
