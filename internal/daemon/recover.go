package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// recoverAlone answers cluster.recover: a majority is gone for good, and this host goes on alone with a new branch of the
// log. Nothing it ran is left by now: its lease has ended.
func (d *Daemon) recoverAlone(ctx context.Context, in api.RecoverRequest) (api.RecoverReply, error) {
	var out api.RecoverReply
	s, err := d.needSession()
	if err != nil {
		return out, err
	}
	if in.Survivor != d.node {
		return out, &api.Error{Code: 1, Message: fmt.Sprintf("this is %s; type it on %s, whose log and disks are to go on", d.node, in.Survivor)}
	}
	if err := s.aloneForGood(ctx); err != nil {
		return out, err
	}
	out.AtRisk = s.raft.View().AtRisk(d.node)
	if !in.AcceptLoss {
		return out, nil
	}
	if err := d.branch(s, in.By); err != nil {
		return out, err
	}
	out.Done = true
	return out, d.awaitLease(ctx)
}

// aloneForGood refuses while there is a majority, and as long as this host may still run things under the old branch.
func (s *session) aloneForGood(ctx context.Context) error {
	look, cancel := context.WithTimeout(ctx, majorityWait)
	defer cancel()
	if _, err := s.raft.ReadIndex(look); err == nil {
		return &api.Error{Code: 1, Message: "the cluster has a majority, and nothing to recover from; see: pcs status"}
	}
	if s.lease.Load() != 0 {
		return &api.Error{Code: 1, Message: "this host still holds its lease; try again in a moment"}
	}
	return nil
}

// majorityWait is how long a majority is looked for.
const majorityWait = 5 * time.Second

// branch leaves the cluster's old branch and joins the new one.
func (d *Daemon) branch(s *session, by string) error {
	if err := d.leaveFor(s); err != nil {
		return fmt.Errorf("leave the old branch of the log: %w", err)
	}
	err := raftlog.Branch(d.root.Lib(), state.ClusterBranch{Survivor: d.node, By: by, UnixSeconds: time.Now().Unix()})
	if err == nil {
		d.timeline.Event("cluster.branch", map[string]any{"by": by})
	}
	// Also after a failure: the old log is then as it was.
	return errors.Join(err, d.join(s.conf))
}

func (d *Daemon) leaveFor(s *session) error {
	d.joining.Lock()
	defer d.joining.Unlock()
	if d.current() != s {
		return errors.New("this host has left the cluster, or joined it anew, meanwhile")
	}
	return d.leaveSession()
}

// awaitLease waits until this host holds a lease again.
func (d *Daemon) awaitLease(ctx context.Context) error {
	s, err := d.needSession()
	if err != nil {
		return err
	}
	err = s.raft.WaitFor(ctx, func(v *state.View, _ raftlog.Status) bool { return v.Leases[d.node].State == state.LeaseActive })
	if err != nil {
		return fmt.Errorf("the new branch has begun, but this host has no lease yet: %w", err)
	}
	return nil
}

// volumeSurvivor answers volume.survivor.
func (d *Daemon) volumeSurvivor(ctx context.Context, in api.SurvivorRequest) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	st := d.volumes.status(in.Resource)
	switch {
	case st == nil:
		return api.Empty{}, &api.Error{Code: 1, Message: fmt.Sprintf("volume %s is not up on %s: drbdadm up %s", in.Resource, d.node, in.Resource)}
	case st.DeviceUUID == "" || st.Disk == "Inconsistent" || st.Disk == "Diskless" || st.Disk == "Failed":
		return api.Empty{}, &api.Error{Code: 1, Message: fmt.Sprintf("the disk of volume %s on %s is %s: it cannot be the survivor", in.Resource, d.node, st.Disk)}
	}
	fresh, err := newGeneration()
	if err != nil {
		return api.Empty{}, err
	}
	return api.Empty{}, s.tenures.propose(ctx, &state.VolumeSurvivor{
		Name: in.Resource, Node: d.node, DeviceUUID: st.DeviceUUID, Generation: st.CurrentUUID, NewGeneration: fresh,
		AcceptLoss: in.AcceptLoss, By: in.By, UnixSeconds: time.Now().Unix(),
	})
}

// volumeForget answers volume.forget.
func (d *Daemon) volumeForget(ctx context.Context, in api.ForgetRequest) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	fresh, err := newGeneration()
	if err != nil {
		return api.Empty{}, err
	}
	return api.Empty{}, s.tenures.propose(ctx, &state.VolumeForget{
		Name: in.Resource, Node: in.Node, NewGeneration: fresh, By: in.By, UnixSeconds: time.Now().Unix(),
	})
}
