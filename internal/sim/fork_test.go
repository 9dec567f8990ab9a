package sim

import (
	"fmt"
	"testing"
	"time"
)

// forks waits until so many branches of the log have been opened.
func (s *story) forks(n uint64) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d forks", n), func() bool { return s.stats.Forks >= n })
}

// forked demands how often the hosts have gone on alone by now, and how often an operator had to choose.
func (s *story) forked(forks, splits uint64) {
	s.t.Helper()
	if s.stats.Forks != forks || s.stats.Splits != splits {
		s.t.Errorf("%d forks and %d split brains, expected %d and %d", s.stats.Forks, s.stats.Splits, forks, splits)
	}
}

// Opt-in: one of two hosts is lost, the other goes on alone; the first comes back without an operator, whichever it was.
func TestForkPeerComesBack(t *testing.T) {
	for _, lost := range []string{"primary", "secondary"} {
		t.Run(lost, func(t *testing.T) {
			s := newStory(t, Options{Forking: true})
			for n := range uint64(3) {
				gone, stays := s.sides()
				if lost == "secondary" {
					gone, stays = stays, gone
				}
				gone.powerOff()
				s.forks(n + 1)
				s.primaryOn(stays)
				s.acks(20)
				gone.boot()
				s.until("a whole cluster", s.healthy)
			}
			s.end()
			s.forked(3, 0)
		})
	}
}

// Opt-in, S8: the link between two hosts is cut, both go on alone and both serve. Nothing is merged; an operator keeps one, and what
// the other has written alone is saved before it is replaced.
func TestForkBothSides(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("keeping ", seed), func(t *testing.T) {
			s := newStory(t, Options{Forking: true})
			a, b := s.data[0], s.data[1]
			s.Cut(a, b)
			s.forks(2)
			s.until("two Primaries", func() bool {
				return a.volume != nil && b.volume != nil && a.volume.epoch != 0 && b.volume.epoch != 0 && s.split()
			})
			for _, h := range s.data {
				t := s.strand(h.branch).truth
				s.until(h.name+" serves alone", func() bool { return t.wrote })
			}
			s.acks(40)
			s.Mend(a, b)
			s.run(10 * time.Second)
			if !s.split() || s.link.whole() {
				t.Error("two that have diverged have met: ", s.describe())
			}
			s.kept = s.data[seed]
			s.stats.Splits++
			s.end()
			s.forked(2, 1)
			if s.stats.Saved != 1 {
				t.Errorf("%d sides were saved", s.stats.Saved)
			}
		})
	}
}

// Opt-in: both went on alone, and one of them wrote nothing. It is given up without anything to save, or kept.
func TestForkOneSideServes(t *testing.T) {
	for _, keep := range []string{"the one that served", "the other"} {
		t.Run(keep, func(t *testing.T) {
			s := newStory(t, Options{Forking: true})
			serves, rests := s.sides()
			rests.standby = true
			s.Cut(serves, rests)
			s.forks(2)
			s.primaryOn(serves)
			s.acks(20)
			s.Mend(serves, rests)
			s.run(5 * time.Second)
			s.kept = serves
			if keep == "the other" {
				s.kept = rests
				rests.standby = false
			}
			s.stats.Splits++
			s.end()
			s.forked(2, 1)
		})
	}
}

// Opt-in: the host that leads stands still. The other goes on alone, and the first, thawed, never answers a request again before
// it has been taken in, and does not go on alone.
func TestForkedFrozenLeader(t *testing.T) {
	for _, meet := range []bool{true, false} {
		t.Run(fmt.Sprint("they meet ", meet), func(t *testing.T) {
			s := newStory(t, Options{Forking: true})
			frozen := s.leader()
			other := s.data[1-frozen.index]
			frozen.freeze(false)
			s.forks(1)
			s.primaryOn(other)
			s.acks(20)
			if !meet {
				other.powerOff()
			}
			acked := s.stats.Acked
			frozen.thaw()
			s.run(20 * time.Second)
			if !meet && s.stats.Acked != acked {
				t.Errorf("%d writes were acknowledged by a host that had stood still", s.stats.Acked-acked)
			}
			other.boot()
			s.end()
			s.forked(1, 0)
		})
	}
}

// Opt-in: as with wait_for_all, a host that has just started does not go on alone: it cannot know what the other has done.
func TestNoForkAfterBoot(t *testing.T) {
	s := newStory(t, Options{Forking: true})
	for n := range uint64(2) {
		primary, other := s.sides()
		other.powerOff()
		s.forks(n + 1)
		s.primaryOn(primary)
		s.acks(10)
		primary.powerOff()
		other.boot()
		acked := s.stats.Acked
		s.run(20 * time.Second)
		if s.stats.Acked != acked {
			t.Error("an old disk was served")
		}
		primary.boot()
		s.until("a whole cluster", s.healthy)
	}
	s.end()
	s.forked(2, 0)
}

// Opt-in: a host whose disk is not in U has nothing to go on with, and so the two do not diverge.
func TestNoForkWithoutADisk(t *testing.T) {
	s := newStory(t, Options{Forking: true})
	primary, other := s.sides()
	other.disk.failing = errDisk
	s.until("the peer out of U", func() bool { return !s.inU(other) })
	s.Cut(primary, other)
	s.forks(1)
	s.primaryOn(primary)
	s.acks(20)
	s.Mend(primary, other)
	s.end()
	s.forked(1, 0)
}

// Opt-in: one direction of the link is cut. Who hears nothing goes on alone; who hears that, waits.
func TestForkOneWay(t *testing.T) {
	s := newStory(t, Options{Forking: true})
	primary, other := s.sides()
	s.cut(primary, other)
	s.forks(1)
	s.run(10 * time.Second)
	s.mend(primary, other)
	s.end()
	if s.stats.Forks > 2 {
		t.Errorf("%d forks", s.stats.Forks)
	}
}

// Opt-in, S6: a host that has no lease of its own, its guard being away, still confirms the other's. It does not go on alone before
// that is over.
func TestForkWaitsForThePeersLease(t *testing.T) {
	s := newStory(t, Options{Forking: true})
	primary, other := s.sides()
	other.guardProc.pause()
	s.until("the other without a lease", func() bool { return other.daemon.holder.Session() == 0 })
	s.run(3 * time.Second)
	if !primary.leaseLive() {
		t.Error("the Primary has no lease")
	}
	s.Cut(primary, other)
	s.forks(1)
	s.wake(other.guardProc)
	s.forks(2)
	s.Mend(primary, other)
	s.end()
	s.forked(2, 1)
}
