package guest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"holdfast/internal/loopdev"
)

// reportFD is the descriptor on which Boot and then Init tell the lab how it went: nothing but `ready`, or an error text.
const reportFD = 3

// Boot turns the process into PID 1 of a host. The lab started it in new mount, pid, uts, ipc and network namespaces and
// in the host's cgroup. It reads the Spec from standard input, builds the host's root and executes the init of the host's
// own holdfast; it returns only to report a failure, as an exit code.
func Boot() int {
	runtime.LockOSThread()
	report := os.NewFile(reportFD, "report")
	err := boot(os.Stdin)
	fmt.Fprintf(report, "%v", err)
	return 1
}

func boot(in io.Reader) error {
	var spec Spec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("read the host's description: %w", err)
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"leave the lab's cgroup namespace", func() error { return unix.Unshare(unix.CLONE_NEWCGROUP) }},
		{"name the host", func() error { return unix.Sethostname([]byte(spec.Name)) }},
		{"configure the network", spec.configureNetwork},
		{"make mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount the root", spec.mountRoot},
		{"mount the image", spec.mountImage},
		{"mount the kernel's file systems", spec.mountKernel},
		{"build /dev", spec.buildDev},
		{"mount the lab's directories", spec.mountLab},
		{"enter the new root", spec.pivot},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("boot %s: %s: %w", spec.Name, s.what, err)
		}
	}
	if err := os.Chdir("/root"); err != nil {
		return fmt.Errorf("boot %s: %w", spec.Name, err)
	}
	program := Bin + "/holdfast"
	err := unix.Exec(program, []string{"holdfast", "lab-init", "init"}, Environment())
	return fmt.Errorf("boot %s: execute %s: %w", spec.Name, program, err)
}

func (s *Spec) in(path string) string { return filepath.Join(s.Root, path) }

// separate are directories of the machine that may be mounts of their own and belong to a host's read-only root.
var separate = [...]string{"/usr", "/usr/local", "/opt"}

func (s *Spec) mountRoot() error {
	if err := bindReadOnly("/", s.Root); err != nil {
		return err
	}
	for _, dir := range separate {
		if isMountPoint(dir) {
			if err := bindReadOnly(dir, s.in(dir)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isMountPoint tells by the device number; a bind mount of the same file system does not matter here.
func isMountPoint(dir string) bool {
	var here, above unix.Stat_t
	if unix.Stat(dir, &here) != nil || unix.Stat(filepath.Dir(dir), &above) != nil {
		return false
	}
	return here.Dev != above.Dev
}

// mountImage attaches the image to a loop device that frees itself with the last mount, and binds its directories.
func (s *Spec) mountImage() error {
	file, err := os.OpenFile(s.Image, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the image: %w", err)
	}
	defer file.Close()
	dev, err := loopdev.Attach(loopdev.Config{FD: int(file.Fd()), Name: filepath.Base(s.Image)})
	if err != nil {
		return err
	}
	defer dev.Release()
	if err := unix.Mount(dev.Path, s.ImageMount, "ext4", unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("mount %s from %s: %w", s.Image, dev.Path, err)
	}
	for _, dir := range []string{"etc", "var", "root"} {
		if err := bind(filepath.Join(s.ImageMount, dir), s.in(dir)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) mountKernel() error {
	mounts := []struct{ kind, at, data string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
		{"fusectl", "/sys/fs/fuse/connections", ""},
		{"tmpfs", "/run", "mode=755,size=128m"},
		{"tmpfs", "/tmp", "mode=1777,size=512m"},
		{"tmpfs", "/dev", "mode=755,size=4m"},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.kind, s.in(m.at), m.kind, unix.MS_NOSUID, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	return s.protectSysctl()
}

// protectSysctl makes the machine's settings read-only in the host, except the network's, which are the namespace's own.
func (s *Spec) protectSysctl() error {
	sys, net := s.in("/proc/sys"), s.in("/proc/sys/net")
	if err := bindReadOnly(sys, sys); err != nil {
		return err
	}
	if err := bind(net, net); err != nil {
		return err
	}
	if err := unix.Mount("", net, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("make %s writable: %w", net, err)
	}
	return nil
}

func (s *Spec) mountLab() error {
	if err := bindReadOnly(s.Bin, s.in(Bin)); err != nil {
		return err
	}
	console := s.in(ConsoleDir)
	if err := os.MkdirAll(console, 0o755); err != nil {
		return fmt.Errorf("make the console's directory: %w", err)
	}
	return bind(s.Console, console)
}

// pivot makes Root the root of the mount namespace and drops the machine's own tree from it.
func (s *Spec) pivot() error {
	if err := os.Chdir(s.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot to %s: %w", s.Root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the machine's tree: %w", err)
	}
	return os.Chdir("/")
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

func bindReadOnly(from, to string) error {
	if err := bind(from, to); err != nil {
		return err
	}
	if err := unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", to, err)
	}
	return nil
}
