package raftlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"holdfast/internal/api"
	"holdfast/internal/cluster/state"
)

// registerIn is an operation on one register, kept in the cluster's state as a balancer rule: a write of a distinct
// value, or a read (empty).
type registerIn struct{ write string }

func registerModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(st, in, out any) (bool, any) {
			if w := in.(registerIn).write; w != "" {
				return true, w
			}
			return out.(string) == st.(string), st
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %v", in, out) },
	}
}

// history collects operations; time is a counter, so that no two instants are equal.
type history struct {
	now atomic.Int64
	mu  sync.Mutex
	ops []porcupine.Operation
}

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// client writes and reads through one node. A write of unknown outcome may take effect at any later time; a read without
// answer says nothing.
func (h *history) client(t *testing.T, w *network, name string, id, count int) {
	for i := range count {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		op := porcupine.Operation{ClientId: id, Call: h.now.Add(1)}
		var err error
		if i%2 == 0 {
			value := fmt.Sprintf("%s-%d-%d", name, id, i)
			op.Input = registerIn{value}
			_, err = w.node(name).Propose(ctx, &state.BalancerSet{Rule: api.BalancerRule{Name: "x", Frontend: value, Backends: []api.BalancerBackend{{Addr: "y:1"}}}})
		} else {
			op.Input = registerIn{}
			_, err = w.node(name).ReadIndex(ctx)
			op.Output = w.node(name).View().Rules["x"].Frontend
		}
		cancel()
		op.Return = h.now.Add(1)
		switch {
		case err == nil:
			h.add(op)
		case i%2 == 0 && errors.Is(err, ErrUnknownOutcome):
			op.Return = math.MaxInt64
			h.add(op)
			id += 1000 // porcupine wants one operation at a time per client
		case i%2 == 0 && !errors.Is(err, ErrNoLeader) && !errors.Is(err, context.DeadlineExceeded):
			t.Errorf("write on %s: %v", name, err)
		}
	}
}

func TestLinearizableAcrossPartitions(t *testing.T) {
	w := newNetwork(t)
	names := []string{"a", "b", "c"}
	w.found(names...)
	w.leader(names...)
	var h history
	var clients sync.WaitGroup
	for i, name := range append(names, names...) {
		clients.Go(func() { h.client(t, w, name, i, 40) })
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	cuts := 0
	for running := true; running; cuts++ {
		old := w.leader(names...)
		w.isolate(old, true)
		w.waitFor(others(names, old)[0], "another leader", func(_ *state.View, s Status) bool { return s.Leader != "" && s.Leader != old })
		w.isolate(old, false)
		select {
		case <-done:
			running = false
		default:
		}
	}
	known := 0
	for _, op := range h.ops {
		if op.Return != math.MaxInt64 {
			known++
		}
	}
	t.Logf("%d operations, %d of known outcome, %d partitions", len(h.ops), known, cuts)
	if known < len(h.ops)/2 || known < 20 || cuts < 2 {
		t.Errorf("only %d of %d operations have a known outcome: this proves little", known, len(h.ops))
	}
	if got := porcupine.CheckOperationsTimeout(registerModel(), h.ops, patience); got != porcupine.Ok {
		t.Fatalf("the history is not linearizable (%s)", got)
	}
}
