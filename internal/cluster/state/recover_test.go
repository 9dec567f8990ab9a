package state

import (
	"strings"
	"testing"
)

func TestBranchLeavesTheSurvivorAlone(t *testing.T) {
	f := promoted(t) // a is Primary, U is a and b
	old := f.m.View().Leases["b"].Session
	if err := f.m.Branch(f.index+1, f.term+1, &ClusterBranch{Survivor: "b", Branch: FirstBranch + 5, Incarnation: 77, By: "root"}); err != nil {
		t.Fatal(err)
	}
	f.index++
	f.term++
	v := f.m.View()
	if v.Cluster.Branch != FirstBranch+5 || v.Voters() != 1 || v.Cluster.Judge(Lineage{}) != LeftBehind {
		t.Errorf("branch %+v with %d voters", v.Cluster.Lineage, v.Voters())
	}
	for name, m := range v.Members {
		want := uint64(0)
		if name == "b" {
			want = 77
		}
		if m.Incarnation != want || m.Voter != (name == "b") {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if _, ok := v.MemberByIncarnation(0); ok {
		t.Error("a member without an incarnation is found by none")
	}
	vol := f.volume()
	if vol.Primary != "" || !vol.Unclean || len(vol.U) != 2 {
		t.Errorf("the lost Primary's tenure did not end uncleanly: %+v", vol)
	}
	f.refuses(&LeaseStart{Node: "b", Incarnation: 77, Session: old + 1}, "the next one of b is")
	f.must(&LeaseStart{Node: "b", Incarnation: 77, Session: v.Leases["b"].Session + 1})
	f.must(f.promote("b", "G0", "G9"))
	if u := f.volume().U; len(u) != 1 || u[0].Node != "b" {
		t.Errorf("U after the promotion of the survivor: %+v", u)
	}
	// The lost ones rejoin as new incarnations.
	f.refuses(&LeaseStart{Node: "a", Incarnation: 1, Session: v.Leases["a"].Session + 1}, "must be taken in again")
	f.must(&MemberIncarnation{Name: "a", Incarnation: 78})
	f.must(&LeaseStart{Node: "a", Incarnation: 78, Session: v.Leases["a"].Session + 1})
}

func TestBranchRefuses(t *testing.T) {
	f := founded(t)
	f.must(&MemberAdd{Member: person("f", Follower, 9)})
	for want, c := range map[string]*ClusterBranch{
		"no member":             {Survivor: "x", Branch: FirstBranch, Incarnation: 77},
		"needs a vote":          {Survivor: "f", Branch: FirstBranch, Incarnation: 77},
		"and a new incarnation": {Survivor: "a", Branch: FirstBranch, Incarnation: 1},
		"an ID of its own":      {Survivor: "a", Branch: 1, Incarnation: 77},
	} {
		if err := f.m.Branch(f.index+1, f.term, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
		f.index++
	}
	if f.m.View().Cluster.Branch != 0 {
		t.Error("a refused branch has begun")
	}
}

func TestAtRisk(t *testing.T) {
	f := adopted(t)
	all := func() string { return strings.Join(f.m.View().AtRisk("b"), "\n") }
	if got := all(); !strings.Contains(got, "removed from its up-to-date replicas (a, b)") || !strings.Contains(got, "votes of a, w") {
		t.Errorf("with both replicas: %s", got)
	}
	f.must(f.promote("a", "G0", "G1"))
	f.must(&VolumeRemove{Name: "r", Node: "a", Epoch: f.volume().Epoch, Version: f.volume().Version, Remove: "b", NewGeneration: "G2"})
	if got := all(); !strings.Contains(got, "are on a, not on b") {
		t.Errorf("without one's own: %s", got)
	}
}
