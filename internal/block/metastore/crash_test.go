package metastore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"holdfast/internal/block/metadata"
	"holdfast/internal/disk/crashdisk"
)

const (
	size    = 1 << 20 // of the disks of these tests
	oldSize = size / 2
)

func layout(t *testing.T, size int64) metadata.Layout {
	t.Helper()
	l, err := metadata.NewLayout(metadata.Internal, size, 0, metadata.DefaultStripes())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// used makes a disk on which an UpToDate Primary has crashed: some bits are set, some extents are in its log. It tells the
// bits that must be found out of sync.
func used(t *testing.T, seed uint64, size, deviceSize int64) (*crashdisk.Disk, *metadata.Bitmap) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 7))
	d := crashdisk.New(deviceSize)
	l := layout(t, size)
	sb := metadata.NewSuperblock(l, rng.Uint64()|1)
	sb.LastAgreedSize, sb.Unclean = uint64(l.Data/metadata.SectorSize), true
	sb.Flags = metadata.Consistent | metadata.WasUpToDate | metadata.PrimaryInd
	sb.UUIDs.Current = rng.Uint64() | 1
	must(t, Format(d, l, sb))
	s := &Store{dev: d, Layout: l, SB: *sb}
	bits := metadata.NewBitmap(l.Data)
	bits.Set(rng.Uint64N(bits.Bits()), 3)
	must(t, s.writeBitmap(bits))
	log, err := metadata.NewActivityLog(l.Stripes, 7, 0)
	must(t, err)
	p := make([]byte, metadata.BlockSize)
	for range l.Stripes.Total() {
		off := log.Prime(p)
		must(t, d.WriteAt(p, l.AL+off))
	}
	if seed%2 == 0 {
		log.Get(0)
		if tr, ok := log.Begin(p); ok {
			must(t, d.WriteAt(p, l.AL+tr.Offset))
		}
		bits.SetExtent(0)
	}
	d.Mark()
	return d, bits
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// covers tells whether every bit of want is set.
func covers(have, want *metadata.Bitmap) bool {
	for i := range want.Words() {
		if want.Word(i)&^have.Word(i) != 0 {
			return false
		}
	}
	return true
}

// taken is what a volume that is attached now takes for out of sync.
func taken(s *Store) (*metadata.Bitmap, error) {
	bits, _, err := s.replayed()
	return bits, err
}

// interrupted runs f on copies of a disk, once whole, recording it, and judges all disks that a crash in it could leave;
// then with an error at the 1st, 2nd, ... call until none is reached, of each kind, and judges what that leaves.
func interrupted(t *testing.T, prepare func() *crashdisk.Disk, f func(*crashdisk.Disk) error, judge func(*crashdisk.Disk, int) error) {
	t.Helper()
	d := prepare()
	must(t, f(d))
	count := 0
	for c := range d.Crashes(1, 6) {
		count++
		if err := judge(c.Disk, c.Ops); err != nil {
			t.Fatalf("crash after %d operations, %s: %v", c.Ops, c.What, err)
		}
	}
	if count < 10 {
		t.Errorf("only %d crashes", count)
	}
	for _, fault := range []crashdisk.Fault{{Err: syscall.EIO}, {Err: syscall.EIO, Keep: 3}, {Err: syscall.ENOSPC, Ever: true}} {
		for n := 1; ; n++ {
			d := prepare()
			d.FailAt(n, fault)
			err := f(d)
			if !d.Failed() {
				must(t, err)
				break
			}
			if !errors.Is(err, fault.Err) {
				t.Fatalf("call %d failed with %v (%+v), the operation says %v", n, fault.Err, fault, err)
			}
			d.FailAt(0, crashdisk.Fault{})
			if err := judge(d, n); err != nil {
				t.Fatalf("error at call %d (%+v): %v", n, fault, err)
			}
		}
	}
}

// TestFormat: a new disk has no metadata or whole metadata, whatever was there before.
func TestFormat(t *testing.T) {
	l := layout(t, size)
	want := metadata.NewSuperblock(l, 77)
	prepare := func() *crashdisk.Disk { d, _ := used(t, 0, size, size); return d }
	old, err := Open(prepare(), metadata.Internal, 0)
	must(t, err)
	interrupted(t, prepare, func(d *crashdisk.Disk) error { return Format(d, l, want) }, func(d *crashdisk.Disk, _ int) error {
		s, err := Open(d, metadata.Internal, 0)
		switch {
		case errors.Is(err, metadata.ErrNoMetadata):
			return nil
		case err != nil:
			return err
		case s.SB == old.SB:
			if bits, err := taken(s); err != nil || bits.Count() == 0 {
				return fmt.Errorf("the old metadata with another bitmap: %v", err)
			}
			return nil
		case s.SB != *want:
			return fmt.Errorf("a superblock that is neither: %+v", s.SB)
		}
		if added, err := s.ApplyAL(); err != nil || added != 0 {
			return fmt.Errorf("a log of new metadata: %d %v", added, err)
		}
		return nil
	})
}

// TestApplyAL: whatever interrupts it, the blocks a crashed Primary may have written to are found, also by doing it again.
func TestApplyAL(t *testing.T) {
	for seed := range uint64(2) {
		_, want := used(t, seed, size, size)
		apply := func(d *crashdisk.Disk) error {
			s, err := Open(d, metadata.Internal, 0)
			if err != nil {
				return err
			}
			_, err = s.ApplyAL()
			return err
		}
		interrupted(t, func() *crashdisk.Disk { d, _ := used(t, seed, size, size); return d }, apply, func(d *crashdisk.Disk, _ int) error {
			s, err := Open(d, metadata.Internal, 0)
			if err != nil {
				return err
			}
			bits, err := taken(s)
			if err != nil || !covers(bits, want) {
				return fmt.Errorf("a block that may differ is taken as in sync (%v)", err)
			}
			if _, err := s.ApplyAL(); err != nil {
				return err
			}
			after, err := s.Bitmap()
			if err != nil || !covers(after, want) || s.SB.Unclean {
				return fmt.Errorf("applied again: %v, unclean %v", err, s.SB.Unclean)
			}
			return nil
		})
	}
}

// TestSmallChanges: a superblock is the old one or the new one.
func TestSmallChanges(t *testing.T) {
	for what, change := range map[string]func(*Store) error{"outdate": (*Store).Outdate, "invalidate": (*Store).Invalidate} {
		before, _ := used(t, 0, size, size)
		old, err := Open(before, metadata.Internal, 0)
		must(t, err)
		new, err := Open(before, metadata.Internal, 0)
		must(t, err)
		must(t, change(new))
		do := func(d *crashdisk.Disk) error {
			s, err := Open(d, metadata.Internal, 0)
			if err != nil {
				return err
			}
			return change(s)
		}
		interrupted(t, func() *crashdisk.Disk { d, _ := used(t, 0, size, size); return d }, do, func(d *crashdisk.Disk, _ int) error {
			s, err := Open(d, metadata.Internal, 0)
			if err != nil {
				return err
			}
			if s.SB != old.SB && s.SB != new.SB {
				return fmt.Errorf("%s left %+v", what, s.SB)
			}
			return nil
		})
	}
	d, _ := used(t, 0, size, size)
	s, err := Open(d, metadata.Internal, 0)
	must(t, err)
	must(t, s.Invalidate())
	if err := s.Outdate(); !errors.Is(err, ErrInconsistent) {
		t.Errorf("an Inconsistent disk is outdated: %v", err)
	}
}

// TestMove: metadata of a device that has grown is at its old place or at its new one, and is found again by looking there
// in that order; doing it again completes it.
func TestMove(t *testing.T) {
	for seed := range uint64(2) {
		_, want := used(t, seed, oldSize, size)
		move := func(d *crashdisk.Disk) error { _, err := Move(d, oldSize); return err }
		interrupted(t, func() *crashdisk.Disk { d, _ := used(t, seed, oldSize, size); return d }, move, func(d *crashdisk.Disk, _ int) error {
			s, err := Open(d, metadata.Internal, 0)
			if errors.Is(err, metadata.ErrNoMetadata) {
				if s, err = Move(d, oldSize); err != nil {
					return fmt.Errorf("again: %w", err)
				}
			}
			if err != nil {
				return err
			}
			bits, err := taken(s)
			if err != nil || !covers(bits, want) {
				return fmt.Errorf("a block that may differ is taken as in sync (%v)", err)
			}
			if s.SB.LastAgreedSize != uint64(layout(t, oldSize).Data/metadata.SectorSize) || s.Layout.Superblock != size-metadata.BlockSize {
				return fmt.Errorf("moved to %+v", s.SB)
			}
			return nil
		})
	}
}

// TestNotMoved: what cannot be moved is left alone.
func TestNotMoved(t *testing.T) {
	d, _ := used(t, 0, oldSize, oldSize+8*metadata.BlockSize)
	before := d.Content()
	if _, err := Move(d, oldSize); err == nil || !slices.Equal(before, d.Content()) {
		t.Errorf("grown by less than the metadata: %v", err)
	}
	if _, err := Move(crashdisk.New(size), oldSize); !errors.Is(err, metadata.ErrNoMetadata) {
		t.Errorf("no metadata anywhere: %v", err)
	}
	d, _ = used(t, 0, size, size)
	if s, err := Move(d, size); err != nil || s.Layout.Superblock != size-metadata.BlockSize {
		t.Errorf("nothing to move: %v", err)
	}
}
