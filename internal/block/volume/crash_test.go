package volume

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/metadata"
	"holdfast/internal/disk"
	"holdfast/internal/disk/crashdisk"
)

// The disks of these tests have more activity log extents than the log has slots (al-extents 67), so that extents leave it.
const (
	crashSize = 320 << 20
	alSlots   = "disk { al-extents 67; }"
)

// inSync formats a disk whose metadata says that it is UpToDate and of the generation both replicas have.
func inSync(t *testing.T, d disk.Device, deviceUUID uint64) {
	t.Helper()
	l, err := metadata.NewLayout(metadata.Internal, d.Size(), 0, metadata.DefaultStripes())
	must(t, err)
	format(t, d, deviceUUID)
	sb := metadata.NewSuperblock(l, deviceUUID)
	sb.UUIDs.Current, sb.LastAgreedSize = 0x7000000000000000, uint64(l.Data/metadata.SectorSize)
	sb.Flags = metadata.Consistent | metadata.WasUpToDate | metadata.ALClean
	p := make([]byte, metadata.BlockSize)
	sb.Encode(p)
	must(t, d.WriteAt(p, l.Superblock))
	must(t, d.Flush())
}

// onCrashDisks is a pair in sync, a being Primary, on recording disks.
func onCrashDisks(t *testing.T) (p *pair, a, b *crashdisk.Disk) {
	t.Helper()
	p = newPair(t, alSlots)
	a, b = crashdisk.New(crashSize), crashdisk.New(crashSize)
	for n, d := range map[*node]*crashdisk.Disk{p.a: a, p.b: b} {
		inSync(t, d, uint64(len(n.name))+uint64(n.name[0])<<8|1)
		n.config = func(c *Config) { c.OpenDisk = func(string) (disk.Device, error) { return d, nil } }
	}
	p.up()
	p.a.untilState("Connected", "UpToDate", "UpToDate")
	p.b.untilState("Connected", "UpToDate", "UpToDate")
	p.a.ok(api.VolumeDo{Verb: api.VolumePrimary})
	return p, a, b
}

// written is a block the application wrote: when the disk had recorded so many operations it was asked for and acknowledged.
type written struct {
	block       int64
	value       byte
	asked, done int
}

// workload writes blocks over all extents, some of them again and again, a few at once, and flushes now and then.
func workload(p *pair, d *crashdisk.Disk, rng *rand.Rand, rounds int) []written {
	extents := rng.Perm(int(crashSize/metadata.ExtentSize) - 1)
	var log []written
	for round := range rounds {
		var batch []written
		var requests []*ioRequest
		for i := range 1 + rng.IntN(3) {
			w := written{block: int64(extents[(round*2+i)%len(extents)])*1024 + rng.Int64N(2), value: byte(1 + rng.IntN(250)), asked: d.Ops()}
			if slices.ContainsFunc(batch, func(o written) bool { return o.block == w.block }) {
				continue
			}
			batch = append(batch, w)
			requests = append(requests, p.a.submit(kernel.Write, w.block*4096, fill(w.value, 4096), 4096))
		}
		for i, r := range requests {
			must(p.t, p.a.wait(r))
			batch[i].done = d.Ops()
		}
		log = append(log, batch...)
		if rng.IntN(4) == 0 {
			p.a.flush()
		}
	}
	return log
}

// TestCrashOfAPrimary replays every moment of a Primary's disk, with what was not flushed lost, torn or reordered: after the
// recovery every block that may differ from the peer's, which has all that was acknowledged, is out of sync.
func TestCrashOfAPrimary(t *testing.T) {
	p, a, _ := onCrashDisks(t)
	a.Mark()
	rng := rand.New(rand.NewPCG(1, 1))
	log := workload(p, a, rng, 50)
	p.a.kill()
	p.b.kill()
	count, dirty := 0, 0
	for c := range a.Crashes(2, 1) {
		count++
		n, err := p.judge(c, log)
		if err != nil {
			t.Fatalf("crash after %d operations, %s: %v", c.Ops, c.What, err)
		}
		dirty += n
	}
	if count < 1000 || dirty == 0 {
		t.Errorf("only %d crashes, %d blocks differed in all", count, dirty)
	}
}

// judge recovers a crashed disk and looks at every block that was ever written. It tells how many differ from what was
// acknowledged last.
func (p *pair) judge(c crashdisk.Crash, log []written) (differ int, err error) {
	s, err := openStore(func(string) (disk.Device, error) { return c.Disk, nil }, p.a.res.Hosts[0].Volumes[0], p.a.res.Disk(nil))
	if err != nil {
		return 0, err
	}
	if s.sb.UUIDs.Current == 0 || s.sb.Flags&metadata.WasUpToDate == 0 {
		return 0, fmt.Errorf("superblock %+v", s.sb)
	}
	if err := s.recover(); err != nil {
		return 0, err
	}
	acked := map[int64]byte{}
	for _, w := range log {
		if w.done <= c.Ops {
			acked[w.block] = w.value
		} else if w.asked < c.Ops {
			if _, known := acked[w.block]; !known {
				acked[w.block] = 0
			}
		}
	}
	got := make([]byte, 4096)
	for block, value := range acked {
		if err := s.data.ReadAt(got, block*4096); err != nil {
			return 0, err
		}
		if bytes.Equal(got, fill(value, 4096)) {
			continue
		}
		differ++
		if !s.bits.Test(uint64(block)) {
			return 0, fmt.Errorf("block %d of extent %d has %d.. where %d was acknowledged, and counts as in sync", block, block/1024, got[0], value)
		}
	}
	return differ, nil
}

// TestErrorsAtEveryCall lets the n-th write or flush of the Primary's disk fail, for n = 1, 2, 3 ...: every request is answered,
// and what was acknowledged is on the peer.
func TestErrorsAtEveryCall(t *testing.T) {
	faults := []crashdisk.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC, Ever: true}, {Err: syscall.EIO, Keep: 2, Ever: true}}
	for n := range 9 {
		fault := faults[n%len(faults)]
		t.Run(fmt.Sprintf("call %d %v", n+1, fault.Err), func(t *testing.T) {
			p, a, b := onCrashDisks(t)
			a.FailAt(n+1, fault)
			acked := map[int64]byte{}
			for i := range int64(8) {
				block := i * 2 * 1024
				r := p.a.submit(kernel.Write, block*4096, fill(byte(i+1), 4096), 4096)
				if p.a.wait(r) == nil {
					acked[block] = byte(i + 1)
				}
				_ = p.a.wait(p.a.submit(kernel.Flush, 0, nil, 0))
			}
			if !a.Failed() {
				t.Error("the error was never met")
			}
			got := make([]byte, 4096)
			for block, value := range acked {
				must(t, b.ReadAt(got, block*4096))
				if !bytes.Equal(got, fill(value, 4096)) {
					t.Errorf("block %d was acknowledged with %d and is not on the peer", block, value)
				}
			}
		})
	}
}

// TestErrorsInRecovery lets the n-th call of a recovery fail: what it was to find is found by the next one.
func TestErrorsInRecovery(t *testing.T) {
	p, a, _ := onCrashDisks(t)
	a.Mark()
	log := workload(p, a, rand.New(rand.NewPCG(3, 3)), 12)
	p.a.kill()
	p.b.kill()
	var last crashdisk.Crash
	for c := range a.Crashes(1, 1) {
		if c.What == "all kept" {
			last = c
		}
	}
	for _, fault := range []crashdisk.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC, Keep: 1, Ever: true}} {
		for n := 1; ; n++ {
			d := last.Copy()
			s, err := openStore(func(string) (disk.Device, error) { return d, nil }, p.a.res.Hosts[0].Volumes[0], p.a.res.Disk(nil))
			must(t, err)
			d.FailAt(n, fault)
			err = s.recover()
			if !d.Failed() {
				must(t, err)
				break
			}
			if !errors.Is(err, fault.Err) {
				t.Fatalf("call %d failed, the recovery says %v", n, err)
			}
			d.FailAt(0, crashdisk.Fault{})
			if _, err := p.judge(crashdisk.Crash{Disk: d, Ops: last.Ops, What: "again"}, log); err != nil {
				t.Fatalf("error at call %d: %v", n, err)
			}
		}
	}
}
