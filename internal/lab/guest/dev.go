package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loopNodes is how many loop nodes a host finds in /dev; the kernel numbers devices upward from 0, for all hosts together.
const loopNodes = 512

// loopMajor is the major number of loop devices.
const loopMajor = 7

// charDevices are the character devices of a host. There is no watchdog, kmsg or machine disk among them on purpose.
var charDevices = [...]struct {
	name         string
	mode         uint32
	major, minor uint32
}{
	{"null", 0o666, 1, 3}, {"zero", 0o666, 1, 5}, {"full", 0o666, 1, 7}, {"random", 0o666, 1, 8},
	{"urandom", 0o666, 1, 9}, {"tty", 0o666, 5, 0}, {"fuse", 0o666, 10, 229}, {"loop-control", 0o600, 10, 237},
}

var devLinks = [...][2]string{
	{"/proc/self/fd", "fd"}, {"fd/0", "stdin"}, {"fd/1", "stdout"}, {"fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

// buildDev fills the host's private /dev and masks what would reset the machine under the lab.
func (s *Spec) buildDev() error {
	for _, d := range charDevices {
		if err := makeNode(s.in("/dev/"+d.name), unix.S_IFCHR|d.mode, d.major, d.minor); err != nil {
			return err
		}
	}
	for n := range loopNodes {
		if err := makeNode(s.in(fmt.Sprintf("/dev/loop%d", n)), unix.S_IFBLK|0o660, loopMajor, uint32(n)); err != nil {
			return err
		}
	}
	for _, d := range s.Disks {
		if err := makeNode(s.in(d.Path), unix.S_IFBLK|0o660, d.Major, d.Minor); err != nil {
			return err
		}
	}
	for _, l := range devLinks {
		if err := os.Symlink(l[0], s.in("/dev/"+l[1])); err != nil {
			return fmt.Errorf("link /dev/%s: %w", l[1], err)
		}
	}
	if err := s.mountBelowDev(); err != nil {
		return err
	}
	return s.maskSysrq()
}

// maskSysrq puts /dev/null over /proc/sysrq-trigger, which would reset the machine; some kernels have none.
func (s *Spec) maskSysrq() error {
	trigger := s.in("/proc/sysrq-trigger")
	if _, err := os.Stat(trigger); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return bind(s.in("/dev/null"), trigger)
}

func (s *Spec) mountBelowDev() error {
	mounts := []struct{ kind, at, data string }{
		{"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=620"},
		{"tmpfs", "/dev/shm", "mode=1777,size=256m"},
	}
	for _, m := range mounts {
		at := s.in(m.at)
		if err := os.Mkdir(at, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", m.at, err)
		}
		if err := unix.Mount(m.kind, at, m.kind, unix.MS_NOSUID, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.at, err)
		}
	}
	return nil
}

// makeNode makes a device node with exactly the given mode.
func makeNode(path string, mode, major, minor uint32) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", path, err)
	}
	if err := unix.Mknod(path, mode, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("make node %s: %w", path, err)
	}
	return unix.Chmod(path, mode&0o7777)
}
