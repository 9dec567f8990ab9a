package sim

import (
	"fmt"
	"time"

	"holdfast/internal/cluster/state"
)

// healthy tells whether everything is as it should be: all is up, both replicas are in U, one of them Primary, connected
// and equal.
func (w *World) healthy() bool {
	rec := w.truth.volume
	if !rec.Adopted || len(rec.U) != 2 || rec.Primary == "" {
		return false
	}
	for _, r := range rec.U {
		if r.PrevGeneration != "" {
			return false
		}
	}
	for _, h := range w.data {
		if !h.up || h.daemon == nil || h.daemon.session == 0 || h.daemon.status == nil {
			return false
		}
		st := h.daemon.status
		if st.Conn != "Connected" || st.Disk != "UpToDate" || st.PeerDisk != "UpToDate" || st.Frozen != "" || st.Counters.OOS != 0 || st.Epoch != rec.Epoch || st.Version != rec.Version {
			return false
		}
		if (st.Role == "Primary") != (rec.Primary == h.name) {
			return false
		}
	}
	return w.voting()
}

// voting tells whether every member's present incarnation votes, with all that it has confirmed.
func (w *World) voting() bool {
	for _, h := range w.hosts {
		if !w.belongs(h) {
			continue
		}
		if h.daemon == nil {
			return false
		}
		m := w.truth.view.Members[h.name]
		if !m.Voter || m.Incarnation != h.daemon.raft.Incarnation() || h.lacks() {
			return false
		}
	}
	return true
}

// Progress bounds how long a healed cluster may take to be whole again, in virtual time.
const Progress = 90 * time.Second

// Finish heals everything, waits until the cluster is whole, lets the clients rest and judges what is left.
func (w *World) Finish() error {
	w.heal()
	if err := w.Until("a whole cluster", Progress, w.healthy); err != nil {
		return err
	}
	acked := w.stats.Acked
	if len(w.clients) > 0 {
		if err := w.Until("an acknowledged write", Progress, func() bool { return w.stats.Acked > acked }); err != nil {
			return err
		}
	}
	w.halted = true
	if err := w.Until("the clients' last operations", Progress, w.idle); err != nil {
		return err
	}
	if err := w.Until("a whole cluster at rest", Progress, w.healthy); err != nil {
		return err
	}
	w.identical()
	for _, h := range w.data {
		w.judgeDisk("S1", h, "is UpToDate at the end")
	}
	w.everyStrand(func() { w.linearizable(20 * time.Second) })
	return w.failure
}

func (w *World) idle() bool {
	for _, h := range w.data {
		if len(h.kernel.pending) > 0 {
			return false
		}
	}
	return true
}

// Result is what became of a seed.
type Result struct {
	Hash  uint64
	Stats Stats
	Err   error
}

// Seed runs one seed: a safety phase of about so many events with faults, then a healed phase that must make progress.
func Seed(seed uint64, events uint64, opts Options) Result {
	w := New(seed, opts)
	w.Start()
	w.startClients(1 + w.rng.IntN(2))
	w.durably = !opts.Plain && w.chance(2)
	w.plan()
	for w.events < events && w.step() {
	}
	err := w.failure
	if err == nil {
		err = w.Finish()
	}
	return Result{Hash: w.Hash(), Stats: w.Stats(), Err: err}
}

// Command is what repeats a seed.
func Command(seed uint64) string {
	return fmt.Sprintf("go test ./internal/sim -run TestSim -seed=%d", seed)
}

var _ = state.Data
