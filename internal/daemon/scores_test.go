package daemon

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"holdfast/internal/agent"
	"holdfast/internal/agent/agenttest"
	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// board is the scores of node a, and what has been recorded of them.
type board struct {
	t      *testing.T
	scores *scores
	gate   chan struct{} // each proposal takes one token

	mu     sync.Mutex
	got    []string // NAME=VALUE
	fail   bool
	asking int
}

func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{t: t, scores: newScores("a", quiet()), gate: make(chan struct{}, 64)}
	b.scores.session = func() uint64 { return 4 }
	b.scores.propose = b.propose
	return b
}

func (b *board) propose(_ context.Context, c state.Command) error {
	b.mu.Lock()
	b.asking++
	b.mu.Unlock()
	<-b.gate
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asking--
	edit := c.(*state.CIBStatus).Edits[0].Transient
	if edit.Node != "a" || edit.Session != 4 {
		b.t.Errorf("edit: %+v", edit)
	}
	if b.fail {
		return errors.New("no leader")
	}
	b.got = append(b.got, edit.Name+"="+edit.Value)
	return nil
}

func (b *board) let(n int) {
	for range n {
		b.gate <- struct{}{}
	}
}

// asked waits until a proposal is under way.
func (b *board) asked() {
	b.t.Helper()
	agenttest.Until(b.t, "a proposal", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.asking > 0
	})
}

func (b *board) recorded() string {
	b.t.Helper()
	agenttest.Until(b.t, "the proposals to end", func() bool {
		b.scores.mu.Lock()
		defer b.scores.mu.Unlock()
		return len(b.scores.putting) == 0
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.got, " ")
}

func TestScoresAreRecordedOnce(t *testing.T) {
	b := newBoard(t)
	b.let(8)
	b.scores.tell("db:0", 1000, true)
	b.scores.tell("db:0", 1000, true)
	if got := b.recorded(); got != "master-db=1000" {
		t.Errorf("recorded %q", got)
	}
	b.scores.tell("db:0", 0, false)
	if got := b.recorded(); got != "master-db=1000 master-db=" {
		t.Errorf("recorded %q", got)
	}
	b.scores.reset() // a new session begins without attributes
	b.scores.tell("db:0", 0, false)
	if got := b.recorded(); got != "master-db=1000 master-db= master-db=" {
		t.Errorf("recorded %q", got)
	}
}

// While a proposal is under way the score changes: the newest is what is recorded last, whatever came between.
func TestNewestScoreIsRecordedLast(t *testing.T) {
	b := newBoard(t)
	b.scores.tell("db", 5, true)
	b.asked()
	for _, n := range []int{10, 1000, 10000} {
		b.scores.tell("db", n, true)
	}
	b.let(8)
	if got := b.recorded(); got != "master-db=5 master-db=10000" {
		t.Errorf("recorded %q", got)
	}
}

func TestScoreNotRecordedIsToldAgain(t *testing.T) {
	b := newBoard(t)
	b.let(8)
	b.fail = true
	b.scores.tell("db", 5, true)
	b.recorded()
	b.mu.Lock()
	b.fail = false
	b.mu.Unlock()
	b.scores.tell("db", 5, true) // the next monitor
	if got := b.recorded(); got != "master-db=5" {
		t.Errorf("recorded %q", got)
	}
}

// silent is an agent that does nothing.
type silent struct{ agent.Agent }

func (silent) Run(context.Context, agent.Operation) agent.Result { return agent.Result{} }

func TestChangedVolumeTellsItsScore(t *testing.T) {
	b := newBoard(t)
	b.let(8)
	st := &api.VolumeStatus{Resource: "r", Role: "Primary", Disk: "UpToDate", PeerDisk: "UpToDate"}
	b.scores.changed("r", st) // nobody knows yet whose volume it is
	if got := b.recorded(); got != "" {
		t.Errorf("recorded %q", got)
	}
	w := watched{silent{}, b.scores}
	w.Run(t.Context(), agent.Operation{Resource: "db:1", Params: map[string]string{"drbd_resource": "r", "adjust_master_score": "1 2 3 4"}})
	b.scores.changed("r", st)
	if got := b.recorded(); got != "master-db=4" {
		t.Errorf("recorded %q", got)
	}
	st.Disk, st.Role = "Inconsistent", "Secondary"
	b.scores.changed("r", st)
	if got := b.recorded(); got != "master-db=4 master-db=" {
		t.Errorf("recorded %q", got)
	}
}
