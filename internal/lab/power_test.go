package lab_test

import (
	"context"
	"testing"
	"time"

	"holdfast/internal/lab"
)

// TestPowerCut checks what a host finds after a kill: what it had flushed and nothing else, and an empty /run and /tmp.
func TestPowerCut(t *testing.T) {
	l := up(t, lab.Config{Name: "power"})
	ctx := context.Background()
	h, other := l.Host("lqi1ecmy01"), l.Host("lqi1ecmy02")
	sh(t, h, "echo kept > /var/lib/kept; sync /var/lib/kept /var/lib; echo lost > /var/lib/lost; echo x > /run/x; echo y > /tmp/y")
	before := sh(t, h, "cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/pid")
	began := time.Now()
	if err := h.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("kill took %v", time.Since(began))
	if h.Running() {
		t.Error("the killed host counts as running")
	}
	if reaches(t, other, h) {
		t.Error("the killed host answers")
	}
	if _, err := h.Exec(ctx, "true"); err == nil {
		t.Error("a command ran in a killed host")
	}
	began = time.Now()
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("start took %v", time.Since(began))
	if got := sh(t, h, "cat /var/lib/kept; ls /var/lib/lost /run/x /tmp/y 2>&1 | grep -c 'No such file'"); got != "kept\n3" {
		t.Errorf("after the power cut: %q, want the flushed file and none of the three others", got)
	}
	if after := sh(t, h, "cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/pid"); after == before {
		t.Error("the host has the same pid namespace as before the power cut")
	}
	if !reaches(t, other, h) || !reaches(t, l.Host("client"), h) {
		t.Error("the host is not reached after its start")
	}
}
