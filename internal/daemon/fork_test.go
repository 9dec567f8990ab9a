package daemon

import (
	"testing"
	"time"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/liveness"
)

// What a host sends as its word, or as a grant, keeps it from going on alone for a lease and the margin; its own lease does, too.
func TestAloneCountsWhatIsSent(t *testing.T) {
	for name, word := range map[string]func(h *heart){
		"an acknowledgement": func(h *heart) { h.pulse.acknowledged() },
		"a grant": func(h *heart) {
			h.pulse.heard(h.ctx, "b", 0, beat{Beat: liveness.Beat{Renew: &liveness.Renewal{Session: 1, ID: 1}}})
			h.idle()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHeart(t)
			h.pulse.begin(1)
			h.pulse.tick(h.ctx) // it leads, and grants itself
			h.idle()
			if len(h.granted()) == 0 {
				t.Fatal("no lease")
			}
			h.clock.pass(cluster.LeaseLength)
			if h.pulse.aloneDue() {
				t.Error("due in a session")
			}
			word(h)
			h.pulse.end()
			h.clock.pass(cluster.LeaseLength + cluster.LeaseMargin - time.Millisecond)
			if h.pulse.aloneDue() {
				t.Error("due before the peer's lease is over")
			}
			h.clock.pass(time.Millisecond)
			if !h.pulse.aloneDue() {
				t.Error("not due")
			}
		})
	}
}

// A host that stood still does not go on alone.
func TestAloneAfterAPause(t *testing.T) {
	h := newHeart(t)
	h.pulse.begin(1)
	h.pulse.tick(h.ctx)
	h.idle()
	h.pulse.end()
	h.clock.pass(20 * time.Second)
	h.pulse.tick(h.ctx)
	if h.pulse.aloneDue() || h.pulse.together() {
		t.Error("due, although the peer may have gone on alone meanwhile")
	}
}
