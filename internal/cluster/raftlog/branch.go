package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/cluster/state"
)

// beforeBranch is the name an old branch's log is kept under.
const beforeBranch = ".before-branch"

// Branch begins a new branch of the log in dir, in which name goes on alone as the only voter, under a new incarnation. It
// begins with everything the old log holds, agreed on or not: what is not known to be agreed on may have been. The old log
// is kept beside the new one. No Node may have the log open.
func Branch(dir, name, by string, unixSeconds int64) error {
	path := filepath.Join(dir, fileName)
	old, err := readStore(path)
	if err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	machine, term, err := replay(old)
	if err = errors.Join(err, old.close()); err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	if err := writeBranch(path, name, machine, old.last+1, term+1, &state.ClusterBranch{Survivor: name, By: by, UnixSeconds: unixSeconds}); err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	return nil
}

// replay brings a machine to the end of a log, and returns the last term the log knows.
func replay(s *store) (*state.Machine, uint64, error) {
	machine := state.New()
	if data := s.snap.GetData(); len(data) > 0 {
		if err := machine.Restore(data); err != nil {
			return nil, 0, err
		}
	}
	term := max(s.hard.GetTerm(), s.snap.GetMetadata().GetTerm())
	for _, e := range s.entries {
		term = max(term, e.GetTerm())
		if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
			machine.Skip(e.GetIndex())
			continue
		}
		if r := machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData()); r.Unsupported != "" {
			return nil, 0, fmt.Errorf("entry %d: %s", e.GetIndex(), r.Unsupported)
		}
	}
	return machine, term, nil
}

// writeBranch puts a log that holds only a snapshot, the beginning of the branch, in the place of the one at path.
func writeBranch(path, name string, machine *state.Machine, index, term uint64, c *state.ClusterBranch) error {
	tmp := path + ".branch"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fresh, err := createStore(tmp, "a new branch begins")
	if err != nil {
		return err
	}
	c.Incarnation, c.Branch = fresh.incarnation, drawBranch()
	if err := machine.Branch(index, term, c); err != nil {
		return errors.Join(err, fresh.close(), os.Remove(tmp))
	}
	conf := &raftpb.ConfState{Voters: []uint64{fresh.incarnation}}
	snap := &raftpb.Snapshot{Data: machine.Snapshot(), Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: &index, Term: &term}}
	err = fresh.save(batch{
		hard: &raftpb.HardState{Term: &term, Commit: &index}, snap: snap, received: true, founders: map[uint64]string{fresh.incarnation: name},
	})
	if err = errors.Join(err, fresh.close()); err != nil {
		return err
	}
	if err := os.Rename(path, path+beforeBranch); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// drawBranch draws the ID of a branch.
func drawBranch() uint64 { return drawIncarnation() | state.FirstBranch }

// Retire ends the node for good: its log is of a branch that was given up, or not to be used for another reason. It comes
// up as a new member after a restart of the daemon. The error that Fatal delivers says why.
func (n *Node) Retire(why string) {
	go func() {
		select {
		case n.retired <- why:
		case <-n.done:
		}
	}()
}

// retireNow carries it out; the loop ends with the error.
func (n *Node) retireNow(why string) error {
	if err := n.store.retire(why); err != nil {
		return fmt.Errorf("the cluster's log is to be given up (%s), and could not be retired: %w", why, err)
	}
	return fmt.Errorf("the cluster's log is given up: %s; this host will be taken in as a new member after a restart of the daemon", why)
}
