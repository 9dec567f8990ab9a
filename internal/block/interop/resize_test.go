package interop

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/block/metadata"
)

// enlarge makes holdfast's disk larger while it is in use, and gives the size its device can have then.
func (n *node) enlarge(size int64) int64 {
	n.t.Helper()
	must(n.t, os.Truncate(n.path, size))
	l, err := metadata.NewLayout(metadata.Internal, size, 0, metadata.DefaultStripes())
	must(n.t, err)
	return l.Data
}

// sized waits until both sides have a device of so many bytes, in sync.
func sized(t *testing.T, v *machine, n *node, size int64) {
	t.Helper()
	n.until(fmt.Sprintf("%d bytes", size), func(s *api.VolumeStatus) bool { return s.SizeBytes == size })
	v.await(t, "cat /sys/block/drbd1/size", fmt.Sprintf("%d\n", size/512))
	equal(t, v, n)
}

// TestResize: holdfast's disk is the smaller one, and grows in steps; each side gives the order once, being Primary. Then the
// device is made smaller by either.
func TestResize(t *testing.T) {
	v, n := coupleSized(t, "C", "", "", diskSize-8<<20)
	inSync(t, v, n, true)
	writes(t, v, n, true, "")
	size := n.enlarge(diskSize - 4<<20)
	n.ok(api.VolumeDo{Verb: api.VolumeResize})
	sized(t, v, n, size)
	writes(t, v, n, true, "")
	equal(t, v, n)
	swap(t, v, n)
	size = n.enlarge(diskSize - 2<<20)
	v.run(t, "drbdadm resize r0 2>&1")
	sized(t, v, n, size)
	writes(t, v, n, false, "")
	equal(t, v, n)
	// From the Secondary.
	size = n.enlarge(diskSize - 1<<20)
	n.ok(api.VolumeDo{Verb: api.VolumeResize})
	sized(t, v, n, size)
	v.run(t, "drbdadm -- --size=12M resize r0 2>&1")
	sized(t, v, n, 12<<20)
	swap(t, v, n)
	n.ok(api.VolumeDo{Verb: api.VolumeResize, SizeBytes: 8 << 20})
	sized(t, v, n, 8<<20)
	writes(t, v, n, true, "")
	equal(t, v, n)
	// The metadata is found at its new place.
	n.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	n.kill()
	n.up()
	sized(t, v, n, 8<<20)
}

// TestResizeOfTheKernelsDisk: the machine's disk is the smaller one, and grows while it is in use; the kernel's metadata moves to
// its new end. Each side gives the order once.
func TestResizeOfTheKernelsDisk(t *testing.T) {
	forLong(t)
	const step = 4 << 20
	v, n := coupleSized(t, "C", "", "", diskSize+4*step)
	t.Cleanup(func() { v.restoreDisk(t) })
	inSync(t, v, n, true)
	for i := range int64(2) {
		total := diskSize + (i+1)*step
		v.resizeDisk(t, total)
		l, err := metadata.NewLayout(metadata.Internal, total, 0, metadata.DefaultStripes())
		must(t, err)
		if i == 0 {
			v.run(t, "drbdadm resize r0 2>&1")
		} else {
			n.ok(api.VolumeDo{Verb: api.VolumeResize})
		}
		sized(t, v, n, l.Data)
		n.write(l.Data-8192, noiseAligned(i, 8192))
		n.hammer(2*time.Second, false)
		equal(t, v, n)
	}
}

// resizeDisk changes the size of the machine's disk while it runs, and waits until its kernel has seen it.
func (v *machine) resizeDisk(t *testing.T, size int64) {
	t.Helper()
	c, err := net.Dial("unix", v.file("mon.sock"))
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(c, "block_resize d %dB\n", size)
	must(t, err)
	v.await(t, "cat /sys/block/vdb/size", fmt.Sprintf("%d\n", size/512))
}

// restoreDisk gives the machine's disk, which nobody needs any more, the size that other tests expect.
func (v *machine) restoreDisk(t *testing.T) {
	t.Helper()
	if v.conn != nil {
		v.run(t, "drbdadm down r0 >/dev/null 2>&1; true")
		v.resizeDisk(t, diskSize)
	}
}
