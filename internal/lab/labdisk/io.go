package labdisk

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/fuse"
)

// pending is a request of one power-on.
type pending struct {
	power   *power
	request *fuse.Request
}

// Size is the disk's.
func (p *power) Size() int64 { return p.disk.size }

// Submit takes a request from the kernel. A reading thread carries most out itself: the file's pages are in memory.
func (p *power) Submit(r *fuse.Request) {
	d := p.disk
	d.mu.Lock()
	fault := d.fault
	if fault.Hang && !p.cut {
		d.hung = append(d.hung, pending{p, r}) // at most as many as a connection has buffers
		d.mu.Unlock()
		return
	}
	d.mu.Unlock()
	p.after(fault.Delay, r)
}

func (p *power) after(delay time.Duration, r *fuse.Request) {
	if delay > 0 {
		time.AfterFunc(delay, func() { p.finish(r) })
		return
	}
	p.finish(r)
}

// release lets hung requests go on. Called with the lock, which they need.
func (d *Disk) release() {
	for _, w := range d.hung {
		go w.power.finish(w.request)
	}
	d.hung = nil
}

func (p *power) finish(r *fuse.Request) {
	err := p.perform(r)
	if err != nil {
		p.disk.mu.Lock()
		p.disk.stats.Failed++
		p.disk.mu.Unlock()
	}
	r.Reply(err)
}

func (p *power) perform(r *fuse.Request) error {
	if (r.Offset|r.Length)%sectorSize != 0 {
		return unix.EINVAL
	}
	switch r.Op {
	case fuse.Read:
		return p.read(r)
	case fuse.Write:
		return p.write(r)
	case fuse.Sync:
		return p.flush()
	case fuse.Allocate:
		return p.discard(r)
	}
	return unix.EOPNOTSUPP
}

func (p *power) read(r *fuse.Request) error {
	d := p.disk
	d.mu.RLock()
	defer d.mu.RUnlock()
	if p.cut || d.fault.FailReads {
		return unix.EIO
	}
	d.reads.Add(1)
	d.readBytes.Add(uint64(r.Length))
	return d.cache.read(r.Data, r.Offset)
}

// writable is asked with the lock.
func (p *power) writable() error {
	switch {
	case p.cut || p.disk.fault.FailWrites:
		return unix.EIO
	case p.disk.fault.Full:
		return unix.ENOSPC
	}
	return nil
}

func (p *power) write(r *fuse.Request) error {
	d := p.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := p.writable(); err != nil {
		return err
	}
	d.stats.Writes++
	d.stats.WrittenBytes += uint64(r.Length)
	return d.cache.write(r.Data, r.Offset)
}

// discard makes a range read as zeros, in the file at once: a disk may be early, never late.
func (p *power) discard(r *fuse.Request) error {
	if r.Mode&^(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE) != 0 || r.Mode == unix.FALLOC_FL_KEEP_SIZE {
		return unix.EOPNOTSUPP
	}
	d := p.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := p.writable(); err != nil {
		return err
	}
	d.stats.Discards++
	d.cache.forget(r.Length, r.Offset)
	err := unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.Offset, r.Length)
	if err != nil {
		return fmt.Errorf("punch a hole into the disk's file: %w", err)
	}
	return nil
}

// flush writes back what was in the cache when it began. The lock is let go of now and then, so that a power cut can come
// in between: then it fails, with a part written, as on a real disk.
func (p *power) flush() error {
	d := p.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	dirty := d.cache.dirty()
	for {
		if p.cut || d.fault.FailFlushes {
			return unix.EIO
		}
		n := min(len(dirty), flushBatch)
		if err := d.cache.writeBack(dirty[:n]); err != nil {
			return err
		}
		if dirty = dirty[n:]; len(dirty) == 0 {
			break
		}
		d.mu.Unlock()
		d.mu.Lock()
	}
	d.stats.Flushes++
	if d.cfg.Durable {
		if err := unix.Fdatasync(int(d.file.Fd())); err != nil {
			return errors.Join(unix.EIO, fmt.Errorf("sync the disk's file: %w", err))
		}
	}
	return nil
}
