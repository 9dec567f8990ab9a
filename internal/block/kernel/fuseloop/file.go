package fuseloop

import (
	"golang.org/x/sys/unix"

	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
	"holdfast/internal/fuse"
)

// rangeQueue bounds the discards and zeroings waiting to be cut; loop sends them one after the other.
const rangeQueue = 256

// file turns FUSE requests into the target's.
type file struct {
	target kernel.Target
	ranges chan *fuse.Request
}

func newFile(target kernel.Target) *file {
	return &file{target: target, ranges: make(chan *fuse.Request, rangeQueue)}
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

// Submit passes a request on.
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
		o.request.Op = kernel.Write
	case fuse.Sync:
		o.request.Op = kernel.Flush
	case fuse.Allocate:
		f.ranges <- r
		return
	}
	f.target.Submit(&o.request)
}

// cutRanges hands discards and zeroings to the target in pieces that it takes, one after the other, until the
// connection has ended.
func (f *file) cutRanges(done <-chan struct{}) {
	p := &piece{done: make(chan error, 1)}
	for {
		select {
		case r := <-f.ranges:
			r.Reply(f.cut(p, r))
		case <-done:
			f.refuseRanges()
			return
		}
	}
}

// refuseRanges answers what is queued when the connection has ended: nobody waits for it, but the buffers go back.
func (f *file) refuseRanges() {
	for {
		select {
		case r := <-f.ranges:
			r.Reply(unix.EIO)
		default:
			return
		}
	}
}

// piece is a part of a range on its way through the target.
type piece struct {
	request kernel.Request
	done    chan error
}

// Complete wakes the cutter.
func (p *piece) Complete(_ *kernel.Request, err error) { p.done <- err }

func (f *file) cut(p *piece, r *fuse.Request) error {
	const hole, zero = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
	if r.Mode != hole && r.Mode != zero {
		return unix.EOPNOTSUPP
	}
	for at, end := r.Offset, r.Offset+r.Length; at < end; {
		next := min(end, (at/block.MaxDiscard+1)*block.MaxDiscard)
		// loop sends the same hole for a discard and for a zeroing that may unmap, so both must read as zeros afterwards.
		p.request = kernel.Request{Op: kernel.WriteZeroes, Unmap: r.Mode == hole, Offset: at, Length: next - at, Owner: p}
		f.target.Submit(&p.request)
		if err := <-p.done; err != nil {
			return err
		}
		at = next
	}
	return nil
}
