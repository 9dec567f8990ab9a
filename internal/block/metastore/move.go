package metastore

import (
	"fmt"

	"holdfast/internal/block/metadata"
	"holdfast/internal/disk"
)

// Move brings internal metadata to the end of a device that has grown from size was (bytes): the bitmap keeps its bits, an
// activity log that was not applied is applied. The superblock at the old place goes last. The new place must not overlap
// the old one (the device has to grow by at least the metadata's size) unless nothing has to be moved at all. The error is
// metadata.ErrNoMetadata if there is none at the old place either.
func Move(dev disk.Device, was int64) (*Store, error) {
	from, err := openSized(dev, metadata.Internal, 0, was)
	if err != nil {
		return nil, err
	}
	l, err := metadata.NewLayout(metadata.Internal, dev.Size(), 0, from.SB.Stripes())
	if err != nil {
		return nil, err
	}
	if l.Superblock == from.Layout.Superblock {
		return from, nil
	}
	if l.Bitmap < from.Layout.Superblock+metadata.BlockSize {
		return nil, fmt.Errorf("the device has grown from %d to %d bytes, too little to move its metadata of %d bytes without "+
			"overwriting it: grow it by %d bytes more", was, dev.Size(), l.Size, from.Layout.Superblock+metadata.BlockSize-l.Bitmap)
	}
	to, err := from.copyTo(l)
	if err != nil {
		return nil, err
	}
	return to, from.Wipe()
}

// copyTo writes the same metadata at another place of the device.
func (s *Store) copyTo(l metadata.Layout) (*Store, error) {
	bits, err := s.Bitmap()
	if s.SB.Unclean {
		bits, _, err = s.replayed()
	}
	if err != nil {
		return nil, err
	}
	sb := s.SB
	sb.Unclean = false
	sb.Flags |= metadata.ALClean
	fresh := metadata.NewSuperblock(l, sb.DeviceUUID)
	sb.MDSize, sb.ALOffset, sb.BitmapOffset = fresh.MDSize, fresh.ALOffset, fresh.BitmapOffset
	to := &Store{dev: s.dev, Layout: l, SB: sb}
	used := (l.Data/metadata.BytesPerBit/8 + metadata.BlockSize - 1) / metadata.BlockSize * metadata.BlockSize
	if err := s.dev.WriteZeroes(l.Bitmap, min(used, l.BitmapSize)); err != nil {
		return nil, fmt.Errorf("initialise the bitmap: %w", err)
	}
	bits.MarkAllDirty()
	return to, to.write(bits)
}

// write writes everything, the superblock last.
func (s *Store) write(bits *metadata.Bitmap) error {
	if err := s.writeBitmap(bits); err != nil {
		return err
	}
	if err := s.clearLog(); err != nil {
		return err
	}
	return s.Save()
}
