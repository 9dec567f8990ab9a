package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/saved"
	"holdfast/internal/block/volume"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
)

// watchPeer is session.watchPeer with mayGoAlone.
func (d *daemon) watchPeer() {
	if d.forking || len(d.raft.Status().Voters) != 2 || d.view().MayFork(d.h.name) != nil || !d.aloneDue() {
		return
	}
	d.forking = true
	d.linear(cluster.ReadRetry, func(err error) {
		d.forking = false
		if err != nil && d.aloneDue() {
			d.fork()
		}
	})
}

// aloneDue is pulse.aloneDue.
func (d *daemon) aloneDue() bool {
	view := d.view()
	return d.holder.Session() == 0 && d.alone.Due(d.h.clock.Boottime(), d.peers.LastHeard(view.Other(d.h.name)),
		view.Cluster.Token(), view.Cluster.LeaseLength(), cluster.LeaseMargin)
}

// fork is Daemon.fork; the session that begins with the new branch is a new daemon here.
func (d *daemon) fork() {
	w, h := d.w, d.h
	err := h.log.Branch(state.ClusterBranch{Survivor: h.name, Fork: true, By: "ignore", UnixSeconds: 1_800_000_000})
	w.note(h, "goes on alone", "err", err)
	if err != nil {
		return
	}
	w.stats.Forks++
	h.stopDaemon()
	h.startDaemon()
}

// mayHear is session.mayHear.
func (d *daemon) mayHear(from string, theirs state.Lineage) bool {
	mine := d.view().Cluster
	if len(d.raft.Status().Voters) == 0 || mine.Branch == theirs.Branch {
		return true
	}
	if mine.MustRetire(theirs, d.h.clock.Boottime() < d.holder.Deadline()) {
		d.w.note(d.h, "gives its log up", "for", from)
		d.after(d.raft.Retire(from + " goes on with another branch of it"))
	}
	return false
}

// judgeFork: when a branch begins, nothing runs any more in the sessions of the one it continues (S6).
func (w *World) judgeFork(now *state.View) {
	if w.truth.from == nil || w.truth.from.view == nil {
		return
	}
	old := w.truth.from.view
	for _, h := range w.data {
		l := old.Leases[h.name]
		if w.clocks && l.State == state.LeaseActive && h.up && h.leaseLive() && h.pageSession == l.Session {
			w.fail("S6", "branch %x of the log begins while session %d of %s runs on its lease page for %v", now.Cluster.Branch, l.Session, h.name, h.page.Sub(h.clock.Boottime()))
		}
	}
}

// side is the file that a heal saves blocks in.
type side struct {
	file         bytes.Buffer
	kept         bool
	mine, theirs []page // what both disks were when the heal was asked for
}

// Write adds to the file.
func (s *side) Write(p []byte) (int, error) { return s.file.Write(p) }

// Keep makes it durable.
func (s *side) Keep() error { s.kept = true; return nil }

// Close gives it back.
func (s *side) Close() error { return nil }

func (h *host) createSide(string) (volume.SideStore, error) {
	h.side.file.Reset()
	h.side.kept = false
	return &h.side, nil
}

// reconcile is the operator of a split brain: he keeps one host, has the other give its branch of the log up for it, and then
// its disk: `holdfast drbd heal --keep`.
func (w *World) reconcile() {
	w.attended = true
	w.after(2*time.Second, "operator", w.reconcile)
	if w.data[0].branch == w.data[1].branch {
		w.kept = nil
	}
	if w.split() {
		w.giveUp()
		return
	}
	for _, h := range w.data {
		d := h.daemon
		if d == nil || d.status == nil || d.view().Cluster.Branch == 0 || d.control == nil || h.disk.in(w.truth.volume) {
			continue
		}
		if st := d.status; strings.Contains(st.Reason, "invalidate") && (st.Heal == nil || st.Heal.Phase.Ended()) {
			w.healSide(h)
		}
	}
}

// giveUp is the cluster's part of a heal: the host that is kept takes it into its log that the other is given up.
func (w *World) giveUp() {
	if w.kept == nil {
		w.kept = w.data[w.rng.IntN(2)]
		w.stats.Splits++
	}
	keeper, loser := w.kept.daemon, w.data[1-w.kept.index].daemon
	if keeper == nil || loser == nil || !keeper.read || !loser.read {
		return
	}
	c := &state.ClusterReunite{Node: loser.h.name, Lost: loser.view().Cluster.Lineage, By: "root"}
	keeper.propose(0, c, func(error) {})
}

// healSide is the volume's part.
func (w *World) healSide(h *host) {
	o := w.data[1-h.index]
	mine, theirs := slices.Clone(h.disk.now), slices.Clone(o.disk.now)
	h.daemon.verb(api.VolumeDo{Verb: api.VolumeHeal, File: fmt.Sprintf("/saved/%d", w.now)}, func(r api.VolumeReply) {
		w.note(h, "given up", "code", r.Code, "err", r.Error)
		if r.Code == 0 {
			h.side.mine, h.side.theirs = mine, theirs
		}
	})
}

// judgeSaved: what a losing side held of its own is in the file, before U has its disk again (S8).
func (w *World) judgeSaved(h *host) {
	s := &h.side
	if s.mine == nil {
		if id, owes := w.owes(h); owes {
			w.fail("S8", "%s enters U, and what it acknowledged alone in branch %x of the log was not saved", h.name, id)
		}
		return
	}
	if !s.kept {
		w.fail("S8", "%s enters U, and what it held of its own was not saved", h.name)
		return
	}
	w.stats.Saved++
	blocks := w.readSide(s)
	for _, place := range w.model.places {
		was, theirs := s.mine[place], s.theirs[place]
		got, isSaved := blocks[place]
		switch {
		case isSaved && !samePage(got, was):
			w.fail("S8", "block %d of %s was saved as %v, it was %v", place, h.name, got.sectors(), was.sectors())
		case !isSaved && !samePage(was, theirs):
			w.fail("S8", "block %d of %s differed (%v, the survivor's %v) and was not saved", place, h.name, was.sectors(), theirs.sectors())
		}
	}
	s.mine, s.theirs = nil, nil
	w.settled(h)
}

// owes finds a branch in which a host has acknowledged writes alone and which does not lead to the present one.
func (w *World) owes(h *host) (branch uint64, ok bool) {
	for _, id := range slices.Sorted(maps.Keys(w.strands)) {
		s := w.strands[id]
		if t := s.truth; t.owner == h && t.wrote && !t.settled && !w.truth.follows(t) {
			return id, true
		}
	}
	return 0, false
}

// settled notes that what a host has acknowledged in branches that were given up is in files.
func (w *World) settled(h *host) {
	for id, owes := w.owes(h); owes; id, owes = w.owes(h) {
		w.strands[id].truth.settled = true
	}
}

// readSide reads the pages in the file.
func (w *World) readSide(s *side) map[int]page {
	blocks := map[int]page{}
	r, err := saved.NewReader(bytes.NewReader(s.file.Bytes()))
	for err == nil {
		var b saved.Block
		if b, err = r.Next(); err != nil {
			break
		}
		for off := int64(0); off < b.Length; off += pageSize {
			p := make(page, pageSize)
			if b.Content != nil {
				copy(p, b.Content[off:])
			}
			blocks[int((b.Offset+off)/pageSize)] = p
		}
	}
	if !errors.Is(err, io.EOF) {
		w.fail("S8", "the file of saved blocks cannot be read: %v", err)
	}
	return blocks
}

func samePage(a, b page) bool { return slices.Equal(a, b) || bothZero(a, b) }
