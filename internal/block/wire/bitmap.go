package wire

import (
	"encoding/binary"
	"fmt"
)

// A bitmap is sent as a row of packets, each either run lengths (P_COMPRESSED_BITMAP: a byte with code, pad bits and the
// value of the first run, then the codes of vli.go) or plain words (P_BITMAP: little-endian, 64 bits), whichever is
// shorter for the part that comes next. All but the last packet of words are as long as a socket buffer of the
// original; the end is told by the count of bits, or by a packet of no words where words were sent last.
const (
	bitmapPacket  = 4096 // header and payload
	runCode       = 2
	runPadShift   = 4
	runPadMask    = 7
	runFirstSet   = 0x80
	runCodeMask   = 0x0f
	wordBits      = 64
	wordBytes     = 8
	longestCode   = 8 // bytes
	runHeadLength = 1
)

// BitSource is a bitmap to send.
type BitSource interface {
	// Bits is the number of bits.
	Bits() uint64
	// Word gives the 64 bits from i*64.
	Word(i int) uint64
	// NextSet finds the first set bit at from or after.
	NextSet(from uint64) (uint64, bool)
	// NextClear finds the first clear bit at from or after.
	NextClear(from uint64) (uint64, bool)
}

// BitmapSender makes the packets of one bitmap. The bitmap must not change until it is done. The zero value is ready.
type BitmapSender struct {
	at   uint64
	done bool
}

// Append appends the next packet. It returns dst unchanged once Done.
func (s *BitmapSender) Append(dst []byte, f Form, volume uint16, src BitSource) []byte {
	if s.done {
		return dst
	}
	start := len(dst)
	room := bitmapPacket - f.Size()
	dst = AppendHeader(dst, f, Header{Command: CompressedBM, Volume: volume})
	body := len(dst)
	dst, next := appendRuns(dst, room, s.at, src)
	if next-s.at >= uint64(len(dst)-body)*8 && next > s.at {
		s.at = next
		s.done = next >= src.Bits()
		AppendHeader(dst[:start], f, Header{Command: CompressedBM, Volume: volume, Length: uint32(len(dst) - body)})
		return dst
	}
	return s.appendWords(dst[:start], f, volume, src)
}

// Done tells whether the last packet has been made.
func (s *BitmapSender) Done() bool { return s.done }

// appendRuns encodes runs from bit at into at most room bytes and returns the bit after them.
func appendRuns(dst []byte, room int, at uint64, src BitSource) ([]byte, uint64) {
	head := len(dst)
	dst = append(dst, 0)
	w := bitWriter{dst: dst}
	first := at < src.Bits() && src.Word(int(at/wordBits))>>(at%wordBits)&1 != 0
	for set := first; at < src.Bits() && len(w.dst)-head+longestCode <= room; set = !set {
		end := runEnd(at, set, src)
		w.write(vliEncode(end - at))
		at = end
	}
	w.dst[head] = byte(runCode | w.pad()<<runPadShift)
	if first {
		w.dst[head] |= runFirstSet
	}
	return w.dst, at
}

// runEnd finds where the run of set (or clear) bits that begins at `at` ends.
func runEnd(at uint64, set bool, src BitSource) uint64 {
	next := src.NextSet
	if set {
		next = src.NextClear
	}
	if end, ok := next(at); ok {
		return end
	}
	return src.Bits()
}

// appendWords makes a plain packet; the word in which the last run ended is sent whole. A packet of no words is the last.
func (s *BitmapSender) appendWords(dst []byte, f Form, volume uint16, src BitSource) []byte {
	if s.at >= src.Bits() {
		s.done = true
		return AppendHeader(dst, f, Header{Command: Bitmap, Volume: volume})
	}
	first := s.at / wordBits
	n := plainWords(f, first, src.Bits())
	dst = AppendHeader(dst, f, Header{Command: Bitmap, Volume: volume, Length: uint32(n * wordBytes)})
	for i := range n {
		dst = binary.LittleEndian.AppendUint64(dst, src.Word(int(first+i)))
	}
	s.at = min((first+n)*wordBits, src.Bits())
	return dst
}

// plainWords is the number of words a plain packet must have that begins with word first.
func plainWords(f Form, first, size uint64) uint64 {
	words := (size + wordBits - 1) / wordBits
	if first >= words {
		return 0
	}
	return min(uint64(bitmapPacket-f.Size())/wordBytes, words-first)
}

// BitSink is the bitmap a peer's is merged into.
type BitSink interface {
	// Bits is the number of bits.
	Bits() uint64
	// Set sets n bits from first.
	Set(first, n uint64) uint64
	// OrWord sets the bits of v among the 64 from i*64.
	OrWord(i int, v uint64) uint64
}

// BitmapReceiver merges the packets of one bitmap. The zero value is ready.
type BitmapReceiver struct {
	at   uint64
	done bool
	// Received counts the bits that were set in what came.
	Received uint64
}

// Done tells whether the whole bitmap has come.
func (r *BitmapReceiver) Done() bool { return r.done }

// Receive merges one packet, Bitmap or CompressedBM, that had a header of form f. After an error the connection must be
// dropped; bits merged so far only make more blocks resync.
func (r *BitmapReceiver) Receive(cmd Command, f Form, p []byte, sink BitSink) error {
	if r.done {
		return fmt.Errorf("wire: %v after the end of the bitmap", cmd)
	}
	switch cmd {
	case Bitmap:
		return r.words(f, p, sink)
	case CompressedBM:
		return r.runs(p, sink)
	}
	return fmt.Errorf("wire: %v in the middle of a bitmap", cmd)
}

func (r *BitmapReceiver) words(f Form, p []byte, sink BitSink) error {
	first := r.at / wordBits
	if r.at >= sink.Bits() {
		first = (sink.Bits() + wordBits - 1) / wordBits
	}
	want := plainWords(f, first, sink.Bits())
	if uint64(len(p)) != want*wordBytes {
		return fmt.Errorf("wire: P_BITMAP of %d bytes, want %d: do both nodes agree on the size of the device?",
			len(p), want*wordBytes)
	}
	for i := range want {
		v := binary.LittleEndian.Uint64(p[i*wordBytes:])
		r.Received += popcount(v)
		sink.OrWord(int(first+i), v)
	}
	r.at = min((first+want)*wordBits, sink.Bits())
	r.done = want == 0
	return nil
}

func (r *BitmapReceiver) runs(p []byte, sink BitSink) error {
	if len(p) <= runHeadLength || p[0]&runCodeMask != runCode {
		return fmt.Errorf("wire: P_COMPRESSED_BITMAP of %d bytes in an unknown code", len(p))
	}
	in := bitReader{p: p[runHeadLength:], end: (len(p)-runHeadLength)*8 - int(p[0]>>runPadShift&runPadMask)}
	for set := p[0]&runFirstSet != 0; in.at < in.end; set = !set {
		run, n, ok := vliDecode(in.peek())
		if !ok || run > sink.Bits()-r.at {
			return fmt.Errorf("wire: P_COMPRESSED_BITMAP: bad run at bit %d of %d", r.at, sink.Bits())
		}
		if set {
			sink.Set(r.at, run)
			r.Received += run
		}
		r.at += run
		in.at += n
	}
	r.done = r.at == sink.Bits()
	return nil
}
