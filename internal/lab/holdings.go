package lab

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/loopdev"
)

// holdings are the kernel objects that processes made beyond their namespaces: FUSE connections, and loop devices on files
// those serve. They matter at the end: the last process of a mount namespace unmounts what is in it, and would wait for ever
// for a file system whose server died with it, unless the connection is aborted.
type holdings struct {
	fuse  map[uint32]bool // minor numbers of FUSE file systems, which are also the numbers of their connections
	loops []loopBacking   // on files of those
}

// holdingsOf looks at the open files and the mounts of every process of the cgroup, each mount namespace once. It stops the
// processes first: the kernel uses the numbers again for others as soon as they are free, so none may become free between
// looking and acting. A process that was killed before may still have a thread that waits for the file system it served: only
// that thread still shows its files, and in its last moments none does, but the mounts do.
func holdingsOf(group cgroup) holdings {
	h := holdings{fuse: map[uint32]bool{}}
	if !group.exists() || group.stop(freezeBeforeKill) != nil {
		return h
	}
	shown, seen, loops, told := map[string]bool{}, map[string]bool{}, map[int]bool{}, true
	for _, dir := range group.tasks() {
		process := strings.SplitN(dir, "/", 4)[2]
		if !shown[process] {
			files, numbered := h.readFiles(dir)
			shown[process], told = files, told && numbered
		}
		if ns, err := os.Readlink(filepath.Join(dir, "ns/mnt")); err == nil && !seen[ns] {
			seen[ns] = true
			h.readMounts(filepath.Join(dir, "mountinfo"), loops)
		}
	}
	for _, files := range shown {
		told = told && files
	}
	if !told {
		h.addBacking(loops)
	}
	if len(h.fuse) > 0 {
		h.findLoops()
	}
	return h
}

// findLoops notes the loop devices on files of the FUSE file systems.
func (h *holdings) findLoops() {
	for _, l := range queryLoops() {
		if unix.Major(l.backing) == 0 && h.fuse[unix.Minor(l.backing)] {
			h.loops = append(h.loops, l)
		}
	}
}

// readFiles picks the FUSE connections that a thread serves out of its open files. It tells whether it has any, as every living
// one does, and whether the kernel tells their connections' numbers (since 6.15).
func (h *holdings) readFiles(dir string) (files, numbered bool) {
	numbered = true
	entries, _ := os.ReadDir(filepath.Join(dir, "fd")) // none: the thread has ended
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, "fd", e.Name())); err != nil || !strings.HasSuffix(target, "/fuse") {
			continue
		}
		info, _ := os.ReadFile(filepath.Join(dir, "fdinfo", e.Name()))
		_, after, found := strings.Cut(string(info), "fuse_connection:")
		var n uint32
		if _, err := fmt.Sscan(after, &n); found && err == nil {
			h.fuse[n] = true
		} else {
			numbered = false
		}
	}
	return len(entries) > 0, numbered
}

// readMounts picks out of a mountinfo file (proc_pid_mountinfo(5)) the FUSE file systems, and the numbers of the loop
// devices mounted.
func (h *holdings) readMounts(path string, loops map[int]bool) {
	file, err := os.Open(path)
	if err != nil {
		return // the process has ended
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		before, after, _ := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(before)
		var major, minor uint32
		if len(fields) < 5 {
			continue
		}
		if _, err := fmt.Sscanf(fields[2], "%d:%d", &major, &minor); err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(after, "fuse") && !strings.HasPrefix(after, "fusectl"):
			h.fuse[minor] = true
		case major == loopMajor:
			loops[int(minor)] = true
		}
	}
}

// loopMajor is the major number of loop devices.
const loopMajor = 7

// addBacking adds the file systems below the given loop devices, which may be mounted nowhere themselves, if they can be
// FUSE ones: those have no device of their own.
func (h *holdings) addBacking(loops map[int]bool) {
	for _, l := range queryLoops() {
		if loops[l.number] && unix.Major(l.backing) == 0 {
			h.fuse[unix.Minor(l.backing)] = true
		}
	}
}

// abortFuse fails everything that waits for the FUSE file systems, so that their users can die. It mounts fusectl for
// itself, on a thread with a mount namespace of its own.
func (h *holdings) abortFuse() error {
	if len(h.fuse) == 0 {
		return nil
	}
	done := make(chan error, 1)
	go onOwnThread(func() { done <- h.abortHere() })
	if err := <-done; err != nil {
		return fmt.Errorf("abort the FUSE connections: %w", err)
	}
	return nil
}

func (h *holdings) abortHere() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	const connections = "/sys/fs/fuse/connections"
	if err := unix.Mount("fusectl", connections, "fusectl", 0, ""); err != nil {
		return fmt.Errorf("mount fusectl: %w", err)
	}
	for minor := range h.fuse {
		path := filepath.Join(connections, strconv.FormatUint(uint64(minor), 10), "abort")
		if err := os.WriteFile(path, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// release sees to it that the loop devices are free. They free themselves when the last user has died, unless somebody made
// them otherwise by hand.
func (h *holdings) release() error {
	var errs []error
	for _, l := range h.loops {
		if !await(autoclearLimit, l.gone) {
			errs = append(errs, l.detach())
		}
	}
	return errors.Join(errs...)
}

func (l loopBacking) detach() error {
	dev, err := loopdev.Find(l.number, l.backing)
	if err != nil || dev == nil || l.gone() {
		return err
	}
	defer dev.Release()
	if _, err := dev.Detach(); err != nil {
		return fmt.Errorf("free %s: %w", dev.Path, err)
	}
	if !await(detachLimit, l.gone) {
		return fmt.Errorf("free %s: something still has it open", dev.Path)
	}
	return nil
}
