package daemon

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// Calls between members that have diverged.
const (
	callGiveUp = "cluster.giveup" // giveUp: the caller's branch of the log is given up for the one of who is called
	callPeek   = "volume.peek"    // api.VolumeRequest -> api.VolumesReply
)

// giveUp asks a member of another branch to leave the caller's behind.
type giveUp struct {
	Lost state.Lineage `json:"lost"`
	By   string        `json:"by"`
}

// rejoin answers cluster.rejoin: an operator ends a split brain of the cluster by giving up the branch of the log that this host
// goes on with, for that of the member named. That one takes it into its log; this host hears of it with the next heartbeat, retires
// its log, and is taken in again as a new member. What it runs ends with its lease.
func (d *Daemon) rejoin(ctx context.Context, in api.RejoinRequest) (api.RejoinReply, error) {
	var out api.RejoinReply
	s, err := d.needSession()
	if err != nil {
		return out, err
	}
	theirs, ok := s.kin.of(in.Keep)
	if !ok {
		return out, &api.Error{Code: 1, Message: fmt.Sprintf("%s does not go on apart from %s: there is nothing to give up; see: pcs status", in.Keep, d.node)}
	}
	if in.Look {
		return s.lookAcross(ctx, in)
	}
	view := s.raft.View()
	if view.Cluster.HasLeft(theirs.Branch) { // an operator has had it given up for this one before
		err := s.propose(ctx, &state.ClusterReunite{Node: in.Keep, Lost: theirs, Undo: true, By: in.By, UnixSeconds: time.Now().Unix()})
		if err != nil {
			return out, fmt.Errorf("give this host's branch of the log up: %w", err)
		}
	}
	if err := s.links.Call(ctx, in.Keep, callGiveUp, giveUp{Lost: s.raft.View().Cluster.Lineage, By: in.By}, nil); err != nil {
		return out, fmt.Errorf("give this host's branch of the log up for that of %s: %w", in.Keep, err)
	}
	d.timeline.Event("cluster.rejoin", map[string]any{"peer": in.Keep, "by": in.By})
	return out, nil
}

// lookAcross tells how much of a volume differs between the two branches, and changes nothing.
func (s *session) lookAcross(ctx context.Context, in api.RejoinRequest) (api.RejoinReply, error) {
	var out api.RejoinReply
	if in.Resource == "" {
		return out, nil
	}
	var there api.VolumesReply
	if err := s.links.Call(ctx, in.Keep, callPeek, api.VolumeRequest{Resource: in.Resource}, &there); err != nil {
		return out, fmt.Errorf("ask %s for volume %s: %w", in.Keep, in.Resource, err)
	}
	mine := s.d.volumes.status(in.Resource)
	if mine == nil || len(there.Volumes) != 1 {
		return out, &api.Error{Code: 1, Message: fmt.Sprintf("volume %s is not up on both hosts, so that nobody knows what differs", in.Resource)}
	}
	out.MineKiB, out.TheirsKiB, out.SizeKiB = mine.Counters.OOS, there.Volumes[0].Counters.OOS, uint64(mine.SizeBytes)>>10
	return out, nil
}

// givenUp answers callGiveUp. It takes a majority of this host's branch, so that the caller gives up its own only for one that
// works.
func (d *Daemon) givenUp(ctx context.Context, from string, in giveUp) (api.Empty, error) {
	s, err := d.needSession()
	if err != nil {
		return api.Empty{}, err
	}
	if err := s.catchUp(ctx); err != nil {
		return api.Empty{}, fmt.Errorf("%s cannot be rejoined: %w", d.node, err)
	}
	return api.Empty{}, s.propose(ctx, &state.ClusterReunite{Node: from, Lost: in.Lost, By: in.By, UnixSeconds: time.Now().Unix()})
}
