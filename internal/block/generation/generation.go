// Package generation holds a volume's data generation identifiers and what DRBD 8.4 concludes from comparing two sets
// of them: whether a resync is needed, which side is its source, whether the bitmap suffices, or that the data diverged.
// Source of the rules: the DRBD User's Guide 8.4 ("Generation Identifiers") and recordings of the kernel module.
package generation

import "fmt"

// JustCreated is the current UUID of a disk that has fresh metadata and never held a generation.
const JustCreated uint64 = 4

// primaryBit, the lowest of a UUID, says that the node was Primary; it takes no part in comparisons.
const primaryBit uint64 = 1

// bitmapStep is what the source of a resync adds to its bitmap UUID to name the resync, and with it the generation
// of a target that is interrupted half way.
const bitmapStep uint64 = 0x0001000000000000

// Set is a node's generation identifiers: the current one, the base its bitmap counts from (0 when the bitmap means
// nothing), and the two last bases before that, youngest first.
type Set struct {
	Current uint64
	Bitmap  uint64
	History [2]uint64
}

// String gives the set as DRBD writes it: CURRENT:BITMAP:HISTORY:HISTORY, in hex.
func (s Set) String() string {
	return fmt.Sprintf("%016X:%016X:%016X:%016X", s.Current, s.Bitmap, s.History[0], s.History[1])
}

// Same tells whether two UUIDs name one generation: they differ at most in the bit that says who was Primary.
func Same(a, b uint64) bool { return a&^primaryBit == b&^primaryBit }

// WithRole returns the set with the Primary bit of the current UUID set or cleared, as a change of role demands.
func (s Set) WithRole(primary bool) Set {
	s.Current &^= primaryBit
	if primary {
		s.Current |= primaryBit
	}
	return s
}

// NewCurrent begins a new generation: the old current UUID becomes the bitmap's base. It happens when a Primary loses its
// peer, when a node is promoted alone (NeedsNewCurrent), and on a forced promotion. A bitmap base that is still there
// goes into the history, so that a peer of that base gets a full resync. fresh must be random; its lowest bit is ignored.
func (s Set) NewCurrent(fresh uint64, primary bool) Set {
	if s.Bitmap != 0 {
		s = s.retireBitmap()
	}
	s.Bitmap = s.Current
	s.Current = fresh
	return s.WithRole(primary)
}

// NeedsNewCurrent tells whether a Primary whose peer is gone must begin a new generation before its next write: not if
// the bitmap already counts from an older one.
func (s Set) NeedsNewCurrent() bool { return s.Bitmap == 0 }

// Rename begins a new generation while the bitmap goes on counting from its base: of a source that goes on alone, since the target may
// have finished the resync, and hold the present generation, without word of it. It is older then by the history.
func (s Set) Rename(fresh uint64, primary bool) Set {
	s.History[1] = s.Current
	s.Current = fresh
	return s.WithRole(primary)
}

// Lent tells whether the bitmap's base is the name of a resync this node was the source of, and has not seen the end of.
func (s Set) Lent() bool {
	return s.Bitmap != 0 && s.History[0] != 0 && Same(s.Bitmap, s.History[0]+bitmapStep)
}

// StartSource names a resync this node is the source of: it returns the set to store and the UUID to send to the target
// (P_SYNC_UUID). fresh, random, is used when there is no usable bitmap base to derive the name from.
func (s Set) StartSource(fresh uint64) (Set, uint64) {
	name := fresh &^ primaryBit
	if s.Bitmap != 0 && s.Bitmap != JustCreated {
		name = s.Bitmap + bitmapStep
	}
	s = s.setBitmap(name)
	return s, name
}

// StartTarget takes the name of the resync this node is the target of as its generation, until the resync is finished.
func (s Set) StartTarget(name uint64) Set {
	s.Current = name
	s.Bitmap = 0
	return s.WithRole(false)
}

// FinishSource returns the source's set after a complete resync: the peer now holds the current generation.
func (s Set) FinishSource() Set { return s.setBitmap(0) }

// FinishTarget returns the target's set after a complete resync from a source whose set, at the handshake, was source.
// Afterwards both sides' sets are equal but for the Primary bit.
func (s Set) FinishTarget(source Set, primary bool) Set {
	name := s.Current
	s.Bitmap, s.History = source.Bitmap, source.History
	s = s.setBitmap(name)
	s.Current = source.Current
	return s.setBitmap(0).WithRole(primary)
}

// Clear forgets the bitmap's base because both disks were found equal without any resync.
func (s Set) Clear() Set { return s.setBitmap(0) }

// KeepBase notes the bitmap's base in the history as well. A source moves it there when it begins a resync; should that never
// reach this side, the two have it in common still.
func (s Set) KeepBase() Set {
	if s.Bitmap != 0 && !Same(s.Bitmap, s.History[0]) {
		s.History[1], s.History[0] = s.History[0], s.Bitmap
	}
	return s
}

// setBitmap replaces the bitmap's base and keeps the former one in the history.
func (s Set) setBitmap(base uint64) Set {
	if s.Bitmap != 0 {
		s = s.retireBitmap()
	}
	s.Bitmap = base
	return s
}

func (s Set) retireBitmap() Set {
	s.History[1] = s.History[0]
	s.History[0] = s.Bitmap
	s.Bitmap = 0
	return s
}
