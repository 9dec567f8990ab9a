package volume

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"holdfast/internal/block/metadata"
	"holdfast/internal/disk"
)

// memDisk is a disk in memory with a volatile write cache: powerCut drops what was not flushed.
type memDisk struct {
	mu      sync.Mutex
	now     []byte // what reads see
	durable []byte // what a power cut leaves
	dirty   map[int64]struct{}
	writes  []span
	failing error
	bad     []span        // cannot be read or written
	stalled chan struct{} // while not nil, writes wait for it to be closed
	late    chan struct{} // while not nil, what has been read is given once it is closed
	reads   chan struct{} // gets a value for each read that waits so
}

type span struct{ off, length int64 }

const memBlock = 4096

func newMemDisk(size int64) *memDisk {
	return &memDisk{now: make([]byte, size), durable: make([]byte, size), dirty: map[int64]struct{}{}}
}

func (d *memDisk) check(off, n int64) error {
	if d.failing != nil {
		return d.failing
	}
	for _, s := range d.bad {
		if off < s.off+s.length && s.off < off+n {
			return fmt.Errorf("bad block at %d", s.off)
		}
	}
	if off < 0 || n < 0 || off%512 != 0 || n%512 != 0 || off+n > int64(len(d.now)) {
		return fmt.Errorf("range %d+%d of %d", off, n, len(d.now))
	}
	return nil
}

func (d *memDisk) ReadAt(p []byte, off int64) error {
	d.mu.Lock()
	gate, err := d.late, d.check(off, int64(len(p)))
	if err == nil {
		copy(p, d.now[off:])
	}
	d.mu.Unlock()
	if gate != nil {
		d.reads <- struct{}{}
		<-gate
	}
	return err
}

func (d *memDisk) WriteAt(p []byte, off int64) error {
	d.mu.Lock()
	gate := d.stalled
	d.mu.Unlock()
	if gate != nil {
		<-gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(off, int64(len(p))); err != nil {
		return err
	}
	copy(d.now[off:], p)
	d.touch(off, int64(len(p)))
	return nil
}

// exchange puts another disk in this one's place, and this one's content in that.
func (d *memDisk) exchange(o *memDisk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now, o.now = o.now, d.now
	d.durable, o.durable = o.durable, d.durable
	d.dirty, o.dirty = o.dirty, d.dirty
}

// heal makes bad blocks good again.
func (d *memDisk) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing, d.bad = nil, nil
}

func (d *memDisk) touch(off, n int64) {
	d.writes = append(d.writes, span{off, n})
	for b := off / memBlock; b <= (off+n-1)/memBlock; b++ {
		d.dirty[b] = struct{}{}
	}
}

func (d *memDisk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failing != nil {
		return d.failing
	}
	for b := range d.dirty {
		copy(d.durable[b*memBlock:min((b+1)*memBlock, int64(len(d.now)))], d.now[b*memBlock:])
	}
	clear(d.dirty)
	return nil
}

func (d *memDisk) Discard(off, n int64) error { return d.WriteZeroes(off, n) }

func (d *memDisk) WriteZeroes(off, n int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(off, n); err != nil {
		return err
	}
	clear(d.now[off : off+n])
	d.touch(off, n)
	return nil
}

func (d *memDisk) Size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int64(len(d.now))
}

// Measure is Size: the disk is always as large as it is.
func (d *memDisk) Measure() (int64, error) { return d.Size(), nil }

// grow makes the disk larger, with something on what is new.
func (d *memDisk) grow(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range []*[]byte{&d.now, &d.durable} {
		*p = append(*p, bytes.Repeat([]byte{0x5a}, int(n))...)
	}
}

func (d *memDisk) Close() error { return nil }

// powerCut leaves a disk with what was durable; the old handle fails from now on.
func (d *memDisk) powerCut() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := newMemDisk(int64(len(d.now)))
	copy(next.now, d.durable)
	copy(next.durable, d.durable)
	d.failing = errors.New("power is off")
	return next
}

// processEnd leaves a disk with all that was written; the old handle fails from now on.
func (d *memDisk) processEnd() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := newMemDisk(int64(len(d.now)))
	copy(next.now, d.now)
	copy(next.durable, d.durable)
	for b := range d.dirty {
		next.dirty[b] = struct{}{}
	}
	d.failing = errors.New("the process has ended")
	return next
}

func (d *memDisk) stall() (resume func()) {
	gate := make(chan struct{})
	d.mu.Lock()
	d.stalled = gate
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		d.stalled = nil
		d.mu.Unlock()
		close(gate)
	}
}

// delayReads has reads end when let, and tells of each that has begun to wait.
func (d *memDisk) delayReads() (waiting <-chan struct{}, let func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	gate := make(chan struct{})
	d.late, d.reads = gate, make(chan struct{}, 100)
	return d.reads, func() { close(gate) }
}

// content is a copy of the first n bytes.
func (d *memDisk) content(n int64) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]byte(nil), d.now[:n]...)
}

func (d *memDisk) format(t testing.TB, deviceUUID uint64) {
	t.Helper()
	format(t, d, deviceUUID)
}

// format does what create-md does.
func format(t testing.TB, d disk.Device, deviceUUID uint64) {
	t.Helper()
	l, err := metadata.NewLayout(metadata.Internal, d.Size(), 0, metadata.DefaultStripes())
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, metadata.BlockSize)
	metadata.NewSuperblock(l, deviceUUID).Encode(block)
	must(t, d.WriteAt(block, l.Superblock))
	metadata.EncodeALInitial(block)
	for off := l.AL; off < l.AL+l.ALSize; off += metadata.BlockSize {
		must(t, d.WriteAt(block, off))
	}
	must(t, d.WriteAt(make([]byte, l.BitmapSize), l.Bitmap))
	must(t, d.Flush())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var _ disk.Growing = (*memDisk)(nil)
