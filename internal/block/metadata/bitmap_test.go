package metadata

import (
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func putCRC(p []byte) { binary.BigEndian.PutUint32(p[alOffCRC:], alCRC(p)) }

// naive is the plainest possible bitmap.
type naive []bool

func (n naive) put(first, count uint64, v bool) (changed uint64) {
	for i := first; i < uint64(len(n)) && i-first < count; i++ {
		if n[i] != v {
			n[i] = v
			changed++
		}
	}
	return changed
}

func (n naive) count(first, count uint64) (set uint64) {
	for i := first; i < uint64(len(n)) && i-first < count; i++ {
		if n[i] {
			set++
		}
	}
	return set
}

func (n naive) next(from uint64, v bool) (uint64, bool) {
	for i := from; i < uint64(len(n)); i++ {
		if n[i] == v {
			return i, true
		}
	}
	return 0, false
}

// TestBitmapAgainstNaive does the same random operations on both and compares all answers, what is dirty included.
func TestBitmapAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 5*BitsPerPage*BytesPerBit).Draw(t, "size")
		b := NewBitmap(size)
		n := make(naive, b.Bits())
		if want := uint64((size + 4095) / 4096); b.Bits() != want {
			t.Fatalf("%d bits, want %d", b.Bits(), want)
		}
		disk := make([]byte, b.Pages()*BlockSize)
		bit := rapid.Uint64Range(0, b.Bits()+100)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			step(t, b, n, disk, bit)
			if b.Count() != n.count(0, b.Bits()) {
				t.Fatalf("count %d, want %d", b.Count(), n.count(0, b.Bits()))
			}
		}
		writeDirty(b, disk)
		back := NewBitmap(size)
		if err := back.Decode(disk); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(back.words, b.words) || back.Count() != b.Count() {
			t.Fatal("the dirty pages written do not give the bitmap back")
		}
	})
}

func writeDirty(b *Bitmap, disk []byte) {
	for p, ok := b.NextDirty(0); ok; p, ok = b.NextDirty(p + 1) {
		b.EncodePage(p, disk[p*BlockSize:])
	}
}

func step(t *rapid.T, b *Bitmap, n naive, disk []byte, bit *rapid.Generator[uint64]) {
	first, count := bit.Draw(t, "first"), bit.Draw(t, "count")
	switch rapid.IntRange(0, 6).Draw(t, "op") {
	case 0:
		same(t, "set", b.Set(first, count), n.put(first, count, true))
	case 1:
		same(t, "clear", b.Clear(first, count), n.put(first, count, false))
	case 2:
		same(t, "count", b.CountRange(first, count), n.count(first, count))
	case 3:
		got, ok := b.NextSet(first)
		want, wantOK := n.next(first, true)
		if got != want || ok != wantOK {
			t.Fatalf("next set from %d: %d %v, want %d %v", first, got, ok, want, wantOK)
		}
		got, ok = b.NextClear(first)
		want, wantOK = n.next(first, false)
		if got != want || ok != wantOK {
			t.Fatalf("next clear from %d: %d %v, want %d %v", first, got, ok, want, wantOK)
		}
	case 4:
		v := rapid.Uint64().Draw(t, "word")
		word := int(first / 64)
		var changed uint64
		for i := range uint64(64) {
			if v>>i&1 != 0 {
				changed += n.put(uint64(word)*64+i, 1, true)
			}
		}
		same(t, "or", b.OrWord(word, v), changed)
	case 5:
		writeDirty(b, disk)
	case 6:
		if got, want := b.Test(first), first < uint64(len(n)) && n[first]; got != want {
			t.Fatalf("test %d: %v", first, got)
		}
	}
}

func same(t *rapid.T, what string, got, want uint64) {
	if got != want {
		t.Fatalf("%s: %d, want %d", what, got, want)
	}
}

// TestByteRanges: a write marks every block it touches, a resync clears only blocks it covered.
func TestByteRanges(t *testing.T) {
	const size = 10*4096 + 512 // the last block is a part
	for _, c := range []struct {
		offset, length int64
		set, clear     []uint64
	}{
		{0, 0, nil, nil},
		{0, 1, []uint64{0}, nil},
		{0, 4096, []uint64{0}, []uint64{0}},
		{512, 4096, []uint64{0, 1}, nil},
		{512, 8192, []uint64{0, 1, 2}, []uint64{1}},
		{9 * 4096, 4096 + 512, []uint64{9, 10}, []uint64{9, 10}},
		{10 * 4096, 512, []uint64{10}, []uint64{10}},
		{9*4096 + 512, 4096, []uint64{9, 10}, []uint64{10}},
	} {
		b := NewBitmap(size)
		b.SetBytes(c.offset, c.length)
		if got := bitsOf(b); !slices.Equal(got, c.set) {
			t.Errorf("SetBytes(%d, %d): %v, want %v", c.offset, c.length, got, c.set)
		}
		b.Set(0, b.Bits())
		b.ClearBytes(c.offset, c.length, size)
		var gone []uint64
		for i := range b.Bits() {
			if !b.Test(i) {
				gone = append(gone, i)
			}
		}
		if !slices.Equal(gone, c.clear) {
			t.Errorf("ClearBytes(%d, %d): %v, want %v", c.offset, c.length, gone, c.clear)
		}
	}
}

func bitsOf(b *Bitmap) (all []uint64) {
	for i, ok := b.NextSet(0); ok; i, ok = b.NextSet(i + 1) {
		all = append(all, i)
	}
	return all
}

func TestExtents(t *testing.T) {
	b := NewBitmap(300<<20 + 4096)
	for extent, want := range map[uint32]uint64{0: 1024, 74: 1024, 75: 1, 76: 0, 1<<32 - 1: 0} {
		if got := b.SetExtent(extent); got != want {
			t.Errorf("extent %d sets %d bits, want %d", extent, got, want)
		}
	}
	for extent, want := range map[uint32]int{0: 0, 31: 0, 32: 1, 64: 2} {
		if got := PageOfExtent(extent); got != want {
			t.Errorf("extent %d is on page %d, want %d", extent, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	l, err := NewLayout(Internal, 64<<20, 0, DefaultStripes())
	if err != nil {
		f.Fatal(err)
	}
	p := make([]byte, BlockSize)
	NewSuperblock(l, 99).Encode(p)
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		var sb Superblock
		if sb.Decode(p) != nil {
			return
		}
		_ = l.Check(&sb)
		back := make([]byte, BlockSize)
		sb.Encode(back)
		if !slices.Equal(back[:superblockFields][:48], p[:48]) || !slices.Equal(back[56:superblockFields], p[56:superblockFields]) {
			t.Fatalf("% x became % x", p[:superblockFields], back[:superblockFields])
		}
		var again Superblock
		if err := again.Decode(back); err != nil || again != sb {
			t.Fatalf("%+v became %+v, %v", sb, again, err)
		}
	})
}
