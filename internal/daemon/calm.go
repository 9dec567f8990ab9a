package daemon

import (
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
)

// calm tells whether every active lease was granted a moment ago. Only then may leadership move: a new leader counts
// every lease from its own beginning, so that a change while a node is silent would delay its end by a whole lease.
func (p *pulse) calm() bool {
	now := p.clock.Boottime()
	view := p.raft.View()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader == nil {
		return false
	}
	for node, l := range view.Leases {
		if l.State == state.LeaseActive && now.Sub(p.leader.LastGrant(node)) > calmGrants*cluster.Heartbeat {
			return false
		}
	}
	return true
}

// calmGrants is how many heartbeats old a grant may be to count as a moment ago.
const calmGrants = 4
