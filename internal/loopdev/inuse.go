package loopdev

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// InUse tells who uses the device: mounts in the mount namespace of any process that /proc shows, block devices on top of
// it, and open descriptors of other processes than this one. The texts are for people; empty means nobody. What /proc
// does not show (processes of an outer pid namespace) it cannot see; Detach notices those mounts all the same.
func (d *Device) InUse() ([]string, error) {
	number, err := d.Number64()
	if err != nil {
		return nil, err
	}
	processes, err := pids()
	if err != nil {
		return nil, err
	}
	uses := d.holders()
	uses = append(uses, mounts(processes, number)...)
	uses = append(uses, openers(processes, number)...)
	return uses, nil
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

func (d *Device) holders() []string {
	entries, err := os.ReadDir(sysfs(d.Number, "holders"))
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
		if err != nil || !strings.Contains(target, "/dev/") && !strings.HasPrefix(filepath.Base(target), "loop") {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(link, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == number {
			return true
		}
	}
	return false
}
