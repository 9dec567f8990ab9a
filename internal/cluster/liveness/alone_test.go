package liveness

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
)

func TestAloneIsDue(t *testing.T) {
	const l, margin, token = cluster.LeaseLength, cluster.LeaseMargin, cluster.DefaultToken
	at := func(d time.Duration) clock.Boottime { return clock.Boottime(time.Hour).Add(d) }
	for name, test := range map[string]struct {
		before func(a *Alone)
		heard  time.Duration
		due    time.Duration // 0: never
	}{
		"since boot the peer was not seen": {func(*Alone) {}, -time.Hour, 0},
		"an acknowledgement":               {func(a *Alone) { a.Granted(at(5*time.Second), at(6*time.Second)); a.Acknowledged(at(5 * time.Second)) }, 5 * time.Second, 5*time.Second + l + margin},
		"nothing was sent":                 {func(a *Alone) { a.Granted(at(0), at(l)) }, 0, l + margin},
		"its own lease":                    {func(a *Alone) { a.Granted(at(0), at(9*time.Second)) }, 0, 9 * time.Second},
		"the peer is heard":                {func(a *Alone) { a.Granted(at(0), at(l)) }, 20 * time.Second, 20*time.Second + token},
		"a grant that came too late":       {func(a *Alone) { a.Granted(at(5*time.Second), at(5*time.Second)) }, 0, 0},
		"this host stood still":            {func(a *Alone) { a.Granted(at(0), at(l)); a.Paused() }, 0, 0},
		"it stood still, together again":   {func(a *Alone) { a.Paused(); a.Granted(at(2*time.Second), at(2*time.Second+l)) }, 2 * time.Second, 2*time.Second + l},
		"an older acknowledgement is later": {func(a *Alone) {
			a.Granted(at(0), at(l))
			a.Acknowledged(at(3 * time.Second))
			a.Acknowledged(at(2 * time.Second))
		}, 0, 3*time.Second + l + margin},
	} {
		t.Run(name, func(t *testing.T) {
			a := NewAlone(at(0))
			test.before(a)
			due := func(d time.Duration) bool { return a.Due(at(d), at(test.heard), token, l, margin) }
			if test.due == 0 {
				if due(time.Hour) {
					t.Error("due")
				}
				return
			}
			if due(test.due-1) || !due(test.due) {
				t.Errorf("just before %v: %v, then: %v", test.due, due(test.due-1), due(test.due))
			}
		})
	}
}

// Whoever has lost its peer counts as long as the peer's guard does: two hosts, each with its own clock, and renewals that take
// any time. When this host is due, no deadline that the peer can have is still to come.
func TestAloneOutlastsThePeersLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// One host's clock may be a little faster: the margin is for that.
		rate := rapid.Float64Range(0.95, 1.05).Draw(t, "rate of the peer's clock")
		mine := func(real time.Duration) clock.Boottime { return clock.Boottime(time.Hour).Add(real) }
		theirs := func(real time.Duration) clock.Boottime {
			return clock.Boottime(3 * time.Hour).Add(time.Duration(float64(real) * rate))
		}
		a := NewAlone(mine(0))
		peer := Holder{Length: cluster.LeaseLength}
		peer.Begin(1)
		real := time.Duration(0)
		step := func(name string) { real += time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, name)) }
		a.Granted(mine(0), mine(cluster.LeaseLength))
		var last time.Duration
		for range rapid.IntRange(1, 5).Draw(t, "renewals") {
			step("until the next renewal")
			r, due, _ := peer.Renew(theirs(real))
			if !due {
				continue
			}
			step("until this host gives its word")
			last = real
			a.Acknowledged(mine(real))
			peer.Granted(r)
		}
		for d := last; d < last+3*cluster.LeaseLength; d += 10 * time.Millisecond {
			if a.Due(mine(d), mine(0), 0, cluster.LeaseLength, cluster.LeaseMargin) && peer.Live(theirs(d)) {
				t.Fatalf("due at %v, the peer's lease runs until %v of %v", d, peer.Deadline(), theirs(d))
			}
		}
	})
}
