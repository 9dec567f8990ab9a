package raftlog

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"holdfast/internal/clock"
	"holdfast/internal/cluster/state"
)

// patience bounds every wait of these tests.
const patience = 2 * time.Minute

// network joins nodes of one process. Messages are marshalled, as on a wire; cut links drop them.
type network struct {
	t     *testing.T
	dir   string
	mu    sync.Mutex
	nodes map[string]*Node
	cut   map[[2]string]bool
}

func newNetwork(t *testing.T) *network {
	net := &network{t: t, dir: t.TempDir(), nodes: make(map[string]*Node), cut: make(map[[2]string]bool)}
	t.Cleanup(func() {
		for _, name := range net.names() {
			net.stop(name)
		}
	})
	return net
}

func (w *network) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for n := range w.nodes {
		out = append(out, n)
	}
	return out
}

func (w *network) node(name string) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[name]
}

func (w *network) path(name string) string { return filepath.Join(w.dir, name) }

// open opens the log of name without starting it.
func (w *network) open(name string) *Node {
	w.t.Helper()
	n, err := Open(Config{Dir: w.path(name), Name: name, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler),
		TickEvery: 10 * time.Millisecond,
		Send:      func(to string, msgs []*raftpb.Message) { w.deliver(name, to, msgs) }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.nodes[name] = n
	w.mu.Unlock()
	return n
}

func (w *network) deliver(from, to string, msgs []*raftpb.Message) {
	w.mu.Lock()
	n, dropped := w.nodes[to], w.cut[[2]string{from, to}]
	w.mu.Unlock()
	if n == nil || dropped {
		return
	}
	for _, m := range msgs {
		data, err := proto.Marshal(m)
		if err != nil {
			panic(err)
		}
		got := &raftpb.Message{}
		if err := proto.Unmarshal(data, got); err != nil {
			panic(err)
		}
		n.Step(from, got)
	}
}

func (w *network) stop(name string) {
	w.mu.Lock()
	n := w.nodes[name]
	delete(w.nodes, name)
	w.mu.Unlock()
	if n != nil {
		if err := n.Stop(); err != nil {
			w.t.Errorf("stop %s: %v", name, err)
		}
	}
}

// isolate cuts name off from everyone, heal joins it again.
func (w *network) isolate(name string, cut bool) {
	names := w.names()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range names {
		w.cut[[2]string{name, other}], w.cut[[2]string{other, name}] = cut, cut
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// found makes a running cluster of data members (and witnesses, named w...).
func (w *network) found(names ...string) {
	w.t.Helper()
	var founders []Founder
	var members []state.Member
	for _, name := range names {
		n := w.open(name)
		founders = append(founders, Founder{Name: name, Incarnation: n.Incarnation()})
		members = append(members, member(name, n.Incarnation()))
	}
	for _, name := range names {
		if err := w.node(name).Bootstrap(founders); err != nil {
			w.t.Fatal(err)
		}
		w.node(name).Start()
	}
	ctx := testContext(w.t)
	if _, err := w.node(names[0]).Propose(ctx, &state.ClusterInit{Name: "c", UUID: "u", Members: members}); err != nil {
		w.t.Fatal(err)
	}
}

func member(name string, id uint64) state.Member {
	m := state.Member{Name: name, Kind: state.Data, Incarnation: id, Voter: true, Addrs: []string{"127.0.0.1"}}
	if name[0] == 'w' {
		m.Kind = state.Witness
	}
	return m
}

// leader waits for a leader among the nodes given that all of them agree on.
func (w *network) leader(names ...string) string {
	w.t.Helper()
	ctx := testContext(w.t)
	for {
		agreed := ""
		for i, name := range names {
			l, _ := w.node(name).Leader()
			if i > 0 && l != agreed {
				l = ""
			}
			agreed = l
			if l == "" {
				break
			}
		}
		if agreed != "" && w.node(agreed) != nil && w.node(agreed).Status().LeaderReady != 0 {
			return agreed
		}
		select {
		case <-w.node(names[0]).Changed():
		case <-time.After(5 * time.Millisecond):
		}
		if ctx.Err() != nil {
			w.t.Fatalf("no agreed leader among %v", names)
		}
	}
}

func (w *network) note(name, text string) error {
	_, err := w.node(name).Propose(testContext(w.t), &state.OperatorNote{By: name, What: "test", Text: text})
	return err
}

// waitFor waits for a state of one node.
func (w *network) waitFor(name, what string, ok func(*state.View, Status) bool) {
	w.t.Helper()
	if err := w.node(name).WaitFor(testContext(w.t), ok); err != nil {
		w.t.Fatalf("%s: %s: %v; status %+v", name, what, err, w.node(name).Status())
	}
}

func noted(text string) func(*state.View, Status) bool {
	return func(v *state.View, _ Status) bool {
		for _, r := range v.Operator {
			if r.Text == text {
				return true
			}
		}
		return false
	}
}

func others(all []string, but string) []string {
	var out []string
	for _, n := range all {
		if n != but {
			out = append(out, n)
		}
	}
	return out
}

func text(i int) string { return fmt.Sprintf("note %d", i) }
