package volume

import (
	"fmt"

	"holdfast/internal/block/backing"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/writepath"
	"holdfast/internal/disk"
	"holdfast/internal/planted"
)

// measure looks at the disks' sizes again and gives the layout the metadata would have now. index is that of the
// configuration.
func (s *store) measure(index int) (metadata.Layout, error) {
	devices := []disk.Device{s.data}
	if s.meta != s.data {
		devices = append(devices, s.meta)
	}
	for _, d := range devices {
		if g, ok := d.(disk.Growing); ok {
			if _, err := g.Measure(); err != nil {
				return metadata.Layout{}, err
			}
		}
	}
	return metadata.NewLayout(s.layout.Kind, s.meta.Size(), index, s.sb.Stripes())
}

// roomIn is the most there is room for with a layout, in bytes.
func (s *store) roomIn(l metadata.Layout) int64 {
	return min(l.Data, s.data.Size()) &^ (disk.SectorSize - 1)
}

// mayMove tells whether the metadata can be put where a layout has it: a crash must find either the old or the new.
func (s *store) mayMove(l metadata.Layout) error {
	end := s.layout.Superblock + metadata.BlockSize
	if l.Superblock == s.layout.Superblock || l.Bitmap >= end {
		return nil
	}
	if l.Superblock < s.layout.Superblock {
		return fmt.Errorf("the disk has become smaller: its metadata was at %d, it now ends at %d", s.layout.Superblock, s.meta.Size())
	}
	return fmt.Errorf("the disk has grown too little to move its metadata of %d bytes without overwriting it: make it %d bytes larger", l.Size, end-l.Bitmap)
}

// move brings the metadata to where a layout has it: everything but the superblock, then that, and the old superblock goes
// last. The activity log is empty afterwards: the caller has seen to it that nothing is under way.
func (s *store) move(l metadata.Layout, path *writepath.Core) error {
	was := s.layout
	s.layout = l
	fresh := metadata.NewSuperblock(l, s.sb.DeviceUUID)
	s.sb.MDSize, s.sb.ALOffset, s.sb.BitmapOffset = fresh.MDSize, fresh.ALOffset, fresh.BitmapOffset
	if l.Superblock == was.Superblock {
		return s.writeSuperblock()
	}
	s.bits.MarkAllDirty()
	if err := s.writeBitmap(path); err != nil {
		return err
	}
	if err := s.newLog(); err != nil {
		return err
	}
	s.written = nil
	if err := s.writeSuperblock(); err != nil {
		return err
	}
	if err := s.meta.WriteAt(backing.Buffer(metadata.BlockSize), was.Superblock); err != nil {
		return fmt.Errorf("remove the superblock at its old place: %w", err)
	}
	return s.meta.Flush()
}

// resize gives the volume another size, durably. fresh says that new blocks are out of sync.
func (s *store) resize(size int64, fresh bool, path *writepath.Core) error {
	was := s.size
	s.size = size
	s.bits.Resize(size)
	if fresh && size > was && !planted.NewAreaUnmarked {
		s.bits.SetBytes(was, size-was)
	}
	s.bits.MarkAllDirty()
	if err := s.writeBitmap(path); err != nil {
		return err
	}
	s.sb.LastAgreedSize = uint64(size / disk.SectorSize)
	return s.writeSuperblock()
}
