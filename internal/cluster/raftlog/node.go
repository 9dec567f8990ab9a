// Package raftlog runs this host's part of the cluster's Raft group: go.etcd.io/raft over a bbolt file, applied to one
// state.Machine.
//
// One goroutine owns Raft, the file and the machine. Everything else sees immutable state.Views and a Status. A host's
// Raft ID is its incarnation, drawn together with the log file: a host whose log was lost, damaged or restored from a
// copy comes up as somebody new, without a vote, and is taken in again by the others (DESIGN, Votes).
package raftlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
)

// Config is what a Node needs.
type Config struct {
	// Dir holds the log (paths.Root.Lib).
	Dir string
	// Name of this member.
	Name  string
	Clock clock.Source
	Log   *slog.Logger
	// Send hands messages for one member to the links. It must not block; what it drops Raft sends again.
	Send func(to string, msgs []*raftpb.Message)
	// TickEvery is Raft's tick; 0 means cluster.TickEvery.
	TickEvery time.Duration
	// MayTransfer is asked before leadership is handed on; nil means always. It must not block.
	MayTransfer func() bool
}

// Founder is a member of a cluster being founded.
type Founder struct {
	Name string `json:"name"`
	// Incarnation is Node.Incarnation of that host.
	Incarnation uint64 `json:"incarnation"`
}

// Status is what a Node knows of its group.
type Status struct {
	// Leader is the leader's name, empty when none is known; Term is the present Raft term.
	Leader   string
	Term     uint64
	IsLeader bool
	// LeaderReady is when, on CLOCK_BOOTTIME, this leader applied the first entry of its own term; 0 on others and before.
	LeaderReady clock.Boottime
	// Applied and Committed are log indexes.
	Applied, Committed uint64
	// Voters and Learners are the Raft IDs of the configuration applied last, sorted.
	Voters, Learners []uint64
}

// Errors of proposals and reads. Wrapped ones tell more.
var (
	// ErrNoLeader: the proposal was not made, since no leader is known.
	ErrNoLeader = errors.New("the cluster has no leader now")
	// ErrNotLeader: only the leader may do this.
	ErrNotLeader = errors.New("this host is not the cluster's leader")
	// ErrUnknownOutcome: the proposal was made, and may or may not have been applied, or may yet be.
	ErrUnknownOutcome = errors.New("whether the cluster accepted it is not known")
	// ErrStopped: the node was stopped or has failed.
	ErrStopped = errors.New("the cluster's log is stopped")
	// ErrNotFounded: this host's log belongs to no cluster.
	ErrNotFounded = errors.New("this host's log belongs to no cluster yet")
	// ErrNotFounder: the founders' list has another incarnation of this host.
	ErrNotFounder = errors.New("this host's log was made anew since the cluster was founded")
)

// Node is this host's part of the group.
type Node struct {
	cfg     Config
	store   *store
	machine *state.Machine
	origin  uint64 // of this process's proposals

	view   atomic.Pointer[state.View]
	status atomic.Pointer[Status]

	mu      sync.Mutex
	changed chan struct{}
	started bool
	names   map[uint64]string // Raft IDs as heard from members and given by the founders

	seq   atomic.Uint64
	inbox chan *raftpb.Message
	ops   chan func()
	stop  chan struct{}
	done  chan struct{}
	fatal chan error
	// retired is why the log is to be given up.
	retired chan string

	loop // what only the loop's goroutine touches
}

// Open opens or makes the log in cfg.Dir and brings the machine to its last known state. The node does nothing until
// Start.
func Open(cfg Config) (*Node, error) {
	if cfg.TickEvery == 0 {
		cfg.TickEvery = cluster.TickEvery
	}
	st, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	n := newNode(cfg, st)
	if st.fresh != "" {
		cfg.Log.Info("made a new cluster log", "dir", cfg.Dir, "incarnation", idText(st.incarnation), "reason", st.fresh)
	}
	if err := n.prepare(); err != nil {
		st.close()
		return nil, err
	}
	return n, nil
}

func newNode(cfg Config, st *store) *Node {
	return &Node{cfg: cfg, store: st, machine: state.New(), origin: drawOrigin(), changed: make(chan struct{}), names: make(map[uint64]string),
		inbox: make(chan *raftpb.Message, cluster.RaftInbox), ops: make(chan func()),
		stop: make(chan struct{}), done: make(chan struct{}), fatal: make(chan error, 1), retired: make(chan string)}
}

// prepare restores the machine from the snapshot and builds Raft on the log.
func (n *Node) prepare() error {
	if data := n.store.snap.GetData(); len(data) > 0 {
		if err := n.machine.Restore(data); err != nil {
			return fmt.Errorf("open the cluster's log: %w", err)
		}
	}
	mem, err := n.store.copied()
	if err != nil {
		return err
	}
	rn, err := raft.NewRawNode(n.raftConfig(mem))
	if err != nil {
		return fmt.Errorf("open the cluster's log: %w", err)
	}
	n.loop = newLoop(rn, mem, n.store.snap)
	for id, name := range n.store.founders {
		n.names[id] = name
	}
	n.publish()
	return nil
}

func (n *Node) raftConfig(mem *raft.MemoryStorage) *raft.Config {
	return &raft.Config{
		ID: n.store.incarnation, ElectionTick: cluster.ElectionTicks, HeartbeatTick: cluster.RaftHeartbeatTicks,
		Storage: mem, Applied: n.store.snap.GetMetadata().GetIndex(),
		MaxSizePerMsg: cluster.MaxAppendBytes, MaxInflightMsgs: cluster.MaxInflightAppends,
		MaxUncommittedEntriesSize: cluster.MaxUncommittedBytes,
		CheckQuorum:               true, PreVote: true, ReadOnlyOption: raft.ReadOnlySafe, StepDownOnRemoval: true,
		Logger: raftLogger{n.cfg.Log},
	}
}

// Incarnation is this host's Raft ID, drawn together with its log.
func (n *Node) Incarnation() uint64 { return n.store.incarnation }

// Fresh says why the log was made anew when it was opened, empty if it was there before.
func (n *Node) Fresh() string { return n.store.fresh }

// Founded tells whether the log belongs to a cluster: it was bootstrapped, or got entries from a leader.
func (n *Node) Founded() bool { return n.Status().Applied > 0 || n.Status().Term > 0 }

// Bootstrap founds the cluster on this host, before Start: the same list on every founder. It does nothing if the log
// belongs to a cluster already, and fails with ErrNotFounder if the list knows another incarnation of this host, which
// then has to be taken in by the others (AddMember).
func (n *Node) Bootstrap(founders []Founder) error {
	if !n.store.empty() {
		return nil
	}
	founders = slices.Clone(founders)
	names := make(map[uint64]string, len(founders))
	conf := &raftpb.ConfState{}
	for _, f := range founders {
		names[f.Incarnation] = f.Name
		conf.Voters = append(conf.Voters, f.Incarnation)
	}
	slices.Sort(conf.Voters)
	if names[n.store.incarnation] != n.cfg.Name {
		return fmt.Errorf("found the cluster on %s: %w (it is %s now)", n.cfg.Name, ErrNotFounder, idText(n.store.incarnation))
	}
	// Every founder begins with the same first entry, already compacted: it holds nothing but the configuration.
	one, term := uint64(1), uint64(1)
	snap := &raftpb.Snapshot{Data: state.New().Snapshot(), Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: &one, Term: &term}}
	hard := &raftpb.HardState{Term: &term, Commit: &one}
	if err := n.store.save(batch{hard: hard, snap: snap, received: true, founders: names}); err != nil {
		return fmt.Errorf("found the cluster on %s: %w", n.cfg.Name, err)
	}
	n.store.snap, n.store.hard, n.store.founders = snap, hard, names
	return n.prepare()
}

// Start runs the node until Stop or a fatal error.
func (n *Node) Start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.started {
		n.started = true
		go n.run()
	}
}

// Stop ends the node and closes the log. It returns what kept the log from being closed well.
func (n *Node) Stop() error {
	n.mu.Lock()
	started := n.started
	n.started = true
	select {
	case <-n.stop:
	default:
		close(n.stop)
	}
	n.mu.Unlock()
	if !started {
		close(n.done)
		return n.store.close()
	}
	select {
	case <-n.done:
	case <-time.After(cluster.StopTimeout):
		return fmt.Errorf("stop the cluster's log: its disk has not answered for %s", cluster.StopTimeout)
	}
	return nil
}

// Fatal delivers the error that ended the node, if one did: the log cannot be written, or must not be continued. There
// is no retry; the daemon is to end.
func (n *Node) Fatal() <-chan error { return n.fatal }

// View is the state as applied here last. Use ReadIndex first where it must not be old.
func (n *Node) View() *state.View { return n.view.Load() }

// Status is what the node knows of the group now.
func (n *Node) Status() Status { return *n.status.Load() }

// Leader names the leader (empty when none is known) and the term.
func (n *Node) Leader() (name string, term uint64) {
	s := n.Status()
	return s.Leader, s.Term
}

// IsLeader tells whether this host leads.
func (n *Node) IsLeader() bool { return n.Status().IsLeader }

// Changed returns a channel that is closed when View or Status next changes. Take it before reading them.
func (n *Node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// WaitFor waits until ok holds of the view and status.
func (n *Node) WaitFor(ctx context.Context, ok func(*state.View, Status) bool) error {
	for {
		changed := n.Changed()
		if ok(n.View(), n.Status()) {
			return nil
		}
		select {
		case <-changed:
		case <-n.done:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Step takes in a Raft message that came over the authenticated link of the member from. It never blocks: what does not
// fit is dropped, and Raft sends it again.
func (n *Node) Step(from string, m *raftpb.Message) {
	if m.GetTo() != n.store.incarnation {
		return // for an earlier incarnation of this host: what that one promised is not ours to keep
	}
	if known, ok := n.View().MemberByIncarnation(m.GetFrom()); ok && known.Name != from {
		n.cfg.Log.Warn("dropped a Raft message under another member's identity", "from", from, "identity", known.Name)
		return
	}
	n.learnName(m.GetFrom(), from)
	select {
	case n.inbox <- m:
	default:
	}
}

// do runs f on the loop's goroutine and waits for it.
func (n *Node) do(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case n.ops <- func() { f(); close(ran) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-n.done:
		return ErrStopped
	}
	select {
	case <-ran:
		return nil
	case <-n.done:
		return ErrStopped
	}
}

// publish shows the machine's and Raft's state to readers.
func (n *Node) publish() {
	s := n.raftStatus()
	n.view.Store(n.machine.View())
	n.status.Store(&s)
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

func drawOrigin() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails, by its documentation
	return binary.BigEndian.Uint64(b[:]) | 1
}

func idText(id uint64) string { return fmt.Sprintf("%016x", id) }
