package volume

import (
	"bytes"
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

// TestRealDevices runs the tutorial's steps on real loop devices with ext4:
//
//	ext4 - loop - FUSE - volume a - file a   <--TCP-->   volume b - file b
func TestRealDevices(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: loop devices and mounts")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse: ", err)
	}
	p := newPair(t, "")
	for _, n := range []*node{p.a, p.b} {
		n.realDisk(t, 64<<20)
	}
	p.synced()
	dev := filepath.Join(string(p.a.root), "dev/drbd1")
	dir := t.TempDir()
	if out, err := exec.Command("mount", filepath.Join(string(p.b.root), "dev/drbd/by-res/r0/0"), dir).CombinedOutput(); err == nil {
		exec.Command("umount", dir).Run()
		t.Fatal("a Secondary could be mounted")
	} else {
		t.Logf("mount on the Secondary: %s", bytes.TrimSpace(out))
	}
	run(t, "mkfs.ext4", "-q", dev)
	run(t, "mount", dev, dir)
	mounted := true
	defer func() {
		if mounted {
			exec.Command("umount", dir).Run()
		}
	}()
	want := bytes.Repeat([]byte("important data\n"), 100000)
	must(t, os.WriteFile(filepath.Join(dir, "file"), want, 0o600))
	if r := p.a.do(api.VolumeDo{Verb: api.VolumeSecondary}); r.Code != 11 || !strings.Contains(r.Error, "1: State change failed: (-12) Device is held open by someone") {
		t.Errorf("demoted while mounted: %+v", r)
	}
	run(t, "umount", dir)
	mounted = false
	p.a.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.b.until("peer Secondary", func(s *api.VolumeStatus) bool { return s.PeerRole == "Secondary" })
	p.b.ok(api.VolumeDo{Verb: api.VolumePrimary})
	run(t, "mount", filepath.Join(string(p.b.root), "dev/drbd1"), dir)
	mounted = true
	got, err := os.ReadFile(filepath.Join(dir, "file"))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("the other side reads something else")
	}
	run(t, "umount", dir)
	mounted = false
	p.b.ok(api.VolumeDo{Verb: api.VolumeSecondary})
	p.a.ok(api.VolumeDo{Verb: api.VolumeDown})
	p.b.ok(api.VolumeDo{Verb: api.VolumeDown})
	for _, n := range []*node{p.a, p.b} {
		must(t, <-n.ended)
		n.ended <- nil
		if _, err := os.Lstat(filepath.Join(string(n.root), "dev/drbd1")); err == nil {
			t.Errorf("%s: the link to the device is still there", n.name)
		}
	}
	x, err := os.ReadFile(p.a.path)
	must(t, err)
	y, err := os.ReadFile(p.b.path)
	must(t, err)
	if size := p.a.size(); !bytes.Equal(x[:size], y[:size]) {
		t.Error("the replicas differ")
	}
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// realDisk gives the node a file as backing disk and a loop device as front end.
func (n *node) realDisk(t testing.TB, size int64) {
	n.path = filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(n.path)
	must(t, err)
	must(t, f.Truncate(size))
	must(t, f.Close())
	d, err := backing.Open(n.path)
	must(t, err)
	format(t, d, 0xd15c0000+uint64(n.name[0]))
	must(t, d.Close())
	n.config = func(c *Config) {
		c.OpenDisk = func(string) (disk.Device, error) { return backing.Open(n.path) }
		c.Frontend = func(_ *resfile.Volume, k kernel.Target) (kernel.Frontend, error) {
			d, err := fuseloop.Open(kernel.Config{Name: "test-" + n.name, Target: k, Log: c.Log})
			if err == nil {
				t.Cleanup(func() { d.Abort(); d.Close() })
			}
			return d, err
		}
	}
}
