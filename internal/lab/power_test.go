package lab_test

import (
	"context"
	"sync"
	"testing"

	"holdfast/internal/lab"
)

// TestPowerCut checks what a host finds after a kill: what it had flushed and nothing else, and an empty /run and /tmp.
func TestPowerCut(t *testing.T) {
	l := up(t, lab.Config{Name: "power"})
	ctx := context.Background()
	h, other := l.Host("lqi1ecmy01"), l.Host("lqi1ecmy02")
	sh(t, h, "echo kept > /var/lib/kept; sync /var/lib/kept /var/lib; echo lost > /var/lib/lost; echo x > /run/x; echo y > /tmp/y")
	if err := h.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if h.Running() {
		t.Error("the killed host counts as running")
	}
	if reaches(t, other, h) {
		t.Error("the killed host answers")
	}
	if _, err := h.Exec(ctx, "true"); err == nil {
		t.Error("a command ran in a killed host")
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, h, "cat /var/lib/kept; ls /var/lib/lost /run/x /tmp/y 2>&1 | grep -c 'No such file'"); got != "kept\n3" {
		t.Errorf("after the power cut: %q, want the flushed file and none of the three others", got)
	}
	eventually(t, "the other hosts reach the one that came back", func() bool {
		return reaches(t, other, h) && reaches(t, l.Host("client"), h)
	})
}

// TestShutdown checks that an orderly shutdown, unlike a power cut, keeps what was not flushed.
func TestShutdown(t *testing.T) {
	l := up(t, lab.Config{Name: "reboot"})
	ctx := context.Background()
	h := l.Host("lqi1ecmy03")
	sh(t, h, "echo kept > /var/lib/kept; systemctl is-active nginx")
	if err := h.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if h.Running() {
		t.Error("the host counts as running after its shutdown")
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, h, "cat /var/lib/kept; systemctl is-active nginx"); got != "kept\nactive" {
		t.Errorf("after the reboot: %q", got)
	}
}

// TestPowerCutWhileBusy kills two hosts at the same instant while they write, several times: each must come up again with a
// file system that the kernel finds nothing wrong with.
func TestPowerCutWhileBusy(t *testing.T) {
	l := up(t, lab.Config{Name: "busy"})
	ctx := context.Background()
	hosts := []*lab.Host{l.Host("lqi1ecmy01"), l.Host("lqi1ecmy02")}
	for range 3 {
		for _, h := range hosts {
			c := h.Command(ctx, "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /var/lib/f$((i%50)); sync /var/lib/f$((i%50)); done")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { _ = c.Wait() }() // it is killed
			eventually(t, h.Name()+" writes", func() bool { return sh(t, h, "ls /var/lib | grep -c ^f || true") != "0" })
		}
		if err := l.Kill(ctx, hosts[0].Name(), hosts[1].Name()); err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			if err := h.Start(ctx); err != nil {
				t.Fatal(err)
			}
			sh(t, h, "touch /var/lib/writable")
		}
	}
}

// TestFreeze checks that a frozen host stands still and that its clocks run on.
func TestFreeze(t *testing.T) {
	l := up(t, lab.Config{Name: "freeze"})
	ctx := context.Background()
	h := l.Host("lqi1ecmy03")
	if err := h.Freeze(); err != nil {
		t.Fatal(err)
	}
	if !h.Frozen() || !h.Running() {
		t.Errorf("frozen %v, running %v; want both", h.Frozen(), h.Running())
	}
	if _, err := h.Exec(ctx, "true"); err == nil {
		t.Error("a command ran in a frozen host")
	}
	if err := h.Thaw(); err != nil {
		t.Fatal(err)
	}
	sh(t, h, "true")
	if err := h.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := h.Kill(ctx); err != nil {
		t.Fatalf("kill of a frozen host: %v", err)
	}
	if err := h.Start(ctx); err != nil {
		t.Fatal(err)
	}
	sh(t, h, "true")
}

// TestFreezeWhileCommandsStart: no process freezes half started, which would hang its starter.
func TestFreezeWhileCommandsStart(t *testing.T) {
	l := up(t, lab.Config{Name: "freezing"})
	ctx, cancel := context.WithCancel(t.Context())
	h := l.Host("lqi1ecmy03")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				_, _ = h.Exec(ctx, "true") // refused while the host is frozen
			}
		})
	}
	for range 200 {
		if err := h.Freeze(); err != nil {
			t.Error(err)
		}
		sh(t, l.Host("lqi1ecmy04"), "true")
		if err := h.Thaw(); err != nil {
			t.Error(err)
		}
	}
	cancel()
	all.Wait()
}

// TestKillWhileCommandsStart: the same of power cuts.
func TestKillWhileCommandsStart(t *testing.T) {
	l := up(t, lab.Config{Name: "cutting"})
	ctx, cancel := context.WithCancel(t.Context())
	h := l.Host("lqi1ecmy03")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				_, _ = h.Exec(ctx, "true") // refused while the host is down
			}
		})
	}
	for range 8 {
		must(t, h.Kill(t.Context()))
		sh(t, l.Host("lqi1ecmy04"), "true")
		must(t, h.Start(t.Context()))
	}
	cancel()
	all.Wait()
}
