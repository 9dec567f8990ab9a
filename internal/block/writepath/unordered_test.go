package writepath

import "testing"

// A peer that acknowledges before it has written (protocols A and B) may carry two writes of one epoch out in any order. A range
// that was written is written again in the next epoch, which the peer begins when it has done the first; also while a flush is under
// way already.
func TestRewriteWaitsForABarrier(t *testing.T) {
	c, _ := newCore(t, 7)
	c.SetUnordered(true)
	c.PeerUp()
	first := c.write(0, 8192)
	expect(t, c, "log, send 0, write 0")
	c.LocalDone(first, nil)
	c.PeerAck(first)
	expect(t, c, "done 0")
	other := c.write(8192, 4096) // beside it
	expect(t, c, "send 0, write 0")
	again := c.write(4096, 4096)
	expect(t, c, "flush, barrier 1, send 1, write 1")
	c.LocalDone(other, nil)
	c.PeerAck(other)
	c.LocalDone(again, nil)
	c.PeerAck(again)
	expect(t, c, "done 0, done 1")
	third := c.write(4096, 512)
	expect(t, c, "") // the flush under way does not cover the second
	c.LocalFlushed(nil)
	c.BarrierAck(1)
	expect(t, c, "flush, barrier 2, send 1, write 1")
	c.LocalDone(third, nil)
	c.PeerAck(third)
	expect(t, c, "done 1")
}
