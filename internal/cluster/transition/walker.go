package transition

import (
	"cmp"
	"slices"
)

// Walker follows a transition while it is carried out. It decides nothing but the order: an action may start when all its
// inputs are done; one that failed blocks those after it, and the rest goes on.
type Walker struct {
	graph   *Graph
	limit   int
	actions map[int]*step
	order   []*step
	ready   []*step // may start, in the order of priority
	running int
	active  int // started and not reported, pseudo actions included
}

type stepState int

const (
	waiting stepState = iota
	running
	done
	failed
)

type step struct {
	action  *Action
	rank    int // position by priority
	state   stepState
	missing int // inputs not yet done
	after   []*step
}

// NewWalker starts a walk. batchLimit bounds how many resource, crm and fence actions run at once; 0 for no limit.
func NewWalker(g *Graph, batchLimit int) *Walker {
	w := &Walker{graph: g, limit: batchLimit, actions: make(map[int]*step, len(g.Actions))}
	for _, a := range g.Actions {
		s := &step{action: a}
		w.actions[a.ID] = s
		w.order = append(w.order, s)
	}
	for _, s := range w.order {
		for _, id := range s.action.Inputs {
			// An input that is not in the graph is never done.
			s.missing++
			if in := w.actions[id]; in != nil {
				in.after = append(in.after, s)
			}
		}
	}
	slices.SortStableFunc(w.order, func(x, y *step) int { return cmp.Compare(y.action.Priority, x.action.Priority) })
	for i, s := range w.order {
		s.rank = i
		if s.missing == 0 {
			w.ready = append(w.ready, s)
		}
	}
	return w
}

// Ready returns the actions that may start now and takes them as started; the caller reports each with Done. Pseudo
// actions are among them, and count neither for the limit nor as work.
func (w *Walker) Ready() []*Action {
	var out []*Action
	var held []*step
	for _, s := range w.ready {
		if s.action.Kind != Pseudo {
			if w.limit > 0 && w.running >= w.limit {
				held = append(held, s)
				continue
			}
			w.running++
		}
		s.state = running
		w.active++
		out = append(out, s.action)
	}
	w.ready = held
	return out
}

// becomesReady puts a step in its place among those that may start.
func (w *Walker) becomesReady(s *step) {
	i, _ := slices.BinarySearchFunc(w.ready, s, func(x, y *step) int { return cmp.Compare(x.rank, y.rank) })
	w.ready = slices.Insert(w.ready, i, s)
}

// Done reports the end of a started action. Reports of unknown or not started actions are ignored (false).
func (w *Walker) Done(id int, ok bool) bool {
	s := w.actions[id]
	if s == nil || s.state != running {
		return false
	}
	if s.action.Kind != Pseudo {
		w.running--
	}
	w.active--
	s.state = failed
	if !ok {
		return true
	}
	s.state = done
	for _, next := range s.after {
		if next.missing--; next.missing == 0 {
			w.becomesReady(next)
		}
	}
	return true
}

// Complete tells whether nothing runs and nothing can start any more.
func (w *Walker) Complete() bool { return w.active == 0 && len(w.ready) == 0 }

// Running returns the started actions that have not been reported, without pseudo actions.
func (w *Walker) Running() []*Action {
	return w.inState(func(s *step) bool { return s.state == running && s.action.Kind != Pseudo })
}

// Failed returns the actions that failed.
func (w *Walker) Failed() []*Action {
	return w.inState(func(s *step) bool { return s.state == failed })
}

// Blocked returns, once Complete, the actions that never started because of a failure or an order that runs in a circle.
func (w *Walker) Blocked() []*Action {
	return w.inState(func(s *step) bool { return s.state == waiting })
}

func (w *Walker) inState(match func(*step) bool) []*Action {
	var out []*Action
	for _, s := range w.order {
		if match(s) {
			out = append(out, s.action)
		}
	}
	return out
}
