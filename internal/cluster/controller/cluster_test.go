package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/cluster/cib"
	"holdfast/internal/cluster/executor"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/paths"
)

// testCluster is a cluster of real parts (state machine, scheduler, controllers, executors) around a log that commits at
// once, with doubles of the agents, which keep in memory what runs where.
type testCluster struct {
	t     *testing.T
	hosts map[string]*testHost
	names []string

	mu      sync.Mutex
	machine *state.Machine
	index   uint64
	term    uint64
	leader  string
	changed chan struct{}

	violations []string
}

// testHost is a member with its controller, executor, and what runs on it.
type testHost struct {
	c    *testCluster
	name string
	ctl  *Controller
	ex   *executor.Executor
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	down    bool // unreachable: calls to it fail
	deaf    bool // takes no requests
	running map[string]string
	fail    map[string]agent.Code // RESOURCE ACTION -> code
	hold    map[string]chan struct{}
	calls   []string
	left    bool
	// lost is called, once, in place of telling the executor that a report of a failure was taken.
	lost func()
}

const patience = 20 * time.Second

func newCluster(t *testing.T, config string) *testCluster {
	t.Helper()
	c := &testCluster{t: t, hosts: map[string]*testHost{}, machine: state.New(), term: 1, changed: make(chan struct{})}
	members := []state.Member{
		{Name: "db1", Kind: state.Data, Incarnation: 1, Voter: true, Addrs: []string{"10.0.0.1"}},
		{Name: "db2", Kind: state.Data, Incarnation: 2, Voter: true, Addrs: []string{"10.0.0.2"}},
		{Name: "web1", Kind: state.Witness, Incarnation: 3, Voter: true, Addrs: []string{"10.0.0.3"}},
	}
	c.apply(&state.ClusterInit{Name: "test", UUID: "u", Members: members, UnixSeconds: 1})
	for _, m := range members {
		c.names = append(c.names, m.Name)
		c.addHost(m)
	}
	t.Cleanup(c.end)
	if config != "" {
		c.push(config)
	}
	return c
}

func (c *testCluster) addHost(m state.Member) {
	h := &testHost{c: c, name: m.Name, running: map[string]string{}, fail: map[string]agent.Code{}, hold: map[string]chan struct{}{}}
	c.hosts[m.Name] = h
	h.boot()
	if m.Kind == state.Data {
		h.join()
	}
}

func (h *testHost) boot() {
	t := h.c.t
	root := paths.Root(t.TempDir())
	if err := os.MkdirAll(root.Run(), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	h.ex, err = executor.Open(executor.Config{Root: root, Node: h.name, Clock: clock.System{}, Agents: h, Sink: h.report,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	logs := slog.New(slog.NewTextHandler(h.logFile(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.ctl = New(Config{Node: h.name, Log: &memberLog{h.c, h.name}, Nodes: &fleet{h.c, h.name}, Clock: clock.System{}, Logs: logs,
		Event: func(name string, attrs map[string]any) { logs.Info(name, "attrs", attrs) }})
	ctx, cancel := context.WithCancel(context.Background())
	h.stop, h.done = cancel, make(chan struct{})
	go func() { defer close(h.done); _ = h.ctl.Run(ctx) }()
}

func (h *testHost) logFile() io.Writer {
	dir := os.Getenv("CONTROLLER_TEST_LOGS")
	if dir == "" {
		return io.Discard
	}
	f, err := os.OpenFile(filepath.Join(dir, strings.ReplaceAll(h.c.t.Name(), "/", "_")+"-"+h.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		h.c.t.Fatal(err)
	}
	h.c.t.Cleanup(func() { _ = f.Close() })
	return f
}

// join begins the node's next lease session.
func (h *testHost) join() {
	session := h.c.view().Leases[h.name].Session + 1
	h.c.must(&state.LeaseStart{Node: h.name, Incarnation: h.c.view().Members[h.name].Incarnation, Session: session})
	h.ex.Resume(session)
}

func (c *testCluster) end() {
	if dir := os.Getenv("CONTROLLER_TEST_LOGS"); dir != "" {
		_ = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(c.t.Name(), "/", "_")+".xml"), c.view().CIB.Bytes(), 0o644)
	}
	for _, n := range c.names {
		h := c.hosts[n]
		h.mu.Lock()
		for _, ch := range h.hold {
			close(ch)
		}
		h.hold = map[string]chan struct{}{}
		h.mu.Unlock()
		h.stop()
		<-h.done
		h.ex.Close()
	}
	if len(c.violations) > 0 {
		c.t.Errorf("violations: %q", c.violations)
	}
}

// The log.

func (c *testCluster) view() *state.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.View()
}

func (c *testCluster) apply(cmd state.Command) state.Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applyLocked(cmd)
}

func (c *testCluster) applyLocked(cmd state.Command) state.Result {
	c.index++
	data, err := state.Encode(state.ID{}, cmd)
	if err != nil {
		c.t.Error(err)
	}
	r := c.machine.Apply(c.index, c.term, data)
	c.wake()
	return r
}

func (c *testCluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *testCluster) must(cmd state.Command) state.Result {
	c.t.Helper()
	r := c.apply(cmd)
	if err := r.Err(); err != nil {
		c.t.Fatalf("%s: %v", state.Verb(cmd), err)
	}
	return r
}

// elect makes a member the leader of the next term.
func (c *testCluster) elect(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term++
	c.leader = name
	c.wake()
}

type memberLog struct {
	c    *testCluster
	name string
}

func (m *memberLog) View() *state.View { return m.c.view() }

func (m *memberLog) Status() raftlog.Status {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	s := raftlog.Status{Leader: m.c.leader, Term: m.c.term, IsLeader: m.c.leader == m.name}
	if s.IsLeader {
		s.LeaderReady = 1
	}
	return s
}

func (m *memberLog) Changed() <-chan struct{} {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.c.changed
}

func (m *memberLog) ProposeInTerm(_ context.Context, term uint64, cmd state.Command) (state.Result, error) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.c.leader != m.name || m.c.term != term {
		return state.Result{}, raftlog.ErrNotLeader
	}
	r := m.c.applyLocked(cmd)
	return r, r.Err()
}

// The network.

var errUnreachable = errors.New("unreachable")

type fleet struct {
	c    *testCluster
	from string
}

func (f *fleet) host(name string) (*testHost, error) {
	h := f.c.hosts[name]
	if h.isDown() || f.c.hosts[f.from].isDown() {
		return nil, errUnreachable
	}
	return h, nil
}

func (h *testHost) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

func (f *fleet) Dispatch(_ context.Context, node string, req executor.Request) error {
	h, err := f.host(node)
	if err != nil {
		return err
	}
	h.mu.Lock()
	deaf := h.deaf
	h.mu.Unlock()
	if deaf {
		return errUnreachable
	}
	return h.ex.Submit(req)
}

func (f *fleet) Active(_ context.Context, node string, term uint64) (executor.Activity, error) {
	h, err := f.host(node)
	if err != nil {
		return executor.Activity{}, err
	}
	return h.ex.Active(term), nil
}

func (f *fleet) Leave(_ context.Context, node string) error {
	h, err := f.host(node)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.left = true
	h.mu.Unlock()
	go func() {
		if err := h.ex.StopAll(context.Background()); err != nil {
			f.c.violate("leave: %v", err)
		}
		f.c.apply(&state.LeaseEnd{Node: node, Session: f.c.view().Leases[node].Session})
	}()
	return nil
}

func (f *fleet) Fence(_ context.Context, node string) error {
	f.c.kill(node)
	f.c.expire(node)
	return nil
}

// report is the executor's sink: to the leader, if it can be reached.
func (h *testHost) report(ctx context.Context, r executor.Report) error {
	h.c.mu.Lock()
	leader := h.c.leader
	h.c.mu.Unlock()
	to := h.c.hosts[leader]
	if to == nil || to.isDown() || h.isDown() {
		return errUnreachable
	}
	err := to.ctl.Report(ctx, r)
	h.mu.Lock()
	lost := h.lost
	if err == nil && failed(&r) && lost != nil {
		h.lost = nil
		err = errUnreachable
	}
	h.mu.Unlock()
	if err == errUnreachable && lost != nil {
		lost()
	}
	return err
}

// kill cuts a host's power: nothing of it is reachable, what it ran is gone.
func (c *testCluster) kill(name string) {
	h := c.hosts[name]
	h.mu.Lock()
	h.down = true
	h.running = map[string]string{}
	h.mu.Unlock()
}

func (c *testCluster) expire(name string) {
	c.mu.Lock()
	term := c.term
	c.mu.Unlock()
	c.must(&state.LeaseExpire{Node: name, Session: c.view().Leases[name].Session, Term: term})
}

// revive boots a killed host again.
func (c *testCluster) revive(name string) {
	h := c.hosts[name]
	h.stop()
	<-h.done
	h.ex.Close()
	h.mu.Lock()
	h.down, h.left = false, false
	h.mu.Unlock()
	h.boot()
	h.join()
}

func (c *testCluster) violate(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.violations = append(c.violations, fmt.Sprintf(format, args...))
}

func (c *testCluster) push(config string) {
	c.t.Helper()
	doc, err := cib.Parse([]byte(`<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" admin_epoch="0" epoch="0" num_updates="0"><configuration>` + config + `</configuration></cib>`))
	if err != nil {
		c.t.Fatal(err)
	}
	c.must(&state.CIBReplace{XML: string(doc.Bytes()), UnixSeconds: 2})
}

func (c *testCluster) adopt(volume string) {
	c.t.Helper()
	c.must(&state.VolumeAdopt{Name: volume, U: []api.Replica{{Node: "db1", DeviceUUID: "d1", Generation: "g0"}, {Node: "db2", DeviceUUID: "d2", Generation: "g0"}}})
}

func (c *testCluster) until(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("waited in vain for %s\n%s\nCIB:\n%s", what, c.describe(), c.view().CIB.Status().Bytes())
		}
	}
}

func (c *testCluster) describe() string {
	var b strings.Builder
	for _, n := range c.names {
		h := c.hosts[n]
		h.mu.Lock()
		fmt.Fprintf(&b, "%s: %v, calls %q\n", n, h.running, h.calls)
		h.mu.Unlock()
	}
	return b.String()
}

// runs waits until exactly the resources given ("drbd_ha=Promoted") run on a host, and the leader has nothing to do.
func (c *testCluster) runs(name string, want ...string) {
	c.t.Helper()
	slices.Sort(want)
	c.until(fmt.Sprintf("%v on %s", want, name), func() bool {
		h := c.hosts[name]
		h.mu.Lock()
		var have []string
		for rsc, st := range h.running {
			have = append(have, rsc+"="+st)
		}
		h.mu.Unlock()
		slices.Sort(have)
		return slices.Equal(have, want)
	})
}

// settled waits until the leader's last decision was that nothing is to be done.
func (c *testCluster) settled() {
	c.t.Helper()
	c.until("the leader to be content", func() bool {
		c.mu.Lock()
		h, index := c.hosts[c.leader], c.index
		c.mu.Unlock()
		return h.ctl.Settled() >= index
	})
}
