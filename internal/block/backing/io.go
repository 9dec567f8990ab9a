package backing

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
)

// memoryAlign is what every block device accepts as the address of a buffer.
const memoryAlign = 512

// Buffer gives n bytes of page-aligned memory.
func Buffer(n int) []byte {
	raw := make([]byte, n+unix.Getpagesize())
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & uintptr(unix.Getpagesize()-1))
	return raw[off : off+n : off+n]
}

func (d *Device) check(off, length int64) error {
	if off < 0 || length < 0 || off%disk.SectorSize != 0 || length%disk.SectorSize != 0 || off > d.size.Load()-length {
		return fmt.Errorf("%s: range %d+%d is not within the device of %d bytes, in sectors", d.path, off, length, d.size.Load())
	}
	return nil
}

// direct tells whether the access can go to the device as it is.
func (d *Device) direct(p []byte, off int64) bool {
	if len(p) == 0 {
		return true
	}
	a := int64(d.align)
	return off%a == 0 && int64(len(p))%a == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%memoryAlign == 0
}

// widen gives the aligned range around [off, off+n).
func (d *Device) widen(off, n int64) (start, length int64) {
	a := int64(d.align)
	start = off / a * a
	end := (off + n + a - 1) / a * a
	return start, end - start
}

// ReadAt fills p from offset off.
func (d *Device) ReadAt(p []byte, off int64) error {
	if err := d.check(off, int64(len(p))); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if d.direct(p, off) {
		return d.read(p, off)
	}
	start, n := d.widen(off, int64(len(p)))
	buf := Buffer(int(n))
	if err := d.read(buf, start); err != nil {
		return err
	}
	copy(p, buf[off-start:])
	return nil
}

func (d *Device) read(p []byte, off int64) error {
	if q := d.queue.Load(); q != nil && len(p) > 0 {
		if ok, err := q.wait(disk.Read, p, off); ok {
			return err
		}
	}
	return d.readPlain(p, off)
}

func (d *Device) readPlain(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(int(d.file.Fd()), p, off)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read %s at %d, %d bytes: %w", d.path, off, len(p), err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// WriteAt stores p at offset off. A write smaller than the device's own blocks reads what is around it first; two such
// writes into one block must not run at the same time (the volume serialises what overlaps within 4 KiB).
func (d *Device) WriteAt(p []byte, off int64) error {
	if err := d.check(off, int64(len(p))); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if d.direct(p, off) {
		return d.write(p, off)
	}
	start, n := d.widen(off, int64(len(p)))
	buf := Buffer(int(n))
	if start != off || n != int64(len(p)) {
		if err := d.read(buf, start); err != nil {
			return err
		}
	}
	copy(buf[off-start:], p)
	return d.write(buf, start)
}

func (d *Device) write(p []byte, off int64) error {
	if q := d.queue.Load(); q != nil && len(p) > 0 {
		if ok, err := q.wait(disk.Write, p, off); ok {
			return err
		}
	}
	return d.writePlain(p, off)
}

func (d *Device) writePlain(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(int(d.file.Fd()), p, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %s at %d, %d bytes: %w", d.path, off, len(p), err)
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// Discard unmaps the range where the device can, and makes it read as zeros: replicas must stay identical byte for byte,
// which a discard with undefined content would not promise.
func (d *Device) Discard(off, length int64) error { return d.zero("discard", off, length) }

// WriteZeroes makes the range read as zeros.
func (d *Device) WriteZeroes(off, length int64) error { return d.zero("write zeroes", off, length) }

func (d *Device) zero(what string, off, length int64) error {
	if err := d.check(off, length); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if length == 0 {
		return nil
	}
	for _, mode := range []uint32{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE} {
		err := d.fallocate(mode, off, length)
		if err == nil {
			return nil
		}
		if !unsupported(err) {
			return fmt.Errorf("%s %s at %d, %d bytes: %w", what, d.path, off, length, err)
		}
	}
	return d.writeZeros(off, length)
}

func (d *Device) fallocate(mode uint32, off, length int64) error {
	for {
		if err := unix.Fallocate(int(d.file.Fd()), mode, off, length); err != unix.EINTR {
			return err
		}
	}
}

// unsupported also takes EINVAL: ranges that are not whole blocks of a block device get it.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}

// zeroChunk is how much is written at once where the device cannot zero by itself.
const zeroChunk = 1 << 20

func (d *Device) writeZeros(off, length int64) error {
	buf := Buffer(zeroChunk)
	for length > 0 {
		n := min(length, zeroChunk)
		if err := d.WriteAt(buf[:n], off); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}
