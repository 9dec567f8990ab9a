package fuseloop

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/ranges"
	"holdfast/internal/fuse"
)

// file turns FUSE requests into the target's.
type file struct {
	target kernel.Target
	cutter *ranges.Cutter // loop sends discards and zeroings of any length, one after the other
	// used: the loop device is there, or something has been written.
	used atomic.Bool
}

func newFile(target kernel.Target) *file {
	return &file{target: target, cutter: ranges.New(target)}
}

// Size is the device's capacity in bytes.
func (f *file) Size() int64 { return f.target.Size() }

// op is the kernel.Request of a fuse.Request. It stays with it, in Aux, so that requests allocate nothing.
type op struct {
	request kernel.Request
	from    *fuse.Request
}

// Complete answers the kernel.
func (o *op) Complete(_ *kernel.Request, err error) { o.from.Reply(err) }

// Submit passes a request on. The flush with which LOOP_CONFIGURE begins it answers itself: there is nothing to flush, and the
// target may keep it waiting for the cluster's log. Killed meanwhile, this process could not end, since its thread in the ioctl
// keeps the connection open on which it waits for the answer.
func (f *file) Submit(r *fuse.Request) {
	if (r.Offset|r.Length)%512 != 0 {
		r.Reply(unix.EINVAL)
		return
	}
	o, ok := r.Aux.(*op)
	if !ok {
		o = &op{from: r}
		r.Aux = o
	}
	o.request = kernel.Request{Offset: r.Offset, Length: r.Length, Data: r.Data, Owner: o}
	switch r.Op {
	case fuse.Read:
		o.request.Op = kernel.Read
	case fuse.Write:
		f.used.Store(true)
		o.request.Op = kernel.Write
	case fuse.Sync:
		if !f.used.Load() {
			r.Reply(nil)
			return
		}
		o.request.Op = kernel.Flush
	case fuse.Allocate:
		f.used.Store(true)
		f.allocate(o)
		return
	}
	f.target.Submit(&o.request)
}

// allocate carries out a discard or a zeroing. loop sends the same hole for a discard and for a zeroing that may unmap, so
// both must read as zeros afterwards.
func (f *file) allocate(o *op) {
	const hole, zero = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
	if o.from.Mode != hole && o.from.Mode != zero {
		o.from.Reply(unix.EOPNOTSUPP)
		return
	}
	o.request.Op, o.request.Unmap = kernel.WriteZeroes, o.from.Mode == hole
	f.cutter.Submit(&o.request)
}
