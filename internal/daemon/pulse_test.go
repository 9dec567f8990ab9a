package daemon

import (
	"context"
	"sync"
	"testing"
	"time"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/liveness"
	"holdfast/internal/cluster/state"
)

// handClock is a clock that the test moves.
type handClock struct {
	mu  sync.Mutex
	now clock.Boottime
}

func (c *handClock) Boottime() clock.Boottime {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) Wall() time.Time { return time.Unix(0, int64(c.Boottime())).UTC() }

func (c *handClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// heart is node a's pulse in the cluster of a, b and w.
type heart struct {
	t      *testing.T
	log    *machineLog
	clock  *handClock
	pulse  *pulse
	events *events
	ctx    context.Context

	mu     sync.Mutex
	sent   map[string][]beat // by receiver
	grants []clock.Boottime
}

func newHeart(t *testing.T) *heart {
	t.Helper()
	h := &heart{t: t, log: newMachineLog(t), clock: &handClock{now: clock.Boottime(time.Hour)}, events: &events{}, sent: map[string][]beat{}}
	h.log.set(func(l *machineLog) { l.status.LeaderReady = h.clock.now })
	ctx, cancel := context.WithCancel(context.Background())
	h.ctx = ctx
	h.pulse = newPulse("a", h.log, h.clock, quiet())
	h.pulse.event = h.events.Event
	h.pulse.send = func(to string, b beat) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sent[to] = append(h.sent[to], b)
	}
	h.pulse.granted = func(_ uint64, d clock.Boottime) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.grants = append(h.grants, d)
	}
	t.Cleanup(func() {
		cancel()
		h.idle()
	})
	return h
}

// idle waits until no renewal is waiting for a read.
func (h *heart) idle() {
	h.t.Helper()
	agenttest.Until(h.t, "the leader's reads", func() bool {
		h.pulse.mu.Lock()
		defer h.pulse.mu.Unlock()
		return !h.pulse.reading
	})
}

func (h *heart) granted() []clock.Boottime {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]clock.Boottime(nil), h.grants...)
}

// grantsTo counts the grants sent to a member.
func (h *heart) grantsTo(node string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, b := range h.sent[node] {
		if b.Grant != nil {
			n++
		}
	}
	return n
}

func (h *heart) renewFrom(node string, session, id uint64) {
	h.pulse.heard(h.ctx, node, 0, beat{Beat: liveness.Beat{Renew: &liveness.Renewal{Session: session, ID: id}}})
}

// gate holds reads back until it is closed, and tells of each that has come.
func (h *heart) gate() (arrived, open chan struct{}) {
	arrived, open = make(chan struct{}, 16), make(chan struct{})
	h.log.set(func(l *machineLog) {
		l.readGate = func(ctx context.Context) error {
			arrived <- struct{}{}
			select {
			case <-open:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return arrived, open
}

func TestLeaderGrantsItselfOnlyAfterARead(t *testing.T) {
	h := newHeart(t)
	arrived, open := h.gate()
	h.pulse.begin(1)
	stamp := h.clock.Boottime()
	h.pulse.tick(h.ctx)
	<-arrived
	if n := len(h.granted()); n != 0 {
		t.Fatalf("%d grants before the read", n)
	}
	h.clock.pass(50 * time.Millisecond) // the read takes its time; the lease counts from the stamp
	close(open)
	h.idle()
	got := h.granted()
	if len(got) != 1 || got[0] != stamp.Add(cluster.LeaseLength) {
		t.Fatalf("granted until %v, want %v", got, stamp.Add(cluster.LeaseLength))
	}
	if h.pulse.deadline() != got[0] || h.pulse.session() != 1 {
		t.Errorf("deadline %d, session %d", h.pulse.deadline(), h.pulse.session())
	}
}

// A renewal that comes while a read is under way waits for one that begins after it.
func TestRenewalsWaitForAReadOfTheirOwn(t *testing.T) {
	h := newHeart(t)
	h.pulse.tick(h.ctx)
	arrived, open := h.gate()
	h.renewFrom("b", 1, 1)
	<-arrived
	h.renewFrom("b", 1, 2)
	h.renewFrom("w", 1, 1)
	close(open)
	h.idle()
	if h.grantsTo("b") != 2 || h.grantsTo("w") != 1 {
		t.Errorf("%d grants to b, %d to w", h.grantsTo("b"), h.grantsTo("w"))
	}
	if reads := len(arrived) + 1; reads != 2 {
		t.Errorf("%d reads, want 2: one for the first renewal, one for both others", reads)
	}
}

// Another leader may have answered the read, and does not know of a grant given here.
func TestNoGrantByOneWhoNoLongerLeads(t *testing.T) {
	for name, change := range map[string]func(*machineLog){
		"another leads":            func(l *machineLog) { l.status.IsLeader, l.status.Leader, l.status.Term = false, "b", 2 },
		"elected again in between": func(l *machineLog) { l.status.Term = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHeart(t)
			h.pulse.tick(h.ctx)
			arrived, open := h.gate()
			h.renewFrom("b", 1, 1)
			<-arrived
			h.log.set(change)
			close(open)
			h.idle()
			if n := h.grantsTo("b"); n != 0 {
				t.Errorf("%d grants", n)
			}
		})
	}
}

func TestNoGrantWithoutAQuorum(t *testing.T) {
	h := newHeart(t)
	h.pulse.tick(h.ctx)
	h.log.set(func(l *machineLog) { l.readGate = func(context.Context) error { return context.DeadlineExceeded } })
	h.renewFrom("b", 1, 1)
	h.idle()
	if n := h.grantsTo("b"); n != 0 {
		t.Errorf("%d grants", n)
	}
}

func TestFollowerGrantsNothingAndTakesGrants(t *testing.T) {
	h := newHeart(t)
	h.log.set(func(l *machineLog) { l.status.IsLeader, l.status.Leader = false, "b" })
	h.pulse.begin(1)
	stamp := h.clock.Boottime()
	h.pulse.tick(h.ctx)
	h.renewFrom("w", 1, 1)
	h.idle()
	if h.grantsTo("w") != 0 || len(h.granted()) != 0 || h.log.reads != 0 {
		t.Fatal("a follower has granted a lease")
	}
	h.mu.Lock()
	renewal := h.sent["b"][0].Renew
	toWitness := h.sent["w"][0].Renew
	h.mu.Unlock()
	if renewal == nil || toWitness == nil || renewal.Session != 1 {
		t.Fatalf("renewals sent: %+v, %+v; every member gets them, since any may lead", renewal, toWitness)
	}
	h.clock.pass(30 * time.Millisecond)
	h.pulse.heard(h.ctx, "b", 0, beat{Grant: renewal})
	if got := h.granted(); len(got) != 1 || got[0] != stamp.Add(cluster.LeaseLength) {
		t.Errorf("granted until %v", got)
	}
	h.pulse.heard(h.ctx, "b", 0, beat{Grant: &liveness.Renewal{Session: 9, ID: 1}})
	if n := len(h.granted()); n != 1 {
		t.Error("a grant of another session counts")
	}
	h.pulse.end()
	if h.pulse.session() != 0 {
		t.Error("the session goes on after its end")
	}
}

// through lets time pass in heartbeats; a renews and is granted, b and w are silent.
func (h *heart) through(d time.Duration) {
	h.t.Helper()
	for ; d > 0; d -= cluster.Heartbeat {
		h.clock.pass(min(d, cluster.Heartbeat))
		h.pulse.tick(h.ctx)
		h.idle()
	}
}

func lease(l *machineLog, node string) state.LeaseState { return l.View().Leases[node].State }

func TestSilentMembersExpire(t *testing.T) {
	h := newHeart(t)
	h.pulse.begin(1)
	h.pulse.tick(h.ctx)
	h.idle()
	h.renewFrom("b", 1, 1)
	h.idle()
	h.through(cluster.LeaseLength + cluster.LeaseMargin - time.Millisecond)
	if lease(h.log, "b") != state.LeaseActive {
		t.Fatal("expired before L and the margin have passed since the last grant")
	}
	h.through(time.Millisecond)
	agenttest.Until(t, "b's lease to expire", func() bool { return lease(h.log, "b") == state.LeaseExpired })
	h.renewFrom("b", 1, 2)
	h.idle()
	if n := h.grantsTo("b"); n != 1 {
		t.Errorf("%d grants to b, one of them after its lease was over", n)
	}
	if lease(h.log, "a") != state.LeaseActive {
		t.Error("the leader's own lease has expired although it was granted")
	}
}

// An expiry whose outcome is unknown is proposed until it is known, and nothing is granted meanwhile.
func TestExpiryOfUnknownOutcome(t *testing.T) {
	h := newHeart(t)
	h.pulse.begin(1)
	h.pulse.tick(h.ctx)
	h.idle()
	h.log.set(func(l *machineLog) { l.lost = 3 })
	h.through(cluster.LeaseLength + cluster.LeaseMargin)
	agenttest.Until(t, "both silent members to expire", func() bool {
		return lease(h.log, "b") == state.LeaseExpired && lease(h.log, "w") == state.LeaseExpired
	})
	if n := h.grantsTo("b"); n != 0 {
		t.Errorf("%d grants", n)
	}
}

// A leader whose expiry the log did not take, since another led for a moment, counts and grants as before.
func TestExpiryRefusedIsNoExpiry(t *testing.T) {
	h := newHeart(t)
	h.pulse.begin(1)
	h.pulse.tick(h.ctx)
	h.idle()
	h.through(cluster.LeaseLength)
	h.log.set(func(l *machineLog) { l.status.IsLeader = false })
	h.clock.pass(cluster.LeaseMargin)
	h.pulse.expire(h.ctx)
	h.pulse.mu.Lock()
	leader := h.pulse.leader
	h.pulse.mu.Unlock()
	agenttest.Until(t, "the refusals to be known", func() bool {
		h.pulse.mu.Lock()
		defer h.pulse.mu.Unlock()
		return len(leader.Retry()) == 0
	})
	if lease(h.log, "b") != state.LeaseActive {
		t.Fatal("expired by one who does not lead")
	}
	h.log.set(func(l *machineLog) { l.status.IsLeader = true })
	h.renewFrom("b", 1, 1)
	h.idle()
	if n := h.grantsTo("b"); n != 1 {
		t.Errorf("%d grants", n)
	}
}

func TestSuspicionAndPausesAreOnTheTimeline(t *testing.T) {
	h := newHeart(t)
	h.pulse.tick(h.ctx)
	h.pulse.heard(h.ctx, "b", 0, beat{})
	h.through(cluster.DefaultToken + 2*cluster.Heartbeat)
	if !h.events.has(string(liveness.Suspect)) {
		t.Errorf("no suspicion of a silent member: %v", h.events.seen)
	}
	h.clock.pass(10 * time.Second)
	h.pulse.tick(h.ctx)
	if !h.events.has("self.paused") {
		t.Errorf("no word of the pause: %v", h.events.seen)
	}
}

func TestPulseBeatsUntilItsEnd(t *testing.T) {
	h := newHeart(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.pulse.run(ctx)
	}()
	agenttest.Until(t, "three heartbeats to b", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.sent["b"]) >= 3
	})
	cancel()
	<-done
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.sent["a"]) != 0 {
		t.Error("heartbeats to itself")
	}
}
