// Package ranges cuts discards and zeroings of any length into pieces that a target takes. A front end whose kernel side
// does not bound them puts a Cutter before the target.
package ranges

import (
	"golang.org/x/sys/unix"

	"holdfast/internal/block"
	"holdfast/internal/block/kernel"
)

// queue bounds the requests waiting to be cut.
const queue = 256

// Cutter carries out one request after the other, piece by piece.
type Cutter struct {
	target kernel.Target
	queue  chan *kernel.Request
}

// New makes a cutter; its caller runs Run.
func New(target kernel.Target) *Cutter {
	return &Cutter{target: target, queue: make(chan *kernel.Request, queue)}
}

// Submit queues a Discard or WriteZeroes of any length, a multiple of 512. With FUA a Flush follows its last piece. Its
// owner is told as for any request.
func (c *Cutter) Submit(r *kernel.Request) { c.queue <- r }

// Run works until done is closed; what is queued then fails with EIO.
func (c *Cutter) Run(done <-chan struct{}) {
	p := &piece{done: make(chan error, 1)}
	for {
		select {
		case r := <-c.queue:
			r.Owner.Complete(r, c.cut(p, r))
		case <-done:
			c.refuse()
			return
		}
	}
}

// refuse answers what is queued at the end: nobody waits for it, but what belongs to it is given back.
func (c *Cutter) refuse() {
	for {
		select {
		case r := <-c.queue:
			r.Owner.Complete(r, unix.EIO)
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

func (c *Cutter) cut(p *piece, r *kernel.Request) error {
	for at, end := r.Offset, r.Offset+r.Length; at < end; {
		next := min(end, (at/block.MaxDiscard+1)*block.MaxDiscard)
		if err := c.do(p, kernel.Request{Op: r.Op, Unmap: r.Unmap, Offset: at, Length: next - at}); err != nil {
			return err
		}
		at = next
	}
	if r.FUA {
		return c.do(p, kernel.Request{Op: kernel.Flush})
	}
	return nil
}

func (c *Cutter) do(p *piece, r kernel.Request) error {
	p.request = r
	p.request.Owner = p
	c.target.Submit(&p.request)
	return <-p.done
}
