package raftlog

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/quorum"
	"holdfast/internal/cluster/state"
)

// Admit records a member: a new one, or the new incarnation of one that lost its log. The leader then takes the
// incarnation in as a learner and, when it has caught up, lets it vote if the member's kind does (see care). It works on
// every host that has a leader; Voter and NodeID of m are not looked at.
func (n *Node) Admit(ctx context.Context, m state.Member) error {
	if _, err := n.ReadIndex(ctx); err != nil {
		return fmt.Errorf("admit %s: %w", m.Name, err)
	}
	known, ok := n.View().Members[m.Name]
	if !ok {
		m.Voter, m.NodeID = false, 0
		_, err := n.Propose(ctx, &state.MemberAdd{Member: m})
		return err
	}
	if known.Incarnation != m.Incarnation {
		if _, err := n.Propose(ctx, &state.MemberIncarnation{Name: m.Name, Incarnation: m.Incarnation}); err != nil {
			return err
		}
	}
	_, err := n.Propose(ctx, &state.MemberUpdate{Name: m.Name, Addrs: m.Addrs, Fingerprint: m.Fingerprint, Version: m.Version})
	return err
}

// Expel forgets a member; the leader then takes it out of Raft's configuration.
func (n *Node) Expel(ctx context.Context, name string) error {
	_, err := n.Propose(ctx, &state.MemberRemove{Name: name})
	return err
}

// TransferLeadership asks this leader to hand over to the member named. It returns when the handing over has begun; watch
// Status for the outcome.
func (n *Node) TransferLeadership(ctx context.Context, to string) error {
	var err error
	if stopped := n.do(ctx, func() { err = n.transferTo(to) }); stopped != nil {
		err = stopped
	}
	if err != nil {
		return fmt.Errorf("hand leadership to %s: %w", to, err)
	}
	return nil
}

func (n *Node) transferTo(to string) error {
	m, ok := n.machine.View().Members[to]
	switch {
	case !n.leading:
		return ErrNotLeader
	case !ok:
		return fmt.Errorf("it is no member of the cluster")
	case !m.Voter:
		return fmt.Errorf("it has no vote")
	}
	n.raft.TransferLeader(m.Incarnation)
	return nil
}

// care is the leader's housekeeping, every cluster.CareEvery: Raft's configuration follows the members on record,
// snapshots that were lost are sent again, leadership goes to whom it shall.
func (n *Node) care(now clock.Boottime) {
	view := n.machine.View()
	if n.leaderReady == 0 || view.Cluster.UUID == "" {
		return
	}
	st := n.raft.Status()
	n.renewSnapshots(st, now)
	if now.Sub(n.changeAt) >= cluster.ConfChangeRetry {
		n.carryOut(n.nextChange(view, st), now)
	}
	n.handOn(view, st, now)
}

func (n *Node) nextChange(view *state.View, st raft.Status) quorum.Change {
	var members []quorum.Member
	for _, name := range view.MemberNames() {
		m := view.Members[name]
		if m.Incarnation == 0 { // lost with a former branch, and not taken in again yet
			continue
		}
		members = append(members, quorum.Member{Name: name, Incarnation: m.Incarnation, Votes: m.Kind != state.Follower, Recorded: m.Voter})
	}
	conf := quorum.Config{Voters: n.conf.GetVoters(), Learners: n.conf.GetLearners(), Joint: len(n.conf.GetVotersOutgoing()) > 0}
	return quorum.NextChange(members, conf, func(id uint64) bool { return n.caughtUp(st, id) })
}

// caughtUp tells whether a follower has nearly all of the log and was heard from lately.
func (n *Node) caughtUp(st raft.Status, id uint64) bool {
	p, ok := st.Progress[id]
	last, err := n.mem.LastIndex()
	return ok && err == nil && p.RecentActive && p.State == tracker.StateReplicate && p.Match+cluster.LearnerLag >= last
}

// carryOut begins a change. It is begun again after cluster.ConfChangeRetry if it is still the next one to make.
func (n *Node) carryOut(c quorum.Change, now clock.Boottime) {
	if c.Do == quorum.None {
		return
	}
	n.changeAt = now
	n.cfg.Log.Info("change of the cluster's voters", "do", string(c.Do), "name", c.Name, "incarnation", idText(c.Incarnation), "old", idText(c.Old))
	if c.Do == quorum.Record {
		n.record(c)
		return
	}
	if err := n.raft.ProposeConfChange(&raftpb.ConfChangeV2{Changes: singles(c)}); err != nil {
		n.cfg.Log.Warn("change of the cluster's voters", "do", string(c.Do), "name", c.Name, "error", err)
	}
}

func (n *Node) record(c quorum.Change) {
	id := state.ID{Origin: n.origin, Seq: n.seq.Add(1), After: n.machine.View().Index}
	data, err := state.Encode(id, &state.MemberIncarnation{Name: c.Name, Incarnation: c.Incarnation, Voter: c.Voter})
	if err == nil {
		err = n.raft.Propose(data)
	}
	if err != nil {
		n.cfg.Log.Warn("record a vote", "name", c.Name, "error", err)
	}
}

func singles(c quorum.Change) []*raftpb.ConfChangeSingle {
	single := func(t raftpb.ConfChangeType, id uint64) *raftpb.ConfChangeSingle {
		return &raftpb.ConfChangeSingle{Type: &t, NodeId: &id}
	}
	switch c.Do {
	case quorum.AddLearner:
		return []*raftpb.ConfChangeSingle{single(raftpb.ConfChangeAddLearnerNode, c.Incarnation)}
	case quorum.Promote:
		return []*raftpb.ConfChangeSingle{single(raftpb.ConfChangeAddNode, c.Incarnation)}
	case quorum.Replace:
		return []*raftpb.ConfChangeSingle{single(raftpb.ConfChangeAddNode, c.Incarnation), single(raftpb.ConfChangeRemoveNode, c.Old)}
	}
	return []*raftpb.ConfChangeSingle{single(raftpb.ConfChangeRemoveNode, c.Incarnation)}
}

// renewSnapshots reports a snapshot as lost that has not been acknowledged for a while: Raft waits for such a report and
// sends nothing to that follower meanwhile.
func (n *Node) renewSnapshots(st raft.Status, now clock.Boottime) {
	for _, id := range slices.Sorted(maps.Keys(st.Progress)) {
		p := st.Progress[id]
		since, waiting := n.snapSince[id]
		switch {
		case p.State != tracker.StateSnapshot:
			delete(n.snapSince, id)
		case !waiting:
			n.snapSince[id] = now
		case now.Sub(since) >= cluster.SnapshotResend:
			delete(n.snapSince, id)
			n.raft.ReportSnapshot(id, raft.SnapshotFailure)
		}
	}
}

// handOn hands leadership to a member that shall rather lead, when it is healthy: the one an operator has named, else a
// witness, so that the loss of a data host needs no election.
func (n *Node) handOn(view *state.View, st raft.Status, now clock.Boottime) {
	if preferred(view, view.Members[n.cfg.Name]) || now.Sub(n.leadSince) < cluster.LeaderSettle ||
		n.transferAt != 0 && now.Sub(n.transferAt) < cluster.TransferRetry {
		return
	}
	for _, name := range view.MemberNames() {
		m := view.Members[name]
		if !preferred(view, m) || !m.Voter || !n.upToDate(st, m.Incarnation) {
			continue
		}
		if n.cfg.MayTransfer != nil && !n.cfg.MayTransfer() {
			return
		}
		n.transferAt = now
		n.cfg.Log.Info("handing leadership on", "name", name)
		n.raft.TransferLeader(m.Incarnation)
		return
	}
}

// preferred tells whether a member shall lead rather than others.
func preferred(view *state.View, m state.Member) bool {
	if lead := view.Cluster.Lead; lead != "" {
		return m.Name == lead
	}
	return m.Kind == state.Witness
}

// upToDate tells whether a follower has all of the log.
func (n *Node) upToDate(st raft.Status, id uint64) bool {
	p := st.Progress[id]
	last, err := n.mem.LastIndex()
	return err == nil && p.RecentActive && p.State == tracker.StateReplicate && p.Match == last
}
