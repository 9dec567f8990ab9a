package volume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/internal/block/backing"
	"holdfast/internal/block/metadata"
	"holdfast/internal/block/resfile"
	"holdfast/internal/block/writepath"
	"holdfast/internal/disk"
)

// store is the attached disk with its metadata.
type store struct {
	data, meta disk.Device
	layout     metadata.Layout
	sb         metadata.Superblock
	written    []byte // the superblock as it is on disk
	size       int64
	bits       *metadata.Bitmap
	log        *metadata.ActivityLog
	extents    int
	logBase    uint32
	bmWrites   uint64
	alWrites   uint64 // of former logs
}

// errNoMetadata is drbdsetup's message for a disk without metadata.
var errNoMetadata = errors.New("(119) No valid meta-data signature found.\n\n\t==> Use 'drbdadm create-md res' to initialize meta-data area. <==")

// openStore opens the disks and reads the metadata; it writes nothing.
func openStore(open func(string) (disk.Device, error), v *resfile.Volume, options resfile.Options) (*store, error) {
	s := &store{extents: int(options.Number("al-extents", metadata.DefaultALExtents))}
	var err error
	if s.data, err = open(v.Disk); err != nil {
		return nil, err
	}
	s.meta = s.data
	if v.Meta.Kind != resfile.MetaInternal {
		if s.meta, err = open(v.Meta.Device); err != nil {
			return nil, errors.Join(err, s.data.Close())
		}
	}
	if err := s.read(v, options); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) close() error {
	err := s.data.Close()
	if s.meta != s.data {
		err = errors.Join(err, s.meta.Close())
	}
	return err
}

func kindOf(k resfile.MetaKind) metadata.Kind {
	switch k {
	case resfile.MetaIndexed:
		return metadata.Indexed
	case resfile.MetaFlexible:
		return metadata.Flexible
	}
	return metadata.Internal
}

func (s *store) read(v *resfile.Volume, options resfile.Options) error {
	kind := kindOf(v.Meta.Kind)
	at := metadata.SuperblockOffset(kind, s.meta.Size(), v.Meta.Index)
	if at < 0 || at+metadata.BlockSize > s.meta.Size() {
		return errNoMetadata
	}
	block := backing.Buffer(metadata.BlockSize)
	if err := s.meta.ReadAt(block, at); err != nil {
		return fmt.Errorf("read the superblock: %w", err)
	}
	if err := s.sb.Decode(block); errors.Is(err, metadata.ErrNoMetadata) {
		return errNoMetadata
	} else if err != nil {
		return err
	}
	s.written = bytes.Clone(block)
	var err error
	if s.layout, err = metadata.NewLayout(kind, s.meta.Size(), v.Meta.Index, s.sb.Stripes()); err != nil {
		return err
	}
	if err := s.layout.Check(&s.sb); err != nil {
		return err
	}
	s.size = s.pickSize(options)
	s.bits = metadata.NewBitmap(s.size)
	return s.readBitmap()
}

// capacity is the most the disk has room for, in bytes.
func (s *store) capacity() int64 { return min(s.layout.Data, s.data.Size()) &^ (disk.SectorSize - 1) }

func (s *store) pickSize(options resfile.Options) int64 {
	size := s.capacity()
	if want := options.Bytes("size", 0); want > 0 {
		size = min(size, want)
	}
	if s.sb.LastAgreedSize != 0 {
		size = min(size, int64(s.sb.LastAgreedSize)*disk.SectorSize)
	}
	return size
}

// shrink makes a device that never held data smaller: every block of it is out of sync.
func (s *store) shrink(size int64) error {
	s.size = size
	s.sb.LastAgreedSize = uint64(size / disk.SectorSize)
	s.bits = metadata.NewBitmap(size)
	s.bits.Set(0, s.bits.Bits())
	s.bits.MarkAllDirty()
	if err := s.writeBitmap(nil); err != nil {
		return err
	}
	return s.writeSuperblock()
}

func (s *store) readBitmap() error {
	raw := backing.Buffer(s.bits.Pages() * metadata.BlockSize)
	if err := s.meta.ReadAt(raw, s.layout.Bitmap); err != nil {
		return fmt.Errorf("read the bitmap: %w", err)
	}
	return s.bits.Decode(raw)
}

// recover applies the activity log if a Primary crashed, sets all bits if that was under way, and makes the log ready. The
// superblock says so before the log is overwritten.
func (s *store) recover() error {
	area := backing.Buffer(int(s.layout.ALSize))
	if err := s.meta.ReadAt(area, s.layout.AL); err != nil {
		return fmt.Errorf("read the activity log: %w", err)
	}
	replay, err := metadata.ReplayAL(area, s.layout.Stripes)
	crashed := s.sb.Flags&(metadata.PrimaryInd|metadata.CrashedPrimary) != 0
	if s.sb.LastAgreedSize == 0 || s.sb.Flags&metadata.FullSync != 0 || err != nil && crashed {
		s.bits.Set(0, s.bits.Bits())
	}
	if crashed {
		for _, x := range replay.Extents {
			s.bits.SetExtent(x)
		}
		s.sb.Flags |= metadata.CrashedPrimary
	}
	s.logBase = replay.Next
	s.sb.LastAgreedSize = uint64(s.size / disk.SectorSize)
	s.sb.ALExtents = uint32(s.extents)
	s.sb.PeerMaxBIO = 1 << 20
	s.sb.Unclean = true
	s.sb.Flags &^= metadata.ALClean
	if err := s.writeBitmap(nil); err != nil {
		return err
	}
	if err := s.writeSuperblock(); err != nil {
		return err
	}
	return s.newLog()
}

// newLog begins an empty activity log, on disk too.
func (s *store) newLog() error {
	if s.log != nil {
		s.logBase += uint32(s.log.Written())
		s.alWrites += s.log.Written()
	}
	log, err := metadata.NewActivityLog(s.layout.Stripes, s.extents, s.logBase)
	if err != nil {
		return err
	}
	s.log = log
	block := backing.Buffer(metadata.BlockSize)
	for range s.layout.Stripes.Total() {
		off := log.Prime(block)
		if err := s.meta.WriteAt(block, s.layout.AL+off); err != nil {
			return fmt.Errorf("write the activity log: %w", err)
		}
	}
	return s.meta.Flush()
}

// writeSuperblock writes the superblock durably, if it has changed.
func (s *store) writeSuperblock() error {
	block := backing.Buffer(metadata.BlockSize)
	s.sb.Encode(block)
	if bytes.Equal(block, s.written) {
		return nil
	}
	if err := s.meta.WriteAt(block, s.layout.Superblock); err != nil {
		return fmt.Errorf("write the superblock: %w", err)
	}
	if err := s.meta.Flush(); err != nil {
		return fmt.Errorf("write the superblock: %w", err)
	}
	s.written = append(s.written[:0], block...)
	return nil
}

// writeBitmap writes all changed pages durably. path, if not nil, tells what must stay set on disk.
func (s *store) writeBitmap(path *writepath.Core) error {
	pages := s.dirtyPages(path, s.bits.Pages())
	for _, p := range pages {
		if err := s.meta.WriteAt(p.data, p.off); err != nil {
			return fmt.Errorf("write the bitmap: %w", err)
		}
	}
	if len(pages) == 0 {
		return nil
	}
	if err := s.meta.Flush(); err != nil {
		return fmt.Errorf("write the bitmap: %w", err)
	}
	return nil
}

// dirtyPages encodes up to most changed pages.
func (s *store) dirtyPages(path *writepath.Core, most int) []piece {
	var list []piece
	shadow := s.shadow(path)
	for page, ok := s.bits.NextDirty(0); ok && len(list) < most; page, ok = s.bits.NextDirty(page + 1) {
		list = append(list, s.page(page, shadow))
	}
	return list
}

// shadow holds the bits that must stay set on disk although they are clear in memory; nil if there are none.
func (s *store) shadow(path *writepath.Core) *metadata.Bitmap {
	if path == nil || !path.ResyncUnconfirmed() {
		return nil
	}
	b := metadata.NewBitmap(s.size)
	path.AddUnconfirmedTo(b)
	return b
}

func (s *store) page(page int, shadow *metadata.Bitmap) piece {
	buf := backing.Buffer(metadata.BlockSize)
	s.bits.EncodePage(page, buf)
	s.bmWrites++
	if shadow != nil {
		const words = metadata.BlockSize / 8
		for i := page * words; i < min((page+1)*words, shadow.Words()); i++ {
			at := buf[(i-page*words)*8:]
			was := binary.LittleEndian.Uint64(at)
			if now := was | shadow.Word(i); now != was {
				binary.LittleEndian.PutUint64(at, now)
				s.bits.MarkDirty(page)
			}
		}
	}
	return piece{off: s.layout.Bitmap + int64(page)*metadata.BlockSize, data: buf}
}

// logPieces are the writes of one transaction: first the bitmap of the extents that leave the log.
func (s *store) logPieces(t metadata.ALTransaction, block []byte, path *writepath.Core) (pages, log []piece) {
	var shadow *metadata.Bitmap
	for _, x := range t.Evicted {
		page := metadata.PageOfExtent(x)
		if page < s.bits.Pages() && s.bits.Dirty(page) {
			if len(pages) == 0 {
				shadow = s.shadow(path)
			}
			pages = append(pages, s.page(page, shadow))
		}
	}
	return pages, []piece{{off: s.layout.AL + t.Offset, data: block}}
}

// markClean is the end of a proper detach: nothing is to be applied at the next attach.
func (s *store) markClean(path *writepath.Core) error {
	if err := s.writeBitmap(path); err != nil {
		return err
	}
	s.sb.Unclean = false
	s.sb.Flags |= metadata.ALClean
	return s.writeSuperblock()
}
