package sim

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/cluster/state"
)

// model is what the volume must hold: for each block the writes that were begun, in the order in which engines took them,
// which is the order in which overlapping ones are carried out.
type model struct {
	w            *World
	blocks       map[int]*blockHistory
	places       []int // the blocks clients use, sorted
	history      history
	historyLimit int
}

// blockHistory is one block's. Sequence numbers count its writes; 0 is the content at the beginning.
type blockHistory struct {
	writes []written
	last   uint64
	floor  uint64    // the newest acknowledged write: nothing older may be read
	safe   uint64    // the newest that is acknowledged as durable: nothing older survives anything
	past   []written // the last of those before safe, which a read that began earlier may still return: from the peer's disk it takes long
}

type written struct{ seq, value uint64 }

// begin notes a write that an engine takes.
func (b *blockHistory) begin(value uint64) uint64 {
	b.last++
	b.writes = append(b.writes, written{b.last, value})
	return b.last
}

// forget drops a write that certainly never ran.
func (b *blockHistory) forget(seq uint64) {
	for i, x := range b.writes {
		if x.seq == seq {
			b.writes = append(b.writes[:i], b.writes[i+1:]...)
			return
		}
	}
}

// acknowledged raises the floor.
func (b *blockHistory) acknowledged(seq uint64) { b.floor = max(b.floor, seq) }

// durable raises the safe floor, and forgets what nothing can bring back.
func (b *blockHistory) durable(seq uint64) {
	if seq <= b.safe {
		return
	}
	b.safe = seq
	for len(b.writes) > 0 && b.writes[0].seq < seq {
		b.past = append(b.past, b.writes[0])
		b.writes = b.writes[1:]
	}
	const kept = 64
	b.past = b.past[max(0, len(b.past)-kept):]
}

// readable tells whether a read that began when nothing older than the write from might be read may return a page.
func (b *blockHistory) readable(p page, from uint64) bool {
	for _, v := range p.sectors() {
		_, ok := b.at(v, from)
		for i := len(b.past) - 1; i >= 0 && !ok; i-- {
			ok = b.past[i].value == v && b.past[i].seq >= from
		}
		if !ok {
			return false
		}
	}
	return true
}

// at finds the newest write of a value, not older than from; ok is false if there is none.
func (b *blockHistory) at(value, from uint64) (seq uint64, ok bool) {
	if value == 0 && from == 0 {
		return 0, true
	}
	for i := len(b.writes) - 1; i >= 0 && b.writes[i].seq >= from; i-- {
		if b.writes[i].value == value {
			return b.writes[i].seq, true
		}
	}
	return 0, false
}

// holds tells whether a page holds nothing older than the write from, in any of its sectors.
func (b *blockHistory) holds(p page, from uint64) bool {
	for _, v := range p.sectors() {
		if _, ok := b.at(v, from); !ok {
			return false
		}
	}
	return true
}

func newModel(w *World) *model {
	m := &model{w: w, blocks: map[int]*blockHistory{}, historyLimit: 4000}
	total := int(w.opts.Size / pageSize)
	const used = 12
	for i := range used {
		place := i * total / used
		if i%4 == 3 { // a neighbour: overlapping extents, and requests that follow one another
			place = m.places[len(m.places)-1] + 1
		}
		m.places = append(m.places, place)
		m.blocks[place] = &blockHistory{}
	}
	return m
}

// extend has clients use one more place, of a volume that has grown.
func (m *model) extend(place int) {
	m.places = append(m.places, place)
	m.blocks[place] = &blockHistory{}
}

// fuaOnly tells whether a block is only written with FUA.
func (m *model) fuaOnly(block int) bool { return block%2 == 1 && !m.w.opts.Plain }

// acknowledged lists the newest acknowledged write of each place: what a flush that begins now must make durable.
func (m *model) acknowledged(into []uint64) []uint64 {
	into = into[:0]
	for _, p := range m.places {
		into = append(into, m.blocks[p].floor)
	}
	return into
}

// completed judges an answer of an engine, at the moment in which it is given (S2, S3, S6).
func (w *World) completed(h *host, r *request, err error) {
	o := r.op
	if w.unbound != nil {
		w.unbound.completed(h, r, err)
		return
	}
	defer w.in(o.strand)()
	if err != nil {
		if o.kind == kernel.Write && errors.Is(err, unix.EMEDIUMTYPE) && !o.judged {
			w.model.blocks[o.block].forget(o.seq)
		}
		return
	}
	o.judged = true
	w.judgeTenure(h)
	switch o.kind {
	case kernel.Write:
		w.stats.Acked++
		w.judgeWrite(o)
	case kernel.Read:
		w.stats.Reads++
		w.judgeRead(o)
	case kernel.Flush:
		w.stats.Flushes++
		w.judgeFlush(o)
	}
}

// judgeTenure: who answers is the log's Primary, and its lease runs.
func (w *World) judgeTenure(h *host) {
	rec := w.truth.volume
	if !rec.Adopted || !w.clocks {
		return
	}
	if !h.leaseLive() {
		w.fail("S6", "%s completes a request without a lease", h.name)
	}
	if rec.Primary != h.name {
		w.fail("S3", "%s completes a request; the log has %q as Primary in epoch %d", h.name, rec.Primary, rec.Epoch)
	}
}

// members are the hosts whose disks are in U now. Before the log knows the volume there is no U, and DRBD's rules hold.
func (w *World) members() []*host {
	var out []*host
	for _, h := range w.data {
		if w.truth.volume.Adopted && h.disk.in(w.truth.volume) {
			out = append(out, h)
		}
	}
	return out
}

// in tells whether this very disk is in U, and not one that was in its place.
func (d *store) in(v state.Volume) bool {
	r, ok := v.Replica(d.owner.name)
	return ok && r.DeviceUUID == d.device && (!d.restored || r.Generation != d.former)
}

// judgeWrite: an acknowledged write is on every member of U, durably if it was to be (S2). A disk that has lost power since
// may lack it if it was not.
func (w *World) judgeWrite(o *op) {
	b := w.model.blocks[o.block]
	for _, h := range w.members() {
		if o.fua && !b.holds(h.disk.durablePage(o.block), o.seq) {
			w.fail("S2", "write %d of block %d is acknowledged as durable and is not on %s", o.value, o.block, h.name)
		}
		if h.disk.cutAt < o.invoked && !b.holds(h.disk.now[o.block], o.seq) {
			w.fail("S2", "write %d of block %d is acknowledged and is not on %s", o.value, o.block, h.name)
		}
	}
	b.acknowledged(o.seq)
	w.truth.wrote = true
	if o.fua && w.truth.volume.Adopted {
		b.durable(o.seq)
	}
}

func (w *World) judgeRead(o *op) {
	b := w.model.blocks[o.block]
	if w.clocks && !b.readable(o.read, o.seq) {
		w.fail("S7", "%s reads block %d as %v; write %d or newer is expected, known are %v", o.host.name, o.block, page(o.read).sectors(), o.seq, b.writes)
	}
}

// judgeFlush: what was acknowledged when the flush began is durable on every member of U.
func (w *World) judgeFlush(o *op) {
	for i, seq := range o.flushed { // of the places there were when it began
		place := w.model.places[i]
		b := w.model.blocks[place]
		for _, h := range w.members() {
			if !b.holds(h.disk.durablePage(place), min(seq, b.floor)) {
				w.fail("S2", "a flush is acknowledged and write %d of block %d is not durable on %s", seq, place, h.name)
			}
		}
		if w.truth.volume.Adopted {
			b.durable(min(seq, b.floor))
		}
	}
}

// tookOver judges the disk of a new Primary: it holds every acknowledged write; after a loss of its power, every durable
// one. What it holds is the volume from now on.
func (w *World) tookOver(h *host, epoch uint64) {
	defer w.in(w.strandAt(h))()
	w.stats.Promotions++
	w.note(h, "is Primary", "epoch", epoch, "weak", h.disk.weak)
	if rec := w.truth.volume; rec.Adopted && (rec.Primary != h.name || rec.Epoch != epoch) && (rec.Epoch > 1 || rec.Primary != "") {
		return // it carries on a tenure that is over, as an old view has it; without a lease it completes nothing
	}
	if w.truth.volume.Adopted {
		w.judgeDisk("S1", h, "is Primary")
	}
	if w.truth.tenure == epoch && w.truth.tenureOf == h {
		return // the same tenure, carried on by another process
	}
	w.truth.tenure, w.truth.tenureOf = epoch, h
	for _, place := range w.model.places {
		w.model.blocks[place].settle(h.disk.now[place])
	}
}

// proven: two volumes are connected with nothing to resync, one of them Primary: the other, if it is in U, has everything
// the first has acknowledged, whatever its disk has suffered before.
func (w *World) proven() {
	a, b := w.data[0].volume, w.data[1].volume
	if a == nil || b == nil || w.strandAt(a.h) != w.strandAt(b.h) {
		return
	}
	defer w.in(w.strandAt(a.h))()
	if !w.truth.volume.Adopted || a.epoch == b.epoch || !a.s.Connected() || !b.s.Connected() || !w.link.whole() {
		return
	}
	for _, v := range []*volumeProcess{a, b} {
		if v.h.disk.in(w.truth.volume) && v.epoch == 0 && v.h.disk.weak && w.host(w.truth.volume.Primary) == w.data[1-v.h.index] {
			v.h.disk.weak = false
			w.judgeDisk("S5", v.h, "is connected as a member of U")
		}
	}
}

// judgeDisk demands of a disk what every member of U has.
func (w *World) judgeDisk(rule string, h *host, what string) {
	if place, from := w.lacking(h); place >= 0 {
		kind := "acknowledged"
		if h.disk.weak {
			kind = "durable"
		}
		w.fail(rule, "%s %s without the %s write %d of block %d: it has %v, known are %v", h.name, what, kind, from, place,
			h.disk.now[place].sectors(), w.model.blocks[place].writes)
	}
}

// lacking finds a block whose last acknowledged write a disk does not have, after a loss of its power the last durable one; -1
// if it has all.
func (w *World) lacking(h *host) (place int, write uint64) {
	for _, place := range w.model.places {
		b := w.model.blocks[place]
		from := b.floor
		if h.disk.weak {
			from = b.safe
		}
		if !b.holds(h.disk.now[place], from) {
			return place, from
		}
	}
	return -1, 0
}

// settle makes a new Primary's content the block's: newer writes never come back, older ones only with a loss of power.
func (b *blockHistory) settle(p page) {
	oldest, newest := uint64(1)<<63, uint64(0)
	for _, v := range p.sectors() {
		if seq, ok := b.at(v, b.safe); ok {
			oldest, newest = min(oldest, seq), max(newest, seq)
		}
	}
	if oldest > newest {
		return
	}
	b.floor = oldest
	kept := b.writes[:0]
	for _, x := range b.writes {
		if x.seq <= newest {
			kept = append(kept, x)
		}
	}
	b.writes = kept
}

func (b *blockHistory) String() string { return fmt.Sprint(b.writes, b.floor, b.safe) }

// lost: an operator has accepted that acknowledged writes are gone. What the survivor has is the volume from now on.
func (m *model) lost(survivor *store) {
	for _, place := range m.places {
		b := m.blocks[place]
		b.writes = nil
		content := survivor.now[place].sectors()
		for _, v := range content {
			b.begin(v)
		}
		b.floor = b.writes[0].seq
		b.safe = b.floor
	}
	m.history.ops, m.historyLimit = nil, 0
}
