package raftlog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/state"
)

func TestElectionProposalAndRead(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	w.leader(names...)
	for i, name := range names {
		if err := w.note(name, text(i)); err != nil {
			t.Fatalf("propose on %s: %v", name, err)
		}
	}
	for _, name := range names {
		if _, err := w.node(name).ReadIndex(testContext(t)); err != nil {
			t.Fatalf("read on %s: %v", name, err)
		}
		for i := range names {
			if !noted(text(i))(w.node(name).View(), Status{}) {
				t.Errorf("%s lacks %q after a linearizable read", name, text(i))
			}
		}
	}
}

func TestRefusalComesBack(t *testing.T) {
	w := newNetwork(t)
	w.found("a")
	_, err := w.node("a").Propose(testContext(t), &state.MemberRemove{Name: "nobody"})
	var refused *state.Refusal
	if !errors.As(err, &refused) {
		t.Fatalf("want a refusal, got %v", err)
	}
}

func TestLeaderStops(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	first := w.leader(names...)
	w.stop(first)
	rest := others(names, first)
	if err := w.note(rest[0], "after"); err != nil {
		t.Fatal(err)
	}
	w.waitFor(rest[0], "another leader", func(_ *state.View, s Status) bool { return s.Leader != "" && s.Leader != first })
	w.open(first).Start()
	w.waitFor(first, "catching up after restart", noted("after"))
}

func TestMinorityDecidesNothing(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	old := w.leader(names...)
	w.isolate(old, true)
	rest := others(names, old)
	if err := w.note(rest[0], "majority"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if _, err := w.node(old).ReadIndex(ctx); err == nil {
		t.Error("a linearizable read succeeded in the minority")
	}
	w.waitFor(old, "stepping down", func(_ *state.View, s Status) bool { return !s.IsLeader })
	ctx2, cancel2 := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel2()
	if _, err := w.node(old).Propose(ctx2, &state.OperatorNote{By: "x", What: "x", Text: "minority"}); !errors.Is(err, ErrNoLeader) {
		t.Errorf("proposal in the minority: %v, want ErrNoLeader", err)
	}
	w.isolate(old, false)
	w.waitFor(old, "healing", noted("majority"))
	if noted("minority")(w.node(rest[0]).View(), Status{}) {
		t.Error("the minority's proposal was applied")
	}
}

// A leader that was cut off must not, through forwarding or repetition, have its expiry applied under the next one.
func TestTermBoundProposalDiesWithTheTerm(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	old := w.leader(names...)
	if _, err := w.node(old).Propose(testContext(t), &state.LeaseStart{Node: "a", Incarnation: w.node("a").Incarnation(), Session: 1}); err != nil {
		t.Fatal(err)
	}
	_, term := w.node(old).Leader()
	w.isolate(old, true)
	done := make(chan error, 1)
	go func() {
		_, err := w.node(old).ProposeInTerm(testContext(t), term, &state.LeaseExpire{Node: "a", Session: 1, Term: term})
		done <- err
	}()
	rest := others(names, old)
	w.waitFor(rest[0], "another leader", func(_ *state.View, s Status) bool { return s.Leader != "" && s.Leader != old })
	if err := <-done; !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotLeader) {
		t.Fatalf("the old leader's expiry ended with %v", err)
	}
	w.isolate(old, false)
	if err := w.note(old, "healed"); err != nil {
		t.Fatal(err)
	}
	if l := w.node(old).View().Leases["a"]; l.State != state.LeaseActive {
		t.Fatalf("the lease of a is %s: a former leader's expiry was applied", l.State)
	}
	if _, err := w.node(old).ProposeInTerm(testContext(t), term, &state.LeaseExpire{Node: "a", Session: 1, Term: term}); !errors.Is(err, ErrNotLeader) {
		t.Errorf("proposal in a past term: %v", err)
	}
	_, now := w.node(old).Leader()
	leader := w.leader(names...)
	if _, err := w.node(leader).ProposeInTerm(testContext(t), now, &state.LeaseExpire{Node: "a", Session: 1, Term: now}); err != nil {
		t.Errorf("proposal in the present term: %v", err)
	}
}

func TestRestartOfAll(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	for i := range 50 {
		if err := w.note("b", text(i)); err != nil {
			t.Fatal(err)
		}
	}
	want := w.node("b").Incarnation()
	for _, n := range names {
		w.stop(n)
	}
	for _, n := range names {
		w.open(n).Start()
	}
	w.leader(names...)
	if w.node("b").Incarnation() != want {
		t.Error("a restart changed the incarnation")
	}
	w.waitFor("b", "its notes", noted(text(49)))
	if err := w.note("a", "again"); err != nil {
		t.Fatal(err)
	}
}

// recordedVoter is a member that Raft's configuration and the log's record both have as a voter.
func recordedVoter(name string, id uint64) func(*state.View, Status) bool {
	return func(v *state.View, s Status) bool {
		m := v.Members[name]
		return m.Incarnation == id && m.Voter && slices.Contains(s.Voters, id)
	}
}

func TestWitnessIsAddedAndLeads(t *testing.T) {
	w := newNetwork(t)
	w.found("a", "b")
	leader := w.leader("a", "b")
	n := w.open("w")
	n.Start()
	id := n.Incarnation()
	if err := w.node(others([]string{"a", "b"}, leader)[0]).Admit(testContext(t), member("w", id)); err != nil {
		t.Fatal(err)
	}
	w.waitFor("w", "becoming a voter", recordedVoter("w", id))
	w.waitFor("a", "the witness leading", func(_ *state.View, s Status) bool { return s.Leader == "w" })
	for _, lead := range []string{"a", "b", ""} {
		if _, err := w.node("a").Propose(testContext(t), &state.ClusterLead{Node: lead}); err != nil {
			t.Fatal(err)
		}
		w.waitFor("a", cmp.Or(lead, "w")+" leading", func(_ *state.View, s Status) bool { return s.Leader == cmp.Or(lead, "w") })
	}
	f := w.open("f")
	f.Start()
	m := member("f", f.Incarnation())
	m.Kind = state.Follower
	if err := w.node("a").Admit(testContext(t), m); err != nil {
		t.Fatal(err)
	}
	w.waitFor("f", "following", func(v *state.View, s Status) bool {
		return slices.Contains(s.Learners, m.Incarnation) && len(s.Voters) == 3
	})
	if err := w.node("f").Expel(testContext(t), "f"); err != nil {
		t.Fatal(err)
	}
	w.waitFor("a", "the follower leaving", func(v *state.View, s Status) bool { return len(s.Learners) == 0 && v.Members["f"].Name == "" })
}

// A voter whose log is gone comes back as somebody else, without a vote, and regains it through the others.
func TestWipedVoter(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	w.leader(names...)
	old := w.node("c").Incarnation()
	w.stop("c")
	if err := os.RemoveAll(w.path("c")); err != nil {
		t.Fatal(err)
	}
	n := w.open("c")
	if n.Incarnation() == old || n.Fresh() == "" {
		t.Fatalf("the wiped log has incarnation %x again (fresh: %q)", old, n.Fresh())
	}
	err := n.Bootstrap([]Founder{{"a", w.node("a").Incarnation()}, {"b", w.node("b").Incarnation()}, {"c", old}})
	if !errors.Is(err, ErrNotFounder) {
		t.Fatalf("founding again with a wiped log: %v", err)
	}
	n.Start()
	if err := w.note("a", "while away"); err != nil {
		t.Fatal(err)
	}
	if len(n.Status().Voters) != 0 {
		t.Fatalf("a wiped log believes in voters %v before it was taken in", n.Status().Voters)
	}
	if err := w.node("a").Admit(testContext(t), member("c", n.Incarnation())); err != nil {
		t.Fatal(err)
	}
	w.waitFor("c", "voting again", recordedVoter("c", n.Incarnation()))
	w.waitFor("a", "the old incarnation gone", func(_ *state.View, s Status) bool {
		return len(s.Voters) == 3 && !slices.Contains(s.Voters, old)
	})
	w.waitFor("c", "the log", noted("while away"))
}

func TestCopiedLogIsNotUsed(t *testing.T) {
	w := newNetwork(t)
	w.found("a")
	old := w.node("a").Incarnation()
	w.stop("a")
	file := filepath.Join(w.path("a"), fileName)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".copy", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".copy", file); err != nil {
		t.Fatal(err)
	}
	if n := w.open("a"); n.Incarnation() == old || n.Founded() {
		t.Fatal("a copy of the log was taken for the log")
	}
}

// The whole disk put back keeps inode and birth: the leader's knowledge of the host gives it away.
func TestRolledBackLogIsRetired(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	leader := w.leader(names...)
	victim := others(names, leader)[0]
	if err := w.note(leader, "before"); err != nil {
		t.Fatal(err)
	}
	w.waitFor(victim, "the first note", noted("before"))
	file := filepath.Join(w.path(victim), fileName)
	w.stop(victim)
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	old := w.open(victim)
	old.Start()
	for i := range 20 {
		if err := w.note(leader, text(i)); err != nil {
			t.Fatal(err)
		}
	}
	w.waitFor(victim, "the notes", noted(text(19)))
	w.isolate(victim, true) // so that nothing is tried on it while it is down
	w.stop(victim)
	putBack(t, file, saved)
	n := w.open(victim)
	if n.Incarnation() != old.Incarnation() {
		t.Fatal("the test did not keep the file's identity")
	}
	n.Start()
	w.isolate(victim, false)
	select {
	case err := <-n.Fatal():
		t.Log(err)
	case <-testContext(t).Done():
		t.Fatal("the rolled back log was used on")
	}
	w.stop(victim)
	again := w.open(victim)
	if again.Incarnation() == old.Incarnation() {
		t.Fatal("the retired incarnation came up again")
	}
	again.Start()
	if err := w.node(leader).Admit(testContext(t), member(victim, again.Incarnation())); err != nil {
		t.Fatal(err)
	}
	w.waitFor(victim, "voting again", recordedVoter(victim, again.Incarnation()))
}

// putBack overwrites a file in place.
func putBack(t *testing.T, file string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedLogIsReplaced(t *testing.T) {
	w := newNetwork(t)
	w.found("a")
	if err := w.note("a", "needle in the log"); err != nil {
		t.Fatal(err)
	}
	old := w.node("a").Incarnation()
	w.stop("a")
	file := filepath.Join(w.path("a"), fileName)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.ReplaceAll(data, []byte("needle"), []byte("noodle"))
	if bytes.Equal(damaged, data) {
		t.Fatal("the entry is not in the file")
	}
	putBack(t, file, damaged)
	if n := w.open("a"); n.Incarnation() == old {
		t.Fatal("a damaged log was used on")
	}
	if _, err := os.Stat(file + ".unusable"); err != nil {
		t.Errorf("the damaged log was not kept: %v", err)
	}
}

func TestSecondDaemonIsTurnedAway(t *testing.T) {
	w := newNetwork(t)
	w.open("a")
	if _, err := Open(Config{Dir: w.path("a"), Name: "a", Log: w.node("a").cfg.Log, Clock: w.node("a").cfg.Clock}); err == nil {
		t.Fatal("two daemons opened one log")
	}
}

func TestSnapshotAndRestart(t *testing.T) {
	w := newNetwork(t)
	w.found("a")
	fill(t, w.node("a"), 2*cluster.SnapshotEntries+100)
	if w.node("a").snapIndexNow() < 2*cluster.SnapshotEntries {
		t.Fatal("no snapshot was made")
	}
	want := w.node("a").View().Index
	w.stop("a")
	a := w.open("a")
	a.Start()
	w.leader("a")
	w.waitFor("a", "its state", func(v *state.View, _ Status) bool { return v.Index >= want && len(v.Operator) > 0 })
	n := w.open("b")
	n.Start()
	if err := a.Admit(testContext(t), member("b", n.Incarnation())); err != nil {
		t.Fatal(err)
	}
	w.waitFor("b", "the snapshot", recordedVoter("b", n.Incarnation()))
	if !bytes.Contains(b(w.node("b").View()), []byte("filler")) {
		t.Error("the snapshot did not carry the state")
	}
}

func b(v *state.View) []byte {
	var out []byte
	for _, r := range v.Operator {
		out = append(out, r.Text...)
	}
	return out
}

func (n *Node) snapIndexNow() uint64 {
	var i uint64
	if err := n.do(context.Background(), func() { i = n.snapIndex }); err != nil {
		return 0
	}
	return i
}

// fill proposes count notes without waiting for each.
func fill(t *testing.T, n *Node, count int) {
	t.Helper()
	ctx := testContext(t)
	start := n.View().Index
	data, err := state.Encode(state.ID{}, &state.OperatorNote{By: "x", What: "filler", Text: "filler"})
	if err != nil {
		t.Fatal(err)
	}
	for sent := 0; sent < count; {
		if err := n.do(ctx, func() {
			for range 256 {
				if sent < count && n.raft.Propose(data) == nil {
					sent++
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.WaitFor(ctx, func(v *state.View, _ Status) bool { return v.Index >= start+uint64(count) }); err != nil {
		t.Fatal(err)
	}
}

// A log of ten thousand entries is read and applied well below a second; the bound here is what a slow machine under the
// race detector stays below.
func BenchmarkOpenTenThousandEntries(b *testing.B) {
	dir := b.TempDir()
	st, err := openStore(dir)
	if err != nil {
		b.Fatal(err)
	}
	if err := st.save(longLog(b, 10000)); err != nil {
		b.Fatal(err)
	}
	if err := st.close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		st, err := openStore(dir)
		if err != nil {
			b.Fatal(err)
		}
		m := state.New()
		for _, e := range st.entries {
			m.Apply(e.GetIndex(), e.GetTerm(), e.GetData())
		}
		if err := st.close(); err != nil {
			b.Fatal(err)
		}
	}
}

func longLog(tb testing.TB, count int) batch {
	data, err := state.Encode(state.ID{Origin: 1, Seq: 1}, &state.OperatorNote{By: "x", What: "filler", Text: "filler"})
	if err != nil {
		tb.Fatal(err)
	}
	return batch{entries: entries(data, count)}
}
