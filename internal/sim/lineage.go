package sim

// lineage knows which write of a block replaced which: a write follows all that its volume showed of the block when it was begun.
// So it can be told whether one content contains another, or the two have diverged, whatever the generations say.
type lineage struct {
	writes map[uint64]*ancestry
}

// ancestry is a write, named by its value.
type ancestry struct {
	block   int
	parents []uint64
	acked   instant // 0: not acknowledged
	on      [2]bool // the disks that had it when it was acknowledged
	lasting bool    // acknowledged as durable
	again   bool    // begun once more by another process: it may replace writes that were begun after it
	late    bool    // acknowledged by protocol A or B before the connected peer had it
}

func newLineage() *lineage { return &lineage{writes: map[uint64]*ancestry{}} }

// begin notes a write that replaces others.
func (l *lineage) begin(value uint64, block int, parents []uint64) {
	l.writes[value] = &ancestry{block: block, parents: parents}
}

// beginAgain notes that a write, unanswered when its process ended, is carried out once more.
func (l *lineage) beginAgain(value uint64, over []uint64) {
	a := l.writes[value]
	a.again, a.parents = true, append(append([]uint64(nil), a.parents...), over...)
}

// root is what a block held before the first write, whatever that was.
const root = 0

// known maps content that no client wrote to the root.
func (l *lineage) known(value uint64, block int) uint64 {
	if a := l.writes[value]; a != nil && a.block == block {
		return value
	}
	return root
}

// contains tells whether a content is a write, or was made by replacing it. Values grow, so that no parent is larger than its
// child, unless the child was begun again.
func (l *lineage) contains(content, write uint64) bool {
	if write == root {
		return true
	}
	seen := map[uint64]bool{}
	stack := []uint64{content}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if v == write {
			return true
		}
		a := l.writes[v]
		if a == nil || v < write && !a.again || seen[v] {
			continue
		}
		seen[v] = true
		stack = append(stack, a.parents...)
	}
	return false
}

// holds tells whether each sector of a page contains a write.
func (l *lineage) holds(p page, block int, write uint64) bool {
	if write == root {
		return true
	}
	for _, v := range p.sectors() {
		if !l.contains(l.known(v, block), write) {
			return false
		}
	}
	return true
}

// contents are the different writes in a page.
func (l *lineage) contents(p page, block int) []uint64 {
	var out []uint64
	for _, v := range p.sectors() {
		v = l.known(v, block)
		found := false
		for _, o := range out {
			found = found || o == v
		}
		if !found {
			out = append(out, v)
		}
	}
	return out
}

// held is what a disk must have of each block, and what its volume's users have seen.
type held struct {
	whole bool           // the disk is a full copy, not half way through a resync
	need  map[int]uint64 // the last acknowledged write
	safe  map[int]uint64 // the last of those that nothing may take away
	floor map[int]uint64 // what a read must contain
	heads map[int][]uint64
}

func newHeld() held {
	return held{need: map[int]uint64{}, safe: map[int]uint64{}, floor: map[int]uint64{}, heads: map[int][]uint64{}}
}

// forget: nothing is demanded of the disk any more.
func (d *held) forget() {
	clear(d.need)
	clear(d.safe)
	d.whole = false
}

// raise demands a write, unless what is demanded already contains it.
func (l *lineage) raise(of map[int]uint64, block int, write uint64) {
	if !l.contains(of[block], write) {
		of[block] = write
	}
}
