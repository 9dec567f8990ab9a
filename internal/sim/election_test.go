package sim

import (
	"testing"
	"time"
)

// S6: L is longer than the worst election: the death of the leader costs no other host its lease, not even when the votes are
// split once.
func TestLeasesOutliveAnElection(t *testing.T) {
	splits := 0
	for seed := range uint64(*electionsFlag) {
		s := &story{New(seed+1, Options{Quiet: true, Witnesses: 1}), t}
		s.Start()
		s.until("sessions, and the witness as the leader", func() bool {
			return s.data[0].daemon.session != 0 && s.data[1].daemon.session != 0 && s.leader() == s.hosts[2]
		})
		s.run(s.between(0, time.Second))
		sessions := [2]uint64{s.data[0].daemon.session, s.data[1].daemon.session}
		term := s.hosts[2].daemon.raft.Status().Term
		s.hosts[2].powerOff()
		s.until("another leader", func() bool { return s.leader() != nil })
		if l := s.leader().daemon.raft.Status().Term; l > term+1 {
			splits++
		}
		s.run(2 * time.Second)
		for i, h := range s.data {
			if h.daemon.session != sessions[i] {
				t.Errorf("seed %d: %s has lost its lease", seed+1, h.name)
			}
		}
	}
	t.Logf("%d elections, votes split in %d", *electionsFlag, splits)
}
