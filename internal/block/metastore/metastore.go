// Package metastore works on the metadata of a disk that is at rest: no volume uses it. It makes, reads, applies, moves and
// removes DRBD v08 metadata for create-md, apply-al, outdate, invalidate, set-gi, check-resize and wipe-md. Each operation
// leaves, wherever a crash or an error ends it, either what was there or what was asked for, or something that is taken
// over with at least as many blocks out of sync; doing it again completes it.
package metastore

import (
	"errors"
	"fmt"

	"holdfast/internal/block/backing"
	"holdfast/internal/block/metadata"
	"holdfast/internal/disk"
)

// Store is metadata found on a disk. SB may be changed and saved; nothing else writes by itself.
type Store struct {
	Layout metadata.Layout
	SB     metadata.Superblock

	dev disk.Device
}

// Open reads the superblock. The error is metadata.ErrNoMetadata if there is none where it belongs on a disk of this size,
// or says what is wrong with it.
func Open(dev disk.Device, kind metadata.Kind, index int) (*Store, error) {
	return openSized(dev, kind, index, dev.Size())
}

// openSized looks for the metadata of a device that was of another size.
func openSized(dev disk.Device, kind metadata.Kind, index int, size int64) (*Store, error) {
	s := &Store{dev: dev}
	at := metadata.SuperblockOffset(kind, size, index)
	if at < 0 || at > dev.Size()-metadata.BlockSize {
		return nil, metadata.ErrNoMetadata
	}
	p := backing.Buffer(metadata.BlockSize)
	if err := dev.ReadAt(p, at); err != nil {
		return nil, fmt.Errorf("read the superblock: %w", err)
	}
	if err := s.SB.Decode(p); err != nil {
		return nil, err
	}
	var err error
	if s.Layout, err = metadata.NewLayout(kind, size, index, s.SB.Stripes()); err != nil {
		return nil, err
	}
	return s, s.Layout.Check(&s.SB)
}

// Format writes everything but the superblock, makes that durable, and then the superblock: a crash leaves no metadata or
// whole metadata. The superblock that was there is removed first.
func Format(dev disk.Device, l metadata.Layout, sb *metadata.Superblock) error {
	s := &Store{dev: dev, Layout: l, SB: *sb}
	if err := s.Wipe(); err != nil {
		return err
	}
	used := (l.Data/metadata.BytesPerBit/8 + metadata.BlockSize - 1) / metadata.BlockSize * metadata.BlockSize
	if err := dev.WriteZeroes(l.Bitmap, min(used, l.BitmapSize)); err != nil {
		return fmt.Errorf("initialise the bitmap: %w", err)
	}
	if err := s.clearLog(); err != nil {
		return err
	}
	return s.Save()
}

// clearLog writes an empty activity log, durably.
func (s *Store) clearLog() error {
	p := backing.Buffer(metadata.BlockSize)
	metadata.EncodeALInitial(p)
	for at := s.Layout.AL; at < s.Layout.AL+s.Layout.ALSize; at += metadata.BlockSize {
		if err := s.dev.WriteAt(p, at); err != nil {
			return fmt.Errorf("initialise the activity log: %w", err)
		}
	}
	return s.flush("the activity log")
}

func (s *Store) flush(what string) error {
	if err := s.dev.Flush(); err != nil {
		return fmt.Errorf("flush %s: %w", what, err)
	}
	return nil
}

// Save writes SB, durably.
func (s *Store) Save() error {
	p := backing.Buffer(metadata.BlockSize)
	s.SB.Encode(p)
	if err := s.dev.WriteAt(p, s.Layout.Superblock); err != nil {
		return fmt.Errorf("write the superblock: %w", err)
	}
	return s.flush("the superblock")
}

// Wipe removes the superblock, durably; the data is left alone.
func (s *Store) Wipe() error {
	if err := s.dev.WriteAt(backing.Buffer(metadata.BlockSize), s.Layout.Superblock); err != nil {
		return fmt.Errorf("remove the superblock: %w", err)
	}
	return s.flush("the removal of the superblock")
}

// Bitmap reads the bits of the volume as it was last used.
func (s *Store) Bitmap() (*metadata.Bitmap, error) {
	bits := metadata.NewBitmap(int64(s.SB.LastAgreedSize) * metadata.SectorSize)
	raw := backing.Buffer(bits.Pages() * metadata.BlockSize)
	if err := s.dev.ReadAt(raw, s.Layout.Bitmap); err != nil {
		return nil, fmt.Errorf("read the bitmap: %w", err)
	}
	return bits, bits.Decode(raw)
}

// writeBitmap writes the pages that differ from the disk's, durably.
func (s *Store) writeBitmap(bits *metadata.Bitmap) error {
	p := backing.Buffer(metadata.BlockSize)
	for page, ok := bits.NextDirty(0); ok; page, ok = bits.NextDirty(page + 1) {
		bits.EncodePage(page, p)
		if err := s.dev.WriteAt(p, s.Layout.Bitmap+int64(page)*metadata.BlockSize); err != nil {
			return fmt.Errorf("write the bitmap: %w", err)
		}
	}
	return s.flush("the bitmap")
}

// replayed is the bitmap with the extents of the activity log set, and how many blocks that added. A log that cannot be
// trusted sets every bit. What a former Primary left in the log after its demotion counts no more.
func (s *Store) replayed() (bits *metadata.Bitmap, added uint64, err error) {
	if bits, err = s.Bitmap(); err != nil {
		return nil, 0, err
	}
	if s.SB.Flags&(metadata.PrimaryInd|metadata.CrashedPrimary) == 0 {
		return bits, 0, nil
	}
	area := backing.Buffer(int(s.Layout.ALSize))
	if err := s.dev.ReadAt(area, s.Layout.AL); err != nil {
		return nil, 0, fmt.Errorf("read the activity log: %w", err)
	}
	replay, err := metadata.ReplayAL(area, s.Layout.Stripes)
	if err != nil {
		return bits, bits.Set(0, bits.Bits()), nil
	}
	for _, x := range replay.Extents {
		added += bits.SetExtent(x)
	}
	return bits, added, nil
}

// ApplyAL takes the extents that a crashed Primary may have written to for out of sync and marks the metadata clean. It
// returns how many bytes became out of sync. Clean metadata is left alone.
func (s *Store) ApplyAL() (added int64, err error) {
	if !s.SB.Unclean {
		return 0, nil
	}
	bits, n, err := s.replayed()
	if err != nil {
		return 0, err
	}
	if err := s.writeBitmap(bits); err != nil {
		return 0, err
	}
	if err := s.clearLog(); err != nil {
		return 0, err
	}
	s.SB.Unclean = false
	s.SB.Flags |= metadata.ALClean
	return int64(n) * metadata.BytesPerBit, s.Save()
}

// ErrInconsistent is Outdate's refusal.
var ErrInconsistent = errors.New("Device is inconsistent.")

// Outdate notes that the peer has newer data. An Inconsistent disk is less than Outdated already: ErrInconsistent.
func (s *Store) Outdate() error {
	if s.SB.Flags&metadata.Consistent == 0 {
		return ErrInconsistent
	}
	s.SB.Flags &^= metadata.WasUpToDate
	return s.Save()
}

// Invalidate notes that all data is to come from the peer.
func (s *Store) Invalidate() error {
	s.SB.Flags &^= metadata.Consistent | metadata.WasUpToDate
	s.SB.Flags |= metadata.FullSync
	return s.Save()
}
