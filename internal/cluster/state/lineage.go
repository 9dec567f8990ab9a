package state

import (
	"slices"

	"holdfast/internal/cluster"
)

// Lineage tells which branch of the log a state belongs to, and which others it has left behind. Logs of different branches
// never meet: a host of a branch that was left behind gives its log up and is taken in again.
type Lineage struct {
	// Branch is random, drawn when the branch was opened (at least FirstBranch); 0 is the log the cluster was founded with.
	// Earlier versions counted their branches from 1, so that each smaller number is one left behind.
	Branch uint64 `json:"branch,omitempty"`
	// Former are the branches left behind, oldest first, at most cluster.MaxFormerBranches.
	Former []FormerBranch `json:"former,omitempty"`
}

// FormerBranch is a branch that was left behind.
type FormerBranch struct {
	ID uint64 `json:"id"`
	// Fork: one of its two voters went on without the other by itself. It may have done so only when nobody could hold a lease
	// of the old branch any more; whoever holds one must not take its word for it.
	Fork bool `json:"fork,omitempty"`
}

// FirstBranch is the lowest ID that is drawn; what is below was counted by an earlier version.
const FirstBranch = 1 << 32

// Kinship is how the branch of another host stands to one's own.
type Kinship string

// The kinships.
const (
	// SameBranch: both have the same log.
	SameBranch Kinship = "same"
	// GivenUp: the other has left this one behind.
	GivenUp Kinship = "given up"
	// LeftBehind: this one has left the other behind.
	LeftBehind Kinship = "left behind"
	// Diverged: neither has, or each has the other. Both go on apart, until an operator gives one of them up.
	Diverged Kinship = "diverged"
)

// Judge compares this branch with that of another host.
func (l Lineage) Judge(o Lineage) Kinship {
	_, up := o.left(l.Branch)
	_, behind := l.left(o.Branch)
	switch {
	case l.Branch == o.Branch:
		return SameBranch
	case up && !behind:
		return GivenUp
	case behind && !up:
		return LeftBehind
	default:
		return Diverged
	}
}

// MustRetire tells whether a host of this branch that hears from a member of o must give its log up. leased says that it holds a
// lease now: then nobody can have forked, whatever is claimed. An operator's word counts all the same.
func (l Lineage) MustRetire(o Lineage, leased bool) bool {
	f, _ := o.left(l.Branch)
	return l.Judge(o) == GivenUp && !(f.Fork && leased)
}

// HasLeft tells whether the branch id was left behind.
func (l Lineage) HasLeft(id uint64) bool {
	_, ok := l.left(id)
	return ok
}

// left finds a branch among those left behind.
func (l Lineage) left(id uint64) (FormerBranch, bool) {
	if l.counted() {
		return FormerBranch{ID: id}, id < l.Branch
	}
	for _, f := range l.Former {
		if f.ID == id {
			return f, true
		}
	}
	return FormerBranch{}, false
}

// counted tells whether the lineage is one of an earlier version.
func (l Lineage) counted() bool { return len(l.Former) == 0 && l.Branch < FirstBranch }

// leaveBehind adds a branch to those left behind. The oldest are forgotten only when nobody can have a log of theirs any more:
// every member has been taken into the present branch. Otherwise a host that came back with such a log could not be told that
// it was given up, and would count as diverged.
func (t *tx) leaveBehind(f FormerBranch) error {
	list := slices.Clone(t.Cluster.Former)
	if t.Cluster.counted() {
		for id := range min(t.Cluster.Branch, cluster.MaxFormerBranches) {
			list = append(list, FormerBranch{ID: id})
		}
	}
	list = append(list, f)
	if len(list) > cluster.MaxFormerBranches {
		if missing := t.missing(); len(missing) > 0 {
			return refusal("the log has left %d branches behind, and members that may be on one of them have not come back since (%v): start them, or take them out of the cluster (holdfast member remove)", len(list)-1, missing)
		}
		list = list[len(list)-1:]
	}
	t.Cluster.Former = list
	return nil
}

// missing lists the members that have not been taken into the present branch, sorted.
func (t *tx) missing() []string {
	var out []string
	for _, name := range t.MemberNames() {
		if t.Members[name].Incarnation == 0 {
			out = append(out, name)
		}
	}
	return out
}
