package bench

import (
	"slices"
	"sync"

	"holdfast/internal/api"
)

// record is the log's record of the volume, which the tool keeps for both processes. It grants every want that names its
// epoch and version, as a log with a quorum would.
type record struct {
	mu      sync.Mutex
	adopted bool
	epoch   uint64
	version uint64
	primary string
	u       []api.Replica
	nodes   []*node
}

// change alters the record and tells every process of it.
func (r *record) change(f func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	for _, n := range r.nodes {
		if err := r.tell(n); err != nil {
			return err
		}
	}
	return nil
}

// tell gives a running process the record. Called with the lock.
func (r *record) tell(n *node) error {
	if n.session == nil {
		return nil
	}
	return n.session.view(api.VolumeView{Bound: true, Node: n.name, Adopted: r.adopted, Epoch: r.epoch, Version: r.version,
		Primary: r.primary, U: slices.Clone(r.u), TLS: n.tls})
}

// want carries out what a process asks for. A process that goes away meanwhile learns of it when it is back.
func (r *record) want(n *node, w api.VolumeWant) {
	_ = r.change(func() {
		if w.Epoch != r.epoch {
			return
		}
		if w.Confirm != "" {
			r.confirm(n, w.Confirm)
			return
		}
		if w.Alone && !r.adopted && w.Version == r.version {
			r.version++ // no adoption seen before this one counts
			return
		}
		if w.Version != r.version || r.primary != n.name {
			return
		}
		switch {
		case w.Remove != "":
			r.keepOnly(n.name, w.Generation)
		case w.Add != nil && !slices.ContainsFunc(r.u, func(x api.Replica) bool { return x.Node == w.Add.Node }):
			r.u = append(slices.Clone(r.u), *w.Add)
			r.version++
		}
	})
}

func (r *record) confirm(n *node, generation string) {
	for i := range r.u {
		if r.u[i].Node == n.name && r.u[i].Generation == generation {
			r.u[i].PrevGeneration = ""
		}
	}
}

func (r *record) keepOnly(name, generation string) {
	i := slices.IndexFunc(r.u, func(x api.Replica) bool { return x.Node == name })
	if i < 0 || len(r.u) == 1 || r.u[i].PrevGeneration != "" {
		return
	}
	kept := r.u[i]
	kept.PrevGeneration, kept.Generation = kept.Generation, generation
	r.u = []api.Replica{kept}
	r.version++
}

// whole tells whether U has both.
func (r *record) whole() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.u) == 2
}
