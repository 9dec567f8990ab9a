package guard_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/block/kernel/fuseloop"
	"holdfast/internal/guard"
	"holdfast/internal/lab/labdisk"
	"holdfast/internal/paths"
)

// plainFile is a volume without replication: a file, or a disk, to which flushes are passed on.
type plainFile struct {
	f    *os.File
	size int64
	disk bool
}

func (p *plainFile) Size() int64 { return p.size }

func (p *plainFile) Submit(r *kernel.Request) {
	var err error
	switch r.Op {
	case kernel.Read:
		_, err = p.f.ReadAt(r.Data, r.Offset)
	case kernel.Write:
		_, err = p.f.WriteAt(r.Data, r.Offset)
	case kernel.Flush:
		if p.disk {
			err = p.f.Sync()
		}
	case kernel.WriteZeroes:
		err = unix.Fallocate(int(p.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, r.Offset, r.Length)
	}
	r.Owner.Complete(r, err)
}

// helpVolume is a volume process: root, backing file, file to write the device's path to. It serves until killed.
func helpVolume(args []string) error {
	f, err := os.OpenFile(args[1], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	fuseloop.PrepareProcess(log)
	client := guard.NewKeeper(paths.Root(args[0]), log)
	d, err := fuseloop.Open(kernel.Config{Name: "r0", Target: &plainFile{f, size, strings.HasPrefix(args[1], "/dev/")}, Guard: client, Log: log})
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[2]+".new", []byte(d.DevicePath()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(args[2]+".new", args[2]); err != nil {
		return err
	}
	select {}
}

// helpWrite appends numbered lines to a file, each with an fsync, and counts them in another, outside the device.
func helpWrite(args []string) error {
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		if _, err := fmt.Fprintln(f, n); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := os.WriteFile(args[1], []byte(strconv.Itoa(n)), 0o600); err != nil {
			return err
		}
	}
}

func needDevices(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("block devices need root")
	}
	for _, path := range []string{"/dev/fuse", "/dev/loop-control"} {
		if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
			t.Skipf("%s: %v", path, err)
		}
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip(err)
	}
}

// host is a guard, a volume process, and ext4 on its device.
type host struct {
	t            *testing.T
	root         paths.Root
	guard        *guard.Client
	guardProcess *exec.Cmd
	disk         string
	ready        string
	dir          string
	device       string
	volume       *exec.Cmd
	// processes are the helpers, volume processes first.
	processes []*exec.Cmd
}

// diskBytes is the size of a host's disk.
const diskBytes = 64 << 20

func newHost(t *testing.T) *host {
	t.Helper()
	needDevices(t)
	return newHostOn(t, "")
}

// newHostOn is newHost with a disk of the test's own.
func newHostOn(t *testing.T, disk string) *host {
	t.Helper()
	root, client, process := startGuard(t)
	tmp := t.TempDir()
	if disk == "" {
		disk = filepath.Join(tmp, "disk")
		if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, diskBytes)); err != nil {
			t.Fatal(err)
		}
	}
	h := &host{t: t, root: root, guard: client, guardProcess: process, disk: disk, ready: filepath.Join(tmp, "ready"), dir: filepath.Join(tmp, "mnt")}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.end)
	h.startVolume()
	for _, args := range [][]string{{"mkfs.ext4", "-q", h.device}, {"mount", h.device, h.dir}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return h
}

// end takes everything away in an order that cannot hang: without descriptor and process the device fails, and so its
// users end. Then the loop device frees itself.
func (h *host) end() {
	if c, err := guard.Dial(h.root); err == nil { // else the descriptor has gone with the guard
		if err := c.Release("r0"); err != nil {
			h.t.Error(err)
		}
		c.Close()
	}
	for _, cmd := range h.processes {
		stop(cmd)
	}
	if err := unix.Unmount(h.dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		h.t.Error(err)
	}
	waitFor(h.t, h.device+" to be free", func() bool {
		b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(h.device), "loop/backing_file"))
		return err != nil || !strings.Contains(string(b), "holdfast:r0")
	})
}

// start starts a helper that end stops: volume processes before their users.
func (h *host) start(kind string, args ...string) *exec.Cmd {
	h.t.Helper()
	cmd := helperCommand(kind, args...)
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	if kind == "volume" {
		h.processes = slices.Insert(h.processes, 0, cmd)
	} else {
		h.processes = append(h.processes, cmd)
	}
	return cmd
}

func (h *host) startVolume() {
	h.t.Helper()
	_ = os.Remove(h.ready)
	h.volume = h.start("volume", string(h.root), h.disk, h.ready)
	waitFor(h.t, "the volume process", func() bool {
		b, err := os.ReadFile(h.ready)
		h.device = string(b)
		return err == nil
	})
}

func (h *host) startWriter(name string) (cmd *exec.Cmd, count func() int) {
	h.t.Helper()
	counter := filepath.Join(filepath.Dir(h.ready), name+".count")
	cmd = h.start("write", filepath.Join(h.dir, name), counter)
	return cmd, func() int {
		b, err := os.ReadFile(counter)
		if err != nil {
			return 0
		}
		n, _ := strconv.Atoi(string(b)) // caught half written it reads as 0
		return n
	}
}

func TestVolumeProcessIsReplacedUnderAMountedFilesystem(t *testing.T) {
	h := newHost(t)
	device, fd, err := h.guard.Get("r0")
	if err != nil || device.Connection == 0 {
		t.Fatalf("the guard holds nothing: %v", err)
	}
	if fd < 0 {
		t.Skip("this kernel cannot resend requests (6.9 is needed)")
	}
	closeFD(fd)
	path := h.device
	writer, count := h.startWriter("a")
	_, count2 := h.startWriter("b")
	for round := range 4 {
		was, was2 := count(), count2()
		waitFor(t, "writers", func() bool { return count() > was+5 && count2() > was2+5 })
		stop(h.volume)
		h.startVolume()
		if h.device != path {
			t.Fatalf("round %d: the device became %s", round, h.device)
		}
	}
	was, was2 := count(), count2()
	waitFor(t, "writers after the last change", func() bool { return count() > was && count2() > was2 })
	stop(writer)
	checkLines(t, filepath.Join(h.dir, "a"), count())
}

// checkLines verifies that every counted line is there, in order, once.
func checkLines(t *testing.T, path string, count int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(b))
	if len(lines) < count {
		t.Errorf("%d lines for %d acknowledged", len(lines), count)
	}
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
}

// The daemon is gone and the volume process answers nothing, stopped, dead or stuck in the kernel on a disk that hangs; its
// users hang in the kernel too: the guard alone ends them all.
func TestGuardEnforcesAgainstAVolumeProcessThatDoesNotAnswer(t *testing.T) {
	t.Run("stopped", func(t *testing.T) {
		h := newHost(t)
		h.enforced(func() { h.signalVolume(syscall.SIGSTOP) })
		h.signalVolume(syscall.SIGCONT)
	})
	t.Run("killed", func(t *testing.T) {
		h := newHost(t)
		h.enforced(func() { stop(h.volume) })
	})
	t.Run("on a disk that hangs", func(t *testing.T) {
		needDevices(t)
		disk, device := hangingDisk(t)
		h := newHostOn(t, device)
		h.enforced(func() {
			disk.Set(labdisk.Fault{Hang: true})
			waitFor(t, "the volume process to hang in the kernel", func() bool { return inKernel(h.volume.Process.Pid) })
		})
		disk.Heal()
	})
	t.Run("stopped on a disk that hangs", func(t *testing.T) {
		needDevices(t)
		disk, device := hangingDisk(t)
		h := newHostOn(t, device)
		h.enforced(func() {
			disk.Set(labdisk.Fault{Hang: true})
			waitFor(t, "the volume process to hang in the kernel", func() bool { return inKernel(h.volume.Process.Pid) })
			h.signalVolume(syscall.SIGSTOP)
		})
		h.signalVolume(syscall.SIGCONT)
		disk.Heal()
	})
}

// hangingDisk is a disk that can be told to hang, and its block device.
func hangingDisk(t *testing.T) (*labdisk.Disk, string) {
	t.Helper()
	d, err := labdisk.Open(labdisk.Config{Name: "guard-test", Path: filepath.Join(t.TempDir(), "medium"), Size: diskBytes})
	if err == nil {
		err = d.PowerOn()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Heal()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	device, err := d.Device()
	if err != nil {
		t.Fatal(err)
	}
	return d, device.Path
}

func (h *host) signalVolume(s syscall.Signal) {
	h.t.Helper()
	if err := h.volume.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// enforced has a writer use the device, silences the volume process, and wants the guard to end it all at the deadline.
func (h *host) enforced(silence func()) {
	t := h.t
	t.Helper()
	dir := cgroup(t, h.root)
	writer, count := h.startWriter("a")
	join(t, dir, writer.Process.Pid)
	waitFor(t, "the writer", func() bool { return count() > 5 })
	silence()
	waitFor(t, "the writer to hang in the kernel", func() bool { return inKernel(writer.Process.Pid) })
	if err := h.guard.Lease(1, in(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if s := waitState(t, h.guard, "enforced"); len(s.Held) != 0 || len(s.Survivors) != 0 {
		t.Errorf("after enforcement: %+v", s)
	}
	if err := writer.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	expectDead(t, h.device)
}

// inKernel tells whether a thread of a process is in uninterruptible sleep.
func inKernel(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return slices.ContainsFunc(threads, func(path string) bool {
		s, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(s), ") D ")
	})
}

// The guard is killed: the volume process leaves its device with the next one, which can then abort it.
func TestReplacedGuardLearnsTheDevices(t *testing.T) {
	h := newHost(t)
	dir := cgroup(t, h.root)
	stop(h.guardProcess)
	helper(t, "guard", string(h.root))
	h.guard = dial(t, h.root)
	waitFor(t, "the new guard to hold the device", func() bool {
		s := status(t, h.guard)
		return len(s.Held) == 1 && s.Held[0] == "r0"
	})
	writer, count := h.startWriter("a")
	join(t, dir, writer.Process.Pid)
	waitFor(t, "the writer", func() bool { return count() > 2 })
	if err := h.guard.Lease(1, in(20*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	waitState(t, h.guard, "enforced")
	expectDead(t, h.device)
}

func expectDead(t *testing.T, device string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Errorf("flush of an aborted device: %v", err)
	}
}

// A device that nobody used goes with its process; what the guard held of it does not keep the next from making another.
func TestNextProcessAfterAnUnusedDevice(t *testing.T) {
	h := newHost(t)
	if err := unix.Unmount(h.dir, 0); err != nil {
		t.Fatal(err)
	}
	first, fd, err := h.guard.Get("r0")
	if err != nil {
		t.Fatal(err)
	}
	closeFD(fd)
	stop(h.volume)
	h.startVolume()
	if out, err := exec.Command("mount", h.device, h.dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "a"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	if second, fd, err := h.guard.Get("r0"); err != nil || fd < 0 || second.Connection == 0 {
		t.Errorf("the guard holds descriptor %d, connection %d (before: %d), %v", fd, second.Connection, first.Connection, err)
	} else {
		unix.Close(fd)
	}
}

// Where the guard has no descriptor, as on kernels that cannot resend, users of a dead process get errors at once, and the
// next process makes another device.
func TestNextProcessWithoutADescriptor(t *testing.T) {
	h := newHost(t)
	device, fd, err := h.guard.Get("r0")
	if err != nil || device.Connection == 0 {
		t.Fatal(err)
	}
	closeFD(fd)
	if err := h.guard.Hold("r0", device, -1); err != nil {
		t.Fatal(err)
	}
	stop(h.volume)
	old := h.device
	expectDead(t, old)
	h.startVolume()
	if h.device == old {
		t.Error("the new device is the old one, which is still mounted")
	}
	if err := unix.Unmount(h.dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", h.device, h.dir).CombinedOutput(); err != nil {
		t.Fatalf("mount of the next device: %v\n%s", err, out)
	}
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
