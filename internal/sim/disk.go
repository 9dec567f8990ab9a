package sim

import (
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/internal/block/metadata"
	"holdfast/internal/cluster/state"
	"holdfast/internal/disk"
)

const pageSize = 4096

// page is the content of 4 KiB; nil is zeros. A page is never changed once it is in a disk.
type page []byte

// sectors are the first words of a page's eight sectors: clients write a number into each, so that a torn write shows.
func (p page) sectors() (s [8]uint64) {
	if p != nil {
		for i := range s {
			s[i] = binary.LittleEndian.Uint64(p[i*512:])
		}
	}
	return s
}

// store is a disk with a volatile cache: a cut of the power loses any part of what was not flushed.
type store struct {
	w       *World
	size    int64
	now     []page
	durable map[int]page // what a page was at the last flush, of pages written since
	dirty   []int        // their numbers, in the order of their first write
	failing error
	full    bool         // writes fail, reads and flushes do not
	bad     map[int]bool // pages that can be neither read nor written
	// weak: power was cut since this disk was last known to hold every acknowledged write.
	weak  bool
	cutAt instant
	// crashIn, when positive, counts down writes and flushes to a power cut in the middle of an event.
	crashIn int
	// failIn, when positive, counts down writes and flushes to the first that fails, and those after it with it.
	failIn int
	owner  *host
	device string // its identity, as the log writes it
	// restored: it was put back to an earlier state; former is the generation with which it was in U then. By that it is not.
	restored bool
	former   string
	open     bool
}

var errDisk = errors.New("simulated disk error")

// powerCut is the panic with which a disk ends its host in the middle of an event.
type powerCut struct{ host *host }

func newStore(w *World, size int64) *store {
	return &store{w: w, size: size, now: make([]page, size/pageSize), durable: map[int]page{}}
}

func (d *store) count() {
	if d.crashIn > 0 {
		if d.crashIn--; d.crashIn == 0 {
			panic(powerCut{d.owner})
		}
	}
	if d.failIn > 0 {
		if d.failIn--; d.failIn == 0 {
			d.failing = errDisk
		}
	}
}

// ReadAt fills p.
func (d *store) ReadAt(p []byte, off int64) error {
	if d.failing != nil {
		return d.failing
	}
	for len(p) > 0 {
		at := off % pageSize
		n := min(int64(len(p)), pageSize-at)
		if d.bad[int(off/pageSize)] {
			return errDisk
		}
		if content := d.now[off/pageSize]; content == nil {
			clear(p[:n])
		} else {
			copy(p[:n], content[at:at+n])
		}
		p, off = p[n:], off+n
	}
	return nil
}

// WriteAt stores p in the cache.
func (d *store) WriteAt(p []byte, off int64) error {
	d.count()
	if d.failing != nil {
		return d.failing
	}
	if d.full {
		return fmt.Errorf("simulated full disk")
	}
	for len(p) > 0 {
		at := off % pageSize
		n := min(int64(len(p)), pageSize-at)
		if d.bad[int(off/pageSize)] {
			return errDisk
		}
		d.set(int(off/pageSize), at, p[:n])
		p, off = p[n:], off+n
	}
	return nil
}

// sound tells whether the disk works.
func (d *store) sound() bool { return d.failing == nil && !d.full && len(d.bad) == 0 }

func (d *store) set(number int, at int64, p []byte) {
	old := d.now[number]
	if old == nil && allZero(p) {
		return
	}
	d.touch(number)
	fresh := make(page, pageSize)
	copy(fresh, old)
	copy(fresh[at:], p)
	d.now[number] = fresh
}

func (d *store) touch(number int) {
	if _, known := d.durable[number]; !known {
		d.durable[number] = d.now[number]
		d.dirty = append(d.dirty, number)
	}
}

func allZero(p []byte) bool {
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p) != 0 {
			return false
		}
		p = p[8:]
	}
	return true
}

// Flush makes everything durable.
func (d *store) Flush() error {
	d.count()
	if d.failing != nil {
		return d.failing
	}
	clear(d.durable)
	d.dirty = d.dirty[:0]
	return nil
}

// Discard zeroes, as most devices do.
func (d *store) Discard(off, length int64) error { return d.WriteZeroes(off, length) }

// WriteZeroes zeroes.
func (d *store) WriteZeroes(off, length int64) error {
	d.count()
	if d.failing != nil {
		return d.failing
	}
	for p := int(off / pageSize); p < int((off+length)/pageSize); p++ {
		if d.now[p] != nil {
			d.touch(p)
			d.now[p] = nil
		}
	}
	return nil
}

// Size is the capacity.
func (d *store) Size() int64 { return d.size }

// Close gives the disk back.
func (d *store) Close() error { d.open = false; return nil }

var _ disk.Growing = (*store)(nil)

// cut is the loss of power: each page written since the last flush is kept, lost, or torn between sectors.
func (d *store) cut() {
	for _, number := range d.dirty {
		before, after := d.durable[number], d.now[number]
		switch d.w.rng.IntN(4) {
		case 0:
		case 1:
			d.now[number] = d.torn(before, after)
		default:
			d.now[number] = before
		}
	}
	clear(d.durable)
	d.dirty = d.dirty[:0]
	d.weak, d.cutAt, d.crashIn, d.open = true, d.w.now, 0, false
}

func (d *store) torn(before, after page) page {
	mixed := make(page, pageSize)
	for s := range 8 {
		from := after
		if d.w.rng.IntN(2) == 0 {
			from = before
		}
		if from != nil {
			copy(mixed[s*512:(s+1)*512], from[s*512:])
		}
	}
	return mixed
}

// putBack makes the disk what it was when a copy of it was taken.
func (d *store) putBack(c []page, v state.Volume) {
	copy(d.now, c)
	clear(d.durable)
	d.dirty, d.restored, d.former = d.dirty[:0], true, ""
	if r, ok := v.Replica(d.owner.name); ok {
		d.former = r.Generation
	}
}

// durablePage is what would be left of a page if its last flush was all that counts.
func (d *store) durablePage(number int) page {
	if p, ok := d.durable[number]; ok {
		return p
	}
	return d.now[number]
}

// format makes the disk a replica: fresh, as create-md leaves it, or with a generation and UpToDate.
func (d *store) format(device, generation uint64) error {
	d.now = make([]page, d.size/pageSize)
	clear(d.durable)
	d.dirty, d.failing, d.full, d.restored = d.dirty[:0], nil, false, false
	d.crashIn, d.failIn = 0, 0
	layout, err := metadata.NewLayout(metadata.Internal, d.size, 0, metadata.DefaultStripes())
	if err != nil {
		return err
	}
	d.device = fmt.Sprintf("%016X", device)
	sb := metadata.NewSuperblock(layout, device)
	if generation != 0 {
		sb.UUIDs.Current = generation
		sb.Flags |= metadata.Consistent | metadata.WasUpToDate
		sb.LastAgreedSize = uint64(layout.Data) / disk.SectorSize
	}
	block := make([]byte, metadata.BlockSize)
	sb.Encode(block)
	if err := d.WriteAt(block, layout.Superblock); err != nil {
		return err
	}
	metadata.EncodeALInitial(block)
	for i := range int64(layout.Stripes.Total()) {
		if err := d.WriteAt(block, layout.AL+i*metadata.BlockSize); err != nil {
			return err
		}
	}
	return d.Flush()
}

// enlarge makes the disk larger; what is new is not blank.
func (d *store) enlarge(bytes int64) {
	junk := make(page, pageSize)
	for i := range junk {
		junk[i] = 0x5a
	}
	for range bytes / pageSize {
		d.now = append(d.now, junk)
	}
	d.size += bytes
}

// Measure is the capacity as it is now.
func (d *store) Measure() (int64, error) { return d.size, nil }
