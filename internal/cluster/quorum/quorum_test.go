package quorum

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func votes(present string, all ...string) []Vote {
	var out []Vote
	for _, n := range all {
		out = append(out, Vote{Node: n, Witness: n[0] == 'w', Present: strings.Contains(present, n)})
	}
	return out
}

func TestCount(t *testing.T) {
	tests := []struct {
		name    string
		votes   []Vote
		leader  bool
		want    Verdict
		warning string
	}{
		{"all of three", votes("abw", "a", "b", "w"), true, Verdict{Quorate: true, Have: 3, Need: 2, Voters: 3, Text: "3 of 3 votes present, 2 needed"}, ""},
		{"two of three", votes("bw", "w", "b", "a"), true, Verdict{Quorate: true, Have: 2, Need: 2, Voters: 3, Text: "2 of 3 votes present, 2 needed; not heard from: a"}, ""},
		{"one of three", votes("a", "a", "w", "b"), true, Verdict{Have: 1, Need: 2, Voters: 3, Text: "1 of 3 votes present, 2 needed; not heard from: b, w"}, ""},
		{"no leader yet", votes("ab", "a", "b", "w"), false, Verdict{Have: 2, Need: 2, Voters: 3, Text: "2 of 3 votes present, enough, but no leader is elected yet; not heard from: w"}, ""},
		{"half of four", votes("ab", "a", "b", "c", "d"), true, Verdict{Have: 2, Need: 3, Voters: 4, Text: "2 of 4 votes present, 3 needed; not heard from: c, d"}, "no more losses than 3"},
		{"two voters", votes("ab", "a", "b"), true, Verdict{Quorate: true, Have: 2, Need: 2, Voters: 2, Text: "2 of 2 votes present, 2 needed"}, "holdfast witness add"},
		{"one of two", votes("a", "a", "b"), true, Verdict{Have: 1, Need: 2, Voters: 2, Text: "1 of 2 votes present, 2 needed; not heard from: b"}, "holdfast witness add"},
		{"alone", votes("a", "a"), true, Verdict{Quorate: true, Have: 1, Need: 1, Voters: 1, Text: "1 of 1 votes present, 1 needed"}, "nothing to fail over to"},
		{"nobody", nil, false, Verdict{Need: 1, Text: "no voter is known: this host has not joined a cluster yet"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Count(tt.votes, tt.leader)
			if joined := strings.Join(got.Warnings, "\n"); !strings.Contains(joined, tt.warning) || (tt.warning == "") != (joined == "") {
				t.Errorf("warnings %q, want %q", joined, tt.warning)
			}
			got.Warnings = nil
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Two disjoint sets of voters are never both quorate.
func TestNoTwoQuorums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sides := rapid.SliceOfN(rapid.IntRange(0, 2), 0, 9).Draw(t, "sides")
		var left, right []Vote
		for i, side := range sides {
			node := string(rune('a' + i))
			left = append(left, Vote{Node: node, Present: side == 1})
			right = append(right, Vote{Node: node, Present: side == 2})
		}
		if Count(left, true).Quorate && Count(right, true).Quorate {
			t.Fatalf("both sides of %v are quorate", sides)
		}
	})
}

func TestNextChange(t *testing.T) {
	a := Member{Name: "a", Incarnation: 1, Votes: true, Recorded: true}
	b := Member{Name: "b", Incarnation: 2, Votes: true, Recorded: true}
	c := Member{Name: "c", Incarnation: 3, Votes: true, Recorded: true}
	fresh := Member{Name: "c", Incarnation: 9, Votes: true} // c without its log
	follower := Member{Name: "f", Incarnation: 5}
	all := []uint64{1, 2, 3}
	tests := []struct {
		name    string
		members []Member
		conf    Config
		ready   []uint64
		want    Change
	}{
		{"as it should be", []Member{a, b, c}, Config{Voters: all}, nil, Change{}},
		{"a change is under way", []Member{a, b}, Config{Voters: all, Joint: true}, nil, Change{}},
		{"a new member", []Member{a, b, c, follower}, Config{Voters: all}, nil, Change{Do: AddLearner, Name: "f", Incarnation: 5}},
		{"a follower never votes", []Member{a, b, c, follower}, Config{Voters: all, Learners: []uint64{5}}, []uint64{5}, Change{}},
		{"a new incarnation learns first", []Member{fresh, b, a}, Config{Voters: all}, []uint64{9}, Change{Do: AddLearner, Name: "c", Incarnation: 9}},
		{"until it has caught up, the old one stays", []Member{a, b, fresh}, Config{Voters: all, Learners: []uint64{9}}, nil, Change{}},
		{"then it takes the old one's place", []Member{a, b, fresh}, Config{Voters: all, Learners: []uint64{9}}, []uint64{9},
			Change{Do: Replace, Name: "c", Incarnation: 9, Old: 3}},
		{"a new voter", []Member{a, b, {Name: "c", Incarnation: 3, Votes: true}}, Config{Voters: []uint64{1, 2}, Learners: []uint64{3}}, []uint64{3},
			Change{Do: Promote, Name: "c", Incarnation: 3}},
		{"the vote is put on record", []Member{a, b, {Name: "c", Incarnation: 3, Votes: true}}, Config{Voters: all}, nil,
			Change{Do: Record, Name: "c", Incarnation: 3, Voter: true}},
		{"the lost vote too", []Member{a, b, {Name: "c", Incarnation: 9, Votes: true, Recorded: true}}, Config{Voters: all, Learners: []uint64{9}}, nil,
			Change{Do: Record, Name: "c", Incarnation: 9}},
		{"a removed voter goes", []Member{a, b}, Config{Voters: all}, nil, Change{Do: Remove, Incarnation: 3}},
		{"a removed learner goes", []Member{a, b, c}, Config{Voters: all, Learners: []uint64{5}}, nil, Change{Do: Remove, Incarnation: 5}},
		{"the last voter stays", nil, Config{Voters: []uint64{1}}, nil, Change{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := NextChange(tt.members, tt.conf, func(id uint64) bool { return slices.Contains(tt.ready, id) })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the start, the changes come to an end, keep a voter, and leave the configuration as the members want it.
func TestChangesConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var members []Member
		for i := range rapid.IntRange(1, 5).Draw(t, "members") {
			members = append(members, Member{Name: string(rune('a' + i)), Incarnation: uint64(i + 1),
				Votes: rapid.Bool().Draw(t, "votes"), Recorded: rapid.Bool().Draw(t, "recorded")})
		}
		members[0].Votes = true
		ids := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 9), 1, 6, rapid.ID[uint64]).Draw(t, "ids")
		split := rapid.IntRange(1, len(ids)).Draw(t, "voters")
		conf := Config{Voters: ids[:split:split], Learners: slices.Clone(ids[split:])}
		for range 100 {
			c := NextChange(members, conf, func(uint64) bool { return true })
			if c.Do == None {
				checkConverged(t, members, conf)
				return
			}
			conf = carry(conf, members, c)
			if len(conf.Voters) == 0 {
				t.Fatalf("no voter is left after %+v", c)
			}
		}
		t.Fatalf("no end: %+v %+v", members, conf)
	})
}

// carry does to the configuration what Raft would.
func carry(conf Config, members []Member, c Change) Config {
	drop := func(list []uint64, id uint64) []uint64 {
		return slices.DeleteFunc(slices.Clone(list), func(x uint64) bool { return x == id })
	}
	switch c.Do {
	case AddLearner:
		conf.Learners = append(conf.Learners, c.Incarnation)
	case Promote:
		conf.Learners, conf.Voters = drop(conf.Learners, c.Incarnation), append(conf.Voters, c.Incarnation)
	case Replace:
		conf.Learners, conf.Voters = drop(conf.Learners, c.Incarnation), append(drop(conf.Voters, c.Old), c.Incarnation)
	case Remove:
		conf.Learners, conf.Voters = drop(conf.Learners, c.Incarnation), drop(conf.Voters, c.Incarnation)
	case Record:
		for i := range members {
			if members[i].Name == c.Name {
				members[i].Recorded = c.Voter
			}
		}
	}
	return conf
}

func checkConverged(t *rapid.T, members []Member, conf Config) {
	for _, m := range members {
		votes := slices.Contains(conf.Voters, m.Incarnation)
		// A follower that votes already is left alone: no kind changes in a running cluster.
		if m.Votes && !votes || m.Recorded != votes {
			t.Fatalf("%+v does not fit %+v", m, conf)
		}
	}
	for _, id := range append(slices.Clone(conf.Voters), conf.Learners...) {
		known := slices.ContainsFunc(members, func(m Member) bool { return m.Incarnation == id })
		if !known && len(conf.Voters) > 1 {
			t.Fatalf("%d belongs to no member: %+v", id, conf)
		}
	}
}
