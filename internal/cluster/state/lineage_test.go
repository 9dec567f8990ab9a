package state

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"holdfast/internal/cluster"
)

func TestJudge(t *testing.T) {
	const a, b, c = FirstBranch + 10, FirstBranch + 11, FirstBranch + 12
	of := func(id uint64, former ...uint64) Lineage {
		l := Lineage{Branch: id}
		for _, f := range former {
			l.Former = append(l.Former, FormerBranch{ID: f})
		}
		return l
	}
	for _, test := range []struct {
		mine, theirs Lineage
		want         Kinship
	}{
		{Lineage{}, Lineage{}, SameBranch},
		{of(a, 0), of(a, 0), SameBranch},
		{Lineage{}, of(a, 0), GivenUp},
		{of(a, 0), Lineage{}, LeftBehind},
		{of(a, 0), of(b, 0, a), GivenUp},
		{of(b, 0, a), of(a, 0), LeftBehind},
		{of(a, 0), of(b, 0), Diverged},
		{of(a, 0, b), of(b, 0, a), Diverged},        // each was told to leave the other behind
		{Lineage{Branch: 2}, Lineage{}, LeftBehind}, // as earlier versions counted
		{Lineage{Branch: 2}, Lineage{Branch: 3}, GivenUp},
		{Lineage{Branch: 2}, of(a, 0, 1, 2), GivenUp},
		{Lineage{Branch: 3}, of(a, 0, 1, 2), Diverged},
		{of(a, 0), Lineage{Branch: c}, Diverged}, // a claim that names nothing it has left behind
		{Lineage{}, Lineage{Branch: c}, Diverged},
		{of(b, a), Lineage{}, Diverged}, // forgotten: not guessed
	} {
		if got := test.mine.Judge(test.theirs); got != test.want {
			t.Errorf("%+v to %+v: %s, want %s", test.mine, test.theirs, got, test.want)
		}
	}
}

// A host with a lease gives its log up on an operator's word only.
func TestMustRetire(t *testing.T) {
	mine := Lineage{Branch: FirstBranch}
	for _, fork := range []bool{false, true} {
		theirs := Lineage{Branch: FirstBranch + 1, Former: []FormerBranch{{ID: 0}, {ID: FirstBranch, Fork: fork}}}
		if !mine.MustRetire(theirs, false) || mine.MustRetire(theirs, true) != !fork || theirs.MustRetire(mine, false) {
			t.Errorf("fork %v: %v without a lease, %v with one", fork, mine.MustRetire(theirs, false), mine.MustRetire(theirs, true))
		}
	}
}

// Two hosts are never both to give their logs up for one another.
func TestJudgeIsOpposite(t *testing.T) {
	opposite := map[Kinship]Kinship{SameBranch: SameBranch, GivenUp: LeftBehind, LeftBehind: GivenUp, Diverged: Diverged}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) Lineage {
			id := rapid.OneOf(rapid.Uint64Range(0, 4), rapid.Uint64Range(FirstBranch, FirstBranch+4))
			l := Lineage{Branch: id.Draw(t, name)}
			for _, f := range rapid.SliceOfN(id, 0, 4).Draw(t, name+" former") {
				l.Former = append(l.Former, FormerBranch{ID: f})
			}
			return l
		}
		a, b := draw("a"), draw("b")
		if a.Judge(b) != opposite[b.Judge(a)] {
			t.Fatalf("%+v to %+v: %s, and the other way %s", a, b, a.Judge(b), b.Judge(a))
		}
	})
}

// The list of former branches is bounded. The oldest are forgotten when every member has come back since, and else nothing is.
func TestFormerBranchesAreBounded(t *testing.T) {
	f := founded(t)
	open := func(n int) error {
		f.index++
		f.term++
		return f.m.Branch(f.index, f.term, &ClusterBranch{Survivor: "a", Branch: FirstBranch + uint64(n), Incarnation: 100 + uint64(n), By: "root"})
	}
	for n := range cluster.MaxFormerBranches {
		if err := open(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(99); err == nil || !strings.Contains(err.Error(), "[b w]") {
		t.Fatalf("a branch more than can be remembered: %v", err)
	}
	before := f.m.View().Cluster.Lineage
	if (Lineage{}).Judge(before) != GivenUp {
		t.Error("the first branch was forgotten while b and w may be on it")
	}
	for i, name := range []string{"b", "w"} {
		f.must(&MemberIncarnation{Name: name, Incarnation: 900 + uint64(i)})
	}
	if err := open(99); err != nil {
		t.Fatal(err)
	}
	now := f.m.View().Cluster.Lineage
	if fmt.Sprint(now.Former) != fmt.Sprint([]FormerBranch{{ID: before.Branch}}) || before.Judge(now) != GivenUp {
		t.Errorf("after everybody came back: %+v", now)
	}
}

// The state of an earlier version, which counted its branches, goes on.
func TestCountedBranches(t *testing.T) {
	f := founded(t)
	old := *f.m.View()
	old.Cluster.Branch = 2
	f.m.view = &old
	restored := New()
	if err := restored.Restore(f.m.Snapshot()); err != nil {
		t.Fatal(err)
	}
	if err := restored.Branch(f.index+1, f.term+1, &ClusterBranch{Survivor: "a", Branch: FirstBranch, Incarnation: 77, By: "root"}); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(3) {
		if got := (Lineage{Branch: id}).Judge(restored.View().Cluster.Lineage); got != GivenUp {
			t.Errorf("branch %d: %s", id, got)
		}
	}
}
