package sim

import (
	"fmt"
	"testing"
	"time"
)

// S5: from the moment in which the Primary asks for a replica to enter U, it may be in U.
func TestJoinRaceWithASlowPrimary(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprint("blind ", blind), func(t *testing.T) {
			s := newStory(t, Options{})
			primary, other := s.sides()
			s.Cut(primary, other)
			s.until("the peer out of U", func() bool { return !s.inU(other) })
			s.acks(20)
			s.Mend(primary, other)
			adds := s.stats.Adds
			s.until("the peer in U", func() bool { return s.stats.Adds > adds })
			if blind { // the log has it, the Primary is slow to hear of that, and acknowledges on
				primary.daemonProc.pause()
				s.Cut(primary, other)
				s.run(400 * time.Millisecond)
			}
			primary.powerOff()
			s.primaryOn(other)
			primary.boot()
			s.end()
		})
	}
}

// S5: what a replica acknowledged and had not flushed is gone with its power.
func TestUnflushedWriteOfAReturningReplica(t *testing.T) {
	s := newStory(t, Options{})
	for range 6 {
		primary, other := s.sides()
		s.acks(5)
		other.powerOff()
		s.run(50 * time.Millisecond)
		other.boot()
		s.until("the replica connected again", func() bool { return other.volume != nil && other.volume.s.Connected() })
		s.until("a whole cluster", s.healthy)
		primary.powerOff()
		s.primaryOn(other)
		primary.boot()
		s.until("a whole cluster", s.healthy)
	}
	s.end()
}

// S5: a blank disk is taken in while the other replica is the only one.
func TestReplicaAddedWhileDegraded(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	s.replaceDisk(other)
	s.until("the peer out of U", func() bool { return !s.inU(other) })
	s.acks(20)
	other.boot()
	s.until("the new disk in U", func() bool { return s.inU(other) })
	primary.powerOff()
	s.primaryOn(other)
	primary.boot()
	s.end()
}

// S1, S5: a target whose source is lost half way is not fit for anything until it is resynced.
func TestResyncSourceLost(t *testing.T) {
	s := newStory(t, Options{Size: 8 << 20})
	primary, other := s.sides()
	s.replaceDisk(other)
	s.until("the peer out of U", func() bool { return !s.inU(other) })
	s.acks(5)
	other.boot()
	s.until("a resync", func() bool { return other.volume != nil && other.volume.s.Syncing() })
	primary.powerOff()
	promotions := s.stats.Promotions
	s.run(10 * time.Second)
	if s.stats.Promotions != promotions {
		t.Error("a half-synced disk was promoted")
	}
	primary.boot()
	s.end()
}

// S5: what was written since the last flush is in the activity log, however many extents are wanted.
func TestExtentsStayUntilFlushed(t *testing.T) {
	s := newStory(t, Options{Size: 13*4<<20 + 64<<10, Plain: true})
	for range 12 {
		primary, other := s.sides()
		s.acks(40)
		primary.powerOff() // its disk was flushed with the activity log, the other's was not
		other.powerOff()
		s.run(100 * time.Millisecond)
		primary.boot()
		s.primaryOn(primary)
		other.boot()
		s.until("a whole cluster", s.healthy)
	}
	s.end()
}

// S1, S5: after both hosts were down, the one that has everything begins, in whichever order they come back.
func TestBothHostsDownAndBackInEachOrder(t *testing.T) {
	for order := range 2 {
		for _, degraded := range []bool{false, true} {
			t.Run(fmt.Sprint(order, " degraded ", degraded), func(t *testing.T) {
				s := newStory(t, Options{})
				primary, other := s.sides()
				if degraded {
					other.powerOff()
					s.until("the peer out of U", func() bool { return !s.inU(other) })
					s.acks(10)
				}
				primary.powerOff()
				other.powerOff()
				s.run(3 * time.Second)
				s.data[order].boot()
				s.run(8 * time.Second)
				s.data[1-order].boot()
				s.end()
			})
		}
	}
}

// S4, S5: a proposal whose outcome nobody has told may have been accepted, and may yet be.
func TestProposalOfUnknownOutcome(t *testing.T) {
	s := newStory(t, Options{})
	for i := range 4 {
		primary, other := s.sides()
		witness := s.hosts[2]
		s.Cut(primary, other)
		s.cut(witness, primary) // what the Primary proposes arrives, the answer does not
		s.run(time.Duration(900+300*i) * time.Millisecond)
		s.mend(witness, primary)
		s.run(time.Duration(100*i) * time.Millisecond)
		if i%2 == 1 {
			primary.powerOff()
			s.run(4 * time.Second)
			primary.boot()
		}
		s.Mend(primary, other)
		s.until("a whole cluster", s.healthy)
	}
	s.end()
}

// S1: the log gives U a new generation while there is no process to take it: the next one does, and the peer comes back.
func TestGenerationGivenWhileTheProcessIsAway(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	s.Cut(primary, other)
	s.until("the removal asked for", func() bool { return primary.daemon.busy })
	primary.killVolume()
	s.until("the peer out of U", func() bool { return !s.inU(other) })
	primary.volumeGone()
	s.Mend(primary, other)
	s.until("the peer in U again", func() bool { return s.inU(other) })
	s.end()
}

// S5: a Primary whose disk failed may have sent its peer what it does not have itself. The process that replaced it, with no
// disk, knows nothing of that; its demotion is not a clean one.
func TestDemotedByAProcessWithoutADisk(t *testing.T) {
	s := newStory(t, Options{})
	for range 6 {
		primary, other := s.sides()
		s.acks(20)
		primary.stopDaemon() // so that the log does not hear of it
		primary.disk.full = true
		s.until("a Primary without a disk", func() bool { return !primary.volume.s.HasDisk() })
		primary.killVolume()
		primary.startDaemon()
		s.run(time.Second)
		primary.standby = true
		s.primaryOn(other)
		s.repair(primary)
		primary.standby = false
		s.until("a whole cluster", s.healthy)
	}
	s.end()
}

// S1: a side whose disk fails while a resync begins or ends has not stored what it would tell its peer of, and does not tell it:
// the peer would count on a generation that is on no disk.
func TestDiskFailsInAResync(t *testing.T) {
	for _, side := range []string{"source", "target"} {
		for n := 1; ; n++ {
			s := newStory(t, Options{})
			primary, other := s.sides()
			s.Cut(primary, other)
			s.until("the peer out of U", func() bool { return !s.inU(other) })
			s.acks(5)
			host := other
			if side == "source" {
				host = primary
			}
			adds := s.stats.Adds
			host.disk.failIn = n
			s.Mend(primary, other)
			s.until("the disk's failure, or the peer in U", func() bool { return host.disk.failing != nil || s.stats.Adds > adds })
			over := host.disk.failing == nil
			s.run(time.Second)
			s.repair(host)
			s.end()
			if over {
				break
			}
		}
	}
}
