// Package backing opens the disk below a volume: a block device or a regular file, with O_DIRECT, so that what a write
// returned is at the device and not in this host's page cache.
package backing

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/internal/disk"
)

// Device is a disk.Device over a file descriptor. Methods may be called at the same time from several goroutines.
type Device struct {
	file  *os.File
	path  string
	size  atomic.Int64
	align int
	block bool
	past  bool // opened with O_DIRECT, past the page cache

	begin sync.Once
	queue atomic.Pointer[queue] // nil before the first Start, and where the kernel has none
}

var (
	_ disk.AsyncDevice = (*Device)(nil)
	_ disk.Growing     = (*Device)(nil)
)

// Open opens the block device or regular file at path for reading and writing. A block device is opened exclusively: it
// fails with EBUSY while it is mounted or held by another volume; a file is locked instead.
func Open(path string) (*Device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open backing disk: %w", err)
	}
	block := info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0
	if !block && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open backing disk %s: not a block device or a file", path)
	}
	flags := unix.O_RDWR | unix.O_CLOEXEC
	if block {
		flags |= unix.O_EXCL
	}
	d := &Device{path: path, block: block, align: disk.SectorSize}
	if err := d.open(flags); err != nil {
		return nil, err
	}
	if err := d.measure(); err != nil {
		d.file.Close()
		return nil, err
	}
	return d, nil
}

// open tries O_DIRECT, and goes without where the filesystem does not know it (tmpfs): Flush is an fdatasync either way.
func (d *Device) open(flags int) error {
	fd, err := unix.Open(d.path, flags|unix.O_DIRECT, 0)
	d.past = err == nil
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.Open(d.path, flags, 0)
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("open backing disk %s: %w: it is mounted or in use; see lsblk, /proc/mounts", d.path, err)
	}
	if err != nil {
		return fmt.Errorf("open backing disk %s: %w", d.path, err)
	}
	d.file = os.NewFile(uintptr(fd), d.path)
	if d.block {
		return nil
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.file.Close()
		return fmt.Errorf("open backing file %s: another process uses it: %w", d.path, err)
	}
	return nil
}

func (d *Device) measure() error {
	fd := int(d.file.Fd())
	if !d.block {
		info, err := d.file.Stat()
		if err != nil {
			return fmt.Errorf("size of backing file %s: %w", d.path, err)
		}
		d.size.Store(info.Size() &^ (disk.SectorSize - 1))
		d.align = fileAlign(fd)
		return nil
	}
	var size uint64
	if err := ioctl(fd, unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
		return fmt.Errorf("size of backing disk %s: %w", d.path, err)
	}
	logical, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("sector size of backing disk %s: %w", d.path, err)
	}
	d.size.Store(int64(size))
	d.align = logical
	return nil
}

// fileAlign asks the filesystem what O_DIRECT wants of a file (statx, Linux 6.1); 4096 suits every filesystem.
func fileAlign(fd int) int {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 || st.Dio_offset_align == 0 {
		return 4096
	}
	return int(st.Dio_offset_align)
}

// Size is the capacity in bytes.
func (d *Device) Size() int64 { return d.size.Load() }

// Measure asks the kernel for the capacity again.
func (d *Device) Measure() (int64, error) {
	if d.block {
		var size uint64
		if err := ioctl(int(d.file.Fd()), unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
			return 0, fmt.Errorf("size of backing disk %s: %w", d.path, err)
		}
		d.size.Store(int64(size))
		return int64(size), nil
	}
	info, err := d.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("size of backing file %s: %w", d.path, err)
	}
	d.size.Store(info.Size() &^ (disk.SectorSize - 1))
	return d.size.Load(), nil
}

// Align is the unit, in bytes, in which the device itself reads and writes; smaller accesses are widened by this package.
func (d *Device) Align() int { return d.align }

// Close waits for operations under way and gives the device back. It does not flush.
func (d *Device) Close() error {
	if q := d.queue.Load(); q != nil {
		q.close()
	}
	return d.file.Close()
}

// Start begins an operation; see disk.AsyncDevice. It takes what can go to the device as it is.
func (d *Device) Start(o *disk.Operation) bool {
	if o.Kind != disk.Flush && (d.check(o.Off, int64(len(o.Data))) != nil || !d.direct(o.Data, o.Off)) {
		return false
	}
	d.begin.Do(func() {
		if !d.past {
			return // through the page cache, submitting would be carrying out
		}
		if q, err := newQueue(d); err == nil {
			d.queue.Store(q)
		}
	})
	q := d.queue.Load()
	return q != nil && q.add(o)
}

// plain carries out an operation, of which so many bytes are done, with a thread that waits.
func (d *Device) plain(o *disk.Operation, done int) error {
	switch o.Kind {
	case disk.Flush:
		return d.sync()
	case disk.Read:
		return d.readPlain(o.Data[done:], o.Off+int64(done))
	}
	return d.writePlain(o.Data[done:], o.Off+int64(done))
}

// Flush makes completed writes durable.
func (d *Device) Flush() error {
	if q := d.queue.Load(); q != nil {
		if ok, err := q.wait(disk.Flush, nil, 0); ok {
			return err
		}
	}
	return d.sync()
}

func (d *Device) sync() error {
	for {
		err := unix.Fdatasync(int(d.file.Fd()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("flush %s: %w", d.path, err)
		}
		return nil
	}
}

func ioctl(fd int, req uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
