// Package labdisk is the data disk of a virtual host: a sparse file behind a volatile write cache, served over FUSE and
// attached to a loop device. A power cut loses what was not flushed, sector by sector, as on a real disk; the disk can
// be told to fail, to slow down, to hang and to be full.
//
// Nothing of an earlier power-on survives a later one: each gives a new block device, and the old one fails for ever, so
// that a mount left over from before the cut cannot touch the disk afterwards.
package labdisk

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/blockdev"
	"holdfast/internal/fuse"
	"holdfast/internal/loopdev"
)

// Config describes a disk.
type Config struct {
	// Name is for people: it shows in losetup and in errors.
	Name string
	// Path is the sparse file with the content; it is made if it is missing.
	Path string
	// Size in bytes, a multiple of BlockSize; 0 takes the file's. A file of another size is refused: it is another disk.
	Size int64
	// BlockSize is the logical block size, in bytes; 0 is 512.
	BlockSize int
	// CacheBytes bounds the write cache; 0 is 64 MiB. Above it pages are written back at random.
	CacheBytes int64
	// Seed decides what is written back and what a power cut keeps.
	Seed uint64
	// Durable makes a flush survive the machine under the lab too (fdatasync of the file). A lab does not need it: its
	// power cuts are its own.
	Durable bool
	Log     *slog.Logger
}

// Disk is one disk. Its methods may be called from any goroutine.
type Disk struct {
	cfg  Config
	file *os.File
	size int64

	control sync.Mutex // orders power changes

	mu    sync.RWMutex // guards what follows; I/O holds it, reads shared
	cache *cache
	power *power // nil while off
	fault Fault
	stats Stats
	hung  []pending

	reads, readBytes atomic.Uint64 // reads share the lock
}

// Fault is what is wrong with a disk. The zero value is nothing.
type Fault struct {
	// FailReads, FailWrites and FailFlushes make these fail with EIO. Discards are writes.
	FailReads, FailWrites, FailFlushes bool
	// Full makes writes fail with ENOSPC.
	Full bool
	// Hang keeps every request unanswered until the fault is changed or the power is cut.
	Hang bool
	// Delay is added to every request.
	Delay time.Duration
}

// Stats counts what has happened since Open.
type Stats struct {
	Reads, Writes, Flushes, Discards uint64
	ReadBytes, WrittenBytes          uint64
	// Failed counts requests answered with an error, whatever the cause.
	Failed uint64
	// DirtySectors are in the cache now; EvictedSectors were written back without a flush; LostSectors and KeptSectors
	// were unflushed at a power cut.
	DirtySectors, EvictedSectors, LostSectors, KeptSectors uint64
	PowerOns                                               uint64
	On                                                     bool
}

// Errors of the power switch.
var (
	ErrOff = errors.New("the disk is off")
	ErrOn  = errors.New("the disk is on already")
)

// Open opens a disk, switched off.
func Open(cfg Config) (*Disk, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.BlockSize == 0 {
		cfg.BlockSize = sectorSize
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = defaultCacheMB << 20
	}
	file, err := os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lab disk %s: %w", cfg.Name, err)
	}
	size, err := fit(file, cfg)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lab disk %s: %s: %w", cfg.Name, cfg.Path, err)
	}
	return &Disk{cfg: cfg, file: file, size: size, cache: newCache(file, cfg.CacheBytes, cfg.Seed)}, nil
}

// fit gives a new file its size and checks an old one's.
func fit(file *os.File, cfg Config) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	size := cfg.Size
	switch {
	case size == 0:
		size = info.Size()
	case info.Size() == 0:
		err = file.Truncate(size)
	case info.Size() != size:
		err = fmt.Errorf("it has %d bytes, not %d", info.Size(), size)
	}
	if err == nil && (size <= 0 || size%int64(cfg.BlockSize) != 0) {
		err = fmt.Errorf("size %d is not a positive multiple of the block size %d", size, cfg.BlockSize)
	}
	return size, err
}

// power is one power-on: a FUSE connection and its loop device.
type power struct {
	disk *Disk
	conn *fuse.Conn
	loop *loopdev.Device
	cut  bool // guarded by disk.mu
}

// PowerOn gives the disk a block device. ErrOn if it has one.
func (d *Disk) PowerOn() error {
	d.control.Lock()
	defer d.control.Unlock()
	if d.power != nil {
		return fmt.Errorf("lab disk %s: %w", d.cfg.Name, ErrOn)
	}
	p := &power{disk: d}
	var err error
	if p.conn, err = fuse.Mount(fuse.Config{Source: "labdisk:" + d.cfg.Name, FileName: "labdisk:" + d.cfg.Name, Log: d.cfg.Log}, p); err != nil {
		return fmt.Errorf("lab disk %s: %w", d.cfg.Name, err)
	}
	if err := p.attach(); err != nil {
		return fmt.Errorf("lab disk %s: %w", d.cfg.Name, errors.Join(err, p.conn.Close()))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.power = p
	d.stats.PowerOns++
	return nil
}

func (p *power) attach() error {
	fd, err := p.conn.OpenFile()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	p.loop, err = loopdev.Attach(loopdev.Config{FD: fd, Name: "labdisk:" + p.disk.cfg.Name, BlockSize: p.disk.cfg.BlockSize})
	p.conn.DropMount()
	return err
}

// PowerOff cuts the power: requests in flight and to come fail with EIO at once and for good, on this block device and
// whoever still uses it, and what was not flushed is lost, except that each such sector reaches the medium with
// probability keep (0 loses all, 1 nothing; in between tears pages). ErrOff if it is off.
func (d *Disk) PowerOff(keep float64) error {
	d.control.Lock()
	defer d.control.Unlock()
	p, err := d.cutPower(keep)
	if p == nil {
		return fmt.Errorf("lab disk %s: %w", d.cfg.Name, ErrOff)
	}
	if err := errors.Join(err, p.end()); err != nil {
		return fmt.Errorf("lab disk %s: power off: %w", d.cfg.Name, err)
	}
	return nil
}

// cutPower is the moment itself: after it no request of that power-on changes anything.
func (d *Disk) cutPower(keep float64) (*power, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.power
	if p == nil {
		return nil, nil
	}
	p.cut, d.power = true, nil
	kept, lost, err := d.cache.cut(keep)
	d.stats.KeptSectors += kept
	d.stats.LostSectors += lost
	d.release()
	return p, err
}

// end takes the block device away: from its users by errors, and altogether once the last has closed it.
func (p *power) end() error {
	err := p.conn.Close()
	p.loop.Release()
	return err
}

// Unplug takes the block device of a disk away that nobody uses, losing nothing: the end of an orderly shutdown. It fails,
// changing nothing, while the device is in use.
func (d *Disk) Unplug() error {
	d.control.Lock()
	defer d.control.Unlock()
	p := d.current()
	if p == nil {
		return fmt.Errorf("lab disk %s: %w", d.cfg.Name, ErrOff)
	}
	uses, err := blockdev.Users(p.loop.Path)
	if err == nil && len(uses) > 0 {
		err = fmt.Errorf("%s is in use: %v", p.loop.Path, uses)
	}
	if err == nil {
		_, err = p.loop.Detach()
	}
	if err != nil {
		return fmt.Errorf("lab disk %s: %w", d.cfg.Name, err)
	}
	_, err = d.cutPower(1)
	return errors.Join(err, p.conn.Close())
}

func (d *Disk) current() *power {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.power
}

// Device is the block device of a disk that is on, with its path and number.
func (d *Disk) Device() (*loopdev.Device, error) {
	p := d.current()
	if p == nil {
		return nil, fmt.Errorf("lab disk %s: %w", d.cfg.Name, ErrOff)
	}
	return p.loop, nil
}

// Size is the disk's, in bytes.
func (d *Disk) Size() int64 { return d.size }

// Set puts a fault in place of what was wrong before. Requests that hung go on under the new rules.
func (d *Disk) Set(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = f
	if !f.Hang {
		d.release()
	}
}

// Heal ends every fault.
func (d *Disk) Heal() { d.Set(Fault{}) }

// Stats tells what has happened so far.
func (d *Disk) Stats() Stats {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s := d.stats
	s.On, s.EvictedSectors = d.power != nil, d.cache.evicted
	s.Reads, s.ReadBytes = d.reads.Load(), d.readBytes.Load()
	for _, pg := range d.cache.pages {
		s.DirtySectors += uint64(count(pg.sectors))
	}
	return s
}

// Close cuts the power if it is on, losing what was not flushed, and closes the file.
func (d *Disk) Close() error {
	err := d.PowerOff(0)
	if errors.Is(err, ErrOff) {
		err = nil
	}
	return errors.Join(err, d.file.Close())
}
