package executor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
	"holdfast/internal/agent/catalog"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/process"
	"holdfast/internal/clock"
)

func TestStopCutsAHangingMonitorShort(t *testing.T) {
	h := newHost(t)
	dir := string(h.root)
	spec := agenttest.Script(t, h.root, "hm", `case $1 in monitor) [ -f `+dir+`/hang ] && { touch `+dir+`/hanging; sleep 600; };; esac; exit 0`)
	h.run(spec, "a", "start")
	h.reported(h.submit(h.request(spec, "a", "monitor", 20*time.Millisecond)), 1)
	agenttest.Must(t, os.WriteFile(dir+"/hang", nil, 0o600))
	agenttest.Until(t, "a hanging monitor", func() bool { _, err := os.Stat(dir + "/hanging"); return err == nil })
	if r := h.run(spec, "a", "stop"); r.Code != agent.OK {
		t.Errorf("stop: %+v", r)
	}
}

func TestStopAll(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	for _, rsc := range []string{"a", "b", "c"} {
		h.run(spec, rsc, "start")
	}
	pids := []int{h.pid("a"), h.pid("b"), h.pid("c")}
	h.run(spec, "b", "promote")
	h.submit(h.request(spec, "a", "monitor", time.Hour))
	hang := agenttest.Script(t, h.root, "hang", "trap '' TERM; sleep 600\n")
	h.submit(h.request(hang, "z", "start", 0))
	agenttest.Until(t, "z to start", func() bool { return len(process.Members(ocf.Cgroup(h.root, "z"))) > 0 })
	agenttest.Must(t, h.ex.StopAll(t.Context()))
	calls := h.calls()
	if tail := calls[len(calls)-4:]; !slices.Equal(tail, []string{"c stop", "b demote", "b stop", "a stop"}) {
		t.Errorf("order of the stops: %v", tail)
	}
	for _, pid := range pids {
		if stat, err := process.ReadStat(pid); err == nil && stat.State != 'Z' {
			t.Errorf("process %d lives", pid)
		}
	}
	dirs, err := resourceCgroups(filepath.Join(h.root.Cgroup(), "resource"))
	if err != nil || len(dirs) != 0 {
		t.Errorf("cgroups left: %v %v", dirs, err)
	}
	if err := h.ex.Submit(h.request(spec, "a", "start", 0)); !errors.Is(err, ErrPaused) {
		t.Errorf("after StopAll: %v", err)
	}
	h.ex.Resume(2)
	if r := h.run(spec, "a", "start"); r.Code != agent.OK || r.Session != 2 {
		t.Errorf("in the next session: %+v", r)
	}
}

// An agent whose stop hangs: when the time is over, the processes are killed.
func TestStopAllKillsWhatDoesNotStop(t *testing.T) {
	h := newHost(t)
	spec := agenttest.Script(t, h.root, "stuck", `trap '' TERM
case $1 in start) setsid sleep 1002 >/dev/null 2>&1 & ;; stop) sleep 600 ;; esac; exit 0`)
	h.run(spec, "a", "start")
	members := process.Members(ocf.Cgroup(h.root, "a"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := h.ex.StopAll(ctx); err == nil || !strings.Contains(err.Error(), "stop a") {
		t.Errorf("%v", err)
	}
	for _, pid := range members {
		if stat, err := process.ReadStat(pid); err == nil && stat.State != 'Z' {
			t.Errorf("process %d lives", pid)
		}
	}
}

// A host that was frozen past its lease wakes with a full queue: nothing of it may be run.
func TestNothingRunsAfterTheLease(t *testing.T) {
	h := newHost(t)
	dir := string(h.root)
	slow := agenttest.Script(t, h.root, "slow", "while [ -f "+dir+"/hold ]; do sleep 0.01; done\n")
	agenttest.Must(t, os.WriteFile(dir+"/hold", nil, 0o600))
	h.submit(h.request(slow, "a", "start", 0))
	agenttest.Until(t, "the first to run", func() bool { return len(process.Members(ocf.Cgroup(h.root, "a"))) > 0 })
	spec := h.service("svc")
	h.submit(h.request(spec, "a", "start", 0))
	h.mu.Lock()
	h.lease = errors.New("the lease is over")
	h.mu.Unlock()
	agenttest.Must(t, os.Remove(dir+"/hold"))
	agenttest.Until(t, "the executor to notice", func() bool {
		return errors.Is(h.ex.Submit(h.request(spec, "b", "start", 0)), ErrPaused)
	})
	agenttest.Must(t, h.ex.StopAll(t.Context()))
	if calls := h.calls(); !slices.Equal(calls, []string{""}) {
		t.Errorf("run without a lease: %v", calls)
	}
}

// A lease that runs out while a process is being started: the process is killed as soon as it exists.
func TestALeaseThatEndsDuringAStart(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.ex.Close()
	asked := 0 // by one goroutine at a time: there is one lane
	ex, err := Open(Config{Root: h.root, Node: "n1", Clock: clock.System{}, Agents: catalog.New(h.root, nil, nil), Sink: h.take,
		Log: slog.New(slog.DiscardHandler), Lease: func() error {
			if asked++; asked > 1 {
				return errors.New("the lease is over")
			}
			return nil
		}})
	agenttest.Must(t, err)
	h.ex = ex
	h.ex.Resume(1)
	h.submit(h.request(spec, "a", "start", 0))
	agenttest.Until(t, "the executor to notice", func() bool {
		req := h.request(spec, "a", "monitor", 0)
		return errors.Is(h.ex.Submit(req), ErrPaused)
	})
	agenttest.Until(t, "nothing to be left", func() bool { return len(process.Members(ocf.Cgroup(h.root, "a"))) == 0 })
}

func TestStopAllWithoutTimeAsksNoAgent(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.run(spec, "a", "start")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	agenttest.Must(t, h.ex.StopAll(done))
	if calls := h.calls(); !slices.Equal(calls, []string{"a start"}) {
		t.Errorf("calls: %v", calls)
	}
	if n := len(process.Members(ocf.Cgroup(h.root, "a"))); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

func TestForget(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.run(spec, "a", "start")
	h.reported(h.submit(h.request(spec, "a", "monitor", time.Hour)), 1)
	req := h.request(spec, "a", "", 0)
	req.Do = Forget
	h.reported(h.submit(req), 1)
	if act := h.ex.Active(1); len(act.Active)+len(act.Recurring) != 0 {
		t.Errorf("%+v", act)
	}
}
