package metadata

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// An activity log transaction is a block of 4 KiB, all fields big-endian: magic, number, CRC-32C (computed with this
// field zero, without the usual inversions), type, count of updates, count of slots, first slot of the context; 16 bytes
// reserved; 64 slot numbers and 64 extents of the updates; 919 extents of the context. A ring of these blocks names,
// with the contexts of the last ones, every slot's extent.
const (
	alMagic          = 0x69cb65a2
	alTypeUpdate     = 0
	alTypeInitial    = 0xffff
	alUpdates        = extentsPerALUpdate
	alContext        = 919
	alFreeSlot       = 0xffff
	alFreeExtent     = 0xffffffff
	alOffNumber      = 4
	alOffCRC         = 8
	alOffType        = 12
	alOffUpdates     = 14
	alOffSlots       = 16
	alOffContext     = 18
	alOffUpdateSlot  = 36
	alOffUpdateExt   = alOffUpdateSlot + 2*alUpdates
	alOffContextExt  = alOffUpdateExt + 4*alUpdates
	maxALExtents     = alFreeSlot - 1
	minALExtents     = 7 // DRBD's lower limit of al-extents
	serialNumberHalf = 1 << 31
)

// alUpdate puts an extent into a slot.
type alUpdate struct {
	slot   uint16
	extent uint32
}

// alBlock is a decoded transaction.
type alBlock struct {
	number       uint32
	initial      bool
	slots        uint16
	contextStart uint16
	updates      []alUpdate
	context      []byte // of the block: 4 bytes for each slot from contextStart
}

// alCRC is the checksum of a block, the CRC field taken as zero.
func alCRC(p []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var zero [4]byte
	c := crc32.Update(^uint32(0), table, p[:alOffCRC])
	c = crc32.Update(c, table, zero[:])
	return ^crc32.Update(c, table, p[alOffCRC+4:BlockSize])
}

// EncodeALInitial writes into p, of BlockSize bytes, the block that an unused activity log consists of.
func EncodeALInitial(p []byte) {
	clear(p[:BlockSize])
	binary.BigEndian.PutUint32(p, alMagic)
	binary.BigEndian.PutUint16(p[alOffType:], alTypeInitial)
	binary.BigEndian.PutUint32(p[alOffCRC:], alCRC(p))
}

// encodeAL writes a transaction; extentOf gives each slot's extent, or alFreeExtent.
func encodeAL(p []byte, number uint32, updates []alUpdate, slots, start int, extentOf func(slot int) uint32) {
	be := binary.BigEndian
	clear(p[:BlockSize])
	be.PutUint32(p, alMagic)
	be.PutUint32(p[alOffNumber:], number)
	be.PutUint16(p[alOffType:], alTypeUpdate)
	be.PutUint16(p[alOffUpdates:], uint16(len(updates)))
	be.PutUint16(p[alOffSlots:], uint16(slots))
	be.PutUint16(p[alOffContext:], uint16(start))
	for i := range alUpdates {
		u := alUpdate{slot: alFreeSlot, extent: alFreeExtent}
		if i < len(updates) {
			u = updates[i]
		}
		be.PutUint16(p[alOffUpdateSlot+2*i:], u.slot)
		be.PutUint32(p[alOffUpdateExt+4*i:], u.extent)
	}
	for i := range alContext {
		extent := uint32(alFreeExtent)
		if start+i < slots {
			extent = extentOf(start + i)
		}
		be.PutUint32(p[alOffContextExt+4*i:], extent)
	}
	be.PutUint32(p[alOffCRC:], alCRC(p))
}

// decodeAL reads a block; ok is false if it is no valid transaction (never written, or torn).
func decodeAL(p []byte) (b alBlock, ok bool) {
	be := binary.BigEndian
	if be.Uint32(p) != alMagic || be.Uint32(p[alOffCRC:]) != alCRC(p) {
		return b, false
	}
	b.number = be.Uint32(p[alOffNumber:])
	switch be.Uint16(p[alOffType:]) {
	case alTypeInitial:
		b.initial = true
		return b, true
	case alTypeUpdate:
	default:
		return b, false
	}
	b.slots, b.contextStart = be.Uint16(p[alOffSlots:]), be.Uint16(p[alOffContext:])
	n := int(be.Uint16(p[alOffUpdates:]))
	if n > alUpdates || b.slots > maxALExtents || b.contextStart > b.slots {
		return b, false
	}
	for i := range n {
		u := alUpdate{slot: be.Uint16(p[alOffUpdateSlot+2*i:]), extent: be.Uint32(p[alOffUpdateExt+4*i:])}
		if u.slot >= b.slots {
			return b, false
		}
		b.updates = append(b.updates, u)
	}
	covered := min(alContext, int(b.slots-b.contextStart))
	b.context = p[alOffContextExt : alOffContextExt+4*covered]
	return b, true
}

// ALReplay is what an activity log area says.
type ALReplay struct {
	// Extents were hot, in ascending order: their blocks must be taken as out of sync after a crash.
	Extents []uint32
	// Next is the number after the last transaction, to continue the log with.
	Next uint32
}

// ReplayAL reads a whole activity log area (Stripes.Total blocks). At most one block, the last one written, may be torn.
// An error means the log cannot be trusted: every block of the volume must then be taken as out of sync.
func ReplayAL(area []byte, s Stripes) (ALReplay, error) {
	if err := s.validate(); err != nil {
		return ALReplay{}, err
	}
	if len(area) < int(s.Total())*BlockSize {
		return ALReplay{}, fmt.Errorf("activity log area of %d bytes, want %d", len(area), int(s.Total())*BlockSize)
	}
	ring := readRing(area, s)
	if len(ring.blocks) == 0 {
		if ring.initial {
			return ALReplay{}, nil
		}
		return ALReplay{}, fmt.Errorf("activity log: none of the %d blocks is valid", s.Total())
	}
	return ring.replay(s)
}

// alRing is the valid content of an area.
type alRing struct {
	blocks  map[uint32]alBlock // by number
	newest  uint32
	initial bool // some block is still as create-md left it
}

func readRing(area []byte, s Stripes) alRing {
	ring := alRing{blocks: map[uint32]alBlock{}}
	for i := range int(s.Total()) {
		b, ok := decodeAL(area[i*BlockSize : (i+1)*BlockSize])
		switch {
		case !ok:
		case b.initial:
			ring.initial = true
		case s.block(b.number) == uint32(i):
			if len(ring.blocks) == 0 || b.number-ring.newest < serialNumberHalf {
				ring.newest = b.number
			}
			ring.blocks[b.number] = b
		}
	}
	return ring
}

// replay applies the unbroken run of transactions that ends with the newest.
func (r alRing) replay(s Stripes) (ALReplay, error) {
	first := r.newest
	for n := uint32(1); n < s.Total(); n++ {
		if _, ok := r.blocks[r.newest-n]; !ok {
			break
		}
		first = r.newest - n
	}
	slots := make([]uint32, r.blocks[r.newest].slots)
	seen := make([]bool, len(slots))
	for i := range slots {
		slots[i] = alFreeExtent
	}
	for n := first; ; n++ {
		r.blocks[n].apply(slots, seen)
		if n == r.newest {
			break
		}
	}
	for i, ok := range seen {
		if !ok && !r.initial {
			return ALReplay{}, fmt.Errorf("activity log: slot %d of %d is in none of the transactions %d to %d",
				i, len(slots), first, r.newest)
		}
	}
	return ALReplay{Extents: usedExtents(slots), Next: r.newest + 1}, nil
}

func (b alBlock) apply(slots []uint32, seen []bool) {
	for i := 0; i*4 < len(b.context); i++ {
		if slot := int(b.contextStart) + i; slot < len(slots) {
			slots[slot], seen[slot] = binary.BigEndian.Uint32(b.context[4*i:]), true
		}
	}
	for _, u := range b.updates {
		if int(u.slot) < len(slots) {
			slots[u.slot], seen[u.slot] = u.extent, true
		}
	}
}
