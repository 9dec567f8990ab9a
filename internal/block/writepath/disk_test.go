package writepath

import (
	"errors"
	"testing"

	"holdfast/internal/block/metadata"
)

var errTorn = errors.New("torn")

func TestDiskFailsAndThePeerHasTheWrite(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	first, second := c.write(0, 4096), c.write(8192, 4096)
	expect(t, c, "log, send 0, write 0, send 1, write 1")
	c.PeerAck(first)
	c.DropDisk()
	c.LocalDone(first, errTorn)
	expect(t, c, "done 0")
	c.LocalDone(second, errTorn)
	expect(t, c, "") // nobody has it yet
	c.PeerAck(second)
	expect(t, c, "done 1")
	third := c.write(64<<20-4096, 4096) // an extent that is not in the log
	flush := c.Admit(Op{Kind: Flush})
	expect(t, c, "send 1, barrier 1")
	if third != second || flush == third {
		t.Errorf("IDs %d and %d", third, flush)
	}
	c.PeerAck(third)
	expect(t, c, "done 1")
	c.BarrierAck(1)
	expect(t, c, "done 0")
}

func TestDiskFailsWithWritesBeforeTheLog(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	c.write(0, 4096)
	if list := c.Effects(); len(list) != 1 || list[0].Do != LogExtents {
		t.Fatalf("%+v", list)
	}
	if _, ok := c.BeginLog(make([]byte, metadata.BlockSize)); !ok {
		t.Fatal("no transaction")
	}
	c.DropDisk()
	expect(t, c, "send 0")
	c.PeerAck(0)
	expect(t, c, "done 0")
}

func TestWithoutAnyDisk(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	id := c.write(0, 4096)
	expect(t, c, "log, send 0, write 0")
	c.Admit(Op{Kind: Flush})
	expect(t, c, "flush, barrier 1")
	c.DropDisk()
	c.LocalDone(id, errTorn)
	c.LocalFlushed(errTorn)
	expect(t, c, "")
	c.PeerGone()
	expect(t, c, "done 0 "+ErrNoData.Error()+", done 1 "+ErrNoData.Error())
	c.write(0, 4096)
	c.Admit(Op{Kind: Flush})
	expect(t, c, "done 1 "+ErrNoData.Error()+", done 1 "+ErrNoData.Error())
	c.PeerUp()
	again := c.write(0, 4096)
	expect(t, c, "send 1")
	c.PeerFailed(again)
	expect(t, c, "done 1 "+errRefusedThere.Error())
}

// TestFlushOfAFailedDiskNeedsThePeers: the flush that was under way on the disk counts only if the peer's does.
func TestFlushOfAFailedDiskNeedsThePeers(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	id := c.write(0, 4096)
	expect(t, c, "log, send 0, write 0")
	c.LocalDone(id, nil)
	c.PeerAck(id)
	c.Admit(Op{Kind: Flush})
	expect(t, c, "done 0, flush, barrier 1")
	c.DropDisk()
	c.LocalFlushed(errTorn)
	expect(t, c, "")
	c.BarrierAck(1)
	expect(t, c, "done 0")
}

func TestHeldWhileTheDiskFails(t *testing.T) {
	c, _ := newCore(t, 7)
	c.PeerUp()
	id := c.write(0, 4096)
	expect(t, c, "log, send 0, write 0")
	c.Hold()
	c.DropDisk()
	c.PeerAck(id)
	c.LocalDone(id, errTorn)
	c.write(4096, 4096)
	expect(t, c, "")
	c.Release()
	expect(t, c, "done 0, send 1")
}

// TestForgivenError: with pass_on a write only the peer has is out of sync here, and not an error.
func TestForgivenError(t *testing.T) {
	c, bits := newCore(t, 7)
	c.Forgive(true)
	c.PeerUp()
	id := c.write(0, 4096)
	expect(t, c, "log, send 0, write 0")
	c.LocalDone(id, errTorn)
	if !bits.Test(0) {
		t.Error("the block counts as good")
	}
	c.PeerInSync(id)
	expect(t, c, "done 0")
	if !bits.Test(0) {
		t.Error("the peer's word made a block good that is not here")
	}
	id = c.write(0, 4096)
	expect(t, c, "send 0, write 0")
	c.LocalDone(id, errTorn)
	c.PeerFailed(id)
	expect(t, c, "done 0 torn")
	c.PeerGone()
	id = c.write(0, 4096)
	expect(t, c, "write 0")
	c.LocalDone(id, errTorn)
	expect(t, c, "done 0 torn")
}

func TestDiskIsBack(t *testing.T) {
	c := NewWithout(testSize)
	c.PeerUp()
	id := c.write(0, 4096)
	expect(t, c, "send 0")
	with, bits := newCore(t, 7)
	c.TakeDisk(with.log, bits)
	c.PeerAck(id)
	expect(t, c, "done 0")
	c.write(0, 4096)
	expect(t, c, "log, send 0, write 0")
}

// TestFlushAfterTheOnlyDiskWasAway fails once: what was written before may have been lost with the peer's power.
func TestFlushAfterTheOnlyDiskWasAway(t *testing.T) {
	c := NewWithout(testSize)
	c.PeerUp()
	id := c.write(0, 4096)
	expect(t, c, "send 0")
	c.PeerAck(id)
	expect(t, c, "done 0")
	c.PeerGone()
	c.PeerUp()
	c.Admit(Op{Kind: Flush})
	expect(t, c, "done 0 "+errOwed.Error())
	c.write(0, 4096)
	expect(t, c, "send 0")
	c.PeerAck(0)
	c.Admit(Op{Kind: Flush})
	expect(t, c, "done 0, barrier 1")
	c.BarrierAck(1)
	expect(t, c, "done 0")
	c.PeerGone() // everything was flushed
	c.PeerUp()
	c.Admit(Op{Kind: Flush})
	expect(t, c, "done 0")
}
