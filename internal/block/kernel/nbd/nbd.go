// Package nbd is the front end for kernels with a client for network block devices (nbd.ko) and no ublk: this process is the
// server, on a pair of connected sockets whose other end the kernel has.
//
// When the process dies the kernel keeps requests waiting for another socket, which the next process gives it; those the dead
// one had are sent again once their timer has run out (resendAfter). The guard keeps a copy of the kernel's end, so that it
// can cut the connection at the deadline whatever the process does.
package nbd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
	"holdfast/internal/nbddev"
)

// Limits of the device.
const (
	// patience is for how long requests wait for the next process. It stands for no limit: who gives up is the guard, or an
	// operator.
	patience = 30 * 24 * time.Hour
	// resendAfter is when requests that a dead process had are sent to the next one, at most. The kernel also logs requests
	// that take longer, so that it cannot be very short.
	resendAfter = 2 * time.Second
	// maxRequest is the largest read or write the kernel is to send, in bytes.
	maxRequest = 512 << 10
	// socketBuffer is asked for each end of the connection, in bytes.
	socketBuffer = 1 << 20
	// deadWait bounds the wait for the kernel to notice that the last process's end is closed.
	deadWait = 10 * time.Second
	deadPoll = 5 * time.Millisecond
)

// Open makes the kernel device, or takes over the one that an earlier process of this volume left with the guard, with the
// requests its users are still waiting for.
func Open(cfg kernel.Config) (*Device, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	control, err := nbddev.Dial()
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", cfg.Name, err)
	}
	d := &Device{cfg: cfg, control: control}
	taken, err := d.adopt()
	if err == nil && !taken {
		err = d.create()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("volume %s: make the kernel device: %w", cfg.Name, err), control.Close())
	}
	return d, nil
}

func (d *Device) flags() uint64 {
	f := uint64(nbddev.SendFlush | nbddev.SendFUA | nbddev.SendTrim | nbddev.SendWriteZeroes)
	if d.cfg.ReadOnly {
		f |= nbddev.ReadOnly
	}
	return f
}

// connect makes the server and the socket for the kernel, which the caller closes.
func (d *Device) connect() (int, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make a pair of sockets: %w", err)
	}
	for _, fd := range ends {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer); err != nil {
			d.cfg.Log.Debug("cannot enlarge the socket's buffer", "err", err)
		}
	}
	d.server, err = newServer(d.cfg.Target, ends[0], d.cfg.ReadOnly, d.cfg.Log)
	if err != nil {
		unix.Close(ends[1])
		return -1, err
	}
	return ends[1], nil
}

func (d *Device) create() error {
	if err := d.removeLeftovers(); err != nil {
		return err
	}
	socket, err := d.connect()
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	d.server.start()
	cfg := nbddev.Config{Size: d.cfg.Target.Size(), BlockSize: d.cfg.BlockSize, Flags: d.flags(), Identifier: d.cfg.Identity}
	if d.cfg.Guard != nil {
		cfg.Patience = patience
	}
	if d.index, err = d.control.Connect(cfg, socket); err != nil {
		d.server.close()
		return err
	}
	if err := d.hold(socket); err != nil {
		return errors.Join(err, d.control.Disconnect(d.index))
	}
	d.tune()
	return nil
}

// hold leaves the device with the guard.
func (d *Device) hold(socket int) error {
	if d.cfg.Guard == nil {
		return nil
	}
	if err := d.cfg.Guard.Hold(d.cfg.Name, api.GuardHeld{Front: api.FrontNBD, Device: d.index}, socket); err != nil {
		return fmt.Errorf("%w: %w", kernel.ErrNotHeld, err)
	}
	return nil
}

// adopt takes over the device of an earlier process. What cannot be carried on is ended, so that its users get errors rather
// than wait.
func (d *Device) adopt() (bool, error) {
	if d.cfg.Guard == nil {
		return false, nil
	}
	held, fd, err := d.cfg.Guard.Get(d.cfg.Name)
	if fd >= 0 {
		unix.Close(fd)
	}
	if err != nil || held.Kind() != api.FrontNBD {
		return false, err
	}
	d.index = held.Device
	if err = d.resume(); err == nil {
		d.cfg.Log.Info("took over the kernel device", "device", d.DevicePath())
		return true, nil
	}
	d.cfg.Log.Warn("cannot take over the kernel device of an earlier process; its users, if any, get I/O errors", "device", d.DevicePath(), "why", err)
	if d.server != nil {
		d.server.close()
		d.server = nil
	}
	err = nil
	if nbddev.Identifier(d.index) == d.cfg.Identity {
		err = d.control.Disconnect(d.index)
	}
	return false, errors.Join(err, d.cfg.Guard.Release(d.cfg.Name))
}

func (d *Device) resume() error {
	if have := nbddev.Identifier(d.index); have != d.cfg.Identity {
		return fmt.Errorf("it belongs to %q, or to nobody", have)
	}
	size, err := blockdev.Size(d.DevicePath())
	if err != nil || size > d.cfg.Target.Size() {
		return errors.Join(fmt.Errorf("it has %d bytes, the volume has %d", size, d.cfg.Target.Size()), err)
	}
	socket, err := d.connect()
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	if err := d.hold(socket); err != nil { // before the kernel has it: the guard must know what it has to cut
		return err
	}
	d.server.start()
	if err := d.reconfigure(socket); err != nil {
		return err
	}
	if size < d.cfg.Target.Size() { // the volume has grown since
		return d.Resize()
	}
	return nil
}

// reconfigure waits until the kernel has noticed that the last process's socket is dead.
func (d *Device) reconfigure(socket int) error {
	for deadline := time.Now().Add(deadWait); ; time.Sleep(deadPoll) {
		err := d.control.Reconfigure(d.index, d.cfg.Identity, socket)
		if err == nil || !errors.Is(err, nbddev.ErrBusy) || time.Now().After(deadline) {
			return err
		}
	}
}

// removeLeftovers ends devices of this volume that no guard knows.
func (d *Device) removeLeftovers() error {
	for _, n := range nbddev.Marked(d.cfg.Identity) {
		d.cfg.Log.Warn("ending a kernel device that an earlier process left; its users, if any, get I/O errors", "device", nbddev.Path(n))
		if err := d.control.Disconnect(n); err != nil {
			return err
		}
	}
	return nil
}

// tune sets what makes the device better and is not needed for it to be right.
func (d *Device) tune() {
	for _, s := range [][2]string{
		{"queue/scheduler", "none"},
		{"queue/max_sectors_kb", strconv.Itoa(maxRequest >> 10)},
		{"queue/io_timeout", strconv.FormatInt(resendAfter.Milliseconds(), 10)},
	} {
		if err := blockdev.Tune(d.DevicePath(), s[0], s[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
			d.cfg.Log.Debug("cannot tune the nbd device", "device", d.DevicePath(), "file", s[0], "err", err)
		}
	}
}
