package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"holdfast/internal/cluster/state"
)

// drawApart lets one seed in four begin without its last witness, which an operator adds in the middle of everything, and one
// in four put disks back; one in eight has two hosts only, which go on alone. It draws apart, so that the other seeds stay what they were.
func (w *World) drawApart() {
	if w.opts.Quiet {
		return
	}
	rng := rand.New(rand.NewPCG(w.Seed, 0x77697473))
	w.opts.Late = rng.IntN(4) == 0
	w.opts.Restores = rng.IntN(4) == 0
	if rng.IntN(8) == 0 || w.opts.Forking {
		w.opts.Forking, w.opts.Witnesses, w.opts.Late, w.opts.Restores = true, 0, false, false
	}
}

// late is the witness that is no founder, nil if there is none.
func (w *World) late() *host {
	if !w.opts.Late {
		return nil
	}
	return w.hosts[len(w.hosts)-1]
}

// founding are the hosts the cluster is founded with.
func (w *World) founding() []*host {
	if w.opts.Late {
		return w.hosts[:len(w.hosts)-1]
	}
	return w.hosts
}

// belongs tells whether a host is a member, or is becoming one.
func (w *World) belongs(h *host) bool { return h != w.late() || w.truth.adding }

// addWitness is `holdfast witness add`: on some host that answers, until the log has the new member.
func (w *World) addWitness() {
	w.truth.adding = true
	late := w.late()
	if w.truth.view != nil {
		if _, known := w.truth.view.Members[late.name]; known {
			return
		}
	}
	w.after(w.between(200*time.Millisecond, time.Second), "add witness", w.addWitness)
	on := w.founding()[w.rng.IntN(len(w.founding()))].daemon
	if on == nil || !on.read || late.daemon == nil {
		return
	}
	on.admit(state.Member{Name: late.name, Kind: state.Witness, Incarnation: late.daemon.raft.Incarnation(), Addrs: []string{fmt.Sprintf("10.0.0.%d", late.index+1)}})
}

// admit is raftlog's Admit of a new member.
func (d *daemon) admit(m state.Member) {
	d.linear(proposeTimeout, func(err error) {
		if _, known := d.view().Members[m.Name]; err != nil || known {
			return
		}
		d.w.note(d.h, "witness added", "name", m.Name)
		d.propose(0, &state.MemberAdd{Member: m}, func(error) {})
	})
}

// voters counts who votes by the log's record.
func (w *World) voters() int {
	n := 0
	for _, m := range w.truth.view.Members {
		if m.Voter {
			n++
		}
	}
	return n
}
