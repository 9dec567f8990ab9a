package wire

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"holdfast/internal/block/metadata"
)

// transfer sends a bitmap over, packet by packet, and tells how many of each kind it took.
func transfer(t rapid.TB, src BitSource, f Form, into BitSink) (plain, runs int, r *BitmapReceiver) {
	t.Helper()
	var s BitmapSender
	r = &BitmapReceiver{}
	var buf []byte
	for !s.Done() {
		buf = s.Append(buf[:0], f, 7, src)
		h, size, err := DecodeHeader(buf)
		if err != nil || int(h.Length) != len(buf)-size || len(buf) > bitmapPacket {
			t.Fatalf("packet of %d bytes: %+v, %v", len(buf), h, err)
		}
		switch h.Command {
		case Bitmap:
			plain++
		case CompressedBM:
			runs++
		}
		if r.Done() {
			t.Fatal("the receiver was done before the sender")
		}
		if err := r.Receive(h.Command, f, buf[size:], into); err != nil {
			t.Fatal(err)
		}
	}
	if !r.Done() {
		t.Fatal("the receiver waits for more")
	}
	if more := s.Append(buf, f, 7, src); len(more) != len(buf) {
		t.Fatal("a packet after the last")
	}
	return plain, runs, r
}

// equalBits compares two bitmaps of one size.
func equalBits(a, b *metadata.Bitmap) bool {
	for i := range a.Words() {
		if a.Word(i) != b.Word(i) {
			return false
		}
	}
	return a.Bits() == b.Bits() && a.Count() == b.Count()
}

// TestBitmapTransfer sends random bitmaps, sparse, dense and mixed, into bitmaps with bits of their own: the result is both.
func TestBitmapTransfer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 600<<20).Draw(t, "size")
		src, dst, want := metadata.NewBitmap(size), metadata.NewBitmap(size), metadata.NewBitmap(size)
		for range rapid.IntRange(0, 12).Draw(t, "ranges") {
			scatter(t, src, want)
		}
		own := rapid.Uint64Range(0, src.Bits()).Draw(t, "own")
		dst.Set(own, 100)
		want.Set(own, 100)
		form := rapid.SampledFrom([]Form{Form80, Form95, Form100}).Draw(t, "form")
		_, _, r := transfer(t, src, form, dst)
		if !equalBits(dst, want) {
			t.Fatalf("%d bits arrived, want %d", dst.Count(), want.Count())
		}
		if r.Received < src.Count() {
			t.Fatalf("received %d of %d", r.Received, src.Count())
		}
	})
}

// scatter sets a run, or a noisy stretch that run lengths are bad at.
func scatter(t *rapid.T, src, want *metadata.Bitmap) {
	first := rapid.Uint64Range(0, src.Bits()).Draw(t, "first")
	n := rapid.Uint64Range(0, 30000).Draw(t, "length")
	step := rapid.SampledFrom([]uint64{1, 1, 2, 3, 64}).Draw(t, "step")
	if step == 1 {
		src.Set(first, n)
		want.Set(first, n)
		return
	}
	for b := first; b < first+n; b += step {
		src.Set(b, 1)
		want.Set(b, 1)
	}
}

// TestBitmapForms: which kind of packet is used when, and how the end is told.
func TestBitmapForms(t *testing.T) {
	const size = 64 << 20 // 16384 bits, 256 words: one plain packet
	for _, c := range []struct {
		name        string
		size        int64
		fill        func(b *metadata.Bitmap)
		plain, runs int
	}{
		{"empty", size, func(*metadata.Bitmap) {}, 0, 1},
		{"full", size, func(b *metadata.Bitmap) { b.Set(0, b.Bits()) }, 0, 1},
		{"noise", size, func(b *metadata.Bitmap) {
			for i := uint64(0); i < b.Bits(); i += 2 {
				b.Set(i, 1)
			}
		}, 2, 0}, // and one of no words
		{"a lot of noise", 1 << 30, func(b *metadata.Bitmap) {
			for i := uint64(0); i < b.Bits(); i += 2 {
				b.Set(i, 1)
			}
		}, 10, 0}, // 4096 words in packets of 510, and one of none
		{"noise, then nothing", 1 << 30, func(b *metadata.Bitmap) {
			for i := uint64(0); i < 30000; i += 2 {
				b.Set(i, 1)
			}
		}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := metadata.NewBitmap(c.size), metadata.NewBitmap(c.size)
			c.fill(src)
			plain, runs, _ := transfer(t, src, Form100, dst)
			if plain != c.plain || runs != c.runs {
				t.Errorf("%d plain and %d compressed packets, want %d and %d", plain, runs, c.plain, c.runs)
			}
			if !equalBits(src, dst) {
				t.Error("the bitmaps differ")
			}
		})
	}
}

// TestRecordedBitmaps reads the bitmaps two kernels exchanged (16374 bits) and writes them again as they did.
func TestRecordedBitmaps(t *testing.T) {
	const sectors, sectorBytes = 130992, 512
	n := 0
	for _, name := range []string{"drbd84.pcap", "drbd84-crash-splitbrain.pcap"} {
		for _, p := range readCapture(t, shared(t, name)) {
			if p.header.Command != CompressedBM {
				continue
			}
			n++
			b := metadata.NewBitmap(sectors * sectorBytes)
			var r BitmapReceiver
			if err := r.Receive(CompressedBM, Form100, p.payload, b); err != nil {
				t.Fatal(err)
			}
			if !r.Done() {
				t.Error("the recorded bitmap is not complete")
			}
			var s BitmapSender
			if got := s.Append(nil, Form100, 0, b); !bytes.Equal(got, p.raw) {
				t.Errorf("%d bits set:\n got % x\nwant % x", b.Count(), got, p.raw)
			}
		}
	}
	if n < 6 {
		t.Errorf("only %d bitmaps recorded", n)
	}
}

// TestBadBitmaps: what does not fit is refused.
func TestBadBitmaps(t *testing.T) {
	const size = 64 << 20
	full := make([]byte, 2048)
	for _, c := range []struct {
		name string
		cmd  Command
		p    []byte
	}{
		{"another packet", State, []byte{0, 0, 0, 0}},
		{"plain of a wrong length", Bitmap, full[:2040]},
		{"plain that is too long", Bitmap, make([]byte, 2056)},
		{"no words at once", Bitmap, nil},
		{"no code", CompressedBM, []byte{2}},
		{"unknown code", CompressedBM, []byte{0x13, 0}},
		{"a run beyond the end", CompressedBM, []byte{0x32, 0x7f, 0xd5, 0x1e, 0x00}},
		{"a code cut off", CompressedBM, []byte{0x02, 0xff}},
	} {
		b := metadata.NewBitmap(size)
		var r BitmapReceiver
		if err := r.Receive(c.cmd, Form100, c.p, b); err == nil {
			t.Errorf("%s was accepted", c.name)
		}
	}
	b := metadata.NewBitmap(size)
	var r BitmapReceiver
	for _, p := range [][]byte{full, nil} {
		if err := r.Receive(Bitmap, Form100, p, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Receive(Bitmap, Form100, nil, b); err == nil {
		t.Error("a packet after the end was accepted")
	}
}

// TestRunCodes encodes runs around every level's limits and reads them back.
func TestRunCodes(t *testing.T) {
	runs := []uint64{1, 2, 3, 4, 5, 8, 9, 16, 17, 48, 49, 304, 305, 8496, 8497, 2105648, 2105649, 1 << 34, 1 << 40, 1 << 55}
	for _, run := range runs {
		code, n := vliEncode(run)
		for _, extra := range []uint64{0, ^uint64(0)} {
			v := code
			if n < 64 {
				v |= extra << n
			}
			if got, length, ok := vliDecode(v, 64); !ok || got != run || length != n {
				t.Errorf("run %d: decoded %d, %d bits of %d, %v", run, got, length, n, ok)
			}
		}
		if _, _, ok := vliDecode(code, n-1); ok {
			t.Errorf("run %d is decoded from a bit too few", run)
		}
	}
	want := []int{2, 2, 3, 3, 5, 5, 7, 7, 10, 10, 14, 14, 21, 21, 29, 29}
	var lengths []int
	for _, run := range runs[:len(want)] {
		_, n := vliEncode(run)
		lengths = append(lengths, n)
	}
	if !slices.Equal(lengths, want) {
		t.Errorf("lengths %v, want %v", lengths, want)
	}
}

func FuzzBitmap(f *testing.F) {
	f.Add([]byte{0x32, 0x7f, 0xc5, 0x1e, 0x00}, true)
	f.Add([]byte{0x22, 0x3f, 0x49, 0x96, 0x03, 0x07, 0xfe, 0x6c, 0x0e, 0x00}, true)
	f.Add(make([]byte, 2048), false)
	f.Fuzz(func(t *testing.T, p []byte, runs bool) {
		b := metadata.NewBitmap(16374 * 4096)
		cmd := Bitmap
		if runs {
			cmd = CompressedBM
		}
		var r BitmapReceiver
		if r.Receive(cmd, Form100, p, b) != nil {
			return
		}
		dst := metadata.NewBitmap(16374 * 4096)
		transfer(t, b, Form100, dst)
		if !equalBits(b, dst) {
			t.Fatal("the bitmap changed on its way")
		}
	})
}
