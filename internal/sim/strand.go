package sim

import (
	"maps"
	"slices"
	"strings"

	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/state"
)

// strand is what is true in one branch of the log. A branch begins with all that is true in the one it continues.
type strand struct {
	lineage state.Lineage // as seen last
	truth   *truth
	model   *model
}

// firstStrand is that of the log the cluster is founded with.
func (w *World) firstStrand() {
	s := &strand{truth: &truth{}, model: newModel(w)}
	w.strands = map[uint64]*strand{0: s}
	w.truth, w.model = s.truth, s.model
}

// strand finds that of a branch.
func (w *World) strand(branch uint64) *strand { return w.strands[branch] }

// strandAt finds that in which the volume process of a host works: until it has heard of one, that of the host's log.
func (w *World) strandAt(h *host) *strand {
	if h.volume != nil {
		if branch, ok := h.volume.s.Branch(); ok {
			return w.strand(branch)
		}
	}
	return w.strand(h.branch)
}

// strandOf finds that of a lineage, and begins it when it is seen for the first time.
func (w *World) strandOf(l state.Lineage, by *host) *strand {
	s := w.strands[l.Branch]
	if s == nil {
		from := w.strands[l.Former[len(l.Former)-1].ID]
		s = &strand{truth: from.truth.branch(), model: from.model.branch()}
		s.truth.owner = by
		w.strands[l.Branch] = s
	}
	if len(l.Former) >= len(s.lineage.Former) {
		s.lineage = l
	}
	return s
}

// branch copies what is true for a branch that begins.
func (t *truth) branch() *truth {
	c := *t
	c.view, c.prints = nil, nil
	c.from, c.wrote, c.settled = t, false, false
	return &c
}

// follows tells whether the branch of t continues that of o, directly or not.
func (t *truth) follows(o *truth) bool {
	for ; t != nil; t = t.from {
		if t == o {
			return true
		}
	}
	return false
}

// branch copies what the volume must hold for a branch that begins. What is under way may end either way.
func (m *model) branch() *model {
	c := *m
	c.blocks = make(map[int]*blockHistory, len(m.blocks))
	for place, b := range m.blocks {
		copied := *b
		copied.writes = slices.Clone(b.writes)
		c.blocks[place] = &copied
	}
	c.history.ops = slices.Clone(m.history.ops)
	return &c
}

// in has the judges look at a strand until the function returned is called.
func (w *World) in(s *strand) (back func()) {
	t, m := w.truth, w.model
	if s != nil {
		w.truth, w.model = s.truth, s.model
	}
	return func() { w.truth, w.model = t, m }
}

// focus has everybody look at the strand that goes on.
func (w *World) focus() {
	s := w.current()
	w.truth, w.model = s.truth, s.model
}

// diverged tells whether neither of two branches continues the other.
func diverged(a, b *strand) bool { return !a.truth.follows(b.truth) && !b.truth.follows(a.truth) }

// current is the strand of the branch that goes on: of two that have diverged, the one an operator keeps.
func (w *World) current() *strand {
	a, b := w.strand(w.data[0].branch), w.strand(w.data[1].branch)
	switch {
	case w.kept != nil:
		return w.strand(w.kept.branch)
	case b.truth.follows(a.truth):
		return b
	}
	return a
}

// split tells whether the hosts have diverged.
func (w *World) split() bool { return diverged(w.strand(w.data[0].branch), w.strand(w.data[1].branch)) }

// everyStrand does something in every strand, in the order of their branches.
func (w *World) everyStrand(f func()) {
	for _, id := range slices.Sorted(maps.Keys(w.strands)) {
		back := w.in(w.strands[id])
		f()
		back()
	}
}

// strayWrite notes a write that an engine takes although its branch of the log was left behind, for the branches in which its
// host has the only good disk: it will be found there.
func (w *World) strayWrite(o *op) {
	w.beyond(o, func(s *strand) {
		if o.host.disk.in(s.truth.volume) {
			s.model.blocks[o.block].begin(o.value)
		}
	})
}

// strayRecord notes that the outcome of a write is not known in branches that were opened while it was under way.
func (w *World) strayRecord(o *op) {
	w.beyond(o, func(s *strand) { s.model.recordUnknown(o) })
}

// beyond does something for each strand that has left the operation's behind.
func (w *World) beyond(o *op, f func(s *strand)) {
	for _, id := range slices.Sorted(maps.Keys(w.strands)) {
		if s := w.strands[id]; s != o.strand && o.strand.lineage.Judge(s.lineage) == state.GivenUp {
			f(s)
		}
	}
}

// configuration is the CIB the cluster is founded with; empty for the usual one.
func (w *World) configuration() string {
	if !w.opts.Forking {
		return ""
	}
	doc := cib.Empty("sim")
	doc.SetProperty("no-quorum-policy", "ignore")
	const none = "<resources/>"
	volume := `<resources><primitive id="d" class="ocf" provider="linbit" type="drbd"><instance_attributes id="d-ia">` +
		`<nvpair id="d-r" name="drbd_resource" value="` + volumeName + `"/></instance_attributes></primitive></resources>`
	if !strings.Contains(string(doc.Bytes()), none) {
		panic("sim: the empty CIB has no place for a resource")
	}
	return strings.Replace(string(doc.Bytes()), none, volume, 1)
}
