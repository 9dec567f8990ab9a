package fuseloop

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
)

// growingTarget is a target whose size changes.
type growingTarget struct {
	*fileTarget
	bytes atomic.Int64
}

func (g *growingTarget) Size() int64 { return g.bytes.Load() }

func (g *growingTarget) become(t *testing.T, size int64) {
	t.Helper()
	if err := g.f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	g.bytes.Store(size)
}

// TestResizeInUse: the device grows while it is mounted and open, and it shrinks while it is open.
func TestResizeInUse(t *testing.T) {
	needDevices(t, "mkfs.ext4", "resize2fs", "e2fsck", "mount")
	g := &growingTarget{fileTarget: newTarget(t, filepath.Join(t.TempDir(), "disk"), 32<<20)}
	g.bytes.Store(32 << 20)
	d := open(t, kernel.Config{Name: "grow", Target: g})
	run(t, "mkfs.ext4", "-q", d.DevicePath())
	dir := mountOn(t, d.DevicePath())
	if err := os.WriteFile(filepath.Join(dir, "kept"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(d.DevicePath(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int64{96 << 20, 128 << 20} {
		g.become(t, size)
		if err := d.Resize(); err != nil {
			t.Fatal(err)
		}
		if end, err := f.Seek(0, io.SeekEnd); err != nil || end != size {
			t.Fatalf("the open device ends at %d: %v", end, err)
		}
		want := bytes.Repeat([]byte("new end "), 512)
		if _, err := f.WriteAt(want, size-4096); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4096)
		if _, err := g.f.ReadAt(got, size-4096); err != nil || !bytes.Equal(got, want) {
			t.Errorf("what was written at the new end is not there: %v", err)
		}
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-f", "-p", d.DevicePath())
	run(t, "resize2fs", d.DevicePath())
	dir = mountOn(t, d.DevicePath())
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || int64(st.Blocks)*st.Bsize < 96<<20 {
		t.Errorf("the filesystem has %d blocks of %d: %v", st.Blocks, st.Bsize, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "kept")); err != nil || string(got) != "kept" {
		t.Errorf("%q: %v", got, err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	g.become(t, 16<<20)
	if err := d.Resize(); err != nil {
		t.Fatal(err)
	}
	if end, err := f.Seek(0, io.SeekEnd); err != nil || end != 16<<20 {
		t.Errorf("the open device ends at %d: %v", end, err)
	}
}
