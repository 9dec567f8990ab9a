package interop

import (
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/kernel"
)

// spoil changes a block of a disk behind everybody's back.
func spoil(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(noise(time.Now().UnixNano(), 4096), off)
	must(t, err)
	must(t, f.Sync())
}

// resynced waits for the end of a resync that begun leads to, and wants at least so many bytes moved, and at most.
func resynced(t *testing.T, v *machine, n *node, least, most int64, begun func()) {
	t.Helper()
	before := n.last().ResyncedBytes
	begun()
	n.until("a resync", func(s *api.VolumeStatus) bool { return s.ResyncedBytes-before >= least })
	equal(t, v, n)
	if moved := n.last().ResyncedBytes - before; moved > most {
		t.Errorf("%d bytes were resynced, at most %d were expected", moved, most)
	}
}

// TestInvalidate: each side gives the other's content up, and its own while the two are apart: all of it comes from the other.
func TestInvalidate(t *testing.T) {
	v, n := couple(t, "C", "", "")
	inSync(t, v, n, true)
	size := n.size()
	all := func(begun func()) {
		t.Helper()
		resynced(t, v, n, size, 2*size, begun)
	}
	spoil(t, v.disk(), 2<<20)
	all(func() { n.ok(api.VolumeDo{Verb: api.VolumeInvalidateRemote}) })
	swap(t, v, n)
	spoil(t, n.path, 2<<20)
	all(func() { v.run(t, "drbdadm invalidate-remote r0 2>&1") })
	n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
	spoil(t, n.path, 3<<20)
	n.ok(api.VolumeDo{Verb: api.VolumeInvalidate})
	all(func() { n.ok(api.VolumeDo{Verb: api.VolumeConnect}) })
	swap(t, v, n)
	v.run(t, "drbdadm disconnect r0 2>&1")
	n.state("WFConnection", "UpToDate", "DUnknown")
	spoil(t, v.disk(), 3<<20)
	v.run(t, "drbdadm invalidate r0 2>&1")
	all(func() { v.run(t, "drbdadm connect r0 2>&1") })
}

// TestPausedResync: a resync waits while either side wants it to, whichever way it goes.
func TestPausedResync(t *testing.T) {
	forLong(t)
	v, n := couple(t, "C", "", "")
	inSync(t, v, n, true)
	n.ok(api.VolumeDo{Verb: api.VolumePauseSync})
	n.ok(api.VolumeDo{Verb: api.VolumeInvalidateRemote})
	v.states(t, "cs:PausedSyncT", "ds:Inconsistent/UpToDate")
	n.state("PausedSyncS", "UpToDate", "Inconsistent")
	n.write(1<<20, noiseAligned(7, 64<<10))
	n.ok(api.VolumeDo{Verb: api.VolumeResumeSync})
	equal(t, v, n)
	swap(t, v, n)
	v.run(t, "drbdadm pause-sync r0 2>&1; drbdadm invalidate-remote r0 2>&1")
	n.state("PausedSyncT", "Inconsistent", "UpToDate")
	v.states(t, "cs:PausedSyncS", "ds:UpToDate/Inconsistent")
	v.run(t, "drbdadm resume-sync r0 2>&1")
	equal(t, v, n)
}

// TestBitmapEncodings: what differs is told as plain words and as run lengths, each way. The kernel says how much it has sent and
// received only where run lengths made it less.
func TestBitmapEncodings(t *testing.T) {
	forLong(t)
	v, n := couple(t, "C", "use-rle no;", "")
	inSync(t, v, n, true)
	again := func(text string, write func(), sent, received bool) {
		t.Helper()
		v.run(t, "drbdadm disconnect r0 2>&1; dmesg -c >/dev/null")
		n.state("WFConnection", "UpToDate", "DUnknown")
		write()
		v.rewrite(t, text)
		resynced(t, v, n, 4096, n.size(), func() { v.run(t, "drbdadm connect r0 2>&1") })
		log := v.run(t, "dmesg | grep 'bitmap stats'; true")
		const runs = " bitmap stats [Bytes(packets)]: plain 0(0), RLE "
		if strings.Contains(log, "send"+runs) != sent || strings.Contains(log, "receive"+runs) != received {
			t.Errorf("run lengths: sent by the kernel %t, received %t were expected; it says:\n%s", sent, received, log)
		}
	}
	few := func() { n.write(1<<20, noiseAligned(7, 64<<10)) }
	everySecond := func() { // whose run lengths are longer than the words
		for off := int64(0); off < n.size()-8192; off += 8192 {
			n.write(off, noiseAligned(off, 4096))
		}
	}
	again(n.text, few, false, true)
	rle := strings.Replace(n.text, "use-rle no", "use-rle yes", 1)
	again(rle, everySecond, false, false)
	again(rle, few, true, true)
}

// TestThinResync: a target that has said how large its disk's discards are is told where there are but zeros, by holdfast's
// resync and the kernel's.
func TestThinResync(t *testing.T) {
	forLong(t)
	v, n := couple(t, "C", "", "rs-discard-granularity 65536;")
	inSync(t, v, n, true)
	for _, holdfast := range []bool{true, false} {
		if holdfast {
			v.run(t, "drbdadm disconnect r0 2>&1")
			n.state("WFConnection", "UpToDate", "DUnknown")
			must(t, n.wait(n.submit(kernel.Discard, 4<<20, nil, 2<<20)))
			n.write(4<<20+256<<10, noiseAligned(9, 12<<10))
			resynced(t, v, n, 2<<20, 3<<20, func() { v.run(t, "drbdadm connect r0 2>&1") })
			swap(t, v, n)
			continue
		}
		n.ok(api.VolumeDo{Verb: api.VolumeDisconnect})
		v.states(t, "cs:WFConnection")
		v.run(t, "blkdiscard -o 8388608 -l 2097152 /dev/drbd1 2>&1 || dd if=/dev/zero of=/dev/drbd1 bs=64k seek=128 count=32 oflag=direct 2>&1")
		resynced(t, v, n, 2<<20, 3<<20, func() { n.ok(api.VolumeDo{Verb: api.VolumeConnect}) })
	}
}
