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
	if err := Branch(w.path("c"), "c", "root", 1); err != nil {
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
	if err := Branch(t.TempDir(), "a", "root", 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a branch of no log: %v", err)
	}
}
