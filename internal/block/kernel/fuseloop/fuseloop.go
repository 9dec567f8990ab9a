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
	"log/slog"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/fuse"
	"holdfast/internal/loopdev"
)

// Holder keeps descriptors for a process that may be replaced: the guard's client.
type Holder interface {
	// Hold keeps a copy of the descriptor fd, of FUSE connection number `connection`, under a name, with some text. With
	// fd -1 only the connection is noted, to be aborted when the lease ends.
	Hold(name string, fd int, connection uint32, meta string) error
	// Get returns what is held under a name, with a descriptor of the caller's own; fd is -1 if there is none, and the
	// connection is 0 if nothing is held.
	Get(name string) (fd int, connection uint32, meta string, err error)
	// Release lets go of it; no error if there is nothing.
	Release(name string) error
}

// Config says what to offer.
type Config struct {
	// Name is the resource, for people and as the name in the guard.
	Name string
	// Target gets the requests.
	Target kernel.Target
	// Guard keeps the descriptor across a restart of this process; nil for a device that shall fail with the process.
	Guard Holder
	// BlockSize is the logical block size offered, in bytes, 512 to 4096: the backing disk's, as DRBD does it. 0 is 4096
	// if that divides the size, else 512.
	BlockSize int
	// Depth is fuse.Config's; 0 for its default.
	Depth int
	Log   *slog.Logger
}

// meta is what the guard keeps for the next process.
type meta struct {
	Version   int   `json:"version"`
	Loop      int   `json:"loop"` // N of /dev/loopN
	Size      int64 `json:"size"`
	BlockSize int   `json:"block_size"`
}

const metaVersion = 1

func (c Config) withDefaults() (Config, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("volume", c.Name)
	size := c.Target.Size()
	if c.BlockSize == 0 {
		c.BlockSize = 4096
		if size%4096 != 0 {
			c.BlockSize = 512
		}
	}
	if size <= 0 || size%int64(c.BlockSize) != 0 {
		return c, fmt.Errorf("volume %s: size %d is not a positive multiple of the block size %d", c.Name, size, c.BlockSize)
	}
	return c, nil
}

func (c Config) fuse() fuse.Config {
	return fuse.Config{Source: "holdfast:" + c.Name, FileName: "holdfast:" + c.Name, Depth: c.Depth, Readers: 1, Log: c.Log}
}

// Open makes the kernel device, or takes over the one that an earlier process of this volume left with the guard, with
// the requests its users are still waiting for. The process should have called PrepareProcess.
func Open(cfg Config) (*Device, error) {
	cfg, err := cfg.withDefaults()
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

func create(cfg Config) (*Device, error) {
	d := &Device{cfg: cfg, file: newFile(cfg.Target)}
	var err error
	if d.conn, err = fuse.Mount(cfg.fuse(), d.file); err != nil {
		return nil, err
	}
	go d.file.cutRanges(d.conn.Done())
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
	if err := d.cfg.Guard.Hold(d.cfg.Name, fd, d.conn.Number(), string(text)); err != nil {
		return fmt.Errorf("leave the device with the guard: %w", err)
	}
	return nil
}

// adopt returns nil and no error if there is nothing to take over. What cannot be carried on is aborted, so that its
// users get errors rather than wait.
func adopt(cfg Config) (*Device, error) {
	fd, number, text, err := cfg.Guard.Get(cfg.Name)
	if err != nil || number == 0 && fd < 0 {
		return nil, err
	}
	d, err := resume(cfg, fd, number, text)
	if err == nil {
		cfg.Log.Info("took over the kernel device", "device", d.DevicePath(), "connection", number)
		return d, nil
	}
	cfg.Log.Warn("cannot take over the kernel device of an earlier process; its users, if any, get I/O errors", "connection", number, "why", err)
	return nil, errors.Join(fuse.Abort(number), cfg.Guard.Release(cfg.Name))
}

// resume owns fd.
func resume(cfg Config, fd int, number uint32, text string) (*Device, error) {
	d := &Device{cfg: cfg, file: newFile(cfg.Target)}
	var err error
	if d.loop, err = findLoop(cfg, fd, number, text); err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return nil, err
	}
	if d.conn, err = fuse.Adopt(cfg.fuse(), d.file, fd, number); err != nil {
		d.loop.Release()
		return nil, err
	}
	go d.file.cutRanges(d.conn.Done())
	if size, err := d.loop.Size(); err == nil && size != cfg.Target.Size() { // the process before this one ended in a resize
		if err := d.Resize(); err != nil {
			cfg.Log.Warn("the kernel's device keeps its size", "bytes", size, "err", err)
		}
	}
	return d, nil
}

func findLoop(cfg Config, fd int, number uint32, text string) (*loopdev.Device, error) {
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
