package sim

import (
	"testing"
	"time"
)

// lean has the Primary's disk fail, and waits until the Primary goes on with the peer's.
func (s *story) lean() (primary, other *host) {
	s.t.Helper()
	primary, other = s.sides()
	primary.disk.failing = errDisk
	s.until("the Primary out of U", func() bool { return !s.inU(primary) })
	if s.truth.volume.Primary == primary.name {
		s.acks(3)
	}
	return primary, other
}

// S2, S4: a Primary whose disk fails goes on, on the peer's disk, once the log has taken its own out of U.
func TestPrimaryGoesOnWithoutADisk(t *testing.T) {
	s := newStory(t, Options{})
	s.acks(20)
	epoch := s.truth.volume.Epoch
	primary, _ := s.lean()
	if s.truth.volume.Epoch != epoch || primary.volume.epoch == 0 {
		t.Error("the volume had to move at once: ", s.describe())
	}
	s.repair(primary)
	s.until("a whole cluster", s.healthy)
	s.end()
}

// S2: while the log still has the failed disk in U, nothing is acknowledged that it lacks.
func TestFailedDiskLeavesUBeforeTheNextAcknowledgement(t *testing.T) {
	s := newStory(t, Options{})
	s.acks(20)
	primary, _ := s.sides()
	primary.stopDaemon()
	primary.disk.failing = errDisk
	s.run(800 * time.Millisecond)
	primary.startDaemon()
	s.until("the failed disk out of U", func() bool { return !s.inU(primary) })
	s.repair(primary)
	s.end()
}

// S5: what a Primary without a disk has written is on the peer's disk alone; the disk that comes back gets all of it.
func TestDiskOfALeaningPrimaryIsResynced(t *testing.T) {
	s := newStory(t, Options{Size: 256 << 20}) // many extents, so that the disk's activity log does not name them all
	s.acks(20)
	primary, other := s.sides()
	other.standby = true // nobody else writes until the disk is back
	s.lean()
	s.acks(100)
	s.repair(primary)
	s.until("the disk's resync", func() bool {
		return primary.volume != nil && primary.volume.s.HasDisk() && primary.volume.s.Connected()
	})
	other.standby = false
	s.until("a whole cluster", s.healthy)
	s.end()
}

// S4: a Primary without a disk that loses the peer has nothing to serve; the peer is promoted.
func TestLeaningPrimaryLosesItsPeer(t *testing.T) {
	s := newStory(t, Options{})
	s.acks(20)
	primary, other := s.lean()
	s.Cut(primary, other)
	s.primaryOn(other)
	s.acks(5)
	s.Mend(primary, other)
	s.repair(primary)
	s.end()
}

// S5: the last disk hears that it is the last only when the Primary that leaned on it is gone.
func TestKeeperHearsLateThatItIsTheLast(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	other.stopDaemon()
	primary.disk.failing = errDisk
	s.until("the Primary out of U", func() bool { return !s.inU(primary) && s.inU(other) })
	s.acks(3)
	primary.killVolume()
	primary.volumeGone()
	s.until("no Primary in the log", func() bool { return s.truth.volume.Primary == "" })
	other.startDaemon()
	s.repair(primary)
	s.end()
}
