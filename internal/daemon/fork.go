package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// watchPeer has this host go on alone with a branch of the log of its own, when it is one of two voters, has lost the other,
// and no-quorum-policy=ignore is in the log (DESIGN, opt-in). liveness.Alone and state.MayFork decide.
func (s *session) watchPeer(ctx context.Context) {
	look := time.NewTicker(cluster.Heartbeat)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if s.mayGoAlone() == nil && s.pulse.aloneDue() && !s.majority(ctx) {
			go s.d.fork(s) // it ends this session, and waits for this goroutine
			return
		}
	}
}

// mayGoAlone tells why this host must not go on without its peer; nil if it may, once the peer can do nothing more.
func (s *session) mayGoAlone() error {
	if s.keeper.isLeaving() {
		return errors.New("this host is leaving the cluster")
	}
	if n := len(s.raft.Status().Voters); n != 2 {
		return fmt.Errorf("%d hosts vote, not two", n)
	}
	return s.raft.View().MayFork(s.node)
}

// majority tells whether the voters still agree on anything.
func (s *session) majority(ctx context.Context) bool {
	look, cancel := context.WithTimeout(ctx, cluster.ReadRetry)
	defer cancel()
	_, err := s.raft.ReadIndex(look)
	return err == nil
}

// fork leaves the old branch, so that nothing more is acknowledged in it, looks again, and opens a new one.
func (d *Daemon) fork(s *session) {
	if err := d.leaveFor(s); err != nil {
		d.log.Warn("not gone on alone", "err", err)
		return
	}
	var err error
	if s.pulse.aloneDue() {
		err = raftlog.Branch(d.root.Lib(), state.ClusterBranch{Survivor: d.node, Fork: true, By: "no-quorum-policy=ignore", UnixSeconds: time.Now().Unix()})
		if err == nil {
			d.log.Warn("the peer is lost: this host goes on alone with a new branch of the cluster's log (no-quorum-policy=ignore)")
			d.timeline.Event("cluster.fork", nil)
		}
	}
	if err != nil { // the old log is as it was
		d.log.Error("this host cannot go on alone", "err", err)
	}
	if err := d.join(s.conf); err != nil {
		d.fail(fmt.Errorf("take part in the cluster again: %w", err))
	}
}

// frozen tells an operator why this host, one of two voters that has lost the other, does not go on alone although
// no-quorum-policy=ignore is set; empty if it does, or nothing is lost.
func (s *session) frozen(view *state.View) string {
	if policy(view.CIB) != "ignore" || view.Voters() != 2 || s.pulse.session() != 0 {
		return ""
	}
	if err := s.mayGoAlone(); err != nil {
		return fmt.Sprintf("%s does not go on alone: %v", s.node, err)
	}
	if !s.pulse.together() {
		return fmt.Sprintf("%s does not go on alone: it has not been together with %s since its daemon started, or since it stood still; start that host, or, if it is gone for good: holdfast recover --survivor %s",
			s.node, view.Other(s.node), s.node)
	}
	return ""
}
