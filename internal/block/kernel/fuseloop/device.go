package fuseloop

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
	"holdfast/internal/fuse"
	"holdfast/internal/loopdev"
)

// Device is a kernel.Frontend made of a FUSE connection and a loop device.
type Device struct {
	cfg  kernel.Config
	file *file
	conn *fuse.Conn
	loop *loopdev.Device

	mu     sync.Mutex
	closed bool
}

var (
	_ kernel.Frontend = (*Device)(nil)
	_ kernel.Resizer  = (*Device)(nil)
)

// Kind is the front end's name.
func (d *Device) Kind() string { return api.FrontFUSE }

// DevicePath is the loop device's node.
func (d *Device) DevicePath() string { return d.loop.Path }

// Connection is the number of the FUSE connection, for /sys/fs/fuse/connections.
func (d *Device) Connection() uint32 { return d.conn.Number() }

// Resize has the kernel's device take the target's size, while it is in use, and tells the guard.
func (d *Device) Resize() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	want := d.file.Size()
	if d.closed {
		return nil
	}
	if err := errors.Join(d.conn.Resized(), d.loop.Resize()); err != nil {
		return fmt.Errorf("volume %s: %w", d.cfg.Name, err)
	}
	if got, err := d.loop.Size(); err != nil || got != want {
		return errors.Join(err, fmt.Errorf("volume %s: %s has %d bytes where the volume has %d", d.cfg.Name, d.loop.Path, got, want))
	}
	return d.leaveWithGuard()
}

// Done is closed when the kernel has ended the connection: after Abort, by us, the guard or an operator, or after Close.
func (d *Device) Done() <-chan struct{} { return d.conn.Done() }

// InUse tells who holds the device; see kernel.Frontend.
func (d *Device) InUse() ([]string, error) { return blockdev.Users(d.loop.Path) }

// Close takes the device away unless somebody uses it (blockdev.ErrInUse). Should a process have opened it in the last
// moment, its I/O fails from now on.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	gone, err := d.detach()
	if err != nil {
		return fmt.Errorf("volume %s: take %s away: %w", d.cfg.Name, d.loop.Path, err)
	}
	d.closed = true
	if !gone {
		d.cfg.Log.Warn("a process still has the device open; its I/O fails from now on", "device", d.loop.Path)
	}
	var errs []error
	if d.cfg.Guard != nil {
		errs = append(errs, d.cfg.Guard.Release(d.cfg.Name))
	}
	if err := errors.Join(append(errs, d.conn.Close())...); err != nil {
		return fmt.Errorf("volume %s: after taking %s away: %w", d.cfg.Name, d.loop.Path, err)
	}
	return nil
}

// detach changes nothing if it fails.
func (d *Device) detach() (gone bool, err error) {
	uses, err := d.InUse()
	if err != nil {
		return false, err
	}
	if len(uses) > 0 {
		return false, fmt.Errorf("%w: %s", blockdev.ErrInUse, strings.Join(uses, ", "))
	}
	gone, err = d.loop.Detach()
	if errors.Is(err, unix.EBUSY) {
		return false, fmt.Errorf("%w: claimed by a mount in a namespace not visible from here, or by swap", blockdev.ErrInUse)
	}
	return gone, err
}

// Abort fails every request in flight and to come with EIO. The device stays, failing, until Close.
func (d *Device) Abort() error {
	if err := d.conn.Abort(); err != nil {
		return fmt.Errorf("volume %s: abort %s: %w", d.cfg.Name, d.loop.Path, err)
	}
	return nil
}

// dirtyPercent caps the device's share of the machine's dirty page cache. A device that is frozen for lack of a quorum
// then cannot fill it, which would throttle every other writer, our own daemon's log included.
const dirtyPercent = 20

// tune sets what makes the device better and is not needed for it to be right; a read-only or old sysfs refuses some.
func (d *Device) tune() {
	settings := []struct {
		write       func(file, value string) error
		file, value string
	}{
		{d.loop.TuneWriteback, "strict_limit", "1"},
		{d.loop.TuneWriteback, "max_ratio", strconv.Itoa(dirtyPercent)},
		{d.loop.Tune, "queue/max_sectors_kb", strconv.Itoa(block.MaxIO >> 10)}, // one FUSE request for one of loop's
		{d.loop.Tune, "queue/scheduler", "none"},
	}
	for _, s := range settings {
		if err := s.write(s.file, s.value); err != nil {
			d.cfg.Log.Debug("cannot tune the loop device", "device", d.loop.Path, "file", s.file, "err", err)
		}
	}
}
