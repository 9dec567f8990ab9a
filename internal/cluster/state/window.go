package state

import "holdfast/internal/cluster"

// window remembers the proposals of the last cluster.ProposalWindow commands, in log order, with their results. It is
// part of the state: every member must recognise the same repetitions.
type window struct {
	entries []seenEntry
	index   map[key]Result
}

type key struct{ origin, seq uint64 }

type seenEntry struct {
	ID     ID     `json:"id"`
	Result Result `json:"result"`
}

func (w *window) find(id ID) (Result, bool) {
	if id.Origin == 0 {
		return Result{}, false
	}
	r, ok := w.index[key{id.Origin, id.Seq}]
	return r, ok
}

func (w *window) add(id ID, r Result) {
	if id.Origin == 0 {
		return
	}
	if w.index == nil {
		w.index = make(map[key]Result)
	}
	w.entries = append(w.entries, seenEntry{ID: id, Result: r})
	w.index[key{id.Origin, id.Seq}] = r
	if len(w.entries) > cluster.ProposalWindow {
		old := w.entries[0].ID
		delete(w.index, key{old.Origin, old.Seq})
		w.entries = w.entries[1:]
	}
}
