package metadata

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// logDisk is an activity log area, with the transaction that is being written.
type logDisk struct {
	area []byte
}

func newLogDisk(s Stripes) *logDisk {
	d := &logDisk{area: make([]byte, int(s.Total())*BlockSize)}
	for i := range int(s.Total()) {
		EncodeALInitial(d.area[i*BlockSize : (i+1)*BlockSize])
	}
	return d
}

func (d *logDisk) write(tr ALTransaction, p []byte) { copy(d.area[tr.Offset:], p[:BlockSize]) }

// torn is the area after a crash in the middle of writing p: the first n sectors are new.
func (d *logDisk) torn(tr ALTransaction, p []byte, n int) []byte {
	a := slices.Clone(d.area)
	copy(a[tr.Offset:], p[:n*SectorSize])
	return a
}

func contains(all []uint32, some []uint32) bool {
	for _, e := range some {
		if !slices.Contains(all, e) {
			return false
		}
	}
	return true
}

// TestActivityLogCrash runs random workloads and, at every transaction, crashes before, in the middle of, and after its
// write: every extent that could have been written to must be found again, and none that was evicted long ago.
func TestActivityLogCrash(t *testing.T) {
	for _, c := range []struct {
		stripes Stripes
		slots   int
		extents int
		steps   int
	}{{DefaultStripes(), 7, 40, 100}, {DefaultStripes(), 1237, 3000, 25}, {DefaultStripes(), 6433, 9000, 90}, {Stripes{4, 2}, 67, 300, 60}} {
		rng := rand.New(rand.NewPCG(7, uint64(c.slots)))
		a, err := NewActivityLog(c.stripes, c.slots, 0)
		if err != nil {
			t.Fatal(err)
		}
		d, p := newLogDisk(c.stripes), make([]byte, BlockSize)
		for step := range c.steps {
			var held []uint32
			for range 1 + rng.IntN(min(c.slots, 90)) {
				e := uint32(rng.IntN(c.extents))
				if a.Get(e) != Starved {
					held = append(held, e)
				}
			}
			for {
				before := onDisk(a)
				tr, ok := a.Begin(p)
				if !ok {
					break
				}
				for _, n := range []int{0, 1, 7} {
					checkCrash(t, d.torn(tr, p, n), c.stripes, before, c.slots)
				}
				d.write(tr, p)
				a.Commit()
				checkCrash(t, d.area, c.stripes, onDisk(a), c.slots)
			}
			for _, e := range held {
				if !a.Hot(e) {
					t.Fatalf("step %d: extent %d is not hot after its commit", step, e)
				}
				a.Put(e, 0)
			}
		}
	}
}

// onDisk lists the extents that writes are allowed to.
func onDisk(a *ActivityLog) []uint32 {
	var all []uint32
	for i := range a.slots {
		if a.slots[i].hot {
			all = append(all, a.slots[i].extent)
		}
	}
	return all
}

func checkCrash(t *testing.T, area []byte, s Stripes, hot []uint32, slots int) {
	t.Helper()
	r, err := ReplayAL(area, s)
	if err != nil {
		t.Fatalf("replay: %v", err)
	}
	if !contains(r.Extents, hot) {
		t.Fatalf("replay finds %v, hot were %v", r.Extents, hot)
	}
	if len(r.Extents) > slots {
		t.Fatalf("replay finds %d extents, the log has %d slots", len(r.Extents), slots)
	}
}

// TestEviction checks S5: an extent leaves the log only after a flush that followed its last write was confirmed.
func TestEviction(t *testing.T) {
	a, err := NewActivityLog(DefaultStripes(), 7, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, BlockSize)
	for e := range uint32(7) {
		if got := a.Get(e); got != Wait {
			t.Fatalf("extent %d: %v", e, got)
		}
	}
	tr, _ := a.Begin(p)
	if len(tr.Added) != 7 || len(tr.Evicted) != 0 {
		t.Fatalf("transaction %+v", tr)
	}
	if _, again := a.Begin(p); again {
		t.Error("a second transaction began before the first was committed")
	}
	a.Commit()
	steps := []struct {
		do   func()
		want Access
	}{
		{func() {}, Starved},               // all in use
		{func() { a.Put(3, 5) }, Starved},  // not flushed
		{func() { a.Confirm(4) }, Starved}, // an earlier flush
		{func() { a.Confirm(5) }, Wait},    // extent 3 goes
	}
	for i, s := range steps {
		s.do()
		if got := a.Get(100); got != s.want {
			t.Fatalf("step %d: %v, want %v", i, got, s.want)
		}
	}
	if a.Hot(3) || a.Hot(100) {
		t.Error("an extent is hot without a transaction")
	}
	if got := a.Extents(); !slices.Contains(got, 3) || !slices.Contains(got, 100) {
		t.Errorf("the log says %v; until the transaction is written it still says 3", got)
	}
	tr, _ = a.Begin(p)
	if !slices.Equal(tr.Evicted, []uint32{3}) || !slices.Equal(tr.Added, []uint32{100}) {
		t.Errorf("transaction %+v", tr)
	}
	a.Commit()
	if !a.Hot(100) || slices.Contains(a.Extents(), 3) {
		t.Error("the extents were not exchanged")
	}
	if got := a.Get(100); got != Hot {
		t.Errorf("again: %v", got)
	}
}

// TestEvictionOrder: the least recently used extent goes first.
func TestEvictionOrder(t *testing.T) {
	a, err := NewActivityLog(DefaultStripes(), 7, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, BlockSize)
	for _, e := range []uint32{0, 1, 2, 3, 4, 5, 6, 0, 2} {
		a.Get(e)
		a.Begin(p)
		a.Commit()
		a.Put(e, 0)
	}
	var evicted []uint32
	for e := uint32(10); e < 17; e++ {
		a.Get(e)
		tr, _ := a.Begin(p)
		a.Commit()
		evicted = append(evicted, tr.Evicted...)
	}
	if want := []uint32{1, 3, 4, 5, 6, 0, 2}; !slices.Equal(evicted, want) {
		t.Errorf("evicted %v, want %v", evicted, want)
	}
}

func TestActivityLogLimits(t *testing.T) {
	for extents, good := range map[int]bool{6: false, 7: true, 1237: true, 6433: true, 6434: false} {
		if _, err := NewActivityLog(DefaultStripes(), extents, 0); (err == nil) != good {
			t.Errorf("al-extents %d: %v", extents, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Put without Get did not panic")
		}
	}()
	a, _ := NewActivityLog(DefaultStripes(), 7, 0)
	a.Put(1, 0)
}

// TestReplayDamage: more than one damaged block is an error, never a smaller set.
func TestReplayDamage(t *testing.T) {
	s := DefaultStripes()
	a, err := NewActivityLog(s, 2000, 4294967290) // the number wraps on the way
	if err != nil {
		t.Fatal(err)
	}
	d, p := newLogDisk(s), make([]byte, BlockSize)
	for e := range uint32(30) {
		a.Get(e)
		tr, _ := a.Begin(p)
		d.write(tr, p)
		a.Commit()
	}
	r, err := ReplayAL(d.area, s)
	if err != nil || len(r.Extents) != 30 || r.Next != 24 {
		t.Fatalf("replay %v %v", r, err)
	}
	for i := range int(s.Total()) { // the newest is number 23, in block 7
		damaged := slices.Clone(d.area)
		damaged[i*BlockSize+777] ^= 4
		r, err := ReplayAL(damaged, s)
		switch {
		case err != nil: // block 5 or 6: the context of some slot is gone
			if i != 5 && i != 6 {
				t.Errorf("block %d: %v", i, err)
			}
		case i == 7 && len(r.Extents) != 29, i != 7 && len(r.Extents) != 30:
			t.Errorf("block %d: %d extents", i, len(r.Extents))
		}
	}
	clear(d.area)
	if _, err := ReplayAL(d.area, s); err == nil {
		t.Error("an area of zeros is taken for an empty log")
	}
	if _, err := ReplayAL(d.area[:100], s); err == nil {
		t.Error("a short area is accepted")
	}
}

func FuzzReplayAL(f *testing.F) {
	d, p := newLogDisk(DefaultStripes()), make([]byte, BlockSize)
	f.Add(slices.Clone(d.area))
	a, err := NewActivityLog(DefaultStripes(), 1237, 0)
	if err != nil {
		f.Fatal(err)
	}
	for e := range uint32(9) {
		a.Get(e)
		tr, _ := a.Begin(p)
		d.write(tr, p)
		a.Commit()
	}
	f.Add(d.area)
	f.Fuzz(func(t *testing.T, area []byte) {
		for o := 0; o+BlockSize <= len(area); o += BlockSize { // let the fuzzer past the checksum
			putCRC(area[o : o+BlockSize])
		}
		r, err := ReplayAL(area, DefaultStripes())
		if err == nil && !slices.IsSorted(r.Extents) {
			t.Fatalf("extents %v", r.Extents)
		}
	})
}

// TestPrime crashes in the middle of priming a log over an older one: what the older one said is found as long as the bitmap
// may not have it, and a primed log needs no initial blocks to be complete.
func TestPrime(t *testing.T) {
	for _, slots := range []int{67, 1237, 6433} {
		old, err := NewActivityLog(DefaultStripes(), slots, 0)
		if err != nil {
			t.Fatal(err)
		}
		d, p := newLogDisk(DefaultStripes()), make([]byte, BlockSize)
		for range DefaultStripes().Total() {
			copy(d.area[old.Prime(p):], p)
		}
		for e := range uint32(60) {
			old.Get(e)
			tr, _ := old.Begin(p)
			d.write(tr, p)
			old.Commit()
		}
		r, err := ReplayAL(d.area, DefaultStripes())
		if err != nil || len(r.Extents) != 60 {
			t.Fatalf("%d slots: %v %v", slots, r, err)
		}
		next, err := NewActivityLog(DefaultStripes(), slots, r.Next)
		if err != nil {
			t.Fatal(err)
		}
		for i := range DefaultStripes().Total() {
			offset := next.Prime(p)
			if r, err := ReplayAL(d.torn(ALTransaction{Offset: offset}, p, 3), DefaultStripes()); err != nil || len(r.Extents) > 60 {
				t.Errorf("%d slots, torn after %d blocks: %v %v", slots, i, r, err)
			}
			copy(d.area[offset:], p)
		}
		if r, err := ReplayAL(d.area, DefaultStripes()); err != nil || len(r.Extents) != 0 {
			t.Errorf("%d slots, primed: %v %v", slots, r, err)
		}
	}
}
