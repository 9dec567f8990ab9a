package systemd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
	"holdfast/internal/paths"
)

// inside tells the test that it runs in the mount namespace made for it.
const inside = "HOLDFAST_SYSTEMD_TEST"

// TestUnits drives units of a real systemd: a user manager with a /run and a cgroup tree of its own, since the machine need
// not have been booted with systemd, and since a manager moves every process it finds at the top of its tree.
func TestUnits(t *testing.T) {
	if os.Getenv(inside) != "" {
		units(t)
		return
	}
	for _, program := range []string{"/usr/bin/systemd", "/usr/bin/systemctl", "/usr/bin/unshare"} {
		if _, err := os.Stat(program); err != nil || os.Geteuid() != 0 {
			t.Skipf("needs root and %s", program)
		}
	}
	root := agenttest.NewRoot(t)
	agenttest.Cgroups(t, root)
	dir, err := os.Open(filepath.Dir(root.Cgroup()))
	agenttest.Must(t, err)
	defer dir.Close()
	cmd := exec.Command("/usr/bin/unshare", "-m", "-C", os.Args[0], "-test.run=^TestUnits$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
}

func units(t *testing.T) {
	manager(t)
	a := NewUser()
	unitFile(t, "hf-test", "Type=simple\nExecStart=/bin/sleep 1004")
	unitFile(t, "hf-fails", "Type=oneshot\nExecStart=/bin/false")
	unitFile(t, "hf-slow", "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 600")
	reload(t)
	for _, c := range []struct {
		unit, action string
		want         agent.Code
	}{
		{"hf-test", "monitor", agent.NotRunning}, {"hf-test", "start", agent.OK}, {"hf-test", "start", agent.OK},
		{"hf-test.service", "monitor", agent.OK}, {"hf-test", "stop", agent.OK}, {"hf-test", "stop", agent.OK},
		{"hf-test", "monitor", agent.NotRunning}, {"hf-fails", "start", agent.ErrGeneric}, {"hf-fails", "monitor", agent.NotRunning},
		{"hf-none", "start", agent.ErrInstalled}, {"hf-none", "stop", agent.OK}, {"hf-none", "monitor", agent.NotRunning},
		{"hf-test", "promote", agent.ErrUnimplemented},
	} {
		if r := run(t, a, c.unit, c.action, time.Minute); r.Code != c.want {
			t.Errorf("%s %s: %+v, want %d", c.action, c.unit, r, c.want)
		}
	}
	theClusters(t, a)
	if r := run(t, a, "hf-slow", "start", 5*time.Second); r.Status != agent.TimedOut {
		t.Errorf("a start that hangs: %+v", r)
	}
	if r := run(t, a, "hf-slow", "monitor", 300*time.Millisecond); r.Status != agent.TimedOut {
		t.Errorf("a monitor of a unit that is activating: %+v", r)
	}
	if !a.Known(t.Context(), "hf-test") || a.Known(t.Context(), "hf-none") {
		t.Error("Known is wrong")
	}
}

// theClusters: from its start to its stop a service runs where the guard ends it, and is not started again by its manager; then
// it is what it was.
func theClusters(t *testing.T, a *Agent) {
	t.Helper()
	unitFile(t, "hf-restarts", "Type=simple\nRestart=always\nExecStart=/bin/sleep 1005")
	reload(t)
	for range 2 {
		if r := run(t, a, "hf-restarts", "start", time.Minute); r.Code != agent.OK {
			t.Fatalf("start: %+v", r)
		}
		group := show(t, "hf-restarts", "ControlGroup")
		if !strings.Contains(group, "/holdfast.slice/"+paths.ResourceSlice+"/") {
			t.Errorf("it runs in %s", group)
		}
		agenttest.Must(t, os.WriteFile(filepath.Join("/sys/fs/cgroup", group, "cgroup.kill"), []byte("1"), 0))
		agenttest.Until(t, "the end of the unit", func() bool { return show(t, "hf-restarts", "ActiveState") == "failed" })
		if r := run(t, a, "hf-restarts", "monitor", time.Minute); r.Code != agent.NotRunning {
			t.Errorf("monitor after the kill: %+v", r)
		}
		if r := run(t, a, "hf-restarts", "stop", time.Minute); r.Code != agent.OK {
			t.Errorf("stop: %+v", r)
		}
		if restart := show(t, "hf-restarts", "Restart"); restart != "always" {
			t.Errorf("given back with Restart=%s", restart)
		}
	}
}

func show(t *testing.T, name, property string) string {
	t.Helper()
	out, err := exec.Command("/usr/bin/systemctl", "--user", "show", "--value", "--property="+property, name).Output()
	agenttest.Must(t, err)
	return strings.TrimSpace(string(out))
}

func run(t *testing.T, a *Agent, name, action string, timeout time.Duration) agent.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return a.Run(ctx, agent.Operation{Resource: "r", Spec: agent.Spec{Class: "systemd", Type: name}, Action: action, Timeout: timeout})
}

// manager starts systemd --user with a private /run, and ends it with the test.
func manager(t *testing.T) {
	t.Helper()
	agenttest.Must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	agenttest.Must(t, unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH))
	agenttest.Must(t, unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""))
	if procs, err := os.ReadFile("/sys/fs/cgroup/cgroup.procs"); err != nil || len(strings.Fields(string(procs))) > 3 {
		t.Fatalf("this is not a cgroup tree of the test's own: %q %v", procs, err)
	}
	dir := "/run/user/0"
	agenttest.Must(t, os.MkdirAll(filepath.Join(dir, "systemd", "user"), 0o700))
	agenttest.Must(t, os.MkdirAll("/run/systemd/system", 0o755)) // says that the machine was booted with systemd
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	cmd := exec.Command("/usr/bin/systemd", "--user", "--log-target=console")
	agenttest.Must(t, cmd.Start())
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		<-gone
	})
	for end := time.Now().Add(agenttest.Patience); ; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-gone:
			gone <- err
			t.Skipf("no user manager can run here: %v", err)
		default:
		}
		out, err := exec.Command("/usr/bin/systemctl", "--user", "show", "--property=ActiveState", "basic.target").Output()
		if err == nil && strings.Contains(string(out), "=active") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the user manager does not come up")
		}
	}
}

func unitFile(t *testing.T, name, service string) {
	t.Helper()
	path := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd", "user", name+".service")
	agenttest.Must(t, os.WriteFile(path, []byte("[Service]\n"+service+"\n"), 0o644))
}

func reload(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("/usr/bin/systemctl", "--user", "daemon-reload").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

func TestParseState(t *testing.T) {
	if s := parseState([]byte("Result=success\nLoadState=loaded\nActiveState=active\nX\n")); s != (unitState{"loaded", "active", "success"}) {
		t.Errorf("%+v", s)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte("LoadState=loaded\nActiveState=active\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { parseState(data) })
}
