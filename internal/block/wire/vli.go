package wire

import "math/bits"

// The run lengths of a compressed bitmap are coded in a variable number of bits, short runs in few. A code is a prefix,
// least significant bit first, that tells the level, and data bits: the run length less the level's base.

// vliLevel is one length of code.
type vliLevel struct {
	total, prefix int    // bits
	pattern       uint64 // of the prefix
	base          uint64 // the smallest run coded at this level
}

const vliLevels = 10

// vliTable gives the levels: bits in all, bits of prefix, prefix. The first run length of a level follows the last of
// the level before.
func vliTable() [vliLevels]vliLevel {
	t := [vliLevels]vliLevel{{2, 1, 0x00, 0}, {3, 2, 0x01, 0}, {5, 3, 0x03, 0}, {7, 4, 0x07, 0}, {10, 5, 0x0f, 0},
		{14, 6, 0x1f, 0}, {21, 8, 0x3f, 0}, {29, 8, 0x7f, 0}, {42, 8, 0xbf, 0}, {64, 8, 0xff, 0}}
	base := uint64(1)
	for i := range t {
		t[i].base = base
		base += 1 << (t[i].total - t[i].prefix)
	}
	return t
}

// vliEncode gives the code of a run length of at least 1.
func vliEncode(run uint64) (code uint64, length int) {
	t := vliTable()
	for i := len(t) - 1; i >= 0; i-- {
		if run >= t[i].base {
			return (run-t[i].base)<<t[i].prefix | t[i].pattern, t[i].total
		}
	}
	panic("wire: run of no bits")
}

// vliDecode reads the code in the low bits of v, of which have are valid; ok is false if it ends early.
func vliDecode(v uint64, have int) (run uint64, length int, ok bool) {
	t := vliTable()
	for _, l := range t {
		if v&(1<<l.prefix-1) != l.pattern {
			continue
		}
		if have < l.total {
			return 0, 0, false
		}
		data := v >> l.prefix & (1<<(l.total-l.prefix) - 1)
		return l.base + data, l.total, true
	}
	return 0, 0, false
}

// bitWriter appends bits, least significant first, to the bytes of a packet.
type bitWriter struct {
	dst  []byte
	used int // bits used of the last byte, 0 for none begun
}

func (w *bitWriter) write(v uint64, n int) {
	for n > 0 {
		if w.used == 0 {
			w.dst = append(w.dst, 0)
		}
		w.dst[len(w.dst)-1] |= byte(v << w.used)
		take := min(8-w.used, n)
		v >>= take
		n -= take
		w.used = (w.used + take) % 8
	}
}

// pad is the number of bits unused in the last byte.
func (w *bitWriter) pad() int { return (8 - w.used) % 8 }

// bitReader reads what bitWriter wrote.
type bitReader struct {
	p   []byte
	at  int // bits read
	end int // bits there are
}

// peek gives the next bits, up to 64, and how many there are.
func (r *bitReader) peek() (v uint64, n int) {
	n = min(r.end-r.at, 64)
	for i := 0; i < n; {
		b := r.at + i
		v |= uint64(r.p[b/8]>>(b%8)) << i
		i += 8 - b%8
	}
	if n < 64 {
		v &= 1<<max(n, 0) - 1
	}
	return v, n
}

// popcount is the number of bits set.
func popcount(v uint64) uint64 { return uint64(bits.OnesCount64(v)) }
