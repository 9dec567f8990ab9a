// Package disk is the seam to a sector device with a volatile write cache: the real one (a block device or a file opened
// with O_DIRECT) and the doubles of the tests (recording, failing, losing what was not flushed) both fit Device.
package disk

// SectorSize is the unit of every offset and length given to a Device, in bytes.
const SectorSize = 512

// Device is a random-access store of Size bytes. All methods may be called at the same time from several goroutines;
// overlapping concurrent writes leave either content, sector by sector. Offsets and lengths are multiples of SectorSize
// (the real device wants its logical block size, and memory aligned to it: see Aligned).
//
// A write is volatile until a Flush that began after it returned nil. A failed Flush is never to be retried: what was
// written since the last good one must be taken as lost.
type Device interface {
	// ReadAt fills p from offset off, whole or with an error.
	ReadAt(p []byte, off int64) error
	// WriteAt stores p at offset off, whole or with an error; after an error the range holds old, new or mixed sectors.
	WriteAt(p []byte, off int64) error
	// Flush makes every write that returned before it began durable.
	Flush() error
	// Discard tells that [off, off+length) is not needed; it may read as anything afterwards, until written.
	Discard(off, length int64) error
	// WriteZeroes makes [off, off+length) read as zeros, by unmapping where the device can.
	WriteZeroes(off, length int64) error
	// Size is the capacity in bytes.
	Size() int64
	// Close gives the device back. It does not flush.
	Close() error
}

// Growing is a Device whose capacity may change while it is open.
type Growing interface {
	Device
	// Measure looks at the capacity anew and returns it; Size gives it from then on. Its caller sees to it that nothing is
	// under way beyond the smaller of the two.
	Measure() (int64, error)
}

// Kind is what an Operation does.
type Kind uint8

// The kinds an AsyncDevice takes. Flush has neither offset nor data.
const (
	Read Kind = iota + 1
	Write
	Flush
)

// Operation is a ReadAt, WriteAt or Flush that is carried out beside its caller. It belongs to the device from Start until
// its owner is told; then it may be used again.
type Operation struct {
	Kind  Kind
	Off   int64
	Data  []byte
	Owner Owner
}

// Owner is told how an operation ended, once, on a goroutine of the device's, which it must not hold up.
type Owner interface {
	Finished(o *Operation, err error)
}

// AsyncDevice is a Device that can carry many operations out at a time without a thread for each.
type AsyncDevice interface {
	Device
	// Start begins an operation and does not wait for the disk. It returns false, having done nothing, for one that only
	// the Device's own methods can carry out.
	Start(o *Operation) bool
}
