package histories

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/guard"
	"holdfast/internal/guard/deadline"
	"holdfast/internal/lab"
	"holdfast/internal/lab/labdisk"
	"holdfast/internal/lab/tutorial"
	"holdfast/internal/paths"
)

// Processes of a host, for pgrep -f; the brackets keep a pattern from finding its own command line.
const (
	daemonProcess = "^holdfast daemon"
	volumeProcess = "[v]olume " + tutorial.Volume
)

// TestGuard: whatever has happened to the other processes of the active host, the guard alone enforces the deadline (S6).
func TestGuard(t *testing.T) {
	needLab(t)
	for _, c := range []struct {
		name   string
		signal string
		to     []string
		// hung: the data disk answers nothing, so that whoever waits for it cannot even be killed.
		hung bool
	}{
		{"daemon stopped", "STOP", []string{daemonProcess}, false},
		{"volume process stopped", "STOP", []string{volumeProcess}, false},
		{"both stopped", "STOP", []string{daemonProcess, volumeProcess}, false},
		{"daemon killed", "KILL", []string{daemonProcess}, false},
		{"volume process killed", "KILL", []string{volumeProcess}, false},
		{"both killed", "KILL", []string{daemonProcess, volumeProcess}, false},
		{"database waits for a hung disk", "", nil, true},
		{"database waits for a hung disk, daemon stopped", "STOP", []string{daemonProcess}, true},
		{"database waits for a hung disk, both killed", "KILL", []string{daemonProcess, volumeProcess}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			play(t, func(ctx context.Context, t *testing.T, s *stage) {
				active, standby := s.roles(ctx, t)
				s.ownDatabase(ctx, t, active)
				if c.hung {
					s.hang(ctx, t, active)
				}
				for _, pattern := range c.to {
					sh(ctx, t, active, fmt.Sprintf("pkill -%s -f %q", c.signal, pattern))
				}
				s.cut(t, active.Name(), lab.Everyone)
				s.awaitEnforced(ctx, t, active, standby)
				s.heal(t)
				if _, err := active.Disk(ctx, labdisk.Command{Do: "heal"}); err != nil {
					t.Fatal(err)
				}
				if c.signal == "STOP" {
					for _, pattern := range c.to {
						sh(ctx, t, active, fmt.Sprintf("pkill -CONT -f %q", pattern))
					}
				}
			})
		})
	}
}

// ownDatabase makes sure that the cluster has started the database itself: one that it found running, as the tutorial's, is in
// no cgroup of the resources.
func (s *stage) ownDatabase(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	const owned = "grep -q /resource/ /proc/$(pgrep -o -x mariadbd)/cgroup"
	if _, code, err := typed(ctx, h, owned, ""); err == nil && code == 0 {
		return
	}
	sh(ctx, t, h, "pcs resource meta mysql_svc target-role=Stopped")
	s.await(ctx, t, "the database has stopped", func() bool {
		_, code, err := typed(ctx, h, "pgrep -x mariadbd", "")
		return err == nil && code == 1
	})
	sh(ctx, t, h, "pcs resource meta mysql_svc target-role=")
	s.await(ctx, t, "the cluster has started the database", func() bool {
		_, code, err := typed(ctx, h, owned, "")
		return err == nil && code == 0
	})
	s.awaitServed(ctx, t)
}

// hang has a host's data disk answer nothing any more, and waits until a thread of the database waits for it in the kernel,
// where no signal reaches it: only aborting the volume's FUSE connection ends that.
func (s *stage) hang(ctx context.Context, t *testing.T, h *lab.Host) {
	t.Helper()
	if _, err := h.Disk(ctx, labdisk.Command{Do: "hang"}); err != nil {
		t.Fatal(err)
	}
	s.await(ctx, t, "a thread of the database waits for the hung disk (state D)", func() bool {
		out, _, err := typed(ctx, h, "grep -h '^State' /proc/$(pgrep -o -x mariadbd)/task/*/status", "")
		return err == nil && strings.Contains(out, "D (disk sleep)")
	})
}

// awaitEnforced waits until the standby serves and the guard of the other host, asked itself, has enforced the deadline; then
// nothing of the resources may be there.
func (s *stage) awaitEnforced(ctx context.Context, t *testing.T, active, standby *lab.Host) {
	t.Helper()
	s.awaitPrimary(ctx, t, standby.Name())
	s.await(ctx, t, "the guard of "+active.Name()+" has enforced the deadline", func() bool {
		st, err := guardState(active)
		return err == nil && st == deadline.Enforced
	})
	s.await(ctx, t, "the dead of "+active.Name()+" are collected", func() bool {
		_, code, err := typed(ctx, active, "pgrep -x 'mariadbd|mysqld_safe'", "")
		return err == nil && code == 1
	})
	out, code, err := typed(ctx, active, "timeout 5 dd if=/dev/drbd1 of=/dev/null bs=4096 count=1 iflag=direct", "")
	if err != nil || code == 0 || code == 124 {
		t.Errorf("a read of the volume whose connection is aborted: exit code %d, %v; want an error at once\n%s", code, err, out)
	}
	s.awaitServed(ctx, t)
}

// guardState asks a host's guard itself.
func guardState(h *lab.Host) (deadline.State, error) {
	c, err := guard.Dial(paths.Root(h.Path("/")))
	if err != nil {
		return "", err
	}
	defer c.Close()
	st, err := c.Status()
	return deadline.State(st.State), err
}
