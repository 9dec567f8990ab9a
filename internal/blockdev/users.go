// Package blockdev tells who uses a block device of the kernel, whichever driver made it.
package blockdev

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Users tells who uses the device at a path such as /dev/loop7: mounts in the mount namespace of any process that /proc
// shows, block devices on top of it, and open descriptors of other processes than this one. The texts are for people; empty
// means nobody. What /proc does not show (processes of an outer pid namespace) it cannot see; an exclusive open (O_EXCL)
// fails for those mounts all the same.
func Users(path string) ([]string, error) {
	number, err := Number(path)
	if err != nil {
		return nil, err
	}
	processes, err := pids()
	if err != nil {
		return nil, err
	}
	uses := holders(number)
	uses = append(uses, mounts(processes, number)...)
	uses = append(uses, openers(processes, number)...)
	return uses, nil
}

// ErrInUse is what an error wraps that says who uses a device.
var ErrInUse = errors.New("device is in use")

// Unused fails with ErrInUse while somebody uses the device at a path. It claims the device exclusively, which fails while it is
// mounted in any namespace, is swap, or belongs to another block device, and lets go of it at once.
func Unused(path string) error {
	uses, err := Users(path)
	if err != nil {
		return err
	}
	if len(uses) > 0 {
		return fmt.Errorf("%w: %s", ErrInUse, strings.Join(uses, ", "))
	}
	claim, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: claimed by a mount in a namespace not visible from here, or by swap", ErrInUse)
	}
	if err != nil {
		return fmt.Errorf("claim %s: %w", path, err)
	}
	unix.Close(claim)
	return nil
}

// Number is the device number (st_rdev) of the block device at a path.
func Number(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, fmt.Errorf("%s is no block device", path)
	}
	return st.Rdev, nil
}

// Name is the number of the block device at a path as MAJOR:MINOR; empty if there is none.
func Name(path string) string {
	number, err := Number(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
}

// Size is the capacity of the block device at a path, in bytes.
func Size(path string) (int64, error) {
	number, err := Number(path)
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(sysfs(number, "size"))
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}
	sectors, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}
	return sectors * 512, nil
}

// sysfs is a file of the device with a number.
func sysfs(number uint64, file string) string {
	return filepath.Join("/sys/dev/block", fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)), file)
}

// Tune writes a value to a file below the device's directory in sysfs, such as "queue/scheduler".
func Tune(path, file, value string) error {
	number, err := Number(path)
	if err != nil {
		return err
	}
	return os.WriteFile(sysfs(number, file), []byte(value), 0)
}

// pids lists the processes, in order.
func pids() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	if len(out) == 0 {
		return nil, fmt.Errorf("list processes: /proc shows none; is it mounted?")
	}
	return out, nil
}

func holders(number uint64) []string {
	entries, err := os.ReadDir(sysfs(number, "holders"))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, "used by block device "+e.Name())
	}
	return out
}

// mounts reads each mount namespace once. A process that ends meanwhile is no error.
func mounts(processes []int, number uint64) []string {
	seen := map[string]bool{}
	var out []string
	for _, pid := range processes {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		ns, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if err != nil || seen[ns] {
			continue
		}
		info, err := os.ReadFile(filepath.Join(dir, "mountinfo"))
		if err != nil || len(info) == 0 {
			continue // a zombie shows its namespace and no mounts
		}
		first := len(seen) == 0
		seen[ns] = true
		for _, point := range mountPoints(info, number) {
			text := "mounted on " + point
			if !first {
				text += fmt.Sprintf(" (in the mount namespace of process %d)", pid)
			}
			if !slices.Contains(out, "mounted on "+point) {
				out = append(out, text)
			}
		}
	}
	return out
}

// mountPoints picks from the text of a mountinfo file (proc_pid_mountinfo(5)) the mount points of a device.
func mountPoints(info []byte, number uint64) []string {
	want := fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(info))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) >= 5 && f[2] == want {
			out = append(out, unescape(f[4]))
		}
	}
	return out
}

// unescape undoes mountinfo's \040 and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func openers(processes []int, number uint64) []string {
	var out []string
	for _, pid := range processes {
		if pid == os.Getpid() || !opens(pid, number) {
			continue
		}
		name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
		if err != nil {
			continue // it ended
		}
		out = append(out, fmt.Sprintf("open in process %d (%s)", pid, strings.TrimSpace(string(name))))
	}
	return out
}

// opens tells whether a process has the device open. Only links that look like device nodes are followed: a stat of
// anything else could wait for a file system that does not answer.
func opens(pid int, number uint64) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		link := filepath.Join(dir, e.Name())
		target, err := os.Readlink(link)
		if err != nil || !looksLikeNode(target) {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(link, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == number {
			return true
		}
	}
	return false
}

// looksLikeNode tells of a link's text whether it may be a block device's node, also one below another root.
func looksLikeNode(target string) bool {
	if strings.Contains(target, "/dev/") {
		return true
	}
	return slices.ContainsFunc([]string{"loop", "nbd", "ublkb"}, func(name string) bool { return strings.HasPrefix(filepath.Base(target), name) })
}
