package transport

import (
	"log/slog"
	"testing"

	"holdfast/internal/clock"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// Three hosts with real logs and real links: found, propose on each, lose the leader, go on, take it back.
func TestRaftOverLinks(t *testing.T) {
	names := []string{"a", "b", "c"}
	hosts := map[string]testHost{}
	var list []testHost
	for _, n := range names {
		hosts[n] = startHost(t, n, "")
		list = append(list, hosts[n])
	}
	join(t, list...)
	open := func(name string) *raftlog.Node {
		h := hosts[name]
		n, err := raftlog.Open(raftlog.Config{Dir: h.root.Lib(), Name: name, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Send: h.SendRaft})
		if err != nil {
			t.Fatal(err)
		}
		h.OnRaft(n.Step)
		return n
	}
	nodes := map[string]*raftlog.Node{}
	var founders []raftlog.Founder
	var members []state.Member
	for _, name := range names {
		nodes[name] = open(name)
		founders = append(founders, raftlog.Founder{Name: name, Incarnation: nodes[name].Incarnation()})
		members = append(members, state.Member{Name: name, Kind: state.Data, Voter: true, Incarnation: nodes[name].Incarnation(), Addrs: []string{hosts[name].addr()}})
	}
	t.Cleanup(func() {
		for _, name := range names {
			nodes[name].Stop()
		}
	})
	for _, name := range names {
		if err := nodes[name].Bootstrap(founders); err != nil {
			t.Fatal(err)
		}
		nodes[name].Start()
	}
	ctx := testContext(t)
	if _, err := nodes["a"].Propose(ctx, &state.ClusterInit{Name: "c", UUID: "u", Members: members}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := nodes[name].Propose(ctx, &state.OperatorNote{By: name, What: "test", Text: name}); err != nil {
			t.Fatalf("on %s: %v", name, err)
		}
	}
	old, _ := nodes["a"].Leader()
	if err := nodes[old].Stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name == old {
			continue
		}
		if _, err := nodes[name].Propose(testContext(t), &state.OperatorNote{By: name, What: "test", Text: "after"}); err != nil {
			t.Fatalf("on %s without %s: %v", name, old, err)
		}
		if _, err := nodes[name].ReadIndex(testContext(t)); err != nil {
			t.Fatalf("read on %s without %s: %v", name, old, err)
		}
	}
	nodes[old] = open(old)
	nodes[old].Start()
	if err := nodes[old].WaitFor(testContext(t), func(v *state.View, _ raftlog.Status) bool { return len(v.Operator) == 5 }); err != nil {
		t.Fatalf("%s does not catch up: %v", old, err)
	}
}
