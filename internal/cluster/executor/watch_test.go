package executor

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
)

// The monitor's interval is an hour: only the death of the process can make it run.
func TestDeathOfAProcessIsSeenAtOnce(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.run(spec, "a", "start")
	monitor := h.submit(h.request(spec, "a", "monitor", time.Hour))
	h.reported(monitor, 1)
	agenttest.Must(t, unix.Kill(h.pid("a"), unix.SIGKILL))
	if r := h.reported(monitor, 2); r.Code != agent.NotRunning || !r.Repeat {
		t.Errorf("%+v", r)
	}
}

// A process named by a parameter `pid`, outside the resource's cgroup.
func TestDeathOfAProcessElsewhere(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command("sleep", "1000")
	agenttest.Must(t, cmd.Start())
	file := filepath.Join(string(h.root), "a.pid")
	agenttest.Must(t, os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600))
	spec := h.service("svc")
	req := h.request(spec, "a", "monitor", time.Hour)
	req.Op.Params = map[string]string{"pid": file}
	monitor := h.submit(req)
	h.reported(monitor, 1)
	agenttest.Must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if r := h.reported(monitor, 2); r.Code != agent.NotRunning {
		t.Errorf("%+v", r)
	}
}

// A process that ends right after a monitor has found it, before it could be watched, is found out by another at once, and not once
// more.
func TestDeathBeforeItIsWatched(t *testing.T) {
	h := newHost(t)
	cmd := exec.Command("sleep", "1000")
	agenttest.Must(t, cmd.Start())
	go func() { _ = cmd.Wait() }()
	file := filepath.Join(string(h.root), "a.pid")
	agenttest.Must(t, os.WriteFile(file, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600))
	spec := agenttest.Script(t, h.root, "brief", `kill -9 $(cat `+file+`) 2>/dev/null || exit 7
while kill -0 $(cat `+file+`) 2>/dev/null; do sleep 0.01; done`)
	req := h.request(spec, "a", "monitor", time.Hour)
	req.Op.Params = map[string]string{"pid": file}
	monitor := h.submit(req)
	if r := h.reported(monitor, 1); r.Code != agent.OK {
		t.Errorf("%+v", r)
	}
	if r := h.reported(monitor, 2); r.Code != agent.NotRunning {
		t.Errorf("%+v", r)
	}
}

// A supervised process that is started again is its supervisor's business.
func TestASupervisorIsLeftToItsWork(t *testing.T) {
	h := newHost(t)
	dir := string(h.root)
	spec := agenttest.Script(t, h.root, "super", `echo $1 >> `+dir+`/calls
case $1 in start) ( while :; do sleep 1001 & echo $! > `+dir+`/child; wait; echo again >> `+dir+`/restarts; done ) >/dev/null 2>&1 &
while [ ! -s `+dir+`/child ]; do sleep 0.01; done ;; esac`)
	h.run(spec, "a", "start")
	h.reported(h.submit(h.request(spec, "a", "monitor", time.Hour)), 1)
	child, _ := os.ReadFile(dir + "/child")
	pid, err := strconv.Atoi(strings.TrimSpace(string(child)))
	agenttest.Must(t, err)
	agenttest.Must(t, unix.Kill(pid, unix.SIGKILL))
	agenttest.Until(t, "the supervisor's restart", func() bool { _, err := os.Stat(dir + "/restarts"); return err == nil })
	if calls := h.calls(); !slices.Equal(calls, []string{"start", "monitor"}) {
		t.Errorf("calls: %v", calls)
	}
}
