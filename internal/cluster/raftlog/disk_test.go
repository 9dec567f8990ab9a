package raftlog

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
)

// A write that fails ends the node, and nothing of it is acknowledged; nothing is tried again.
func TestFullDiskIsFatal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a small filesystem of its own needs root")
	}
	w := newNetwork(t)
	dir := w.path("a")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no filesystem can be mounted here: ", err)
	}
	t.Cleanup(func() {
		w.stop("a")
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	w.found("a")
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = filler.Write(block)
	}
	accepted := 0
	for err = nil; err == nil; accepted++ {
		err = w.note("a", text(accepted))
	}
	select {
	case fatal := <-w.node("a").Fatal():
		t.Log(fatal)
	case <-testContext(t).Done():
		t.Fatalf("the node lives on with a full disk (%v)", err)
	}
	if _, err := w.node("a").ReadIndex(testContext(t)); err == nil {
		t.Error("reads are answered after the end")
	}
	filler.Close()
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	n := w.open("a")
	if n.Fresh() != "" {
		t.Fatalf("the log was not kept: %s", n.Fresh())
	}
	n.Start()
	w.leader("a")
	for i := range accepted - 1 {
		if !noted(text(i))(n.View(), Status{}) {
			t.Errorf("%q was accepted and is gone", text(i))
		}
	}
}

// A host that has just restarted far behind the others can propose at once.
func TestProposalOfAHostFarBehind(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	leader := w.leader(names...)
	behind := others(names, leader)[0]
	w.isolate(behind, true)
	fill(t, w.node(leader), cluster.ProposalWindow+100)
	done := make(chan error, 1)
	go func() { done <- w.note(behind, "from behind") }()
	w.isolate(behind, false)
	err := <-done
	if errors.Is(err, ErrUnknownOutcome) {
		// On a slow machine it was sent twice before the refusal came: the caller is told to look, and to ask again.
		w.waitFor(behind, "the others' entries", func(v *state.View, _ Status) bool { return v.Index > cluster.ProposalWindow })
		if !noted("from behind")(w.node(behind).View(), Status{}) {
			err = w.note(behind, "from behind")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	w.waitFor(leader, "the note", func(v *state.View, _ Status) bool {
		count := 0
		for _, r := range v.Operator {
			if r.Text == "from behind" {
				count++
			}
		}
		if count > 1 {
			t.Errorf("applied %d times", count)
		}
		return count == 1
	})
}
