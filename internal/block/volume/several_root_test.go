package volume

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/block/backing"
	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/fuseloop"
	"holdfast/internal/block/resfile"
	"holdfast/internal/disk"
)

// severalDisks gives the node files as backing disks, and a loop device for each volume.
func (n *node) severalDisks(t *testing.T) {
	dir := t.TempDir()
	for number, size := range []int64{40 << 20, 48 << 20} {
		path := filepath.Join(dir, string(rune('0'+number)))
		f, err := os.Create(path)
		must(t, err)
		must(t, f.Truncate(size))
		must(t, f.Close())
		d, err := backing.Open(path)
		must(t, err)
		format(t, d, uint64(n.name[0])<<8|uint64(number)<<4|1)
		must(t, d.Close())
	}
	n.config = func(c *Config) {
		c.OpenDisk = func(path string) (disk.Device, error) { return backing.Open(filepath.Join(dir, path[len(path)-1:])) }
		c.Frontend = func(v *resfile.Volume, k kernel.Target) (kernel.Frontend, error) {
			d, err := fuseloop.Open(kernel.Config{Name: "test-" + n.self().DeviceName(n.name, v), Target: k, Log: c.Log})
			if err == nil {
				t.Cleanup(func() { d.Abort(); d.Close() })
			}
			return d, err
		}
	}
}

func (n *node) self() *resfile.Host {
	self, _, err := n.res.For(n.name)
	must(n.t, err)
	return self
}

// TestSeveralRealDevices: each volume has a device of its own, and one that is mounted keeps both from being demoted.
func TestSeveralRealDevices(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: loop devices and mounts")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse: ", err)
	}
	p := newSeveral(t, "")
	p.a.severalDisks(t)
	p.b.severalDisks(t)
	p.severalSynced()
	dir := t.TempDir()
	device := func(n *node, number string) string {
		return filepath.Join(string(n.root), "dev/drbd/by-res/r0", number)
	}
	run(t, "mkfs.ext4", "-q", device(p.a, "0"))
	run(t, "mkfs.ext4", "-q", device(p.a, "1"))
	run(t, "mount", device(p.a, "1"), dir)
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("of volume 1"), 0o600))
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeSecondary}); r.Code != 11 || !strings.HasPrefix(r.Error, "2: State change failed: (-12)") {
		t.Errorf("demoted while mounted: %+v", r)
	}
	for _, number := range both {
		if st := p.a.untilVolume(number, "a status", func(*api.VolumeStatus) bool { return true }); st.Role != "Primary" {
			t.Errorf("volume %d is %s", number, st.Role)
		}
	}
	run(t, "umount", dir)
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	for _, number := range both {
		p.b.untilVolume(number, "a Secondary peer", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	}
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	run(t, "mount", device(p.b, "1"), dir)
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "of volume 1" {
		t.Errorf("the other side reads %q, %v", got, err)
	}
	run(t, "umount", dir)
	for _, n := range []*node{p.b, p.a} {
		n.ok(api.VolumeDo{Verb: api.VolumeDown})
		must(t, <-n.ended)
		n.ended <- nil
	}
}
