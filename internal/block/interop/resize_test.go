package interop

import (
	"fmt"
	"os"
	"testing"

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
