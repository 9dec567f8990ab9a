package daemon

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"holdfast/internal/clock"
	"holdfast/internal/cluster"
	"holdfast/internal/cluster/liveness"
	"holdfast/internal/cluster/raftlog"
	"holdfast/internal/cluster/state"
)

// beat is what members send one another every cluster.Heartbeat on every link: a sign of life, the sender's lease
// renewal for whoever leads, and grants from whoever does.
type beat struct {
	liveness.Beat
	// Grant answers a renewal of the receiver.
	Grant *liveness.Renewal `json:"grant,omitempty"`
	// Lineage is that of the sender's log.
	state.Lineage
}

// raftNode is what the pulse and the session need of raftlog.Node.
type raftNode interface {
	View() *state.View
	Status() raftlog.Status
	Propose(ctx context.Context, c state.Command) (state.Result, error)
	ProposeInTerm(ctx context.Context, term uint64, c state.Command) (state.Result, error)
	ReadIndex(ctx context.Context) (uint64, error)
}

// pulse sends and hears heartbeats, renews this node's lease and, while this node leads, grants and expires everyone's
// (S6). The accounts are liveness's; this gives them the time and carries out what they say.
type pulse struct {
	node  string
	raft  raftNode
	clock clock.Source
	log   *slog.Logger
	send  func(to string, b beat)
	event func(name string, attrs map[string]any)
	// granted is told each new deadline of this node's lease, in order.
	granted func(session uint64, deadline clock.Boottime)

	mu     sync.Mutex
	holder liveness.Holder
	peers  *liveness.Peers
	leader *liveness.Leader // nil while another leads
	alone  *liveness.Alone
	// reading coalesces the linearizable reads that renewals wait for: those that arrive during one wait for the next.
	waiting []renewal
	reading bool
}

// renewal is a renewal that waits for the leader's read.
type renewal struct {
	from string
	what liveness.Renewal
}

func newPulse(node string, raft raftNode, clk clock.Source, log *slog.Logger) *pulse {
	return &pulse{node: node, raft: raft, clock: clk, log: log, peers: liveness.NewPeers(node, cluster.DefaultToken), alone: liveness.NewAlone(clk.Boottime())}
}

// run beats until ctx is done.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(cluster.Heartbeat)
	defer tick.Stop()
	for {
		p.tick(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tick is one heartbeat.
func (p *pulse) tick(ctx context.Context) {
	now := p.clock.Boottime()
	view, status := p.raft.View(), p.raft.Status()
	p.mu.Lock()
	p.peers.SetToken(view.Cluster.Token())
	p.peers.Expect(view.MemberNames(), now)
	events, paused := p.peers.Tick(now)
	if paused > 0 {
		p.alone.Paused()
	}
	p.lead(view, status, now)
	if paused > 0 {
		p.leader.Paused(now)
	}
	p.holder.Length = view.Cluster.LeaseLength()
	renew, due, _ := p.holder.Renew(now)
	b := beat{Beat: liveness.Beat{Hears: p.peers.Hears(now)}}
	p.mu.Unlock()

	p.tell(events, paused, now)
	if due {
		b.Renew = &renew
		if status.IsLeader {
			p.renewed(ctx, p.node, renew)
		}
	}
	for _, m := range view.MemberNames() {
		if m != p.node {
			p.send(m, b)
		}
	}
	p.expire(ctx)
}

func (p *pulse) tell(events []liveness.Event, paused time.Duration, now clock.Boottime) {
	if paused > 0 {
		p.log.Warn("this host was paused", "for", paused)
		p.event("self.paused", map[string]any{"seconds": paused.Seconds()})
	}
	for _, e := range events {
		p.event(string(e.Kind), map[string]any{"peer": e.Node, "link": e.Link, "silent_seconds": now.Sub(e.Since).Seconds()})
	}
}

// lead opens the leader's account when this node begins to lead, and closes it when it ends; the caller holds mu.
func (p *pulse) lead(view *state.View, status raftlog.Status, now clock.Boottime) {
	p.leader = liveness.Lead(p.leader, status.IsLeader, status.Term, view.Cluster.LeaseLength(), cluster.LeaseMargin, status.LeaderReady)
	if p.leader != nil {
		p.leader.Observe(view.LeaseRecords(), now)
	}
}

// heard takes in a heartbeat of a member.
func (p *pulse) heard(ctx context.Context, from string, link int, b beat) {
	now := p.clock.Boottime()
	p.mu.Lock()
	p.peers.Heard(from, link, b.Beat, now)
	p.mu.Unlock()
	if b.Renew != nil && p.raft.Status().IsLeader {
		p.renewed(ctx, from, *b.Renew)
	}
	if b.Grant != nil {
		p.grantedTo(*b.Grant)
	}
}

// renewed takes in a renewal at the leader. The read that it waits for begins after this.
func (p *pulse) renewed(ctx context.Context, from string, r liveness.Renewal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, renewal{from, r})
	if !p.reading {
		p.reading = true
		go p.readAndGrant(ctx)
	}
}

// readAndGrant makes linearizable reads as long as renewals wait, and grants after each those that had come before it.
func (p *pulse) readAndGrant(ctx context.Context) {
	for {
		p.mu.Lock()
		batch := p.waiting
		p.waiting = nil
		if len(batch) == 0 {
			p.reading = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		term := p.raft.Status().Term
		read, cancel := context.WithTimeout(ctx, cluster.LeaseLength)
		_, err := p.raft.ReadIndex(read)
		cancel()
		if err == nil {
			p.grant(batch, term)
		}
	}
}

// grant answers renewals after a read that was begun in term.
func (p *pulse) grant(batch []renewal, term uint64) {
	now := p.clock.Boottime()
	view, status := p.raft.View(), p.raft.Status()
	var granted []renewal
	p.mu.Lock()
	if p.leader.MayGrant(term, status.IsLeader, status.Term) {
		p.leader.Observe(view.LeaseRecords(), now)
		for _, r := range batch {
			if p.leader.Grant(r.from, r.what, now) {
				granted = append(granted, r)
				if r.from != p.node {
					p.alone.Acknowledged(now)
				}
			}
		}
	}
	p.mu.Unlock()
	for _, r := range granted {
		if r.from == p.node {
			p.grantedTo(r.what)
			continue
		}
		what := r.what
		p.send(r.from, beat{Grant: &what})
	}
}

// grantedTo takes in a grant of this node's lease.
func (p *pulse) grantedTo(r liveness.Renewal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if deadline, moved := p.holder.Granted(r); moved {
		p.alone.Granted(p.clock.Boottime(), deadline)
		p.granted(r.Session, deadline)
	}
}

// expire proposes the leases that are over.
func (p *pulse) expire(ctx context.Context) {
	p.mu.Lock()
	var due []liveness.Expiry
	var term uint64
	if p.leader != nil {
		due, _ = p.leader.Due(p.clock.Boottime())
		term = p.leader.Term()
	}
	p.mu.Unlock()
	for _, e := range due {
		go p.proposeExpiry(ctx, term, e)
	}
}

// proposeExpiry repeats a proposal of unknown outcome: until it is known, the node is granted nothing.
func (p *pulse) proposeExpiry(ctx context.Context, term uint64, e liveness.Expiry) {
	c := &state.LeaseExpire{Node: e.Node, Session: e.Session, Term: term, Reason: "no renewal granted for " + e.Silent.Round(time.Millisecond).String()}
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, proposeTimeout)
		_, err := p.raft.ProposeInTerm(attempt, term, c)
		cancel()
		var refused *state.Refusal
		switch {
		case err == nil:
			return // told from the view, as on every other node
		case errors.As(err, &refused), errors.Is(err, raftlog.ErrNotLeader):
			p.mu.Lock()
			if p.leader != nil && p.leader.Term() == term {
				p.leader.Failed(e.Node, e.Session)
			}
			p.mu.Unlock()
			return
		}
		p.log.Warn("expiry of a lease not settled, trying again", "node", e.Node, "err", err)
	}
}

// acknowledged notes that something goes out which may serve another voter as this host's word.
func (p *pulse) acknowledged() {
	now := p.clock.Boottime()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alone.Acknowledged(now)
}

// aloneDue tells whether one of two voters may go on without the other, as far as leases and what is heard go.
func (p *pulse) aloneDue() bool {
	view, now := p.raft.View(), p.clock.Boottime()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holder.Session() == 0 &&
		p.alone.Due(now, p.peers.LastHeard(view.Other(p.node)), view.Cluster.Token(), view.Cluster.LeaseLength(), cluster.LeaseMargin)
}

// together tells whether the voters were together since this daemon began, or stood still last.
func (p *pulse) together() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alone.Together()
}

// begin starts renewing a session the log has begun.
func (p *pulse) begin(session uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holder.Begin(session)
}

// end stops renewing.
func (p *pulse) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holder.End()
}

// session is the session held, 0 when none.
func (p *pulse) session() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holder.Session()
}

// deadline is how long this node's lease lasts by the last grant.
func (p *pulse) deadline() clock.Boottime {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holder.Deadline()
}
