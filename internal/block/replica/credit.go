package replica

import (
	"sync"

	"holdfast/internal/block"
)

// credit bounds the data received and not yet dealt with.
type credit struct {
	mu     sync.Mutex
	wake   *sync.Cond
	bytes  int
	count  int
	closed bool
}

func newCredit() *credit {
	c := &credit{}
	c.wake = sync.NewCond(&c.mu)
	return c
}

func (c *credit) take(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed && (c.bytes+n > block.MaxPeerBytes || c.count >= block.MaxPeerRequests) {
		c.wake.Wait()
	}
	c.bytes += n
	c.count++
	return !c.closed
}

func (c *credit) give(n int) {
	c.mu.Lock()
	c.bytes -= n
	c.count--
	c.mu.Unlock()
	c.wake.Signal()
}

func (c *credit) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wake.Broadcast()
}
