// Package crashdisk is a disk double for tests of crash safety. It holds its content in memory, remembers every write and
// flush, and gives afterwards the disks that a crash at any moment could have left: what was not flushed is kept, lost,
// torn at a sector or applied in another order. It also lets the n-th call fail.
package crashdisk

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"sync"

	"holdfast/internal/disk"
)

// Disk is the double. Its methods may be called from several goroutines.
type Disk struct {
	mu     sync.Mutex
	size   int64
	data   pages
	start  pages // content when recording began
	record []op
	calls  int // since the last FailAt
	failAt int // 1 for the next one; 0 never
	fault  Fault
	failed bool
}

var _ disk.Device = (*Disk)(nil)

// op is a write, or a flush (no data).
type op struct {
	off   int64
	data  []byte
	flush bool
}

// Fault is how a call fails.
type Fault struct {
	Err error
	// Keep is how many sectors of a failing write reach the disk all the same, from its beginning.
	Keep int
	// Ever: every later write and flush fails as well, as a full or dead disk has it.
	Ever bool
}

// New makes a disk of so many bytes of zeros, which take no memory until they are written.
func New(size int64) *Disk { return &Disk{size: size, data: pages{}, start: pages{}} }

// From makes a disk with this content.
func From(content []byte) *Disk {
	d := New(int64(len(content)))
	d.data.write(content, 0)
	d.Mark()
	return d
}

// Mark begins the record anew: what is there now counts as durable.
func (d *Disk) Mark() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.start, d.record = maps.Clone(d.data), nil
}

// Content is a copy of everything, flushed or not.
func (d *Disk) Content() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := make([]byte, d.size)
	d.data.read(p, 0)
	return p
}

// Copy is a disk of the same content, of which nothing is recorded yet.
func (d *Disk) Copy() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{size: d.size, data: maps.Clone(d.data), start: maps.Clone(d.data)}
}

// Ops is how many writes and flushes have been recorded.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.record)
}

// FailAt lets the n-th write or flush from now on fail (1 is the next).
func (d *Disk) FailAt(n int, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.failAt, d.fault, d.failed = 0, n, f, false
}

// Failed tells whether the fault has struck.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// fails counts a call and tells whether it fails.
func (d *Disk) fails() bool {
	d.calls++
	hit := d.failAt > 0 && (d.calls == d.failAt || d.fault.Ever && d.calls > d.failAt)
	d.failed = d.failed || hit
	return hit
}

// ReadAt implements disk.Device.
func (d *Disk) ReadAt(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(off, int64(len(p))); err != nil {
		return err
	}
	d.data.read(p, off)
	return nil
}

func (d *Disk) check(off, length int64) error {
	if off < 0 || length < 0 || off%disk.SectorSize != 0 || length%disk.SectorSize != 0 || off+length > d.size {
		return fmt.Errorf("range %d+%d is not within the disk of %d bytes, in sectors", off, length, d.size)
	}
	return nil
}

// WriteAt implements disk.Device.
func (d *Disk) WriteAt(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(off, int64(len(p))); err != nil {
		return err
	}
	var err error
	if d.fails() {
		p, err = p[:min(d.fault.Keep*disk.SectorSize, len(p))], fmt.Errorf("write at %d: %w", off, d.fault.Err)
	}
	if len(p) > 0 {
		d.data.write(p, off)
		d.record = append(d.record, op{off: off, data: bytes.Clone(p)})
	}
	return err
}

// Flush implements disk.Device.
func (d *Disk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails() {
		return fmt.Errorf("flush: %w", d.fault.Err)
	}
	d.record = append(d.record, op{flush: true})
	return nil
}

// Discard implements disk.Device; it writes zeros.
func (d *Disk) Discard(off, length int64) error { return d.WriteZeroes(off, length) }

// WriteZeroes implements disk.Device.
func (d *Disk) WriteZeroes(off, length int64) error { return d.WriteAt(make([]byte, length), off) }

// Size implements disk.Device.
func (d *Disk) Size() int64 { return d.size }

// Close implements disk.Device.
func (d *Disk) Close() error { return nil }

// Crash is a disk that a crash has left.
type Crash struct {
	*Disk
	// Ops is how many writes and flushes had been asked for when it happened; What says what became of the last ones.
	Ops  int
	What string
}

// Crashes gives, for every moment of the record, the disks a crash could have left: nothing of the writes since the last
// completed flush, all of them, each alone, all but each, each torn at a sector from the front or from the back, and
// so many random mixtures, drawn from seed, in which every sector of every write is kept or lost by itself and writes
// are applied in any order. The disks are new ones; the record goes on.
func (d *Disk) Crashes(seed uint64, mixtures int) iter.Seq[Crash] {
	d.mu.Lock()
	durable, record := maps.Clone(d.start), append([]op(nil), d.record...)
	d.mu.Unlock()
	return func(yield func(Crash) bool) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var open []op
		for n := 0; ; n++ {
			for what, ops := range outcomes(open, rng, mixtures) {
				image := maps.Clone(durable)
				image.apply(ops)
				if !yield(Crash{Disk: &Disk{size: d.size, data: image, start: maps.Clone(image)}, Ops: n, What: what}) {
					return
				}
			}
			if n == len(record) {
				return
			}
			if record[n].flush {
				durable.apply(open)
				open = nil
				continue
			}
			open = append(open, record[n])
		}
	}
}

// outcomes are what can become of writes that were not flushed.
func outcomes(open []op, rng *rand.Rand, mixtures int) iter.Seq2[string, []op] {
	return func(yield func(string, []op) bool) {
		if !yield("all lost", nil) || len(open) == 0 {
			return
		}
		if !yield("all kept", open) {
			return
		}
		for i, o := range open {
			rest := append(append([]op(nil), open[:i]...), open[i+1:]...)
			half := len(o.data) / disk.SectorSize / 2 * disk.SectorSize
			front, back := op{off: o.off, data: o.data[:half]}, op{off: o.off + int64(half), data: o.data[half:]}
			if !yield(fmt.Sprintf("write %d alone", i), []op{o}) || !yield(fmt.Sprintf("all but write %d", i), rest) ||
				!yield(fmt.Sprintf("write %d torn, its front kept", i), append(rest[:len(rest):len(rest)], front)) ||
				!yield(fmt.Sprintf("write %d torn, its back kept", i), append(rest[:len(rest):len(rest)], back)) {
				return
			}
		}
		for i := range mixtures {
			if !yield(fmt.Sprintf("mixture %d", i), mixture(open, rng)) {
				return
			}
		}
	}
}

// mixture keeps some sectors of some writes, in some order.
func mixture(open []op, rng *rand.Rand) []op {
	var kept []op
	for _, o := range open {
		for at := 0; at < len(o.data); at += disk.SectorSize {
			if rng.IntN(2) == 0 {
				kept = append(kept, op{off: o.off + int64(at), data: o.data[at : at+disk.SectorSize]})
			}
		}
	}
	rng.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
	return kept
}
