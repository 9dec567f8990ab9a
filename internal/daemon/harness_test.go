package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/guard"
	"holdfast/internal/paths"
)

// The test binary is also the program the daemon starts: `volume RES --root R` is a volume process that stores nothing,
// `guard --root R` is the guard, `daemon NODE --root R` a whole daemon.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		os.Exit(m.Run())
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	root := paths.Root(os.Args[len(os.Args)-1])
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	var err error
	switch os.Args[1] {
	case "volume":
		err = helpVolume(root, os.Args[2])
	case "guard":
		err = guard.Run(ctx, guard.Config{Root: root, Clock: clock.System{}, Log: log})
	case "daemon":
		err = Run(ctx, Config{Root: root, Node: os.Args[2], Clock: clock.System{}, Log: log})
	default:
		err = fmt.Errorf("the test program does not know %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// testRoot is a root with cgroups, in which processes can be started.
func testRoot(t *testing.T) paths.Root {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the daemon's processes need root")
	}
	root := agenttest.NewRoot(t)
	agenttest.Cgroups(t, root)
	return root
}

// starter starts this test binary.
func starter(root paths.Root) *spawner {
	return &spawner{root: root, binary: os.Args[0], log: quiet()}
}

// volumeServer speaks the volume process's side of the control socket: it says hello, keeps what it is told and answers
// as it is told to.
type volumeServer struct {
	resource string
	pid      int
	listener net.Listener
	// answer gives the reply to a verb; false: none is sent.
	answer func(api.VolumeDo) (api.VolumeReply, bool)
	// heard is called with every verb and view, in order, after with every verb when it has been answered; may be nil.
	heard func(api.VolumeMessage)
	after func(api.VolumeDo)

	mu    sync.Mutex
	conn  net.Conn
	did   []api.VolumeDo
	views []api.VolumeView
}

func accept(api.VolumeDo) (api.VolumeReply, bool) { return api.VolumeReply{}, true }

// listenVolume opens a volume's socket.
func listenVolume(root paths.Root, resource string, pid int) (*volumeServer, error) {
	path := root.VolumeSocket(resource)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return &volumeServer{resource: resource, pid: pid, listener: l, answer: accept}, nil
}

// serve takes one daemon after the other until the listener is closed.
func (s *volumeServer) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.talk(conn)
		conn.Close()
	}
}

func (s *volumeServer) talk(conn net.Conn) {
	var m api.VolumeMessage
	if api.ReadFrame(conn, &m) != nil || m.Hello == nil {
		return
	}
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	s.say(api.VolumeMessage{Hello: &api.VolumeHello{Version: api.VolumeProtocol, Resource: s.resource, PID: s.pid}})
	for {
		var m api.VolumeMessage
		if api.ReadFrame(conn, &m) != nil {
			return
		}
		s.take(m)
	}
}

func (s *volumeServer) take(m api.VolumeMessage) {
	s.mu.Lock()
	if m.Do != nil {
		s.did = append(s.did, *m.Do)
	}
	if m.View != nil {
		s.views = append(s.views, *m.View)
	}
	s.mu.Unlock()
	if s.heard != nil {
		s.heard(m)
	}
	if m.Do == nil {
		return
	}
	if r, ok := s.answer(*m.Do); ok {
		s.say(api.VolumeMessage{ID: m.ID, Reply: &r})
	}
	if s.after != nil {
		s.after(*m.Do)
	}
}

// say sends a message to the daemon that is connected.
func (s *volumeServer) say(m api.VolumeMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = api.WriteFrame(s.conn, m) // the daemon has gone: the next one is told
}

func (s *volumeServer) verbs() []api.VolumeDo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.did)
}

func (s *volumeServer) told() []api.VolumeView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.views)
}

// die is what the end of the process looks like from the daemon.
func (s *volumeServer) die() {
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
	}
}

// serveVolume runs a volume's server in this process until the test ends.
func serveVolume(t *testing.T, root paths.Root, resource string) *volumeServer {
	t.Helper()
	s, err := listenVolume(root, resource, os.Getpid())
	agenttest.Must(t, err)
	var wg sync.WaitGroup
	wg.Go(s.serve)
	t.Cleanup(func() {
		s.die()
		wg.Wait()
	})
	return s
}

// helpVolume is the volume process: it writes every verb to a journal, reports its state after each, and ends after down. Like
// the real one it begins without a disk, and as what it was after up and a moment. With a file broken-RES in the run directory
// it does not start.
func helpVolume(root paths.Root, resource string) error {
	if _, err := os.Stat(brokenFile(root, resource)); err == nil {
		return errors.New("the disk is not there")
	}
	s, err := listenVolume(root, resource, os.Getpid())
	if err != nil {
		return err
	}
	journal, err := os.OpenFile(journalFile(root, resource), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	s.heard = func(m api.VolumeMessage) {
		if m.Do != nil {
			fmt.Fprintf(journal, "%d %s\n", os.Getpid(), m.Do.Verb)
		}
		if m.View != nil {
			s.say(api.VolumeMessage{Status: &api.VolumeStatus{Resource: resource, PID: os.Getpid(), Role: "Secondary", Disk: "Diskless"}})
		}
	}
	s.answer = func(d api.VolumeDo) (api.VolumeReply, bool) {
		s.say(api.VolumeMessage{Status: &api.VolumeStatus{Resource: resource, PID: os.Getpid(), Role: "Secondary", Disk: "UpToDate", Resuming: true}})
		return api.VolumeReply{}, true
	}
	down := make(chan struct{})
	s.after = func(d api.VolumeDo) {
		s.say(api.VolumeMessage{Status: &api.VolumeStatus{Resource: resource, PID: os.Getpid(), Role: "Primary", Disk: "UpToDate"}})
		if d.Verb == api.VolumeDown {
			close(down)
		}
	}
	go s.serve()
	<-down
	return nil
}

func brokenFile(root paths.Root, resource string) string {
	return filepath.Join(root.Run(), "broken-"+resource)
}

func journalFile(root paths.Root, resource string) string {
	return filepath.Join(root.Run(), "journal-"+resource)
}

// journal is what the volume processes of a resource were asked: "PID VERB" a line.
func journal(t *testing.T, root paths.Root, resource string) []string {
	t.Helper()
	text, err := os.ReadFile(journalFile(root, resource))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// events collects timeline events.
type events struct {
	mu   sync.Mutex
	seen []string
}

func (e *events) Event(name string, attrs map[string]any) {
	text, err := json.Marshal(attrs)
	if err != nil {
		panic(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, name+" "+string(text))
}

func (e *events) has(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.seen, func(s string) bool { return strings.HasPrefix(s, name+" ") })
}

// machineLog is the cluster's log with the real state machine and without the network: one process, every proposal
// applied at once. The hooks stand for what the network does.
type machineLog struct {
	mu       sync.Mutex
	machine  *state.Machine
	index    uint64
	status   raftlog.Status
	applied  []string // verbs of the commands applied or refused, in order
	lost     int      // so many proposals get no answer and are not applied
	readGate func(ctx context.Context) error
	reads    int
}

// newMachineLog is the log of a cluster of data members a and b and witness w, each in lease session 1, with node a
// leading in term 1.
func newMachineLog(t *testing.T) *machineLog {
	t.Helper()
	l := emptyMachineLog(t)
	for i, n := range []string{"a", "b", "w"} {
		l.must(t, &state.LeaseStart{Node: n, Incarnation: uint64(i + 1), Session: 1})
	}
	return l
}

// emptyMachineLog is newMachineLog before anybody has a lease.
func emptyMachineLog(t *testing.T) *machineLog {
	t.Helper()
	l := &machineLog{machine: state.New(), status: raftlog.Status{Leader: "a", Term: 1, IsLeader: true, LeaderReady: 1}}
	members := []state.Member{
		{Name: "a", Kind: state.Data, Incarnation: 1, Voter: true, NodeID: 1, Addrs: []string{"10.0.0.1"}},
		{Name: "b", Kind: state.Data, Incarnation: 2, Voter: true, NodeID: 2, Addrs: []string{"10.0.0.2"}},
		{Name: "w", Kind: state.Witness, Incarnation: 3, Voter: true, Addrs: []string{"10.0.0.3"}},
	}
	l.must(t, &state.ClusterInit{Name: "c", UUID: "u", Members: members, UnixSeconds: 1})
	return l
}

func (l *machineLog) must(t *testing.T, c state.Command) {
	t.Helper()
	if _, err := l.Propose(t.Context(), c); err != nil {
		t.Fatalf("%s: %v", state.Verb(c), err)
	}
}

// Propose applies a command through its encoding.
func (l *machineLog) Propose(_ context.Context, c state.Command) (state.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		l.lost--
		return state.Result{}, raftlog.ErrUnknownOutcome
	}
	data, err := state.Encode(state.ID{}, c)
	if err != nil {
		return state.Result{}, err
	}
	l.index++
	r := l.machine.Apply(l.index, l.status.Term, data)
	l.applied = append(l.applied, state.Verb(c))
	return r, r.Err()
}

// ProposeInTerm proposes only while this node leads in the term.
func (l *machineLog) ProposeInTerm(ctx context.Context, term uint64, c state.Command) (state.Result, error) {
	if st := l.Status(); !st.IsLeader || st.Term != term {
		return state.Result{}, raftlog.ErrNotLeader
	}
	return l.Propose(ctx, c)
}

// View is the present state.
func (l *machineLog) View() *state.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machine.View()
}

// Status is what the test has set.
func (l *machineLog) Status() raftlog.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// ReadIndex passes the gate the test has set.
func (l *machineLog) ReadIndex(ctx context.Context) (uint64, error) {
	l.mu.Lock()
	l.reads++
	gate := l.readGate
	l.mu.Unlock()
	if gate != nil {
		if err := gate(ctx); err != nil {
			return 0, err
		}
	}
	return 1, nil
}

func (l *machineLog) set(f func(*machineLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l)
}

// count is how often a verb got into the log.
func (l *machineLog) count(verb string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, v := range l.applied {
		if v == verb {
			n++
		}
	}
	return n
}

var _ raftNode = (*machineLog)(nil)
