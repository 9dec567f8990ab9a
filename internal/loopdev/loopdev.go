// Package loopdev attaches files to the kernel's loop devices and tells who uses them. It works in a private /dev that
// lacks the nodes, and for files that are in no mount namespace, because it takes descriptors.
package loopdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of attaching and detaching.
const (
	// attachTries bounds the search for a free device: others may take the one the kernel names before we do.
	attachTries = 64
	// detachWait bounds the wait for the kernel to let go of a cleared device.
	detachWait = 2 * time.Second
	detachPoll = 2 * time.Millisecond
)

// Device numbers as assigned in the kernel's devices.txt.
const (
	loopMajor    = 7
	controlPath  = "/dev/loop-control"
	controlMajor = 10
	controlMinor = 237
)

// Config says how to attach.
type Config struct {
	// FD is the descriptor of the file or device to attach, open for reading and writing. The kernel keeps its own
	// reference: the caller may close it.
	FD int
	// Name is for errors, and what LOOP_GET_STATUS tells, cut to 63 bytes. (losetup shows the attached file's own name.)
	Name string
	// BlockSize is the logical block size offered, in bytes: a power of two from 512 to 4096. 0 means 512.
	BlockSize int
	// Buffered attaches without direct I/O, through the file's page cache.
	Buffered bool
}

// Device is an attached loop device. It keeps the node open: the kernel clears the device when the last user closes
// it, and our own descriptor is what keeps it while nobody else uses it. So a process that dies leaves nothing behind
// once the last user is gone.
type Device struct {
	Number int    // N of /dev/loopN
	Path   string // /dev/loopN
	fd     int
}

// Attach finds a free loop device, makes its node if it is missing, and attaches the file.
func Attach(cfg Config) (*Device, error) {
	control, err := openNode(controlPath, unix.S_IFCHR, unix.Mkdev(controlMajor, controlMinor))
	if err != nil {
		return nil, fmt.Errorf("loop device for %s: %w (is the kernel's loop module there, and are we root?)", cfg.Name, err)
	}
	defer unix.Close(control)
	for range attachTries {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("loop device for %s: ask for a free one: %w", cfg.Name, err)
		}
		d, err := open(n)
		if err != nil {
			return nil, fmt.Errorf("loop device for %s: %w", cfg.Name, err)
		}
		err = d.configure(cfg)
		if err == nil {
			return d, nil
		}
		unix.Close(d.fd)
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach %s to %s: %w", cfg.Name, d.Path, err)
		}
	}
	return nil, fmt.Errorf("loop device for %s: %d free devices were all taken by others first", cfg.Name, attachTries)
}

func (d *Device) configure(cfg Config) error {
	c := unix.LoopConfig{Fd: uint32(cfg.FD), Size: uint32(cfg.BlockSize)}
	c.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if !cfg.Buffered {
		c.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
	}
	copy(c.Info.File_name[:len(c.Info.File_name)-1], cfg.Name)
	return unix.IoctlLoopConfigure(d.fd, &c)
}

// Resize has the device take the size its backing file has now, while it is in use.
func (d *Device) Resize() error {
	// The driver takes the size the kernel has cached; asking for the status makes it look, where the cache is marked stale.
	if _, err := unix.IoctlLoopGetStatus64(d.fd); err != nil {
		return fmt.Errorf("status of %s: %w", d.Path, err)
	}
	if err := unix.IoctlSetInt(d.fd, unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("change the size of %s: %w", d.Path, err)
	}
	return nil
}

// Size is the device's capacity in bytes.
func (d *Device) Size() (int64, error) {
	b, err := os.ReadFile(sysfs(d.Number, "size"))
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", d.Path, err)
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", d.Path, err)
	}
	return sectors * 512, nil
}

// Find opens loop device number n if what is attached to it lives on the file system with device number `backing`
// (st_dev, as Backing returns it). Otherwise it returns nil and no error.
func Find(n int, backing uint64) (*Device, error) {
	if _, err := os.Stat(sysfs(n, "loop/backing_file")); err != nil {
		return nil, nil // not attached to anything
	}
	d, err := open(n)
	if err != nil {
		return nil, err
	}
	if got, err := d.Backing(); err != nil || got != backing {
		unix.Close(d.fd)
		return nil, nil
	}
	return d, nil
}

func open(n int) (*Device, error) {
	path := "/dev/loop" + strconv.Itoa(n)
	fd, err := openNode(path, unix.S_IFBLK, numberOf(n))
	if err != nil {
		return nil, err
	}
	return &Device{Number: n, Path: path, fd: fd}, nil
}

// openNode opens a device node, and makes it first where it is missing, as in a private /dev.
func openNode(path string, kind uint32, number uint64) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if err := unix.Mknod(path, kind|0o600, int(number)); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, fmt.Errorf("make the device node %s: %w", path, err)
		}
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// numberOf is the device number of loop device n, from sysfs where the kernel shows it (a loop module loaded with
// max_part spaces the minors).
func numberOf(n int) uint64 {
	b, err := os.ReadFile(sysfs(n, "dev"))
	if err == nil {
		var major, minor uint32
		if _, err := fmt.Sscanf(string(b), "%d:%d", &major, &minor); err == nil {
			return unix.Mkdev(major, minor)
		}
	}
	return unix.Mkdev(loopMajor, uint32(n))
}

func sysfs(n int, file string) string {
	return filepath.Join("/sys/block", "loop"+strconv.Itoa(n), file)
}

// Backing is the device number (st_dev) of the file system that holds the attached file.
func (d *Device) Backing() (uint64, error) {
	info, err := unix.IoctlLoopGetStatus64(d.fd)
	if err != nil {
		return 0, fmt.Errorf("status of %s: %w", d.Path, err)
	}
	return info.Device, nil
}

// BackingOf is the number Find and Backing use for the file system with this major and minor.
func BackingOf(major, minor uint32) uint64 { return unix.Mkdev(major, minor) }

// Number64 is the device's own number (st_rdev).
func (d *Device) Number64() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", d.Path, err)
	}
	return st.Rdev, nil
}

// Tune writes a value to a file below /sys/block/loopN, such as "queue/scheduler".
func (d *Device) Tune(file, value string) error {
	return os.WriteFile(sysfs(d.Number, file), []byte(value), 0)
}

// TuneWriteback writes a value to a file of the device's writeback settings, such as "max_ratio" (percent of the dirty
// limit) or "strict_limit".
func (d *Device) TuneWriteback(file, value string) error {
	n, err := d.Number64()
	if err != nil {
		return err
	}
	dir := fmt.Sprintf("%d:%d", unix.Major(n), unix.Minor(n))
	return os.WriteFile(filepath.Join("/sys/class/bdi", dir, file), []byte(value), 0)
}

// Detach takes the file off the device, if nobody uses it: it claims the device exclusively first, which fails with
// EBUSY while it is mounted in any namespace, is swap, or belongs to another block device; then nothing has changed. It
// returns gone=false if someone (not a mount) still has the device open, and so keeps it until the last close.
func (d *Device) Detach() (gone bool, err error) {
	claim, err := unix.Open(d.Path, unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("claim %s: %w", d.Path, err)
	}
	err = unix.IoctlSetInt(d.fd, unix.LOOP_CLR_FD, 0)
	unix.Close(claim)
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return false, fmt.Errorf("clear %s: %w", d.Path, err)
	}
	d.Release()
	return d.awaitGone(), nil
}

// Release closes our descriptor only: the kernel clears the device as soon as nobody else uses it.
func (d *Device) Release() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.fd = -1
	}
}

func (d *Device) awaitGone() bool {
	for deadline := time.Now().Add(detachWait); ; time.Sleep(detachPoll) {
		b, err := os.ReadFile(sysfs(d.Number, "loop/backing_file"))
		if err != nil || strings.TrimSpace(string(b)) == "" {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
