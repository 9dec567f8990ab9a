package state

import (
	"testing"
)

// split is a pair of which each has gone on alone, a with branch A and b with branch B.
func split(t *testing.T) (a, b *fixture) {
	t.Helper()
	a, b = pair(t), pair(t)
	for f, name := range map[*fixture]string{a: "a", b: "b"} {
		id := uint64(FirstBranch + 0xa)
		if name == "b" {
			id = FirstBranch + 0xb
		}
		if err := f.fork(name, id); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.lineage().Judge(b.lineage()); got != Diverged {
		t.Fatalf("the two are %s", got)
	}
	return a, b
}

func (f *fixture) lineage() Lineage { return f.m.View().Cluster.Lineage }

func TestReunite(t *testing.T) {
	a, b := split(t)
	a.refuses(&ClusterReunite{Node: "x", Lost: b.lineage()}, "no member")
	a.refuses(&ClusterReunite{Node: "b", Lost: a.lineage()}, "it is same")
	a.refuses(&ClusterReunite{Node: "b", Lost: Lineage{}}, "it is left behind")
	a.must(&ClusterReunite{Node: "b", Lost: b.lineage(), By: "root"})
	if !b.lineage().MustRetire(a.lineage(), true) || a.lineage().MustRetire(b.lineage(), false) {
		t.Errorf("%+v and %+v", a.lineage(), b.lineage())
	}
	a.refuses(&ClusterReunite{Node: "b", Lost: b.lineage()}, "it is left behind")
	// b has opened others before, and somebody may be on one of them.
	b.must(&MemberIncarnation{Name: "a", Incarnation: 41, Voter: true})
	if err := b.fork("b", FirstBranch+0xc); err != nil {
		t.Fatal(err)
	}
	a, _ = split(t)
	a.must(&ClusterReunite{Node: "b", Lost: b.lineage(), By: "root"})
	for _, id := range []uint64{FirstBranch + 0xb, FirstBranch + 0xc} {
		if got := (Lineage{Branch: id}).Judge(a.lineage()); got != GivenUp {
			t.Errorf("branch %x: %s", id, got)
		}
	}
}

// Each of two was given up for the other: then neither gives its log up. One that takes its word back can.
func TestReuniteCrosswise(t *testing.T) {
	a, b := split(t)
	of := a.lineage()
	a.must(&ClusterReunite{Node: "b", Lost: b.lineage()})
	b.must(&ClusterReunite{Node: "a", Lost: of})
	if a.lineage().MustRetire(b.lineage(), false) || b.lineage().MustRetire(a.lineage(), false) {
		t.Error("one of two that are given up for each other gives its log up")
	}
	b.must(&ClusterReunite{Node: "a", Lost: of, Undo: true})
	if !b.lineage().MustRetire(a.lineage(), false) || a.lineage().MustRetire(b.lineage(), false) {
		t.Error("taken back, it does not give its log up")
	}
}
