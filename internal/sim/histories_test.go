package sim

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// story is a named history: a cluster without faults but those it makes, with clients on both hosts.
type story struct {
	*World
	t *testing.T
}

// newStory brings a cluster up and waits until it is whole.
func newStory(t *testing.T, opts Options) *story {
	t.Helper()
	s := rawStory(t, opts)
	s.Start()
	s.startClients(2)
	s.until("a whole cluster", s.healthy)
	s.run(2 * time.Second)
	return s
}

func rawStory(t *testing.T, opts Options) *story {
	opts.Quiet = true
	if opts.Witnesses == 0 && !opts.Forking {
		opts.Witnesses = 1
	}
	if testing.Verbose() && os.Getenv("SIM_LOG") != "" {
		opts.Log = slog.NewTextHandler(os.Stdout, nil)
	}
	return &story{New(7, opts), t}
}

func (s *story) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) run(d time.Duration) { s.t.Helper(); s.must(s.Run(d)) }

func (s *story) until(what string, ok func() bool) {
	s.t.Helper()
	s.must(s.Until(what, Progress, ok))
}

// end heals everything and judges what is left.
func (s *story) end() {
	s.t.Helper()
	s.must(s.Finish())
}

// sides are the Primary's host and the other.
func (s *story) sides() (primary, other *host) {
	s.t.Helper()
	p := s.host(s.truth.volume.Primary)
	if p == nil {
		s.t.Fatal("there is no Primary: ", s.describe())
	}
	return p, s.data[1-p.index]
}

func (s *story) inU(h *host) bool {
	_, ok := s.truth.volume.Replica(h.name)
	return ok
}

// acks waits for some more acknowledged writes.
func (s *story) acks(n uint64) {
	s.t.Helper()
	want := s.stats.Acked + n
	s.until(fmt.Sprintf("%d acknowledged writes", n), func() bool { return s.stats.Acked >= want })
}

// primaryOn waits until the log and the volume have h as Primary.
func (s *story) primaryOn(h *host) {
	s.t.Helper()
	s.until(h.name+" as Primary", func() bool { return s.truth.volume.Primary == h.name && h.volume != nil && h.volume.epoch != 0 })
}

func (s *story) isolate(h *host) {
	for _, o := range s.hosts {
		if o != h {
			s.Cut(h, o)
		}
	}
}

func (s *story) rejoin(h *host) {
	for _, o := range s.hosts {
		if o != h {
			s.Mend(h, o)
		}
	}
}

// leader is the host that leads now, nil if none does.
func (s *story) leader() *host {
	for _, h := range s.hosts {
		if h.daemon != nil && !h.frozen && h.daemon.raft.Status().LeaderReady != 0 {
			return h
		}
	}
	return nil
}

// S1: a disk is in U by its identity and generation, not by its place.
func TestBlankDiskInUIsNotPromoted(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	s.replaceDisk(other)
	primary.powerOff()
	other.boot()
	before := s.stats.Promotions
	s.run(20 * time.Second)
	if s.stats.Promotions != before {
		t.Error("something was promoted")
	}
	primary.boot()
	s.end()
}

// S1: the first U is what was seen to be equal, not what the configuration names.
func TestFirstUIsNotTakenFromConfiguration(t *testing.T) {
	s := rawStory(t, Options{PrimaryBefore: true})
	s.must(s.data[1].disk.format(0xb1a4c, 0))
	s.Start()
	s.startClients(2)
	s.until("the volume in the log", func() bool { return s.truth.volume.Adopted })
	s.acks(20)
	s.data[0].powerOff()
	s.primaryOn(s.data[1])
	s.end()
}

// Votes: who has lost its log has lost its promises, and does not vote.
func TestAmnesiacVoter(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	s.isolate(other)
	s.until("the peer out of U", func() bool { return !s.inU(other) })
	s.acks(10)
	primary.powerOff()
	witness := s.hosts[2]
	witness.powerOff()
	witness.log.Wipe()
	s.rejoin(other)
	witness.boot()
	index := s.truth.index
	s.run(20 * time.Second)
	if s.truth.index != index || s.leader() != nil {
		t.Errorf("the old host and the one without a memory have decided something: %s", s.describe())
	}
	primary.boot()
	s.end()
}

// S3, S6: nobody is promoted before the lease of the last Primary is over.
func TestNoPromotionBeforeTheLeaseIsOver(t *testing.T) {
	s := newStory(t, Options{})
	for range 3 {
		primary, other := s.sides()
		s.isolate(primary)
		s.primaryOn(other)
		if primary.leaseLive() {
			t.Error("the old Primary has its lease")
		}
		s.rejoin(primary)
		s.until("a whole cluster", s.healthy)
	}
	s.end()
}

// S6: a leader that is none any more can neither grant nor expire anything.
func TestDeposedLeaderThatBelieves(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	s.hosts[2].powerOff()
	s.until("a leader among the hosts", func() bool { return s.leader() != nil })
	for range 8 {
		if s.leader() == primary {
			break
		}
		l := s.leader()
		l.stopDaemon()
		s.run(3 * time.Second)
		l.startDaemon()
		s.until("a leader", func() bool { return s.leader() != nil })
		primary, other = s.data[0], s.data[1]
	}
	s.hosts[2].boot()
	if l := s.leader(); l != nil {
		s.isolate(l)
		s.run(8 * time.Second)
		s.rejoin(l)
	}
	_ = other
	s.end()
}

// S6: a volume process whose daemon is dead goes on until the lease ends, and no longer.
func TestDaemonDeadWhileTheVolumeAcknowledges(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	primary.stopDaemon()
	s.acks(5)
	s.primaryOn(other)
	if primary.volume != nil && primary.volume.epoch != 0 {
		t.Error("the old Primary's volume process still is one")
	}
	primary.startDaemon()
	s.end()
}

// S6: a process that resumes after its lease completes nothing.
func TestPausedProcessResumes(t *testing.T) {
	for _, which := range []string{"volume", "guard", "both", "host"} {
		t.Run(which, func(t *testing.T) {
			s := newStory(t, Options{})
			primary, other := s.sides()
			s.acks(3)
			if which == "host" {
				primary.freeze(false)
			}
			if which == "volume" || which == "both" {
				primary.volumeProc.pause()
				primary.daemonProc.pause()
			}
			if which == "guard" || which == "both" {
				primary.guardProc.pause()
				primary.daemonProc.pause()
			}
			s.primaryOn(other)
			s.acks(10)
			primary.thaw()
			s.wake(primary.daemonProc)
			s.wake(primary.volumeProc)
			s.wake(primary.guardProc)
			s.end()
		})
	}
}

// S2 does not need clocks: a host whose CLOCK_BOOTTIME stood still believes in its lease, and loses nothing.
func TestClockThatStoodStill(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	primary.freeze(true)
	s.primaryOn(other)
	s.acks(10)
	primary.thaw()
	s.run(5 * time.Second)
	s.end()
}

// Votes: without a quorum the Primary goes on while its lease lasts, and then fails.
func TestWitnessLostThenAHost(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	s.hosts[2].powerOff()
	s.run(4 * time.Second)
	s.acks(5)
	other.powerOff()
	s.until("the Primary without a lease", func() bool { return !primary.leaseLive() })
	acked := s.stats.Acked
	s.run(8 * time.Second)
	if s.stats.Acked != acked {
		t.Errorf("%d writes were acknowledged without a quorum and without a lease", s.stats.Acked-acked)
	}
	s.hosts[2].boot()
	other.boot()
	s.end()
}

// S6: the host that freezes is Primary and leads.
func TestFrozenHostIsTheLeader(t *testing.T) {
	s := newStory(t, Options{})
	s.hosts[2].powerOff()
	s.run(4 * time.Second)
	primary, other := s.sides()
	if s.leader() != primary {
		other.stopDaemon()
		s.run(200 * time.Millisecond)
		other.startDaemon()
		s.until("the Primary leads", func() bool { return s.leader() != nil })
	}
	s.hosts[2].boot()
	s.run(time.Second)
	l := s.leader()
	if l == nil {
		t.Fatal("no leader")
	}
	l.freeze(false)
	s.run(10 * time.Second)
	l.thaw()
	s.end()
}

// S1: the last good disk is gone for good; an operator names the survivor and accepts the loss, and the old disk never comes
// back as the source of anything.
func TestSurvivorIsNamed(t *testing.T) {
	s := newStory(t, Options{})
	primary, other := s.sides()
	other.powerOff()
	s.until("the peer out of U", func() bool { return !s.inU(other) })
	s.acks(10)
	primary.powerOff()
	other.boot()
	s.until("the survivor's volume", func() bool { return other.daemon != nil && other.daemon.session != 0 && other.daemon.status != nil })
	s.until("the lost host's lease over", func() bool { return s.truth.volume.Primary == "" })
	st := other.daemon.status
	name := func(accept bool) error {
		var out error
		done := false
		other.daemon.propose(0, &state.VolumeSurvivor{Name: volumeName, Node: other.name, DeviceUUID: st.DeviceUUID, Generation: st.CurrentUUID,
			NewGeneration: "00000000000ABC00", AcceptLoss: accept, By: "root"}, func(err error) { out, done = err, true })
		s.until("an answer", func() bool { return done })
		return out
	}
	if err := name(false); err == nil {
		t.Error("a survivor that lacks acknowledged writes was taken without --accept-loss")
	}
	s.model.lost(other.disk)
	s.must(name(true))
	s.primaryOn(other)
	s.acks(10)
	primary.boot()
	s.until("the split brain detected", func() bool {
		return other.daemon.status != nil && strings.Contains(other.daemon.status.Reason, "invalidate")
	})
	primary.daemon.verb(api.VolumeDo{Verb: api.VolumeInvalidate}, func(api.VolumeReply) {})
	s.end()
}

// S1: a Primary that is being taken into the log loses its peer and dies: what it acknowledged alone is not lost.
func TestPrimaryAdoptedWhileItLosesItsPeer(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			s := rawStory(t, Options{})
			a, b := s.data[0], s.data[1]
			a.bare, b.bare = true, true
			s.Start()
			s.until("sessions, and the witness as the leader", func() bool {
				return a.daemon.session != 0 && b.daemon.session != 0 && s.leader() == s.hosts[2]
			})
			a.runAlone()
			b.runAlone()
			s.startClients(2)
			s.run(10 * time.Millisecond)
			a.daemon.meet()
			b.daemon.meet()
			a.bare, b.bare = false, false
			s.until("an adoption under way", func() bool { return a.daemon.busy || s.truth.volume.Adopted })
			s.Cut(a, b)
			for _, o := range s.hosts {
				if o != a {
					s.cut(o, a)
				}
			}
			if restart {
				a.killVolume()
				a.volumeGone()
			}
			s.run(3 * time.Second)
			a.powerOff()
			s.run(6 * time.Second)
			s.end()
		})
	}
}

// S3: a side that has not heard of the new epoch gets no connection to one that has.
func TestConnectionBelongsToOneEpoch(t *testing.T) {
	s := newStory(t, Options{})
	for range 4 {
		primary, other := s.sides()
		primary.standby = true
		s.until("a demotion", func() bool { return s.truth.volume.Primary == "" })
		primary.daemonProc.pause()
		s.primaryOn(other)
		s.run(time.Second)
		s.wake(primary.daemonProc)
		primary.standby = false
		s.until("a whole cluster", s.healthy)
	}
	s.end()
}

// S1: a volume at rest is taken into the log although the first proposals came to nothing.
func TestAdoptionIsTriedAgain(t *testing.T) {
	s := rawStory(t, Options{})
	a, b := s.data[0], s.data[1]
	a.bare, b.bare = true, true
	s.Start()
	a.guardProc.pause() // no guard, no lease, and without one no proposal
	b.guardProc.pause()
	s.until("a leader", func() bool { return s.leader() != nil })
	a.runAlone()
	b.runAlone()
	s.run(10 * time.Millisecond)
	a.daemon.meet()
	b.daemon.meet()
	s.run(3 * time.Second)
	s.wake(a.guardProc)
	s.wake(b.guardProc)
	s.until("the volume in the log", func() bool { return s.truth.volume.Adopted })
	a.bare, b.bare = false, false
	s.startClients(1)
	s.end()
}
