package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/cluster/state"
)

// Two of three voters are gone for good. The third goes on alone with all it knows; the others come back, one with its old
// log, find themselves given up, and are taken in again.
func TestBranch(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	if err := w.note("c", "before"); err != nil {
		t.Fatal(err)
	}
	w.waitFor("c", "the note", noted("before"))
	for _, name := range names {
		w.stop(name)
	}
	if err := Branch(w.path("c"), state.ClusterBranch{Survivor: "c", By: "root", UnixSeconds: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.path("c"), fileName+beforeBranch)); err != nil {
		t.Errorf("the old log was not kept: %v", err)
	}
	c := w.open("c")
	c.Start()
	w.waitFor("c", "leading alone", func(v *state.View, s Status) bool {
		return s.IsLeader && len(s.Voters) == 1 && v.Cluster.Branch >= state.FirstBranch && v.Members["c"].Incarnation == c.Incarnation()
	})
	if !noted("before")(c.View(), c.Status()) {
		t.Error("what the survivor knew is lost")
	}
	if err := w.note("c", "after"); err != nil {
		t.Fatal(err)
	}
	a := w.open("a") // with its old log
	a.Start()
	old := a.Incarnation()
	a.Retire("it was given up")
	if err := <-a.Fatal(); err == nil || !strings.Contains(err.Error(), "it was given up") {
		t.Fatalf("retired: %v", err)
	}
	<-a.done
	a = w.open("a")
	if a.Incarnation() == old || !strings.Contains(a.Fresh(), "retired") {
		t.Fatalf("after retiring: incarnation %x (%q)", a.Incarnation(), a.Fresh())
	}
	a.Start()
	if err := c.Admit(testContext(t), member("a", a.Incarnation())); err != nil {
		t.Fatal(err)
	}
	w.waitFor("a", "voting in the new branch", recordedVoter("a", a.Incarnation()))
	w.waitFor("a", "the note of the new branch", noted("after"))
}

func TestBranchWithoutALog(t *testing.T) {
	if err := Branch(t.TempDir(), state.ClusterBranch{Survivor: "a", By: "root"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a branch of no log: %v", err)
	}
}

// pairOf makes a running cluster of two hosts whose log has no-quorum-policy=ignore.
func (w *network) pairOf(names ...string) {
	w.t.Helper()
	w.found(names...)
	var xml string
	w.waitFor(names[0], "the cluster's record", func(v *state.View, _ Status) bool {
		if v.CIB != nil {
			xml = string(v.CIB.Bytes())
		}
		return v.CIB != nil
	})
	const end = "</cluster_property_set>"
	xml = strings.Replace(xml, end, `<nvpair id="nqp" name="no-quorum-policy" value="ignore"/>`+end, 1)
	if _, err := w.node(names[0]).Propose(testContext(w.t), &state.CIBReplace{XML: xml}); err != nil {
		w.t.Fatal(err)
	}
}

func forkOf(name string) state.ClusterBranch {
	return state.ClusterBranch{Survivor: name, Fork: true, By: "ignore", UnixSeconds: 1}
}

// Each of two hosts goes on alone: neither log has left the other behind.
func TestForkOfBoth(t *testing.T) {
	w := newNetwork(t)
	w.pairOf("a", "b")
	w.waitFor("b", "the policy", func(v *state.View, _ Status) bool { return v.CIB != nil && v.MayFork("b") == nil })
	w.stop("a")
	w.stop("b")
	for _, name := range []string{"a", "b"} {
		if err := Branch(w.path(name), forkOf(name)); err != nil {
			t.Fatal(err)
		}
		w.open(name).Start()
	}
	for _, name := range []string{"a", "b"} {
		w.waitFor(name, "leading alone", func(_ *state.View, s Status) bool { return s.IsLeader })
		if err := w.note(name, "alone as "+name); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.node("a").View().Cluster.Judge(w.node("b").View().Cluster.Lineage); got != state.Diverged {
		t.Errorf("the branches are %s", got)
	}
	if noted("alone as a")(w.node("b").View(), Status{}) || noted("alone as b")(w.node("a").View(), Status{}) {
		t.Error("something crossed over")
	}
	w.stop("a")
	if err := Branch(w.path("a"), forkOf("a")); !errors.Is(err, ErrVoters) {
		t.Errorf("the only voter forks: %v", err)
	}
}

// A witness is being given its vote, and this host has heard of that only just: it is not one of two any more.
func TestNoForkWhileTheVotersChange(t *testing.T) {
	w := newNetwork(t)
	w.pairOf("a", "b")
	a := w.leader("a", "b")
	b := others([]string{"a", "b"}, a)[0]
	wit := w.open("w")
	wit.Start()
	if err := w.node(a).Admit(testContext(t), member("w", wit.Incarnation())); err != nil {
		t.Fatal(err)
	}
	w.waitFor(b, "the learner", func(_ *state.View, s Status) bool { return len(s.Learners)+len(s.Voters) == 3 })
	w.stop(b)
	if err := Branch(w.path(b), forkOf(b)); err == nil {
		t.Error("forked although a witness is a member")
	}
	w.open(b).Start()
	w.waitFor(b, "three voters, with its log as it was", func(_ *state.View, s Status) bool { return len(s.Voters) == 3 })
}
