package sim

import (
	"testing"
	"time"
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
