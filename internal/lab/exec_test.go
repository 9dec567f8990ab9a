package lab_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab"
)

func TestExec(t *testing.T) {
	l := up(t, lab.Config{Name: "exec"})
	h := l.Host("lqi1ecmy03")
	t.Run("exit codes", func(t *testing.T) {
		for line, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137} {
			if r, err := h.Exec(t.Context(), "sh", "-c", line); err != nil || r.Code != want {
				t.Errorf("%s: code %d, %v; want %d", line, r.Code, err, want)
			}
		}
	})
	t.Run("streams", func(t *testing.T) {
		c := h.Command(t.Context(), "sh", "-c", "cat; echo err >&2; pwd; echo $PATH; hostname")
		c.Stdin = strings.NewReader("in\n")
		var errs strings.Builder
		c.Stderr = &errs
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := "in\n/root\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nlqi1ecmy03\n"
		if string(out) != want || errs.String() != "err\n" {
			t.Errorf("stdout %q, stderr %q", out, errs.String())
		}
	})
	t.Run("missing program", func(t *testing.T) {
		if _, err := h.Exec(t.Context(), "no-such-program"); !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("%v; want ErrNotFound", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := h.Exec(ctx, "sleep", "100"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v; want the deadline", err)
		}
	})
	t.Run("background process keeps the pipe", func(t *testing.T) {
		if r, err := h.Exec(t.Context(), "sh", "-c", "sleep 100 & echo done"); err != nil || r.Stdout != "done\n" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("root is read-only, own directories are not", func(t *testing.T) {
		sh(t, h, "! touch /usr/x 2>/dev/null && touch /etc/x /var/x /root/x /tmp/x /run/x /dev/shm/x")
	})
	t.Run("nothing that resets the machine", func(t *testing.T) {
		sh(t, h, "! ls /dev/watchdog* /dev/kmsg 2>/dev/null && [ ! -e /proc/sysrq-trigger -o -c /proc/sysrq-trigger ]")
	})
	t.Run("quick", func(t *testing.T) {
		began := time.Now()
		const times = 20
		for range times {
			sh(t, h, "true")
		}
		t.Logf("one command takes %v", time.Since(began)/times) // told, not asserted
	})
}

func BenchmarkExec(b *testing.B) {
	l, err := lab.Open(lab.DefaultName)
	if err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if _, err := l.Host("client").Exec(b.Context(), "true"); err != nil {
			b.Fatal(err)
		}
	}
}
