// Package metadata reads and writes DRBD's on-disk metadata, format v08 as DRBD 8.4 keeps it: the superblock with the
// generation identifiers, the activity log and the bitmap of blocks out of sync, and where each of them lies. Source of
// the format: the DRBD User's Guide 8.4 ("DRBD internals"), the output of drbdmeta, and recorded images.
package metadata

import (
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/internal/block/generation"
)

// Sizes of the format, in bytes.
const (
	SectorSize   = 512
	BlockSize    = 4096 // of the superblock, of an activity log transaction, of a bitmap bit and a bitmap page
	ExtentSize   = 4 << 20
	BitsPerPage  = BlockSize * 8
	BytesPerBit  = BlockSize
	slotSize     = 128 << 20 // of an indexed external slot
	bitsPerByte  = 8
	sectorsBlock = BlockSize / SectorSize
)

// Defaults of a new superblock.
const (
	DefaultALExtents   = 1237 // the 8.4 option al-extents
	createALExtents    = 257  // what drbdmeta writes before the kernel's first attach
	DefaultALStripes   = 1
	DefaultALStripe4K  = 8
	magicClean         = 0x8374026b
	magicUnclean       = 0x8374026c
	maxALBlocks        = 1 << 20 / 4 // 1 GiB of activity log
	superblockFields   = 96
	maxMDSize          = 1 << 31 // sectors
	uuidSlots          = 4
	offUUIDs           = 8
	offDeviceUUID      = 40
	offFlags           = 56
	offMagic           = 60
	offMDSize          = 64
	offALOffset        = 68
	offALExtents       = 72
	offBitmapOffset    = 76
	offBytesPerBit     = 80
	offMaxBIO          = 84
	offALStripes       = 88
	offALStripeSize    = 92
	supportedBitSize   = BytesPerBit
	extentsPerALUpdate = 64
)

// Flags are the superblock's state bits.
type Flags uint32

// The flags of format v08.
const (
	Consistent     Flags = 1 << 0 // the data is consistent in itself
	PrimaryInd     Flags = 1 << 1 // the node is or was Primary: set at attach time it means a crashed Primary
	ConnectedInd   Flags = 1 << 2 // the node is or was connected
	FullSync       Flags = 1 << 3 // setting every bit was begun: set them all at attach
	WasUpToDate    Flags = 1 << 4
	PeerOutdated   Flags = 1 << 5 // the peer's disk is Outdated or Inconsistent
	CrashedPrimary Flags = 1 << 6
	ALClean        Flags = 1 << 7 // the activity log holds nothing to apply
	ALDisabled     Flags = 1 << 8
)

// Superblock is the 4 KiB block that describes the rest.
type Superblock struct {
	LastAgreedSize uint64 // sectors; 0 before the first attach
	UUIDs          generation.Set
	DeviceUUID     uint64 // random, made with the metadata
	Flags          Flags
	Unclean        bool // attached and not properly detached: apply the activity log first
	MDSize         uint32
	ALOffset       int32  // sectors from the superblock
	ALExtents      uint32 // slots of the activity log
	BitmapOffset   int32  // sectors from the superblock
	BytesPerBit    uint32
	PeerMaxBIO     uint32 // bytes, as last agreed; 0 when never
	ALStripes      uint32
	ALStripe4K     uint32
}

// ErrNoMetadata is returned by Decode for a block without a DRBD v08 magic.
var ErrNoMetadata = errors.New("no valid DRBD v08 metadata found")

// NewSuperblock is what create-md writes: a just created, Inconsistent disk. deviceUUID must be random and not 0.
func NewSuperblock(l Layout, deviceUUID uint64) *Superblock {
	return &Superblock{
		UUIDs:        generation.Set{Current: generation.JustCreated},
		DeviceUUID:   deviceUUID,
		Flags:        ALClean,
		MDSize:       uint32(l.Size / SectorSize),
		ALOffset:     int32((l.AL - l.Superblock) / SectorSize),
		ALExtents:    createALExtents,
		BitmapOffset: int32((l.Bitmap - l.Superblock) / SectorSize),
		BytesPerBit:  BytesPerBit,
		ALStripes:    l.Stripes.Count,
		ALStripe4K:   l.Stripes.Blocks,
	}
}

// Encode writes the superblock into p, of BlockSize bytes.
func (s *Superblock) Encode(p []byte) {
	be := binary.BigEndian
	clear(p[:BlockSize])
	be.PutUint64(p, s.LastAgreedSize)
	for i, u := range s.uuids() {
		be.PutUint64(p[offUUIDs+8*i:], *u)
	}
	be.PutUint64(p[offDeviceUUID:], s.DeviceUUID)
	be.PutUint32(p[offFlags:], uint32(s.Flags))
	magic := uint32(magicClean)
	if s.Unclean {
		magic = magicUnclean
	}
	be.PutUint32(p[offMagic:], magic)
	for _, f := range s.words() {
		be.PutUint32(p[f.off:], f.get())
	}
}

func (s *Superblock) uuids() [uuidSlots]*uint64 {
	return [...]*uint64{&s.UUIDs.Current, &s.UUIDs.Bitmap, &s.UUIDs.History[0], &s.UUIDs.History[1]}
}

// word is a 32-bit field of the superblock and its place.
type word struct {
	off      int
	unsigned *uint32
	signed   *int32
}

func (w word) get() uint32 {
	if w.signed != nil {
		return uint32(*w.signed)
	}
	return *w.unsigned
}

func (w word) set(v uint32) {
	if w.signed != nil {
		*w.signed = int32(v)
		return
	}
	*w.unsigned = v
}

func (s *Superblock) words() [8]word {
	return [...]word{
		{off: offMDSize, unsigned: &s.MDSize},
		{off: offALOffset, signed: &s.ALOffset},
		{off: offALExtents, unsigned: &s.ALExtents},
		{off: offBitmapOffset, signed: &s.BitmapOffset},
		{off: offBytesPerBit, unsigned: &s.BytesPerBit},
		{off: offMaxBIO, unsigned: &s.PeerMaxBIO},
		{off: offALStripes, unsigned: &s.ALStripes},
		{off: offALStripeSize, unsigned: &s.ALStripe4K},
	}
}

// Decode reads the superblock from p, of at least BlockSize bytes. The error is ErrNoMetadata if there is none, or says
// which field is out of range. It does not check the offsets against a device: Layout.Check does.
func (s *Superblock) Decode(p []byte) error {
	be := binary.BigEndian
	if len(p) < BlockSize {
		return fmt.Errorf("superblock of %d bytes, want %d", len(p), BlockSize)
	}
	d := Superblock{}
	switch be.Uint32(p[offMagic:]) {
	case magicClean:
	case magicUnclean:
		d.Unclean = true
	default:
		return ErrNoMetadata
	}
	d.LastAgreedSize = be.Uint64(p)
	for i, u := range d.uuids() {
		*u = be.Uint64(p[offUUIDs+8*i:])
	}
	d.DeviceUUID = be.Uint64(p[offDeviceUUID:])
	d.Flags = Flags(be.Uint32(p[offFlags:]))
	for _, f := range d.words() {
		f.set(be.Uint32(p[f.off:]))
	}
	if err := d.validate(); err != nil {
		return err
	}
	*s = d
	return nil
}

func (s *Superblock) validate() error {
	switch {
	case s.BytesPerBit != supportedBitSize:
		return fmt.Errorf("superblock: %d bytes per bitmap bit, only %d is supported", s.BytesPerBit, supportedBitSize)
	case s.MDSize > maxMDSize:
		return fmt.Errorf("superblock: metadata of %d sectors", s.MDSize)
	case s.ALExtents > maxALExtents:
		return fmt.Errorf("superblock: %d activity log extents, at most %d", s.ALExtents, maxALExtents)
	}
	return s.Stripes().validate()
}

// Stripes is the activity log's geometry; metadata older than 8.4 has zeros for the default.
func (s *Superblock) Stripes() Stripes {
	if s.ALStripes == 0 && s.ALStripe4K == 0 {
		return DefaultStripes()
	}
	return Stripes{Count: s.ALStripes, Blocks: s.ALStripe4K}
}

// Disk is the state the disk has at attach, from its flags: Inconsistent, Outdated or Consistent (whether Consistent
// becomes UpToDate is decided when the peer is known, or at once where no fencing policy asks for more).
func (s *Superblock) Disk() generation.DiskState {
	switch {
	case s.Flags&Consistent == 0:
		return generation.Inconsistent
	case s.Flags&WasUpToDate == 0:
		return generation.Outdated
	}
	return generation.Consistent
}
