package lab_test

import (
	"bufio"
	"os"
	"strings"
	"testing"

	"holdfast/internal/lab"
)

// startVolume serves a block device from a process of the host, puts a file system on it, mounts it and keeps writing to it.
// It returns the device.
func startVolume(t *testing.T, h *lab.Host) string {
	t.Helper()
	volume := h.Command(t.Context(), "holdfast") // the test binary: see TestMain
	volume.Env = append(volume.Env, volumeEnv+"=/var/lib/volume")
	out, err := volume.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := volume.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	device := strings.TrimSpace(line)
	if err != nil || !strings.HasPrefix(device, "/dev/loop") {
		t.Fatalf("the volume said %q (%v)", line, err)
	}
	sh(t, h, "mkfs.ext3 -q "+device+" && mkdir -p /var/lib/mysql && mount "+device+" /var/lib/mysql")
	writer := h.Command(t.Context(), "sh", "-c", "while :; do dd if=/dev/zero of=/var/lib/mysql/x bs=64k count=8 conv=fsync status=none; done")
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = writer.Wait(), volume.Wait() }() // they are killed
	eventually(t, "the writer writes", func() bool { return sh(t, h, "ls /var/lib/mysql/x 2>/dev/null || true") != "" })
	return device
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
