package cluster

import "testing"

// L must outlast an election whose votes are split once, from the last renewal before the leader's death on (DESIGN S6).
func TestLeaseOutlastsASplitVote(t *testing.T) {
	longest := (2*ElectionTicks - 1) * TickEvery
	if spare := LeaseLength - Heartbeat - 2*longest; spare < 2*Heartbeat {
		t.Errorf("two elections of up to %v leave %v of a lease of %v for their messages", longest, spare, LeaseLength)
	}
	if ElectionTicks < 4*RaftHeartbeatTicks {
		t.Errorf("%d ticks without a heartbeat begin an election; one is sent every %d", ElectionTicks, RaftHeartbeatTicks)
	}
}
