package fuseloop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
)

// needDevices skips where the kernel or our rights do not allow mounts and loop devices.
func needDevices(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("block devices need root")
	}
	for _, path := range []string{"/dev/fuse", "/dev/loop-control"} {
		if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
			t.Skipf("%s: %v", path, err)
		}
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
}

// fileTarget is a target on a plain file: each request is carried out where it is submitted.
type fileTarget struct {
	f       *os.File
	size    int64
	flushes atomic.Int64
	zeroed  atomic.Int64
	writes  atomic.Int64
	fail    atomic.Bool
}

func newTarget(t *testing.T, path string, size int64) *fileTarget {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &fileTarget{f: f, size: size}
}

func (f *fileTarget) Size() int64 { return f.size }

func (f *fileTarget) Submit(r *kernel.Request) { r.Owner.Complete(r, f.do(r)) }

func (f *fileTarget) do(r *kernel.Request) error {
	if f.fail.Load() {
		return errors.New("made to fail")
	}
	var err error
	switch r.Op {
	case kernel.Read:
		_, err = f.f.ReadAt(r.Data, r.Offset)
	case kernel.Write:
		f.writes.Add(1)
		_, err = f.f.WriteAt(r.Data, r.Offset)
	case kernel.Flush:
		f.flushes.Add(1)
	case kernel.WriteZeroes:
		f.zeroed.Add(r.Length)
		err = unix.Fallocate(int(f.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.Offset, r.Length)
	default:
		err = unix.EOPNOTSUPP
	}
	return err
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// mountOn mounts a device and unmounts it at the end, whatever became of the test.
func mountOn(t *testing.T, device string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "mount", device, dir)
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // usually unmounted by the test
	return dir
}

func open(t *testing.T, cfg kernel.Config) *Device {
	t.Helper()
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("cleanup: %v", err)
			_ = d.Abort()
		}
	})
	return d
}

func TestFilesystemOnTheDevice(t *testing.T) {
	needDevices(t, "mkfs.ext4", "mount", "fsck.ext4")
	for _, c := range []struct {
		block int
		mkfs  []string
	}{{0, []string{"mkfs.ext4", "-q"}}, {512, []string{"mkfs.ext4", "-q", "-b", "1024"}}, {4096, []string{"mkfs.ext3", "-q"}}} {
		t.Run(fmt.Sprintf("%s block size %d", c.mkfs[0], c.block), func(t *testing.T) {
			target := newTarget(t, filepath.Join(t.TempDir(), "disk"), 64<<20)
			d := open(t, kernel.Config{Name: "fs", Target: target, BlockSize: c.block})
			run(t, c.mkfs[0], append(c.mkfs[1:], d.DevicePath())...)
			if target.zeroed.Load() == 0 {
				t.Error("mkfs discards the device; nothing arrived")
			}
			if !attached(d) {
				t.Error("the loop device does not show what is attached to it")
			}
			dir := mountOn(t, d.DevicePath())
			exerciseFilesystem(t, target, dir)
			checkInUse(t, d, dir)
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
			run(t, "fsck.ext4", "-f", "-n", d.DevicePath())
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if attached(d) {
				t.Error("the loop device is still there")
			}
		})
	}
}

// attached tells whether the device's loop device has our file; another program may have taken it by now.
func attached(d *Device) bool {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.DevicePath()), "loop/backing_file"))
	return err == nil && strings.TrimSpace(string(b)) == "/holdfast:"+d.cfg.Name
}

func exerciseFilesystem(t *testing.T, target *fileTarget, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before, writes := target.flushes.Load(), target.writes.Load()
	for i := range 10 {
		if _, err := f.WriteAt([]byte(strings.Repeat("x", 8192)), int64(i)*8192); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if got := target.flushes.Load() - before; got < 10 {
		t.Errorf("%d flushes for 10 fsyncs", got)
	}
	if got := target.writes.Load() - writes; got < 10 {
		t.Errorf("%d writes for 10 files' blocks", got)
	}
}

func checkInUse(t *testing.T, d *Device, dir string) {
	t.Helper()
	uses, err := d.InUse()
	if err != nil {
		t.Fatal(err)
	}
	if len(uses) != 1 || uses[0] != "mounted on "+dir {
		t.Errorf("in use: %q", uses)
	}
	if err := d.Close(); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("close of a mounted device: %v", err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "a")); err != nil {
		t.Errorf("the refused close broke it: %v", err)
	}
}

func TestCloseSeesAnotherProcess(t *testing.T) {
	needDevices(t, "sleep")
	d := open(t, kernel.Config{Name: "open", Target: newTarget(t, filepath.Join(t.TempDir(), "disk"), 1<<20)})
	f, err := os.OpenFile(d.DevicePath(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.ExtraFiles = []*os.File{f}
	err = cmd.Start()
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("open in process %d (sleep)", cmd.Process.Pid)
	waitFor(t, "the opener's name", func() bool {
		uses, err := d.InUse()
		return err == nil && len(uses) == 1 && uses[0] == want
	})
	if err := d.Close(); !errors.Is(err, blockdev.ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("close: %v", err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// waitFor waits on a state, with a bound.
func waitFor(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestErrorsReachTheUser(t *testing.T) {
	needDevices(t)
	target := newTarget(t, filepath.Join(t.TempDir(), "disk"), 1<<20)
	d := open(t, kernel.Config{Name: "err", Target: target})
	f, err := os.OpenFile(d.DevicePath(), os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	target.fail.Store(true)
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("failing flush: %v", err)
	}
	target.fail.Store(false)
	if err := f.Sync(); err != nil {
		t.Errorf("flush: %v", err)
	}
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("flush after abort: %v", err)
	}
	select {
	case <-d.Done():
	case <-time.After(20 * time.Second):
		t.Error("the connection has not ended after abort")
	}
}

func TestBlockSizeAndSize(t *testing.T) {
	needDevices(t)
	for _, c := range []struct {
		size  int64
		block int
		want  string
	}{{1 << 20, 0, "4096"}, {1<<20 + 512, 0, "512"}, {1 << 20, 512, "512"}} {
		d := open(t, kernel.Config{Name: "size", Target: newTarget(t, filepath.Join(t.TempDir(), "disk"), c.size), BlockSize: c.block})
		sys := filepath.Join("/sys/block", filepath.Base(d.DevicePath()))
		got, err := os.ReadFile(filepath.Join(sys, "queue/logical_block_size"))
		sectors, err2 := os.ReadFile(filepath.Join(sys, "size"))
		if err != nil || err2 != nil || strings.TrimSpace(string(got)) != c.want || strings.TrimSpace(string(sectors)) != fmt.Sprint(c.size/512) {
			t.Errorf("%d bytes, block size %d: got %s, %s sectors (%v, %v)", c.size, c.block, got, sectors, err, err2)
		}
	}
	if _, err := Open(kernel.Config{Name: "odd", Target: newTarget(t, filepath.Join(t.TempDir(), "disk"), 1<<20+512), BlockSize: 4096}); err == nil {
		t.Error("a size that is no multiple of the block size was accepted")
	}
}

// TestDeviceIsMadeWithoutTheTarget: the target is asked for nothing while the device is being made, since it may keep a flush
// waiting; a flush of whoever uses the device reaches it, also of one that has written nothing.
func TestDeviceIsMadeWithoutTheTarget(t *testing.T) {
	needDevices(t)
	target := newTarget(t, filepath.Join(t.TempDir(), "disk"), 16<<20)
	d := open(t, kernel.Config{Name: "test", Target: target})
	if n := target.flushes.Load(); n != 0 {
		t.Errorf("%d flushes while the device was being made", n)
	}
	f, err := os.OpenFile(d.DevicePath(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if target.flushes.Load() == 0 {
		t.Error("a user's flush has not reached the target")
	}
}
