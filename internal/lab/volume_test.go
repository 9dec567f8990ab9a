package lab_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/lab"
)

// volume is a block device served by a process of a host, with a file system on it, mounted at /var/lib/mysql.
type volume struct {
	process *lab.Cmd
	device  string
	in      io.Writer
	out     *bufio.Reader
}

func serve(t *testing.T, h *lab.Host) *volume {
	t.Helper()
	v := &volume{process: h.Command(t.Context(), "holdfast")} // the test binary: see TestMain
	v.process.Env = append(v.process.Env, volumeEnv+"=/var/lib/volume")
	in, err := v.process.StdinPipe()
	must(t, err)
	out, err := v.process.StdoutPipe()
	must(t, err)
	must(t, v.process.Start())
	v.in, v.out = in, bufio.NewReader(out)
	v.device = v.says(t)
	if !strings.HasPrefix(v.device, "/dev/loop") {
		t.Fatalf("the volume said %q", v.device)
	}
	sh(t, h, "mkfs.ext3 -q "+v.device+" && mkdir -p /var/lib/mysql && mount "+v.device+" /var/lib/mysql")
	return v
}

func (v *volume) says(t *testing.T) string {
	t.Helper()
	line, err := v.out.ReadString('\n')
	must(t, err)
	return strings.TrimSpace(line)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startVolume serves a volume and keeps writing to it. It returns the device.
func startVolume(t *testing.T, h *lab.Host) string {
	t.Helper()
	v := serve(t, h)
	writer := h.Command(t.Context(), "sh", "-c", "while :; do dd if=/dev/zero of=/var/lib/mysql/x bs=64k count=8 conv=fsync status=none; done")
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = writer.Wait(), v.process.Wait() }() // they are killed
	eventually(t, "the writer writes", func() bool { return sh(t, h, "ls /var/lib/mysql/x 2>/dev/null || true") != "" })
	return v.device
}

func attached(device string) bool {
	_, err := os.Stat("/sys/block/" + strings.TrimPrefix(device, "/dev/") + "/loop/backing_file")
	return err == nil
}

// TestKillWithVolume cuts the power of a host, running and frozen, that has a file system mounted on a block device served
// by one of its own processes: the loop device must go with it, and nothing may hang.
func TestKillWithVolume(t *testing.T) {
	l := up(t, lab.Config{Name: "volume"})
	h := l.Host("lqi1ecmy01")
	for _, frozen := range []bool{false, true} {
		device := startVolume(t, h)
		if frozen {
			if err := h.Freeze(); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if attached(device) {
			t.Errorf("%s is still attached after the kill (frozen before: %v)", device, frozen)
		}
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sh(t, h, "! mountpoint -q /var/lib/mysql")
	}
	device := startVolume(t, h)
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if attached(device) {
		t.Errorf("%s is still attached after the shutdown", device)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	device = startVolume(t, h)
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if attached(device) {
		t.Errorf("%s is still attached after down", device)
	}
}

// TestKillAfterTheVolumeDied cuts the power of a host on which a process was killed that has a thread in the file system above
// the device it served: the thread keeps the device open, and waits for it.
func TestKillAfterTheVolumeDied(t *testing.T) {
	l := up(t, lab.Config{Name: "died"})
	h := l.Host("lqi1ecmy01")
	v := serve(t, h)
	fmt.Fprintln(v.in, "/var/lib/mysql/y")
	if line := v.says(t); line != "waits" {
		t.Fatalf("the volume said %q", line)
	}
	dir := filepath.Join("/proc", strconv.Itoa(v.process.Process.Pid))
	eventually(t, "a thread waits for the file system", func() bool { return threads(dir, "D") > 0 })
	must(t, v.process.Process.Kill())
	eventually(t, "no other thread is left", func() bool { return threads(dir, "D") == 1 && threads(dir, "RS") == 0 })
	must(t, h.Kill(t.Context()))
	_ = v.process.Wait()
	if attached(v.device) {
		t.Errorf("%s is still attached after the kill", v.device)
	}
}

// threads counts a process's threads that are in one of the states given (proc_pid_stat(5)).
func threads(dir, states string) int {
	n := 0
	stats, _ := filepath.Glob(filepath.Join(dir, "task/*/stat"))
	for _, path := range stats {
		data, _ := os.ReadFile(path)
		if _, after, ok := strings.Cut(string(data), ") "); ok && strings.Contains(states, after[:1]) {
			n++
		}
	}
	return n
}
