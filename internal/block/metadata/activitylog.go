package metadata

import (
	"fmt"
	"slices"

	"holdfast/internal/planted"
)

// ActivityLog is the set of 4 MiB extents a Primary may write to: after a crash exactly these are taken as out of sync.
// An extent is put into the log on disk before the first write to it, and leaves it, to make room, only when no
// write to it is under way and a flush confirmed by every replica has followed the last one (DESIGN S5).
//
// Use: Get before a write; if it says Wait, Begin, write the block, flush, Commit; Put when the write has completed
// everywhere; Confirm when a flush has. Not safe for concurrent use.
type ActivityLog struct {
	stripes   Stripes
	slots     []alSlot
	byExtent  map[uint32]int
	recent    lru
	number    uint32 // of the next transaction
	confirmed uint64
	waiting   []alChange // chosen, in no transaction yet
	writing   []alChange // in the transaction under way
	busy      bool
	updates   []alUpdate // scratch
	written   uint64
}

type alSlot struct {
	extent uint32 // alFreeExtent when unused
	logged uint32 // what the log on disk says, or will with the transaction under way
	refs   int
	mark   uint64
	hot    bool // on disk
}

type alChange struct {
	slot    int
	evicted uint32
}

// Access is the answer to ActivityLog.Get.
type Access uint8

// The answers. Hot and Wait count a reference that Put must give back; Starved counts none.
const (
	Hot     Access = iota + 1 // write at once
	Wait                      // write once the transaction with this extent has been committed
	Starved                   // every slot is in use or not flushed: try again after a Put or a Confirm
)

// ALTransaction is a block to write into the log.
type ALTransaction struct {
	// Offset is the place in the activity log area, in bytes.
	Offset int64
	// Added are the extents that become hot with Commit.
	Added []uint32
	// Evicted are the extents that leave the log: the bitmap pages of their blocks must be on disk, if dirty, before
	// this transaction is written.
	Evicted []uint32
}

// NewActivityLog makes an empty log of so many extents (the option al-extents), whose first transaction has number next.
// The area on disk must already be applied to the bitmap. The limit is what the ring can describe without its
// newest block; the error says so.
func NewActivityLog(s Stripes, extents int, next uint32) (*ActivityLog, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	limit := min(int64(s.Total()-1)*alContext, maxALExtents)
	if extents < minALExtents || int64(extents) > limit {
		return nil, fmt.Errorf("al-extents %d: must be %d to %d with this activity log", extents, minALExtents, limit)
	}
	a := &ActivityLog{stripes: s, slots: make([]alSlot, extents), byExtent: make(map[uint32]int, extents), number: next}
	for i := range a.slots {
		a.slots[i] = alSlot{extent: alFreeExtent, logged: alFreeExtent}
	}
	a.recent.init(extents)
	return a, nil
}

// Get takes a reference to an extent for one write.
func (a *ActivityLog) Get(extent uint32) Access {
	i, known := a.byExtent[extent]
	if !known {
		if i = a.victim(); i < 0 {
			return Starved
		}
		a.take(i, extent)
	}
	s := &a.slots[i]
	s.refs++
	a.recent.touch(i)
	if s.hot {
		return Hot
	}
	return Wait
}

// victim is the least recently used slot that may be reused, -1 if there is none.
func (a *ActivityLog) victim() int {
	for i := a.recent.oldest(); i >= 0; i = a.recent.newer(i) {
		s := &a.slots[i]
		if s.extent == alFreeExtent || s.refs == 0 && s.hot && (s.mark <= a.confirmed || planted.ExtentLeavesEarly) {
			return i
		}
	}
	return -1
}

func (a *ActivityLog) take(i int, extent uint32) {
	s := &a.slots[i]
	change := alChange{slot: i, evicted: s.extent}
	if s.extent != alFreeExtent {
		delete(a.byExtent, s.extent)
	}
	s.extent, s.hot, s.mark = extent, false, 0
	a.byExtent[extent] = i
	a.waiting = append(a.waiting, change)
}

// Put gives a reference back. mark numbers the flush that will cover the write: the extent stays in the log until
// Confirm was called with that number or a higher one. It panics if there is no reference.
func (a *ActivityLog) Put(extent uint32, mark uint64) {
	i, known := a.byExtent[extent]
	if !known || a.slots[i].refs == 0 {
		panic(fmt.Sprintf("metadata: activity log extent %d is not in use", extent))
	}
	s := &a.slots[i]
	s.refs--
	s.mark = max(s.mark, mark)
}

// Confirm tells that every member of U has confirmed the flush with this number, and all before it.
func (a *ActivityLog) Confirm(mark uint64) { a.confirmed = max(a.confirmed, mark) }

// Begin encodes the next transaction, of up to 64 waiting extents, into p of BlockSize bytes. It returns false if none
// waits or one is under way.
func (a *ActivityLog) Begin(p []byte) (ALTransaction, bool) {
	if a.busy || len(a.waiting) == 0 {
		return ALTransaction{}, false
	}
	n := min(alUpdates, len(a.waiting))
	a.writing = append(a.writing[:0], a.waiting[:n]...)
	a.waiting = slices.Delete(a.waiting, 0, n)
	t := ALTransaction{}
	a.updates = a.updates[:0]
	for _, c := range a.writing {
		extent := a.slots[c.slot].extent
		a.slots[c.slot].logged = extent
		a.updates = append(a.updates, alUpdate{slot: uint16(c.slot), extent: extent})
		t.Added = append(t.Added, extent)
		if c.evicted != alFreeExtent {
			t.Evicted = append(t.Evicted, c.evicted)
		}
	}
	t.Offset = a.encode(p)
	return t, true
}

// Prime encodes an empty transaction: so many as the ring has blocks (Stripes.Total) are written before the first write,
// as the kernel does at attach, so that any later state of the ring tells every slot.
func (a *ActivityLog) Prime(p []byte) (offset int64) {
	a.updates = a.updates[:0]
	offset = a.encode(p)
	a.busy = false
	return offset
}

func (a *ActivityLog) encode(p []byte) (offset int64) {
	encodeAL(p, a.number, a.updates, len(a.slots), a.cursor(), func(i int) uint32 { return a.slots[i].logged })
	offset = int64(a.stripes.block(a.number)) * BlockSize
	a.number++
	a.written++
	a.busy = true
	return offset
}

// cursor is the first slot of the next context. It follows from the transaction's number, so that a log that goes on with
// an older one's numbers goes on with its cycle of contexts as well.
func (a *ActivityLog) cursor() int {
	cycle := (len(a.slots) + alContext - 1) / alContext
	return int(a.number%uint32(cycle)) * alContext
}

// Commit tells that the transaction under way is written and flushed: its extents are hot now.
func (a *ActivityLog) Commit() {
	for _, c := range a.writing {
		a.slots[c.slot].hot = true
	}
	a.writing, a.busy = a.writing[:0], false
}

// Hot tells whether an extent may be written to at once.
func (a *ActivityLog) Hot(extent uint32) bool {
	i, known := a.byExtent[extent]
	return known && a.slots[i].hot
}

// Written counts the transactions encoded so far: /proc/drbd's al.
func (a *ActivityLog) Written() uint64 { return a.written }

// Extents are those in the log or waiting for it, ascending: what a resync must cover if this Primary crashes now.
func (a *ActivityLog) Extents() []uint32 {
	all := make([]uint32, 0, len(a.byExtent))
	for i := range a.slots {
		all = append(all, a.slots[i].extent, a.slots[i].logged)
	}
	return usedExtents(all)
}

// usedExtents sorts, and drops repetitions and free slots.
func usedExtents(all []uint32) []uint32 {
	all = slices.DeleteFunc(slices.Clone(all), func(e uint32) bool { return e == alFreeExtent })
	slices.Sort(all)
	return slices.Compact(all)
}
