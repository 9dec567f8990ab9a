package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/lab"
	"holdfast/internal/lab/labdisk"
)

// TestSnapshot puts all hosts back to what their disks held, whatever has happened since, and boots them with another program.
func TestSnapshot(t *testing.T) {
	l := up(t, lab.Config{Name: "snapshot", DiskMiB: 16})
	ctx := t.Context()
	h, other := l.Host("lqi1ecmy01"), l.Host("lqi1ecmy02")
	dir := filepath.Join(l.Dir(), "snapshot")
	if err := l.Snapshot(ctx, dir); err == nil || !strings.Contains(err.Error(), "runs") {
		t.Errorf("a snapshot of running hosts: %v; want a refusal", err)
	}
	const write = "printf %[1]s >/var/lib/word && sync /var/lib/word && printf %[1]s | dd of=/dev/sdc conv=notrunc,fsync status=none"
	const read = "cat /var/lib/word && head -c 4 /dev/sdc"
	sh(t, h, strings.ReplaceAll(write, "%[1]s", "then"))
	var names []string
	for _, h := range l.Hosts() {
		names = append(names, h.Name())
	}
	if err := l.Kill(ctx, names...); err != nil {
		t.Fatal(err)
	}
	if err := l.Snapshot(ctx, dir); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "holdfast")
	if err := os.WriteFile(program, append(testBinary(t), "another program"...), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Restore(ctx, dir, program); err != nil {
			t.Fatal(err)
		}
		if got := sh(t, h, read); got != "thenthen" {
			t.Errorf("after Restore the host's disks hold %q, not what the snapshot has", got)
		}
		if got := sh(t, h, "tail -c 15 $(command -v holdfast)"); got != "another program" {
			t.Errorf("the hosts have a holdfast that ends in %q", got)
		}
		sh(t, h, strings.ReplaceAll(write, "%[1]s", "late")+" && dd if=/dev/urandom of=/dev/sdc bs=1M count=15 seek=1 conv=notrunc,fsync status=none")
		if err := l.Cut(h.Name(), other.Name(), false); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Disk(ctx, labdisk.Command{Do: "fail"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Restore(ctx, dir, program); err != nil {
		t.Fatal(err)
	}
	sh(t, h, "dd if=/dev/sdc bs=1M skip=1 status=none | tr -d '\\0' | wc -c | grep -qx 0")
	eventually(t, "cuts are healed", func() bool { return reaches(t, h, other) })
}

func testBinary(t *testing.T) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
