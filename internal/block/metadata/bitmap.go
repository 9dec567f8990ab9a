package metadata

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

const (
	wordBits     = 64
	wordsPerPage = BlockSize / 8
)

// Bitmap tells which blocks of 4 KiB are out of sync (bit set). On disk it is a row of little-endian 64-bit words. It
// remembers which of its 4 KiB pages differ from the disk's. Not safe for concurrent use.
type Bitmap struct {
	size  uint64 // in bits
	words []uint64
	count uint64
	dirty []bool // by page
}

// NewBitmap makes a bitmap with no bit set for a volume of size bytes; a last part block counts as a block.
func NewBitmap(size int64) *Bitmap {
	n := uint64((size + BytesPerBit - 1) / BytesPerBit)
	words := (n + wordBits - 1) / wordBits
	pages := (words + wordsPerPage - 1) / wordsPerPage
	return &Bitmap{size: n, words: make([]uint64, words), dirty: make([]bool, pages)}
}

// Resize makes it the bitmap of a volume of another size in bytes. New blocks are in sync; of the last block of the smaller
// size, if it was a part, the bit stays.
func (b *Bitmap) Resize(size int64) {
	next := NewBitmap(size)
	for i := range min(len(b.words), len(next.words)) {
		w := b.words[i]
		if left := next.size - uint64(i)*wordBits; left < wordBits {
			w &= 1<<left - 1
		}
		next.words[i] = w
		next.count += uint64(bits.OnesCount64(w))
	}
	copy(next.dirty, b.dirty)
	*b = *next
}

// Bits is the number of blocks.
func (b *Bitmap) Bits() uint64 { return b.size }

// Words is the number of 64-bit words.
func (b *Bitmap) Words() int { return len(b.words) }

// Pages is the number of 4 KiB pages on disk.
func (b *Bitmap) Pages() int { return len(b.dirty) }

// Count is the number of bits set.
func (b *Bitmap) Count() uint64 { return b.count }

// Test tells whether a bit is set; bits beyond the end are not.
func (b *Bitmap) Test(bit uint64) bool {
	return bit < b.size && b.words[bit/wordBits]>>(bit%wordBits)&1 != 0
}

// Set sets n bits from first, as far as they exist, and returns how many were clear.
func (b *Bitmap) Set(first, n uint64) (changed uint64) {
	b.each(first, n, func(w int, mask uint64) {
		if add := mask &^ b.words[w]; add != 0 {
			b.words[w] |= mask
			changed += uint64(bits.OnesCount64(add))
			b.dirty[w/wordsPerPage] = true
		}
	})
	b.count += changed
	return changed
}

// Clear clears n bits from first, as far as they exist, and returns how many were set.
func (b *Bitmap) Clear(first, n uint64) (changed uint64) {
	b.each(first, n, func(w int, mask uint64) {
		if drop := mask & b.words[w]; drop != 0 {
			b.words[w] &^= mask
			changed += uint64(bits.OnesCount64(drop))
			b.dirty[w/wordsPerPage] = true
		}
	})
	b.count -= changed
	return changed
}

// SetBytes sets the bit of every block that [offset, offset+length) touches, in bytes.
func (b *Bitmap) SetBytes(offset, length int64) (changed uint64) {
	if length <= 0 {
		return 0
	}
	first := uint64(offset) / BytesPerBit
	return b.Set(first, (uint64(offset+length)+BytesPerBit-1)/BytesPerBit-first)
}

// ClearBytes clears the bit of every block that lies wholly in [offset, offset+length), in bytes; the last block of the
// volume counts as whole when the range reaches its end, size bytes being the volume's.
func (b *Bitmap) ClearBytes(offset, length, size int64) (changed uint64) {
	first := (uint64(offset) + BytesPerBit - 1) / BytesPerBit
	end := uint64(offset+length) / BytesPerBit
	if offset+length >= size {
		end = b.size
	}
	if length <= 0 || end <= first {
		return 0
	}
	return b.Clear(first, end-first)
}

// SetExtent sets all bits of an activity log extent.
func (b *Bitmap) SetExtent(extent uint32) (changed uint64) {
	const per = ExtentSize / BytesPerBit
	return b.Set(uint64(extent)*per, per)
}

// CountRange counts the bits set among n from first.
func (b *Bitmap) CountRange(first, n uint64) (set uint64) {
	b.each(first, n, func(w int, mask uint64) { set += uint64(bits.OnesCount64(b.words[w] & mask)) })
	return set
}

// each calls f for each word that has some of the n bits from first, with the mask of these.
func (b *Bitmap) each(first, n uint64, f func(word int, mask uint64)) {
	if first >= b.size {
		return
	}
	end := first + min(n, b.size-first)
	for first < end {
		w, low := first/wordBits, first%wordBits
		take := min(wordBits-low, end-first)
		f(int(w), ^uint64(0)>>(wordBits-take)<<low)
		first += take
	}
}

// NextSet finds the first set bit at from or after; ok is false if there is none.
func (b *Bitmap) NextSet(from uint64) (bit uint64, ok bool) { return b.next(from, 0) }

// NextClear finds the first clear bit at from or after; ok is false if there is none.
func (b *Bitmap) NextClear(from uint64) (bit uint64, ok bool) { return b.next(from, ^uint64(0)) }

func (b *Bitmap) next(from, invert uint64) (uint64, bool) {
	if from >= b.size {
		return 0, false
	}
	mask := ^uint64(0) << (from % wordBits)
	for w := from / wordBits; w < uint64(len(b.words)); w++ {
		if v := (b.words[w] ^ invert) & mask; v != 0 {
			if bit := w*wordBits + uint64(bits.TrailingZeros64(v)); bit < b.size {
				return bit, true
			}
			return 0, false
		}
		mask = ^uint64(0)
	}
	return 0, false
}

// Word gives the 64 bits from i*64; bits beyond the end are clear.
func (b *Bitmap) Word(i int) uint64 { return b.words[i] }

// OrWord sets the bits of v among the 64 from i*64; words and bits beyond the end are ignored. It is how a peer's
// bitmap is merged.
func (b *Bitmap) OrWord(i int, v uint64) (changed uint64) {
	if i < 0 || i >= len(b.words) {
		return 0
	}
	if tail := b.size - uint64(i)*wordBits; tail < wordBits {
		v &= 1<<tail - 1
	}
	add := v &^ b.words[i]
	if add == 0 {
		return 0
	}
	b.words[i] |= add
	b.dirty[i/wordsPerPage] = true
	changed = uint64(bits.OnesCount64(add))
	b.count += changed
	return changed
}

// NextDirty finds the first page at from or after that differs from the disk; ok is false if there is none.
func (b *Bitmap) NextDirty(from int) (page int, ok bool) {
	for p := max(from, 0); p < len(b.dirty); p++ {
		if b.dirty[p] {
			return p, true
		}
	}
	return 0, false
}

// Dirty tells whether a page differs from the disk.
func (b *Bitmap) Dirty(page int) bool { return b.dirty[page] }

// PageOfExtent is the page that holds the bits of an activity log extent.
func PageOfExtent(extent uint32) int {
	return int(uint64(extent) * (ExtentSize / BytesPerBit) / BitsPerPage)
}

// EncodePage writes a page, as it is to be on disk, into p of BlockSize bytes and takes it as written. If the write
// fails, MarkDirty takes that back.
func (b *Bitmap) EncodePage(page int, p []byte) {
	clear(p[:BlockSize])
	first := page * wordsPerPage
	for i, w := range b.words[first:min(first+wordsPerPage, len(b.words))] {
		binary.LittleEndian.PutUint64(p[8*i:], w)
	}
	b.dirty[page] = false
}

// MarkDirty demands that a page be written.
func (b *Bitmap) MarkDirty(page int) { b.dirty[page] = true }

// MarkAllDirty demands that every page be written.
func (b *Bitmap) MarkAllDirty() {
	for i := range b.dirty {
		b.dirty[i] = true
	}
}

// Decode replaces the whole content by what was read from disk; it needs Pages blocks, or the words alone.
func (b *Bitmap) Decode(p []byte) error {
	if len(p) < 8*len(b.words) {
		return fmt.Errorf("bitmap of %d bytes read, want %d", len(p), 8*len(b.words))
	}
	b.count = 0
	for i := range b.words {
		v := binary.LittleEndian.Uint64(p[8*i:])
		if tail := b.size - uint64(i)*wordBits; tail < wordBits {
			v &= 1<<tail - 1
		}
		b.words[i] = v
		b.count += uint64(bits.OnesCount64(v))
	}
	clear(b.dirty)
	return nil
}
