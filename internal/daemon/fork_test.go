package daemon

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/agent/agenttest"
	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/liveness"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
	"holdfast/internal/timeline"
)

// What a host sends as its word, or as a grant, keeps it from going on alone for a lease and the margin; its own lease does, too.
func TestAloneCountsWhatIsSent(t *testing.T) {
	for name, word := range map[string]func(h *heart){
		"an acknowledgement": func(h *heart) { h.pulse.acknowledged() },
		"a grant": func(h *heart) {
			h.pulse.heard(h.ctx, "b", 0, beat{Beat: liveness.Beat{Renew: &liveness.Renewal{Session: 1, ID: 1}}})
			h.idle()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHeart(t)
			h.pulse.begin(1)
			h.pulse.tick(h.ctx) // it leads, and grants itself
			h.idle()
			if len(h.granted()) == 0 {
				t.Fatal("no lease")
			}
			h.clock.pass(cluster.LeaseLength)
			if h.pulse.aloneDue() {
				t.Error("due in a session")
			}
			word(h)
			h.pulse.end()
			h.clock.pass(cluster.LeaseLength + cluster.LeaseMargin - time.Millisecond)
			if h.pulse.aloneDue() {
				t.Error("due before the peer's lease is over")
			}
			h.clock.pass(time.Millisecond)
			if !h.pulse.aloneDue() {
				t.Error("not due")
			}
		})
	}
}

// A host that stood still does not go on alone.
func TestAloneAfterAPause(t *testing.T) {
	h := newHeart(t)
	h.pulse.begin(1)
	h.pulse.tick(h.ctx)
	h.idle()
	h.pulse.end()
	h.clock.pass(20 * time.Second)
	h.pulse.tick(h.ctx)
	if h.pulse.aloneDue() || h.pulse.together() {
		t.Error("due, although the peer may have gone on alone meanwhile")
	}
}

// listener is a session with no more than what hears heartbeats: a log, founded with one other voter or empty, that is not running.
func listener(t *testing.T, founded bool) *session {
	t.Helper()
	root := testRoot(t)
	n, err := raftlog.Open(raftlog.Config{Dir: root.Lib(), Name: "a", Clock: clock.System{}, Log: quiet(), Send: func(string, []*raftpb.Message) {}})
	agenttest.Must(t, err)
	t.Cleanup(func() { _ = n.Stop() })
	if founded {
		agenttest.Must(t, n.Bootstrap([]raftlog.Founder{{Name: "a", Incarnation: n.Incarnation()}, {Name: "b", Incarnation: 7}}))
	}
	events, err := timeline.Open(root, "a", clock.System{}, quiet())
	agenttest.Must(t, err)
	t.Cleanup(func() { events.Close() })
	s := &session{node: "a", raft: n, log: quiet(), d: &Daemon{node: "a", clock: clock.System{}, timeline: events}}
	s.pulse = newPulse("a", n, clock.System{}, quiet())
	return s
}

// A host hears its own branch of the log. One that has diverged it warns of, until it is heard in the same one again.
func TestWhoIsHeard(t *testing.T) {
	s := listener(t, true)
	apart := state.Lineage{Branch: state.FirstBranch}
	if !s.mayHear("b", state.Lineage{}) || s.mayHear("b", apart) {
		t.Error("of its own branch and another, the wrong one is heard")
	}
	if got := s.apartFrom(); len(got) != 1 || got[0].Node != "b" || got[0].Branch != "100000000" {
		t.Errorf("apart: %+v", got)
	}
	if w := apartWarnings("a", s.apartFrom()); len(w) != 1 || !strings.Contains(w[0], "type on b: holdfast drbd heal --keep=a") {
		t.Errorf("warnings: %q", w)
	}
	if !s.mayHear("b", state.Lineage{}) || len(s.apartFrom()) != 0 {
		t.Errorf("together again: %+v", s.apartFrom())
	}
}

func TestAnEmptyLogHearsEverybody(t *testing.T) {
	empty, apart := listener(t, false), state.Lineage{Branch: state.FirstBranch}
	if !empty.mayHear("b", apart) || len(empty.apartFrom()) != 0 {
		t.Error("a host whose log is empty does not hear who may take it in")
	}
}

// A host whose branch was left behind gives its log up, and its daemon ends.
func TestLeftBehind(t *testing.T) {
	s := listener(t, true)
	s.raft.Start()
	if s.mayHear("b", state.Lineage{Branch: state.FirstBranch, Former: []state.FormerBranch{{ID: 0, Fork: true}}}) {
		t.Error("heard")
	}
	if err := <-s.raft.Fatal(); err == nil || !strings.Contains(err.Error(), "has left this host's branch 0 behind") {
		t.Errorf("the log ended with %v", err)
	}
}
