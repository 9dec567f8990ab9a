package writepath

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/block/metadata"
)

const testSize = 64 << 20

func newCore(t interface{ Fatal(...any) }, extents int) (*Core, *metadata.Bitmap) {
	log, err := metadata.NewActivityLog(metadata.DefaultStripes(), extents, 0)
	if err != nil {
		t.Fatal(err)
	}
	bits := metadata.NewBitmap(testSize)
	return New(testSize, log, bits), bits
}

// trace carries log transactions out at once and writes the other effects as text.
func trace(c *Core) string {
	var out []string
	for list := c.Effects(); len(list) > 0; list = c.Effects() {
		for _, e := range list {
			switch e.Do {
			case LogExtents:
				if _, ok := c.BeginLog(make([]byte, metadata.BlockSize)); ok {
					out = append(out, "log")
					c.LogDone()
				}
			case WriteLocal:
				out = append(out, fmt.Sprintf("write %d", e.ID))
			case Send:
				out = append(out, fmt.Sprintf("send %d", e.ID))
			case SendBarrier:
				out = append(out, fmt.Sprintf("barrier %d", e.Number))
			case FlushLocal:
				out = append(out, "flush")
			case Locked:
				out = append(out, fmt.Sprintf("locked %d", e.ID))
			case Complete:
				text := fmt.Sprintf("done %d", e.ID)
				if e.Err != nil {
					text += " " + e.Err.Error()
				}
				out = append(out, text)
			}
		}
	}
	return strings.Join(out, ", ")
}

func (c *Core) write(off, n int64) ID { return c.Admit(Op{Kind: Write, Span: Span{off, off + n}}) }

func expect(t *testing.T, c *Core, want string) {
	t.Helper()
	if got := trace(c); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestLogBeforeDataAndAckAfterBoth(t *testing.T) {
	c, bits := newCore(t, 7)
	c.PeerUp()
	id := c.write(0, 4096)
	expect(t, c, "log, send 0, write 0")
	c.LocalDone(id, nil)
	expect(t, c, "")
	if !c.PeerAck(id) {
		t.Error("the peer's acknowledgement was refused")
	}
	expect(t, c, "done 0")
	if c.PeerAck(id) {
		t.Error("a second acknowledgement was taken")
	}
	c.write(8192, 4096)
	expect(t, c, "send 0, write 0") // the extent is hot
	if bits.Count() != 0 {
		t.Errorf("%d bits out of sync with a connected peer", bits.Count())
	}
}

func TestFlushWaitsForBothSides(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	c.Admit(Op{Kind: Flush})
	expect(t, c, "flush") // the peer was sent nothing
	c.LocalFlushed(nil)
	expect(t, c, "done 0")

	id := c.write(0, 4096)
	c.LogDone()
	trace(c)
	c.LocalDone(id, nil)
	c.PeerAck(id)
	trace(c)
	c.Admit(Op{Kind: Flush})
	expect(t, c, "flush, barrier 1")
	second := c.Admit(Op{Kind: Flush}) // joins the next group
	c.LocalFlushed(nil)
	expect(t, c, "")
	if c.BarrierAck(2) {
		t.Error("the answer to a barrier never sent was taken")
	}
	c.BarrierAck(1)
	expect(t, c, fmt.Sprintf("done %d, flush", 1-second))
	c.LocalFlushed(nil)
	expect(t, c, fmt.Sprintf("done %d", second))
	if c.Unconfirmed() {
		t.Error("something is unconfirmed after a flush")
	}
}

func TestFUAIsWriteThenFlush(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	id := c.Admit(Op{Kind: Write, Span: Span{0, 4096}, FUA: true})
	expect(t, c, "log, send 0, write 0")
	c.PeerAck(id)
	c.LocalDone(id, nil)
	expect(t, c, "flush, barrier 1")
	c.BarrierAck(1)
	c.LocalFlushed(nil)
	expect(t, c, "done 0")
}

func TestOverlapsAreSerialised(t *testing.T) {
	c, _ := newCore(t, 7)
	a := c.write(0, 4096)
	b := c.write(512, 512) // the same block
	d := c.write(0, 8192)
	lock := c.Admit(Op{Kind: Lock, Span: Span{4096, 8192}})
	e := c.write(64<<10, 4096)
	expect(t, c, fmt.Sprintf("log, write %d, write %d", a, e))
	c.LocalDone(a, nil)
	expect(t, c, fmt.Sprintf("write %d, done %d", b, a))
	c.LocalDone(b, nil)
	expect(t, c, fmt.Sprintf("write %d, done %d", d, b))
	c.LocalDone(d, nil)
	expect(t, c, fmt.Sprintf("locked %d, done %d", lock, d))
	f := c.write(4096, 4096)
	expect(t, c, "")
	c.Unlock(lock)
	expect(t, c, fmt.Sprintf("write %d", f))
}

func TestHoldKeepsSuccessesBack(t *testing.T) {
	c, _ := newCore(t, 7)
	a := c.write(0, 4096)
	trace(c)
	c.Hold()
	b := c.write(1<<20, 4096)
	fl := c.Admit(Op{Kind: Flush})
	c.LocalDone(a, nil)
	expect(t, c, "")
	c.Release()
	expect(t, c, fmt.Sprintf("done %d, flush, write %d", a, b))
	c.LocalFlushed(nil)
	expect(t, c, fmt.Sprintf("done %d", fl))
}

func TestSuspendedPeerComesBack(t *testing.T) {
	c, bits := newCore(t, 7)
	c.PeerUp()
	acked := c.write(0, 4096)
	trace(c)
	c.LocalDone(acked, nil)
	c.PeerAck(acked)
	trace(c)
	open := c.write(8192, 4096)
	c.LocalDone(open, nil)
	c.Admit(Op{Kind: Flush})
	trace(c)
	c.LocalFlushed(nil)
	c.Suspend()
	waiting := c.write(16384, 4096)
	expect(t, c, "")
	c.PeerUp()
	expect(t, c, fmt.Sprintf("send %d, barrier 2, send %d, write %d", open, waiting, waiting))
	if bits.Count() != 0 {
		t.Errorf("%d bits out of sync", bits.Count())
	}
	if c.BarrierAck(1) {
		t.Error("a barrier of the old connection was confirmed")
	}
}

func TestLostPeerLeavesItsDirtySet(t *testing.T) {
	c, bits := newCore(t, 7)
	c.PeerUp()
	done := func(off int64) {
		id := c.write(off, 4096)
		trace(c)
		c.LocalDone(id, nil)
		c.PeerAck(id)
		trace(c)
	}
	done(0)
	c.FlushAll()
	trace(c)
	c.LocalFlushed(nil)
	c.BarrierAck(1) // block 0 is safe on the peer
	done(4096)      // acknowledged, not flushed
	open := c.write(8192, 4096)
	trace(c)
	c.LocalDone(open, nil)
	c.Resynced(Span{12288, 16384})
	c.Suspend()
	c.PeerGone()
	expect(t, c, fmt.Sprintf("done %d", open))
	for bit, want := range []bool{false, true, true, true, false} {
		if bits.Test(uint64(bit)) != want {
			t.Errorf("block %d out of sync: %v, want %v", bit, bits.Test(uint64(bit)), want)
		}
	}
	done2 := c.write(20480, 4096)
	expect(t, c, fmt.Sprintf("write %d", done2))
	if !bits.Test(5) {
		t.Error("a write without a peer is not out of sync")
	}
}

func TestExtentLeavesTheLogOnlyAfterAFlush(t *testing.T) {
	c, _ := newCore(t, 7)
	for i := range int64(7) {
		id := c.write(i*metadata.ExtentSize, 4096)
		trace(c)
		c.LocalDone(id, nil)
	}
	trace(c)
	id := c.write(7*metadata.ExtentSize, 4096)
	expect(t, c, "flush") // no room: every extent has writes not flushed
	c.LocalFlushed(nil)
	expect(t, c, fmt.Sprintf("log, write %d", id))
}

func TestFailedFlushBreaksThePath(t *testing.T) {
	c, _ := newCore(t, 7)
	c.Admit(Op{Kind: Flush})
	c.Admit(Op{Kind: Flush})
	trace(c)
	c.LocalFlushed(errors.New("io"))
	expect(t, c, "done 1 io, done 0 io")
	c.write(0, 512)
	expect(t, c, "done 0 io")
	if c.Broken() == nil {
		t.Error("not broken")
	}
}

func TestBreakFailsWhatWaits(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	a := c.write(0, 4096)
	b := c.write(0, 4096)
	trace(c)
	c.Break(errors.New("fenced"))
	expect(t, c, "")
	c.LocalDone(a, nil)
	expect(t, c, "") // the peer's connection may still read the buffer
	c.PeerGone()
	expect(t, c, fmt.Sprintf("done %d fenced, done %d fenced", b, a))
	if c.Active() != 0 {
		t.Errorf("%d operations left", c.Active())
	}
}
