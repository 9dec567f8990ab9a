package daemon

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// kin are the members that go on apart, with other branches of the log, as each was heard last.
type kin struct {
	mu    sync.Mutex
	apart map[string]state.Lineage
}

// mayHear tells whether a member's heartbeat is to be heard, by the branch of the log it belongs to. A host whose own branch
// was left behind gives its log up: it must not vote or serve under it any more.
func (s *session) mayHear(from string, theirs state.Lineage) bool {
	now, mine := s.d.clock.Boottime(), s.raft.View().Cluster.Lineage
	// A log that is empty hears everybody. One that was founded is of a branch, also if this host does not know yet, after a
	// start, that anything in it was agreed on.
	if len(s.raft.Status().Voters) == 0 || mine.Branch == theirs.Branch {
		s.together(from)
		return true
	}
	switch kinship := mine.Judge(theirs); {
	case mine.MustRetire(theirs, now < s.pulse.deadline()):
		s.raft.Retire(fmt.Sprintf("%s goes on with branch %x of it, which has left this host's branch %x behind", from, theirs.Branch, mine.Branch))
	case kinship == state.LeftBehind:
		s.together(from)
	default:
		s.goesApart(from, theirs)
	}
	return false
}

// goesApart notes, and tells once, that a member goes on apart.
func (s *session) goesApart(from string, theirs state.Lineage) {
	s.kin.mu.Lock()
	defer s.kin.mu.Unlock()
	if s.kin.apart == nil {
		s.kin.apart = map[string]state.Lineage{}
	}
	old, known := s.kin.apart[from]
	s.kin.apart[from] = theirs
	if known && old.Branch == theirs.Branch {
		return
	}
	mine := s.raft.View().Cluster.Branch
	s.log.Error("split brain: another member goes on with another branch of the cluster's log", "member", from,
		"branch", branchName(theirs.Branch), "mine", branchName(mine))
	s.d.timeline.Event("cluster.diverged", map[string]any{"peer": from, "branch": branchName(theirs.Branch), "mine": branchName(mine)})
}

// together forgets that a member went on apart.
func (s *session) together(from string) {
	s.kin.mu.Lock()
	defer s.kin.mu.Unlock()
	delete(s.kin.apart, from)
}

// of is the lineage of a member that goes on apart; false if it does not.
func (k *kin) of(node string) (state.Lineage, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.apart[node]
	return l, ok
}

// apartFrom gives the members that go on apart, with the IDs of their branches in hexadecimal, sorted by name.
func (s *session) apartFrom() []api.ApartStatus {
	s.kin.mu.Lock()
	defer s.kin.mu.Unlock()
	var out []api.ApartStatus
	for _, name := range slices.Sorted(maps.Keys(s.kin.apart)) {
		out = append(out, api.ApartStatus{Node: name, Branch: branchName(s.kin.apart[name].Branch)})
	}
	return out
}

// branchName writes the ID of a branch for people.
func branchName(id uint64) string { return fmt.Sprintf("%x", id) }
