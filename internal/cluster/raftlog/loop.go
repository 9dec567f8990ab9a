package raftlog

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
)

// loop is what only the loop's goroutine touches once it runs.
type loop struct {
	raft      *raft.RawNode
	mem       *raft.MemoryStorage
	conf      *raftpb.ConfState
	confNew   bool // the configuration is newer than the last snapshot
	snapIndex uint64
	applied   uint64

	leading     bool
	leaderID    uint64
	leadSince   clock.Boottime
	leaderReady clock.Boottime
	lastCare    clock.Boottime // when membership and leadership were last looked after
	transferAt  clock.Boottime
	changeAt    clock.Boottime // when the last change of the configuration was begun
	snapSince   map[uint64]clock.Boottime

	proposals map[proposalKey]*proposal
	reads     map[uint64]*read
	dirty     bool // something to publish
}

func newLoop(rn *raft.RawNode, mem *raft.MemoryStorage, snap *raftpb.Snapshot) loop {
	return loop{raft: rn, mem: mem, conf: snap.GetMetadata().GetConfState(), snapIndex: snap.GetMetadata().GetIndex(),
		applied: snap.GetMetadata().GetIndex(), snapSince: make(map[uint64]clock.Boottime),
		proposals: make(map[proposalKey]*proposal), reads: make(map[uint64]*read)}
}

// run is the loop. It ends when the node is stopped or has failed.
func (n *Node) run() {
	err := n.serve()
	if err != nil {
		n.cfg.Log.Error("the cluster's log has failed; this daemon must end", "error", err)
		n.fatal <- err
	} else if h := n.raft.BasicStatus().HardState; !raft.IsEmptyHardState(h) {
		// The commit index is not synced with every entry; a clean stop keeps it.
		if err := n.store.save(batch{hard: h}); err != nil {
			n.cfg.Log.Warn("stop the cluster's log", "error", err)
		}
	}
	if err := n.store.close(); err != nil {
		n.cfg.Log.Warn("close the cluster's log", "error", err)
	}
	close(n.done)
}

// serve turns the loop. A panic of the Raft library ends it.
func (n *Node) serve() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = n.condemn(fmt.Sprint(p), debug.Stack())
		}
	}()
	ticker := time.NewTicker(n.cfg.TickEvery)
	defer ticker.Stop()
	for {
		if err := n.drain(); err != nil {
			return err
		}
		select {
		case <-n.stop:
			return nil
		case <-ticker.C:
			n.tick()
		case m := <-n.inbox:
			n.step(m)
		case f := <-n.ops:
			f()
		case why := <-n.retired:
			return n.retireNow(why)
		}
		n.stepQueued()
	}
}

// rolledBack is in the message with which the Raft library finds that the group counts on entries this log does not have.
const rolledBack = "Was the raft log corrupted, truncated, or lost?"

// condemn ends the node after a panic. If the group counts on entries this host has confirmed and lost, the log is
// retired: it comes up as a new member after a restart. Any other panic is a defect, which must not cost a vote.
func (n *Node) condemn(why string, stack []byte) error {
	if !strings.Contains(why, rolledBack) {
		return fmt.Errorf("the cluster's log stopped on a defect: %s\n%s", why, stack)
	}
	if err := n.store.retire(why); err != nil {
		return fmt.Errorf("the cluster's log lacks entries this host once confirmed (%s), and could not be retired: %w", why, err)
	}
	return fmt.Errorf("the cluster's log lacks entries this host once confirmed (%s): its disk was probably put back to an earlier state; the log is retired, and this host will be taken in as a new member after a restart of the daemon", why)
}

func (n *Node) tick() {
	n.raft.Tick()
	now := n.cfg.Clock.Boottime()
	n.retryProposals(now)
	n.retryReads(now)
	if n.leading && now.Sub(n.lastCare) >= cluster.CareEvery {
		n.lastCare = now
		n.care(now)
	}
}

func (n *Node) step(m *raftpb.Message) {
	if err := n.raft.Step(m); err != nil {
		n.cfg.Log.Debug("dropped a Raft message", "from", idText(m.GetFrom()), "type", m.GetType().String(), "error", err)
	}
}

// stepQueued takes in what else has arrived, so that one write to disk serves it all.
func (n *Node) stepQueued() {
	for range cluster.RaftInbox {
		select {
		case m := <-n.inbox:
			n.step(m)
		default:
			return
		}
	}
}

// drain does what Raft wants done until it wants nothing.
func (n *Node) drain() error {
	for n.raft.HasReady() {
		rd := n.raft.Ready()
		if err := n.handle(rd); err != nil {
			return err
		}
		n.raft.Advance(rd)
	}
	if n.dirty {
		n.dirty = false
		n.publish()
		n.answerReads()
	}
	return nil
}

// handle carries out one Ready: disk before messages, but for the leader's appends, whose entries the followers may
// write at the same time as we do.
func (n *Node) handle(rd raft.Ready) error {
	n.noteSoft(rd.SoftState)
	early, late := n.splitMessages(rd)
	n.send(early)
	if err := n.persist(rd); err != nil {
		return err
	}
	n.send(late)
	if err := n.apply(rd); err != nil {
		return err
	}
	for _, r := range rd.ReadStates {
		n.readAt(r)
	}
	return n.snapshotIfDue()
}

// splitMessages separates the messages that need not wait for this batch's write.
func (n *Node) splitMessages(rd raft.Ready) (early, late []*raftpb.Message) {
	if !n.leading || rd.Snapshot != nil && !raft.IsEmptySnap(rd.Snapshot) || n.newVote(rd.HardState) {
		return nil, rd.Messages
	}
	for _, m := range rd.Messages {
		switch m.GetType() {
		case raftpb.MsgApp, raftpb.MsgHeartbeat:
			early = append(early, m)
		default:
			late = append(late, m)
		}
	}
	return early, late
}

// newVote tells whether term or vote differ from what is on disk.
func (n *Node) newVote(h *raftpb.HardState) bool {
	return h != nil && (h.GetTerm() != n.store.hard.GetTerm() || h.GetVote() != n.store.hard.GetVote())
}

func (n *Node) persist(rd raft.Ready) error {
	b := batch{entries: rd.Entries}
	if !raft.IsEmptySnap(rd.Snapshot) {
		b.snap, b.received = rd.Snapshot, true
	}
	if !raft.IsEmptyHardState(rd.HardState) && (rd.MustSync || b.snap != nil) {
		b.hard = rd.HardState
	}
	if b.hard != nil || b.snap != nil || len(b.entries) > 0 {
		if err := n.store.save(b); err != nil {
			return err
		}
	}
	if b.hard != nil {
		n.store.hard = b.hard
	}
	if b.snap != nil {
		if err := n.install(b.snap); err != nil {
			return err
		}
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		if err := n.mem.SetHardState(rd.HardState); err != nil {
			return fmt.Errorf("keep the Raft state: %w", err)
		}
	}
	if err := n.mem.Append(rd.Entries); err != nil {
		return fmt.Errorf("keep the log in memory: %w", err)
	}
	return nil
}

// install replaces the state by a snapshot from the leader.
func (n *Node) install(snap *raftpb.Snapshot) error {
	if err := n.mem.ApplySnapshot(snap); err != nil {
		return fmt.Errorf("install the leader's snapshot: %w", err)
	}
	if err := n.machine.Restore(snap.GetData()); err != nil {
		return fmt.Errorf("install the leader's snapshot: %w", err)
	}
	meta := snap.GetMetadata()
	n.conf, n.applied, n.snapIndex, n.dirty = meta.GetConfState(), meta.GetIndex(), meta.GetIndex(), true
	n.cfg.Log.Info("installed a snapshot from the leader", "index", meta.GetIndex())
	return nil
}

func (n *Node) apply(rd raft.Ready) error {
	for _, e := range rd.CommittedEntries {
		if err := n.applyEntry(e); err != nil {
			return err
		}
		n.applied, n.dirty = e.GetIndex(), true
		if n.leading && n.leaderReady == 0 && e.GetTerm() == n.raft.BasicStatus().HardState.GetTerm() {
			n.leaderReady = n.cfg.Clock.Boottime()
		}
	}
	return nil
}

func (n *Node) applyEntry(e *raftpb.Entry) error {
	switch e.GetType() {
	case raftpb.EntryConfChange, raftpb.EntryConfChangeV2:
		n.machine.Skip(e.GetIndex())
		return n.applyConf(e)
	}
	if len(e.GetData()) == 0 {
		n.machine.Skip(e.GetIndex())
		return nil
	}
	result := n.machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData())
	if result.Unsupported != "" {
		return fmt.Errorf("entry %d of the cluster's log: %s: install the version of holdfast the other members run", e.GetIndex(), result.Unsupported)
	}
	n.settle(result)
	return nil
}

func (n *Node) applyConf(e *raftpb.Entry) error {
	cc := &raftpb.ConfChangeV2{}
	if e.GetType() == raftpb.EntryConfChange {
		var v1 raftpb.ConfChange
		if err := proto.Unmarshal(e.GetData(), &v1); err != nil {
			return fmt.Errorf("entry %d of the cluster's log: %w", e.GetIndex(), err)
		}
		cc = v1.AsV2()
	} else if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		return fmt.Errorf("entry %d of the cluster's log: %w", e.GetIndex(), err)
	}
	n.conf, n.changeAt, n.confNew = n.raft.ApplyConfChange(cc), 0, true
	n.cfg.Log.Info("the cluster's voters changed", "voters", ids(n.conf.GetVoters()), "learners", ids(n.conf.GetLearners()), "index", e.GetIndex())
	return nil
}

// snapshotIfDue writes a snapshot after every cluster.SnapshotEntries entries and drops what it covers; also after a
// change of the configuration, since Raft gives a new member only a snapshot that names it.
func (n *Node) snapshotIfDue() error {
	if n.applied < n.snapIndex+cluster.SnapshotEntries && !n.confNew {
		return nil
	}
	n.confNew = false
	data := n.machine.Snapshot()
	if len(data) > cluster.MaxSnapshot {
		n.cfg.Log.Error("the cluster's state is too large for a snapshot; the log grows", "bytes", len(data), "limit", cluster.MaxSnapshot)
		n.snapIndex = n.applied
		return nil
	}
	snap, err := n.mem.CreateSnapshot(n.applied, n.conf, data)
	if err != nil {
		return fmt.Errorf("make a snapshot of the cluster's state: %w", err)
	}
	if err := n.store.save(batch{snap: snap, hard: n.raft.BasicStatus().HardState}); err != nil {
		return err
	}
	n.snapIndex = n.applied
	if n.applied > cluster.SnapshotTrailing {
		if err := n.mem.Compact(n.applied - cluster.SnapshotTrailing); err != nil && err != raft.ErrCompacted {
			return fmt.Errorf("compact the log: %w", err)
		}
	}
	return nil
}

// noteSoft follows who leads.
func (n *Node) noteSoft(s *raft.SoftState) {
	if s == nil {
		return
	}
	n.dirty = true
	leading := s.RaftState == raft.StateLeader
	if leading != n.leading {
		n.leading, n.leaderReady, n.leadSince = leading, 0, n.cfg.Clock.Boottime()
		n.snapSince = make(map[uint64]clock.Boottime)
		if !leading {
			n.dropTermBound()
		}
	}
	if s.Lead != n.leaderID {
		n.leaderID = s.Lead
		n.cfg.Log.Info("leader", "name", n.nameOf(s.Lead), "term", n.raft.BasicStatus().HardState.GetTerm())
		n.resendAll()
	}
}

func (n *Node) raftStatus() Status {
	b := n.raft.BasicStatus()
	s := Status{Term: b.HardState.GetTerm(), IsLeader: b.RaftState == raft.StateLeader, LeaderReady: n.leaderReady,
		Applied: n.applied, Committed: b.HardState.GetCommit(),
		Voters: slices.Sorted(slices.Values(n.conf.GetVoters())), Learners: slices.Sorted(slices.Values(n.conf.GetLearners()))}
	if b.Lead != raft.None {
		s.Leader = n.nameOf(b.Lead)
	}
	return s
}

// send groups messages by receiver and hands them to the links.
func (n *Node) send(msgs []*raftpb.Message) {
	var order []uint64
	byID := make(map[uint64][]*raftpb.Message)
	for _, m := range msgs {
		if _, ok := byID[m.GetTo()]; !ok {
			order = append(order, m.GetTo())
		}
		byID[m.GetTo()] = append(byID[m.GetTo()], m)
	}
	for _, id := range order {
		if name := n.lookup(id); name != "" {
			n.cfg.Send(name, byID[id])
		}
	}
}

func ids(list []uint64) []string {
	var out []string
	for _, id := range list {
		out = append(out, idText(id))
	}
	return out
}
