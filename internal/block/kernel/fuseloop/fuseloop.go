// Package fuseloop is the front end for every kernel: a file served over FUSE, attached to a loop device with direct
// I/O. The loop device is what users see; its reads, writes, flushes, discards and zeroings arrive here as FUSE requests
// and become kernel.Requests.
//
// The FUSE mount is attached to no directory, so that no other mount namespace can hold on to it. A process that ends
// without Close leaves no loop device behind once nobody uses it; one whose descriptor the guard holds leaves its users
// waiting until the next process adopts the device (kernel 6.9 or later; before that they get EIO).
//
// Format: the guard keeps JSON beside the descriptor, see meta.
package fuseloop

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/fuse"
	"holdfast/internal/loopdev"
)

// meta is what the guard keeps for the next process.
type meta struct {
	Version   int   `json:"version"`
	Loop      int   `json:"loop"` // N of /dev/loopN
	Size      int64 `json:"size"`
	BlockSize int   `json:"block_size"`
}

const metaVersion = 1

func fuseConfig(c kernel.Config) fuse.Config {
	return fuse.Config{Source: "holdfast:" + c.Name, FileName: "holdfast:" + c.Name, Readers: 1, Log: c.Log}
}

// Open makes the kernel device, or takes over the one that an earlier process of this volume left with the guard, with
// the requests its users are still waiting for. The process should have called PrepareProcess.
func Open(cfg kernel.Config) (*Device, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Guard != nil {
		d, err := adopt(cfg)
		if err != nil {
			return nil, fmt.Errorf("volume %s: take over the kernel device: %w", cfg.Name, err)
		}
		if d != nil {
			return d, nil
		}
	}
	d, err := create(cfg)
	if err != nil {
		return nil, fmt.Errorf("volume %s: make the kernel device: %w", cfg.Name, err)
	}
	return d, nil
}

func create(cfg kernel.Config) (*Device, error) {
	d := &Device{cfg: cfg, file: newFile(cfg.Target)}
	var err error
	if d.conn, err = fuse.Mount(fuseConfig(cfg), d.file); err != nil {
		return nil, err
	}
	go d.file.cutter.Run(d.conn.Done())
	if err := d.attach(); err != nil {
		return nil, errors.Join(err, d.conn.Close())
	}
	if err := d.leaveWithGuard(); err != nil {
		d.loop.Release()
		return nil, errors.Join(err, d.conn.Close())
	}
	d.tune()
	return d, nil
}

// attach puts the served file under a loop device; from then on the loop device alone keeps the mount alive.
func (d *Device) attach() error {
	fd, err := d.conn.OpenFile()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	d.loop, err = loopdev.Attach(loopdev.Config{FD: fd, Name: "holdfast:" + d.cfg.Name, BlockSize: d.cfg.BlockSize})
	if err != nil {
		return err
	}
	d.file.used.Store(true)
	d.conn.DropMount()
	return nil
}

// leaveWithGuard gives the descriptor to the guard. On a kernel that cannot resend requests the guard only learns the
// connection, to abort it at the deadline: with the descriptor held there, users of a dead process would hang for ever.
func (d *Device) leaveWithGuard() error {
	if d.cfg.Guard == nil {
		return nil
	}
	text, err := json.Marshal(meta{Version: metaVersion, Loop: d.loop.Number, Size: d.file.Size(), BlockSize: d.cfg.BlockSize})
	if err != nil {
		return fmt.Errorf("encode the device's description: %w", err)
	}
	fd := d.conn.FD()
	if !d.conn.CanResume() {
		d.cfg.Log.Warn("this kernel cannot hand a FUSE device to a restarted process (6.9 or later can): if this process dies, users of the device get I/O errors")
		fd = -1
	}
	held := api.GuardHeld{Front: api.FrontFUSE, Connection: d.conn.Number(), Meta: string(text)}
	if err := d.cfg.Guard.Hold(d.cfg.Name, held, fd); err != nil {
		return fmt.Errorf("%w: %w", kernel.ErrNotHeld, err)
	}
	return nil
}

// adopt returns nil and no error if there is nothing to take over. What cannot be carried on is aborted, so that its
// users get errors rather than wait.
func adopt(cfg kernel.Config) (*Device, error) {
	held, fd, err := cfg.Guard.Get(cfg.Name)
	if err != nil || held.Kind() != api.FrontFUSE {
		return nil, err
	}
	number := held.Connection
	d, err := resume(cfg, fd, number, held.Meta)
	if err == nil {
		cfg.Log.Info("took over the kernel device", "device", d.DevicePath(), "connection", number)
		return d, nil
	}
	cfg.Log.Warn("cannot take over the kernel device of an earlier process; its users, if any, get I/O errors", "connection", number, "why", err)
	return nil, errors.Join(fuse.Abort(number), cfg.Guard.Release(cfg.Name))
}

// resume owns fd.
func resume(cfg kernel.Config, fd int, number uint32, text string) (*Device, error) {
	d := &Device{cfg: cfg, file: newFile(cfg.Target)}
	var err error
	if d.loop, err = findLoop(cfg, fd, number, text); err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, err
	}
	d.file.used.Store(true)
	if d.conn, err = fuse.Adopt(fuseConfig(cfg), d.file, fd, number); err != nil {
		d.loop.Release()
		return nil, err
	}
	go d.file.cutter.Run(d.conn.Done())
	if size, err := d.loop.Size(); err == nil && size != cfg.Target.Size() { // the process before this one ended in a resize
		if err := d.Resize(); err != nil {
			cfg.Log.Warn("the kernel's device keeps its size", "bytes", size, "err", err)
		}
	}
	return d, nil
}

func findLoop(cfg kernel.Config, fd int, number uint32, text string) (*loopdev.Device, error) {
	if fd < 0 {
		return nil, errors.New("the guard holds no descriptor for it")
	}
	var m meta
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("decode its description: %w", err)
	}
	if m.Version != metaVersion {
		return nil, fmt.Errorf("it was made by version %d; this is version %d", m.Version, metaVersion)
	}
	loop, err := loopdev.Find(m.Loop, loopdev.BackingOf(0, number))
	if err == nil && loop == nil {
		err = fmt.Errorf("/dev/loop%d is no longer attached to it", m.Loop)
	}
	return loop, err
}
