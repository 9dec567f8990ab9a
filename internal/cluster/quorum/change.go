package quorum

import "slices"

// Member is a member as the log records it.
type Member struct {
	Name        string
	Incarnation uint64
	// Votes: it is to vote once it has caught up.
	Votes bool
	// Recorded: the log's record says that it votes now.
	Recorded bool
}

// Config is Raft's own configuration.
type Config struct {
	Voters, Learners []uint64
	// Joint: a change is under way.
	Joint bool
}

// Action is one kind of change.
type Action string

// The actions. None means that all is as it should be, or that what is missing has to catch up first.
const (
	None       Action = ""
	AddLearner Action = "add learner"
	Promote    Action = "promote"         // Incarnation becomes a voter
	Replace    Action = "replace voter"   // Incarnation becomes a voter as Old leaves, at once
	Remove     Action = "remove"          // Incarnation leaves
	Record     Action = "record the vote" // the log's record of Name is to follow Raft's configuration
)

// Change is the next step towards a configuration that fits the members.
type Change struct {
	Do               Action
	Name             string
	Incarnation, Old uint64
	// Voter is what to record.
	Voter bool
}

// NextChange compares the members with Raft's configuration. caughtUp tells whether a learner has the log. One change at
// a time; the order: take in new incarnations as learners, let those that have caught up vote (in the place of the same
// member's former incarnation, if that still counts), put on record who votes, remove what belongs to no member.
func NextChange(members []Member, conf Config, caughtUp func(id uint64) bool) Change {
	if conf.Joint {
		return Change{}
	}
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return compareNames(a.Name, b.Name) })
	steps := [...]func([]Member, Config, func(uint64) bool) Change{nextLearner, nextVoter, nextRecord, nextRemoval}
	for _, step := range steps {
		if c := step(members, conf, caughtUp); c.Do != None {
			return c
		}
	}
	return Change{}
}

func nextLearner(members []Member, conf Config, _ func(uint64) bool) Change {
	for _, m := range members {
		if !slices.Contains(conf.Voters, m.Incarnation) && !slices.Contains(conf.Learners, m.Incarnation) {
			return Change{Do: AddLearner, Name: m.Name, Incarnation: m.Incarnation}
		}
	}
	return Change{}
}

func nextVoter(members []Member, conf Config, caughtUp func(uint64) bool) Change {
	for _, m := range members {
		if !m.Votes || !slices.Contains(conf.Learners, m.Incarnation) || !caughtUp(m.Incarnation) {
			continue
		}
		// A voter that is no member's incarnation is the former self of a member that lost its log. It may be another
		// member's: that costs nothing, since neither votes again.
		if old, ok := orphan(members, conf.Voters); ok {
			return Change{Do: Replace, Name: m.Name, Incarnation: m.Incarnation, Old: old}
		}
		return Change{Do: Promote, Name: m.Name, Incarnation: m.Incarnation}
	}
	return Change{}
}

func nextRecord(members []Member, conf Config, _ func(uint64) bool) Change {
	for _, m := range members {
		if votes := slices.Contains(conf.Voters, m.Incarnation); votes != m.Recorded {
			return Change{Do: Record, Name: m.Name, Incarnation: m.Incarnation, Voter: votes}
		}
	}
	return Change{}
}

// nextRemoval leaves former incarnations of voters in place while a member is still catching up to replace them, so that
// the number of votes a quorum needs does not sink meanwhile.
func nextRemoval(members []Member, conf Config, _ func(uint64) bool) Change {
	if id, ok := orphan(members, conf.Learners); ok {
		return Change{Do: Remove, Incarnation: id}
	}
	for _, m := range members {
		if m.Votes && slices.Contains(conf.Learners, m.Incarnation) {
			return Change{}
		}
	}
	if id, ok := orphan(members, conf.Voters); ok && len(conf.Voters) > 1 {
		return Change{Do: Remove, Incarnation: id}
	}
	return Change{}
}

// orphan finds the lowest id that is no member's incarnation.
func orphan(members []Member, ids []uint64) (uint64, bool) {
	for _, id := range slices.Sorted(slices.Values(ids)) {
		if !slices.ContainsFunc(members, func(m Member) bool { return m.Incarnation == id }) {
			return id, true
		}
	}
	return 0, false
}

func compareNames(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
