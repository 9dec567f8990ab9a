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

// TestSentAndLostIsNotFlushed: with protocols A and B a write counts as acknowledged when it is sent. If the connection is lost before
// the only disk has it, nobody sends it again, and the flush that waits for it fails.
func TestSentAndLostIsNotFlushed(t *testing.T) {
	c, _ := newCore(t, 7)
	c.SetUnordered(true)
	c.PeerUp()
	id := c.Admit(Op{Kind: Write, FUA: true, Span: Span{0, 4096}})
	expect(t, c, "log, send 0, write 0")
	c.PeerAck(id)
	c.DropDisk()
	c.LocalDone(id, errTorn)
	expect(t, c, "barrier 1")
	c.Suspend()
	c.PeerUp()
	expect(t, c, "barrier 2")
	c.BarrierAck(2)
	expect(t, c, "done 0 "+errOwed.Error())
}
