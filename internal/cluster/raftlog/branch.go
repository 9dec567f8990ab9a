package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/cluster/state"
)

// beforeBranch is the name an old branch's log is kept under.
const beforeBranch = ".before-branch"

// Branch begins a new branch of the log in dir, in which c.Survivor goes on alone as the only voter, under a new incarnation;
// incarnation and ID are drawn here. It begins with everything the old log holds, agreed on or not: what is not known to be agreed
// on may have been. The old log is kept beside the new one; after an error it is as it was. No Node may have the log open.
//
// A fork (c.Fork) is refused if the log does not show that the survivor is one of exactly two voters, no change of that being
// under way: one that the survivor has not confirmed does not count, since it needs a majority of the two.
func Branch(dir string, c state.ClusterBranch) error {
	path := filepath.Join(dir, fileName)
	old, err := readStore(path)
	if err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	o, err := openingOf(old, c.Fork)
	if err = errors.Join(err, old.close()); err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	if err := o.write(path, c); err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	return nil
}

// opening is where a branch begins: the state at the end of the old log.
type opening struct {
	machine     *state.Machine
	index, term uint64 // of the first entry
}

func openingOf(old *store, fork bool) (opening, error) {
	if fork {
		if err := twoVoters(old); err != nil {
			return opening{}, err
		}
	}
	machine, term, err := replay(old)
	return opening{machine, old.last + 1, term + 1}, err
}

// ErrVoters says that a log does not show its owner as one of exactly two voters.
var ErrVoters = errors.New("this host's log does not show it as one of exactly two voters")

// twoVoters looks at the configuration: a snapshot is made right after each change that is applied.
func twoVoters(s *store) error {
	conf := s.snap.GetMetadata().GetConfState()
	voters := conf.GetVoters()
	if len(voters) != 2 || !slices.Contains(voters, s.incarnation) || len(conf.GetVotersOutgoing()) > 0 || len(conf.GetLearnersNext()) > 0 {
		return fmt.Errorf("%w: %v", ErrVoters, ids(voters))
	}
	for _, e := range s.entries {
		if e.GetType() != raftpb.EntryNormal {
			return fmt.Errorf("%w: entry %d changes the voters", ErrVoters, e.GetIndex())
		}
	}
	return nil
}

// begin makes the first entry of the branch, and gives what its log holds.
func (o opening) begin(incarnation uint64, c state.ClusterBranch) (batch, error) {
	c.Incarnation, c.Branch = incarnation, drawBranch()
	if err := o.machine.Branch(o.index, o.term, &c); err != nil {
		return batch{}, err
	}
	conf := &raftpb.ConfState{Voters: []uint64{incarnation}}
	snap := &raftpb.Snapshot{Data: o.machine.Snapshot(), Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: &o.index, Term: &o.term}}
	return batch{hard: &raftpb.HardState{Term: &o.term, Commit: &o.index}, snap: snap, received: true, founders: map[uint64]string{incarnation: c.Survivor}}, nil
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

// write puts a log that holds only a snapshot, the beginning of the branch, in the place of the one at path.
func (o opening) write(path string, c state.ClusterBranch) error {
	tmp := path + ".branch"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fresh, err := createStore(tmp, "a new branch begins")
	if err != nil {
		return err
	}
	b, err := o.begin(fresh.incarnation, c)
	if err != nil {
		return errors.Join(err, fresh.close(), os.Remove(tmp))
	}
	err = fresh.save(b)
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

// Branch is Branch for a log in memory.
func (d *Disk) Branch(c state.ClusterBranch) error {
	if d.incarnation == 0 || d.retired != "" {
		return errors.New("begin a new branch of the cluster's log: there is no log that may be used")
	}
	o, err := openingOf(d.open(), c.Fork)
	if err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	fresh := Disk{Failing: d.Failing, incarnation: drawIncarnation()}
	b, err := o.begin(fresh.incarnation, c)
	last := uint64(0)
	if err = errors.Join(err, fresh.save(b, &last)); err != nil {
		return fmt.Errorf("begin a new branch of the cluster's log: %w", err)
	}
	*d = fresh
	return nil
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
