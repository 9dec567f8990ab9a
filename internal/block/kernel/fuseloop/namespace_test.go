package fuseloop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/block/kernel"
	"holdfast/internal/blockdev"
)

// insideVar is set in the copy of this test that runs in namespaces of its own.
const insideVar = "HOLDFAST_FUSELOOP_INSIDE"

// A virtual host has its own mount and pid namespaces and a private /dev without any loop node.
func TestInsideNamespacesWithAPrivateDev(t *testing.T) {
	needDevices(t, "mkfs.ext4")
	if os.Getenv(insideVar) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), insideVar+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("inside: %v\n%s", err, out)
		}
		return
	}
	for _, m := range []struct{ source, dir, kind string }{{"proc", "/proc", "proc"}, {"none", "/dev", "tmpfs"}} {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(m.source, m.dir, m.kind, 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mknod("/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	target := newTarget(t, filepath.Join(t.TempDir(), "disk"), 16<<20)
	d := open(t, kernel.Config{Name: "inside", Target: target})
	run(t, "mkfs.ext4", "-q", d.DevicePath())
	dir := mountOn(t, d.DevicePath())
	checkUses(t, d, []string{"mounted on " + dir})
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	checkUses(t, d, nil)
}

func checkUses(t *testing.T, d *Device, want []string) {
	t.Helper()
	uses, err := d.InUse()
	if err != nil || strings.Join(uses, "; ") != strings.Join(want, "; ") {
		t.Errorf("in use: %q, %v; want %q", uses, err, want)
	}
}

// A copy of the mount in another mount namespace keeps the device in use after the mount seen here is gone.
func TestMountLeftInAnotherNamespace(t *testing.T) {
	needDevices(t, "mkfs.ext4", "sleep")
	d := open(t, kernel.Config{Name: "copy", Target: newTarget(t, filepath.Join(t.TempDir(), "disk"), 16<<20)})
	run(t, "mkfs.ext4", "-q", d.DevicePath())
	dir := mountOn(t, d.DevicePath())
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		waitFor(t, "the copy to go", func() bool {
			uses, err := d.InUse()
			return err == nil && len(uses) == 0
		})
	}()
	waitFor(t, "the copy", func() bool {
		comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "comm"))
		return err == nil && strings.TrimSpace(string(comm)) == "sleep"
	})
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	want := "mounted on " + dir + " (in the mount namespace of process " + strconv.Itoa(cmd.Process.Pid) + ")"
	checkUses(t, d, []string{want})
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("close: %v", err)
	}
}

// What /proc does not show is noticed by the exclusive claim: here a device mapped on top, or a mount out of sight.
func TestCloseNoticesAClaimItCannotSee(t *testing.T) {
	needDevices(t)
	d := open(t, kernel.Config{Name: "claim", Target: newTarget(t, filepath.Join(t.TempDir(), "disk"), 1<<20)})
	claim, err := unix.Open(d.DevicePath(), unix.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0) // ours, so InUse leaves it out
	if err != nil {
		t.Fatal(err)
	}
	checkUses(t, d, nil)
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), blockdev.ErrInUse.Error()) {
		t.Errorf("close of a claimed device: %v", err)
	}
	unix.Close(claim)
}
