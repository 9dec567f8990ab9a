package sim

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/generation"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/wire"
)

// tracked tells whether clients write numbers to a block, so that its content can be judged.
func (u *unbound) tracked(block int) bool { return u.model.blocks[block] != nil }

// visible is the disk whose content the users of a Primary see.
func (p *party) visible() *party {
	if s := p.states(); s.Disk != generation.UpToDate && p.served() {
		return p.peer()
	}
	return p
}

// tookOver: a volume process is Primary from now on. Its disk has what it must have, and writes follow what it shows.
func (u *unbound) tookOver(h *host) {
	p := u.party(h)
	v := p.visible()
	u.stats.Promotions++
	u.note(h, "is Primary", "sees", v.h.name)
	if !v.data.whole { // by force
		v.data.forget()
		v.data.whole, v.peer().invalid = true, true // the operator says that this one counts
	}
	u.judgeDiskOf(v, v.data.need, "is seen by a new Primary")
	other := u.serving
	for _, b := range u.model.places {
		p.data.floor[b] = v.data.need[b]
		p.data.heads[b] = u.lineage.contents(v.h.disk.now[b], b)
		u.forked = u.forked || u.model.fuaOnly(b) && !u.lineage.holds(v.h.disk.now[b], b, u.model.blocks[b].floor)
	}
	u.forked = u.forked || other != nil && other != h
	u.serving = h
}

// stoppedServing: a volume process is Primary no more.
func (u *unbound) stoppedServing(h *host) {
	if u.serving == h {
		u.serving = nil
	}
}

// judgeDiskOf demands writes of a disk.
func (u *unbound) judgeDiskOf(p *party, writes map[int]uint64, what string) {
	for _, b := range u.model.places {
		if !u.lineage.holds(p.h.disk.now[b], b, writes[b]) {
			u.fail("U1", "%s's disk %s without the acknowledged write %d of block %d: it has %v", p.h.name, what, writes[b], b, p.h.disk.now[b].sectors())
			return
		}
	}
}

// entered: an engine takes an operation, perhaps again.
func (u *unbound) entered(o *op) {
	p := u.party(o.host)
	u.touched[o.block] = instant(forever)
	o.inside, o.served, o.linked, o.leaned = true, p.served(), u.link.made, p.states().Disk < generation.Inconsistent
	switch {
	case o.kind == kernel.Flush:
		o.flushed = o.flushed[:0]
		for _, b := range u.model.places {
			o.flushed = append(o.flushed, p.data.floor[b])
		}
	case !u.tracked(o.block):
	case o.kind == kernel.Read:
		o.seq = p.data.floor[o.block]
	case o.kind == kernel.Write && u.lineage.writes[o.value] != nil: // by the next process
		u.lineage.beginAgain(o.value, p.data.heads[o.block])
		p.data.heads[o.block] = append(append([]uint64(nil), p.data.heads[o.block]...), o.value)
	case o.kind == kernel.Write:
		o.seq = o.value
		u.lineage.begin(o.value, o.block, p.data.heads[o.block])
		p.data.heads[o.block] = []uint64{o.value}
	}
}

// completed judges an answer of an engine at the moment in which it is given.
func (u *unbound) completed(h *host, r *request, err error) {
	o, p := r.op, u.party(h)
	u.touched[o.block] = u.now
	if err != nil {
		u.judgeError(p, o, err)
		return
	}
	o.judged = true
	switch {
	case o.kind == kernel.Flush:
		u.stats.Flushes++
		if o.invoked > p.thinned {
			u.judgeFlush(p, o.flushed)
		}
	case !u.tracked(o.block):
	case o.kind == kernel.Write:
		u.stats.Acked++
		u.judgeWrite(p, o)
	case o.kind == kernel.Read:
		u.stats.Reads++
		if o.invoked > p.thinned && !u.lineage.holds(o.read, o.block, o.seq) {
			u.fail("U2", "%s reads block %d as %v; write %d or one that replaced it is expected", h.name, o.block, page(o.read).sectors(), o.seq)
		}
	}
}

// judgeError: what the peer's UpToDate disk can serve, no error of the local one is seen of (on-io-error detach). A flush may say
// that something was lost before.
func (u *unbound) judgeError(p *party, o *op, err error) {
	u.counts.Errors++
	if strings.Contains(err.Error(), "before it had flushed everything") {
		p.thin()
	}
	if u.set.OnIOError == "pass_on" || errors.Is(err, unix.EMEDIUMTYPE) || o.kind == kernel.Flush || o.fua || !o.served || o.linked != u.link.made || !p.primary() || !p.served() {
		return
	}
	if peer := p.peer(); peer.h.disk.sound() && peer.states().Disk == generation.UpToDate && peer.states().Conn >= wire.Connected {
		u.fail("U6", "%s answers an operation on block %d with %v although its peer's disk is UpToDate", p.h.name, o.block, err)
	}
}

// judgeWrite: an acknowledged write is on the disks it must be on (protocol C: on both while both are UpToDate).
func (u *unbound) judgeWrite(p *party, o *op) {
	a, s := u.lineage.writes[o.value], p.states()
	for i, q := range u.parties {
		a.on[i] = u.lineage.holds(q.h.disk.now[o.block], o.block, o.value)
	}
	a.acked = u.now
	mine, theirs := a.on[p.h.index], a.on[1-p.h.index]
	switch {
	case !mine && !theirs && (u.set.Protocol == "C" || s.Disk == generation.UpToDate || o.leaned):
		u.fail("U1", "write %d of block %d is acknowledged and on no disk", o.value, o.block)
	case s.Disk == generation.UpToDate && !mine && p.h.disk.cutAt < o.invoked:
		u.fail("U1", "write %d of block %d is acknowledged and not on %s's own UpToDate disk", o.value, o.block, p.h.name)
	case settled(s) && p.h.volume.s.Linked() && u.set.Protocol == "C" && !theirs && p.peer().h.disk.cutAt < o.invoked && p.peer().data.whole && !p.peer().refuses():
		u.fail("U1", "write %d of block %d is acknowledged while both disks are UpToDate, and not on %s", o.value, o.block, p.peer().h.name)
	}
	a.late = !theirs && u.set.Protocol != "C" && s.Conn >= wire.Connected
	for i, q := range u.parties {
		if a.on[i] && q.data.whole {
			u.lineage.raise(q.data.need, o.block, o.value)
		}
	}
	if mine || !a.late { // what protocols A and B have on no disk yet may be lost
		u.lineage.raise(p.data.floor, o.block, o.value)
	}
	if !u.forked {
		u.model.blocks[o.block].floor = p.data.floor[o.block]
	}
	if o.fua {
		u.lasts(p, o.block, o.value)
	}
}

// refuses tells whether a disk may refuse a write and stay (on-io-error pass_on); the other side marks it then.
func (p *party) refuses() bool { return p.u.set.OnIOError == "pass_on" && !p.h.disk.sound() }

// judgeFlush: what was acknowledged when a flush began is durable on each disk that acknowledged it.
func (u *unbound) judgeFlush(p *party, writes []uint64) {
	for i, write := range writes { // of the places there were when it began
		if write != root {
			u.lasts(p, u.model.places[i], write)
		}
	}
}

// lasts: a write is acknowledged as durable.
func (u *unbound) lasts(p *party, block int, write uint64) {
	s, somewhere := p.states(), false
	for _, q := range u.parties {
		must := q == p && s.Disk == generation.UpToDate || q != p && s.Conn == wire.Connected && p.h.volume.s.Linked() && s.PeerDisk == generation.UpToDate && q.data.whole && !q.refuses()
		has := u.lineage.holds(q.h.disk.durablePage(block), block, write)
		if must && !has {
			u.fail("U1", "write %d of block %d is acknowledged as durable and is not on %s: %v", write, block, q.h.name, q.h.disk.durablePage(block).sectors())
		}
		somewhere = somewhere || has
		if has && q.data.whole {
			u.lineage.raise(q.data.safe, block, write)
			u.lineage.raise(q.data.need, block, write)
		}
	}
	if !somewhere {
		u.fail("U1", "write %d of block %d is acknowledged as durable and is durable nowhere", write, block)
	}
	if a := u.lineage.writes[write]; a != nil {
		a.lasting, a.late = true, false
	}
}

// lostPower: what was not flushed may be gone; nothing else is.
func (u *unbound) lostPower(h *host) {
	p := u.party(h)
	u.stoppedServing(h)
	p.verifying, p.seen = 0, wire.States{}
	for _, b := range u.model.places {
		p.data.need[b] = p.data.safe[b]
	}
	if p.data.whole {
		u.judgeDiskOf(p, p.data.safe, "has lost its power and is")
	}
	if q := p.peer(); q.primary() && q.leans { // it had no other disk
		q.thin()
	}
}

// thin: what the peer's disk, the only one, had not flushed may be lost, and its users are told so.
func (p *party) thin() {
	p.thinned = p.u.now
	for _, b := range p.u.model.places {
		p.data.floor[b] = p.peer().data.safe[b]
	}
}

// excused tells whether a side may lack a write that the other has acknowledged: it lost its power before the write was flushed,
// or protocol A or B acknowledged what was still on its way.
func (u *unbound) excused(write uint64, lacking *party) bool {
	a := u.lineage.writes[write]
	return a.late || !a.lasting && a.on[lacking.h.index] && lacking.h.disk.cutAt >= a.acked
}

// lost lists the blocks of which one side has an acknowledged write that the other's content does not contain.
func (u *unbound) lost(p, other *party) (blocks []int) {
	for _, b := range u.model.places {
		if w := p.data.need[b]; !u.lineage.holds(other.h.disk.now[b], b, w) && !u.excused(w, other) {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// diverged tells whether each side has an acknowledged write the other lacks.
func (u *unbound) diverged() bool {
	a, b := u.parties[0], u.parties[1]
	return len(u.lost(a, b)) > 0 && len(u.lost(b, a)) > 0
}

// differing lists the blocks in which the disks differ.
func (u *unbound) differing() (blocks []int) {
	a, b := u.data[0].disk, u.data[1].disk
	for i := range int(u.sharedSize() / pageSize) {
		if !slices.Equal(a.now[i], b.now[i]) && !bothZero(a.now[i], b.now[i]) {
			blocks = append(blocks, i)
		}
	}
	return blocks
}

// sharedSize is the size of the device both processes have, the smaller one.
func (u *unbound) sharedSize() int64 {
	size := u.opts.Size
	if a, b := u.data[0].volume, u.data[1].volume; a != nil && b != nil && a.s.Size() > 0 && b.s.Size() > 0 {
		size = min(a.s.Size(), b.s.Size())
	}
	return size
}

// record notes an operation for porcupine, as long as there is one generation of the data.
func (u *unbound) record(o *op, err error) {
	if u.forked || o.kind == kernel.Flush || !o.inside || !u.tracked(o.block) || !u.model.fuaOnly(o.block) {
		return
	}
	m := u.model
	switch {
	case len(m.history.ops) >= m.historyLimit:
	case o.kind == kernel.Write && err == nil:
		m.history.add(o, registerInput{true, o.block, o.value}, 0, int64(o.returned))
	case o.kind == kernel.Write:
		m.history.add(o, registerInput{true, o.block, o.value}, 0, forever)
	case o.kind == kernel.Read && err == nil:
		if v := page(o.read).sectors()[0]; u.lineage.contains(m.blocks[o.block].floor, v) { // not one still under way
			m.history.add(o, registerInput{false, o.block, 0}, v, int64(o.returned))
		}
	}
}
