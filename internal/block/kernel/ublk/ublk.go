// Package ublk is the front end for kernels with the user-space block driver (ublk_drv, 6.5 or later): requests come
// straight from the block layer through an io_uring, their data in memory of this process. Of the three front ends it has the
// shortest way.
//
// The kernel itself holds the device while a process is replaced: requests wait, and those the dead process had are given
// to the next one (USER_RECOVERY_REISSUE). The guard knows device and process, to end them at the deadline.
package ublk

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
	"holdfast/internal/ublkdev"
)

// Limits of the device.
const (
	// depth is how many requests the kernel hands over at a time.
	depth = 128
	// maxIO is the largest read or write, in bytes: with depth it bounds the memory of the requests.
	maxIO = 512 << 10
	// recoveryWait bounds the wait for the last server of a device to be gone for good.
	recoveryWait = 30 * time.Second
	recoveryPoll = 5 * time.Millisecond
)

// Open makes the kernel device, or takes over the one that an earlier process of this volume left, with the requests its
// users are still waiting for.
func Open(cfg kernel.Config) (*Device, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	control, err := ublkdev.Dial()
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", cfg.Name, err)
	}
	d := &Device{cfg: cfg, control: control, done: make(chan struct{})}
	taken, err := d.adopt()
	if err == nil && !taken {
		err = d.create()
	}
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("volume %s: make the kernel device: %w", cfg.Name, err)
	}
	return d, nil
}

func (d *Device) mark() uint64 {
	h := fnv.New64a()
	h.Write([]byte(d.cfg.Identity)) // a hash never fails
	return h.Sum64()
}

func (d *Device) held() api.GuardHeld {
	return api.GuardHeld{Front: api.FrontUBLK, Device: d.id, Process: os.Getpid()}
}

func (d *Device) create() error {
	if err := d.removeLeftovers(); err != nil {
		return err
	}
	var err error
	d.id, err = d.control.Add(ublkdev.Config{Size: d.cfg.Target.Size(), BlockSize: d.cfg.BlockSize, Depth: depth, MaxIO: maxIO,
		MaxRange: block.MaxDiscard, ReadOnly: d.cfg.ReadOnly, Recover: d.cfg.Guard != nil, Mark: d.mark()})
	if err != nil {
		return err
	}
	if err = d.serve(d.control.Start); err != nil {
		return errors.Join(err, d.control.Stop(d.id), d.control.Delete(d.id))
	}
	d.tune()
	return nil
}

// serve leaves the device with the guard, begins to answer requests, and brings it to life.
func (d *Device) serve(live func(uint32) error) error {
	if d.cfg.Guard != nil {
		if err := d.cfg.Guard.Hold(d.cfg.Name, d.held(), -1); err != nil {
			return fmt.Errorf("%w: %w", kernel.ErrNotHeld, err)
		}
	}
	q, err := ublkdev.OpenQueue(d.id, depth, maxIO)
	if err != nil {
		return err
	}
	d.start(q)
	select {
	case <-d.ready:
		return live(d.id)
	case <-d.done:
		return errors.New("the kernel does not take this process as the device's server; the log says why")
	}
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
	if err != nil || held.Kind() != api.FrontUBLK {
		return false, err
	}
	d.id = held.Device
	if err = d.recover(); err == nil {
		d.cfg.Log.Info("took over the kernel device", "device", d.DevicePath())
		return true, nil
	}
	d.cfg.Log.Warn("cannot take over the kernel device of an earlier process; its users, if any, get I/O errors", "device", d.DevicePath(), "why", err)
	if d.queue != nil { // it may be half way
		d.queue.Abandon()
	}
	err = errors.Join(d.remove(d.id), d.cfg.Guard.Release(d.cfg.Name))
	*d = Device{cfg: d.cfg, control: d.control, done: make(chan struct{})}
	return false, err
}

func (d *Device) recover() error {
	info, ok, err := d.control.Get(d.id)
	switch {
	case err != nil:
		return err
	case !ok || info.Mark != d.mark() || info.State == ublkdev.Dead:
		return errors.New("it is gone")
	case info.Depth != depth || info.MaxIO != maxIO:
		return fmt.Errorf("it has %d requests of %d bytes, this version's have %d of %d", info.Depth, info.MaxIO, depth, maxIO)
	}
	if size, err := blockdev.Size(d.DevicePath()); err != nil || size > d.cfg.Target.Size() {
		return errors.Join(fmt.Errorf("it has %d bytes, the volume has %d", size, d.cfg.Target.Size()), err)
	}
	if err := d.startRecovery(); err != nil {
		return err
	}
	return d.serve(d.control.EndRecovery)
}

// startRecovery waits until the kernel has taken note of the last server's end.
func (d *Device) startRecovery() error {
	for deadline := time.Now().Add(recoveryWait); ; time.Sleep(recoveryPoll) {
		err := d.control.StartRecovery(d.id)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
	}
}

// removeLeftovers ends devices of this volume that no guard knows.
func (d *Device) removeLeftovers() error {
	list, err := d.control.Marked(d.mark())
	if err != nil {
		return err
	}
	for _, info := range list {
		d.cfg.Log.Warn("ending a kernel device that an earlier process left; its users, if any, get I/O errors", "device", ublkdev.Path(info.Device))
		if err := d.remove(info.Device); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) remove(id uint32) error {
	return errors.Join(d.control.Stop(id), d.control.Delete(id))
}
