package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/loopdev"
)

// holdings are the kernel objects that processes of a host made beyond their namespaces: FUSE connections, and loop
// devices on files those serve.
type holdings struct {
	pid  int             // a process that has fusectl mounted
	fuse map[uint32]bool // minor numbers of FUSE file systems, which are also the numbers of their connections
}

// holdingsOf reads the mounts of every process of the cgroup, each mount namespace once.
func holdingsOf(group cgroup) holdings {
	h := holdings{fuse: map[uint32]bool{}}
	seen := map[string]bool{}
	for _, p := range group.processes() {
		dir := filepath.Join("/proc", p)
		ns, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if err != nil || seen[ns] {
			continue
		}
		seen[ns] = true
		if h.pid == 0 {
			h.pid, _ = strconv.Atoi(p)
		}
		h.readMounts(filepath.Join(dir, "mountinfo"))
	}
	return h
}

// readMounts picks the FUSE file systems out of a mountinfo file (proc_pid_mountinfo(5)).
func (h *holdings) readMounts(path string) {
	file, err := os.Open(path)
	if err != nil {
		return // the process has ended
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "fuse") || strings.HasPrefix(after, "fusectl") {
			continue
		}
		if _, minor, ok := strings.Cut(fields[2], ":"); ok {
			if n, err := strconv.ParseUint(minor, 10, 32); err == nil {
				h.fuse[uint32(n)] = true
			}
		}
	}
}

// abortFuse fails everything that waits for the host's FUSE file systems, so that their users can die.
func (h *holdings) abortFuse() {
	for minor := range h.fuse {
		path := fmt.Sprintf("/proc/%d/root/sys/fs/fuse/connections/%d/abort", h.pid, minor)
		_ = os.WriteFile(path, []byte("1"), 0) // gone already is as good
	}
}

// release frees the loop devices on the FUSE file systems that did not free themselves when their last user died.
func (h *holdings) release() error {
	var errs []error
	for _, l := range attachedLoops() {
		if unix.Major(l.device) != 0 || !h.fuse[unix.Minor(l.device)] {
			continue
		}
		dev, err := loopdev.Find(l.number, l.device)
		if err != nil || dev == nil {
			errs = append(errs, err)
			continue
		}
		gone, err := dev.Detach()
		dev.Release()
		if err == nil && !gone {
			err = fmt.Errorf("something still has %s open", dev.Path)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// attachedLoop is a loop device and the file below it.
type attachedLoop struct {
	number        int
	device, inode uint64 // of the file, as stat gives them
}

// attachedLoops lists the machine's loop devices in use, by number.
func attachedLoops() []attachedLoop {
	names, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is valid
	var all []attachedLoop
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimPrefix(strings.Split(name, "/")[3], "loop"))
		if err != nil {
			continue
		}
		fd, err := unix.Open(fmt.Sprintf("/dev/loop%d", n), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(fd)
		unix.Close(fd)
		if err == nil {
			all = append(all, attachedLoop{n, info.Device, info.Inode})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].number < all[j].number })
	return all
}

// fileAttached tells whether a loop device serves the file.
func fileAttached(path string) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return false
	}
	for _, l := range attachedLoops() {
		if l.device == st.Dev && l.inode == st.Ino {
			return true
		}
	}
	return false
}
