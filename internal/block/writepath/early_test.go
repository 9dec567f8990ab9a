package writepath

import "testing"

// pairOf has one write and one flush done, with a peer.
func pairOf(t *testing.T, c *Core, off int64) {
	t.Helper()
	w := c.write(off, 4096)
	trace(c)
	c.LocalDone(w, nil)
	c.PeerAck(w)
	c.Admit(Op{Kind: Flush})
	trace(c)
	c.LocalFlushed(nil)
	c.BarrierAck(c.ep.number)
	trace(c)
	if c.Active() != 0 || c.group.running {
		t.Fatalf("active %d, a flush is under way: %v", c.Active(), c.group.running)
	}
}

// expecting is a path with a peer that has seen enough pairs of a write and a flush to expect the next.
func expecting(t *testing.T) *Core {
	t.Helper()
	c, _ := newCore(t, 7)
	c.PeerUp()
	for range earlyAfter {
		pairOf(t, c, 0)
	}
	return c
}

func TestFlushBeginsWithItsWrite(t *testing.T) {
	c := expecting(t)
	w := c.write(0, 4096)
	expect(t, c, "send 0, write 0, barrier 3")
	c.LocalDone(w, nil)
	expect(t, c, "flush")
	c.PeerAck(w)
	expect(t, c, "done 0")
	c.Admit(Op{Kind: Flush})
	expect(t, c, "")
	c.BarrierAck(3)
	expect(t, c, "")
	c.LocalFlushed(nil)
	expect(t, c, "done 0")
}

func TestFlushOfWhatIsDurableAlready(t *testing.T) {
	c := expecting(t)
	w := c.write(0, 4096)
	c.LocalDone(w, nil)
	c.PeerAck(w)
	c.LocalFlushed(nil)
	c.BarrierAck(3)
	expect(t, c, "send 0, write 0, barrier 3, flush, done 0")
	c.Admit(Op{Kind: Flush})
	expect(t, c, "done 0")
}

// TestEarlyFlushCoversNoLaterWrite: a second write ends both the use of the flush under way and the expectation.
func TestEarlyFlushCoversNoLaterWrite(t *testing.T) {
	c := expecting(t)
	w := c.write(0, 4096)
	v := c.write(8192, 4096)
	expect(t, c, "send 0, write 0, barrier 3, send 1, write 1")
	for _, id := range []ID{w, v} {
		c.LocalDone(id, nil)
		c.PeerAck(id)
	}
	f := c.Admit(Op{Kind: Flush})
	expect(t, c, "flush, done 0, done 1")
	c.LocalFlushed(nil)
	c.BarrierAck(3)
	expect(t, c, "flush, barrier 4")
	c.LocalFlushed(nil)
	c.BarrierAck(4)
	if got, want := trace(c), "done 1"; got != want || f != 1 {
		t.Errorf("got %q for flush %d", got, f)
	}
	c.write(0, 4096)
	expect(t, c, "send 1, write 1")
}

// TestEarlyFlushFails: the failure is told, though nobody had asked for the flush when it came.
func TestEarlyFlushFails(t *testing.T) {
	c := expecting(t)
	w := c.write(0, 4096)
	c.LocalDone(w, nil)
	c.PeerAck(w)
	c.LocalFlushed(errTorn)
	expect(t, c, "send 0, write 0, barrier 3, flush, done 0")
	c.Admit(Op{Kind: Flush})
	expect(t, c, "done 0 "+errTorn.Error())
}

// TestPeerIsLostDuringAnEarlyFlush: a flush asked for afterwards is one of its own.
func TestPeerIsLostDuringAnEarlyFlush(t *testing.T) {
	c := expecting(t)
	w := c.write(0, 4096)
	c.LocalDone(w, nil)
	c.PeerAck(w)
	trace(c)
	c.Suspend()
	c.Admit(Op{Kind: Flush})
	c.LocalFlushed(nil)
	expect(t, c, "")
	c.PeerGone()
	expect(t, c, "flush")
	c.LocalFlushed(nil)
	expect(t, c, "done 0")
}

// TestPeerComesDuringAnEarlyFlush: what was durable without it is no answer for a flush asked for with it.
func TestPeerComesDuringAnEarlyFlush(t *testing.T) {
	c := expecting(t)
	c.PeerGone()
	w := c.write(0, 4096)
	c.LocalDone(w, nil)
	c.LocalFlushed(nil)
	expect(t, c, "write 0, flush, done 0")
	c.PeerUp()
	c.Admit(Op{Kind: Flush})
	expect(t, c, "flush")
}

// TestDiskFailsBeforeAnEarlyFlush: the peer's disk alone counts then.
func TestDiskFailsBeforeAnEarlyFlush(t *testing.T) {
	c := expecting(t)
	w := c.write(0, 4096)
	f := c.Admit(Op{Kind: Flush}) // of nothing that has completed
	trace(c)
	c.DropDisk()
	c.LocalDone(w, errTorn)
	expect(t, c, "")
	c.PeerAck(w)
	expect(t, c, "done 0")
	c.BarrierAck(3)
	if got := trace(c); got != "done 1" || f != 1 {
		t.Errorf("got %q for flush %d", got, f)
	}
}
