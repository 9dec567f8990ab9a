package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/guard"
	"holdfast/internal/guard/leasepage"
	"holdfast/internal/nbddev"
	"holdfast/internal/paths"
	"holdfast/internal/ublkdev"
)

// The test binary is its own helper: with this variable set it is a guard, a volume process or a writer.
const helperVar = "HOLDFAST_GUARD_TEST_HELPER"

func TestMain(m *testing.M) {
	helpers := map[string]func(args []string) error{"guard": helpGuard, "volume": helpVolume, "write": helpWrite}
	if help, ok := helpers[os.Getenv(helperVar)]; ok {
		if err := help(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func helpGuard(args []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return guard.Run(ctx, guard.Config{Root: paths.Root(args[0]), Clock: clock.System{}, Log: log})
}

// helper starts a helper and kills it at the end of the test.
func helper(t *testing.T, kind string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := helperCommand(kind, args...)
	start(t, cmd)
	return cmd
}

func helperCommand(kind string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperVar+"="+kind)
	cmd.Stderr = os.Stderr
	return cmd
}

func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(cmd) })
}

// stop kills a process if it still runs; errors say only that it does not.
func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// startGuard runs a guard for a fresh root, as root and process, and connects to it.
func startGuard(t *testing.T) (paths.Root, *guard.Client, *exec.Cmd) {
	t.Helper()
	root := paths.Root(t.TempDir())
	cmd := helper(t, "guard", string(root))
	return root, dial(t, root), cmd
}

func dial(t *testing.T, root paths.Root) *guard.Client {
	t.Helper()
	var c *guard.Client
	waitFor(t, "the guard", func() bool {
		var err error
		c, err = guard.Dial(root)
		return err == nil
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// waitFor waits on a state, with a bound.
func waitFor(t *testing.T, what string, there func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !there(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func in(d time.Duration) clock.Boottime { return clock.System{}.Boottime().Add(d) }

func status(t *testing.T, c *guard.Client) api.GuardReply {
	t.Helper()
	reply, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func waitState(t *testing.T, c *guard.Client, want string) api.GuardReply {
	t.Helper()
	var last api.GuardReply
	waitFor(t, "the state "+want, func() bool {
		last = status(t, c)
		return last.State == want
	})
	return last
}

func refused(t *testing.T, err error, part string) {
	t.Helper()
	var r *guard.RefusedError
	if !errors.As(err, &r) || !strings.Contains(r.Reason, part) {
		t.Errorf("got %v, want a refusal with %q", err, part)
	}
}

func TestLeaseAndPage(t *testing.T) {
	root, c, _ := startGuard(t)
	page, err := leasepage.Open(root.LeasePage())
	if err != nil {
		t.Fatal(err)
	}
	defer page.Close()
	if s := status(t, c); s.State != "disarmed" || page.Deadline() != 0 {
		t.Fatalf("a new guard: %+v, page %d", s, page.Deadline())
	}
	at := in(time.Hour)
	if err := c.Lease(4, at); err != nil {
		t.Fatal(err)
	}
	if page.Deadline() != at || page.Session() != 4 {
		t.Errorf("page has %d of %d", page.Deadline(), page.Session())
	}
	if err := c.Lease(4, at-1000); err != nil || page.Deadline() != at {
		t.Errorf("an earlier deadline: %v, page %d", err, page.Deadline()-at)
	}
	refused(t, c.Lease(3, at+1000), "session 3 is over")
	if err := c.Disarm(); err != nil || page.Deadline() != 0 {
		t.Errorf("disarm: %v, page %d", err, page.Deadline())
	}
}

func TestDeadlineWithNothingRunning(t *testing.T) {
	root, c, _ := startGuard(t)
	at := in(30 * time.Millisecond)
	if err := c.Lease(4, at); err != nil {
		t.Fatal(err)
	}
	waitState(t, c, "enforced")
	if now := (clock.System{}).Boottime(); now < at {
		t.Errorf("enforced %v before the deadline", at.Sub(now))
	}
	refused(t, c.Lease(4, in(time.Hour)), "newer session is needed")
	refused(t, c.Hold("r0", api.GuardHeld{Connection: 1}, -1), "lease has ended")
	refused(t, c.Clear(4), "not newer")
	if err := c.Clear(5); err != nil {
		t.Fatal(err)
	}
	if page, err := leasepage.Open(root.LeasePage()); err != nil || page.Deadline() != at {
		t.Errorf("the deadline that has passed must stay on the page until the next: %v", err)
	}
	if err := c.Lease(5, in(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s := status(t, c); s.State != "armed" || s.Session != 5 {
		t.Errorf("after the new session's lease: %+v", s)
	}
}

func TestSecondGuardIsRefused(t *testing.T) {
	root, c, _ := startGuard(t)
	err := guard.Run(t.Context(), guard.Config{Root: root, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, guard.ErrRunning) || !strings.Contains(err.Error(), root.GuardSocket()) {
		t.Errorf("second guard: %v", err)
	}
	if s := status(t, c); s.State != "disarmed" {
		t.Errorf("the first: %+v", s)
	}
}

// A guard that was killed and starts again enforces what the last one was armed with.
func TestRestartedGuardEnforces(t *testing.T) {
	root, c, cmd := startGuard(t)
	if err := c.Lease(4, in(300*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	stop(cmd)
	helper(t, "guard", string(root))
	if s := waitState(t, dial(t, root), "enforced"); s.Session != 4 {
		t.Errorf("enforced session %d", s.Session)
	}
}

// SIGTERM does not take an armed guard away.
func TestArmedGuardStaysUntilTheDeadline(t *testing.T) {
	_, c, cmd := startGuard(t)
	at := in(400 * time.Millisecond)
	if err := c.Lease(4, at); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the guard's end: %v", err)
	}
	if now := (clock.System{}).Boottime(); now < at {
		t.Errorf("it left %v before the deadline", at.Sub(now))
	}
}

// cgroup makes a cgroup that a root's "resource" leads to, and skips where there is no cgroup v2 to write to.
func cgroup(t *testing.T, root paths.Root) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("cgroups need root")
	}
	top := cgroup2(t)
	dir, err := os.MkdirTemp(top, "holdfast-test-")
	if err != nil {
		t.Skipf("cannot make a cgroup: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		os.Remove(dir)
		t.Skip("this kernel's cgroups cannot be killed (5.14 is needed)")
	}
	resource := filepath.Join(dir, "resource", "db")
	if err := os.MkdirAll(resource, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, dir) })
	if err := os.MkdirAll(filepath.Dir(root.Cgroup()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, root.Cgroup()); err != nil {
		t.Fatal(err)
	}
	return resource
}

// slice makes the cgroup of a unit that systemd runs for a resource.
func slice(t *testing.T, root paths.Root) string {
	t.Helper()
	at := root.ResourceCgroups()[1]
	dir := filepath.Join(cgroup2(t), fmt.Sprintf("holdfast-guard-slice-%d", os.Getpid()))
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Mkdir(dir, 0o755), os.Symlink(dir, at)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeCgroup(t, dir) })
	return dir
}

func removeCgroup(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		t.Error(err)
	}
	waitFor(t, "the cgroup to be empty", func() bool {
		for _, d := range []string{"resource/db", "resource", "."} {
			if err := os.Remove(filepath.Join(dir, d)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return false
			}
		}
		return true
	})
}

func cgroup2(t *testing.T) string {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if before, after, _ := strings.Cut(lines.Text(), " - "); strings.HasPrefix(after, "cgroup2 ") {
			return strings.Fields(before)[4]
		}
	}
	t.Skip("no cgroup v2 is mounted")
	return ""
}

// join moves a process into a cgroup.
func join(t *testing.T, dir string, pid int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(fmt.Sprint(pid)), 0); err != nil {
		t.Fatal(err)
	}
}

// Everything in the resources' cgroups dies at the deadline: what ignores SIGTERM, what is stopped, what forks.
func TestDeadlineKillsResources(t *testing.T) {
	root, c, _ := startGuard(t)
	dir := cgroup(t, root)
	ignores := exec.Command("sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done")
	stopped := exec.Command("sleep", "1000")
	forks := exec.Command("sh", "-c", "while :; do sh -c 'sleep 0.01 & wait' & sleep 0.005; done")
	unit := exec.Command("sleep", "1000")
	for cmd, dir := range map[*exec.Cmd]string{ignores: dir, stopped: dir, forks: dir, unit: slice(t, root)} {
		start(t, cmd)
		join(t, dir, cmd.Process.Pid)
	}
	if err := stopped.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	outside := exec.Command("sleep", "1000")
	start(t, outside)
	if err := c.Lease(1, in(50*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if s := waitState(t, c, "enforced"); len(s.Survivors) != 0 {
		t.Errorf("survivors %v", s.Survivors)
	}
	for _, cmd := range []*exec.Cmd{ignores, stopped, forks, unit} {
		err := cmd.Wait()
		if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
			t.Errorf("%v ended with %v", cmd.Args, err)
		}
	}
	if err := outside.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process outside was hit: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	root, _, cmd := startGuard(t)
	stop(cmd)
	if _, err := os.Stat(root.GuardSocket()); err != nil {
		t.Fatal("the killed guard took its socket along")
	}
	if _, err := guard.Dial(root); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial without a guard: %v", err)
	}
	helper(t, "guard", string(root))
	dial(t, root)
}

// What a device lacks that the guard would need at the deadline is a refusal, not a device that nobody can end.
func TestHoldNeedsWhatEndsTheDevice(t *testing.T) {
	_, c, _ := startGuard(t)
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	refused(t, c.Hold("r0", api.GuardHeld{}, -1), "kernel device")
	refused(t, c.Hold("r0", api.GuardHeld{Front: api.FrontFUSE}, ends[0]), "is missing")
	refused(t, c.Hold("r0", api.GuardHeld{Front: api.FrontNBD, Device: 3}, -1), "is missing")
	refused(t, c.Hold("r0", api.GuardHeld{Front: api.FrontUBLK, Device: 3}, -1), "is missing")
	refused(t, c.Hold("r0", api.GuardHeld{Front: "iscsi", Device: 3}, -1), "knows no front end")
	if nbddev.Probe() != nil { // there is none on this host
		refused(t, c.Hold("r0", api.GuardHeld{Front: api.FrontNBD, Device: 3}, ends[0]), "modprobe nbd")
	}
	if ublkdev.Probe() != nil {
		refused(t, c.Hold("r0", api.GuardHeld{Front: api.FrontUBLK, Device: 3, Process: os.Getpid()}, -1), "modprobe ublk_drv")
	}
	if device, fd, err := c.Get("r0"); err != nil || fd >= 0 || device.Kind() != "" {
		t.Errorf("held after all: %+v, %d, %v", device, fd, err)
	}
}
