package sim

import (
	"testing"
	"time"

	"holdfast/internal/cluster/state"
)

// Votes: two hosts run on their two votes, and stop with the first loss; a witness added while they run lets the other go on.
func TestWitnessAddedToARunningCluster(t *testing.T) {
	s := newStory(t, Options{Late: true})
	primary, other := s.sides()
	other.powerOff()
	s.until("the Primary without a lease", func() bool { return !primary.leaseLive() })
	s.addWitness() // nobody can take it in yet
	s.run(3 * time.Second)
	if s.voters() != 2 {
		t.Errorf("%d voters: one host alone has changed who votes", s.voters())
	}
	other.boot()
	s.until("a whole cluster with a witness", func() bool { return s.healthy() && s.voters() == 3 })
	primary, other = s.sides()
	s.acks(10)
	primary.powerOff()
	s.primaryOn(other)
	s.acks(10)
	primary.boot()
	s.end()
}

// Votes: a witness that lost its log just after it was added votes again only as another.
func TestNewWitnessLosesItsLog(t *testing.T) {
	s := newStory(t, Options{Late: true, Witnesses: 2})
	s.addWitness()
	s.until("the witness on record", func() bool { _, known := s.truth.view.Members["w2"]; return known })
	w2 := s.late()
	w2.powerOff()
	w2.log.Wipe()
	w2.boot()
	s.until("a whole cluster with two witnesses", func() bool { return s.healthy() && s.voters() == 4 })
	s.end()
}

// Votes: a voter whose whole disk was put back confirms what it does not have. The leader counts on that, the voter notices,
// and votes again only as another.
func TestVoterPutBack(t *testing.T) {
	s := newStory(t, Options{Witnesses: 2})
	s.until("a witness leads", func() bool { l := s.leader(); return l != nil && l.disk == nil })
	witness := s.hosts[2+3-s.leader().index]
	witness.keepCopies()
	before := witness.daemon.raft.Incarnation()
	_, other := s.sides()
	other.powerOff() // something for the log
	s.until("the peer out of U", func() bool { return !s.inU(other) })
	other.boot()
	s.until("a whole cluster", s.healthy)
	s.until("the same log everywhere", func() bool { return witness.restoreLog(time.Second) })
	witness.boot()
	s.until("another identity", func() bool { return witness.daemon != nil && witness.daemon.raft.Incarnation() != before })
	s.end()
}

// S1: a replica put back to a generation that is no more in U is resynced, and not taken for the one that was there.
func TestReplicaPutBack(t *testing.T) {
	s := newStory(t, Options{})
	s.attend()
	for range 3 {
		primary, other := s.sides()
		other.keepCopies()
		s.acks(20)
		other.powerOff()
		s.until("the peer out of U", func() bool { return !s.inU(other) })
		s.acks(20)
		other.boot()
		s.until("a whole cluster", s.healthy)
		s.acks(20)
		s.until("the disk put back", func() bool { return other.restoreReplica(time.Second) })
		other.boot()
		s.until("a whole cluster", s.healthy)
		primary.powerOff()
		s.primaryOn(other)
		primary.boot()
		s.until("a whole cluster", s.healthy)
	}
	s.end()
}

// Votes: a majority is gone, and an operator has the last host go on alone (holdfast recover --survivor). What is left of the others
// comes back, one with its old log and one with none, and neither counts before it has been taken in again.
func TestMajorityGoneAndRecovered(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	witness := s.hosts[2]
	s.acks(20)
	primary.powerOff()
	witness.powerOff()
	witness.log.Wipe()
	s.until("no lease on the last host", func() bool { return !other.leaseLive() && other.daemon.holder.Session() == 0 })
	index := s.truth.index
	s.run(10 * time.Second)
	if s.truth.index != index {
		t.Errorf("one of three has decided something: %s", s.describe())
	}
	s.must(other.log.Branch(state.ClusterBranch{Survivor: other.name, By: "root", UnixSeconds: 1_800_000_000}))
	other.stopDaemon()
	other.startDaemon()
	s.primaryOn(other)
	s.acks(20)
	primary.boot()
	s.until("both replicas in U", func() bool { return s.inU(primary) && s.inU(other) })
	witness.boot()
	s.until("three voters", s.voting)
	other.powerOff()
	s.primaryOn(primary)
	other.boot()
	s.end()
}
