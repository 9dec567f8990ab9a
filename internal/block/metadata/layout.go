package metadata

import "fmt"

// Kind is where a volume's metadata lives.
type Kind uint8

// The kinds of the .res grammar: `meta-disk internal`, `meta-disk DEV [INDEX]`, `flexible-meta-disk DEV`.
const (
	Internal Kind = iota + 1 // at the end of the data's own device
	Indexed                  // in a slot of 128 MiB of another device
	Flexible                 // alone on another device
)

// Stripes is the geometry of the activity log's ring: Count stripes of Blocks blocks of 4 KiB.
type Stripes struct {
	Count, Blocks uint32
}

// DefaultStripes is the geometry create-md writes: 32 KiB in one piece.
func DefaultStripes() Stripes { return Stripes{Count: DefaultALStripes, Blocks: DefaultALStripe4K} }

// Total is the number of 4 KiB blocks of the ring.
func (s Stripes) Total() uint32 { return s.Count * s.Blocks }

// block gives the place in the ring, in blocks from its start, of the transaction with this number.
func (s Stripes) block(transaction uint32) uint32 {
	t := transaction % s.Total()
	return t%s.Count*s.Blocks + t/s.Count
}

func (s Stripes) validate() error {
	total := uint64(s.Count) * uint64(s.Blocks)
	if total < DefaultALStripe4K || total > maxALBlocks {
		return fmt.Errorf("superblock: activity log of %d stripes of %d blocks, want %d to %d blocks in all",
			s.Count, s.Blocks, DefaultALStripe4K, maxALBlocks)
	}
	return nil
}

// Layout is where everything lies: byte offsets on the metadata device.
type Layout struct {
	Kind       Kind
	Superblock int64
	AL         int64 // start of the activity log, ALSize bytes
	ALSize     int64
	Bitmap     int64 // start of the bitmap, BitmapSize bytes reserved
	BitmapSize int64
	Size       int64 // all of the metadata
	// Data is the largest size in bytes of the volume: for Internal what is left of the device, for the others what the
	// reserved bitmap can cover (the data device may be smaller).
	Data    int64
	Stripes Stripes
}

// SuperblockOffset is where the superblock is, in bytes, on a metadata device of size bytes: all one must know to find
// the rest. It may be negative or beyond the end for a device that is too small.
func SuperblockOffset(kind Kind, size int64, index int) int64 {
	switch kind {
	case Internal:
		return size/BlockSize*BlockSize - BlockSize
	case Indexed:
		return int64(index) * slotSize
	}
	return 0
}

// NewLayout computes where metadata goes on a device of size bytes. index matters for Indexed only. It fails if the
// device is too small, and says what is needed.
func NewLayout(kind Kind, size int64, index int, s Stripes) (Layout, error) {
	if err := s.validate(); err != nil {
		return Layout{}, err
	}
	l := Layout{Kind: kind, Stripes: s, ALSize: int64(s.Total()) * BlockSize}
	switch kind {
	case Internal:
		return l.internal(size)
	case Indexed:
		return l.external(int64(index)*slotSize, slotSize, size)
	case Flexible:
		return l.external(0, size&^(SectorSize-1), size)
	}
	panic(fmt.Sprintf("metadata: no layout of kind %d", kind))
}

// internal puts, at the end of the device and downwards: superblock, activity log, bitmap. The bitmap is sized for the
// whole device: 512 bytes for each 16 MiB begun, in whole 4 KiB.
func (l Layout) internal(size int64) (Layout, error) {
	const bitmapUnit = BlockSize * BitsPerPage
	l.Superblock = SuperblockOffset(Internal, size, 0)
	l.AL = l.Superblock - l.ALSize
	l.BitmapSize = (size + bitmapUnit - 1) / bitmapUnit * BlockSize
	l.Bitmap = l.AL - l.BitmapSize
	l.Size = l.Superblock + BlockSize - l.Bitmap
	l.Data = l.Bitmap
	if l.Data < BlockSize {
		return Layout{}, fmt.Errorf("a device of %d bytes is too small for internal metadata of %d bytes", size, l.Size)
	}
	return l, nil
}

// external puts, from start upwards: superblock, activity log, bitmap to the end of the room.
func (l Layout) external(start, room, size int64) (Layout, error) {
	l.Superblock, l.Size = start, room
	l.AL = start + BlockSize
	l.Bitmap = l.AL + l.ALSize
	l.BitmapSize = (start + room - l.Bitmap) / BlockSize * BlockSize
	l.Data = l.BitmapSize * bitsPerByte * BytesPerBit
	if start < 0 || l.BitmapSize <= 0 || start+room > size {
		need := max(start+room, l.Bitmap+BlockSize)
		return Layout{}, fmt.Errorf("the metadata device has %d bytes, %d are needed", size, need)
	}
	return l, nil
}

// Check tells whether sb, found at l.Superblock, describes this layout, and takes its activity log geometry and offsets.
// A difference means that the device was resized, or that the metadata is of another kind than configured.
func (l Layout) Check(sb *Superblock) error {
	al := l.Superblock + int64(sb.ALOffset)*SectorSize
	bm := l.Superblock + int64(sb.BitmapOffset)*SectorSize
	if al != l.AL || bm != l.Bitmap {
		return fmt.Errorf("metadata is not where it belongs (activity log at %d and bitmap at %d, expected %d and %d): "+
			"was the device resized, or the meta-disk setting changed?", al, bm, l.AL, l.Bitmap)
	}
	if sb.LastAgreedSize > uint64(l.Data/SectorSize) {
		return fmt.Errorf("the volume had %d sectors, the device now has room for %d", sb.LastAgreedSize, l.Data/SectorSize)
	}
	return nil
}
