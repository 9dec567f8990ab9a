package ublk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
	"holdfast/internal/ublkdev"
)

// Device is a kernel.Frontend made of a ublk device.
type Device struct {
	cfg   kernel.Config
	id    uint32
	queue *ublkdev.Queue
	ops   []op
	ready chan struct{} // the kernel knows the server
	done  chan struct{} // the device has ended

	mu      sync.Mutex
	control *ublkdev.Control
	closed  bool
	ended   bool // Stop has been done
}

var _ kernel.Frontend = (*Device)(nil)

// start begins to answer requests.
func (d *Device) start(q *ublkdev.Queue) {
	d.queue, d.ready, d.ops = q, make(chan struct{}), make([]op, depth)
	for tag := range d.ops {
		d.ops[tag] = op{device: d, tag: tag}
	}
	go func() {
		defer close(d.done)
		addProcessors(1)
		defer addProcessors(-1)
		if err := q.Run(d.ready, d.handle); err != nil {
			d.cfg.Log.Error("the kernel device is not served any more", "device", d.DevicePath(), "err", err)
		}
	}()
}

// addProcessors changes how many threads run Go code at a time, unless the environment says how many. The queue's thread
// counts as one of them while it waits in the kernel, and the others must not wait for that.
func addProcessors(n int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
	}
}

// op is the request of a tag.
type op struct {
	request kernel.Request
	device  *Device
	tag     int
}

// Complete answers the kernel.
func (o *op) Complete(r *kernel.Request, err error) {
	result := int32(0)
	switch {
	case err != nil:
		result = -errnoOf(err)
	case r.Data != nil:
		result = int32(r.Length)
	}
	r.Data = nil
	o.device.queue.Answer(o.tag, result)
}

// errnoOf is the errno an error wraps, else EIO.
func errnoOf(err error) int32 {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno > 0 && errno < 4096 {
		return int32(errno)
	}
	return int32(unix.EIO)
}

// handle turns the kernel's request into the target's.
func (d *Device) handle(tag int, r ublkdev.Descriptor) {
	o := &d.ops[tag]
	o.request = kernel.Request{Offset: int64(r.StartSector) << 9, Length: int64(r.Sectors) << 9, Owner: o}
	switch r.OpFlags & 0xff {
	case ublkdev.OpRead:
		o.request.Op = kernel.Read
	case ublkdev.OpWrite:
		o.request.Op, o.request.FUA = kernel.Write, r.OpFlags&ublkdev.FlagFUA != 0
	case ublkdev.OpFlush:
		o.request.Op, o.request.Offset, o.request.Length = kernel.Flush, 0, 0
	case ublkdev.OpDiscard:
		o.request.Op = kernel.Discard
	case ublkdev.OpWriteZeroes:
		o.request.Op, o.request.Unmap = kernel.WriteZeroes, r.OpFlags&ublkdev.FlagNoUnmap == 0
	default:
		o.Complete(&o.request, unix.EOPNOTSUPP)
		return
	}
	if o.request.Op == kernel.Read || o.request.Op == kernel.Write {
		if o.request.Length > maxIO {
			o.Complete(&o.request, unix.EINVAL)
			return
		}
		o.request.Data = d.queue.Buffer(tag)[:o.request.Length]
	}
	d.cfg.Target.Submit(&o.request)
}

// Kind is the front end's name.
func (d *Device) Kind() string { return api.FrontUBLK }

// DevicePath is the device's node.
func (d *Device) DevicePath() string { return ublkdev.Path(d.id) }

// Done is closed when the device has ended: after Abort, by us, the guard or an operator, or after Close.
func (d *Device) Done() <-chan struct{} { return d.done }

func (d *Device) dead() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// InUse tells who holds the device; see kernel.Frontend.
func (d *Device) InUse() ([]string, error) {
	if d.dead() { // its node may be another's by now
		return nil, nil
	}
	return blockdev.Users(d.DevicePath())
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
	err = errors.Join(err, d.stop(), d.control.Delete(d.id))
	d.control.Close()
	if err != nil {
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

// Abort fails every request in flight and to come with EIO. The device's number stays taken until Close.
func (d *Device) Abort() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	if err := d.stop(); err != nil {
		return fmt.Errorf("volume %s: abort %s: %w", d.cfg.Name, d.DevicePath(), err)
	}
	return nil
}

// stop answers what this process has with EIO, so that the kernel need not wait for it, and ends the device.
func (d *Device) stop() error {
	if d.ended {
		return nil
	}
	d.queue.Abandon()
	if err := d.control.Stop(d.id); err != nil {
		return err
	}
	d.ended = true
	<-d.done
	return nil
}

// tune sets what makes the device better. One tag is left to the kernel: its command waits there always, and by it the
// driver notices at once that the server has died; with all of them in a server's hands it would notice by a timeout.
func (d *Device) tune() {
	for _, s := range [][2]string{{"queue/scheduler", "none"}, {"queue/nr_requests", strconv.Itoa(depth - 1)}} {
		if err := blockdev.Tune(d.DevicePath(), s[0], s[1]); err != nil {
			d.cfg.Log.Debug("cannot tune the ublk device", "device", d.DevicePath(), "file", s[0], "err", err)
		}
	}
}
