package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
	"holdfast/internal/agent/catalog"
	"holdfast/internal/agent/ocf"
	"holdfast/internal/agent/process"
	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/paths"
)

// host is an executor with everything around it: a root with cgroups, and a leader that takes the reports.
type host struct {
	t    *testing.T
	root paths.Root
	ex   *Executor
	key  int

	mu      sync.Mutex
	reports []Report
	refuse  bool
	events  []string
	lease   error
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, root: agenttest.NewRoot(t)}
	agenttest.Cgroups(t, h.root)
	h.open()
	h.ex.Resume(1)
	t.Cleanup(func() { h.ex.Close() })
	return h
}

func (h *host) open() {
	h.t.Helper()
	ex, err := Open(Config{Root: h.root, Node: "n1", Clock: clock.System{}, Agents: catalog.New(h.root, nil, nil),
		Sink: h.take, Log: slog.New(slog.DiscardHandler), Event: h.event, Lease: h.leased})
	agenttest.Must(h.t, err)
	h.ex = ex
}

func (h *host) leased() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease
}

func (h *host) take(_ context.Context, r Report) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refuse {
		return errors.New("no leader")
	}
	h.reports = append(h.reports, r)
	return nil
}

func (h *host) event(name string, attrs map[string]any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprint(name, " ", attrs["resource"], " ", attrs["action"]))
}

func (h *host) refusing(yes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = yes
}

func (h *host) request(spec agent.Spec, rsc, action string, interval time.Duration) Request {
	h.key++
	return Request{Term: 1, Key: fmt.Sprintf("%d:1:0:test", h.key), Digest: "d",
		Op: agent.Operation{Resource: rsc, Spec: spec, Action: action, Interval: interval, Timeout: time.Minute}}
}

func (h *host) submit(req Request) string {
	h.t.Helper()
	agenttest.Must(h.t, h.ex.Submit(req))
	return req.Key
}

// reported waits for the n-th report (from 1) of a key.
func (h *host) reported(key string, n int) Report {
	h.t.Helper()
	var out Report
	agenttest.Until(h.t, fmt.Sprintf("report %d of %s", n, key), func() bool {
		all := h.of(key)
		if len(all) < n {
			return false
		}
		out = all[n-1]
		return true
	})
	return out
}

func (h *host) of(key string) []Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Report
	for _, r := range h.reports {
		if r.Key == key {
			out = append(out, r)
		}
	}
	return out
}

func (h *host) run(spec agent.Spec, rsc, action string) Report {
	h.t.Helper()
	return h.reported(h.submit(h.request(spec, rsc, action, 0)), 1)
}

// service is an agent with a daemon: state is kept in its pid file; every call is logged to calls.
func (h *host) service(name string) agent.Spec {
	dir := string(h.root)
	return agenttest.Script(h.t, h.root, name, `
pid=`+dir+`/$OCF_RESOURCE_INSTANCE.pid
echo "$OCF_RESOURCE_INSTANCE $1" >> `+dir+`/calls
running() { [ -f $pid ] && kill -0 $(cat $pid) 2>/dev/null && ! grep -q ') Z ' /proc/$(cat $pid)/stat; }
case $1 in
start) running || { sleep 1000 >/dev/null 2>&1 & echo $! > $pid; } ;;
stop) running && kill -9 $(cat $pid); rm -f $pid; exit 0 ;;
monitor) [ -f `+dir+`/fail ] && exit 1; running || exit 7 ;;
esac
`)
}

func (h *host) calls() []string {
	data, _ := os.ReadFile(filepath.Join(string(h.root), "calls"))
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func (h *host) pid(rsc string) int {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(string(h.root), rsc+".pid"))
	agenttest.Must(h.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	agenttest.Must(h.t, err)
	return pid
}

func TestLifeOfAResource(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	if r := h.run(spec, "a", "monitor"); r.Code != agent.NotRunning || r.CallID != 1 || r.Node != "n1" || r.Session != 1 || r.Digest != "d" {
		t.Errorf("probe: %+v", r)
	}
	if r := h.run(spec, "a", "start"); r.Code != agent.OK || r.Status != agent.Done || r.CallID != 2 || r.Exec <= 0 {
		t.Errorf("start: %+v", r)
	}
	act := h.ex.Active(1)
	if !slices.Equal(act.Active, []string{"a"}) || len(act.Under) != 0 {
		t.Errorf("activity: %+v", act)
	}
	if r := h.run(spec, "a", "stop"); r.Code != agent.OK {
		t.Errorf("stop: %+v", r)
	}
	if act := h.ex.Active(1); len(act.Active) != 0 {
		t.Errorf("activity after stop: %+v", act)
	}
	agenttest.Until(t, "the cgroup to be removed", func() bool {
		_, err := os.Stat(ocf.Cgroup(h.root, "a"))
		return os.IsNotExist(err)
	})
}

func TestRecurringReportsOnlyChanges(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.run(spec, "a", "start")
	key := h.submit(h.request(spec, "a", "monitor", 20*time.Millisecond))
	if r := h.reported(key, 1); r.Code != agent.OK || r.Repeat || r.Interval != 20*time.Millisecond {
		t.Errorf("first: %+v", r)
	}
	runs := func() int {
		return len(slices.DeleteFunc(h.calls(), func(s string) bool { return s != "a monitor" }))
	}
	agenttest.Until(t, "ten monitors", func() bool { return runs() > 10 })
	if n := len(h.of(key)); n != 1 {
		t.Errorf("%d reports although nothing changed", n)
	}
	fail := filepath.Join(string(h.root), "fail")
	agenttest.Must(t, os.WriteFile(fail, nil, 0o600))
	if r := h.reported(key, 2); r.Code != agent.ErrGeneric || !r.Repeat {
		t.Errorf("failure: %+v", r)
	}
	before := runs()
	agenttest.Until(t, "five more monitors", func() bool { return runs() > before+5 })
	agenttest.Must(t, os.Remove(fail))
	if r := h.reported(key, 3); r.Code != agent.OK {
		t.Errorf("recovery: %+v", r)
	}
	cancel := h.request(spec, "a", "monitor", 20*time.Millisecond)
	cancel.Do = Cancel
	if r := h.reported(h.submit(cancel), 1); r.Do != Cancel || r.Task != "monitor" || r.Status != agent.Done {
		t.Errorf("cancel: %+v", r)
	}
	if act := h.ex.Active(1); len(act.Recurring) != 0 {
		t.Errorf("still recurring: %+v", act)
	}
}

func TestOneAtATimePerResource(t *testing.T) {
	h := newHost(t)
	log := filepath.Join(string(h.root), "order")
	spec := agenttest.Script(t, h.root, "slow", "echo begin $1 >> "+log+"; sleep 0.1; echo end $1 >> "+log+"\n")
	var keys []string
	for _, action := range []string{"start", "promote", "notify", "demote", "stop"} {
		keys = append(keys, h.submit(h.request(spec, "a", action, 0)))
	}
	other := h.submit(h.request(h.service("svc"), "b", "start", 0))
	h.reported(other, 1)
	if len(h.of(keys[4])) != 0 {
		t.Error("another resource had to wait for this one")
	}
	h.reported(keys[4], 1)
	data, _ := os.ReadFile(log)
	want := ""
	for _, action := range []string{"start", "promote", "notify", "demote", "stop"} {
		want += "begin " + action + "\nend " + action + "\n"
	}
	if string(data) != want {
		t.Errorf("order:\n%s", data)
	}
}

func TestTimeoutOfAnOperation(t *testing.T) {
	h := newHost(t)
	spec := agenttest.Script(t, h.root, "hang", "trap '' TERM; sleep 600\n")
	req := h.request(spec, "a", "start", 0)
	req.Op.Timeout = 200 * time.Millisecond
	if r := h.reported(h.submit(req), 1); r.Status != agent.TimedOut || r.Code != agent.ErrGeneric || !strings.Contains(r.ExitReason, "200ms") {
		t.Errorf("%+v", r)
	}
	agenttest.Until(t, "nothing left", func() bool { return len(process.Members(ocf.Cgroup(h.root, "a"))) == 0 })
}

func TestUnknownAgents(t *testing.T) {
	h := newHost(t)
	for _, spec := range []agent.Spec{{Class: "ocf", Provider: "test", Type: "none"}, {Class: "nagios", Type: "x"}, {Class: "ocf", Provider: "linbit", Type: "drbd"}} {
		if r := h.run(spec, "x", "start"); r.Code != agent.ErrInstalled || r.Status != agent.NotInstalled || r.ExitReason == "" {
			t.Errorf("%s: %+v", spec, r)
		}
	}
}

func TestASecondRequestWithTheSameKeyRunsOnce(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	req := h.request(spec, "a", "start", 0)
	h.submit(req)
	h.submit(req)
	h.reported(req.Key, 1)
	h.submit(req) // ended: the answer comes again
	h.reported(req.Key, 2)
	if calls := h.calls(); !slices.Equal(calls, []string{"a start"}) {
		t.Errorf("calls: %v", calls)
	}
	if all := h.of(req.Key); all[0].Seq != all[1].Seq {
		t.Errorf("the repeated answer is another one: %v", all)
	}
}

func TestOldLeadersAreRefused(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.ex.Active(5)
	req := h.request(spec, "a", "start", 0)
	req.Term = 4
	if err := h.ex.Submit(req); !errors.Is(err, ErrStaleTerm) {
		t.Errorf("term 4 after 5: %v", err)
	}
	req.Term = 5
	h.reported(h.submit(req), 1)
}

func TestReportsWaitForALeader(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.refusing(true)
	a, b := h.submit(h.request(spec, "a", "start", 0)), h.submit(h.request(spec, "a", "stop", 0))
	agenttest.Until(t, "both to end", func() bool { return h.ex.Active(1).Unsent == 2 })
	h.refusing(false)
	h.reported(b, 1)
	if ra, rb := h.reported(a, 1), h.reported(b, 1); ra.Seq >= rb.Seq {
		t.Errorf("order %d, %d", ra.Seq, rb.Seq)
	}
	agenttest.Until(t, "an empty outbox", func() bool { return h.ex.Active(1).Unsent == 0 })
}

// A table that could not be saved is older than what was reported: no number is told a second time.
func TestReportsAreNumberedOnAfterAnOldTable(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.reported(h.submit(h.request(spec, "a", "start", 0)), 1)
	old, err := os.ReadFile(h.ex.path)
	agenttest.Must(t, err)
	last := h.reported(h.submit(h.request(spec, "a", "stop", 0)), 1)
	h.ex.Close()
	agenttest.Must(t, os.WriteFile(h.ex.path, old, 0o600))
	h.open()
	h.ex.Resume(1)
	if next := h.reported(h.submit(h.request(spec, "a", "start", 0)), 1); next.Seq <= last.Seq {
		t.Errorf("report %d after %d", next.Seq, last.Seq)
	}
}

// The daemon dies (the executor is dropped without a word) and another takes over: recurring operations go on, an
// operation that was under way is waited for and repeated, results not yet taken are delivered, call-ids count on.
func TestADaemonThatDies(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.run(spec, "a", "start")
	monitor := h.submit(h.request(spec, "a", "monitor", 30*time.Millisecond))
	h.reported(monitor, 1)
	h.refusing(true)
	unsent := h.submit(h.request(spec, "b", "start", 0))
	agenttest.Until(t, "the result of b", func() bool { return h.ex.Active(1).Unsent == 1 })
	h.ex.Close()
	h.open()
	if h.ex.Session() != 1 {
		t.Fatalf("session %d is known", h.ex.Session())
	}
	if err := h.ex.Submit(h.request(spec, "c", "start", 0)); !errors.Is(err, ErrPaused) {
		t.Errorf("before Resume: %v", err)
	}
	h.refusing(false)
	h.ex.Resume(1)
	if r := h.reported(unsent, 1); r.Code != agent.OK {
		t.Errorf("unsent result: %+v", r)
	}
	if act := h.ex.Active(1); !slices.Equal(act.Active, []string{"a", "b"}) || len(act.Recurring) != 1 {
		t.Errorf("activity: %+v", act)
	}
	if r := h.run(spec, "a", "monitor"); r.CallID != 4 {
		t.Errorf("call-id %d, want 4", r.CallID)
	}
	agenttest.Must(t, unix.Kill(h.pid("a"), unix.SIGKILL))
	if r := h.reported(monitor, 2); r.Code != agent.NotRunning {
		t.Errorf("monitor after the restart: %+v", r)
	}
}

// The operation's process outlives the daemon: the next one must not start it a second time at the same moment.
func TestAnOrphanedOperationIsWaitedFor(t *testing.T) {
	h := newHost(t)
	dir := string(h.root)
	spec := agenttest.Script(t, h.root, "once", `mkdir `+dir+`/lock || { echo twice >> `+dir+`/overlap; exit 1; }
echo run >> `+dir+`/calls
while [ -f `+dir+`/hold ]; do sleep 0.01; done
rmdir `+dir+`/lock`)
	agenttest.Must(t, os.WriteFile(dir+"/hold", nil, 0o600))
	// What the daemon before left: a table with the operation, and its process.
	cmd := exec.Command(ocf.Path(h.root, spec), "start")
	agenttest.Must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
	agenttest.Until(t, "the orphan to run", func() bool { return len(h.calls()) == 1 && h.calls()[0] == "run" })
	stat, err := process.ReadStat(cmd.Process.Pid)
	agenttest.Must(t, err)
	h.ex.Close()
	req := h.request(spec, "a", "start", 0)
	left := &table{Format: tableFormat, Session: 1, CallID: 7, Jobs: []*job{{Request: req, CallID: 7, PID: cmd.Process.Pid, Start: stat.Start}}}
	agenttest.Must(t, left.save(filepath.Join(h.root.Run(), "executor.json")))
	h.open()
	h.ex.Resume(1)
	agenttest.Until(t, "the operation to be taken up", func() bool {
		act := h.ex.Active(1)
		return len(act.Under) == 1 && act.Under[0].Running
	})
	agenttest.Must(t, os.Remove(dir+"/hold"))
	_ = cmd.Wait()
	if r := h.reported(req.Key, 1); r.Code != agent.OK || r.CallID != 7 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(dir + "/overlap"); err == nil {
		t.Error("the operation ran twice at once")
	}
	if calls := h.calls(); len(calls) != 2 {
		t.Errorf("calls: %v", calls)
	}
}

func TestANewSessionBeginsWithNothing(t *testing.T) {
	h := newHost(t)
	spec := h.service("svc")
	h.run(spec, "a", "start")
	h.submit(h.request(spec, "a", "monitor", time.Hour))
	h.ex.Close()
	h.open()
	h.ex.Resume(2)
	if act := h.ex.Active(1); len(act.Active)+len(act.Recurring)+len(act.Under) != 0 || act.Session != 2 {
		t.Errorf("%+v", act)
	}
}

func TestQueueIsBounded(t *testing.T) {
	h := newHost(t)
	spec := agenttest.Script(t, h.root, "hang", "sleep 600\n")
	var err error
	for range cluster.MaxQueuedOps + 2 {
		if err = h.ex.Submit(h.request(spec, "a", "monitor", 0)); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
}

func TestABadTableIsAnError(t *testing.T) {
	root := agenttest.NewRoot(t)
	for _, text := range []string{"{", `{"format":99}`, ""} {
		agenttest.Must(t, os.WriteFile(filepath.Join(root.Run(), "executor.json"), []byte(text), 0o600))
		_, err := Open(Config{Root: root, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "executor") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
