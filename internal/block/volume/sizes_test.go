package volume

import (
	"testing"

	"holdfast/internal/api"
)

// TestDisksOfDifferentSizes: blank disks agree on the smaller size, whichever side it is on, and keep it.
func TestDisksOfDifferentSizes(t *testing.T) {
	for _, small := range []string{"a", "b"} {
		t.Run(small, func(t *testing.T) {
			p := newPair(t, "")
			n, other := p.a, p.b
			if small == "b" {
				n, other = p.b, p.a
			}
			n.disk = newMemDisk(diskSize - 8<<20)
			n.disk.format(t, 0x5a11)
			p.synced()
			if n.size() != other.size() || n.last().SizeBytes != other.last().SizeBytes || n.size() >= diskSize-8<<20 {
				t.Errorf("sizes %d and %d", n.size(), other.size())
			}
			p.a.write(0, fill(1, 64<<10))
			p.identical()
			p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
			size := other.size()
			other.restart(false)
			other.view(api.VolumeView{})
			other.ok(api.VolumeDo{Verb: api.VolumeUp})
			other.untilState("Connected", "UpToDate", "UpToDate")
			if other.size() != size {
				t.Errorf("%d bytes after a restart, %d before", other.size(), size)
			}
		})
	}
}
