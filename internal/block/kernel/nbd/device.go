package nbd

import (
	"errors"
	"fmt"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
	"holdfast/internal/nbddev"
)

// Device is a kernel.Frontend made of the kernel's NBD client and a server in this process.
type Device struct {
	cfg    kernel.Config
	index  uint32
	server *server

	mu      sync.Mutex
	control *nbddev.Client
	closed  bool
}

var (
	_ kernel.Frontend = (*Device)(nil)
	_ kernel.Resizer  = (*Device)(nil)
)

// Kind is the front end's name.
func (d *Device) Kind() string { return api.FrontNBD }

// DevicePath is the device's node.
func (d *Device) DevicePath() string { return nbddev.Path(d.index) }

// Done is closed when the connection has ended: after Abort, by us, the guard or an operator, or after Close.
func (d *Device) Done() <-chan struct{} { return d.server.ended }

func (d *Device) dead() bool {
	select {
	case <-d.server.ended:
		return true
	default:
		return false
	}
}

// InUse tells who holds the device; see kernel.Frontend.
func (d *Device) InUse() ([]string, error) {
	if d.dead() && nbddev.Identifier(d.index) != d.cfg.Identity {
		return nil, nil // another may have the number by now
	}
	return blockdev.Users(d.DevicePath())
}

// Resize gives the device the target's size; see kernel.Resizer.
func (d *Device) Resize() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.control.Resize(d.index, d.cfg.Identity, d.cfg.Target.Size())
}

// Close takes the device away unless somebody uses it (blockdev.ErrInUse). Should a process have opened it in the last
// moment, its I/O fails from now on.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	if err := d.unused(); err != nil {
		return fmt.Errorf("volume %s: take %s away: %w", d.cfg.Name, d.DevicePath(), err)
	}
	d.closed = true
	var err error
	if d.cfg.Guard != nil { // first: the number may be another's as soon as the device is gone
		err = d.cfg.Guard.Release(d.cfg.Name)
	}
	if err = errors.Join(err, d.disconnect(), d.control.Close()); err != nil {
		return fmt.Errorf("volume %s: after taking %s away: %w", d.cfg.Name, d.DevicePath(), err)
	}
	return nil
}

// unused fails while somebody uses a device that is alive.
func (d *Device) unused() error {
	if d.dead() {
		return nil
	}
	return blockdev.Unused(d.DevicePath())
}

// Abort fails every request in flight and to come with EIO. The device stays, failing, until its users let go of it.
func (d *Device) Abort() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.disconnect(); err != nil {
		return fmt.Errorf("volume %s: abort %s: %w", d.cfg.Name, d.DevicePath(), err)
	}
	return nil
}

// disconnect ends the device unless its number is another's by now.
func (d *Device) disconnect() error {
	defer d.server.close()
	if id := nbddev.Identifier(d.index); id != "" && id != d.cfg.Identity {
		return nil
	}
	return d.control.Disconnect(d.index)
}
