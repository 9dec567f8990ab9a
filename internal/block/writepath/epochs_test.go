package writepath

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"holdfast/internal/block/metadata"
)

// joined makes the write paths of so many volumes of one connection, their peer connected.
func joined(t interface {
	Fatal(...any)
	Helper()
}, parts int) (*Epochs, []*Core) {
	t.Helper()
	e := NewEpochs(parts)
	var cores []*Core
	for i := range parts {
		log, err := metadata.NewActivityLog(metadata.DefaultStripes(), 67, 0)
		if err != nil {
			t.Fatal(err)
		}
		c := New(testSize, log, metadata.NewBitmap(testSize))
		e.Join(i, c)
		c.PeerUp()
		cores = append(cores, c)
	}
	return e, cores
}

// drained takes all effects, carries out those of the activity log, and returns the others.
func drained(e *Epochs, cores []*Core) (all []Effect) {
	for list := e.Effects(); len(list) > 0; list = e.Effects() {
		for _, f := range slices.Clone(list) {
			if f.Do != LogExtents {
				all = append(all, f)
				continue
			}
			if _, ok := cores[f.Part].BeginLog(make([]byte, metadata.BlockSize)); ok {
				cores[f.Part].LogDone()
			}
		}
	}
	return all
}

func one(list []Effect, do Do, part int) (f Effect, n int) {
	for _, x := range list {
		if x.Do == do && x.Part == part {
			f = x
			n++
		}
	}
	return f, n
}

// written has a block written here and there, and completed.
func written(t *testing.T, e *Epochs, cores []*Core, part int) {
	t.Helper()
	id := cores[part].Admit(Op{Kind: Write, Span: Span{0, 4096}})
	drained(e, cores)
	cores[part].LocalDone(id, nil)
	if !cores[part].PeerAck(id) {
		t.Fatal("the acknowledgement was not waited for")
	}
	if f, n := one(drained(e, cores), Complete, part); n != 1 || f.Err != nil {
		t.Fatalf("the write on part %d was not completed: %+v", part, f)
	}
}

// TestBarrierOfOneVolumeCoversAll: the flush of one volume makes what was sent of the others durable too.
func TestBarrierOfOneVolumeCoversAll(t *testing.T) {
	e, cores := joined(t, 2)
	written(t, e, cores, 0)
	if !cores[0].Unconfirmed() {
		t.Fatal("what was written and not flushed is confirmed")
	}
	cores[1].Admit(Op{Kind: Flush})
	list := drained(e, cores)
	if f, n := one(list, SendBarrier, 1); n != 1 || f.Number != 1 {
		t.Fatalf("no barrier for the flush of a volume without writes: %+v", list)
	}
	cores[1].LocalFlushed(nil)
	if _, n := one(drained(e, cores), Complete, 1); n != 0 {
		t.Fatal("a flush was completed before the barrier was answered")
	}
	if e.BarrierAck(2) || !e.BarrierAck(1) || e.BarrierAck(1) {
		t.Fatal("a barrier's number was not looked at")
	}
	if _, n := one(drained(e, cores), Complete, 1); n != 1 {
		t.Fatal("the flush was not completed")
	}
	if cores[0].Unconfirmed() {
		t.Error("the other volume's write is not confirmed by the barrier")
	}
}

// TestFlushesOfTwoVolumesShareABarrier: while one is under way, flushes wait, and the next barrier serves them all.
func TestFlushesOfTwoVolumesShareABarrier(t *testing.T) {
	e, cores := joined(t, 3)
	written(t, e, cores, 0)
	cores[0].Admit(Op{Kind: Flush})
	drained(e, cores)
	written(t, e, cores, 1)
	written(t, e, cores, 2)
	for _, part := range []int{1, 2} {
		cores[part].Admit(Op{Kind: Flush})
		cores[part].LocalFlushed(nil)
	}
	if list := drained(e, cores); slices.ContainsFunc(list, func(f Effect) bool { return f.Do == SendBarrier }) {
		t.Fatalf("a second barrier was sent while one is under way: %+v", list)
	}
	cores[0].LocalFlushed(nil)
	e.BarrierAck(1)
	list := drained(e, cores)
	if _, n := one(list, Complete, 0); n != 1 {
		t.Fatal("the first flush was not completed")
	}
	for _, part := range []int{1, 2} {
		if _, n := one(list, Complete, part); n != 0 {
			t.Fatalf("the flush of part %d was completed by a barrier sent before its write", part)
		}
	}
	if !e.BarrierAck(2) {
		t.Fatal("no second barrier was sent")
	}
	list = drained(e, cores)
	for _, part := range []int{1, 2} {
		if _, n := one(list, Complete, part); n != 1 {
			t.Errorf("the flush of part %d was not completed", part)
		}
	}
}

// TestFlushWaitsForAnothersBarrier: nothing was sent since, but what was is not confirmed yet.
func TestFlushWaitsForAnothersBarrier(t *testing.T) {
	e, cores := joined(t, 2)
	written(t, e, cores, 1)
	written(t, e, cores, 0)
	cores[0].Admit(Op{Kind: Flush})
	drained(e, cores)
	cores[1].Admit(Op{Kind: Flush})
	cores[1].LocalFlushed(nil)
	if list := drained(e, cores); len(list) != 1 || list[0].Do != FlushLocal {
		t.Fatalf("the flush did not wait: %+v", list)
	}
	e.BarrierAck(1)
	if _, n := one(drained(e, cores), Complete, 1); n != 1 {
		t.Error("the flush was not completed")
	}
}

// TestBarrierWhileOneVolumeHasNoPeer: a volume whose peer is not needed neither waits for a barrier nor is confirmed by one.
func TestBarrierWhileOneVolumeHasNoPeer(t *testing.T) {
	e, cores := joined(t, 2)
	written(t, e, cores, 0)
	cores[0].Admit(Op{Kind: Flush})
	drained(e, cores)
	cores[0].PeerGone() // its disk there has failed; the connection is the other volume's too
	cores[0].LocalFlushed(nil)
	if _, n := one(drained(e, cores), Complete, 0); n != 1 {
		t.Fatal("the flush waits for a peer that is not needed")
	}
	if cores[0].oos.Count() != 1 {
		t.Errorf("%d blocks out of sync, want the one that may not be durable there", cores[0].oos.Count())
	}
	written(t, e, cores, 1)
	cores[1].Admit(Op{Kind: Flush})
	cores[1].LocalFlushed(nil)
	drained(e, cores)
	if !e.BarrierAck(1) || !e.BarrierAck(2) {
		t.Fatal("the barriers on the connection are not those that were sent")
	}
	if _, n := one(drained(e, cores), Complete, 1); n != 1 {
		t.Error("the other volume's flush was not completed")
	}
}

// TestNewConnectionBeginsAnew: barriers of the old one are not waited for, and what they were to confirm is sent again.
func TestNewConnectionBeginsAnew(t *testing.T) {
	e, cores := joined(t, 2)
	written(t, e, cores, 0)
	written(t, e, cores, 1)
	for _, c := range cores {
		c.Admit(Op{Kind: Flush})
		c.LocalFlushed(nil)
	}
	drained(e, cores)
	e.Reset()
	for _, c := range cores {
		c.Suspend()
	}
	for _, c := range cores {
		c.PeerUp()
	}
	list := drained(e, cores)
	if f, n := one(list, SendBarrier, 0); n != 1 || f.Number != 2 {
		t.Fatalf("no barrier on the new connection: %+v", list)
	}
	if e.BarrierAck(1) || !e.BarrierAck(2) {
		t.Fatal("the old connection's barrier counts")
	}
	e.BarrierAck(3)
	list = drained(e, cores)
	for part, c := range cores {
		if _, n := one(list, Complete, part); n != 1 || c.Unconfirmed() {
			t.Errorf("part %d: the flush was not completed, or leaves something unconfirmed", part)
		}
	}
}

// TestEpochsOfSeveralVolumes drives several volumes at random against a peer that carries packets out in the order of the wire and
// flushes at barriers: a flush is completed only when every write of its volume that was completed before it is durable there, and
// whatever of any volume is not known to be so counts as unconfirmed.
func TestEpochsOfSeveralVolumes(t *testing.T) { rapid.Check(t, severalVolumes) }

type sentOp struct {
	part int
	id   ID
	do   Do
	num  uint32
}

type severalModel struct {
	t        *rapid.T
	e        *Epochs
	cores    []*Core
	wire     []sentOp // on its way
	acks     []sentOp
	flushing []bool
	local    [][2]int // under way here
	kind     map[[2]int]Kind
	stamp    map[[2]int]uint64 // of a write: its number; of a flush: the last write of its volume completed before it
	next     uint64
	complete []map[uint64]bool // by part
	there    []map[uint64]bool // by part: durable at the peer
	cache    []map[uint64]bool // by part: written there since
}

func severalVolumes(t *rapid.T) {
	parts := rapid.IntRange(1, 3).Draw(t, "volumes")
	e, cores := joined(t, parts)
	m := &severalModel{t: t, e: e, cores: cores, kind: map[[2]int]Kind{}, stamp: map[[2]int]uint64{}, flushing: make([]bool, parts)}
	for range parts {
		m.complete, m.there, m.cache = append(m.complete, map[uint64]bool{}), append(m.there, map[uint64]bool{}), append(m.cache, map[uint64]bool{})
	}
	need := map[[2]int][]uint64{}
	for range rapid.IntRange(1, 150).Draw(t, "steps") {
		part := rapid.IntRange(0, parts-1).Draw(t, "volume")
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0, 1:
			off := rapid.Int64Range(0, 7).Draw(t, "block") * 4096
			id := cores[part].Admit(Op{Kind: Write, Span: Span{off, off + 4096}})
			m.next++
			m.kind[[2]int{part, int(id)}], m.stamp[[2]int{part, int(id)}] = Write, m.next
		case 2:
			var before []uint64
			for n := range m.complete[part] {
				before = append(before, n)
			}
			id := cores[part].Admit(Op{Kind: Flush})
			m.kind[[2]int{part, int(id)}] = Flush
			need[[2]int{part, int(id)}] = before
		case 3:
			m.deliver()
		case 4:
			m.answer()
		case 5:
			m.localWork(part)
		}
		m.take(need)
	}
}

// deliver has the peer carry out the next packet.
func (m *severalModel) deliver() {
	if len(m.wire) == 0 {
		return
	}
	p := m.wire[0]
	m.wire = m.wire[1:]
	if p.do == Send {
		m.cache[p.part][m.stamp[[2]int{p.part, int(p.id)}]] = true
	} else {
		for part := range m.cache {
			for n := range m.cache[part] {
				m.there[part][n] = true
			}
			clear(m.cache[part])
		}
	}
	m.acks = append(m.acks, p)
}

// answer has the peer's next answer arrive.
func (m *severalModel) answer() {
	if len(m.acks) == 0 {
		return
	}
	p := m.acks[0]
	m.acks = m.acks[1:]
	if p.do == SendBarrier {
		if !m.e.BarrierAck(p.num) {
			m.t.Fatalf("barrier %d is not waited for", p.num)
		}
	} else if !m.cores[p.part].PeerAck(p.id) {
		m.t.Fatalf("write %d of part %d is not waited for", p.id, p.part)
	}
}

func (m *severalModel) localWork(part int) {
	if m.flushing[part] {
		m.flushing[part] = false
		m.cores[part].LocalFlushed(nil)
		return
	}
	i := slices.IndexFunc(m.local, func(k [2]int) bool { return k[0] == part })
	if i < 0 {
		return
	}
	id := ID(m.local[i][1])
	m.local = slices.Delete(m.local, i, i+1)
	m.cores[part].LocalDone(id, nil)
}

func (m *severalModel) take(need map[[2]int][]uint64) {
	for _, f := range drained(m.e, m.cores) {
		k := [2]int{f.Part, int(f.ID)}
		switch f.Do {
		case WriteLocal:
			m.local = append(m.local, k)
		case FlushLocal:
			m.flushing[f.Part] = true
		case Send, SendBarrier:
			m.wire = append(m.wire, sentOp{f.Part, f.ID, f.Do, f.Number})
		case Complete:
			if m.kind[k] == Write {
				m.complete[f.Part][m.stamp[k]] = true
				continue
			}
			for _, n := range need[k] {
				if !m.there[f.Part][n] {
					m.t.Fatalf("a flush of part %d was completed, and write %d, completed before it, is not durable at the peer", f.Part, n)
				}
			}
		}
	}
	for part, c := range m.cores {
		if len(m.cache[part]) > 0 && !c.Unconfirmed() {
			m.t.Fatalf("part %d has nothing unconfirmed, and the peer has not flushed all of it", part)
		}
	}
}
