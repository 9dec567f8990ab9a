package raftlog

import (
	"fmt"
	"runtime/debug"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"holdfast/internal/cluster/state"
	"holdfast/internal/planted"
)

// Disk is the durable log of a Stepped node in memory. What a save returned for is in it; a save is whole or not at all, as
// bbolt's transactions are. The zero value is a disk without a log.
type Disk struct {
	// Failing, when not nil, is what every save returns.
	Failing error

	incarnation uint64
	former      uint64 // of a log that was wiped; of no use, but for a planted bug
	retired     string
	founders    map[uint64]string
	hard        *raftpb.HardState
	snap        *raftpb.Snapshot
	entries     []*raftpb.Entry
}

// save is store.save for a log in memory; last is the index of its last entry before and after.
func (d *Disk) save(b batch, last *uint64) error {
	if d.Failing != nil {
		return fmt.Errorf("write the cluster's log: %w", d.Failing)
	}
	if b.hard != nil {
		d.hard = b.hard
	}
	if b.founders != nil {
		d.founders = b.founders
	}
	if b.snap != nil {
		d.snap = b.snap
		upto := b.snap.GetMetadata().GetIndex()
		if b.received {
			upto, *last = max(*last, upto), upto
		}
		d.entries = slices.DeleteFunc(slices.Clone(d.entries), func(e *raftpb.Entry) bool { return e.GetIndex() <= upto })
	}
	for _, e := range b.entries {
		at := e.GetIndex()
		keep := slices.IndexFunc(d.entries, func(o *raftpb.Entry) bool { return o.GetIndex() >= at })
		if keep >= 0 {
			d.entries = slices.Clone(d.entries[:keep])
		}
		d.entries = append(d.entries, e)
		*last = at
	}
	return nil
}

// Wipe loses the log.
func (d *Disk) Wipe() { *d = Disk{former: d.incarnation} }

// open makes the store of a disk: with a new incarnation if there is no log on it that may be used.
func (d *Disk) open() *store {
	s := &store{memory: d, incarnation: d.incarnation, founders: d.founders, hard: d.hard, snap: d.snap, entries: slices.Clone(d.entries)}
	if d.incarnation == 0 || d.retired != "" {
		id := drawIncarnation()
		if planted.WipedVoterVotes && d.former != 0 {
			id = d.former
		}
		*d = Disk{Failing: d.Failing, incarnation: id}
		s = &store{memory: d, incarnation: d.incarnation, fresh: "there was no log that may be used"}
	}
	if s.hard == nil {
		s.hard = &raftpb.HardState{}
	}
	if s.snap == nil {
		s.snap = &raftpb.Snapshot{}
	}
	s.last = s.snap.GetMetadata().GetIndex()
	if n := len(s.entries); n > 0 {
		s.last = s.entries[n-1].GetIndex()
	}
	return s
}

// Stepped is a Node without a goroutine: its caller hands it ticks, messages and proposals, one at a time, and looks at
// what came of them. The simulator uses it.
type Stepped struct{ *Node }

// NewStepped opens the log on d. cfg.Dir is not used.
func NewStepped(cfg Config, d *Disk) (Stepped, error) {
	n := newNode(cfg, d.open())
	if err := n.prepare(); err != nil {
		return Stepped{}, err
	}
	return Stepped{n}, nil
}

// Tick is the passing of cluster.TickEvery. The error is final, as for all methods of Stepped: the daemon must end.
func (s Stepped) Tick() error { return s.turn(s.tick) }

// Retire is what Node.Retire leads to: the log is not used again. The error says why the daemon ends.
func (s Stepped) Retire(why string) error { return s.retireNow(why) }

// Deliver takes in a message from the member named.
func (s Stepped) Deliver(from string, m *raftpb.Message) error {
	s.Step(from, m)
	return s.turn(s.stepQueued)
}

// turn runs f and what follows from it, as one turn of the loop.
func (s Stepped) turn(f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.condemn(fmt.Sprint(p), debug.Stack())
		}
	}()
	f()
	return s.drain()
}

// Proposed is a proposal under way.
type Proposed struct {
	n   Stepped
	key proposalKey
	p   *proposal
}

// Propose hands a command to Raft; term is 0, or binds it to this leader in that term (ProposeInTerm).
func (s Stepped) Propose(term uint64, cmd state.Command) (*Proposed, error) {
	id := state.ID{Origin: s.origin, Seq: s.seq.Add(1), After: s.View().Index}
	data, err := state.Encode(id, cmd)
	if err != nil {
		return nil, err
	}
	p := &Proposed{n: s, key: proposalKey{id.Origin, id.Seq}, p: &proposal{data: data, done: make(chan outcome, 1), term: term}}
	return p, s.turn(func() { s.enter(p.key, p.p) })
}

// Outcome is what became of the proposal; ok is false while that is not known. sent tells how often it was sent.
func (p *Proposed) Outcome() (result state.Result, sent int, err error, ok bool) {
	select {
	case out := <-p.p.done:
		return out.result, out.sent, out.err, true
	default:
		return state.Result{}, p.p.sent, nil, false
	}
}

// Forget stops waiting: the proposal is sent no more, and may still be applied.
func (p *Proposed) Forget() { delete(p.n.proposals, p.key) }

// Reading is a linearizable read under way.
type Reading struct {
	n Stepped
	r *read
}

// Read begins what ReadIndex does.
func (s Stepped) Read() (*Reading, error) {
	r := &read{id: s.seq.Add(1), done: make(chan uint64, 1)}
	return &Reading{n: s, r: r}, s.turn(func() {
		s.reads[r.id] = r
		s.ask(r, s.cfg.Clock.Boottime())
	})
}

// Done tells whether everything committed when the read began is applied here.
func (r *Reading) Done() bool {
	select {
	case <-r.r.done:
		return true
	default:
		return false
	}
}

// Forget stops waiting.
func (r *Reading) Forget() { delete(r.n.reads, r.r.id) }

// RaftState tells Raft's own role, for a trace.
func (s Stepped) RaftState() raft.StateType { return s.raft.BasicStatus().RaftState }

// Copy is what a snapshot of the whole disk has of the log, the identity of its file included.
func (d *Disk) Copy() *Disk {
	c := *d
	c.Failing, c.entries = nil, slices.Clone(d.entries)
	return &c
}

// Restore puts the whole disk back to a copy of it.
func (d *Disk) Restore(c *Disk) {
	failing := d.Failing
	*d = *c.Copy()
	d.Failing = failing
}

// Promises tells whether this log has promised a newer term, another vote or another identity than its copy knows of.
func (d *Disk) Promises(c *Disk) bool {
	return d.incarnation != c.incarnation || d.retired != "" || c.retired != "" ||
		d.hard.GetTerm() != c.hard.GetTerm() || d.hard.GetVote() != c.hard.GetVote()
}

// Last is the index and the term of the last entry.
func (d *Disk) Last() (index, term uint64) {
	if n := len(d.entries); n > 0 {
		return d.entries[n-1].GetIndex(), d.entries[n-1].GetTerm()
	}
	return d.snap.GetMetadata().GetIndex(), d.snap.GetMetadata().GetTerm()
}
